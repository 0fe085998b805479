"""Topology -> [Check]: what nobody can reach, what nobody holds, and what a host's own services are answered.

Like `expectation`, this reads what the author wrote and nothing else.  The cells' words are the same everywhere:
route, a container by its service's name, or `inside`, the network of a host's own; caller, which wall is looked at.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from topology.description.model import Host, Topology
from topology.proof import expectation
from topology.proof.expectation import Answer, Caller, Check, sentence

FAMILY, INSIDE_FAMILY = "wall", "inside"
GATEWAY, CERTBOT = "gateway", "certbot"
INSIDE, INTERNET = "inside", "internet"
OWN_SERVICE = "own-service"
FORGING = "forged identity"
NONE, NOTHING = "none", "nothing"
RIGHTS, KEYS, PORTS, NETWORKS = "rights", "authorities-keys", "published-ports", "networks"
MEMBERS, ORDER, LISTENERS, OWN_KEYS = "members", "judges-servers", "listeners", "keys-for-everybody"
FIRST = "first"
FROM = "from-"


def checks(topology: Topology, _elsewhere: Collection[str] = ()) -> tuple[Check, ...]:
    """The walls of every host, in the order of the file; first those that take patience: others go on beside them."""
    return tuple(
        check for look in (outside_checks, host_checks) for host in topology.hosts for check in look(topology, host)
    )


def outside_checks(topology: Topology, host: str) -> Iterator[Check]:
    for origin in strangers(topology, host):
        yield wall(host, INSIDE, f"{FROM}{origin}", NOTHING, out_of_reach)


def host_checks(topology: Topology, host: str) -> Iterator[Check]:
    described = topology.hosts[host]
    for name in containers(described):
        ports = published_ports(described) if name == GATEWAY else NOTHING
        yield wall(host, name, RIGHTS, NONE, few_rights)
        yield wall(host, name, KEYS, NONE, no_authority_s_key)
        yield wall(host, name, PORTS, ports, gateways_alone)
        yield wall(host, name, NETWORKS, networks(name), own_networks)
    yield wall(host, GATEWAY, LISTENERS, f"{published_ports(described)}, {INSIDE}", own_listener)
    if described.tls is not None:
        yield wall(host, GATEWAY, OWN_KEYS, NONE, own_keys_alone)
    if any(route.host or route.url for route in described.routes.values()):
        yield wall(host, GATEWAY, ORDER, FIRST, judges_first)
    yield wall(host, INSIDE, MEMBERS, ", ".join(sorted({GATEWAY, *described.services})), own_members)


def wall(host: str, route: str, name: str, expected: str, rule: object) -> Check:
    return Check(
        host=host, route=route, caller=name, via="direct", tls="", path="", expected=expected,
        why=(getattr(rule, "__doc__", "") or "").strip(), shown=Caller(), family=FAMILY, waits=name.startswith(FROM),
    )  # fmt: skip


def containers(host: Host) -> tuple[str, ...]:
    """What runs on a host, by the names of its services."""
    certbot = (CERTBOT,) if host.tls is not None and host.tls.acme else ()
    return (GATEWAY, *certbot, *host.services)


def published_ports(host: Host) -> str:
    """The gateway's doors to the world: plain, TLS, and what it passes on to services that terminate TLS themselves."""
    passed = [service.tls.port for service in host.services.values() if service.tls is not None]
    return ", ".join(str(port) for port in sorted({80, *([443] if host.tls else []), *passed}))


def networks(name: str) -> str:
    return {GATEWAY: f"{INSIDE}, {INTERNET}", CERTBOT: INTERNET}.get(name, INSIDE)


def strangers(topology: Topology, host: str) -> tuple[str, ...]:
    """Who tries to get in: whoever is on the internet, and every container of every other host."""
    others = [
        f"{other}/{name}"
        for other, described in topology.hosts.items()
        if other != host
        for name in containers(described)
    ]
    return (INTERNET, *others)


def few_rights() -> None:
    """A container is not root, cannot write its files, has no capability and no way to more, says the kernel."""


def no_authority_s_key() -> None:
    """No container holds or sees an authority's key: who has one can be anybody."""


def own_keys_alone() -> None:
    """A gateway's keys can be read by the user that it runs as, and by nobody else."""


def gateways_alone() -> None:
    """No port is published but the gateways'."""


def own_networks() -> None:
    """A service is on its own host's network alone; what joins the hosts is joined by their gateways."""


def own_members() -> None:
    """Nobody is on a host's own network but the host's containers."""


def own_listener() -> None:
    """A gateway listens for the world where it is published, and for its host's services on their network alone."""


def judges_first() -> None:
    """A gateway judges a server before it shows it a certificate: nginx alone would do so afterwards."""


def out_of_reach() -> None:
    """From outside of a host no service answers, nor the gateway where it listens for the host's own services."""


# What a host's own services get


def inside_checks(topology: Topology, _elsewhere: Collection[str] = ()) -> tuple[Check, ...]:
    """A host's own service on every route of its gateway, by GATEWAY_URL."""
    return tuple(
        Check(
            host=name, route=prefix, caller=OWN_SERVICE, via=expectation.via(host.routes[prefix]), tls="plain",
            path=path, expected=answer.status, why=answer.why, shown=Caller(), family=INSIDE_FAMILY,
        )
        for name, host in topology.hosts.items()
        if host.services
        for prefix in host.routes
        for path, answer in inside_answers(topology, host, prefix)
    ) + tuple(check for name in topology.hosts for check in forging_checks(topology, name))  # fmt: skip


def forging_checks(topology: Topology, host: str) -> Iterator[Check]:
    """Routes that nobody can ask for from outside, where requests with forged headers would show what passes."""
    described = topology.hosts[host]
    for prefix, route in described.routes.items():
        if route.internal and route.service is not None:
            health = (described.services[route.service].health or "/").lstrip("/")
            yield Check(
                host=host, route=prefix, caller=OWN_SERVICE, via="direct", tls="plain", path=prefix + health,
                expected=200, why=sentence(no_identity_inside), shown=Caller(), family=INSIDE_FAMILY, request=FORGING,
            )  # fmt: skip


def no_identity_inside() -> None:
    """A host's own service cannot make up an identity towards another one: its gateway overwrites what it says."""


def inside_answers(topology: Topology, host: Host, prefix: str) -> Iterator[tuple[str, Answer]]:
    """(path, answer): guards for certificates hold there too, and nobody can show one; `internal` routes are open."""
    for path, beyond in expectation.destinations(topology, host, prefix):
        if host.routes[prefix].client_certificate == "required" or host.routes[prefix].allow:
            yield path, Answer(403, sentence(no_certificate_inside))
        elif beyond is not None:
            yield path, beyond


def no_certificate_inside() -> None:
    """A host's own service shows no certificate to its gateway: a route that requires one answers 403."""
