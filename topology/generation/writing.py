"""{path: content} -> disk, and the differences between the two.  The one place that writes a lab's files.

Each file is replaced in one step, so that whoever reads it, or kills the tool, finds the old one or the new one whole.
Of files that are written together all lie beside their places before the first is replaced, so that a full disk leaves
every old one.  Folders are never replaced: containers have them mounted.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from topology.errors import InvalidInput, LabError

GENERATED = ("compose.yaml", "nginx", "pages", "files", "pebble")
"""What generation owns in a host's folder; anything else there is left alone."""

LEFT_OVER = re.compile(r"\.(\.gitignore|compose\.yaml|override[^/]*\.yaml|(placement|altered)[^/]*\.json)\.[0-9a-f]{8}")
"""What a killed run leaves beside files that lie next to what is not generation's."""


class NotWritten(LabError):
    """A file or folder could not be written; what stood there before still stands."""

    exit_code = 1


@dataclass(frozen=True)
class Change:
    """A file that is to have a content, or is to go (None).  owner: user and group, None for the caller's."""

    path: Path
    content: bytes | None
    mode: int = 0o644
    owner: tuple[int, int] | None = None


@dataclass(frozen=True)
class Difference:
    path: str
    kind: Literal["missing", "differs", "unexpected"]
    written: str
    wanted: str


def differences(folder: Path, files: Mapping[str, str | bytes]) -> tuple[Difference, ...]:
    """How the generated files on disk differ from what they should be, by path.

    folder: the lab's folder, `compose/<lab>`; files: what `rendering.render` gives.
    """
    hosts = {path.partition("/")[0] for path in files}
    found = {str(path.relative_to(folder)): path for path in generated_files(folder, hosts)}
    wanted = {path: encoded(content) for path, content in files.items()}
    return tuple(
        difference
        for path in sorted(found.keys() | files.keys())
        if (difference := compare(path, found.get(path), wanted.get(path)))
    )


def compare(path: str, found: Path | None, wanted: bytes | None) -> Difference | None:
    written = found.read_bytes() if found is not None else None
    if written == wanted:
        return None
    kind: Literal["missing", "differs", "unexpected"] = (
        "missing" if written is None else "unexpected" if wanted is None else "differs"
    )
    return Difference(path, kind, text_of(written), text_of(wanted))


