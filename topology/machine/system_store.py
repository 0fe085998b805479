"""The system's own store: a folder for local authorities, and a command that makes bundles of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from topology.errors import InvalidInput, LabError
from topology.generation import writing
from topology.machine import disk, processes
from topology.machine.disk import NotPermitted
from topology.machine.labels import Anchor, parse
from topology.machine.processes import ToolFailed
from topology.machine.stores import Damaged, Entry, ders


@dataclass(frozen=True)
class SystemStore:
    """folder: local authorities, one a file; command: makes the bundle, which OpenSSL, curl and others read;
    package: how to install the command; public: where the other certificates of the bundle come from, and settings:
    the command's own file, both for Debian's command alone."""

    folder: Path
    suffix: str
    command: tuple[str, ...]
    package: str
    bundle: Path
    public: Path | None = None
    settings: Path | None = None

    kind = "system"

    @property
    def place(self) -> str:
        return str(self.folder)

    def file(self, name: str) -> Path:
        return self.folder / f"{name}{self.suffix}"

    def entries(self) -> tuple[Entry, ...]:
        processes.find(self.command[0], self.package)
        try:
            trusted = ders(self.bundle.read_bytes())
            local = {file.name.removesuffix(self.suffix): file.read_bytes() for file in self.files()}
        except OSError as error:
            raise Damaged(f"{error.filename}: cannot be read: {error.strerror}; `{self.line}` makes it anew") from error
        if not trusted:
            raise Damaged(f"{self.bundle}: holds no certificate; `{self.line}` makes it anew")
        found = [
            Entry(name, der, der in trusted)
            for name, content in local.items()
            for der in ders(content) or ([b""] if parse(name) else [])
        ]
        known = {entry.der for entry in found}
        self.refuse_to_lose(trusted, known)
        return (*found, *(Entry(str(self.bundle), der) for der in trusted if der not in known))

    def files(self) -> list[Path]:
        return sorted(file for file in self.folder.iterdir() if file.name.endswith(self.suffix) and file.is_file())

    @property
    def line(self) -> str:
        return " ".join(self.command)

    def refuse_to_lose(self, trusted: Sequence[bytes], local: set[bytes]) -> None:
        """Who put a certificate into the bundle by hand would lose it when the bundle is made anew."""
        if self.public is None:
            return
        known = local | {der for file in self.public.rglob("*.crt") for der in ders(file.read_bytes())}
        known |= {der for file in self.folder.rglob("*.crt") for der in ders(file.read_bytes())}
        if lost := [der for der in trusted if der not in known]:
            raise Damaged(
                f"{self.bundle}: {len(lost)} of its certificates were put in by hand, and `{self.line}` would drop "
                f"them; put them into {self.folder} first, a file for each"
            )

    def refuse_unwritable(self) -> None:
        for path in (self.folder, self.bundle.parent):
            if not os.access(path, os.W_OK):
                raise NotPermitted(f"{path}: you may not change the system's store; run this again as root (sudo)")

    def change(self, add: Sequence[Anchor], remove: Sequence[str]) -> None:
        """A file for each; where the command fails, those that were put in are taken out again."""
        labels = [str(anchor.label) for anchor in add]
        try:
            for anchor in add:
                writing.write(self.file(str(anchor.label)), anchor.pem, 0o644)
            self.make_bundle(remove)
        except LabError:
            with contextlib.suppress(LabError):
                self.make_bundle([*labels, *remove])
            raise

    def make_bundle(self, without: Sequence[str]) -> None:
        """Runs the command after the files of some names were removed.

        Debian's command by itself leaves what was removed in Java's store and in the folder of links.  It tells its
        hooks of those alone that its settings name with an exclamation mark (update-ca-certificates(8)): it gets a copy
        of its settings that does.
        """
        tool = processes.find(self.command[0], self.package)
        for name in without:
            disk.delete(self.file(name))
        if self.settings is None or not without:
            told = processes.run([tool, *self.command[1:]])
        else:
            lines = "".join(f"!{self.file(name).name}\n" for name in without)
            content = self.settings.read_bytes().rstrip(b"\n") + b"\n" + lines.encode()
            with disk.temporary("settings", content) as settings:
                told = processes.run([tool, *self.command[1:], "--certsconf", str(settings)])
        # A hook that fails, Java's for one, is told of and no reason for the command to fail.
        if failed := [line for line in told.splitlines() if line.startswith("E: ")]:
            raise ToolFailed(f"`{self.line}` did not end well: {'; '.join(failed)}")


def known_stores(root: Path = Path("/")) -> tuple[SystemStore, ...]:
    """Each family's way: ca-certificates' manual, update-ca-trust(8), openSUSE's update-ca-certificates(8)."""
    return (
        SystemStore(
            root / "etc/pki/ca-trust/source/anchors", ".pem", ("update-ca-trust", "extract"),
            "dnf install ca-certificates", root / "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        ),
        SystemStore(
            root / "etc/pki/trust/anchors", ".pem", ("update-ca-certificates",),
            "zypper install ca-certificates", root / "var/lib/ca-certificates/ca-bundle.pem",
        ),
        SystemStore(
            root / "etc/ca-certificates/trust-source/anchors", ".crt", ("update-ca-trust", "extract"),
            "pacman -S ca-certificates-utils", root / "etc/ca-certificates/extracted/tls-ca-bundle.pem",
        ),
        SystemStore(
            root / "usr/local/share/ca-certificates", ".crt", ("update-ca-certificates",),
            "apt-get install ca-certificates", root / "etc/ssl/certs/ca-certificates.crt",
            root / "usr/share/ca-certificates", root / "etc/ca-certificates.conf",
        ),
    )  # fmt: skip


def find(root: Path = Path("/")) -> SystemStore | None:
    """The store of a Linux machine.  root: where its file system begins."""
    return next((store for store in known_stores(root) if store.folder.is_dir()), None)


def required(root: Path = Path("/")) -> SystemStore:
    if store := find(root):
        return store
    folders = ", ".join(str(store.folder) for store in known_stores(root))
    raise InvalidInput(
        f"no system store was found (none of {folders} is there): "
        "install ca-certificates (Debian and Ubuntu: apt-get install ca-certificates)"
    )
