"""What nobody can reach, and what nobody finds inside: read from the running containers."""

from __future__ import annotations

from typing import Any

import docker
import pytest

from topology.proof import checking, families
from topology.pytest_plugin import TestedLab
from topology.runtime import engine, looking, stacks

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def client() -> docker.DockerClient:
    return engine.connect()


@pytest.fixture(scope="module")
def containers(lab: TestedLab, client: docker.DockerClient) -> dict[str, Any]:
    """`host/service` -> container."""
    found = looking.containers(client, lab.lab)
    return {f"{c.labels['mtls-lab.host']}/{c.labels['mtls-lab.service']}": c for c in found}


ALL = ["server/gateway", "server/boot", "server/mtls", "client/gateway", "client/fast", "client/next", "client/node"]


@pytest.mark.parametrize("name", ["lab", "guarded", "pro_dev", "node_tls", "two_companies"])
def test_every_wall_stands(name: str, request: pytest.FixtureRequest) -> None:
    """Rights, keys, ports, networks, what strangers reach, what own services get, whom remote hosts see: as checked.

    tests/integration/test_broken_walls.py shows that each of these checks can fail.
    """
    tested: TestedLab = request.getfixturevalue(name)
    chosen = [
        check
        for family in ("wall", "inside", "egress")
        for check in families.FAMILIES[family].checks(tested.lab.topology, ())
    ]
    verdicts = checking.run(chosen, tested.running, probes=families.PROBES)

    assert [(v.check.id, v.observed) for v in verdicts if not v.ok] == []
    assert {v.check.family for v in verdicts} >= {"wall", "inside"}


@pytest.mark.parametrize("name", ALL)
def test_a_container_can_take_only_so_much(containers: dict[str, Any], name: str) -> None:
    settings = containers[name].attrs["HostConfig"]

    assert settings["Memory"] > 0
    assert settings["PidsLimit"] > 0
    assert settings["LogConfig"]["Config"] == {"max-file": "3", "max-size": "10m"}


@pytest.mark.parametrize("name", ALL)
def test_nothing_can_be_written_but_memory(lab: TestedLab, name: str) -> None:
    host, service = name.split("/")

    assert lab.hosts[host].exec_in_container(["bash", "-c", "echo x > /etc/x"], service)[2] != 0
    assert lab.hosts[host].exec_in_container(["bash", "-c", "echo x > /tmp/x && rm /tmp/x"], service)[2] == 0


def test_a_gateway_holds_the_identities_that_it_attaches_and_no_others(lab: TestedLab) -> None:
    found = {
        host: lab.hosts[host].exec_in_container(["find", "/etc/nginx/certificates", "-name", "*.key"], "gateway")[0]
        for host in ("server", "client")
    }

    assert set(found["server"].split()) == {"/etc/nginx/certificates/server.key"}
    assert set(found["client"].split()) == {
        "/etc/nginx/certificates/server.key",
        "/etc/nginx/certificates/identities/bro.key",
    }


def test_compose_and_nginx_have_nothing_to_say(lab: TestedLab) -> None:
    """`docker compose config` and `nginx -t` are clean: no warning."""
    for host, stack in lab.hosts.items():
        command = [*stacks.compose_command(lab.lab, host), "config", "--quiet"]
        done = stacks.run_compose(command, {})
        assert (done.stdout, done.stderr) == (b"", b"")
        said = stack.exec_in_container(["nginx", "-t"], "gateway")[1]
        assert [
            line for line in said.splitlines() if "test is successful" not in line and "syntax is ok" not in line
        ] == []
