"""Answers that nginx makes by itself, with or without a certificate: guards, names, sizes, redirects, pages."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from topology.explaining import verification
from topology.explaining.configuration import inner
from topology.explaining.evidence import Evidence, Finding, Hop
from topology.explaining.log_lines import ErrorLine, holding
from topology.nginx.tree import Directive

NEGOTIATED = "client attempted to request the server name different from the one that was negotiated"
TOO_LARGE = re.compile(r"client intended to send too large body: (\d+) bytes")
LONG_HEADER = "client sent too long header line"
BY_GUARDS = ("401", "403", "404", "421")
"""What guards answer; nobody's refusal of TLS."""

LARGE_BUFFER = 8192
"""Of large_client_header_buffers, which one header line has to fit into (nginx)."""


def guarded(evidence: Evidence, hop: Hop) -> Finding | None:
    """A refusal by a guard of the configuration, as far as its condition says which."""
    status = hop.told("status")
    if status not in BY_GUARDS or hop.told("upstream"):
        return None
    for condition, answer in hop.effective.guards():
        if answer.arguments[:1] == (status,):
            found = by_condition(evidence, hop, condition, answer)
            if found is not None:
                return found
    return None


def by_condition(evidence: Evidence, hop: Hop, condition: Directive, answer: Directive) -> Finding | None:
    variables = " ".join(condition.arguments)
    verified = hop.told("client_verify")
    field = ("hosts", hop.host, "routes", hop.route)
    if "$listener" in variables and hop.told("listener") != "inside":
        return Finding(
            "internal-route", f"The route {hop.route} of {hop.host} is for its own services alone, and this call came "
            "from outside.", f"call it from inside of {hop.host} (--from {hop.host}), or take `internal: true` from "
            "the route", hop.host, (condition, answer), field=(*field, "internal"),
        )  # fmt: skip
    if "$ssl_client_verify" in variables and verified != "SUCCESS":
        return too_wide(evidence, hop, condition, answer) or verification.absent(
            evidence, hop, hop.told("status"), (condition, answer), (), (*field, "client_certificate")
        )
    if "$ssl_client_verify" in variables and guard_misses(condition):
        return Finding(
            "guard-on-wrong-value", f"The guard of {hop.route} refuses callers whose certificate was verified: "
            f"`{condition}` holds for $ssl_client_verify = SUCCESS.", RIGHT_GUARD, hop.host, (condition, answer),
            field=field,
        )  # fmt: skip
    if found := re.search(r"\$(http_\w+|cookie_\w+|arg_\w+)", variables):
        return Finding(
            "guard-on-wrong-variable", f"The guard of {hop.route} asks `{condition}`, and ${found[1]} is what a caller "
            "writes into a request: nobody's certificate says it, and anybody can.", RIGHT_GUARD, hop.host,
            (condition, answer), field=field,
        )  # fmt: skip
    if "$allowed" in variables or "_dn" in variables or "$caller" in variables:
        return not_allowed(evidence, hop, condition, answer)
    return None


def too_wide(evidence: Evidence, hop: Hop, condition: Directive, answer: Directive) -> Finding | None:
    """A guard where the topology lets everybody in."""
    host = evidence.topology.hosts.get(hop.host)
    route = host.routes.get(hop.route) if host else None
    if route is None or route.client_certificate == "required" or route.allow or route.internal:
        return None
    server = hop.effective.server
    everywhere = server is not None and condition in (server.children or ())
    where = "stands in the server itself, so that it holds for every route" if everywhere else "stands there"
    return Finding(
        "guard-where-none-belongs", f"The topology lets everybody in on {hop.route} of {hop.host}, but a guard "
        f"{where}: `{condition}`, and this caller showed no certificate that was verified.",
        "move it into the locations that need it" if everywhere else "take it out, or say "
        "`client_certificate: required` in the topology", hop.host, (condition, answer),
        field=("hosts", hop.host, "routes", hop.route),
    )  # fmt: skip


RIGHT_GUARD = "let it refuse everybody but SUCCESS: `if ($ssl_client_verify != SUCCESS) { return 403; }`"


def guard_misses(condition: Directive) -> bool:
    """Whether a comparison holds for SUCCESS, which nginx writes so and in no other case."""
    if len(condition.arguments) < 3:
        return False
    operator, value = condition.arguments[-2:]
    return value == "SUCCESS" if operator == "=" else value != "SUCCESS" if operator == "!=" else False


