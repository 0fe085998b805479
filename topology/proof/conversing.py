"""Connections that a well-behaved client library would not make: bytes as they are, and all answers that come back."""

from __future__ import annotations

import contextlib
import http.client
import io
import re
import socket
import ssl
import struct
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from topology.proof.probing import TIMEOUT_SECONDS, VERSIONS, Files

if TYPE_CHECKING:
    import h2.connection
    import h2.events

PAUSE_SECONDS = 0.02
"""Between the parts of a request that comes slowly."""

MOST_BYTES = 1 << 20
"""Of an answer: more is not read."""

ERROR_PAGE = re.compile(rb"<title>(\d{3}) ")
"""nginx's own pages tell the status, which HTTP/0.9 has no other place for."""

HANDSHAKE, ALERT = 22, 21
NAMED_GROUPS = (29, 23, 24)
SIGNATURES = (0x0403, 0x0804, 0x0401, 0x0203, 0x0201)
OLD_CIPHERS = (0xC00A, 0xC009, 0xC014, 0xC013, 0x0035, 0x002F, 0x000A)
"""What a client of TLS 1.0 and 1.1 offers: ECDHE and RSA with AES in CBC mode, and 3DES."""


class NoAnswer(Exception):
    """A connection that ended in some other way than by an answer; failure: in a word, how."""

    def __init__(self, failure: str, detail: str = "") -> None:
        super().__init__(failure)
        self.failure = failure
        self.detail = detail


@dataclass(frozen=True)
class Reply:
    """An answer.  last: the connection ends with it."""

    status: int
    body: bytes
    last: bool


# Connections


