"""A kill at any moment of `generate` and of issuing: what is there is whole, and the next run makes it right."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs12

from topology import cli
from topology.description.loading import Description, load
from topology.generation import planning, rendering, storing, writing
from topology.generation.certificates import read_certificates, read_crls, read_key, same_key
from topology.pki.issuing import BUNDLE_PASSWORD
from topology.runtime import certificates
from topology.runtime.lab import Lab

pytestmark = pytest.mark.usefixtures("quick_bundles")

TOPOLOGY = """
name: killed
authorities:
  ssl_ca: {}
  client_ca: {intermediate: true}
identities:
  bro: {authority: client_ca}
hosts:
  server:
    domain: pro.lab.test
    client_certificates: {authority: client_ca}
    services: {node: {kind: node}}
    routes:
      /: {service: node, client_certificate: required}
  client:
    domain: laptop.lab.test
    routes:
      /pro/: {host: server, identity: bro}
"""
RENEWED = TOPOLOGY.replace("ssl_ca: {}", "ssl_ca: {key: ecdsa-p384}").replace(
    "{intermediate: true}", "{intermediate: true, key: ecdsa-p384}"
)
"""The same lab with all authorities, and with them everything below, to be renewed."""

SMALL = """
name: killed
authorities:
  ssl_ca: {key: ecdsa-p256}
hosts:
  server:
    domain: pro.lab.test
"""
LEFT_BEHIND = re.compile(r"next-.*|\..*\.[0-9a-f]{8}")


class Killed(BaseException):
    """The process is gone: nothing of it tidies up."""


Kill = Callable[..., bool]


@pytest.fixture
def kill(monkeypatch: pytest.MonkeyPatch) -> Kill:
    """`kill(n, act, ...)`: does it, and dies before the change after the nth; False where there was no such change."""
    monkeypatch.setattr(writing.os, "fsync", lambda _: None)

    def kill_after(count: int, act: Callable[..., object], *arguments: object) -> bool:
        done = 0
        with pytest.MonkeyPatch.context() as patch:

            def dying(change: Callable[..., None]) -> Callable[..., None]:
                def change_or_die(*paths: Path) -> None:
                    nonlocal done
                    if done == count:
                        raise Killed
                    done += 1
                    change(*paths)

                return change_or_die

            patch.setattr(writing, "put", dying(writing.put))
            patch.setattr(writing, "remove", dying(writing.remove))
            patch.setattr(writing, "clear", lambda _: None)
            try:
                act(*arguments)
            except Killed:
                return True
        return False

    return kill_after


def described(folder: Path, topology: str) -> Description:
    (folder / "topology.yaml").write_text(topology)
    return load(folder / "topology.yaml")


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def is_pair(certificate: bytes, key: bytes) -> bool:
    private = read_key(key)
    return private is not None and same_key(read_certificates(certificate)[0], private)


def assert_authorities_keep_their_keys(files: dict[str, bytes]) -> None:
    """Whatever else is missing: of each authority's certificate the key lies there."""
    for path, content in files.items():
        if re.fullmatch(r"authorities/\w+/(certificate|intermediate)\.pem", path):
            folder, _, name = path.rpartition("/")
            key = "intermediate-key.pem" if name == "intermediate.pem" else "key.pem"
            found = [files[one] for one in (f"{folder}/{key}", f"{folder}/next-{key}") if one in files]
            assert any(is_pair(content, one) for one in found), path


