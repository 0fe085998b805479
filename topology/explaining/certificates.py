"""PEM -> the facts of a certificate or a revocation list that decide over a request; never raises for what is in it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from topology.pki import issuing, requests

PURPOSES = {
    ExtendedKeyUsageOID.SERVER_AUTH.dotted_string: "serverAuth",
    ExtendedKeyUsageOID.CLIENT_AUTH.dotted_string: "clientAuth",
    ExtendedKeyUsageOID.CODE_SIGNING.dotted_string: "codeSigning",
    ExtendedKeyUsageOID.EMAIL_PROTECTION.dotted_string: "emailProtection",
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE.dotted_string: "anyExtendedKeyUsage",
}

UNDERSTOOD = (
    x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage, x509.SubjectAlternativeName, x509.NameConstraints,
    x509.CertificatePolicies, x509.PolicyConstraints, x509.InhibitAnyPolicy, x509.CRLDistributionPoints,
    x509.AuthorityKeyIdentifier, x509.SubjectKeyIdentifier,
)  # fmt: skip
"""Extensions that OpenSSL processes, so that they may be critical."""

UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension)

One = TypeVar("One")


@dataclass(frozen=True)
class Certificate:
    """One certificate.

    subject, issuer: as nginx prints names; san: such as `DNS:a.test` or `IP:127.0.0.1`; purposes: its extended key
    usage, None where it has none; usages: its key usage, likewise; authority: CA:TRUE; path_length: how many
    authorities may stand below it; key_id, issuer_key_id: subject and authority key identifier in hex, empty for none;
    issuer_serial: of the signer's certificate, in hex, where the authority key identifier says it, else empty;
    bits: size of an RSA key or an elliptic curve's, 0 for others; digest: of the signature, empty for Ed25519;
    unknown_critical: critical extensions that OpenSSL does not know; raw: what it was read from.
    """

    subject: str
    issuer: str
    serial: str
    start: datetime
    end: datetime
    fingerprint: str
    san: tuple[str, ...] = ()
    purposes: tuple[str, ...] | None = None
    usages: tuple[str, ...] | None = None
    authority: bool = False
    authority_critical: bool = True
    path_length: int | None = None
    key_id: str = ""
    issuer_key_id: str = ""
    issuer_serial: str = ""
    key: str = ""
    bits: int = 0
    digest: str = ""
    version: int = 3
    unknown_critical: tuple[str, ...] = ()
    raw: x509.Certificate | None = field(default=None, repr=False, compare=False)

    @property
    def self_issued(self) -> bool:
        return self.subject == self.issuer

    def points_to(self, other: Certificate) -> bool:
        """Whether the other is the signer that the authority key identifier means, as far as it says.

        OpenSSL insists on it: X509_check_akid, in v3_purp.c.
        """
        key_fits = not self.issuer_key_id or not other.key_id or self.issuer_key_id == other.key_id
        return key_fits and self.issuer_serial in ("", other.serial)

    def signed_by(self, other: Certificate) -> bool:
        """Whether the other's key made this one's signature."""
        if self.raw is None or other.raw is None:
            return False
        try:
            self.raw.verify_directly_issued_by(other.raw)
        except InvalidSignature:
            return False
        except UNREADABLE:
            return is_signed_weakly(self.raw, other.raw)
        return True


@dataclass(frozen=True)
class RevocationList:
    """serials: in hex, of the certificates that it revokes."""

    issuer: str
    start: datetime
    end: datetime | None
    serials: frozenset[str]
    issuer_key_id: str = ""
    raw: x509.CertificateRevocationList | None = field(default=None, repr=False, compare=False)

    def signed_by(self, other: Certificate) -> bool:
        if self.raw is None or other.raw is None:
            return False
        key: Any = other.raw.public_key()
        try:
            return self.raw.is_signature_valid(key)
        except UNREADABLE:
            return False


def read(pem: bytes) -> tuple[Certificate, ...]:
    """The certificates of a PEM text, in its order; those that cannot be read are left out."""
    return tuple(each(pem, b"CERTIFICATE", lambda block: facts(x509.load_pem_x509_certificate(block))))


def read_lists(pem: bytes) -> tuple[RevocationList, ...]:
    """The revocation lists of a PEM text, in its order; those that cannot be read are left out."""
    return tuple(each(pem, b"X509 CRL", lambda block: list_facts(x509.load_pem_x509_crl(block))))


def each(pem: bytes, label: bytes, load: Callable[[bytes], One]) -> Iterable[One]:
    begin, end = b"-----BEGIN " + label + b"-----", b"-----END " + label + b"-----"
    for block in pem.split(begin)[1:]:
        with warnings.catch_warnings(action="ignore"):  # serials and names that RFC 5280 forbids are evidence, too
            try:
                yield load(begin + block.partition(end)[0] + end + b"\n")
            except UNREADABLE:
                continue


def facts(one: x509.Certificate) -> Certificate:
    """Raises ValueError where names, dates or the key cannot be read."""
    constraints = extension(one, x509.BasicConstraints)
    identifier = extension(one, x509.SubjectKeyIdentifier)
    above = extension(one, x509.AuthorityKeyIdentifier)
    key, bits = key_of(one)
    return Certificate(
        subject=readable(one.subject),
        issuer=readable(one.issuer),
        serial=f"{one.serial_number:x}",
        start=one.not_valid_before_utc,
        end=one.not_valid_after_utc,
        fingerprint=one.fingerprint(hashes.SHA256()).hex(),
        san=names_of(one),
        purposes=purposes_of(one),
        usages=usages_of(one),
        authority=bool(constraints and constraints.value.ca),
        authority_critical=bool(constraints and constraints.critical),
        path_length=constraints.value.path_length if constraints else None,
        key_id=identifier.value.digest.hex() if identifier else "",
        issuer_key_id=(above.value.key_identifier or b"").hex() if above else "",
        issuer_serial=f"{above.value.authority_cert_serial_number or 0:x}".lstrip("0") if above else "",
        key=key,
        bits=bits,
        digest=digest_of(one),
        version=one.version.value + 1,
        unknown_critical=unknown_critical(one),
        raw=one,
    )


def list_facts(one: x509.CertificateRevocationList) -> RevocationList:
    above = extension(one, x509.AuthorityKeyIdentifier)
    return RevocationList(
        issuer=readable(one.issuer),
        start=one.last_update_utc,
        end=one.next_update_utc,
        serials=frozenset(f"{entry.serial_number:x}" for entry in one),
        issuer_key_id=(above.value.key_identifier or b"").hex() if above else "",
        raw=one,
    )


def is_signed_weakly(one: x509.Certificate, above: x509.Certificate) -> bool:
    """With SHA-1, which `cryptography` takes for no signature of a certificate any more, and OpenSSL for a weak one."""
    key = above.public_key()
    try:
        digest = one.signature_hash_algorithm
        if digest is None or one.issuer != above.subject:
            return False
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(one.signature, one.tbs_certificate_bytes, ec.ECDSA(digest))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(one.signature, one.tbs_certificate_bytes, padding.PKCS1v15(), digest)
        else:
            return False
    except (InvalidSignature, *UNREADABLE):
        return False
    return True


def extension(one: x509.Certificate | x509.CertificateRevocationList, kind: type[Any]) -> Any:
    """None where it is not there, or cannot be read."""
    try:
        return one.extensions.get_extension_for_class(kind)
    except (x509.ExtensionNotFound, *UNREADABLE):
        return None


def readable(name: x509.Name) -> str:
    """A name as gateways print it, as far as they could."""
    try:
        return issuing.rfc2253(name)
    except ValueError:
        return requests.on_one_line(name.rfc4514_string())


def names_of(one: x509.Certificate) -> tuple[str, ...]:
    found = extension(one, x509.SubjectAlternativeName)
    kinds = {"DNSName": "DNS", "IPAddress": "IP", "RFC822Name": "email", "UniformResourceIdentifier": "URI"}
    return tuple(
        requests.on_one_line(f"{kinds.get(type(name).__name__, type(name).__name__)}:{name.value}")
        for name in (found.value if found else ())
    )


def purposes_of(one: x509.Certificate) -> tuple[str, ...] | None:
    found = extension(one, x509.ExtendedKeyUsage)
    return tuple(PURPOSES.get(oid.dotted_string, oid.dotted_string) for oid in found.value) if found else None


def usages_of(one: x509.Certificate) -> tuple[str, ...] | None:
    found = extension(one, x509.KeyUsage)
    if found is None:
        return None
    known = ("digital_signature", "key_encipherment", "key_agreement", "key_cert_sign", "crl_sign")
    return tuple(
        "".join(word.capitalize() if n else word for n, word in enumerate(name.split("_")))
        for name in known
        if getattr(found.value, name)
    )


def key_of(one: x509.Certificate) -> tuple[str, int]:
    key = one.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}", key.key_size
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC {key.curve.name}", key.key_size
    return type(key).__name__.removesuffix("PublicKey").lstrip("_").capitalize(), 0


def digest_of(one: x509.Certificate) -> str:
    try:
        found = one.signature_hash_algorithm
    except UNREADABLE:
        return "unknown"
    return found.name if found else ""


def unknown_critical(one: x509.Certificate) -> tuple[str, ...]:
    try:
        return tuple(e.oid.dotted_string for e in one.extensions if e.critical and not isinstance(e.value, UNDERSTOOD))
    except UNREADABLE:
        return ()
