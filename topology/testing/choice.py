"""Which lab a session tests, and where it is found once it is up.  Loads nothing: most sessions need no lab."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from topology.runtime.lab import Lab

FOLDER = ".mtls-lab"
"""In pytest's root folder: the stacks of labs that outlive their session."""

Values = Mapping[str, Mapping[str, str]]
"""Host -> what its Compose file takes from the environment."""


@dataclass(frozen=True)
class Choice:
    """What the session's options say.

    file: the topology; out: the folder for the stacks, None for one that goes with the session; instance: the lab's;
    keep: it stays up when the session ends; reuse: it is taken as it is where it is up with the same content;
    external: somebody else has it up.
    """

    file: Path
    out: Path | None
    instance: str | None
    keep: bool = False
    reuse: bool = False
    external: bool = False

    @property
    def stays(self) -> bool:
        return self.keep or self.reuse or self.external

    def load(self, temporary: Path) -> Lab:
        """Reads the topology.  temporary: for the stacks, where no folder was chosen.  Raises InvalidInput."""
        from topology.description.loading import load
        from topology.runtime.lab import Lab

        return Lab(load(self.file), self.out or temporary, self.instance)


@dataclass(frozen=True)
class Standing:
    """A lab that is up: its folder and instance, and what its Compose files take from the environment."""

    out: Path
    instance: str | None
    values: Values

    def as_json(self) -> bytes:
        return json.dumps({"out": str(self.out), "instance": self.instance, "values": self.values}).encode()

    @staticmethod
    def from_json(text: bytes) -> Standing:
        read = json.loads(text)
        return Standing(Path(read["out"]), read["instance"], read["values"])


def reused_instance(folder: Path, file: Path) -> str:
    """The same for each session with a topology, and another for its copy elsewhere."""
    return "pytest-reuse-" + hashlib.sha256(f"{folder}\0{file}".encode()).hexdigest()[:8]


def commands(choice: Choice, out: Path) -> tuple[str, str]:
    """How a lab is looked at, and taken down.  out: the folder of its stacks."""
    words = [str(choice.file), "--out", str(out), *(["--instance", choice.instance] if choice.instance else [])]
    return shlex.join(["mtls-lab", "status", *words]), shlex.join(["mtls-lab", "down", *words])
