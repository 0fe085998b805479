"""What nobody can reach, and what nobody finds inside: read from the running containers."""

from __future__ import annotations

from typing import Any

import docker
import pytest

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


@pytest.mark.parametrize("name", ALL)
def test_a_container_has_no_more_rights_than_it_needs(containers: dict[str, Any], name: str) -> None:
    settings = containers[name].attrs["HostConfig"]
    user = containers[name].attrs["Config"]["User"]

    assert user.split(":")[0] not in ("", "0", "root")
    assert settings["ReadonlyRootfs"] is True
    assert settings["CapDrop"] == ["ALL"]
    assert not settings["CapAdd"]
    assert not settings["Privileged"]
    assert "no-new-privileges:true" in settings["SecurityOpt"]
    assert settings["Memory"] > 0
    assert settings["PidsLimit"] > 0
    assert settings["LogConfig"]["Config"] == {"max-file": "3", "max-size": "10m"}


@pytest.mark.parametrize("name", ALL)
def test_the_kernel_agrees(lab: TestedLab, name: str) -> None:
    """Not what was asked for but what holds: no capability, no root, no way to more."""
    host, service = name.split("/")
    status = lab.hosts[host].exec_in_container(["cat", "/proc/1/status"], service)[0]
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)

    assert int(facts["CapEff"], 16) == int(facts["CapBnd"], 16) == 0
    assert "0" not in facts["Uid"].split()
    assert facts["NoNewPrivs"] == "1"


@pytest.mark.parametrize("name", ALL)
def test_nothing_can_be_written_but_memory(lab: TestedLab, name: str) -> None:
    host, service = name.split("/")

    assert lab.hosts[host].exec_in_container(["bash", "-c", "echo x > /etc/x"], service)[2] != 0
    assert lab.hosts[host].exec_in_container(["bash", "-c", "echo x > /tmp/x && rm /tmp/x"], service)[2] == 0


def test_gateways_alone_are_published_and_on_loopback_alone(containers: dict[str, Any]) -> None:
    for name, container in containers.items():
        bindings = [b for found in container.ports.values() for b in found or ()]
        assert bool(bindings) is name.endswith("/gateway"), name
        assert {binding["HostIp"] for binding in bindings} <= {"127.0.0.1"}


def test_services_are_on_their_own_host_s_network_alone(lab: TestedLab, containers: dict[str, Any]) -> None:
    """And what joins the hosts is joined by their gateways."""
    for name, container in containers.items():
        host, service = name.split("/")
        inside = f"{lab.lab.project(host)}_inside"
        expected = {inside, lab.lab.internet} if service == "gateway" else {inside}
        assert set(container.attrs["NetworkSettings"]["Networks"]) == expected, name


def address(containers: dict[str, Any], name: str, network: str) -> str:
    networks = containers[name].attrs["NetworkSettings"]["Networks"]
    return next(str(found["IPAddress"]) for key, found in networks.items() if network in key)


def can_connect(lab: TestedLab, origin: str, target: str, port: int) -> bool:
    """Whether a container can open a connection: bash does it, so no tool has to be in the image."""
    host, service = origin.split("/")
    script = f"timeout 2 bash -c 'exec 3<>/dev/tcp/{target}/{port}'"
    return bool(lab.hosts[host].exec_in_container(["bash", "-c", script], service)[2] == 0)


@pytest.mark.parametrize("origin", ["client/gateway", "client/fast"])
@pytest.mark.parametrize(("target", "port"), [("server/boot", 8080), ("server/mtls", 8080)])
def test_a_service_cannot_be_reached_from_another_host(
    lab: TestedLab, containers: dict[str, Any], origin: str, target: str, port: int
) -> None:
    assert not can_connect(lab, origin, address(containers, target, "_inside"), port)


def test_the_same_probe_finds_what_may_be_reached(lab: TestedLab, containers: dict[str, Any]) -> None:
    """Else the walls could be an accident of the probe."""
    assert can_connect(lab, "server/gateway", address(containers, "server/boot", "_inside"), 8080)
    assert can_connect(lab, "client/fast", address(containers, "client/gateway", "_inside"), 8080)
    assert can_connect(lab, "client/gateway", address(containers, "server/gateway", "internet"), 443)


def test_the_listener_for_a_host_s_services_is_on_their_network_alone(
    lab: TestedLab, containers: dict[str, Any]
) -> None:
    """It attaches identities: another host, or the internet, could call as them."""
    for target in ("internet", "_inside"):
        assert not can_connect(lab, "server/gateway", address(containers, "client/gateway", target), 8080)


def test_a_service_cannot_reach_the_world_but_through_its_gateway(lab: TestedLab, containers: dict[str, Any]) -> None:
    assert not can_connect(lab, "client/fast", address(containers, "server/gateway", "internet"), 443)


def test_no_container_holds_an_authority_s_key(lab: TestedLab) -> None:
    """Looked for by content in every container's files, not by name."""
    keys = [path.read_text().splitlines()[1] for path in lab.running.authorities.rglob("*key.pem")]
    assert keys
    for name in ALL:
        host, service = name.split("/")
        for key in keys:
            command = ["grep", "--recursive", "--fixed-strings", "--files-with-matches", key, "/etc", "/srv", "/tmp"]
            assert lab.hosts[host].exec_in_container(command, service)[0] == "", name


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
