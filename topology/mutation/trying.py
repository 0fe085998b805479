"""Each change to a running lab, made, judged by the checks, and taken back, whatever happens."""

from __future__ import annotations

import dataclasses
import fnmatch
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache, partial
from types import FrameType
from typing import Any

from topology.errors import InvalidInput, NotReady
from topology.mutation import standing_in
from topology.mutation.catalogue import MUTATIONS, Mutation
from topology.mutation.change import Change, Scene
from topology.pki.issuing import Issuer
from topology.proof import checking, expectation, families, probing, readiness
from topology.proof.checking import Verdict
from topology.proof.expectation import Caller, Check
from topology.runtime import altering, stacks
from topology.runtime.altering import File, Refused
from topology.runtime.lab import Lab
from topology.runtime.progress import SILENT, Progress
from topology.runtime.running import RunningLab

CAUGHT, SURVIVED, REFUSED = "caught", "survived", "refused"

LOOKS_AGAIN, PAUSE_SECONDS = 3, 0.1
"""A cell counts as wrong where it is so again: one that was hit by a reload or a start is not."""

ENDING = (signal.SIGTERM, signal.SIGHUP)
"""Signals that end a process which does nothing about them: somebody's wish, and the end of its terminal."""

SETTLED_SECONDS = 15
"""How long a cell may take to be right again once the change is taken back."""


@dataclass(frozen=True)
class Attempt:
    """One change and what came of it.

    verdict: the first wrong cell; seconds: from the beginning of the change until it was seen; said: why nginx or the
    engine did not take the change.
    """

    mutation: Mutation
    host: str
    change: Change
    outcome: str
    verdict: Verdict | None
    seconds: float
    said: str = ""

    @property
    def id(self) -> str:
        return identify(self.mutation, self.host, self.change)


def identify(mutation: Mutation, host: str, change: Change) -> str:
    return f"{mutation.name} {host} {change.where}"


@dataclass(frozen=True)
class Report:
    """left_out: mutations for which a lab has no place."""

    attempts: tuple[Attempt, ...]
    left_out: tuple[Mutation, ...]

    def of(self, *outcomes: str) -> tuple[Attempt, ...]:
        return tuple(one for one in self.attempts if one.outcome in outcomes)


@dataclass
class Trial:
    """A lab that is green, and what is known of it.  It lives no longer than one `run`.

    changes: how many there are now, one within another.
    """

    lab: Lab
    running: RunningLab
    checks: Sequence[Check]
    shown: Mapping[Caller, probing.Files]
    progress: Progress
    now: datetime
    changes: int = 0

    @cached_property
    def scenes(self) -> Mapping[str, Scene]:
        return {host: self.scene(host) for host in self.lab.topology.hosts}

    def scene(self, host: str) -> Scene:
        found = altering.files(self.lab, host)
        return Scene(
            self.lab.topology, host, found.nginx, found.credentials, lru_cache(partial(issuers, self.running)),
            self.running.authorities, self.lab.project, self.now,
        )  # fmt: skip

    @cached_property
    def values(self) -> Mapping[str, Mapping[str, str]]:
        return altering.values(self.lab, self.running)

    @cached_property
    def chosen_ports(self) -> bool:
        return altering.has_chosen_ports(self.lab)

    def first_wrong(self, checks: Sequence[Check], at_once: int = checking.AT_ONCE) -> Verdict | None:
        return checking.first_wrong(checks, self.running, self.shown, families.PROBES, at_once)


def issuers(running: RunningLab, name: str) -> tuple[Issuer, Issuer]:
    """Who signs an authority's leaves, and its root."""
    leaves = probing.authority(running, name)
    if not running.topology.authorities[name].intermediate:
        return leaves, leaves
    return leaves, probing.root(running, name)


def run(lab: Lab, *, only: str | None = None, once: bool = False, progress: Progress = SILENT) -> Report:
    """Makes every change that a lab has a place for, or those whose id matches, one after the other.

    once: of each kind, the first alone.
    Raises InvalidInput where none matches; NotReady where the lab is down, not whole, or red before anything is
    changed, and where it is not as it was afterwards.  An interruption is passed on once the lab is as it was.
    """
    with as_interruption(*ENDING):
        put_back_what_was_left(lab, progress)
        with stacks.exclusively(lab, progress):
            return run_alone(lab, only=only, once=once, progress=progress)


def put_back_what_was_left(lab: Lab, progress: Progress) -> None:
    """Brings up again what a run that was killed has left changed."""
    with stacks.exclusively(lab, progress):  # a run that goes on has left word, too
        chosen_ports = altering.word_left(lab)
    if chosen_ports is not None:
        progress.step("an earlier run was killed while it had the lab changed: bringing it up as it was")
        readiness.bring_up(lab, choose_ports=chosen_ports, progress=progress)


