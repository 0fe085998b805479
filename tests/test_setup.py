"""Setting a machine up, on machines that are made of stubs: nothing here touches the one that the tests run on."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BASICS = [
    "sh",
    "cat",
    "cksum",
    "tr",
    "dirname",
    "rm",
    "tail",
    "sleep",
    "mkdir",
    "chmod",
    "cp",
    "kill",
    "nohup",
    "env",
    "touch",
]


@dataclass(frozen=True)
class Machine:
    """A folder of commands that do as they are told, and note what they were called with."""

    folder: Path

    @property
    def project(self) -> Path:
        return self.folder / "a project"

    def command(self, name: str, does: str = "exit 0") -> None:
        file = self.folder / "bin" / name
        file.unlink(missing_ok=True)
        file.write_text(f'#!/bin/sh\necho "{name} $*" >>"{self.folder}/calls"\n{does}\n')
        file.chmod(0o755)

    def without(self, name: str) -> None:
        (self.folder / "bin" / name).unlink(missing_ok=True)

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.project / ".setup" / "install"), *arguments],
            env={"PATH": str(self.folder / "bin"), "HOME": str(self.folder), "TMPDIR": str(self.folder), **environment},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip

    @property
    def calls(self) -> str:
        file = self.folder / "calls"
        return file.read_text() if file.exists() else ""


PYTHON = """
case "$*" in
*version_info*) exit 0 ;;
*ensurepip*) [ -f "{folder}/has-venv" ]; exit $? ;;
*"-m venv"*) mkdir -p "{project}/.venv/bin"; cp "$0" "{project}/.venv/bin/python"; exit 0 ;;
"- "*) exit 0 ;;
esac
exit 0
"""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A Debian with Python and venv, as root, with an engine that answers."""
    made = Machine(tmp_path)
    (tmp_path / "bin").mkdir()
    for name in BASICS:
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or f"/bin/{name}")
    (made.project / ".setup").mkdir(parents=True)
    shutil.copy(ROOT / ".setup" / "install", made.project / ".setup" / "install")
    shutil.copy(ROOT / "requirements.lock", made.project)
    shutil.copy(ROOT / "pyproject.toml", made.project)
    (tmp_path / "has-venv").touch()
    made.command("python3", PYTHON.format(folder=tmp_path, project=made.project))
    made.command("id", 'case "$1" in -u) echo 0 ;; *) echo root ;; esac')
    made.command("uname", "echo Linux")
    made.command("docker", f'case "$1" in version) [ -f "{tmp_path}/engine-runs" ] ;; esac')
    made.command("dockerd", f'touch "{tmp_path}/engine-runs"')
    made.command("iptables")
    made.command("dpkg")
    made.command("apt-cache", "exit 1")
    made.command("apt-get", f'case "$*" in *python3-venv*) touch "{tmp_path}/has-venv" ;; esac')
    (tmp_path / "engine-runs").touch()
    return made


def not_root(machine: Machine) -> None:
    machine.command("id", 'case "$1" in -u) echo 1000 ;; *) echo danish ;; esac')


def test_where_an_engine_runs_nothing_is_installed_outside_of_the_folder(machine: Machine) -> None:
    """An ordinary user with Docker."""
    not_root(machine)
    done = machine.run()

    assert done.returncode == 0, done.stderr
    assert "apt-get" not in machine.calls
    assert "pip install --quiet --disable-pip-version-check --require-hashes" in machine.calls


def test_the_second_time_there_is_nothing_to_do(machine: Machine) -> None:
    machine.run()
    before = machine.calls.count("pip install")
    done = machine.run()

    assert (done.returncode, done.stderr) == (0, "")
    assert machine.calls.count("pip install") == before


def test_a_changed_lock_file_is_installed(machine: Machine) -> None:
    machine.run()
    before = machine.calls.count("pip install")
    with (machine.project / "requirements.lock").open("a") as lock:
        lock.write("# newer\n")
    machine.run()

    assert machine.calls.count("pip install") == before + 2


def test_an_installation_that_was_interrupted_is_done_again(machine: Machine) -> None:
    """The stamp comes last."""
    machine.run()
    (machine.project / ".venv" / "installed").unlink()
    before = machine.calls.count("pip install")
    machine.run()

    assert machine.calls.count("pip install") == before + 2


def test_a_bare_debian_gets_what_it_lacks_and_is_told_so_before(machine: Machine) -> None:
    (machine.folder / "engine-runs").unlink()
    (machine.folder / "has-venv").unlink()
    machine.without("dockerd")
    machine.without("iptables")
    machine.command(
        "apt-get",
        f'case "$*" in *docker.io*) touch "{machine.folder}/engine-runs" "{machine.folder}/has-venv" ;; esac',
    )
    done = machine.run()

    assert done.returncode == 0, done.stderr
    assert "About to install from this machine's package archive: python3-venv docker.io iptables" in done.stderr
    assert "apt-get install --yes --no-install-recommends python3-venv docker.io iptables" in machine.calls


