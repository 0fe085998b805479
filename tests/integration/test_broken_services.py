"""Evidence that the check can fail: one change to a running service or folder, and it turns red."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.integration.conftest import eventually
from tests.integration.test_broken_gateways import Break, broken, until
from topology.generation import writing
from topology.proof import checking
from topology.proof.checking import Verdict
from topology.pytest_plugin import TestedLab
from topology.runtime import engine, looking

pytestmark = pytest.mark.integration

OWN_TLS = ":3300/"

NODE_BREAKS = {
    "nobody is asked for a certificate": ("requestCert: false", "none"),
    "certificates are asked for, and not looked at": ("rejectUnauthorized: false", "laptop-other-authority"),
    "the revocation list is not read": ("crl: undefined", "laptop-revoked"),
    "only one authority's list is read": ("crl: options.crl[0]", "partner"),
    "an old TLS is the only one": ('maxVersion: "TLSv1.2"', "laptop"),
}
"""What is wrong -> an option of Node.js's server that makes it so, and a caller whose answer has to be wrong then."""


@contextmanager
def changed(file: Path, content: bytes | None) -> Iterator[None]:
    """A file with other content, or gone, or there at last; put right afterwards."""
    good = file.read_bytes() if file.exists() else None
    try:
        if content is None:
            file.unlink()
        else:
            writing.write(file, content)
        yield
    finally:
        if good is None:
            file.unlink()
        else:
            writing.write(file, good)


@contextmanager
def node_with(tested: TestedLab, option: str) -> Iterator[None]:
    """The running Node.js started anew, with an option of its TLS server overruled."""
    patch = (
        "import https from 'node:https'; const made = https.createServer;"
        f"https.createServer = (options, application) => made({{ ...options, {option} }}, application);"
    )
    file = tested.lab.folder / "strict" / "compose.yaml"
    place = '      TLS_PORT: "3300"\n'
    overruled = f'{place}      NODE_OPTIONS: "--import=data:text/javascript,{quote(patch)}"\n'
    text = file.read_text()
    assert text.count(place) == 1
    try:
        with changed(file, text.replace(place, overruled).encode()):
            start(tested)
            yield
    finally:
        start(tested)


def start(tested: TestedLab) -> None:
    """Starts what has changed, and waits until it listens: an answer that does not come yet proves nothing."""
    tested.hosts["strict"].start()
    client = engine.connect()

    def is_healthy() -> bool:
        state = looking.container_of(client, tested.lab, "strict", "node").attrs["State"]
        return bool(state["Health"]["Status"] == "healthy")

    eventually(is_healthy, 60)


def wrong_callers(wrong: list[Verdict], route: str) -> set[str]:
    return {verdict.check.caller for verdict in wrong if verdict.check.route == route}


@pytest.mark.parametrize("name", NODE_BREAKS)
def test_the_check_turns_red_where_node_s_own_tls_is_wrong(name: str, node_tls: TestedLab) -> None:
    option, betrayed = NODE_BREAKS[name]
    with node_with(node_tls, option):
        wrong = checking.run(node_tls.checks, node_tls.running)

    assert betrayed in wrong_callers([verdict for verdict in wrong if not verdict.ok], OWN_TLS)


@dataclass(frozen=True)
class Replaced:
    """A file of a host's folder, what stands there instead, and a caller on a route whose answer has to be wrong then.

    other: a file of the same folder whose content it gets; None: it is gone.
    """

    lab: str
    host: str
    file: str
    other: str | None
    route: str
    betrayed: str


CREDENTIALS = "CERTIFICATES/services/node"
REPLACED = {
    "another authority is trusted": Replaced(
        "node_tls", "strict", f"{CREDENTIALS}/client-authorities.pem", f"{CREDENTIALS}/server.pem", OWN_TLS, "laptop"
    ),
    "the index of a folder is gone": Replaced(
        "tls_only", "site", "files/files/files/index.html", None, "/files/", "none"
    ),
    "a folder has got an index": Replaced(
        "tls_only", "site", "files/files+empty/files/empty/index.html", "pages/index.html", "/files/empty/", "none"
    ),
}


@pytest.mark.parametrize("name", REPLACED)
def test_the_check_turns_red_where_a_file_is_not_the_right_one(name: str, request: pytest.FixtureRequest) -> None:
    change = REPLACED[name]
    tested: TestedLab = request.getfixturevalue(change.lab)
    folder, own = tested.lab.folder / change.host, tested.lab.certificates(change.host).name
    file, other = (folder / (one or "").replace("CERTIFICATES", own) for one in (change.file, change.other))
    with changed(file, other.read_bytes() if change.other else None):
        wrong = until(tested, lambda found: change.betrayed in wrong_callers(found, change.route))

    assert change.betrayed in wrong_callers(wrong, change.route)
    assert until(tested, lambda found: not found) == []


INDEX = (
    '    if (!-f $request_filename$index) {\n        return 404;\n    }\n    rewrite "(?s)^(.*/)$" $1$index break;\n'
)
GATEWAY_BREAKS = {
    "the port leads to where nobody speaks TLS": (
        Break("node_tls", "strict", "nginx.conf", ":3300;  # node", ":3200;  # node", "laptop"), OWN_TLS,
    ),
    "a folder without an index is listed": (
        Break("tls_only", "site", "routes.conf", INDEX, "    autoindex on;\n", "none"),
        "/files/empty/",
    ),
    "what is not there is answered with the start page": (
        Break("tls_only", "site", "routes.conf", INDEX,
              INDEX.replace("return 404", "rewrite ^ /files/index.html last"), "none"),
        "/files/empty/",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GATEWAY_BREAKS)
def test_the_check_turns_red_where_the_gateway_is_wrong(name: str, request: pytest.FixtureRequest) -> None:
    change, route = GATEWAY_BREAKS[name]
    tested: TestedLab = request.getfixturevalue(change.lab)
    with broken(tested, change):
        wrong = until(tested, lambda found: change.betrayed in wrong_callers(found, route))

    assert change.betrayed in wrong_callers(wrong, route)
