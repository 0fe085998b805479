"""Code that calls a lab: what is called where nothing is said, what is refused, and that the page of docs is fresh."""

from __future__ import annotations

import ast
import json
import shlex
from pathlib import Path

import pytest

from tests.test_generation import LABS
from topology import cli
from topology.description.loading import load
from topology.errors import InvalidInput, NotReady
from topology.report import calls, snippets
from topology.runtime import engine
from topology.runtime.running import Endpoint, RunningLab, as_published

PAGE = Path(__file__).parents[1] / "docs" / "clients.md"
TWO_HOST = str(LABS / "two-host.yaml")
EVERY = pytest.mark.parametrize("language", snippets.LANGUAGES)


def published(lab: str, folder: Path = Path("compose")) -> RunningLab:
    return as_published(
        load(LABS / f"{lab}.yaml").topology, None, folder / lab / "authorities", folder / lab / "identities"
    )


def test_the_page_of_docs_is_what_the_command_prints(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make generate` writes it."""
    monkeypatch.chdir(LABS.parents[1])
    arguments = ["fixtures/labs/two-host.yaml", "--host", "server", "--as", "bro", "--published"]

    assert cli.main(["snippet", "all", *arguments]) == 0
    page = capsys.readouterr().out
    assert page == PAGE.read_text()
    for language in snippets.LANGUAGES:
        assert cli.main(["snippet", language, *arguments]) == 0
        assert f"\n{capsys.readouterr().out}```\n" in page


# What is called


@pytest.mark.parametrize(
    ("lab", "host", "identity", "route", "url"),
    [
        ("two-host", "server", None, None, "https://ec3.lab.test:9443/boot/health"),
        ("two-host", "server", "bro", None, "https://ec3.lab.test:9443/mtls/health"),
        ("two-host", "server", None, "/mtls/", "https://ec3.lab.test:9443/mtls/health"),
        ("two-host", "server", "bro", "/mtls/greet/d%C3%A4nish?a=1", "https://ec3.lab.test:9443/mtls/greet/d%C3%A4nish?a=1"),
        ("two-host", "server", None, "/", "https://ec3.lab.test:9443/"),
        ("two-host", "client", "bro", None, "https://ec2.lab.test:8443/fast/health"),
        ("two-host", "client", None, "/mtls/", "https://ec2.lab.test:8443/mtls/health"),
        ("pro-dev", "pro", None, None, "https://pro.test:7443/health"),
        ("pro-dev", "laptop", None, None, "http://laptop.test:6080/pro-dev-proxy/health"),
        ("node-tls", "open", None, None, "http://node.lab.test:3200/health"),
        ("node-tls", "open", None, ":3300", "https://node.lab.test:3300/health"),
        ("node-tls", "strict", "laptop", ":3300/greet/x", "https://strict.lab.test:3301/greet/x"),
        ("node-tls", "strict", "laptop", None, "https://strict.lab.test:3443/health"),
    ],
)  # fmt: skip
def test_what_is_called(lab: str, host: str, identity: str | None, route: str | None, url: str) -> None:
    assert calls.call(published(lab), host, identity, route).url == url


def test_the_only_host_needs_no_name() -> None:
    assert calls.call(published("terminated"), None, None, None).host == "web"


def test_a_list_of_identities_decides_which_route_is_called() -> None:
    """alice has a route of her own; bob gets in where every known caller does, mallory is revoked."""
    lab = published("guarded")
    ported = RunningLab(lab.topology, None, published_on(lab, 4443), lab.authorities, lab.identities)

    assert calls.call(ported, "vault", "alice", None).path == "/known/health"
    assert calls.call(ported, "vault", "bob", "/alice/").path == "/alice/health"
    assert calls.call(ported, "vault", "mallory", None).path == "/open/health"


def published_on(lab: RunningLab, https: int) -> dict[str, Endpoint]:
    return {name: Endpoint("127.0.0.1", None, https) for name in lab.topology.hosts}


def test_a_call_as_nobody_shows_nothing() -> None:
    call = calls.call(published("two-host"), "server", None, "/mtls/")

    assert call.shown is None
    for language in snippets.LANGUAGES:
        code = snippets.code(language, call)
        assert "identities/" not in code
        assert "ssl_ca/certificate.pem" in code


def test_nobody_shows_a_certificate_whose_key_is_elsewhere(tmp_path: Path) -> None:
    lab = published("two-host", tmp_path)
    folder = lab.identities / "bro"
    folder.mkdir(parents=True)
    assert calls.call(lab, "server", "bro", None).shown is not None

    (folder / "request.pem").touch()
    with pytest.raises(InvalidInput, match="its key is held elsewhere"):
        calls.call(lab, "server", "bro", None)


@EVERY
def test_plain_http_names_no_certificate(language: str) -> None:
    code = snippets.code(language, calls.call(published("pro-dev"), "laptop", None, None))

    assert "certificate.pem" not in code
    assert "https:" not in code


@EVERY
def test_no_snippet_turns_verification_off(language: str) -> None:
    code = snippets.code(language, calls.call(published("two-host"), "server", "bro", None))

    words = (
        "-k ",
        "--insecure",
        "verify=False",
        "InsecureSkipVerify",
        "rejectUnauthorized",
        "ssl_verify off",
        "CERT_NONE",
    )
    assert not [word for word in words if word in code]


@EVERY
def test_paths_with_spaces_and_quotes_are_quoted(language: str) -> None:
    """As the language wants it: what can be parsed here is."""
    folder = Path('/labs/it\'s "here" \\ now')
    code = snippets.code(language, calls.call(published("two-host", folder), "server", "bro", None))
    wanted = str(folder / "two-host" / "authorities" / "ssl_ca" / "certificate.pem")

    if language == "curl":
        assert wanted in shlex.split(code, comments=True)
    elif language in ("python", "httpx"):
        literals = [node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)]
        assert wanted in literals
    elif language in ("spring", "webclient"):
        assert wanted.replace("\\", "\\\\\\\\").replace('"', '\\"') in code
    else:
        assert json.dumps(wanted) in code


def test_a_path_that_nginx_would_read_a_variable_in_is_told(tmp_path: Path) -> None:
    call = calls.call(published("two-host", tmp_path / "p$q"), "server", "bro", None)

    with pytest.raises(InvalidInput, match=r"nginx takes \$ in a path for a variable"):
        snippets.code("nginx", call)
    assert "p$q" in snippets.code("curl", call)


def test_an_address_of_ipv6_stands_in_brackets() -> None:
    lab = published("two-host")
    endpoints = {"server": Endpoint("::1", None, 9443)}
    call = calls.call(RunningLab(lab.topology, None, endpoints, lab.authorities, lab.identities), "server", None, None)

    assert '"[::1]:9443"' in snippets.code("go", call)
    assert '["::1", 6]' in snippets.code("node", call)
    assert "server [::1]:9443;" in snippets.code("nginx", call)


def test_a_gateway_at_a_name_is_called_by_its_address() -> None:
    """Where hosts are deployed to other machines, a gateway's address can be a name; clients pin names to numbers."""
    lab = published("two-host")

    def at(address: str) -> str:
        endpoints = {"server": Endpoint(address, None, 9443)}
        here = RunningLab(lab.topology, None, endpoints, lab.authorities, lab.identities)
        return calls.call(here, "server", None, None).address

    assert at("localhost") in ("127.0.0.1", "::1")
    with pytest.raises(NotReady, match=r"nowhere\.invalid.* is a name that nobody knows here"):
        at("nowhere.invalid")


# The command


def test_as_json_everything_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["snippet", "requests", TWO_HOST, "--host", "server", "--as", "bro", "--published", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)

    assert (told["language"], told["file"], told["run"]) == ("python", "call.py", "python call.py")
    assert (told["host"], told["route"], told["identity"]) == ("server", "/mtls/", "bro")
    assert told["shown"]["password"] == "mtls-lab"
    assert told["code"].startswith("# bro calls server.")


def test_all_as_json_is_a_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["snippet", "ALL", TWO_HOST, "--host", "server", "--published", "--json"]) == 0

    assert [one["language"] for one in json.loads(capsys.readouterr().out)] == list(snippets.LANGUAGES)


def test_a_lab_that_is_not_up_is_called_where_its_topology_publishes_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also without an engine; and it is said, apart from the code."""
    engine.connect.cache_clear()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    try:
        assert cli.main(["snippet", "curl", TWO_HOST, "--host", "server"]) == 0
    finally:
        engine.connect.cache_clear()
    told = capsys.readouterr()
    assert "https://ec3.lab.test:9443/boot/health" in told.out
    assert told.err == "two-host is not up: these are the ports that its topology publishes\n"


@pytest.mark.parametrize(
    ("command", "code", "told"),
    [
        ("rust", 2, "rust: no snippets in that; there are curl, python, httpx, java, spring, webclient, node, go,"),
        ("pyhton two-host", 2, "did you mean 'python'? there are curl,"),
        ("curl two-host", 2, "--host is missing; there are server, client"),
        ("curl two-host --host sever", 2, "no such host; did you mean 'server'? there are server, client"),
        ("curl two-host --host server --as sis", 2, "--as sis: no such identity; there is bro"),
        ("curl two-host --host server --route /mlts/", 2, "did you mean '/mtls/'? there are /boot/, /mtls/"),
        ("curl two-host --host server --route mtls", 2, "--route mtls: not a path that starts with /"),
        ("curl two-host --host server --route /a|b", 2, "--route /a|b: not a path"),
        ("curl two-host --host server --route :3300/", 2, "--route :3300/: server has no such route"),
        ("curl pro-dev --host laptop --as bro", 2, "--as bro: laptop speaks plain HTTP"),
        ("curl nowhere", 2, "nowhere.yaml: cannot be read"),
    ],
)
def test_what_cannot_be_printed_is_one_line(
    command: str, code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    language, *rest = command.split()
    file = [str(LABS / f"{rest[0]}.yaml")] if rest else []

    assert cli.main(["snippet", language, *file, *rest[1:], "--published"]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert told in said.err
    assert len(said.err.splitlines()) == 1


def test_a_port_that_nobody_knows_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Docker will choose it; or the topology could say it, and where stands there."""
    file = tmp_path / "topology.yaml"
    file.write_text(
        "name: small\nauthorities: {ca: {}}\nhosts:\n"
        "  web: {domain: web.test, services: {n: {kind: node, tls: {port: 3300}}}, routes: {/: {service: n}}}\n"
    )

    assert cli.main(["snippet", "curl", str(file), "--published"]) == 4
    assert "(hosts.web.publish.https)" in capsys.readouterr().err
    assert cli.main(["snippet", "curl", str(file), "--route", ":3300/", "--published"]) == 4
    assert "run `mtls-lab up`, or say it in the topology (hosts.web.services.n.tls.publish)" in capsys.readouterr().err
