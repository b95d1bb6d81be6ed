"""Short hair styles: everything that ends above the ears."""

from __future__ import annotations

import math

from train.portrait.attributes import Attributes
from train.portrait.canvas import Pen, Point
from train.portrait.geometry import CENTRE_X, LEFT, RIGHT, curve, place, sheet
from train.portrait.locks import Tones, angles, curls, hairline_shadow, lock


def _cap_of_hair(look: Attributes, tone: Tones, line: list[Point], pen: Pen, top: float = 168) -> None:
    """Draw short hair: a symmetric dome above the hairline `line` (left to right)."""
    dome = place(
        [
            (-216, 476),
            (-228, 380),
            (-206, 262),
            (-120, top + 22),
            (0, top),
            (120, top + 22),
            (206, 262),
            (228, 380),
            (216, 476),
        ]
    )
    hairline_shadow(pen, look, line)
    shape = sheet(dome, line)
    pen.fill(shape, shader=tone.gradient(170, 480), label="hair")
    with pen.clip(shape):
        for side in (LEFT, RIGHT):
            pen.stroke(curve(place([(219, 470), (218, 380), (196, 290)], side)), tone.dark, 26, 0.35)


def _buzz(pen: Pen, look: Attributes, tone: Tones) -> None:
    line = place(
        [
            (-203, 474),
            (-194, 380),
            (-166, 300),
            (-80, 272),
            (0, 276),
            (80, 272),
            (166, 300),
            (194, 380),
            (203, 474),
        ]
    )
    dome = place(
        [
            (-212, 476),
            (-214, 380),
            (-188, 290),
            (-114, 226),
            (0, 206),
            (114, 226),
            (188, 290),
            (214, 380),
            (212, 476),
        ]
    )
    pen.fill(sheet(dome, line), shader=tone.gradient(200, 460), label="hair")
    pen.glow((CENTRE_X - 60, 244), (110, 22), tone.light, 0.6)


def _short(pen: Pen, look: Attributes, tone: Tones) -> None:
    line = place(
        [
            (-198, 474),
            (-190, 390),
            (-164, 318),
            (-80, 296),
            (0, 300),
            (80, 296),
            (164, 318),
            (190, 390),
            (198, 474),
        ]
    )
    _cap_of_hair(look, tone, line, pen)
    ends = [(-172, 326), (-112, 322), (-50, 330), (14, 322), (78, 326), (140, 318), (180, 330)]
    for i in (0, 5, 1, 4, 2, 3):
        a, b = ends[i], ends[i + 1]
        left = place([(a[0] * 0.5 + 30, 172), (a[0] * 0.9 + 10, 236), (a[0], a[1] - 10)])
        right = place([(b[0] * 0.5 + 30, 172), (b[0] * 0.9 + 18, 236), (a[0] + 8, a[1] + 6)])
        lock(pen, tone, left, right, strands=2, shine=(0, 2), span=(150, 420))


def _side(pen: Pen, look: Attributes, tone: Tones) -> None:
    line = place(
        [
            (-198, 474),
            (-190, 390),
            (-172, 316),
            (-110, 262),
            (0, 270),
            (90, 286),
            (168, 330),
            (192, 400),
            (198, 474),
        ]
    )
    _cap_of_hair(look, tone, line, pen)
    outer = place([(-112, 186), (-20, 140), (110, 160), (212, 246), (222, 352)])
    inner = place([(-118, 262), (-40, 292), (60, 320), (150, 336), (206, 362)])
    lock(pen, tone, outer, inner, strands=6, shine=(1, 4), span=(140, 440))
    pen.stroke(curve(place([(-112, 190), (-126, 228), (-118, 264)])), tone.dark, 7, 0.8)


def _quiff(pen: Pen, look: Attributes, tone: Tones) -> None:
    line = place(
        [
            (-198, 474),
            (-190, 390),
            (-170, 310),
            (-90, 266),
            (0, 262),
            (90, 266),
            (170, 310),
            (190, 390),
            (198, 474),
        ]
    )
    _cap_of_hair(look, tone, line, pen)
    outer = place([(-172, 316), (-186, 196), (-70, 106), (100, 108), (214, 206), (216, 320)])
    inner = place([(-150, 306), (-118, 262), (-30, 262), (70, 266), (150, 284), (202, 330)])
    lock(pen, tone, outer, inner, strands=6, shine=(1, 4), span=(100, 420))


def _pixie(pen: Pen, look: Attributes, tone: Tones) -> None:
    line = place(
        [
            (-196, 500),
            (-188, 400),
            (-170, 320),
            (-100, 270),
            (0, 280),
            (90, 290),
            (168, 330),
            (190, 400),
            (196, 500),
        ]
    )
    _cap_of_hair(look, tone, line, pen, 160)
    outer = place([(-90, 176), (30, 138), (150, 190), (222, 300), (214, 430)])
    inner = place([(-98, 250), (-20, 318), (70, 366), (150, 392), (204, 440)])
    lock(pen, tone, outer, inner, strands=6, shine=(1, 4), span=(140, 480))
    outer = place([(-90, 176), (-160, 210), (-214, 290), (-224, 400), (-204, 500)])
    inner = place([(-98, 250), (-140, 292), (-170, 350), (-188, 420), (-200, 504)])
    lock(pen, tone, outer, inner, strands=3, shine=(1, 3), span=(140, 480))


def _curly(pen: Pen, look: Attributes, tone: Tones) -> None:
    hairline_shadow(pen, look, place([(-190, 420), (-150, 320), (0, 296), (150, 320), (190, 420)]))
    rows = [(206, 214, 196, 344, 11), (150, 200, 200, 340, 8)]
    centres = []
    for rx, ry, first, last, count in rows:
        centres += [(CENTRE_X + rx * math.cos(a), 400 + ry * math.sin(a)) for a in angles(first, last, count)]
    centres += place([(-206, 420), (206, 420), (-60, 262), (0, 254), (60, 262), (-120, 282), (120, 282)])
    curls(pen, tone, centres, 44)


def _afro(pen: Pen, look: Attributes, tone: Tones) -> None:
    hairline_shadow(pen, look, place([(-196, 420), (-150, 310), (0, 276), (150, 310), (196, 420)]))
    centres = [(CENTRE_X + 196 * math.cos(a), 412 + 172 * math.sin(a)) for a in angles(176, 364, 13)]
    curls(pen, tone, centres, 40)


SHORT_STYLES = {
    "buzz": _buzz, "short": _short, "side": _side, "quiff": _quiff,
    "pixie": _pixie, "curly": _curly, "afro": _afro,
}  # fmt: skip
