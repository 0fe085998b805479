"""Evidence that walls and egress are looked at: one hole in a running lab, and `check --all` turns red."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from tests.integration.conftest import eventually
from tests.integration.test_broken_gateways import Break, broken, reload
from topology.generation import writing
from topology.pki import issuing
from topology.proof import checking, families
from topology.proof.probing import authority
from topology.pytest_plugin import TestedLab
from topology.runtime import engine, looking

pytestmark = pytest.mark.integration


def observed(tested: TestedLab, family: str) -> dict[str, int | str]:
    """The cells of a family that are wrong: `host route caller` -> what was seen."""
    checks = families.FAMILIES[family].checks(tested.lab.topology, ())
    verdicts = checking.run(checks, tested.running, probes=families.PROBES)
    return {f"{v.check.host} {v.check.route} {v.check.caller}": v.observed for v in verdicts if not v.ok}


@contextmanager
def restarted(tested: TestedLab, host: str, service: str, settings: str, folder: Path) -> Iterator[None]:
    """A container with other settings than the topology's (YAML), put right afterwards."""
    file = folder / "override.yaml"
    file.write_text(f"services: {{{service}: {{{settings}}}}}\n")
    start(tested, host, service, "--file", str(file))
    try:
        yield
    finally:
        start(tested, host, service)


def start(tested: TestedLab, host: str, service: str, *also: str) -> None:
    stack = tested.hosts[host]
    stack._run_command([*stack.docker_compose_command(), *also, "up", "--detach", "--no-deps", service])

    def is_up() -> bool:
        state = looking.container_of(engine.connect(), tested.lab, host, service).attrs["State"]
        return bool(state["Status"] == "running" and (also or state["Health"]["Status"] == "healthy"))

    eventually(is_up, 60)
    tested.find_ports()


RIGHTS = {
    "a capability is back": ("cap_add: [NET_RAW]", "capabilities added: CAP_NET_RAW"),
    "all capabilities are back": ("cap_drop: !reset []", "capabilities 0x"),
    "it is root": ('user: "0:0"', "root"),
    "its files can be written": ("read_only: false", "writable files"),
    "new privileges are possible": ("security_opt: !reset []", "new privileges"),
    "it sees its machine's processes": ("pid: host", "its machine's processes"),
}
"""What is wrong with a service's container -> the setting that makes it so, and what is seen."""


@pytest.mark.parametrize("name", RIGHTS)
def test_more_rights_than_needed_are_seen(name: str, guarded: TestedLab, tmp_path: Path) -> None:
    setting, seen = RIGHTS[name]
    with restarted(guarded, "vault", "node", setting, tmp_path):
        wrong = observed(guarded, "wall")

    assert wrong == {"vault node rights": wrong.get("vault node rights")}
    assert seen in str(wrong["vault node rights"])


def test_a_published_service_is_seen(guarded: TestedLab, tmp_path: Path) -> None:
    with restarted(guarded, "vault", "node", 'ports: ["127.0.0.1::3200"]', tmp_path):
        assert observed(guarded, "wall") == {"vault node published-ports": "3200"}


def test_a_gateway_published_to_everybody_is_seen(guarded: TestedLab, tmp_path: Path) -> None:
    with restarted(guarded, "office", "gateway", 'ports: !override ["0.0.0.0::80", "127.0.0.1::443"]', tmp_path):
        assert observed(guarded, "wall") == {"office gateway published-ports": "0.0.0.0:80, 443"}


def test_an_authority_s_folder_in_a_container_is_seen(guarded: TestedLab, tmp_path: Path) -> None:
    """Though the files there are nobody's to read but their owner's."""
    folder = guarded.running.authorities / "partners"
    with restarted(guarded, "vault", "node", f'volumes: ["{folder}:/opt/partners:ro"]', tmp_path):
        assert f"{folder} is mounted" in str(observed(guarded, "wall")["vault node authorities-keys"])


@pytest.mark.parametrize("encoding", [serialization.Encoding.PEM, serialization.Encoding.DER])
@pytest.mark.parametrize("form", [serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL])
def test_an_authority_s_key_in_a_container_is_found_by_what_it_is(
    guarded: TestedLab, encoding: serialization.Encoding, form: serialization.PrivateFormat
) -> None:
    """Under whatever name, in whatever form."""
    key = authority(guarded.running, "staff").key
    content = key.private_bytes(encoding, form, serialization.NoEncryption())
    with holding(guarded, content):
        assert observed(guarded, "wall") == {"vault node authorities-keys": "/tmp/notes: key of staff"}


@contextmanager
def holding(tested: TestedLab, content: bytes) -> Iterator[None]:
    """A file in the memory of a service."""
    node = looking.container_of(engine.connect(), tested.lab, "vault", "node")
    write = f"require('fs').writeFileSync('/tmp/notes', Buffer.from('{content.hex()}', 'hex'))"
    assert node.exec_run(["node", "-e", write]).exit_code == 0
    try:
        yield
    finally:
        node.exec_run(["node", "-e", "require('fs').unlinkSync('/tmp/notes')"])


def test_a_container_without_a_shell_is_looked_into_all_the_same(guarded: TestedLab, tmp_path: Path) -> None:
    """From a container beside it, and nothing of that stays."""
    before = len(engine.connect().containers.list(all=True, filters={"label": instance(guarded)}))
    with restarted(guarded, "vault", "node", 'volumes: ["/dev/null:/usr/bin/bash:ro"]', tmp_path):
        assert observed(guarded, "wall") == {}
        assert observed(guarded, "inside") == {}
        with holding(guarded, issuing.key_pem(authority(guarded.running, "staff").key)):
            assert observed(guarded, "wall") == {"vault node authorities-keys": "/tmp/notes: key of staff"}

    eventually(lambda: len(engine.connect().containers.list(all=True, filters={"label": instance(guarded)})) == before)


