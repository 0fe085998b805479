"""The machines that a lab runs on: each an engine, and those of the lab's hosts that belong there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from topology.description.model import Topology
from topology.errors import NoEngine
from topology.runtime import contexts, engine
from topology.runtime.placement import Places

if TYPE_CHECKING:
    from docker import DockerClient

THIS = None
"""Stands where a context's name would, for the engine of `up`."""


@dataclass(frozen=True)
class Machine:
    """One engine, and the hosts that belong on it.  own: it is the engine that `up` takes for hosts without a place."""

    client: DockerClient
    hosts: tuple[str, ...]
    own: bool


@dataclass(frozen=True)
class Machines:
    """Where a lab runs.  lost: hosts whose engine cannot be used -> why; together: host -> its engine's identity."""

    reached: tuple[Machine, ...]
    lost: Mapping[str, NoEngine]
    together: Mapping[str, str]

    def insist(self) -> Machines:
        """Itself, where every engine answered; else raises NoEngine with the hosts that are out of reach."""
        if self.lost:
            reasons = dict.fromkeys(str(error) for error in self.lost.values())
            raise NoEngine("\n".join(reasons))
        return self

    def of(self, host: str) -> Machine:
        return next(machine for machine in self.reached if host in machine.hosts)


def find(topology: Topology, places: Places, also: Iterable[str | None] = ()) -> Machines:
    """The machines of a lab.  Contexts that lead to the same engine are one machine.

    also: contexts where something of the lab may be left, looked at where they answer.
    """
    wanted: dict[str | None, list[str]] = {}
    for host in dict.fromkeys([*topology.hosts, *places]):
        wanted.setdefault(places[host].context if host in places else THIS, []).append(host)
    lost: dict[str, NoEngine] = {}
    together: dict[str, str] = {}
    clients: dict[str, DockerClient] = {}
    own = ""
    for context in dict.fromkeys([*wanted, *also]):
        try:
            client, identity = client_of(context), identity_of(context)
        except NoEngine as error:
            lost |= {host: named(host, context, error) for host in wanted.get(context, ())}
            together |= dict.fromkeys(wanted.get(context, ()), f"context {context}")
            continue
        clients.setdefault(identity, client)
        own = identity if context is THIS else own
        together |= dict.fromkeys(wanted.get(context, ()), identity)
    reached = tuple(
        Machine(client, tuple(h for h in topology.hosts if together.get(h) == identity), identity == own)
        for identity, client in clients.items()
    )
    return Machines(reached, lost, together)


def named(host: str, context: str | None, error: NoEngine) -> NoEngine:
    return error if context is THIS else NoEngine(f"host {host}: {error}")


def client_of(context: str | None) -> DockerClient:
    return engine.connect() if context is THIS else contexts.engine_of(context).client


@cache
def identity_of(context: str | None) -> str:
    """What tells engines apart.  Engines of cloned machines share their ID, so the machine's name stands beside it."""
    info = client_of(context).info()
    return f"{info['ID']} {info['Name']}"
