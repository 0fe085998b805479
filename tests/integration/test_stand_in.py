"""Somebody takes the remote host's place on the network: our gateway shows it no certificate and tells it nothing.

nginx alone would complete the handshake, client certificate included, and look at the result afterwards; the gateway's
image judges first (services/gateway/verify-first.c).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import docker
import pytest
import requests

from tests.integration import containers
from tests.integration.conftest import LABS, ask, eventually
from tests.integration.test_broken_walls import restarted
from topology.generation import planning, writing
from topology.pki import forging, issuing
from topology.pki.issuing import CLIENT_AUTH, SERVER_AUTH, Credential, Issuer
from topology.proof.probing import authority
from topology.pytest_plugin import TestedLab, brought_up
from topology.runtime import engine, execution, looking

pytestmark = pytest.mark.integration

DOMAIN = "pro.test"
DEADLINE_SECONDS = 20
NOW = datetime.now(UTC)

FOUND_OUT = {
    "self-signed": "(18:self-signed certificate)",
    "other-authority": "(20:unable to get local issuer certificate)",
    "impostor": "(20:unable to get local issuer certificate)",
    "expired": "(10:certificate has expired)",
    "not-yet-valid": "(9:certificate is not yet valid)",
    "other-name": "(62:hostname mismatch)",
    "for-clients": "(26:unsuitable certificate purpose)",
    "revoked": "(23:certificate revoked)",
}
"""What is wrong with the stand-in's certificate -> what our gateway's log says of it."""


@dataclass(frozen=True)
class StandIn:
    """A container under the address of `pro`'s gateway, with a certificate and key of each kind."""

    tested: TestedLab
    container: Any
    folder: Path

    def meets(self, kind: str, tls: str) -> tuple[requests.Response, str]:
        """What a caller of our gateway gets while the stand-in shows a certificate, and what the stand-in saw."""
        with ThreadPoolExecutor(1) as pool:
            seen = self.serve(pool, kind, tls)
            return ask(self.tested, "laptop", "/pro-dev-proxy/secret"), seen.result(DEADLINE_SECONDS)

    def serve(self, pool: ThreadPoolExecutor, kind: str, tls: str) -> Future[str]:
        """Takes one connection, demands a certificate and prints each message, and what it is asked; answers 204."""
        server = (
            f"exec timeout 15 openssl s_server -accept 443 -naccept 1 -tls{tls.replace('.', '_')} -msg -Verify 1"
            f" -cert {self.folder}/{kind}.pem -cert_chain {self.folder}/{kind}.pem -key {self.folder}/{kind}.key 2>&1"
            r" < <(sleep 2; printf 'HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n'; sleep 1)"
        )
        done = pool.submit(lambda: execution.run(self.container, ["bash", "-c", server]).told)
        listens = ["grep", "--quiet", " 0[0:]*:01BB .* 0A ", "/proc/net/tcp", "/proc/net/tcp6"]
        deadline = time.monotonic() + DEADLINE_SECONDS
        while self.container.exec_run(listens).exit_code != 0:
            assert not done.done(), done.result()
            assert time.monotonic() < deadline, "the stand-in does not listen"
            time.sleep(0.05)
        return done


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """The remote gateway is stopped; whoever has its address now is where our gateway calls."""
    folder = tmp_path_factory.mktemp("stand-in")
    with brought_up(LABS / "pro-dev.yaml", tmp_path_factory.mktemp("stacks")) as tested:
        for kind, credential in shown(tested).items():
            (folder / f"{kind}.pem").write_bytes(credential.certificate_pem())
            (folder / f"{kind}.key").touch(0o600)
            (folder / f"{kind}.key").write_bytes(credential.key_pem())
        image = planning.plan(tested.lab.description).host("pro").gateway_image
        taken = containers.address(tested, "pro")
        looking.container_of(engine.connect(), tested.lab, "pro", "gateway").stop(timeout=2)
        place = {tested.lab.internet: docker.types.EndpointConfig("1.41", ipv4_address=taken)}
        command = ["sleep", "infinity"]
        options = {"network": tested.lab.internet, "networking_config": place, "init": True}
        with containers.started(image, command, folder, **options) as container:
            yield StandIn(tested, container, folder)


