"""A service that answers what a test tells it to, and says what it saw.

The header X-Answer is JSON: status, headers (a list of pairs), size (bytes of the body).  The answer's header X-Seen is
JSON, too: method, target (as it arrived), received (bytes of the body), prefix.  /sent tells how much of the last large
body has left.
"""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PIECE = bytes(64 * 1024)
sent = 0


class Mirror(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        global sent
        received = len(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        wanted = {"status": 200, "headers": [], "size": 0, **json.loads(self.headers.get("X-Answer", "{}"))}
        seen = {
            "method": self.command,
            "target": self.path,
            "received": received,
            "prefix": self.headers.get("X-Forwarded-Prefix"),
            "sent": sent,
        }
        self.send_response(wanted["status"])
        for name, value in wanted["headers"]:
            self.send_header(name, value)
        self.send_header("X-Seen", json.dumps(seen))
        self.send_header("Content-Length", str(wanted["size"]))
        self.end_headers()
        if self.command == "HEAD" or not wanted["size"]:
            return
        sent = 0
        while sent < wanted["size"]:
            piece = PIECE[: wanted["size"] - sent]
            self.wfile.write(piece)
            sent += len(piece)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - the names are the library's

    def log_message(self, *_: object) -> None:
        """The gateway's log says it all."""


ThreadingHTTPServer(("0.0.0.0", 8000), Mirror).serve_forever()  # noqa: S104
