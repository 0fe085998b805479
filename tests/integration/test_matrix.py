"""Every caller on every route of the running labs, and the mission's three answers in plain words."""

from __future__ import annotations

import shlex
import subprocess

import pytest

from tests.integration.conftest import ask
from topology.proof import checking
from topology.proof.expectation import Check
from topology.pytest_plugin import TestedLab
from topology.report import addresses, matrix

pytestmark = pytest.mark.integration


def test_every_caller_gets_the_answer_that_follows_from_the_topology(lab: TestedLab, cell: Check) -> None:
    """One item for each cell of the two-host lab's matrix."""
    lab.verify(cell)


OTHERS = ["pro_dev", "guarded", "terminated", "node_tls", "tls_only", "two_companies", "applications"]


@pytest.mark.parametrize("name", OTHERS)
def test_every_cell_of_the_other_labs_is_as_expected(name: str, request: pytest.FixtureRequest) -> None:
    """`verify: always`, plain hosts, several authorities, intermediates, lists, internal routes, chains of gateways;
    services with TLS of their own, files, applications, two companies."""
    tested: TestedLab = request.getfixturevalue(name)

    verdicts = checking.run(tested.checks, tested.running)

    assert [matrix.explained(verdict) for verdict in verdicts if not verdict.ok] == []
    assert len(verdicts) >= (2 if name == "terminated" else 10)


def test_400_without_a_certificate_where_the_gateway_insists_on_one(pro_dev: TestedLab) -> None:
    """`verify: always`: nobody gets past the gateway without a certificate."""
    answer = ask(pro_dev, "pro", "/greet/danish")

    assert answer.status_code == 400
    assert "No required SSL certificate was sent" in answer.text


def test_403_without_a_certificate_where_the_route_requires_one(lab: TestedLab) -> None:
    """`/mtls/` is closed to a caller without a certificate, and `/boot/` beside it is open to everybody."""
    assert ask(lab, "server", "/mtls/health").status_code == 403
    assert ask(lab, "server", "/boot/health").status_code == 200


def test_success_with_a_certificate_and_through_the_egress_proxy_that_attaches_it(lab: TestedLab) -> None:
    """`bro` gets in; and an application gets in without any certificate, by way of its own gateway."""
    direct = ask(lab, "server", "/mtls/greet/danish", "bro")
    through_egress = ask(lab, "client", "/mtls/greet/danish")

    assert (direct.status_code, direct.json()["greeting"]) == (200, "Hello, danish")
    assert (through_egress.status_code, through_egress.json()) == (200, direct.json())


def test_success_in_plain_http_on_the_laptop_s_side(pro_dev: TestedLab) -> None:
    """The laptop's proxy speaks plain HTTP to its caller and mutual TLS to `pro`."""
    answer = ask(pro_dev, "laptop", "/pro-dev-proxy/greet/danish")

    assert (answer.status_code, answer.json()["greeting"]) == (200, "Hello, danish")


def test_the_printed_curl_lines_work_when_pasted(lab: TestedLab) -> None:
    """Verified, as an identity where one is needed: exactly as `up` prints them."""
    lines = addresses.curl_lines(lab.running)

    assert len(lines) == 6
    for _, line in lines:
        done = subprocess.run([*shlex.split(line), "--fail", "--silent"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, line
        assert "ok" in done.stdout
