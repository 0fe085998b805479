"""What a variable hangs on: through `set`, `map`, and the `if` in which it is set."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from topology.nginx.reading import Configuration
from topology.nginx.tree import Block

NAMED = re.compile(r"\$\{?(\w+)")

Sources = Mapping[str, frozenset[str]]
"""Variable -> all variables that it hangs on, itself included; names without the dollar sign."""


def named(text: str) -> frozenset[str]:
    """The variables that stand in a text."""
    return frozenset(NAMED.findall(text))


def sources(configuration: Configuration) -> Sources:
    """Of every variable that the configuration makes; others hang on themselves alone."""
    steps = list(assignments(configuration))
    found: dict[str, frozenset[str]] = {}
    while True:
        grown = dict(found)
        for name, used in steps:
            reached = frozenset().union(*(found.get(one, frozenset()) for one in used))
            grown[name] = grown.get(name, frozenset({name})) | used | reached
        if grown == found:
            return found
        found = grown


def assignments(configuration: Configuration) -> Iterator[tuple[str, frozenset[str]]]:
    """(variable, variables that decide on its value)."""
    for block in configuration.root.below():
        if block.name == "map" and len(block.directive.arguments) > 1:
            values = " ".join(argument for one in block.directive.children or () for argument in one.arguments)
            yield block.directive.arguments[1].lstrip("$"), named(block.directive.value) | named(values)
        for one in block.own("set"):
            conditions = frozenset().union(*(named(" ".join(around.directive.arguments)) for around in ifs(block)))
            yield one.value.lstrip("$"), named(" ".join(one.arguments[1:])) | conditions


def ifs(block: Block | None) -> Iterator[Block]:
    """The `if` blocks around a directive, innermost first."""
    while block is not None:
        if block.name == "if":
            yield block
        block = block.parent


def sources_of(text: str, found: Sources) -> frozenset[str]:
    """All variables that a text hangs on."""
    return frozenset().union(*(found.get(name, frozenset({name})) for name in named(text)))
