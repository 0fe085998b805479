"""What was free when the tool looked, and somebody else's when the engine came to use it.

The engine says so in the middle of a start, in words that differ between its versions.
"""

from __future__ import annotations

import re

from topology.errors import NotReady

NETWORK = re.compile(
    r"pool overlaps with other one|failed to allocate gateway \(\S+\): address already in use"
    r"|networks have overlapping IPv4",
    re.IGNORECASE,
)
"""Of a network whose addresses another network has: IPAM's words where it has some of them, or the very same; those of
the bridge driver."""

NETWORK_NAME = re.compile(r"failed to create network (\S+?):")

PORT = re.compile(
    r"Bind for (\S+):(\d+) failed: port is already allocated"
    r"|listen tcp4? (\S+):(\d+): bind: address already in use"
    r"|failed to bind host port for (\S+?):(\d+):\S*: address already in use"
    r"|failed to bind host port (\S+?):(\d+)/tcp: address already in use"
)
"""Of a port that a container has, or another program; Engine 20.10 to 29."""


class NetworkTaken(NotReady):
    """Another network has taken addresses that were free: others can be chosen."""

    def __init__(self, network: str) -> None:
        self.network = network
        super().__init__(
            f"network {network}: another network took its addresses while the lab started, again and again; "
            "run `mtls-lab up` once more when nothing else makes networks"
        )


class PortTaken(NotReady):
    """Another program has taken a port that was free.  field: where the topology asks for it, if it does."""

    def __init__(self, address: str, port: int, field: str = "") -> None:
        self.address, self.port = address, port
        asked = f" ({field})" if field else ""
        super().__init__(
            f"{address}:{port} was taken while the lab started{asked}; "
            "free it, choose another in the topology, or use --ports auto"
        )


def found_in(said: str) -> NetworkTaken | PortTaken | None:
    """The conflict that the engine or Compose tells of, if it does.  said: its messages."""
    if NETWORK.search(said):
        name = NETWORK_NAME.search(said)
        return NetworkTaken(name[1] if name else "of the lab")
    if port := PORT.search(said):
        address, number = (one for one in port.groups() if one is not None)
        return PortTaken(address, int(number))
    return None
