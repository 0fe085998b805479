"""Changes to whom a gateway asks for certificates, whom it believes, and at which names and doors it answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from topology.mutation.change import (
    Around,
    Change,
    Scene,
    all_of,
    each,
    gone,
    has,
    named,
    own,
    with_arguments,
    with_children,
)
from topology.nginx.building import block, simple
from topology.nginx.tree import Directive

# Asking for certificates


def verify_client(scene: Scene, value: str) -> Iterator[Change]:
    return each(scene, named("ssl_verify_client"), lambda one: (with_arguments(one, value),))


def verification_off(scene: Scene) -> Iterator[Change]:
    """Nobody is asked for a certificate."""
    return verify_client(scene, "off")


def verification_without_authority(scene: Scene) -> Iterator[Change]:
    """Certificates are asked for, and taken whoever signed them (optional_no_ca)."""
    return verify_client(scene, "optional_no_ca")


def certificate_insisted_on(scene: Scene) -> Iterator[Change]:
    """Everybody has to show a certificate, although the topology leaves that to the routes."""
    if scene.host.client_certificates is not None and scene.host.client_certificates.verify == "per-route":
        yield from verify_client(scene, "on")


def certificate_left_to_choice(scene: Scene) -> Iterator[Change]:
    """Nobody has to show a certificate, although the topology says always."""
    if scene.host.client_certificates is not None and scene.host.client_certificates.verify == "always":
        yield from verify_client(scene, "optional")


def revocation_list_not_read(scene: Scene) -> Iterator[Change]:
    """The gateway reads no revocation list."""
    return each(scene, named("ssl_crl"), gone)


def chain_depth_raised(scene: Scene) -> Iterator[Change]:
    """Chains may be longer than the authorities of the lab make them."""
    return each(scene, named("ssl_verify_depth"), lambda one: (with_arguments(one, "9"),))


def chain_depth_lowered(scene: Scene) -> Iterator[Change]:
    """No intermediate is accepted."""
    return each(scene, named("ssl_verify_depth"), lambda one: (with_arguments(one, "0"),))


def wrong_client_authority(scene: Scene) -> Iterator[Change]:
    """The certificate that the gateway shows is what it trusts callers by, in the place of their authorities."""
    return each(
        scene, named("ssl_client_certificate"),
        lambda one: (with_arguments(one, "/etc/nginx/certificates/server.pem"),),
    )  # fmt: skip


def refused_certificates_let_in(scene: Scene) -> Iterator[Change]:
    """Whoever shows a bad certificate, or none where one is demanded, gets a page in the place of a refusal."""
    if scene.host.client_certificates is not None:
        page = simple("error_page", "495", "496", "=200", "/404.html")
        yield from each(scene, named("error_page"), lambda one: (one, page))


# Sessions and protocols


def in_http(scene: Scene, name: str, *arguments: str) -> Iterator[Change]:
    """A directive of the whole gateway with other arguments, put there where it is missing."""
    made = simple(name, *arguments)
    return each(
        scene, named("http"),
        lambda http: (with_children(http, [*(one for one in http.children or () if one.name != name), made]),),
    )  # fmt: skip


def session_cache(scene: Scene) -> Iterator[Change]:
    """Sessions are kept and taken up again, past the revocation list."""
    if speaks_tls(scene):
        yield from in_http(scene, "ssl_session_cache", "shared:sessions:1m")


def session_tickets(scene: Scene) -> Iterator[Change]:
    """Callers are given tickets for their sessions, and resume them past the revocation list."""
    if speaks_tls(scene):
        yield from in_http(scene, "ssl_session_tickets", "on")


def old_protocols(scene: Scene) -> Iterator[Change]:
    """TLS 1.0 and 1.1 are spoken, with the signatures that they need."""
    if speaks_tls(scene):
        for change in in_http(scene, "ssl_protocols", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"):
            changed = dataclasses.replace(scene, nginx={**scene.nginx, **change.nginx})
            yield from in_http(changed, "ssl_ciphers", "ALL:@SECLEVEL=0")


def weak_ciphers(scene: Scene) -> Iterator[Change]:
    """Every cipher goes, those without forward secrecy and without authentication of data among them."""
    if speaks_tls(scene):
        yield from in_http(scene, "ssl_ciphers", "ALL:COMPLEMENTOFALL:@SECLEVEL=0")


def speaks_tls(scene: Scene) -> bool:
    return scene.host.tls is not None


# Names


def is_tls(server: Directive) -> bool:
    return any("ssl" in listen.arguments for listen in own(server, "listen"))


def is_default(server: Directive) -> bool:
    return any("default_server" in listen.arguments for listen in own(server, "listen"))


def is_own(server: Directive) -> bool:
    """Whether it answers for the host's names to the world."""
    return any(one.arguments != ("_",) for one in own(server, "server_name"))


def default_tls_server_gone(scene: Scene) -> Iterator[Change]:
    """Whoever names no server, or an unknown one, in the handshake meets the host's own server."""
    return each(scene, lambda one, _: one.name == "server" and is_default(one) and is_tls(one), gone)


def default_plain_server_gone(scene: Scene) -> Iterator[Change]:
    """Whoever names an unknown server on the plain port meets the host's own."""
    return each(scene, lambda one, _: one.name == "server" and is_default(one) and not is_tls(one), gone)


