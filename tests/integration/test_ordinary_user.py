"""Somebody who is not root, but may use the engine: a lab from `up` to `down`, and whose files and processes it has."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from topology.description.loading import load
from topology.generation import planning
from topology.proof import expectation
from topology.runtime import engine, images, looking
from topology.runtime.lab import Lab, label_filters
from topology.runtime.progress import SILENT

pytestmark = pytest.mark.integration

TOPOLOGY = """
name: ordinary
authorities: {ssl_ca: {}, client_ca: {}}
identities: {bro: {authority: client_ca}}
hosts:
  server:
    domain: server.ordinary.test
    client_certificates: {authority: client_ca}
    services:
      node: {kind: node}
      own: {kind: node, tls: {port: 3300, client_certificate: required}}
    routes:
      /node/: {service: node, client_certificate: required}
  client:
    domain: client.ordinary.test
    routes:
      /node/: {host: server, to: /node/, identity: bro}
"""
ROOT = Path(__file__).parents[2]
SOMEBODY = 42420
"""A number that no user of this machine has."""

BECOME = """\
set -eu
while [ "$1" != -- ]; do
    mkdir -p "$2"
    mount --bind "$1" "$2"
    shift 2
done
shift
exec setpriv "$@"
"""
"""In a view of the file system that ends with the process: shows folders at other places, then is somebody else."""


@dataclass(frozen=True)
class Somebody:
    """folder: theirs; groups: what they may use beside."""

    folder: Path
    uid: int
    groups: Sequence[int]

    @property
    def lab(self) -> Lab:
        return Lab(load(self.folder / "topology.yaml"), self.folder / "compose", "ordinary")

    def run(self, command: str, *options: str) -> subprocess.CompletedProcess[str]:
        where = [str(self.lab.description.file), "--out", str(self.lab.out), "--instance", "ordinary"]
        words = ["-m", "topology", command, *where, *options]
        environment = {**os.environ, "HOME": str(self.folder), "USER": "somebody"}
        if self.uid == os.geteuid():
            return told([sys.executable, *words], environment)
        return self.run_as(words, environment)

    def run_as(self, words: Sequence[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """As root: Python, its packages and the project, wherever they lie, where anybody may go."""
        seen = {"python": sys.base_prefix, "venv": sys.prefix, "project": str(ROOT)}
        shown = {name: self.folder / "seen" / name for name in seen}
        packages = shown["venv"] / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
        environment["PYTHONPATH"] = f"{shown['project']}{os.pathsep}{packages}"
        environment["LD_LIBRARY_PATH"] = f"{shown['python']}/lib"
        environment["PATH"] = f"{shown['venv']}/bin{os.pathsep}{environment['PATH']}"
        python = shown["python"] / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
        groups = f"--groups={','.join(map(str, self.groups))}" if self.groups else "--clear-groups"
        binds = [str(path) for name, source in seen.items() for path in (source, shown[name])]
        become = [f"--reuid={self.uid}", f"--regid={self.uid}", groups, "--inh-caps=-all", "--bounding-set=-all"]
        command = ["unshare", "--mount", "sh", "-c", BECOME, "-", *binds, "--", *become, "--", str(python), *words]
        return told(command, environment)


def told(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False, timeout=180)


@pytest.fixture(scope="module")
def somebody() -> Iterator[Somebody]:
    """An ordinary user with the images of a small lab: whoever runs this, unless that is root."""
    uid = os.geteuid() or SOMEBODY
    with tempfile.TemporaryDirectory(prefix="ordinary-") as name:
        folder = Path(name)
        (folder / "topology.yaml").write_text(TOPOLOGY)
        if os.geteuid() == 0:
            os.chown(folder, uid, uid)
        made = Somebody(folder, uid, [socket_group()])
        plan = planning.plan(made.lab.description)
        images.ensure([images.Image(i.tag, i.folder, dict(i.arguments)) for i in plan.images], SILENT)
        yield made
        made.run("down")


def socket_group() -> int:
    """The group that may use the engine."""
    return Path(engine.address().removeprefix("unix://")).stat().st_gid


@pytest.fixture(scope="module")
def up(somebody: Somebody) -> Somebody:
    done = somebody.run("up", "--ports", "auto")
    assert done.returncode == 0, done.stderr
    return somebody


def test_every_caller_gets_its_answer(up: Somebody) -> None:
    done = up.run("check", "--json")

    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"ok": true') == len(expectation.checks(up.lab.topology))


def test_every_file_is_theirs_and_keys_are_for_them_alone(up: Somebody) -> None:
    files = list(up.lab.out.rglob("*"))
    keys = [file for file in files if file.suffix == ".key" or file.name.endswith("key.pem")]

    assert {file.stat().st_uid for file in files} == {up.uid}
    assert len(keys) == 7  # of two authorities, of an identity and its copy, of two gateways and a service
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}


def test_those_who_read_keys_run_as_whoever_these_belong_to(up: Somebody) -> None:
    client = engine.connect()

    for host, service in (("server", "gateway"), ("client", "gateway"), ("server", "own")):
        container = looking.container_of(client, up.lab, host, service)
        _, status = container.exec_run(["cat", "/proc/1/status"])
        [uids] = [line.split()[1:] for line in status.decode().splitlines() if line.startswith("Uid:")]
        assert set(uids) == {str(up.uid)}, (host, service)


def test_up_again_changes_nothing_and_down_leaves_nothing(up: Somebody) -> None:
    client = engine.connect()
    before = {container.id for container in looking.containers(client, up.lab)}

    again = up.run("up", "--ports", "auto")
    assert again.returncode == 0, again.stderr
    assert {container.id for container in looking.containers(client, up.lab)} == before

    done = up.run("down")
    assert done.returncode == 0, done.stderr
    assert looking.containers(client, up.lab) == []
    assert client.networks.list(filters={"label": label_filters(up.lab)}) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="nobody but root can give up the right to use the engine")
def test_without_a_right_to_the_engine_it_is_exit_3_and_one_line(somebody: Somebody) -> None:
    done = Somebody(somebody.folder, somebody.uid, []).run("up")

    assert done.returncode == 3
    socket = engine.address().removeprefix("unix://")
    assert done.stderr == (
        f"no Docker engine answers ({socket}: Permission denied); "
        "you have no right to use it; `mtls-lab doctor` says how to get that\n"
    )
