"""What nginx said when it gave up, in plain words: the true cause, told from its look-alikes by what is around it."""

from __future__ import annotations

import difflib
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from topology.generation import certificates

EMERGENCY = re.compile(r"\[emerg\] (?:\d+#\d+: )?(?P<said>.*)")
UNBOUND = "still could not bind()"
LINKED = {"/etc/nginx/nginx.conf": "/etc/nginx/lab/nginx.conf"}
"""In the gateway's image."""

PLACE = re.compile(r" in (?P<file>/\S+):(?P<line>\d+)$")


@dataclass(frozen=True)
class Around:
    """What is around a container that gave up.

    services: others of its host, by name -> how they are; shared: those that have a network in common with it; user:
    the number of the user that it runs as, None where unknown; mounts: path in the container -> path on this machine.
    """

    services: Mapping[str, str] = field(default_factory=dict)
    shared: frozenset[str] = frozenset()
    user: int | None = None
    mounts: Mapping[str, Path] = field(default_factory=dict)


def emergency(log: str) -> str:
    """The last thing that made nginx give up, in its own words; empty for none.

    That it could not bind a listener after all comes last, and names none.
    """
    said = [one.strip() for one in EMERGENCY.findall(log)]
    return next((one for one in reversed(said) if one != UNBOUND), "")


def meaning(log: str, around: Around) -> tuple[str, ...]:
    """What the last thing that nginx said means, and what to do; nothing where it said nothing that is known."""
    said = emergency(log)
    place = place_of(said, around)
    where = f" ({place[0]}:{place[1]})" if place else ""
    for pattern, tell in MEANINGS:
        if found := re.search(pattern, said):
            return tuple(f"{line}{where if not n else ''}" for n, line in enumerate(tell(found, around)))
    return (f"nginx does not read on from that line: correct it{where}",) if place else ()


def place_of(said: str, around: Around) -> tuple[Path, int] | None:
    """The file, on this machine where it is there, and the line that nginx names."""
    place = PLACE.search(said)
    return (Path(shown(place["file"], around)), int(place["line"])) if place else None


def shown(path: str, around: Around) -> str:
    """The file on this machine, where it is there."""
    return str(here(path, around) or path)


def here(path: str, around: Around) -> Path | None:
    path = LINKED.get(path, path)
    fitting = [target for target in around.mounts if path == target or path.startswith(f"{target.rstrip('/')}/")]
    if not fitting:
        return None
    target = max(fitting, key=len)
    return around.mounts[target] / PurePosixPath(path).relative_to(target)


def unknown_name(found: re.Match[str], around: Around) -> Iterator[str]:
    """host not found in upstream: a slip, another network, or a service that is not there yet."""
    name = found["name"].partition(":")[0]
    if name not in around.services:
        near = difflib.get_close_matches(name, around.services, n=1, cutoff=0.6)
        meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(around.services) or 'none'}"
        yield f"no service is called {name}, and nginx gives up where it cannot look a name up when it starts; {meant}"
    elif name not in around.shared:
        yield f"{name} is there, but on none of the networks of this gateway: put both on one"
    elif around.services[name] != "running":
        yield (
            f"{name} is {around.services[name]}, and the engine's DNS knows running containers alone: start it first "
            "(depends_on), or give it a fixed address"
        )
    else:
        yield f"{name} runs now, but did not when this gateway started: start the gateway again, after it (depends_on)"


def unreadable_key(found: re.Match[str], around: Around) -> Iterator[str]:
    """Permission denied: the file's own mode, that of a folder above, or neither."""
    path = found["path"]
    file = here(path, around)
    if file is None or around.user is None:
        yield f"the user that nginx runs as may not read {path}: let it own the file, or give its group the right"
        return
    mounted = [source for source in around.mounts.values() if file.is_relative_to(source)]
    # What lies above a mount on this machine, nobody in the container has to pass.
    for folder in reversed([one for one in file.parents if any(one.is_relative_to(source) for source in mounted)]):
        if folder.exists() and not may(folder, around.user, stat.S_IXUSR):
            yield f"user {around.user} may not enter {folder} (mode {mode(folder)}, owner {folder.stat().st_uid})"
            return
    if not may(file, around.user, stat.S_IRUSR):
        yield (
            f"nginx runs as user {around.user}, and {file} belongs to user {file.stat().st_uid} (mode {mode(file)}): "
            f"`chown {around.user} {file}`, which keeps it unreadable for others"
        )
        return
    yield (
        f"user {around.user} may read {file} by its mode ({mode(file)}): a security module (SELinux) or the mount "
        "forbids it"
    )


def mode(path: Path) -> str:
    return f"{stat.S_IMODE(path.stat().st_mode):04o}"


def may(path: Path, user: int, right: int) -> bool:
    """Whether a user without groups or capabilities has a right: an owner's bit, else that of others."""
    facts = path.stat()
    return bool(facts.st_mode & (right if facts.st_uid == user else right >> 6))


