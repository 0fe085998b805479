"""How an authority of a lab is called in a trust store, so that nothing but our own is ever removed.

A label names the lab, its instance, the authority, and the certificate itself by its fingerprint:
`mtls-lab.two-host.ssl_ca.0f3c...`, `mtls-lab.two-host.INSTANCE.ssl_ca.0f3c...`.  What carries a label is ours if its
certificate has the label's fingerprint, whether or not the lab's folder still knows it.  No name in it has a dot, so
that it is read in one way only; all of it is lower case, which Java's key stores make of aliases anyway.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from topology.description.model import Topology
from topology.errors import InvalidInput, NotReady

LABEL = re.compile(r"mtls-lab\.([a-z0-9-]+)(?:\.([a-z0-9-]+))?\.([a-z0-9_-]+)\.([0-9a-f]{20})")


@dataclass(frozen=True)
class Label:
    """fingerprint: the first 20 hexadecimal digits of the SHA-256 of the certificate's DER."""

    lab: str
    instance: str | None
    authority: str
    fingerprint: str

    def __str__(self) -> str:
        return ".".join(
            part for part in ("mtls-lab", self.lab, self.instance, self.authority, self.fingerprint) if part
        )

    def replaces(self, other: Label) -> bool:
        """Whether the other one is for the same authority, as it was once issued."""
        return (self.lab, self.instance, self.authority) == (other.lab, other.instance, other.authority)


@dataclass(frozen=True)
class Anchor:
    """An authority that is to be trusted.  der: its certificate; key: the file of its key, if that is ours."""

    label: Label
    der: bytes
    file: Path
    key: Path | None

    @property
    def certificate(self) -> x509.Certificate:
        return x509.load_der_x509_certificate(self.der)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


def fingerprint(der: bytes) -> str:
    return hashlib.sha256(der).hexdigest()[:20]


def parse(text: str) -> Label | None:
    """The label in a store's entry; None where it is none of ours."""
    found = LABEL.fullmatch(text)
    return Label(found[1], found[2], found[3], found[4]) if found else None


def certifying(topology: Topology) -> tuple[str, ...]:
    """The lab's authorities that certify hosts.  Those of clients are nobody's business outside of the gateways."""
    issuers = dict.fromkeys(host.tls.authority for host in topology.hosts.values() if host.tls)
    return tuple(name for name in issuers if name in topology.authorities)


def chosen(topology: Topology, named: Sequence[str]) -> tuple[str, ...]:
    """The authorities that are meant: those named, else those that certify hosts.  InvalidInput where there is none."""
    if unknown := [name for name in named if name not in topology.authorities]:
        there = ", ".join(topology.authorities) or "none"
        raise InvalidInput(f"--authority {unknown[0]}: {topology.name} has no such authority; there are: {there}")
    if found := tuple(dict.fromkeys(named)) or certifying(topology):
        return found
    raise InvalidInput(f"no authority of {topology.name} certifies a host: there is none to trust")


def anchors(topology: Topology, instance: str | None, folder: Path, names: Sequence[str]) -> tuple[Anchor, ...]:
    """Authorities as they were issued.  folder: where they lie, each in a folder of its name.

    Raises NotReady where one has not been issued yet, InvalidInput where its file is damaged.
    """
    found = []
    for name in names:
        file = folder / name / "certificate.pem"
        key = file.with_name("key.pem")
        for der in certificates(file, name):
            label = Label(topology.name, instance, name, fingerprint(der))
            found.append(Anchor(label, der, file, key if key.exists() else None))
    return tuple(found)


def certificates(file: Path, authority: str) -> list[bytes]:
    try:
        content = file.read_bytes()
    except FileNotFoundError as error:
        raise NotReady(
            f"authority {authority} has not been issued yet (there is no {file}); run `mtls-lab up` first"
        ) from error
    except OSError as error:
        raise InvalidInput(f"{file}: cannot be read: {error.strerror}") from error
    try:
        return [one.public_bytes(Encoding.DER) for one in x509.load_pem_x509_certificates(content)]
    except ValueError as error:
        raise InvalidInput(f"{file}: not a certificate that can be read; `mtls-lab up` says how to mend it") from error


def refuse_to_overwrite(file: Path) -> None:
    """A file that holds anything but certificates is not one of ours: InvalidInput."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise InvalidInput(f"--to {file}: cannot be read: {error.strerror}") from error
    if content.count(b"-----BEGIN ") != content.count(b"-----BEGIN CERTIFICATE-----") or not content.startswith(
        b"-----"
    ):
        raise InvalidInput(
            f"--to {file}: holds something else than certificates; remove it first, or name another file"
        )
