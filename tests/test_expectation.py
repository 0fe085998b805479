"""The table of answers once more, by hand: what each caller gets, written down and not computed."""

from __future__ import annotations

from pathlib import Path

import pytest

from topology.description import loading
from topology.description.model import Topology
from topology.proof import expectation

LABS = Path(__file__).parents[1] / "fixtures" / "labs"

BAD = ["expired", "not-yet-valid", "revoked", "self-signed", "other-authority", "wrong-purpose"]


def topology(hosts: str) -> Topology:
    """Two client authorities that both know an `alice`, one that nobody trusts, and the given hosts."""
    text = f"""
name: table
authorities:
  ssl_ca: {{}}
  partners: {{}}
  staff: {{}}
  unknown: {{}}
identities:
  alice: {{authority: partners}}
  bob: {{authority: partners}}
  clerk: {{authority: staff, common_name: alice}}
  outsider: {{authority: unknown, common_name: alice}}
  mallory: {{authority: partners, revoked: true}}
hosts:
{hosts}
"""
    kinds = loading.catalog.kinds(LABS / "two-host.yaml")
    return loading.parse(text, LABS / "table.yaml", kinds).topology


def answers(lab: Topology, host: str, route: str) -> dict[str, int]:
    """caller -> status; the same under both TLS versions, or the test fails here."""
    found: dict[str, set[int]] = {}
    for check in expectation.checks(lab):
        if (check.host, check.route) == (host, route):
            found.setdefault(check.caller, set()).add(check.expected)
    assert all(len(statuses) == 1 for statuses in found.values())
    return {caller: statuses.pop() for caller, statuses in found.items()}


def bad(name: str, status: int) -> dict[str, int]:
    return {f"{name}-{kind}": status for kind in BAD}


SERVER = """
  server:
    domain: server.table.test
    {client_certificates}
    services:
      node: {{kind: node}}
    routes:
      /: {{service: node{guard}}}
"""
PER_ROUTE = "client_certificates: {authority: [partners, staff]}"
ALWAYS = "client_certificates: {authority: [partners, staff], verify: always}"

TABLE = [
    # gateway, route, then: none, alice, bob, clerk (alice of another trusted authority), outsider, mallory, flawed
    ("", "", 200, 200, 200, 200, 200, 200, 200),
    (PER_ROUTE, "", 200, 200, 200, 200, 400, 400, 400),
    (PER_ROUTE, ", client_certificate: none", 200, 200, 200, 200, 400, 400, 400),
    (PER_ROUTE, ", client_certificate: required", 403, 200, 200, 200, 400, 400, 400),
    (PER_ROUTE, ", allow: [alice]", 403, 200, 403, 403, 400, 400, 400),
    (PER_ROUTE, ", allow: [clerk]", 403, 403, 403, 200, 400, 400, 400),
    (PER_ROUTE, ", allow: [alice, bob]", 403, 200, 200, 403, 400, 400, 400),
    (ALWAYS, "", 400, 200, 200, 200, 400, 400, 400),
    (ALWAYS, ", client_certificate: required", 400, 200, 200, 200, 400, 400, 400),
    (ALWAYS, ", allow: [alice]", 400, 200, 403, 403, 400, 400, 400),
    ("", ", internal: true", 403, 403, 403, 403, 403, 403, 403),
    (PER_ROUTE, ", internal: true", 403, 403, 403, 403, 400, 400, 400),
    (ALWAYS, ", internal: true", 400, 403, 403, 403, 400, 400, 400),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0][22:] or 'off'}{row[1] or ', open'}")
def test_each_caller_gets_the_answer_of_the_table(row: tuple[str, str, int, int, int, int, int, int, int]) -> None:
    """Gateway and route decide; a bad certificate is 400 wherever one is asked for, on open routes too."""
    gateway, guard, nobody, alice, bob, clerk, outsider, mallory, flawed = row
    lab = topology(SERVER.format(client_certificates=gateway, guard=guard))
    found = answers(lab, "server", "/")

    assert {name: found[name] for name in ("none", "alice", "bob", "clerk", "outsider", "mallory")} == {
        "none": nobody, "alice": alice, "bob": bob, "clerk": clerk, "outsider": outsider, "mallory": mallory
    }  # fmt: skip
    imitated, other = ("clerk", "partners") if "clerk" in guard else ("alice", "staff")
    expected = bad(imitated, flawed) | ({f"{imitated}-revoked-of-{other}": flawed} if gateway else {})
    assert {name: status for name, status in found.items() if name.startswith(f"{imitated}-")} == expected


