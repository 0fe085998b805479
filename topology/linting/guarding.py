"""How a location is guarded: by an `if` that refuses, and by what it compares."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from topology.linting.gateway import Gateway
from topology.nginx import listening
from topology.nginx.tree import Block, Place

VERIFY = "ssl_client_verify"
SUBJECTS = frozenset({"ssl_client_s_dn", "ssl_client_s_dn_legacy"})
ISSUERS = frozenset({"ssl_client_i_dn", "ssl_client_i_dn_legacy"})
WHOLE = frozenset({"ssl_client_fingerprint", "ssl_client_cert", "ssl_client_raw_cert", "ssl_client_escaped_cert"})
"""What is one certificate's alone."""
OTHERS = frozenset({"ssl_client_serial", "ssl_client_v_start", "ssl_client_v_end", "ssl_client_v_remain"})
CERTIFICATE = frozenset({VERIFY}) | SUBJECTS | ISSUERS | WHOLE | OTHERS
"""All that nginx says of a caller's certificate."""


@dataclass(frozen=True)
class Comparison:
    """One `if` that decides who may go on.  uses: all variables that its condition hangs on."""

    block: Block
    subject: str
    operator: str
    value: str
    uses: frozenset[str]

    @property
    def place(self) -> Place:
        return self.block.place

    @property
    def is_pattern(self) -> bool:
        return "~" in self.operator


def comparison(gateway: Gateway, block: Block) -> Comparison:
    words = (*block.directive.arguments, "", "", "")
    return Comparison(block, words[0], words[1], words[2], gateway.hangs_on(" ".join(block.directive.arguments)))


def refuses(block: Block) -> bool:
    """Whether an `if` ends in an answer for callers that may not go on."""
    return any(one.value.startswith("4") and len(one.value) == 3 for one in block.own("return"))


def guards(gateway: Gateway, location: Block) -> tuple[Comparison, ...]:
    """The comparisons that refuse before a location answers: its own, and its server's.

    Those of a location around it are not among them: nginx runs one location's `if` alone.
    """
    return tuple(comparison(gateway, one) for one in deciding_blocks(location) if refuses(one))


def steps(gateway: Gateway, location: Block) -> tuple[Comparison, ...]:
    """All comparisons on the way to a guard's decision, such as those that set what it looks at.

    Those of the server, which has other locations, too, count only where a guard of this one looks at what they set.
    """
    asked = frozenset().union(*(one.uses for one in guards(gateway, location)))
    around = location.around("location")
    return tuple(
        comparison(gateway, one)
        for one in deciding_blocks(location)
        if one.parent == around or refuses(one) or any(line.value.lstrip("$") in asked for line in one.own("set"))
    )


def deciding_blocks(location: Block) -> Iterator[Block]:
    server = location.around("server")
    if server is not None and server != location:
        yield from server.blocks("if")
    around = location.around("location")
    if around is not None:
        yield from around.blocks("if")


def certificate_guards(gateway: Gateway, location: Block) -> tuple[Comparison, ...]:
    """The guards that look at the caller's certificate."""
    return tuple(one for one in guards(gateway, location) if one.uses & CERTIFICATE)


def is_verified(location: Block) -> bool:
    """Whether nobody gets as far as this location without a valid certificate."""
    server = location.around("server")
    return server is not None and listening.verification(server) == "on"


def is_guarded(gateway: Gateway, location: Block) -> bool:
    """Whether a caller needs a certificate here."""
    return is_verified(location) or bool(certificate_guards(gateway, location))


def is_closed(gateway: Gateway, location: Block) -> bool:
    """Whether not everybody may use a location, for whatever reason."""
    return (
        is_verified(location)
        or bool(guards(gateway, location))
        or bool(location.own("internal"))
        or location.value("auth_basic", "off") != "off"
        or location.value("auth_request", "off") != "off"
        or any(one.value == "all" for one in location.in_force("deny"))
    )
