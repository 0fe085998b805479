"""A running lab's gateways and containers, altered and put back: for evidence that somebody would notice.

While a gateway is altered, the stamp by which `up` knows what it has read is gone: were this run killed, the next `up`
writes what belongs there and has the gateway read it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from topology.errors import InvalidInput, NotReady
from topology.generation import writing
from topology.runtime import engine, looking, machines, outages, placement, stacks
from topology.runtime.lab import Lab
from topology.runtime.preparation import surroundings_of, variables
from topology.runtime.progress import SILENT
from topology.runtime.running import RunningLab
from topology.runtime.task import Task, proves_nothing

GATEWAY = "gateway"
CONFIGURATION, CERTIFICATES = "/etc/nginx/lab", "/etc/nginx/certificates"
HEALTHY_SECONDS = 60


@dataclass(frozen=True)
class Files:
    """What a gateway reads: the folders, and what is in them by path."""

    configuration: Path
    certificates: Path
    nginx: Mapping[str, str]
    credentials: Mapping[str, bytes]


@dataclass(frozen=True)
class File:
    """mode: as the file system has it."""

    path: Path
    content: bytes
    mode: int


def ready(lab: Lab) -> RunningLab:
    """The lab, where it is whole and on this machine; else NotReady, or InvalidInput, with what to do."""
    if placed := placement.read(lab.placement):
        raise InvalidInput(f"{', '.join(placed)}: deployed to other machines; only what runs here can be changed")
    running = looking.running(lab)
    if missing := outages.find(lab, looking.survey(lab)):
        raise NotReady(f"the lab is half up: {outages.listed(missing)}; run `mtls-lab up` first")
    return running


def has_chosen_ports(lab: Lab) -> bool:
    found = machines.find(lab.topology, {})
    return any(looking.has_chosen_ports(lab, found, host) for host in lab.topology.hosts)


def leave_word(lab: Lab, *, chosen_ports: bool) -> None:
    """Says on disk that the lab is about to be changed, and how to bring it up as it was.

    It stays there until the lab is put back (`stacks.forget_alteration`), or is brought up anew.
    """
    writing.write(lab.altered, json.dumps({"chosen_ports": chosen_ports}).encode())


def word_left(lab: Lab) -> bool | None:
    """Whether Docker chose the ports of a lab that somebody had changed and did not put back; None where nobody has."""
    try:
        return bool(json.loads(lab.altered.read_bytes())["chosen_ports"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):  # nobody's of ours: the ports that nobody else can have
        return True


def files(lab: Lab, host: str) -> Files:
    configuration = looking.mounted(lab, host, CONFIGURATION)
    folder = looking.mounted(lab, host, CERTIFICATES)
    return Files(
        configuration, folder,
        {str(one.relative_to(configuration)): one.read_text() for one in writing.files_below(configuration)},
        {str(one.relative_to(folder)): one.read_bytes() for one in writing.files_below(folder)},
    )  # fmt: skip


# Files that a gateway reads


def read(paths: list[Path]) -> tuple[File, ...]:
    """Files as they are, to be put back."""
    return tuple(File(path, path.read_bytes(), path.stat().st_mode & 0o777) for path in paths)


def write(wanted: Collection[File]) -> None:
    """Puts files in their places, whole at once; they belong to whom those before them belonged."""
    for one in wanted:
        found = one.path.stat()
        writing.write(one.path, one.content, one.mode, (found.st_uid, found.st_gid) if os.geteuid() == 0 else None)


class Refused(NotReady):
    """nginx, or the engine, does not take a change: that says nothing about the checks."""


def take_up(lab: Lab, host: str) -> None:
    """Has a gateway read its files.  Raises Refused, with what nginx says, where it does not take them."""
    gateway = looking.container_of(engine.connect(), lab, host, GATEWAY)
    try:
        stacks.execute(gateway, ["nginx", "-t"])
        stacks.reload(gateway)
    except NotReady as error:
        raise Refused(str(error)) from error


def take_stamp(lab: Lab, host: str) -> str:
    """What a gateway has read, as `up` notes it; noted no longer."""
    gateway = looking.container_of(engine.connect(), lab, host, GATEWAY)
    return stacks.execute(gateway, ["sh", "-c", f"cat {stacks.STAMP}; rm -f {stacks.STAMP}"], check=False).strip()


def put_stamp(lab: Lab, host: str, stamp: str) -> None:
    gateway = looking.container_of(engine.connect(), lab, host, GATEWAY)
    stacks.execute(gateway, ["sh", "-c", f"echo {stamp} > {stacks.STAMP}"])


# Containers


def values(lab: Lab, running: RunningLab) -> dict[str, dict[str, str]]:
    """What each host's Compose file takes from outside, on the ports where the lab listens already."""
    found = machines.find(lab.topology, {})
    around = surroundings_of(lab, {}, found, found.reached)
    literal = stacks.environment_values(lab)
    task = Task(lab, {}, found, (), literal, proves_nothing, stacks.compose_up, SILENT)
    result = {}
    for host, endpoint in running.endpoints.items():
        ports = {"MTLS_LAB_HTTP_PORT": endpoint.http, "MTLS_LAB_HTTPS_PORT": endpoint.https}
        passed = {f"MTLS_LAB_TLS_PORT_{port}": here for port, here in endpoint.passed.items()}
        kept = {name: str(port) for name, port in {**ports, **passed}.items() if port is not None}
        result[host] = variables(task, host, around[host]) | literal | kept
    return result


def restart(lab: Lab, host: str, service: str, environment: Mapping[str, str], override: str = "") -> None:
    """Has a container made anew, with settings beyond its own (YAML of a whole Compose file).

    Raises NotReady where Compose does not take them.
    """
    also = ["--file", "-"] if override else []
    options = ["--detach", "--no-build", "--no-deps", "--quiet-pull", service]
    command = [*stacks.compose_command(lab, host), *also, "up", *options]
    stacks.run_compose(command, environment, said_to_it=override.encode() if override else None, undisturbed=True)


def wait_until_healthy(lab: Lab, host: str, seconds: float = HEALTHY_SECONDS) -> bool:
    """Returns whether all containers of a host are healthy in time."""
    deadline = time.monotonic() + seconds
    while True:
        states = [state for state in looking.survey(lab).states if state.host == host]
        if all(state.ready for state in states):
            return True
        if time.monotonic() > deadline or any(state.broken for state in states):
            return False
        time.sleep(0.1)
