"""What is wrong with a certificate, found by comparing it with whom a gateway trusts: OpenSSL's number alone does not
tell, since 2, 19, 20 and 21 swap places with what is sent and what is trusted.

Sources: RFC 5280, section 6; OpenSSL, x509_vfy.c (order of its checks) and openssl-verification-options(1).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509

from topology.explaining.certificates import Certificate, RevocationList, extension

CLIENT, SERVER = "clientAuth", "serverAuth"
LONGEST = 20
WEAKEST_RSA, WEAKEST_EC = 2048, 224
WEAK_DIGESTS = ("md5", "sha1")
BUILDING = frozenset({2, 18, 19, 20, 21, 22})
"""OpenSSL's numbers for a chain that does not end at a trusted root, whatever the reason."""

UNFINISHED = BUILDING | {3}
"""Where the chain has no end, OpenSSL may tell last that it misses its revocation list (3), or that it ends (21)."""

NAME_CONSTRAINTS = frozenset(range(47, 54))
"""OpenSSL's numbers for a name that an authority must not sign."""


@dataclass(frozen=True)
class Trust:
    """Whom a gateway believes, and how it looks.

    anchors, lists: certificates and revocation lists of its files; depth: how many intermediates it accepts; checked:
    whether it reads revocation lists at all; purpose: CLIENT or SERVER.
    """

    anchors: tuple[Certificate, ...]
    lists: tuple[RevocationList, ...] = ()
    depth: int = 1
    checked: bool = True
    purpose: str = CLIENT


@dataclass(frozen=True)
class Shown:
    """What somebody shows: its own certificate first, then what it sends along."""

    sent: tuple[Certificate, ...]
    trust: Trust
    now: datetime
    known: Mapping[str, Certificate] = field(default_factory=dict)
    """Authorities that are known by a name, whether they are trusted or not."""

    @property
    def leaf(self) -> Certificate:
        return self.sent[0]


@dataclass(frozen=True)
class Flaw:
    """kind: in a word; why: whole sentences; fix: what to change; codes: the numbers by which OpenSSL tells of it.

    setting: the nginx directive, without its `ssl_` or `proxy_ssl_`, that decides over it.
    """

    kind: str
    why: str
    fix: str
    codes: frozenset[int]
    setting: str = ""


def path_of(shown: Shown) -> tuple[Certificate, ...]:
    """From the leaf up, as far as issuers can be found that really signed, in what is sent and what is trusted."""
    path = [shown.leaf]
    while not is_root(path[-1]) and len(path) < LONGEST:
        above = issuers(path[-1], (*shown.trust.anchors, *shown.sent[1:]))
        above = [one for one in above if one not in path]
        if not above:
            break
        path.append(above[0])
    return tuple(path)


def is_root(one: Certificate) -> bool:
    """Signed with its own key; where it names another certificate of its own name as its signer's, it is none."""
    return one.self_issued and one.points_to(one) and one.signed_by(one)


def issuers(one: Certificate, among: Sequence[Certificate]) -> list[Certificate]:
    """Whose name and key fit; first those that the authority key identifier means."""
    fitting = [other for other in among if other.subject == one.issuer and one.signed_by(other)]
    return sorted(fitting, key=lambda other: not one.points_to(other))


def flaws(shown: Shown) -> tuple[Flaw, ...]:
    """Everything that is wrong, in no order of importance; empty where the certificate is good here."""
    path = path_of(shown)
    return tuple(flaw for judge in JUDGES for flaw in judge(shown, path))


def cause(shown: Shown, code: int) -> tuple[Flaw | None, tuple[Flaw, ...]]:
    """(the flaw that OpenSSL's number stands for, the others); (None, all) where none goes with it."""
    found = flaws(shown)
    if code in NAME_CONSTRAINTS:
        found = (*constraints(shown, path_of(shown)), *found)
    main = next((flaw for flaw in found if code in flaw.codes), None)
    return main, tuple(flaw for flaw in found if flaw is not main)


