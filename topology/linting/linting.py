"""Gateways -> findings."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from topology.description.model import Topology
from topology.description.wording import suggestion
from topology.errors import InvalidInput
from topology.linting.catalog import RULES
from topology.linting.containers import container
from topology.linting.findings import Finding, Rule
from topology.linting.gateway import Gateway
from topology.nginx.reading import Configuration, Mounts, read

SERVICE = "gateway"
PREFIX = "/etc/nginx"


def gateways(configurations: Sequence[Configuration], now: datetime) -> tuple[Gateway, ...]:
    """Configurations of any origin, each with the others as its neighbours."""
    return neighbours(Gateway(one, now) for one in configurations)


def of_lab(
    topology: Topology, folder: Path, suffix: str, now: datetime, user: int | None = None
) -> tuple[Gateway, ...]:
    """The gateways of a lab, as they lie on disk.

    folder: the lab's; suffix: of an instance's folders, empty for the lab itself; user: who runs the gateways.
    Raises Unreadable, with file and line.
    """
    return neighbours(
        Gateway(
            configuration(own_or_shared(folder / name, suffix), folder / name / f"certificates{suffix}"),
            now,
            declared=host,
            container=container(folder / name / "compose.yaml", SERVICE, user),
        )
        for name, host in topology.hosts.items()
    )


def own_or_shared(folder: Path, suffix: str) -> Path:
    """An instance's configuration where it needed one of its own, such as other addresses; else what is checked in."""
    own = folder / f"nginx{suffix}"
    return own if own.is_dir() else folder / "nginx"


def configuration(nginx: Path, certificates: Path) -> Configuration:
    """One gateway, as its container has it."""
    folders = {f"{PREFIX}/lab": nginx, f"{PREFIX}/certificates": certificates}
    return read(nginx / "nginx.conf", prefix=PREFIX, mounts=Mounts.of(folders, strict=True))


def neighbours(found: Iterable[Gateway]) -> tuple[Gateway, ...]:
    """Each with the configurations of all others."""
    every = tuple(found)
    return tuple(
        replace(one, neighbours=tuple(other.configuration for other in every if other is not one)) for one in every
    )


def lint(found: Iterable[Gateway], ignored: Collection[str] = ()) -> tuple[Finding, ...]:
    """What the rules find, by file and line, each thing once.

    ignored: names of rules that are left out.  Raises InvalidInput for one that there is not.
    """
    for name in ignored:
        if name not in (known := [rule.name for rule in RULES]):
            raise InvalidInput(f"--ignore {name}: no such rule; {suggestion(name, known)}")
    rules = [rule for rule in RULES if rule.name not in ignored]
    findings = dict.fromkeys(one for gateway in found for rule in rules for one in judged(rule, gateway))
    return tuple(sorted(findings, key=lambda one: (str(one.place.file), one.place.line, one.rule)))


def judged(rule: Rule, gateway: Gateway) -> Iterable[Finding]:
    for one in rule.look(gateway):
        yield Finding(rule.name, one.level or rule.level, one.place, one.message, rule.why, rule.fix)
