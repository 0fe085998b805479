"""What `up` and `deploy` have in common: which lab, on which machines, started and proven how."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from topology.runtime.lab import Lab
from topology.runtime.machines import Machines
from topology.runtime.placement import Places
from topology.runtime.progress import Progress
from topology.runtime.running import RunningLab

StartHost = Callable[[Lab, str, Mapping[str, str]], object]
"""Starts the stack of one host, given what its Compose file takes from the environment."""


Prove = Callable[[RunningLab, Collection[str]], None]
"""Raises where routes of these hosts do not answer as they should."""


def proves_nothing(_: RunningLab, __: Collection[str]) -> None:
    return None


@dataclass(frozen=True)
class Task:
    """One run of either.

    chosen_ports: hosts for which Docker chooses the published ports; values: what services take from the environment;
    start_host: starts one host's stack.
    """

    lab: Lab
    places: Places
    machines: Machines
    chosen_ports: Collection[str]
    values: Mapping[str, str]
    prove: Prove
    start_host: StartHost
    progress: Progress
