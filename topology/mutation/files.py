"""Changes to the certificates, keys and revocation lists that a gateway reads."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from cryptography import x509

from topology.mutation.change import Change, Scene
from topology.pki import forging, issuing
from topology.pki.issuing import SERVER_AUTH, Credential, Issuer

CLIENTS, LISTS = "client-authorities.pem", "client-authorities.crl.pem"
SERVER, SERVER_KEY = "server.pem", "server.key"
PUBLIC, SECRET = 0o644, 0o600


def ours(scene: Scene) -> list[str]:
    """The authorities whose callers a gateway lets in, and whose keys we have."""
    asked = scene.host.client_certificates
    trusted = asked.authority if asked is not None else ()
    return [name for name in trusted if scene.topology.authorities[name].certificate is None]


def lists_in(content: bytes) -> list[x509.CertificateRevocationList]:
    ends = b"-----END X509 CRL-----\n"
    return [x509.load_pem_x509_crl(one + ends) for one in content.split(ends) if one.strip()]


def other_lists(scene: Scene, content: bytes, name: str, *, days: int = 30, revoked: bool = True) -> bytes:
    """Revocation lists with those of one authority made anew.

    days: until they end; revoked: whether they still say who is revoked.
    """
    leaves, root = scene.issuer(name)
    issuers = {one.certificate.subject: one for one in (root, leaves)}
    made = []
    for one in lists_in(content):
        issuer = issuers.get(one.issuer)
        made.append(one if issuer is None else made_anew(scene, issuer, list(one) if revoked else [], days))
    return b"".join(issuing.crl_pem(one) for one in made)


def made_anew(
    scene: Scene, issuer: Issuer, entries: list[x509.RevokedCertificate], days: int
) -> x509.CertificateRevocationList:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(scene.now - timedelta(days=60))
        .next_update(scene.now + timedelta(days=days))
        .add_extension(x509.CRLNumber(int(scene.now.timestamp())), critical=False)
        .add_extension(issuing.key_identifier_of(issuer), critical=False)
    )
    for entry in entries:
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(issuer.key, issuing.digest_for(issuer.key))


def lists_of(scene: Scene, name: str) -> bytes:
    """An authority's own revocation lists."""
    leaves, root = scene.issuer(name)
    issuers = [root] if root is leaves else [root, leaves]
    return b"".join(issuing.crl_pem(made_anew(scene, one, [], 30)) for one in issuers)


def revocation_list_emptied(scene: Scene) -> Iterator[Change]:
    """An authority's revocation list names nobody."""
    for name in ours(scene):
        content = other_lists(scene, scene.certificates[LISTS], name, revoked=False)
        yield Change(name, certificates={LISTS: (content, PUBLIC)})


def revocation_list_expired(scene: Scene) -> Iterator[Change]:
    """An authority's revocation list has ended, and nobody renewed it."""
    for name in ours(scene):
        content = other_lists(scene, scene.certificates[LISTS], name, days=-1)
        yield Change(name, certificates={LISTS: (content, PUBLIC)})


def revocation_list_of_one_authority_gone(scene: Scene) -> Iterator[Change]:
    """One of several authorities has no revocation list any more."""
    if len(ours(scene)) > 1:
        for name in ours(scene):
            subjects = [issuer.certificate.subject for issuer in scene.issuer(name)]
            kept = [one for one in lists_in(scene.certificates[LISTS]) if one.issuer not in subjects]
            yield Change(name, certificates={LISTS: (b"".join(issuing.crl_pem(one) for one in kept), PUBLIC)})


def signs_callers(scene: Scene, name: str) -> bool:
    """Whether an authority can sign certificates for callers: an intermediate for servers alone cannot."""
    authority = scene.topology.authorities[name]
    for_callers = any(one.authority == name for one in scene.topology.identities.values())
    return authority.certificate is None and (for_callers or not authority.intermediate)


def trust_widened(scene: Scene) -> Iterator[Change]:
    """One more authority vouches for callers."""
    if not ours(scene):
        return
    for name in scene.topology.authorities:
        asked = scene.host.client_certificates
        if asked is not None and name not in asked.authority and signs_callers(scene, name):
            root = issuing.certificate_pem(scene.issuer(name)[1].certificate)
            yield Change(name, certificates={
                CLIENTS: (scene.certificates[CLIENTS] + root, PUBLIC),
                LISTS: (scene.certificates[LISTS] + lists_of(scene, name), PUBLIC),
            })  # fmt: skip


def trust_narrowed(scene: Scene) -> Iterator[Change]:
    """One of several authorities does not vouch for callers any more."""
    for name in ours(scene):
        kept = [other for other in ours(scene) if other != name]
        if kept:
            roots = b"".join(issuing.certificate_pem(scene.issuer(other)[1].certificate) for other in kept)
            yield Change(name, certificates={CLIENTS: (roots, PUBLIC)})