def assert_is_whole(files: dict[str, bytes]) -> None:
    """Every pair fits, every chain leads to its root, every copy is one, and nothing was left behind."""
    left = [path for path in files if LEFT_BEHIND.fullmatch(path.rpartition("/")[2])]
    assert [path for path in left if not path.startswith("..gitignore.")] == []  # that one is for `generate` to sweep
    ssl_ca, client_ca = (files[f"authorities/{name}/certificate.pem"] for name in ("ssl_ca", "client_ca"))
    intermediate, bro = files["authorities/client_ca/intermediate.pem"], files["identities/bro/certificate.pem"]
    servers = {host: files[f"{host}/certificates/server.pem"] for host in ("server", "client")}
    assert is_pair(ssl_ca, files["authorities/ssl_ca/key.pem"])
    assert is_pair(client_ca, files["authorities/client_ca/key.pem"])
    assert is_pair(intermediate, files["authorities/client_ca/intermediate-key.pem"])
    assert is_pair(bro, files["identities/bro/key.pem"])
    for host, certificate in servers.items():
        assert is_pair(certificate, files[f"{host}/certificates/server.key"])
        assert_signed(certificate, ssl_ca)
    assert_signed(intermediate, client_ca)
    assert_signed(bro, intermediate)
    assert read_certificates(bro)[1:] == read_certificates(intermediate)
    packed = pkcs12.load_pkcs12(files["identities/bro/bundle.p12"], BUNDLE_PASSWORD.encode())
    assert packed.cert is not None
    assert [packed.cert.certificate, *(one.certificate for one in packed.additional_certs)] == read_certificates(bro)
    for name, signers in {"ssl_ca": (ssl_ca,), "client_ca": (client_ca, intermediate)}.items():
        for crl, signer in zip(read_crls(files[f"authorities/{name}/crl.pem"]), signers, strict=True):
            assert_signed_crl(crl, signer)
    assert files["server/certificates/client-authorities.pem"] == client_ca
    assert files["server/certificates/client-authorities.crl.pem"] == files["authorities/client_ca/crl.pem"]
    assert files["client/certificates/upstream/ssl_ca.pem"] == ssl_ca
    assert files["client/certificates/upstream/ssl_ca.crl.pem"] == files["authorities/ssl_ca/crl.pem"]
    assert files["client/certificates/identities/bro.pem"] == bro
    assert files["client/certificates/identities/bro.key"] == files["identities/bro/key.pem"]


def assert_signed(certificate: bytes, issuer: bytes) -> None:
    read_certificates(certificate)[0].verify_directly_issued_by(read_certificates(issuer)[0])


def assert_signed_crl(crl: x509.CertificateRevocationList, issuer: bytes) -> None:
    assert crl.is_signature_valid(read_certificates(issuer)[0].public_key())  # type: ignore[arg-type]


def assert_every_kill_heals(
    kill: Kill,
    tmp_path: Path,
    topology: str,
    before: Lab | None = None,
    renew: tuple[str, ...] = (),
) -> int:
    """Kills an issue run after each of its changes, and issues again; returns how many changes there were."""
    old = files_of(before.folder) if before else {}
    description = described(tmp_path, topology)
    count = 0
    while True:
        lab = Lab(description, tmp_path / f"after-{count}")
        if before:
            copy(before.out, lab.out)
        if not kill(count, certificates.issue, lab, renew):
            assert_is_whole(files_of(lab.folder))
            return count
        left = files_of(lab.folder)
        assert_authorities_keep_their_keys(left)
        if count == 0:
            assert {path: content for path, content in left.items() if path in old} == old

        certificates.issue(lab)
        assert_is_whole(files_of(lab.folder))
        assert certificates.issue(lab) == ()
        count += 1


@pytest.fixture
def issued(tmp_path: Path) -> Lab:
    lab = Lab(described(tmp_path, TOPOLOGY), tmp_path / "issued")
    certificates.issue(lab)
    return lab


def test_a_kill_while_a_fresh_lab_is_issued_heals_by_itself(kill: Kill, tmp_path: Path) -> None:
    """Also one between an authority's certificate and its key."""
    assert assert_every_kill_heals(kill, tmp_path, TOPOLOGY) > 20


def test_a_kill_while_authorities_are_renewed_heals_by_itself(kill: Kill, tmp_path: Path, issued: Lab) -> None:
    """Until its certificate is replaced an authority has its old key; from then on its new one."""
    assert assert_every_kill_heals(kill, tmp_path, RENEWED, issued) > 25


def test_a_kill_while_leaves_are_renewed_heals_by_itself(kill: Kill, tmp_path: Path, issued: Lab) -> None:
    """The bundle, too, which does not tell by its looks what is in it; and no authority is touched."""
    authorities = {
        path: content for path, content in files_of(issued.folder).items() if path.startswith("authorities/")
    }

    assert assert_every_kill_heals(kill, tmp_path, TOPOLOGY, issued, ("bro", "hosts.server")) > 5
    for folder in tmp_path.glob("after-*/killed"):
        assert authorities.items() <= files_of(folder).items()


