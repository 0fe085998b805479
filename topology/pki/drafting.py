"""Certificates that no sound authority would sign: a draft says all that will stand on one, and any can be changed.

`issuing` makes what is right.  Here a good draft is the beginning, and whoever falsifies it replaces one thing.
cryptography signs most drafts; what it refuses to write (version 1, SHA-1, a wrong signature) is put together here.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, replace
from datetime import datetime
from math import lcm

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, padding, rsa

from topology.pki import issuing
from topology.pki.issuing import Issuer, PrivateKey, PublicKey

HolderKey = PrivateKey | ed448.Ed448PrivateKey

SHA1_WITH_RSA = bytes.fromhex("300d06092a864886f70d0101050500")
ECDSA_WITH_SHA1 = bytes.fromhex("300906072a8648ce3d0401")
"""AlgorithmIdentifiers, RFC 3279, 2.2."""

SEQUENCE, BIT_STRING = 0x30, 0x03
VERSION, EXTENSIONS = 0xA0, 0xA3
"""Tags in a TBSCertificate (RFC 5280, 4.1): what version 1 has not."""


@dataclass(frozen=True)
class Key:
    """public: what the certificate says; pem: the private key that its holder proves it by, which may be another."""

    public: PublicKey | ed448.Ed448PublicKey
    pem: bytes


@dataclass(frozen=True)
class Draft:
    """What will stand on a certificate, who signs it, and what is shown with it.

    shown: sent after the certificate itself; version_1: no extensions, which came with version 3; sha_1: signed with
    that digest; tampered: the signature is not the signer's.
    """

    subject: x509.Name
    key: Key
    signer: Issuer
    start: datetime
    end: datetime
    serial: int
    extensions: tuple[x509.Extension[x509.ExtensionType], ...]
    shown: tuple[x509.Certificate, ...] = ()
    version_1: bool = False
    sha_1: bool = False
    tampered: bool = False


@dataclass(frozen=True)
class Papers:
    """What somebody shows: a certificate, the chain that is sent with it, and a private key in PEM."""

    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    key: bytes

    def certificate_pem(self) -> bytes:
        return b"".join(issuing.certificate_pem(one) for one in (self.certificate, *self.chain))

    def key_pem(self) -> bytes:
        return self.key


# Changes


def extended(draft: Draft, value: x509.ExtensionType, *, critical: bool = False) -> Draft:
    """With one extension more, or another in the place of its like."""
    kept = tuple(one for one in draft.extensions if one.oid != value.oid)
    return replace(draft, extensions=(*kept, x509.Extension(value.oid, critical, value)))


def stripped(draft: Draft, *kinds: type[x509.ExtensionType]) -> Draft:
    """Without some extensions."""
    return replace(draft, extensions=tuple(one for one in draft.extensions if not isinstance(one.value, kinds)))


def signed_by(draft: Draft, signer: Issuer) -> Draft:
    """By another authority, which it names by its key, its issuer and its serial: nobody else of that name will do."""
    above = signer.certificate
    identifier = issuing.key_identifier_of(signer).key_identifier
    pointer = x509.AuthorityKeyIdentifier(identifier, [x509.DirectoryName(above.issuer)], above.serial_number)
    return extended(replace(draft, signer=signer, shown=signer.chain), pointer)


# Keys


def key_of(private: HolderKey) -> Key:
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Key(private.public_key(), pem)


def mismatched_key() -> Key:
    """A file whose public half is one key's and whose private half is another's.

    TLS libraries compare the public half with the certificate before they show it, and never the two halves.
    """
    own, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    encoding = (serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    half, stranger_s = (one.private_numbers().private_value.to_bytes(32, "big") for one in (own, other))
    der = own.private_bytes(*encoding).replace(half, stranger_s)
    return Key(own.public_key(), armoured(der))


def armoured(der: bytes) -> bytes:
    """PKCS#8 in PEM; not by cryptography, which refuses what does not fit together."""
    return ssl.DER_cert_to_PEM_cert(der).replace("CERTIFICATE", "PRIVATE KEY").encode()


