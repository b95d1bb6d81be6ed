"""Nose and mouth. Nose tip and mouth centre never move."""

from __future__ import annotations

from train.portrait import palette
from train.portrait.attributes import Attributes
from train.portrait.canvas import Pen, Point, argb, linear
from train.portrait.geometry import (
    CENTRE_X,
    LEFT,
    MOUTH_Y,
    NOSE_TIP_Y,
    RIGHT,
    blob,
    curve,
    mirrored,
    oval,
    place,
    sheet,
)
from train.portrait.palette import darker, lighter, mix, skin_shadow

NOSE_WIDTH = {"button": 34.0, "straight": 37.0, "broad": 46.0}
# half width, height of the corners above the centre, half height of the opening
MOUTHS: dict[str, tuple[float, float, float]] = {
    "neutral": (62.0, 0.0, 0.0),
    "smile": (72.0, 14.0, 0.0),
    "grin": (80.0, 16.0, 27.0),
    "open": (68.0, 13.0, 36.0),
}
INSIDE = (92, 24, 34)
TONGUE = (212, 104, 108)


def draw_nose(pen: Pen, look: Attributes) -> None:
    """Draw the nose, lit from the upper left."""
    skin = palette.SKIN_TONES[look.skin]
    shade, light, wide = skin_shadow(skin, 0.45), lighter(skin, 0.55), NOSE_WIDTH[look.nose]
    tip = NOSE_TIP_Y
    ridge = [(CENTRE_X + x, y) for x, y in ((30, 432), (11, 500), (16, 556), (wide * 0.92, tip + 6))]
    flank = [(CENTRE_X + x, y) for x, y in ((32, 432), (25, 500), (34, 556), (wide + 4, tip + 2))]
    pen.fill(sheet(ridge, flank), shade, 0.5, blur=5)
    outline = mirrored([(0, 500), (12, 530), (wide * 0.8, tip - 12), (wide, tip + 8), (0, tip + 22)])
    pen.fill(blob(outline), skin, 0.01, label="nose")
    pen.glow((CENTRE_X, tip + 24), (wide * 1.35, 22), shade, 0.75)
    strength = {"soft": 0.35, "high": 0.62}[look.nose_bridge]
    pen.glow((CENTRE_X - 4, 510), (13, 88), light, strength)
    pen.glow((CENTRE_X - 5, tip - 6), (21, 17), light, 0.9)
    for side in (LEFT, RIGHT):
        wing = place(
            [(wide - 3, tip - 16), (wide + 4, tip), (wide - 4, tip + 13), (wide - 15, tip + 12)], side
        )
        pen.stroke(curve(wing), skin_shadow(skin, 0.6), 5, 0.55)
        nostril = place([(wide * 0.24, tip + 16), (wide * 0.48, tip + 8), (wide * 0.72, tip + 12)], side)
        lower = place([(wide * 0.24, tip + 16), (wide * 0.5, tip + 18), (wide * 0.72, tip + 12)], side)
        pen.fill(sheet(nostril, lower), skin_shadow(skin, 0.85))
        pen.stroke(curve(nostril), skin_shadow(skin, 0.8), 4, 0.9)


def draw_mouth(pen: Pen, look: Attributes) -> None:
    """Draw the lips and, where the mouth is open, teeth and tongue."""
    skin = palette.SKIN_TONES[look.skin]
    lip = palette.LIP_COLOURS[look.lip_colour]
    if look.lip_colour == "natural":
        lip = mix(skin, (176, 62, 66), 0.5 if look.presentation == "feminine" else 0.36)
    half, raised, opening = MOUTHS[look.mouth]
    full = 1.0 if look.lip_fullness == "full" else 0.7
    y = MOUTH_Y
    pen.glow((CENTRE_X, y + opening + 40), (half * 0.72, 17), skin_shadow(skin, 0.5), 0.6)
    if opening:
        _open_lips(pen, lip, half, raised, opening, full)
    else:
        _closed_lips(pen, lip, half, raised, full)
    for side in (LEFT, RIGHT):
        x = CENTRE_X + side * (half + 3)
        pen.glow((x, y - raised + 2), (14, 13), skin_shadow(skin, 0.6), 0.5)
        if look.dimples:
            fold = place([(half + 20, y - 34), (half + 28, y - 14), (half + 22, y + 6)], side)
            pen.stroke(curve(fold), skin_shadow(skin, 0.6), 6, 0.6)


