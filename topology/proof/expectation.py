"""Topology -> [Check]: who gets which answer, from first principles.

This reads what the author wrote and nothing else: not the plan, not the templates, not a generated file.  A mistake in
those shows up as a difference to what stands here.

The rules are nginx's, measured; TLS 1.2 and 1.3 alike:
  a bad certificate is answered with 400 wherever the gateway asks for one, on open routes too;
  no certificate is 400 where the gateway insists (`verify: always`), and 403 where the route does;
  an identity is issuer and subject together, so the same name from another authority is somebody else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import urlsplit

from topology.description.model import Host, Identity, Route, Service, Topology

NOBODY = "none"
BAD_KINDS = ("expired", "not-yet-valid", "revoked", "self-signed", "other-authority", "wrong-purpose")
"""What can be wrong with a certificate that names an identity."""


REFUSED = "handshake refused"
"""What a caller sees whom a service with TLS of its own turns away."""

UNSIGNED_KINDS = ("self-signed", "other-authority")
"""Bad certificates that are made without the key of the authority that they name."""


class Standing(Enum):
    """What a gateway finds when it looks at a caller's certificate."""

    NONE = "none"
    GOOD = "good"
    BAD = "bad"


@dataclass(frozen=True)
class Caller:
    """Somebody who calls.  identity: whom the certificate names; flaw: what is wrong with it; empty for nothing.

    authority: who signed it.  Where that is not the identity's own authority, it is somebody else of the same name.
    host: whose server's certificate, or whose servers' authority, is misused, where that is the flaw.
    """

    name: str = NOBODY
    identity: str | None = None
    flaw: str = ""
    authority: str = ""
    host: str = ""


@dataclass(frozen=True)
class Answer:
    """A status, and the sentence that says why.  passed: the request got through this gateway's own guards."""

    status: int
    why: str
    passed: bool = False


@dataclass(frozen=True)
class Check:
    """One cell: a caller on a route, and the status that must come back, or REFUSED.

    host, route: what is addressed, `:PORT/` for the TLS of a service; via: `direct`, or the remote host of an egress
    route; tls: `1.2`, `1.3`, `plain`, or empty where nothing is requested; path: what is requested; why: the rule;
    port: a gateway's port that passes through to a service, None for the gateway's own; family: who knows how to
    observe it (proof.families); request: what is done there, where that is more than one GET; waits: it takes seconds,
    and next to no work.
    """

    host: str
    route: str
    caller: str
    via: str
    tls: str
    path: str
    expected: int | str
    why: str
    shown: Caller = field(compare=False)
    port: int | None = None
    family: str = "route"
    request: str = ""
    waits: bool = field(default=False, compare=False)

    @property
    def id(self) -> str:
        """Such as `server /mtls/ none 403 (TLS 1.3)`; the path stands in it where it is not the route's own."""
        door = "" if not self.tls else " (plain)" if self.tls == "plain" else f" (TLS {self.tls})"
        beyond = "" if self.via == "direct" else f" via {self.via}"
        below = "" if not self.path or self.path.count("/") == self.route.count("/") else f" {self.path}"
        doing = f" {self.request}" if self.request else ""
        return f"{self.host} {self.route}{beyond}{below}{doing} {self.caller} {self.expected}{door}"


@dataclass(frozen=True)
class LeftOut:
    """What the topology does not say, and no check can expect.  route: empty for all of a host's."""

    host: str
    route: str
    why: str


def checks(topology: Topology, elsewhere: Collection[str] = ()) -> tuple[Check, ...]:
    """Every caller on every route of every host, in the order of the file.

    elsewhere: identities whose key somebody else holds, so that nobody here can show them.
    """
    every = tuple(
        check
        for host, described in topology.hosts.items()
        for prefix in described.routes
        for caller in callers(topology, described, described.routes[prefix])
        for check in route_checks(topology, host, prefix, caller)
    ) + tuple(
        check
        for host, described in topology.hosts.items()
        for service in described.services.values()
        if service.tls is not None
        for check in service_checks(topology, host, service)
    )
    return tuple(check for check in every if check.caller not in elsewhere)


def left_out(topology: Topology, elsewhere: Collection[str] = ()) -> tuple[LeftOut, ...]:
    """What `checks` has no cells for, and why."""
    return (
        *(one for name in topology.hosts for one in left_out_at(topology, name)),
        *(
            LeftOut("identity", name, "its key is held elsewhere, so nobody here can show it")
            for name in topology.identities
            if name in elsewhere
        ),
    )


def left_out_at(topology: Topology, name: str) -> Iterator[LeftOut]:
    host = topology.hosts[name]
    for prefix, route in host.routes.items():
        if route.url is not None:
            yield LeftOut(
                name, prefix, f"what {via(route)} answers is for others to say; only refusals here are checked"
            )
    for authority in trusted(host):
        if topology.authorities[authority].certificate is not None:
            yield LeftOut(name, "", f"who holds a key of {authority}'s is not ours to know: its bad certificates")
    for identity, one in topology.identities.items():
        if host.client_certificates is not None and not one.authority:
            yield LeftOut(name, "", f"who issued {identity} is not said, so what it gets here is unknown")


