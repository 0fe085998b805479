"""Evidence that the checks can fail: a running lab, changed in one way at a time; and nothing of that stays."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.integration.test_broken_gateways import Break, broken, until
from topology.errors import NotReady
from topology.generation import writing
from topology.mutation import trying
from topology.mutation.change import Change
from topology.proof import checking, families
from topology.pytest_plugin import TestedLab
from topology.runtime import altering, looking
from topology.runtime.progress import SILENT

pytestmark = pytest.mark.integration

PATIENCE_SECONDS = 180
"""A run looks at every cell before it changes anything, on a machine that may be busy."""


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


def rights(tested: TestedLab) -> dict[str, object]:
    """What the engine was asked to let each container do."""
    asked = ("CapAdd", "CapDrop", "Privileged", "SecurityOpt", "ReadonlyRootfs")
    return {
        str(one.name): [one.attrs["HostConfig"][name] for name in asked]
        for one in looking.everywhere(tested.lab)
        if one.labels.get("mtls-lab.host")
    }


def wrong_of_all(tested: TestedLab) -> list[str]:
    """The cells of `check --all` that are wrong."""
    checks = families.checks(tested.lab.topology)
    verdicts = checking.run(checks, looking.running(tested.lab), probes=families.PROBES)
    return [verdict.check.id for verdict in verdicts if not verdict.ok]


CONTAINERS = "*capabilit*"
"""Mutations that make a container anew."""


def with_other_containers(tested: TestedLab, only: str) -> tuple[dict[str, object], subprocess.Popen[str]]:
    """A run that has just made a container anew; what all of them could do before."""
    before = rights(tested)
    run = subprocess.Popen(command(tested, "mutate", "--only", only), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while all(rights(tested).get(name, was) == was for name, was in before.items()):
        assert run.poll() is None, run.communicate()[1]
        assert time.monotonic() < deadline, "nothing was changed"
    return before, run


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


INTERRUPTIONS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
PUT_BACK_SECONDS = 20
"""How long it may take on a busy machine until a gateway has read its own files again, or a container is healthy."""


@pytest.mark.parametrize("number", INTERRUPTIONS)
def test_an_interrupted_run_leaves_the_lab_as_it_was(number: signal.Signals, guarded: TestedLab) -> None:
    before = contents(guarded)
    run = started(guarded, "guard-*")
    began = time.monotonic()

    run.send_signal(number)

    run.communicate(timeout=PATIENCE_SECONDS)
    assert time.monotonic() - began < PUT_BACK_SECONDS
    assert run.returncode == 130
    assert contents(guarded) == before
    assert not guarded.lab.altered.exists()
    assert wrong(guarded) == []


@pytest.mark.parametrize("number", INTERRUPTIONS)
def test_a_container_that_was_made_anew_is_as_it_was_after_an_interruption(
    number: signal.Signals, guarded: TestedLab
) -> None:
    listening = looking.running(guarded.lab).endpoints
    before, run = with_other_containers(guarded, CONTAINERS)

    run.send_signal(number)

    run.communicate(timeout=PATIENCE_SECONDS)
    assert run.returncode == 130
    assert rights(guarded) == before
    assert looking.running(guarded.lab).endpoints == listening
    assert wrong_of_all(guarded) == []


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


@pytest.mark.parametrize("only", ["list-without-effect", CONTAINERS])
def test_what_a_killed_run_leaves_the_next_run_puts_right(only: str, guarded: TestedLab) -> None:
    """First; then it makes its own changes, and leaves nothing of them either."""
    before, as_it_was = contents(guarded), rights(guarded)
    run = with_other_containers(guarded, only)[1] if only == CONTAINERS else started(guarded, only)
    run.kill()
    run.communicate(timeout=PATIENCE_SECONDS)
    assert guarded.lab.altered.is_file()

    again = subprocess.run(
        command(guarded, "mutate", "--only", "redirect-gone vault *"), capture_output=True, text=True, check=False
    )
    guarded.find_ports()

    assert again.returncode == 0, again.stderr
    assert again.stderr.startswith("an earlier run was killed while it had the lab changed")
    assert contents(guarded) == before
    assert rights(guarded) == as_it_was
    assert not guarded.lab.altered.exists()
    assert wrong_of_all(guarded) == []


def test_check_says_that_a_killed_run_has_left_holes(guarded: TestedLab) -> None:
    run = started(guarded, "list-without-effect")
    run.kill()
    run.communicate(timeout=PATIENCE_SECONDS)
    try:
        told = subprocess.run(command(guarded, "check"), capture_output=True, text=True, check=False)
    finally:
        subprocess.run(command(guarded, "up", "--ports", "auto"), check=True, capture_output=True)
        guarded.find_ports()

    assert told.stderr.startswith("a `mtls-lab mutate` that was killed has left holes in this lab; run `mtls-lab up`")
    assert not guarded.lab.altered.exists()
    assert wrong(guarded) == []


def test_a_lab_that_is_down_is_one_line(guarded: TestedLab) -> None:
    elsewhere = [word.replace(guarded.lab.instance or "", "nobody") for word in command(guarded, "mutate")]

    refused = subprocess.run(elsewhere, capture_output=True, text=True, check=False)

    assert refused.returncode == NotReady.exit_code
    assert refused.stderr == "guarded-vault-nobody and guarded-office-nobody are not up; run `mtls-lab up` first\n"


def test_a_lab_that_is_red_is_refused(guarded: TestedLab) -> None:
    """Nobody could say what a change did there."""
    with broken(guarded, Break("guarded", "vault", "routes.conf", "return 403", "return 404", "none")):
        until(guarded, bool)
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
