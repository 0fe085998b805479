"""What `doctor` found, as people and machines read it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from topology.runtime.diagnosis import Finding, Outcome

FINE = "fine"


def as_json(outcomes: Sequence[Outcome]) -> dict[str, object]:
    """checks: name -> fine, wrong or skipped; findings: level is problem or note; fixable: by --fix."""
    return {
        "checks": {outcome.check: state(outcome) for outcome in outcomes},
        "findings": [
            {
                "check": outcome.check,
                "level": "note" if finding.note else "problem",
                "what": finding.what,
                "why": finding.why,
                "fix": finding.fix,
                "fixable": finding.repair is not None,
            }
            for outcome in outcomes
            for finding in outcome.findings
        ],
    }


def state(outcome: Outcome) -> str:
    wrong = any(not finding.note for finding in outcome.findings)
    return "wrong" if wrong else "skipped" if outcome.skipped else FINE


def show(outcomes: Sequence[Outcome]) -> None:
    """Prints what was looked at, and below it each finding; what is to be pasted stands on a line of its own length."""
    table = Table()
    for column in ("looked at", "found"):
        table.add_column(column, overflow="fold")
    for outcome in outcomes:
        table.add_row(outcome.check, words(outcome))
    console = Console(highlight=False)
    console.print(table)
    for outcome in outcomes:
        for finding in outcome.findings:
            head = Text(f"\n{outcome.check}: ", style="bold").append(finding.what, style=style_of(finding))
            console.print(head, soft_wrap=True)
            console.print(Text(f"  why: {finding.why}"), soft_wrap=True)
            console.print(Text(f"  do:  {finding.fix}"), soft_wrap=True)


def words(outcome: Outcome) -> Text:
    """What came of a check, in a few words."""
    if outcome.skipped:
        return Text(f"not looked at: {outcome.skipped}", style="dim")
    problems = [finding for finding in outcome.findings if not finding.note]
    notes = len(outcome.findings) - len(problems)
    told = [f"{len(problems)} wrong"] if problems else [FINE]
    told += [f"{notes} to know of"] if notes else []
    return Text(", ".join(told), style="bold red" if problems else "yellow" if notes else "green")


def style_of(finding: Finding) -> str:
    return "yellow" if finding.note else "red"


def repairs(findings: Sequence[Finding]) -> str:
    """What --fix is about to do, a line each."""
    return "\n".join(["this will:", *(f"  {finding.mends}" for finding in findings)])
