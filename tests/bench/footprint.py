"""What the labs take of a machine: all of fixtures/labs up at once, each container's memory, each image's size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from topology.pytest_plugin import TestedLab, brought_up
from topology.runtime import engine, looking


@dataclass(frozen=True)
class ContainerMemory:
    """What one container keeps in memory, file cache that can be dropped left out, in bytes."""

    lab: str
    host: str
    service: str
    size: int


@dataclass(frozen=True)
class ImageSize:
    """name: without the hash of its sources; size: in bytes, layers of the base included."""

    name: str
    size: int


@contextmanager
def all_up(files: Sequence[Path], out: Path, progress: Callable[[str], None]) -> Iterator[tuple[TestedLab, ...]]:
    """Every lab up and proven at the same time, each asked all of its cells once, so that nothing sleeps."""
    with ExitStack() as stack:
        labs = []
        for file in files:
            progress(f"{file.stem}: coming up")
            labs.append(stack.enter_context(brought_up(file, out / file.stem)))
        for tested in labs:
            with ThreadPoolExecutor(8) as pool:
                verdicts = list(pool.map(tested.ask, tested.checks))
            wrong = [verdict.check.id for verdict in verdicts if not verdict.ok]
            if wrong:
                raise AssertionError(f"{tested.lab.topology.name}: wrong cells: {', '.join(wrong)}")
            progress(f"{tested.lab.topology.name}: {len(verdicts)} cells, all as the topology says")
        yield tuple(labs)


def memory_of(labs: Sequence[TestedLab]) -> tuple[ContainerMemory, ...]:
    """The memory of every container of the labs, as their control groups count it."""

    def measure(name: str, container: Any) -> ContainerMemory:
        labels = container.labels
        memory = container.stats(stream=False)["memory_stats"]
        host, service = (labels.get(f"mtls-lab.{part}", "") for part in ("host", "service"))
        return ContainerMemory(name, host, service, kept(memory))

    found = [(tested.lab.topology.name, c) for tested in labs for c in looking.everywhere(tested.lab)]
    with ThreadPoolExecutor(16) as pool:
        return tuple(pool.map(lambda pair: measure(*pair), found))


def kept(memory: Mapping[str, Any]) -> int:
    """Usage without the file cache that nobody uses: what `docker stats` shows (control groups 1 and 2)."""
    details = memory.get("stats", {})
    return int(memory["usage"]) - int(details.get("total_inactive_file", details.get("inactive_file", 0)))


def image_sizes(labs: Sequence[TestedLab]) -> tuple[ImageSize, ...]:
    """The images that the labs' containers run, the largest last."""
    client = engine.connect()
    found = {}
    for tested in labs:
        for container in looking.everywhere(tested.lab):
            tag = str(container.attrs["Config"]["Image"])
            name = tag.removeprefix("mtls-lab/").partition(":")[0]
            found[name] = ImageSize(name, client.images.get(tag).attrs["Size"])
    return tuple(sorted(found.values(), key=lambda image: image.size))


def memory_in_use() -> int | None:
    """What the whole machine has in use, in bytes; None where it does not tell (other systems than Linux)."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    numbers = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}
    return numbers["MemTotal"] - numbers["MemAvailable"]