def not_allowed(evidence: Evidence, hop: Hop, condition: Directive, answer: Directive) -> Finding | None:
    if hop.told("client_verify") != "SUCCESS":
        return verification.absent(
            evidence,
            hop,
            hop.told("status"),
            (condition, answer),
            (),
            ("hosts", hop.host, "routes", hop.route, "allow"),
        )
    route = evidence.topology.hosts[hop.host].routes.get(hop.route) if hop.host in evidence.topology.hosts else None
    allowed = ", ".join(route.allow) if route else ""
    who = f"{hop.told('client_subject')}, issued by {hop.told('client_issuer')}"
    twins = [
        name for name in (route.allow if route else ())
        if f"CN={evidence.topology.identities[name].common_name}" == hop.told("client_subject")
    ]  # fmt: skip
    if twins and hop.told("client_issuer") in issuers_of(evidence, twins[0]):
        conditions = hop.effective.deciding(condition)
        return Finding(
            "guard-lists-other-name", f"The topology lets {twins[0]} in on {hop.route} of {hop.host}, and {who}, is "
            f"{twins[0]}; but the guard there compares with something else, letter for letter (nginx writes names as "
            "RFC 2253 does: `CN=bro`, the last part first, and no slashes).",
            "run `mtls-lab generate`, which writes the name as nginx does, and `mtls-lab up`", hop.host,
            tuple(dict.fromkeys((*conditions, condition, answer))),
            field=("hosts", hop.host, "routes", hop.route, "allow"),
        )  # fmt: skip
    same = f" It has the name of {twins[0]}, but another authority issued it, so it is somebody else." if twins else ""
    before = evidence.before(hop)
    attached = before.effective.every("proxy_ssl_certificate") if before else ()
    whose = f" {before.host}'s gateway attaches it." if before else ""
    conditions = hop.effective.deciding(condition)
    return Finding(
        "same-name-other-authority" if twins else "not-allowed",
        f"The certificate is good, but {who}, is not among those whom {hop.route} of {hop.host} lets in"
        f"{f' ({allowed})' if allowed else ''}: issuer and subject both have to be theirs, letter for letter."
        f"{same}{whose}",
        f"call as {' or '.join(route.allow)}, or add the identity to the route's `allow`" if route and route.allow
        else "add the identity to the list of the guard",
        hop.host, tuple(dict.fromkeys((*conditions, condition, answer, *attached))),
        field=("hosts", hop.host, "routes", hop.route, "allow"),
    )  # fmt: skip


def issuers_of(evidence: Evidence, name: str) -> set[str]:
    """Who signs an identity's certificate, by the names of its authority."""
    authority = evidence.topology.identities[name].authority
    return {one.subject for label, one in evidence.known.items() if label.partition(" (")[0] == authority}


def forbidden(_: Evidence, hop: Hop) -> Finding | None:
    """403 that nginx gives for reasons of its own."""
    if hop.told("status") != "403" or hop.told("upstream"):
        return None
    if line := holding(hop.errors, "access forbidden by rule"):
        location = hop.effective.location
        if methods := inner(location, "limit_except") if location else ():
            return Finding(
                "method-not-let-in", f"{hop.host}'s gateway keeps {hop.told('method')} from {hop.route or 'there'}: "
                f"`{methods[0]}` lets these methods in, and others by its own rules alone.", "name the method there",
                hop.host, methods, (line.message,), ("hosts", hop.host, "routes", hop.route),
            )  # fmt: skip
        rules = (*hop.effective.every("deny"), *hop.effective.every("allow"))
        return Finding(
            "denied-address", f"{hop.host}'s gateway lets only certain addresses in, and {hop.told('remote')} is none "
            "of them (allow and deny look at addresses, not at certificates).", "allow that address, or take the rule "
            "out", hop.host, rules, (line.message,),
        )  # fmt: skip
    if line := holding(hop.errors, "directory index of"):
        return Finding(
            "no-index", f"The folder that {hop.host} would answer with has no index page, and listing it is off.",
            "put an index.html there, or ask for a file", hop.host, hop.effective.every("root"), (line.message,),
        )  # fmt: skip
    if line := holding(hop.errors, "(13: Permission denied)", "(40: Too many levels of symbolic links)"):
        return Finding(
            "unreadable-file", f"{hop.host}'s nginx may not read the file that it would answer with.",
            "give its user the right to read the file and to enter every folder above it", hop.host,
            hop.effective.every("root"), (line.message,),
        )  # fmt: skip
    return None


