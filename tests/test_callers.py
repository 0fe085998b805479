"""What every kind of caller gets in every mode, by hand: written down and not computed."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.test_expectation import ALWAYS, LABS, PER_ROUTE, SERVER
from tests.test_expectation import topology as lab_with
from topology.description import loading
from topology.description.model import Topology
from topology.proof import callers, families
from topology.proof.callers import KINDS
from topology.proof.expectation import REFUSED, Check

NO = REFUSED

TABLE: Mapping[str, tuple[int | str, ...]] = {
    # per-route: open, required, allow, internal; always: open, allow; service's own TLS, required
    "impostor-authority":             (400, 400, 400, 400, 400, 400, NO),
    "impostor-without-identifiers":   (400, 400, 400, 400, 400, 400, NO),
    "impostor-with-real-identifier":  (400, 400, 400, 400, 400, 400, NO),
    "impostor-and-its-root":          (400, 400, 400, 400, 400, 400, NO),
    "server-certificate":             (400, 400, 400, 400, 400, 400, NO),
    "servers-authority":              (400, 400, 400, 400, 400, 400, NO),
    "foreign-key-identifier":         (400, 400, 400, 400, 400, 400, NO),
    "without-key-identifiers":        (200, 200, 200, 403, 200, 200, 200),
    "tampered":                       (400, 400, 400, 400, 400, 400, NO),
    "wrong-key":                      (NO, NO, NO, NO, NO, NO, NO),
    "outlives-authority":             (200, 200, 200, 403, 200, 200, 200),
    "purpose-missing":                (200, 200, 200, 403, 200, 200, 200),
    "purpose-any":                    (400, 400, 400, 400, 400, 400, NO),
    "purpose-any-and-client":         (200, 200, 200, 403, 200, 200, 200),
    "purpose-both":                   (200, 200, 200, 403, 200, 200, 200),
    "purpose-code-signing":           (400, 400, 400, 400, 400, 400, NO),
    "purpose-critical":               (200, 200, 200, 403, 200, 200, 200),
    "usage-missing":                  (200, 200, 200, 403, 200, 200, 200),
    "usage-encipherment":             (400, 400, 400, 400, 400, 400, NO),
    "usage-agreement":                (200, 200, 200, 403, 200, 200, 200),
    "usage-certificates":             (400, 400, 400, 400, 400, 400, NO),
    "authority-as-caller":            (400, 400, 400, 400, 400, 400, NO),
    "ca-true":                        (200, 200, 200, 403, 200, 200, 200),
    "without-constraints":            (200, 200, 200, 403, 200, 200, 200),
    "without-alternative-names":      (200, 200, 200, 403, 200, 200, 200),
    "unknown-critical-extension":     (400, 400, 400, 400, 400, 400, NO),
    "unknown-extension":              (200, 200, 200, 403, 200, 200, 200),
    "intermediate":                   (200, 200, 200, 403, 200, 200, 200),
    "intermediate-missing":           (400, 400, 400, 400, 400, 400, NO),
    "intermediate-expired":           (400, 400, 400, 400, 400, 400, NO),
    "intermediate-not-yet-valid":     (400, 400, 400, 400, 400, 400, NO),
    "intermediate-revoked":           (400, 400, 400, 400, 400, 400, NO),
    "intermediate-without-crl":       (400, 400, 400, 400, 400, 400, NO),
    "intermediate-ca-false":          (400, 400, 400, 400, 400, 400, NO),
    "intermediate-usage":             (400, 400, 400, 400, 400, 400, NO),
    "intermediate-for-servers":       (400, 400, 400, 400, 400, 400, NO),
    "intermediate-tampered":          (400, 400, 400, 400, 400, 400, NO),
    "chain-out-of-order":             (200, 200, 200, 403, 200, 200, 200),
    "chain-with-root":                (200, 200, 200, 403, 200, 200, 200),
    "chain-too-long":                 (400, 400, 400, 400, 400, 400, 200),
    "path-length":                    (400, 400, 400, 400, 400, 400, NO),
    "name-constraints":               (400, 400, 400, 400, 400, 400, NO),
    "junk-chain":                     (200, 200, 200, 403, 200, 200, 200),
    "ecdsa-p256":                     (200, 200, 200, 403, 200, 200, 200),
    "ecdsa-p384":                     (200, 200, 200, 403, 200, 200, 200),
    "ecdsa-p521":                     (200, 200, 200, 403, 200, 200, 200),
    "ed25519":                        (200, 200, 200, 403, 200, 200, 200),
    "ed448":                          (200, 200, 200, 403, 200, 200, 200),
    "rsa-1024":                       (400, 400, 400, 400, 400, 400, NO),
    "rsa-2048":                       (200, 200, 200, 403, 200, 200, 200),
    "rsa-4096":                       (200, 200, 200, 403, 200, 200, 200),
    "sha-1":                          (400, 400, 400, 400, 400, 400, NO),
    "version-1":                      (200, 200, 200, 403, 200, 200, 200),
    "60-kilobytes":                   (200, 200, 200, 403, 200, 200, 200),
    "110-kilobytes":                  (NO, NO, NO, NO, NO, NO, NO),
    "subject-empty":                  (200, 200, 403, 403, 200, 403, 200),
    "subject-comma":                  (200, 200, 403, 403, 200, 403, 200),
    "subject-newline":                (200, 200, 403, 403, 200, 403, 200),
    "subject-utf8":                   (200, 200, 403, 403, 200, 403, 200),
    "subject-slash":                  (200, 200, 403, 403, 200, 403, 200),
    "subject-pipe":                   (200, 200, 403, 403, 200, 403, 200),
    "subject-quote":                  (200, 200, 403, 403, 200, 403, 200),
    "subject-nul":                    (200, 200, 403, 403, 200, 403, 200),
    "subject-space":                  (200, 200, 403, 403, 200, 403, 200),
    "subject-dollar":                 (200, 200, 403, 403, 200, 403, 200),
    "subject-other-case":             (200, 200, 403, 403, 200, 403, 200),
    "subject-two-names":              (200, 200, 403, 403, 200, 403, 200),
    "subject-two-in-one":             (200, 200, 403, 403, 200, 403, 200),
    "subject-organisation":           (200, 200, 403, 403, 200, 403, 200),
    "subject-unit":                   (200, 200, 403, 403, 200, 403, 200),
}  # fmt: skip

MODES = [
    (PER_ROUTE, ""),
    (PER_ROUTE, ", client_certificate: required"),
    (PER_ROUTE, ", allow: [alice]"),
    (PER_ROUTE, ", internal: true"),
    (ALWAYS, ""),
    (ALWAYS, ", allow: [alice]"),
]
"""The table's columns but the last."""


