"""No room, or no writing allowed, while files are written: one clear line, and every old file as it was."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.test_killed import RENEWED, TOPOLOGY, files_of
from topology import cli
from topology.generation import writing

pytestmark = pytest.mark.usefixtures("quick_bundles")

COMMANDS = pytest.mark.parametrize("command", [["generate"], ["certificates", "issue"]], ids=" ".join)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a generated and issued lab, whose topology was changed after that."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    topology = tmp_path / "topology.yaml"
    topology.write_text(TOPOLOGY)
    assert cli.main(["generate"]) == 0
    assert cli.main(["certificates", "issue"]) == 0
    topology.write_text(RENEWED.replace("laptop.lab.test", "desk.lab.test"))
    return tmp_path / "compose"


def failing(name: int, after: int, real: Callable[..., object]) -> Callable[..., object]:
    """A system call that fails from a certain one on, and counts."""
    calls = 0

    def call(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls > after:
            raise OSError(name, os.strerror(name))
        return real(*arguments)

    return call


@COMMANDS
@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_disk_that_runs_full_leaves_all_old_files(
    here: Path, command: list[str], after: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where the first of the new ones still found room; nothing of these is left to take up more of it."""
    before = files_of(here)
    capsys.readouterr()

    with monkeypatch.context() as patch:
        patch.setattr(writing.os, "fsync", failing(errno.ENOSPC, after, os.fsync))
        assert cli.main(command) == 1
    told = capsys.readouterr().err

    assert files_of(here) == before
    assert "cannot be written: No space left on device; what stood there before still stands" in told
    assert len(told.splitlines()) == 1
    assert cli.main(command) == 0
    assert files_of(here) != before


@COMMANDS
def test_a_folder_that_is_read_only_is_one_clear_line(
    here: Path, command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_of(here)
    capsys.readouterr()

    monkeypatch.setattr(writing.os, "open", failing(errno.EROFS, 0, os.open))
    assert cli.main(command) == 1
    told = capsys.readouterr().err

    assert files_of(here) == before
    assert "cannot be written: Read-only file system" in told
    assert len(told.splitlines()) == 1
