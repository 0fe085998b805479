"""Everything that `check --all` does beyond the basic matrix: families of checks, each with its own way to observe.

A family is one module of this room that says what must be answered (`checks`, from the topology alone) and how that is
observed on a running lab (`probe`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from topology.description.model import Topology
from topology.proof import (
    callers,
    egress,
    expectation,
    expected_egress,
    expected_requests,
    expected_walls,
    probing,
    requesting,
    walls,
)
from topology.proof.checking import Probe
from topology.proof.expectation import Check, LeftOut


@dataclass(frozen=True)
class Family:
    """checks: (topology, identities whose key is held elsewhere) -> cells; their `family` names this one.

    left_out: the same -> what there are no cells for, and why.
    """

    checks: Callable[[Topology, Collection[str]], tuple[Check, ...]]
    probe: Probe
    left_out: Callable[[Topology, Collection[str]], tuple[LeftOut, ...]] = lambda topology, elsewhere: ()  # noqa: ARG005


FAMILIES: Mapping[str, Family] = {
    "route": Family(expectation.checks, probing.probe, expectation.left_out),
    "caller": Family(callers.checks, probing.probe, callers.left_out),
    expected_walls.FAMILY: Family(expected_walls.checks, walls.probe),
    expected_walls.INSIDE_FAMILY: Family(expected_walls.inside_checks, walls.probe_inside),
    expected_egress.FAMILY: Family(expected_egress.checks, egress.probe),
    "request": Family(expected_requests.checks, requesting.probe),
}
"""Name -> family, in the order in which they are checked."""

PROBES: Mapping[str, Probe] = {name: family.probe for name, family in FAMILIES.items()}


def checks(topology: Topology, elsewhere: Collection[str] = ()) -> tuple[Check, ...]:
    """Every cell of every family."""
    return tuple(check for family in FAMILIES.values() for check in family.checks(topology, elsewhere))


def left_out(topology: Topology, elsewhere: Collection[str] = ()) -> tuple[LeftOut, ...]:
    """What no family has cells for, and why."""
    return tuple(one for family in FAMILIES.values() for one in family.left_out(topology, elsewhere))
