"""Who may go where: the guards of locations, and the ways around them."""

from __future__ import annotations

from collections.abc import Iterator

from topology.linting.findings import ERROR, WARNING, Found, rule
from topology.linting.gateway import Gateway
from topology.linting.guarding import (
    CERTIFICATE,
    ISSUERS,
    OTHERS,
    SUBJECTS,
    VERIFY,
    WHOLE,
    certificate_guards,
    guards,
    is_closed,
    is_guarded,
    is_verified,
    refuses,
    steps,
)
from topology.linting.material import certificates, is_root
from topology.nginx import listening, passing
from topology.nginx.passing import path_of
from topology.nginx.tree import Block, Directive

REFUSALS = frozenset({"400", "401", "403", "495", "496"})
"""What a caller without the right certificate gets: nginx's own codes, and a guard's."""

LITERAL_END = "\\[](){}.*+?|$"


@rule(ERROR, "put `if ($ssl_client_verify != SUCCESS) { return 403; }` into each location that is not for everyone")
def verification_without_guard(gateway: Gateway) -> Iterator[Found]:
    """`ssl_verify_client optional` refuses a bad certificate, and lets callers in who show none. Where no location
    looks at `$ssl_client_verify`, and no service is told of it either, nothing is protected.
    """
    for server in gateway.servers:
        asked = server.one("ssl_verify_client")
        if asked is None or not listening.verification(server).startswith("optional"):
            continue
        inside = list(passing.locations(server))
        told = any(gateway.hangs_on(" ".join(one.arguments)) & CERTIFICATE
                   for call in passing.calls_of(gateway.configuration, server)
                   for one in call.block.in_force("proxy_set_header"))  # fmt: skip
        if inside and not told and not any(certificate_guards(gateway, one) for one in inside):
            yield Found(asked.place, "callers may show a certificate, and nothing depends on whether they do")


@rule(ERROR, "`mtls-lab generate` writes the guard that the topology asks for")
def missing_guard(gateway: Gateway) -> Iterator[Found]:
    """The topology says that a route is for callers with a certificate, for some of them, or for this host's services
    alone, and its location lets others through. `ssl_verify_client` stands at server level; what one location asks
    for beyond that is in its own `if`.
    """
    for _, location in gateway.locations():
        route = gateway.route(location)
        if route is None:
            continue
        if route.internal and not guards(gateway, location):
            yield Found(location.place, f"{path_of(location)} is for this host's services alone, and nothing says so")
        if route.client_certificate == "required" and not is_guarded(gateway, location):
            yield Found(location.place, f"{path_of(location)} asks for a certificate, and has no guard")
        if route.allow and (missing := len(route.allow) - len(allowed(gateway, location))):
            more = "more" if missing < 0 else "fewer"
            yield Found(location.place, f"{path_of(location)} lets {more} callers in than its `allow` names")


def allowed(gateway: Gateway, location: Block) -> frozenset[str]:
    """The names that a location compares its caller with."""
    return frozenset(
        one.value
        for one in steps(gateway, location)
        if one.uses & SUBJECTS and one.operator == ("!=" if refuses(one.block) else "=")
    )


@rule(ERROR, "repeat the guard in the inner location")
def guard_not_inherited(gateway: Gateway) -> Iterator[Found]:
    """nginx runs the `if` and `return` of the one location that takes a request, not those of locations around it, nor
    of one whose prefix is shorter. A location below a guarded path is open unless it has a guard of its own.
    """
    for server in gateway.servers:
        inside = list(passing.locations(server))
        guarded = [one for one in inside if certificate_guards(gateway, one) and path_of(one).modifier in ("", "^~")]
        for location in inside:
            path = path_of(location)
            above = [one for one in guarded if one != location and not path.is_pattern and not path.is_named
                     and path.text.startswith(path_of(one).text) and path.text != path_of(one).text]  # fmt: skip
            above += [one for one in guarded if path.is_pattern and location.parent == one]
            if not above or not passing.serves(location) or is_closed(gateway, location):
                continue
            if gateway.route(location) is not None and gateway.route(above[0]) is not None:
                continue  # the topology has both, as they are
            level = ERROR if location.parent in above else WARNING
            message = f"{path} is open, although it lies below {path_of(above[-1])}, which has a guard"
            yield Found(location.place, message, level)


@rule(ERROR, "write `location ^~ PREFIX` for the guarded one, or repeat the guard in the pattern's location")
def pattern_before_guard(gateway: Gateway) -> Iterator[Found]:
    r"""A location with a regular expression is chosen before a plain prefix, however long that is: an open `location ~
    \.php$` takes `/protected/x.php` out of the guarded `/protected/`.
    """
    for server in gateway.servers:
        inside = list(server.blocks("location"))
        guarded = [one for one in inside if certificate_guards(gateway, one) and path_of(one).modifier == ""]
        for location in inside:
            path = path_of(location)
            if not path.is_pattern or not passing.serves(location) or is_closed(gateway, location):
                continue
            for other in guarded:
                if may_match_below(path.text, path_of(other).text):
                    yield Found(location.place, f"{path} is open, and is chosen before the guarded {path_of(other)}")
                    break


