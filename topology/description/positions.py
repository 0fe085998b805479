"""YAML text -> plain values, and where in the text each of them stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from topology.errors import Fault

Path = tuple[str | int, ...]

LARGEST_FILE = 1024 * 1024
DEEPEST_NESTING = 20

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
        return Fault(self.file, line, column, printable(f"{dotted(path)}: {message}" if path else message))


def dotted(path: Path) -> str:
    return ".".join(str(part) for part in path)


def printable(text: str) -> str:
    """On one line, whatever the file holds: a message is a line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def read(text: str | bytes, file: str) -> Document:
    """Parses one YAML 1.2 document.  Never raises for what the text holds: all that is wrong stands in `faults`."""
    if fault := unreadable(text, file):
        return Document(file, faults=(fault,))
    plain = text.decode("utf-8-sig") if isinstance(text, bytes) else text.removeprefix("\ufeff")
    try:
        if faults := tuple(refused_events(plain, file)):
            return Document(file, faults=faults)
        node = parser().compose(plain)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        return Document(file, faults=(Fault(file, line, column, f"not valid YAML: {error.problem or error.context}"),))
    except (YAMLError, ValueError) as error:
        return Document(file, faults=(not_yaml(plain, file, error),))
    if node is None:
        return Document(file, faults=(Fault(file, 1, 1, "the file is empty; `name` and `hosts` are required"),))
    return converted(node, file)


def parser() -> YAML:
    return YAML(typ="safe", pure=True)


def unreadable(text: str | bytes, file: str) -> Fault | None:
    if len(text) > LARGEST_FILE:
        return Fault(file, 1, 1, f"the file is larger than {LARGEST_FILE // 1024} KiB; is it the right one?")
    if isinstance(text, bytes):
        try:
            text.decode()
        except UnicodeDecodeError as error:
            before = text[: error.start]
            line = before.count(b"\n") + 1
            column = len(before.rpartition(b"\n")[2].decode(errors="replace")) + 1
            return Fault(file, line, column, f"not UTF-8: byte 0x{text[error.start]:02x}; save the file as UTF-8")
    return None


def not_yaml(text: str, file: str, error: Exception) -> Fault:
    """An error without a mark: a character that YAML forbids, or a number that is none."""
    position = getattr(error, "position", 0)
    before = text[: position if isinstance(position, int) else 0]
    reason = getattr(error, "reason", None) or str(error).splitlines()[0]
    return Fault(file, before.count("\n") + 1, len(before.rpartition("\n")[2]) + 1, f"not valid YAML: {reason}")


def refused_events(text: str, file: str) -> Iterator[Fault]:
    """What YAML allows and a topology does not.

    Aliases: a few lines can stand for billions of values.  Deep nesting: no field lies that deep, and parsers recurse.
    """
    depth = documents = 0
    aliases = set()
    for event in parser().parse(text):
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if isinstance(event, DocumentStartEvent):
            documents += 1
            if documents == 2:
                yield Fault(file, line, column, "a second YAML document; a file holds one topology")
                return
        elif isinstance(event, AliasEvent) and event.anchor not in aliases:
            aliases.add(event.anchor)
            yield Fault(file, line, column, f"alias *{event.anchor}: not supported; write the value out")
        elif isinstance(event, MappingStartEvent | SequenceStartEvent):
            depth += 1
            if depth > DEEPEST_NESTING:
                yield Fault(file, line, column, f"nested more than {DEEPEST_NESTING} levels deep; nothing is that deep")
                return
        elif isinstance(event, MappingEndEvent | SequenceEndEvent):
            depth -= 1


def converted(root: Node, file: str) -> Document:
    keys: dict[Path, tuple[int, int]] = {}
    values: dict[Path, tuple[int, int]] = {}
    faults: list[Fault] = []

    def position(node: Node) -> tuple[int, int]:
        return node.start_mark.line + 1, node.start_mark.column + 1

    def convert(node: Node, path: Path) -> Any:
        values[path] = position(node)
        if isinstance(node, MappingNode):
            return mapping(node, path)
        if isinstance(node, SequenceNode):
            return tuple(convert(item, (*path, n)) for n, item in enumerate(node.value))
        return scalar(node)

    def mapping(node: MappingNode, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode) or kind_of(key_node) != "str":
                text = key_node.value if isinstance(key_node, ScalarNode) else "a mapping or list"
                where = f"{dotted(path)}: " if path else ""
                message = f"{where}key {text}: must be text; put it in quotes"
                faults.append(Fault(file, *position(key_node), printable(message)))
                continue
            key = (*path, key_node.value)
            if key_node.value in found:
                first = keys[key][0]
                message = f"{dotted(key)}: stands twice, first in line {first}; remove one"
                faults.append(Fault(file, *position(key_node), printable(message)))
                continue
            keys[key] = position(key_node)
            found[key_node.value] = convert(value_node, key)
        return found

    value = convert(root, ())
    return Document(file, value, keys, values, tuple(faults))


def kind_of(node: Node) -> str:
    """The type of a scalar by YAML 1.2's core schema; anything with a tag of its own is text."""
    tag = str(node.tag)
    return tag.removeprefix("tag:yaml.org,2002:") if tag.startswith("tag:yaml.org,2002:") else "str"


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
