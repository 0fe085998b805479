"""What certificates and revocation lists a lab has, and how they are: read off its files, nothing is made."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from cryptography import x509

from topology.generation.certificates import (
    DEFAULT_LAYOUT,
    LEFT_BEFORE_RENEWAL,
    Layout,
    Wanted,
    crl_has_life_left,
    crl_renewal,
    has_life_left,
    names_of,
    read_certificates,
    read_crls,
    read_key,
    renewal_of,
    same_key,
    service_folder,
    signed_folder,
)
from topology.pki import issuing, requests

Kind = Literal["authority", "identity", "server", "crl"]

OK = "ok"
DUE = "due for renewal"
EXPIRED = "expired"
NOT_YET = "not yet valid"
REVOKED = "revoked"
MISSING = "missing"
UNREADABLE = "unreadable"
BROKEN = "broken"
"""An authority without the key or the certificate that belongs to it: nothing is issued until somebody decides."""

ELSEWHERE = "held elsewhere"
"""In the place of a service: the certificate of a key that is not here, and that no container here shows."""

Revoked = frozenset[tuple[x509.Name, int]]
"""Issuer and serial of all that stands on a revocation list."""


@dataclass(frozen=True)
class Entry:
    """One certificate or revocation list.

    name: of the authority, identity or host in the topology; path: below the lab's folder; start, end: None where
    there is nothing to read; state: one of this module's words; note: what else a reader should know; service: of a
    host's service with a certificate of its own, or ELSEWHERE; renewal: since when `up` makes a new one by itself, None
    where somebody else has to.
    """

    kind: Kind
    name: str
    path: str
    state: str
    subject: str = ""
    san: tuple[str, ...] = ()
    issuer: str = ""
    serial: str = ""
    start: datetime | None = None
    end: datetime | None = None
    note: str = ""
    service: str = ""
    renewal: datetime | None = None

    def days_left(self, now: datetime) -> int | None:
        """Whole days; negative after the end."""
        return None if self.end is None else (self.end - now) // timedelta(days=1)


def inventory(
    wanted: Wanted, existing: Mapping[str, bytes], now: datetime, layout: Layout = DEFAULT_LAYOUT
) -> tuple[Entry, ...]:
    """All that a topology asks for, there or missing, and what else its authorities' folders hold.

    existing: path below the lab's folder -> content.
    """
    files = {**existing, **given_files(wanted, layout)}
    revoked = frozenset(
        (one.issuer, entry.serial_number) for path, text in files.items() if path.endswith("crl.pem")
        for one in read_crls(text) for entry in one
    )  # fmt: skip
    return (
        *authorities(wanted, files, now, layout, revoked),
        *identities(wanted, files, now, layout, revoked),
        *servers(wanted, files, now, layout, revoked),
        *crls(wanted, files, now, layout),
    )


def given_files(wanted: Wanted, layout: Layout) -> dict[str, bytes]:
    """What comes from the author's files is the author's: the lab's copy may be older."""
    found = {}
    for authority in wanted.given_authorities:
        found[f"{layout.authorities}/{authority.name}/certificate.pem"] = authority.certificate
        if authority.crl:
            found[f"{layout.authorities}/{authority.name}/crl.pem"] = authority.crl
    for identity in wanted.given_identities:
        found[f"{layout.identities}/{identity.name}/certificate.pem"] = identity.certificate
    return found


def authorities(
    wanted: Wanted, files: Mapping[str, bytes], now: datetime, layout: Layout, revoked: Revoked
) -> Iterator[Entry]:
    for ours in wanted.authorities:
        folder = f"{layout.authorities}/{ours.name}"
        names = ["certificate", *(["intermediate"] if ours.intermediate else [])]
        keys = {"certificate": "key.pem", "intermediate": "intermediate-key.pem"}
        for name in names:
            wrong = broken(files.get(f"{folder}/{name}.pem"), files.get(f"{folder}/{keys[name]}"))
            path = f"{folder}/{name}.pem"
            entry = certificate("authority", ours.name, path, files, now, revoked, wrong, renewed=not wrong)
            yield replace(entry, state=BROKEN) if wrong else entry
    for theirs in wanted.given_authorities:
        path = f"{layout.authorities}/{theirs.name}/certificate.pem"
        for n in range(max(1, len(read_certificates(theirs.certificate)))):
            yield certificate("authority", theirs.name, path, files, now, revoked, "somebody else's", position=n)
    known = {one.name for one in wanted.authorities} | {one.name for one in wanted.given_authorities}
    left = re.compile(rf"{re.escape(layout.authorities)}/([^/]+)/certificate\.pem")
    for path in sorted(files):
        if (found := left.fullmatch(path)) and found[1] not in known:
            yield certificate("authority", found[1], path, files, now, revoked, "left the topology")


def broken(certificate: bytes | None, key: bytes | None) -> str:
    """What is wrong between an authority's certificate and its key; empty where one of them has to be read first."""
    if certificate is None:
        return "" if key is None else "its certificate is gone, its key is there"
    if key is None:
        return "its key is gone"
    chain, private = read_certificates(certificate), read_key(key)
    if private is None:
        return "its key cannot be read"
    return "the key beside it is another's" if chain and not same_key(chain[0], private) else ""


