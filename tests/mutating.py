"""Labs as mutations see them, without an engine: generated and issued in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from topology.description.loading import load
from topology.generation import certificates, planning, rendering
from topology.mutation.catalogue import MUTATIONS, Mutation
from topology.mutation.change import Change, Scene
from topology.nginx.reading import parse
from topology.nginx.tree import Directive
from topology.pki.issuing import Issuer

LABS = Path(__file__).parents[1] / "fixtures" / "labs"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@cache
def scenes(lab: str) -> dict[str, Scene]:
    """Host -> scene."""
    description = load(LABS / f"{lab}.yaml")
    plan = planning.plan(description)
    texts = rendering.render(plan)
    issued = certificates.issue(plan.certificates, {}, NOW)

    def issuer(name: str) -> tuple[Issuer, Issuer]:
        folder = f"authorities/{name}"
        key = serialization.load_pem_private_key(issued.files[f"{folder}/key.pem"], None)
        root = Issuer(x509.load_pem_x509_certificate(issued.files[f"{folder}/certificate.pem"]), key)  # type: ignore[arg-type]
        return (issued.issuers[name] if description.topology.authorities[name].intermediate else root), root

    def below(files: dict[str, object], folder: str) -> dict[str, object]:
        return {path.removeprefix(folder): one for path, one in files.items() if path.startswith(folder)}

    return {
        host: Scene(
            description.topology, host,
            below(dict(texts), f"{host}/nginx/"),  # type: ignore[arg-type]
            below(dict(issued.files), f"{host}/certificates/"),  # type: ignore[arg-type]
            issuer, Path("/authorities"), lambda other: f"lab-{other}", NOW,
        )
        for host in description.topology.hosts
    }  # fmt: skip


@cache
def made(lab: str) -> tuple[tuple[str, str, Change], ...]:
    """(mutation, host, change) of everything that can be changed in a lab."""
    return tuple(changes(lab, MUTATIONS))


def changes(lab: str, mutations: Iterable[Mutation]) -> Iterator[tuple[str, str, Change]]:
    for mutation in mutations:
        for host, scene in scenes(lab).items():
            for change in mutation.make(scene):
                yield mutation.name, host, change


def lines(text: str) -> list[str]:
    """Each directive of a configuration with the blocks around it, such as `location /a/ > return 403`."""
    return list(flat(parse(text, Path("nginx.conf"))))


def flat(tree: tuple[Directive, ...], around: str = "") -> Iterator[str]:
    for one in tree:
        yield f"{around}{one}"
        if one.children is not None:
            yield from flat(one.children, f"{around}{one} > ")
