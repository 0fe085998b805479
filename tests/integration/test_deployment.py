"""Hosts on machines of their own: two engines in containers, one reached over SSH, the other over TCP with TLS."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.integration.conftest import eventually
from tests.integration.engines import Machine, environment, machines, write_context
from topology import cli
from topology.description.loading import load
from topology.proof import expectation
from topology.proof.probing import Direct, Files, tls_context
from topology.runtime import contexts, engine, looking, placement
from topology.runtime import machines as running_on
from topology.runtime.lab import Lab, label_filters

pytestmark = pytest.mark.integration

TOPOLOGY = """
name: apart
authorities: {ssl_ca: {}, client_ca: {}}
identities: {bro: {authority: client_ca}}
hosts:
  server:
    domain: ec3.apart.test
    publish: {http: 9080, https: 9443}
    client_certificates: {authority: client_ca}
    services:
      boot: {kind: node}
      mtls: {kind: node, tls: {port: 3300, client_certificate: required}}
    routes:
      /boot/: {service: boot}
      /mtls/: {service: mtls, client_certificate: required}
  client:
    domain: ec2.apart.test
    services: {fast: {kind: fast}}
    routes:
      /fast/: {service: fast}
      /mtls/: {host: server, to: /mtls/, identity: bro}
"""
ONE_MORE = TOPOLOGY.replace(
    "      /boot/: {service: boot}\n", "      /boot/: {service: boot}\n      /more/: {service: boot}\n"
)
DOMAINS = {"one": "ec3.apart.test", "two": "ec2.apart.test"}


@dataclass(frozen=True)
class Deployment:
    """The lab as a person at the command line has it."""

    file: Path
    out: Path
    environment: Mapping[str, str]
    machines: Mapping[str, Machine]

    @property
    def lab(self) -> Lab:
        return Lab(load(self.file), self.out, "apart")

    def run(self, command: str, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "topology", *self.words(command, *words)],
            env={**os.environ, **self.environment}, capture_output=True, text=True, check=False, timeout=240,
        )  # fmt: skip

    def words(self, command: str, *words: str) -> list[str]:
        arguments = [words[0]] if command == "deploy" else []
        rest = words[1:] if command == "deploy" else words
        return [command, *arguments, str(self.file), *rest, "--out", str(self.out), "--instance", "apart"]

    def deploy(self, host: str, machine: str, *options: str) -> subprocess.CompletedProcess[str]:
        return self.run("deploy", host, "--context", machine, "--address", self.machines[machine].address, *options)

    def told(self, command: str, *words: str) -> Any:
        done = self.run(command, *words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def on(self, machine: str) -> dict[str, str]:
        """`host/service` -> container that a machine runs."""
        return {name_of(c): str(c.id) for c in looking.containers(self.machines[machine].client, self.lab)}

    def volumes(self, machine: str) -> set[str]:
        return {volume.name for volume in self.machines[machine].client.volumes.list()}

    def get(self, url: str, machine: str, *, bro: bool = False, headers: Mapping[str, str] | None = None) -> Any:
        """A verified request to a machine."""
        own = self.lab.identities / "bro"
        shown = Files(own / "certificate.pem", own / "key.pem") if bro else None
        context = tls_context(self.lab.authorities / "ssl_ca" / "certificate.pem", shown, "1.3")
        with requests.Session() as session:
            session.trust_env = False
            session.mount(url, Direct(self.machines[machine].address, context))
            return session.get(url, timeout=10, headers=headers)

    def assert_green(self) -> None:
        cells = self.told("check")
        assert [cell for cell in cells if not cell["ok"]] == []
        assert len(cells) == len(expectation.checks(self.lab.topology))


def name_of(container: Any) -> str:
    return f"{container.labels['mtls-lab.host']}/{container.labels['mtls-lab.service']}"


def assert_done(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def two_machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Two machines with bare engines, and a topology for them."""
    folder = tmp_path_factory.mktemp("machines")
    with machines(folder, DOMAINS) as found:
        known = environment(folder, found)
        config = Path(known["DOCKER_CONFIG"])
        write_context(config, "one", f"ssh://root@{found['one'].address}")
        write_context(config, "two", f"tcp://{found['two'].address}:2376", folder / "client")
        write_context(config, "two-by-another-way", f"unix://{found['two'].folder}/docker.sock")
        file = folder / "topology.yaml"
        file.write_text(TOPOLOGY)
        yield Deployment(file, folder / "compose", known, found)


