"""What a host's pages say: of each route where it leads and who may enter, and links that lead somewhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from topology.description import loading
from topology.description.loading import Description
from topology.generation import pages, planning, rendering
from topology.generation.pages import Behind, Page
from topology.proof import expectation
from topology.proof.expectation import Check

LABS = Path(__file__).parents[1] / "fixtures" / "labs"
LAB_FILES = sorted(LABS.glob("*.yaml"))
EVERY_LAB = pytest.mark.parametrize("file", LAB_FILES, ids=[file.stem for file in LAB_FILES])

GUARDED = loading.load(LABS / "guarded.yaml")
TWO_HOST = loading.load(LABS / "two-host.yaml")


def rows(page: Page) -> dict[str, pages.Row]:
    return {row.prefix: row for row in page.rows}


def links(description: Description, host: str) -> dict[str, str]:
    return {row.prefix: row.link for row in pages.page(description, host).rows}


# Who may enter


def test_each_route_says_who_may_enter() -> None:
    found = {prefix: (row.entry, row.who) for prefix, row in rows(pages.page(GUARDED, "vault")).items()}

    assert found == {
        "/open/": ("everyone", ()),
        "/known/": ("holders", ("partners", "staff")),
        "/alice/": ("named", ("alice",)),
        "/inside/": ("inside", ()),
        "/fast/": ("everyone", ()),
    }


def test_a_gateway_that_always_asks_has_no_route_for_everyone() -> None:
    page = pages.page(loading.load(LABS / "pro-dev.yaml"), "pro")

    assert [(row.entry, row.who) for row in page.rows] == [("holders", ("server_ca",))]


@EVERY_LAB
def test_the_answers_on_the_page_are_those_that_are_expected(file: Path) -> None:
    """The page is written from the plan's side, the expectation is an independent reading of the same topology."""
    description = loading.load(file)
    compared = 0
    for check in expectation.checks(description.topology):
        page = pages.page(description, check.host)
        row = rows(page).get(check.route)
        if row is None or not page.answers or row.entry == pages.INSIDE or check.via != "direct":
            continue
        assert str(check.expected) in told(page, row.entry, check), check.id
        compared += 1
    asking = [h for h in description.topology.hosts.values() if h.client_certificates and h.routes]
    assert bool(compared) == bool(asking)


def told(page: Page, entry: str, check: Check) -> str:
    """What the page tells a caller of this kind; a good certificate of a name that is not allowed is valid, too."""
    bad = check.shown.flaw or check.shown.authority not in page.accepted
    shown = "nothing" if check.caller == "none" else "invalid" if bad else "valid"
    return dict(page.answers)[shown][page.sorts.index(entry)]


def test_the_page_says_who_issued_the_gateway_s_own_certificate() -> None:
    text = (
        "name: x\nauthorities: {ca: {}}\nhosts:\n"
        "  own: {domain: own.lab.test, tls: {authority: ca}}\n"
        "  issued: {domain: acme.lab.test, tls: {acme: true}}\n"
        "  public: {domain: a.example.org, tls: {acme: true, directory: https://acme.example.org/directory}}\n"
        "  plain: {domain: plain.lab.test, tls: false}\n"
    )
    description = loading.parse(text, LABS / "x.yaml", GUARDED.kinds)

    assert {name: pages.page(description, name).issuer for name in description.topology.hosts} == {
        "own": "ca",
        "issued": "the lab’s ACME server",
        "public": "a public authority",
        "plain": "",
    }


# Links


def test_links_lead_to_what_a_kind_shows_people_first() -> None:
    assert links(TWO_HOST, "client") == {
        "/fast/": "./fast/docs",
        "/next/": "./next/",
        "/node/": "./node/greet/you",
        "/mtls/": "./mtls/greet/you",
    }


def test_what_nobody_outside_may_call_is_not_linked() -> None:
    assert links(GUARDED, "vault")["/inside/"] == ""


def test_a_folder_without_an_index_is_not_linked() -> None:
    found = links(loading.load(LABS / "tls-only.yaml"), "site")

    assert (found["/files/"], found["/files/empty/"]) == ("./files/", "")


def test_a_route_to_another_host_s_root_leads_to_its_page() -> None:
    """And the links there, being relative, to that host's routes below this one's prefix."""
    assert links(GUARDED, "office")["/all/"] == "./all/"


def test_what_stands_behind_the_gateway_is_told_once() -> None:
    assert pages.page(GUARDED, "office").behind == (Behind("host", "vault", ("alice", "bob", "mallory")),)


# The files


class References(HTMLParser):
    """What a page refers to, and what it says."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name in ("href", "src", "srcset", "data", "action", "poster"):
                (self.links if tag == "a" else self.loaded).append(value or "")


def written(description: Description) -> dict[str, str]:
    files = rendering.render(planning.plan(description))
    return {path: text for path, text in files.items() if path.endswith(".html") and isinstance(text, str)}


@EVERY_LAB
def test_pages_load_nothing(file: Path) -> None:
    """Icon and style stand in them; a lab has no way to the outside, and needs none."""
    for path, text in written(loading.load(file)).items():
        references = References(text)
        assert [one for one in references.loaded if not one.startswith(("data:", "#"))] == [], path
        assert [one for one in references.links if not re.match(r"\.?/(?!/)", one)] == [], path
        assert not re.search(r"@import|url\(|<script", text), path


def test_the_page_links_each_route_that_can_be_opened() -> None:
    page = References(written(GUARDED)["vault/pages/index.html"])

    assert page.links == ["./open/greet/you", "./known/greet/you", "./alice/greet/you", "./fast/docs"]


def test_the_page_for_what_is_not_there_leads_back() -> None:
    assert References(written(GUARDED)["vault/pages/404.html"]).links == ["/"]


def test_names_cannot_become_markup(tmp_path: Path) -> None:
    folder = tmp_path / "<b>&"
    folder.mkdir()
    (folder / "index.html").touch()
    text = """\
name: x
authorities: {ca: {}}
hosts:
  one: {domain: one.lab.test, routes: {/files/: {files: "<b>&"}}}
"""
    (tmp_path / "x.yaml").write_text(text)

    page = written(loading.load(tmp_path / "x.yaml"))["one/pages/index.html"]

    assert "files of <b>&lt;b&gt;&amp;</b>" in page
