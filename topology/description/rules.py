"""What has to hold between the fields of a topology, and what may stand in a text.

Each rule reads the author's plain values and tolerates what `shapes` complains about already, so that one wrong type
does not hide a dangling reference elsewhere in the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from topology.description.catalog import suggestion
from topology.description.model import Kind, Route
from topology.description.positions import Document
from topology.errors import Fault

Found = Iterator[tuple[tuple[str | int, ...], str]]
"""Path of the field, and what is wrong with it."""

LAB_NAME = re.compile(r"[a-z][a-z0-9-]{0,29}")
NAME = re.compile(r"[a-z][a-z0-9_-]*")
LONGEST_NAME = 50
"""With ` intermediate` an authority's name still is a common name (64 characters, RFC 5280)."""

DNS_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
DOMAIN = re.compile(rf"{DNS_LABEL}(?:\.{DNS_LABEL})+")
ADDRESS = re.compile(r"[0-9.]+")
PREFIX = re.compile(r"/(?:[A-Za-z0-9._~-]+/)*")
HEALTH = re.compile(r"/[A-Za-z0-9._~/-]*")
IMAGE = re.compile(r"[a-z0-9][A-Za-z0-9._:/@-]*")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+")
EMAIL = re.compile(r"[A-Za-z0-9.!#%&*+/=?^_~-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*")
BREAKING = re.compile(r"[\"'{};$\\`<>]|[^\x20-\U0010ffff]")
"""Characters that end a value in nginx, YAML or HTML, or start something else there."""

OWN_VARIABLES = ("SERVICE_NAME", "GATEWAY_URL")
RESERVED_HOSTS = ("authorities", "identities")


def faults(document: Document, kinds: Mapping[str, Kind], folder: Path) -> Iterator[Fault]:
    """All that contradicts the rules, in no order.  folder: what the topology's paths are relative to."""
    value = document.value
    for rule in RULES:
        for path, message in rule(value):
            yield document.fault(path, message)
    for path, message in chain(service_sources(value, kinds, folder), built_prefixes(value, kinds)):
        yield document.fault(path, message)


# Reading what may not be there


def mapping(value: Any, *names: str) -> dict[str, Any]:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def text(value: Any, name: str) -> str | None:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, str) and found else None


def listed(value: Any) -> tuple[str, ...]:
    """One name or a list of names, as a list."""
    if isinstance(value, str):
        return (value,)
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, tuple) else ()


