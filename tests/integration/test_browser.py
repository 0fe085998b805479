"""What a person sees who opens a lab's hosts in Chromium, with and without trust, with and without a certificate."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.browsing import OpenBrowser, url
from tests.integration.machines import HOME, Machine, machine
from topology.pytest_plugin import TestedLab

pytestmark = pytest.mark.integration

REFUSED_IN_THE_HANDSHAKE = {"ERR_BAD_SSL_CLIENT_AUTH_CERT", "ERR_SOCKET_NOT_CONNECTED", "ERR_CONNECTION_RESET"}
"""Under TLS 1.3 a server's alert follows its own Finished: Chromium reads it, or meets the closed connection first."""


def test_node_is_shown_over_its_own_tls_where_its_authority_is_trusted(
    node_tls: TestedLab, browser: OpenBrowser
) -> None:
    with browser(node_tls, trusted=("ssl_ca",)).tab() as tab:
        answer = tab.open(url(node_tls, "open", "/greet/danish", service="node"))

        assert answer.json() == {"service": "node", "greeting": "Hello, danish"}


def test_an_authority_that_nobody_trusts_is_a_certificate_error(node_tls: TestedLab, browser: OpenBrowser) -> None:
    with browser(node_tls).tab() as tab:
        assert tab.refusal(url(node_tls, "open", "/greet/danish", service="node")) == "ERR_CERT_AUTHORITY_INVALID"


def test_plain_http_needs_no_trust(node_tls: TestedLab, browser: OpenBrowser) -> None:
    with browser(node_tls).tab() as tab:
        answer = tab.open(url(node_tls, "open", "/greet/danish", scheme="http"))

        assert (answer.url, answer.status) == (url(node_tls, "open", "/greet/danish", scheme="http"), 200)


def test_a_service_that_demands_a_certificate_refuses_who_has_none(node_tls: TestedLab, browser: OpenBrowser) -> None:
    with browser(node_tls, trusted=("ssl_ca",)).tab() as tab:
        assert tab.refusal(url(node_tls, "strict", "/greet/danish", service="node")) in REFUSED_IN_THE_HANDSHAKE


def test_a_service_that_demands_a_certificate_answers_who_has_one(node_tls: TestedLab, browser: OpenBrowser) -> None:
    with browser(node_tls, trusted=("ssl_ca",), identity="laptop").tab() as tab:
        answer = tab.open(url(node_tls, "strict", "/greet/danish", service="node"))

        assert answer.json() == {"service": "node", "greeting": "Hello, danish"}


# The gateways of two-host: one route open, one for holders of a certificate


def test_an_open_route_is_shown_to_everyone_who_trusts_the_authority(lab: TestedLab, browser: OpenBrowser) -> None:
    with browser(lab, trusted=("ssl_ca",)).tab() as tab:
        answer = tab.open(url(lab, "server", "/boot/greet/danish"))

        assert answer.json() == {"service": "boot", "greeting": "Hello, danish"}


def test_a_gateway_that_nobody_vouches_for_is_a_certificate_error(lab: TestedLab, browser: OpenBrowser) -> None:
    """The client authority is no reason to trust a server."""
    with browser(lab, trusted=("server_ca",)).tab() as tab:
        assert tab.refusal(url(lab, "server", "/boot/greet/danish")) == "ERR_CERT_AUTHORITY_INVALID"


def test_a_guarded_route_is_forbidden_without_a_certificate(lab: TestedLab, browser: OpenBrowser) -> None:
    with browser(lab, trusted=("ssl_ca",)).tab() as tab:
        assert tab.open(url(lab, "server", "/mtls/greet/danish")).status == 403
        assert "403 Forbidden" in tab.page.title()


def test_a_guarded_route_is_shown_to_who_has_a_certificate(lab: TestedLab, browser: OpenBrowser) -> None:
    """The browser picks the certificate by itself, and the service learns whose it is."""
    with browser(lab, trusted=("ssl_ca",), identity="bro").tab() as tab:
        answer = tab.open(url(lab, "server", "/mtls/whoami"))

        assert answer.status == 200
        assert answer.json()["service"] == "mtls"
        assert answer.json()["headers"]["x-ssl-client-s-dn"] == "CN=bro"


