"""Services that terminate TLS themselves, and nginx in front of those that do not."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import ask, connected, eventually, opened
from topology.description.loading import load
from topology.proof import readiness
from topology.proof.expectation import BAD_KINDS
from topology.proof.probing import Files
from topology.pytest_plugin import TestedLab
from topology.runtime import engine, looking, stacks
from topology.runtime.lab import Lab
from topology.runtime.running import RunningLab

pytestmark = pytest.mark.integration

VERSIONS = pytest.mark.parametrize("tls", ["1.2", "1.3"])
TURNED_AWAY = (ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)
"""Under TLS 1.3 a client may learn at its first read that the server has refused it."""


def greeting(tested: TestedLab, host: str, identity: str | None = None, **options: Any) -> str:
    """What Node.js says on its own TLS port."""
    with opened(tested, host, "/greet/danish", identity, passed=3300, **options) as answer:
        assert answer.status == 200
        return str(json.load(answer)["greeting"])


# For everybody


@VERSIONS
def test_node_serves_https_by_itself(node_tls: TestedLab, tls: str) -> None:
    """With the host's name on a certificate of the lab's authority, which is verified."""
    assert greeting(node_tls, "open", tls=tls) == "Hello, danish"


def test_and_plain_http_beside_it(node_tls: TestedLab) -> None:
    answer = ask(node_tls, "open", "/greet/danish")

    assert answer.url.startswith("http://node.lab.test:")
    assert (answer.status_code, answer.json()["greeting"]) == (200, "Hello, danish")


def test_it_asks_nobody_for_a_certificate(node_tls: TestedLab) -> None:
    assert greeting(node_tls, "open", "laptop") == "Hello, danish"


def test_both_ports_are_published_on_this_machine_alone(node_tls: TestedLab) -> None:
    """By the gateway; the container of the service publishes nothing."""
    client = engine.connect()
    for host in ("open", "strict"):
        gateway = looking.container_of(client, node_tls.lab, host, "gateway").ports
        bound = {port: {one["HostIp"] for one in bindings} for port, bindings in gateway.items() if bindings}
        assert bound["3300/tcp"] == bound["80/tcp"] == {"127.0.0.1"}
        assert set().union(*bound.values()) == {"127.0.0.1"}
        assert not any(looking.container_of(client, node_tls.lab, host, "node").ports.values())


def test_the_topology_s_ports_stand_in_the_stack(node_tls: TestedLab) -> None:
    """Where Docker does not choose them: the article's 3200 and 3300."""
    compose = (node_tls.lab.folder / "open" / "compose.yaml").read_text()

    assert '"127.0.0.1:${MTLS_LAB_HTTP_PORT-3200}:80"' in compose
    assert '"127.0.0.1:${MTLS_LAB_TLS_PORT_3300-3300}:3300"' in compose


def test_the_gateway_that_passes_it_on_cannot_read_its_key(node_tls: TestedLab) -> None:
    listing = node_tls.hosts["open"].exec_in_container(["find", "/etc/nginx/certificates/services"], "gateway")

    assert "server.key" not in listing[0]


# For holders of a certificate


@VERSIONS
@pytest.mark.parametrize("identity", ["laptop", "partner"])
def test_node_lets_in_whoever_shows_a_certificate_that_it_trusts(node_tls: TestedLab, identity: str, tls: str) -> None:
    """Of either authority, signed by its root or by its intermediate: each has its own revocation list."""
    assert greeting(node_tls, "strict", identity, tls=tls) == "Hello, danish"


@VERSIONS
def test_without_a_certificate_the_handshake_is_refused(node_tls: TestedLab, tls: str) -> None:
    with pytest.raises(TURNED_AWAY):
        greeting(node_tls, "strict", tls=tls)


@VERSIONS
@pytest.mark.parametrize("flaw", BAD_KINDS)
def test_so_it_is_with_a_bad_one(node_tls: TestedLab, flaw: str, tls: str) -> None:
    with pytest.raises(TURNED_AWAY):
        greeting(node_tls, "strict", shown=bad(node_tls, flaw), tls=tls)


def bad(tested: TestedLab, flaw: str) -> Files:
    return next(files for caller, files in tested.shown.items() if caller.flaw == flaw)


def test_a_refused_caller_never_reaches_the_application(node_tls: TestedLab) -> None:
    """Nor does it get an answer on the gateway's own route, where the same certificate is a bad one: 400."""
    with opened(node_tls, "strict", "/greet/danish", shown=bad(node_tls, "revoked")) as answer:
        assert answer.status == 400


