"""The lab's names in the hosts file of this machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from topology.commands.arguments import DEFAULT_TOPOLOGY, Instance, Json, TopologyFile, Yes, agree, check_instance
from topology.errors import InvalidInput

DEFAULT_FILE = Path("/etc/hosts")


def hosts(
    topology: TopologyFile = DEFAULT_TOPOLOGY,
    instance: Instance = None,
    install: Annotated[bool, typer.Option("--install", help="put the block in, or bring it up to date")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="take the block out; every other line stays")] = False,
    file: Annotated[Path, typer.Option("--file", metavar="FILE", help="another hosts file")] = DEFAULT_FILE,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Print the block for /etc/hosts that leads the lab's names to this machine; put it in, or take it out."""
    from topology.description.loading import load
    from topology.machine import disk, hosts_file

    if install and remove:
        raise InvalidInput("--install and --remove exclude each other")
    check_instance(instance)
    block = hosts_file.block_of(load(topology).topology, instance)
    action = "printed"
    if install or remove:
        change = hosts_file.with_block if install else hosts_file.without_block
        before = hosts_file.read(file)
        action = "unchanged"
        if change(before, block, file) != before:
            # What is taken out may be an older block than the one that the topology wants now.
            what = f"put this into {file}:\n\n{block.text()}" if install else f"take {block.title} out of {file}"
            agree(f"About to {what}", yes)
            # Read again: while the question stood there, somebody else may have written.
            disk.replace(file, change(hosts_file.read(file), block, file))
            action = "installed" if install else "removed"
    if as_json:
        names = [{"address": hosts_file.LOOPBACK, "names": list(names)} for names in block.names]
        print(json.dumps({"file": str(file), "title": block.title, "action": action, "lines": names}, indent=2))
    elif action == "printed":
        sys.stdout.write(block.text())
    else:
        print(told(action, install, block.title, file))


def told(action: str, install: bool, title: str, file: Path) -> str:
    if action == "unchanged":
        return f"{file}: {title} is there already" if install else f"{file}: there is nothing of {title}"
    return f"{file}: {action} the block of {title}"
