"""Issued once and kept: a certificate is renewed when its inputs change, and no other one with it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from topology.errors import InvalidInput
from topology.generation.certificates import (
    HostCertificates,
    Layout,
    Wanted,
    WantedAuthority,
    WantedIdentity,
    WantedServer,
    issue,
    mode,
)

NOW = datetime.now(UTC)
WANTED = Wanted(
    lab="two-host",
    authorities=(
        WantedAuthority("ssl_ca", "ecdsa-p256", 3650, False),
        WantedAuthority("server_ca", "ecdsa-p256", 3650, True),
    ),
    identities=(WantedIdentity("bro", "server_ca", "bro", ("bro@two-host.test",), 90, "ecdsa-p256", False),),
    servers=(
        WantedServer("server", "ec3.lab.test", (), "ssl_ca", "ecdsa-p256", 90),
        WantedServer("client", "ec2.lab.test", ("www.lab.test",), "ssl_ca", "ecdsa-p256", 90),
    ),
    hosts=(
        HostCertificates("server", ("server_ca",), (), ()),
        HostCertificates("client", (), ("ssl_ca",), ("bro",)),
    ),
)
FILES = issue(WANTED, {}, NOW).files


def changed(wanted: Wanted, *, later: timedelta = timedelta(), existing: dict[str, bytes] | None = None) -> set[str]:
    """The paths whose content a second run changes."""
    before = dict(FILES) if existing is None else existing
    after = issue(wanted, before, NOW + later).files
    return {path for path in after.keys() | before.keys() if after.get(path) != before.get(path)}


def test_each_host_gets_what_it_needs_and_nothing_else() -> None:
    """No host holds an authority's key, or an identity that it does not attach."""
    assert {path for path in FILES if path.startswith(("server/", "client/"))} == {
        "server/certificates/server.pem",
        "server/certificates/server.key",
        "server/certificates/client-authorities.pem",
        "server/certificates/client-authorities.crl.pem",
        "client/certificates/server.pem",
        "client/certificates/server.key",
        "client/certificates/upstream/ssl_ca.pem",
        "client/certificates/upstream/ssl_ca.crl.pem",
        "client/certificates/identities/bro.pem",
        "client/certificates/identities/bro.key",
    }


def test_a_gateway_trusts_roots_alone() -> None:
    """A caller whose chain lacks its intermediate is refused; CRLs cover every authority of the chain."""
    trusted = x509.load_pem_x509_certificates(FILES["server/certificates/client-authorities.pem"])

    assert [certificate.subject.rfc4514_string() for certificate in trusted] == ["CN=server_ca,O=two-host"]
    assert FILES["server/certificates/client-authorities.crl.pem"].count(b"BEGIN X509 CRL") == 2
    assert FILES["client/certificates/identities/bro.pem"].count(b"BEGIN CERTIFICATE") == 2


def test_keys_and_bundles_are_for_their_owner_alone() -> None:
    secret = {path for path in FILES if mode(path) == 0o600}

    assert secret == {path for path, content in FILES.items() if b"PRIVATE KEY" in content or path.endswith(".p12")}


def test_a_second_run_changes_nothing() -> None:
    assert changed(WANTED) == set()
    assert issue(WANTED, FILES, NOW).changes == ()


def test_a_changed_domain_renews_that_host_s_certificate_alone() -> None:
    servers = (replace(WANTED.servers[0], domain="ec4.lab.test"), WANTED.servers[1])

    assert changed(replace(WANTED, servers=servers)) == {
        "server/certificates/server.pem",
        "server/certificates/server.key",
    }


@pytest.mark.parametrize(
    "change", [{"common_name": "sis"}, {"san": ("bro@other.test",)}, {"days": 30}, {"key": "rsa-2048"}]
)
def test_a_changed_identity_is_issued_anew_wherever_it_lies(change: dict[str, object]) -> None:
    """In its own folder, and in those of the hosts that attach it; the old one is not revoked by that."""
    identities = (replace(WANTED.identities[0], **change),)

    assert changed(replace(WANTED, identities=identities)) == {
        "identities/bro/certificate.pem",
        "identities/bro/key.pem",
        "identities/bro/bundle.p12",
        "client/certificates/identities/bro.pem",
        "client/certificates/identities/bro.key",
    }


