"""One request, sent as asked: from outside over a verified connection, or from inside of a host."""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import ssl
from collections.abc import Mapping

from topology.errors import InvalidInput, NotReady
from topology.explaining import certificates
from topology.explaining.asking import Question, Target
from topology.explaining.evidence import Received
from topology.proof.probing import Files
from topology.runtime import gateways
from topology.runtime.lab import Lab

SECONDS = 15
LARGEST_BODY = 64 * 1024
"""Bytes of an answer that are read for what they tell."""

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def headers_of(question: Question, target: Target, request_id: str) -> dict[str, str]:
    """What goes along: the request's id, and a Referer with it, which nginx repeats in every error line."""
    port = "" if target.port in (80, 443) else f":{target.port}"
    host = f"{target.domain}{port}"
    scheme = "https" if target.tls else "http"
    own = {
        "Host": host,
        "User-Agent": "mtls-lab explain",
        "Accept": "*/*",
        "X-Request-ID": request_id,
        "Referer": f"{scheme}://{host}/{request_id}",
        "Connection": "close",
    }
    given = {name.title(): name for name in question.headers}
    kept = {name: value for name, value in own.items() if name.title() not in given}
    if "Upgrade" in given:
        kept["Connection"] = "Upgrade"
    length = {"Content-Length": str(len(question.body))} if question.body or question.method in ("POST", "PUT") else {}
    return {**kept, **length, **question.headers}


def from_outside(
    question: Question, target: Target, shown: Files | None, anchor: str, headers: Mapping[str, str]
) -> Received:
    """anchor: whom the caller trusts, in PEM.  Never raises for what the other side does."""
    try:
        with socket.create_connection((target.address, target.port), timeout=SECONDS) as connection:
            if not target.tls:
                return exchange(connection, question, target, headers)
            context = context_for(anchor, shown, question.tls)
            with context.wrap_socket(connection, server_hostname=target.domain) as encrypted:
                return exchange(encrypted, question, target, headers)
    except ssl.SSLCertVerificationError as error:
        return Received(None, "server certificate refused", str(error), server=seen(target))
    except ssl.SSLError as error:
        return Received(None, "handshake refused", str(error))
    except (ConnectionResetError, BrokenPipeError) as error:
        return Received(None, "connection reset", str(error))
    except TimeoutError as error:
        return Received(None, "timeout", str(error))
    except (OSError, http.client.HTTPException) as error:
        return Received(None, "no connection", str(error))


def context_for(anchor: str, shown: Files | None, version: str | None) -> ssl.SSLContext:
    """Raises InvalidInput where the caller's own files do not go together, NotReady where there is nobody to trust."""
    try:
        context = ssl.create_default_context(cadata=anchor)
    except (ssl.SSLError, ValueError) as error:
        raise NotReady(f"no certificate to trust ({error}); run `mtls-lab up` to issue it") from error
    context.hostname_checks_common_name = False  # RFC 9525, as browsers, Go and requests do
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    if version is not None:
        context.minimum_version = context.maximum_version = VERSIONS[version]
    if shown is not None:
        try:
            context.load_cert_chain(shown.certificate, shown.key)
        except ssl.SSLError as error:
            if "TOO_SMALL" not in str(error) and "TOO_WEAK" not in str(error):
                raise InvalidInput(f"{shown.certificate}: cannot be shown with {shown.key}: {error.reason}") from error
            context.set_ciphers("DEFAULT:@SECLEVEL=0")  # what others make of a weak key is what is asked for
            context.load_cert_chain(shown.certificate, shown.key)
    return context


def exchange(connection: socket.socket, question: Question, target: Target, headers: Mapping[str, str]) -> Received:
    """One request on an open connection, exactly this path."""
    client = http.client.HTTPConnection(target.domain, target.port, timeout=SECONDS)
    client.sock = connection
    client.putrequest(question.method, target.path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        client.putheader(name, value)
    # A server that refuses a large body may answer, and hang up, before all of it was sent.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        client.endheaders(question.body or None)
    shown = connection.getpeercert(binary_form=True) if isinstance(connection, ssl.SSLSocket) else None
    version = connection.version() if isinstance(connection, ssl.SSLSocket) else None
    with client.getresponse() as answer:
        return received(answer, version or "", shown)


def received(answer: http.client.HTTPResponse, version: str = "", shown: bytes | None = None) -> Received:
    try:
        body = b"" if answer.status == http.HTTPStatus.SWITCHING_PROTOCOLS else answer.read(LARGEST_BODY)
    except (OSError, http.client.HTTPException):
        body = b""
    return Received(
        status=answer.status,
        headers={name.lower(): value for name, value in answer.getheaders()},
        body=body.decode(errors="replace"),
        version=version,
        server=certificates.read(ssl.DER_cert_to_PEM_cert(shown).encode()) if shown else (),
    )


def seen(target: Target) -> tuple[certificates.Certificate, ...]:
    """The certificate of a server that is not believed: looked at, and nothing is sent to it."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((target.address, target.port), timeout=SECONDS) as connection,
            context.wrap_socket(connection, server_hostname=target.domain) as encrypted,
        ):
            shown = encrypted.getpeercert(binary_form=True)
    except OSError:
        return ()
    return certificates.read(ssl.DER_cert_to_PEM_cert(shown).encode()) if shown else ()


def from_inside(lab: Lab, question: Question, target: Target, headers: Mapping[str, str]) -> Received:
    """Raises NotReady where nothing comes back."""
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    request = f"{question.method} {target.path} HTTP/1.1\r\n{head}\r\n{question.body.decode('latin-1')}"
    answer = gateways.call(lab, target.host, target.port, request)

    class Answered:
        """What http.client reads an answer from."""

        def makefile(self, *_: object) -> io.BytesIO:
            return io.BytesIO(answer)

    parsed = http.client.HTTPResponse(Answered(), method=question.method)  # type: ignore[arg-type]
    try:
        parsed.begin()
    except http.client.HTTPException as error:
        return Received(None, "no answer in HTTP", str(error))
    return received(parsed)
