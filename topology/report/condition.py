"""How a lab is: what runs, on which machine, how healthy it is, where it listens."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from topology.description.model import Host
from topology.report import addresses
from topology.runtime.looking import State, Survey

HERE = "this machine"
OUT_OF_REACH = "out of reach"


Said = Mapping[tuple[str, str], tuple[str, ...]]
"""(host, service) -> why it does not run, as far as it has said so."""

NOTHING: Said = {}


def as_json(seen: Survey, said: Said = NOTHING) -> dict[str, object]:
    """The contract's `status --json`; the health of a service that is not there is "down".

    context: the Docker context that a host was deployed to, null where it was not; said: why a gateway does not run,
    null where it does or has not said so.
    """
    return {
        "lab": seen.running.topology.name,
        "instance": seen.running.instance,
        "hosts": {
            name: {
                "domain": host.domain,
                "context": seen.places[name].context if name in seen.places else None,
                "urls": addresses.urls(seen.running, name),
                "gateway": {
                    "health": health(seen, name, "gateway"),
                    "said": "\n".join(said.get((name, "gateway"), ())) or None,
                },
                **({"certbot": {"health": health(seen, name, "certbot")}} if gets_by_acme(host) else {}),
                "services": {service: {"health": health(seen, name, service)} for service in host.services},
            }
            for name, host in seen.running.topology.hosts.items()
        },
        **{service: {"health": words(state)} for service, state in own_servers(seen).items()},
    }


def gets_by_acme(host: Host) -> bool:
    return host.tls is not None and host.tls.acme


def own_servers(seen: Survey) -> dict[str, State]:
    """What belongs to the lab and to no host of it: its own ACME server."""
    return {state.service: state for state in seen.states if state.host not in seen.running.topology.hosts}


def health(seen: Survey, host: str, service: str) -> str:
    if host in seen.lost:
        return OUT_OF_REACH
    return next((words(state) for state in seen.states if (state.host, state.service) == (host, service)), "down")


def words(state: State) -> str:
    return state.health if state.health and state.status == "running" else state.status


def show(seen: Survey, said: Said = NOTHING) -> None:
    instance = f", instance {seen.running.instance}" if seen.running.instance else ""
    table = Table(title=f"{seen.running.topology.name}{instance}", title_justify="left", title_style="bold")
    deployed = bool(seen.places)
    for column in ("host", *(["machine"] if deployed else []), "container", "health", "where"):
        table.add_column(column, overflow="fold")
    for name, host in seen.running.topology.hosts.items():
        where = ", ".join(url for url in addresses.urls(seen.running, name).values() if url)
        machine = f"context {seen.places[name].context}" if name in seen.places else HERE
        table.add_row(name, *([machine] if deployed else []), "gateway", health(seen, name, "gateway"), where or "-")
        for service in (*(["certbot"] if gets_by_acme(host) else []), *host.services):
            table.add_row("", *([""] if deployed else []), service, health(seen, name, service), "")
        table.add_section()
    for service, state in own_servers(seen).items():
        table.add_row("", *([""] if deployed else []), service, words(state), "")
    console = Console(highlight=False)
    console.print(table)
    for (at, service), lines in said.items():
        console.print(Text(f"{at} {service} does not run:"))
        for line in lines:
            console.print(Text(f"  {line}"))
