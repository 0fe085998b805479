"""What is started and stopped: up, down, reload, exec.  The one place that runs Compose.

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
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

from topology.description.model import Host
from topology.errors import InvalidInput, NoEngine, NotReady
from topology.generation import acme as acme_plan
from topology.generation import certificates, planning, rendering, storing, writing
from topology.generation.planning import Surroundings
from topology.runtime import (
    acme,
    claims,
    conflicts,
    engine,
    execution,
    last_words,
    looking,
    machines,
    networking,
    placement,
    shipping,
)
from topology.runtime.conflicts import NetworkTaken, PortTaken
from topology.runtime.lab import Lab, host_of, label_filters
from topology.runtime.machines import Machine
from topology.runtime.preparation import (
    ACME_INTERVAL,
    common_variables,
    forget_override,
    gateway_owner,
    nginx_folder,
    prepare,
    provide_images,
    surroundings_of,
    variables,
)
from topology.runtime.progress import SILENT, Progress
from topology.runtime.running import RunningLab
from topology.runtime.task import Prove, StartHost, Task, proves_nothing

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container
    from docker.models.networks import Network

READY_SECONDS = 180
RELOAD_SECONDS = 30
LOOK_SECONDS = 0.2
"""How long it takes at most until a container that became healthy is seen to be."""

WAKING_SECONDS = 15
"""How long what was paused may take until its health check passes again: some of the checks' intervals."""

STOP_SECONDS = 10
NETWORK_ATTEMPTS = 4
"""How often networks are chosen for a start, where others take them in between."""

STAMP = "/tmp/loaded"  # noqa: S108 - inside the container, in its memory file system


# Up


def up(
    lab: Lab,
    *,
    choose_ports: bool = False,
    prove: Prove = proves_nothing,
    start_host: StartHost | None = None,
    progress: Progress = SILENT,
) -> RunningLab:
    """Generates, issues, builds, starts; returns when all containers are healthy and the lab is proven.

    Hosts that were deployed are brought up where they were deployed.
    choose_ports: Docker chooses the published ports of those that were not.
    prove: raises where the running lab does not answer as it should; start_host: starts one host's stack, if not with
    Compose as here.
    Where a host was down before, a failure or an interruption leaves nothing of it running; where it was up, what ran
    keeps running.  Raises InvalidInput, NoEngine, NotReady.
    """
    values = environment_values(lab)
    machines.find(lab.topology, placement.read(lab.placement)).insist()
    with exclusively(lab, progress):
        places = placement.read(lab.placement)
        found = machines.find(lab.topology, places).insist()
        placement.refuse_clashes(lab.topology, places, found.together)
        chosen = [host for host in lab.topology.hosts if choose_ports and host not in places]
        task = Task(lab, places, found, chosen, values, prove, start_host or compose_up, progress)
        lab_up = bring_up(task, list(lab.topology.hosts))
        remove_strays(task)
        say_what_is_cut(task)
        if departed := places.keys() - lab.topology.hosts.keys():
            placement.remember(lab.placement, {host: place for host, place in places.items() if host not in departed})
        forget_alteration(lab)
        return lab_up


def bring_up(task: Task, hosts: Sequence[str], prove: Sequence[str] = ()) -> RunningLab:
    """Brings hosts up, each on its machine, and returns when they are healthy and proven.

    prove: hosts whose routes have to answer, if not the same.
    """
    lab, progress = task.lab, task.progress
    working = [machine for machine in task.machines.reached if set(machine.hosts) & set(hosts)]
    for machine in working:
        refuse_foreign(machine.client, lab)
    before = {machine: looking.containers(machine.client, lab) for machine in working}
    if asked := [h for h in hosts if h not in task.chosen_ports and h not in task.places]:
        refuse_taken_ports(task.machines.of(asked[0]).client, lab, asked)
    plan = planning.plan(lab.description)
    write_stacks(lab, plan, progress)
    issue_certificates(lab, plan, progress)
    for machine in working:
        provide_images(machine, plan, hosts, progress)
    tried: set[IPv4Network] = set()
    left, image = NETWORK_ATTEMPTS, plan.hosts[0].gateway_image
    while True:
        surroundings = surroundings_of(lab, task.places, task.machines, working, image, tried)
        try:
            return start_and_prove(task, working, before, surroundings, hosts, prove)
        except NetworkTaken as error:
            left -= 1
            if not left:
                raise
            progress.step(f"network {error.network}: another one took its addresses; choosing others")
            tried |= {net.subnet for one in surroundings.values() for net in (one.internet, one.inside)}


