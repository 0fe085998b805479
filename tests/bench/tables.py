"""What the pages have in common: figures that have to reach something, and tables of them."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from topology.runtime import engine

MIB = 1024 * 1024


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


def figures(found: Iterable[Figure]) -> str:
    """What was measured beside what was wanted."""
    rows = [(one.name, rounded(one.value), one.wanted, "" if one.reached else "**missed**") for one in found]
    return table(("", "measured", "wanted", ""), rows)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; columns after the first are numbers."""
    lines = [head, ["---", *("--:" for _ in head[1:])], *rows]
    return "\n".join("| " + " | ".join(str(one) for one in line) + " |" for line in lines)


def mib(size: int) -> str:
    return f"{size / MIB:,.0f}"


def rounded(value: float) -> str:
    return f"{value:,.0f}" if value >= 20 else f"{value:.2f}"


def machine() -> str:
    """What everything was measured on."""
    version = engine.connect().version()["Version"]
    return f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, Docker engine {version}"


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
