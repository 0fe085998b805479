"""Whom this gateway calls: verification, names, and whose identity goes where."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from topology.description.wording import nearest
from topology.linting.findings import ERROR, NOTE, WARNING, Found, rule
from topology.linting.gateway import Container, Gateway
from topology.linting.guarding import is_closed, is_guarded, is_verified
from topology.nginx import listening, passing
from topology.nginx.passing import Call, is_address, path_of
from topology.nginx.tree import Block, Directive

TLS_PORTS = frozenset({"443", "8443", "9443"})

CALLERS_NAMES = frozenset({"$host", "$http_host", "$ssl_server_name", "$ssl_preread_server_name"})


def tls_calls(gateway: Gateway) -> list[Call]:
    return [call for call in gateway.calls if call.tls]


def header(block: Block, name: str) -> str | None:
    """The value by which a header goes to the other side; None where nginx's own goes."""
    found = [one.arguments[1] for one in block.in_force("proxy_set_header")
             if len(one.arguments) > 1 and one.value.lower() == name.lower()]  # fmt: skip
    return found[-1] if found else None


@rule(WARNING, "`proxy_ssl_verify on; proxy_ssl_trusted_certificate FILE; proxy_ssl_name NAME;`")
def egress_unverified(gateway: Gateway) -> Iterator[Found]:
    """`https://` in `proxy_pass` encrypts, and asks nobody who he is: `proxy_ssl_verify` is off by default. Whoever
    takes the other side's place on the network gets the requests; with `proxy_ssl_certificate`, in this gateway's
    name.
    """
    for call in tls_calls(gateway):
        if call.block.value("proxy_ssl_verify", "off") != "on":
            identity = call.block.value("proxy_ssl_certificate")
            level = ERROR if identity else WARNING
            shown = f", and {PurePosixPath(identity).name} is shown to it" if identity else ""
            yield Found(call.place, f"whoever answers as {call.authority} is believed{shown}", level)


@rule(WARNING, "`proxy_ssl_server_name on;`")
def egress_without_sni(gateway: Gateway) -> Iterator[Found]:
    """By default nginx does not say which name it calls (`proxy_ssl_server_name off`). The other side answers with its
    default server: another certificate, another list of client authorities, or a refused handshake.
    """
    for call in tls_calls(gateway):
        if call.block.value("proxy_ssl_server_name", "off") != "on" and not is_address(call.name):
            yield Found(call.place, f"{call.name} is called without saying so")


@rule(ERROR, "`proxy_ssl_name` with the name on the other side's certificate, and the same in `proxy_set_header Host`")
def egress_name(gateway: Gateway) -> Iterator[Found]:
    """The certificate's name is compared with `proxy_ssl_name`, which is the name in `proxy_pass` unless it is set:
    for an `upstream` that is the group's name, which no certificate has. A variable that callers fill lets them
    choose whom the gateway believes. A name that differs from the Host header gets another server, or 421.
    """
    for call in tls_calls(gateway):
        written = call.block.one("proxy_ssl_name")
        host = header(call.block, "Host")
        checked = call.block.value("proxy_ssl_verify", "off") == "on"
        if call.group is not None and (written is None or written.value == "$proxy_host"):
            level = ERROR if checked else WARNING
            yield Found(call.place, f"the name of the group, {call.authority}, is asked for and compared", level)
        elif written is not None and written.value in CALLERS_NAMES:
            yield Found(written.place, f"the caller chooses which name is compared: {written.value}")
        elif written is not None and call.group is None and differs(written.value, call.host):
            yield Found(written.place, f"{call.host} is called, and {written.value} is expected", WARNING)
        elif host is not None and differs(passing.host_and_port(host)[0], call.name):
            message = f"{call.name} is called in TLS, and {host} in the Host header: 421, or another server"
            yield Found(call.place, message, WARNING)


def differs(one: str, other: str) -> bool:
    """Whether two texts are names, and not the same; addresses and variables are not compared."""
    if not one or not other or "$" in one + other or is_address(one) or is_address(other):
        return False
    return one.lower() != other.lower()


@rule(WARNING, "`proxy_set_header Host NAME;` with the name that the other side has, or `$host` for a service of yours")
def host_of_upstream(gateway: Gateway) -> Iterator[Found]:
    """Without a Host header of its own a location sends `$proxy_host`: for an `upstream` that is the group's name. The
    other side finds no server of that name and answers with its default one, which never asks for the certificate;
    an underscore in it makes strict applications answer 400.
    """
    for call in gateway.calls:
        host = header(call.block, "Host")
        if call.group is not None and host in (None, "$proxy_host"):
            yield Found(call.place, f"the Host header is the group's name, {call.authority}")
        elif call.tls and host in ("$host", "$http_host"):
            yield Found(call.place, f"{call.name} is asked for the name that this gateway's caller used")


@rule(ERROR, "an `upstream` of its own for each identity, and one for none")
def shared_upstream(gateway: Gateway) -> Iterator[Found]:
    """nginx keeps TLS sessions and idle connections per upstream, and not per location. A call without a certificate
    can go out over a connection that was opened with one, and the other side takes it for that identity; and the
    other way round, depending on which came first (`proxy_ssl_session_reuse`, `keepalive`).
    """
    seen: dict[str, tuple[str, Call]] = {}
    for call in tls_calls(gateway):
        if call.dynamic:
            continue  # each request has an upstream of its own
        keeps = call.block.value("proxy_ssl_session_reuse", "on") == "on"
        waits = call.group is not None and any(one.value != "0" for one in call.group.own("keepalive"))
        identity = call.block.value("proxy_ssl_certificate")
        first, other = seen.setdefault(call.authority, (identity, call))
        if first != identity and (keeps or waits):
            shown = f"{named(identity)} here, {named(first)} at {other.place}"
            yield Found(call.place, f"{call.authority} is called with two identities: {shown}")


