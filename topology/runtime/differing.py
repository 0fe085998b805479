"""Where the files of a lab's hosts are not what the topology makes of them: somebody changed them, or has yet to."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from topology.generation import certificates, planning, rendering
from topology.generation.planning import Plan
from topology.runtime import machines, placement, stacks
from topology.runtime.lab import Lab
from topology.runtime.preparation import nginx_folder, surroundings_of


@dataclass(frozen=True)
class Difference:
    """One place.

    file: on this machine; line: where it begins, counted from 1, 0 where it is about the file as a whole; here: what
    stands there, empty for nothing; wanted: what should, likewise.
    """

    file: Path
    line: int
    here: str
    wanted: str


def of_host(lab: Lab, host: str) -> tuple[Difference, ...]:
    """The differences of one host, none where it was deployed to another machine.

    Raises NoEngine, or InvalidInput where the topology's own files cannot be read.
    """
    if host in placement.read(lab.placement):
        return ()
    found = machines.find(lab.topology, {})
    around = surroundings_of(lab, {}, found, found.reached)
    plan = planning.plan(lab.description, around)
    return (*configured(lab, host, plan, nginx_folder(lab, host, around[host])), *issued(lab, host, plan))


def configured(lab: Lab, host: str, plan: Plan, folder: str) -> Iterator[Difference]:
    """What differs in the gateway's configuration and in the Compose file."""
    below = lab.folder / host
    wanted = {f"{folder}/{name}": text for name, text in rendering.render_gateway(plan, plan.host(host)).items()}
    usual = planning.plan(lab.description)
    wanted["compose.yaml"] = rendering.render_host(usual, usual.host(host))["compose.yaml"]
    for path, text in wanted.items():
        file = below / path
        if not file.is_file():
            yield Difference(file, 0, "", "the file")
        else:
            yield from between(file, file.read_text(errors="replace"), text)


def between(file: Path, here: str, wanted: str) -> Iterator[Difference]:
    """The places in which a text is not what it should be; each told by its first line that says something."""
    own, other = here.splitlines(), wanted.splitlines()
    for kind, first, last, begin, end in difflib.SequenceMatcher(None, own, other, autojunk=False).get_opcodes():
        if kind != "equal":
            yield Difference(file, min(first, max(len(own) - 1, 0)) + 1, told(own[first:last]), told(other[begin:end]))


def told(lines: list[str]) -> str:
    return next((line.strip() for line in lines if line.strip() not in ("", "{", "}")), "")


def issued(lab: Lab, host: str, plan: Plan) -> Iterator[Difference]:
    """The certificates and revocation lists of a host that `up` would write anew."""
    existing = stacks.read_certificates(lab)
    folder = lab.certificates(host)
    for path, content in certificates.issue(
        plan.certificates, existing, datetime.now(UTC), stacks.layout(lab)
    ).files.items():
        file = lab.folder / path
        if file.is_relative_to(folder) and existing.get(path) != content:
            yield Difference(file, 0, "another content" if path in existing else "", "the content that belongs there")
