"""Sends a request to a running lab and gathers what tells why it got its answer."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from uuid import uuid4

from topology.description import positions
from topology.description.model import Route, Topology
from topology.description.positions import Path as FieldPath
from topology.errors import LabError, NotReady
from topology.explaining import asking, callers, certificates, configuration, log_lines, sending
from topology.explaining.asking import Question, Target
from topology.explaining.callers import Asker
from topology.explaining.certificates import Certificate
from topology.explaining.chains import Trust
from topology.explaining.configuration import Effective
from topology.explaining.evidence import Evidence, Hop, Peer, Received, Sent, Stale, Standing
from topology.explaining.log_lines import ErrorLine
from topology.explaining.reasoning import CERTIFICATE_SETTINGS, Explanation, explain
from topology.nginx import reading
from topology.nginx.reading import Configuration, Mounts, Unreadable
from topology.proof import callers as kinds_of_callers
from topology.proof import expectation
from topology.proof.callers import Worth
from topology.proof.expectation import Caller
from topology.runtime import differing, gateways, logs, looking
from topology.runtime.differing import Difference
from topology.runtime.gateways import CERTIFICATES, CONFIGURATION, File, Insides, Neighbour
from topology.runtime.lab import Lab
from topology.runtime.logs import GATEWAY, Choice, Line
from topology.runtime.running import RunningLab

MARGIN_SECONDS = 60
"""How far an engine's clock may be off."""

WRITTEN_SECONDS = 2.5
"""How long it may take until an engine hands out what a gateway logged."""

FLUSHED_SECONDS = 0.2
"""Gateways hold their access lines back for a moment; the one behind may be that much later."""

READ_LATER = timedelta(seconds=2)
"""File systems and /proc round: a file that changed within this of a reload was read by it."""

LISTENERS = {"http": 80, "https": 443, "inside": 8080}


@dataclass(frozen=True)
class Scene:
    """A running lab, as it is asked several times."""

    lab: Lab
    running: RunningLab

    @cached_property
    def neighbours(self) -> tuple[Neighbour, ...]:
        """The lab's containers, as they are when they are first looked at."""
        return gateways.neighbours(self.lab)


def ask(lab: Lab, question: Question) -> Explanation:
    """Sends the request that is asked about, and says why it got its answer.

    Raises InvalidInput where the question has a mistake, NotReady where the lab is not up, NoEngine.
    """
    scene = scene_of(lab, question)
    target = asking.target(scene.running, question)
    with callers.asker(scene.running, target, question) as asker:
        return explained(scene, target, question, asker)


def scene_of(lab: Lab, question: Question) -> Scene:
    """NotReady where the gateway that is called does not run; that another one does not can be the answer."""
    try:
        return Scene(lab, looking.running(lab))
    except NotReady:
        called = asking.called(looking.running(lab, ()), question)
        return Scene(lab, looking.running(lab, (called,)))


def explained(scene: Scene, target: Target, question: Question, asker: Asker) -> Explanation:
    request_id, at = str(uuid4()), time.time()
    headers = sending.headers_of(question, target, request_id)
    anchor = trusted(scene.running, target)
    if target.inside:
        received = sending.from_inside(scene.lab, question, target, headers)
    else:
        received = sending.from_outside(question, target, asker.files, anchor, headers)
    # Who did not wait for an answer is logged, too, when he hangs up.
    answered = received.status is not None or received.failure == "timeout"
    lines = way(scene.lab, target.host, request_id, at, answered=answered)
    sent = Sent(
        url=question.url,
        host=target.host,
        domain=target.domain,
        path=target.path,
        tls=target.tls,
        method=question.method,
        headers=question.headers,
        caller=asker.name,
        shown=asker.chain,
        origin=question.origin or "",
        port=target.passed,
        dialled=target.port,
        trusted=certificates.read(anchor.encode()),
    )
    found = evidence(scene, target, sent, received, lines, asker)
    return explain(found if found.as_expected is not False else compared_with_the_topology(scene.lab, found))


def trusted(running: RunningLab, target: Target) -> str:
    try:
        return running.anchor(target.host).read_text() if target.tls else ""
    except OSError:
        return ""


def evidence(scene: Scene, target: Target, sent: Sent, received: Received, lines: list[Line], asker: Asker) -> Evidence:
    topology = scene.lab.topology
    now = datetime.now(UTC)
    hops = tuple(hop_of(scene, target, line, lines) for line in lines if line.access)
    hops = hops or (first_hop(scene, target, lines),)
    expected, rule = expectation_of(topology, target, asker.caller, asker.worth)
    if is_named_otherwise(topology, sent):
        expected, rule = None, ""
    return Evidence(
        gateways=standings(scene),
        holders={
            address: f"{one.state.host}/{one.state.service}" for one in scene.neighbours for address in one.addresses
        },
        sent=sent,
        received=received,
        topology=topology,
        hops=hops,
        known=dict(known(scene.lab)),
        expected=expected,
        rule=rule,
        now=now,
        places=places(scene.lab),
        served=dict(served(scene, hops, target)),
        service_trust=service_trust(scene.lab, target),
    )