def misdirected(evidence: Evidence, hop: Hop) -> Finding | None:
    """421: SNI chose one server and Host another; or no server has the name at all."""
    if str(evidence.received.status) != "421" or hop.told("upstream"):
        return None
    asked = {name.lower(): value for name, value in evidence.sent.headers.items()}.get("host", "")
    if line := holding(hop.errors, NEGOTIATED):
        sni = hop.told("server_name") or evidence.sent.domain
        return Finding(
            "sni-differs-from-host", f"The TLS connection was made for {sni}, and the request on it is for "
            f"{asked or hop.told('host')}: a server that verifies client certificates refuses that (421), since the "
            "certificate was verified for another one. Browsers do it where two names share an address and a "
            "certificate (HTTP/2 connection reuse).",
            "give the server that verifies clients a certificate, or an address or port, of its own; clients have to "
            "try again on a new connection", hop.host, verification.deciding(hop, "verify_client"), (line.message,),
            ("hosts", hop.host, "domain"),
        )  # fmt: skip
    name = hop.told("host") or asked or evidence.sent.domain
    before = evidence.before(hop)
    if before is not None:
        sets = [one for one in before.effective.every("proxy_set_header") if one.value.lower() == "host"]
        return Finding(
            "egress-sends-other-host", f"{before.host}'s gateway calls {hop.host} and sends `Host: {name}` along, and "
            f"{hop.host}'s gateway has no server of that name.",
            f"set `proxy_set_header Host {known_names(evidence, hop)}` in that location of {before.host}", before.host,
            (*sets, *(one for one in (before.effective.one("proxy_pass"),) if one)),
            field=("hosts", before.host, "routes", before.route),
        )  # fmt: skip
    server = hop.effective.server
    answers = tuple(inner(server, "return")) if server else ()
    return Finding(
        "unknown-name", f"{hop.host}'s gateway has no server called {name}; whatever is called by another name gets "
        "421.", f"call it as {known_names(evidence, hop)}, or add the name to the host's `aliases`", hop.host,
        answers, field=("hosts", hop.host, "domain"),
    )  # fmt: skip


def known_names(evidence: Evidence, hop: Hop) -> str:
    host = evidence.topology.hosts.get(hop.host)
    return " or ".join((host.domain, *host.aliases)) if host else "one of its own names"


def too_large(evidence: Evidence, hop: Hop) -> Finding | None:
    """413: the smallest limit of all gateways on the way decides."""
    if evidence.received.status != 413:
        return None
    for each in evidence.hops:
        line = next((line for line in each.errors if TOO_LARGE.search(line.message)), None)
        if line is not None:
            return by_limit(evidence, each, line)
    if hop.told("upstream_status") == "413":
        return None
    return by_limit(evidence, hop, None)


def by_limit(evidence: Evidence, hop: Hop, line: ErrorLine | None) -> Finding:
    found = TOO_LARGE.search(line.message) if line else None
    size = f" of {found[1]} bytes" if found else ""
    limit = hop.effective.value("client_max_body_size", "1m, its default")
    others = [
        f"{other.host} allows {other.effective.value('client_max_body_size', '1m')}"
        for other in evidence.hops if other is not hop
    ]  # fmt: skip
    place = hop.effective.one("client_max_body_size")
    beside = f" ({'; '.join(others)}: each nginx on the way has a limit of its own)" if others else ""
    return Finding(
        "body-too-large", f"The body{size} is larger than {hop.host}'s gateway takes: client_max_body_size is {limit} "
        f"there{beside}. It decides before guards and certificates do.",
        f"raise client_max_body_size on {hop.host} to what the largest of the way is", hop.host,
        (place,) if place else tuple(one for one in (hop.effective.server,) if one),
        (line.message,) if line else (),
    )  # fmt: skip


