"""Wrong cells of `check` -> why: each is asked again, or, where it was more than a GET, read from what was logged."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

from topology.errors import LabError
from topology.explaining import asking, certificates, gathering, walls
from topology.explaining.asking import Question, Target
from topology.explaining.callers import Asker
from topology.explaining.evidence import Evidence, Finding, Received, Sent
from topology.explaining.gathering import Scene
from topology.explaining.reasoning import NOT_AS_GENERATED, VAGUE, Explanation, explain
from topology.proof import expected_walls, probing
from topology.proof.checking import NOT_SENT, Verdict
from topology.proof.expectation import NOBODY, Check
from topology.runtime.lab import Lab
from topology.runtime.running import RunningLab

INSIDE = expected_walls.INSIDE_FAMILY
ASKED_AGAIN = ("route", "caller", INSIDE)
"""Families whose cells are one plain GET each."""

MOST = 24
"""Cells of one run that are looked into one by one, beside one of each kind; a lab has few causes for many of them."""

AT_ONCE = 4

SLOW_SECONDS = 1
"""After which nobody asks again: whatever kept the answer away would do so once more."""

AGO_SECONDS = 120
"""How long ago a cell's request can have been."""

Group = Sequence[Verdict]
"""Cells that differ in the version of TLS alone."""


def explanations(lab: Lab, running: RunningLab, wrong: Iterable[Verdict]) -> Mapping[str, Explanation]:
    """Id of each wrong cell -> why.

    Cells that differ in the version of TLS alone have one explanation.  Beyond MOST, those of one route that should
    have been answered alike, and were, have that of the first of them.  Never raises: where a cell cannot be looked
    into, that is said.
    """
    groups: dict[tuple[str, ...], list[Verdict]] = {}
    every = list(wrong)
    for verdict in every:
        if verdict.observed == NOT_SENT:
            continue
        one = verdict.check
        key = (one.host, one.route, one.path, one.caller, one.family, one.request, str(verdict.observed))
        groups.setdefault(key, []).append(verdict)
    chosen, alike = shared(list(groups.values()))
    scene = Scene(lab, running)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(lambda group: of_cell(scene, group[0]), chosen))
    first = {kind_of(group): explanation for group, explanation in reversed(list(zip(chosen, found, strict=True)))}
    pairs = [*zip(chosen, found, strict=True), *((group, first[kind_of(group)]) for group in alike)]
    told = {verdict.check.id: explanation for group, explanation in pairs for verdict in group}
    return told | of_those_not_sent(every, told)


def of_those_not_sent(wrong: list[Verdict], told: Mapping[str, Explanation]) -> dict[str, Explanation]:
    """What is told of the one that was sent in the place of others holds for all of them."""
    scouts = {
        verdict.observation.request_id: told[verdict.check.id]
        for verdict in wrong
        if verdict.observed != NOT_SENT and verdict.check.id in told
    }
    return {
        verdict.check.id: scouts[verdict.observation.request_id]
        for verdict in wrong
        if verdict.observed == NOT_SENT and verdict.observation.request_id in scouts
    }


def kind_of(group: Group) -> tuple[str, ...]:
    """What cells have in common that have one cause, as far as can be told without looking into them."""
    one = group[0].check
    return (one.host, one.route, one.family, str(one.expected), str(group[0].observed))


def shared(groups: Sequence[Group]) -> tuple[list[Group], list[Group]]:
    """(those that are looked into, those that have another one's explanation)."""
    first: dict[tuple[str, ...], Group] = {}
    for group in groups:
        first.setdefault(kind_of(group), group)
    kinds = list(first.values())
    others = [group for group in groups if first[kind_of(group)] is not group]
    room = max(0, MOST - len(kinds))
    return [*kinds, *others[:room]], others[room:]


def of_cell(scene: Scene, verdict: Verdict) -> Explanation:
    try:
        found = looked_into(scene, verdict)
    except (LabError, OSError, LookupError) as error:
        found = unknown(scene, verdict, str(error))
    return replace(found, of=verdict.check.id)


