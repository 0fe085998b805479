"""Up again: what did not change is not touched; what did is served without a dropped request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.driving import Callers, Driven
from topology.runtime import engine
from topology.runtime.lab import label_filters

pytestmark = pytest.mark.integration

BEFORE = """
name: changing
authorities:
  ssl_ca: {}
  client_ca: {}
identities:
  bro: {authority: client_ca}
hosts:
  shop:
    domain: shop.changing.test
    client_certificates: {authority: client_ca}
    services:
      node: {kind: node}
    routes:
      /node/: {service: node}
  desk:
    domain: desk.changing.test
    routes:
      /shop/: {host: shop, to: /node/, identity: bro}
"""
AFTER = BEFORE.replace("      node: {kind: node}\n", "      node: {kind: node}\n      second: {kind: node}\n").replace(
    "      /node/: {service: node}\n",
    "      /node/: {service: node}\n      /second/: {service: second, client_certificate: required}\n",
)


@pytest.fixture(scope="module")
def changing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driven]:
    folder = tmp_path_factory.mktemp("a folder with späces")
    with Driven.of(BEFORE, folder, "changes").up_meanwhile(BEFORE) as made:
        yield made


def test_up_twice_is_harmless(changing: Driven, capsys: pytest.CaptureFixture[str]) -> None:
    """No container is started anew, no certificate issued, no gateway reloaded."""
    before = changing.started()
    assert changing.up() == 0

    assert changing.started() == before
    assert "issued" not in capsys.readouterr().err


def test_status_says_where_it_listens_and_how_it_is(changing: Driven, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert changing.run("status", "--json") == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)

    assert told["lab"] == "changing"
    assert told["instance"] == "changes"
    assert told["hosts"]["shop"]["domain"] == "shop.changing.test"
    assert told["hosts"]["shop"]["services"] == {"node": {"health": "healthy"}}
    assert told["hosts"]["shop"]["urls"]["https"].startswith("https://shop.changing.test:")


def test_a_renewed_certificate_is_served_after_up_without_a_dropped_request(changing: Driven) -> None:
    """Requests run on while the gateway takes up the new certificate: none fails."""
    old = changing.served("shop").serial_number
    before = changing.started()
    (changing.lab.certificates("shop") / "server.pem").unlink()
    with Callers(changing.running, "shop", "/node/health", at_once=4) as callers:
        assert changing.up() == 0
        assert changing.served("shop").serial_number != old

    assert len(callers.answers) > 100
    assert callers.failed == []
    assert changing.started() == before


def test_one_more_service_touches_its_host_alone(changing: Driven, capsys: pytest.CaptureFixture[str]) -> None:
    """Generation changes that host's files; up starts the new service and reloads that gateway, nothing else."""
    before = changing.started()
    changing.write(AFTER)
    capsys.readouterr()

    assert changing.run("generate") == 0
    written = capsys.readouterr().out
    assert "changing/shop/" in written
    assert "changing/desk/" not in written

    assert changing.up() == 0
    told = capsys.readouterr().err
    after = changing.started()
    assert {name: one for name, one in after.items() if name in before} == before
    assert after.keys() - before.keys() == {"shop/second"}
    assert "shop: gateway reloaded" in told
    assert "desk: gateway reloaded" not in told
    assert changing.get("shop", "/second/health") == 403


def test_one_service_less_is_taken_away(changing: Driven) -> None:
    """And its route with it."""
    changing.write(BEFORE)

    assert changing.up() == 0
    assert "shop/second" not in changing.started()
    assert changing.get("shop", "/second/health") == 404


def test_a_host_that_leaves_the_topology_is_taken_away(changing: Driven) -> None:
    """Its containers and its network; the other host runs on untouched."""
    before = changing.started()
    changing.write(BEFORE[: BEFORE.index("  desk:")])

    assert changing.up() == 0
    after = changing.started()
    networks = engine.connect().networks.list(filters={"label": label_filters(changing.lab)})
    assert after == {name: one for name, one in before.items() if not name.startswith("desk/")}
    assert not [network.name for network in networks if "desk" in str(network.name)]
    changing.write(BEFORE)
    assert changing.up() == 0


def test_another_folder_cannot_take_a_lab_over(
    changing: Driven, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same names from elsewhere: refused, and what runs keeps running."""
    before = changing.started()
    other = Driven.of(BEFORE, tmp_path, "changes")

    assert other.up() == 2
    assert "is already running from" in capsys.readouterr().err
    assert other.run("down") == 2
    assert changing.started() == before
