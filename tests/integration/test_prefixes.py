"""Any application behind a prefix: what it says of its addresses, as the caller gets to see it.

The tables stand here by hand: what an application answers, and what has to arrive.
"""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.integration.conftest import ask, connected, opened
from topology.pytest_plugin import TestedLab

pytestmark = pytest.mark.integration

STRIPPED = ["/near", "/far", "/all/app"]
"""Prefixes behind which an application sees paths without them: one gateway, two, two with a route's path between."""

KEPT = {"/near-kept": "/near-kept", "/far-kept": "/kept", "/all/kept": "/kept"}
"""What the caller sees -> what an application that is built for its prefix sees."""

MEBIBYTE = 1024 * 1024


def told(status: int = 200, *headers: tuple[str, str], size: int = 0) -> dict[str, str]:
    """The header that tells the mirror what to answer."""
    return {"X-Answer": json.dumps({"status": status, "headers": headers, "size": size})}


def redirected(tested: TestedLab, path: str, location: str) -> str:
    """What arrives where an application redirects; @OUTER@ and @INNER@ stand for the gateways' own addresses."""
    answer = ask(tested, "client", path, headers=told(302, ("Location", in_place(tested, location))))
    assert answer.status_code == 302
    return str(answer.headers["Location"])


def in_place(tested: TestedLab, text: str) -> str:
    outer = f"outer.lab.test:{tested.running.endpoints['client'].https}"
    return text.replace("@OUTER@", outer).replace("@INNER@", "inner.lab.test")


def seen(tested: TestedLab, path: str, **options: Any) -> dict[str, Any]:
    """What the mirror saw of a request."""
    answer = ask(tested, "client", path, **options)
    assert answer.status_code == 200
    found: dict[str, Any] = json.loads(answer.headers["X-Seen"])
    return found


# Redirects


@pytest.mark.parametrize("prefix", STRIPPED)
@pytest.mark.parametrize(
    ("said", "arrives"),
    [
        ("/welcome", "PREFIX/welcome"),
        ("/welcome?next=/a&b=%2F#there", "PREFIX/welcome?next=/a&b=%2F#there"),
        ("/", "PREFIX/"),
        ("/w%C3%A4re/a%20b", "PREFIX/w%C3%A4re/a%20b"),
        ("/a|b", "PREFIX/a|b"),
        ("https://@OUTER@/welcome", "PREFIX/welcome"),
        ("http://@OUTER@/welcome", "PREFIX/welcome"),
        ("https://@OUTER@", "PREFIX/"),
        ("//@OUTER@/welcome", "PREFIX/welcome"),
    ],
)
def test_a_redirect_within_an_application_stays_below_its_prefix(
    mirrored: TestedLab, prefix: str, said: str, arrives: str
) -> None:
    """An application that believes to stand at the root, with or without its caller's address before the path."""
    assert redirected(mirrored, f"{prefix}/login", said) == arrives.replace("PREFIX", prefix)


@pytest.mark.parametrize("prefix", ["/far", "/all/app"])
@pytest.mark.parametrize("said", ["https://@INNER@/welcome?x=1", "http://@INNER@/welcome?x=1", "//@INNER@/welcome?x=1"])
def test_the_internal_name_does_not_reach_the_caller(mirrored: TestedLab, prefix: str, said: str) -> None:
    """The second gateway is asked by its own name: an application that heeds Host alone redirects there."""
    assert redirected(mirrored, f"{prefix}/login", said) == f"{prefix}/welcome?x=1"


@pytest.mark.parametrize("prefix", STRIPPED)
@pytest.mark.parametrize(
    "said", ["/welcome?x=1", "", "?x=1", "/"], ids=["a page", "the prefix itself", "a query", "the start"]
)
def test_a_redirect_that_names_the_prefix_is_left_as_it_is(mirrored: TestedLab, prefix: str, said: str) -> None:
    """An application that heeds X-Forwarded-Prefix."""
    assert redirected(mirrored, f"{prefix}/login", prefix + said) == prefix + said


