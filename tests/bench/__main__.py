"""`make bench`: measures, prints, and keeps the tables in docs/benchmarks.md."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import everything, evidence, footprint, lifecycle, renewal, speed, throughput
from tests.bench.everything import Everything
from tests.bench.evidence import Evidence
from tests.bench.footprint import MIB, ContainerMemory, ImageSize
from tests.bench.lifecycle import ROOT, Cold, Lifecycle
from tests.bench.renewal import Renewal
from tests.bench.speed import Generation
from tests.bench.throughput import Throughput
from topology.generation import writing
from topology.pytest_plugin import brought_up
from topology.runtime import engine

PAGE = ROOT / "docs" / "benchmarks.md"
LIMIT = 16 * 1024 * MIB
"""All labs up at once have to fit into this."""

PARTS = """\
# Benchmarks

Written by `make bench`; one run on one machine. Run it on yours: absolute figures differ, what they say of each other
should not. This run: {machine}.

## Ratios

{ratios}

## Through both gateways

`GET {path}` on {connections} kept connections, from inside the client's network, through the client's gateway and the
server's, to a service that answers from memory. The same path with a configuration by hand like the article's (RSA,
a connection for each request), and without TLS on kept connections; each in turn, {throughput_rounds} rounds of
{seconds_each} s, the median of them.

{throughput}

## Up and down

The two-host lab; images are there. Compose alone runs both hosts' stacks at the same time, and proves nothing. The
median of {lifecycle_rounds} rounds.

{lifecycle}

From nothing to proven ready, images and the base image included:

{cold}

## Everything that is known

`mtls-lab check --all`, the whole command. All certificates that its callers show are issued in {zoo} s.

{everything}

## Generating

The whole command, the start of Python included.

{generation}

## All labs at once

Every lab of `fixtures/labs/` up and proven at the same time, after each cell was asked once ({seconds} s from the first
`up`). {whole}The limit is {limit} MiB.

{memory}

## Evidence

Every mutation of a running lab (`mtls-lab mutate`), and every cell of `check --all` {runs} times on the unchanged lab.

{evidence}

## Certificates by ACME

In the lab `acme`, beside all the others.

{acme}

## Images

The base, which all of them share, is counted in each.

{images}
"""


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; columns after the first are numbers."""
    lines = [head, ["---", *("--:" for _ in head[1:])], *rows]
    return "\n".join("| " + " | ".join(str(one) for one in line) + " |" for line in lines)


def mib(size: int) -> str:
    return f"{size / MIB:,.0f}"


def memory_tables(found: Sequence[ContainerMemory]) -> str:
    labs = dict.fromkeys(one.lab for one in found)
    sums = [(lab, [one.size for one in found if one.lab == lab]) for lab in labs]
    per_lab = [(lab, len(sizes), mib(sum(sizes))) for lab, sizes in sums]
    total = ("**all at once**", len(found), f"**{mib(sum(one.size for one in found))}**")
    each = [(f"{one.lab} / {one.host or '-'} / {one.service}", mib(one.size)) for one in found]
    return "\n\n".join(
        [
            table(("lab", "containers", "MiB"), [*per_lab, total]),
            table(("container (lab / host / service)", "MiB"), each),
        ]
    )


@dataclass(frozen=True)
class Measured:
    """One run.  grown: what the whole machine has more in use with all labs up, in bytes, where it tells; seconds:
    until they were; issuing: in milliseconds; cells: per second; zoo: seconds for every caller's certificate."""

    throughput: Sequence[Throughput]
    lifecycle: Lifecycle
    cold: Cold
    generation: Sequence[Generation]
    issuing: float
    memory: Sequence[ContainerMemory]
    images: Sequence[ImageSize]
    renewal: Renewal
    cells: float
    evidence: Sequence[Evidence]
    everything: Sequence[Everything]
    zoo: float
    grown: int | None
    seconds: float

    def rate(self, way: str) -> float:
        return next(one.rate for one in self.throughput if one.way == way)