def run_alone(lab: Lab, *, only: str | None, once: bool, progress: Progress) -> Report:
    """`run`, while nobody else works on the lab."""
    running = altering.ready(lab)
    checks = families.checks(lab.topology, running.held_elsewhere)
    now = datetime.now(UTC)
    with probing.credentials(checks, running, now) as shown:
        trial = Trial(lab, running, checks, shown, progress, now)
        chosen = select(trial, only, once=once)
        progress.step(f"{len(checks)} cells of the lab as it is")
        insist_on_green(trial, "before anything was changed; `mtls-lab check --all` says more")
        attempts = []
        for number, (mutation, host, change) in enumerate(chosen, 1):
            progress.detail(f"{number} of {len(chosen)}: {identify(mutation, host, change)}")
            attempts.append(attempt(trial, mutation, host, change))
            progress.step(f"{number} of {len(chosen)}: {told(attempts[-1])}")
        insist_on_green(trial, "after everything was put back; run `mtls-lab up`")
    made = {mutation.name for mutation, _, _ in places(trial)}
    return Report(tuple(attempts), tuple(one for one in MUTATIONS if one.name not in made))


def told(one: Attempt) -> str:
    return f"{one.id}: {one.outcome} ({one.seconds:.1f} s)"


Place = tuple[Mutation, str, Change]


def places(trial: Trial) -> Iterator[Place]:
    for mutation in MUTATIONS:
        for host, scene in trial.scenes.items():
            for change in mutation.make(scene):
                yield mutation, host, change


def select(trial: Trial, only: str | None, *, once: bool) -> list[Place]:
    every = list(places(trial))
    chosen = [
        one for one in every
        if only is None or only in identify(*one) or fnmatch.fnmatchcase(identify(*one), only)
    ]  # fmt: skip
    if not chosen:
        raise InvalidInput(f"--only '{only}' matches no mutation of this lab; an id looks like '{identify(*every[0])}'")
    return list({one[0].name: one for one in reversed(chosen)}.values())[::-1] if once else chosen


def insist_on_green(trial: Trial, when: str) -> None:
    quick = [check for check in trial.checks if not check.waits]
    slow = [check for check in trial.checks if check.waits]
    wrong = trial.first_wrong(quick) or trial.first_wrong(slow, checking.WAITING_AT_ONCE)
    if wrong is not None and confirmed(trial, wrong) is not None:
        raise NotReady(f"the lab is red {when}: {wrong.check.id}: got {wrong.observed}. {wrong.check.why}")


# One change


def attempt(trial: Trial, mutation: Mutation, host: str, change: Change) -> Attempt:
    began = time.monotonic()
    made = partial(Attempt, mutation, host, change)
    try:
        with altered(trial, host, change):
            seen = judge(trial, mutation, host, change)
            seconds = time.monotonic() - began
    except Refused as error:
        return made(REFUSED, None, time.monotonic() - began, str(error))
    if seen is None:
        return made(SURVIVED, None, seconds)
    verdict, look = seen
    insist_on_recovery(look, verdict, made(CAUGHT, verdict, seconds).id)
    return made(CAUGHT, verdict, seconds)


Look = Callable[[], Verdict]
"""Sends the same check again."""


def judge(trial: Trial, mutation: Mutation, host: str, change: Change) -> tuple[Verdict, Look] | None:
    """The first cell that is wrong and stays so, and how to look again; None where there is none."""
    left = ordered(trial.checks, mutation, host, change)
    first = [check for check in left if is_expected(check, mutation)]
    for some in (first, [check for check in left if check not in set(first)]):
        if some is not first and mutation.stand_in and (seen := meet_stand_ins(trial, host, change)):
            return seen
        if some is not first and change.service:
            altering.wait_until_healthy(trial.lab, host)
        remaining = some
        while remaining:
            verdict = trial.first_wrong(remaining)
            if verdict is None:
                break
            if confirmed(trial, verdict) is not None:
                return verdict, partial(look_again, trial, verdict.check)
            remaining = remaining[remaining.index(verdict.check) + 1 :]
    return None


def is_expected(check: Check, mutation: Mutation) -> bool:
    return rank(check, mutation) < len(mutation.seen_by)


def rank(check: Check, mutation: Mutation) -> int:
    name = f"{check.family}: {check.id}"
    fits = (n for n, pattern in enumerate(mutation.seen_by) if fnmatch.fnmatchcase(name, pattern))
    return next(fits, len(mutation.seen_by))


def ordered(checks: Sequence[Check], mutation: Mutation, host: str, change: Change) -> list[Check]:
    """Those first that are likely to see a change; those last that take their time."""
    where = set(change.where.split())

    def distance(check: Check) -> tuple[bool, int, bool, bool]:
        return (check.waits, rank(check, mutation), check.host != host, check.route not in where)

    return sorted(checks, key=distance)


def look_again(trial: Trial, check: Check) -> Verdict:
    return Verdict(check, families.PROBES[check.family](check, trial.running, trial.shown))


def confirmed(trial: Trial, verdict: Verdict) -> Verdict | None:
    """The verdict, where the same check is wrong once more."""
    for _ in range(LOOKS_AGAIN):
        time.sleep(PAUSE_SECONDS)
        if not look_again(trial, verdict.check).ok:
            return verdict
    return None


