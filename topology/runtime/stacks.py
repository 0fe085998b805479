"""What is running: up, down, reload, exec, logs.  The one place that starts them.

Everything that belongs to a lab carries labels; by these the tool finds its own again even where the topology was
edited, its files are gone, or an earlier run was killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from topology.description.loading import Description
from topology.description.model import Host, Topology
from topology.errors import InvalidInput, NotReady
from topology.generation import acme as acme_plan
from topology.generation import certificates, planning, rendering, writing
from topology.generation.addressing import Networks
from topology.runtime import acme, engine, images, networking
from topology.runtime.progress import SILENT, Progress
from topology.runtime.running import Endpoint, RunningLab

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container
    from docker.models.networks import Network

READY_SECONDS = 180
RELOAD_SECONDS = 30
RESTARTS_OF_A_BROKEN_CONTAINER = 3
ACME_INTERVAL = "MTLS_LAB_ACME_INTERVAL"
PASSED_ON = (ACME_INTERVAL, "MTLS_LAB_ADDRESS")
"""Variables of the caller's that reach Compose files: how many seconds certbot waits between two looks at its
certificate; where a host with a certificate for the world listens, instead of 127.0.0.1."""

STAMP = "/tmp/loaded"  # noqa: S108 - inside the container, in its memory file system


@dataclass(frozen=True)
class Lab:
    """One instance of a topology, running or not.  out: the folder of all stacks, usually `compose`."""

    description: Description
    out: Path
    instance: str | None = None

    @property
    def topology(self) -> Topology:
        return self.description.topology

    @property
    def folder(self) -> Path:
        return (self.out / self.topology.name).absolute()

    @property
    def suffix(self) -> str:
        return f"-{self.instance}" if self.instance else ""

    @property
    def authorities(self) -> Path:
        return self.folder / f"authorities{self.suffix}"

    @property
    def identities(self) -> Path:
        return self.folder / f"identities{self.suffix}"

    @property
    def stacks(self) -> tuple[str, ...]:
        """The hosts, and the lab's own ACME server where it has one: each a folder and a Compose project."""
        own = (acme_plan.FOLDER,) if acme_plan.has_server(self.topology) else ()
        return (*self.topology.hosts, *own)

    def project(self, host: str) -> str:
        return f"{self.topology.name}-{host}{self.suffix}"

    def certificates(self, host: str) -> Path:
        return self.folder / host / f"certificates{self.suffix}"

    @property
    def internet(self) -> str:
        return f"{self.topology.name}-internet{self.suffix}"


StartHost = Callable[[Lab, str, Mapping[str, str]], object]
"""Starts the stack of one host, given what its Compose file takes from the environment."""


# Up


def up(
    lab: Lab,
    *,
    choose_ports: bool = False,
    prove: Callable[[RunningLab], None] = lambda _: None,
    start_host: StartHost | None = None,
    progress: Progress = SILENT,
) -> RunningLab:
    """Generates, issues, builds, starts; returns when all containers are healthy and the lab is proven.

    choose_ports: Docker chooses the published ports.
    prove: raises where the running lab does not answer as it should; start_host: starts one host's stack, if not with
    Compose as here.
    Where the lab was down before, a failure or an interruption leaves nothing running; where it was up, what ran
    keeps running.  Raises InvalidInput, NoEngine, NotReady.
    """
    values = environment_values(lab)
    client = engine.connect()
    with exclusively(lab, progress):
        refuse_foreign(client, lab)
        before = {c.id for c in containers(client, lab)}
        if not choose_ports:
            refuse_taken_ports(client, lab)
        networks = networking.choose(client, lab.topology, lab.project, lab.internet)
        plan = planning.plan(lab.description, networks)
        write_stacks(lab, plan, progress)
        issue_certificates(lab, plan, progress)
        images.ensure([images.Image(i.tag, i.folder, dict(i.arguments)) for i in plan.images], progress)
        try:
            networking.ensure_internet(client, lab.internet, networks.internet, labels(lab))
            start_acme_server(client, lab, plan, progress)
            environments = {h: variables(lab, h, networks, choose_ports) | values for h in lab.topology.hosts}
            start(lab, environments, start_host or compose_up, progress)
            for host in acme_plan.clients(lab.topology):
                progress.step(acme.obtain(container_of(client, lab, host, "certbot"), host))
                acme.await_gateway(container_of(client, lab, host, "gateway"))
            remove_departed(client, lab, progress)
            wait_until_healthy(client, lab, progress)
            for host in lab.topology.hosts:
                refresh_gateway(client, lab, host, networks, before, progress)
            lab_up = running(lab, client)
            prove(lab_up)
        except BaseException:
            take_back(client, lab, before)
            raise
        return lab_up


