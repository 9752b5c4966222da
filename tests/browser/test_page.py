"""The module in its surroundings: policies, languages, colours, assistive technology, no document at all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import AXE, Opener
from tests.processes import need

pytestmark = pytest.mark.live

HERE = Path(__file__).parent
MODULE = HERE.parent.parent / "src/ratelimit_kit/static/ratelimit_kit/ratelimit.js"

EVERYTHING = """() => {
  for (const kind of ["success", "error", "warning", "info"]) kit.toast.show(`This is ${kind}`, kind, { duration: 0 });
}"""
OVERLAYS = {
    "toasts": "() => {}",
    "loading": "() => void kit.loading.show('Saving your changes')",
    "error": "() => void kit.loading.showError({ title: 'Not saved', message: 'The disk is full.', "
    "actions: [{ label: 'Retry', primary: true }, { label: 'Cancel' }] })",
    "waiting": "() => void kit.throttledFetch('/canned/axe?h=Retry-After: 50', { method: 'POST' })",
}


def test_a_strict_content_security_policy_with_trusted_types_is_not_violated(open_page: Opener) -> None:
    page = open_page("/page/strict.html?strict=yes")
    expect(page.get_by_role("alertdialog", name="Too many requests")).to_be_visible()
    expect(page.locator(".rlk-toast")).to_have_text(
        [f"<b>{kind}</b>" for kind in ("error", "success", "warning", "info")]
    )
    assert page.locator(".rlk-error").evaluate("item => getComputedStyle(item).backgroundColor") == "rgb(185, 28, 28)"
    assert page.evaluate("violations") == []
    page.locator(".rlk-overlay h2").click()
    assert page.evaluate("[forbidden, violations.length]") == [True, 1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(open_page: Opener, scheme: str) -> None:
    page = open_page(color_scheme=scheme, reduced_motion="reduce")
    page.add_script_tag(path=AXE)
    page.evaluate(EVERYTHING)
    for name, show in OVERLAYS.items():
        page.evaluate(show)
        if name != "toasts":
            expect(page.locator("dialog:modal")).to_be_visible()
        found = page.evaluate("axe.run().then(({ violations, passes }) => [violations, passes.map(({ id }) => id)])")
        assert [(one["id"], one["impact"], one["nodes"][0]["html"]) for one in found[0]] == [], name
        assert "color-contrast" in found[1]
        page.evaluate("kit.loading.hide()")
        page.keyboard.press("Escape")
        expect(page.locator("dialog:modal")).to_have_count(0)


def test_indonesian_by_the_pages_language(page: Page) -> None:
    page.evaluate("document.documentElement.lang = 'id-ID'")
    page.evaluate("() => void kit.throttledFetch('/canned/id?h=Retry-After: 120', { method: 'POST' })")
    dialog = page.get_by_role("alertdialog", name="Terlalu banyak permintaan")
    expect(dialog.get_by_role("timer")).to_have_text("Anda dapat mencoba lagi dalam 2 menit.")
    for name in ("Coba lagi", "Batal", "Tutup"):
        expect(dialog.get_by_role("button", name=name, exact=True)).to_be_visible()
    assert page.locator(".rlk-overlay").get_attribute("lang") == "id"


def test_strings_can_be_replaced_and_a_language_added(page: Page) -> None:
    page.evaluate("""() => {
      kit.strings.de = { limited: "Zu viele Anfragen", wait: "Noch {time}." };
      kit.configure({ lang: "de-CH", strings: { cancel: "Lass es" } });
      void kit.throttledFetch("/canned/de?h=Retry-After: 80", { method: "POST" });
    }""")
    dialog = page.get_by_role("alertdialog", name="Zu viele Anfragen")
    expect(dialog.get_by_role("timer")).to_have_text("Noch 80 Sekunden.")
    expect(dialog.get_by_role("button", name="Lass es")).to_be_visible()
    expect(dialog.get_by_role("button", name="Retry")).to_be_visible()  # not translated: English


@pytest.mark.parametrize("lang", ["", "xx", "constructor", "en-", "?"])
def test_an_unknown_language_is_english(page: Page, lang: str) -> None:
    page.evaluate("(lang) => { document.documentElement.lang = lang; }", lang)
    page.evaluate("() => void kit.loading.show()")
    expect(page.get_by_role("dialog", name="Loading…")).to_be_visible()


def test_both_languages_say_the_same_things(page: Page) -> None:
    names = page.evaluate("Object.values(kit.strings).map((strings) => Object.keys(strings))")
    assert names[0] == names[1]


def test_nothing_moves_where_the_visitor_wants_no_motion(open_page: Opener) -> None:
    moving = "document.getAnimations().filter((one) => one instanceof CSSAnimation).length"
    for motion, count in (("reduce", 0), ("no-preference", 1)):
        page = open_page(reduced_motion=motion)
        page.evaluate("() => { kit.toast.info('here'); kit.loading.show(); }")
        assert (page.evaluate(moving) > 0) == bool(count)


def test_forced_colours_keep_borders(open_page: Opener) -> None:
    page = open_page(forced_colors="active")
    page.evaluate(EVERYTHING)
    page.evaluate(OVERLAYS["error"])
    for element in (".rlk-toast", ".rlk-overlay", ".rlk-primary"):
        style = page.locator(element).first.evaluate(
            "e => [getComputedStyle(e).borderTopStyle, getComputedStyle(e).borderTopColor]"
        )
        assert style[0] == "solid"
        assert style[1] != "rgba(0, 0, 0, 0)"


def test_a_narrow_screen_holds_everything(open_page: Opener) -> None:
    page = open_page(viewport={"width": 320, "height": 480})
    page.evaluate(EVERYTHING)
    page.evaluate(OVERLAYS["error"])
    for element in page.locator(".rlk-toast, .rlk-overlay, .rlk-overlay button").all():
        box = element.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 320
    assert page.evaluate("document.documentElement.scrollWidth") == 320


FALLBACK = """
  kit.toast.error("an error"); kit.toast.info("an info"); await kit.toast.ready();
  const end = kit.loading.show("work"); end(); kit.loading.hide();
  const value = await kit.loading.wrap(Promise.resolve(42), "work");
  const action = await kit.loading.showError({ title: "Title", message: "and message" });
