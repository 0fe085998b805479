"""Certificates, revocation lists and keys that a configuration names, where they are at hand."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from topology.description import credentials
from topology.nginx.reading import Configuration
from topology.nginx.tree import Block, Directive

T = TypeVar("T", bound=x509.ExtensionType)

MANY = 20
"""Certificates in one file from which on it is a bundle of public authorities."""

CRL_END = b"-----END X509 CRL-----"


@dataclass(frozen=True)
class Use:
    """A file that a directive names, in a block where it is in force."""

    block: Block
    directive: Directive

    @property
    def path(self) -> str:
        return self.directive.value


def uses(configuration: Configuration, *names: str) -> Iterator[Use]:
    """Each directive of these names, where it stands."""
    for block in (configuration.root, *configuration.root.below()):
        for name in names:
            for one in block.own(name):
                yield Use(block, one)


def certificates(configuration: Configuration, path: str) -> tuple[x509.Certificate, ...] | None:
    """Of a PEM file, in its order; None where it is not at hand or holds none."""
    content = configuration.content(path) if path else None
    return None if content is None else credentials.decoded(content) or None


def revocation_lists(configuration: Configuration, path: str) -> tuple[x509.CertificateRevocationList, ...] | None:
    """Of a PEM file; None where it is not at hand or one of them is damaged."""
    content = configuration.content(path) if path else None
    if content is None:
        return None
    found = []
    for part in content.split(CRL_END)[:-1]:
        try:
            found.append(one := x509.load_pem_x509_crl(part + CRL_END + b"\n"))
            _ = one.issuer
        except (ValueError, TypeError, x509.InvalidVersion):
            return None
    return tuple(found)


Extensions = Mapping[type[x509.ExtensionType], x509.Extension[x509.ExtensionType]]


def extensions(certificate: x509.Certificate) -> Extensions:
    """By their kind; none where one of them cannot be read, as in some certificates of others."""
    with warnings.catch_warnings(action="ignore"):  # of serials and names that RFC 5280 does not allow
        try:
            return {type(one.value): one for one in certificate.extensions}
        except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
            return {}


def extension(certificate: x509.Certificate, kind: type[T]) -> T | None:
    found = extensions(certificate).get(kind)
    return found.value if found is not None and isinstance(found.value, kind) else None


def is_authority(certificate: x509.Certificate) -> bool:
    found = extension(certificate, x509.BasicConstraints)
    return certificate.version is x509.Version.v1 if found is None else found.ca


def is_root(certificate: x509.Certificate) -> bool:
    return certificate.issuer == certificate.subject


def signed(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def intermediates(certificates: Iterable[x509.Certificate]) -> int:
    """How many intermediates the longest chain below a root has, of the authorities among these."""
    found = tuple(certificates)
    if all(is_root(one) for one in found):
        return 0  # a bundle of the public authorities, for one
    authorities = [one for one in found if is_authority(one)]

    def above(one: x509.Certificate, seen: tuple[x509.Certificate, ...]) -> int:
        if is_root(one):
            return 0
        issuers = [other for other in authorities if other not in seen and other is not one and signed(one, other)]
        return 1 + max((above(other, (*seen, one)) for other in issuers), default=0)

    return max((above(one, ()) for one in authorities), default=0)


def titled(name: x509.Name) -> str:
    """A name in a message, on one line."""
    text = name.rfc4514_string()
    return "".join(sign if sign.isprintable() else "?" for sign in text) or "(an empty name)"