def environment_values(lab: Lab) -> dict[str, str]:
    """What the topology takes from the caller's environment; InvalidInput where that is not set, or makes no sense."""
    interval = os.environ.get(ACME_INTERVAL) or "1"
    if not interval.isdecimal() or int(interval) == 0:
        raise InvalidInput(f"{ACME_INTERVAL}={interval}: not a number of seconds; write one such as 43200, or unset it")
    wanted = planning.from_environment(lab.topology)
    if missing := [name for name in wanted if name not in os.environ]:
        raise InvalidInput(
            f"{lab.description.file}: services take {', '.join(missing)} from the environment; set it there"
        )
    return {name: os.environ[name] for name in wanted}


@contextlib.contextmanager
def exclusively(lab: Lab, progress: Progress) -> Iterator[None]:
    """One `up` or `down` of a lab at a time; a second one waits."""
    from filelock import FileLock, Timeout

    writing.make_folder(lab.folder)
    lock = FileLock(lab.folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress.step("waiting for another mtls-lab that works on this lab")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def refuse_foreign(client: DockerClient, lab: Lab) -> None:
    """A project of the same name that was started from another folder is not ours to change."""
    for host in lab.stacks:
        for container in client.containers.list(
            all=True, filters={"label": f"com.docker.compose.project={lab.project(host)}"}
        ):
            folder = folder_of(container)
            if folder is not None and folder != lab.folder / host:
                raise InvalidInput(
                    f"project {lab.project(host)} is already running from {folder}; "
                    "take it down there, or give this one another name with --instance"
                )


def folder_of(container: Container) -> Path | None:
    """The folder of the stack that a container was started from."""
    folder = container.labels.get("com.docker.compose.project.working_dir", "")
    return Path(folder) if folder else None


def refuse_taken_ports(client: DockerClient, lab: Lab) -> None:
    """A clear line before anything is started, instead of the engine's in the middle of it."""
    ours = {
        int(binding["HostPort"])
        for container in containers(client, lab)
        for bindings in container.ports.values()
        for binding in bindings or ()
    }
    taken = [
        f"127.0.0.1:{port} is taken (hosts.{name}.{field})"
        for name, host in lab.topology.hosts.items()
        for field, port in published_fields(host)
        if port is not None and port not in ours and is_taken(port)
    ]
    if taken:
        raise NotReady("; ".join(taken) + "; free it, choose another in the topology, or use --ports auto")


def published_fields(host: Host) -> Iterator[tuple[str, int | None]]:
    """The fields of a host that ask for a port on this machine, and the ports."""
    yield from (("publish.http", host.publish.http), ("publish.https", host.publish.https))
    for name, service in host.services.items():
        if service.tls is not None:
            yield f"services.{name}.tls.publish", service.tls.publish


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError:
            return False  # a low port that the caller may not bind, but the engine may
        except OSError:
            return True
    return False


def write_stacks(lab: Lab, plan: planning.Plan, progress: Progress) -> None:
    """The checked-in files, and, where this run's networks are not the default ones, its own gateway configuration."""
    files = rendering.render(planning.plan(lab.description))
    for difference in writing.synchronise(lab.folder, files):
        progress.step(f"wrote {lab.folder.name}/{difference.path}")
    if nginx_folder(lab, plan.networks) != "nginx":
        for host in plan.hosts:
            own = rendering.render_gateway(plan, host)
            writing.write_all(
                lab.folder / host.name / nginx_folder(lab, plan.networks),
                {path: (text.encode(), 0o644) for path, text in own.items()},
            )


def nginx_folder(lab: Lab, networks: Networks) -> str:
    """The gateways' configuration folder of this run: the checked-in one, unless the networks had to move."""
    if networks == planning.default_networks_of(lab.topology):
        return "nginx"
    return f"nginx{lab.suffix}" if lab.instance else "nginx-local"


def issue_certificates(lab: Lab, plan: planning.Plan, progress: Progress, acme_root: bytes = b"") -> None:
    """Issues what is missing or no longer fits.  acme_root: what the lab's own ACME server has said its root is."""
    existing = read_certificates(lab)
    if acme_root:
        existing[certificates.acme_root(layout(lab))] = acme_root
    issued = certificates.issue(plan.certificates, existing, datetime.now(UTC), layout(lab))
    for line in issued.changes:
        progress.step(line)
    store_certificates(lab, issued.files, progress)


def layout(lab: Lab) -> certificates.Layout:
    return certificates.Layout(
        authorities=lab.authorities.name, identities=lab.identities.name, certificates=f"certificates{lab.suffix}"
    )


def store_certificates(lab: Lab, files: Mapping[str, bytes], progress: Progress) -> None:
    """Writes a lab's certificates; keys belong to the user that the gateways run as.  files: the complete set."""
    for folder in (lab.authorities, lab.identities):
        write_certificates(lab, files, folder, None, progress)
    for host in lab.stacks:
        folder = lab.certificates(host)
        writing.make_folder(folder)
        write_certificates(lab, files, folder, gateway_owner(), progress)


def read_certificates(lab: Lab) -> dict[str, bytes]:
    folders = [lab.authorities, lab.identities, *(lab.certificates(host) for host in lab.stacks)]
    return {
        str(path.relative_to(lab.folder)): path.read_bytes()
        for folder in folders
        for path in writing.files_below(folder)
    }


def write_certificates(
    lab: Lab, files: Mapping[str, bytes], folder: Path, owner: tuple[int, int] | None, progress: Progress
) -> None:
    """The files of one folder.  What is outdated goes; what was never the lab's, or cannot be made again, stays."""
    below = {
        path: (content, certificates.mode(path))
        for path, content in files.items()
        if (lab.folder / path).is_relative_to(folder)
    }
    writing.write_all(lab.folder, below, owner)
    for file in writing.files_below(folder):
        path = str(file.relative_to(lab.folder))
        if path in below:
            continue
        if certificates.is_outdated(path):
            writing.remove(file)
        elif folder != lab.authorities:
            progress.step(f"{file}: is not the lab's, and left alone")


def gateway_owner() -> tuple[int, int] | None:
    """A key is readable by its owner alone, and a container without capabilities cannot get around that."""
    return (planning.UNPRIVILEGED_USER, planning.UNPRIVILEGED_USER) if os.geteuid() == 0 else None


def start_acme_server(client: DockerClient, lab: Lab, plan: planning.Plan, progress: Progress) -> None:
    """Starts the lab's own ACME server, if it has one, and has those who trust it take up its root."""
    if plan.acme_server is None:
        return
    stamp = hashlib.sha256(fingerprint(lab.certificates(acme_plan.FOLDER))).hexdigest()
    values = {**common_variables(lab, plan.networks), "MTLS_LAB_CERTIFICATES_HASH": stamp}
    compose_up(lab, acme_plan.FOLDER, values)
    server = container_of(client, lab, acme_plan.FOLDER, acme_plan.SERVER)
    issue_certificates(lab, plan, progress, acme.read_root(server, plan.acme_server))
    progress.step(f"{acme_plan.FOLDER}: the lab's ACME server answers")


def common_variables(lab: Lab, networks: Networks) -> dict[str, str]:
    """What every Compose file takes from outside."""
    user, group = gateway_owner() or (os.geteuid(), os.getegid())
    return {
        "MTLS_LAB_USER": f"{user}:{group}",
        "MTLS_LAB_INSTANCE": lab.instance or "",
        "MTLS_LAB_CERTIFICATES": f"certificates{lab.suffix}",
        "MTLS_LAB_INTERNET_NETWORK": lab.internet,
        "MTLS_LAB_INTERNET": networks.internet.prefix,
    }


def variables(lab: Lab, host: str, networks: Networks, choose_ports: bool) -> dict[str, str]:
    """What one host's Compose file takes from outside."""
    passed = [f"MTLS_LAB_TLS_PORT_{port}" for port in passed_ports(lab.topology, host)]
    ports = dict.fromkeys(["MTLS_LAB_HTTP_PORT", "MTLS_LAB_HTTPS_PORT", *passed], "") if choose_ports else {}
    return {
        **common_variables(lab, networks),
        "MTLS_LAB_NGINX": nginx_folder(lab, networks),
        "MTLS_LAB_INSIDE": networks.inside[host].prefix,
        **{name: os.environ[name] for name in PASSED_ON if os.environ.get(name)},
        **ports,
    }


def passed_ports(topology: Topology, host: str) -> tuple[int, ...]:
    """Ports that a host's gateway passes on to services with TLS of their own."""
    return tuple(service.tls.port for service in topology.hosts[host].services.values() if service.tls is not None)


def start(lab: Lab, values: Mapping[str, Mapping[str, str]], start_host: StartHost, progress: Progress) -> None:
    """Starts all hosts' stacks, in parallel."""

    def start_one(host: str) -> None:
        start_host(lab, host, values[host])
        progress.step(f"{host}: containers started")

    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(start_one, host) for host in lab.topology.hosts]:
            done.result()


