"""What a gateway's container sees itself: its files, its clock, who is on its networks; and calls from inside."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from topology.errors import NotReady
from topology.runtime import execution, looking, machines, placement
from topology.runtime.lab import Lab, host_of
from topology.runtime.looking import State

if TYPE_CHECKING:
    from docker.models.containers import Container

CONFIGURATION = "/etc/nginx/lab"
CERTIFICATES = "/etc/nginx/certificates"
CALL_SECONDS = 20
TICKS = 100
"""A second, as /proc counts (Linux, USER_HZ)."""

LOOK = """\
date +%s
sed -n 's/^btime //p' /proc/stat
for process in /proc/[0-9]*/stat; do
    line=$(cat "$process" 2> /dev/null) && case "$line" in *'(nginx)'*) echo "$line";; esac
done
echo
for path in $(find -L "$@" -type f ! -name '*.key' ! -name '*key.pem' 2> /dev/null); do
    echo "$MARK $(stat -L -c %Y "$path") $path"
    cat "$path"
    echo
done
echo "$MARK end"
"""
"""Clock, when the machine and each nginx process started, and all files that are no keys."""

MARK = "=== mtls-lab file"

CALL = """\
exec 3<> "/dev/tcp/$1/$2" || exit 1
printf '%s' "$3" >&3
timeout "$4" cat <&3
"""


@dataclass(frozen=True)
class File:
    """content: as the container sees it; changed: when, by its file system's clock."""

    content: bytes
    changed: datetime


@dataclass(frozen=True)
class Insides:
    """A gateway from inside.

    files: path in the container -> file; now: by its clock; started: when the newest nginx process began, which is
    when the files were read last; mounts: path in the container -> path on its machine.
    """

    files: Mapping[str, File]
    now: datetime
    started: datetime | None
    mounts: Mapping[str, Path]
    local: bool


@dataclass(frozen=True)
class Neighbour:
    """A container of a host, and its addresses on all networks."""

    state: State
    addresses: tuple[str, ...]


def gateway(lab: Lab, host: str) -> Container:
    """A host's gateway, running.  Raises NotReady, with its last words, where it is not."""
    found = machines.find(lab.topology, placement.read(lab.placement))
    if host in found.lost:
        raise found.lost[host]
    container = looking.container_of(found.of(host).client, lab, host, "gateway")
    if container.status != "running":
        raise NotReady(looking.diagnose(container))
    return container


def look(lab: Lab, host: str, more: tuple[str, ...] = ()) -> Insides:
    """What a running gateway sees.  more: further files.  Raises NotReady where it cannot be looked into."""
    container = gateway(lab, host)
    command = ["sh", "-c", f"MARK='{MARK}'\n{LOOK}", "sh", CONFIGURATION, CERTIFICATES, *more]
    answer = execution.run_whole(container, command, f"{MARK} end\n".encode())
    head, *parts, _end = answer.out.split(MARK.encode() + b" ")
    moments = head.decode(errors="replace").splitlines()
    mounts = {one["Destination"]: Path(one["Source"]) for one in container.attrs["Mounts"] if one["Type"] == "bind"}
    return Insides(
        files=dict(read(part) for part in parts),
        now=datetime.fromtimestamp(int(moments[0]), UTC),
        started=started(moments[1:]),
        mounts=mounts,
        local=host not in placement.read(lab.placement),
    )


def read(part: bytes) -> tuple[str, File]:
    head, _, content = part.partition(b"\n")
    seconds, _, path = head.decode(errors="replace").partition(" ")
    return path, File(content[:-1], datetime.fromtimestamp(int(seconds), UTC))


def started(lines: list[str]) -> datetime | None:
    """lines: the machine's start in seconds since 1970, then /proc/PID/stat of each process (proc(5), field 22)."""
    with contextlib.suppress(ValueError, IndexError):
        machine = int(lines[0])
        ticks = [int(line.rpartition(") ")[2].split()[19]) for line in lines[1:] if line]
        return datetime.fromtimestamp(machine + max(ticks) / TICKS, UTC)
    return None


def neighbours(lab: Lab, host: str) -> tuple[Neighbour, ...]:
    """The containers of a host."""
    return tuple(
        Neighbour(State.of(one), tuple(addresses(one)))
        for one in looking.everywhere(lab)
        if host_of(one.labels) == host
    )


def addresses(container: Container) -> Iterator[str]:
    networks: Mapping[str, Mapping[str, Any]] = container.attrs["NetworkSettings"]["Networks"]
    yield from (one["IPAddress"] for one in networks.values() if one.get("IPAddress"))


def call(lab: Lab, host: str, port: int, request: str) -> bytes:
    """Sends a request to a host's gateway from one of its services, or, where none can, from the gateway's own
    container.

    request: head and body as they go over the wire.  Returns what came back.  Raises NotReady where nothing did.
    """
    there = [one for one in looking.everywhere(lab) if host_of(one.labels) == host and one.status == "running"]
    inner = [one for one in there if one.labels.get("mtls-lab.service") != "gateway"]
    said = ""
    for container in (*inner, *(one for one in there if one not in inner)):
        # The gateway's own name could stand for its address on the other network.
        name = "gateway" if container in inner else inside_address(container, inner)
        command = ["bash", "-c", CALL, "bash", name, str(port), request, str(CALL_SECONDS)]
        answer = execution.run(container, command)
        if answer.out:
            return answer.out
        said = answer.err.decode(errors="replace").strip()
        if answer.code not in execution.NOT_IN_THE_IMAGE:
            break
    raise NotReady(f"{host}: nothing came back from its gateway inside: {said or 'no container there can call it'}")


def inside_address(gateway: Container, inner: list[Container]) -> str:
    """The gateway's address on the network that it has in common with its services."""
    networks: Mapping[str, Mapping[str, Any]] = gateway.attrs["NetworkSettings"]["Networks"]
    common = [one["IPAddress"] for name, one in networks.items() if name.endswith("_inside")]
    shared = {name for one in inner for name in one.attrs["NetworkSettings"]["Networks"]}
    return next(iter(common), next((one["IPAddress"] for name, one in networks.items() if name in shared), "gateway"))
