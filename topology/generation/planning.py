"""Every decision, once: names, addresses, guards, images, certificates.  Templates only print what stands here."""

from __future__ import annotations

import functools
import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from topology.description import catalog
from topology.description.loading import Description
from topology.description.model import (
    SYSTEM,
    FromEnvironment,
    Host,
    ServerCertificate,
    Service,
    Topology,
)
from topology.description.sources import content_hash, files, given
from topology.generation import acme, pages, routing
from topology.generation.addressing import GATEWAY_SLOT, Network, Networks, default_networks, slots
from topology.generation.certificates import (
    GivenAuthority,
    GivenIdentity,
    HostCertificates,
    Wanted,
    WantedAuthority,
    WantedIdentity,
    WantedServer,
)
from topology.generation.routing import Location, Upstream

INSIDE_PORT = 8080
"""Where a gateway listens for its own host's services (GATEWAY_URL)."""

HEALTH_PORT = 8081
"""Where a gateway answers Docker's health check, inside its container alone."""

UNPRIVILEGED_USER = 10001
"""User and group of every container, and owner of the keys where the tool runs as root."""


SERVICE_CERTIFICATES = "/etc/tls"
"""Where a service that terminates TLS itself finds its files."""

CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
"""Mozilla's intermediate profile for TLS 1.2; TLS 1.3 has its own suites."""


@dataclass(frozen=True)
class ImageBuild:
    """An image that the tool builds: its tag, the folder with the Dockerfile, the build arguments."""

    tag: str
    folder: Path
    arguments: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ServicePlan:
    """certificates: the folder below the host's certificates that a service with TLS of its own reads, else empty."""

    name: str
    image: str
    built: bool
    compose_address: str
    environment: tuple[tuple[str, str], ...]
    health_command: tuple[str, ...]
    certificates: str


@dataclass(frozen=True)
class Passage:
    """A port that the gateway passes on untouched, to a service that terminates TLS itself.

    published: the port on 127.0.0.1, empty where Docker chooses.
    """

    service: str
    port: int
    published: str
    address: str


@dataclass(frozen=True)
class Gateway:
    """Another host's gateway, as this one sees it: on the network that stands for the internet, or further away."""

    host: str
    domain: str
    address: str


@dataclass(frozen=True)
class Elsewhere:
    """A host on another machine, as it is seen from one.

    address: where its machine is, empty where its domain resolves through DNS; port: where its gateway is published
    there; calls_from: the address from which its calls come, empty where nobody said.
    """

    address: str = ""
    port: int = 443
    calls_from: str = ""
    reachable: bool = True


@dataclass(frozen=True)
class Surroundings:
    """Where one host runs: its machine's network that stands for the internet, its own network, who is elsewhere."""

    internet: Network
    inside: Network
    elsewhere: Mapping[str, Elsewhere] = field(default_factory=dict)


@dataclass(frozen=True)
class Redirect:
    http: int
    suffix: str


@dataclass(frozen=True)
class HostPlan:
    name: str
    project: str
    names: tuple[str, ...]
    tls: bool
    verify_client: str
    http_port: str
    https_port: str
    listen_address: str
    redirect: Redirect | None
    gateway_image: str
    health_command: tuple[str, ...]
    internet_address: str
    compose_inside_address: str
    inside_address: str
    inside_subnet: str
    inside_range: str
    inside_router: str
    called_hosts: tuple[Gateway, ...]
    calling_gateways: tuple[Gateway, ...]
    upstreams: tuple[Upstream, ...]
    locations: tuple[Location, ...]
    services: tuple[ServicePlan, ...]
    passages: tuple[Passage, ...]
    page: pages.Page
    has_pages: bool
    own_pages: bool
    has_files: bool
    certbot: acme.Certbot | None


@dataclass(frozen=True)
class Plan:
    """copies: path below the lab's folder -> the author's file that is copied there; acme_server: the lab's own."""

    lab: str
    hosts: tuple[HostPlan, ...]
    images: tuple[ImageBuild, ...]
    certificates: Wanted
    copies: tuple[tuple[str, Path], ...]
    acme_server: acme.Server | None

    def host(self, name: str) -> HostPlan:
        return next(host for host in self.hosts if host.name == name)


def default_networks_of(topology: Topology) -> Networks:
    return default_networks(topology.name, {name: len(host.services) for name, host in topology.hosts.items()})


def default_surroundings(topology: Topology) -> dict[str, Surroundings]:
    """All hosts on one machine, in the networks that the topology gives them."""
    networks = default_networks_of(topology)
    return {host: Surroundings(networks.internet, networks.inside[host]) for host in topology.hosts}


