"""Check -> Observation: a real request over a real socket, fully verified.

The prober connects to the address where the gateway is published and speaks under the host's own name: in SNI, in the
Host header, and when it verifies the server's certificate against the one authority that issued it.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import PoolManager
from urllib3.util.connection import create_connection

from topology.errors import NotReady
from topology.pki import forging, zoo
from topology.pki.drafting import Papers
from topology.pki.issuing import Credential, Issuer, PrivateKey
from topology.proof import callers
from topology.proof.expectation import Caller, Check
from topology.runtime.running import RunningLab

TIMEOUT_SECONDS = 10
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


@dataclass(frozen=True)
class Observation:
    """What came back: a status, or the way in which nothing did.  request_id: finds it in the gateways' logs."""

    status: int | None
    failure: str
    detail: str
    request_id: str
    seconds: float


@dataclass(frozen=True)
class Files:
    """A caller's certificate and key as files, which is how TLS libraries take them.

    weak: they are below the security level that this side's library insists on.
    """

    certificate: Path
    key: Path
    weak: bool = False


# Certificates to show


@contextmanager
def credentials(checks: tuple[Check, ...], lab: RunningLab, now: datetime) -> Iterator[Mapping[Caller, Files]]:
    """Every certificate that the checks show: identities as they lie on disk, bad ones signed for the occasion.

    They lie in a folder of their own, readable by this user alone, until the context ends.
    Raises NotReady where the lab's certificates are not there.
    """
    with tempfile.TemporaryDirectory(prefix="mtls-lab-") as folder:
        shown = dict.fromkeys(check.shown for check in checks if check.shown.identity is not None)
        yield {caller: files_of(caller, lab, Path(folder), n, now) for n, caller in enumerate(shown)}


def files_of(caller: Caller, lab: RunningLab, folder: Path, number: int, now: datetime) -> Files:
    if caller.name == caller.identity:
        own = lab.identities / caller.name
        found = Files(own / "certificate.pem", own / "key.pem")
        if not (found.certificate.is_file() and found.key.is_file()):
            raise NotReady(f"{own} has no certificate and key; run `mtls-lab up` to issue them")
        return found
    credential = made(caller, lab, now)
    files = Files(folder / f"{number}.pem", folder / f"{number}.key", caller.flaw in zoo.WEAK)
    files.certificate.write_bytes(credential.certificate_pem())
    files.key.touch(0o600)
    files.key.write_bytes(credential.key_pem())
    return files


def made(caller: Caller, lab: RunningLab, now: datetime) -> Credential | Papers:
    """A certificate that the topology does not give out: flawed, or the same name from another authority."""
    if caller.flaw in zoo.KINDS:
        return zoo.show(caller.flaw, scene(caller, lab, now))
    identity = lab.topology.identities[caller.identity or ""]
    forger = forging.FORGERS[caller.flaw] if caller.flaw else forging.genuine
    return forger(authority(lab, caller.authority), identity.common_name, identity.san, now)


def scene(caller: Caller, lab: RunningLab, now: datetime) -> zoo.Scene:
    """What a forger has to work with who imitates the caller's identity."""
    identity = lab.topology.identities[caller.identity or ""]
    host = lab.topology.hosts.get(caller.host)
    return zoo.Scene(
        root=root(lab, caller.authority),
        leaves=authority(lab, caller.authority),
        servers=authority(lab, callers.servers_authority(lab.topology, host)) if host is not None else None,
        domain=host.domain if host is not None else "",
        common_name=identity.common_name,
        san=identity.san,
        now=now,
    )


def authority(lab: RunningLab, name: str) -> Issuer:
    """The issuer of an authority's leaves, with its key."""
    if not lab.topology.authorities[name].intermediate:
        return root(lab, name)
    found = issuer(lab.authorities / name, "intermediate.pem", "intermediate-key.pem")
    return Issuer(found.certificate, found.key, (found.certificate,))


def root(lab: RunningLab, name: str) -> Issuer:
    """An authority's root, with its key."""
    return issuer(lab.authorities / name, "certificate.pem", "key.pem")


def issuer(folder: Path, certificate: str, key: str) -> Issuer:
    try:
        return read_issuer((folder / certificate).read_bytes(), (folder / key).read_bytes())
    except (OSError, ValueError, TypeError) as error:
        raise NotReady(f"{folder}: the authority cannot be read ({error}); run `mtls-lab up` to issue it") from error


@lru_cache(maxsize=64)
def read_issuer(certificate: bytes, key: bytes) -> Issuer:
    """An authority from PEM.  ValueError or TypeError where it cannot be one."""
    read = serialization.load_pem_private_key(key, None)  # which proves large RSA keys to be ones, and takes its time
    if not isinstance(read, PrivateKey):
        raise TypeError("not a kind of key that an authority here can have")
    return Issuer(x509.load_pem_x509_certificate(certificate), read)


# Requests


