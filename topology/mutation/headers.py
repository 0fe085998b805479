"""Changes to what services and other gateways are told of a caller."""

from __future__ import annotations

from collections.abc import Iterator

from topology.mutation.change import Around, Change, Scene, each, gone, named, with_arguments, with_children
from topology.mutation.gateways import serves
from topology.nginx.building import simple
from topology.nginx.tree import Directive

SERVICE, EGRESS = "service-headers.conf", "egress-headers.conf"
REPLACED = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Prefix")
"""What the first gateway says of its caller, and gateways behind it believe."""

HARMLESS = ("Host", "X-Request-ID", "Upgrade", "Connection")
"""What a caller may say of itself."""


def told(scene: Scene, file: str, *names: str) -> set[int]:
    """The lines of a file that tell something, by what they are."""
    return {
        id(one)
        for one in scene.trees.get(file, ())
        if one.name == "proxy_set_header" and (one.arguments[0] in names if names else True)
    }


def facts(scene: Scene) -> set[int]:
    """The lines that keep callers from making up facts about themselves, as far as a service hears them.

    What another host of the lab is told of certificates it does not believe: its own lines say what is so there.
    """
    lines = set()
    if serves(scene):
        lines |= told(scene, SERVICE) - told(scene, SERVICE, *HARMLESS)
    if any(route.host for route in scene.host.routes.values()):
        lines |= told(scene, EGRESS, *REPLACED)
    return lines


def header_not_overwritten(scene: Scene) -> Iterator[Change]:
    """A header about the caller passes as the caller wrote it."""
    meant = facts(scene)
    return each(scene, lambda one, _: id(one) in meant, gone)


def header_from_the_caller(scene: Scene) -> Iterator[Change]:
    """A header about the caller's certificate says what the caller says, where the caller says something."""
    meant = told(scene, SERVICE) if serves(scene) else set()

    def is_meant(one: Directive, _: Around) -> bool:
        return id(one) in meant and one.arguments[0].startswith("X-SSL-Client-") and one.arguments[1] != ""

    return each(
        scene, is_meant,
        lambda one: (with_arguments(one, one.arguments[0], f"$http_{one.arguments[0].lower().replace('-', '_')}"),),
    )  # fmt: skip


def header_says_success(scene: Scene) -> Iterator[Change]:
    """Services are told of each caller that its certificate was verified."""
    meant = told(scene, SERVICE, "X-SSL-Client-Verify") if serves(scene) else set()
    return each(scene, lambda one, _: id(one) in meant, lambda one: (with_arguments(one, one.arguments[0], "SUCCESS"),))


def subject_and_issuer_swapped(scene: Scene) -> Iterator[Change]:
    """Services are told the issuer's name in the place of the caller's."""
    meant = told(scene, SERVICE, "X-SSL-Client-S-DN") if serves(scene) and scene.host.client_certificates else set()
    return each(
        scene, lambda one, _: id(one) in meant, lambda one: (with_arguments(one, one.arguments[0], "$client_issuer"),)
    )


def identity_left_out(scene: Scene) -> Iterator[Change]:
    """Services are not told who the caller is."""
    meant = told(scene, SERVICE, "X-SSL-Client-S-DN", "X-SSL-Client-Verify") if serves(scene) else set()
    if scene.host.client_certificates:
        yield from each(
            scene, lambda one, _: id(one) in meant, lambda one: (with_arguments(one, one.arguments[0], ""),)
        )


def inheritance_cancelled(scene: Scene) -> Iterator[Change]:
    """A route sets one header of its own in the place of all, which cancels those of the levels around it."""

    def is_meant(one: Directive, around: Around) -> bool:
        return one.name == "include" and one.arguments == (f"lab/{SERVICE}",) and bool(around)

    return each(scene, is_meant, lambda _: (simple("proxy_set_header", "X-Route", "$prefix"),))


def identities_map_believes_callers(scene: Scene) -> Iterator[Change]:
    """What a service is told of the verification is the caller's own word, where it gives one."""
    if serves(scene):
        told_by_caller = simple("~^NONE$|^$", "$http_x_ssl_client_verify")
        yield from each(
            scene, lambda one, _: one.name == "map" and one.arguments[-1] == "$client_verify",
            lambda one: (with_children(one, [told_by_caller, *(one.children or ())]),),
        )  # fmt: skip


def any_upgrade(scene: Scene) -> Iterator[Change]:
    """Callers may upgrade to any protocol, past what the gateway understands."""
    if serves(scene):
        yield from each(scene, named("map", "$http_upgrade"),
                        lambda one: (with_children(one, [simple("default", "$http_upgrade")]),))  # fmt: skip
