"""Every caller on every route of the running two-host lab, and the mission's three answers in plain words."""

from __future__ import annotations

import pytest

from topology.proof.expectation import Check
from topology.pytest_plugin import TestedLab

pytestmark = pytest.mark.integration


def test_every_caller_gets_the_answer_that_follows_from_the_topology(lab: TestedLab, cell: Check) -> None:
    """One item for each cell of the matrix."""
    lab.verify(cell)
