"""What holds for one request: its server, its location, and each setting with the place it comes from.

Sources: nginx, "How nginx processes a request", "server_name", "location".
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

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

    def guards(self) -> tuple[tuple[Directive, Directive], ...]:
        """(if, return) pairs that can answer for the location or its server, in nginx's order: server first."""
        return tuple(
            (condition, answer)
            for level in self.levels
            if level.name in ("server", "location")
            for condition in level.own("if")
            for answer in inner(condition, "return")
        )


def effective(root: Block, port: int, name: str, uri: str) -> Effective:
    """What holds for a request.  port: in the container; name: SNI and Host; uri: as in the request line."""
    http = next(root.blocks("http"), None)
    if http is None:
        return Effective()
    server = server_for(http, port, name)
    if server is None:
        return Effective(http)
    return Effective(location_for(server, normalised(uri)) or server)


def server_for(http: Block, port: int, name: str) -> Block | None:
    listening = [one for one in http.blocks("server") if any(port_of(listen) == port for listen in one.own("listen"))]
    named = [(rank, one) for one in listening if (rank := name_rank(one, name)) is not None]
    if named:
        return max(named, key=lambda pair: pair[0])[1]
    default = (one for one in listening if any("default_server" in listen.arguments for listen in one.own("listen")))
    return next(default, next(iter(listening), None))


def port_of(listen: Directive) -> int:
    last = listen.value.rpartition(":")[2]
    return int(last) if last.isdigit() else 80


def name_rank(server: Block, name: str) -> tuple[int, int] | None:
    """How well a server's names fit: exact, then the longest wildcard before, after, then regular expressions."""
    ranks = [rank_of(one, name) for names in server.own("server_name") for one in names.arguments]
    return max((rank for rank in ranks if rank is not None), default=None)


def rank_of(pattern: str, name: str) -> tuple[int, int] | None:
    if pattern.lower() == name.lower():
        return (3, len(pattern))
    if pattern.startswith("~"):
        return (0, 0) if matches(pattern[1:], name) else None
    if "*" in pattern and fnmatch.fnmatchcase(name.lower(), pattern.lower()):
        return (2 if pattern.startswith("*") else 1, len(pattern))
    return None


NAMED_GROUP = re.compile(r"\(\?<(?![=!])")
"""PCRE's named groups are written otherwise in Python."""


def matches(pattern: str, text: str, *, folded: bool = False) -> bool:
    try:
        return re.search(NAMED_GROUP.sub("(?P<", pattern), text, re.IGNORECASE if folded else 0) is not None
    except re.error:
        return False


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


def location_for(block: Block, path: str) -> Block | None:
    """The innermost location that nginx chooses."""
    chosen = chosen_location(tuple(block.blocks("location")), path)
    return None if chosen is None else location_for(chosen, path) or chosen


def chosen_location(locations: Sequence[Block], path: str) -> Block | None:
    prefixes: list[tuple[int, str, Block]] = []
    for one in locations:
        modifier, pattern = parts_of(one)
        if modifier == "=" and pattern == path:
            return one
        if modifier in ("", "^~") and path.startswith(pattern):
            prefixes.append((len(pattern), modifier, one))
    longest = max(prefixes, key=lambda found: found[0], default=None)
    if longest is not None and longest[1] == "^~":
        return longest[2]
    return next(by_expression(locations, path), longest[2] if longest else None)


def parts_of(location: Block) -> tuple[str, str]:
    """Modifier and pattern."""
    arguments = location.directive.arguments
    return (arguments[0], arguments[-1]) if len(arguments) > 1 else ("", arguments[0] if arguments else "")


def by_expression(locations: Sequence[Block], path: str) -> Iterator[Block]:
    for one in locations:
        modifier, pattern = parts_of(one)
        if modifier in ("~", "~*") and matches(pattern, path, folded=modifier == "~*"):
            yield one
