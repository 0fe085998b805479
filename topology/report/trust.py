"""What is about to change in the trust stores of this machine, and what has changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from topology.machine.labels import Anchor
from topology.machine.trust import Plan
from topology.report.addresses import shown

RISK = """\
Whoever has the key of an authority that this machine trusts can pose as any website towards it.
The lab's lies unencrypted in {keys}; `mtls-lab trust uninstall` takes the trust back.
"""

BY_HAND = """\
# Firefox: Settings, Privacy & Security, View Certificates, Authorities, Import; trust it for websites
# Windows, for the current user: certutil -user -addstore Root FILE
# macOS: security add-trusted-cert -d -r trustRoot -p ssl -k /Library/Keychains/System.keychain FILE
# curl: --cacert FILE; Python: SSL_CERT_FILE=FILE; Node.js: NODE_EXTRA_CA_CERTS=FILE
"""


def proposal(plans: Sequence[Plan]) -> str:
    """What is about to be done, entry by entry, and what it means."""
    lines = ["About to change what this machine trusts:", ""]
    for plan in plans:
        if plan.changes:
            lines.append(f"  {plan.store.kind} {plan.store.place}")
            lines += [f"    {line}" for line in entries(plan, "remove", "add")]
    lines.append("")
    keys = dict.fromkeys(shown(anchor.key) for plan in plans for anchor in plan.add if anchor.key)
    risk = RISK.format(keys=", ".join(keys)) if keys else ""
    return "\n".join(lines) + "\n" + risk


def done(plan: Plan) -> str:
    """What was done in one store."""
    return "\n".join(f"{plan.store.kind} {plan.store.place}: {line}" for line in entries(plan, "removed", "added"))


def entries(plan: Plan, removed: str, added: str) -> Iterator[str]:
    yield from (f"{removed} {label}" for label in plan.remove)
    yield from (f"{added} {anchor.label}: {described(anchor)}" for anchor in plan.add)


def described(anchor: Anchor) -> str:
    certificate = anchor.certificate
    return f"{certificate.subject.rfc4514_string()}, until {certificate.not_valid_after_utc:%Y-%m-%d}"


def unchanged(plan: Plan) -> str:
    """What was there already; for a store that holds nothing of the lab, that."""
    if not plan.there:
        return f"{plan.store.kind} {plan.store.place}: nothing of this lab is there"
    return "\n".join(
        f"{plan.store.kind} {plan.store.place}: {anchor.label} is there already"
        + ("" if name == str(anchor.label) else f", as {name}")
        for anchor, name in plan.there
    )


def as_json(plans: Sequence[Plan]) -> list[dict[str, str]]:
    """One object for each entry: what became of it, where, and what it is called there."""
    found = []
    for plan in plans:
        where = {"store": plan.store.kind, "place": plan.store.place}
        steps = [("removed", str(label), label.authority) for label in plan.remove]
        steps += [("added", str(anchor.label), anchor.label.authority) for anchor in plan.add]
        steps += [("unchanged", name, anchor.label.authority) for anchor, name in plan.there]
        found += [where | {"action": a, "entry": entry, "authority": authority} for a, entry, authority in steps]
    return found
