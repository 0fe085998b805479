"""What a gateway's container sees itself: its files, its clock, who is on its networks; and calls from inside."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from topology.errors import NotReady
from topology.runtime import execution, last_words, looking, machines, placement
from topology.runtime.lab import Lab, host_of
from topology.runtime.looking import State

if TYPE_CHECKING:
    from docker.models.containers import Container

CONFIGURATION = "/etc/nginx/lab"
CERTIFICATES = "/etc/nginx/certificates"
CALL_SECONDS = 20
ROUNDING = timedelta(seconds=2)
"""File systems, logs and /proc tell times in whole seconds, or a little late."""

LOOKED_BACK = 2000
"""Lines of a log in which a refusal is looked for."""

LOGGED = re.compile(r"(?P<time>[0-9]{4}/[0-9]{2}/[0-9]{2} [0-9:]{8}) \[emerg\]")
"""By the container's clock, which is in UTC."""

TICKS = 100
"""A second, as /proc counts (Linux, USER_HZ)."""

LOOK = """\
date +%s
sed -n 's/^btime //p' /proc/stat
for process in /proc/[0-9]*; do
    case "$(tr -d '\\0' < "$process/cmdline" 2> /dev/null)" in
        'nginx: master process'*|'nginx: worker process') cat "$process/stat" 2> /dev/null;;
    esac
done
echo
timeout 10 nginx -t 2>&1 | grep -F '[emerg]'
for path in $(find -L "$@" -type f ! -name '*.key' ! -name '*key.pem' 2> /dev/null); do
    echo "$MARK $(stat -L -c %Y "$path") $path"
    cat "$path"
    echo
done
echo "$MARK end"
"""
"""Clock, when the machine and each nginx process that serves started, what nginx has against the files as they are now,
and all files that are no keys.  Whoever else tests them at the same time is no process that serves."""

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
class Refused:
    """Files that a running nginx does not take up, so that it goes on with what it read before.

    said: nginx's own words; meaning: what they mean; place: file and line that it names, on this machine where they are
    there; since: when it read what it goes on with; asked: when it logged that it was asked to read these, None where
    nobody has asked it in a way that it logs.
    """

    said: str
    meaning: tuple[str, ...] = ()
    place: tuple[Path, int] | None = None
    since: datetime | None = None
    asked: datetime | None = None


@dataclass(frozen=True)
class Insides:
    """A gateway from inside.

    files: path in the container -> file; now: by its clock; started: when the newest nginx process began, which is
    when the files were read last; mounts: path in the container -> path on its machine; refused: what it does not take.
    """

    files: Mapping[str, File]
    now: datetime
    started: datetime | None
    mounts: Mapping[str, Path]
    local: bool
    refused: Refused | None = None


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
    facts, _, tested = head.decode(errors="replace").partition("\n\n")
    moments = facts.splitlines()
    begun, files = started(moments[1:]), dict(read(part) for part in parts)
    mounts = {one["Destination"]: Path(one["Source"]) for one in container.attrs["Mounts"] if one["Type"] == "bind"}
    return Insides(
        files=files,
        now=datetime.fromtimestamp(int(moments[0]), UTC),
        started=begun,
        mounts=mounts,
        local=host not in placement.read(lab.placement),
        refused=refused(container, tested, begun, max((one.changed for one in files.values()), default=None)),
    )


def refused(container: Container, tested: str, since: datetime | None, changed: datetime | None) -> Refused | None:
    """What a running nginx does not take up.

    tested: what it says of the files as they are now; since: when it read what it serves; changed: when the newest of
    the files did.  Where the test has nothing against them, a reload can still have failed: at a listener, which a test
    does not open.
    """
    said = last_words.emergency(tested)
    is_newer = since is not None and changed is not None and changed >= since - ROUNDING
    if not said and not is_newer:
        return None
    asked, logged = last_refusal(container, since) if since is not None else (None, "")
    if not said and (asked is None or changed is None or changed > asked):
        return None  # files that changed since nobody has asked it to read
    said = said or logged
    around = looking.around(container)
    meaning = last_words.meaning(f"[emerg] {said}", around)
    return Refused(said, meaning, last_words.place_of(said, around), since, asked)


def last_refusal(container: Container, since: datetime) -> tuple[datetime | None, str]:
    """When a running nginx last logged that it does not take up its files, and its words; (None, "") for never."""
    log = bytes(container.logs(since=int(since.timestamp()), tail=LOOKED_BACK)).decode(errors="replace")
    for line in reversed(log.splitlines()):
        found = LOGGED.match(line)
        if found is not None and (said := last_words.emergency(line)):
            asked = datetime.strptime(found["time"], "%Y/%m/%d %H:%M:%S").replace(tzinfo=UTC)
            return (asked, said) if asked >= since else (None, "")
    return None, ""


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


def neighbours(lab: Lab) -> tuple[Neighbour, ...]:
    """The containers of all hosts."""
    return tuple(Neighbour(State.of(one), tuple(addresses(one))) for one in looking.everywhere(lab))


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
