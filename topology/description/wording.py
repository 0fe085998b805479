"""The author's words in our messages: shown safely, and compared with the words that are valid."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LONGEST_SHOWN = 60
MOST_SHOWN = 12


def shown(text: str) -> str:
    """A text of the author's as it can stand in a message: printable, and not too long."""
    return printable(text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "...")


def printable(text: str) -> str:
    """On one line, whatever the file holds: a message is a line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The one of the valid words that a misspelt one probably stands for."""
    known = {choice.casefold(): choice for choice in choices}
    near = difflib.get_close_matches(word[:100].casefold(), known, n=1, cutoff=0.6)
    return known[near[0]] if near else None


def suggestion(word: str, choices: Iterable[str]) -> str:
    """The nearest of the valid words, or all of them where none is near."""
    known = sorted(choices)
    if near := nearest(word, known):
        return f"did you mean '{shown(near)}'?"
    more = f" and {len(known) - MOST_SHOWN} more" if len(known) > MOST_SHOWN else ""
    listed = ", ".join(shown(one) for one in known[:MOST_SHOWN]) + more
    return f"there {'is' if len(known) == 1 else 'are'} {listed}" if known else "there is none yet"
