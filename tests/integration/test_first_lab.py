"""The topology that `mtls-lab init` writes, brought up by the commands that it prints."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import pytest

from tests.integration.driving import Driven
from topology import cli

pytestmark = pytest.mark.integration


def test_the_first_topology_comes_up_as_it_was_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """init, up, check, down: nothing has to be changed in between."""
    folder = tmp_path / "my first lab"
    assert cli.main(["init", str(folder)]) == 0
    driven = Driven(folder, f"first-{secrets.token_hex(3)}")
    written = driven.file.read_text()

    with driven.up_meanwhile(written):
        capsys.readouterr()
        assert driven.run("check", "--json") == 0
        cells = json.loads(capsys.readouterr().out)
        assert driven.run("down", "--json") == 0
        was_up = json.loads(capsys.readouterr().out)

    assert was_up == {"lab": "two-host", "instance": driven.instance, "was_up": True}
    assert len(cells) > 50
    assert all(cell["ok"] for cell in cells)
    assert driven.started() == {}
    assert driven.file.read_text() == written
