"""Every kind of certificate a caller could come with differs from a good one in what its name says, and in no more.

Respects are read from what was issued, by means that did not issue it; OpenSSL, asked as nginx asks it, tells the good
from the bad, and what it has against the bad.
"""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.chains import NOW
from topology.generation.certificates import is_signed_by
from topology.pki import drafting, issuing, zoo
from topology.pki.drafting import Papers
from topology.pki.issuing import Issuer
from topology.pki.zoo import KINDS, Scene
from topology.proof import callers


def scene(key: str = "ecdsa-p256", *, deep: bool = False) -> Scene:
    """An authority with or without an intermediate, and one for servers."""

    def authority(name: str) -> Issuer:
        made = issuing.new_key(key)
        return Issuer(issuing.issue_root(issuing.authority_name("zoo", name), made, days=90, now=NOW), made)

    root = leaves = authority("clients")
    if deep:
        below = issuing.new_key(key)
        name, client = issuing.intermediate_name("zoo", "clients"), [issuing.CLIENT_AUTH]
        made = issuing.issue_intermediate(name, below, root, days=90, purposes=client, now=NOW)
        leaves = Issuer(made, below, (made,))
    return Scene(root, leaves, authority("servers"), "web.zoo.test", "bro", ("bro@zoo.test",), NOW)


FLAT, DEEP = scene(), scene(deep=True)
BOTH = pytest.mark.parametrize("here", [FLAT, DEEP], ids=["flat", "deep"])


def test_every_kind_that_is_made_is_expected_and_the_other_way_round() -> None:
    assert list(KINDS) == list(callers.KINDS)
    assert len(KINDS) >= 56


# In what respect


def respects(papers: Papers, here: Scene) -> dict[str, object]:
    """All that could differ between two certificates, but key and serial, which always do."""
    one = papers.certificate
    found: dict[str, object] = {
        "subject": one.subject,
        "issuer": one.issuer,
        "signed": is_signed_by(one, here.leaves),
        "key": type(one.public_key()).__name__,
        "size": getattr(one.public_key(), "key_size", 0),
        "matches": serialization.load_pem_private_key(
            papers.key, None, unsafe_skip_rsa_key_validation=True
        ).public_key() == one.public_key() if not is_mismatched(papers) else False,
        "start": one.not_valid_before_utc,
        "end": one.not_valid_after_utc,
        "version": one.version,
        "digest": one.signature_algorithm_oid,
        "shown": papers.chain,
    }  # fmt: skip
    if one.version is not x509.Version.v1:
        for extension in one.extensions:
            value = extension.value
            known = isinstance(value, x509.SubjectKeyIdentifier)
            found[type(value).__name__] = ("of its key", extension.critical) if known else (value, extension.critical)
    return found


def is_mismatched(papers: Papers) -> bool:
    """cryptography reads no key whose halves are not of one key."""
    try:
        serialization.load_pem_private_key(papers.key, None, unsafe_skip_rsa_key_validation=True)
    except ValueError:
        return True
    return False


def differences(kind: str, here: Scene) -> set[str]:
    one, good = respects(zoo.show(kind, here), here), respects(drafting.issue(zoo.good(here)), here)
    return {respect for respect in one.keys() | good.keys() if one.get(respect) != good.get(respect)}


EXTENSIONS = {
    "BasicConstraints", "KeyUsage", "ExtendedKeyUsage", "SubjectAlternativeName", "SubjectKeyIdentifier",
    "AuthorityKeyIdentifier",
}  # fmt: skip
POINTS_ABOVE = {"AuthorityKeyIdentifier", "shown"}
"""A leaf below another intermediate says so, and comes with it."""

