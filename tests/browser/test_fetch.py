"""throttledFetch and installFetch: waiting, trying again, giving up, and never too early."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Opener
from tests.browser.site import Site

pytestmark = pytest.mark.live


def canned(name: str, **query: object) -> str:
    return f"/canned/{name}?{urlencode(query, doseq=True)}"


def post(page: Page, url: str, options: str = "{}") -> None:
    """Begin a form's post; what becomes of it is in `outcome`."""
    page.evaluate(f"""() => {{
      window.outcome = kit.throttledFetch("{url}", {{ method: "POST", body: "name=Ada", rateLimit: {options} }})
        .then(async (response) => `${{response.status}} ${{await response.text()}}`, (error) => error.name);
    }}""")


def get(page: Page, url: str, options: str = "{}") -> int:
    answer: int = page.evaluate(
        f'kit.throttledFetch("{url}", {{ rateLimit: {options} }}).then((response) => response.status)'
    )
    return answer


def test_a_throttled_post_waits_and_succeeds_at_the_right_second(page: Page, site: Site) -> None:
    post(page, "/login/form")
    assert page.evaluate("outcome") == "200 admitted name=Ada"
    post(page, "/login/form")
    dialog = page.get_by_role("alertdialog", name="Too many requests")
    retry = dialog.get_by_role("button", name="Retry", exact=True)
    expect(retry).to_be_focused()
    expect(retry).to_have_attribute("aria-disabled", "true")
    expect(retry).to_have_text(re.compile(r"^Retry \([23]\)$"))
    expect(dialog).to_have_accessible_description(
        re.compile(r"^This was done more often than the site allows\. You can try again in [1-3] seconds?\.$")
    )
    page.keyboard.press("Enter")  # does nothing yet
    expect(retry).to_have_text("Retry (1)")
    expect(dialog.get_by_role("timer")).to_have_text("You can try again in 1 second.")
    expect(dialog.locator(".rlk-unseen")).to_have_text("")
    expect(retry).not_to_have_attribute("aria-disabled", "true")
    expect(retry).to_have_text("Retry")
    expect(dialog.locator(".rlk-unseen[role=status]")).to_have_text("You can try again now.")
    page.keyboard.press("Enter")
    assert page.evaluate("outcome") == "200 admitted name=Ada"
    expect(dialog).to_be_hidden()
    first, refused, last = site.at("/login/form")
    assert (first.body, refused.body, last.body) == (b"name=Ada",) * 3
    assert 3.0 <= last.at - first.at < 5.0


def test_cancel_and_escape_hand_over_the_refusal(page: Page, site: Site) -> None:
    for name, leave in (("cancel", "Cancel"), ("escape", "")):
        post(page, canned(name, h="Retry-After: 60", body="refused"))
        expect(page.get_by_role("alertdialog")).to_be_visible()
        if leave:
            page.get_by_role("button", name=leave).click()
        else:
            page.keyboard.press("Escape")
        assert page.evaluate("outcome") == "429 refused"
        assert len(site.at(f"/canned/{name}")) == 1


