"""Probes against real TLS servers on loopback, and the judgement of what came back."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.test_generation import LABS
from topology.description import loading
from topology.errors import InvalidInput, NotReady
from topology.generation import certificates, planning
from topology.proof import checking, expectation, probing
from topology.proof.expectation import Check
from topology.proof.probing import Observation
from topology.report import matrix
from topology.runtime.running import Endpoint, RunningLab

DESCRIPTION = loading.load(LABS / "two-host.yaml")
CHECKS = expectation.checks(DESCRIPTION.topology)
NOW = datetime.now(UTC)


def lab(pki: Path, port: int | None) -> RunningLab:
    endpoints = {host: Endpoint("127.0.0.1", port, port) for host in ("server", "client")}
    return RunningLab(DESCRIPTION.topology, None, endpoints, pki / "authorities", pki / "identities")


@contextmanager
def gateway(pki: Path, host: str = "server", verify: ssl.VerifyMode = ssl.CERT_NONE) -> Iterator[int]:
    """A TLS server with a host's certificate: 200 to callers with a certificate, 403 to others."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shown = self.connection.getpeercert()  # type: ignore[attr-defined]
            self.send_response(200 if shown else 403)
            self.end_headers()
            self.wfile.write(json.dumps({"host": self.headers["Host"], "shown": bool(shown)}).encode())

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(http.server.ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            pass

    server = Quiet(("127.0.0.1", 0), Handler)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pki / host / "certificates" / "server.pem", pki / host / "certificates" / "server.key")
    context.load_verify_locations(pki / "authorities" / "server_ca" / "certificate.pem")
    context.verify_mode = verify
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def check(caller: str, tls: str = "1.3", route: str = "/mtls/") -> Check:
    return next(c for c in CHECKS if (c.host, c.route, c.caller, c.tls) == ("server", route, caller, tls))


def observe(pki: Path, port: int | None, one: Check) -> Observation:
    running = lab(pki, port)
    with probing.credentials((one,), running, NOW) as shown:
        return probing.probe(one, running, shown)


@pytest.mark.parametrize("tls", ["1.2", "1.3"])
@pytest.mark.parametrize(("caller", "status"), [("none", 403), ("bro", 200)])
def test_a_probe_shows_what_it_should_and_reads_the_status(pki: Path, caller: str, status: int, tls: str) -> None:
    with gateway(pki, verify=ssl.CERT_OPTIONAL) as port:
        observation = observe(pki, port, check(caller, tls))

    assert observation.status == status
    assert json.loads(observation.detail) == {"host": f"ec3.lab.test:{port}", "shown": caller == "bro"}


@pytest.mark.parametrize("caller", ["bro-expired", "bro-other-authority", "bro-self-signed", "bro-wrong-purpose"])
def test_a_refused_handshake_is_an_observation(pki: Path, caller: str) -> None:
    """Python's server refuses a bad certificate inside TLS, where nginx answers 400."""
    with gateway(pki, verify=ssl.CERT_REQUIRED) as port:
        observation = observe(pki, port, check(caller, "1.2"))

    assert observation.status is None
    assert observation.failure in ("handshake refused", "connection reset")


def test_a_server_with_another_name_is_not_spoken_to(pki: Path) -> None:
    """The client's certificate in the server's place."""
    with gateway(pki, host="client") as port:
        observation = observe(pki, port, check("none"))

    assert (observation.status, observation.failure) == (None, "server certificate refused")


def test_a_server_of_another_authority_is_not_spoken_to(pki: Path, tmp_path: Path) -> None:
    other = certificates.issue(planning.wanted_certificates(DESCRIPTION), {}, NOW).files
    for path, content in other.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    with gateway(tmp_path) as port:
        observation = observe(pki, port, check("none"))

    assert (observation.status, observation.failure) == (None, "server certificate refused")


def test_a_closed_port_is_an_observation(pki: Path) -> None:
    assert observe(pki, 1, check("none")).failure == "no connection"


def test_a_port_that_is_not_published_is_an_observation(pki: Path) -> None:
    assert observe(pki, None, check("none")).failure == "not published"


def test_certificates_that_are_not_there_are_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match=r"identities/bro has no certificate and key; run `mtls-lab up`"):
        observe(tmp_path, 1, check("bro"))
    with pytest.raises(NotReady, match=r"authorities/server_ca: the authority cannot be read"):
        observe(tmp_path, 1, check("bro-expired"))


