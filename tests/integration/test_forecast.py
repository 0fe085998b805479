"""What `check --at` says of a time to come is what a running lab does when that has come: its certificates are aged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from topology.generation import writing
from topology.generation.certificates import PrivateKey, names_of
from topology.pki import issuing
from topology.pki.issuing import Issuer
from topology.proof import checking, forecasting, needing, probing
from topology.pytest_plugin import TestedLab
from topology.runtime import certificates, engine, looking, stacks

pytestmark = pytest.mark.integration

NOW = datetime.now(UTC)
LONG_AGO = timedelta(days=60)

ENDINGS = [("crl", "partners"), ("crl", "ssl_ca"), ("server", "vault"), ("identity", "alice")]


def issuer(lab: TestedLab, authority: str, name: str = "certificate", key: str = "key") -> Issuer:
    folder = lab.lab.authorities / authority
    private = load_pem_private_key((folder / f"{key}.pem").read_bytes(), None)
    assert isinstance(private, PrivateKey)
    return Issuer(x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes()), private)


def below(lab: TestedLab, authority: str) -> Issuer:
    return issuer(lab, authority, "intermediate", "intermediate-key")


def ended_lists(*issuers: Issuer) -> bytes:
    return b"".join(issuing.crl_pem(issuing.issue_crl(one, (), now=NOW - LONG_AGO)) for one in issuers)


def ended_certificate(file: Path, signer: Issuer) -> bytes:
    """The same certificate with the same key and chain, but past."""
    found = x509.load_pem_x509_certificates(file.read_bytes())
    old, chain = found[0], found[1:]
    builder = x509.CertificateBuilder(old.issuer, old.subject, old.public_key(), extensions=list(old.extensions))
    aged = issuing.sign(builder, signer.key, start=NOW - LONG_AGO, end=NOW - timedelta(days=1))
    assert names_of(aged) == names_of(old)
    return b"".join(issuing.certificate_pem(one) for one in (aged, *chain))


def aged(lab: TestedLab, kind: str, name: str) -> dict[Path, bytes]:
    """The files of a running lab in which something has ended."""
    vault = looking.mounted(lab.lab, "vault", "/etc/nginx/certificates")
    office = looking.mounted(lab.lab, "office", "/etc/nginx/certificates")
    if (kind, name) == ("crl", "partners"):
        lists = ended_lists(issuer(lab, name), below(lab, name))
        return {vault / "client-authorities.crl.pem": lists + (lab.lab.authorities / "staff" / "crl.pem").read_bytes()}
    if (kind, name) == ("crl", "ssl_ca"):
        return {office / "upstream" / "ssl_ca.crl.pem": ended_lists(issuer(lab, name), below(lab, name))}
    if kind == "server":
        return {vault / "server.pem": ended_certificate(vault / "server.pem", below(lab, "ssl_ca"))}
    files = (office / "identities" / "alice.pem", lab.lab.identities / "alice" / "certificate.pem")
    return {file: ended_certificate(file, below(lab, "partners")) for file in files}


@contextmanager
def time_has_passed(lab: TestedLab, kind: str, name: str) -> Iterator[None]:
    changed = aged(lab, kind, name)
    before = {file: file.read_bytes() for file in changed}
    try:
        take_up(lab, changed)
        yield
    finally:
        take_up(lab, before)


def take_up(lab: TestedLab, files: Mapping[Path, bytes]) -> None:
    for file, content in files.items():
        writing.write(file, content)
    for host in lab.lab.topology.hosts:
        stacks.reload(looking.container_of(engine.connect(), lab.lab, host, "gateway"))
    probing.cached_context.cache_clear()  # it goes by the names of files


@pytest.mark.parametrize(("kind", "name"), ENDINGS, ids=[" ".join(one) for one in ENDINGS])
def test_the_cells_that_were_said_to_change_do_so_and_no_others(guarded: TestedLab, kind: str, name: str) -> None:
    topology = guarded.lab.topology
    dated = certificates.look(guarded.lab, NOW)
    end = max(one.end for one in dated if (one.kind, one.name) == (kind, name) and one.end is not None)
    endings = forecasting.forecast(topology, dated, end, guarded.checks)
    said = next(ending for ending in endings if (ending.what.kind, ending.what.name) == (kind, name))
    then = {(one.host, one.route, one.caller, one.expected): one.then for one in said.changes}

    with time_has_passed(guarded, kind, name):
        wrong = checking.run(guarded.checks, guarded.running)

    assert {verdict.check.id for verdict in wrong if not verdict.ok} == said.cells
    for verdict in wrong:
        if not verdict.ok:
            check = verdict.check
            foretold = then[check.host, check.route, check.caller, check.expected]
            untrusted = verdict.observation.status is None and "certificate" in str(verdict.observed)
            assert untrusted if foretold == needing.UNTRUSTED else verdict.observed == foretold, check.id
