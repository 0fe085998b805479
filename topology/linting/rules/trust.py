"""Whose certificates are accepted: authorities, their revocation lists, and how long a chain may be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from topology.linting.findings import ERROR, NOTE, WARNING, Found, rule
from topology.linting.gateway import Gateway
from topology.linting.material import (
    MANY,
    certificates,
    intermediates,
    is_authority,
    is_root,
    revocation_lists,
    titled,
    uses,
)
from topology.nginx import listening
from topology.nginx.tree import Block, Directive

PUBLIC = frozenset({
    "ca-bundle.crt", "ca-bundle.trust.crt", "ca-certificates.crt", "ca-root-nss.crt", "cacert.pem", "cert.pem",
    "tls-ca-bundle.pem",
})  # fmt: skip
"""What systems call their bundle of public authorities."""

TRUST = ("ssl_client_certificate", "ssl_trusted_certificate")
EGRESS_TRUST = ("proxy_ssl_trusted_certificate",)
CRLS = ("ssl_crl", "proxy_ssl_crl")

WEAKEST_RSA = 2048


def verifying(gateway: Gateway) -> Iterator[Block]:
    """The servers that ask callers for certificates."""
    return (server for server in gateway.servers if listening.verification(server) != "off")


def checking(gateway: Gateway) -> Iterator[Block]:
    """The locations that verify whom they call."""
    seen = []
    for call in gateway.calls:
        if call.tls and call.block.value("proxy_ssl_verify", "off") == "on" and call.block not in seen:
            seen.append(call.block)
            yield call.block


def trusted(gateway: Gateway, block: Block, names: Sequence[str]) -> list[x509.Certificate] | None:
    """The authorities that a block trusts; None where one of the files is not at hand."""
    found: list[x509.Certificate] = []
    for name in names:
        if path := block.value(name):
            there = certificates(gateway.configuration, path)
            if there is None:
                return None
            found += there
    return found


def both_ways(gateway: Gateway) -> Iterator[tuple[Block, str, list[x509.Certificate] | None, str]]:
    """(block, its directive of trust, the authorities, `` or `proxy_`), of callers and of those that are called."""
    for server in verifying(gateway):
        yield server, TRUST[0], trusted(gateway, server, TRUST), ""
    for location in checking(gateway):
        yield location, EGRESS_TRUST[0], trusted(gateway, location, EGRESS_TRUST), "proxy_"


@rule(WARNING, "`ssl_crl` with the revocation list of every authority in `ssl_client_certificate`, or `ssl_ocsp on`")
def no_crl(gateway: Gateway) -> Iterator[Found]:
    """A certificate whose key was stolen, or whose holder left, is valid until it expires. nginx asks nobody by
    itself.
    """
    for server in verifying(gateway):
        asked = server.one("ssl_verify_client")
        if asked and not server.one("ssl_crl") and server.value("ssl_ocsp", "off") == "off":
            yield Found(asked.place, "client certificates are verified, and a revoked one is accepted")


@rule(ERROR, "put the lists of all authorities of the chain into one file, roots included: `cat int.crl root.crl`")
def crl_incomplete(gateway: Gateway) -> Iterator[Found]:
    """With `ssl_crl` OpenSSL wants a list for every authority of a chain, the root included
    (X509_V_FLAG_CRL_CHECK_ALL). One that lacks refuses every certificate of that chain: error 3, unable to get
    certificate CRL, and 400 for callers, 502 where it is `proxy_ssl_crl`.
    """
    for block, _, authorities, side in both_ways(gateway):
        crl = block.one(f"{side}ssl_crl")
        lists = revocation_lists(gateway.configuration, crl.value) if crl else None
        if crl is None or lists is None or authorities is None:
            continue
        issuers = {one.issuer for one in lists}
        for one in authorities:
            if is_authority(one) and one.subject not in issuers:
                yield Found(crl.place, f"{crl.value} has no revocation list of {titled(one.subject)}")


@rule(ERROR, "have the authority issue a new list, replace the file, and reload nginx")
def crl_out_of_date(gateway: Gateway) -> Iterator[Found]:
    """A list whose next update is past, or that is not valid yet, refuses every certificate that it could tell of:
    error 12 or 11, and 400 for everybody who shows one. nginx reads it at start and reload only.
    """
    for use in uses(gateway.configuration, *CRLS):
        for one in revocation_lists(gateway.configuration, use.path) or ():
            end = one.next_update_utc
            if end is not None and end <= gateway.now:
                yield Found(use.directive.place, f"the list of {titled(one.issuer)} ended on {end:%Y-%m-%d}")
            elif one.last_update_utc > gateway.now:
                begin = one.last_update_utc
                yield Found(use.directive.place, f"the list of {titled(one.issuer)} begins on {begin:%Y-%m-%d %H:%M}")


@rule(ERROR, "`ssl_verify_client optional`, which refuses what does not verify")
def verification_without_authority(gateway: Gateway) -> Iterator[Found]:
    """`optional_no_ca` accepts a certificate that anybody made for himself; that it did not verify stands in
    `$ssl_client_verify` alone, and its subject in `$ssl_client_s_dn` like any other.
    """
    for server in gateway.servers:
        found = server.one("ssl_verify_client")
        if found is not None and listening.verification(server) == "optional_no_ca":
            yield Found(found.place, "any certificate is accepted, whoever signed it")


@rule(ERROR, "as many as there are intermediates between a certificate and its root: `ssl_verify_depth 1` with one")
def verification_depth(gateway: Gateway) -> Iterator[Found]:
    """The depth (1 by default) is how many intermediates a chain may have. Too small, and certificates below a second
    intermediate are refused with error 20, 2 or 21 in place of 22, as if their authority were unknown. Larger than
    needed, and an intermediate that somebody was given for himself can make another one below it.
    """
    for block, name, authorities, side in both_ways(gateway):
        directive = block.one(f"{side}ssl_verify_depth")
        depth = int(directive.value) if directive is not None and directive.value.isdigit() else 1
        place = (directive or block.one(name) or block.directive).place
        if authorities is None:
            if depth > 1 and not is_public(gateway, block.value(name)):
                yield Found(place, f"chains of {depth} intermediates are accepted; are there any?", NOTE)
            continue
        needed = max(intermediates(authorities), sent(gateway, block, side))
        if needed > depth:
            yield Found(place, f"chains have up to {needed} intermediates, and no more than {depth} are accepted")
        elif depth > max(1, needed) and len(authorities) < MANY:
            yield Found(place, f"{depth} intermediates are accepted, and chains have {needed} at most", WARNING)


def sent(gateway: Gateway, block: Block, side: str) -> int:
    """How many intermediates neighbours send along: whoever this location calls, or those that call this server."""
    if side:
        calls = [call for call in gateway.calls if call.block == block]
        there = [gateway.reached(call) for call in calls]
        found = [certificates(one[0], one[1].value("ssl_certificate")) for one in there if one is not None]
        return max((intermediates(one) for one in found if one), default=0)
    names = listening.names(block)
    shown = [
        (one, call) for one, calls in gateway.neighbours_calls for call in calls if call.tls and call.name in names
    ]
    chains = [certificates(one, call.block.value("proxy_ssl_certificate")) for one, call in shown]
    return max((intermediates(chain) for chain in chains if chain), default=0)


@rule(WARNING, "leave `ssl_trusted_certificate` out, or let it hold nothing that `ssl_client_certificate` has not")
def trust_widened(gateway: Gateway) -> Iterator[Found]:
    """`ssl_trusted_certificate` is meant for OCSP responses. It is trusted for client certificates all the same, and
    not even announced to callers: whoever has a certificate of one of its authorities gets in.
    """
    for server in verifying(gateway):
        wide = server.one("ssl_trusted_certificate")
        if wide is None:
            continue
        more = certificates(gateway.configuration, wide.value)
        meant = certificates(gateway.configuration, server.value("ssl_client_certificate"))
        if more is None or meant is None:
            if wide.value != server.value("ssl_client_certificate"):
                yield Found(wide.place, f"client certificates of the authorities in {wide.value} are accepted, too")
            continue
        for one in more:
            if one not in meant:
                yield Found(wide.place, f"client certificates of {titled(one.subject)} are accepted, too", ERROR)


@rule(ERROR, "name the authority that signs your callers' certificates, and no other, in `ssl_client_certificate`")
def trust_in_the_public(gateway: Gateway) -> Iterator[Found]:
    """The bundle of public authorities is for servers that you call. As `ssl_client_certificate` it lets in everybody
    who ever got a certificate with the purpose of clients from any of them.
    """
    for server in verifying(gateway):
        for name in TRUST:
            found = server.one(name)
            if found is not None and is_public(gateway, found.value):
                yield Found(found.place, f"{found.value} holds public authorities, who certify anybody")


def is_public(gateway: Gateway, path: str) -> bool:
    found = certificates(gateway.configuration, path)
    return PurePosixPath(path).name in PUBLIC if found is None else len(found) >= MANY


@rule(ERROR, "put the root into the file, below its intermediates")
def trust_without_root(gateway: Gateway) -> Iterator[Found]:
    """OpenSSL ends a chain at a self-signed certificate only. Where a file of trust has an intermediate and not its
    root, every certificate below that is refused: error 2, unable to get issuer certificate.
    """
    for block, name, authorities, _ in both_ways(gateway):
        directive = block.one(name)
        if not authorities or directive is None:
            continue
        subjects = {one.subject for one in authorities}
        for one in authorities:
            if not is_root(one) and one.issuer not in subjects:
                yield Found(
                    directive.place, f"{titled(one.subject)} is there, and its issuer {titled(one.issuer)} is not"
                )


@rule(ERROR, "a new authority with ECDSA, or RSA of 2048 bits and more, and SHA-256")
def weak_authority(gateway: Gateway) -> Iterator[Found]:
    """OpenSSL's security level, 2 in today's images, refuses RSA below 2048 bits and signatures with SHA-1 (errors 67
    and 68): an update of the image locks everybody out. `@SECLEVEL=1` in `ssl_ciphers` is for the time until there
    is a new authority, and takes 1024 bits; SHA-1 takes 0.
    """
    seen: set[tuple[str, x509.Certificate]] = set()
    for block, name, _, side in both_ways(gateway):
        if "@SECLEVEL=" in block.value(f"{side}ssl_ciphers").upper():
            continue
        for directive in named(block, name, f"{side}ssl_certificate"):
            for one in certificates(gateway.configuration, directive.value) or ():
                if (weak := weakness(one)) and (directive.value, one) not in seen:
                    seen.add((directive.value, one))
                    yield Found(directive.place, f"{titled(one.subject)} {weak}")


def named(block: Block, *names: str) -> list[Directive]:
    return [found for name in names if (found := block.one(name)) is not None]


def weakness(certificate: x509.Certificate) -> str | None:
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < WEAKEST_RSA:
        return f"has a key of {key.key_size} bits"
    digest = certificate.signature_hash_algorithm
    if digest is not None and digest.name in ("sha1", "md5") and not is_root(certificate):
        return f"is signed with {digest.name.upper()}"
    return None


@rule(ERROR, "`ssl_session_cache none; ssl_session_tickets off;` where client certificates are verified")
def resumption_beside_crl(gateway: Gateway) -> Iterator[Found]:
    """A resumed session is not verified again: nginx takes over that it was. With a cache in shared memory, which also
    holds the keys of tickets, or with ticket keys of its own, sessions outlive the reload by which a revocation
    list comes into force, and who was revoked still gets in until the session times out.
    """
    for server in verifying(gateway):
        if not server.one("ssl_crl"):
            continue
        cache = server.one("ssl_session_cache")
        if cache is not None and any(one.startswith("shared:") for one in cache.arguments):
            yield Found(cache.place, "sessions in shared memory outlive the reload after a revocation")
        keys = server.one("ssl_session_ticket_key")
        if keys is not None and server.value("ssl_session_tickets", "on") == "on":
            yield Found(keys.place, "tickets under a key of their own outlive the reload after a revocation")
