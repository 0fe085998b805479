"""Commands in running containers, and all that they print.

The engine's library reads an exec's output from the raw socket, behind the buffer that may already hold its first
bytes (github.com/docker/docker-py/issues/3332): on a busy machine beginnings get lost.  Here the output is what the
engine sends it as, the body of an HTTP answer, and is read through that buffer.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from topology.errors import NotReady

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

HEAD = struct.Struct(">BxxxL")
"""Before each piece: which stream it is of, and its length in bytes (Engine API, "Stream format")."""

OUT, ERR = 1, 2

NOT_IN_THE_IMAGE = (126, 127)
"""What an exec answers where a command is not there, or is nothing that can be run."""

ATTEMPTS = 3


@dataclass(frozen=True)
class Answer:
    """What a command did: its exit code, and what it printed, piece by piece: (`OUT` or `ERR`, bytes)."""

    code: int
    printed: tuple[tuple[int, bytes], ...]

    @property
    def out(self) -> bytes:
        return b"".join(piece for stream, piece in self.printed if stream == OUT)

    @property
    def err(self) -> bytes:
        return b"".join(piece for stream, piece in self.printed if stream == ERR)

    @property
    def told(self) -> str:
        """All of it in the order in which it came, for people."""
        return b"".join(piece for _, piece in self.printed).decode(errors="replace")


def run(container: Container, command: Sequence[str], **settings: Any) -> Answer:
    """Runs a command in a container until it ends.

    settings: of docker-py's `exec_create`, such as user, environment, workdir.  Raises docker's APIError where the
    engine refuses, as it does where the container is not running.
    """
    from docker.errors import create_api_error_from_http_exception
    from requests import HTTPError

    api = cast("DockerClient", container.client).api
    started = api.exec_create(container.id, list(command), **settings)["Id"]
    address = f"{api.base_url}/v{api.api_version}/exec/{started}/start"
    response = api.post(address, json={"Detach": False, "Tty": False}, timeout=api.timeout)
    try:
        response.raise_for_status()
    except HTTPError as error:
        create_api_error_from_http_exception(error)
    return Answer(int(api.exec_inspect(started)["ExitCode"] or 0), tuple(pieces(response.content)))


def pieces(body: bytes) -> Iterator[tuple[int, bytes]]:
    """The pieces that a body is made of: (stream, bytes)."""
    place = 0
    while place < len(body):
        stream, length = HEAD.unpack_from(body, place)
        place += HEAD.size
        yield stream, body[place : place + length]
        place += length


def run_whole(container: Container, command: Sequence[str], end: bytes) -> Answer:
    """The same for a command that says at last, by a mark on standard output, that it has said everything.

    Asked again where the mark does not come.  Raises NotReady where it never does; a command that is not in the image
    is answered as it is.
    """
    for _ in range(ATTEMPTS):
        answer = run(container, command)
        if answer.out.endswith(end):
            return answer
        if answer.code in NOT_IN_THE_IMAGE:
            return answer
    complaint = answer.err.decode(errors="replace").strip() or "its output was cut"
    raise NotReady(f"{container.name} cannot be looked into: {complaint}")
