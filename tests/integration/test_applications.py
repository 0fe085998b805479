"""Applications behind a prefix: signing in, sessions, events as they come, WebSockets; through one gateway and two."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from typing import Any

import httpx
import pytest
import requests
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.integration.conftest import ask, connected, eventually, opened, shown_by
from topology.proof.probing import Direct, tls_context
from topology.pytest_plugin import TestedLab

pytestmark = pytest.mark.integration

WAYS = pytest.mark.parametrize(
    ("host", "prefix", "identity"),
    [("client", "/fast", None), ("server", "/app", "bro"), ("client", "/partner", None)],
    ids=["one gateway", "one gateway with a certificate", "two gateways"],
)


class Browser:
    """Follows redirects and keeps cookies as a browser does, below one host's address."""

    def __init__(self, tested: TestedLab, host: str, identity: str | None) -> None:
        domain, endpoint = tested.lab.topology.hosts[host].domain, tested.running.endpoints[host]
        context = tls_context(tested.running.anchor(host), shown_by(tested, identity), "1.3")
        self.address = f"https://{domain}:{endpoint.https}"
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.mount(self.address, Direct(endpoint.address, context))

    def visit(self, path: str, method: str = "GET", **options: Any) -> requests.Response:
        return self.session.request(method, self.address + path, timeout=10, **options)

    def where(self, answer: requests.Response) -> str:
        """The path at which the redirects ended: on this host, or the test fails."""
        assert answer.url.startswith(f"{self.address}/")
        return answer.url.removeprefix(self.address)


# Signing in


@WAYS
def test_a_login_form_works(applications: TestedLab, host: str, prefix: str, identity: str | None) -> None:
    """Form, cookie, redirect, page, and out again; the application speaks of `/welcome` and `Path=/`."""
    browser = Browser(applications, host, identity)
    with browser.session:
        form = browser.visit(f"{prefix}/welcome")
        assert browser.where(form) == f"{prefix}/login"
        assert '<form action="login" method="post">' in form.text

        page = browser.visit(f"{prefix}/login", "POST", data={"name": "Ada <b>"})
        assert browser.where(page) == f"{prefix}/welcome"
        assert "Welcome, Ada &lt;b&gt;." in page.text
        (cookie,) = browser.session.cookies
        assert (cookie.name, cookie.path, cookie.secure) == ("session", f"{prefix}/", True)

        assert browser.where(browser.visit(f"{prefix}/logout", "POST")) == f"{prefix}/login"
        assert list(browser.session.cookies) == []
        assert browser.where(browser.visit(f"{prefix}/welcome")) == f"{prefix}/login"


def test_a_session_of_one_prefix_is_not_sent_to_another(applications: TestedLab) -> None:
    """Both applications call it `session`, for the whole site as they know it."""
    browser = Browser(applications, "client", None)
    with browser.session:
        browser.visit("/fast/login", "POST", data={"name": "Ada"})

        assert browser.where(browser.visit("/partner/welcome")) == "/partner/login"
        assert "Welcome, Ada" in browser.visit("/fast/welcome").text


@WAYS
def test_fastapi_builds_addresses_that_its_caller_can_follow(
    applications: TestedLab, host: str, prefix: str, identity: str | None
) -> None:
    """Scheme, host, port and prefix are the first gateway's, also where the framework itself redirects."""
    for path, leads_to in (("/greet/bro/?x=1", "/greet/bro?x=1"), ("/welcome", "/login")):
        answer = ask(applications, host, prefix + path, identity)

        assert answer.is_redirect
        assert answer.headers["Location"] == f"{prefix}{leads_to}"


# Server-sent events


def next_event(answer: HTTPResponse) -> str:
    """The lines of the next event, up to the empty one; what has not come yet is waited for."""
    return "".join(iter(lambda: answer.readline().decode(), "\n"))