def instance(tested: TestedLab) -> str:
    return f"mtls-lab.instance={tested.lab.instance}"


def test_joined_networks_are_seen(guarded: TestedLab) -> None:
    """Another host's gateway on a host's own network: it is there, it is no member, and it reaches the services."""
    client = engine.connect()
    network = client.networks.get(f"{guarded.lab.project('vault')}_inside")
    gateway = looking.container_of(client, guarded.lab, "office", "gateway")
    network.connect(gateway)
    try:
        wrong = observed(guarded, "wall")
    finally:
        network.disconnect(gateway)

    assert set(wrong) == {"office gateway networks", "vault inside members", "vault inside from-office/gateway"}
    assert str(network.name) in str(wrong["office gateway networks"])
    assert str(gateway.name) in str(wrong["vault inside members"])
    assert "node (" in str(wrong["vault inside from-office/gateway"])
    assert "gateway (" in str(wrong["vault inside from-office/gateway"])


def test_a_listener_for_services_that_everybody_reaches_is_seen(guarded: TestedLab) -> None:
    """It attaches identities, and lets everybody into internal routes."""
    file = looking.mounted(guarded.lab, "vault", "/etc/nginx/lab") / "nginx.conf"
    good = file.read_bytes()
    opened = re.sub(rb"listen [0-9.]+:8080;", b"listen 8080;", good)
    assert opened != good
    seen: dict[str, Any] = {}
    expected = {"vault gateway listeners", "vault inside from-internet", "vault inside from-office/gateway"}

    def is_seen() -> bool:
        seen.update(observed(guarded, "wall"))
        return set(seen) >= expected

    writing.write(file, opened)
    try:
        start_anew(guarded, "vault")
        eventually(is_seen)
    finally:
        writing.write(file, good)
        start_anew(guarded, "vault")
        eventually(lambda: observed(guarded, "wall") == {})

    assert set(seen) == expected


def start_anew(tested: TestedLab, host: str) -> None:
    """nginx cannot take over the port of a listener that it has open on another address by a reload alone."""
    stack = tested.hosts[host]
    stack._run_command([*stack.docker_compose_command(), "restart", "gateway"])
    tested.find_ports()


def test_a_gateway_that_judges_servers_afterwards_is_seen(guarded: TestedLab, tmp_path: Path) -> None:
    """nginx as it is shows its certificate to any server, before it looks at the server's."""
    command = 'command: ["/usr/sbin/nginx", "-e", "/dev/stderr", "-g", "daemon off;"]'
    with restarted(guarded, "office", "gateway", command, tmp_path):
        assert observed(guarded, "wall") == {"office gateway judges-servers": "afterwards"}


EGRESS = {
    "two identities share connections": ("https://vault.as.bob;", "https://vault.as.alice;", "/as-bob/"),
    "nobody shares the connections of one whom it is refused like": (
        "https://vault.without-identity;", "https://vault.as.bob;", "/as-nobody/",
    ),
    "the wrong identity is attached": ("/identities/bob.", "/identities/mallory.", "/as-bob/"),
    "no server is believed": ("    proxy_ssl_verify on;\n", "    proxy_ssl_verify off;\n", "/as-alice/"),
}  # fmt: skip
"""What is wrong with a gateway's way out -> what is replaced by what in its routes, and a route that is wrong then."""


@pytest.mark.parametrize("name", EGRESS)
def test_a_remote_host_that_sees_somebody_else_is_seen(name: str, guarded: TestedLab) -> None:
    """The second has no wrong status at all: what the remote host saw gives it away.

    The last would be believing everybody; the gateway's nginx then trusts no authority, and so nobody.
    """
    old, new, betrayed = EGRESS[name]
    found: dict[str, int | str] = {}

    def is_seen() -> bool:
        found.update(observed(guarded, "egress"))
        return f"office {betrayed} none" in found

    with broken(guarded, Break("guarded", "office", "routes.conf", old, new, "none")):
        eventually(is_seen)


def test_an_internal_route_that_is_closed_to_its_own_services_is_seen(guarded: TestedLab) -> None:
    def is_seen() -> bool:
        return observed(guarded, "inside") == {"vault /inside/ own-service": 403}

    change = Break("guarded", "vault", "routes.conf", "$listener != inside", "$listener != nowhere", "none")
    with broken(guarded, change):
        eventually(is_seen)


def test_the_unbroken_lab_is_green(guarded: TestedLab) -> None:
    reload(guarded, "vault")

    assert {family: observed(guarded, family) for family in ("wall", "inside", "egress")} == {
        "wall": {}, "inside": {}, "egress": {}
    }  # fmt: skip


def test_an_interrupted_look_from_outside_leaves_nobody_behind(guarded: TestedLab) -> None:
    """Ctrl-C while the stranger stands on the internet network."""
    lab, client = guarded.lab, engine.connect()
    place = [str(lab.description.file), "--out", str(lab.out), "--instance", str(lab.instance)]
    command = [sys.executable, "-m", "topology", "check", *place, "--all", "--only", "from-internet"]

    def strangers() -> list[Any]:
        found = client.containers.list(all=True, filters={"label": instance(guarded)}, ignore_removed=True)
        return [container for container in found if "mtls-lab.host" not in container.labels]

    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        eventually(lambda: bool(strangers()))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)

    assert process.returncode == 130
    assert strangers() == []
