"""Text -> Topology: all faults at once, each with line and column and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from topology.description import catalog, positions, rules, shapes
from topology.description.model import ACME, SYSTEM, Kind, Topology
from topology.description.positions import Document
from topology.errors import Fault, InvalidInput, InvalidTopology


@dataclass(frozen=True)
class Description:
    """A topology, the kinds of services that it can name, and the file that its paths are relative to."""

    topology: Topology
    kinds: Mapping[str, Kind]
    file: Path


def load(path: Path) -> Description:
    """Reads a topology file.  Raises InvalidTopology with every fault, InvalidInput where there is no file to read."""
    try:
        with path.open("rb") as file:
            text = file.read(positions.LARGEST_FILE + 1)  # one more tells that it is too large
    except OSError as error:
        advice = {FileNotFoundError: "write one there, or name another file", IsADirectoryError: "name a file in it"}
        what = advice.get(type(error), "name a file that can be read")
        raise InvalidInput(f"{path}: cannot be read: {error.strerror}; {what}") from error
    return parse(text, path, catalog.kinds(path))


def parse(text: str | bytes, file: Path, kinds: Mapping[str, Kind]) -> Description:
    """A topology from its text.

    file: for messages, and the place that paths are relative to; kinds: what `kind` can name.
    Raises InvalidTopology with every fault of the text.
    """
    document = positions.read(text, str(file))
    faults = list(document.faults)
    if document.value is not None or not faults:
        told = {(fault.line, fault.column) for fault in faults}  # nothing more of what is no plain value
        faults += [one for one in field_faults(document, file, kinds) if (one.line, one.column) not in told]
    if faults:
        raise InvalidTopology(dict.fromkeys(faults))
    return Description(Topology.model_validate(resolved(document.value, kinds, file.parent)), kinds, file)


def field_faults(document: Document, file: Path, kinds: Mapping[str, Kind]) -> Iterator[Fault]:
    """What is wrong with the fields one by one, and then what is wrong between them, as far as that can be told."""
    yield from shapes.faults(document)
    if isinstance(document.value, dict):
        yield from rules.faults(document, kinds, file.parent)


def resolved(value: Mapping[str, Any], kinds: Mapping[str, Kind], folder: Path) -> dict[str, Any]:
    """The author's values with the defaults that depend on other values filled in."""
    authorities = value.get("authorities", {})
    first = next(iter(authorities), "")
    return {
        **value,
        "identities": {name: identity(value["name"], name, one) for name, one in value.get("identities", {}).items()},
        "hosts": {name: host(one, first, kinds, folder) for name, one in value["hosts"].items()},
    }


def identity(lab: str, name: str, value: Mapping[str, Any]) -> dict[str, Any]:
    return dict(value) if "certificate" in value else {"common_name": name, "san": (f"{name}@{lab}.test",), **value}


def host(value: Mapping[str, Any], first_authority: str, kinds: Mapping[str, Kind], folder: Path) -> dict[str, Any]:
    tls = value.get("tls", {})
    services = {name: service(one, kinds) for name, one in value.get("services", {}).items()}
    asked = value.get("client_certificates")
    return {
        **value,
        "tls": None if tls is False else {"authority": server_authority(tls, first_authority), **tls},
        "client_certificates": asked and {**asked, "authority": rules.listed(asked["authority"])},
        "services": services,
        "routes": {prefix: route(one, services, kinds, folder) for prefix, one in value.get("routes", {}).items()},
    }


def server_authority(tls: Mapping[str, Any], first: str) -> str:
    """Who vouches for a host: the first authority, unless its certificate comes from an ACME server."""
    if not tls.get("acme"):
        return first
    return SYSTEM if "directory" in tls else ACME


def service(value: Mapping[str, Any], kinds: Mapping[str, Kind]) -> dict[str, Any]:
    kind = kinds.get(value.get("kind", ""))
    return {**({"port": kind.port, "health": kind.health} if kind else {}), **value}


def route(
    value: Mapping[str, Any], services: Mapping[str, Any], kinds: Mapping[str, Kind], folder: Path
) -> dict[str, Any]:
    found = dict(value)
    if "files" in found:
        found["index"] = (folder / found["files"] / "index.html").is_file()
    if found.get("allow"):
        found["client_certificate"] = "required"
    if "service" in found and "strip_prefix" not in found:
        kind = kinds.get(services[found["service"]].get("kind", ""))
        found["strip_prefix"] = kind.strip_prefix and not kind.base_path if kind else True
    return found
