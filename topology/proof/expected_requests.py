"""Topology -> [Check]: every kind of request on every route of every host, and what has to come back.

Like `expectation`, this reads the topology alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from topology.description.model import Route, Service, Topology
from topology.proof import expectation
from topology.proof.aims import NOWHERE, Aim, aim
from topology.proof.expectation import NOBODY, REFUSED, Answer, Caller, Check, Standing
from topology.proof.request_kinds import KINDS, Kind, Raw, Sent, Streams

FAMILY = "request"


def checks(topology: Topology, elsewhere: Collection[str] = ()) -> tuple[Check, ...]:
    """Every kind on every route, from nobody, and where it matters from a caller whose certificate is verified; then
    what a service that terminates TLS itself has to refuse.

    elsewhere: identities whose key somebody else holds.
    """
    return (
        *(check for name in topology.hosts for check in route_checks(topology, name, elsewhere)),
        *(check for name in topology.hosts for check in passage_checks(topology, name, elsewhere)),
    )


def route_checks(topology: Topology, name: str, elsewhere: Collection[str]) -> Iterator[Check]:
    host = topology.hosts[name]
    for prefix, route in host.routes.items():
        for caller in (Caller(), *verified(topology, name, route, elsewhere)):
            aimed = aim(topology, name, prefix, caller)
            for kind in KINDS.values():
                sent = kind.sends(aimed) if kind.everyone or caller.name == NOBODY else None
                expected = kind.expects(aimed) if sent else None
                if sent and expected is not None:
                    yield Check(
                        host=name, route=prefix, caller=caller.name, via=expectation.via(route),
                        tls=spoken(aimed, sent), path=aimed.path, expected=expected, why=kind.why, shown=caller,
                        family=FAMILY, request=kind.name, waits=kind.waits,
                    )  # fmt: skip


def verified(topology: Topology, name: str, route: Route, elsewhere: Collection[str]) -> Iterator[Caller]:
    """The caller with the best chance at a route, where certificates are asked for."""
    host = topology.hosts[name]
    best = expectation.most_welcome(topology, host, route)
    if best is None or best in elsewhere or host.tls is None:
        return
    caller = Caller(best, best, "", topology.identities[best].authority)
    if expectation.standing_of(host, caller) is Standing.GOOD:
        yield caller


def spoken(aimed: Aim, sent: Sent) -> str:
    """The version of TLS, or `plain`."""
    if isinstance(sent, Raw | Streams):
        encrypted = sent.door == "own" and (aimed.host.tls is not None or aimed.prefix.startswith(":"))
        return "1.3" if encrypted else "plain"
    return sent.version


# Services that terminate TLS themselves

NEVER = ("plain HTTP on the TLS port", "a broken handshake", "TLS 1.0", "TLS 1.1", "renegotiation")
"""What a sample service refuses whoever asks."""

RESUMED = ("resumed session, TLS 1.2", "resumed session, TLS 1.3")
OPENS_NOTHING = ("no SNI", "unknown SNI", "SNI of another host", "unknown Host", "HTTP/1.0", "forged identity, whole")
"""What opens no door where a certificate is required."""


def passage_checks(topology: Topology, name: str, elsewhere: Collection[str]) -> Iterator[Check]:
    for service in topology.hosts[name].services.values():
        if service.tls is None:
            continue
        required = service.tls.client_certificate == "required"
        for caller in (Caller(), *(verified(topology, name, Route(), elsewhere) if required else ())):
            aimed = at_service(topology, name, service, caller)
            for kind in KINDS.values():
                expected = at_passage(kind, aimed, service)
                sent = kind.sends(aimed)
                if sent and expected is not None:
                    yield Check(
                        host=name, route=aimed.prefix, caller=caller.name, via="direct",
                        tls=spoken(aimed, sent), path=aimed.path, expected=expected, why=kind.why, shown=caller,
                        port=service.tls.port, family=FAMILY, request=kind.name,
                    )  # fmt: skip


def at_service(topology: Topology, name: str, service: Service, caller: Caller) -> Aim:
    """A caller at a port that the gateway passes on to a service."""
    if service.tls is None:
        raise AssertionError("a service without TLS has no such port")
    turned_away = service.tls.client_certificate == "required" and caller.name == NOBODY
    return Aim(
        topology=topology, name=name, prefix=f":{service.tls.port}/", caller=caller, path=service.health or "/",
        seen_at="", own=Answer(200, "No gateway asks.", True), answer=REFUSED if turned_away else 200,
        beside=NOWHERE, beyond="/",
    )  # fmt: skip


def at_passage(kind: Kind, aimed: Aim, service: Service) -> int | str | None:
    """What an application makes of odd requests is its own affair, unless it is a sample, or nobody may come in."""
    turned_away = aimed.answer == REFUSED
    if kind.name in NEVER:
        return REFUSED if turned_away or service.kind else None
    if turned_away:
        return REFUSED if kind.name in OPENS_NOTHING else None
    return aimed.answer if kind.name in RESUMED and service.kind else None


def aim_of(topology: Topology, check: Check) -> Aim:
    """Whom a check of this family aims at what."""
    if check.port is None:
        return aim(topology, check.host, check.route, check.shown)
    services = topology.hosts[check.host].services.values()
    service = next(one for one in services if one.tls is not None and one.tls.port == check.port)
    return at_service(topology, check.host, service, check.shown)
