"""What a failing test tells of the requests that it sent: gateways' log lines, their locations, how to ask again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from topology.errors import LabError
from topology.generation import writing
from topology.proof.probing import Files
from topology.report.addresses import curl
from topology.report.scene import location_block
from topology.runtime import logs, looking
from topology.runtime.logs import Line
from topology.testing.tested import Asked, TestedLab

SHOWN_REQUESTS = 5

MARGIN_SECONDS = 60
"""How far an engine's clock may be off."""

WRITTEN_SECONDS = 1
"""nginx logs a request when it has answered it, and the engine takes a moment to hand the line out."""

SETTLED_SECONDS = 0.25
"""Gateways hand out a few lines together, at most 0.1 s after the first of them."""

Section = tuple[str, str]
"""A title, and what stands under it."""


def sections(tested: TestedLab, test: str, stays: bool) -> list[Section]:
    """The scene of each request that a test sent, at most the last few.

    stays: whether the lab is up when the session is over.
    """
    sent = [asked for asked in tested.asked if asked.test == test]
    found: list[Section] = []
    for asked in sent[-SHOWN_REQUESTS:]:
        title = f"{asked.host} {asked.path} as {asked.caller}, request {asked.request_id}"
        try:
            found.append((title, "\n\n".join(scene(tested, asked, stays))))
        except (LabError, OSError) as error:  # the test's own failure is the news
            found.append((title, f"the gateways could not be asked about it: {error}"))
    return found


def scene(tested: TestedLab, asked: Asked, stays: bool) -> Iterator[str]:
    lines = way(tested, asked) if asked.request_id else []
    for line in lines:
        yield f"{line.host}: its {line.service} logged\n{line.text}"
    if not lines:
        yield "nothing was logged of it"
    passed = {(line.host, str(line.access.get("uri", ""))): None for line in lines if line.access}
    if asked.port is None:
        for host, uri in passed or {(asked.host, asked.path): None}:
            if block := location_block(routes(tested, host), uri):
                yield f"{host}: routes.conf\n{block}"
    gone = "" if stays else "\n(while the lab is up: --lab-keep leaves it running)"
    yield f"ask again\n{again(tested, asked)}{gone}"


def way(tested: TestedLab, asked: Asked) -> list[Line]:
    """What was logged of a request, from the gateway that it reached first to the last; empty where it reached none."""
    found = logs.find(tested.lab, logs.choose(tested.lab, None))
    deadline = time.monotonic() + WRITTEN_SECONDS
    before: list[Line] = []
    while True:
        lines = logs.way_of(tested.lab.topology, logs.lines(found, asked.at - MARGIN_SECONDS), asked.request_id)
        if (lines and lines == before) or time.monotonic() > deadline:  # a gateway behind may be a moment later
            return lines
        before = lines
        time.sleep(SETTLED_SECONDS)


def routes(tested: TestedLab, host: str) -> str:
    """The generated routes that a gateway has read; on other machines, those that it was given."""
    try:
        folder = looking.mounted(tested.lab, host, "/etc/nginx/lab")
    except (LabError, StopIteration):
        folder = tested.lab.folder / host / "nginx"
    file = folder / "routes.conf"
    return file.read_text() if file.is_file() else ""


def again(tested: TestedLab, asked: Asked) -> str:
    """A curl line that asks the same, with the same certificate, under the same version of TLS."""
    version = [] if asked.tls == "plain" else [f"--tlsv{asked.tls}", "--tls-max", asked.tls]
    shown = kept(tested, asked).shown
    return curl(tested.running, asked.host, asked.path, shown, asked.port, "--include", "--path-as-is", *version)


def kept(tested: TestedLab, asked: Asked) -> Asked:
    """A certificate that was made for the test goes with it; this one stays, for whoever asks again."""
    if asked.shown is None or asked.shown.key.is_relative_to(tested.running.identities):
        return asked
    folder = tested.lab.folder / f"identities.shown{tested.lab.suffix}"  # no instance's, and never in git
    files = Files(folder / f"{asked.caller}.pem", folder / f"{asked.caller}.key")
    writing.write(files.certificate, asked.shown.certificate.read_bytes())
    writing.write(files.key, asked.shown.key.read_bytes(), 0o600)
    return replace(asked, shown=files)
