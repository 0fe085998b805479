"""How long work tells what it is doing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


def say_nothing(_: str) -> None:
    return None


@dataclass(frozen=True)
class Progress:
    """step: something was done, worth a line; detail: what is going on now, worth a glance."""

    step: Callable[[str], None] = say_nothing
    detail: Callable[[str], None] = say_nothing


SILENT = Progress()
