"""Requests that no client library makes, against real servers on loopback that do right and that do wrong."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import pytest

from tests.test_generation import LABS
from topology.description import loading
from topology.proof import checking, expected_requests, probing, requesting
from topology.proof.checking import Verdict
from topology.proof.expectation import Check
from topology.proof.probing import Observation
from topology.proof.request_kinds import CLOSED
from topology.runtime.running import Endpoint, RunningLab

DESCRIPTION = loading.load(LABS / "two-host.yaml")
CHECKS = expected_requests.checks(DESCRIPTION.topology)
NOW = datetime.now(UTC)
ALLOW_CLIENT_RENEGOTIATION = 1 << 8
"""OpenSSL's SSL_OP_ALLOW_CLIENT_RENEGOTIATION."""

Serve = Callable[[socket.socket], None]


def tls(pki: Path) -> ssl.SSLContext:
    """As the two-host lab's server shows itself; sessions are not resumed."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(
        pki / "server" / "certificates" / "server.pem", pki / "server" / "certificates" / "server.key"
    )
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    context.set_alpn_protocols(["h2"])
    return context


@contextmanager
def server(serve: Serve, context: ssl.SSLContext | None) -> Iterator[int]:
    """Serves each connection in a thread of its own."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def one(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, h2.exceptions.ProtocolError):
            if context is None:
                serve(connection)
            else:
                with context.wrap_socket(connection, server_side=True) as encrypted:
                    serve(encrypted)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.settimeout(10)
                threads.append(threading.Thread(target=one, args=(connection,)))
                threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in (accepting, *threads):
            thread.join()


def check(request: str, route: str = "/boot/", caller: str = "none") -> Check:
    wanted = ("server", route, caller, request)
    return next(c for c in CHECKS if (c.host, c.route, c.caller, c.request) == wanted)


def observe(pki: Path, one: Check, serve: Serve, context: ssl.SSLContext | None) -> Observation:
    with server(serve, context) as port:
        endpoints = {host: Endpoint("127.0.0.1", port, port) for host in ("server", "client")}
        lab = RunningLab(DESCRIPTION.topology, None, endpoints, pki / "authorities", pki / "identities")
        with probing.credentials((one,), lab, NOW) as shown:
            return requesting.probe(one, lab, shown)


# Servers


def answer(status: int, body: bytes = b"", *, close: bool = False) -> bytes:
    ending = b"Connection: close\r\n" if close else b""
    return b"HTTP/1.1 %d Word\r\nContent-Length: %d\r\n%s\r\n%s" % (status, len(body), ending, body)


def heads(connection: socket.socket) -> Iterator[bytes]:
    """The heads of the requests on a connection; what precedes an empty line is one."""
    received = b""
    while True:
        while b"\r\n\r\n" not in received:
            chunk = connection.recv(65536)
            if not chunk:
                return
            received += chunk
        head, _, received = received.partition(b"\r\n\r\n")
        yield head


def answering(*statuses: int) -> Serve:
    """One answer to each request, and the last one ends the connection."""

    def serve(connection: socket.socket) -> None:
        for number, _ in enumerate(heads(connection), 1):
            connection.sendall(answer(statuses[number - 1], close=number == len(statuses)))
            if number == len(statuses):
                return

    return serve


def witness(change: Callable[[dict[str, str]], None] = lambda _: None, *, verified: str = "NONE") -> Serve:
    """A gateway and its service in one: `/whoami` says what it saw, after a change to that."""

    def serve(connection: socket.socket) -> None:
        for head in heads(connection):
            lines = head.decode().splitlines()
            seen = {"x-ssl-client-verify": verified, "x-forwarded-prefix": "/boot"}
            for name, value in (line.split(": ", 1) for line in lines[1:] if ": " in line):
                seen.setdefault(f"caller-{name.lower()}", value)
            change(seen)
            known = {name: value for name, value in seen.items() if not name.startswith("caller-")}
            told = json.dumps({"service": "boot", "headers": known}).encode()
            last = "Connection: close" in lines
            connection.sendall(answer(200, told if "/whoami" in lines[0] else b"", close=last))
            if last:
                return

    return serve


