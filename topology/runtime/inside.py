"""Inside of a running lab: what its containers may do, hold and reach, as the engine and the kernel tell.

What has to be asked inside is asked with the container's own shell; where an image has none, from a throw-away
container beside it that shares its processes and its network.  Nothing is written there, and nobody gets more rights.
"""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from topology.errors import NotReady
from topology.runtime import execution, logs, looking, machines, placement
from topology.runtime.lab import suffix
from topology.runtime.running import RunningLab

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container as Container  # proof names the type, and not the engine

GATEWAY = "gateway"
PATIENCE_SECONDS = 5
"""How long a gateway's log may take to arrive."""

PROBE_SECONDS = 20
"""After which a throw-away container ends by itself, whoever started it."""

LISTENING = "0A"
"""The state of a socket in /proc/net/tcp that accepts connections."""

END = "-all-is-said-"

NEEDED = """
type find xargs grep cat base64 timeout >/dev/null 2>&1 && grep -qP x <<< x || exit 127
"""
"""Every script begins with this: tools that an image may have, or lack like a shell."""

KEYS = r"""
export LC_ALL=C
pem='-----BEGIN [A-Z ]*PRIVATE KEY-----' der='\A\x30(\x81.|\x82..|[\x00-\x7f])\x02\x01[\x00\x01][\x02\x04\x30]'
find "$1/" \( -path "$1/proc" -o -path "$1/sys" -o -path "$1/dev" \) -prune \
    -o -type f -size -64k -readable -print0 2>/dev/null |
xargs -0 grep -lsaP -- "$pem|$der" |
while IFS= read -r file; do printf '%s\t%s\n' "${file#"$1"}" "$(base64 -w0 "$file")"; done
"""
"""Small files with a private key, in PEM or DER (PKCS #8, PKCS #1, SEC 1): its path, and its content."""

EXPOSED = r"""
folder="$1/etc/nginx/certificates/"
find "$folder" -type f -perm /077 -print0 | xargs -0 --no-run-if-empty grep -lsa -- 'PRIVATE KEY' |
while IFS= read -r file; do echo "${file#"$folder"}"; done
"""
"""Private keys of a gateway that its group or everybody may read."""

OPEN = r"""
patience=$2
shift 2
for door; do
    ( timeout "$patience" bash -c "exec 3<>/dev/tcp/${door%:*}/${door##*:}" 2>/dev/null && echo "$door" ) &
done
wait
"""
"""Which of some addresses, `ADDRESS:PORT`, accept a connection within some seconds."""

ASK = r"""
exec 3<>"/dev/tcp/$2/$3" || exit
printf '%s' "$4" >&3
timeout 10 cat <&3
"""
"""What a server answers to bytes that are sent to it, until it closes the connection."""


@dataclass(frozen=True)
class Rights:
    """What a container may do: facts of the kernel about its first process, and what the engine was asked for.

    capabilities: all sets of them together, as one number; beyond: what was asked for that no service needs.
    """

    users: tuple[int, ...]
    capabilities: int
    no_new_privileges: bool
    read_only: bool
    beyond: tuple[str, ...]


def containers(lab: RunningLab, **labels: str) -> dict[str, Container]:
    """`host/service` -> container, of all that runs of a lab's hosts.  NoEngine where an engine cannot be used.

    labels: what theirs have to say, such as host and service; engines take their time to tell of each.
    """
    file = lab.authorities.with_name(f"placement{suffix(lab)}.json")
    found = machines.find(lab.topology, placement.read(file)).insist()
    return {
        f"{container.labels['mtls-lab.host']}/{container.labels['mtls-lab.service']}": container
        for machine in found.reached
        for container in looking.containers(machine.client, lab, **labels)
        if container.labels.get("mtls-lab.host") in machine.hosts and container.status == "running"
    }


# What a container is, as the engine tells


def networks(one: Container) -> dict[str, str]:
    """The networks that a container is on, and its address there; the lab's own by what they are for."""
    lab, instance, project = (
        one.labels.get(label, "") for label in ("mtls-lab.lab", "mtls-lab.instance", "com.docker.compose.project")
    )
    known = {f"{project}_inside": "inside", f"{lab}-internet{'-' * bool(instance)}{instance}": "internet"}
    found: Mapping[str, Any] = one.attrs["NetworkSettings"]["Networks"]
    return {known.get(name, name): str(settings["IPAddress"]) for name, settings in sorted(found.items())}


