"""A lab's certificates as people read them: a table, warnings, JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from topology.generation import acme
from topology.generation.inventory import OK, Entry
from topology.report.addresses import shown

STYLES = {OK: "green", "due for renewal": "yellow", "missing": "yellow"}
"""Of a state; any other is red."""


def show(entries: Sequence[Entry], folder: Path, now: datetime) -> None:
    """Prints a row for each certificate and revocation list.  folder: the lab's."""
    table = Table()
    for column in ("what", "certificate", "until", "state"):
        table.add_column(column, overflow="fold")
    kind = ""
    for entry in entries:
        if kind and entry.kind != kind:
            table.add_section()
        kind = entry.kind
        left = entry.days_left(now)
        until = f"{entry.end:%Y-%m-%d}\n{left} days" if entry.end else ""
        state = Text(entry.state, style=STYLES.get(entry.state, "bold red"))
        if entry.note:
            state.append(f"\n{entry.note}", style="dim")
        table.add_row(f"{entry.kind}\n{entry.name}", described(entry, folder), until, state)
    Console(highlight=False).print(table)


def described(entry: Entry, folder: Path) -> Text:
    """Subject, names, issuer and place, a line each."""
    lines = [entry.subject] if entry.subject else []
    lines += [", ".join(entry.san)] if entry.san else []
    if entry.issuer:
        lines.append("by itself" if entry.issuer == entry.subject else f"by {entry.issuer}")
    text = Text("\n".join(lines) + ("\n" if lines else ""))
    return text.append(shown(folder / entry.path), style="dim")


def as_json(entries: Sequence[Entry], folder: Path, now: datetime) -> list[dict[str, object]]:
    """Dates are ISO 8601 in UTC; days_left is negative after the end; what is not known is null or empty."""
    return [
        {
            "kind": entry.kind,
            "name": entry.name,
            "subject": entry.subject,
            "san": list(entry.san),
            "issuer": entry.issuer,
            "serial": entry.serial,
            "not_before": iso(entry.start),
            "not_after": iso(entry.end),
            "days_left": entry.days_left(now),
            "path": shown(folder / entry.path),
            "state": entry.state,
            "note": entry.note,
        }
        for entry in entries
    ]


def iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()


def warnings(entries: Sequence[Entry], folder: Path, now: datetime) -> tuple[str, ...]:
    """A line for each that is expired, due, or otherwise not in order, the revoked ones left out."""
    lines = []
    for entry in entries:
        if entry.state in (OK, "revoked"):
            continue
        left = entry.days_left(now)
        days = "" if left is None or left < 0 else f", {left} day{'' if left == 1 else 's'} left"
        note = f" ({entry.note})" if entry.note else ""
        lines.append(f"{entry.kind} {entry.name}: {entry.state}{days}{note}: {shown(folder / entry.path)}")
    return tuple(lines)


def taken_up(changes: Sequence[str], *, running: bool) -> str:
    """When what was issued is in use, in a line.

    changes: what was issued, in sentences; running: whether a running lab's gateways were reloaded.  The lab's own ACME
    server reads its certificate when it starts, and has another root then: that is left to `up`, which leads everybody
    to the new one.
    """
    if not running:
        return "a gateway takes it up at the next `mtls-lab up`"
    of_the_server = [line for line in changes if line.startswith(f"host {acme.FOLDER}: ")]
    if not of_the_server:
        return "the running lab has taken it up"
    gateways = "" if len(of_the_server) == len(changes) else "the running gateways have taken it up; "
    return f"{gateways}the lab's ACME server takes up its own certificate at the next `mtls-lab up`"