@pytest.mark.parametrize("prefix", STRIPPED)
def test_a_path_that_only_begins_like_the_prefix_is_another_one(mirrored: TestedLab, prefix: str) -> None:
    assert redirected(mirrored, f"{prefix}/login", f"{prefix}lane/x") == f"{prefix}{prefix}lane/x"


@pytest.mark.parametrize("prefix", [*STRIPPED, *KEPT])
@pytest.mark.parametrize(
    "said",
    [
        "welcome",
        "../welcome",
        "?page=2",
        "https://elsewhere.test/welcome",
        "http://elsewhere.test:8080/",
        "//elsewhere.test/welcome",
        "https://@OUTER@.evil.test/welcome",
        "https://@INNER@.evil.test/welcome",
        "https://@INNER@@evil.test/welcome",
        "mailto:somebody@lab.test",
    ],
)
def test_relative_redirects_and_those_to_others_are_untouched(mirrored: TestedLab, prefix: str, said: str) -> None:
    assert redirected(mirrored, f"{prefix}/login", said) == in_place(mirrored, said)


@pytest.mark.parametrize("prefix", KEPT)
@pytest.mark.parametrize("said", ["OWN/welcome?x=1", "OWN", "OWN/", "https://@OUTER@OWN/welcome"])
def test_an_application_that_is_built_for_its_prefix_names_it_itself(
    mirrored: TestedLab, prefix: str, said: str
) -> None:
    """Through two gateways, its own prefix and the caller's differ."""
    arrives = said.replace("https://@OUTER@", "").replace("OWN", prefix)

    assert redirected(mirrored, f"{prefix}/login", said.replace("OWN", KEPT[prefix])) == arrives


@pytest.mark.parametrize(
    ("prefix", "arrives"),
    [("/near-kept", "/other/start"), ("/far-kept", "/other/start"), ("/all/kept", "/all/other/start")],
)
def test_what_is_not_below_its_own_prefix_is_left_to_such_an_application(
    mirrored: TestedLab, prefix: str, arrives: str
) -> None:
    """It knows of other applications beside it; where the whole host lies behind a route, these do, too."""
    assert redirected(mirrored, f"{prefix}/login", "/other/start") == arrives


@pytest.mark.parametrize("prefix", STRIPPED)
def test_a_refresh_header_is_a_redirect_too(mirrored: TestedLab, prefix: str) -> None:
    answer = ask(mirrored, "client", f"{prefix}/", headers=told(200, ("Refresh", "5; url=/welcome")))

    assert answer.headers["Refresh"] == f"5; url={prefix}/welcome"


@pytest.mark.parametrize("prefix", ["/near", "/far", "/near-kept", "/far-kept", "/all"])
def test_a_prefix_without_its_slash_leads_to_it(mirrored: TestedLab, prefix: str) -> None:
    """The query comes along."""
    answer = ask(mirrored, "client", f"{prefix}?x=1")

    assert (answer.status_code, answer.headers["Location"]) == (301, f"{prefix}/?x=1")


def test_the_second_gateway_s_own_redirect_stays_below_the_first_one_s_prefix(mirrored: TestedLab) -> None:
    answer = ask(mirrored, "client", "/all/app")

    assert (answer.status_code, answer.headers["Location"]) == (301, "/all/app/")


# Cookies


def cookies(tested: TestedLab, path: str, *said: str) -> list[str]:
    with opened(tested, "client", path, headers=told(200, *(("Set-Cookie", one) for one in said))) as answer:
        return answer.headers.get_all("Set-Cookie") or []


@pytest.mark.parametrize("prefix", STRIPPED)
@pytest.mark.parametrize(
    ("said", "arrives"),
    [
        ("a=1; Path=/", "a=1; Path=PREFIX/"),
        ("a=1; Path=/deep; HttpOnly; Secure; SameSite=Lax", "a=1; Path=PREFIX/deep; HttpOnly; Secure; SameSite=Lax"),
        ("a=1; HttpOnly; path=/", "a=1; HttpOnly; path=PREFIX/"),
        ("a=1; Path=PREFIX", "a=1; Path=PREFIX"),
        ("a=1; Path=PREFIX/deep", "a=1; Path=PREFIX/deep"),
        ("a=1", "a=1"),
        ("a=1; HttpOnly", "a=1; HttpOnly"),
        ("a=; Path=/; Max-Age=0", "a=; Path=PREFIX/; Max-Age=0"),
    ],
)
def test_a_cookie_s_path_lies_below_the_prefix(mirrored: TestedLab, prefix: str, said: str, arrives: str) -> None:
    """So applications of one host do not see each other's; without a path it is the request's, and right already."""
    assert cookies(mirrored, f"{prefix}/", said.replace("PREFIX", prefix)) == [arrives.replace("PREFIX", prefix)]


