"""What is known of one request: what was sent and came back, and what each gateway on its way had, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from topology.description.model import Topology
from topology.description.positions import Path
from topology.explaining import certificates
from topology.explaining.certificates import Certificate, RevocationList
from topology.explaining.chains import CLIENT, SERVER, Trust
from topology.explaining.configuration import Effective
from topology.explaining.log_lines import ErrorLine
from topology.nginx.reading import Configuration
from topology.nginx.tree import Directive
from topology.proof.checking import TURNED_AWAY
from topology.proof.expectation import REFUSED
from topology.runtime.differing import Difference
from topology.runtime.gateways import Refused

DEFAULT_DEPTH = 1
"""Of ssl_verify_depth and proxy_ssl_verify_depth (nginx)."""


@dataclass(frozen=True)
class Sent:
    """One request.

    host: whose gateway; domain: the name in SNI and Host; caller: in words; shown: the certificates of the caller, its
    own first; origin: the host from whose network it was sent, empty for outside; port: that of a service which
    terminates TLS itself, None for the gateway's own; tls: whether the caller spoke TLS at all;
    dialled: the port of the connection.
    """

    url: str
    host: str
    domain: str
    path: str
    tls: bool = True
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    caller: str = "none"
    shown: tuple[Certificate, ...] = ()
    origin: str = ""
    port: int | None = None
    dialled: int | None = None
    trusted: tuple[Certificate, ...] = ()
    """Whom the caller believes."""


@dataclass(frozen=True)
class Received:
    """status None: no answer, and failure says in a word why; headers: lower-case; body: its beginning; server: the
    certificates that the server showed, as far as they could be seen."""

    status: int | None
    failure: str = ""
    detail: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    version: str = ""
    server: tuple[Certificate, ...] = ()


@dataclass(frozen=True)
class Peer:
    """A container of a host.  addresses: on all of its networks."""

    service: str
    status: str
    health: str = ""
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Standing:
    """How a host's gateway is.  status: as the engine says, `down` where there is none; said: why it does not run."""

    status: str
    name: str = ""
    said: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stale:
    """A file that nginx uses otherwise than it lies on this machine.  cause: in a word; why: how that came about."""

    path: str
    cause: str
    why: str
    fix: str


@dataclass(frozen=True)
class Hop:
    """A gateway on the way.

    route: the prefix of the topology's route, empty for none; access: its access line; errors: its error lines of the
    request; configuration: all that its files say; effective: what holds for this request; files: path in the
    container -> content, of certificates and lists that the configuration names; now: by its clock; refused: what lies
    on disk and it does not take up; differences: of its files from what the topology makes, where looked for.
    """

    host: str
    route: str = ""
    access: Mapping[str, Any] | None = None
    errors: tuple[ErrorLine, ...] = ()
    configuration: Configuration | None = None
    effective: Effective = field(default_factory=Effective)
    files: Mapping[str, bytes] = field(default_factory=dict)
    now: datetime | None = None
    peers: tuple[Peer, ...] = ()
    stale: tuple[Stale, ...] = ()
    refused: Refused | None = None
    differences: tuple[Difference, ...] = ()

    def read(self, setting: str) -> tuple[Certificate, ...]:
        return certificates.read(self.content(setting))

    def lists(self, setting: str) -> tuple[RevocationList, ...]:
        return certificates.read_lists(self.content(setting))

    def content(self, setting: str) -> bytes:
        return self.files.get(self.effective.value(setting), b"")

    @property
    def clients(self) -> Trust:
        """Whose client certificates it believes."""
        return Trust(
            anchors=(*self.read("ssl_client_certificate"), *self.read("ssl_trusted_certificate")),
            lists=self.lists("ssl_crl"),
            depth=number(self.effective.value("ssl_verify_depth"), DEFAULT_DEPTH),
            checked=self.effective.one("ssl_crl") is not None,
            purpose=CLIENT,
        )

    @property
    def servers(self) -> Trust:
        """Whose server certificates it believes where it calls on."""
        return Trust(
            anchors=self.read("proxy_ssl_trusted_certificate"),
            lists=self.lists("proxy_ssl_crl"),
            depth=number(self.effective.value("proxy_ssl_verify_depth"), DEFAULT_DEPTH),
            checked=self.effective.one("proxy_ssl_crl") is not None,
            purpose=SERVER,
        )

    def told(self, field: str) -> str:
        """A field of the access line as text; empty where there is none."""
        return str((self.access or {}).get(field, ""))


def number(text: str, default: int) -> int:
    return int(text) if text.isdigit() else default


@dataclass(frozen=True)
class Evidence:
    """hops: in the order of the way; known: authorities by the name that the topology gives them; expected: the status
    that the topology says, or REFUSED, None where it says none; elsewhere: certificates that a server outside of the
    last hop shows; now: this machine's clock; places: field of the topology -> file and line."""

    sent: Sent
    received: Received
    topology: Topology
    hops: tuple[Hop, ...] = ()
    known: Mapping[str, Certificate] = field(default_factory=dict)
    expected: int | str | None = None
    rule: str = ""
    now: datetime | None = None
    places: Mapping[Path, tuple[str, int]] = field(default_factory=dict)
    served: Mapping[str, tuple[Certificate, ...]] = field(default_factory=dict)
    """Host -> the certificates that its gateway's files show to callers."""
    service_trust: Trust | None = None
    """Of a service that terminates TLS itself and demands certificates, where the request went to one."""
    gateways: Mapping[str, Standing] = field(default_factory=dict)
    """Host -> how its gateway is."""
    holders: Mapping[str, str] = field(default_factory=dict)
    """Address -> whose it is, as host and service, of all containers of the lab."""
    beside: str = ""
    """What was wrong beside the status, in the words of whoever looked."""

    @property
    def as_expected(self) -> bool | None:
        """Whether the topology says the same; None where it says nothing."""
        if self.expected is None:
            return None
        if self.beside:
            return False
        if isinstance(self.expected, str):
            return self.received.failure in (TURNED_AWAY if self.expected == REFUSED else (self.expected,))
        return self.expected == self.received.status

    @property
    def maker(self) -> Hop | None:
        """The last gateway that the request reached."""
        return next((hop for hop in reversed(self.hops) if hop.access is not None), next(iter(self.hops), None))

    def before(self, hop: Hop) -> Hop | None:
        """The gateway that called another one."""
        position = self.hops.index(hop)
        return self.hops[position - 1] if position else None


@dataclass(frozen=True)
class Finding:
    """One cause.

    cause: in a word, the same for the same cause; why: sentences; fix: what to change; host: whose gateway decided;
    settings: directives that decided, or that should; lines: what was logged of it; field: of the topology, that
    decides; also: what else is wrong beside it.
    """

    cause: str
    why: str
    fix: str
    host: str = ""
    settings: tuple[Directive, ...] = ()
    lines: tuple[str, ...] = ()
    field: Path = ()
    also: tuple[str, ...] = ()
