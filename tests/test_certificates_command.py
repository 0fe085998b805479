"""`mtls-lab certificates`, without an engine: judged by openssl and keytool, and the other way round."""

from __future__ import annotations

import json
import os
import re
import shutil
import ssl
import stat
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from topology import cli
from topology.description.loading import load
from topology.proof import expectation
from topology.runtime import certificates as runtime
from topology.runtime import engine
from topology.runtime.lab import Lab

TOPOLOGY = """
name: paper
authorities:
  ssl_ca: {}
  client_ca: {intermediate: true}
identities:
  bro: {authority: client_ca}
  lent: {authority: client_ca}
  gone: {authority: client_ca, revoked: true}
hosts:
  server:
    domain: pro.lab.test
    aliases: [www.lab.test]
    client_certificates: {authority: client_ca}
    services: {node: {kind: node}}
    routes:
      /: {service: node, allow: [bro, lent]}
  client:
    domain: laptop.lab.test
    routes:
      /pro/: {host: server, identity: lent}
"""


class Desk:
    """A folder with a topology, and the commands as a person types them there."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], issued: Path) -> None:
        self.folder = folder
        self.issued = issued
        self.capsys = capsys
        self.stacks = folder / "compose" / "paper"
        self.write(TOPOLOGY)

    def write(self, topology: str) -> None:
        (self.folder / "topology.yaml").write_text(topology)

    def run(self, *arguments: str) -> int:
        self.capsys.readouterr()
        return cli.main(["certificates", *arguments])

    def told(self) -> str:
        """What the last command printed, errors included."""
        printed = self.capsys.readouterr()
        return printed.out + printed.err

    def listed(self) -> dict[tuple[str, str], dict[str, Any]]:
        """(kind, name) -> the last entry of `list --json`."""
        assert self.run("list", "--json") == 0
        return {(one["kind"], one["name"]): one for one in json.loads(self.capsys.readouterr().out)}

    def files(self) -> dict[str, bytes]:
        return {str(p.relative_to(self.folder)): p.read_bytes() for p in self.folder.rglob("*") if p.is_file()}

    def openssl(self, *arguments: str) -> str:
        done = subprocess.run(["openssl", *arguments], cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def request(self, name: str, subject: str = "/CN=bro") -> None:
        """The article's commands: NAME.key and NAME.csr.  (RSA keys take long to find; one test has one.)"""
        self.openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", f"{name}.key")
        self.ask_with(name, subject)

    def ask_with(self, key: str, subject: str, *options: str) -> None:
        self.openssl("req", "-new", "-key", f"{key}.key", "-out", f"{key}.csr", "-subj", subject, *options)

    def issue(self) -> None:
        """The lab's certificates as `issue` makes them: once, and copied for each test."""
        shutil.copytree(self.issued, self.stacks)


@pytest.fixture(scope="session")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("issued")
    (folder / "topology.yaml").write_text(TOPOLOGY)
    runtime.issue(Lab(load(folder / "topology.yaml"), folder / "compose"))
    return folder / "compose" / "paper"


@pytest.fixture
def desk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, issued: Path
) -> Iterator[Desk]:
    """No engine answers, and none is needed."""
    engine.connect.cache_clear()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    monkeypatch.chdir(tmp_path)
    yield Desk(tmp_path, capsys, issued)
    engine.connect.cache_clear()


# list, issue, renew


def test_list_shows_what_is_missing_and_what_is_there(desk: Desk) -> None:
    """Before the first `issue`, and after it."""
    assert {one["state"] for one in desk.listed().values()} == {"missing"}
    assert not desk.stacks.exists()

    assert desk.run("issue") == 0
    found = desk.listed()
    assert found["identity", "bro"]["subject"] == "CN=bro"
    assert found["identity", "bro"]["san"] == ["email:bro@paper.test"]
    assert found["identity", "bro"]["issuer"] == "CN=client_ca intermediate,O=paper"
    assert found["identity", "bro"]["days_left"] == 89
    assert found["server", "server"]["san"] == ["DNS:pro.lab.test", "DNS:www.lab.test"]
    assert Path(found["server", "server"]["path"]).read_bytes().startswith(b"-----BEGIN CERTIFICATE")
    assert found["identity", "gone"]["state"] == "revoked"
    assert found["crl", "client_ca"]["note"] == "1 revoked"
    assert {one["state"] for key, one in found.items() if key != ("identity", "gone")} == {"ok"}


def test_the_table_has_a_row_for_each(desk: Desk) -> None:
    desk.issue()

    assert desk.run("list", "topology.yaml") == 0
    told = desk.told()
    assert "CN=bro" in told
    assert "DNS:pro.lab.test" in told
    assert "revoked" in told


