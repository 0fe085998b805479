"""What a Compose file says of a gateway's container: the names that it knows, and what is mounted into it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from topology.linting.gateway import Container, SingleFile
from topology.nginx.reading import Unreadable
from topology.nginx.tree import Place

DEFAULT = re.compile(r"\$\{\w+:?-([^}]*)\}")
"""A variable with what Compose takes where nobody sets it."""

OWN = frozenset({"localhost"})


def container(file: Path, service: str, user: int | None = None) -> Container:
    """file: a compose.yaml; service: which of its services is the gateway; user: who runs it, if not what is written.

    Raises Unreadable, with file and line, where the file is no such thing.
    """
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        found = loaded(file.read_bytes().decode())
        own = found["services"][service]
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise Unreadable(f"{file}:{line}: {error.problem}") from None
    except (YAMLError, UnicodeDecodeError, KeyError, TypeError):
        raise Unreadable(f"{file}:1: no Compose file with a service {service}") from None
    except OSError as error:
        raise Unreadable(f"{file}:1: cannot be read: {error.strerror or error}") from None
    written = plain(own.get("user", "")).partition(":")[0]
    known = OWN | {host.rpartition("=")[0] or host.partition(":")[0] for host in extra_hosts(own)}
    alone = tuple(one for one in mounts(own, file) if (file.parent / one.source).is_file())
    if user is None and written.isdigit():
        user = int(written)
    others = {
        str(name): bool(networks(one) & networks(own)) for name, one in found["services"].items() if name != service
    }
    return Container(frozenset(known), others, user, alone)


@lru_cache(maxsize=32)
def loaded(text: str) -> Any:
    """A YAML document with the lines of its parts, for reading alone; the same text gives the same one."""
    from ruamel.yaml import YAML

    return YAML(typ="rt").load(text)


def plain(value: object) -> str:
    """A value as Compose takes it where no variable is set."""
    return DEFAULT.sub(r"\1", str(value))


def extra_hosts(service: Any) -> list[str]:
    """`name:address` each, also of a mapping."""
    found = service.get("extra_hosts") or []
    return (
        [f"{name}:{address}" for name, address in found.items()] if isinstance(found, dict) else [str(h) for h in found]
    )


def networks(service: Any) -> frozenset[str]:
    """The names of a service's networks; Compose gives it one where none is named."""
    return frozenset(service.get("networks") or ["default"])


def mounts(service: Any, file: Path) -> Iterator[SingleFile]:
    """What is mounted from beside the Compose file, in either syntax; not volumes."""
    volumes: Any = service.get("volumes") or []
    for number, one in enumerate(volumes):
        source = plain(one.get("source", "")) if isinstance(one, dict) else plain(one).split(":")[0]
        if source.startswith((".", "/")):
            yield SingleFile(source, Place(file, volumes.lc.item(number)[0] + 1))