@pytest.mark.parametrize("prefix", KEPT)
@pytest.mark.parametrize(("said", "arrives"), [("OWN/", "PREFIX/"), ("OWN", "PREFIX"), ("/", "PREFIX/")])
def test_so_does_the_cookie_of_an_application_that_is_built_for_its_prefix(
    mirrored: TestedLab, prefix: str, said: str, arrives: str
) -> None:
    found = cookies(mirrored, f"{prefix}/", f"a=1; Path={said.replace('OWN', KEPT[prefix])}")

    assert found == [f"a=1; Path={arrives.replace('PREFIX', prefix)}"]


@pytest.mark.parametrize("prefix", STRIPPED)
def test_each_of_several_cookies_keeps_its_own_path(mirrored: TestedLab, prefix: str) -> None:
    found = cookies(mirrored, f"{prefix}/", "a=1; Path=/", "b=2; Path=/deep", "c=3", "d=4; Path=/")

    assert found == [f"a=1; Path={prefix}/", f"b=2; Path={prefix}/deep", "c=3", f"d=4; Path={prefix}/"]


@pytest.mark.parametrize("prefix", STRIPPED)
def test_cookies_and_a_redirect_in_one_answer(mirrored: TestedLab, prefix: str) -> None:
    """nginx computes some variables once for an answer: not these."""
    wanted = told(303, ("Set-Cookie", "a=1; Path=/x"), ("Location", "/welcome"), ("Set-Cookie", "b=1; Path=/y"))
    with opened(mirrored, "client", f"{prefix}/", headers=wanted) as answer:
        assert answer.headers["Location"] == f"{prefix}/welcome"
        assert answer.headers.get_all("Set-Cookie") == [f"a=1; Path={prefix}/x", f"b=1; Path={prefix}/y"]


def test_a_cookie_for_the_second_host_s_name_is_for_the_first_one_s(mirrored: TestedLab) -> None:
    """A browser would throw away what another host says of itself; what is said of others stays as it is."""
    assert cookies(mirrored, "/far/", "a=1; Domain=inner.lab.test; Path=/") == [
        "a=1; Domain=outer.lab.test; Path=/far/"
    ]
    assert cookies(mirrored, "/far/", "a=1; Domain=other.test") == ["a=1; Domain=other.test"]


# Requests


@pytest.mark.parametrize("prefix", [*STRIPPED, *KEPT])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE"])
def test_every_method_arrives(mirrored: TestedLab, prefix: str, method: str) -> None:
    """HEAD as HEAD, and its answer without a body, however long that would be."""
    answer = ask(mirrored, "client", f"{prefix}/page", method=method, headers=told(200, size=1000))

    assert json.loads(answer.headers["X-Seen"])["method"] == method
    assert answer.headers["Content-Length"] == "1000"
    assert len(answer.content) == (0 if method == "HEAD" else 1000)


@pytest.mark.parametrize("prefix", [*STRIPPED, *KEPT])
@pytest.mark.parametrize(
    "rest",
    [
        "/a/b?x=1&x=2&y=%26&z=a+b%20c",
        "/w%C3%A4re%20es",
        "/100%25",
        "/what%3Fso",
        "/a%23b",
        "/a;b=1",
        "/a:b@c,d",
        "/x?path=/near/%2e%2e/far",
    ],
)
def test_paths_and_queries_arrive_as_they_were_sent(mirrored: TestedLab, prefix: str, rest: str) -> None:
    with opened(mirrored, "client", prefix + rest) as answer:
        assert json.loads(answer.headers["X-Seen"])["target"] == KEPT.get(prefix, "") + rest


