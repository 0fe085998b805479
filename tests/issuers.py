"""Authorities of any shape, and what they sign, for labs that are broken on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from topology.pki import issuing

NOW = datetime.now(UTC)
EARLIER = timedelta(hours=1)
YEAR = timedelta(days=365)
PURPOSES = {
    "clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "serverAuth": ExtendedKeyUsageOID.SERVER_AUTH,
    "anyExtendedKeyUsage": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
}


@dataclass(frozen=True)
class Authority:
    """Somebody who signs."""

    certificate: x509.Certificate
    key: Any

    @property
    def pem(self) -> bytes:
        return issuing.certificate_pem(self.certificate)

    def crl(self, revoked: Sequence[int] = (), end: datetime | None = None) -> bytes:
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(NOW - 30 * EARLIER)
            .next_update(end or NOW + YEAR)
        )
        for serial in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW - EARLIER).build()
            builder = builder.add_revoked_certificate(entry)
        return issuing.crl_pem(builder.sign(self.key, hashes.SHA256()))

    def client(self, name: str, **changed: Any) -> tuple[bytes, bytes]:
        return leaf(self, name, **{"purposes": ["clientAuth"], "san": [f"{name}@lab.test"], **changed})

    def server(self, name: str, **changed: Any) -> tuple[bytes, bytes]:
        return leaf(self, name, **{"purposes": ["serverAuth"], "san": [name], **changed})


def key_of(bits: int) -> Any:
    return rsa.generate_private_key(65537, bits) if bits else ec.generate_private_key(ec.SECP256R1())


def named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def root(name: str, *, bits: int = 0, **changed: Any) -> Authority:
    return authority(name, None, key_of(bits), **changed)


def below(above: Authority, name: str, **changed: Any) -> Authority:
    return authority(name, above, key_of(0), **changed)


def authority(
    name: str,
    above: Authority | None,
    key: Any,
    *,
    path_length: int | None = None,
    critical: bool = True,
    usage: bool = True,
    start: datetime = NOW - EARLIER,
    end: datetime = NOW + YEAR,
) -> Authority:
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(above.certificate.subject if above else named(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=critical)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if usage:
        builder = builder.add_extension(issuing.key_usage(certificates=True), critical=True)
    if above is not None:
        builder = builder.add_extension(identifier_of(above), critical=False)
    return Authority(builder.sign(above.key if above else key, hashes.SHA256()), key)


def identifier_of(above: Authority) -> x509.AuthorityKeyIdentifier:
    own = above.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def leaf(
    above: Authority,
    name: str,
    *,
    purposes: Sequence[str] | None,
    san: Sequence[str],
    start: datetime = NOW - EARLIER,
    end: datetime = NOW + YEAR,
    key_ids: bool = True,
    critical: bool = False,
    bits: int = 0,
    damaged: bool = False,
    serial: int | None = None,
) -> tuple[bytes, bytes]:
    """(certificate, key) in PEM.  critical: with a critical extension that nobody knows; damaged: with the signature of
    another certificate."""
    key = key_of(bits)
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(above.certificate.subject)
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(issuing.key_usage(encipherment=False), critical=True)
    )
    if purposes is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([PURPOSES[one] for one in purposes]), critical=False)
    if san:
        names = [issuing.general_name(one) for one in san]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if key_ids:
        builder = builder.add_extension(identifier_of(above), critical=False)
    if critical:
        unknown = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4.5"), b"\x05\x00")
        builder = builder.add_extension(unknown, critical=True)
    signer = key_of(0) if damaged else above.key
    certificate = builder.sign(signer, hashes.SHA256())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return issuing.certificate_pem(certificate), pem


def list_issuer(pem: bytes) -> bytes:
    return x509.load_pem_x509_crl(pem).issuer.rfc4514_string().encode()
