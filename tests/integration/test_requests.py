"""Every kind of request on every kind of route of a running lab; and gateways in which each sort of them bites."""

from __future__ import annotations

import time

import pytest

from tests.integration.test_broken_gateways import TURN_SECONDS, Break, broken
from topology.proof import checking, expected_requests, families
from topology.proof.checking import Verdict
from topology.proof.expectation import Check
from topology.pytest_plugin import TestedLab

pytestmark = pytest.mark.integration

GUARD = "if ($ssl_client_verify != SUCCESS) {"
NO_SESSIONS = "ssl_session_cache none;\n    ssl_session_tickets off;"
OWN_REDIRECT = "return 301 https://$host$https_port$request_uri;"
WHATEVER_TLS = 'ssl_protocols TLSv1 TLSv1.1 TLSv1.2 TLSv1.3;\n    ssl_conf_command CipherString "ALL:@SECLEVEL=0";'


def changed(file: str, old: str, new: str, betrayed: str) -> Break:
    return Break("every_mode", "vault", file, old, new, betrayed)


def further(directive: str, betrayed: str) -> Break:
    """One more directive for the whole gateway."""
    return changed("nginx.conf", "server_tokens off;", f"server_tokens off; {directive};", betrayed)


BREAKS = {
    "the default server is gone": changed(
        "nginx.conf", "listen 443 ssl default_server;", "listen 444 ssl default_server;", "unknown SNI"
    ),
    "whoever names no server gets one": changed(
        "nginx.conf", "listen 443 ssl default_server;", "listen 444 ssl default_server;", "HTTP/1.0 without Host"
    ),
    "the plain port's default server is gone": changed(
        "nginx.conf", "listen 80 default_server;", "listen 81 default_server;", "plain port, unknown Host"
    ),
    "the plain port serves routes": changed(
        "nginx.conf", OWN_REDIRECT, "include lab/routes.conf;", "plain port, forged identity"
    ),
    "TLS 1.0 is spoken": changed("nginx.conf", "ssl_protocols TLSv1.2 TLSv1.3;", WHATEVER_TLS, "TLS 1.0"),
    "TLS 1.1 is spoken": changed("nginx.conf", "ssl_protocols TLSv1.2 TLSv1.3;", WHATEVER_TLS, "TLS 1.1"),
    "sessions are kept in a shared cache": changed(
        "nginx.conf", NO_SESSIONS, "ssl_session_cache shared:all:1m;", "resumed session, TLS 1.2"
    ),
    "sessions are kept in tickets": changed(
        "nginx.conf", NO_SESSIONS, "ssl_session_tickets on;", "resumed session, TLS 1.3"
    ),
    "HTTP/2 is off": changed("nginx.conf", "http2 on;", "http2 off;", "HTTP/2"),
    "slashes are not merged": further("merge_slashes off", "doubled slashes"),
    "headers with underscores pass": further("underscores_in_headers on", "forged X_SSL_Client_Verify"),
    "large headers are taken": further("large_client_header_buffers 8 64k", "header of 9 KB"),
    "large addresses are taken": further("large_client_header_buffers 8 64k", "URI of 9 KB"),
    "large bodies are taken": changed(
        "nginx.conf", "client_max_body_size 10m;", "client_max_body_size 20m;", "body beyond 10 MB"
    ),
    "who never ends its headers is waited for": changed(
        "nginx.conf", "client_header_timeout 5s;", "client_header_timeout 60s;", "headers that never end"
    ),
    "what callers say of themselves is added to": changed(
        "nginx.conf", "default $remote_addr;", "default $proxy_add_x_forwarded_for;", "forged X-Forwarded-*"
    ),
    "the identity's header is not overwritten": changed(
        "service-headers.conf", "proxy_set_header X-SSL-Client-Verify $client_verify;\n", "",
        "forged X-SSL-Client-Verify",
    ),
    "the name's header is not overwritten": changed(
        "service-headers.conf", "proxy_set_header X-SSL-Client-S-DN $client_subject;\n", "",
        "forged X-SSL-Client-S-DN",
    ),
    "Envoy's header is not taken out": changed(
        "service-headers.conf", 'proxy_set_header X-Forwarded-Client-Cert "";\n', "", "forged X-Forwarded-Client-Cert"
    ),
    "RFC 9440's header is not taken out": changed(
        "service-headers.conf", 'proxy_set_header Client-Cert "";\n', "", "forged Client-Cert (RFC 9440)"
    ),
    "the guard believes a header": changed(
        "routes.conf", GUARD, "if ($http_x_ssl_client_verify != SUCCESS) {", "forged X-SSL-Client-Verify"
    ),
    "the guard looks at the path as it was written": changed(
        "routes.conf", GUARD,
        'set $judged "$ssl_client_verify|$request_uri";\n    if ($judged ~ "^(?!SUCCESS)[^|]*[|]/known/") {',
        "escaped letter",
    ),
    "the guard looks at the path of HTTP/2 as it was written": changed(
        "routes.conf", GUARD,
        'set $judged "$ssl_client_verify|$request_uri";\n    if ($judged ~ "^(?!SUCCESS)[^|]*[|]/known/") {',
        "HTTP/2, doubled slashes",
    ),
    "the guard knows GET alone": changed(
        "routes.conf", GUARD,
        'set $judged "$ssl_client_verify|$request_method";\n    if ($judged ~ "^(?!SUCCESS)[^|]*[|]GET$") {',
        "method POST",
    ),
    "the guard knows HTTP/1.1 alone": changed(
        "routes.conf", GUARD,
        'set $judged "$ssl_client_verify|$server_protocol";\n    if ($judged ~ "^(?!SUCCESS)[^|]*[|]HTTP/1.1$") {',
        "HTTP/1.0",
    ),
    "the guard judges the first request of a connection alone": changed(
        "routes.conf", GUARD,
        'set $judged "$ssl_client_verify|$connection_requests";\n    if ($judged ~ "^(?!SUCCESS)[^|]*[|]1$") {',
        "pipelined behind another route",
    ),
    "an open route leads on by the rest of its path": changed(
        "routes.conf", 'rewrite "(?s)^/open/',
        'if ($request_uri ~ "^/open/[.][.];/known/whoami") {\n        set $prefix "/known";\n'
        '        rewrite ^ /whoami break;\n        proxy_pass http://node;\n    }\n    rewrite "(?s)^/open/',
        "dots with a semicolon",
    ),
}  # fmt: skip


