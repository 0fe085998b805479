"""Why somebody got in whom the topology keeps out: what of the gateways' guards is missing, or lets him pass."""

from __future__ import annotations

from datetime import UTC, datetime

from topology.description.model import Route
from topology.explaining import applications, chains, upstreams, verification
from topology.explaining.certificates import Certificate
from topology.explaining.chains import Shown
from topology.explaining.configuration import inner
from topology.explaining.evidence import Evidence, Finding, Hop
from topology.nginx import passing
from topology.nginx.tree import Directive


def let_in(evidence: Evidence, hop: Hop) -> Finding | None:
    """The first lapse on the way, where the topology says that the caller is refused and he was not.

    What he then got from behind the gateways, an error of the application's own for instance, is no matter.
    """
    status = evidence.received.status
    if status in (None, evidence.expected) or evidence.expected not in (400, 403):
        return None
    if (status or 0) >= 400 and not hop.told("upstream"):
        return None
    said = f"The topology says {evidence.expected} here ({evidence.rule}), and the answer was {status}: "
    for each in evidence.hops:
        for cause in (identity_on_wrong_route, not_asked, unverified, too_much_trusted, no_list, unguarded):
            if (found := cause(evidence, each, said)) is not None:
                return found
    return None


def left_to_guards(evidence: Evidence, hop: Hop) -> Finding | None:
    """A bad certificate that a guard refused, since nothing before it did: elsewhere nobody will."""
    if evidence.received.status != 403 or evidence.expected != 400:
        return None
    said = f"The topology says 400 here ({evidence.rule}), and the answer was 403: "
    return unverified(evidence, hop, said)


def beside(evidence: Evidence) -> Finding:
    """An answer whose status is no matter: somebody was taken for somebody else, or something was heard that should
    not have been."""
    for each in evidence.hops:
        for cause in (identity_on_wrong_route, shared_upstream):
            if (found := cause(evidence, each, f"{evidence.sent.host} answered, but {evidence.beside}: ")) is not None:
                return found
    hop = evidence.maker
    status = evidence.received.status or evidence.received.failure
    return Finding(
        "seen-otherwise", f"{evidence.sent.host} answered {status}, but {evidence.beside}. {evidence.rule}",
        "compare the gateways' files with what `mtls-lab generate` writes", evidence.sent.host,
        (*upstreams.passes(hop), *hop.effective.every("proxy_set_header")[:1]) if hop else (),
        field=upstreams.route_field(hop) if hop else ("hosts", evidence.sent.host),
    )  # fmt: skip


def shared_upstream(evidence: Evidence, hop: Hop, said: str) -> Finding | None:
    """Routes that show different certificates, or none, call on through one upstream group and its TLS sessions."""
    route, own = route_of(evidence, hop), hop.effective.one("proxy_ssl_certificate")
    group = upstreams.target(hop)
    if route is None or route.host is None or hop.configuration is None or not group:
        return None
    for call in passing.calls(hop.configuration):
        other = next(reversed(call.block.in_force("proxy_ssl_certificate")), None)
        location = call.block.around("location")
        if call.authority.lower() != group or (other and other.value) == (own and own.value) or location is None:
            continue
        return Finding(
            "shared-upstream", f"{said}{hop.route} of {hop.host}'s gateway and `{location.directive}` call on through "
            f"the same upstream, {group}, and show "
            f"{own.value if own else 'no certificate'} and {other.value if other else 'none'}: nginx keeps connections "
            "and TLS sessions by upstream, so that a call of the one can go out as the other.",
            "give each identity, and those without one, an upstream of its own", hop.host,
            tuple(dict.fromkeys((*upstreams.passes(hop), call.directive, *((own,) if own else ())))),
            field=(*upstreams.route_field(hop), "identity"),
        )  # fmt: skip
    return None


