"""Routes as nginx sees them: where a location leads, whom it lets pass, and as whom it calls other hosts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from topology.description.loading import Description
from topology.description.model import SYSTEM, Host, Identity, Route, Topology
from topology.description.sources import given
from topology.errors import InvalidInput
from topology.generation.certificates import read_certificates
from topology.generation.headers import HOST_HEADER
from topology.pki.issuing import authority_name, client_subject, intermediate_name, rfc2253

SYSTEM_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
"""Where a gateway's image keeps the public authorities."""

OWN_INTERMEDIATES = 1
"""Between a root of the lab and a leaf."""

PARTNERS_INTERMEDIATES = 4
"""Between somebody else's root and leaf: public authorities have up to three, companies' own as many as they like."""


@dataclass(frozen=True)
class Upstream:
    """An nginx upstream.  Kept connections are shared within one, so each identity has one of its own."""

    name: str
    server: str
    comment: str
    idle_seconds: int


@dataclass(frozen=True)
class Egress:
    """How a location calls another host: whom it expects there, and as whom it comes.

    name: what the certificate there has to say; authority, crl: files, crl empty where there is none; depth: how many
    intermediates may lie between the two.
    """

    name: str
    host_header: str
    authority: str
    crl: str
    depth: int
    identity: str | None


@dataclass(frozen=True)
class Forwarding:
    """Where a location passes requests on to, and what becomes of their path (nginx's rewrite).

    Written out and not as a path in proxy_pass, which does the same unseen: what is passed on is the path by which the
    location was chosen, normalised, and never the caller's own spelling of it.
    on_demand: a server outside of the lab, looked up anew when it is called, so that its absence hurts nobody else.
    """

    server: str
    pattern: str
    replacement: str
    on_demand: bool


@dataclass(frozen=True)
class Location:
    """A route as nginx sees it.

    callers: issuer|subject of those who may pass; empty lets every guard-passer in.
    base: what the answering side's own paths begin with, in the place of the prefix; asked_at: the address, up to the
    path, by which the gateway asks it.
    Where the answer comes from: forwarding (another server) or root (files).
    """

    prefix: str
    answer: str
    inside_only: bool
    verified_only: bool
    callers: tuple[str, ...]
    forwarded_prefix: str
    base: str
    asked_at: str
    to: str
    headers: str
    egress: Egress | None
    forwarding: Forwarding | None
    root: str

    @property
    def leaves_the_lab(self) -> bool:
        return self.forwarding is not None and self.forwarding.on_demand


def upstreams(
    topology: Topology, host: Host, addresses: Mapping[str, str], ports: Mapping[str, int]
) -> tuple[Upstream, ...]:
    """One per service, and one per remote host and identity.

    Connections and TLS sessions to an upstream are reused whatever location asks: were two identities to share one,
    a call could arrive under the other's name.
    addresses: service -> where it is; ports: host on another machine -> where its gateway is published there.
    """
    # Below the 5 seconds after which Node.js and uvicorn close an idle connection: a request never meets a closing one.
    services = [Upstream(name, f"{address}:{host.services[name].port}", name, 4) for name, address in addresses.items()]

    def remote(route: Route, called: str) -> Upstream:
        port = ports.get(called, 443)
        return Upstream(upstream_name(route), f"{topology.hosts[called].domain}:{port}", "", 60)

    remotes = {
        upstream_name(route): remote(route, route.host) for route in host.routes.values() if route.host is not None
    }
    return (*services, *remotes.values())


def upstream_name(route: Route) -> str:
    """Names of services and hosts have no dots, so these never meet."""
    if route.service is not None:
        return route.service
    return f"{route.host}.as.{route.identity}" if route.identity else f"{route.host}.without-identity"


def location(description: Description, host_name: str, prefix: str) -> Location:
    topology = description.topology
    host = topology.hosts[host_name]
    route = host.routes[prefix]
    outward = egress(topology, route)
    return Location(
        prefix=prefix,
        answer=answer(route),
        inside_only=route.internal,
        verified_only=route.client_certificate == "required",
        callers=tuple(caller(description, topology.identities[name]) for name in route.allow),
        forwarded_prefix=prefix.rstrip("/"),
        base=base(route, prefix),
        asked_at=f"https://{outward.host_header}" if outward else f"$forwarded_proto://{HOST_HEADER}",
        to=route.to if route.host else "",
        headers=headers(route),
        egress=outward,
        forwarding=forwarding(route, prefix),
        root=f"/srv/files/{files_folder(prefix)}" if route.files is not None else "",
    )