# The chain itself


def unfinished(shown: Shown, path: tuple[Certificate, ...]) -> Iterator[Flaw]:
    """Chains that end before a trusted root."""
    end, anchors = path[-1], shown.trust.anchors
    if is_root(end):
        if end not in anchors:
            yield self_signed(shown) if len(path) == 1 else foreign_root(shown, end)
        return
    same_name = [one for one in (*anchors, *shown.sent[1:]) if one.subject == end.issuer and one != end]
    known = issuers(end, tuple(shown.known.values()))
    if end in anchors and len(path) > 1:
        yield incomplete_anchor(end)
    elif same_name:
        yield impostor(shown, end, same_name[0])
    elif missing := [one for one in known if not is_root(one) and leads_to(one, shown)]:
        yield missing_intermediate(shown, end, missing[0])
    else:
        yield other_authority(shown, end, known[0] if known else None)


def leads_to(one: Certificate, shown: Shown) -> bool:
    """Whether a certificate is trusted in the end, by way of what is known."""
    seen: list[Certificate] = []
    while one not in shown.trust.anchors and one not in seen:
        seen.append(one)
        above = issuers(one, (*shown.trust.anchors, *shown.known.values()))
        if not above:
            return False
        one = above[0]
    return is_root(one)


def self_signed(shown: Shown) -> Flaw:
    twin = next((one for one in shown.trust.anchors if one.subject == shown.leaf.issuer), None)
    beyond = f"; a trusted authority has the same name, but another key ({ids(shown.leaf, twin)})" if twin else ""
    return Flaw(
        "self-signed",
        f"{shown.leaf.subject} is signed with its own key: no authority vouches for it{beyond}.",
        f"show a certificate that was issued by {listed(shown.trust.anchors)}",
        UNFINISHED,
        "client_certificate" if shown.trust.purpose == CLIENT else "trusted_certificate",
    )


def foreign_root(shown: Shown, root: Certificate) -> Flaw:
    trusted = (*shown.trust.anchors, *(one for one in shown.known.values() if leads_to(one, shown)))
    twin = next((one for one in trusted if one.subject == root.subject), None)
    if twin is not None:
        return impostor(shown, shown.sent[0] if shown.sent[0].issuer == root.subject else root, twin)
    return other_authority(shown, shown.leaf, root)


def incomplete_anchor(end: Certificate) -> Flaw:
    return Flaw(
        "root-missing",
        f"the trust file holds the intermediate {end.subject}, but not {end.issuer}, which signed it: OpenSSL believes "
        "a chain only where it ends in a self-signed certificate of that file.",
        f"add the root {end.issuer} to the trust file",
        UNFINISHED,
        "client_certificate",
    )


def impostor(shown: Shown, end: Certificate, named: Certificate) -> Flaw:
    if end.issuer_key_id and end.issuer_key_id == named.key_id:
        return Flaw(
            "bad-signature",
            f"{end.subject} says that {named.subject} signed it, down to the key identifier {short(named.key_id)}, but "
            "the signature was not made with that key: it is forged, or was damaged or changed after it was signed.",
            f"have the certificate issued again by {named.subject}",
            UNFINISHED | {7, 30},
        )
    return Flaw(
        "impostor",
        f"{end.subject} was signed by an authority that is called {named.subject} like the trusted one, but has another"
        f" key: {ids(end, named)}. Was the authority made anew since the certificate was issued, or is it an impostor?",
        f"have the certificate issued by the authority whose key identifier is {short(named.key_id)}; or, where the "
        "other authority is the right one, put its certificate into the trust file",
        UNFINISHED | {7, 30},
        "client_certificate" if shown.trust.purpose == CLIENT else "trusted_certificate",
    )


