"""Walls and egress, by hand: what must stand, who must get what, as whom a remote host must be called."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from topology.description import loading
from topology.description.model import Topology
from topology.pki import issuing
from topology.proof import expected_egress, expected_walls, walls
from topology.proof.checking import Verdict
from topology.proof.expectation import Check
from topology.proof.probing import Observation
from topology.proof.witness import FORGED
from topology.runtime import inside

LABS = Path(__file__).parents[1] / "fixtures" / "labs"


def lab(name: str) -> Topology:
    return loading.load(LABS / f"{name}.yaml").topology


def told(checks: tuple[Check, ...]) -> list[str]:
    return [check.id for check in checks]


# Walls


def test_every_wall_of_a_lab_has_a_cell() -> None:
    assert told(expected_walls.checks(lab("guarded"))) == [
        "vault inside from-internet nothing",
        "vault inside from-office/gateway nothing",
        "office inside from-internet nothing",
        "office inside from-vault/gateway nothing",
        "office inside from-vault/node nothing",
        "office inside from-vault/fast nothing",
        "vault gateway rights none",
        "vault gateway authorities-keys none",
        "vault gateway published-ports 80, 443",
        "vault gateway networks inside, internet",
        "vault node rights none",
        "vault node authorities-keys none",
        "vault node published-ports nothing",
        "vault node networks inside",
        "vault fast rights none",
        "vault fast authorities-keys none",
        "vault fast published-ports nothing",
        "vault fast networks inside",
        "vault gateway listeners 80, 443, inside",
        "vault gateway keys-for-everybody none",
        "vault inside members fast, gateway, node",
        "office gateway rights none",
        "office gateway authorities-keys none",
        "office gateway published-ports 80, 443",
        "office gateway networks inside, internet",
        "office gateway listeners 80, 443, inside",
        "office gateway keys-for-everybody none",
        "office gateway judges-servers first",
        "office inside members gateway",
    ]


@pytest.mark.parametrize(
    ("name", "host", "ports"),
    [
        ("guarded", "vault", "80, 443"),
        ("pro-dev", "laptop", "80"),  # plain HTTP alone
        ("node-tls", "strict", "80, 443, 3300"),  # its service's own TLS, passed on
    ],
)
def test_a_gateway_publishes_what_its_host_has(name: str, host: str, ports: str) -> None:
    assert expected_walls.published_ports(lab(name).hosts[host]) == ports


def test_a_host_with_certificates_from_an_acme_server_has_one_more_container() -> None:
    """certbot asks from the internet, and is on no host's own network."""
    cells = told(expected_walls.checks(lab("acme")))

    assert "shop certbot rights none" in cells
    assert "shop certbot networks internet" in cells
    assert not [cell for cell in cells if " inside members " in cell and "certbot" in cell]


# What a host's own services get


def test_guards_hold_inside_and_internal_routes_are_open_there() -> None:
    assert told(expected_walls.inside_checks(lab("guarded"))) == [
        "vault /open/ own-service 200 (plain)",
        "vault /known/ own-service 403 (plain)",
        "vault /alice/ own-service 403 (plain)",
        "vault /inside/ own-service 200 (plain)",
        "vault /fast/ own-service 200 (plain)",
        "vault /inside/ forged identity own-service 200 (plain)",
    ]


def test_services_call_other_hosts_as_the_identity_of_the_route() -> None:
    """The hospital's service is whom the finance company lets in, and nobody else of the hospital's is."""
    assert told(expected_walls.inside_checks(lab("two-companies"))) == [
        "hospital /hospital/ own-service 403 (plain)",
        "hospital /finance/ via finance own-service 200 (plain)",
        "finance /finance/ own-service 403 (plain)",
        "finance /hospital/ via hospital own-service 200 (plain)",
    ]


# Whom remote hosts see


