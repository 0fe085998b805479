"""The one family of errors.  Each message says where, what is wrong, and what to do instead.

    LabError
    ├── InvalidInput        exit 2   the author's file or argument is wrong
    │   └── InvalidTopology exit 2   every fault of a topology file, one line each
    ├── NoEngine            exit 3   no Docker engine or Compose that could be used
    ├── NotReady            exit 4   the lab did not come up, or is not up
    └── CheckFailed         exit 1   a check failed or something differs

`cli.main` is the one place that catches them; nothing below it prints or exits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar


class LabError(Exception):
    """Base of everything that a user may be told.  `str(error)` is the text for standard error."""

    exit_code: ClassVar[int] = 1


class InvalidInput(LabError):
    exit_code = 2


class NoEngine(LabError):
    exit_code = 3


class NotReady(LabError):
    exit_code = 4


class CheckFailed(LabError):
    exit_code = 1


@dataclass(frozen=True, order=True)
class Fault:
    """One thing that is wrong in a file.  Lines and columns count from 1.

    path: the field, such as hosts.server.routes; empty where the file as a whole, or as YAML, is wrong.
    """

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}: "
        return f"{where}{self.path}: {self.message}" if self.path else where + self.message


class InvalidTopology(InvalidInput):
    """All faults of one topology file, in the order of the file."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(sorted(faults))
        super().__init__("\n".join(str(fault) for fault in self.faults))


def reason(error: BaseException) -> str:
    """The innermost cause: libraries wrap what the system said several times.

    What this program said before, and was about to tell when this error came in between, is no cause of it.
    """
    while inner := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        if isinstance(inner, LabError | KeyboardInterrupt):
            break
        error = inner
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
