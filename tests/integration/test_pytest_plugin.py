"""The plugin in projects of their own: whole sessions in processes of their own, with labs that run."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.integration.conftest import eventually
from tests.integration.driving import Driven
from topology import cli
from topology.runtime import engine

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]

TOPOLOGY = """
name: plugged
authorities:
  ssl_ca: {}
  client_ca: {}
identities:
  bro: {authority: client_ca}
hosts:
  web:
    domain: web.plugged.test
    client_certificates: {authority: client_ca}
    services:
      node: {kind: node}
    routes:
      /node/: {service: node, client_certificate: required}
"""
WITH_ANOTHER_ROUTE = TOPOLOGY + "      /open/: {service: node}\n"

NOTING = """
import os
from pathlib import Path
import pytest
from topology.runtime import looking

@pytest.fixture(autouse=True)
def noted(lab, request):
    "Notes which containers a test has met."
    ids = " ".join(sorted(state.id for state in looking.look(lab.lab)[1]))
    with Path(__file__).with_name("met").open("a") as file:
        file.write(f"{os.environ.get('PYTEST_XDIST_WORKER')} {ids}\\n")
"""
TWO_TESTS = """
def test_nobody_is_refused(lab):
    assert lab.get("web", "/node/health").status_code == 403

def test_bro_gets_in(lab):
    assert lab.get("web", "/node/health", "bro").status_code == 200
"""


@dataclass(frozen=True)
class Project:
    """Somebody's project: a topology, tests, and their pytest."""

    folder: Path
    python: str = sys.executable

    def command(self, *options: str) -> list[str]:
        return [self.python, "-m", "pytest", "-p", "no:cacheprovider", *options]

    def environment(self) -> dict[str, str]:
        """Without what this session's pytest has put there; Compose may have come with this environment."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        return {**kept, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*options), cwd=self.folder, env=self.environment(), capture_output=True, text=True, check=False
        )

    @contextmanager
    def begun(self, *options: str) -> Iterator[subprocess.Popen[bytes]]:
        """A session that goes on meanwhile; it is ended by the test, or else when the context ends."""
        with (self.folder / "output").open("wb") as output:
            process = subprocess.Popen(
                self.command(*options), cwd=self.folder, env=self.environment(), stdout=output, stderr=output
            )
            try:
                yield process
            finally:
                process.terminate()
                process.wait()

    @property
    def met(self) -> list[tuple[str, tuple[str, ...]]]:
        """(worker, ids of containers) of each test, in the order in which they ran."""
        file = self.folder / "met"
        lines = file.read_text().splitlines() if file.is_file() else []
        return [(line.split()[0], tuple(line.split()[1:])) for line in lines]

    @property
    def output(self) -> str:
        return (self.folder / "output").read_text()


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = write(Project(tmp_path), TOPOLOGY, TWO_TESTS)
    (tmp_path / "conftest.py").write_text(NOTING)
    yield made
    remove_what_is_left()


def write(project: Project, topology: str, tests: str) -> Project:
    (project.folder / "topology.yaml").write_text(topology)
    (project.folder / "test_mine.py").write_text(tests)
    return project


def left() -> list[str]:
    """What of the lab's runs or lies on the engine."""
    client, mine = engine.connect(), {"label": "mtls-lab.lab=plugged"}
    return [
        *(str(one.name) for one in client.containers.list(all=True, filters=mine, ignore_removed=True)),
        *(str(one.name) for one in client.networks.list(filters=mine)),
        *(str(one.name) for one in client.volumes.list(filters=mine)),
    ]


def remove_what_is_left() -> None:
    """After a test that failed."""
    client, mine = engine.connect(), {"label": "mtls-lab.lab=plugged"}
    for container in client.containers.list(all=True, filters=mine, ignore_removed=True):
        container.remove(force=True, v=True)
    for network in client.networks.list(filters=mine):
        network.remove()


def run_printed(output: str, command: str) -> int:
    """Runs a command of ours as a session printed it."""
    line = next(line for line in output.splitlines() if command in line)
    return cli.main(shlex.split(line[line.index(command) :])[1:])


def test_all_workers_test_one_lab_and_nothing_of_it_is_left(project: Project) -> None:
    done = project.run("-n2", "--dist=each")

    assert done.returncode == 0, done.stdout + done.stderr
    assert {worker for worker, _ in project.met} == {"gw0", "gw1"}
    assert len({containers for _, containers in project.met}) == 1
    assert len(project.met[0][1]) == 2
    assert left() == []