@contextmanager
def connected(address: str, port: int) -> Iterator[socket.socket]:
    with socket.create_connection((address, port), timeout=TIMEOUT_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


@contextmanager
def encrypted(
    address: str, port: int, context: ssl.SSLContext, sni: str, session: ssl.SSLSession | None = None
) -> Iterator[ssl.SSLSocket]:
    """A TLS connection; sni: the name that the handshake tells, empty for none."""
    with (
        connected(address, port) as connection,
        context.wrap_socket(connection, server_hostname=sni or None, session=session) as tls,
    ):
        yield tls


@lru_cache(maxsize=512)
def context(anchors: str, shown: Files | None, version: str, protocol: str, named: bool) -> ssl.SSLContext:
    """One TLS version, the trusted authorities as PEM, at most one certificate to show.

    protocol: for ALPN, empty for none; named: whether the server's certificate has to say the name that the handshake
    tells.  It does not where that name is not the server's own: there a refusal is what is looked for.
    """
    made = ssl.create_default_context(cadata=anchors)
    made.check_hostname = named
    made.verify_flags |= ssl.VERIFY_X509_STRICT
    made.minimum_version = made.maximum_version = VERSIONS[version]
    if protocol:
        made.set_alpn_protocols([protocol])
    if shown is not None:
        made.load_cert_chain(shown.certificate, shown.key)
    return made


# Requests and answers


def say(connection: socket.socket, parts: Sequence[bytes]) -> None:
    """Sends the parts, with a pause between; what the peer no longer wants to hear is left unsaid."""
    for number, part in enumerate(parts):
        if number:
            time.sleep(PAUSE_SECONDS)
        try:
            connection.sendall(part)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            return  # the answer, if there is one, may have come already


class Answers:
    """The answers on one connection, one after the other."""

    def __init__(self, connection: socket.socket | Received) -> None:
        self.stream = connection.makefile("rb")

    def makefile(self, *_: Any, **__: Any) -> Any:
        """What `HTTPResponse` asks of a socket: the one stream, which outlives each answer."""
        return Unclosed(self.stream)

    def next(self, method: str = "GET") -> Reply:
        """Raises NoAnswer where the connection ends instead."""
        begun = self.stream.peek(1)[:5]
        if not begun:
            raise NoAnswer("connection closed", "without an answer")
        if begun[:1] in (bytes([ALERT]), bytes([HANDSHAKE])):
            raise NoAnswer("handshake refused", f"the peer spoke TLS: {self.stream.peek(7)[:7].hex()}")
        if begun != b"HTTP/":
            return self.bare()
        if method == "POST" and self.stream.peek(12)[:12].endswith(b" 100"):
            raise NoAnswer("asked to go on", "a body that was only announced is waited for")
        response = http.client.HTTPResponse(cast("socket.socket", self), method=method)
        response.begin()
        try:
            body = response.read(MOST_BYTES)
        except http.client.IncompleteRead as cut:  # an application that is asked oddly may hang up while it answers
            return Reply(response.status, cut.partial, True)
        except (ConnectionError, ssl.SSLEOFError):
            return Reply(response.status, b"", True)
        return Reply(response.status, body, response.will_close)

    def bare(self) -> Reply:
        """An answer in HTTP/0.9: a body alone."""
        body = self.stream.read(MOST_BYTES)
        page = ERROR_PAGE.search(body)
        return Reply(int(page[1]) if page else 200, body, True)


class Unclosed(io.BufferedIOBase):
    """A stream that stays open whoever closes it."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self.stream = stream

    def read(self, size: int | None = -1, /) -> bytes:
        return self.stream.read(size)

    def readinto(self, buffer: Any, /) -> int:
        return self.stream.readinto(buffer)

    def readline(self, size: int | None = -1, /) -> bytes:
        return self.stream.readline(size)

    def peek(self, size: int = 0, /) -> bytes:
        return self.stream.peek(size)

    def read1(self, size: int = -1, /) -> bytes:
        return self.stream.read1(size)

    def readable(self) -> bool:
        return True


def answers(connection: socket.socket, number: int, method: str) -> list[Reply]:
    """As many answers as come, up to one more than expected; the first has to come.

    Where fewer are expected than the connection allows, no time is spent on waiting for more.
    """
    reading = Answers(connection)
    replies = [reading.next(method)]
    while not replies[-1].last and len(replies) < number:
        replies.append(reading.next(method))
    if number > 1 and not replies[-1].last:
        with contextlib.suppress(NoAnswer, OSError):
            replies.append(reading.next(method))
    return replies


# Handshakes that TLS libraries no longer make


def client_hello(version: str, name: str) -> bytes:
    """A handshake's first message (RFC 2246, 7.4.1.2; RFC 6066, 3), in a record of its own.

    version: `1.0`, `1.1` or `1.2`, the only one that is offered, with ciphers that were in use then; name: for SNI.
    """
    code = {"1.0": b"\x03\x01", "1.1": b"\x03\x02", "1.2": b"\x03\x03"}[version]
    host = name.encode()
    extensions = b"".join(
        (
            extension(0, sized(2, b"\0" + sized(2, host))),
            extension(10, sized(2, numbers(NAMED_GROUPS))),
            extension(11, sized(1, b"\0")),
            extension(13, sized(2, numbers(SIGNATURES))),
        )
    )
    hello = code + bytes(32) + sized(1, b"") + sized(2, numbers(OLD_CIPHERS)) + sized(1, b"\0") + sized(2, extensions)
    return bytes([HANDSHAKE]) + b"\x03\x01" + sized(2, b"\x01" + sized(3, hello))


def numbers(values: Iterable[int]) -> bytes:
    return b"".join(value.to_bytes(2, "big") for value in values)


def sized(width: int, content: bytes) -> bytes:
    return len(content).to_bytes(width, "big") + content


def extension(number: int, content: bytes) -> bytes:
    return number.to_bytes(2, "big") + sized(2, content)


def answer_to_hello(connection: socket.socket, hello: bytes) -> str:
    """In words, what a server makes of the beginning of a handshake."""
    connection.sendall(hello)
    begun = connection.recv(1)
    if begun[:1] == bytes([HANDSHAKE]):
        return "handshake answered"
    return "handshake refused" if begun[:1] in (b"", bytes([ALERT])) else "no TLS"


# HTTP/2


def over_http_2(
    connection: socket.socket, requests: Sequence[tuple[Sequence[tuple[bytes, bytes]], bytes]]
) -> list[Reply]:
    """The answers to all requests, which are sent at once; raises NoAnswer where the connection or a stream ends.

    Headers go out as they are: no library puts them right.
    """
    import h2.config
    import h2.connection

    settings = h2.config.H2Configuration(
        client_side=True, header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False
    )
    protocol = h2.connection.H2Connection(settings)
    protocol.initiate_connection()
    found = {}
    for headers, body in requests:
        number = protocol.get_next_available_stream_id()
        protocol.send_headers(number, list(headers), end_stream=not body)
        if body:
            protocol.send_data(number, body, end_stream=True)
        found[number] = Stream()
    while not all(stream.ended for stream in found.values()):
        connection.sendall(protocol.data_to_send())
        data = connection.recv(1 << 16)
        if not data:
            raise NoAnswer("connection closed", "without an answer to every stream")
        for event in protocol.receive_data(data):
            take(event, found, protocol)
    return [Reply(stream.status, stream.body, False) for stream in found.values()]


@dataclass
class Stream:
    """An answer as it comes in."""

    status: int = 0
    body: bytes = b""
    ended: bool = False


def take(event: h2.events.Event, streams: Mapping[int, Stream], protocol: h2.connection.H2Connection) -> None:
    """Raises NoAnswer where the server ends a stream, or the connection, before it has answered."""
    from h2 import events

    match event:
        case events.ResponseReceived():
            streams[event.stream_id].status = int(dict(event.headers)[b":status"])
        case events.DataReceived():
            streams[event.stream_id].body += event.data
            protocol.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        case events.StreamEnded():
            streams[event.stream_id].ended = True
        case events.StreamReset():
            raise NoAnswer("stream reset", f"error {event.error_code}")
        case events.ConnectionTerminated():
            raise NoAnswer("connection closed", f"error {event.error_code}")


# Renegotiation


def renegotiated(address: str, port: int, anchor: Path, shown: Files | None, name: str, request: bytes) -> Reply:
    """Begins the handshake anew on a TLS 1.2 connection, which Python's own library cannot, and sends a request.

    Raises NoAnswer where the server refuses the second handshake.
    """
    from OpenSSL import SSL

    settings = SSL.Context(SSL.TLS_CLIENT_METHOD)
    settings.set_min_proto_version(SSL.TLS1_2_VERSION)
    settings.set_max_proto_version(SSL.TLS1_2_VERSION)
    settings.set_verify(SSL.VERIFY_PEER)
    settings.load_verify_locations(str(anchor))
    if shown is not None:
        settings.use_certificate_chain_file(str(shown.certificate))
        settings.use_privatekey_file(str(shown.key))
    with connected(address, port) as connection:
        connection.settimeout(None)  # OpenSSL reads and writes by itself here, and has to be made to wait
        for direction in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            connection.setsockopt(socket.SOL_SOCKET, direction, struct.pack("ll", TIMEOUT_SECONDS, 0))
        tls = SSL.Connection(settings, connection)
        tls.set_tlsext_host_name(name.encode())
        tls.set_connect_state()
        received = b""
        try:
            tls.do_handshake()
            tls.renegotiate()
            tls.do_handshake()
            tls.sendall(request)
            while len(received) < MOST_BYTES:
                received += tls.recv(1 << 16)
        except (SSL.WantReadError, SSL.WantWriteError) as error:
            raise NoAnswer("timeout") from error
        except SSL.Error as error:  # the end of the answer is one, too
            if not received:
                raise NoAnswer("handshake refused", str(error)) from error
        return Answers(Received(received)).next()


def answers_in(content: bytes) -> list[Reply]:
    """All answers in what came on one connection that is closed by now."""
    reading = Answers(Received(content))
    replies: list[Reply] = []
    with contextlib.suppress(NoAnswer):
        while not replies or not replies[-1].last:
            replies.append(reading.next())
    return replies


class Received:
    """Bytes that have come, as something to read answers from."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def makefile(self, _: str) -> io.BufferedReader:
        return io.BufferedReader(io.BytesIO(self.content))
