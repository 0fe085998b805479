"""What a configuration means: who answers, which location, where to, what a variable hangs on."""

from __future__ import annotations

from pathlib import Path

import pytest

from topology.nginx import listening, passing, variables
from topology.nginx.reading import Configuration, read


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    file = tmp_path / "nginx.conf"
    file.write_text("""
        http {
            upstream app { server 10.0.0.7:8000; server app.internal; }
            map $ssl_client_verify $verified { default NONE; SUCCESS $ssl_client_s_dn; }
            server { listen 443 ssl default_server; ssl_reject_handshake on; }
            server {
                listen 10.0.0.1:8443 ssl; listen 443 ssl; http2 on;
                server_name a.test *.b.test;
                ssl_verify_client optional;
                location / { proxy_pass http://app; }
                location /api/ { proxy_pass https://far.test:8443/v1/; location /api/inner/ { root /srv; } }
                location /old/ {
                    rewrite ^/other/ /x/ break;
                    rewrite "(?s)^/old/(.*)$" /new/$1$9 break;
                    proxy_pass http://app;
                }
                location ^~ /files/ { alias /srv/files/; }
                location = /exact { return 204; }
                location ~ \\.php$ { proxy_pass http://app; }
                location /later/ {
                    set $allowed 0;
                    if ($verified = "CN=a") { set $allowed 1; }
                    set $to "https://later.test";
                    proxy_pass $to;
                }
            }
            server { listen [::]:80; server_name .c.test; ssl_verify_client on; }
        }
    """)
    return read(file)


@pytest.mark.parametrize(
    ("port", "name", "expected"),
    [(443, "a.test", 1), (443, "x.b.test", 1), (443, "b.test", 0), (443, "unknown", 0), (8443, "unknown", 1),
     (80, "c.test", 2), (80, "x.c.test", 2), (25, "a.test", None)],
)  # fmt: skip
def test_a_name_finds_its_server_as_in_nginx(
    configuration: Configuration, port: int, name: str, expected: int | None
) -> None:
    found = listening.server_for(configuration, port, name)

    assert found == (None if expected is None else configuration.servers[expected])


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/", "/"), ("/api/x", "/api/"), ("/api/inner/x", "/api/inner/"), ("/files/x.php", "^~ /files/"),
     ("/exact", "= /exact"), ("/exact/", "/"), ("/api/x.php", r"~ \.php$"), ("/API/", "/")],
)  # fmt: skip
def test_a_path_finds_its_location_as_in_nginx(configuration: Configuration, path: str, expected: str) -> None:
    found = passing.location_for(configuration.servers[1], path)

    assert found is not None
    assert str(passing.path_of(found)) == expected


def test_listeners_know_what_is_left_out(configuration: Configuration) -> None:
    named, plain = configuration.servers[1], configuration.servers[2]

    assert [(one.address, one.port, one.tls, one.http2) for one in listening.listeners(named)] == [
        ("10.0.0.1", 8443, True, True), ("*", 443, True, True),
    ]  # fmt: skip
    assert listening.verification(named) == "optional"
    assert listening.verification(plain) == "off"
    assert listening.listeners(plain)[0].everywhere


def test_calls_know_what_is_behind_them(configuration: Configuration) -> None:
    found = {str(passing.path_of(one.block)): one for one in passing.calls(configuration)}
    app, api, later, old = found["/"], found["/api/"], found["/later/"], found["/old/"]

    assert (app.servers, app.ports) == (("10.0.0.7:8000", "app.internal"), ("8000", "80"))
    assert (api.tls, api.host, api.ports, api.name, passing.path_behind(api)) == (
        True, "far.test", ("8443",), "far.test", "/v1/",
    )  # fmt: skip
    assert (later.dynamic, later.host, app.dynamic) == (True, "later.test", False)
    assert (passing.path_behind(old), passing.path_behind(app)) == ("/new/", "/")


def test_a_variable_hangs_on_what_decides_on_it(configuration: Configuration) -> None:
    found = variables.sources(configuration)

    assert {"verified", "ssl_client_verify", "ssl_client_s_dn"} <= found["allowed"]
    assert variables.sources_of("$to", found) == {"to"}
    assert variables.sources_of("x $verified ${remote_addr}", found) >= {"ssl_client_verify", "remote_addr"}
