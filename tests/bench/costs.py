"""What labs cost, beside what they could cost; kept in docs/benchmarks.md."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import footprint, lifecycle, renewal, speed, throughput
from tests.bench.footprint import ContainerMemory, ImageSize
from tests.bench.lifecycle import ROOT, Cold, Lifecycle
from tests.bench.renewal import Renewal
from tests.bench.speed import Generation
from tests.bench.tables import MIB, Figure, figures, machine, mib, rounded, say, table
from tests.bench.throughput import Throughput
from topology.generation import writing

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

## Generating

The whole command, the start of Python included.

{generation}

## All labs at once

Every lab of `fixtures/labs/` up and proven at the same time, after each cell was asked once ({seconds} s from the first
`up`). {whole}The limit is {limit} MiB.

{memory}

## Certificates by ACME

In the lab `acme`, beside all the others.

{acme}

## Images

The base, which all of them share, is counted in each.

{images}
"""


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
    until they were; issuing: in milliseconds; cells: per second."""

    throughput: Sequence[Throughput]
    lifecycle: Lifecycle
    cold: Cold
    generation: Sequence[Generation]
    issuing: float
    memory: Sequence[ContainerMemory]
    images: Sequence[ImageSize]
    renewal: Renewal
    cells: float
    grown: int | None
    seconds: float

    def rate(self, way: str) -> float:
        return next(one.rate for one in self.throughput if one.way == way)


def ratios(run: Measured) -> list[Figure]:
    """What a run has to reach."""
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
        Figure("cells per second of `check`", run.cells, at_least=60),
    ]


def page(run: Measured) -> str:
    """The page as it is kept."""
    median = statistics.median
    return PARTS.format(
        machine=machine(),
        ratios=figures(ratios(run)),
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
        generation=table(
            ("services", "s", "ms for each further service"),
            [(f"{one.services:,}", f"{one.seconds:.2f}", f"{one.per_service:.2f}") for one in run.generation],
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
        say("two-host: every cell, several times")
        cells = speed.cells_per_second(next(one for one in labs if one.lab.topology.name == "two-host"))
    grown = after - before if after is not None and before is not None else None
    return Measured(ways, warm, cold, generated, issued, memory, images, renewed, cells, grown, seconds)


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
