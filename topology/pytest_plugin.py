"""A running lab as a pytest fixture, and its matrix as test items.

    # pyproject.toml:  [tool.pytest.ini_options]  lab_topology = "topology.yaml"

    def test_every_caller_gets_its_answer(lab, cell):
        lab.verify(cell)

`lab` brings the topology up once a session, as an instance of its own that touches nobody else's, and always takes it
down again.  `cell` makes one item of each cell of the matrix.
"""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from topology.errors import LabError

if TYPE_CHECKING:
    from topology.description.loading import Description
    from topology.proof.checking import Verdict
    from topology.proof.expectation import Caller, Check
    from topology.proof.probing import Files
    from topology.runtime.lab import Lab
    from topology.runtime.running import Endpoint, RunningLab

OPTION = "lab_topology"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("mtls-lab")
    group.addoption("--lab-topology", metavar="FILE", help="topology of the `lab` fixture (else ini lab_topology)")
    parser.addini(OPTION, "topology of the `lab` fixture, relative to the root folder", default="topology.yaml")


def topology_file(config: pytest.Config) -> Path:
    chosen = config.getoption("--lab-topology")
    return Path(chosen).absolute() if chosen else config.rootpath / str(config.getini(OPTION))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One item for each cell of the topology's matrix, under the cell's own id."""
    if "cell" not in metafunc.fixturenames:
        return
    from topology.proof import expectation

    checks = expectation.checks(described(topology_file(metafunc.config)).topology)
    metafunc.parametrize("cell", checks, ids=[check.id for check in checks])


def described(file: Path) -> Description:
    from topology.description.loading import load

    try:
        return load(file)
    except LabError as error:
        raise pytest.UsageError(str(error)) from error


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedLab]:
    """The lab of the session's topology, up and proven."""
    with brought_up(topology_file(request.config), tmp_path_factory.mktemp("stacks")) as tested:
        yield tested


@contextmanager
def brought_up(file: Path, out: Path) -> Iterator[TestedLab]:
    """Any topology as a running instance of its own; gone when the context ends, however it ends.

    out: the folder for its stacks.  Without an engine the session fails, with what to do: a proof that did not run is
    not a proof.
    """
    from topology.proof import expectation, readiness
    from topology.proof.probing import credentials
    from topology.runtime import claims, stacks
    from topology.runtime.lab import Lab

    lab = Lab(described(file), out, f"pytest-{secrets.token_hex(3)}")
    claims.claim(lab)
    hosts: dict[str, Any] = {}

    def start_host(lab: Lab, host: str, values: Mapping[str, str]) -> None:
        hosts[host] = host_stack(lab, host, values)
        hosts[host].start()

    try:
        running = readiness.bring_up(lab, choose_ports=True, start_host=start_host)
        checks = expectation.checks(lab.topology)
        with credentials(checks, running, datetime.now(UTC)) as shown:
            yield TestedLab(lab, running, hosts, checks, shown)
    except LabError as error:
        pytest.fail(str(error), pytrace=False)
    finally:
        stacks.down(lab)


@dataclass(frozen=True)
class TestedLab:
    """A running lab in a test.

    hosts: name -> testcontainers' DockerCompose of that host's stack (logs, exec, containers);
    checks: all cells; shown: the certificates that callers show.
    """

    __test__ = False

    lab: Lab
    running: RunningLab
    hosts: Mapping[str, Any]
    checks: tuple[Check, ...]
    shown: Mapping[Caller, Files]

    def find_ports(self, *hosts: str) -> None:
        """Reads the published ports again: where Docker chooses them, a recreated gateway has others."""
        from topology.runtime import looking

        found = looking.look(self.lab)[0].endpoints
        endpoints = cast("dict[str, Endpoint]", self.running.endpoints)
        endpoints.update({host: found[host] for host in hosts or found})

    def ask(self, check: Check) -> Verdict:
        """Sends one cell's request and judges the answer."""
        from topology.proof.checking import Verdict
        from topology.proof.probing import probe

        return Verdict(check, probe(check, self.running, self.shown))

    def verify(self, check: Check) -> None:
        """Fails the test, with the rule that was broken, where a cell's answer is not the expected one."""
        from topology.report.matrix import explained

        verdict = self.ask(check)
        if not verdict.ok:
            pytest.fail(explained(verdict), pytrace=False)


def host_stack(lab: Lab, host: str, values: Mapping[str, str]) -> Any:
    """One host's stack as testcontainers knows it, under this lab's project name and with its environment."""
    from testcontainers.compose import DockerCompose

    from topology.runtime import stacks

    class HostStack(DockerCompose):
        @cached_property
        def compose_command_property(self) -> list[str]:
            return stacks.compose_command(lab, host)

        def _run_command(
            self,
            cmd: str | list[str],
            context: str | None = None,  # noqa: ARG002 - the signature is testcontainers'
        ) -> subprocess.CompletedProcess[bytes]:
            # A command that fails inside a container is a result, not an accident; anything else is one.
            return stacks.run_compose(list(cmd), values, check="exec" not in cmd)

    return HostStack(context=lab.folder / host, wait=False)