def other_identity(evidence: Evidence, _: Hop) -> Finding | None:
    """A gateway on the way calls on as somebody else than the topology says, whatever came of it."""
    expected, status = evidence.expected, evidence.received.status
    said = "" if expected in (None, status) else f"The topology says {expected}, and the answer was {status}: "
    causes = (identity_on_wrong_route, *((shared_upstream,) if evidence.as_expected is False else ()))
    found = (cause(evidence, each, said) for each in evidence.hops for cause in causes)
    return next((one for one in found if one is not None), None)


def route_of(evidence: Evidence, hop: Hop) -> Route | None:
    host = evidence.topology.hosts.get(hop.host)
    return host.routes.get(hop.route) if host else None


def place(hop: Hop, *names: str) -> tuple[Directive, ...]:
    found = [one for name in names if (one := hop.effective.one(name)) is not None]
    level = hop.effective.location or hop.effective.server
    return tuple(found) or ((level,) if level is not None else ())


def identity_on_wrong_route(evidence: Evidence, hop: Hop, said: str) -> Finding | None:
    route = route_of(evidence, hop)
    attached = hop.effective.one("proxy_ssl_certificate")
    if route is None or route.host is None or attached is None:
        return None
    name = attached.value.rpartition("/")[2].removesuffix(".pem")
    if name == route.identity or name not in evidence.topology.identities:
        return None
    return Finding(
        "identity-on-wrong-route", f"{said}{hop.host}'s gateway shows the certificate of {name} on {hop.route}, and "
        f"the topology says {route.identity or 'none'} there.", "attach the identity that the topology names, or none",
        hop.host, (attached,), field=(*upstreams.route_field(hop), "identity"),
    )  # fmt: skip


def not_asked(evidence: Evidence, hop: Hop, said: str) -> Finding | None:
    host = evidence.topology.hosts.get(hop.host)
    asks = hop.effective.value("ssl_verify_client", "off")
    meant = host.client_certificates if host else None
    if (
        meant is None
        or hop.told("listener") == "inside"
        or (asks != "off" and meant.verify != "always")
        or asks == "on"
    ):
        return None
    wanted = "on" if meant.verify == "always" else "optional"
    return Finding(
        "not-asked", f"{said}{hop.host}'s server does not insist on certificates (ssl_verify_client is {asks} there).",
        f"set `ssl_verify_client {wanted}`", hop.host, place(hop, "ssl_verify_client"),
        field=("hosts", hop.host, "client_certificates"),
    )  # fmt: skip


def unverified(evidence: Evidence, hop: Hop, said: str) -> Finding | None:
    if hop.effective.value("ssl_verify_client") != "optional_no_ca":
        return None
    return Finding(
        "verified-by-nobody", f"{said}`ssl_verify_client optional_no_ca` lets certificates of any authority pass "
        f"({hop.told('client_verify') or 'none was shown'}), and leaves it to others to refuse them.",
        "set `ssl_verify_client optional`", hop.host, place(hop, "ssl_verify_client"),
        field=("hosts", hop.host, "client_certificates"),
    )  # fmt: skip


def too_much_trusted(evidence: Evidence, hop: Hop, said: str) -> Finding | None:
    """The certificate is good by what the gateway trusts; so it trusts somebody whom the topology does not name."""
    host = evidence.topology.hosts.get(hop.host)
    if hop.told("client_verify") != "SUCCESS" or host is None or host.client_certificates is None:
        return None
    named = {evidence.known[name] for name in host.client_certificates.authority if name in evidence.known}
    own = {one for one in evidence.known.values() if any(one.subject == root.subject for root in named)}
    more = [one for one in hop.clients.anchors if one not in named | own and not is_below(one, evidence, named)]
    sent = evidence.before(hop)
    shown = sent.read("proxy_ssl_certificate") if sent else evidence.sent.shown
    if not more or not shown:
        return None
    path = chains.path_of(Shown(shown, hop.clients, hop.now or evidence.now or datetime.now(UTC)))
    if path[-1] not in more:
        return None
    return Finding(
        "too-much-trusted", f"{said}{hop.host}'s gateway also trusts {chains.listed(more)}, which the topology does "
        "not name for its callers.", "take it out of the trust file (ssl_trusted_certificate widens it, too)", hop.host,
        place(hop, "ssl_client_certificate", "ssl_trusted_certificate"),
        field=("hosts", hop.host, "client_certificates", "authority"),
    )  # fmt: skip


