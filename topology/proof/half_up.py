"""Cells of a lab that is half up: what is in the way of which, and which are wrong for no other reason."""

from __future__ import annotations

from collections.abc import Collection

from topology.description.model import Topology
from topology.proof import leading
from topology.proof.checking import NOT_SENT, Obstacle, Verdict, none_known
from topology.proof.expectation import Check
from topology.proof.expected_walls import FAMILY as WALLS
from topology.runtime.outages import Outage

FOR_WANT_OF_A_SERVICE = (500, 502, 503, 504, None)
"""What a gateway answers whose service does not, None for no answer in time."""


def obstacle(topology: Topology, outages: Collection[Outage]) -> Obstacle:
    """Says of a cell whose request would go to a service that does not run well, that it does not."""
    known = {(one.host, one.service): str(one) for one in outages}

    def words(check: Check) -> str:
        places = (leading.answering(topology, check), leading.beside(topology, check))
        return next((known[place] for place in places if place in known), "")

    return words if known else none_known


def is_due_to(topology: Topology, outages: Collection[Outage], verdict: Verdict) -> bool:
    """Whether a wrong cell is wrong since something does not run: it says nothing about who gets in.

    An answer that somebody gave who runs is never put down to that.
    """
    down = {(one.host, one.service) for one in outages}
    check = verdict.check
    if check.family == WALLS:
        return not down.isdisjoint({*leading.looked_at(topology, check), leading.asking(topology, check)})
    if verdict.observed == NOT_SENT:
        return True
    concerned = {look(topology, check) for look in (leading.answering, leading.beside, leading.asking)}
    return verdict.observation.status in FOR_WANT_OF_A_SERVICE and not down.isdisjoint(concerned)
