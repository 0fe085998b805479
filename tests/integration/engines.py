"""Machines for tests: containers that each run a Docker engine of their own, entered over SSH or TCP with TLS."""

from __future__ import annotations

import hashlib
import io
import ipaddress
import json
import os
import secrets
import shutil
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography import x509
from docker.types import Mount

from topology.generation.planning import build
from topology.pki import issuing
from topology.pki.issuing import CLIENT_AUTH, SERVER_AUTH, Credential, Issuer
from topology.runtime import engine, execution, images
from topology.runtime.progress import SILENT

DOCKERFILE = Path(__file__).parents[2] / "fixtures" / "engine"
START_SECONDS = 60


@dataclass(frozen=True)
class Machine:
    """A machine with an engine.  folder: shared with it; client: its engine, past all that is under test."""

    container: Any
    folder: Path
    address: str

    @cached_property
    def client(self) -> Any:
        return engine.client_of(f"unix://{self.folder}/docker.sock")

    def run(self, *command: str) -> tuple[int, str]:
        """Runs a command on the machine; exit code and output."""
        answer = execution.run(self.container, command)
        return answer.code, answer.told

    def at_its_terminal(self, *command: str) -> list[str]:
        """A command that meets the network as if it were typed there, where labs publish their ports; it and all that
        it finds are this side's.  Of a machine that is off there is no network.
        """
        self.container.reload()
        pid = self.container.attrs["State"]["Pid"]
        enter = ["nsenter", f"--net=/proc/{pid}/ns/net"]
        if os.geteuid() == 0 or not pid:
            return [*(enter if pid else []), *command]
        back = ["setpriv", f"--reuid={os.geteuid()}", f"--regid={os.getegid()}", "--init-groups"]
        return ["sudo", "--non-interactive", "--preserve-env", *enter, *back, *command]

    def take(self, file: str, to: Path) -> Path:
        """Copies a program from the machine."""
        chunks, _ = self.container.get_archive(file)
        to.mkdir(parents=True, exist_ok=True)
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
            tar.extractall(to, filter="tar")
        return to / Path(file).name

    def stop(self) -> None:
        self.container.stop(timeout=20)

    def kill(self) -> None:
        self.container.kill()

    def start(self) -> None:
        self.container.start()
        self.wait()

    def wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            assert time.monotonic() < deadline, self.container.logs(tail=20).decode()
            time.sleep(0.2)

    def answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            try:
                connection.connect(f"{self.folder}/docker.sock")
                connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return b" 200 " in connection.recv(100)
            except OSError:
                return False


@contextmanager
def machines(folder: Path, names: Mapping[str, str], *shared: Path) -> Iterator[dict[str, Machine]]:
    """Machines on a network of their own.  names: machine -> the domain by which DNS knows it there.

    folder: keys, certificates and sockets are in its folders; shared: folders that are there under the same path.
    All of it is gone when the context ends.
    """
    client = engine.connect()
    planned = build("engine", DOCKERFILE)
    images.ensure([images.Image(planned.tag, planned.folder)], SILENT)
    authority = new_authority()
    (folder / "client").mkdir()
    write_credential(folder / "client", authority, "client", "", "cert.pem", "key.pem")
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "client" / "id_ed25519")], check=True
    )
    network = client.networks.create(f"mtls-lab-machines-{secrets.token_hex(4)}", driver="bridge")
    made: dict[str, Machine] = {}
    try:
        for name, domain in names.items():
            own = folder / name
            own.mkdir()
            seen = {"/run/engine": own, **{str(path): path for path in shared}}
            container = start(client, planned.tag, seen, network, domain)
            made[name] = Machine(container, own, address_of(container, network))
            prepare(made[name], folder / "client", authority)
        for machine in made.values():
            machine.wait()
        yield made
    finally:
        for machine in made.values():
            if "client" in machine.__dict__:
                machine.client.close()
            machine.container.remove(force=True, v=True)
        network.remove()