def compose_up(lab: Lab, host: str, values: Mapping[str, str]) -> None:
    options = ["--detach", "--no-build", "--remove-orphans", "--quiet-pull"]
    run_compose([*compose_command(lab, host), "up", *options], values)


def run_compose(
    command: list[str], values: Mapping[str, str], *, check: bool = True
) -> subprocess.CompletedProcess[bytes]:
    """Runs Compose with what the Compose file takes from the environment; NotReady with its last lines where it failed
    and check is set."""
    done = subprocess.run(command, env=compose_environment(values), capture_output=True, check=False)
    if check and done.returncode:
        last = "\n".join(done.stderr.decode(errors="replace").strip().splitlines()[-12:])
        raise NotReady(f"`{' '.join(command)}` failed:\n{last}")
    return done


def compose_command(lab: Lab, host: str) -> list[str]:
    """How Compose is started for one host, up to the subcommand."""
    folder = lab.folder / host
    return [
        *engine.compose_command(), "--project-name", lab.project(host),
        "--project-directory", str(folder), "--file", str(folder / "compose.yaml"),
    ]  # fmt: skip


def compose_environment(values: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment with the values for a host, and without stray variables of ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MTLS_LAB_")} | dict(values)


def wait_until_healthy(client: DockerClient, lab: Lab, progress: Progress) -> None:
    """Returns when every container of the topology is healthy; NotReady names the one that will not be."""
    deadline = time.monotonic() + READY_SECONDS
    told: set[str] = set()
    pause = 0.1
    while True:
        states = [State.of(container) for container in containers(client, lab)]
        if broken := [state for state in states if state.broken]:
            raise NotReady("\n".join(diagnose(client, state) for state in broken))
        for state in states:
            if state.ready and state.name not in told:
                told.add(state.name)
                progress.step(f"{state.name}: {state.health or 'running'}")
        waiting = [state for state in states if not state.ready]
        if not waiting:
            return
        if time.monotonic() > deadline:
            raise NotReady("\n".join(diagnose(client, state) for state in waiting))
        time.sleep(pause)
        pause = min(pause * 1.5, 1)


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
        )

    @property
    def ready(self) -> bool:
        return self.status == "running" and self.health in (None, "healthy")

    @property
    def broken(self) -> bool:
        given_up = self.status in ("exited", "dead") or self.health == "unhealthy"
        return given_up or self.restarts >= RESTARTS_OF_A_BROKEN_CONTAINER


