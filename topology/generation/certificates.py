"""What certificates a lab wants -> {path: bytes}, keeping what is still good.

A certificate is kept as long as it is what the topology asks for, was signed by the authority that is there now, and
has a third of its life left.  What cannot be made again, an authority's key or a file of somebody else's, is never
replaced.

An identity in whose folder lies a request.pem has its key elsewhere: it is certified for the key of that request, and
no key is made for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID, ObjectIdentifier

from topology.description import credentials
from topology.description.model import ACME
from topology.errors import InvalidInput
from topology.pki import issuing, requests
from topology.pki.issuing import CLIENT_AUTH, CRL_DAYS, SERVER_AUTH, Credential, Issuer, PrivateKey, PublicKey

LEFT_BEFORE_RENEWAL = 1 / 3
"""A certificate or CRL with less of its life left than this is renewed."""


@dataclass(frozen=True)
class WantedAuthority:
    name: str
    key: str
    days: int
    intermediate: bool


@dataclass(frozen=True)
class WantedIdentity:
    name: str
    authority: str
    common_name: str
    san: tuple[str, ...]
    days: int
    key: str
    revoked: bool


@dataclass(frozen=True)
class GivenAuthority:
    """Somebody else's authority, as its files say: certificates and revocation lists in PEM."""

    name: str
    certificate: bytes
    crl: bytes


@dataclass(frozen=True)
class GivenIdentity:
    """A certificate that somebody else issued to us, and its key, in PEM."""

    name: str
    certificate: bytes
    key: bytes


@dataclass(frozen=True)
class WantedServer:
    """A server certificate: a gateway's, or that of a service which terminates TLS itself."""

    host: str
    domain: str
    aliases: tuple[str, ...]
    authority: str
    key: str
    days: int
    service: str | None = None


@dataclass(frozen=True)
class HostCertificates:
    """What one host's gateway needs besides its own certificate.

    services: those that ask for client certificates themselves, and need to know whose; acme: the authority that
    vouches for the lab's own ACME server, where the host asks that one for its certificate, else empty.
    """

    host: str
    client_authorities: tuple[str, ...]
    upstream_authorities: tuple[str, ...]
    identities: tuple[str, ...]
    services: tuple[str, ...] = ()
    acme: str = ""


@dataclass(frozen=True)
class Wanted:
    lab: str
    authorities: tuple[WantedAuthority, ...]
    identities: tuple[WantedIdentity, ...]
    servers: tuple[WantedServer, ...]
    hosts: tuple[HostCertificates, ...]
    given_authorities: tuple[GivenAuthority, ...] = ()
    given_identities: tuple[GivenIdentity, ...] = ()


@dataclass(frozen=True)
class Layout:
    """Names of the folders, which differ between instances."""

    authorities: str = "authorities"
    identities: str = "identities"
    certificates: str = "certificates"


DEFAULT_LAYOUT = Layout()
"""Of a lab without an instance's name."""


@dataclass(frozen=True)
class Issued:
    """files: path below the lab's folder -> content, the complete set; changes: what is new, in sentences;
    issuers: authority -> who signs its leaves."""

    files: Mapping[str, bytes]
    changes: tuple[str, ...]
    issuers: Mapping[str, Issuer]


@dataclass(frozen=True)
class HeldElsewhere:
    """The certificate of an identity whose key somebody else holds: they sent a request."""

    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...] = ()

    def certificate_pem(self) -> bytes:
        return b"".join(issuing.certificate_pem(one) for one in (self.certificate, *self.chain))


@dataclass(frozen=True)
class Anchor:
    """What trusts an authority: its root, and a CRL for each of its authorities (none is known of some), in PEM."""

    root: bytes
    crl: bytes


def service_folder(layout: Layout, host: str, service: str) -> str:
    """What a service that terminates TLS itself reads: its own folder, which no other container sees."""
    return f"{host}/{layout.certificates}/services/{service}"


@dataclass
class Bench:
    """What one run of `issue` works on.  It lives no longer than that call."""

    lab: str
    existing: Mapping[str, bytes]
    renew: Collection[str]
    now: datetime
    layout: Layout
    purposes: Mapping[str, tuple[ObjectIdentifier, ...]]
    files: dict[str, bytes] = field(default_factory=dict)
    changes: list[str] = field(default_factory=list)


