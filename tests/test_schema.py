"""The JSON Schema agrees with the model: what one takes, the other takes, and what is of a wrong shape, both refuse."""

from __future__ import annotations

import copy
import functools
import json
import operator
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import regress
from jsonschema import Draft202012Validator, ValidationError, validators
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from topology import cli
from topology.description import loading, positions, shapes
from topology.description.model import FILLED_IN, Frozen, Kind, Service, Topology
from topology.description.positions import Document
from topology.report import reference, schema

ROOT = Path(__file__).parents[1]
FAULT_FILES = sorted((ROOT / "fixtures" / "faults").glob("*.yaml"))
GOOD = [
    *sorted((ROOT / "fixtures" / "labs").glob("*.yaml")),
    ROOT / "fixtures" / "partner" / "topology.yaml",
    ROOT / "tests" / "integration" / "mirror.yaml",
    ROOT / "topology" / "report" / "templates" / "topology.yaml",
]
KINDS = {
    name: Kind(
        name=name, folder=ROOT / "services" / name, port=port, health="/health", base_path=name == "next", tls=True
    )
    for name, port in {"fast": 8000, "next": 3000, "node": 3200, "boot": 8080}.items()
}

NO_YAML = {
    "alias-without-an-anchor", "colon-in-a-text", "control-character", "duplicate-key", "escape-beyond-unicode",
    "not-utf-8", "syntax", "tab", "tags", "two-documents", "unclosed-quote", "wrong-indentation",
}  # fmt: skip
"""Faults of a file that no reader of YAML takes: a schema never sees it."""

OF_MEANING = {
    "acme-without-an-authority": "no authority signs for the lab's ACME server",
    "alias": "YAML replaces an alias by what it stands for",
    "build-without-a-dockerfile": "folders lie on the disk",
    "built-for-a-prefix": "what a kind is built for stands in its service.yaml",
    "dangling-references": "names lead to other places of the file",
    "equal-domains": "two hosts",
    "equal-ports": "two hosts",
    "identity-of-an-unknown-authority": "names lead to other places of the file",
    "merge-key": "YAML puts the fields in",
    "no-authority-for-a-server": "the first of the authorities is the default of each host",
    "route-to-its-own-host": "names lead to other places of the file",
    "routes-in-a-circle": "two hosts",
    "routes-in-a-circle-below-a-prefix": "two hosts",
    "routes-that-differ-in-case": "two routes",
    "same-caller-twice": "two identities",
}
"""Faults that a schema passes: what is wrong lies between places of the file, or outside of it."""


@functools.cache
def editors(pattern: str) -> Any:
    """A pattern as editors read it: by ECMA-262, with its flag `u`."""
    return regress.Regex(pattern, "u")


def found(pattern: str, text: str) -> bool:
    try:
        return editors(pattern).find(text) is not None
    except UnicodeEncodeError:  # half a character, which that library cannot be given
        return re.search(pattern, text) is not None