def over_http_2(reply: Callable[[h2.connection.H2Connection, int], None]) -> Serve:
    """Answers streams once all that were announced have come; the first alone where there is no other."""

    def serve(connection: socket.socket) -> None:
        protocol = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, validate_inbound_headers=False)
        )
        protocol.initiate_connection()
        connection.sendall(protocol.data_to_send())
        while data := connection.recv(65536):
            for event in protocol.receive_data(data):
                if isinstance(event, h2.events.RequestReceived) and event.stream_id is not None:
                    reply(protocol, event.stream_id)
            connection.sendall(protocol.data_to_send())

    return serve


def status_2(protocol: h2.connection.H2Connection, number: int) -> None:
    protocol.send_headers(number, [(":status", "200")], end_stream=True)


# HTTP


def test_a_status_is_observed(pki: Path) -> None:
    observation = observe(pki, check("HTTP/1.0"), answering(200), tls(pki))

    assert (observation.status, observation.failure) == (200, "")


def test_each_request_carries_an_id_of_its_own(pki: Path) -> None:
    """It finds the request in the gateways' logs."""
    heard: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        heard.append(next(heads(connection)))
        connection.sendall(answer(200, close=True))

    observation = observe(pki, check("HTTP/1.0"), serve, tls(pki))

    assert f"X-Request-ID: {observation.request_id}".encode() in heard[0]


@pytest.mark.parametrize(
    ("request_", "statuses", "status"),
    [
        ("pipelined behind another route", (403, 200), 200),
        ("pipelined before another route", (403, 200), 403),
    ],
)
def test_of_pipelined_answers_the_right_one_counts(
    pki: Path, request_: str, statuses: tuple[int, ...], status: int
) -> None:
    assert observe(pki, check(request_), answering(*statuses), tls(pki)).status == status


def test_an_answer_too_many_is_told(pki: Path) -> None:
    """The request that was hidden in a body was taken for one."""
    observation = observe(pki, check("request in the body of another"), answering(200, 200, 200), tls(pki))

    assert (observation.status, observation.failure) == (None, "3 answers to 2 requests")


def test_an_answer_too_few_is_told(pki: Path) -> None:
    observation = observe(pki, check("pipelined behind another route"), answering(200), tls(pki))

    assert (observation.status, observation.failure) == (None, "connection closed")


@pytest.mark.parametrize(("page", "status"), [(b"<title>421 Misdirected Request</title>", 421), (b"welcome", 200)])
def test_an_answer_without_a_status_line_has_a_status(pki: Path, page: bytes, status: int) -> None:
    """HTTP/0.9: nginx's own pages name it, and anything else is what was asked for."""

    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(page)

    assert observe(pki, check("HTTP/0.9"), serve, tls(pki)).status == status


@pytest.mark.parametrize("begun", [b"", b"4\r\nwo", b"zz\r\n"])
def test_an_answer_that_breaks_off_still_has_its_status(pki: Path, begun: bytes) -> None:
    """An application that does not know a method may hang up while the gateway passes its answer on."""

    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n" + begun)

    one = check("method UNHEARD-OF")

    assert Verdict(one, observe(pki, one, serve, tls(pki))).ok


def test_a_body_that_is_waited_for_is_told_at_once(pki: Path) -> None:
    """A gateway that would take it says so, and nobody sends it."""

    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.recv(65536)

    assert observe(pki, check("body beyond 10 MB"), serve, tls(pki)).failure == "asked to go on"


