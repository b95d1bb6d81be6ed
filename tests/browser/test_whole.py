"""What concerns the whole picture: a new one, a wider one, and the picture as the model sees it."""

from __future__ import annotations

import numpy as np
import pytest
from painter_page import within

SQUARE = ((300, 300), (600, 600))


@pytest.fixture(scope="session")
def server(quick_server):
    return quick_server


@pytest.fixture
def whole(tab):
    """The buttons, unfolded."""
    folder = tab.page.locator(".whole")
    if not folder.evaluate("details => details.open"):
        folder.locator("summary").click()
    return folder


def sight(tab):
    return tab.page.locator("dialog.sight")


@pytest.mark.parametrize(
    ("button", "says"),
    [
        ("What the model sees", "dB PSNR from the picture"),
        ("What surprises it", "bits a token, "),
        ("From this face to another", "Kept of it: 100%"),
    ],
)
def test_a_sight_is_shown_and_told(tab, whole, button, says):
    whole.get_by_text(button, exact=True).click()
    assert within(30, lambda: says in sight(tab).locator("p").text_content())
    size = (
        sight(tab)
        .locator("img")
        .evaluate("async image => { await image.decode(); return image.naturalWidth; }")
    )
    assert size >= 256
    assert sight(tab).locator("a").get_attribute("download").startswith("sundae-")
    tab.press("Escape")
    assert not sight(tab).is_visible()


def test_a_new_face_looks_at_nothing(tab, whole):
    tab.set_steps(1)
    whole.get_by_text("Draw a new face", exact=True).click()
    tab.results += 1
    tab.wait_for_text("#status", f"Done {tab.results} ")
    assert tab.mask().all()


def test_an_extended_picture_keeps_its_pixels(tab, whole):
    before = tab.shown().copy()
    whole.get_by_label("left").fill("128")
    whole.get_by_label("bottom").fill("64")
    pictures = tab.count("pictures")
    whole.get_by_text("Extend", exact=True).click()
    tab.wait_for_count("pictures", pictures + 1)
    mask, shown = tab.mask(), tab.shown()
    assert shown.shape == (1088, 1152, 3)
    assert mask[:, :128].all()
    assert mask[1024:].all()
    assert not mask[:1024, 128:].any()
    assert np.abs(shown[:1024, 128:].astype(int) - before).mean() < 3  # the view is a JPEG
    tab.set_steps(1)
    tab.redraw()
    image, _ = tab.download()
    assert image.size == (1152, 1088)


def test_the_edges_can_be_drawn_out(tab, whole):
    """By the pointer and by the arrow keys; the picture makes room, and the fields say the same."""
    page, field = tab.page, whole.get_by_label("right")
    sheet, handle = page.locator(".stage > .sheet"), page.locator("[data-rim=right]")
    before, grip = sheet.bounding_box(), handle.bounding_box()
    x, y = grip["x"] + grip["width"] / 2, grip["y"] + grip["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 50, y + 9, steps=5)
    while_dragged = sheet.bounding_box()
    page.mouse.up()
    assert while_dragged["width"] == pytest.approx(before["width"] / 1.6, rel=0.01)
    assert float(field.input_value()) == pytest.approx(50 / while_dragged["width"] * 1024, abs=2)
    frame, after = page.locator(".rim").bounding_box(), sheet.bounding_box()
    share = 1024 / (1024 + float(field.input_value()))
    assert after["width"] / frame["width"] == pytest.approx(share, abs=0.01)
    assert handle.get_attribute("aria-valuenow") == field.input_value()
    field.fill("64")
    handle.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert field.input_value() == "96"
    pictures = tab.count("pictures")
    whole.get_by_text("Extend", exact=True).click()
    tab.wait_for_count("pictures", pictures + 1)
    assert tab.mask().shape[1] - np.flatnonzero(tab.mask().all(0))[0] == 96
    assert field.input_value() == "0"
    assert page.locator(".rim").bounding_box()["width"] == pytest.approx(sheet.bounding_box()["width"], abs=3)


def test_nothing_to_add_is_told(tab, whole):
    before = tab.count("pictures")
    whole.get_by_text("Extend", exact=True).click()
    tab.wait_for_text(".message p", "Say first by how many px")
    whole.get_by_label("left").fill("-5")
    whole.get_by_text("Extend", exact=True).click()
    tab.wait_for_text(".message p", "What is added on the left must be")
    whole.get_by_label("left").fill("0")
    assert tab.count("pictures") == before


def test_an_extended_result_can_be_taken_back(tab, whole):
    """A result becomes part of a larger picture, and an empty rim of none; then all comes back."""
    tab.set_steps(1)
    undo, kept = tab.page.locator("#undo-use"), []
    for redraws in (True, False):
        if redraws:
            tab.press("r")
            tab.stroke(*SQUARE)
            tab.redraw()
            kept.append((tab.shown(), tab.mask(), tab.download()[1]["seed"]))
        pictures = tab.count("pictures")
        whole.get_by_label("top").fill("32")
        whole.get_by_text("Extend", exact=True).click()
        tab.wait_for_count("pictures", pictures + 1)
        assert undo.is_visible()
    for picture, mask, seed in reversed(kept):
        pictures = tab.count("pictures")
        undo.click()
        tab.wait_for_count("pictures", pictures + 1)
        assert np.array_equal(tab.shown(), picture)
        assert np.array_equal(tab.mask(), mask)
        assert tab.download()[1]["seed"] == seed
    assert not undo.is_visible()
    whole.get_by_label("top").fill("0")


def test_a_new_face_is_drawn_from_nothing_whatever_the_strength_and_the_way_of_looking(tab, whole):
    tab.set_steps(1)
    tab.press("r")
    tab.stroke(*SQUARE)
    tab.redraw()
    tab.page.locator("#s-strength").evaluate("field => { field.value = '30'; }")
    tab.click("Compare by a line")
    whole.get_by_text("Draw a new face", exact=True).click()
    tab.results += 1
    tab.wait_for_text("#status", f"Done {tab.results} ")
    assert tab.page.locator(".sundae").get_attribute("data-mode") == "paint"
    assert tab.mask().all()
    assert tab.download()[1]["strength"] == 1
    tab.redraw()
    assert tab.download()[1]["strength"] == 0.3
    tab.page.locator("#s-strength").evaluate("field => { field.value = ''; }")


def test_enter_extends_and_redraws_nothing(tab, whole):
    tab.set_steps(1)
    tab.press("r")
    tab.stroke(*SQUARE)
    before, pictures = tab.count("drawn"), tab.count("pictures")
    whole.get_by_label("left").fill("32")
    whole.get_by_label("left").press("Enter")
    tab.wait_for_count("pictures", pictures + 1)
    tab.page.get_by_label("More for the mask").first.click()
    tab.page.get_by_label("Width of the rim").fill("3")
    tab.page.get_by_label("Width of the rim").press("Enter")
    tab.page.wait_for_timeout(300)
    assert tab.count("drawn") == before
    assert tab.page.locator(".sundae").get_attribute("data-busy") == "0"
    tab.press("Escape")