def start_and_prove(
    task: Task,
    working: Sequence[Machine],
    before: Mapping[Machine, Sequence[Container]],
    surroundings: Mapping[str, Surroundings],
    hosts: Sequence[str],
    prove: Sequence[str],
) -> RunningLab:
    """The second half of `bring_up`, once it is decided which networks the hosts run in.

    before: what ran on each machine.  A failure leaves that, and nothing new.
    """
    lab, progress = task.lab, task.progress
    plan = planning.plan(lab.description, surroundings)
    try:
        for machine in working:
            wake(machine.client, lab)
            prepare(task, machine, plan, surroundings, hosts)
        start_acme_server(task, plan, surroundings)
        start(task, surroundings, hosts)
        obtain_certificates(task, hosts)
        wait_until_healthy(task, [*hosts, acme_plan.FOLDER])
        refresh_gateways(task, surroundings, hosts, {c.id for found in before.values() for c in found})
        for machine in working:
            shipping.remove_unused(machine.client, label_filters(lab))
        lab_up = looking.running(lab, hosts)
        task.prove(lab_up, prove or hosts)
    except BaseException:
        for machine in working:
            for line in take_back(machine.client, lab, before[machine]):
                progress.step(line)
        raise
    return lab_up


def forget_alteration(lab: Lab) -> None:
    """Whatever a killed run had changed is gone."""
    if lab.altered.is_file():
        writing.remove(lab.altered)


def wake(client: DockerClient, lab: Lab) -> None:
    """Lets go on what was paused: Compose neither starts nor replaces it.

    Health checks failed meanwhile, and would have it taken for broken: returns when one has had its chance again.
    """
    woken = [container for container in looking.containers(client, lab) if container.status == "paused"]
    for container in woken:
        container.unpause()
    deadline = time.monotonic() + WAKING_SECONDS
    while any(looking.State.of(container).health == "unhealthy" for container in woken):
        if time.monotonic() > deadline:
            return
        time.sleep(LOOK_SECONDS)
        for container in woken:
            container.reload()


def say_what_is_cut(task: Task) -> None:
    for caller, called in sorted(placement.cut(task.lab.topology, task.places, task.machines.together)):
        task.progress.step(f"{caller} calls {called}, which is not deployed: until it is, no call arrives there")


def environment_values(lab: Lab) -> dict[str, str]:
    """What the topology takes from the caller's environment; InvalidInput where that is not set, or makes no sense."""
    interval = os.environ.get(ACME_INTERVAL) or "1"
    if not (interval.isascii() and interval.isdecimal()) or int(interval) == 0:
        raise InvalidInput(f"{ACME_INTERVAL}={interval}: not a number of seconds; write one such as 43200, or unset it")
    wanted = planning.from_environment(lab.topology)
    if missing := [name for name in wanted if name not in os.environ]:
        raise InvalidInput(
            f"{lab.description.file}: services take {', '.join(missing)} from the environment; set it there"
        )
    return {name: os.environ[name] for name in wanted}


@contextlib.contextmanager
def exclusively(lab: Lab, progress: Progress) -> Iterator[None]:
    """One command that writes a lab at a time; a second one waits.

    Everybody may take the lock: after `sudo mtls-lab up` the file is root's, and `generate` need not be.
    """
    from filelock import FileLock, Timeout

    writing.make_folder(lab.folder)
    file = lab.folder / ".lock"
    lock = FileLock(file, mode=0o666)
    with writing.failing_as_not_written(file):
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
            folder = looking.folder_of(container)
            if folder is not None and folder != lab.folder / host:
                raise InvalidInput(
                    f"project {lab.project(host)} is already running from {folder}; "
                    "take it down there, or give this one another name with --instance"
                )


