"""Changes to the containers of a host: what they may do, where they are, what they see."""

from __future__ import annotations

from collections.abc import Iterator

from topology.mutation.change import Change, Scene

GATEWAY = "gateway"


def service_of(scene: Scene) -> Iterator[str]:
    """The first service of a host: one stands for all, since all are made alike."""
    yield from list(scene.host.services)[:1]


def each_service(scene: Scene, override: str, networks: str = "") -> Iterator[Change]:
    for service in service_of(scene):
        yield Change(service, service=service, override=override, networks=networks)


def capability_back(scene: Scene) -> Iterator[Change]:
    """A service may open raw sockets."""
    return each_service(scene, "cap_add: [NET_RAW]")


def all_capabilities_back(scene: Scene) -> Iterator[Change]:
    """A service keeps every capability that the engine gives out."""
    return each_service(scene, "cap_drop: !reset []")


def privileged(scene: Scene) -> Iterator[Change]:
    """A service is privileged."""
    return each_service(scene, "privileged: true")


def root_user(scene: Scene) -> Iterator[Change]:
    """A service runs as root."""
    return each_service(scene, 'user: "0:0"')


def root_group(scene: Scene) -> Iterator[Change]:
    """A service runs in root's group."""
    return each_service(scene, 'user: "10001:0"')


def writable_root(scene: Scene) -> Iterator[Change]:
    """A service can write its own files."""
    return each_service(scene, "read_only: false")


def new_privileges(scene: Scene) -> Iterator[Change]:
    """A service can get new privileges from a program that has them."""
    return each_service(scene, "security_opt: !reset []")


def processes_of_the_machine(scene: Scene) -> Iterator[Change]:
    """A service sees the processes of its machine."""
    return each_service(scene, "pid: host")


def device_of_the_machine(scene: Scene) -> Iterator[Change]:
    """A service has one of its machine's devices."""
    return each_service(scene, 'devices: ["/dev/null:/dev/of-the-machine"]')


def service_published(scene: Scene) -> Iterator[Change]:
    """A service's own port is published."""
    for service in service_of(scene):
        port = scene.host.services[service].port
        yield Change(service, service=service, override=f'ports: ["127.0.0.1::{port}"]')


def service_published_to_everybody(scene: Scene) -> Iterator[Change]:
    """A service's own port is published on every address of the machine."""
    for service in service_of(scene):
        port = scene.host.services[service].port
        yield Change(service, service=service, override=f'ports: ["{port}"]')


def service_on_the_internet(scene: Scene) -> Iterator[Change]:
    """A service is on the network that joins the hosts, past its gateway."""
    return each_service(scene, "networks: {internet: {}}")


def service_on_another_host(scene: Scene) -> Iterator[Change]:
    """A service is on the network of another host."""
    for other, described in scene.topology.hosts.items():
        if other != scene.name and described.services:
            networks = f'beyond: {{external: true, name: "{scene.project(other)}_inside"}}'
            yield from each_service(scene, "networks: {beyond: {}}", networks)
            return


def gateway_on_another_host(scene: Scene) -> Iterator[Change]:
    """A gateway is on the network of another host, where it could pass that host's own gateway by."""
    for other, described in scene.topology.hosts.items():
        if other != scene.name and described.services:
            networks = f'beyond: {{external: true, name: "{scene.project(other)}_inside"}}'
            yield Change(f"{GATEWAY} at {other}", service=GATEWAY, override="networks: {beyond: {}}", networks=networks)


def authorities_mounted(scene: Scene) -> Iterator[Change]:
    """A service sees the folder with the authorities' keys."""
    return each_service(scene, f'volumes: ["{scene.folder}:/opt/authorities:ro"]')


def authority_s_key_mounted(scene: Scene) -> Iterator[Change]:
    """A gateway sees the key of the authority that vouches for its callers, or for itself."""
    asked = scene.host.client_certificates
    names = asked.authority if asked is not None else [scene.host.tls.authority] if scene.host.tls else []
    for name in names:
        if name in scene.topology.authorities and scene.topology.authorities[name].certificate is None:
            file = scene.folder / name / "key.pem"
            yield Change(f"{GATEWAY} {name}", service=GATEWAY, override=f'volumes: ["{file}:/opt/{name}.pem:ro"]')
            return


def judges_afterwards(scene: Scene) -> Iterator[Change]:
    """A gateway shows its certificate to another host before it has judged it, as nginx does by itself."""
    if any(route.host or route.url for route in scene.host.routes.values()):
        command = 'entrypoint: ["/usr/sbin/nginx", "-e", "/dev/stderr", "-g", "daemon off;"]'
        yield Change(GATEWAY, service=GATEWAY, override=command)


def service_asks_nobody(scene: Scene) -> Iterator[Change]:
    """A service that terminates TLS itself asks nobody for a certificate."""
    for name, service in scene.host.services.items():
        if service.tls is not None and service.tls.client_certificate == "required":
            yield Change(name, service=name, override='environment: {TLS_CLIENT_CA: ""}')


def service_reads_no_revocation_list(scene: Scene) -> Iterator[Change]:
    """A service that terminates TLS itself reads no revocation list."""
    for name, service in scene.host.services.items():
        if service.tls is not None and service.tls.client_certificate == "required":
            yield Change(name, service=name, override="environment: {TLS_CRL: /dev/null}")
