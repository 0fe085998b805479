"""Up is up when requests came through: the whole chain of gateways, mutual TLS and services, once per route."""

from __future__ import annotations

import time

from topology.proof import checking
from topology.runtime import stacks
from topology.runtime.progress import SILENT, Progress
from topology.runtime.running import RunningLab

PROOF_SECONDS = 60


def bring_up(
    lab: stacks.Lab,
    *,
    choose_ports: bool = False,
    start_host: stacks.StartHost | None = None,
    progress: Progress = SILENT,
) -> RunningLab:
    """Brings a lab up and returns it when every route that should answer somebody has answered.

    Raises what `stacks.up` raises; NotReady, with the routes and what they answered, where one did not.
    """

    def prove(running: RunningLab) -> None:
        deadline = time.monotonic() + PROOF_SECONDS
        checking.wait_until_served(running, deadline, lambda: stacks.alarm(lab), progress.step)

    return stacks.up(lab, choose_ports=choose_ports, prove=prove, start_host=start_host, progress=progress)
