"""The picture on the page: it looks as it will be saved, comes back after "Use as input", and a bad file leaves it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from painter_page import within
from PIL import Image

MOUTH = ((380, 720), (640, 720))
EYES = ((330, 420), (700, 420))


@pytest.fixture(scope="module")
def server(quick_server):
    return quick_server


def file_bytes(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"))


def distance(shown: np.ndarray, saved: np.ndarray, mask: np.ndarray) -> float:
    """Mean absolute difference of the colours inside the mask."""
    return float(np.abs(shown.astype(int) - saved)[mask].mean())


def candidates(tab, number: int) -> None:
    tab.page.locator("#candidates label").nth(number - 1).click()


def look_back(tab, step: int) -> None:
    tab.page.get_by_label("Look back through the steps").fill(str(step))


def start_a_long_job(tab, number: int = 2) -> None:
    """One of 64 steps of the whole picture."""
    if not tab.mask().any():
        tab.press("i")
    candidates(tab, number)
    tab.set_steps(64)
    tab.click("Redraw")
    tab.wait_for_count("drawn", 2)


# -- colours -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "1", "P"])
def test_a_picture_of_few_colours_is_shown_as_it_is_saved(tab, server, mode):
    face = Image.open(server.examples[0]).convert("RGB").resize((512, 512))
    tab.drop(f"{mode}.png", file_bytes(face.quantize(5) if mode == "P" else face.convert(mode)))
    tab.wait_for_text("#status", f"{mode}.png")
    tab.stroke((150, 200), (350, 200))
    tab.set_steps(2)
    candidates(tab, 2)
    tab.redraw()
    for number in (1, 2):
        tab.page.get_by_role("button", name=f"Use candidate {number}").click()
        shown, saved = tab.shown(), pixels(tab.download()[0])
        assert distance(shown, saved, tab.mask()) < 6
        if mode != "P":
            assert np.ptp(shown, axis=-1)[tab.mask()].max() <= 2
        look_back(tab, 1)
        if mode != "P":
            assert np.ptp(tab.shown(), axis=-1)[tab.mask()].max() <= 2


# -- files that are no pictures ------------------------------------------------------------------------------


def test_a_broken_file_is_named_and_the_running_redraw_goes_on(visit):
    tab = visit()
    start_a_long_job(tab, 1)
    tab.drop("holiday.png", b"no picture at all")
    assert "'holiday.png'" in tab.wait_for_text(".message p", "Expected a PNG")
    drawn = tab.count("drawn")
    assert drawn < 60, "the job must still run when the message comes"
    assert tab.text("#status") == "Redrawing"
    assert tab.page.locator(".sundae").get_attribute("data-busy") == "1"
    assert within(20, lambda: tab.count("drawn") > drawn + 2)
    tab.drop("far-too-small.png", file_bytes(Image.new("RGB", (4, 4))))
    assert "'far-too-small.png' of 4x4 px" in tab.wait_for_text(".message p", "Expected sides")
    tab.wait_for_text("#status", "Done 1 ", 120)
    assert tab.count("drawn") == tab.count("sent")
    assert tab.download()[0].size == (1024, 1024)


def test_a_file_that_is_too_large_or_does_not_arrive_is_named_and_the_redraw_goes_on(visit):
    tab = visit()
    start_a_long_job(tab)
    tab.page.evaluate("""() => {
      const files = new DataTransfer();
      const file = new File(['x'], 'huge.tif');
      Object.defineProperty(file, 'size', { value: 2 ** 30 });
      const event = new Event('paste', { bubbles: true });
      Object.defineProperty(event, 'clipboardData', { value: { files: [file] } });
      document.dispatchEvent(event);
    }""")
    assert "huge.tif is too large" in tab.wait_for_text(".message p", "huge.tif")
    tab.page.route("**/upload*", lambda route: route.abort())
    tab.drop("lost.png", file_bytes(Image.new("RGB", (32, 32))))
    tab.wait_for_text(".message p", "lost.png could not be sent")
    tab.page.wait_for_timeout(1500)  # gradio complains too, in its own way and a little later
    assert tab.text(".message p").startswith("lost.png could not be sent")
    tab.errors.clear()  # the browser logs the failure
    assert tab.count("drawn") < 64
    assert tab.text("#status") == "Redrawing"
    drawn = tab.count("drawn")
    assert within(20, lambda: tab.count("drawn") > drawn + 2)


# -- transparency --------------------------------------------------------------------------------------------


def on_screen(element) -> np.ndarray:
    """uint8 (H, W, 3): as the browser paints it."""
    return np.asarray(Image.open(io.BytesIO(element.screenshot())).convert("RGB"))


def chequered(pixels: np.ndarray) -> bool:
    """Whether there is as much white as light grey, and nothing darker."""
    light, dark = (
        (np.abs(pixels.astype(int) - colour).max(-1) < 4).mean() for colour in (255, (222, 219, 216))
    )
    return pixels.min() > 205 and min(light, dark) > 0.25 and abs(light - dark) < 0.1


def test_transparent_parts_are_chequered_on_the_stage_and_in_thumbnails_until_an_opaque_picture_comes(tab):
    cut_out = Image.new("RGBA", (256, 256), (200, 40, 40, 255))
    cut_out.paste((0, 0, 0, 0), (0, 0, 256, 128))
    tab.drop("cut-out.png", file_bytes(cut_out))
    tab.wait_for_text("#status", "cut-out.png")
    stage = tab.page.locator(".stage")
    side = on_screen(stage).shape[0]
    top, bottom = slice(side // 8, side * 3 // 8), slice(side * 5 // 8, side * 7 // 8)
    assert chequered(on_screen(stage)[top, top])
    assert np.abs(on_screen(stage)[bottom, bottom].mean((0, 1)) - (200, 40, 40)).max() < 4
    candidates(tab, 2)
    tab.set_steps(1)
    tab.press("i")
    tab.redraw()
    tab.page.mouse.move(5, 5)  # no outline
    assert chequered(on_screen(stage)[top, top])
    thumb = on_screen(tab.page.locator(".candidate canvas").first)
    quarter = thumb.shape[0] // 4
    assert thumb[4:quarter, quarter : 3 * quarter].min() > 205, "chequers too, too small to tell apart"
    assert thumb[-quarter:-4, quarter : 3 * quarter].min() < 205
    assert np.asarray(tab.download()[0].getchannel("A"))[:128].max() == 0
    tab.drop("opaque.png", file_bytes(cut_out.convert("RGB")))
    tab.wait_for_text("#status", "opaque.png")
    assert on_screen(stage)[top, top].max() < 4


# -- "Use as input" and back ---------------------------------------------------------------------------------


def test_use_as_input_can_be_undone_again_and_again(tab):
    back = tab.page.get_by_role("button", name="Back to former picture")
    tab.set_steps(2)
    candidates(tab, 2)
    seen = []
    for line in (EYES, MOUTH):
        tab.stroke(*line)
        tab.redraw()
        tab.page.get_by_role("button", name="Use candidate 2").click()
        seen.append((tab.mask(), tab.shown(), *tab.download()))
        tab.click("Use as input")
        tab.wait_for_text("#status", "The result is the picture now")
        assert not tab.mask().any()
    tab.stroke(*EYES)
    for mask, shown, saved, settings in seen[::-1]:
        before = tab.count("pictures")
        back.click()
        tab.wait_for_count("pictures", before + 1)
        assert tab.text("#status") == "The former picture is back"
        assert np.array_equal(tab.mask(), mask)
        assert np.array_equal(tab.shown(), shown)
        image, again = tab.download()
        assert np.array_equal(pixels(image), pixels(saved))
        assert again == settings
        assert tab.page.locator(".candidate").nth(1).get_attribute("aria-pressed") == "true"
    tab.page.get_by_role("button", name="Use candidate 1").click()
    assert f"seed {settings['seed'] - 1} " in tab.text("#status")
    assert tab.download()[1]["seed"] == settings["seed"] - 1
    tab.press("Control+z")
    assert not tab.mask().any(), "the strokes can be undone as before"
    assert tab.count("pictures") == before + 1
    tab.press("Control+Shift+z")
    tab.redraw()
    assert "earlier" not in tab.download()[1]


def test_what_was_painted_after_the_redraw_comes_back_too(tab):
    tab.set_steps(1)
    tab.stroke(*EYES)
    tab.redraw()
    tab.stroke(*MOUTH)
    mask = tab.mask()
    tab.click("Use as input")
    tab.wait_for_text("#status", "The result is the picture now")
    tab.click("Back to former picture")
    tab.wait_for_text("#status", "The former picture is back")
    assert np.array_equal(tab.mask(), mask)
    assert tab.page.locator(".sundae").get_attribute("data-look") == "tint"


def test_what_a_new_picture_takes_the_place_of_comes_back(visit):
    """The example that the page opens with, painted on, then a picture with a result."""
    tab = visit()
    back = tab.page.get_by_role("button", name="Back to former picture")
    assert back.is_hidden(), "there was none before"
    tab.set_steps(1)
    tab.stroke(*EYES)
    seen = [(tab.shown(), tab.mask())]
    tab.click("Load example 2")
    tab.wait_for_count("pictures", 2)
    assert not tab.mask().any()
    tab.stroke(*MOUTH)
    tab.redraw()
    seen.append((tab.shown(), tab.mask()))
    seed = tab.download()[1]["seed"]
    tab.drop("teal.png", file_bytes(Image.new("RGB", (300, 200), "teal")))
    tab.wait_for_count("pictures", 3)
    for count, (shown, mask) in enumerate(reversed(seen), start=4):
        back.click()
        tab.wait_for_count("pictures", count)
        assert np.array_equal(tab.shown(), shown)
        assert np.array_equal(tab.mask(), mask)
        if count == 4:
            assert tab.download()[1]["seed"] == seed
    assert back.is_hidden()


def test_settings_come_back_with_their_picture_and_going_back_can_be_undone(tab):
    """An earlier result brings its own settings and locks the seed: both are gone again where it is."""
    fields = ("#seed input", "#steps input[type=number]", "#s-strength", "#candidates input:checked")

    def settings():
        return [tab.page.locator(each).input_value() for each in fields], tab.page.get_by_label(
            "Lock"
        ).is_checked()

    tab.set_steps(2)
    tab.stroke(*EYES)
    tab.redraw()
    tab.click("Use as input")
    tab.wait_for_text("#status", "The result is the picture now")
    tab.set_steps(9)
    tab.set_seed(77)
    candidates(tab, 3)
    tab.page.locator(".more:not(.whole) summary").click()
    tab.page.locator("#s-strength").fill("40")
    tab.stroke(*MOUTH)
    mine, mask = settings(), tab.mask()
    pictures = tab.count("pictures")
    tab.page.locator(".past .thumbs button").nth(0).click()
    tab.wait_for_count("pictures", pictures + 1)
    its = settings()
    assert its[1] and its[0][1:] == ["2", "", "1"]
    tab.click("Back to former picture")
    tab.wait_for_count("pictures", pictures + 2)
    assert within(5, lambda: settings() == mine)
    assert np.array_equal(tab.mask(), mask)
    tab.click("Forward to later picture")
    tab.wait_for_text("#status", "The later picture is back")
    assert within(5, lambda: settings() == its)
    assert tab.download()[1]["seed"] == int(its[0][0])
    assert tab.page.get_by_role("button", name="Forward to later picture").is_hidden()
    assert tab.page.evaluate("document.activeElement.id") == "download"
    tab.page.locator("#go-back").press("Enter")
    tab.wait_for_count("pictures", pictures + 4)
    tab.page.locator("#go-forward").press("Enter")
    tab.wait_for_count("pictures", pictures + 5)
    assert within(5, lambda: tab.page.evaluate("document.activeElement.id") == "go-back"), "forward is gone"
    tab.page.locator("#s-strength").fill("")


def test_going_back_stops_a_job_as_another_picture_does(tab):
    before = tab.shown()
    tab.click("Load example 2")
    tab.wait_for_text("#status", "Example 2")
    tab.stroke(*EYES)
    start_a_long_job(tab, 1)
    tab.click("Back to former picture")
    tab.wait_for_text("#status", "The former picture is back")
    assert np.array_equal(tab.shown(), before)
    assert tab.page.locator(".sundae").get_attribute("data-busy") == "0"
    tab.set_steps(1)
    tab.stroke(*MOUTH)
    tab.redraw()


def test_a_picture_can_be_opened_beside_the_examples(tab):
    with tab.page.expect_file_chooser() as chooser:
        tab.click("Your picture")
    chooser.value.set_files(
        {
            "name": "teal.png",
            "mimeType": "image/png",
            "buffer": file_bytes(Image.new("RGB", (300, 200), "teal")),
        }
    )
    tab.wait_for_text("#status", "teal.png")


def test_eight_candidates_are_large_enough_to_tell_apart(tab):
    candidates(tab, 8)
    tab.set_steps(1)
    tab.stroke(*EYES)
    tab.redraw()
    widths = [each.bounding_box()["width"] for each in tab.page.locator(".strip .candidate").all()]
    assert len(widths) == 8
    assert min(widths) >= 60


def test_a_mask_is_seen_again_when_its_picture_comes_back_whose_job_another_stopped(tab):
    tab.stroke(*EYES)
    for look in ("tint", "outline"):
        start_a_long_job(tab, 1)
        pictures = tab.count("pictures")
        tab.click("Load example 2")
        tab.wait_for_count("pictures", pictures + 1)
        tab.click("Back to former picture")
        tab.wait_for_count("pictures", pictures + 2)
        assert tab.mask().any()
        assert tab.page.locator(".sundae").get_attribute("data-look") == look
        tab.set_steps(1)
        tab.redraw()


# -- what is shown, what is named, what is saved -------------------------------------------------------------


def test_choosing_a_candidate_shows_its_result_whatever_was_looked_at(tab):
    tab.stroke(*EYES)
    tab.set_steps(4)
    candidates(tab, 3)
    tab.redraw()
    seed = tab.seed()
    for number, way in ((2, "look back"), (3, "compare"), (1, "both")):
        if way != "compare":
            look_back(tab, 2)
            assert tab.text("#status").startswith("Step ")
        if way != "look back":
            tab.page.locator(".stage").focus()
            tab.page.keyboard.down("c")
            assert tab.text(".chip.original") == "Original"
            assert (
                tab.page.locator("canvas.result").evaluate("c => getComputedStyle(c).visibility") == "hidden"
            )
        tab.page.get_by_role("button", name=f"Use candidate {number}").click()
        assert f"seed {seed + number - 1} " in tab.text("#status")
        shown = tab.shown()
        tab.page.keyboard.up("c")
        image, settings = tab.download()
        assert settings["seed"] == seed + number - 1
        assert distance(shown, pixels(image), tab.mask()) < 6


def test_what_is_saved_or_used_is_shown_first(tab):
    tab.stroke(*EYES)
    tab.set_steps(4)
    tab.redraw()
    result = tab.shown()
    look_back(tab, 1)
    assert not np.array_equal(tab.shown(), result)
    tab.download()
    assert np.array_equal(tab.shown(), result)
    assert tab.text("#status").startswith("Done ")
    look_back(tab, 1)
    tab.click("Use as input")
    tab.wait_for_text("#status", "The result is the picture now")
    assert np.abs(tab.shown().astype(int) - result).mean() < 2
    tab.page.locator(".stage").focus()
    tab.page.keyboard.down("c")
    assert tab.text(".chip.original") == "Before this edit"
    tab.page.keyboard.up("c")


def test_a_stopped_redraw_leaves_the_result_before_not_a_step_of_it(tab):
    tab.press("i")
    tab.set_steps(4)
    tab.redraw()
    result = tab.shown()
    look_back(tab, 1)
    start_a_long_job(tab)
    tab.click("Cancel")
    tab.wait_for_text("#status", "Cancelled")
    assert np.array_equal(tab.shown(), result)
    assert distance(result, pixels(tab.download()[0]), tab.mask()) < 6


def test_nothing_is_saved_or_used_while_the_result_is_in_the_making(visit):
    tab = visit()
    start_a_long_job(tab)
    for button in ("#use", "#download"):
        # One says that it is off, which playwright would wait for; pressed, it says why.
        tab.page.locator(button).click(force=True)
        tab.wait_for_text(".message p", "The redraw is not done yet")
        tab.click("Dismiss the message")
    drawn = tab.count("drawn")
    assert drawn < 64
    assert within(20, lambda: tab.count("drawn") > drawn + 2)
    assert tab.text("#status") == "Redrawing"
