"""Evidence that the checks can fail: a running lab, changed in one way at a time; and nothing of that stays."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from topology.errors import NotReady
from topology.generation import writing
from topology.mutation import trying
from topology.mutation.change import Change
from topology.proof import checking, families
from topology.pytest_plugin import TestedLab
from topology.runtime import altering, looking
from topology.runtime.progress import SILENT

pytestmark = pytest.mark.integration

PATIENCE_SECONDS = 60


def wrong(tested: TestedLab) -> list[str]:
    """The cells of the basic matrix that are wrong."""
    return [verdict.check.id for verdict in checking.run(tested.checks, tested.running) if not verdict.ok]


def contents(tested: TestedLab) -> dict[Path, bytes]:
    """All files that the lab's gateways read."""
    folders = [
        looking.mounted(tested.lab, host, target)
        for host in tested.lab.topology.hosts
        for target in (altering.CONFIGURATION, altering.CERTIFICATES)
    ]
    return {path: path.read_bytes() for folder in folders for path in writing.files_below(folder)}


def command(tested: TestedLab, *words: str) -> list[str]:
    lab = tested.lab
    assert lab.instance is not None
    return [
        sys.executable, "-m", "topology", words[0], str(lab.description.file), "--out", str(lab.out),
        "--instance", lab.instance, *words[1:],
    ]  # fmt: skip


def started(tested: TestedLab, only: str) -> subprocess.Popen[str]:
    """A run that has begun to change something."""
    before = contents(tested)
    run = subprocess.Popen(command(tested, "mutate", "--only", only), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while contents(tested) == before:
        assert run.poll() is None, run.communicate()[1]
        assert time.monotonic() < deadline, "nothing was changed"
    return run


@pytest.mark.parametrize(("only", "kinds"), [("*-gone *", 7), ("*capabilit*", 2)])
def test_holes_of_a_sort_are_caught(only: str, kinds: int, guarded: TestedLab) -> None:
    """And what gateways read, and where they listen, is as before.  All sorts: `make bench PART=evidence`."""
    before, listening = contents(guarded), looking.running(guarded.lab).endpoints

    report = trying.run(guarded.lab, only=only, once=True)

    assert [one.id for one in report.of(trying.SURVIVED)] == []
    assert [(one.id, one.said) for one in report.of(trying.REFUSED)] == []
    assert len(report.of(trying.CAUGHT)) >= kinds
    assert contents(guarded) == before
    assert looking.running(guarded.lab).endpoints == listening


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_the_lab_as_it_was(number: signal.Signals, guarded: TestedLab) -> None:
    before = contents(guarded)
    run = started(guarded, "guard-*")

    run.send_signal(number)

    run.communicate(timeout=PATIENCE_SECONDS)
    assert run.returncode == 130
    assert contents(guarded) == before
    assert wrong(guarded) == []


def test_what_a_killed_run_leaves_the_next_up_puts_right(guarded: TestedLab) -> None:
    """The gateway still serves what it was made to read; `up` writes what belongs there, and has it read that."""
    before = contents(guarded)
    run = started(guarded, "list-without-effect")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not wrong(guarded):
        assert time.monotonic() < deadline, "the change came to nothing"
    run.kill()
    run.communicate(timeout=PATIENCE_SECONDS)

    subprocess.run(command(guarded, "up", "--ports", "auto"), check=True, capture_output=True)
    guarded.find_ports()

    assert contents(guarded) == before
    assert wrong(guarded) == []


def test_a_lab_that_is_red_is_refused(guarded: TestedLab) -> None:
    """Nobody could say what a change did there."""
    scene = trying.Trial(guarded.lab, guarded.running, (), {}, SILENT, datetime.now(UTC))
    text = scene.scenes["vault"].nginx["routes.conf"].replace("return 403", "return 404")
    with trying.altered(scene, "vault", Change("", nginx={"routes.conf": text})):
        refused = subprocess.run(command(guarded, "mutate"), capture_output=True, text=True, check=False)

    assert refused.returncode == NotReady.exit_code
    assert refused.stderr.splitlines()[-1].startswith("the lab is red before anything was changed")
    assert wrong(guarded) == []


def test_what_nginx_does_not_take_is_not_called_caught(guarded: TestedLab) -> None:
    mutation = trying.MUTATIONS[0]
    checks = families.checks(guarded.lab.topology)
    trial = trying.Trial(guarded.lab, guarded.running, checks, {}, SILENT, datetime.now(UTC))

    made = trying.attempt(trial, mutation, "vault", Change("nginx.conf", nginx={"nginx.conf": "nonsense;"}))

    assert made.outcome == trying.REFUSED
    assert "nonsense" in made.said
    assert wrong(guarded) == []
