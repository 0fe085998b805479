"""Containers come and go: routes keep leading to the service that the topology names, and to no other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import requests

from tests.integration.conftest import ask
from topology.errors import NotReady
from topology.pytest_plugin import TestedLab
from topology.runtime import engine, looking
from topology.runtime.lab import labels

pytestmark = pytest.mark.integration

OWN = {"/boot/": ("boot", None), "/mtls/": ("mtls", "bro")}


def answering(lab: TestedLab, route: str) -> str | int:
    """The service that answers on a route of the server, or the status that the gateway gives instead."""
    _, identity = OWN[route]
    answer = ask(lab, "server", f"{route}whoami", identity)
    return str(answer.json()["service"]) if answer.status_code == 200 else answer.status_code


def assert_routes_recover(lab: TestedLab, seconds: float = 60) -> None:
    """Until every route answers again, each answer is its own service's, or none."""
    deadline = time.monotonic() + seconds
    while True:
        found = {route: answering(lab, route) for route in OWN}
        for route, answer in found.items():
            assert answer in (OWN[route][0], 502, 504), f"{route} reached {answer}"
        if all(found[route] == OWN[route][0] for route in OWN):
            return
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


@pytest.mark.parametrize("order", [["boot", "mtls"], ["mtls", "boot"], ["mtls", "gateway", "boot"]])
def test_routes_survive_recreation_in_any_order(lab: TestedLab, order: list[str]) -> None:
    """Stop and remove all of them, then start them one by one: nobody inherits another's address."""
    stack = lab.hosts["server"]
    prefix = stack.docker_compose_command()
    stack._run_command([*prefix, "rm", "--stop", "--force", *order])
    for service in order:
        stack._run_command([*prefix, "up", "--detach", "--no-deps", service])
    wait_for_gateway(lab)
    assert_routes_recover(lab)


def wait_for_gateway(lab: TestedLab) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            lab.find_ports()
            ask(lab, "server", "/")
        except (requests.RequestException, NotReady):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return


@contextmanager
def throw_away(lab: TestedLab, count: int) -> Iterator[list[str]]:
    """Containers that take whatever addresses Docker hands out on the server's network."""
    client = engine.connect()
    image = looking.containers(client, lab.lab)[0].image
    made = []
    try:
        for _ in range(count):
            made.append(
                client.containers.run(
                    image.id, ["sleep", "600"], detach=True, network=f"{lab.lab.project('server')}_inside",
                    labels={**labels(lab.lab), "mtls-lab.service": "throw-away"},
                )
            )  # fmt: skip
            made[-1].reload()
        yield [
            str(network["IPAddress"])
            for container in made
            for network in container.attrs["NetworkSettings"]["Networks"].values()
        ]
    finally:
        for container in made:
            container.remove(force=True)


def test_a_throw_away_container_never_gets_the_address_of_a_service_that_is_down(lab: TestedLab) -> None:
    """With plain Docker it would get the first one that is free, and with it the requests."""
    stack = lab.hosts["server"]
    prefix = stack.docker_compose_command()
    before = looking.containers(engine.connect(), lab.lab)
    fixed = {n["IPAddress"] for c in before for n in c.attrs["NetworkSettings"]["Networks"].values()}
    stack._run_command([*prefix, "rm", "--stop", "--force", "boot", "mtls"])
    with throw_away(lab, 4) as taken:
        assert not set(taken) & fixed
        stack._run_command([*prefix, "up", "--detach", "--no-deps", "mtls", "boot"])
        assert_routes_recover(lab)


def test_a_gateway_starts_while_its_services_and_its_partner_are_away(guarded: TestedLab) -> None:
    """It answers 502 for what is not there, and does not refuse to start."""
    office, vault = guarded.hosts["office"], guarded.hosts["vault"]
    vault._run_command([*vault.docker_compose_command(), "stop"])
    try:
        office._run_command([*office.docker_compose_command(), "restart", "gateway"])
        deadline = time.monotonic() + 30
        status = None
        while status not in (502, 504) and time.monotonic() < deadline:
            guarded.find_ports("office")
            with suppress(requests.ConnectionError):
                status = ask(guarded, "office", "/as-alice/health").status_code
            time.sleep(0.1)
        assert status in (502, 504)
    finally:
        vault._run_command([*vault.docker_compose_command(), "start"])
    guarded.find_ports()
    deadline = time.monotonic() + 60
    while ask(guarded, "office", "/as-alice/health").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
