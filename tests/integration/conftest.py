"""The labs that the integration tests share: each is brought up once a session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
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
        folder = tested.running.identities / (identity or "")
        shown = Files(folder / "certificate.pem", folder / "key.pem") if identity else None
        anchor = tested.running.authorities / described.tls.authority / "certificate.pem"
        context = tls_context(anchor, shown, options.pop("tls", "1.3"))
    url = f"{scheme}://{name}:{port}{path}"
    with requests.Session() as session:
        session.trust_env = False
        session.mount(url, Direct(endpoint.address, context))
        return session.request(options.pop("method", "GET"), url, timeout=10, allow_redirects=False, **options)


def whoami(tested: TestedLab, host: str, route: str, identity: str | None = None, **options: Any) -> dict[str, Any]:
    """What the service behind a route saw of a request."""
    answer = ask(tested, host, f"{route}whoami", identity, **options)
    assert answer.status_code == 200, answer.text
    seen: dict[str, Any] = answer.json()
    return seen
