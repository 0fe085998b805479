"""What needs no engine, or a lab that is up anyway: generating, issuing, checking."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.lifecycle import ROOT, timed
from topology.description.loading import load
from topology.generation import certificates, planning, writing
from topology.proof import checking
from topology.pytest_plugin import TestedLab

SIZES = (10, 100, 1000)
SERVICES_PER_HOST = 10
ROUNDS = 5


@dataclass(frozen=True)
class Generation:
    """The whole command for so many services, in seconds; start: the same for a single one."""

    services: int
    seconds: float
    start: float

    @property
    def per_service(self) -> float:
        """Milliseconds that each further service adds."""
        return (self.seconds - self.start) / (self.services - 1) * 1000


def generation(folder: Path) -> tuple[Generation, ...]:
    """folder: where stacks are written, anew each time."""

    def run(*words: str) -> float:
        command = [sys.executable, "-m", "topology", *words]
        return timed(lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=True))

    def generate(size: int) -> float:
        file = folder / f"{size}.yaml"
        writing.write(file, topology_of(size).encode())
        return statistics.median(
            run("generate", str(file), "--out", str(folder / f"{size}-{n}")) for n in range(ROUNDS)
        )

    start = generate(1)
    return tuple(Generation(size, generate(size), start) for size in SIZES)


def topology_of(services: int) -> str:
    """A topology with so many services, at most ten on a host, each behind a protected route of its own."""
    lines = ["name: many", "authorities: {ssl_ca: {}, server_ca: {}}", "identities: {bro: {authority: server_ca}}"]
    lines.append("hosts:")
    for first in range(0, services, SERVICES_PER_HOST):
        names = range(first, min(first + SERVICES_PER_HOST, services))
        lines += [f"  host-{first}:", f"    domain: host-{first}.lab.test"]
        lines += ["    client_certificates: {authority: server_ca}", "    services:"]
        lines += [f"      s{n}: {{kind: node}}" for n in names]
        lines += ["    routes:"]
        lines += [f"      /s{n}/: {{service: s{n}, client_certificate: required}}" for n in names]
    return "\n".join(lines) + "\n"


def issuing() -> float:
    """Milliseconds for all keys, certificates, revocation lists and bundles of the two-host lab."""
    wanted = planning.wanted_certificates(load(ROOT / "fixtures" / "labs" / "two-host.yaml"))
    times = [timed(lambda: certificates.issue(wanted, {}, datetime.now(UTC))) for _ in range(20)]
    return statistics.median(times) * 1000


def cells_per_second(tested: TestedLab) -> float:
    """The basic matrix of a running lab, certificates of its callers included.  AssertionError for a wrong cell."""
    began, cells = time.monotonic(), 0
    for _ in range(ROUNDS):
        verdicts = checking.run(tested.checks, tested.running)
        wrong = [verdict.check.id for verdict in verdicts if not verdict.ok]
        assert not wrong, wrong
        cells += len(verdicts)
    return cells / (time.monotonic() - began)