def cells(lab: Topology, host: str = "server", route: str = "/") -> dict[str, int | str]:
    """Kind -> what is expected; the same under both TLS versions, or the test fails here."""
    found: dict[str, set[int | str]] = {}
    for check in callers.checks(lab):
        if (check.host, check.route) == (host, route):
            found.setdefault(check.shown.flaw, set()).add(check.expected)
    assert all(len(expected) == 1 for expected in found.values())
    return {kind: expected.pop() for kind, expected in found.items()}


def server(client_certificates: str, guard: str = "", tls: str = "") -> Topology:
    text = SERVER.format(client_certificates=client_certificates, guard=guard)
    return lab_with(text.replace("{kind: node}", f"{{kind: node{tls}}}"))


@pytest.mark.parametrize("mode", range(len(MODES)), ids=lambda n: f"{MODES[n][0][22:]}{MODES[n][1] or ', open'}")
def test_each_kind_gets_the_answer_of_the_table(mode: int) -> None:
    assert cells(server(*MODES[mode])) == {kind: answers[mode] for kind, answers in TABLE.items()}


def test_a_service_that_asks_itself_refuses_the_handshake_of_the_bad_ones() -> None:
    """It knows no limit to a chain's length."""
    lab = server(PER_ROUTE, tls=", tls: {port: 3300, client_certificate: required}")

    assert cells(lab, route=":3300/") == {kind: answers[6] for kind, answers in TABLE.items()}


@pytest.mark.parametrize("route", ["/", ":3300/"])
def test_whoever_does_not_ask_cannot_tell(route: str) -> None:
    """Neither a gateway without client certificates, nor a service with TLS for everybody."""
    assert cells(server("", tls=", tls: {port: 3300}"), route=route) == dict.fromkeys(TABLE, 200)


def test_in_plain_http_nobody_can_show_a_certificate() -> None:
    lab = server("tls: false")

    assert cells(lab) == dict.fromkeys(TABLE, 200)
    assert {check.tls for check in callers.checks(lab)} == {"plain"}


def test_an_authority_that_a_host_does_not_trust_makes_all_of_its_callers_bad() -> None:
    """All but those who do not get as far as that."""
    lab = server("client_certificates: {authority: unknown}")
    outsider = lab_with(SERVER.format(client_certificates="client_certificates: {authority: ssl_ca}", guard=""))

    assert cells(lab) == {kind: answers[0] for kind, answers in TABLE.items()}
    assert {expected for kind, expected in cells(outsider).items() if KINDS[kind].worth is callers.BROKEN} == {REFUSED}
    assert {expected for kind, expected in cells(outsider).items() if KINDS[kind].worth is not callers.BROKEN} == {400}


GATEWAYS = """
  near:
    domain: near.table.test
    routes:
      /alice/: {host: far, to: /vip/, identity: alice, lends: everyone}
      /bob/: {host: far, to: /vip/, identity: bob, lends: everyone}
  guarded:
    domain: guarded.table.test
    client_certificates: {authority: partners}
    routes:
      /alice/: {host: far, to: /vip/, identity: alice, lends: everyone}
  far:
    domain: far.table.test
    client_certificates: {authority: partners}
    services:
      node: {kind: node}
    routes:
      /vip/: {service: node, allow: [alice]}
"""


