"""Networks and ports that somebody else takes between the tool's look and the engine's use; who holds a network."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from docker.errors import APIError, NotFound

from topology.description.loading import load
from topology.errors import NotReady
from topology.generation.addressing import Network
from topology.generation.planning import Surroundings, default_networks_of
from topology.runtime import conflicts, networking, stacks
from topology.runtime.conflicts import NetworkTaken, PortTaken
from topology.runtime.lab import Lab
from topology.runtime.machines import Machine
from topology.runtime.progress import Progress
from topology.runtime.task import Task, proves_nothing

TOPOLOGY = """
name: contested
authorities:
  ssl_ca: {}
hosts:
  web:
    domain: web.lab.test
    publish: {https: 9443}
"""
OVERLAP = "Pool overlaps with other one on this address space"


GATEWAY = "failed to allocate gateway (10.78.38.1): Address already in use"
BRIDGE = "conflicts with network 3a4 (br-3a4): networks have overlapping IPv4"
DRIVER = "driver failed programming external connectivity on endpoint contested-web-gateway-1 (0a1b)"


@pytest.mark.parametrize(
    ("said", "network"),
    [
        (f"failed to create network contested_inside: Error response from daemon: {OVERLAP}", "contested_inside"),
        (f"failed to create network contested_inside: Error response from daemon: {GATEWAY}", "contested_inside"),
        (f"Error response from daemon: invalid pool request: {OVERLAP}", "of the lab"),
        (f"failed to create network contested_inside: cannot create network 1f2: {BRIDGE}", "contested_inside"),
    ],
    ids=["20.10", "20.10, the very same", "28", "bridge"],
)
def test_a_taken_network_is_recognised_in_what_engines_say(said: str, network: str) -> None:
    found = conflicts.found_in(f" Network contested-web_inside  Creating\n{said}\n")

    assert isinstance(found, NetworkTaken)
    assert found.network == network


@pytest.mark.parametrize(
    "said",
    [
        f"{DRIVER}: Bind for 127.0.0.1:9443 failed: port is already allocated",
        f"{DRIVER}: Error starting userland proxy: listen tcp4 127.0.0.1:9443: bind: address already in use",
        "ports are not available: exposing port TCP 127.0.0.1:9443 -> 127.0.0.1:0: listen tcp 127.0.0.1:9443: bind: address already in use",  # noqa: E501
        f"{DRIVER}: failed to bind host port for 127.0.0.1:9443:10.87.3.2:443/tcp: address already in use",
        "failed to bind host port 127.0.0.1:9443/tcp: address already in use",
    ],
    ids=["container", "proxy", "desktop", "27", "28"],
)
def test_a_taken_port_is_recognised_in_what_engines_say(said: str) -> None:
    found = conflicts.found_in(f"Error response from daemon: {said}")

    assert isinstance(found, PortTaken)
    assert (found.address, found.port) == ("127.0.0.1", 9443)
    assert len(str(found).splitlines()) == 1


@pytest.mark.parametrize(
    "said", ["network two-host-internet declared as external, but could not be found", "no space left on device", ""]
)
def test_other_failures_are_no_conflicts(said: str) -> None:
    assert conflicts.found_in(said) is None


class EmptyEngine:
    networks = SimpleNamespace(list=list)


class Contest:
    """A lab that is brought up on an engine of paper, where a number of starts meet a network that was taken meanwhile.

    starts: the networks of each start; lines: what was told.
    """

    def __init__(self, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lab = lab
        self.starts: list[Surroundings] = []
        self.lines: list[str] = []
        self.failures = 0
        monkeypatch.setattr(networking, "read_routes", lambda: "")
        monkeypatch.setattr(stacks.looking, "containers", lambda *_: [])
        for name in ("refuse_foreign", "write_stacks", "issue_certificates", "provide_images"):
            monkeypatch.setattr(stacks, name, lambda *_: None)
        monkeypatch.setattr(stacks, "start_and_prove", self.start)

    def start(self, *arguments: Any) -> str:
        self.starts.append(arguments[3]["web"])
        if len(self.starts) <= self.failures:
            raise NetworkTaken("contested-web_inside")
        return "up"

    def bring_up(self, failures: int) -> object:
        self.failures = failures
        machine = Machine(cast("Any", EmptyEngine()), ("web",), own=True)
        machines: Any = SimpleNamespace(reached=[machine], together={})
        progress = Progress(step=self.lines.append)
        task = Task(self.lab, {}, machines, ["web"], {}, proves_nothing, stacks.compose_up, progress)
        return stacks.bring_up(task, ["web"])


@pytest.fixture
def contest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Contest:
    (tmp_path / "topology.yaml").write_text(TOPOLOGY)
    return Contest(Lab(load(tmp_path / "topology.yaml"), tmp_path / "compose"), monkeypatch)


def subnets(surroundings: Surroundings) -> set[IPv4Network]:
    return {surroundings.internet.subnet, surroundings.inside.subnet}


def test_networks_that_were_taken_meanwhile_are_chosen_anew(contest: Contest) -> None:
    """The lab comes up, in networks that it has not tried."""
    assert contest.bring_up(failures=2) == "up"

    first, second, third = (subnets(one) for one in contest.starts)
    assert not first & second
    assert not (first | second) & third
    assert contest.lines == ["network contested-web_inside: another one took its addresses; choosing others"] * 2


def test_after_some_attempts_it_is_given_up_in_one_clear_line(contest: Contest) -> None:
    with pytest.raises(NetworkTaken, match=r"^network contested-web_inside: another network took its addresses .*$"):
        contest.bring_up(failures=100)
    assert len(contest.starts) == stacks.NETWORK_ATTEMPTS


def test_a_network_that_the_lab_has_already_stays_although_it_was_tried(tmp_path: Path) -> None:
    (tmp_path / "topology.yaml").write_text(TOPOLOGY)
    topology = load(tmp_path / "topology.yaml").topology
    default = default_networks_of(topology)
    there = SimpleNamespace(
        name="contested-internet", attrs={"IPAM": {"Config": [{"Subnet": str(default.internet.subnet)}]}}
    )
    client: Any = SimpleNamespace(networks=SimpleNamespace(list=lambda: [there]))

    chosen = networking.choose(
        client, topology, lambda host: f"contested-{host}", "contested-internet",
        routes=lambda: "", avoid=[net.subnet for net in default.all()],
    )  # fmt: skip

    assert chosen.internet == default.internet
    assert chosen.inside["web"] != default.inside["web"]


def test_the_network_between_hosts_says_the_same_when_it_was_taken() -> None:
    def refuse(*_: object, **__: object) -> None:
        raise APIError("403", explanation=OVERLAP)

    client: Any = SimpleNamespace(networks=SimpleNamespace(list=lambda **_: [], create=refuse))

    with pytest.raises(NetworkTaken, match="network contested-internet: another network"):
        networking.ensure_internet(client, "contested-internet", Network("10.87.3"), {})


class HeldNetwork:
    name = "contested-internet"

    def __init__(self, error: APIError, *holders: str) -> None:
        self.error = error
        self.holders = holders
        self.attrs: dict[str, Any] = {}

    def remove(self) -> None:
        raise self.error

    def reload(self) -> None:
        self.attrs = {"Containers": {f"id{n}": {"Name": name} for n, name in enumerate(self.holders)}}


ACTIVE = APIError("403", explanation="error while removing network: network contested-internet has active endpoints")


def test_whoever_holds_a_network_is_named_and_the_other_networks_go() -> None:
    gone: list[str] = []
    free = SimpleNamespace(name="contested-web_inside", remove=lambda: gone.append("contested-web_inside"))
    networks: Any = [HeldNetwork(ACTIVE, "postgres", "laptop"), HeldNetwork(NotFound("404")), free]

    lines = networking.remove(networks)

    assert gone == ["contested-web_inside"]
    assert [line.partition(";")[0] for line in lines] == [
        "network contested-internet stays: the container laptop, which is not the lab's, is attached to it",
        "network contested-internet stays: the container postgres, which is not the lab's, is attached to it",
    ]
    assert "`docker network disconnect contested-internet laptop`" in lines[0]


def test_what_else_keeps_a_network_is_said_as_the_engine_says_it() -> None:
    networks: Any = [HeldNetwork(APIError("500", explanation="the driver is gone"))]

    assert networking.remove(networks) == ["network contested-internet stays: the driver is gone"]


def test_a_port_that_was_taken_meanwhile_is_told_with_its_place_in_the_topology(tmp_path: Path) -> None:
    (tmp_path / "topology.yaml").write_text(TOPOLOGY)
    lab = Lab(load(tmp_path / "topology.yaml"), tmp_path / "compose")

    def start_host(*_: object) -> None:
        raise PortTaken("127.0.0.1", 9443)

    task = Task(lab, {}, Any, [], {}, proves_nothing, start_host, Progress(step=print))  # type: ignore[arg-type]
    surroundings = {"web": Surroundings(Network("10.87.3"), Network("10.87.4"), {})}

    with pytest.raises(NotReady) as caught:
        stacks.start(task, surroundings, ["web"])
    assert str(caught.value).startswith("127.0.0.1:9443 was taken while the lab started (hosts.web.publish.https); ")
