"""How applications call the lab: code in the languages that people ask for."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from topology.commands.arguments import DEFAULT_OUT, DEFAULT_TOPOLOGY, Instance, Json, Out, TopologyFile, open_lab

if TYPE_CHECKING:
    from topology.runtime.lab import Lab
    from topology.runtime.running import RunningLab


def snippet(
    language: Annotated[
        str,
        typer.Argument(
            metavar="LANGUAGE",
            help="curl, python (requests), httpx, java, spring, webclient, node, go or nginx; "
            "`all` prints a page of Markdown with all of them",
        ),
    ],
    topology: TopologyFile = DEFAULT_TOPOLOGY,
    host: Annotated[str | None, typer.Option("--host", metavar="HOST", help="whom to call")] = None,
    identity: Annotated[
        str | None, typer.Option("--as", metavar="IDENTITY", help="as whom; omitted: without a certificate")
    ] = None,
    route: Annotated[
        str | None,
        typer.Option(
            "--route", metavar="PATH", help="a route or a path below one; omitted: one that lets the caller in"
        ),
    ] = None,
    published: Annotated[
        bool, typer.Option("--published", help="the ports that the topology publishes, whether the lab is up or not")
    ] = False,
    out: Out = DEFAULT_OUT,
    instance: Instance = None,
    as_json: Json = False,
) -> None:
    """Print code that calls a route of the lab and runs as printed."""
    from topology.report import calls, snippets

    wanted = snippets.PAGE if language.casefold() == snippets.PAGE else snippets.language(language)
    lab = open_lab(topology, out, instance)
    call = calls.call(as_described(lab) if published else reach(lab), host, identity, route)
    if as_json:
        names = list(snippets.LANGUAGES) if wanted == snippets.PAGE else [wanted]
        told = [snippets.as_json(name, call) for name in names]
        print(json.dumps(told if wanted == snippets.PAGE else told[0], indent=2, ensure_ascii=False))
    else:
        print(snippets.page(call) if wanted == snippets.PAGE else snippets.code(wanted, call), end="")


def reach(lab: Lab) -> RunningLab:
    """The lab as it runs, else as its topology publishes it, which is said on standard error."""
    from topology.errors import NoEngine, NotReady
    from topology.runtime import looking

    try:
        return looking.running(lab)
    except (NoEngine, NotReady):
        print(f"{lab.topology.name} is not up: these are the ports that its topology publishes", file=sys.stderr)
    return as_described(lab)


def as_described(lab: Lab) -> RunningLab:
    from topology.runtime.running import as_published

    return as_published(lab.topology, lab.instance, lab.authorities, lab.identities)