def hosts(value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from ((name, mapping(value, "hosts", name)) for name in mapping(value, "hosts"))


def services(value: Any) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    for host, described in hosts(value):
        for name in mapping(described, "services"):
            yield ("hosts", host, "services", name), mapping(described, "services", name)


def routes(value: Any) -> Iterator[tuple[tuple[str, ...], dict[str, Any], dict[str, Any]]]:
    """Path, route, and the host that it belongs to."""
    for host, described in hosts(value):
        for prefix in mapping(described, "routes"):
            yield ("hosts", host, "routes", prefix), mapping(described, "routes", prefix), described


def unknown(name: str, what: str, known: Iterable[str]) -> str:
    return f"there is no {what} '{name}'; {suggestion(name, known)}"


# Names and texts


def names(value: Any) -> Found:
    lab = text(value, "name")
    if lab and not LAB_NAME.fullmatch(lab):
        yield ("name",), f"'{lab}' must be a lower-case letter, then letters, digits and hyphens, at most 30 in all"
    entities = [(kind, name) for kind in ("authorities", "identities", "hosts") for name in mapping(value, kind)]
    for path in [*entities, *(path for path, _ in services(value))]:
        name = path[-1]
        if not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
            limit = f", at most {LONGEST_NAME} in all"
            yield path, f"a name is a lower-case letter, then letters, digits, hyphens and underscores{limit}"
    for host, described in hosts(value):
        if host in RESERVED_HOSTS:
            yield ("hosts", host), f"no host can be called '{host}': a folder of that name holds something else"
        if "gateway" in mapping(described, "services"):
            yield ("hosts", host, "services", "gateway"), "no service can be called 'gateway': that is the host's nginx"
    if isinstance(value.get("hosts"), dict) and not value["hosts"]:
        yield ("hosts",), "is empty; a lab has at least one host"


def domains(value: Any) -> Found:
    first: dict[str, str] = {}
    for host, described in hosts(value):
        domain = text(described, "domain")
        named: list[tuple[tuple[str | int, ...], str]] = [(("hosts", host, "domain"), domain)] if domain else []
        aliases = described.get("aliases")
        for n, alias in enumerate(aliases if isinstance(aliases, tuple) else ()):
            if isinstance(alias, str) and alias:
                named.append((("hosts", host, "aliases", n), alias))
        for path, name in named:
            if wrong := domain_fault(name):
                yield path, wrong
            elif name in first and first[name] != host:
                yield path, f"{name} is a name of host '{first[name]}' already; each name leads to one host"
            elif name in first and path[-1] != "domain":
                yield path, f"{name} is a name of this host already; remove it"
            first.setdefault(name, host)


def domain_fault(name: str) -> str | None:
    if name != name.lower() and DOMAIN.fullmatch(name.lower()):
        return f"write it in lower case: {name.lower()}"
    if ADDRESS.fullmatch(name):
        return f"'{name}' is an address; certificates here are for names, such as ec3.lab.test"
    if "." not in name:
        example = name if DOMAIN.fullmatch(f"{name}.test") else "ec3"
        return f"'{name}' has no dot; write a full name, such as {example}.test"
    if not DOMAIN.fullmatch(name) or len(name) > 253:
        return f"'{name}' is not a DNS name: labels of letters, digits and hyphens, at most 63 each, 253 in all"
    return None


def identity_texts(value: Any) -> Found:
    seen: dict[tuple[str, str], str] = {}
    for name in mapping(value, "identities"):
        one = mapping(value, "identities", name)
        path = ("identities", name)
        common_name = text(one, "common_name") or name
        if len(common_name) > 64:
            yield (*path, "common_name"), "is longer than 64 characters (RFC 5280)"
        if BREAKING.search(common_name) or not common_name.isprintable():
            yield (*path, "common_name"), "has a character that would break out of a configuration; use other ones"
        authority = text(one, "authority")
        known = seen.setdefault((authority or "", common_name.lower()), name)
        if authority and known != name:
            yield path, f"is the same caller as '{known}': same authority, and common names that differ in case at most"
        san = one.get("san")
        for n, alternative in enumerate(san if isinstance(san, tuple) else ()):
            if isinstance(alternative, str) and alternative and not is_general_name(alternative):
                message = f"'{alternative}' is no DNS name, URI or e-mail address that could stand on a certificate"
                yield (*path, "san", n), message


def is_general_name(name: str) -> bool:
    if BREAKING.search(name) or not name.isascii():
        return False
    return bool(
        URI.fullmatch(name)
        if ":" in name
        else EMAIL.fullmatch(name)
        if "@" in name
        else re.fullmatch(rf"(?:\*\.)?{DNS_LABEL}(?:\.{DNS_LABEL})*", name.lower())
    )


def prefixes(value: Any) -> Found:
    for host, described in hosts(value):
        folded: dict[str, str] = {}
        for prefix in mapping(described, "routes"):
            path = ("hosts", host, "routes", prefix)
            if wrong := prefix_fault(prefix):
                yield path, wrong
            elif (first := folded.setdefault(prefix.lower(), prefix)) != prefix:
                yield path, f"differs from {first} in case alone; give one of them another prefix"


def prefix_fault(prefix: str) -> str | None:
    if not prefix.startswith("/") or not prefix.endswith("/"):
        return f"a route's prefix starts and ends with '/', such as /{prefix.strip('/') or 'boot'}/"
    if "//" in prefix or {".", ".."} & set(prefix.split("/")):
        return "nginx takes '//', '/./' and '/../' out of a path before it looks for a route; this one is never found"
    if not PREFIX.fullmatch(prefix):
        return "a route's prefix holds letters, digits, '-', '_', '.' and '~' between slashes"
    return None


# Hosts


def ports(value: Any) -> Found:
    first: dict[int, str] = {}
    for host, described in hosts(value):
        for scheme, port in mapping(described, "publish").items():
            if not isinstance(port, int) or isinstance(port, bool):
                continue
            here = f"hosts.{host}.publish.{scheme}"
            if (known := first.setdefault(port, here)) != here:
                yield ("hosts", host, "publish", scheme), f"port {port} is taken by {known}; choose another"


def plain_hosts(value: Any) -> Found:
    for host, described in hosts(value):
        if described.get("tls") is False:
            if "client_certificates" in described:
                yield ("hosts", host, "client_certificates"), "needs TLS, and this host has `tls: false`"
            if "https" in mapping(described, "publish"):
                yield ("hosts", host, "publish", "https"), "needs TLS, and this host has `tls: false`; publish http"
        elif described.get("tls") is not True and not mapping(value, "authorities"):
            yield (
                ("hosts", host),
                "needs an authority for its certificate; add one to `authorities`, or say `tls: false`",
            )


def references(value: Any) -> Found:
    authorities, identities = mapping(value, "authorities"), mapping(value, "identities")

    def missing(path: tuple[str | int, ...], name: str | None, what: str, known: Mapping[str, Any]) -> Found:
        if name and name not in known:
            yield path, unknown(name, what, known)

    for name in identities:
        yield from missing(
            ("identities", name, "authority"), text(identities[name], "authority"), "authority", authorities
        )
    for host, described in hosts(value):
        tls = text(mapping(described, "tls"), "authority")
        yield from missing(("hosts", host, "tls", "authority"), tls, "authority", authorities)
        asked = mapping(described, "client_certificates").get("authority")
        for n, one in enumerate(listed(asked)):
            path = ("hosts", host, "client_certificates", "authority", *((n,) if isinstance(asked, tuple) else ()))
            yield from missing(path, one, "authority", authorities)
    for path, route, described in routes(value):
        yield from missing(
            (*path, "service"), text(route, "service"), "service of this host", mapping(described, "services")
        )
        yield from missing((*path, "host"), text(route, "host"), "host", mapping(value, "hosts"))
        yield from missing((*path, "identity"), text(route, "identity"), "identity", identities)
        for n, one in enumerate(listed(route.get("allow"))):
            yield from missing((*path, "allow", n), one, "identity", identities)


# Routes


def route_targets(value: Any) -> Found:
    for path, route, _ in routes(value):
        chosen = [name for name in ("service", "host", "files", "url") if name in route]
        misspelt = any(name not in Route.model_fields for name in route)
        if len(chosen) != 1 and not (misspelt and not chosen):
            had = f"has {' and '.join(chosen)}" if chosen else "leads nowhere"
            yield path, f"{had}; give it exactly one of service and host"
        for field, needs in (("to", ("host",)), ("identity", ("host", "url")), ("lends", ("identity",))):
            if field in route and not any(name in route for name in needs):
                yield (*path, field), f"goes together with {' or '.join(needs)} only; remove it"
        if "strip_prefix" in route and "service" not in route:
            yield (*path, "strip_prefix"), "goes together with service only; remove it (`to` says the path on a host)"
        if (to := text(route, "to")) and (wrong := prefix_fault(to)):
            yield (*path, "to"), wrong.replace("a route's prefix", "it")
        remote = mapping(value, "hosts", text(route, "host") or "")
        if remote.get("tls") is False:
            yield (*path, "host"), f"host '{route['host']}' has `tls: false`; hosts call each other over TLS alone"


def guards(value: Any) -> Found:
    for path, route, described in routes(value):
        allow = listed(route.get("allow"))
        required = route.get("client_certificate") == "required"
        if route.get("allow") == ():
            yield (*path, "allow"), "is empty, nobody could enter; name identities, or remove it"
        if route.get("internal") is True and (required or "allow" in route):
            field = "allow" if "allow" in route else "client_certificate"
            yield (
                (*path, field),
                "not together with `internal`: services inside show no certificate; remove one of them",
            )
        if allow and route.get("client_certificate") == "none":
            yield (*path, "client_certificate"), "contradicts `allow`, which requires a certificate; remove it"
        trusted = listed(mapping(described, "client_certificates").get("authority"))
        if (required or allow) and "client_certificates" not in described:
            field = "allow" if allow else "client_certificate"
            yield (*path, field), "this host asks nobody for a certificate; add `client_certificates` to it"
            continue
        for n, name in enumerate(allow):
            authority = text(mapping(value, "identities", name), "authority")
            if authority and trusted and authority not in trusted:
                yield (*path, "allow", n), f"can never enter: this host does not trust its authority '{authority}'"


def loops(value: Any) -> Found:
    """A chain of routes that comes back to the same route: a request would go round for ever."""
    for path, route, _ in routes(value):
        start = (path[1], path[3])
        walked, here = [start], route
        while (step := next_route(value, here)) and step not in walked:
            walked.append(step)
            here = mapping(value, "hosts", step[0], "routes", step[1])
        if step == start:
            way = " -> ".join(f"{host} {prefix}" for host, prefix in [*walked, start])
            yield (*path, "host"), f"comes back to itself: {way}"


def next_route(value: Any, route: dict[str, Any]) -> tuple[str, str] | None:
    """The route of the other host that a call arrives at: nginx takes the longest prefix."""
    host, to = text(route, "host"), text(route, "to") or "/"
    if host is None:
        return None
    matching = [prefix for prefix in mapping(value, "hosts", host, "routes") if prefix and to.startswith(prefix)]
    return (host, max(matching, key=len)) if matching else None


# Services


def service_fields(value: Any) -> Found:
    for path, service in services(value):
        chosen = [name for name in ("kind", "build", "image") if name in service]
        if len(chosen) != 1:
            had = f"has {' and '.join(chosen)}" if chosen else "has nothing to run"
            yield path, f"{had}; give it exactly one of kind, build and image"
        if "kind" not in service and chosen:
            for field in ("port", "health"):
                if field not in service:
                    yield (*path, field), f"is missing; only a kind brings a {field} of its own"
        health = text(service, "health")
        if health and not HEALTH.fullmatch(health):
            yield (*path, "health"), "must be a path such as /health: letters, digits, '-', '_', '.', '~' and slashes"
        image = text(service, "image")
        if image and not IMAGE.fullmatch(image):
            yield (*path, "image"), f"'{image}' is not an image's name, such as nginx:1.27"


def environments(value: Any) -> Found:
    for path, service in services(value):
        for name, one in mapping(service, "environment").items():
            here = (*path, "environment", name)
            if not VARIABLE.fullmatch(name):
                yield here, "a variable's name holds letters, digits and underscores, and starts with no digit"
            elif name in OWN_VARIABLES:
                yield here, "is set by the tool; choose another name"
            source = text(one, "from_env") if isinstance(one, dict) else None
            if source and not VARIABLE.fullmatch(source):
                yield (
                    (*here, "from_env"),
                    "a variable's name holds letters, digits and underscores, and starts with no digit",
                )
            elif source and source.startswith("MTLS_LAB_"):
                yield (*here, "from_env"), "names that start with MTLS_LAB_ are the tool's own; choose another"


def service_sources(value: Any, kinds: Mapping[str, Kind], folder: Path) -> Found:
    for path, service in services(value):
        kind, build = text(service, "kind"), text(service, "build")
        if kind and kind not in kinds:
            yield (*path, "kind"), unknown(kind, "kind", kinds)
        if build and ("\0" in build or not (folder / build / "Dockerfile").is_file()):
            yield (*path, "build"), f"there is no Dockerfile in {build}, taken from the topology's folder"


def built_prefixes(value: Any, kinds: Mapping[str, Kind]) -> Found:
    """A kind with base_path is built for its prefix."""
    for path, service in services(value):
        kind = kinds.get(text(service, "kind") or "")
        if kind is None or not kind.base_path:
            continue
        used = [
            (where, route)
            for where, route, _ in routes(value)
            if where[1] == path[1] and text(route, "service") == path[3]
        ]
        if len(used) != 1:
            yield path, f"kind '{kind.name}' is built for one prefix; give it exactly one route, it has {len(used)}"
        for where, route in used:
            if route.get("strip_prefix") is True:
                yield (
                    (*where, "strip_prefix"),
                    f"kind '{kind.name}' is built for its prefix and has to see it; remove this",
                )


RULES: tuple[Callable[[Any], Found], ...] = (
    names,
    domains,
    identity_texts,
    prefixes,
    ports,
    plain_hosts,
    references,
    route_targets,
    guards,
    loops,
    service_fields,
    environments,
)
