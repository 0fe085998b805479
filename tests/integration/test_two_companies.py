"""A hospital and a finance company: each asks the other, as whom the other knows it, and nobody else gets in."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from tests.integration.conftest import ask, eventually, whoami
from topology.pytest_plugin import TestedLab

pytestmark = pytest.mark.integration

COMPANIES = {"hospital": "billing", "finance": "payments"}
GUEST = {"hospital": "finance-at-hospital", "finance": "hospital-at-finance"}
"""Company -> whom it lets in."""

BOTH = pytest.mark.parametrize(("company", "other"), [("hospital", "finance"), ("finance", "hospital")])


def asked_from_within(tested: TestedLab, company: str, path: str, **headers: str) -> tuple[int, Any]:
    """What a company's application gets when it asks its own gateway for a path: status and JSON, or text."""
    script = (
        "import httpx, json, os, sys\n"
        "answer = httpx.get(os.environ['GATEWAY_URL'] + sys.argv[1], headers=json.loads(sys.argv[2]))\n"
        "print(answer.status_code, answer.text)\n"
    )
    command = ["venv/bin/python", "-c", script, path, json.dumps(headers)]
    said, complained, code = tested.hosts[company].exec_in_container(command, COMPANIES[company])
    assert code == 0, complained
    status, text = said.split(" ", 1)
    return int(status), json.loads(text) if text.startswith("{") else text


# What they have to do with each other


def test_finance_reads_a_patient_s_bills(two_companies: TestedLab) -> None:
    """Its application asks its own gateway, holds no certificate, and gets what lies with the hospital."""
    status, bills = asked_from_within(two_companies, "finance", "/hospital/bills/anna-berg")

    assert status == 200
    assert [(bill["number"], bill["amount"]) for bill in bills["bills"]] == [
        ("B-1001", 12550),
        ("B-1002", 4999),
        ("B-1003", 1001),
    ]


def test_the_hospital_asks_whether_a_bill_is_paid(two_companies: TestedLab) -> None:
    for number, paid_on in (("B-1001", "2025-03-14"), ("B-1003", None)):
        status, payment = asked_from_within(two_companies, "hospital", f"/finance/payments/{number}")

        assert status == 200
        assert payment == {"number": number, "paid": paid_on is not None, "paid_on": paid_on}


def test_what_is_due_is_made_of_the_bills_of_one_and_the_payments_of_the_other(two_companies: TestedLab) -> None:
    """hospital's question -> finance -> hospital's bills: both gateways, both ways, in one request."""
    status, due = asked_from_within(two_companies, "hospital", "/finance/due/anna-berg")

    assert status == 200
    assert [bill["number"] for bill in due["unpaid"]] == ["B-1002", "B-1003"]
    assert due["sum"] == {"EUR": 6000}


def test_a_payment_is_seen_by_the_hospital_at_once(two_companies: TestedLab) -> None:
    """The hospital's own page about a bill asks the finance company."""
    page = "/hospital/bills/jonas-weber/B-1005/paid"
    assert asked_from_within(two_companies, "finance", page) == (
        200,
        {"number": "B-1005", "paid": False, "paid_on": None},
    )

    paid = {"paid_on": "2025-04-01"}
    answer = ask(two_companies, "finance", "/finance/payments/B-1005", GUEST["finance"], method="POST", json=paid)
    assert answer.status_code == 200

    assert asked_from_within(two_companies, "finance", page)[1] == {"number": "B-1005", "paid": True, **paid}


def test_what_one_does_not_know_is_404_at_the_other(two_companies: TestedLab) -> None:
    assert asked_from_within(two_companies, "finance", "/hospital/bills/nobody")[0] == 404
    assert asked_from_within(two_companies, "hospital", "/finance/due/nobody")[0] == 404


def test_one_request_id_goes_through_both_companies_and_back(two_companies: TestedLab) -> None:
    """hospital's application -> its gateway -> finance's gateway and application -> its gateway -> hospital's."""
    request_id = str(uuid.uuid4())
    asked_from_within(two_companies, "hospital", "/finance/due/anna-berg", **{"X-Request-ID": request_id})

    passed = {
        company: [
            (line["listener"], line["uri"], line["client_subject"])
            for line in lines_of(two_companies, company, request_id)
        ]
        for company in COMPANIES
    }
    assert sorted(passed["hospital"]) == [
        ("https", "/hospital/bills/anna-berg", "CN=finance-at-hospital"),
        ("inside", "/finance/due/anna-berg", ""),
    ]
    assert sorted(passed["finance"]) == [
        ("https", "/finance/due/anna-berg", "CN=hospital-at-finance"),
        ("inside", "/hospital/bills/anna-berg", ""),
    ]