DIFFERENCES: Mapping[str, set[str]] = {
    "impostor-authority": {"signed", "AuthorityKeyIdentifier"},
    "impostor-without-identifiers": {"signed", "AuthorityKeyIdentifier"},
    "impostor-with-real-identifier": {"signed"},
    "impostor-and-its-root": {"signed", "AuthorityKeyIdentifier", "shown"},
    "server-certificate": {
        "subject", "SubjectAlternativeName", "ExtendedKeyUsage", "issuer", "signed", "AuthorityKeyIdentifier"
    },
    "servers-authority": {"issuer", "signed", "AuthorityKeyIdentifier"},
    "foreign-key-identifier": {"AuthorityKeyIdentifier"},
    "without-key-identifiers": {"AuthorityKeyIdentifier", "SubjectKeyIdentifier"},
    "tampered": {"signed"},
    "wrong-key": {"matches"},
    "outlives-authority": {"end"},
    "purpose-missing": {"ExtendedKeyUsage"},
    "purpose-any": {"ExtendedKeyUsage"},
    "purpose-any-and-client": {"ExtendedKeyUsage"},
    "purpose-both": {"ExtendedKeyUsage"},
    "purpose-code-signing": {"ExtendedKeyUsage"},
    "purpose-critical": {"ExtendedKeyUsage"},
    "usage-missing": {"KeyUsage"},
    "usage-encipherment": {"KeyUsage"},
    "usage-agreement": {"KeyUsage"},
    "usage-certificates": {"KeyUsage"},
    "authority-as-caller": {"BasicConstraints", "KeyUsage", "ExtendedKeyUsage"},
    "ca-true": {"BasicConstraints"},
    "without-constraints": {"BasicConstraints"},
    "without-alternative-names": {"SubjectAlternativeName"},
    "unknown-critical-extension": {"UnrecognizedExtension"},
    "unknown-extension": {"UnrecognizedExtension"},
    "intermediate": POINTS_ABOVE,
    "intermediate-missing": {"AuthorityKeyIdentifier"},
    "intermediate-expired": POINTS_ABOVE,
    "intermediate-not-yet-valid": POINTS_ABOVE,
    "intermediate-revoked": POINTS_ABOVE,
    "intermediate-without-crl": POINTS_ABOVE | {"issuer", "signed"},
    "intermediate-ca-false": POINTS_ABOVE,
    "intermediate-usage": POINTS_ABOVE,
    "intermediate-for-servers": POINTS_ABOVE,
    "intermediate-tampered": POINTS_ABOVE,
    "chain-out-of-order": POINTS_ABOVE,
    "chain-with-root": {"shown"},
    "chain-too-long": POINTS_ABOVE,
    "path-length": POINTS_ABOVE | {"issuer", "signed"},
    "name-constraints": POINTS_ABOVE,
    "junk-chain": {"shown"},
    "ecdsa-p256": set(),
    "ecdsa-p384": {"size"},
    "ecdsa-p521": {"size"},
    "ed25519": {"key", "size"},
    "ed448": {"key", "size"},
    "rsa-1024": {"key", "size"},
    "rsa-2048": {"key", "size"},
    "rsa-4096": {"key", "size"},
    "sha-1": {"digest", "signed"},  # for cryptography a signature with SHA-1 is none
    "version-1": {"version"} | EXTENSIONS,
    "60-kilobytes": {"UnrecognizedExtension"},
    "110-kilobytes": {"UnrecognizedExtension"},
} | {kind: {"subject"} for kind in KINDS if kind.startswith("subject-")}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_each_differs_from_a_good_one_in_what_it_says(kind: str) -> None:
    assert differences(kind, FLAT) == DIFFERENCES[kind]


INTERMEDIATES: Mapping[str, set[str]] = {
    "intermediate-expired": {"start", "end"},
    "intermediate-not-yet-valid": {"start"},
    "intermediate-revoked": set(),
    "intermediate-ca-false": {"BasicConstraints"},
    "intermediate-usage": {"KeyUsage"},
    "intermediate-for-servers": {"ExtendedKeyUsage"},
    "intermediate-tampered": {"verifies"},
    "name-constraints": {"NameConstraints"},
}


@BOTH
@pytest.mark.parametrize("kind", INTERMEDIATES)
def test_each_bad_intermediate_differs_from_a_good_one_in_what_it_says(kind: str, here: Scene) -> None:
    """The leaf below it is the same."""

    def of(chain: tuple[x509.Certificate, ...]) -> dict[str, object]:
        (one,) = chain
        found = respects(Papers(one, (), b"no key"), here)
        return found | {"matches": None, "verifies": is_signed_by(one, here.root), "key": one.public_key()}

    one, good = (of(zoo.show(name, here).chain) for name in (kind, "intermediate"))

    assert {respect for respect in one.keys() | good.keys() if one.get(respect) != good.get(respect)} == (
        INTERMEDIATES[kind] | ({"signed"} if kind == "intermediate-tampered" and here is FLAT else set())
    )


def test_sizes_versions_and_digests_are_what_they_are_called() -> None:
    shown = {kind: zoo.show(kind, FLAT) for kind in ("60-kilobytes", "110-kilobytes", "sha-1", "version-1")}
    der = {kind: len(one.certificate.public_bytes(serialization.Encoding.DER)) for kind, one in shown.items()}

    assert 60 * 1024 < der["60-kilobytes"] < 62 * 1024
    assert 110 * 1024 < der["110-kilobytes"] < 112 * 1024
    assert isinstance(shown["sha-1"].certificate.signature_hash_algorithm, hashes.SHA1)
    assert shown["version-1"].certificate.version is x509.Version.v1
    assert len(zoo.show("junk-chain", FLAT).chain) == 20