"""


def test_without_a_document_the_console_is_told() -> None:
    code = f"const kit = await import({str(MODULE)!r}); {FALLBACK} console.log(value, action);"
    command = [need("node"), "--no-warnings", "--input-type=module", "-e", code]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    assert ran.stderr.splitlines() == ["an error", "Title and message"]
    assert ran.stdout.splitlines() == ["an info", "42 undefined"]


def test_a_worker_can_use_it(page: Page) -> None:
    code = f"""import * as kit from "/ratelimit-kit/ratelimit.js"; {FALLBACK}
      const options = {{ method: "POST" }};
      const {{ status }} = await kit.throttledFetch("/canned/worker?h=Retry-After: 1", options);
      postMessage([value, status]);"""
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    answer = page.evaluate(
        """(code) => new Promise((done, fail) => {
          const based = code.replace("/ratelimit-kit", location.origin + "/ratelimit-kit").replace("/canned", location.origin + "/canned");
          const worker = new Worker(URL.createObjectURL(new Blob([based], { type: "text/javascript" })), { type: "module" });
          worker.onmessage = ({ data }) => done(data);
          worker.onerror = fail;
        })""",
        code,
    )
    assert answer == [42, 429]
    assert "an error" in told


SETTINGS = """
SECRET_KEY = "tests"
INSTALLED_APPS = ["django.contrib.staticfiles", "ratelimit_kit"]
STATIC_URL = "/static/"
STATIC_ROOT = "collected"
STORAGES = {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"}}
"""


def test_djangos_collectstatic_finds_hashes_and_keeps_both_files(tmp_path: Path) -> None:
    (tmp_path / "site_settings.py").write_text(SETTINGS)
    command = [sys.executable, "-m", "django", "collectstatic", "--no-input", "--settings=site_settings"]
    subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, check=True)
    collected = tmp_path / "collected"
    manifest = json.loads((collected / "staticfiles.json").read_text())["paths"]
    for name in ("ratelimit_kit/ratelimit.js", "ratelimit_kit/ratelimit.css"):
        assert manifest[name] != name
        assert (collected / manifest[name]).read_bytes() == MODULE.parent.joinpath(Path(name).name).read_bytes()


HASHING = """
from django.contrib.staticfiles.storage import ManifestStaticFilesStorage


class Storage(ManifestStaticFilesStorage):
    support_js_module_import_aggregation = True
"""


@pytest.mark.parametrize("rewritten", [False, True])
def test_a_script_of_the_project_imports_the_module_by_a_relative_path(tmp_path: Path, rewritten: bool) -> None:
    """By the plain name, which collectstatic keeps; or by the hashed one, where the storage is told to rewrite it."""
    settings = SETTINGS + 'STATICFILES_DIRS = ["own"]\n'
    if rewritten:
        settings = settings.replace("django.contrib.staticfiles.storage.ManifestStaticFilesStorage", "hashing.Storage")
    (tmp_path / "site_settings.py").write_text(settings)
    (tmp_path / "hashing.py").write_text(HASHING)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "contact.js").write_text('import { throttledFetch } from "./ratelimit_kit/ratelimit.js";\n')
    command = [sys.executable, "-m", "django", "collectstatic", "--no-input", "--settings=site_settings"]
    subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, check=True)
    collected = tmp_path / "collected"
    manifest = json.loads((collected / "staticfiles.json").read_text())["paths"]
    named = manifest["ratelimit_kit/ratelimit.js"] if rewritten else "ratelimit_kit/ratelimit.js"
    text = (collected / manifest["contact.js"]).read_text()
    assert text == f'import {{ throttledFetch }} from "./{named}";\n'
    assert (collected / named).read_bytes() == MODULE.read_bytes()
