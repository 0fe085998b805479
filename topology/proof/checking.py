"""Check and Observation -> Verdict: every cell in parallel, and what is wrong with those that are wrong."""

from __future__ import annotations

import fnmatch
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from topology.errors import InvalidInput, NotReady
from topology.proof import expectation
from topology.proof.expectation import Caller, Check
from topology.proof.probing import Files, Observation, credentials, probe
from topology.proof.request_paths import LEFT
from topology.runtime.running import RunningLab

AT_ONCE = 8

WAITING_AT_ONCE = 64
"""Checks that wait for a gateway's patience to end do so beside the others, all together."""

Probe = Callable[[Check, RunningLab, Mapping[Caller, Files]], Observation]
"""Does what a check says on a running lab, with the certificates to show, and says what came back; never raises."""

PROBES: Mapping[str, Probe] = {"route": probe}
"""The family of the basic matrix: one GET on a connection of its own."""

PASSING = (404, 502, 503, 504)
"""Answers that a gateway gives while a service starts or a reload is under way; anything else is its last word."""


NOT_SENT = "not sent"
"""What is observed of a cell for which a request would have met what is known to be in the way."""

BY_THE_SERVICE = (200, LEFT)
"""What is expected where a service answers, and no gateway."""

Obstacle = Callable[[Check], str]
"""What is known to be in the way of a cell's answer, in words; empty for nothing."""

Numbered = tuple[int, Check]


def none_known(_: Check) -> str:
    return ""


TURNED_AWAY = ("handshake refused", "connection reset")
"""How a refused handshake looks from outside: under TLS 1.3 the client learns of it when it reads."""


@dataclass(frozen=True)
class Verdict:
    check: Check
    observation: Observation

    @property
    def ok(self) -> bool:
        if self.check.expected == expectation.REFUSED:
            return self.observation.failure in TURNED_AWAY
        if isinstance(self.check.expected, str):
            return self.observation.failure == self.check.expected
        return self.observation.status == self.check.expected

    @property
    def observed(self) -> int | str:
        """The status, or in words why there was none."""
        return self.observation.status if self.observation.status is not None else self.observation.failure


