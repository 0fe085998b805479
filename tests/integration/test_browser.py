"""What a person sees who opens a lab's hosts in Chromium, with and without trust, with and without a certificate."""

from __future__ import annotations

import pytest

from tests.integration.browsing import OpenBrowser
from topology.pytest_plugin import TestedLab

pytestmark = pytest.mark.integration

REFUSED_IN_THE_HANDSHAKE = {"ERR_BAD_SSL_CLIENT_AUTH_CERT", "ERR_SOCKET_NOT_CONNECTED", "ERR_CONNECTION_RESET"}
"""Under TLS 1.3 a server's alert follows its own Finished: Chromium reads it, or meets the closed connection first."""


def test_node_is_shown_over_its_own_tls_where_its_authority_is_trusted(
    node_tls: TestedLab, browser: OpenBrowser
) -> None:
    with browser(node_tls, trusted=("ssl_ca",)).tab() as tab:
        answer = tab.open("https://node.lab.test:3300/greet/danish")

        assert answer.json() == {"service": "node", "greeting": "Hello, danish"}


def test_an_authority_that_nobody_trusts_is_a_certificate_error(node_tls: TestedLab, browser: OpenBrowser) -> None:
    with browser(node_tls).tab() as tab:
        assert tab.refusal("https://node.lab.test:3300/greet/danish") == "ERR_CERT_AUTHORITY_INVALID"


def test_plain_http_needs_no_trust(node_tls: TestedLab, browser: OpenBrowser) -> None:
    with browser(node_tls).tab() as tab:
        answer = tab.open("http://node.lab.test:3200/greet/danish")

        assert (answer.url, answer.status) == ("http://node.lab.test:3200/greet/danish", 200)


def test_a_service_that_demands_a_certificate_refuses_who_has_none(node_tls: TestedLab, browser: OpenBrowser) -> None:
    with browser(node_tls, trusted=("ssl_ca",)).tab() as tab:
        assert tab.refusal("https://strict.lab.test:3301/greet/danish") in REFUSED_IN_THE_HANDSHAKE


def test_a_service_that_demands_a_certificate_answers_who_has_one(node_tls: TestedLab, browser: OpenBrowser) -> None:
    with browser(node_tls, trusted=("ssl_ca",), identity="laptop").tab() as tab:
        answer = tab.open("https://strict.lab.test:3301/greet/danish")

        assert answer.json() == {"service": "node", "greeting": "Hello, danish"}