def headers(route: Route) -> str:
    """The list of headers that a location sends along; files need none."""
    if route.files is not None:
        return ""
    return "partner-headers.conf" if route.url else "egress-headers.conf" if route.host else "service-headers.conf"


def base(route: Route, prefix: str) -> str:
    """What the paths of the answering side begin with, where this gateway's caller has the prefix."""
    if route.host is not None:
        return route.to.rstrip("/")
    if route.url is not None:
        return (urlsplit(route.url).path or "/").rstrip("/")
    return "" if route.strip_prefix else prefix.rstrip("/")


def answer(route: Route) -> str:
    """The route in words, for readers of the configuration and of the host's index page."""
    goes = (
        f"service {route.service}" if route.service
        else f"host {route.host}, {route.to}" if route.host
        else route.url or f"files of {route.files}"
    )  # fmt: skip
    comes = f" as {route.identity}" if route.identity else ""
    who = "everyone"
    if route.internal:
        who = "this host's own services alone"
    elif route.allow:
        who = ", ".join(route.allow) + " alone"
    elif route.client_certificate == "required":
        who = "callers with a verified certificate"
    return f"{goes}{comes}: {who}"


def caller(description: Description, identity: Identity) -> str:
    """An identity as nginx names it: issuer and subject together."""
    topology = description.topology
    if identity.certificate is not None:
        found = read_certificates(given(description.file.parent, identity.certificate))[0]
        try:
            return f"{rfc2253(found.issuer)}|{rfc2253(found.subject)}"
        except ValueError as error:
            raise InvalidInput(f"{identity.certificate}: {error}; nginx cannot be told to compare it") from error
    authority = topology.authorities[identity.authority]
    name = intermediate_name if authority.intermediate else authority_name
    issuer = name(topology.name, identity.authority)
    return f"{rfc2253(issuer)}|{rfc2253(client_subject(identity.common_name))}"


def egress(topology: Topology, route: Route) -> Egress | None:
    if route.url is not None:
        parts = urlsplit(route.url)
        files = anchor_files(topology, route.trust)
        return Egress(parts.hostname or "", parts.netloc, *files, PARTNERS_INTERMEDIATES, route.identity)
    if route.host is None:
        return None
    remote = topology.hosts[route.host]
    if remote.tls is None:
        raise AssertionError(f"a route to plain host {route.host} passed validation")
    files = anchor_files(topology, remote.tls.authority)
    return Egress(remote.domain, remote.domain, *files, OWN_INTERMEDIATES, route.identity)


def anchor_files(topology: Topology, authority: str) -> tuple[str, str]:
    """The file of an authority that a gateway trusts elsewhere, and the file of its revocation lists, if there are any.

    Public authorities publish theirs in ways that nginx does not read, and the lab's ACME server has none.
    """
    if authority == SYSTEM:
        return SYSTEM_AUTHORITIES, ""
    stem = f"/etc/nginx/certificates/upstream/{authority}"
    known = topology.authorities.get(authority)
    has_crl = known is not None and (known.certificate is None or known.crl is not None)
    return f"{stem}.pem", f"{stem}.crl.pem" if has_crl else ""


def forwarding(route: Route, prefix: str) -> Forwarding | None:
    if route.files is not None:
        return None
    pattern = f"(?s)^{re.escape(prefix)}(.*)$"
    if route.url is not None:
        parts = urlsplit(route.url)
        return Forwarding(f"https://{parts.netloc}", pattern, f"{parts.path or '/'}$1", True)
    if route.host is not None:
        return Forwarding(f"https://{upstream_name(route)}", pattern, f"{route.to}$1", False)
    return Forwarding(f"http://{upstream_name(route)}", pattern, f"{'/' if route.strip_prefix else prefix}$1", False)


def files_folder(prefix: str) -> str:
    """The folder of a route's files.  Below it the files lie under the whole prefix, so that nginx takes it as root."""
    return prefix.strip("/").replace("/", "+") or "+"
