"""A kind of service is a folder, and what is wrong with it is told like a fault of a topology."""

from __future__ import annotations

from pathlib import Path

import pytest

from topology.description import catalog
from topology.errors import InvalidInput, InvalidTopology

HEALTH = "2:1: health: must be a path such as /health: letters, digits, '-', '_', '.', '~' and slashes"
CONTRADICTION = (
    "4:1: strip_prefix: contradicts base_path: what is built for its prefix has to see it; remove one of them"
)


def kind(services: Path, name: str, text: str | bytes, *, dockerfile: bool = True) -> Path:
    """A folder of `services/`; returns its service.yaml."""
    folder = services / name
    folder.mkdir(parents=True)
    if dockerfile:
        (folder / "Dockerfile").touch()
    file = folder / "service.yaml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def faults(file: Path) -> list[str]:
    with pytest.raises(InvalidTopology) as caught:
        catalog.load(file)
    return [line.removeprefix(f"{file}:") for line in str(caught.value).splitlines()]


def test_a_kind_says_its_port_and_its_health(tmp_path: Path) -> None:
    """Name and folder are the folder's own; prefixes are stripped unless it says otherwise."""
    found = catalog.load(kind(tmp_path, "api", "port: 80\nhealth: /up\n"))
    assert (found.name, found.folder, found.port, found.health) == ("api", tmp_path / "api", 80, "/up")
    assert (found.base_path, found.strip_prefix) == (False, True)


def test_a_kind_that_is_built_for_its_prefix_sees_it(tmp_path: Path) -> None:
    """base_path alone says both."""
    assert catalog.load(kind(tmp_path, "web", "port: 80\nhealth: /\nbase_path: true\n")).strip_prefix is False


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("prt: 80\nhealth: /\n", ["1:1: prt: unknown field; did you mean 'port'?"]),
        (
            "{}\n",
            [
                "1:1: health: is missing; add a path that answers 2xx, such as /health",
                "1:1: port: is missing; add the port where the service listens, in plain HTTP",
            ],
        ),
        ("port: 80\nhealth: health\n", [HEALTH]),
        ("port: 0\nhealth: /\n", ["1:1: port: must be at least 1"]),
        ("port: '80'\nhealth: /\n", ["1:1: port: must be a whole number; remove the quotes"]),
        (
            "port: 80\nhealth: /\nname: x\nfolder: y\n",
            [
                "3:1: name: unknown field; there are base_path, health, port, start, strip_prefix, tls",
                "4:1: folder: unknown field; there are base_path, health, port, start, strip_prefix, tls",
            ],
        ),
        (
            "port: 80\nhealth: /\nbase_path: true\nstrip_prefix: true\n",
            [CONTRADICTION],
        ),
        ("", ["1:1: the file is empty; it must be a mapping of port, health, start, base_path, strip_prefix, tls"]),
        ("- port\n", ["1:1: the file must be a mapping of port, health, start, base_path, strip_prefix, tls"]),
        ("port: [80\n", ["2:1: not valid YAML: a ',' or the closing bracket is missing; add it"]),
        (b"port: \xff\n", ["1:7: not UTF-8: byte 0xff; save the file as UTF-8"]),
    ],
)
def test_each_fault_of_a_kind_has_its_place(tmp_path: Path, text: str | bytes, told: list[str]) -> None:
    """Line and column, as in a topology."""
    assert faults(kind(tmp_path, "api", text)) == told


def test_a_kind_without_a_dockerfile_cannot_be_built(tmp_path: Path) -> None:
    """Told together with the rest."""
    assert faults(kind(tmp_path, "api", "port: 80\nhealth: x\n", dockerfile=False))[0] == (
        "1:1: there is no Dockerfile beside this file; write one, or remove the folder"
    )


def test_a_folder_that_could_not_name_an_image_is_no_kind(tmp_path: Path) -> None:
    """Image names are lower case."""
    assert faults(kind(tmp_path, "My App", "port: 80\nhealth: /\n"))[0].startswith(
        "1:1: the folder 'My App' cannot name a kind; rename it"
    )


def test_a_service_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    """A folder of that name, for one."""
    (tmp_path / "service.yaml").mkdir()
    with pytest.raises(InvalidInput, match=r"service\.yaml: cannot be read: Is a directory"):
        catalog.load(tmp_path / "service.yaml")


def test_kinds_come_from_the_nearest_services_and_else_from_the_package(tmp_path: Path) -> None:
    """A folder above the topology counts; one of the author's own takes the place of one that is shipped."""
    kind(tmp_path / "services", "node", "port: 81\nhealth: /\n")
    kind(tmp_path / "services", "api", "port: 82\nhealth: /\n")
    found = catalog.kinds(tmp_path / "labs" / "deep" / "topology.yaml")
    assert (found["node"].port, found["api"].port) == (81, 82)
    assert set(catalog.kinds(tmp_path / "elsewhere.yaml")) >= {"node", "api", "boot", "fast", "next"}


def test_only_folders_above_a_topology_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`..` is not above the current folder's own services."""
    kind(tmp_path / "here" / "services", "mine", "port: 80\nhealth: /\n")
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert "mine" not in catalog.kinds(Path("../there/topology.yaml"))
    assert "mine" in catalog.kinds(Path("topology.yaml"))


def test_all_faults_of_all_kinds_are_told_at_once(tmp_path: Path) -> None:
    """Not one file after another."""
    for name in ("one", "two"):
        kind(tmp_path / "services", name, "port: x\nhealth: /\n")
    with pytest.raises(InvalidTopology) as caught:
        catalog.kinds(tmp_path / "topology.yaml")
    assert len(caught.value.faults) == 2


def test_the_shipped_kinds_are_whole() -> None:
    """What the sample labs are made of."""
    found = catalog.kinds(catalog.shipped_services().parent / "topology.yaml")
    assert {"boot", "fast", "next", "node", "react"} <= set(found)
    assert found["next"].base_path
    assert not found["react"].base_path
    assert found["react"].strip_prefix
    assert "gateway" not in found
