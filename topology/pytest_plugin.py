"""A running lab as a pytest fixture, and its matrix as test items.

    # pyproject.toml:  [tool.pytest.ini_options]  lab_topology = "topology.yaml"

    def test_every_caller_gets_its_answer(lab, cell):
        lab.verify(cell)

`lab` brings the topology up once a session, as an instance of its own that touches nobody else's, and takes it down
again, however the session ends; with pytest-xdist there is one lab for all workers.  `cell` makes one item of each cell
of the matrix.  A failing test tells what the gateways made of its requests.

This module is what pytest sees: options, hooks, fixtures.  What they do is in `topology/testing`.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from topology.errors import LabError, NoEngine

if TYPE_CHECKING:
    from topology.testing.choice import Choice, Standing
    from topology.testing.owner import Owner
    from topology.testing.tested import TestedLab

__all__ = ["TestedLab", "brought_up", "lab"]

OPTION = "lab_topology"
STAYING = ("--lab-keep", "--lab-reuse", "--lab-external")
OTHER_ANNOTATIONS = "pytest_github_actions_annotate_failures"
OWNER = pytest.StashKey["Owner"]()
SESSION = pytest.StashKey[pytest.Session]()
WORKER_INPUT = "mtls_lab"
NO_CI = ("", "0", "false", "no")


def __getattr__(name: str) -> Any:
    """`TestedLab`, loaded when somebody names it: pytest loads this module in every session, with a lab or without."""
    if name != "TestedLab":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from topology.testing.tested import TestedLab

    return TestedLab


# Options


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("mtls-lab")
    group.addoption("--lab-topology", metavar="FILE", help="topology of the `lab` fixture (else ini lab_topology)")
    group.addoption("--lab-keep", action="store_true", help="leave the lab up when the session ends")
    group.addoption(
        "--lab-reuse",
        action="store_true",
        help="leave the lab up, and test the one that was left up by the session before, where nothing changed since",
    )
    group.addoption(
        "--lab-external",
        action="store_true",
        help="test a lab that is up already (`mtls-lab up`); nothing is started or stopped",
    )
    group.addoption("--lab-instance", metavar="NAME", help="with --lab-external: the instance, if it has a name")
    parser.addini(OPTION, "topology of the `lab` fixture, relative to the root folder", default="topology.yaml")


def topology_file(config: pytest.Config) -> Path:
    chosen = config.getoption("--lab-topology")
    return Path(chosen).absolute() if chosen else config.rootpath / str(config.getini(OPTION))


def check_options(config: pytest.Config) -> None:
    """Raises UsageError where options contradict each other."""
    external = config.getoption("--lab-external")
    for option in ("--lab-keep", "--lab-reuse"):
        if external and config.getoption(option):
            raise pytest.UsageError(f"{option} and --lab-external: a lab that somebody else has up stays as it is")
    if config.getoption("--lab-instance") and not external:
        raise pytest.UsageError("--lab-instance is for --lab-external; else the lab is an instance of its own")


def choose(config: pytest.Config) -> Choice:
    """The lab that the options name."""
    from topology.testing.choice import FOLDER, Choice, reused_instance

    file, kept = topology_file(config), config.rootpath / FOLDER
    keep, reuse = config.getoption("--lab-keep"), config.getoption("--lab-reuse")
    if config.getoption("--lab-external"):
        return Choice(file, config.rootpath / "compose", config.getoption("--lab-instance"), external=True)
    instance = reused_instance(kept, file) if reuse else f"pytest-{secrets.token_hex(3)}"
    return Choice(file, kept if keep or reuse else None, instance, keep=keep, reuse=reuse)


# One lab for the whole session


def pytest_configure(config: pytest.Config) -> None:
    check_options(config)


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.stash[SESSION] = session


def owner_of(config: pytest.Config) -> Owner:
    """Who has the session's lab up, in the process that outlives all others; nothing is started yet."""
    from topology.testing.owner import Owner

    if OWNER not in config.stash:
        config.stash[OWNER] = Owner(choose(config))
        config.pluginmanager.register(Interruption(config.stash[OWNER]))
    return config.stash[OWNER]


class Interruption:
    """Ctrl-C: nobody needs to wait for the lab any longer.  It is taken down when the workers are gone."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self) -> None:
        self.owner.ending.set()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """pytest-xdist is about to start a worker: it learns whom to ask for the lab."""
    node.workerinput[WORKER_INPUT] = owner_of(node.config).listen()


def pytest_unconfigure(config: pytest.Config) -> None:
    """The workers are gone, and so are all fixtures: the one place where the session's lab is taken down."""
    owner = config.stash.get(OWNER, None)
    if owner is None:
        return
    try:
        owner.end()
    except LabError as error:
        print(f"ERROR: the lab could not be taken down: {error}\ntry again: {owner.commands()[1]}", file=sys.stderr)
        config.stash[SESSION].exitstatus = pytest.ExitCode.INTERNAL_ERROR


