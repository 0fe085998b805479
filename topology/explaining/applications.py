"""Answers that come from behind the gateways: the gateways let the request pass."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from topology.explaining import upstreams
from topology.explaining.configuration import inner
from topology.explaining.evidence import Evidence, Finding, Hop

SWITCHING = 101
API_DEFINITION = re.compile(r"""url:\s*['"]([^'"]*openapi\.json)['"]""")


def wrong_application(evidence: Evidence, hop: Hop) -> Finding | None:
    """The address that nginx keeps for a service belongs to another one: no 502, but somebody else's answer."""
    meant = upstreams.meant_peer(evidence, hop)
    asked = hop.told("upstream").rpartition(", ")[2]
    address = asked.rpartition(":")[0]
    if meant is None or not meant.addresses or not address or address in meant.addresses:
        return None
    holder = next((peer for peer in hop.peers if address in peer.addresses), None)
    if holder is None:
        return Finding(
            "wrong-application", f"The answer is not {meant.service}'s: {hop.host}'s gateway asked {asked}, an "
            f"address of no container of {hop.host}; {meant.service} is at {', '.join(meant.addresses)}.",
            "correct the address (`mtls-lab generate` writes it), or reload the gateway where the container moved",
            hop.host,
            (*upstreams.servers(hop), *upstreams.passes(hop)), field=("hosts", hop.host, "routes", hop.route),
        )  # fmt: skip
    return Finding(
        "wrong-application", f"The answer is {holder.service}'s, not {meant.service}'s: {hop.host}'s gateway asked "
        f"{asked}, an address that {holder.service} has now; {meant.service} is at {', '.join(meant.addresses)}. nginx "
        "looks a name up once, when it starts.", "reload the gateway; for good, give services fixed addresses",
        hop.host, (*upstreams.servers(hop), *upstreams.passes(hop)), field=("hosts", hop.host, "routes", hop.route),
    )  # fmt: skip


def group_as_host(evidence: Evidence, hop: Hop) -> Finding | None:
    """Host is the name of an upstream group, since nothing says otherwise."""
    if (evidence.received.status or 0) < 400:
        return None
    for each in evidence.hops:
        group = upstreams.target(each)
        named = {one.arguments[0].lower() for one in each.effective.every("proxy_set_header") if one.arguments}
        if group and "host" not in named and each.effective.upstream_servers(group):
            following = evidence.hops[evidence.hops.index(each) + 1 :]
            trap = ""
            if following or upstreams.called_host(evidence, each):
                trap = " With it the default server of the other gateway answers, whatever SNI said."
            if "_" in group:
                trap += " An underscore is no part of a host name."
            lost = [one for one in each.effective.lost("proxy_set_header") if one.arguments[0].lower() == "host"]
            reason = "a proxy_set_header of the location cancels the inherited one" if lost else "nothing sets it"
            return Finding(
                "host-is-group-name", f"{each.host}'s gateway calls on with `Host: {group}`, the name of its upstream "
                f"group: {reason}, so it is $proxy_host.{trap}",
                "set `proxy_set_header Host` (and proxy_ssl_name) to the name that the other side knows", each.host,
                (*upstreams.passes(each), *lost), field=upstreams.route_field(each),
            )  # fmt: skip
    return None


def upgrade_lost(evidence: Evidence, hop: Hop) -> Finding | None:
    """A WebSocket that a gateway on the way made a plain request of."""
    asked = {name.lower(): value.lower() for name, value in evidence.sent.headers.items()}
    if asked.get("upgrade") != "websocket" or evidence.received.status == SWITCHING or not hop.told("upstream"):
        return None
    for each in evidence.hops:
        named = {one.value.lower() for one in each.effective.every("proxy_set_header")}
        missing = [name for name in ("Upgrade", "Connection") if name.lower() not in named]
        version = each.effective.one("proxy_http_version")
        old = version is None or version.value == "1.0"
        if missing or old:
            what = f"does not send {' and '.join(missing)} on" if missing else "speaks HTTP/1.0 to what is behind it"
            return Finding(
                "upgrade-lost", f"The caller asked for a WebSocket, and {each.host}'s gateway {what}: both headers "
                "hold for one connection alone, so nginx drops them where nobody names them, and what is behind it saw "
                f"a plain request ({evidence.received.status}).",
                "set `proxy_http_version 1.1;`, `proxy_set_header Upgrade $http_upgrade;` and `proxy_set_header "
                'Connection "upgrade";` in that location', each.host,
                (*((version,) if version and old else ()), *upstreams.passes(each)), field=upstreams.route_field(each),
            )  # fmt: skip
    return None


def lost_headers(hop: Hop) -> str:
    """What a location's own proxy_set_header cancels; empty for nothing."""
    lost = hop.effective.lost("proxy_set_header")
    if not lost:
        return ""
    names = ", ".join(one.arguments[0] for one in lost)
    return (
        f"the location's own proxy_set_header cancels all inherited ones, so {names} of {lost[0].place} are not sent "
        "on from here"
    )


