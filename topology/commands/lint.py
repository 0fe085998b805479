"""What is wrong with gateways' configurations."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from topology.commands.arguments import DEFAULT_OUT, DEFAULT_TOPOLOGY, Instance, Json, Out, open_lab
from topology.errors import CheckFailed, InvalidInput

if TYPE_CHECKING:
    from topology.linting.gateway import Gateway
    from topology.nginx.reading import Mounts
    from topology.runtime.lab import Lab


def lint(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[TOPOLOGY | NGINX.CONF...]", help="a topology, or any nginx's first files or folders"),
    ] = None,
    mount: Annotated[
        list[str] | None,
        typer.Option("--mount", metavar="FOLDER:PATH", help="FOLDER is what the gateway's machine has at PATH"),
    ] = None,
    ignore: Annotated[list[str] | None, typer.Option("--ignore", metavar="RULE", help="leave a rule out")] = None,
    out: Out = DEFAULT_OUT,
    instance: Instance = None,
    as_json: Json = False,
) -> None:
    """Look for what makes mutual TLS weaker than it seems, in a lab's gateways or in any nginx configuration.

    Starts nothing.  Exit code 1 where there is an error or a warning; notes are told, and nothing is wrong.
    """
    from topology.linting import linting
    from topology.report import linting as report

    gateways = looked_at(files or [DEFAULT_TOPOLOGY], mount or [], out, instance)
    findings = linting.lint(gateways, ignore or [])
    if as_json:
        print(json.dumps(report.as_json(findings), indent=2))
    else:
        report.show(findings, len(gateways), sum(len(one.configuration.servers) for one in gateways))
    if any(one.is_wrong for one in findings):
        raise CheckFailed(report.summary(findings))


def looked_at(files: Sequence[Path], mount: Sequence[str], out: Path, instance: str | None) -> tuple[Gateway, ...]:
    """The gateways of one topology, or of several files of any nginx."""
    from topology.linting import linting

    now = datetime.now(UTC)
    topologies = [file for file in files if file.suffix in (".yaml", ".yml")]
    if topologies and len(files) > 1:
        raise InvalidInput(f"{topologies[0]}: give one topology, or files of nginx, and not both")
    if topologies:
        if mount:
            raise InvalidInput("--mount is for any nginx; a topology says what its gateways have where")
        return of_lab(open_lab(topologies[0], out, instance), now)
    found = mounts(mount)
    return linting.gateways([linting.any_configuration(file, found) for file in files], now)


def of_lab(lab: Lab, now: datetime) -> tuple[Gateway, ...]:
    """Its gateways as they lie on disk; an instance's own configuration where it has one."""
    from topology.linting import linting
    from topology.runtime import preparation

    for host in lab.topology.hosts:
        if not (lab.folder / host / "nginx").is_dir():
            raise InvalidInput(
                f"{lab.folder / host}: there is no gateway's configuration yet; run `mtls-lab generate "
                f"{lab.description.file}`"
            )
    return linting.of_lab(lab.topology, lab.folder, lab.suffix, now, preparation.gateway_user()[0])


def mounts(written: Sequence[str]) -> Mounts:
    from topology.nginx.reading import Mounts

    folders = {}
    for one in written:
        here, colon, there = one.rpartition(":")
        if not colon or not here or not there.startswith("/"):
            raise InvalidInput(f"--mount {one}: write FOLDER:PATH, such as ./certs:/etc/nginx/certs")
        if not Path(here).exists():
            raise InvalidInput(f"--mount {one}: there is no {here}")
        folders[there] = Path(here)
    return Mounts.of(folders)
