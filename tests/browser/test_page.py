"""The page in a desktop browser: paint, redraw, cancel, keep, two visitors at once."""

from __future__ import annotations

import time

import numpy as np
from painter_page import within

from sundae.image import load_picture

MOUTH = ((380, 720), (640, 720))
EYES = ((330, 420), (700, 420))


def kept_files(server) -> set:
    """Results that visitors have downloaded and that are still on the server's disk."""
    return set(server.files.glob("sundae-*/*/*.png"))


def pixels(image) -> np.ndarray:
    return np.asarray(image.convert("RGB"))


def test_redraw_shows_every_frame_and_changes_only_the_hole(tab, server):
    before = load_picture(server.examples[0]).rgb
    tab.stroke(*EYES)
    hole = tab.mask()
    tab.set_steps(8)
    status = tab.redraw()
    assert tab.count("drawn") == tab.count("sent") >= 4
    assert f"seed {tab.seed()} · 8 steps" in status
    image, settings = tab.download()
    after = pixels(image)
    changed = (after != before).any(-1)
    assert after.shape == before.shape
    assert hole.any()
    assert changed[hole].any()
    assert not changed[~hole].any()
    assert settings["seed"] == tab.seed()
    assert settings["steps"] == 8
    assert {"model", "hash", "version", "temperature_start", "temperature_end"} <= set(settings)


def test_picture_redraw_and_examples_are_on_the_first_screen(visit):
    """However long the column of settings is beside them."""
    tab = visit()
    tab.page.wait_for_selector(".examples button")
    below = "each => each.getBoundingClientRect().bottom - innerHeight"
    for selector in (".stage", "#redraw", ".examples button >> nth=-1"):
        assert tab.page.locator(selector).evaluate(below) <= 0, selector
    assert tab.page.locator("#controls").evaluate(below) > 0


def test_the_time_left_is_told(tab):
    tab.stroke(*EYES)
    tab.set_steps(40)
    tab.click("Redraw")
    told = (
        "() => /^step \\d+ of 40 · \\d+ s left$/.test(document.querySelector('.foot .progress').textContent)"
    )
    tab.page.wait_for_function(told)
    tab.click("Cancel")
    tab.wait_for_text("#status", "Cancelled")


def test_a_locked_seed_gives_the_same_picture_and_an_unlocked_one_another(tab):
    tab.stroke(*MOUTH)
    tab.set_steps(4)
    tab.set_seed(7)
    tab.page.get_by_label("Lock").check()
    tab.redraw()
    first, _ = tab.download()
    tab.redraw()
    second, settings = tab.download()
    assert settings["seed"] == 7
    assert np.array_equal(pixels(first), pixels(second))
    tab.page.get_by_label("Lock").uncheck()
    tab.redraw()
    assert tab.seed() != 7


def test_candidates_are_adopted_and_become_the_input(tab):
    tab.stroke(*EYES)
    tab.set_steps(3)
    tab.set_seed(40)
    tab.page.get_by_label("Lock").check()
    tab.page.locator("#candidates label").nth(2).click()
    tab.redraw()
    assert tab.page.locator(".candidate").count() == 3
    tab.page.get_by_role("button", name="Use candidate 3").click()
    assert "seed 42" in tab.text("#status")
    third, settings = tab.download()
    assert settings["seed"] == 42
    tab.click("Use as input")
    tab.wait_for_text("#status", "The result is the picture now")
    assert not tab.mask().any()
    again, _ = tab.download()
    assert np.array_equal(pixels(third), pixels(again))
    tab.page.locator("#candidates label").nth(0).click()
    tab.set_seed(42)
    tab.stroke(*MOUTH)
    tab.redraw()
    edited, settings = tab.download()
    assert settings["earlier"][0]["seed"] == 42
    changed = (pixels(edited) != pixels(third)).any(-1)
    assert changed.any()
    assert not changed[~tab.mask()].any()


def test_the_mask_rests_while_its_hole_is_drawn_in(visit):
    """Undo, invert and clear, by key and by button, do nothing until the job is over."""
    tab = visit()
    tab.set_steps(64)
    tab.stroke(*EYES)
    painted = tab.mask()
    tab.click("Redraw")
    tab.page.locator(".stage").focus()
    tab.wait_for_count("drawn", 2)
    for key in ("Control+z", "i", "Delete"):
        tab.press(key)
    tab.page.locator("[data-act=clear]").click()
    assert (tab.mask() == painted).all()
    tab.press("Escape")
    tab.wait_for_text("#status", "Cancelled", 5)
    tab.press("Control+z")
    assert tab.mask().sum() < painted.sum()


