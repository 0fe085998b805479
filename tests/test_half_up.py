"""A lab of which something does not run: which cells are sent, what is said of the others, and whose fault it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Barrier

import pytest

from tests.test_generation import LABS
from topology.description import loading
from topology.description.loading import Description
from topology.generation import planning, rendering, writing
from topology.proof import checking, expectation, families, half_up, leading
from topology.proof.checking import NOT_SENT, Verdict
from topology.proof.expectation import Check
from topology.proof.probing import Observation
from topology.report import matrix
from topology.runtime import outages
from topology.runtime.lab import Lab
from topology.runtime.looking import State, Survey
from topology.runtime.outages import Outage
from topology.runtime.running import RunningLab

TWO_HOST = loading.load(LABS / "two-host.yaml")
TOPOLOGY = TWO_HOST.topology
CHECKS = expectation.checks(TOPOLOGY)
MTLS_DOWN = (Outage("server", "mtls", "exited, exit code 137"),)
BEHIND = {("server", "/mtls/"), ("client", "/mtls/")}
"""Routes that end at that service, directly and through the other host's gateway."""


DEADLINE_SECONDS = 10


class Gateways:
    """Answers as the topology says; in the place of a service that is down, with what its gateway would say."""

    def __init__(self, answers: Mapping[tuple[str, str], int | None], together: Barrier | None = None) -> None:
        """together: where all that wait for a dead service meet."""
        self.answers, self.together = answers, together
        self.asked: list[Check] = []

    def __call__(self, check: Check, _: RunningLab, __: object) -> Observation:
        self.asked.append(check)
        end = leading.answering(TOPOLOGY, check)
        if end is not None and end in self.answers and check.expected == 200:
            if self.together is not None:
                self.together.wait(DEADLINE_SECONDS)
            status = self.answers[end]
            return Observation(status, "" if status else "timeout", "", f"id-{len(self.asked)}", 0.01)
        assert isinstance(check.expected, int)
        return Observation(check.expected, "", "", f"id-{len(self.asked)}", 0.01)


@pytest.fixture
def run(pki: Path) -> Callable[..., tuple[Verdict, ...]]:
    running = RunningLab(TOPOLOGY, None, {}, pki / "authorities", pki / "identities")

    def run(gateways: Gateways, down: tuple[Outage, ...] = MTLS_DOWN) -> tuple[Verdict, ...]:
        probes = {"route": gateways}
        return checking.run(CHECKS, running, probes=probes, obstacle=half_up.obstacle(TOPOLOGY, down))

    return run


@pytest.mark.parametrize("status", [502, 504, None])
def test_of_the_cells_of_a_route_that_need_a_dead_service_one_is_sent(
    run: Callable[..., tuple[Verdict, ...]], status: int | None
) -> None:
    """Each takes as long as the gateway waits; the others tell what is in the way, and whose request tells more."""
    gateways = Gateways({("server", "mtls"): status})

    verdicts = run(gateways)

    assert [verdict.check for verdict in verdicts] == list(CHECKS)
    wrong = [verdict for verdict in verdicts if not verdict.ok]
    assert {(verdict.check.host, verdict.check.route) for verdict in wrong} == BEHIND
    assert {verdict.check for verdict in wrong} == {
        check for check in CHECKS if (check.host, check.route) in BEHIND and check.expected == 200
    }
    sent = [verdict for verdict in wrong if verdict.observed != NOT_SENT]
    assert {(verdict.check.host, verdict.check.route) for verdict in sent} == BEHIND
    assert len(sent) == len(BEHIND)
    for verdict in wrong:
        if verdict.observed == NOT_SENT:
            assert verdict.observation.detail == "server/mtls is exited, exit code 137"
            assert verdict.observation.request_id in {one.observation.request_id for one in sent}


