"""Answers that TLS makes: a certificate that is not believed, none where one is demanded, no TLS at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from topology.explaining import chains
from topology.explaining.certificates import Certificate
from topology.explaining.chains import Flaw, Shown
from topology.explaining.evidence import Evidence, Finding, Hop
from topology.explaining.log_lines import PLAIN, ErrorLine, holding
from topology.nginx.passing import is_address
from topology.nginx.tree import Directive

NO_CERTIFICATE = "client sent no required SSL certificate"

REASONS = {
    "unable to get issuer certificate": 2, "unable to get certificate CRL": 3, "certificate signature failure": 7,
    "CRL signature failure": 8, "certificate is not yet valid": 9, "certificate has expired": 10,
    "CRL is not yet valid": 11, "CRL has expired": 12, "self-signed certificate": 18,
    "self-signed certificate in certificate chain": 19, "unable to get local issuer certificate": 20,
    "unable to verify the first certificate": 21, "certificate chain too long": 22, "certificate revoked": 23,
    "invalid CA certificate": 24, "path length constraint exceeded": 25, "unsupported certificate purpose": 26,
    "unhandled critical extension": 34, "permitted subtree violation": 47, "EE certificate key too weak": 66,
    "CA certificate key too weak": 67, "CA signature digest algorithm too weak": 68,
}  # fmt: skip
"""OpenSSL's words for what a gateway without error lines at level info logs in $ssl_client_verify alone."""

REFUSED = 400
"""From here on an answer is a refusal."""

SKEW = timedelta(seconds=30)
"""Clocks that differ less than this are the same clock."""


def judged(evidence: Evidence, hop: Hop) -> Finding | None:
    """A client certificate that nginx did not believe, told apart by the certificates themselves."""
    if (evidence.received.status or 0) < REFUSED:
        return None
    line = next((line for line in hop.errors if line.code and not line.of_upstream), None)
    failed = hop.told("client_verify").removeprefix("FAILED:") if "FAILED" in hop.told("client_verify") else ""
    code = line.code if line else REASONS.get(failed, 0)
    if not code and not failed:
        return None
    words = line.reason if line else failed
    before = evidence.before(hop)
    sent = before.read("proxy_ssl_certificate") if before else evidence.sent.shown
    said = f"nginx says {code}: {words}" if code else f"nginx says: {words}"
    if not sent:
        return Finding(
            "unseen-certificate", f"The gateway of {hop.host} does not believe the certificate that it was shown; "
            f"{said}. The certificate itself is not at hand here.",
            "run explain with --cert and --key", hop.host, deciding(hop, "verify_client"), quoted(line),
        )  # fmt: skip
    shown = Shown(sent, hop.clients, hop.now or evidence.now or datetime.now(UTC), evidence.known)
    flaw, others = chains.cause(shown, code)
    who = f"{before.host}'s gateway shows there" if before else f"{evidence.sent.caller} shows"
    main = flaw or next(iter(others), None)
    if main is None:
        return Finding(
            "other-verification", f"{said}, about {sent[0].subject}, which {who}; its dates, purpose, issuers and "
            "revocation lists, compared here, are in order.", f"`openssl verify` in the container of {hop.host} may "
            f"tell more about number {code}", hop.host, deciding(hop, "verify_client"), quoted(line),
        )  # fmt: skip
    return Finding(
        cause=skewed(evidence, hop, main) or main.kind,
        why=f"The certificate that {who} is not believed: {main.why}{skew_told(evidence, hop, main)} {said}."
        + open_route(evidence, hop),
        fix=main.fix,
        host=hop.host,
        settings=(
            *(before.effective.every("proxy_ssl_certificate") if before else ()),
            *deciding(hop, *([main.setting] if main.setting else []), "verify_client"),
        ),
        lines=quoted(line),
        field=field_of(evidence, hop, main, sent[0]),
        also=tuple(other.why for other in others if other is not main),
    )


def skewed(evidence: Evidence, hop: Hop, flaw: Flaw) -> str:
    """A clock that is wrong is another cause than a certificate that is too new or too old."""
    if flaw.kind not in ("not-yet-valid", "expired") or not hop.now or not evidence.now:
        return ""
    return "clock-skew" if abs(hop.now - evidence.now) > SKEW else ""


def skew_told(evidence: Evidence, hop: Hop, flaw: Flaw) -> str:
    if not skewed(evidence, hop, flaw) or not hop.now or not evidence.now:
        return ""
    seconds = round((hop.now - evidence.now).total_seconds())
    wrong = f"{abs(seconds)} s {'behind' if seconds < 0 else 'ahead'}"
    return f" The clock of {hop.host}'s gateway is {wrong} of this machine's ({chains.stamp(evidence.now)})."


