"""What a service saw of a caller, against what was verified.

Sample services tell it at `/whoami`, as JSON with the headers that reached them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

FORGED = "forged-by-the-caller"
"""Stands in every value that a forging request makes up, so that it is known again."""

PLAIN_NAME = re.compile(r"[A-Za-z0-9_.@-]+")
"""Common names that stand in a distinguished name as they are."""

FACTS = ("x-ssl-client-s-dn", "x-ssl-client-i-dn", "x-ssl-client-serial", "x-ssl-client-fingerprint")


@dataclass(frozen=True)
class Truth:
    """What a service may see.  prefix: of the route that the request came through; exact: no gateway adds to it.

    verified: whether its own gateway verified a certificate; name: the common name there, None where it is not known.
    """

    prefix: str
    exact: bool
    verified: bool
    name: str | None


def statement(body: bytes) -> Mapping[str, str] | None:
    """The headers that a service saw, by lower-case name; None where the body is no answer of `/whoami`."""
    try:
        told = json.loads(body)
    except ValueError:
        return None
    if not isinstance(told, dict) or not isinstance(told.get("headers"), dict) or "service" not in told:
        return None
    return {str(name).lower(): str(value) for name, value in told["headers"].items()}


def lie(headers: Mapping[str, str], truth: Truth) -> str:
    """What is not true of what a service saw, in words; empty where all is."""
    for name, value in headers.items():
        if FORGED in value:
            return f"the service saw a forged {name}"
    if (upgrade := headers.get("upgrade", "")).lower() not in ("", "websocket"):
        return f"the service saw an upgrade to {upgrade}"
    alike = {name: value for name, value in headers.items() if name.replace("_", "-") == "x-ssl-client-verify"}
    wanted = "SUCCESS" if truth.verified else "NONE"
    if alike != {"x-ssl-client-verify": wanted}:
        return f"the service saw {alike or 'no x-ssl-client-verify'} in the place of {wanted}"
    for fact in FACTS:
        if (fact in headers) != truth.verified:
            return f"the service saw {'a' if fact in headers else 'no'} {fact}"
    subject = headers.get("x-ssl-client-s-dn", "")
    if truth.verified and truth.name is not None and PLAIN_NAME.fullmatch(truth.name) and subject != f"CN={truth.name}":
        return f"the service saw {subject} in the place of CN={truth.name}"
    return through(headers.get("x-forwarded-prefix", ""), truth)


def through(prefix: str, truth: Truth) -> str:
    """Whether the request came by the route by which it should, as the gateway's own word for it says."""
    if prefix == truth.prefix or (not truth.exact and prefix.startswith(f"{truth.prefix}/")):
        return ""
    return f"the service was reached through {prefix or '/'} in the place of {truth.prefix or '/'}"
