"""Word of labs that go with a process: what tells a leftover of a killed run from a lab that somebody has up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.test_generation import LABS
from topology.description import loading
from topology.runtime import claims
from topology.runtime.claims import Claim
from topology.runtime.lab import Lab

MADE = Claim("two-host", "pytest-abc123")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of this test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(claims, "HELD", {})
    return tmp_path / "state"


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(loading.load(LABS / "two-host.yaml"), tmp_path, MADE.instance)


def another_process(*lines: str) -> subprocess.Popen[Any]:
    """Claims the instance in another process, says so, and does what the lines say."""
    script = [
        "from pathlib import Path",
        "from topology.description import loading",
        "from topology.runtime import claims",
        "from topology.runtime.lab import Lab",
        f"claims.claim(Lab(loading.load(Path({str(LABS / 'two-host.yaml')!r})), Path(), {MADE.instance!r}))",
        "print('claimed', flush=True)",
        *lines,
    ]
    return subprocess.Popen(
        [sys.executable, "-c", "\n".join(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_a_run_that_was_killed_is_told_from_one_that_lives() -> None:
    with another_process("input()") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "claimed\n"
        assert list(claims.all_claims()) == [MADE]
        assert not claims.is_abandoned(MADE)

        os.kill(process.pid, signal.SIGKILL)
        process.wait()

    assert list(claims.all_claims()) == [MADE]
    assert claims.is_abandoned(MADE)


def test_what_this_process_has_up_is_no_leftover(lab: Lab) -> None:
    claims.claim(lab)

    assert list(claims.all_claims()) == [MADE]
    assert not claims.is_abandoned(MADE)


def test_a_lab_that_was_taken_down_leaves_no_word(lab: Lab, state: Path) -> None:
    claims.claim(lab)
    claims.give_up(MADE.lab, MADE.instance)

    assert list(claims.all_claims()) == []
    assert [path for path in state.rglob("*") if path.is_file()] == []


def test_another_process_takes_back_the_word_of_a_killed_run_but_not_of_one_that_lives() -> None:
    with another_process("input()") as process:
        assert process.stdout is not None
        process.stdout.readline()
        claims.give_up(MADE.lab, MADE.instance)
        assert list(claims.all_claims()) == [MADE]
        os.kill(process.pid, signal.SIGKILL)
        process.wait()

    claims.give_up(MADE.lab, MADE.instance)
    assert list(claims.all_claims()) == []


def test_a_lab_without_an_instance_is_a_person_s_and_gets_no_claim(tmp_path: Path) -> None:
    claims.claim(Lab(loading.load(LABS / "two-host.yaml"), tmp_path))
    claims.give_up("two-host", None)

    assert list(claims.all_claims()) == []


def test_where_no_word_can_be_left_a_run_goes_on(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))

    claims.claim(lab)
    claims.give_up(MADE.lab, MADE.instance)
    assert list(claims.all_claims()) == []


@pytest.mark.parametrize("content", ["{", "[]", '{"lab": "two-host"}', '{"lab": "../..", "instance": "x"}'])
def test_a_record_that_nobody_wrote_so_is_passed_over(content: str) -> None:
    claims.folder().mkdir(parents=True)
    (claims.folder() / "two-host-pytest-abc123.json").write_text(content)

    assert list(claims.all_claims()) == []