def open_route(evidence: Evidence, hop: Hop) -> str:
    """`optional` means that a certificate may be absent; one that is there has to be good, on every route."""
    route = evidence.topology.hosts[hop.host].routes.get(hop.route) if hop.host in evidence.topology.hosts else None
    guarded = route is not None and (route.client_certificate == "required" or route.allow or route.internal)
    if guarded or hop.effective.value("ssl_verify_client") != "optional":
        return ""
    return (
        " The route asks for no certificate; but with `ssl_verify_client optional` a bad one is answered 400 on every "
        "route: optional means that it may be absent. Without it this request would pass."
    )


def field_of(evidence: Evidence, hop: Hop, flaw: Flaw, leaf: Certificate) -> tuple[str | int, ...]:
    for name, identity in evidence.topology.identities.items():
        if flaw.kind == "revoked" and identity.revoked and leaf.subject == f"CN={identity.common_name}":
            return ("identities", name, "revoked")
    if flaw.kind in ("other-authority", "self-signed", "impostor"):
        return ("hosts", hop.host, "client_certificates", "authority")
    return ("hosts", hop.host, "client_certificates")


def deciding(hop: Hop, *names: str) -> tuple[Directive, ...]:
    """The directives of those names, with `ssl_` before them, that hold for the request."""
    found = (hop.effective.one(f"ssl_{name}") for name in dict.fromkeys(names))
    return tuple(one for one in found if one is not None)


def quoted(line: ErrorLine | None) -> tuple[str, ...]:
    return (line.message,) if line else ()


def demanded(evidence: Evidence, hop: Hop) -> Finding | None:
    """No certificate where nginx insists on one: who left it out, and why, differs."""
    line = holding(hop.errors, NO_CERTIFICATE)
    missing = evidence.received.status == 400 and "No required SSL certificate was sent" in evidence.received.body
    if line is None and not missing:
        return None
    return absent(evidence, hop, "400", deciding(hop, "verify_client"), quoted(line), ("hosts", hop.host,
                  "client_certificates"))  # fmt: skip


def absent(
    evidence: Evidence,
    hop: Hop,
    status: str,
    settings: tuple[Directive, ...],
    lines: tuple[str, ...],
    field: tuple[str | int, ...],
) -> Finding:
    """A request without a certificate, refused by TLS or by a guard."""
    before = evidence.before(hop)
    asked = {name.lower(): value for name, value in evidence.sent.headers.items()}
    if before is not None:
        return not_attached(evidence, before, hop, status, settings, lines)
    if evidence.sent.method == "OPTIONS" and ("origin" in asked or "access-control-request-method" in asked):
        return Finding(
            "preflight", f"This is a CORS preflight, and browsers send it without a client certificate (Fetch standard:"
            f" preflights carry no credentials); {hop.host} demands one, so that the request itself is never sent.",
            "ask for certificates with `optional`, and let OPTIONS pass the guard (answering with "
            "Access-Control-Allow-Credentials and the one origin, not `*`)",
            hop.host, settings, lines, field,
        )  # fmt: skip
    if asked.get("upgrade", "").lower() == "websocket":
        return Finding(
            "websocket-without-certificate", f"The WebSocket handshake came without a client certificate, and "
            f"{hop.host} demands one. Some clients (Safari, iOS) offer theirs for pages, but not for wss://.",
            "let this path in without a certificate and guard it by a token from a page that had one, or use a client "
            "that shows it here, too", hop.host, settings, lines, field,
        )  # fmt: skip
    if evidence.sent.shown:
        return not_asked(evidence, hop, status, settings, lines, field)
    origin = f", as everybody does who calls from inside of {evidence.sent.origin}" if evidence.sent.origin else ""
    return Finding(
        "no-certificate", f"{evidence.sent.caller.capitalize().replace('None', 'The caller')} showed no client "
        f"certificate{origin}, and {hop.host} answers {status} to that here.",
        welcome(evidence, hop), hop.host, settings, lines, field,
    )  # fmt: skip


