"""Who asks: an identity of the lab, a caller as `check` names it, or whoever has the files of a certificate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from topology.description.wording import shown, suggestion
from topology.errors import InvalidInput
from topology.explaining import certificates, chains
from topology.explaining.asking import Question, Target
from topology.explaining.certificates import Certificate
from topology.explaining.chains import Shown, Trust
from topology.explaining.evidence import DEFAULT_DEPTH
from topology.pki import issuing
from topology.proof import expectation, families, probing
from topology.proof.callers import Worth
from topology.proof.expectation import NOBODY, Caller, Check
from topology.proof.probing import Files
from topology.runtime.running import RunningLab

LARGEST = 1024 * 1024
BELOW = "intermediate.pem"
PEM_KEY = b"PRIVATE KEY-----"


@dataclass(frozen=True)
class Asker:
    """caller: as the expectation knows it, None where the topology says nothing of him; chain: the certificates that
    are shown; worth: what they are worth by the topology, where that does not follow from the caller."""

    name: str
    caller: Caller | None
    files: Files | None = None
    chain: tuple[Certificate, ...] = ()
    worth: Worth | None = None


@contextmanager
def asker(lab: RunningLab, target: Target, question: Question) -> Iterator[Asker]:
    """Whoever a question is asked as, with files that are there until the context ends.

    Raises InvalidInput with the choices where there is no such caller, or where files cannot be shown.
    """
    if question.certificate is not None or question.key is not None:
        if question.caller is not None:
            raise InvalidInput("--as and --cert: say one of them")
        yield placed(stranger(question.certificate, question.key), lab, target)
        return
    name = NOBODY if question.caller is None else question.caller
    if name == NOBODY or target.inside:
        yield Asker(NOBODY, Caller())
        return
    if name in lab.held_elsewhere:
        raise InvalidInput(f"--as {name}: its key is held elsewhere; name the files with --cert and --key")
    known = callers(lab, target)
    if name not in known:
        raise InvalidInput(f"--as {shown(name)}: no caller at {target.host}; {suggestion(name, known)}")
    check = known[name]
    with probing.credentials((check,), lab, datetime.now(UTC)) as files:
        its_own = files[check.shown]
        yield Asker(name, check.shown, its_own, certificates.read(its_own.certificate.read_bytes()))


def callers(lab: RunningLab, target: Target) -> Mapping[str, Check]:
    """Callers by name, each with a check that shows it; first those that `check` has at this host."""
    every = [*expectation.checks(lab.topology, lab.held_elsewhere), *families.checks(lab.topology, lab.held_elsewhere)]
    found: dict[str, Check] = {}
    for check in sorted(every, key=lambda one: one.host != target.host):
        if check.caller != NOBODY and check.family in ("route", "caller"):
            found.setdefault(check.caller, check)
    return found


def stranger(certificate: Path | None, key: Path | None) -> Asker:
    """Somebody with files of his own.  Raises InvalidInput where these cannot be shown."""
    if certificate is None:
        raise InvalidInput(f"--key {key}: name its certificate, too (--cert)")
    pem = content(certificate, "--cert")
    chain = certificates.read(pem)
    if not chain:
        raise InvalidInput(f"--cert {certificate}: {no_certificate(pem)}")
    own = key or certificate
    check_key(own, chain, given=key is not None)
    return Asker(str(certificate), None, Files(certificate, own), chain)


def placed(asker: Asker, lab: RunningLab, target: Target) -> Asker:
    """A stranger, as what the topology takes him for, judged by what the lab's authorities have signed and revoked.

    Nothing is read of what the gateways trust: whether they do as the topology says is what is asked.
    """
    topology, leaf = lab.topology, asker.chain[0]
    host = topology.hosts[target.host]
    for name in topology.identities:
        if leaf in read(lab.identities / name / "certificate.pem")[:1]:
            return replace(asker, caller=expectation.as_identity(topology, name))
    if host.client_certificates is None:
        return replace(asker, caller=Caller(asker.name))  # never asked for
    depth = DEFAULT_DEPTH if target.passed is None else chains.LONGEST
    shown = Shown(asker.chain, trust_of(lab, expectation.trusted(host), depth), datetime.now(UTC))
    flaws, end = chains.flaws(shown), chains.path_of(shown)[-1]
    if flaws and not any(flaw.kind == "crl-missing" for flaw in flaws):
        return replace(asker, caller=Caller(asker.name, flaw=flaws[0].kind), worth=Worth.BAD)
    authority = next((name for name in expectation.trusted(host) if end in roots(lab, name)), "")
    if flaws or not expectation.is_ours(topology, authority):
        return asker  # somebody else's lists decide
    named = (
        name for name, one in topology.identities.items()
        if one.authority == authority and one.certificate is None
        and leaf.subject == f"CN={issuing.rfc2253_value(one.common_name)}"
    )  # fmt: skip
    identity = next(named, None)
    worth = Worth.ITSELF if identity else Worth.ANOTHER
    return replace(asker, caller=Caller(asker.name, identity, authority=authority), worth=worth)


def trust_of(lab: RunningLab, names: tuple[str, ...], depth: int) -> Trust:
    """What authorities of the topology have signed and revoked, as their own folders say.  depth: of intermediates."""
    anchors = tuple(one for name in names for one in (*roots(lab, name), *read(lab.authorities / name / BELOW)))
    lists = b"".join(content_of(lab.authorities / name / "crl.pem") for name in names)
    return Trust(anchors, certificates.read_lists(lists), depth)


def roots(lab: RunningLab, authority: str) -> tuple[Certificate, ...]:
    return read(lab.authorities / authority / "certificate.pem")


def read(file: Path) -> tuple[Certificate, ...]:
    return certificates.read(content_of(file))


def content_of(file: Path) -> bytes:
    return file.read_bytes() if file.is_file() else b""


def content(path: Path, option: str) -> bytes:
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InvalidInput(f"{option} {path}: is no file, but a pipe or a device, which can be read once; name a file")
    try:
        with path.open("rb") as file:
            return file.read(LARGEST)
    except OSError as error:
        raise InvalidInput(f"{option} {path}: cannot be read: {error.strerror}") from error


def no_certificate(pem: bytes) -> str:
    if b"-----BEGIN CERTIFICATE-----" in pem:
        return "the certificate in it is damaged; export it again"
    if b"-----BEGIN" in pem:
        return "holds no certificate, but something else in PEM; name the certificate's file"
    if pem[:1] == b"\x30":
        return (
            "is binary (DER or PKCS#12); convert it: `openssl x509 -inform der -in FILE -out FILE.pem`, or "
            "`openssl pkcs12 -in FILE -nodes -out FILE.pem`"
        )
    return "holds no certificate in PEM; name another file"


def check_key(path: Path, chain: tuple[Certificate, ...], *, given: bool) -> None:
    """Raises InvalidInput where the key cannot be used with the first certificate."""
    option = f"--key {path}" if given else f"--cert {path}"
    pem = content(path, "--key")
    if PEM_KEY not in pem and not given:
        raise InvalidInput(f"{option}: no private key is in it; name the key's file (--key)")
    try:
        # With certificates in the same file, the key is what is read.
        key = serialization.load_pem_private_key(pem[pem.find(b"-----BEGIN", max(0, key_start(pem))) :], None)
    except TypeError:
        raise InvalidInput(
            f"{option}: the key is encrypted; decrypt it for this: `openssl pkey -in {path} -out FILE`"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidInput(f"{option}: holds no private key in PEM that can be used; name another file") from None
    own = [number for number, one in enumerate(chain) if one.raw and one.raw.public_key() == key.public_key()]
    if 0 in own:
        return
    wrong = f"{option}: is not the key of {chain[0].subject}, the first certificate of --cert"
    if own:
        wrong += (
            f", but of {chain[own[0]].subject}, its number {own[0] + 1}; put that one first, and its issuers after it"
        )
    raise InvalidInput(wrong)


def key_start(pem: bytes) -> int:
    return pem.rfind(b"-----BEGIN", 0, pem.find(PEM_KEY) + 1)
