"""Docker contexts: engines on other machines, reached over SSH, over TCP with TLS, or through a socket.

A context is what `docker context create` writes (docs.docker.com, "Docker contexts").  Over SSH the system's own client
carries the engine's socket here, so that keys, agents, jump hosts and known hosts are those of ~/.ssh, everything takes
one connection, and the other machine needs nothing but its engine.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import re
import select
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from topology.errors import NoEngine
from topology.runtime.engine import DEFAULT_HOST, client_of

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.tls import TLSConfig

DEFAULT = "default"
"""The context that Docker has without being told: DOCKER_HOST, else the usual socket."""

SSH_SECONDS = 30
"""How long a machine has to let us in."""

READY = "mtls-lab is in"
SSH_COMMAND = f"echo {READY}; exec cat"
"""Ends with its input, so that no connection outlives this process, however that ends."""

PLAIN_NAME = re.compile(r"[A-Za-z0-9_.:%-]+")
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Access:
    """How an engine is reached.  host: unix://, tcp:// or ssh://; tls: the folder with ca.pem, cert.pem and key.pem."""

    host: str
    tls: Path | None = None


@dataclass(frozen=True)
class Engine:
    """An engine that answered.  environment: how Compose finds it."""

    client: DockerClient
    environment: Mapping[str, str]


@cache
def engine_of(context: str) -> Engine:
    """The engine behind a context.  Raises NoEngine where it does not exist, does not answer, or is too old."""
    access = read_access(context)
    where = f"context {context} ({access.host})"
    try:
        if access.host.startswith("ssh://"):
            access = Access(f"unix://{carried_socket(urlsplit(access.host))}")
        client = client_of(access.host, tls_of(access))
    except NoEngine as error:
        raise NoEngine(f"{where}: {error}") from error
    return Engine(client, environment(access))


def environment(access: Access) -> dict[str, str]:
    """What the Docker tools take from the environment; empty values hide the caller's own.

    No proxy stands between this machine and an engine, for Compose as for ourselves.
    """
    direct = [os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), urlsplit(access.host).hostname]
    return {
        "NO_PROXY": ",".join(one for one in direct if one),
        "DOCKER_HOST": access.host,
        "DOCKER_CONTEXT": "",
        "DOCKER_TLS_VERIFY": "1" if access.tls else "",
        "DOCKER_CERT_PATH": str(access.tls or ""),
    }


# What is written