def is_below(one: Certificate, evidence: Evidence, named: set[Certificate]) -> bool:
    return any(chains.issuers(one, [root]) for root in named)


def no_list(evidence: Evidence, hop: Hop, said: str) -> Finding | None:
    """Nobody looks whether the certificate was revoked, or the list there does not have it."""
    if hop.told("client_verify") != "SUCCESS" or "revoked" not in evidence.sent.caller:
        before = evidence.before(hop)
        route = route_of(evidence, before) if before else None
        identity = evidence.topology.identities.get(route.identity or "") if route else None
        if identity is None or not identity.revoked or hop.told("client_verify") != "SUCCESS":
            return None
    if hop.effective.one("ssl_crl") is None:
        why, fix = "no revocation list is read there (ssl_crl is missing)", "set ssl_crl, with a list of each authority"
    else:
        why, fix = "the certificate does not stand on the list that is read there", "put the authority's list there"
    return Finding(
        "revocation-not-seen", f"{said}{hop.host}'s gateway does not refuse revoked certificates: {why}.", fix,
        hop.host,
        place(hop, "ssl_crl") if hop.effective.one("ssl_crl") else place(hop, "ssl_verify_client"),
        field=("hosts", hop.host, "client_certificates"),
    )  # fmt: skip


def unguarded(evidence: Evidence, hop: Hop, said: str) -> Finding | None:
    """The location has no guard, or one that lets this caller pass."""
    route = route_of(evidence, hop)
    if route is None or not (route.internal or route.allow or route.client_certificate == "required"):
        return None
    wanted = "$listener" if route.internal else "$allowed" if route.allow else "$ssl_client_verify"
    kind = "internal" if route.internal else "allow" if route.allow else "client_certificate"
    field = (*upstreams.route_field(hop), kind)
    guards = [pair for pair in hop.effective.guards() if wanted in " ".join(pair[0].arguments)]
    location = hop.effective.location
    if not guards:
        return Finding(
            "guard-missing", f"{said}the location of {hop.route} on {hop.host} has no guard that looks at {wanted}.",
            "run `mtls-lab generate`, which writes it, and `mtls-lab up`", hop.host,
            (location,) if location else (), field=field,
        )  # fmt: skip
    conditions = inner(location, "if") if location else ()
    return Finding(
        "guard-lets-pass", f"{said}the guard of {hop.route} on {hop.host}, `{guards[0][0]}`, does not hold this caller "
        f"back ($ssl_client_verify was {hop.told('client_verify') or 'empty'}"
        + (f", {hop.told('client_issuer')}|{hop.told('client_subject')}" if hop.told("client_subject") else "") + ").",
        "compare it with what `mtls-lab generate` writes", hop.host,
        tuple(dict.fromkeys((*hop.effective.deciding(guards[0][0]), *conditions, *guards[0]))), field=field,
    )  # fmt: skip


def passed_anyway(evidence: Evidence, hop: Hop) -> Finding | None:
    """A lapse that has no name here: it is said at least that there is one."""
    status = evidence.received.status
    if status is None or status >= 400 or evidence.expected not in (400, 403):
        return None
    return Finding(
        "let-in", f"The topology says {evidence.expected} here ({evidence.rule}), and the answer was {status}: "
        f"{applications.passed(evidence, hop)}", "compare the gateways' files with what `mtls-lab generate` writes",
        hop.host, (*verification.deciding(hop, "verify_client"), *upstreams.passes(hop)),
        field=upstreams.route_field(hop),
    )  # fmt: skip
