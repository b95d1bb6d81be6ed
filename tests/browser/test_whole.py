"""What concerns the whole picture: a new one, a wider one, and the picture as the model sees it."""

from __future__ import annotations

import dataclasses
import io
import time

import numpy as np
import pytest
from conftest import Visits, running
from painter_page import PainterPage, within
from PIL import Image
from tiny import AUTOREGRESSIVE, tiny_autoregressive, tiny_tokenizer

from sundae.checkpoint import save_bundle

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


def draw_a_face(tab, whole) -> None:
    whole.get_by_text("Draw a new face", exact=True).click()
    tab.results += 1
    tab.wait_for_text("#status", f"Done {tab.results} ")


def test_a_new_face_looks_at_nothing_and_what_was_here_comes_back(tab, whole):
    """A picture without a result too, with what is painted on it."""
    tab.set_steps(1)
    back, before = tab.page.locator("#go-back"), tab.shown()
    for redraws in (False, True):
        tab.page.locator(".stage").focus()
        tab.press("r")
        tab.stroke(*SQUARE)
        if redraws:
            tab.redraw()
        before, mask = tab.shown(), tab.mask()
        draw_a_face(tab, whole)
        assert tab.mask().all()
        image, settings = tab.download()
        assert image.size == (32, 32)  # the model's
        assert settings["from_nothing"]
        draw_a_face(tab, whole)  # in the picture that has this size already
        pictures = tab.count("pictures")
        back.click()
        tab.wait_for_count("pictures", pictures + 1)
        assert np.array_equal(tab.shown(), before)
        assert np.array_equal(tab.mask(), mask)
    assert "from_nothing" not in tab.download()[1]


@pytest.mark.parametrize("how", ["Escape at once", "Escape while it is drawn", "another picture"])
def test_a_new_face_that_is_cancelled_leaves_what_was_here(visit, how):
    tab = visit()
    tab.stroke(*SQUARE)
    before, mask, pictures = tab.shown(), tab.mask(), tab.count("pictures")
    tab.set_steps(64)
    tab.page.locator("#candidates label").nth(7).click()
    new = "document.querySelector('[data-whole=new]').click()"
    if how == "another picture":
        tab.page.evaluate(
            f"() => {{ {new}; document.querySelector('#examples [data-index=\"1\"]').click(); }}"
        )
        tab.wait_for_text("#status", "Example 2")
        assert tab.page.locator("#go-forward").is_hidden()
        return
    escape = "new KeyboardEvent('keydown', { key: 'Escape', bubbles: true })"
    if how == "Escape at once":
        tab.page.evaluate(f"() => {{ {new}; document.querySelector('.stage').dispatchEvent({escape}); }}")
    else:
        tab.page.evaluate(new)
        tab.wait_for_text("#status", "Redrawing")
        tab.press("Escape")
    tab.wait_for_count("pictures", pictures + 2)
    tab.wait_for_text("#status", "The former picture is back")
    assert np.array_equal(tab.shown(), before)
    assert np.array_equal(tab.mask(), mask)
    assert tab.page.locator(".sundae").get_attribute("data-busy") == "0"
    assert tab.page.locator("#go-forward").is_hidden()  # to nothing


def test_a_face_that_was_left_is_among_the_earlier_ones(tab, whole):
    tab.set_steps(1)
    for _ in range(2):
        draw_a_face(tab, whole)
    seed = tab.download()[1]["seed"]
    tab.page.locator("#go-back").click()
    tab.wait_for_text("#status", "The former picture is back")
    pictures = tab.count("pictures")
    tab.page.locator(".past .thumbs button").first.click()
    tab.wait_for_count("pictures", pictures + 1)
    assert tab.mask().all()
    assert (tab.download()[1]["seed"], tab.download()[0].size) == (seed, (32, 32))
    assert tab.page.get_by_label("Lock").is_checked()
    draw_a_face(tab, whole)
    assert tab.download()[1]["seed"] != seed, "another face is a new one"


def test_a_lost_picture_is_sent_again_before_a_new_face_takes_its_place(visit):
    tab = visit()
    tab.page.locator(".whole summary").click()
    tab.lose_connection()
    tab.page.locator("[data-whole=new]").click()
    assert within(10, lambda: tab.count("recovered") == 1)
    assert tab.shown().shape == (1024, 1024, 3)
    tab.errors.clear()


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
    """A result becomes part of a larger picture, and an empty rim of none; then all comes back, one after the other."""
    tab.set_steps(1)
    back, kept = tab.page.locator("#go-back"), []
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
        assert back.is_visible()
    for picture, mask, seed in reversed(kept):
        pictures = tab.count("pictures")
        back.click()
        tab.wait_for_count("pictures", pictures + 1)
        assert np.array_equal(tab.shown(), picture)
        assert np.array_equal(tab.mask(), mask)
        assert tab.download()[1]["seed"] == seed
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


# -- without a picture, and with a model that takes its time --------------------------------------------------

SLOW = dataclasses.replace(AUTOREGRESSIVE, grid=(32, 32))  # 1024 cells, one after the other


@pytest.fixture(scope="module")
def bare_server(tmp_path_factory):
    """Without examples."""
    folder = tmp_path_factory.mktemp("bare-server")
    (folder / "none").mkdir()
    parts = {"tokenizer": tiny_tokenizer(), "prior": tiny_autoregressive(SLOW)}
    save_bundle(folder / "slow-256", parts, {"licence": "none"})
    with running(
        folder, ["--model", str(folder / "slow-256"), "--examples", str(folder / "none")]
    ) as started:
        yield started


