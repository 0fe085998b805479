"""What rules look at: a gateway's configuration, what its author declared, and whom it calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from topology.description.model import Host, Route
from topology.nginx import listening, passing, variables
from topology.nginx.passing import Call
from topology.nginx.reading import Configuration
from topology.nginx.tree import Block, Place


@dataclass(frozen=True)
class SingleFile:
    """A file that a container has mounted alone, without its folder."""

    source: str
    place: Place


@dataclass(frozen=True)
class Container:
    """What a Compose file says of the gateway's container.

    known: names that it resolves without asking anybody; services: the others of the file -> whether they are on a
    network with it; user: who runs in it, None where nobody said; single_files: what is mounted into it, without the
    folder around.
    """

    known: frozenset[str] = frozenset()
    services: Mapping[str, bool] = field(default_factory=dict)
    user: int | None = None
    single_files: tuple[SingleFile, ...] = ()


@dataclass(frozen=True)
class Gateway:
    """declared: the host of a topology that this gateway belongs to, None for any other nginx; container: None where
    nothing is known of it; neighbours: the other configurations that are looked at; now: the time to judge dates by.
    """

    configuration: Configuration
    now: datetime
    declared: Host | None = None
    container: Container | None = None
    neighbours: tuple[Configuration, ...] = ()

    @cached_property
    def sources(self) -> variables.Sources:
        return variables.sources(self.configuration)

    @cached_property
    def servers(self) -> tuple[Block, ...]:
        return self.configuration.servers

    @cached_property
    def calls(self) -> tuple[Call, ...]:
        return tuple(passing.calls(self.configuration))

    @cached_property
    def neighbours_calls(self) -> tuple[tuple[Configuration, tuple[Call, ...]], ...]:
        """What the others call, each with the configuration that it stands in."""
        return tuple((one, tuple(passing.calls(one))) for one in self.neighbours)

    def locations(self) -> Iterator[tuple[Block, Block]]:
        """(server, location), nested ones included."""
        for server in self.servers:
            for location in passing.locations(server):
                yield server, location

    def route(self, location: Block) -> Route | None:
        """What the topology says of a location."""
        return None if self.declared is None else self.declared.routes.get(passing.path_of(location).text)

    def hangs_on(self, text: str) -> frozenset[str]:
        """All variables that a text of the configuration hangs on."""
        return variables.sources_of(text, self.sources)

    def reached(self, call: Call) -> tuple[Configuration, Block] | None:
        """The neighbour's server that a call over TLS reaches by its name."""
        if not call.tls:
            return None
        for neighbour in self.neighbours:
            for server in neighbour.servers:
                if listening.is_tls(server) and call.name in listening.names(server):
                    return neighbour, server
        return None