def identities(
    wanted: Wanted, files: Mapping[str, bytes], now: datetime, layout: Layout, revoked: Revoked
) -> Iterator[Entry]:
    for one in wanted.identities:
        folder = f"{layout.identities}/{one.name}"
        note = "key held elsewhere" if f"{folder}/request.pem" in files else ""
        path = f"{folder}/certificate.pem"
        entry = certificate("identity", one.name, path, files, now, revoked, note, renewed=True)
        if one.revoked and entry.state in (OK, DUE):
            entry = replace(entry, state=REVOKED, note="the list that says so is not issued yet")
        yield entry
    for theirs in wanted.given_identities:
        path = f"{layout.identities}/{theirs.name}/certificate.pem"
        yield certificate("identity", theirs.name, path, files, now, revoked, "issued by somebody else")


def servers(
    wanted: Wanted, files: Mapping[str, bytes], now: datetime, layout: Layout, revoked: Revoked
) -> Iterator[Entry]:
    for one in wanted.servers:
        folder = f"{one.host}/{layout.certificates}"
        note = ""
        if one.service is not None:
            folder, note = service_folder(layout, one.host, one.service), f"service {one.service}"
        path = f"{folder}/server.pem"
        yield certificate("server", one.host, path, files, now, revoked, note, service=one.service or "", renewed=True)
    for authority in wanted.authorities:
        folder = f"{signed_folder(layout, authority.name)}/"
        for path in sorted(path for path in files if path.startswith(folder)):
            host = path.removeprefix(folder).rpartition("-")[0]
            yield certificate("server", host, path, files, now, revoked, "key held elsewhere", service=ELSEWHERE)


def certificate(
    kind: Kind,
    name: str,
    path: str,
    files: Mapping[str, bytes],
    now: datetime,
    revoked: Revoked,
    note: str = "",
    position: int = 0,
    *,
    service: str = "",
    renewed: bool = False,
) -> Entry:
    """One certificate of a file.  position: which of them, from 0; renewed: whether `up` does that."""
    found = read_certificates(files.get(path, b""))[position:]
    if not found:
        return Entry(kind, name, path, UNREADABLE if path in files else MISSING, note=note, service=service)
    one = found[0]
    return Entry(
        kind=kind,
        name=name,
        path=path,
        state=state_of(one, now, revoked),
        subject=readable(one.subject),
        san=tuple(requests.printed(each) for each in names_of(one)),
        issuer=readable(one.issuer),
        serial=f"{one.serial_number:x}",
        start=one.not_valid_before_utc,
        end=one.not_valid_after_utc,
        note=note,
        service=service,
        renewal=renewal_of(one) if renewed else None,
    )


def readable(name: x509.Name) -> str:
    """A name as gateways print it, as far as they could."""
    try:
        return issuing.rfc2253(name)
    except ValueError:
        return requests.on_one_line(name.rfc4514_string())


def state_of(one: x509.Certificate, now: datetime, revoked: Iterable[tuple[x509.Name, int]]) -> str:
    if (one.issuer, one.serial_number) in revoked:
        return REVOKED
    if one.not_valid_after_utc <= now:
        return EXPIRED
    if one.not_valid_before_utc > now:
        return NOT_YET
    return OK if has_life_left(one, now) else DUE


def crls(wanted: Wanted, files: Mapping[str, bytes], now: datetime, layout: Layout) -> Iterator[Entry]:
    for ours in wanted.authorities:
        folder = f"{layout.authorities}/{ours.name}"
        signers = [one for name in ("certificate", "intermediate")
                   for one in read_certificates(files.get(f"{folder}/{name}.pem", b""))]  # fmt: skip
        reserved = {issuing.reserved_revoked_serial(one) for one in signers}
        path = f"{folder}/crl.pem"
        yield from lists_of(ours.name, path, files, now, crl_has_life_left, reserved, renewed=True)
    for theirs in wanted.given_authorities:
        if theirs.crl:
            path = f"{layout.authorities}/{theirs.name}/crl.pem"
            yield from lists_of(theirs.name, path, files, now, third_of_its_life_left)


def third_of_its_life_left(found: x509.CertificateRevocationList, now: datetime) -> bool:
    end = found.next_update_utc
    return end is None or end - now >= (end - found.last_update_utc) * LEFT_BEFORE_RENEWAL


def lists_of(
    name: str,
    path: str,
    files: Mapping[str, bytes],
    now: datetime,
    has_life_left: Callable[[x509.CertificateRevocationList, datetime], bool],
    reserved: Collection[int] = (),
    *,
    renewed: bool = False,
) -> Iterator[Entry]:
    """The revocation lists of one file.  reserved: serials on them that belong to no certificate."""
    found = read_crls(files.get(path, b""))
    if not found:
        yield Entry("crl", name, path, UNREADABLE if path in files else MISSING)
    for one in found:
        end = one.next_update_utc
        state = EXPIRED if end is not None and end <= now else OK if has_life_left(one, now) else DUE
        serials = [entry.serial_number for entry in one if entry.serial_number not in reserved]
        yield Entry(
            kind="crl",
            name=name,
            path=path,
            state=state,
            issuer=readable(one.issuer),
            start=one.last_update_utc,
            end=end,
            note=f"{len(serials)} revoked",
            renewal=crl_renewal(end) if renewed and end is not None else None,
        )
