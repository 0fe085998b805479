"""Two commands that write the same lab: the second one says that it waits, and goes on when the first is done."""

from __future__ import annotations

import threading
from pathlib import Path

from tests.test_killed import TOPOLOGY, assert_is_whole, files_of
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
