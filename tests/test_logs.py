"""Logs: whose lines, in which order, as people and machines read them."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.test_generation import LABS
from topology import cli
from topology.commands.logs import told_apart
from topology.description import loading
from topology.errors import InvalidInput, NoEngine, NotReady
from topology.report import logs as report
from topology.runtime import logs, looking, machines
from topology.runtime.lab import Lab
from topology.runtime.logs import Choice, Line

TWO_HOST = str(LABS / "two-host.yaml")
ID = "5f0c3a77d2b94a6e8c1d2e3f40516273"


def access(seconds: float = 0.004, **fields: object) -> str:
    """A gateway's access line, as its log_format has it."""
    return json.dumps(
        {
            "time": "2026-01-31T08:30:00+00:00", "request_id": ID, "listener": "https", "remote": "172.18.0.1",
            "method": "GET", "host": "ec2.lab.test", "uri": "/mtls/health", "status": 200, "seconds": seconds,
            "route": "/mtls", "client_verify": "NONE", "client_subject": "", "upstream": "", "upstream_status": "",
        } | fields
    )  # fmt: skip


class FakeContainer:
    """A container with lines; `follow` gives those that are printed later."""

    def __init__(self, host: str, service: str, *pieces: str, later: tuple[str, ...] = ()) -> None:
        self.labels = {"mtls-lab.host": host, "mtls-lab.service": service}
        self.id = self.name = f"{host}-{service}"
        self.status = "running"
        self.pieces, self.later = pieces, later
        self.asked: list[dict[str, Any]] = []

    def logs(self, **options: Any) -> Iterator[bytes]:
        self.asked.append(options)
        for piece in (*self.pieces, *(self.later if options["follow"] else ())):
            yield piece.encode()


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(loading.load(LABS / "two-host.yaml"), tmp_path)


def up(monkeypatch: pytest.MonkeyPatch, *containers: FakeContainer, **lost: NoEngine) -> None:
    """These run, and hosts are lost."""
    monkeypatch.setattr(machines, "find", lambda *_: SimpleNamespace(reached=(), lost=lost))
    monkeypatch.setattr(looking, "everywhere", lambda *_: list(containers))


def at(second: float, text: str) -> str:
    return f"2026-01-31T08:30:{second:012.9f}Z {text}\n"


def test_lines_of_all_containers_come_in_the_order_of_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    up(
        monkeypatch,
        FakeContainer("server", "boot", at(1, "first"), at(3, "third")),
        FakeContainer("client", "node", at(2, "second"), at(4, "fourth")),
    )

    assert cli.main(["logs", TWO_HOST]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in told] == ["first", "second", "third", "fourth"]
    assert told[0] == "2026-01-31T08:30:01.000Z  server/boot     first"


def test_a_gateway_s_access_line_is_read_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Time, id, method, path, status, caller."""
    verified = access(client_verify="SUCCESS", client_subject="CN=bro")
    up(monkeypatch, FakeContainer("server", "gateway", at(1, verified), at(2, access(status=403))))

    cli.main(["logs", TWO_HOST])
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith(f"{ID}  GET /mtls/health 200  CN=bro")
    assert second.endswith(f"{ID}  GET /mtls/health 403  nobody")


def test_why_a_certificate_was_refused_stands_for_the_caller() -> None:
    line = Line("2026-01-31T08:30:00.000000000Z", "server", "gateway", access(client_verify="FAILED:expired"))
    assert report.as_text(line, 10).endswith("FAILED:expired")


def test_json_keeps_each_line_as_it_was_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    up(monkeypatch, FakeContainer("server", "gateway", at(1, access())), FakeContainer("server", "boot", at(2, "a\tb")))

    assert cli.main(["logs", TWO_HOST, "--json"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["host"], first["service"], first["message"]) == ("server", "gateway", access())
    assert first["access"]["request_id"] == ID
    assert (second["message"], second["access"]) == ("a\tb", None)
    assert second["time"] == "2026-01-31T08:30:02.000000000Z"


def test_one_request_is_shown_from_the_first_gateway_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The inner gateway logs first, since it has answered first; the way is told as it went."""
    up(
        monkeypatch,
        FakeContainer("server", "gateway", at(1.050, access(0.04)), at(2, access(request_id="0123456789abcdef"))),
        FakeContainer("client", "gateway", at(1.051, access(0.05, upstream="10.1.2.3:443", upstream_status="200"))),
        FakeContainer("server", "mtls", at(1.030, f"answering {ID}"), at(1.031, "answering somebody else")),
    )

    assert cli.main(["logs", "--request", ID, TWO_HOST]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in told] == ["client/gateway", "server/gateway", "server/mtls"]
    assert "GET /mtls/health 200  nobody  https  route /mtls/ -> 10.1.2.3:443 200  0.05 s" in told[0]


