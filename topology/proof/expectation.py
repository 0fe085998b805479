"""Topology -> [Check]: who gets which answer, from first principles.

This reads what the author wrote and nothing else: not the plan, not the templates, not a generated file.  A mistake in
those shows up as a difference to what stands here.

The rules are nginx's, measured; TLS 1.2 and 1.3 alike:
  a bad certificate is answered with 400 wherever the gateway asks for one, on open routes too;
  no certificate is 400 where the gateway insists (`verify: always`), and 403 where the route does;
  an identity is issuer and subject together, so the same name from another authority is somebody else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from topology.description.model import Host, Identity, Route, Topology

NOBODY = "none"
BAD_KINDS = ("expired", "not-yet-valid", "revoked", "self-signed", "other-authority", "wrong-purpose")
"""What can be wrong with a certificate that names an identity."""


class Standing(Enum):
    """What a gateway finds when it looks at a caller's certificate."""

    NONE = "none"
    GOOD = "good"
    BAD = "bad"


@dataclass(frozen=True)
class Caller:
    """Somebody who calls.  identity: whom the certificate names; flaw: what is wrong with it; empty for nothing.

    authority: who signed it.  Where that is not the identity's own authority, it is somebody else of the same name.
    """

    name: str = NOBODY
    identity: str | None = None
    flaw: str = ""
    authority: str = ""


@dataclass(frozen=True)
class Answer:
    """A status, and the sentence that says why.  passed: the request got through this gateway's own guards."""

    status: int
    why: str
    passed: bool = False


@dataclass(frozen=True)
class Check:
    """One cell: a caller on a route, and the status that must come back.

    host, route: what is addressed; via: `direct`, or the remote host of an egress route; tls: `1.2`, `1.3`, or `plain`;
    path: what is requested; why: the rule.
    """

    host: str
    route: str
    caller: str
    via: str
    tls: str
    path: str
    expected: int
    why: str
    shown: Caller = field(compare=False)

    @property
    def id(self) -> str:
        """Such as `server /mtls/ none 403 (TLS 1.3)`; the path stands in it where it is not the route's own."""
        door = "plain" if self.tls == "plain" else f"TLS {self.tls}"
        beyond = "" if self.via == "direct" else f" via {self.via}"
        below = "" if self.path.count("/") == self.route.count("/") else f" {self.path}"
        return f"{self.host} {self.route}{beyond}{below} {self.caller} {self.expected} ({door})"


def checks(topology: Topology) -> tuple[Check, ...]:
    """Every caller on every route of every host, in the order of the file."""
    return tuple(
        check
        for host, described in topology.hosts.items()
        for prefix in described.routes
        for caller in callers(topology, described, described.routes[prefix])
        for check in route_checks(topology, host, prefix, caller)
    )


def route_checks(topology: Topology, host: str, prefix: str, caller: Caller) -> Iterator[Check]:
    described = topology.hosts[host]
    route = described.routes[prefix]
    for path, answer in answers(topology, described, prefix, caller):
        for tls in ("1.2", "1.3") if described.tls else ("plain",):
            yield Check(
                host=host, route=prefix, caller=caller.name, via=route.host or "direct", tls=tls,
                path=path, expected=answer.status, why=answer.why, shown=caller,
            )  # fmt: skip


# Who calls


def callers(topology: Topology, host: Host, route: Route) -> Iterator[Caller]:
    """Nobody, each identity, and everything that can be wrong with the identity that has the best chance."""
    yield Caller()
    for name, identity in topology.identities.items():
        yield Caller(name, name, "revoked" if identity.revoked else "", identity.authority)
    best = most_welcome(topology, host, route)
    if best is None or host.tls is None:
        return
    authority = topology.identities[best].authority
    for kind in BAD_KINDS:
        yield Caller(f"{best}-{kind}", best, kind, authority)
    for other in trusted(host):
        if other != authority and not is_taken(topology, best, other):
            yield Caller(f"{best}-of-{other}", best, "", other)


def most_welcome(topology: Topology, host: Host, route: Route) -> str | None:
    """The identity that would get in, were nothing wrong with it: on it every flaw has to be seen."""
    good = [name for name, identity in topology.identities.items() if not identity.revoked]
    welcome = [name for name in route.allow if name in good]
    known = [name for name in good if topology.identities[name].authority in trusted(host)]
    return next(iter([*welcome, *known, *good]), None)


def is_taken(topology: Topology, name: str, authority: str) -> bool:
    """Whether that authority has given this common name to an identity of the topology."""
    common_name = topology.identities[name].common_name
    return any(i.authority == authority and i.common_name == common_name for i in topology.identities.values())


def trusted(host: Host) -> tuple[str, ...]:
    return host.client_certificates.authority if host.client_certificates else ()


# What they get