def refuse_taken_ports(client: DockerClient, lab: Lab, hosts: Collection[str]) -> None:
    """A clear line before anything is started, instead of the engine's in the middle of it."""
    ours = own_ports(client, lab)
    taken = [
        f"127.0.0.1:{port} is taken (hosts.{name}.{field})"
        for name in hosts
        for field, port in published_fields(lab.topology.hosts[name])
        if port is not None and port not in ours and is_taken(port)
    ]
    if taken:
        raise NotReady("; ".join(taken) + "; free it, choose another in the topology, or use --ports auto")


def own_ports(client: DockerClient, lab: Lab) -> set[int]:
    """The ports of this machine that the lab has already."""
    return {
        int(binding["HostPort"])
        for container in looking.containers(client, lab)
        for bindings in container.ports.values()
        for binding in bindings or ()
    }


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
    """The checked-in files."""
    for difference in writing.synchronise(lab.folder, rendering.render(plan)):
        progress.step(f"wrote {lab.folder.name}/{difference.path}")


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
    """Writes a lab's certificates, in an order that survives a kill.  files: the complete set.

    Keys in a host's folder belong to the user that the gateways run as.  What is outdated goes; what was never the
    lab's, or cannot be made again, stays.
    """
    for host in lab.stacks:
        writing.make_folder(lab.certificates(host))
    found = certificates_on_disk(lab)
    steps = storing.steps(found, files, lab.topology.name)
    changes = [change_of(lab, step) for step in steps]
    writing.change_all([change for change in changes if change.content is None or not writing.is_made(change)])
    for path in found.keys() - {step.path for step in steps}:
        if not (lab.folder / path).is_relative_to(lab.authorities):
            progress.step(f"{lab.folder / path}: is not the lab's, and left alone")


def change_of(lab: Lab, step: storing.Step) -> writing.Change:
    ours = step.path.partition("/")[0] in (lab.authorities.name, lab.identities.name)
    owner = None if ours else gateway_owner()
    return writing.Change(lab.folder / step.path, step.content, certificates.mode(step.path), owner)


def read_certificates(lab: Lab) -> dict[str, bytes]:
    """A lab's certificates and keys: path below its folder -> content.  InvalidInput where one cannot be read."""
    return storing.recovered(certificates_on_disk(lab))


def certificates_on_disk(lab: Lab) -> dict[str, bytes]:
    """The same, as a killed run may have left them."""
    folders = [lab.authorities, lab.identities, *(lab.certificates(host) for host in lab.stacks)]
    files = [path for folder in folders for path in writing.files_below(folder)]
    try:
        return {str(path.relative_to(lab.folder)): path.read_bytes() for path in files}
    except OSError as error:
        raise InvalidInput(
            f"{error.filename}: cannot be read: {error.strerror}; run this as the user who ran `mtls-lab up`"
        ) from error


def start_acme_server(task: Task, plan: planning.Plan, surroundings: Mapping[str, Surroundings]) -> None:
    """Starts the lab's own ACME server, if it has one, and has those who trust it take up its root."""
    if plan.acme_server is None:
        return
    lab, machine = task.lab, task.machines.of(next(iter(surroundings)))
    stamp = hashlib.sha256(fingerprint(lab.certificates(acme_plan.FOLDER))).hexdigest()
    values = common_variables(lab, acme_plan.FOLDER, next(iter(surroundings.values())).internet)
    compose_up(lab, acme_plan.FOLDER, values | {"MTLS_LAB_CERTIFICATES_HASH": stamp})
    server = looking.container_of(machine.client, lab, acme_plan.FOLDER, acme_plan.SERVER)
    issue_certificates(lab, plan, task.progress, acme.read_root(server, plan.acme_server))
    task.progress.step(f"{acme_plan.FOLDER}: the lab's ACME server answers")


def obtain_certificates(task: Task, hosts: Collection[str]) -> None:
    """Has the certbots of hosts see to their certificates, and their gateways take them up."""
    for host in acme_plan.clients(task.lab.topology):
        if host in hosts:
            client = task.machines.of(host).client
            task.progress.step(acme.obtain(looking.container_of(client, task.lab, host, "certbot"), host))
            acme.await_gateway(looking.container_of(client, task.lab, host, "gateway"))


