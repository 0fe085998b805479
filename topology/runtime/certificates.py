"""A lab's certificates on disk, apart from `up`: looked at, issued, renewed, signed; a running lab takes them up.

None of it needs an engine.  Where one answers and the lab runs, its gateways are reloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path

from topology.errors import InvalidInput
from topology.generation import certificates, exporting, inventory, planning, rendering, signing, subjects, writing
from topology.runtime import looking, machines, placement, stacks
from topology.runtime.lab import Lab, host_of
from topology.runtime.preparation import surroundings_of
from topology.runtime.progress import SILENT, Progress


def look(lab: Lab, now: datetime) -> tuple[inventory.Entry, ...]:
    """Every certificate and revocation list of a lab, there or missing."""
    wanted = planning.wanted_certificates(lab.description)
    return inventory.inventory(wanted, stacks.read_certificates(lab), now, stacks.layout(lab))


def issue(lab: Lab, renew: Collection[str] = (), progress: Progress = SILENT) -> tuple[str, ...]:
    """Issues what is missing, due, or no longer what the topology says; returns what that was, in sentences.

    renew: names of identities and hosts that get a new certificate in any case.
    """
    wanted = planning.wanted_certificates(lab.description)
    places = [subjects.renewable(wanted, name) for name in renew]
    with stacks.exclusively(lab, progress):
        found = stacks.read_certificates(lab)
        issued = certificates.issue(wanted, found, datetime.now(UTC), stacks.layout(lab), places)
        keep(lab, issued.files, progress)
    return issued.changes


def sign(
    lab: Lab, file: Path, name: str, to: Path | None = None, *, force: bool = False, progress: Progress = SILENT
) -> signing.Signed:
    """Signs a request for an identity or a host, keeps what was signed, and writes it to a file where one is named.

    Raises InvalidInput where it is refused: then nothing was written.
    """
    wanted = planning.wanted_certificates(lab.description)
    admitted = signing.admit(wanted, read_request(file), name, str(file))
    if to is not None:
        refuse_overwriting(to, lambda content: force or signing.is_earlier(content, admitted, wanted.lab))
    with stacks.exclusively(lab, progress):
        found = stacks.read_certificates(lab)
        signed = signing.sign(wanted, admitted, found, datetime.now(UTC), stacks.layout(lab))
        keep(lab, signed.files, progress)
    for line in signed.changes:
        progress.step(line)
    if to is not None:
        writing.write(to, signed.certificate)
    return signed


def read_request(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(signing.LARGEST + 1)
    except OSError as error:
        raise InvalidInput(f"{file}: cannot be read: {error.strerror}; name a file with a request") from error


def export(lab: Lab, name: str, kind: exporting.Format, password: str | None) -> exporting.Exported:
    """A certificate in a format for other programs.  password: None for the default one."""
    wanted = planning.wanted_certificates(lab.description)
    return exporting.export(wanted, name, kind, password, stacks.read_certificates(lab), stacks.layout(lab))


def deliver(file: Path, exported: exporting.Exported, *, force: bool) -> None:
    """Writes an export.  InvalidInput where another file lies there, unless force is set."""
    refuse_overwriting(file, lambda content: force or exporting.is_earlier(content, exported))
    writing.write(file, exported.content, 0o600 if exported.secret else 0o644)


def refuse_overwriting(file: Path, may_go: Callable[[bytes], bool]) -> None:
    """InvalidInput where a file is there that may not be replaced.  may_go: whether one with that content may.

    A device or pipe, such as /dev/stdout, never may: a file would lie in its place then, for everybody.
    """
    if file.is_dir():
        raise InvalidInput(f"{file}: is a folder; name a file in it")
    if file.exists() and not file.is_file():
        raise InvalidInput(f"{file}: is a device or a pipe, which a file would take the place of; name a file")
    try:
        replaceable = not file.exists() or may_go(file.read_bytes())
    except OSError:
        replaceable = False
    if not replaceable:
        raise InvalidInput(f"{file}: is there and nothing that this command wrote; name another, or add --force")


def keep(lab: Lab, files: Mapping[str, bytes], progress: Progress) -> None:
    """Writes a lab's certificates, and before them the file that keeps keys out of git."""
    if not (lab.folder / ".gitignore").is_file():
        writing.write(lab.folder / ".gitignore", rendering.IGNORED.encode())
    stacks.store_certificates(lab, files, progress)


def take_up(lab: Lab, progress: Progress = SILENT) -> bool:
    """Reloads the gateways of the running lab whose certificates changed; False where it does not run.

    A deployed host serves what was carried to its machine, and that takes an `up`.
    """
    places = placement.read(lab.placement)
    found = machines.find(lab.topology, places)
    gateways = {
        host_of(container.labels): container
        for container in looking.everywhere(lab, found)
        if container.labels.get("mtls-lab.service") == "gateway"
        and container.status == "running"
        and looking.folder_of(container) == lab.folder / host_of(container.labels)
    }
    here = [host for host in gateways if host not in places]
    around = surroundings_of(
        lab, places, found, [machine for machine in found.reached if set(machine.hosts) & set(here)]
    )
    for host in here:
        stacks.refresh_gateway(gateways[host], lab, host, around[host], {gateways[host].id}, progress)
    for host in gateways.keys() & places.keys():
        progress.step(f"{host} is deployed: `mtls-lab up` carries new certificates to its machine")
    return bool(gateways)
