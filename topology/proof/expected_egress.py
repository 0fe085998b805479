"""Topology -> [Check]: whoever calls in whatever order, a remote host sees the identity that the route names.

A gateway keeps connections and TLS sessions to a remote host and uses them again; were two routes to share one, a call
could arrive under the other's name.  So each route is called after each other one that leads to the same host as
somebody else, and all of them at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from topology.description.model import Host, Topology
from topology.proof import expectation
from topology.proof.expectation import Caller, Check, sentence

FAMILY = "egress"
AFTER, AT_ONCE = "after", "beside-all"
OWN_SERVICE = "own-service"


def checks(topology: Topology, elsewhere: Collection[str] = ()) -> tuple[Check, ...]:
    """Every route to another host, after and beside the others that lead there, in the order of the file."""
    return tuple(
        check
        for name, host in topology.hosts.items()
        for prefix in outward(topology, host)
        for check in route_checks(topology, name, prefix, elsewhere)
    )


def route_checks(topology: Topology, name: str, prefix: str, elsewhere: Collection[str]) -> Iterator[Check]:
    host = topology.hosts[name]
    path, status = destination(topology, host, prefix)
    for request in orders(topology, host, prefix):
        caller = welcome(topology, host, called_in(topology, host, prefix, request), elsewhere)
        if caller is not None:
            yield Check(
                host=name, route=prefix, caller=caller.name, via=expectation.via(host.routes[prefix]),
                tls="1.3" if host.tls and caller.name != OWN_SERVICE else "plain", path=path, expected=status,
                why=sentence(right_identity), shown=caller, family=FAMILY, request=request,
            )  # fmt: skip


def right_identity() -> None:
    """A remote host sees exactly the identity that the route names, whatever was called before or beside it."""


# What is called


def outward(topology: Topology, host: Host, remote: str | None = None) -> tuple[str, ...]:
    """The routes to other hosts whose answer is known; remote: that one's alone."""
    return tuple(
        prefix
        for prefix, route in host.routes.items()
        if route.host is not None and remote in (None, route.host) and destinations(topology, host, prefix)
    )


def destination(topology: Topology, host: Host, prefix: str) -> tuple[str, int]:
    """The first path behind a route whose answer is known, and the status there."""
    return destinations(topology, host, prefix)[0]


def destinations(topology: Topology, host: Host, prefix: str) -> list[tuple[str, int]]:
    found = expectation.destinations(topology, host, prefix)
    return [(path, answer.status) for path, answer in found if answer is not None]


def orders(topology: Topology, host: Host, prefix: str) -> Iterator[str]:
    """After each route that shows the same host another identity, or after itself where there is none; and at once."""
    route = host.routes[prefix]
    beside = outward(topology, host, route.host)
    others = [other for other in beside if host.routes[other].identity != route.identity]
    yield from (f"{AFTER}:{other}" for other in others or [prefix])
    if others:
        yield AT_ONCE


def called_in(topology: Topology, host: Host, prefix: str, request: str) -> tuple[str, ...]:
    """The routes that are called in an order, the one that is judged among them."""
    if request == AT_ONCE:
        return outward(topology, host, host.routes[prefix].host)
    return (request.removeprefix(f"{AFTER}:"), prefix)


# Who calls


def welcome(topology: Topology, host: Host, prefixes: Collection[str], elsewhere: Collection[str]) -> Caller | None:
    """Somebody whom the gateway lets through to all of these routes: from outside, else a service of the host's own."""
    for prefix in prefixes:
        for caller in expectation.callers(topology, host, host.routes[prefix]):
            if caller.name not in elsewhere and all(passes(topology, host, other, caller) for other in prefixes):
                return caller
    guarded = any(host.routes[prefix].client_certificate == "required" for prefix in prefixes)
    return Caller(OWN_SERVICE) if host.services and not guarded else None


def passes(topology: Topology, host: Host, prefix: str, caller: Caller) -> bool:
    return expectation.at_gateway(topology, host, host.routes[prefix], caller).passed
