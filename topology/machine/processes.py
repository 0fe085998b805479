"""The tools of this machine: found, or refused with the package that brings them; started with argument lists alone."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from topology.errors import InvalidInput, LabError

SHOWN_LINES = 12
ADMINISTRATORS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Not on everybody's PATH, but where update-ca-certificates lies."""


class ToolFailed(LabError):
    """A tool said no.  The message holds the command and the end of what it printed."""

    exit_code = 1


@dataclass(frozen=True)
class User:
    """Whose stores are meant: the caller's own, or, under sudo, those of whoever called it.

    ids: user and group that a process has to take on; None where it is the caller.
    """

    home: Path
    ids: tuple[int, int] | None = None


def find(tool: str, package: str) -> str:
    """Where a tool lies; InvalidInput with the package that brings it where it is not there."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *ADMINISTRATORS])
    if found := shutil.which(tool, path=path):
        return found
    raise InvalidInput(f"{tool} is not installed on this machine: {package}")


def run(command: Sequence[str], user: User | None = None) -> str:
    """What a tool prints on standard output and standard error; ToolFailed where it fails.

    It has no terminal: one that would ask, for a password say, fails instead.
    """
    ids = user.ids if user else None
    environment = os.environ | {"LC_ALL": "C.UTF-8"} | ({"HOME": str(user.home)} if user else {})
    try:
        done = subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            user=ids[0] if ids else None,
            group=ids[1] if ids else None,
            extra_groups=[] if ids else None,
            start_new_session=True,
            check=False,
        )
    except OSError as error:
        raise ToolFailed(f"{command[0]}: cannot be started: {error.strerror}") from error
    output = os.fsdecode(done.stdout)
    if done.returncode:
        last = "\n".join(f"  {line}" for line in output.strip().splitlines()[-SHOWN_LINES:])
        raise ToolFailed(f"`{' '.join(command)}` failed with exit code {done.returncode}:\n{last}")
    return output
