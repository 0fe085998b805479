"""What has to be there before a host's stack starts: images, networks, folders, and what its Compose file takes from
outside, on each machine."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from ipaddress import IPv4Network

from topology.description.model import Topology
from topology.generation import planning, rendering, writing
from topology.generation.addressing import Network
from topology.generation.planning import Surroundings
from topology.generation.rendering import ShippedMount
from topology.runtime import contexts, images, networking, placement, shipping
from topology.runtime.lab import Lab, label_filters, labels
from topology.runtime.machines import Machine, Machines
from topology.runtime.placement import Place, Places
from topology.runtime.progress import Progress
from topology.runtime.task import Task

ACME_INTERVAL = "MTLS_LAB_ACME_INTERVAL"
PASSED_ON = (ACME_INTERVAL, "MTLS_LAB_ADDRESS")
"""Variables of the caller's that reach Compose files: how many seconds certbot waits between two looks at its
certificate; where a host with a certificate for the world listens, instead of 127.0.0.1."""


def provide_images(machine: Machine, plan: planning.Plan, hosts: Collection[str], progress: Progress) -> None:
    """The images of a machine's hosts; on this machine Compose pulls the ready ones."""
    here = [host for host in plan.hosts if host.name in hosts and host.name in machine.hosts]
    services = [service for host in here for service in host.services]
    built = {*(host.gateway_image for host in here), *(service.image for service in services if service.built)}
    built |= {host.certbot.image for host in here if host.certbot is not None}
    if machine.own and plan.acme_server is not None:
        built.add(plan.acme_server.image)
    wanted = [images.Image(i.tag, i.folder, dict(i.arguments)) for i in plan.images if i.tag in built]
    if machine.own:
        images.ensure(wanted, progress)
    else:
        ready = dict.fromkeys(service.image for service in services if not service.built)
        images.provide(machine.client, wanted, ready, progress)


def surroundings_of(
    lab: Lab,
    places: Places,
    found: Machines,
    working: Sequence[Machine],
    image: str = "",
    avoid: Collection[IPv4Network] = (),
) -> dict[str, Surroundings]:
    """Where each host of some machines runs.

    image: one that these have, to look at their routes with; avoid: networks that turned out to be taken.
    """
    around = {}
    for machine in working:
        routes = None if machine.own else partial(shipping.routing_table, machine.client, image)
        networks = networking.choose(
            machine.client, lab.topology, lab.project, lab.internet, hosts=machine.hosts, routes=routes, avoid=avoid
        )
        for host in machine.hosts:
            others = placement.elsewhere(lab.topology, places, found.together, host)
            around[host] = Surroundings(networks.internet, networks.inside[host], others)
    return around


def prepare(
    task: Task,
    machine: Machine,
    plan: planning.Plan,
    surroundings: Mapping[str, Surroundings],
    hosts: Collection[str],
) -> None:
    """What has to be on a machine before its hosts start: the network between them, and the folders of the deployed."""
    lab = task.lab
    here = [plan.host(host) for host in machine.hosts if host in hosts]
    networking.ensure_internet(machine.client, lab.internet, surroundings[here[0].name].internet, labels(lab))
    for host in here:
        volumes: tuple[ShippedMount, ...] = ()
        ports: tuple[str, ...] = ()
        if host.name in task.places:
            volumes = ship(lab, machine, plan, host)
            ports = placement.compose_ports(lab.topology, host.name, task.places[host.name])
        else:
            write_gateway(lab, plan, host, nginx_folder(lab, host.name, surroundings[host.name]))
        override = lab.override(host.name)
        if volumes or surroundings[host.name].elsewhere:
            writing.write(override, rendering.render_override(plan, host, volumes, ports).encode())
        else:
            forget_override(lab, host.name)


