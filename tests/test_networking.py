"""Where a lab's networks go when others are there already."""

from __future__ import annotations

import ipaddress
from types import SimpleNamespace
from typing import Any

import pytest

from tests.test_generation import LABS
from topology.description import loading
from topology.description.model import Topology
from topology.generation.planning import default_networks_of
from topology.runtime import networking

ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
tun0\t0000400A\t00000000\t0001\t0\t0\t0\t0000C0FF\t0\t0\t0
"""
"""A default route, and a VPN on 10.64.0.0/10."""


@pytest.fixture
def topology() -> Topology:
    return loading.load(LABS / "two-host.yaml").topology


def engine(**networks: str) -> Any:
    """An engine with these networks: name -> subnet."""
    found = [SimpleNamespace(name=n, attrs={"IPAM": {"Config": [{"Subnet": s}]}}) for n, s in networks.items()]
    return SimpleNamespace(networks=SimpleNamespace(list=lambda: found))


def choose(topology: Topology, client: Any) -> Any:
    return networking.choose(client, topology, lambda host: f"two-host-{host}", "two-host-internet")


def test_where_nothing_is_in_the_way_the_default_holds(topology: Topology, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networking, "read_routes", lambda: "")

    assert choose(topology, engine(bridge="172.17.0.0/16")) == default_networks_of(topology)


def test_another_network_in_the_way_moves_what_it_meets(topology: Topology, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networking, "read_routes", lambda: "")
    default = default_networks_of(topology)

    chosen = choose(topology, engine(other=str(default.inside["server"].subnet)))

    assert not chosen.inside["server"].subnet.overlaps(default.inside["server"].subnet)
    assert (chosen.internet, chosen.inside["client"]) == (default.internet, default.inside["client"])


def test_a_vpn_over_the_whole_default_range_moves_the_lab_elsewhere(
    topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networking, "read_routes", lambda: ROUTES)
    vpn = ipaddress.IPv4Network("10.64.0.0/10")

    chosen = choose(topology, engine())

    assert not any(network.subnet.overlaps(vpn) for network in chosen.all())
    assert len({network.prefix for network in chosen.all()}) == 3


def test_a_lab_that_is_up_stays_where_it_is(topology: Topology, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own routes and networks are not in its way."""
    own = {"two-host-internet": "10.200.1.0/24", "two-host-server_inside": "10.200.2.0/24"}
    monkeypatch.setattr(networking, "read_routes", lambda: "")

    chosen = choose(topology, engine(**own))

    assert (chosen.internet.prefix, chosen.inside["server"].prefix) == ("10.200.1", "10.200.2")


def test_the_routing_table_is_read_as_the_kernel_writes_it() -> None:
    assert networking.routed(ROUTES) == [ipaddress.IPv4Network("10.64.0.0/10")]


def test_another_machine_s_own_routes_move_the_lab_and_hosts_elsewhere_take_no_room(topology: Topology) -> None:
    """A network of ours over one of its routes would cut it off, SSH and all."""
    default = planning_default(topology, "server")
    table = ROUTES.replace("0000400A", default)

    chosen = networking.choose(
        engine(), topology, lambda host: f"two-host-{host}", "two-host-internet", hosts=["server"], routes=lambda: table
    )

    assert set(chosen.inside) == {"server"}
    assert chosen.inside["server"] != default_networks_of(topology).inside["server"]


def planning_default(topology: Topology, host: str) -> str:
    """The default network of a host as /proc/net/route writes it."""
    address = default_networks_of(topology).inside[host].subnet.network_address
    return address.packed[::-1].hex().upper()


def test_another_machine_is_not_asked_for_its_routes_once_the_lab_is_there(topology: Topology) -> None:
    def asked() -> str:
        raise AssertionError

    own = {"two-host-internet": "10.200.1.0/24", "two-host-server_inside": "10.200.2.0/24"}
    chosen = networking.choose(
        engine(**own), topology, lambda host: f"two-host-{host}", "two-host-internet", hosts=["server"], routes=asked
    )

    assert chosen.inside["server"].prefix == "10.200.2"