def test_the_way_is_told_as_the_topology_leads_whatever_order_engines_took_it_in(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even where one took a line in late, and the gateways took the same time; a second try comes after the first."""
    up(
        monkeypatch,
        FakeContainer("server", "gateway", at(1.001, access(0.005)), at(7.001, access(0.005))),
        FakeContainer("client", "gateway", at(1.3, access(0.005)), at(7.3, access(0.006))),
        FakeContainer("server", "mtls", at(0.9, f"answering {ID}")),
    )

    assert cli.main(["logs", "--request", ID, TWO_HOST]) == 0
    told = [line.split()[1] for line in capsys.readouterr().out.splitlines()]
    assert told == ["client/gateway", "server/gateway", "server/mtls", "client/gateway", "server/gateway"]


def test_the_one_that_is_called_can_seem_to_take_longer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """nginx rounds to milliseconds."""
    up(
        monkeypatch,
        FakeContainer("server", "gateway", at(1.0, access(0.006))),
        FakeContainer("client", "gateway", at(1.001, access(0.005))),
    )

    assert cli.main(["logs", "--request", ID, TWO_HOST]) == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["client/gateway", "server/gateway"]


def test_no_line_is_lost_where_a_request_comes_round(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two hosts that call each other, all in the same millisecond."""
    up(
        monkeypatch,
        FakeContainer(
            "hospital", "gateway", at(1.0, access(0.005, route="/hospital")), at(1.0, access(0.005, route="/finance"))
        ),
        FakeContainer("finance", "gateway", at(1.0, access(0.005, route="/hospital"))),
    )

    assert cli.main(["logs", "--request", ID, str(LABS / "two-companies.yaml")]) == 0
    assert sorted(line.split()[1] for line in capsys.readouterr().out.splitlines()) == [
        "finance/gateway", "hospital/gateway", "hospital/gateway",
    ]  # fmt: skip


def test_a_request_that_nobody_logged_is_exit_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    up(monkeypatch, FakeContainer("server", "gateway", at(1, access())))

    assert cli.main(["logs", "--request", "0123456789abcdef", TWO_HOST]) == 1
    assert "is about request 0123456789abcdef" in capsys.readouterr().err


def test_one_host_or_one_service_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    up(
        monkeypatch,
        FakeContainer("server", "boot", at(1, "of boot")),
        FakeContainer("server", "mtls", at(2, "of mtls")),
        FakeContainer("client", "node", at(3, "of node")),
    )

    cli.main(["logs", "server", TWO_HOST])
    assert re.findall(r"of \w+", capsys.readouterr().out) == ["of boot", "of mtls"]
    cli.main(["logs", TWO_HOST, "server/mtls"])
    assert re.findall(r"of \w+", capsys.readouterr().out) == ["of mtls"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["sever"], "sever: no host of two-host; did you mean 'server'?"),
        (["server/bot"], "server/bot: server has no such service; did you mean 'boot'?"),
        (["server/zzzzzz"], "there are boot, gateway, mtls"),
        (["--request", "no id"], "8 to 64 of 0-9, a-f and hyphens"),
        (["--since", "yesterday"], "--since yesterday: write how long ago"),
        (["--since", "99999999999999999d"], "write how long ago"),
    ],
)
def test_a_mistake_is_exit_2_with_the_choices(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["logs", *words, TWO_HOST]) == 2
    complaint = capsys.readouterr().err
    assert told in complaint
    assert len(complaint.splitlines()) == 1