def named(identity: str) -> str:
    return PurePosixPath(identity).stem if identity else "none"


@rule(WARNING, "a guard in the location; or, in a topology, `lends: everyone` with the route that says so in writing")
def identity_lent(gateway: Gateway) -> Iterator[Found]:
    """Here TLS ends, and a new connection begins in this gateway's name: the other side sees its certificate, whoever
    the caller is. Without a guard everybody who reaches this location acts with that identity.
    """
    for call in gateway.calls:
        identity = call.block.value("proxy_ssl_certificate")
        location = call.block.around("location")
        if not call.tls or not identity or location is None or is_closed(gateway, location):
            continue
        route = gateway.route(location)
        server = location.around("server")
        inside = server is not None and all(is_here(one) for one in listening.listeners(server))
        if inside or (route is not None and route.lends == "everyone"):
            continue
        yield Found(call.place, f"every caller of {path_of(location)} calls {call.name} as {named(identity)}")


def is_here(listener: listening.Listener) -> bool:
    """Whether a listener is for this machine alone."""
    return listener.address.startswith(("unix:", "127.", "localhost", "[::1]"))


@rule(ERROR, "`proxy_ssl_certificate` in the locations that call the one host that it is for")
def identity_spread(gateway: Gateway) -> Iterator[Found]:
    """A client certificate at server or http level is shown to everybody whom any location below calls over TLS; an
    expired one breaks them all, and each of them learns who this gateway is elsewhere.
    """
    for level in (*gateway.configuration.http, *gateway.servers):
        for identity in level.own("proxy_ssl_certificate"):
            shown = [call for call in tls_calls(gateway) if call.block.one("proxy_ssl_certificate") == identity]
            others = sorted({call.authority for call in shown})
            if len(others) > 1:
                message = f"{named(identity.value)} is shown to {', '.join(others)}"
                yield Found(identity.place, message)


@rule(
    WARNING,
    "`proxy_ssl_certificate` and `proxy_ssl_certificate_key` in the location that calls; in a topology `identity`",
)
def identity_missing(gateway: Gateway) -> Iterator[Found]:
    """A caller's certificate ends at this gateway. The next one, which asks for one, gets this gateway's or none: 400
    or 403 there, although the same caller gets through directly.
    """
    for call in tls_calls(gateway):
        location = call.block.around("location")
        route = gateway.route(location) if location is not None else None
        identity = call.block.value("proxy_ssl_certificate")
        if route is not None:
            if (route.identity or "") != named(identity).replace("none", ""):
                wanted = route.identity or "no identity"
                yield Found(call.place, f"the topology says {wanted}, and {named(identity)} is shown", ERROR)
            continue
        if (there := gateway.reached(call)) is None or identity:
            continue
        neighbour, server = there
        target = passing.location_for(server, passing.path_behind(call))
        asks = is_verified(server) or (target is not None and is_guarded(Gateway(neighbour, gateway.now), target))
        if asks:
            yield Found(call.place, f"{call.name} asks for a certificate there, and none is shown")


@rule(ERROR, "`https://` in `proxy_pass`")
def plain_to_tls(gateway: Gateway) -> Iterator[Found]:
    """The other side speaks TLS at that port, and is called without: 400, "The plain HTTP request was sent to HTTPS
    port", on a page that looks like this gateway's own.
    """
    for call in gateway.calls:
        if call.scheme == "http" and (port := next((one for one in call.ports if one in TLS_PORTS), None)):
            yield Found(call.place, f"port {port} of {call.host} is called in plain HTTP")


@rule(
    NOTE, "addresses that do not change; `server NAME resolve;` with a `resolver` and a `zone`; or a variable as target"
)
def name_looked_up_once(gateway: Gateway) -> Iterator[Found]:
    """A name in `proxy_pass` or `upstream` is looked up when nginx starts, and never again. Where it is not known
    then, nginx does not start: `host not found in upstream`. Where its container comes back with another address,
    requests go to whoever has the old one now: 502, or another service's answer.
    """
    for call in gateway.calls:
        if call.dynamic or call.group is not None:
            continue
        yield from looked_up(call.host, call, gateway.container)
    for http in gateway.configuration.http:
        resolves = http.one("resolver") is not None
        for group in http.blocks("upstream"):
            for server in group.own("server"):
                if not ("resolve" in server.arguments[1:] and (resolves or group.own("resolver"))):
                    yield from looked_up(passing.host_and_port(server.value)[0], server, gateway.container)


def looked_up(host: str, where: Call | Directive, container: Container | None) -> Iterator[Found]:
    """What is to be said of one name; container: what is known of who looks it up."""
    if not host or is_address(host) or "$" in host or host.startswith("unix:") or host == "localhost":
        return
    if container is None:
        yield Found(where.place, f"{host} is looked up once, at start")
    elif host in container.known:
        return  # with an address that does not change
    elif (near := container.services.get(host)) is not None:
        again = "it is looked up once, at start, and its container can come back with another address"
        apart = "it is on none of this container's networks: nginx does not start"
        yield Found(where.place, f"{host} is a service; {again if near else apart}", WARNING if near else ERROR)
    else:
        meant = nearest(host, [*container.services, *container.known])
        hint = f"; did you mean {meant}?" if meant else ""
        message = f"{host} is no service here, and no name that this container knows: nginx may not start{hint}"
        yield Found(where.place, message, WARNING if "." in host else ERROR)