def mode(path: str) -> int:
    """Keys, and bundles that hold one, are for their owner alone."""
    return 0o600 if path.endswith((".key", "key.pem", ".p12")) else 0o644


def issue(
    wanted: Wanted,
    existing: Mapping[str, bytes],
    now: datetime,
    layout: Layout = DEFAULT_LAYOUT,
    renew: Collection[str] = (),
) -> Issued:
    """All certificates, keys and CRLs of a lab; those that are still good come back byte for byte.

    existing: path below the lab's folder -> content; now: the time, with its zone; renew: what is made anew in any
    case, such as `identities.bro` and `hosts.server`.
    Raises InvalidInput where an authority's key is lost, unreadable or not its certificate's, where somebody else's
    certificate lies in the place of one of the lab's, and where a gateway would need a key that is held elsewhere.
    """
    bench = Bench(wanted.lab, existing, renew, now, layout, purposes_of(wanted))
    identities: dict[str, Credential | HeldElsewhere] = {}
    issuers = {one.name: issuer(bench, wanted.lab, one) for one in wanted.authorities}
    for identity in wanted.identities:
        identities[identity.name] = client(bench, identity, issuers[identity.authority][1])
    for given in wanted.given_identities:
        identities[given.name] = take_identity(bench, given)
    anchors = {
        one.name: take_authority(bench, one) for one in [*wanted.given_authorities, *acme_authority(bench, wanted)]
    }
    for one in wanted.authorities:
        revoked = {
            identities[i.name].certificate.serial_number: i.revoked
            for i in wanted.identities
            if i.authority == one.name
        }
        anchors[one.name] = anchor(bench, one, *issuers[one.name], revoked)
        keep_signed(bench, one)
    for server in wanted.servers:
        serve(bench, server, issuers[server.authority][1])
    for host in wanted.hosts:
        equip(bench, host, anchors, identities)
    return Issued(bench.files, tuple(bench.changes), {name: leaves for name, (_, leaves) in issuers.items()})


OWN_FILES = re.compile(
    r"identities[^/]*/[^/]+/(?:certificate\.pem|key\.pem|bundle\.p12|request\.pem)"
    r"|[^/]+/certificates[^/]*/(?:services/[^/]+/)?"
    r"(?:server\.(?:pem|key)|client-authorities(?:\.crl)?\.pem|(?:upstream|identities|acme)/[^/]+\.(?:pem|key))"
    r"|(?:[^/]+/)*\.[^/]+\.[0-9a-f]{8}"
)
"""What `issue` makes and can make again, below the lab's folder, and what a killed run leaves of it."""


def is_outdated(path: str) -> bool:
    """Whether a file that `issue` does not want any more may be removed: nobody's but the lab's, and no authority's."""
    return OWN_FILES.fullmatch(path) is not None


# Authorities


def acme_root(layout: Layout) -> str:
    """Where the root of the lab's own ACME server lies.  The server makes it, and `up` asks for it."""
    return f"{layout.authorities}/{ACME}/certificate.pem"


def acme_authority(bench: Bench, wanted: Wanted) -> list[GivenAuthority]:
    """The lab's own ACME server as an authority, where it has one, and that has said what its root is."""
    root = bench.existing.get(acme_root(bench.layout))
    wants_it = any(host.acme or ACME in host.upstream_authorities for host in wanted.hosts)
    return [GivenAuthority(ACME, root, b"")] if root and wants_it else []


def issuer(bench: Bench, lab: str, wanted: WantedAuthority) -> tuple[Issuer, Issuer]:
    """The root, and the issuer of leaves: the same one, unless there is an intermediate."""
    folder = f"{bench.layout.authorities}/{wanted.name}"
    root = signing(bench, folder, "certificate.pem", "key.pem", wanted, issuing.authority_name(lab, wanted.name), None)
    if not wanted.intermediate:
        return root, root
    name = issuing.intermediate_name(lab, wanted.name)
    below = signing(bench, folder, "intermediate.pem", "intermediate-key.pem", wanted, name, root)
    return root, Issuer(below.certificate, below.key, (below.certificate,))