def test_each_route_is_called_after_every_other_identity_and_beside_all() -> None:
    """`/all/` and `/as-nobody/` both come as nobody: no difference between them could be seen."""
    found = [(check.route, check.request, check.expected) for check in expected_egress.checks(lab("guarded"))]

    assert found == [
        ("/as-alice/", "after:/as-bob/", 200),
        ("/as-alice/", "after:/as-mallory/", 200),
        ("/as-alice/", "after:/as-nobody/", 200),
        ("/as-alice/", "after:/all/", 200),
        ("/as-alice/", "beside-all", 200),
        ("/as-bob/", "after:/as-alice/", 403),
        ("/as-bob/", "after:/as-mallory/", 403),
        ("/as-bob/", "after:/as-nobody/", 403),
        ("/as-bob/", "after:/all/", 403),
        ("/as-bob/", "beside-all", 403),
        ("/as-mallory/", "after:/as-alice/", 400),
        ("/as-mallory/", "after:/as-bob/", 400),
        ("/as-mallory/", "after:/as-nobody/", 400),
        ("/as-mallory/", "after:/all/", 400),
        ("/as-mallory/", "beside-all", 400),
        ("/as-nobody/", "after:/as-alice/", 403),
        ("/as-nobody/", "after:/as-bob/", 403),
        ("/as-nobody/", "after:/as-mallory/", 403),
        ("/as-nobody/", "beside-all", 403),
        ("/all/", "after:/as-alice/", 200),
        ("/all/", "after:/as-bob/", 200),
        ("/all/", "after:/as-mallory/", 200),
        ("/all/", "beside-all", 200),
    ]


def test_a_route_that_is_alone_is_called_after_itself() -> None:
    (check,) = expected_egress.checks(lab("two-host"))

    assert check.id == "client /mtls/ via server after:/mtls/ none 200 (TLS 1.3)"


def test_internal_routes_are_called_by_the_host_s_own_service() -> None:
    assert told(expected_egress.checks(lab("two-companies"))) == [
        "hospital /finance/ via finance after:/finance/ own-service 200 (plain)",
        "finance /hospital/ via hospital after:/hospital/ own-service 200 (plain)",
    ]


def test_a_guarded_route_is_called_by_somebody_whom_it_lets_through() -> None:
    text = """
name: guarded-egress
authorities: {ssl_ca: {}, client_ca: {}}
identities: {bro: {authority: client_ca}, sis: {authority: client_ca}}
hosts:
  far:
    domain: far.test
    client_certificates: {authority: client_ca}
    services: {node: {kind: node}}
    routes: {/: {service: node}}
  near:
    domain: near.test
    client_certificates: {authority: client_ca}
    routes:
      /bro/: {host: far, identity: bro, allow: [sis]}
      /sis/: {host: far, identity: sis, allow: [bro]}
      /nobody/: {host: far}
"""
    kinds = loading.catalog.kinds(LABS / "two-host.yaml")
    checks = expected_egress.checks(loading.parse(text, LABS / "x.yaml", kinds).topology)

    assert [(check.route, check.request, check.caller) for check in checks] == [
        ("/bro/", "after:/nobody/", "sis"),  # nobody passes both /bro/ and /sis/
        ("/sis/", "after:/nobody/", "bro"),
        ("/nobody/", "after:/bro/", "sis"),
        ("/nobody/", "after:/sis/", "bro"),
    ]
    assert not expected_egress.checks(loading.parse(text, LABS / "x.yaml", kinds).topology, ["bro", "sis"])


# What is seen


def test_a_wall_stands_where_what_is_seen_is_what_was_expected() -> None:
    check = next(one for one in expected_walls.checks(lab("pro-dev")) if one.caller == "rights")

    assert Verdict(check, Observation(None, "none", "", "", 0)).ok
    assert not Verdict(check, Observation(None, "root", "", "", 0)).ok
    assert Verdict(check, Observation(None, "root", "", "", 0)).observed == "root"


@pytest.mark.parametrize("kind", ["ecdsa-p256", "ecdsa-p384", "rsa-2048", "ed25519"])
def test_a_key_is_known_in_every_form(kind: str) -> None:
    """PEM among other things, DER, PKCS #8, and the forms that were before it."""
    key = issuing.new_key(kind)
    public = walls.public_bytes(issuing.key_pem(key))
    forms = [PrivateFormat.PKCS8] if kind == "ed25519" else [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL]
    for form in forms:
        for encoding in (Encoding.PEM, Encoding.DER):
            content = key.private_bytes(encoding, form, NoEncryption())
            assert list(walls.public_keys(content)) == [public]
    among = b"notes\n" + issuing.key_pem(issuing.new_key("ecdsa-p256")) + b"and\n" + issuing.key_pem(key)
    assert list(walls.public_keys(among))[1] == public


def test_what_is_no_readable_key_is_passed_over() -> None:
    key = issuing.new_key("ecdsa-p256")
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    root = issuing.issue_root(issuing.authority_name("a", "b"), key, days=1, now=datetime.now(UTC))

    for content in (locked, b"", b"\x30\x03\x02\x01\x00", issuing.certificate_pem(root)):
        assert list(walls.public_keys(content)) == []


