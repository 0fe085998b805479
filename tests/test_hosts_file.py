"""The block in the hosts file: put in, brought up to date, taken out, and every other byte stays."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topology import cli
from topology.errors import InvalidInput
from topology.generation.writing import NotWritten
from topology.machine import disk
from topology.machine.hosts_file import Block, with_block, without_block

FILE = Path("/etc/hosts")
SHOP = Block("mtls-lab shop", (("web.shop.test", "www.shop.test"), ("api.shop.test",)))
SHOP_TEXT = b"""\
# begin mtls-lab shop
127.0.0.1 web.shop.test www.shop.test
127.0.0.1 api.shop.test
# end mtls-lab shop
"""
MACHINE = b"127.0.0.1 localhost\n::1 localhost ip6-localhost\n\n# a printer\n10.0.0.9 printer.shop\n"
TOPOLOGY = "name: shop\nauthorities: {ssl_ca: {}}\nhosts: {web: {domain: web.shop.test, aliases: [www.shop.test]}}\n"


def test_the_block_stands_at_the_end_between_its_marks() -> None:
    assert with_block(MACHINE, SHOP, FILE) == MACHINE + SHOP_TEXT


def test_a_second_time_nothing_changes() -> None:
    once = with_block(MACHINE, SHOP, FILE)

    assert with_block(once, SHOP, FILE) == once


def test_a_block_is_brought_up_to_date_where_it_stands() -> None:
    old = SHOP_TEXT.replace(b"127.0.0.1 api.shop.test", b"127.0.0.1 gone.shop.test")

    assert with_block(MACHINE + old + b"10.0.0.1 later\n", SHOP, FILE) == MACHINE + SHOP_TEXT + b"10.0.0.1 later\n"


def test_instances_and_labs_have_blocks_of_their_own() -> None:
    mine = Block("mtls-lab shop, instance mine", SHOP.names)
    both = with_block(with_block(MACHINE, SHOP, FILE), mine, FILE)

    assert without_block(both, mine, FILE) == with_block(MACHINE, SHOP, FILE)
    assert without_block(without_block(both, SHOP, FILE), mine, FILE) == MACHINE


LINES = st.sampled_from(
    [b"127.0.0.1 localhost", b"::1\tlocalhost", b"# begin", b"", b"  ", b"caf\xc3\xa9 \xff", b"127.0.0.1 web.shop.test"]
)


@given(st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\r\n", b"\r"]))), LINES, st.binary(max_size=0) | LINES)
def test_what_was_there_comes_back_byte_for_byte(lines: list[tuple[bytes, bytes]], last: bytes, added: bytes) -> None:
    """Whatever its line ends are, with or without one at its end, and also where lines were added since."""
    content = b"".join(line + end for line, end in lines) + last
    installed = with_block(content, SHOP, FILE)

    assert without_block(installed, SHOP, FILE) == content
    if added:
        kept = without_block(installed + added + b"\n", SHOP, FILE)
        assert kept == content + (b"" if content.endswith((b"\n", b"\r")) or not content else b"\n") + added + b"\n"


def test_removing_what_is_not_there_changes_nothing() -> None:
    assert without_block(MACHINE, SHOP, FILE) == MACHINE


@pytest.mark.parametrize(
    "line",
    [
        "10.1.2.3 web.shop.test",
        "::1 something API.Shop.Test. # a comment",
        "127.0.1.1\twww.shop.test",
        "fe80::1%lo0 web.shop.test",
    ],
)
def test_another_address_for_one_of_the_names_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(InvalidInput, match=r"/etc/hosts:6: gives .*shop.test.* the address .* and not 127.0.0.1"):
        with_block(MACHINE + line.encode() + b"\n", SHOP, FILE)


@pytest.mark.parametrize(
    "line",
    ["127.0.0.1 web.shop.test", "#10.1.2.3 web.shop.test", "10.1.2.3 shop.test # web.shop.test", "what web.shop.test"],
)
def test_lines_that_lead_nowhere_else_are_left_alone(line: str) -> None:
    assert with_block(line.encode() + b"\n", SHOP, FILE) == line.encode() + b"\n" + SHOP_TEXT


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (SHOP_TEXT.replace(b"# end mtls-lab shop\n", b""), "1: the block 'mtls-lab shop' begins here and does not end"),
        (SHOP_TEXT.split(b"\n", 1)[1], "3: the block 'mtls-lab shop' ends here and did not begin"),
        (SHOP_TEXT * 2, "5: the block 'mtls-lab shop' stands here a second time"),
        (b"# begin mtls-lab other\n" + SHOP_TEXT, "1: the block 'mtls-lab other' begins here and does not end"),
        (b"# begin mtls-lab shop\n# end mtls-lab other\n", "2: the block 'mtls-lab other' ends here and did not begin"),
        (b"# begin mtls-lab shop and more\n", "1: '# begin mtls-lab shop and more' is not how mtls-lab begins"),
    ],
)
def test_a_damaged_block_is_told_with_its_line_and_left_alone(content: bytes, told: str) -> None:
    for change in (with_block, without_block):
        with pytest.raises(InvalidInput, match=r"mend the file by hand") as caught:
            change(content, SHOP, FILE)
        assert str(caught.value).startswith(f"/etc/hosts:{told}")


# The command


@pytest.fixture
def topology(tmp_path: Path) -> str:
    file = tmp_path / "topology.yaml"
    file.write_text(TOPOLOGY)
    return str(file)


@pytest.fixture
def hosts(tmp_path: Path) -> Path:
    file = tmp_path / "hosts"
    file.write_bytes(MACHINE)
    file.chmod(0o640)
    return file


def test_the_block_is_printed(topology: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["hosts", topology, "--instance", "mine"]) == 0
    assert capsys.readouterr().out == (
        "# begin mtls-lab shop, instance mine\n127.0.0.1 web.shop.test www.shop.test\n"
        "# end mtls-lab shop, instance mine\n"
    )


def test_a_file_keeps_its_mode_and_comes_back(topology: str, hosts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["hosts", topology, "--install", "--yes", "--file", str(hosts)]) == 0
    assert b"www.shop.test" in hosts.read_bytes()
    assert cli.main(["hosts", topology, "--remove", "--yes", "--file", str(hosts), "--json"]) == 0

    assert hosts.read_bytes() == MACHINE
    assert stat.S_IMODE(hosts.stat().st_mode) == 0o640
    assert '"action": "removed"' in capsys.readouterr().out


def test_what_is_taken_out_is_not_told_in_words_of_another_block(
    topology: str, hosts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hosts.write_bytes(MACHINE + SHOP_TEXT)

    assert cli.main(["hosts", topology, "--remove", "--yes", "--file", str(hosts)]) == 0
    assert capsys.readouterr().err == f"About to take mtls-lab shop out of {hosts}\n"
    assert hosts.read_bytes() == MACHINE


def test_a_link_leads_to_the_file_that_is_changed(topology: str, hosts: Path) -> None:
    link = hosts.with_name("link")
    link.symlink_to(hosts)

    assert cli.main(["hosts", topology, "--install", "--yes", "--file", str(link)]) == 0
    assert link.is_symlink()
    assert b"www.shop.test" in hosts.read_bytes()


@pytest.mark.parametrize("action", ["--install", "--remove"])
def test_a_device_is_not_replaced_by_a_file(
    action: str, topology: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Root could do that to /dev/null.  A pipe stands for it; who reads it would wait for ever."""
    os.mkfifo(tmp_path / "pipe")

    assert cli.main(["hosts", topology, action, "--yes", "--file", str(tmp_path / "pipe")]) == 2
    assert "is a device or a pipe" in capsys.readouterr().err
    assert (tmp_path / "pipe").is_fifo()