@pytest.mark.parametrize("prefix", STRIPPED)
def test_a_slash_in_disguise_is_a_slash_behind_a_gateway(mirrored: TestedLab, prefix: str) -> None:
    """The path by which nginx has chosen the route is the one that it passes on: no other can be smuggled in."""
    for sent, arrives in (("/a%2Fb", "/a/b"), ("/a//b", "/a/b"), ("/a/./b", "/a/b"), ("/a/x/%2e%2e/b", "/a/b")):
        with opened(mirrored, "client", prefix + sent) as answer:
            assert json.loads(answer.headers["X-Seen"])["target"] == arrives


@pytest.mark.parametrize(
    ("prefix", "told_prefix"),
    [
        ("/near", "/near"),
        ("/near-kept", "/near-kept"),
        ("/far", "/far"),
        ("/far-kept", "/far-kept"),
        ("/all/app", "/all/app"),
    ],
)
def test_an_application_learns_the_prefix_that_its_caller_sees(
    mirrored: TestedLab, prefix: str, told_prefix: str
) -> None:
    assert seen(mirrored, f"{prefix}/x/y")["prefix"] == told_prefix


@pytest.mark.parametrize("prefix", STRIPPED)
def test_a_large_body_arrives_whole(mirrored: TestedLab, prefix: str) -> None:
    """Just below client_max_body_size: 10 MiB."""
    assert seen(mirrored, f"{prefix}/upload", method="POST", data=bytes(10 * MEBIBYTE))["received"] == 10 * MEBIBYTE


@pytest.mark.parametrize("prefix", STRIPPED)
def test_a_body_that_is_too_large_is_refused_by_the_first_gateway(mirrored: TestedLab, prefix: str) -> None:
    answer = ask(mirrored, "client", f"{prefix}/upload", method="POST", data=bytes(10 * MEBIBYTE + 1))

    assert answer.status_code == 413
    assert "X-Seen" not in answer.headers


@pytest.mark.parametrize("prefix", STRIPPED)
def test_so_is_one_that_does_not_say_how_large_it_is(mirrored: TestedLab, prefix: str) -> None:
    """Chunked: counted as it comes."""
    pieces = (bytes(MEBIBYTE) for _ in range(11))

    assert ask(mirrored, "client", f"{prefix}/upload", method="POST", data=pieces).status_code == 413


# Answers


@pytest.mark.parametrize("prefix", ["/near", "/far"])
def test_a_large_answer_waits_for_a_slow_caller(mirrored: TestedLab, prefix: str) -> None:
    """Gateways have no disk but memory: what the caller does not take yet stays with the application."""
    size = 300 * MEBIBYTE
    with opened(mirrored, "client", f"{prefix}/", headers=told(200, size=size)) as answer:
        assert answer.status == 200
        assert standstill(mirrored, prefix) < size / 4
        received = sum(len(piece) for piece in iter(lambda: answer.read(MEBIBYTE), b""))

    assert received == size


def standstill(mirrored: TestedLab, prefix: str) -> int:
    """How many bytes have left the mirror, once these no longer become more."""
    deadline = time.monotonic() + 30
    sent, still = -1, 0
    while still < 5 and time.monotonic() < deadline:
        now = seen(mirrored, f"{prefix}/sent")["sent"]
        still, sent = (still + 1 if now == sent else 0), now
        time.sleep(0.1)
    return sent


def test_an_answer_does_not_choose_another_route(mirrored: TestedLab) -> None:
    """nginx would follow X-Accel-Redirect, and the caller would not notice who answers."""
    answer = ask(mirrored, "client", "/near/", headers=told(200, ("X-Accel-Redirect", "/far/")))

    assert json.loads(answer.headers["X-Seen"])["prefix"] == "/near"


def test_the_way_to_the_second_gateway_needs_the_certificate(mirrored: TestedLab) -> None:
    """What all of these went through; the first gateway shows it."""
    for path in ("/app/", "/kept/"):
        assert ask(mirrored, "server", path).status_code == 403
        assert ask(mirrored, "server", path, "bro").status_code == 200
    with connected(mirrored, "server") as encrypted:
        assert encrypted.version() == "TLSv1.3"
