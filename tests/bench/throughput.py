"""Requests per second through two gateways: the lab's, the same two written by hand, and the same two without TLS.

All three answer on the same path, from the same service, in the same networks, on one machine: what they say of each
other holds where the figures do not.
"""

from __future__ import annotations

import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.integration import containers
from topology.generation import writing
from topology.pki import issuing
from topology.pki.issuing import Issuer
from topology.pytest_plugin import TestedLab, brought_up
from topology.runtime import engine, looking
from topology.runtime.preparation import gateway_owner

PATHS = Path(__file__).parent / "paths"
CONNECTIONS = 16
SECONDS = 4
ROUNDS = 3
READY_SECONDS = 20
PATH = "/mtls/health"

LAB, BY_HAND, PLAIN = "the lab", "by hand, like the article's", "plain HTTP"


@dataclass(frozen=True)
class Throughput:
    """way: which of the three; rates: requests a second, one for each round."""

    way: str
    rates: tuple[float, ...]

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)


def measure(out: Path, progress: Callable[[str], None]) -> tuple[Throughput, ...]:
    """Each way in turn, several rounds, so that what else the machine does meets all of them.

    out: a folder for the stacks.  Raises AssertionError where a way answers anything but 200.
    """
    with brought_up(PATHS / "lab.yaml", out) as lab, ExitStack() as stack:
        doors = {LAB: address(lab, "client", "gateway")}
        for way, folder in ((BY_HAND, "by-hand"), (PLAIN, "plain")):
            doors[way] = stack.enter_context(gateways(lab, PATHS / folder))
        rates: dict[str, list[float]] = {way: [] for way in doors}
        for number in range(1, ROUNDS + 1):
            for way, door in doors.items():
                rate = loaded(lab, f"http://{door}:8080{PATH}")
                rates[way].append(rate)
                progress(f"throughput, round {number} of {ROUNDS}: {way}: {rate:,.0f} requests a second")
    return tuple(Throughput(way, tuple(found)) for way, found in rates.items())


def loaded(lab: TestedLab, url: str) -> float:
    """Requests a second on kept connections, asked from inside the client's network as an application there would."""
    image = containers.built("bench-load", PATHS / "load")
    command = ["--connections", str(CONNECTIONS), "--threads", "1", "--duration", f"{SECONDS}s", url]
    ended = containers.run(image, command, network=inside(lab, "client"))
    assert ended.code == 0, ended.err
    assert "Non-2xx" not in ended.out, ended.out
    assert "Socket errors" not in ended.out, ended.out
    found = re.search(r"Requests/sec:\s+([0-9.]+)", ended.out)
    assert found, ended.out
    return float(found[1])


@contextmanager
def gateways(lab: TestedLab, folder: Path) -> Iterator[str]:
    """Two gateways with the configuration of a folder, beside the lab's own; the address of the first one to ask."""
    with tempfile.TemporaryDirectory(prefix="mtls-lab-bench-") as temporary:
        certificates = Path(temporary) / "certificates"
        write_certificates(certificates)
        with gateway(lab, "server", folder / "server.conf", certificates, {}) as its_address:
            known = {lab.lab.topology.hosts["server"].domain: its_address[lab.lab.internet]}
            with gateway(lab, "client", folder / "client.conf", certificates, known) as addresses:
                yield addresses[inside(lab, "client")]


@contextmanager
def gateway(
    lab: TestedLab, host: str, configuration: Path, certificates: Path, known: Mapping[str, str]
) -> Iterator[dict[str, str]]:
    """One of them, on the same networks as the host's own gateway; its address on each, once it accepts connections."""
    client = engine.connect()
    mounted = {configuration: "/etc/nginx/lab/nginx.conf", certificates: "/etc/nginx/certificates"}
    container = client.containers.create(
        looking.container_of(client, lab.lab, host, "gateway").attrs["Config"]["Image"],
        ["/usr/sbin/nginx", "-e", "/dev/stderr", "-g", "daemon off;"],  # as it is: the article's believes any server
        user=":".join(str(number) for number in gateway_owner() or (os.geteuid(), os.getegid())),
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        volumes={str(path): {"bind": place, "mode": "ro"} for path, place in mounted.items()},
        network=lab.lab.internet,
        extra_hosts=dict(known),
        healthcheck={"test": ["NONE"]},
        log_config={"type": "json-file", "config": {"max-size": "10m", "max-file": "3"}},
    )
    try:
        client.networks.get(inside(lab, host)).connect(container)
        container.start()
        await_start(container)
        yield {name: network["IPAddress"] for name, network in container.attrs["NetworkSettings"]["Networks"].items()}
    finally:
        container.remove(force=True, v=True)


def await_start(container: Any) -> None:
    """Returns when nginx has started its workers; AssertionError with what it said where it ends before."""
    deadline = time.monotonic() + READY_SECONDS
    while b"start worker process " not in container.logs():
        container.reload()
        assert container.status in ("created", "running"), container.logs().decode()
        assert time.monotonic() < deadline, container.logs().decode()
        time.sleep(0.05)
    container.reload()


def inside(lab: TestedLab, host: str) -> str:
    """The network inside a host."""
    return f"{lab.lab.project(host)}_inside"


def address(lab: TestedLab, host: str, service: str) -> str:
    """Where a container is inside its host."""
    container = looking.container_of(engine.connect(), lab.lab, host, service)
    return str(container.attrs["NetworkSettings"]["Networks"][inside(lab, host)]["IPAddress"])


def write_certificates(folder: Path) -> None:
    """A dozen openssl commands, as the article has them: RSA keys of 2,048 bits throughout."""
    now = datetime.now(UTC)

    def authority(name: str) -> Issuer:
        key = issuing.new_key("rsa-2048")
        return Issuer(issuing.issue_root(issuing.authority_name("bench", name), key, days=365, now=now), key)

    servers, clients = authority("ssl_ca"), authority("server_ca")
    server = issuing.issue_server("ec3.lab.test", (), issuing.new_key("rsa-2048"), servers, days=365, now=now)
    bro = issuing.issue_client("bro", ("bro@lab.test",), issuing.new_key("rsa-2048"), clients, days=365, now=now)
    writing.make_folder(folder)
    for name, content in {
        "server.pem": server.certificate_pem(),
        "server.key": server.key_pem(),
        "server_ca.pem": issuing.certificate_pem(clients.certificate),
        "bro.pem": bro.certificate_pem(),
        "bro.key": bro.key_pem(),
    }.items():
        writing.write(folder / name, content, 0o600, gateway_owner())
