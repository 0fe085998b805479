"""What gateways do besides letting people in: names, redirects, pages, headers, TLS, logs."""

from __future__ import annotations

import json
import socket
import ssl
import uuid
from typing import Any

import httpx
import pytest
import requests

from tests.integration.conftest import ask, eventually, whoami
from topology.pytest_plugin import TestedLab

pytestmark = pytest.mark.integration

FORGED = {
    "X-SSL-Client-Verify": "SUCCESS",
    "X-SSL-Client-S-DN": "CN=bro",
    "X-SSL-Client-I-DN": "CN=server_ca,O=two-host",
    "X-SSL-Client-Serial": "01",
    "X-SSL-Client-Fingerprint": "00",
    "X-Forwarded-For": "192.0.2.7",
    "X-Forwarded-Proto": "gopher",
    "X-Forwarded-Host": "evil.test",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-Client-Cert": "forged",
    "X_SSL_Client_Verify": "SUCCESS",
    "Forwarded": "for=192.0.2.7",
    "X-Real-IP": "192.0.2.7",
}
ROUTES = [("server", "/boot/"), ("client", "/fast/"), ("client", "/next/"), ("client", "/node/"), ("client", "/mtls/")]


# Names


def test_an_unknown_name_is_refused_in_the_handshake(lab: TestedLab) -> None:
    """No certificate is shown for a name that the host does not have."""
    with pytest.raises(requests.exceptions.SSLError, match="UNRECOGNIZED_NAME"):
        ask(lab, "server", "/boot/health", name="unknown.lab.test")


def test_a_known_name_in_the_handshake_opens_no_door_to_another_one(lab: TestedLab) -> None:
    """The Host header decides nothing that the handshake did not."""
    assert ask(lab, "server", "/mtls/health", "bro", headers={"Host": "unknown.lab.test"}).status_code == 421


def test_an_unknown_name_on_the_plain_port_is_misdirected(lab: TestedLab) -> None:
    assert ask(lab, "server", "/boot/health", scheme="http", name="unknown.lab.test").status_code == 421


def test_a_host_header_beside_a_whole_url_says_nothing(lab: TestedLab) -> None:
    """HTTP's absolute form: the request line names the server, and services never see the other name."""
    endpoint = lab.running.endpoints["server"]
    context = ssl.create_default_context(cafile=str(lab.running.authorities / "ssl_ca" / "certificate.pem"))
    request = (
        f"GET https://ec3.lab.test:{endpoint.https}/boot/whoami HTTP/1.1\r\n"
        f"Host: evil.test:{endpoint.https}\r\nConnection: close\r\n\r\n"
    )
    with (
        socket.create_connection((endpoint.address, endpoint.https)) as connection,
        context.wrap_socket(connection, server_hostname="ec3.lab.test") as tls,
    ):
        tls.sendall(request.encode())
        answer = b"".join(iter(lambda: tls.recv(65536), b"")).decode()

    assert "200" in answer.splitlines()[0]
    assert "evil" not in answer
    assert f"ec3.lab.test:{endpoint.https}" in answer


def test_an_alias_is_the_host_too(guarded: TestedLab) -> None:
    """On its certificate, and for its gateway."""
    assert ask(guarded, "vault", "/open/health", name="safe.guarded.test").status_code == 200


# Redirects and pages


def test_the_plain_port_redirects_to_https(lab: TestedLab) -> None:
    """With ports that Docker chose the port is left out: nobody inside knows it."""
    answer = ask(lab, "client", "/fast/greet/bro?x=1", scheme="http")

    assert answer.status_code == 301
    assert answer.headers["Location"] == "https://ec2.lab.test/fast/greet/bro?x=1"


def test_the_plain_port_redirects_to_the_port_that_its_caller_knows(lab: TestedLab) -> None:
    """The topology publishes 8080 and 8443: who came by the one is sent to the other."""
    answer = ask(lab, "client", "/fast/", scheme="http", headers={"Host": "ec2.lab.test:8080"})

    assert answer.headers["Location"] == "https://ec2.lab.test:8443/fast/"


def test_the_gateway_s_own_redirects_are_relative(lab: TestedLab) -> None:
    """An absolute one would lose the published port."""
    answer = ask(lab, "server", "/boot")

    assert (answer.status_code, answer.headers["Location"]) == (301, "/boot/")


