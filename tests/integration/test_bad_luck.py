"""What goes wrong outside of the lab, for real: disks, kills, and others who take networks and ports meanwhile."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from docker.types import IPAMConfig, IPAMPool

from tests.test_killed import RENEWED, TOPOLOGY, assert_is_whole, files_of
from topology import cli
from topology.description.loading import load
from topology.runtime import engine, looking, stacks
from topology.runtime.lab import Lab, label_filters

pytestmark = pytest.mark.integration

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system; tests/test_full_disk.py imitates one")

CONTESTED = """
name: contested
authorities:
  ssl_ca: {}
hosts:
  web:
    domain: web.contested.test
    PUBLISH
  desk:
    domain: desk.contested.test
    routes:
      /web/: {host: web}
"""


# Disks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@NEEDS_ROOT
@pytest.mark.parametrize("command", [("generate",), ("certificates", "issue")], ids=" ".join)
def test_a_disk_without_room_and_one_that_is_read_only_leave_all_old_files(
    small_disk: Path, tmp_path: Path, command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    topology, out = tmp_path / "topology.yaml", small_disk / "compose"

    def run() -> int:
        capsys.readouterr()
        return cli.main([*command, str(topology), "--out", str(out)])

    topology.write_text(TOPOLOGY)
    assert run() == 0
    topology.write_text(RENEWED.replace("laptop.lab.test", "desk.lab.test"))
    before = files_of(out)

    with filled(small_disk, left=8192):
        assert run() == 1
        told = capsys.readouterr().err
        assert "cannot be written: No space left on device; what stood there before still stands" in told
        assert len(told.splitlines()) == 1
        assert files_of(out) == before

    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert run() == 1
    told = capsys.readouterr().err
    assert "cannot be written: Read-only file system" in told
    assert len(told.splitlines()) == 1
    assert files_of(out) == before

    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert run() == 0
    assert files_of(out) != before


@contextmanager
def filled(disk: Path, left: int) -> Iterator[None]:
    """A disk with no room but some bytes."""
    status = os.statvfs(disk)
    filler = disk / "filler"
    filler.write_bytes(b"x" * (status.f_bavail * status.f_bsize - left))
    try:
        yield
    finally:
        filler.unlink()


# Kills


@pytest.mark.parametrize("files", [2, 9, 16, 23])
def test_a_process_that_is_killed_while_it_issues_leaves_what_the_next_one_completes(
    tmp_path: Path, files: int
) -> None:
    """For real, as soon as so many files are there."""
    topology, out = tmp_path / "topology.yaml", tmp_path / "compose"
    topology.write_text(TOPOLOGY)
    command = [sys.executable, "-m", "topology", "certificates", "issue", str(topology), "--out", str(out)]

    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and sum(len(names) for _, _, names in os.walk(out)) < files:
            time.sleep(0.0005)
        process.send_signal(signal.SIGKILL)

    assert cli.main(["certificates", "issue", str(topology), "--out", str(out)]) == 0
    assert_is_whole(files_of(out / "killed"))


# Others on the same engine


MakeLab = Callable[..., Lab]


@pytest.fixture
def contested(tmp_path: Path) -> Iterator[MakeLab]:
    """A lab of gateways alone, one of them published as asked; down at the end.

    name, instance: whose it is; folder: where it lies, below the test's own.
    """
    made = []

    def make(
        publish: str = "publish: {}", *, name: str = "contested", instance: str = "bad-luck", folder: str = "."
    ) -> Lab:
        file = tmp_path / folder / f"{name}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(CONTESTED.replace("PUBLISH", publish).replace("contested", name))
        made.append(Lab(load(file), file.parent / "compose", instance))
        return made[-1]

    yield make
    for lab in made:
        stacks.down(lab)


def words(command: str, lab: Lab, *options: str) -> list[str]:
    where = [str(lab.description.file), "--out", str(lab.out), "--instance", str(lab.instance)]
    return [command, *where, *options]


def run(command: str, lab: Lab, *options: str) -> int:
    return cli.main(words(command, lab, *options))


def start(command: str, lab: Lab, *options: str) -> subprocess.Popen[str]:
    """A process of its own, with a process group of its own, as a shell would start it."""
    return subprocess.Popen(
        [sys.executable, "-m", "topology", *words(command, lab, *options)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def networks_of(lab: Lab) -> list[str]:
    return sorted(str(n.name) for n in engine.connect().networks.list(filters={"label": label_filters(lab)}))


def test_a_network_that_is_taken_between_choice_and_start_moves_the_lab(
    contested: MakeLab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """First the one inside a host, which Compose makes, then the one between hosts, which the tool makes.

    The very same addresses, and a network of which they are a part: engines have different words for these.
    """
    lab, client = contested(), engine.connect()
    prepare, taken = stacks.prepare, []

    def prepare_too_late(task: Any, machine: Any, plan: Any, surroundings: Any, hosts: Any) -> None:
        inside, internet = surroundings["web"].inside.subnet, surroundings["web"].internet.subnet
        subnets = [inside, inside.supernet(new_prefix=22), internet, internet.supernet(new_prefix=22)]
        if len(taken) < len(subnets):
            pool = IPAMPool(subnet=str(subnets[len(taken)]))
            name = f"{lab.topology.name}-somebody-else-{len(taken)}"
            taken.append(client.networks.create(name, ipam=IPAMConfig(pool_configs=[pool])))
        prepare(task, machine, plan, surroundings, hosts)

    monkeypatch.setattr(stacks, "prepare", prepare_too_late)
    monkeypatch.setattr(stacks, "NETWORK_ATTEMPTS", 5)
    try:
        assert run("up", lab, "--ports", "auto") == 0
        told = capsys.readouterr().err
        assert told.count(f"network {lab.project('web')}_inside: another one took its addresses") == 2
        assert told.count(f"network {lab.internet}: another one took its addresses; choosing others") == 2
        assert run("check", lab) == 0
    finally:
        for network in taken:
            network.remove()
    assert len(taken) == 4


def test_a_port_that_is_taken_between_look_and_start_is_one_clear_line(
    contested: MakeLab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        lab = contested(f"publish: {{https: {port}}}")
        monkeypatch.setattr(stacks, "is_taken", lambda _: False)

        assert run("up", lab) == 4

    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"127.0.0.1:{port} was taken while the lab started (hosts.web.publish.https); free it")
    assert looking.containers(engine.connect(), lab) == []
    assert networks_of(lab) == []


def test_down_names_whose_container_holds_a_network_and_removes_all_else(
    contested: MakeLab, capsys: pytest.CaptureFixture[str]
) -> None:
    lab, client = contested(), engine.connect()
    assert run("up", lab, "--ports", "auto") == 0
    image = looking.container_of(client, lab, "web", "gateway").image
    guest = client.containers.run(
        image, ["sleep", "600"], entrypoint="", name="bad-luck-guest", network=lab.internet, detach=True, init=True
    )
    try:
        capsys.readouterr()
        assert run("down", lab) == 4
        last = capsys.readouterr().err.splitlines()[-1]
        assert last == (
            f"network {lab.internet} stays: the container bad-luck-guest, which is not the lab's, is attached to it; "
            f"run `docker network disconnect {lab.internet} bad-luck-guest`, then `mtls-lab down` again"
        )
        assert looking.containers(client, lab) == []
        assert networks_of(lab) == [lab.internet]

        client.networks.get(lab.internet).disconnect(guest)
        assert run("down", lab) == 0
        assert networks_of(lab) == []
    finally:
        guest.remove(force=True)


# Several at once


def test_two_ups_of_one_lab_at_once_both_succeed_and_one_waits(contested: MakeLab) -> None:
    """What the first one started, the second one leaves as it is."""
    lab = contested()

    with start("up", lab, "--ports", "auto") as one, start("up", lab, "--ports", "auto") as other:
        told = [process.communicate(timeout=120)[1] for process in (one, other)]

    assert (one.returncode, other.returncode) == (0, 0), told
    waited = ["waiting for another mtls-lab that works on this lab" in text for text in told]
    assert sorted(waited) == [False, True], told
    assert "containers started" in told[waited.index(False)]
    assert "gateway reloaded" not in told[waited.index(True)]
    assert len(looking.containers(engine.connect(), lab)) == 2
    assert run("check", lab) == 0


def test_two_labs_and_two_instances_of_one_come_up_at_the_same_time(contested: MakeLab) -> None:
    """Two instances from one folder, a third from another folder, and another lab; none is in another one's way."""
    labs = [
        contested(),
        contested(instance="bad-luck-two"),
        contested(instance="bad-luck-three", folder="copy"),
        contested(name="rival"),
    ]

    processes = [start("up", lab, "--ports", "auto") for lab in labs]
    told = [process.communicate(timeout=180)[1] for process in processes]

    assert [process.returncode for process in processes] == [0, 0, 0, 0], told
    assert [run("check", lab) for lab in labs] == [0, 0, 0, 0]
    client = engine.connect()
    assert [len(looking.containers(client, lab)) for lab in labs] == [2, 2, 2, 2]
    assert len({name for lab in labs for name in networks_of(lab)}) == 12
    assert run("down", labs[0]) == 0
    assert [run("check", lab) for lab in labs[1:]] == [0, 0, 0]