@pytest.mark.parametrize(
    ("later", "states"),
    [
        (timedelta(days=61), {"identity": "due for renewal", "crl": "expired", "authority": "ok"}),
        (timedelta(days=91), {"identity": "expired", "server": "expired", "authority": "ok"}),
        (-timedelta(days=1), {"identity": "not yet valid"}),
        (timedelta(days=3700), {"authority": "expired"}),
    ],
    ids=str,
)
def test_time_makes_certificates_due(desk: Desk, later: timedelta, states: dict[str, str]) -> None:
    """At a third of its life, and at its end."""
    desk.issue()
    lab = Lab(load(Path("topology.yaml")), Path("compose"))
    entries = runtime.look(lab, datetime.now(UTC) + later)

    for kind, state in states.items():
        assert {one.state for one in entries if one.kind == kind and one.name != "gone"} == {state}


def test_what_lies_there_corrupt_is_told(desk: Desk) -> None:
    desk.issue()
    (desk.stacks / "identities" / "bro" / "certificate.pem").write_text("garbage")
    (desk.stacks / "authorities" / "ssl_ca" / "key.pem").unlink()

    found = desk.listed()
    assert found["identity", "bro"]["state"] == "unreadable"
    assert found["authority", "ssl_ca"]["state"] == "broken"
    assert found["authority", "ssl_ca"]["note"] == "its key is gone"


def test_issue_twice_changes_nothing_and_says_so(desk: Desk) -> None:
    desk.issue()
    before = desk.files()

    assert desk.run("issue") == 0
    assert "nothing is missing or due" in desk.told()
    assert desk.files() == before


def test_keys_stay_out_of_git_from_the_first_moment(desk: Desk) -> None:
    """Also where nothing was generated yet."""
    desk.run("issue")

    assert "/identities*/" in (desk.stacks / ".gitignore").read_text()


def test_renew_replaces_what_is_named_and_nothing_else(desk: Desk) -> None:
    """Certificate and key; and it says when a gateway takes them up."""
    desk.issue()
    before = desk.files()

    assert desk.run("renew", "bro", "hosts.server") == 0
    told = desk.told()
    changed = {path for path, content in desk.files().items() if before.get(path) != content}
    assert changed == {
        f"compose/paper/{path}"
        for path in (
            "identities/bro/certificate.pem", "identities/bro/key.pem", "identities/bro/bundle.p12",
            "server/certificates/server.pem", "server/certificates/server.key",
        )
    }  # fmt: skip
    assert "identity bro: issued a certificate (as asked)" in told
    assert "at the next `mtls-lab up`" in told


def test_renew_without_a_name_renews_what_is_due(desk: Desk) -> None:
    desk.issue()
    (desk.stacks / "identities" / "bro" / "certificate.pem").unlink()

    assert desk.run("renew", "--json") == 0
    assert json.loads(desk.told())["changes"] == ["identity bro: issued a certificate (there was none)"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("brro", "did you mean 'bro'?"),
        ("ssl_ca", "is an authority"),
        ("a.yaml", "cannot be read"),
    ],
)
def test_renew_of_something_else_is_one_clear_line(desk: Desk, name: str, told: str) -> None:
    desk.issue()
    before = desk.files()

    assert desk.run("renew", name) == 2
    printed = desk.told()
    assert told in printed
    assert len(printed.splitlines()) == 1
    assert desk.files() == before


def test_what_certbot_renews_is_told(desk: Desk) -> None:
    desk.write(
        TOPOLOGY.replace("    aliases: [www.lab.test]\n", "    aliases: [www.lab.test]\n    tls: {acme: true}\n")
    )

    assert desk.run("renew", "server") == 2
    assert "comes from an ACME server, and certbot renews that" in desk.told()