def probe(check: Check, lab: RunningLab, shown: Mapping[Caller, Files]) -> Observation:
    """Sends one request on a connection of its own and says what came back.  Never raises for what the peer does."""
    host = lab.topology.hosts[check.host]
    endpoint = lab.endpoints[check.host]
    plain = check.tls == "plain"
    port = endpoint.http if plain else endpoint.https
    if check.port is not None:
        port = endpoint.passed.get(check.port)
    if port is None:
        return Observation(None, "not published", f"{check.host} has no such port", "", 0)
    context = None if plain else tls_context(lab.anchor(check.host), shown.get(check.shown), check.tls)
    return request(endpoint.address, port, host.domain, check.path, context)


def request(address: str, port: int, name: str, path: str, context: ssl.SSLContext | None) -> Observation:
    """One GET, as plainly as it can be sent: a check has thousands of them.  name: whom TLS and HTTP ask for."""
    request_id = str(uuid.uuid4())
    referer = f"{'http' if context is None else 'https'}://{name}/{request_id}"  # nginx repeats it in every error line
    began = time.monotonic()
    status, failure, detail = None, "", ""
    try:
        with connected(address, port, name, context) as connection:
            headers = {"X-Request-ID": request_id, "Referer": referer, "Connection": "close"}
            connection.request("GET", path, headers=headers)
            with connection.getresponse() as answer:
                status, detail = answer.status, answer.read().decode(errors="replace")[:300]
    except (OSError, http.client.HTTPException) as error:
        failure, detail = named_failure(error)
    return Observation(status, failure, detail, request_id, time.monotonic() - began)


@contextmanager
def connected(
    address: str, port: int, name: str, context: ssl.SSLContext | None
) -> Iterator[http.client.HTTPConnection]:
    """A connection to an address under a name; raises OSError where there is none to be had."""
    connection = http.client.HTTPConnection(name, port)
    raw = socket.create_connection((address, port), timeout=TIMEOUT_SECONDS)
    with context.wrap_socket(raw, server_hostname=name) if context is not None else raw as encrypted:
        connection.sock = encrypted
        yield connection


def tls_context(anchor: Path, shown: Files | None, version: str) -> ssl.SSLContext:
    """One TLS version, one trusted authority, strict verification, at most one certificate to show."""
    try:
        return cached_context(anchor.read_text(), shown, version)
    except (OSError, ssl.SSLError, ValueError) as error:
        raise NotReady(f"{anchor}: no certificate to trust there ({error}); run `mtls-lab up` to issue it") from error


@lru_cache(maxsize=256)
def cached_context(anchor: str, shown: Files | None, version: str) -> ssl.SSLContext:
    """anchor: the trusted authority as PEM."""
    context = ssl.create_default_context(cadata=anchor)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.minimum_version = context.maximum_version = VERSIONS[version]
    if shown is not None and shown.weak:
        context.set_ciphers("DEFAULT@SECLEVEL=0")
    if shown is not None:
        context.load_cert_chain(shown.certificate, shown.key)
    return context


def named_failure(error: BaseException) -> tuple[str, str]:
    """In a word, what happened where no answer came, and what the libraries said of it."""
    detail = str(error)
    causes = list(chain_of(error))
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return "server certificate refused", detail
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return "handshake refused", detail
    if any(isinstance(cause, ConnectionResetError | BrokenPipeError) for cause in causes):
        return "connection reset", detail
    if isinstance(error, TimeoutError):
        return "timeout", detail
    return "no connection", detail


def chain_of(error: BaseException) -> Iterator[BaseException]:
    seen: list[Any] = [error]
    while seen:
        one = seen.pop()
        yield one
        seen += [e for e in (one.__cause__, one.__context__, getattr(one, "reason", None), *one.args)
                 if isinstance(e, BaseException)]  # fmt: skip


class Direct(HTTPAdapter):
    """Connects to one address whatever the URL's name says; the name still is what TLS and HTTP see."""

    def __init__(self, address: str, context: ssl.SSLContext | None) -> None:
        self.address = address
        self.context = context
        super().__init__(max_retries=0)

    def init_poolmanager(self, *arguments: Any, **settings: Any) -> None:
        address = self.address

        class Plain(HTTPConnection):
            def _new_conn(self) -> Any:
                return create_connection((address, self.port), self.timeout)

        class Encrypted(HTTPSConnection):
            def _new_conn(self) -> Any:
                return create_connection((address, self.port), self.timeout)

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = Plain

        class EncryptedPool(HTTPSConnectionPool):
            ConnectionCls = Encrypted

        if self.context is not None:
            settings["ssl_context"] = self.context
        self.poolmanager = PoolManager(*arguments, **settings)
        self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": EncryptedPool}

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        """requests would put its own trust store over the context's: the context alone decides."""
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {"ssl_context": self.context} if self.context is not None else {}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Nothing to add: verification is the context's, and it is required there."""