def matches(_: Any, pattern: str, value: Any, __: Any) -> Iterator[ValidationError]:
    if isinstance(value, str) and not found(pattern, value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


RIGHT: set[tuple[str, int]] = set()
"""(definition, part): each part of the whole topology below that was right as it stood there, by its identity."""


def defined(judge: Any, definition: str, value: Any, part: Any) -> Iterator[ValidationError]:
    """What was right, and is still the same object, is not judged again in each of two thousand changed topologies."""
    if (definition, id(value)) not in RIGHT:
        wrong = list(Draft202012Validator.VALIDATORS["$ref"](judge, definition, value, part) or ())
        yield from wrong
        if not wrong and id(value) in UNCHANGED:
            RIGHT.add((definition, id(value)))


SCHEMA = schema.schema()
JUDGE = validators.extend(Draft202012Validator, {"pattern": matches, "$ref": defined})(SCHEMA)


def read(file: Path) -> Any:
    """A file as an editor reads it: by YAML alone, and not by our own reader."""
    return YAML(typ="safe", pure=True).load(file.read_bytes())


def everywhere(part: Any) -> Iterator[dict[str, Any]]:
    """Each mapping within a schema."""
    if isinstance(part, dict):
        yield part
    for one in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from everywhere(one)


def test_it_is_a_schema_of_the_draft_that_it_names() -> None:
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(SCHEMA)


def test_patterns_are_those_of_editors() -> None:
    """Python's own expressions have more to them, such as names for groups."""
    patterns = [one["pattern"] for one in everywhere(SCHEMA) if isinstance(one.get("pattern"), str)]

    assert len(patterns) > 10
    for pattern in patterns:
        editors(pattern)


def test_each_field_is_described_in_the_words_of_the_model() -> None:
    """What an editor shows beside a field is what the page of fields says."""
    for model in (model for _, model in reference.SECTIONS if model.__name__ in SCHEMA["$defs"]):
        described = SCHEMA["$defs"][model.__name__]
        fields = shapes.fields_of(model)

        assert described["description"] == reference.summary(model)
        assert {name: one["description"] for name, one in described["properties"].items()} == {
            name: field.description for name, field in fields.items()
        }
    assert SCHEMA["properties"].keys() == Topology.model_fields.keys()


def test_every_mapping_refuses_unknown_fields() -> None:
    mappings = [SCHEMA, *SCHEMA["$defs"].values()]

    assert [one["title"] for one in mappings if one["additionalProperties"] is not False] == []


def test_what_rules_add_is_added_to_fields_that_exist() -> None:
    """A field of another name would be added, and nobody would see that it says nothing."""
    assert [
        (m, name) for m, fields in schema.FIELDS.items() for name in fields if name not in shapes.fields_of(m)
    ] == []
    assert not {name for names in FILLED_IN.values() for name in names} & SCHEMA["$defs"]["Route"]["properties"].keys()


@pytest.mark.parametrize("file", GOOD, ids=lambda file: file.stem)
def test_every_good_topology_passes(file: Path) -> None:
    assert [error.message for error in JUDGE.iter_errors(read(file))] == []


@pytest.mark.parametrize("file", FAULT_FILES, ids=lambda file: file.stem)
def test_every_fault_of_shape_is_refused(file: Path) -> None:
    """The lists above name all others."""
    if file.stem in NO_YAML:
        with pytest.raises((YAMLError, OverflowError)):
            read(file)
    else:
        assert JUDGE.is_valid(read(file)) == (file.stem in OF_MEANING)


def places(errors: Iterator[ValidationError]) -> set[str]:
    """Where a schema finds something wrong, also within a value that may have one of two forms."""
    found: set[str] = set()
    for error in errors:
        found |= {".".join(map(str, error.absolute_path))} | places(iter(error.context))
    return found


@pytest.mark.parametrize("file", [f for f in FAULT_FILES if f.stem not in NO_YAML], ids=lambda file: file.stem)
def test_it_is_wrong_at_the_same_places(file: Path) -> None:
    """Each wrong field by itself: there, or at the mapping that misses it, or that does not know it."""
    document = positions.read(file.read_bytes(), file.name)
    wrong = places(JUDGE.iter_errors(plain(document.value)))

    for fault in shapes.faults(document):
        assert {fault.path, fault.path.rpartition(".")[0]} & wrong, fault


def plain(value: Any) -> Any:
    """Lists for tuples, as JSON has them; for the same part of the whole topology the same one."""
    if id(value) in AS_JSON:
        return AS_JSON[id(value)]
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, tuple) else value


FULL = """
name: full
authorities:
  ca: {key: rsa-2048, days: 10, intermediate: true}
  others: {certificate: ca.pem, crl: ca.crl}
identities:
  bro: {authority: ca, common_name: Bro, san: [bro.test, "urn:bro"], days: 3, key: ed25519, revoked: true}
  sis: {authority: others, certificate: sis.pem, key_file: sis.key}
hosts:
  web:
    domain: web.full.test
    aliases: [www.full.test]
    tls: {authority: ca, key: ecdsa-p384, days: 5}
    client_certificates: {authority: [ca, others], verify: always}
    publish: {http: 8080, https: 8443}
    services:
      kind:
        kind: node
        environment: {A: "", B: {from_env: HOME}}
        tls: {port: 3300, client_certificate: required, publish: 3301}
      built: {build: services/node, port: 80, health: /health}
      image: {image: "nginx:1.27", port: 80, health: /}
    routes:
      /kind/: {service: kind, client_certificate: required, strip_prefix: false}
      /allow/: {service: built, allow: [bro]}
      /inside/: {service: image, internal: true}
      /host/: {host: plain, to: /a/, identity: bro, lends: everyone}
      /url/: {url: "https://api.partner.example/v1/", trust: system, identity: bro}
      /files/: {files: fixtures/labs/tls-only/files}
  plain:
    domain: plain.full.test
    pages: fixtures/labs/tls-only/pages
    client_certificates: {authority: ca}
  issued:
    domain: issued.full.test
    tls: {acme: true, directory: "https://acme.full.test/directory"}
"""
WHOLE = positions.read(FULL, "full.yaml").value
WRONG: tuple[Any, ...] = (
    None, True, False, 0, 7, 1.5, 70000, "", "X y", "/x/", "x.test", "a\nb", "required", (), ("x", "x"), (7,), {},
    {"x": 1},
)  # fmt: skip
"""Values that stand in the place of each value, one after the other; some of them are right in some places."""