def test_cancel_stops_at_once_and_the_next_job_runs(visit):
    tab = visit()
    tab.stroke(*EYES)
    tab.set_steps(64)
    tab.click("Redraw")
    tab.wait_for_count("drawn", 2)
    started = time.monotonic()
    tab.press("Escape")
    tab.wait_for_text("#status", "Cancelled", 5)
    assert time.monotonic() - started < 2.5
    drawn = tab.count("drawn")
    assert drawn < 64
    tab.set_steps(2)
    tab.page.locator(".stage").focus()
    tab.press("Enter")
    tab.wait_for_text("#status", "Done 1 ", 15)


LATE = """() => { const fetch = window.fetch; window.fetch = async (address, options) => {
  const answer = await fetch(address, options);
  if (/\\/queue\\/join/.test(String(address))) await new Promise((done) => setTimeout(done, 1500));
  return answer;
}; }"""


def test_a_job_cancelled_before_it_has_a_number_stops_too(visit):
    """Gradio alone asks without a number then, and the console tells of status 422."""
    tab = visit()
    tab.stroke(*EYES)
    tab.set_steps(64)
    tab.page.locator("#candidates label").nth(7).click()
    tab.page.evaluate(LATE)
    with tab.page.expect_response("**/cancel") as response:
        tab.click("Redraw")
        tab.page.wait_for_timeout(300)
        tab.press("Escape")
    assert response.value.status == 200
    tab.wait_for_text("#status", "Cancelled", 5)
    other = visit()
    other.stroke(*EYES)
    other.set_steps(1)
    other.redraw(seconds=8)


def test_a_closed_tab_frees_the_model(visit):
    leaving, staying = visit(), visit()
    for tab in (leaving, staying):
        tab.stroke(*EYES)
    leaving.set_steps(64)
    leaving.page.locator("#candidates label").nth(3).click()
    leaving.click("Redraw")
    leaving.wait_for_count("drawn", 1)
    leaving.page.close()
    staying.set_steps(1)
    staying.redraw(seconds=8)


def test_reload_gives_a_clean_page_and_removes_what_was_kept(visit, server):
    tab = visit()
    tab.stroke(*MOUTH)
    tab.set_steps(1)
    tab.redraw()
    before = kept_files(server)
    tab.download()
    own = kept_files(server) - before
    assert len(own) == 1
    tab.page.reload()
    tab.page.wait_for_selector(".sundae[data-ready='1']")
    assert not tab.mask().any()
    assert tab.text("#status").startswith("Example 1")
    assert within(8, lambda: not own & kept_files(server))
    tab.click("Download PNG")
    tab.wait_for_text(".message p", "There is no result yet")


def test_two_visitors_at_once_do_not_mix(visit, server):
    tabs = [visit(), visit()]
    tabs[1].page.get_by_role("button", name="Load example 2").click()
    tabs[1].wait_for_text("#status", "Example 2")
    tabs[0].stroke(*EYES)
    tabs[1].stroke(*MOUTH)
    for tab in tabs:
        tab.set_steps(3)
    for tab in tabs:
        tab.click("Redraw")
    for number, tab in enumerate(tabs):
        tab.wait_for_text("#status", "Done 1 ", 60)
        assert tab.count("drawn") == tab.count("sent")
        before = load_picture(server.examples[number]).rgb
        changed = (pixels(tab.download()[0]) != before).any(-1)
        assert changed.any()
        assert not changed[~tab.mask()].any()


def test_comparing_and_looking_back(tab):
    tab.stroke(*EYES)
    tab.set_steps(4)
    tab.redraw()
    result = tab.page.locator("canvas.result")
    tab.page.locator(".stage").focus()
    tab.page.keyboard.down("c")
    assert result.evaluate("canvas => getComputedStyle(canvas).visibility") == "hidden"
    tab.page.keyboard.up("c")
    assert result.evaluate("canvas => getComputedStyle(canvas).visibility") == "visible"
    tab.page.get_by_label("Look back through the steps").fill("2")
    assert tab.text("#status").startswith("Step ")


def test_a_lost_connection_is_made_good(visit):
    tab = visit()
    tab.stroke(*EYES)
    painted = tab.mask()
    tab.set_steps(1)
    tab.lose_connection("window.stop()")  # ends the connection that says that the visitor is here
    tab.redraw()
    assert tab.page.locator(".sundae").get_attribute("data-recovered") == "1"
    assert np.array_equal(tab.mask(), painted)