def ratios(run: Measured) -> list[Figure]:
    """What a run has to reach."""
    whole = run.everything
    largest, small = run.generation[-1], run.generation[-2]
    hand = run.rate(throughput.LAB) / run.rate(throughput.BY_HAND)
    steepness = largest.per_service / small.per_service
    return [
        Figure("requests/s through both gateways, over the same two by hand, like the article's", hand, at_least=8),
        Figure("the same, over plain HTTP", run.rate(throughput.LAB) / run.rate(throughput.PLAIN)),
        Figure("warm `up` to proven ready, over `docker compose up --wait` alone", run.lifecycle.ratio, at_most=1.2),
        Figure(f"a service's share of `generate` with {largest.services:,} of them, over {small.services}", steepness),
        Figure(f"`generate` with {largest.services:,} services, s", largest.seconds, at_most=2),
        Figure("all certificates of the two-host lab, ms", run.issuing, at_most=10),
        Figure("mutations that survived", sum(one.total - one.caught for one in run.evidence), at_most=0),
        Figure("the slowest red of a mutation, s", max(one.slowest for one in run.evidence), at_most=5),
        Figure(
            f"runs of `check --all` with a wrong cell, of {evidence.RUNS} on each lab",
            sum(one.red for one in run.evidence),
            at_most=0,
        ),
        Figure("cells per second of `check`", run.cells, at_least=60),
        Figure("cells per second of `check --all`", min(one.cells / one.seconds for one in whole), at_least=100),
        Figure("`check --all` on both labs, s", sum(one.seconds for one in whole), at_most=20),
        Figure("kinds of callers", min(one.callers for one in whole), at_least=56),
        Figure("kinds of requests", min(one.requests for one in whole), at_least=50),
        Figure("all certificates that callers show, s", run.zoo, at_most=2),
    ]


@dataclass(frozen=True)
class Figure:
    """What was measured, and what it has to reach, if anything."""

    name: str
    value: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def reached(self) -> bool:
        low, high = self.at_least, self.at_most
        return (low is None or self.value >= low) and (high is None or self.value <= high)

    @property
    def wanted(self) -> str:
        if self.at_least is not None:
            return f"at least {self.at_least:g}"
        return f"at most {self.at_most:g}" if self.at_most is not None else ""


def rounded(value: float) -> str:
    return f"{value:,.0f}" if value >= 20 else f"{value:.2f}"


