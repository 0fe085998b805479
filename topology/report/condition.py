"""How a lab is: what runs, how healthy it is, where it listens."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from topology.description.model import Host
from topology.report import addresses
from topology.runtime.running import RunningLab
from topology.runtime.stacks import State


def as_json(running: RunningLab, states: Sequence[State]) -> dict[str, object]:
    """The contract's `status --json`; the health of a service that is not there is "down"."""
    health = {(state.host, state.service): words(state) for state in states}
    return {
        "lab": running.topology.name,
        "instance": running.instance,
        "hosts": {
            name: {
                "domain": host.domain,
                "urls": addresses.urls(running, name),
                "gateway": {"health": health.get((name, "gateway"), "down")},
                **({"certbot": {"health": health.get((name, "certbot"), "down")}} if gets_by_acme(host) else {}),
                "services": {service: {"health": health.get((name, service), "down")} for service in host.services},
            }
            for name, host in running.topology.hosts.items()
        },
        **{service: {"health": words(state)} for service, state in own_servers(running, states).items()},
    }


def gets_by_acme(host: Host) -> bool:
    return host.tls is not None and host.tls.acme


def own_servers(running: RunningLab, states: Sequence[State]) -> dict[str, State]:
    """What belongs to the lab and to no host of it: its own ACME server."""
    return {state.service: state for state in states if state.host not in running.topology.hosts}


def words(state: State) -> str:
    return state.health if state.health and state.status == "running" else state.status


def show(running: RunningLab, states: Sequence[State]) -> None:
    health = {(state.host, state.service): words(state) for state in states}
    instance = f", instance {running.instance}" if running.instance else ""
    table = Table(title=f"{running.topology.name}{instance}", title_justify="left", title_style="bold")
    for column in ("host", "container", "health", "where"):
        table.add_column(column, overflow="fold")
    for name, host in running.topology.hosts.items():
        where = ", ".join(url for url in addresses.urls(running, name).values() if url)
        table.add_row(name, "gateway", health.get((name, "gateway"), "down"), where or "-")
        for service in (*(["certbot"] if gets_by_acme(host) else []), *host.services):
            table.add_row("", service, health.get((name, service), "down"), "")
        table.add_section()
    for service, state in own_servers(running, states).items():
        table.add_row("", service, words(state), "")
    Console(highlight=False).print(table)
