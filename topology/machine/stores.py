"""What every trust store has in common: certificates under names."""

from __future__ import annotations

import base64
import binascii
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cryptography import x509

from topology.errors import InvalidInput
from topology.machine.labels import Anchor, Label, fingerprint, parse

PEM = re.compile(r"-----BEGIN (?:TRUSTED )?CERTIFICATE-----([^-]+)-----END (?:TRUSTED )?CERTIFICATE-----")
COPY = re.compile(r"debian:(.+)\.pem")


class Damaged(InvalidInput):
    """A store that cannot be read, or is not what its own tools would write."""


@dataclass(frozen=True)
class Entry:
    """A certificate in a store, under the store's own name for it.

    der: empty where there is none that can be read; trusted: whether the store vouches for servers with it now.
    """

    name: str
    der: bytes
    trusted: bool = True

    @property
    def label(self) -> Label | None:
        """Ours, and really ours: the certificate is the one that the name says."""
        return genuine(self.name, self.der)

    @property
    def is_copy_of_ours(self) -> bool:
        """Debian's own copy, in Java's store, of what we put into the system's; it goes with that."""
        copied = COPY.fullmatch(self.name)
        return copied is not None and genuine(copied[1], self.der) is not None

    @property
    def subject(self) -> bytes:
        """As DER; empty where the certificate is not what a strict reader accepts, as some public ones."""
        try:
            with warnings.catch_warnings(action="ignore"):
                return x509.load_der_x509_certificate(self.der).subject.public_bytes()
        except ValueError:
            return b""


def genuine(name: str, der: bytes) -> Label | None:
    label = parse(name)
    return label if label and label.fingerprint == fingerprint(der) else None


class Store(Protocol):
    """One trust store of this machine."""

    @property
    def kind(self) -> str:
        """system, nss or java."""

    @property
    def place(self) -> str:
        """Where it is, for people."""

    def entries(self) -> tuple[Entry, ...]:
        """What is in it.  Raises Damaged, or InvalidInput where a tool is missing."""

    def refuse_unwritable(self) -> None:
        """Raises NotPermitted where the caller may not change it."""

    def change(self, add: Sequence[Anchor], remove: Sequence[str]) -> None:
        """Takes entries out, by name, and puts authorities in under their labels.  Raises LabError."""


def ders(pem: bytes) -> list[bytes]:
    """The certificates of a PEM file, as they stand there."""
    found = []
    for match in PEM.finditer(pem.decode("latin-1")):
        try:
            found.append(base64.b64decode(match[1]))
        except binascii.Error:
            continue
    return found