def standing(config: pytest.Config) -> Standing:
    """The session's lab, up: asked for at the controller, or brought up here where there is none."""
    from topology.testing.owner import ask

    given = getattr(config, "workerinput", {}).get(WORKER_INPUT)
    return ask(given) if given else owner_of(config).find()


# Fixtures


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One item for each cell of the topology's matrix, under the cell's own id."""
    if "cell" not in metafunc.fixturenames:
        return
    from topology.description.loading import load
    from topology.proof import expectation

    try:
        checks = expectation.checks(load(topology_file(metafunc.config)).topology)
    except LabError as error:
        raise pytest.UsageError(str(error)) from error
    metafunc.parametrize("cell", checks, ids=[check.id for check in checks])


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest) -> Iterator[TestedLab]:
    """The lab of the session's topology, up and proven.

    Without an engine its tests are skipped on a person's machine, and fail in CI, where a proof that did not run would
    pass for one.
    """
    from topology.description.loading import load
    from topology.runtime.lab import Lab
    from topology.testing.tested import opened

    with told():
        found = standing(request.config)
        lab = Lab(load(topology_file(request.config)), found.out, found.instance)
        with opened(lab, found.values) as tested:
            yield tested


@contextmanager
def brought_up(file: Path, out: Path) -> Iterator[TestedLab]:
    """Any topology as a running instance of its own; gone when the context ends, however it ends.

    out: the folder for its stacks.
    """
    from topology.description.loading import load
    from topology.runtime import stacks
    from topology.runtime.lab import Lab
    from topology.testing import session
    from topology.testing.tested import opened

    with told():
        lab = Lab(load(file), out, f"pytest-{secrets.token_hex(3)}")
        try:
            with opened(lab, session.start_own(lab)) as tested:
                yield tested
        finally:
            stacks.down(lab)


@contextmanager
def told() -> Iterator[None]:
    """Turns what is wrong with a lab into the outcome of the test that asked for it."""
    try:
        yield
        return
    except LabError as error:
        wrong = error
    if isinstance(wrong, NoEngine) and os.environ.get("CI", "").lower() in NO_CI:
        pytest.skip(str(wrong))
    pytest.fail(str(wrong), pytrace=False)


# What failing tests tell


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds to a failing item the scene of its requests; the terminal, JUnit and workers' reports carry it."""
    report = yield
    loaded = sys.modules.get("topology.testing.tested")
    if not report.failed or loaded is None:  # nobody had a lab
        return report
    from topology.testing import evidence

    stays = any(item.config.getoption(option) for option in STAYING)
    for value in getattr(item, "funcargs", {}).values():
        if isinstance(value, loaded.TestedLab):
            for title, content in evidence.sections(value, item.nodeid, stays):
                add_section(report, title, content)
    return report


def add_section(report: pytest.TestReport, title: str, content: str) -> None:
    add = getattr(report.longrepr, "addsection", None)
    if add is not None:
        add(title, content)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """How to go on with a lab that stays up; and, on GitHub, an annotation for each failing item."""
    owner = config.stash.get(OWNER, None)
    if owner is not None and (lines := owner.farewell()):
        terminalreporter.section("mtls-lab")
        for line in lines:
            terminalreporter.write_line(line)
    if os.environ.get("GITHUB_ACTIONS") == "true" and not config.pluginmanager.hasplugin(OTHER_ANNOTATIONS):
        for report in [*terminalreporter.getreports("failed"), *terminalreporter.getreports("error")]:
            if line := annotated(config, report):
                terminalreporter.write_line(line)


def annotated(config: pytest.Config, report: Any) -> str:
    """A failing item as GitHub's workflow command; empty for what is no item's."""
    from topology.report.scene import annotation

    if not isinstance(report, pytest.TestReport):
        return ""
    file, line, _ = report.location
    crash, said = getattr(report.longrepr, "reprcrash", None), report.longreprtext
    if crash is not None:  # the traceback is in the log
        sections = getattr(report.longrepr, "sections", ())
        said = "\n\n".join([crash.message, *(f"{title}\n{content}" for title, content, _ in sections)])
    return annotation(config.rootpath / file, (line or 0) + 1, report.nodeid, said)