@VERSIONS
def test_node_resumes_no_session(node_tls: TestedLab, tls: str) -> None:
    """A caller that resumes shows no certificate, and would not meet a newer revocation list."""
    session: ssl.SSLSession | None = None
    for _ in range(2):
        with connected(node_tls, "strict", "laptop", tls=tls, passed=3300, session=session) as encrypted:
            encrypted.sendall(b"GET /health HTTP/1.1\r\nHost: strict.lab.test\r\nConnection: close\r\n\r\n")
            assert b"200 OK" in b"".join(iter(lambda: encrypted.recv(65536), b""))
            assert not encrypted.session_reused
            session = encrypted.session


# Renewal


class Renewing:
    """A lab whose certificates change while it runs."""

    TOPOLOGY = """
name: renewing
authorities: {ssl_ca: {}, client_ca: {}}
identities:
  laptop: {authority: client_ca}
  tablet: {authority: client_ca}
hosts:
  web:
    domain: web.renewing.test
    client_certificates: {authority: client_ca}
    services:
      node: {kind: node, tls: {port: 3300, client_certificate: required}}
    routes:
      /: {service: node}
"""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "topology.yaml"
        self.out = folder / "compose"
        self.file.write_text(self.TOPOLOGY)

    @property
    def lab(self) -> Lab:
        return Lab(load(self.file), self.out, "renewing")

    def up(self) -> TestedLab:
        running: RunningLab = readiness.bring_up(self.lab, choose_ports=True)
        return TestedLab(self.lab, running, {}, (), {})

    def revoke_tablet(self) -> None:
        self.file.write_text(self.TOPOLOGY.replace("tablet: {", "tablet: {revoked: true, "))

    def lose_server_certificate(self) -> None:
        (self.lab.certificates("web") / "services" / "node" / "server.pem").unlink()

    def start(self) -> tuple[str, str]:
        container = looking.container_of(engine.connect(), self.lab, "web", "node")
        return str(container.id), str(container.attrs["State"]["StartedAt"])


@pytest.fixture
def renewing(tmp_path: Path) -> Iterator[Renewing]:
    made = Renewing(tmp_path)
    try:
        yield made
    finally:
        stacks.down(made.lab)


def serial(tested: TestedLab) -> str:
    with connected(tested, "web", "laptop", passed=3300) as encrypted:
        return str((encrypted.getpeercert() or {})["serialNumber"])


def is_let_in(tested: TestedLab, identity: str) -> bool:
    try:
        return greeting(tested, "web", identity) == "Hello, danish"
    except TURNED_AWAY:
        return False


def test_a_renewed_certificate_and_revocation_list_are_taken_up_without_a_restart(renewing: Renewing) -> None:
    """The next handshake meets them, and a connection that was open before does not outlive them."""
    before = renewing.up()
    started, old = renewing.start(), serial(before)
    assert is_let_in(before, "tablet")
    with connected(before, "web", "tablet", passed=3300) as kept:
        assert "200" in asked_again(kept)

        renewing.revoke_tablet()
        renewing.lose_server_certificate()
        after = renewing.up()

        eventually(lambda: serial(after) != old)
        eventually(lambda: not is_let_in(after, "tablet"))
        assert asked_again(kept) == ""
    assert is_let_in(after, "laptop")
    assert renewing.start() == started


def asked_again(kept: ssl.SSLSocket) -> str:
    """The status line of one more answer on a kept connection, empty where the other side has ended it."""
    try:
        kept.sendall(b"GET /health HTTP/1.1\r\nHost: web.renewing.test\r\n\r\n")
        return kept.recv(65536).decode().partition("\r\n")[0]
    except OSError:
        return ""


# nginx in front


def test_nginx_terminates_tls_for_node(terminated: TestedLab) -> None:
    """The application hears of TLS by the gateway's headers alone; nobody is asked for a certificate."""
    answer = ask(terminated, "web", "/greet/danish")
    seen = ask(terminated, "web", "/whoami").json()["headers"]

    assert (answer.status_code, answer.json()["greeting"]) == (200, "Hello, danish")
    assert (seen["x-forwarded-proto"], seen["x-ssl-client-verify"]) == ("https", "NONE")


def test_the_laptop_s_nginx_speaks_plain_http_to_its_caller(pro_dev: TestedLab) -> None:
    """And mutual TLS to `pro`, which is closed to a caller without a certificate."""
    answer = ask(pro_dev, "laptop", "/pro-dev-proxy/greet/danish")

    assert answer.url.startswith("http://")
    assert (answer.status_code, answer.json()["greeting"]) == (200, "Hello, danish")
    assert ask(pro_dev, "pro", "/greet/danish").status_code == 400
