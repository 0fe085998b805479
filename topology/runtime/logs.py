"""What a lab's containers print, from all machines, as lines in the order of time.

Times are those at which an engine took a line in.  Lines of several machines are put in order by their clocks.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import queue
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from topology.description.model import Topology
from topology.description.wording import shown, suggestion
from topology.errors import InvalidInput, NoEngine, NotReady
from topology.generation import acme
from topology.runtime import looking, machines, placement
from topology.runtime.lab import Lab, host_of

if TYPE_CHECKING:
    from docker.models.containers import Container

GATEWAY = "gateway"
REQUEST_ID = re.compile(r"[0-9a-f-]{8,64}")
"""What gateways take for a request's id."""

SPAN = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?[smhd])+")
PART_OF_A_SPAN = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd])")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

TOGETHER_SECONDS = 0.2
"""How long a line waits for an earlier one of another container, while they are followed."""

LOOK_SECONDS = 1.0
"""How often it is looked, while following, whether containers came or went."""


@dataclass(frozen=True, order=True)
class Line:
    """One line.  stamp: when the engine took it in, RFC 3339 in UTC with nanoseconds, so that it sorts as text."""

    stamp: str
    host: str
    service: str
    text: str

    @property
    def time(self) -> datetime:
        """When it was written; an access line says it itself, since gateways hand some out together, a moment later."""
        ended = (self.access or {}).get("ended")
        if isinstance(ended, int | float):
            return datetime.fromtimestamp(ended, UTC)
        return self.taken_in

    @property
    def taken_in(self) -> datetime:
        return datetime.fromisoformat(self.stamp[:26] + "+00:00")

    @cached_property
    def access(self) -> dict[str, Any] | None:
        """The fields of a gateway's access line; None for any other line."""
        if self.service != GATEWAY or not self.text.startswith("{"):
            return None
        try:
            fields = json.loads(self.text)
        except ValueError:
            return None
        return fields if isinstance(fields, dict) and "request_id" in fields else None

    @property
    def begun(self) -> datetime:
        """When what a line tells of began: a gateway logs a request when it has answered."""
        return self.time - timedelta(seconds=self.seconds)

    @property
    def seconds(self) -> float:
        """How long what an access line tells of took; 0 for any other line."""
        told = (self.access or {}).get("seconds", 0)
        return float(told) if isinstance(told, int | float) else 0.0

    def tells_of(self, request: str) -> bool:
        """Whether it is about the request with this id."""
        return request == self.access["request_id"] if self.access else request in self.text


@dataclass(frozen=True)
class Choice:
    """Whose lines are meant.  None: all; since: seconds since 1970, 0 for everything that there is."""

    host: str | None = None
    service: str | None = None
    since: float = 0


def choose(lab: Lab, words: str | None, since: float = 0) -> Choice:
    """What `HOST` or `HOST/SERVICE` means in a lab.  Raises InvalidInput with the choices where there is no such."""
    if words is None:
        return Choice(since=since)
    host, _, service = words.partition("/")
    if host not in lab.stacks:
        raise InvalidInput(f"{shown(words)}: no host of {lab.topology.name}; {suggestion(host, lab.stacks)}")
    services = services_of(lab, host)
    if service and service not in services:
        raise InvalidInput(f"{shown(words)}: {host} has no such service; {suggestion(service, services)}")
    return Choice(host, service or None, since)


def services_of(lab: Lab, host: str) -> tuple[str, ...]:
    """The containers that a host has, by the names of their services."""
    if host not in lab.topology.hosts:
        return (acme.SERVER,)
    certbot = ("certbot",) if host in acme.clients(lab.topology) else ()
    return (GATEWAY, *certbot, *lab.topology.hosts[host].services)


