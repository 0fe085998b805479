"""Docker networks of a lab: found again, or put where neither another network nor a VPN is."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from topology.description.model import Topology
from topology.errors import NotReady
from topology.generation.addressing import Network, Networks, candidates, free
from topology.generation.planning import default_networks_of
from topology.runtime import conflicts

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.networks import Network as EngineNetwork

ROUTES = Path("/proc/net/route")


def choose(
    client: DockerClient,
    topology: Topology,
    project: Callable[[str], str],
    internet: str,
    *,
    hosts: Collection[str] | None = None,
    routes: Callable[[], str] | None = None,
    avoid: Collection[ipaddress.IPv4Network] = (),
) -> Networks:
    """The networks of this run: those that it already has, else the default ones, else the next that are free.

    project: host -> its Compose project's name; internet: name of the network that joins the hosts.
    hosts: those that run on this engine, if not all; routes: reads its machine's routing table, if that is not this
    machine; it is asked only where a network has yet to be made.
    avoid: what was tried and turned out to be taken.
    """
    here = [host for host in topology.hosts if hosts is None or host in hosts]
    existing = {str(n.name): subnets(n.attrs) for n in client.networks.list()}
    own = {internet, *(f"{project(host)}_inside" for host in here)}
    taken = [*avoid, *(net for name, nets in existing.items() if name not in own for net in nets)]
    table = (routes or read_routes)() if own - existing.keys() else ""
    taken += [net for net in routed(table) if not any(net in existing.get(name, ()) for name in own)]

    def place(name: str, default: Network, seed: str, size: int) -> Network:
        kept = [
            network for network in map(network_of, existing.get(name, ())) if network and network.small == default.small
        ]
        if kept:
            chosen = kept[0]
        else:
            found = next(free(chain((default,), candidates(seed, size)), taken), None)
            if found is None:
                raise NotReady(f"no private network is free for {name}; remove unused ones with `docker network prune`")
            chosen = found
        taken.append(chosen.subnet)
        return chosen

    defaults = default_networks_of(topology)
    return Networks(
        internet=place(internet, defaults.internet, internet, len(topology.hosts)),
        inside={
            host: place(
                f"{project(host)}_inside", defaults.inside[host], project(host), len(topology.hosts[host].services)
            )
            for host in here
        },
    )


def subnets(attributes: Mapping[str, object]) -> list[ipaddress.IPv4Network]:
    """The IPv4 subnets of a Docker network, from what the engine's inspection says."""
    ipam = attributes.get("IPAM")
    configs = (ipam.get("Config") or ()) if isinstance(ipam, dict) else ()
    return [
        ipaddress.IPv4Network(config["Subnet"], strict=False) for config in configs if "." in config.get("Subnet", "")
    ]


def network_of(subnet: ipaddress.IPv4Network) -> Network | None:
    octets = str(subnet.network_address).split(".")
    kept = {24: 3, 16: 2}.get(subnet.prefixlen)
    return Network(".".join(octets[:kept])) if kept else None


def read_routes() -> str:
    try:
        return ROUTES.read_text()
    except OSError:
        return ""  # not Linux: the engine's own machine is elsewhere, and its routes are not ours to see


def routed(table: str) -> list[ipaddress.IPv4Network]:
    """The destinations of Linux's routing table without the default."""
    return [subnet for _, subnet in routes(table)]


def routes(table: str) -> list[tuple[str, ipaddress.IPv4Network]]:
    """Interface and destination of each route but the default (proc(5): little-endian hexadecimal)."""
    found = []
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 7 and fields[7] != "00000000":
            address, mask = (bytes.fromhex(field)[::-1] for field in (fields[1], fields[7]))
            subnet = ipaddress.IPv4Network((address, str(ipaddress.IPv4Address(mask))), strict=False)
            found.append((fields[0], subnet))
    return found


def ensure_internet(client: DockerClient, name: str, network: Network, labels: Mapping[str, str]) -> None:
    """The network that stands for the internet: it belongs to no host, so the tool makes and removes it."""
    from docker.errors import APIError
    from docker.types import IPAMConfig, IPAMPool

    if any(found.name == name for found in client.networks.list(names=[name])):
        return
    pool = IPAMPool(
        subnet=str(network.subnet),
        iprange=network.prefix + network.dynamic_ending,
        gateway=network.address(1),
    )
    try:
        client.networks.create(
            name, driver="bridge", ipam=IPAMConfig(pool_configs=[pool]), labels=dict(labels), check_duplicate=True
        )
    except APIError as error:
        if isinstance(conflicts.found_in(str(error.explanation)), conflicts.NetworkTaken):
            raise conflicts.NetworkTaken(name) from error
        raise NotReady(f"network {name} ({network.subnet}) cannot be made: {error.explanation}") from error


def remove(networks: Iterable[EngineNetwork]) -> list[str]:
    """Removes networks; returns what is in the way of those that have to stay: somebody else's containers, a line each.

    The lab's own containers have to be gone before.
    """
    from docker.errors import APIError, NotFound

    in_the_way = []
    for network in networks:
        try:
            network.remove()
        except NotFound:
            continue
        except APIError as error:
            holders = attached(network)
            in_the_way += [
                f"network {network.name} stays: the container {holder}, which is not the lab's, is attached to it; "
                f"run `docker network disconnect {network.name} {holder}`, then `mtls-lab down` again"
                for holder in holders
            ] or [f"network {network.name} stays: {error.explanation}"]
    return in_the_way


def attached(network: EngineNetwork) -> list[str]:
    """The names of the running containers in a network."""
    network.reload()
    return sorted(str(one["Name"]) for one in (network.attrs.get("Containers") or {}).values())
