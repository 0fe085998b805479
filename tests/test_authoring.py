"""A first topology: written whole or not at all, over nothing that is there, and right in all that it shows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from topology import cli
from topology.description import loading
from topology.errors import InvalidInput, InvalidTopology
from topology.generation import writing
from topology.report import first, schema

ROOT = Path(__file__).parents[1]
TEXT = first.TEXT.read_text()
FILES = {"topology.yaml", schema.FILE_NAME}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_topology_is_written_and_the_schema_that_its_first_line_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["init", str(tmp_path / "new" / "lab")]) == 0
    folder = tmp_path / "new" / "lab"
    modeline = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", TEXT.splitlines()[0])

    assert names(folder) == FILES
    assert (folder / "topology.yaml").read_text() == TEXT
    assert modeline is not None
    assert json.loads((folder / modeline[1]).read_text()) == schema.schema()
    assert {f"wrote {folder / name}" for name in FILES} <= set(capsys.readouterr().out.splitlines())


def test_the_current_folder_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What lies there otherwise is nobody's business."""
    (tmp_path / "README.md").write_text("mine")
    monkeypatch.chdir(tmp_path)

    assert cli.main(["init"]) == 0
    assert names(tmp_path) == FILES | {"README.md"}
    assert "cd " not in capsys.readouterr().out


def test_it_is_the_two_host_lab_for_the_kinds_that_are_shipped(tmp_path: Path) -> None:
    cli.main(["init", str(tmp_path)])

    made = loading.load(tmp_path / "topology.yaml").topology
    assert made == loading.load(ROOT / "fixtures" / "labs" / "two-host.yaml").topology


COMMENTED_OUT = [n for n, line in enumerate(TEXT.splitlines()) if re.match(r" +# \S+: [{\[]", line)]
"""The lines of fields that the text shows and does not use."""


def test_fields_are_shown_that_the_lab_does_not_use() -> None:
    assert len(COMMENTED_OUT) >= 10


@pytest.mark.parametrize("line", COMMENTED_OUT, ids=lambda n: TEXT.splitlines()[n].split()[1])
def test_what_is_commented_out_holds_when_it_is_taken_in(line: int, tmp_path: Path) -> None:
    """In the place of the line above, where that has the same field.  The folders that it names are one's own."""
    lines = TEXT.splitlines()
    lines[line] = lines[line].replace("# ", "", 1)
    if lines[line - 1].partition(":")[0] == lines[line].partition(":")[0]:
        del lines[line - 1]
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "Dockerfile").touch()
    (tmp_path / "public").mkdir()
    (tmp_path / "topology.yaml").write_text("\n".join(lines))

    loading.load(tmp_path / "topology.yaml")


def test_next_steps_are_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a folder's name as a shell wants it."""
    folder = tmp_path / "my lab"
    assert cli.main(["init", str(folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    commands = cli.whole_command().commands

    assert told["written"] == [str(folder / name) for name in ("topology.yaml", schema.FILE_NAME)]
    assert told["next"][0] == f"cd '{folder}'"
    assert [step.split()[1] for step in told["next"][1:]] == ["up", "check", "down"]
    assert {step.split()[1] for step in told["next"][1:]} <= commands.keys()


@pytest.mark.parametrize("there", [{"topology.yaml"}, {schema.FILE_NAME}, FILES])
def test_nothing_is_overwritten(there: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither is anything written beside it."""
    for name in there:
        (tmp_path / name).write_text("mine")

    assert cli.main(["init", str(tmp_path)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert len(told.err.splitlines()) == 1
    assert "already; nothing was written: name another folder" in told.err
    assert all(str(tmp_path / name) in told.err for name in there)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(there, "mine")


def test_a_link_to_nothing_is_there_too(tmp_path: Path) -> None:
    """Writing would make a file in another place."""
    (tmp_path / "topology.yaml").symlink_to(tmp_path / "elsewhere")

    assert cli.main(["init", str(tmp_path)]) == 2
    assert names(tmp_path) == {"topology.yaml"}


@pytest.mark.parametrize("folder", ["file", "file/below"])
def test_a_file_is_no_folder(folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")

    assert cli.main(["init", str(tmp_path / folder)]) == 2
    assert capsys.readouterr().err == f"{tmp_path / 'file'}: is not a folder; name another place\n"
    assert (tmp_path / "file").read_text() == "mine"


def test_what_comes_to_be_there_meanwhile_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between looking and writing somebody else may write."""
    (tmp_path / schema.FILE_NAME).write_text("mine")
    monkeypatch.setattr(writing, "refuse_what_is_there", lambda *_: None)

    with pytest.raises(InvalidInput, match="is there already; nothing was written"):
        writing.create(tmp_path, first.files())
    assert names(tmp_path) == {schema.FILE_NAME}
    assert (tmp_path / schema.FILE_NAME).read_text() == "mine"


@pytest.mark.parametrize("accident", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=type)
def test_nothing_is_left_half_written(
    accident: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A disk that is full, or Ctrl-C, after the first of the files: neither they nor their folders stay."""
    replace = Path.replace

    def second_fails(source: Path, target: Path) -> Path:
        if target.name == schema.FILE_NAME:
            raise accident
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", second_fails)

    assert cli.main(["init", str(tmp_path / "new" / "lab")]) == (1 if isinstance(accident, OSError) else 130)
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert names(tmp_path) == set()


def test_a_mistake_in_it_would_be_told(tmp_path: Path) -> None:
    """The tests above can fail: loading reads what was written."""
    cli.main(["init", str(tmp_path)])
    file = tmp_path / "topology.yaml"
    file.write_text(file.read_text().replace("service: boot", "servce: boot"))

    with pytest.raises(InvalidTopology, match="did you mean 'service'"):
        loading.load(file)
