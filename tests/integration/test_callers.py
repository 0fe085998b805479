"""Every kind of certificate a caller could come with, shown to running gateways; and what their own files decide."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.integration.conftest import ask
from tests.integration.test_broken_gateways import reload
from topology import cli
from topology.generation import writing
from topology.pki import issuing
from topology.proof import callers, checking, families, probing
from topology.proof.expectation import Check
from topology.pytest_plugin import TestedLab, brought_up
from topology.report import matrix
from topology.runtime import looking

pytestmark = pytest.mark.integration

FILE = Path(__file__).parent / "callers.yaml"
TURN_SECONDS = 15
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def modes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedLab]:
    with brought_up(FILE, tmp_path_factory.mktemp("stacks")) as tested:
        yield tested


def wrong(tested: TestedLab, checks: tuple[Check, ...]) -> list[str]:
    verdicts = checking.run(checks, tested.running, probes=families.PROBES)
    return [matrix.explained(verdict) for verdict in verdicts if not verdict.ok]


def test_every_kind_gets_on_every_route_what_follows_from_the_topology(modes: TestedLab) -> None:
    """In every mode: off, per route (open, required, a list, internal), always, a service's own TLS, plain HTTP."""
    assert wrong(modes, callers.checks(modes.lab.topology)) == []


def test_a_hundred_cells_a_second_are_no_trouble_for_whoever_sends_them(modes: TestedLab) -> None:
    """Of this process's time; what gateways take runs beside it."""
    checks = tuple(check for check in callers.checks(modes.lab.topology) if check.host == "routes")
    began = time.process_time()

    assert wrong(modes, checks) == []
    assert len(checks) / (time.process_time() - began) > 100


def test_check_all_of_the_command_sends_them(modes: TestedLab, capsys: pytest.CaptureFixture[str]) -> None:
    lab = modes.lab
    where = [str(FILE), "--out", str(lab.out), "--instance", str(lab.instance)]

    assert cli.main(["check", *where, "--all", "--only", "routes /bro/ bro-subject-*"]) == 0
    assert "30 cells: 30 as the topology says, 0 wrong" in capsys.readouterr().out
    assert cli.main(["check", *where, "--only", "routes /bro/ bro-subject-*"]) == 2  # not in the basic matrix


def test_a_caller_without_its_key_does_not_even_get_an_answer(modes: TestedLab) -> None:
    """Not in TLS 1.2, and not in 1.3."""
    checks = tuple(check for check in callers.checks(modes.lab.topology) if check.shown.flaw == "wrong-key")
    asked = tuple(check for check in checks if check.host == "routes")

    verdicts = checking.run(asked, modes.running, probes=families.PROBES)

    assert {verdict.observation.status for verdict in verdicts} == {None}
    assert {verdict.observation.failure for verdict in verdicts} <= set(checking.TURNED_AWAY)


# Gateways with a hole


LOOSE = ('if ($caller = "', 'if ($caller ~ "')
"""A comparison as a regular expression."""

BREAKS: dict[str, tuple[str, str, str, str]] = {
    # what was done: file, old, new, the kind of caller whose answer has to be wrong then
    "longer chains are taken": ("nginx.conf", "ssl_verify_depth 1;", "ssl_verify_depth 2;", "chain-too-long"),
    "short keys are taken": ("nginx.conf", "    ssl_ciphers ", "    ssl_ciphers DEFAULT:@SECLEVEL=0:", "rsa-1024"),
    "weak digests are taken": ("nginx.conf", "    ssl_ciphers ", "    ssl_ciphers DEFAULT:@SECLEVEL=0:", "sha-1"),
    "an intermediate's revocation list is not asked for": (
        "nginx.conf", "ssl_crl /etc/nginx/certificates/client-authorities.crl.pem;", "", "intermediate-without-crl"
    ),
    "the root's revocation list is not read": (
        "nginx.conf", "ssl_crl /etc/nginx/certificates/client-authorities.crl.pem;", "", "intermediate-revoked"
    ),
    "a curve is forgotten": ("nginx.conf", ":secp521r1;", ";", "ecdsa-p521"),
    "names are compared without case": ("routes.conf", "if ($caller = ", "if ($caller ~* ", "subject-other-case"),
    "names are compared in part": ("routes.conf", *LOOSE, "subject-comma"),
    "the last common name alone counts": ("routes.conf", *LOOSE, "subject-two-names"),
    "certificates are not asked for": (
        "nginx.conf", "ssl_verify_client optional;", "ssl_verify_client off;", "wrong-key"
    ),
    "certificates are not verified": (
        "nginx.conf", "ssl_verify_client optional;", "ssl_verify_client optional_no_ca;", "impostor-authority"
    ),
}  # fmt: skip


