"""What holds for every session of tests."""

from __future__ import annotations

import gc


def pytest_collection_finish() -> None:
    """What was loaded and collected stays until the session ends; the collector of garbage need not look at it again.

    It did, some thousand times over: a tenth of the time that the fast tests take.
    """
    gc.collect()
    gc.freeze()
