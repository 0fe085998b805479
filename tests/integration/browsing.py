"""Chromium in a lab: a container on the network that stands for the internet, driven over its DevTools protocol.

It has a profile of its own, so that what a test trusts and whose certificate it holds touches nobody else's browser;
names lead to the lab's gateways, and every other name nowhere.  URLs are those that a person types on the machine that
the lab runs on: a published port of the topology leads to the port behind it.
"""

from __future__ import annotations

import io
import re
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from playwright.sync_api import BrowserContext, ConsoleMessage, Error, Page, Playwright, Request, Response

from topology.generation import planning
from topology.pytest_plugin import TestedLab
from topology.runtime import engine, images, looking
from topology.runtime.progress import SILENT

IMAGE_FOLDER = Path(__file__).parents[2] / "fixtures" / "browser"
HOME = "/home/browser"
USER = 10001
DEVTOOLS = "9222/tcp"
START_SECONDS = 60
NETWORK_ERROR = re.compile(r"net::(ERR_[A-Z0-9_]+)")


@dataclass(frozen=True)
class Tab:
    """One page, and what went wrong in it: requests that failed or were answered with 400 and above, errors on the
    console, exceptions that nobody caught."""

    page: Page
    problems: list[str] = field(default_factory=list)

    def open(self, url: str) -> Response:
        """Goes there, redirects included; raises playwright's Error where no page is shown."""
        answer = self.page.goto(url)
        assert answer is not None, f"{url} is the page that is shown already"
        return answer

    def refusal(self, url: str) -> str:
        """Chromium's own name for why it shows an error instead of the page, as ERR_CERT_AUTHORITY_INVALID."""
        try:
            answer = self.page.goto(url)
        except Error as error:
            if found := NETWORK_ERROR.search(error.message):
                return found[1]
            raise
        raise AssertionError(f"{url} was shown, with status {answer and answer.status}")


@dataclass(frozen=True)
class Browser:
    """A running Chromium.  context: playwright's view of its profile."""

    context: BrowserContext

    @contextmanager
    def tab(self, width: int = 1280, height: int = 800) -> Iterator[Tab]:
        """A fresh tab of a size in CSS pixels; 360 is a narrow phone."""
        page = self.context.new_page()
        page.set_viewport_size({"width": width, "height": height})
        tab = Tab(page)
        page.on("pageerror", lambda error: tab.problems.append(f"exception: {error}"))
        page.on("requestfailed", lambda request: note_failed(tab, request))
        page.on("response", lambda answer: note_refused(tab, answer))
        page.on("console", lambda message: note_console(tab, message))
        try:
            yield tab
        finally:
            page.close()


def note_failed(tab: Tab, request: Request) -> None:
    if request.failure != "net::ERR_ABORTED":  # the page's own doing: it left while something was still on its way
        tab.problems.append(f"{request.url}: {request.failure}")


def note_refused(tab: Tab, answer: Response) -> None:
    if answer.status >= 400:
        tab.problems.append(f"{answer.url}: {answer.status}")


def note_console(tab: Tab, message: ConsoleMessage) -> None:
    if message.type == "error":
        tab.problems.append(f"console: {message.location['url']}: {message.text}")


def url(tested: TestedLab, host: str, path: str = "/", *, scheme: str = "https", service: str = "") -> str:
    """What a person types who knows the topology; without a port where it publishes none.

    service: one that terminates TLS itself, asked directly.
    """
    described = tested.lab.topology.hosts[host]
    port = described.publish.https if scheme == "https" else described.publish.http
    if service:
        tls = described.services[service].tls
        assert tls is not None, f"{service} has no TLS of its own"
        port = tls.publish
    return f"{scheme}://{described.domain}{f':{port}' if port else ''}{path}"


OpenBrowser = Callable[..., Browser]
"""What the fixture `browser` gives: (lab, trusted=names of authorities, identity=name, database=folder) -> Browser."""


