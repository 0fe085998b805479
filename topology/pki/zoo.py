"""Every kind of certificate that a caller could come with, beyond the six of `forging`: odd ones, and bad ones.

Each kind is a change to a good draft, and to nothing but what its name says.  What a gateway makes of each of them is
not said here: `proof.callers` expects that on its own.

An intermediate authority needs a revocation list at the gateway, or everything below it is refused for that alone.
Therefore the intermediates here are further certificates of the authority that signs leaves anyway: its name, its key,
and so its revocation list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from topology.pki import drafting, issuing
from topology.pki.drafting import Draft, Key, Papers, extended, key_of, signed_by, stripped
from topology.pki.issuing import BACKDATED, CLIENT_AUTH, SERVER_AUTH, Issuer

LIFE = timedelta(days=30)
MADE_UP = ObjectIdentifier("1.3.6.1.4.1.32473.1")
"""Below the number that is reserved for examples (RFC 5612): no verifier knows it."""

LONGEST_STEM = 40
"""Of a name that something is added to: a common name has 64 characters at most."""


@dataclass(frozen=True)
class Scene:
    """Whom a forger imitates, and what he has got hold of.

    root, leaves: the identity's authority, and who signs its leaves, which is the same one or its intermediate;
    servers: who signs servers' certificates, None where that is not ours; domain: the server's name.
    """

    root: Issuer
    leaves: Issuer
    servers: Issuer | None
    domain: str
    common_name: str
    san: tuple[str, ...]
    now: datetime

    @property
    def is_deep(self) -> bool:
        return bool(self.leaves.chain)


Forger = Callable[[Scene], Draft]


def show(kind: str, scene: Scene) -> Papers:
    """What a caller of that kind shows.  KeyError for a kind that is not known."""
    return drafting.issue(KINDS[kind](scene))


def good(scene: Scene) -> Draft:
    """As the identity's authority would issue it, for a new key."""
    names = [issuing.general_name(text) for text in scene.san]
    return leaf(issuing.client_subject(scene.common_name), names, scene.leaves, CLIENT_AUTH, scene.now)


def leaf(
    subject: x509.Name, names: list[x509.GeneralName], signer: Issuer, purpose: ObjectIdentifier, now: datetime
) -> Draft:
    key = key_of(ec.generate_private_key(ec.SECP256R1()))
    draft = Draft(subject, key, signer, now - BACKDATED, now + LIFE, x509.random_serial_number(), (), signer.chain)
    for value, critical in (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (issuing.key_usage(), True),
        (x509.ExtendedKeyUsage([purpose]), False),
        (x509.SubjectAlternativeName(names), False),
        (x509.SubjectKeyIdentifier.from_public_key(key.public), False),
        (issuing.key_identifier_of(signer), False),
    ):
        draft = extended(draft, value, critical=critical)
    return draft


def authority(name: x509.Name, key: Key, signer: Issuer, scene: Scene) -> Draft:
    """As a sound authority would certify another one."""
    start, end = scene.now - BACKDATED, scene.now + LIFE
    draft = Draft(name, key, signer, start, end, x509.random_serial_number(), ())
    for value, critical in (
        (x509.BasicConstraints(ca=True, path_length=None), True),
        (issuing.key_usage(certificates=True), True),
        (x509.SubjectKeyIdentifier.from_public_key(key.public), False),
    ):
        draft = extended(draft, value, critical=critical)
    return signed_by(draft, signer)


def changed(**changes: object) -> Forger:
    return lambda scene: replace(good(scene), **changes)  # type: ignore[arg-type]


# What it is called


def named(*parts: tuple[ObjectIdentifier, str]) -> Forger:
    """Another subject.  A part says with {} where the identity's common name stands."""

    def forge(scene: Scene) -> Draft:
        stem = scene.common_name[:LONGEST_STEM]
        subject = issuing.name_of(*((kind, text.replace("{}", stem)) for kind, text in parts))
        return replace(good(scene), subject=subject)

    return forge


def called(text: str) -> Forger:
    return named((NameOID.COMMON_NAME, text))


def in_the_other_case(scene: Scene) -> Draft:
    return replace(good(scene), subject=issuing.client_subject(scene.common_name.swapcase()))


def two_names_in_one_part(scene: Scene) -> Draft:
    names = (scene.common_name, "admin")
    together = x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.COMMON_NAME, one) for one in names])
    return replace(good(scene), subject=x509.Name([together]))


