"""One request that an application could send to a lab: whom to call, as whom, on which route, with which files."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from topology.description.model import Topology
from topology.description.wording import nearest
from topology.description.wording import shown as printable
from topology.errors import InvalidInput, NotReady
from topology.pki.issuing import BUNDLE_PASSWORD
from topology.proof import expectation
from topology.proof.expectation import NOBODY, Check
from topology.report.addresses import port_part, shown
from topology.runtime.running import RunningLab

PATH = r"/[A-Za-z0-9\-._~!$&'()*+,;=:@/?%]*"
"""What may stand in a path with its query (RFC 3986); anything else is percent-encoded there."""

ROUTE = re.compile(rf"{PATH}|:[0-9]{{1,5}}({PATH})?")


@dataclass(frozen=True)
class Shown:
    """An identity's files: certificate and key in PEM, both in a PKCS#12 bundle, and the bundle's password."""

    certificate: str
    key: str
    bundle: str
    password: str


@dataclass(frozen=True)
class Call:
    """One request to one route.

    route: the route's prefix as the topology has it, `/` for a port that leads to a service; address, port: where a
    connection goes; authority: the file that the server is verified against, None in plain HTTP; shown: None for
    nobody.
    """

    lab: str
    host: str
    route: str
    identity: str | None
    scheme: str
    domain: str
    port: int
    path: str
    address: str
    authority: str | None
    shown: Shown | None

    @property
    def base(self) -> str:
        return f"{self.scheme}://{self.domain}{port_part(self.port, 443 if self.scheme == 'https' else 80)}"

    @property
    def url(self) -> str:
        return self.base + self.path

    @property
    def family(self) -> int:
        """4 or 6: the version of IP that the address belongs to."""
        return ipaddress.ip_address(self.address).version

    @property
    def address_and_port(self) -> str:
        return f"[{self.address}]:{self.port}" if self.family == 6 else f"{self.address}:{self.port}"


@dataclass(frozen=True)
class Destination:
    """Where a request goes at a host.  passed: the port that the gateway passes on to a service; None: its own."""

    prefix: str
    path: str
    passed: int | None = None

    @staticmethod
    def of(check: Check, path: str | None = None) -> Destination:
        return Destination(check.route[check.route.index("/") :], path or check.path, check.port)


def call(lab: RunningLab, host: str | None, identity: str | None, route: str | None) -> Call:
    """The request that somebody asks for in words.

    host: None for the only one; identity: None for nobody; route: a route, a path below one, or `:PORT/` for the TLS
    of a service; None for the first route that lets this caller in, a guarded one before an open one.
    Raises InvalidInput with the choices where there is no such thing, NotReady where no port is known.
    """
    name = host_of(lab.topology, host)
    if identity is not None and identity not in lab.topology.identities:
        listed = choices(identity, lab.topology.identities)
        raise InvalidInput(f"--as {printable(identity)}: no such identity; {listed}")
    if identity in lab.held_elsewhere:
        raise InvalidInput(f"--as {identity}: its key is held elsewhere, and only there can code show it")
    to = destination(lab.topology, name, identity, route)
    described = lab.topology.hosts[name]
    encrypted = described.tls is not None or to.passed is not None
    if identity is not None and not encrypted:
        raise InvalidInput(f"--as {identity}: {name} speaks plain HTTP, where nobody can show a certificate")
    return Call(
        lab=lab.topology.name,
        host=name,
        route=to.prefix,
        identity=identity,
        scheme="https" if encrypted else "http",
        domain=described.domain,
        port=port_of(lab, name, to, encrypted=encrypted),
        path=to.path,
        address=numeric(lab.endpoints[name].address),
        authority=shown(lab.anchor(name)) if encrypted else None,
        shown=files(lab, identity) if identity is not None else None,
    )


def host_of(topology: Topology, name: str | None) -> str:
    if name is None and len(topology.hosts) == 1:
        return next(iter(topology.hosts))
    if name is None:
        raise InvalidInput(f"--host is missing; there are {', '.join(topology.hosts)}")
    if name not in topology.hosts:
        raise InvalidInput(f"--host {printable(name)}: no such host; {choices(name, topology.hosts)}")
    return name


def port_of(lab: RunningLab, host: str, to: Destination, *, encrypted: bool) -> int:
    endpoint = lab.endpoints[host]
    if to.passed is not None:
        services = lab.topology.hosts[host].services.items()
        field = next(f"services.{n}.tls.publish" for n, s in services if s.tls is not None and s.tls.port == to.passed)
        port = endpoint.passed.get(to.passed)
    else:
        field = "publish.https" if encrypted else "publish.http"
        port = endpoint.https if encrypted else endpoint.http
    if port is None:
        raise NotReady(
            f"{host} is not up, and its topology leaves the port to Docker; "
            f"run `mtls-lab up`, or say it in the topology (hosts.{host}.{field})"
        )
    return port


def numeric(address: str) -> str:
    """An address as numbers, which is what clients pin a name to: where a lab runs on other machines, it can be a name.

    Raises NotReady where nobody knows that name here.
    """
    try:
        return str(socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise NotReady(f"{printable(address)}, where the gateway listens, is a name that nobody knows here") from error


def files(lab: RunningLab, identity: str) -> Shown:
    folder = lab.identities / identity
    certificate, key, bundle = (shown(folder / name) for name in ("certificate.pem", "key.pem", "bundle.p12"))
    return Shown(certificate, key, bundle, BUNDLE_PASSWORD)


# Routes


def destination(topology: Topology, host: str, identity: str | None, route: str | None) -> Destination:
    """The route, or the path below one, that is asked for; among a route's paths, one that lets the caller in."""
    cells = [check for check in expectation.checks(topology) if check.host == host]
    welcome = {where(cell) for cell in cells if cell.caller == (identity or NOBODY) and cell.expected == 200}
    if route is None:
        return most_telling(cells, welcome, identity)
    if not ROUTE.fullmatch(route):
        raise InvalidInput(
            f"--route {printable(route)}: not a path that starts with /, other characters than RFC 3986's "
            "percent-encoded; nor :PORT/ for a service with TLS of its own"
        )
    asked = route if "/" in route else f"{route}/"
    if here := [cell for cell in cells if cell.route == asked]:
        return Destination.of(next((cell for cell in here if where(cell) in welcome), here[0]))
    if around := [cell for cell in cells if asked.startswith(cell.route)]:
        return Destination.of(max(around, key=lambda cell: len(cell.route)), asked[asked.index("/") :])
    if asked == "/":
        return Destination("/", "/")
    listed = choices(route, dict.fromkeys(cell.route for cell in cells))
    raise InvalidInput(f"--route {printable(route)}: {host} has no such route; {listed}")


def most_telling(cells: list[Check], welcome: set[tuple[str, str]], identity: str | None) -> Destination:
    """A route that lets the caller in; for an identity, one that lets nobody in before one that is open to all."""
    open_to_all = {where(cell) for cell in cells if cell.caller == NOBODY and cell.expected == 200}
    guarded = welcome - open_to_all if identity is not None else set()
    for acceptable in (guarded, welcome):
        for cell in cells:
            if where(cell) in acceptable:
                return Destination.of(cell)
    return Destination.of(cells[0]) if cells else Destination("/", "/")


def where(check: Check) -> tuple[str, str]:
    return check.route, check.path


def choices(word: str, known: Iterable[str]) -> str:
    """All valid words, and the one that was probably meant."""
    names = list(known)
    if not names:
        return "there is none"
    near = nearest(word, names)
    meant = f"did you mean '{near}'? " if near else ""
    return f"{meant}there {'is' if len(names) == 1 else 'are'} {', '.join(names)}"
