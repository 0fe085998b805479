"""Everything that `check --all` does beyond the basic matrix: families of checks, each with its own way to observe.

A family is one module of this room that says what must be answered (`checks`, from the topology alone) and how that is
observed on a running lab (`probe`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from topology.description.model import Topology
from topology.proof import expectation, probing
from topology.proof.checking import Probe
from topology.proof.expectation import Check


@dataclass(frozen=True)
class Family:
    """checks: (topology, identities whose key is held elsewhere) -> cells; their `family` names this one."""

    checks: Callable[[Topology, Collection[str]], tuple[Check, ...]]
    probe: Probe


FAMILIES: Mapping[str, Family] = {
    "route": Family(expectation.checks, probing.probe),
}
"""Name -> family, in the order in which they are checked."""

PROBES: Mapping[str, Probe] = {name: family.probe for name, family in FAMILIES.items()}


def checks(topology: Topology, elsewhere: Collection[str] = ()) -> tuple[Check, ...]:
    """Every cell of every family."""
    return tuple(check for family in FAMILIES.values() for check in family.checks(topology, elsewhere))