@pytest.mark.parametrize("folder", ["Mein Prüfstand – übung №1", 'it\'s $HOME: 100% of {{it}} #1, [a] & "b"'])
def test_a_lab_lies_in_a_folder_of_any_name(contested: MakeLab, folder: str) -> None:
    lab = contested(folder=folder)

    assert run("up", lab, "--ports", "auto") == 0
    assert run("check", lab) == 0
    gateway = looking.container_of(engine.connect(), lab, "web", "gateway")
    assert looking.folder_of(gateway) == lab.folder / "web"
    assert run("up", lab, "--ports", "auto") == 0
    assert looking.container_of(engine.connect(), lab, "web", "gateway").id == gateway.id
    assert run("down", lab) == 0
    assert networks_of(lab) == []


# Interruptions


def interrupted(process: subprocess.Popen[str], moment: str, times: int = 1) -> tuple[int, str]:
    """Ctrl-C as soon as a line tells how far a process is: its exit code, and what it told after that.

    A terminal sends it to whatever the process has started, too.  times: how often it is typed, in quick succession.
    """
    assert process.stderr is not None
    assert any(moment in line for line in process.stderr)
    for _ in range(times):
        with contextlib.suppress(ProcessLookupError):  # it may have gone at the first one
            os.killpg(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.15)
    return process.wait(60), process.stderr.read()


