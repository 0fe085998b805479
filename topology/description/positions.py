"""YAML text -> plain values, and where in the text each of them stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    MappingEndEvent,
    MappingStartEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from topology.description.wording import printable, shown
from topology.errors import Fault

Path = tuple[str | int, ...]

LARGEST_FILE = 1024 * 1024
DEEPEST_NESTING = 20

PLAIN = ("map", "seq", "str", "int", "float", "bool", "null", "timestamp", "merge")
TAGS = {f"tag:yaml.org,2002:{name}" for name in PLAIN}
"""Tags that plain YAML gets by itself; an author who writes another one means something that a topology has not."""

SYNTAX = (
    ("'\\t' that cannot start", "a tab cannot indent; use spaces"),
    ("that cannot start any token", "this character means something in YAML; put the text in quotes"),
    ("mapping values are not allowed", "a ':' cannot stand here; check the indentation, or put the text in quotes"),
    ("could not find expected ':'", "a key without its ':'; write `key: value`"),
    ("expected <block end>", "this does not line up with what stands above; check the indentation"),
    ("unexpected end of stream", "a text in quotes that is never closed; add the quote"),
    ("expected ',' or", "a ',' or the closing bracket is missing; add it"),
    ("expected the node content", "a value should stand here; write one"),
    ("undefined alias", "aliases are not supported; write the value out, or put a text that starts with '*' in quotes"),
    ("expected alphabetic or numeric", "this character means something in YAML; put the text in quotes"),
    ("unknown escape character", "YAML knows no such escape; put the text in 'single quotes'"),
    ("found another document", "a second YAML document starts here; keep one to a file"),
)
"""What the parser says, and what that means for the author."""

TOO_DEEP = f"nested more than {DEEPEST_NESTING} levels deep, and no field lies that deep; check the brackets"

BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


@dataclass(frozen=True)
class Document:
    """A file as plain values (dict, tuple, str, int, float, bool, None) with the position of each.

    faults: what is wrong with the file as YAML; values that could not be read are left out.
    """

    file: str
    value: Any = None
    keys: dict[Path, tuple[int, int]] = field(default_factory=dict)
    values: dict[Path, tuple[int, int]] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()

    def fault(self, path: Path, message: str) -> Fault:
        """A fault at a field: at its key where it has one, at the nearest thing around it where it is missing."""
        where = path
        while where and where not in self.keys and where not in self.values:
            where = where[:-1]
        line, column = self.keys.get(where) or self.values.get(where) or (1, 1)
        return Fault(self.file, line, column, printable(dotted(path)), printable(message))


def dotted(path: Path) -> str:
    return ".".join(shown(str(part)) or "''" for part in path)


@lru_cache(maxsize=256)
def read(text: str | bytes, file: str) -> Document:
    """Parses one YAML 1.2 document.  Never raises for what the text holds: all that is wrong stands in `faults`.

    Remembered, as parsing is most of what loading takes, and a process reads the kinds' files with each topology;
    nobody changes what comes out.
    """
    if fault := unreadable(text, file):
        return Document(file, faults=(fault,))
    plain = text.decode("utf-8-sig") if isinstance(text, bytes) else text.removeprefix("\ufeff")
    try:
        if "&" in plain and (faults := tuple(refused_events(plain, file))):
            return Document(file, faults=faults)
        node = parser().compose(plain)
    except RecursionError:
        return Document(file, faults=tuple(refused_events(plain, file)))
    except MarkedYAMLError as error:
        return Document(file, faults=(syntax_fault(error, file),))
    except (YAMLError, ValueError, OverflowError) as error:
        return Document(file, faults=(not_yaml(plain, file, error),))
    if node is None:
        return Document(file)
    document = converted(node, file)
    too_deep = tuple(fault for fault in document.faults if fault.message == TOO_DEEP)
    return Document(file, faults=too_deep[:1]) if too_deep else document


def parser() -> YAML:
    yaml = YAML(typ="safe", pure=True)
    yaml.composer.warn_double_anchors = False  # YAML allows it, and here nothing refers to anchors
    return yaml


def syntax_fault(error: MarkedYAMLError, file: str) -> Fault:
    problem = str(error.problem or error.context)
    meaning = next((ours for theirs, ours in SYNTAX if theirs in problem), problem.splitlines()[0])
    opened = error.context_mark if "never closed" in meaning else None
    mark = opened or error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    return Fault(file, line, column, "", f"not valid YAML: {meaning}")


def unreadable(text: str | bytes, file: str) -> Fault | None:
    if len(text) > LARGEST_FILE:
        return Fault(file, 1, 1, "", f"the file is larger than {LARGEST_FILE // 1024} KiB; is it the right one?")
    if isinstance(text, bytes):
        try:
            text.decode()
        except UnicodeDecodeError as error:
            before = text[: error.start]
            line = before.count(b"\n") + 1
            column = len(before.rpartition(b"\n")[2].decode(errors="replace")) + 1
            return Fault(file, line, column, "", f"not UTF-8: byte 0x{text[error.start]:02x}; save the file as UTF-8")
    return None


def not_yaml(text: str, file: str, error: Exception) -> Fault:
    """An error without a mark: a character that YAML forbids, or an escape that stands for none."""
    position = getattr(error, "position", None)
    if isinstance(position, int):
        before = text[:position]
        reason = f"the character U+{ord(text[position]):04X} cannot stand in a file; remove it"
        return Fault(file, before.count("\n") + 1, len(before.rpartition("\n")[2]) + 1, "", f"not valid YAML: {reason}")
    escape = re.search(r"\\U(?!000|0010)", text)
    before = text[: escape.start()] if escape else ""
    reason = "an escape that stands for no character; write the character itself"
    return Fault(file, before.count("\n") + 1, len(before.rpartition("\n")[2]) + 1, "", f"not valid YAML: {reason}")


def refused_events(text: str, file: str) -> Iterator[Fault]:
    """What YAML allows and a topology does not.

    Aliases: a few lines can stand for billions of values.  Deep nesting: no field lies that deep, and parsers recurse.
    """
    depth = 0
    aliases = set()
    for event in parser().parse(text):
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if isinstance(event, AliasEvent) and event.anchor not in aliases:
            aliases.add(event.anchor)
            yield Fault(file, line, column, "", f"alias *{shown(event.anchor)}: not supported; write the value out")
        elif isinstance(event, MappingStartEvent | SequenceStartEvent):
            depth += 1
            if depth > DEEPEST_NESTING:
                yield Fault(file, line, column, "", TOO_DEEP)
                return
        elif isinstance(event, MappingEndEvent | SequenceEndEvent):
            depth -= 1


def converted(root: Node, file: str) -> Document:
    reading = Document(file)
    faults: list[Fault] = []
    value = convert(root, (), reading, faults)
    return Document(file, value, reading.keys, reading.values, tuple(faults))


def position(node: Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def convert(node: Node, path: Path, reading: Document, faults: list[Fault]) -> Any:
    """A node's plain value; notes positions in `reading`, and in `faults` what is no plain value."""
    reading.values[path] = position(node)
    if str(node.tag) not in TAGS:
        faults.append(reading.fault(path, f"tag {shown(str(node.tag))}: not supported; remove it"))
    if len(path) >= DEEPEST_NESTING and not isinstance(node, ScalarNode):
        faults.append(Fault(reading.file, *position(node), "", TOO_DEEP))
        return None
    if isinstance(node, MappingNode):
        return convert_mapping(node, path, reading, faults)
    if isinstance(node, SequenceNode):
        return tuple(convert(item, (*path, n), reading, faults) for n, item in enumerate(node.value))
    return scalar(node)