def looked_into(scene: Scene, verdict: Verdict) -> Explanation:
    if verdict.check.family == expected_walls.FAMILY:
        return walls.explained(scene.lab, scene.running, verdict)
    one_get = verdict.check.family in ASKED_AGAIN and not verdict.check.request
    if one_get and verdict.observation.seconds < SLOW_SECONDS:
        found = asked_again(scene, verdict)
        if found.as_expected is not True or not verdict.observation.request_id:
            return found
        then = from_logs(scene, verdict)  # once more, it was answered as it should be
        note = "Asked again, it was answered as it should be: what was wrong has passed, or comes and goes."
        return replace(then, finding=replace(then.finding, also=(*then.finding.also, note)))
    return by_a_plain_request(scene, verdict, from_logs(scene, verdict))


def by_a_plain_request(scene: Scene, verdict: Verdict, found: Explanation) -> Explanation:
    """Where the logs do not tell why: a plain GET of the same caller, if it is answered alike, has the same cause.

    nginx's error lines are found by what `explain` alone sends along.
    """
    observed = verdict.observation.status
    if observed is None or found.finding.cause not in (*VAGUE, NOT_AS_GENERATED):
        return found
    plain = asked_again(scene, verdict)
    if plain.evidence.received.status != observed or plain.finding.cause in (*VAGUE, NOT_AS_GENERATED):
        return found
    note = f"A plain request for {verdict.check.path} is answered alike; this is its cause."
    return replace(plain, finding=replace(plain.finding, also=(*plain.finding.also, note)))


def asked_again(scene: Scene, verdict: Verdict) -> Explanation:
    check = verdict.check
    question, target = question_of(scene, check)
    with probing.credentials((check,), scene.running, datetime.now(UTC)) as shown:
        files = shown.get(check.shown)
        chain = certificates.read(files.certificate.read_bytes()) if files else ()
        return gathering.explained(scene, target, question, Asker(check.caller, check.shown, files, chain))


def question_of(scene: Scene, check: Check) -> tuple[Question, Target]:
    host = scene.lab.topology.hosts[check.host]
    scheme = "http" if check.tls == "plain" else "https"
    endpoint = scene.running.endpoints[check.host]
    port = endpoint.passed.get(check.port) if check.port else endpoint.http if scheme == "http" else endpoint.https
    version = check.tls if check.tls in ("1.2", "1.3") else None
    if check.family == INSIDE or check.caller == expected_walls.OWN_SERVICE:
        question = Question(f"http://{host.domain}{check.path}", origin=check.host)
    else:
        question = Question(f"{scheme}://{host.domain}:{port}{check.path}", check.caller, tls=version)
    return question, asking.target(scene.running, question)


def from_logs(scene: Scene, verdict: Verdict) -> Explanation:
    """Requests that no plain client could send are not sent again: what the gateways logged has to do."""
    check, seen = verdict.check, verdict.observation
    question, target = question_of(scene, check)
    lines = gathering.way(
        scene.lab, check.host, seen.request_id, time.time() - AGO_SECONDS, answered=bool(seen.request_id)
    )
    logged = next((line.access for line in lines if line.access), None)
    status, beside = seen.status, ""
    if status is None and logged is not None and seen.failure != "timeout":  # answered, but something else was wrong
        status, beside = int(str(logged.get("status", 0))) or None, seen.failure
    sent = Sent(question.url, check.host, target.domain, target.path, target.tls, caller=check.caller)
    received = Received(status, seen.failure, seen.detail, body=seen.detail)
    found = gathering.evidence(scene, target, sent, received, lines, Asker(NOBODY, None))
    found = replace(found, expected=check.expected, rule=check.why, beside=beside)
    return explain(gathering.compared_with_the_topology(scene.lab, found))


def unknown(scene: Scene, verdict: Verdict, reason: str) -> Explanation:
    """What is known of a cell that cannot be looked into any further."""
    check, seen = verdict.check, verdict.observation
    sent = Sent("", check.host, scene.lab.topology.hosts[check.host].domain, check.path, caller=check.caller)
    received = Received(seen.status, seen.failure, seen.detail)
    found = Evidence(sent, received, scene.lab.topology, expected=check.expected, rule=check.why)
    detail = f" {seen.detail.strip()[:200]}" if seen.detail.strip() and seen.status is None else ""
    finding = Finding(
        "not-looked-into", f"{check.host} answered {verdict.observed}.{detail} Why could not be looked into: {reason}",
        "see what runs (`mtls-lab status`)", check.host, field=("hosts", check.host),
    )  # fmt: skip
    return replace(explain(found), finding=finding)
