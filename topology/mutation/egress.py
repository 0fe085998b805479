"""Changes to how a gateway calls other hosts: as whom, and whom it believes there."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from topology.mutation.change import (
    Around,
    Change,
    Matches,
    Scene,
    each,
    gone,
    has,
    named,
    own,
    with_arguments,
    with_children,
)
from topology.nginx.building import simple
from topology.nginx.tree import Directive

IDENTITY = ("proxy_ssl_certificate", "proxy_ssl_certificate_key")


def calls_out(around: Around) -> bool:
    return bool(around) and has(around[-1], "proxy_ssl_verify")


def in_egress(name: str, *arguments: str) -> Matches:
    """A directive of a route that calls another host."""
    return lambda one, around: named(name, *arguments)(one, around) and calls_out(around)


# Whom it believes


def egress_verification_off(scene: Scene) -> Iterator[Change]:
    """A gateway calls another host without looking at its certificate."""
    return each(scene, in_egress("proxy_ssl_verify"), lambda one: (with_arguments(one, "off"),))


def egress_revocation_list_gone(scene: Scene) -> Iterator[Change]:
    """A gateway calls another host without looking into its authority's revocation list."""
    return each(scene, in_egress("proxy_ssl_crl"), gone)


def egress_believes_itself(scene: Scene) -> Iterator[Change]:
    """A gateway takes its own certificate for the authority of another host."""
    wrong = "/etc/nginx/certificates/server.pem"
    return each(scene, in_egress("proxy_ssl_trusted_certificate"), lambda one: (with_arguments(one, wrong),))


def egress_expects_another_name(scene: Scene) -> Iterator[Change]:
    """A gateway expects its own name of another host."""
    return each(scene, in_egress("proxy_ssl_name"), lambda one: (with_arguments(one, scene.host.domain),))


def egress_names_nobody(scene: Scene) -> Iterator[Change]:
    """A gateway names no server in the handshake (SNI)."""
    return each(scene, in_egress("proxy_ssl_server_name"), lambda one: (with_arguments(one, "off"),))


def egress_in_plain_text(scene: Scene) -> Iterator[Change]:
    """A gateway calls another host without TLS."""
    return each(
        scene, in_egress("proxy_pass"), lambda one: (with_arguments(one, one.arguments[0].replace("https:", "http:")),)
    )


def egress_depth_lowered(scene: Scene) -> Iterator[Change]:
    """A gateway accepts no intermediate of another host's authority."""
    authorities = scene.topology.authorities
    servers = [one.tls.authority for one in scene.topology.hosts.values() if one.tls]
    if any(authorities[name].intermediate for name in servers if name in authorities):
        yield from each(scene, in_egress("proxy_ssl_verify_depth"), lambda one: (with_arguments(one, "0"),))


# As whom


def identity_gone(scene: Scene) -> Iterator[Change]:
    """A route attaches no identity that should."""

    def without(location: Directive) -> tuple[Directive, ...]:
        return (with_children(location, [one for one in location.children or () if one.name not in IDENTITY]),)

    return each(scene, lambda one, _: one.name == "location" and has(one, IDENTITY[0]), without)


def attaching(scene: Scene, lent: Directive) -> Iterator[Change]:
    """Each other route to another host, with the identity of one; and where that came from."""
    pair = [one for name in IDENTITY for one in own(lent, name)]
    remote = target(lent)

    def lend(location: Directive) -> tuple[Directive, ...]:
        kept = [one for one in location.children or () if one.name not in IDENTITY]
        return (with_children(location, [*pair, *kept]),)

    def is_other(one: Directive, _: Around) -> bool:
        return (
            one.name == "location" and one is not lent and has(one, "proxy_ssl_verify")
            and target(one) == remote and identity_in(one) != identity_in(lent)
        )  # fmt: skip

    for change in each(scene, is_other, lend):
        yield dataclasses.replace(change, where=f"{change.where} as {identity_in(lent)}")


def identity_in(location: Directive) -> str:
    found = own(location, IDENTITY[0])
    return found[0].arguments[0].rpartition("/")[2].removesuffix(".pem") if found else ""


def target(location: Directive) -> str:
    """The name by which a location asks for another host."""
    found = own(location, "proxy_ssl_name")
    return found[0].arguments[0] if found else ""


def identity_on_the_wrong_route(scene: Scene) -> Iterator[Change]:
    """A route attaches the identity of another route."""
    for location in scene.trees.get("routes.conf", ()):
        if location.name == "location" and identity_in(location):
            yield from attaching(scene, location)


def shared_upstream(scene: Scene) -> Iterator[Change]:
    """Two routes to one host share connections and sessions, though each calls as somebody else."""
    locations = [one for one in scene.trees.get("routes.conf", ()) if one.name == "location" and target(one)]
    groups = {group(one): one for one in locations}
    for lent in groups.values():

        def is_other(one: Directive, around: Around, lent: Directive = lent) -> bool:
            return (
                one.name == "proxy_pass" and calls_out(around) and target(around[-1]) == target(lent)
                and identity_in(around[-1]) != identity_in(lent)
            )  # fmt: skip

        def share(one: Directive, lent: Directive = lent) -> tuple[Directive, ...]:
            return (with_arguments(one, f"https://{group(lent)}"),)

        for change in each(scene, is_other, share):
            yield dataclasses.replace(change, where=f"{change.where} with {group(lent)}")


def group(location: Directive) -> str:
    """The upstream of a location."""
    return own(location, "proxy_pass")[0].arguments[0].removeprefix("https://")


def identity_for_every_route(scene: Scene) -> Iterator[Change]:
    """An identity is attached by the whole gateway, so that routes without one call as somebody, too."""
    locations = [one for one in scene.trees.get("routes.conf", ()) if one.name == "location" and target(one)]
    if all(identity_in(one) for one in locations):
        return
    for name in dict.fromkeys(identity_in(one) for one in locations if identity_in(one)):
        folder = "/etc/nginx/certificates/identities"
        pair = [simple(IDENTITY[0], f"{folder}/{name}.pem"), simple(IDENTITY[1], f"{folder}/{name}.key")]

        def lend(http: Directive, pair: list[Directive] = pair) -> tuple[Directive, ...]:
            return (with_children(http, [*pair, *(http.children or ())]),)

        for change in each(scene, named("http"), lend):
            yield dataclasses.replace(change, where=f"as {name}")


def remote_host_misnamed(scene: Scene) -> Iterator[Change]:
    """A gateway passes the name on by which it was called itself."""
    return each(scene, in_egress("proxy_set_header", "Host"), lambda one: (with_arguments(one, "Host", "$host"),))
