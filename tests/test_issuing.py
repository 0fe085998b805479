"""Certificates, lists and bundles, part by part.  What others say of them as a whole: test_judges.py."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.fuzzing import rounds
from topology.pki import issuing
from topology.pki.issuing import Credential, Issuer

T = TypeVar("T", bound=x509.ExtensionType)
NOW = datetime.now(UTC)


def root(key_kind: str = "ecdsa-p256", days: int = 3650) -> Issuer:
    key = issuing.new_key(key_kind)
    return Issuer(issuing.issue_root(issuing.authority_name("lab", "ca"), key, days=days, now=NOW), key)


def intermediate(above: Issuer, key_kind: str = "ecdsa-p256") -> Issuer:
    key = issuing.new_key(key_kind)
    name = issuing.intermediate_name("lab", "ca")
    purposes = [issuing.SERVER_AUTH, issuing.CLIENT_AUTH]
    certificate = issuing.issue_intermediate(name, key, above, days=1000, purposes=purposes, now=NOW)
    return Issuer(certificate, key, (certificate,))


def server(signer: Issuer, key_kind: str = "ecdsa-p256", domain: str = "web.lab.test") -> Credential:
    return issuing.issue_server(domain, ["www.lab.test"], issuing.new_key(key_kind), signer, days=90, now=NOW)


def client(signer: Issuer, key_kind: str = "ecdsa-p256") -> Credential:
    return issuing.issue_client("bro", ["bro@lab.test"], issuing.new_key(key_kind), signer, days=90, now=NOW)


def crl(signer: Issuer, *revoked: int) -> bytes:
    return issuing.crl_pem(issuing.issue_crl(signer, revoked, now=NOW))


def extension(certificate: x509.Certificate, kind: type[T]) -> x509.Extension[T]:
    return certificate.extensions.get_extension_for_class(kind)


def test_a_root_has_the_profile_of_an_authority() -> None:
    certificate = root().certificate

    assert extension(certificate, x509.BasicConstraints).critical
    assert extension(certificate, x509.BasicConstraints).value == x509.BasicConstraints(ca=True, path_length=None)
    assert extension(certificate, x509.KeyUsage).critical
    assert extension(certificate, x509.KeyUsage).value.key_cert_sign
    assert extension(certificate, x509.KeyUsage).value.crl_sign
    assert not extension(certificate, x509.KeyUsage).value.digital_signature
    assert extension(certificate, x509.SubjectKeyIdentifier)
    with pytest.raises(x509.ExtensionNotFound):
        extension(certificate, x509.ExtendedKeyUsage)
    assert certificate.not_valid_before_utc < NOW
    assert 0 < certificate.serial_number.bit_length() <= 159


def test_an_intermediate_signs_leaves_alone() -> None:
    certificate = intermediate(root()).certificate

    assert extension(certificate, x509.BasicConstraints).value.path_length == 0
    assert extension(certificate, x509.AuthorityKeyIdentifier)
    assert extension(certificate, x509.ExtendedKeyUsage)


@pytest.mark.parametrize(("key_kind", "encipherment"), [("rsa-2048", True), ("ecdsa-p256", False), ("ed25519", False)])
def test_a_server_leaf_has_the_profile_of_a_server(key_kind: str, encipherment: bool) -> None:
    """Key encipherment is for RSA alone."""
    certificate = server(root(), key_kind).certificate

    assert extension(certificate, x509.BasicConstraints).value == x509.BasicConstraints(ca=False, path_length=None)
    assert extension(certificate, x509.KeyUsage).value.digital_signature
    assert extension(certificate, x509.KeyUsage).value.key_encipherment is encipherment
    assert list(extension(certificate, x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert not extension(certificate, x509.ExtendedKeyUsage).critical
    names = extension(certificate, x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.DNSName) == ["web.lab.test", "www.lab.test"]
    assert not names.critical


def test_a_domain_too_long_for_a_common_name_stands_in_the_san_alone() -> None:
    """RFC 5280: an empty subject makes the subject alternative name critical."""
    domain = f"{'a' * 63}.lab.test"
    certificate = server(root(), domain=domain).certificate

    assert list(certificate.subject) == []
    assert extension(certificate, x509.SubjectAlternativeName).critical


def test_no_leaf_outlives_its_issuer() -> None:
    anchor = root(days=30)

    assert server(anchor).certificate.not_valid_after_utc == anchor.certificate.not_valid_after_utc


def test_every_crl_lists_the_reserved_serial() -> None:
    """So that a revoked certificate can be shown to a running lab at any time."""
    anchor = root()
    found = x509.load_pem_x509_crl(crl(anchor, 42))

    assert {entry.serial_number for entry in found} == {42, issuing.reserved_revoked_serial(anchor.certificate)}
    assert found.next_update_utc == (NOW + timedelta(days=30)).replace(microsecond=0)
    assert found.extensions.get_extension_for_class(x509.CRLNumber)


def test_a_bundle_opens_with_its_password_and_with_nothing_else() -> None:
    """PKCS#12 for browsers and Java: key, certificate, chain."""
    signer = intermediate(root())
    credential = client(signer)
    content = issuing.bundle("bro", credential)

    key, certificate, chain = pkcs12.load_key_and_certificates(content, issuing.BUNDLE_PASSWORD.encode())

    assert key is not None
    assert certificate == credential.certificate
    assert tuple(chain) == signer.chain
    with pytest.raises(ValueError, match="password"):
        pkcs12.load_key_and_certificates(content, b"wrong")


def openssl_name(folder: Path, common_name: str) -> str:
    certificate = issuing.issue_client(
        common_name, ["a@lab.test"], issuing.new_key("ecdsa-p256"), root(), days=1, now=NOW
    ).certificate
    (folder / "leaf.pem").write_bytes(issuing.certificate_pem(certificate))
    command = ["openssl", "x509", "-noout", "-subject", "-nameopt", "RFC2253", "-in", "leaf.pem"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.removeprefix("subject=").removesuffix("\n")


@settings(max_examples=rounds(10), deadline=None)
@example("#")
@example(" ")
@example("#a ")
@given(st.text(st.sampled_from(list('ab Z#+,<>"\\=;/é漢ß')), min_size=1, max_size=12))
def test_names_are_printed_as_openssl_prints_them(tmp_path_factory: pytest.TempPathFactory, common_name: str) -> None:
    """nginx compares with what OpenSSL prints: a guard on another spelling would let nobody in, or somebody else."""
    printed = issuing.rfc2253(issuing.client_subject(common_name))

    assert printed == openssl_name(tmp_path_factory.mktemp("name"), common_name)


def test_the_organisation_comes_last_in_an_authority_s_name() -> None:
    assert issuing.rfc2253(issuing.authority_name("two-host", "ssl_ca")) == "CN=ssl_ca,O=two-host"
