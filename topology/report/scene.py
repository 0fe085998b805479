"""The scene of a request that went wrong: what the gateway was told of it, and a note for GitHub's review page."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

BLOCK = re.compile(r"^(?:# [^\n]*\n)*location (?P<exact>= )?(?P<prefix>\S+) \{\n.*?^\}\n", re.MULTILINE | re.DOTALL)
"""A location of the generated routes, with the comment that says where it leads."""


def location_block(routes: str, uri: str) -> str:
    """The location that nginx chooses for a request: an exact one, else the longest prefix; empty for none.

    routes: a gateway's generated `routes.conf`.  No location there is a regular expression.
    Source: nginx, "location".
    """
    path = urlsplit(f"//host{uri}").path or "/"
    blocks = list(BLOCK.finditer(routes))
    if exact := [block for block in blocks if block["exact"] and block["prefix"] == path]:
        return exact[0].group().strip()
    around = [block for block in blocks if not block["exact"] and path.startswith(block["prefix"].strip('"'))]
    return max(around, key=lambda block: len(block["prefix"])).group().strip() if around else ""


def annotation(file: Path, line: int, title: str, message: str) -> str:
    """A line that GitHub Actions shows as an error beside a line of a file.

    file: absolute; line: counted from 1.  Source: GitHub Actions, "Workflow commands".
    """
    workspace = os.environ.get("GITHUB_WORKSPACE")
    within = workspace is not None and file.is_relative_to(workspace)
    shown = file.relative_to(workspace or "") if within else file
    where = ",".join(
        f"{name}={escaped(str(value), ':,')}" for name, value in (("file", shown), ("line", line), ("title", title))
    )
    return f"::error {where}::{escaped(message)}"


def escaped(text: str, more: str = "") -> str:
    for character in "%\r\n" + more:
        text = text.replace(character, f"%{ord(character):02X}")
    return text