def moment(text: str, now: datetime) -> float:
    """The moment that `10m`, `1h30m` or a date with or without a time means, in seconds since 1970.

    Without a zone it is the caller's own.  Raises InvalidInput.
    """
    try:
        if SPAN.fullmatch(text):
            spans = (timedelta(**{UNITS[unit]: float(n)}) for n, unit in PART_OF_A_SPAN.findall(text))
            return max(0.0, (now - sum(spans, timedelta())).timestamp())
        return max(0.0, datetime.fromisoformat(text).astimezone().timestamp())
    except (ValueError, OverflowError, OSError):
        raise InvalidInput(
            f"--since {shown(text)}: write how long ago, such as 30s, 10m, 2h or 1d, "
            "or when, such as 2026-01-31T08:30 or 2026-01-31T08:30:00Z"
        ) from None


def check_request(request: str) -> None:
    if not REQUEST_ID.fullmatch(request):
        raise InvalidInput(
            f"--request {shown(request)}: not an id that a gateway gives or keeps: 8 to 64 of 0-9, a-f and hyphens; "
            "`mtls-lab logs` shows it before each request, `mtls-lab check` with each wrong cell"
        )


@dataclass(frozen=True)
class Found:
    """Whose lines are read.  lost: hosts whose engine cannot be used -> why."""

    containers: tuple[Container, ...]
    lost: Mapping[str, NoEngine]

    def insist(self) -> None:
        """Raises NoEngine where something is out of reach."""
        if self.lost:
            raise NoEngine("\n".join(dict.fromkeys(str(error) for error in self.lost.values())))


def find(lab: Lab, choice: Choice) -> Found:
    """The containers that are meant.  Raises NotReady where there is none, NoEngine where none can be seen."""
    there = machines.find(lab.topology, placement.read(lab.placement))
    lost = {host: error for host, error in there.lost.items() if choice.host in (None, host)}
    found = Found(tuple(one for one in looking.everywhere(lab, there) if is_meant(one, choice)), lost)
    if not found.containers:
        found.insist()
        where = lab.project(choice.host) if choice.host else f"{lab.topology.name}{lab.suffix}"
        raise NotReady(f"{where} is not up; run `mtls-lab up` first")
    return found


def lines(found: Found, since: float) -> Iterator[Line]:
    """What there is now, in the order of time."""
    return heapq.merge(*(read(container, since) for container in found.containers))


def follow(lab: Lab, choice: Choice, found: Found) -> Iterator[Line]:
    """What there is now, and then what comes, until nothing of it is up any more; what is started meanwhile, too."""
    following = Following(lab, choice)
    yield from following.backlog(found)
    yield from following.news()


def is_meant(container: Container, choice: Choice) -> bool:
    return choice.host in (None, host_of(container.labels)) and choice.service in (None, service_of(container))


def service_of(container: Container) -> str:
    return str(container.labels.get("mtls-lab.service", ""))


def read(container: Container, since: float = 0, *, follow: bool = False) -> Iterator[Line]:
    """A container's lines, one after the other.  What an engine cut, since it was too long, is put together again."""
    from docker.errors import NotFound

    host, service = host_of(container.labels), service_of(container)
    stamp, begun = "", b""
    with contextlib.suppress(NotFound):  # it was removed meanwhile
        for piece in container.logs(stream=True, follow=follow, timestamps=True, since=since or None):
            first, _, text = bytes(piece).partition(b" ")
            stamp, begun = stamp or first.decode(), begun + text
            if begun.endswith(b"\n"):
                yield Line(stamp, host, service, begun.decode(errors="replace").rstrip("\r\n"))
                stamp, begun = "", b""
        if begun:
            yield Line(stamp, host, service, begun.decode(errors="replace"))


