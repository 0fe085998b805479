"""Requests that were made elsewhere: what openssl writes is read, and what must not be signed is refused, each for its
own reason."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import warnings
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa
from cryptography.x509.oid import AttributeOID, ExtendedKeyUsageOID, NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzzing import rounds
from topology.pki import issuing, requests
from topology.pki.issuing import CLIENT_AUTH, SERVER_AUTH

KEY = issuing.new_key("ecdsa-p256")


def csr(*extensions: tuple[x509.ExtensionType, bool], common_name: str | None = "bro", key: object = KEY) -> bytes:
    """A request in PEM."""
    name = issuing.client_subject(common_name) if common_name is not None else x509.Name([])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    digest = None if isinstance(key, ed448.Ed448PrivateKey) else hashes.SHA256()
    return builder.sign(key, digest).public_bytes(serialization.Encoding.PEM)  # type: ignore[arg-type]


def refusal(content: bytes) -> str:
    with pytest.raises(requests.Refused) as caught:
        requests.read(content)
    return str(caught.value)


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.mark.parametrize(
    "key",
    [
        ["-algorithm", "RSA"],
        ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
        ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
        ["-algorithm", "ED25519"],
    ],
    ids=lambda key: key[-1],
)
@pytest.mark.parametrize("form", ["PEM", "DER"])
def test_what_openssl_writes_is_read(tmp_path: Path, rsa_key: Path, key: list[str], form: str) -> None:
    """The article's two commands, with the details that its prompts ask for."""
    if "RSA" in key:
        shutil.copy(rsa_key, tmp_path / "key.pem")
    else:
        openssl(tmp_path, "genpkey", *key, "-out", "key.pem")
    subject = "/C=AU/ST=Some-State/O=Internet Widgits Pty Ltd/CN=bro"
    openssl(tmp_path, "req", "-new", "-key", "key.pem", "-subj", subject, "-outform", form, "-out", "bro.csr")

    found = requests.read((tmp_path / "bro.csr").read_bytes())

    assert found.common_names == ("bro",)
    assert found.ignored == ("C=AU", "ST=Some-State", "O=Internet Widgits Pty Ltd")
    assert found.alternative_names == ()


def test_a_request_of_keytool_is_read(tmp_path: Path) -> None:
    """Its PEM says NEW, and it asks for a key identifier."""
    text = csr().replace(b"CERTIFICATE REQUEST", b"NEW CERTIFICATE REQUEST")

    assert requests.read(text).common_names == ("bro",)
    assert requests.read(text.replace(b"\n", b"\r\n")).common_names == ("bro",)


def test_a_challenge_password_changes_nothing() -> None:
    """openssl asks for one; nobody checks it."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(issuing.client_subject("bro"))
    builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, b"secret")
    text = builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)  # type: ignore[arg-type]

    assert requests.read(text).common_names == ("bro",)


def test_a_request_that_was_changed_on_its_way_is_refused() -> None:
    """One letter of the name: whoever changed it could not sign it."""
    der = x509.load_pem_x509_csr(csr()).public_bytes(serialization.Encoding.DER)

    assert "bad signature" in refusal(der.replace(b"bro", b"sis"))


@pytest.mark.parametrize("bits", [1024, 2047])
def test_a_short_rsa_key_is_refused(bits: int) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)

    assert f"weak key (RSA with {bits} bits)" in refusal(csr(key=key))


def test_a_small_exponent_is_refused() -> None:
    key = rsa.generate_private_key(public_exponent=3, key_size=2048)

    assert "weak key (RSA with the exponent 3)" in refusal(csr(key=key))


@pytest.mark.parametrize("curve", [ec.SECP521R1(), ec.SECP256K1(), ec.BrainpoolP256R1(), ec.SECP224R1()])
def test_an_unsupported_curve_is_refused(curve: ec.EllipticCurve) -> None:
    assert f"the curve {curve.name}, which is not supported" in refusal(csr(key=ec.generate_private_key(curve)))


@pytest.mark.parametrize("make", [ed448.Ed448PrivateKey.generate, partial(dsa.generate_private_key, 1024)])
def test_another_kind_of_key_is_refused(make: Callable[[], object]) -> None:
    """Of whatever length: finding the parameters of a longer one takes half a second."""
    assert "neither RSA nor ECDSA nor Ed25519" in refusal(csr(key=make()))


def test_a_key_for_one_way_of_signing_alone_is_refused(tmp_path: Path) -> None:
    """Its holder could do nothing with the certificate."""
    openssl(tmp_path, "genpkey", "-algorithm", "RSA-PSS", "-out", "key.pem")
    openssl(tmp_path, "req", "-new", "-key", "key.pem", "-subj", "/CN=bro", "-out", "bro.csr")

    assert "has a key for RSASSA-PSS alone" in refusal((tmp_path / "bro.csr").read_bytes())


def test_a_forgeable_digest_is_refused(tmp_path: Path, rsa_key: Path) -> None:
    openssl(tmp_path, "req", "-new", "-sha1", "-key", str(rsa_key), "-subj", "/CN=bro", "-out", "bro.csr")

    told = refusal((tmp_path / "bro.csr").read_bytes())

    assert "SHA1" in told or "bad signature" in told


@pytest.mark.parametrize(
    ("extension", "asked"),
    [
        (x509.BasicConstraints(ca=True, path_length=None), "CA:TRUE"),
        (issuing.key_usage(certificates=True), "keyCertSign, cRLSign"),
    ],
)
@pytest.mark.parametrize("critical", [True, False])
def test_whoever_asks_to_become_an_authority_is_refused(
    extension: x509.ExtensionType, asked: str, critical: bool
) -> None:
    assert f"asks to become an authority ({asked})" in refusal(csr((extension, critical)))


def test_a_leaf_may_say_that_it_is_one() -> None:
    """basicConstraints CA:FALSE and the usual key usage, as many tools write them."""
    text = csr((x509.BasicConstraints(ca=False, path_length=None), True), (issuing.key_usage(encipherment=True), True))

    assert requests.read(text).common_names == ("bro",)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no certificate signing request"),
        (b"hello", "no certificate signing request"),
        (csr()[:200], "no certificate signing request"),
        (csr() * 2, "holds 2 requests"),
        (b"\xff\xfe" + csr().decode().encode("utf-16-le"), "no certificate signing request"),
        (b"x" * (requests.LARGEST + 1), "larger than 64 KiB"),
        (issuing.key_pem(KEY), "comes with a private key"),
        (csr() + issuing.key_pem(KEY), "comes with a private key"),
        (b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n", "holds no request but: certificate"),
    ],
)
def test_what_is_no_request_is_told(content: bytes, told: str) -> None:
    assert told in refusal(content)


@given(st.binary(max_size=600))
@settings(max_examples=rounds(40), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_a_file_holds_there_is_an_answer(content: bytes) -> None:
    """Also where a request was damaged anywhere: a request, or a reason, and nothing else."""
    der = x509.load_pem_x509_csr(csr()).public_bytes(serialization.Encoding.DER)
    place = (content[0] if content else 0) % len(der)
    for text in (content, der[:place] + content[:1] + der[place + 1 :]):
        with contextlib.suppress(requests.Refused):
            requests.read(text)


@pytest.mark.parametrize("damage", [(b"\x0c\x03bro", b"\x0c\x03\xff\xffo"), (b"\x0c\x03bro", b"\x03\x03bro")])
def test_a_subject_that_cannot_be_read_is_told(damage: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sender can sign anything: bytes that are no text, a kind of text that names do not have."""
    der = x509.load_pem_x509_csr(csr()).public_bytes(serialization.Encoding.DER)
    monkeypatch.setattr(requests, "is_signed_by_its_key", lambda _: True)

    assert damage[0] in der
    assert "has a subject that cannot be read" in refusal(der.replace(*damage))


