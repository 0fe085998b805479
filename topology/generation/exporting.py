"""What a lab issued, in the formats that other programs read: PEM, PKCS#12 for new and old systems, Java truststore."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast, get_args

from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs12

from topology.errors import InvalidInput
from topology.generation.certificates import (
    DEFAULT_LAYOUT,
    GivenAuthority,
    GivenIdentity,
    Layout,
    Wanted,
    WantedAuthority,
    WantedServer,
    read_certificates,
    read_credential,
    same_key,
)
from topology.generation.subjects import Subject, find
from topology.pki import issuing
from topology.pki.issuing import Credential

Format = Literal["pem", "pkcs12", "pkcs12-legacy", "truststore"]

ENDINGS: Mapping[Format, str] = {
    "pem": ".pem",
    "pkcs12": ".p12",
    "pkcs12-legacy": ".p12",
    "truststore": "-truststore.p12",
}

SHORTEST_TRUSTSTORE_PASSWORD = 6
"""keytool takes none below."""


@dataclass(frozen=True)
class Exported:
    """content: of the file; secret: it holds a private key; certificates: what is in it; password: that opens it."""

    content: bytes
    secret: bool
    certificates: tuple[x509.Certificate, ...]
    file_name: str
    password: str


def format_of(text: str) -> Format:
    if text not in get_args(Format):
        raise InvalidInput(f"--format {text}: must be {', '.join(get_args(Format))}")
    return cast("Format", text)


def export(
    wanted: Wanted,
    name: str,
    kind: Format,
    password: str | None,
    existing: Mapping[str, bytes],
    layout: Layout = DEFAULT_LAYOUT,
) -> Exported:
    """An identity or a host with its key and chain, an authority without its key.

    password: of PKCS#12 and truststores, None for the one that every bundle of a lab has; existing: the lab's files.
    Raises InvalidInput where that does not go together, or was not issued yet.
    """
    place, found = find(wanted, name)
    password = issuing.BUNDLE_PASSWORD if password is None else password
    bare = place.partition(".")[2]
    if kind != "pem":
        refuse_password(password, kind)
    if kind == "truststore":
        roots = trusted_roots(found, existing, layout)
        aliases = {bare if not n else f"{bare}-{n + 1}": root for n, root in enumerate(roots)}
        return Exported(issuing.truststore(aliases, password), False, roots, bare + ENDINGS[kind], password)
    if isinstance(found, WantedAuthority | GivenAuthority):
        if kind != "pem":
            raise InvalidInput(
                f"{name}: an authority's key is never exported, and a {kind} without one is a truststore; "
                "use --format truststore, or pem"
            )
        roots = trusted_roots(found, existing, layout)
        content = b"".join(map(issuing.certificate_pem, roots))
        return Exported(content, False, roots, bare + ENDINGS[kind], password)
    return with_key(name, bare, found, kind, password, existing, layout)


def with_key(
    name: str,
    bare: str,
    found: Subject,
    kind: Format,
    password: str,
    existing: Mapping[str, bytes],
    layout: Layout,
) -> Exported:
    certificate_path, key_path = (
        (f"{found.host}/{layout.certificates}/server.pem", f"{found.host}/{layout.certificates}/server.key")
        if isinstance(found, WantedServer)
        else (f"{layout.identities}/{bare}/certificate.pem", f"{layout.identities}/{bare}/key.pem")
    )
    certificate, key = existing.get(certificate_path), existing.get(key_path)
    chain = tuple(read_certificates(certificate or b""))
    file_name = bare + ENDINGS[kind]
    if chain and key is None and f"{layout.identities}/{bare}/request.pem" in existing:
        if kind == "pem":
            return Exported(b"".join(map(issuing.certificate_pem, chain)), False, chain, file_name, password)
        raise InvalidInput(
            f"{name}: its key is held elsewhere, and a {kind} needs it; export pem, and have its holder pack the two"
        )
    credential = read_credential(certificate, key)
    if credential is None or not same_key(credential.certificate, credential.key):
        raise InvalidInput(f"{name}: there is no certificate with its key yet; run `mtls-lab certificates issue`")
    return Exported(packed(bare, credential, kind, password), True, chain, file_name, password)


def packed(name: str, credential: Credential, kind: Format, password: str) -> bytes:
    if kind == "pkcs12":
        return issuing.bundle(name, credential, password)
    if kind == "pkcs12-legacy":
        return issuing.legacy_bundle(name, credential, password)
    return credential.certificate_pem() + credential.key_pem()


def trusted_roots(found: Subject, existing: Mapping[str, bytes], layout: Layout) -> tuple[x509.Certificate, ...]:
    """What has to be trusted so that a host, or whoever an authority vouches for, is believed."""
    if isinstance(found, GivenAuthority):
        return tuple(read_certificates(found.certificate))
    if isinstance(found, GivenIdentity) or not isinstance(found, WantedServer | WantedAuthority):
        raise InvalidInput(
            f"{found.name}: is a client certificate, and a truststore holds whom to trust; "
            "name an authority, or the host that is to be trusted"
        )
    authority = found.authority if isinstance(found, WantedServer) else found.name
    roots = tuple(read_certificates(existing.get(f"{layout.authorities}/{authority}/certificate.pem", b"")))
    if not roots:
        raise InvalidInput(f"{authority}: was not issued yet; run `mtls-lab certificates issue`")
    return roots


def refuse_password(password: str, kind: Format) -> None:
    if not password:
        raise InvalidInput("--password: is empty, which Java, NSS and macOS each take for something else; give one")
    if not (password.isascii() and password.isprintable()):
        raise InvalidInput("--password: has characters that programs encode differently; use letters, digits and signs")
    if kind == "truststore" and len(password) < SHORTEST_TRUSTSTORE_PASSWORD:
        raise InvalidInput(f"--password: keytool takes none below {SHORTEST_TRUSTSTORE_PASSWORD} characters")


def is_earlier(content: bytes, exported: Exported) -> bool:
    """Whether a file is an earlier export of the same: certificates of the same names, from the same authorities."""
    names = {(one.subject, one.issuer) for one in exported.certificates}
    found = read_certificates(content) or packed_certificates(content, exported.password)
    keys_match = exported.secret or b"PRIVATE KEY" not in content
    return bool(found) and keys_match and all((one.subject, one.issuer) in names for one in found)


def packed_certificates(content: bytes, password: str) -> list[x509.Certificate]:
    """The certificates of a PKCS#12; none where it is none, or has another password."""
    try:
        found = pkcs12.load_pkcs12(content, password.encode())
    except ValueError:
        return []
    own = [found.cert.certificate] if found.cert else []
    return [*own, *(one.certificate for one in found.additional_certs)]