def convert_mapping(node: MappingNode, path: Path, reading: Document, faults: list[Fault]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, ScalarNode) or kind_of(key_node) != "str":
            faults.append(Fault(reading.file, *position(key_node), dotted(path), key_fault(key_node)))
            continue
        key = (*path, key_node.value)
        if key_node.value in found:
            message = f"stands twice, first in line {reading.keys[key][0]}; remove one"
            faults.append(Fault(reading.file, *position(key_node), dotted(key), message))
            continue
        reading.keys[key] = position(key_node)
        found[key_node.value] = convert(value_node, key, reading, faults)
    return found


def key_fault(node: Node) -> str:
    if not isinstance(node, ScalarNode):
        return "a list or mapping cannot be a key; write a text"
    if kind_of(node) == "merge":
        return "merge key <<: not supported; write the fields out"
    return f"key {shown(node.value) or 'without a text'}: must be text; put it in quotes"


def kind_of(node: Node) -> str:
    """The type of a scalar by YAML 1.2's core schema, which has no dates; anything with a tag of its own is text."""
    tag = str(node.tag)
    return tag.removeprefix("tag:yaml.org,2002:") if tag in TAGS and not tag.endswith("timestamp") else "str"


def scalar(node: Node) -> Any:
    text: str = node.value
    kind = kind_of(node)
    try:
        if kind == "bool":
            return BOOLEANS.get(text, text)
        if kind == "null":
            return None
        if kind == "int":
            return int(text.replace("_", ""), 0) if text.lstrip("+-")[:2].lower() in ("0x", "0o", "0b") else int(text)
        if kind == "float":
            return float(text.replace("_", ""))
    except ValueError:
        return text
    return text
