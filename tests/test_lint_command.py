"""`mtls-lab lint`: labs with one thing broken, any nginx, what is told, and how it ends."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from topology import cli
from topology.description.loading import load
from topology.runtime import certificates
from topology.runtime.lab import Lab

pytestmark = pytest.mark.usefixtures("quick_bundles")

ROOT = Path(__file__).parents[1]
LABS = ROOT / "fixtures" / "labs"

Told = list[dict[str, Any]]


class Labs:
    """A copy of a checked-in lab with certificates, in which things can be broken."""

    def __init__(self, folder: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.out = folder / "compose"
        self.file = LABS / f"{name}.yaml"
        self.folder = self.out / name
        self.capsys = capsys

    def replace(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    def lint(self, *arguments: str) -> tuple[int, Told]:
        code = cli.main(["lint", str(self.file), "--out", str(self.out), "--json", *arguments])
        return code, json.loads(self.capsys.readouterr().out)


def copy_with_owners(source: Path, target: Path) -> None:
    """A key belongs to whoever runs the gateways, and that is looked at."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy2(source, target)
    for one in (source, *source.rglob("*")):
        os.chown(target / one.relative_to(source), one.stat().st_uid, one.stat().st_gid)


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Labs with certificates, issued once each."""
    made: dict[str, Path] = {}

    def provide(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            for host in load(LABS / f"{name}.yaml").topology.hosts:
                for part in ("nginx", "compose.yaml"):
                    copy_with_owners(ROOT / "compose" / name / host / part, made[name] / "compose" / name / host / part)
            certificates.issue(Lab(load(LABS / f"{name}.yaml"), made[name] / "compose"))
        return made[name]

    return provide


@pytest.fixture
def copy(tmp_path: Path, issued: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> Callable[[str], Labs]:
    def make(name: str) -> Labs:
        found = Labs(tmp_path, name, capsys)
        copy_with_owners(issued(name) / "compose" / name, found.folder)
        return found

    return make


@pytest.mark.parametrize("name", ["guarded", "two-host", "two-companies", "pro-dev", "node-tls", "tls-only", "acme"])
def test_a_lab_with_its_certificates_has_no_finding(copy: Callable[[str], Labs], name: str) -> None:
    assert copy(name).lint() == (0, [])


SERVER, ROUTES = "vault/nginx/nginx.conf", "vault/nginx/routes.conf"
OUT, OFFICE = "office/nginx/routes.conf", "office/nginx/nginx.conf"
GUARD = "    if ($ssl_client_verify != SUCCESS) {\n        return 403;\n    }\n"

BROKEN = [
    ("verification-without-authority", SERVER, "ssl_verify_client optional;", "ssl_verify_client optional_no_ca;"),
    ("no-crl", SERVER, "        ssl_crl /etc", "        # ssl_crl /etc"),
    ("verification-depth", SERVER, "ssl_verify_depth 1;", "ssl_verify_depth 4;"),
    ("verification-depth", SERVER, "ssl_verify_depth 1;", "ssl_verify_depth 0;"),
    ("trust-widened", SERVER, "ssl_verify_depth 1;", "ssl_trusted_certificate /etc/nginx/certificates/server.pem;"),
    ("missing-guard", ROUTES, GUARD, ""),
    ("missing-guard", ROUTES, 'if ($caller = "CN=partners intermediate,O=guarded|CN=alice")', "if ($uri = a)"),
    ("missing-guard", ROUTES, "    if ($listener != inside) {\n        return 403;\n    }\n", ""),
    ("guard-on-wrong-value", ROUTES, "$ssl_client_verify != SUCCESS", "$ssl_client_verify = NONE"),
    ("guard-on-wrong-value", ROUTES, "$ssl_client_verify != SUCCESS", "$http_x_ssl_client_verify != SUCCESS"),
    ("guard-by-subject-alone", ROUTES, '"$ssl_client_i_dn|$ssl_client_s_dn"', '"$ssl_client_s_dn"'),
    ("guard-by-pattern", ROUTES, '$caller = "CN=partners intermediate,O=guarded|CN=alice"', '$caller ~ "CN=alice"'),
    ("no-default-server", SERVER, "        ssl_reject_handshake on;\n", "        ssl_certificate x;\n"),
    ("resumption-beside-crl", SERVER, "ssl_session_cache none;", "ssl_session_cache shared:tls:1m;"),
    ("old-protocols", SERVER, "ssl_protocols TLSv1.2", "ssl_protocols TLSv1 TLSv1.2"),
    ("slashes-not-merged", SERVER, "    server_tokens off;", "    server_tokens off;\n    merge_slashes off;"),
    ("absolute-redirect", SERVER, "absolute_redirect off;", "absolute_redirect on;"),
    ("body-limit-on-the-way", OFFICE, "client_max_body_size 10m;", "client_max_body_size 1m;"),
    ("header-not-overwritten", ROUTES, "    include lab/service-headers.conf;", "    proxy_set_header Host $host;"),
    ("header-not-overwritten", ROUTES, "    include lab/service-headers.conf;\n", ""),
    ("egress-unverified", OUT, "proxy_ssl_verify on;", "proxy_ssl_verify off;"),
    ("egress-without-sni", OUT, "proxy_ssl_server_name on;", "proxy_ssl_server_name off;"),
    ("egress-name", OUT, "    proxy_ssl_name vault.guarded.test;\n", ""),
    ("egress-name", OUT, "proxy_ssl_name vault.guarded.test;", "proxy_ssl_name office.guarded.test;"),
    (
        "host-of-upstream",
        OUT,
        "    proxy_set_header Host vault.guarded.test;",
        "    proxy_set_header Host $proxy_host;",
    ),
    ("shared-upstream", OUT, "https://vault.as.bob;", "https://vault.as.alice;"),
    ("identity-missing", OUT, "    proxy_ssl_certificate /etc/nginx/certificates/identities/alice.pem;\n", ""),
    ("identity-missing", OUT, "identities/bob.pem", "identities/alice.pem"),
    ("plain-to-tls", OUT, "proxy_pass https://vault.as.bob;", "proxy_pass http://vault.guarded.test:443;"),
    ("name-looked-up-once", OFFICE, "server vault.guarded.test:443;", "server vualt.guarded.test:443;"),
    ("name-looked-up-once", SERVER, "        keepalive 32;", "        server node:8000;\n        keepalive 32;"),
    ("name-looked-up-once", SERVER, "        keepalive 32;", "        server nod:8000;\n        keepalive 32;"),
    ("key-of-another", SERVER, "server.key;", "client-authorities.pem;"),
    ("crl-incomplete", SERVER, "client-authorities.crl.pem;", "other.crl.pem;"),
    ("plain-listener", OFFICE, "listen 10.83.126.2:8080;", "listen 8080;"),
    ("certificate-without-name", SERVER, "safe.guarded.test;\n        ssl_c", "other.guarded.test;\n        ssl_c"),
]
"""(rule, file, what stands there, what stands there in its place)."""


@pytest.mark.parametrize(("rule", "file", "old", "new"), BROKEN, ids=[f"{r}-{n}" for n, (r, *_) in enumerate(BROKEN)])
def test_one_change_to_a_good_lab_is_named(
    copy: Callable[[str], Labs], rule: str, file: str, old: str, new: str
) -> None:
    lab = copy("guarded")
    certificates_of = lab.folder / "vault" / "certificates"
    lists = (certificates_of / "client-authorities.crl.pem").read_text().split("-----BEGIN", 2)
    (certificates_of / "other.crl.pem").write_text(f"-----BEGIN{lists[1]}")
    lab.replace(file, old, new)

    code, told = lab.lint()

    assert rule in {one["rule"] for one in told}
    here = [one for one in told if one["rule"] == rule]
    assert all(Path(one["file"]).is_file() and one["line"] > 0 and one["fix"] and one["why"] for one in here)
    assert code == (1 if any(one["level"] != "note" for one in told) else 0)


def test_an_expired_list_is_named_before_everybody_is_refused(copy: Callable[[str], Labs]) -> None:
    from tests.linted import lists, root

    lab = copy("guarded")
    ended = lists(root("partners"), at=datetime.now(UTC) - timedelta(days=40))
    file = lab.folder / "vault" / "certificates" / "client-authorities.crl.pem"
    file.write_bytes(file.read_bytes() + ended)

    code, told = lab.lint()

    assert (code, [one["rule"] for one in told]) == (1, ["crl-out-of-date"])


def test_a_key_that_everybody_may_read_is_named(copy: Callable[[str], Labs]) -> None:
    lab = copy("guarded")
    (lab.folder / "office" / "certificates" / "identities" / "alice.key").chmod(0o644)

    assert [one["rule"] for one in lab.lint()[1]] == ["key-readable"]


def test_a_file_that_is_mounted_alone_is_named(copy: Callable[[str], Labs]) -> None:
    lab = copy("guarded")
    (lab.folder / "vault" / "nginx.conf").write_text("")
    old = "- {type: bind, source: ./pages,"
    lab.replace("vault/compose.yaml", old, f"- ./nginx.conf:/etc/nginx/nginx.conf:ro\n      {old}")

    (told,) = lab.lint()[1]

    assert (told["rule"], Path(told["file"]).name) == ("file-mounted-alone", "compose.yaml")
    assert "nginx.conf" in Path(told["file"]).read_text().splitlines()[told["line"] - 1]


def test_an_identity_that_is_lent_without_a_word_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (LABS / "guarded.yaml").read_text().replace("identity: bob, lends: everyone", "identity: bob")
    file = tmp_path / "guarded.yaml"
    file.write_text(text)

    assert cli.main(["lint", str(file), "--out", str(ROOT / "compose")]) == 1
    captured = capsys.readouterr()
    assert "warning: every caller of /as-bob/ calls vault.guarded.test as bob [identity-lent]" in captured.out
    assert "lends: everyone" in captured.out
    assert captured.err == "1 warning\n"


def test_the_current_folder_s_topology_is_the_default(
    copy: Callable[[str], Labs], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy("guarded")
    shutil.copy(LABS / "guarded.yaml", tmp_path / "topology.yaml")
    monkeypatch.chdir(tmp_path)

    assert cli.main(["lint"]) == 0
    assert capsys.readouterr().out == "2 gateways: nothing found\n"


def test_two_gateways_of_any_origin_are_read_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fixture = ROOT / "fixtures" / "lint" / "identity-missing"
    files = [str(fixture / "bad.conf"), str(fixture / "neighbour.conf")]

    cli.main(["lint", *files, "--json"])
    together = {one["rule"] for one in json.loads(capsys.readouterr().out)}
    cli.main(["lint", files[0], "--json"])
    alone = {one["rule"] for one in json.loads(capsys.readouterr().out)}

    assert "identity-missing" in together - alone


def test_files_are_found_where_they_are_mounted_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "a.key").write_text("")
    (tmp_path / "keys" / "a.key").chmod(0o644)
    (tmp_path / "nginx.conf").write_text("http { server { ssl_certificate_key /etc/tls/a.key; } }")

    code = cli.main(["lint", str(tmp_path / "nginx.conf"), "--mount", f"{tmp_path / 'keys'}:/etc/tls", "--json"])

    assert code == 1
    assert [one["rule"] for one in json.loads(capsys.readouterr().out)] == ["key-readable"]


def test_a_lab_s_gateway_is_told_by_its_topology(capsys: pytest.CaptureFixture[str]) -> None:
    """By its file alone nobody knows what it lends on purpose."""
    folder = ROOT / "compose" / "two-host" / "server" / "nginx"

    for path in (folder, folder / "nginx.conf", folder / "routes.conf"):
        assert cli.main(["lint", str(path)]) == 2
        assert "mtls-lab made it from a topology; give that topology" in capsys.readouterr().err


def test_a_folder_is_its_first_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "nginx.conf").write_text("http { server { listen 80; } }")

    assert cli.main(["lint", str(tmp_path)]) == 0
    assert "1 gateway: nothing found" in capsys.readouterr().out


def test_notes_alone_are_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    file = ROOT / "fixtures" / "lint" / "absolute-redirect" / "bad.conf"

    assert cli.main(["lint", str(file)]) == 0
    assert ": note: " in capsys.readouterr().out


REFUSED = [
    (["nowhere.conf"], "nowhere.conf: cannot be read"),
    (["."], "nginx.conf: cannot be read: No such file"),
    (["broken.conf"], 'broken.conf:2: unexpected end of file, expecting "}"'),
    (["lab.yaml", "broken.conf"], "give one topology"),
    (["broken.conf", "--mount", "here"], "--mount here: write FOLDER:PATH"),
    (["broken.conf", "--mount", "nowhere:/etc"], "there is no nowhere"),
    (["lab.yaml", "--mount", ".:/etc"], "--mount is for any nginx"),
    (["fine.conf", "--ignore", "no-crls"], "did you mean 'no-crl'"),
    (["lab.yaml", "--out", "nothing"], "run `mtls-lab generate"),
]


@pytest.mark.parametrize(("arguments", "words"), REFUSED)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "broken.conf").write_text("http {\n server { listen 1;\n")
    (tmp_path / "fine.conf").write_text("http { }\n")
    shutil.copy(LABS / "guarded.yaml", tmp_path / "lab.yaml")
    monkeypatch.chdir(tmp_path)

    assert cli.main(["lint", *arguments]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


NAMES = [
    ("vualt.guarded.test:443", "", "did you mean vault.guarded.test?", "warning"),
    ("keycloack:80", "", "keycloack is no service here", "error"),
    ("other:80", "networks: {inside: {}}", "other is a service; it is looked up once", "warning"),
    ("other:80", "networks: [elsewhere]", "other is on none", "error"),
]


@pytest.mark.parametrize(("server", "networks", "words", "level"), NAMES)
def test_a_name_is_told_from_its_look_alikes(
    copy: Callable[[str], Labs], server: str, networks: str, words: str, level: str
) -> None:
    """Misspelt, not there, on no network of the gateway's, or about to have another address."""
    lab = copy("guarded")
    lab.replace("office/nginx/nginx.conf", "server vault.guarded.test:443;", f"server {server};")
    if networks:
        lab.replace("office/compose.yaml", "\nservices:\n", f"\nservices:\n  other: {{image: x, {networks}}}\n")

    (told,) = lab.lint()[1]

    assert (told["rule"], told["level"]) == ("name-looked-up-once", level)
    assert words.replace("other is on none", "it is on none") in told["message"]


def test_a_part_of_a_configuration_is_looked_at_as_nginx_would_include_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file of conf.d has no http around it, a snippet no server: what is wrong in it is wrong all the same."""
    location = "location /x/ { proxy_pass https://b.test; }"
    for name, text in {"site.conf": f"server {{ listen 443 ssl; {location} }}", "snippet.conf": location}.items():
        (tmp_path / name).write_text(text)

        assert cli.main(["lint", str(tmp_path / name)]) == 1
        assert "[egress-unverified]" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "# nothing\n", "events {}\n", "events {}\nhttp {}\n"])
def test_nothing_found_is_not_said_where_nothing_was_looked_at(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "nginx.conf").write_text(text)

    assert cli.main(["lint", str(tmp_path / "nginx.conf")]) == 0
    assert capsys.readouterr().out == "1 gateway: no server is in what was read, so nothing was looked at\n"
