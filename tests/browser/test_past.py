"""Earlier results come back with picture, mask, candidates and settings; saved settings come back with their file."""

from __future__ import annotations

import io

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
