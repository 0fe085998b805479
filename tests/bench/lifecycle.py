"""How long a lab takes to come up and to go, beside what Compose alone takes for the same stacks."""

from __future__ import annotations

import contextlib
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import docker

from topology.description.loading import load
from topology.generation import planning, writing
from topology.runtime import engine, images, networking, stacks
from topology.runtime.lab import Lab, labels
from topology.runtime.preparation import gateway_owner

ROOT = Path(__file__).parents[2]
ROUNDS = 5

STEPS = {
    "writing the stacks": r"^wrote ",
    "the base image": r"^\S*(debian:|/base:)",
    "the images": r"^mtls-lab/\S+: (building|built)$",
    "starting containers": r": containers started$",
    "waiting until they are healthy": r": (healthy|running)$",
    "the proof: a request on each route": r": answers$",
}
"""Step -> what the line looks like that `up` prints when it has done a part of it; else it issued certificates."""


@dataclass(frozen=True)
class Lifecycle:
    """All in seconds, one for each round.  up, down: of the lab; compose_up, compose_down: of Compose alone."""

    up: tuple[float, ...]
    down: tuple[float, ...]
    compose_up: tuple[float, ...]
    compose_down: tuple[float, ...]

    @property
    def ratio(self) -> float:
        return statistics.median(self.up) / statistics.median(self.compose_up)


@dataclass(frozen=True)
class Cold:
    """shares: step -> seconds, until the lab was proven ready."""

    shares: Mapping[str, float]

    @property
    def seconds(self) -> float:
        return sum(self.shares.values())


@dataclass(frozen=True)
class Copy:
    """The two-host lab under a name of its own, on ports that Docker chooses: nothing of the user's is touched."""

    folder: Path

    @classmethod
    def of(cls, folder: Path) -> Copy:
        text = (ROOT / "fixtures" / "labs" / "two-host.yaml").read_text()
        text = re.sub(r"(?m)^ +publish: .*\n", "", text.replace("name: two-host ", "name: bench-lifecycle ", 1))
        writing.write(folder / "topology.yaml", text.encode())
        return cls(folder)

    @property
    def lab(self) -> Lab:
        return Lab(load(self.folder / "topology.yaml"), self.folder / "compose", None)

    def run(self, word: str) -> float:
        """Seconds that a command takes, from the start of the process to its end."""
        return timed(lambda: finished(self.begun(word)))

    def begun(self, word: str) -> subprocess.Popen[str]:
        words = [word, str(self.folder / "topology.yaml"), "--out", str(self.folder / "compose")]
        return begun([sys.executable, "-m", "topology", *words])

    def compose(self, *words: str) -> float:
        """Seconds that Compose alone takes for all stacks, each in a process, at the same time."""
        commands = [[*stacks.compose_command(self.lab, host), *words] for host in self.lab.topology.hosts]
        with ThreadPoolExecutor() as pool:
            return timed(lambda: list(pool.map(lambda command: finished(begun(command)), commands)))


def measure(folder: Path, progress: Callable[[str], None]) -> Lifecycle:
    """Both in turn, several rounds, with images and certificates there and containers and networks not."""
    copy = Copy.of(folder)
    up, down, compose_up, compose_down = [], [], [], []
    copy.run("up")
    copy.run("down")
    for number in range(1, ROUNDS + 1):
        try:
            up.append(copy.run("up"))
        finally:
            down.append(copy.run("down"))
        with internet(copy.lab):
            try:
                compose_up.append(copy.compose("up", "--wait", "--no-build", "--quiet-pull"))
            finally:
                compose_down.append(copy.compose("down"))
        progress(
            f"lifecycle, round {number} of {ROUNDS}: up {up[-1]:.1f} s, Compose alone {compose_up[-1]:.1f} s; "
            f"down {down[-1]:.1f} s, Compose alone {compose_down[-1]:.1f} s"
        )
    return Lifecycle(tuple(up), tuple(down), tuple(compose_up), tuple(compose_down))


def cold(folder: Path, progress: Callable[[str], None]) -> Cold:
    """From nothing to proven ready: no stacks, no certificates, none of the lab's images, no step of their building.

    A base image that was pulled stays: how long that takes is the registry's matter.
    """
    copy = Copy.of(folder)
    forget_images(copy.lab)
    shares = dict.fromkeys(["the command's start", *STEPS], 0.0)
    before = time.monotonic()
    process = copy.begun("up")
    assert process.stderr is not None
    said = []
    try:
        for line in process.stderr:
            now = time.monotonic()
            step = step_of(line.strip()) if said else "the command's start"
            shares[step] = shares.get(step, 0.0) + now - before
            before = now
            said.append(line)
            progress(f"cold: {line.strip()}")
        assert process.wait() == 0, "".join(said)
    finally:
        process.wait()
        copy.run("down")
    return Cold(shares)


def step_of(line: str) -> str:
    return next((step for step, pattern in STEPS.items() if re.search(pattern, line)), "issuing certificates")


def forget_images(lab: Lab) -> None:
    """Removes the lab's images, the base that was made here, and the layers from which they would be built again.

    AssertionError where a container uses one: labs have to be down.
    """
    client = engine.connect()
    base = client.images.get(images.OWN_BASE) if images.exists(client, images.OWN_BASE) else None
    wanted = planning.plan(lab.description).images
    users = [str(one.name) for one in client.containers.list(all=True)
             if one.attrs["Config"]["Image"] in {image.tag for image in wanted}]  # fmt: skip
    assert not users, f"images are built anew here, and these containers use them: {', '.join(users)}; take them down"
    for image in wanted:
        with contextlib.suppress(docker.errors.ImageNotFound):
            client.images.remove(image.tag)
    if base is None:
        return
    first = layers(base)
    for stage in client.images.list(filters={"dangling": True}):
        if layers(stage)[: len(first)] == first:
            with contextlib.suppress(docker.errors.ImageNotFound, docker.errors.APIError):  # others stand on it
                client.images.remove(stage.id)
    client.images.remove(images.OWN_BASE)


def layers(image: docker.models.images.Image) -> list[str]:
    found: list[str] = image.attrs["RootFS"].get("Layers") or []
    return found


@contextlib.contextmanager
def internet(lab: Lab) -> Iterator[None]:
    """The network that the stacks expect to find, as whoever runs Compose by hand would make it."""
    client = engine.connect()
    network = planning.default_networks_of(lab.topology).internet
    networking.ensure_internet(client, lab.internet, network, labels(lab))
    try:
        yield
    finally:
        networking.remove(client.networks.list(names=[lab.internet]))


def begun(command: list[str]) -> subprocess.Popen[str]:
    owner = gateway_owner() or (os.geteuid(), os.getegid())
    environment = stacks.compose_environment({"MTLS_LAB_USER": ":".join(map(str, owner))})
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finished(process: subprocess.Popen[str]) -> None:
    """Waits for the end of a process; AssertionError with what it said where that is a failure."""
    _, said = process.communicate()
    assert process.returncode == 0, said


def timed(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began