def members(one: Container) -> tuple[str, ...]:
    """Who is on the network inside a container's host: services of the host, others by their container's name."""
    project, client = one.labels["com.docker.compose.project"], engine_of(one)
    with in_words(one):
        network = client.networks.get(f"{project}_inside")
        found = client.containers.list(filters={"label": f"com.docker.compose.project={project}"}, ignore_removed=True)
    own = {other.id: str(other.labels.get("mtls-lab.service", other.name)) for other in found}
    there: Mapping[str, Any] = network.attrs["Containers"] or {}
    return tuple(own.get(key, str(member["Name"])) for key, member in there.items())


def published(one: Container) -> tuple[tuple[int, str], ...]:
    """The ports of a container that are published, or are to be, and the address of the machine where they are.

    An engine publishes nothing of a container that is on internal networks alone, until it joins another one.
    """
    found: Sequence[Mapping[str, Any]] = (one.ports, one.attrs["HostConfig"]["PortBindings"] or {})
    doors = {
        (int(port.partition("/")[0]), binding["HostIp"] or placement.EVERYWHERE)
        for bindings in found
        for port, asked in bindings.items()
        for binding in asked or ()
    }
    return tuple(sorted(doors))


def mounts(one: Container) -> tuple[str, ...]:
    """The folders and files of its machine that a container sees."""
    return tuple(str(mount["Source"]) for mount in one.attrs["Mounts"] if mount.get("Type") == "bind")


# What the kernel tells, inside


def rights(one: Container) -> Rights:
    """What the first process of a container may do."""
    status, _, mounted = ran(one, "cat /proc/1/status; echo; cat /proc/1/mounts").partition("\n\n")
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    roots = [line.split() for line in mounted.splitlines() if line.split()[1] == "/"]
    sets = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    held = 0
    for name in sets:
        held |= int(facts[name], 16)
    return Rights(
        users=tuple(int(user) for user in (*facts["Uid"].split(), *facts["Gid"].split())),
        capabilities=held,
        no_new_privileges=facts["NoNewPrivs"].strip() == "1",
        read_only=bool(roots) and all("ro" in root[3].split(",") for root in roots),
        beyond=asked_beyond(one.attrs["HostConfig"], one.attrs["Config"]),
    )


def asked_beyond(settings: Mapping[str, Any], image: Mapping[str, Any]) -> tuple[str, ...]:
    """What the engine was asked for, or not told to take away: in words."""
    wrong = {
        f"user {image['User'] or 'root'}": image["User"].partition(":")[0] in ("", "0", "root"),
        "privileged": settings["Privileged"],
        f"capabilities added: {', '.join(settings['CapAdd'] or ())}": settings["CapAdd"],
        "capabilities not dropped": [one.upper() for one in settings["CapDrop"] or ()] != ["ALL"],
        "new privileges not ruled out": "no-new-privileges:true" not in (settings["SecurityOpt"] or ()),
        "writable root file system": not settings["ReadonlyRootfs"],
        "its machine's devices": settings["Devices"],
        "its machine's network": settings["NetworkMode"] == "host",
        "its machine's processes": settings["PidMode"] == "host",
        "its machine's memory": settings["IpcMode"] == "host",
    }
    return tuple(words for words, is_so in wrong.items() if is_so)


def has_loaded(one: Container, library: str) -> bool:
    """Whether a library, by its file's name, is part of the first process of a container."""
    return f"/{library}\n" in ran(one, "cat /proc/1/maps")


def keys(one: Container) -> tuple[tuple[str, bytes], ...]:
    """Every file inside of a container that holds what looks like a private key and that its user can read."""
    lines = (line.partition("\t") for line in ran(one, KEYS).splitlines())
    return tuple((path, base64.b64decode(content)) for path, _, content in lines)


def exposed_keys(one: Container) -> tuple[str, ...]:
    """The private keys among a gateway's certificates that others than their owner may read."""
    return tuple(sorted(ran(one, EXPOSED).split()))


def listening(one: Container) -> tuple[tuple[str, int], ...]:
    """(address, port) on which a container listens for others, not for itself alone; any address is `0.0.0.0`."""
    found = set()
    for line in ran(one, "cat /proc/net/tcp /proc/net/tcp6 2>/dev/null").splitlines():
        fields = line.split()
        if len(fields) > 3 and fields[3] == LISTENING:
            words, _, port = fields[1].rpartition(":")
            address = kernel_address(words)
            if not address.is_loopback:
                found.add((placement.EVERYWHERE if address.is_unspecified else str(address), int(port, 16)))
    return tuple(sorted(found))