def test_names_are_printed_as_somebody_else_s() -> None:
    """As nginx compares them, none of them is `CN=bro`; and a part that begins inside of a value is escaped."""
    names = {kind: issuing.rfc2253(zoo.show(kind, FLAT).certificate.subject) for kind in KINDS if "subject-" in kind}

    assert "CN=bro" not in names.values()
    assert names["subject-comma"] == r"CN=bro\,O=admins"
    assert names["subject-newline"] == r"CN=bro\0ACN=admin"
    assert names["subject-slash"] == "CN=admin/CN=bro"
    assert names["subject-two-names"] == "CN=bro,CN=admin"
    assert names["subject-space"] == r"CN=bro\ "
    assert names["subject-other-case"] == "CN=BRO"
    assert names["subject-empty"] == ""


def test_the_longest_name_has_room_for_what_is_added() -> None:
    long = Scene(FLAT.root, FLAT.leaves, FLAT.servers, FLAT.domain, "b" * 64, FLAT.san, NOW)

    assert all(zoo.show(kind, long).certificate.subject for kind in KINDS if kind.startswith("subject-t"))


# What OpenSSL makes of it


COMPLAINTS: Mapping[str, str] = {
    "impostor-authority": "unable to get local issuer certificate",
    "impostor-without-identifiers": "certificate signature failure",
    "impostor-with-real-identifier": "certificate signature failure",
    "impostor-and-its-root": "self-signed certificate in certificate chain",
    "server-certificate": "unable to get local issuer certificate",
    "servers-authority": "unable to get local issuer certificate",
    "foreign-key-identifier": "unable to get local issuer certificate",
    "tampered": "certificate signature failure",
    "purpose-any": "unsuitable certificate purpose",
    "purpose-code-signing": "unsuitable certificate purpose",
    "usage-encipherment": "unsuitable certificate purpose",
    "usage-certificates": "unsuitable certificate purpose",
    "authority-as-caller": "unsuitable certificate purpose",
    "unknown-critical-extension": "unhandled critical extension",
    "intermediate-missing": "unable to get local issuer certificate",
    "intermediate-expired": "certificate has expired",
    "intermediate-not-yet-valid": "certificate is not yet valid",
    "intermediate-revoked": "certificate revoked",
    "intermediate-without-crl": "unable to get certificate CRL",
    "intermediate-ca-false": "invalid CA certificate",
    "intermediate-usage": "key usage does not include certificate signing",
    "intermediate-for-servers": "unsuitable certificate purpose",
    "intermediate-tampered": "certificate signature failure",
    "chain-too-long": "certificate chain too long",
    "path-length": "path length constraint exceeded",
    "name-constraints": "excluded subtree violation",
    "rsa-1024": "EE certificate key too weak",
    "sha-1": "CA signature digest algorithm too weak",
}
"""What the gateway's log would say of each that is bad; the others are accepted."""

SAID_TWICE = {"impostor-and-its-root", "intermediate-ca-false", "intermediate-usage"}
"""Of which OpenSSL says the one thing in several ways.  A path length is broken by authorities without lists, where
the authority has no intermediate of its own; with all others no second reason hides behind the first."""


