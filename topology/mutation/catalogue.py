"""Every mutation, and which cells are likely to see it first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from topology.mutation import containers, egress, files, gateways, guards, headers
from topology.mutation.change import Change, Scene

Make = Callable[[Scene], Iterator[Change]]


@dataclass(frozen=True)
class Mutation:
    """make: a scene -> every change of this kind there, none where there is nothing to change.

    seen_by: patterns of `FAMILY: ID` of cells, those first that are likely to turn red; all others follow, so that a
    wrong guess costs time and hides nothing.  stand_in: whether it takes a remote host that is not what it should be.
    """

    make: Make
    seen_by: tuple[str, ...] = ()
    stand_in: bool = False

    @property
    def name(self) -> str:
        return self.make.__name__.replace("_", "-")

    @property
    def sentence(self) -> str:
        return (self.make.__doc__ or "").partition("\n\n")[0].strip()


def seen_by(*patterns: str, makes: tuple[Make, ...], stand_in: bool = False) -> tuple[Mutation, ...]:
    return tuple(Mutation(make, patterns, stand_in) for make in makes)


MUTATIONS: tuple[Mutation, ...] = (
    *seen_by("route: *", makes=(
        gateways.verification_off, gateways.verification_without_authority, gateways.certificate_insisted_on,
        gateways.certificate_left_to_choice, gateways.wrong_client_authority, gateways.refused_certificates_let_in,
        gateways.refusals_hidden,
    )),
    *seen_by("route: *revoked *", makes=(gateways.revocation_list_not_read,)),
    *seen_by("caller: *chain-too-long *", makes=(gateways.chain_depth_raised,)),
    *seen_by("route: *", "caller: *-intermediate *", makes=(gateways.chain_depth_lowered,)),
    *seen_by("request: *resumed session*", makes=(gateways.session_cache, gateways.session_tickets)),
    *seen_by("request: *TLS 1.0*", "request: *TLS 1.1*", makes=(gateways.old_protocols,)),
    *seen_by("request: *old ciphers*", makes=(gateways.weak_ciphers,)),
    *seen_by("request: *SNI*", "request: *unknown Host*", makes=(
        gateways.default_tls_server_gone, gateways.default_plain_server_gone, gateways.unknown_names_not_rejected,
        gateways.every_name_answered,
    )),
    *seen_by("request: *alias*", makes=(gateways.second_server_without_verification,)),
    *seen_by("request: *plain port*", makes=(gateways.redirect_gone,)),
    *seen_by("wall: *listeners*", makes=(gateways.inside_listener_everywhere,)),
    *seen_by("request: *_SSL_*", "request: *forged*", "inside: *forged*", makes=(
        gateways.underscores_let_through, gateways.odd_headers_let_through, gateways.identity_of_everybody,
        headers.header_not_overwritten, headers.header_from_the_caller, headers.header_says_success,
        headers.subject_and_issuer_swapped, headers.identity_left_out, headers.inheritance_cancelled,
        headers.identities_map_believes_callers,
    )),
    *seen_by("request: *forged X-Forwarded-**", "request: *forged*", makes=(gateways.callers_believed,)),
    *seen_by("request: *upgrade*", makes=(headers.any_upgrade,)),
    *seen_by("request: *slash*", makes=(gateways.slashes_not_merged,)),
    *seen_by("request: *body beyond*", makes=(gateways.bodies_of_any_size,)),
    *seen_by("request: * KB*", makes=(gateways.headers_of_any_size,)),
    *seen_by("route: *", "request: *method*", "request: *forged*", "inside: *", makes=(
        guards.guard_gone, guards.guard_on_a_wrong_value, guards.guard_turned_round,
    )),
    *seen_by("inside: *", makes=(guards.guard_against_none_alone, guards.guard_without_tls_forgotten)),
    *seen_by("request: *method*", makes=(guards.guard_for_one_method,)),
    *seen_by("request: *forged*", makes=(guards.guard_believes_a_header,)),
    *seen_by("route: *", makes=(
        guards.issuer_dropped, guards.subject_dropped, guards.list_emptied, guards.list_without_effect,
        guards.list_allows_from_the_start, guards.list_widened, guards.list_of_somebody_else,
        guards.list_by_an_open_pattern, guards.internal_guard_gone, guards.internal_guard_turned_round,
        guards.internal_route_by_certificate,
    )),
    *seen_by("caller: *subject-*", makes=(
        guards.list_by_a_pattern_without_an_end, guards.list_by_a_pattern_without_a_beginning,
        guards.list_without_case, guards.list_by_map,
    )),
    *seen_by("request: *slash*", "request: *dots*", makes=(guards.route_without_its_slash,)),
    *seen_by("route: * via *", makes=(
        egress.egress_believes_itself, egress.egress_expects_another_name, egress.egress_names_nobody,
        egress.egress_in_plain_text, egress.egress_depth_lowered, egress.identity_gone,
        egress.identity_on_the_wrong_route, egress.identity_for_every_route, egress.remote_host_misnamed,
    )),
    *seen_by("egress: *", makes=(egress.shared_upstream,)),
    *seen_by("route: * via *", makes=(egress.egress_verification_off,), stand_in=True),
    *seen_by(makes=(egress.egress_revocation_list_gone,), stand_in=True),
    *seen_by("route: *revoked*", makes=(files.revocation_list_emptied,)),
    *seen_by("route: *", makes=(
        files.revocation_list_expired, files.revocation_list_of_one_authority_gone, files.trust_narrowed,
        files.impostor_trusted, files.server_certificate_of_a_stranger, files.server_certificate_expired,
        files.server_certificate_for_another_name,
    )),
    *seen_by("caller: *servers-authority *", makes=(files.trust_widened,)),
    *seen_by("route: * via *", makes=(files.identity_expired, files.identity_revoked, files.identity_of_a_stranger)),
    *seen_by(makes=(files.egress_trust_widened, files.egress_revocation_list_emptied), stand_in=True),
    *seen_by("wall: *keys-for-everybody*", makes=(files.key_readable,)),
    *seen_by("wall: *rights*", makes=(
        containers.capability_back, containers.all_capabilities_back, containers.privileged, containers.root_user,
        containers.root_group, containers.writable_root, containers.new_privileges,
        containers.processes_of_the_machine, containers.device_of_the_machine,
    )),
    *seen_by("wall: *ports*", makes=(containers.service_published, containers.service_published_to_everybody)),
    *seen_by("wall: *networks*", "wall: *members*", makes=(
        containers.service_on_the_internet, containers.service_on_another_host, containers.gateway_on_another_host,
    )),
    *seen_by("wall: *keys*", makes=(containers.authorities_mounted, containers.authority_s_key_mounted)),
    *seen_by("wall: *judges*", makes=(containers.judges_afterwards,)),
    *seen_by("route: *", makes=(containers.service_asks_nobody,)),
    *seen_by("route: *revoked *", makes=(containers.service_reads_no_revocation_list,)),
)  # fmt: skip
"""In the order in which they are made."""