def nodes(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield path
    for key, one in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, tuple) else ():
        yield from nodes(one, (*path, key))


PLACES = list(nodes(WHOLE))
AS_JSON: dict[int, Any] = {}
for place in reversed(PLACES):  # what is within a part first
    there = functools.reduce(operator.getitem, place, WHOLE)
    if isinstance(there, dict | tuple):
        AS_JSON[id(there)] = plain(there)
UNCHANGED = {id(one) for one in AS_JSON.values()}


def changed(path: tuple[str | int, ...], change: Callable[[Any], Any], value: Any = WHOLE) -> Any:
    """The whole topology with one place of it changed."""
    if not path:
        return change(value)
    if isinstance(value, dict):
        return {**value, path[0]: changed(path[1:], change, value[path[0]])}
    place = int(path[0])
    return (*value[:place], changed(path[1:], change, value[place]), *value[place + 1 :])


def variants(path: tuple[str | int, ...]) -> Iterator[Any]:
    """With another value at a place; and, where a mapping stands there, without each field, and with one more."""
    for wrong in WRONG:
        yield changed(path, lambda _, wrong=wrong: wrong)
    there: Any = WHOLE
    for key in path:
        there = there[key]
    for name in there if isinstance(there, dict) else ():
        yield changed(path, lambda found, name=name: {one: found[one] for one in found if one != name})
    if isinstance(there, dict):
        yield changed(path, lambda found: {**found, "no such field": 1})


def rules_broken(value: Any) -> list[str]:
    """What the model refuses; that the files of certificates are not there is no matter here."""
    told = loading.field_faults(Document("full.yaml", value), ROOT / "full.yaml", KINDS)
    return [str(one) for one in told if "there is no file" not in one.message]


def agree(value: Any) -> bool:
    """The schema takes what loads, and refuses what is of a wrong shape.  In between lies what the rules say."""
    takes = JUDGE.is_valid(plain(value))
    if any(shapes.faults(Document("full.yaml", value))):
        return not takes
    return takes or bool(rules_broken(value))


def test_the_whole_topology_has_every_field() -> None:
    """So the test below leaves none out."""
    written = {name for path in PLACES for name in path}
    models: set[type[Frozen]] = {model for _, model in reference.SECTIONS if model.__name__ in SCHEMA["$defs"]}

    assert {name for model in models for name in shapes.fields_of(model)} <= written
    assert JUDGE.is_valid(plain(WHOLE))
    assert rules_broken(WHOLE) == []


@pytest.mark.parametrize("path", PLACES, ids=lambda path: ".".join(map(str, path)) or "file")
def test_both_agree_on_every_change_of_every_field(path: tuple[str | int, ...]) -> None:
    assert [value for value in variants(path) if not agree(value)] == []


def test_a_schema_that_says_less_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests above can fail: here a service's port has no bounds."""
    weaker = copy.deepcopy(SCHEMA)
    for bound in ("minimum", "maximum"):
        del weaker["$defs"][Service.__name__]["properties"]["port"][bound]
    monkeypatch.setitem(globals(), "JUDGE", Draft202012Validator(weaker))

    assert not all(agree(value) for value in variants(("hosts", "web", "services", "image", "port")))


def test_every_fault_that_a_schema_passes_is_a_fixture() -> None:
    """Nothing stands in the lists above for nothing."""
    assert NO_YAML | OF_MEANING.keys() <= {file.stem for file in FAULT_FILES}


def test_the_checked_in_schema_is_what_the_model_says() -> None:
    """`make generate` writes it."""
    assert (ROOT / "docs" / schema.FILE_NAME).read_text() == schema.text()


@pytest.mark.parametrize("arguments", [["schema"], ["schema", "--json"]])
def test_the_command_prints_it(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMA
