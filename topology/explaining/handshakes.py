"""No answer at all: nobody listens, the handshake was refused, or the server is not believed."""

from __future__ import annotations

from datetime import UTC, datetime

from topology.explaining import chains, upstreams, verification
from topology.explaining.certificates import Certificate
from topology.explaining.chains import SERVER, Shown, Trust
from topology.explaining.configuration import inner
from topology.explaining.evidence import Evidence, Finding, Hop
from topology.explaining.log_lines import holding
from topology.nginx import passing
from topology.proof.expectation import REFUSED

ANY_DEPTH = 100
"""OpenSSL's own default for clients, as good as none."""

ERROR = 400
"""From here on a status is a refusal or a failure."""

OWN_SIGNED = ("unsupported protocol", "alert number 70", "protocol version", "no protocols available")


def no_answer(evidence: Evidence) -> Finding:
    hop = evidence.hops[0] if evidence.hops else Hop(evidence.sent.host)
    if evidence.received.failure == "timeout" and (found := stuck(evidence)) is not None:
        return found
    for cause in (plain_listener, server_refused, unknown_name, service_refuses, protocol, not_believing, nobody_there):
        if (found := cause(evidence, hop)) is not None:
            return found
    return Finding(
        "no-answer", f"{evidence.sent.host} gave no answer: {evidence.received.failure}. {evidence.received.detail}",
        f"look at its log (`mtls-lab logs {evidence.sent.host}`)", evidence.sent.host, (),
        tuple(line.message for line in hop.errors),
    )  # fmt: skip


def stuck(evidence: Evidence) -> Finding | None:
    """The caller waited in vain: the last gateway that the request reached tells for whom it waited itself."""
    hop = evidence.maker
    if hop is None:
        return None
    meant = upstreams.meant_peer(evidence, hop)
    what = f"{hop.host}'s gateway passed the request on, and no answer came"
    if meant is not None and meant.status != "running":
        return upstreams.down(hop, meant, what)
    if (found := upstreams.halted(evidence, hop)) is not None:
        return found
    if hop.access is None or not hop.told("upstream"):
        return None
    whom = meant.service if meant is not None else hop.told("upstream")
    limit = hop.effective.value("proxy_read_timeout", "60s")
    return Finding(
        "upstream-slow", f"{what} from {whom} while the caller waited ({hop.told('seconds')} s); {hop.host}'s gateway "
        f"itself would wait {limit} (proxy_read_timeout).", f"see what {whom} is busy with (`mtls-lab logs`)",
        hop.host, (*hop.effective.every("proxy_read_timeout"), *upstreams.passes(hop)),
        field=upstreams.route_field(hop),
    )  # fmt: skip


def plain_listener(evidence: Evidence, hop: Hop) -> Finding | None:
    """The caller spoke TLS, and what came back is no TLS."""
    if "wrong version number" not in evidence.received.detail.lower().replace("_", " "):
        return None
    server = hop.effective.server
    listens = inner(server, "listen") if server else ()
    return Finding(
        "no-tls-on-port", f"The caller spoke TLS, and {evidence.sent.host} answered in plain HTTP: what listens on "
        "that port has no `ssl` in its `listen`, or it is a plain port.", "write `listen 443 ssl;`, or call it with http://",
        evidence.sent.host, listens, tuple(line.message for line in hop.errors),
        ("hosts", evidence.sent.host, "tls"),
    )  # fmt: skip


def server_refused(evidence: Evidence, hop: Hop) -> Finding | None:
    """The caller does not believe the server."""
    if evidence.received.failure != "server certificate refused":
        return None
    sent = whole_chain(evidence)
    now = evidence.now or datetime.now(UTC)
    trust = Trust(evidence.sent.trusted, (), ANY_DEPTH, checked=False, purpose=SERVER)
    found = list(verification.server_flaws(sent, trust, evidence.sent.domain, now, dict(evidence.known)))
    found += verification.strict_faults(sent, evidence.sent.trusted, evidence.received.detail)
    place = tuple(one for one in (hop.effective.one("ssl_certificate"),) if one is not None)
    said = f" The caller's TLS library says: {reason_of(evidence.received.detail)}."
    if not found:
        return Finding(
            "server-not-believed", f"The caller does not believe the certificate of {evidence.sent.host}.{said}",
            "compare the certificate with whom the caller trusts", evidence.sent.host, place,
            field=("hosts", evidence.sent.host, "tls"),
        )  # fmt: skip
    main = told_first(found, evidence.received.detail)
    return Finding(
        f"server-{verification.skewed(evidence, hop, main) or main.kind}",
        f"The caller does not believe the server: {main.why}{said}", main.fix, evidence.sent.host, place,
        field=("hosts", evidence.sent.host, "tls" if main.setting != "certificate" else "domain"),
        also=tuple(one.why for one in found if one is not main),
    )  # fmt: skip


def whole_chain(evidence: Evidence) -> tuple[Certificate, ...]:
    """What the server showed; its file tells of the rest where only its own certificate could be seen."""
    seen, filed = evidence.received.server, evidence.served.get(evidence.sent.host, ())
    return filed if filed and (not seen or seen[0] == filed[0]) else seen


TELLING = (
    ("expired", "expired"), ("not yet valid", "not-yet-valid"), ("hostname mismatch", "name-not-in-san"),
    ("hostname mismatch", "no-san"), ("ip address mismatch", "address-not-in-san"), ("ip address mismatch", "no-san"),
    ("self-signed", "self-signed"), ("purpose", "wrong-purpose"), ("key identifier", "not-strict"),
    ("marked critical", "not-strict"), ("key usage", "not-strict"),
)  # fmt: skip


def told_first(found: list[chains.Flaw], detail: str) -> chains.Flaw:
    """The flaw that the library's words are about, where they say."""
    for words, kind in TELLING:
        if words in detail.lower():
            for flaw in found:
                if flaw.kind == kind:
                    return flaw
    return found[0]


def reason_of(detail: str) -> str:
    """The library's own words, out of the wrapping that requests and urllib3 put around."""
    _, _, behind = detail.partition("certificate verify failed: ")
    return (behind.partition(" (_ssl")[0] or detail[:200]).strip()


def unknown_name(evidence: Evidence, hop: Hop) -> Finding | None:
    reject = hop.effective.one("ssl_reject_handshake")
    if reject is None or reject.value != "on":
        return None
    host = evidence.topology.hosts.get(evidence.sent.host)
    names = " or ".join((host.domain, *host.aliases)) if host else "its own name"
    name = evidence.sent.domain
    if passing.is_address(name):
        return Finding(
            "no-server-name", f"The caller called {evidence.sent.host}'s gateway by its address, {name}, and TLS sends "
            "no name (SNI) for an address: the gateway refuses the handshake, so that nobody gets another server's "
            "rules. Clients that never send a name (old ones, some health checks) meet the same.",
            f"call it as {names}", evidence.sent.host,
            (reject, *(inner(hop.effective.server, "listen") if hop.effective.server else ())),
            field=("hosts", evidence.sent.host, "domain"),
        )  # fmt: skip
    return Finding(
        "unknown-server-name", f"The caller asked for {name or 'no name at all'} in the handshake (SNI), and "
        f"{evidence.sent.host}'s gateway has no server of that name: it refuses the handshake, so that nobody gets "
        "another server's rules.", f"call it as {names}", evidence.sent.host,
        (reject, *(inner(hop.effective.server, "listen") if hop.effective.server else ())),
        field=("hosts", evidence.sent.host, "domain"),
    )  # fmt: skip


def service_refuses(evidence: Evidence, hop: Hop) -> Finding | None:
    """A service that terminates TLS itself refuses inside the handshake, where nginx would answer 400."""
    trust = evidence.service_trust
    if trust is None or evidence.received.failure not in ("handshake refused", "connection reset"):
        return None
    service = service_of(evidence)
    field = ("hosts", evidence.sent.host, "services", service, "tls")
    rule = f"{service} of {evidence.sent.host} terminates TLS itself, and refuses the handshake"
    if not evidence.sent.shown:
        return Finding(
            "service-demands-certificate", f"{rule} of whoever shows no client certificate.",
            f"show one of {chains.listed(trust.anchors)} (--as)", evidence.sent.host, field=field,
        )  # fmt: skip
    shown = Shown(evidence.sent.shown, trust, hop.now or evidence.now or datetime.now(UTC), evidence.known)
    found = chains.flaws(shown)
    if not found:
        return None
    return Finding(
        found[0].kind, f"{rule}: {found[0].why} The other side only says: {evidence.received.detail[:160]}",
        found[0].fix, evidence.sent.host, field=field, also=tuple(one.why for one in found[1:]),
    )  # fmt: skip


def service_of(evidence: Evidence) -> str:
    """The service that terminates TLS itself at the port that was called."""
    host = evidence.topology.hosts[evidence.sent.host]
    return next((name for name, one in host.services.items() if one.tls and one.tls.port == evidence.sent.port), "")


def service_answered(evidence: Evidence) -> Finding:
    """The gateway passes such connections on as they are, and can neither guard nor answer anything in them."""
    sent, service = evidence.sent, service_of(evidence)
    field = ("hosts", sent.host, "services", service, "tls")
    who = f"The service {service} of {sent.host}, which terminates TLS itself, answered {evidence.received.status}"
    if evidence.expected == REFUSED:
        trust = evidence.service_trust
        shown = Shown(sent.shown, trust, evidence.now or datetime.now(UTC), evidence.known) if trust else None
        found = chains.flaws(shown) if shown and sent.shown else ()
        what = found[0].why if found else "it was shown no certificate that the topology accepts."
        return Finding(
            "service-lets-in", f"{who}, and should have refused the handshake: {what}",
            "let it insist on certificates, and believe those of TLS_CLIENT_CA alone that are not on TLS_CRL "
            "(Node.js: requestCert and rejectUnauthorized)", sent.host, field=field,
        )  # fmt: skip
    if (evidence.received.status or 0) < ERROR:
        return Finding("passed", f"{who}: the gateway passes the connection on to it as it is.", "", sent.host,
                       field=field)  # fmt: skip
    return Finding(
        "application", f"{who}, and that is its own: no gateway looks into such a connection.",
        f"look into its log (`mtls-lab logs {sent.host}/{service}`)", sent.host, field=field,
    )  # fmt: skip


def protocol(evidence: Evidence, hop: Hop) -> Finding | None:
    told = " ".join((evidence.received.detail, *(line.message for line in hop.errors))).lower()
    if not any(words in told for words in OWN_SIGNED):
        return None
    place = hop.effective.every("ssl_protocols")
    return Finding(
        "tls-version", f"The caller and {evidence.sent.host} have no version of TLS in common; the gateway speaks "
        f"{', '.join(place[0].arguments) if place else 'its defaults'}.", "let the caller speak TLS 1.2 or 1.3",
        evidence.sent.host, place, tuple(line.message for line in hop.errors),
    )  # fmt: skip


def not_believing(evidence: Evidence, hop: Hop) -> Finding | None:
    """nginx's own words, where it ended the handshake."""
    line = holding(hop.errors, "SSL_do_handshake() failed", "peer closed connection in SSL handshake")
    if line is None or evidence.received.failure not in ("handshake refused", "connection reset"):
        return None
    if "excessive message size" in line.message:
        return Finding(
            "chain-too-large", f"{evidence.sent.host}'s gateway ended the handshake: the caller's certificates are "
            "larger than what OpenSSL reads, about 100 KB for all of them (SSL_MAX_CERT_LIST_DEFAULT).",
            "show the certificate and its intermediates alone", evidence.sent.host, (), (line.message,),
        )  # fmt: skip
    proof = "bad signature" in line.message or "key proof" in line.message
    why = "the caller could not prove that it has the key of the certificate that it shows" if proof else line.message
    return Finding(
        "wrong-key" if proof else "handshake-failed", f"{evidence.sent.host}'s gateway ended the handshake: {why}.",
        "show a certificate together with its own key" if proof else "compare what both sides offer",
        evidence.sent.host, (), (line.message,),
    )  # fmt: skip


def nobody_there(evidence: Evidence, _: Hop) -> Finding | None:
    if evidence.received.failure not in ("no connection", "timeout", "not published"):
        return None
    late = evidence.received.failure == "timeout"
    return Finding(
        "timeout" if late else "nobody-listens",
        f"{'Nothing came back in time' if late else 'Nobody took the connection'} at {evidence.sent.url}: "
        f"{evidence.received.detail[:200]}", "see what runs (`mtls-lab status`)", evidence.sent.host,
    )  # fmt: skip
