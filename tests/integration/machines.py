"""A machine whose trust stores and hosts file a test may change: a container with the tools that people have there.

It holds the project's own sources, a lab's topology and certificates (no authority's key), and can serve the lab's
host by itself, so that nothing but the engine is needed.
"""

from __future__ import annotations

import io
import re
import shutil
import tarfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from topology.description.loading import load
from topology.generation import planning
from topology.runtime import engine, execution, images, stacks
from topology.runtime.lab import Lab
from topology.runtime.progress import SILENT

ROOT = Path(__file__).parents[2]
TOOL = "/opt/mtls-lab"
HOME = "/home/person"
PERSON = 1000
SERVED = 9443
START_SECONDS = 20
NAME = re.compile(r"[a-z0-9][\w.-]*", re.IGNORECASE)


@dataclass(frozen=True)
class Answer:
    """What a command on the machine said: its exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def told(self) -> str:
        return self.out + self.err


@dataclass(frozen=True)
class Machine:
    container: Any

    def run(self, *command: str, user: str = "root", **environment: str) -> Answer:
        home = HOME if user == "person" else "/root"
        done = execution.run(self.container, command, user=user, environment={"HOME": home, **environment})
        return Answer(done.code, done.out.decode(errors="replace"), done.err.decode(errors="replace"))

    def must(self, *command: str, user: str = "root") -> str:
        """Standard output of a command that has to succeed."""
        answer = self.run(*command, user=user)
        assert answer.code == 0, f"{command}: {answer.told}"
        return answer.out

    def mtls_lab(self, *arguments: str, user: str = "root", **environment: str) -> Answer:
        return self.run(f"{TOOL}/venv/bin/python", "-m", "topology", *arguments, user=user, **environment)

    def put(self, folder: str, files: Mapping[str, bytes], owner: int = 0) -> None:
        self.container.put_archive(folder, archive(files, owner))

    def take(self, folder: str, to: Path) -> Path:
        """Copies a folder of files from the machine; returns where it lies then."""
        chunks, _ = self.container.get_archive(folder)
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
            tar.extractall(to, filter="data")
        return to / Path(folder).name

    def serve(self, *, certificate: str, key: str, authority: str, name: str) -> None:
        """Serves a name's certificate on the loopback interface, and returns when it does."""
        self.container.exec_run(
            ["openssl", "s_server", "-quiet", "-www", "-accept", str(SERVED), "-cert", certificate, "-key", key],
            detach=True,
        )
        address = f"https://{name}:{SERVED}/"
        ask = ["curl", "--silent", "--cacert", authority, "--resolve", f"{name}:{SERVED}:127.0.0.1", address]
        deadline = time.monotonic() + START_SECONDS
        while self.run(*ask).code:
            assert time.monotonic() < deadline, "openssl s_server did not start"
            time.sleep(0.05)


def archive(files: Mapping[str, bytes], owner: int) -> bytes:
    """Files, with the folders that they are in, as a tar; keys are for their owner alone."""
    buffer = io.BytesIO()
    folders = {parent.as_posix() for path in files for parent in Path(path).parents if parent != Path()}
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, content in [*((folder, None) for folder in sorted(folders)), *files.items()]:
            entry = tarfile.TarInfo(path)
            entry.uid = entry.gid = owner
            if content is None:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            else:
                entry.size, entry.mode = len(content), 0o600 if path.endswith(".key") else 0o644
            tar.addfile(entry, io.BytesIO(content or b""))
    return buffer.getvalue()


def files_of(folder: Path, *suffixes: str) -> dict[str, bytes]:
    """Path below a folder -> content."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix in suffixes and "__pycache__" not in path.parts
    }


def lab_files(topology: Path, out: Path) -> dict[str, bytes]:
    """A topology as topology.yaml, and its certificates as `up` issues them; the authorities' keys stay behind."""
    lab = Lab(load(topology), out)
    stacks.issue_certificates(lab, planning.plan(lab.description), SILENT)
    issued = files_of(out, ".pem", ".key")
    return {"topology.yaml": topology.read_bytes()} | {
        f"compose/{path}": content for path, content in issued.items() if not path.endswith("key.pem")
    }


def later(topology: Path, out: Path) -> dict[str, bytes]:
    """The same lab after its authorities were lost and made anew."""
    shutil.rmtree(out)
    return lab_files(topology, out)


@contextmanager
def machine(folder: Path, files: Mapping[str, bytes], **options: Any) -> Iterator[Machine]:
    """A fresh machine with a lab in /lab; gone when the context ends.

    folder: for the image's sources; options: what the engine takes.
    """
    tag = image(folder)
    container = engine.connect().containers.create(
        tag, labels={"mtls-lab.machine": "test"}, init=True, security_opt=["no-new-privileges"], **options
    )
    try:
        container.start()
        made = Machine(container)
        made.put("/", {f"{TOOL}/{path}".lstrip("/"): content for path, content in tool().items()})
        made.put("/lab", files)
        yield made
    finally:
        container.remove(force=True, v=True)


def tool() -> dict[str, bytes]:
    """The project's sources."""
    package = files_of(ROOT / "topology", ".py", ".jinja")
    kinds = files_of(ROOT / "services", ".yaml", "")
    return {f"topology/{path}": content for path, content in package.items()} | {
        f"services/{path}": content for path, content in kinds.items()
    }


def image(folder: Path) -> str:
    sources = folder / "machine"
    if not sources.exists():
        shutil.copytree(ROOT / "fixtures" / "machine", sources)
        (sources / "requirements.txt").write_text(locked())
    build = planning.build("machine", sources)
    images.ensure([images.Image(build.tag, build.folder)], SILENT)
    return build.tag


def locked() -> str:
    """Those of the locked packages that mtls-lab itself needs, and that they need in turn."""
    wanted = needed_by("mtls-lab")
    blocks = re.split(r"(?m)^(?=[a-z0-9])", (ROOT / "requirements.lock").read_text())
    return "".join(block for block in blocks if NAME.match(block) and name_in(block) in wanted)


def needed_by(package: str) -> set[str]:
    """By name as the lock has it, extras left out."""
    found: set[str] = set()
    waiting = [package]
    while waiting:
        for text in metadata.requires(waiting.pop()) or []:
            requirement = Requirement(text)
            name = canonicalize_name(requirement.name)
            if name not in found and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
                found.add(name)
                waiting.append(name)
    return found


def name_in(requirement: str) -> str:
    found = NAME.match(requirement)
    assert found, requirement
    return canonicalize_name(found[0])