def compared_with_the_topology(lab: Lab, evidence: Evidence) -> Evidence:
    """The same, with what differs in the files of the gateways on the way from what the topology makes of them."""
    found: dict[str, tuple[Difference, ...]] = {}
    for host in dict.fromkeys(hop.host for hop in evidence.hops):
        with contextlib.suppress(LabError, OSError):
            found[host] = differing.of_host(lab, host)
    return replace(evidence, hops=tuple(replace(hop, differences=found.get(hop.host, ())) for hop in evidence.hops))


def standings(scene: Scene) -> dict[str, Standing]:
    """How each host's gateway is."""
    hosts = scene.lab.topology.hosts
    seen = {one.state.host: one.state for one in scene.neighbours if one.state.service == GATEWAY}
    halted = any(host not in seen or seen[host].status != "running" for host in hosts)
    said = looking.complaints(scene.lab) if halted else {}
    return {
        host: Standing(seen[host].status, seen[host].name, said.get((host, GATEWAY), ()))
        if host in seen else Standing("down")
        for host in hosts
    }  # fmt: skip


# What was logged


def way(lab: Lab, host: str, request_id: str, at: float, *, answered: bool) -> list[Line]:
    """The lines of a request, in the order of its way; where it got no answer, what its handshake left."""
    found = logs.find(lab, Choice(service=GATEWAY, since=at - MARGIN_SECONDS))
    deadline = time.monotonic() + WRITTEN_SECONDS
    before: list[Line] = []
    while True:
        every = list(logs.lines(found, at - MARGIN_SECONDS))
        lines = logs.way_of(lab.topology, every, request_id) if answered else list(handshake_lines(every, host, at))
        there = any(line.access for line in lines) if answered else bool(lines)
        if (there and lines == before) or time.monotonic() > deadline:
            return lines
        before = lines
        time.sleep(FLUSHED_SECONDS)


def handshake_lines(lines: list[Line], host: str, at: float) -> Iterator[Line]:
    for line in lines:
        if line.host == host and line.time.timestamp() >= at - 0.5 and "SSL handshak" in line.text:
            yield line


# Gateways on the way


def first_hop(scene: Scene, target: Target, lines: list[Line]) -> Hop:
    """The gateway that was called, where it logged no request."""
    return hop(scene, target.host, target.listener, target.domain, target.path, None, errors_of(lines, target.host))


def hop_of(scene: Scene, target: Target, line: Line, lines: list[Line]) -> Hop:
    """The gateway that an access line is of."""
    access = line.access or {}
    port = LISTENERS.get(str(access.get("listener", "")), 443)
    if line.host == target.host and not target.inside and access is next((o.access for o in lines if o.access), None):
        port = target.listener
    name = str(access.get("host", ""))
    return hop(scene, line.host, port, name, str(access.get("uri", "/")), access, errors_of(lines, line.host))


def errors_of(lines: list[Line], host: str) -> tuple[ErrorLine, ...]:
    parsed = (log_lines.parse(line.text) for line in lines if line.host == host and not line.access)
    return tuple(line for line in parsed if line is not None)


def hop(
    scene: Scene,
    host: str,
    port: int,
    name: str,
    uri: str,
    access: Mapping[str, object] | None,
    errors: tuple[ErrorLine, ...],
) -> Hop:
    inside = gateways.look(scene.lab, host)
    read = configuration_of(scene.lab, host, inside)
    holds = configuration.effective(read, port, name, uri) if read else Effective()
    named = {value for setting in CERTIFICATE_SETTINGS if (value := holds.value(setting)) and "$" not in value}
    if missing := tuple(sorted(path for path in named if path not in inside.files and path.startswith("/"))):
        more = gateways.look(scene.lab, host, missing)
        inside = replace(inside, files={**inside.files, **more.files})
    return Hop(
        host=host,
        route=route_of(scene.lab.topology, host, access, uri),
        access=access,
        errors=errors,
        configuration=read,
        effective=holds,
        files={path: file.content for path, file in inside.files.items()},
        now=inside.now,
        peers=tuple(
            Peer(one.state.service, one.state.status, one.state.health or "", one.addresses)
            for one in scene.neighbours
            if one.state.host == host
        ),
        stale=tuple(stale(inside)),
        refused=inside.refused,
    )


