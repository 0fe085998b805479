"""Parse, call, print; the one place that catches errors."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import gc
import json
import os
import signal
import sys
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any

import typer

from topology.commands import (
    authoring,
    certificates,
    clients,
    deployment,
    doctor,
    explain,
    hosts,
    lab,
    lint,
    logs,
    mutate,
    trust,
)
from topology.errors import CheckFailed, InvalidInput, InvalidTopology, LabError, NoEngine, NotReady, reason

EXAMPLES = """Mutual TLS behind nginx, from one topology file: stacks, certificates, and the proof of who gets in.

\b
  mtls-lab init                      write a first topology, with comments, for editors that know its fields
  mtls-lab up                        bring the lab of ./topology.yaml up, proven ready
  mtls-lab up --ports auto           the same, on ports that are free
  mtls-lab check                     every caller on every route, against what the topology says
  mtls-lab check --only 'server /mtls/*'
  mtls-lab check --all               and with everything that could be wrong with a certificate, a request, a wall
  mtls-lab check --at +90d           what will have broken by then, and who renews it
  mtls-lab mutate --once             would the check notice a hole? makes one at a time, and puts the lab back
  mtls-lab generate --check          have the checked-in stacks been edited by hand?
  mtls-lab lint                      what makes the gateways weaker than they seem; also of any nginx.conf
  mtls-lab explain https://ec3.lab.test/mtls/health --as bro-expired
                                     why that caller gets that answer
  mtls-lab logs --request 5f0c...    one request's way through all gateways
  mtls-lab snippet java --host server --as bro
                                     code that calls a route, in Java or eight other languages
  mtls-lab down                      remove all that `up` made, but images and certificates
  mtls-lab doctor                    what is wrong with this machine for labs, and what to do
  mtls-lab trust install             let browsers, curl and Java on this machine trust the lab's hosts
  mtls-lab hosts --install           lead the lab's names to this machine

Exit codes: 0 fine; 1 a check failed or something differs; 2 bad input; 3 no usable engine; 4 the lab did not
become ready; 130 interrupted.
"""

app = typer.Typer(no_args_is_help=True, add_completion=True, rich_markup_mode=None, pretty_exceptions_enable=False)


def show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"mtls-lab {version('mtls-lab')}")
        raise typer.Exit


@app.callback(help=EXAMPLES)
def options(
    _: Annotated[bool, typer.Option("--version", callback=show_version, is_eager=True, help="say which one")] = False,
) -> None:
    """What stands before a command."""


INTERRUPTED = 130
ENGINE_LIBRARY, ITS_CARRIERS = "docker.", ("requests.", "urllib3.")
"""The client's own errors are the engine's answers; those of the libraries that carry its requests mean that there was
no answer."""

for command in (
    authoring.init, authoring.schema, lab.generate, lab.up, lab.down, lab.status, lab.check, logs.logs,
    explain.explain, lint.lint, deployment.deploy, clients.snippet, hosts.hosts, doctor.doctor,
    mutate.mutate,
):  # fmt: skip
    app.command()(command)
app.add_typer(trust.app, name="trust")
app.add_typer(certificates.app, name="certificates")


def accident(error: Exception) -> tuple[str, int] | None:
    """Line and exit code for what went wrong outside of this program; None for a mistake in it.

    The engine's libraries are not imported for this: where they failed, they are there.
    """
    origin = type(error).__module__
    if origin.startswith(ITS_CARRIERS):
        again = "start it, and run the same command again: it goes on from what is there"
        return f"the Docker engine went away ({reason(error)}); {again}", NoEngine.exit_code
    if origin.startswith(ENGINE_LIBRARY):
        return f"the Docker engine refused: {error}", NotReady.exit_code
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}", CheckFailed.exit_code
    return None


def told(error: LabError, arguments: Sequence[str]) -> str:
    """What is said of an error: faults of a file as a list in JSON for those who asked for JSON, else lines of text."""
    if isinstance(error, InvalidTopology) and "--json" in arguments:
        return json.dumps([dataclasses.asdict(fault) for fault in error.faults], indent=2)
    return str(error)


@cache
def whole_command() -> Any:
    """All commands, put together once: that takes longer than most of them do."""
    return typer.main.get_command(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: returns the exit code.  arguments: without the command's own name; default sys.argv."""
    try:
        # An interruption comes back as the exit code 130 and not as an exception.
        code = whole_command().main(
            args=list(arguments) if arguments is not None else None, prog_name="mtls-lab", standalone_mode=False
        )
    except LabError as error:
        print(told(error, sys.argv[1:] if arguments is None else arguments), file=sys.stderr)
        return error.exit_code
    except typer.TyperException as error:
        said = error.format_message()
        print(said if said.startswith("Usage:") else f"{said} (see `mtls-lab --help`)", file=sys.stderr)
        return InvalidInput.exit_code
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Exception as error:
        if (found := accident(error)) is None:
            raise
        print(found[0], file=sys.stderr)
        return found[1]
    if code == INTERRUPTED:
        print("interrupted", file=sys.stderr)
    return code if isinstance(code, int) else 0


OBJECTS_BETWEEN_COLLECTIONS = 50_000
"""Python looks for garbage after each 700; a command makes thousands of objects that stay, and then ends."""


def run() -> int:
    """The process: `main`, and after an interruption the end of it, at once.

    Where Ctrl-C was typed more than once, the threads that it did not wait for may still ask the engine for something.
    Python would wait for them, and take one more Ctrl-C for an error in its own ending.
    """
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    try:
        code = main()
    except KeyboardInterrupt:  # while `main` said that it was interrupted
        code = INTERRUPTED
    if code == INTERRUPTED:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        atexit._run_exitfuncs()  # noqa: SLF001 - the public way to these is the ending that waits
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(code)
    return code