def diagnose(client: DockerClient, state: State) -> str:
    """What a person needs to see of a container that does not work: its state, its health check, its last words."""
    container = client.containers.get(state.id)
    facts = container.attrs["State"]
    lines = [f"{state.name}: {state.health or state.status}, exit code {facts['ExitCode']}, {state.restarts} restarts"]
    if facts.get("OOMKilled"):
        lines.append("  it was killed because it ran out of memory")
    if checks := (facts.get("Health") or {}).get("Log"):
        lines.append(
            f"  health check, exit code {checks[-1]['ExitCode']}: {checks[-1]['Output'].strip() or '(no output)'}"
        )
    if log := bytes(container.logs(tail=15)).decode(errors="replace").strip():
        lines.append("  last log lines:")
        lines += [f"    {line}" for line in log.splitlines()]
    return "\n".join(lines)


def refresh_gateway(
    client: DockerClient, lab: Lab, host: str, networks: Networks, before: set[str | None], progress: Progress
) -> None:
    """Reloads a gateway whose configuration or certificates changed since it read them.

    What it has read stands as a hash in its memory file system, which is gone when the container is.  A reload drops
    no request: old workers finish theirs (nginx, "Controlling nginx").
    """
    gateway = container_of(client, lab, host, "gateway")
    folders = (lab.folder / host / nginx_folder(lab, networks), lab.certificates(host))
    wanted = hashlib.sha256(b"".join(fingerprint(folder) for folder in folders)).hexdigest()
    loaded = execute(gateway, ["cat", STAMP], check=False)
    if loaded.strip() == wanted:
        return
    if gateway.id in before:
        execute(gateway, ["nginx", "-t"])
        reload(gateway)
        progress.step(f"{host}: gateway reloaded")
    execute(gateway, ["sh", "-c", f"echo {wanted} > {STAMP}"])


