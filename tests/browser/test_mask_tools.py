"""Masks as a whole: shapes, growing and shrinking, the cells of the model's grid, saving and opening."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
from painter_page import within
from PIL import Image, ImageDraw

from page.events import full_mask, view_size
from page.painter import FOLDER
from sundae import masks
from sundae.pipeline import resize_mask
from sundae.window import Box, margin_window, working_window

SQUARE = ((300, 300), (420, 380))
SCRIPTS = "\n".join((FOLDER / name).read_text() for name in ("bits.js", "cells.js")).replace(
    "'use strict';", ""
)


@pytest.fixture(scope="session")
def server(quick_server):
    return quick_server


def drag(tab, tool, *points):
    tab.press(tool)
    tab.stroke(*points)


def menu(tab, name):
    if not tab.page.locator(".menu").evaluate("menu => menu.open"):
        tab.page.get_by_label("More for the mask").first.click()
    tab.page.locator(".menu .panel").get_by_text(name, exact=True).click()


def set_amount(tab, count, unit):
    if not tab.page.locator(".menu").evaluate("menu => menu.open"):
        tab.page.get_by_label("More for the mask").first.click()
    tab.page.get_by_label("Width of the rim").fill(str(count))
    tab.page.get_by_label("Unit of the rim").select_option(unit)


def png(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return {"name": "drawn.png", "mimeType": "image/png", "buffer": buffer.getvalue()}


def box_of(mask):
    rows, columns = np.nonzero(mask)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


# -- shapes --------------------------------------------------------------------------------------------------


def test_rectangle_is_filled_and_taken_away_with_alt(tab):
    drag(tab, "r", *SQUARE)
    mask = tab.mask()
    assert np.abs(np.subtract(box_of(mask), (300, 300, 420, 380))).max() <= 1
    left, top, right, bottom = box_of(mask)
    assert mask.sum() == (right - left) * (bottom - top)
    tab.page.keyboard.down("Alt")
    tab.stroke((340, 280), (380, 400))
    tab.page.keyboard.up("Alt")
    cut = tab.mask()
    assert not cut[320, 345:375].any()
    assert cut[320, 305:335].all()
    tab.press("Control+z")
    assert np.array_equal(tab.mask(), mask)


def test_lasso_fills_what_it_surrounds(tab):
    points = [(300, 300), (520, 330), (600, 560), (380, 620), (260, 470)]
    drag(tab, "l", *points, points[0])
    ideal = Image.new("1", (1024, 1024))
    ImageDraw.Draw(ideal).polygon(points, fill=1)
    mask, ideal = tab.mask(), np.asarray(ideal)
    assert (mask & ideal).sum() / (mask | ideal).sum() > 0.98


def test_a_click_with_a_shape_paints_nothing(tab):
    drag(tab, "r", (300, 300), (300, 300))
    assert not tab.mask().any()


def test_a_pen_that_presses_lightly_paints_thinly(tab):
    events = tab.context.new_cdp_session(tab.page)

    def line(y, force):
        for kind, x in (("mousePressed", 300), ("mouseMoved", 500), ("mouseReleased", 500)):
            across, down = tab.place((x, y))
            pen = {"pointerType": "pen", "force": force, "button": "left", "buttons": 1, "clickCount": 1}
            events.send("Input.dispatchMouseEvent", {"type": kind, "x": across, "y": down, **pen})
        column = tab.mask()[:, 400]
        return column.sum()

    light = line(300, 0.1)
    hard = line(600, 1.0) - light
    assert 0 < light < 0.6 * hard


# -- growing and shrinking -----------------------------------------------------------------------------------


@pytest.mark.parametrize("px", [1, 8, 37])
def test_growing_and_shrinking_are_those_of_the_library(tab, px):
    drag(tab, "b", (200, 5), (420, 380), (512, 900))
    tab.press("i")
    before = tab.mask()
    set_amount(tab, px, "px")
    menu(tab, "Grow")
    grown = tab.mask()
    assert np.array_equal(grown, masks.grow(before, px))
    menu(tab, "Shrink")
    assert np.array_equal(tab.mask(), masks.shrink(grown, px))
    tab.press("Escape")
    tab.press("Control+z")
    assert np.array_equal(tab.mask(), grown)
    tab.press("Control+z")
    assert np.array_equal(tab.mask(), before)


# -- cells ---------------------------------------------------------------------------------------------------


def token_cells(size, hole, inner, resolution, f, rule):
    """What the pipeline would redraw: the window's box, and bool (h, w)."""
    if inner is None:
        window = working_window(size, hole, resolution, f)
    else:
        window = margin_window(size, hole, Box(*inner), resolution, (resolution, resolution), f)
    pixels = resize_mask(hole[window.box.slices], (window.height, window.width))
    box = window.box
    return [box.left, box.top, box.width, box.height], masks.token_mask(pixels, f, rule)[0].numpy()


