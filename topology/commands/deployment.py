"""Hosts on machines of their own: deploy."""

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

ADDRESS_HELP = "where the other hosts reach that machine (IPv4); left out, the host's domain resolves through DNS"
BIND_HELP = "address of that machine on which the gateway listens; default: --address alone, else all (0.0.0.0)"
CALLS_FROM_HELP = "address from which its calls reach the others, if not --address: whom they believe X-Forwarded-For"


def deploy(
    host: Annotated[str, typer.Argument(metavar="HOST", help="the host of the topology")],
    topology: TopologyFile = DEFAULT_TOPOLOGY,
    context: Annotated[str, typer.Option("--context", metavar="CONTEXT", help="Docker context of its machine")] = "",
    address: Annotated[str, typer.Option("--address", metavar="IP", help=ADDRESS_HELP)] = "",
    bind: Annotated[str, typer.Option("--bind", metavar="IP", help=BIND_HELP)] = "",
    calls_from: Annotated[str, typer.Option("--calls-from", metavar="IP", help=CALLS_FROM_HELP)] = "",
    out: Out = DEFAULT_OUT,
    instance: Instance = None,
    as_json: Json = False,
) -> None:
    """Bring one host up on a machine of its own, and lead the others to it there.

    Afterwards `up`, `status`, `check` and `down` work across the machines.
    """
    from topology.errors import InvalidInput
    from topology.proof import readiness
    from topology.report import addresses
    from topology.runtime import placement

    if not context:
        raise InvalidInput("--context is missing: the Docker context of the host's machine (see `docker context ls`)")
    lab = open_lab(topology, out, instance)
    place = placement.place(lab.topology, host, context, address, bind, calls_from)
    with shown_progress() as progress:
        running = readiness.deploy(lab, host, place, progress=progress)
    if as_json:
        print(json.dumps(addresses.as_json(running), indent=2))
    else:
        addresses.show(running, title=f"{host} of {lab.topology.name} is deployed, and proven")
