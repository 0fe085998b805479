"""Every kind of request that the proof makes on every route: what is sent, and what has to come back.

What nginx says of a request as such (it cannot be read, it is too large, its name is unknown) comes before anything
that it says of the caller, so it is the same on every route.  The caller's certificate comes next, then the route's
guard, then the service.  Each kind's `expects` follows that order; none of them looks at generated files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from topology.proof.aims import Aim
from topology.proof.expectation import REFUSED
from topology.proof.request_paths import LEFT, answer_at, normalised
from topology.proof.witness import FORGED

REQUEST_ID = b"00000000-0000-4000-8000-000000000000"
"""Stands in every request for the id that the prober gives it, so that it is found in the gateways' logs."""

CLOSED = "connection closed"
"""A connection that ends without an answer."""

Expected = int | str | None
"""A status, a word for what happens without one, or None where only others can say."""

UNKNOWN = "no-host-of-the-lab.invalid"


# What is sent


@dataclass(frozen=True)
class Raw:
    """Bytes on one connection.

    parts: sent one after the other, with a pause between; door: `own` (TLS where the host has it), `plain` (the port of
    plain HTTP) or `beneath` (no TLS where TLS is expected); sni: None for none; counts: which answer counts, from 0;
    answers: how many there may be; protocol: for ALPN; method: of the request that counts.
    """

    parts: tuple[bytes, ...]
    door: str = "own"
    sni: str | None = None
    counts: int = 0
    answers: int = 1
    method: str = "GET"


@dataclass(frozen=True)
class Streams:
    """Requests on one HTTP/2 connection, all at once: headers in their order, and a body.  The last one counts."""

    requests: tuple[tuple[tuple[tuple[bytes, bytes], ...], bytes], ...]
    door: str = "own"


@dataclass(frozen=True)
class Hello:
    """The beginning of a handshake, with one version of TLS to choose from, `1.0`, `1.1` or `1.2`, and old ciphers."""

    version: str
    sni: str


@dataclass(frozen=True)
class Resumed:
    """A request on a session that began with the same certificate, at this host or at another one."""

    request: bytes
    version: str
    began_at: str


@dataclass(frozen=True)
class Renegotiated:
    """A handshake that is begun anew on a connection that stands, and a request after it."""

    request: bytes
    version: str = "1.2"


Sent = Raw | Streams | Hello | Resumed | Renegotiated


@dataclass(frozen=True)
class Kind:
    """One kind of request.

    sends, expects: None where a route cannot be asked in this way; everyone: sent by a verified caller, too, not by
    nobody alone; waits: it spends its time in waiting for the gateway; target: where it is not the route's own path.
    """

    name: str
    why: str
    sends: Callable[[Aim], Sent | None]
    expects: Callable[[Aim], Expected]
    everyone: bool = False
    waits: bool = False
    target: Callable[[Aim], bytes] | None = None