@pytest.fixture
def arrive(contexts, bare_server):
    """Opens tabs, in which there is no picture yet."""
    visits = Visits(bare_server, contexts)

    def open_one(device: str = "desktop") -> PainterPage:
        visits.tabs.append(PainterPage(contexts[device], bare_server.url, ".sundae"))
        visits.tabs[-1].wait_for_text("#status", "Open a picture to begin")
        visits.tabs[-1].page.locator(".whole summary").click()
        return visits.tabs[-1]

    yield open_one
    visits.check()


def in_blocks(image) -> np.ndarray:
    """Means of 8 x 8 px, which a JPEG keeps."""
    return np.asarray(image, float).reshape(32, 8, 32, 8, 3).mean((1, 3))


@pytest.mark.parametrize("device", ["desktop", "phone"])
def test_faces_are_drawn_without_a_picture_and_one_is_picked_on_the_stage(arrive, device):
    tab = arrive(device)
    page, grid = tab.page, tab.page.locator(".stage > .grid")
    tab.set_steps(4)
    page.locator("#candidates label").nth(3).click()
    page.locator("[data-whole=new]").click()
    page.wait_for_function("document.querySelector('.progress').textContent.startsWith('step 1')")
    assert grid.is_visible()  # they can be watched
    tab.wait_for_text("#status", "Done 1 ", 120)
    faces = grid.locator("button")
    boxes = [face.bounding_box() for face in faces.all()]
    stage = page.locator(".stage").bounding_box()
    assert len(boxes) == 4
    assert len({(box["width"], box["height"]) for box in boxes}) == 1
    assert boxes[0]["width"] > 0.4 * min(stage["width"], stage["height"])
    assert all(box["y"] + box["height"] <= stage["y"] + stage["height"] + 1 for box in boxes)
    if device == "desktop":
        page.locator(".stage").focus()
        tab.press("3")
    else:
        faces.nth(2).tap()
    assert not grid.is_visible()
    image, settings = tab.download()
    assert (image.size, settings["seed"]) == ((256, 256), tab.seed() + 2)
    assert settings["from_nothing"]
    assert np.abs(in_blocks(tab.shown()) - in_blocks(image)).mean() < 4  # what is picked is shown
    page.get_by_role("button", name="All at once").click()
    assert grid.is_visible()
    assert faces.nth(2).get_attribute("aria-pressed") == "true"
    looks = [faces.first.evaluate("face => face.firstChild.toDataURL()")]
    for step in (1, 5):
        page.locator("[data-replay]").evaluate(
            "(field, step) => { field.value = step; field.dispatchEvent(new Event('input')); }", step
        )
        looks.append(faces.first.evaluate("face => face.firstChild.toDataURL()"))
    assert looks[0] == looks[2] != looks[1]  # at the step that is looked at
    tab.press("Escape")
    assert not grid.is_visible()
    assert not tab.page.locator("#go-back").is_visible()  # there was nothing before


def test_faces_that_are_drawn_can_be_cancelled(arrive):
    tab = arrive()
    tab.page.locator("#candidates label").nth(1).click()
    tab.page.locator("[data-whole=new]").click()
    assert within(30, tab.page.locator(".stage > .grid").is_visible)
    tab.press("Escape")
    tab.wait_for_text("#status", "Cancelled", 5)
    assert not tab.page.locator(".stage > .grid").is_visible()


def a_picture() -> bytes:
    buffer, noise = io.BytesIO(), np.random.default_rng(1).integers(0, 256, (256, 256, 3), np.uint8)
    Image.fromarray(noise).save(buffer, "PNG")
    return buffer.getvalue()


# Panels, and not all: the browser may not show each.
SOME = "() => /^Panel [2-5] of 6/.test(document.querySelector('.sight p').textContent.trim())"


def test_a_strip_comes_bit_by_bit_and_stops_when_it_is_closed_or_another_picture_comes(arrive):
    tab, other = arrive(), arrive()
    for each in (other, tab):
        each.to_front()
        each.drop("noise.png", a_picture())
        each.wait_for_text("#status", "noise.png")
    begun = time.monotonic()
    tab.page.locator("[data-whole=strip]").click()
    tab.wait_for_text(".sight p", "Kept of it: 100%", 120)
    whole_strip = time.monotonic() - begun
    assert sight(tab).locator("a").is_visible()
    tab.press("Escape")
    leave = {
        "closed": lambda: tab.press("Escape"),
        "another picture": lambda: tab.drop("other.png", a_picture()),
        "tab closed": lambda: tab.page.close(),
    }
    for how, stop in leave.items():
        tab.to_front()
        tab.page.locator("[data-whole=strip]").click()
        tab.page.wait_for_function(SOME, timeout=60_000)
        assert sight(tab).locator("img").is_visible()
        assert not sight(tab).locator("a").is_visible()
        other.to_front()
        other.page.locator("[data-whole=seen]").click()  # waits for the strip
        stop()
        begun = time.monotonic()
        assert within(whole_strip, lambda: "dB PSNR" in other.text(".sight p"))
        assert time.monotonic() - begun < max(1.5, whole_strip / 3), how
        other.press("Escape")
        assert how == "tab closed" or within(10, lambda: not sight(tab).is_visible())
