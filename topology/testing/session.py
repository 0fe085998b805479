"""The lab of a test session: which one it is, brought up or found, and what becomes of it afterwards."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from topology.errors import NoEngine, NotReady
from topology.generation import planning, rendering, writing
from topology.proof import readiness
from topology.runtime import claims, engine, looking, placement, preparation, stacks
from topology.runtime.lab import Lab
from topology.runtime.progress import SILENT, Progress
from topology.testing.choice import FOLDER, Choice, Standing, Values
from topology.testing.tested import host_stack

PROVEN_SECONDS = 12 * 60 * 60
"""After so long a lab that is used again goes through `up`, which renews certificates that are due."""


@dataclass(frozen=True)
class Remembered:
    """A lab that was left running: the hash of its content, its containers, when it was proven (seconds since 1970),
    and what its Compose files take from the environment, but for what the topology takes from the caller's."""

    content: str
    containers: tuple[str, ...]
    proven: float
    values: Values


def find(choice: Choice, lab: Lab, progress: Progress = SILENT) -> Standing:
    """The session's lab, up and proven.  Raises NoEngine, NotReady, InvalidInput; then nothing new is left running."""
    if choice.external:
        return found_outside(lab)
    if lab.out.name == FOLDER:
        writing.write(lab.out / ".gitignore", b"*\n")
    if choice.reuse:
        return reused(lab, progress)
    return Standing(lab.out, lab.instance, start(lab, progress) if choice.keep else start_own(lab, progress))


def end(choice: Choice, lab: Lab) -> None:
    """Takes the session's lab down, unless it is to stay.  Raises NoEngine."""
    if not choice.stays:
        stacks.down(lab)


def start_own(lab: Lab, progress: Progress = SILENT) -> Values:
    """Brings up a lab that goes with this process, and leaves word of it, by which `doctor` finds it after a kill."""
    claims.claim(lab)
    try:
        return start(lab, progress)
    except NoEngine:
        claims.give_up(lab.topology.name, lab.instance)  # nothing can have been started, and nobody takes it down
        raise


def start(lab: Lab, progress: Progress = SILENT) -> Values:
    """Brings a lab up on free ports, and returns what its Compose files take from the environment."""
    values: dict[str, Mapping[str, str]] = {}

    def start_host(lab: Lab, host: str, given: Mapping[str, str]) -> None:
        values[host] = given
        host_stack(lab, host, given).start()

    readiness.bring_up(lab, choose_ports=True, start_host=start_host, progress=progress)
    return values


# A lab that an earlier session left


def reused(lab: Lab, progress: Progress) -> Standing:
    """The lab that an earlier session left, untouched where its content is the same and all of it runs."""
    content = content_hash(lab)
    memory = lab.out / f"{lab.topology.name}-{lab.instance}.json"
    left = read(memory)
    taken = stacks.environment_values(lab)
    if left is not None and is_current(left, content) and is_running(lab, left.containers):
        return Standing(lab.out, lab.instance, {host: {**own, **taken} for host, own in left.values.items()})
    values = start(lab, progress)
    own = {host: {k: v for k, v in given.items() if k not in taken} for host, given in values.items()}
    states = looking.survey(lab).states
    left = Remembered(content, tuple(sorted(state.id for state in states)), time.time(), own)
    writing.write(memory, json.dumps(asdict(left)).encode(), 0o600)
    return Standing(lab.out, lab.instance, values)


def content_hash(lab: Lab) -> str:
    """Over all that decides what runs: generated files (they name images by their sources), certificates, variables."""
    plan = planning.plan(lab.description)
    digest = hashlib.sha256()
    for path, content in sorted(rendering.render(plan).items()):
        digest.update(path.encode() + b"\0" + hashlib.sha256(writing.encoded(content)).digest())
    digest.update(repr((plan.certificates, sorted(stacks.environment_values(lab).items()))).encode())
    return digest.hexdigest()


def is_current(left: Remembered, content: str) -> bool:
    return left.content == content and 0 <= time.time() - left.proven < PROVEN_SECONDS


def is_running(lab: Lab, containers: tuple[str, ...]) -> bool:
    """Whether these containers, and no others, are the lab's, and all of them are ready."""
    seen = looking.survey(lab)
    ready = tuple(sorted(state.id for state in seen.states if state.ready))
    return not seen.lost and bool(ready) and ready == containers and len(seen.states) == len(containers)


def read(memory: Path) -> Remembered | None:
    """What was remembered; None where there is nothing that can be read."""
    try:
        found = json.loads(memory.read_bytes())
        return Remembered(found["content"], tuple(found["containers"]), float(found["proven"]), dict(found["values"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


# A lab that somebody else has up


def found_outside(lab: Lab) -> Standing:
    """A lab that is up already.  Raises NotReady where it is not, with what to do."""
    containers = looking.containers(engine.connect(), lab)
    folder = next((found for one in containers if (found := looking.folder_of(one)) is not None), None)
    there = Lab(lab.description, folder.parents[1] if folder is not None else lab.out, lab.instance)
    try:
        looking.running(there)
    except NotReady as error:
        raise NotReady(f"--lab-external: {error}") from error
    places = placement.read(there.placement)
    values = {
        host: preparation.deployed_variables(places[host]) if host in places else {} for host in lab.topology.hosts
    }
    return Standing(there.out, there.instance, values)
