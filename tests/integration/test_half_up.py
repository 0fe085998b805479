"""A lab of which something does not run: every command says at once what, and ends soon; `up` makes it whole."""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from docker.errors import APIError

from tests.integration.conftest import eventually
from tests.integration.driving import Driven
from topology.runtime import stacks

pytestmark = pytest.mark.integration

TOPOLOGY = (Path(__file__).parent / "half_up.yaml").read_text()
SOON_SECONDS = 45
"""A caller gives up after 10 s on a service that is paused; a second round may follow, on a busy machine.  Before cells
were held back, `check` took minutes then."""

SPARE = "https://server.halves.test/mtls/health"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driven]:
    driven = Driven.of(TOPOLOGY, tmp_path_factory.mktemp("halves"), f"halves-{secrets.token_hex(3)}")
    with driven.up_meanwhile(TOPOLOGY):
        yield driven


@dataclass(frozen=True)
class Told:
    code: int
    out: str
    err: str
    seconds: float


Command = Callable[..., Told]


@pytest.fixture
def command(lab: Driven, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command on the lab."""

    def run(name: str, *words: str) -> Told:
        capsys.readouterr()
        began = time.monotonic()
        code = lab.run(name, *words)
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        return Told(code, told.out, told.err, time.monotonic() - began)

    return run


def stop(lab: Driven, host: str, service: str) -> None:
    lab.container(host, service).stop(timeout=0)


def kill(lab: Driven, host: str, service: str) -> None:
    lab.container(host, service).kill()


def pause(lab: Driven, host: str, service: str) -> None:
    """A busy machine cannot always freeze a container at once."""

    def is_paused() -> bool:
        with contextlib.suppress(APIError):
            lab.container(host, service).pause()
        return bool(lab.container(host, service).status == "paused")

    eventually(is_paused)


def remove(lab: Driven, host: str, service: str) -> None:
    lab.container(host, service).remove(force=True)


def fall_again_and_again(lab: Driven, host: str, service: str) -> None:
    """The container started anew with a command that ends at once: the engine starts it again without end."""
    values = {  # as it is now, on no other network
        "MTLS_LAB_INSTANCE": lab.instance,
        "MTLS_LAB_CERTIFICATES": lab.lab.certificates(host).name,
        "MTLS_LAB_INTERNET_NETWORK": lab.lab.internet,
        "MTLS_LAB_INSIDE": inside_prefix(lab, host),
    }
    override = f'services: {{{service}: {{command: ["node", "-e", "process.exit(3)"]}}}}\n'
    words = ["--file", "-", "up", "--detach", "--no-build", "--no-deps", service]
    stacks.run_compose([*stacks.compose_command(lab.lab, host), *words], values, said_to_it=override.encode())
    eventually(lambda: restarts(lab, host, service) >= 2, 60)


def restarts(lab: Driven, host: str, service: str) -> int:
    container = lab.container(host, service)
    return int(container.attrs["RestartCount"]) if container.attrs["State"]["Status"] == "restarting" else 0


def inside_prefix(lab: Driven, host: str) -> str:
    """What Compose files take for the first part of the addresses of a host's own network."""
    networks = lab.container(host, "gateway").attrs["NetworkSettings"]["Networks"]
    address = next(one["IPAddress"] for name, one in networks.items() if name.endswith("_inside"))
    return str(address).rpartition(".")[0]


AGAIN = ("restarting", "starting")
"""How a container looks that falls again and again: waiting, or tried once more."""

BREAKS: dict[str, tuple[Callable[[Driven, str, str], None], str]] = {
    "stopped": (stop, "exited, exit code"),
    "killed": (kill, "exited, exit code"),
    "paused": (pause, "paused"),
    "removed": (remove, "missing"),
    "falling again and again": (fall_again_and_again, "restarting again and again"),
}
"""What can become of a container -> who does it, and the words for it."""


@contextmanager
def broken(lab: Driven, name: str, host: str, service: str) -> Iterator[str]:
    """What is said of it; whole again afterwards, by `up`."""
    breaks, words = BREAKS[name]
    try:
        breaks(lab, host, service)
        yield words
    finally:
        assert lab.up() == 0


@pytest.mark.parametrize("every", [(), ("--all",)], ids=["check", "check --all"])
@pytest.mark.parametrize("name", BREAKS)
def test_check_says_at_once_which_service_does_not_run(
    name: str, every: tuple[str, ...], lab: Driven, command: Command
) -> None:
    """Then what came of it; each wrong cell belongs to it, so the lab is not ready, and no check has failed."""
    with broken(lab, name, "server", "spare") as words:
        told = command("check", *every)

    first, last = told.err.splitlines()[0], told.err.splitlines()[-1]
    assert first.startswith(f"half up: server/spare is {words}")
    assert last.startswith(f"the lab is half up: server/spare is {words}")
    assert "run `mtls-lab up`" in last
    assert told.code == 4
    assert "more cells were not sent, and count as wrong: server/spare is" in " ".join(told.out.split())
    assert told.seconds < SOON_SECONDS


def test_the_cells_of_a_dead_service_are_wrong_and_say_why(lab: Driven, command: Command) -> None:
    with broken(lab, "stopped", "server", "spare"):
        told = command("check", "--json")

    cells = json.loads(told.out)
    wrong = [cell for cell in cells if not cell["ok"]]
    assert {(cell["host"], cell["route"]) for cell in wrong} == {("server", "/mtls/"), ("client", "/mtls/")}
    assert {cell["expected"] for cell in wrong} == {200}
    assert {cell["observed"] for cell in wrong} - {502, 504} == {"not sent"}  # 502 where the machine knows at once
    for cell in wrong:
        assert cell["explanation"]["cause"] == "upstream-down"
        assert "spare is exited" in cell["explanation"]["why"]
    assert any(cell["ok"] and cell["route"] == "/mtls/" for cell in cells)  # guards are looked at all the same


def test_the_cells_of_a_paused_service_are_wrong_and_say_why(lab: Driven, command: Command) -> None:
    with broken(lab, "paused", "server", "spare"):
        told = command("check", "--json")

    wrong = [cell for cell in json.loads(told.out) if not cell["ok"]]
    assert {cell["observed"] for cell in wrong} == {"timeout", "not sent"}
    assert all(cell["explanation"] for cell in wrong)


def test_what_needs_no_dead_service_can_be_checked_on_its_own(lab: Driven, command: Command) -> None:
    with broken(lab, "stopped", "server", "spare"):
        told = command("check", "--only", "* /node/*")

    assert told.code == 0
    assert told.err.startswith("half up: server/spare is exited")


def test_a_hole_beside_a_dead_service_is_a_failed_check(lab: Driven, command: Command) -> None:
    """Exit code 1, whatever does not run."""
    file = next(lab.lab.folder.glob("server/nginx-*/routes.conf"), lab.lab.folder / "server" / "nginx" / "routes.conf")
    good = file.read_text()
    gateway = lab.container("server", "gateway")
    with broken(lab, "stopped", "server", "node"):
        try:
            file.write_text(good.replace("return 403", "return 404"))
            stacks.reload(gateway)
            told = command("check")
        finally:
            file.write_text(good)
            stacks.reload(gateway)

    assert told.code == 1
    assert "of them since the lab is half up" in told.err.splitlines()[-1]


@pytest.mark.parametrize("name", ["stopped", "paused"])
@pytest.mark.parametrize("words", [("check",), ("check", "--all"), ("check", "--json"), ("mutate", "--once")])
def test_without_a_gateway_there_is_nothing_to_ask(
    words: tuple[str, ...], name: str, lab: Driven, command: Command
) -> None:
    with broken(lab, name, "server", "gateway"):
        told = command(*words)

    state = {"stopped": "exited", "paused": "paused"}[name]
    assert told.code == 4
    assert told.out == ""
    (line,) = told.err.splitlines()
    assert line.startswith(f"halves-server-{lab.instance}-gateway-1 is {state}")
    assert "`mtls-lab up`" in line
    assert told.seconds < SOON_SECONDS


@pytest.mark.parametrize("words", [("check",), ("check", "--all"), ("mutate", "--once")])
def test_a_host_that_is_not_there_at_all_is_one_line(words: tuple[str, ...], lab: Driven, command: Command) -> None:
    try:
        for service in ("gateway", "node", "spare"):
            remove(lab, "server", service)
        told = command(*words)
    finally:
        assert lab.up() == 0

    assert told.code == 4
    assert told.err.splitlines() == [f"halves-server-{lab.instance} is not up; run `mtls-lab up` first"]


@pytest.mark.parametrize("name", BREAKS)
def test_mutate_wants_a_whole_lab(name: str, lab: Driven, command: Command) -> None:
    with broken(lab, name, "server", "spare") as words:
        told = command("mutate", "--once")

    assert told.code == 4
    assert told.err.splitlines()[-1].startswith(f"the lab is half up: server/spare is {words}")
    assert told.seconds < SOON_SECONDS


@pytest.mark.parametrize("name", BREAKS)
def test_status_tells_how_everything_is(name: str, lab: Driven, command: Command) -> None:
    with broken(lab, name, "server", "spare") as words:
        told = command("status", "--json")

    assert told.code == 0
    health = json.loads(told.out)["hosts"]["server"]["services"]
    assert health["spare"]["health"] in (["down"] if words == "missing" else [*words.split(",")[:1], *AGAIN])
    assert health["node"]["health"] == "healthy"
    assert told.seconds < SOON_SECONDS


@pytest.mark.parametrize(("name", "answer"), [("stopped", {502, 504}), ("paused", {None})])
def test_explain_ends_soon_too(name: str, answer: set[int | None], lab: Driven, command: Command) -> None:
    with broken(lab, name, "server", "spare"):
        told = command("explain", SPARE, "--as", "bro", "--json")

    assert told.code == 1
    assert json.loads(told.out)["status"] in answer
    assert told.seconds < SOON_SECONDS


# Another topology than the one that runs


def test_a_topology_that_was_changed_since_is_said_to_be(lab: Driven, command: Command) -> None:
    """Before the cells that are wrong for it: these may be many."""
    changed = TOPOLOGY.replace(
        "{service: node}\n      /mtls/: {service: spare", "{service: node}\n      /more/: {service: spare"
    )
    assert changed != TOPOLOGY
    lab.write(changed)
    try:
        told = command("check")
    finally:
        lab.write(TOPOLOGY)

    assert told.code == 1
    first = told.err.splitlines()[0]
    assert first.startswith("halves/")
    assert "not what" in first
    assert "run `mtls-lab up`" in first


def test_a_topology_with_another_service_is_half_up(lab: Driven, command: Command) -> None:
    services = "      node: {kind: node}\n    routes:"
    assert TOPOLOGY.count(services) == 1
    more = services.replace("    routes:", "      more: {kind: node}\n    routes:")
    lab.write(TOPOLOGY.replace(services, more) + "      /more/: {service: more}\n")
    try:
        told = command("check")
    finally:
        lab.write(TOPOLOGY)

    assert told.code == 1  # the gateway that runs answers 404 where the new route should be
    assert "half up: client/more is missing" in told.err.splitlines()


def test_a_whole_lab_says_nothing_beforehand(lab: Driven, command: Command) -> None:
    told = command("check")

    assert (told.code, told.err) == (0, "")
