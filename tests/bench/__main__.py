"""`make bench`: measures, prints, and keeps the tables in docs/."""

from __future__ import annotations

import sys

from tests.bench import costs, evidence

PARTS = {"costs": costs.main, "evidence": evidence.main}


def main(chosen: list[str]) -> int:
    """chosen: parts, all where none is named.  Exit code 1 where a figure is missed, or a lab is not as it
    should be; 2 for a part that there is not."""
    if unknown := [name for name in chosen if name not in PARTS]:
        print(f"no part {unknown[0]}; there are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    try:
        return max([PARTS[name]() for name in chosen or PARTS])
    except AssertionError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
