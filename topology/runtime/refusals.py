"""Why no engine can be used, and what to do, in each case that a newcomer meets."""

from __future__ import annotations

import errno
import getpass
import grp
import shutil
import socket
import sys
from pathlib import Path

from topology.runtime import engine


def why_refused(host: str, told: str) -> tuple[str, str]:
    """Why an engine cannot be used, and what to do.  told: what was said when it was tried."""
    if "too old" in told:
        older = f"labs need Docker {engine.OLDEST_ENGINE} or later"
        return told.partition(";")[0], f"{older}: update it (Debian and Ubuntu: `apt-get install docker.io`)"
    path = host.removeprefix("unix://")
    if path == host:
        return told.partition(f"; {engine.INSTALL_HINT}")[0], (
            "see that the machine is up and its engine listens there, or choose another one with `docker context use`"
        )
    number = knock(path)
    if number in (errno.EACCES, errno.EPERM):
        return not_in_the_group(path)
    start = "start Docker Desktop" if sys.platform == "darwin" else "start it: `sudo systemctl start docker`"
    if number == errno.ENOENT and shutil.which("docker") is None and shutil.which("dockerd") is None:
        return f"Docker is not installed: there is no {path}, and no `docker` on the PATH", engine.INSTALL_HINT
    if number in (errno.ENOENT, errno.ECONNREFUSED):
        return f"Docker is installed, but nobody listens at {path}: the engine does not run", start
    return told.partition(f"; {engine.INSTALL_HINT}")[
        0
    ], f"see what the engine logs (`journalctl -u docker`), or {start}"


def knock(path: str) -> int:
    """0 where somebody listens at a socket, else the system's error number."""
    with socket.socket(socket.AF_UNIX) as door:
        door.settimeout(engine.ANSWER_SECONDS)
        try:
            return door.connect_ex(path)
        except OSError as error:
            return error.errno or errno.EIO


def not_in_the_group(path: str) -> tuple[str, str]:
    """What keeps a caller out whose user has no right to the engine's socket, or has not got it yet."""
    user = getpass.getuser()
    try:
        group = grp.getgrgid(Path(path).stat().st_gid)
    except (OSError, KeyError):
        return f"{user} may not open {path}", "ask who looks after this machine for access to its Docker engine"
    if user in group.gr_mem:
        why = f"{user} is in the group {group.gr_name}, but this session began before that"
        return why, f"log out and in again, or run `newgrp {group.gr_name}`"
    return (
        f"{user} may not open {path}: not in the group {group.gr_name}",
        f"`sudo usermod -aG {group.gr_name} {user}`, then log out and in again; who is in it is as good as root here",
    )
