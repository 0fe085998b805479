"""What a lab issues, as chains that can be judged; and chains with which something is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ObjectIdentifier

from topology.description import catalog, loading
from topology.description.loading import Description
from topology.generation import planning
from topology.generation.certificates import issue, read_certificates, read_crls
from topology.pki import drafting, forging, issuing
from topology.pki.issuing import CLIENT_AUTH, Issuer

NOW = datetime.now(UTC)
LABS = Path(__file__).parents[1] / "fixtures" / "labs"
KINDS_OF_KEY = ("ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-4096", "ed25519")
LONG_NAME = f"{'long' * 15}.judged.test"
"""Too long for a common name: the certificate's subject is empty."""

EVERY_SHAPE = """
name: judged
authorities:
  flat: {key: KIND}
  deep: {key: KIND, intermediate: true}
identities:
  plain: {authority: flat, key: KIND}
  named: {authority: deep, key: KIND, san: [bro.judged.test, bro@judged.test, "https://judged.test/bro"]}
  uri: {authority: flat, key: KIND, san: ["urn:judged:bro", "spiffe://judged.test/bro"]}
  gone: {authority: deep, key: KIND, revoked: true}
hosts:
  short: {domain: short.judged.test, aliases: [www.judged.test], tls: {key: KIND}}
  below: {domain: below.judged.test, tls: {authority: deep, key: KIND}}
  long: {domain: LONG, tls: {key: KIND}, client_certificates: {authority: [flat, deep]}}
""".replace("LONG", LONG_NAME)
"""With and without an intermediate, with and without a subject, every kind of name."""


@dataclass(frozen=True)
class Chain:
    """A leaf, what lies between it and the root that is trusted, and each of their authorities' revocation lists.

    purpose: what the leaf is for, whatever it says itself.
    """

    purpose: ObjectIdentifier
    leaf: x509.Certificate
    between: tuple[x509.Certificate, ...]
    root: x509.Certificate
    crls: tuple[x509.CertificateRevocationList, ...]

    @property
    def certificates(self) -> tuple[x509.Certificate, ...]:
        return (self.leaf, *self.between, self.root)


# What is issued


@cache
def lab(name: str) -> Mapping[str, Chain]:
    """All that one of fixtures/labs is issued, by the file that the leaf is in."""
    return issued(loading.load(LABS / f"{name}.yaml"))


@cache
def every_shape(kind_of_key: str) -> Mapping[str, Chain]:
    """Every shape of certificate with one kind of key.  The same key everywhere: large ones take long to find."""
    file = LABS / "judged.yaml"
    key = large_key() if kind_of_key == "rsa-4096" else issuing.new_key(kind_of_key)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(issuing, "new_key", lambda _: key)
        return issued(loading.parse(EVERY_SHAPE.replace("KIND", kind_of_key), file, catalog.kinds(file)))


def large_key() -> issuing.PrivateKey:
    """One that is found in a tenth of the time; judges of certificates see its public half alone."""
    key = load_pem_private_key(drafting.rsa_4096().pem, None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(key, issuing.PrivateKey)
    return key


def issued(description: Description) -> Mapping[str, Chain]:
    files = issue(planning.plan(description).certificates, {}, NOW).files
    authorities = {path: content for path, content in files.items() if path.startswith("authorities/")}
    roots = [one for path, pem in authorities.items() if path.endswith("/certificate.pem") for one in read(pem)]
    crls = [one for path, pem in authorities.items() if path.endswith("/crl.pem") for one in read_crls(pem)]
    leaves = {path: pem for path, pem in files.items() if path.endswith(("/server.pem", "/certificate.pem"))}
    return {
        path: chain(
            issuing.SERVER_AUTH if path.endswith("/server.pem") else issuing.CLIENT_AUTH, read(pem), roots, crls
        )
        for path, pem in leaves.items()
        if path not in authorities
    }


def read(pem: bytes) -> list[x509.Certificate]:
    found = read_certificates(pem)
    assert found
    return found


def chain(
    purpose: ObjectIdentifier,
    shown: list[x509.Certificate],
    roots: list[x509.Certificate],
    crls: list[x509.CertificateRevocationList],
) -> Chain:
    (root,) = [one for one in roots if one.subject == shown[-1].issuer]
    authorities = {one.subject for one in (*shown[1:], root)}
    return Chain(purpose, shown[0], tuple(shown[1:]), root, tuple(one for one in crls if one.issuer in authorities))


# What is wrong


def authority() -> Issuer:
    key = issuing.new_key("ecdsa-p256")
    return Issuer(issuing.issue_root(issuing.authority_name("judged", "ca"), key, days=90, now=NOW), key)


AUTHORITY = authority()


def shown(leaf: x509.Certificate) -> Chain:
    """A client's certificate, shown to somebody who trusts the authority."""
    return Chain(CLIENT_AUTH, leaf, (), AUTHORITY.certificate, (issuing.issue_crl(AUTHORITY, [], now=NOW),))


def forged(forger: forging.Forger) -> Chain:
    return shown(forger(AUTHORITY, "bro", ["bro@judged.test"], NOW).certificate)


def without(extension: type[x509.ExtensionType]) -> Chain:
    """As the lab issues it, less one extension."""
    key, names = issuing.new_key("ecdsa-p256"), [issuing.general_name("bro@judged.test")]
    builder = issuing.leaf_builder(issuing.client_subject("bro"), names, key.public_key(), AUTHORITY, CLIENT_AUTH)
    whole = len(builder._extensions)
    builder._extensions = [one for one in builder._extensions if not isinstance(one.value, extension)]
    assert len(builder._extensions) == whole - 1
    return shown(issuing.sign(builder, AUTHORITY.key, start=NOW - issuing.BACKDATED, end=NOW + timedelta(days=30)))


def signed_by_another_key() -> Chain:
    """By somebody who calls himself what the authority is called."""
    impostor = Issuer(AUTHORITY.certificate, issuing.new_key("ecdsa-p256"))
    return shown(forging.genuine(impostor, "bro", ["bro@judged.test"], NOW).certificate)


def without_the_root_s_revocation_list() -> Chain:
    chain = every_shape("ecdsa-p256")["below/certificates/server.pem"]
    return replace(chain, crls=tuple(one for one in chain.crls if one.issuer != chain.root.subject))


def with_a_bare_revocation_list() -> Chain:
    bare = x509.CertificateRevocationListBuilder().issuer_name(AUTHORITY.certificate.subject)
    bare = bare.last_update(NOW - issuing.BACKDATED).next_update(NOW + timedelta(days=30))
    return replace(forged(forging.genuine), crls=(bare.sign(AUTHORITY.key, issuing.digest_for(AUTHORITY.key)),))
