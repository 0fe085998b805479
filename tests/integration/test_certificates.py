"""Certificates of a running lab: renewed and taken up at once; a partner comes in with a key that never was here."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.driving import Driven
from topology.proof.probing import Files

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


class Counter(Driven):
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
    with Counter.of(TOPOLOGY, tmp_path_factory.mktemp("counter"), INSTANCE).up_meanwhile(TOPOLOGY) as made:
        yield made


def test_a_renewed_certificate_is_served_at_once(counter: Counter, capsys: pytest.CaptureFixture[str]) -> None:
    """`renew` reloads the running gateway, and starts nothing anew; `up` finds nothing left to do."""
    before, old = counter.started(), counter.served("shop")
    capsys.readouterr()

    assert counter.run("certificates", "renew", "shop") == 0
    told = capsys.readouterr()
    assert "the running lab has taken it up" in told.out
    assert "shop: gateway reloaded" in told.err
    assert counter.served("shop") != old
    assert counter.started() == before
    assert counter.up() == 0
    assert "reloaded" not in capsys.readouterr().err


def test_a_lab_of_another_folder_is_not_reloaded(
    counter: Counter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same names elsewhere: those certificates are not the running gateway's."""
    other, old = Counter.of(TOPOLOGY, tmp_path, INSTANCE), counter.served("shop")
    capsys.readouterr()

    assert other.run("certificates", "issue") == 0
    assert "at the next `mtls-lab up`" in capsys.readouterr().out
    assert counter.served("shop") == old


def test_a_partner_comes_in_with_the_key_that_it_kept(counter: Counter, capsys: pytest.CaptureFixture[str]) -> None:
    """Signed while the lab runs; `up` keeps it, `check` leaves out what nobody here can show, and says so."""
    shown = counter.request("partner")
    request, certificate = str(shown.key.parent / "request.csr"), str(shown.certificate)

    assert counter.run("certificates", "sign", "--csr", request, "--as", "partner", "--out", certificate) == 0
    assert counter.get("shop", "/partners/health", shown) == 200
    assert counter.get("shop", "/staff/health", shown) == 403
    assert not (counter.lab.identities / "partner" / "key.pem").exists()

    before = shown.certificate.read_bytes()
    assert counter.up() == 0
    assert (counter.lab.identities / "partner" / "certificate.pem").read_bytes() == before
    capsys.readouterr()
    assert counter.run("check") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "partner: left out: its key is held elsewhere, so nobody here can show it" in told
    assert "partner-expired" in told
    assert counter.get("shop", "/partners/health", shown) == 200


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
