"""Certificates and keys as files, where they are at hand: who may read them, and do they fit?"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from topology.linting.findings import ERROR, WARNING, Found, rule
from topology.linting.gateway import Gateway
from topology.linting.material import (
    MANY,
    Use,
    certificates,
    extension,
    extensions,
    is_authority,
    is_root,
    titled,
    uses,
)
from topology.nginx import listening

PAIRS = ("ssl_certificate", "proxy_ssl_certificate")
KEYS = tuple(f"{name}_key" for name in PAIRS)
TRUST = ("ssl_client_certificate", "ssl_trusted_certificate", "proxy_ssl_trusted_certificate")
LISTS = ("ssl_crl", "proxy_ssl_crl")


def file_of(gateway: Gateway, use: Use) -> Path | None:
    """The file of a directive, where it is at hand."""
    found = gateway.configuration.here(use.path) if use.path and not use.path.startswith("data:") else None
    return found if found is not None and found.exists() else None


@rule(ERROR, "`chmod 600`, owned by who runs nginx")
def key_readable(gateway: Gateway) -> Iterator[Found]:
    """Who can read a key is whoever its certificate names, until the certificate expires, on any machine."""
    for use in uses(gateway.configuration, *KEYS):
        file = file_of(gateway, use)
        if file is not None and (mode := stat.S_IMODE(file.stat().st_mode)) & 0o007:
            yield Found(use.directive.place, f"everybody on this machine may read {use.path} (mode {mode:04o})")


@rule(ERROR, "`chown` it to the user that the container runs as (`user:` of the Compose file, or the image's)")
def key_out_of_reach(gateway: Gateway) -> Iterator[Found]:
    """nginx without root reads a key as its own user, and does not start where it may not: `cannot load certificate
    key ... Permission denied`. Without capabilities even root reads nothing that is another user's.
    """
    user = gateway.container.user if gateway.container is not None else None
    for use in uses(gateway.configuration, *KEYS):
        file = file_of(gateway, use)
        if file is None or user is None:
            continue
        found = file.stat()
        if found.st_uid != user and not found.st_mode & 0o044:
            message = f"{use.path} belongs to user {found.st_uid}, and the gateway runs as {user}"
            yield Found(use.directive.place, message)


@rule(ERROR, "name the key that the certificate was issued for")
def key_of_another(gateway: Gateway) -> Iterator[Found]:
    """nginx does not start with a key that is not the certificate's: `key values mismatch`. After a renewal that
    replaced one of the two it still runs, until it is started anew.
    """
    for use in uses(gateway.configuration, *PAIRS):
        found = certificates(gateway.configuration, use.path)
        path = use.block.value(f"{use.directive.name}_key")
        content = gateway.configuration.content(path) if path else None
        if found is None or content is None:
            continue
        side = use.directive.name.removesuffix("ssl_certificate")
        try:
            key = serialization.load_pem_private_key(content, None)
        except TypeError:
            if not use.block.one(f"{side}ssl_password_file"):
                yield Found(use.directive.place, f"{path} is encrypted, and no {side}ssl_password_file opens it")
        except (ValueError, UnsupportedAlgorithm):
            yield Found(use.directive.place, f"{path} holds no key in PEM")
        else:
            if key.public_key() != found[0].public_key():
                yield Found(use.directive.place, f"{path} is not the key of {titled(found[0].subject)}")


@rule(ERROR, "a PEM file with what the directive is for: `openssl x509 -inform der` makes PEM of DER")
def no_certificate_in_file(gateway: Gateway) -> Iterator[Found]:
    """A folder that Docker made where a file was missing, an empty file, or DER in place of PEM: nginx does not start
    and says `no start line` of each.
    """
    for use in uses(gateway.configuration, *PAIRS, *TRUST, *LISTS):
        file = file_of(gateway, use)
        if file is None:
            continue
        if file.is_dir():
            yield Found(
                use.directive.place, f"{use.path} is a folder; Docker makes one where what it mounts is missing"
            )
            continue
        content = gateway.configuration.content(use.path)
        wanted = b"-----BEGIN X509 CRL" if use.directive.name in LISTS else b"-----BEGIN "
        if content is not None and wanted not in content:
            what = "is empty" if not content.strip() else "is not in PEM, or holds something else"
            yield Found(use.directive.place, f"{use.path} {what}")


@rule(ERROR, "renew it; `mtls-lab check --at` tells of those that come next")
def certificate_out_of_date(gateway: Gateway) -> Iterator[Found]:
    """A certificate outside of its dates is refused by whoever verifies it; that of an authority takes all below
    along. A client's is refused on open locations, too: `optional` means that it may be absent. Not valid yet often
    means a clock that is behind.
    """
    for use in uses(gateway.configuration, *PAIRS, *TRUST):
        found = certificates(gateway.configuration, use.path) or ()
        for one in found if len(found) < MANY else ():
            if one.not_valid_after_utc <= gateway.now:
                end = one.not_valid_after_utc
                yield Found(use.directive.place, f"{titled(one.subject)} expired on {end:%Y-%m-%d}")
            elif one.not_valid_before_utc > gateway.now:
                begin = one.not_valid_before_utc
                yield Found(
                    use.directive.place, f"{titled(one.subject)} is not valid before {begin:%Y-%m-%d %H:%M} UTC"
                )


@rule(ERROR, "issue it with every name and address as subjectAltName: `DNS:` for names, `IP:` for addresses")
def certificate_without_name(gateway: Gateway) -> Iterator[Found]:
    """Clients compare the name that they called with the alternative names alone (RFC 9110, 4.3.4): Go, Python and
    browsers ignore the common name, curl does not. An address has to be there as an address.
    """
    for use in uses(gateway.configuration, "ssl_certificate"):
        found = certificates(gateway.configuration, use.path)
        server = use.block.around("server")
        if found is None or server is None:
            continue
        on_it = dns_names(found[0])
        if on_it is None:
            yield Found(use.directive.place, f"{titled(found[0].subject)} has no alternative name, only a common name")
            continue
        for name in listening.names(server):
            if not name.startswith(("~", "*", ".", "_")) and "." in name and not covered(name, on_it):
                yield Found(use.directive.place, f"{name} is not on the certificate, which has {', '.join(on_it)}")


def dns_names(certificate: x509.Certificate) -> list[str] | None:
    names = extension(certificate, x509.SubjectAlternativeName)
    if names is None:
        return None
    addresses = [str(one) for one in names.get_values_for_type(x509.IPAddress)]
    return [one.lower() for one in names.get_values_for_type(x509.DNSName)] + addresses


def covered(name: str, on_it: list[str]) -> bool:
    return name.lower() in on_it or f"*.{name.lower().partition('.')[2]}" in on_it


@rule(ERROR, "issue it with extendedKeyUsage serverAuth for a server, clientAuth for a client")
def certificate_for_another_purpose(gateway: Gateway) -> Iterator[Found]:
    """A certificate that says what it is for is for nothing else: error 26, unsupported certificate purpose. No
    purpose at all is accepted; anyExtendedKeyUsage alone is not.
    """
    wanted = {
        "ssl_certificate": ExtendedKeyUsageOID.SERVER_AUTH,
        "proxy_ssl_certificate": ExtendedKeyUsageOID.CLIENT_AUTH,
    }
    for use in uses(gateway.configuration, *PAIRS):
        found = certificates(gateway.configuration, use.path)
        purposes = purposes_of(found[0]) if found else None
        if found and purposes is not None and wanted[use.directive.name] not in purposes:
            what = "servers" if use.directive.name == "ssl_certificate" else "clients"
            yield Found(use.directive.place, f"{titled(found[0].subject)} is not for {what}")


def purposes_of(certificate: x509.Certificate) -> list[ObjectIdentifier] | None:
    found = extension(certificate, x509.ExtendedKeyUsage)
    return None if found is None else list(found)


@rule(WARNING, "issue it with key identifiers, and an authority with critical basicConstraints and keyUsage (RFC 5280)")
def certificate_not_strict(gateway: Gateway) -> Iterator[Found]:
    """Python from 3.13 on verifies strictly (VERIFY_X509_STRICT), as `openssl verify -x509_strict` does: `Missing
    Authority Key Identifier`, `Basic Constraints of CA cert not marked critical`. curl and nginx accept the same
    certificate.
    """
    for use in uses(gateway.configuration, *PAIRS, *TRUST):
        found = certificates(gateway.configuration, use.path) or ()
        for one in found if len(found) < MANY else ():
            if lax := laxness(one):
                yield Found(use.directive.place, f"{titled(one.subject)}: {lax}")


def laxness(certificate: x509.Certificate) -> str | None:
    """What a strict verifier refuses of a certificate: errors 85, 86, 89 and 92 of OpenSSL."""
    kinds = extensions(certificate)
    if x509.AuthorityKeyIdentifier not in kinds and not is_root(certificate):
        return "no authority key identifier"
    if not is_authority(certificate):
        return None
    if x509.BasicConstraints not in kinds or not kinds[x509.BasicConstraints].critical:
        return "basicConstraints of an authority that are not critical"
    if x509.KeyUsage not in kinds:
        return "an authority without keyUsage"
    if x509.SubjectKeyIdentifier not in kinds:
        return "an authority without a subject key identifier"
    return None


@rule(WARNING, "mount the folder, and replace files in it; or make the container anew after each change")
def file_mounted_alone(gateway: Gateway) -> Iterator[Found]:
    """A file that is mounted without its folder is the file that was there at start. Editors, git and certbot put a
    new one in its place, which the container never sees: a reload reads the old configuration or the expired
    certificate.
    """
    for one in gateway.container.single_files if gateway.container is not None else ():
        yield Found(one.place, f"{one.source} is mounted without its folder")