def route_of(topology: Topology, host: str, access: Mapping[str, object] | None, uri: str) -> str:
    """The topology's route, empty where the request has none."""
    routes = topology.hosts[host].routes if host in topology.hosts else {}
    told = f"{(access or {}).get('route', '')}/"
    if told in routes:
        return told
    path = configuration.normalised(uri)
    around = [prefix for prefix in routes if path.startswith(prefix)]
    return max(around, key=len, default="")


def configuration_of(lab: Lab, host: str, inside: Insides) -> Configuration | None:
    """What the gateway's files say, as they lie on this machine: there people read and change them."""
    folder = inside.mounts.get(CONFIGURATION) if inside.local else lab.folder / host / "nginx"
    if folder is None or not (folder / "nginx.conf").is_file():
        return None
    own = inside.mounts.get(CERTIFICATES) if inside.local else lab.certificates(host)
    mounts = {CONFIGURATION: relative(folder), **({CERTIFICATES: relative(own)} if own else {})}
    try:
        return reading.read(relative(folder) / "nginx.conf", prefix="/etc/nginx", mounts=Mounts.of(mounts))
    except Unreadable:
        return None  # nginx serves what it read before; `stale` tells of files that changed since


def relative(path: Path) -> Path:
    """As people would type it from where they are."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def stale(inside: Insides) -> Iterator[Stale]:
    """Files that nginx uses otherwise than they lie on this machine."""
    for path, file in inside.files.items():
        source = source_of(inside, path) if inside.local else None
        if source is not None and (differing := compared(path, file, source)) is not None:
            yield differing
        elif inside.started is not None and file.changed > inside.started + READ_LATER:
            yield Stale(
                shown_path(path, source),
                "not-reloaded",
                f"it changed at {file.changed:%H:%M:%S} UTC, and nginx has read its files at "
                f"{inside.started:%H:%M:%S} UTC for the last time.",
                "reload the gateway (`docker exec CONTAINER nginx -s reload`, or `mtls-lab up`)",
            )


def shown_path(path: str, source: tuple[Path, bool] | None) -> str:
    """A certificate by its path in the container, by which directives name it; configuration as places name it."""
    if source is None or not path.startswith(CONFIGURATION):
        return path
    return str(relative(source[0]))


def source_of(inside: Insides, path: str) -> tuple[Path, bool] | None:
    """(the file on this machine, whether it is mounted by itself)."""
    around = [target for target in inside.mounts if path == target or path.startswith(f"{target}/")]
    if not around:
        return None
    target = max(around, key=len)
    source = inside.mounts[target]
    return (source, True) if path == target else (source / path.removeprefix(f"{target}/"), False)


def compared(path: str, file: File, source: tuple[Path, bool]) -> Stale | None:
    here, alone = source
    try:
        same = here.read_bytes() == file.content
    except OSError:
        return None
    if same:
        return None
    what = "this file is mounted by itself" if alone else "the folder that is mounted was replaced by another one"
    return Stale(
        shown_path(path, source),
        "stale-mount",
        f"{what}, and a mount keeps the file that was there when the container started: {here} was replaced since "
        "(editors, git and mv write a new file), and the container still sees the old one. A reload changes nothing.",
        "recreate the container (`mtls-lab up`); for good, mount the folder around the file",
    )


# What else is known


def known(lab: Lab) -> Iterator[tuple[str, Certificate]]:
    """The lab's authorities by name, intermediates too."""
    for name in lab.topology.authorities:
        for file, label in (("certificate", name), ("intermediate", f"{name} (intermediate)")):
            path = lab.authorities / name / f"{file}.pem"
            if path.is_file():
                for number, one in enumerate(certificates.read(path.read_bytes())):
                    yield label if not number else f"{label} {number + 1}", one


def served(scene: Scene, hops: tuple[Hop, ...], target: Target) -> Iterator[tuple[str, tuple[Certificate, ...]]]:
    """What gateways show to callers: those on the way, and the one that the last of them called."""
    topology = scene.lab.topology
    for one in hops:
        if shown := one.read("ssl_certificate"):
            yield one.host, shown
    last = hops[-1]
    route = topology.hosts[last.host].routes.get(last.route) if last.host in topology.hosts else None
    called = route.host if route else None
    for host in {called, target.host} - {one.host for one in hops if one.read("ssl_certificate")} - {None}:
        beyond = looked(scene, host or "", topology.hosts[host or ""].domain) if host else ()
        if beyond:
            yield host or "", beyond