SERVER_WAITS = "the lab's ACME server takes up its own certificate at the next `mtls-lab up`"


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["bro"], "the running lab has taken it up"),
        (["acme"], SERVER_WAITS),
        (["bro", "acme"], f"the running gateways have taken it up; {SERVER_WAITS}"),
    ],
    ids=str,
)
def test_what_a_running_lab_has_not_taken_up_is_not_said_to_be(
    desk: Desk, names: list[str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its ACME server reads its own certificate when it starts, and no sooner."""
    desk.write(
        TOPOLOGY.replace("    aliases: [www.lab.test]\n", "    aliases: [www.lab.test]\n    tls: {acme: true}\n")
    )
    desk.run("issue")
    monkeypatch.setattr(runtime, "take_up", lambda *_: True)

    assert desk.run("renew", *names) == 0
    assert desk.told().splitlines()[-1] == told


def test_a_name_that_two_things_have_is_asked_about(desk: Desk) -> None:
    desk.write(
        TOPOLOGY.replace("  bro: {authority: client_ca}", "  server: {authority: client_ca}").replace("bro, ", "")
    )

    assert desk.run("renew", "server") == 2
    assert "write identities.server or hosts.server" in desk.told()
    assert desk.run("renew", "identities.server") == 0


def test_somebody_else_s_files_are_not_overwritten(desk: Desk) -> None:
    """A certificate of another authority in an identity's place, with its key: nothing that can be made again."""
    desk.issue()
    desk.request("theirs")
    desk.openssl("req", "-new", "-x509", "-key", "theirs.key", "-out", "theirs.pem", "-subj", "/O=Others/CN=bro")
    place = desk.stacks / "identities" / "bro"
    shutil.copy(desk.folder / "theirs.pem", place / "certificate.pem")
    shutil.copy(desk.folder / "theirs.key", place / "key.pem")
    before = desk.files()

    assert desk.run("renew", "bro") == 2
    assert "issued by CN=bro,O=Others, not by this lab, and is not overwritten" in desk.told()
    assert desk.files() == before


@pytest.mark.parametrize("command", [["issue"], ["sign", "--csr", "partner.csr", "--as", "bro"]], ids=lambda c: c[0])
def test_somebody_else_s_key_stays_also_where_it_has_a_password(desk: Desk, command: list[str]) -> None:
    """And where a request is signed: it would take the place of both files."""
    desk.issue()
    desk.request("theirs")
    desk.request("partner")
    desk.openssl("req", "-new", "-x509", "-key", "theirs.key", "-out", "theirs.pem", "-subj", "/O=Others/CN=bro")
    desk.openssl("pkey", "-in", "theirs.key", "-aes256", "-passout", "pass:secret", "-out", "locked.key")
    place = desk.stacks / "identities" / "bro"
    shutil.copy(desk.folder / "theirs.pem", place / "certificate.pem")
    shutil.copy(desk.folder / "locked.key", place / "key.pem")
    before = desk.files()

    assert desk.run(*command) == 2
    assert "not by this lab, and is not overwritten" in desk.told()
    assert desk.files() == before


def test_a_key_that_is_not_the_certificate_s_is_not_exported(desk: Desk) -> None:
    desk.issue()
    desk.request("other")
    shutil.copy(desk.folder / "other.key", desk.stacks / "identities" / "bro" / "key.pem")

    assert desk.run("export", "bro") == 2
    assert "there is no certificate with its key yet" in desk.told()


@pytest.mark.parametrize(
    ("name", "whole", "damaged"),
    [
        ("identities/bro/certificate.pem", b"\x0c\x03bro", b"\x0c\x03\xff\xffo"),
        ("server/certificates/server.pem", b"\x82\x0cpro.lab.test", b"\x87\x0cpro.lab.test"),
    ],
    ids=["subject", "alternative name"],
)
def test_a_certificate_that_is_damaged_within_is_made_again(
    desk: Desk, name: str, whole: bytes, damaged: bytes
) -> None:
    """Its PEM is whole; a name in it is no text, or no address."""
    desk.issue()
    file = desk.stacks / name
    der = leaf_of(file)
    assert whole in der
    file.write_text(ssl.DER_cert_to_PEM_cert(der.replace(whole, damaged)))

    assert desk.run("list") == 0
    assert desk.run("issue") == 0
    assert "issued a certificate" in desk.told()
    assert whole in leaf_of(file)


def leaf_of(file: Path) -> bytes:
    """The DER of the first certificate."""
    return x509.load_pem_x509_certificates(file.read_bytes())[0].public_bytes(Encoding.DER)


def test_what_was_never_the_lab_s_is_left_alone(desk: Desk) -> None:
    """A note beside a certificate, and an authority that left the topology: its key cannot be made again."""
    desk.issue()
    note = desk.stacks / "identities" / "bro" / "notes.txt"
    note.write_text("ask Maria")
    desk.write(TOPOLOGY.replace("  ssl_ca: {}\n", "  ssl_ca: {}\n  new: {}\n"))
    desk.run("issue")
    desk.write(TOPOLOGY)

    assert desk.run("issue") == 0
    assert note.read_text() == "ask Maria"
    assert "notes.txt: is not the lab's, and left alone" in desk.told()
    assert (desk.stacks / "authorities" / "new" / "key.pem").is_file()
    assert desk.listed()["authority", "new"]["note"] == "left the topology"


def test_an_identity_that_left_the_topology_is_removed(desk: Desk) -> None:
    """Its key has no business on this disk any more."""
    desk.issue()
    desk.write(TOPOLOGY.replace("  gone: {authority: client_ca, revoked: true}\n", ""))

    assert desk.run("issue") == 0
    assert not (desk.stacks / "identities" / "gone").exists()


@pytest.mark.parametrize("there", [("certificate.pem", "key.pem"), ("key.pem",)], ids=["pair", "key"])
def test_somebody_else_s_key_stays_where_no_identity_is(desk: Desk, there: tuple[str, ...]) -> None:
    """Under the names that the lab uses itself, in a folder that it never made: it cannot be made again."""
    desk.issue()
    desk.request("theirs")
    desk.openssl("req", "-new", "-x509", "-key", "theirs.key", "-out", "theirs.pem", "-subj", "/O=Others/CN=mine")
    place = desk.stacks / "identities" / "mine"
    place.mkdir()
    for name, source in (("certificate.pem", "theirs.pem"), ("key.pem", "theirs.key")):
        if name in there:
            shutil.copy(desk.folder / source, place / name)
    before = desk.files()

    assert desk.run("issue") == 0
    assert f"{place / 'key.pem'}: is not the lab's, and left alone" in desk.told()
    assert desk.files() == before


# export


def test_pem_holds_certificate_chain_and_key(desk: Desk) -> None:
    """In one file, readable by its owner alone."""
    desk.issue()

    assert desk.run("export", "bro") == 0
    file = desk.folder / "bro.pem"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    chain = x509.load_pem_x509_certificates(file.read_bytes())
    assert len(chain) == 2
    assert load_pem_private_key(file.read_bytes(), None).public_key() == chain[0].public_key()


def test_an_authority_goes_out_without_its_key(desk: Desk) -> None:
    desk.issue()

    assert desk.run("export", "client_ca", "--to", "ca.pem") == 0
    assert b"PRIVATE KEY" not in (desk.folder / "ca.pem").read_bytes()
    assert desk.run("export", "client_ca", "--format", "pkcs12") == 2
    assert "an authority's key is never exported" in desk.told()


@pytest.mark.parametrize(
    ("kind", "algorithm"), [("pkcs12", "AES-256-CBC"), ("pkcs12-legacy", "pbeWithSHA1And3-KeyTripleDES-CBC")]
)
def test_pkcs12_is_what_openssl_and_java_open(desk: Desk, kind: str, algorithm: str) -> None:
    """Modern, and for systems that know nothing newer than 3DES and SHA-1."""
    desk.issue()
    assert desk.run("export", "bro", "--format", kind, "--to", "out.p12", "--password", "secret-7") == 0

    done = subprocess.run(
        ["openssl", "pkcs12", "-in", "out.p12", "-info", "-nodes", "-passin", "pass:secret-7"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert algorithm in done.stderr
    assert ("sha1" in done.stderr.splitlines()[0]) == (kind == "pkcs12-legacy")
    assert done.stdout.count("BEGIN CERTIFICATE") == 2
    assert "BEGIN PRIVATE KEY" in done.stdout
    assert stat.S_IMODE((desk.folder / "out.p12").stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["ssl_ca", "server"])
def test_a_truststore_holds_an_authority(desk: Desk, name: str) -> None:
    """By its own name, or by that of the host that is to be trusted."""
    desk.issue()

    assert desk.run("export", name, "--format", "truststore") == 0
    file = desk.folder / f"{name}-truststore.p12"
    assert b"PRIVATE KEY" not in file.read_bytes()
    listing = desk.openssl("pkcs12", "-in", file.name, "-nokeys", "-passin", "pass:mtls-lab")
    assert "CN = ssl_ca" in listing or "CN=ssl_ca" in listing


def test_java_tells_a_truststore_from_a_key(desk: Desk) -> None:
    """keytool sees in a PKCS#12 without Oracle's attribute nothing to trust.  (`make install` brings no Java.)"""
    if shutil.which("keytool") is None:
        assert b"\x06\x0b\x60\x86\x48\x01\x86\xf9\x66\xad\xca\x7b\x01\x01" in exported_truststore(desk)
        return
    exported_truststore(desk)
    quick = ["-J-XX:TieredStopAtLevel=1", "-J-XX:+UseSerialGC"]  # it is gone before anything else pays off
    command = ["keytool", *quick, "-list", "-keystore", "trust.p12", "-storepass", "mtls-lab"]
    assert "trustedCertEntry" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def exported_truststore(desk: Desk) -> bytes:
    desk.issue()
    assert desk.run("export", "ssl_ca", "--format", "truststore", "--to", "trust.p12") == 0
    return (desk.folder / "trust.p12").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["bro", "--format", "jks"], "must be pem, pkcs12, pkcs12-legacy, truststore"),
        (["bro", "--format", "truststore"], "is a client certificate"),
        (["bro", "--format", "pkcs12", "--password", ""], "is empty"),
        (["bro", "--format", "pkcs12", "--password", "schlüssel"], "programs encode differently"),
        (["ssl_ca", "--format", "truststore", "--password", "five5"], "none below 6"),
        (["nobody"], "no identity, host or authority"),
        (["topology.yaml"], "goes with --topology"),
        (["bro", "--to", "compose"], "is a folder"),
        (["bro", "other.yaml", "--topology", "topology.yaml"], "give one topology file"),
    ],
    ids=str,
)
def test_an_export_that_makes_no_sense_is_one_clear_line(desk: Desk, arguments: list[str], told: str) -> None:
    desk.issue()
    before = desk.files()

    assert desk.run("export", *arguments) == 2
    printed = desk.told()
    assert told in printed
    assert len(printed.splitlines()) == 1
    assert desk.files() == before


def test_before_anything_is_issued_there_is_nothing_to_export(desk: Desk) -> None:
    for name in ("bro", "ssl_ca", "server"):
        assert desk.run("export", name) == 2
        assert "run `mtls-lab certificates issue`" in desk.told()


@pytest.mark.parametrize("kind", ["pem", "pkcs12", "truststore"])
def test_an_earlier_export_is_replaced_and_another_file_is_not(desk: Desk, kind: str) -> None:
    """Unless --force says so."""
    desk.issue()
    name = "server" if kind == "truststore" else "bro"
    assert desk.run("export", name, "--format", kind, "--to", "out") == 0
    desk.run("renew", name)
    assert desk.run("export", name, "--format", kind, "--to", "out") == 0

    for other in (b"my only copy", (desk.stacks / "identities" / "lent" / "certificate.pem").read_bytes()):
        (desk.folder / "out").write_bytes(other)
        assert desk.run("export", name, "--format", kind, "--to", "out") == 2
        assert "add --force" in desk.told()
        assert (desk.folder / "out").read_bytes() == other
    assert desk.run("export", name, "--format", kind, "--to", "out", "--force") == 0


@pytest.mark.parametrize("command", [["export", "bro", "--to"], ["sign", "--csr", "bro.csr", "--as", "bro", "--out"]])
def test_a_device_is_not_replaced_by_a_file(desk: Desk, command: list[str]) -> None:
    """Root could do that to /dev/stdout, for every program on the machine.  Here a pipe stands for it."""
    desk.issue()
    desk.request("bro")
    os.mkfifo(desk.folder / "pipe")
    before = desk.files()

    assert desk.run(*command, "pipe", "--force") == 2
    assert "pipe: is a device or a pipe" in desk.told()
    assert (desk.folder / "pipe").is_fifo()
    assert desk.files() == before


# sign


def test_a_partner_s_request_becomes_the_identity(desk: Desk) -> None:
    """Its key never was here; certificate and chain pass openssl at its strictest."""
    desk.issue()
    desk.request("bro", "/C=AU/ST=Some-State/O=Internet Widgits Pty Ltd/CN=bro")

    assert desk.run("sign", "--csr", "bro.csr", "--as", "bro", "--out", "bro.pem") == 0
    assert "not taken over, since the topology gives the subject: C=AU, ST=Some-State" in desk.told()

    place = desk.stacks / "identities" / "bro"
    assert sorted(path.name for path in place.iterdir()) == ["certificate.pem", "request.pem"]
    assert (desk.folder / "bro.pem").read_bytes() == (place / "certificate.pem").read_bytes()
    judged(desk, "bro.pem", "client_ca", "sslclient")
    assert desk.openssl("x509", "-in", "bro.pem", "-noout", "-pubkey") == desk.openssl(
        "pkey", "-in", "bro.key", "-pubout"
    )
    assert desk.listed()["identity", "bro"]["note"] == "key held elsewhere"


def judged(desk: Desk, file: str, authority: str, purpose: str) -> None:
    """openssl verify -x509_strict, with the chain from the file and the authority's revocation lists."""
    root, crl = (f"compose/paper/authorities/{authority}/{name}.pem" for name in ("certificate", "crl"))
    desk.openssl(
        "verify", "-x509_strict", "-purpose", purpose, "-crl_check_all", "-CRLfile", crl, "-CAfile", root,
        "-untrusted", file, file,
    )  # fmt: skip


def test_a_request_for_a_host_is_signed_and_remembered(desk: Desk, rsa_key: Path) -> None:
    """The server's key is on another machine; the lab's own gateway keeps its own."""
    desk.issue()
    gateway = (desk.stacks / "server/certificates/server.pem").read_bytes()
    shutil.copy(rsa_key, desk.folder / "pro.key")
    desk.ask_with("pro", "/CN=pro.lab.test", "-addext", "subjectAltName=DNS:www.lab.test")

    assert desk.run("sign", "--csr", "pro.csr", "--as", "server") == 0
    printed = desk.capsys.readouterr().out
    (desk.folder / "pro.pem").write_text(printed)
    judged(desk, "pro.pem", "ssl_ca", "sslserver")
    text = desk.openssl("x509", "-in", "pro.pem", "-noout", "-ext", "subjectAltName,keyUsage")
    assert "DNS:pro.lab.test, DNS:www.lab.test" in text
    assert "Key Encipherment" in text
    assert (desk.stacks / "server/certificates/server.pem").read_bytes() == gateway
    assert desk.listed()["server", "server"]["note"] == "key held elsewhere"
    assert desk.run("issue") == 0
    assert desk.listed()["server", "server"]["note"] == "key held elsewhere"


def test_what_was_signed_survives_and_is_renewed_for_the_same_key(desk: Desk) -> None:
    """`issue`, as `up`, keeps it; when it is due, or asked for, the same key is certified again."""
    desk.issue()
    desk.request("bro")
    desk.run("sign", "--csr", "bro.csr", "--as", "bro", "--out", "bro.pem")
    before = desk.files()
    assert desk.run("issue") == 0
    assert desk.files() == before

    assert desk.run("renew", "bro") == 0
    assert "hand identities/bro/certificate.pem to whoever holds the key" in desk.told()
    old, new = (
        x509.load_pem_x509_certificates(text)[0]
        for text in (before["bro.pem"], (desk.stacks / "identities/bro/certificate.pem").read_bytes())
    )
    assert old.serial_number != new.serial_number
    assert old.public_key() == new.public_key()


def test_it_says_when_a_key_of_the_lab_s_own_goes(desk: Desk) -> None:
    desk.issue()
    desk.request("bro")

    assert desk.run("sign", "--csr", "bro.csr", "--as", "bro", "--out", "bro.pem") == 0
    assert "identity bro: the key that the lab made for it is gone" in desk.told()
    assert not (desk.stacks / "identities/bro/key.pem").exists()
    assert desk.run("sign", "--csr", "bro.csr", "--as", "bro", "--out", "bro.pem") == 0
    assert "is gone" not in desk.told()


@pytest.mark.parametrize("command", [["list"], ["issue"], ["renew", "bro"], ["export", "bro"]])
def test_what_another_user_made_is_one_line(desk: Desk, command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """(As root nothing is unreadable: the system's refusal is played.)"""
    desk.issue()
    before, read = desk.files(), Path.read_bytes

    def refuse_keys(path: Path) -> bytes:
        if path.name == "key.pem":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse_keys)
    assert desk.run(*command) == 2
    told = desk.told()
    monkeypatch.undo()
    assert told.count("\n") == 1
    assert "key.pem: cannot be read: Permission denied; run this as the user who ran `mtls-lab up`" in told
    assert desk.files() == before


def test_the_matrix_leaves_out_whom_nobody_here_can_show(desk: Desk) -> None:
    """And says so; what only looks like that identity is forged as ever."""
    desk.issue()
    desk.request("bro")
    desk.run("sign", "--csr", "bro.csr", "--as", "bro")
    topology = load(Path("topology.yaml")).topology

    callers = {check.caller for check in expectation.checks(topology, {"bro"})}
    assert "bro" not in callers
    assert {"none", "lent", "bro-expired", "bro-revoked"} <= callers
    assert [one.why for one in expectation.left_out(topology, {"bro"}) if one.route == "bro"] == [
        "its key is held elsewhere, so nobody here can show it"
    ]


def test_an_identity_that_a_gateway_attaches_is_not_signed_away(desk: Desk) -> None:
    """The gateway needs its key: said when it is asked for, and when the topology comes to ask for it later."""
    desk.issue()
    desk.request("lent", "/CN=lent")
    before = desk.files()
    assert desk.run("sign", "--csr", "lent.csr", "--as", "lent") == 2
    assert "host client attaches it on a route, so its gateway needs the key" in desk.told()
    assert desk.files() == before

    desk.request("bro")
    desk.run("sign", "--csr", "bro.csr", "--as", "bro")
    desk.write(TOPOLOGY.replace("identity: lent", "identity: bro"))
    assert desk.run("issue") == 2
    told = desk.told()
    assert "a route of it attaches the identity bro, whose key is held elsewhere" in told
    assert len(told.splitlines()) == 1


def test_a_topology_that_renames_it_asks_for_a_new_request(desk: Desk) -> None:
    desk.issue()
    desk.request("bro")
    desk.run("sign", "--csr", "bro.csr", "--as", "bro")
    desk.write(TOPOLOGY.replace("bro: {authority: client_ca}", "bro: {authority: client_ca, common_name: sis}"))

    assert desk.run("issue") == 2
    assert "asks for the name CN=bro; the topology gives CN=sis" in desk.told()


def test_the_key_comes_back_when_the_folder_is_removed(desk: Desk) -> None:
    desk.issue()
    desk.request("bro")
    desk.run("sign", "--csr", "bro.csr", "--as", "bro")
    shutil.rmtree(desk.stacks / "identities" / "bro")

    assert desk.run("issue") == 0
    assert (desk.stacks / "identities" / "bro" / "key.pem").is_file()


def test_held_elsewhere_a_certificate_goes_out_without_a_key(desk: Desk) -> None:
    desk.issue()
    desk.request("bro")
    desk.run("sign", "--csr", "bro.csr", "--as", "bro")

    assert desk.run("export", "bro", "--to", "shown.pem") == 0
    assert b"PRIVATE KEY" not in (desk.folder / "shown.pem").read_bytes()
    assert desk.run("export", "bro", "--format", "pkcs12") == 2
    assert "its key is held elsewhere" in desk.told()


BAD = {
    "names": ["-subj", "/CN=bro", "-addext", "subjectAltName=DNS:evil.test,IP:127.0.0.1"],
    "name": ["-subj", "/CN=mallory"],
    "authority": ["-subj", "/CN=bro", "-addext", "basicConstraints=critical,CA:TRUE"],
    "signer": ["-subj", "/CN=bro", "-addext", "keyUsage=keyCertSign"],
    "purpose": ["-subj", "/CN=bro", "-addext", "extendedKeyUsage=serverAuth"],
}
TOLD = {
    "names": "asks for the names DNS:evil.test, IP:127.0.0.1",
    "name": "asks for the name CN=mallory",
    "authority": "asks to become an authority (CA:TRUE)",
    "signer": "asks to become an authority (keyCertSign)",
    "purpose": "asks for the purpose serverAuth",
}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("fault", BAD)
def test_a_request_that_asks_for_too_much_is_refused(desk: Desk, fault: str, after: bool) -> None:
    """One line with the file and the reason, exit 2, nothing written, whether or not the lab was issued before."""
    if after:
        desk.issue()
    desk.openssl("genpkey", "-algorithm", "ED25519", "-out", "k.pem")
    desk.openssl("req", "-new", "-key", "k.pem", "-out", "x.csr", *BAD[fault])
    before = desk.files()

    assert desk.run("sign", "--csr", "x.csr", "--as", "bro", "--out", "new.pem") == 2
    told = desk.told()
    assert told.startswith(f"x.csr: {TOLD[fault]}")
    assert len(told.splitlines()) == 1
    assert desk.files() == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--csr", "nowhere.csr", "--as", "bro"], "nowhere.csr: cannot be read: No such file"),
        (["--csr", ".", "--as", "bro"], "cannot be read: Is a directory"),
        (["--csr", "topology.yaml", "--as", "bro"], "is no certificate signing request"),
        (["--csr", "good.csr", "--as", "brro"], "did you mean 'bro'?"),
        (["--csr", "good.csr", "--as", "ssl_ca"], "is an authority"),
        (["--csr", "good.csr", "--as", "bro", "--out", "good.key"], "add --force"),
        (["--csr", "good.csr", "--as", "bro", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
    ],
    ids=str,
)
def test_whatever_else_is_wrong_with_it_nothing_is_written(desk: Desk, arguments: list[str], told: str) -> None:
    desk.issue()
    desk.request("good")
    before = desk.files()

    assert desk.run("sign", *arguments) == 2
    printed = desk.told()
    assert told in printed
    assert len(printed.splitlines()) == 1
    assert desk.files() == before


def test_a_signed_certificate_is_written_over_its_forerunner(desk: Desk) -> None:
    """But never over the file with the partner's key in it."""
    desk.issue()
    desk.request("bro")
    sign = ("sign", "--csr", "bro.csr", "--as", "bro", "--out", "bro.pem")
    assert desk.run(*sign) == 0
    assert desk.run(*sign) == 0

    both = (desk.folder / "bro.pem").read_bytes() + (desk.folder / "bro.key").read_bytes()
    (desk.folder / "bro.pem").write_bytes(both)
    assert desk.run(*sign) == 2
    assert (desk.folder / "bro.pem").read_bytes() == both


# The article's openssl commands produce what a topology takes


FOREIGN = """
name: foreign
authorities:
  ours: {}
  theirs: {certificate: ca.pem}
identities:
  us: {certificate: us.pem, key_file: us.key}
hosts:
  desk:
    domain: desk.lab.test
    routes:
      /partner/: {url: https://api.partner.test/v1/, trust: theirs, identity: us}
"""


def test_what_openssl_alone_made_is_usable_in_a_topology(desk: Desk, rsa_key: Path) -> None:
    """Its authority, and a certificate without any extension, word for word as the article makes them."""
    shutil.copy(rsa_key, desk.folder / "ca.key")
    desk.openssl("req", "-new", "-x509", "-key", "ca.key", "-out", "ca.pem", "-days", "365", "-subj", "/C=DE/CN=CA")
    desk.request("us", "/C=DE/O=Our Company, Ltd/CN=us")
    desk.openssl(
        "x509", "-req", "-in", "us.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", "us.pem",
        "-days", "365",
    )  # fmt: skip
    desk.write(FOREIGN)

    assert desk.run("issue") == 0
    gateway = desk.folder / "compose/foreign/desk/certificates"
    assert (gateway / "identities/us.pem").read_bytes() == (desk.folder / "us.pem").read_bytes()
    assert (gateway / "upstream/theirs.pem").read_bytes() == (desk.folder / "ca.pem").read_bytes()
    found = desk.listed()
    assert found["identity", "us"]["subject"] == "CN=us,O=Our Company\\, Ltd,C=DE"
    assert found["identity", "us"]["note"] == "issued by somebody else"
    assert found["authority", "theirs"]["note"] == "somebody else's"
    assert desk.run("renew", "us") == 2
    assert "somebody else issued this certificate" in desk.told()
    assert desk.run("sign", "--csr", "us.csr", "--as", "us") == 2
    assert desk.run("export", "theirs", "--format", "truststore") == 0
    assert desk.run("export", "us", "--format", "pkcs12-legacy") == 0


def test_an_intermediate_without_its_root_is_told(desk: Desk) -> None:
    """nginx would believe nobody by it; the mistake would show as a 502 much later."""
    desk.issue()
    shutil.copy(desk.stacks / "authorities/client_ca/intermediate.pem", desk.folder / "ca.pem")
    desk.request("us")
    desk.openssl("req", "-new", "-x509", "-key", "us.key", "-out", "us.pem", "-subj", "/CN=us")
    desk.write(FOREIGN)

    assert desk.run("issue") == 2
    assert "is an intermediate without its root" in desk.told()


def test_a_certificate_of_the_lab_serves_and_is_asked_with_by_openssl(desk: Desk) -> None:
    """s_server and s_client, both sides verified: mutual TLS without any of our own code."""
    desk.issue()
    for name in ("server", "bro"):
        desk.run("export", name)
    roots = {name: f"compose/paper/authorities/{name}/certificate.pem" for name in ("ssl_ca", "client_ca")}
    server = subprocess.Popen(
        ["openssl", "s_server", "-accept", "127.0.0.1:0", "-naccept", "1", "-cert", "server.pem", "-key", "server.pem",
         "-CAfile", roots["client_ca"], "-Verify", "2", "-verify_return_error", "-www"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with server:
        try:
            accepted = next(line for line in server.stdout or () if line.startswith("ACCEPT"))
            done = subprocess.run(
                ["openssl", "s_client", "-connect", accepted.split()[1], "-servername", "pro.lab.test",
                 "-verify_hostname", "pro.lab.test", "-CAfile", roots["ssl_ca"], "-verify_return_error",
                 "-cert", "bro.pem", "-cert_chain", "bro.pem", "-key", "bro.pem", "-ign_eof"],
                input="GET / HTTP/1.0\r\n\r\n", capture_output=True, text=True, check=False, timeout=20,
            )  # fmt: skip
        finally:
            server.terminate()
    assert "Verify return code: 0 (ok)" in done.stdout, done.stderr
    assert "HTTP/1.0 200 ok" in done.stdout
    assert re.search(r"Subject: CN ?= ?bro", done.stdout)
