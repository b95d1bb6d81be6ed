"""The page on a phone: fingers paint, nothing scrolls, two fingers zoom."""

from __future__ import annotations

import pytest

LINE = ((300, 420), (700, 620))


class Fingers:
    def __init__(self, tab) -> None:
        self.tab = tab
        self.wire = tab.context.new_cdp_session(tab.page)

    def send(self, kind: str, *points) -> None:
        touches = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
        self.wire.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    def draw(self, start, end, moves: int = 10) -> None:
        (x0, y0), (x1, y1) = self.tab.place(start), self.tab.place(end)
        self.send("touchStart", (x0, y0))
        for i in range(1, moves + 1):
            self.send("touchMove", (x0 + (x1 - x0) * i / moves, y0 + (y1 - y0) * i / moves))
        self.send("touchEnd")

    def pinch(self, centre, apart: tuple[float, float], moves: int = 6) -> None:
        x, y = self.tab.place(centre)
        self.send("touchStart", (x - apart[0], y))
        self.send("touchStart", (x - apart[0], y), (x + apart[0], y))
        for i in range(1, moves + 1):
            gap = apart[0] + (apart[1] - apart[0]) * i / moves
            self.send("touchMove", (x - gap, y), (x + gap, y))
        self.send("touchEnd")


@pytest.fixture
def phone(visit):
    return visit("phone")


def test_a_finger_paints_and_the_page_stays(phone):
    phone.page.evaluate("scrollTo(0, 30)")
    before = phone.page.evaluate("scrollY")
    Fingers(phone).draw(*LINE)
    Fingers(phone).draw((512, 800), (512, 200))
    mask = phone.mask()
    assert mask[520, 500]
    assert mask[420, 300]
    assert mask[300, 512]
    assert phone.page.evaluate("scrollY") == before


def test_two_fingers_zoom_and_paint_nothing(phone):
    before = phone.page.locator("canvas.mask").bounding_box()
    Fingers(phone).pinch((512, 512), (30, 90))
    after = phone.page.locator("canvas.mask").bounding_box()
    assert after["width"] > before["width"] * 2
    assert not phone.mask().any()


def test_everything_fits_and_a_redraw_works(phone):
    wide, view = phone.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide <= view == 390
    for control in phone.page.locator(".tool, #redraw, #cancel, #download").all():
        box = control.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        assert box["height"] >= 40
    Fingers(phone).draw(*LINE)
    phone.set_steps(3)
    phone.redraw()
    assert phone.count("drawn") == phone.count("sent")


def test_an_example_that_is_tapped_far_below_comes_into_view(phone):
    pictures = phone.count("pictures")
    phone.page.get_by_role("button", name="Load example 3", exact=True).tap()
    phone.wait_for_count("pictures", pictures + 1)
    hidden = "stage => { const box = stage.getBoundingClientRect(); return Math.max(-box.top, box.bottom - innerHeight); }"
    assert phone.page.locator(".stage").evaluate(hidden) <= 0
