"""What of a lab that is up is not as it has to be: containers that do not run well, and files of another topology."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from topology.generation import planning, rendering, writing
from topology.runtime import machines
from topology.runtime.lab import Lab
from topology.runtime.logs import services_of
from topology.runtime.looking import State, Survey
from topology.runtime.preparation import nginx_folder, surroundings_of

MISSING = "missing"


@dataclass(frozen=True)
class Outage:
    """A container that cannot be counted on.  host: or the folder of the lab's own server; words: how it is."""

    host: str
    service: str
    words: str

    def __str__(self) -> str:
        return f"{self.host}/{self.service} is {self.words}"


def find(lab: Lab, seen: Survey) -> tuple[Outage, ...]:
    """What should run and does not, or not well, on all machines that answer; in the order of the topology."""
    there = {(state.host, state.service): state for state in seen.states}
    expected = [(host, name) for host in lab.stacks if host not in seen.lost for name in services_of(lab, host)]
    return tuple(
        Outage(host, name, words(there.get((host, name))))
        for host, name in expected
        if (host, name) not in there or not there[host, name].ready
    )


def words(state: State | None) -> str:
    if state is None:
        return MISSING
    if state.status == "restarting" or (state.restarts and state.health == "starting"):  # between two tries it runs
        return f"restarting again and again, {state.restarts} times so far"
    if state.status == "running":
        return f"running, and {state.health}"
    return f"{state.status}, exit code {state.exit_code}" if state.status in ("exited", "dead") else state.status


def listed(outages: tuple[Outage, ...]) -> str:
    return "; ".join(map(str, outages))


def where_to_look(outages: tuple[Outage, ...]) -> str:
    """The commands that show the last words of what does not run well."""
    there = [one for one in outages if one.words != MISSING] or list(outages)
    return ", ".join(f"`mtls-lab logs {one.host}/{one.service}`" for one in there)


def outdated(lab: Lab, seen: Survey) -> tuple[str, ...]:
    """Generated files on this machine that are not what the topology says now: their paths below the lab's folder.

    What runs was brought up from them; or somebody has edited them since.
    """
    if not lab.folder.is_dir():
        return ()
    checked_in = writing.differences(lab.folder, rendering.render(planning.plan(lab.description)))
    return tuple(one.path for one in checked_in) or of_this_run(lab, seen)


def of_this_run(lab: Lab, seen: Survey) -> tuple[str, ...]:
    """The same for the configurations of gateways that run in other networks than the checked-in files say."""
    found = machines.find(lab.topology, seen.places)
    here = [machine for machine in found.reached if machine.own]
    around = surroundings_of(lab, seen.places, found, here)
    own = {host: folder for host in around if (folder := nginx_folder(lab, host, around[host])) != "nginx"}
    plan = planning.plan(lab.description, around)
    wanted = {
        f"{host.name}/{own[host.name]}/{path}": text
        for host in plan.hosts
        if host.name in own
        for path, text in rendering.render_gateway(plan, host).items()
    }
    return tuple(path for path, text in wanted.items() if not holds(lab.folder / path, text))


def holds(file: Path, text: str) -> bool:
    try:
        return file.read_bytes() == text.encode()
    except OSError:
        return False