def start(task: Task, surroundings: Mapping[str, Surroundings], hosts: Sequence[str]) -> None:
    """Starts the hosts' stacks, in parallel."""

    def start_one(host: str) -> None:
        try:
            task.start_host(task.lab, host, variables(task, host, surroundings[host]) | dict(task.values))
        except PortTaken as taken:
            fields = {port: f"hosts.{host}.{field}" for field, port in published_fields(task.lab.topology.hosts[host])}
            raise PortTaken(taken.address, taken.port, fields.get(taken.port, "")) from taken
        task.progress.step(f"{host}: containers started")

    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(start_one, host) for host in hosts]:
            done.result()


def compose_up(lab: Lab, host: str, values: Mapping[str, str]) -> None:
    options = ["--detach", "--no-build", "--remove-orphans", "--quiet-pull"]
    run_compose([*compose_command(lab, host), "up", *options], values)


def run_compose(
    command: list[str],
    values: Mapping[str, str],
    *,
    check: bool = True,
    said_to_it: bytes | None = None,
    undisturbed: bool = False,
) -> subprocess.CompletedProcess[bytes]:
    """Runs Compose with what the Compose file takes from the environment.

    said_to_it: its standard input; undisturbed: a Ctrl-C on the terminal does not reach it.
    Where it failed and check is set, raises NetworkTaken, PortTaken, or NotReady with its last lines.
    """
    done = subprocess.run(
        command, env=compose_environment(values), capture_output=True, check=False, input=said_to_it,
        start_new_session=undisturbed,
    )  # fmt: skip
    if check and done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        if conflict := conflicts.found_in(said):
            raise conflict
        last = "\n".join(said.splitlines()[-12:])
        raise NotReady(f"`{' '.join(command)}` failed:\n{last}")
    return done


def compose_command(lab: Lab, host: str) -> list[str]:
    """How Compose is started for one host, up to the subcommand."""
    folder = lab.folder / host
    files = [folder / "compose.yaml", *([lab.override(host)] if lab.override(host).is_file() else [])]
    return [
        *engine.compose_command(), "--project-name", lab.project(host),
        "--project-directory", str(folder), *(word for file in files for word in ("--file", str(file))),
    ]  # fmt: skip


