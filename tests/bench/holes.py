"""Holes in a running lab: every kind of mutation is caught, and the unchanged lab stays green time after time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from topology.mutation import trying
from topology.proof import checking, families
from topology.pytest_plugin import TestedLab
from topology.runtime import looking
from topology.runtime.progress import Progress

RUNS = 50


@dataclass(frozen=True)
class Holes:
    """One lab.

    caught, total: kinds of mutations; slowest: seconds to the red that took longest; runs: of all cells on the
    unchanged lab, and how many of these had a wrong one; seconds: of the longest run.
    """

    lab: str
    caught: int
    total: int
    slowest: float
    runs: int
    red: int
    seconds: float


def measure(tested: TestedLab, say: Callable[[str], None]) -> Holes:
    """Each kind of mutation once, then every cell 50 times."""
    report = trying.run(tested.lab, once=True, progress=Progress(step=say))
    caught = report.of(trying.CAUGHT)
    running = looking.running(tested.lab)
    checks = families.checks(tested.lab.topology, running.held_elsewhere)
    red, times = 0, []
    for number in range(1, RUNS + 1):
        began = time.monotonic()
        verdicts = checking.run(checks, running, probes=families.PROBES)
        times.append(time.monotonic() - began)
        wrong = [verdict.check.id for verdict in verdicts if not verdict.ok]
        red += bool(wrong)
        say(f"{tested.lab.topology.name}: run {number} of {RUNS}: {', '.join(wrong) or 'green'}")
    return Holes(
        lab=tested.lab.topology.name,
        caught=len(caught),
        total=len(report.attempts),
        slowest=max((one.seconds for one in caught), default=0),
        runs=RUNS,
        red=red,
        seconds=max(times),
    )
