"""A request that was made elsewhere -> a certificate of the lab, so that nobody has to hand over a key.

What is signed for an identity becomes that identity: the request lies in its folder from then on, and `issue` certifies
its key again when the certificate is about to expire.  What is signed for a host serves where its key is, in another
machine's server; the lab's own gateway for that host keeps a key and a certificate of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from topology.errors import InvalidInput
from topology.generation import certificates
from topology.generation.certificates import DEFAULT_LAYOUT, Layout, Wanted, WantedIdentity, WantedServer
from topology.generation.subjects import find
from topology.pki import issuing, requests

LARGEST = requests.LARGEST
"""Bytes of a request, beyond which a file is none."""


@dataclass(frozen=True)
class Signed:
    """certificate: in PEM with its chain; path: where it lies below the lab's folder; files: the lab's complete set.

    changes: what else is new, in sentences; ignored: parts of the request's subject that were not taken over.
    """

    name: str
    certificate: bytes
    path: str
    files: Mapping[str, bytes]
    changes: tuple[str, ...]
    ignored: tuple[str, ...]


@dataclass(frozen=True)
class Admitted:
    """A request that may be signed, and for whom."""

    request: requests.Request
    subject: WantedIdentity | WantedServer


def admit(wanted: Wanted, content: bytes, name: str, source: str = "the request") -> Admitted:
    """A request as one for an identity or a host of the topology.

    content: PEM or DER; source: what messages call the request.
    Raises InvalidInput, with the one reason, where it is not signed for that name.
    """
    place, found = find(wanted, name)
    if not isinstance(found, WantedIdentity | WantedServer):
        what = "an authority, and signs" if place.startswith("authorities.") else "issued by somebody else, who signs"
        raise InvalidInput(f"{name}: is {what} for others; name an identity or a host that the lab certifies")
    try:
        request = requests.read(content)
    except requests.Refused as error:
        raise InvalidInput(f"{source}: {error}") from error
    if wrong := certificates.misfit_of(request, found):
        raise InvalidInput(f"{source}: {wrong}")
    lending = [
        host.host for host in wanted.hosts if isinstance(found, WantedIdentity) and found.name in host.identities
    ]
    if lending:
        raise InvalidInput(
            f"{name}: host {lending[0]} attaches it on a route, so its gateway needs the key; "
            "sign the request for an identity that no gateway attaches"
        )
    return Admitted(request, found)


def sign(
    wanted: Wanted, admitted: Admitted, existing: Mapping[str, bytes], now: datetime, layout: Layout = DEFAULT_LAYOUT
) -> Signed:
    """Signs a request.  existing: the lab's files.  Raises InvalidInput where the lab's own files are not in order."""
    if isinstance(admitted.subject, WantedIdentity):
        return sign_identity(wanted, admitted.request, admitted.subject, existing, now, layout)
    return sign_server(wanted, admitted.request, admitted.subject, existing, now, layout)


def sign_identity(
    wanted: Wanted,
    request: requests.Request,
    found: WantedIdentity,
    existing: Mapping[str, bytes],
    now: datetime,
    layout: Layout,
) -> Signed:
    folder = f"{layout.identities}/{found.name}"
    own = (f"{folder}/key.pem", f"{folder}/bundle.p12")
    kept = {path: one for path, one in existing.items() if path not in own}
    kept[f"{folder}/request.pem"] = requests.pem(request)
    issued = certificates.issue(wanted, kept, now, layout, renew=(certificates.in_topology(found),))
    path = f"{folder}/certificate.pem"
    others = [line for line in issued.changes if not line.startswith(f"identity {found.name}: ")]
    if not existing.keys().isdisjoint(own):
        others.append(f"identity {found.name}: the key that the lab made for it is gone; its key is held elsewhere now")
    return Signed(found.name, issued.files[path], path, issued.files, tuple(others), request.ignored)


def sign_server(
    wanted: Wanted,
    request: requests.Request,
    found: WantedServer,
    existing: Mapping[str, bytes],
    now: datetime,
    layout: Layout,
) -> Signed:
    issued = certificates.issue(wanted, existing, now, layout)
    signer = issued.issuers[found.authority]
    made = issuing.certify_server(found.domain, found.aliases, request.key, signer, days=found.days, now=now)
    pem = b"".join(issuing.certificate_pem(one) for one in (made, *signer.chain))
    path = f"{certificates.signed_folder(layout, found.authority)}/{found.host}-{serial(made)}.pem"
    return Signed(found.host, pem, path, {**issued.files, path: pem}, issued.changes, request.ignored)


def serial(certificate: x509.Certificate) -> str:
    return f"{certificate.serial_number:x}"


def is_earlier(content: bytes, admitted: Admitted, lab: str) -> bool:
    """Whether a file is a certificate that the lab signed before for the same name, and no key is in it."""
    found = certificates.read_certificates(content)
    wanted = admitted.subject
    subject = (
        issuing.client_subject(wanted.common_name)
        if isinstance(wanted, WantedIdentity)
        else issuing.server_subject(wanted.domain)
    )
    ours = bool(found) and not any(certificates.is_foreign(one, lab) for one in found)
    return ours and found[0].subject == subject and b"PRIVATE KEY" not in content
