"""What a lab's containers say."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from topology.commands.arguments import DEFAULT_OUT, DEFAULT_TOPOLOGY, Instance, Json, Out, open_lab
from topology.errors import CheckFailed, InvalidInput

NAMED = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]*)?")
"""A host, or a host and one of its services; anything else is a file."""


def logs(
    named: Annotated[str | None, typer.Argument(metavar="HOST[/SERVICE]", help="whose; default: everybody's")] = None,
    topology: Annotated[str | None, typer.Argument(metavar="TOPOLOGY", help="the topology file")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="go on with what comes, until Ctrl-C")] = False,
    request: Annotated[str | None, typer.Option("--request", metavar="ID", help="one request's way, by its id")] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="how long ago (10m, 2h) or when (2026-01-31T08:30)")
    ] = None,
    out: Out = DEFAULT_OUT,
    instance: Instance = None,
    as_json: Json = False,
) -> None:
    """What the lab's containers say, on all machines, in the order of time.

    --request shows one request's way, from the first gateway that it reached to the last.  --json prints an object for
    each line, with what was printed as it was.
    """
    from topology.report import logs as report
    from topology.runtime import logs

    whose, file = told_apart([word for word in (named, topology) if word is not None])
    if request is not None:
        logs.check_request(request)
    begin = logs.moment(since, datetime.now(UTC)) if since is not None else 0
    lab = open_lab(file, out, instance)
    choice = logs.choose(lab, whose, begin)
    found = logs.find(lab, choice)
    lines = logs.follow(lab, choice, found) if follow else logs.lines(found, begin)
    if request is not None:
        lines = logs.of_request(lines, request) if follow else iter(logs.way_of(lab.topology, lines, request))
    count = report.show(lines, report.width(lab, choice), as_objects=as_json, way=request is not None)
    found.insist()
    if request is not None and not count and not follow:
        raise CheckFailed(report.nothing_of(request, whose or lab.topology.name))


def told_apart(words: list[str]) -> tuple[str | None, Path]:
    """HOST[/SERVICE], if it is there, and the topology file, in either order."""
    named = [word for word in words if NAMED.fullmatch(word) and not Path(word).is_file()]
    files = [word for word in words if word not in named]
    if len(named) > 1 or len(files) > 1:
        raise InvalidInput(f"{' '.join(words)}: give one HOST or HOST/SERVICE, and one topology file")
    return next(iter(named), None), Path(files[0]) if files else DEFAULT_TOPOLOGY