def test_a_browser_without_a_certificate_reaches_the_guarded_route_through_the_other_host(
    lab: TestedLab, browser: OpenBrowser
) -> None:
    with browser(lab, trusted=("ssl_ca",)).tab() as tab:
        answer = tab.open(url(lab, "client", "/mtls/whoami"))

        assert answer.json()["headers"]["x-ssl-client-s-dn"] == "CN=bro"


def test_plain_http_leads_to_https_on_the_published_port(lab: TestedLab, browser: OpenBrowser) -> None:
    with browser(lab, trusted=("ssl_ca",)).tab() as tab:
        answer = tab.open(url(lab, "server", "/boot/greet/danish", scheme="http"))

        assert (answer.url, answer.status) == (url(lab, "server", "/boot/greet/danish"), 200)


# pro-dev: no certificate, no way in


def test_a_host_that_always_asks_shows_a_page_that_says_so(pro_dev: TestedLab, browser: OpenBrowser) -> None:
    with browser(pro_dev, trusted=("ssl_ca",)).tab() as tab:
        assert tab.open(url(pro_dev, "pro", "/greet/danish")).status == 400
        assert "No required SSL certificate was sent" in tab.page.inner_text("body")


def test_a_host_that_always_asks_lets_in_who_has_a_certificate(pro_dev: TestedLab, browser: OpenBrowser) -> None:
    with browser(pro_dev, trusted=("ssl_ca",), identity="bro").tab() as tab:
        assert tab.open(url(pro_dev, "pro", "/greet/danish")).json()["greeting"] == "Hello, danish"


def test_the_laptop_s_gateway_attaches_the_certificate_to_plain_http(pro_dev: TestedLab, browser: OpenBrowser) -> None:
    with browser(pro_dev).tab() as tab:
        answer = tab.open(url(pro_dev, "laptop", "/pro-dev-proxy/greet/danish", scheme="http"))

        assert answer.json() == {"service": "node", "greeting": "Hello, danish"}


# Trust that a person installed


def nss_of(tested: TestedLab, here: Machine, command: str) -> None:
    """`mtls-lab trust COMMAND` for a running lab, on a machine with its topology and its authority."""
    chosen = ("--instance", tested.running.instance or "", "--store", "nss", "--yes")
    answer = here.mtls_lab("trust", command, *chosen, user="person")
    assert answer.code == 0, answer.told


def test_trust_that_was_installed_is_chromium_s_until_it_is_uninstalled(
    terminated: TestedLab, browser: OpenBrowser, machine_sources: Path, tmp_path: Path
) -> None:
    """The database was made by `trust install`; it stays for what its owner put in since."""
    page, database = url(terminated, "web", "/health"), f"{HOME}/.pki/nssdb"
    authority = (terminated.running.authorities / "ssl_ca" / "certificate.pem").read_bytes()
    files = {
        "topology.yaml": Path(terminated.lab.description.file).read_bytes(),
        f"compose/terminated/{terminated.running.authorities.name}/ssl_ca/certificate.pem": authority,
    }
    with machine(machine_sources, files) as here:
        nss_of(terminated, here, "install")
        with browser(terminated, database=here.take(database, tmp_path / "installed")).tab() as tab:
            assert tab.open(page).status == 200

        other = min(here.must("sh", "-c", "ls /usr/share/ca-certificates/mozilla/*.crt").split())
        here.must("certutil", "-A", "-n", "other", "-t", "C,,", "-i", other, "-d", f"sql:{database}", user="person")
        nss_of(terminated, here, "uninstall")
        with browser(terminated, database=here.take(database, tmp_path / "uninstalled")).tab() as tab:
            assert tab.refusal(page) == "ERR_CERT_AUTHORITY_INVALID"