def insist_on_recovery(look: Look, verdict: Verdict, name: str) -> None:
    """What was red because of the change is green without it."""
    deadline = time.monotonic() + SETTLED_SECONDS
    while not (found := look()).ok:
        if time.monotonic() > deadline:
            raise NotReady(
                f"{name}: {verdict.check.id} is still wrong ({found.observed}) though the change was taken back; "
                "run `mtls-lab up`"
            )
        time.sleep(PAUSE_SECONDS)


# Remote hosts that are not what they should be


def meet_stand_ins(trial: Trial, host: str, change: Change) -> tuple[Verdict, Look] | None:
    """The first bad certificate of a remote host with which a call through a gateway succeeds all the same.

    Those first that have to do with the place of the change.
    """
    where = change.where.split()
    for check in sorted(calls(trial, host), key=lambda one: one.route not in where):
        remote = trial.scenes[check.via]
        every = standing_in.kinds(remote)
        for kind in sorted(every, key=lambda one: one.removeprefix(standing_in.OF) not in where):
            disguise = Change(kind, nginx=standing_in.disguised(remote, every[kind](remote)))
            meet = partial(behind, trial, check, disguise)
            if not (verdict := meet()).ok:
                return verdict, meet
    return None


def calls(trial: Trial, host: str) -> list[Check]:
    """One call for each route to another host that the caller gets through to the end."""
    found: dict[str, Check] = {}
    for check in expectation.checks(trial.lab.topology, trial.running.held_elsewhere):
        if check.host == host and check.via in trial.scenes and check.shown.identity is None and own_word(trial, check):
            found.setdefault(check.route, check)
    return list(found.values())


def own_word(trial: Trial, check: Check) -> bool:
    """Whether what comes back is the remote host's word, and not this gateway's own."""
    host = trial.lab.topology.hosts[check.host]
    return expectation.at_gateway(trial.lab.topology, host, host.routes[check.route], check.shown).passed


def behind(trial: Trial, check: Check, disguise: Change) -> Verdict:
    """What a call gets while the remote host shows a bad certificate: 502, if anybody looks at it."""
    expected = dataclasses.replace(
        check, expected=502, request=disguise.where,
        why="A remote host whose certificate fails verification gets no request: 502.",
    )  # fmt: skip
    with altered(trial, check.via, disguise):
        return Verdict(expected, probing.probe(check, trial.running, trial.shown))


# Making a change, and taking it back


@contextmanager
def altered(trial: Trial, host: str, change: Change) -> Iterator[None]:
    """The lab with one change, as it was afterwards.  Raises Refused where nginx or the engine do not take it."""
    if change.service:
        with restarted(trial, host, change):
            yield
    else:
        with rewritten(trial, host, change):
            yield


def leave_word(trial: Trial) -> None:
    """So that the next run, or `up`, puts back what this one can not, should it be killed."""
    trial.changes += 1
    altering.leave_word(trial.lab, chosen_ports=trial.chosen_ports)


def take_word_back(trial: Trial) -> None:
    trial.changes -= 1
    if not trial.changes:
        stacks.forget_alteration(trial.lab)


@contextmanager
def rewritten(trial: Trial, host: str, change: Change) -> Iterator[None]:
    """A gateway that has read other files."""
    found = altering.files(trial.lab, host)
    wanted = [
        *(File(found.configuration / path, text.encode(), 0o644) for path, text in change.nginx.items()),
        *(File(found.certificates / path, *content) for path, content in change.certificates.items()),
    ]
    before = altering.read([one.path for one in wanted])
    leave_word(trial)
    stamp = altering.take_stamp(trial.lab, host)
    try:
        altering.write(wanted)
        altering.take_up(trial.lab, host)
        yield
    finally:
        with undisturbed():
            altering.write(before)
            altering.take_up(trial.lab, host)
            altering.put_stamp(trial.lab, host, stamp)
            take_word_back(trial)


@contextmanager
def restarted(trial: Trial, host: str, change: Change) -> Iterator[None]:
    """A container with other settings."""
    networks = f"networks: {{{change.networks}}}\n" if change.networks else ""
    override = f"services: {{{change.service}: {{{change.override}}}}}\n{networks}"
    restart = partial(altering.restart, trial.lab, host, change.service, trial.values[host])
    leave_word(trial)
    try:
        try:
            restart(override)
        except NotReady as error:
            raise Refused(str(error)) from error
        yield
    finally:
        with undisturbed():
            restart()
            if not altering.wait_until_healthy(trial.lab, host):
                raise NotReady(f"{host}: does not get healthy again; run `mtls-lab up`")
            take_word_back(trial)


# Interruptions


@contextmanager
def as_interruption(*numbers: signal.Signals) -> Iterator[None]:
    """Signals that count as Ctrl-C, unless whoever started this has them ignored (nohup)."""

    def interrupt(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    heard = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Whoever interrupts meanwhile has to wait until this is done."""
    asked: list[int] = []

    def remember(number: int, _: FrameType | None) -> None:
        asked.append(number)

    before: dict[signal.Signals, Any] = {
        number: signal.signal(number, remember)
        for number in (signal.SIGINT, *ENDING)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if asked:
        raise KeyboardInterrupt
