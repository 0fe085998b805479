"""What gateways logged of one request, on every machine."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from topology.runtime import looking
from topology.runtime.lab import Lab, host_of

if TYPE_CHECKING:
    from docker.models.containers import Container

MARGIN_SECONDS = 60
"""How far an engine's clock may be off."""

WRITTEN_SECONDS = 1
"""nginx logs a request when it has answered it, and the engine takes a moment to hand the line out."""


@dataclass(frozen=True)
class Trace:
    """A gateway's log line of a request.  uri: what was requested there, as it came in."""

    host: str
    line: str

    @property
    def uri(self) -> str:
        return str(json.loads(self.line).get("uri", ""))


def find(lab: Lab, request_id: str, asked_at: float) -> tuple[Trace, ...]:
    """The log lines of a request, in the order of the topology's hosts; empty where it reached no gateway.

    asked_at: when it was sent, in seconds since 1970.
    """
    gateways = [c for c in looking.everywhere(lab) if c.labels.get("mtls-lab.service") == "gateway"]
    deadline = time.monotonic() + WRITTEN_SECONDS
    seen = 0
    while True:
        found = [trace for gateway in gateways for trace in traces(gateway, request_id, asked_at)]
        if (found and len(found) == seen) or time.monotonic() > deadline:  # a gateway behind may be a moment later
            order = list(lab.topology.hosts)
            return tuple(sorted(found, key=lambda trace: order.index(trace.host)))
        seen = len(found)
        time.sleep(0.1)


def traces(gateway: Container, request_id: str, asked_at: float) -> Iterator[Trace]:
    log = bytes(gateway.logs(since=int(asked_at - MARGIN_SECONDS))).decode(errors="replace")
    for line in log.splitlines():
        if f'"request_id":"{request_id}"' in line and line.startswith("{"):
            yield Trace(host_of(gateway.labels), line)
