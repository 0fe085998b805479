"""With --json, what is wrong with a topology is told to machines, by every command that reads one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.test_faults import FAULTS, KINDS
from topology import cli
from topology.description import loading
from topology.errors import InvalidTopology

FAULTY = "name: X\nauthorities: {ca: {days: many}}\nhosts:\n  web:\n    domian: web.test\n"
TOLD = [
    (
        1,
        1,
        "name",
        "'X' cannot name a lab; write a lower-case letter, then letters, digits and hyphens, at most 30 in all",
    ),
    (2, 20, "authorities.ca.days", "must be a whole number"),
    (5, 5, "hosts.web.domian", "unknown field; did you mean 'domain'?"),
]
WORDS = {"snippet": {"language": "curl"}, "deploy": {"context": "there"}}
"""What a command looks at before it reads the topology; of everything else that it needs, any word will do."""

Command = Any
"""A command as typer makes it."""


def commands(group: Command, *names: str) -> Iterator[tuple[tuple[str, ...], Command]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *names, name)
        else:
            yield (*names, name), command


def reads_a_topology(command: Command) -> bool:
    return any("TOPOLOGY" in (parameter.metavar or "") for parameter in command.params)


READERS = [one for one in commands(cli.whole_command()) if reads_a_topology(one[1])]


def words(command: Command, file: str) -> Iterator[str]:
    """A command line that names a topology, and all else that it needs."""
    options = {parameter.opts[0] for parameter in command.params}
    for parameter in command.params:
        is_option = parameter.opts[0].startswith("-")
        word = WORDS.get(command.name, {}).get(parameter.name) or ("word" if parameter.required else None)
        if "TOPOLOGY" in (parameter.metavar or "") and is_option == ("--topology" in options):
            word = file
        if word:
            yield from (parameter.opts[0], word) if is_option else (word,)


def told(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    captured = capsys.readouterr()
    assert captured.out == ""
    found: list[dict[str, Any]] = json.loads(captured.err)
    return found


def test_most_commands_read_a_topology() -> None:
    """So the test below is not empty."""
    names = {" ".join(name) for name, _ in READERS}

    assert {"generate", "up", "down", "status", "check", "deploy", "snippet", "hosts", "trust install"} <= names
    assert {"certificates list", "certificates renew", "certificates sign"} <= names


@pytest.mark.parametrize(("name", "command"), READERS, ids=[" ".join(name) for name, _ in READERS])
def test_all_faults_are_told_at_once(
    name: tuple[str, ...], command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On standard error, as a list; standard output stays empty, and the exit code is 2."""
    file = tmp_path / "topology.yaml"
    file.write_text(FAULTY)

    assert cli.main([*name, *words(command, str(file)), "--json"]) == 2
    assert told(capsys) == [
        {"file": str(file), "line": line, "column": column, "path": path, "message": message}
        for line, column, path, message in TOLD
    ]


@pytest.mark.parametrize("file", sorted(FAULTS.glob("*.yaml")), ids=lambda file: file.stem)
def test_machines_are_told_what_people_are_told(file: Path) -> None:
    """The same faults with the same words, and the place in fields of its own."""
    with pytest.raises(InvalidTopology) as caught:
        loading.parse(file.read_bytes(), Path(file.name), KINDS)
    lines = [
        f"{one['file']}:{one['line']}:{one['column']}: {one['path']}{': ' if one['path'] else ''}{one['message']}"
        for one in json.loads(cli.told(caught.value, ["generate", "--json"]))
    ]

    assert lines == file.with_suffix(".txt").read_text().splitlines()


def test_a_kind_that_is_wrong_is_told_likewise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its service.yaml has lines and columns, too."""
    kind = tmp_path / "services" / "mine" / "service.yaml"
    kind.parent.mkdir(parents=True)
    (kind.parent / "Dockerfile").touch()
    kind.write_text("port: 80\nhealth: up\n")
    (tmp_path / "topology.yaml").write_text("name: lab\nhosts: {web: {domain: web.lab.test, tls: false}}\n")

    assert cli.main(["generate", str(tmp_path / "topology.yaml"), "--json"]) == 2
    assert [(one["file"], one["line"], one["column"], one["path"]) for one in told(capsys)] == [
        (str(kind), 2, 1, "health")
    ]


def test_without_it_faults_are_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "topology.yaml"
    file.write_text(FAULTY)

    assert cli.main(["generate", str(file)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == len(TOLD)


def test_a_file_that_is_not_there_has_no_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It stays a line of text, as every other error."""
    assert cli.main(["generate", str(tmp_path / "nowhere.yaml"), "--json"]) == 2
    assert "nowhere.yaml: cannot be read" in capsys.readouterr().err
