"""How a lab is: what runs, how healthy it is, where it listens."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

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
                "services": {service: {"health": health.get((name, service), "down")} for service in host.services},
            }
            for name, host in running.topology.hosts.items()
        },
    }


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
        for service in host.services:
            table.add_row("", service, health.get((name, service), "down"), "")
        table.add_section()
    Console(highlight=False).print(table)
