"""The gateways' configurations before gixy, an auditor of nginx configurations that knows nothing of this project."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from topology.description import loading
from topology.generation import planning, rendering
from topology.generation.addressing import Network
from topology.generation.planning import Elsewhere, Surroundings

ROOT = Path(__file__).parents[1]
STACKS = ROOT / "compose"
LABS = sorted(file.stem for file in (ROOT / "fixtures" / "labs").glob("*.yaml"))

BAD: Mapping[str, tuple[str, str]] = {
    "alias_traversal": ("location /mtls/ {", "location /files { alias /srv/files/; }\nlocation /mtls/ {"),
    "host_spoofing": ("location /mtls/ {", "location /mtls/ {\n    proxy_set_header Host $http_host;"),
    "hsts_header": ('add_header Strict-Transport-Security "" always;', ""),
    "http_splitting": ("[^\\r\\n]+", "[^x]+"),
    "if_is_evil": ("        return 403;", "        set $refused 1;"),
    "proxy_pass_normalized": ("proxy_pass http://mtls;", "proxy_pass http://mtls/;"),
    "ssl_ecdh_curve": ("?X25519MLKEM768", "X25519MLKEM768"),
    "ssrf": ("proxy_pass http://mtls;", "proxy_pass http://$arg_to;"),
    "try_files_is_evil_too": ("if (!-f $request_filename$index) {", "try_files $uri =404;\n    if ($uri = /) {"),
    "version_disclosure": ("server_tokens off;", "server_tokens on;"),
    "weak_ssl_tls": ("ssl_protocols TLSv1.2", "ssl_protocols TLSv1 TLSv1.2"),
}
"""check -> what is replaced by what, in a gateway's configuration."""

EVERY_ROUTE = """\
name: every-route
authorities: {servers: {}, ca: {}, others: {intermediate: true}}
identities: {bro: {authority: ca}, sis: {authority: others}}
hosts:
  full:
    domain: full.every.test
    aliases: [other.every.test]
    client_certificates: {authority: [ca, others]}
    tls: {authority: servers}
    services:
      node: {kind: node, tls: {port: 3300}}
    routes:
      /node/: {service: node, client_certificate: required, strip_prefix: false}
      /allow/: {service: node, allow: [bro, sis]}
      /allow-bro/: {service: node, allow: [bro]}
      /inside/: {service: node, internal: true}
      /host/: {host: plain, to: /a/, identity: bro, lends: everyone}
      /url/: {url: "https://api.partner.example/v1/", trust: system, identity: bro, lends: everyone}
      /files/: {files: fixtures/labs/tls-only/files, client_certificate: required}
  plain:
    domain: plain.every.test
    pages: fixtures/labs/tls-only/pages
    client_certificates: {authority: ca, verify: always}
    tls: {authority: servers}
"""


def read(gateway: Path) -> dict[str, str]:
    """The files of a generated gateway by name."""
    return {file.name: file.read_text() for file in gateway.glob("*.conf")}


def laid_out(folder: Path, texts: Mapping[str, str], old: str = "", new: str = "") -> Path:
    """A gateway's configuration as its container has it, in /etc/nginx; the file that nginx reads first."""
    lab = folder / "lab"
    lab.mkdir(parents=True)
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


def told(found: Iterable[Mapping[str, str]]) -> list[str]:
    return [f"{f['file']}:{f['line']}: {f['plugin']}: {f['reason']}" for f in found]


def every_kind(folder: Path) -> list[Path]:
    """Gateways with every kind of route, where the topology puts them and deployed to another machine."""
    description = loading.parse(EVERY_ROUTE, ROOT / "x.yaml", loading.catalog.kinds(ROOT / "x.yaml"))
    elsewhere = {"plain": Elsewhere("192.0.2.7", 8443)}
    deployed = {"full": Surroundings(Network("10.87.3"), Network("10.87.4"), elsewhere)}
    return [
        laid_out(folder / f"{number}-{host.name}", rendering.render_gateway(plan, host))
        for number, plan in enumerate((planning.plan(description), planning.plan(description, deployed)))
        for host in plan.hosts
    ]


def test_an_auditor_finds_nothing(tmp_path: Path) -> None:
    """In the checked-in gateways of all labs, where they lie and as their containers have them, and in gateways with
    every kind of route, at every level."""
    gateways = [gateway for lab in LABS for gateway in sorted((STACKS / lab).glob("*/nginx"))]
    inside = [laid_out(tmp_path / f"{number}", read(gateway)) for number, gateway in enumerate(gateways)]

    assert {gateway.parents[1].name for gateway in gateways} == set(LABS)
    assert told(findings([*(gateway / "nginx.conf" for gateway in gateways), *inside, *every_kind(tmp_path)])) == []


def test_the_auditor_can_find_something(tmp_path: Path) -> None:
    """In the gateway and in the routes that it includes."""
    gateway = read(STACKS / "two-host" / "server" / "nginx")
    files = {check: laid_out(tmp_path / check, gateway, *change) for check, change in BAD.items()}
    found = findings(files.values())

    assert {(f["path"], f["plugin"]) for f in found} >= {(str(file), check) for check, file in files.items()}
