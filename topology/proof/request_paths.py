"""Which route a request's target leads to, however it is written, and what is answered there.

nginx decodes a path once, merges slashes and resolves dots before it chooses a location (ngx_http_core_module, location
and merge_slashes); a path that leads above the root, or that cannot be decoded, is refused.  The routes are those of
the topology: which locations the gateway was given is not looked at.
"""

from __future__ import annotations

import re

from topology.description.model import Route, Topology
from topology.proof import expectation
from topology.proof.expectation import Caller

LEFT = "left to the service"
"""The request is let through, and what it is answered is the application's own affair."""

ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})?")
FORBIDDEN = re.compile(rb"[\x00-\x20\x7f]")
ABSOLUTE = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")


def normalised(target: bytes) -> str | None:
    """The path that nginx compares with its locations; None where it answers 400 to the target.

    target: as in the request line, in absolute form too; what is not UTF-8 once decoded is kept byte by byte.
    """
    if FORBIDDEN.search(target):
        return None
    path = re.split(rb"[?#]", ABSOLUTE.sub(b"", target, count=1) or b"/", maxsplit=1)[0]
    if not path.startswith(b"/") or any(found[1] is None for found in ESCAPE.finditer(path)):
        return None
    decoded = ESCAPE.sub(lambda found: bytes([int(found[1], 16)]), path)
    if b"\0" in decoded:
        return None
    return resolved(decoded.decode("latin-1"))


def resolved(path: str) -> str | None:
    """A path without empty parts and dots; None where it leads above the root."""
    parts: list[str] = []
    *folders, last = path.split("/")[1:]
    for part in folders:
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    if last == "..":
        if not parts:
            return None
        parts.pop()
    ending = "" if last in ("", ".", "..") else last
    return "/" + "".join(f"{part}/" for part in parts) + ending


def route_at(topology: Topology, host: str, path: str) -> str | None:
    """The prefix of the route that answers a path: the longest one that the path begins with, letter for letter."""
    return max((prefix for prefix in topology.hosts[host].routes if path.startswith(prefix)), key=len, default=None)


def answer_at(topology: Topology, host: str, path: str, caller: Caller) -> int | str | None:
    """What a GET of a normalised path is answered: a status, LEFT, or None where only others can say.

    Routes to other hosts are followed, with the identity that they attach.
    """
    described = topology.hosts[host]
    outside = expectation.at_gateway(topology, described, Route(), caller)
    if not outside.passed:
        return outside.status
    if f"{path}/" in described.routes:
        return 301  # nginx leads to the folder before it asks who calls
    prefix = route_at(topology, host, path)
    if prefix is None:
        return 200 if path == "/" else 404
    route = described.routes[prefix]
    own = expectation.at_gateway(topology, described, route, caller)
    if not own.passed:
        return own.status
    rest = path.removeprefix(prefix)
    if route.service is not None:
        health = (described.services[route.service].health or "/").lstrip("/")
        return 200 if rest == health else LEFT
    if route.files is not None:
        return (200 if route.index else 404) if rest == "" else 404
    if route.host is not None:
        return answer_at(topology, route.host, route.to + rest, expectation.as_identity(topology, route.identity))
    return None
