"""services/java-client on a machine of its own: without trust, with trust alone, with a client certificate."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.integration import containers
from tests.integration.containers import Ended
from topology.pytest_plugin import TestedLab

pytestmark = pytest.mark.integration

SOURCES = Path(__file__).parents[2] / "services" / "java-client"
PAGE = Path(__file__).parents[2] / "docs" / "java-client.md"
COMPILER = Path(__file__).parent / "clients" / "java"

ANSWERED, REFUSED, MISTAKE, SERVER_NOT_TRUSTED, BROKEN_OFF, NO_ANSWER = range(6)
"""The exit codes that `--help` promises."""


@pytest.fixture(scope="module")
def image() -> str:
    return containers.built("java-client", SOURCES)


def call(image: str, tested: TestedLab, *arguments: str, **environment: str) -> Ended:
    return containers.run(
        image,
        arguments,
        *containers.handed_out(tested),
        environment=environment,
        read_only=True,
        tmpfs={"/tmp": ""},
        **containers.on_the_internet(tested),
    )


def trust(tested: TestedLab) -> list[str]:
    return ["--trust", str(tested.running.authorities / "ssl_ca" / "certificate.pem")]


def identity(tested: TestedLab, name: str) -> list[str]:
    return ["--identity", str(tested.running.identities / name / "bundle.p12"), "--password", "mtls-lab"]


def answer(line: str) -> tuple[int, object] | str:
    """Status and JSON; the line itself where it is something else.  The order of JSON's fields means nothing."""
    found = re.fullmatch(r"([0-9]{3}) (\{.+\})\n?", line)
    return (int(found.group(1)), json.loads(found.group(2))) if found else line


def assert_not_trusted(done: Ended) -> None:
    assert (done.code, done.out) == (SERVER_NOT_TRUSTED, "")
    assert done.err.startswith("handshake failed: we do not trust the server: unable to find valid certification path")
    assert len(done.err.splitlines()) == 1


# Node.js with TLS of its own


@pytest.mark.parametrize("domain", ["node.lab.test", "strict.lab.test"])
def test_without_trust_the_handshake_fails(image: str, node_tls: TestedLab, domain: str) -> None:
    """The JDK trusts the public authorities, and ours is none."""
    assert_not_trusted(call(image, node_tls, f"https://{domain}:3300/greet/danish"))


def test_trust_alone_will_do_where_nobody_is_asked_for_a_certificate(image: str, node_tls: TestedLab) -> None:
    done = call(image, node_tls, *trust(node_tls), "https://node.lab.test:3300/greet/danish")

    assert done == Ended(ANSWERED, '200 {"service":"node","greeting":"Hello, danish"}\n', "")


def test_trust_alone_is_refused_in_the_handshake_where_node_demands_a_certificate(
    image: str, node_tls: TestedLab
) -> None:
    done = call(image, node_tls, *trust(node_tls), "https://strict.lab.test:3300/greet/danish")

    assert (done.code, done.out) == (BROKEN_OFF, "")
    assert "handshake failed: the server broke it off" in done.err
    assert "certificate_required" in done.err


def test_the_bundle_gets_in_where_node_demands_a_certificate(image: str, node_tls: TestedLab) -> None:
    done = call(
        image, node_tls, *trust(node_tls), *identity(node_tls, "laptop"), "https://strict.lab.test:3300/greet/danish"
    )

    assert done == Ended(ANSWERED, '200 {"service":"node","greeting":"Hello, danish"}\n', "")


# Gateways


@pytest.mark.parametrize("path", ["/boot/health", "/mtls/health"])
def test_without_trust_the_gateway_is_not_believed(image: str, lab: TestedLab, path: str) -> None:
    assert_not_trusted(call(image, lab, f"https://ec3.lab.test{path}"))


def test_trust_alone_will_do_on_an_open_route(image: str, lab: TestedLab) -> None:
    done = call(image, lab, *trust(lab), "https://ec3.lab.test/boot/health")

    assert (done.code, answer(done.out)) == (ANSWERED, (200, {"status": "ok", "service": "boot"}))


def test_trust_alone_is_403_on_a_guarded_route(image: str, lab: TestedLab) -> None:
    done = call(image, lab, *trust(lab), "https://ec3.lab.test/mtls/health")

    assert (done.code, done.err) == (REFUSED, "")
    assert done.out.startswith("403 ")
    assert len(done.out.splitlines()) == 1


def test_the_bundle_gets_in_on_a_guarded_route(image: str, lab: TestedLab) -> None:
    done = call(image, lab, *trust(lab), *identity(lab, "bro"), "https://ec3.lab.test/mtls/health")

    assert (done.code, answer(done.out)) == (ANSWERED, (200, {"status": "ok", "service": "mtls"}))


def test_trust_alone_is_400_where_everybody_needs_a_certificate(image: str, pro_dev: TestedLab) -> None:
    done = call(image, pro_dev, *trust(pro_dev), "https://pro.test/greet/danish")

    assert done.code == REFUSED
    assert done.out.startswith("400 ")
    assert "No required SSL certificate was sent" in done.out


def test_the_bundle_gets_in_where_everybody_needs_a_certificate(image: str, pro_dev: TestedLab) -> None:
    done = call(image, pro_dev, *trust(pro_dev), *identity(pro_dev, "bro"), "https://pro.test/greet/danish")

    assert done == Ended(ANSWERED, '200 {"service":"node","greeting":"Hello, danish"}\n', "")


# Its settings