@contextmanager
def browsing(
    playwright: Playwright,
    tested: TestedLab,
    *,
    trusted: Iterable[str] = (),
    identity: str | None = None,
    database: Path | None = None,
) -> Iterator[Browser]:
    """A Chromium in a lab; gone when the context ends.

    trusted: authorities of the lab; identity: whose certificate it shows wherever it is asked for one; database: an
    NSS database (the folder with cert9.db) that it starts from.
    """
    authorities, identities = tested.running.authorities, tested.running.identities
    home = {f"trusted/{name}.pem": (authorities / name / "certificate.pem").read_bytes() for name in trusted}
    if identity:
        home["identity.p12"] = (identities / identity / "bundle.p12").read_bytes()
    if database:
        home |= {f".pki/nssdb/{file.name}": file.read_bytes() for file in database.iterdir()}
    with started(resolver_rules(tested), home, tested.lab.internet) as address:
        browser = playwright.chromium.connect_over_cdp(address)
        try:
            yield Browser(browser.contexts[0])
        finally:
            browser.close()


@contextmanager
def started(resolver_rules: Iterable[str], home: Mapping[str, bytes], network: str) -> Iterator[str]:
    """A Chromium in a container on a network, with files in its home; the address of its DevTools."""
    build = planning.build("browser", IMAGE_FOLDER)
    images.ensure([images.Image(build.tag, build.folder)], SILENT)
    container = engine.connect().containers.create(
        build.tag,
        environment={"RESOLVER_RULES": ", ".join([*resolver_rules, "MAP * ~NOTFOUND"])},
        network=network,
        ports={DEVTOOLS: ("127.0.0.1", None)},
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        labels={"mtls-lab.browser": network},
        init=True,
    )
    try:
        container.put_archive(HOME, archive(home))
        container.start()
        yield devtools(container)
    finally:
        container.remove(force=True, v=True)


def archive(home: Mapping[str, bytes]) -> bytes:
    """Files, with the folders that they are in, as a tar that belongs to the browser's user alone."""
    buffer = io.BytesIO()
    folders = {parent for path in home for parent in Path(path).parents if parent != Path()}
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for folder in sorted(folders):
            add(tar, folder.as_posix(), None)
        for path, content in home.items():
            add(tar, path, content)
    return buffer.getvalue()


def add(tar: tarfile.TarFile, path: str, content: bytes | None) -> None:
    entry = tarfile.TarInfo(path)
    entry.uid = entry.gid = USER
    if content is None:
        entry.type, entry.mode = tarfile.DIRTYPE, 0o700
    else:
        entry.size, entry.mode = len(content), 0o600
    tar.addfile(entry, io.BytesIO(content or b""))


def devtools(container: Any) -> str:
    """Where a starting Chromium listens, as soon as it does; with its last words where it never does."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        container.reload()
        if container.status == "exited":
            break
        if bindings := container.ports.get(DEVTOOLS):
            address = f"http://127.0.0.1:{bindings[0]['HostPort']}"
            if listens(address):
                return address
        time.sleep(0.1)
    raise AssertionError(f"Chromium did not start:\n{container.logs(tail=30).decode(errors='replace')}")


def listens(address: str) -> bool:
    with requests.Session() as session:
        session.trust_env = False
        try:
            return session.get(f"{address}/json/version", timeout=5).ok
        except requests.RequestException:
            return False


def resolver_rules(tested: TestedLab) -> Iterator[str]:
    """Where the names of a lab lead, as Chromium's --host-resolver-rules; the first one that fits decides.

    A published port leads to the port that it stands for: 80 and 443 of the gateway, or one that it passes on.
    """
    client = engine.connect()
    for name, host in tested.lab.topology.hosts.items():
        gateway = looking.container_of(client, tested.lab, name, "gateway")
        address = gateway.attrs["NetworkSettings"]["Networks"][tested.lab.internet]["IPAddress"]
        published = {host.publish.http: 80, host.publish.https: 443}
        published |= {service.tls.publish: service.tls.port for service in host.services.values() if service.tls}
        for known in (host.domain, *host.aliases):
            yield from (f"MAP {known}:{outside} {address}:{port}" for outside, port in published.items() if outside)
            yield f"MAP {known} {address}"