EXPONENT = 65537


def rsa_4096() -> Key:
    """Its two factors are themselves moduli of 2048 bits: four primes in a tenth of a second, where two primes of that
    size take one or two.  Nobody but the holder of the key can tell, and no signature differs."""
    while True:
        moduli = [rsa.generate_private_key(EXPONENT, 2048).private_numbers() for _ in range(2)]
        p, q = (one.public_numbers.n for one in moduli)
        if (p * q).bit_length() == 4096:
            break
    below_p, below_q = ((one.p - 1) * (one.q - 1) for one in moduli)
    d = pow(EXPONENT, -1, lcm(below_p, below_q))
    public = rsa.RSAPublicNumbers(EXPONENT, p * q)
    numbers = rsa.RSAPrivateNumbers(p, q, d, d % below_p, d % below_q, pow(q, -1, p), public)
    return key_of(numbers.private_key(unsafe_skip_rsa_key_validation=True))


# Signing


def issue(draft: Draft) -> Papers:
    """The certificate that a draft describes, with what is shown beside it."""
    builder = x509.CertificateBuilder(
        draft.signer.certificate.subject, draft.subject, draft.key.public, draft.serial, draft.start, draft.end,
        list(draft.extensions),
    )  # fmt: skip
    certificate = builder.sign(draft.signer.key, issuing.digest_for(draft.signer.key))
    if draft.version_1 or draft.sha_1 or draft.tampered:
        certificate = x509.load_der_x509_certificate(resigned(certificate, draft))
    return Papers(certificate, draft.shown, draft.key.pem)


def resigned(certificate: x509.Certificate, draft: Draft) -> bytes:
    """A certificate in DER, put together anew as its draft asks.

    ValueError where the signer's key knows no SHA-1 (Ed25519).
    """
    _, algorithm, _ = elements(certificate.public_bytes(serialization.Encoding.DER))
    parts = elements(certificate.tbs_certificate_bytes)
    if draft.version_1:
        parts = [one for one in parts if one[0] not in (VERSION, EXTENSIONS)]
    if draft.sha_1:
        weak = ECDSA_WITH_SHA1 if isinstance(draft.signer.key, ec.EllipticCurvePrivateKey) else SHA1_WITH_RSA
        parts = [weak if one == algorithm else one for one in parts]
        algorithm = weak
    body = element(SEQUENCE, *parts)
    signature = signed(body, draft.signer.key, sha_1=draft.sha_1)
    if draft.tampered:
        signature = signature[:-1] + bytes([signature[-1] ^ 1])
    return element(SEQUENCE, body, algorithm, element(BIT_STRING, b"\0", signature))


def signed(body: bytes, key: PrivateKey, *, sha_1: bool) -> bytes:
    digest = hashes.SHA1() if sha_1 else issuing.digest_for(key)  # noqa: S303 - what has to be refused
    if digest is None:
        return key.sign(body)  # type: ignore[call-arg]
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(body, ec.ECDSA(digest))
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(body, padding.PKCS1v15(), digest)
    raise ValueError("an Ed25519 key signs without a digest")


def element(tag: int, *parts: bytes) -> bytes:
    """One element of DER (X.690, 10.1)."""
    content = b"".join(parts)
    if len(content) < 0x80:
        return bytes([tag, len(content)]) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def elements(sequence: bytes) -> list[bytes]:
    """The elements of a DER sequence, each with its tag and length."""
    found, at = [], len(header(sequence, 0))
    while at < len(sequence):
        head = header(sequence, at)
        end = at + len(head) + length_in(head)
        found.append(sequence[at:end])
        at = end
    return found


def header(der: bytes, at: int) -> bytes:
    """Tag and length of the element that begins there."""
    more = der[at + 1] & 0x7F if der[at + 1] & 0x80 else 0
    return der[at : at + 2 + more]


def length_in(head: bytes) -> int:
    return int.from_bytes(head[2:], "big") if len(head) > 2 else head[1]
