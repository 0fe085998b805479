"""The table of requests, by hand: what each kind is answered on each kind of route, written down and not computed."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from topology.description import loading
from topology.generation.headers import CALLER_HEADERS, REMOVED_HEADERS
from topology.proof import expected_requests, families
from topology.proof.expectation import NOBODY, REFUSED, Check
from topology.proof.request_kinds import CLOSED, KINDS, Raw
from topology.proof.request_paths import LEFT
from topology.proof.witness import FORGED

LABS = Path(__file__).parents[1] / "fixtures" / "labs"
TOPOLOGY = loading.load(Path(__file__).parent / "integration" / "every_mode.yaml").topology
CHECKS = expected_requests.checks(TOPOLOGY)

COLUMNS = (
    ("vault", "/open/", "none"),  # open, on a gateway that asks for certificates
    ("vault", "/known/", "none"),  # required
    ("vault", "/known/", "alice"),
    ("vault", "/inside/", "none"),  # internal
    ("strict", "/", "none"),  # verify: always
    ("strict", "/", "alice"),
    ("office", "/node/", "none"),  # a gateway that never asks
    ("office", "/as-nobody/", "none"),  # egress, where the other host refuses
    ("vault", "/files/", "none"),  # files
    ("plain", "/", "none"),  # no TLS
)
___ = "not sent"

TABLE = {
    (REFUSED, REFUSED, REFUSED, REFUSED, REFUSED, REFUSED, REFUSED, REFUSED, REFUSED, ___): (
        "no SNI", "unknown SNI", "SNI of another host",
    ),
    (REFUSED, REFUSED, ___, REFUSED, REFUSED, ___, REFUSED, REFUSED, REFUSED, ___): (
        "address in the place of a name", "a broken handshake", "TLS 1.0", "TLS 1.1", "old ciphers",
        "renegotiation",
    ),
    (200, 403, ___, 403, 400, ___, 200, 403, 200, ___): (
        "SNI in capitals", "session of another server, TLS 1.2", "session of another server, TLS 1.3",
    ),
    (421, 421, 421, 421, 421, 421, 421, 421, 421, 421): (
        "unknown Host", "Host of another host", "HTTP/1.0 without Host", "HTTP/0.9", "HTTP/2, unknown authority",
        "absolute form, unknown name",
    ),
    (421, 421, ___, 421, 421, ___, 421, 421, 421, 421): (
        "Host is an address", "Host with a user", "HTTP/2, authority of another host",
    ),
    (200, 403, ___, 403, 400, ___, 200, 403, 200, 200): (
        "Host in capitals", "Host with a dot at its end", "Host with another port", "HTTP/1.9",
        "HTTP/2, doubled slashes", "HTTP/2, dots from another route", "Expect: 100-continue",
        "empty lines before the request", "doubled slashes", "dot folders", "dots within the route",
        "dots from another route", "escaped dots from another route", "escaped slash from another route",
        "escaped letter", "escaped slash", "absolute form", "absolute form, another scheme",
        "absolute form, another Host", "fragment", "query like a path", "header of 6 KB", "line feeds alone",
        "request in chunks of another",
    ),
    (400, 400, ___, 400, 400, ___, 400, 400, 400, 400): (
        "Host with a path", "two Host headers", "no Host", "dots above the root", "escaped dots above the root",
        "null byte", "broken escape", "space in the path", "control character in the path", "no slash", "asterisk",
        "method in small letters", "header of 9 KB", "80 headers, 40 KB", "2,000 headers, 40 KB",
        "Content-Length, then Transfer-Encoding", "Transfer-Encoding, then Content-Length", "two lengths",
        "the same length twice", "a list of lengths", "a negative length", "a length with a sign",
        "a length beyond 64 bits", "two Transfer-Encodings", "Transfer-Encoding in HTTP/1.0",
        "space before the colon", "folded header", "folded first header", "carriage return alone",
        "null byte in a header", "null byte in a header's name", "header without a name",
    ),
    (421, 421, ___, 421, ___, ___, ___, ___, 421, ___): (
        "alias as Host",
    ),
    (400, 400, ___, 400, 400, ___, 400, 400, 400, ___): (
        "plain HTTP on the TLS port", "garbage on the TLS port", "TLS on the plain port",
    ),
    (200, 403, 200, 403, 400, 200, 200, 403, 200, ___): (
        "resumed session, TLS 1.2", "resumed session, TLS 1.3",
    ),
    (301, 301, ___, 301, 301, ___, 301, 301, 301, ___): (
        "plain port", "plain port, forged identity", "plain port, HTTP/2",
    ),
    (421, 421, ___, 421, 421, ___, 421, 421, 421, ___): (
        "plain port, unknown Host",
    ),
    (200, 403, 200, 403, 400, 200, 200, 403, 200, 200): (
        "HTTP/1.0", "upgrade to h2c", "HTTP/2", "HTTP/2, two streams at once", "pipelined behind another route",
        "pipelined before another route", "request in the body of another", "headers line by line",
        "forged X-SSL-Client-Verify", "forged X-SSL-Client-Verify, small letters",
        "forged X-SSL-Client-Verify, capitals", "forged X-SSL-Client-Verify, twice",
        "forged X-SSL-Client-Verify after a true one", "forged X_SSL_Client_Verify", "forged X-SSL-Client-S-DN",
        "forged X_SSL_Client_S_DN", "forged X-SSL-Client-I-DN", "forged serial and fingerprint",
        "forged identity, whole", "forged X-SSL-Client-Cert", "forged X-Forwarded-Client-Cert",
        "forged Client-Cert (RFC 9440)", "forged ssl-client-* (ingress-nginx)",
        "forged X-Forwarded-Tls-Client-Cert (Traefik)", "forged X-SSL-Client-CN (HAProxy)",
        "forged certificate (AWS, Azure)", "forged X-Forwarded-*", "forged identity named in Connection",
        "forged identity in HTTP/2",
    ),
    (505, 505, ___, 505, 505, ___, 505, 505, 505, 505): (
        "HTTP/2.0 in the request line",
    ),
    (LEFT, 403, ___, 403, 400, ___, LEFT, 403, 200, LEFT): (
        "upgrade to WebSocket", "method HEAD",
    ),
    (404, LEFT, ___, LEFT, 400, ___, LEFT, LEFT, LEFT, LEFT): (
        "slash escaped twice", "dots escaped twice", "dots with a semicolon", "backslashes", "overlong dots",
        "three dots",
    ),
    (404, 404, ___, 404, 400, ___, 404, 404, 404, LEFT): (
        "semicolon in the route", "capitals",
    ),
    (301, 301, ___, 301, 400, ___, 301, 301, 301, LEFT): (
        "without the final slash",
    ),
    (LEFT, 403, ___, 403, 400, ___, LEFT, 403, 405, LEFT): (
        "method POST", "method PUT", "method PATCH", "method DELETE", "method OPTIONS", "method PROPFIND",
        "method UNHEARD-OF",
    ),
    (405, 405, ___, 405, 405, ___, 405, 405, 405, 405): (
        "method TRACE", "method CONNECT",
    ),
    (414, 414, ___, 414, 414, ___, 414, 414, 414, 414): (
        "URI of 9 KB",
    ),
    (413, 413, ___, 413, 400, ___, 413, 413, 413, 413): (
        "body beyond 10 MB",
    ),
    (501, 501, ___, 501, 501, ___, 501, 501, 501, 501): (
        "Transfer-Encoding of two codings", "Transfer-Encoding misspelt", "Transfer-Encoding after a tab",
    ),
    (CLOSED, CLOSED, ___, CLOSED, CLOSED, ___, CLOSED, CLOSED, CLOSED, CLOSED): (
        "headers that never end",
    ),
    (400, 400, 400, 400, 400, 400, 400, 400, 400, 400): (
        "forged identity, space before the colon", "forged identity in a folded header",
    ),
    (LEFT, 403, LEFT, 403, 400, LEFT, LEFT, 403, ___, LEFT): (
        "forged identity in a trailer",
    ),
}  # fmt: skip
"""The columns' answers -> the kinds of requests that get them."""