def test_an_egress_route_shows_its_own_identity_whatever_its_caller_shows() -> None:
    """The gateway's own answer comes first; then what the remote host says to the identity that the route attaches."""
    lab = lab_with(GATEWAYS)

    assert cells(lab, "near", "/alice/") == dict.fromkeys(TABLE, 200)
    assert cells(lab, "near", "/bob/") == dict.fromkeys(TABLE, 403)
    assert cells(lab, "guarded", "/alice/") == {kind: answers[0] for kind, answers in TABLE.items()}


# What there is


@pytest.mark.parametrize("name", ["two-host", "guarded", "pro-dev", "node-tls", "two-companies", "applications"])
def test_at_least_56_kinds_call_on_every_route_of_every_lab(name: str) -> None:
    lab = loading.load(LABS / f"{name}.yaml").topology
    found: dict[tuple[str, str, str], set[str]] = {}
    for check in callers.checks(lab):
        found.setdefault((check.host, check.route, check.tls), set()).add(check.shown.flaw)

    assert {place[:2] for place in found} >= {(host, one) for host in lab.hosts for one in lab.hosts[host].routes}
    assert min(len(kinds) for kinds in found.values()) >= 56


def test_every_cell_says_why() -> None:
    """And of what was shown, too, where that counts."""
    checks = callers.checks(server(PER_ROUTE, ", allow: [alice]"))

    assert all(check.why.endswith(".") and KINDS[check.shown.flaw].why in check.why for check in checks)


def test_ids_are_unique_among_all_families() -> None:
    """They name test items: two cells under one name would hide each other."""
    for file in LABS.glob("*.yaml"):
        ids = [check.id for check in families.checks(loading.load(file).topology)]
        assert len(ids) == len(set(ids))


def test_the_same_caller_s_cells_stand_together() -> None:
    """Whoever sends them gets a certificate ready once, and need not keep all of them ready."""
    checks: list[Check] = [c for c in callers.checks(loading.load(LABS / "guarded.yaml").topology) if c.port is None]
    turns = [one.shown for one, before in zip(checks, [None, *checks], strict=False) if before is None or (
        (one.host, one.shown) != (before.host, before.shown)
    )]  # fmt: skip

    assert len(turns) == len({(c.host, c.shown) for c in checks})


# What is left out


def left_out(lab: Topology) -> set[str]:
    return {one.why for one in callers.left_out(lab)}


def test_nothing_is_left_out_where_all_keys_are_here() -> None:
    assert left_out(server(PER_ROUTE)) == set()


def changed(lab: Topology, authority: str, **fields: object) -> Topology:
    one = lab.authorities[authority].model_copy(update=fields)
    return lab.model_copy(update={"authorities": {**lab.authorities, authority: one}})


def test_an_ed25519_authority_signs_nothing_with_sha_1() -> None:
    lab = changed(server(PER_ROUTE), "partners", key="ed25519")

    assert set(TABLE) - cells(lab).keys() == {"sha-1"}
    assert left_out(lab) == {"an Ed25519 key signs without a digest: alice-sha-1"}


def test_nobody_imitates_an_identity_whose_authority_is_somebody_else_s() -> None:
    lab = changed(server("client_certificates: {authority: partners}"), "partners", certificate="theirs.pem")

    assert cells(lab) == {}
    assert left_out(lab) == {"nobody here can sign as alice's authority: what imitates it"}


def test_nobody_imitates_a_server_whose_authority_is_somebody_else_s() -> None:
    lab = changed(server(PER_ROUTE), "ssl_ca", certificate="theirs.pem")

    assert set(TABLE) - cells(lab).keys() == {"server-certificate", "servers-authority"}
    assert "who vouches for the server is not ours to sign with: alice-server-certificate" in left_out(lab)


def test_an_authority_for_servers_and_callers_alike_vouches_for_both() -> None:
    """Its clients are no flaw; its servers' certificates still are not for callers."""
    lab = server("client_certificates: {authority: [ssl_ca, partners]}")

    assert set(TABLE) - cells(lab).keys() == {"servers-authority"}
    assert cells(lab)["server-certificate"] == 400


def test_a_name_without_letters_has_no_other_case() -> None:
    lab = server(PER_ROUTE)
    alice = lab.identities["alice"].model_copy(update={"common_name": "007"})
    lab = lab.model_copy(update={"identities": {**lab.identities, "alice": alice}})

    assert set(TABLE) - cells(lab).keys() == {"subject-other-case"}


def test_without_identities_there_is_nobody_to_imitate() -> None:
    lab = loading.load(LABS / "terminated.yaml").topology

    assert callers.checks(lab) == ()
    assert left_out(lab) == {"there is no identity to imitate: every kind of certificate"}


def test_the_page_of_callers_says_the_same() -> None:
    page = (LABS.parents[1] / "docs" / "callers.md").read_text()
    taken_for = {"ITSELF": "the identity", "ANOTHER": "somebody else", "BAD": "bad", "BROKEN": "no handshake"}
    rows = [f"| `{name}` | {taken_for[kind.worth.name]} | {kind.why} |" for name, kind in KINDS.items()]

    assert "\n".join(rows) in page
    assert f"adds {len(KINDS)} kinds" in page
