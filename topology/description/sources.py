"""What an author brings along: single files, and the content of a folder that an image is built from, as one hash.

The hash names the image, and so stands in generated files: it depends on the sources and the build arguments alone,
never on the machine, the order of files on disk, or time stamps.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from topology.errors import InvalidInput

JUNK = {".git", "__pycache__", "node_modules", ".venv", ".next", "target", ".DS_Store", ".pytest_cache"}
"""What tools leave beside sources; it never belongs to them."""


def given(folder: Path, name: str) -> bytes:
    """A file that the author brings along.  folder: the topology's own, which name is relative to."""
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise InvalidInput(f"{name}: cannot be read: {error.strerror}") from error


def files(folder: Path) -> tuple[Path, ...]:
    """The files of a build context, relative to the folder, in a fixed order; .dockerignore is honoured."""
    ignored = ignore_rules(folder)
    return tuple(sorted(p for p in walk(folder) if not is_ignored(p.as_posix(), ignored)))


def walk(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in JUNK]
        yield from ((Path(place) / name).relative_to(folder) for name in names if name not in JUNK)


def stray_links(folder: Path) -> Iterator[Path]:
    """Symbolic links, relative to the folder, to other folders or to what lies outside: they are not followed."""
    root = folder.resolve()
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in JUNK)
        for path in (Path(place) / name for name in (*folders, *sorted(names))):
            if path.is_symlink() and (path.is_dir() or not path.resolve().is_relative_to(root)):
                yield path.relative_to(folder)


def content_hash(folder: Path, arguments: Mapping[str, str]) -> str:
    """SHA-256, in hexadecimal, over each file's path, executable bit and content, and over the build arguments.

    Raises InvalidInput where a file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for path in files(folder):
            content = (folder / path).read_bytes()
            executable = os.access(folder / path, os.X_OK)
            digest.update(f"{path.as_posix()}\0{int(executable)}\0{len(content)}\0".encode() + content)
    except OSError as error:
        raise InvalidInput(f"{error.filename}: cannot be read: {error.strerror}; an image is built from it") from error
    for name, value in sorted(arguments.items()):
        digest.update(f"{name}={value}\0".encode())
    return digest.hexdigest()


def ignore_rules(folder: Path) -> tuple[tuple[re.Pattern[str], bool], ...]:
    """The lines of .dockerignore: pattern, and whether it takes files out or (with `!`) back in."""
    file = folder / ".dockerignore"
    lines = file.read_text().splitlines() if file.is_file() else []
    found = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return tuple((pattern(line.lstrip("!").strip("/")), not line.startswith("!")) for line in found)


def pattern(line: str) -> re.Pattern[str]:
    """A .dockerignore pattern as a regular expression: `*` within a name, `**` across folders, `?` one character."""
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    expression = "".join(parts.get(part) or re.escape(part) for part in re.split(r"(\*\*/|\*\*|\*|\?)", line))
    return re.compile(rf"{expression}(?:/.*)?")


def is_ignored(path: str, rules: tuple[tuple[re.Pattern[str], bool], ...]) -> bool:
    ignored = False
    for expression, out in rules:
        if expression.fullmatch(path):
            ignored = out
    return ignored
