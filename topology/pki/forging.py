"""Every kind of bad certificate that a caller could show, for the proof.

Each forger is given the real authority that signs, and the names of the identity that it imitates; the result differs
from a good certificate in the one respect that its docstring says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from cryptography import x509

from topology.pki import issuing
from topology.pki.issuing import BACKDATED, CLIENT_AUTH, SERVER_AUTH, Credential, Issuer, PrivateKey

LIFE = timedelta(days=30)

Forger = Callable[[Issuer, str, Sequence[str], datetime], Credential]
"""(the real authority, common name, subject alternative names, now) -> what the caller shows."""


def expired(authority: Issuer, common_name: str, san: Sequence[str], now: datetime) -> Credential:
    """Its last day has passed."""
    return forged(authority, common_name, san, start=now - LIFE, end=now - BACKDATED)


def not_yet_valid(authority: Issuer, common_name: str, san: Sequence[str], now: datetime) -> Credential:
    """Its first day has not come."""
    return forged(authority, common_name, san, start=now + timedelta(days=1), end=now + LIFE)


def revoked(authority: Issuer, common_name: str, san: Sequence[str], now: datetime) -> Credential:
    """Its serial stands on the authority's revocation list."""
    serial = issuing.reserved_revoked_serial(authority.certificate)
    return forged(authority, common_name, san, start=now - BACKDATED, end=now + LIFE, serial=serial)


def self_signed(authority: Issuer, common_name: str, san: Sequence[str], now: datetime) -> Credential:
    """Nobody but its own key vouches for it."""
    key = issuing.new_key("ecdsa-p256")
    name = issuing.client_subject(common_name)
    # Only name and key identifier of this stand-in are read: the leaf names itself as its issuer.
    own = Issuer(issuing.issue_root(name, key, days=1, now=now), key)
    return forged(own, common_name, san, start=now - BACKDATED, end=now + LIFE, key=key)


def other_authority(authority: Issuer, common_name: str, san: Sequence[str], now: datetime) -> Credential:
    """An authority signed it that nobody here knows."""
    return forged(stranger(now), common_name, san, start=now - BACKDATED, end=now + LIFE)


def wrong_purpose(authority: Issuer, common_name: str, san: Sequence[str], now: datetime) -> Credential:
    """It is for servers."""
    return forged(authority, common_name, san, start=now - BACKDATED, end=now + LIFE, purpose=SERVER_AUTH)


def genuine(authority: Issuer, common_name: str, san: Sequence[str], now: datetime) -> Credential:
    """Nothing is wrong with it but that this authority did not give the name to that caller."""
    return forged(authority, common_name, san, start=now - BACKDATED, end=now + LIFE)


FORGERS: Mapping[str, Forger] = {
    "expired": expired,
    "not-yet-valid": not_yet_valid,
    "revoked": revoked,
    "self-signed": self_signed,
    "other-authority": other_authority,
    "wrong-purpose": wrong_purpose,
}
"""What is wrong with a certificate -> who makes one."""


def stranger(now: datetime) -> Issuer:
    key = issuing.new_key("ecdsa-p256")
    return Issuer(issuing.issue_root(issuing.authority_name("stranger", "stranger"), key, days=90, now=now), key)


def forged(
    issuer: Issuer,
    common_name: str,
    san: Sequence[str],
    *,
    start: datetime,
    end: datetime,
    key: PrivateKey | None = None,
    purpose: x509.ObjectIdentifier = CLIENT_AUTH,
    serial: int | None = None,
) -> Credential:
    key = key or issuing.new_key("ecdsa-p256")
    names = [issuing.general_name(text) for text in san]
    builder = issuing.leaf_builder(issuing.client_subject(common_name), names, key.public_key(), issuer, purpose)
    return Credential(issuing.sign(builder, issuer.key, start=start, end=end, serial=serial), key, issuer.chain)
