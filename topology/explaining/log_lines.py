"""nginx's error lines, in parts.  What stands in them is told by nginx alone where nothing else quotes a request."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

LINE = re.compile(
    r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[(?P<level>[a-z]+)\] (?P<process>\d+)#\d+: "
    r"(?:\*(?P<connection>\d+) )?(?P<rest>.*)",
    re.DOTALL,
)
CONTEXT = re.compile(r", (client|server|request|upstream|host|referrer): (\"[^\"]*\"|[^,]*)")
VERIFY = re.compile(r"SSL certificate verify error: \((\d+):([^)]*)\)")
"""Of a client's certificate, and of a server's, within the handshake or after it."""

PLAIN = "client sent plain HTTP request to HTTPS port"


@dataclass(frozen=True)
class ErrorLine:
    """One line of an error log.

    message: without what nginx adds of the request; connection: worker and number, empty where there is none; code,
    reason: OpenSSL's number and words of a verification, 0 for none; upstream: the URL that was asked, with an address.
    """

    level: str
    message: str
    connection: str = ""
    client: str = ""
    server: str = ""
    request: str = ""
    upstream: str = ""
    referrer: str = ""
    code: int = 0
    reason: str = ""

    @property
    def of_upstream(self) -> bool:
        """Whether it is about what this nginx asked of somebody else."""
        return "upstream" in self.message or bool(self.upstream)


def parse(text: str) -> ErrorLine | None:
    """None for what is no line of nginx's error log."""
    found = LINE.fullmatch(text.strip())
    if found is None:
        return None
    fields = {name: value.strip('"') for name, value in CONTEXT.findall(found["rest"])}
    first = CONTEXT.search(found["rest"])
    message = found["rest"][: first.start()] if first else found["rest"]
    verify = VERIFY.search(message)
    return ErrorLine(
        level=found["level"],
        message=message,
        connection=f"{found['process']}*{found['connection']}" if found["connection"] else "",
        client=fields.get("client", ""),
        server=fields.get("server", ""),
        request=fields.get("request", ""),
        upstream=fields.get("upstream", ""),
        referrer=fields.get("referrer", ""),
        code=int(verify[1]) if verify else 0,
        reason=verify[2] if verify else "",
    )


def holding(lines: Iterable[ErrorLine], *texts: str) -> ErrorLine | None:
    """The first line whose message holds one of the texts."""
    return next((line for line in lines if any(text in line.message for text in texts)), None)