def test_headers_that_never_end_are_cut_off_or_not(pki: Path) -> None:
    def cut(connection: socket.socket) -> None:
        connection.recv(65536)

    slow = check("headers that never end")

    assert Verdict(slow, observe(pki, slow, cut, tls(pki))).ok
    assert slow.expected == CLOSED

    def patient(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(answer(200, close=True))

    assert not Verdict(slow, observe(pki, slow, patient, tls(pki))).ok


def test_what_is_no_http_is_told(pki: Path) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 what\r\n\r\n")

    assert observe(pki, check("HTTP/1.0"), serve, tls(pki)).failure == "no HTTP"


def test_a_closed_port_is_an_observation(pki: Path) -> None:
    endpoints = {host: Endpoint("127.0.0.1", 1, 1) for host in ("server", "client")}
    lab = RunningLab(DESCRIPTION.topology, None, endpoints, pki / "authorities", pki / "identities")

    for request in ("HTTP/1.0", "HTTP/2", "TLS 1.0", "renegotiation", "resumed session, TLS 1.3", "plain port"):
        assert requesting.probe(check(request), lab, {}).failure == "no connection", request


# Witnesses


def test_a_service_that_saw_the_truth_is_believed(pki: Path) -> None:
    assert observe(pki, check("forged identity, whole"), witness(), tls(pki)).status == 200


def leak(name: str) -> Callable[[dict[str, str]], None]:
    """A gateway that lets a caller's header pass."""

    def change(seen: dict[str, str]) -> None:
        if (value := seen.get(f"caller-{name}")) is not None:
            seen[name] = value

    return change


LEAKS = [
    ("forged X-SSL-Client-Verify", "x-ssl-client-verify"),
    ("forged X-SSL-Client-Verify, small letters", "x-ssl-client-verify"),
    ("forged X_SSL_Client_Verify", "x_ssl_client_verify"),
    ("forged X_SSL_Client_S_DN", "x_ssl_client_s_dn"),
    ("forged X-SSL-Client-S-DN", "x-ssl-client-s-dn"),
    ("forged X-SSL-Client-I-DN", "x-ssl-client-i-dn"),
    ("forged serial and fingerprint", "x-ssl-client-fingerprint"),
    ("forged X-SSL-Client-Cert", "x-client-cert"),
    ("forged X-Forwarded-Client-Cert", "x-forwarded-client-cert"),
    ("forged Client-Cert (RFC 9440)", "client-cert"),
    ("forged ssl-client-* (ingress-nginx)", "ssl-client-verify"),
    ("forged X-Forwarded-Tls-Client-Cert (Traefik)", "x-forwarded-tls-client-cert"),
    ("forged X-SSL-Client-CN (HAProxy)", "x-ssl-client-cn"),
    ("forged certificate (AWS, Azure)", "x-arr-clientcert"),
    ("forged X-Forwarded-*", "x-forwarded-for"),
]


@pytest.mark.parametrize(("request_", "header"), LEAKS, ids=[request for request, _ in LEAKS])
def test_a_forged_header_that_passes_is_found(pki: Path, request_: str, header: str) -> None:
    one = check(request_)
    observation = observe(pki, one, witness(leak(header)), tls(pki))

    assert not Verdict(one, observation).ok
    assert "the service saw" in observation.failure


def test_a_gateway_whose_own_headers_are_taken_out_on_the_way_is_found(pki: Path) -> None:
    """The caller named them in Connection, as if they were for one hop alone."""
    observation = observe(
        pki,
        check("forged identity named in Connection"),
        witness(lambda seen: seen.pop("x-ssl-client-verify", None)),
        tls(pki),
    )

    assert "no x-ssl-client-verify" in observation.failure


def test_a_trick_that_leads_to_another_route_s_service_is_found(pki: Path) -> None:
    """The gateway's own word for the route that it came through betrays it."""

    def astray(seen: dict[str, str]) -> None:
        seen["x-forwarded-prefix"] = "/mtls"

    one = check("dots with a semicolon", "/mtls/")
    observation = observe(pki, one, witness(astray), tls(pki))

    assert observation.failure == "the service was reached through /mtls in the place of /boot"
    assert not Verdict(one, observation).ok
    assert Verdict(one, observe(pki, one, witness(), tls(pki))).ok


def test_a_protected_service_that_answers_nobody_s_method_is_found(pki: Path) -> None:
    one = check("method POST", "/mtls/")

    assert observe(pki, one, witness(), tls(pki)).failure == "a service was reached that refuses this caller"


# TLS


@pytest.mark.parametrize("version", ["TLS 1.0", "TLS 1.1"])
def test_a_server_that_speaks_old_tls_is_found(pki: Path, version: str) -> None:
    """The handshake's beginning is our own, so that it does not depend on what this machine's OpenSSL still speaks."""
    old = tls(pki)
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="deprecated"):
        old.minimum_version = ssl.TLSVersion.TLSv1

    assert observe(pki, check(version), answering(200), old).failure == "handshake answered"
    assert observe(pki, check(version), answering(200), tls(pki)).failure == "handshake refused"


