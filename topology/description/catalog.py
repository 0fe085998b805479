"""services/*/service.yaml -> kinds.  A new kind of service is a folder; nothing else has to be told."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import ValidationError

from topology.description import positions
from topology.description.model import Kind
from topology.errors import Fault, InvalidTopology

FIELDS = ("port", "health", "base_path", "strip_prefix")


def kinds(topology_file: Path) -> Mapping[str, Kind]:
    """name -> kind: those in the nearest `services/` beside or above a topology, then those shipped with the package.

    Raises InvalidTopology where a service.yaml is wrong.
    """
    nearest = next((p / "services" for p in topology_file.absolute().parents if (p / "services").is_dir()), None)
    folders = [shipped_services(), *([nearest] if nearest else [])]
    found = {file.parent.name: file for folder in folders for file in sorted(folder.glob("*/service.yaml"))}
    return {name: load(file) for name, file in found.items()}


def shipped_services() -> Path:
    """The services that come with the tool: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "services"
    return installed if installed.is_dir() else package.parent / "services"


def load(file: Path) -> Kind:
    """One service.yaml; InvalidTopology with all that is wrong with it."""
    document = positions.read(file.read_bytes(), str(file))
    faults = list(document.faults)
    if not faults and not isinstance(document.value, dict):
        faults.append(document.fault((), "must be a mapping with port and health"))
    if not (file.parent / "Dockerfile").is_file():
        faults.append(document.fault((), "there is no Dockerfile beside it"))
    if faults:
        raise InvalidTopology(faults)
    try:
        return Kind(name=file.parent.name, folder=file.parent, **document.value)
    except ValidationError as error:
        raise InvalidTopology(kind_faults(document, error)) from error
    except TypeError as error:
        raise InvalidTopology([document.fault((), "name and folder are the folder's own; remove them")]) from error


def kind_faults(document: positions.Document, error: ValidationError) -> Iterable[Fault]:
    for detail in error.errors():
        path = tuple(detail["loc"])
        if detail["type"] == "extra_forbidden":
            yield document.fault(path, "unknown field; " + suggestion(str(path[-1]), FIELDS))
        elif detail["type"] == "missing":
            yield document.fault(path, "is missing; a kind says its port and its health path")
        else:
            yield document.fault(path, f"is wrong: {detail['msg'][0].lower()}{detail['msg'][1:]}")


def suggestion(word: str, choices: Iterable[str]) -> str:
    """The nearest of the valid words, or all of them where none is near."""
    known = sorted(choices)
    if near := near_name(word, known):
        return f"did you mean '{near}'?"
    return f"there is {', '.join(known)}" if known else "there is none"


def near_name(word: str, choices: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)), None)
