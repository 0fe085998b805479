"""What generation changed on disk, or would change."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from topology.generation.writing import Difference

WRITTEN = {"missing": "new", "differs": "changed", "unexpected": "removed"}


def show(found: Sequence[Difference], folder: Path, *, written: bool, diff: bool) -> None:
    """Prints a line for each difference; written: they have been dealt with; diff: with the texts' differences."""
    for difference in found:
        word = WRITTEN[difference.kind] if written else difference.kind
        print(f"{word:<10} {folder / difference.path}")
        if diff:
            print(as_diff(difference, folder), end="")
    if not found:
        print(f"{folder}: up to date")


def as_diff(difference: Difference, folder: Path) -> str:
    name = str(folder / difference.path)
    lines = difflib.unified_diff(
        difference.written.splitlines(keepends=True), difference.wanted.splitlines(keepends=True), name, name
    )
    return "".join(lines)
