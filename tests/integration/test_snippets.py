"""What `mtls-lab snippet` prints runs as printed, in every language, against a running lab."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.integration import containers
from tests.integration.conftest import eventually
from tests.integration.containers import Ended
from topology import cli
from topology.description import catalog
from topology.pytest_plugin import TestedLab
from topology.report import snippets

pytestmark = pytest.mark.integration

CLIENTS = Path(__file__).parent / "clients"
ON_THIS_MACHINE = {"curl": "sh", "python": sys.executable, "httpx": sys.executable}
IMAGES = {
    "java": ("client-java", CLIENTS / "java"),
    "spring": ("client-java", CLIENTS / "java"),
    "webclient": ("client-java", CLIENTS / "java"),
    "go": ("client-go", CLIENTS / "go"),
    "node": ("node", catalog.shipped_services() / "node"),
    "nginx": ("gateway", catalog.shipped_services() / "gateway"),
}
"""Language -> what runs it: an image, and the folder that it is built from."""

START_SECONDS = 20

EVERY = pytest.mark.parametrize("language", snippets.LANGUAGES)


Snippet = Callable[..., str]


@pytest.fixture
def snippet(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Snippet:
    """What the command prints for a running lab; paths in it are relative to the folder of its stacks."""

    def printed(tested: TestedLab, language: str, *options: str) -> str:
        lab = tested.lab
        monkeypatch.chdir(lab.out)
        arguments = [language, str(lab.description.file), "--out", str(lab.out), "--instance", str(lab.instance)]
        assert cli.main(["snippet", *arguments, *options]) == 0
        told = capsys.readouterr()
        assert told.err == ""
        assert str(lab.out) not in told.out
        return told.out

    return printed


def status(tested: TestedLab, language: str, code: str, folder: Path) -> int | str:
    """Runs a snippet and returns the status that it was answered with; where there was none, what it said."""
    if language == "nginx":
        return status_through_nginx(tested, code, folder)
    done = ended(tested, language, code, folder)
    if language == "curl":
        refused = re.search(r"returned error: ([0-9]{3})", done.err)
        return int(refused.group(1)) if refused else 200 if done.code == 0 else done.err
    answered = re.match(r"([0-9]{3}) ", done.out)
    return int(answered.group(1)) if answered and done.code == 0 else done.out + done.err


def ended(tested: TestedLab, language: str, code: str, folder: Path) -> Ended:
    described = snippets.LANGUAGES[language]
    file = folder / described.file
    file.write_text(code)
    if language in ON_THIS_MACHINE:
        done = subprocess.run(
            [ON_THIS_MACHINE[language], str(file)],
            cwd=tested.lab.out, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        return Ended(done.returncode, done.stdout, done.stderr)
    return containers.run(
        containers.built(*IMAGES[language]),
        ["sh", "-c", described.run],
        **beside(tested, file),
    )


def status_through_nginx(tested: TestedLab, code: str, folder: Path) -> int | str:
    """nginx attaches the certificate for a caller in plain HTTP, on a port that is free here."""
    described = snippets.LANGUAGES["nginx"]
    file = folder / described.file
    port = free_port()
    assert snippets.LISTEN in code
    file.write_text(code.replace(snippets.LISTEN, f"127.0.0.1:{port}"))
    with containers.started(
        containers.built(*IMAGES["nginx"]),
        ["sh", "-c", described.run],
        **beside(tested, file),
        cap_add=["CHOWN", "SETGID", "SETUID"],  # where this user is root, nginx hands its work to somebody else
    ) as nginx:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                with requests.Session() as session:
                    session.trust_env = False
                    answer = session.get(f"http://127.0.0.1:{port}/mtls/health", timeout=10)
            except requests.ConnectionError:
                nginx.reload()
                if nginx.status == "exited":
                    break
                time.sleep(0.05)
                continue
            if answer.status_code != 502:
                return answer.status_code
            # What nginx says by itself is no answer of the lab's; the engine may have its reason a little later.
            eventually(lambda: re.search(rb"\[(error|crit)\]", nginx.logs()) is not None)
            return str(nginx.logs().decode())
        return str(nginx.logs().decode())


def beside(tested: TestedLab, file: Path) -> dict[str, Any]:
    """What the lab hands out and the snippet, as they lie in the folder of the stacks, on this machine's network."""
    seen = {path: path.relative_to(tested.lab.folder.parent) for path in containers.handed_out(tested)}
    seen[file] = Path(file.name)
    return {
        "volumes": {str(path): {"bind": f"/call/{place}", "mode": "ro"} for path, place in seen.items()},
        "working_dir": "/call",
        "network_mode": "host",
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@EVERY
def test_a_snippet_gets_in_with_the_identity(lab: TestedLab, language: str, tmp_path: Path, snippet: Snippet) -> None:
    code = snippet(lab, language, "--host", "server", "--as", "bro")

    assert status(lab, language, code, tmp_path) == 200


@EVERY
def test_the_same_snippet_is_refused_without_it(
    lab: TestedLab, language: str, tmp_path: Path, snippet: Snippet
) -> None:
    code = snippet(lab, language, "--host", "server", "--route", "/mtls/")

    assert status(lab, language, code, tmp_path) == 403


@EVERY
def test_a_snippet_does_not_talk_to_a_server_of_another_authority(
    lab: TestedLab, language: str, tmp_path: Path, snippet: Snippet
) -> None:
    """Each verifies whom it talks to: with the clients' authority in the place of the servers', nothing is said."""
    code = snippet(lab, language, "--host", "server", "--as", "bro")
    deceived = code.replace("/ssl_ca/", "/server_ca/")
    assert deceived != code

    said = status(lab, language, deceived, tmp_path)
    assert isinstance(said, str)
    assert re.search(r"certificat|PKIX|SSL", said, re.IGNORECASE), said


@pytest.mark.parametrize(("options", "expected"), [((), 400), (("--as", "bro"), 200)])
def test_a_gateway_that_demands_a_certificate_of_everybody(
    pro_dev: TestedLab,
    options: tuple[str, ...],
    expected: int,
    tmp_path: Path,
    snippet: Snippet,
) -> None:
    code = snippet(pro_dev, "python", "--host", "pro", "--route", "/greet/danish", *options)

    assert status(pro_dev, "python", code, tmp_path) == expected


@pytest.mark.parametrize("language", ["curl", "python", "httpx", "node"])
def test_a_host_in_plain_http(pro_dev: TestedLab, language: str, tmp_path: Path, snippet: Snippet) -> None:
    """The laptop's nginx attaches the certificate."""
    code = snippet(pro_dev, language, "--host", "laptop")

    assert "https:" not in code
    assert status(pro_dev, language, code, tmp_path) == 200


@pytest.mark.parametrize("language", ["curl", "httpx", "java"])
def test_a_service_with_tls_of_its_own(node_tls: TestedLab, language: str, tmp_path: Path, snippet: Snippet) -> None:
    code = snippet(node_tls, language, "--host", "strict", "--route", ":3300/greet/danish", "--as", "laptop")

    assert status(node_tls, language, code, tmp_path) == 200
