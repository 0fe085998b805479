"""A configuration as a tree: directives with their places, blocks with what surrounds them, and what is in force there.

A block's directive is looked up as nginx does: the innermost level that has it is in force, as a whole.  So it is for
single values (`ssl_crl`), and for lists: one `proxy_set_header` in a location cancels all those around it.
https://nginx.org/en/docs/dev/development_guide.html#http_conf
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

NOT_INHERITED = frozenset({
    "alias", "break", "if", "include", "internal", "limit_except", "listen", "location", "proxy_pass", "return",
    "rewrite", "server", "server_name", "set", "try_files",
})  # fmt: skip
"""Directives that hold in their own block alone."""


@dataclass(frozen=True)
class Place:
    """A line of a file on this machine; lines count from 1."""

    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Directive:
    """One directive: its name, its arguments without quotes, where it stands.

    arguments of `if` come without the outer parentheses; children: None where it is no block.
    """

    name: str
    arguments: tuple[str, ...]
    place: Place
    children: tuple[Directive, ...] | None = None

    @cached_property
    def named(self) -> Mapping[str, tuple[Directive, ...]]:
        """What stands directly in it, by name: each of the rules asks for some."""
        found: dict[str, tuple[Directive, ...]] = {}
        for one in self.children or ():
            found[one.name] = (*found.get(one.name, ()), one)
        return found

    @property
    def value(self) -> str:
        """The first argument; empty where there is none."""
        return self.arguments[0] if self.arguments else ""

    def __str__(self) -> str:
        return " ".join((self.name, *self.arguments))


@dataclass(frozen=True)
class Block:
    """A block, and the blocks around it.  The whole configuration is a block without a parent, named `main`."""

    directive: Directive
    parent: Block | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return self.directive.name

    @property
    def place(self) -> Place:
        return self.directive.place

    def own(self, name: str) -> tuple[Directive, ...]:
        """The directives of that name in this block itself."""
        return self.directive.named.get(name, ())

    def in_force(self, name: str) -> tuple[Directive, ...]:
        """The directives of that name that nginx uses here: this block's, else those of the next block around it."""
        if (found := self.own(name)) or self.parent is None or name in NOT_INHERITED:
            return found
        return self.parent.in_force(name)

    def one(self, name: str) -> Directive | None:
        """The directive of that name that is in force here; the last where there are several."""
        return next(reversed(self.in_force(name)), None)

    def value(self, name: str, default: str = "") -> str:
        """The first argument of the directive that is in force; default: what nginx takes where none is."""
        found = self.one(name)
        return default if found is None else found.value

    def around(self, name: str) -> Block | None:
        """The nearest block of that name, this one included."""
        if self.name == name:
            return self
        return None if self.parent is None else self.parent.around(name)

    @cached_property
    def inner(self) -> tuple[Block, ...]:
        """The blocks directly in this one."""
        return tuple(Block(one, self) for one in self.directive.children or () if one.children is not None)

    @cached_property
    def every(self) -> tuple[Block, ...]:
        """The blocks at any depth, in the order of the file."""
        return tuple(found for block in self.inner for found in (block, *block.every))

    def blocks(self, *names: str) -> Iterator[Block]:
        """The blocks directly in this one, those of the given names; all where none is given."""
        return (block for block in self.inner if not names or block.name in names)

    def below(self, *names: str) -> Iterator[Block]:
        """The blocks of the given names at any depth, in the order of the file."""
        return (block for block in self.every if not names or block.name in names)

    def directives(self) -> Iterator[Directive]:
        """Every directive at any depth, in the order of the file."""
        for one in self.directive.children or ():
            yield one
            if one.children is not None:
                yield from Block(one, self).directives()