@pytest.mark.parametrize("moment", ["wrote ", "issued", "containers started", ": healthy"])
def test_an_interruption_of_up_leaves_nothing(contested: MakeLab, moment: str) -> None:
    lab = contested()

    with start("up", lab, "--ports", "auto") as process:
        code, told = interrupted(process, moment)

    assert code == 130, told
    assert told.splitlines()[-1] == "interrupted"
    assert looking.containers(engine.connect(), lab) == []
    assert networks_of(lab) == []


@pytest.mark.parametrize(
    ("command", "moment", "times"),
    [("up", "containers started", 3), ("down", ": removed", 1), ("down", ": removed", 3)],
)
def test_after_any_number_of_interruptions_the_next_down_finishes(
    contested: MakeLab, command: str, moment: str, times: int
) -> None:
    """Whoever cannot wait for a command to tidy up types it again, and it ends."""
    lab = contested()
    if command == "down":
        assert run("up", lab, "--ports", "auto") == 0

    with start(command, lab) as process:
        code, told = interrupted(process, moment, times)

    assert code == 130, told
    assert told.splitlines()[-1] == "interrupted"
    assert "Traceback" not in told
    assert run("down", lab) == 0
    assert looking.containers(engine.connect(), lab) == []
    assert networks_of(lab) == []
