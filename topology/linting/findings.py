"""What a rule is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from topology.nginx.tree import Place

if TYPE_CHECKING:
    from topology.linting.gateway import Gateway

Level = Literal["error", "warning", "note"]

ERROR: Level = "error"
"""Somebody gets in who must not, or nobody gets in, or the gateway does not start."""
WARNING: Level = "warning"
"""It works, and a change elsewhere, or a caller that nobody thought of, makes it an error."""
NOTE: Level = "note"
"""Worth knowing where the answer surprises; nothing is wrong."""


@dataclass(frozen=True)
class Found:
    """One thing that a rule found.  level: where it differs from the rule's."""

    place: Place
    message: str
    level: Level | None = None


Look = Callable[["Gateway"], Iterator[Found]]


@dataclass(frozen=True)
class Rule:
    """One rule.  name: as people write it; why: paragraphs of Markdown; fix: what to do, in a sentence."""

    name: str
    level: Level
    why: str
    fix: str
    look: Look


def rule(level: Level, fix: str) -> Callable[[Look], Rule]:
    """Makes a rule of a function: its name is the rule's, its docstring the reason why."""

    def made(look: Look) -> Rule:
        lines = (look.__doc__ or "").strip().splitlines()
        why = "\n".join(line.strip() for line in lines)
        return Rule(look.__name__.replace("_", "-"), level, why, fix, look)

    return made


@dataclass(frozen=True)
class Finding:
    """What is told: which rule, how bad, where, what, and what to do."""

    rule: str
    level: Level
    place: Place
    message: str
    why: str
    fix: str

    @property
    def is_wrong(self) -> bool:
        """A note is not."""
        return self.level != NOTE