@pytest.fixture(scope="module")
def deployed(two_machines: Deployment) -> Iterator[Deployment]:
    """`server` on the one machine, `client` on the other, from nothing."""
    began = time.monotonic()
    try:
        assert_done(two_machines.deploy("server", "one"))
        done = two_machines.deploy("client", "two")
        assert_done(done)
        assert "client /mtls/health: answers" in done.stderr
        print(f"from nothing to the first answer by mutual TLS between machines: {time.monotonic() - began:.1f} s")
        yield two_machines
    finally:
        two_machines.file.write_text(TOPOLOGY)
        two_machines.run("down", "--forget")


def test_each_host_runs_on_its_own_machine_alone(deployed: Deployment) -> None:
    assert deployed.on("one").keys() == {"server/gateway", "server/boot", "server/mtls"}
    assert deployed.on("two").keys() == {"client/gateway", "client/fast"}
    assert looking.containers(engine.connect(), deployed.lab) == []


def test_every_caller_gets_its_answer_across_the_machines(deployed: Deployment) -> None:
    deployed.assert_green()


def test_status_says_what_runs_where(deployed: Deployment) -> None:
    hosts = deployed.told("status")["hosts"]

    assert {name: host["context"] for name, host in hosts.items()} == {"server": "one", "client": "two"}
    assert hosts["server"]["urls"]["https"] == "https://ec3.apart.test:9443"
    assert hosts["client"]["urls"]["https"] == "https://ec2.apart.test"
    assert hosts["server"]["services"] == {"boot": {"health": "healthy"}, "mtls": {"health": "healthy"}}


def test_logs_tell_of_one_request_on_both_machines(deployed: Deployment) -> None:
    request = secrets.token_hex(16)
    answer = deployed.get("https://ec2.apart.test/mtls/health", "two", headers={"X-Request-ID": request})
    assert answer.status_code == 200, answer.text

    def gateways() -> list[str]:
        lines = map(json.loads, deployed.run("logs", "--request", request, "--json").stdout.splitlines())
        return [line["host"] for line in lines if line["access"]]

    eventually(lambda: len(gateways()) == 2)
    assert gateways() == ["client", "server"]


def test_doctor_looks_at_the_machines_of_deployed_hosts(deployed: Deployment) -> None:
    """Nothing is wrong with them; and where a context leads nowhere, it is said."""
    assert [found for found in deployed.told("doctor")["findings"] if found["level"] == "problem"] == []

    places = dict(placement.read(deployed.lab.placement))
    placement.remember(deployed.lab.placement, places | {"server": replace(places["server"], context="gone")})
    try:
        done = deployed.run("doctor", "--json")
    finally:
        placement.remember(deployed.lab.placement, places)
    [found] = [found for found in json.loads(done.stdout)["findings"] if found["check"] == "engine"]
    assert done.returncode == 1
    assert found["what"] == "the engine of host server is out of reach"
    assert "context gone: there is no such Docker context" in found["why"]


def test_a_gateway_believes_another_machine_s_gateway_and_nobody_else(deployed: Deployment) -> None:
    """By the address from which the calling machine's calls come."""
    forged = {"X-Forwarded-Host": "bank.test", "X-Forwarded-For": "203.0.113.9"}

    through = deployed.get("https://ec2.apart.test:443/mtls/whoami", "two", headers=forged).json()["headers"]
    direct = deployed.get("https://ec3.apart.test:9443/mtls/whoami", "one", bro=True, headers=forged).json()["headers"]

    assert through["x-forwarded-host"] == "ec2.apart.test"
    assert through["x-forwarded-for"].endswith(f", {deployed.machines['two'].address}")
    assert direct["x-forwarded-host"] == "ec3.apart.test:9443"
    assert "203.0.113.9" not in through["x-forwarded-for"] + direct["x-forwarded-for"]


def test_a_deployed_gateway_listens_where_its_machine_was_said_to_be_and_nowhere_else(deployed: Deployment) -> None:
    gateway = looking.container_of(deployed.machines["one"].client, deployed.lab, "server", "gateway")

    bindings = [binding for found in gateway.ports.values() for binding in found or ()]
    assert {binding["HostIp"] for binding in bindings} == {deployed.machines["one"].address}
    assert {binding["HostPort"] for binding in bindings} == {"9080", "9443", "3300"}


