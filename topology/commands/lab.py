"""The lab's everyday life: generate, up, down, status, check."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
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
from topology.errors import CheckFailed, InvalidInput, NoEngine


def generate(
    topology: TopologyFile = DEFAULT_TOPOLOGY,
    out: Out = DEFAULT_OUT,
    check: Annotated[bool, typer.Option("--check", help="write nothing; exit 1 if anything differs")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="print the differences")] = False,
    as_json: Json = False,
) -> None:
    """Write the stacks of a topology.  Issues no certificates."""
    from topology.generation import planning, rendering, writing
    from topology.report import changes
    from topology.runtime import stacks

    lab = open_lab(topology, out, None)
    files = rendering.render(planning.plan(lab.description))
    if check:
        found = writing.differences(lab.folder, files)
    else:
        with shown_progress() as progress, stacks.exclusively(lab, progress):
            found = writing.synchronise(lab.folder, files)
    if as_json:
        print(json.dumps([{"path": d.path, "kind": d.kind} for d in found], indent=2))
    else:
        changes.show(found, lab.out / lab.topology.name, written=not check, diff=diff)
    if check and found:
        raise CheckFailed(
            f"{len(found)} of the generated files differ from {topology}; run `mtls-lab generate {topology}`"
        )


def up(
    topology: TopologyFile = DEFAULT_TOPOLOGY,
    out: Out = DEFAULT_OUT,
    instance: Instance = None,
    ports: Annotated[str, typer.Option("--ports", metavar="auto", help="`auto`: Docker chooses free ports")] = "",
    as_json: Json = False,
) -> None:
    """Generate, issue, build, start, and wait until the lab is proven ready."""
    from topology.proof import readiness
    from topology.report import addresses

    if ports not in ("", "auto"):
        raise InvalidInput(f"--ports {ports}: the one value is `auto`; fixed ports stand in the topology (publish)")
    lab = open_lab(topology, out, instance)
    with shown_progress() as progress:
        running = readiness.bring_up(lab, choose_ports=ports == "auto", progress=progress)
    if as_json:
        print(json.dumps(addresses.as_json(running), indent=2))
    else:
        addresses.show(running)


def down(
    topology: TopologyFile = DEFAULT_TOPOLOGY,
    out: Out = DEFAULT_OUT,
    instance: Instance = None,
    forget: Annotated[bool, typer.Option("--forget", help="give up what is on engines that do not answer")] = False,
    as_json: Json = False,
) -> None:
    """Remove all that `up` and `deploy` made, on every machine, but images and certificates."""
    from topology.runtime import stacks

    lab = open_lab(topology, out, instance)
    with shown_progress() as progress:
        was_up = stacks.down(lab, progress, forget=forget)
    if as_json:
        print(json.dumps({"lab": lab.topology.name, "instance": lab.instance, "was_up": was_up}, indent=2))
    else:
        print(f"{lab.topology.name} is down" if was_up else f"{lab.topology.name} was not up")


def status(
    topology: TopologyFile = DEFAULT_TOPOLOGY,
    out: Out = DEFAULT_OUT,
    instance: Instance = None,
    as_json: Json = False,
) -> None:
    """What runs, how it is, and where it listens."""
    from topology.report import certificates as report
    from topology.report import condition
    from topology.runtime import certificates, looking

    lab = open_lab(topology, out, instance)
    seen = looking.survey(lab)
    if seen.lost.keys() >= lab.topology.hosts.keys():
        raise NoEngine(seen.reasons)
    now = datetime.now(UTC)
    warnings = report.warnings(certificates.look(lab, now), lab.folder, now)
    if as_json:
        print(json.dumps(condition.as_json(seen) | {"certificates": list(warnings)}, indent=2))
    else:
        condition.show(seen)
        print("\n".join(warnings), end="\n" if warnings else "")
    if seen.lost:
        raise NoEngine(seen.reasons)


def check(
    topology: TopologyFile = DEFAULT_TOPOLOGY,
    out: Out = DEFAULT_OUT,
    instance: Instance = None,
    only: Annotated[str | None, typer.Option("--only", metavar="PATTERN", help="only cells whose id matches")] = None,
    every: Annotated[bool, typer.Option("--all", help="beyond the basic matrix: everything that is known")] = False,
    junit: Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="write JUnit XML, too")] = None,
    as_json: Json = False,
) -> None:
    """Send every caller to every route of the running lab and compare with what the topology says."""
    from topology.generation import writing
    from topology.proof import checking, expectation, families
    from topology.report import matrix
    from topology.runtime import looking

    lab = open_lab(topology, out, instance)
    running = looking.running(lab)
    elsewhere = running.held_elsewhere
    with shown_progress() as progress:
        checks = (families.checks if every else expectation.checks)(lab.topology, elsewhere)
        verdicts = checking.run(checks, running, only=only, progress=progress.detail, probes=families.PROBES)
    left_out = expectation.left_out(lab.topology, elsewhere)
    if junit is not None:
        writing.write(junit, matrix.junit(verdicts).encode())
    if as_json:
        print(json.dumps(matrix.as_json(verdicts), indent=2))
        print("\n".join(matrix.left_out_lines(left_out)), end="\n" if left_out else "", file=sys.stderr)
    else:
        matrix.show(verdicts, left_out)
    if wrong := [verdict for verdict in verdicts if not verdict.ok]:
        raise CheckFailed(f"{len(wrong)} of {len(verdicts)} cells are wrong")