WORKERS = """\
for process in /proc/[0-9]*; do
    [ "$(tr -d '\\0' < $process/cmdline 2> /dev/null)" = "nginx: worker process" ] && echo $process
done
true
"""
"""Prints the workers that accept connections: those that finish under an old configuration say so in their title."""


def reload(gateway: Container) -> None:
    """Has nginx read its files again; returns when every new connection meets what it read.

    Raises NotReady where the old configuration stays: nginx logs why, and goes on as before.
    """
    old = set(execute(gateway, ["sh", "-c", WORKERS]).split())
    execute(gateway, ["nginx", "-s", "reload"])
    deadline = time.monotonic() + RELOAD_SECONDS
    while not (now := set(execute(gateway, ["sh", "-c", WORKERS]).split())) or now & old:
        if time.monotonic() > deadline:
            log = bytes(gateway.logs(tail=15)).decode(errors="replace").strip()
            raise NotReady(f"{gateway.name}: nginx does not take up its new configuration:\n{log}")
        time.sleep(0.05)


def fingerprint(folder: Path) -> bytes:
    digest = hashlib.sha256()
    for path in writing.files_below(folder):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.digest()


def take_back(client: DockerClient, lab: Lab, before: set[str | None]) -> None:
    """After a failed start: nothing of a lab that was down, and of one that was up only what is new and broken."""
    if not before:
        remove_everything(client, lab)
        return
    for container in containers(client, lab):
        if container.id not in before and not State.of(container).ready:
            container.remove(force=True, v=True)


# Down


def down(lab: Lab, progress: Progress = SILENT) -> bool:
    """Removes all that `up` made but images and certificates; False where there was nothing."""
    client = engine.connect()
    with exclusively(lab, progress):
        refuse_foreign(client, lab)
        return remove_everything(client, lab, progress)


def remove_everything(client: DockerClient, lab: Lab, progress: Progress = SILENT) -> bool:
    found, networks = containers(client, lab), client.networks.list(filters={"label": label_filters(lab)})
    remove(found, networks, progress)
    return remove_volumes(client, lab) or bool(found or networks)


def remove_volumes(client: DockerClient, lab: Lab) -> bool:
    """Removes the lab's volumes, but those with certificates for the world: these cannot be had again at will."""
    kept = {(host, acme_plan.CERTIFICATES_VOLUME) for host in acme_plan.keeps(lab.topology)}
    worthless = [
        volume
        for volume in client.volumes.list(filters={"label": label_filters(lab)})
        if (volume.attrs["Labels"].get("mtls-lab.host"), volume.attrs["Labels"].get("mtls-lab.volume")) not in kept
    ]
    for volume in worthless:
        volume.remove()
    return bool(worthless)


def remove_departed(client: DockerClient, lab: Lab, progress: Progress) -> None:
    """Takes away the hosts that left the topology while the lab was up."""

    def has_left(labels: Mapping[str, str]) -> bool:
        return labels.get("mtls-lab.host", "") not in ("", *lab.stacks)

    networks = client.networks.list(filters={"label": label_filters(lab)})
    remove(
        [container for container in containers(client, lab) if has_left(container.labels)],
        [network for network in networks if has_left(network.attrs.get("Labels") or {})],
        progress,
    )