def shown(tested: TestedLab) -> dict[str, Credential]:
    """Each names our remote host but for `other-name`, and each but for `true` is wrong in one respect."""
    ours = authority(tested.running, "ssl_ca")
    key = issuing.new_key("ecdsa-p256")
    impostor = Issuer(issuing.issue_root(ours.certificate.subject, key, days=90, now=NOW), key)
    own = issuing.new_key("ecdsa-p256")
    itself = Issuer(issuing.issue_root(issuing.client_subject(DOMAIN), own, days=90, now=NOW), own)
    day = timedelta(days=1)
    serial = issuing.reserved_revoked_serial(ours.certificate)
    return {
        "true": certified(ours),
        "self-signed": certified(itself, key=own),
        "other-authority": certified(forging.stranger(NOW)),
        "impostor": certified(impostor),
        "expired": certified(ours, start=NOW - 30 * day, end=NOW - day),
        "not-yet-valid": certified(ours, start=NOW + day),
        "other-name": certified(ours, "laptop.test"),
        "for-clients": certified(ours, purpose=CLIENT_AUTH),
        "revoked": certified(ours, serial=serial),
    }


def certified(issuer: Issuer, name: str = DOMAIN, **different: Any) -> Credential:
    usual = {"start": NOW - timedelta(hours=1), "end": NOW + timedelta(days=30), "purpose": SERVER_AUTH}
    return forging.forged(issuer, name, [name], **(usual | different))


BOTH_VERSIONS = pytest.mark.parametrize("tls", ["1.2", "1.3"])


@BOTH_VERSIONS
@pytest.mark.parametrize("kind", FOUND_OUT)
def test_a_stand_in_gets_no_certificate_and_no_request(stand_in: StandIn, kind: str, tls: str) -> None:
    """It demands a certificate, and all that it gets is the refusal of its own; our caller gets 502."""
    answer, seen = stand_in.meets(kind, tls)

    assert answer.status_code == 502
    assert ">>> TLS" in seen
    assert "CertificateRequest" in seen
    assert [line for line in seen.splitlines() if line.startswith("<<< TLS") and "Alert" in line]
    assert not [line for line in seen.splitlines() if line.startswith("<<< TLS") and ", Certificate" in line]
    assert "GET" not in seen
    assert "bro" not in seen
    assert FOUND_OUT[kind] in "".join(stand_in.tested.hosts["laptop"].get_logs("gateway"))


@BOTH_VERSIONS
def test_the_same_stand_in_sees_both_where_it_is_believed(stand_in: StandIn, tls: str) -> None:
    """The test above can fail: with the remote host's true certificate it gets ours, and the request."""
    answer, seen = stand_in.meets("true", tls)

    assert answer.status_code == 204
    assert [line for line in seen.splitlines() if line.startswith("<<< TLS") and ", Certificate" in line]
    assert "GET /secret HTTP/1.1" in seen
    assert "CN = bro" in seen or "CN=bro" in seen


@BOTH_VERSIONS
def test_nginx_alone_would_show_it_our_certificate(stand_in: StandIn, tls: str, tmp_path: Path) -> None:
    """Whatever `VerifyMode` says.  Where this fails, nginx has learnt it, and services/gateway can do without."""
    routes = looking.mounted(stand_in.tested.lab, "laptop", "/etc/nginx/lab") / "routes.conf"
    good = routes.read_text()
    verified = "    proxy_ssl_verify on;\n"
    assert verified in good
    writing.write(routes, good.replace(verified, f"{verified}    proxy_ssl_conf_command VerifyMode Peer;\n").encode())
    command = 'command: ["/usr/sbin/nginx", "-e", "/dev/stderr", "-g", "daemon off;"]'
    with restarted(stand_in.tested, "laptop", "gateway", command, tmp_path):
        try:
            eventually(lambda: ask_laptop(stand_in) == 200)
            answer, seen = stand_in.meets("other-authority", tls)
        finally:
            writing.write(routes, good.encode())

    assert answer.status_code == 502
    assert [line for line in seen.splitlines() if line.startswith("<<< TLS") and ", Certificate" in line]
    assert "GET" not in seen


def ask_laptop(stand_in: StandIn) -> int:
    try:
        return ask(stand_in.tested, "laptop", "/").status_code
    except requests.ConnectionError:
        return 0