def answers(topology: Topology, host: Host, prefix: str, caller: Caller) -> Iterator[tuple[str, Answer]]:
    """(path, answer) for a route: one, or one for each route that lies behind it on another host."""
    route = host.routes[prefix]
    own = at_gateway(topology, host, route, caller)
    for path, beyond in destinations(topology, host, prefix):
        if not own.passed:
            yield path, own
        elif beyond is not None:
            yield path, beyond


def destinations(topology: Topology, host: Host, prefix: str) -> Iterator[tuple[str, Answer | None]]:
    """What lies behind a route: paths to request there, and what is answered to whoever this gateway lets through.

    None stands for what cannot be known: a route that leads to the middle of a service, where its health is not.
    """
    route = host.routes[prefix]
    if route.service is not None:
        health = host.services[route.service].health or "/"
        yield prefix + health.lstrip("/"), Answer(200, "Whoever passes the guards is answered by the service.", True)
        return
    remote = topology.hosts[route.host or ""]
    attached = as_identity(topology, route.identity)
    below = [other for other in remote.routes if other.startswith(route.to)]
    for other in below:
        for path, answer in answers(topology, remote, other, attached):
            yield prefix + path.removeprefix(route.to), answer
    if not below:
        yield prefix, elsewhere(topology, remote, route.to, attached)


def as_identity(topology: Topology, name: str | None) -> Caller:
    """The caller that a remote host sees: the identity that the egress gateway attaches, or nobody."""
    if name is None:
        return Caller()
    identity = topology.identities[name]
    return Caller(name, name, "revoked" if identity.revoked else "", identity.authority)


def elsewhere(topology: Topology, remote: Host, path: str, caller: Caller) -> Answer | None:
    """Where an egress route leads to no route's beginning: inside of one, to the index page, or to nothing."""
    around = [prefix for prefix in remote.routes if path.startswith(prefix)]
    inside = remote.routes[max(around, key=len)] if around else Route()
    guarded = at_gateway(topology, remote, inside, caller)
    if not guarded.passed:
        return guarded
    if around:
        return None
    return Answer(200, "The index page is open.", True) if path == "/" else Answer(404, "No route leads there.", True)


@dataclass(frozen=True)
class Arrival:
    """A caller from outside at a route of a host, and what the gateway there makes of its certificate."""

    topology: Topology
    host: Host
    route: Route
    caller: Caller
    standing: Standing


def at_gateway(topology: Topology, host: Host, route: Route, caller: Caller) -> Answer:
    """A gateway's own answer to a caller from outside, before anything behind it is asked."""
    arrival = Arrival(topology, host, route, caller, standing_of(host, caller))
    for refuses, status in REFUSALS:
        if refuses(arrival):
            return Answer(status, sentence(refuses))
    return Answer(200, "Whoever passes the guards gets in.", True)


def standing_of(host: Host, caller: Caller) -> Standing:
    """What the host's gateway makes of a caller: nothing at all, if it never asks."""
    if caller.identity is None or host.client_certificates is None:
        return Standing.NONE
    if caller.flaw or caller.authority not in host.client_certificates.authority:
        return Standing.BAD
    return Standing.GOOD


# The rules


def bad_certificate(arrival: Arrival) -> bool:
    """A gateway that asks for certificates answers 400 to a bad one, on open routes too."""
    return arrival.standing is Standing.BAD


def certificate_always(arrival: Arrival) -> bool:
    """A gateway with `verify: always` answers 400 to a caller that shows no certificate."""
    asked = arrival.host.client_certificates
    return asked is not None and asked.verify == "always" and arrival.standing is Standing.NONE


def internal_route(arrival: Arrival) -> bool:
    """An internal route answers 403 to everyone but its own host's services."""
    return arrival.route.internal


def certificate_required(arrival: Arrival) -> bool:
    """A route that requires a certificate answers 403 to a caller that shows none."""
    required = arrival.route.client_certificate == "required" or bool(arrival.route.allow)
    return required and arrival.standing is Standing.NONE


def not_allowed(arrival: Arrival) -> bool:
    """A route with a list of identities answers 403 to every other one: issuer and name both count."""
    allow = arrival.route.allow
    known = arrival.topology.identities
    return bool(allow) and not any(is_identity(known[name], arrival.topology, arrival.caller) for name in allow)


REFUSALS: tuple[tuple[Callable[[Arrival], bool], int], ...] = (
    (bad_certificate, 400),
    (certificate_always, 400),
    (internal_route, 403),
    (certificate_required, 403),
    (not_allowed, 403),
)
"""Whether a rule refuses a caller, and with which status, in the order in which nginx comes to them."""


def is_identity(identity: Identity, topology: Topology, caller: Caller) -> bool:
    """Whether a caller is that identity: signed by the same authority, named the same, letter for letter."""
    if caller.identity is None:
        return False
    shown = topology.identities[caller.identity].common_name
    return caller.authority == identity.authority and shown == identity.common_name


def sentence(rule: Callable[[Arrival], bool]) -> str:
    return (rule.__doc__ or "").strip()
