"""Which certificates and revocation lists each cell's answer hangs on, and what comes back once one of them has ended.

Like `expectation`, this reads what the author wrote and nothing else.  Measured on nginx, TLS 1.2 and 1.3 alike:
  a caller refuses a server whose certificate has expired, before it sends anything;
  a gateway that asks for certificates answers 400 to an expired one, and to every one once the revocation list of an
  authority in its chain has expired (OpenSSL checks the lists of the whole chain);
  a gateway that calls another one answers 502 where that one's certificate, or the list that it is looked up on, has
  expired.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from topology.description.model import ACME, SYSTEM, Host, Route, Topology
from topology.proof import expectation
from topology.proof.expectation import Caller, Check, Standing

Kind = Literal["authority", "identity", "server", "crl"]

UNTRUSTED = "certificate refused by the caller"
"""What a caller has to say to a server whose certificate has expired."""

BAD_CERTIFICATE = 400
BAD_GATEWAY = 502


@dataclass(frozen=True)
class Need:
    """A certificate or list without which an answer becomes another one.

    name: of the authority, identity or host; service: of a host's service that has a certificate of its own; then: the
    status, or words, that come back without it.
    """

    kind: Kind
    name: str
    then: int | str
    service: str = ""


@dataclass(frozen=True)
class Beyond:
    """A route that leads out of the lab: what is answered there is for others to say, and no check expects it."""

    host: str
    route: str
    server: str
    needs: tuple[Need, ...]


def needs(topology: Topology, check: Check) -> tuple[Need, ...]:
    """All that one cell's answer hangs on, in the order in which it is come to; a need can come twice."""
    host = topology.hosts[check.host]
    if check.port is not None:
        return tuple(at_service(topology, check.host, check))
    return tuple(on_the_way(topology, check.host, host.routes[check.route], check.route, check.path, check.shown))


def at_service(topology: Topology, host: str, check: Check) -> Iterator[Need]:
    """At a service that terminates TLS itself, with certificates of the host's authority."""
    described = topology.hosts[host]
    service = next(
        name for name, one in described.services.items() if one.tls is not None and one.tls.port == check.port
    )
    tls = described.services[service].tls
    yield from of_server(topology, host, UNTRUSTED, service)
    if tls is not None and tls.client_certificate == "required":
        yield from of_caller(described, check.shown, expectation.REFUSED)


def on_the_way(
    topology: Topology, name: str, route: Route, prefix: str, path: str, caller: Caller, *, called: bool = False
) -> Iterator[Need]:
    """At one gateway and all behind it.  called: by another gateway, which has said already what it needs."""
    host = topology.hosts[name]
    if host.tls is not None and not called:
        yield from of_server(topology, name, UNTRUSTED)
    yield from of_caller(host, caller, BAD_CERTIFICATE)
    if route.host is None or not expectation.at_gateway(topology, host, route, caller).passed:
        return
    yield from of_call(topology, route.host)
    attached = expectation.as_identity(topology, route.identity)
    beyond = route.to + path.removeprefix(prefix)
    there = topology.hosts[route.host]
    around = [one for one in there.routes if beyond.startswith(one)]
    if around:
        inner = max(around, key=len)
        yield from on_the_way(topology, route.host, there.routes[inner], inner, beyond, attached, called=True)
    else:
        yield from of_caller(there, attached, BAD_CERTIFICATE)


def of_server(topology: Topology, host: str, then: int | str, service: str = "") -> Iterator[Need]:
    """What a host's certificate, or that of its service, hangs on."""
    yield Need("server", host, then, service)
    yield from authority_of(topology, host, then)


def authority_of(topology: Topology, host: str, then: int | str) -> Iterator[Need]:
    tls = topology.hosts[host].tls
    if tls is not None and tls.authority not in (ACME, SYSTEM):
        yield Need("authority", tls.authority, then)


def of_call(topology: Topology, host: str) -> Iterator[Need]:
    """What a gateway verifies of a host that it calls: certificate, authority, and the authority's revocation list."""
    yield from of_server(topology, host, BAD_GATEWAY)
    for need in authority_of(topology, host, BAD_GATEWAY):
        yield Need("crl", need.name, BAD_GATEWAY)


def of_caller(host: Host, caller: Caller, then: int | str) -> Iterator[Need]:
    """What a gateway that asks for certificates verifies of one; nothing of a caller that shows none, or a bad one."""
    if expectation.standing_of(host, caller) is not Standing.GOOD:
        return
    if caller.name == caller.identity:
        yield Need("identity", caller.name, then)
    yield Need("authority", caller.authority, then)
    yield Need("crl", caller.authority, then)


def ways_out(topology: Topology) -> tuple[Beyond, ...]:
    """The routes to servers outside of the lab, and what this lab has to keep in date for them."""
    found = []
    for name, host in topology.hosts.items():
        for prefix, route in host.routes.items():
            if route.url is not None:
                own = [Need("identity", route.identity, "refused there")] if route.identity else []
                trust = [Need("authority", route.trust, BAD_GATEWAY)] if route.trust != SYSTEM else []
                trust += [Need("crl", route.trust, BAD_GATEWAY)] if route.trust != SYSTEM else []
                found.append(Beyond(name, prefix, expectation.via(route), (*own, *trust)))
    return tuple(found)
