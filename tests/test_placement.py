"""Hosts on machines of their own, on paper: who is found where, who is believed, what is carried over."""

from __future__ import annotations

import io
import re
import socket
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.test_generation import LABS
from topology.description import loading
from topology.description.loading import Description
from topology.errors import InvalidInput
from topology.generation import planning, rendering
from topology.generation.planning import HostPlan
from topology.proof import checking, expectation
from topology.report import addresses
from topology.runtime import placement, shipping
from topology.runtime.placement import EVERYWHERE, Place
from topology.runtime.running import Endpoint, RunningLab

TWO_HOST = loading.load(LABS / "two-host.yaml")
TOPOLOGY = TWO_HOST.topology
APART = {"server": "one", "client": "two"}
TOGETHER = {"server": "one", "client": "one"}
SERVER = Place("ec3", "192.0.2.3", "192.0.2.3", "192.0.2.3")
CLIENT = Place("ec2", "192.0.2.2", "192.0.2.2", "192.0.2.2")
BOTH = {"server": SERVER, "client": CLIENT}


def planned(places: placement.Places, together: dict[str, str] | None = None) -> dict[str, HostPlan]:
    """The hosts' plans where they are placed."""
    default = planning.default_surroundings(TOPOLOGY)
    around = {
        host: replace(default[host], elsewhere=placement.elsewhere(TOPOLOGY, places, together or APART, host))
        for host in TOPOLOGY.hosts
    }
    return {host.name: host for host in planning.plan(TWO_HOST, around).hosts}


def believed(host: HostPlan) -> list[str]:
    return [gateway.address for gateway in host.calling_gateways]


def callers_upstream(host: HostPlan) -> str:
    return next(upstream.server for upstream in host.upstreams if upstream.name == "server.as.bro")


# Who is found where


def test_another_machine_is_found_at_its_address_and_its_published_port() -> None:
    client = planned(BOTH)["client"]

    assert [(gateway.domain, gateway.address) for gateway in client.called_hosts] == [("ec3.lab.test", "192.0.2.3")]
    assert callers_upstream(client) == "ec3.lab.test:9443"


def test_without_an_address_the_domain_is_left_to_dns() -> None:
    client = planned({"server": Place("ec3"), "client": CLIENT})["client"]

    assert client.called_hosts == ()
    assert callers_upstream(client) == "ec3.lab.test:9443"


def test_on_one_machine_hosts_meet_on_its_own_network_whatever_was_said() -> None:
    assert planned(BOTH, TOGETHER) == {host.name: host for host in planning.plan(TWO_HOST).hosts}


def test_a_host_that_is_not_deployed_is_out_of_reach_for_one_that_is() -> None:
    """Its address stays, on a network where nobody answers: the gateway starts, and says 504."""
    client = planned({"client": CLIENT})["client"]

    assert client.called_hosts == planned(BOTH, TOGETHER)["client"].called_hosts
    assert placement.cut(TOPOLOGY, {"client": CLIENT}, APART) == {("client", "server")}
    assert placement.cut(TOPOLOGY, BOTH, APART) == frozenset()


# Who is believed


def test_a_gateway_believes_calls_from_the_machine_that_calls_it_alone() -> None:
    assert believed(planned(BOTH)["server"]) == ["192.0.2.2"]
    outgoing = replace(CLIENT, calls_from="198.51.100.7")
    assert believed(planned({**BOTH, "client": outgoing})["server"]) == ["198.51.100.7"]


def test_a_machine_whose_address_nobody_said_is_not_believed() -> None:
    """Nor is the address that it would have on this machine's network, which somebody could take there."""
    for places in ({"server": SERVER, "client": Place("ec2")}, {"server": SERVER}):
        assert believed(planned(places)["server"]) == []
    text = rendering.render_gateway(planning.plan(TWO_HOST), planned({"server": SERVER})["server"])["nginx.conf"]
    assert re.search(r"geo \$from_gateway \{\s+default 0;\s+\}", text)


# Places


def test_a_gateway_listens_where_others_reach_it_and_nowhere_else() -> None:
    assert placement.place(TOPOLOGY, "server", "ec3", "192.0.2.3", "", "") == SERVER