def welcome(evidence: Evidence, hop: Hop) -> str:
    """Who could call instead."""
    host = evidence.topology.hosts.get(hop.host)
    if evidence.sent.origin or host is None:
        return "call through a route that attaches an identity, or let the route in without a certificate"
    trusted = host.client_certificates.authority if host.client_certificates else ()
    route = host.routes.get(hop.route)
    names = [name for name, one in evidence.topology.identities.items() if one.authority in trusted and not one.revoked]
    names = [name for name in names if not (route and route.allow) or name in (route.allow if route else ())]
    return f"show the certificate of {' or '.join(names)} (--as {names[0]})" if names else "show a certificate"


def not_attached(
    evidence: Evidence, before: Hop, hop: Hop, status: str, settings: tuple[Directive, ...], lines: tuple[str, ...]
) -> Finding:
    """TLS ends at each gateway, so that a caller's certificate cannot travel on."""
    own = f" {evidence.sent.caller}'s own certificate ended there, too." if evidence.sent.shown else ""
    route = evidence.topology.hosts[before.host].routes.get(before.route) if before.route else None
    meant = f" The topology says that it is {route.identity}." if route is not None and route.identity else ""
    place = tuple(one for one in (before.effective.location,) if one is not None)
    attached = before.effective.one("proxy_ssl_certificate")
    asks = hop.effective.one("ssl_verify_client")
    if attached is not None and (asks is None or asks.value == "off"):
        return Finding(
            "not-asked", f"{before.host}'s gateway has a certificate to show ({attached.arguments[0]}), but "
            f"{hop.host}'s server for that name never asks for one (ssl_verify_client is off there), so its guard sees "
            f"none and answers {status}.", "set `ssl_verify_client optional` in that server", hop.host,
            tuple(dict.fromkeys((*((asks,) if asks else ()), attached, *settings))), lines,
            ("hosts", hop.host, "client_certificates"),
        )  # fmt: skip
    if attached is not None:
        return Finding(
            "attached-not-asked", f"{before.host}'s gateway has a certificate to show ({attached.arguments[0]}), but "
            f"{hop.host} saw none: its server for that name did not ask for one, or a TLS session of another route was "
            "used again (proxy_ssl_session_reuse keeps sessions by upstream, not by route).",
            "give each identity an upstream of its own", before.host, (attached, *settings), lines,
            ("hosts", before.host, "routes", before.route),
        )  # fmt: skip
    return Finding(
        "egress-attaches-nothing",
        f"{before.host}'s gateway calls {hop.host} without a client certificate, and {hop.host} answers {status} to "
        f"that: TLS ends at each gateway, so this one has to show a certificate of its own.{own} In the location that "
        f"leads there, proxy_ssl_certificate is missing.{meant}",
        "name an identity on that route (`identity:`), and with it proxy_ssl_certificate and "
        f"proxy_ssl_certificate_key in that location of {before.host}",
        before.host, (*place, *settings), lines, ("hosts", before.host, "routes", before.route),
    )  # fmt: skip


def not_asked(
    evidence: Evidence,
    hop: Hop,
    status: str,
    settings: tuple[Directive, ...],
    lines: tuple[str, ...],
    field: tuple[str | int, ...],
) -> Finding:
    """A certificate that was ready, and did not arrive."""
    asks = hop.effective.value("ssl_verify_client", "off")
    if asks == "off":
        server = tuple(one for one in (hop.effective.one("ssl_verify_client") or hop.effective.server,) if one)
        return Finding(
            "not-asked", f"{evidence.sent.caller} has a certificate ready, but {hop.host}'s server for "
            f"{evidence.sent.domain} never asks for one (ssl_verify_client is off there), so its guard sees none and "
            f"answers {status}.", "set `ssl_verify_client optional` in that server", hop.host,
            (*server, *settings), lines, field,
        )  # fmt: skip
    return Finding(
        "not-shown", f"{evidence.sent.caller} has a certificate ready, {hop.host} asks for one, and still none arrived:"
        " many clients show only a certificate of an issuer that the server names in its request.",
        f"show one of {chains.listed(hop.clients.anchors)}", hop.host, settings, lines, field,
    )  # fmt: skip