def test_the_environment_serves_as_well(image: str, pro_dev: TestedLab) -> None:
    """And hides the password from whoever lists processes."""
    bundle = identity(pro_dev, "bro")[1]
    settings = {
        "CLIENT_URL": "https://pro.test/health",
        "CLIENT_TRUST": trust(pro_dev)[1],
        "CLIENT_IDENTITY": bundle,
        "CLIENT_PASSWORD": "mtls-lab",
    }

    assert call(image, pro_dev, **settings) == Ended(ANSWERED, '200 {"status":"ok","service":"node"}\n', "")


def test_a_java_truststore_serves_as_well_as_pem(image: str, pro_dev: TestedLab, tmp_path: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

    authority = x509.load_pem_x509_certificate(Path(trust(pro_dev)[1]).read_bytes())
    entry = pkcs12.PKCS12Certificate(authority, b"ssl_ca")
    store = tmp_path / "truststore.p12"
    store.write_bytes(pkcs12.serialize_java_truststore([entry], BestAvailableEncryption(b"changeit")))
    done = containers.run(
        image,
        ["--trust", str(store), "--trust-password", "changeit", *identity(pro_dev, "bro"), "https://pro.test/health"],
        *containers.handed_out(pro_dev),
        tmp_path,
        **containers.on_the_internet(pro_dev),
    )

    assert done == Ended(ANSWERED, '200 {"status":"ok","service":"node"}\n', "")


def test_another_authority_s_server_is_not_trusted(image: str, pro_dev: TestedLab) -> None:
    """That which signs the clients' certificates does not vouch for servers."""
    other = str(pro_dev.running.authorities / "server_ca" / "certificate.pem")

    assert_not_trusted(call(image, pro_dev, "--trust", other, "https://pro.test/health"))


def test_a_name_that_is_not_on_the_certificate_is_not_trusted(image: str, node_tls: TestedLab) -> None:
    """Node.js shows the same certificate whatever name it is called by."""
    target = f"other.lab.test={containers.address(node_tls, 'open')}"
    done = call(image, node_tls, *trust(node_tls), "--resolve", target, "https://other.lab.test:3300/health")

    assert done.code == SERVER_NOT_TRUSTED
    assert "No subject alternative DNS name matching other.lab.test found" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ([], MISTAKE, "which URL?"),
        (["server"], MISTAKE, "server: not a URL such as https://"),
        (["ftp://pro.test/"], MISTAKE, "not a URL such as https://"),
        (["--truts", "x", "https://pro.test/"], MISTAKE, "--truts: no such option"),
        (["https://pro.test/", "--trust"], MISTAKE, "--trust: a value has to follow"),
        (["https://pro.test/", "https://pro.test/"], MISTAKE, "one URL at a time"),
        (["--trust", "/nowhere.pem", "https://pro.test/"], MISTAKE, "/nowhere.pem: there is no such file"),
        (["--timeout", "soon", "https://pro.test/"], MISTAKE, "--timeout soon: a whole number of seconds"),
        (["--resolve", "pro.test", "https://pro.test/"], MISTAKE, "--resolve pro.test: not NAME=ADDRESS"),
        (["https://pro.test:4/"], NO_ANSWER, "no connection: nobody listens at pro.test:4"),
        (["https://nobody.test/"], NO_ANSWER, "no connection: nobody knows the name nobody.test"),
    ],
)
def test_what_goes_wrong_is_one_line(
    image: str, pro_dev: TestedLab, arguments: list[str], code: int, told: str
) -> None:
    done = call(image, pro_dev, *arguments)

    assert (done.code, done.out) == (code, "")
    assert told in done.err
    assert len(done.err.splitlines()) == 1


def test_files_that_are_not_what_they_should_be_are_one_line(image: str, pro_dev: TestedLab) -> None:
    own = pro_dev.running.identities / "bro"
    url = "https://pro.test/health"

    wrong_password = call(image, pro_dev, "--identity", str(own / "bundle.p12"), "--password", "guessed", url)
    assert (wrong_password.code, wrong_password.err) == (
        MISTAKE,
        f"{own / 'bundle.p12'}: cannot be opened: the password is wrong (see --help)\n",
    )
    no_authority = call(image, pro_dev, "--trust", str(own / "bundle.p12"), "--trust-password", "mtls-lab", url)
    assert (no_authority.code, no_authority.err.count("\n")) == (MISTAKE, 1)
    assert "there is no authority in it" in no_authority.err
    a_key = call(image, pro_dev, "--trust", str(own / "key.pem"), url)
    assert (a_key.code, a_key.err.count("\n")) == (MISTAKE, 1)


def test_help_says_it_all(image: str, pro_dev: TestedLab) -> None:
    done = call(image, pro_dev, "--help")

    assert done.code == 0
    for word in ("--trust", "--identity", "--password", "--resolve", "CLIENT_PASSWORD", "Exit codes"):
        assert word in done.out


def test_it_runs_from_its_source_as_on_a_laptop(lab: TestedLab) -> None:
    """`java JavaClient.java`, against the published port: what docs/java-client.md shows, line for line."""
    shown = re.findall(r"^\$ java (.+)\n(.+)$", PAGE.read_text(), re.MULTILINE)
    assert len(shown) == 4
    here = {
        "services/java-client": str(SOURCES),
        "compose/two-host/authorities": str(lab.running.authorities),
        "compose/two-host/identities": str(lab.running.identities),
        ":9443/": f":{lab.running.endpoints['server'].https}/",
    }
    for command, told in shown:
        words = re.sub("|".join(here), lambda found: here[found.group()], command).split()
        done = containers.run(
            containers.built("client-java", COMPILER),
            ["java", *words],
            *containers.handed_out(lab),
            SOURCES,
            network_mode="host",
        )
        said = [line for line in (done.out + done.err).splitlines() if not line.startswith("Picked up")]
        assert [answer(line) for line in said] == [answer(told)], command