@pytest.fixture(scope="module")
def reading(chromium: Browser, site: Site) -> Iterator[Page]:
    """One page for all that is read from fields, as nothing is left of it."""
    context = chromium.new_context(base_url=site.url)
    page = context.new_page()
    page.goto("/page/plain.html")
    yield page
    context.close()


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        (["Retry-After: 120"], 120),
        (["Retry-After:  7 "], 7),
        (["Retry-After: 99999999"], 86_400),
        (["Retry-After: 1.5"], 1),
        (["Retry-After: 120 GMT"], 1),
        (["Retry-After: -5"], 1),
        (["Date: Wed, 25 Nov 2026 10:00:00 GMT", "Retry-After: Wed, 25 Nov 2026 10:00:30 GMT"], 30),
        (["Date: Wed, 25 Nov 2026 10:00:00 GMT", "Retry-After: Wednesday, 25-Nov-26 10:00:30 GMT"], 30),
        (["Date: Wed, 25 Nov 2026 10:00:00 GMT", "Retry-After: Wed, 25 Nov 2026 09:00:00 GMT"], 0),
        (["Retry-After: Wed, 99 Nov 2026 10:00:30 GMT"], 1),
        (['RateLimit: "site";r=90;t=50, "login";r=0;t=12'], 12),
        (['RateLimit: "a,\\"b\\"";r=0;t=9;pk=:AAE=:;x="r=5,;t=8", "c";r=0;t=4'], 9),
        (["RateLimit: login;r=0;t=12"], 1),
        (["Retry-After: 3", 'RateLimit: "login";r=0;t=12'], 3),
        ([], 1),
    ],
    ids=lambda value: "; ".join(value) or "nothing" if isinstance(value, list) else str(value),
)
def test_the_wait_is_read_from_the_fields(reading: Page, fields: list[str], seconds: int) -> None:
    detail = reading.evaluate(
        """async (url) => {
          let detail;
          const listen = (event) => { detail = event.detail; };
          document.addEventListener("ratelimit:limited", listen, { once: true });
          await kit.throttledFetch(url, { rateLimit: { ui: "none" } });
          return { retryAfter: detail.retryAfter, policies: detail.policies, limits: detail.limits };
        }""",
        canned("fields", h=fields),
    )
    assert detail["retryAfter"] == seconds


def test_an_http_date_is_waited_for(page: Page, site: Site) -> None:
    post(page, canned("date", date=2, times=1))
    retry = page.get_by_role("button", name="Retry", exact=True)
    expect(retry).to_have_attribute("aria-disabled", "true")
    expect(retry).not_to_have_attribute("aria-disabled", "true")
    retry.click()
    assert page.evaluate("outcome") == "200 admitted"
    first, last = site.at("/canned/date")
    assert last.at - first.at >= 1.0  # the date was up to a second nearer than two


def test_the_event_tells_what_the_server_said_and_can_suppress_the_interface(page: Page) -> None:
    page.evaluate("""() => {
      window.events = [];
      window.addEventListener("ratelimit:limited", (event) => {
        events.push({ ...event.detail, response: event.detail.response.status, target: event.target === document });
        event.preventDefault();
      });
    }""")
    for status in ("200", "429"):
        post(page, "/login/event")
        assert page.evaluate("outcome").startswith(status)
    (event,) = page.evaluate("events")
    assert event["policies"] == ["login"]
    assert event["limits"] == [{"name": "login", "remaining": 0, "seconds": event["retryAfter"]}]
    assert 1 <= event["retryAfter"] <= 3
    assert event["method"] == "POST"
    assert event["url"].endswith("/login/event")
    assert event["response"] == 429
    assert event["detail"].startswith("Try again in ")
    assert event["target"] is True
    expect(page.locator("dialog, .rlk-toast")).to_have_count(0)


def test_the_problems_own_words_are_shown_and_our_stock_sentence_is_not(page: Page) -> None:
    problem = '{"detail": "Your plan has 5 uploads a day. <b>Upgrade</b>", "violated-policies": ["uploads"]}'
    post(page, canned("words", h=["Content-Type: application/problem+json", "Retry-After: 7200"], body=problem))
    expect(page.locator("#rlk-message")).to_have_text("Your plan has 5 uploads a day. <b>Upgrade</b>")
    expect(page.locator("#rlk-wait")).to_have_text("You can try again in 2 hours.")
    expect(page.get_by_role("button", name="Retry", exact=True)).to_have_text("Retry (120:00)")
    page.keyboard.press("Escape")
    post(page, canned("broken", h=["Content-Type: application/problem+json", "Retry-After: 5"], body="null"))
    expect(page.locator("#rlk-message")).to_have_text("This was done more often than the site allows.")


def test_a_limited_safe_request_is_told_by_one_toast(page: Page) -> None:
    url = canned("toast", h="Retry-After: 30")
    assert [get(page, url) for _ in range(3)] == [429] * 3
    expect(page.locator(".rlk-toast.rlk-warning")).to_have_text("Too many requests. You can try again in 30 seconds.")
    assert get(page, url, '{ ui: "none" }') == 429
    expect(page.get_by_role("alertdialog")).to_have_count(0)


