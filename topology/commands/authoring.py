"""Writing a topology: a first one, and the schema that editors check it by."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from topology.commands.arguments import Json


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="where to; made if it is not there")] = Path(),
    as_json: Json = False,
) -> None:
    """Write a first topology with comments, and the schema by which editors complete and check it."""
    from topology.generation import writing
    from topology.report import first

    files = first.files()
    writing.create(folder, files)
    written, steps = [str(folder / name) for name in files], first.next_steps(folder)
    if as_json:
        print(json.dumps({"written": written, "next": list(steps)}, indent=2))
    else:
        print("\n".join([*(f"wrote {path}" for path in written), "", "Next:", *(f"  {step}" for step in steps)]))


def schema(as_json: Json = False) -> None:  # noqa: ARG001 -- it is JSON in any case
    """Print the JSON Schema of topology files, for editors."""
    from topology.report.schema import text

    sys.stdout.write(text())
