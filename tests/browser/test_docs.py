"""The JavaScript of the documentation runs, and its reference names what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.site import Site

pytestmark = pytest.mark.live

ROOT = Path(__file__).parent.parent.parent
HOW_TO = (ROOT / "docs/how-to/show-visitors.md").read_text()
REFERENCE = (ROOT / "docs/reference/browser.md").read_text()
CSS = (ROOT / "src/ratelimit_kit/static/ratelimit_kit/ratelimit.css").read_text()


def run(page: Page, site: Site, code: str) -> None:
    page.evaluate(
        "code => import(URL.createObjectURL(new Blob([code], { type: 'text/javascript' }))).then(() => {})",
        code.replace("/ratelimit-kit/", f"{site.url}/ratelimit-kit/").replace('"/news"', f'"{site.url}/news"'),
    )


def test_every_snippet_runs(page: Page, site: Site) -> None:
    page.evaluate("""() => {
      const form = document.createElement("form");
      form.id = "contact";
      form.action = "/contact";
      document.body.append(form);
    }""")
    snippets = re.findall(r"^```js\n(.*?)^```", HOW_TO, re.MULTILINE | re.DOTALL)
    assert len(snippets) >= 5
    for snippet in snippets:
        run(page, site, snippet)
    page.evaluate("document.querySelector('#contact').requestSubmit()")
    expect(page.locator(".rlk-success")).to_have_text("Sent")


def test_the_reference_names_every_export_string_and_property(page: Page) -> None:
    for names in page.evaluate(
        "[Object.keys(kit), Object.keys(kit.toast), Object.keys(kit.loading), Object.keys(kit.strings.en)]"
    ):
        for name in names:
            assert re.search(rf"\b{name}\b", REFERENCE), name
    declared = set(re.findall(r"^  (--rlk-[a-z-]+):", CSS, re.MULTILINE))
    assert declared == set(re.findall(r"`(--rlk-[a-z-]+)`", REFERENCE))