def holds(machine: Machine, key: Path) -> bool:
    """Whether a key is in any volume of a machine."""
    search = ["grep", "-rqF", key.read_text().splitlines()[1], "/var/lib/docker/volumes"]
    code, output = machine.run(*search)
    assert code in (0, 1), output
    return code == 0


def test_no_authority_s_key_reaches_a_machine(deployed: Deployment) -> None:
    """A host's own does: the same search finds it."""
    keys = list(deployed.lab.authorities.glob("*/*key.pem"))

    assert len(keys) == 2
    assert not any(holds(machine, key) for machine in deployed.machines.values() for key in keys)
    assert holds(deployed.machines["one"], deployed.lab.certificates("server") / "server.key")
    assert not holds(deployed.machines["two"], deployed.lab.certificates("server") / "server.key")


def test_a_key_over_there_is_for_the_gateway_s_user_alone(deployed: Deployment) -> None:
    keys = ["/var/lib/docker/volumes", "-name", "*.key", "-type", "f"]
    machine = deployed.machines["one"]

    assert machine.run("sh", "-c", 'test $(find "$@" | wc -l) = 2', "-", *keys)[0] == 0
    assert machine.run("sh", "-c", 'test -z "$(find "$@")"', "-", *keys, "!", "-uid", "10001")[0] == 0
    assert machine.run("sh", "-c", 'test -z "$(find "$@")"', "-", *keys, "!", "-perm", "600")[0] == 0


def test_a_host_that_is_deployed_again_unchanged_is_not_touched(deployed: Deployment) -> None:
    before = deployed.on("one"), deployed.on("two")

    assert_done(deployed.deploy("client", "two"))
    assert (deployed.on("one"), deployed.on("two")) == before


def test_a_change_reaches_its_host_alone_and_replaces_what_was_carried_there(deployed: Deployment) -> None:
    """`up` works across the machines.  The volumes with the old content are gone."""
    volumes, one, two = deployed.volumes("one"), deployed.on("one"), deployed.on("two")
    assert deployed.get("https://ec3.apart.test:9443/more/health", "one").status_code == 404
    deployed.file.write_text(ONE_MORE)

    assert_done(deployed.run("up"))

    assert deployed.get("https://ec3.apart.test:9443/more/health", "one").status_code == 200
    assert {name for name, one_id in deployed.on("one").items() if one[name] != one_id} == {"server/gateway"}
    assert deployed.on("two") == two
    assert len(deployed.volumes("one")) == len(volumes)
    assert {name.rsplit("_", 2)[-2] for name in deployed.volumes("one") - volumes} == {"nginx", "pages"}
    deployed.assert_green()


def test_a_renewed_certificate_is_carried_over_and_the_old_key_is_gone(deployed: Deployment, tmp_path: Path) -> None:
    key = deployed.lab.certificates("server") / "server.key"
    old = key.replace(tmp_path / "old.key")
    assert holds(deployed.machines["one"], old)

    assert_done(deployed.deploy("server", "one"))

    assert not holds(deployed.machines["one"], old)
    assert holds(deployed.machines["one"], key)
    assert deployed.get("https://ec3.apart.test:9443/boot/health", "one").status_code == 200


def test_where_the_new_place_does_not_work_what_ran_keeps_running(deployed: Deployment) -> None:
    """An address that is not that machine's: the engine cannot listen there."""
    before = deployed.on("one"), deployed.on("two"), deployed.volumes("two")
    wrong = deployed.machines["one"].address

    done = deployed.run("deploy", "server", "--context", "two", "--address", wrong)

    assert done.returncode == 4
    assert "cannot assign requested address" in done.stderr
    assert "Traceback" not in done.stderr
    assert (deployed.on("one"), deployed.on("two"), deployed.volumes("two")) == before
    deployed.assert_green()


def test_a_host_can_move_to_another_machine_and_back(deployed: Deployment) -> None:
    """Those that call it are led there; nothing stays where it was.  Two contexts of one engine are one machine."""
    assert_done(deployed.deploy("server", "two", "--context", "two-by-another-way"))
    assert deployed.on("one") == {}
    assert deployed.volumes("one") == set()
    assert len(deployed.on("two")) == 5
    deployed.assert_green()

    assert_done(deployed.deploy("server", "one"))
    assert len(deployed.on("one")) == 3
    assert deployed.on("two").keys() == {"client/gateway", "client/fast"}
    deployed.assert_green()