def test_an_engine_that_is_installed_is_started(machine: Machine) -> None:
    """Without systemd: directly."""
    if Path("/run/systemd/system").is_dir():
        machine.command("systemctl", f'touch "{machine.folder}/engine-runs"')
    (machine.folder / "engine-runs").unlink()
    done = machine.run()

    assert done.returncode == 0, done.stderr
    assert "Starting the Docker engine" in done.stderr
    assert (machine.folder / "engine-runs").exists()


def test_packages_alone_start_no_engine(machine: Machine) -> None:
    (machine.folder / "engine-runs").unlink()
    done = machine.run("packages")

    assert done.returncode == 0, done.stderr
    assert "dockerd" not in machine.calls


@pytest.mark.parametrize(
    ("prepare", "told"),
    [
        (lambda m: m.command("uname", "echo Darwin"), "Docker Desktop"),
        (lambda m: m.without("docker"), "sudo apt-get install docker.io"),
        (lambda m: m.command("docker", "exit 1"), "group docker"),
    ],
    ids=["macOS", "no Docker", "not in the group"],
)
def test_elsewhere_a_missing_engine_is_one_clear_line(
    machine: Machine, prepare: Callable[[Machine], object], told: str
) -> None:
    not_root(machine)
    machine.without("dockerd")
    (machine.folder / "engine-runs").unlink()
    prepare(machine)
    done = machine.run(DOCKER_HOST="unix:///nowhere")

    assert done.returncode == 3
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "apt-get" not in machine.calls


def test_an_old_python_is_one_clear_line(machine: Machine) -> None:
    """Ubuntu 22.04's is 3.10."""
    not_root(machine)
    machine.command("python3", 'case "$*" in *version_info*) exit 1 ;; --version) echo Python 3.10.12 ;; esac')
    done = machine.run()

    assert done.returncode == 2
    assert "Python 3.11 or later" in done.stderr


def test_a_failing_package_archive_shows_its_last_words(machine: Machine) -> None:
    (machine.folder / "has-venv").unlink()
    machine.command("apt-get", "echo E: no such archive; exit 100")
    done = machine.run()

    assert done.returncode == 3
    assert "E: no such archive" in done.stderr


@pytest.mark.parametrize(("answer", "installs"), [("y", True), ("n", False), ("", False)])
def test_on_a_terminal_it_asks(machine: Machine, answer: str, installs: bool) -> None:
    (machine.folder / "has-venv").unlink()
    controller, terminal = pty.openpty()
    try:
        os.write(controller, f"{answer}\n".encode())
        done = subprocess.run(
            [str(machine.project / ".setup" / "install"), "packages"],
            env={"PATH": str(machine.folder / "bin"), "HOME": str(machine.folder), "TMPDIR": str(machine.folder)},
            stdin=terminal, capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip
    finally:
        os.close(controller)
        os.close(terminal)

    assert "Go on? [y/N]" in done.stderr
    assert ("apt-get install" in machine.calls) is installs
    assert done.returncode == (0 if installs else 1)


# What stands in two places


def requirement_names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=~ ]", requirement)[0] for requirement in requirements}


def test_each_library_has_its_reason_and_its_locked_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = requirement_names(project["dependencies"])
    for extra in project["optional-dependencies"].values():
        wanted |= requirement_names(extra)
    explained = set(re.findall(r"^\| ([a-z0-9.-]+) \|", (ROOT / "docs" / "dependencies.md").read_text(), re.MULTILINE))
    locked = set(re.findall(r"^([a-z0-9.-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))

    assert explained - {"package"} == wanted
    assert {name.replace(".", "-") for name in wanted} <= {name.replace(".", "-") for name in locked}


def test_the_lock_file_names_no_server() -> None:
    assert "://" not in (ROOT / "requirements.lock").read_text()


def test_make_help_lists_every_target() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = set(re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE).group(1).split())  # type: ignore[union-attr]
    done = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True)

    assert set(re.findall(r"^  make ([a-z-]+)", done.stdout, re.MULTILINE)) == phony


def test_the_readme_s_topology_is_the_two_host_lab() -> None:
    from topology.description import loading

    readme = (ROOT / "README.md").read_text()
    text = re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)[0]
    file = ROOT / "fixtures" / "labs" / "two-host.yaml"

    assert loading.parse(text, file, loading.catalog.kinds(file)).topology == loading.load(file).topology