def service_checks(topology: Topology, host: str, service: Service) -> Iterator[Check]:
    """Every caller at a service that terminates TLS itself, behind a port that the gateway passes on."""
    described = topology.hosts[host]
    if service.tls is None:
        return
    required = service.tls.client_certificate == "required"
    for caller in callers(topology, described, Route(), any_tls=True):
        standing = standing_of(described, caller) if required else Standing.NONE
        rule = service_refuses if required and standing is not Standing.GOOD else service_answers
        for tls in ("1.2", "1.3"):
            yield Check(
                host=host, route=f":{service.tls.port}/", caller=caller.name, via="direct", tls=tls,
                path=service.health or "/", expected=REFUSED if rule is service_refuses else 200,
                why=sentence(rule), shown=caller, port=service.tls.port,
            )  # fmt: skip


def service_refuses() -> None:
    """A service that demands client certificates itself refuses the handshake without a valid one."""


def service_answers() -> None:
    """A service that terminates TLS itself answers everybody whose certificate it does not ask for, or accepts."""


def route_checks(topology: Topology, host: str, prefix: str, caller: Caller) -> Iterator[Check]:
    described = topology.hosts[host]
    route = described.routes[prefix]
    for path, answer in answers(topology, described, prefix, caller):
        for tls in ("1.2", "1.3") if described.tls else ("plain",):
            yield Check(
                host=host, route=prefix, caller=caller.name, via=via(route), tls=tls,
                path=path, expected=answer.status, why=answer.why, shown=caller,
            )  # fmt: skip


def via(route: Route) -> str:
    return route.host or (urlsplit(route.url).hostname if route.url else None) or "direct"


# Who calls


def callers(topology: Topology, host: Host, route: Route, *, any_tls: bool = False) -> Iterator[Caller]:
    """Nobody, each identity, and everything that can be wrong with the identity that has the best chance.

    any_tls: the caller meets TLS even where the host's gateway has none.
    Nobody can show a certificate that only somebody else's authority could sign.
    """
    yield Caller()
    for name, identity in topology.identities.items():
        if identity.authority or host.client_certificates is None:
            yield Caller(name, name, "revoked" if identity.revoked else "", identity.authority)
    best = most_welcome(topology, host, route)
    if best is None or (host.tls is None and not any_tls):
        return
    authority = topology.identities[best].authority
    for kind in BAD_KINDS:
        if is_ours(topology, authority) or kind in UNSIGNED_KINDS:
            yield Caller(f"{best}-{kind}", best, kind, authority)
    for other in trusted(host):
        if other == authority or not is_ours(topology, other):
            continue
        if not is_taken(topology, best, other):
            yield Caller(f"{best}-of-{other}", best, "", other)
        yield Caller(f"{best}-revoked-of-{other}", best, "revoked", other)  # each authority has a list of its own


def is_ours(topology: Topology, authority: str) -> bool:
    """Whether we have an authority's key, so that a certificate of it can be made."""
    return authority in topology.authorities and topology.authorities[authority].certificate is None


def most_welcome(topology: Topology, host: Host, route: Route) -> str | None:
    """The identity that would get in, were nothing wrong with it: on it every flaw has to be seen."""
    good = [name for name, one in topology.identities.items() if not one.revoked and one.certificate is None]
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
    return answers_behind(topology, host, prefix, at_gateway(topology, host, host.routes[prefix], caller))


def answers_behind(topology: Topology, host: Host, prefix: str, own: Answer) -> Iterator[tuple[str, Answer]]:
    """The same, for somebody to whom the gateway's own answer is known."""
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
    if route.files is not None:
        yield prefix, INDEX if route.index else NO_INDEX
        return
    if route.url is not None:
        yield prefix, None
        return
    remote = topology.hosts[route.host or ""]
    attached = as_identity(topology, route.identity)
    below = [other for other in remote.routes if other.startswith(route.to)]
    for other in below:
        for path, answer in answers(topology, remote, other, attached):
            yield prefix + path.removeprefix(route.to), answer
    if not below:
        yield prefix, elsewhere(topology, remote, route.to, attached)


INDEX = Answer(200, "A folder of files answers with its index.", True)
NO_INDEX = Answer(404, "A folder of files without an index answers 404.", True)


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
    return ruled(Arrival(topology, host, route, caller, standing_of(host, caller)))


def ruled(arrival: Arrival) -> Answer:
    """What the rules say to somebody who has arrived."""
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
    shown = topology.identities[caller.identity]
    if identity.certificate is not None or shown.certificate is not None:
        return shown is identity  # what stands on somebody else's certificate is not ours to say
    return caller.authority == identity.authority and shown.common_name == identity.common_name


def sentence(rule: Callable[..., object]) -> str:
    return (rule.__doc__ or "").strip()
