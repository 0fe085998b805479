"""Java's own store: cacerts, which every program on that JVM reads unless it was told otherwise."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from topology.errors import InvalidInput
from topology.machine import disk, processes
from topology.machine.disk import NotPermitted
from topology.machine.labels import Anchor
from topology.machine.processes import ToolFailed
from topology.machine.stores import Damaged, Entry, ders

PASSWORD = "changeit"  # noqa: S105 - every Java has it, and it keeps nothing secret
NAMES = ("jssecacerts", "cacerts")
"""The first that is there is read (JSSE Reference Guide, "Default TrustManager")."""

HOME = re.compile(r"^\s*java\.home = (.+)$", re.MULTILINE)
ALIAS = re.compile(r"^Alias name: (.*)$", re.MULTILINE)
FOLLOWS_THE_SYSTEM = "ca-trust/extracted"
"""Where Fedora's update-ca-trust writes Java's store, and would drop what somebody else wrote."""


@dataclass(frozen=True)
class JavaStore:
    """file: the key store; keytool: of the same Java."""

    file: Path
    keytool: str

    kind = "java"

    @property
    def place(self) -> str:
        return str(self.file)

    @property
    def follows_the_system(self) -> bool:
        return FOLLOWS_THE_SYSTEM in self.file.as_posix()

    def run(self, command: str, file: Path, *arguments: str) -> str:
        # English: what it prints is read.
        language = "-J-Duser.language=en"
        return processes.run(
            [self.keytool, language, command, "-keystore", str(file), "-storepass", PASSWORD, *arguments]
        )

    def entries(self) -> tuple[Entry, ...]:
        try:
            listing = self.run("-list", self.file, "-rfc")
        except ToolFailed as error:
            raise Damaged(f"{self.file}: keytool cannot read it (password {PASSWORD}); {error}") from error
        parts = ALIAS.split(listing)[1:]
        return tuple(
            Entry(name, der)
            for name, body in zip(parts[::2], parts[1::2], strict=True)
            for der in ders(os.fsencode(body))
        )

    def refuse_unwritable(self) -> None:
        if not os.access(self.file, os.W_OK):
            raise NotPermitted(f"{self.file}: you may not change Java's store; run this again as root (sudo)")

    def change(self, add: Sequence[Anchor], remove: Sequence[str]) -> None:
        """keytool works on a copy, which then takes the place of the store: it changes whole or not at all."""
        with disk.copied(self.file) as copy:
            for name in remove:
                self.run("-delete", copy, "-alias", name)
            for anchor in add:
                with disk.temporary("authority.pem", anchor.pem) as file:
                    self.run("-importcert", copy, "-noprompt", "-alias", str(anchor.label), "-file", str(file))
            disk.replace(self.file, copy.read_bytes())


def find() -> JavaStore | None:
    """The store of the Java that programs would run on: JAVA_HOME's, else that of the java on PATH; None without one.

    Raises InvalidInput where that Java is not whole.
    """
    named = os.environ.get("JAVA_HOME")
    java = str(Path(named) / "bin" / "java") if named else shutil.which("java")
    if java is None:
        return None
    try:
        told = HOME.search(processes.run([java, "-XshowSettings:properties", "-version"]))
    except ToolFailed as error:
        if named is None and os.uname().sysname == "Darwin":
            return None  # macOS has a stub of that name where no Java is installed
        raise InvalidInput(f"{'JAVA_HOME' if named else 'the java on PATH'} is no Java that works; {error}") from error
    home = Path(told[1].strip()) if told else Path(java).resolve().parent.parent
    security = home / "lib" / "security"
    file = next((security / name for name in NAMES if (security / name).exists()), None)
    keytool = home / "bin" / "keytool"
    if file is None or not keytool.exists():
        missing = keytool if file else security / "cacerts"
        raise InvalidInput(f"the Java in {home} has no {missing}; install a whole one (Debian: default-jre-headless)")
    return JavaStore(file.resolve(), str(keytool))


def required() -> JavaStore:
    if (store := find()) is None:
        raise InvalidInput("no Java was found: JAVA_HOME is not set, and there is no java on PATH")
    if store.follows_the_system:
        raise InvalidInput(f"{store.file} is made of the system's store; use --store system")
    return store
