"""What will have ended by a moment, as people and machines read it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from topology.description.model import ACME, SYSTEM, Topology
from topology.generation.inventory import Entry
from topology.proof.expectation import REFUSED, Check
from topology.proof.forecasting import Change, Dated, Ending
from topology.report import certificates

KINDS = {"crl": "revocation list", "server": "certificate of host", "identity": "identity", "authority": "authority"}
"""Kind of an inventory's entry -> in words."""

REFUSALS = (400, 403, REFUSED)
"""Answers to those who do not get in anyway."""


def as_json(endings: Sequence[Ending], at: datetime) -> dict[str, object]:
    """Dates are ISO 8601 in UTC; renewed_from: since when `up` makes a new one by itself, null where it does not."""
    return {
        "at": iso(at),
        "breaks": any(ending.changes for ending in endings),
        "endings": [
            {
                "kind": ending.what.kind,
                "name": ending.what.name,
                "service": ending.what.service,
                "path": ending.what.path,
                "ends": iso(ending.at),
                "renewed_from": iso(ending.what.renewal) if ending.what.renewal else None,
                "cells": len(ending.cells),
                "changes": [
                    {"host": one.host, "route": one.route, "caller": one.caller, "expected": one.expected,
                     "then": one.then} for one in ending.changes
                ],
            }
            for ending in endings
        ],
    }  # fmt: skip


def iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()


def show(endings: Sequence[Ending], at: datetime, now: datetime, topology: Topology, cells: Sequence[Check]) -> None:
    """Prints what ends, what that changes, and what `up` does about it; the sum only where nothing breaks.

    cells: all that were looked at.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if endings:
        table = Table(title=f"by {at:%Y-%m-%d %H:%M} UTC", title_justify="left", title_style="bold")
        for column in ("ends", "what", "then", "`up` renews it"):
            table.add_column(column, overflow="fold")
        rows = (row(ending, now, cells) for ending in endings)
        for ends, what, then, renews in dict.fromkeys(rows):  # an intermediate's list ends with its root's
            table.add_row(ends, what, Text(then), renews)
        console.print(table)
    fine = [] if any(ending.changes for ending in endings) else [summary(endings, at)]
    for line in (*notes(topology), *fine):
        console.print(Text(line), soft_wrap=True)


def row(ending: Ending, now: datetime, cells: Sequence[Check]) -> tuple[str, str, str, str]:
    then = "\n".join(lines(ending.changes, cells)) or "nothing that is checked misses it"
    return f"{ending.at:%Y-%m-%d %H:%M}", named(ending.what), then, renewed(ending, now)


def named(what: Dated) -> str:
    service = f", service {what.service}" if what.service else ""
    return f"{KINDS[what.kind]} {what.name}{service}"


def lines(changes: Iterable[Change], cells: Iterable[Check]) -> Iterator[str]:
    """Such as `server /boot/, /mtls/: 400 for bro`, for all who got in; then how many others get another refusal."""
    every: dict[tuple[str, str], set[str]] = {}
    for cell in cells:
        every.setdefault((cell.host, cell.route), set()).add(cell.caller)
    callers: dict[tuple[str, str, str], dict[str, None]] = {}
    refused: set[tuple[str, str, str]] = set()
    for one in changes:
        if one.expected in REFUSALS:
            refused.add((one.host, one.route, one.caller))
        else:
            callers.setdefault((one.host, one.route, str(one.then)), {})[one.caller] = None
    routes: dict[tuple[str, str, str], list[str]] = {}
    for (host, route, then), found in callers.items():
        who = "everyone" if found.keys() >= every.get((host, route), {""}) else ", ".join(found)
        routes.setdefault((host, then, who), []).append(route)
    for (host, then, who), there in routes.items():
        yield f"{host} {', '.join(there)}: {then} for {who}"
    if refused:
        yield f"another refusal for {len(refused)} more"


def renewed(ending: Ending, now: datetime) -> str:
    since = ending.what.renewal
    if since is None:
        return f"no: {ending.what.note}" if ending.what.note else "no"
    return "at the next one" if since <= now else f"from {since:%Y-%m-%d} on"


def notes(topology: Topology) -> Iterator[str]:
    """What is not in these files."""
    for name, host in topology.hosts.items():
        if host.tls is not None and host.tls.authority in (ACME, SYSTEM):
            yield f"- {name}: its certificate is certbot's, which renews it while the lab runs; not looked at"


def summary(endings: Sequence[Ending], at: datetime) -> str:
    broken = [ending for ending in endings if ending.changes]
    if not broken:
        return f"nothing breaks by {at:%Y-%m-%d %H:%M} UTC"
    left = dict.fromkeys(named(ending.what) for ending in broken if ending.what.renewal is None)
    kept = "`mtls-lab up` in time renews " + ("all" if not left else "all but " + ", ".join(left))
    cells = frozenset().union(*(ending.cells for ending in broken))
    ended = list(dict.fromkeys(named(ending.what) for ending in broken))
    return f"by then {len(ended)} of the lab's certificates and lists have ended, and {len(cells)} cells differ; {kept}"


@dataclass(frozen=True)
class Ahead:
    """warnings: a line for each certificate or list that is not in order; until: when the lab breaks, if nobody does
    anything; holds: that in a line, empty where nothing has an end."""

    warnings: tuple[str, ...]
    until: datetime | None
    holds: str

    @property
    def lines(self) -> tuple[str, ...]:
        return (*self.warnings, *([self.holds] if self.holds else []))

    def as_json(self) -> dict[str, object]:
        return {"certificates": list(self.warnings), "holds_until": iso(self.until) if self.until else None}


def ahead(entries: Sequence[Entry], next_break: Ending | None, folder: Path, now: datetime) -> Ahead:
    """What those should know who did not ask.  folder: the lab's."""
    warned = certificates.warnings(entries, folder, now)
    if next_break is None:
        return Ahead(warned, None, "")
    what, end = named(next_break.what), next_break.at
    if end <= now:
        return Ahead(warned, end, f"broken since {end:%Y-%m-%d %H:%M} UTC: {what} ended; {remedy(next_break, now)}")
    days = counted((end - now).days, "day")
    holds = f"holds for {days}, until {end:%Y-%m-%d %H:%M} UTC: then {what} ends; {remedy(next_break, now)}"
    return Ahead(warned, end, holds)


def remedy(ending: Ending, now: datetime) -> str:
    since = ending.what.renewal
    if since is None:
        return "somebody else has to renew it" + (f" ({ending.what.note})" if ending.what.note else "")
    return "`mtls-lab up` renews it" + (f" from {since:%Y-%m-%d} on" if since > now else "")


def counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