def header_too_large(evidence: Evidence, hop: Hop) -> Finding | None:
    """400 or 431 for one header line: often the certificate that the gateway before forwards in it."""
    line = holding(hop.errors, LONG_HEADER, "client sent too large request")
    refused = "Request Header Or Cookie Too Large" in evidence.received.body or evidence.received.status == 431
    if line is None and not refused:
        return None
    receiver = "the service" if hop.told("upstream") else f"{hop.host}'s gateway"
    forwarder = hop if hop.told("upstream") else evidence.before(hop)
    forwarded = tuple(
        one for one in (forwarder.effective.every("proxy_set_header") if forwarder else ())
        if re.search(r"\$ssl_client_(escaped_|raw_)?cert\b", " ".join(one.arguments[1:]))
    )  # fmt: skip
    if forwarded and forwarder is not None:
        return Finding(
            "forwarded-certificate-too-large", f"{forwarder.host}'s gateway puts the caller's whole certificate into "
            f"the header {forwarded[0].arguments[0]}, and {receiver} does not take a header line that long (nginx: one "
            "buffer of large_client_header_buffers, 8k by default; Node.js: 16 KiB for all headers).",
            "raise the limit where it is received, or forward the fingerprint or the name instead", forwarder.host,
            (*forwarded, *hop.effective.every("large_client_header_buffers")), (line.message,) if line else (),
        )  # fmt: skip
    longest = max(evidence.sent.headers, key=lambda name: len(evidence.sent.headers[name]), default="")
    which = f" {longest} is {len(evidence.sent.headers[longest])} characters long." if longest else ""
    return Finding(
        "header-too-large", f"A header line is longer than {receiver} takes (one buffer of "
        f"large_client_header_buffers, 8k by default).{which}", "send less, or raise large_client_header_buffers",
        hop.host, hop.effective.every("large_client_header_buffers"), (line.message,) if line else (),
    )  # fmt: skip


def bad_request(evidence: Evidence, hop: Hop) -> Finding | None:
    """400 and its like, that nginx gives to what is no request by HTTP's rules."""
    line = next((line for line in hop.errors if line.message.startswith("client sent") and not line.code), None)
    status = evidence.received.status or 0
    if status == 414 and not hop.told("upstream"):
        return Finding(
            "uri-too-long", f"The address is {len(urlsplit(evidence.sent.url).geturl())} characters long, and the "
            f"request's first line has to fit into one buffer of {hop.host}'s gateway (large_client_header_buffers, 8k "
            "by default).", "ask by a body (POST), or raise large_client_header_buffers", hop.host,
            hop.effective.every("large_client_header_buffers"), (line.message,) if line else (),
        )  # fmt: skip
    if status == 405 and not hop.told("upstream"):
        place = hop.effective.location
        return Finding(
            "method-for-files", f"{hop.host}'s gateway answers there with files of its own, and these can be asked for "
            f"by GET and HEAD alone, not by {hop.told('method')}.", "ask a route that leads to a service", hop.host,
            (place,) if place else (), field=("hosts", hop.host, "routes"),
        )  # fmt: skip
    if hop.told("upstream") or not 400 <= status < 500 or line is None:
        return None
    return Finding(
        "malformed-request", f"{hop.host}'s nginx does not take this for a request: {line.message}.",
        "send it as HTTP wants it", hop.host, (), (line.message,),
    )  # fmt: skip


def redirected(evidence: Evidence, hop: Hop) -> Finding | None:
    """A redirect, and whether its target is where the caller can go."""
    location = evidence.received.headers.get("location", "")
    if not location or not 300 <= (evidence.received.status or 0) < 400:
        return None
    asked, led = urlsplit(evidence.sent.url), urlsplit(location)
    dialled = evidence.sent.dialled or port_of(asked.scheme, asked.port)
    by_service = bool(hop.told("upstream"))
    wrong = bool(led.scheme) and led.hostname == asked.hostname and (
        (asked.scheme, dialled) != (led.scheme, port_of(led.scheme, led.port))
    )  # fmt: skip
    if evidence.sent.origin:
        return None
    if by_service and led.hostname and led.hostname != asked.hostname and led.hostname in names_within(evidence):
        return leaked_name(evidence, hop, location, led.hostname)
    to_https = asked.scheme == "http" and led.scheme == "https"
    if not by_service and not to_https and by_return(evidence, hop) is not None:
        return None
    if wrong and not to_https:
        return service_redirect(evidence, hop, location) if by_service else nginx_redirect(evidence, hop, location)
    if to_https and not by_service:
        return Finding(
            "redirect-to-https", f"{hop.host}'s plain HTTP port leads everybody to https.", f"call {location}",
            hop.host, tuple(inner(hop.effective.server, "return")) if hop.effective.server else (),
            field=("hosts", hop.host, "publish"),
        )  # fmt: skip
    return None


def names_within(evidence: Evidence) -> set[str]:
    """Names and addresses behind the first gateway, by which the caller reaches nobody."""
    names = {name for hop in evidence.hops for peer in hop.peers for name in (peer.service, *peer.addresses)}
    for hop in evidence.hops[1:]:
        host = evidence.topology.hosts.get(hop.host)
        names |= {host.domain, *host.aliases} if host else set()
    return names