def may_match_below(pattern: str, prefix: str) -> bool:
    """Whether a pattern can match paths below a prefix, judged by its literal beginning."""
    if not pattern.startswith("^"):
        return True
    end = next((place for place, sign in enumerate(pattern[1:]) if sign in LITERAL_END), len(pattern) - 1)
    head = pattern[1 : 1 + end]
    return prefix.startswith(head) or head.startswith(prefix)


@rule(
    WARNING, "guard both, or give what is protected a service or a path of its own that the open location cannot name"
)
def open_way_to_guarded(gateway: Gateway) -> Iterator[Found]:
    """Two locations lead to the same paths of one service, and only one of them asks for a certificate. The guard
    hangs on how nginx reads a path; `/PROTECTED/`, `/x..%252fprotected/` or `/x;/../protected/` take the open
    location, and the service reads them its own way.
    """
    for server in gateway.servers:
        passed = [one for one in passing.calls_of(gateway.configuration, server) if one.block.name == "location"]
        for one in passed:
            if certificate_guards(gateway, one.block) or is_closed(gateway, one.block) or one.dynamic:
                continue
            for other in passed:
                same = (one.scheme, one.authority) == (other.scheme, other.authority)
                below = passing.path_behind(other).startswith(passing.path_behind(one))
                if not same or not below or not certificate_guards(gateway, other.block):
                    continue
                if gateway.route(one.block) is not None and gateway.route(other.block) is not None:
                    continue  # the topology has both, as they are
                message = f"{path_of(one.block)} is open and leads to what {path_of(other.block)} protects"
                yield Found(one.place, f"{message}: {other.directive}")
                break


@rule(ERROR, "compare `$ssl_client_verify != SUCCESS`, which holds for everything else, whatever nginx calls it")
def guard_on_wrong_value(gateway: Gateway) -> Iterator[Found]:
    """Only `SUCCESS` is a verified certificate. A guard that refuses `NONE` lets `FAILED:...` through where an
    unverified certificate is accepted, and the empty value that the variable has on a listener without TLS. A guard
    that looks at a request header (`$http_...`), argument or cookie lets in whoever writes it.
    """
    for _, location in gateway.locations():
        found = guards(gateway, location)
        for one in found:
            if not one.uses & CERTIFICATE and (written := by_the_caller(one.uses)):
                yield Found(one.place, f"the caller writes ${written}, by which this guard decides")
        verifying = [one for one in found if one.uses & CERTIFICATE == {VERIFY} and one.subject == f"${VERIFY}"]
        if verifying and not any(holds(one.operator, one.value) for one in verifying):
            shown = verifying[0]
            yield Found(shown.place, f"`{shown.subject} {shown.operator} {shown.value}` refuses some values alone")


def by_the_caller(names: frozenset[str]) -> str | None:
    """A variable that callers fill, and that seems to tell of a certificate."""
    words = ("ssl", "cert", "verify", "client_s_dn", "subject", "tls")
    return next((name for name in sorted(names) if name.startswith(("http_", "arg_", "cookie_"))
                 and any(word in name for word in words)), None)  # fmt: skip


def holds(operator: str, value: str) -> bool:
    """Whether a comparison refuses everything but SUCCESS."""
    return (operator, value) in (("!=", "SUCCESS"), ("!~", "^SUCCESS$"))


@rule(ERROR, 'compare with `if ($caller = "ISSUER|SUBJECT")`, which tells upper from lower case')
def guard_without_case(gateway: Gateway) -> Iterator[Found]:
    """`map` compares its source without regard to case, and so does `~*`: a certificate for `CN=BRO` passes for
    `CN=bro`. An authority that tells the two apart issues both.
    """
    used = frozenset().union(*(one.uses for _, location in gateway.locations() for one in guards(gateway, location)))
    for block, key in subject_keys(gateway):
        if block.directive.arguments[1].lstrip("$") in used and not key.name.startswith("~"):
            yield Found(key.place, f"`{key.name}` stands for a caller in a map, which compares without case")
    for _, location in gateway.locations():
        for one in steps(gateway, location):
            if one.uses & SUBJECTS and one.operator in ("~*", "!~*"):
                yield Found(one.place, f"`{one.value}` is compared without case")


