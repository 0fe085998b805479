"""Which private networks a lab uses, and which address everybody has there.

Every container has a fixed address.  nginx resolves a literal upstream once, at start; were addresses to move when
containers are recreated, an open route could come to reach a protected service.  With fixed addresses gateways start
before their services, keep connections alive, and survive any recreation.

Dynamic addresses (of throw-away containers on the same network) come from the upper half of each network, fixed ones
from the lower half, so that nobody is handed the address of a service that happens to be down.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

GATEWAY_SLOT = 2
FIRST_SLOT = 3
LARGEST_SMALL_NETWORK = 100
"""Members up to which a network is a /24; above, a /16."""


@dataclass(frozen=True)
class Network:
    """A private IPv4 network, named by its leading octets: `10.87.3` is a /24, `10.87` is a /16."""

    prefix: str

    @property
    def small(self) -> bool:
        return self.prefix.count(".") == 2

    @cached_property
    def subnet(self) -> ipaddress.IPv4Network:
        return ipaddress.IPv4Network(self.prefix + (".0/24" if self.small else ".0.0/16"))

    @property
    def span(self) -> tuple[int, int]:
        """Its first and last address as whole numbers."""
        octets = bytes(map(int, self.prefix.split(".")))
        spare = 8 * (4 - len(octets))
        first = int.from_bytes(octets, "big") << spare
        return first, first + (1 << spare) - 1

    def ending(self, slot: int) -> str:
        """The octets that follow the prefix in the address of a slot, with the leading dot."""
        return f".{slot}" if self.small else f".{slot // 256}.{slot % 256}"

    def address(self, slot: int) -> str:
        return self.prefix + self.ending(slot)

    @property
    def subnet_ending(self) -> str:
        return ".0/24" if self.small else ".0.0/16"

    @property
    def dynamic_ending(self) -> str:
        """The upper half, from which Docker may choose."""
        return ".128/25" if self.small else ".128.0/17"


@dataclass(frozen=True)
class Networks:
    """The networks of one running lab: the one that stands for the internet, and one inside each host."""

    internet: Network
    inside: Mapping[str, Network]

    def all(self) -> tuple[Network, ...]:
        return (self.internet, *self.inside.values())


def default_networks(lab: str, members: Mapping[str, int]) -> Networks:
    """The networks of a lab where nothing else is in the way: a pure function of names.

    lab: the topology's name; members: host name -> number of its services.
    """
    taken: list[ipaddress.IPv4Network] = []

    def choose(name: str, size: int) -> Network:
        network = next(free(candidates(f"{lab}/{name}", size), taken))
        taken.append(network.subnet)
        return network

    return Networks(
        internet=choose("", len(members)),
        inside={host: choose(host, size) for host, size in members.items()},
    )


def candidates(seed: str, size: int) -> Iterator[Network]:
    """Networks to try for a seed, the default first: 10.64.0.0/10 spread by a hash, then what else RFC 1918 offers."""
    start = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4], "big")
    if size > LARGEST_SMALL_NETWORK:
        yield from (Network(f"10.{64 + (start + n) % 64}") for n in range(64))
        yield from (Network(f"172.{16 + (start + n) % 16}") for n in range(16))
        return
    for n in range(64 * 256):
        second, third = divmod((start + n * 257) % (64 * 256), 256)
        yield Network(f"10.{64 + second}.{third}")
    yield from (Network(f"172.{16 + second}.{(start + third) % 256}") for second in range(16) for third in range(256))
    yield from (Network(f"192.168.{(start + third) % 256}") for third in range(256))


def free(networks: Iterable[Network], taken: Iterable[ipaddress.IPv4Network]) -> Iterator[Network]:
    """Those of some networks that overlap with nothing that is taken.

    Compared as whole numbers: beside a VPN over all of 10.0.0.0/8, more than sixteen thousand are asked about.
    """
    spans = [(int(one.network_address), int(one.broadcast_address)) for one in taken]
    for network in networks:
        first, last = network.span
        if not any(low <= last and first <= high for low, high in spans):
            yield network


def slots(names: Iterable[str], network: Network) -> dict[str, int]:
    """A slot for each name, spread by hash, so that one more name moves nobody else's address.

    Names are placed in their order; a name that is appended never displaces an earlier one.
    """
    size = 128 if network.small else 32768
    placed: dict[str, int] = {}
    for name in names:
        slot = FIRST_SLOT + int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % (size - FIRST_SLOT)
        while slot in placed.values():
            slot = slot + 1 if slot + 1 < size else FIRST_SLOT
        placed[name] = slot
    return placed