def plan(description: Description, surroundings: Mapping[str, Surroundings] | None = None) -> Plan:
    """All decisions for a topology.

    surroundings: host -> where it runs, if not where the topology puts it by default.  They reach the gateways'
    configuration; Compose files always carry the default, which `up` overrides by variables, or by an override file.
    """
    topology = description.topology
    images = images_of(description)
    tools = tool_images(topology)
    default = default_networks_of(topology)
    actual = default_surroundings(topology) | dict(surroundings or {})
    hosts = tuple(plan_host(description, name, default, actual[name], images, tools) for name in topology.hosts)
    builds = {image.tag: image for image in (*tools.values(), *images.values()) if isinstance(image, ImageBuild)}
    return Plan(
        lab=topology.name,
        hosts=hosts,
        images=tuple(builds.values()),
        certificates=wanted_certificates(description),
        copies=tuple(copy for name in topology.hosts for copy in copies(description, name)),
        acme_server=acme_server(topology, tools),
    )


def from_environment(topology: Topology) -> tuple[str, ...]:
    """The variables that services take from the environment of `up`."""
    return unique(
        value.from_env
        for host in topology.hosts.values()
        for service in host.services.values()
        for value in service.environment.values()
        if isinstance(value, FromEnvironment)
    )


# Images


def images_of(description: Description) -> dict[tuple[str, str], ImageBuild | str]:
    """(host, service) -> its image: one to build, or the name of a ready one.  Each folder is read once."""
    built = functools.cache(build)

    def image_of(host: Host, name: str) -> ImageBuild | str:
        service = host.services[name]
        if service.image is not None:
            return service.image
        if service.build is not None:
            return built(f"{description.topology.name}-{name}", description.file.parent / service.build)
        kind = description.kinds[str(service.kind)]
        return built(kind.name, kind.folder, base_path(description, host, name) if kind.base_path else None)

    hosts = description.topology.hosts.items()
    return {(name, service): image_of(host, service) for name, host in hosts for service in host.services}


def tool_images(topology: Topology) -> dict[str, ImageBuild]:
    """The images that belong to no service: every host's gateway, and what a certificate by ACME takes."""
    certbot = ["certbot"] if acme.clients(topology) else []
    server = [acme.SERVER] if acme.has_server(topology) else []
    return {name: build(name, catalog.shipped_services() / name) for name in ("gateway", *certbot, *server)}


def build(name: str, folder: Path, base_path: str | None = None) -> ImageBuild:
    """base_path: the prefix below which what is built will answer, where that is decided when it is built."""
    arguments = {} if base_path is None else {"BASE_PATH": base_path}
    tag = f"mtls-lab/{name}:{content_hash(folder, arguments)[:12]}"
    return ImageBuild(tag, folder, tuple(sorted(arguments.items())))


def base_path(description: Description, host: Host, name: str) -> str:
    """Below which path a service itself answers: its prefix without the slash, if its kind is built for one.

    Loading sees to it that such a service has exactly one route.
    """
    kind = description.kinds.get(host.services[name].kind or "")
    if kind is None or not kind.base_path:
        return ""
    return next(prefix for prefix, route in host.routes.items() if route.service == name).rstrip("/")


# Hosts