def test_a_second_kill_in_the_next_renewal_loses_no_key_either(kill: Kill, tmp_path: Path) -> None:
    """A staged key that its authority's certificate needs takes its place before another one is staged."""
    before, once, twice = (
        described(tmp_path, SMALL.replace("ecdsa-p256", key)) for key in ("ecdsa-p256", "ecdsa-p384", "ed25519")
    )
    certificates.issue(Lab(before, tmp_path / "issued"))
    first = tried = 0
    while kill(first, certificates.issue, lab := copy_of(tmp_path / "issued", once, f"{first}")):
        staged = any(storing.STAGED.fullmatch(path) for path in files_of(lab.folder))
        second = 0
        while staged and kill(second, certificates.issue, again := copy_of(lab.out, twice, f"{first}-{second}")):
            assert_authorities_keep_their_keys(files_of(again.folder))
            certificates.issue(again)
            assert certificates.issue(again) == ()
            second += 1
        first, tried = first + 1, tried + second
    assert tried > 25


def test_a_kill_while_an_identity_leaves_the_topology_leaves_nothing_of_it_in_the_end(
    kill: Kill, tmp_path: Path
) -> None:
    """Its certificate goes last: without it nobody could tell whose the key is."""
    two = TOPOLOGY.replace(
        "{authority: client_ca}\nhosts", "{authority: client_ca}\n  sis: {authority: client_ca}\nhosts"
    )
    certificates.issue(Lab(described(tmp_path, two), tmp_path / "two"))
    without = described(tmp_path, TOPOLOGY)
    count = 0
    while kill(count, certificates.issue, lab := copy_of(tmp_path / "two", without, f"{count}")):
        certificates.issue(lab)
        assert not [path for path in files_of(lab.folder) if path.startswith("identities/sis")]
        count += 1
    assert count >= 3


def copy_of(folder: Path, description: Description, name: str) -> Lab:
    """A lab with another description, and the files that another one left in a folder."""
    return Lab(description, copy(folder, folder.parent / name))


def copy(folder: Path, to: Path) -> Path:
    """By links, which take less time: files are replaced and never changed, or the next copy would tell."""
    return Path(shutil.copytree(folder, to, copy_function=os.link))


def test_between_kill_and_repair_the_certificates_are_listed_as_they_are(
    kill: Kill, tmp_path: Path, issued: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    """No key is called gone that lies there under its other name."""
    lab = replace(issued, description=described(tmp_path, RENEWED))
    assert kill(3, certificates.issue, lab)
    assert any(storing.STAGED.fullmatch(path) for path in files_of(lab.folder))

    assert cli.main(["certificates", "list", str(lab.description.file), "--out", str(lab.out)]) == 0
    assert "gone" not in capsys.readouterr().out


def test_a_kill_during_generate_leaves_old_files_or_new_ones(kill: Kill, tmp_path: Path) -> None:
    """And the next `generate` leaves nothing but the new ones."""
    changed = TOPOLOGY.replace("laptop.lab.test", "desk.lab.test").replace("/pro/:", "/bro/:").replace("server", "pro")
    before, after = tmp_path / "before", tmp_path / "after"
    old, new = (rendering.render(planning.plan(described(tmp_path, text))) for text in (TOPOLOGY, changed))
    writing.synchronise(before, old)
    writing.synchronise(after, new)
    count = 0
    while True:
        folder = tmp_path / f"after-{count}"
        copy(before, folder)
        if not kill(count, writing.synchronise, folder, new):
            break
        for path, content in files_of(folder).items():
            left_behind = LEFT_BEHIND.fullmatch(path.rpartition("/")[2])
            assert left_behind or content in (encoded(old, path), encoded(new, path)), path
        writing.synchronise(folder, new)
        assert files_of(folder) == files_of(after)
        count += 1
    assert count > 10


def encoded(files: dict[str, str | bytes], path: str) -> bytes | None:
    return writing.encoded(files[path]) if path in files else None