def api_definition(evidence: Evidence, hop: Hop) -> Finding | None:
    """The page of an API behind a prefix that asks for its definition elsewhere."""
    found = API_DEFINITION.search(evidence.received.body)
    path = urlsplit(evidence.sent.url).path
    missing = evidence.received.status == 404 and path.endswith("/openapi.json")
    if found is None and not missing:
        return None
    prefix = (evidence.hops[0].route if evidence.hops else "").rstrip("/")
    named = found[1] if found else path
    settings = upstreams.passes(hop)
    if found and prefix and not named.startswith(f"{prefix}/") and named.startswith("/"):
        return Finding(
            "prefix-unknown-to-application", f"The page below {prefix}/ asks for its definition at {named}, outside of "
            "its prefix: the gateway takes the prefix off, and the application does not know that it had one.",
            f"tell the application its public path (uvicorn --root-path {prefix}, or FastAPI(root_path=\"{prefix}\"); "
            "better: read X-Forwarded-Prefix)", hop.host, settings, field=upstreams.route_field(hop),
        )  # fmt: skip
    if missing or (found and named.count(prefix) > 1):
        return Finding(
            "prefix-not-stripped", f"{named} is not there: the application was told that its public path is {prefix} "
            "(root_path), and gets paths with the prefix still on; or the definition lies below another path.",
            "either let the gateway strip the prefix (`strip_prefix: true`), or do not set root_path", hop.host,
            settings, field=upstreams.route_field(hop),
        )  # fmt: skip
    return None


def answered(evidence: Evidence, hop: Hop) -> Finding | None:
    """The answer is the application's own."""
    status = evidence.received.status
    if status is None or not hop.told("upstream"):
        return None
    where = behind(evidence, hop)
    guards = passed(evidence, hop)
    notes = [note for each in evidence.hops if (note := lost_headers(each))]
    if status == 404 and evidence.expected == 200 and upstreams.meant_peer(evidence, hop) is not None:
        return path_changed(evidence, hop, where)
    if status >= 400:
        other = ""
        if status == 421:
            other = " (an Apache behind answers so where TLS was made without SNI: proxy_ssl_server_name on)"
        return Finding(
            "application", f"The answer {status} is {where}'s own{other}: {guards}", "look into its log "
            f"(`mtls-lab logs {hop.host}`) and into the body of its answer", hop.host, upstreams.passes(hop),
            field=upstreams.route_field(hop), also=tuple(notes),
        )  # fmt: skip
    if notes:
        return headers_lost(evidence, f"{where.capitalize()} answered {status}: {guards}", tuple(notes))
    return Finding(
        "passed", f"{where.capitalize()} answered {status}: {guards}", "", hop.host, upstreams.passes(hop),
        field=upstreams.route_field(hop), also=tuple(notes),
    )  # fmt: skip


def path_changed(evidence: Evidence, hop: Hop, where: str) -> Finding:
    """404 for a path that the service has: it was asked for another one."""
    named = urlsplit(hop.effective.value("proxy_pass")).path
    rules = inner(hop.effective.location, "rewrite") if hop.effective.location else ()
    asked = urlsplit(hop.told("uri")).path
    if named or rules:
        how = f"`{rules[0]}` there changes it" if rules else (
            f"proxy_pass names a path, so {hop.route} was replaced by {named} on the way"
        )  # fmt: skip
        fix = "where the service wants the prefix, let it keep that (`strip_prefix: false`)"
    else:
        how = (
            "no rewrite takes the prefix off, and proxy_pass names no path, so the service was asked for "
            f"{asked}, with the prefix {hop.route} still on"
        )
        fix = "where the service does not know the prefix, take it off (`strip_prefix: true`)"
    return Finding(
        "prefix-changed", f"{where.capitalize()} answered 404 to a path that it has by the topology: {how}.",
        fix, hop.host, upstreams.passes(hop), field=upstreams.route_field(hop),
    )  # fmt: skip


def headers_lost(evidence: Evidence, answered: str, notes: tuple[str, ...]) -> Finding:
    """The request passed, but what is behind does not see what it should."""
    hop = next(each for each in evidence.hops if lost_headers(each))
    lost = hop.effective.lost("proxy_set_header")
    return Finding(
        "headers-lost", f"{answered} But {hop.host}'s gateway did not tell it all: {'; '.join(notes)}.",
        "name all headers again in that location, best by an include that every location has", hop.host,
        (*hop.effective.every("proxy_set_header")[:1], *lost), field=upstreams.route_field(hop),
    )  # fmt: skip


def behind(evidence: Evidence, hop: Hop) -> str:
    meant = upstreams.meant_peer(evidence, hop)
    if meant is not None:
        return f"the service {meant.service} of {hop.host}"
    return f"what {hop.host} calls at {hop.told('upstream')}"


def passed(evidence: Evidence, hop: Hop) -> str:
    """Why the gateways let the request pass."""
    said = []
    for each in evidence.hops:
        verified = each.told("client_verify")
        before = evidence.before(each)
        guarded = bool(each.effective.guards())
        if verified == "SUCCESS":
            whose = f"the certificate that {before.host} attaches" if before else "the caller's certificate"
            said.append(f"{each.host} verified {whose} ({each.told('client_subject')}, issued by "
                        f"{each.told('client_issuer')})")  # fmt: skip
        elif guarded and each.told("listener") != "inside":
            said.append(f"{each.host} has guards here, and none of them held it back")
        else:
            said.append(f"{each.host}'s route is open to everybody")
    return "; ".join(said) + "." if said else "the gateways let the request pass."


def page(evidence: Evidence, hop: Hop) -> Finding | None:
    """A file of the gateway's own."""
    if evidence.received.status is None or hop.told("upstream") or evidence.received.status >= 400:
        return None
    place = hop.effective.location
    return Finding(
        "passed", f"{hop.host}'s gateway answered by itself, with a file or a redirect of its own.", "", hop.host,
        (place,) if place else (), field=("hosts", hop.host, "routes"),
    )  # fmt: skip
