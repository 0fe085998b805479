"""Evidence that the checks can fail: one change at a time to a running lab."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from topology.commands.arguments import (
    DEFAULT_OUT,
    DEFAULT_TOPOLOGY,
    Instance,
    Json,
    Out,
    TopologyFile,
    open_lab,
    shown_progress,
)
from topology.errors import CheckFailed


def mutate(
    topology: TopologyFile = DEFAULT_TOPOLOGY,
    out: Out = DEFAULT_OUT,
    instance: Instance = None,
    only: Annotated[
        str | None, typer.Option("--only", metavar="PATTERN", help="only mutations whose id matches")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="each kind of mutation at its first place alone")] = False,
    as_json: Json = False,
) -> None:
    """Break the running lab in one way at a time, expect `check --all` to turn red, and put it back."""
    from topology.mutation import trying
    from topology.report import mutations

    lab = open_lab(topology, out, instance)
    with shown_progress() as progress:
        report = trying.run(lab, only=only, once=once, progress=progress)
    if as_json:
        print(json.dumps(mutations.as_json(report), indent=2))
    else:
        mutations.show(report)
    if wrong := report.of(trying.SURVIVED, trying.REFUSED):
        raise CheckFailed(f"{len(wrong)} of {len(report.attempts)} mutations were not caught")
