"""A caller at a route: where its requests go, what they are answered, and what may be seen of the caller there."""

from __future__ import annotations

from dataclasses import dataclass

from topology.description.model import Host, Topology
from topology.proof import expectation
from topology.proof.expectation import Answer, Caller, Standing
from topology.proof.request_paths import answer_at, route_at
from topology.proof.witness import Truth

NOWHERE = "/no-route-here/"


@dataclass(frozen=True)
class Aim:
    """path: one that the route answers; seen_at: where a sample service behind it says what it saw, empty for none;
    own: what the route's own gateway says; answer: what comes back in the end, None where only others can say;
    beside: another route, one that this caller passes where there is one; beyond: a path there that is answered.
    """

    topology: Topology
    name: str
    prefix: str
    caller: Caller
    path: str
    seen_at: str
    own: Answer
    answer: int | str | None
    beside: str
    beyond: str

    @property
    def host(self) -> Host:
        return self.topology.hosts[self.name]

    @property
    def domain(self) -> str:
        return self.host.domain

    @property
    def insists(self) -> bool:
        """Whether the gateway turns this caller away on every path: 400, before it looks at routes."""
        return self.own.status == 400

    @property
    def speaks_tls(self) -> bool:
        """Whether the caller meets TLS: the gateway's, or that of a service behind a port of its own."""
        return self.host.tls is not None or self.prefix.startswith(":")

    @property
    def neighbour(self) -> str | None:
        """The domain of another host that speaks TLS."""
        others = (one.domain for name, one in self.topology.hosts.items() if name != self.name and one.tls)
        return next(others, None)


def aim(topology: Topology, name: str, prefix: str, caller: Caller) -> Aim:
    host = topology.hosts[name]
    path, seen_at = end(topology, name, prefix)
    beside = route_beside(topology, name, prefix, caller)
    return Aim(
        topology=topology, name=name, prefix=prefix, caller=caller, path=path, seen_at=seen_at,
        own=expectation.at_gateway(topology, host, host.routes[prefix], caller),
        answer=answer_at(topology, name, path, caller),
        beside=beside or NOWHERE, beyond=end(topology, name, beside)[0] if beside else "/",
    )  # fmt: skip


def end(topology: Topology, name: str, prefix: str) -> tuple[str, str]:
    """A path that the route answers, and that of the `/whoami` behind it; through other hosts' gateways, too."""
    host = topology.hosts[name]
    route = host.routes[prefix]
    if route.service is not None:
        health = (host.services[route.service].health or "/").lstrip("/")
        return prefix + health, f"{prefix}whoami"
    if route.host is None:
        return prefix, ""
    attached = expectation.as_identity(topology, route.identity)
    behind = [other for other in topology.hosts[route.host].routes if other.startswith(route.to)]
    ends = [end(topology, route.host, other) for other in behind]
    passed = [one for one in ends if answer_at(topology, route.host, one[0], attached) == 200]
    for path, seen_at in [*passed, *ends]:
        there = [prefix + one.removeprefix(route.to) if one else "" for one in (path, seen_at)]
        return there[0], there[1]
    return prefix, ""


def route_beside(topology: Topology, name: str, prefix: str, caller: Caller) -> str | None:
    """Another route of the host: one that the caller gets through to the end, if there is any."""
    others = [other for other in topology.hosts[name].routes if other != prefix]
    answers = {other: answer_at(topology, name, end(topology, name, other)[0], caller) for other in others}
    known = [other for other in others if isinstance(answers[other], int)]
    return next(iter(sorted(known, key=lambda other: answers[other] != 200)), None)


def truth(topology: Topology, name: str, path: str, caller: Caller) -> Truth | None:
    """What the service that answers a path may see of a caller; None where no service of the lab answers."""
    first = route_at(topology, name, path)
    if first is None:
        return None
    at, direct = name, True
    while (prefix := route_at(topology, at, path)) is not None:
        host = topology.hosts[at]
        route = host.routes[prefix]
        if route.service is not None:
            verified = expectation.standing_of(host, caller) is Standing.GOOD
            known = topology.identities[caller.identity] if verified and caller.identity else None
            name_there = known.common_name if known is not None and known.certificate is None else None
            return Truth(first.rstrip("/"), direct, verified, name_there)
        if route.host is None:
            return None
        at, path, direct = route.host, route.to + path.removeprefix(prefix), False
        caller = expectation.as_identity(topology, route.identity)
    return None
