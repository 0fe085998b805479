"""All rules, in the order of the page that describes them."""

from __future__ import annotations

from topology.linting.findings import Rule
from topology.linting.rules import egress, files, guards, headers, listeners, paths, trust

THEMES: tuple[tuple[str, tuple[Rule, ...]], ...] = (
    (
        "Guards: who may go where",
        (
            guards.verification_without_guard,
            guards.missing_guard,
            guards.guard_not_inherited,
            guards.pattern_before_guard,
            guards.open_way_to_guarded,
            guards.guard_on_wrong_value,
            guards.guard_without_case,
            guards.guard_by_pattern,
            guards.guard_by_subject_alone,
            guards.refusal_answered,
            guards.preflight_refused,
        ),
    ),
    (
        "Trust: whose certificates are accepted",
        (
            trust.no_crl,
            trust.crl_incomplete,
            trust.crl_out_of_date,
            trust.verification_without_authority,
            trust.verification_depth,
            trust.trust_widened,
            trust.trust_in_the_public,
            trust.trust_without_root,
            trust.weak_authority,
            trust.resumption_beside_crl,
        ),
    ),
    (
        "Listeners: where, and how",
        (
            listeners.no_default_server,
            listeners.plain_listener,
            listeners.old_protocols,
            listeners.shared_certificate,
            listeners.hsts_in_a_lab,
            listeners.absolute_redirect,
            listeners.body_before_guard,
            listeners.body_limit_on_the_way,
        ),
    ),
    (
        "Egress: whom the gateway calls, and as whom",
        (
            egress.egress_unverified,
            egress.egress_without_sni,
            egress.egress_name,
            egress.host_of_upstream,
            egress.shared_upstream,
            egress.identity_lent,
            egress.identity_spread,
            egress.identity_missing,
            egress.plain_to_tls,
            egress.name_looked_up_once,
        ),
    ),
    (
        "Headers: what services are told",
        (
            headers.header_not_overwritten,
            headers.headers_cancelled,
            headers.underscores_in_headers,
            headers.whole_certificate_passed_on,
        ),
    ),
    (
        "Paths: how they are read",
        (
            paths.slashes_not_merged,
            paths.alias_without_slash,
            paths.target_of_the_caller,
        ),
    ),
    (
        "Files: certificates and keys, where they are at hand",
        (
            files.key_readable,
            files.key_out_of_reach,
            files.key_of_another,
            files.no_certificate_in_file,
            files.certificate_out_of_date,
            files.certificate_without_name,
            files.certificate_for_another_purpose,
            files.certificate_not_strict,
            files.file_mounted_alone,
        ),
    ),
)
"""(what it is about, the rules)."""

RULES: tuple[Rule, ...] = tuple(rule for _, rules in THEMES for rule in rules)
