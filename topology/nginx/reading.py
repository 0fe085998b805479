"""Files -> tree.  Reads what nginx would read, and where the gateway's paths lie on this machine.

A parser (ngxparse, the maintained crossplane) splits a file into directives; which files are included, and where, is
decided here, since it reads each file once, and always from this machine's own /etc/nginx.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import crossplane
from crossplane.errors import NgxParserBaseException

from topology.errors import InvalidInput
from topology.nginx.tree import Block, Directive, Place

NAMELESS = "this text"
"""What the parser calls a text; where that stands is added afterwards."""

DEEPEST = 20
"""Files that include each other, as far as anybody means it."""

SHIPPED = frozenset({
    "mime.types", "fastcgi.conf", "fastcgi_params", "koi-utf", "koi-win", "proxy_params", "scgi_params", "uwsgi_params",
    "win-utf",
})  # fmt: skip
"""Files that come with nginx; nothing in them decides who gets in."""


class Unreadable(InvalidInput):
    """A file that is not there, or that is no nginx configuration.  The message has file and line."""


@dataclass(frozen=True)
class Mount:
    """A folder or file of the gateway's machine, and what it is on this one."""

    there: PurePosixPath
    here: Path


@dataclass(frozen=True)
class Mounts:
    """Where the gateway's files lie on this machine: the mount with the longest path decides, else it is this machine.

    strict: what no mount holds is not on this machine at all, although something might lie at that path.
    """

    mounts: tuple[Mount, ...] = ()
    strict: bool = False

    @classmethod
    def of(cls, folders: Mapping[str, Path], *, strict: bool = False) -> Mounts:
        """folders: path of the gateway's machine -> path on this one."""
        return cls(tuple(Mount(PurePosixPath(there), here) for there, here in folders.items()), strict)

    def here(self, path: str) -> Path | None:
        """Where that file is on this machine; None where it cannot be."""
        return place_of(path, self)

    def is_made_at_start(self, path: str) -> bool:
        """Whether a container's own scripts write that file: it is in no folder of this machine."""
        return self.strict and path.startswith("/tmp/")  # noqa: S108 - of the gateway's machine


@lru_cache(maxsize=1024)
def place_of(path: str, mounts: Mounts) -> Path | None:
    """Remembered, as every rule looks at the same few files."""
    wanted = PurePosixPath(path)
    for mount in sorted(mounts.mounts, key=lambda one: len(one.there.parts), reverse=True):
        if wanted.is_relative_to(mount.there):
            return mount.here / wanted.relative_to(mount.there)
    return None if mounts.strict else Path(path)


@dataclass(frozen=True)
class Configuration:
    """A gateway's whole configuration.

    root: the block `main`; prefix: the folder of the gateway's machine from which relative paths start; files: all
    that were read, the first one first.
    """

    root: Block
    prefix: str
    mounts: Mounts
    files: tuple[Path, ...] = field(default=())

    @cached_property
    def http(self) -> tuple[Block, ...]:
        return tuple(self.root.blocks("http"))

    @cached_property
    def servers(self) -> tuple[Block, ...]:
        return tuple(server for http in self.http for server in http.blocks("server"))

    def here(self, path: str) -> Path | None:
        """The file that a directive names, on this machine; None where it cannot be, or hangs on a variable."""
        return None if "$" in path else self.mounts.here(str(PurePosixPath(self.prefix) / path))

    def content(self, path: str) -> bytes | None:
        """What is in the file that a directive names; None where it is not at hand or may not be read."""
        found = self.here(path)
        try:
            return None if found is None else found.read_bytes()
        except OSError:
            return None


def read(main: Path, *, prefix: str | None = None, mounts: Mounts | None = None) -> Configuration:
    """A gateway's configuration.

    main: the file that nginx reads first, on this machine; prefix: the folder in which the gateway's machine has it
    (default: where it is here); mounts: where the gateway's other files are.
    Raises Unreadable, with file and line.
    """
    mounts = mounts or Mounts()
    prefix = prefix or str(main.absolute().parent)
    files: list[Path] = []
    children = completed(tuple(included(main, prefix, mounts, files, ())), Place(main, 1))
    return Configuration(Block(Directive("main", (), Place(main, 1), children)), prefix, mounts, tuple(files))


OUTERMOST = frozenset({"events", "http", "mail", "stream"})
"""Blocks of a whole configuration; a file that has none of them is a part of one."""


def completed(children: tuple[Directive, ...], place: Place) -> tuple[Directive, ...]:
    """A file of conf.d, sites-enabled or snippets, with the blocks around it into which nginx includes it."""
    names = {one.name for one in children}
    if not names or names & OUTERMOST:
        return children
    if "location" in names:
        children = (Directive("server", (), place, children),)
    return (Directive("http", (), place, children),)