def test_keys_that_are_shown_are_gone_afterwards_and_readable_by_nobody_else(pki: Path) -> None:
    one = check("bro-expired")
    with probing.credentials((one,), lab(pki, 1), NOW) as shown:
        key = shown[one.shown].key
        assert key.stat().st_mode & 0o077 == 0
    assert not key.exists()


# Judgement


def judged(one: Check, status: int | None, failure: str = "") -> checking.Verdict:
    return checking.Verdict(one, Observation(status, failure, "said so", "id-1", 0.1))


def test_a_cell_is_as_expected_or_it_is_wrong() -> None:
    assert judged(check("none"), 403).ok
    assert not judged(check("none"), 200).ok
    assert not judged(check("none"), None, "handshake refused").ok


def test_a_wrong_cell_is_marked_and_explained() -> None:
    """Not by colour alone; with the rule, and the request's id."""
    right, wrong = judged(check("none", "1.2"), 403), judged(check("none", "1.3"), 200)

    assert matrix.cell([right, wrong]).plain == "1.2: 403\n1.3: ✗ 200 (expected 403)"
    assert "answers 403 to a caller that shows none" in matrix.explained(wrong)
    assert "id-1" in matrix.explained(wrong)


def test_the_json_has_the_contract_s_fields() -> None:
    cells = matrix.as_json([judged(check("none"), 200)])

    assert {
        "host": "server", "route": "/mtls/", "caller": "none", "via": "direct", "tls": "1.3",
        "expected": 403, "observed": 200, "ok": False,
    }.items() <= cells[0].items()  # fmt: skip


def test_the_junit_report_counts_the_wrong_ones() -> None:
    suite = ElementTree.fromstring(matrix.junit([judged(check("none"), 200), judged(check("bro"), 200)]))

    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert len(suite.findall("testcase/failure")) == 1


@pytest.mark.parametrize(
    ("pattern", "count"), [("server /mtls/*", 16), ("*expired*", 12), ("/boot/ bro 200", 2), ("*", 96)]
)
def test_a_pattern_chooses_cells(pattern: str, count: int) -> None:
    assert len(checking.select(CHECKS, pattern)) == count


def test_a_pattern_without_a_cell_is_bad_input() -> None:
    """Nothing checked is not everything fine."""
    with pytest.raises(InvalidInput, match="matches no cell; an id looks like"):
        checking.select(CHECKS, "nowhere")


def test_waiting_ends_at_once_where_a_refusal_stands_instead_of_an_answer(
    pki: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 403 is no service that is still starting."""
    monkeypatch.setattr(checking, "run", lambda checks, _: tuple(judged(one, 403) for one in checks))
    began = time.monotonic()

    with pytest.raises(NotReady, match="answers 403 instead of 200"):
        checking.wait_until_served(lab(pki, 1), began + 60, lambda: None, lambda _: None)
    assert time.monotonic() - began < 5


def test_waiting_goes_on_while_services_start(pki: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([502, 404, 200])
    monkeypatch.setattr(
        checking, "run", lambda checks, _: tuple(judged(one, status) for status in [next(answers)] for one in checks)
    )
    told: list[str] = []

    checking.wait_until_served(lab(pki, 1), time.monotonic() + 60, lambda: None, told.append)

    assert len(told) == 6


def test_waiting_stops_when_the_alarm_is_raised(pki: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "run", lambda checks, _: tuple(judged(one, 502) for one in checks))

    def alarm() -> None:
        raise NotReady("boot died")

    with pytest.raises(NotReady, match="boot died"):
        checking.wait_until_served(lab(pki, 1), time.monotonic() + 60, alarm, lambda _: None)


def test_a_table_fits_the_width_that_there_is() -> None:
    """Routes that do not fit side by side stand below each other."""
    verdicts = [judged(replace(one, route=f"/{one.route.strip('/')}-of-some-length/"), one.expected) for one in CHECKS]

    assert len(list(matrix.tables("client", [v for v in verdicts if v.check.host == "client"], 200))) == 1
    assert len(list(matrix.tables("client", [v for v in verdicts if v.check.host == "client"], 60))) > 1
