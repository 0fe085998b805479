"""502, 504 and their like: what became of the request that a gateway sent on."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from urllib.parse import urlsplit

from topology.explaining import chains, verification
from topology.explaining.chains import Shown
from topology.explaining.evidence import Evidence, Finding, Hop, Peer
from topology.explaining.log_lines import ErrorLine, holding
from topology.nginx.tree import Directive

OF_NAMES = (62, 63, 64)
"""OpenSSL's numbers for a certificate that is for another host name, e-mail address or IP address."""

GATEWAY_FAILURES = (500, 502, 503, 504)
NAME_DIFFERS = re.compile(r"upstream SSL certificate does not match \"([^\"]*)\"")
NO_ANSWER = "110"
"""ETIMEDOUT: of a resolver that does not answer; else the number is DNS's own."""

UNRESOLVED = re.compile(r"(\S+) could not be resolved \((\d+): ([^)]*)\)")


def failed(evidence: Evidence, hop: Hop) -> Finding | None:
    """The first cause that fits, where this gateway's own call went wrong."""
    lines = [line for line in hop.errors if line.of_upstream or "resolve" in line.message]
    if evidence.received.status not in GATEWAY_FAILURES or not lines:
        return None
    return next((found for cause in CAUSES if (found := cause(evidence, hop, lines)) is not None), None)


def passes(hop: Hop) -> tuple[Directive, ...]:
    return tuple(one for one in (hop.effective.one("proxy_pass"),) if one is not None)


def target(hop: Hop) -> str:
    """The name or group that proxy_pass names."""
    return (urlsplit(hop.effective.value("proxy_pass")).netloc or "").lower()


def servers(hop: Hop) -> tuple[Directive, ...]:
    """Where proxy_pass leads: the servers of its group."""
    return hop.effective.upstream_servers(target(hop))


def route_field(hop: Hop) -> tuple[str | int, ...]:
    return ("hosts", hop.host, "routes", hop.route) if hop.route else ("hosts", hop.host)


def called_host(evidence: Evidence, hop: Hop) -> str:
    """The host of the topology that the route leads to; empty for none."""
    host = evidence.topology.hosts.get(hop.host)
    route = host.routes.get(hop.route) if host else None
    return (route.host if route else "") or ""


def unverified_server(evidence: Evidence, hop: Hop, lines: list[ErrorLine]) -> Finding | None:
    """The other side's certificate is not believed."""
    line = next((line for line in lines if line.code), None)
    if line is None:
        return None
    called = called_host(evidence, hop)
    served = evidence.served.get(called, ())
    if (elsewhere := other_holder(evidence, hop, line)) is not None:
        return elsewhere
    if hop.effective.value("proxy_ssl_verify", "off") != "on":
        return Finding(
            "upstream-verification-off", f"{hop.host}'s gateway is not to verify whom it calls (proxy_ssl_verify is "
            "off), so nginx loads nobody whom it would trust; and gateways of a lab judge every server before they "
            f"show it a certificate, and so believe none ({line.code}: {line.reason}).", "set `proxy_ssl_verify on`",
            hop.host, verify_settings(hop) or passes(hop), (line.message,), route_field(hop),
        )  # fmt: skip
    if not served:
        return Finding(
            "upstream-not-verified", f"{hop.host}'s gateway does not believe the certificate of the server that it "
            f"calls ({line.upstream}): nginx says {line.code}: {line.reason}. It trusts "
            f"{chains.listed(hop.servers.anchors)}.", "trust the authority that issued it, or call another server",
            hop.host, verify_settings(hop), (line.message,), route_field(hop),
        )  # fmt: skip
    shown = Shown(served, hop.servers, hop.now or evidence.now or datetime.now(UTC), evidence.known)
    flaw, others = chains.cause(shown, line.code)
    main = flaw or next(iter(others), None)
    if main is None:
        return Finding(
            "upstream-impostor", f"Who answers {hop.host}'s gateway at {address_of(line)} shows a certificate that it "
            f"does not believe (nginx says {line.code}: {line.reason}); the one in {called}'s own files would be "
            "believed: somebody else answers there, or that gateway still serves an older one.",
            f"look who has the address, and reload {called}'s gateway", hop.host, verify_settings(hop), (line.message,),
            route_field(hop),
        )  # fmt: skip
    setting = {"verify_depth": "proxy_ssl_verify_depth", "crl": "proxy_ssl_crl"}.get(
        main.setting, "proxy_ssl_trusted_certificate"
    )
    return Finding(
        cause=f"upstream-{verification.skewed(evidence, hop, main) or main.kind}",
        why=f"{hop.host}'s gateway calls {called or line.upstream} and does not believe its certificate: {main.why} "
        f"nginx says {line.code}: {line.reason}. No request was sent.{verification.skew_told(evidence, hop, main)}",
        fix=main.fix if main.setting != "verify_depth" else f"{main.fix} (proxy_ssl_verify_depth on {hop.host})",
        host=hop.host,
        settings=tuple(dict.fromkeys((*(o for o in (hop.effective.one(setting),) if o), *verify_settings(hop)))),
        lines=(line.message,),
        field=route_field(hop),
        also=tuple(other.why for other in others if other is not main),
    )