def subject_keys(gateway: Gateway) -> Iterator[tuple[Block, Directive]]:
    """The lines of maps whose source is a certificate's subject."""
    for block in gateway.configuration.root.below("map"):
        if len(block.directive.arguments) > 1 and gateway.hangs_on(block.directive.value) & SUBJECTS:
            for key in block.directive.children or ():
                if key.name not in ("default", "volatile", "hostnames", "include"):
                    yield block, key


@rule(ERROR, 'compare the whole of it: `if ($caller = "ISSUER|SUBJECT")`')
def guard_by_pattern(gateway: Gateway) -> Iterator[Found]:
    """A subject is text that its holder chose. `~ "CN=bro"` matches `CN=bro2` and `O=CN=bro`; a comma in a name is
    written with a backslash, so that a pattern for one part can match in the middle of another.
    """
    used = frozenset().union(*(one.uses for _, location in gateway.locations() for one in guards(gateway, location)))
    for block, key in subject_keys(gateway):
        if block.directive.arguments[1].lstrip("$") in used and key.name.startswith("~") and not exact(key.name):
            yield Found(key.place, f"`{key.name}` matches other subjects, too")
    for _, location in gateway.locations():
        for one in steps(gateway, location):
            if one.uses & SUBJECTS and one.is_pattern and not exact(one.value):
                yield Found(one.place, f"`{one.value}` matches other subjects, too")


def exact(pattern: str) -> bool:
    """Whether a pattern says all of a text."""
    text = pattern.lstrip("~*")
    return text.startswith("^") and text.endswith("$") and not any(sign in text for sign in ".*+?|[(")


@rule(WARNING, 'compare issuer and subject together: `set $caller "$ssl_client_i_dn|$ssl_client_s_dn";`')
def guard_by_subject_alone(gateway: Gateway) -> Iterator[Found]:
    """A subject, or a serial number, says who somebody is to one authority. Every other authority that is trusted
    here, and every intermediate below them, can issue the same once more.
    """
    for _, location in gateway.locations():
        found = steps(gateway, location)
        uses = frozenset().union(*(one.uses for one in found))
        alone = [one for one in found if one.uses & (SUBJECTS | (OTHERS - {"ssl_client_v_remain"}))]
        if alone and not uses & (ISSUERS | WHOLE):
            level = ERROR if authorities(gateway, location) > 1 else WARNING
            yield Found(alone[0].place, f"`{alone[0].subject}` without its issuer is not an identity", level)


def authorities(gateway: Gateway, location: Block) -> int:
    """How many roots a location's callers can come from; 0 where the file is not at hand."""
    found = certificates(gateway.configuration, location.value("ssl_client_certificate"))
    return sum(is_root(one) for one in found or ())


@rule(ERROR, "let the refusal stand: an `error_page` of its own without `=`, and without a way to the service")
def refusal_answered(gateway: Gateway) -> Iterator[Found]:
    """`error_page 403 = @app` takes a caller whom a guard refused to another location, whose own guards decide anew;
    `=200` tells monitoring and callers that all was well. nginx's 495 and 496 (a bad certificate, and none) come
    here, too, and are refused in no other way.
    """
    for _, location in gateway.locations():
        if not is_guarded(gateway, location):
            continue
        for one in location.in_force("error_page"):
            *words, target = one.arguments or ("",)
            codes = REFUSALS.intersection(words)
            change = next((word[1:] for word in words if word.startswith("=")), None)
            if not codes or change is None or change.startswith(("3", "4", "5")):
                continue
            if change.startswith("2") or opens(gateway, location, target):
                yield Found(one.place, f"who is refused with {', '.join(sorted(codes))} gets {target} instead")


def opens(gateway: Gateway, location: Block, target: str) -> bool:
    """Whether an error's page is an open location that passes requests on."""
    server = location.around("server")
    there = [one for one in passing.locations(server) if path_of(one).text == target] if server is not None else []
    return any(one.own("proxy_pass") and not is_closed(gateway, one) for one in there)


@rule(WARNING, "verify with `optional`, and let OPTIONS through the guard of the locations that browsers call")
def preflight_refused(gateway: Gateway) -> Iterator[Found]:
    """A browser asks with OPTIONS, and without a certificate, whether another site's script may call (Fetch standard,
    CORS-preflight). Where that is refused, the call itself never comes: Firefox and Safari fail, other clients
    work.
    """
    for _, location in gateway.locations():
        allowed = [one for one in location.in_force("add_header")
                   if one.value.lower().startswith("access-control-allow-")]  # fmt: skip
        if not allowed or not is_guarded(gateway, location):
            continue
        asks = any("request_method" in one.uses for one in steps(gateway, location))
        if is_verified(location) or not asks:
            yield Found(
                allowed[0].place, f"{path_of(location)} is for other sites, and refuses their preflight requests"
            )
