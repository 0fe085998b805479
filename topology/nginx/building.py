"""Tree -> text.  Comments are not in the tree, and so not in the text; includes stay as they are written."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import crossplane

from topology.nginx.tree import Directive, Place

NOWHERE = Place(Path(), 0)


def build(directives: Iterable[Directive]) -> str:
    """What nginx reads as these directives."""
    return str(crossplane.build([payload(one) for one in directives])) + "\n"


def payload(one: Directive) -> dict[str, Any]:
    block = {} if one.children is None else {"block": [payload(child) for child in one.children]}
    return {"directive": one.name, "line": 1, "args": list(one.arguments), **block}


def simple(name: str, *arguments: str) -> Directive:
    """A directive that stands in no file yet."""
    return Directive(name, arguments, NOWHERE)


def block(name: str, arguments: Iterable[str], children: Iterable[Directive]) -> Directive:
    return Directive(name, tuple(arguments), NOWHERE, tuple(children))
