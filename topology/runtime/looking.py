"""What there is, as the engines tell: containers and how they are, on every machine, and where a lab listens."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from topology.description.model import Topology
from topology.errors import NoEngine, NotReady
from topology.runtime import engine, last_words, machines, placement
from topology.runtime.lab import Instance, Lab, host_of, label_filters
from topology.runtime.last_words import Around
from topology.runtime.machines import Machine, Machines
from topology.runtime.placement import Places
from topology.runtime.preparation import passed_ports
from topology.runtime.running import Endpoint, RunningLab

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

RESTARTS_OF_A_BROKEN_CONTAINER = 3
ENDED = ("created", "restarting", "exited", "dead")
LAST_LINES = 15
"""Of a log, in which a container says why it gave up."""

OWN_LABELS = ("mtls-lab.lab", "mtls-lab.instance", "mtls-lab.host")


@dataclass(frozen=True)
class State:
    """What the engine says of one container."""

    id: str
    name: str
    host: str
    service: str
    status: str
    health: str | None
    restarts: int
    exit_code: int = 0

    @staticmethod
    def of(container: Container) -> State:
        attributes: dict[str, Any] = container.attrs
        state = attributes["State"]
        return State(
            id=str(container.id),
            name=str(container.name),
            host=container.labels.get("mtls-lab.host", ""),
            service=container.labels.get("mtls-lab.service", ""),
            status=state["Status"],
            health=(state.get("Health") or {}).get("Status"),
            restarts=attributes.get("RestartCount", 0),
            exit_code=state.get("ExitCode", 0),
        )

    @property
    def ready(self) -> bool:
        return self.status == "running" and self.health in (None, "healthy")

    @property
    def starts_over(self) -> bool:
        """Whether it gives up again and again: between two tries it runs for a moment."""
        return self.status == "restarting" or (self.restarts > 0 and self.health == "starting")

    @property
    def broken(self) -> bool:
        given_up = self.status in ("exited", "dead") or self.health == "unhealthy"
        return given_up or self.restarts >= RESTARTS_OF_A_BROKEN_CONTAINER


def diagnose(container: Container) -> str:
    """What a person needs to see of a container that does not work: its state, its health check, its last words."""
    container.reload()
    state = State.of(container)
    facts = container.attrs["State"]
    lines = [f"{state.name}: {state.health or state.status}, exit code {facts['ExitCode']}, {state.restarts} restarts"]
    if facts.get("OOMKilled"):
        lines.append("  it was killed because it ran out of memory")
    if checks := (facts.get("Health") or {}).get("Log"):
        lines.append(
            f"  health check, exit code {checks[-1]['ExitCode']}: {checks[-1]['Output'].strip() or '(no output)'}"
        )
    if log := bytes(container.logs(tail=LAST_LINES)).decode(errors="replace").strip():
        lines.append("  last log lines:")
        lines += [f"    {line}" for line in log.splitlines()]
        lines += [f"  that means: {line}" for line in last_words.meaning(log, around(container))]
    return "\n".join(lines)


def not_running(lab: Lab, state: State) -> str:
    """Why a gateway takes no calls, and what to do."""
    if state.status == "paused":
        return f"{state.name} is paused: it runs, and answers nobody; `mtls-lab up` lets it go on"
    status = "restarting" if state.starts_over else state.status
    container = next((one for one in everywhere(lab) if one.id == state.id), None)
    said = gave_up(container) if container is not None else ()
    return "\n".join([f"{state.name} is {status}; run `mtls-lab up` again", *(f"  {line}" for line in said)])


def gave_up(container: Container) -> tuple[str, ...]:
    """Why nginx does not run in a container, in its own words, and what they mean; nothing where it did not say."""
    log = bytes(container.logs(tail=LAST_LINES)).decode(errors="replace")
    said = last_words.emergency(log)
    if not said:
        return ()
    return (f"[emerg] {said}", *(f"that means: {line}" for line in last_words.meaning(log, around(container))))


def complaints(lab: Lab) -> Mapping[tuple[str, str], tuple[str, ...]]:
    """(host, service) of each container that does not run as it should -> why, as far as it has said so."""
    found = [(one, State.of(one)) for one in everywhere(lab)]
    halted = [(one, state) for one, state in found if state.status in ENDED or state.starts_over]
    told = {(state.host, state.service): gave_up(one) for one, state in halted}
    return {at: lines for at, lines in told.items() if lines}


def around(container: Container) -> Around:
    """What is around a container, for what its last words mean."""
    labels = [f"{name}={container.labels.get(name, '')}" for name in OWN_LABELS]
    client: Any = container.client
    found = client.containers.list(all=True, filters={"label": labels}, ignore_removed=True)
    others = [one for one in found if one.id != container.id]
    networks = set(container.attrs["NetworkSettings"]["Networks"])
    user = str(container.attrs["Config"].get("User", "")).partition(":")[0]
    return Around(
        services={str(one.labels.get("mtls-lab.service", "")): str(one.status) for one in others},
        shared=frozenset(
            str(one.labels.get("mtls-lab.service", ""))
            for one in others
            if networks & set(one.attrs["NetworkSettings"]["Networks"])
        ),
        user=int(user) if user.isdigit() else None,
        mounts={one["Destination"]: Path(one["Source"]) for one in container.attrs["Mounts"] if one["Type"] == "bind"},
    )


@dataclass(frozen=True)
class Survey:
    """A lab as its engines see it.  lost: hosts whose engine cannot be used -> why."""

    running: RunningLab
    states: tuple[State, ...]
    places: Places
    lost: Mapping[str, NoEngine]

    @property
    def reasons(self) -> str:
        """Why engines cannot be used, a line for each."""
        return "\n".join(dict.fromkeys(str(error) for error in self.lost.values()))


def running(lab: Lab, hosts: Collection[str] | None = None) -> RunningLab:
    """Where the lab listens; NotReady where a gateway is not running.  hosts: those that have to, if not all."""
    seen = survey(lab)
    gateways = {state.host: state for state in seen.states if state.service == "gateway"}
    for host in lab.topology.hosts if hosts is None else hosts:
        if host in seen.lost:
            raise seen.lost[host]
    wanted = list(lab.topology.hosts if hosts is None else hosts)
    if absent := [lab.project(host) for host in wanted if host not in gateways]:
        raise NotReady(f"{' and '.join(absent)} {'are' if absent[1:] else 'is'} not up; run `mtls-lab up` first")
    stopped = [gateways[host] for host in wanted if gateways[host].status != "running" or gateways[host].starts_over]
    if stopped:
        raise NotReady("\n".join(not_running(lab, gateway) for gateway in stopped))
    return seen.running


def look(lab: Lab) -> tuple[RunningLab, tuple[State, ...]]:
    """Where the lab listens, as far as it does, and its containers; NoEngine where an engine cannot be used."""
    found = survey(lab)
    if found.lost:
        raise NoEngine(found.reasons)
    return found.running, found.states


def survey(lab: Lab) -> Survey:
    """Where the lab listens and what runs, as far as its engines answer."""
    places = placement.read(lab.placement)
    found = machines.find(lab.topology, places)
    here = everywhere(lab, found)
    gateways = {host_of(c.labels): c for c in here if c.labels.get("mtls-lab.service") == "gateway"}
    endpoints = {host: endpoint(lab.topology, host, places, gateways.get(host)) for host in lab.topology.hosts}
    up = {host for host, gateway in gateways.items() if gateway.status == "running"}
    cut = placement.cut(lab.topology, places, found.together) | {
        pair for pair in placement.calls(lab.topology) if not up.issuperset(pair)
    }
    seen = RunningLab(lab.topology, lab.instance, endpoints, lab.authorities, lab.identities, cut)
    return Survey(seen, tuple(State.of(container) for container in here), places, found.lost)


def endpoint(topology: Topology, host: str, places: Places, gateway: Container | None) -> Endpoint:
    """Where a host's gateway listens, as seen from this machine."""
    ports = gateway.ports if gateway is not None else {}
    place = places.get(host)
    return Endpoint(
        address=(place.address or topology.hosts[host].domain) if place is not None else "127.0.0.1",
        http=published(ports, "80/tcp"),
        https=published(ports, "443/tcp"),
        passed={port: published(ports, f"{port}/tcp") for port in passed_ports(topology, host)},
    )


