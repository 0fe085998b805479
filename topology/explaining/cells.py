"""Wrong cells of `check` -> why: each is asked again, or, where it was more than a GET, read from what was logged."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from topology.errors import LabError
from topology.explaining import asking, certificates, gathering
from topology.explaining.asking import Question, Target
from topology.explaining.callers import Asker
from topology.explaining.evidence import Received, Sent
from topology.explaining.gathering import Scene
from topology.explaining.reasoning import Explanation, explain
from topology.proof import probing
from topology.proof.checking import NOT_SENT, Verdict
from topology.proof.expectation import Check
from topology.runtime.lab import Lab
from topology.runtime.running import RunningLab

INSIDE = "inside"
ASKED_AGAIN = ("route", "caller", INSIDE)
"""Families whose cells are one plain GET each."""

MOST = 24
"""Explanations of one run; a lab in which more is wrong has few causes."""

AT_ONCE = 4

SLOW_SECONDS = 1
"""After which nobody asks again: whatever kept the answer away would do so once more."""

AGO_SECONDS = 120
"""How long ago a cell's request can have been."""


def explanations(lab: Lab, running: RunningLab, wrong: Iterable[Verdict]) -> Mapping[str, Explanation]:
    """Id of a wrong cell -> why; cells that differ in the version of TLS alone have one explanation.

    Cells beyond the first MOST causes have none.  Never raises: what cannot be explained is left out.
    """
    groups: dict[tuple[str, ...], list[Verdict]] = {}
    every = list(wrong)
    for verdict in every:
        if verdict.observed == NOT_SENT:
            continue
        one = verdict.check
        key = (one.host, one.route, one.path, one.caller, one.family, one.request, str(verdict.observed))
        groups.setdefault(key, []).append(verdict)
    chosen = list(groups.values())[:MOST]
    scene = Scene(lab, running)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(lambda group: of_cell(scene, group[0]), chosen)
        told = {
            verdict.check.id: explanation
            for group, explanation in zip(chosen, found, strict=True)
            if explanation is not None
            for verdict in group
        }
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


def of_cell(scene: Scene, verdict: Verdict) -> Explanation | None:
    """None for a wall: what is wrong there was found inside, and stands with the cell."""
    try:
        one_get = verdict.check.family in ASKED_AGAIN and not verdict.check.request
        if one_get and verdict.observation.seconds < SLOW_SECONDS:
            return asked_again(scene, verdict)
        return from_logs(scene, verdict) if verdict.observation.request_id else None
    except (LabError, OSError):  # the wrong cell itself is the news
        return None


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
    if check.family == INSIDE:
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
    sent = Sent(question.url, check.host, target.domain, target.path, target.tls, caller=check.caller)
    received = Received(seen.status, seen.failure, seen.detail, body=seen.detail)
    caller = check.shown if check.family in ASKED_AGAIN else None
    return explain(gathering.evidence(scene, target, sent, received, lines, caller))
