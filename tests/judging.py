"""Judges of certificates: each says what it has against a chain, nothing where it has nothing.

NSS and Java's keytool need programs that few machines have: tests/integration/test_judges.py.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import verification

from tests.chains import Chain
from topology.generation.certificates import names_of
from topology.pki import issuing


def openssl(judged: Chain, folder: Path) -> str:
    """`openssl verify` at its strictest, revocation lists checked all the way up."""
    (folder / "leaf.pem").write_bytes(issuing.certificate_pem(judged.leaf))
    (folder / "root.pem").write_bytes(issuing.certificate_pem(judged.root))
    (folder / "between.pem").write_bytes(b"".join(map(issuing.certificate_pem, judged.between)))
    (folder / "crls.pem").write_bytes(b"".join(map(issuing.crl_pem, judged.crls)))
    purpose = "sslserver" if judged.purpose == issuing.SERVER_AUTH else "sslclient"
    command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-crl_check_all", "-CRLfile", "crls.pem"]
    command += ["-CAfile", "root.pem", *(["-untrusted", "between.pem"] if judged.between else []), "leaf.pem"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr


def cryptography(judged: Chain) -> str:
    """The verifier of the library that issues, which shares no code with issuing; by the rules of the public web."""
    builder = verification.PolicyBuilder().store(verification.Store([judged.root])).time(datetime.now(UTC))
    try:
        if judged.purpose == issuing.SERVER_AUTH:
            for name in names_of(judged.leaf) or [x509.DNSName("nameless.test")]:
                asked = verification.DNSName(name.value)
                builder.build_server_verifier(asked).verify(judged.leaf, list(judged.between))
        else:
            builder.build_client_verifier().verify(judged.leaf, list(judged.between))
    except verification.VerificationError as error:
        return str(error)
    return ""


def pkilint(judged: Chain) -> str:
    """Everything above INFO that it has against the certificates, the links between them, and the revocation lists."""
    results = [result for one in judged.certificates for result in lint_certificate(der(one))]
    for subject, above in pairwise(judged.certificates):
        results += lint_link(der(above), der(subject))
    results += [result for one in judged.crls for result in lint_crl(der(one))]
    return "\n".join(sorted(set(complaints(results))))


def der(one: x509.Certificate | x509.CertificateRevocationList) -> bytes:
    return one.public_bytes(Encoding.DER)


def complaints(results: list[Any]) -> Iterator[str]:
    from pkilint.validation import ValidationFindingSeverity

    for result in results:
        for description in result.finding_descriptions:
            if description.finding.severity < ValidationFindingSeverity.INFO:
                yield f"{description.finding.code}: {description.message or description.finding.severity}"


@cache
def lint_certificate(content: bytes) -> list[Any]:
    from pkilint import loader

    document = loader.RFC5280CertificateDocumentLoader().load_der_document(content)
    return certificate_rules().validate(document.root)


@cache
def certificate_rules() -> Any:
    from pkilint.pkix import certificate, extension, name

    return certificate.create_pkix_certificate_validator_container(
        certificate.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
        [
            certificate.create_issuer_validator_container([]),
            certificate.create_validity_validator_container(),
            certificate.create_subject_validator_container([]),
            certificate.create_extensions_validator_container([]),
            certificate.create_spki_validator_container([]),
        ],
    )


@cache
def lint_crl(content: bytes) -> list[Any]:
    from pkilint import loader, pkix
    from pkilint.pkix import crl, extension, name

    rules = crl.create_pkix_crl_validator_container(
        [
            pkix.create_attribute_decoder(name.ATTRIBUTE_TYPE_MAPPINGS),
            pkix.create_extension_decoder(extension.EXTENSION_MAPPINGS),
        ],
        [
            crl.create_issuer_validator_container([]),
            crl.create_validity_validator_container([]),
            crl.create_extensions_validator_container([]),
        ],
    )
    return rules.validate(loader.RFC5280CertificateListDocumentLoader().load_der_document(content).root)


@cache
def lint_link(issuer: bytes, subject: bytes) -> list[Any]:
    """Names and key identifiers of an issuer and of what it signed, and the signature."""
    from pkilint import loader
    from pkilint.bin import lint_pkix_signer_signee_cert_chain as linter

    documents: dict[str, Any] = {}
    load = loader.RFC5280CertificateDocumentLoader().load_der_document
    for role, content in (("issuer", issuer), ("subject", subject)):
        documents[role] = load(content, role, role, documents)
    decoders = linter.create_decoder_validation_container()
    results = [result for document in documents.values() for result in decoders.validate(document.root)]
    results += linter.create_issuer_validation_container().validate(documents["issuer"].root)
    return results + linter.create_subject_validation_container().validate(documents["subject"].root)