def test_safe_requests_are_sent_again_only_when_asked_and_never_early(page: Page, site: Site) -> None:
    url = canned("safe", h="Retry-After: 1", times=2)
    page.evaluate("""() => {
      window.retries = [];
      document.addEventListener("ratelimit:retry", ({ detail }) => retries.push([detail.attempt, detail.automatic]));
    }""")
    assert get(page, url, "{ retries: 3 }") == 200
    times = [arrival.at for arrival in site.at("/canned/safe")]
    assert len(times) == 3
    assert all(1.0 <= later - earlier < 3.0 for earlier, later in itertools.pairwise(times))
    assert page.evaluate("retries") == [[1, True], [2, True]]
    assert get(page, canned("unasked", h="Retry-After: 1")) == 429
    assert len(site.at("/canned/unasked")) == 1


def test_retries_are_bounded_in_number_and_in_time(page: Page, site: Site) -> None:
    assert get(page, canned("number", h="Retry-After: 0"), "{ retries: 99 }") == 429
    assert len(site.at("/canned/number")) == 6
    assert get(page, canned("time", h="Retry-After: 30"), "{ retries: 9, maxWait: 5 }") == 429
    assert len(site.at("/canned/time")) == 1


def test_an_unsafe_request_is_never_sent_again_by_itself(page: Page, site: Site) -> None:
    post(page, canned("unsafe", h="Retry-After: 0"), '{ retries: 5, ui: "toast" }')
    assert page.evaluate("outcome").startswith("429")
    assert len(site.at("/canned/unsafe")) == 1


def test_a_listener_can_stop_a_retry(page: Page, site: Site) -> None:
    page.evaluate('() => document.addEventListener("ratelimit:retry", (event) => event.preventDefault())')
    assert get(page, canned("stopped", h="Retry-After: 0"), "{ retries: 2 }") == 429
    assert len(site.at("/canned/stopped")) == 1


def test_a_request_object_keeps_its_body_for_the_retry(page: Page, site: Site) -> None:
    url = canned("object", h="Retry-After: 0", times=1)
    page.evaluate(f"""() => {{
      const request = new Request("{url}", {{ method: "PUT", body: new Blob(["all of it"]) }});
      window.outcome = kit.throttledFetch(request).then((response) => response.status);
    }}""")
    page.get_by_role("button", name="Retry", exact=True).click()
    assert page.evaluate("outcome") == 200
    assert [arrival.body for arrival in site.at("/canned/object")] == [b"all of it"] * 2


def test_abort_ends_the_wait_and_the_overlay(page: Page, site: Site) -> None:
    for options in ('{ ui: "overlay" }', "{ retries: 3 }"):
        page.evaluate(f"""() => {{
          window.control = new AbortController();
          const init = {{ signal: control.signal, rateLimit: {options} }};
          window.outcome = kit.throttledFetch("{canned("abort", h="Retry-After: 50")}", init).catch((error) => error.name);
        }}""")
        expect(page.locator("dialog:modal, .rlk-warning").first).to_be_visible()
        assert page.evaluate("control.abort(); outcome") == "AbortError"
        expect(page.get_by_role("alertdialog")).to_be_hidden()
    assert len(site.at("/canned/abort")) == 2


def test_one_question_for_all_that_one_limit_refused(page: Page, site: Site) -> None:
    page.evaluate(f"""() => {{
      window.controls = [1, 2, 3].map(() => new AbortController());
      window.outcomes = controls.map(({{ signal }}) => kit.throttledFetch(
        "{canned("three", h="Retry-After: 1", times=3)}", {{ method: "POST", signal }},
      ).then((response) => response.status, (error) => error.name));
    }}""")
    expect(page.get_by_role("alertdialog")).to_be_visible()
    assert page.evaluate("controls[0].abort(); outcomes[0]") == "AbortError"
    retry = page.get_by_role("button", name="Retry", exact=True)
    expect(retry).not_to_have_attribute("aria-disabled", "true")
    retry.click()
    assert page.evaluate("Promise.all(outcomes)") == ["AbortError", 200, 200]
    expect(page.get_by_role("alertdialog")).to_be_hidden()
    assert len(site.at("/canned/three")) == 5