def ship(lab: Lab, machine: Machine, plan: planning.Plan, host: planning.HostPlan) -> tuple[ShippedMount, ...]:
    """Carries what a host's Compose file would mount to its machine; returns the volumes that hold it there."""
    sent = shipping.parcels(
        host, rendering.render_gateway(plan, host), lab.folder / host.name, lab.certificates(host.name)
    )
    volumes = shipping.mounts(lab.project(host.name), sent)
    contents = {mount.volume: parcel.content for mount, parcel in zip(volumes, sent, strict=True)}
    in_use = shipping.volumes_in_use(machine.client, label_filters(lab))
    own = labels(lab) | {"mtls-lab.host": host.name}
    shipping.ship(machine.client, host.gateway_image, contents, own, in_use)
    return volumes


def forget_override(lab: Lab, host: str) -> None:
    if lab.override(host).is_file():
        writing.remove(lab.override(host))


def write_gateway(lab: Lab, plan: planning.Plan, host: planning.HostPlan, folder: str) -> None:
    """A gateway's configuration of this run, where its surroundings are not the default ones."""
    if folder != "nginx":
        own = rendering.render_gateway(plan, host)
        writing.write_all(lab.folder / host.name / folder, {path: (text.encode(), 0o644) for path, text in own.items()})


def nginx_folder(lab: Lab, host: str, surroundings: Surroundings) -> str:
    """The gateway's configuration folder of this run: the checked-in one, unless it runs in other surroundings."""
    if surroundings == planning.default_surroundings(lab.topology)[host]:
        return "nginx"
    return f"nginx{lab.suffix}" if lab.instance else "nginx-local"


def variables(task: Task, host: str, surroundings: Surroundings) -> dict[str, str]:
    """What one host's Compose file takes from outside."""
    lab, place = task.lab, task.places.get(host)
    return {
        **common_variables(lab, host, surroundings.internet),
        "MTLS_LAB_NGINX": nginx_folder(lab, host, surroundings),
        "MTLS_LAB_INSIDE": surroundings.inside.prefix,
        **{name: os.environ[name] for name in PASSED_ON if os.environ.get(name)},
        **(port_variables(lab.topology, host) if host in task.chosen_ports else {}),
        **(deployed_variables(place) if place is not None else {}),
    }


def common_variables(lab: Lab, host: str, internet: Network) -> dict[str, str]:
    """What every Compose file takes from outside."""
    user, group = gateway_user()
    return {
        "MTLS_LAB_USER": f"{user}:{group}",
        "MTLS_LAB_INSTANCE": lab.instance or "",
        "MTLS_LAB_CERTIFICATES": lab.certificates(host).name,
        "MTLS_LAB_INTERNET_NETWORK": lab.internet,
        "MTLS_LAB_INTERNET": internet.prefix,
    }


def deployed_variables(place: Place) -> dict[str, str]:
    """Who runs it on another machine, where the caller's number may be somebody else's; and where its engine is."""
    user = planning.UNPRIVILEGED_USER
    return {"MTLS_LAB_USER": f"{user}:{user}", **contexts.engine_of(place.context).environment}


def port_variables(topology: Topology, host: str) -> dict[str, str]:
    """Lets Docker choose the ports on which a host is published."""
    passed = [f"MTLS_LAB_TLS_PORT_{port}" for port in passed_ports(topology, host)]
    return dict.fromkeys(["MTLS_LAB_HTTP_PORT", "MTLS_LAB_HTTPS_PORT", *passed], "")


def gateway_owner() -> tuple[int, int] | None:
    """A key is readable by its owner alone, and a container without capabilities cannot get around that."""
    return (planning.UNPRIVILEGED_USER, planning.UNPRIVILEGED_USER) if os.geteuid() == 0 else None


def gateway_user() -> tuple[int, int]:
    """User and group that gateways run as on this machine."""
    return gateway_owner() or (os.geteuid(), os.getegid())


def passed_ports(topology: Topology, host: str) -> tuple[int, ...]:
    """Ports that a host's gateway passes on to services with TLS of their own."""
    return tuple(service.tls.port for service in topology.hosts[host].services.values() if service.tls is not None)
