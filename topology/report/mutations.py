"""What came of mutations: what survived, with what and where; as JSON."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from topology.mutation.trying import CAUGHT, REFUSED, SURVIVED, Attempt, Report


def show(report: Report) -> None:
    """Prints a table of what survived, or was refused, what has no place in the lab, and the sum."""
    console = Console(highlight=False)
    titles = {SURVIVED: "survived: no cell turned red", REFUSED: "refused: says nothing of the checks"}
    for outcome, title in titles.items():
        if found := report.of(outcome):
            console.print(table(title, found))
    for one in report.left_out:
        console.print(Text(f"- {one.name}: left out: no place for it in this lab. {one.sentence}"))
    console.print(Text(summary(report)))


def table(title: str, attempts: tuple[Attempt, ...]) -> Table:
    made = Table(title=title, title_justify="left", title_style="bold")
    for column in ("mutation", "host", "where", "what"):
        made.add_column(column, overflow="fold")
    for one in attempts:
        what = f"{one.mutation.sentence} {one.said}".strip()
        made.add_row(*(Text(text) for text in (one.mutation.name, one.host, one.change.where, what)))
    return made


def summary(report: Report) -> str:
    kinds = {one.mutation.name for one in report.attempts}
    caught = report.of(CAUGHT)
    slowest = max((one.seconds for one in caught), default=0)
    return (
        f"{len(report.attempts)} mutations of {len(kinds)} kinds: {len(caught)} caught, {len(report.of(SURVIVED))} "
        f"survived, {len(report.of(REFUSED))} refused; the slowest red after {slowest:.1f} s"
    )


def as_json(report: Report) -> dict[str, object]:
    return {
        "mutations": [
            {
                "id": one.id,
                "mutation": one.mutation.name,
                "host": one.host,
                "where": one.change.where,
                "what": one.mutation.sentence,
                "outcome": one.outcome,
                "seconds": round(one.seconds, 3),
                "cell": one.verdict.check.id if one.verdict else None,
                "expected": one.verdict.check.expected if one.verdict else None,
                "observed": one.verdict.observed if one.verdict else None,
                "said": one.said,
            }
            for one in report.attempts
        ],
        "left_out": [{"mutation": one.name, "what": one.sentence} for one in report.left_out],
    }
