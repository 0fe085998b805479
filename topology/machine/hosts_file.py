"""The lab's names in the hosts file of this machine: a block between two marked lines, everything else untouched.

Bytes in, bytes out; only `replace` of the room's disk writes.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

from topology.description.model import Topology
from topology.errors import InvalidInput

LOOPBACK = "127.0.0.1"
"""Where the gateways' ports are published."""

JOINED = " (the line above had no end)"
"""On the first line of a block: a line feed was put before it, and goes with it."""

MARK = re.compile(r"# (begin|end) (mtls-lab [^ ,]+(?:, instance [^ ,]+)?)(" + re.escape(JOINED) + r")?")
ANY_MARK = re.compile(r"# *(begin|end) +mtls-lab\b")


@dataclass(frozen=True)
class Block:
    """What a lab wants in the file.  title: names the lab and its instance; names: those of each host."""

    title: str
    names: tuple[tuple[str, ...], ...]

    def text(self, joined: bool = False) -> str:
        lines = [
            f"# begin {self.title}{JOINED if joined else ''}",
            *(f"{LOOPBACK} {' '.join(names)}" for names in self.names),
            f"# end {self.title}",
        ]
        return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True)
class Found:
    """A block as it stands in a file.  start, end: its lines, counted from 0, the end not included."""

    title: str
    start: int
    end: int
    joined: bool


def block_of(topology: Topology, instance: str | None) -> Block:
    return Block(
        title=f"mtls-lab {topology.name}" + (f", instance {instance}" if instance else ""),
        names=tuple((host.domain, *host.aliases) for host in topology.hosts.values()),
    )


def read(file: Path) -> bytes:
    """Raises InvalidInput where it cannot be read, or is a device or a pipe, which must not be replaced by a file."""
    if file.exists() and not (file.is_file() or file.is_dir()):
        raise InvalidInput(f"{file}: is a device or a pipe; name a file")
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{file}: cannot be read: {error.strerror}") from error


def with_block(content: bytes, block: Block, file: Path) -> bytes:
    """The file's content with the block as it should be: where it stood already, else at the end.

    Raises InvalidInput, the place in it, where a line gives another address to one of the names, or blocks are damaged.
    """
    lines = content.splitlines(keepends=True)
    found = find(lines, block.title, file)
    refuse_other_addresses(lines, block, found, file)
    if found:
        return b"".join([*lines[: found.start], block.text(found.joined).encode(), *lines[found.end :]])
    joined = bool(content) and not content.endswith((b"\n", b"\r"))
    return content + (b"\n" if joined else b"") + block.text(joined).encode()


def without_block(content: bytes, block: Block, file: Path) -> bytes:
    """The file's content as it was before the block.  Raises InvalidInput where blocks are damaged."""
    lines = content.splitlines(keepends=True)
    found = find(lines, block.title, file)
    if not found:
        return content
    before, after = b"".join(lines[: found.start]), b"".join(lines[found.end :])
    return (before.removesuffix(b"\n") if found.joined and not after else before) + after


def find(lines: list[bytes], title: str, file: Path) -> Found | None:
    """The one block of a title.  Any block that is damaged is a reason to leave the file alone: whose lines are whose
    cannot be told then."""
    found: list[Found] = []
    begun: tuple[int, str, bool] | None = None
    for number, line in enumerate(lines):
        text = line.decode("latin-1").strip()
        mark = MARK.fullmatch(text)
        if mark is None and ANY_MARK.match(text):
            raise damaged(file, number, f"'{text}' is not how mtls-lab begins or ends a block")
        if mark is None:
            continue
        kind, named, joined = mark[1], mark[2], mark[3] is not None
        if kind == "begin" and begun:
            raise damaged(file, begun[0], f"the block '{begun[1]}' begins here and does not end")
        if kind == "begin":
            begun = (number, named, joined)
        elif begun is None or begun[1] != named:
            raise damaged(file, number, f"the block '{named}' ends here and did not begin")
        else:
            found.append(Found(named, begun[0], number + 1, begun[2]))
            begun = None
    if begun:
        raise damaged(file, begun[0], f"the block '{begun[1]}' begins here and does not end")
    ours = [one for one in found if one.title == title]
    if len(ours) > 1:
        raise damaged(file, ours[1].start, f"the block '{title}' stands here a second time")
    return ours[0] if ours else None


def damaged(file: Path, number: int, what: str) -> InvalidInput:
    return InvalidInput(f"{file}:{number + 1}: {what}; mend the file by hand, it was left as it is")


def refuse_other_addresses(lines: list[bytes], block: Block, found: Found | None, file: Path) -> None:
    """A name with two addresses leads now here, now there."""
    wanted = {name for names in block.names for name in names}
    faults = []
    for number, line in enumerate(lines):
        if found and found.start <= number < found.end:
            continue
        address, names = parsed(line)
        taken = [name for name in names if name in wanted]
        if taken and address != LOOPBACK:
            faults.append(f"{file}:{number + 1}: gives {', '.join(taken)} the address {address}, and not {LOOPBACK}")
    if faults:
        raise InvalidInput("\n".join([*faults, "remove the names there first; the file was left as it is"]))


def parsed(line: bytes) -> tuple[str, tuple[str, ...]]:
    """Address and lower-case names of a line of hosts(5); no names where it is a comment or no address is in it."""
    words = line.decode("latin-1").partition("#")[0].split()
    try:
        address = str(ipaddress.ip_address(words[0].partition("%")[0])) if words else ""
    except ValueError:
        return "", ()
    return address, tuple(name.lower().rstrip(".") for name in words[1:])
