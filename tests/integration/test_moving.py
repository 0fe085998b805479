"""A lab makes room: for networks that are there already, and for other copies of itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from docker.types import IPAMConfig, IPAMPool

from topology.description.loading import load
from topology.generation.planning import default_networks_of
from topology.proof import checking
from topology.pytest_plugin import TestedLab, brought_up
from topology.runtime import engine

pytestmark = pytest.mark.integration

TOPOLOGY = """
name: moving
authorities: {ssl_ca: {}, client_ca: {}}
identities: {bro: {authority: client_ca}}
hosts:
  near:
    domain: near.moving.test
    services: {fast: {kind: fast}}
    routes:
      /fast/: {service: fast}
      /far/: {host: far, to: /node/, identity: bro}
  far:
    domain: far.moving.test
    client_certificates: {authority: client_ca}
    services: {node: {kind: node}}
    routes: {/node/: {service: node, client_certificate: required}}
"""


@pytest.fixture
def topology(tmp_path: Path) -> Path:
    file = tmp_path / "topology.yaml"
    file.write_text(TOPOLOGY)
    return file


@pytest.fixture
def in_the_way(topology: Path) -> Iterator[None]:
    """Somebody else's network, where this lab's would be."""
    subnet = str(default_networks_of(load(topology).topology).inside["far"].subnet)
    pool = IPAMConfig(pool_configs=[IPAMPool(subnet=subnet)])
    network = engine.connect().networks.create("somebody-else-s", driver="bridge", ipam=pool)
    try:
        yield
    finally:
        network.remove()


def assert_green(tested: TestedLab) -> None:
    assert [v.check.id for v in checking.run(tested.checks, tested.running) if not v.ok] == []


def test_a_taken_network_moves_the_lab(topology: Path, tmp_path: Path, in_the_way: None) -> None:
    """All of it works where it is put, the checked-in files stay as they are."""
    with brought_up(topology, tmp_path / "compose") as tested:
        assert_green(tested)
        assert (tmp_path / "compose" / "moving" / "far" / f"nginx-{tested.lab.instance}").is_dir()


def test_two_copies_of_a_lab_run_side_by_side(topology: Path, tmp_path: Path) -> None:
    """From one folder: networks, ports and certificates are each one's own."""
    with brought_up(topology, tmp_path / "compose") as one, brought_up(topology, tmp_path / "compose") as other:
        assert_green(one)
        assert_green(other)
        keys = {(lab.running.identities / "bro" / "key.pem").read_text() for lab in (one, other)}
        assert len(keys) == 2