def http(
    aim: Aim,
    target: str | bytes = b"",
    *headers: str | bytes,
    method: str = "GET",
    version: str = "HTTP/1.1",
    host: str | None = None,
    close: bool = True,
    body: bytes = b"",
) -> bytes:
    """A request as it goes over the wire; host: the Host header's value, None for the right one, empty for none."""
    aimed = target or aim.path
    name = aim.domain if host is None else host
    lines = [
        b"%s %s %s" % (method.encode(), aimed if isinstance(aimed, bytes) else aimed.encode(), version.encode()),
        *([f"Host: {name}".encode()] if name else []),
        *(one if isinstance(one, bytes) else one.encode() for one in headers),
        b"X-Request-ID: " + REQUEST_ID,
        *([b"Connection: close"] if close else []),
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def plain_text(request: Callable[[Aim], bytes], **settings: object) -> Callable[[Aim], Raw]:
    return lambda aim: Raw((request(aim),), **settings)  # type: ignore[arg-type]


# What is expected


def always(status: int | str) -> Callable[[Aim], Expected]:
    return lambda _: status


def as_ever(aim: Aim) -> Expected:
    """The route's own answer, whatever is odd about the request."""
    return aim.answer


def after_the_certificate(status: int) -> Callable[[Aim], Expected]:
    """The gateway's own answer to everybody whom it does not turn away for want of a certificate."""
    return lambda aim: 400 if aim.insists else status


def let_through(aim: Aim) -> Expected:
    """A refusal where the route refuses; else it is the service's affair.  Files take no method but GET and HEAD."""
    if aim.answer != 200:
        return aim.answer
    return LEFT if aim.seen_at else 405


def let_through_or_file(aim: Aim) -> Expected:
    """The same, where files answer as ever."""
    return let_through(aim) if aim.seen_at else aim.answer


def led_to(target: Callable[[Aim], bytes]) -> Callable[[Aim], Expected]:
    """The answer of the route to which a path leads once it is normalised."""

    def expects(aim: Aim) -> Expected:
        path = normalised(target(aim))
        return 400 if path is None else answer_at(aim.topology, aim.name, path, aim.caller)

    return expects


# Names and TLS


def of_host(name: Callable[[Aim], str | None]) -> Callable[[Aim], Sent | None]:
    """A request with that name in the Host header, and the right one in the handshake."""

    def sends(aim: Aim) -> Raw | None:
        found = name(aim)
        return Raw((http(aim, host=found),)) if found else None

    return sends


def with_sni(name: Callable[[Aim], str | None]) -> Callable[[Aim], Sent | None]:
    """A request with that name in the handshake (empty: none there), and the right one in the Host header."""

    def sends(aim: Aim) -> Raw | None:
        found = name(aim)
        return Raw((http(aim),), sni=found) if aim.speaks_tls and found is not None else None

    return sends


def alias(aim: Aim) -> str | None:
    return next(iter(aim.host.aliases), None)


def other_name(aim: Aim) -> Expected:
    """Where a server asks for certificates, nginx takes no request for one of its names on TLS for another."""
    return 421 if aim.host.client_certificates else aim.answer


def on_tls(sends: Callable[[Aim], Sent | None]) -> Callable[[Aim], Sent | None]:
    return lambda aim: sends(aim) if aim.speaks_tls else None


def hello(version: str) -> Callable[[Aim], Sent | None]:
    return on_tls(lambda aim: Hello(version, aim.domain))


def resumed(version: str, *, elsewhere: bool = False) -> Callable[[Aim], Sent | None]:
    def sends(aim: Aim) -> Resumed | None:
        if not aim.speaks_tls:
            return None
        others = [name for name, one in aim.topology.hosts.items() if name != aim.name and one.tls]
        began_at = next(iter(others), None) if elsewhere else aim.name
        return Resumed(http(aim), version, began_at) if began_at else None

    return sends


NAMES = (
    Kind(
        "no SNI", "A handshake that names no server is refused: no certificate is shown, no authority chosen.",
        with_sni(lambda _: ""), always(REFUSED), everyone=True,
    ),
    Kind(
        "address in the place of a name", "An address is no server's name: the handshake is refused.",
        with_sni(lambda _: "127.0.0.1"), always(REFUSED),
    ),
    Kind("unknown SNI", "A name that the host does not have is refused in the handshake.",
         with_sni(lambda _: UNKNOWN), always(REFUSED), everyone=True),
    Kind("SNI of another host", "Another host's name is unknown here: the handshake is refused.",
         with_sni(lambda aim: aim.neighbour), always(REFUSED), everyone=True),
    Kind("SNI in capitals", "Names in a handshake are compared without case.",
         with_sni(lambda aim: aim.domain.upper()), as_ever),
    Kind("unknown Host", "A name that the host does not have is misdirected: 421.",
         of_host(lambda _: UNKNOWN), always(421), everyone=True),
    Kind("Host of another host", "What the handshake did not name, the Host header does not open: 421.",
         of_host(lambda aim: aim.neighbour), always(421), everyone=True),
    Kind("Host is an address", "An address is no name that the host has: 421.",
         of_host(lambda _: "127.0.0.1"), always(421)),
    Kind("Host in capitals", "Host names are compared without case.",
         of_host(lambda aim: aim.domain.upper()), as_ever),
    Kind("Host with a dot at its end", "A final dot belongs to no host name.",
         of_host(lambda aim: f"{aim.domain}."), as_ever),
    Kind("Host with another port", "The port in a Host header chooses no server.",
         of_host(lambda aim: f"{aim.domain}:1"), as_ever),
    Kind("Host with a path", "A Host header with a slash cannot be read: 400.",
         of_host(lambda aim: f"{aim.domain}/x"), always(400)),
    Kind("Host with a user", "What precedes an @ belongs to the name, which is unknown: 421.",
         of_host(lambda aim: f"user@{aim.domain}"), always(421)),
    Kind("alias as Host", "Two names of a server that asks for certificates are two servers to TLS: 421.",
         of_host(alias), other_name),
    Kind("two Host headers", "A request with two Host headers cannot be read: 400 (RFC 9112, 3.2).",
         plain_text(lambda aim: http(aim, b"", f"Host: {aim.domain}")), always(400)),
    Kind("no Host", "HTTP/1.1 without a Host header cannot be read: 400 (RFC 9112, 3.2).",
         plain_text(lambda aim: http(aim, host="")), always(400)),
)  # fmt: skip

TLS = (
    Kind("plain HTTP on the TLS port", "Plain HTTP where TLS is spoken is answered 400, and goes nowhere.",
         on_tls(plain_text(http, door="beneath")), always(400)),
    Kind("garbage on the TLS port", "What is no request is answered 400.",
         on_tls(lambda _: Raw((b"\0\1\2\3" * 64,), door="beneath")), always(400)),
    Kind("a broken handshake", "A handshake that cannot be read is refused.",
         on_tls(lambda _: Raw((b"\x16\x03\x01\x00\x05hello",), door="beneath")), always(REFUSED)),
    Kind("TLS 1.0", "What precedes TLS 1.2 is not spoken (RFC 8996).", hello("1.0"), always(REFUSED)),
    Kind("TLS 1.1", "What precedes TLS 1.2 is not spoken (RFC 8996).", hello("1.1"), always(REFUSED)),
    Kind("old ciphers", "No cipher without forward secrecy or authenticated encryption is taken (RFC 9325, 4.2).",
         hello("1.2"), always(REFUSED)),
    Kind("resumed session, TLS 1.2", "Sessions are not resumed: a revocation list would not be looked at.",
         resumed("1.2"), as_ever, everyone=True),
    Kind("resumed session, TLS 1.3", "Sessions are not resumed: a revocation list would not be looked at.",
         resumed("1.3"), as_ever, everyone=True),
    Kind("session of another server, TLS 1.2", "No session of another server is taken up.",
         resumed("1.2", elsewhere=True), as_ever),
    Kind("session of another server, TLS 1.3", "No session of another server is taken up.",
         resumed("1.3", elsewhere=True), as_ever),
    Kind("renegotiation", "A caller may not begin the handshake anew.",
         on_tls(lambda aim: Renegotiated(http(aim))), always(REFUSED)),
)  # fmt: skip

PLAIN_PORT = (
    Kind("plain port", "The plain port of a host with TLS leads to https, and nowhere else.",
         on_tls(plain_text(http, door="plain")), always(301)),
    Kind("plain port, unknown Host", "A name that the host does not have is misdirected: 421.",
         on_tls(plain_text(lambda aim: http(aim, host=UNKNOWN), door="plain")), always(421)),
    Kind("plain port, forged identity", "The plain port of a host with TLS leads to https, whoever asks.",
         on_tls(plain_text(lambda aim: http(aim, b"", "X-SSL-Client-Verify: SUCCESS"), door="plain")), always(301)),
    Kind("TLS on the plain port", "A handshake where plain HTTP is spoken is no request: 400.",
         on_tls(lambda _: Raw((b"\x16\x03\x01\x00\x05hello\r\n\r\n",), door="plain")), always(400)),
    Kind("plain port, HTTP/2", "The plain port of a host with TLS leads to https in every protocol.",
         on_tls(lambda aim: Streams((stream(aim),), door="plain")), always(301)),
)  # fmt: skip


# Protocols


def stream(aim: Aim, *headers: tuple[bytes, bytes], path: str | bytes = b"", authority: str | None = None,
           method: str = "GET", body: bytes = b"") -> tuple[tuple[tuple[bytes, bytes], ...], bytes]:  # fmt: skip
    aimed = path or aim.path
    return (
        (
            (b":method", method.encode()),
            (b":scheme", b"https" if aim.speaks_tls else b"http"),
            (b":authority", (aim.domain if authority is None else authority).encode()),
            (b":path", aimed if isinstance(aimed, bytes) else aimed.encode()),
            (b"x-request-id", REQUEST_ID),
            *headers,
        ),
        body,
    )


def streams(*made: Callable[[Aim], tuple[tuple[tuple[bytes, bytes], ...], bytes]]) -> Callable[[Aim], Streams]:
    return lambda aim: Streams(tuple(one(aim) for one in made))


def pipelined(aim: Aim, *, last: bool) -> Raw:
    """A request for the route before or behind one for another route, sent at once."""
    this, other = http(aim, close=last), http(aim, aim.beyond, close=not last)
    if aim.insists:
        return Raw((other + this if last else this + other,))  # 400 ends the connection: one answer, to the first
    return Raw((other + this if last else this + other,), counts=1 if last else 0, answers=2)


PROTOCOLS = (
    Kind("HTTP/1.0", "HTTP/1.0 opens no other door.",
         plain_text(lambda aim: http(aim, version="HTTP/1.0")), as_ever, everyone=True),
    Kind("HTTP/1.0 without Host", "Whoever names no server gets none: 421.",
         plain_text(lambda aim: http(aim, version="HTTP/1.0", host="")), always(421), everyone=True),
    Kind("HTTP/0.9", "Whoever names no server gets none: 421.",
         plain_text(lambda aim: b"GET %s\r\n" % aim.path.encode()), always(421), everyone=True),
    Kind("HTTP/1.9", "A minor version changes nothing (RFC 9110, 2.5).",
         plain_text(lambda aim: http(aim, version="HTTP/1.9")), as_ever),
    Kind("HTTP/2.0 in the request line", "HTTP/2 has no request line: 505.",
         plain_text(lambda aim: http(aim, version="HTTP/2.0")), always(505)),
    Kind("upgrade to h2c", "No upgrade but to WebSocket passes: HTTP/2 in plain text would go around every guard.",
         lambda aim: with_what_was_seen(aim, as_ever(aim), "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c",
                                        "HTTP2-Settings: AAMAAABkAAQAAP__"), as_ever, everyone=True),
    Kind("upgrade to WebSocket", "An upgrade passes the same guards as any request.",
         plain_text(lambda aim: http(aim, b"", "Connection: Upgrade", "Upgrade: websocket", close=False)),
         let_through_or_file),
    Kind("HTTP/2", "HTTP/2 opens no other door.", streams(stream), as_ever, everyone=True),
    Kind("HTTP/2, unknown authority", "A name that the host does not have is misdirected: 421.",
         streams(lambda aim: stream(aim, authority=UNKNOWN)), always(421), everyone=True),
    Kind("HTTP/2, authority of another host", "A connection to one host is none to another: 421 (RFC 9113, 9.1.1).",
         lambda aim: Streams((stream(aim, authority=aim.neighbour),)) if aim.neighbour else None, always(421)),
    Kind("HTTP/2, two streams at once", "Each stream is judged by its own path.",
         streams(lambda aim: stream(aim, path=aim.beyond), stream), as_ever, everyone=True),
    Kind("HTTP/2, doubled slashes", "Paths in HTTP/2 are normalised, too.",
         streams(lambda aim: stream(aim, path=aim.path.replace("/", "//"))), as_ever),
    Kind("HTTP/2, dots from another route", "Paths in HTTP/2 are normalised, too.",
         streams(lambda aim: stream(aim, path=f"{aim.beside}..{aim.path}")),
         led_to(lambda aim: f"{aim.beside}..{aim.path}".encode())),
    Kind("pipelined behind another route", "Each request on a connection is judged by its own path.",
         lambda aim: pipelined(aim, last=True), as_ever, everyone=True),
    Kind("pipelined before another route", "Each request on a connection is judged by its own path.",
         lambda aim: pipelined(aim, last=False), as_ever, everyone=True),
    Kind("Expect: 100-continue", "Whoever asks whether to go on is answered as ever.",
         plain_text(lambda aim: http(aim, b"", "Expect: 100-continue")), as_ever),
    Kind("empty lines before the request", "Empty lines before a request are skipped (RFC 9112, 2.2).",
         plain_text(lambda aim: b"\r\n\r\n" + http(aim)), as_ever),
)  # fmt: skip


# Paths


def path_kind(name: str, why: str, target: Callable[[Aim], str | bytes]) -> Kind:
    def written(aim: Aim) -> bytes:
        found = target(aim)
        return found if isinstance(found, bytes) else found.encode()

    return Kind(name, why, plain_text(lambda aim: http(aim, written(aim))), led_to(written), target=written)


def told(aim: Aim) -> str:
    """A path at which a sample service would tell what it saw, were a trick to lead there."""
    return aim.seen_at or aim.path


def in_the_middle(aim: Aim, inserted: str) -> str:
    return aim.prefix + inserted + aim.path.removeprefix(aim.prefix)


def first_letter_escaped(aim: Aim) -> str:
    return f"/%{ord(aim.path[1]):02x}{aim.path[2:]}" if len(aim.path) > 1 else "/%2e"


RAW_ROUTE = "The route whose name the path begins with answers; what the service makes of the rest is its own affair."
DECODED = "A path is decoded, once, before the route is chosen."

PATHS = (
    path_kind("doubled slashes", "Slashes are merged before the route is chosen.",
              lambda aim: aim.path.replace("/", "//")),
    path_kind("dot folders", "Dots are resolved before the route is chosen.", lambda aim: f"/.{aim.path}"),
    path_kind("dots within the route", "Dots are resolved before the route is chosen.",
              lambda aim: in_the_middle(aim, "x/../")),
    path_kind("dots from another route", "Dots are resolved before the route is chosen.",
              lambda aim: f"{aim.beside}..{aim.path}"),
    path_kind("escaped dots from another route", DECODED, lambda aim: f"{aim.beside}%2e%2E{aim.path}"),
    path_kind("escaped slash from another route", DECODED, lambda aim: f"{aim.beside}..%2f{aim.path[1:]}"),
    path_kind("escaped letter", DECODED, first_letter_escaped),
    path_kind("escaped slash", DECODED, lambda aim: aim.path[:1] + aim.path[1:].replace("/", "%2F")),
    path_kind("slash escaped twice", RAW_ROUTE, lambda aim: f"{aim.beside}..%252f{told(aim)[1:]}"),
    path_kind("dots escaped twice", RAW_ROUTE, lambda aim: f"{aim.beside}%252e%252e{told(aim)}"),
    path_kind("dots with a semicolon", RAW_ROUTE, lambda aim: f"{aim.beside}..;{told(aim)}"),
    path_kind("semicolon in the route", "A semicolon belongs to the name: no route is called so.",
              lambda aim: f"/;x{told(aim)}"),
    path_kind("backslashes", RAW_ROUTE, lambda aim: f"{aim.beside}..%5c{told(aim)[1:]}"),
    path_kind("overlong dots", RAW_ROUTE, lambda aim: f"{aim.beside}%c0%ae%c0%ae{told(aim)}"),
    path_kind("three dots", RAW_ROUTE, lambda aim: f"{aim.beside}...{told(aim)}"),
    path_kind("capitals", "Routes are compared with case.", lambda aim: told(aim).upper()),
    path_kind("without the final slash", "A folder's name leads to the folder; that shows nothing of what is in it.",
              lambda aim: aim.prefix.rstrip("/") or "/"),
    path_kind("absolute form", "The whole address in the request line names the same route.",
              lambda aim: f"https://{aim.domain}{aim.path}"),
    path_kind("absolute form, another scheme", "The scheme of an address in the request line decides nothing.",
              lambda aim: f"gopher://{aim.domain}{aim.path}"),
    Kind("absolute form, unknown name", "The name in the request line counts, not that in the Host header: 421.",
         plain_text(lambda aim: http(aim, f"https://{UNKNOWN}{aim.path}")), always(421), everyone=True),
    Kind("absolute form, another Host", "The name in the request line counts, not that in the Host header.",
         plain_text(lambda aim: http(aim, f"https://{aim.domain}{aim.path}", host=UNKNOWN)), as_ever),
    path_kind("fragment", "What follows a # is no part of the path.", lambda aim: f"{aim.path}#/../x"),
    path_kind("query like a path", "A query chooses no route.", lambda aim: f"{aim.path}?/../{aim.beside}"),
    path_kind("dots above the root", "A path that leads above the root cannot be read: 400.",
              lambda aim: f"/..{aim.path}"),
    path_kind("escaped dots above the root", "A path that leads above the root cannot be read: 400.",
              lambda aim: f"/%2e%2e{aim.path}"),
    path_kind("null byte", "A path with a null byte cannot be read: 400.", lambda aim: f"{aim.path}%00"),
    path_kind("broken escape", "A path that cannot be decoded cannot be read: 400.", lambda aim: f"{aim.path}%zz"),
    path_kind("space in the path", "A request line has two spaces: 400.", lambda aim: f"{aim.path} x"),
    path_kind("control character in the path", "A path with control characters cannot be read: 400.",
              lambda aim: aim.path.encode() + b"\x01"),
    path_kind("no slash", "A path begins with a slash: 400.", lambda aim: aim.path[1:] or "x"),
    path_kind("asterisk", "An asterisk is no path: 400.", lambda _: "*"),
)  # fmt: skip


# Methods


def method_kind(method: str, why: str, expects: Callable[[Aim], Expected]) -> Kind:
    name = f"method {method if method.isupper() else 'in small letters'}"
    return Kind(name, why, plain_text(lambda aim: http(aim, told(aim), method=method), method=method), expects)


GUARDED = "A route's guard asks after the caller, not after the method."

METHODS = (
    Kind("method HEAD", GUARDED, plain_text(lambda aim: http(aim, method="HEAD"), method="HEAD"), let_through_or_file),
    *(method_kind(method, GUARDED, let_through) for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS")),
    method_kind("PROPFIND", GUARDED, let_through),
    method_kind("UNHEARD-OF", GUARDED, let_through),
    method_kind("TRACE", "Nobody is shown what a gateway adds to a request: 405.", always(405)),
    method_kind("CONNECT", "A gateway is no proxy for others: 405.", always(405)),
    method_kind("get", "Methods are written in capitals: 400.", always(400)),
)


# Sizes

HEADER_TOO_LARGE = "Headers beyond four buffers of 8 KiB, or one beyond a single one, are refused: 400."

SIZES = (
    Kind("header of 9 KB", HEADER_TOO_LARGE,
         plain_text(lambda aim: http(aim, b"", f"X-Large: {'a' * 9000}")), always(400)),
    Kind("header of 6 KB", "A header that fits in one buffer of 8 KiB changes nothing.",
         plain_text(lambda aim: http(aim, b"", f"X-Large: {'a' * 6000}")), as_ever),
    Kind("80 headers, 40 KB", HEADER_TOO_LARGE,
         plain_text(lambda aim: http(aim, b"", *(f"X-Part-{n}: {'a' * 500}" for n in range(80)))), always(400)),
    Kind("2,000 headers, 40 KB", HEADER_TOO_LARGE,
         plain_text(lambda aim: http(aim, b"", *(f"X-Small-{n}: 12345678" for n in range(2000)))), always(400)),
    Kind("URI of 9 KB", "An address beyond one buffer of 8 KiB is refused: 414.",
         plain_text(lambda aim: http(aim, f"{aim.path}?{'a' * 9000}")), always(414)),
    Kind("body beyond 10 MB", "A body that says to be larger than 10 MB is refused before the route's guard is asked.",
         plain_text(lambda aim: http(aim, b"", "Content-Length: 10485761", "Expect: 100-continue", method="POST"),
                    method="POST"), after_the_certificate(413)),
)  # fmt: skip


# Two readings of one request


def bad(name: str, why: str, *headers: str | bytes, status: int = 400, body: bytes = b"", version: str = "HTTP/1.1",
        method: str = "POST") -> Kind:  # fmt: skip
    made = plain_text(lambda aim: http(aim, b"", *headers, method=method, version=version, body=body), method=method)
    return Kind(name, why, made, always(status))


CHUNKED = "Transfer-Encoding: chunked"
NO_CHUNKS = b"0\r\n\r\n"
TWO_LENGTHS = "A body with two lengths could be read in two ways: 400 (RFC 9112, 6.3)."
UNKNOWN_CODING = "A coding that the gateway does not know could hide a second request: 501."
BAD_LENGTH = "A length that is no plain number cannot be read: 400."
BAD_LINE = "A header line that could be read in two ways is refused: 400 (RFC 9112, 5)."


def hidden_in_the_body(aim: Aim) -> Raw:
    """A request for this route in the body of one for another route; then one more, so that all answers are there."""
    hidden = http(aim, told(aim), "X-SSL-Client-Verify: SUCCESS", close=False)
    outer = http(aim, aim.beyond, f"Content-Length: {len(hidden)}", close=False, body=hidden)
    if aim.insists:
        return Raw((outer + http(aim),))
    return Raw((outer + http(aim),), counts=1, answers=2)


SMUGGLING = (
    bad("Content-Length, then Transfer-Encoding", TWO_LENGTHS, "Content-Length: 5", CHUNKED, body=NO_CHUNKS),
    bad("Transfer-Encoding, then Content-Length", TWO_LENGTHS, CHUNKED, "Content-Length: 5", body=NO_CHUNKS),
    bad("two lengths", TWO_LENGTHS, "Content-Length: 5", "Content-Length: 6", body=b"hello!"),
    bad("the same length twice", TWO_LENGTHS, "Content-Length: 5", "Content-Length: 5", body=b"hello"),
    bad("a list of lengths", BAD_LENGTH, "Content-Length: 5, 5", body=b"hello"),
    bad("a negative length", BAD_LENGTH, "Content-Length: -1"),
    bad("a length with a sign", BAD_LENGTH, "Content-Length: +5", body=b"hello"),
    bad("a length beyond 64 bits", BAD_LENGTH, "Content-Length: 99999999999999999999"),
    bad("two Transfer-Encodings", TWO_LENGTHS, CHUNKED, CHUNKED, body=NO_CHUNKS),
    bad("Transfer-Encoding of two codings", UNKNOWN_CODING, "Transfer-Encoding: identity, chunked", status=501),
    bad("Transfer-Encoding misspelt", UNKNOWN_CODING, "Transfer-Encoding: xchunked", status=501),
    bad("Transfer-Encoding after a tab", UNKNOWN_CODING, "Transfer-Encoding: \x0bchunked", status=501),
    bad("Transfer-Encoding in HTTP/1.0", "HTTP/1.0 knows no chunks: 400.", CHUNKED, body=NO_CHUNKS,
        version="HTTP/1.0"),
    bad("space before the colon", BAD_LINE, "Transfer-Encoding : chunked", body=NO_CHUNKS),
    bad("folded header", BAD_LINE, "X-Folded: 1\r\n 2", method="GET"),
    bad("folded first header", BAD_LINE, " X-Folded: 1", method="GET"),
    bad("carriage return alone", BAD_LINE, "X-Broken: 1\rX-More: 2", method="GET"),
    bad("null byte in a header", BAD_LINE, b"X-Broken: 1\x002", method="GET"),
    bad("null byte in a header's name", BAD_LINE, b"X\0Broken: 1", method="GET"),
    bad("header without a name", BAD_LINE, ": 1", method="GET"),
    Kind("line feeds alone", "A line may end without its carriage return (RFC 9112, 2.2); it still is one request.",
         plain_text(lambda aim: http(aim).replace(b"\r\n", b"\n")), as_ever),
    Kind("request in the body of another", "A body is a body: what it says is not read as a request.",
         hidden_in_the_body, as_ever, everyone=True),
    Kind("request in chunks of another", "What follows the last chunk is a request of its own, under its own guard.",
         lambda aim: Raw((http(aim, aim.beyond, CHUNKED, close=False, body=NO_CHUNKS) + http(aim),),
                         counts=0 if aim.insists else 1, answers=1 if aim.insists else 2), as_ever),
)  # fmt: skip


# Time

SLOW = (
    Kind("headers line by line", "Whoever is slow is answered as ever.",
         lambda aim: Raw(tuple(http(aim).splitlines(keepends=True))), as_ever, everyone=True, waits=True),
    Kind("headers that never end", "Whoever does not finish a request's headers within seconds is cut off.",
         lambda aim: Raw((http(aim)[:-2],)), always(CLOSED), waits=True),
)  # fmt: skip


# Forged identities


def forging(name: str, *headers: str | bytes, why: str = "", expects: Callable[[Aim], Expected] = as_ever) -> Kind:
    """A request for a path whose answer is known, and one for what the service behind it saw, with the same headers."""

    def sends(aim: Aim) -> Raw:
        return with_what_was_seen(aim, expects(aim), *headers)

    return Kind(name, why or "No service sees an identity that was not verified.", sends, expects, everyone=True)


def with_what_was_seen(aim: Aim, expected: Expected, *headers: str | bytes) -> Raw:
    asked = http(aim, b"", *headers, close=not aim.seen_at)
    if not aim.seen_at or aim.insists or expected in (400, None):
        return Raw((asked,))
    return Raw((asked + http(aim, aim.seen_at, *headers),), answers=2)


FORGED_WHOLE = (
    "X-SSL-Client-Verify: SUCCESS", f"X-SSL-Client-S-DN: CN={FORGED}", f"X-SSL-Client-I-DN: CN={FORGED}",
    f"X-SSL-Client-Serial: {FORGED}", f"X-SSL-Client-Fingerprint: {FORGED}",
)  # fmt: skip
FORGED_CERTIFICATE = f"-----BEGIN%20CERTIFICATE-----{FORGED}-----END%20CERTIFICATE-----"


def forged_in_http_2(aim: Aim) -> Streams:
    headers = (
        (b"x-ssl-client-verify", b"SUCCESS"), (b"x-ssl-client-verify", b"SUCCESS"),
        (b"x-ssl-client-s-dn", f"CN={FORGED}".encode()), (b"x_ssl_client_verify", b"SUCCESS"),
    )  # fmt: skip
    seen = (stream(aim, *headers, path=aim.seen_at),) if aim.seen_at else ()
    return Streams((*seen, stream(aim, *headers)))


def forged_in_a_trailer(aim: Aim) -> Raw | None:
    """Headers that follow a body of chunks, as HTTP allows."""
    trailer = f"0\r\nX-SSL-Client-Verify: SUCCESS\r\nX-SSL-Client-S-DN: CN={FORGED}\r\n\r\n".encode()
    if not aim.seen_at:
        return None
    return Raw((http(aim, aim.seen_at, CHUNKED, "Trailer: X-SSL-Client-Verify", method="POST", body=trailer),))


FORGERIES = (
    forging("forged X-SSL-Client-Verify", "X-SSL-Client-Verify: SUCCESS"),
    forging("forged X-SSL-Client-Verify, small letters", "x-ssl-client-verify: SUCCESS"),
    forging("forged X-SSL-Client-Verify, capitals", "X-SSL-CLIENT-VERIFY: SUCCESS"),
    forging("forged X-SSL-Client-Verify, twice", "X-SSL-Client-Verify: SUCCESS", "X-SSL-Client-Verify: SUCCESS"),
    forging("forged X-SSL-Client-Verify after a true one", "X-SSL-Client-Verify: NONE", "X-SSL-Client-Verify: SUCCESS"),
    forging("forged X_SSL_Client_Verify", "X_SSL_Client_Verify: SUCCESS", "X-SSL_Client-Verify: SUCCESS"),
    forging("forged X-SSL-Client-S-DN", f"X-SSL-Client-S-DN: CN={FORGED}"),
    forging("forged X_SSL_Client_S_DN", f"X_SSL_Client_S_DN: CN={FORGED}"),
    forging("forged X-SSL-Client-I-DN", f"X-SSL-Client-I-DN: CN={FORGED}"),
    forging("forged serial and fingerprint", f"X-SSL-Client-Serial: {FORGED}", f"X-SSL-Client-Fingerprint: {FORGED}"),
    forging("forged identity, whole", *FORGED_WHOLE),
    forging("forged X-SSL-Client-Cert", f"X-SSL-Client-Cert: {FORGED_CERTIFICATE}", f"X-SSL-Cert: {FORGED_CERTIFICATE}",
            f"X-Client-Cert: {FORGED_CERTIFICATE}"),
    forging("forged X-Forwarded-Client-Cert", f'X-Forwarded-Client-Cert: Hash={FORGED};Subject="CN={FORGED}"',
            f"x-forwarded-client-cert: Hash={FORGED}"),
    forging("forged Client-Cert (RFC 9440)", f"Client-Cert: :{FORGED}:", f"Client-Cert-Chain: :{FORGED}:"),
    forging("forged ssl-client-* (ingress-nginx)", f"ssl-client-verify: {FORGED}", f"ssl-client-cert: {FORGED}",
            f"ssl-client-subject-dn: CN={FORGED}", f"ssl-client-issuer-dn: CN={FORGED}"),
    forging("forged X-Forwarded-Tls-Client-Cert (Traefik)", f"X-Forwarded-Tls-Client-Cert: {FORGED}",
            f"X-Forwarded-Tls-Client-Cert-Info: {FORGED}"),
    forging("forged X-SSL-Client-CN (HAProxy)", f"X-SSL-Client-CN: {FORGED}", f"X-SSL-Client-DN: CN={FORGED}",
            f"X-SSL-Client-SHA1: {FORGED}", f"X-SSL-Issuer: CN={FORGED}"),
    forging("forged certificate (AWS, Azure)", f"X-Amzn-Mtls-Clientcert: {FORGED}",
            f"X-Amzn-Mtls-Clientcert-Subject: CN={FORGED}", f"X-Amzn-Mtls-Clientcert-Leaf: {FORGED}",
            f"X-Amzn-Mtls-Clientcert-Issuer: CN={FORGED}", f"X-Amzn-Mtls-Clientcert-Serial-Number: {FORGED}",
            f"X-ARR-ClientCert: {FORGED}"),
    forging("forged X-Forwarded-*", f"X-Forwarded-For: {FORGED}", f"X-Forwarded-Proto: {FORGED}",
            f"X-Forwarded-Host: {FORGED}", f"X-Forwarded-Prefix: /{FORGED}", f"X-Forwarded-Port: {FORGED}",
            f"X-Forwarded-Server: {FORGED}", f"X-Forwarded-Scheme: {FORGED}", f"X-Forwarded-Ssl: {FORGED}",
            f"X-Forwarded-To: /{FORGED}/", f"X-Real-IP: {FORGED}", f"Forwarded: for={FORGED}",
            why="The first gateway replaces what its caller says of itself."),
    forging("forged identity named in Connection", "Connection: keep-alive, X-SSL-Client-Verify, X-SSL-Client-S-DN",
            "X-SSL-Client-Verify: SUCCESS", why="A caller cannot have the gateway's own headers taken out on the way."),
    forging("forged identity, space before the colon", "X-SSL-Client-Verify : SUCCESS", why=BAD_LINE,
            expects=always(400)),
    forging("forged identity in a folded header", "X-Folded: 1\r\n\tX-SSL-Client-Verify: SUCCESS", why=BAD_LINE,
            expects=always(400)),
    Kind("forged identity in HTTP/2", "No service sees an identity that was not verified.", forged_in_http_2, as_ever,
         everyone=True),
    Kind("forged identity in a trailer", "What follows a body is no header.", forged_in_a_trailer, let_through,
         everyone=True),
)  # fmt: skip


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        *NAMES, *TLS, *PLAIN_PORT, *PROTOCOLS, *PATHS, *METHODS, *SIZES, *SMUGGLING, *SLOW, *FORGERIES
    )
}  # fmt: skip
"""Name -> kind, in the order in which they are checked."""
