"""What a mutation sees of a lab, and what it changes there: values, nothing is done here."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path

from topology.description.model import Host, Topology
from topology.nginx.building import build
from topology.nginx.reading import parse
from topology.nginx.tree import Directive
from topology.pki.issuing import Issuer

Tree = tuple[Directive, ...]
Around = tuple[Directive, ...]
"""The blocks around a directive, the outermost first."""


@dataclass(frozen=True)
class Scene:
    """One host of a lab, as it is before anything is changed.

    nginx: the gateway's files by name; certificates: what the gateway reads, by path below its folder; issuer: an
    authority's name -> who signs its leaves, and the root above; folder: where the authorities lie; now: the time.
    """

    topology: Topology
    name: str
    nginx: Mapping[str, str]
    certificates: Mapping[str, bytes]
    issuer: Callable[[str], tuple[Issuer, Issuer]]
    folder: Path
    project: Callable[[str], str]
    now: datetime

    @property
    def host(self) -> Host:
        return self.topology.hosts[self.name]

    @cached_property
    def trees(self) -> Mapping[str, Tree]:
        return {file: parse(text, Path(file)) for file, text in self.nginx.items()}


@dataclass(frozen=True)
class Change:
    """One change to one host.

    where: the place, for people; nginx: file -> its new text; certificates: path -> new content and mode; service,
    override: the settings of a container beyond its own, in YAML, and networks that these name; ports are kept.
    """

    where: str
    nginx: Mapping[str, str] = field(default_factory=dict)
    certificates: Mapping[str, tuple[bytes, int]] = field(default_factory=dict)
    service: str = ""
    override: str = ""
    networks: str = ""


# Editing a configuration

Matches = Callable[[Directive, Around], bool]
To = Callable[[Directive], Iterable[Directive]]


def each(scene: Scene, matches: Matches, to: To) -> Iterator[Change]:
    """One change for each directive that matches: what takes its place, nothing where it goes."""
    for file, tree in scene.trees.items():
        for found, around in walk(tree):
            if matches(found, around):
                swap = partial(operator.is_, found)
                yield Change(place(file, found, around), {file: build(replaced(tree, swap, to))})


def all_of(scene: Scene, where: str, matches: Matches, to: To) -> Iterator[Change]:
    """One change of every directive that matches; none where there is no such."""
    changed = {
        file: build(replaced(tree, matches_alone(tree, matches), to))
        for file, tree in scene.trees.items()
        if any(matches(found, around) for found, around in walk(tree))
    }
    if changed:
        yield Change(where, changed)


def matches_alone(tree: Tree, matches: Matches) -> Callable[[Directive], bool]:
    """A directive of a tree, by what it is and not by what it says."""
    found = {id(one) for one, around in walk(tree) if matches(one, around)}
    return lambda one: id(one) in found


def walk(tree: Iterable[Directive], around: Around = ()) -> Iterator[tuple[Directive, Around]]:
    for one in tree:
        yield one, around
        if one.children is not None:
            yield from walk(one.children, (*around, one))


def replaced(tree: Iterable[Directive], matches: Callable[[Directive], bool], to: To) -> Tree:
    result: list[Directive] = []
    for one in tree:
        if matches(one):
            result += to(one)
        elif one.children is not None:
            result.append(dataclasses.replace(one, children=replaced(one.children, matches, to)))
        else:
            result.append(one)
    return tuple(result)


def with_children(one: Directive, children: Iterable[Directive]) -> Directive:
    return dataclasses.replace(one, children=tuple(children))


def with_arguments(one: Directive, *arguments: str) -> Directive:
    return dataclasses.replace(one, arguments=arguments)


def gone(_: Directive) -> Tree:
    """Nothing in the place of a directive."""
    return ()


def named(name: str, *arguments: str) -> Matches:
    """A directive of that name that begins with these arguments."""
    return lambda one, _: one.name == name and one.arguments[: len(arguments)] == arguments


def own(block: Directive, name: str) -> list[Directive]:
    return [one for one in block.children or () if one.name == name]


def has(block: Directive, name: str, *arguments: str) -> bool:
    return any(one.arguments[: len(arguments)] == arguments for one in own(block, name))


def place(file: str, one: Directive, around: Around) -> str:
    """Where a directive stands, for people: the route, or the file; and what it says, where that tells it apart."""
    for block in reversed((*around, one)):
        if block.name in ("location", "upstream"):
            return " ".join(block.arguments)
    if one.name in ("proxy_set_header", "map", "geo"):
        return " ".join(one.arguments[:1] if one.name == "proxy_set_header" else one.arguments[-1:])
    return file
