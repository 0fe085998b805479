"""What will have ended by a moment to come, and which answers change with it: read off files, no clock is moved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from topology.description.model import Topology
from topology.errors import NotReady
from topology.proof import expectation, needing
from topology.proof.expectation import Check
from topology.proof.needing import Need


class Dated(Protocol):
    """A certificate or revocation list, as a lab's inventory has it.

    end: None where there is nothing to read; renewal: since when `up` makes a new one by itself, or None.
    """

    @property
    def kind(self) -> needing.Kind: ...
    @property
    def name(self) -> str: ...
    @property
    def service(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def end(self) -> datetime | None: ...
    @property
    def renewal(self) -> datetime | None: ...
    @property
    def note(self) -> str: ...


@dataclass(frozen=True)
class Change:
    """One answer that becomes another.  caller: who asks; expected, then: before and after."""

    host: str
    route: str
    caller: str
    expected: int | str
    then: int | str


@dataclass(frozen=True)
class Ending:
    """Something that has ended by then, and the answers that it alone changes.

    at: when; cells: the ids of those of the matrix.
    """

    what: Dated
    at: datetime
    changes: tuple[Change, ...]
    cells: frozenset[str]


def forecast(
    topology: Topology, dated: Iterable[Dated], at: datetime, checks: Sequence[Check], *, beyond: bool = True
) -> tuple[Ending, ...]:
    """What ends by a moment, the first first; what is not missed by any answer comes with no changes.

    dated: the lab's inventory; checks: the cells that count; beyond: whether routes out of the lab do.
    Raises NotReady where something is missing that answers hang on: what `up` will issue has no end yet.
    """
    changes, cells = hanging_on(topology, checks)
    ways = needing.ways_out(topology) if beyond else ()
    for way in ways:
        for need in way.needs:
            change = Change(way.host, way.route, "everyone", f"what {way.server} answers", need.then)
            changes.setdefault(key(need), {})[change] = None
    endings = []
    for one in dated:
        missed = changes.get(key(one), {})
        if one.end is None and missed:
            raise NotReady(f"{one.kind} {one.name}: {one.state} ({one.path}); `mtls-lab up` issues what is missing")
        if one.end is not None and one.end <= at:
            endings.append(Ending(one, one.end, tuple(missed), frozenset(cells.get(key(one), ()))))
    return tuple(sorted(endings, key=lambda ending: (ending.at, ending.what.kind, ending.what.path)))


Key = tuple[str, str, str]


def key(one: Need | Dated) -> Key:
    return (one.kind, one.name, one.service)


def hanging_on(
    topology: Topology, checks: Sequence[Check]
) -> tuple[dict[Key, dict[Change, None]], dict[Key, list[str]]]:
    """What a need is missed by: the changes, each once; and the cells."""
    changes: dict[Key, dict[Change, None]] = {}
    cells: dict[Key, list[str]] = {}
    for check in checks:
        for need in first_of_each(needing.needs(topology, check)).values():
            if need.then != check.expected:
                change = Change(check.host, check.route, check.caller, check.expected, need.then)
                changes.setdefault(key(need), {})[change] = None
                cells.setdefault(key(need), []).append(check.id)
    return changes, cells


def first_of_each(needs: Iterable[Need]) -> Mapping[Key, Need]:
    """Where the same thing is come to twice on the way, the first decides."""
    found: dict[Key, Need] = {}
    for need in needs:
        found.setdefault(key(need), need)
    return found


def next_break(topology: Topology, dated: Iterable[Dated]) -> Ending | None:
    """What the lab breaks by first, if nobody does anything; None where nothing is there that anybody would miss."""
    there = [one for one in dated if one.end is not None]
    last = max((one.end for one in there if one.end is not None), default=None)
    endings = forecast(topology, there, last, expectation.checks(topology)) if last is not None else ()
    return next((ending for ending in endings if ending.changes), None)