# Of whom it is: impostors are authorities that are called what the real one is called


def impostor(scene: Scene) -> Issuer:
    key = issuing.new_key("ecdsa-p256")
    root = issuing.issue_root(scene.leaves.certificate.subject, key, days=LIFE.days, now=scene.now)
    return Issuer(root, key, scene.leaves.chain)


def of_an_impostor(scene: Scene) -> Draft:
    signer = impostor(scene)
    return extended(replace(good(scene), signer=signer), issuing.key_identifier_of(signer))


def of_an_impostor_without_identifiers(scene: Scene) -> Draft:
    return stripped(replace(good(scene), signer=impostor(scene)), x509.AuthorityKeyIdentifier)


def of_an_impostor_with_the_real_identifier(scene: Scene) -> Draft:
    return replace(good(scene), signer=impostor(scene))


def of_an_impostor_who_is_shown_too(scene: Scene) -> Draft:
    draft = of_an_impostor(scene)
    return replace(draft, shown=(draft.signer.certificate,))


def with_the_identifier_of_a_stranger(scene: Scene) -> Draft:
    stranger = issuing.new_key("ecdsa-p256").public_key()
    return extended(good(scene), x509.AuthorityKeyIdentifier.from_issuer_public_key(stranger))


def of_the_server(scene: Scene) -> Draft:
    names: list[x509.GeneralName] = [x509.DNSName(scene.domain)]
    return leaf(issuing.server_subject(scene.domain), names, servers(scene), SERVER_AUTH, scene.now)


def of_the_servers_authority(scene: Scene) -> Draft:
    signer = servers(scene)
    return extended(replace(good(scene), signer=signer, shown=signer.chain), issuing.key_identifier_of(signer))


def servers(scene: Scene) -> Issuer:
    if scene.servers is None:
        raise ValueError("the servers' authority is not ours to sign with")
    return scene.servers


def outliving(scene: Scene) -> Draft:
    return replace(good(scene), end=max(scene.leaves.certificate.not_valid_after_utc, scene.now) + LIFE)


# What it is for


def purposes(*wanted: ObjectIdentifier, critical: bool = False) -> Forger:
    return lambda scene: extended(good(scene), x509.ExtendedKeyUsage(wanted), critical=critical)


def without(*kinds: type[x509.ExtensionType]) -> Forger:
    return lambda scene: stripped(good(scene), *kinds)


def usage(*wanted: str) -> x509.KeyUsage:
    every = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{one: one in wanted for one in every})


def usable_for(*wanted: str) -> Forger:
    return lambda scene: extended(good(scene), usage(*wanted), critical=True)


def carrying(size: int, *, critical: bool = False) -> Forger:
    """With an extension that nobody knows, of so many bytes."""
    return lambda scene: extended(good(scene), x509.UnrecognizedExtension(MADE_UP, bytes(size)), critical=critical)


def authority_by_its_constraints(scene: Scene) -> Draft:
    return extended(good(scene), x509.BasicConstraints(ca=True, path_length=None), critical=True)


def an_authority_s_own(scene: Scene) -> Draft:
    """What could sign others: shown by its holder, as a caller."""
    draft = extended(authority_by_its_constraints(scene), issuing.key_usage(certificates=True), critical=True)
    return stripped(draft, x509.ExtendedKeyUsage)


# What lies between it and the root


def bridge(scene: Scene, change: Callable[[Draft], Draft] = lambda draft: draft) -> Issuer:
    """An intermediate between root and leaf: a further certificate of whoever signs the leaves."""
    name, key = scene.leaves.certificate.subject, Key(scene.leaves.key.public_key(), b"")
    certificate = drafting.issue(change(authority(name, key, scene.root, scene))).certificate
    return Issuer(certificate, scene.leaves.key, (certificate,))


def below(change: Callable[[Draft], Draft] = lambda draft: draft) -> Forger:
    """Signed by an intermediate, which is changed."""
    return lambda scene: signed_by(good(scene), bridge(scene, change))


def below_changed(**changes: object) -> Forger:
    return below(lambda draft: replace(draft, **changes))  # type: ignore[arg-type]


def below_an_expired_one(scene: Scene) -> Draft:
    return below_changed(start=scene.now - LIFE, end=scene.now - BACKDATED)(scene)


