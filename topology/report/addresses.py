"""Where a running lab is reached: URLs, and curl lines that work when pasted."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from rich.console import Console
from rich.table import Table

from topology.proof import expectation
from topology.proof.expectation import NOBODY
from topology.proof.probing import Files
from topology.runtime.running import RunningLab


def urls(running: RunningLab, host: str) -> dict[str, str | None]:
    """scheme -> the URL of a host's gateway without a path; None where it does not listen."""
    domain = running.topology.hosts[host].domain
    endpoint = running.endpoints[host]
    return {
        "http": f"http://{domain}{port_part(endpoint.http, 80)}" if endpoint.http else None,
        "https": f"https://{domain}{port_part(endpoint.https, 443)}" if endpoint.https else None,
    }


def port_part(port: int, default: int) -> str:
    return "" if port == default else f":{port}"


def curl_lines(running: RunningLab) -> tuple[tuple[str, str], ...]:
    """(route as read, curl line) for each route that lets somebody in; paths are relative to the current folder."""
    lines: dict[str, str] = {}
    for check in expectation.checks(running.topology, running.held_elsewhere):
        if not has_port(running, check.host):
            continue  # not up: a part of the lab was deployed
        where = f"{check.host} {f':{check.port}' if check.port else ''}{check.path}"
        if check.expected == 200 and where not in lines:
            lines[where] = curl_line(running, check.host, check.path, check.caller, check.port)
    return tuple(lines.items())


def has_port(running: RunningLab, host: str) -> bool:
    endpoint = running.endpoints[host]
    return bool(endpoint.http or endpoint.https)


def curl_line(running: RunningLab, host: str, path: str, caller: str, passed: int | None = None) -> str:
    """A curl command for one route: verified against the host's authority, as an identity where one is needed.

    passed: a port that the gateway passes on to a service.
    """
    folder = running.identities / caller
    files = None if caller == NOBODY else Files(folder / "certificate.pem", folder / "key.pem")
    return curl(running, host, path, files, passed)


def curl(
    running: RunningLab, host: str, path: str, files: Files | None, passed: int | None = None, *options: str
) -> str:
    """A curl command that shows a certificate, or none.  options: what else curl is told."""
    described = running.topology.hosts[host]
    endpoint = running.endpoints[host]
    port = endpoint.passed.get(passed) if passed else endpoint.https or endpoint.http
    words = ["curl", *options]
    if endpoint.address != described.domain:  # else DNS knows it
        words += ["--resolve", f"{described.domain}:{port}:{endpoint.address}"]
    if described.tls is not None or passed:
        words += ["--cacert", shown(running.anchor(host))]
    if files is not None:
        words += ["--cert", shown(files.certificate), "--key", shown(files.key)]
    base = urls(running, host)
    url = f"https://{described.domain}:{port}" if passed else base["https"] or base["http"]
    return shlex.join([*words, f"{url}{path}"])


def shown(path: Path) -> str:
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def as_json(running: RunningLab) -> dict[str, object]:
    return {
        "lab": running.topology.name,
        "instance": running.instance,
        "hosts": {
            name: {"domain": host.domain, "urls": urls(running, name)} for name, host in running.topology.hosts.items()
        },
        "curl": dict(curl_lines(running)),
    }


def show(running: RunningLab, title: str = "") -> None:
    """Prints the hosts' URLs as a table, then the curl lines, unwrapped so that they can be pasted."""
    table = Table(title=title or f"{running.topology.name} is up, and proven", title_justify="left", title_style="bold")
    for column in ("host", "https", "http"):
        table.add_column(column, overflow="fold")
    for host in running.topology.hosts:
        found = urls(running, host)
        table.add_row(host, found["https"] or "-", found["http"] or "-")
    Console(highlight=False).print(table)
    for route, line in curl_lines(running):
        print(f"\n# {route}\n{line}")