def lines_of(tested: TestedLab, company: str, request_id: str) -> list[dict[str, Any]]:
    """A gateway's access log of one request, which passes it once in each direction."""
    found: list[dict[str, Any]] = []

    def written() -> bool:
        log = tested.hosts[company].get_logs("gateway")[0]
        told = [line for line in log.splitlines() if request_id in line and '{"time"' in line]
        found[:] = [json.loads(line[line.index("{") :]) for line in told]
        return len(found) == 2

    eventually(written)
    return found


# Who gets in


@BOTH
def test_each_knows_the_other_by_a_certificate_that_it_issued_itself(
    two_companies: TestedLab, company: str, other: str
) -> None:
    status, seen = asked_from_within(two_companies, other, f"/{company}/whoami")

    assert status == 200
    assert seen["headers"]["x-ssl-client-s-dn"] == f"CN={GUEST[company]}"
    assert seen["headers"]["x-ssl-client-i-dn"] == f"CN={company}_ca,O=two-companies"


@BOTH
@pytest.mark.parametrize("tls", ["1.2", "1.3"])
def test_an_identity_is_worth_nothing_at_the_other_company(
    two_companies: TestedLab, company: str, other: str, tls: str
) -> None:
    """Who finance is at the hospital is nobody at finance: its own authority alone says who gets in."""
    own = f"/{company}/health"
    assert ask(two_companies, company, own, GUEST[company], tls=tls).status_code == 200
    assert ask(two_companies, company, own, GUEST[other], tls=tls).status_code == 400


@BOTH
@pytest.mark.parametrize("tls", ["1.2", "1.3"])
def test_a_third_company_is_refused(two_companies: TestedLab, company: str, other: str, tls: str) -> None:
    """Its certificate is good, of an authority of its own; it shows it at every door, the index page included."""
    for path in (f"/{company}/bills/anna-berg", f"/{other}/health", "/"):
        answer = ask(two_companies, company, path, "stranger", tls=tls)

        assert answer.status_code == 400
        assert "The SSL certificate error" in answer.text


@BOTH
def test_nobody_gets_in_without_a_certificate(two_companies: TestedLab, company: str, other: str) -> None:
    assert ask(two_companies, company, f"/{company}/health").status_code == 403


@BOTH
def test_nobody_from_outside_uses_a_company_s_way_to_the_other(
    two_companies: TestedLab, company: str, other: str
) -> None:
    """The route that attaches the identity is for the company's own applications, whoever else is let in."""
    for caller in (None, GUEST[company]):
        assert ask(two_companies, company, f"/{other}/health", caller).status_code == 403
    assert asked_from_within(two_companies, company, f"/{other}/health")[0] == 200


@BOTH
def test_no_company_hands_the_other_s_headers_on_as_its_own(two_companies: TestedLab, company: str, other: str) -> None:
    """What a caller says of a certificate is replaced on the way in."""
    forged = {"X-SSL-Client-S-DN": "CN=director", "X-SSL-Client-Verify": "SUCCESS"}
    seen = whoami(two_companies, company, f"/{company}/", GUEST[company], headers=forged)["headers"]

    assert seen["x-ssl-client-s-dn"] == f"CN={GUEST[company]}"


# Keys


@pytest.mark.parametrize("service", ["gateway", "application"])
@BOTH
def test_a_key_lies_with_its_owner_alone(two_companies: TestedLab, company: str, other: str, service: str) -> None:
    """Looked for by its content, in every file: a gateway has its own company's key for the other, and no more."""
    running = two_companies.running
    keys = {name: running.identities / name / "key.pem" for name in (*GUEST.values(), "stranger")} | {
        name: running.authorities / name / "key.pem"
        for name in ("server_ca", "hospital_ca", "finance_ca", "stranger_ca")
    }
    found = {
        name
        for name, file in keys.items()
        if holds(two_companies, company, COMPANIES[company] if service == "application" else service, file.read_text())
    }

    assert found == ({GUEST[other]} if service == "gateway" else set())


def holds(tested: TestedLab, host: str, service: str, key: str) -> bool:
    """Whether any file of a container holds a key (a line of its content that no other key shares)."""
    wanted = key.splitlines()[2]
    command = ["grep", "--recursive", "--devices=skip", "--files-with-matches", "--fixed-strings", "--no-messages",
               "--exclude-dir=proc", "--exclude-dir=sys", "--regexp", wanted, "/"]  # fmt: skip
    said = tested.hosts[host].exec_in_container(command, service)[0]
    return bool(said.strip())