def looked(scene: Scene, host: str, name: str) -> tuple[Certificate, ...]:
    states = [one.state for one in scene.neighbours if one.state.host == host and one.state.service == GATEWAY]
    if not any(state.status == "running" for state in states):
        return ()
    return hop(scene, host, LISTENERS["https"], name, "/", None, ()).read("ssl_certificate")


def service_trust(lab: Lab, target: Target) -> Trust | None:
    """Whom a service that terminates TLS itself believes."""
    if target.passed is None:
        return None
    for name, service in lab.topology.hosts[target.host].services.items():
        if service.tls is not None and service.tls.port == target.passed:
            if service.tls.client_certificate != "required":
                return None
            folder = lab.certificates(target.host) / "services" / name
            anchors, lists = folder / "client-authorities.pem", folder / "client-authorities.crl.pem"
            return Trust(
                certificates.read(anchors.read_bytes() if anchors.is_file() else b""),
                certificates.read_lists(lists.read_bytes() if lists.is_file() else b""),
                depth=100,
            )
    return None


def places(lab: Lab) -> dict[FieldPath, tuple[str, int]]:
    """Field of the topology -> file and line."""
    file = lab.description.file
    try:
        document = positions.read(file.read_bytes(), str(file))
    except OSError:
        return {}
    return {path: (str(file), line) for path, (line, _) in (*document.values.items(), *document.keys.items())}


def is_named_otherwise(topology: Topology, sent: Sent) -> bool:
    """Whether the request has a Host of its own that is none of the host's: of that the topology says nothing."""
    host = topology.hosts[sent.host]
    given = {name.lower(): value for name, value in sent.headers.items()}.get("host")
    return given is not None and given.lower().partition(":")[0] not in (host.domain, *host.aliases)


def expectation_of(
    topology: Topology, target: Target, caller: Caller | None, worth: Worth | None = None
) -> tuple[int | str | None, str]:
    """(status or REFUSED, rule) that the topology says; (None, "") where it says nothing of this request.

    worth: of the caller's certificate, where that does not follow from the caller.
    """
    host = topology.hosts[target.host]
    path = target.path.partition("?")[0]
    if caller is None:
        return None, ""
    if target.passed is not None:
        return expected_of_service(topology, target, caller, worth)
    if target.listener == LISTENERS["http"] and host.tls is not None:
        return 301, "The plain HTTP port leads everybody to https."
    around = [prefix for prefix in host.routes if path.startswith(prefix)]
    if not around or target.tls != (host.tls is not None and not target.inside):
        return None, ""
    prefix = max(around, key=len)
    route = host.routes[prefix]
    if target.inside:
        return expected_inside(topology, target, prefix, route, path)
    own, why = expectation.at_gateway(topology, host, route, caller), ""
    if worth is not None:
        own = kinds_of_callers.at_gateway(topology, host, route, caller, worth)
    elif caller.flaw in kinds_of_callers.KINDS:
        own, why = kinds_of_callers.first_answer(topology, host, route, caller)
    if own is kinds_of_callers.TURNED_AWAY:
        return expectation.REFUSED, why
    if not own.passed:
        return own.status, f"{own.why} {why}".strip()
    found = next((one for at, one in expectation.answers_behind(topology, host, prefix, own) if at == path), None)
    return (found.status, f"{found.why} {why}".strip()) if found else (None, "")


def expected_of_service(
    topology: Topology, target: Target, caller: Caller, worth: Worth | None
) -> tuple[int | str | None, str]:
    """What a service that terminates TLS itself answers: whoever is let in gets 200 where its health is."""
    host = topology.hosts[target.host]
    service = next(one for one in host.services.values() if one.tls is not None and one.tls.port == target.passed)
    required = service.tls is not None and service.tls.client_certificate == "required"
    if worth is None and caller.flaw in kinds_of_callers.KINDS:
        kind = kinds_of_callers.KINDS[caller.flaw]
        worth, _ = kinds_of_callers.worth_of(host, caller, kind.at_service or kind.worth)
    good = expectation.standing_of(host, caller) is expectation.Standing.GOOD
    if worth is not None:
        good = worth in (Worth.ITSELF, Worth.ANOTHER)
    if required and not good:
        return expectation.REFUSED, expectation.sentence(expectation.service_refuses)
    if target.path.partition("?")[0] != (service.health or "/"):
        return None, ""
    return 200, expectation.sentence(expectation.service_answers)


def expected_inside(topology: Topology, target: Target, prefix: str, route: Route, path: str) -> tuple[int | None, str]:
    if route.client_certificate == "required" or route.allow:
        return 403, "Inside, nobody can show a certificate: routes that require one answer 403 there."
    host = topology.hosts[target.host]
    found = next((one for at, one in expectation.destinations(topology, host, prefix) if at == path), None)
    return (found.status, found.why) if found else (None, "")