def signing(
    bench: Bench,
    folder: str,
    certificate_name: str,
    key_name: str,
    wanted: WantedAuthority,
    name: x509.Name,
    root: Issuer | None,
) -> Issuer:
    """One authority's certificate and key, kept or made."""
    certificate_path, key_path = f"{folder}/{certificate_name}", f"{folder}/{key_name}"
    found = kept_authority(bench, certificate_path, key_path)
    if found and is_wanted_authority(bench, found, wanted, name, root):
        bench.files[certificate_path] = bench.existing[certificate_path]
        bench.files[key_path] = bench.existing[key_path]
        return found
    key = issuing.new_key(wanted.key)
    if root is None:
        certificate = issuing.issue_root(name, key, days=wanted.days, now=bench.now)
    else:
        certificate = issuing.issue_intermediate(
            name, key, root, days=wanted.days, purposes=bench.purposes[wanted.name], now=bench.now
        )
    bench.files[certificate_path] = issuing.certificate_pem(certificate)
    bench.files[key_path] = issuing.key_pem(key)
    bench.changes.append(f"authority {wanted.name}: {'renewed' if found else 'issued'} {certificate_name}")
    return Issuer(certificate, key)


def kept_authority(bench: Bench, certificate_path: str, key_path: str) -> Issuer | None:
    """An authority as it lies on disk; None where there is none.  What is half there is an error, never overwritten."""
    certificate_bytes, key_bytes = bench.existing.get(certificate_path), bench.existing.get(key_path)
    if certificate_bytes is None and key_bytes is None:
        return None
    folder = certificate_path.rpartition("/")[0]
    advice = f"put it back, or remove the folder {folder} to start over with a new authority"
    if key_bytes is None:
        raise InvalidInput(f"{key_path}: the authority's key is gone, its certificate is there; {advice}")
    key = read_key(key_bytes)
    if key is None:
        raise InvalidInput(f"{key_path}: not a private key that can be read; {advice}")
    if certificate_bytes is None:
        raise InvalidInput(f"{certificate_path}: the authority's certificate is gone, its key is there; {advice}")
    chain = read_certificates(certificate_bytes)
    if not chain:
        raise InvalidInput(f"{certificate_path}: not a certificate that can be read; {advice}")
    if not same_key(chain[0], key):
        raise InvalidInput(f"{certificate_path}: not the certificate of {key_path}; {advice}")
    return Issuer(chain[0], key)


def is_wanted_authority(
    bench: Bench, found: Issuer, wanted: WantedAuthority, name: x509.Name, root: Issuer | None
) -> bool:
    signer = root or found
    purposes = purposes_in(found.certificate)
    return (
        found.certificate.subject == name
        and (root is None or purposes == bench.purposes[wanted.name])
        and issuing.kind_of(found.key) == wanted.key
        and is_signed_by(found.certificate, signer)
        and lasts_as_wanted(found.certificate, wanted.days, root)
        and has_life_left(found.certificate, bench.now)
    )


def purposes_of(wanted: Wanted) -> dict[str, tuple[ObjectIdentifier, ...]]:
    """authority -> what it signs leaves for; an intermediate is held to that by its own extended key usage."""
    servers = {server.authority for server in wanted.servers}
    clients = {identity.authority for identity in wanted.identities}
    return {
        one.name: (
            *([SERVER_AUTH] if one.name in servers else []),
            *([CLIENT_AUTH] if one.name in clients or one.name not in servers else []),
        )
        for one in wanted.authorities
    }


def signed_folder(layout: Layout, authority: str) -> str:
    """Server certificates for keys that are held elsewhere: an authority knows what it has signed."""
    return f"{layout.authorities}/{authority}/signed"


def keep_signed(bench: Bench, wanted: WantedAuthority) -> None:
    folder = f"{signed_folder(bench.layout, wanted.name)}/"
    bench.files.update({path: content for path, content in bench.existing.items() if path.startswith(folder)})


