"""services/*/service.yaml -> kinds.  A new kind of service is a folder; nothing else has to be told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from topology.description import positions, rules, shapes
from topology.description.model import Kind, ServiceFile
from topology.description.positions import Document
from topology.description.wording import shown
from topology.errors import Fault, InvalidInput, InvalidTopology


def kinds(topology_file: Path) -> Mapping[str, Kind]:
    """name -> kind: those in the nearest `services/` beside or above a topology, then those shipped with the package.

    Raises InvalidTopology with all that is wrong in the service.yaml files, InvalidInput where one cannot be read.
    """
    here = topology_file.parent.resolve()
    nearest_services = next((p / "services" for p in (here, *here.parents) if (p / "services").is_dir()), None)
    folders = [shipped_services(), *([nearest_services] if nearest_services else [])]
    files = {file.parent.name: file for folder in folders for file in sorted(folder.glob("*/service.yaml"))}
    found: dict[str, Kind] = {}
    faults: list[Fault] = []
    for name, file in files.items():
        try:
            found[name] = load(file)
        except InvalidTopology as error:
            faults.extend(error.faults)
    if faults:
        raise InvalidTopology(faults)
    return found


def shipped_services() -> Path:
    """The services that come with the tool: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "services"
    return installed if installed.is_dir() else package.parent / "services"


def load(file: Path) -> Kind:
    """One service.yaml.  Raises InvalidTopology with all its faults, InvalidInput where it cannot be read."""
    try:
        text = file.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{file}: cannot be read: {error.strerror}; a kind of service needs it") from error
    return parse(text, file, buildable=(file.parent / "Dockerfile").is_file())


@lru_cache(maxsize=64)
def parse(text: bytes, file: Path, *, buildable: bool) -> Kind:
    """A kind from the text of its service.yaml.  Remembered, as every topology that is loaded asks for all kinds.

    buildable: whether there is a Dockerfile beside it.  Raises InvalidTopology with all that is wrong.
    """
    document = positions.read(text, str(file))
    if faults := [*document.faults, *([] if document.faults else kind_faults(document, file.parent, buildable))]:
        raise InvalidTopology(faults)
    strips = {"strip_prefix": not document.value.get("base_path", False)}
    return Kind(name=file.parent.name, folder=file.parent, **{**strips, **document.value})


def kind_faults(document: Document, folder: Path, buildable: bool) -> Iterator[Fault]:
    yield from shapes.faults(document, ServiceFile)
    if not rules.NAME.fullmatch(folder.name):
        advice = "rename it: a lower-case letter, then letters, digits, hyphens and underscores"
        yield document.fault((), f"the folder '{shown(folder.name)}' cannot name a kind; {advice}")
    if not buildable:
        yield document.fault((), "there is no Dockerfile beside this file; write one, or remove the folder")
    if not isinstance(document.value, dict):
        return
    for field, example in (("health", "/health"), ("start", "/docs")):
        path = document.value.get(field)
        if isinstance(path, str) and (wrong := rules.path_fault(path, example)):
            yield document.fault((field,), wrong)
    if document.value.get("base_path") is True and document.value.get("strip_prefix") is True:
        message = "contradicts base_path: what is built for its prefix has to see it; remove one of them"
        yield document.fault(("strip_prefix",), message)