def test_revoking_an_identity_changes_the_crl_and_keeps_its_certificate() -> None:
    revoked = replace(WANTED, identities=(replace(WANTED.identities[0], revoked=True),))

    assert changed(revoked) == {"authorities/server_ca/crl.pem", "server/certificates/client-authorities.crl.pem"}


def test_a_certificate_that_was_revoked_stays_revoked_when_it_is_replaced() -> None:
    """A CRL does not forget: whoever still holds the old key stays out."""
    identity = WANTED.identities[0]
    revoked = issue(replace(WANTED, identities=(replace(identity, revoked=True),)), FILES, NOW).files
    serial = x509.load_pem_x509_certificates(FILES["identities/bro/certificate.pem"])[0].serial_number

    renamed = replace(WANTED, identities=(replace(identity, common_name="sis"),))
    crls = issue(renamed, revoked, NOW).files["authorities/server_ca/crl.pem"]
    of_leaves = crls.split(b"-----END X509 CRL-----\n")[1] + b"-----END X509 CRL-----\n"

    assert x509.load_pem_x509_crl(of_leaves).get_revoked_certificate_by_serial_number(serial) is not None


def test_a_changed_authority_renews_all_below_it_and_nothing_else() -> None:
    authorities = (WANTED.authorities[0], replace(WANTED.authorities[1], key="ecdsa-p384"))
    touched = changed(replace(WANTED, authorities=authorities))

    assert "identities/bro/certificate.pem" in touched
    assert "server/certificates/client-authorities.pem" in touched
    assert not any("ssl_ca" in path or path.endswith(("server.pem", "server.key")) for path in touched)


@pytest.mark.parametrize(("days", "renewed"), [(59, False), (62, True)])
def test_a_leaf_is_renewed_when_a_third_of_its_life_is_left(days: int, renewed: bool) -> None:
    touched = changed(WANTED, later=timedelta(days=days))

    assert ("server/certificates/server.pem" in touched) is renewed
    assert not any("authorities/" in path and path.endswith("key.pem") for path in touched)


@pytest.mark.parametrize(("days", "renewed"), [(19, False), (21, True)])
def test_a_crl_is_renewed_when_a_third_of_its_life_is_left(days: int, renewed: bool) -> None:
    """An expired one would lock every caller out."""
    assert ("authorities/ssl_ca/crl.pem" in changed(WANTED, later=timedelta(days=days))) is renewed


@pytest.mark.parametrize("path", ["server/certificates/server.pem", "server/certificates/server.key"])
def test_a_leaf_that_cannot_be_read_is_made_again(path: str) -> None:
    assert path in changed(WANTED, existing=dict(FILES) | {path: b"garbage"})


@pytest.mark.parametrize("content", [None, b"garbage", FILES["authorities/ssl_ca/key.pem"]])
def test_an_authority_s_key_is_never_replaced(content: bytes | None) -> None:
    """Lost, unreadable, or somebody else's: one clear line, and nothing is issued."""
    path = "authorities/server_ca/key.pem"
    existing = {name: text for name, text in FILES.items() if name != path} | ({path: content} if content else {})

    with pytest.raises(InvalidInput, match=r"authorities/server_ca/.*remove the folder .* to start over"):
        issue(WANTED, existing, NOW)


def test_instances_have_folders_of_their_own() -> None:
    layout = Layout("authorities-x", "identities-x", "certificates-x")
    files = issue(WANTED, FILES, NOW, layout).files

    assert {path.split("/")[0] for path in files} == {"authorities-x", "identities-x", "server", "client"}
    assert files["authorities-x/ssl_ca/key.pem"] != FILES["authorities/ssl_ca/key.pem"]