def below_one_of_tomorrow(scene: Scene) -> Draft:
    return below_changed(start=scene.now + timedelta(days=1))(scene)


def below_a_revoked_one(scene: Scene) -> Draft:
    serial = issuing.reserved_revoked_serial(scene.root.certificate)
    return below(lambda draft: replace(draft, serial=serial))(scene)


def below_no_authority(scene: Scene) -> Draft:
    not_one = x509.BasicConstraints(ca=False, path_length=None)
    return below(lambda draft: extended(draft, not_one, critical=True))(scene)


def below_one_that_may_not_sign(scene: Scene) -> Draft:
    lists_alone = usage("crl_sign", "digital_signature")
    return below(lambda draft: extended(draft, lists_alone, critical=True))(scene)


def below_one_for_servers(scene: Scene) -> Draft:
    return below(lambda draft: extended(draft, x509.ExtendedKeyUsage([SERVER_AUTH])))(scene)


def below_one_that_excludes_it(scene: Scene) -> Draft:
    excluded = [x509.DirectoryName(issuing.client_subject(scene.common_name))]
    return below(lambda draft: extended(draft, x509.NameConstraints(None, excluded), critical=True))(scene)


def without_the_intermediate(scene: Scene) -> Draft:
    return replace(below()(scene), shown=())


def below_one_without_a_list(scene: Scene) -> Draft:
    return signed_by(good(scene), newcomer(scene, "newcomer", scene.root))


