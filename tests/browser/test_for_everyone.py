"""Without eyes, without a mouse, in the dark, on a small phone; and nothing stays when the tab is closed."""

from __future__ import annotations

import gc
import io
import re
import weakref
from typing import ClassVar

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from launching import free_port
from painter_page import PainterPage, within
from PIL import Image
from tiny import save_flat_bundle

import app
from page import desk as desks
from page.look import launch_settings
from page.session import Session
from page.shelf import Shelf

EYES = ((330, 420), (700, 420))
UNEXPLAINED = """() => [...document.querySelectorAll('button, input, select, textarea, summary, a[href], [role=button], [role=slider]')]
  .filter((control) => {
    if (control.matches('input[type=file][hidden], .pair[hidden] *, footer *')) return false;
    const named = control.getAttribute('aria-label') || control.labels?.[0]?.textContent || control.textContent;
    const described = (control.getAttribute('aria-describedby') || '').split(' ')
      .map((id) => document.getElementById(id)?.textContent || '').join('');
    const why = control.title || control.closest('label')?.title || described;
    return !named.trim() || !why.trim();
  }).map((control) => control.outerHTML.slice(0, 200))"""
# Two frames start what a change has fade; what turns until it is told to stop is not waited for.
FADED = """() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))).then(() => Promise.allSettled(
  document.getAnimations().filter((each) => each.effect.getComputedTiming().endTime < Infinity).map((each) => each.finished)))"""
LISTEN = """() => {
  window.heard = [];
  for (const region of document.querySelectorAll('.sundae [aria-live=polite]')) {
    new MutationObserver(() => { if (region.textContent) window.heard.push(region.textContent); })
      .observe(region, { childList: true, characterData: true, subtree: true });
  }
}"""


@pytest.fixture(scope="session")
def server(quick_server):
    return quick_server


# ---- without eyes ----------------------------------------------------------------------------------------


