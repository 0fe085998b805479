"""Check -> Observation: walls looked at from both sides, in containers of the running lab and from beside them."""

from __future__ import annotations

import ipaddress
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from topology.errors import LabError, NotReady
from topology.proof import conversing
from topology.proof import expected_walls as expected
from topology.proof.aims import truth
from topology.proof.expectation import Caller, Check
from topology.proof.probing import Files, Observation
from topology.proof.request_kinds import FORGED_WHOLE
from topology.proof.witness import lie, statement
from topology.runtime import inside
from topology.runtime.running import RunningLab

if TYPE_CHECKING:
    from topology.runtime.inside import Container

JUDGE = "verify-first.so"
"""What has nginx judge servers during the handshake (services/gateway)."""

PRIVATE_KEY = re.compile(rb"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.+?-----END \1-----", re.DOTALL)

LOOKS_AT_A_HOLE = 3
PATIENCE_SECONDS = (0.7, 0.7, 2.0, 5.0, 5.0)
"""How long connections may take: longer and longer where a busy machine does not even open one that is free."""

EVERYWHERE = "0.0.0.0"  # noqa: S104 - looked for, not listened on

Containers = Mapping[str, "Container"]
"""`host/service` -> container."""


def probe(check: Check, lab: RunningLab, _shown: Mapping[Caller, Files]) -> Observation:
    """Looks at one wall.  What cannot be looked at does not stand."""
    began = time.monotonic()
    try:
        seen = look(check, lab)
    except LabError as error:
        seen = str(error)
    except KeyError as error:
        seen = f"{error} is not there"
    return Observation(None, seen, "", "", time.monotonic() - began)


def look(check: Check, lab: RunningLab) -> str:
    if check.caller.startswith(expected.FROM):
        return reached(check, lab, inside.containers(lab))
    name = expected.GATEWAY if check.caller == expected.MEMBERS else check.route
    for one in inside.containers(lab, host=check.host, service=name).values():
        return LOOKS[check.caller](one, lab)
    return "it does not run"


def rights(one: Container, _lab: RunningLab) -> str:
    """What a container may do that it does not need."""
    found = inside.rights(one)
    wrong = {
        "root": 0 in found.users,
        f"capabilities {found.capabilities:#x}": found.capabilities,
        "new privileges": not found.no_new_privileges,
        "writable files": not found.read_only,
    }
    held = [words for words, is_so in wrong.items() if is_so]
    return ", ".join([*held, *found.beyond]) or expected.NONE


def authorities_keys(one: Container, lab: RunningLab) -> str:
    """The files inside of a container that hold an authority's key, and what it sees of where these keys lie."""
    ours = {public_bytes(key.read_bytes()): key.parent.name for key in lab.authorities.rglob("*key.pem")}
    found = [f"{path}: key of {ours[public]}"
             for path, content in inside.keys(one)
             for public in public_keys(content) if public in ours]  # fmt: skip
    seen = [f"{source} is mounted" for source in inside.mounts(one) if is_near(Path(source), lab.authorities)]
    return ", ".join([*found, *seen]) or expected.NONE


def keys_for_everybody(one: Container, _lab: RunningLab) -> str:
    """The keys of a gateway that others than its user may read."""
    return ", ".join(inside.exposed_keys(one)) or expected.NONE


def is_near(mounted: Path, secret: Path) -> bool:
    """Whether who sees the one sees some of the other."""
    return mounted.is_relative_to(secret) or secret.is_relative_to(mounted)


def public_keys(content: bytes) -> Iterator[bytes]:
    """The public halves of the private keys in a file."""
    for block in [match.group() for match in PRIVATE_KEY.finditer(content)] or [content]:
        try:
            yield public_bytes(block)
        except (ValueError, TypeError):  # no key, or one that its holder has to decrypt first
            continue