def included(
    file: Path, prefix: str, mounts: Mounts, files: list[Path], around: tuple[Path, ...], by: Place | None = None
) -> Iterator[Directive]:
    """The directives of a file and of all that it includes, in the order in which nginx takes them.

    files: grows by what is read; around: the files that led here; by: the line that includes it.
    """
    if file in around or len(around) > DEEPEST:
        raise Unreadable(f"{by}: {file} includes itself")
    if file not in files:
        files.append(file)
    yield from resolved(parse(text_of(file, by), file), prefix, mounts, files, (*around, file))


def resolved(
    directives: Iterable[Directive], prefix: str, mounts: Mounts, files: list[Path], around: tuple[Path, ...]
) -> Iterator[Directive]:
    for one in directives:
        if one.name == "include" and one.arguments:
            for file in matching(one, prefix, mounts):
                yield from included(file, prefix, mounts, files, around, one.place)
        elif one.children is not None:
            children = tuple(resolved(one.children, prefix, mounts, files, around))
            yield Directive(one.name, one.arguments, one.place, children)
        else:
            yield one


def matching(include: Directive, prefix: str, mounts: Mounts) -> list[Path]:
    """The files that an include names, on this machine: of a pattern, those that are there, by name.

    Raises Unreadable where one is named that is not there, as nginx does; what comes with nginx itself may be missing.
    """
    path = str(PurePosixPath(prefix) / include.value)
    here = mounts.here(path)
    if any(sign in include.value for sign in "*?["):
        return [] if here is None else sorted(Path(found) for found in glob.glob(str(here)))  # noqa: PTH207 - absolute patterns
    if here is not None and here.is_file():
        return [here]
    if PurePosixPath(path).name in SHIPPED or mounts.is_made_at_start(path):
        return []
    looked = f" (looked for at {here})" if here is not None else ""
    raise Unreadable(
        f"{include.place}: includes {include.value}, which is not here{looked}; say where the gateway's folder is with "
        f"--mount FOLDER:{PurePosixPath(path).parent}"
    )


def text_of(file: Path, by: Place | None) -> str:
    try:
        return file.read_bytes().decode()
    except UnicodeDecodeError as error:
        line = file.read_bytes()[: error.start].count(b"\n") + 1
        raise Unreadable(f"{file}:{line}: not UTF-8 text, so no nginx configuration") from None
    except OSError as error:
        where = f"{by}: " if by else ""
        raise Unreadable(f"{where}{file}: cannot be read: {error.strerror or error}") from None


def parse(text: str, file: Path) -> tuple[Directive, ...]:
    """The directives of one text, includes left as they are.  file: what places name.  Raises Unreadable."""
    try:
        return tuple(directive(one, file) for one in parsed(text))
    except Fault as fault:
        raise Unreadable(f"{file}:{fault.line}: {fault.reason}") from None


def directive(found: Mapping[str, Any], file: Path) -> Directive:
    children = tuple(directive(one, file) for one in found["block"]) if "block" in found else None
    return Directive(found["directive"], tuple(found["args"]), Place(file, found["line"]), children)


class Fault(Exception):
    """What makes a text no configuration.  line: where, counted from 1."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line, self.reason = line, reason


@lru_cache(maxsize=256)
def parsed(text: str) -> tuple[Mapping[str, Any], ...]:
    """What the parser makes of a text: gateways have most of theirs in common, and each costs some time.

    Raises Fault.
    """
    check_ends(text)
    found = crossplane.parse_string(text, filename=NAMELESS, single=True, check_ctx=False, check_args=False)
    for error in found["errors"]:
        raise Fault(error["line"] or 1, reason(error["error"]))
    return tuple(found["config"][0]["parsed"])


def check_ends(text: str) -> None:
    """Raises Fault where a directive has no end: the parser would take it for one without a semicolon."""
    start = 0
    try:
        for token, line, quoted in crossplane.lex_string(text, filename=NAMELESS):
            if token.startswith("#") and not quoted:
                continue
            if token == "}" and not quoted and start:  # noqa: S105 - a brace
                raise Fault(start, 'the directive that begins here has no ";" before "}"')
            ended = token in (";", "{", "}") and not quoted
            if ended and token != "}" and not start:  # noqa: S105 - a brace
                raise Fault(line, f'unexpected "{token}"')
            start = 0 if ended else start or line
    except NgxParserBaseException as error:
        raise Fault(error.lineno or 1, str(error.strerror)) from None
    except (RuntimeError, StopIteration):
        raise Fault(text.count(chr(10)) + 1, "unexpected end of file") from None
    if start:
        raise Fault(start, 'the directive that begins here has no ";" before the end of the file')


def reason(error: str) -> str:
    """A parser's message without the place that it repeats."""
    return error.split(f" in {NAMELESS}")[0] or "unexpected end of file"
