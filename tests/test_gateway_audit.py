"""The gateways' configurations before gixy, an auditor of nginx configurations that knows nothing of this project."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
STACKS = ROOT / "compose"
LABS = sorted(file.stem for file in (ROOT / "fixtures" / "labs").glob("*.yaml"))

ACCEPTED = {
    # A lab has a plain port, too: a browser that was told so would never ask there again (RFC 6797).
    ("hsts_header", "No Strict-Transport-Security"),
    # RFC 2253 writes a name's control characters as hexadecimal digits; a serial is such digits alone.
    ("http_splitting", '"$client_'),
    # The slash that a folder's address lacks: what has a line break in it leads to no folder.
    ("http_splitting", '"$uri"'),
    # `set` belongs to the same module as `if`, whose directives are what is safe there; `map` compares without case.
    ("if_is_evil", '"set"'),
    # A service gets the very path by which its route was chosen, and no second reading of it.
    ("proxy_pass_normalized", "without using $request_uri"),
    # services/gateway brings an OpenSSL that knows it.
    ("ssl_ecdh_curve", "X25519MLKEM768"),
    # A lab's pages change under it.
    ("try_files_is_evil_too", "performance"),
}
"""(check, words of its finding) that stays, and why."""

BAD: Mapping[str, tuple[str, str]] = {
    "alias_traversal": ("location /mtls/ {", "location /files { alias /srv/files/; }\nlocation /mtls/ {"),
    "host_spoofing": ("location /mtls/ {", "location /mtls/ {\n    proxy_set_header Host $http_host;"),
    "ssrf": ("proxy_pass http://mtls/;", "proxy_pass http://$arg_to;"),
    "version_disclosure": ("server_tokens off;", "server_tokens on;"),
    "weak_ssl_tls": ("ssl_protocols TLSv1.2", "ssl_protocols TLSv1 TLSv1.2"),
}
"""check -> what is replaced by what, in a gateway's configuration."""


def laid_out(folder: Path, gateway: Path, old: str = "", new: str = "") -> Path:
    """A gateway's configuration as its container has it, in /etc/nginx; the file that nginx reads first."""
    lab = folder / "lab"
    lab.mkdir(parents=True)
    texts = {file.name: file.read_text() for file in gateway.glob("*.conf")}
    assert any(old in text for text in texts.values())
    for name, text in texts.items():
        (lab / name).write_text(text.replace(old, new) if old else text)
    (lab / "nginx.conf").rename(folder / "nginx.conf")
    return folder / "nginx.conf"


def findings(files: Iterable[Path]) -> list[dict[str, str]]:
    """What gixy says of several configurations."""
    command = [Path(sys.executable).with_name("gixy"), "--format", "json", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found: list[dict[str, str]] = json.loads(done.stdout)
    return found


def is_accepted(finding: Mapping[str, str]) -> bool:
    return any(finding["plugin"] == check and words in finding["reason"] for check, words in ACCEPTED)


def test_an_auditor_finds_nothing_but_what_we_have_reasons_for(tmp_path: Path) -> None:
    """In the checked-in gateways of all labs; and a reason that nothing asks for any more has to go."""
    gateways = [gateway for lab in LABS for gateway in sorted((STACKS / lab).glob("*/nginx"))]
    found = findings(laid_out(tmp_path / f"{number}", gateway) for number, gateway in enumerate(gateways))
    needed = {one for one in ACCEPTED for f in found if f["plugin"] == one[0] and one[1] in f["reason"]}

    assert {gateway.parents[1].name for gateway in gateways} == set(LABS)
    assert [f"{f['file']}:{f['line']}: {f['plugin']}: {f['reason']}" for f in found if not is_accepted(f)] == []
    assert needed == ACCEPTED


def test_the_auditor_can_find_something(tmp_path: Path) -> None:
    """In the gateway and in the routes that it includes."""
    gateway = STACKS / "two-host" / "server" / "nginx"
    files = {check: laid_out(tmp_path / check, gateway, *change) for check, change in BAD.items()}
    found = findings(files.values())

    for check, file in files.items():
        assert check in {f["plugin"] for f in found if f["path"] == str(file) and not is_accepted(f)}
