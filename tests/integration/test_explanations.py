"""Problems that people had: a good lab is broken in one place, and explain names that place and not its look-alike."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests import issuers
from tests.integration.conftest import eventually
from tests.issuers import Authority
from topology import cli
from topology.errors import NotReady
from topology.explaining import cells, gathering
from topology.explaining.asking import Question
from topology.explaining.reasoning import Explanation
from topology.proof import checking, families
from topology.pytest_plugin import TestedLab, brought_up
from topology.report import explanation, matrix
from topology.runtime import altering, engine, looking, stacks

pytestmark = pytest.mark.integration

NOW = datetime.now(UTC)
TRUSTED = "client-authorities.pem"
LISTS = "client-authorities.crl.pem"
Shown = tuple[bytes, bytes]
"""Certificate with its chain, and key, in PEM."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedLab]:
    with brought_up(Path(__file__).parent / "explained.yaml", tmp_path_factory.mktemp("stacks")) as tested:
        yield tested


@dataclass(frozen=True)
class Edit:
    """One change to a gateway's configuration."""

    host: str
    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Broken:
    """A lab with one thing wrong, a question about it, and what has to be named.

    edits: of configurations; files: host and file below its certificates -> content; shown: a certificate of one's own;
    names: what the explanation has to say, beside the cause.
    """

    cause: str
    url: str
    edits: tuple[Edit, ...] = ()
    files: Callable[[Mapping[str, bytes]], Mapping[tuple[str, str], bytes]] = field(default=lambda _: {})
    shown: Callable[[], Shown] | None = None
    asked: Mapping[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    directive: str = ""


def trusting(*authorities: Authority) -> Callable[[Mapping[str, bytes]], Mapping[tuple[str, str], bytes]]:
    """The server trusts these authorities for clients, and has their revocation lists."""
    return lambda _: {
        ("server", TRUSTED): b"".join(one.pem for one in authorities),
        ("server", LISTS): b"".join(one.crl() for one in authorities),
    }


def in_server(old: str, new: str, file: str = "nginx.conf") -> tuple[Edit, ...]:
    return (Edit("server", file, old, new),)


def in_client(old: str, new: str, file: str = "routes.conf") -> tuple[Edit, ...]:
    return (Edit("client", file, old, new),)


ROOT = issuers.root("acme root")
ABOVE = issuers.below(ROOT, "acme one")
BELOW = issuers.below(ABOVE, "acme two")
TWIN = issuers.root("acme root")
WEAK = issuers.root("weak root", bits=1024)
SHORT = issuers.below(ROOT, "acme short", path_length=0)
TOO_LONG = issuers.below(SHORT, "acme too long")

APP, MTLS = "https://inner.lab.test/app/health", "https://inner.lab.test/mtls/health"
OUT, OUT_PLAIN = "https://outer.lab.test/mtls/health", "https://outer.lab.test/plain/health"
HEADERS = '    include lab/service-headers.conf;\n    rewrite "(?s)^/app/'
UNTOUCHED = '    include lab/service-headers.conf;\n    proxy_redirect off;\n    rewrite "(?s)^/app/'
ASKED = "ssl_verify_client optional;"


def answering(**wanted: Any) -> dict[str, Any]:
    """What the service behind has to answer."""
    return {"headers": {"X-Answer": json.dumps(wanted)}}


def client(authority: Authority, *, sent: tuple[Authority, ...] = (), **changed: Any) -> Callable[[], Shown]:
    def made() -> Shown:
        certificate, key = authority.client("bro", **changed)
        return certificate + b"".join(one.pem for one in sent), key

    return made


def server_certificate(**changed: Any) -> Callable[[Mapping[str, bytes]], Mapping[tuple[str, str], bytes]]:
    """Another certificate for the server's gateway, of an authority that callers then trust."""

    def made(_: Mapping[str, bytes]) -> Mapping[tuple[str, str], bytes]:
        certificate, key = ROOT.server("inner.lab.test", **changed)
        return {("server", "server.pem"): certificate, ("server", "server.key"): key, ("anchor", "ssl_ca"): ROOT.pem}

    return made


SYMPTOMS = {
    "2 plain HTTP from the egress proxy to a TLS port": Broken(
        "egress-speaks-plain-http", OUT, in_client("proxy_pass https://", "proxy_pass http://"),
        names=("client's gateway speaks plain HTTP",), directive="proxy_pass http://",
    ),
    "4 a redirect without the published port": Broken(
        "redirect-to-inner-port", "https://inner.lab.test/app", in_server("absolute_redirect off;", ""),
        names=("published port",),
    ),
    "5 headers vanish in one location": Broken(
        "headers-lost", APP, (
            *in_server("    listen 443 ssl;\n        server_name", "    listen 443 ssl;\n        "
                       "proxy_set_header X-Request-ID $trace_id;\n        server_name"),
            *in_server('set $prefix "/app";\n    set $base "";\n    set $asked_at "$forwarded_proto://$host$asked_port";'
                       "\n    include lab/service-headers.conf;",
                       'set $prefix "/app";\n    set $base "";\n    set $asked_at "$forwarded_proto://$host$asked_port";'
                       "\n    proxy_set_header X-Extra 1;", "routes.conf"),
        ), names=("X-Request-ID",),
    ),
    "8 the smaller limit of two gateways": Broken(
        "body-too-large", OUT_PLAIN, in_client("client_max_body_size 10m;", "client_max_body_size 1m;", "nginx.conf"),
        asked={"method": "POST", "body": bytes(2 * 1024 * 1024)}, names=("client's gateway",),
        directive="client_max_body_size 1m",
    ),
    "8 the smaller limit is the inner one": Broken(
        "body-too-large", OUT_PLAIN, in_server("client_max_body_size 10m;", "client_max_body_size 1m;"),
        asked={"method": "POST", "body": bytes(2 * 1024 * 1024)}, names=("server's gateway", "client allows 10m"),
    ),
    "1 the address that nginx keeps belongs to nobody": Broken(
        "upstream-address-changed", APP, (Edit("server", "nginx.conf", "ADDRESS OF mirror", "ADDRESS OF nobody"),),
        names=("belongs to nobody", "recreated"), directive="server 10.",
    ),
    "1 its look-alike: the service listens elsewhere": Broken(
        "upstream-wrong-port", APP, in_server(":8000;  # mirror", ":8001;  # mirror"), names=("8001",),
    ),
    "1 its look-alike: another service has the address now": Broken(
        "wrong-application", APP, (Edit("server", "nginx.conf", "ADDRESS OF mirror", "ADDRESS OF fast"),),
        names=("fast", "mirror"),
    ),
    "9 a page behind a prefix that asks for its definition without it": Broken(
        "prefix-unknown-to-application", "https://inner.lab.test/fast/docs",
        in_server("proxy_set_header X-Forwarded-Prefix $forwarded_prefix;", 'proxy_set_header X-Forwarded-Prefix "";',
                  "service-headers.conf"), names=("/openapi.json", "/fast"),
    ),
    "10 an application that redirects to http": Broken(
        "application-ignores-forwarded-headers", APP,
        in_server(HEADERS, UNTOUCHED, "routes.conf"),
        asked=answering(status=302, headers=[["Location", "http://inner.lab.test/login"]]),
        names=("X-Forwarded-Proto", "http://inner.lab.test/login"),
    ),
    "10 its look-alike: the gateway tells it nothing": Broken(
        "forwarded-headers-missing", APP, (
            *in_server(HEADERS, UNTOUCHED, "routes.conf"),
            *in_server("proxy_set_header X-Forwarded-Proto $forwarded_proto;", "", "service-headers.conf"),
        ), asked=answering(status=302, headers=[["Location", "http://inner.lab.test/login"]]),
    ),
    "11 Host is the name of the upstream group": Broken(
        "host-is-group-name", OUT, in_client("    proxy_set_header Host inner.lab.test;\n", ""),
        names=("server.as.bro",), directive="proxy_pass",
    ),
    "12 two intermediates, and a depth of one": Broken(
        "too-deep", MTLS, files=trusting(ROOT, ABOVE, BELOW), shown=client(BELOW), directive="ssl_verify_depth 1",
        names=("2 intermediates",),
    ),
    "12 the same, with the chain sent along": Broken(
        "too-deep", MTLS, files=lambda _: {
            ("server", TRUSTED): ROOT.pem, ("server", LISTS): ROOT.crl() + ABOVE.crl() + BELOW.crl()
        }, shown=client(BELOW, sent=(BELOW, ABOVE)), directive="ssl_verify_depth 1",
    ),
    "13 a certificate for servers": Broken("wrong-purpose", MTLS, asked={"caller": "bro-wrong-purpose"},
                                           names=("serverAuth", "26")),
    "13 any purpose is not this one": Broken(
        "wrong-purpose", MTLS, files=trusting(ROOT), shown=client(ROOT, purposes=["anyExtendedKeyUsage"]),
        names=("anyExtendedKeyUsage alone",),
    ),
    "14 an expired certificate on an open route": Broken(
        "expired", APP, asked={"caller": "bro-expired"}, names=("optional means that it may be absent", "10"),
        directive="ssl_verify_client optional",
    ),
    "15 a revocation list of one authority alone": Broken(
        "crl-missing", MTLS, files=lambda there: {("server", LISTS): only_intermediate(there)},
        asked={"caller": "bro"}, names=("CN=server_ca,O=explained", "root included"), directive="ssl_crl",
    ),
    "16 a server certificate without names": Broken(
        "server-no-san", APP, files=server_certificate(san=[]), names=("subjectAltName=DNS:inner.lab.test",),
    ),
    "16 its look-alike: another name": Broken(
        "server-name-not-in-san", APP, files=server_certificate(san=["other.lab.test"]), names=("DNS:other.lab.test",),
    ),
    "17 a server certificate that Python refuses and curl does not": Broken(
        "server-not-strict", APP, files=server_certificate(key_ids=False), names=("authority key identifier", "curl"),
    ),
    "18 the egress proxy attaches nothing": Broken(
        "egress-attaches-nothing", OUT, in_client(
            "    proxy_ssl_certificate /etc/nginx/certificates/identities/bro.pem;\n"
            "    proxy_ssl_certificate_key /etc/nginx/certificates/identities/bro.key;\n", ""
        ), names=("proxy_ssl_certificate is missing", "bro"),
    ),
    "18 the same, to a server that always asks": Broken(
        "egress-attaches-nothing", OUT_PLAIN, in_server(ASKED, "ssl_verify_client on;"), names=("client's gateway",),
    ),
    "19 the egress proxy's depth is too small": Broken(
        "upstream-too-deep", OUT, in_client("proxy_ssl_verify_depth 1;", "proxy_ssl_verify_depth 0;"),
        names=("1 intermediates",), directive="proxy_ssl_verify_depth 0",
    ),
    "20 a preflight has no certificate": Broken(
        "preflight", MTLS, asked={"method": "OPTIONS", "headers": {
            "Origin": "https://page.lab.test", "Access-Control-Request-Method": "GET"}}, names=("CORS preflight",),
    ),
    "21 SNI of one server and Host of another": Broken(
        "sni-differs-from-host", APP, asked={"headers": {"Host": "outer.lab.test"}},
        edits=in_server("        server_name inner.lab.test;\n        ssl_certificate ", "        server_name "
                        "inner.lab.test outer.lab.test;\n        ssl_certificate "),
        names=("inner.lab.test", "outer.lab.test"),
    ),
    "22 a forwarded certificate that is too large for the service": Broken(
        "forwarded-certificate-too-large", "https://inner.lab.test/node/health", (
            *in_server("proxy_set_header X-Client-Cert \"\";", "proxy_set_header X-Client-Cert "
                       "$ssl_client_escaped_cert;", "service-headers.conf"),
            *in_server("    client_max_body_size 10m;", "    large_client_header_buffers 4 64k;\n"
                       "    client_max_body_size 10m;"),
        ), files=trusting(ROOT), shown=client(ROOT, san=[f"{n}.{'name' * 12}.lab.test" for n in range(250)]),
        names=("X-Client-Cert",),
    ),
    "23 an authority that is too weak for today": Broken(
        "weak-authority-key", MTLS, files=trusting(WEAK), shown=client(WEAK), names=("RSA 1024", "SECLEVEL"),
    ),
    "24 a WebSocket without a certificate": Broken(
        "websocket-without-certificate", MTLS, asked={"headers": {
            "Upgrade": "websocket", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13"}},
        names=("WebSocket",),
    ),
    "25 a certificate from the future": Broken(
        "not-yet-valid", MTLS, files=trusting(ROOT), shown=client(ROOT, start=NOW + timedelta(hours=10)),
        names=("9", "begins at"),
    ),
}  # fmt: skip

LOOK_ALIKES = {
    "21: an authority of the same name": Broken(
        "impostor", MTLS, files=trusting(ROOT), shown=client(TWIN), names=("has another key",)
    ),
    "21: one of the same name, without key identifiers": Broken(
        "impostor", MTLS, files=trusting(ROOT), shown=client(TWIN, key_ids=False), names=("none",)
    ),
    "21: another authority of the lab": Broken(
        "other-authority", MTLS, files=lambda there: {("server", TRUSTED): there["staff"], ("server", LISTS): b""},
        edits=in_server("        ssl_crl /etc/nginx/certificates/client-authorities.crl.pem;\n", ""),
        asked={"caller": "bro"}, names=("server_ca",),
    ),
    "21: nobody's authority": Broken("other-authority", MTLS, shown=client(TWIN), names=("no authority of the lab",)),
    "21: the intermediate is not sent along": Broken(
        "intermediate-missing", MTLS, shown=lambda: (b"", b""), names=("server_ca intermediate", "append")
    ),
    "21: self-signed": Broken("self-signed", MTLS, asked={"caller": "bro-self-signed"}, names=("its own key",)),
    "21: the trust file lacks the root": Broken(
        "root-missing", MTLS, files=lambda _: {
            ("server", TRUSTED): ABOVE.pem, ("server", LISTS): ROOT.crl() + ABOVE.crl()
        }, shown=client(ABOVE), names=("add the root",),
    ),
    "a signature that somebody changed": Broken(
        "bad-signature", MTLS, files=trusting(ROOT), shown=client(ROOT, damaged=True), names=("forged",),
    ),
    "revoked": Broken("revoked", MTLS, asked={"caller": "bro-revoked"}, names=("revocation list of",)),
    "an old revocation list": Broken(
        "crl-expired", MTLS, files=lambda _: {
            ("server", TRUSTED): ROOT.pem, ("server", LISTS): ROOT.crl(end=NOW - timedelta(days=1))
        }, shown=client(ROOT), names=("refuses everybody",),
    ),
    "a revocation list that somebody else signed": Broken(
        "crl-forged", MTLS, files=lambda _: {("server", TRUSTED): ROOT.pem, ("server", LISTS): TWIN.crl()},
        shown=client(ROOT), names=("was not signed",),
    ),
    "an authority below one that allows none": Broken(
        "path-length", MTLS, files=trusting(ROOT, SHORT, TOO_LONG), shown=client(TOO_LONG),
        edits=in_server("ssl_verify_depth 1;", "ssl_verify_depth 5;"), names=("acme short",),
    ),
    "a critical extension that nobody knows": Broken(
        "unknown-critical", MTLS, files=trusting(ROOT), shown=client(ROOT, critical=True), names=("1.2.3.4.5",),
    ),
    "a weak signature": Broken("weak-key", MTLS, files=trusting(ROOT), shown=client(ROOT, bits=1024), names=("66",)),
    "plain HTTP by the caller": Broken("plain-http-to-tls-port", "http://inner.lab.test:HTTPS/app/health"),
    "no certificate where one is demanded": Broken("no-certificate", MTLS, names=("--as",)),
    "no certificate at all, by TLS": Broken("no-certificate", MTLS, in_server(ASKED, "ssl_verify_client on;")),
    "a certificate that is never asked for": Broken(
        "not-asked", MTLS, in_server(ASKED, "ssl_verify_client off;"), asked={"caller": "bro"}, names=("never asks",),
        directive="ssl_verify_client off",
    ),
    "a good certificate that the list does not know": Broken(
        "not-allowed", "https://inner.lab.test/bro/health", asked={"caller": "bob"}, names=("bro",),
    ),
    "the right name from another authority": Broken(
        "same-name-other-authority", "https://inner.lab.test/bro/health", asked={"caller": "clerk"},
        names=("somebody else",),
    ),
    "403 by the application": Broken("application", APP, asked=answering(status=403), names=("mirror",)),
    "400 by the application": Broken("application", APP, asked=answering(status=400), names=("mirror",)),
    "400 by the application, through two gateways": Broken(
        "application", OUT, asked=answering(status=400), names=("mirror", "CN=bro")
    ),
    "502 by the application": Broken("application", APP, asked=answering(status=502), names=("mirror",)),
    "421 by the application": Broken("application", APP, asked=answering(status=421), names=("SNI",)),
    "a guard on the wrong value": Broken(
        "guard-on-wrong-value", MTLS, in_server("if ($ssl_client_verify != SUCCESS) {", "if ($ssl_client_verify = "
        "SUCCESS) {", "routes.conf"), asked={"caller": "bro"}, directive="if $ssl_client_verify = SUCCESS",
    ),
    "a guard on a value that nginx never writes": Broken(
        "guard-on-wrong-value", MTLS, in_server("!= SUCCESS", "!= success", "routes.conf"), asked={"caller": "bro"},
        directive="if $ssl_client_verify != success",
    ),
    "a guard on what callers write themselves": Broken(
        "guard-on-wrong-variable", MTLS, in_server("$ssl_client_verify != SUCCESS", "$http_x_verified != SUCCESS",
        "routes.conf"), asked={"caller": "bro"}, directive="if $http_x_verified != SUCCESS",
    ),
    "a list that has the name in another spelling": Broken(
        "guard-lists-other-name", "https://inner.lab.test/bro/health", in_server("|CN=bro\"", "|/CN=bro\"",
        "routes.conf"), asked={"caller": "bro"}, names=("RFC 2253",),
    ),
    "a method that is not let in": Broken(
        "method-not-let-in", APP, in_server("location /app/ {", "location /app/ {\n    limit_except GET { deny all; }",
        "routes.conf"), asked={"method": "POST"}, directive="limit_except GET",
    ),
    "a password that is demanded": Broken(
        "demands-password", APP, in_server("location /app/ {", "location /app/ {\n    auth_basic lab;\n    "
        "auth_basic_user_file /etc/nginx/none;", "routes.conf"), directive="auth_basic lab",
    ),
    "a rule that leads back to itself": Broken(
        "rewrite-cycle", APP, in_server("location /app/ {", "location /app/ {\n    rewrite ^/app/(.*) /app/x$1 last;",
        "routes.conf"), directive="rewrite",
    ),
    "a redirect that the configuration names": Broken(
        "configured-answer", APP, in_server("location /app/ {", "location /app/ {\n    return 301 "
        "http://$host$request_uri;", "routes.conf"), directive="return 301",
    ),
    "a route without its location": Broken(
        "location-missing", APP, in_server("location /app/ {", "location /ap/ {", "routes.conf"),
        names=("`location /`",),
    ),
    "a prefix that stays on": Broken(
        "prefix-changed", "https://inner.lab.test/node/health", in_server(
        '    rewrite "(?s)^/node/(.*)$" /$1 break;\n', "", "routes.conf"), names=("asked for /node/health",),
        directive="proxy_pass http://node",
    ),
    "TLS to a service that speaks none": Broken(
        "upstream-speaks-plain-http", APP, in_server("proxy_pass http://mirror;", "proxy_pass https://mirror;",
        "routes.conf"), names=("mirror",), directive="proxy_pass https://mirror",
    ),
    "the other side does not know its own name": Broken(
        "upstream-lost-name", OUT, in_server("        server_name inner.lab.test;\n        ssl_certificate ",
        "        server_name iner.lab.test;\n        ssl_certificate "), names=("has no server of that name",),
    ),
    "the other side asks nobody for certificates": Broken(
        "not-asked", OUT, in_server(ASKED, "ssl_verify_client off;"), names=("client's gateway has",),
        directive="ssl_verify_client off",
    ),
    "an egress route that calls as somebody else": Broken(
        "identity-on-wrong-route", OUT, (*in_client("identities/bro.pem", "identities/bob.pem"),
        *in_client("identities/bro.key", "identities/bob.key")), names=("bob", "bro"), directive="identities/bob.pem",
    ),
    "an internal route from outside": Broken("internal-route", "https://inner.lab.test/inside/health"),
    "an internal route from inside": Broken(
        "passed", "https://inner.lab.test/inside/health", asked={"origin": "server"}
    ),
    "a guarded route from inside": Broken(
        "no-certificate", "https://inner.lab.test/mtls/health", asked={"origin": "server"}, names=("from inside",)
    ),
    "by way of the gateway inside": Broken("passed", MTLS, asked={"origin": "client"}, names=("CN=bro",)),
    "addresses that are let in": Broken(
        "denied-address", APP, in_server("location /app/ {", "location /app/ {\n    deny all;", "routes.conf"),
        directive="deny all",
    ),
    "the egress proxy trusts another authority": Broken(
        "upstream-other-authority", OUT, files=lambda there: {("client", "upstream/ssl_ca.pem"): there["staff"]},
        names=("CN=staff,O=explained",), directive="proxy_ssl_trusted_certificate",
    ),
    "the egress proxy meets another name": Broken(
        "upstream-name", OUT, files=lambda there: {
            **{at: one for at, one in server_certificate(san=["other.lab.test"])(there).items() if at[0] != "anchor"},
            ("client", "upstream/ssl_ca.pem"): ROOT.pem, ("client", "upstream/ssl_ca.crl.pem"): ROOT.crl(),
        }, names=("expects the name inner.lab.test", "other.lab.test"), directive="proxy_ssl_name inner.lab.test",
    ),
    "the egress proxy asks for a name that is not there": Broken(
        "upstream-sni", OUT, in_client("proxy_ssl_name inner.lab.test;", "proxy_ssl_name other.lab.test;"),
        names=("Here it is other.lab.test",),
    ),
    "the egress proxy sends no name": Broken(
        "upstream-sni", OUT, in_client("proxy_ssl_server_name on;", "proxy_ssl_server_name off;"),
        directive="proxy_ssl_server_name off",
    ),
    "a name that the gateway has not": Broken("unknown-server-name", "https://nobody.lab.test:HTTPS/app/health"),
    "a Host that the gateway has not": Broken(
        "unknown-name", "https://inner.lab.test/app/health", asked={"headers": {"Host": "nobody.lab.test"}}
    ),
    "a header line that is too long": Broken(
        "header-too-large", APP, asked={"headers": {"X-Long": "x" * 9000}}, names=("X-Long",)
    ),
    "a path that is no route": Broken("no-route", "https://inner.lab.test/nowhere/"),
}  # fmt: skip


GUARD = "    if ($ssl_client_verify != SUCCESS) {\n        return 403;\n    }\n"
SETS = '    set $prefix "/mtls";'

LAPSES = {
    "no guard": Broken(
        "guard-missing", MTLS, in_server(GUARD + SETS, SETS, "routes.conf"),
        names=("The topology says 403",), directive="location /mtls/",
    ),
    "a guard that looks for the wrong word": Broken(
        "guard-lets-pass", MTLS, in_server("!= SUCCESS", "= FAILED", "routes.conf"), names=("NONE",),
        directive="if $ssl_client_verify = FAILED",
    ),
    "a list that begins with everybody": Broken(
        "guard-lets-pass", "https://inner.lab.test/bro/health", in_server("set $allowed_3 0;", "set $allowed_3 1;",
        "routes.conf"), asked={"caller": "bob"}, directive="set $allowed_3 1",
    ),
    "an internal route that is open": Broken(
        "guard-lets-pass", "https://inner.lab.test/inside/health", in_server("if ($listener != inside) {",
        "if ($listener = inside) {", "routes.conf"), directive="if $listener = inside",
    ),
    "verification by nobody": Broken(
        "verified-by-nobody", APP, in_server(ASKED, "ssl_verify_client optional_no_ca;"),
        asked={"caller": "bro-other-authority"}, directive="ssl_verify_client optional_no_ca",
    ),
    "certificates that are not asked for": Broken(
        "not-asked", APP, in_server(ASKED, "ssl_verify_client off;"), asked={"caller": "bro-expired"},
    ),
    "no revocation list": Broken(
        "revocation-not-seen", MTLS, in_server("        ssl_crl /etc/nginx/certificates/client-authorities.crl.pem;\n",
                                               ""), asked={"caller": "bro-revoked"}, names=("ssl_crl is missing",),
    ),
    "an identity that the list does not know, through two gateways": Broken(
        "not-allowed", "https://outer.lab.test/bob/health", asked={}, names=("client's gateway attaches it",),
    ),
}  # fmt: skip


BEYOND = {
    "an address is no name": Broken(
        "no-server-name", "https://127.0.0.1:HTTPS/app/health", names=("TLS sends no name", "inner.lab.test"),
    ),
    "the name of the other host leads elsewhere": Broken(
        "upstream-elsewhere", OUT, in_client("server inner.lab.test:443;", "server CLIENT:443;", "nginx.conf"),
        names=("client/gateway", "server's gateway is at"),
    ),
    "the egress proxy expects the name of its upstream group": Broken(
        "upstream-sni", OUT, in_client("    proxy_ssl_name inner.lab.test;\n", ""), names=("Here it is server.as.bro",),
    ),
    "the egress proxy verifies nobody": Broken(
        "upstream-verification-off", OUT, in_client("proxy_ssl_verify on;", "proxy_ssl_verify off;"),
        names=("proxy_ssl_verify is off",), directive="proxy_ssl_verify off",
    ),
    "the other side's certificate has ended": Broken(
        "upstream-expired", OUT, files=lambda there: {
            **{at: one for at, one in server_certificate(
                start=NOW - timedelta(days=9), end=NOW - timedelta(days=1))(there).items() if at[0] != "anchor"},
            ("client", "upstream/ssl_ca.pem"): ROOT.pem, ("client", "upstream/ssl_ca.crl.pem"): ROOT.crl(),
        }, names=("ended at", "No request was sent"),
    ),
    "the other side does not send its intermediate": Broken(
        "upstream-intermediate-missing", OUT, files=lambda there: {("server", "server.pem"): first(there["server"])},
        names=("ssl_ca intermediate", "append"),
    ),
    "the egress proxy's revocation list has ended": Broken(
        "upstream-crl-expired", OUT, files=lambda there: {
            **{at: one for at, one in server_certificate()(there).items() if at[0] != "anchor"},
            ("client", "upstream/ssl_ca.pem"): ROOT.pem,
            ("client", "upstream/ssl_ca.crl.pem"): ROOT.crl(end=NOW - timedelta(days=1)),
        }, names=("refuses everybody",),
    ),
    "two gateways without a version of TLS in common": Broken(
        "upstream-protocol", OUT_PLAIN, (
            *in_server("ssl_protocols TLSv1.2 TLSv1.3;", "ssl_protocols TLSv1.3;"),
            *in_client("proxy_ssl_protocols TLSv1.2 TLSv1.3;", "proxy_ssl_protocols TLSv1.2;"),
        ), directive="proxy_ssl_protocols TLSv1.2",
    ),
    "two gateways without a cipher in common": Broken(
        "upstream-no-common-cipher", OUT_PLAIN, in_client("proxy_ssl_protocols TLSv1.2 TLSv1.3;",
        "proxy_ssl_protocols TLSv1.2;\n    proxy_ssl_ciphers AES128-SHA;"), names=("proxy_ssl_ciphers",),
    ),
    "TLS to the plain port of the other side": Broken(
        "upstream-speaks-plain-http", OUT_PLAIN, in_client("server inner.lab.test:443;", "server inner.lab.test:80;",
        "nginx.conf"), directive="server inner.lab.test:80",
    ),
    "the egress proxy sends its own name on": Broken(
        "egress-sends-other-host", OUT, in_client("proxy_set_header Host inner.lab.test;", "proxy_set_header Host "
        "$host;"), names=("Host: outer.lab.test",), directive="proxy_set_header Host $host",
    ),
    "the egress proxy asks for a path without its slash": Broken(
        "egress-path", OUT, in_client(
        'rewrite "(?s)^/mtls/(.*)$" /mtls/$1 break;', 'rewrite "(?s)^/mtls/(.*)$" /mtls$1 break;'),
        names=("/mtlshealth",), directive="rewrite (?s)^/mtls/(.*)$ /mtls$1 break",
    ),
    "a guard in the server itself": Broken(
        "guard-where-none-belongs", APP, in_server("        server_name inner.lab.test;\n        ssl_certificate ",
        "        server_name inner.lab.test;\n        if ($ssl_client_verify != SUCCESS) {\n            return 403;\n"
        "        }\n        ssl_certificate "), names=("every route",), directive="if $ssl_client_verify != SUCCESS",
    ),
    "a guard that hides what it guards": Broken(
        "no-certificate", MTLS, in_server("!= SUCCESS) {\n        return 403;", "!= SUCCESS) {\n        return 404;",
        "routes.conf"), names=("answers 404",), directive="return 404",
    ),
    "a listener without TLS": Broken("no-tls-on-port", APP, (
        *in_server("        listen 443 ssl;\n        server_name", "        listen 443;\n        server_name"),
        *in_server("listen 443 ssl default_server;\n        ssl_reject_handshake on;", "listen 443 default_server;"),
    ), names=("plain HTTP",), directive="listen 443"),
    "a WebSocket that a gateway makes a plain request of": Broken(
        "upgrade-lost", APP, in_server("proxy_set_header Upgrade $upgrade;", "", "service-headers.conf"), asked={
            "headers": {"Upgrade": "websocket", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
                        "Sec-WebSocket-Version": "13"}}, names=("does not send Upgrade on",),
    ),
    "an address that is too long": Broken("uri-too-long", f"{APP}?{'x' * 9000}", names=("9034 characters",)),
    "a method that files do not know": Broken(
        "method-for-files", "https://inner.lab.test/", asked={"method": "POST"}, names=("POST",)
    ),
    "a resolver that does not answer": Broken(
        "upstream-dns-silent", APP, (
            *in_server("location /app/ {", "location /app/ {\n    resolver 127.0.0.1;\n    resolver_timeout 1s;\n    "
                       "set $up nowhere.invalid;", "routes.conf"),
            *in_server("proxy_pass http://mirror;", "proxy_pass http://$up;", "routes.conf"),
        ), names=("127.0.0.1", "127.0.0.11"), directive="resolver 127.0.0.1",
    ),
    "a redirect to a name behind the gateways": Broken(
        "redirect-to-inner-name", OUT_PLAIN, (
            *in_client("location /plain/ {", "location /plain/ {\n    proxy_redirect off;"),
            *in_server("location /app/ {", "location /app/ {\n    proxy_redirect off;", "routes.conf"),
        ), asked=answering(status=302, headers=[["Location", "https://inner.lab.test/app/login"]]),
        names=("inner.lab.test is a name from behind",), directive="proxy_redirect off",
    ),
    "the egress proxy shows a certificate of another authority": Broken(
        "other-authority", OUT, files=lambda _: dict(zip(
            (("client", "identities/bro.pem"), ("client", "identities/bro.key")), TWIN.client("bro"), strict=True)),
        names=("client's gateway shows there",), directive="proxy_ssl_certificate",
    ),
    "503 by the application": Broken("application", APP, asked=answering(status=503), names=("mirror",)),
    "429 by the application": Broken("application", APP, asked=answering(status=429), names=("mirror",)),
}  # fmt: skip
"""What else people meet, beyond what was reported."""


def first(chain: bytes) -> bytes:
    end = b"-----END CERTIFICATE-----\n"
    return chain.partition(end)[0] + end


def only_intermediate(there: Mapping[str, bytes]) -> bytes:
    """The first list of the lab's own file, which is the intermediate's or the root's."""
    return there["list of the intermediate"]


@contextmanager
def broken(tested: TestedLab, case: Broken) -> Iterator[None]:
    """The lab with one thing wrong, put right afterwards."""
    with ExitStack() as stack:
        hosts = {
            *(stack.enter_context(edited(tested, edit)) for edit in case.edits),
            *(stack.enter_context(replaced(tested, *at, content)) for at, content in case.files(own(tested)).items()),
        } - {""}
        for host in hosts:
            reload(tested, host)
        try:
            yield
        finally:
            stack.close()
            for host in hosts:
                reload(tested, host)


@contextmanager
def edited(tested: TestedLab, edit: Edit) -> Iterator[str]:
    file = looking.mounted(tested.lab, edit.host, "/etc/nginx/lab") / edit.file
    good = file.read_bytes()
    edit = replace(edit, old=with_addresses(edit.old, good), new=with_addresses(edit.new, good))
    edit = replace(edit, new=edit.new.replace("CLIENT", address_of(tested, "client")))
    assert edit.old.encode() in good, f"the change would change nothing: {edit}"
    try:
        file.write_bytes(good.replace(edit.old.encode(), edit.new.encode()))
        yield edit.host
    finally:
        file.write_bytes(good)


def address_of(tested: TestedLab, host: str) -> str:
    """Of a host's gateway, where hosts meet."""
    container = looking.container_of(engine.connect(), tested.lab, host, "gateway")
    return str(container.attrs["NetworkSettings"]["Networks"][tested.lab.internet]["IPAddress"])


def with_addresses(text: str, configuration: bytes) -> str:
    """The text with the addresses that the gateway's upstreams have; nobody has one of the same network."""
    found = dict(re.findall(rb"server ([0-9.]+:[0-9]+);  # (\w+)", configuration))
    services = {name.decode(): address.decode() for address, name in found.items()}
    someone = next(iter(services.values()), "")
    services["nobody"] = f"{someone.rpartition('.')[0]}.111:8000"
    for name, address in services.items():
        text = text.replace(f"ADDRESS OF {name}", f"server {address};")
    return text


@contextmanager
def replaced(tested: TestedLab, host: str, name: str, content: bytes) -> Iterator[str]:
    """Another certificate in a gateway's folder; for `anchor`, whom callers trust instead of an authority."""
    anchor = tested.lab.authorities / name / "certificate.pem"
    file = anchor if host == "anchor" else tested.lab.certificates(host) / name
    good = file.read_bytes()
    try:
        file.write_bytes(content)
        yield "" if host == "anchor" else host
    finally:
        file.write_bytes(good)


def own(tested: TestedLab) -> Mapping[str, bytes]:
    authorities = tested.lab.authorities
    lists = (authorities / "server_ca" / "crl.pem").read_bytes().split(b"-----END X509 CRL-----\n")
    intermediates = [one + b"-----END X509 CRL-----\n" for one in lists if b"BEGIN" in one]
    mine = [one for one in intermediates if b"intermediate" in issuers.list_issuer(one)]
    return {
        "staff": (authorities / "staff" / "certificate.pem").read_bytes(),
        "list of the intermediate": mine[0],
        "server": (tested.lab.certificates("server") / "server.pem").read_bytes(),
    }


def reload(tested: TestedLab, host: str) -> None:
    stacks.reload(looking.container_of(engine.connect(), tested.lab, host, "gateway"))


def ask(tested: TestedLab, case: Broken, folder: Path) -> Explanation:
    asked = dict(case.asked)
    if case.shown is not None:
        certificate, key = case.shown()
        bro = tested.running.identities / "bro"
        if not certificate:  # bro's own, without what it sends along
            certificate = first((bro / "certificate.pem").read_bytes())
            key = (bro / "key.pem").read_bytes()
        (folder / "shown.pem").write_bytes(certificate)
        (folder / "shown.key").write_bytes(key)
        asked |= {"certificate": folder / "shown.pem", "key": folder / "shown.key"}
    url = case.url.replace("HTTPS", str(tested.running.endpoints["server"].https))
    return gathering.ask(tested.lab, Question(url, **asked))


@pytest.mark.parametrize("name", [*SYMPTOMS, *LOOK_ALIKES, *LAPSES, *BEYOND])
def test_the_cause_is_named(name: str, lab: TestedLab, tmp_path: Path) -> None:
    case = {**SYMPTOMS, **LOOK_ALIKES, **LAPSES, **BEYOND}[name]
    with broken(lab, case):
        found = ask(lab, case, tmp_path)

    told = f"{found.finding.why} {found.finding.fix}"
    assert found.finding.cause == case.cause, f"{found.answer} by {found.maker}: {told}"
    assert [text for text in case.names if text not in told] == []
    assert case.directive in " | ".join(one.text for one in found.directives)


def test_a_wrong_cell_of_the_check_carries_its_cause(lab: TestedLab, capsys: pytest.CaptureFixture[str]) -> None:
    """With the directive's file and line; cells that differ in the version of TLS alone share one."""
    case = SYMPTOMS["18 the egress proxy attaches nothing"]
    with broken(lab, case):
        verdicts = checking.run(lab.checks, lab.running, only="client /mtls/*")
        wrong = [verdict for verdict in verdicts if not verdict.ok]
        reasons = cells.explanations(lab.lab, lab.running, wrong)
        common = [str(lab.lab.description.file), "--out", str(lab.lab.out), "--instance", str(lab.lab.instance)]
        code = cli.main(["check", *common, "--only", "client /mtls/*"])
        printed = capsys.readouterr().out
        console = [explanation.in_short(reasons[verdict.check.id]) for verdict in wrong]

    assert wrong
    assert {found.finding.cause for found in reasons.values()} == {"egress-attaches-nothing"}
    assert reasons.keys() == {verdict.check.id for verdict in wrong}
    assert all(re.search(r"client/nginx/routes\.conf:\d+", text) for text in console)
    assert code == 1
    assert "egress-attaches-nothing" in printed
    assert matrix.as_json(wrong, reasons)[0]["explanation"]


@dataclass(frozen=True)
class Wrong:
    """A change that makes cells of one family wrong, and the causes that their explanations may name."""

    edits: tuple[Edit, ...]
    causes: frozenset[str]
    named: str


FAMILIES = {
    "route": Wrong(in_server(GUARD + SETS, SETS, "routes.conf"), frozenset({"guard-missing"}), "location /mtls/"),
    "caller": Wrong(
        in_server(ASKED, "ssl_verify_client optional_no_ca;"), frozenset({"verified-by-nobody"}), "optional_no_ca"
    ),
    "request": Wrong(
        in_server("proxy_set_header X-SSL-Client-Verify $client_verify;", "", "service-headers.conf"),
        frozenset({"not-as-generated"}), "X-SSL-Client-Verify",
    ),
    "egress": Wrong(
        in_client("https://server.as.bob;", "https://server.as.bro;"), frozenset({"shared-upstream"}), "server.as.bro"
    ),
    "inside": Wrong(
        in_server("$listener != inside", "$listener != nowhere", "routes.conf"), frozenset({"configured-answer"}),
        "$listener != nowhere",
    ),
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_every_wrong_cell_of_every_family_carries_its_cause(family: str, lab: TestedLab) -> None:
    """None is left out, however many there are."""
    case = FAMILIES[family]
    checks = [check for check in families.checks(lab.lab.topology) if check.family == family]
    with broken(lab, Broken("", "", case.edits)):
        verdicts = checking.run(checks, lab.running, probes=families.PROBES)
        wrong = [verdict for verdict in verdicts if not verdict.ok]
        reasons = cells.explanations(lab.lab, lab.running, wrong)
    told = {found.finding.cause for found in reasons.values()}

    assert wrong
    assert reasons.keys() == {verdict.check.id for verdict in wrong}
    assert told == case.causes, [explanation.in_short(found) for found in reasons.values()]
    assert all(case.named in explanation.in_short(found) for found in reasons.values())


def test_a_wall_that_does_not_stand_is_told_with_what_makes_it_so(lab: TestedLab) -> None:
    """Another host's gateway on a host's own network: who, where, and how it is taken out."""
    client = engine.connect()
    network = client.networks.get(f"{lab.lab.project('server')}_inside")
    gateway = looking.container_of(client, lab.lab, "client", "gateway")
    network.connect(gateway)
    try:
        reasons = walls_explained(lab)
    finally:
        network.disconnect(gateway)

    causes = {found.finding.cause for found in reasons.values()}
    assert causes == {"networks-joined", "stranger-on-network", "reached-from-outside"}
    assert all(str(gateway.name) in found.finding.why for found in reasons.values())
    assert f"docker network disconnect {network.name} {gateway.name}" in {
        f.finding.fix.strip("`") for f in reasons.values()
    }


def test_a_container_that_was_started_with_more_rights_is_told_from_a_file_that_says_so(lab: TestedLab) -> None:
    environment = altering.values(lab.lab, lab.running)["server"]
    altering.restart(lab.lab, "server", "node", environment, "services: {node: {cap_add: [NET_RAW]}}")
    try:
        assert altering.wait_until_healthy(lab.lab, "server")
        (found,) = walls_explained(lab).values()
    finally:
        altering.restart(lab.lab, "server", "node", environment)
        assert altering.wait_until_healthy(lab.lab, "server")

    assert found.finding.cause == "more-rights-than-needed"
    assert "CAP_NET_RAW" in found.finding.why
    assert "the container was changed, or started otherwise" in found.finding.why
    assert [place.text for place in found.directives] == ["node:"]


def test_a_key_that_everybody_may_read_is_told_with_its_file(lab: TestedLab) -> None:
    key = lab.lab.certificates("server") / "server.key"
    key.chmod(0o644)
    try:
        (found,) = walls_explained(lab).values()
    finally:
        key.chmod(0o600)

    assert found.finding.cause == "key-readable"
    assert "0644" in found.finding.why
    assert "chmod 600" in found.finding.fix


def walls_explained(tested: TestedLab) -> Mapping[str, Explanation]:
    checks = [check for check in families.checks(tested.lab.topology) if check.family == "wall"]
    verdicts = checking.run(checks, tested.running, probes=families.PROBES)
    wrong = [verdict for verdict in verdicts if not verdict.ok]
    reasons = cells.explanations(tested.lab, tested.running, wrong)
    assert wrong
    assert reasons.keys() == {verdict.check.id for verdict in wrong}
    return reasons


def test_it_is_said_where_the_topology_is_contradicted(lab: TestedLab, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, and the topology's own line."""
    arguments = [OUT, str(lab.lab.description.file), "--out", str(lab.lab.out), "--instance", str(lab.lab.instance)]
    assert cli.main(["explain", *arguments]) == 0
    with broken(lab, SYMPTOMS["18 the egress proxy attaches nothing"]):
        assert cli.main(["explain", *arguments]) == 1
        assert "explained.yaml:" in capsys.readouterr().out
        assert cli.main(["explain", *arguments, "--json"]) == 1

    found = json.loads(capsys.readouterr().out)
    assert (found["cause"], found["expected"], found["as_expected"]) == ("egress-attaches-nothing", 200, False)
    assert found["directives"][0]["file"].endswith("client/nginx/routes.conf")


def test_a_limit_on_requests_is_told_from_the_application_s_own_refusal(lab: TestedLab) -> None:
    """The first request passes, and what the application says of it is its own; the next is one too many."""
    zone = in_server("    client_max_body_size 10m;", "    limit_req_zone all zone=few:1m rate=1r/m;\n"
                     "    client_max_body_size 10m;")  # fmt: skip
    limit = in_server("location /app/ {", "location /app/ {\n    limit_req zone=few;", "routes.conf")
    with broken(lab, Broken("", APP, (*zone, *limit))):
        one = gathering.ask(lab.lab, Question(APP, headers=answering(status=503)["headers"]))
        two = gathering.ask(lab.lab, Question(APP))
        third = gathering.ask(lab.lab, Question(OUT_PLAIN))

    assert (one.finding.cause, one.answer) == ("application", "503")
    assert (two.finding.cause, two.answer, two.maker) == ("too-many-requests", "503", "the gateway of server")
    assert "limit_req zone=few" in " | ".join(place.text for place in two.directives)
    assert (third.finding.cause, third.finding.host) == ("too-many-requests", "server")


def test_a_folder_that_was_replaced_behind_a_mount_is_seen(lab: TestedLab) -> None:
    """6: the container goes on with the old one, and a reload changes nothing."""
    folder = looking.mounted(lab.lab, "server", "/etc/nginx/lab")
    aside = folder.with_name("aside")
    folder.rename(aside)
    try:
        shutil.copytree(aside, folder)
        routes = folder / "routes.conf"
        routes.write_text(routes.read_text().replace("return 403;", "return 402;"))
        reload(lab, "server")
        found = gathering.ask(lab.lab, Question(MTLS))
    finally:
        shutil.rmtree(folder)
        aside.rename(folder)

    assert found.finding.cause == "stale-mount"
    assert "A reload changes nothing" in found.finding.why


def test_a_file_that_nginx_has_not_read_is_seen(lab: TestedLab) -> None:
    """Its look-alike: here a reload is all that is missing."""
    file = lab.lab.certificates("server") / LISTS
    good, later = file.read_bytes(), time.time() + 60
    try:
        os.utime(file, (later, later))
        found = gathering.ask(lab.lab, Question(MTLS, caller="bro-revoked"))
    finally:
        file.write_bytes(good)
        reload(lab, "server")

    assert found.finding.cause == "not-reloaded"


def test_a_service_that_is_down_is_told_from_one_that_moved(lab: TestedLab) -> None:
    """1: the addresses are the same; it is the container that does not run."""
    container = looking.container_of(engine.connect(), lab.lab, "server", "node")
    container.stop(timeout=1)
    try:
        found = gathering.ask(lab.lab, Question("https://inner.lab.test/node/health"))
    finally:
        container.start()
        eventually(lambda: ask_plainly(lab) == 200, 60)

    assert found.finding.cause == "upstream-down"
    assert "node is exited" in found.finding.why


def ask_plainly(tested: TestedLab) -> int:
    try:
        return tested.get("server", "/node/health").status_code
    except requests.RequestException:
        return 0


def test_a_host_that_is_down_is_one_clear_line(lab: TestedLab, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 4; a lab that is half up too."""
    common = [str(lab.lab.description.file), "--out", str(lab.lab.out)]
    assert cli.main(["explain", MTLS, *common, "--instance", "nobody"]) == 4
    assert "run `mtls-lab up` first" in capsys.readouterr().err


def test_another_host_that_is_down_is_the_answer(lab: TestedLab) -> None:
    """Whoever asks why there is a 502 is not sent away because there is one; asked for itself, it is not ready."""
    gateway = looking.container_of(engine.connect(), lab.lab, "server", "gateway")
    gateway.stop(timeout=1)
    try:
        found = gathering.ask(lab.lab, Question(OUT_PLAIN))
        with pytest.raises(NotReady, match="is exited; run `mtls-lab up` again"):
            gathering.ask(lab.lab, Question(MTLS))
    finally:
        gateway.start()
        lab.find_ports("server")
        eventually(lambda: ask_plainly(lab) == 200, 60)

    assert found.finding.cause == "upstream-unreachable"
    assert "server is not up" in found.finding.why


# A new configuration that nginx does not take

UNREADABLE = {
    "a line that cannot be read": (
        in_server("location /mtls/ {", "location /mtls/ {\n    return 403", "routes.conf"), {}, "routes.conf:"
    ),
    "a name that leads nowhere": (in_server("ADDRESS OF mirror", "server nowhere.invalid:80;"), {}, "nginx.conf:"),
    "a key of another certificate": (
        (), {("server", "server.key"): ROOT.server("inner.lab.test")[1]}, "is not the key of the certificate"
    ),
    "a certificate that is none": ((), {("server", "server.pem"): b""}, "is empty"),
    "a list that is missing": (in_server("client-authorities.crl.pem", "clients.crl.pem"), {}, "there is no "),
}  # fmt: skip


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_configuration_that_was_refused_is_told(
    name: str, lab: TestedLab, capsys: pytest.CaptureFixture[str]
) -> None:
    """The gateway goes on with what it has; what nginx says of the new one, with its line, is told all the same."""
    edits, files, named = UNREADABLE[name]
    with ExitStack() as stack:
        for edit in edits:
            stack.enter_context(edited(lab, edit))
        for at, content in files.items():
            stack.enter_context(replaced(lab, *at, content))
        gateway = looking.container_of(engine.connect(), lab.lab, "server", "gateway")
        gateway.exec_run(["nginx", "-s", "reload"])
        found = gathering.ask(lab.lab, Question(MTLS))
        arguments = [MTLS, str(lab.lab.description.file), "--out", str(lab.lab.out), "--instance"]
        cli.main(["explain", *arguments, str(lab.lab.instance)])
    said = " ".join((found.finding.why, *found.finding.also))

    assert found.answer == "403"
    assert "[emerg]" in said
    assert named in said
    assert "nginx refuses what lies on disk now" in said
    assert "[emerg]" in capsys.readouterr().out


def test_a_listener_that_could_not_be_taken_over_is_told(lab: TestedLab) -> None:
    """A test of the files finds nothing; what nginx logged when it was asked to read them does."""
    edit = Edit("server", "nginx.conf", "listen 127.0.0.1:8081;", "listen 8081;")
    gateway = looking.container_of(engine.connect(), lab.lab, "server", "gateway")
    with edited(lab, edit):
        assert gateway.exec_run(["nginx", "-s", "reload"]).exit_code == 0
        found = gathering.ask(lab.lab, Question(MTLS))

        def is_told() -> bool:
            nonlocal found
            found = gathering.ask(lab.lab, Question(MTLS))
            return "bind()" in " ".join((found.finding.why, *found.finding.also))

        eventually(is_told)
    reload(lab, "server")


# A lab that is half up


@contextmanager
def halted(tested: TestedLab, host: str, service: str, how: str) -> Iterator[str]:
    """A container, paused or stopped; its name."""
    container = looking.container_of(engine.connect(), tested.lab, host, service)
    container.pause() if how == "pause" else container.stop(timeout=1)
    try:
        yield str(container.name)
    finally:
        container.unpause() if how == "pause" else container.start()
        tested.find_ports("server")
        eventually(lambda: ask_plainly(tested) == 200, 60)


def test_a_gateway_that_is_paused_is_told_with_what_lets_it_go_on(
    lab: TestedLab, capsys: pytest.CaptureFixture[str]
) -> None:
    """Asked for itself the lab is not ready; on the way it is the answer."""
    common = [str(lab.lab.description.file), "--out", str(lab.lab.out), "--instance", str(lab.lab.instance)]
    with halted(lab, "server", "gateway", "pause") as name:
        assert cli.main(["explain", MTLS, *common]) == 4
        complaint = capsys.readouterr().err
        found = gathering.ask(lab.lab, Question(OUT_PLAIN))

    assert complaint.startswith(f"{name} is paused: ")
    assert "`mtls-lab up` lets it go on" in complaint
    assert complaint.count("\n") == 1
    assert found.finding.cause == "upstream-paused"
    assert found.answer in ("504", "timeout")  # on a new connection, or one that was kept
    assert f"docker unpause {name}" in found.finding.fix


def test_a_service_that_is_paused_is_told_from_a_slow_one(lab: TestedLab) -> None:
    with halted(lab, "server", "node", "pause"):
        found = gathering.ask(lab.lab, Question("https://inner.lab.test/node/health"))

    assert (found.finding.cause, found.answer) == ("upstream-paused", "timeout")
    assert "node is paused" in found.finding.why


BAD_INPUT = {
    "https://nowhere.example/": "explain asks the lab's own gateways alone; there are inner.lab.test",
    "https://server/mtls/": "did you mean 'inner.lab.test'?",
    "https://inner.lab.test:1/": "does not listen on port 1",
    "ftp://inner.lab.test/": "write a whole URL",
    "inner.lab.test": "write a whole URL",
    "https://inner.lab.test:x/": "no URL",
    f"{MTLS} --as brol": "did you mean 'bro'?",
    f"{MTLS} --from servr": "did you mean 'server'?",
    f"{MTLS} --from client --as bob": "there is /mtls/ as bro",
    f"{MTLS} --from server --as bro": "nobody can show a certificate",
    f"{MTLS} --cert NOWHERE": "cannot be read",
    f"{MTLS} --cert FOLDER": "cannot be read",
    f"{MTLS} --cert PIPE": "is no file, but a pipe",
    f"{MTLS} --cert CERT --key PIPE": "is no file, but a pipe",
    f"{MTLS} --body PIPE": "is no file, but a pipe",
    f"{MTLS} --cert KEY": "holds no certificate",
    f"{MTLS} --cert DER": "convert it",
    f"{MTLS} --cert CERT": "name the key's file",
    f"{MTLS} --cert CERT --key OTHER": "is not the key of CN=bro",
    f"{MTLS} --cert UPSIDE_DOWN --key KEY": "but of CN=bro, its number 2; put that one first",
    f"{MTLS} --as=": "no caller at server",
    f"{MTLS} --cert CERT --key LOCKED": "the key is encrypted",
    f"{MTLS} --key KEY": "name its certificate",
    f"{MTLS} --cert CERT --key KEY --as bro": "say one of them",
    f"{MTLS} --method FETCH": "one of GET",
    f"{MTLS} --header nonsense": "write NAME: VALUE",
    f"{MTLS} --body NOWHERE": "cannot be read",
}


@pytest.mark.parametrize("line", BAD_INPUT)
def test_bad_input_is_one_clear_line(
    line: str, lab: TestedLab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    certificate, key = ROOT.client("bro")
    loaded: Any = serialization.load_pem_private_key(key, None)
    locked = loaded.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )
    contents = {
        "CERT": certificate, "UPSIDE_DOWN": ROOT.pem + certificate,
        "KEY": key, "OTHER": ROOT.client("bob")[1], "LOCKED": locked,
        "DER": x509.load_pem_x509_certificate(certificate).public_bytes(serialization.Encoding.DER),
    }  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "FOLDER").mkdir()
    os.mkfifo(tmp_path / "PIPE")
    files = {*contents, "FOLDER", "PIPE", "NOWHERE"}
    words = [str(tmp_path / word) if word in files else word for word in line.split()]
    common = [str(lab.lab.description.file), "--out", str(lab.lab.out), "--instance", str(lab.lab.instance)]

    assert cli.main(["explain", *words, *common]) == 2
    complaint = capsys.readouterr().err
    assert BAD_INPUT[line] in complaint
    assert complaint.count("\n") == 1


def test_an_expired_file_of_one_s_own_is_explained(lab: TestedLab, tmp_path: Path) -> None:
    """It is sent as it is: what the lab makes of it is what is asked."""
    certificate, key = ROOT.client("bro", start=NOW - timedelta(days=9), end=NOW - timedelta(days=1))
    (tmp_path / "own.pem").write_bytes(certificate + key)
    with broken(lab, Broken("", MTLS, files=trusting(ROOT))):
        found = gathering.ask(lab.lab, Question(MTLS, certificate=tmp_path / "own.pem"))

    assert found.finding.cause == "expired"
    assert (found.expected, found.as_expected) == (400, True)


@contextmanager
def started_anew(tested: TestedLab) -> Iterator[Callable[[], str]]:
    """The server's gateway, stopped; the function starts it and says what is told of it when it has given up."""
    gateway = looking.container_of(engine.connect(), tested.lab, "server", "gateway")
    gateway.stop(timeout=1)

    def words() -> str:
        gateway.start()
        eventually(lambda: "[emerg]" in bytes(gateway.logs(tail=5)).decode(errors="replace"), 30)
        return looking.diagnose(gateway)

    try:
        yield words
    finally:
        gateway.restart(timeout=1)
        tested.find_ports("server")
        eventually(lambda: ask_plainly(tested) == 200, 60)


STARTS = {
    "3 a misspelt service": (in_server("ADDRESS OF mirror", "server miror:8000;"), "did you mean mirror?"),
    "a line that cannot be read": (
        in_server("    server_tokens off;", "    server_tokens off"),
        "nginx does not read on from that line",
    ),
    "3 a service that has another name altogether": (in_server("ADDRESS OF mirror", "server db:5432;"), "there are "),
}


@pytest.mark.parametrize("name", STARTS)
def test_a_gateway_that_does_not_start_says_why(name: str, lab: TestedLab, capsys: pytest.CaptureFixture[str]) -> None:
    """`up`, `status` and `explain` tell it; the line of the configuration stands with it."""
    edits, told = STARTS[name]
    with started_anew(lab) as start, ExitStack() as stack:
        for edit in edits:
            stack.enter_context(edited(lab, edit))
        said = start()
        common = [str(lab.lab.description.file), "--out", str(lab.lab.out), "--instance", str(lab.lab.instance)]
        eventually(lambda: cli.main(["explain", MTLS, *common]) == 4)
        explained = capsys.readouterr().err
        assert cli.main(["status", *common]) == 0
        status = capsys.readouterr().out

    assert told in said
    for text in (said, explained, status):
        assert "[emerg]" in text
        assert re.search(r"server/nginx[^/]*/nginx\.conf:\d+", text.replace("\n", ""))


@pytest.mark.parametrize("name", ["server.key", LISTS])
def test_a_file_that_the_gateway_s_user_cannot_read_is_named(name: str, lab: TestedLab) -> None:
    """7: what lies beside it can be read; who owns it, and with which mode, is said.  Lists as well as keys."""
    file = lab.lab.certificates("server") / name
    facts = file.stat()
    owner = (lab.lab.certificates("server") / "server.key").stat().st_uid
    with started_anew(lab) as start:
        try:
            os.chown(file, 0, 0)
            file.chmod(0o600)
            said = start()
        finally:
            os.chown(file, facts.st_uid, facts.st_gid)
            file.chmod(facts.st_mode & 0o777)

    assert f"nginx runs as user {owner}" in said
    assert "belongs to user 0 (mode 0600)" in said


def test_a_chain_in_the_wrong_order_is_named(lab: TestedLab) -> None:
    """nginx only says that the key does not fit: it takes the first certificate of the file for its own."""
    file = lab.lab.certificates("server") / "server.pem"
    good = file.read_bytes()
    leaf = first(good)
    with started_anew(lab) as start:
        try:
            file.write_bytes(good.removeprefix(leaf) + leaf)
            said = start()
        finally:
            file.write_bytes(good)

    assert "is that of certificate number 2" in said
    assert "put that one first" in said


def test_a_certificate_that_was_renewed_and_not_read_is_told_from_one_that_ended(lab: TestedLab) -> None:
    """The file is good; what the gateway shows is what it read before."""
    past = {"start": NOW - timedelta(days=9), "end": NOW - timedelta(days=1)}
    case = Broken("", APP, files=server_certificate(**past))
    certificate, key = ROOT.server("inner.lab.test")
    folder = lab.lab.certificates("server")
    with broken(lab, case):
        ended = gathering.ask(lab.lab, Question(APP))
        later = time.time() + 60
        for name, content in (("server.pem", certificate), ("server.key", key)):
            (folder / name).write_bytes(content)
            os.utime(folder / name, (later, later))
        renewed = gathering.ask(lab.lab, Question(APP))

    assert ended.finding.cause == "server-expired"
    assert renewed.finding.cause == "not-reloaded"
    assert "ended at" in renewed.finding.why
