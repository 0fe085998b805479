"""Whom a command about certificates means by a name: an identity, a host or an authority of the topology."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from topology.errors import InvalidInput
from topology.generation.certificates import (
    GivenAuthority,
    GivenIdentity,
    Wanted,
    WantedAuthority,
    WantedIdentity,
    WantedServer,
)

Subject = WantedIdentity | GivenIdentity | WantedServer | WantedAuthority | GivenAuthority


def subjects(wanted: Wanted) -> Iterator[tuple[str, Subject]]:
    """Each under its place in the topology, such as `identities.bro`; a host stands for its gateway's certificate."""
    yield from ((f"identities.{one.name}", one) for one in wanted.identities)
    yield from ((f"identities.{one.name}", one) for one in wanted.given_identities)
    yield from ((f"hosts.{one.host}", one) for one in wanted.servers if one.service is None)
    yield from ((f"authorities.{one.name}", one) for one in wanted.authorities)
    yield from ((f"authorities.{one.name}", one) for one in wanted.given_authorities)


def find(wanted: Wanted, name: str) -> tuple[str, Subject]:
    """What a name stands for, and its place in the topology.  name: as the topology writes it, or the whole place.

    Raises InvalidInput where nothing with a certificate of its own has that name, or more than one thing has.
    """
    found = [(place, one) for place, one in subjects(wanted) if name in (place, place.partition(".")[2])]
    if len(found) == 1:
        return found[0]
    if found:
        places = " or ".join(place for place, _ in found)
        raise InvalidInput(f"{name}: the topology has more than one; write {places}")
    hosts = [host.host for host in wanted.hosts]
    if name.removeprefix("hosts.") in hosts:
        raise InvalidInput(
            f"{name}: none of the lab's authorities certifies this host's gateway; it speaks plain HTTP, or its "
            "certificate comes from an ACME server, and certbot renews that"
        )
    if name.endswith((".yaml", ".yml")):
        raise InvalidInput(f"{name}: is no name of the topology; a topology file goes with --topology")
    known = [place.partition(".")[2] for place, _ in subjects(wanted)]
    near = difflib.get_close_matches(name, known, 1)
    advice = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(known) or 'none'}"
    raise InvalidInput(f"{name}: no identity, host or authority of the topology is called that; {advice}")


def renewable(wanted: Wanted, name: str) -> str:
    """The place of an identity or host that can be given a new certificate; InvalidInput where it cannot."""
    place, found = find(wanted, name)
    if isinstance(found, GivenIdentity):
        raise InvalidInput(
            f"{name}: somebody else issued this certificate; ask them for a new one, and put it in the place of the old"
        )
    if isinstance(found, WantedAuthority | GivenAuthority):
        raise InvalidInput(
            f"{name}: is an authority; one of the lab's is renewed when it is due, somebody else's by them "
            "(`mtls-lab certificates list` shows both)"
        )
    return place
