"""Evidence -> Explanation: the first cause that fits, in the order in which the request came to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from topology.description.positions import Path, dotted
from topology.explaining import applications, handshakes, lapses, refusals, upstreams, verification
from topology.explaining.evidence import Evidence, Finding, Hop
from topology.proof.checking import TURNED_AWAY
from topology.proof.expectation import REFUSED

Cause = Callable[[Evidence, Hop], Finding | None]

CAUSES: tuple[Cause, ...] = (
    verification.plain_http,
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

    @property
    def expected(self) -> int | str | None:
        return self.evidence.expected

    @property
    def as_expected(self) -> bool | None:
        """Whether the topology says the same; None where it says nothing."""
        if self.evidence.expected is None:
            return None
        if self.evidence.expected == REFUSED:
            return self.evidence.received.failure in TURNED_AWAY
        return self.evidence.expected == self.evidence.received.status


def explain(evidence: Evidence) -> Explanation:
    """Never raises: where nothing fits, it says what is known."""
    finding = outdated(evidence, cause_of(evidence))
    return Explanation(
        evidence=evidence,
        finding=finding,
        answer=str(evidence.received.status or evidence.received.failure),
        maker=maker_of(evidence, finding),
        directives=tuple(
            Place(str(one.place.file), one.place.line, str(one)) for one in dict.fromkeys(finding.settings)
        ),
        topology=place_of(evidence, finding.field),
    )


def cause_of(evidence: Evidence) -> Finding:
    hop = evidence.maker
    if evidence.received.status is None:
        return handshakes.no_answer(evidence)
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
    hop = evidence.maker
    if hop is None:
        return f"the gateway of {evidence.sent.host}"
    own_failure = finding.cause.startswith("upstream-") or finding.cause == "egress-speaks-plain-http"
    if hop.told("upstream") and not own_failure and evidence.received.status != 413:
        return applications.behind(evidence, hop)
    return f"the gateway of {hop.host}"


def outdated(evidence: Evidence, finding: Finding) -> Finding:
    """What the container does not see as it lies on disk comes before what follows from it."""
    decided = {one.value for one in finding.settings}
    for hop in evidence.hops:
        named = {hop.effective.value(name) for name in CERTIFICATE_SETTINGS}
        for stale in hop.stale:
            relevant = stale.path in decided | named or any(stale.path == str(d.place.file) for d in finding.settings)
            if relevant and finding.cause != "passed":
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


def place_of(evidence: Evidence, field: Path) -> Place | None:
    """The line of the field, or of the nearest one around it."""
    where = field
    while where:
        if where in evidence.places:
            file, line = evidence.places[where]
            return Place(file, line, dotted(where))
        where = where[:-1]
    return None