def sent(tested: TestedLab, kind: str | None = None) -> tuple[Check, ...]:
    """All cells; or those of a kind at the gateway that is broken."""
    checks = expected_requests.checks(tested.lab.topology)
    return tuple(c for c in checks if kind is None or (c.host, c.request, c.port) == ("vault", kind, None))


def wrong(tested: TestedLab, checks: tuple[Check, ...]) -> list[Verdict]:
    verdicts = checking.run(checks, tested.running, probes=families.PROBES)
    return [verdict for verdict in verdicts if not verdict.ok]


def test_every_request_on_every_route_is_answered_as_expected(every_mode: TestedLab) -> None:
    """More than 2,000 cells."""
    checks = sent(every_mode)
    found = wrong(every_mode, checks)

    assert [(verdict.check.id, verdict.observed, verdict.observation.detail[:200]) for verdict in found] == []
    assert len(checks) > 2000


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_gateway_turns_its_cells_red(every_mode: TestedLab, name: str) -> None:
    """The kind of request that the change lets through, or answers otherwise, is among the wrong ones."""
    change = BREAKS[name]
    checks = sent(every_mode, change.betrayed)
    with broken(every_mode, change):
        deadline = time.monotonic() + TURN_SECONDS
        while not (found := wrong(every_mode, checks)) and time.monotonic() < deadline:
            time.sleep(0.05)

    assert found, f"{change.betrayed} did not notice"


def test_the_gateways_are_as_before(every_mode: TestedLab) -> None:
    """So it is each change that turned its cells red."""
    found = wrong(every_mode, sent(every_mode))

    assert [(verdict.check.id, verdict.observed, verdict.observation.detail[:200]) for verdict in found] == []
