"""Earlier results come back with picture, mask, candidates and settings; saved settings come back with their file."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from painter_page import within
from PIL import Image, PngImagePlugin

LEFT, RIGHT = ((200, 300), (400, 500)), ((600, 300), (800, 500))


@pytest.fixture(scope="session")
def server(quick_server):
    return quick_server


def paint(tab, corners):
    tab.page.locator(".stage").focus()  # a field that was filled would take the key
    tab.press("r")
    tab.stroke(*corners)


def earlier(tab):
    return tab.page.locator(".past .thumbs button")


def test_an_earlier_result_comes_back_whole(visit):
    tab = visit()
    tab.set_steps(3)
    tab.page.locator("#candidates label").nth(1).click()
    paint(tab, LEFT)
    tab.redraw()
    tab.press("2")
    first, shown, mask, seed = *tab.download(), tab.mask(), tab.seed()
    pixels = tab.shown()
    assert not earlier(tab).first.is_visible()  # one result is the one that is here
    tab.click("Load example 2")
    tab.wait_for_count("pictures", 2)
    tab.set_steps(2)
    tab.page.locator("#candidates label").nth(0).click()
    paint(tab, RIGHT)
    tab.redraw()
    assert earlier(tab).count() == 2
    second, _ = tab.download()
    tab.page.get_by_label("Bring result 1 back").click()
    tab.wait_for_count("pictures", 3)
    again, about = tab.download()
    assert np.array_equal(np.asarray(again), np.asarray(first))
    assert not np.array_equal(np.asarray(again), np.asarray(second))
    assert about == shown
    assert np.array_equal(tab.mask(), mask)
    assert np.array_equal(tab.shown(), pixels)
    assert tab.page.locator(".candidate").count() == 2
    assert (tab.seed(), tab.page.locator("#steps input[type=number]").input_value()) == (seed, "3")
    assert tab.page.get_by_label("Lock").is_checked()
    tab.redraw()
    tab.press("2")
    assert np.array_equal(
        np.asarray(tab.download()[0]), np.asarray(first)
    )  # its settings draw the same again


def test_cleared_results_are_gone(visit):
    tab = visit()
    tab.set_steps(1)
    paint(tab, LEFT)
    for _ in range(3):
        tab.redraw()
    assert earlier(tab).count() == 3
    tab.page.get_by_role("button", name="Clear", exact=True).click()
    assert within(5, lambda: earlier(tab).count() == 1)
    assert not earlier(tab).first.is_visible()
    tab.download()  # the result that is here stays


def test_settings_come_back_with_a_saved_picture(visit):
    tab = visit()
    tab.page.locator(".more:not(.whole) summary").click()
    tab.page.get_by_label("First temperature").fill("1.1")
    tab.set_steps(5)
    tab.set_seed(77)
    tab.page.get_by_label("Lock").check()
    paint(tab, LEFT)
    tab.redraw()
    image, about = tab.download()
    other = visit()
    buffer = io.BytesIO()
    chunk = PngImagePlugin.PngInfo()
    for key, text in image.text.items():
        chunk.add_text(key, text)
    Image.fromarray(np.asarray(image)).save(buffer, "PNG", pnginfo=chunk)
    other.drop("saved.png", buffer.getvalue())
    other.wait_for_count("pictures", 2)
    assert within(5, lambda: other.seed() == 77)
    assert other.page.get_by_label("Lock").is_checked()
    assert other.page.locator("#steps input[type=number]").input_value() == "5"
    assert other.page.get_by_label("First temperature").input_value() == "1.1"
    paint(other, LEFT)
    other.redraw()
    _, again = other.download()
    assert again["seed"] == about["seed"]
    assert again["temperature_start"] == 1.1


def with_text(image, text):
    """The PNG of an image, with this in its settings."""
    chunk, buffer = PngImagePlugin.PngInfo(), io.BytesIO()
    chunk.add_text("sundae", text)
    Image.fromarray(np.asarray(image)).save(buffer, "PNG", pnginfo=chunk)
    return buffer.getvalue()


def test_a_picture_saved_after_more_steps_gives_settings_that_can_be_asked_for(tab):
    tab.set_steps(3)
    paint(tab, LEFT)
    tab.redraw()
    seed = tab.seed()
    tab.click("Keep going")
    tab.results += 1
    tab.wait_for_text("#status", f"Done {tab.results} ")
    image, about = tab.download()
    assert about["strength"] < 0.01
    tab.drop("more.png", with_text(image, json.dumps(about)))
    tab.wait_for_text("#status", "more.png")
    assert within(5, lambda: tab.seed() == seed)
    assert tab.page.locator("#s-strength").input_value() == ""
    tab.page.locator("#s-first").evaluate("field => { field.value = ''; }")
    paint(tab, LEFT)
    tab.redraw()


def test_settings_that_no_field_takes_are_left_out(tab):
    about = {"seed": 3, "steps": 2, "strength": 0.01, "temperature_start": 0.0, "proportion_start": 0.5}
    tab.drop("odd.png", with_text(Image.new("RGB", (128, 96)), json.dumps(about)))
    tab.wait_for_text("#status", "odd.png")
    tab.wait_for_text(".message p", "This picture was saved by Sundae")
    values = [tab.page.locator(f"#s-{name}").input_value() for name in ("strength", "first", "proportion")]
    assert values == ["", "", "50"]
    tab.page.locator("#s-proportion").evaluate("field => { field.value = ''; }")


def test_a_picture_that_was_not_drawn_leaves_the_settings_alone(tab):
    field = tab.page.locator("#s-first")
    field.evaluate("field => { field.value = '0.9'; }")
    about = {"model": "night-32", "hash": "abc"}  # as "sundae reconstruct" writes it
    tab.drop("same.png", with_text(Image.new("RGB", (128, 96)), json.dumps(about)))
    tab.wait_for_text("#status", "same.png")
    assert field.input_value() == "0.9"
    assert tab.page.locator(".message").is_hidden()
    field.evaluate("field => { field.value = ''; }")


def test_an_earlier_result_brings_the_settings_that_it_was_asked_for_with(tab):
    tab.set_steps(20)
    paint(tab, LEFT)
    tab.click("Redraw")
    tab.wait_for_text("#status", "Redrawing")
    tab.wait_for_count("drawn", 1)
    seed = tab.seed()
    tab.set_steps(2)  # for the next one
    tab.page.locator("#candidates label").nth(1).click()
    tab.page.locator("#s-first").evaluate("field => { field.value = '1.5'; }")
    tab.results += 1
    tab.wait_for_text("#status", f"Done {tab.results} ")
    tab.redraw()
    pictures = tab.count("pictures")
    earlier(tab).nth(1).click()
    tab.wait_for_count("pictures", pictures + 1)
    assert (tab.seed(), tab.page.locator("#steps input[type=number]").input_value()) == (seed, "20")
    assert tab.page.locator("#candidates input:checked").input_value() == "1"
    assert tab.page.locator("#s-first").input_value() == ""


def test_an_earlier_result_brings_what_was_said_of_its_picture(tab):
    def drop_grey(value):
        buffer = io.BytesIO()
        Image.new("RGB", (1024, 1024), (value,) * 3).save(buffer, "PNG")
        tab.drop(f"{value}.png", buffer.getvalue())
        tab.wait_for_text("#status", f"{value}.png")
        tab.wait_for_text("#model .why", "Picked")

    drop_grey(127)
    assert tab.page.locator(".hint").is_visible()
    tab.set_steps(1)
    paint(tab, LEFT)
    tab.redraw()
    drop_grey(210)
    assert tab.page.locator(".hint").is_hidden()
    paint(tab, LEFT)
    tab.redraw()
    for place, said in ((1, True), (0, False)):
        pictures = tab.count("pictures")
        earlier(tab).nth(place).click()
        tab.wait_for_count("pictures", pictures + 1)
        assert tab.page.locator(".hint").is_visible() == said


def test_an_uploaded_picture_is_not_taken_for_what_was_made_of_it(visit):
    """After two lost connections: the first brings the file again, the second a result that only the server had."""
    tab = visit()
    buffer = io.BytesIO()
    Image.new("RGB", (256, 256), (40,) * 3).save(buffer, "PNG")
    tab.drop("mine.png", buffer.getvalue())
    tab.wait_for_text("#status", "mine.png")
    tab.set_steps(1)
    paint(tab, ((50, 50), (200, 200)))
    tab.lose_connection()
    tab.redraw()
    tab.click("Use as input")
    tab.wait_for_text("#status", "The result is the picture now")
    paint(tab, ((50, 50), (200, 200)))
    tab.lose_connection()
    tab.click("Redraw")
    tab.wait_for_text(".message p", "The connection was lost, and the picture with it")
    tab.page.wait_for_timeout(500)
    assert tab.page.locator(".sundae").get_attribute("data-recovered") == "1"
