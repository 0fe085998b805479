"""Rules on mutual TLS: each bites where it has to, and nowhere else."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fuzzing import rounds
from tests.linted import FIXTURES, NOW, gateway, lay_out, marked
from topology.description.loading import load
from topology.errors import InvalidInput
from topology.linting import linting
from topology.linting.catalog import RULES
from topology.linting.findings import Rule
from topology.linting.rules import egress, files, guards, headers, listeners, paths, trust
from topology.nginx.tree import Block, Directive

ROOT = Path(__file__).parents[1]
LABS = sorted((ROOT / "fixtures" / "labs").glob("*.yaml"))
EVERY_RULE = pytest.mark.parametrize("rule", RULES, ids=[rule.name for rule in RULES])


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay_out(tmp_path_factory.mktemp("lint"))


def found_by(rule: Rule, which: str, pki: Path) -> list[tuple[str, int]]:
    return sorted({(one.place.file.name, one.place.line) for one in rule.look(gateway(rule.name, which, pki))})


@EVERY_RULE
def test_a_rule_bites_where_it_has_to(rule: Rule, pki: Path) -> None:
    expected = marked(rule.name, "bad")

    assert expected
    assert found_by(rule, "bad", pki) == expected


@EVERY_RULE
def test_a_rule_leaves_a_good_configuration_alone(rule: Rule, pki: Path) -> None:
    """And no other rule finds an error in it: what it recommends is no hole elsewhere."""
    assert found_by(rule, "good", pki) == []
    wrong = [one for one in linting.lint([gateway(rule.name, "good", pki)]) if one.is_wrong]
    assert [f"{one.place}: {one.rule}: {one.message}" for one in wrong] == []


@EVERY_RULE
def test_a_rule_says_why_and_what_to_do(rule: Rule) -> None:
    assert len(rule.why) > 60
    assert rule.why.endswith(".")
    assert rule.fix


def test_every_rule_is_listed_and_every_fixture_has_a_rule() -> None:
    written = {
        one for module in (egress, files, guards, headers, listeners, paths, trust) for one in vars(module).values()
        if isinstance(one, Rule)
    }  # fmt: skip

    assert {one.name for one in written} == {one.name for one in RULES}
    assert {folder.name for folder in FIXTURES.iterdir()} == {rule.name for rule in RULES}
    assert len(RULES) == len({rule.name for rule in RULES})


@pytest.mark.parametrize("file", LABS, ids=[file.stem for file in LABS])
def test_generated_labs_have_no_finding(file: Path) -> None:
    topology = load(file).topology
    found = linting.lint(linting.of_lab(topology, ROOT / "compose" / topology.name, "", NOW))

    assert [f"{one.place}: {one.rule}: {one.message}" for one in found] == []


def test_a_rule_can_be_left_out_and_a_misspelt_one_is_told(pki: Path) -> None:
    bad = gateway("no-crl", "bad", pki)

    assert "no-crl" in {one.rule for one in linting.lint([bad])}
    assert "no-crl" not in {one.rule for one in linting.lint([bad], ["no-crl"])}
    with pytest.raises(InvalidInput, match="no-crl"):
        linting.lint([bad], ["no-crls"])


def mangled(directive: Directive, chance: random.Random) -> Directive:
    """Some of a directive's arguments gone, or something odd in their place."""
    kept = tuple(chance.choice((one, "", "$", "${", ":", "/", "~", "=", "-1", "ü")) if chance.random() < 0.3 else one
                 for one in directive.arguments if chance.random() < 0.7)  # fmt: skip
    children = directive.children
    if children is not None:
        children = tuple(mangled(one, chance) for one in children)
    return replace(directive, arguments=kept, children=children)


@EVERY_RULE
def test_nothing_that_nginx_would_refuse_makes_a_rule_stumble(rule: Rule, pki: Path) -> None:
    """A configuration with mistakes in it is looked at as far as it goes: nginx itself tells of those."""
    whole = gateway(rule.name, "bad", pki)
    for seed in range(rounds(8)):
        chance = random.Random(seed)  # noqa: S311 - the same each time
        root = Block(mangled(whole.configuration.root.directive, chance))
        broken = replace(whole, configuration=replace(whole.configuration, root=root))
        linting.lint([broken])
