"""Certificates from an ACME server, in a lab that runs: the server's root, and certbot asked to look now."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from topology.errors import NotReady
from topology.generation.acme import START, Server, root_command
from topology.runtime import execution

if TYPE_CHECKING:
    from docker.models.containers import Container

SERVER_SECONDS = 30
"""How long the lab's own ACME server has until it answers."""

GATEWAY_SECONDS = 20
"""How long a gateway has to take up a new certificate; it looks twice a second."""

HEALTH_SECONDS = 15
"""How long the engine has until it notices that certbot is well again."""

ONCE = ["python3", "renewal.py", "once"]


def read_root(container: Container, server: Server) -> bytes:
    """The root (PEM) of the lab's own ACME server, which is another one each time that it starts.

    Asked for inside its container, over verified TLS: the interface that gives it out gives out its key as well, and
    no other container can reach it.  Raises NotReady where the server does not answer.
    """
    deadline = time.monotonic() + SERVER_SECONDS
    while True:
        code, said = run(container, list(root_command(server)))
        if code == 0 and said.startswith("-----BEGIN CERTIFICATE-----"):
            return said.encode()
        if time.monotonic() > deadline:
            raise NotReady(f"{container.name}: the lab's ACME server does not answer: {said.strip()}")
        time.sleep(0.1)


def obtain(container: Container, host: str) -> str:
    """Has a host's certbot see to its certificate now, and returns what it did, in a line.

    Raises NotReady, with what the ACME server said, where there is no good certificate after that; the gateway goes on
    with the one that it has.
    """
    code, said = run(container, ONCE)
    line = (said.strip().splitlines() or ["certbot said nothing"])[-1]
    if code:
        raise NotReady(f"host {host}: {line}")
    await_recovery(container)
    return line


def await_gateway(container: Container) -> None:
    """Returns when a host's gateway has taken up the certificate that its certbot got; NotReady where it will not."""
    deadline = time.monotonic() + GATEWAY_SECONDS
    while run(container, ["bash", START, "up-to-date"])[0]:
        if time.monotonic() > deadline:
            log = bytes(container.logs(tail=5)).decode(errors="replace")
            raise NotReady(f"{container.name}: the gateway does not take up its new certificate:\n{log.rstrip()}")
        time.sleep(0.1)


def await_recovery(container: Container) -> None:
    """The engine looks every few seconds, and may not have seen yet that a certbot that had failed is well again."""
    deadline = time.monotonic() + HEALTH_SECONDS
    while time.monotonic() < deadline:
        container.reload()
        if (container.attrs["State"].get("Health") or {}).get("Status") != "unhealthy":
            return
        time.sleep(0.2)


def run(container: Container, command: list[str]) -> tuple[int, str]:
    """Exit code and output; a container that is not running counts as a command that failed."""
    from docker.errors import APIError

    try:
        answer = execution.run(container, command)
    except APIError as error:
        return 1, str(error.explanation)
    return answer.code, answer.told
