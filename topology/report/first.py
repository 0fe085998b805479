"""What `mtls-lab init` writes, a first topology and the schema that it names, and what people do with it next."""

from __future__ import annotations

import shlex
from pathlib import Path

from topology.report import schema

TOPOLOGY = "topology.yaml"
TEXT = Path(__file__).parent / "templates" / TOPOLOGY


def files() -> dict[str, bytes]:
    """Name -> content.  The first line of the topology names the schema, which stands beside it."""
    return {TOPOLOGY: TEXT.read_bytes(), schema.FILE_NAME: schema.text().encode()}


def next_steps(folder: Path) -> tuple[str, ...]:
    """Commands, from the folder where people are now."""
    enter = () if folder.resolve() == Path.cwd() else (f"cd {shlex.quote(str(folder))}",)
    return (*enter, "mtls-lab up", "mtls-lab check", "mtls-lab down")
