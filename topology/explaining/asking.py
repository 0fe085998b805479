"""A URL and who asks -> where a request goes in a running lab; every mistake in it is said in one line."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from topology.description.model import Topology
from topology.description.wording import shown, suggestion
from topology.errors import InvalidInput, NotReady
from topology.runtime.running import RunningLab

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
INSIDE_PORT = 8080
"""Of GATEWAY_URL."""


@dataclass(frozen=True)
class Question:
    """What somebody asks.  caller: an identity, or a caller as `check` names it, or None; origin: the host from whose
    network; certificate, key: files of the caller's own; tls: the one version to speak, None for any."""

    url: str
    caller: str | None = None
    origin: str | None = None
    certificate: Path | None = None
    key: Path | None = None
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    tls: str | None = None


@dataclass(frozen=True)
class Target:
    """Where a request goes.

    domain: the name in SNI and Host; address, port: of the connection, on this machine or inside; path: as it is
    requested; passed: the port that the gateway passes on to a service, None for the gateway's own; listener: the port
    in the container.
    """

    host: str
    domain: str
    address: str
    port: int
    path: str
    tls: bool
    listener: int
    passed: int | None = None
    inside: bool = False


def target(lab: RunningLab, question: Question) -> Target:
    """Raises InvalidInput with the choices where the URL leads to nothing of the lab, NotReady where a port is not
    published."""
    url, host = split(question.url), called(lab, question)
    if question.origin is not None:
        return inside(lab.topology, url, question)
    path = path_of(url)
    endpoint = lab.endpoints[host]
    tls = url.scheme == "https"
    passed = {published: port for port, published in endpoint.passed.items()} | {p: p for p in endpoint.passed}
    domain = url.hostname or ""
    if url.port in passed and url.port not in (endpoint.http, endpoint.https):
        port = endpoint.passed[passed[url.port]]
        return Target(host, domain, endpoint.address, known(port, host), path, tls, passed[url.port], passed[url.port])
    if url.port is not None and url.port in (endpoint.http, endpoint.https):
        listener = 443 if url.port == endpoint.https else 80
        return Target(host, domain, endpoint.address, url.port, path, tls, listener)
    if url.port not in (None, 80, 443):
        ports = ", ".join(str(port) for port in (endpoint.https, endpoint.http, *endpoint.passed.values()) if port)
        raise InvalidInput(f"{shown(question.url)}: {host} does not listen on port {url.port}; it does on {ports}")
    port = endpoint.https if tls else endpoint.http
    return Target(host, domain, endpoint.address, known(port, host), path, tls, 443 if tls else 80)


def called(lab: RunningLab, question: Question) -> str:
    """The host whose gateway takes the request.  Raises InvalidInput with the choices where there is none."""
    if question.origin is None:
        return host_of(lab, split(question.url))
    if question.origin not in lab.topology.hosts:
        raise InvalidInput(
            f"--from {shown(question.origin)}: no such host; {suggestion(question.origin, lab.topology.hosts)}"
        )
    return question.origin


def known(port: int | None, host: str) -> int:
    if port is None:
        raise NotReady(f"{host} has no such port published; `mtls-lab status` shows where it listens")
    return port


def split(text: str) -> SplitResult:
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError as error:
        raise InvalidInput(f"{shown(text)}: no URL: {error}; write it like https://HOST/PATH") from None
    if url.scheme not in ("http", "https") or not url.hostname:
        raise InvalidInput(f"{shown(text)}: write a whole URL, like https://HOST/PATH")
    if url.username is not None:
        raise InvalidInput(f"{shown(text)}: a URL with a user's name; send it with --header 'Authorization: ...'")
    if any(not "!" <= character <= "~" for character in text):
        raise InvalidInput(f"{shown(text)}: characters other than RFC 3986's have to be percent-encoded")
    return url


def path_of(url: SplitResult) -> str:
    return (url.path or "/") + (f"?{url.query}" if url.query else "")


def host_of(lab: RunningLab, url: SplitResult) -> str:
    """The host that has the URL's name; else, where the address or port is the lab's, the one that listens there."""
    name = url.hostname or ""
    for host, described in lab.topology.hosts.items():
        if name in (described.domain, *described.aliases):
            return host
    for host, endpoint in lab.endpoints.items():
        ports = (endpoint.http, endpoint.https, *endpoint.passed.values())
        if url.port is not None and url.port in ports and (is_local(name) or name == endpoint.address):
            return host
    names = {described.domain: host for host, described in lab.topology.hosts.items()}
    if name in lab.topology.hosts:
        hint = f"did you mean '{lab.topology.hosts[name].domain}'?"
    else:
        hint = suggestion(name, names)
    raise InvalidInput(
        f"{shown(name)}: no host of the lab {lab.topology.name}, and explain asks the lab's own gateways alone; {hint}"
    )


def is_local(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".test")


# From inside


def inside(topology: Topology, url: SplitResult, question: Question) -> Target:
    """What a service of a host would call: its own gateway, at GATEWAY_URL, by the route that leads to the URL."""
    origin = question.origin or ""
    if question.certificate is not None:
        raise InvalidInput(f"--cert: inside of {origin} callers speak plain HTTP, where nobody can show a certificate")
    name, path = url.hostname or "", path_of(url)
    own = topology.hosts[origin]
    if name in (own.domain, *own.aliases, "gateway"):
        if question.caller not in (None, "none"):
            raise InvalidInput(
                f"--as {shown(question.caller or '')}: inside of {origin} callers speak plain HTTP, where nobody can "
                "show a certificate"
            )
        return Target(origin, "gateway", "gateway", INSIDE_PORT, path, False, INSIDE_PORT, inside=True)
    leading = list(routes_to(topology, origin, name, path))
    fitting = [one for one in leading if question.caller in (None, one[1] or "none")]
    if not fitting:
        raise InvalidInput(no_way(topology, origin, name, path, question.caller, [one[2] for one in leading]))
    to, _, prefix = max(fitting, key=lambda one: len(one[0]))
    return Target(
        origin, "gateway", "gateway", INSIDE_PORT, prefix + path.removeprefix(to), False, INSIDE_PORT, inside=True
    )


def routes_to(topology: Topology, origin: str, name: str, path: str) -> Iterator[tuple[str, str | None, str]]:
    """(what of the path the route stands for, identity, prefix) of each route that leads to a name and path."""
    for prefix, route in topology.hosts[origin].routes.items():
        if route.host is not None:
            remote = topology.hosts[route.host]
            if name in (remote.domain, *remote.aliases) and path.startswith(route.to):
                yield route.to, route.identity, prefix
        elif route.url is not None:
            there = urlsplit(route.url)
            if name == there.hostname and path.startswith(there.path):
                yield there.path, route.identity, prefix


def no_way(topology: Topology, origin: str, name: str, path: str, caller: str | None, leading: list[str]) -> str:
    if leading:
        whose = ", ".join(f"{p} as {topology.hosts[origin].routes[p].identity or 'none'}" for p in leading)
        return f"--as {shown(caller or '')}: no route of {origin} goes there as that; there is {whose}"
    others = [
        f"{prefix} to {topology.hosts[route.host].domain}{route.to}"
        for prefix, route in topology.hosts[origin].routes.items()
        if route.host is not None
    ]
    listed = f"its routes to other hosts: {', '.join(others)}" if others else "it has no routes to other hosts"
    return f"--from {origin}: no route of {origin} leads to {shown(name)}{shown(path)}; {listed}"