def missing_intermediate(shown: Shown, end: Certificate, missing: Certificate) -> Flaw:
    along = "nothing" if len(shown.sent) == 1 else ", ".join(one.subject for one in shown.sent[1:])
    return Flaw(
        "intermediate-missing",
        f"{end.subject} was signed by the intermediate {missing.subject}, whose root is trusted; but the intermediate "
        f"itself was neither sent along ({along} was) nor is it in the trust file.",
        f"append the certificate of {missing.subject} to the certificate file that is shown",
        UNFINISHED,
    )


def other_authority(shown: Shown, end: Certificate, known: Certificate | None) -> Flaw:
    label = next((name for name, one in shown.known.items() if one == known), "")
    who = f"{end.issuer}" + (f" (the lab's authority {label})" if label else "")
    unknown = ""
    if known is None:
        unknown = ", which is no authority of the lab"
        if len(shown.sent) == 1:
            unknown += "; nothing was sent along that leads from there to one that is trusted"
    return Flaw(
        "other-authority",
        f"{end.subject} was issued by {who}{unknown}; this gateway trusts {listed(shown.trust.anchors)} alone.",
        f"show a certificate of {listed(shown.trust.anchors)}, or trust that authority, too",
        UNFINISHED,
        "client_certificate" if shown.trust.purpose == CLIENT else "trusted_certificate",
    )


def too_deep(shown: Shown, path: tuple[Certificate, ...]) -> Iterator[Flaw]:
    between = path[1:-1]
    if path[-1] in shown.trust.anchors and is_root(path[-1]) and len(between) > shown.trust.depth:
        yield Flaw(
            "too-deep",
            f"{len(between)} intermediates stand between {shown.leaf.subject} and its root "
            f"({', '.join(one.subject for one in between)}), and the depth allows {shown.trust.depth}: since OpenSSL "
            "1.1.0 it counts intermediates alone. Every certificate that is needed is there.",
            f"set the depth to {len(between)}",
            UNFINISHED,
            "verify_depth",
        )


def misnamed(_: Shown, path: tuple[Certificate, ...]) -> Iterator[Flaw]:
    """Signed with a trusted key, as the signature shows; but the certificate itself says that somebody else did."""
    for one, above in itertools.pairwise(path):
        if one.points_to(above):
            continue
        if one.issuer_key_id and above.key_id and one.issuer_key_id != above.key_id:
            yield Flaw(
                "foreign-key-identifier",
                f"{one.subject} names another key as that of its signer (authority key identifier "
                f"{short(one.issuer_key_id)}) than {above.subject} has ({short(above.key_id)}), which really signed "
                "it; OpenSSL looks for a signer with the key that is named.",
                f"issue it again, with the key identifier of {above.subject}",
                UNFINISHED | {30},
            )
        else:
            yield Flaw(
                "intermediate-missing",
                f"{one.subject} was signed by a certificate of {above.subject} with the serial {one.issuer_serial}, "
                f"and that one was neither sent along nor is it in the trust file; the one there has {above.serial}.",
                "append the certificate with that serial to the certificate file that is shown",
                UNFINISHED | {31},
            )


# The certificates of the chain


def dates(shown: Shown, path: tuple[Certificate, ...]) -> Iterator[Flaw]:
    for one in path:
        if one.end < shown.now:
            yield Flaw(
                "expired",
                f"{one.subject} ended at {stamp(one.end)}; now it is {stamp(shown.now)} there.",
                "renew the certificate" if one == shown.leaf else f"renew {one.subject} and what it signed",
                frozenset({10}),
            )
        if one.start > shown.now:
            yield Flaw(
                "not-yet-valid",
                f"{one.subject} begins at {stamp(one.start)}; now it is {stamp(shown.now)} there.",
                f"wait until {stamp(one.start)}, set the clock right if it is wrong, or issue certificates that begin "
                "some minutes in the past",
                frozenset({9}),
            )