def compose_environment(values: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment with the values for a host, and without stray variables of ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MTLS_LAB_")} | dict(values)


def wait_until_healthy(task: Task, hosts: Collection[str]) -> None:
    """Returns when every container of these hosts is healthy; NotReady names the one that will not be."""
    deadline = time.monotonic() + READY_SECONDS
    told: set[str] = set()
    pause = 0.1
    while True:
        found = [(one, looking.State.of(one)) for one in looking.everywhere(task.lab, task.machines)]
        found = [(one, state) for one, state in found if state.host in hosts and state.service]
        if broken := [one for one, state in found if state.broken]:
            raise NotReady("\n".join(looking.diagnose(one) for one in broken))
        for _, state in found:
            if state.ready and state.name not in told:
                told.add(state.name)
                task.progress.step(f"{state.name}: {state.health or 'running'}")
        waiting = [one for one, state in found if not state.ready]
        if not waiting:
            return
        if time.monotonic() > deadline:
            raise NotReady("\n".join(looking.diagnose(one) for one in waiting))
        task.progress.detail(f"waiting for {', '.join(str(one.name) for one in waiting)}")
        time.sleep(pause)
        pause = min(pause * 1.5, LOOK_SECONDS)


def refresh_gateways(
    task: Task, surroundings: Mapping[str, Surroundings], hosts: Collection[str], before: Collection[str | None]
) -> None:
    """Sees to it that gateways serve what is on disk now.

    A deployed one mounts volumes that never change; it takes up new addresses of those that it finds through DNS.
    """
    for host in hosts:
        gateway = looking.container_of(task.machines.of(host).client, task.lab, host, "gateway")
        if host not in task.places:
            refresh_gateway(gateway, task.lab, host, surroundings[host], before, task.progress)
        elif gateway.id in before and any(
            there.reachable and not there.address for there in surroundings[host].elsewhere.values()
        ):
            reload(gateway)


def refresh_gateway(
    gateway: Container,
    lab: Lab,
    host: str,
    surroundings: Surroundings,
    before: Collection[str | None],
    progress: Progress,
) -> None:
    """Reloads a gateway whose configuration or certificates changed since it read them.

    What it has read stands as a hash in its memory file system, which is gone when the container is.  A reload drops
    no request: old workers finish theirs (nginx, "Controlling nginx").
    """
    folders = (lab.folder / host / nginx_folder(lab, host, surroundings), lab.certificates(host))
    wanted = hashlib.sha256(b"".join(fingerprint(folder) for folder in folders)).hexdigest()
    loaded = execute(gateway, ["cat", STAMP], check=False)
    if loaded.strip() == wanted:
        return
    if gateway.id in before:
        refuse_unreadable(gateway)
        reload(gateway)
        progress.step(f"{host}: gateway reloaded")
    execute(gateway, ["sh", "-c", f"echo {wanted} > {STAMP}"])


def refuse_unreadable(gateway: Container) -> None:
    """Raises NotReady where nginx would not take up the files as they are, with its words and what they mean."""
    tested = execution.run(gateway, ["nginx", "-t"])
    if tested.code:
        said = last_words.emergency(tested.told)
        means = last_words.meaning(tested.told, looking.around(gateway)) if said else ()
        told = [f"[emerg] {said}" if said else tested.told.strip(), *(f"that means: {line}" for line in means)]
        raise NotReady(
            f"{gateway.name}: nginx refuses what lies on disk, and goes on with what it read before:\n"
            + "\n".join(f"  {line}" for line in told)
        )


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


def take_back(client: DockerClient, lab: Lab, before: Sequence[Container]) -> list[str]:
    """After a failed start: nothing of hosts that were down, and of those that were up only what is new and broken.

    Returns what `remove` does.
    """
    known, were_up = {c.id for c in before}, {host_of(c.labels) for c in before}
    new = [c for c in looking.containers(client, lab) if c.id not in known]
    networks = client.networks.list(filters={"label": label_filters(lab)})
    in_the_way = remove(
        [c for c in new if host_of(c.labels) not in were_up or not looking.State.of(c).ready],
        [n for n in networks if not before or host_of(n.attrs.get("Labels") or {}) not in ("", *were_up)],
        SILENT,
        grace=1,  # nothing of a failed start is worth more, and one that is still starting may not hear
    )
    remove_volumes(client, lab, lambda found: host_of(found) not in were_up)
    shipping.remove_unused(client, label_filters(lab))
    return in_the_way


# Down


def down(lab: Lab, progress: Progress = SILENT, *, forget: bool = False) -> bool:
    """Removes all that `up` and `deploy` made but images and certificates, on every machine; False where there was
    nothing.

    forget: what is on engines that do not answer is given up.  Else it raises NoEngine for these, once all others are
    clean, and remembers them.  Raises NotReady where somebody else's container is in one of the lab's networks, once
    all else is gone.
    """
    with exclusively(lab, progress):
        places = placement.read(lab.placement)
        found = machines.find(lab.topology, places, also=[machines.THIS])
        if any(host not in places for host in found.lost):
            found.insist()
        for machine in found.reached:
            refuse_foreign(machine.client, lab)
        removed = [remove_everything(machine.client, lab, progress) for machine in found.reached]
        in_the_way = [line for _, lines in removed for line in lines]
        for host in lab.topology.hosts:
            forget_override(lab, host)
        lost = {} if forget else {host: place for host, place in places.items() if host in found.lost}
        placement.remember(lab.placement, lost)
        if lost:
            reasons = "\n".join([*in_the_way, *(str(error) for error in found.lost.values())])
            raise NoEngine(
                f"{reasons}\nwhat runs there was not removed: run `mtls-lab down` again when it answers, "
                "or, where it is gone for good, `mtls-lab down --forget`"
            )
        if in_the_way:
            raise NotReady("\n".join(in_the_way))
        claims.give_up(lab.topology.name, lab.instance)
        forget_alteration(lab)
        return any(was_there for was_there, _ in removed)


def remove_left_behind(client: DockerClient, claim: claims.Claim, progress: Progress = SILENT) -> None:
    """Removes what a run that is gone has up, without its topology.  Where its certificates may be for the world, they
    stay: these cannot be had again at will.  Raises NotReady where somebody else's container is in one of its networks.
    """
    labels = [f"mtls-lab.lab={claim.lab}", f"mtls-lab.instance={claim.instance}"]
    meant: dict[str, str | list[str] | bool] = {"label": [*labels]}
    found = client.containers.list(all=True, filters=meant, ignore_removed=True)
    volumes = client.volumes.list(filters=meant)
    own_server = any(host_of(container.labels) == acme_plan.FOLDER for container in found)
    in_the_way = remove(found, client.networks.list(filters=meant), progress)
    for volume in volumes:
        if own_server or volume.attrs["Labels"].get("mtls-lab.volume") != acme_plan.CERTIFICATES_VOLUME:
            volume.remove()
    if in_the_way:
        raise NotReady("\n".join(in_the_way))
    claims.give_up(claim.lab, claim.instance)


def remove_everything(client: DockerClient, lab: Lab, progress: Progress) -> tuple[bool, list[str]]:
    """Whether there was anything, and what `remove` returns."""
    found, networks = looking.containers(client, lab), client.networks.list(filters={"label": label_filters(lab)})
    in_the_way = remove(found, networks, progress)
    return remove_volumes(client, lab) or bool(found or networks), in_the_way


def remove_volumes(client: DockerClient, lab: Lab, among: Callable[[Mapping[str, str]], bool] = lambda _: True) -> bool:
    """Removes the lab's volumes, but those with certificates for the world: these cannot be had again at will.

    among: whether a volume with such labels is meant.
    """
    kept = {(host, acme_plan.CERTIFICATES_VOLUME) for host in acme_plan.keeps(lab.topology)}
    worthless = [
        volume
        for volume in client.volumes.list(filters={"label": label_filters(lab)})
        if among(volume.attrs["Labels"])
        and (host_of(volume.attrs["Labels"]), volume.attrs["Labels"].get("mtls-lab.volume")) not in kept
    ]
    for volume in worthless:
        volume.remove()
    return bool(worthless)


def remove_strays(task: Task) -> None:
    """Takes away what a lab has on a machine where it does not belong: hosts that left the topology, or moved."""
    lab = task.lab
    for machine in task.machines.reached:

        def strays(found: Mapping[str, str], at: Machine = machine) -> bool:
            return host_of(found) not in (("", *looking.stacks_of(lab, at)) if at.hosts else ())

        networks = machine.client.networks.list(filters={"label": label_filters(lab)})
        for line in remove(
            [container for container in looking.containers(machine.client, lab) if strays(container.labels)],
            [network for network in networks if strays(network.attrs.get("Labels") or {})],
            task.progress,
        ):
            task.progress.step(line)
        remove_volumes(machine.client, lab, strays)
        shipping.remove_unused(machine.client, label_filters(lab))


def remove(
    found: Sequence[Container], networks: Sequence[Network], progress: Progress, grace: int = STOP_SECONDS
) -> list[str]:
    """Removes containers, then networks; returns what is in the way of those that have to stay, a line each.

    grace: seconds that a container has to end by itself.
    """
    from docker.errors import NotFound

    def remove_one(container: Container) -> None:
        with contextlib.suppress(NotFound):
            container.stop(timeout=grace)
            container.remove(force=True, v=True)
            progress.step(f"{container.name}: removed")

    with ThreadPoolExecutor(max_workers=16) as pool:
        list(pool.map(remove_one, found))
    return networking.remove(networks)


def execute(container: Container, command: list[str], check: bool = True) -> str:
    """Runs a command in a container and returns what it printed; NotReady where it failed and check is set."""
    answer = execution.run(container, command)
    if check and answer.code:
        raise NotReady(
            f"{container.name}: `{' '.join(command)}` failed with exit code {answer.code}:\n{answer.told.strip()}"
        )
    return answer.told