def test_whatever_a_gateway_answers_itself_is_sent_all_the_same(run: Callable[..., tuple[Verdict, ...]]) -> None:
    """Who is refused does not hang on a service: that a guard is gone is seen while it is down, too."""
    gateways = Gateways({("server", "mtls"): 502})

    run(gateways)

    refused = {check for check in CHECKS if check.expected != 200}
    assert refused <= set(gateways.asked)


def test_where_the_service_answers_after_all_everything_is_sent(run: Callable[..., tuple[Verdict, ...]]) -> None:
    """Such as one whose health check fails, or that has started again since."""
    gateways = Gateways({})

    verdicts = run(gateways)

    assert all(verdict.ok for verdict in verdicts)
    assert sorted(check.id for check in gateways.asked) == sorted(check.id for check in CHECKS)


def test_dead_services_are_waited_for_all_at_once(run: Callable[..., tuple[Verdict, ...]]) -> None:
    """And beside the other cells: as long as the longest wait takes, not as long as all of them."""
    names = [(host, service) for host, one in TOPOLOGY.hosts.items() for service in one.services]
    routes = {(check.host, check.route) for check in CHECKS if leading.answering(TOPOLOGY, check) in names}
    gateways = Gateways(dict.fromkeys(names, 502), Barrier(len(routes)))

    verdicts = run(gateways, tuple(Outage(host, service, "paused") for host, service in names))

    assert sum(verdict.observed == 502 for verdict in verdicts) == len(routes) >= 6


def test_without_an_outage_every_cell_is_sent() -> None:
    assert all(not half_up.obstacle(TOPOLOGY, ())(check) for check in CHECKS)


# Whose fault a wrong cell is


def find(checks: tuple[Check, ...], *key: str, request: str = "") -> Check:
    """key: family, host, route, caller."""
    return next(c for c in checks if (c.family, c.host, c.route, c.caller) == key and c.request == request)


def verdict(check: Check, status: int | None, failure: str = "") -> Verdict:
    return Verdict(check, Observation(status, failure, "", "id-1", 0.1))


EVERY = families.checks(TOPOLOGY)
DUE = {
    "the gateway of a dead service says so": (("route", "server", "/mtls/", "bro"), 502, ""),
    "the gateway in front of that one does": (("route", "client", "/mtls/", "none"), 502, ""),
    "nobody says anything": (("route", "server", "/mtls/", "bro"), None, "timeout"),
    "another route's request waits for it": (
        ("request", "server", "/boot/", "none"),
        None,
        "timeout",
        "pipelined behind another route",
    ),
    "a dead container is looked into": (("wall", "server", "mtls", "rights"), None, "it does not run"),
    "it is not on its network": (("wall", "server", "inside", "members"), None, "boot, gateway"),
    "it cannot knock at another host": (("wall", "client", "inside", "from-server/mtls"), None, "it does not run"),
}
NOT_DUE = {
    "somebody gets in whom the guard should refuse": (("route", "server", "/mtls/", "none"), 200, ""),
    "somebody is refused who should get in": (("route", "server", "/mtls/", "bro"), 403, ""),
    "another service does not answer": (("route", "server", "/boot/", "none"), 502, ""),
    "the wall of another container": (("wall", "server", "boot", "rights"), None, "root"),
    "the other host's network": (("wall", "client", "inside", "members"), None, "gateway, stranger"),
}


@pytest.mark.parametrize("name", DUE)
def test_a_cell_that_is_wrong_for_want_of_a_service_is_told_from_others(name: str) -> None:
    key, status, failure, *request = DUE[name]

    check = find(EVERY, *key, request="".join(request))

    assert half_up.is_due_to(TOPOLOGY, MTLS_DOWN, verdict(check, status, failure))


@pytest.mark.parametrize("name", NOT_DUE)
def test_a_hole_is_never_put_down_to_an_outage(name: str) -> None:
    key, status, failure = NOT_DUE[name]

    assert not half_up.is_due_to(TOPOLOGY, MTLS_DOWN, verdict(find(EVERY, *key), status, failure))


