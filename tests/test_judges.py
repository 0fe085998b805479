"""Every certificate and revocation list that a lab issues, before judges that know nothing of this project.

NSS and Java judge in tests/integration/test_judges.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509

from tests import chains, judging
from tests.chains import Chain
from topology.pki import forging

pytestmark = pytest.mark.usefixtures("quick_bundles")

JUDGES = ("openssl", "cryptography", "pkilint")

NO_ED25519 = "Forbidden public key algorithm"
"""cryptography's verifier holds everybody to the public web's rules, and no public authority has such a key."""

NOT_FOR_THE_WEB = {
    "invalid_uri_syntax": ("urn:judged:bro", "spiffe://judged.test/bro"),  # RFC 8141; SPIFFE-ID, 2
    "invalid_domain_name_syntax": ("localhost", "pebble"),  # RFC 1034, 3.5: one label is a name
}
"""What pkilint takes for a mistake though it is none: it asks a library that knows addresses of public websites."""


def said(judge: str, judged: Mapping[str, Chain], folder: Path) -> dict[str, str]:
    """file -> what a judge has against the certificate in it; nothing of those that it accepts."""
    judges: dict[str, Callable[[Chain], str]] = {
        "openssl": partial(judging.openssl, folder=folder),
        "cryptography": judging.cryptography,
        "pkilint": lambda chain: "\n".join(
            line for line in judging.pkilint(chain).splitlines() if not is_mistaken(line)
        ),
    }
    return {path: complaint for path, chain in judged.items() if (complaint := judges[judge](chain))}


def is_mistaken(line: str) -> bool:
    return any(code in line and f'"{name}"' in line for code, names in NOT_FOR_THE_WEB.items() for name in names)


@pytest.mark.parametrize("kind_of_key", chains.KINDS_OF_KEY)
def test_every_shape_passes_before_every_judge(tmp_path: Path, kind_of_key: str) -> None:
    """Roots, intermediates, servers, clients and revocation lists, for every kind of key and of name."""
    judged = chains.every_shape(kind_of_key)
    revoked = said("openssl", judged, tmp_path)

    assert list(revoked) == ["identities/gone/certificate.pem"]
    assert "certificate revoked" in revoked["identities/gone/certificate.pem"]
    assert said("pkilint", judged, tmp_path) == {}
    if kind_of_key == "ed25519":
        refused = said("cryptography", judged, tmp_path)
        assert refused.keys() == judged.keys()
        assert all(NO_ED25519 in complaint for complaint in refused.values())
    else:
        assert said("cryptography", judged, tmp_path) == {}


@pytest.mark.parametrize("name", sorted(file.stem for file in chains.LABS.glob("*.yaml")))
def test_everything_that_a_lab_is_issued_passes_before_every_judge(tmp_path: Path, name: str) -> None:
    """The lab's own ACME server and services that terminate TLS themselves, too."""
    judged = chains.lab(name)

    assert judged
    assert said("cryptography", judged, tmp_path) == {}
    assert said("pkilint", judged, tmp_path) == {}


def test_the_labs_hold_what_is_said_to_be_judged() -> None:
    assert "acme/certificates/server.pem" in chains.lab("acme")
    assert "open/certificates/services/node/server.pem" in chains.lab("node-tls")
    assert any(chain.between for chain in chains.lab("guarded").values())
    assert {len(chain.crls) for chain in chains.every_shape("ecdsa-p256").values()} == {1, 2}


def test_what_pkilint_is_mistaken_about_is_still_so() -> None:
    """When it has learned, the list above has to go."""
    judged = (chains.every_shape("ed25519")["identities/uri/certificate.pem"], *chains.lab("acme").values())
    told = "\n".join(judging.pkilint(chain) for chain in judged)

    assert all(f'"{name}"' in told for names in NOT_FOR_THE_WEB.values() for name in names)


# Each judge can say no


BAD: Mapping[str, tuple[Callable[[], Chain], Mapping[str, str]]] = {
    "expired": (
        partial(chains.forged, forging.expired),
        {"openssl": "has expired", "cryptography": "not valid at validation time"},
    ),
    "not yet valid": (
        partial(chains.forged, forging.not_yet_valid),
        {"openssl": "not yet valid", "cryptography": "not valid at validation time"},
    ),
    "for servers": (
        partial(chains.forged, forging.wrong_purpose),
        {"openssl": "unsuitable certificate purpose", "cryptography": "required EKU not found"},
    ),
    "revoked": (partial(chains.forged, forging.revoked), {"openssl": "certificate revoked"}),
    "no list of the root's": (chains.without_the_root_s_revocation_list, {"openssl": "unable to get certificate CRL"}),
    "a list without number and issuer's key": (chains.with_a_bare_revocation_list, {"pkilint": "crl_number_missing"}),
    "of another authority": (
        partial(chains.forged, forging.other_authority),
        {"openssl": "unable to get local issuer", "cryptography": "exhausted", "pkilint": "dn_not_binary_equal"},
    ),
    "signed by another key": (
        chains.signed_by_another_key,
        {"openssl": "signature failure", "cryptography": "signature does not match", "pkilint": "signature_verif"},
    ),
    "no alternative name": (partial(chains.without, x509.SubjectAlternativeName), {"cryptography": "2.5.29.17"}),
    "no identifier of its key": (
        partial(chains.without, x509.SubjectKeyIdentifier),
        {"pkilint": "skid_end_entity_missing"},
    ),
    "no identifier of its issuer's key": (
        partial(chains.without, x509.AuthorityKeyIdentifier),
        {"openssl": "Missing Authority Key Ident", "cryptography": "2.5.29.35", "pkilint": "key_id_extension_missing"},
    ),
}
"""What is wrong -> how it is made, and which judges notice, in which words.  The others have nothing against it."""


@pytest.mark.parametrize("wrong", BAD)
def test_what_is_wrong_is_noticed(tmp_path: Path, wrong: str) -> None:
    make, noticed = BAD[wrong]
    chain = {wrong: make()}
    told = {judge: complaint[wrong] for judge in JUDGES if (complaint := said(judge, chain, tmp_path))}

    assert told.keys() == noticed.keys()
    assert all(words in told[judge] for judge, words in noticed.items()), told


def test_a_certificate_with_nothing_wrong_is_accepted(tmp_path: Path) -> None:
    """What is wrong above is what the judges notice, and nothing else about it."""
    assert [said(judge, {"": chains.forged(forging.genuine)}, tmp_path) for judge in JUDGES] == [{}, {}, {}]
