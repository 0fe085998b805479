"""Takes the screenshots of the documentation: `make screenshots`.

They show the pages as they are checked in, so no lab has to be up; the browser is the one of the tests, so they look
the same wherever they are taken.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from tests.integration.browsing import started

ROOT = Path(__file__).parents[2]
BRIDGE = "bridge"
"""Docker's own network: nothing is called, only Chromium itself."""


@dataclass(frozen=True)
class Shot:
    """width: in CSS pixels; scheme: light or dark."""

    name: str
    page: str
    width: int
    scheme: str


SHOTS = (
    Shot("index-desktop", "two-host/server/pages/index.html", 1040, "light"),
    Shot("index-phone", "two-host/server/pages/index.html", 360, "dark"),
)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright, started([], {}, BRIDGE) as address:
        browser = playwright.chromium.connect_over_cdp(address)
        for shot in SHOTS:
            take(browser, shot, folder / f"{shot.name}.png")
            print(folder / f"{shot.name}.png")
        browser.close()


def take(browser: Browser, shot: Shot, file: Path) -> None:
    """The whole page, sharp on most screens and still small."""
    context = browser.new_context(
        viewport={"width": shot.width, "height": 400},
        color_scheme=shot.scheme,  # type: ignore[arg-type] - one of its literals
        device_scale_factor=1.5,
    )
    page = context.new_page()
    page.set_content((ROOT / "compose" / shot.page).read_text())
    page.screenshot(path=file, full_page=True)
    context.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