def test_the_index_page_names_the_routes(lab: TestedLab) -> None:
    answer = ask(lab, "server", "/")

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/html"
    assert '<a href="./mtls/greet/you"><code>/mtls/</code></a>' in answer.text


def test_what_is_not_there_is_a_page_of_the_host(lab: TestedLab) -> None:
    answer = ask(lab, "server", "/nowhere")

    assert answer.status_code == 404
    assert "No route of <code>ec3.lab.test</code> leads there" in answer.text


# Headers


@pytest.mark.parametrize(("host", "route"), ROUTES)
def test_nobody_can_forge_what_a_gateway_says(lab: TestedLab, host: str, route: str) -> None:
    """Whatever a caller claims about itself, the service sees what the gateway knows, on every route."""
    seen = whoami(lab, host, route, headers=FORGED)["headers"]
    told = json.dumps({name: value for name, value in seen.items() if name not in ("host", "x-request-id")})

    assert "192.0.2.7" not in told
    assert "evil" not in told
    assert "gopher" not in told
    assert "forged" not in told
    if route == "/mtls/":
        assert seen["x-ssl-client-s-dn"] == "CN=bro"
        assert seen["x-ssl-client-i-dn"] == "CN=server_ca,O=two-host"
        assert seen["x-ssl-client-serial"] != "01"
    else:
        assert seen["x-ssl-client-verify"] == "NONE"
        assert not {name for name in seen if name.startswith("x-ssl-client-") and name != "x-ssl-client-verify"}


@pytest.mark.parametrize(("host", "route"), ROUTES)
def test_a_service_learns_where_its_caller_came_in(lab: TestedLab, host: str, route: str) -> None:
    """Through two gateways the first one's word holds: it is the address that the caller used."""
    seen = whoami(lab, host, route)["headers"]
    first = lab.lab.topology.hosts[host].domain

    assert seen["x-forwarded-proto"] == "https"
    assert seen["x-forwarded-host"] == f"{first}:{lab.running.endpoints[host].https}"
    assert seen["x-forwarded-prefix"] == route.rstrip("/")
    assert len(seen["x-forwarded-for"].split(",")) == (2 if route == "/mtls/" else 1)


def test_a_verified_caller_is_named_to_the_service(lab: TestedLab) -> None:
    seen = whoami(lab, "server", "/mtls/", "bro")

    assert seen["service"] == "mtls"
    assert seen["headers"]["x-ssl-client-verify"] == "SUCCESS"
    assert seen["headers"]["x-ssl-client-s-dn"] == "CN=bro"
    assert seen["headers"]["x-ssl-client-fingerprint"]


@pytest.mark.parametrize(("host", "route"), ROUTES)
def test_a_caller_s_request_id_goes_all_the_way(lab: TestedLab, host: str, route: str) -> None:
    request_id = str(uuid.uuid4())

    assert whoami(lab, host, route, headers={"X-Request-ID": request_id})["headers"]["x-request-id"] == request_id


@pytest.mark.parametrize("bad", ["short", "x" * 20, "0123456789ABCDEF", "a" * 65, "12345678; drop"])
def test_a_request_id_that_is_none_is_replaced(lab: TestedLab, bad: str) -> None:
    """Log lines and headers take no caller's free text."""
    seen = whoami(lab, "client", "/node/", headers={"X-Request-ID": bad})["headers"]["x-request-id"]

    assert seen != bad
    assert len(seen) == 32


# TLS


def test_callers_are_served_over_http_2(lab: TestedLab) -> None:
    endpoint = lab.running.endpoints["server"]
    context = ssl.create_default_context(cafile=str(lab.running.authorities / "ssl_ca" / "certificate.pem"))
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((endpoint.address, endpoint.https)) as connection,
        context.wrap_socket(connection, server_hostname="ec3.lab.test") as tls,
    ):
        assert tls.selected_alpn_protocol() == "h2"


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
def test_old_tls_is_not_spoken(lab: TestedLab, version: str) -> None:
    """Mozilla's intermediate configuration begins at TLS 1.2."""
    endpoint = lab.running.endpoints["server"]
    context = ssl.create_default_context(cafile=str(lab.running.authorities / "ssl_ca" / "certificate.pem"))
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="is deprecated"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    with (
        socket.create_connection((endpoint.address, endpoint.https)) as connection,
        pytest.raises(ssl.SSLError, match=r"(?i)protocol version|unsupported protocol|no protocols"),
    ):
        context.wrap_socket(connection, server_hostname="ec3.lab.test")


