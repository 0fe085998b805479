"""Where a path leads: nginx's normalisation, and the answer of the route that it comes to, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topology.description import loading
from topology.proof import expectation
from topology.proof.expectation import Caller
from topology.proof.request_paths import LEFT, answer_at, normalised, resolved, route_at

LAB = Path(__file__).parent / "integration" / "every_mode.yaml"
TOPOLOGY = loading.load(LAB).topology
ALICE = Caller("alice", "alice", "", "partners")

TARGETS = {
    b"/known/health": "/known/health",
    b"//known///health": "/known/health",
    b"/./known/./health": "/known/health",
    b"/open/../known/health": "/known/health",
    b"/open/%2e%2E/known/health": "/known/health",
    b"/open/..%2fknown/health": "/known/health",
    b"/%6bnown%2Fhealth": "/known/health",
    b"/known/x/..": "/known/",
    b"/known/.": "/known/",
    b"/known": "/known",
    b"/": "/",
    b"//": "/",
    b"/open/..%252fknown/": "/open/..%2fknown/",
    b"/open/..;/known/": "/open/..;/known/",
    b"/open/..%5cknown/": "/open/..\\known/",
    b"/open/.../known/": "/open/.../known/",
    b"/open/%c0%ae%c0%ae/known/": "/open/\xc0\xae\xc0\xae/known/",
    b"/KNOWN/": "/KNOWN/",
    b"/known/?/../open/": "/known/",
    b"/known/#/../../open/": "/known/",
    b"https://vault.modes.test/known/": "/known/",
    b"https://vault.modes.test:443/open/../known/": "/known/",
    b"gopher://vault.modes.test": "/",
    b"/..": None,
    b"/../known/": None,
    b"/%2e%2e/known/": None,
    b"/open/../../known/": None,
    b"/known/%00": None,
    b"/known/%zz": None,
    b"/known/%": None,
    b"/known/%2": None,
    b"/kno wn/": None,
    b"/known/\x01": None,
    b"/known/\x7f": None,
    b"known/": None,
    b"*": None,
    b"vault.modes.test:443": None,
}


@pytest.mark.parametrize(("target", "path"), TARGETS.items(), ids=repr)
def test_a_target_is_normalised_as_nginx_does(target: bytes, path: str | None) -> None:
    """None stands for what nginx answers 400 to; each of these was seen on nginx 1.26.3."""
    assert normalised(target) == path


@given(st.lists(st.sampled_from(["a", "b", "..", ".", "", "a.b", "..."]), min_size=1, max_size=8))
def test_a_resolved_path_has_nothing_left_to_resolve(parts: list[str]) -> None:
    path = resolved("/" + "/".join(parts))

    if path is not None:
        assert not {"", ".", ".."} & set(path.split("/")[1:-1])
        assert resolved(path) == path


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/known/health", "/known/"), ("/known/alice/health", "/known/alice/"), ("/known", None), ("/KNOWN/", None),
        ("/known/Alice/", "/known/"), ("/", None),
    ],
)  # fmt: skip
def test_the_longest_prefix_answers_letter_for_letter(path: str, route: str | None) -> None:
    assert route_at(TOPOLOGY, "vault", path) == route


ANSWERS = [
    # host, path, then what nobody gets, and what alice gets
    ("vault", "/open/health", 200, 200),
    ("vault", "/open/anything", LEFT, LEFT),
    ("vault", "/known/health", 403, 200),
    ("vault", "/known/anything", 403, LEFT),
    ("vault", "/known/alice/health", 403, 200),
    ("vault", "/known", 301, 301),
    ("vault", "/known/alice", 301, 301),
    ("vault", "/inside/health", 403, 403),
    ("vault", "/files/", 200, 200),
    ("vault", "/files/other", 404, 404),
    ("vault", "/", 200, 200),
    ("vault", "/;x/known/", 404, 404),
    ("strict", "/health", 400, 200),
    ("strict", "/bob", 400, 301),
    ("strict", "/bob/health", 400, 200),
    ("strict", "/bob/alice/health", 400, 403),
    ("office", "/as-alice/health", 200, 200),
    ("office", "/as-bob/health", 403, 403),
    ("office", "/as-nobody/health", 403, 403),
    ("office", "/as-nobody/alice", 301, 301),
    ("office", "/all/open/health", 200, 200),
    ("office", "/all/known/health", 403, 403),
    ("office", "/all/nowhere", 404, 404),
    ("plain", "/alice/alice/health", 200, 200),
]


@pytest.mark.parametrize(("host", "path", "nobody", "alice"), ANSWERS, ids=lambda value: str(value))
def test_a_path_is_answered_by_the_route_it_leads_to(host: str, path: str, nobody: int | str, alice: int | str) -> None:
    """Through other hosts' gateways, too, as the identity that the route attaches."""
    assert answer_at(TOPOLOGY, host, path, Caller()) == nobody
    assert answer_at(TOPOLOGY, host, path, ALICE) == alice


def test_what_a_route_s_own_path_is_answered_is_what_the_basic_matrix_says() -> None:
    """Two readings of one topology, written apart."""
    for check in expectation.checks(TOPOLOGY):
        if check.port is None and not check.shown.flaw:
            found = answer_at(TOPOLOGY, check.host, check.path, check.shown)
            assert found == check.expected, check.id
