"""Lines of a lab's logs as people and machines read them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from topology.description.wording import printable
from topology.runtime.lab import Lab
from topology.runtime.logs import Choice, Line, services_of

NO_CERTIFICATE = ("", "NONE")


def as_json(line: Line) -> str:
    """One JSON object on one line.  message: the line as it was printed; access: a gateway's access line, else null."""
    return json.dumps(
        {
            "time": line.stamp,
            "host": line.host,
            "service": line.service,
            "message": line.text,
            "access": line.access,
        },
        ensure_ascii=False,
    )


def width(lab: Lab, choice: Choice) -> int:
    """How wide the names of those that can have lines are."""
    hosts = [choice.host] if choice.host else lab.stacks
    return max(len(f"{host}/{service}") for host in hosts for service in services_of(lab, host))


def as_text(line: Line, width: int, *, way: bool = False) -> str:
    """A line for people: when, who, what.

    way: of one request, whose id the reader knows; then where it went, and how long that took, in its place.
    """
    who = f"{line.host}/{line.service}".ljust(width)
    what = printable(line.text.replace("\t", "    ")) if line.access is None else request(line.access, way=way)
    return f"{line.time:%Y-%m-%dT%H:%M:%S}.{line.time.microsecond // 1000:03}Z  {who}  {what}"


def request(access: dict[str, Any], *, way: bool) -> str:
    """A gateway's access line: id, method, path, status, caller.  Forged fields cannot break out of it."""
    field = {name: printable(str(value)) for name, value in access.items()}
    asked = f"{field.get('method') or '-'} {field.get('uri') or '-'} {field.get('status') or '-'}  {caller(field)}"
    if not way:
        return f"{field['request_id']}  {asked}"
    led = f" -> {field['upstream']} {field.get('upstream_status', '')}".rstrip() if field.get("upstream") else ""
    route = f"  route {field['route']}/" if field.get("route") else ""
    return f"{asked}  {field.get('listener', '-')}{route}{led}  {field.get('seconds', '-')} s"


def caller(field: dict[str, str]) -> str:
    """Who asked: the subject of a certificate that was verified, why one was not, or nobody."""
    verified = field.get("client_verify", "")
    if verified == "SUCCESS":
        return field.get("client_subject") or "nameless"
    return "nobody" if verified in NO_CERTIFICATE else verified


def show(lines: Iterable[Line], width: int, *, as_objects: bool = False, way: bool = False) -> int:
    """Prints lines as they come; returns how many there were."""
    count = 0
    for line in lines:
        print(as_json(line) if as_objects else as_text(line, width, way=way), flush=True)
        count += 1
    return count


def nothing_of(request: str, where: str) -> str:
    return (
        f"no line of {where} is about request {request}; logs go as far back as the containers, and hold 30 MB of each"
    )