def test_a_killed_worker_does_not_take_the_lab_with_it(project: Project) -> None:
    write(project, TOPOLOGY, "import os\ndef test_dies(lab):\n    os.kill(os.getpid(), 9)\n" + TWO_TESTS)
    done = project.run("-n1")

    assert "1 failed, 2 passed" in done.stdout, done.stdout + done.stderr
    assert [worker for worker, _ in project.met] == ["gw0", "gw1", "gw1"]
    assert len({containers for _, containers in project.met}) == 1
    assert left() == []


@pytest.mark.parametrize("workers", ["-n0", "-n2"])
def test_ctrl_c_while_tests_run_leaves_nothing(project: Project, workers: str) -> None:
    """SIGINT to the controller alone."""
    write(project, TOPOLOGY, "import time\ndef test_hangs(lab):\n    time.sleep(600)\n")
    with project.begun(workers) as session:
        eventually(lambda: bool(project.met) or session.poll() is not None, 120)
        session.send_signal(signal.SIGINT)
        assert session.wait(timeout=120) == pytest.ExitCode.INTERRUPTED, project.output

    assert left() == []


@pytest.mark.parametrize("workers", ["-n0", "-n2"])
def test_ctrl_c_while_the_lab_starts_leaves_nothing(project: Project, workers: str) -> None:
    with project.begun(workers) as session:
        eventually(lambda: bool(left()) or session.poll() is not None, 120)
        session.send_signal(signal.SIGINT)
        assert session.wait(timeout=120) == pytest.ExitCode.INTERRUPTED, project.output

    assert project.met == []
    assert left() == []


def test_a_lab_is_used_again_as_it_is_and_updated_where_the_topology_changed(project: Project) -> None:
    first, second = project.run("--lab-reuse"), project.run("--lab-reuse", "-n2", "--dist=each")

    assert (first.returncode, second.returncode) == (0, 0), first.stdout + second.stdout
    assert len({containers for _, containers in project.met}) == 1, "nothing was started"
    write(
        project,
        WITH_ANOTHER_ROUTE,
        'def test_open(lab):\n    assert lab.get("web", "/open/health").status_code == 200\n',
    )
    third = project.run("--lab-reuse")
    assert third.returncode == 0, third.stdout
    assert set(project.met[-1][1]) & set(project.met[0][1]), "what did not change was left alone"
    assert run_printed(third.stdout, "mtls-lab down") == 0
    assert left() == []


def test_a_lab_that_lost_a_container_is_made_whole_before_it_is_used_again(project: Project) -> None:
    assert project.run("--lab-reuse").returncode == 0
    one = engine.connect().containers.get(project.met[0][1][0])
    one.remove(force=True)

    second = project.run("--lab-reuse")
    assert second.returncode == 0, second.stdout
    assert run_printed(second.stdout, "mtls-lab down") == 0


SECRETIVE = """
def test_cells(lab, cell):
    if cell.caller in ("none", "bro-expired"):
        cell = type(cell)(**{**vars(cell), "expected": 200})
    lab.verify(cell)
"""


def test_a_failing_item_of_a_lab_that_is_kept_can_be_asked_again(project: Project) -> None:
    """With what it shows: the gateway's own line, the location, and a curl line that gives the same answer, also with
    a certificate that was made for the test alone."""
    write(project, TOPOLOGY, SECRETIVE)
    done = project.run("--lab-keep", "--junitxml=report.xml")
    cases = {case.get("name"): case for case in ElementTree.parse(project.folder / "report.xml").iter("testcase")}
    failed = {name: case.findtext("failure") or "" for name, case in cases.items() if case.find("failure") is not None}

    assert len(failed) == 4, done.stdout
    assert len(re.findall(r'web: its gateway logged\n{"time"', done.stdout)) == 4
    for name, told in failed.items():
        status = 403 if " none " in str(name) else 400
        assert re.search(rf'web: its gateway logged\n{{"time".*"status":{status}.*', told), told
        assert ("client SSL certificate verify error: (10:certificate has expired)" in told) == (status == 400)
        assert "location /node/ {" in told
        line = next(line for line in told.splitlines() if line.startswith("curl "))
        again = subprocess.run(
            [*shlex.split(line), "--silent"], cwd=project.folder, capture_output=True, text=True, check=False
        )
        assert again.stdout.splitlines()[0].split()[1] == str(status), line
    assert run_printed(done.stdout, "mtls-lab down") == 0
    assert left() == []


