"""Up is up when requests came through: the whole chain of gateways, mutual TLS and services, once per route."""

from __future__ import annotations

import time
from collections.abc import Collection

from topology.proof import checking
from topology.runtime import deployment, looking, stacks
from topology.runtime.lab import Lab
from topology.runtime.placement import Place
from topology.runtime.progress import SILENT, Progress
from topology.runtime.running import RunningLab
from topology.runtime.task import Prove, StartHost

PROOF_SECONDS = 60


def bring_up(
    lab: Lab,
    *,
    choose_ports: bool = False,
    start_host: StartHost | None = None,
    progress: Progress = SILENT,
) -> RunningLab:
    """Brings a lab up and returns it when every route that should answer somebody has answered.

    Raises what `stacks.up` raises; NotReady, with the routes and what they answered, where one did not.
    """
    return stacks.up(
        lab, choose_ports=choose_ports, prove=prover(lab, progress), start_host=start_host, progress=progress
    )


def deploy(lab: Lab, host: str, place: Place, *, progress: Progress = SILENT) -> RunningLab:
    """Deploys one host; returns the lab when every route has answered on whose way all hosts run.

    Raises what `deployment.deploy` raises; NotReady, with the routes and what they answered, where one did not.
    """
    return deployment.deploy(lab, host, place, prove=prover(lab, progress), progress=progress)


def prover(lab: Lab, progress: Progress) -> Prove:
    def prove(running: RunningLab, hosts: Collection[str]) -> None:
        deadline = time.monotonic() + PROOF_SECONDS
        checking.wait_until_served(running, deadline, lambda: looking.alarm(lab), progress.step, hosts)

    return prove
