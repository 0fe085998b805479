"""Programs in containers of their own, beside a lab: images built from their folders, and what a run of one said."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from topology.generation import planning
from topology.pytest_plugin import TestedLab
from topology.runtime import engine, images
from topology.runtime.progress import SILENT

SECONDS = 120


@dataclass(frozen=True)
class Ended:
    """What a program left: its exit code, and what it printed on standard output and on standard error."""

    code: int
    out: str
    err: str


def built(name: str, folder: Path) -> str:
    """The tag of an image, named by its sources; built unless it is there."""
    image = planning.build(name, folder)
    images.ensure([images.Image(image.tag, image.folder)], SILENT)
    return image.tag


@contextmanager
def started(image: str, command: Sequence[str], *paths: Path, **options: Any) -> Iterator[Any]:
    """A container without capabilities, gone when the context ends.

    It runs as this user, who alone may read the lab's keys; paths: seen there at the same place, read-only.
    """
    container = engine.connect().containers.create(
        image,
        list(command),
        user=f"{os.geteuid()}:{os.getegid()}",
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        volumes={str(path): {"bind": str(path), "mode": "ro"} for path in paths} | options.pop("volumes", {}),
        **options,
    )
    try:
        container.start()
        yield container
    finally:
        container.remove(force=True, v=True)


def run(image: str, command: Sequence[str], *paths: Path, **options: Any) -> Ended:
    """Runs a program to its end.  options: what docker's `containers.create` takes."""
    with started(image, command, *paths, **options) as container:
        code = container.wait(timeout=SECONDS)["StatusCode"]
        out, err = (container.logs(stdout=is_out, stderr=not is_out).decode() for is_out in (True, False))
        return Ended(code, out, err)


def handed_out(tested: TestedLab) -> tuple[Path, ...]:
    """What a lab gives to its callers: identities, and the certificates of its authorities.  Their keys stay here."""
    return (tested.running.identities, *sorted(tested.running.authorities.glob("*/certificate.pem")))


def on_the_internet(tested: TestedLab) -> dict[str, Any]:
    """Where a calling machine is: on the network that stands for the internet, with each host's name known."""
    found: Mapping[str, str] = {
        described.domain: address(tested, host) for host, described in tested.lab.topology.hosts.items()
    }
    return {"network": tested.lab.internet, "extra_hosts": dict(found)}


def address(tested: TestedLab, host: str) -> str:
    """A gateway's address on the network that stands for the internet."""
    from topology.runtime import looking

    gateway = looking.container_of(engine.connect(), tested.lab, host, "gateway")
    return str(gateway.attrs["NetworkSettings"]["Networks"][tested.lab.internet]["IPAddress"])