def leaked_name(evidence: Evidence, hop: Hop, location: str, name: str) -> Finding:
    """A redirect to where the application thinks that it is, which no gateway on the way put right."""
    rules = [one for each in evidence.hops for one in each.effective.every("proxy_redirect")]
    off = [one for one in rules if one.value == "off"]
    why = "proxy_redirect is off" if off else "no proxy_redirect on the way fits it"
    return Finding(
        "redirect-to-inner-name", f"The application redirects to {location}, and {name} is a name from behind the "
        f"gateways: the caller came by {evidence.sent.url}. The answer went out as it came, since {why}.",
        "have the application write paths alone, or the name in X-Forwarded-Host; or set proxy_redirect there",
        hop.host, tuple(dict.fromkeys(off or rules)), field=("hosts", hop.host, "routes", hop.route),
    )  # fmt: skip


def nginx_redirect(evidence: Evidence, hop: Hop, location: str) -> Finding:
    place = hop.effective.one("absolute_redirect") or hop.effective.location
    return Finding(
        "redirect-to-inner-port", f"nginx writes its own redirects as whole addresses, with the scheme and port on "
        f"which it listens itself ({location}); the caller came by {evidence.sent.url}, through a published port that "
        "nginx does not know.", "set `absolute_redirect off;` (port_in_redirect off helps the port alone)",
        hop.host, (place,) if place else (),
    )  # fmt: skip


def service_redirect(evidence: Evidence, hop: Hop, location: str) -> Finding:
    told = {one.arguments[0].lower(): one for one in hop.effective.every("proxy_set_header") if one.arguments}
    place = hop.effective.location
    if "x-forwarded-proto" in told:
        return Finding(
            "application-ignores-forwarded-headers", f"The application redirects to {location}, although the caller "
            f"came by {evidence.sent.url}: the gateway tells it so in X-Forwarded-Proto and -Host, and it does not "
            "look.", "have the application believe them (Spring Boot: server.forward-headers-strategy=native or "
            "framework, and server.tomcat.redirect-context-root=false for the context path; uvicorn: "
            "--proxy-headers)", hop.host, (told["x-forwarded-proto"],),
            field=("hosts", hop.host, "routes", hop.route),
        )  # fmt: skip
    lost = hop.effective.lost("proxy_set_header")
    why = (
        f": proxy_set_header in that location cancels the inherited {', '.join(o.arguments[0] for o in lost)}"
        if lost
        else ""
    )
    return Finding(
        "forwarded-headers-missing", f"The application redirects to {location}, since the gateway does not tell it by "
        f"which scheme and name the caller came (no X-Forwarded-Proto){why}.",
        "set X-Forwarded-Proto and X-Forwarded-Host in that location", hop.host,
        (*((place,) if place else ()), *lost),
    )  # fmt: skip


def port_of(scheme: str, port: int | None) -> int:
    return port or (443 if scheme == "https" else 80)


def no_route(evidence: Evidence, hop: Hop) -> Finding | None:
    """404 of the gateway's own."""
    if evidence.received.status != 404 or hop.told("upstream"):
        return None
    location = hop.effective.location
    if location is not None and any(one.value == "404" for one in inner(location, "return")):
        return None  # the configuration says so
    before = evidence.before(hop)
    if before is not None and not hop.route:
        return wrong_path(evidence, before, hop)
    place = hop.effective.location
    host = evidence.topology.hosts.get(hop.host)
    path = urlsplit(evidence.sent.url).path
    near = [prefix for prefix in (host.routes if host else ()) if prefix.rstrip("/") == path]
    if near:
        why, fix = f"{path} is no route; {near[0]} is, with its slash.", f"ask for {near[0]}"
    elif hop.route and (host is None or host.routes[hop.route].files is None):
        return Finding(
            "location-missing", f"The topology has a route {hop.route} of {hop.host}, and the gateway's configuration "
            f"has no location for it{f': `{place}` takes the request' if place else ''}.",
            "run `mtls-lab generate`, which writes it, and `mtls-lab up`", hop.host, (place,) if place else (),
            field=("hosts", hop.host, "routes", hop.route),
        )  # fmt: skip
    elif hop.route:
        why, fix = f"The folder behind {hop.route} of {hop.host} has no such file.", "put it there, or correct the path"
    else:
        routes = ", ".join(host.routes) if host else "none"
        why, fix = (
            f"No route of {hop.host} leads there (there are {routes}), and its pages have no such file.",
            ("correct the path, or add a route"),
        )
    return Finding(
        "no-route" if not hop.route else "no-file", why, fix, hop.host, (place,) if place else (),
        field=("hosts", hop.host, "routes"),
    )  # fmt: skip