def take_authority(bench: Bench, given: GivenAuthority) -> Anchor:
    """Somebody else's authority.  InvalidInput where one of the lab's own lies in its place."""
    folder = f"{bench.layout.authorities}/{given.name}"
    if f"{folder}/key.pem" in bench.existing:
        raise InvalidInput(
            f"{folder}/key.pem: the key of an authority that the topology takes from a file now; "
            f"move the folder {folder} away, or give the authority another name"
        )
    bench.files[f"{folder}/certificate.pem"] = given.certificate
    if given.crl:
        bench.files[f"{folder}/crl.pem"] = given.crl
    return Anchor(given.certificate, given.crl)


def anchor(bench: Bench, wanted: WantedAuthority, root: Issuer, leaves: Issuer, revoked: Mapping[int, bool]) -> Anchor:
    """The authority with its CRLs: the root's first, then the intermediate's."""
    path = f"{bench.layout.authorities}/{wanted.name}/crl.pem"
    old = read_crls(bench.existing.get(path, b""))
    crls = []
    for signer in [root] if leaves is root else [root, leaves]:
        serials = dict(revoked) if signer is leaves else {}
        crls.append(crl(bench, signer, serials, old))
    content = b"".join(crls)
    if content != bench.existing.get(path):
        bench.changes.append(f"authority {wanted.name}: issued crl.pem")
    bench.files[path] = content
    return Anchor(issuing.certificate_pem(root.certificate), content)


def crl(
    bench: Bench, signer: Issuer, serials: Mapping[int, bool], old: Sequence[x509.CertificateRevocationList]
) -> bytes:
    """One authority's CRL, kept while it says the same and is young enough.

    serials: serial -> whether it is revoked now.  Serials that are unknown now but were revoked once stay revoked.
    """
    previous = next((c for c in old if c.issuer == signer.certificate.subject and is_crl_of(c, signer)), None)
    before = {entry.serial_number for entry in previous} if previous else set()
    reserved = issuing.reserved_revoked_serial(signer.certificate)
    revoked = {serial for serial, now_revoked in serials.items() if now_revoked}
    revoked |= {serial for serial in before if serial not in serials and serial != reserved}
    if previous and before == revoked | {reserved} and crl_has_life_left(previous, bench.now):
        return issuing.crl_pem(previous)
    return issuing.crl_pem(issuing.issue_crl(signer, revoked, now=bench.now))


def crl_has_life_left(found: x509.CertificateRevocationList, now: datetime) -> bool:
    end = found.next_update_utc
    return end is not None and now <= crl_renewal(end) and found.last_update_utc <= now


def crl_renewal(end: datetime) -> datetime:
    """After this moment a list of ours that ends then is issued anew."""
    return end - timedelta(days=CRL_DAYS) * LEFT_BEFORE_RENEWAL


# Leaves


def client(bench: Bench, wanted: WantedIdentity, signer: Issuer) -> Credential | HeldElsewhere:
    folder = f"{bench.layout.identities}/{wanted.name}"
    if f"{folder}/request.pem" in bench.existing:
        return certify(bench, wanted, signer, folder)

    def make() -> Credential:
        key = issuing.new_key(wanted.key)
        return issuing.issue_client(wanted.common_name, wanted.san, key, signer, days=wanted.days, now=bench.now)

    paths = (f"{folder}/certificate.pem", f"{folder}/key.pem")
    fits = fitting_client(bench, wanted, wanted.key, signer)
    credential = leaf(bench, f"identity {wanted.name}", paths, fits, make, anew=in_topology(wanted) in bench.renew)
    bundle_path = f"{folder}/bundle.p12"
    kept = bench.existing.get(bundle_path) if paths_unchanged(bench, paths) else None
    bench.files[bundle_path] = kept or issuing.bundle(wanted.name, credential)
    return credential


def in_topology(wanted: WantedIdentity | WantedServer) -> str:
    """Where an identity or a host stands in the topology file."""
    return f"identities.{wanted.name}" if isinstance(wanted, WantedIdentity) else f"hosts.{wanted.host}"


def fitting_client(
    bench: Bench, wanted: WantedIdentity, key: str | PublicKey, signer: Issuer
) -> Callable[[Credential | HeldElsewhere], str | None]:
    names = [issuing.general_name(text) for text in wanted.san]
    subject = issuing.client_subject(wanted.common_name)
    return fitting(bench, subject, names, key, wanted.days, CLIENT_AUTH, signer)


