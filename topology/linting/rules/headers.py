"""What services are told of their callers, and what callers could say of themselves."""

from __future__ import annotations

from collections.abc import Iterator

from topology.linting.findings import ERROR, NOTE, WARNING, Found, rule
from topology.linting.gateway import Gateway
from topology.linting.guarding import CERTIFICATE

WHOLE_CERTIFICATES = frozenset({"ssl_client_cert", "ssl_client_raw_cert", "ssl_client_escaped_cert"})


def identity_headers(gateway: Gateway) -> dict[str, str]:
    """Lower-case name -> name, of the headers that tell of a caller's certificate anywhere in the configuration."""
    found = {}
    for one in gateway.configuration.root.directives():
        if one.name == "proxy_set_header" and gateway.hangs_on(" ".join(one.arguments[1:])) & CERTIFICATE:
            found[one.value.lower()] = one.value
    return found


@rule(ERROR, 'name it in every location that passes requests on, if only as `proxy_set_header NAME "";`')
def header_not_overwritten(gateway: Gateway) -> Iterator[Found]:
    """A service that believes `X-SSL-Client-Verify` from one location believes it from every other. nginx passes on
    what a caller sends, unless `proxy_set_header` names that header in the location, or around it where the
    location has none at all.
    """
    wanted = identity_headers(gateway)
    for call in gateway.calls:
        there = {one.value.lower() for one in call.block.in_force("proxy_set_header")}
        if missing := [name for key, name in wanted.items() if key not in there]:
            yield Found(call.place, f"the caller's own {', '.join(missing)} reaches {call.authority}")


@rule(WARNING, "repeat the whole list in the location, or put it into a file that each of them includes")
def headers_cancelled(gateway: Gateway) -> Iterator[Found]:
    """One `proxy_set_header` in a location cancels all those of the levels around it: Host becomes the upstream's
    name, X-Forwarded-* vanish, and what was to overwrite a caller's headers no longer does.
    """
    for call in gateway.calls:
        own = {one.value.lower() for one in call.block.own("proxy_set_header")}
        if not own or call.block.parent is None:
            continue
        around = {one.value.lower(): one.value for one in call.block.parent.in_force("proxy_set_header")}
        if lost := [name for key, name in around.items() if key not in own]:
            first = call.block.own("proxy_set_header")[0]
            yield Found(first.place, f"this line cancels {', '.join(lost)} from the level around it")


@rule(WARNING, "`underscores_in_headers off`, which is the default")
def underscores_in_headers(gateway: Gateway) -> Iterator[Found]:
    """CGI, WSGI and their like read `X_SSL_Client_Verify` and `X-SSL-Client-Verify` as one header. nginx drops names
    with an underscore unless it is told not to; the second spelling is then the caller's own.
    """
    for block in (*gateway.configuration.http, *gateway.servers):
        for one in block.own("underscores_in_headers"):
            if one.value == "on" and identity_headers(gateway):
                yield Found(one.place, "callers can spell the headers that tell of certificates with underscores")


@rule(
    NOTE, "pass on `$ssl_client_fingerprint` and the names; or raise `large_client_header_buffers` on every further hop"
)
def whole_certificate_passed_on(gateway: Gateway) -> Iterator[Found]:
    """A certificate with a large key or many names is more than 8 KB when it is escaped, and one header has to fit
    into one buffer of the next hop: nginx answers 400, Node.js 431 (above 16 KiB), to the callers with large
    certificates.
    """
    for one in gateway.configuration.root.directives():
        if one.name == "proxy_set_header" and gateway.hangs_on(" ".join(one.arguments[1:])) & WHOLE_CERTIFICATES:
            yield Found(one.place, f"{one.value} carries a whole certificate, which may not fit at the next hop")
