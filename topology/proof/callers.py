"""Topology -> [Check]: every kind of certificate a caller could come with, and what each gets, by first principles.

As `expectation`, whose rules apply here too, this reads what the author wrote and nothing else.  What a verifier makes
of a certificate is said by RFC 5280, and where that leaves a choice by OpenSSL as nginx and Node.js use it, measured.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from topology.description.model import Host, Route, Service, Topology
from topology.proof.expectation import (
    REFUSED,
    Answer,
    Arrival,
    Caller,
    Check,
    LeftOut,
    Standing,
    answers_behind,
    is_ours,
    most_welcome,
    ruled,
    sentence,
    service_answers,
    service_refuses,
    trusted,
    via,
)

FAMILY = "caller"


class Worth(Enum):
    """What somebody who asks for certificates, and trusts the authority, makes of one."""

    ITSELF = "the identity that it names"
    ANOTHER = "somebody else with a good certificate"
    BAD = "a bad certificate"
    BROKEN = "no handshake"


@dataclass(frozen=True)
class Kind:
    """worth: to a gateway; why: a sentence; at_service: its worth to a service with TLS of its own, if another."""

    worth: Worth
    why: str
    at_service: Worth | None = None


ITSELF, ANOTHER, BAD, BROKEN = Worth

KINDS: Mapping[str, Kind] = {
    # Of whom it is
    "impostor-authority": Kind(BAD, "An authority with the same name and another key signed it."),
    "impostor-without-identifiers": Kind(
        BAD, "An authority with the same name signed it, and without key identifiers the signature alone tells."
    ),
    "impostor-with-real-identifier": Kind(
        BAD, "An authority with the same name signed it, under the key identifier of the real one."
    ),
    "impostor-and-its-root": Kind(BAD, "A chain that comes with a root of its own is not trusted for that."),
    "server-certificate": Kind(BAD, "The server's own certificate is for servers."),
    "servers-authority": Kind(BAD, "The authority that vouches for servers does not vouch for callers here."),
    "foreign-key-identifier": Kind(BAD, "It names a key as its signer's that no trusted authority has."),
    "without-key-identifiers": Kind(ITSELF, "Key identifiers help to find the signer; nobody insists on them."),
    "tampered": Kind(BAD, "Its signature is wrong."),
    "wrong-key": Kind(BROKEN, "Who shows a certificate without its key cannot finish the handshake."),
    "outlives-authority": Kind(ITSELF, "Both it and its authority are valid today."),
    # What it is for
    "purpose-missing": Kind(ITSELF, "Without an extended key usage it is for everything."),
    "purpose-any": Kind(BAD, "OpenSSL does not take anyExtendedKeyUsage for clientAuth."),
    "purpose-any-and-client": Kind(ITSELF, "clientAuth is among its purposes."),
    "purpose-both": Kind(ITSELF, "clientAuth is among its purposes."),
    "purpose-code-signing": Kind(BAD, "It is for signing code."),
    "purpose-critical": Kind(ITSELF, "A critical purpose has to be heeded, and is met."),
    "usage-missing": Kind(ITSELF, "Without a key usage its key may be used for everything."),
    "usage-encipherment": Kind(BAD, "Its key may not sign, and a TLS client signs."),
    "usage-agreement": Kind(ITSELF, "OpenSSL takes a key for key agreement for one of a TLS client."),
    "usage-certificates": Kind(BAD, "Its key may sign certificates alone, and no handshake."),
    "authority-as-caller": Kind(BAD, "An authority's key signs certificates and revocation lists, and no handshake."),
    "ca-true": Kind(ITSELF, "That it could be an authority does not keep it from being a caller."),
    "without-constraints": Kind(ITSELF, "Without basic constraints it is no authority, which a caller need not be."),
    "without-alternative-names": Kind(ITSELF, "A caller is known by its subject."),
    "unknown-critical-extension": Kind(BAD, "What is critical and not understood has to be refused (RFC 5280, 4.2)."),
    "unknown-extension": Kind(ITSELF, "What is not critical and not understood is passed over (RFC 5280, 4.2)."),
    # What lies between it and the root
    "intermediate": Kind(ITSELF, "It comes with the one intermediate that lies between it and the root."),
    "intermediate-missing": Kind(BAD, "The intermediate was not sent, and nobody else has it."),
    "intermediate-expired": Kind(BAD, "Its intermediate has expired."),
    "intermediate-not-yet-valid": Kind(BAD, "Its intermediate is not valid yet."),
    "intermediate-revoked": Kind(BAD, "Its intermediate stands on the root's revocation list."),
    "intermediate-without-crl": Kind(BAD, "There is no revocation list for what its intermediate signs."),
    "intermediate-ca-false": Kind(BAD, "What signed it is no authority."),
    "intermediate-usage": Kind(BAD, "The key of its intermediate may not sign certificates."),
    "intermediate-for-servers": Kind(BAD, "Its intermediate may sign certificates for servers alone."),
    "intermediate-tampered": Kind(BAD, "The signature of its intermediate is wrong."),
    "chain-out-of-order": Kind(ITSELF, "Whoever verifies puts the chain in order."),
    "chain-with-root": Kind(ITSELF, "A root that was sent along is passed over."),
    "chain-too-long": Kind(
        BAD, "The gateway takes one intermediate at most (ssl_verify_depth), and there are two.", at_service=ITSELF
    ),
    "path-length": Kind(BAD, "An authority signed it whose own signer allows no further authority."),
    "name-constraints": Kind(BAD, "Its intermediate may not sign for this name."),
    "junk-chain": Kind(ITSELF, "Certificates that lead nowhere are passed over."),
    # What it is made of
    "ecdsa-p256": Kind(ITSELF, "Its key is as good as any."),
    "ecdsa-p384": Kind(ITSELF, "Its key is as good as any."),
    "ecdsa-p521": Kind(ITSELF, "Its key is as good as any."),
    "ed25519": Kind(ITSELF, "Its key is as good as any."),
    "ed448": Kind(ITSELF, "Its key is as good as any."),
    "rsa-1024": Kind(BAD, "Its key is too short: OpenSSL's security level 2 asks for 2048 bits of RSA."),
    "rsa-2048": Kind(ITSELF, "Its key is as good as any."),
    "rsa-4096": Kind(ITSELF, "Its key is as good as any."),
    "sha-1": Kind(BAD, "It was signed with SHA-1, which OpenSSL's security level 2 takes for broken."),
    "version-1": Kind(ITSELF, "Certificates of version 1 have no extensions, and none is asked for."),
    "60-kilobytes": Kind(ITSELF, "Up to 100 KB of certificates are read."),
    "110-kilobytes": Kind(BROKEN, "OpenSSL reads 100 KB of certificates at most."),
    # What it is called
    "subject-empty": Kind(ANOTHER, "It has no name."),
    "subject-comma": Kind(ANOTHER, "A comma in a name ends no part of it."),
    "subject-newline": Kind(ANOTHER, "A line's end in a name ends neither the name nor a header."),
    "subject-utf8": Kind(ANOTHER, "The name goes on beyond ASCII."),
    "subject-slash": Kind(ANOTHER, "A slash in a name begins no part of it."),
    "subject-pipe": Kind(ANOTHER, "A name that looks like issuer and subject is a subject."),
    "subject-quote": Kind(ANOTHER, "A quotation mark in a name ends no comparison."),
    "subject-nul": Kind(ANOTHER, "A zero byte in a name does not end it."),
    "subject-space": Kind(ANOTHER, "A space at a name's end belongs to it."),
    "subject-dollar": Kind(ANOTHER, "A name is not a variable."),
    "subject-other-case": Kind(ANOTHER, "Names are compared to the letter."),
    "subject-two-names": Kind(ANOTHER, "A second common name makes another subject."),
    "subject-two-in-one": Kind(ANOTHER, "A second common name makes another subject."),
    "subject-organisation": Kind(ANOTHER, "An organisation beside the common name makes another subject."),
    "subject-unit": Kind(ANOTHER, "A unit is no common name."),
}  # fmt: skip
"""What a caller shows -> what follows from it.  pki.zoo makes each of them."""

SERVERS_KINDS = ("server-certificate", "servers-authority")

TURNED_AWAY = Answer(0, "")
"""No handshake, and so no answer."""


def checks(topology: Topology, elsewhere: Collection[str] = ()) -> tuple[Check, ...]:
    """Every kind of caller on every route of every host: caller by caller, so that each is got ready once.

    elsewhere: as in `expectation.checks`; whoever forges needs no key of an identity's.
    """
    del elsewhere
    return tuple(
        check
        for name, host in topology.hosts.items()
        for check in (*gateway_checks(topology, name, host), *own_tls_checks(topology, name, host))
    )


def gateway_checks(topology: Topology, name: str, host: Host) -> Iterator[Check]:
    welcome = {prefix: most_welcome(topology, host, route) for prefix, route in host.routes.items()}
    for identity in dict.fromkeys(welcome.values()):
        for caller in callers(topology, name, host, identity):
            for prefix in host.routes:
                if welcome[prefix] == identity:
                    yield from route_checks(topology, name, prefix, caller)


def callers(topology: Topology, name: str, host: Host, identity: str | None) -> Iterator[Caller]:
    """Everybody who could imitate an identity at a host; nobody where its authority is not ours to sign with."""
    if identity is None or not is_ours(topology, topology.identities[identity].authority):
        return
    authority = topology.identities[identity].authority
    for kind in KINDS:
        if not lacking(topology, host, identity, kind):
            at = name if kind in SERVERS_KINDS else ""
            yield Caller(f"{identity}-{kind}", identity, kind, authority, at)


def lacking(topology: Topology, host: Host, identity: str, kind: str) -> str:
    """Why a kind cannot be had where a host is to see it; empty where it can."""
    one = topology.identities[identity]
    if kind == "sha-1" and topology.authorities[one.authority].key == "ed25519":
        return "an Ed25519 key signs without a digest"
    if kind == "subject-other-case" and one.common_name.swapcase() == one.common_name:
        return "the name has no letters"
    if kind in SERVERS_KINDS and not is_ours(topology, servers_authority(topology, host)):
        return "who vouches for the server is not ours to sign with"
    if kind == "servers-authority" and servers_authority(topology, host) in (one.authority, *trusted(host)):
        return "the authority that vouches for the server vouches for callers, too"
    return ""


def servers_authority(topology: Topology, host: Host) -> str:
    """Who vouches for a host's certificate, and for those of its services."""
    return host.tls.authority if host.tls else next(iter(topology.authorities), "")