def test_hsts_is_not_sent(lab: TestedLab) -> None:
    """It would shut the lab's plain port to browsers, and that of the next lab on the same name."""
    assert "Strict-Transport-Security" not in ask(lab, "server", "/boot/health").headers


def test_sessions_are_not_resumed(lab: TestedLab) -> None:
    """A resumed session would not meet a newer CRL: every connection shows its certificate."""
    endpoint = lab.running.endpoints["server"]
    context = ssl.create_default_context(cafile=str(lab.running.authorities / "ssl_ca" / "certificate.pem"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    session = None
    for _ in range(2):
        with (
            socket.create_connection((endpoint.address, endpoint.https)) as connection,
            context.wrap_socket(connection, server_hostname="ec3.lab.test", session=session) as tls,
        ):
            session = tls.session
            assert not tls.session_reused


# Logs


def test_the_access_log_names_request_and_caller(lab: TestedLab) -> None:
    """One JSON line for a request on each gateway, joined by its id."""
    request_id = str(uuid.uuid4())
    assert ask(lab, "client", "/mtls/health", headers={"X-Request-ID": request_id}).status_code == 200

    lines: dict[str, list[dict[str, Any]]] = {}

    def written() -> bool:
        for host, stack in lab.hosts.items():
            told = [one for one in stack.get_logs("gateway")[0].splitlines() if request_id in one and "{" in one]
            lines[host] = [json.loads(line[line.index("{") :]) for line in told]
        return all(lines.values())

    eventually(written)
    assert len(lines["client"]) == len(lines["server"]) == 1
    assert lines["server"][0]["client_verify"] == "SUCCESS"
    assert lines["server"][0]["client_subject"] == "CN=bro"
    assert lines["server"][0]["status"] == 200


# The listener for a host's own services


def test_an_application_calls_its_partner_without_a_certificate(lab: TestedLab) -> None:
    """`fast` asks its own gateway in plain HTTP; the gateway is `bro` to the partner."""
    answer = ask(lab, "client", "/fast/partner/mtls/greet/danish")

    assert (answer.status_code, answer.json()) == (200, {"service": "mtls", "greeting": "Hello, danish"})


@pytest.mark.parametrize(
    ("path", "status"), [("inside/health", 200), ("open/health", 200), ("known/health", 403), ("alice/health", 403)]
)
def test_guards_hold_inside_too_and_internal_routes_are_open_there(guarded: TestedLab, path: str, status: int) -> None:
    """A service has no certificate to show, so what requires one is closed to it."""
    assert ask(guarded, "vault", f"/fast/partner/{path}").status_code == status


def test_an_environment_value_is_what_the_topology_says(guarded: TestedLab) -> None:
    """Compose would read `$5` as a variable."""
    command = ["venv/bin/python", "-c", "import os; print(os.environ['PRICE'])"]

    assert guarded.hosts["vault"].exec_in_container(command, "fast")[0].strip() == "$5 {each}"


# Identities on the way out


@pytest.mark.parametrize("order", [("as-alice", "as-nobody"), ("as-nobody", "as-alice"), ("as-alice", "as-bob")])
def test_kept_connections_never_lend_an_identity_to_another_route(guarded: TestedLab, order: tuple[str, ...]) -> None:
    """nginx keeps connections and TLS sessions per upstream: each identity has one of its own."""
    expected = {"as-alice": 200, "as-bob": 403, "as-nobody": 403}
    for _ in range(5):
        for route in order:
            assert ask(guarded, "office", f"/{route}/health").status_code == expected[route]


def test_http_2_callers_reach_services_too(lab: TestedLab) -> None:
    """As browsers do: the Host header is the `:authority` of the request."""
    endpoint = lab.running.endpoints["client"]
    context = ssl.create_default_context(cafile=str(lab.running.authorities / "ssl_ca" / "certificate.pem"))

    class ToLoopback(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            request.extensions["sni_hostname"] = request.url.host
            request.url = request.url.copy_with(host=endpoint.address)
            return super().handle_request(request)

    url = f"https://ec2.lab.test:{endpoint.https}/node/whoami"
    with httpx.Client(transport=ToLoopback(verify=context, http2=True), trust_env=False) as client:
        answer = client.get(url)

    assert answer.http_version == "HTTP/2"
    assert answer.json()["headers"]["host"] == f"ec2.lab.test:{endpoint.https}"