def test_hosts_find_each_other_through_dns(deployed: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --address the gateways ask the machines' name server; this side's resolver is a stand-in."""
    known = {domain: deployed.machines[name].address for name, domain in DOMAINS.items()}
    ask = socket.getaddrinfo

    def resolve(host: Any, *rest: Any, **more: Any) -> Any:
        return ask(known.get(host, host), *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    for name, value in deployed.environment.items():
        monkeypatch.setenv(name, value)
    contexts.engine_of.cache_clear()
    running_on.identity_of.cache_clear()

    for host, machine in (("server", "one"), ("client", "two")):
        source = deployed.machines[machine].address
        options = [host, "--context", machine, "--calls-from", source]
        assert cli.main(deployed.words("deploy", *options)) == 0
    assert cli.main(deployed.words("check")) == 0
    assert "ec3.apart.test" not in deployed.lab.override("client").read_text()
    gateway = looking.container_of(deployed.machines["one"].client, deployed.lab, "server", "gateway")
    assert {binding["HostIp"] for found in gateway.ports.values() for binding in found or ()} == {placement.EVERYWHERE}

    for host, machine in (("client", "two"), ("server", "one")):  # as it was; nobody else has the stand-in
        address = deployed.machines[machine].address
        assert cli.main(deployed.words("deploy", host, "--context", machine, "--address", address)) == 0


def test_a_machine_that_is_gone_is_named_and_the_others_go_on(deployed: Deployment) -> None:
    """Until it is back: what is there is remembered, and taken down then."""
    deployed.machines["two"].stop()
    try:
        status, check = deployed.run("status", "--json"), deployed.run("check")
        assert (status.returncode, check.returncode) == (3, 3)
        seen = json.loads(status.stdout)["hosts"]
        assert {host: seen[host]["gateway"]["health"] for host in seen} == {
            "server": "healthy",
            "client": "out of reach",
        }
        [line] = check.stderr.splitlines()
        assert line.startswith("host client: context two (tcp://")
        assert_done(deployed.deploy("server", "one"))

        down = deployed.run("down")
        assert down.returncode == 3
        assert "run `mtls-lab down` again when it answers" in down.stderr
        assert deployed.on("one") == {}
    finally:
        deployed.machines["two"].start()
    assert len(deployed.on("two")) == 2
    assert_done(deployed.run("down"))


def test_down_leaves_nothing_on_any_machine(deployed: Deployment) -> None:
    """Nor a word of where hosts were."""
    assert_done(deployed.deploy("server", "one"))
    assert_done(deployed.run("down"))

    for name, machine in deployed.machines.items():
        assert (deployed.on(name), deployed.volumes(name)) == ({}, set())
        assert {n.name for n in machine.client.networks.list()} == {"bridge", "host", "none"}
    assert not deployed.lab.placement.exists()
    assert not list(deployed.out.rglob("override*"))


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


@pytest.fixture
def at_home(tmp_path: Path) -> Iterator[Deployment]:
    """The same lab on this machine's own engine, on ports that are free, up as an instance of its own."""
    http, https, passed = free_ports(3)
    text = TOPOLOGY.replace("9080", str(http)).replace("9443", str(https))
    file = tmp_path / "topology.yaml"
    file.write_text(
        text.replace("client_certificate: required}}", f"client_certificate: required, publish: {passed}}}}}")
    )
    lab = Deployment(file, tmp_path / "compose", {}, {})
    try:
        assert_done(lab.run("up", "--ports", "auto"))
        yield lab
    finally:
        lab.run("down")


def test_this_machine_is_a_context_like_any_other(at_home: Deployment) -> None:
    """A host that ran already is recreated with what was carried over; the one that calls it is not touched."""
    client = engine.connect()

    def here() -> dict[str, Any]:
        return {name_of(container): container for container in looking.containers(client, at_home.lab)}

    before = here()
    assert_done(at_home.run("deploy", "server", "--context", "default", "--address", "127.0.0.1"))

    after = here()
    assert after.keys() == before.keys()
    assert {name for name in after if after[name].id == before[name].id} >= {"client/gateway", "client/fast"}
    assert {mount["Type"] for mount in after["server/gateway"].attrs["Mounts"]} == {"volume"}
    at_home.assert_green()
    assert_done(at_home.run("down"))
    assert here() == {}
    assert client.networks.list(filters={"label": label_filters(at_home.lab)}) == []
    assert client.volumes.list(filters={"label": label_filters(at_home.lab)}) == []
