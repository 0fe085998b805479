"""The lab's authorities in the trust stores of this machine: install, uninstall, export."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from topology.commands.arguments import (
    DEFAULT_OUT,
    DEFAULT_TOPOLOGY,
    Instance,
    Json,
    Out,
    TopologyFile,
    Yes,
    agree,
    open_lab,
)
from topology.errors import InvalidInput

if TYPE_CHECKING:
    from topology.machine.labels import Anchor
    from topology.machine.trust import Plan
    from topology.runtime.lab import Lab

app = typer.Typer(
    help="""Let browsers, curl and Java on this machine trust the lab's server authorities; and take that back.

\b
  mtls-lab trust install                  every store that is here; asks first
  mtls-lab trust install --store nss      Chromium and Firefox alone; needs no root
  sudo mtls-lab trust install --store system --store java
  mtls-lab trust uninstall                all that `install` ever put in for this lab
  mtls-lab trust export --to lab.pem      for those who do it by hand
""",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Stores = Annotated[
    list[str] | None, typer.Option("--store", metavar="STORE", help="system, nss or java; default: all that are here")
]
Authorities = Annotated[
    list[str] | None,
    typer.Option("--authority", metavar="NAME", help="another choice than the authorities that certify hosts"),
]


@app.command()
def install(
    topology: TopologyFile = DEFAULT_TOPOLOGY,
    out: Out = DEFAULT_OUT,
    instance: Instance = None,
    store: Stores = None,
    authority: Authorities = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Put the lab's server authorities into the trust stores of this machine."""
    from topology.machine import trust

    lab = open_lab(topology, out, instance)
    anchors = chosen(lab, authority or ())
    stores = trust.find(store or (), create=True)
    if not stores:
        raise InvalidInput("no trust store was found on this machine; name one with --store to see what it lacks")
    carry_out(trust.plan_install(stores, anchors), yes, as_json)


@app.command()
def uninstall(
    topology: TopologyFile = DEFAULT_TOPOLOGY,
    out: Out = DEFAULT_OUT,
    instance: Instance = None,
    store: Stores = None,
    authority: Authorities = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Take out of the trust stores all that `trust install` put in, also what was issued anew since."""
    from topology.machine import trust

    lab = open_lab(topology, out, instance)
    stores = trust.find(store or (), create=False)
    carry_out(trust.plan_uninstall(stores, lab.topology.name, lab.instance, authority or ()), yes, as_json)


@app.command()
def export(
    topology: TopologyFile = DEFAULT_TOPOLOGY,
    out: Out = DEFAULT_OUT,
    instance: Instance = None,
    authority: Authorities = None,
    to: Annotated[Path | None, typer.Option("--to", metavar="FILE", help="write it there, not to the screen")] = None,
    as_json: Json = False,
) -> None:
    """Write the lab's server authorities as PEM, and say how they are trusted by hand."""
    from topology.generation import writing
    from topology.machine import labels
    from topology.report import trust as report

    anchors = chosen(open_lab(topology, out, instance), authority or ())
    pem = b"".join(anchor.pem for anchor in anchors)
    if to is not None:
        labels.refuse_to_overwrite(to)
        writing.write(to, pem)
    if as_json:
        listed = [{"authority": a.label.authority, "entry": str(a.label), "pem": a.pem.decode()} for a in anchors]
        print(json.dumps({"file": str(to) if to else None, "authorities": listed}, indent=2))
        return
    if to is None:
        sys.stdout.write(pem.decode())
    else:
        print(f"wrote {to}: {', '.join(anchor.label.authority for anchor in anchors)}")
    print(report.BY_HAND.replace("FILE", str(to or "FILE")), end="", file=sys.stderr)


def chosen(lab: Lab, named: Sequence[str]) -> tuple[Anchor, ...]:
    from topology.machine import labels

    return labels.anchors(lab.topology, lab.instance, lab.authorities, labels.chosen(lab.topology, named))


def carry_out(plans: Sequence[Plan], yes: bool, as_json: bool) -> None:
    """Asks where anything would change, changes it, tells what was changed as soon as it is."""
    from topology.machine import trust
    from topology.report import trust as report

    if any(plan.changes for plan in plans):
        agree(report.proposal(plans), yes)
    finished: list[Plan] = []
    try:
        trust.carry_out(plans, lambda plan: finished.append(plan) if as_json else print(report.done(plan), flush=True))
    finally:
        if as_json:
            print(json.dumps(report.as_json([*finished, *(p for p in plans if not p.changes)]), indent=2))
    if not as_json:
        for plan in plans:
            if plan.there or not plan.changes:
                print(report.unchanged(plan))