def plan_host(
    description: Description,
    name: str,
    default: Networks,
    surroundings: Surroundings,
    images: Mapping[tuple[str, str], ImageBuild | str],
    tools: Mapping[str, ImageBuild],
) -> HostPlan:
    topology = description.topology
    host = topology.hosts[name]
    inside, default_inside = surroundings.inside, default.inside[name]
    internet_slots = slots(on_the_internet(topology), surroundings.internet)
    service_slots = slots(host.services, inside)

    def gateway(other: str, address: str) -> Gateway:
        return Gateway(other, topology.hosts[other].domain, address)

    def called_at(other: str) -> str:
        there = surroundings.elsewhere.get(other)
        nearby = compose_address("INTERNET", default.internet, internet_slots[other])
        return there.address if there is not None and there.reachable else nearby

    def calling_from(other: str) -> str:
        there = surroundings.elsewhere.get(other)
        return there.calls_from if there is not None else surroundings.internet.address(internet_slots[other])

    called = dict.fromkeys(route.host for route in host.routes.values() if route.host is not None)
    callers = [n for n, h in topology.hosts.items() if any(route.host == name for route in h.routes.values())]
    return HostPlan(
        name=name,
        project=f"{topology.name}-{name}",
        names=(host.domain, *host.aliases),
        tls=host.tls is not None,
        verify_client=verify_client(host),
        http_port=str(host.publish.http or ""),
        https_port=str(host.publish.https or ""),
        # An ACME server outside of the lab has to reach this host: there the machine's other addresses can be had.
        listen_address="${MTLS_LAB_ADDRESS:-127.0.0.1}" if name in acme.keeps(topology) else "127.0.0.1",
        redirect=redirect(host),
        gateway_image=tools["gateway"].tag,
        health_command=health_command(HEALTH_PORT, "/"),
        internet_address=compose_address("INTERNET", default.internet, internet_slots[name]),
        compose_inside_address=compose_address("INSIDE", default_inside, GATEWAY_SLOT),
        inside_address=inside.address(GATEWAY_SLOT),
        inside_subnet=compose_prefix("INSIDE", default_inside) + default_inside.subnet_ending,
        inside_range=compose_prefix("INSIDE", default_inside) + default_inside.dynamic_ending,
        inside_router=compose_address("INSIDE", default_inside, 1),
        called_hosts=tuple(gateway(other, called_at(other)) for other in called if called_at(other)),
        calling_gateways=tuple(
            gateway(other, calling_from(other)) for other in callers if other != name and calling_from(other)
        ),
        upstreams=routing.upstreams(
            topology,
            host,
            addresses={s: inside.address(slot) for s, slot in service_slots.items()},
            ports={name: there.port for name, there in surroundings.elsewhere.items()},
        ),
        locations=tuple(routing.location(description, name, prefix) for prefix in host.routes),
        services=tuple(
            plan_service(
                service_name,
                service,
                images[name, service_name],
                compose_address("INSIDE", default_inside, service_slots[service_name]),
                base_path(description, host, service_name) + (service.health or "/"),
            )
            for service_name, service in host.services.items()
        ),
        passages=tuple(
            Passage(s, service.tls.port, str(service.tls.publish or ""), inside.address(service_slots[s]))
            for s, service in host.services.items()
            if service.tls is not None
        ),
        page=pages.page(description, name),
        has_pages="/" not in host.routes,
        own_pages=host.pages is not None,
        has_files=any(route.files is not None for route in host.routes.values()),
        certbot=acme.certbot(host, tools["certbot"].tag, acme_address(topology)) if "certbot" in tools else None,
    )


def on_the_internet(topology: Topology) -> tuple[str, ...]:
    """Who has an address on the network that stands for the internet; what comes last moves nobody else's."""
    return (*topology.hosts, *([acme.FOLDER] if acme.has_server(topology) else []))


def acme_address(topology: Topology) -> str:
    """The address of the lab's own ACME server in Compose files; empty where there is none."""
    default = default_networks_of(topology).internet
    slot = slots(on_the_internet(topology), default).get(acme.FOLDER)
    return compose_address("INTERNET", default, slot) if slot else ""


def acme_server(topology: Topology, tools: Mapping[str, ImageBuild]) -> acme.Server | None:
    if not acme.has_server(topology):
        return None
    return acme.Server(
        project=f"{topology.name}-{acme.FOLDER}",
        image=tools[acme.SERVER].tag,
        compose_address=acme_address(topology),
        authority=f"/etc/tls/upstream/{acme.signer(topology)}.pem",
    )


def copies(description: Description, name: str) -> Iterator[tuple[str, Path]]:
    """The author's files that belong into a host's folder, which is self-contained."""
    host, folder = description.topology.hosts[name], description.file.parent
    wanted = [(f"files/{routing.files_folder(prefix)}{prefix}", route.files) for prefix, route in host.routes.items()]
    for place, source in [*wanted, ("pages/", host.pages)]:
        if source is not None:
            served = (path for path in files(folder / source) if is_served(path))
            yield from ((f"{name}/{place}{path.as_posix()}", folder / source / path) for path in served)


def is_served(path: Path) -> bool:
    """What begins with a dot (`.env`, `.git`) is for tools; `.well-known` (RFC 8615) is the one exception."""
    return not any(part.startswith(".") and part != ".well-known" for part in path.parts)


def compose_prefix(variable: str, default: Network) -> str:
    return f"${{MTLS_LAB_{variable}:-{default.prefix}}}"


def compose_address(variable: str, default: Network, slot: int) -> str:
    """An address in a Compose file: `up` may move the network, the last octets stay."""
    return compose_prefix(variable, default) + default.ending(slot)


def verify_client(host: Host) -> str:
    """nginx's ssl_verify_client: it stands per server, so a route's own demand is a guard in its location."""
    if host.client_certificates is None:
        return "off"
    return "on" if host.client_certificates.verify == "always" else "optional"


def redirect(host: Host) -> Redirect | None:
    """Where the published http port sends its callers; None where Docker chooses a port."""
    if host.publish.http is None or host.publish.https is None:
        return None
    return Redirect(host.publish.http, "" if host.publish.https == 443 else f":{host.publish.https}")


