"""A machine with Debian trixie's Docker 26 as a lab's own engine: with its own command line, with and without buildx;
and the engine that stops in the middle of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.engines import Machine, machines
from topology.description.loading import load
from topology.generation import planning
from topology.runtime import engine, images, looking
from topology.runtime.lab import Lab, label_filters
from topology.runtime.progress import SILENT

pytestmark = pytest.mark.integration

TOPOLOGY = """
name: elsewhere
authorities: {ssl_ca: {}, client_ca: {}}
identities: {bro: {authority: client_ca}}
hosts:
  server:
    domain: server.elsewhere.test
    client_certificates: {authority: client_ca}
    services:
      own: {build: own, port: 3200, health: /health}
    routes:
      /own/: {service: own, client_certificate: required}
  client:
    domain: client.elsewhere.test
    routes:
      /own/: {host: server, to: /own/, identity: bro}
"""
SERVICES = Path(__file__).parents[2] / "services"
PLUGINS = "/usr/libexec/docker/cli-plugins"
BUILT = "mtls-lab/elsewhere-own"


@dataclass(frozen=True)
class Elsewhere:
    """A lab whose engine is a machine's.  environment: how the Docker tools are found, and that engine."""

    folder: Path
    machine: Machine
    environment: Mapping[str, str]

    @property
    def lab(self) -> Lab:
        return Lab(load(self.folder / "topology.yaml"), self.folder / "compose")

    def start(self, command: str, *options: str) -> subprocess.Popen[str]:
        where = [str(self.lab.description.file), "--out", str(self.lab.out)]
        words = [sys.executable, "-m", "topology", command, *where, *options]
        return subprocess.Popen(
            self.machine.at_its_terminal(*words),
            env={**os.environ, **self.environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, command: str, *options: str) -> tuple[int, str]:
        """Exit code, and what was told on standard error."""
        with self.start(command, *options) as process:
            _, told = process.communicate(timeout=120)
        return process.returncode, told

    def assert_done(self, *command: str) -> str:
        code, told = self.run(*command)
        assert code == 0, told
        return told

    def forget_image(self) -> None:
        """The service has to be built again."""
        for image in self.machine.client.images.list(BUILT):
            self.machine.client.images.remove(image.id, force=True)

    def there(self) -> tuple[list[Any], list[Any]]:
        """The lab's containers and networks."""
        networks = self.machine.client.networks.list(filters={"label": label_filters(self.lab)})
        return looking.containers(self.machine.client, self.lab), networks


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    """A machine that has the images of a small lab, but not that of its one service."""
    folder = tmp_path_factory.mktemp("elsewhere")
    own, node = folder / "lab", planning.build("node", SERVICES / "node")
    (own / "own").mkdir(parents=True)
    (own / "topology.yaml").write_text(TOPOLOGY)
    (own / "own" / "Dockerfile").write_text(f"FROM {node.tag}\nCOPY greeting ./\n")
    (own / "own" / "greeting").write_text("hello\n")
    plan = planning.plan(load(own / "topology.yaml"))
    here = engine.connect()
    needed = [images.Image(i.tag, i.folder, dict(i.arguments)) for i in (*plan.images, node) if BUILT not in i.tag]
    images.ensure(needed, SILENT)
    with machines(folder, {"machine": "machine.elsewhere.test"}, own) as found:
        machine = found["machine"]
        for tag in (images.ensure_base(here, SILENT), *(image.tag for image in needed)):
            images.carry(tag, here, machine.client, SILENT)
        tools = machine.take("/usr/bin/docker", folder / "bin").parent
        for config in ("with-buildx", "without-buildx"):
            machine.take(f"{PLUGINS}/docker-compose", folder / config / "cli-plugins")
        machine.take(f"{PLUGINS}/docker-buildx", folder / "with-buildx" / "cli-plugins")
        yield Elsewhere(
            own,
            machine,
            {
                "DOCKER_HOST": f"unix://{machine.folder}/docker.sock",
                "DOCKER_CONFIG": str(folder / "with-buildx"),
                "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
            },
        )


@pytest.fixture
def down_again(elsewhere: Elsewhere) -> Iterator[None]:
    """Whatever became of the engine."""
    yield
    if not elsewhere.machine.answers():
        elsewhere.machine.start()
    elsewhere.assert_done("down")


@pytest.mark.parametrize("config", ["with-buildx", "without-buildx"])
def test_a_lab_is_built_proven_and_taken_down(elsewhere: Elsewhere, config: str) -> None:
    """From an image that has to be built there, by Compose as that system's own package has it."""
    there = Elsewhere(
        elsewhere.folder,
        elsewhere.machine,
        {**elsewhere.environment, "DOCKER_CONFIG": str(Path(elsewhere.environment["DOCKER_CONFIG"]).parent / config)},
    )
    docker = shutil.which("docker", path=there.environment["PATH"])
    assert docker is not None

    def works(*words: str) -> bool:
        done = subprocess.run([docker, *words], env={**os.environ, **there.environment}, capture_output=True)
        return done.returncode == 0

    assert elsewhere.machine.client.version()["Version"].startswith("26.")
    assert works("compose", "version")
    assert works("buildx", "version") == (config == "with-buildx")
    there.forget_image()

    assert f"{BUILT}:" in there.assert_done("up", "--ports", "auto")
    there.assert_done("check")
    own = looking.container_of(there.machine.client, there.lab, "server", "own")
    assert own.exec_run(["cat", "greeting"]).output == b"hello\n"
    there.assert_done("down")
    assert there.there() == ([], [])


# The engine goes away


def lines(told: str) -> list[str]:
    return told.strip().splitlines()


@pytest.mark.usefixtures("down_again")
@pytest.mark.parametrize(
    ("moment", "go_away"),
    [("building", Machine.kill), ("containers started", Machine.stop), (": healthy", Machine.kill)],
    ids=["killed while an image is built", "stopped while containers start", "killed while the lab is proven"],
)
def test_where_the_engine_goes_away_during_up_it_is_said_and_the_next_up_goes_on(
    elsewhere: Elsewhere, moment: str, go_away: Callable[[Machine], None]
) -> None:
    elsewhere.forget_image()

    with elsewhere.start("up", "--ports", "auto") as process:
        assert process.stderr is not None
        reached = any(moment in line for line in process.stderr)
        go_away(elsewhere.machine)
        told = process.stderr.read()
        code = process.wait(60)

    assert reached
    assert code == 3, told
    assert "Traceback" not in told
    assert lines(told)[-1].startswith("the Docker engine went away (")
    assert lines(told)[-1].endswith("start it, and run the same command again: it goes on from what is there")

    elsewhere.machine.start()
    elsewhere.assert_done("up", "--ports", "auto")
    elsewhere.assert_done("check")


@pytest.mark.usefixtures("down_again")
def test_while_the_engine_of_a_running_lab_is_down_each_command_says_so(elsewhere: Elsewhere) -> None:
    """And once it is there again, so is the lab."""
    elsewhere.assert_done("up", "--ports", "auto")
    before = {container.id for container in elsewhere.there()[0]}
    elsewhere.machine.stop()

    for command in ("up", "check", "status", "logs", "down"):
        code, told = elsewhere.run(command)
        assert code == 3, (command, told)
        assert len(lines(told)) == 1, (command, told)
        assert told.startswith("no Docker engine answers ("), (command, told)

    elsewhere.machine.start()
    elsewhere.assert_done("up", "--ports", "auto")
    elsewhere.assert_done("check")
    assert {container.id for container in elsewhere.there()[0]} == before


@pytest.mark.usefixtures("down_again")
def test_where_the_engine_goes_away_during_down_the_next_down_finishes(elsewhere: Elsewhere) -> None:
    elsewhere.assert_done("up", "--ports", "auto")

    with elsewhere.start("down") as process:
        assert process.stderr is not None
        reached = any(": removed" in line for line in process.stderr)
        elsewhere.machine.kill()
        told = process.stderr.read()
        code = process.wait(60)

    assert reached
    assert code == 3, told
    assert lines(told)[-1].startswith("the Docker engine went away (")
    elsewhere.machine.start()
    elsewhere.assert_done("down")
    assert elsewhere.there() == ([], [])