def page(run: Measured) -> str:
    """The page as it is kept."""
    version = engine.connect().version()["Version"]
    median = statistics.median
    return PARTS.format(
        machine=f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, Docker engine {version}",
        ratios=table(
            ("", "measured", "wanted", ""),
            [(one.name, rounded(one.value), one.wanted, "" if one.reached else "**missed**") for one in ratios(run)],
        ),
        path=throughput.PATH,
        connections=throughput.CONNECTIONS,
        throughput_rounds=throughput.ROUNDS,
        seconds_each=throughput.SECONDS,
        throughput=table(
            ("way", "requests/s", "rounds"),
            [(one.way, rounded(one.rate), ", ".join(map(rounded, one.rates))) for one in run.throughput],
        ),
        lifecycle_rounds=lifecycle.ROUNDS,
        lifecycle=table(
            ("", "the lab, s", "Compose alone, s"),
            [
                ("up", rounded(median(run.lifecycle.up)), rounded(median(run.lifecycle.compose_up))),
                ("down", rounded(median(run.lifecycle.down)), rounded(median(run.lifecycle.compose_down))),
            ],
        ),
        cold=table(
            ("step", "s", "share"),
            [
                *((step, f"{took:.1f}", f"{took / run.cold.seconds:.0%}") for step, took in run.cold.shares.items()),
                ("**in all**", f"**{run.cold.seconds:.1f}**", ""),
            ],
        ),
        zoo=f"{run.zoo:.2f}",
        everything=table(
            ("lab", "kinds of callers", "kinds of requests", "cells", "s", "cells/s", "MiB at most"),
            [
                (
                    one.lab,
                    one.callers,
                    one.requests,
                    f"{one.cells:,}",
                    f"{one.seconds:.1f}",
                    rounded(one.cells / one.seconds),
                    mib(one.memory),
                )
                for one in run.everything
            ],
        ),
        generation=table(
            ("services", "s", "ms for each further service"),
            [(f"{one.services:,}", f"{one.seconds:.2f}", f"{one.per_service:.2f}") for one in run.generation],
        ),
        runs=evidence.RUNS,
        evidence=table(
            (
                "lab",
                "caught",
                "mutations",
                "kinds",
                "slowest red, s",
                "cells",
                "longest run, s",
                "red runs",
            ),
            [
                (
                    one.lab,
                    one.caught,
                    one.total,
                    one.kinds,
                    f"{one.slowest:.1f}",
                    f"{one.cells:,}",
                    f"{one.seconds:.1f}",
                    one.red,
                )
                for one in run.evidence
            ],
        ),
        seconds=f"{run.seconds:.0f}",
        whole=f"The whole machine had {mib(run.grown)} MiB more in use than before. " if run.grown is not None else "",
        limit=mib(LIMIT),
        memory=memory_tables(run.memory),
        acme=table(
            ("", "measured"),
            [
                (
                    "seconds to the first certificate, from the moment at which the challenge could be reached",
                    run.renewal.first,
                ),
                ("requests on connections of their own around a renewal", f"{run.renewal.requests:,}"),
                ("of these failed", run.renewal.failed),
            ],
        ),
        images=table(("image", "MiB"), [(image.name, mib(image.size)) for image in run.images]),
    )


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def measured(folder: Path) -> Measured:
    """A whole run, what needs the machine for itself first.  folder: for stacks."""
    say("generating with up to 1,000 services, issuing")
    generated, issued = speed.generation(folder / "generation"), speed.issuing()
    cold = lifecycle.cold(folder / "cold", say)
    ways = throughput.measure(folder / "throughput", say)
    warm = lifecycle.measure(folder / "lifecycle", say)
    began, before = time.monotonic(), footprint.memory_in_use()
    files = sorted((ROOT / "fixtures" / "labs").glob("*.yaml"))
    with footprint.all_up(files, folder / "all", say) as labs:
        seconds = time.monotonic() - began
        after = footprint.memory_in_use()
        say("the memory of each container, the size of each image")
        memory, images = footprint.memory_of(labs), footprint.image_sizes(labs)
        say("acme: renewing while requests run")
        renewed = renewal.measure(next(one for one in labs if one.lab.topology.name == "acme"))
        both = [next(one for one in labs if one.lab.topology.name == name) for name in ("two-host", "guarded")]
        say("two-host: every cell, several times")
        cells = speed.cells_per_second(both[0])
        say("two-host, guarded: everything that is known")
        whole, zoo = [everything.measure(one) for one in both], everything.issuing(both[0])
    seen = [evidence_of(name, folder / "evidence") for name in ("two-host", "guarded")]
    grown = after - before if after is not None and before is not None else None
    return Measured(
        ways, warm, cold, generated, issued, memory, images, renewed, cells, seen, whole, zoo, grown, seconds
    )


def evidence_of(name: str, folder: Path) -> Evidence:
    """In a lab that is up alone: nobody else's load is taken for a hole."""
    with brought_up(ROOT / "fixtures" / "labs" / f"{name}.yaml", folder) as tested:
        return evidence.measure(tested, say)


def main() -> int:
    """Exit code 1 where a figure is missed, the labs need more than their limit, or a renewal cost a request."""
    with tempfile.TemporaryDirectory() as folder:
        run = measured(Path(folder))
    text = page(run)
    print(text)
    writing.write(PAGE, text.encode())
    used = max(sum(one.size for one in run.memory), run.grown or 0)
    missed = [one.name for one in ratios(run) if not one.reached]
    return int(bool(missed) or used > LIMIT or run.renewal.failed > 0)


if __name__ == "__main__":
    sys.exit(main())
