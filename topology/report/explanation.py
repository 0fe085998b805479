"""Why a request got its answer, as people read it, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from topology.description.wording import printable
from topology.explaining import chains
from topology.explaining.certificates import Certificate
from topology.explaining.evidence import Hop
from topology.explaining.reasoning import Explanation, Place


def as_text(found: Explanation) -> str:
    """Cause first; then where it was decided, what was logged, what to change, and the certificates."""
    return "\n".join(line for block in blocks(found) for line in block)


def blocks(found: Explanation) -> Iterator[list[str]]:
    finding, sent = found.finding, found.evidence.sent
    origin = f" from inside of {sent.origin}" if sent.origin else ""
    yield [f"{sent.method} {printable(sent.url)} as {printable(sent.caller)}{origin}",
           f"{found.answer}, made by {found.maker}: {finding.cause}", ""]  # fmt: skip
    yield [printable(finding.why)]
    yield [f"Also: {printable(one)}" for one in finding.also]
    yield titled("decided by", [f"{where(one)}  {printable(one.text)}" for one in places(found)])
    yield titled("logged", [printable(line) for line in finding.lines])
    yield titled("to change it", [printable(finding.fix)] if finding.fix else [])
    yield titled("way", [way(hop) for hop in found.evidence.hops])
    yield titled("shown by the caller", [line for one in sent.shown for line in certificate_lines(one)])
    yield titled("shown by the server", [line for one in server(found) for line in certificate_lines(one)])
    if found.as_expected is not None:
        verdict = "as it should be" if found.as_expected else f"not {found.answer}"
        yield ["", f"The topology says {found.expected}, {verdict}: {found.evidence.rule}"]


def titled(title: str, lines: list[str]) -> list[str]:
    return ["", title, *(f"  {line}" for line in lines)] if lines else []


def places(found: Explanation) -> tuple[Place, ...]:
    return (*found.directives, *((found.topology,) if found.topology else ()))


def where(place: Place) -> str:
    return f"{printable(place.file)}:{place.line}"


def way(hop: Hop) -> str:
    if hop.access is None:
        return f"{hop.host}: no request arrived"
    told = {name: printable(str(value)) for name, value in hop.access.items()}
    led = f" -> {told['upstream']} {told.get('upstream_status', '')}" if told.get("upstream") else ""
    verified = f", certificate {told['client_verify']}" if told.get("client_verify") else ""
    route = f" route {hop.route}" if hop.route else ""
    return f"{hop.host}: {told.get('method')} {told.get('uri')} {told.get('status')}{route}{verified}{led}"


def server(found: Explanation) -> tuple[Certificate, ...]:
    """Shown where the server's certificate is what it is about."""
    about = found.finding.cause.startswith(("server-", "upstream-")) or found.finding.cause == "clock-skew"
    if not about:
        return ()
    evidence = found.evidence
    called = next((chain for host, chain in evidence.served.items() if host != found.finding.host), ())
    return evidence.received.server or called


def certificate_lines(one: Certificate) -> Iterator[str]:
    """The facts that decide over a certificate."""
    yield printable(one.subject or "(no subject)")
    yield f"  issued by {printable(one.issuer)}, serial {one.serial}"
    yield f"  valid from {chains.stamp(one.start)} to {chains.stamp(one.end)}"
    if one.authority:
        length = "" if one.path_length is None else f", path length {one.path_length}"
        yield f"  an authority (CA:TRUE{length})"
    purposes = "any, since it says none" if one.purposes is None else ", ".join(one.purposes) or "none"
    yield f"  purpose {purposes}; names {printable(', '.join(one.san)) or 'none'}"
    digest = f", signed with {one.digest}" if one.digest else ""
    above = chains.short(one.issuer_key_id)
    yield f"  {one.key}{digest}; key identifier {chains.short(one.key_id)}, its issuer's {above}"


def in_short(found: Explanation, cell: str = "") -> str:
    """On a few lines, below a wrong cell of `check`.  cell: its id, where another one's may stand for it."""
    lines = [f"as {found.of}, which was looked into:"] if found.of != cell and cell else []
    lines += [f"{found.finding.cause}: {printable(found.finding.why)}"]
    lines += [f"{where(one)}  {printable(one.text)}" for one in places(found)[:3]]
    if found.finding.fix:
        lines.append(f"to change it: {printable(found.finding.fix)}")
    return "\n".join(f"    {line}" for line in lines)


def in_a_word(found: Explanation) -> str:
    """The same, where it was told already."""
    return f"    {found.finding.cause}, as above: {found.of}"


def as_json(found: Explanation) -> dict[str, Any]:
    finding, sent, received = found.finding, found.evidence.sent, found.evidence.received
    return {
        "cell": found.of or None,
        "url": sent.url or None,
        "method": sent.method,
        "caller": sent.caller,
        "from": sent.origin or None,
        "status": received.status,
        "failure": received.failure or None,
        "tls": received.version or None,
        "made_by": found.maker,
        "cause": finding.cause,
        "why": finding.why,
        "also": list(finding.also),
        "fix": finding.fix,
        "host": finding.host,
        "directives": [place_as_json(one) for one in found.directives],
        "topology": place_as_json(found.topology) if found.topology else None,
        "log": list(finding.lines),
        "way": [
            {
                "host": hop.host,
                "route": hop.route or None,
                "access": hop.access,
                "errors": [e.message for e in hop.errors],
            }
            for hop in found.evidence.hops
        ],
        "certificates": [certificate_as_json(one) for one in sent.shown],
        "expected": found.expected,
        "as_expected": found.as_expected,
    }


def place_as_json(place: Place) -> dict[str, Any]:
    return {"file": place.file, "line": place.line, "text": place.text}


def certificate_as_json(one: Certificate) -> dict[str, Any]:
    return {
        "subject": one.subject,
        "issuer": one.issuer,
        "serial": one.serial,
        "not_before": one.start.isoformat(),
        "not_after": one.end.isoformat(),
        "san": list(one.san),
        "purposes": None if one.purposes is None else list(one.purposes),
        "authority": one.authority,
        "key": one.key,
        "signature": one.digest or None,
        "key_identifier": one.key_id or None,
        "issuer_key_identifier": one.issuer_key_id or None,
        "fingerprint": one.fingerprint,
    }