ROWS = [(kind, answers) for answers, kinds in TABLE.items() for kind in kinds]


def answers(kind: str) -> tuple[int | str, ...]:
    found = {(c.host, c.route, c.caller): c.expected for c in CHECKS if c.request == kind and c.port is None}
    return tuple(found.get(column, ___) for column in COLUMNS)


@pytest.mark.parametrize(("kind", "row"), ROWS, ids=[kind for kind, _ in ROWS])
def test_each_kind_is_answered_as_the_table_says(kind: str, row: tuple[int | str, ...]) -> None:
    assert answers(kind) == row


def test_the_table_knows_every_kind() -> None:
    """A new kind needs its row."""
    assert {kind for kind, _ in ROWS} == set(KINDS)


def test_there_are_at_least_fifty_kinds_on_every_route() -> None:
    kinds: dict[tuple[str, str], set[str]] = defaultdict(set)
    for check in CHECKS:
        if check.port is None:
            kinds[check.host, check.route].add(check.request)

    assert set(kinds) == {(name, prefix) for name, host in TOPOLOGY.hosts.items() for prefix in host.routes}
    assert min(map(len, kinds.values())) >= 50


PASSAGES = [
    # kind, then: nobody where a certificate is required, its holder there, nobody where none is
    ("no SNI", REFUSED, ___, ___),
    ("unknown SNI", REFUSED, ___, ___),
    ("SNI of another host", REFUSED, ___, ___),
    ("unknown Host", REFUSED, ___, ___),
    ("HTTP/1.0", REFUSED, ___, ___),
    ("forged identity, whole", REFUSED, ___, ___),
    ("plain HTTP on the TLS port", REFUSED, REFUSED, REFUSED),
    ("a broken handshake", REFUSED, REFUSED, REFUSED),
    ("TLS 1.0", REFUSED, REFUSED, REFUSED),
    ("TLS 1.1", REFUSED, REFUSED, REFUSED),
    ("renegotiation", REFUSED, REFUSED, REFUSED),
    ("resumed session, TLS 1.2", ___, 200, 200),
    ("resumed session, TLS 1.3", ___, 200, 200),
]