def left_out(topology: Topology, elsewhere: Collection[str] = ()) -> tuple[LeftOut, ...]:
    """What `checks` has no cells for, and why."""
    del elsewhere
    found = [one for name, host in topology.hosts.items() for one in left_out_at(topology, name, host)]
    return tuple(dict.fromkeys(found))


def left_out_at(topology: Topology, name: str, host: Host) -> Iterator[LeftOut]:
    for route in host.routes.values():
        identity = most_welcome(topology, host, route)
        if identity is None:
            yield LeftOut(name, "", "there is no identity to imitate: every kind of certificate")
        elif not is_ours(topology, topology.identities[identity].authority):
            yield LeftOut(name, "", f"nobody here can sign as {identity}'s authority: what imitates it")
        else:
            for kind in KINDS:
                if why := lacking(topology, host, identity, kind):
                    yield LeftOut(name, "", f"{why}: {identity}-{kind}")


# What they get


def route_checks(topology: Topology, name: str, prefix: str, caller: Caller) -> Iterator[Check]:
    host = topology.hosts[name]
    route = host.routes[prefix]
    own, why = first_answer(topology, host, route, caller)
    refused = own is TURNED_AWAY
    for path, answer in answers_behind(topology, host, prefix, own):
        for tls in ("1.2", "1.3") if host.tls else ("plain",):
            yield Check(
                host=name, route=prefix, caller=caller.name, via=via(route), tls=tls, path=path,
                expected=REFUSED if refused else answer.status, why=f"{answer.why} {why}".strip(),
                shown=caller, family=FAMILY,
            )  # fmt: skip