@WAYS
def test_events_arrive_as_they_happen(applications: TestedLab, host: str, prefix: str, identity: str | None) -> None:
    """Each has arrived before the next one is made: no gateway on the way holds anything back."""
    with opened(applications, host, f"{prefix}/events", identity) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert next_event(answer) == ": listening\n"
        for n in range(3):
            told = ask(applications, host, f"{prefix}/events", identity, method="POST", json=f"event {n}")
            assert told.json() == {"listeners": 1}
            assert next_event(answer) == f'data: "event {n}"\n'


@pytest.mark.parametrize("prefix", ["/fast", "/partner"])
def test_so_they_do_over_http_2(applications: TestedLab, prefix: str) -> None:
    """As browsers ask for them."""
    endpoint = applications.running.endpoints["client"]
    context = ssl.create_default_context(cafile=str(applications.running.anchor("client")))
    url = f"https://{endpoint.address}:{endpoint.https}{prefix}/events"
    headers = {"Host": f"office.lab.test:{endpoint.https}"}
    with (
        httpx.Client(verify=context, http2=True, trust_env=False, timeout=10) as client,
        client.stream("GET", url, headers=headers, extensions={"sni_hostname": "office.lab.test"}) as answer,
    ):
        assert answer.http_version == "HTTP/2"
        lines = (line for line in answer.iter_lines() if line)
        assert next(lines) == ": listening"
        for n in range(3):
            ask(applications, "client", f"{prefix}/events", method="POST", json=f"event {n}")
            assert next(lines) == f'data: "event {n}"'


@WAYS
def test_a_listener_that_leaves_is_gone(applications: TestedLab, host: str, prefix: str, identity: str | None) -> None:
    """Gateways pass on that their caller has hung up; the application keeps nothing for it."""

    def tell() -> int:
        told = ask(applications, host, f"{prefix}/events", identity, method="POST", json="anybody?")
        return int(told.json()["listeners"])

    with opened(applications, host, f"{prefix}/events", identity) as answer:
        assert next_event(answer) == ": listening\n"
        assert tell() == 1
    eventually(lambda: tell() == 0)


# WebSockets


@contextmanager
def websocket(
    tested: TestedLab, host: str, path: str, identity: str | None = None, **options: Any
) -> Iterator[ClientConnection]:
    with connected(tested, host, identity) as encrypted:
        port = encrypted.getpeername()[1]
        address = f"ws://{tested.lab.topology.hosts[host].domain}:{port}{path}"
        with connect(address, sock=encrypted, proxy=None, open_timeout=10, **options) as opened_socket:
            yield opened_socket


@WAYS
def test_a_websocket_carries_text_and_bytes_both_ways(
    applications: TestedLab, host: str, prefix: str, identity: str | None
) -> None:
    messages = ["hello", "wäre", b"\x00\xff", "", "x" * 100_000]
    with websocket(applications, host, f"{prefix}/echo", identity) as connection:
        for message in messages:
            connection.send(message)
            assert connection.recv(timeout=10) == message
        for message in messages:
            connection.send(message)
        assert [connection.recv(timeout=10) for _ in messages] == messages


@WAYS
def test_the_application_s_close_code_arrives(
    applications: TestedLab, host: str, prefix: str, identity: str | None
) -> None:
    with websocket(applications, host, f"{prefix}/echo", identity) as connection:
        connection.send("close 4001 enough of that")
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(timeout=10)

    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "enough of that")


@WAYS
def test_the_caller_s_close_code_arrives_and_is_answered(
    applications: TestedLab, host: str, prefix: str, identity: str | None
) -> None:
    """RFC 6455, 5.5.1: the other side sends the code back.  Had a gateway cut the connection, there would be none."""
    with websocket(applications, host, f"{prefix}/echo", identity) as connection:
        connection.close(4002, "goodbye")

        assert connection.protocol.close_rcvd is not None
        assert connection.protocol.close_rcvd.code == 4002


