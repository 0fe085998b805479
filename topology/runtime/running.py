"""Where a running lab can be reached and where its certificates lie: what a prober has to know, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from topology.description.model import Topology


@dataclass(frozen=True)
class Endpoint:
    """Where the gateway of one host listens on this machine.  A port is None where there is no such listener."""

    address: str
    http: int | None
    https: int | None


@dataclass(frozen=True)
class RunningLab:
    """One running instance of a topology.

    authorities / identities: the folders that hold NAME/certificate.pem, NAME/key.pem and so on.
    """

    topology: Topology
    instance: str | None
    endpoints: Mapping[str, Endpoint]
    authorities: Path
    identities: Path
