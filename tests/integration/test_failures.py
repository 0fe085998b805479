"""A start that fails says which container and why, and leaves nothing behind."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from topology import cli
from topology.description.loading import load
from topology.runtime import engine, looking
from topology.runtime.lab import Lab, label_filters

pytestmark = pytest.mark.integration

TOPOLOGY = """
name: failing
authorities:
  ssl_ca: {}
hosts:
  web:
    domain: web.failing.test
    PUBLISH
    services:
      broken: {build: broken, port: 8080, health: /health}
    routes:
      /broken/: {service: broken}
"""


@pytest.fixture(scope="module", autouse=True)
def no_images_left() -> Iterator[None]:
    """Whatever these tests build goes with them."""
    yield
    client = engine.connect()
    for image in client.images.list("mtls-lab/failing-broken"):
        client.images.remove(image.id, force=True)


def folder(path: Path, command: str, publish: str = "publish: {}") -> Path:
    """A topology whose one service does what the given command does."""
    (path / "broken").mkdir()
    (path / "broken" / "Dockerfile").write_text(f"ARG BASE=debian:trixie-slim\nFROM ${{BASE}}\nCMD {command}\n")
    file = path / "topology.yaml"
    file.write_text(TOPOLOGY.replace("PUBLISH", publish))
    return file


def left_behind(file: Path, out: Path) -> tuple[list[str], list[str]]:
    client = engine.connect()
    lab = Lab(load(file), out, "failing")
    networks = client.networks.list(filters={"label": label_filters(lab)})
    return [str(c.name) for c in looking.containers(client, lab)], [str(n.name) for n in networks]


def up(file: Path, out: Path, *options: str) -> int:
    return cli.main(["up", str(file), "--out", str(out), "--instance", "failing", *options])


def test_a_service_that_dies_is_named_with_its_last_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder(tmp_path, "echo the disk caught fire >&2; exit 7")

    assert up(file, tmp_path / "compose") == 4
    told = capsys.readouterr().err
    assert "failing-web-failing-broken-1: " in told
    assert "exit code 7" in told
    assert "the disk caught fire" in told
    assert "Traceback" not in told
    assert left_behind(file, tmp_path / "compose") == ([], [])


def test_a_service_whose_health_check_fails_is_named_with_what_the_check_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its own HEALTHCHECK, as the author's image has it."""
    file = folder(
        tmp_path,
        "sleep 600\nHEALTHCHECK --interval=1s --retries=1 CMD echo no answer from the database; exit 1",
    )

    assert up(file, tmp_path / "compose") == 4
    told = capsys.readouterr().err
    assert "unhealthy" in told
    assert "no answer from the database" in told
    assert left_behind(file, tmp_path / "compose") == ([], [])


def test_an_image_that_cannot_be_built_shows_the_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder(tmp_path, "sleep 600\nRUN echo compiling; echo line 7: syntax error >&2; exit 3")

    assert up(file, tmp_path / "compose") == 4
    told = capsys.readouterr().err
    assert "mtls-lab/failing-broken:" in told
    assert "line 7: syntax error" in told
    assert left_behind(file, tmp_path / "compose") == ([], [])


def test_a_taken_port_is_named_before_anything_is_started(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        file = folder(tmp_path, "sleep 600", publish=f"publish: {{https: {port}}}")

        assert up(file, tmp_path / "compose") == 4

    assert f"127.0.0.1:{port} is taken (hosts.web.publish.https)" in capsys.readouterr().err
    assert left_behind(file, tmp_path / "compose") == ([], [])


def test_what_the_environment_lacks_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder(tmp_path, "sleep 600")
    text = file.read_text().replace("health: /health}", "health: /health, environment: {TOKEN: {from_env: LAB_TOKEN}}}")
    file.write_text(text)

    assert up(file, tmp_path / "compose") == 2
    assert "take LAB_TOKEN from the environment; set it there" in capsys.readouterr().err


def test_a_lab_that_is_down_cannot_be_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder(tmp_path, "sleep 600")

    assert cli.main(["check", str(file), "--out", str(tmp_path / "compose"), "--instance", "failing"]) == 4
    assert "is not up; run `mtls-lab up` first" in capsys.readouterr().err


def test_taking_down_what_is_not_up_is_fine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder(tmp_path, "sleep 600")

    assert cli.main(["down", str(file), "--out", str(tmp_path / "compose"), "--instance", "failing"]) == 0
    assert "failing was not up" in capsys.readouterr().out
