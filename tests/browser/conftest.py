from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.browser.site import Site, serving
from tests.processes import need

AXE = Path(__file__).parent / "node_modules/axe-core/axe.min.js"
"""The accessibility audit, which `make node` installs."""

QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="package")
def site() -> Iterator[Site]:
    with serving() as site:
        yield site


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """One browser, with an empty profile; it ends with this package, for its event loop is in everybody's way."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=need("chromium"), args=QUIET)
        yield browser
        browser.close()


Opener = Callable[..., Page]


def ready(page: Page, path: str) -> None:
    page.goto(path)
    if path.startswith("/page/plain"):
        page.evaluate("kit.toast.ready()")


@pytest.fixture
def open_page(chromium: Browser, site: Site) -> Iterator[Opener]:
    """Opens pages in profiles of their own (or in that of another page); no page may throw."""
    contexts: list[BrowserContext] = []
    errors: list[str] = []

    def open_page(path: str = "/page/plain.html", *, beside: Page | None = None, **options: object) -> Page:
        if beside is None:
            contexts.append(chromium.new_context(base_url=site.url, **options))
        page = (beside.context if beside else contexts[-1]).new_page()
        page.set_default_timeout(8_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        ready(page, path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


@pytest.fixture(scope="package")
def tab(chromium: Browser, site: Site) -> Iterator[tuple[Page, list[str]]]:
    """One tab for the many tests that need nothing of their own, and what its pages threw."""
    context = chromium.new_context(base_url=site.url)
    page = context.new_page()
    page.set_default_timeout(8_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page, errors
    context.close()


@pytest.fixture
def page(tab: tuple[Page, list[str]]) -> Iterator[Page]:
    """The plain page, loaded anew."""
    page, errors = tab
    page.mouse.move(0, 0)
    ready(page, "/page/plain.html")
    errors.clear()
    yield page
    assert errors == []
