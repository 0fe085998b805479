"""Evidence -> Explanation: the first cause that fits, in the order in which the request came to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path as FilePath

from topology.description.positions import Path, dotted
from topology.explaining import applications, handshakes, lapses, refusals, upstreams, verification
from topology.explaining.evidence import Evidence, Finding, Hop, Stale
from topology.nginx.tree import Directive
from topology.nginx.tree import Place as Spot
from topology.runtime.differing import Difference
from topology.runtime.gateways import Refused

Cause = Callable[[Evidence, Hop], Finding | None]

CAUSES: tuple[Cause, ...] = (
    verification.plain_http,
    lapses.left_to_guards,
    verification.judged,
    verification.demanded,
    refusals.too_large,
    refusals.header_too_large,
    upstreams.failed,
    applications.group_as_host,
    refusals.misdirected,
    lapses.other_identity,
    refusals.guarded,
    refusals.forbidden,
    lapses.let_in,
    lapses.passed_anyway,
    applications.wrong_application,
    applications.upgrade_lost,
    applications.api_definition,
    refusals.redirected,
    refusals.bad_request,
    refusals.no_route,
    refusals.by_its_own_words,
    refusals.by_return,
    applications.answered,
    applications.page,
)
"""What TLS decides comes before what the request asks for, and both before what lies behind the gateways."""

CERTIFICATE_SETTINGS = (
    "ssl_certificate", "ssl_client_certificate", "ssl_trusted_certificate", "ssl_crl", "proxy_ssl_certificate",
    "proxy_ssl_trusted_certificate", "proxy_ssl_crl",
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """A line of a file, and what stands there."""

    file: str
    line: int
    text: str


@dataclass(frozen=True)
class Explanation:
    """Why a request got its answer.

    finding: the cause; answer: the status, or in words why there was none; maker: who made it; directives: of nginx's
    configuration, that decided; topology: the line of the topology, None where no line of it decides; expected: what
    the topology says, None where it says nothing.
    """

    evidence: Evidence
    finding: Finding
    answer: str
    maker: str
    directives: tuple[Place, ...]
    topology: Place | None
    of: str = ""
    """The cell of `check` that was looked into, where it stands for others that are wrong in the same way."""

    @property
    def expected(self) -> int | str | None:
        return self.evidence.expected

    @property
    def as_expected(self) -> bool | None:
        """Whether the topology says the same; None where it says nothing."""
        return self.evidence.as_expected


def explain(evidence: Evidence) -> Explanation:
    """Never raises: where nothing fits, it says what is known."""
    finding = refused(evidence, outdated(evidence, differing(evidence, cause_of(evidence))))
    return Explanation(
        evidence=evidence,
        finding=finding,
        answer=str(evidence.received.status or evidence.received.failure),
        maker=maker_of(evidence, finding),
        directives=places(finding),
        topology=place_of(evidence, finding.field),
    )


def places(finding: Finding) -> tuple[Place, ...]:
    """The lines that decided."""
    return tuple(Place(str(one.place.file), one.place.line, str(one)) for one in dict.fromkeys(finding.settings))


def cause_of(evidence: Evidence) -> Finding:
    hop = evidence.maker
    if evidence.beside:
        return lapses.beside(evidence)
    if evidence.received.status is None:
        return handshakes.no_answer(evidence)
    if evidence.sent.port is not None:
        return handshakes.service_answered(evidence)
    if hop is not None:
        for cause in CAUSES:
            if (found := cause(evidence, hop)) is not None:
                return found
    logged = tuple(line.message for each in evidence.hops for line in each.errors)
    said = f" Its last word was: {logged[-1]}." if logged else ""
    return Finding(
        "unknown", f"{evidence.sent.host} answered {evidence.received.status}, and nothing that is known here says "
        f"why.{said}", f"look at what was logged (`mtls-lab logs {evidence.sent.host}`)", evidence.sent.host,
        lines=logged, settings=(hop.effective.location,) if hop and hop.effective.location else (),
    )  # fmt: skip


def maker_of(evidence: Evidence, finding: Finding) -> str:
    if evidence.received.status is None:
        return "nobody"
    if evidence.sent.port is not None:
        return f"the service {handshakes.service_of(evidence)} of {evidence.sent.host}"
    hop = evidence.maker
    if hop is None:
        return f"the gateway of {evidence.sent.host}"
    own_failure = finding.cause.startswith("upstream-") or finding.cause == "egress-speaks-plain-http"
    if hop.told("upstream") and not own_failure and evidence.received.status != 413:
        return applications.behind(evidence, hop)
    return f"the gateway of {hop.host}"


def outdated(evidence: Evidence, finding: Finding) -> Finding:
    """What the container does not see as it lies on disk comes before what follows from it."""
    for hop in evidence.hops:
        for stale in hop.stale:
            if is_relevant(stale, hop, finding) and finding.cause not in ("passed", *KNOWN_OTHERWISE):
                return replace(
                    finding,
                    cause=stale.cause,
                    why=f"{hop.host}'s gateway does not use {stale.path} as it lies on this machine: {stale.why}"
                    f" With what it uses: {finding.why}",
                    fix=stale.fix,
                    host=hop.host,
                )
    notes = tuple(f"{hop.host}: {one.path}: {one.why}" for hop in evidence.hops for one in hop.stale)
    return replace(finding, also=(*finding.also, *notes)) if notes else finding


KNOWN_OTHERWISE = frozenset({"upstream-down", "upstream-paused", "upstream-slow", "application"})
"""Causes that hold whatever the gateway has read."""

VAGUE = frozenset({
    "unknown", "no-answer", "let-in", "passed", "seen-otherwise", "handshake-failed", "upstream-handshake",
    "upstream-impostor", "tls-version", "malformed-request",
})  # fmt: skip
"""Causes that say what happened, and not yet why it is otherwise than the topology says."""

NOT_AS_GENERATED = "not-as-generated"
TOLD = 3
"""Differences that are told one by one."""


def differing(evidence: Evidence, finding: Finding) -> Finding:
    """Where an answer is not what the topology says, what differs in the files on its way from what it makes."""
    found = [(hop, one) for hop in evidence.hops for one in hop.differences]
    if not found or evidence.as_expected is not False:
        return finding
    told = "; ".join(in_words(one) for _, one in found[:TOLD])
    more = f"; and {len(found) - TOLD} more" if len(found) > TOLD else ""
    why = f"What lies on disk is not what the topology makes: {told}{more}."
    if finding.cause not in VAGUE:
        return replace(finding, also=(*finding.also, why))
    spots = (spot(one) for _, one in found if one.line)
    return replace(
        finding,
        cause=NOT_AS_GENERATED,
        why=f"{finding.why} {why}",
        fix="`mtls-lab up` writes and issues it again; where the change is meant, say it in the topology",
        host=found[0][0].host,
        settings=(*tuple(spots)[:TOLD], *finding.settings),
    )


def spot(one: Difference) -> Directive:
    return Directive(one.here or f"(missing) {one.wanted}", (), Spot(relative(one.file), one.line))


def in_words(one: Difference) -> str:
    where = f"{relative(one.file)}:{one.line}" if one.line else f"{relative(one.file)}"
    if not one.wanted:
        return f"{where} has `{one.here}`, which does not belong there"
    return f"{where} has `{one.here}` in the place of `{one.wanted}`" if one.here else f"{where} lacks `{one.wanted}`"


def refused(evidence: Evidence, finding: Finding) -> Finding:
    """A gateway that does not take up what lies on disk: what is read there is not what decided."""
    for hop in evidence.hops:
        if hop.refused is None:
            continue
        told = refusal_told(hop.host, hop.refused)
        undecided = hop.effective.block is None or is_decided_by_stale(hop, finding)
        if not undecided or finding.cause in KNOWN_OTHERWISE:
            return replace(finding, also=(*finding.also, told))
        beneath = "" if finding.cause in ("unknown", "no-answer") else f" With what it has: {finding.why}"
        return replace(
            finding,
            cause="reload-refused",
            why=f"{told}{beneath}",
            fix=f"correct {named(hop.refused)}, or have all of it written and issued again, and read: `mtls-lab up`",
            host=hop.host,
            settings=(*lines_of(hop.refused), *finding.settings),
            lines=(f"[emerg] {hop.refused.said}", *finding.lines),
        )
    return finding


def refusal_told(host: str, found: Refused) -> str:
    since = f" at {found.since:%H:%M:%S} UTC" if found.since else ""
    asked = f" (asked to read it at {found.asked:%H:%M:%S} UTC)" if found.asked else ""
    means = f" That means: {'; '.join(found.meaning)}." if found.meaning else ""
    return (
        f"{host}'s gateway goes on with what it read{since}, since nginx refuses what lies on disk now{asked}: "
        f"[emerg] {found.said}.{means} Started anew, it would not come up."
    )


def named(found: Refused) -> str:
    return f"{relative(found.place[0])}:{found.place[1]}" if found.place else "that"


def lines_of(found: Refused) -> tuple[Directive, ...]:
    """The line that nginx names, as it stands there."""
    if found.place is None:
        return ()
    file, number = found.place
    try:
        line = file.read_text(errors="replace").splitlines()[number - 1].strip()
    except (OSError, IndexError):
        return ()
    return (Directive(line, (), Spot(relative(file), number)),)


def relative(path: FilePath) -> FilePath:
    """As people would type it from where they are."""
    return path.relative_to(FilePath.cwd()) if path.is_relative_to(FilePath.cwd()) else path


def is_decided_by_stale(hop: Hop, finding: Finding) -> bool:
    """Whether what was found stands in files that the gateway has not read as they are."""
    if finding.host == hop.host and finding.cause in ("not-reloaded", "stale-mount"):
        return True
    return any(is_relevant(one, hop, finding) for one in hop.stale)


def is_relevant(stale: Stale, hop: Hop, finding: Finding) -> bool:
    decided = {one.value for one in finding.settings} | {hop.effective.value(name) for name in CERTIFICATE_SETTINGS}
    return stale.path in decided or any(stale.path == str(one.place.file) for one in finding.settings)


def place_of(evidence: Evidence, field: Path) -> Place | None:
    """The line of the field, or of the nearest one around it."""
    where = field
    while where:
        if where in evidence.places:
            file, line = evidence.places[where]
            return Place(file, line, dotted(where))
        where = where[:-1]
    return None
