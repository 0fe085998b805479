"""What a host needs, carried to the disk of another engine: its folders as volumes.

A remote engine sees its own disk alone.  Each folder that Compose would mount becomes a volume there, filled through
the API by way of a container that never starts: owners and modes survive, and nothing but the host's own folder
travels.  A volume's name carries a hash of what is in it, so a volume in use never changes.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import tarfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from topology.errors import NotReady
from topology.generation import writing
from topology.generation.planning import SERVICE_CERTIFICATES, UNPRIVILEGED_USER, HostPlan
from topology.generation.rendering import ShippedMount

if TYPE_CHECKING:
    from docker import DockerClient

HOLD = "/hold"
"""Where volumes lie in the container that they are filled through."""

SHIPPED = {"mtls-lab.volume": "shipped"}
"""Tells a volume that can be filled again from others of a lab."""

Content = Mapping[str, tuple[bytes, int]]
"""Path below a folder -> content and mode; a path that ends in a slash is an empty folder."""


@dataclass(frozen=True)
class Parcel:
    """A folder of this disk on its way into a volume.  key: its name in the Compose override."""

    service: str
    key: str
    target: str
    content: Content


def parcels(plan: HostPlan, nginx: Mapping[str, str], folder: Path, certificates: Path) -> tuple[Parcel, ...]:
    """Everything that a host's Compose file mounts.

    nginx: the gateway's configuration in this run; folder: the host's own, certificates: the one with this run's.
    Services' own certificates are hidden from the gateway, which passes their connections on untouched.
    """
    own = read(certificates)
    below = {f"services/{service.name}/": service.name for service in plan.services if service.certificates}
    gateway = {path: one for path, one in own.items() if not path.startswith("services/")}
    if below:
        gateway["services/"] = (b"", 0o755)
    found = [
        Parcel("gateway", "nginx", "/etc/nginx/lab", {path: (text.encode(), 0o644) for path, text in nginx.items()}),
        Parcel("gateway", "certificates", "/etc/nginx/certificates", gateway),
    ]
    if plan.has_pages:
        found.append(Parcel("gateway", "pages", "/srv/pages", read(folder / "pages")))
    if plan.has_files:
        found.append(Parcel("gateway", "files", "/srv/files", read(folder / "files")))
    for prefix, service in below.items():
        content = {path.removeprefix(prefix): one for path, one in own.items() if path.startswith(prefix)}
        found.append(Parcel(service, f"tls.{service}", SERVICE_CERTIFICATES, content))
    return tuple(found)


def read(folder: Path) -> Content:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mode & 0o777)
        for path in writing.files_below(folder)
    }


def mounts(project: str, sent: Collection[Parcel]) -> tuple[ShippedMount, ...]:
    return tuple(ShippedMount(p.service, p.key, f"{project}_{p.key}_{fingerprint(p.content)}", p.target) for p in sent)


def fingerprint(content: Content) -> str:
    digest = hashlib.sha256()
    for path, (data, mode) in sorted(content.items()):
        digest.update(f"{path}\0{mode:o}\0".encode() + hashlib.sha256(data).digest())
    return digest.hexdigest()[:12]


def archive(content: Content) -> bytes:
    """A tar of a folder.  Everything belongs to the containers' user: it alone reads the keys."""
    folders = {
        f"{parent}/" for path in content for parent in Path(path.rstrip("/")).parents if str(parent) != "."
    }  # fmt: skip
    entries: dict[str, tuple[bytes, int]] = dict.fromkeys(folders, (b"", 493)) | dict(content)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, (data, mode) in sorted(entries.items()):
            entry = tarfile.TarInfo(path.rstrip("/"))
            entry.type = tarfile.DIRTYPE if path.endswith("/") else tarfile.REGTYPE
            entry.mode, entry.size = mode, len(data)
            entry.uid = entry.gid = UNPRIVILEGED_USER
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def ship(
    client: DockerClient, image: str, sent: Mapping[str, Content], labels: Mapping[str, str], in_use: Collection[str]
) -> None:
    """Fills volumes: name -> content.  image: any that the engine has; in_use: volumes that are whole, and stay.

    Raises NotReady where the engine does not take them.
    """
    from docker.errors import APIError
    from docker.types import Mount

    missing = {name: content for name, content in sent.items() if name not in in_use}
    if not missing:
        return
    held = {name: f"{HOLD}/{number}" for number, name in enumerate(missing)}
    try:
        for name in missing:
            client.volumes.create(name, labels={**labels, **SHIPPED})
        holder = client.containers.create(
            image, network_mode="none", labels=dict(labels),
            mounts=[Mount(target, name, type="volume") for name, target in held.items()],
        )  # fmt: skip
        try:
            for name, content in missing.items():
                holder.put_archive(held[name], archive(content))
        finally:
            holder.remove(force=True)
    except APIError as error:
        raise NotReady(f"the host's folder cannot be carried over: {error.explanation or error}") from error


def volumes_in_use(client: DockerClient, label_filters: list[str]) -> set[str]:
    """The volumes that containers of a lab have mounted."""
    found = client.containers.list(all=True, filters={"label": label_filters}, ignore_removed=True)
    return {str(mount["Name"]) for one in found for mount in one.attrs["Mounts"] if mount.get("Type") == "volume"}


def remove_unused(client: DockerClient, label_filters: list[str]) -> None:
    """Takes away what was carried over for a lab and no container has any more, and with it keys that left the lab."""
    from docker.errors import APIError

    shipped = [f"{name}={value}" for name, value in SHIPPED.items()]
    for volume in client.volumes.list(filters={"label": [*label_filters, *shipped]}):
        with contextlib.suppress(APIError):  # in use, or gone already
            volume.remove()


def routing_table(client: DockerClient, image: str) -> str:
    """The routes of an engine's machine, as Linux writes them: a network of ours over one of them would cut it off."""
    from docker.errors import DockerException

    try:
        told = client.containers.run(
            image, ["cat", "/proc/net/route"], network_mode="host", remove=True, read_only=True, cap_drop=["ALL"]
        )
    except DockerException:
        return ""  # an engine that does not let us look; its own check of overlaps is left
    return bytes(told).decode(errors="replace")
