"""Certificate signing requests that were made elsewhere: bytes in, a request or the reason against it out.

Whoever sends one keeps the key.  So nothing in a request is believed but that its sender holds that key: names,
purpose and dates of the certificate are the topology's.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID, ObjectIdentifier

from topology.pki.issuing import CLIENT_AUTH, RFC2253_NAMES, SERVER_AUTH, PublicKey, rfc2253_value

T = TypeVar("T", bound=x509.ExtensionType)

LARGEST = 64 * 1024
"""Bytes; a request with the largest key that is accepted here has about 3,000."""

RSA_BITS = range(2048, 8193)
"""CA/Browser Forum, Baseline Requirements 6.1.5, from below; what servers still verify quickly, from above."""

SMALLEST_EXPONENT = 65537
"""NIST SP 800-56B, 6.2: smaller ones have been broken in practice."""

RSASSA_PSS = bytes.fromhex("06092a864886f70d01010a")
"""id-RSASSA-PSS (RFC 4055, 3.1) as DER: the kind of a key that may sign in that one way alone."""

CURVES = {"secp256r1": "P-256", "secp384r1": "P-384"}
DIGESTS = ("sha256", "sha384", "sha512")

REQUEST_BLOCK = re.compile(rb"-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----")
"""RFC 7468, section 7; NEW is what keytool and Windows write."""

PURPOSES = {CLIENT_AUTH: "clientAuth", SERVER_AUTH: "serverAuth"}


@dataclass(frozen=True)
class Request:
    """A request that may be signed, as far as it can be told without knowing for whom.

    names: each name in it as people write it, `bro` or `DNS:api.partner.test`; ignored: parts of its subject that name
    nobody here, such as `O=Partner Ltd`.
    """

    csr: x509.CertificateSigningRequest
    key: PublicKey
    common_names: tuple[str, ...]
    alternative_names: tuple[x509.GeneralName, ...]
    purposes: tuple[ObjectIdentifier, ...]
    ignored: tuple[str, ...]


class Refused(ValueError):
    """Why a request is not signed; `str` is a part of a sentence with the request as its subject."""


def read(content: bytes) -> Request:
    """A request from PEM or DER.  Raises Refused: unreadable, badly signed, weak, or asking to be an authority."""
    csr = parse(content)
    if not is_signed_by_its_key(csr):
        raise Refused("has a bad signature: it was changed on its way, or its sender does not hold the key")
    key = strong_key(csr)
    subject, extensions = asked_for(csr)
    refuse_authority(extensions)
    return Request(
        csr=csr,
        key=key,
        common_names=tuple(str(one.value) for one in subject.get_attributes_for_oid(NameOID.COMMON_NAME)),
        alternative_names=tuple(value_of(extensions, x509.SubjectAlternativeName) or ()),
        purposes=tuple(value_of(extensions, x509.ExtendedKeyUsage) or ()),
        ignored=tuple(ignored_parts(subject)),
    )


def parse(content: bytes) -> x509.CertificateSigningRequest:
    if len(content) > LARGEST:
        raise Refused(f"is larger than {LARGEST // 1024} KiB; is it the right file?")
    if b"PRIVATE KEY-----" in content:
        raise Refused(
            "comes with a private key, which nobody but its owner should ever have seen; "
            "have a new key made, and the request alone sent"
        )
    blocks = len(REQUEST_BLOCK.findall(content))
    if blocks > 1:
        raise Refused(f"holds {blocks} requests; give one file for each")
    if not blocks and b"-----BEGIN " in content:
        other = re.findall(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----", content)
        raise Refused(f"holds no request but: {(other[0] if other else b'broken PEM').decode().lower()}")
    try:
        return x509.load_pem_x509_csr(content) if blocks else x509.load_der_x509_csr(content)
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise Refused(
            "is no certificate signing request that can be read (PEM or DER, as `openssl req -new` writes it)"
        ) from error


def is_signed_by_its_key(csr: x509.CertificateSigningRequest) -> bool:
    try:
        return csr.is_signature_valid
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False


def strong_key(csr: x509.CertificateSigningRequest) -> PublicKey:
    """Its key; Refused where that is weak, of a kind that callers or gateways do not know, or hashed weakly."""
    try:
        key = csr.public_key()
        digest = csr.signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Refused(f"has a key of an unknown kind; {ADVICE}") from error
    if isinstance(key, rsa.RSAPublicKey) and RSASSA_PSS in csr.tbs_certrequest_bytes:
        # The library reads it as plain RSA, its certificate would say so, and openssl does not let the two go together.
        raise Refused(f"has a key for RSASSA-PSS alone; {ADVICE}")
    if wrong := weakness(key):
        raise Refused(f"{wrong}; {ADVICE}")
    if digest is not None and digest.name not in DIGESTS:
        raise Refused(f"is signed with {digest.name.upper()}, which can be forged; make it with `-sha256`")
    if not isinstance(key, PublicKey):
        raise Refused(f"has a key that is neither RSA nor ECDSA nor Ed25519; {ADVICE}")
    return key


UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
"""What the decoder raises, late, for what is not as it should be."""

ADVICE = "RSA from 2048 bits on, ECDSA on P-256 or P-384, and Ed25519 are signed"


def weakness(key: object) -> str | None:
    """What is wrong with a public key, or None; keys of other kinds are not judged here."""
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size not in RSA_BITS:
            word = "weak" if key.key_size < RSA_BITS.start else "unusually large"
            return f"has a {word} key (RSA with {key.key_size} bits)"
        if key.public_numbers().e < SMALLEST_EXPONENT:
            return f"has a weak key (RSA with the exponent {key.public_numbers().e})"
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name not in CURVES:
        return f"has a key on the curve {key.curve.name}, which is not supported"
    return None


# What it asks for


def asked_for(csr: x509.CertificateSigningRequest) -> tuple[x509.Name, x509.Extensions]:
    """Subject and extensions, which are decoded only now: a good signature does not mean that they can be."""
    what = "has a subject"
    try:
        # Parts of a subject that are longer or shorter than RFC 5280 has them name nobody here.
        with warnings.catch_warnings(action="ignore"):
            subject = csr.subject
            what = "asks for extensions"
            return subject, csr.extensions
    except UNREADABLE as error:
        raise Refused(f"{what} that cannot be read ({error})") from error


def value_of(extensions: x509.Extensions, kind: type[T]) -> T | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def refuse_authority(extensions: x509.Extensions) -> None:
    """RFC 5280, 4.2.1.3 and 4.2.1.9: what makes a certificate one that signs others."""
    constraints, usage = value_of(extensions, x509.BasicConstraints), value_of(extensions, x509.KeyUsage)
    asked = [
        *(["CA:TRUE"] if constraints and constraints.ca else []),
        *(["keyCertSign"] if usage and usage.key_cert_sign else []),
        *(["cRLSign"] if usage and usage.crl_sign else []),
    ]
    if asked:
        raise Refused(f"asks to become an authority ({', '.join(asked)}); have it made without")


def ignored_parts(subject: x509.Name) -> Iterator[str]:
    """What else the sender says of itself.  openssl asks for all of it; the certificate's subject is the topology's."""
    for part in subject:
        if part.oid != NameOID.COMMON_NAME:
            kind = RFC2253_NAMES.get(part.oid, part.oid.dotted_string)
            yield f"{kind}={rfc2253_value(str(part.value))}"


def misfit(
    request: Request,
    *,
    common_names: Collection[str],
    alternative_names: Sequence[x509.GeneralName],
    purpose: ObjectIdentifier,
) -> str | None:
    """Why a request is not one for the given names and purpose, or None.

    common_names: those that its subject may have; the request may name fewer than all, and nothing else.
    """
    given = {folded(name) for name in alternative_names}
    foreign = [f"CN={on_one_line(name)}" for name in request.common_names if name not in common_names]
    foreign += [printed(name) for name in request.alternative_names if folded(name) not in given]
    if foreign:
        allowed = [*(f"CN={name}" for name in common_names), *map(printed, alternative_names)]
        names = "the name" if len(foreign) == 1 else "the names"
        return f"asks for {names} {', '.join(foreign)}; the topology gives {', '.join(dict.fromkeys(allowed))}"
    if request.purposes and purpose not in request.purposes:
        asked = ", ".join(PURPOSES.get(one, one.dotted_string) for one in request.purposes)
        return f"asks for the purpose {asked}; this certificate is for {PURPOSES[purpose]}"
    return None


def folded(name: x509.GeneralName) -> tuple[type[x509.GeneralName], object]:
    """DNS names are the same in any case (RFC 5280, 7.2); all others to the letter."""
    return type(name), name.value.lower() if isinstance(name, x509.DNSName) else name.value


KINDS = {
    x509.DNSName: "DNS",
    x509.RFC822Name: "email",
    x509.UniformResourceIdentifier: "URI",
    x509.IPAddress: "IP",
    x509.RegisteredID: "RID",
    x509.DirectoryName: "dirName",
    x509.OtherName: "otherName",
}
"""OpenSSL's words."""


def printed(name: x509.GeneralName) -> str:
    """Such as `DNS:api.partner.test`, as openssl writes it."""
    value = name.value
    if isinstance(name, x509.DirectoryName):
        value = name.value.rfc4514_string()
    elif isinstance(name, x509.RegisteredID):
        value = name.value.dotted_string
    elif isinstance(name, x509.OtherName):
        value = name.type_id.dotted_string
    return f"{KINDS.get(type(name), type(name).__name__)}:{on_one_line(str(value))}"


def on_one_line(text: str) -> str:
    """What a stranger wrote, without what would break a line or a terminal."""
    return "".join(one if one.isprintable() else "?" for one in text)


def pem(request: Request) -> bytes:
    return request.csr.public_bytes(serialization.Encoding.PEM)