def verify_settings(hop: Hop) -> tuple[Directive, ...]:
    names = ("proxy_ssl_verify", "proxy_ssl_trusted_certificate", "proxy_ssl_name")
    return tuple(one for name in names if (one := hop.effective.one(name)) is not None)


def other_holder(evidence: Evidence, hop: Hop, line: ErrorLine) -> Finding | None:
    """The address that was called is another container's than the host's that is meant: its name leads elsewhere."""
    called, address = called_host(evidence, hop), address_of(line).rpartition(":")[0]
    holder = evidence.holders.get(address, "")
    own = {where.partition("/")[0] for where in evidence.holders.values()}
    if not called or not holder or called not in own or holder == f"{called}/gateway":
        return None
    right = ", ".join(at for at, whose in evidence.holders.items() if whose == f"{called}/gateway")
    return Finding(
        "upstream-elsewhere", f"{hop.host}'s gateway calls {called} at {address}, and that is the address of {holder}: "
        f"the name leads elsewhere. {called}'s gateway is at {right}. What answers there is not believed (nginx says: "
        f"{line.message}).", "correct the address by which the name is known there (extra_hosts, DNS, or `server` in "
        "the upstream), and start that gateway anew", hop.host, (*servers(hop), *passes(hop)), (line.message,),
        route_field(hop),
    )  # fmt: skip


def wrong_name(evidence: Evidence, hop: Hop, lines: list[ErrorLine]) -> Finding | None:
    line = holding(lines, "upstream SSL certificate does not match")
    line = line or next((each for each in lines if each.code in OF_NAMES), None)
    if line is None:
        return None
    if (elsewhere := other_holder(evidence, hop, line)) is not None:
        return elsewhere
    match = NAME_DIFFERS.search(line.message)
    wanted = match[1] if match else hop.effective.value("proxy_ssl_name") or target(hop)
    served = evidence.served.get(called_host(evidence, hop), ())
    faults = list(verification.name_faults(served[0], wanted)) if served else []
    detail = faults[0].why if faults else f"the certificate that was shown is not for {wanted}."
    given = hop.effective.one("proxy_ssl_name")
    expected = f"It expects the name {wanted}" + (
        "" if given else ", which proxy_pass says, since proxy_ssl_name is not set"
    )
    return Finding(
        "upstream-name", f"{hop.host}'s gateway believes the authority of the server that it calls, but not its name. "
        f"{expected}; {detail}", "set proxy_ssl_name to the name that the certificate is for "
        f"({', '.join(served[0].san) if served else 'see the certificate'}), and send it (proxy_ssl_server_name on)",
        hop.host, (*((given,) if given else ()), *passes(hop)), (line.message,), route_field(hop),
    )  # fmt: skip


