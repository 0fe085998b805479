"""Networks and addresses: stable, apart from each other, out of the way."""

from __future__ import annotations

import ipaddress
from itertools import combinations, islice

import pytest

from topology.generation.addressing import FIRST_SLOT, Network, candidates, default_networks, free, slots


def test_the_default_networks_depend_on_names_alone() -> None:
    """The same topology has the same addresses on every machine: they stand in git."""
    members = {"server": 2, "client": 3}

    assert default_networks("two-host", members) == default_networks("two-host", members)
    assert default_networks("two-host", members) != default_networks("three-host", members)


def test_no_two_networks_of_a_lab_overlap() -> None:
    """Forty hosts, and one network for the internet: all apart."""
    networks = default_networks("many", {f"host-{n}": 1 for n in range(40)}).all()

    assert not any(one.subnet.overlaps(other.subnet) for one, other in combinations(networks, 2))


def test_one_more_service_at_the_end_moves_nobody() -> None:
    """Its container alone is started; the others keep their addresses."""
    network = Network("10.87.3")
    names = [f"service-{n}" for n in range(60)]

    before, after = slots(names, network), slots([*names, "one-more"], network)

    assert {name: after[name] for name in names} == before


@pytest.mark.parametrize("prefix", ["10.87.3", "10.87"])
def test_fixed_addresses_stay_clear_of_the_dynamic_half(prefix: str) -> None:
    """A throw-away container can never be handed the address of a service that is down."""
    network = Network(prefix)
    placed = slots([f"service-{n}" for n in range(100)], network)
    half = network.subnet.num_addresses // 2

    assert len(set(placed.values())) == 100
    assert all(FIRST_SLOT <= slot < half for slot in placed.values())


def test_a_host_with_very_many_services_gets_a_larger_network() -> None:
    """A /24 has 124 places; beyond 100 services a host has a /16."""
    networks = default_networks("large", {"small": 100, "large": 1000})

    assert networks.inside["small"].subnet.prefixlen == 24
    assert networks.inside["large"].subnet.prefixlen == 16
    assert len(set(slots([f"s{n}" for n in range(1000)], networks.inside["large"]).values())) == 1000


def test_addresses_end_in_their_slot() -> None:
    """The last octets stay the same wherever the network is put."""
    assert Network("10.87.3").address(17) == "10.87.3.17"
    assert Network("10.87").address(300) == "10.87.1.44"


def test_candidates_never_repeat() -> None:
    """Whoever looks for a free network tries another one each time."""
    tried = list(islice(candidates("two-host/server", 3), 16384))

    assert len({network.prefix for network in tried}) == len(tried)


@pytest.mark.parametrize("prefix", ["10.87.3", "10.87"])
@pytest.mark.parametrize(
    "taken",
    ["10.0.0.0/8", "10.87.3.128/25", "10.87.4.0/24", "10.87.2.0/24", "10.86.0.0/16", "10.88.0.0/16", "10.87.3.0/32"],
)
def test_a_network_is_free_where_nothing_that_is_taken_overlaps(prefix: str, taken: str) -> None:
    """By the standard library's own judgement."""
    network, other = Network(prefix), ipaddress.IPv4Network(taken)

    assert (list(free([network], [other])) == []) == network.subnet.overlaps(other)
