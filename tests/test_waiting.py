"""Two commands that write the same lab: the second one says that it waits, and goes on when the first is done."""

from __future__ import annotations

import stat
import threading
import time
from pathlib import Path

import pytest

from tests.test_killed import TOPOLOGY, assert_is_whole, files_of
from topology import cli
from topology.description.loading import load
from topology.runtime import certificates, stacks
from topology.runtime.lab import Lab
from topology.runtime.progress import SILENT, Progress

SECONDS = 20


def test_the_second_waits_says_so_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "topology.yaml").write_text(TOPOLOGY)
    lab = Lab(load(tmp_path / "topology.yaml"), tmp_path / "compose")
    lines: list[str] = []
    waiting = threading.Event()

    def tell(line: str) -> None:
        lines.append(line)
        waiting.set()

    second = threading.Thread(target=certificates.issue, args=(lab, (), Progress(step=tell)))
    with stacks.exclusively(lab, SILENT):
        second.start()
        assert waiting.wait(SECONDS)
        assert not (lab.folder / "authorities").exists()
    second.join(SECONDS)

    assert not second.is_alive()
    assert lines == ["waiting for another mtls-lab that works on this lab"]
    assert_is_whole(files_of(lab.folder))


def test_generate_waits_for_an_up_that_reads_what_it_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the other one has laid beside its places is not taken for what a killed run left."""
    (tmp_path / "topology.yaml").write_text(TOPOLOGY)
    lab = Lab(load(tmp_path / "topology.yaml"), tmp_path / "compose")
    codes: list[int] = []
    command = ["generate", str(tmp_path / "topology.yaml"), "--out", str(lab.out)]

    second = threading.Thread(target=lambda: codes.append(cli.main(command)))
    with stacks.exclusively(lab, SILENT):
        second.start()
        deadline = time.monotonic() + SECONDS
        while "waiting for another mtls-lab" not in capsys.readouterr().err:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert not (lab.folder / "server").exists()
    second.join(SECONDS)

    assert codes == [0]
    assert (lab.folder / "server" / "compose.yaml").is_file()


def test_whoever_made_the_lock_others_can_take_it(tmp_path: Path) -> None:
    """Whatever the umask was."""
    (tmp_path / "topology.yaml").write_text(TOPOLOGY)
    assert cli.main(["generate", str(tmp_path / "topology.yaml"), "--out", str(tmp_path)]) == 0

    assert stat.S_IMODE((tmp_path / "killed" / ".lock").stat().st_mode) == 0o666