def read_access(context: str) -> Access:
    """What a context says.  Raises NoEngine where there is none of that name, or it is not one to be used."""
    if context == DEFAULT:
        certificates = os.environ.get("DOCKER_CERT_PATH") or str(docker_folder())
        verified = bool(os.environ.get("DOCKER_TLS_VERIFY"))
        host = os.environ.get("DOCKER_HOST") or DEFAULT_HOST
        return checked(context, Access(host, Path(certificates) if verified else None))
    folder = hashlib.sha256(context.encode()).hexdigest()
    file = docker_folder() / "contexts" / "meta" / folder / "meta.json"
    if not file.is_file():
        there = ", ".join([DEFAULT, *sorted(context_names())])
        raise NoEngine(
            f"context {context}: there is no such Docker context (there are: {there}); make it with "
            f"`docker context create {context} --docker host=ssh://USER@MACHINE`"
        )
    try:
        endpoint = json.loads(file.read_text())["Endpoints"]["docker"]
        host, unverified = str(endpoint["Host"]), bool(endpoint.get("SkipTLSVerify"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NoEngine(f"context {context}: {file} cannot be read ({error}); make the context again") from error
    tls = docker_folder() / "contexts" / "tls" / folder / "docker"
    if unverified and host.startswith("tcp://"):
        raise NoEngine(f"context {context}: skip-tls-verify trusts whoever answers; make it again with the engine's ca")
    return checked(context, Access(host, tls if (tls / "ca.pem").is_file() else None))


def docker_folder() -> Path:
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")


def context_names() -> Iterator[str]:
    for file in (docker_folder() / "contexts" / "meta").glob("*/meta.json"):
        try:
            yield str(json.loads(file.read_text())["Name"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # somebody else's broken context is not what was asked for


def checked(context: str, access: Access) -> Access:
    """Refuses ways to an engine that would hand its machine to others: an engine's API is root there."""
    parts = urlsplit(access.host)
    if parts.scheme not in ("unix", "npipe", "tcp", "ssh"):
        raise NoEngine(f"context {context}: {access.host} is none of unix://, npipe://, tcp:// with TLS, ssh://")
    if parts.scheme == "tcp" and access.tls is None and parts.hostname not in LOOPBACK:
        raise NoEngine(
            f"context {context}: {access.host} without TLS lets everyone on the network into that machine; "
            "use ssh://, or give the context ca, cert and key"
        )
    return access


def tls_of(access: Access) -> TLSConfig | None:
    from docker.errors import TLSParameterError
    from docker.tls import TLSConfig

    class Alone(TLSConfig):
        """The context's authority decides: requests would prefer the bundle that REQUESTS_CA_BUNDLE names."""

        def configure_client(self, client: Any) -> None:
            super().configure_client(client)
            client.trust_env = False

    if access.tls is None:
        return None
    files = {name: str(access.tls / f"{name}.pem") for name in ("ca", "cert", "key")}
    own = (files["cert"], files["key"]) if Path(files["cert"]).is_file() else None
    try:
        return Alone(client_cert=own, ca_cert=files["ca"], verify=True)
    except TLSParameterError as error:
        raise NoEngine(f"{access.tls}: {error.msg}") from error


# SSH


def carried_socket(url: SplitResult) -> Path:
    """The socket of a remote engine, carried here by ssh for as long as this process lives.  Raises NoEngine."""
    folder = tempfile.TemporaryDirectory(prefix="mtls-lab-ssh-")
    socket = Path(folder.name) / "docker.sock"
    try:
        ssh = let_in(ssh_command(url, socket))
    except OSError as error:
        folder.cleanup()
        raise NoEngine(f"ssh cannot be started: {error.strerror}") from error
    except BaseException:
        folder.cleanup()
        raise
    atexit.register(hang_up, ssh, folder)
    return socket


def let_in(command: list[str]) -> subprocess.Popen[bytes]:
    """ssh, once it is in.  Raises NoEngine, in ssh's words, where it does not get in."""
    ssh = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,  # an interruption is for this process, which then cleans up over there
    )  # fmt: skip
    if ssh.stdout is not None and select.select([ssh.stdout], [], [], SSH_SECONDS)[0]:
        said = ssh.stdout.readline()
        if READY in said.decode(errors="replace"):
            return ssh
    ssh.kill()
    complaint = ssh.communicate()[1].decode(errors="replace").strip().splitlines()
    raise NoEngine(f"ssh: {complaint[-1] if complaint else f'nobody let us in within {SSH_SECONDS} seconds'}")


def ssh_command(url: SplitResult, socket: Path) -> list[str]:
    """Raises NoEngine where the URL holds what ssh would not take for a name."""
    user, host = url.username or "", url.hostname or ""
    if not PLAIN_NAME.fullmatch(host) or host.startswith("-") or (user and not PLAIN_NAME.fullmatch(user)):
        raise NoEngine("not an address like ssh://USER@MACHINE[:PORT]")
    remote = url.path if len(url.path) > 1 else DEFAULT_HOST.removeprefix("unix://")
    options = {
        "BatchMode": "yes",  # keys and known hosts, no questions
        "ConnectTimeout": "10",
        "ServerAliveInterval": "15",
        "ExitOnForwardFailure": "yes",
        "ControlMaster": "no",
        "ControlPath": "none",
    }
    return [
        "ssh", "-T", *(word for name, value in options.items() for word in ("-o", f"{name}={value}")),
        "-L", f"{socket}:{remote}", *(("-l", user) if user else ()), *(("-p", str(url.port)) if url.port else ()),
        "--", host, SSH_COMMAND,
    ]  # fmt: skip


def hang_up(ssh: subprocess.Popen[Any], folder: tempfile.TemporaryDirectory[str]) -> None:
    ssh.terminate()
    ssh.wait()
    folder.cleanup()
