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
    tab.click("Load example 2")
    tab.wait_for_text("#status", "Example 2")
    assert within(5, lambda: not tab.page.get_by_label("Lock").is_checked()), (
        "it was locked for the result that went"
    )
    tab.page.get_by_label("Lock").check()
    tab.click("Load example 1")
    tab.wait_for_text("#status", "Example 1")
    assert tab.page.get_by_label("Lock").is_checked(), "the visitor's own lock stays"


def test_what_an_earlier_result_takes_the_place_of_comes_back(visit):
    """A picture without a result, with what is painted on it; the only result is offered meanwhile."""
    tab = visit()
    tab.set_steps(1)
    paint(tab, LEFT)
    tab.redraw()
    first = tab.shown()
    tab.click("Load example 2")
    tab.wait_for_count("pictures", 2)
    assert earlier(tab).count() == 1 and earlier(tab).first.is_visible()
    back = tab.page.get_by_role("button", name="Back to former picture")
    paint(tab, RIGHT)
    shown, mask = tab.shown(), tab.mask()
    earlier(tab).first.click()
    tab.wait_for_count("pictures", 3)
    assert np.array_equal(tab.shown(), first)
    back.click()
    tab.wait_for_count("pictures", 4)
    assert np.array_equal(tab.shown(), shown)
    assert np.array_equal(tab.mask(), mask)
    back.click()  # to what the second example took the place of
    tab.wait_for_count("pictures", 5)
    assert np.array_equal(tab.shown(), first)
    assert back.is_hidden()


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


# -- kept candidates -----------------------------------------------------------------------------------------


def draw(tab, candidates=3, steps=2, corners=LEFT):
    """A result of several candidates, in a mask of its own."""
    tab.set_steps(steps)
    tab.page.locator("#candidates label").nth(candidates - 1).click()
    tab.page.locator(".stage").focus()
    tab.press("Delete")
    paint(tab, corners)
    tab.redraw()


def row(tab):
    """Of each entry, the newest first: its kept candidate, or 0 for the run's own, and whether it is the one here."""
    script = "buttons => buttons.map((each) => [Number(each.dataset.kept ?? 0), each.getAttribute('aria-current') === 'true'])"
    return [tuple(entry) for entry in earlier(tab).evaluate_all(script)]


def keep_button(tab):
    return tab.page.locator("[data-act=keep]")


def test_kept_candidates_stay_beside_the_one_that_is_chosen(visit):
    tab = visit()
    assert keep_button(tab).is_hidden()
    draw(tab)
    assert not earlier(tab).first.is_visible()
    tab.click("Keep")
    assert earlier(tab).first.is_visible(), "also where there is a single run"
    assert row(tab) == [(1, True)], "one place for what is chosen and kept"
    tab.press("2")
    assert row(tab) == [(0, True), (1, False)]
    assert keep_button(tab).text_content() == "Keep"
    tab.press("k")
    assert row(tab) == [(2, True), (1, False)]
    assert (keep_button(tab).text_content(), keep_button(tab).get_attribute("aria-pressed")) == (
        "Kept",
        "true",
    )
    tab.press("k")
    assert row(tab) == [(2, True), (1, False)], "once is enough"
    assert tab.text(".spoken") == "This candidate is kept already."
    assert tab.page.locator(".message").is_hidden()
    labels = earlier(tab).evaluate_all("buttons => buttons.map((each) => each.getAttribute('aria-label'))")
    assert labels == ["Bring candidate 2 of result 1 back", "Bring candidate 1 of result 1 back"]
    tab.press("3")
    assert row(tab) == [(0, True), (2, False), (1, False)]


def test_a_kept_candidate_comes_back_with_its_run(visit):
    tab = visit()
    draw(tab)
    seed, mask = tab.seed(), tab.mask()
    tab.press("2")
    saved, about = tab.download()
    shown = tab.shown()
    tab.press("k")
    tab.press("3")
    tab.click("Load example 2")
    tab.wait_for_count("pictures", 2)
    draw(tab, candidates=2, steps=1, corners=RIGHT)
    assert row(tab) == [(0, True), (0, False), (2, False)]
    tab.page.get_by_label("Bring candidate 2 of result 1 back").click()
    tab.wait_for_count("pictures", 3)
    assert row(tab) == [(0, False), (2, True)]
    again, told = tab.download()
    assert np.array_equal(np.asarray(again), np.asarray(saved))
    assert told == about
    assert np.array_equal(tab.shown(), shown)
    assert np.array_equal(tab.mask(), mask)
    assert (tab.seed(), tab.page.locator("#steps input[type=number]").input_value()) == (seed, "2")
    assert tab.page.locator("#candidates input:checked").input_value() == "3"
    assert tab.page.locator(".candidate").nth(1).get_attribute("aria-pressed") == "true"