def purpose(shown: Shown, path: tuple[Certificate, ...]) -> Iterator[Flaw]:
    wanted = shown.trust.purpose
    for one in path:
        if one.purposes is not None and wanted not in one.purposes and not is_root(one):
            told = ", ".join(one.purposes) or "nothing"
            beyond = " (anyExtendedKeyUsage alone does not do)" if "anyExtendedKeyUsage" in one.purposes else ""
            yield Flaw(
                "wrong-purpose",
                f"the extended key usage of {one.subject} is {told}, and not {wanted}{beyond}.",
                f"issue it with extendedKeyUsage={wanted}, or without the extension",
                frozenset({26}),
            )
    usages = path[0].usages
    if usages is not None and not {"digitalSignature", "keyAgreement"} & {*usages} and shown.trust.purpose == CLIENT:
        yield Flaw(
            "wrong-usage",
            f"the key usage of {path[0].subject} is {', '.join(usages) or 'none that is known'}; who proves with its "
            "key who it is needs digitalSignature.",
            "issue it with keyUsage=digitalSignature",
            frozenset({26}),
        )


def authorities(shown: Shown, path: tuple[Certificate, ...]) -> Iterator[Flaw]:
    """What the certificates above the leaf are allowed to sign."""
    for below, one in enumerate(path[1:]):
        if not one.authority:
            yield Flaw(
                "issuer-not-authority",
                f"{one.subject} signed {path[below].subject}, but is not the certificate of an authority (CA:TRUE is "
                "missing).",
                "have it issued by an authority",
                frozenset({24, 79}),
            )
        elif one.usages is not None and "keyCertSign" not in one.usages:
            yield Flaw(
                "issuer-may-not-sign",
                f"the key usage of {one.subject} lacks keyCertSign, so it must not sign {path[below].subject}.",
                "issue that authority with keyUsage=keyCertSign,cRLSign",
                frozenset({24, 32, 79}),
            )
        inner = sum(not each.self_issued for each in path[1 : below + 1])
        if one.path_length is not None and inner > one.path_length:
            yield Flaw(
                "path-length",
                f"{one.subject} allows {one.path_length} authorities below it (pathlen), and {inner} stand there.",
                f"issue {one.subject} with a larger path length, or have the leaf signed further up",
                frozenset({3, 25}),
            )


def strength(_: Shown, path: tuple[Certificate, ...]) -> Iterator[Flaw]:
    """Keys and signatures below OpenSSL's security level 2, which is what Debian builds in."""
    for position, one in enumerate(path):
        least = WEAKEST_RSA if one.key.startswith("RSA") else WEAKEST_EC
        if one.bits and one.bits < least:
            code = 67 if position else 66
            yield Flaw(
                "weak-authority-key" if position else "weak-key",
                f"the key of {one.subject} is {one.key}; OpenSSL's security level 2 wants {least} bits or more.",
                "make a new authority with a larger key and issue its certificates again; as a stop-gap "
                "`ssl_ciphers DEFAULT:@SECLEVEL=1`" if position else "make a larger key and have it certified",
                frozenset({code}),
                "ciphers",
            )  # fmt: skip
        if one.digest in WEAK_DIGESTS and not is_root(one):
            yield Flaw(
                "weak-digest",
                f"{one.subject} is signed with {one.digest.upper().replace('SHA1', 'SHA-1')}, which OpenSSL's security "
                "level 2 refuses (level 1 does, too; only 0 lets it pass).",
                "have it signed with SHA-256; as a stop-gap `ssl_ciphers DEFAULT:@SECLEVEL=0`",
                frozenset({68}),
                "ciphers",
            )


def critical(_: Shown, path: tuple[Certificate, ...]) -> Iterator[Flaw]:
    for one in path:
        if one.unknown_critical:
            yield Flaw(
                "unknown-critical",
                f"{one.subject} has the critical extension {', '.join(one.unknown_critical)}, which OpenSSL does not "
                "know and therefore must refuse (RFC 5280, 4.2).",
                "issue it without that extension, or not critical",
                frozenset({34}),
            )


# Revocation


