"""Authorities, leaves, revocation lists, PKCS#12: names and keys in, values out.  Nothing here reads a clock or a disk.

The profile is RFC 5280's as strict verifiers read it (OpenSSL's -x509_strict, Python 3.13, browsers): authorities with
critical basicConstraints and keyUsage and a subject key identifier; leaves with critical basicConstraints CA:FALSE, one
extended key usage, both key identifiers, and a subjectAltName.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey

BACKDATED = timedelta(hours=1)
"""notBefore lies in the past: the clocks of callers and servers differ."""

CRL_DAYS = 30

BUNDLE_PASSWORD = "mtls-lab"  # noqa: S105 - documented, and beside the bare key
"""Java, NSS and macOS each treat an empty PKCS#12 password in a way of its own; the key beside it has none at all."""

LEGACY_ROUNDS = 50_000
"""Of old bundles' key derivation: what old systems take without limits of their own."""

LONGEST_COMMON_NAME = 64
"""ub-common-name, RFC 5280 appendix A.1."""

CLIENT_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER_AUTH = ExtendedKeyUsageOID.SERVER_AUTH


@dataclass(frozen=True)
class Issuer:
    """An authority that can sign.  chain: itself and what lies between it and the root, the root left out."""

    certificate: x509.Certificate
    key: PrivateKey
    chain: tuple[x509.Certificate, ...] = ()


@dataclass(frozen=True)
class Credential:
    """A leaf with its key and the chain that is shown with it."""

    certificate: x509.Certificate
    key: PrivateKey
    chain: tuple[x509.Certificate, ...] = ()

    def certificate_pem(self) -> bytes:
        return b"".join(certificate_pem(one) for one in (self.certificate, *self.chain))

    def key_pem(self) -> bytes:
        return key_pem(self.key)


# Keys and names


def new_key(kind: str) -> PrivateKey:
    """A private key of one of the contract's kinds, such as `ecdsa-p256`; ValueError for any other word."""
    match kind:
        case "ecdsa-p256":
            return ec.generate_private_key(ec.SECP256R1())
        case "ecdsa-p384":
            return ec.generate_private_key(ec.SECP384R1())
        case "rsa-2048" | "rsa-4096":
            return rsa.generate_private_key(public_exponent=65537, key_size=int(kind[4:]))
        case "ed25519":
            return ed25519.Ed25519PrivateKey.generate()
    raise ValueError(f"no such kind of key: {kind}")


def kind_of(key: object) -> str:
    """The contract's word for a public or private key; empty for keys that it has no word for."""
    if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey):
        return {"secp256r1": "ecdsa-p256", "secp384r1": "ecdsa-p384"}.get(key.curve.name, "")
    if isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey):
        return f"rsa-{key.key_size}"
    return "ed25519" if isinstance(key, ed25519.Ed25519PrivateKey | ed25519.Ed25519PublicKey) else ""


def name_of(*parts: tuple[ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(kind, text) for kind, text in parts])


def authority_name(lab: str, authority: str) -> x509.Name:
    """Subject of a root: the organisation tells the authorities of two labs apart in a trust store."""
    return name_of((NameOID.ORGANIZATION_NAME, lab), (NameOID.COMMON_NAME, authority))


def intermediate_name(lab: str, authority: str) -> x509.Name:
    return name_of((NameOID.ORGANIZATION_NAME, lab), (NameOID.COMMON_NAME, f"{authority} intermediate"))


def client_subject(common_name: str) -> x509.Name:
    return name_of((NameOID.COMMON_NAME, common_name))


def server_subject(domain: str) -> x509.Name:
    """The domain, or nothing where it is too long for a common name: names are what the SAN says."""
    return name_of((NameOID.COMMON_NAME, domain)) if len(domain) <= LONGEST_COMMON_NAME else x509.Name([])


RFC2253_NAMES = {
    NameOID.COMMON_NAME: "CN",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.COUNTRY_NAME: "C",
    NameOID.LOCALITY_NAME: "L",
    NameOID.STATE_OR_PROVINCE_NAME: "ST",
    NameOID.DOMAIN_COMPONENT: "DC",
    NameOID.EMAIL_ADDRESS: "emailAddress",
    NameOID.SERIAL_NUMBER: "serialNumber",
    NameOID.USER_ID: "UID",
    NameOID.STREET_ADDRESS: "street",
    NameOID.POSTAL_CODE: "postalCode",
    NameOID.TITLE: "title",
    NameOID.SURNAME: "SN",
    NameOID.GIVEN_NAME: "GN",
    NameOID.BUSINESS_CATEGORY: "businessCategory",
    NameOID.ORGANIZATION_IDENTIFIER: "organizationIdentifier",
}
"""OpenSSL's short names."""