def test_a_kept_candidate_of_the_run_that_is_here_is_chosen_at_once(tab):
    draw(tab)
    mask, pictures = tab.mask(), tab.count("pictures")
    tab.press("2")
    tab.press("k")
    tab.press("1")
    paint(tab, RIGHT)
    tab.set_steps(7)
    earlier(tab).nth(1).click()
    assert tab.count("pictures") == pictures
    assert np.array_equal(tab.mask(), mask)
    assert tab.page.locator("#steps input[type=number]").input_value() == "2"
    assert tab.download()[1]["seed"] == tab.seed() + 1
    tab.page.locator(".stage").focus()
    tab.press("Control+z")
    assert tab.mask().sum() > mask.sum(), "what was painted meanwhile is not lost"


def test_what_is_kept_while_another_job_runs_stops_that_and_comes_back(tab):
    draw(tab)
    tab.press("2")
    tab.press("k")
    tab.press("1")
    seed, pictures = tab.seed(), tab.count("pictures")
    tab.set_steps(64)
    tab.click("Redraw")
    tab.wait_for_count("drawn", 2)
    tab.press("k")
    tab.wait_for_text(".message p", "The redraw is not done yet")
    earlier(tab).nth(1).click()
    tab.wait_for_count("pictures", pictures + 1)
    assert tab.download()[1]["seed"] == seed + 1
    assert tab.page.locator(".sundae").get_attribute("data-busy") == "0"


def test_a_single_candidate_need_not_be_kept(tab):
    draw(tab, candidates=1)
    before = row(tab)
    assert keep_button(tab).is_hidden()
    tab.press("k")
    tab.wait_for_text(".message p", "There is a single candidate")
    assert row(tab) == before


def test_clearing_leaves_the_result_that_is_here_and_keeps_no_candidate(visit):
    tab = visit()
    for _ in range(2):
        draw(tab, candidates=2)
        tab.press("k")
    tab.press("2")
    saved = tab.download()[1]
    assert row(tab) == [(0, True), (1, False), (1, False)]
    tab.page.get_by_role("button", name="Clear", exact=True).click()
    assert within(5, lambda: row(tab) == [(0, True)])
    assert not earlier(tab).first.is_visible()
    assert keep_button(tab).get_attribute("aria-pressed") == "false"
    assert tab.page.evaluate("document.activeElement.className") == "stage"
    assert tab.download()[1] == saved
    tab.press("k")
    assert row(tab) == [(2, True)]


def test_kept_candidates_go_with_a_lost_connection(visit):
    tab = visit()
    draw(tab, candidates=2)
    tab.press("k")
    tab.press("2")
    tab.click("Load example 2")
    tab.wait_for_count("pictures", 2)
    tab.lose_connection()
    earlier(tab).nth(1).click()
    tab.wait_for_text(
        ".message p", "The connection was lost, and the result with it; the picture is here again"
    )
    assert row(tab) == []
    assert tab.page.locator(".past").is_hidden()


def test_candidates_are_kept_and_brought_back_by_keyboard_and_on_a_phone(visit):
    tab = visit("phone")
    tab.page.set_viewport_size({"width": 360, "height": 740})
    draw(tab, candidates=8)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360
    for number in range(1, 9):
        tab.press(str(number))
        keep_button(tab).focus()
        tab.press("Enter")
    assert row(tab) == [(8, True), *((number, False) for number in range(7, 0, -1))]
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360
    for button in (keep_button(tab), tab.page.locator(".past .forget")):
        assert button.bounding_box()["height"] >= 40
    keep_button(tab).focus()
    for _ in range(3):
        tab.press("Tab")
    tab.press("Enter")
    assert [number for number, here in row(tab) if here] == [6]
    focused = "document.activeElement.getAttribute('aria-label')"
    assert tab.page.evaluate(focused) == "Bring candidate 6 of result 1 back"


# -- settings inside a saved picture -------------------------------------------------------------------------


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
