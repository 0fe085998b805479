"""Certificates from an ACME server (RFC 8555): the lab's own server, and on each host the client that asks for them.

The lab's own server is pebble, Let's Encrypt's test server, a stack of its own on the network that stands for the
internet.  A host that names a `directory` asks the server there instead; nothing else of its stack differs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from topology.description.model import ACME, Host, ServerCertificate, Topology
from topology.generation.certificates import HostCertificates, WantedServer

CERTIFICATES_VOLUME = "letsencrypt"

FOLDER = ACME
"""The server's folder below the lab's; loading sees to it that no host is called so."""

SERVER = "pebble"
"""The server's name: without a dot, so that no domain of a lab is the same."""

PORT = 14000
MANAGEMENT_PORT = 15000

VALID_SECONDS = 90 * 24 * 3600
"""Validity of what the lab's own server issues, as Let's Encrypt's."""

OWN_DAYS = 90
"""Validity of the server's own certificate."""

DIRECTORY = f"https://{SERVER}:{PORT}/dir"

START = "/etc/nginx/lab/start.sh"
"""What starts a gateway whose certificate certbot gets."""

ROOT_COMMAND = ("curl", "--silent", "--show-error", "--fail", "--max-time", "2", "--cacert")
"""How its container asks the server for its root; the file with the server's own authority and the URL follow."""


@dataclass(frozen=True)
class Server:
    """The lab's own ACME server.  authority: the file with who vouches for it, in its container."""

    project: str
    image: str
    compose_address: str
    authority: str


@dataclass(frozen=True)
class Certbot:
    """A host's ACME client.

    domains: the certificate's name, then further ones; server_address: the lab's own server's, empty where another one
    is asked.
    """

    image: str
    directory: str
    domains: tuple[str, ...]
    server_address: str


def has_server(topology: Topology) -> bool:
    """Whether a lab needs an ACME server of its own."""
    return any(asks_lab(host.tls) for host in topology.hosts.values())


def asks_lab(tls: ServerCertificate | None) -> bool:
    return tls is not None and tls.authority == ACME


def clients(topology: Topology) -> tuple[str, ...]:
    """The hosts whose certificates come from an ACME server, whosever it is."""
    return tuple(name for name, host in topology.hosts.items() if host.tls is not None and host.tls.acme)


def keeps(topology: Topology) -> tuple[str, ...]:
    """The hosts whose certificates are for the world: they outlive the lab, since servers issue so many a week."""
    return tuple(name for name in clients(topology) if not asks_lab(topology.hosts[name].tls))


def certbot(host: Host, image: str, server_address: str) -> Certbot | None:
    if host.tls is None or not host.tls.acme:
        return None
    return Certbot(
        image=image,
        directory=host.tls.directory or DIRECTORY,
        domains=(host.domain, *host.aliases),
        server_address=server_address if asks_lab(host.tls) else "",
    )


def signer(topology: Topology) -> str:
    """The authority that vouches for the lab's own server: the first one that is ours."""
    return next(name for name, authority in topology.authorities.items() if authority.certificate is None)


def server_certificates(topology: Topology) -> Iterator[WantedServer]:
    if has_server(topology):
        yield WantedServer(FOLDER, SERVER, ("localhost",), signer(topology), "ecdsa-p256", OWN_DAYS)


def server_trust(topology: Topology) -> Iterator[HostCertificates]:
    if has_server(topology):
        yield HostCertificates(FOLDER, (), (signer(topology),), ())


def configuration() -> str:
    """pebble's configuration.  Its management interface gives out the root's key, too, and listens inside alone."""
    return json.dumps(
        {
            "pebble": {
                "listenAddress": f"0.0.0.0:{PORT}",
                "managementListenAddress": f"127.0.0.1:{MANAGEMENT_PORT}",
                "certificate": "/etc/tls/server.pem",
                "privateKey": "/etc/tls/server.key",
                "httpPort": 80,
                "tlsPort": 443,
                "certificateValidityPeriod": VALID_SECONDS,
                "retryAfter": {"authz": 1, "order": 1},
            }
        },
        indent=2,
    ) + "\n"  # fmt: skip


def root_command(server: Server) -> tuple[str, ...]:
    return (*ROOT_COMMAND, server.authority, f"https://localhost:{MANAGEMENT_PORT}/roots/0")