def wrong_path(evidence: Evidence, before: Hop, hop: Hop) -> Finding:
    """An egress route that asks the other host for a path of which it has no route."""
    host = evidence.topology.hosts.get(before.host)
    route = host.routes.get(before.route) if host else None
    rules = inner(before.effective.location, "rewrite") if before.effective.location else ()
    passed = (*rules, *before.effective.every("proxy_pass"))
    meant = f" The topology says that {before.route} leads to {route.to} there." if route and route.host else ""
    there = evidence.topology.hosts.get(hop.host)
    return Finding(
        "egress-path", f"{before.host}'s gateway asks {hop.host} for {hop.told('uri')}, and no route of {hop.host} "
        f"leads there (there are {', '.join(there.routes) if there else 'none'}).{meant} What a rewrite writes, or "
        "stands behind the name in proxy_pass, takes the place of the location's path, to the letter, its last slash "
        "too.",
        f"correct the path there, or `to` of {before.route}", before.host, passed,
        field=("hosts", before.host, "routes", before.route),
    )  # fmt: skip


OWN_WORDS = (
    ("demands-password", 401, ("no user/password was provided", "password mismatch", "was not found in"),
     "{host}'s gateway demands a user's name and a password (auth_basic): a certificate is none.",
     "send --header 'Authorization: Basic ...', or take auth_basic out", "auth_basic"),
    ("too-many-requests", 0, ("limiting requests",),
     "{host}'s gateway lets only so many requests through in a time, and this was one more (limit_req).",
     "ask more slowly, or raise the rate or the burst", "limit_req"),
    ("too-many-connections", 0, ("limiting connections",),
     "{host}'s gateway takes only so many requests at once, and this was one more (limit_conn).",
     "ask for less at once, or raise the limit", "limit_conn"),
    ("no-space", 0, ("No space left on device",),
     "{host}'s gateway has no space left where it keeps large bodies and answers for a while (/tmp, in its memory).",
     "wait until others are done, send less, or give it more (tmpfs in its Compose file)", "client_body_temp_path"),
    ("no-more-connections", 0, ("worker_connections are not enough", "Too many open files"),
     "{host}'s gateway has as many connections open as it may (worker_connections, worker_rlimit_nofile).",
     "see who keeps them open, or raise both", "worker_connections"),
    ("rewrite-cycle", 500, ("rewrite or internal redirection cycle",),
     "{host}'s gateway sends the request from location to location without an end (rewrite, try_files, error_page).",
     "let the rule end (`break` in the place of `last`)", "rewrite"),
)  # fmt: skip
"""cause, status (0 for any), nginx's words, what they mean, what to do, the directive.  Source: ngx_http_core_module.c
and the modules of these directives."""


def by_its_own_words(evidence: Evidence, hop: Hop) -> Finding | None:
    """What a gateway refuses by rules that generated gateways have none of."""
    for cause, status, words, why, fix, setting in OWN_WORDS:
        line = holding(hop.errors, *words)
        asked = cause == "demands-password" and hop.effective.value("auth_basic", "off") != "off"
        if hop.told("upstream") or status not in (0, evidence.received.status) or not (line or asked):
            continue
        return Finding(
            cause, why.format(host=hop.host), fix, hop.host, hop.effective.every(setting),
            (line.message,) if line else (), ("hosts", hop.host, "routes", hop.route),
        )  # fmt: skip
    return None


def by_return(evidence: Evidence, hop: Hop) -> Finding | None:
    """Whatever else the configuration answers by `return` or by a directive that says a status."""
    status = str(evidence.received.status)
    if hop.told("upstream"):
        return None
    place = hop.effective.location or hop.effective.server
    returns = [*(inner(place, "return") if place else ()), *(answer for _, answer in hop.effective.guards())]
    found = [one for one in returns if one.arguments[:1] == (status,)]
    if not found:
        return None
    conditions = (condition for condition, answer in hop.effective.guards() if answer is found[0])
    return Finding(
        "configured-answer", f"{hop.host}'s configuration says so: `{found[0]}`.", "change it there, if it is not "
        "meant", hop.host, (*conditions, found[0]),
    )  # fmt: skip