def test_what_it_did_as_json(topology: str, hosts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["hosts", topology, "--remove", "--file", str(hosts), "--json"])

    assert json.loads(capsys.readouterr().out) == {
        "file": str(hosts),
        "title": "mtls-lab shop",
        "action": "unchanged",
        "lines": [{"address": "127.0.0.1", "names": ["web.shop.test", "www.shop.test"]}],
    }


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--install", "--remove"], "exclude each other"),
        (["--install"], "no terminal to ask on; say --yes"),
        (["--install", "--file", "/nowhere/hosts"], "/nowhere/hosts: cannot be read"),
        (["--instance", "No Name"], "lower-case letters"),
    ],
)
def test_bad_input_is_exit_2_and_changes_nothing(
    arguments: list[str], told: str, topology: str, hosts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["hosts", topology, "--file", str(hosts), *arguments]) == 2
    assert told in capsys.readouterr().err.splitlines()[-1]
    assert hosts.read_bytes() == MACHINE


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("", 130)])
def test_it_asks_on_a_terminal(
    answer: str, code: int, topology: str, hosts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = tmp_path / "typed"
    typed.write_text(answer)
    with typed.open() as file:
        monkeypatch.setattr("sys.stdin", file)
        monkeypatch.setattr("topology.commands.arguments.is_terminal", lambda: True)
        assert cli.main(["hosts", topology, "--install", "--file", str(hosts)]) == code

    assert (hosts.read_bytes() == MACHINE) == (code != 0)


# Writing


def test_a_write_that_fails_midway_leaves_the_old_content(hosts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full after the first bytes."""
    real, calls = os.pwrite, iter(range(10))

    def full(descriptor: int, content: bytes, offset: int) -> int:
        call = next(calls)
        if call == 1:
            raise OSError(28, "No space left on device")
        return real(descriptor, content[:7] if call == 0 else content, offset)

    monkeypatch.setattr(os, "pwrite", full)

    with pytest.raises(NotWritten, match="No space left on device; what stood there before still stands"):
        disk.overwrite(hosts, b"x" * 1000)
    assert hosts.read_bytes() == MACHINE


def test_an_interruption_midway_leaves_the_old_content(hosts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = os.ftruncate, iter(range(10))

    def interrupted(descriptor: int, length: int) -> None:
        if next(calls) == 0:
            raise KeyboardInterrupt
        real(descriptor, length)

    monkeypatch.setattr(os, "ftruncate", interrupted)

    with pytest.raises(KeyboardInterrupt):
        disk.overwrite(hosts, b"short\n")
    assert hosts.read_bytes() == MACHINE


def test_a_shorter_content_leaves_nothing_of_the_longer_one(hosts: Path) -> None:
    disk.overwrite(hosts, b"short\n")

    assert hosts.read_bytes() == b"short\n"