def violations(page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [
        f"{rule['id']}: {node['html'][:160]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


def open_everything(tab) -> None:
    tab.page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")


def have_a_result(tab) -> None:
    tab.page.locator("#candidates label").nth(1).click()
    tab.stroke(*EYES)
    tab.set_steps(3)
    tab.redraw()
    tab.redraw()
    tab.drop("no.png", b"no picture")
    tab.wait_for_text(".message p", "Expected a PNG")


def compare_by_a_line(tab) -> None:
    tab.click("Compare by a line")


def put_two_side_by_side(tab) -> None:
    tab.press("Escape")
    tab.click("Side by side")


def look_at_the_heat(tab) -> None:
    tab.press("Escape")
    tab.page.get_by_label("Shown over the redrawn cells").select_option("Last change")


def see_as_the_model_does(tab) -> None:
    tab.page.locator("[data-whole=seen]").click()
    assert within(15, lambda: "dB PSNR" in tab.text(".sight p"))


def read_the_keys(tab) -> None:
    if tab.page.locator("dialog.sight").is_visible():
        tab.press("Escape")
    tab.page.locator(".menu").evaluate("menu => { menu.open = false; }")
    tab.page.locator(".stage").focus()
    tab.press("?")


def speak_german(tab) -> None:
    tab.press("Escape")
    tab.page.locator("[data-language]").select_option("de")


def turn_the_lights_off(tab) -> None:
    tab.page.locator("body").evaluate("body => body.classList.add('dark')")


def take_a_small_phone(tab) -> None:
    tab.page.set_viewport_size({"width": 360, "height": 740})
    wide, view = tab.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide <= view


STATES = [
    open_everything,
    have_a_result,
    compare_by_a_line,
    put_two_side_by_side,
    look_at_the_heat,
    see_as_the_model_does,
    read_the_keys,
    speak_german,
    turn_the_lights_off,
    take_a_small_phone,
]


def test_axe_finds_nothing_serious(visit):
    """In one state after the other, each on top of those before."""
    tab = visit()
    for reach in STATES:
        reach(tab)
        tab.page.evaluate(FADED)
        assert violations(tab.page) == [], reach.__name__


def test_a_visitor_who_likes_it_dark_gets_it_dark(browser, server):
    context = browser.new_context(color_scheme="dark", viewport={"width": 1280, "height": 860})
    tab = PainterPage(context, server.url)
    colours = "() => [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.querySelector('.status')).color]"
    ground, words = (
        sum(map(int, re.findall(r"\d+", colour)[:3])) / 3 for colour in tab.page.evaluate(colours)
    )
    assert ground < 60 < 120 < words
    assert violations(tab.page) == []
    assert tab.errors == []
    context.close()


def test_every_control_has_a_name_and_a_line_about_it(tab):
    tab.page.locator("#candidates label").nth(1).click()
    tab.stroke(*EYES)
    tab.set_steps(2)
    tab.redraw()
    tab.redraw()
    assert tab.page.locator(".candidate, .past .thumbs button").count() >= 4
    assert tab.page.evaluate(UNEXPLAINED) == []


# ---- without a mouse -------------------------------------------------------------------------------------


def tab_to(tab, selector: str, key: str = "Tab") -> None:
    for _ in range(60):
        if tab.page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
        tab.press(key)
    raise AssertionError(f"{selector} cannot be reached by {key}")


def test_a_redraw_by_keyboard_alone_and_what_is_heard_of_it(visit):
    tab = visit()
    tab_to(tab, ".stage")
    tab.press("r")
    for key, times in (
        ("ArrowLeft", 8),
        ("ArrowUp", 4),
        ("d", 1),
        ("ArrowRight", 16),
        ("ArrowDown", 8),
        ("d", 1),
    ):
        for _ in range(times):
            tab.press(key)
    rows, columns = np.nonzero(tab.mask())
    corners = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert np.abs(np.subtract(corners, [384, 448, 640, 576])).max() <= 1
    assert tab.text(".spoken").startswith("Up at 640, 576 px")
    tab.press("b")
    tab.press("d")
    for _ in range(5):
        tab.press("Shift+ArrowDown")
    tab.press("Escape")  # not meant
    assert tab.mask().sum() == len(rows)
    tab.press("d")
    for _ in range(4):
        tab.press("ArrowDown")
    tab.press("d")
    painted = tab.mask()
    assert painted[640, 640]
    assert painted.sum() > len(rows)

    tab_to(tab, "#steps input[type=number]")
    tab.press("Control+a")
    tab.page.keyboard.type("20")
    tab_to(tab, "#candidates input")
    tab.press("ArrowRight")
    tab.page.evaluate(LISTEN)
    tab_to(tab, "#redraw", "Shift+Tab")
    tab.press("Enter")
    tab.wait_for_text("#status", "Done 1 ")
    heard = tab.page.evaluate("window.heard")
    told = ["Waiting for the model", "Redrawing", "25 % done", "50 % done", "75 % done"]
    assert heard[:-1] == told
    assert heard[-1].startswith("Done 1 ")

    tab_to(tab, ".candidate[aria-pressed=false]", "Shift+Tab")
    tab.press("Enter")
    first, second = (tab.page.locator(".candidate").nth(place) for place in (0, 1))
    assert [each.get_attribute("aria-pressed") for each in (first, second)] == ["false", "true"]
    tab_to(tab, "#download")
    with tab.page.expect_download() as waiting:
        tab.press("Enter")
    saved = np.asarray(Image.open(waiting.value.path()).convert("RGB"))
    assert f"seed {tab.seed() + 1} " in tab.text("#status")
    assert np.abs(saved.astype(int) - tab.shown())[painted].mean() < 4  # what is shown went through JPEG


# ---- nothing stays ---------------------------------------------------------------------------------------


class Kept(Session):
    """Sessions that are alive."""

    alive: ClassVar[weakref.WeakSet] = weakref.WeakSet()

    def __init__(self) -> None:
        super().__init__()
        self.alive.add(self)


def face(seed: int) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (256, 256, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


def test_nothing_is_left_when_the_tab_is_closed(browser, tmp_path, monkeypatch):
    """As the page promises: no file of the visitor's, no session, nothing in the browser."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "files"))
    monkeypatch.setattr(desks, "Session", Kept)
    examples = tmp_path / "examples"
    examples.mkdir()
    (examples / "one.png").write_bytes(face(1))
    demo = app.build(Shelf([str(save_flat_bundle(tmp_path / "night-32", -0.6, 20))]), examples)
    place = {"server_name": "127.0.0.1", "server_port": free_port()}
    demo.launch(**place, prevent_thread_lock=True, quiet=True, **launch_settings())
    context = browser.new_context(accept_downloads=True)
    tab = PainterPage(context, f"http://127.0.0.1:{place['server_port']}/")

    def files() -> list:
        return [path for path in (tmp_path / "files").rglob("*") if path.is_file()]

    tab.drop("face.png", face(2))
    tab.wait_for_text("#status", "face.png, 256 × 256")
    tab.page.locator("[data-language]").select_option("en")
    tab.stroke((80, 100), (160, 100))
    tab.set_steps(2)
    tab.redraw()
    tab.click("Use as input")
    tab.wait_for_text("#status", "The result is the picture now")
    tab.stroke((80, 160), (160, 160))
    tab.redraw()
    tab.download()
    assert len(files()) == 1
    assert len(Kept.alive) == 1
    assert demo.state_holder.session_data
    tab.page.close()
    assert within(10, lambda: not files())
    assert within(10, lambda: not demo.state_holder.session_data)
    assert within(10, lambda: gc.collect() >= 0 and not Kept.alive)
    stored = context.storage_state()
    assert stored["cookies"] == stored["origins"] == []
    assert tab.errors == []
    context.close()
    demo.close()
