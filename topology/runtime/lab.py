"""One instance of a topology: its folders, its names, the labels by which the tool finds its own again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from topology.description.loading import Description
from topology.description.model import Topology
from topology.generation import acme


@dataclass(frozen=True)
class Lab:
    """One instance of a topology, running or not.  out: the folder of all stacks, usually `compose`."""

    description: Description
    out: Path
    instance: str | None = None

    @property
    def topology(self) -> Topology:
        return self.description.topology

    @cached_property
    def folder(self) -> Path:
        return (self.out / self.topology.name).absolute()

    @property
    def suffix(self) -> str:
        return suffix(self)

    @property
    def authorities(self) -> Path:
        return self.folder / f"authorities{self.suffix}"

    @property
    def identities(self) -> Path:
        return self.folder / f"identities{self.suffix}"

    @property
    def stacks(self) -> tuple[str, ...]:
        """The hosts, and the lab's own ACME server where it has one: each a folder and a Compose project."""
        own = (acme.FOLDER,) if acme.has_server(self.topology) else ()
        return (*self.topology.hosts, *own)

    def project(self, host: str) -> str:
        return f"{self.topology.name}-{host}{self.suffix}"

    def certificates(self, host: str) -> Path:
        return self.folder / host / f"certificates{self.suffix}"

    @property
    def internet(self) -> str:
        return f"{self.topology.name}-internet{self.suffix}"

    @property
    def placement(self) -> Path:
        return self.folder / f"placement{self.suffix}.json"

    @property
    def altered(self) -> Path:
        """A file that is there while somebody has the running lab changed on purpose, and after that one was killed."""
        return self.folder / f"altered{self.suffix}.json"

    def override(self, host: str) -> Path:
        return self.folder / host / f"override{self.suffix}.yaml"


class Instance(Protocol):
    """What tells one running copy of a topology from others."""

    @property
    def topology(self) -> Topology: ...

    @property
    def instance(self) -> str | None: ...


def suffix(lab: Instance) -> str:
    """What the names of an instance end with."""
    return f"-{lab.instance}" if lab.instance else ""


def labels(lab: Instance) -> dict[str, str]:
    return {"mtls-lab.lab": lab.topology.name, "mtls-lab.instance": lab.instance or ""}


def label_filters(lab: Instance) -> list[str]:
    return [f"{name}={value}" for name, value in labels(lab).items()]


def host_of(labels: Mapping[str, str]) -> str:
    """The host that labels name; empty for what belongs to a lab as a whole."""
    return labels.get("mtls-lab.host", "")
