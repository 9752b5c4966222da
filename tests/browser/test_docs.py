"""The JavaScript of the documentation runs, its reference names what there is, and its search finds the right page."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote_plus, urlsplit

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Opener
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


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation as readers get it."""
    folder = tmp_path_factory.mktemp("docs")
    options = ["-q", "-b", "html", "-d", str(folder / "doctrees")]
    subprocess.run([sys.executable, "-m", "sphinx", *options, str(ROOT / "docs"), str(folder / "html")], check=True)
    return folder / "html"


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("custom store", "how-to/write-a-store.html"),
        ("custom 429", "reference/headers.html#custom-429-pages"),
        ("gunicorn workers", "explanation/guard.html"),
        ("proxy", "how-to/behind-a-proxy.html"),
        ("redis down", "how-to/troubleshooting.html#index-0"),
        ("redis is down", "how-to/troubleshooting.html#index-0"),
        ("503", "how-to/troubleshooting.html#index-0"),
        ("wrongtype", "reference/errors.html"),
        ("on_outage", "how-to/outages.html"),
        ("fallback", "how-to/outages.html#other-limits-for-an-outage"),
    ],
)
def test_a_search_finds_the_page_about_its_subject_first(
    open_page: Opener, built: Path, query: str, first: str
) -> None:
    page = open_page()
    page.route("http://docs.test/**", lambda route: answer(route, built))
    page.goto(f"http://docs.test/search.html?q={quote_plus(query)}")
    expect(page.locator(".search-summary")).to_contain_text("Search finished")
    assert page.locator("ul.search > li > a").first.get_attribute("href") == first


def test_no_table_of_the_stores_is_cut_off(open_page: Opener, built: Path) -> None:
    page = open_page()
    page.set_viewport_size({"width": 1200, "height": 900})
    page.route("http://docs.test/**", lambda route: answer(route, built))
    page.goto("http://docs.test/reference/stores.html")
    tables = page.locator("article .table-wrapper")
    assert tables.count() >= 1
    assert tables.evaluate_all("all => all.filter(one => one.scrollWidth > one.clientWidth).length") == 0


def answer(route: Route, folder: Path) -> None:
    route.fulfill(path=folder / urlsplit(route.request.url).path.lstrip("/"))
