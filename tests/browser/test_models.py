"""The page with two models: it picks the one that fits, says so, and lets the visitor choose."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from painter_page import PainterPage
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from page.picker import picker

LINE = ((30, 40), (90, 40))
PICKED, CHOSEN = "Picked: fits this picture best", "Your choice for this picture"
SAVED = "The model that this picture was saved with"
HINT = "The models know aligned faces; this picture may be something else."


@pytest.fixture(scope="module")
def server(quick_server):
    return quick_server


def load(tab: PainterPage, value: int, name: str) -> None:
    """Drop a picture of a single grey on the page and wait until a model is picked."""
    buffer = io.BytesIO()
    Image.new("RGB", (128, 96), (value,) * 3).save(buffer, "PNG")
    tab.drop(name, buffer.getvalue())
    tab.wait_for_text("#status", name)
    tab.wait_for_text("#model .why", PICKED)


def model(tab: PainterPage) -> str:
    return tab.text("#model label:has(:checked)")


def choose(tab: PainterPage, name: str) -> None:
    tab.page.locator("#model label", has_text=name).click()


def test_the_model_that_fits_is_picked_said_and_used(tab):
    tab.set_steps(1)
    for value, name in ((50, "Night"), (210, "Day"), (40, "Night")):
        load(tab, value, f"{value}.png")
        assert model(tab) == name
        assert tab.page.locator(".hint").is_hidden()
        tab.stroke(*LINE)
        assert tab.redraw().endswith(f" · {name}")
        assert tab.download()[1]["model"] == f"{name.lower()}-32"


def test_a_saved_picture_brings_its_model_whichever_fits(tab):
    tab.set_steps(1)
    load(tab, 50, "dark.png")
    choose(tab, "Day")
    tab.stroke(*LINE)
    tab.redraw()
    image, about = tab.download()
    load(tab, 50, "another.png")
    assert model(tab) == "Night"
    chunk, stream = PngInfo(), io.BytesIO()
    chunk.add_text("sundae", json.dumps(about))
    image.save(stream, "PNG", pnginfo=chunk)
    tab.drop("saved.png", stream.getvalue())
    tab.wait_for_text("#status", "saved.png")
    tab.wait_for_text("#model .why", SAVED)
    tab.page.wait_for_timeout(1500)  # by now it is known which fits
    assert (model(tab), tab.text("#model .why")) == ("Day", SAVED)
    choose(tab, "Night")
    assert tab.text("#model .why") == CHOSEN
    tab.stroke(*LINE)
    tab.redraw()
    assert tab.download()[1]["model"] == "night-32"


def test_the_visitor_may_choose_another_and_that_stays_with_the_picture(tab):
    tab.set_steps(1)
    load(tab, 50, "dark.png")
    tab.stroke(*LINE)
    choose(tab, "Day")
    assert tab.text("#model .why") == CHOSEN
    assert tab.redraw().endswith(" · Day")
    choose(tab, "Night")  # for the next one: what is there was drawn by the other
    assert tab.download()[1]["model"] == "day-32"
    choose(tab, "Day")
    tab.click("Use as input")
    tab.wait_for_text("#status", "The result is the picture now")
    assert (model(tab), tab.text("#model .why")) == ("Day", CHOSEN)
    choose(tab, "Night")
    tab.click("Back to former picture")
    tab.wait_for_text("#status", "The former picture is back")
    assert (model(tab), tab.text("#model .why")) == ("Day", CHOSEN)
    assert tab.download()[1]["model"] == "day-32"
    load(tab, 60, "another.png")
    assert (model(tab), tab.text("#model .why")) == ("Night", PICKED)


def test_each_model_says_how_it_draws(tab):
    load(tab, 50, "dark.png")
    assert tab.text("#model .about").startswith("Rewrites the whole region again and again")
    for label in tab.page.locator("#model label").all():
        assert label.get_attribute("title") == tab.text("#model .about")  # both are of one kind here


def test_a_redraw_before_the_pick_is_known_waits_for_it(tab):
    """The page has not heard which model fits; the server finds out before it draws."""
    load(tab, 210, "bright.png")
    tab.page.evaluate("window.sundae.model = () => null")
    tab.set_steps(1)
    tab.stroke(*LINE)
    tab.redraw()
    assert tab.download()[1]["model"] == "day-32"
    tab.page.reload()  # the next test needs the page's own function
    tab.page.wait_for_selector(".sundae[data-ready='1']")
    tab.results = 0


def test_a_picture_that_fits_no_model_is_quietly_said_to(tab):
    load(tab, 127, "grey.png")
    assert tab.text(".hint") == HINT
    assert tab.page.locator(".message").is_hidden()
    load(tab, 210, "bright.png")
    assert tab.page.locator(".hint").is_hidden()


def test_the_choice_survives_a_lost_connection(visit):
    tab = visit()
    load(tab, 50, "dark.png")
    choose(tab, "Day")
    tab.stroke(*LINE)
    tab.set_steps(1)
    painted = tab.mask()
    tab.page.evaluate("window.stop()")  # ends the connection that says that the visitor is here
    tab.page.wait_for_timeout(1000)
    assert tab.redraw().endswith(" · Day")
    assert tab.page.locator(".sundae").get_attribute("data-recovered") == "1"
    assert np.array_equal(tab.mask(), painted)
    assert tab.download()[1]["model"] == "day-32"


def test_the_choice_works_by_keyboard_and_fits_a_phone(visit):
    tab = visit("phone")
    tab.page.set_viewport_size({"width": 360, "height": 740})
    tab.wait_for_text("#model .why", PICKED)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360
    for label in tab.page.locator("#model label").all():
        box = label.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360
    first = model(tab)
    tab.page.locator("#model input:checked").focus()
    tab.press("ArrowRight")
    assert model(tab) != first
    assert tab.text("#model .why") == CHOSEN


def test_a_single_model_needs_no_choice():
    assert "radio" not in picker(["Illustrated"]).html_template
    assert "about" in picker(["Illustrated"]).html_template
    assert "Photo" in picker(["Illustrated", "Photo"]).html_template