def start(client: Any, image: str, seen: Mapping[str, Path], network: Any, domain: str) -> Any:
    """All that an engine inside of a container needs; its disk is a volume, since overlay does not stack.

    seen: where there -> folder here.
    """
    container = client.containers.create(
        image,
        cap_add=["ALL"],
        cap_drop=["SYS_RESOURCE"],
        security_opt=["seccomp=unconfined", "apparmor=unconfined"],
        cgroupns="host",
        mounts=[
            Mount("/sys/fs/cgroup", "/sys/fs/cgroup", type="bind"),
            *(Mount(there, str(path), type="bind") for there, path in seen.items()),
            Mount("/var/lib/docker", None, type="volume"),
        ],
    )
    network.connect(container, aliases=[domain])
    container.start()
    container.reload()
    return container


def address_of(container: Any, network: Any) -> str:
    return str(container.attrs["NetworkSettings"]["Networks"][network.name]["IPAddress"])


def prepare(machine: Machine, client: Path, authority: Issuer) -> None:
    """Lets the engine go on: who may enter over SSH, and its certificate for its address."""
    (machine.folder / "authorized_keys").write_bytes((client / "id_ed25519.pub").read_bytes())
    (machine.folder / "tls").mkdir()
    write_credential(machine.folder / "tls", authority, "server", machine.address, "server.pem", "server-key.pem")
    (machine.folder / "ready").touch()


def new_authority() -> Issuer:
    key = issuing.new_key("ecdsa-p256")
    name = issuing.authority_name("engines", "docker")
    return Issuer(issuing.issue_root(name, key, days=2, now=datetime.now(UTC)), key)


def write_credential(
    folder: Path, authority: Issuer, name: str, address: str, certificate_file: str, key_file: str
) -> None:
    """A certificate for an engine at an address, or for a client of it, as the Docker tools name the files."""
    key, now = issuing.new_key("ecdsa-p256"), datetime.now(UTC)
    names: list[x509.GeneralName] = [x509.DNSName(name)]
    if address:
        names.append(x509.IPAddress(ipaddress.ip_address(address)))
    purpose = SERVER_AUTH if address else CLIENT_AUTH
    builder = issuing.leaf_builder(issuing.client_subject(name), names, key.public_key(), authority, purpose)
    end = issuing.capped(authority, now, 1)
    certificate = issuing.sign(builder, authority.key, start=now - issuing.BACKDATED, end=end)
    credential = Credential(certificate, key)
    (folder / "ca.pem").write_bytes(issuing.certificate_pem(authority.certificate))
    (folder / certificate_file).write_bytes(credential.certificate_pem())
    (folder / key_file).touch(0o600)
    (folder / key_file).write_bytes(credential.key_pem())


# This side


def write_context(config: Path, name: str, host: str, tls: Path | None = None) -> None:
    """What `docker context create` writes."""
    identity = hashlib.sha256(name.encode()).hexdigest()
    meta = config / "contexts" / "meta" / identity
    meta.mkdir(parents=True)
    endpoint = {"Host": host, "SkipTLSVerify": False}
    (meta / "meta.json").write_text(json.dumps({"Name": name, "Metadata": {}, "Endpoints": {"docker": endpoint}}))
    if tls is not None:
        kept = config / "contexts" / "tls" / identity / "docker"
        kept.mkdir(parents=True)
        for file in ("ca.pem", "cert.pem", "key.pem"):
            shutil.copy(tls / file, kept / file)


def environment(folder: Path, found: Mapping[str, Machine]) -> dict[str, str]:
    """An environment whose ssh knows these machines, and whose Docker contexts are kept apart from the person's own.

    ssh reads its configuration from the person's home whatever HOME says, so one before it on the path names another.
    """
    shim = folder / "bin" / "ssh"
    shim.parent.mkdir()
    known = "".join(f"{m.address} {(m.folder / 'ssh-host-key.pub').read_text()}" for m in found.values())
    (folder / "known_hosts").write_text(known)
    (folder / "ssh_config").write_text(
        f"IdentityFile {folder}/client/id_ed25519\nIdentitiesOnly yes\n"
        f"UserKnownHostsFile {folder}/known_hosts\nGlobalKnownHostsFile /dev/null\nStrictHostKeyChecking yes\n"
    )
    ssh = shutil.which("ssh")
    assert ssh is not None, "an SSH client is needed: install openssh-client"
    shim.write_text(f'#!/bin/sh\nexec {ssh} -F {folder}/ssh_config "$@"\n')
    shim.chmod(0o755)
    return {"PATH": f"{shim.parent}{os.pathsep}{os.environ['PATH']}", "DOCKER_CONFIG": str(folder / "config")}
