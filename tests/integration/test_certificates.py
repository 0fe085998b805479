"""Certificates of a running lab: renewed and taken up at once; a partner comes in with a key that never was here."""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from topology import cli
from topology.description.loading import load
from topology.proof.probing import Direct, Files, tls_context
from topology.runtime import engine, stacks
from topology.runtime.lab import Lab

pytestmark = pytest.mark.integration

TOPOLOGY = """
name: counter
authorities:
  ssl_ca: {}
  client_ca: {intermediate: true}
identities:
  partner: {authority: client_ca}
  clerk: {authority: client_ca}
hosts:
  shop:
    domain: shop.counter.test
    client_certificates: {authority: client_ca}
    services:
      node: {kind: node}
    routes:
      /partners/: {service: node, allow: [partner]}
      /staff/: {service: node, allow: [clerk]}
"""
INSTANCE = "counter"


class Counter:
    """A lab in a folder of its own, driven by the command line as people do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place = [str(folder / "topology.yaml"), "--instance", INSTANCE]
        (folder / "topology.yaml").write_text(TOPOLOGY)
        self.out = folder / "compose"
        self.lab = Lab(load(folder / "topology.yaml"), self.out, INSTANCE)

    def run(self, *words: str) -> int:
        return cli.main([*words, *self.place, "--stacks" if "sign" in words else "--out", str(self.out)])

    def up(self) -> int:
        return self.run("up", "--ports", "auto", "--json")

    def started(self) -> dict[str, str]:
        """Container -> when it started."""
        return {str(c.id): c.attrs["State"]["StartedAt"] for c in stacks.containers(engine.connect(), self.lab)}

    def served_serial(self) -> str:
        port = stacks.running(self.lab).endpoints["shop"].https or 0
        context = ssl.create_default_context(cafile=str(self.lab.authorities / "ssl_ca" / "certificate.pem"))
        with (
            socket.create_connection(("127.0.0.1", port)) as connection,
            context.wrap_socket(connection, server_hostname="shop.counter.test") as tls,
        ):
            return str((tls.getpeercert() or {})["serialNumber"])

    def get(self, path: str, shown: Files) -> int:
        running = stacks.running(self.lab)
        url = f"https://shop.counter.test:{running.endpoints['shop'].https}"
        with requests.Session() as session:
            session.trust_env = False
            session.mount(url, Direct("127.0.0.1", tls_context(running.anchor("shop"), shown, "1.3")))
            return session.get(url + path, timeout=10).status_code

    def request(self, name: str) -> Files:
        """A partner's key and request, made with openssl in a folder of its own; its certificate is yet to come."""
        home = self.folder / name
        home.mkdir()
        for line in (
            "genpkey -algorithm RSA -out key.pem",
            f"req -new -key key.pem -out request.csr -subj /C=DE/O=Partner/CN={name}",
        ):
            subprocess.run(["openssl", *line.split()], cwd=home, check=True, capture_output=True)
        return Files(home / "certificate.pem", home / "key.pem")


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counter]:
    made = Counter(tmp_path_factory.mktemp("counter"))
    try:
        assert made.up() == 0
        yield made
    finally:
        made.run("down")


def test_a_renewed_certificate_is_served_at_once(counter: Counter, capsys: pytest.CaptureFixture[str]) -> None:
    """`renew` reloads the running gateway, and starts nothing anew; `up` finds nothing left to do."""
    before, old = counter.started(), counter.served_serial()
    capsys.readouterr()

    assert counter.run("certificates", "renew", "shop") == 0
    told = capsys.readouterr()
    assert "the running lab has taken it up" in told.out
    assert "shop: gateway reloaded" in told.err
    assert counter.served_serial() != old
    assert counter.started() == before
    assert counter.up() == 0
    assert "reloaded" not in capsys.readouterr().err


def test_a_lab_of_another_folder_is_not_reloaded(
    counter: Counter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same names elsewhere: those certificates are not the running gateway's."""
    other, old = Counter(tmp_path), counter.served_serial()
    capsys.readouterr()

    assert other.run("certificates", "issue") == 0
    assert "at the next `mtls-lab up`" in capsys.readouterr().out
    assert counter.served_serial() == old


def test_a_partner_comes_in_with_the_key_that_it_kept(counter: Counter, capsys: pytest.CaptureFixture[str]) -> None:
    """Signed while the lab runs; `up` keeps it, `check` leaves out what nobody here can show, and says so."""
    shown = counter.request("partner")
    request, certificate = str(shown.key.parent / "request.csr"), str(shown.certificate)

    assert counter.run("certificates", "sign", "--csr", request, "--as", "partner", "--out", certificate) == 0
    assert counter.get("/partners/health", shown) == 200
    assert counter.get("/staff/health", shown) == 403
    assert not (counter.lab.identities / "partner" / "key.pem").exists()

    before = shown.certificate.read_bytes()
    assert counter.up() == 0
    assert (counter.lab.identities / "partner" / "certificate.pem").read_bytes() == before
    capsys.readouterr()
    assert counter.run("check") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "partner: left out: its key is held elsewhere, so nobody here can show it" in told
    assert "partner-expired" in told
    assert counter.get("/partners/health", shown) == 200


def test_status_warns_of_what_is_not_in_order(counter: Counter, capsys: pytest.CaptureFixture[str]) -> None:
    file = counter.lab.identities / "clerk" / "certificate.pem"
    content = file.read_bytes()
    file.write_text("garbage")
    capsys.readouterr()
    try:
        assert counter.run("status") == 0
        assert "identity clerk: unreadable" in capsys.readouterr().out
    finally:
        file.write_bytes(content)
    assert counter.run("status") == 0
    assert "unreadable" not in capsys.readouterr().out
