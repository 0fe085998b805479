"""What holds for one request: its server, its location, and each setting with the place it comes from.

Sources: nginx, "How nginx processes a request", "server_name", "location".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from topology.nginx import listening, passing
from topology.nginx.reading import Configuration
from topology.nginx.tree import Block, Directive


def inner(directive: Directive, name: str) -> tuple[Directive, ...]:
    """The directives of a name that stand directly in another one's block."""
    return tuple(one for one in directive.children or () if one.name == name)


@dataclass(frozen=True)
class Effective:
    """block: the location, or the server, or http, whichever is innermost for the request; None where there is none."""

    block: Block | None = None

    @property
    def levels(self) -> tuple[Block, ...]:
        """http, server and locations, outermost first, as far as there are."""
        found: list[Block] = []
        block = self.block
        while block is not None and block.name != "main":
            found.insert(0, block)
            block = block.parent
        return tuple(found)

    @property
    def server(self) -> Directive | None:
        return next((level.directive for level in self.levels if level.name == "server"), None)

    @property
    def location(self) -> Directive | None:
        return next((level.directive for level in reversed(self.levels) if level.name == "location"), None)

    def every(self, name: str) -> tuple[Directive, ...]:
        """The directives of a name that are in force."""
        return self.block.in_force(name) if self.block else ()

    def one(self, name: str) -> Directive | None:
        return next(reversed(self.every(name)), None)

    def value(self, name: str, default: str = "") -> str:
        found = self.one(name)
        return found.value if found is not None else default

    def upstream_servers(self, name: str) -> tuple[Directive, ...]:
        """The servers of an `upstream` block of that name."""
        blocks = [block for level in self.levels if level.name == "http" for block in level.own("upstream")]
        return next((inner(block, "server") for block in blocks if block.value == name), ())

    def lost(self, name: str) -> tuple[Directive, ...]:
        """The directives of a list that an outer level has and an inner level's own cancel."""
        levels = [own for level in reversed(self.levels) if (own := level.own(name))]
        kept = {one.value.lower() for one in levels[0]} if levels else set()
        return tuple(one for one in levels[1] if one.value.lower() not in kept) if len(levels) > 1 else ()

    def deciding(self, condition: Directive) -> tuple[Directive, ...]:
        """What sets the variable that a guard looks at, in the order of the file: each `set`, or the `if` around it.

        condition: the guard's `if`.
        """

        def sets(one: Directive) -> bool:
            return one.name == "set" and one.value == condition.value

        return tuple(
            one
            for level in self.levels
            if level.name in ("server", "location")
            for one in level.directive.children or ()
            if sets(one) or (one.name == "if" and any(sets(line) for line in one.children or ()))
        )

    def guards(self) -> tuple[tuple[Directive, Directive], ...]:
        """(if, return) pairs that can answer for the location or its server, in nginx's order: server first."""
        return tuple(
            (condition, answer)
            for level in self.levels
            if level.name in ("server", "location")
            for condition in level.own("if")
            for answer in inner(condition, "return")
        )


def effective(read: Configuration, port: int, name: str, uri: str) -> Effective:
    """What holds for a request.  port: in the container; name: SNI and Host; uri: as in the request line."""
    server = listening.server_for(read, port, name)
    if server is None:
        return Effective(next(iter(read.http), None))
    return Effective(passing.location_for(server, normalised(uri)) or server)


def normalised(uri: str) -> str:
    """The path by which nginx chooses a location: decoded, without dot segments and doubled slashes."""
    path = unquote(urlsplit(f"//host{uri}" if uri.startswith("/") else uri).path or "/")
    parts: list[str] = []
    for part in re.sub(r"/+", "/", path).split("/")[1:]:
        if part == "..":
            parts = parts[:-1]
        elif part != ".":
            parts.append(part)
    folder = path.endswith(("/.", "/.."))
    return "/" + "/".join(parts) + ("/" if folder and parts and parts[-1] else "")
