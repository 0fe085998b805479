"""A lab's authorities in the trust stores of this machine: what has to change is said first, then done, store by store.

Nothing is changed while anything speaks against it in any of the stores.
"""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from topology.errors import InvalidInput, LabError
from topology.machine import java_store, nss_store, system_store
from topology.machine.keychain import Keychain
from topology.machine.labels import Anchor, Label
from topology.machine.processes import ToolFailed, User
from topology.machine.stores import Entry, Store

KINDS = ("system", "nss", "java")


class Unfinished(LabError):
    """Some stores were changed, another one could not be."""

    exit_code = 1


@dataclass(frozen=True)
class Plan:
    """What is to be done in one store.

    add: authorities that are not in it yet; remove: entries of ours, by name; there: authorities that it trusts
    already, with the name of the entry.
    """

    store: Store
    add: tuple[Anchor, ...] = ()
    remove: tuple[Label, ...] = ()
    there: tuple[tuple[Anchor, str], ...] = ()

    @property
    def changes(self) -> bool:
        return bool(self.add or self.remove)


# Which stores


def find(kinds: Collection[str], *, create: bool) -> tuple[Store, ...]:
    """The stores of some kinds, which have to be there; without kinds, all that are there.

    create: whether Chromium's database may still have to be made, where it was asked for by name.
    Raises InvalidInput where a kind is unknown, or has no store here.
    """
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise InvalidInput(f"--store {unknown[0]}: the stores are {', '.join(KINDS)}")
    finders: dict[str, Callable[[], Sequence[Store | None]]] = {
        "system": lambda: [system(required="system" in kinds)],
        "nss": lambda: nss_store.required(person()) if create and "nss" in kinds else nss_store.find(person()),
        "java": lambda: [java(required="java" in kinds)],
    }
    found, problems = [], []
    for kind in [kind for kind in KINDS if not kinds or kind in kinds]:
        try:
            found += [store for store in finders[kind]() if store is not None]
        except LabError as error:
            problems.append(str(error))
    refuse(problems)
    return tuple(found)


def system(*, required: bool) -> Store | None:
    if sys.platform == "darwin":
        return Keychain()
    return system_store.required() if required else system_store.find()


def java(*, required: bool) -> Store | None:
    """None also where this Java follows the system's store anyway."""
    if required:
        return java_store.required()
    store = java_store.find()
    return None if store and store.follows_the_system else store


def person() -> User:
    """Whose browsers are meant: under sudo those of whoever called it, not root's."""
    caller = os.environ.get("SUDO_USER")
    if os.geteuid() == 0 and caller and caller != "root":
        try:
            entry = pwd.getpwnam(caller)
        except KeyError as error:
            raise InvalidInput(f"SUDO_USER={caller}: this machine knows no such user") from error
        return User(Path(entry.pw_dir), (entry.pw_uid, entry.pw_gid))
    return User(Path.home())


# What to do in them


def plan_install(stores: Sequence[Store], anchors: Sequence[Anchor]) -> tuple[Plan, ...]:
    """What has to be done for all stores to trust all authorities; what they replace goes.

    Raises InvalidInput, with all that speaks against it, where a store is damaged, a tool is missing, the caller may
    not write, or somebody else's authority has the name of one of these.
    """
    return planned(stores, lambda store: plan_one(store, anchors, store.entries()))


def plan_one(store: Store, anchors: Sequence[Anchor], entries: Sequence[Entry]) -> Plan:
    add: list[Anchor] = []
    there: list[tuple[Anchor, str]] = []
    remove: dict[Label, None] = {}
    foreign: list[str] = []
    for anchor in anchors:
        subject = Entry("", anchor.der).subject
        for entry in entries:
            label = entry.label
            if entry.der == anchor.der and entry.trusted:
                there.append((anchor, entry.name))
            elif label and label.replaces(anchor.label) and label not in {one.label for one in anchors}:
                remove[label] = None
            elif (reason := objection(entry, anchor, subject)) is not None:
                foreign.append(f"{store.place}: {reason}")
        if anchor not in {one for one, _ in there}:
            add.append(anchor)
    if foreign:
        raise InvalidInput("\n".join(dict.fromkeys(foreign)))
    return Plan(store, tuple(add), tuple(remove), tuple(dict(reversed(there)).items()))


def objection(entry: Entry, anchor: Anchor, subject: bytes) -> str | None:
    """Why an authority cannot be put beside an entry that is not ours; None where nothing speaks against it.

    Of two authorities of one name in a store it is up to the client which one it takes, and shows as the issuer.
    """
    if entry.label or entry.is_copy_of_ours:
        return None
    if entry.name == str(anchor.label):
        return f"the entry {entry.name} holds somebody else's certificate; remove it by hand first"
    if entry.der == anchor.der:
        return f"the authority is there as '{entry.name}', but not trusted; remove that by hand first"
    if entry.subject and entry.subject == subject:
        name = anchor.certificate.subject.rfc4514_string()
        return f"another authority called {name} is there as '{entry.name}', and is not ours; remove it by hand first"
    return None


def plan_uninstall(
    stores: Sequence[Store], lab: str, instance: str | None, authorities: Collection[str]
) -> tuple[Plan, ...]:
    """What has to be done for no store to hold anything of a lab's instance, also what it no longer knows itself.

    authorities: only those; all, where none is named.
    """

    def plan(store: Store) -> Plan:
        labels = [entry.label for entry in store.entries()]
        return Plan(
            store,
            remove=tuple(
                dict.fromkeys(
                    label
                    for label in labels
                    if label
                    and (label.lab, label.instance) == (lab, instance)
                    and (not authorities or label.authority in authorities)
                )
            ),
        )

    return planned(stores, plan)


def planned(stores: Sequence[Store], plan: Callable[[Store], Plan]) -> tuple[Plan, ...]:
    plans, problems = [], []
    for store in stores:
        try:
            made = plan(store)
            if made.changes:
                store.refuse_unwritable()
            plans.append(made)
        except LabError as error:
            problems.append(str(error))
    refuse(problems)
    return tuple(plans)


def refuse(problems: Sequence[str]) -> None:
    if problems:
        advice = "nothing was changed; to leave a store out, name the others (--store system, nss, java)"
        raise InvalidInput("\n".join([*problems, advice]))


def carry_out(plans: Sequence[Plan], done: Callable[[Plan], None]) -> None:
    """Changes the stores in turn, and tells of each that is changed.

    Raises Unfinished at the first that cannot be changed, with what was done and what was not.
    """
    wanted = [plan for plan in plans if plan.changes]
    for number, plan in enumerate(wanted):
        try:
            plan.store.change(plan.add, [str(label) for label in plan.remove])
            see_changed(plan)
        except LabError as error:
            changed = ", ".join(one.store.place for one in wanted[:number]) or "none"
            left = ", ".join(one.store.place for one in wanted[number:])
            raise Unfinished(
                f"{plan.store.place}: could not be changed: {error}\nchanged: {changed}; not changed: {left}"
            ) from error
        done(plan)


def see_changed(plan: Plan) -> None:
    """Looks again: that a tool ended without an error is not yet a store that is as it should be."""
    entries = plan.store.entries()
    trusted = {entry.name for entry in entries if entry.trusted}
    there = {entry.name for entry in entries}
    wrong = [f"{one.label} is not trusted" for one in plan.add if str(one.label) not in trusted]
    wrong += [f"{label} is still there" for label in plan.remove if str(label) in there]
    if wrong:
        raise ToolFailed(f"its tools ended without an error, but {'; '.join(wrong)}")