def rfc2253(name: x509.Name) -> str:
    """A name as nginx's $ssl_client_s_dn prints it (OpenSSL's XN_FLAG_RFC2253): last part first, all above ASCII
    as hexadecimal bytes.  ValueError for a kind of part that stands in no table here."""
    if unknown := [part.oid.dotted_string for part in name if part.oid not in RFC2253_NAMES]:
        raise ValueError(f"a part of the name has the unknown type {unknown[0]}")
    return ",".join(
        "+".join(f"{RFC2253_NAMES[part.oid]}={rfc2253_value(str(part.value))}" for part in reversed(list(together)))
        for together in reversed(name.rdns)
    )


def rfc2253_value(text: str) -> str:
    printed = []
    for position, character in enumerate(text):
        first, last = position == 0, position == len(text) - 1
        special = character in ',+"\\<>;' or (character == " " and (first or last))
        if special or (character == "#" and first and not last):
            printed.append(f"\\{character}")
        elif " " <= character <= "~":
            printed.append(character)
        else:
            printed.append("".join(f"\\{byte:02X}" for byte in character.encode()))
    return "".join(printed)


# Certificates


def issue_root(name: x509.Name, key: PrivateKey, *, days: int, now: datetime) -> x509.Certificate:
    """A self-signed authority.  now: the time of issue, with its zone."""
    builder = authority_builder(name, name, key, path_length=None)
    return sign(builder, key, start=now - BACKDATED, end=now + timedelta(days=days))


def issue_intermediate(
    name: x509.Name, key: PrivateKey, root: Issuer, *, days: int, purposes: Sequence[ObjectIdentifier], now: datetime
) -> x509.Certificate:
    """An authority below a root, which signs leaves for the given purposes and no further authorities."""
    builder = authority_builder(name, root.certificate.subject, key, path_length=0)
    builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    builder = builder.add_extension(key_identifier_of(root), critical=False)
    return sign(builder, root.key, start=now - BACKDATED, end=capped(root, now, days))


