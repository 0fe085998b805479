"""Where the caller sees this application: the gateway says so, and replaces whatever a caller said of it."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

RECEIVED = "received_headers"
"""Where the scope keeps the headers as they arrived."""


class Forwarded:
    """Takes the caller's scheme, host and prefix for the application's own: links and redirects lead back to it.

    By ASGI the path includes the root path, so the prefix that the gateway stripped is put back in front of it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            scope = as_the_caller_sees_it(scope)
        await self.app(scope, receive, send)


def as_the_caller_sees_it(scope: Scope) -> Scope:
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    told = dict(headers)
    prefix = told.get(b"x-forwarded-prefix", b"").rstrip(b"/")
    host = told.get(b"x-forwarded-host")
    scheme = told.get(b"x-forwarded-proto", b"").decode("latin-1")
    if scheme in ("http", "https") and scope["type"] == "websocket":
        scheme = {"http": "ws", "https": "wss"}[scheme]
    return {
        **scope,
        RECEIVED: headers,
        "scheme": scheme or scope["scheme"],
        "headers": [*((n, v) for n, v in headers if n != b"host"), (b"host", host)] if host else headers,
        "root_path": prefix.decode("latin-1"),
        "path": prefix.decode("latin-1") + scope["path"],
        "raw_path": prefix + scope.get("raw_path", b""),
    }
