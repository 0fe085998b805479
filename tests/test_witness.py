"""What a service may see of a caller: each lie is found, and no truth is taken for one."""

from __future__ import annotations

import json

import pytest

from topology.proof.witness import FORGED, Truth, lie, statement

NOBODY = Truth("/known", True, False, None)
ALICE = Truth("/known", True, True, "alice")
FAR = Truth("/partner", False, True, "alice")

SEEN_OF_NOBODY = {"x-ssl-client-verify": "NONE", "x-forwarded-prefix": "/known", "host": "vault.modes.test"}
SEEN_OF_ALICE = {
    "x-ssl-client-verify": "SUCCESS", "x-ssl-client-s-dn": "CN=alice", "x-ssl-client-i-dn": "CN=partners",
    "x-ssl-client-serial": "01", "x-ssl-client-fingerprint": "ab", "x-forwarded-prefix": "/known",
}  # fmt: skip


@pytest.mark.parametrize(
    ("seen", "truth"),
    [
        (SEEN_OF_NOBODY, NOBODY),
        (SEEN_OF_ALICE, ALICE),
        ({**SEEN_OF_ALICE, "x-forwarded-prefix": "/partner/known"}, FAR),
        ({**SEEN_OF_ALICE, "x-ssl-client-s-dn": "CN=a\\,b"}, Truth("/known", True, True, "a,b")),
        ({**SEEN_OF_ALICE, "x-ssl-client-s-dn": "CN=whoever"}, Truth("/known", True, True, None)),
        ({**SEEN_OF_NOBODY, "x-forwarded-prefix": ""}, Truth("", True, False, None)),
    ],
)
def test_the_truth_is_no_lie(seen: dict[str, str], truth: Truth) -> None:
    assert lie(seen, truth) == ""


@pytest.mark.parametrize(
    ("seen", "truth", "told"),
    [
        ({**SEEN_OF_NOBODY, "x-ssl-client-verify": "SUCCESS"}, NOBODY, "in the place of NONE"),
        ({**SEEN_OF_NOBODY, "x-ssl-client-verify": "NONE, SUCCESS"}, NOBODY, "in the place of NONE"),
        ({**SEEN_OF_NOBODY, "x_ssl_client_verify": "SUCCESS"}, NOBODY, "in the place of NONE"),
        ({**SEEN_OF_NOBODY, "x-ssl_client-verify": "SUCCESS"}, NOBODY, "in the place of NONE"),
        ({"x-forwarded-prefix": "/known"}, NOBODY, "no x-ssl-client-verify"),
        ({**SEEN_OF_NOBODY, "x-ssl-client-s-dn": "CN=bro"}, NOBODY, "a x-ssl-client-s-dn"),
        ({**SEEN_OF_NOBODY, "x-ssl-client-serial": "01"}, NOBODY, "a x-ssl-client-serial"),
        ({**SEEN_OF_NOBODY, "client-cert": f":{FORGED}:"}, NOBODY, "forged client-cert"),
        ({**SEEN_OF_NOBODY, "x-forwarded-for": f"10.0.0.1, {FORGED}"}, NOBODY, "forged x-forwarded-for"),
        ({**SEEN_OF_NOBODY, "x-forwarded-prefix": "/open"}, NOBODY, "through /open in the place of /known"),
        ({**SEEN_OF_NOBODY, "x-forwarded-prefix": "/known/alice"}, NOBODY, "through /known/alice"),
        (SEEN_OF_NOBODY, ALICE, "in the place of SUCCESS"),
        ({**SEEN_OF_ALICE, "x-ssl-client-s-dn": "CN=bob"}, ALICE, "CN=bob in the place of CN=alice"),
        ({**SEEN_OF_ALICE, "x-ssl-client-s-dn": "CN=Alice"}, ALICE, "CN=Alice in the place of CN=alice"),
        ({n: v for n, v in SEEN_OF_ALICE.items() if n != "x-ssl-client-i-dn"}, ALICE, "no x-ssl-client-i-dn"),
        ({**SEEN_OF_ALICE, "x-forwarded-prefix": "/partners"}, FAR, "through /partners in the place of /partner"),
    ],
)
def test_a_lie_is_found(seen: dict[str, str], truth: Truth, told: str) -> None:
    assert told in lie(seen, truth)


def test_names_of_headers_are_compared_without_case() -> None:
    body = json.dumps({"service": "node", "headers": {"X-SSL-Client-Verify": "NONE"}}).encode()

    assert statement(body) == {"x-ssl-client-verify": "NONE"}


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"status": "ok", "service": "node"}', b'{"headers": []}', b"\xff"]
)
def test_other_answers_are_no_testimony(body: bytes) -> None:
    """A service without `/whoami` is judged by its answers alone."""
    assert statement(body) is None