def verified(kind: str, here: Scene, folder: Path, depth: int = 1) -> list[str]:
    """What OpenSSL says as nginx asks it: one intermediate, revocation lists for all, security level 2."""
    papers = zoo.show(kind, here)
    issuers = {one.certificate: one for one in (here.root, here.leaves)}.values()
    lists = b"".join(issuing.crl_pem(issuing.issue_crl(one, [], now=NOW)) for one in issuers)
    files = {"root": issuing.certificate_pem(here.root.certificate), "crls": lists}
    files |= {"leaf": issuing.certificate_pem(papers.certificate)}
    files |= {"shown": b"".join(issuing.certificate_pem(one) for one in papers.chain)}
    for name, content in files.items():
        (folder / f"{name}.pem").write_bytes(content)
    command = ["openssl", "verify", "-purpose", "sslclient", "-auth_level", "2", "-verify_depth", str(depth)]
    command += ["-crl_check_all", "-CRLfile", "crls.pem", "-CAfile", "root.pem"]
    command += [*(["-untrusted", "shown.pem"] if papers.chain else []), "leaf.pem"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return [line for line in done.stderr.splitlines() if " depth lookup: " in line]


@BOTH
@pytest.mark.parametrize("kind", KINDS)
def test_openssl_refuses_the_bad_for_their_own_reason_and_accepts_the_others(
    tmp_path: Path, kind: str, here: Scene
) -> None:
    depth = 9 if kind == "path-length" else 1  # whose chain is a long one, too

    errors = verified(kind, here, tmp_path, depth)

    assert bool(errors) == (kind in COMPLAINTS)
    assert kind not in COMPLAINTS or COMPLAINTS[kind] in "\n".join(errors)
    one_reason = len({line.partition(" at ")[0] for line in errors}) < 2
    assert one_reason or kind in SAID_TWICE or (kind == "path-length" and here is FLAT), errors


# Keys


def test_a_key_whose_halves_do_not_fit_is_shown_all_the_same_and_found_out(tmp_path: Path) -> None:
    """TLS libraries load it; whoever verifies the handshake sees that the caller has not the certificate's key."""
    said = handshake(tmp_path, "wrong-key")

    assert "bad signature" in said.lower() or "decrypt error" in said.lower(), said


def test_a_large_key_of_four_primes_proves_itself(tmp_path: Path) -> None:
    assert handshake(tmp_path, "rsa-4096") == ""


def handshake(folder: Path, kind: str) -> str:
    """What a server that verifies its callers has against one; empty where it has nothing."""
    papers = zoo.show(kind, FLAT)
    web = issuing.issue_server("web.zoo.test", [], issuing.new_key("ecdsa-p256"), zoo.servers(FLAT), days=1, now=NOW)
    anchors = [issuing.certificate_pem(one).decode() for one in (FLAT.root.certificate, zoo.servers(FLAT).certificate)]
    contexts = []
    for purpose, anchor, shown in (
        (ssl.Purpose.CLIENT_AUTH, anchors[0], web), (ssl.Purpose.SERVER_AUTH, anchors[1], papers)
    ):  # fmt: skip
        (folder / "certificate.pem").write_bytes(shown.certificate_pem())
        (folder / "key.pem").write_bytes(shown.key_pem())
        context = ssl.create_default_context(purpose, cadata=anchor)
        context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
        contexts.append(context)
    server, client = contexts
    server.verify_mode = ssl.CERT_REQUIRED
    ends = socket.socketpair()
    refused: list[str] = []

    def serve() -> None:
        try:
            server.wrap_socket(ends[0], server_side=True).close()
        except ssl.SSLError as error:
            refused.append(str(error))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(ends[1], server_hostname="web.zoo.test") as encrypted:
            encrypted.recv(1)
    except OSError:
        pass
    thread.join()
    return "".join(refused)


def test_a_large_key_is_a_right_one() -> None:
    """It has 4096 bits, and signs what its public half verifies."""
    key = serialization.load_pem_private_key(drafting.rsa_4096().pem, None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(key, rsa.RSAPrivateKey)
    signature = key.sign(b"said", padding.PKCS1v15(), hashes.SHA256())

    key.public_key().verify(signature, b"said", padding.PKCS1v15(), hashes.SHA256())
    with pytest.raises(InvalidSignature):
        key.public_key().verify(signature, b"unsaid", padding.PKCS1v15(), hashes.SHA256())
    assert key.key_size == 4096


@pytest.mark.parametrize("key", ["ecdsa-p384", "rsa-2048", "ed25519"])
def test_authorities_of_every_kind_of_key_can_be_imitated(tmp_path: Path, key: str) -> None:
    """But none signs with SHA-1 whose key knows no digest."""
    here = scene(key)
    if key == "ed25519":
        with pytest.raises(ValueError, match="without a digest"):
            zoo.show("sha-1", here)
    else:
        assert COMPLAINTS["sha-1"] in "".join(verified("sha-1", here, tmp_path))
    for kind in ("version-1", "intermediate", "ecdsa-p256"):
        assert verified(kind, here, tmp_path) == []
    assert COMPLAINTS["tampered"] in "".join(verified("tampered", here, tmp_path))


def test_the_whole_zoo_is_issued_in_two_seconds() -> None:
    """Of this process's time, its large keys included."""
    zoo.large_key.cache_clear()
    began = time.process_time()
    for kind in KINDS:
        zoo.show(kind, DEEP)

    assert time.process_time() - began < 2


def test_an_authority_that_has_expired_can_still_be_imitated() -> None:
    """A check of an old lab has to say what is wrong, not to fail for it."""
    late = Scene(FLAT.root, FLAT.leaves, FLAT.servers, FLAT.domain, "bro", FLAT.san, NOW + timedelta(days=400))

    assert all(zoo.show(kind, late) for kind in KINDS)