def remove(found: Sequence[Container], networks: Sequence[Network], progress: Progress) -> None:
    from docker.errors import NotFound

    def remove_one(container: Container) -> None:
        with contextlib.suppress(NotFound):
            container.stop(timeout=10)
            container.remove(force=True, v=True)
            progress.step(f"{container.name}: removed")

    with ThreadPoolExecutor(max_workers=16) as pool:
        list(pool.map(remove_one, found))
    for network in networks:
        with contextlib.suppress(NotFound):
            network.remove()


# Looking


def running(lab: Lab, client: DockerClient | None = None) -> RunningLab:
    """Where the lab listens; NotReady where a gateway is not running."""
    seen, found = look(lab, client)
    gateways = {state.host: state for state in found if state.service == "gateway"}
    for host in lab.topology.hosts:
        if host not in gateways:
            raise NotReady(f"{lab.project(host)} is not up; run `mtls-lab up` first")
        if gateways[host].status != "running":
            raise NotReady(f"{gateways[host].name} is {gateways[host].status}; run `mtls-lab up` again")
    return seen


def look(lab: Lab, client: DockerClient | None = None) -> tuple[RunningLab, tuple[State, ...]]:
    """Where the lab listens, as far as it does, and its containers as the engine sees them."""
    found = containers(client or engine.connect(), lab)
    ports = {c.labels["mtls-lab.host"]: c.ports for c in found if c.labels.get("mtls-lab.service") == "gateway"}
    endpoints = {
        host: Endpoint(
            address="127.0.0.1",
            http=published(ports.get(host, {}), "80/tcp"),
            https=published(ports.get(host, {}), "443/tcp"),
            passed={port: published(ports.get(host, {}), f"{port}/tcp") for port in passed_ports(lab.topology, host)},
        )
        for host in lab.topology.hosts
    }
    states = tuple(State.of(container) for container in found)
    return RunningLab(lab.topology, lab.instance, endpoints, lab.authorities, lab.identities), states


def published(ports: Mapping[str, Any], port: str) -> int | None:
    bindings = ports.get(port) or ()
    return next((int(binding["HostPort"]) for binding in bindings), None)


def alarm(lab: Lab) -> None:
    """Raises NotReady where a container of the lab is broken."""
    client = engine.connect()
    if broken := [state for state in map(State.of, containers(client, lab)) if state.broken]:
        raise NotReady("\n".join(diagnose(client, state) for state in broken))


def containers(client: DockerClient, lab: Lab) -> list[Container]:
    return sorted(
        client.containers.list(all=True, filters={"label": label_filters(lab)}, ignore_removed=True),
        key=lambda container: str(container.name),
    )


def container_of(client: DockerClient, lab: Lab, host: str, service: str) -> Container:
    for container in containers(client, lab):
        if container.labels.get("mtls-lab.host") == host and container.labels.get("mtls-lab.service") == service:
            return container
    raise NotReady(f"{lab.project(host)} has no {service} container; is the lab up? (`mtls-lab up`)")


def mounted(lab: Lab, host: str, target: str) -> Path:
    """The folder on this machine that a host's gateway has mounted somewhere."""
    gateway = container_of(engine.connect(), lab, host, "gateway")
    return Path(next(mount["Source"] for mount in gateway.attrs["Mounts"] if mount["Destination"] == target))


def labels(lab: Lab) -> dict[str, str]:
    return {"mtls-lab.lab": lab.topology.name, "mtls-lab.instance": lab.instance or ""}


def label_filters(lab: Lab) -> list[str]:
    return [f"{name}={value}" for name, value in labels(lab).items()]


def execute(container: Container, command: list[str], check: bool = True) -> str:
    """Runs a command in a container and returns what it printed; NotReady where it failed and check is set."""
    code, output = container.exec_run(command, stream=False)
    text = cast("bytes", output).decode(errors="replace")
    if check and code:
        raise NotReady(f"{container.name}: `{' '.join(command)}` failed with exit code {code}:\n{text.strip()}")
    return text