# Bits as text: numbers one by one cost playwright more than all the rest.
LIGHT = f"""([size, view, painted, inner, resolution, cell, rule]) => {{ {SCRIPTS}
  const bits = Uint8Array.from(painted, Number);
  const cells = Object.assign(Object.create(Cells.prototype), {{ size, inner }});
  const picker = {{ grid: {{ resolution, cell }} }};
  const window = cells.window = cells.windowOf(extent(bits, ...view), ...view);
  return [window.box, window.rows, window.columns, [...cells.hidden(bits, ...view, rule)].join('')];
}}"""


def text_of(bits):
    return (bits.ravel() + np.uint8(ord("0"))).tobytes().decode()


def bits_of(text):
    return np.frombuffer(text.encode(), np.uint8) == ord("1")


def random_inner(rng, width, height):
    """What was there before there were margins, sometimes on one side only."""
    left, top = (int(rng.choice([0, rng.integers(side // 2)])) for side in (width, height))
    right, bottom = (
        int(rng.choice([side, rng.integers(side // 2 + 1, side + 1)])) for side in (width, height)
    )
    return [left, top, right, bottom]


@pytest.mark.parametrize("margins", [False, True])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("rule", ["any", "all"])
def test_the_cells_that_light_up_are_those_that_are_redrawn(tab, seed, margins, rule):
    """Also where the page shows the picture smaller than it is."""
    rng = np.random.default_rng(seed)
    for _ in range(30):
        width, height = (int(side) for side in rng.integers(16, 300, 2))
        f = int(rng.choice([4, 8, 16]))
        resolution = f * int(rng.integers(2, 12))
        view = view_size((width, height), int(rng.choice([100, 300])))
        painted = np.zeros(view[::-1], bool)
        for _ in range(int(rng.integers(1, 4))):
            y, x = int(rng.integers(view[1])), int(rng.integers(view[0]))
            painted[y : y + int(rng.integers(1, height)), x : x + int(rng.integers(1, 60))] = True
        hole = full_mask(painted, (width, height))
        inner = random_inner(rng, width, height) if margins else None
        box, cells = token_cells((width, height), hole, inner, resolution, f, rule)
        asked = [[width, height], view, text_of(painted), inner, resolution, f, rule]
        got_box, rows, columns, lit = tab.page.evaluate(LIGHT, asked)
        assert got_box == box
        assert np.array_equal(bits_of(lit).reshape(rows, columns), cells)


def lights(tab):
    """Whether each pixel of the picture is lit."""
    script = """() => { const c = document.querySelector('canvas.cells'), p = c.getContext('2d').getImageData(0, 0, c.width, c.height);
      return [...p.data.filter((_, i) => i % 4 === 3)].map((a) => a ? 1 : 0).join(''); }"""
    return bits_of(tab.page.evaluate(script)).reshape(1024, 1024)


def test_cells_light_up_under_the_brush_and_go_with_the_mask(tab):
    menu(tab, "Show the cells")
    drag(tab, "r", (300, 300), (700, 700))
    lit = lights(tab)
    assert lit[tab.mask()].all()
    tab.press("b")
    tab.page.mouse.move(*tab.place((850, 500)))
    tab.page.mouse.down()
    tab.page.mouse.move(*tab.place((852, 500)))
    assert lights(tab)[500, 851]  # while the pointer is still down
    tab.page.mouse.up()
    tab.press("Delete")
    assert not lights(tab).any()
    tab.press("g")
    drag(tab, "r", *SQUARE)
    assert not lights(tab).any()


def test_growing_by_cells_covers_what_is_lit(tab):
    tab.press("g")
    drag(tab, "r", (300, 300), (700, 700))
    set_amount(tab, 1, "cells")
    before, lit = tab.mask(), masks.shrink(lights(tab), 3)  # without the lines around the cells
    menu(tab, "Grow")
    grown = tab.mask()
    assert grown[lit].all()
    assert grown.sum() > before.sum()
    menu(tab, "Shrink")
    assert tab.mask().sum() < grown.sum()
    tab.press("Escape")
    tab.press("g")


# -- files, the last mask, help ------------------------------------------------------------------------------


def test_a_saved_mask_is_the_mask_and_can_be_opened(tab):
    drag(tab, "l", (300, 300), (520, 330), (600, 560), (300, 300))
    mask = tab.mask()
    with tab.page.expect_download() as waiting:
        menu(tab, "Save the mask")
    saved = Image.open(waiting.value.path())
    assert waiting.value.suggested_filename == "mask.png"
    assert np.array_equal(masks.load_mask(saved, (1024, 1024)), mask)
    tab.press("Escape")
    tab.press("Delete")
    tab.page.set_input_files("[data-mask-file]", waiting.value.path())
    tab.page.wait_for_function("() => !document.querySelector('[data-act=undo]').disabled")
    tab.page.wait_for_timeout(200)
    assert np.array_equal(tab.mask(), mask)


@pytest.mark.parametrize("kind", ["grey", "layer", "colours"])
def test_an_opened_mask_is_read_as_the_library_reads_it(tab, kind):
    rng = np.random.default_rng(1)
    grey = np.kron(rng.integers(0, 256, (32, 32), np.uint8), np.ones((32, 32), np.uint8))
    array = grey
    if kind == "layer":
        array = np.dstack(
            [np.full((1024, 1024, 3), 40, np.uint8), np.where(grey > 99, 255, 0).astype(np.uint8)]
        )
    if kind == "colours":
        array = np.dstack([grey, grey[::-1], grey[:, ::-1]])
    tab.page.set_input_files("[data-mask-file]", png(array))
    assert within(5, lambda: tab.mask().any())
    assert np.array_equal(tab.mask(), masks.load_mask(array, (1024, 1024)))


def test_a_mask_of_another_size_changes_nothing(tab):
    drag(tab, "r", *SQUARE)
    before = tab.mask()
    tab.page.set_input_files("[data-mask-file]", png(np.full((64, 48), 255, np.uint8)))
    message = tab.wait_for_text(".message p", "The mask must have")
    assert "1024 × 1024" in message
    assert "48 × 64" in message
    tab.page.set_input_files(
        "[data-mask-file]", {"name": "x.png", "mimeType": "image/png", "buffer": b"no picture"}
    )
    tab.wait_for_text(".message p", "x.png could not be read")
    assert np.array_equal(tab.mask(), before)


def test_the_last_mask_comes_again_on_another_picture(visit):
    tab = visit()
    tab.set_steps(1)
    drag(tab, "r", *SQUARE)
    mask = tab.mask()
    tab.redraw()
    tab.click("Load example 2")
    tab.wait_for_count("pictures", 2)
    assert not tab.mask().any()
    tab.press("m")
    assert np.array_equal(tab.mask(), mask)


def test_the_last_mask_is_stretched_to_a_picture_of_another_size(tab):
    tab.set_steps(1)
    drag(tab, "r", *SQUARE)
    left, top, right, bottom = box_of(tab.mask())
    tab.redraw()
    tab.drop("wide.png", png(np.full((200, 320, 3), 90, np.uint8))["buffer"])
    tab.wait_for_text("#status", "wide.png, 320")
    tab.page.locator(".stage").focus()
    tab.press("m")
    mask = tab.mask()
    assert mask.shape == (200, 320)
    wanted = np.multiply((left, top, right, bottom), (320, 200, 320, 200)) / 1024
    assert np.abs(np.subtract(box_of(mask), wanted)).max() <= 1
    tab.redraw()
    tab.press("Control+z")
    assert not tab.mask().any()
    tab.renew()
    tab.press("m")
    there = box_of(tab.mask())
    assert np.abs(np.subtract(there, (left, top, right, bottom))).max() <= 1024 / 200
    tab.press("Delete")


def test_help_lists_the_keys(tab):
    tab.press("?")
    sheet = tab.page.locator("dialog.keysheet")
    assert sheet.is_visible()
    for word in ("rectangle", "invert", "redraw", "zoom"):
        assert word in sheet.text_content()
    tab.press("Delete")  # keys of the painter do nothing meanwhile
    tab.press("Escape")
    assert not sheet.is_visible()


# -- what comes in the middle of a stroke --------------------------------------------------------------------


@pytest.mark.parametrize("tool", ["b", "r"])
def test_a_stroke_is_over_when_another_picture_comes(tab, tool):
    """With the pointer still down: nothing of it is painted on the new picture, and no error is told."""
    mouse, pictures = tab.page.mouse, tab.count("pictures")
    tab.press(tool)
    mouse.move(*tab.place((300, 300)))
    mouse.down()
    mouse.move(*tab.place((500, 400)), steps=3)
    tab.page.evaluate("document.querySelector('.examples [data-index=\"1\"]').click()")
    tab.wait_for_count("pictures", pictures + 1)
    mouse.move(*tab.place((600, 700)), steps=3)
    mouse.up()
    assert not tab.mask().any()
    tab.stroke((300, 300), (500, 400))
    assert tab.mask()[350, 400]


def test_a_shape_is_over_when_a_job_begins(tab):
    """The hole is being drawn in, so its mask stays as it was asked for."""
    tab.set_steps(6)
    drag(tab, "r", *SQUARE)
    before, mouse = tab.mask(), tab.page.mouse
    mouse.move(*tab.place((600, 600)))
    mouse.down()
    mouse.move(*tab.place((800, 800)), steps=3)
    tab.press("Enter")
    tab.page.wait_for_selector(".sundae[data-busy='1']")
    mouse.up()
    tab.results += 1
    tab.wait_for_text("#status", f"Done {tab.results} ")
    assert np.array_equal(tab.mask(), before)


def test_growing_by_many_cells_is_as_by_one_again_and_again_and_soon_done(tab):
    drag(tab, "r", (300, 300), (420, 380))
    for _ in range(5):
        set_amount(tab, 1, "cells")
        menu(tab, "Grow")
    slowly = tab.mask()
    for _ in range(5):
        tab.press("Control+z")
    set_amount(tab, 5, "cells")
    menu(tab, "Grow")
    assert np.array_equal(tab.mask(), slowly)
    started = time.monotonic()
    set_amount(tab, 256, "cells")
    menu(tab, "Grow")
    assert tab.mask().all()
    assert time.monotonic() - started < 5
    tab.press("Escape")


def test_the_first_touch_lights_its_cells_and_the_eraser_puts_them_out(tab):
    tab.press("g")
    tab.press("b")
    tab.page.mouse.move(*tab.place((500, 500)))
    tab.page.mouse.down()
    assert lights(tab)[500, 500]
    tab.page.mouse.move(*tab.place((700, 500)), steps=4)
    assert lights(tab)[500, 700]
    tab.page.mouse.up()
    tab.press("e")
    tab.page.mouse.move(*tab.place((400, 500)))
    tab.page.mouse.down()
    tab.page.mouse.move(*tab.place((800, 500)), steps=4)
    assert within(3, lambda: not lights(tab).any())
    tab.page.mouse.up()
    tab.press("g")


def test_the_menu_says_that_the_mask_rests_while_its_hole_is_drawn_in(visit):
    tab = visit()
    tab.press("i")
    tab.set_steps(64)
    tab.page.locator("#candidates label").nth(7).click()
    tab.click("Redraw")
    tab.wait_for_count("drawn", 2)
    for name in ("Grow", "Shrink", "Open a mask"):
        menu(tab, name)
        tab.wait_for_text(".message p", "The redraw is not done yet")
        tab.click("Dismiss the message")
    tab.page.set_input_files("[data-mask-file]", png(np.full((1024, 1024), 255, np.uint8)))
    tab.wait_for_text(".message p", "The redraw is not done yet")
    tab.page.locator(".stage").focus()
    tab.press("Escape")
    tab.wait_for_text("#status", "Cancelled")


def test_the_key_that_opens_the_help_closes_it(tab):
    for shown in (True, False, True, False):
        tab.press("?")
        assert tab.page.locator("dialog.keysheet").is_visible() == shown
