"""Who else is on this machine: who has a port, who has a range of addresses, which labs are there."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from topology.description.wording import shown
from topology.runtime import looking, networking

if TYPE_CHECKING:
    from docker import DockerClient

EVERYWHERE = ("0.0.0.0", "::", "::ffff:0.0.0.0")  # noqa: S104 - addresses that others listen on
LOOPBACK = ("127.0.0.1", "::ffff:127.0.0.1")


@dataclass(frozen=True)
class Holder:
    """who: in words; free: how to get it from them; lab: whether it is a lab of ours."""

    who: str
    free: str
    lab: bool = False


def holder_of_port(port: int, client: DockerClient | None) -> Holder:
    """Who listens on a TCP port of 127.0.0.1, as far as the caller may see.  client: None where no engine answers."""
    container = container_at(client, port) if client is not None else None
    return container or process_at(port) or Holder(
        "a process that you may not see", f"find it with `sudo lsof -nP -iTCP:{port} -sTCP:LISTEN` and stop it"
    )  # fmt: skip


def container_at(client: DockerClient, port: int) -> Holder | None:
    for container in client.containers.list():
        published = {
            int(binding["HostPort"])
            for bindings in container.ports.values()
            for binding in bindings or ()
            if binding["HostIp"] in ("", *EVERYWHERE, *LOOPBACK)
        }
        if port in published:
            return of_lab(f"container {container.name}", container.labels) or Holder(
                f"container {container.name}", f"`docker stop {container.name}`"
            )
    return None


def of_lab(what: str, labels: Mapping[str, str]) -> Holder | None:
    """What belongs to a lab of ours, by its labels; None for what does not."""
    lab, instance = labels.get("mtls-lab.lab"), labels.get("mtls-lab.instance")
    if not lab:
        return None
    copy, option = (f", instance {instance}", f" --instance {instance}") if instance else ("", "")
    return Holder(f"{what} (lab {lab}{copy})", f"`mtls-lab down{option}` for that lab", lab=True)


def process_at(port: int) -> Holder | None:
    """Who listens, as the system tells (Linux: /proc/net/tcp, and /proc/PID/fd of those that are ours to read)."""
    import psutil

    try:
        found = psutil.net_connections("tcp")
    except psutil.Error:
        return None  # macOS lets root alone see
    here = (one.pid for one in found if one.pid and one.status == psutil.CONN_LISTEN and is_at(one.laddr, port))
    if (number := next(here, None)) is None:
        return None
    try:
        process = psutil.Process(number)
        name, command, user = process.name(), " ".join(process.cmdline()), process.username()
    except (psutil.Error, KeyError):
        return Holder(f"process {number}", f"stop process {number}")
    return Holder(f"{name}, process {number} of {user} (`{shown(command)}`)", f"stop process {number}")


def is_at(address: tuple[object, ...], port: int) -> bool:
    """Whether somebody who listens at this address is in the way of 127.0.0.1 and a port."""
    return address[1:2] == (port,) and address[0] in (*EVERYWHERE, *LOOPBACK)


@dataclass(frozen=True)
class Taken:
    """A range of addresses, and who has it."""

    subnet: ipaddress.IPv4Network
    holder: Holder


def taken_subnets(client: DockerClient, own: set[str]) -> Iterator[Taken]:
    """What other Docker networks and this machine's routes have.  own: names of the lab's networks."""
    networks = client.networks.list()
    on_bridges = [subnet for network in networks for subnet in networking.subnets(network.attrs)]
    for network in networks:
        if network.name not in own:
            holder = of_lab(f"Docker network {network.name}", network.attrs.get("Labels") or {}) or Holder(
                f"Docker network {network.name}", f"`docker network rm {network.name}`, if nobody needs it"
            )
            for subnet in networking.subnets(network.attrs):
                yield Taken(subnet, holder)
    for device, subnet in networking.routes(networking.read_routes()):
        if subnet not in on_bridges:
            yield Taken(subnet, Holder(f"the route to {subnet} through {device}", "take that VPN or interface down"))


@dataclass(frozen=True)
class Copy:
    """An instance of a lab on an engine, by its labels.  parts: names of containers, networks and volumes."""

    lab: str
    instance: str
    parts: tuple[str, ...]
    folder: Path | None


def copies(client: DockerClient) -> list[Copy]:
    """All instances of labs that an engine has something of."""
    meant: dict[str, str | list[str] | bool] = {"label": "mtls-lab.lab"}
    containers = client.containers.list(all=True, filters=meant, ignore_removed=True)
    found = [(dict(one.labels), str(one.name)) for one in containers]
    found += [(dict(one.attrs.get("Labels") or {}), str(one.name)) for one in client.networks.list(filters=meant)]
    found += [(dict(one.attrs.get("Labels") or {}), str(one.name)) for one in client.volumes.list(filters=meant)]
    folders = {str(one.name): looking.folder_of(one) for one in containers}
    parts: dict[tuple[str, str], list[str]] = {}
    for labels, name in found:
        parts.setdefault((labels["mtls-lab.lab"], labels.get("mtls-lab.instance", "")), []).append(name)
    return [
        Copy(lab, instance, tuple(names), next((folders[name] for name in names if folders.get(name)), None))
        for (lab, instance), names in sorted(parts.items())
    ]