def test_a_service_s_own_tls_opens_to_nobody_without_a_certificate() -> None:
    """What else it makes of odd requests is the application's affair."""
    wanted = {
        (host, kind, caller): answer
        for kind, *row in PASSAGES
        for (host, caller), answer in zip(
            (("vault", "none"), ("vault", "alice"), ("office", "none")), row, strict=True
        )
        if answer != ___
    }  # fmt: skip

    assert {(c.host, c.request, c.caller): c.expected for c in CHECKS if c.port is not None} == wanted


def test_of_an_application_that_is_no_sample_only_refusals_are_expected() -> None:
    text = """
name: own
authorities: {ssl_ca: {}, client_ca: {}}
identities: {bro: {authority: client_ca}}
hosts:
  web:
    domain: web.own.test
    client_certificates: {authority: client_ca}
    services:
      shut: {image: "shut:1", port: 80, health: /, tls: {port: 3443, client_certificate: required}}
      open: {image: "open:1", port: 80, health: /, tls: {port: 3444}}
    routes: {/: {service: shut}}
"""
    topology = loading.parse(text, LABS / "own.yaml", loading.catalog.kinds(LABS / "two-host.yaml")).topology
    found = {(c.port, c.caller, c.expected) for c in expected_requests.checks(topology) if c.port is not None}

    assert found == {(3443, NOBODY, REFUSED)}


@pytest.mark.parametrize("lab", sorted(LABS.glob("*.yaml")), ids=lambda lab: lab.stem)
def test_no_check_stands_twice_and_each_says_why(lab: Path) -> None:
    checks = expected_requests.checks(loading.load(lab).topology)

    assert len({check.id for check in checks}) == len(checks)
    assert all(check.why[:1].isupper() and check.why.endswith(".") for check in checks)
    assert {check.family for check in checks} == {"request"}


def test_an_identity_whose_key_is_held_elsewhere_is_not_shown() -> None:
    assert "alice" in {check.caller for check in CHECKS}
    assert "alice" not in {check.caller for check in expected_requests.checks(TOPOLOGY, ["alice"])}


def test_check_all_sends_them() -> None:
    assert {check.request for check in families.checks(TOPOLOGY)} > set(KINDS)


@pytest.mark.parametrize("route", ["/known/", "/known/alice/", "/inside/"])
def test_nobody_is_ever_expected_to_pass_a_protected_route(route: str) -> None:
    """Where a trick leads to another route, that route answers."""
    passed = [c for c in CHECKS if (c.host, c.route, c.caller) == ("vault", route, NOBODY) and c.expected == 200]

    assert passed == []


def test_every_header_that_gateways_keep_from_services_is_made_up_by_some_request() -> None:
    """Else nobody would notice that one of them is let through."""
    forged = {
        line.partition(b":")[0].strip().lower()
        for check in CHECKS
        if "forged" in check.request
        for line in bytes_of(check).splitlines()
        if FORGED.encode() in line or b"SUCCESS" in line
    }

    assert {name.lower().encode() for name in (*REMOVED_HEADERS, *(name for name, _ in CALLER_HEADERS))} <= forged


def bytes_of(check: Check) -> bytes:
    sent = KINDS[check.request].sends(expected_requests.aim_of(TOPOLOGY, check))
    return b"".join(sent.parts) if isinstance(sent, Raw) else b""
