"""Hair styles: what lies behind the head and what lies over it."""

from __future__ import annotations

import math

from train.portrait import palette
from train.portrait.attributes import PARTED_STYLES, Attributes
from train.portrait.canvas import Pen, Point
from train.portrait.geometry import (
    CENTRE_X,
    LEFT,
    RIGHT,
    blob,
    curve,
    mirrored,
    oval,
    place,
)
from train.portrait.hair_short import SHORT_STYLES
from train.portrait.locks import Tones, angles, curls, hairline_shadow, lock, tones

PART_X = {"left": -92.0, "middle": 0.0, "right": 92.0}
# Tips of the side panels, root to tip below the temple: (outer, inner) offsets from the centre.
PANELS: dict[str, tuple[tuple[Point, ...], tuple[Point, ...]]] = {
    "bob": (
        ((238, 480), (252, 610), (244, 716), (176, 770)),
        ((199, 480), (196, 590), (184, 690), (164, 766)),
    ),
    "long": (
        ((240, 500), (258, 680), (268, 850), (238, 990)),
        ((199, 480), (194, 610), (170, 790), (150, 985)),
    ),
    "wavy": (
        ((262, 455), (234, 600), (294, 760), (228, 950)),
        ((199, 470), (204, 590), (166, 740), (190, 944)),
    ),
    "up": (
        ((232, 400), (228, 440), (220, 480), (208, 506)),
        ((190, 372), (200, 420), (204, 470), (202, 506)),
    ),
}


def draw_hair_behind(pen: Pen, look: Attributes) -> None:
    """Draw the hair behind neck and face."""
    tone, style = tones(look.hair_colour), look.hair_style
    deep = Tones(tone.dark, palette.darker(tone.dark, 0.35), tone.base)
    bottoms = {"bob": 752, "long": 960, "wavy": 930}
    if style in bottoms:
        end = bottoms[style]
        shape = mirrored(
            [(0, 170), (150, 200), (226, 330), (238, 500), (240, end - 60), (180, end), (0, end - 10)]
        )
        pen.fill(blob(shape), shader=deep.gradient(300, 900), label="hair")
    elif style == "bun":
        _bun(pen, tone)
    elif style == "pony":
        _pony(pen, tone)
    elif style == "afro":
        ring = [(CENTRE_X + 232 * math.cos(a), 400 + 232 * math.sin(a)) for a in angles(152, 388, 17)]
        curls(pen, tone, ring, 72, oval(CENTRE_X, 400, 236, 236))
    elif style == "curly" and look.presentation == "feminine":
        centres = [
            (x * side, y)
            for side in (LEFT, RIGHT)
            for x, y in ((218, 400), (234, 470), (250, 550), (250, 630), (230, 710), (186, 650))
        ]
        curls(pen, tone, [(CENTRE_X + x, y) for x, y in centres], 56, bottom=900)


def draw_hair(pen: Pen, look: Attributes) -> None:
    """Draw the hair over face and shoulders."""
    tone, style = tones(look.hair_colour), look.hair_style
    if style == "bald":
        pen.glow((CENTRE_X - 60, 246), (74, 28), palette.WHITE, 0.4)
        return
    if style in PARTED_STYLES:
        _parted(pen, look, tone)
    else:
        SHORT_STYLES[style](pen, look, tone)


def _parted(pen: Pen, look: Attributes, tone: Tones) -> None:
    part = PART_X[look.parting]
    kind = look.hair_style if look.hair_style in ("bob", "long", "wavy") else "up"
    outer_tail, inner_tail = PANELS[kind]
    lobes = []
    for side in (LEFT, RIGHT):
        root = part * side  # the parting seen from this side
        middle = (root + 196) * 0.5
        outer = [(root, _dome(root)), (middle, _dome(middle)), (196, 240), (230, 350), *outer_tail]
        low = 0.62 * root
        inner = [
            (root, 232),
            ((root + 60) * 0.5 + 14, 262 - low * 0.2),
            (112, 308 - low * 0.1),
            (172, 380),
            *inner_tail,
        ]
        lobes.append((side, place(outer, side), place(inner, side)))
    for _, _, inner in lobes:
        hairline_shadow(pen, look, inner[:5])
    lobes.sort(key=lambda lobe: lobe[0] * part)  # the wider sweep goes on top
    for _, outer, inner in reversed(lobes):
        lock(pen, tone, outer, inner, strands=5, shine=(1, 4))
    if look.hair_style == "braids":
        _braids(pen, tone)
    if look.fringe == "bangs":
        _bangs(pen, look, tone)


def _dome(x: float) -> float:
    """Return the height of the hair's outline at an offset from the centre."""
    return 154 + 86 * (abs(x) / 196) ** 2.2


def _bangs(pen: Pen, look: Attributes, tone: Tones) -> None:
    ends = [-186, -112, -40, 40, 112, 186]
    hairline_shadow(pen, look, place([(-180, 396), (0, 392), (180, 396)]))
    order = (0, 4, 1, 3, 2)
    for i in order:
        a, b = ends[i], ends[i + 1]
        left = place([(a * 0.5, 168), (a * 0.8, 240), (a * 1.02, 330), (a, 396 if abs(a) < 150 else 424)])
        right = place([(b * 0.5, 168), (b * 0.8, 240), (b * 1.02, 330), (b, 396 if abs(b) < 150 else 424)])
        lock(pen, tone, left, right, strands=2, shine=(1, 3))


def _braids(pen: Pen, tone: Tones) -> None:
    for side in (LEFT, RIGHT):
        for i, y in enumerate(range(560, 960, 56)):
            x = 222 + (12 if i % 2 else -4) - i * 2
            bead = blob(
                place(
                    [
                        (x - 40, y - 22),
                        (x + 6, y - 36),
                        (x + 40, y - 14),
                        (x + 28, y + 28),
                        (x, y + 42),
                        (x - 28, y + 24),
                    ],
                    side,
                )
            )
            pen.fill(bead, shader=tone.gradient(420, 960), label="hair")
            pen.stroke(curve(place([(x - 34, y - 12), (x, y + 6), (x + 34, y - 6)], side)), tone.dark, 7, 0.6)
            pen.stroke(curve(place([(x - 18, y - 22), (x + 8, y - 16)], side)), tone.light, 8, 0.6)


def _bun(pen: Pen, tone: Tones) -> None:
    pen.fill(oval(CENTRE_X, 130, 94, 84), shader=tone.gradient(50, 240), label="hair")
    for i, spread in enumerate((74, 44, 12)):
        swirl = place([(-spread, 190), (-spread * 0.9, 110), (spread * 0.2, 66 + i * 14), (spread, 120)])
        pen.stroke(curve(swirl), tone.light if i == 1 else tone.dark, 8, 0.5)


def _pony(pen: Pen, tone: Tones) -> None:
    outer = place([(60, 236), (226, 204), (316, 400), (322, 620), (262, 830)])
    inner = place([(80, 290), (200, 320), (232, 450), (226, 620), (250, 820)])
    lock(pen, tone, outer, inner, strands=5, shine=(1, 4), span=(200, 800))
