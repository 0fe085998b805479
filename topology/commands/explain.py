"""Why somebody gets the answer that he gets."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated

import typer

from topology.commands.arguments import DEFAULT_OUT, DEFAULT_TOPOLOGY, Instance, Json, Out, TopologyFile, open_lab
from topology.errors import CheckFailed, InvalidInput

HEADER = re.compile(r"(?P<name>[A-Za-z0-9!#$%&'*+.^_`|~-]+):[ \t]*(?P<value>[ -~]*)")
"""RFC 9110, section 5.1 and 5.5, without what is obsolete."""

LARGEST_BODY = 100 * 1024 * 1024


def explain(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="what to ask for, such as https://ec3.lab.test/mtls/health")
    ],
    topology: TopologyFile = DEFAULT_TOPOLOGY,
    caller: Annotated[
        str | None,
        typer.Option("--as", metavar="CALLER", help="an identity, or a caller of `check`, such as bro-expired"),
    ] = None,
    origin: Annotated[
        str | None, typer.Option("--from", metavar="HOST", help="from inside of that host, as its services call")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option("--cert", metavar="FILE", help="a certificate of your own, with its chain (PEM)")
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--key", metavar="FILE", help="its key (PEM); default: in the same file")
    ] = None,
    method: Annotated[str, typer.Option("--method", metavar="METHOD", help="default GET")] = "GET",
    header: Annotated[
        list[str] | None, typer.Option("--header", metavar="'NAME: VALUE'", help="sent along; can be repeated")
    ] = None,
    body: Annotated[Path | None, typer.Option("--body", metavar="FILE", help="sent as the request's body")] = None,
    out: Out = DEFAULT_OUT,
    instance: Instance = None,
    as_json: Json = False,
) -> None:
    r"""Send a request to the running lab, and say in plain words why it got its answer.

    Names the cause, the directive and the topology's line that decided, what was logged, and what to change.  Exits
    with 1 where the answer is not what the topology says.

    \b
      mtls-lab explain https://ec3.lab.test/mtls/health
      mtls-lab explain https://ec3.lab.test/mtls/health --as bro-expired
      mtls-lab explain https://ec3.lab.test/mtls/health --from client
      mtls-lab explain https://ec3.lab.test/mtls/health --cert my.pem --key my.key
    """
    from topology.explaining import asking, gathering
    from topology.report import explanation

    if method not in asking.METHODS:
        raise InvalidInput(f"--method {method}: one of {', '.join(asking.METHODS)}")
    question = asking.Question(
        url, caller, origin, certificate, key, method, headers(header or ()), content(body) if body else b""
    )
    found = gathering.ask(open_lab(topology, out, instance), question)
    print(json.dumps(explanation.as_json(found), indent=2) if as_json else explanation.as_text(found))
    if found.as_expected is False:
        raise CheckFailed(f"the topology says {found.expected}, and the answer was {found.answer}")


def headers(given: list[str] | tuple[()]) -> dict[str, str]:
    found = [HEADER.fullmatch(one) for one in given]
    for one, match in zip(given, found, strict=True):
        if match is None:
            raise InvalidInput(f"--header {one!r}: write NAME: VALUE, in plain ASCII")
    return {match["name"]: match["value"].strip() for match in found if match}


def content(path: Path) -> bytes:
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise InvalidInput(f"--body {path}: is no file, but a pipe or a device; name a file")
        if path.stat().st_size > LARGEST_BODY:
            raise InvalidInput(f"--body {path}: larger than {LARGEST_BODY // 1024 // 1024} MiB")
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"--body {path}: cannot be read: {error.strerror}") from error
