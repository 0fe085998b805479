"""How long chance goes on looking for what nobody thought of."""

from __future__ import annotations

import os


def rounds(usual: int) -> int:
    """How many inputs a test makes up: the usual number, or MTLS_LAB_FUZZ_ROUNDS of them in every such test.

    More of them take longer and find more.
    """
    return int(os.environ.get("MTLS_LAB_FUZZ_ROUNDS", usual))
