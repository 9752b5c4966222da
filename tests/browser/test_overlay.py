"""The overlay: what is under way, errors with their buttons, and the whole way by keyboard."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.live

THREE = """() => {
  window.log = [];
  window.answer = kit.loading.showError({
    title: "The file was not saved",
    message: "The disk is full.",
    actions: [
      { label: "Retry", primary: true, onClick: () => log.push("retry") },
      { label: "Save elsewhere", onClick: () => log.push("elsewhere") },
    ],
    onClose: () => log.push("closed"),
  }).then((action) => log.push(action?.label));
}"""


def test_tab_goes_round_inside_escape_closes_and_the_focus_returns(page: Page) -> None:
    page.locator("#before").focus()
    page.evaluate(THREE)
    dialog = page.get_by_role("alertdialog", name="The file was not saved", description="The disk is full.")
    expect(dialog).to_be_visible()
    buttons = [dialog.get_by_role("button", name=name, exact=True) for name in ("Retry", "Save elsewhere", "Close")]
    expect(buttons[0]).to_be_focused()
    for button in [*buttons[1:], buttons[0]]:
        page.keyboard.press("Tab")
        expect(button).to_be_focused()
    for button in reversed(buttons):
        page.keyboard.press("Shift+Tab")
        expect(button).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.locator("#before")).to_be_focused()
    page.evaluate("answer")
    assert page.evaluate("log") == ["closed", None]


@pytest.mark.parametrize(
    ("name", "log"),
    [
        ("Retry", ["retry", "closed", "Retry"]),
        ("Save elsewhere", ["elsewhere", "closed", "Save elsewhere"]),
        ("Close", ["closed", None]),
    ],
)
def test_each_button_closes_and_says_so(page: Page, name: str, log: list[str | None]) -> None:
    page.evaluate(THREE)
    page.get_by_role("button", name=name, exact=True).click()
    expect(page.get_by_role("alertdialog")).to_be_hidden()
    page.evaluate("answer")
    assert page.evaluate("log") == log


def test_every_button_is_large_enough(page: Page) -> None:
    page.evaluate(THREE)
    for button in page.locator(".rlk-overlay button").all():
        box = button.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= 24


def test_loading_nests_and_keeps_its_place(page: Page) -> None:
    page.locator("#before").focus()
    page.evaluate("() => { kit.loading.hide(); kit.loading.show('Outer'); kit.loading.show('Inner'); }")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_have_accessible_name("Inner")
    page.keyboard.press("Tab")
    for _ in range(3):  # a browser may insist on the second
        page.keyboard.press("Escape")
    page.evaluate("kit.loading.hide()")
    expect(dialog).to_have_accessible_name("Outer")
    expect(dialog.locator(".rlk-unseen[role=status]")).to_have_text("Outer")
    assert page.evaluate("document.activeElement.closest('dialog') !== null")
    page.evaluate("kit.loading.hide()")
    expect(dialog).to_be_hidden()
    expect(page.locator("#before")).to_be_focused()
    page.evaluate("kit.loading.hide()")
    expect(dialog).to_be_hidden()


def test_overlapping_work_ends_in_any_order(page: Page) -> None:
    page.evaluate(
        "() => { window.first = kit.loading.show('First'); window.second = kit.loading.show('Second'); first(); }"
    )
    expect(page.get_by_role("dialog")).to_have_accessible_name("Second")
    page.evaluate("second(); first()")
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_wrap_shows_passes_on_and_hides(page: Page) -> None:
    page.evaluate("() => { window.done = kit.loading.wrap(new Promise((end) => { window.end = end; }), 'Saving'); }")
    expect(page.get_by_role("dialog")).to_have_accessible_name("Saving")
    assert page.evaluate("end(42); done") == 42
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_a_failed_promise_is_shown_and_passed_on(page: Page) -> None:
    caught = page.evaluate("kit.loading.wrap(Promise.reject(new Error('inner'))).catch((error) => error.message)")
    assert caught == "inner"
    expect(page.get_by_role("alertdialog")).to_have_accessible_name("That did not work")
    page.get_by_role("alertdialog").get_by_text("Close", exact=True).click()
    assert (
        page.evaluate(
            "kit.loading.wrap(Promise.reject(new DOMException('left', 'AbortError'))).catch((error) => error.name)"
        )
        == "AbortError"
    )
    expect(page.get_by_role("alertdialog")).to_be_hidden()


def test_failed_work_can_be_tried_again_and_given_up(page: Page) -> None:
    page.evaluate("""() => {
      let tries = 0;
      const work = async () => { tries += 1; if (tries < 3) throw new Error(`try ${tries}`); return tries; };
      window.done = kit.loading.wrap(work, "Working");
      window.lost = kit.loading.wrap(async () => { throw new Error("for good"); }).catch((error) => error.message);
    }""")
    expect(page.get_by_role("alertdialog")).to_be_visible()
    page.get_by_role("button", name="Retry").click()  # the first work
    page.get_by_role("button", name="Cancel").click()  # the second gives up
    assert page.evaluate("lost") == "for good"
    page.get_by_role("button", name="Retry").click()
    assert page.evaluate("done") == 3
    expect(page.get_by_role("alertdialog")).to_be_hidden()


def test_an_error_interrupts_loading_and_loading_comes_back(page: Page) -> None:
    """Each error opens the dialog anew, so that it is read out; the focus still finds its way back."""
    page.locator("#before").focus()
    page.evaluate("""() => {
      window.opened = [];
      const native = HTMLDialogElement.prototype.showModal;
      HTMLDialogElement.prototype.showModal = function () {
        native.call(this);
        opened.push(document.querySelector("#rlk-title").textContent);
      };
      kit.loading.show("Long work");
      void kit.loading.showError({ title: "One" });
      void kit.loading.showError({ title: "Two" });
    }""")
    for title in ("One", "Two"):
        expect(page.get_by_role("alertdialog")).to_have_accessible_name(title)
        page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_accessible_name("Long work")
    assert page.evaluate("opened") == ["Long work", "One", "Two", "Long work"]
    page.evaluate("kit.loading.hide()")
    expect(page.locator("#before")).to_be_focused()


def test_it_closes_by_itself_unless_touched(page: Page) -> None:
    page.evaluate(
        "window.ended = []; void kit.loading.showError({ title: 'Brief', autoClose: 300, onClose: () => ended.push('brief') })"
    )
    expect(page.get_by_role("alertdialog")).to_be_visible()
    expect(page.get_by_role("alertdialog")).to_be_hidden(timeout=1500)
    page.evaluate("void kit.loading.showError({ title: 'Read', autoClose: 300, onClose: () => ended.push('read') })")
    page.keyboard.press("Tab")
    page.evaluate("new Promise((wake) => setTimeout(wake, 600))")
    expect(page.get_by_role("alertdialog")).to_be_visible()
    page.keyboard.press("Escape")
    assert page.evaluate("ended") == ["brief", "read"]


def test_a_signal_closes_it(page: Page) -> None:
    page.evaluate(
        "() => { window.control = new AbortController(); window.answer = kit.loading.showError({ title: 'T', signal: control.signal }); }"
    )
    expect(page.get_by_role("alertdialog")).to_be_visible()
    assert page.evaluate("control.abort(); answer.then((action) => action === undefined)")
    expect(page.get_by_role("alertdialog")).to_be_hidden()


def test_a_page_that_swaps_its_body_loses_nothing(page: Page) -> None:
    page.evaluate("""() => {
      kit.loading.show("Still on");
      document.body = document.createElement("body");
      kit.loading.show("After the swap");
      kit.toast.show("also here", "info", { duration: 0 });
    }""")
    expect(page.get_by_role("dialog")).to_have_accessible_name("After the swap")
    expect(page.get_by_text("also here")).to_be_visible()
