"""The demo, as a person would use it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import AXE, Opener
from tests.processes import free_port, running

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def demo() -> Iterator[str]:
    port = free_port()
    with running([sys.executable, "-m", "ratelimit_kit", "demo", "--port", str(port)], port):
        yield f"http://127.0.0.1:{port}/"


def test_marks_fields_and_toast_of_a_burst(open_page: Opener, demo: str) -> None:
    page = open_page(demo)
    page.get_by_role("button", name="Send 15 to each").click()
    lanes = page.locator("#lanes article")
    expect(lanes.locator("h2")).to_have_text(["sliding window", "token bucket", "fixed window"])
    for lane in lanes.all():
        expect(lane.locator("svg line:not(.axis)")).to_have_count(15)
        expect(lane.locator(".room")).to_have_text(" 0 left")
        expect(lane.locator(".fields")).to_contain_text("Retry-After: ")
        counts = [int(text) for text in lane.locator(".count").all_text_contents()]
        assert sum(counts) == 15
        assert 10 <= counts[0] <= 12  # the bucket fills while the requests come
    expect(page.locator(".rlk-warning")).to_have_text(
        re.compile(r"^Too many requests\. You can try again in \d+ seconds?\.$")
    )
    expect(page.locator("#last")).to_contain_text("HTTP 429 Too Many Requests")


def sign_in(page: Page, password: str) -> None:
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def test_a_login_that_is_tried_too_often_waits_and_succeeds(open_page: Opener, demo: str) -> None:
    page = open_page(demo)
    for number in range(1, 4):
        sign_in(page, "wrong")
        expect(page.locator(".rlk-error")).to_have_count(number)
    sign_in(page, "sesame")
    retry = page.get_by_role("alertdialog").get_by_role("button", name="Retry", exact=True)
    expect(retry).to_have_attribute("aria-disabled", "true")
    expect(retry).not_to_have_attribute("aria-disabled", "true", timeout=7000)
    retry.press("Enter")
    expect(page.locator(".rlk-success")).to_have_text("Signed in. That was the password")
    expect(page.get_by_role("button", name="Sign in")).to_be_focused()


def test_news_come_by_themselves_and_errors_of_the_network_are_told(open_page: Opener, demo: str) -> None:
    page = open_page(demo)
    page.get_by_label("Language of messages").select_option("id")
    for _ in range(3):
        page.get_by_role("button", name="Get the news").click()
    expect(page.locator(".rlk-warning")).to_contain_text("Mencoba lagi dalam")
    page.get_by_role("button", name="No connection").click()
    expect(page.get_by_role("alertdialog", name="Tidak ada koneksi")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".rlk-info", has_text="No news is good news").last).to_be_visible(timeout=7000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_the_page(open_page: Opener, demo: str, scheme: str) -> None:
    page = open_page(demo, color_scheme=scheme)
    page.add_script_tag(path=AXE)
    found = page.evaluate("axe.run().then(({ violations }) => violations.map(({ id, nodes }) => [id, nodes[0].html]))")
    assert found == []


def test_it_fits_a_narrow_screen(open_page: Opener, demo: str) -> None:
    page = open_page(demo, viewport={"width": 320, "height": 600})
    assert page.evaluate("document.documentElement.scrollWidth") == 320