@WAYS
def test_a_message_that_is_too_large_is_closed_by_the_application(
    applications: TestedLab, host: str, prefix: str, identity: str | None
) -> None:
    """1009; client_max_body_size is for bodies, and does not count here."""
    with websocket(applications, host, f"{prefix}/echo", identity) as connection:
        connection.send("x" * (1024 * 1024 + 1))
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(timeout=10)

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


@pytest.mark.parametrize(("path", "status"), [("/fast/health", 405), ("/fast/nowhere", 404)])
def test_what_is_no_websocket_does_not_become_one(applications: TestedLab, path: str, status: int) -> None:
    with (
        pytest.raises(InvalidStatus) as refused,
        websocket(applications, "client", path),
    ):
        pass

    assert refused.value.response.status_code in (status, 403)  # what the application says to an upgrade


@pytest.mark.parametrize("protocol", ["h2c", "TLS/1.0", "websocket2"])
def test_no_other_upgrade_passes(applications: TestedLab, protocol: str) -> None:
    """With h2c, a tunnel past the gateway's rules would be open."""
    headers = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": protocol, "HTTP2-Settings": "AAMAAABkAAQAAP__"}
    answer = ask(applications, "client", "/fast/whoami", headers=headers)

    assert answer.status_code == 200
    assert {"upgrade", "http2-settings"} & set(answer.json()["headers"]) <= {"http2-settings"}


# Who may


@pytest.mark.parametrize("path", ["/app/events", "/app/login"])
def test_without_the_certificate_there_is_none_of_it(applications: TestedLab, path: str) -> None:
    """At the second gateway, past the first."""
    assert ask(applications, "server", path).status_code == 403


def test_without_the_certificate_there_is_no_websocket(applications: TestedLab) -> None:
    with pytest.raises(InvalidStatus) as refused, websocket(applications, "server", "/app/echo"):
        pass

    assert refused.value.response.status_code == 403


def test_with_a_bad_certificate_there_is_no_websocket_either(applications: TestedLab) -> None:
    bad = next(files for caller, files in applications.shown.items() if caller.flaw == "revoked")
    with connected(applications, "server", shown=bad) as encrypted:
        address = f"ws://partner.lab.test:{encrypted.getpeername()[1]}/app/echo"
        with pytest.raises(InvalidStatus) as refused, connect(address, sock=encrypted, proxy=None):
            pass

    assert refused.value.response.status_code == 400


# Spring and Next.js


@pytest.mark.parametrize(
    ("host", "prefix", "identity"),
    [("server", "/boot", None), ("server", "/mtls", "bro"), ("client", "/mtls", None)],
)
def test_spring_keeps_a_session_behind_its_prefix(lab: TestedLab, host: str, prefix: str, identity: str | None) -> None:
    """A redirect that is built of forwarded headers, and one by a servlet that knows of no prefix."""
    browser = Browser(lab, host, identity)
    with browser.session:
        for n in (1, 2):
            answer = browser.visit(f"{prefix}/visits", "POST")
            assert browser.where(answer) == f"{prefix}/visits"
            assert answer.json() == {"visits": n}
        (cookie,) = browser.session.cookies
        assert (cookie.name, cookie.path) == ("JSESSIONID", f"{prefix}/")

        forgotten = browser.visit(f"{prefix}/visits", "DELETE")
        assert browser.where(forgotten) == f"{prefix}/visits"
        assert forgotten.json() == {"visits": 0}


def test_next_js_sets_a_cookie_and_redirects_below_its_prefix(lab: TestedLab) -> None:
    browser = Browser(lab, "client", None)
    with browser.session:
        for n in (1, 2):
            page = browser.visit("/next/visit", "POST")
            assert browser.where(page) == "/next/about/"
            assert f"Visits: {n}" in page.text
        (cookie,) = browser.session.cookies
        assert (cookie.name, cookie.path) == ("visits", "/next/")
