"""`check --all`: how many kinds of callers and requests, in what time, in how much memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.bench.lifecycle import timed
from topology.proof import callers, probing
from topology.pytest_plugin import TestedLab


@dataclass(frozen=True)
class Everything:
    """One run of the command on one lab.  callers, requests: kinds of them; memory: at most, in bytes."""

    lab: str
    callers: int
    requests: int
    cells: int
    seconds: float
    memory: int


def measure(tested: TestedLab) -> Everything:
    """The whole command, the start of Python included.  AssertionError where a cell is wrong."""
    lab = tested.lab
    command = [
        sys.executable, "-m", "topology", "check", str(lab.description.file), "--all", "--json",
        "--out", str(lab.out), *(["--instance", lab.instance] if lab.instance else []),
    ]  # fmt: skip
    with tempfile.TemporaryFile() as answer:
        began = time.monotonic()
        process = subprocess.Popen(command, stdout=answer, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        answer.seek(0)
        cells = json.load(answer)
    wrong = [cell["id"] for cell in cells if not cell["ok"]]
    assert not wrong, wrong
    assert os.waitstatus_to_exitcode(status) == 0
    return Everything(
        lab=lab.topology.name,
        callers=len({cell["caller"] for cell in cells if cell["family"] in ("route", "caller")}),
        requests=len({cell["request"] for cell in cells if cell["family"] == "request"}),
        cells=len(cells),
        seconds=seconds,
        memory=usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    )


def issuing(tested: TestedLab) -> float:
    """Seconds for every certificate that every caller of a lab shows."""
    wanted = callers.checks(tested.lab.topology, ())

    def issue() -> None:
        with probing.credentials(wanted, tested.running, datetime.now(UTC)):
            pass

    return timed(issue)