def plain_http(evidence: Evidence, hop: Hop) -> Finding | None:
    """HTTP to a port that speaks TLS: the caller's mistake, or that of the gateway that calls on."""
    line = holding(hop.errors, PLAIN)
    if line is None and "plain HTTP request was sent to HTTPS port" not in evidence.received.body:
        return None
    previous = evidence.before(hop)
    caller = previous or (
        hop if not evidence.sent.tls or hop.effective.value("proxy_pass").startswith("http://") else None
    )
    passes = caller.effective.one("proxy_pass") if caller and (previous or evidence.sent.tls) else None
    if passes is not None and caller is not None:
        return Finding(
            "egress-speaks-plain-http", f"{caller.host}'s gateway speaks plain HTTP (`{passes}`) to a port where the "
            "next one speaks TLS; the 400 is that one's, passed through.",
            "write https:// in that proxy_pass", caller.host, (passes,), quoted(line),
            ("hosts", caller.host, "routes", caller.route),
        )  # fmt: skip
    return Finding(
        "plain-http-to-tls-port", f"The caller spoke plain HTTP ({evidence.sent.url}) to a port of {hop.host} that "
        "speaks TLS.", "call it with https://; or send callers on with `error_page 497 =301 https://$host$request_uri`",
        hop.host, tuple(hop.effective.every("listen")[:1]), quoted(line), ("hosts", hop.host, "publish"),
    )  # fmt: skip


# What a client makes of a server's certificate


def name_faults(leaf: Certificate, name: str) -> Iterator[Flaw]:
    """Names: RFC 9525 looks at the subject alternative name alone; a common name counts for nothing."""
    dns = [one.removeprefix("DNS:") for one in leaf.san if one.startswith("DNS:")]
    addresses = [one.removeprefix("IP:") for one in leaf.san if one.startswith("IP:")]
    by_address = is_address(name)
    if not leaf.san:
        yield Flaw(
            "no-san", f"the certificate {leaf.subject} has no subject alternative name at all: the common name counts "
            "for nothing any more (curl still accepts it; Go, Python and browsers do not).",
            f"issue it with subjectAltName={'IP' if by_address else 'DNS'}:{name}", frozenset(), "certificate",
        )  # fmt: skip
    elif by_address and name not in addresses:
        written = f" It stands there as DNS:{name}, which is no address." if name in dns else ""
        yield Flaw(
            "address-not-in-san", f"the certificate {leaf.subject} is for {', '.join(leaf.san)}, and not for the "
            f"address {name}.{written}", f"issue it with subjectAltName=IP:{name}, or call it by its name",
            frozenset(), "certificate",
        )  # fmt: skip
    elif not by_address and not any(fits(pattern, name) for pattern in dns):
        yield Flaw(
            "name-not-in-san", f"the certificate {leaf.subject} is for {', '.join(leaf.san)}, and not for {name}.",
            f"call it by one of these names, or issue the certificate for {name}, too", frozenset(), "certificate",
        )  # fmt: skip


def fits(pattern: str, name: str) -> bool:
    if pattern.startswith("*."):
        return name.partition(".")[2].lower() == pattern[2:].lower()
    return pattern.lower() == name.lower()


STRICT = (
    ("Missing Authority Key Identifier", 85), ("Missing Subject Key Identifier", 86),
    ("not marked critical", 89), ("CA cert does not include key usage", 92),
)  # fmt: skip


def strict_faults(sent: Sequence[Certificate], anchors: Sequence[Certificate], detail: str) -> Iterator[Flaw]:
    """What X509_V_FLAG_X509_STRICT asks beyond the rest: Python does so from 3.13, curl does not."""
    told = {code for words, code in STRICT if words.lower() in detail.lower()}
    found: list[tuple[int, str]] = []
    for one in (*sent, *anchors):
        if not one.issuer_key_id and not one.self_issued:
            found.append((85, f"{one.subject} has no authority key identifier"))
        if one.authority and not one.key_id:
            found.append((86, f"the authority {one.subject} has no subject key identifier"))
        if one.authority and not one.authority_critical:
            found.append((89, f"the basic constraints of the authority {one.subject} are not marked critical"))
        if one.authority and one.usages is None:
            found.append((92, f"the authority {one.subject} has no key usage"))
    if found:
        told_first = sorted(found, key=lambda one: one[0] not in told)
        yield Flaw(
            "not-strict", f"{'; '.join(dict.fromkeys(text for _, text in told_first))}. Python from 3.13 on, and "
            "whoever else verifies strictly (RFC 5280), refuses that; curl accepts it.",
            "issue them anew with these extensions", frozenset(code for code, _ in found), "certificate",
        )  # fmt: skip


def server_flaws(
    sent: tuple[Certificate, ...],
    trust: chains.Trust,
    name: str,
    now: datetime,
    known: dict[str, Certificate] | None = None,
) -> tuple[Flaw, ...]:
    """What is wrong with a server's certificate for somebody who calls it by a name."""
    if not sent:
        return ()
    return (*chains.flaws(Shown(sent, trust, now, known or {})), *name_faults(sent[0], name))
