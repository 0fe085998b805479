"""Certificates, keys and revocation lists that an author brings along as files: can they be what they are said to be?

Each function returns what is wrong with a file, with what to do about it, or None.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from topology.description.wording import shown

if TYPE_CHECKING:
    from cryptography import x509

LARGEST = 1024 * 1024


def path_fault(name: str, folder: Path, *, is_folder: bool = False) -> str | None:
    """What is wrong with a path of a topology.  folder: the topology's own, which paths are relative to."""
    what = "folder" if is_folder else "file"
    if not name.isprintable():
        return f"has a control character; write the path of a {what}"
    if Path(name).is_absolute():
        return "is an absolute path, which another machine has not; write it relative to the topology file"
    try:
        found = (folder / name).is_dir() if is_folder else (folder / name).is_file()
        if not found:
            return f"there is no {what} '{shown(name)}' beside the topology file; make it, or correct the path"
        if not is_folder and (folder / name).stat().st_size > LARGEST:
            return f"file '{shown(name)}' is larger than {LARGEST // 1024} KiB; is it the right one?"
    except OSError as error:
        return f"{what} '{shown(name)}' cannot be read: {error.strerror}; correct the path"
    return None


def authority_fault(file: Path) -> str | None:
    """Somebody else's authority: one or more PEM certificates, the first one allowed to sign others, one self-signed.

    nginx takes nothing else for the end of a chain (OpenSSL without X509_V_FLAG_PARTIAL_CHAIN).
    """
    from cryptography import x509

    chain = certificates(file)
    if not chain:
        return "holds no certificate in PEM; convert it (`openssl x509 -inform der`), or name another file"
    try:
        is_authority = chain[0].extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        is_authority = False
    if not is_authority:
        return "is not the certificate of an authority (CA:TRUE is missing); name the issuer's own certificate"
    if not any(one.issuer == one.subject for one in chain):
        return "is an intermediate without its root, which gateways trust nobody by; add the root to the file"
    return None


def crl_fault(file: Path, authority: Path) -> str | None:
    """That authority's revocation list."""
    from cryptography import x509

    try:
        crl = x509.load_pem_x509_crl(file.read_bytes())
    except (OSError, ValueError, x509.InvalidVersion):
        return "holds no revocation list in PEM; convert it (`openssl crl -inform der`), or name another file"
    chain = certificates(authority)
    signer: Any = chain[0].public_key() if chain else None
    if signer is not None and not crl.is_signature_valid(signer):
        return "was not signed by that authority; name its own revocation list"
    return None


def identity_fault(certificate: Path, key: Path) -> str | None:
    """A certificate that somebody issued to us, and the key that belongs to it."""
    from cryptography.hazmat.primitives import serialization

    chain = certificates(certificate)
    if not chain:
        return "holds no certificate in PEM; convert it (`openssl x509 -inform der`), or name another file"
    try:
        private = serialization.load_pem_private_key(key.read_bytes(), None)
    except TypeError:
        return "its key_file has a password, and a gateway has nobody to ask for it; store the key without one"
    except (OSError, ValueError):
        return "its key_file holds no private key in PEM; name another file"
    if private.public_key() != chain[0].public_key():
        return "is not the certificate of key_file; its own certificate comes first in the file"
    return None


def certificates(file: Path) -> list[x509.Certificate]:
    """The certificates of a PEM file; none where it holds none, or cannot be read."""
    try:
        return list(decoded(file.read_bytes()))
    except OSError:
        return []


@lru_cache(maxsize=256)
def decoded(pem: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM text; none where one of them is damaged.

    Names and keys are decoded late, and whoever asks for them then expects no error: here they are decoded once.
    Remembered, as a lab has each root in many files, and many rules look at the same few.
    """
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        # Serials and names that RFC 5280 does not allow are somebody else's business.
        with warnings.catch_warnings(action="ignore"):
            found = tuple(x509.load_pem_x509_certificates(pem))
            for one in found:
                _ = one.subject, one.issuer, one.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion):
        return ()
    return found