def test_the_same_name_of_another_trusted_authority_is_somebody_else() -> None:
    """Where no identity of the topology is that somebody, the proof makes one up."""
    lab = topology(SERVER.format(client_certificates=PER_ROUTE, guard=", allow: [bob]"))

    assert answers(lab, "server", "/")["bob-of-staff"] == 403


def test_every_cell_says_why() -> None:
    """A report that names no rule helps nobody."""
    lab = topology(SERVER.format(client_certificates=PER_ROUTE, guard=", allow: [alice]"))

    assert all(check.why.endswith(".") for check in expectation.checks(lab))


CHAIN = """
  near:
    domain: near.table.test
    routes:
      /alice/: {host: far, to: /vip/, identity: alice}
      /bob/: {host: far, to: /vip/, identity: bob}
      /mallory/: {host: far, to: /open/, identity: mallory}
      /nobody/: {host: far, to: /vip/}
      /everything/: {host: far, identity: bob}
      /nothing/: {host: far, to: /nowhere/}
      /middle/: {host: far, to: /vip/deep/, identity: alice}
      /refused/: {host: far, to: /vip/deep/, identity: bob}
      /twice/: {host: far, to: /back/, identity: alice}
  guarded:
    domain: guarded.table.test
    client_certificates: {authority: partners, verify: always}
    routes:
      /alice/: {host: far, to: /vip/, identity: alice}
  far:
    domain: far.table.test
    client_certificates: {authority: partners}
    services:
      node: {kind: node}
    routes:
      /open/: {service: node}
      /vip/: {service: node, allow: [alice]}
      /back/: {host: near, to: /bob/, identity: alice}
"""


@pytest.mark.parametrize(
    ("route", "path", "status"),
    [
        ("/alice/", "/alice/health", 200),
        ("/bob/", "/bob/health", 403),
        ("/mallory/", "/mallory/health", 400),
        ("/nobody/", "/nobody/health", 403),
        ("/everything/", "/everything/open/health", 200),
        ("/everything/", "/everything/vip/health", 403),
        ("/everything/", "/everything/back/health", 403),
        ("/nothing/", "/nothing/", 404),
        ("/twice/", "/twice/health", 403),
    ],
)
def test_an_egress_route_answers_what_the_remote_answers_to_its_identity(route: str, path: str, status: int) -> None:
    """Whoever calls: the remote host sees the identity that the route attaches, through as many hosts as there are."""
    cells = [c for c in expectation.checks(topology(CHAIN)) if (c.host, c.route, c.path) == ("near", route, path)]

    assert cells
    assert {cell.expected for cell in cells} == {status}
    assert {cell.via for cell in cells} == {"far"}


def test_a_gateway_s_own_refusal_comes_before_the_remote_s() -> None:
    found = answers(topology(CHAIN), "guarded", "/alice/")

    assert (found["none"], found["alice"], found["alice-expired"], found["clerk"]) == (400, 200, 400, 400)


def test_nothing_is_expected_where_the_topology_does_not_say() -> None:
    """A route to the middle of a service: whether something answers there is the service's business."""
    assert not answers(topology(CHAIN), "near", "/middle/")
    assert set(answers(topology(CHAIN), "near", "/refused/").values()) == {403}


def test_the_two_host_lab_by_hand() -> None:
    """The mission's own lab: every cell."""
    lab = loading.load(LABS / "two-host.yaml").topology
    every = ["none", "bro", *(f"bro-{kind}" for kind in BAD)]

    assert answers(lab, "server", "/boot/") == {"none": 200, "bro": 200} | bad("bro", 400)
    assert answers(lab, "server", "/mtls/") == {"none": 403, "bro": 200} | bad("bro", 400)
    for route in ("/fast/", "/next/", "/node/", "/mtls/"):
        assert answers(lab, "client", route) == dict.fromkeys(every, 200)
    assert len(expectation.checks(lab)) == 2 * 8 * 6


def test_the_pro_dev_lab_by_hand() -> None:
    """`verify: always` in front of everything, and a plain host that attaches the certificate."""
    lab = loading.load(LABS / "pro-dev.yaml").topology

    assert answers(lab, "pro", "/") == {"none": 400, "bro": 200} | bad("bro", 400)
    assert answers(lab, "laptop", "/pro-dev-proxy/") == {"none": 200, "bro": 200}
    assert {check.tls for check in expectation.checks(lab) if check.host == "laptop"} == {"plain"}


def test_ids_are_unique_and_readable() -> None:
    """They name test items: two cells under one name would hide each other."""
    for lab in LABS.glob("*.yaml"):
        ids = [check.id for check in expectation.checks(loading.load(lab).topology)]
        assert len(ids) == len(set(ids))
    assert "server /mtls/ none 403 (TLS 1.3)" in [
        check.id for check in expectation.checks(loading.load(LABS / "two-host.yaml").topology)
    ]