def test_a_host_s_first_service_asks_for_it_from_inside() -> None:
    boot_down = (Outage("server", "boot", "paused"),)
    check = find(EVERY, "inside", "server", "/boot/", "own-service")

    assert leading.asking(TOPOLOGY, check) == ("server", "boot")
    assert half_up.is_due_to(TOPOLOGY, boot_down, verdict(check, None, "not asked"))


def test_a_service_with_tls_of_its_own_is_at_the_end_of_its_port() -> None:
    topology = loading.load(LABS / "node-tls.yaml").topology
    own = [check for check in expectation.checks(topology) if check.port is not None]

    assert own
    for check in own:
        host, service = leading.answering(topology, check) or ("", "")
        tls = topology.hosts[host].services[service].tls
        assert tls is not None
        assert tls.port == check.port


def test_folders_and_servers_outside_need_no_service() -> None:
    topology = loading.load(LABS / "tls-only.yaml").topology
    files = [check for check in expectation.checks(topology) if check.route == "/files/"]

    assert files
    assert all(leading.answering(topology, check) is None for check in files)


# What is said


def test_one_line_stands_for_all_cells_of_a_route_that_were_not_sent(capsys: pytest.CaptureFixture[str]) -> None:
    cells = [check for check in CHECKS if (check.host, check.route) == ("server", "/mtls/") and check.expected == 200]
    observation = Observation(None, NOT_SENT, "server/mtls is paused", "id-1", 0)

    matrix.show([Verdict(check, observation) for check in cells])

    told = " ".join(capsys.readouterr().out.split())
    line = f"✗ server /mtls/: {len(cells)} more cells were not sent, and count as wrong: server/mtls is paused"
    assert told.count("not sent, and count as wrong") == 1
    assert line in told


def state(host: str, service: str, status: str = "running", health: str | None = "healthy", **more: int) -> State:
    return State(f"id-{service}", f"lab-{host}-{service}-1", host, service, status, health, more.get("restarts", 0),
                 more.get("exit_code", 0))  # fmt: skip


def seen(*states: State) -> Survey:
    running = RunningLab(TOPOLOGY, None, {}, Path(), Path())
    return Survey(running, states, {}, {})


def test_what_does_not_run_well_is_named_with_how_it_is(tmp_path: Path) -> None:
    lab = Lab(TWO_HOST, tmp_path)
    survey = seen(
        state("server", "gateway"), state("server", "boot", "exited", None, exit_code=137),
        state("server", "mtls", "restarting", None, exit_code=1, restarts=7), state("client", "gateway"),
        state("client", "fast", "running", "unhealthy"), state("client", "next", "paused"),
    )  # fmt: skip

    assert list(map(str, outages.find(lab, survey))) == [
        "server/boot is exited, exit code 137",
        "server/mtls is restarting again and again, 7 times so far",
        "client/fast is running, and unhealthy",
        "client/next is paused",
        "client/node is missing",
    ]


# Brought up from another topology


def written(folder: Path, description: Description) -> Lab:
    lab = Lab(description, folder)
    writing.synchronise(lab.folder, rendering.render(planning.plan(description)))
    return lab


@pytest.fixture
def no_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an engine: as where a lab runs in its default networks."""
    monkeypatch.setattr(outages, "of_this_run", lambda *_: ())


@pytest.mark.usefixtures("no_networks")
def test_files_of_another_topology_are_seen(tmp_path: Path) -> None:
    text = (LABS / "two-host.yaml").read_text()
    lab = written(tmp_path / "compose", TWO_HOST)
    assert outages.outdated(lab, seen()) == ()

    file = tmp_path / "topology.yaml"
    file.write_text(text.replace("client_certificate: required", "client_certificate: none"))

    assert outages.outdated(Lab(loading.load(file), tmp_path / "compose"), seen()) == (
        "server/nginx/routes.conf", "server/pages/index.html",
    )  # fmt: skip
