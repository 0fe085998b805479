"""What most commands take, and how long ones tell what they are doing."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from topology.description.wording import shown
from topology.errors import CheckFailed, InvalidInput

if TYPE_CHECKING:
    from topology.runtime.lab import Lab
    from topology.runtime.progress import Progress

TopologyFile = Annotated[Path, typer.Argument(metavar="TOPOLOGY", help="the topology file")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="folder of the generated stacks")]
Instance = Annotated[
    str | None, typer.Option("--instance", metavar="NAME", help="a running copy of its own, apart from all others")
]
Json = Annotated[bool, typer.Option("--json", help="print the result as JSON")]
Yes = Annotated[bool, typer.Option("--yes", help="do not ask; for scripts")]

DEFAULT_TOPOLOGY = Path("topology.yaml")
DEFAULT_OUT = Path("compose")
SPAN = re.compile(r"\+?([0-9]+)([hdw])")
UNITS = {"h": "hours", "d": "days", "w": "weeks"}
INSTANCE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,29}")


def open_lab(topology: Path, out: Path, instance: str | None) -> Lab:
    from topology.description.loading import load
    from topology.runtime.lab import Lab

    check_instance(instance)
    return Lab(load(topology), out, instance)


def check_instance(instance: str | None) -> None:
    if instance is not None and not INSTANCE_NAME.fullmatch(instance):
        raise InvalidInput(f"--instance {instance}: at most 30 lower-case letters, digits and hyphens")


def moment_to_come(text: str, now: datetime) -> datetime:
    """The moment that `+90d`, or a date with or without a time, means; without a zone it is the caller's own.

    Raises InvalidInput, for the past as well.
    """
    span = SPAN.fullmatch(text)
    try:
        found = now + timedelta(**{UNITS[span[2]]: int(span[1])}) if span else datetime.fromisoformat(text).astimezone()
        late = found.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise InvalidInput(
            f"--at {shown(text)}: write how far ahead, such as +90d, +12h or +6w, or when, such as 2027-01-31"
        ) from None
    if late < now:
        raise InvalidInput(f"--at {shown(text)}: is past; `mtls-lab check` tells what holds now")
    return late


def is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def agree(change: str, yes: bool) -> None:
    """Shows on standard error what is about to change outside of the lab, and asks; returns where the answer is yes.

    yes: it was given beforehand.  Raises InvalidInput where there is nobody to ask, CheckFailed where the answer is no.
    """
    print(change, file=sys.stderr, flush=True)
    if yes:
        return
    if not is_terminal():
        raise InvalidInput("nothing was changed: there is no terminal to ask on; say --yes to agree beforehand")
    if not typer.confirm("Go on?", err=True):
        raise CheckFailed("nothing was changed")


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """Progress on standard error: a line for each step; on a terminal also what is going on now."""
    from rich.console import Console

    from topology.runtime.progress import Progress

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield Progress(step=lambda line: print(line, file=sys.stderr, flush=True))
        return
    with console.status("working") as status:
        yield Progress(
            step=lambda line: console.print(line, markup=False),
            detail=lambda line: status.update(line[: console.width - 4].replace("[", r"\[")),
        )
