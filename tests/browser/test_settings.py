"""The settings below the others, more steps, and keeping part of a result."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from painter_page import within
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sundae.pipeline import DEFAULT_FEATHER

SQUARE = ((300, 300), (600, 600))
RIGHT = ((450, 290), (620, 620))


@pytest.fixture(scope="session")
def server(quick_server):
    return quick_server


@pytest.fixture
def settings(tab):
    """The fields, open and at their usual values."""
    more = tab.page.locator(".more:not(.whole)")
    if not more.evaluate("details => details.open"):
        more.locator("summary").click()
    more.get_by_text("Back to the usual settings").click()
    yield more
    more.get_by_text("Back to the usual settings").click()


def paint(tab, tool, corners):
    tab.page.locator(".stage").focus()  # a field that was filled would take the key
    tab.press(tool)
    tab.stroke(*corners)


def test_what_is_set_is_what_the_file_says(tab, settings):
    settings.get_by_label("First temperature").fill("1.3")
    settings.get_by_label("Last temperature").fill("0.4")
    settings.get_by_label("Proportion").fill("60")
    settings.get_by_label("Strength").fill("50")
    paint(tab, "r", SQUARE)
    tab.set_steps(3)
    tab.redraw()
    _, about = tab.download()
    assert about["temperature_start"] == 1.3
    assert about["temperature_end"] == 0.4
    assert about["proportion_start"] == about["proportion_end"] == 0.6
    assert about["strength"] == 0.5
    settings.get_by_text("Back to the usual settings").click()
    tab.redraw()
    _, about = tab.download()
    assert (about["temperature_start"], about["strength"]) == (0.8, 1.0)


def pixels(image):
    return np.asarray(image.convert("RGB"))


def test_edges_are_as_they_were_set(tab, settings, server):
    """Nothing outside the mask changes, whatever they are."""
    original = pixels(Image.open(server.examples[0]))
    paint(tab, "r", SQUARE)
    tab.page.get_by_label("Lock").check()
    tab.set_steps(2)
    tab.redraw()
    usual, about = tab.download()
    assert (about["feather"], about["mask_rule"]) == (DEFAULT_FEATHER, "any")
    for edge, rule, given in (("0", "touched", (0, "any")), ("64", "painted all over", (64, "all"))):
        settings.get_by_label("Soft edge").fill(edge)
        settings.get_by_label("Redrawn cells").select_option(rule)
        tab.redraw()
        drawn, about = tab.download()
        assert (about["feather"], about["mask_rule"]) == given
        changed = (pixels(drawn) != original).any(-1)
        assert changed[tab.mask()].mean() > 0.5
        assert not changed[~tab.mask()].any()
        assert not np.array_equal(pixels(drawn), pixels(usual))


def test_edges_come_back_with_a_result_and_with_a_saved_picture(tab, settings):
    edge, rule = settings.get_by_label("Soft edge"), settings.get_by_label("Redrawn cells")
    edge.fill("40")
    rule.select_option("painted all over")
    paint(tab, "r", SQUARE)
    tab.set_steps(2)
    tab.redraw()
    first, about = tab.download()
    settings.get_by_text("Back to the usual settings").click()
    assert (edge.input_value(), rule.input_value()) == ("", "any")
    tab.redraw()
    pictures = tab.count("pictures")
    tab.page.locator(".past button[aria-current=false]").first.click()
    tab.wait_for_count("pictures", pictures + 1)
    assert (edge.input_value(), rule.input_value()) == ("40", "all")
    again, settings_again = tab.download()
    assert settings_again == about
    assert np.array_equal(pixels(again), pixels(first))
    settings.get_by_text("Back to the usual settings").click()
    drop_with(tab, "mine.png", about)
    assert (edge.input_value(), rule.input_value()) == ("40", "all")
    drop_with(tab, "whole.png", about | {"feather": 0, "mask_rule": "any", "from_nothing": True})
    assert (edge.input_value(), rule.input_value()) == ("", "any")


def test_the_picture_that_was_saved_fills_every_field_as_it_was(tab, settings):
    paint(tab, "r", SQUARE)
    tab.set_steps(3)
    tab.set_seed(1234)
    fields = {
        "Strength": "45",
        "First temperature": "1.3",
        "Last temperature": "0.4",
        "Proportion": "60",
        "Soft edge": "9",
    }
    for name, value in fields.items():
        settings.get_by_label(name).fill(value)
    settings.get_by_label("Redrawn cells").select_option("painted all over")
    tab.page.get_by_label("Lock").check()
    tab.page.locator("#candidates label").nth(2).click()
    tab.redraw()
    tab.press("3")
    _, about = tab.download()
    assert about["seed"] == 1236
    settings.get_by_text("Back to the usual settings").click()
    settings.get_by_label("Variation of").select_option("result")
    tab.set_steps(7)
    drop_with(tab, "mine.png", about)
    assert {name: settings.get_by_label(name).input_value() for name in fields} == fields
    assert settings.get_by_label("Redrawn cells").input_value() == "all"
    assert settings.get_by_label("Variation of").input_value() == "picture"
    assert (tab.seed(), tab.steps()) == (1236, 3)
    assert tab.page.locator("#candidates input:checked").input_value() == "1"
    paint(tab, "r", ((20, 20), (100, 80)))
    tab.redraw()
    assert tab.download()[1] == about


TOLD = {
    "more steps": ({"strength": 0.001, "began_with": {}}, "More steps were taken after these."),
    "a variation": ({"strength": 0.4, "began_with": {}}, "It was a variation of a result"),
    "too many steps": ({"steps": 200}, "Some of them are beyond what the fields take"),
    "too hot": ({"temperature_start": 5.0}, "Some of them are beyond what the fields take"),
    "a long seed": ({"seed": 2**40}, "Some of them are beyond what the fields take"),
    "what has no field": ({"top_k": 5}, "Some of them are beyond what the fields take"),
    "a grown mask": ({"grow": 8}, "Some of them are beyond what the fields take"),
    "a changing proportion": ({"proportion_start": 0.5}, "Its proportion changed from step to step"),
    "another model": ({"model": "Mona-512"}, "The model that it was saved with, Mona-512, is not here."),
    "another version": ({"hash": "0123"}, "It was saved with another version of this model."),
}


@pytest.mark.parametrize("what", TOLD)
def test_what_does_not_come_back_with_a_picture_is_told(tab, settings, what):
    paint(tab, "r", SQUARE)
    tab.set_steps(2)
    tab.redraw()
    _, about = tab.download()
    changes, told = TOLD[what]
    changes = {name: about if name == "began_with" else value for name, value in changes.items()}
    drop_with(tab, "mine.png", about)
    assert told not in tab.text(".message p")
    drop_with(tab, "changed.png", about | changes)
    assert told in tab.text(".message p")
    assert tab.steps() == 2
    assert tab.seed() == about["seed"]


@pytest.mark.parametrize(
    ("field", "names", "value"),
    [
        ("Strength", ["strength"], 0.333),
        ("Strength", ["strength"], 0.07),
        ("Proportion", ["proportion_start", "proportion_end"], 0.125),
        ("Proportion", ["proportion_start", "proportion_end"], 1.0),
        ("First temperature", ["temperature_start"], 0.123),
        ("Last temperature", ["temperature_end"], 0.987),
    ],
)
def test_a_number_that_no_step_of_its_field_reaches_comes_back_as_it_was(tab, settings, field, names, value):
    """As the command line and programs draw with; also one that is the usual, which may not be so for the model."""
    paint(tab, "r", SQUARE)
    tab.set_steps(2)
    tab.redraw()
    about = tab.download()[1] | dict.fromkeys(names, value)
    drop_with(tab, "mine.png", about)
    assert settings.get_by_label(field).input_value() != ""
    assert "left out" not in tab.text(".message p")
    paint(tab, "r", ((20, 20), (100, 80)))
    tab.redraw()
    assert tab.download()[1] == about


def drop_with(tab, name, about):
    """A picture with these settings in it."""
    stream, chunk = io.BytesIO(), PngInfo()
    chunk.add_text("sundae", json.dumps(about))
    Image.new("RGB", (128, 96)).save(stream, "PNG", pnginfo=chunk)
    tab.drop(name, stream.getvalue())
    tab.wait_for_text("#status", name)
    tab.wait_for_text(".message p", "This picture was saved by Sundae")


def test_the_cells_that_are_shown_follow_the_rule(tab, settings):
    rule = settings.get_by_label("Redrawn cells")
    script = """([xs, y]) => { const c = document.querySelector('canvas.cells'), pen = c.getContext('2d');
      return xs.map((x) => pen.getImageData(x, y, 1, 1).data[3] > 0); }"""

    def lit(xs, y):
        return tab.page.evaluate(script, [xs, y])

    tab.press("g")
    paint(tab, "r", ((100, 100), (500, 500)))  # the window is of 800 px, with 4 x 4 cells
    middles = [100, 300, 500], 300
    rule.select_option("painted all over")
    assert lit(*middles) == [False, True, False]
    rule.select_option("touched")
    assert lit(*middles) == [True, True, True]
    rule.select_option("painted all over")
    tab.press("Delete")
    paint(tab, "r", ((300, 300), (400, 320)))
    assert lit([325, 350, 375], 310) == [False, False, False]
    tab.set_steps(2)
    tab.click("Redraw")
    tab.wait_for_text(".message p", "The mask covers no cell")
    tab.page.get_by_label("Brush size").fill("100")  # the largest: 410 px
    tab.page.locator(".stage").focus()
    for key in ("Delete", "b"):
        tab.press(key)
    tab.page.mouse.move(*tab.place((380, 384)))
    tab.page.mouse.down()
    tab.page.mouse.move(*tab.place((480, 384)), steps=8)
    middles = [128, 384, 640], 384  # the window is nearly the whole picture
    assert within(5, lambda: lit(*middles) == [False, True, False])  # while the pointer is down
    tab.page.mouse.up()
    settings.get_by_text("Back to the usual settings").click()
    assert lit(*middles) == [True, True, True]
    tab.page.locator(".stage").focus()
    tab.press("g")


@pytest.mark.parametrize("value", ["65", "-1", "1.5"])
def test_a_soft_edge_out_of_range_is_told(tab, settings, value):
    settings.get_by_label("Soft edge").fill(value)
    paint(tab, "r", SQUARE)
    tab.click("Redraw")
    tab.wait_for_text(".message p", "The soft edge must be a whole number from 0 to 64.")


@pytest.mark.parametrize("value", ["7", "-1", "0"])
def test_a_number_out_of_range_is_told_and_nothing_is_lost(tab, settings, value):
    settings.get_by_label("First temperature").fill(value)
    paint(tab, "r", SQUARE)
    before = tab.mask()
    tab.click("Redraw")
    tab.wait_for_text(".message p", "The first temperature must be")
    assert np.array_equal(tab.mask(), before)


def test_keep_going_takes_more_steps_from_the_result(tab, settings):
    tab.click("Keep going")
    tab.wait_for_text(".message p", "There is no result yet")
    paint(tab, "r", SQUARE)
    tab.set_steps(2)
    tab.redraw()
    _, first = tab.download()
    tab.press("Delete")  # the mask of the result counts, not what is painted now
    tab.click("Keep going")
    tab.results += 1
    tab.wait_for_text("#status", f"Done {tab.results} ")
    _, about = tab.download()
    assert about["began_with"] == first
    assert about["temperature_start"] == about["temperature_end"] == first["temperature_end"]


def test_a_variation_of_the_result_begins_with_it(tab, settings):
    settings.get_by_label("Variation of").select_option("result")
    settings.get_by_label("Strength").fill("30")
    paint(tab, "r", SQUARE)
    tab.set_steps(2)
    tab.click("Redraw")
    tab.wait_for_text(".message p", "There is no result yet that could be varied")
    settings.get_by_label("Strength").fill("100")
    tab.redraw()
    settings.get_by_label("Strength").fill("30")
    tab.redraw()
    _, about = tab.download()
    assert about["began_with"]["strength"] == 1.0
    assert about["strength"] == 0.3


def test_what_is_rubbed_out_stays_as_it_was_drawn(tab, settings):
    paint(tab, "r", SQUARE)
    tab.set_steps(2)
    tab.redraw()
    drawn = np.asarray(tab.download()[0])
    tab.page.locator(".stage").focus()
    tab.press("r")
    tab.page.keyboard.down("Alt")
    tab.stroke(*RIGHT)
    tab.page.keyboard.up("Alt")
    rest = tab.mask()
    tab.redraw()
    again = np.asarray(tab.download()[0])
    assert np.array_equal(again[~rest], drawn[~rest])
    assert not np.array_equal(again[rest], drawn[rest])
    assert np.array_equal(tab.mask(), rest)


def test_a_mask_begun_anew_is_no_rest_of_the_one_before(tab, server, settings):
    """Nor if it lies wholly in it."""
    paint(tab, "r", SQUARE)
    tab.set_steps(2)
    tab.redraw()
    tab.page.locator(".stage").focus()
    tab.press("Delete")
    paint(tab, "r", ((400, 400), (500, 500)))
    mask = tab.mask()
    tab.redraw()
    image, about = tab.download()
    assert "earlier" not in about
    original = pixels(Image.open(server.examples[0]))
    assert np.array_equal(np.asarray(image)[~mask], original[~mask])


def test_without_keeping_it_the_original_comes_back(tab, settings):
    settings.get_by_label("Keep what I rub out").uncheck()
    paint(tab, "r", SQUARE)
    tab.set_steps(2)
    tab.redraw()
    original = tab.shown().copy()
    tab.page.locator(".stage").focus()
    tab.press("r")
    tab.page.keyboard.down("Alt")
    tab.stroke(*RIGHT)
    tab.page.keyboard.up("Alt")
    tab.redraw()
    _, about = tab.download()
    assert "earlier" not in about
    assert original.shape == tab.shown().shape


def test_eight_candidates(tab, settings):
    tab.page.locator("#candidates label").nth(7).click()
    paint(tab, "r", SQUARE)
    tab.set_steps(2)
    tab.redraw()
    assert tab.page.locator(".candidate").count() == 8
    tab.press("8")
    assert tab.page.locator(".candidate").nth(7).get_attribute("aria-pressed") == "true"


def rub_out(tab, corners=RIGHT):
    tab.page.locator(".stage").focus()
    tab.press("r")
    tab.page.keyboard.down("Alt")
    tab.stroke(*corners)
    tab.page.keyboard.up("Alt")


def test_a_cancelled_job_leaves_the_mask_of_the_result_to_it(tab, settings):
    """The outline, "Keep going" and what counts as rubbed out go by the mask of the result, not of that job."""
    paint(tab, "r", SQUARE)
    hole = tab.mask()
    tab.set_steps(2)
    tab.redraw()
    tab.press("Delete")
    paint(tab, "r", ((100, 700), (900, 950)))
    tab.set_steps(64)
    tab.click("Redraw")
    tab.wait_for_count("drawn", 2)
    tab.click("Cancel")
    tab.wait_for_text("#status", "Cancelled")
    outline = tab.page.locator("canvas.outline").evaluate(
        "c => [...c.getContext('2d').getImageData(450, 295, 1, 10).data, 0, ...c.getContext('2d').getImageData(500, 695, 1, 10).data]"
    )
    assert any(outline[3:40:4])
    assert not any(outline[44::4])
    tab.set_steps(2)
    tab.click("Keep going")
    tab.results += 1
    tab.wait_for_text("#status", f"Done {tab.results} ")
    tab.press("m")
    assert np.array_equal(tab.mask(), hole)


def test_part_of_a_variation_of_the_result_stays_as_it_was_drawn(tab, settings):
    """The result has become the picture by then, so the variation is of what that shows."""
    paint(tab, "r", SQUARE)
    tab.set_steps(2)
    tab.redraw()
    settings.get_by_label("Variation of").select_option("result")
    settings.get_by_label("Strength").fill("40")
    rub_out(tab)
    tab.redraw()
    _, about = tab.download()
    assert about["strength"] == 0.4
    assert len(about["earlier"]) == 1
    tab.click("Use as input")
    tab.wait_for_text("#status", "The result is the picture now")
    paint(tab, "r", SQUARE)
    tab.redraw()


def test_a_result_that_is_lost_with_the_connection_is_not_kept(visit):
    tab = visit()
    paint(tab, "r", SQUARE)
    tab.set_steps(2)
    tab.redraw()
    for rubs in (True, False):
        tab.lose_connection()
        if rubs:
            rub_out(tab)
        tab.click("Redraw" if rubs else "Keep going")
        tab.wait_for_text(".message p", "The connection was lost, and the result with it")
        rest = tab.mask()
        assert tab.page.locator(".sundae").get_attribute("data-busy") == "0"
        assert not tab.page.locator(".replay").is_visible()
        tab.results = 0
        tab.redraw()
        assert np.array_equal(tab.mask(), rest)
        assert "earlier" not in tab.download()[1]


def test_a_variation_of_a_result_that_is_lost_is_not_drawn_of_another(visit):
    tab = visit()
    paint(tab, "r", SQUARE)
    tab.set_steps(2)
    tab.redraw()
    tab.page.locator(".more:not(.whole) summary").click()
    tab.page.get_by_label("Variation of").select_option("result")
    tab.page.get_by_label("Strength").fill("40")
    tab.lose_connection()
    tab.click("Redraw")
    tab.wait_for_text(".message p", "The connection was lost, and the result with it")
    assert tab.page.locator(".sundae").get_attribute("data-busy") == "0"
    tab.click("Redraw")
    tab.wait_for_text(".message p", "There is no result yet that could be varied")