def test_a_lab_that_is_not_up_is_exit_4(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    up(monkeypatch)

    assert cli.main(["logs", TWO_HOST]) == 4
    assert capsys.readouterr().err == "two-host is not up; run `mtls-lab up` first\n"
    assert cli.main(["logs", "client", TWO_HOST, "--instance", "mine"]) == 4
    assert "two-host-client-mine is not up" in capsys.readouterr().err


def test_an_engine_out_of_reach_is_told_after_what_the_others_have(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    up(monkeypatch, FakeContainer("server", "boot", at(1, "here")), client=NoEngine("host client: context ec2: gone"))

    assert cli.main(["logs", TWO_HOST]) == 3
    told = capsys.readouterr()
    assert "here" in told.out
    assert told.err == "host client: context ec2: gone\n"
    assert cli.main(["logs", "server", TWO_HOST]) == 0


def test_a_line_that_the_engine_cut_is_put_together(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It cuts at 16 KB, and puts a time before each part."""
    long = "x" * 16384
    container = FakeContainer("server", "boot", at(1, long).rstrip("\n"), at(1.5, "end"), at(2, "next"))
    up(monkeypatch, container)

    cli.main(["logs", TWO_HOST])
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith(long + "end")
    assert second.endswith("next")


def test_nothing_that_a_caller_sends_reaches_the_terminal_raw(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    up(
        monkeypatch,
        FakeContainer("server", "boot", at(1, "\x1b]0;gotcha\x07")),
        FakeContainer("server", "gateway", at(2, access(uri="/\x1b[2J"))),
    )

    cli.main(["logs", TWO_HOST])
    assert "\x1b" not in capsys.readouterr().out


def test_a_line_that_looks_like_an_access_line_and_is_none_stays_as_it_is() -> None:
    for text in ("{broken", '{"other": 1}', "[1]"):
        line = Line("2026-01-31T08:30:00.000000000Z", "server", "gateway", text)
        assert report.as_text(line, 10).endswith(text)


NOW = datetime(2026, 1, 31, 8, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("1h30m", 5400), ("1.5h", 5400), ("2d", 172800)]
)
def test_since_how_long_ago(text: str, seconds: int) -> None:
    assert logs.moment(text, NOW) == NOW.timestamp() - seconds


@pytest.mark.parametrize("text", ["soon", "10", "\u0661\u0660m", "1h\u0663m", "-5m"])
def test_since_anything_else_is_refused(text: str) -> None:
    """Digits of other scripts are digits to Python, and no number that anybody meant here."""
    with pytest.raises(InvalidInput, match="--since"):
        logs.moment(text, NOW)


def test_since_when() -> None:
    """Without a zone it is the caller's own."""
    assert logs.moment("2026-01-31T08:30:00Z", NOW) == NOW.timestamp()
    assert logs.moment("2026-01-31T08:30", NOW) == datetime(2026, 1, 31, 8, 30).astimezone().timestamp()


def test_since_is_asked_of_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    container = FakeContainer("server", "boot", at(1, "late"))
    up(monkeypatch, container)

    cli.main(["logs", TWO_HOST, "--since", "2026-01-31T08:30:00Z"])
    assert container.asked[0]["since"] == NOW.timestamp()


def test_following_shows_what_was_and_what_comes_and_nothing_twice(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    containers = [
        FakeContainer("server", "boot", at(1, "was"), later=(at(3, "comes later"),)),
        FakeContainer("client", "node", at(1.5, "was too"), later=(at(2, "comes first"),)),
    ]
    up(monkeypatch, *containers)
    found = logs.find(lab, Choice())
    following = logs.follow(lab, Choice(), found)
    told = [next(following).text for _ in range(4)]

    assert told == ["was", "was too", "comes first", "comes later"]


def test_following_takes_up_what_is_started_meanwhile_and_ends_when_all_is_down(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "LOOK_SECONDS", 0.01)
    here = [FakeContainer("server", "boot", at(1, "old"))]
    up(monkeypatch)
    monkeypatch.setattr(looking, "everywhere", lambda *_: list(here))
    following = logs.follow(lab, Choice(), logs.find(lab, Choice()))

    assert next(following).text == "old"
    here[:] = [FakeContainer("server", "boot2", later=(at(5, "new"),))]
    assert next(following).text == "new"
    here.clear()
    assert list(following) == []


def test_an_interruption_ends_following_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    up(monkeypatch, FakeContainer("server", "boot", at(1, "old")))

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(logs.Following, "start_reading", interrupt)

    assert cli.main(["logs", "--follow", TWO_HOST]) == 130
    told = capsys.readouterr()
    assert "old" in told.out
    assert told.err == "interrupted\n"


def test_an_engine_that_goes_away_ends_no_thread_with_a_traceback(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from docker.errors import APIError

    class Gone(FakeContainer):
        def logs(self, **_: Any) -> Iterator[bytes]:
            raise APIError("gone")

    seen: list[object] = []
    monkeypatch.setattr(threading, "excepthook", seen.append)
    following = logs.Following(lab, Choice())
    following.reading.add("server-boot")
    following.listen(Gone("server", "boot"))  # type: ignore[arg-type]

    assert not following.reading
    assert not seen


def test_words_are_told_apart_in_either_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert told_apart([]) == (None, Path("topology.yaml"))
    assert told_apart(["server/boot"]) == ("server/boot", Path("topology.yaml"))
    assert told_apart(["a/b/lab.yaml", "server"]) == ("server", Path("a/b/lab.yaml"))
    for words in (["a.yaml", "b.yaml"], ["server", "client"]):
        with pytest.raises(InvalidInput, match="give one HOST or HOST/SERVICE, and one topology file"):
            told_apart(words)


def test_a_host_that_is_not_up_is_told_by_its_own_name(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    up(monkeypatch, FakeContainer("server", "boot"))
    with pytest.raises(NotReady, match="two-host-client is not up"):
        logs.find(lab, Choice("client"))
