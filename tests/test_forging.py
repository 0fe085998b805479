"""Bad certificates are bad in the one way that they say, and a good one beside them is good."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tests import chains, judging
from tests.chains import AUTHORITY, NOW
from topology.pki import forging

COMPLAINTS = {
    "expired": "certificate has expired",
    "not-yet-valid": "certificate is not yet valid",
    "revoked": "certificate revoked",
    "self-signed": "self-signed certificate",
    "other-authority": "unable to get local issuer certificate",
    "wrong-purpose": "unsuitable certificate purpose",
}


@pytest.mark.parametrize("kind", sorted(forging.FORGERS))
def test_each_bad_certificate_is_refused_for_its_own_reason(tmp_path: Path, kind: str) -> None:
    """OpenSSL names the flaw, and none but that."""
    complaint = judging.openssl(chains.forged(forging.FORGERS[kind]), tmp_path)

    errors = [line for line in complaint.splitlines() if " depth lookup: " in line]
    assert len(errors) == (2 if kind == "self-signed" else 1), complaint  # its own "authority" has no CRL, either
    assert COMPLAINTS[kind] in errors[0]


def test_a_genuine_one_is_accepted(tmp_path: Path) -> None:
    """Made by the same steps, without a flaw: what is refused above is refused for its flaw."""
    assert judging.openssl(chains.forged(forging.genuine), tmp_path) == ""


def test_the_expired_one_was_good_yesterday() -> None:
    certificate = forging.expired(AUTHORITY, "bro", ["bro@lab.test"], NOW).certificate

    assert certificate.not_valid_before_utc < NOW - timedelta(days=1) < certificate.not_valid_after_utc < NOW
