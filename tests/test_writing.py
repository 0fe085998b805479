"""Files on disk: replaced in one step, readable by whom they should be, compared honestly."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from topology.generation import writing
from topology.generation.writing import NotWritten, differences, synchronise, write, write_all

FILES = {".gitignore": "/identities*/\n", "server/compose.yaml": "name: a\n", "server/nginx/nginx.conf": "events {}\n"}


def test_what_was_written_does_not_differ(tmp_path: Path) -> None:
    """Writing twice changes nothing the second time."""
    assert {d.kind for d in synchronise(tmp_path, FILES)} == {"missing"}
    assert differences(tmp_path, FILES) == ()
    assert synchronise(tmp_path, FILES) == ()


def test_what_was_checked_out_under_a_strict_umask_becomes_readable(tmp_path: Path) -> None:
    """A gateway runs as another user than the one who cloned."""
    synchronise(tmp_path, FILES)
    (tmp_path / "server/nginx/nginx.conf").chmod(0o600)
    (tmp_path / "server/nginx").chmod(0o700)
    synchronise(tmp_path, FILES)

    assert stat.S_IMODE((tmp_path / "server/nginx/nginx.conf").stat().st_mode) == 0o644
    assert stat.S_IMODE((tmp_path / "server/nginx").stat().st_mode) == 0o755


def test_a_hand_edit_is_found_and_undone(tmp_path: Path) -> None:
    """`generate --check` names the file; `generate` puts it right."""
    synchronise(tmp_path, FILES)
    edited = tmp_path / "server/nginx/nginx.conf"
    edited.write_text("events {} # edited\n")

    assert [(d.path, d.kind) for d in differences(tmp_path, FILES)] == [("server/nginx/nginx.conf", "differs")]
    synchronise(tmp_path, FILES)
    assert edited.read_text() == FILES["server/nginx/nginx.conf"]


def test_a_file_that_nobody_generated_is_found_and_removed(tmp_path: Path) -> None:
    """nginx would read it, so it may not lie there."""
    synchronise(tmp_path, FILES)
    stray = tmp_path / "server/nginx/stray.conf"
    stray.write_text("allow all;\n")

    assert [(d.path, d.kind) for d in differences(tmp_path, FILES)] == [("server/nginx/stray.conf", "unexpected")]
    synchronise(tmp_path, FILES)
    assert not stray.exists()


def test_a_host_that_left_the_topology_leaves_the_disk(tmp_path: Path) -> None:
    """Its stack would otherwise be started by hand years later."""
    synchronise(tmp_path, FILES | {"client/compose.yaml": "name: b\n"})

    assert [d.path for d in synchronise(tmp_path, FILES)] == ["client/compose.yaml"]
    assert not (tmp_path / "client/compose.yaml").exists()


@pytest.mark.parametrize("kept", ["server/certificates/server.key", "server/notes.txt", "authorities/nginx/key.pem"])
def test_what_is_not_generated_is_left_alone(tmp_path: Path, kept: str) -> None:
    """Certificates, and whatever else people keep there, are not generation's to judge."""
    synchronise(tmp_path, FILES)
    write(tmp_path / kept, b"mine")

    assert synchronise(tmp_path, FILES) == ()
    assert (tmp_path / kept).read_bytes() == b"mine"


def test_a_key_is_readable_by_its_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    """0600 holds; and what containers read is readable even under a strict umask."""
    before = os.umask(0o077)
    try:
        write_all(tmp_path, {"a/key.pem": (b"key", 0o600), "a/certificate.pem": (b"certificate", 0o644)})
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "a/key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "a/certificate.pem").stat().st_mode) == 0o644
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o755


def test_a_mode_that_was_loosened_is_put_right(tmp_path: Path) -> None:
    """A key that somebody made readable is written again."""
    write_all(tmp_path, {"key.pem": (b"key", 0o600)})
    (tmp_path / "key.pem").chmod(0o644)

    assert write_all(tmp_path, {"key.pem": (b"key", 0o600)}) == ["key.pem"]
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600


def test_an_interrupted_write_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the last step the old content stands; nothing half-written is left beside it."""
    target = tmp_path / "nginx.conf"
    write(target, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing.os, "fsync", full)
    with pytest.raises(NotWritten, match=r"No space left on device.*still stands"):
        write(target, b"new")

    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_interruption_leaves_no_half_of_a_key_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(writing.os, "fsync", interrupted)

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "bro.pem", b"key", 0o600)
    assert list(tmp_path.iterdir()) == []


def test_a_link_that_takes_the_place_of_what_is_written_changes_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under sudo the folder is a person's, and what they link to could be the machine's."""
    victim, folder = tmp_path / "shadow", tmp_path / "home"
    victim.write_text("root's")
    victim.chmod(0o600)
    folder.mkdir()

    def swapped(_: int) -> None:
        temporary = next(folder.iterdir())
        temporary.unlink()
        temporary.symlink_to(victim)

    monkeypatch.setattr(writing.os, "fsync", swapped)
    write(folder / "note", b"ours", 0o644)

    assert stat.S_IMODE(victim.stat().st_mode) == 0o600
    assert victim.read_text() == "root's"


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    """A file stands where a folder should be."""
    (tmp_path / "compose").write_text("a file")

    with pytest.raises(NotWritten, match="compose"):
        write(tmp_path / "compose" / "two-host" / "compose.yaml", b"")


def test_files_that_are_written_together_change_together(tmp_path: Path) -> None:
    """A folder in the place of the last one: the first one is not replaced either."""
    write(tmp_path / "a", b"old")
    (tmp_path / "file").write_text("a file")

    with pytest.raises(NotWritten, match="file"):
        write_all(tmp_path, {"a": (b"new", 0o644), "file/b": (b"new", 0o644)})
    assert (tmp_path / "a").read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} == {"a", "file"}


@pytest.mark.parametrize(("before", "after"), [("files/x", "files/x/y"), ("files/x/y", "files/x")])
def test_a_file_takes_a_folder_s_place_and_the_other_way_round(tmp_path: Path, before: str, after: str) -> None:
    synchronise(tmp_path, FILES | {f"server/{before}": "old"})
    synchronise(tmp_path, FILES | {f"server/{after}": "new"})

    assert (tmp_path / "server" / after).read_text() == "new"
    assert differences(tmp_path, FILES | {f"server/{after}": "new"}) == ()


@pytest.mark.parametrize("left", [".compose.yaml.0123abcd", "nginx/.nginx.conf.0123abcd", "../..gitignore.0123abcd"])
def test_what_a_killed_run_left_is_swept_and_other_hidden_files_are_not(tmp_path: Path, left: str) -> None:
    synchronise(tmp_path, FILES)
    write(tmp_path / "server" / ".notes.0123abcd", b"mine")
    (tmp_path / "server" / left).write_text("name: ")

    assert [d.kind for d in synchronise(tmp_path, FILES)] == ["unexpected"]
    assert not (tmp_path / "server" / left).exists()
    assert (tmp_path / "server" / ".notes.0123abcd").read_bytes() == b"mine"
