"""JUnit files -> one Markdown table of the test files, and what failed: for people who look at a CI run.

    python3 .ci/summary.py FOLDER >>"$GITHUB_STEP_SUMMARY"

It needs no package: it has to speak where installing them failed, too.
"""

from __future__ import annotations

import html
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

OUTCOMES = {"failure": "failed", "error": "failed", "skipped": "skipped"}
"""Elements below a JUnit test case -> what they say of it; without one it passed."""

MOST_TOLD = 50
LONGEST_MESSAGE = 2000
"""Characters.  GitHub takes a mebibyte for a step, and shows nothing of a summary that is larger."""


@dataclass(frozen=True)
class Case:
    """One test.  place: the file or class that it is in, as JUnit says; seconds: set-up and teardown included."""

    place: str
    name: str
    outcome: str
    seconds: float
    message: str


def main(folder: Path) -> str:
    files = sorted(folder.glob("*.xml"))
    cases = [case for file in files for case in read(file)]
    if not cases:
        return "### No test ran\n\nIt failed before: see the step's log.\n"
    return f"### {headline(cases)}\n\n{table(cases)}{''.join(failures(cases))}"


def read(file: Path) -> Iterator[Case]:
    """The tests of a JUnit file; one that failed, named as the file, where a killed run left half of it."""
    try:
        root = ElementTree.parse(file).getroot()  # noqa: S314 - our own tests wrote it
    except ElementTree.ParseError as error:
        yield Case(file.stem, file.name, "failed", 0, f"{file.name} cannot be read: {error}")
        return
    for element in root.iter("testcase"):
        told = next((child for child in element if child.tag in OUTCOMES), None)
        yield Case(
            place=element.get("classname", ""),
            name=element.get("name", ""),
            outcome="passed" if told is None else OUTCOMES[told.tag],
            seconds=float(element.get("time", 0)),
            message="" if told is None else told.text or told.get("message", ""),
        )


def headline(cases: list[Case]) -> str:
    counted = ", ".join(f"{count(cases, outcome)} {outcome}" for outcome in ("passed", "failed", "skipped"))
    return f"{'❌' if count(cases, 'failed') else '✅'} {len(cases)} tests: {counted}"


def table(cases: list[Case]) -> str:
    places = sorted({case.place for case in cases})
    rows = [row(place.replace("|", r"\|"), [case for case in cases if case.place == place]) for place in places]
    return "\n".join(
        ["| where | passed | failed | skipped | seconds |", "|---|--:|--:|--:|--:|", *rows, row("**all**", cases), ""]
    )


def row(label: str, cases: list[Case]) -> str:
    numbers = [str(count(cases, outcome)) for outcome in ("passed", "failed", "skipped")]
    return f"| {' | '.join([label, *numbers, f'{sum(case.seconds for case in cases):.1f}'])} |"


def failures(cases: Iterable[Case]) -> Iterator[str]:
    failed = [case for case in cases if case.outcome == "failed"]
    for case in failed[:MOST_TOLD]:
        title, message = html.escape(f"{case.place} {case.name}"), html.escape(case.message[-LONGEST_MESSAGE:])
        yield f"\n<details><summary>{title}</summary>\n\n<pre>{message}</pre>\n\n</details>\n"
    if len(failed) > MOST_TOLD:
        yield f"\n... and {len(failed) - MOST_TOLD} more.\n"


def count(cases: Iterable[Case], outcome: str) -> int:
    return sum(case.outcome == outcome for case in cases)


if __name__ == "__main__":
    sys.stdout.write(main(Path(sys.argv[1])))
