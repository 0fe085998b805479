"""`make bench`: measures, prints, and keeps the tables in docs/benchmarks.md."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.bench import footprint, renewal
from tests.bench.footprint import MIB, ContainerMemory, ImageSize
from tests.bench.renewal import Renewal
from topology.generation import writing
from topology.runtime import engine

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"
LIMIT = 16 * 1024 * MIB
"""All labs up at once have to fit into this."""

PARTS = """\
# Benchmarks

Written by `make bench`; one run on one machine. Run it on yours: absolute figures differ, what they say of each other
should not. This run: {machine}.

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


def page(
    found: Sequence[ContainerMemory],
    images: Sequence[ImageSize],
    renewed: Renewal,
    grown: int | None,
    seconds: float,
) -> str:
    """The page as it is kept.  grown: what the whole machine has more in use than before, in bytes, where it tells."""
    version = engine.connect().version()["Version"]
    machine = f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, Docker engine {version}"
    whole = f"The whole machine had {mib(grown)} MiB more in use than before. " if grown is not None else ""
    return PARTS.format(
        machine=machine,
        seconds=f"{seconds:.0f}",
        whole=whole,
        limit=mib(LIMIT),
        memory=memory_tables(found),
        acme=table(
            ("", "measured"),
            [
                (
                    "seconds to the first certificate, from the moment at which the challenge could be reached",
                    renewed.first,
                ),
                ("requests on connections of their own around a renewal", f"{renewed.requests:,}"),
                ("of these failed", renewed.failed),
            ],
        ),
        images=table(("image", "MiB"), [(image.name, mib(image.size)) for image in images]),
    )


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    """Exit code 1 where the labs need more than their limit, or a renewal cost a request."""
    began, before = time.monotonic(), footprint.memory_in_use()
    with tempfile.TemporaryDirectory() as folder:
        files = sorted((ROOT / "fixtures" / "labs").glob("*.yaml"))
        with footprint.all_up(files, Path(folder), say) as labs:
            seconds = time.monotonic() - began
            after = footprint.memory_in_use()
            grown = after - before if after is not None and before is not None else None
            found, images = footprint.memory_of(labs), footprint.image_sizes(labs)
            say("acme: renewing while requests run")
            renewed = renewal.measure(next(one for one in labs if one.lab.topology.name == "acme"))
    text = page(found, images, renewed, grown, seconds)
    print(text)
    writing.write(PAGE, text.encode())
    return int(max(sum(one.size for one in found), grown or 0) > LIMIT or renewed.failed > 0)


if __name__ == "__main__":
    sys.exit(main())