def published(ports: Mapping[str, Any], port: str) -> int | None:
    bindings = ports.get(port) or ()
    return next((int(binding["HostPort"]) for binding in bindings), None)


def everywhere(lab: Lab, found: Machines | None = None) -> list[Container]:
    """The lab's containers on all machines that answer, each where it belongs."""
    found = found or machines.find(lab.topology, placement.read(lab.placement))
    return [
        container
        for machine in found.reached
        for container in containers(machine.client, lab)
        if host_of(container.labels) in stacks_of(lab, machine)
    ]


def stacks_of(lab: Lab, machine: Machine) -> tuple[str, ...]:
    """The hosts of a machine, and what else of the lab's belongs on this one."""
    own = [stack for stack in lab.stacks if stack not in lab.topology.hosts] if machine.own else []
    return (*machine.hosts, *own)


def running_hosts(lab: Lab, found: Machines) -> list[str]:
    up = {host_of(c.labels) for c in everywhere(lab, found) if c.labels.get("mtls-lab.service") == "gateway"}
    return [host for host in lab.topology.hosts if host in up]


def has_chosen_ports(lab: Lab, found: Machines, host: str) -> bool:
    """Whether a host was brought up on ports that Docker chose."""
    gateway = container_of(found.of(host).client, lab, host, "gateway")
    bindings = gateway.attrs["HostConfig"]["PortBindings"] or {}
    return any(binding["HostPort"] in ("", "0") for asked in bindings.values() for binding in asked or ())


def alarm(lab: Lab) -> None:
    """Raises NotReady where a container of the lab is broken."""
    if broken := [container for container in everywhere(lab) if State.of(container).broken]:
        raise NotReady("\n".join(diagnose(container) for container in broken))


def containers(client: DockerClient, lab: Instance, **labels: str) -> list[Container]:
    """Those of a lab, by name.  labels: what theirs have to say, such as host and service."""
    wanted = [*label_filters(lab), *(f"mtls-lab.{name}={value}" for name, value in labels.items())]
    return sorted(
        client.containers.list(all=True, filters={"label": wanted}, ignore_removed=True),
        key=lambda container: str(container.name),
    )


def container_of(client: DockerClient, lab: Lab, host: str, service: str) -> Container:
    for container in containers(client, lab, host=host, service=service):
        return container
    raise NotReady(f"{lab.project(host)} has no {service} container; is the lab up? (`mtls-lab up`)")


def folder_of(container: Container) -> Path | None:
    """The folder of the stack that a container was started from."""
    folder = container.labels.get("com.docker.compose.project.working_dir", "")
    return Path(folder) if folder else None


def mounted(lab: Lab, host: str, target: str) -> Path:
    """The folder on this machine that a host's gateway has mounted somewhere."""
    gateway = container_of(engine.connect(), lab, host, "gateway")
    return Path(next(mount["Source"] for mount in gateway.attrs["Mounts"] if mount["Destination"] == target))
