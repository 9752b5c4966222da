"""Toasts: what they look like to a person and to assistive technology, and how long they stay."""

from __future__ import annotations

import itertools

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Opener
from tests.browser.site import Site

pytestmark = pytest.mark.live

KINDS = {"success": ("status", 1600), "error": ("alert", 3000), "warning": ("status", 2000), "info": ("status", 1600)}

LIFETIMES = """async (calls) => Promise.all(calls.map(async ([kind, text, options]) => {
  const begun = performance.now();
  if (options) kit.toast.show(text, kind, options); else kit.toast[kind](text);
  const item = [...document.querySelectorAll(".rlk-toast")].find((one) => one.textContent === text);
  const role = item.parentElement.getAttribute("role");
  const color = getComputedStyle(item).backgroundColor;
  await new Promise((gone) => {
    new MutationObserver(() => item.isConnected || gone()).observe(document, { childList: true, subtree: true });
  });
  return { kind, role, color, stayed: performance.now() - begun };
}))"""


def hue(color: str) -> str:
    red, green, blue = (int(part) for part in color.removeprefix("rgb(").removesuffix(")").split(","))
    if red > 2 * blue and green > 2 * blue:
        return "yellow"
    return max([(red, "red"), (green, "green"), (blue, "blue")])[1]


def test_each_kind_has_its_role_colour_and_time(page: Page) -> None:
    calls = [[kind, f"This is {kind}", None] for kind in KINDS] + [["info", "brief", {"duration": 400}]]
    answers = page.evaluate(LIFETIMES, calls)
    assert [hue(answer["color"]) for answer in answers] == ["green", "red", "yellow", "blue", "blue"]
    for answer, (role, stays) in zip(answers, [*KINDS.values(), ("status", 400)], strict=True):
        assert answer["role"] == role
        assert stays - 20 <= answer["stayed"] <= stays + 700, answer


def test_the_live_regions_stand_before_any_text_does(page: Page) -> None:
    expect(page.locator(".rlk-toasts > [role=alert]")).to_have_text("")
    expect(page.locator(".rlk-toasts > [role=status]")).to_have_text("")
    assert page.locator(".rlk-toasts [role] button").count() == 0


def test_what_was_shown_before_the_body_waits_for_it(open_page: Opener, site: Site) -> None:
    page = open_page("/early")
    assert site.early_ran.is_set()
    assert page.evaluate("window.bodyThen") is None
    expect(page.get_by_role("alertdialog", name="Also before the body")).to_be_visible()
    expect(page.get_by_text("Shown before the body")).to_be_visible()


def test_loaded_twice_is_one_module(page: Page) -> None:
    same = page.evaluate("""async () => {
      const other = await import("/ratelimit-kit/ratelimit.js?another=copy");
      other.toast.show("from the other copy", "info", { duration: 0 });
      other.configure({ strings: { close: "Shut" } });
      void kit.loading.showError({ title: "One" });
      return Object.keys(kit).every((name) => kit[name] === other[name]);
    }""")
    assert same
    assert page.locator(".rlk-toasts").count() == 1
    expect(page.get_by_role("alertdialog").get_by_text("Shut")).to_be_visible()


def test_a_pointer_or_the_focus_holds_toasts(page: Page) -> None:
    page.evaluate("void kit.toast.show('held', 'info', { duration: 400 })")
    toast = page.get_by_text("held")
    toast.hover()
    page.evaluate("new Promise((wake) => setTimeout(wake, 700))")
    expect(toast).to_be_visible()
    toast.focus()
    page.mouse.move(0, 500)
    page.evaluate("new Promise((wake) => setTimeout(wake, 700))")
    expect(toast).to_be_visible()
    page.locator("#after").focus()
    expect(toast).to_have_count(0, timeout=3000)


def test_escape_dismisses_a_focused_toast_and_gives_the_focus_back(page: Page) -> None:
    page.locator("#before").focus()
    page.evaluate("() => ['sticky', 'other'].forEach((text) => kit.toast.show(text, 'info', { duration: 0 }))")
    page.get_by_text("sticky").focus()
    page.keyboard.press("Escape")
    expect(page.get_by_text("sticky")).to_have_count(0)
    expect(page.locator("#before")).to_be_focused()
    page.get_by_text("other").click()
    expect(page.get_by_text("other")).to_have_count(0)


def test_dismissing_the_held_toast_releases_the_others(page: Page) -> None:
    page.evaluate(
        "() => { kit.toast.show('held', 'info', { duration: 300 }); kit.toast.show('other', 'info', { duration: 300 }); }"
    )
    page.get_by_text("held").focus()
    page.keyboard.press("Escape")
    expect(page.get_by_text("other")).to_have_count(0, timeout=3000)


def test_what_nobody_could_see_waits_until_the_tab_is_seen(page: Page) -> None:
    page.evaluate("""() => {
      window.hide = (hidden) => {
        Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
      };
      hide(true);
      kit.toast.show("unseen", "info", { duration: 300 });
    }""")
    page.evaluate("new Promise((wake) => setTimeout(wake, 500))")
    expect(page.get_by_text("unseen")).to_be_visible()
    page.evaluate("hide(false)")
    expect(page.get_by_text("unseen")).to_have_count(0, timeout=3000)


def test_toasts_stack_and_the_oldest_makes_room(page: Page) -> None:
    page.evaluate("() => [1, 2, 3, 4, 5, 6, 7].forEach((i) => kit.toast.show(`number ${i}`, 'info', { duration: 0 }))")
    assert page.locator(".rlk-toast").all_text_contents() == [f"number {number}" for number in range(3, 8)]
    boxes = [toast.bounding_box() for toast in page.locator(".rlk-toast").all()]
    assert all(above["y"] + above["height"] <= below["y"] for above, below in itertools.pairwise(boxes))


def test_show_returns_what_takes_the_toast_away_and_knows_no_other_kind(page: Page) -> None:
    page.evaluate("() => { window.away = kit.toast.show('mine', 'toString', { duration: 0 }); }")
    expect(page.locator(".rlk-info")).to_have_text("mine")
    page.evaluate("away()")
    expect(page.locator(".rlk-toast")).to_have_count(0)


def test_markup_is_shown_as_text(page: Page) -> None:
    markup = '<img src=x onerror="window.hacked = true"><script>window.hacked = true</script>{time}'
    page.evaluate("text => void kit.toast.show(text, 'error', { duration: 0 })", markup)
    page.evaluate(
        """text => void kit.loading.showError({ title: text, message: text, actions: [{ label: text }, { label: "b" }] })""",
        markup,
    )
    for element in (".rlk-toast", "#rlk-title", "#rlk-message", ".rlk-actions button:first-child"):
        assert page.locator(element).text_content() == markup
    assert page.locator(".rlk-overlay img, .rlk-toasts img").count() == 0
    assert page.evaluate("window.hacked") is None


def test_a_toast_is_seen_over_a_modal_dialog_of_the_page_and_not_inert(page: Page) -> None:
    page.evaluate("""() => {
      const dialog = document.createElement("dialog");
      dialog.append("The page's own");
      document.body.append(dialog);
      dialog.showModal();
      kit.toast.show("above", "info", { duration: 0 });
      window.own = dialog;
    }""")
    page.get_by_text("above").hover(timeout=2000)
    page.evaluate("own.close()")
    expect(page.get_by_text("above")).to_be_visible()