def unknown_names_not_rejected(scene: Scene) -> Iterator[Change]:
    """The handshake for an unknown name is finished, with the host's certificate."""

    def finishing(server: Directive) -> tuple[Directive, ...]:
        kept = [one for one in server.children or () if one.name != "ssl_reject_handshake"]
        shown = [simple("ssl_certificate", "/etc/nginx/certificates/server.pem"),
                 simple("ssl_certificate_key", "/etc/nginx/certificates/server.key")]  # fmt: skip
        return (with_children(server, [*kept, *shown]),)

    return each(scene, lambda one, _: one.name == "server" and has(one, "ssl_reject_handshake"), finishing)


def every_name_answered(scene: Scene) -> Iterator[Change]:
    """The host's server answers for every name on the TLS port."""

    def is_meant(one: Directive, around: Around) -> bool:
        return one.name == "server_name" and bool(around) and is_tls(around[-1]) and is_own(around[-1])

    return each(scene, is_meant, lambda one: (with_arguments(one, *one.arguments, "~."),))


def redirect_gone(scene: Scene) -> Iterator[Change]:
    """The plain port serves the routes, in the place of leading to https."""

    def is_meant(one: Directive, around: Around) -> bool:
        return one.name == "return" and one.arguments[0] == "301" and bool(around) and around[-1].name == "server"

    return each(scene, is_meant, lambda _: (simple("include", "lab/routes.conf"),))


def inside_listener_everywhere(scene: Scene) -> Iterator[Change]:
    """The plain listener for the host's own services is bound to every network of the gateway.

    On another port: nginx does not bind to all addresses while it listens at one.
    """

    def is_meant(one: Directive, _: Around) -> bool:
        return one.name == "listen" and one.arguments[0].endswith(":8080")

    return each(scene, is_meant, lambda one: (one, simple("listen", "0.0.0.0:8082")))


# Requests


def underscores_let_through(scene: Scene) -> Iterator[Change]:
    """Header names with underscores pass, which services take for those with hyphens.

    Where no service stands behind a gateway, the next one drops them.
    """
    return in_http(scene, "underscores_in_headers", "on") if serves(scene) else iter(())


def odd_headers_let_through(scene: Scene) -> Iterator[Change]:
    """Headers whose names nginx calls invalid pass.

    Where no service stands behind a gateway, the next one drops them.
    """
    return in_http(scene, "ignore_invalid_headers", "off") if serves(scene) else iter(())


def slashes_not_merged(scene: Scene) -> Iterator[Change]:
    """Two slashes in a path are not taken for one, so that a guarded path has a second name."""
    return in_http(scene, "merge_slashes", "off")


def bodies_of_any_size(scene: Scene) -> Iterator[Change]:
    """A request's body may be as large as its sender likes."""
    return in_http(scene, "client_max_body_size", "0")


def headers_of_any_size(scene: Scene) -> Iterator[Change]:
    """A request's headers may be as large as 1 MiB.

    Where no service stands behind a gateway, the next one refuses them.
    """
    return in_http(scene, "large_client_header_buffers", "8", "128k") if serves(scene) else iter(())


def callers_believed(scene: Scene) -> Iterator[Change]:
    """Everybody is believed what only another gateway may say: who called it, and by which name."""
    if scene.host.routes:
        believed = simple("default", "1")
        yield from each(scene, named("geo", "$from_gateway"), lambda geo: (with_children(geo, [believed]),))


def identity_of_everybody(scene: Scene) -> Iterator[Change]:
    """Services are told SUCCESS of everybody, whatever came of the verification."""
    believed = simple("default", "SUCCESS")
    return each(scene, lambda one, _: one.name == "map" and one.arguments[-1] == "$client_verify" and serves(scene),
                lambda one: (with_children(one, [believed]),))  # fmt: skip


def serves(scene: Scene) -> bool:
    """Whether a service stands behind a gateway, which could be told something."""
    return any(route.service for route in scene.host.routes.values())


def refusals_hidden(scene: Scene) -> Iterator[Change]:
    """A refused caller gets a page with 200 in the place of 403."""
    page = simple("error_page", "403", "=200", "/404.html")
    return each(scene, lambda one, _: one.name == "error_page" and refuses(scene), lambda one: (one, page))


def refuses(scene: Scene) -> bool:
    routes = scene.host.routes.values()
    return any(route.internal or route.allow or route.client_certificate == "required" for route in routes)


def second_server_without_verification(scene: Scene) -> Iterator[Change]:
    """Another name of the host leads to a server that asks nobody for a certificate."""
    if scene.host.client_certificates is None or not scene.host.aliases:
        return

    def split(server: Directive) -> tuple[Directive, ...]:
        children = server.children or ()
        asking = [simple("server_name", scene.host.domain) if one.name == "server_name" else one for one in children]
        careless = [
            simple("server_name", *scene.host.aliases) if one.name == "server_name" else one
            for one in children
            if one.name not in ("ssl_verify_client", "ssl_verify_depth", "ssl_client_certificate", "ssl_crl")
        ]
        return (with_children(server, asking), block("server", (), careless))

    yield from all_of(
        scene, ", ".join(scene.host.aliases),
        lambda one, _: one.name == "server" and is_tls(one) and is_own(one), split,
    )  # fmt: skip
