"""`mtls-lab logs` of a real lab: one request's way through two gateways, and what comes while it is followed."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from typing import Any

import pytest

from tests.integration.conftest import ask, eventually
from topology import cli
from topology.pytest_plugin import TestedLab

pytestmark = pytest.mark.integration


def words(tested: TestedLab, *more: str) -> list[str]:
    lab = tested.lab
    file = str(lab.description.file)
    return ["logs", *more, file, "--out", str(lab.out), "--instance", str(lab.instance)]


def logged(tested: TestedLab, capsys: pytest.CaptureFixture[str], *more: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert cli.main(words(tested, *more, "--json")) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def request_through_both(tested: TestedLab) -> str:
    """The id of a request from the laptop's gateway to the other one."""
    request = secrets.token_hex(16)
    answer = ask(tested, "laptop", "/pro-dev-proxy/health", scheme="http", headers={"X-Request-ID": request})
    assert answer.status_code == 200, answer.text
    return request


def test_one_request_s_way_through_two_gateways(pro_dev: TestedLab, capsys: pytest.CaptureFixture[str]) -> None:
    request = request_through_both(pro_dev)
    gateways: list[dict[str, Any]] = []

    def both_have_logged() -> bool:
        capsys.readouterr()
        cli.main(words(pro_dev, "--request", request, "--json"))
        gateways[:] = [line for line in map(json.loads, capsys.readouterr().out.splitlines()) if line["access"]]
        return len(gateways) == 2

    eventually(both_have_logged)
    assert [line["host"] for line in gateways] == ["laptop", "pro"], "first the one that was asked first"
    assert {line["access"]["request_id"] for line in gateways} == {request}
    assert [line["access"]["client_verify"] for line in gateways][1] == "SUCCESS"

    cli.main(words(pro_dev, "--request", request))
    first, second = [line for line in capsys.readouterr().out.splitlines() if "/gateway" in line]
    assert "laptop/gateway" in first
    assert " 200  nobody  http " in first
    assert "pro/gateway" in second
    assert " 200  CN=" in second


def test_lines_come_in_the_order_of_time_and_of_whom_they_are_asked(
    pro_dev: TestedLab, capsys: pytest.CaptureFixture[str]
) -> None:
    request_through_both(pro_dev)
    everything = logged(pro_dev, capsys)
    times = [line["time"] for line in everything]

    assert times == sorted(times)
    assert {line["host"] for line in everything} == {"laptop", "pro"}
    assert {line["service"] for line in logged(pro_dev, capsys, "pro/gateway")} == {"gateway"}
    assert logged(pro_dev, capsys, "--since", "2099-01-01") == []


def read_until_both_logged(following: subprocess.Popen[str], request: str) -> None:
    """Reads what is followed until both gateways have told of a request."""
    assert following.stdout is not None
    missing = {"laptop", "pro"}
    while missing:
        line = json.loads(following.stdout.readline())
        if line["access"] and line["access"]["request_id"] == request:
            missing.discard(line["host"])


def test_following_shows_requests_as_they_come_and_ends_with_130_when_interrupted(pro_dev: TestedLab) -> None:
    command = [sys.executable, "-m", "topology", *words(pro_dev, "--follow", "--json", "--since", "1s")]
    following = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        for _ in range(3):
            read_until_both_logged(following, request_through_both(pro_dev))
        os.kill(following.pid, signal.SIGINT)
        _, complaint = following.communicate(timeout=10)
    finally:
        following.kill()
        following.communicate()
    assert (following.returncode, complaint) == (130, "interrupted\n")
