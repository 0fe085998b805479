"""Files that are this machine's and not the lab's: the one place of this room that writes.

Where a file can be replaced in one step, `generation.writing` does it; here stands what is left.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from topology.errors import LabError
from topology.generation import writing
from topology.generation.writing import NotWritten


class NotPermitted(LabError):
    """The caller may not change a file of this machine; it is as it was."""

    exit_code = 2


def replace(path: Path, content: bytes) -> None:
    """Gives a file of this machine another content; its mode and owner stay.

    In one step where that is possible.  A file that is mounted, as /etc/hosts in a container, cannot be replaced and is
    written in place; where that fails midway, the old content is put back.
    Raises NotPermitted where the caller may not, NotWritten for any other reason; the file is then as it was.
    """
    path = path.resolve()
    status = path.stat()
    try:
        writing.write(path, content, stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid))
    except NotWritten:
        overwrite(path, content)


def overwrite(path: Path, content: bytes) -> None:
    try:
        with path.open("r+b", buffering=0) as file:
            old = file.read()
            try:
                fill(file.fileno(), content)
            except BaseException:  # an interruption, too
                fill(file.fileno(), old)
                raise
    except PermissionError as error:
        raise NotPermitted(f"{path}: you may not change it; run this again as root (sudo)") from error
    except OSError as error:
        raise NotWritten(
            f"{path}: cannot be written: {error.strerror}; what stood there before still stands"
        ) from error


def fill(descriptor: int, content: bytes) -> None:
    """Writes from the start: a file never is empty, not even for a moment, and never longer than its content after."""
    written = 0
    while written < len(content):
        written += os.pwrite(descriptor, content[written:], written)
    os.ftruncate(descriptor, len(content))
    os.fsync(descriptor)


def make_folder(path: Path, owner: tuple[int, int] | None) -> Path | None:
    """A folder for its owner alone, and those above it; returns the topmost one that had to be made.

    owner: user and group; None for the caller's.
    """
    if path.is_dir():
        return None
    above = make_folder(path.parent, owner)
    try:
        path.mkdir(mode=0o700)
        if owner is not None:
            os.chown(path, *owner, follow_symlinks=False)
    except OSError as error:
        raise NotWritten(f"{path}: the folder cannot be made: {error.strerror}") from error
    return above or path


def remove_folders(path: Path, top: Path) -> None:
    """Removes a folder and those above it up to top, as far as they are empty."""
    for folder in (path, *path.parents):
        if not folder.is_relative_to(top):
            return
        with contextlib.suppress(OSError):
            folder.rmdir()


@contextmanager
def copied(path: Path) -> Iterator[Path]:
    """A copy of a file to work on, in a folder of its own; gone when the context ends."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(path.read_bytes())
        yield copy


@contextmanager
def temporary(name: str, content: bytes) -> Iterator[Path]:
    """A file that anybody can read, for a tool that takes its input from one; gone when the context ends."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        file = Path(folder) / name
        file.write_bytes(content)
        file.chmod(0o644)
        yield file


def delete(path: Path) -> None:
    """Removes one file; it may be gone already."""
    try:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
    except OSError as error:
        raise NotWritten(f"{path}: cannot be removed: {error.strerror}") from error


def note(path: Path, text: str, owner: tuple[int, int] | None) -> None:
    """A small file of ours beside what is a person's own."""
    writing.write(path, text.encode(), 0o600, owner)