def test_somebody_elses_lab_is_tested_and_left_alone(project: Project) -> None:
    with Driven.of(TOPOLOGY, project.folder, "mine").up_meanwhile(TOPOLOGY) as driven:
        before = driven.started()
        done = project.run("--lab-external", "--lab-instance", "mine")

        assert done.returncode == 0, done.stdout
        assert driven.started() == before
        assert {containers for _, containers in project.met} == {tuple(sorted(one for one, _ in before.values()))}


def test_somebody_elses_lab_that_is_not_up_is_not_started(project: Project) -> None:
    done = project.run("--lab-external")

    assert "2 errors" in done.stdout
    assert "--lab-external: plugged-web is not up; run `mtls-lab up` first" in done.stdout
    assert left() == []


@pytest.mark.parametrize(("ci", "outcome"), [("", "2 skipped"), ("true", "2 errors")])
def test_without_an_engine(project: Project, monkeypatch: pytest.MonkeyPatch, ci: str, outcome: str) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{project.folder}/no.sock")
    monkeypatch.setenv("CI", ci)
    done = project.run("-rs")

    assert outcome in done.stdout
    assert "no Docker engine answers" in done.stdout


# Another repository

OWN_TOPOLOGY = """
name: plugged
authorities:
  ssl_ca: {}
identities:
  bro: {authority: ssl_ca}
hosts:
  shop:
    domain: shop.plugged.test
    client_certificates: {authority: ssl_ca}
    services:
      app: {build: app, port: 8080, health: /health}
    routes:
      /app/: {service: app, client_certificate: required}
"""
OWN_SERVICE = r"""
use IO::Socket::INET;
my $server = IO::Socket::INET->new(LocalPort => 8080, Listen => 16, ReuseAddr => 1) or die;
$SIG{TERM} = sub { exit 0 };
while (my $client = $server->accept) {
    my $request = <$client>;
    while (my $line = <$client>) { last if $line =~ /^\r?\n$/ }
    my $body = "a shop of our own";
    print $client "HTTP/1.1 200 OK\r\nContent-Length: " . length($body) . "\r\nConnection: close\r\n\r\n$body";
    close $client;
}
"""
OWN_DOCKERFILE = """\
ARG BASE=debian:trixie-slim
FROM ${BASE}
COPY server.pl /
USER 10001:10001
CMD ["perl", "/server.pl"]
"""
OWN_TESTS = """
import topology

def test_the_installed_package_is_tested(lab):
    assert "another-venv" in topology.__file__

def test_every_caller_gets_its_answer(lab, cell):
    lab.verify(cell)

def test_our_own_service_answers(lab):
    assert lab.get("shop", "/app/", "bro").text == "a shop of our own"
"""


def test_another_repository_tests_its_own_service_with_the_installed_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`pip install` of the wheel into an environment that has its dependencies, and nothing else of this checkout."""
    monkeypatch.setenv("CI", "true")
    python = environment_with_wheel(tmp_path)
    other = tmp_path / "another-repository"
    (other / "app").mkdir(parents=True)
    (other / "app" / "Dockerfile").write_text(OWN_DOCKERFILE)
    (other / "app" / "server.pl").write_text(OWN_SERVICE)
    (other / "pyproject.toml").write_text('[tool.pytest.ini_options]\nlab_topology = "topology.yaml"\n')
    try:
        done = write(Project(other, python), OWN_TOPOLOGY, OWN_TESTS).run("-n2")

        assert done.returncode == 0, done.stdout + done.stderr
        assert " 18 passed" in done.stdout, done.stdout
        assert left() == []
    finally:
        remove_what_is_left()
        for image in engine.connect().images.list("mtls-lab/plugged-app"):
            engine.connect().images.remove(image.id, force=True)


def environment_with_wheel(folder: Path) -> str:
    """A Python with the built wheel, and this environment's packages behind it; returns its interpreter."""
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "wheels")], ROOT)
    [wheel] = (folder / "wheels").glob("*.whl")
    venv = folder / "another-venv"
    run([sys.executable, "-m", "venv", "--without-pip", str(venv)], folder)
    python = str(venv / "bin" / "python")
    run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", str(wheel)],
        folder,
    )
    own = next(venv.glob("lib/*/site-packages"))
    (own / "behind.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def run(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
