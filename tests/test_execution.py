"""What a command in a container prints arrives whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, ClassVar

import pytest
from docker import DockerClient
from docker.errors import APIError
from docker.models.containers import Container

from topology.errors import NotReady
from topology.runtime import execution
from topology.runtime.execution import ERR, HEAD, OUT


class Engine(BaseHTTPRequestHandler):
    """As much of one as runs commands: it sends its answer's head and the whole output at once."""

    prints: ClassVar[list[list[tuple[int, bytes]]]] = []
    code: ClassVar[int] = 0
    asked: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        self.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        if self.path.endswith("/containers/lab-gateway/exec"):
            self.reply(201, b'{"Id": "7"}', "application/json")
        elif Engine.prints:
            parts = Engine.prints.pop(0)
            body = b"".join(HEAD.pack(stream, len(piece)) + piece for stream, piece in parts)
            self.reply(200, body, "application/vnd.docker.raw-stream")
        else:
            self.reply(
                409, json.dumps({"message": "Container lab-gateway is not running"}).encode(), "application/json"
            )

    def do_GET(self) -> None:
        self.reply(200, json.dumps({"ExitCode": self.code}).encode(), "application/json")

    def reply(self, status: int, body: bytes, kind: str) -> None:
        head = f"HTTP/1.1 {status} .\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n"
        self.wfile.write(head.encode() + body)

    def log_message(self, *_: object) -> None:
        """Nothing: pytest would show it."""


@pytest.fixture
def container() -> Iterator[Container]:
    """In an engine that answers as `Engine` is told."""
    Engine.prints, Engine.code, Engine.asked = [], 0, []
    with ThreadingHTTPServer(("127.0.0.1", 0), Engine) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        client = DockerClient(f"tcp://127.0.0.1:{server.server_port}", version="1.41", timeout=5)
        try:
            yield Container(attrs={"Id": "lab-gateway", "Name": "/lab-gateway"}, client=client)
        finally:
            client.close()
            server.shutdown()


def test_what_arrives_together_with_the_head_is_not_lost(container: Container) -> None:
    Engine.prints = [[(OUT, b"first\n"), (ERR, b"a warning\n"), (OUT, b"last\n")]]
    answer = execution.run(container, ["cat", "/proc/1/status"], user="nobody")

    assert (answer.code, answer.out, answer.err) == (0, b"first\nlast\n", b"a warning\n")
    assert answer.told == "first\na warning\nlast\n"
    assert Engine.asked[0]["Cmd"] == ["cat", "/proc/1/status"]
    assert Engine.asked[0]["User"] == "nobody"


def test_the_library_s_own_way_loses_it(container: Container) -> None:
    """Once this fails, the library reads through its buffer, and `execution` may go."""
    Engine.prints = [[(OUT, b"first\n"), (OUT, b"last\n")]]

    assert container.exec_run(["true"]).output == b""


def test_a_command_that_fails_is_an_answer(container: Container) -> None:
    Engine.prints, Engine.code = [[(ERR, b"no such file")]], 1

    assert execution.run(container, ["cat", "nothing"]) == execution.Answer(1, ((ERR, b"no such file"),))


def test_what_the_engine_refuses_is_its_error(container: Container) -> None:
    with pytest.raises(APIError, match="lab-gateway is not running"):
        execution.run(container, ["true"])


def test_output_that_was_cut_is_asked_for_again(container: Container) -> None:
    Engine.prints = [[(OUT, b"half")], [(OUT, b"all of it.")]]

    assert execution.run_whole(container, ["true"], b".").out == b"all of it."


def test_output_that_is_cut_each_time_is_told(container: Container) -> None:
    Engine.prints = [[(OUT, b"half")]] * execution.ATTEMPTS

    with pytest.raises(NotReady, match=r"^lab-gateway cannot be looked into: its output was cut$"):
        execution.run_whole(container, ["true"], b".")


def test_a_command_that_the_image_lacks_is_asked_for_once(container: Container) -> None:
    Engine.prints, Engine.code = [[(ERR, b"not found")]], 127

    assert execution.run_whole(container, ["bash"], b".").code in execution.NOT_IN_THE_IMAGE