def test_a_server_that_takes_old_ciphers_is_found(pki: Path) -> None:
    """Under TLS 1.2, where a caller offers nothing else."""
    old = tls(pki)
    old.set_ciphers("ALL:@SECLEVEL=0")

    assert observe(pki, check("old ciphers"), answering(200), old).failure == "handshake answered"
    modern = tls(pki)
    modern.set_ciphers("ECDHE+AESGCM")
    assert observe(pki, check("old ciphers"), answering(200), modern).failure == "handshake refused"


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_session_that_is_resumed_is_found(pki: Path, version: str) -> None:
    """With one set of keys for both, a session of another server is resumed as well."""
    resuming = tls(pki)
    resuming.options &= ~ssl.OP_NO_TICKET
    resuming.num_tickets = 2

    assert observe(pki, check(f"resumed session, TLS {version}"), answering(200), resuming).failure == "session resumed"
    assert observe(pki, check(f"resumed session, TLS {version}"), answering(200), tls(pki)).status == 200


def test_a_server_that_lets_its_callers_renegotiate_is_found(pki: Path) -> None:
    """The second handshake comes about while the server reads."""
    lenient = tls(pki)
    lenient.options = (lenient.options | ALLOW_CLIENT_RENEGOTIATION) & ~ssl.OP_NO_RENEGOTIATION

    assert observe(pki, check("renegotiation"), answering(200), lenient).status == 200
    assert observe(pki, check("renegotiation"), answering(200), tls(pki)).failure == "handshake refused"


def test_a_server_that_answers_without_tls_is_found(pki: Path) -> None:
    """What is refused where TLS is spoken is answered here."""
    one = check("a broken handshake")

    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(answer(200, close=True))

    assert observe(pki, one, serve, None).status == 200
    assert Verdict(one, observe(pki, one, answering(200), tls(pki))).ok


def test_a_default_server_that_takes_every_name_is_found(pki: Path) -> None:
    """Python's server does not look at SNI: where the handshake should be refused, it answers."""
    for name in ("no SNI", "unknown SNI", "SNI of another host", "address in the place of a name"):
        observation = observe(pki, check(name), answering(200), tls(pki))
        assert (observation.status, Verdict(check(name), observation).ok) == (200, False), name


# HTTP/2


def test_http_2_is_spoken(pki: Path) -> None:
    assert observe(pki, check("HTTP/2"), over_http_2(status_2), tls(pki)).status == 200


def test_a_server_without_http_2_is_found(pki: Path) -> None:
    context = tls(pki)
    context.set_alpn_protocols(["http/1.1"])

    assert observe(pki, check("HTTP/2"), answering(200), context).failure == "no HTTP/2"


def test_a_stream_that_is_reset_is_no_answer(pki: Path) -> None:
    resetting = over_http_2(lambda protocol, number: protocol.reset_stream(number, 1))

    assert observe(pki, check("HTTP/2"), resetting, tls(pki)).failure == "stream reset"


def test_a_connection_that_is_closed_is_no_answer(pki: Path) -> None:
    closing = over_http_2(lambda protocol, _: protocol.close_connection(1))

    assert observe(pki, check("HTTP/2"), closing, tls(pki)).failure == "connection closed"


def test_a_forged_header_that_passes_in_http_2_is_found(pki: Path) -> None:
    def telling(protocol: h2.connection.H2Connection, number: int) -> None:
        seen = {"service": "boot", "headers": {"x-ssl-client-verify": "SUCCESS", "x-forwarded-prefix": "/boot"}}
        protocol.send_headers(number, [(":status", "200")])
        protocol.send_data(number, json.dumps(seen).encode(), end_stream=True)

    observation = observe(pki, check("forged identity in HTTP/2"), over_http_2(telling), tls(pki))

    assert re.search("the service saw .*SUCCESS.* in the place of NONE", observation.failure)


# Several at once


def test_who_waits_keeps_nobody_waiting_and_the_order_stays(pki: Path) -> None:
    """Checks that wait have a pool of their own; verdicts come in the order of the checks."""
    waiting = [c for c in CHECKS if c.waits and c.host == "server"]
    quick = [check("HTTP/1.0"), check("fragment")]
    released = threading.Event()

    def probe(one: Check, *_: object) -> Observation:
        if one.waits:
            assert released.wait(10)
        elif one.request == "fragment":
            released.set()
        return Observation(200, "", "", "", 0)

    order = (*waiting, *quick)
    endpoints = {host: Endpoint("127.0.0.1", 1, 1) for host in ("server", "client")}
    lab = RunningLab(DESCRIPTION.topology, None, endpoints, pki / "authorities", pki / "identities")

    assert len(waiting) > 1
    assert [v.check for v in checking.run(order, lab, probes={"request": probe})] == list(order)