def certify(bench: Bench, wanted: WantedIdentity, signer: Issuer, folder: str) -> HeldElsewhere:
    """An identity whose key somebody else holds: its certificate, kept or signed anew for the key of the request."""
    request_path, path = f"{folder}/request.pem", f"{folder}/certificate.pem"
    request = read_request(bench.existing[request_path], request_path, wanted, folder)
    refuse_foreign(bench, path, f"{folder}/key.pem")
    chain = read_certificates(bench.existing.get(path, b""))
    found = HeldElsewhere(chain[0], tuple(chain[1:])) if chain else None
    reason = fitting_client(bench, wanted, request.key, signer)(found) if found else "there was none"
    bench.files[request_path] = bench.existing[request_path]
    if found and reason is None and in_topology(wanted) not in bench.renew:
        bench.files[path] = bench.existing[path]
        return found
    certificate = issuing.certify_client(
        wanted.common_name, wanted.san, request.key, signer, days=wanted.days, now=bench.now
    )
    made = HeldElsewhere(certificate, signer.chain)
    bench.files[path] = made.certificate_pem()
    told = f"signed its request ({reason or 'as asked'}); hand {path} to whoever holds the key"
    bench.changes.append(f"identity {wanted.name}: {told}")
    return made


def read_request(content: bytes, file: str, wanted: WantedIdentity, folder: str) -> requests.Request:
    """The request of an identity, as it was signed once; InvalidInput where it could not be signed now."""
    advice = (
        "have a new request made and sign that (`mtls-lab certificates sign`), "
        f"or remove the folder {folder} for an identity with a key of the lab's own"
    )
    try:
        request = requests.read(content)
    except requests.Refused as error:
        raise InvalidInput(f"{file}: {error}; {advice}") from error
    if wrong := misfit_of(request, wanted):
        raise InvalidInput(f"{file}: {wrong}; {advice}")
    return request


def misfit_of(request: requests.Request, wanted: WantedIdentity | WantedServer) -> str | None:
    """Why a request is not one for an identity or a host of the topology, or None."""
    if isinstance(wanted, WantedIdentity):
        names = [issuing.general_name(text) for text in wanted.san]
        return requests.misfit(
            request, common_names=(wanted.common_name,), alternative_names=names, purpose=CLIENT_AUTH
        )
    domains = (wanted.domain, *wanted.aliases)
    return requests.misfit(
        request, common_names=domains, alternative_names=[x509.DNSName(name) for name in domains], purpose=SERVER_AUTH
    )


def take_identity(bench: Bench, given: GivenIdentity) -> Credential:
    """An identity that somebody else issued: kept as it came.  InvalidInput where it cannot be used."""
    folder = f"{bench.layout.identities}/{given.name}"
    found = read_credential(given.certificate, given.key)
    if found is None:
        raise InvalidInput(
            f"identity {given.name}: its files hold no certificate and key that a gateway can use "
            "(RSA, ECDSA and Ed25519 keys in PEM, without a password)"
        )
    paths = (f"{folder}/certificate.pem", f"{folder}/key.pem")
    bench.files[paths[0]], bench.files[paths[1]] = given.certificate, given.key
    bundle_path = f"{folder}/bundle.p12"
    kept = bench.existing.get(bundle_path) if paths_unchanged(bench, paths) else None
    bench.files[bundle_path] = kept or issuing.bundle(given.name, found)
    return found


def serve(bench: Bench, wanted: WantedServer, signer: Issuer) -> None:
    names = [x509.DNSName(name) for name in (wanted.domain, *wanted.aliases)]

    def make() -> Credential:
        key = issuing.new_key(wanted.key)
        return issuing.issue_server(wanted.domain, wanted.aliases, key, signer, days=wanted.days, now=bench.now)

    folder = f"{wanted.host}/{bench.layout.certificates}"
    who = f"host {wanted.host}"
    if wanted.service is not None:
        folder, who = service_folder(bench.layout, wanted.host, wanted.service), f"{who}, service {wanted.service}"
    subject = issuing.server_subject(wanted.domain)
    fits = fitting(bench, subject, names, wanted.key, wanted.days, SERVER_AUTH, signer)
    paths = (f"{folder}/server.pem", f"{folder}/server.key")
    leaf(bench, who, paths, fits, make, anew=in_topology(wanted) in bench.renew)


