"""Where a running lab can be reached and where its certificates lie: what a prober has to know, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import certifi

from topology.description.model import SYSTEM, Topology


@dataclass(frozen=True)
class Endpoint:
    """Where the gateway of one host listens.  A port is None where there is no such listener.

    address: an IPv4 address, or the host's domain where that resolves through DNS.
    passed: a port that the gateway passes on to a service -> where that is published.
    """

    address: str
    http: int | None
    https: int | None
    passed: Mapping[int, int | None] = field(default_factory=dict)


@dataclass(frozen=True)
class RunningLab:
    """One running instance of a topology.

    authorities / identities: the folders that hold NAME/certificate.pem, NAME/key.pem and so on.
    cut: (caller, called) of hosts between which no call can arrive in this run, since one is not up, or out of reach.
    """

    topology: Topology
    instance: str | None
    endpoints: Mapping[str, Endpoint]
    authorities: Path
    identities: Path
    cut: frozenset[tuple[str, str]] = frozenset()

    @property
    def held_elsewhere(self) -> frozenset[str]:
        """Identities whose key somebody else holds: a request lies in the place of it."""
        return frozenset(
            name for name in self.topology.identities if (self.identities / name / "request.pem").is_file()
        )

    def anchor(self, host: str) -> Path:
        """The file with the authority that vouches for a host's certificate, and for those of its services."""
        tls = self.topology.hosts[host].tls
        authority = tls.authority if tls else next(iter(self.topology.authorities), "")
        return Path(certifi.where()) if authority == SYSTEM else self.authorities / authority / "certificate.pem"


def as_published(topology: Topology, instance: str | None, authorities: Path, identities: Path) -> RunningLab:
    """A lab where its topology publishes it, whether it runs or not; ports that Docker chooses are None."""
    endpoints = {
        name: Endpoint(
            address="127.0.0.1",
            http=host.publish.http,
            https=host.publish.https,
            passed={one.tls.port: one.tls.publish for one in host.services.values() if one.tls is not None},
        )
        for name, host in topology.hosts.items()
    }
    return RunningLab(topology, instance, endpoints, authorities, identities)
