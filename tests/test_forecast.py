"""`check --at`: what ends, what that changes, who renews it; and what `up` and `status` say of it unasked."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from topology import cli
from topology.commands.arguments import moment_to_come
from topology.commands.lab import ahead
from topology.description.loading import load
from topology.description.model import Topology
from topology.errors import InvalidInput
from topology.pki import forging, issuing
from topology.proof import expectation, needing
from topology.proof.needing import UNTRUSTED
from topology.runtime import certificates
from topology.runtime.lab import Lab

pytestmark = pytest.mark.usefixtures("quick_bundles")

LABS = Path(__file__).parents[1] / "fixtures" / "labs"
NOW = datetime(2026, 1, 1, tzinfo=UTC)

BY_HAND = {
    # (host, route, caller): what it hangs on -> what comes back without it
    ("server", "/boot/", "none"): {("server", "server"): UNTRUSTED, ("authority", "ssl_ca"): UNTRUSTED},
    ("server", "/boot/", "bro"): {
        ("server", "server"): UNTRUSTED, ("authority", "ssl_ca"): UNTRUSTED, ("identity", "bro"): 400,
        ("authority", "server_ca"): 400, ("crl", "server_ca"): 400,
    },
    ("server", "/mtls/", "bro-expired"): {("server", "server"): UNTRUSTED, ("authority", "ssl_ca"): UNTRUSTED},
    ("client", "/node/", "none"): {("server", "client"): UNTRUSTED, ("authority", "ssl_ca"): UNTRUSTED},
    ("client", "/mtls/", "none"): {
        ("server", "client"): UNTRUSTED, ("authority", "ssl_ca"): UNTRUSTED, ("server", "server"): 502,
        ("crl", "ssl_ca"): 502, ("identity", "bro"): 400, ("authority", "server_ca"): 400, ("crl", "server_ca"): 400,
    },
}  # fmt: skip
"""Of the two-host lab."""


def hanging_on(topology: Topology, host: str, route: str, caller: str) -> dict[tuple[str, str], int | str]:
    checks = expectation.checks(topology)
    check = next(one for one in checks if (one.host, one.route, one.caller) == (host, route, caller))
    found: dict[tuple[str, str], int | str] = {}
    for need in needing.needs(topology, check):
        found.setdefault((need.kind, need.name), need.then)
    return found


@pytest.mark.parametrize(("place", "expected"), BY_HAND.items(), ids=[" ".join(cell) for cell in BY_HAND])
def test_what_an_answer_hangs_on(place: tuple[str, str, str], expected: dict[tuple[str, str], int | str]) -> None:
    assert hanging_on(load(LABS / "two-host.yaml").topology, *place) == expected


def test_who_does_not_get_through_this_gateway_hangs_on_nothing_behind_it() -> None:
    topology = load(LABS / "two-companies.yaml").topology
    inside = next(one for one in expectation.checks(topology) if topology.hosts[one.host].routes[one.route].internal)

    assert inside.expected == 403
    assert {need.then for need in needing.needs(topology, inside)} == {UNTRUSTED}


def test_a_service_with_tls_of_its_own_hangs_on_its_own_certificate() -> None:
    topology = load(LABS / "node-tls.yaml").topology
    cells = [one for one in expectation.checks(topology) if one.port is not None and one.expected == 200]
    found = [{(need.kind, need.service) for need in needing.needs(topology, one)} for one in cells]

    assert found
    assert all(any(kind == "server" and service for kind, service in needs) for needs in found)


class Desk:
    """A lab with certificates that were issued at a moment of choice."""

    def __init__(self, folder: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.file = LABS / f"{name}.yaml"
        self.out = folder / "compose"
        self.lab = Lab(load(self.file), self.out)
        self.capsys = capsys
        certificates.issue(self.lab)

    def at(self, when: str, *more: str) -> tuple[int, dict[str, Any]]:
        code = cli.main(["check", "--at", when, str(self.file), "--out", str(self.out), "--json", *more])
        return code, json.loads(self.capsys.readouterr().out)

    def read(self, when: str, *more: str) -> tuple[int, str, str]:
        code = cli.main(["check", "--at", when, str(self.file), "--out", str(self.out), *more])
        captured = self.capsys.readouterr()
        return code, captured.out, captured.err


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, "two-host", capsys)


def ended(told: dict[str, Any]) -> set[tuple[str, str]]:
    return {(one["kind"], one["name"]) for one in told["endings"]}


def changes(told: dict[str, Any], kind: str, name: str) -> set[tuple[str, ...]]:
    (found,) = (one for one in told["endings"] if (one["kind"], one["name"]) == (kind, name))
    return {tuple(str(one[key]) for key in ("host", "route", "caller", "expected", "then")) for one in found["changes"]}


def test_nothing_breaks_as_long_as_nothing_ends(desk: Desk) -> None:
    code, told = desk.at("+29d")

    assert (code, told["breaks"], told["endings"]) == (0, False, [])


def test_lists_end_first_and_take_everybody_who_shows_a_certificate_along(desk: Desk) -> None:
    code, told = desk.at("+31d")

    assert (code, told["breaks"]) == (1, True)
    assert ended(told) == {("crl", "server_ca"), ("crl", "ssl_ca")}
    by_server_ca = changes(told, "crl", "server_ca")
    assert ("server", "/boot/", "bro", "200", "400") in by_server_ca
    assert ("client", "/mtls/", "none", "200", "400") in by_server_ca
    assert not [one for one in by_server_ca if one[:3] == ("server", "/boot/", "none")]
    assert {one[4] for one in changes(told, "crl", "ssl_ca")} == {"502"}


def test_after_ninety_days_every_leaf_has_ended(desk: Desk) -> None:
    told = desk.at("+91d")[1]

    assert ended(told) >= {("identity", "bro"), ("server", "server"), ("server", "client")}
    assert ("client", "/node/", "none", "200", UNTRUSTED) in changes(told, "server", "client")
    assert ("client", "/mtls/", "none", "200", "502") in changes(told, "server", "server")
    assert not [one for one in told["endings"] if one["kind"] == "authority"]


def test_an_authority_takes_all_below_it_along(desk: Desk) -> None:
    told = desk.at("+3700d")[1]

    assert {one[4] for one in changes(told, "authority", "ssl_ca")} == {UNTRUSTED}
    assert ("server", "/mtls/", "bro", "200", "400") in changes(told, "authority", "server_ca")


def test_it_says_since_when_up_renews(desk: Desk) -> None:
    told = desk.at("+91d")[1]
    for one in told["endings"]:
        ends, renewed = (datetime.fromisoformat(one[key]) for key in ("ends", "renewed_from"))
        assert ends - renewed >= timedelta(days=10 if one["kind"] == "crl" else 30)


def test_what_up_would_do_at_that_moment_is_what_is_said(desk: Desk) -> None:
    """Issuing at the moment named changes what is said to be renewed by then, and nothing else."""
    from topology.generation import certificates as generation
    from topology.generation import planning
    from topology.runtime import stacks

    wanted = planning.wanted_certificates(desk.lab.description)
    files = stacks.read_certificates(desk.lab)
    entries = certificates.look(desk.lab, datetime.now(UTC))
    for entry in entries:
        assert entry.renewal is not None
        for moment, kept in ((entry.renewal, True), (entry.renewal + timedelta(seconds=1), False)):
            issued = generation.issue(wanted, files, moment, stacks.layout(desk.lab)).files
            assert (issued[entry.path] == files[entry.path]) is kept, entry


def test_people_read_a_table_and_the_sum(desk: Desk) -> None:
    code, out, err = desk.read("+31d")

    assert code == 1
    assert "revocation list" in out
    assert "everyone" in out
    assert err.endswith("`mtls-lab up` in time renews all\n")
    code, out, err = desk.read("+1d")
    assert (code, err) == (0, "")
    assert out.startswith("nothing breaks by ")


def test_some_cells_can_be_looked_at_alone(desk: Desk) -> None:
    assert desk.at("+31d", "--only", "server /boot/ none*")[0] == 0
    assert desk.at("+31d", "--only", "server /boot/ bro 200*")[0] == 1


def test_what_somebody_else_issued_is_not_renewed_by_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours = issuing.new_key("ecdsa-p256")
    now = datetime.now(UTC)
    root = issuing.Issuer(issuing.issue_root(issuing.authority_name("theirs", "theirs"), ours, days=900, now=now), ours)
    given = forging.forged(root, "us", ["us@lab.test"], start=now - timedelta(days=1), end=now + timedelta(days=20))
    (tmp_path / "theirs.pem").write_bytes(issuing.certificate_pem(root.certificate))
    (tmp_path / "us.pem").write_bytes(given.certificate_pem())
    (tmp_path / "us.key").write_bytes(given.key_pem())
    file = tmp_path / "topology.yaml"
    file.write_text("""
