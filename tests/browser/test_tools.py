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


def test_the_brush_paints_what_its_circle_shows(tab):
    """Also when it was made smaller and larger by key."""
    widths = []
    for key in ("", "[", "]"):
        for _ in range(8 if key else 0):
            tab.press(key)
        tab.stroke((512, 300), (512, 300))
        circle = tab.page.locator(".cursor").bounding_box()
        columns = np.flatnonzero(tab.mask().any(0))
        widths.append(columns[-1] - columns[0] + 1)
        one = tab.place((1, 0))[0] - tab.place((0, 0))[0]
        assert abs(circle["width"] / one - widths[-1]) <= 2.5
        assert abs((circle["x"] - tab.place((0, 0))[0]) / one - columns[0]) <= 2.5
        tab.press("Delete")
    assert widths[1] < 0.7 * widths[0]
    assert widths[2] == widths[0]


NAMES = {
    "←": "ArrowLeft",
    "→": "ArrowRight",
    "↑": "ArrowUp",
    "↓": "ArrowDown",
    "Del": "Delete",
    "Esc": "Escape",
}
HANDLED = """([key, ctrlKey]) => {
  const event = new KeyboardEvent('keydown', { key, ctrlKey, bubbles: true, cancelable: true });
  document.querySelector('.stage').dispatchEvent(event);
  document.querySelector('.stage').dispatchEvent(new KeyboardEvent('keyup', { key, bubbles: true }));
  return event.defaultPrevented;
}"""


def test_every_key_of_the_help_does_something(tab):
    keys = tab.page.locator(".keys kbd").all_text_contents()
    assert {"B", "[", "]", "?"} <= set(keys)
    for name in keys:
        key = NAMES.get(name, " " if name == "Space" else name)
        if name in ("Ctrl", "Enter"):
            continue
        assert tab.page.evaluate(HANDLED, [key, name == "Z"]), name
        if tab.page.locator("dialog.keysheet").is_visible():
            tab.press("Escape")
    assert not tab.page.evaluate(HANDLED, ["x", False])
    tab.press("Delete")
    tab.page.locator(".stage").focus()
    tab.press("Enter")
    tab.wait_for_text(".message p", "Paint over what should change")


def test_the_tools_stand_in_whole_rows(tab):
    """None stands alone in a row, however wide the window is."""
    found = """(rows) => { const tops = [...document.querySelectorAll('.toolbar .tool, .toolbar .size')].map((each) => {
      const box = each.getBoundingClientRect(); return Math.round((box.top + box.bottom) / 2); });
      return [...new Set(tops)].map((top) => tops.filter((each) => each === top).length).join() === rows; }"""
    for width, rows in ((900, "16"), (861, "16"), (700, "16"), (600, "7,9"), (360, "7,9"), (1280, "16")):
        tab.page.set_viewport_size({"width": width, "height": 860})
        tab.page.wait_for_function(found, arg=rows, timeout=5000)
