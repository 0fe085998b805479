"""Up again: what did not change is not touched; what did is served without a dropped request."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from topology import cli
from topology.description.loading import load
from topology.proof.probing import Direct, tls_context
from topology.runtime import engine, stacks
from topology.runtime.lab import Lab, label_filters

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


class Changing:
    """A lab in a folder of its own, driven by the command line as people do."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "topology.yaml"
        self.out = folder / "compose"
        self.file.write_text(BEFORE)

    def run(self, command: str, *options: str) -> int:
        return cli.main([command, str(self.file), "--out", str(self.out), *options])

    @property
    def lab(self) -> Lab:
        return Lab(load(self.file), self.out, "changes")

    def up(self) -> int:
        return self.run("up", "--instance", "changes", "--ports", "auto", "--json")

    def started(self) -> dict[str, tuple[str, str]]:
        """`host/service` -> id and start of its container."""
        return {
            f"{c.labels['mtls-lab.host']}/{c.labels['mtls-lab.service']}": (str(c.id), c.attrs["State"]["StartedAt"])
            for c in stacks.containers(engine.connect(), self.lab)
        }

    def get(self, path: str, session: requests.Session | None = None) -> int:
        running = stacks.running(self.lab)
        endpoint = running.endpoints["shop"]
        url = f"https://shop.changing.test:{endpoint.https}"
        with session or requests.Session() as used:
            used.trust_env = False
            context = tls_context(running.authorities / "ssl_ca" / "certificate.pem", None, "1.3")
            used.mount(url, Direct("127.0.0.1", context))
            return used.get(url + path, timeout=10).status_code

    def served_serial(self) -> str:
        endpoint = stacks.running(self.lab).endpoints["shop"]
        context = ssl.create_default_context(cafile=str(self.lab.authorities / "ssl_ca" / "certificate.pem"))
        with (
            socket.create_connection(("127.0.0.1", endpoint.https or 0)) as connection,
            context.wrap_socket(connection, server_hostname="shop.changing.test") as tls,
        ):
            return str((tls.getpeercert() or {})["serialNumber"])


@pytest.fixture(scope="module")
def changing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Changing]:
    made = Changing(tmp_path_factory.mktemp("a folder with späces"))
    try:
        assert made.up() == 0
        yield made
    finally:
        made.run("down", "--instance", "changes")


def test_up_twice_is_harmless(changing: Changing, capsys: pytest.CaptureFixture[str]) -> None:
    """No container is started anew, no certificate issued, no gateway reloaded."""
    before = changing.started()
    assert changing.up() == 0

    assert changing.started() == before
    assert "issued" not in capsys.readouterr().err


def test_status_says_where_it_listens_and_how_it_is(changing: Changing, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert changing.run("status", "--instance", "changes", "--json") == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)

    assert told["lab"] == "changing"
    assert told["instance"] == "changes"
    assert told["hosts"]["shop"]["domain"] == "shop.changing.test"
    assert told["hosts"]["shop"]["services"] == {"node": {"health": "healthy"}}
    assert told["hosts"]["shop"]["urls"]["https"].startswith("https://shop.changing.test:")


def test_a_renewed_certificate_is_served_after_up_without_a_dropped_request(changing: Changing) -> None:
    """Requests run on while the gateway takes up the new certificate: none fails."""
    old = changing.served_serial()
    before = changing.started()
    (changing.lab.certificates("shop") / "server.pem").unlink()
    stop, results = threading.Event(), []
    endpoint = stacks.running(changing.lab).endpoints["shop"]
    context = tls_context(changing.lab.authorities / "ssl_ca" / "certificate.pem", None, "1.3")
    url = f"https://shop.changing.test:{endpoint.https}"

    def keep_asking() -> None:
        while not stop.is_set():
            with requests.Session() as session:
                session.trust_env = False
                session.mount(url, Direct("127.0.0.1", context))
                results.append(session.get(f"{url}/node/health", timeout=10).status_code)

    callers = [threading.Thread(target=keep_asking) for _ in range(4)]
    for caller in callers:
        caller.start()
    try:
        assert changing.up() == 0
        assert changing.served_serial() != old
    finally:
        stop.set()
        for caller in callers:
            caller.join()

    assert len(results) > 100
    assert set(results) == {200}
    assert changing.started() == before


def test_one_more_service_touches_its_host_alone(changing: Changing, capsys: pytest.CaptureFixture[str]) -> None:
    """Generation changes that host's files; up starts the new service and reloads that gateway, nothing else."""
    before = changing.started()
    changing.file.write_text(AFTER)
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
    assert changing.get("/second/health") == 403


def test_one_service_less_is_taken_away(changing: Changing) -> None:
    """And its route with it."""
    changing.file.write_text(BEFORE)

    assert changing.up() == 0
    assert "shop/second" not in changing.started()
    assert changing.get("/second/health") == 404


def test_a_host_that_leaves_the_topology_is_taken_away(changing: Changing) -> None:
    """Its containers and its network; the other host runs on untouched."""
    before = changing.started()
    changing.file.write_text(BEFORE[: BEFORE.index("  desk:")])

    assert changing.up() == 0
    after = changing.started()
    networks = engine.connect().networks.list(filters={"label": label_filters(changing.lab)})
    assert after == {name: one for name, one in before.items() if not name.startswith("desk/")}
    assert not [network.name for network in networks if "desk" in str(network.name)]
    changing.file.write_text(BEFORE)
    assert changing.up() == 0


def test_another_folder_cannot_take_a_lab_over(
    changing: Changing, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same names from elsewhere: refused, and what runs keeps running."""
    before = changing.started()
    other = Changing(tmp_path)

    assert other.up() == 2
    assert "is already running from" in capsys.readouterr().err
    assert other.run("down", "--instance", "changes") == 2
    assert changing.started() == before
