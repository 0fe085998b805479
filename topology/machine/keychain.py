"""The system's own store on macOS: the System keychain, through security(1).

Its entries have no name that we could choose.  What is ours there stands, under its label, in a folder beside it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from topology.errors import LabError
from topology.generation import writing
from topology.machine import disk, processes
from topology.machine.disk import NotPermitted
from topology.machine.labels import Anchor
from topology.machine.processes import ToolFailed
from topology.machine.stores import Damaged, Entry, ders

SYSTEM = Path("/Library/Keychains/System.keychain")
OURS = Path("/Library/Application Support/mtls-lab")
PACKAGE = "it is a part of macOS"


@dataclass(frozen=True)
class Keychain:
    """file: the keychain; record: the folder with a copy of each authority that we put into it, by label."""

    file: Path = SYSTEM
    record: Path = OURS

    kind = "system"

    @property
    def place(self) -> str:
        return str(self.file)

    def security(self, *arguments: str) -> str:
        return processes.run([processes.find("security", PACKAGE), *arguments])

    def ours(self, label: str) -> Path:
        return self.record / f"{label}.pem"

    def entries(self) -> tuple[Entry, ...]:
        try:
            there = ders(os.fsencode(self.security("find-certificate", "-a", "-p", str(self.file))))
        except ToolFailed as error:
            raise Damaged(f"{self.file}: the keychain cannot be read; {error}") from error
        ours = [
            Entry(file.stem, der, der in there)
            for file in sorted(self.record.glob("*.pem"))
            for der in ders(file.read_bytes()) or [b""]
        ]
        known = {entry.der for entry in ours}
        return (*ours, *(Entry(hashlib.sha256(der).hexdigest(), der) for der in there if der not in known))

    def refuse_unwritable(self) -> None:
        if not os.access(self.file, os.W_OK):
            raise NotPermitted(f"{self.file}: you may not change the system's keychain; run this again as root (sudo)")

    def change(self, add: Sequence[Anchor], remove: Sequence[str]) -> None:
        trusted = {entry.name for entry in self.entries() if entry.trusted}
        for name in remove:
            self.take_out(name, name in trusted)
        for anchor in add:
            file = self.ours(str(anchor.label))
            try:
                writing.write(file, anchor.pem, 0o644)
                self.security("add-trusted-cert", "-d", "-r", "trustRoot", "-p", "ssl", "-k", str(self.file), str(file))
            except LabError:
                with contextlib.suppress(LabError):
                    disk.delete(file)
                raise
        disk.remove_folders(self.record, self.record)

    def take_out(self, label: str, trusted: bool) -> None:
        file = self.ours(label)
        if trusted:
            der = ders(file.read_bytes())[0]
            self.security("remove-trusted-cert", "-d", str(file))
            # security(1) names certificates by their SHA-1.
            self.security(
                "delete-certificate", "-Z", hashlib.sha1(der, usedforsecurity=False).hexdigest(), str(self.file)
            )
        disk.delete(file)
