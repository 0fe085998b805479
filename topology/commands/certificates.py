"""The lab's certificates: list, issue, renew, export, and sign what was made elsewhere."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from topology.commands.arguments import (
    DEFAULT_OUT,
    DEFAULT_TOPOLOGY,
    Instance,
    Json,
    open_lab,
    shown_progress,
)
from topology.errors import InvalidInput

if TYPE_CHECKING:
    from topology.generation.signing import Signed
    from topology.runtime.lab import Lab

EXAMPLES = """The lab's certificates, without an engine.

\b
  mtls-lab certificates list                      what there is, until when, and what is due
  mtls-lab certificates issue                     what is missing, as `up` does
  mtls-lab certificates renew bro                 a new certificate and key for one identity or host
  mtls-lab certificates export bro --format pkcs12-legacy --to bro.p12
  mtls-lab certificates export ssl_ca --format truststore
  mtls-lab certificates sign --csr partner.csr --as partner --out partner.pem

The topology is ./topology.yaml; another one stands at the end of the line, or goes with --topology.
"""

app = typer.Typer(help=EXAMPLES, no_args_is_help=True, rich_markup_mode=None)

File = Annotated[Path | None, typer.Argument(metavar="TOPOLOGY", help="the topology file")]
Named = Annotated[Path | None, typer.Option("--topology", metavar="TOPOLOGY", help="the same, in any place")]
Stacks = Annotated[Path, typer.Option("--out", "--stacks", metavar="DIR", help="folder of the generated stacks")]
Force = Annotated[bool, typer.Option("--force", help="overwrite FILE even where it is not an earlier one of the same")]


@app.command("list")
def show(
    file: File = None,
    topology: Named = None,
    out: Stacks = DEFAULT_OUT,
    instance: Instance = None,
    as_json: Json = False,
) -> None:
    """Every authority, identity, server certificate and revocation list, and how it is."""
    from topology.report import certificates as report
    from topology.runtime import certificates

    now = datetime.now(UTC)
    lab = open_lab(chosen(file, topology), out, instance)
    entries = certificates.look(lab, now)
    if as_json:
        print(json.dumps(report.as_json(entries, lab.folder, now), indent=2))
    else:
        report.show(entries, lab.folder, now)


def chosen(file: Path | None, topology: Path | None) -> Path:
    """The topology file, from the place where it was named."""
    if file is not None and topology is not None:
        raise InvalidInput(f"{file} and --topology {topology}: give one topology file")
    return file or topology or DEFAULT_TOPOLOGY


@app.command()
def issue(
    file: File = None,
    topology: Named = None,
    out: Stacks = DEFAULT_OUT,
    instance: Instance = None,
    as_json: Json = False,
) -> None:
    """Issue what is missing, due, or no longer what the topology says, as `up` does."""
    issue_and_tell(open_lab(chosen(file, topology), out, instance), [], as_json=as_json)


@app.command()
def renew(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]... [TOPOLOGY]", help="identities and hosts; none: all that are due"),
    ] = None,
    topology: Named = None,
    out: Stacks = DEFAULT_OUT,
    instance: Instance = None,
    as_json: Json = False,
) -> None:
    """Replace certificates and their keys by new ones; a running lab takes them up at once."""
    files = [Path(name) for name in names or [] if name.endswith((".yaml", ".yml"))]
    if len(files) > 1:
        raise InvalidInput(f"{files[0]} and {files[1]}: give one topology file")
    lab = open_lab(chosen(files[0] if files else None, topology), out, instance)
    issue_and_tell(lab, [name for name in names or [] if Path(name) not in files], as_json=as_json)


def issue_and_tell(lab: Lab, names: list[str], *, as_json: bool) -> None:
    from topology.report import certificates as report
    from topology.runtime import certificates

    with shown_progress() as progress:
        changes = certificates.issue(lab, names, progress)
        running = certificates.take_up(lab, progress)
    if as_json:
        print(json.dumps({"changes": list(changes), "running": running}, indent=2))
        return
    print("\n".join(changes or ["nothing is missing or due"]))
    if changes:
        print(report.taken_up(changes, running=running))


@app.command()
def export(
    name: Annotated[str, typer.Argument(metavar="NAME", help="an identity, a host or an authority of the topology")],
    file: File = None,
    topology: Named = None,
    out: Stacks = DEFAULT_OUT,
    instance: Instance = None,
    kind: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="pem, pkcs12, pkcs12-legacy (3DES), truststore (Java)")
    ] = "pem",
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="default: NAME.pem, NAME.p12 or NAME-truststore.p12")
    ] = None,
    password: Annotated[
        str | None,
        typer.Option("--password", envvar="MTLS_LAB_PASSWORD", help="of PKCS#12 and truststores; default: mtls-lab"),
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write a certificate for other programs: with its key and chain, or an authority to be trusted."""
    from topology.generation.exporting import format_of
    from topology.runtime import certificates

    lab = open_lab(chosen(file, topology), out, instance)
    exported = certificates.export(lab, name, format_of(kind), password)
    target = to or Path(exported.file_name)
    certificates.deliver(target, exported, force=force)
    if as_json:
        print(json.dumps({"name": name, "format": kind, "file": str(target), "secret": exported.secret}, indent=2))
    else:
        print(f"wrote {target}" + (": it holds a private key, readable by you alone" if exported.secret else ""))


@app.command()
def sign(
    csr: Annotated[Path, typer.Option("--csr", metavar="FILE", help="the request, PEM or DER")],
    name: Annotated[str, typer.Option("--as", metavar="NAME", help="the identity or host that it is for")],
    file: File = None,
    topology: Named = None,
    stacks: Annotated[
        Path, typer.Option("--stacks", metavar="DIR", help="folder of the generated stacks (elsewhere: --out)")
    ] = DEFAULT_OUT,
    instance: Instance = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="the certificate with its chain; default: print it")
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Certify a key that stays where it is: a partner sends a request and gets a certificate."""
    from topology.runtime import certificates

    lab = open_lab(chosen(file, topology), stacks, instance)
    with shown_progress() as progress:
        signed = certificates.sign(lab, csr, name, out, force=force, progress=progress)
        certificates.take_up(lab, progress)
    if signed.ignored:
        left = ", ".join(signed.ignored)
        print(f"not taken over, since the topology gives the subject: {left}", file=sys.stderr)
    print(f"{signed.name}: signed, and kept as {lab.folder / signed.path}", file=sys.stderr)
    if as_json:
        print(json.dumps(as_dictionary(signed, lab), indent=2))
    elif out is None:
        print(signed.certificate.decode(), end="")
    else:
        print(f"wrote {out}")


def as_dictionary(signed: Signed, lab: Lab) -> dict[str, object]:
    return {
        "name": signed.name,
        "certificate": signed.certificate.decode(),
        "path": str(lab.folder / signed.path),
        "changes": list(signed.changes),
        "ignored": list(signed.ignored),
    }