def encoded(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


def text_of(content: bytes | None) -> str:
    return (content or b"").decode(errors="replace")


def generated_files(folder: Path, hosts: Collection[str]) -> Iterator[Path]:
    """What generation wrote, for hosts that are in the topology or once were."""
    if (ignored := folder / ".gitignore").is_file():
        yield ignored
    yield from left_over(folder)
    for host in sorted(folder.iterdir()) if folder.is_dir() else ():
        certificates = host.name.startswith(("authorities", "identities")) and host.name not in hosts
        if certificates or not host.is_dir():
            continue
        yield from left_over(host)
        for name in GENERATED:
            yield from files_below(host / name)


def left_over(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in sorted(folder.iterdir()) if LEFT_OVER.fullmatch(path.name) and path.is_file())


def files_below(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    elif path.is_dir():
        yield from (below for below in sorted(path.rglob("*")) if below.is_file())


def synchronise(folder: Path, files: Mapping[str, str | bytes]) -> tuple[Difference, ...]:
    """Makes the generated files on disk what they should be; returns what was different before."""
    found = differences(folder, files)
    unexpected = [difference.path for difference in found if difference.kind == "unexpected"]
    in_the_way = [path for path in unexpected if any(wanted.startswith(f"{path}/") for wanted in files)]
    for path in in_the_way:  # files where folders are to be
        remove(folder / path)
    goes = [Change(folder / path, None) for path in unexpected if path not in in_the_way]
    comes = [Change(folder / d.path, encoded(files[d.path])) for d in found if d.kind != "unexpected"]
    change_all([*goes, *comes])
    for path in files:
        make_readable(folder, folder / path)
    return found


def make_readable(folder: Path, path: Path) -> None:
    """Lets containers read a generated file, also where it was checked out under a strict umask."""
    try:
        folders = [parent for parent in path.parents if parent.is_relative_to(folder)]
        for one, wanted in [(path, 0o644), *((parent, 0o755) for parent in folders)]:
            if (mode := stat.S_IMODE(one.stat().st_mode)) | wanted != mode:
                one.chmod(mode | wanted)
    except OSError as error:
        raise NotWritten(f"{path}: containers cannot read it, and its mode cannot be set: {error.strerror}") from error


def write_all(folder: Path, files: Mapping[str, tuple[bytes, int]], owner: tuple[int, int] | None = None) -> list[str]:
    """Writes what is not there already, with its mode and owner; returns the paths that changed.

    files: path below the folder -> content and mode; owner: user and group, None for the caller's.
    """
    changes = {path: Change(folder / path, content, mode, owner) for path, (content, mode) in files.items()}
    changed = [path for path, change in changes.items() if not is_made(change)]
    change_all([changes[path] for path in changed])
    return changed


def is_made(change: Change) -> bool:
    """Whether the file has that content, mode and owner already."""
    try:
        status = change.path.stat()
        same_owner = change.owner is None or (status.st_uid, status.st_gid) == change.owner
        same_mode = stat.S_IMODE(status.st_mode) == change.mode
        return same_owner and same_mode and change.path.read_bytes() == change.content
    except OSError:
        return False


def write(path: Path, content: bytes, mode: int = 0o644, owner: tuple[int, int] | None = None) -> None:
    """Replaces one file in one step.  A key is never readable by others, not even for a moment."""
    change_all([Change(path, content, mode, owner)])


def change_all(changes: Sequence[Change]) -> None:
    """Makes changes in their order.

    Raises NotWritten; where a file cannot be laid beside its place, as on a full disk, none was changed then.
    """
    temporaries = [beside(change.path) for change in changes]
    try:
        for change, temporary in zip(changes, temporaries, strict=True):
            if change.content is not None:
                lay(temporary, change.content, change)
        for change, temporary in zip(changes, temporaries, strict=True):
            if change.content is None:
                remove(change.path)
            else:
                put(temporary, change.path)
    except BaseException:  # an interruption, too
        clear(temporaries)
        raise


def beside(path: Path) -> Path:
    return path.parent / f".{path.name}.{secrets.token_hex(4)}"


def lay(temporary: Path, content: bytes, change: Change) -> None:
    make_folder(change.path.parent)
    with failing_as_not_written(change.path):
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            # By the open file: under sudo, a folder's owner could put a link in the place of its name meanwhile.
            if change.owner is not None:
                os.fchown(descriptor, *change.owner)
            os.fchmod(descriptor, change.mode)
            os.fsync(descriptor)


def put(temporary: Path, path: Path) -> None:
    with failing_as_not_written(path):
        temporary.replace(path)


def clear(temporaries: Iterable[Path]) -> None:
    for temporary in temporaries:
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def failing_as_not_written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NotWritten(
            f"{path}: cannot be written: {error.strerror}; what stood there before still stands"
        ) from error


def make_folder(path: Path) -> None:
    """A folder that containers can read, whatever the caller's umask."""
    if path.is_dir():
        return
    make_folder(path.parent)
    try:
        path.mkdir(exist_ok=True)
        path.chmod(0o755)
    except OSError as error:
        raise NotWritten(f"{path}: the folder cannot be made: {error.strerror}") from error


def remove(path: Path) -> None:
    """Removes one generated file, and its folder when that is empty then."""
    try:
        path.unlink()
        with contextlib.suppress(OSError):
            path.parent.rmdir()
    except OSError as error:
        raise NotWritten(f"{path}: cannot be removed: {error.strerror}") from error


def create(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes new files, all of them or none, and touches nothing that is there.

    files: name -> content.  Raises InvalidInput where one of them, or something else in the place of the folder, is
    there already, NotWritten where it cannot be written.
    """
    refuse_what_is_there(folder, files)
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    names: list[Path] = []
    try:
        make_folder(folder)
        for path in (folder / name for name in files):
            reserve(path)
            names.append(path)
        for path in names:
            write(path, files[path.name])
    except BaseException:
        with contextlib.suppress(OSError):
            for path in names:
                path.unlink(missing_ok=True)
            for one in made:
                one.rmdir()
        raise


def refuse_what_is_there(folder: Path, names: Collection[str]) -> None:
    around = next(one for one in (folder, *folder.parents) if os.path.lexists(one))
    if not around.is_dir():
        raise InvalidInput(f"{around}: is not a folder; name another place")
    if there := [str(folder / name) for name in names if os.path.lexists(folder / name)]:
        what = "is there already" if len(there) == 1 else "are there already"
        raise InvalidInput(
            f"{', '.join(there)}: {what}; nothing was written: name another folder, or move what is there"
        )


def reserve(path: Path) -> None:
    """Makes a file that was not there: whatever is written to it later overwrites nobody else's."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
    except FileExistsError as error:
        raise InvalidInput(f"{path}: is there already; nothing was written: name another folder") from error
    except OSError as error:
        raise NotWritten(f"{path}: cannot be written: {error.strerror}") from error
