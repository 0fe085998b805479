"""A person clicks through the applications of a site behind TLS: React, Next.js, FastAPI, each below its prefix."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.integration.browsing import OpenBrowser, Tab, url
from topology.pytest_plugin import TestedLab

pytestmark = pytest.mark.integration


@pytest.fixture
def site(tls_only: TestedLab) -> str:
    return url(tls_only, "site", "")


@pytest.fixture
def tab(tls_only: TestedLab, browser: OpenBrowser) -> Iterator[Tab]:
    with browser(tls_only, trusted=("ssl_ca",)).tab() as tab:
        yield tab


def note_documents(tab: Tab) -> list[str]:
    """The documents that the tab loads from now on: a client-side route loads none."""
    loaded: list[str] = []
    tab.page.on("request", lambda request: request.is_navigation_request() and loaded.append(request.url))
    return loaded


def assert_styled(tab: Tab) -> None:
    rules = tab.page.evaluate("[...document.styleSheets].reduce((sum, sheet) => sum + sheet.cssRules.length, 0)")
    assert rules > 0


# React


def test_react_is_clicked_through_without_loading_a_document_again(site: str, tab: Tab) -> None:
    tab.open(f"{site}/react/")
    assert_styled(tab)
    loaded = note_documents(tab)

    tab.page.get_by_role("link", name="About").click()
    expect(tab.page.get_by_role("heading", level=1)).to_have_text("About")
    assert tab.page.url == f"{site}/react/about"

    tab.page.get_by_role("link", name="Greeting").click()
    tab.page.get_by_label("Your name").fill("dänish")
    tab.page.get_by_role("button", name="Greet me").click()
    expect(tab.page.get_by_role("status")).to_have_text("Hello dänish")
    assert tab.page.url == f"{site}/react/greet/d%C3%A4nish"

    tab.page.go_back()
    expect(tab.page.get_by_role("status")).to_have_text("")
    tab.page.get_by_role("link", name="Home").click()
    expect(tab.page.get_by_role("heading", level=1)).to_have_text("React behind /react")

    assert loaded == []
    assert tab.problems == []


def test_a_page_of_react_survives_a_reload_and_can_be_shared(site: str, tab: Tab) -> None:
    tab.open(f"{site}/react/greet/danish")
    expect(tab.page.get_by_role("status")).to_have_text("Hello danish")

    tab.page.reload()

    expect(tab.page.get_by_role("status")).to_have_text("Hello danish")
    assert tab.problems == []


def test_react_says_by_itself_what_it_does_not_know(site: str, tab: Tab) -> None:
    tab.open(f"{site}/react/nowhere/at/all")

    expect(tab.page.get_by_role("heading", level=1)).to_have_text("Not Found")
    tab.page.get_by_role("link", name="Back to the start").click()
    expect(tab.page.get_by_role("heading", level=1)).to_have_text("React behind /react")
    assert tab.problems == []


# Next.js


def test_next_js_is_clicked_through_without_loading_a_document_again(site: str, tab: Tab) -> None:
    tab.open(f"{site}/next/")
    expect(tab.page.get_by_role("heading", level=1)).to_have_text("next")
    assert_styled(tab)
    loaded = note_documents(tab)

    tab.page.get_by_role("button", name="clicked 0 times").click()
    expect(tab.page.get_by_role("button")).to_have_text("clicked 1 times")

    tab.page.get_by_role("link", name="About this page").click()
    expect(tab.page.get_by_role("heading", level=1)).to_have_text("About")
    assert tab.page.url == f"{site}/next/about/"

    tab.page.get_by_role("link", name="Back").click()
    expect(tab.page.get_by_role("heading", level=1)).to_have_text("next")

    assert loaded == []
    assert tab.problems == []


def test_a_page_of_next_js_survives_a_reload_and_can_be_shared(site: str, tab: Tab) -> None:
    tab.open(f"{site}/next/about/")
    expect(tab.page.get_by_role("heading", level=1)).to_have_text("About")

    tab.page.reload()

    expect(tab.page.get_by_role("heading", level=1)).to_have_text("About")
    assert tab.problems == []


def test_next_js_answers_404_for_what_it_does_not_know(site: str, tab: Tab) -> None:
    assert tab.open(f"{site}/next/nowhere/").status == 404
    expect(tab.page.get_by_role("heading", level=1)).to_have_text("404")


# FastAPI


def test_the_api_s_page_calls_the_api(site: str, tab: Tab) -> None:
    """Swagger UI: it finds the schema below the prefix, and its requests go there, too."""
    tab.open(f"{site}/fast/docs")
    tab.page.get_by_role("button", name="get /greet/{name}", exact=True).click()
    tab.page.get_by_role("button", name="Try it out").click()
    tab.page.get_by_placeholder("name").fill("danish")
    with tab.page.expect_response(f"{site}/fast/greet/danish") as answer:
        tab.page.get_by_role("button", name="Execute").click()

    assert answer.value.json() == {"service": "fast", "greeting": "Hello, danish"}
    expect(tab.page.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
    assert tab.problems == []


# The site itself


def test_the_site_s_own_start_page_leads_to_each_application(site: str, tab: Tab) -> None:
    for name, title in {
        "React": "React behind /react",
        "Next.js": "next",
        "FastAPI": "fast - Swagger UI",
        "Files": "Files",
    }.items():
        tab.open(f"{site}/")
        tab.page.get_by_role("link", name=name).click()
        expect(tab.page).to_have_title(title)
    assert tab.problems == []


def test_the_site_s_own_page_is_shown_for_what_is_not_there(site: str, tab: Tab) -> None:
    assert tab.open(f"{site}/nowhere").status == 404
    expect(tab.page.get_by_role("heading", level=1)).to_have_text("There is no such page")

    tab.page.get_by_role("link", name="Back to the start").click()

    expect(tab.page.get_by_role("heading", level=1)).to_have_text("A site behind TLS")


@pytest.mark.parametrize("path", ["/", "/react/about", "/next/about/", "/fast/docs?a=1", "/files/notes.txt"])
def test_plain_http_leads_to_the_same_place_behind_tls(tls_only: TestedLab, site: str, tab: Tab, path: str) -> None:
    assert tab.open(url(tls_only, "site", path, scheme="http")).url == f"{site}{path}"
    assert tab.problems == []


def test_the_standard_ports_need_not_be_named(tab: Tab) -> None:
    assert tab.open("http://site.lab.test/files/").url == "https://site.lab.test/files/"
    assert tab.open("https://www.site.lab.test/react/").status == 200