def newcomer(scene: Scene, name: str, signer: Issuer, path_length: int | None = None) -> Issuer:
    """An authority of a name of its own, for which no gateway has a revocation list."""
    key = issuing.new_key("ecdsa-p256")
    draft = authority(issuing.client_subject(name), key_of(key), signer, scene)
    draft = extended(draft, x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
    certificate = drafting.issue(draft).certificate
    return Issuer(certificate, key, (certificate, *signer.chain))


def below_too_many(scene: Scene) -> Draft:
    """Two intermediates, each with its revocation list."""
    upper = scene.leaves if scene.is_deep else bridge(scene)
    draft = authority(upper.certificate.subject, Key(upper.key.public_key(), b""), upper, scene)
    lower = drafting.issue(draft).certificate
    return signed_by(good(scene), Issuer(lower, upper.key, (lower, *upper.chain)))


def below_an_end(scene: Scene) -> Draft:
    """An intermediate that may sign no further authority has signed one.

    Where the authority has an intermediate, that one has signed its own root, and revocation lists are there for all.
    """
    if not scene.is_deep:
        return signed_by(good(scene), newcomer(scene, "lower", newcomer(scene, "upper", scene.root, path_length=0)))
    name, key = scene.root.certificate.subject, Key(scene.root.key.public_key(), b"")
    crossed = drafting.issue(authority(name, key, scene.leaves, scene)).certificate
    return signed_by(good(scene), Issuer(crossed, scene.root.key, (crossed, *scene.leaves.chain)))


def out_of_order(scene: Scene) -> Draft:
    draft = below()(scene)
    return replace(draft, shown=(scene.root.certificate, *draft.shown))


def with_the_root(scene: Scene) -> Draft:
    draft = good(scene)
    return replace(draft, shown=(*draft.shown, scene.root.certificate))


def with_junk(scene: Scene) -> Draft:
    key, draft = issuing.new_key("ecdsa-p256"), good(scene)
    junk = (issuing.issue_root(issuing.client_subject(f"junk {n}"), key, days=1, now=scene.now) for n in range(20))
    return replace(draft, shown=(*draft.shown, *junk))


# What it is made of


@cache
def large_key(bits: int) -> Key:
    """RSA keys take long to find: one for a process's whole life."""
    return drafting.rsa_4096() if bits == 4096 else key_of(rsa.generate_private_key(drafting.EXPONENT, bits))


def held(find: Callable[[], Key]) -> Forger:
    """With another key than usual."""

    def forge(scene: Scene) -> Draft:
        key = find()
        return extended(replace(good(scene), key=key), x509.SubjectKeyIdentifier.from_public_key(key.public))

    return forge


ANY_PURPOSE = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE

KINDS: Mapping[str, Forger] = {
    # Of whom it is
    "impostor-authority": of_an_impostor,
    "impostor-without-identifiers": of_an_impostor_without_identifiers,
    "impostor-with-real-identifier": of_an_impostor_with_the_real_identifier,
    "impostor-and-its-root": of_an_impostor_who_is_shown_too,
    "server-certificate": of_the_server,
    "servers-authority": of_the_servers_authority,
    "foreign-key-identifier": with_the_identifier_of_a_stranger,
    "without-key-identifiers": without(x509.AuthorityKeyIdentifier, x509.SubjectKeyIdentifier),
    "tampered": changed(tampered=True),
    "wrong-key": held(drafting.mismatched_key),
    "outlives-authority": outliving,
    # What it is for
    "purpose-missing": without(x509.ExtendedKeyUsage),
    "purpose-any": purposes(ANY_PURPOSE),
    "purpose-any-and-client": purposes(ANY_PURPOSE, CLIENT_AUTH),
    "purpose-both": purposes(CLIENT_AUTH, SERVER_AUTH),
    "purpose-code-signing": purposes(ExtendedKeyUsageOID.CODE_SIGNING),
    "purpose-critical": purposes(CLIENT_AUTH, critical=True),
    "usage-missing": without(x509.KeyUsage),
    "usage-encipherment": usable_for("key_encipherment"),
    "usage-agreement": usable_for("key_agreement"),
    "usage-certificates": usable_for("key_cert_sign"),
    "authority-as-caller": an_authority_s_own,
    "ca-true": authority_by_its_constraints,
    "without-constraints": without(x509.BasicConstraints),
    "without-alternative-names": without(x509.SubjectAlternativeName),
    "unknown-critical-extension": carrying(5, critical=True),
    "unknown-extension": carrying(5),
    # What lies between it and the root
    "intermediate": below(),
    "intermediate-missing": without_the_intermediate,
    "intermediate-expired": below_an_expired_one,
    "intermediate-not-yet-valid": below_one_of_tomorrow,
    "intermediate-revoked": below_a_revoked_one,
    "intermediate-without-crl": below_one_without_a_list,
    "intermediate-ca-false": below_no_authority,
    "intermediate-usage": below_one_that_may_not_sign,
    "intermediate-for-servers": below_one_for_servers,
    "intermediate-tampered": below_changed(tampered=True),
    "chain-out-of-order": out_of_order,
    "chain-with-root": with_the_root,
    "chain-too-long": below_too_many,
    "path-length": below_an_end,
    "name-constraints": below_one_that_excludes_it,
    "junk-chain": with_junk,
    # What it is made of
    "ecdsa-p256": held(lambda: key_of(ec.generate_private_key(ec.SECP256R1()))),
    "ecdsa-p384": held(lambda: key_of(ec.generate_private_key(ec.SECP384R1()))),
    "ecdsa-p521": held(lambda: key_of(ec.generate_private_key(ec.SECP521R1()))),
    "ed25519": held(lambda: key_of(ed25519.Ed25519PrivateKey.generate())),
    "ed448": held(lambda: key_of(ed448.Ed448PrivateKey.generate())),
    "rsa-1024": held(lambda: large_key(1024)),
    "rsa-2048": held(lambda: large_key(2048)),
    "rsa-4096": held(lambda: large_key(4096)),
    "sha-1": changed(sha_1=True),
    "version-1": changed(version_1=True),
    "60-kilobytes": carrying(60 * 1024),
    "110-kilobytes": carrying(110 * 1024),
    # What it is called
    "subject-empty": named(),
    "subject-comma": called("{},O=admins"),
    "subject-newline": called("{}\nCN=admin"),
    "subject-utf8": called("{}-é✓"),
    "subject-slash": called("admin/CN={}"),
    "subject-pipe": called("admin|CN={}"),
    "subject-quote": called('{}" or "'),
    "subject-nul": called("{}\0"),
    "subject-space": called("{} "),
    "subject-dollar": called("${}"),
    "subject-other-case": in_the_other_case,
    "subject-two-names": named((NameOID.COMMON_NAME, "admin"), (NameOID.COMMON_NAME, "{}")),
    "subject-two-in-one": two_names_in_one_part,
    "subject-organisation": named((NameOID.ORGANIZATION_NAME, "lab"), (NameOID.COMMON_NAME, "{}")),
    "subject-unit": named((NameOID.ORGANIZATIONAL_UNIT_NAME, "{}")),
}
"""Kind of caller -> who forges what it shows."""

WEAK = ("rsa-1024", "sha-1")
"""What TLS libraries of today do not even show, unless they are told to."""
