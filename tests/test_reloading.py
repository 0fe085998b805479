"""A reload is over when every new connection meets the new configuration; nginx itself returns before that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from topology.errors import NotReady
from topology.runtime import execution, looking, stacks
from topology.runtime.execution import ERR, OUT, Answer
from topology.runtime.last_words import Around


class Gateway:
    """A container whose workers change as the given answers say, one for each look."""

    name = "lab-host-gateway-1"

    def __init__(self, *looks: str) -> None:
        self.looks = list(looks)
        self.asked: list[Sequence[str]] = []

    def answer(self, command: Sequence[str]) -> Answer:
        self.asked.append(command)
        if command[0] == "nginx":
            return Answer(0, ())
        return Answer(0, ((OUT, (self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]).encode()),))

    def logs(self, **_: object) -> bytes:
        return b"[emerg] bind() to 10.0.0.9:8080 failed"


@pytest.fixture(autouse=True)
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "run", Gateway.answer)


def reload(gateway: Any) -> None:
    stacks.reload(gateway)


def test_it_waits_until_the_last_old_worker_accepts_no_more() -> None:
    looks = ("/proc/7\n/proc/8\n", "/proc/7\n/proc/8\n/proc/20\n", "", "/proc/8\n/proc/20\n", "/proc/20\n/proc/21\n")
    gateway = Gateway(*looks)
    reload(gateway)

    assert gateway.looks == ["/proc/20\n/proc/21\n"]
    assert gateway.asked[1] == ["nginx", "-s", "reload"]


def test_a_configuration_that_is_not_taken_up_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """nginx goes on with the old one, and only logs why."""
    monkeypatch.setattr(stacks, "RELOAD_SECONDS", 0)

    with pytest.raises(NotReady, match=r"does not take up its new configuration:\n\[emerg\] bind\(\)"):
        reload(Gateway("/proc/7\n"))


MISTAKE = b'nginx: [emerg] unexpected "}" in /etc/nginx/lab/routes.conf:7\nnginx: configuration file test failed\n'


def test_files_that_nginx_would_not_take_are_told_with_line_and_meaning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As they lie on this machine, before anybody asks nginx to read them."""
    monkeypatch.setattr(execution, "run", lambda *_: Answer(1, ((ERR, MISTAKE),)))
    monkeypatch.setattr(looking, "around", lambda _: Around(mounts={"/etc/nginx/lab": tmp_path}))
    gateway: Any = Gateway("")

    with pytest.raises(NotReady, match=r'goes on with what it read before:\n  \[emerg\] unexpected "}"') as told:
        stacks.refuse_unreadable(gateway)
    assert f"{tmp_path}/routes.conf:7" in str(told.value)


def test_files_that_nginx_takes_are_not_held_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "run", lambda *_: Answer(0, ((ERR, b"test is successful"),)))
    gateway: Any = Gateway("")

    stacks.refuse_unreadable(gateway)