def refused_handshake(evidence: Evidence, hop: Hop, lines: list[ErrorLine]) -> Finding | None:
    """The other side ended the handshake, with an alert that says why."""
    line = next(
        (line for line in lines if "SSL_do_handshake() failed" in line.message or "alert" in line.message), None
    )
    if line is None:
        return None
    text = line.message
    place = tuple(
        one for name in ("proxy_ssl_server_name", "proxy_ssl_name", "proxy_ssl_protocols", "proxy_ssl_certificate")
        if (one := hop.effective.one(name)) is not None
    ) or passes(hop)  # fmt: skip
    if (found := plain_service(evidence, hop, line) or other_holder(evidence, hop, line)) is not None:
        return found
    if "wrong version number" in text or "packet length too long" in text:
        place = (*servers(hop), *passes(hop))
    for words, cause, why, fix in ALERTS:
        if cause == "upstream-sni" and any(word in text for word in words) and (lost := lost_name(evidence, hop, line)):
            return lost
        if any(word in text for word in words):
            return Finding(
                cause, f"{hop.host}'s gateway called {line.upstream or 'on'}, and the other side ended the TLS "
                f"handshake: {why.replace('{sni}', sni_sent(hop))}", fix, hop.host, place, (text,), route_field(hop),
            )  # fmt: skip
    if hop.effective.value("proxy_ssl_server_name", "off") != "on":
        return Finding(
            "upstream-sni", f"{hop.host}'s gateway called {line.upstream or 'on'} without a name in the handshake "
            "(proxy_ssl_server_name is off, as by default), and no TLS connection came about: the other side knows no "
            "server for that, and a gateway of this lab believes no server that it did not ask for by name.",
            "set `proxy_ssl_server_name on`", hop.host, place, (text,), route_field(hop),
        )  # fmt: skip
    return Finding(
        "upstream-handshake", f"{hop.host}'s gateway called {line.upstream or 'on'}, and no TLS connection came about.",
        "compare what both sides offer", hop.host, place, (text,), route_field(hop),
    )  # fmt: skip


def plain_service(evidence: Evidence, hop: Hop, line: ErrorLine) -> Finding | None:
    """Services behind a gateway are called in plain HTTP; one that was called by https:// cannot answer that."""
    meant = meant_peer(evidence, hop)
    if meant is None or not hop.effective.value("proxy_pass").startswith("https://"):
        return None
    return Finding(
        "upstream-speaks-plain-http", f"{hop.host}'s gateway speaks TLS to {meant.service} at {address_of(line)}, "
        "which speaks plain HTTP there.", "write http:// in that proxy_pass", hop.host, passes(hop), (line.message,),
        route_field(hop),
    )  # fmt: skip


def lost_name(evidence: Evidence, hop: Hop, line: ErrorLine) -> Finding | None:
    """The name that was sent is the right one: it is the other side that does not know its own."""
    called = called_host(evidence, hop)
    name = hop.effective.value("proxy_ssl_name") or target(hop)
    host = evidence.topology.hosts.get(called)
    sends = hop.effective.value("proxy_ssl_server_name", "off") == "on"
    if host is None or not sends or name not in (host.domain, *host.aliases):
        return None
    return Finding(
        "upstream-lost-name", f"{hop.host}'s gateway called {called} by the name {name}, as the topology does, and "
        f"{called}'s gateway has no server of that name: it ended the TLS handshake.",
        f"correct `server_name` in the gateway of {called}", called, verify_settings(hop), (line.message,),
        ("hosts", called, "domain"),
    )  # fmt: skip


def sni_sent(hop: Hop) -> str:
    if hop.effective.value("proxy_ssl_server_name", "off") != "on":
        return " Here none is sent."
    return f" Here it is {hop.effective.value('proxy_ssl_name') or target(hop)}."