def test_a_network_failure_is_told_by_the_same_overlay(open_page: Opener) -> None:
    page = open_page()
    page.context.set_offline(True)
    post(page, "/login/offline")
    dialog = page.get_by_role("alertdialog", name="No connection")
    expect(dialog).to_be_visible()
    page.context.set_offline(False)
    dialog.get_by_role("button", name="Retry", exact=True).click()
    assert page.evaluate("outcome") == "200 admitted name=Ada"
    page.context.set_offline(True)
    page.evaluate(
        "() => { window.outcome = kit.loading.wrap(kit.throttledFetch('/x'), 'Asking').catch((error) => error.name); }"
    )
    dialog.get_by_role("button", name="Cancel").click()
    assert page.evaluate("outcome") == "TypeError"
    expect(page.get_by_role("alertdialog")).to_be_hidden()  # wrap does not tell it a second time


def test_tabs_take_turns(open_page: Opener, site: Site) -> None:
    """Six requests of three tabs are refused together; no two are sent again at once, none too early."""
    first = open_page()
    tabs = [first, open_page(beside=first), open_page(beside=first)]
    first.evaluate("Promise.all([1, 2, 3, 4, 5].map(() => fetch('/busy/tabs')))")
    for tab in tabs:
        tab.evaluate("""() => {
          const get = () => kit.throttledFetch("/busy/tabs", { rateLimit: { retries: 5, ui: "none" } });
          window.outcomes = Promise.all([get(), get()]).then((all) => all.map(({ status }) => status));
        }""")
    for tab in tabs:
        assert tab.evaluate("outcomes") == [200, 200]
    times = [arrival.at for arrival in site.at("/busy/tabs")]
    assert min(times[11:]) - min(times[:5]) >= 1.0
    gaps = [later - earlier for earlier, later in itertools.pairwise(sorted(times[11:]))]
    assert len(gaps) >= 5
    assert sum(gaps) > 0.6 * 0.25 * len(gaps)  # turns are 0.25 s apart; a busy machine may delay one until the next


def test_install_is_idempotent_for_our_own_origin_and_can_be_undone(page: Page, site: Site) -> None:
    native = page.evaluate("""() => {
      window.native = fetch;
      window.undo = kit.installFetch();
      return kit.installFetch() === undo && fetch !== native;
    }""")
    assert native
    url = canned("installed", h="Retry-After: 9")
    assert page.evaluate("(url) => fetch(url, { method: 'POST' }).then(({ status }) => status)", url) == 429
    expect(page.locator(".rlk-toast")).to_have_text("Too many requests. You can try again in 9 seconds.")
    assert page.evaluate("(url) => kit.throttledFetch(url).then(({ status }) => status)", url) == 429
    assert len(site.at("/canned/installed")) == 2  # not handled twice
    elsewhere = site.url.replace("127.0.0.1", "localhost") + canned("elsewhere", h="Access-Control-Allow-Origin: *")
    page.evaluate("() => document.addEventListener('ratelimit:limited', () => { window.heard = true; })")
    assert page.evaluate("(url) => fetch(url).then(({ status }) => status)", elsewhere) == 429
    assert page.evaluate("(url) => fetch(url, { rateLimit: false }).then(({ status }) => status)", url) == 429
    assert page.evaluate("undo(); fetch === native")
    assert page.evaluate("(url) => fetch(url).then(({ status }) => status)", url) == 429
    assert page.evaluate("window.heard") is None


def test_a_store_out_of_order_is_told_too(page: Page) -> None:
    post(page, canned("outage", status=503, h="Retry-After: 1", times=1))
    expect(page.get_by_role("alertdialog", name="Temporarily unavailable")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    assert page.evaluate("outcome").startswith("503")
    post(page, canned("fault", status=503))
    assert page.evaluate("outcome").startswith("503")