def run(
    checks: Sequence[Check],
    lab: RunningLab,
    *,
    only: str | None = None,
    progress: Callable[[str], None] = lambda _: None,
    probes: Mapping[str, Probe] = PROBES,
    obstacle: Obstacle = none_known,
) -> tuple[Verdict, ...]:
    """Sends all checks, several at once, and judges the answers; the order is that of the checks.

    only: a pattern with `*`, or a part, of the ids to run; InvalidInput where it matches none.
    probes: who observes which family of checks.
    obstacle: of the cells of a route that need what is in the way, one is sent: each of them takes as long as a gateway
    or the prober waits for somebody who is not there.  Only where that one is as it should be the others are sent, too.
    Raises NotReady where the lab's certificates are not there.
    """
    chosen = select(checks, only)

    def judge(numbered: Numbered) -> Verdict:
        number, check = numbered
        progress(f"{number} of {len(chosen)}: {check.id}")
        return Verdict(check, probes[check.family](check, lab, shown))

    numbered = tuple(enumerate(chosen, 1))
    with (
        credentials(chosen, lab, datetime.now(UTC)) as shown,
        ThreadPoolExecutor(WAITING_AT_ONCE) as patient,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        groups = behind_obstacles(numbered, obstacle)
        held = {number for group in groups for number, _ in group[1:]}
        sent = [one for one in numbered if one[0] not in held]
        waiting = {number for number, check in sent if check.waits or obstacle(check)}
        slow = patient.map(judge, (one for one in sent if one[0] in waiting))
        quick = tuple(pool.map(judge, (one for one in sent if one[0] not in waiting)))
        done = {id(verdict.check): verdict for verdict in (*quick, *slow)}
        for (_, first), *others in groups:
            scout = done[id(first)]
            rest = (
                patient.map(judge, others) if scout.ok else (not_sent(one, obstacle(one), scout) for _, one in others)
            )
            done |= {id(verdict.check): verdict for verdict in rest}
        return tuple(done[id(check)] for check in chosen)


def behind_obstacles(numbered: Iterable[Numbered], obstacle: Obstacle) -> list[list[Numbered]]:
    """Cells that need the same thing that is in the way, by the route that they ask for."""
    groups: dict[tuple[str, str, str], list[Numbered]] = {}
    for number, check in numbered:
        if check.expected in BY_THE_SERVICE and (words := obstacle(check)):
            groups.setdefault((check.host, check.route, words), []).append((number, check))
    return list(groups.values())


def not_sent(check: Check, words: str, scout: Verdict) -> Verdict:
    """scout: the one that was sent in the place of it; its request is what the gateways' logs tell of."""
    return Verdict(check, Observation(None, NOT_SENT, words, scout.observation.request_id, 0))


def first_wrong(
    checks: Sequence[Check],
    lab: RunningLab,
    shown: Mapping[Caller, Files],
    probes: Mapping[str, Probe] = PROBES,
    at_once: int = AT_ONCE,
) -> Verdict | None:
    """Sends checks in their order, several at once, until one is wrong; None where none is.

    shown: the certificates of all callers (probing.credentials).
    """
    enough = threading.Event()

    def judge(check: Check) -> Verdict | None:
        if enough.is_set():
            return None
        verdict = Verdict(check, probes[check.family](check, lab, shown))
        if not verdict.ok:
            enough.set()
        return verdict

    with ThreadPoolExecutor(at_once) as pool:
        try:
            verdicts = pool.map(judge, checks)
            return next((verdict for verdict in verdicts if verdict is not None and not verdict.ok), None)
        finally:
            enough.set()


def select(checks: Sequence[Check], only: str | None) -> tuple[Check, ...]:
    if only is None:
        return tuple(checks)
    chosen = tuple(check for check in checks if only in check.id or fnmatch.fnmatchcase(check.id, only))
    if not chosen:
        example = f"; an id looks like '{checks[0].id}'" if checks else "; the topology has no routes"
        raise InvalidInput(f"--only '{only}' matches no cell{example}")
    return chosen


def wait_until_served(
    lab: RunningLab,
    deadline: float,
    alarm: Callable[[], None],
    progress: Callable[[str], None],
    hosts: Collection[str] | None = None,
) -> None:
    """Returns when each route that should answer somebody with 200 has done so, through every gateway on its way.

    deadline: on the monotonic clock; alarm: called between attempts, raises where waiting is in vain; hosts: whose
    routes have to answer, if not all; routes that lead where no call can arrive in this run do not count.
    Raises NotReady with the routes and what they answered last; at once where an answer is a refusal.
    """
    waiting = first_successes(
        check
        for check in expectation.checks(lab.topology, lab.held_elsewhere)
        if (hosts is None or check.host in hosts) and not is_cut(lab, check)
    )
    pause = 0.05
    while waiting:
        verdicts = run(waiting, lab)
        for verdict in verdicts:
            if verdict.ok:
                progress(f"{verdict.check.host} {verdict.check.path}: answers")
        failed = [verdict for verdict in verdicts if not verdict.ok]
        final = [v for v in failed if v.observation.status is not None and v.observation.status not in PASSING]
        if final or (failed and time.monotonic() > deadline):
            lines = [f"{v.check.host} {v.check.path} answers {v.observed} instead of 200 to {v.check.caller}: "
                     f"{v.observation.detail.strip()[:200]}" for v in final or failed]  # fmt: skip
            raise NotReady("the lab runs, but does not answer as it should:\n" + "\n".join(lines))
        waiting = tuple(verdict.check for verdict in failed)
        if waiting:
            alarm()
            time.sleep(pause)
            pause = min(pause * 1.5, 1)


def is_cut(lab: RunningLab, check: Check) -> bool:
    """Whether a call on the way of a check cannot arrive in this run; where a host calls on, all of its calls count."""
    hosts = lab.topology.hosts
    route = hosts[check.host].routes.get(check.route)
    behind = [(check.host, route.host)] if route is not None and route.host else []
    seen: set[tuple[str, str]] = set()
    while behind:
        step = behind.pop()
        if step not in seen:
            seen.add(step)
            behind += [(step[1], route.host) for route in hosts[step[1]].routes.values() if route.host]
    return bool(seen & lab.cut)


def first_successes(checks: Iterable[Check]) -> tuple[Check, ...]:
    """One check for each route and path: the first that somebody passes."""
    found: dict[tuple[str, str], Check] = {}
    for check in checks:
        if check.expected == 200:
            found.setdefault((check.host, check.path), check)
    return tuple(found.values())