def test_an_odd_country_is_left_out_and_not_warned_of() -> None:
    with warnings.catch_warnings(action="ignore"):
        parts = (x509.NameAttribute(NameOID.COUNTRY_NAME, "Germany", _validate=False), *issuing.client_subject("bro"))
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(parts))
        text = builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)  # type: ignore[arg-type]
    with warnings.catch_warnings(action="error"):
        found = requests.read(text)

    assert found.common_names == ("bro",)
    assert found.ignored == ("C=Germany",)


# For whom


def misfit(text: bytes, purpose: x509.ObjectIdentifier = CLIENT_AUTH) -> str | None:
    names = [x509.DNSName("api.lab.test"), x509.RFC822Name("bro@lab.test")]
    return requests.misfit(requests.read(text), common_names=("bro",), alternative_names=names, purpose=purpose)


def san(*names: x509.GeneralName) -> tuple[x509.ExtensionType, bool]:
    return x509.SubjectAlternativeName(names), False


@pytest.mark.parametrize(
    "text",
    [
        csr(),
        csr(common_name=None),
        csr(san(x509.DNSName("api.lab.test"))),
        csr(san(x509.DNSName("API.lab.test"), x509.RFC822Name("bro@lab.test"))),
        csr((x509.ExtendedKeyUsage([CLIENT_AUTH]), False)),
        csr((x509.ExtendedKeyUsage([SERVER_AUTH, CLIENT_AUTH]), False)),
    ],
)
def test_a_request_may_name_what_the_topology_gives(text: bytes) -> None:
    """All of it, a part of it, or nothing; DNS names in any case."""
    assert misfit(text) is None


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (csr(common_name="sis"), "the name CN=sis;"),
        (csr(common_name="BRO"), "the name CN=BRO;"),
        (csr(common_name="bro\n"), "the name CN=bro?;"),
        (csr(san(x509.DNSName("www.lab.test"))), "the name DNS:www.lab.test;"),
        (csr(san(x509.DNSName("*.lab.test"))), "the name DNS:*.lab.test;"),
        (csr(san(x509.DNSName("api.lab.test"), x509.RFC822Name("sis@lab.test"))), "the name email:sis@lab.test;"),
        (csr(san(x509.UniformResourceIdentifier("spiffe://lab.test/bro"))), "the name URI:spiffe://lab.test/bro;"),
        (csr(san(x509.IPAddress(IPv4Address("127.0.0.1")))), "the name IP:127.0.0.1;"),
        (csr(san(x509.DirectoryName(issuing.client_subject("bro")))), "the name dirName:CN=bro;"),
        (csr(san(x509.DNSName("a.test")), common_name="sis"), "the names CN=sis, DNS:a.test;"),
    ],
)
def test_a_name_that_the_topology_does_not_give_is_told(text: bytes, named: str) -> None:
    """Each of them, and what the topology gives instead."""
    told = misfit(text) or ""

    assert f"asks for {named}" in told
    assert told.endswith("the topology gives CN=bro, DNS:api.lab.test, email:bro@lab.test")


def test_two_common_names_are_both_looked_at() -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text) for text in ("bro", "sis")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    text = builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)  # type: ignore[arg-type]

    assert "asks for the name CN=sis" in (misfit(text) or "")


def test_another_purpose_is_told() -> None:
    server, signer = x509.ExtendedKeyUsage([SERVER_AUTH]), x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])

    assert misfit(csr((server, False))) == "asks for the purpose serverAuth; this certificate is for clientAuth"
    assert "this certificate is for clientAuth" in (misfit(csr((signer, False))) or "")