@contextmanager
def changed(tested: TestedLab, file: Path, change: Callable[[bytes], bytes]) -> Iterator[None]:
    """A gateway of the host `routes` with one of its files changed, put right afterwards."""
    good = file.read_bytes()
    assert change(good) != good, "the change would change nothing"
    try:
        writing.write(file, change(good))
        reload(tested, "routes")
        yield
    finally:
        writing.write(file, good)
        reload(tested, "routes")
        assert until(lambda: wrong(tested, of_routes(tested)) == []), "it was not put right"


def of_routes(tested: TestedLab) -> tuple[Check, ...]:
    """Of the gateway that is changed: the basic matrix, and those kinds of callers on one route that a hole betrays."""
    betrayed = {kind for _, _, _, kind in BREAKS.values()} | {"servers-authority"}
    zoo = (
        one
        for one in callers.checks(tested.lab.topology)
        if one.route == "/bro/" and one.tls == "1.2" and one.shown.flaw in betrayed
    )
    return tuple(one for one in (*tested.checks, *zoo) if one.host == "routes" and one.port is None)


def until(satisfied: Callable[[], bool]) -> bool:
    """A reload takes a moment."""
    deadline = time.monotonic() + TURN_SECONDS
    while not satisfied():
        if time.monotonic() > deadline:
            return False
    return True


@pytest.mark.parametrize("name", BREAKS)
def test_a_hole_is_seen_by_the_caller_who_fits_through(modes: TestedLab, name: str) -> None:
    """And by nobody else's cells alone: the betrayed kind's own are wrong."""
    file, old, new, betrayed = BREAKS[name]
    checks = tuple(
        check
        for check in callers.checks(modes.lab.topology)
        if check.host == "routes" and check.port is None and check.shown.flaw == betrayed
    )
    path = looking.mounted(modes.lab, "routes", "/etc/nginx/lab") / file
    assert wrong(modes, checks) == []

    with changed(modes, path, lambda good: good.replace(old.encode(), new.encode())):
        assert until(lambda: wrong(modes, checks) != [])


def test_a_servers_authority_that_is_trusted_for_callers_is_seen(modes: TestedLab) -> None:
    """With its revocation list, as somebody would do it."""
    checks = tuple(
        check
        for check in callers.checks(modes.lab.topology)
        if check.host == "routes" and check.port is None and check.shown.flaw == "servers-authority"
    )
    folder = looking.mounted(modes.lab, "routes", "/etc/nginx/certificates")
    servers = modes.running.authorities / "ssl_ca"
    lists = changed(
        modes, folder / "client-authorities.crl.pem", lambda good: good + (servers / "crl.pem").read_bytes()
    )
    trust = changed(
        modes, folder / "client-authorities.pem", lambda good: good + (servers / "certificate.pem").read_bytes()
    )
    with lists, trust:
        assert until(lambda: wrong(modes, checks) != [])


# Revocation lists: what a gateway has of them is no caller's doing


def lists_of(tested: TestedLab, authority: str) -> list[bytes]:
    end = b"-----END X509 CRL-----\n"
    return [part + end for part in (tested.running.authorities / authority / "crl.pem").read_bytes().split(end)[:-1]]


def expired_list(tested: TestedLab) -> bytes:
    signer = probing.root(tested.running, "server_ca")
    return issuing.crl_pem(issuing.issue_crl(signer, [], now=NOW - timedelta(days=60)))


def list_of_another(tested: TestedLab) -> bytes:
    return lists_of(tested, "ssl_ca")[0]


def no_list(tested: TestedLab) -> bytes:
    return b""


STATES: dict[str, tuple[str, int, Callable[[TestedLab], bytes], str, str]] = {
    # the list that is replaced (authority, number), by what; who is refused then, and who is not
    "expired": ("server_ca", 0, expired_list, "bro", "ann"),
    "of another authority": ("server_ca", 0, list_of_another, "bro", "ann"),
    "missing for the root": ("partners", 0, no_list, "ann", "bro"),
    "missing for the intermediate": ("partners", 1, no_list, "ann", "bro"),
}


@pytest.mark.parametrize("state", STATES)
def test_without_a_good_revocation_list_nobody_of_that_authority_gets_in(modes: TestedLab, state: str) -> None:
    """Others do, and so does whoever shows nothing where nothing is asked; and `check` says that something is wrong."""
    authority, number, make, refused, accepted = STATES[state]
    old = lists_of(modes, authority)[number]
    file = looking.mounted(modes.lab, "routes", "/etc/nginx/certificates") / "client-authorities.crl.pem"
    with changed(modes, file, lambda good: good.replace(old, make(modes))):
        for route in ("/known/", "/open/"):
            assert until(lambda path=route: ask(modes, "routes", f"{path}health", refused).status_code == 400)
        assert ask(modes, "routes", "/known/health", accepted).status_code == 200
        assert ask(modes, "routes", "/open/health").status_code == 200
        verdicts = checking.run(of_routes(modes), modes.running, probes=families.PROBES)
        betrayed = {verdict.check.caller for verdict in verdicts if not verdict.ok}

    assert refused in betrayed
    assert not betrayed & {accepted, "none"}
