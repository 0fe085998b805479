"""The lab's everyday life: generate, up, down, status, check."""

from __future__ import annotations

import json
import sys
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
    TopologyFile,
    moment_to_come,
    open_lab,
    shown_progress,
)
from topology.errors import CheckFailed, InvalidInput, NoEngine, NotReady

if TYPE_CHECKING:
    from topology.report.forecast import Ahead
    from topology.runtime.lab import Lab
    from topology.runtime.outages import Outage
    from topology.runtime.progress import Progress


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
    warned = ahead(lab)
    if as_json:
        print(json.dumps(addresses.as_json(running) | warned.as_json(), indent=2))
    else:
        addresses.show(running)
        print("", *warned.lines, sep="\n", end="\n" if warned.lines else "")


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
    from topology.report import condition
    from topology.runtime import looking

    lab = open_lab(topology, out, instance)
    seen = looking.survey(lab)
    if seen.lost.keys() >= lab.topology.hosts.keys():
        raise NoEngine(seen.reasons)
    warned, said = ahead(lab), looking.complaints(lab)
    if as_json:
        print(json.dumps(condition.as_json(seen, said) | warned.as_json(), indent=2))
    else:
        condition.show(seen, said)
        print("\n".join(warned.lines), end="\n" if warned.lines else "")
    if seen.lost:
        raise NoEngine(seen.reasons)


def check(
    topology: TopologyFile = DEFAULT_TOPOLOGY,
    out: Out = DEFAULT_OUT,
    instance: Instance = None,
    only: Annotated[str | None, typer.Option("--only", metavar="PATTERN", help="only cells whose id matches")] = None,
    every: Annotated[bool, typer.Option("--all", help="beyond the basic matrix: everything that is known")] = False,
    junit: Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="write JUnit XML, too")] = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="WHEN", help="what will have broken by then: +90d, or a date")
    ] = None,
    as_json: Json = False,
) -> None:
    """Send every caller to every route of the running lab and compare with what the topology says.

    Says first, on standard error, which of the lab's containers do not run well.  Cells that are wrong for no other
    reason make exit code 4; any other wrong cell makes 1.

    With --at nothing is sent: it tells which certificates and revocation lists will have ended by then, and which
    answers change with them, as long as nobody renews anything.
    """
    from topology.explaining import cells
    from topology.generation import writing
    from topology.proof import checking, expectation, families, half_up
    from topology.report import matrix
    from topology.runtime import looking, outages

    lab = open_lab(topology, out, instance)
    if at is not None:
        if every or junit is not None:
            raise InvalidInput("--at: looks at the basic matrix and sends nothing; it goes with --only and --json")
        check_ahead(lab, at, only, as_json=as_json)
        return
    running = looking.running(lab)
    elsewhere = running.held_elsewhere
    with shown_progress() as progress:
        missing = told_beforehand(lab, progress)
        checks = (families.checks if every else expectation.checks)(lab.topology, elsewhere)
        verdicts = checking.run(
            checks, running, only=only, progress=progress.detail, probes=families.PROBES,
            obstacle=half_up.obstacle(lab.topology, missing),
        )  # fmt: skip
        wrong = [verdict for verdict in verdicts if not verdict.ok]
        reasons = cells.explanations(lab, running, wrong)
    left_out = (families if every else expectation).left_out(lab.topology, elsewhere)
    if junit is not None:
        writing.write(junit, matrix.junit(verdicts, reasons).encode())
    if as_json:
        print(json.dumps(matrix.as_json(verdicts, reasons), indent=2))
        print("\n".join(matrix.left_out_lines(left_out)), end="\n" if left_out else "", file=sys.stderr)
    else:
        matrix.show(verdicts, left_out, reasons)
    due = [verdict for verdict in wrong if half_up.is_due_to(lab.topology, missing, verdict)]
    if len(wrong) > len(due):
        also = f", {len(due)} of them since the lab is half up" if due else ""
        raise CheckFailed(f"{len(wrong)} of {len(verdicts)} cells are wrong{also}")
    if wrong:
        raise NotReady(
            f"the lab is half up: {outages.listed(missing)}; {len(wrong)} of {len(verdicts)} cells are wrong for that "
            f"alone; run `mtls-lab up`, or see why: {outages.where_to_look(missing)}"
        )


def told_beforehand(lab: Lab, progress: Progress) -> tuple[Outage, ...]:
    """What is known of a lab before anything is sent: said at once, and what does not run well returned."""
    from topology.runtime import looking, outages

    seen = looking.survey(lab)
    missing = outages.find(lab, seen)
    for one in missing:
        progress.step(f"half up: {one}")
    if lab.altered.is_file():
        progress.step("a `mtls-lab mutate` that was killed has left holes in this lab; run `mtls-lab up`")
    elif files := outages.outdated(lab, seen):
        more = f" and {len(files) - 1} more" if files[1:] else ""
        progress.step(
            f"{lab.folder.name}/{files[0]}{more}: not what {lab.description.file} says now, and the lab was brought up "
            "from it; run `mtls-lab up`"
        )
    return missing


def ahead(lab: Lab) -> Ahead:
    """What those should know of a lab's certificates who did not ask."""
    from topology.proof import forecasting
    from topology.report import forecast
    from topology.runtime import certificates

    now = datetime.now(UTC)
    entries = certificates.look(lab, now)
    return forecast.ahead(entries, forecasting.next_break(lab.topology, entries), lab.folder, now)


def check_ahead(lab: Lab, at: str, only: str | None, *, as_json: bool) -> None:
    """What will have broken by a moment to come."""
    from topology.proof import checking, expectation, forecasting
    from topology.report import forecast as report
    from topology.runtime import certificates

    now = datetime.now(UTC)
    then = moment_to_come(at, now)
    dated = certificates.look(lab, now)
    cells = checking.select(expectation.checks(lab.topology), only)
    endings = forecasting.forecast(lab.topology, dated, then, cells, beyond=only is None)
    if as_json:
        print(json.dumps(report.as_json(endings, then), indent=2))
    else:
        report.show(endings, then, now, lab.topology, cells)
    if any(ending.changes for ending in endings):
        raise CheckFailed(report.summary(endings, then))
