"""What the proof is worth: how much is asked, how fast, whether holes are seen; kept in docs/evidence.md."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import everything, holes
from tests.bench.everything import Everything
from tests.bench.holes import Holes
from tests.bench.lifecycle import ROOT
from tests.bench.tables import Figure, figures, machine, mib, rounded, say, table
from topology.generation import writing
from topology.pytest_plugin import brought_up

PAGE = ROOT / "docs" / "evidence.md"
LABS = ("two-host", "guarded")

PARTS = """\
# Evidence

Written by `make bench PART=evidence`; one run on one machine. This run: {machine}.

{figures}

## Everything that is known

`mtls-lab check --all`, the whole command, on a lab that is up alone. All certificates that callers of a lab show are
issued in {issuing} s at most.

{everything}

## Holes

`mtls-lab mutate --once`: each kind of hole in the running lab, one at a time, until the first cell is wrong; then every
cell of `check --all` {runs} times on the lab as it is.

{holes}
"""


@dataclass(frozen=True)
class Seen:
    """One lab.  issuing: seconds for every certificate that a caller shows."""

    everything: Everything
    issuing: float
    holes: Holes


def wanted(labs: Sequence[Seen]) -> list[Figure]:
    """What a run has to reach."""
    whole, found = [one.everything for one in labs], [one.holes for one in labs]
    return [
        Figure("kinds of callers", min(one.callers for one in whole), at_least=56),
        Figure("kinds of requests", min(one.requests for one in whole), at_least=50),
        Figure("cells per second of `check --all`", min(one.cells / one.seconds for one in whole), at_least=100),
        Figure("`check --all` on both labs, s", sum(one.seconds for one in whole), at_most=20),
        Figure("all certificates that callers show, s", max(one.issuing for one in labs), at_most=2),
        Figure("kinds of holes that were made", max(one.total for one in found), at_least=60),
        Figure("holes that no cell saw", sum(one.total - one.caught for one in found), at_most=0),
        Figure("the slowest red, s", max(one.slowest for one in found), at_most=5),
        Figure(f"false alarms in {holes.RUNS} runs on each lab", sum(one.red for one in found), at_most=0),
    ]


def page(labs: Sequence[Seen]) -> str:
    """The page as it is kept."""
    return PARTS.format(
        machine=machine(),
        figures=figures(wanted(labs)),
        issuing=f"{max(one.issuing for one in labs):.2f}",
        everything=table(
            ("lab", "kinds of callers", "kinds of requests", "cells", "s", "cells/s", "MiB at most"),
            [row(one.everything) for one in labs],
        ),
        runs=holes.RUNS,
        holes=table(
            ("lab", "caught", "holes", "slowest red, s", "red runs", "longest run, s"),
            [
                (one.lab, one.caught, one.total, f"{one.slowest:.1f}", one.red, f"{one.seconds:.1f}")
                for one in (seen.holes for seen in labs)
            ],
        ),
    )


def row(one: Everything) -> tuple[object, ...]:
    rate, memory = rounded(one.cells / one.seconds), mib(one.memory)
    return one.lab, one.callers, one.requests, f"{one.cells:,}", f"{one.seconds:.1f}", rate, memory


def seen(name: str, folder: Path) -> Seen:
    """In a lab that is up alone: nobody else's load is taken for a hole."""
    with brought_up(ROOT / "fixtures" / "labs" / f"{name}.yaml", folder / name) as tested:
        say(f"{name}: everything that is known")
        return Seen(everything.measure(tested), everything.issuing(tested), holes.measure(tested, say))


def main() -> int:
    """Exit code 1 where a figure is missed."""
    with tempfile.TemporaryDirectory() as folder:
        labs = [seen(name, Path(folder)) for name in LABS]
    text = page(labs)
    print(text)
    writing.write(PAGE, text.encode())
    return int(not all(one.reached for one in wanted(labs)))