def impostor_trusted(scene: Scene) -> Iterator[Change]:
    """Another authority of the same name stands in the place of the one that vouches for callers."""
    for name in ours(scene):
        key = issuing.new_key("ecdsa-p256")
        subject = scene.issuer(name)[1].certificate.subject
        impostor = issuing.certificate_pem(issuing.issue_root(subject, key, days=90, now=scene.now))
        others = [issuing.certificate_pem(scene.issuer(one)[1].certificate) for one in ours(scene) if one != name]
        yield Change(name, certificates={CLIENTS: (b"".join([*others, impostor]), PUBLIC)})


# What the gateway shows


def showing(where: str, credential: Credential) -> Change:
    return Change(where, certificates={
        SERVER: (credential.certificate_pem(), PUBLIC), SERVER_KEY: (credential.key_pem(), SECRET),
    })  # fmt: skip


def servers_issuer(scene: Scene) -> Issuer | None:
    tls = scene.host.tls
    known = scene.topology.authorities
    if tls is None or tls.acme or tls.authority not in known or known[tls.authority].certificate is not None:
        return None
    return scene.issuer(tls.authority)[0]


def shown(scene: Scene, issuer: Issuer, name: str, *, started: int = -1, ends: int = 30) -> Credential:
    """A server's certificate.  started, ends: in days from now."""
    day = timedelta(days=1)
    return forging.forged(
        issuer, name, [name], start=scene.now + started * day, end=scene.now + ends * day, purpose=SERVER_AUTH
    )


def server_certificate_of_a_stranger(scene: Scene) -> Iterator[Change]:
    """A host shows a certificate that an unknown authority signed."""
    if servers_issuer(scene) is not None:
        yield showing(SERVER, shown(scene, forging.stranger(scene.now), scene.host.domain))


def server_certificate_expired(scene: Scene) -> Iterator[Change]:
    """A host shows a certificate that has expired."""
    if (issuer := servers_issuer(scene)) is not None:
        yield showing(SERVER, shown(scene, issuer, scene.host.domain, started=-30, ends=-1))


def server_certificate_for_another_name(scene: Scene) -> Iterator[Change]:
    """A host shows a certificate for another name."""
    if (issuer := servers_issuer(scene)) is not None:
        yield showing(SERVER, shown(scene, issuer, f"other.{scene.host.domain}"))


# What it calls others with, and whom it believes there


def identities(scene: Scene) -> list[str]:
    """The identities with which a gateway calls others, and for which we can sign."""
    known = scene.topology.identities
    return sorted({
        route.identity for route in scene.host.routes.values()
        if route.host and route.identity and known[route.identity].certificate is None
        and not known[route.identity].revoked
    })  # fmt: skip


def attached(name: str, credential: Credential) -> Change:
    return Change(name, certificates={
        f"identities/{name}.pem": (credential.certificate_pem(), PUBLIC),
        f"identities/{name}.key": (credential.key_pem(), SECRET),
    })  # fmt: skip


def identity_forged(scene: Scene, flaw: str) -> Iterator[Change]:
    for name in identities(scene):
        one = scene.topology.identities[name]
        issuer = scene.issuer(one.authority)[0]
        yield attached(name, forging.FORGERS[flaw](issuer, one.common_name, one.san, scene.now))


def identity_expired(scene: Scene) -> Iterator[Change]:
    """A gateway calls another host with a certificate that has expired."""
    return identity_forged(scene, "expired")


def identity_revoked(scene: Scene) -> Iterator[Change]:
    """A gateway calls another host with a certificate that was revoked."""
    return identity_forged(scene, "revoked")


def identity_of_a_stranger(scene: Scene) -> Iterator[Change]:
    """A gateway calls another host with a certificate that an unknown authority signed."""
    return identity_forged(scene, "other-authority")


def egress_trust_widened(scene: Scene) -> Iterator[Change]:
    """A gateway takes one more authority's word for another host."""
    known = scene.topology.authorities
    for path, content in scene.certificates.items():
        folder, _, file = path.rpartition("/")
        name = file.removesuffix(".pem")
        if folder != "upstream" or name not in known:
            continue
        for other, authority in known.items():
            lists = f"upstream/{name}.crl.pem"
            if other != name and authority.certificate is None and lists in scene.certificates:
                root = issuing.certificate_pem(scene.issuer(other)[1].certificate)
                yield Change(f"{name} and {other}", certificates={
                    path: (content + root, PUBLIC), lists: (scene.certificates[lists] + lists_of(scene, other), PUBLIC),
                })  # fmt: skip


def egress_revocation_list_emptied(scene: Scene) -> Iterator[Change]:
    """The revocation list by which a gateway judges another host names nobody."""
    known = scene.topology.authorities
    for path in scene.certificates:
        name = path.removeprefix("upstream/").removesuffix(".crl.pem")
        if name in known and path == f"upstream/{name}.crl.pem" and known[name].certificate is None:
            content = other_lists(scene, scene.certificates[path], name, revoked=False)
            yield Change(name, certificates={path: (content, PUBLIC)})


# Keys


def key_readable(scene: Scene) -> Iterator[Change]:
    """A private key is readable by every user of the machine and of the container."""
    for path, content in scene.certificates.items():
        if path.endswith(".key"):
            yield Change(path, certificates={path: (content, 0o644)})
