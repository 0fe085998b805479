"""Check -> Observation for requests that a well-behaved client would not make.

An observation has a status only if nothing was wrong besides: a service that saw an identity that nobody verified, an
answer too many, or a session taken up again are told in words, in the place of it.
"""

from __future__ import annotations

import http.client
import ssl
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from topology.proof import conversing, expected_requests
from topology.proof.aims import Aim, truth
from topology.proof.conversing import NoAnswer, Reply
from topology.proof.expectation import Caller, Check
from topology.proof.probing import Files, Observation
from topology.proof.request_kinds import (
    KINDS,
    REQUEST_ID,
    Hello,
    Kind,
    Raw,
    Renegotiated,
    Resumed,
    Sent,
    Streams,
)
from topology.proof.request_paths import LEFT, normalised
from topology.proof.witness import lie, statement
from topology.runtime.running import RunningLab


@dataclass(frozen=True)
class Door:
    """Where a check knocks: address and port, whom it trusts there (a file), and what it shows."""

    lab: RunningLab
    check: Check
    aim: Aim
    address: str
    port: int
    shown: Files | None

    def context(self, version: str = "1.3", protocol: str = "", named: bool = True, also: str = "") -> ssl.SSLContext:
        """also: another host whose certificates are believed, too."""
        hosts = dict.fromkeys([self.check.host, also or self.check.host])
        anchors = "".join(self.lab.anchor(host).read_text() for host in hosts)
        return conversing.context(anchors, self.shown, version, protocol, named)


def probe(check: Check, lab: RunningLab, shown: Mapping[Caller, Files]) -> Observation:
    """Sends what the check's kind of request says, and says what came back.  Never raises for what the peer does."""
    kind = KINDS[check.request]
    aimed = expected_requests.aim_of(lab.topology, check)
    sent = kind.sends(aimed)
    endpoint = lab.endpoints[check.host]
    port = endpoint.https if aimed.speaks_tls else endpoint.http
    if getattr(sent, "door", "own") == "plain":
        port = endpoint.http
    if check.port is not None:
        port = endpoint.passed.get(check.port)
    if port is None or sent is None:
        return Observation(None, "not published", f"{check.host} has no such port", "", 0)
    request_id = str(uuid.uuid4())
    began = time.monotonic()
    try:
        replies = exchange(sent, Door(lab, check, aimed, endpoint.address, port, shown.get(check.shown)), request_id)
        status, failure, detail = judged(check, kind, sent, aimed, replies)
    except NoAnswer as ended:
        status, failure, detail = None, ended.failure, ended.detail
        if getattr(sent, "door", "own") == "beneath" and failure == "connection closed":
            failure = "handshake refused"  # a server that knows TLS alone has no other way to say so
    except (OSError, http.client.HTTPException) as error:
        status, (failure, detail) = None, named(error)
    return Observation(status, failure, detail, request_id, time.monotonic() - began)


