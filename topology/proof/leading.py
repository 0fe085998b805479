"""Which service has to be there for a cell: whose answer it is, or who asks.

Like `expectation`, this reads what the author wrote and nothing else.
"""

from __future__ import annotations

from topology.description.model import Topology
from topology.proof import expected_requests
from topology.proof import expected_walls as walls
from topology.proof.expectation import Check
from topology.proof.request_kinds import KINDS, Hello, Raw, Renegotiated, Resumed, Sent, Streams

Place = tuple[str, str]
"""Host and service."""


def answering(topology: Topology, check: Check) -> Place | None:
    """The service at the end of a check's way, whoever answers before; None where there is none."""
    host = topology.hosts[check.host]
    if check.port is not None:
        services = host.services.items()
        return next((check.host, name) for name, one in services if one.tls and one.tls.port == check.port)
    return end_of_the_way(topology, check.host, check.route, check.path) if check.route in host.routes else None


def end_of_the_way(topology: Topology, name: str, prefix: str, path: str) -> Place | None:
    """Through all gateways; routes that come back to themselves are faults, so there is an end."""
    route = topology.hosts[name].routes[prefix]
    if route.service is not None:
        return name, route.service
    if route.host is None:
        return None
    beyond = route.to + path.removeprefix(prefix)
    around = [one for one in topology.hosts[route.host].routes if beyond.startswith(one)]
    return end_of_the_way(topology, route.host, max(around, key=len), beyond) if around else None


def beside(topology: Topology, check: Check) -> Place | None:
    """The service of another route that a request asks for as well, on the same connection or by a trick; None where
    there is none."""
    if check.family != expected_requests.FAMILY or check.port is not None:
        return None
    aimed = expected_requests.aim_of(topology, check)
    asked = KINDS[check.request].sends(aimed)
    if aimed.beside not in aimed.host.routes or asked is None or aimed.beside.encode() not in said(asked):
        return None
    return end_of_the_way(topology, check.host, aimed.beside, aimed.beyond)


def said(sent: Sent) -> bytes:
    """All that a request says, as far as paths stand in it."""
    match sent:
        case Raw():
            return b"".join(sent.parts)
        case Streams():
            return b"\n".join(value for headers, _ in sent.requests for _, value in headers)
        case Resumed() | Renegotiated():
            return sent.request
        case Hello():
            return b""


def asking(topology: Topology, check: Check) -> Place | None:
    """The service from inside of which a check is made; None where it comes from outside."""
    if check.caller == walls.OWN_SERVICE:
        return check.host, next(iter(topology.hosts[check.host].services))
    if check.caller.startswith(walls.FROM) and check.family == walls.FAMILY:
        host, _, service = check.caller.removeprefix(walls.FROM).partition("/")
        return (host, service) if service else None
    return None


def looked_at(topology: Topology, check: Check) -> tuple[Place, ...]:
    """The containers whose walls a check looks at; none for a check that sends a request."""
    if check.family != walls.FAMILY:
        return ()
    services = topology.hosts[check.host].services
    if check.route == walls.INSIDE:
        return tuple((check.host, service) for service in services)
    return ((check.host, check.route),)
