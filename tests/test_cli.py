"""The command: exit codes, one clear line for each mistake, and never a traceback."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path

import pytest

from tests.test_generation import LABS
from topology import cli
from topology.commands import lab
from topology.errors import NotReady
from topology.runtime import engine

TWO_HOST = str(LABS / "two-host.yaml")


def test_generate_writes_the_stacks_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["generate", TWO_HOST, "--out", str(tmp_path)]) == 0
    assert "two-host/server/compose.yaml" in capsys.readouterr().out
    assert (tmp_path / "two-host" / "server" / "nginx" / "nginx.conf").is_file()


def test_generate_twice_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["generate", TWO_HOST, "--out", str(tmp_path)])
    capsys.readouterr()

    assert cli.main(["generate", TWO_HOST, "--out", str(tmp_path)]) == 0
    assert "up to date" in capsys.readouterr().out


def test_check_finds_a_hand_edit_and_leaves_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1, the file's name, and with --diff the lines."""
    cli.main(["generate", TWO_HOST, "--out", str(tmp_path)])
    edited = tmp_path / "two-host" / "server" / "nginx" / "routes.conf"
    edited.write_text(edited.read_text().replace("return 403;", "return 200;"))
    capsys.readouterr()

    assert cli.main(["generate", TWO_HOST, "--out", str(tmp_path), "--check", "--diff"]) == 1
    told = capsys.readouterr()
    assert "routes.conf" in told.out
    assert "+        return 403;" in told.out
    assert "1 of the generated files differ" in told.err
    assert "return 200;" in edited.read_text()


def test_check_of_a_folder_that_is_not_there_writes_nothing(tmp_path: Path) -> None:
    assert cli.main(["generate", TWO_HOST, "--out", str(tmp_path / "new"), "--check"]) == 1
    assert not (tmp_path / "new").exists()


def test_differences_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["generate", TWO_HOST, "--out", str(tmp_path), "--check", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)

    assert {"path": "server/compose.yaml", "kind": "missing"} in told


@pytest.mark.parametrize("command", ["generate", "up", "down", "status", "check"])
def test_a_topology_that_is_not_there_is_exit_2(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([command, str(tmp_path / "nowhere.yaml")]) == 2
    assert "nowhere.yaml: cannot be read" in capsys.readouterr().err


def test_faults_are_printed_a_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "topology.yaml"
    file.write_text("name: X\nhosts:\n  a: {domian: a.test}\n")

    assert cli.main(["generate", str(file)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 2
    assert all(line.startswith(f"{file}:") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["upp"], "upp"),
        (["up", "--prots", "auto"], "--prots"),
        (["up", TWO_HOST, "--ports", "some"], "the one value is `auto`"),
        (["up", TWO_HOST, "--instance", "No Name"], "lower-case letters"),
    ],
)
def test_a_mistyped_command_is_exit_2(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("command", ["up", "down", "status", "check"])
def test_without_an_engine_it_is_exit_3_and_one_line(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What to install stands in it."""
    engine.connect.cache_clear()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    try:
        assert cli.main([command, TWO_HOST, "--out", str(tmp_path)]) == 3
    finally:
        engine.connect.cache_clear()
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1
    assert "no Docker engine answers" in told
    assert "Docker Desktop" in told


def test_help_is_examples_and_comes_at_once() -> None:
    """It loads neither the engine's libraries nor the topology's."""
    script = "import sys; from topology.cli import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert "\n    mtls-lab up --ports auto  " in done.stdout
    assert not {"docker", "testcontainers", "pydantic", "cryptography"} & set(done.stderr.split())


def test_it_says_which_version_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"mtls-lab {metadata.version('mtls-lab')}\n"


def test_without_a_command_it_says_what_there_is_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    told = capsys.readouterr().err
    assert told.startswith("Usage: mtls-lab [OPTIONS] COMMAND")
    assert "see `mtls-lab --help`" not in told


def test_an_engine_that_refuses_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as: another container still is on the lab's network."""
    from docker.errors import APIError

    def refuse(*_: object) -> None:
        raise APIError("network two-host-internet has active endpoints")

    monkeypatch.setattr(lab, "open_lab", refuse)

    assert cli.main(["down", TWO_HOST]) == 4
    assert "has active endpoints" in capsys.readouterr().err


def test_a_file_that_may_not_be_read_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as: keys that root issued, and somebody else runs the tool now."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "compose/two-host/authorities/ssl_ca/key.pem")

    monkeypatch.setattr(lab, "open_lab", refuse)

    assert cli.main(["down", TWO_HOST]) == 1
    assert capsys.readouterr().err == "compose/two-host/authorities/ssl_ca/key.pem: Permission denied\n"


def test_an_interruption_is_exit_130(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lab, "open_lab", interrupt)

    assert cli.main(["generate", TWO_HOST]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_an_engine_that_goes_away_is_exit_3_and_one_line_with_what_the_system_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where another error was about to be told, and could not be tidied up after."""
    import requests

    def refuse() -> None:
        try:
            raise ConnectionRefusedError(111, "Connection refused")
        except OSError as error:
            raise requests.exceptions.ConnectionError("Connection aborted.") from error

    def fail(*_: object) -> None:
        with ExitStack() as tidying:
            tidying.callback(refuse)
            raise NotReady("Compose failed")

    monkeypatch.setattr(lab, "open_lab", fail)

    assert cli.main(["up", TWO_HOST]) == 3
    assert capsys.readouterr().err == (
        "the Docker engine went away ([Errno 111] Connection refused); "
        "start it, and run the same command again: it goes on from what is there\n"
    )


WAITING_FOR_EVER = """
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from topology import cli
from topology.commands import lab

def wait(*_):
    with ThreadPoolExecutor() as pool:
        pool.submit(Event().wait)
        print("waiting", flush=True)

lab.open_lab = wait
sys.exit(cli.run())
"""


def test_whoever_types_ctrl_c_until_it_ends_gets_130_and_no_traceback() -> None:
    """Although a thread still waits for an engine that does not answer."""
    command = [sys.executable, "-c", WAITING_FOR_EVER, "down", TWO_HOST]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        for _ in range(100):
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
                break
        else:
            process.kill()
        told = process.communicate()[1]

    assert process.returncode == 130
    assert told.splitlines() == ["interrupted"]
