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

from topology.description import credentials
from topology.description.model import ACME, SYSTEM, Kind
from topology.description.positions import Document
from topology.description.shapes import completed
from topology.description.sources import stray_links
from topology.description.wording import shown, suggestion
from topology.errors import Fault

Found = Iterator[tuple[tuple[str | int, ...], str]]
"""Path of the field, and what is wrong with it."""

FOLDED = re.IGNORECASE | re.ASCII
"""Alone, the first lets three letters beyond ASCII pass that fold to i, k and s."""

LAB_NAME = re.compile(r"[a-z][a-z0-9-]{0,29}")
NAME = re.compile(r"[a-z][a-z0-9_-]*")
LONGEST_NAME = 50
"""With ` intermediate` an authority's name still is a common name (64 characters, RFC 5280)."""

DNS_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
DOMAIN = re.compile(rf"{DNS_LABEL}(?:\.{DNS_LABEL})+")
ADDRESS = re.compile(r"[0-9.]+")
PREFIX = re.compile(r"/(?:[A-Za-z0-9._~-]+/)*")
LONGEST_PATH = 200
"""nginx reads no parameter longer than its buffer, and nobody types one."""
PATH = re.compile(r"/[A-Za-z0-9._~/-]*")
IMAGE_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
IMAGE = re.compile(
    rf"(?:[A-Za-z0-9.-]+(?::[0-9]{{1,5}})?/)?{IMAGE_PART}(?:/{IMAGE_PART})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
"""A reference as the distribution specification writes it: registry, path, tag, digest."""
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
URI = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*://|urn:)[!-~]+")
EMAIL = re.compile(rf"[A-Za-z0-9.!#%&*+/=?^_~-]{{1,64}}@{DNS_LABEL}(?:\.{DNS_LABEL})*", FOLDED)
LONGEST_SAN = 500
BREAKING = re.compile("[\"'{};$\\\\`]")
"""Characters that end a value in nginx or YAML, or start something else there."""
LONGEST_CHAIN = 100
"""Gateways that a request may pass.  nginx has no limit of its own; the time of its callers is one."""

URL = re.compile(
    rf"https://(?P<name>{DNS_LABEL}(?:\.{DNS_LABEL})+)(?::(?P<port>[0-9]{{1,5}}))?(?P<path>/[^?#]*)?", FOLDED
)
"""A server outside of the lab.  A name without a dot could be one of Docker's own, an address has no certificate."""
DIRECTORY = re.compile(rf"https://{DNS_LABEL}(?:\.{DNS_LABEL})*(?::[0-9]{{1,5}})?/[A-Za-z0-9._~/-]*", FOLDED)
TARGETS = ("service", "host", "url", "files")
TLS_VARIABLES = ("TLS_PORT", "TLS_CERT", "TLS_KEY", "TLS_CLIENT_CA", "TLS_CRL")
OWN_VARIABLES = ("SERVICE_NAME", "GATEWAY_URL", *TLS_VARIABLES)
RESERVED_HOSTS = ("authorities", "identities")
GATEWAY_PORTS = (80, 443, 8080, 8081)
"""Where a gateway itself listens inside its container."""


Place = tuple[str, str]
"""A host and the prefix of one of its routes."""


def faults(document: Document, kinds: Mapping[str, Kind], folder: Path) -> Iterator[Fault]:
    """All that contradicts the rules, in no order.  folder: what the topology's paths are relative to."""
    value = completed(document.value)
    for rule in RULES:
        for path, message in rule(value):
            yield document.fault(path, message)
    with_files = (service_sources(value, kinds, folder), credential_files(value, folder), folders(value, folder))
    for path, message in chain(built_prefixes(value, kinds), services_with_tls(value, kinds), *with_files):
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


def allowed(route: Mapping[str, Any]) -> tuple[Any, ...]:
    """Whom a route allows, as far as it is a list: a lone text has its fault already."""
    found = route.get("allow")
    return tuple(one if isinstance(one, str) else None for one in found) if isinstance(found, tuple) else ()


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
    return f"there is no {what} '{shown(name)}'; {suggestion(name, known)}"


def absent(value: Any, name: str) -> bool:
    """Is there really nothing of that name, or an empty mapping?  (What is there but wrong has its fault already.)"""
    return not value.get(name, {}) and isinstance(value.get(name, {}), dict)


# Names and texts


def names(value: Any) -> Found:
    lab = text(value, "name")
    if lab and not LAB_NAME.fullmatch(lab):
        advice = "write a lower-case letter, then letters, digits and hyphens, at most 30 in all"
        yield ("name",), f"'{shown(lab)}' cannot name a lab; {advice}"
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
        return f"write it in lower case: {shown(name.lower())}"
    if ADDRESS.fullmatch(name):
        return f"'{shown(name)}' is an address; certificates here are for names, such as server.lab.test"
    if re.fullmatch(DNS_LABEL, name):
        return f"'{name}' has no dot; write a full name, such as {name}.test"
    if name.endswith(".") and DOMAIN.fullmatch(name[:-1]):
        return f"write it without the dot at its end: {shown(name[:-1])}"
    if not DOMAIN.fullmatch(name) or len(name) > 253:
        advice = "labels of letters, digits and hyphens between dots, at most 63 characters each, 253 in all"
        return f"'{shown(name)}' is not a DNS name; write {advice}"
    return None


def identity_texts(value: Any) -> Found:
    seen: dict[tuple[str, str], str] = {}
    for name in mapping(value, "identities"):
        one = mapping(value, "identities", name)
        path = ("identities", name)
        common_name = text(one, "common_name") or name
        if "common_name" in one and (wrong := common_name_fault(common_name)):
            yield (*path, "common_name"), wrong
        authority = text(one, "authority")
        known = seen.setdefault((authority or "", common_name.casefold()), name)
        if authority and known != name:
            message = f"is the same caller as '{known}': one authority, and common names that differ in case at most"
            yield path, f"{message}; give it another common_name"
        san = one.get("san")
        if san == ():
            yield (*path, "san"), "is empty; write a name, or remove it for the address NAME@LAB.test"
        for n, alternative in enumerate(san if isinstance(san, tuple) else ()):
            if isinstance(alternative, str) and alternative and (wrong := general_name_fault(alternative)):
                yield (*path, "san", n), wrong


def common_name_fault(name: str) -> str | None:
    """RFC 5280, ub-common-name; the characters are our own rule, since gateways compare the name."""
    if len(name) > 64:
        return f"has {len(name)} characters; a common name has 64 at most"
    if not name.isprintable():
        return "has a control character; write printable ones"
    if found := BREAKING.search(name):
        return f"has the character {found.group()}, which would break out of a configuration; write it without"
    return "starts or ends with a space; remove it" if name != name.strip() else None


def general_name_fault(name: str) -> str | None:
    """RFC 5280, section 4.2.1.6: what an application can know about a caller by its certificate."""
    advice = "write a DNS name, a URI such as spiffe://lab.test/bro, or an e-mail address"
    if found := BREAKING.search(name):
        return f"'{shown(name)}' has the character {found.group()}, which would break out of a configuration; {advice}"
    if ADDRESS.fullmatch(name):
        return f"'{shown(name)}' is an IP address; {advice}"
    if len(name) > LONGEST_SAN:
        return f"has {len(name)} characters, and {LONGEST_SAN} are the most that fit; shorten it"
    patterns = (URI, EMAIL, re.compile(rf"(?:\*\.)?{DNS_LABEL}(?:\.{DNS_LABEL})*", FOLDED))
    if not any(pattern.fullmatch(name) for pattern in patterns):
        return f"'{shown(name)}' cannot stand on a certificate; {advice}"
    return None


def prefixes(value: Any) -> Found:
    for host, described in hosts(value):
        folded: dict[str, str] = {}
        for prefix in mapping(described, "routes"):
            path = ("hosts", host, "routes", prefix)
            if wrong := prefix_fault(prefix):
                yield path, wrong
            elif (first := folded.setdefault(prefix.lower(), prefix)) != prefix:
                yield path, f"differs from {first} in case alone; one of them needs another prefix"


def prefix_fault(prefix: str, what: str = "a route's prefix") -> str | None:
    if "//" in prefix or {".", ".."} & set(prefix.split("/")):
        return "nginx takes '//', '/./' and '/../' out of a path before it looks for a route; write it without them"
    if "%" in prefix:
        return "nginx decodes '%' escapes before it looks for a route; write the character itself"
    if not PREFIX.fullmatch(f"/{prefix.strip('/')}/" if prefix.strip("/") else "/"):
        return f"{what} holds letters, digits, '-', '_', '.' and '~' between slashes; change '{shown(prefix)}'"
    if not prefix.startswith("/") or not prefix.endswith("/"):
        return f"{what} starts and ends with '/'; write /{shown(prefix.strip('/'))}/"
    if len(prefix) > LONGEST_PATH:
        return f"{what} has {LONGEST_PATH} characters at most; shorten it"
    return None


# Hosts


def ports(value: Any) -> Found:
    first: dict[int, str] = {}
    for host, described in hosts(value):
        published: list[tuple[tuple[str, ...], Any]] = [
            (("hosts", host, "publish", scheme), port) for scheme, port in mapping(described, "publish").items()
        ]
        for name in mapping(described, "services"):
            port = mapping(described, "services", name, "tls").get("publish")
            published.append((("hosts", host, "services", name, "tls", "publish"), port))
        for path, port in published:
            if not isinstance(port, int) or isinstance(port, bool):
                continue
            here = ".".join(path)
            if (known := first.setdefault(port, here)) != here:
                yield path, f"port {port} is taken by {known}; choose another port"


def plain_hosts(value: Any) -> Found:
    for host, described in hosts(value):
        if described.get("tls") is False:
            if "client_certificates" in described:
                advice = "remove one of the two"
                yield ("hosts", host, "client_certificates"), f"needs TLS, and this host has `tls: false`; {advice}"
            if "https" in mapping(described, "publish"):
                yield ("hosts", host, "publish", "https"), "needs TLS, and this host has `tls: false`; publish http"
        elif mapping(described, "tls").get("acme") is True:
            continue
        elif absent(value, "authorities") and not mapping(described, "tls") and described.get("tls") is not True:
            advice = "add one to `authorities`, or say `tls: false`"
            yield ("hosts", host), f"needs an authority for its certificate, and there is none; {advice}"
        elif not text(mapping(described, "tls"), "authority") and is_foreign(value, first_authority(value)):
            advice = "say which one issues its certificate (`tls: {authority: NAME}`), or put one of ours first"
            yield ("hosts", host), f"'{first_authority(value)}' is somebody else's and signs nothing here; {advice}"


def first_authority(value: Any) -> str:
    return next(iter(mapping(value, "authorities")), "")


def is_foreign(value: Any, authority: str | None) -> bool:
    """Whether an authority comes from a file: it can be trusted, and signs nothing here."""
    return "certificate" in mapping(value, "authorities", authority or "")


def authority_sources(value: Any) -> Found:
    """An authority from a file has nothing else to say."""
    for name, one in authorities(value):
        for field in ("key", "days", "intermediate"):
            if field in one and "certificate" in one:
                yield ("authorities", name, field), "not together with `certificate`: it was made elsewhere; remove it"
        if "crl" in one and "certificate" not in one:
            advice = "an authority of ours makes its own; remove it"
            yield ("authorities", name, "crl"), f"goes together with certificate only: {advice}"
        if name == SYSTEM:
            advice = "that word stands for the authorities that the machine trusts; choose another"
            yield ("authorities", name), f"no authority can be called '{name}': {advice}"


def identity_sources(value: Any) -> Found:
    """An identity is issued by an authority of ours, or comes from two files and has little else to say."""
    for name in mapping(value, "identities"):
        one = mapping(value, "identities", name)
        files = [field for field in ("certificate", "key_file") if field in one]
        if len(files) == 1:
            other = "key_file" if files == ["certificate"] else "certificate"
            yield ("identities", name, other), f"is missing; {files[0]} needs it"
        for field in ("common_name", "san", "days", "key", "revoked"):
            if field in one and files:
                yield ("identities", name, field), "not together with files: it was issued elsewhere; remove it"
        if not files and isinstance(value["identities"][name], dict):
            yield from issuer_of(value, name, one)


def issuer_of(value: Any, name: str, identity: Mapping[str, Any]) -> Found:
    issuer, path = text(identity, "authority"), ("identities", name, "authority")
    if "authority" not in identity:
        yield path, "is missing; add the name of the authority that issues it"
    elif is_foreign(value, issuer):
        advice = "name one of ours, or the files that it gave you (certificate, key_file)"
        yield path, f"'{shown(issuer or '')}' is somebody else's and signs nothing here; {advice}"


def authorities(value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from ((name, mapping(value, "authorities", name)) for name in mapping(value, "authorities"))


def trusted_authorities(value: Any) -> Found:
    """Whom a host trusts and by whom it is certified, where that authority is somebody else's."""
    for host, described in hosts(value):
        issuer = text(mapping(described, "tls"), "authority")
        if is_foreign(value, issuer):
            message = f"'{shown(issuer or '')}' is somebody else's and signs nothing here"
            yield ("hosts", host, "tls", "authority"), f"{message}; name one of ours"
        asked = mapping(described, "client_certificates").get("authority")
        for n, name in enumerate(listed(asked)):
            one = mapping(value, "authorities", name)
            if "certificate" in one and "crl" not in one:
                path = ("hosts", host, "client_certificates", "authority", *((n,) if isinstance(asked, tuple) else ()))
                message = f"'{shown(name)}' comes without its revocation list, and without it nobody is let in"
                yield path, f"{message}; add `crl: FILE` to the authority"


def acme(value: Any) -> Found:
    for host, described in hosts(value):
        tls, here = mapping(described, "tls"), ("hosts", host, "tls")
        wanted, directory = tls.get("acme") is True, text(tls, "directory")
        if "directory" in tls and not wanted and "acme" not in completed_names(tls):
            yield (*here, "directory"), "goes together with `acme: true` only; remove it"
        elif directory and not DIRECTORY.fullmatch(directory):
            advice = "write one such as https://acme-v02.api.letsencrypt.org/directory"
            yield (*here, "directory"), f"'{shown(directory)}' is not the URL of an ACME directory; {advice}"
        if wanted:
            yield from acme_host(value, host, described)


def acme_host(value: Any, host: str, described: Mapping[str, Any]) -> Found:
    tls, here = mapping(described, "tls"), ("hosts", host, "tls")
    for field in ("authority", "days", "key"):
        if field in tls:
            yield (*here, field), "not together with `acme`: the ACME server decides on that; remove it"
    ours = [name for name in mapping(value, "authorities") if not is_foreign(value, name)]
    if "directory" not in tls and not ours and (absent(value, "authorities") or mapping(value, "authorities")):
        message = "the lab's ACME server needs a certificate of its own, and nobody signs it"
        yield (*here, "acme"), f"{message}; add one of ours to `authorities`"
    if ACME in mapping(value, "authorities"):
        message = f"no authority can be called '{ACME}' in a lab with `acme`: it stands for the ACME server's own"
        yield ("authorities", ACME), f"{message}; choose another"
    if "certbot" in mapping(described, "services"):
        path = ("hosts", host, "services", "certbot")
        yield path, "no service can be called 'certbot' on a host with `acme`; choose another"
    if ACME in mapping(value, "hosts"):
        message = f"no host can be called '{ACME}' in a lab with `acme`: its folder is the ACME server's"
        yield ("hosts", ACME), f"{message}; choose another"


def completed_names(value: Mapping[str, Any]) -> set[str]:
    return {name for name, one in value.items() if one is not False}


def references(value: Any) -> Found:
    identities = mapping(value, "identities")

    def missing(path: tuple[str | int, ...], name: str | None, what: str, around: Any, field: str) -> Found:
        if name and name not in mapping(around, field) and (mapping(around, field) or absent(around, field)):
            yield path, unknown(name, what, mapping(around, field))

    for name, one in identities.items():
        yield from missing(("identities", name, "authority"), text(one, "authority"), "authority", value, "authorities")
    for host, described in hosts(value):
        tls = text(mapping(described, "tls"), "authority")
        yield from missing(("hosts", host, "tls", "authority"), tls, "authority", value, "authorities")
        asked = mapping(described, "client_certificates").get("authority")
        for n, one in enumerate(listed(asked)):
            path = ("hosts", host, "client_certificates", "authority", *((n,) if isinstance(asked, tuple) else ()))
            yield from missing(path, one, "authority", value, "authorities")
    for path, route, described in routes(value):
        named = text(route, "service")
        yield from missing((*path, "service"), named, "service of this host", described, "services")
        yield from missing((*path, "host"), text(route, "host"), "host", value, "hosts")
        yield from missing((*path, "identity"), text(route, "identity"), "identity", value, "identities")
        trust = text(route, "trust")
        if trust != SYSTEM:
            yield from missing((*path, "trust"), trust, "authority", value, "authorities")
        for n, one in enumerate(allowed(route)):
            yield from missing((*path, "allow", n), one, "identity", value, "identities")


# Routes


def route_targets(value: Any) -> Found:
    for path, route, _ in routes(value):
        chosen = [name for name in TARGETS if name in route]
        if len(chosen) != 1 and isinstance(mapping(value, "hosts", path[1], "routes")[path[3]], dict):
            had = f"has {' and '.join(chosen)}" if chosen else "leads nowhere"
            yield path, f"{had}; give it exactly one of service, host, url and files"
        for field, needs in FIELDS_OF_TARGETS:
            if field in route and chosen and not any(name in route for name in needs):
                yield (*path, field), f"goes together with {' or '.join(needs)} only; remove it"
        if "strip_prefix" in route and chosen and chosen != ["service"]:
            of_host = " (`to` says the path on a host)" if chosen == ["host"] else ""
            yield (*path, "strip_prefix"), f"goes together with service only; remove it{of_host}"
        if (url := text(route, "url")) and (wrong := url_fault(url)):
            yield (*path, "url"), wrong
        if (to := text(route, "to")) and (wrong := prefix_fault(to, "the path")):
            yield (*path, "to"), wrong
        called = text(route, "host") or ""
        if called == path[1] and chosen == ["host"]:
            yield (*path, "host"), "is this host itself; name another one, or a service"
        elif mapping(value, "hosts", called).get("tls") is False:
            message = f"host '{called}' has `tls: false`, and hosts call each other over TLS alone"
            yield (*path, "host"), f"{message}; give it TLS, or call another host"


FIELDS_OF_TARGETS = (
    ("to", ("host",)),
    ("identity", ("host", "url")),
    ("trust", ("url",)),
    ("lends", ("identity",)),
)
"""A field of a route, and those that it goes together with."""


def url_fault(url: str) -> str | None:
    found = URL.fullmatch(url)
    example = "write one such as https://api.partner.example/v1/"
    if url.lower().startswith("http:"):
        return f"'{shown(url)}' is plain HTTP, and a gateway calls others over TLS alone; {example}"
    if found is None or int(found["port"] or 443) > 65535 or len(url) > LONGEST_PATH:
        return f"'{shown(url)}' is not the https URL of a server with a full name; {example}"
    if ADDRESS.fullmatch(found["name"]):
        return f"'{shown(url)}' has an address instead of a name, which no certificate is for; {example}"
    return prefix_fault(found["path"] or "/", "the URL's path")


def guards(value: Any) -> Found:
    for path, route, described in routes(value):
        allow = "allow" in route
        required = route.get("client_certificate") == "required"
        guard = (*path, "allow" if allow else "client_certificate")
        if route.get("allow") == ():
            yield guard, "is empty, nobody could enter; name identities, or remove it"
        if route.get("internal") is True and (required or allow):
            yield guard, "not together with `internal`: services inside show no certificate; remove one of them"
        if allow and route.get("client_certificate") == "none":
            yield (*path, "client_certificate"), "contradicts `allow`, which requires a certificate; remove it"
        if (required or allow) and "client_certificates" not in described:
            yield guard, "this host asks nobody for a certificate, nobody could enter; add `client_certificates` to it"
            continue
        trusted = listed(mapping(described, "client_certificates").get("authority"))
        for n, name in enumerate(allowed(route)):
            identity = mapping(value, "identities", name or "")
            authority = text(identity, "authority")
            if "certificate" in identity and "authority" not in identity:
                advice = "add `authority` to the identity"
                yield (*path, "allow", n), f"who issued '{shown(name)}' is not said, so nobody can be it; {advice}"
            if authority and trusted and authority not in trusted:
                message = f"'{shown(name)}' can never enter: this host does not trust authority '{shown(authority)}'"
                yield (*path, "allow", n), f"{message}; add that to client_certificates, or remove it here"


def lent_identities(value: Any) -> Found:
    """What another host of the lab answers to an identity follows from who issued that."""
    for path, route, _ in routes(value):
        identity = mapping(value, "identities", text(route, "identity") or "")
        if "host" in route and "certificate" in identity and "authority" not in identity:
            advice = "add `authority` to the identity"
            yield (*path, "identity"), f"who issued it is not said, so the answer there is unknown; {advice}"


def loops(value: Any) -> Found:
    """A chain of routes that comes back to the same route: a request would go round for ever.

    Each route is followed from its own prefix.  nginx replaces a prefix by `to` and keeps the rest of the path, so the
    rest is carried along.  Looking from every route's own prefix is enough: in a chain without end some part of the
    path is never touched again, and without that part the chain is the one that starts at a route's prefix.
    """
    told: set[frozenset[Place]] = set()
    for path, _, _ in routes(value):
        chain, back = followed(value, (path[1], path[3]))
        around = frozenset(chain[chain.index(back) :]) if back in chain else frozenset(chain[LONGEST_CHAIN:])
        if back is None or around in told:
            continue
        told.add(around)
        if back in chain:
            start = chain.index(back)
            way = " -> ".join(f"{host} {shown(prefix)}" for host, prefix in [*chain[start:][:5], back])
            yield (
                ("hosts", back[0], "routes", back[1], "host"),
                f"comes back to itself: {way}; lead one of them elsewhere",
            )
        else:
            yield (*path, "host"), f"passes more than {LONGEST_CHAIN} gateways; shorten the chain of routes"


def followed(value: Any, start: Place) -> tuple[list[Place], Place | None]:
    """The routes that a call on one leads through, and the one after them where they do not come to an end."""
    chain: list[Place] = []
    here, rest = start, ""
    while here not in chain and len(chain) < LONGEST_CHAIN:
        chain.append(here)
        if (step := next_route(value, here, rest)) is None:
            return chain, None
        here, rest = step
    return chain, here


def next_route(value: Any, place: Place, rest: str) -> tuple[Place, str] | None:
    """The route of another host that a call on place's prefix + rest arrives at, and the rest of the path there.

    nginx takes the longest prefix (ngx_http_core_module, location).
    """
    route = mapping(value, "hosts", place[0], "routes", place[1])
    host, to = text(route, "host"), text(route, "to") or "/"
    if host is None or host == place[0] or not to.endswith("/"):
        return None
    path, there = to + rest, mapping(value, "hosts", host, "routes")
    ends = [n + 1 for n, character in enumerate(path) if character == "/"]
    longest = next((n for n in reversed(ends) if path[:n] in there), None)
    return None if longest is None else ((host, path[:longest]), path[longest:])


# Services


def service_fields(value: Any) -> Found:
    for path, service in services(value):
        chosen = [name for name in ("kind", "build", "image") if name in service]
        if len(chosen) != 1 and isinstance(mapping(value, "hosts", path[1], "services")[path[3]], dict):
            had = f"has {' and '.join(chosen)}" if chosen else "has nothing to run"
            yield path, f"{had}; give it exactly one of kind, build and image"
        if "kind" not in service and chosen:
            for field in ("port", "health"):
                if field not in service:
                    yield (*path, field), "is missing; add it (only a kind brings its own)"
        health, image = text(service, "health"), text(service, "image")
        if health and (wrong := path_fault(health, "/health")):
            yield (*path, "health"), wrong
        if image and (len(image) > 255 or not IMAGE.fullmatch(image)):
            advice = "write one such as nginx:1.27 or registry.example/team/app:2"
            yield (*path, "image"), f"'{shown(image)}' is not the name of an image; {advice}"


def path_fault(path: str, example: str) -> str | None:
    if not PATH.fullmatch(path):
        return f"must be a path such as {example}: letters, digits, '-', '_', '.', '~' and slashes"
    return f"has {LONGEST_PATH} characters at most; shorten it" if len(path) > LONGEST_PATH else None


def environments(value: Any) -> Found:
    for path, service in services(value):
        for name, one in mapping(service, "environment").items():
            here = (*path, "environment", name)
            if not VARIABLE.fullmatch(name):
                yield here, "a variable's name holds letters, digits and underscores, and starts with no digit"
            elif name in OWN_VARIABLES:
                yield here, "is set by the tool; choose another name, or remove it"
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
        if build and (wrong := build_fault(build, folder)):
            yield (*path, "build"), wrong


def build_fault(build: str, folder: Path) -> str | None:
    """folder: the topology's own."""
    if wrong := credentials.path_fault(build, folder, is_folder=True):
        return wrong
    try:
        found = (folder / build / "Dockerfile").is_file()
    except OSError as error:
        return f"folder '{shown(build)}' cannot be read: {error.strerror}; correct the path"
    return None if found else f"there is no Dockerfile in folder '{shown(build)}'; write one, or correct the path"


def services_with_tls(value: Any, kinds: Mapping[str, Kind]) -> Found:
    """Services that terminate TLS themselves: the gateway passes their port on."""
    for host, described in hosts(value):
        first: dict[int, str] = {}
        for name, service in mapping(described, "services").items():
            if not isinstance(service, dict) or "tls" not in service:
                continue
            kind = kinds.get(text(service, "kind") or "")
            yield from tls_of_service(value, ("hosts", host, "services", name, "tls"), described, kind, kinds)
            port = mapping(service, "tls").get("port")
            if not isinstance(port, int) or isinstance(port, bool):
                continue
            path = ("hosts", host, "services", name, "tls", "port")
            if port in GATEWAY_PORTS:
                yield path, f"the gateway itself listens on {port}; choose another port"
            elif port == service.get("port", kind.port if kind else None):
                yield path, f"the service listens on {port} in plain HTTP; choose another port"
            elif (known := first.setdefault(port, name)) != name:
                yield path, f"port {port} of this host's gateway is taken by service {known}; choose another"


def tls_of_service(
    value: Any, path: tuple[str, ...], host: Mapping[str, Any], kind: Kind | None, kinds: Mapping[str, Kind]
) -> Found:
    """Whether a service can have TLS of its own, and a certificate for it.  path: of its `tls`."""
    required = mapping(host, "services", path[3], "tls").get("client_certificate") == "required"
    if kind is not None and not kind.tls:
        able = ", ".join(sorted(one.name for one in kinds.values() if one.tls)) or "none"
        yield path, f"kind '{kind.name}' does not terminate TLS itself (those that do: {able}); remove it"
    if required and "client_certificates" not in host:
        message = "this host trusts nobody's client certificates; add `client_certificates` to it"
        yield (*path, "client_certificate"), message
    if absent(value, "authorities") or mapping(host, "tls").get("acme") is True:
        yield path, "needs a certificate of one of the lab's authorities; let one of them certify this host"
    elif host.get("tls") is False and is_foreign(value, first_authority(value)):
        message = f"'{first_authority(value)}' is somebody else's and signs nothing here"
        yield path, f"{message}; put one of ours first"


def credential_files(value: Any, folder: Path) -> Found:
    """Files that hold certificates, keys and revocation lists.  folder: the topology's own."""
    for name, one in authorities(value):
        here = ("authorities", name)
        files = dict(existing_files(one, ("certificate", "crl")))
        wrong = {field: credentials.path_fault(file, folder) for field, file in files.items()}
        if "certificate" in files and wrong["certificate"] is None:
            wrong["certificate"] = credentials.authority_fault(folder / files["certificate"])
            if "crl" in files and not wrong["crl"] and not wrong["certificate"]:
                wrong["crl"] = credentials.crl_fault(folder / files["crl"], folder / files["certificate"])
        yield from (((*here, field), message) for field, message in wrong.items() if message)
    for name in mapping(value, "identities"):
        files = dict(existing_files(mapping(value, "identities", name), ("certificate", "key_file")))
        wrong = {field: credentials.path_fault(file, folder) for field, file in files.items()}
        if len(files) == 2 and not any(wrong.values()):
            pair = [folder / files[field] for field in ("certificate", "key_file")]
            wrong["certificate"] = credentials.identity_fault(pair[0], pair[1])
        yield from ((("identities", name, field), message) for field, message in wrong.items() if message)


def existing_files(value: Mapping[str, Any], fields: Iterable[str]) -> Iterator[tuple[str, str]]:
    yield from ((field, found) for field in fields if (found := text(value, field)))


def folders(value: Any, folder: Path) -> Found:
    """Folders of static files and pages."""
    for path, route, _ in routes(value):
        if (files := text(route, "files")) and (wrong := folder_fault(files, folder)):
            yield (*path, "files"), wrong
    for host, described in hosts(value):
        pages, here = text(described, "pages"), ("hosts", host, "pages")
        if pages is None:
            continue
        if "/" in mapping(described, "routes"):
            yield here, "nobody would see them: this host has a route '/'; remove one of the two"
        if wrong := folder_fault(pages, folder):
            yield here, wrong
        elif absent_pages := [name for name in ("index.html", "404.html") if not (folder / pages / name).is_file()]:
            yield here, f"folder '{shown(pages)}' has no {' and no '.join(absent_pages)}; write it there"


def folder_fault(name: str, folder: Path) -> str | None:
    """What is wrong with a folder that is copied into a host's own."""
    if wrong := credentials.path_fault(name, folder, is_folder=True):
        return wrong
    if (folder / name).resolve() == folder.resolve() or folder.resolve().is_relative_to((folder / name).resolve()):
        return "is the topology's own folder or one around it, and would be copied whole; name one below"
    if stray := next(stray_links(folder / name), None):
        link = shown(stray.as_posix())
        return f"has a symbolic link '{link}' to a folder or out of it, which is not followed; put a copy in its place"
    return None


def built_prefixes(value: Any, kinds: Mapping[str, Kind]) -> Found:
    """A kind with base_path is built for its prefix."""
    leading: dict[tuple[str, str], list[tuple[tuple[str, ...], dict[str, Any]]]] = {}
    for where, route, _ in routes(value):
        leading.setdefault((where[1], text(route, "service") or ""), []).append((where, route))
    for path, service in services(value):
        kind = kinds.get(text(service, "kind") or "")
        if kind is None or not kind.base_path:
            continue
        used = leading.get((path[1], path[3]), [])
        if len(used) != 1:
            message = f"kind '{kind.name}' is built for the prefix of its one route, and this service has {len(used)}"
            yield path, f"{message}; {'add one' if not used else 'add a service for each'}"
        for where, route in used:
            if route.get("strip_prefix") is True:
                message = f"kind '{kind.name}' is built for its prefix and has to see it; remove this"
                yield (*where, "strip_prefix"), message


RULES: tuple[Callable[[Any], Found], ...] = (
    names,
    domains,
    identity_texts,
    prefixes,
    ports,
    plain_hosts,
    authority_sources,
    identity_sources,
    trusted_authorities,
    acme,
    references,
    route_targets,
    guards,
    lent_identities,
    loops,
    service_fields,
    environments,
)