def revocation(shown: Shown, path: tuple[Certificate, ...]) -> Iterator[Flaw]:
    """With a list, OpenSSL wants one for every authority of the chain, the root's own included (CRL_CHECK_ALL).

    Where the chain does not end at anybody who is trusted, lists have nothing to say of it.
    """
    if not shown.trust.checked or path[-1] not in shown.trust.anchors:
        return
    for position, one in enumerate(path):
        above = path[position + 1] if position + 1 < len(path) else one if is_root(one) else None
        yield from listed_by(shown, one, above)


def listed_by(shown: Shown, one: Certificate, above: Certificate | None) -> Iterator[Flaw]:
    named = [each for each in shown.trust.lists if each.issuer == one.issuer]
    if not named:
        if above is not None:
            have = ", ".join(dict.fromkeys(each.issuer for each in shown.trust.lists)) or "nobody"
            yield Flaw(
                "crl-missing",
                f"the file of revocation lists has none of {one.issuer} (it has lists of {have}); once there is such a "
                "file, every authority of the chain needs its list in it, the root included.",
                f"append the list of {one.issuer} to the file",
                frozenset({3}),
                "crl",
            )
        return
    genuine = [each for each in named if above is None or each.signed_by(above)]
    if not genuine:
        yield Flaw(
            "crl-forged",
            f"the revocation list of {one.issuer} was not signed with that authority's key.",
            f"take the list that {one.issuer} itself publishes",
            frozenset({3, 8}),
            "crl",
        )
        return
    yield from crl_dates(shown, genuine[0])
    if any(one.serial in each.serials for each in genuine):
        yield Flaw(
            "revoked",
            f"{one.subject} (serial {one.serial}) stands on the revocation list of {one.issuer}.",
            "issue a new certificate; one that is revoked stays so",
            frozenset({23}),
            "crl",
        )


def crl_dates(shown: Shown, found: RevocationList) -> Iterator[Flaw]:
    if found.end is not None and found.end < shown.now:
        yield Flaw(
            "crl-expired",
            f"the revocation list of {found.issuer} ended at {stamp(found.end)}; now it is {stamp(shown.now)} there. "
            "An old list refuses everybody who shows a certificate, good ones too.",
            "renew the list and reload the gateway",
            frozenset({12}),
            "crl",
        )
    if found.start > shown.now:
        yield Flaw(
            "crl-not-yet-valid",
            f"the revocation list of {found.issuer} begins at {stamp(found.start)}; now it is {stamp(shown.now)} "
            "there.",
            "set the clock right, or issue lists that begin some minutes in the past",
            frozenset({11}),
            "crl",
        )


def constraints(shown: Shown, path: tuple[Certificate, ...]) -> Iterator[Flaw]:
    """Name constraints of the authorities: OpenSSL alone judges them; here it is said whose they are."""
    for one in path[1:]:
        found = extension(one.raw, x509.NameConstraints) if one.raw is not None else None
        if found is not None:
            yield Flaw(
                "name-constraints",
                f"{one.subject} may sign certain names alone (name constraints), and {shown.leaf.subject} with "
                f"{', '.join(shown.leaf.san) or 'no further names'} is none of them.",
                "give the certificate a name that its authority may sign, or issue it by another authority",
                NAME_CONSTRAINTS,
            )


JUDGES: tuple[Callable[[Shown, tuple[Certificate, ...]], Iterator[Flaw]], ...] = (
    authorities, too_deep, unfinished, misnamed, dates, purpose, strength, critical, revocation,
)  # fmt: skip


# Words


def ids(one: Certificate, named: Certificate | None) -> str:
    own = short(one.issuer_key_id) if one.issuer_key_id else "none"
    return f"it names its issuer's key as {own}, the trusted one's is {short(named.key_id) if named else 'unknown'}"


def short(identifier: str) -> str:
    return ":".join(identifier[n : n + 2] for n in range(0, min(len(identifier), 16), 2)) or "none"


def listed(certificates: Sequence[Certificate]) -> str:
    return ", ".join(dict.fromkeys(one.subject for one in certificates)) or "nobody"


def stamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