name: partners
authorities:
  ours: {}
  theirs: {certificate: theirs.pem}
identities:
  us: {certificate: us.pem, key_file: us.key}
hosts:
  web:
    domain: web.partners.test
    routes:
      /partner/: {url: "https://api.partner.test/", trust: theirs, identity: us, lends: everyone}
""")
    lab = Lab(load(file), tmp_path / "compose")
    certificates.issue(lab)

    code = cli.main(["check", "--at", "+25d", str(file), "--out", str(tmp_path / "compose")])
    captured = capsys.readouterr()

    assert code == 1
    assert "no: issued by" in captured.out
    assert "renews all but identity us" in captured.err
    assert "somebody else has to renew it (issued by somebody else)" in ahead(lab).holds


def test_up_and_status_say_until_when_a_lab_holds(desk: Desk) -> None:
    told = ahead(desk.lab)

    assert told.until is not None
    assert (told.until - datetime.now(UTC)).days == 29
    assert told.holds.startswith("holds for 29 days, until ")
    assert "`mtls-lab up` renews it from " in told.holds
    assert told.lines == (told.holds,)
    assert set(told.as_json()) == {"certificates", "holds_until"}


def test_a_lab_that_broke_already_says_so(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + timedelta(days=31)

    monkeypatch.setattr("topology.commands.lab.datetime", Later)

    assert ahead(desk.lab).holds.startswith("broken since ")
    assert ahead(desk.lab).holds.endswith("`mtls-lab up` renews it")
    assert len(ahead(desk.lab).warnings) == 2


def test_a_lab_without_certificates_has_to_get_some_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = LABS / "two-host.yaml"

    assert cli.main(["check", "--at", "+1d", str(file), "--out", str(tmp_path)]) == 4
    assert "`mtls-lab up` issues what is missing" in capsys.readouterr().err


MOMENTS = [
    ("+90d", NOW + timedelta(days=90)),
    ("12h", NOW + timedelta(hours=12)),
    ("+6w", NOW + timedelta(weeks=6)),
    ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
    ("2026-01-31T12:00:00+02:00", datetime(2026, 1, 31, 10, tzinfo=UTC)),
]


@pytest.mark.parametrize(("text", "expected"), MOMENTS)
def test_a_moment_is_a_span_or_a_date(text: str, expected: datetime) -> None:
    assert moment_to_come(text, NOW) == expected


def test_a_date_without_a_zone_is_the_caller_s_own() -> None:
    assert moment_to_come("2026-01-31", NOW) == datetime(2026, 1, 31).astimezone()


@pytest.mark.parametrize(
    "text",
    ["soon", "", "+90", "+90m", "-3d", "2025-12-31", "2026-13-01", "+99999999d", "\u0663d", "+\u0669\u0660d"],
)
def test_any_other_moment_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="--at"):
        moment_to_come(text, NOW)


@pytest.mark.parametrize("more", [["--all"], ["--junit", "x.xml"]])
def test_what_does_not_go_together_is_refused(more: Iterable[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "--at", "+1d", str(LABS / "two-host.yaml"), *more]) == 2
    assert "--at" in capsys.readouterr().err
