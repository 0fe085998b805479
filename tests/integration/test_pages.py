"""A host's own pages in Chromium: each route linked, readable on a phone, in the dark, and without sight."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.integration.browsing import OpenBrowser, Tab, url
from topology.pytest_plugin import TestedLab

pytestmark = pytest.mark.integration

PHONE = 360
"""The width of a narrow phone, in CSS pixels."""

EVERY_PAGE = pytest.mark.parametrize(
    ("host", "path"), [("vault", "/"), ("office", "/"), ("vault", "/nowhere")], ids=["asks", "does not ask", "404"]
)
LIGHT_AND_DARK = pytest.mark.parametrize("scheme", ["light", "dark"])


@pytest.fixture
def tab(guarded: TestedLab, browser: OpenBrowser) -> Iterator[Tab]:
    """As alice, who may enter every route that is open to anybody outside."""
    with browser(guarded, trusted=("ssl_ca",), identity="alice").tab() as tab:
        yield tab


def routes_of(tab: Tab) -> dict[str, str | None]:
    """Route -> where its link leads, None where it is not linked; read from the table as a person sees it."""
    headers = tab.page.get_by_role("table", name="Routes").get_by_role("rowheader").all()
    links = {header.inner_text(): header.get_by_role("link") for header in headers}
    return {route: link.get_attribute("href") if link.count() else None for route, link in links.items()}


def problems_of_pages(tab: Tab) -> list[str]:
    """JSON names no icon, so Chromium asks for one by itself, where a host has none."""
    return [problem for problem in tab.problems if "/favicon.ico: " not in problem]


def test_the_page_shows_the_host_its_routes_and_who_may_enter(guarded: TestedLab, tab: Tab) -> None:
    tab.open(url(guarded, "vault"))
    table = tab.page.get_by_role("table", name="Routes").get_by_role("row")

    expect(tab.page).to_have_title("vault · guarded")
    expect(tab.page.get_by_role("heading", level=1)).to_have_text("vault")
    expect(tab.page.get_by_role("banner")).to_contain_text("vault.guarded.test, safe.guarded.test")
    assert [[" ".join(cell.split()) for cell in row.inner_text().split("\t")] for row in table.all()] == [
        ["Route", "Leads to", "Who may enter"],
        ["/open/", "service node", "everyone"],
        ["/known/", "service node", "certificate from partners or staff"],
        ["/alice/", "service node", "alice alone"],
        ["/inside/", "service node", "this host’s own services alone"],
        ["/fast/", "service fast", "everyone"],
    ]
    assert tab.problems == []


def test_each_link_leads_to_an_answer(guarded: TestedLab, tab: Tab) -> None:
    tab.open(url(guarded, "vault"))
    found = routes_of(tab)

    assert [route for route, link in found.items() if link is None] == ["/inside/"]
    for route in found:
        if found[route] is not None:
            tab.open(url(guarded, "vault"))
            with tab.page.expect_navigation() as navigation:
                tab.page.get_by_role("link", name=route, exact=True).click()
            assert navigation.value.status == 200, route
            assert tab.page.url.startswith(url(guarded, "vault", route))
    assert problems_of_pages(tab) == []


def test_what_is_not_linked_is_forbidden(guarded: TestedLab, tab: Tab) -> None:
    assert tab.open(url(guarded, "vault", "/inside/greet/you")).status == 403


def test_links_work_through_another_host_s_gateway_too(guarded: TestedLab, tab: Tab) -> None:
    """Its page says which host answers, and leads to that host's page, whose links stay below the prefix."""
    tab.open(url(guarded, "office"))
    tab.page.get_by_role("link", name="/all/").click()
    expect(tab.page.get_by_role("heading", level=1)).to_have_text("vault")

    with tab.page.expect_navigation() as navigation:
        tab.page.get_by_role("link", name="/open/").click()

    assert (navigation.value.url, navigation.value.status) == (url(guarded, "office", "/all/open/greet/you"), 200)
    assert problems_of_pages(tab) == []


def test_what_is_not_there_leads_back_to_the_routes(guarded: TestedLab, tab: Tab) -> None:
    assert tab.open(url(guarded, "vault", "/nowhere")).status == 404
    expect(tab.page.get_by_role("heading", level=1)).to_have_text("Not found")

    tab.page.get_by_role("link", name="All routes of vault").click()

    expect(tab.page.get_by_role("heading", level=1)).to_have_text("vault")


@EVERY_PAGE
def test_a_page_loads_nothing_else(guarded: TestedLab, tab: Tab, host: str, path: str) -> None:
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url))

    tab.open(url(guarded, host, path))

    assert [one for one in asked if not one.startswith("data:")] == [url(guarded, host, path)]


@EVERY_PAGE
def test_a_page_fits_a_phone(guarded: TestedLab, browser: OpenBrowser, host: str, path: str) -> None:
    with browser(guarded, trusted=("ssl_ca",), identity="alice").tab(PHONE, 740) as tab:
        tab.open(url(guarded, host, path))

        assert widest(tab) <= PHONE


def test_the_longest_names_fit_a_phone(guarded: TestedLab, browser: OpenBrowser) -> None:
    """Names without a space where a line could break: the test above holds for any topology."""
    with browser(guarded, trusted=("ssl_ca",), identity="alice").tab(PHONE, 740) as tab:
        tab.open(url(guarded, "vault"))
        tab.page.evaluate(
            "document.querySelectorAll('code, b').forEach(one => { one.textContent = 'abcdefghij'.repeat(20) })"
        )

        assert widest(tab) <= PHONE


def widest(tab: Tab) -> int:
    """How far to the right anything reaches that is not hidden by its box."""
    reach: int = tab.page.evaluate(
        "Math.ceil(Math.max(document.documentElement.scrollWidth,"
        " ...[...document.body.querySelectorAll('*')].map(one => one.getBoundingClientRect().right)))"
    )
    return reach


@EVERY_PAGE
@LIGHT_AND_DARK
@pytest.mark.parametrize("width", [PHONE, 1280])
def test_a_page_is_accessible(
    guarded: TestedLab, browser: OpenBrowser, host: str, path: str, scheme: str, width: int
) -> None:
    """axe-core's rules, contrast, landmarks and tables among them."""
    with browser(guarded, trusted=("ssl_ca",), identity="alice").tab(width, 740) as tab:
        tab.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type] - one of its literals
        tab.open(url(guarded, host, path))

        found = Axe().run(tab.page)

        assert found.violations_count == 0, found.generate_report()


def test_a_page_is_dark_where_the_reader_s_system_is(guarded: TestedLab, tab: Tab) -> None:
    tab.open(url(guarded, "vault"))
    shown = {}
    for scheme in ("light", "dark"):
        tab.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type] - one of its literals
        colour = tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
        shown[scheme] = sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(",")))

    assert shown["dark"] < 150
    assert shown["light"] > 600