def plan_service(name: str, service: Service, image: ImageBuild | str, address: str, health: str) -> ServicePlan:
    environment = {"SERVICE_NAME": literal(name), "GATEWAY_URL": literal(f"http://gateway:{INSIDE_PORT}")}
    if service.tls is not None:
        environment |= {name: literal(value) for name, value in tls_environment(service).items()}
    for variable, value in service.environment.items():
        environment[variable] = f'"${{{value.from_env}-}}"' if isinstance(value, FromEnvironment) else literal(value)
    return ServicePlan(
        name=name,
        image=image.tag if isinstance(image, ImageBuild) else image,
        built=isinstance(image, ImageBuild),
        compose_address=address,
        environment=tuple(environment.items()),
        health_command=health_command(service.port or 0, health) if service.kind else (),
        certificates=f"services/{name}" if service.tls is not None else "",
    )


def tls_environment(service: Service) -> dict[str, str]:
    """Where a service that terminates TLS itself listens, and where its files are."""
    if service.tls is None:
        return {}
    files = {"TLS_CERT": "server.pem", "TLS_KEY": "server.key"}
    if service.tls.client_certificate == "required":
        files |= {"TLS_CLIENT_CA": "client-authorities.pem", "TLS_CRL": "client-authorities.crl.pem"}
    return {"TLS_PORT": str(service.tls.port)} | {
        name: f"{SERVICE_CERTIFICATES}/{file}" for name, file in files.items()
    }


def literal(text: str) -> str:
    """A YAML string that Compose takes for itself: `$` doubled."""
    return json.dumps(text, ensure_ascii=False).replace("$", "$$")


def health_command(port: int, path: str) -> tuple[str, ...]:
    """Exit 0 where GET path answers 2xx.  bash's /dev/tcp: images need no HTTP client for it.

    Only kinds and gateways get one; a ready image or a build of the author's keeps its own HEALTHCHECK, and is proven
    through its gateway.
    """
    request = shlex.quote(f"GET {path} HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n")
    script = (
        f"exec 3<>/dev/tcp/127.0.0.1/{port} && printf {request} >&3 && read -r _ status _ <&3 && [[ $status == 2* ]]"
    )
    return ("CMD", "bash", "-c", script)


# Certificates


def wanted_certificates(description: Description) -> Wanted:
    topology = description.topology
    return Wanted(
        lab=topology.name,
        authorities=tuple(
            WantedAuthority(name, a.key, a.days, a.intermediate)
            for name, a in topology.authorities.items()
            if a.certificate is None
        ),
        identities=tuple(
            WantedIdentity(name, i.authority, i.common_name, i.san, i.days, i.key, i.revoked)
            for name, i in topology.identities.items()
            if i.certificate is None
        ),
        servers=(
            *(server for name in topology.hosts for server in wanted_servers(topology, name)),
            *acme.server_certificates(topology),
        ),
        hosts=(*(host_certificates(topology, name) for name in topology.hosts), *acme.server_trust(topology)),
        given_authorities=tuple(
            GivenAuthority(
                name,
                given(description.file.parent, a.certificate),
                given(description.file.parent, a.crl) if a.crl else b"",
            )
            for name, a in topology.authorities.items()
            if a.certificate is not None
        ),
        given_identities=tuple(
            GivenIdentity(
                name, given(description.file.parent, i.certificate), given(description.file.parent, i.key_file or "")
            )
            for name, i in topology.identities.items()
            if i.certificate is not None
        ),
    )


def wanted_servers(topology: Topology, name: str) -> Iterator[WantedServer]:
    """The gateway's certificate, and one for each service with TLS of its own, under the host's names.

    ACME servers issue to their client alone, which keeps what it got.
    """
    host = topology.hosts[name]
    tls = host.tls or ServerCertificate(authority=next(iter(topology.authorities), ""))
    if tls.acme:
        return
    wanted = WantedServer(name, host.domain, host.aliases, tls.authority, tls.key, tls.days)
    if host.tls is not None:
        yield wanted
    for service_name, service in host.services.items():
        if service.tls is not None:
            yield replace(wanted, service=service_name)


def host_certificates(topology: Topology, name: str) -> HostCertificates:
    """What one host needs, and nothing else."""
    host = topology.hosts[name]
    calls = [route for route in host.routes.values() if route.host or route.url]
    remotes = [topology.hosts[route.host].tls for route in calls if route.host]
    trusted = [*(tls.authority for tls in remotes if tls), *(route.trust for route in calls if route.url)]
    return HostCertificates(
        host=name,
        client_authorities=host.client_certificates.authority if host.client_certificates else (),
        upstream_authorities=unique(authority for authority in trusted if authority != SYSTEM),
        identities=unique(route.identity for route in calls if route.identity),
        services=tuple(
            n for n, service in host.services.items() if service.tls and service.tls.client_certificate == "required"
        ),
        acme=acme.signer(topology) if acme.asks_lab(host.tls) else "",
    )


def unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
