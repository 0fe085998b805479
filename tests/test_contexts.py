"""Docker contexts: read as the Docker tools write them, and refused in one line where no engine can be used."""

from __future__ import annotations

import hashlib
import http.server
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.test_generation import LABS
from topology import cli
from topology.errors import NoEngine
from topology.runtime import contexts, engine

TWO_HOST = str(LABS / "two-host.yaml")


@pytest.fixture
def config(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Docker's folder of this test; without config.json, which `docker context create` does not write."""
    folder = tmp_path_factory.mktemp("d")
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    contexts.engine_of.cache_clear()
    return folder


def write(config: Path, name: str, host: str, *, unverified: bool = False, tls: tuple[str, ...] = ()) -> None:
    """As Docker 28 does: https://github.com/docker/cli, cli/context/store."""
    identity = hashlib.sha256(name.encode()).hexdigest()
    meta = config / "contexts" / "meta" / identity
    meta.mkdir(parents=True)
    endpoint = {"Host": host, "SkipTLSVerify": unverified}
    (meta / "meta.json").write_text(json.dumps({"Name": name, "Metadata": {}, "Endpoints": {"docker": endpoint}}))
    for file in tls:
        folder = config / "contexts" / "tls" / identity / "docker"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("")


@contextmanager
def an_engine(socket: Path, version: str, api: str) -> Iterator[None]:
    """Answers on a socket as an engine of some version does, to nobody's benefit."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"Version": version, "ApiVersion": api, "ID": "x", "Name": "y"}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def address_string(self) -> str:
            return "socket"

        def log_message(self, *_: object) -> None:
            pass

    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True

    with Server(str(socket), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def refusal(context: str) -> str:
    with pytest.raises(NoEngine) as refused:
        contexts.engine_of(context)
    return str(refused.value)


def test_a_context_is_found_as_docker_writes_it(config: Path) -> None:
    write(config, "ec3", "ssh://admin@ec3.example.com:2222")
    write(config, "tcp", "tcp://ec3.example.com:2376", tls=("ca.pem", "cert.pem", "key.pem"))

    assert contexts.read_access("ec3") == contexts.Access("ssh://admin@ec3.example.com:2222")
    found = contexts.read_access("tcp")
    assert found.host == "tcp://ec3.example.com:2376"
    assert (found.tls or Path()).parent.parent == config / "contexts" / "tls"


def test_the_default_context_is_what_the_environment_names(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://engine.example.com:2376")
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", "/certificates")
    assert contexts.read_access("default") == contexts.Access("tcp://engine.example.com:2376", Path("/certificates"))

    monkeypatch.delenv("DOCKER_HOST")
    monkeypatch.delenv("DOCKER_TLS_VERIFY")
    assert contexts.read_access("default") == contexts.Access("unix:///var/run/docker.sock")


def test_a_context_that_does_not_exist_is_told_with_those_that_do(config: Path) -> None:
    write(config, "ec3", "ssh://ec3.example.com")

    told = refusal("ec2")
    assert told.startswith("context ec2: there is no such Docker context (there are: default, ec3)")
    assert "docker context create ec2" in told


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("tcp://192.0.2.1:2375", "without TLS lets everyone on the network into that machine"),
        ("http://192.0.2.1:2375", "is none of unix://, npipe://, tcp:// with TLS, ssh://"),
        ("ssh://-oProxyCommand=x", "not an address like ssh://USER@MACHINE[:PORT]"),
        ("ssh://a b@machine", "not an address like ssh://USER@MACHINE[:PORT]"),
        ("unix:///nowhere/docker.sock", "no Docker engine answers"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused(host: str, told: str, config: Path) -> None:
    write(config, "bad", host)

    message = refusal("bad")
    assert message.startswith("context bad")
    assert told in message
    assert len(message.splitlines()) == 1


def test_a_context_that_trusts_whoever_answers_is_refused(config: Path) -> None:
    write(config, "blind", "tcp://192.0.2.1:2376", unverified=True, tls=("ca.pem",))
    assert "skip-tls-verify trusts whoever answers" in refusal("blind")


def test_a_broken_context_is_told_with_its_file(config: Path) -> None:
    write(config, "torn", "ssh://x")
    [file] = config.glob("contexts/meta/*/meta.json")
    file.write_text("{")

    assert str(file) in refusal("torn")


def test_a_machine_that_ssh_cannot_enter_is_told_in_ssh_s_words(config: Path) -> None:
    write(config, "gone", "ssh://nobody@127.0.0.1:1")

    message = refusal("gone")
    assert message.startswith("context gone (ssh://nobody@127.0.0.1:1): ssh: ")
    assert "Connection refused" in message


def test_ssh_asks_nothing_and_keeps_the_person_s_own_settings() -> None:
    """Known hosts are never switched off."""
    command = contexts.ssh_command(urlsplit("ssh://admin@ec3.example.com:2222/run/user/1000/docker.sock"), Path("/s"))

    assert command[command.index("-L") + 1] == "/s:/run/user/1000/docker.sock"
    assert command[-5:-2] == ["-p", "2222", "--"]
    assert "BatchMode=yes" in command
    assert not [word for word in command if "HostKey" in word or word == "-F"]


def test_an_engine_that_is_too_old_is_refused(config: Path) -> None:
    with an_engine(config / "s", "19.03.15", "1.40"):
        write(config, "old", f"unix://{config}/s")
        assert refusal("old").endswith(
            "its Docker engine 19.03.15 is too old; update it to 20.10 or later"
        )  # fmt: skip


def test_an_engine_that_is_new_enough_is_taken(config: Path) -> None:
    """The refusal above is not of everything."""
    with an_engine(config / "s", "20.10.24", "1.41"):
        write(config, "new", f"unix://{config}/s")
        found = contexts.engine_of("new")
        assert found.environment["DOCKER_HOST"] == f"unix://{config}/s"
        found.client.close()


def test_an_engine_that_does_not_answer_is_not_waited_for(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "ANSWER_SECONDS", 0.2)
    with socketserver.UnixStreamServer(str(config / "s"), http.server.BaseHTTPRequestHandler):
        write(config, "silent", f"unix://{config}/s")
        assert "timed out" in refusal("silent")


@pytest.mark.parametrize("context", ["nowhere", "silent", "old"])
def test_deploying_there_is_exit_3_one_line_and_changes_nothing(
    context: str, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "ANSWER_SECONDS", 0.2)
    write(config, "silent", f"unix://{config}/silent")
    write(config, "old", f"unix://{config}/old")
    command = ["deploy", "server", TWO_HOST, "--context", context, "--address", "192.0.2.10", "--out", str(tmp_path)]
    with (
        an_engine(config / "old", "19.03.15", "1.40"),
        socketserver.UnixStreamServer(str(config / "silent"), http.server.BaseHTTPRequestHandler),
    ):
        assert cli.main(command) == 3
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"context {context}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["server"], "--context is missing"),
        (["sever", "--context", "default"], "sever: no such host in the topology; there are server, client"),
        (["server", "--context", "default", "--address", "ec3"], "--address ec3: not an IPv4 address"),
        (["server", "--context", "default", "--address", "::1"], "--address ::1: not an IPv4 address"),
        (["server", "--context", "default"], "ec3.lab.test (host server) does not resolve here"),
        (["server", "--context", "default", "--address", "192.0.2.1", "--bind", "all"], "--bind all: not an IPv4"),
    ],
)
def test_a_mistyped_deployment_is_exit_2(
    words: list[str], told: str, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["deploy", words[0], TWO_HOST, *words[1:], "--out", str(tmp_path)]) == 2
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