def leaf(
    bench: Bench,
    who: str,
    paths: tuple[str, str],
    misfit: Callable[[Credential], str | None],
    make: Callable[[], Credential],
    *,
    anew: bool,
) -> Credential:
    """A leaf and its key, kept where nothing speaks against it, else made.

    misfit: the reason, None where it fits; anew: it is made in any case.
    """
    refuse_foreign(bench, *paths)
    found = read_credential(*(bench.existing.get(path) for path in paths))
    reason = misfit(found) if found else "there was none" if bench.existing.get(paths[0]) is None else "unreadable"
    reason = "as asked" if anew and found else reason
    if found and reason is None:
        for path in paths:
            bench.files[path] = bench.existing[path]
        return found
    made = make()
    bench.files[paths[0]], bench.files[paths[1]] = made.certificate_pem(), made.key_pem()
    bench.changes.append(f"{who}: issued a certificate ({reason})")
    return made


def refuse_foreign(bench: Bench, path: str, key_path: str) -> None:
    """InvalidInput where somebody else's certificate lies in a place of the lab's, whatever its key is like."""
    chain = read_certificates(bench.existing.get(path, b""))
    if chain and is_foreign(chain[0], bench.lab):
        raise InvalidInput(
            f"{path}: was issued by {chain[0].issuer.rfc4514_string()}, not by this lab, and is not "
            f"overwritten; move it and {key_path} away (an identity can name both: certificate, key_file)"
        )


def is_foreign(certificate: x509.Certificate, lab: str) -> bool:
    """Whether somebody else issued it: all authorities of a lab have its name as their organisation."""
    organisations = certificate.issuer.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return [one.value for one in organisations] != [lab]


def paths_unchanged(bench: Bench, paths: Iterable[str]) -> bool:
    return all(bench.files[path] == bench.existing.get(path) for path in paths)


def fitting(
    bench: Bench,
    subject: x509.Name,
    names: Sequence[x509.GeneralName],
    key: str | PublicKey,
    days: int,
    purpose: ObjectIdentifier,
    signer: Issuer,
) -> Callable[[Credential | HeldElsewhere], str | None]:
    """A judge of existing leaves: why one does not fit what is wanted, or None.

    key: the kind of our own key, or the very key that somebody else holds.
    """

    def misfit(found: Credential | HeldElsewhere) -> str | None:
        one = found.certificate
        if one.subject != subject or names_of(one) != list(names):
            return "names changed"
        if not has_key(found, key):
            return "key changed"
        if not is_signed_by(one, signer) or found.chain != signer.chain:
            return "authority changed"
        if purposes_in(one) != (purpose,):
            return "purpose changed"
        if not lasts_as_wanted(one, days, signer):
            return "days changed"
        return None if has_life_left(one, bench.now) else "about to expire"

    return misfit


def has_key(found: Credential | HeldElsewhere, wanted: str | PublicKey) -> bool:
    if isinstance(found, HeldElsewhere):
        return found.certificate.public_key() == wanted
    return issuing.kind_of(found.key) == wanted and same_key(found.certificate, found.key)


# Hosts


