"""What a host's index page says: where its routes lead, who may enter, what a caller gets.

The page is for people: in their words, and with links that lead somewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from topology.description.loading import Description
from topology.description.model import ACME, SYSTEM, Host, Route

EVERYONE, HOLDERS, NAMED, INSIDE = "everyone", "holders", "named", "inside"
"""Who may enter a route: anybody, whoever has a certificate, some identities, the host's own services."""

NEVER, PER_ROUTE, ALWAYS = "never", "per-route", "always"
"""When a gateway asks for a certificate."""

LET_IN, FORBIDDEN, REFUSED, DEPENDS = "200", "403", "400", "200 or 403"

ANSWERS = {
    (PER_ROUTE, "nothing"): {EVERYONE: LET_IN, HOLDERS: FORBIDDEN, NAMED: FORBIDDEN},
    (PER_ROUTE, "valid"): {EVERYONE: LET_IN, HOLDERS: LET_IN, NAMED: DEPENDS},
    (PER_ROUTE, "invalid"): {EVERYONE: REFUSED, HOLDERS: REFUSED, NAMED: REFUSED},
    (ALWAYS, "nothing"): {EVERYONE: REFUSED, HOLDERS: REFUSED, NAMED: REFUSED},
    (ALWAYS, "valid"): {EVERYONE: LET_IN, HOLDERS: LET_IN, NAMED: DEPENDS},
    (ALWAYS, "invalid"): {EVERYONE: REFUSED, HOLDERS: REFUSED, NAMED: REFUSED},
}
"""When the gateway asks, and what a caller shows -> what it gets on each sort of route (nginx, ssl_verify_client)."""


@dataclass(frozen=True)
class Destination:
    """Where a route leads.  sort: service, host, url or files; identity: the certificate that the gateway attaches."""

    sort: str
    name: str
    detail: str = ""
    identity: str = ""


@dataclass(frozen=True)
class Row:
    """A route.  link: relative to the page, so that it also leads there below another host's prefix; empty where it
    would lead to nothing.  entry: who may enter; who: their names."""

    prefix: str
    link: str
    destination: Destination
    entry: str
    who: tuple[str, ...]


@dataclass(frozen=True)
class Door:
    """A port at which a service terminates TLS itself."""

    port: int
    service: str
    entry: str


@dataclass(frozen=True)
class Behind:
    """One of those behind the gateway, and the certificates that the gateway attaches on the way there."""

    sort: str
    name: str
    identities: tuple[str, ...]


@dataclass(frozen=True)
class Page:
    """asks: when the gateway asks for a certificate, and accepted: from which authorities; issuer: who issued its own,
    in words, empty for plain HTTP; answers: (what a caller shows, what it gets on each sort of route)."""

    asks: str
    accepted: tuple[str, ...]
    issuer: str
    rows: tuple[Row, ...]
    behind: tuple[Behind, ...]
    doors: tuple[Door, ...]
    sorts: tuple[str, ...]
    answers: tuple[tuple[str, tuple[str, ...]], ...]


def page(description: Description, name: str) -> Page:
    host = description.topology.hosts[name]
    rows = tuple(row(description, host, prefix, route) for prefix, route in host.routes.items())
    asked = asks(host)
    sorts = tuple(sort for sort in (EVERYONE, HOLDERS, NAMED) if any(row.entry == sort for row in rows))
    return Page(
        asks=asked,
        accepted=host.client_certificates.authority if host.client_certificates else (),
        issuer=issuer(host),
        rows=rows,
        behind=behind(rows),
        doors=tuple(
            Door(service.tls.port, s, HOLDERS if service.tls.client_certificate == "required" else EVERYONE)
            for s, service in host.services.items()
            if service.tls is not None
        ),
        sorts=sorts,
        answers=answers(asked, sorts),
    )


def behind(rows: Iterable[Row]) -> tuple[Behind, ...]:
    identities: dict[tuple[str, str], dict[str, None]] = {}
    for destination in (row.destination for row in rows):
        found = identities.setdefault((destination.sort, destination.name), {})
        if destination.identity:
            found[destination.identity] = None
    return tuple(Behind(sort, name, tuple(found)) for (sort, name), found in identities.items())


def issuer(host: Host) -> str:
    if host.tls is None:
        return ""
    return {ACME: "the lab’s ACME server", SYSTEM: "a public authority"}.get(host.tls.authority, host.tls.authority)


def asks(host: Host) -> str:
    return NEVER if host.client_certificates is None else host.client_certificates.verify


def answers(asked: str, sorts: Iterable[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The rows of ANSWERS for a gateway; none where it never asks, and everybody gets the same."""
    columns = tuple(sorts)
    return tuple(
        (shown, tuple(by_sort[sort] for sort in columns))
        for (when, shown), by_sort in ANSWERS.items()
        if when == asked and columns
    )


def row(description: Description, host: Host, prefix: str, route: Route) -> Row:
    entry, who = entry_of(host, route)
    below = start(description, host, route)
    link = f".{prefix}{below}" if below is not None and entry != INSIDE else ""
    return Row(prefix, link, destination(description, route), entry, who)


def entry_of(host: Host, route: Route) -> tuple[str, tuple[str, ...]]:
    """Who may enter.  A gateway that always asks has no route for everyone."""
    if route.internal:
        return INSIDE, ()
    if route.allow:
        return NAMED, route.allow
    if route.client_certificate == "required" or asks(host) == ALWAYS:
        return HOLDERS, host.client_certificates.authority if host.client_certificates else ()
    return EVERYONE, ()


def destination(description: Description, route: Route) -> Destination:
    identity = route.identity or ""
    if route.service is not None:
        return Destination("service", route.service)
    if route.host is not None:
        remote = description.topology.hosts[route.host]
        return Destination("host", route.host, f"{remote.domain}{route.to}", identity)
    if route.url is not None:
        return Destination("url", route.url, "", identity)
    return Destination("files", route.files or "")


def start(description: Description, host: Host, route: Route) -> str | None:
    """The path below a route's prefix that is worth opening; None where a folder has no index.

    What a route to another host opens follows from the route that answers there.
    """
    if route.service is not None:
        kind = description.kinds.get(host.services[route.service].kind or "")
        return kind.start.removeprefix("/") if kind else ""
    if route.files is not None:
        return "" if route.index else None
    if route.host is None:
        return ""
    remote = description.topology.hosts[route.host]
    answering = max((prefix for prefix in remote.routes if route.to.startswith(prefix)), key=len, default="")
    if answering != route.to:
        return ""
    return start(description, remote, remote.routes[answering])