def public_bytes(content: bytes) -> bytes:
    pem = content.lstrip().startswith(b"-----")
    load = serialization.load_pem_private_key if pem else serialization.load_der_private_key
    return load(content, None).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def published_ports(one: Container, lab: RunningLab) -> str:
    """The published ports of a container, with the address where that is none of this machine alone."""
    local = lab.endpoints[one.labels["mtls-lab.host"]].address == "127.0.0.1"
    doors = inside.published(one)
    exposed = {port: address for port, address in doors if local and not ipaddress.ip_address(address).is_loopback}
    ports = dict.fromkeys(port for port, _ in doors)
    return ", ".join(f"{exposed[port]}:{port}" if port in exposed else str(port) for port in ports) or expected.NOTHING


def networks(one: Container, _lab: RunningLab) -> str:
    return ", ".join(sorted(inside.networks(one))) or expected.NOTHING


def members(one: Container, _lab: RunningLab) -> str:
    return ", ".join(sorted(inside.members(one)))


def listeners(one: Container, _lab: RunningLab) -> str:
    """Ports that are open on every network, `inside` for those on the host's own alone, and what else there is."""
    own = inside.networks(one).get(expected.INSIDE)
    found = inside.listening(one)
    everywhere = sorted(port for address, port in found if address == EVERYWHERE)
    others = {
        expected.INSIDE if address == own else f"{address}:{port}" for address, port in found if address != EVERYWHERE
    }
    return ", ".join([*map(str, everywhere), *sorted(others)])


def judges_servers(one: Container, _lab: RunningLab) -> str:
    return expected.FIRST if inside.has_loaded(one, JUDGE) else "afterwards"


LOOKS: Mapping[str, Callable[[Container, RunningLab], str]] = {
    expected.RIGHTS: rights,
    expected.KEYS: authorities_keys,
    expected.OWN_KEYS: keys_for_everybody,
    expected.PORTS: published_ports,
    expected.NETWORKS: networks,
    expected.MEMBERS: members,
    expected.LISTENERS: listeners,
    expected.ORDER: judges_servers,
}
"""Wall -> how it stands."""


# Reaching in from outside


def reached(check: Check, lab: RunningLab, containers: Containers) -> str:
    """What a stranger reaches of a host that only the host's own containers may reach.

    A door that is open to it is tried along, since who reaches nothing at all proves nothing.  A closed one that opens
    is tried again: on a busy machine one look in hundreds gets through while engines rewrite their packet filters, and
    a hole stays.
    """
    origin, gateway = check.caller.removeprefix(expected.FROM), containers.get(f"{check.host}/{expected.GATEWAY}")
    stranger = gateway if origin == expected.INTERNET else containers.get(origin)
    if stranger is None or gateway is None:
        return "it does not run"
    if stranger.client is not gateway.client:
        return expected.NOTHING  # on another machine these addresses are somebody else's
    closed = dict(closed_doors(check.host, lab, containers))
    public = f"{inside.networks(gateway)[expected.INTERNET]}:80"
    here = origin == expected.INTERNET or expected.INTERNET in inside.networks(stranger)
    known = public if here else own_gateway(origin, containers)
    reach = inside.reached_from_internet if origin == expected.INTERNET else inside.reached
    doors, looks = set(closed), 0
    for patience in PATIENCE_SECONDS:
        found = reach(stranger, [known, *doors], patience)
        if known not in found:
            continue
        doors &= set(found)
        looks += 1
        if not doors or looks == LOOKS_AT_A_HOLE:
            return ", ".join(f"{closed[door]} ({door})" for door in sorted(doors)) or expected.NOTHING
    return f"{origin} does not even reach {known}"


def closed_doors(host: str, lab: RunningLab, containers: Containers) -> Iterator[tuple[str, str]]:
    """(ADDRESS:PORT, what is there): services, and the gateway where it listens for others than the world."""
    described = lab.topology.hosts[host]
    for name, service in described.services.items():
        one = containers.get(f"{host}/{name}")
        for address in inside.networks(one).values() if one is not None else ():
            for port in {service.port, service.tls.port if service.tls else None} - {None}:
                yield f"{address}:{port}", name
    for address in inside.networks(containers[f"{host}/{expected.GATEWAY}"]).values():
        for port in inside_ports(containers):
            yield f"{address}:{port}", expected.GATEWAY