def _symmetric(points: list[Point]) -> list[Point]:
    """Mirror points running from the centre line to the right corner into a left-to-right line."""
    return place([(-x, y) for x, y in reversed(points) if x] + points)


def _closed_lips(pen: Pen, lip: palette.Colour, half: float, raised: float, full: float) -> None:
    y = MOUTH_Y
    corner = (half, y - raised)
    middle = _symmetric(
        [(0, y + 3), (half * 0.3, y + 1 - raised * 0.1), (half * 0.7, y - raised * 0.5), corner]
    )
    top = _symmetric(
        [
            (0, y - 13 * full),
            (half * 0.26, y - 20 * full),
            (half * 0.66, y - 10 * full - raised * 0.6),
            corner,
        ]
    )
    bottom = _symmetric(
        [(0, y + 31 * full), (half * 0.4, y + 26 * full), (half * 0.76, y + 8 * full - raised * 0.3), corner]
    )
    upper = linear((0, y - 22), (0, y + 4), [argb(lip), argb(darker(lip, 0.28))])
    lower = linear((0, y), (0, y + 32), [argb(darker(lip, 0.08)), argb(lighter(lip, 0.16)), argb(lip)])
    pen.fill(sheet(middle, bottom), shader=lower, label="lips")
    pen.fill(sheet(top, middle), shader=upper, label="lips")
    pen.glow((CENTRE_X - 8, y + 16 * full), (half * 0.42, 8 * full), lighter(lip, 0.75), 0.7)
    pen.stroke(curve(middle), darker(lip, 0.62), 5)


def _open_lips(
    pen: Pen, lip: palette.Colour, half: float, raised: float, opening: float, full: float
) -> None:
    y = MOUTH_Y
    corner = (half, y - raised)
    top = _symmetric(
        [
            (0, y - 22 - 10 * full),
            (half * 0.28, y - 24 - 13 * full),
            (half * 0.72, y - 16 - raised * 0.6 - 8 * full),
            corner,
        ]
    )
    bottom = _symmetric(
        [
            (0, y + opening + 19 * full),
            (half * 0.45, y + opening * 0.8 + 16 * full),
            (half * 0.85, y + opening * 0.2 + 3),
            corner,
        ]
    )
    inner_corner = (half - 7, y - raised + 1)
    roof = _symmetric([(0, y - 17), (half * 0.3, y - 18), (half * 0.7, y - 15 - raised * 0.45), inner_corner])
    floor = _symmetric(
        [(0, y + opening), (half * 0.42, y + opening * 0.78), (half * 0.76, y + opening * 0.2), inner_corner]
    )
    shader = linear(
        (0, y - 40),
        (0, y + opening + 22),
        [argb(darker(lip, 0.12)), argb(lip), argb(lighter(lip, 0.2)), argb(lip)],
    )
    pen.fill(sheet(top, bottom), shader=shader, label="lips")
    pen.glow((CENTRE_X - 8, y + opening + 10 * full), (half * 0.4, 6), lighter(lip, 0.75), 0.7)
    hole = sheet(roof, floor)
    pen.fill(hole, INSIDE, label="mouth")
    with pen.clip(hole):
        bite = y + opening - 4 if opening < 30 else y + 4
        edge = _symmetric([(0, bite), (half * 0.45, bite - 5), (half * 0.8, bite - 17), (half, bite - 34)])
        ceiling = [(px, y - 60) for px, _ in edge]
        if opening > 30:
            pen.fill(oval(CENTRE_X, y + opening + 4, half * 0.55, 22), TONGUE)
        pen.fill(sheet(ceiling, edge), palette.TEETH)
        pen.fill(sheet(roof, [(px, py + 7) for px, py in roof]), (70, 30, 40), 0.25)