def test_behind_address_translation_it_listens_where_it_is_told() -> None:
    found = placement.place(TOPOLOGY, "server", "ec3", "192.0.2.3", EVERYWHERE, "198.51.100.1")
    assert (found.bind, found.calls_from) == (EVERYWHERE, "198.51.100.1")


@pytest.mark.parametrize(("resolved", "bind"), [("192.0.2.3", EVERYWHERE), ("127.0.0.1", "127.0.0.1")])
def test_with_dns_it_listens_everywhere_but_for_a_name_of_this_machine(
    resolved: str, bind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And callers are believed only from where somebody said."""

    def resolve(*_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (resolved, 0))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert placement.place(TOPOLOGY, "server", "ec3", "", "", "") == Place("ec3", "", bind, "")


def test_places_are_remembered_as_they_were(tmp_path: Path) -> None:
    file = tmp_path / "placement.json"
    assert placement.read(file) == {}

    file.write_bytes(placement.written(BOTH))
    assert placement.read(file) == BOTH


@pytest.mark.parametrize("text", ["{", "[]", '{"server": {}}', '{"server": {"context": 3}}'])
def test_a_broken_memory_is_told_with_its_file(text: str, tmp_path: Path) -> None:
    file = tmp_path / "placement.json"
    file.write_text(text)
    with pytest.raises(InvalidInput, match=re.escape(str(file))):
        placement.read(file)


def test_a_loopback_address_is_refused_for_callers_on_other_machines() -> None:
    local = Place("default", "127.0.0.1", "127.0.0.1")
    with pytest.raises(InvalidInput, match=r"client calls server from another machine, where 127.0.0.1 leads nowhere"):
        placement.refuse_clashes(TOPOLOGY, {"server": local, "client": CLIENT}, APART)
    placement.refuse_clashes(TOPOLOGY, {"server": local, "client": CLIENT}, TOGETHER)
    placement.refuse_clashes(TOPOLOGY, BOTH, APART)


def test_two_hosts_on_one_port_of_one_machine_are_refused() -> None:
    description = bare()
    both = {"server": Place("ec3", bind=EVERYWHERE), "client": CLIENT}
    with pytest.raises(InvalidInput, match="server and client are on one machine and both take its port 80"):
        placement.refuse_clashes(description.topology, both, TOGETHER)
    placement.refuse_clashes(description.topology, both, APART)
    placement.refuse_clashes(description.topology, BOTH, TOGETHER)


def bare() -> Description:
    """two-host without ports."""
    text = re.sub(r"\n    publish: .*", "", (LABS / "two-host.yaml").read_text())
    return loading.parse(text, LABS / "x.yaml", loading.catalog.kinds(LABS / "two-host.yaml"))


def test_without_ports_of_its_own_a_deployed_host_takes_the_usual_ones() -> None:
    """Others have to know them: Docker cannot choose."""
    assert placement.published_ports(TOPOLOGY, "server") == {"80/tcp": 9080, "443/tcp": 9443}
    assert placement.published_ports(bare().topology, "server") == {"80/tcp": 80, "443/tcp": 443}


def test_a_deployed_gateway_s_ports_replace_those_of_the_compose_file() -> None:
    """Which are this machine's alone."""
    ports = placement.compose_ports(TOPOLOGY, "server", SERVER)
    override = rendering.render_override(planning.plan(TWO_HOST), planned(BOTH)["server"], (), ports)

    assert '    ports: !override\n      - "192.0.2.3:9080:80"\n      - "192.0.2.3:9443:443"\n' in override


# What is carried over


def bind_mounts(compose: str) -> set[tuple[str, str]]:
    """(service, target) of everything that a Compose file takes from this machine's disk."""
    found, service = set(), ""
    for line in compose.splitlines():
        if match := re.fullmatch(r"  ([a-z][a-z0-9_-]*):", line):
            service = match[1]
        if match := re.search(r"type: bind, .*target: ([^,]+),", line):
            found.add((service, match[1]))
    return found


def test_hosts_that_the_lab_s_own_acme_server_has_to_reach_are_not_deployed() -> None:
    topology = loading.load(LABS / "acme.yaml").topology
    with pytest.raises(InvalidInput, match="name the directory of another"):
        placement.place(topology, next(iter(topology.hosts)), "ec3", "192.0.2.3", "", "")


@pytest.mark.parametrize("lab", sorted(path.stem for path in LABS.glob("*.yaml") if path.stem != "acme"))
def test_everything_that_compose_would_mount_is_carried_over(lab: str, tmp_path: Path) -> None:
    """A mount that was forgotten would be an empty folder over there."""
    plan = planning.plan(loading.load(LABS / f"{lab}.yaml"))
    for host in plan.hosts:
        compose = rendering.render(plan)[f"{host.name}/compose.yaml"]
        sent = shipping.parcels(host, {}, tmp_path, tmp_path)
        mounts = shipping.mounts(host.project, sent)
        assert {(mount.service, mount.target) for mount in mounts} == bind_mounts(str(compose))
        override = rendering.render_override(plan, host, mounts)
        assert all(f"target: {mount.target}, read_only: true" in override for mount in mounts)
        assert "bind" not in override


def test_a_service_s_key_is_not_carried_to_the_gateway(tmp_path: Path) -> None:
    """It passes the connections on untouched, and has an empty folder in its place."""
    host = next(host for host in planning.plan(loading.load(LABS / "node-tls.yaml")).hosts if host.passages)
    service = host.passages[0].service
    for path in ("server.key", f"services/{service}/server.key"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)

    sent = {(one.service, one.key): one.content for one in shipping.parcels(host, {}, tmp_path, tmp_path)}

    assert set(sent["gateway", "certificates"]) == {"server.key", "services/"}
    assert sent[service, f"tls.{service}"]["server.key"][0].decode() == f"services/{service}/server.key"


def test_a_volume_s_name_changes_with_content_names_and_modes() -> None:
    contents: list[shipping.Content] = [
        {"a": (b"1", 0o644)}, {"a": (b"2", 0o644)}, {"b": (b"1", 0o644)}, {"a": (b"1", 0o600)}, {}
    ]  # fmt: skip

    assert len({shipping.fingerprint(content) for content in contents}) == len(contents)
    assert shipping.fingerprint({"a": (b"", 0o644), "b": (b"", 0o644)}) == shipping.fingerprint(
        {"b": (b"", 0o644), "a": (b"", 0o644)}
    )


def test_keys_travel_with_their_mode_and_for_the_containers_user() -> None:
    packed = shipping.archive({"identities/bro.key": (b"secret", 0o600), "empty/": (b"", 0o755)})
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        found = {entry.name: entry for entry in tar.getmembers()}

    assert {entry.uid for entry in found.values()} | {entry.gid for entry in found.values()} == {10001}
    assert (found["identities/bro.key"].mode, found["identities"].isdir(), found["empty"].isdir()) == (
        0o600,
        True,
        True,
    )


def test_the_override_names_those_that_are_elsewhere() -> None:
    plan = planning.plan(TWO_HOST)
    client = planned(BOTH)["client"]

    override = rendering.render_override(plan, client, ())
    assert '    extra_hosts: !override\n      - "ec3.lab.test:192.0.2.3"\n' in override
    assert "extra_hosts: !reset []" in rendering.render_override(plan, planned(BOTH)["server"], ())


# What is proven of a part of a lab


def lab(**more: Any) -> RunningLab:
    endpoints = {"server": Endpoint("192.0.2.3", 80, 443), "client": Endpoint("ec2.lab.test", 80, 443)}
    return RunningLab(TOPOLOGY, None, endpoints, Path("authorities"), Path("identities"), **more)


def test_a_route_counts_only_where_a_call_can_arrive() -> None:
    through = next(check for check in expectation.checks(TOPOLOGY) if check.via == "server")
    own = next(check for check in expectation.checks(TOPOLOGY) if check.host == "client" and check.via == "direct")

    assert not checking.is_cut(lab(), through)
    assert checking.is_cut(lab(cut=frozenset({("client", "server")})), through)
    assert not checking.is_cut(lab(cut=frozenset({("client", "server")})), own)
    assert not checking.is_cut(lab(cut=frozenset({("server", "client")})), through)


def test_curl_is_told_an_address_unless_dns_knows_it() -> None:
    lines = dict(addresses.curl_lines(lab()))

    assert "--resolve ec3.lab.test:443:192.0.2.3" in lines["server /boot/health"]
    assert "--resolve" not in lines["client /fast/health"]