ALERTS = (
    (("alert number 112", "unrecognized name", "unrecognized_name"), "upstream-sni",
     "no server there has the name that was sent, or none was sent (proxy_ssl_server_name is off by default).{sni}",
     "set `proxy_ssl_server_name on` and proxy_ssl_name to the name of the server"),
    (("alert number 116", "certificate required"), "egress-attaches-nothing",
     "it demands a client certificate, and this gateway shows none.",
     "set proxy_ssl_certificate and proxy_ssl_certificate_key in that location"),
    (("alert number 42", "bad certificate", "alert number 48", "unknown ca", "alert number 46", "alert number 45",
      "alert number 44", "alert number 43"), "upstream-refuses-certificate",
     "it does not accept the client certificate that this gateway shows, or that it shows none.",
     "attach (proxy_ssl_certificate) a certificate that the other side trusts"),
    (("alert number 70", "protocol version", "unsupported protocol"), "upstream-protocol",
     "the two have no version of TLS in common.", "allow a common version (proxy_ssl_protocols)"),
    (("wrong version number", "packet length too long", "http request"), "upstream-speaks-plain-http",
     "it does not speak TLS at all on that port.", "write http:// in that proxy_pass, or call its TLS port"),
    (("alert number 40", "handshake failure"), "upstream-no-common-cipher",
     "the two have no cipher or key type in common, or it wants a client certificate.",
     "compare proxy_ssl_ciphers with what the other side offers"),
)  # fmt: skip
"""Words of OpenSSL -> cause, what they mean, what to do.  Numbers: RFC 8446, section 6."""


def unresolved(evidence: Evidence, hop: Hop, lines: list[ErrorLine]) -> Finding | None:
    line = holding(lines, "could not be resolved", "no resolver defined")
    if line is None:
        return None
    match = UNRESOLVED.search(line.message)
    name = match[1] if match else target(hop)
    known = ", ".join(peer.service for peer in hop.peers)
    if match and match[2] == NO_ANSWER:
        asked = ", ".join(one.value for one in hop.effective.every("resolver"))
        return Finding(
            "upstream-dns-silent", f"{hop.host}'s gateway asked {asked or 'its resolver'} for the name {name}, and got "
            "no answer in time: whether there is such a name is not known.", "correct `resolver` (in a container the "
            "engine's own is 127.0.0.11), or see whether that server runs", hop.host,
            (*hop.effective.every("resolver"), *passes(hop)), (line.message,), route_field(hop),
        )  # fmt: skip
    return Finding(
        "upstream-unresolved", f"{hop.host}'s gateway does not find the name {name} ({line.message}); on its networks "
        f"there are {known or 'no services'}.", "correct the name, or put both on one network", hop.host,
        (*hop.effective.every("resolver"), *passes(hop)), (line.message,), route_field(hop),
    )  # fmt: skip


def unreachable(evidence: Evidence, hop: Hop, lines: list[ErrorLine]) -> Finding | None:
    """No connection: who has the address that was tried decides between four causes."""
    line = holding(lines, "Connection refused", "No route to host", "Host is unreachable", "Network is unreachable",
                   "timed out", "no live upstreams")  # fmt: skip
    if line is None:
        return None
    address = address_of(line)
    meant = meant_peer(evidence, hop)
    if "reading response header" in line.message and (meant is None or meant.status == "running"):
        return halted(evidence, hop, line.message) or slow(hop, line)
    holder = next((peer for peer in hop.peers if address.rpartition(":")[0] in peer.addresses), None)
    places = (*servers(hop), *passes(hop))
    field = route_field(hop)
    what = f"{hop.host}'s gateway tried {address or target(hop)}, and "
    if meant is not None and meant.status != "running":
        return down(hop, meant, f"{what}nobody answers", (line.message,))
    if meant is not None and meant.addresses and address and holder is not meant:
        owner = f" now belongs to {holder.service}" if holder else " belongs to nobody now"
        return Finding(
            "upstream-address-changed", f"{what}that address{owner}; {meant.service} is at "
            f"{', '.join(meant.addresses)}. nginx looks a name up once, when it starts: the container was recreated "
            "since, and got another address.", "reload the gateway; for good: a fixed address, `server NAME resolve;` "
            "with a zone, or `resolver` with a variable in proxy_pass", hop.host, places, (line.message,), field,
        )  # fmt: skip
    if meant is not None and "refused" in line.message:
        return Finding(
            "upstream-wrong-port", f"{what}{meant.service}, which has that address and runs, does not listen on port "
            f"{address.rpartition(':')[2]}.", "correct the port in the topology (`port:`), or let the service listen on"
            " all addresses there", hop.host, places, (line.message,),
            ("hosts", hop.host, "services", meant.service, "port"),
        )  # fmt: skip
    if (found := halted(evidence, hop, line.message)) is not None:
        return found
    called = called_host(evidence, hop)
    reason = f": {called}'s gateway runs, and is out of reach from there" if called else ""
    return Finding(
        "upstream-unreachable", f"{what}nobody answers there{reason}.", "see that both are on one network, and that "
        "nothing between them drops packets" if called else "see that it runs and listens", hop.host, places,
        (line.message,), field,
    )  # fmt: skip


