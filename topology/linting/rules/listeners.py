"""Where the gateway listens, and how it speaks there."""

from __future__ import annotations

from collections.abc import Iterator

from topology.linting.findings import ERROR, NOTE, WARNING, Found, rule
from topology.linting.gateway import Gateway
from topology.linting.guarding import certificate_guards, is_closed
from topology.nginx import listening, passing
from topology.nginx.passing import path_of
from topology.nginx.tree import Block

OLD = frozenset({"SSLv2", "SSLv3", "TLSv1", "TLSv1.1"})

LAB_DOMAINS = (".test", ".localhost", ".local", ".internal", ".example", ".invalid", ".lan", ".home.arpa")
"""Names that belong to nobody: RFC 6761, RFC 6762, RFC 8375, ICANN's .internal, and what people use besides."""

UNITS = {"k": 1024, "m": 1024**2, "g": 1024**3}
DEFAULT_BODY = "1m"


def trusts(server: Block) -> tuple[str, str, str]:
    """Whom a server lets in by certificate."""
    return (listening.verification(server), server.value("ssl_client_certificate"), server.value("ssl_crl"))


@rule(WARNING, "`server { listen 443 ssl default_server; ssl_reject_handshake on; }`")
def no_default_server(gateway: Gateway) -> Iterator[Found]:
    """A caller that sends no server name, or an unknown one, is verified by the default server: by its authorities, or
    not at all. The Host header then chooses another server of the same port, which takes over the result: SUCCESS,
    with a certificate of an authority that it does not know.
    """
    for servers in listening.sharing(gateway.configuration).values():
        here = [(server, one) for server, one in servers if one.tls]
        asking = [one for one in here if listening.verification(one[0]) != "off"]
        if not asking:
            continue
        default, listener = listening.default_of(here)
        if default.value("ssl_reject_handshake", "off") == "on":
            continue
        several = len({trusts(server) for server, _ in here}) > 1
        message = "callers without a name, or with an unknown one, are verified as this server's"
        yield Found(listener.place, message, ERROR if several else WARNING)


@rule(ERROR, "listen with `ssl`; or bind it to the one address whose network may use it: `listen 10.0.0.2:8080;`")
def plain_listener(gateway: Gateway) -> Iterator[Found]:
    """On a listener without TLS nobody can show a certificate. Guards refuse everybody there, if they compare with
    SUCCESS, and a location that lends its identity lends it to every network that the machine or container is on.
    """
    for server in gateway.servers:
        if gateway.declared is not None and gateway.declared.tls is None:
            return  # the topology says so
        open_ones = [one for one in listening.listeners(server) if not one.tls and one.everywhere]
        if not open_ones:
            continue
        for location in passing.locations(server):
            identity = location.value("proxy_ssl_certificate") if location.own("proxy_pass") else ""
            if identity and not is_closed(gateway, location):
                message = f"{path_of(location)} lends its identity in plain HTTP, on every network"
            elif certificate_guards(gateway, location):
                message = f"{path_of(location)} asks for a certificate, which nobody can show in plain HTTP"
            else:
                continue
            yield Found(open_ones[0].place, message)
            break


@rule(ERROR, "`ssl_protocols TLSv1.2 TLSv1.3;`, and the same with `proxy_ssl_protocols`")
def old_protocols(gateway: Gateway) -> Iterator[Found]:
    """TLS 1.0 and 1.1 are deprecated (RFC 8996): they sign with SHA-1 and MD5, and security level 2 of OpenSSL refuses
    them. Whoever still needs them should say so for one name, not for all.
    """
    for one in gateway.configuration.root.directives():
        if one.name in ("ssl_protocols", "proxy_ssl_protocols") and (old := OLD.intersection(one.arguments)):
            yield Found(one.place, f"{', '.join(sorted(old))} is spoken")


