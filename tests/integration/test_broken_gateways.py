"""Evidence that the check can fail: one change to a running gateway, and it turns red."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from topology.generation import writing
from topology.proof import checking
from topology.proof.checking import Verdict
from topology.pytest_plugin import TestedLab
from topology.runtime import looking

pytestmark = pytest.mark.integration

TURN_SECONDS = 15


@dataclass(frozen=True)
class Break:
    """What is changed in a gateway's configuration, and a caller whose answer has to be wrong then."""

    lab: str
    host: str
    file: str
    old: str
    new: str
    betrayed: str


GUARD = "    if ($ssl_client_verify != SUCCESS) {\n        return 403;\n    }\n"
ATTACHED = (
    "    proxy_ssl_certificate /etc/nginx/certificates/identities/bro.pem;\n"
    "    proxy_ssl_certificate_key /etc/nginx/certificates/identities/bro.key;\n"
)
CRL = "        ssl_crl /etc/nginx/certificates/client-authorities.crl.pem;\n"
ASKED = "ssl_verify_client optional;"
TRUSTED = "ssl_client_certificate /etc/nginx/certificates/client-authorities.pem;"

BREAKS = {
    "certificates are not asked for": Break("lab", "server", "nginx.conf", ASKED, "ssl_verify_client off;", "bro"),
    "certificates are not verified": Break(
        "lab", "server", "nginx.conf", ASKED, "ssl_verify_client optional_no_ca;", "bro-other-authority"
    ),
    "everyone has to show one": Break("lab", "server", "nginx.conf", ASKED, "ssl_verify_client on;", "none"),
    "the revocation list is not read": Break("lab", "server", "nginx.conf", CRL, "", "bro-revoked"),
    "the guard is gone": Break("lab", "server", "routes.conf", GUARD, "", "none"),
    "the guard compares with the wrong word": Break(
        "lab", "server", "routes.conf", "!= SUCCESS", "= FAILED", "none"
    ),
    "the wrong authority is trusted": Break(
        "lab", "server", "nginx.conf", TRUSTED, TRUSTED.replace("client-authorities.pem", "server.pem"), "bro"
    ),
    "the egress proxy attaches nothing": Break("lab", "client", "routes.conf", ATTACHED, "", "none"),
    "the egress proxy names no server": Break(
        "lab", "client", "routes.conf", "proxy_ssl_server_name on;", "proxy_ssl_server_name off;", "none"
    ),
    "the egress proxy expects another server": Break(
        "lab", "client", "routes.conf", "proxy_ssl_name ec3.lab.test;", "proxy_ssl_name ec2.lab.test;", "none"
    ),
    "a list of identities goes by the common name alone": Break(
        "guarded", "vault", "routes.conf", "CN=partners intermediate,O=guarded|", "$ssl_client_i_dn|", "clerk"
    ),
    "a list of identities lets everybody pass": Break(
        "guarded", "vault", "routes.conf", "set $allowed_3 0;", "set $allowed_3 1;", "bob"
    ),
    "an internal route is open": Break(
        "guarded", "vault", "routes.conf", "if ($listener != inside) {", "if ($listener = inside) {", "none"
    ),
    "an identity goes out on the wrong route": Break(
        "guarded", "office", "routes.conf", "/identities/bob.", "/identities/alice.", "none"
    ),
}  # fmt: skip


@contextmanager
def broken(tested: TestedLab, change: Break) -> Iterator[None]:
    """The running gateway with one change, put right afterwards."""
    file = looking.mounted(tested.lab, change.host, "/etc/nginx/lab") / change.file
    good = file.read_bytes()
    assert change.old.encode() in good, "the change would change nothing"
    try:
        writing.write(file, good.replace(change.old.encode(), change.new.encode()))
        reload(tested, change.host)
        yield
    finally:
        writing.write(file, good)
        reload(tested, change.host)
        until(tested, lambda wrong: not wrong)


def reload(tested: TestedLab, host: str) -> None:
    said, complained, code = tested.hosts[host].exec_in_container(["nginx", "-s", "reload"], "gateway")
    assert code == 0, said + complained


def until(tested: TestedLab, satisfied: object) -> list[Verdict]:
    """Checks again and again until the wrong cells are as wanted, within bounds; a reload takes a moment."""
    deadline = time.monotonic() + TURN_SECONDS
    while True:
        verdicts = checking.run(tested.checks, tested.running)
        wrong = [verdict for verdict in verdicts if not verdict.ok]
        if satisfied(wrong) or time.monotonic() > deadline:  # type: ignore[operator]
            return wrong


@pytest.mark.parametrize("name", BREAKS)
def test_the_check_turns_red(name: str, request: pytest.FixtureRequest) -> None:
    """The betrayed caller's cells are among the wrong ones, and JSON and table say so."""
    change = BREAKS[name]
    tested: TestedLab = request.getfixturevalue(change.lab)
    with broken(tested, change):
        wrong = until(tested, lambda found: change.betrayed in {verdict.check.caller for verdict in found})

    assert change.betrayed in {verdict.check.caller for verdict in wrong}


def test_the_unbroken_labs_are_green(lab: TestedLab, guarded: TestedLab) -> None:
    """So it is the change that turns the check red; and red goes away with it."""
    for tested in (lab, guarded):
        assert [v.check.id for v in checking.run(tested.checks, tested.running) if not v.ok] == []
