"""Check -> Observation: calls through a gateway to a remote host, and as whom the remote host's gateway saw them.

Calls in an order go through one connection of the caller, so that one nginx worker handles them all and would use again
what it has kept; calls at once each have a connection of their own.
"""

from __future__ import annotations

import hashlib
import http.client
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from topology.errors import LabError, NotReady
from topology.proof import expected_egress as expected
from topology.proof.expectation import Caller, Check
from topology.proof.probing import TIMEOUT_SECONDS, Files, Observation, named_failure, tls_context
from topology.proof.walls import Containers, ask_inside
from topology.runtime import inside
from topology.runtime.running import RunningLab

ROUNDS = 2
CLOCKS_APART_SECONDS = 2
"""How far the clock of an engine's machine may be behind ours; what its log says from then on is read."""

Call = tuple[str, str]
"""A path, and the id of the request."""


def probe(check: Check, lab: RunningLab, shown: Mapping[Caller, Files]) -> Observation:
    """Calls in the order that the check names; what is wrong with any call of its own route is what is observed."""
    began, since = time.monotonic(), time.time() - CLOCKS_APART_SECONDS
    host = lab.topology.hosts[check.host]
    prefixes = expected.called_in(lab.topology, host, check.route, check.request) * ROUNDS
    calls = [(expected.destination(lab.topology, host, prefix)[0], str(uuid.uuid4())) for prefix in prefixes]
    own = [n for n, prefix in enumerate(prefixes) if prefix == check.route]
    first = calls[own[0]][1]
    try:
        containers = inside.containers(lab)
        answers = send(check, calls, lab, shown.get(check.shown), containers)
        statuses = [answers[n] for n in own]
        others = [status for status in statuses if status != check.expected]
        wrong = "" if others else seen_otherwise(check, [calls[n][1] for n in own], since, lab, containers)
    except (LabError, OSError, http.client.HTTPException, IndexError, KeyError) as error:
        failure, detail = named_failure(error)
        return Observation(None, failure, detail, first, time.monotonic() - began)
    took = time.monotonic() - began
    if wrong:
        return Observation(None, wrong, "", first, took)
    return Observation((others or statuses)[0], "", "", first, took)


def send(
    check: Check, calls: Sequence[Call], lab: RunningLab, shown: Files | None, containers: Containers
) -> list[int]:
    """The status of each call, made one after the other or all at once."""

    def together(some: Sequence[Call]) -> list[int]:
        if check.caller == expected.OWN_SERVICE:
            return ask_inside(check.host, some, lab, containers)
        return ask_outside(check, some, lab, shown)

    if check.request != expected.AT_ONCE:
        return together(calls)
    with ThreadPoolExecutor(len(calls)) as pool:
        return [status for found in pool.map(lambda call: together([call]), calls) for status in found]


def ask_outside(check: Check, calls: Sequence[Call], lab: RunningLab, shown: Files | None) -> list[int]:
    """The status of each call on one connection to a host's gateway, from outside."""
    domain, endpoint = lab.topology.hosts[check.host].domain, lab.endpoints[check.host]
    port = endpoint.http if check.tls == "plain" else endpoint.https
    if port is None:
        raise NotReady(f"{check.host} is not published; run `mtls-lab up` again")
    client = http.client.HTTPConnection(domain, port)
    with socket.create_connection((endpoint.address, port), TIMEOUT_SECONDS) as connection:
        client.sock = connection
        if check.tls != "plain":
            context = tls_context(lab.anchor(check.host), shown, check.tls)
            client.sock = context.wrap_socket(connection, server_hostname=domain)
        with client.sock:
            return [ask(client, *call) for call in calls]


def ask(client: http.client.HTTPConnection, path: str, request_id: str) -> int:
    client.request("GET", path, headers={"X-Request-ID": request_id})
    answer = client.getresponse()
    answer.read()
    return answer.status


def seen_otherwise(check: Check, ids: Sequence[str], since: float, lab: RunningLab, containers: Containers) -> str:
    """As whom the remote gateway saw calls, where that is not the route's identity; empty where all are right."""
    identity = lab.topology.hosts[check.host].routes[check.route].identity
    wanted = fingerprint(lab, identity) if identity else ""
    seen = inside.requests_seen(containers[f"{check.via}/{inside.GATEWAY}"], ids, since)
    for request_id in ids:
        if request_id not in seen:
            return f"not seen by {check.via}"
        if seen[request_id]["client_fingerprint"] != wanted:
            return f"seen as {seen[request_id]['client_subject'] or 'nobody'}"
    return ""


def fingerprint(lab: RunningLab, identity: str) -> str:
    """As nginx writes it: SHA-1 over the certificate, in hexadecimal."""
    file = lab.identities / identity / "certificate.pem"
    try:
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
    except (OSError, ValueError) as error:
        raise NotReady(f"{file}: cannot be read ({error}); run `mtls-lab up` to issue it") from error
    return hashlib.sha1(certificate.public_bytes(Encoding.DER), usedforsecurity=False).hexdigest()
