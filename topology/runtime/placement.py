"""Which machine each host runs on: what `deploy` was told, remembered beside the stacks and out of git."""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from topology.description.model import Topology
from topology.errors import InvalidInput
from topology.generation import acme, writing
from topology.generation.planning import Elsewhere

EVERYWHERE = "0.0.0.0"  # noqa: S104 - a machine behind address translation, or known through DNS, has no other
STANDARD_HTTP, STANDARD_HTTPS = 80, 443


@dataclass(frozen=True)
class Place:
    """Where one host runs.

    context: the Docker context of its machine; address: where others reach that machine, empty where the host's domain
    resolves through DNS; bind: the machine's address on which the gateway is published; calls_from: the address from
    which the host's calls reach others, empty where nobody said.
    """

    context: str
    address: str = ""
    bind: str = EVERYWHERE
    calls_from: str = ""


Places = Mapping[str, Place]
"""Host -> its place.  Hosts that are not in it run on this machine, for this machine alone."""


def read(file: Path) -> dict[str, Place]:
    """The hosts that are deployed, by what the file says; none where there is no file."""
    try:
        return TypeAdapter(dict[str, Place]).validate_json(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValidationError) as error:
        raise InvalidInput(
            f"{file}: cannot be read ({str(error).splitlines()[0]}); it says where hosts were deployed: "
            "mend it, or remove it and deploy them again"
        ) from error


def remember(file: Path, places: Places) -> None:
    """Writes down where hosts are deployed; nothing where none is."""
    if places:
        writing.write(file, written(places))
    elif file.is_file():
        writing.remove(file)


def written(places: Places) -> bytes:
    return (json.dumps({host: asdict(place) for host, place in places.items()}, indent=2) + "\n").encode()


def place(topology: Topology, host: str, context: str, address: str, bind: str, calls_from: str) -> Place:
    """A host's place from what a person says, the unsaid filled in.

    With an address the gateway listens there alone, else everywhere; callers' headers are believed from there.
    Raises InvalidInput where an address is none, or a domain without one does not resolve.
    """
    if host not in topology.hosts:
        raise InvalidInput(f"{host}: no such host in the topology; there are {', '.join(topology.hosts)}")
    if acme.has_server(topology):
        raise InvalidInput(
            f"{topology.name}: the lab's own ACME server has to reach its hosts on one machine; to deploy them, "
            "name the directory of another (tls: {acme: true, directory: ...}) or an authority"
        )
    for option, value in (("--address", address), ("--bind", bind), ("--calls-from", calls_from)):
        if value and not is_ipv4(value):
            raise InvalidInput(f"{option} {value}: not an IPv4 address such as 192.0.2.10")
    found = address or resolved(topology.hosts[host].domain, host)
    alone = address or (found if ipaddress.IPv4Address(found).is_loopback else EVERYWHERE)
    return Place(context, address, bind or alone, calls_from or address)


def is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def resolved(domain: str, host: str) -> str:
    """The IPv4 address of a domain, from this machine's resolver."""
    try:
        return str(socket.getaddrinfo(domain, None, socket.AF_INET)[0][4][0])
    except OSError as error:
        raise InvalidInput(
            f"{domain} (host {host}) does not resolve here ({error.strerror}); give it a record in the DNS, "
            "or say where its machine is with --address"
        ) from error


def calls(topology: Topology) -> tuple[tuple[str, str], ...]:
    """(caller, called) for each pair of hosts of which one has a route to the other."""
    pairs = ((name, route.host) for name, host in topology.hosts.items() for route in host.routes.values())
    return tuple(dict.fromkeys((caller, called) for caller, called in pairs if called is not None))


def refuse_clashes(topology: Topology, places: Places, together: Mapping[str, str]) -> None:
    """Refuses places that cannot work together.  together: host -> its engine.  Raises InvalidInput."""
    refuse_loopback(topology, places, together)
    refuse_equal_ports(topology, places, together)


def refuse_equal_ports(topology: Topology, places: Places, together: Mapping[str, str]) -> None:
    """Two hosts of one machine cannot listen on the same port of the same address."""
    taken: dict[tuple[str, int], list[str]] = {}
    for host in (host for host in topology.hosts if host in places):
        for port in published_ports(topology, host).values():
            for other in taken.get((together[host], port), ()):
                if places[host].bind == places[other].bind or EVERYWHERE in (places[host].bind, places[other].bind):
                    raise InvalidInput(
                        f"{other} and {host} are on one machine and both take its port {port}; "
                        "give one of them another (publish), or an address of its own (--bind)"
                    )
            taken.setdefault((together[host], port), []).append(host)


def refuse_loopback(topology: Topology, places: Places, together: Mapping[str, str]) -> None:
    """A loopback address leads each machine to itself."""
    for caller, called in calls(topology):
        if together[caller] == together[called] or called not in places:
            continue
        for where in (places[called].address, places[called].bind):
            if where and ipaddress.IPv4Address(where).is_loopback:
                raise InvalidInput(
                    f"{caller} calls {called} from another machine, where {where} leads nowhere; "
                    f"deploy {called} with the --address at which that machine reaches it"
                )


def elsewhere(topology: Topology, places: Places, together: Mapping[str, str], host: str) -> dict[str, Elsewhere]:
    """The hosts that run on other machines than this one, as it sees them.  together: host -> its engine."""
    return {
        other: seen(topology, places.get(other), other)
        for other in topology.hosts
        if other != host and together[other] != together[host]
    }


def seen(topology: Topology, place: Place | None, other: str) -> Elsewhere:
    """A host from another machine.  One that is not deployed is published for its own machine alone."""
    if place is None:
        return Elsewhere(reachable=False)
    port = published_ports(topology, other).get("443/tcp", STANDARD_HTTPS)
    return Elsewhere(place.address, port, place.calls_from)


def published_ports(topology: Topology, host: str) -> dict[str, int]:
    """Container's port -> port of the machine that a deployed host has for itself; others have to know them."""
    described = topology.hosts[host]
    ports = {"80/tcp": described.publish.http or STANDARD_HTTP}
    if described.tls is not None:
        ports["443/tcp"] = described.publish.https or STANDARD_HTTPS
    for service in described.services.values():
        if service.tls is not None:
            ports[f"{service.tls.port}/tcp"] = service.tls.publish or service.tls.port
    return ports


def compose_ports(topology: Topology, host: str, place: Place) -> tuple[str, ...]:
    """What a deployed host's gateway publishes, as Compose has it."""
    ports = published_ports(topology, host)
    return tuple(f"{place.bind}:{number}:{port.removesuffix('/tcp')}" for port, number in ports.items())


def cut(topology: Topology, places: Places, together: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    """(caller, called) where no call can arrive: what is called runs on this machine alone, the caller on another."""
    return frozenset(
        (caller, called)
        for caller, called in calls(topology)
        if together[caller] != together[called] and called not in places
    )
