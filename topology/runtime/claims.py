"""Labs that go with the process that brought them up: word of it, which outlives a kill, for `doctor` to find.

A test run says that an instance is its own, and holds a lock as long as it lives.  The system lets go of the lock when
the process is gone, however it went; then what is still up of the instance is a leftover.  A lab that a person brought
up has no claim, and so is never taken for one.  Word lies in the caller's own state folder
(XDG Base Directory Specification), since a run's own folder can be gone before its containers are.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from topology.errors import LabError
from topology.generation import writing
from topology.runtime.lab import Lab

if TYPE_CHECKING:
    from filelock import BaseFileLock

HELD: dict[Claim, BaseFileLock] = {}
"""The claims of this process."""


@dataclass(frozen=True)
class Claim:
    """Which instance of which lab goes with a process."""

    lab: str
    instance: str

    @property
    def record(self) -> Path:
        return folder() / f"{self.lab}-{self.instance}.json"

    @property
    def lock(self) -> Path:
        return self.record.with_suffix(".lock")


def folder() -> Path:
    state = os.environ.get("XDG_STATE_HOME", "")
    return (Path(state) if state.startswith("/") else Path.home() / ".local" / "state") / "mtls-lab" / "runs"


def claim(lab: Lab) -> None:
    """Says that an instance goes with this process.

    Where no word can be left, as without a home folder, the run goes on: `doctor` then leaves its lab alone.
    """
    from filelock import FileLock

    if not lab.instance:
        return
    made = Claim(lab.topology.name, lab.instance)
    with contextlib.suppress(OSError, RuntimeError, LabError):
        writing.make_folder(made.record.parent)
        lock = FileLock(made.lock)
        lock.acquire(timeout=0)
        HELD[made] = lock
        writing.write(made.record, json.dumps({"lab": made.lab, "instance": made.instance}).encode())


def give_up(lab: str, instance: str | None) -> None:
    """Takes word of an instance back, once nothing of it is up.  Somebody else's that still holds is left alone."""
    made = Claim(lab, instance or "")
    with contextlib.suppress(OSError, RuntimeError, LabError):
        if instance and made.record.is_file() and (made in HELD or is_abandoned(made)):
            writing.remove(made.record)
            if held := HELD.pop(made, None):
                held.release()
            if made.lock.is_file():  # some systems take it away with the lock
                writing.remove(made.lock)


def is_abandoned(made: Claim) -> bool:
    """Whether the process that made a claim is gone."""
    from filelock import FileLock, Timeout

    if made in HELD:
        return False
    try:
        with FileLock(made.lock, timeout=0):
            return True
    except Timeout:
        return False


def all_claims() -> Iterator[Claim]:
    """Those that this user's processes have made on this machine."""
    with contextlib.suppress(OSError, RuntimeError):
        for file in sorted(folder().glob("*.json")):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                found = json.loads(file.read_bytes())
                made = Claim(str(found["lab"]), str(found["instance"]))
                if made.record == file:
                    yield made
