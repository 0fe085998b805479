"""What the documentation points at is there, and every lab is pointed at."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from topology import cli
from topology.description.model import FromEnvironment, Frozen, Topology
from topology.report import reference

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SYSTEMS = (ROOT / "docs" / "systems.md").read_text()
STARTED = r"(?:`|\$ )(?:sudo (?:[A-Z_]+=\S+ )?)?(?:\.venv/bin/)?"
"""How a page begins a command."""
EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])


def code_of(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", text)


@EVERY_PAGE
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())

    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


@EVERY_PAGE
def test_files_that_are_named_are_there(page: Path) -> None:
    named = [word for code in code_of(page.read_text()) for word in code.split()]
    paths = [word for word in named if re.fullmatch(r"(?:tests|fixtures|services|topology|docs)/[\w./-]+", word)]

    assert [path for path in paths if not (ROOT / path).exists()] == []


@EVERY_PAGE
def test_commands_that_are_named_exist(page: Path) -> None:
    text = page.read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = set(cli.whole_command().commands)

    assert set(re.findall(r"(?:`|\$ )make ([a-z-]+)", text)) <= targets
    assert set(re.findall(rf"{STARTED}mtls-lab ([a-z]+)", text)) <= commands


def test_the_page_of_fields_is_what_the_model_says() -> None:
    """`make generate` writes it."""
    assert (ROOT / "docs" / "topology.md").read_text() == reference.page()


def test_each_mapping_that_an_author_writes_has_its_table() -> None:
    """The page leaves none of them out."""
    reached: set[object] = set()
    wanted = [Topology]
    while wanted:
        model = wanted.pop()
        reached.add(model)
        inner = {one for field in model.model_fields.values() for one in models_in(field.annotation)}
        wanted += inner - reached

    assert reached - {FromEnvironment} <= {model for _, model in reference.SECTIONS}


def models_in(annotation: object) -> set[type[Frozen]]:
    if isinstance(annotation, type) and issubclass(annotation, Frozen):
        return {annotation}
    return {found for one in get_args(annotation) for found in models_in(one)}


def test_every_lab_has_its_place_among_the_systems() -> None:
    labs = [file.stem for file in (ROOT / "fixtures" / "labs").glob("*.yaml")]

    assert [lab for lab in labs if f"[{lab}](../fixtures/labs/{lab}.yaml)" not in SYSTEMS] == []


def test_every_file_of_integration_tests_that_holds_a_system_has_tests() -> None:
    held = set(re.findall(r"`(tests/[\w/]+\.py)`", SYSTEMS))

    assert [file for file in sorted(held) if "def test_" not in (ROOT / file).read_text()] == []
