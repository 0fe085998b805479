"""The labs that the integration tests share: each is brought up once a session."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Playwright, sync_playwright

from tests.integration.browsing import Browser, OpenBrowser, browsing
from topology.proof.probing import Direct, Files, tls_context
from topology.pytest_plugin import TestedLab, brought_up

LABS = Path(__file__).parents[2] / "fixtures" / "labs"

Get = Callable[..., requests.Response]


@pytest.fixture(scope="session")
def pro_dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedLab]:
    """Nothing passes `pro` without a certificate; `laptop` attaches one."""
    with brought_up(LABS / "pro-dev.yaml", tmp_path_factory.mktemp("stacks")) as tested:
        yield tested


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedLab]:
    """Two client authorities, intermediates, lists of identities, an internal route, egress as several identities."""
    with brought_up(LABS / "guarded.yaml", tmp_path_factory.mktemp("stacks")) as tested:
        yield tested


@pytest.fixture(scope="session")
def terminated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedLab]:
    """nginx terminates TLS for Node.js; nobody is asked for a certificate."""
    with brought_up(LABS / "terminated.yaml", tmp_path_factory.mktemp("stacks")) as tested:
        yield tested


@pytest.fixture(scope="session")
def node_tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedLab]:
    """Node.js terminates TLS itself: for everybody, and for holders of a client certificate."""
    with brought_up(LABS / "node-tls.yaml", tmp_path_factory.mktemp("stacks")) as tested:
        yield tested


@pytest.fixture(scope="session")
def tls_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedLab]:
    """A site behind TLS: pages, files, React, Next.js, FastAPI."""
    with brought_up(LABS / "tls-only.yaml", tmp_path_factory.mktemp("stacks")) as tested:
        yield tested


@pytest.fixture(scope="session")
def two_companies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedLab]:
    """A hospital and a finance company, each the other's client."""
    with brought_up(LABS / "two-companies.yaml", tmp_path_factory.mktemp("stacks")) as tested:
        yield tested


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[OpenBrowser]:
    """Opens a Chromium in a lab, `browser(lab, trusted=("ssl_ca",), identity="bro")`: one for each way to ask."""
    opened: dict[object, Browser] = {}
    with ExitStack() as stack:

        def open_browser(tested: TestedLab, **profile: Any) -> Browser:
            key = (tested.lab.internet, *sorted(profile.items()))
            if key not in opened:
                opened[key] = stack.enter_context(browsing(playwright, tested, **profile))
            return opened[key]

        yield open_browser


@pytest.fixture(scope="session")
def applications(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedLab]:
    """A login form, events and a WebSocket, behind one gateway and behind two."""
    with brought_up(LABS / "applications.yaml", tmp_path_factory.mktemp("stacks")) as tested:
        yield tested


@pytest.fixture(scope="session")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedLab]:
    """A service that answers what a test tells it to, behind every kind of prefix."""
    with brought_up(Path(__file__).parent / "mirror.yaml", tmp_path_factory.mktemp("stacks")) as tested:
        yield tested


@pytest.fixture(scope="session")
def every_mode(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedLab]:
    """Each way in which a route can be answered: required, internal, always, egress, files, without TLS, and so on."""
    with brought_up(Path(__file__).parent / "every_mode.yaml", tmp_path_factory.mktemp("stacks")) as tested:
        yield tested


@pytest.fixture(scope="session")
def machine_sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the sources of the image lie that `machines.machine` is made of."""
    return tmp_path_factory.mktemp("machine")


def shown_by(tested: TestedLab, identity: str | None) -> Files | None:
    """The certificate and key of an identity, or of nobody."""
    folder = tested.running.identities / (identity or "")
    return Files(folder / "certificate.pem", folder / "key.pem") if identity else None


@contextmanager
def connected(
    tested: TestedLab,
    host: str,
    identity: str | None = None,
    *,
    tls: str = "1.3",
    shown: Files | None = None,
    passed: int | None = None,
    session: ssl.SSLSession | None = None,
) -> Iterator[ssl.SSLSocket]:
    """A verified TLS connection to a host from outside, as an identity, as whoever `shown` is, or as nobody.

    passed: the port of a service that terminates TLS itself, in the place of the gateway's; session: one to resume.
    """
    endpoint = tested.running.endpoints[host]
    port = endpoint.https if passed is None else endpoint.passed[passed]
    assert port is not None
    context = tls_context(tested.running.anchor(host), shown or shown_by(tested, identity), tls)
    with (
        socket.create_connection((endpoint.address, port), timeout=10) as connection,
        context.wrap_socket(
            connection, server_hostname=tested.lab.topology.hosts[host].domain, session=session
        ) as encrypted,
    ):
        yield encrypted


@contextmanager
def opened(
    tested: TestedLab, host: str, path: str, identity: str | None = None, **options: Any
) -> Iterator[http.client.HTTPResponse]:
    """The answer to a request that names exactly this path, as it comes in: nothing is read ahead, or put right.

    options: method, headers, and what `connected` takes.
    """
    method, headers = options.pop("method", "GET"), options.pop("headers", {})
    with connected(tested, host, identity, **options) as encrypted:
        domain, port = tested.lab.topology.hosts[host].domain, encrypted.getpeername()[1]
        client = http.client.HTTPConnection(domain, port)
        client.sock = encrypted
        client.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers.items():
            client.putheader(name, value)
        client.endheaders()
        with client.getresponse() as answer:  # it holds the connection, too
            yield answer


def ask(tested: TestedLab, host: str, path: str, identity: str | None = None, **options: Any) -> requests.Response:
    """A verified request to a host's gateway from outside, as an identity or as nobody.

    options: scheme, method, and what requests takes.
    """
    described = tested.lab.topology.hosts[host]
    endpoint = tested.running.endpoints[host]
    scheme = options.pop("scheme", "https" if described.tls else "http")
    port = endpoint.https if scheme == "https" else endpoint.http
    name = options.pop("name", described.domain)
    context = None
    if scheme == "https" and described.tls:
        anchor = tested.running.authorities / described.tls.authority / "certificate.pem"
        context = tls_context(anchor, shown_by(tested, identity), options.pop("tls", "1.3"))
    url = f"{scheme}://{name}:{port}{path}"
    with requests.Session() as session:
        session.trust_env = False
        session.mount(url, Direct(endpoint.address, context))
        return session.request(options.pop("method", "GET"), url, timeout=10, allow_redirects=False, **options)


def eventually(true: Callable[[], bool], seconds: float = 15) -> None:
    """Looks again and again until it is true; fails the test where it does not become so."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not become true"
        time.sleep(0.05)


def whoami(tested: TestedLab, host: str, route: str, identity: str | None = None, **options: Any) -> dict[str, Any]:
    """What the service behind a route saw of a request."""
    answer = ask(tested, host, f"{route}whoami", identity, **options)
    assert answer.status_code == 200, answer.text
    seen: dict[str, Any] = answer.json()
    return seen
