"""`mtls-lab doctor` on a real machine: who has a port, who has a subnet, and what a killed test run left."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from docker.types import IPAMConfig, IPAMPool

from tests.integration.conftest import eventually, whoami
from topology import cli
from topology.description.loading import load
from topology.generation.planning import default_networks_of
from topology.pytest_plugin import TestedLab
from topology.runtime import claims, engine, stacks

pytestmark = pytest.mark.integration

SMALL = """
name: {name}
authorities: {{ca: {{}}}}
hosts:
  web:
    domain: web.lab.test
    publish: {{https: {port}}}
    services: {{node: {{kind: node}}}}
    routes: {{/node/: {{service: node}}}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of this test's own, with a state folder of its own; what runs that were killed left goes afterwards."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield tmp_path
    for claim in filter(claims.is_abandoned, list(claims.all_claims())):
        stacks.remove_left_behind(engine.connect(), claim)


def small(folder: Path, port: int = 0) -> Path:
    """A topology under a name that nobody else has."""
    file = folder / "topology.yaml"
    file.write_text(SMALL.format(name=f"small-{secrets.token_hex(3)}", port=port or free_port()))
    return file


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def doctor(capsys: pytest.CaptureFixture[str], file: Path, *words: str) -> tuple[int, list[dict[str, Any]]]:
    """Exit code, and what was found."""
    capsys.readouterr()
    code = cli.main(["doctor", str(file), "--out", str(file.parent / "compose"), "--json", *words])
    return code, json.loads(capsys.readouterr().out)["findings"]


def about(findings: list[dict[str, Any]], check: str) -> list[dict[str, Any]]:
    return [found for found in findings if found["check"] == check]


def test_nothing_is_wrong_with_this_machine(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, findings = doctor(capsys, small(folder))

    assert [found for found in findings if found["level"] == "problem"] == []
    assert code == 0


def test_a_port_that_another_program_has(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline().split("port ")[1].split()[0])
        code, findings = doctor(capsys, small(folder, port))
    finally:
        server.terminate()
        server.communicate()

    [found] = about(findings, "ports")
    assert code == 1
    assert found["what"] == f"port {port} is taken (hosts.web.publish.https)"
    assert f"process {server.pid} of " in found["why"]
    assert "http.server" in found["why"]


def test_a_port_that_another_lab_has(pro_dev: TestedLab, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port = pro_dev.running.endpoints["pro"].https
    assert port is not None
    code, findings = doctor(capsys, small(folder, port))

    [found] = about(findings, "ports")
    assert code == 1
    assert f"(lab pro-dev, instance {pro_dev.lab.instance}) has it" in found["why"]
    assert f"mtls-lab down --instance {pro_dev.lab.instance}" in found["fix"]


@contextmanager
def docker_network(subnet: str) -> Iterator[str]:
    """A Docker network of somebody else's."""
    name = f"somebody-s-{secrets.token_hex(3)}"
    pools = [IPAMPool(subnet=subnet)]
    made = engine.connect().networks.create(name, driver="bridge", ipam=IPAMConfig(pool_configs=pools))
    try:
        yield name
    finally:
        made.remove()


def test_a_subnet_that_another_network_has(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = small(folder)
    subnet = str(default_networks_of(load(file).topology).inside["web"].subnet)
    with docker_network(subnet) as name:
        code, findings = doctor(capsys, file)

    [found] = about(findings, "subnets")
    assert code == 1
    assert found["why"] == f"Docker network {name} has {subnet}"
    assert f"docker network rm {name}" in found["fix"]
    assert about(doctor(capsys, file)[1], "subnets") == []


TEST = """
from pathlib import Path

def test_a_while(lab):
    Path("up").write_text(lab.lab.instance)
    input()
"""


@contextmanager
def run_of_tests(file: Path) -> Iterator[subprocess.Popen[str]]:
    """pytest in a process group of its own, with a lab up; killed, with all that it started, when the context ends."""
    (file.parent / "test_a_while.py").write_text(TEST)
    command = [sys.executable, "-m", "pytest", "-s", "-p", "no:cacheprovider", "--lab-topology", str(file)]
    process = subprocess.Popen(
        [*command, "--rootdir", str(file.parent), "--basetemp", str(file.parent / "temporary"), "test_a_while.py"],
        cwd=file.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        eventually(lambda: (file.parent / "up").exists() or process.poll() is not None, seconds=120)
        assert process.poll() is None, process.communicate()[0]
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def parts_of(instance: str) -> list[str]:
    """Names of the containers and networks that an engine has of an instance."""
    client, meant = engine.connect(), {"label": f"mtls-lab.instance={instance}"}
    containers = client.containers.list(all=True, filters=dict(meant))
    return [str(part.name) for part in (*containers, *client.networks.list(filters=dict(meant)))]


def test_what_a_killed_test_run_left_is_removed_and_what_lives_is_not(
    pro_dev: TestedLab, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = small(folder)
    with run_of_tests(file):
        instance = (folder / "up").read_text()
        code, findings = doctor(capsys, file, "--fix", "--yes")
        assert [f for f in about(findings, "leftovers") if instance in f["what"]] == []
        assert code == 0
        assert len(parts_of(instance)) == 4

    code, findings = doctor(capsys, file)
    [found] = [f for f in about(findings, "leftovers") if f["level"] == "problem"]
    assert code == 1
    assert found["fixable"]
    assert f"instance {instance}" in found["what"]
    assert doctor(capsys, file, "--fix")[0] == 2, "there is nobody to ask"
    assert len(parts_of(instance)) == 4

    code, findings = doctor(capsys, file, "--fix", "--yes")
    assert (code, [f for f in findings if f["level"] == "problem"]) == (0, [])
    assert parts_of(instance) == []
    assert list(claims.all_claims()) == []
    assert whoami(pro_dev, "pro", "/", "bro")["service"]