def no_pem(found: re.Match[str], around: Around) -> Iterator[str]:
    """no start line: a folder, an empty file and another format give the same words."""
    path = found["path"]
    file = here(path, around)
    if file is not None and file.is_dir():
        yield (
            f"{file} is a folder: where a file that is to be mounted is missing, the engine makes a folder of that "
            "name; remove it, and put the file there"
        )
    elif file is not None and file.is_file() and not file.stat().st_size:
        yield f"{file} is empty: issue it again (`mtls-lab up`)"
    elif file is not None and file.is_file() and file.read_bytes()[:1] == b"\x30":
        yield f"{file} is binary (DER), and nginx reads PEM: convert it with `openssl`, -inform der"
    else:
        yield f"{path} holds nothing in PEM of the kind that is wanted there: put the right file there"


def other_key(found: re.Match[str], around: Around) -> Iterator[str]:
    key = here(found["path"], around)
    beside = [key.with_suffix(ending) for ending in (".pem", ".crt", ".cer")] if key is not None else []
    file = next((one for one in beside if one.is_file()), None)
    number = whose_key(key, file) if key is not None and file is not None else None
    if number is not None and number > 1:
        yield (
            f"the key {found['path']} is that of certificate number {number} in {file}: put that one first, and its "
            "issuers after it"
        )
        return
    yield f"the key {found['path']} is not the key of the certificate beside it: take the two that were made together"


def whose_key(key: Path, file: Path) -> int | None:
    """Which certificate of a file, counted from 1, a key belongs to; None for none of them."""
    try:
        private = certificates.read_key(key.read_bytes())
        found = certificates.read_certificates(file.read_bytes())
    except (OSError, ValueError):
        return None
    fitting = (n for n, one in enumerate(found, 1) if private is not None and certificates.same_key(one, private))
    return next(fitting, None)


def missing_file(found: re.Match[str], around: Around) -> Iterator[str]:
    file = here(found["path"], around)
    beyond = f", on this machine {file}" if file else ""
    yield f"there is no {found['path']}{beyond}: make it (`mtls-lab up` issues what is missing), or correct the path"


def taken_port(found: re.Match[str], around: Around) -> Iterator[str]:
    yield f"something in this container, or of its network, has {found['address']} already: listen on another port"


def forbidden_port(found: re.Match[str], around: Around) -> Iterator[str]:
    yield f"this user may not listen at {found['address']}: choose a port above 1023, or allow it (NET_BIND_SERVICE)"


def no_address(found: re.Match[str], around: Around) -> Iterator[str]:
    yield f"this container has not got the address of {found['address']}: correct `listen`, or its network"


def too_weak(found: re.Match[str], around: Around) -> Iterator[str]:
    yield (
        f"{found['path']} is too weak for OpenSSL's security level 2 ({found['why']}): make a new one (RSA 2048 or "
        "more, SHA-256); as a stop-gap `ssl_ciphers DEFAULT:@SECLEVEL=1`, or 0 for SHA-1"
    )


def nobody_to_trust(found: re.Match[str], around: Around) -> Iterator[str]:
    yield f"it is to verify certificates ({found['verify']}), and is not told whom to believe: set {found['missing']}"


def small_hash(found: re.Match[str], around: Around) -> Iterator[str]:
    yield f"a name is longer than its table takes: raise {found['name']}_bucket_size or {found['name']}_max_size"


def not_a_directive(found: re.Match[str], around: Around) -> Iterator[str]:
    yield f"this nginx does not know {found['name']}: a slip, a newer version's, or a module that is not there"


MEANINGS: tuple[tuple[str, Callable[[re.Match[str], Around], Iterator[str]]], ...] = (
    (r'host not found in (?:upstream|resolver) "(?P<name>[^"]+)"', unknown_name),
    (r'"(?P<path>/[^"]+)".*Permission denied', unreadable_key),
    (r'"(?P<path>/[^"]+)".*(?P<why>key too small|md too weak|ca md too weak|ca key too small)', too_weak),
    (r'"(?P<path>/[^"]+)".*key values mismatch', other_key),
    (r'"(?P<path>/[^"]+)".*(?:No such file|no such file)', missing_file),
    (
        r'"(?P<path>/[^"]+)".*(?:no start line|Is a directory|no certificate or crl found|bad base64|bad end line)',
        no_pem,
    ),
    (r"bind\(\) to (?P<address>\S+) failed \(98:", taken_port),
    (r"bind\(\) to (?P<address>\S+) failed \(13:", forbidden_port),
    (r"bind\(\) to (?P<address>\S+) failed \(99:", no_address),
    (r"no (?P<missing>ssl_client_certificate) for (?P<verify>ssl_verify_client|ssl_client_verify)", nobody_to_trust),
    (r"no (?P<missing>\w*ssl_trusted_certificate) for (?P<verify>\w*ssl_verify)", nobody_to_trust),
    (r"could not build (?P<name>\w+_hash)", small_hash),
    (r"unknown directive (?P<name>\"[^\"]+\")", not_a_directive),
)
"""nginx's words -> what they mean.  Sources: nginx, ngx_event_openssl.c and ngx_connection.c; OpenSSL."""