def equip(
    bench: Bench,
    wanted: HostCertificates,
    anchors: Mapping[str, Anchor],
    identities: Mapping[str, Credential | HeldElsewhere],
) -> None:
    """Copies into a host's folder what its gateway reads: anchors are roots alone, so that callers send their chain.

    InvalidInput where the gateway would need a key that is held elsewhere.
    """
    folder = f"{wanted.host}/{bench.layout.certificates}"
    trusting = [folder] if wanted.client_authorities else []
    trusting += [service_folder(bench.layout, wanted.host, service) for service in wanted.services]
    trusted = [anchors[name] for name in wanted.client_authorities]
    for place in trusting:
        bench.files[f"{place}/client-authorities.pem"] = b"".join(ended(one.root) for one in trusted)
        bench.files[f"{place}/client-authorities.crl.pem"] = b"".join(ended(one.crl) for one in trusted)
    if wanted.acme:
        bench.files[f"{folder}/acme/server-authority.pem"] = anchors[wanted.acme].root
        if ACME in anchors:
            bench.files[f"{folder}/acme/root.pem"] = anchors[ACME].root
    for name in wanted.upstream_authorities:
        if name == ACME and name not in anchors:
            continue  # the lab's own ACME server makes its root when it starts
        bench.files[f"{folder}/upstream/{name}.pem"] = anchors[name].root
        if anchors[name].crl:
            bench.files[f"{folder}/upstream/{name}.crl.pem"] = anchors[name].crl
    for name in wanted.identities:
        if isinstance(identities[name], HeldElsewhere):
            raise InvalidInput(
                f"host {wanted.host}: a route of it attaches the identity {name}, whose key is held elsewhere "
                f"(its request was signed); attach another identity, or remove the folder "
                f"{bench.layout.identities}/{name} for one with a key of the lab's own"
            )
        bench.files[f"{folder}/identities/{name}.pem"] = identities[name].certificate_pem()
        bench.files[f"{folder}/identities/{name}.key"] = bench.files[f"{bench.layout.identities}/{name}/key.pem"]


def ended(pem: bytes) -> bytes:
    """With a line feed at its end: PEM files of other people may lack it, and cannot be joined without."""
    return pem if pem.endswith(b"\n") else pem + b"\n"


# Reading and judging


def read_certificates(content: bytes) -> list[x509.Certificate]:
    """Leaf first; none where there is none, or one of them is damaged."""
    return list(credentials.decoded(content))


def read_key(content: bytes) -> PrivateKey | None:
    try:
        key = serialization.load_pem_private_key(content, None)
    except (ValueError, TypeError):
        return None
    return key if isinstance(key, PrivateKey) else None


def read_credential(certificate: bytes | None, key: bytes | None) -> Credential | None:
    chain = read_certificates(certificate or b"")
    private = read_key(key or b"")
    return Credential(chain[0], private, tuple(chain[1:])) if chain and private else None


def read_crls(content: bytes) -> list[x509.CertificateRevocationList]:
    end = b"-----END X509 CRL-----"
    found = []
    for part in content.split(end)[:-1]:
        try:
            found.append(one := x509.load_pem_x509_crl(part + end + b"\n"))
            _ = one.issuer, list(one)  # decoded late, and then by those who expect no error
        except (ValueError, TypeError, x509.InvalidVersion):
            return []
    return found


def same_key(certificate: x509.Certificate, key: PrivateKey) -> bool:
    return certificate.public_key() == key.public_key()


def is_signed_by(certificate: x509.Certificate, signer: Issuer) -> bool:
    try:
        certificate.verify_directly_issued_by(signer.certificate)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def is_crl_of(found: x509.CertificateRevocationList, signer: Issuer) -> bool:
    return found.is_signature_valid(signer.certificate.public_key())  # type: ignore[arg-type]


UNREADABLE_EXTENSION = (
    x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError, TypeError
)  # fmt: skip
"""What is not there, or not as it should be, says nothing."""


def names_of(certificate: x509.Certificate) -> list[x509.GeneralName]:
    try:
        return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except UNREADABLE_EXTENSION:
        return []


def purposes_in(certificate: x509.Certificate) -> tuple[ObjectIdentifier, ...]:
    try:
        return tuple(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except UNREADABLE_EXTENSION:
        return ()


def lasts_as_wanted(certificate: x509.Certificate, days: int, issuer: Issuer | None) -> bool:
    """Whether its life is the wanted one, or was cut short by its issuer's."""
    whole = certificate.not_valid_after_utc - certificate.not_valid_before_utc - issuing.BACKDATED
    if whole == timedelta(days=days):
        return True
    return (
        issuer is not None
        and whole < timedelta(days=days)
        and certificate.not_valid_after_utc == issuer.certificate.not_valid_after_utc
    )


def has_life_left(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now <= renewal_of(certificate)


def renewal_of(certificate: x509.Certificate) -> datetime:
    """After this moment a certificate of ours is issued anew."""
    whole = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return certificate.not_valid_after_utc - whole * LEFT_BEFORE_RENEWAL
