"""The fixtures of rules, with the certificates and keys that they name: made here, since no key is kept in git."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from topology.description.loading import load
from topology.linting.containers import container
from topology.linting.gateway import Gateway
from topology.nginx.reading import Configuration, Mounts, read
from topology.pki import forging, issuing
from topology.pki.issuing import CLIENT_AUTH, Credential, Issuer

FIXTURES = Path(__file__).parents[1] / "fixtures" / "lint"
NOW = datetime.now(UTC)
MARK = "# found"
SERVERS = ("a.test", "b.test", "c.test", "d.test", "a.example.com")
DAYS = 90


def root(name: str) -> Issuer:
    key = issuing.new_key("ecdsa-p256")
    return Issuer(issuing.issue_root(common(name), key, days=DAYS, now=NOW), key)


def common(name: str) -> x509.Name:
    return issuing.name_of((NameOID.COMMON_NAME, name))


def below(name: str, issuer: Issuer) -> Issuer:
    key = issuing.new_key("ecdsa-p256")
    found = issuing.issue_intermediate(common(name), key, issuer, days=DAYS, purposes=[CLIENT_AUTH], now=NOW)
    return Issuer(found, key, (found, *issuer.chain))


def pem(*issuers: Issuer) -> bytes:
    return b"".join(issuing.certificate_pem(one.certificate) for one in issuers)


def lists(*issuers: Issuer, at: datetime = NOW) -> bytes:
    return b"".join(issuing.crl_pem(issuing.issue_crl(one, (), now=at)) for one in issuers)


def weak() -> Issuer:
    """An authority with a key that today's OpenSSL refuses."""
    key = rsa.generate_private_key(65537, 1024)  # noqa: S505 - too weak on purpose
    return Issuer(issuing.issue_root(common("weak"), key, days=DAYS, now=NOW), key)


def lax() -> Issuer:
    """An authority whose basicConstraints are not critical."""
    key = issuing.new_key("ecdsa-p256")
    builder = (
        x509.CertificateBuilder()
        .subject_name(common("lax"))
        .issuer_name(common("lax"))
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return Issuer(issuing.sign(builder, key, start=NOW - timedelta(days=1), end=NOW + timedelta(days=DAYS)), key)


def nameless(issuer: Issuer) -> Credential:
    """A server certificate that has its name as a common name alone."""
    key = issuing.new_key("ecdsa-p256")
    builder = (
        x509.CertificateBuilder()
        .subject_name(common("a.test"))
        .issuer_name(issuer.certificate.subject)
        .public_key(key.public_key())
        .add_extension(issuing.key_identifier_of(issuer), critical=False)
    )
    found = issuing.sign(builder, issuer.key, start=NOW - timedelta(days=1), end=NOW + timedelta(days=1))
    return Credential(found, key)


@cache
def material() -> dict[str, bytes]:
    """Name below /pki -> content."""
    ca, other, feeble, loose = root("ca"), root("other"), weak(), lax()
    intermediate = below("intermediate", ca)
    second = below("second", intermediate)
    server, server_b = (
        issuing.issue_server(SERVERS[0], SERVERS[1:], issuing.new_key("ecdsa-p256"), ca, days=DAYS, now=NOW)
        for _ in "ab"
    )
    client = issuing.issue_client("client", ["client@a.test"], issuing.new_key("ecdsa-p256"), ca, days=DAYS, now=NOW)
    dated = {
        name: forging.forged(ca, "a.test", SERVERS, start=NOW + start, end=NOW + end, purpose=issuing.SERVER_AUTH)
        for name, start, end in (
            ("server-expired", timedelta(days=-9), timedelta(days=-2)),
            ("server-tomorrow", timedelta(days=1), timedelta(days=9)),
        )
    }
    shown = {"server": server, "server-b": server_b, "client": client, "server-nameless": nameless(ca), **dated}
    return {
        **{f"{name}.pem": one.certificate_pem() for name, one in shown.items()},
        **{f"{name}.key": one.key_pem() for name, one in shown.items()},
        "server-readable.key": server.key_pem(),
        "server.der": server.certificate.public_bytes(serialization.Encoding.DER),
        "empty.pem": b"",
        "ca.pem": pem(ca),
        "ca.crl.pem": lists(ca),
        "ca-ended.crl.pem": lists(ca, at=NOW - timedelta(days=40)),
        "two.pem": pem(ca, other),
        "two.crl.pem": lists(ca, other),
        "intermediate.pem": pem(intermediate),
        "below.pem": pem(intermediate, ca),
        "below.crl.pem": lists(intermediate, ca),
        "below-without-root.crl.pem": lists(intermediate),
        "deep.pem": pem(second, intermediate, ca),
        "deep.crl.pem": lists(second, intermediate, ca),
        "weak.pem": pem(feeble),
        "weak.crl.pem": lists(feeble),
        "lax.pem": pem(loose),
        "lax.crl.pem": lists(loose),
    }


def lay_out(folder: Path) -> Path:
    """Writes all that; the folder that stands for /pki."""
    pki = folder / "pki"
    pki.mkdir()
    (pki / "folder.pem").mkdir()
    for name, content in material().items():
        (pki / name).write_bytes(content)
        (pki / name).chmod(0o644 if "readable" in name or not name.endswith(".key") else 0o600)
    return pki


def configuration(file: Path, pki: Path) -> Configuration:
    return read(file, mounts=Mounts.of({"/pki": pki}))


def gateway(rule: str, which: str, pki: Path) -> Gateway:
    """One fixture.  which: bad or good; beside it, where a rule looks at more: topology.yaml, bad.yaml or good.yaml (a
    Compose file), neighbour.conf (another gateway)."""
    folder = FIXTURES / rule
    topology, compose = folder / "topology.yaml", folder / f"{which}.yaml"
    return Gateway(
        configuration(folder / f"{which}.conf", pki),
        NOW,
        declared=load(topology).topology.hosts["a"] if topology.is_file() else None,
        container=container(compose, "gateway") if compose.is_file() else None,
        neighbours=tuple(configuration(file, pki) for file in [folder / "neighbour.conf"] if file.is_file()),
    )


def marked(rule: str, which: str) -> list[tuple[str, int]]:
    """File and line of each `# found`, which is where a rule has to find something."""
    return sorted(
        (file.name, number)
        for file in (FIXTURES / rule).glob(f"{which}.*")
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if line.endswith(MARK)
    )
