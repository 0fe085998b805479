"""NSS databases: where Chromium and Firefox on Linux, and Firefox everywhere, keep what a person trusts."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from topology.errors import InvalidInput, LabError
from topology.machine import disk, processes
from topology.machine.disk import NotPermitted
from topology.machine.labels import Anchor, fingerprint, parse
from topology.machine.processes import ToolFailed, User
from topology.machine.stores import Damaged, Entry, ders

DATABASE = "cert9.db"
FILES = (DATABASE, "key4.db", "pkcs11.txt")
"""All that a database consists of."""

CHROMIUM = Path(".pki/nssdb")
"""Chromium makes it at its first start, where nobody did before."""

PLACES = (
    CHROMIUM.as_posix(),
    ".local/share/pki/nssdb",
    "snap/*/current/.pki/nssdb",
    ".var/app/*/.pki/nssdb",
    ".var/app/*/data/pki/nssdb",
    ".mozilla/firefox/*",
    ".config/mozilla/firefox/*",
    "snap/firefox/common/.mozilla/firefox/*",
    ".var/app/org.mozilla.firefox/.mozilla/firefox/*",
    ".var/app/org.mozilla.firefox/config/mozilla/firefox/*",
    "Library/Application Support/Firefox/Profiles/*",
)
"""Below a person's home: Chromium and its relatives, also as snap and flatpak, and Firefox's profiles."""

SERVERS_ONLY = "C,,"
"""Trusted to certify servers, and neither clients nor mail (certutil(1), trust attributes)."""

PACKAGE = (
    "apt-get install libnss3-tools (Debian and Ubuntu), dnf install nss-tools (Fedora), pacman -S nss (Arch), "
    "brew install nss (macOS)"
)
MADE = "made-by-mtls-lab"
"""In a database that we made: a file with the topmost folder that had to be made for it."""

LINE = re.compile(r"(?P<nickname>.*?)\s+(?P<trust>[a-zA-Z]*,[a-zA-Z]*,[a-zA-Z]*)\s*")
SERVER_TRUST = re.compile(r"[^,]*C")


@dataclass(frozen=True)
class NssStore:
    """One database.  folder: where it lies, or will lie; user: whose it is."""

    folder: Path
    user: User

    kind = "nss"

    @property
    def place(self) -> str:
        return str(self.folder)

    @property
    def is_there(self) -> bool:
        return (self.folder / DATABASE).exists()

    def certutil(self, *arguments: str) -> str:
        """certutil, as the person whose database it is: what it writes is theirs."""
        tool = processes.find("certutil", PACKAGE)
        return processes.run([tool, *arguments, "-d", f"sql:{self.folder}"], self.user)

    def entries(self) -> tuple[Entry, ...]:
        if not self.is_there:
            processes.find("certutil", PACKAGE)
            return ()
        try:
            trust = nicknames(self.certutil("-L"))
            # Certificates of one subject come together, whichever of their nicknames is asked for.
            found = {name: ders(os.fsencode(self.certutil("-L", "-n", name, "-a"))) for name in trust}
        except ToolFailed as error:
            raise Damaged(f"{self.folder}: the database cannot be read; {error}") from error
        return tuple(
            Entry(name, der, SERVER_TRUST.match(trust[name]) is not None)
            for name, all_of_subject in found.items()
            for der in own(name, all_of_subject)
        )

    def refuse_unwritable(self) -> None:
        needed = [self.folder, self.folder / DATABASE] if self.is_there else [first_there(self.folder)]
        for path in needed:
            if not os.access(path, os.W_OK):
                raise NotPermitted(f"{path}: you may not change it; it belongs to somebody else")

    def change(self, add: Sequence[Anchor], remove: Sequence[str]) -> None:
        """Where an entry cannot be added whole, what there is of it is taken out again."""
        for name in remove:
            self.certutil("-D", "-n", name)
        if add and not self.is_there:
            self.create()
        for anchor in add:
            label = str(anchor.label)
            try:
                with disk.temporary("authority.pem", anchor.pem) as file:
                    self.certutil("-A", "-n", label, "-t", SERVERS_ONLY, "-i", str(file))
            except LabError:
                with contextlib.suppress(LabError):
                    self.certutil("-D", "-n", label)
                    self.remove_if_made_and_empty()
                raise
        if remove and not add:
            self.remove_if_made_and_empty()

    def create(self) -> None:
        top = disk.make_folder(self.folder, self.user.ids)
        disk.note(self.folder / MADE, f"{top or ''}\n", self.user.ids)
        try:
            self.certutil("-N", "--empty-password")
        except LabError:
            self.take_away()
            raise

    def remove_if_made_and_empty(self) -> None:
        """A database that we made goes with its last certificate, unless somebody keeps a key in it."""
        if (self.folder / MADE).is_file() and not nicknames(self.certutil("-L")) and not self.holds_keys():
            self.take_away()

    def take_away(self) -> None:
        top = (self.folder / MADE).read_text().strip()
        for name in (*FILES, MADE):
            disk.delete(self.folder / name)
        if top:
            disk.remove_folders(self.folder, Path(top))

    def holds_keys(self) -> bool:
        try:
            return bool(self.certutil("-K"))
        except ToolFailed as error:
            return "no keys found" not in str(error)


def nicknames(listing: str) -> dict[str, str]:
    """nickname -> trust, from what `certutil -L` prints."""
    lines = (LINE.fullmatch(line) for line in listing.splitlines())
    found = {line["nickname"]: line["trust"] for line in lines if line}
    return {name: trust for name, trust in found.items() if name != "Certificate Nickname"}


def own(name: str, all_of_subject: Sequence[bytes]) -> Sequence[bytes]:
    """Of the certificates that have a subject, the one that a label of ours means; all of them, if it is none."""
    label = parse(name)
    meant = [der for der in all_of_subject if label and fingerprint(der) == label.fingerprint]
    return meant or all_of_subject


def first_there(path: Path) -> Path:
    return path if path.exists() else first_there(path.parent)


def find(user: User) -> tuple[NssStore, ...]:
    """The databases that are there, each once."""
    folders = [folder for place in PLACES for folder in sorted(user.home.glob(place)) if (folder / DATABASE).exists()]
    return tuple(NssStore(folder, user) for folder in dict.fromkeys(folder.resolve() for folder in folders))


def required(user: User) -> tuple[NssStore, ...]:
    """The databases that are there, and Chromium's, which it finds when it starts for the first time.

    On macOS Chromium reads the system's store: there, InvalidInput without a Firefox.
    """
    found = find(user)
    if sys.platform == "darwin":
        if not found:
            raise InvalidInput(f"no profile of Firefox was found in {user.home}; start it once, then run this again")
        return found
    chromium = (user.home / CHROMIUM).resolve()
    return found if chromium in {one.folder for one in found} else (*found, NssStore(chromium, user))