def first_answer(topology: Topology, host: Host, route: Route, caller: Caller) -> tuple[Answer, str]:
    """What a gateway itself answers to one of KINDS, or TURNED_AWAY; and why its certificate is worth that here."""
    worth, why = worth_of(host, caller, KINDS[caller.flaw].worth)
    if worth is BROKEN and host.tls is not None:
        return TURNED_AWAY, why
    return at_gateway(topology, host, route, caller, worth), why


def worth_of(host: Host, caller: Caller, worth: Worth) -> tuple[Worth | None, str]:
    """What a certificate is worth to a host, and why; None where it is never asked for."""
    if host.client_certificates is None:
        return None, ""
    if caller.authority not in trusted(host) and worth is not BROKEN:
        return BAD, f"{caller.authority} is not trusted here."
    return worth, KINDS[caller.flaw].why


def at_gateway(topology: Topology, host: Host, route: Route, caller: Caller, worth: Worth | None) -> Answer:
    """What the gateway itself says to somebody with such a certificate."""
    standing = Standing.NONE if worth is None else Standing.BAD if worth is BAD else Standing.GOOD
    taken_for = Caller(caller.name, None if worth is ANOTHER else caller.identity, authority=caller.authority)
    return ruled(Arrival(topology, host, route, taken_for, standing))


def own_tls_checks(topology: Topology, name: str, host: Host) -> Iterator[Check]:
    """The same callers at each service that terminates TLS itself."""
    for caller in callers(topology, name, host, most_welcome(topology, host, Route())):
        for service in host.services.values():
            yield from service_checks(name, host, service, caller)


def service_checks(name: str, host: Host, service: Service, caller: Caller) -> Iterator[Check]:
    if service.tls is None:
        return
    kind = KINDS[caller.flaw]
    worth, why = worth_of(host, caller, kind.at_service or kind.worth)
    asked = service.tls.client_certificate == "required"
    refused = asked and worth in (BAD, BROKEN)
    rule = sentence(service_refuses if refused else service_answers)
    for tls in ("1.2", "1.3"):
        yield Check(
            host=name, route=f":{service.tls.port}/", caller=caller.name, via="direct", tls=tls,
            path=service.health or "/", expected=REFUSED if refused else 200,
            why=f"{rule} {why if asked else ''}".strip(), shown=caller, port=service.tls.port, family=FAMILY,
        )  # fmt: skip