def authority_builder(
    name: x509.Name, issuer: x509.Name, key: PrivateKey, path_length: int | None
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(key_usage(certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def issue_server(
    domain: str, aliases: Sequence[str], key: PrivateKey, issuer: Issuer, *, days: int, now: datetime
) -> Credential:
    """A server certificate for a domain and its further names."""
    certificate = certify_server(domain, aliases, key.public_key(), issuer, days=days, now=now)
    return Credential(certificate, key, issuer.chain)


def certify_server(
    domain: str, aliases: Sequence[str], key: PublicKey, issuer: Issuer, *, days: int, now: datetime
) -> x509.Certificate:
    """The certificate alone, for a key that somebody else holds."""
    names = [x509.DNSName(name) for name in (domain, *aliases)]
    builder = leaf_builder(server_subject(domain), names, key, issuer, SERVER_AUTH)
    return sign(builder, issuer.key, start=now - BACKDATED, end=capped(issuer, now, days))


def issue_client(
    common_name: str, san: Sequence[str], key: PrivateKey, issuer: Issuer, *, days: int, now: datetime
) -> Credential:
    """A client certificate.  san: DNS names, URIs or e-mail addresses, as the topology writes them."""
    certificate = certify_client(common_name, san, key.public_key(), issuer, days=days, now=now)
    return Credential(certificate, key, issuer.chain)


def certify_client(
    common_name: str, san: Sequence[str], key: PublicKey, issuer: Issuer, *, days: int, now: datetime
) -> x509.Certificate:
    """The certificate alone, for a key that somebody else holds."""
    names = [general_name(text) for text in san]
    builder = leaf_builder(client_subject(common_name), names, key, issuer, CLIENT_AUTH)
    return sign(builder, issuer.key, start=now - BACKDATED, end=capped(issuer, now, days))


def leaf_builder(
    subject: x509.Name,
    names: Sequence[x509.GeneralName],
    key: PublicKey,
    issuer: Issuer,
    purpose: ObjectIdentifier,
) -> x509.CertificateBuilder:
    """A leaf without dates and serial; the forger starts from it, too."""
    encipherment = isinstance(key, rsa.RSAPublicKey) and purpose == SERVER_AUTH
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject)
        .public_key(key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(encipherment=encipherment), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        # RFC 5280, 4.2.1.6: critical where the subject is empty.
        .add_extension(x509.SubjectAlternativeName(names), critical=not list(subject))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(key_identifier_of(issuer), critical=False)
    )


def general_name(text: str) -> x509.GeneralName:
    if "://" in text or text.startswith("urn:"):
        return x509.UniformResourceIdentifier(text)
    return x509.RFC822Name(text) if "@" in text else x509.DNSName(text)


def key_usage(*, certificates: bool = False, encipherment: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        content_commitment=False,
        key_encipherment=encipherment,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=certificates,
        encipher_only=False,
        decipher_only=False,
    )


def key_identifier_of(issuer: Issuer) -> x509.AuthorityKeyIdentifier:
    identifier = issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def capped(issuer: Issuer, now: datetime, days: int) -> datetime:
    """The end of a certificate: no leaf outlives its issuer."""
    return min(now + timedelta(days=days), issuer.certificate.not_valid_after_utc)


def sign(
    builder: x509.CertificateBuilder, key: PrivateKey, *, start: datetime, end: datetime, serial: int | None = None
) -> x509.Certificate:
    """Dates, serial (random, 159 bits: RFC 5280 allows 20 octets) and signature."""
    builder = builder.not_valid_before(start).not_valid_after(end)
    return builder.serial_number(serial or x509.random_serial_number()).sign(key, digest_for(key))


def digest_for(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384 | None:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return None
    large = isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.key_size > 256
    return hashes.SHA384() if large else hashes.SHA256()


# Revocation


def reserved_revoked_serial(authority: x509.Certificate) -> int:
    """The serial that stands on every CRL of an authority, though no certificate with it is ever handed out.

    The proof signs one when it wants to see a revoked certificate refused: no running gateway has to be touched.
    """
    public = authority.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return int.from_bytes(hashlib.sha256(b"mtls-lab: reserved revoked serial" + public).digest()[:16], "big") | 1


def issue_crl(
    issuer: Issuer, revoked: Iterable[int], *, now: datetime, days: int = CRL_DAYS
) -> x509.CertificateRevocationList:
    """A CRL with the given serials and the reserved one.  Its number is the time of issue (RFC 5280, 5.2.3)."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(now - BACKDATED)
        .next_update(now + timedelta(days=days))
        .add_extension(key_identifier_of(issuer), critical=False)
        .add_extension(x509.CRLNumber(int(now.timestamp())), critical=False)
    )
    for serial in sorted({*revoked, reserved_revoked_serial(issuer.certificate)}):
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - BACKDATED).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(issuer.key, digest_for(issuer.key))


# Bytes


def certificate_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def crl_pem(crl: x509.CertificateRevocationList) -> bytes:
    return crl.public_bytes(serialization.Encoding.PEM)


def key_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def bundle(name: str, credential: Credential, password: str = BUNDLE_PASSWORD) -> bytes:
    """PKCS#12 with key, certificate and chain, in today's algorithms (AES-256, SHA-256)."""
    return packed(name, credential, serialization.BestAvailableEncryption(password.encode()))


def legacy_bundle(name: str, credential: Credential, password: str = BUNDLE_PASSWORD) -> bytes:
    """PKCS#12 for old systems, which know 3DES and SHA-1 alone: Java 8 before update 301, Windows Server 2016, macOS
    before 13."""
    builder = serialization.PrivateFormat.PKCS12.encryption_builder()
    builder = builder.kdf_rounds(LEGACY_ROUNDS).key_cert_algorithm(pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC)
    encryption = builder.hmac_hash(hashes.SHA1()).build(password.encode())  # noqa: S303 - what old systems can check
    return packed(name, credential, encryption)


def packed(name: str, credential: Credential, encryption: serialization.KeySerializationEncryption) -> bytes:
    return pkcs12.serialize_key_and_certificates(
        name.encode(), credential.key, credential.certificate, list(credential.chain) or None, encryption
    )


def truststore(certificates: Mapping[str, x509.Certificate], password: str = BUNDLE_PASSWORD) -> bytes:
    """Java's truststore, a PKCS#12 whose entries carry Oracle's trustedKeyUsage attribute.

    certificates: alias -> what is trusted.
    """
    entries = [pkcs12.PKCS12Certificate(one, alias.encode()) for alias, one in certificates.items()]
    return pkcs12.serialize_java_truststore(entries, serialization.BestAvailableEncryption(password.encode()))
