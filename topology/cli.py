"""Parse, call, print; the one place that catches errors."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from topology.errors import CheckFailed, InvalidInput, LabError, NotReady

if TYPE_CHECKING:
    from topology.runtime.progress import Progress
    from topology.runtime.stacks import Lab

EXAMPLES = """Mutual TLS behind nginx, from one topology file: stacks, certificates, and the proof of who gets in.

  mtls-lab up                        bring the lab of ./topology.yaml up, proven ready
  mtls-lab up --ports auto           the same, on ports that are free
  mtls-lab check                     every caller on every route, against what the topology says
  mtls-lab check --only 'server /mtls/*'
  mtls-lab generate --check          have the checked-in stacks been edited by hand?
  mtls-lab down                      remove all that `up` made, but images and certificates

Exit codes: 0 fine; 1 a check failed or something differs; 2 bad input; 3 no usable engine; 4 the lab did not
become ready; 130 interrupted.
"""

app = typer.Typer(
    help=EXAMPLES, no_args_is_help=True, add_completion=True, rich_markup_mode=None, pretty_exceptions_enable=False
)

TopologyFile = Annotated[Path, typer.Argument(metavar="TOPOLOGY", help="the topology file")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="folder of the generated stacks")]
Instance = Annotated[
    str | None, typer.Option("--instance", metavar="NAME", help="a running copy of its own, apart from all others")
]
Json = Annotated[bool, typer.Option("--json", help="print the result as JSON")]

DEFAULT_TOPOLOGY = Path("topology.yaml")
DEFAULT_OUT = Path("compose")
INTERRUPTED = 130
ENGINE_LIBRARIES = ("docker.", "requests.", "urllib3.")
INSTANCE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,29}")


@app.command()
def generate(
    topology: TopologyFile = DEFAULT_TOPOLOGY,
    out: Out = DEFAULT_OUT,
    check: Annotated[bool, typer.Option("--check", help="write nothing; exit 1 if anything differs")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="print the differences")] = False,
    as_json: Json = False,
) -> None:
    """Write the stacks of a topology.  Issues no certificates."""
    from topology.generation import planning, rendering, writing
    from topology.report import changes

    lab = open_lab(topology, out, None)
    files = rendering.render(planning.plan(lab.description))
    found = writing.differences(lab.folder, files) if check else writing.synchronise(lab.folder, files)
    if as_json:
        print(json.dumps([{"path": d.path, "kind": d.kind} for d in found], indent=2))
    else:
        changes.show(found, lab.out / lab.topology.name, written=not check, diff=diff)
    if check and found:
        raise CheckFailed(
            f"{len(found)} of the generated files differ from {topology}; run `mtls-lab generate {topology}`"
        )


@app.command()
def up(
    topology: TopologyFile = DEFAULT_TOPOLOGY,
    out: Out = DEFAULT_OUT,
    instance: Instance = None,
    ports: Annotated[str, typer.Option("--ports", metavar="auto", help="`auto`: Docker chooses free ports")] = "",
    as_json: Json = False,
) -> None:
    """Generate, issue, build, start, and wait until the lab is proven ready."""
    from topology.proof import readiness
    from topology.report import addresses

    if ports not in ("", "auto"):
        raise InvalidInput(f"--ports {ports}: the one value is `auto`; fixed ports stand in the topology (publish)")
    lab = open_lab(topology, out, instance)
    with shown_progress() as progress:
        running = readiness.bring_up(lab, choose_ports=ports == "auto", progress=progress)
    if as_json:
        print(json.dumps(addresses.as_json(running), indent=2))
    else:
        addresses.show(running)


@app.command()
def down(
    topology: TopologyFile = DEFAULT_TOPOLOGY,
    out: Out = DEFAULT_OUT,
    instance: Instance = None,
) -> None:
    """Remove all that `up` made, but images and certificates."""
    from topology.runtime import stacks

    lab = open_lab(topology, out, instance)
    with shown_progress() as progress:
        was_up = stacks.down(lab, progress)
    print(f"{lab.topology.name} is down" if was_up else f"{lab.topology.name} was not up")


@app.command()
def status(
    topology: TopologyFile = DEFAULT_TOPOLOGY,
    out: Out = DEFAULT_OUT,
    instance: Instance = None,
    as_json: Json = False,
) -> None:
    """What runs, how it is, and where it listens."""
    from topology.report import condition
    from topology.runtime import stacks

    lab = open_lab(topology, out, instance)
    running, states = stacks.look(lab)
    if as_json:
        print(json.dumps(condition.as_json(running, states), indent=2))
    else:
        condition.show(running, states)


@app.command()
def check(
    topology: TopologyFile = DEFAULT_TOPOLOGY,
    out: Out = DEFAULT_OUT,
    instance: Instance = None,
    only: Annotated[str | None, typer.Option("--only", metavar="PATTERN", help="only cells whose id matches")] = None,
    junit: Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="write JUnit XML, too")] = None,
    as_json: Json = False,
) -> None:
    """Send every caller to every route of the running lab and compare with what the topology says."""
    from topology.generation import writing
    from topology.proof import checking, expectation
    from topology.report import matrix
    from topology.runtime import stacks

    lab = open_lab(topology, out, instance)
    running = stacks.running(lab)
    with shown_progress() as progress:
        verdicts = checking.run(expectation.checks(lab.topology), running, only=only, progress=progress.detail)
    if junit is not None:
        writing.write(junit, matrix.junit(verdicts).encode())
    if as_json:
        print(json.dumps(matrix.as_json(verdicts), indent=2))
    else:
        matrix.show(verdicts, expectation.left_out(lab.topology))
    if wrong := [verdict for verdict in verdicts if not verdict.ok]:
        raise CheckFailed(f"{len(wrong)} of {len(verdicts)} cells are wrong")


def open_lab(topology: Path, out: Path, instance: str | None) -> Lab:
    from topology.description.loading import load
    from topology.runtime.stacks import Lab

    if instance is not None and not INSTANCE_NAME.fullmatch(instance):
        raise InvalidInput(f"--instance {instance}: at most 30 lower-case letters, digits and hyphens")
    return Lab(load(topology), out, instance)


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """Progress on standard error: a line for each step; on a terminal also what is going on now."""
    from rich.console import Console

    from topology.runtime.progress import Progress

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield Progress(step=lambda line: print(line, file=sys.stderr, flush=True))
        return
    with console.status("working") as status:
        yield Progress(
            step=lambda line: console.print(line, markup=False),
            detail=lambda line: status.update(line[: console.width - 4].replace("[", r"\[")),
        )


def accident(error: Exception) -> tuple[str, int] | None:
    """Line and exit code for what went wrong outside of this program; None for a mistake in it.

    The engine's libraries are not imported for this: where they failed, they are there.
    """
    if type(error).__module__.startswith(ENGINE_LIBRARIES):
        return f"the Docker engine refused, or went away: {error}", NotReady.exit_code
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}", CheckFailed.exit_code
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: returns the exit code.  arguments: without the command's own name; default sys.argv."""
    command = typer.main.get_command(app)
    try:
        # An interruption comes back as the exit code 130 and not as an exception.
        code = command.main(
            args=list(arguments) if arguments is not None else None, prog_name="mtls-lab", standalone_mode=False
        )
    except LabError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except typer.TyperException as error:
        print(f"{error.format_message()} (see `mtls-lab --help`)", file=sys.stderr)
        return InvalidInput.exit_code
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Exception as error:
        if (told := accident(error)) is None:
            raise
        print(told[0], file=sys.stderr)
        return told[1]
    if code == INTERRUPTED:
        print("interrupted", file=sys.stderr)
    return code if isinstance(code, int) else 0
