"""What is wrong with this machine for labs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from topology.commands.arguments import (
    DEFAULT_OUT,
    DEFAULT_TOPOLOGY,
    Instance,
    Json,
    Out,
    Yes,
    agree,
    check_instance,
    open_lab,
    shown_progress,
)
from topology.errors import CheckFailed, LabError, NoEngine

if TYPE_CHECKING:
    from topology.runtime.diagnosis import Finding, Outcome
    from topology.runtime.lab import Lab


def doctor(
    topology: Annotated[
        Path | None,
        typer.Argument(metavar="TOPOLOGY", help="the topology file; default: ./topology.yaml if it is there"),
    ] = None,
    fix: Annotated[bool, typer.Option("--fix", help="mend what can be mended, after asking")] = False,
    yes: Yes = False,
    out: Out = DEFAULT_OUT,
    instance: Instance = None,
    as_json: Json = False,
) -> None:
    """What is wrong with this machine for labs, and what to do.  Changes nothing without --fix.

    Without a topology it looks at the engine, Compose, the base image, clocks, the disk and leftovers alone.  --fix
    removes what killed test runs left, never what somebody has up, and issues certificates that are due.
    """
    from topology.report import diagnosis as report

    check_instance(instance)
    file = topology or (DEFAULT_TOPOLOGY if DEFAULT_TOPOLOGY.is_file() else None)
    lab = open_lab(file, out, instance) if file is not None else None
    outcomes = looked_at(lab)
    mendable = [found for one in outcomes for found in one.findings if found.repair is not None] if fix else []
    if mendable:
        if not as_json:
            report.show(outcomes)
        try:
            agree(report.repairs(mendable), yes)
        except LabError:
            if as_json:
                print(json.dumps(report.as_json(outcomes), indent=2))
            raise
        mend(mendable)
        outcomes = looked_at(lab)
    if as_json:
        print(json.dumps(report.as_json(outcomes), indent=2))
    else:
        report.show(outcomes)
    conclude(outcomes)


def mend(findings: list[Finding]) -> None:
    with shown_progress() as progress:
        for finding in findings:
            if finding.repair is not None:
                finding.repair(progress)


def looked_at(lab: Lab | None) -> tuple[Outcome, ...]:
    from topology.runtime import diagnosis

    with shown_progress() as progress:
        return diagnosis.examine(diagnosis.scene(lab, datetime.now(UTC)), progress)


def conclude(outcomes: tuple[Outcome, ...]) -> None:
    """Raises NoEngine where no lab can be brought up, CheckFailed where anything else is wrong."""
    wrong = [finding for outcome in outcomes for finding in outcome.findings if not finding.note]
    if any(finding.blocks for finding in wrong):
        raise NoEngine("no lab can be brought up here yet")
    if wrong:
        raise CheckFailed(f"{len(wrong)} thing{'s are' if len(wrong) > 1 else ' is'} wrong")