def kernel_address(words: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address as /proc/net writes it: words of 32 bits in the machine's own order (x86 and arm: little endian)."""
    packed = b"".join(bytes.fromhex(words[n : n + 8])[::-1] for n in range(0, len(words), 8))
    return ipaddress.ip_address(packed)


def reached(one: Container, doors: Iterable[str], patience: float) -> tuple[str, ...]:
    """Those of some doors, `ADDRESS:PORT`, to which a container can open a connection within some seconds."""
    return tuple(sorted(ran(one, OPEN, str(patience), *doors).split()))


def reached_from_internet(gateway: Container, doors: Iterable[str], patience: float) -> tuple[str, ...]:
    """The same for a stranger on the network that stands for the internet; it lives as long as the question takes."""
    found: Mapping[str, Any] = gateway.attrs["NetworkSettings"]["Networks"]
    internet = next(name for name in found if not name.endswith("_inside"))
    return tuple(sorted(beside(gateway, OPEN, "", str(patience), *doors, network=internet).split()))


def answer(one: Container, address: str, port: int, request: str) -> bytes:
    """What a server answers a container, all of it until the connection is closed; empty where none is opened."""
    return ran(one, ASK, address, str(port), request).encode("latin-1")


# Asking


def ran(one: Container, script: str, *arguments: str) -> str:
    """What a script prints inside of a container, which it knows as `$1`: empty, or where its files are seen.

    Raises NotReady where the container cannot be looked into.
    """
    with in_words(one):
        answer = execution.run_whole(one, ["bash", "-c", whole(script), "bash", "", *arguments], END.encode())
    if answer.code in execution.NOT_IN_THE_IMAGE:
        user, sharing = one.attrs["Config"]["User"], f"container:{one.id}"
        return beside(one, script, "/proc/1/root", *arguments, user=user, network_mode=sharing, pid_mode=sharing)
    return answer.out.decode("latin-1").removesuffix(END)


def beside(one: Container, script: str, *arguments: str, user: str = "65534:65534", **place: Any) -> str:
    """What a script prints in a container that is made for it, in the image of the lab's gateways, and then gone.

    It carries the lab's labels, so that `down` finds what a killed run has left, and ends by itself.
    Raises NotReady where it does not run.
    """
    from docker.errors import NotFound

    with in_words(one):
        created = engine_of(one).containers.create(
            gateway_image(one),
            ["timeout", str(PROBE_SECONDS), "bash", "-c", whole(script), "bash", *arguments],
            user=user or "0",
            labels={name: one.labels.get(name, "") for name in ("mtls-lab.lab", "mtls-lab.instance")},
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges:true"],
            **place,
        )
        try:
            created.start()
            created.wait()
            return printed_by(created)
        finally:
            with contextlib.suppress(NotFound):  # somebody took the lab down
                created.remove(force=True)


def printed_by(ended: Container) -> str:
    """All that a container has printed; engines hand out the last of it late."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (said := bytes(ended.logs(stdout=True, stderr=False)).decode("latin-1")).endswith(END):
        if time.monotonic() > deadline:
            raise NotReady(f"{ended.name} did not do what it was made for: {said[-200:]}")
        time.sleep(0.05)
    return said.removesuffix(END)


def whole(script: str) -> str:
    """A script that says when it has said everything, however it ends."""
    return f"{NEEDED}(\n{script}\n)\nprintf %s {END}"


@contextlib.contextmanager
def in_words(one: Container) -> Iterator[None]:
    """Turns what an engine refuses into NotReady."""
    from docker.errors import APIError

    try:
        yield
    except APIError as error:
        raise NotReady(f"{one.name} cannot be looked into: {error.explanation or error}") from error


def engine_of(one: Container) -> DockerClient:
    return cast("DockerClient", one.client)


def gateway_image(one: Container) -> str:
    if one.labels.get("mtls-lab.service") == GATEWAY:
        return str(one.attrs["Image"])
    wanted = {"mtls-lab.service": GATEWAY} | {
        name: one.labels.get(name, "") for name in ("mtls-lab.lab", "mtls-lab.instance")
    }
    found = engine_of(one).containers.list(
        filters={"label": [f"{k}={v}" for k, v in wanted.items()]}, ignore_removed=True
    )
    if not found:
        raise NotReady(f"no gateway runs beside {one.name}; run `mtls-lab up` again")
    return str(found[0].attrs["Image"])


# What gateways logged


def requests_seen(gateway: Container, ids: Collection[str], since: float) -> dict[str, Mapping[str, Any]]:
    """What a gateway's log says of some requests: id -> fields, without those that it says nothing of.

    since: seconds since 1970.  Engines hand out the last lines late: they are waited for.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found: dict[str, Mapping[str, Any]] = {
            line.access["request_id"]: line.access
            for line in logs.read(gateway, since)
            if line.access is not None and line.access["request_id"] in ids
        }
        if len(found) == len(ids) or time.monotonic() > deadline:
            return found
        time.sleep(0.05)
