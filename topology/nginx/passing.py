"""What becomes of a request: the location that takes it, and where that passes it on to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from topology.nginx.reading import Configuration
from topology.nginx.tree import Block, Directive, Place

MODIFIERS = ("=", "~", "~*", "^~")
DEFAULT_PORTS = {"http": "80", "https": "443"}


@dataclass(frozen=True)
class Path:
    """What a location is for.  modifier: one of MODIFIERS, or empty for a plain prefix; text: prefix or pattern."""

    modifier: str
    text: str

    @property
    def is_pattern(self) -> bool:
        return self.modifier in ("~", "~*")

    @property
    def is_named(self) -> bool:
        return self.text.startswith("@")

    def __str__(self) -> str:
        return f"{self.modifier} {self.text}".strip()


def path_of(location: Block) -> Path:
    """Also of one whose modifier stands without a space before the path."""
    words = location.directive.arguments
    if len(words) > 1:
        return Path(words[0], words[1])
    text = words[0] if words else ""
    modifier = next((one for one in ("~*", "^~", "=", "~") if text.startswith(one)), "")
    return Path(modifier, text.removeprefix(modifier))


@dataclass(frozen=True)
class Call:
    """Where a location passes its requests on to.

    block: the location, or the `if` in it, that does; authority: host, with a port where one is written, or the name of
    an upstream group; uri: what takes the place of the location's path, None where the path stays; group: the upstream,
    None where the authority is a host; dynamic: the target hangs on a variable, and is looked up at each request.
    """

    block: Block
    directive: Directive
    scheme: str
    authority: str
    uri: str | None
    group: Block | None
    dynamic: bool

    @property
    def place(self) -> Place:
        return self.directive.place

    @property
    def tls(self) -> bool:
        return self.scheme == "https"

    @property
    def host(self) -> str:
        """The authority without its port."""
        return host_and_port(self.authority)[0]

    @property
    def servers(self) -> tuple[str, ...]:
        """The addresses behind it, with ports: the upstream's servers, or the authority itself."""
        if self.group is None:
            return (self.authority,)
        return tuple(one.value for one in self.group.own("server"))

    @property
    def ports(self) -> tuple[str, ...]:
        """The ports of all that, 80 or 443 where none is written; an upstream's servers have 80."""
        default = "80" if self.group is not None else DEFAULT_PORTS.get(self.scheme, "80")
        return tuple(host_and_port(one)[1] or default for one in self.servers)

    @property
    def name(self) -> str:
        """The name that the other side's certificate has to have, and by which it is asked for; what nginx takes."""
        written = self.block.value("proxy_ssl_name")
        return self.host if written in ("", "$proxy_host") else written


def host_and_port(authority: str) -> tuple[str, str]:
    head, colon, tail = authority.rpartition(":")
    return (head, tail) if colon and tail.isdigit() and not head.endswith(":") else (authority, "")


def is_address(host: str) -> bool:
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def locations(server: Block) -> Iterator[Block]:
    return server.below("location")


def serves(block: Block) -> bool:
    """Whether it answers with content: nginx does, from `root` if there is nothing else, unless it returns before."""
    return not block.own("return")


def calls(configuration: Configuration) -> Iterator[Call]:
    """Every proxy_pass of every server, in the order of the files."""
    for server in configuration.servers:
        yield from calls_of(configuration, server)


def calls_of(configuration: Configuration, server: Block) -> Iterator[Call]:
    for block in server.below("location", "if", "limit_except"):
        if found := block.own("proxy_pass"):
            yield call(configuration, block, found[-1])


def call(configuration: Configuration, block: Block, directive: Directive) -> Call:
    target, dynamic = target_of(block, directive.value)
    scheme, _, rest = target.partition("://")
    authority, slash, path = rest.partition("/")
    group = next((one for http in configuration.http for one in http.blocks("upstream")
                  if one.directive.value == authority), None)  # fmt: skip
    uri = f"/{path}" if slash else None
    return Call(block, directive, scheme.lower(), authority, uri, group, dynamic or "$" in target)


def target_of(block: Block, value: str) -> tuple[str, bool]:
    """A target, with the text of a variable that the location itself sets; and whether it hangs on a variable."""
    found = re.fullmatch(r"\$\{?(\w+)\}?(.*)", value)
    if found is None:
        return value, "$" in value
    written = [one.arguments[1] for one in block.own("set") if one.value == f"${found[1]}" and len(one.arguments) > 1]
    return (written[-1] + found[2] if written else value), True


def path_behind(call: Call) -> str:
    """The path below which a location's requests arrive at the other side."""
    location = call.block.around("location")
    prefix = path_of(location).text if location is not None else "/"
    if (path := rewritten(call.block, prefix)) is not None:
        return path
    return prefix if call.uri is None else call.uri


def rewritten(block: Block, path: str) -> str | None:
    """What a block's first `rewrite ... break` makes of a path; None where none matches.

    What it makes is passed on, whatever path proxy_pass names (https://nginx.org/r/proxy_pass).
    """
    for one in block.own("rewrite"):
        pattern, replacement, *flags = (*one.arguments, "", "")
        if "break" in flags and (found := matching(pattern, path)):
            return re.sub(r"\$(\d)", lambda number: group_of(found, int(number[1])), replacement)
    return None


def matching(pattern: str, path: str, flags: int = 0) -> re.Match[str] | None:
    """PCRE and Python agree on what people write in locations; a pattern that Python cannot read matches nothing."""
    try:
        return re.search(pattern, path, flags)
    except re.error:
        return None


def group_of(found: re.Match[str], number: int) -> str:
    """What a pattern's parentheses hold; nothing where it has not so many."""
    return (found[number] or "") if number <= len(found.groups()) else ""


def location_for(server: Block, path: str) -> Block | None:
    """The location that takes a path, which is decoded and normalised already.

    https://nginx.org/en/docs/http/ngx_http_core_module.html#location: exact, then the longest prefix, unless a pattern
    matches and the prefix does not say ^~; patterns in the order of the file.
    """
    own = [(one, path_of(one)) for one in server.blocks("location")]
    for location, wanted in own:
        if wanted.modifier == "=" and wanted.text == path:
            return location
    prefixes = [(len(wanted.text), location) for location, wanted in own
                if wanted.modifier in ("", "^~") and not wanted.is_named and path.startswith(wanted.text)]  # fmt: skip
    longest = max(prefixes, key=lambda one: one[0])[1] if prefixes else None
    inner = location_for(longest, path) if longest is not None else None
    if longest is None or path_of(longest).modifier != "^~":
        for location, wanted in own:
            if wanted.is_pattern and matches(wanted, path):
                return location_for(location, path) or location
    return inner or longest


def matches(pattern: Path, path: str) -> bool:
    return matching(pattern.text, path, re.IGNORECASE if pattern.modifier == "~*" else 0) is not None
