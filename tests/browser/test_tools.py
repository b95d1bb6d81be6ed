"""The painter's tools and keys."""

from __future__ import annotations

import numpy as np

LINE = ((300, 420), (700, 420))


def test_brush_paints_where_the_pointer_went(tab):
    tab.stroke(*LINE)
    mask = tab.mask()
    rows, columns = np.nonzero(mask)
    assert abs(rows.mean() - 420) < 2
    assert abs(columns.mean() - 500) < 2
    assert mask[420, 300:700].all()


def test_undo_redo_invert_clear_and_eraser(tab):
    tab.stroke(*LINE)
    first = tab.mask()
    tab.press("e")
    tab.stroke((500, 300), (500, 540))
    erased = tab.mask()
    assert not erased[420, 500]
    assert erased[420, 320]
    tab.press("Control+z")
    assert np.array_equal(tab.mask(), first)
    tab.press("Control+Shift+z")
    assert np.array_equal(tab.mask(), erased)
    tab.press("i")
    assert np.mean(tab.mask() == ~erased) > 0.999
    tab.click("Clear the mask")
    assert not tab.mask().any()
    for _ in range(4):
        tab.click("Undo") if tab.page.get_by_label("Undo", exact=True).is_enabled() else None
    assert not tab.mask().any()
    tab.click("Redo")
    assert np.array_equal(tab.mask(), first)


def test_history_survives_being_baked(tab):
    tab.stroke(*LINE)
    tab.page.evaluate("""() => { for (let i = 0; i < 130; i++)
      document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'i', bubbles: true })); }""")
    once = tab.mask()
    tab.press("Control+z")
    tab.press("Control+Shift+z")
    assert np.array_equal(tab.mask(), once)


def test_bracket_keys_change_the_brush(tab):
    tab.stroke((512, 300), (512, 300))
    small = tab.mask().sum()
    tab.press("Delete")
    for _ in range(4):
        tab.press("]")
    tab.stroke((512, 300), (512, 300))
    assert tab.mask().sum() > small * 2
    assert tab.page.locator(".cursor.shown").count() == 1


def test_zoom_pan_and_fit(tab):
    whole = tab.page.locator("canvas.mask").bounding_box()
    tab.page.mouse.move(*tab.place((512, 512)))
    tab.page.mouse.wheel(0, -600)
    near = tab.page.locator("canvas.mask").bounding_box()
    assert near["width"] > whole["width"] * 2
    tab.stroke((512, 512), (540, 512))
    assert tab.mask()[512, 525]
    tab.press("Control+z")
    tab.page.keyboard.down(" ")
    tab.stroke((512, 512), (560, 512))
    tab.page.keyboard.up(" ")
    moved = tab.page.locator("canvas.mask").bounding_box()
    assert moved["x"] > near["x"]
    assert not tab.mask().any()
    tab.press("0")
    assert tab.page.locator("canvas.mask").bounding_box() == whole


def test_keys_do_nothing_while_a_number_is_typed(tab):
    tab.stroke(*LINE)
    before = tab.mask()
    tab.page.locator("#seed input").focus()
    for key in ("Delete", "Backspace", "e", "i", "1"):
        tab.press(key)
    assert np.array_equal(tab.mask(), before)


def test_brackets_behind_alt_change_the_brush_too(tab):
    """On a German Mac [ is Option with 5."""
    size = lambda: int(tab.page.get_by_label("Brush size").input_value())  # noqa: E731
    script = "key => document.body.dispatchEvent(new KeyboardEvent('keydown', { key, altKey: true, bubbles: true }))"
    tab.page.evaluate(script, "[")
    assert size() == 55
    tab.page.evaluate(script, "]")
    tab.page.evaluate(script, "]")
    assert size() == 65
    tab.page.evaluate(script, "i")
    assert not tab.mask().any()