@rule(WARNING, "a certificate of its own for each, or another address or port for the one that verifies")
def shared_certificate(gateway: Gateway) -> Iterator[Found]:
    """A browser that has an HTTP/2 connection to one name uses it for every other name on its certificate (RFC 9113,
    9.1.1). nginx answers 421 where the other server verifies clients, now and then, and never in a test with curl.
    """
    for servers in listening.sharing(gateway.configuration).values():
        seen: dict[str, Block] = {}
        for server, one in servers:
            certificate = server.value("ssl_certificate")
            if not one.tls or not one.http2 or not certificate or "$" in certificate:
                continue
            other = seen.setdefault(certificate, server)
            if trusts(other) != trusts(server):
                names = f"{' '.join(listening.names(server))} and {' '.join(listening.names(other))}"
                message = f"{names} share a certificate and HTTP/2, and not who gets in"
                yield Found((server.one("ssl_certificate") or server.directive).place, message)


@rule(WARNING, "leave it out on names that are for labs")
def hsts_in_a_lab(gateway: Gateway) -> Iterator[Found]:
    """A browser that was told Strict-Transport-Security for a name never asks there in plain HTTP again, at no port,
    for as long as it was told (RFC 6797): the redirect is not tried any more, other labs of that name do not work,
    and a certificate that it does not trust can no longer be clicked away.
    """
    for server in gateway.servers:
        lab = [name for name in listening.names(server) if name == "localhost" or name.endswith(LAB_DOMAINS)]
        for block in (server, *server.below("location")):
            for one in block.own("add_header") if block is not server else server.in_force("add_header"):
                said = "".join(one.arguments[1:2])  # nginx sends no header whose value is empty
                if lab and said and one.value.lower() == "strict-transport-security":
                    yield Found(one.place, f"browsers will never again ask {lab[0]} in plain HTTP")


@rule(NOTE, "`absolute_redirect off;`")
def absolute_redirect(gateway: Gateway) -> Iterator[Found]:
    """`/path` is redirected to `/path/`, by default with the scheme and port at which nginx itself listens. Behind a
    published port that is another one than the caller used: `http://host:8080/path/`, or the port is lost.
    """
    for server in gateway.servers:
        if server.value("absolute_redirect", "on") == "off":
            continue
        for location in passing.locations(server):
            path = path_of(location)
            if location.own("proxy_pass") and not path.is_pattern and path.text.endswith("/") and len(path.text) > 1:
                yield Found(location.place, f"{path.text.rstrip('/')} is redirected to nginx's own port")
                break


@rule(NOTE, "`client_max_body_size` where all gateways have the same, and know that its 413 comes before a guard's 403")
def body_before_guard(gateway: Gateway) -> Iterator[Found]:
    """A body above `client_max_body_size` (1m by default) is refused with 413 before any `if` is looked at: a caller
    without a certificate gets 413 in place of 403. Nothing leaks; the answer surprises.
    """
    for server in gateway.servers:
        if server.one("client_max_body_size"):
            continue
        for location in passing.locations(server):
            if certificate_guards(gateway, location) and not location.one("client_max_body_size"):
                yield Found(location.place, f"{path_of(location)} answers 413 before 403 above {DEFAULT_BODY}")
                break


@rule(WARNING, "the same `client_max_body_size` on every gateway of the way")
def body_limit_on_the_way(gateway: Gateway) -> Iterator[Found]:
    """Every nginx on the way has a limit of its own, 1m by default, and the smallest one decides: 413, although the
    limit of the one that holds the service was raised.
    """
    for call in gateway.calls:
        if (there := gateway.reached(call)) is None:
            continue
        target = passing.location_for(there[1], passing.path_behind(call)) or there[1]
        here, beyond = (one.value("client_max_body_size", DEFAULT_BODY) for one in (call.block, target))
        if size(here) < size(beyond):
            yield Found(call.place, f"bodies end at {here} here, and at {beyond} at {call.name}, behind it")


def size(text: str) -> float:
    """Bytes; 0 is without a limit."""
    number, unit = (text[:-1], text[-1].lower()) if text[-1:].isalpha() else (text, "")
    if not number.isdigit():
        return float("inf")
    return int(number) * UNITS.get(unit, 1) or float("inf")