def own_gateway(origin: str, containers: Containers) -> str:
    """Where a service finds its own gateway."""
    address, port = inside_door(origin.partition("/")[0], containers)
    return f"{address}:{port}"


def inside_door(host: str, containers: Containers) -> tuple[str, int]:
    """Address and port where a host's services find their gateway.  NotReady where the lab has no services."""
    address = inside.networks(containers[f"{host}/{expected.GATEWAY}"])[expected.INSIDE]
    for port in inside_ports(containers):
        return address, port
    raise NotReady("no service runs that knows where its gateway is")


def inside_ports(containers: Containers) -> set[int]:
    """The port of GATEWAY_URL, as services know it; the same on every host."""
    known = (line.partition("=") for one in containers.values() for line in one.attrs["Config"]["Env"])
    return {urlsplit(url).port or 80 for variable, _, url in known if variable == "GATEWAY_URL"}


# What a host's own services are answered


def probe_inside(check: Check, lab: RunningLab, _shown: Mapping[Caller, Files]) -> Observation:
    """One request of a host's own service to its gateway, from inside of the service's container; where it makes up an
    identity, another one for what was seen of that."""
    began, request_id = time.monotonic(), str(uuid.uuid4())
    try:
        containers = inside.containers(lab)
        if check.request == expected.FORGING:
            status, wrong = forge_inside(check, request_id, lab, containers)
        else:
            found = ask_inside(check.host, [(check.path, request_id)], lab, containers)
            status, wrong = (found[0], "") if found else (None, "no answer")
    except (LabError, KeyError, StopIteration) as error:
        status, wrong = None, "not asked"
        return Observation(status, wrong, str(error), request_id, time.monotonic() - began)
    return Observation(status, wrong, "", request_id, time.monotonic() - began)


def forge_inside(check: Check, request_id: str, lab: RunningLab, containers: Containers) -> tuple[int | None, str]:
    """Status, or in words what is not true of what a service saw of another one's request with forged headers."""
    seen_at, own = f"{check.route}whoami", "".join(f"{header}\r\n" for header in FORGED_WHOLE)
    requests = (request(path, request_id, last=path == seen_at) for path in (check.path, seen_at))
    text = "".join(one.replace("\r\n\r\n", f"\r\n{own}\r\n") for one in requests)
    said = conversing.answers_in(said_inside(check.host, text, lab, containers))
    facts = truth(lab.topology, check.host, seen_at, Caller())
    for one in said:
        seen = statement(one.body)
        if seen is not None and facts is not None and (wrong := lie(seen, facts)):
            return None, wrong
    return (said[0].status, "") if said else (None, "no answer")


def ask_inside(host: str, calls: Sequence[tuple[str, str]], lab: RunningLab, containers: Containers) -> list[int]:
    """The status of each call (path, request id) that a service of a host makes of its gateway, on one connection."""
    last = len(calls) - 1
    text = "".join(request(path, request_id, last=n == last) for n, (path, request_id) in enumerate(calls))
    return statuses(said_inside(host, text, lab, containers))


def said_inside(host: str, text: str, lab: RunningLab, containers: Containers) -> bytes:
    """All that a host's gateway says on a connection on which a service of the host sends it a text."""
    service = next(iter(lab.topology.hosts[host].services))
    return inside.answer(containers[f"{host}/{service}"], *inside_door(host, containers), text)


def request(path: str, request_id: str, *, last: bool) -> str:
    connection = "close" if last else "keep-alive"
    return f"GET {path} HTTP/1.1\r\nHost: gateway\r\nX-Request-ID: {request_id}\r\nConnection: {connection}\r\n\r\n"


def statuses(said: bytes) -> list[int]:
    """The status of each answer in what a gateway said on one connection."""
    return [int(match[1]) for match in re.finditer(rb"HTTP/1\.1 (\d{3}) [A-Za-z' -]*\r\nServer: nginx\r\n", said)]