def down(hop: Hop, meant: Peer, what: str, lines: tuple[str, ...] = ()) -> Finding:
    """The service itself does not run."""
    paused = meant.status == "paused"
    return Finding(
        "upstream-paused" if paused else "upstream-down", f"{what}: {meant.service} is {meant.status}"
        + (": connections to it open, and nobody there ever answers." if paused else "."),
        f"`docker unpause` its container ({meant.service} of {hop.host})" if paused else
        f"see why it stopped (`mtls-lab logs {hop.host}/{meant.service}`), and run `mtls-lab up`", hop.host,
        (*servers(hop), *passes(hop)), lines, route_field(hop),
    )  # fmt: skip


def halted(evidence: Evidence, hop: Hop, line: str = "") -> Finding | None:
    """The gateway of the host that is called does not run."""
    called = called_host(evidence, hop)
    standing = evidence.gateways.get(called)
    if standing is None or standing.status == "running":
        return None
    places, lines = (*servers(hop), *passes(hop)), (*((line,) if line else ()), *standing.said)
    if standing.status == "paused":
        return Finding(
            "upstream-paused", f"{hop.host}'s gateway called {called}, whose gateway is paused: connections to it "
            "open, and nobody there ever answers.", f"`docker unpause {standing.name}`", hop.host, places, lines,
            route_field(hop),
        )  # fmt: skip
    how = "none of its containers is there" if standing.status == "down" else f"its gateway is {standing.status}"
    why = f" It says: {'; '.join(standing.said)}." if standing.said else ""
    return Finding(
        "upstream-unreachable", f"{hop.host}'s gateway called {called}, and nobody answers there: {called} is not up "
        f"({how}).{why}", f"bring {called} up (`mtls-lab status`, `mtls-lab up`)", hop.host, places, lines,
        route_field(hop),
    )  # fmt: skip


def slow(hop: Hop, line: ErrorLine) -> Finding:
    limits = hop.effective.every("proxy_read_timeout")
    return Finding(
        "upstream-slow", f"{hop.host}'s gateway reached {address_of(line)}, which did not answer within "
        f"{hop.effective.value('proxy_read_timeout', '60s')}.", "see what it is busy with, or raise proxy_read_timeout",
        hop.host, (*limits, *passes(hop)), (line.message,), route_field(hop),
    )  # fmt: skip


def broken_off(_: Evidence, hop: Hop, lines: list[ErrorLine]) -> Finding | None:
    line = holding(lines, "prematurely closed", "reset by peer", "invalid header", "too big header")
    if line is None:
        return None
    if "too big header" in line.message:
        return Finding(
            "upstream-header-too-big", f"The answer's headers do not fit into {hop.host}'s buffer.",
            "raise proxy_buffer_size", hop.host, hop.effective.every("proxy_buffer_size") or passes(hop),
            (line.message,), route_field(hop),
        )  # fmt: skip
    return Finding(
        "upstream-broke-off", f"{address_of(line)} took the request of {hop.host}'s gateway and ended the connection "
        "without an answer that is HTTP: it crashed over it, or speaks another protocol on that port (TLS, where "
        "proxy_pass says http).", "see its own log; write https:// where it speaks TLS", hop.host,
        (*servers(hop), *passes(hop)), (line.message,), route_field(hop),
    )  # fmt: skip


def address_of(line: ErrorLine) -> str:
    return urlsplit(line.upstream).netloc


def meant_peer(evidence: Evidence, hop: Hop) -> Peer | None:
    """The container that the topology's route means."""
    host = evidence.topology.hosts.get(hop.host)
    route = host.routes.get(hop.route) if host else None
    wanted = route.service if route else None
    return next((peer for peer in hop.peers if wanted is not None and peer.service == wanted), None)


CAUSES = (wrong_name, unverified_server, refused_handshake, unresolved, unreachable, broken_off)