def named(error: Exception) -> tuple[str, str]:
    """In a word, what happened where no answer came."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "server certificate refused", str(error)
    if isinstance(error, ssl.SSLError):
        return "handshake refused", str(error)
    if isinstance(error, http.client.HTTPException):
        return "no HTTP", f"{type(error).__name__}: {error}"
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return "connection reset", str(error)
    return ("timeout" if isinstance(error, TimeoutError) else "no connection"), str(error)


# What is sent


def exchange(sent: Sent, door: Door, request_id: str) -> Sequence[Reply]:
    """Raises NoAnswer, OSError (ssl.SSLError is one) or HTTPException where no answer comes."""
    marked = request_id.encode()
    match sent:
        case Raw():
            return raw(sent, door, marked)
        case Streams():
            return streams(sent, door, marked)
        case Hello():
            with conversing.connected(door.address, door.port) as connection:
                raise NoAnswer(conversing.answer_to_hello(connection, conversing.client_hello(sent.version, sent.sni)))
        case Resumed():
            return resumed(sent, door, marked)
        case Renegotiated():
            request = sent.request.replace(REQUEST_ID, marked)
            anchor = door.lab.anchor(door.check.host)
            return [conversing.renegotiated(
                door.address, door.port, anchor, door.shown, door.aim.domain, request
            )]  # fmt: skip


def raw(sent: Raw, door: Door, request_id: bytes) -> Sequence[Reply]:
    parts = [part.replace(REQUEST_ID, request_id) for part in sent.parts]
    if sent.door != "own" or not door.aim.speaks_tls:
        with conversing.connected(door.address, door.port) as connection:
            conversing.say(connection, parts)
            return conversing.answers(connection, sent.answers, sent.method)
    sni = door.aim.domain if sent.sni is None else sent.sni
    context = door.context(named=sent.sni is None)
    with conversing.encrypted(door.address, door.port, context, sni) as tls:
        conversing.say(tls, parts)
        return conversing.answers(tls, sent.answers, sent.method)


def streams(sent: Streams, door: Door, request_id: bytes) -> Sequence[Reply]:
    requests = [
        ([(name, value.replace(REQUEST_ID, request_id)) for name, value in headers], body)
        for headers, body in sent.requests
    ]
    if sent.door == "plain" or not door.aim.speaks_tls:
        with conversing.connected(door.address, door.port) as connection:
            return conversing.over_http_2(connection, requests)
    with conversing.encrypted(door.address, door.port, door.context(protocol="h2"), door.aim.domain) as tls:
        if tls.selected_alpn_protocol() != "h2":
            raise NoAnswer("no HTTP/2", "the server does not offer it")
        return conversing.over_http_2(tls, requests)


def resumed(sent: Resumed, door: Door, request_id: bytes) -> Sequence[Reply]:
    """Opens a session with one request, and offers it with another."""
    request = sent.request.replace(REQUEST_ID, request_id)
    began = door.lab.topology.hosts[sent.began_at]
    context = door.context(sent.version, also=sent.began_at)
    port = door.port if sent.began_at == door.check.host else door.lab.endpoints[sent.began_at].https
    if port is None:
        raise NoAnswer("not published", f"{sent.began_at} has no such port")
    address = door.lab.endpoints[sent.began_at].address
    with conversing.encrypted(address, port, context, began.domain) as first:
        conversing.say(first, [request])
        conversing.answers(first, 1, "GET")
        session = first.session  # under TLS 1.3 tickets come with the answer
    with conversing.encrypted(door.address, door.port, context, door.aim.domain, session) as second:
        if second.session_reused:
            raise NoAnswer("session resumed", "the certificate was not looked at again")
        conversing.say(second, [request])
        return conversing.answers(second, 1, "GET")


# What came back


def judged(check: Check, kind: Kind, sent: Sent, aimed: Aim, replies: Sequence[Reply]) -> tuple[int | None, str, str]:
    """Status, or failure and detail."""
    allowed = sent.answers if isinstance(sent, Raw) else len(replies)
    if len(replies) > allowed:
        return None, f"{len(replies)} answers to {allowed} requests", said(replies[-1])
    counting = sent.counts if isinstance(sent, Raw) else -1
    if counting >= len(replies):
        return None, "connection closed", f"after {len(replies)} answers: {said(replies[-1])}"
    reply = replies[counting]
    path = normalised(kind.target(aimed)) if kind.target else aimed.seen_at
    for one in replies:
        if wrong := untrue(check, aimed, path or "", one):
            return None, wrong, said(one)
    if check.expected == LEFT:
        return None, LEFT, f"answered {reply.status}"
    return reply.status, "", said(reply)


def untrue(check: Check, aimed: Aim, path: str, reply: Reply) -> str:
    """What is wrong with what a service saw, if the answer says what it saw."""
    seen = statement(reply.body)
    if seen is None or check.port is not None:
        return ""
    facts = truth(aimed.topology, aimed.name, path, aimed.caller)
    if facts is None or (path == aimed.seen_at and aimed.answer != 200):
        return "a service was reached that refuses this caller"
    return lie(seen, facts)


def said(reply: Reply) -> str:
    return reply.body[:300].decode("utf-8", "replace")