class Following:
    """Reads containers as they print, each in a thread of its own.

    seen: container -> stamp of its last line; reading: those whose thread runs.
    """

    def __init__(self, lab: Lab, choice: Choice) -> None:
        self.lab, self.choice = lab, choice
        self.seen: dict[str, str] = {}
        self.reading: set[str] = set()
        self.arrived: queue.SimpleQueue[Line] = queue.SimpleQueue()

    def backlog(self, found: Found) -> Iterator[Line]:
        return heapq.merge(*(self.noted(container, self.choice.since) for container in found.containers))

    def noted(self, container: Container, since: float, *, follow: bool = False) -> Iterator[Line]:
        """A container's lines that were not seen yet."""
        key = str(container.id)
        after = self.seen.get(key, "")
        for line in read(container, since, follow=follow):
            if line.stamp > after:
                self.seen[key] = line.stamp
                yield line

    def news(self) -> Iterator[Line]:
        """Lines that wait for each other a moment, and then come in the order of time."""
        waiting: list[Line] = []
        looked = release = 0.0
        while True:
            now = time.monotonic()
            if now - looked >= LOOK_SECONDS:
                if not self.start_reading() and not waiting and self.arrived.empty():
                    return
                looked = now
            if waiting and now >= release:
                yield from sorted(waiting)
                waiting = []
            with contextlib.suppress(queue.Empty):
                waiting.append(self.arrived.get(timeout=TOGETHER_SECONDS / 4))
                if len(waiting) == 1:
                    release = time.monotonic() + TOGETHER_SECONDS

    def start_reading(self) -> bool:
        """Reads every container that runs and is not read yet; False where there is none any more."""
        there = [one for one in looking.everywhere(self.lab) if is_meant(one, self.choice)]
        for container in there:
            if container.status in ("running", "restarting") and container.id not in self.reading:
                self.reading.add(str(container.id))
                threading.Thread(target=self.listen, args=(container,), daemon=True).start()
        return bool(there)

    def listen(self, container: Container) -> None:
        """Returns when the container stops, or is gone, or its engine."""
        from docker.errors import DockerException
        from requests import RequestException

        key = str(container.id)
        after = self.seen.get(key)
        since = Line(after, "", "", "").taken_in.timestamp() - 0.001 if after else self.choice.since
        try:
            with contextlib.suppress(DockerException, RequestException, OSError):  # the next look tells, if it lasts
                for line in self.noted(container, since, follow=True):
                    self.arrived.put(line)
        finally:
            self.reading.discard(key)


def of_request(found: Iterable[Line], request: str) -> Iterator[Line]:
    """Those lines that are about one request, as they come."""
    return (line for line in found if line.tells_of(request))


def way_of(topology: Topology, found: Iterable[Line], request: str) -> list[Line]:
    """One request's way: from the gateway that it reached first to the last, and what services said of it.

    Which gateway called which, the topology says: engines take in what nearly happened at once in any order.
    """
    about = list(of_request(found, request))
    below: dict[Line | None, list[Line]] = {}
    for line in about:
        below.setdefault(caller_of(topology, line, about), []).append(line)

    def unfold(caller: Line | None) -> Iterator[Line]:
        for line in sorted(below.get(caller, ()), key=lambda one: (one.begun, one.stamp)):
            yield line
            yield from unfold(line)

    way = list(unfold(None))
    # Where a request comes round to a host that it passed before, lines can lead to each other: time has to do then.
    return way if len(way) == len(about) else sorted(about, key=lambda one: (one.begun, one.stamp))


def caller_of(topology: Topology, line: Line, among: Iterable[Line]) -> Line | None:
    """The access line of the request in the course of which a line came: of the gateway that called, or that led to
    the service.  Of several the nearest in time.

    nginx counts in milliseconds and rounds, so the one that is called can seem to take longer than the one that calls:
    only between two that could have called each other does that decide."""

    def called(one: Line) -> bool:
        if line.access is None:
            return one.host == line.host
        longer = (one.seconds, one.time, one.stamp) > (line.seconds, line.time, line.stamp)
        return leads_to(topology, one, line.host) and (longer or not leads_to(topology, line, one.host))

    callers = [one for one in among if one.access and one is not line and one.host in topology.hosts and called(one)]
    return min(callers, key=lambda one: abs(one.time - line.time), default=None)


def leads_to(topology: Topology, line: Line, host: str) -> bool:
    """Whether the route of an access line leads to another host."""
    described = topology.hosts.get(line.host)
    route = described.routes.get(f"{(line.access or {}).get('route', '')}/") if described else None
    return route is not None and route.host == host
