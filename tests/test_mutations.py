"""Mutations: each changes what it says and nothing else, and is something that nginx could read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from ruamel.yaml import YAML

from tests.mutating import changes, lines, made, scenes
from topology.mutation import standing_in
from topology.mutation.catalogue import MUTATIONS
from topology.mutation.change import Change
from topology.nginx.building import build
from topology.nginx.reading import parse

pytestmark = pytest.mark.usefixtures("quick_bundles")

OFFICE, VAULT = "guarded office", "guarded vault"

ROUTE, ALICE = "location /known/", "location /alice/"
AS_BOB = "location /as-bob/"
IDENTITY = "CN=partners intermediate,O=guarded|CN=alice"
UPSTREAM = "/etc/nginx/certificates/identities"

EDITS: dict[str, tuple[list[str], list[str]]] = {
    f"verification-off {VAULT} nginx.conf": (["ssl_verify_client optional"], ["ssl_verify_client off"]),
    f"revocation-list-not-read {VAULT} nginx.conf": (
        ["ssl_crl /etc/nginx/certificates/client-authorities.crl.pem"], [],
    ),
    f"chain-depth-raised {VAULT} nginx.conf": (["ssl_verify_depth 1"], ["ssl_verify_depth 9"]),
    f"session-tickets {VAULT} nginx.conf": (["ssl_session_tickets off"], ["ssl_session_tickets on"]),
    f"redirect-gone {VAULT} nginx.conf": (
        ["return 301 https://$host$https_port$request_uri"], ["include lab/routes.conf"],
    ),
    f"inside-listener-everywhere {VAULT} nginx.conf": ([], ["listen 0.0.0.0:8082"]),
    f"guard-gone {VAULT} /known/": (
        [f"{ROUTE} > if $ssl_client_verify != SUCCESS", f"{ROUTE} > if $ssl_client_verify != SUCCESS > return 403"], [],
    ),
    f"issuer-dropped {VAULT} /alice/": (
        ["set $caller $ssl_client_i_dn|$ssl_client_s_dn", f"if $caller = {IDENTITY}", "set $allowed_3 1"],
        ["set $caller $ssl_client_s_dn", "if $caller = CN=alice", "set $allowed_3 1"],
    ),
    f"list-widened {VAULT} /alice/ bob": (
        [],
        [f"if $caller = {IDENTITY.replace('alice', 'bob')}", "set $allowed_3 1"],
    ),
    f"list-without-effect {VAULT} /alice/": (
        [f"{ALICE} > if $allowed_3 = 0", f"{ALICE} > if $allowed_3 = 0 > return 403"], [],
    ),
    f"internal-guard-gone {VAULT} /inside/": (
        ["location /inside/ > if $listener != inside", "location /inside/ > if $listener != inside > return 403"], [],
    ),
    f"header-not-overwritten {VAULT} X-SSL-Client-Verify": (
        ["proxy_set_header X-SSL-Client-Verify $client_verify"], [],
    ),
    f"header-from-the-caller {VAULT} X-SSL-Client-S-DN": (
        ["proxy_set_header X-SSL-Client-S-DN $client_subject"],
        ["proxy_set_header X-SSL-Client-S-DN $http_x_ssl_client_s_dn"],
    ),
    f"inheritance-cancelled {VAULT} /known/": (
        [f"{ROUTE} > include lab/service-headers.conf"], [f"{ROUTE} > proxy_set_header X-Route $prefix"],
    ),
    f"egress-verification-off {OFFICE} /as-bob/": (
        [f"{AS_BOB} > proxy_ssl_verify on"], [f"{AS_BOB} > proxy_ssl_verify off"],
    ),
    f"egress-names-nobody {OFFICE} /as-bob/": (
        [f"{AS_BOB} > proxy_ssl_server_name on"], [f"{AS_BOB} > proxy_ssl_server_name off"],
    ),
    f"identity-gone {OFFICE} /as-bob/": (
        [f"{AS_BOB} > proxy_ssl_certificate {UPSTREAM}/bob.pem",
         f"{AS_BOB} > proxy_ssl_certificate_key {UPSTREAM}/bob.key"],
        [],
    ),
    f"identity-on-the-wrong-route {OFFICE} /as-bob/ as alice": (
        [f"{AS_BOB} > proxy_ssl_certificate {UPSTREAM}/bob.pem",
         f"{AS_BOB} > proxy_ssl_certificate_key {UPSTREAM}/bob.key"],
        [f"{AS_BOB} > proxy_ssl_certificate {UPSTREAM}/alice.pem",
         f"{AS_BOB} > proxy_ssl_certificate_key {UPSTREAM}/alice.key"],
    ),
    f"shared-upstream {OFFICE} /as-bob/ with vault.as.alice": (
        [f"{AS_BOB} > proxy_pass https://vault.as.bob"], [f"{AS_BOB} > proxy_pass https://vault.as.alice"],
    ),
}  # fmt: skip
"""Mutation, lab, host and place -> the directives that go and those that come, by hand."""


def edits(lab: str, host: str, nginx: dict[str, str]) -> tuple[Counter[str], Counter[str]]:
    """What goes and what comes, with the blocks around it."""
    before, after = Counter[str](), Counter[str]()
    for file, text in nginx.items():
        before.update(lines(scenes(lab)[host].nginx[file]))
        after.update(lines(text))
    return before - after, after - before


@pytest.mark.parametrize("name", EDITS)
def test_a_mutation_changes_what_it_says(name: str) -> None:
    """And nothing else."""
    found = {f"{one} guarded {host} {change.where}": (host, change) for one, host, change in made("guarded")}
    host, change = found[name]

    gone, come = edits("guarded", host, dict(change.nginx))

    wanted_gone, wanted_come = EDITS[name]
    assert sorted(within(name, gone)) == sorted(wanted_gone)
    assert sorted(within(name, come)) == sorted(wanted_come)
    assert not change.certificates
    assert not change.service


def within(name: str, found: Counter[str]) -> list[str]:
    """Directives with the location around them; what stands in a server is told by itself."""
    return [one if one.startswith("location") else one.rpartition(" > ")[2] for one in found.elements()]


def test_every_change_differs() -> None:
    """No two are the same, and each differs from what was generated: in what a gateway reads, or in a container."""
    seen = set()
    for mutation, host, change in made("guarded"):
        what = (
            host, *sorted(change.nginx.items()), *sorted(change.certificates.items()),
            change.service, change.override, change.networks,
        )  # fmt: skip
        assert what not in seen, (mutation, host, change.where)
        seen.add(what)
        assert bool(change.nginx) + bool(change.certificates) + bool(change.service) == 1
        for file, text in change.nginx.items():
            assert text != build(scenes("guarded")[host].trees[file]), (mutation, change.where)


def test_every_kind_of_change_can_be_read() -> None:
    for mutation, _, change in {mutation: one for one in made("guarded") for mutation in one[:1]}.values():
        for text in change.nginx.values():
            assert lines(text), mutation


def test_a_change_to_certificates_is_one_to_files_that_are_there() -> None:
    """So nothing is left behind, and the next `up` makes them anew; what is new of them can be read."""
    for mutation, host, change in made("guarded"):
        for path, (content, mode) in change.certificates.items():
            known = scenes("guarded")[host].certificates[path]
            assert content != known or mode != 0o600, (mutation, path)
            if path.endswith(".pem") and "crl" not in path:
                assert x509.load_pem_x509_certificates(content)


def test_settings_of_containers_are_yaml() -> None:
    for mutation, _, change in made("guarded"):
        if change.service:
            read = YAML().load(f"{{{change.override}}}")
            assert list(read), mutation


def test_more_than_sixty_kinds_have_a_place_in_one_lab() -> None:
    assert len({mutation for mutation, _, _ in made("guarded")}) >= 100


def test_a_name_is_told_once_and_its_sentence_says_what_is_wrong_then() -> None:
    assert len({one.name for one in MUTATIONS}) == len(MUTATIONS)
    assert all(one.sentence.endswith(".") and "\n" not in one.sentence for one in MUTATIONS)


def test_what_has_no_place_in_one_lab_has_one_in_another() -> None:
    """Nothing in the list is dead."""
    labs = ("node-tls", "pro-dev", "two-companies", "two-host")
    elsewhere = {mutation for lab in labs for mutation, _, _ in some(lab)}

    assert {one.name for one in MUTATIONS} - {mutation for mutation, _, _ in made("guarded")} <= elsewhere


def some(lab: str) -> Iterator[tuple[str, str, Change]]:
    """The changes of a lab that have no place in `guarded`."""
    usual = {mutation for mutation, _, _ in made("guarded")}
    return changes(lab, [one for one in MUTATIONS if one.name not in usual])


@pytest.mark.parametrize("file", ["nginx.conf", "routes.conf", "service-headers.conf", "egress-headers.conf"])
def test_what_is_built_is_what_was_read(file: str) -> None:
    """So a mutation changes nothing by being written."""
    for scene in scenes("guarded").values():
        assert lines(build(parse(scene.nginx[file], Path(file)))) == lines(scene.nginx[file])


@pytest.mark.parametrize("kind", [*standing_in.KINDS, "of-partners", "of-staff"])
def test_a_stand_in_shows_its_certificate_from_its_configuration(kind: str) -> None:
    """No file is made for it."""
    scene = scenes("guarded")["vault"]
    credential = standing_in.kinds(scene)[kind](scene)

    disguised = standing_in.disguised(scene, credential)["nginx.conf"]

    gone, come = edits("guarded", "vault", {"nginx.conf": disguised})
    assert [one.rpartition(" > ")[2].split()[0] for one in gone] == ["ssl_certificate", "ssl_certificate_key"]
    written = credential.certificate_pem().decode().replace("\n", "\\n")  # which nginx reads as a line's end
    assert f"http > map  $shown > default {written}" in come