@pytest.mark.parametrize(
    ("mounted", "near"), [("/a/keys", True), ("/a/keys/ca", True), ("/a", True), ("/a/keyring", False)]
)
def test_who_sees_a_folder_sees_what_is_below_and_who_sees_its_parent_sees_it(mounted: str, near: bool) -> None:
    assert walls.is_near(Path(mounted), Path("/a/keys")) is near


DOOR, OPEN = "10.0.0.3:3200", "10.0.1.2:80"


@pytest.mark.parametrize(
    ("looks", "seen"),
    [
        ([[OPEN]], "nothing"),
        ([[OPEN, DOOR], [OPEN, DOOR], [OPEN, DOOR]], f"node ({DOOR})"),  # a hole
        ([[OPEN, DOOR], [OPEN]], "nothing"),  # the engine was rewriting its packet filter
        ([[], [], [OPEN]], "nothing"),  # a busy machine
        ([[], [], [], [], []], f"far/node does not even reach {OPEN}"),
        ([[DOOR]] * 5, f"far/node does not even reach {OPEN}"),
    ],
)
def test_a_hole_is_what_stays_open_for_somebody_who_reaches_what_is_free(
    looks: list[list[str]], seen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(looks)
    one = SimpleNamespace(client=None)
    monkeypatch.setattr(inside, "networks", lambda _: {"internet": "10.0.1.2"})
    monkeypatch.setattr(inside, "reached", lambda *_: tuple(next(answers)))
    monkeypatch.setattr(walls, "closed_doors", lambda *_: [(DOOR, "node")])
    check = replace(expected_walls.checks(lab("pro-dev"))[0], caller="from-far/node")
    containers: Any = {f"{check.host}/gateway": one, "far/node": one}

    assert walls.reached(check, None, containers) == seen  # type: ignore[arg-type]
    assert not list(answers)


@pytest.mark.parametrize(
    ("words", "address"),
    [
        ("0100007F", "127.0.0.1"),
        ("00000000", "0.0.0.0"),  # noqa: S104 - read, not listened on
        ("0228570A", "10.87.40.2"),
        ("00000000000000000000000001000000", "::1"),
        ("00000000000000000000000000000000", "::"),
    ],
)
def test_addresses_are_read_as_the_kernel_writes_them(words: str, address: str) -> None:
    assert str(inside.kernel_address(words)) == address


def test_statuses_are_those_of_the_gateway_and_not_of_what_it_passes_on() -> None:
    said = (
        b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: 22\r\n\r\nHTTP/1.1 500 in a body"
        b"HTTP/1.1 403 Forbidden\r\nServer: nginx\r\nContent-Length: 0\r\n\r\n"
    )

    assert walls.statuses(said) == [200, 403]
    assert walls.statuses(b"") == []


def whoami(**headers: str) -> bytes:
    """What a sample service answers, as a gateway passes it on."""
    seen = {"x-ssl-client-verify": "NONE", "x-forwarded-prefix": "/inside"} | headers
    body = json.dumps({"service": "node", "headers": seen}).encode()
    return b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)


@pytest.mark.parametrize(
    ("seen", "status", "wrong"),
    [
        ({}, 200, ""),
        ({"x-ssl-client-verify": "SUCCESS"}, None, "in the place of NONE"),
        ({"x-ssl-client-s-dn": f"CN={FORGED}"}, None, "a forged x-ssl-client-s-dn"),
    ],
)
def test_what_a_service_makes_up_to_another_one_is_seen(
    seen: dict[str, str], status: int | None, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two requests on one connection: one whose status counts, and one that tells what was seen."""
    sent: list[str] = []
    healthy = b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok"
    monkeypatch.setattr(walls, "said_inside", lambda _, text, *__: sent.append(text) or healthy + whoami(**seen))
    topology = lab("guarded")
    check = next(one for one in expected_walls.inside_checks(topology) if one.request == expected_walls.FORGING)
    running: Any = SimpleNamespace(topology=topology)

    found = walls.forge_inside(check, "0123abcd", running, {})

    assert found[0] == status
    assert wrong in found[1]
    assert [line.split()[1] for line in sent[0].splitlines() if line.startswith("GET")] == [
        "/inside/health", "/inside/whoami",
    ]  # fmt: skip
    assert sent[0].count("X-SSL-Client-Verify: SUCCESS\r\n") == 2
