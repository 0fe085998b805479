"""Where servers listen, and which of them answers: the address and port, then the name."""

from __future__ import annotations

from dataclasses import dataclass

from topology.nginx.reading import Configuration
from topology.nginx.tree import Block, Directive, Place

EVERYWHERE = ("*", "0.0.0.0", "[::]")  # noqa: S104 - read, not listened at


@dataclass(frozen=True)
class Listener:
    """One `listen` of a server.  address: `*`, an address, a host name, or unix:PATH (then port is 0)."""

    address: str
    port: int
    tls: bool
    default: bool
    http2: bool
    place: Place

    @property
    def everywhere(self) -> bool:
        """Whether it is reached on every network of its machine or container."""
        return self.address in EVERYWHERE

    @property
    def socket(self) -> tuple[str, int]:
        """What listeners of several servers share; every IPv4 or IPv6 address counts as one."""
        return ("*" if self.everywhere else self.address, self.port)


def listeners(server: Block) -> tuple[Listener, ...]:
    """Where a server listens; without a `listen` on port 80 everywhere, as nginx does."""
    found = server.own("listen")
    if not found:
        return (Listener("*", 80, False, False, False, server.place),)
    return tuple(listener(one, server) for one in found)


def listener(listen: Directive, server: Block) -> Listener:
    address, port = split(listen.value)
    options = listen.arguments[1:]
    return Listener(
        address=address,
        port=port,
        tls="ssl" in options or "quic" in options or server.value("ssl") == "on",
        default="default_server" in options or "default" in options,
        http2="http2" in options or server.value("http2") == "on",
        place=listen.place,
    )


def split(value: str) -> tuple[str, int]:
    """Address and port of a `listen`, with what nginx takes where one is left out."""
    if value.startswith("unix:"):
        return value, 0
    if value.isdigit():
        return "*", int(value)
    head, colon, tail = value.rpartition(":")
    if colon and tail.isdigit() and not head.endswith(":"):
        return head, int(tail)
    return value, 80


def is_tls(server: Block) -> bool:
    return any(one.tls for one in listeners(server))


def names(server: Block) -> tuple[str, ...]:
    return tuple(name for one in server.own("server_name") for name in one.arguments)


def verification(server: Block) -> str:
    """off, on, optional or optional_no_ca; off on a server that speaks no TLS."""
    return server.value("ssl_verify_client", "off") if is_tls(server) else "off"


def sharing(configuration: Configuration) -> dict[tuple[str, int], list[tuple[Block, Listener]]]:
    """Address and port -> the servers there, in the order of the file."""
    found: dict[tuple[str, int], list[tuple[Block, Listener]]] = {}
    for server in configuration.servers:
        for one in listeners(server):
            found.setdefault(one.socket, []).append((server, one))
    return found


def default_of(servers: list[tuple[Block, Listener]]) -> tuple[Block, Listener]:
    """The server that answers for every name that none has: the one that says so, else the first."""
    return next((one for one in servers if one[1].default), servers[0])


def server_for(configuration: Configuration, port: int, name: str) -> Block | None:
    """The server that answers for a name at a port: an exact name, then the longest wildcard, then the default.

    https://nginx.org/en/docs/http/server_names.html; names that are regular expressions are not tried.
    """
    there = [one for socket, servers in sharing(configuration).items() if socket[1] == port for one in servers]
    for server, _ in there:
        if name in names(server):
            return server
    wild = [(len(one), server) for server, _ in there for one in names(server) if fits(one, name)]
    if wild:
        return max(wild, key=lambda one: one[0])[1]
    return default_of(there)[0] if there else None


def fits(pattern: str, name: str) -> bool:
    """Whether a name with a wildcard at its head stands for another."""
    if pattern.startswith("."):
        return name == pattern[1:] or name.endswith(pattern)
    return pattern.startswith("*.") and name.endswith(pattern[1:]) and name != pattern[1:]
