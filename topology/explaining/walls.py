"""Wrong walls of `check` -> why: what of a host's files, or of its running containers, makes them so."""

from __future__ import annotations

import stat
from dataclasses import dataclass, replace
from pathlib import Path

from topology.explaining import reasoning
from topology.explaining.evidence import Evidence, Finding, Received, Sent
from topology.explaining.reasoning import Explanation
from topology.nginx.tree import Directive, Place
from topology.proof import expected_walls as expected
from topology.proof.checking import Verdict
from topology.runtime import differing, inside
from topology.runtime.lab import Lab
from topology.runtime.running import RunningLab


@dataclass(frozen=True)
class Wall:
    """cause: in a word; means: what it lets happen; setting: words, of which one stands in the line that decides."""

    cause: str
    means: str
    settings: tuple[str, ...]


COMPOSE = "compose.yaml"

WALLS = {
    expected.RIGHTS: Wall(
        "more-rights-than-needed", "whoever breaks into it could do more than the service itself",
        ("cap_", "user:", "read_only", "security_opt", "privileged", "devices", "network_mode", "pid:", "ipc:",
         "x-hardened"),
    ),
    expected.KEYS: Wall("authority-key-inside", "who has an authority's key can be anybody", ("volumes", "bind")),
    expected.OWN_KEYS: Wall("key-readable", "whoever else runs there can be this gateway", ()),
    expected.PORTS: Wall(
        "port-published", "calls arrive that no gateway has looked at, or from other machines", ("ports", "127.0.0.1",
        "0.0.0.0"),  # noqa: S104 - looked for, not listened on
    ),
    expected.NETWORKS: Wall("networks-joined", "calls get past the gateways", ("networks", "ipv4_address")),
    expected.MEMBERS: Wall("stranger-on-network", "it calls services past their gateway", ("networks",)),
    expected.LISTENERS: Wall(
        "listener-for-others", "what is for the host's own services is open to others", ("listen",)
    ),
    expected.ORDER: Wall(
        "judges-servers-afterwards", "a server that is not believed still sees the client certificate",
        ("command", "image", "entrypoint"),
    ),
}  # fmt: skip
REACHED = Wall("reached-from-outside", "calls get past the gateway and its guards", ("listen", "networks", "ports"))
"""Wall -> what it is about."""


def explained(lab: Lab, running: RunningLab, verdict: Verdict) -> Explanation:
    """Why a wall does not stand.  Raises LabError where that cannot be looked into."""
    check, seen = verdict.check, str(verdict.observed)
    wall = WALLS.get(check.caller, REACHED)
    found = differing.of_host(lab, check.host)
    beyond = beyond_files(lab, running, verdict)
    about = [one for one in found if any(word in f"{one.here} {one.wanted}" for word in wall.settings)]
    why = f"{check.why} Here it is {seen}, and should be {check.expected}: {wall.means}."
    told = "; ".join(reasoning.in_words(one) for one in (about or found)[: reasoning.TOLD])
    if told:
        why += f" What lies on disk is not what the topology makes: {told}."
        fix = "`mtls-lab up` writes it again, and makes the container anew"
    elif not beyond:
        why += " The files are as the topology makes them: the container was changed, or started otherwise, by hand."
        fix = "have it made anew: `mtls-lab down`, then `mtls-lab up`"
    else:
        fix = beyond[1]
    if beyond:
        why += f" {beyond[0]}"
    host = lab.topology.hosts[check.host]
    field = ("hosts", check.host, "services", check.route) if check.route in host.services else ("hosts", check.host)
    finding = Finding(
        stopped(verdict) or wall.cause, why, fix, check.host,
        settings=(*map(reasoning.spot, about[: reasoning.TOLD]), *own_line(lab, check.host, check.route)), field=field,
    )  # fmt: skip
    sent = Sent("", check.host, host.domain, "", caller=check.caller)
    evidence = Evidence(
        sent, Received(None, seen, verdict.observation.detail), lab.topology, expected=check.expected, rule=check.why
    )
    return replace(reasoning.explain(evidence), finding=finding, maker="nobody", directives=reasoning.places(finding))


def stopped(verdict: Verdict) -> str:
    return "does-not-run" if verdict.observed == "it does not run" else ""


def readable_keys(lab: Lab, host: str) -> tuple[str, str] | None:
    """Keys of a gateway that others than its user may read, as they lie on this machine."""
    keys = [file for file in sorted(lab.certificates(host).rglob("*.key")) if file.stat().st_mode & 0o077]
    if not keys:
        return None
    listed = " ".join(str(reasoning.relative(file)) for file in keys)
    modes = ", ".join(f"{reasoning.relative(file)} has mode {stat.S_IMODE(file.stat().st_mode):04o}" for file in keys)
    return f"{modes}; it should be 0600.", f"`chmod 600 {listed}`"


def beyond_files(lab: Lab, running: RunningLab, verdict: Verdict) -> tuple[str, str] | None:
    """(what of the running containers makes it so, what to do), where no file does."""
    check = verdict.check
    origin = check.caller.removeprefix(expected.FROM)
    name = origin if "/" in origin else f"{check.host}/{check.route}"
    containers = inside.containers(running)
    if verdict.observed == "it does not run":
        missing = next((one for one in (name, f"{check.host}/{expected.GATEWAY}") if one not in containers), name)
        return f"{missing} does not run.", "see why (`mtls-lab status`), and run `mtls-lab up`"
    if name not in containers:
        return None
    own = containers[name]
    service = name.partition("/")[2]
    more = sorted(set(inside.networks(own)) - set(expected.networks(service).split(", ")))
    if more and (check.caller == expected.NETWORKS or "/" in origin):
        return (
            f"{own.name} is also on the network {', '.join(more)}, where nothing of the topology puts it.",
            f"`docker network disconnect {more[0]} {own.name}`",
        )
    if check.caller == expected.OWN_KEYS:
        return readable_keys(lab, check.host)
    if check.caller == expected.MEMBERS:
        strangers = sorted(set(str(verdict.observed).split(", ")) - set(str(check.expected).split(", ")))
        if strangers:
            return (
                f"{', '.join(strangers)} joined the network of {check.host}'s own.",
                f"take it out: `docker network disconnect NETWORK {strangers[0]}`",
            )
    return None


def own_line(lab: Lab, host: str, service: str) -> tuple[Directive, ...]:
    """Where the service stands in its Compose file."""
    file: Path = lab.folder / host / COMPOSE
    lines = file.read_text(errors="replace").splitlines() if file.is_file() else []
    return tuple(
        Directive(line.strip(), (), Place(reasoning.relative(file), number))
        for number, line in enumerate(lines, 1)
        if line == f"  {service}:"
    )[:1]
