"""Building blocks of hair: locks with coherent strands, and fields of curls.

Nothing here is random: the same style in the same colour always gives the same pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import skia

from train.portrait.attributes import Attributes
from train.portrait.canvas import Pen, Point, argb, linear
from train.portrait.geometry import between, circles, curve, face_outline, sheet
from train.portrait.palette import HAIR_COLOURS, SKIN_TONES, Colour, darker, lighter, skin_shadow


@dataclass(frozen=True)
class Tones:
    """The three shades one hair colour is drawn with."""

    base: Colour
    dark: Colour
    light: Colour

    def gradient(self, top: float, bottom: float) -> skia.Shader:
        """Light from the upper left, as the whole portrait."""
        colours = [argb(self.light), argb(self.base), argb(self.dark)]
        return linear((330, top), (700, bottom), colours, [0, 0.42, 1])


def tones(hair_colour: str) -> Tones:
    """Return the shades of a named hair colour."""
    base = HAIR_COLOURS[hair_colour]
    return Tones(base, darker(base, 0.45), lighter(base, 0.3 if sum(base) > 200 else 0.2))


def lock(
    pen: Pen,
    tone: Tones,
    outer: Sequence[Point],
    inner: Sequence[Point],
    *,
    strands: int = 4,
    shine: tuple[int, int] | None = (1, 3),
    span: tuple[float, float] = (170, 620),
) -> None:
    """Draw one lock between two curves that run from root to tip (equally many points).

    Strands follow the lock; `shine` is the range of curve points the highlight band covers.
    """
    shape = sheet(outer, inner)
    pen.fill(shape, shader=tone.gradient(*span), label="hair")
    with pen.clip(shape):
        for i in range(strands):
            amount = (i + 0.7) / (strands + 0.4)
            line = curve(between(outer, inner, amount))
            pen.stroke(line, tone.dark if i % 2 == 0 else tone.light, 6, 0.34 if i % 2 == 0 else 0.3)
        if shine:
            for start, end in ((0.1, 0.95), (0.35, 0.7)):  # two steps make a soft edge
                pen.fill(_band(outer, inner, shine, start, end), lighter(tone.light, 0.35), 0.13)
    pen.stroke(curve(inner), tone.dark, 5, 0.5)


def _band(
    outer: Sequence[Point], inner: Sequence[Point], reach: tuple[int, int], start: float, end: float
) -> skia.Path:
    """Return a strip across the lock; `start` and `end` are fractions of its `reach`."""
    ways = [between(outer, inner, amount) for amount in (-0.05, 0.25, 0.5, 0.75, 1.05)]
    sway = (0.0, 0.05, 0.0, 0.06, 0.0)
    upper = [_along(way, reach, start - bend) for way, bend in zip(ways, sway)]
    lower = [_along(way, reach, end + bend) for way, bend in zip(ways, sway)]
    return sheet(upper, lower)


def _along(line: Sequence[Point], reach: tuple[int, int], fraction: float) -> Point:
    """Return the point at a fraction of the stretch from line[reach[0]] to line[reach[1] - 1]."""
    place = reach[0] + max(fraction, 0.0) * (reach[1] - 1 - reach[0])
    index = min(int(place), len(line) - 2)
    (x0, y0), (x1, y1) = line[index], line[index + 1]
    return x0 + (x1 - x0) * (place - index), y0 + (y1 - y0) * (place - index)


def curls(
    pen: Pen,
    tone: Tones,
    centres: Sequence[Point],
    radius: float,
    filler: skia.Path | None = None,
    bottom: float = 560,
) -> None:
    """Draw overlapping round curls, each with a dark and a light arc."""
    shape = circles(centres, radius)
    if filler is not None:
        shape.addPath(filler)
    pen.fill(shape, shader=tone.gradient(150, bottom), label="hair")
    dark, light = skia.Path(), skia.Path()
    for x, y in centres:
        ring = skia.Rect.MakeLTRB(x - radius * 0.62, y - radius * 0.62, x + radius * 0.62, y + radius * 0.62)
        dark.addArc(ring, 10, 150)
        light.addArc(ring, 195, 95)
    pen.stroke(dark, tone.dark, 8, 0.5)
    pen.stroke(light, tone.light, 8, 0.55)


def hairline_shadow(pen: Pen, look: Attributes, line: list[Point]) -> None:
    """Cast the shadow of a hairline on the face."""
    skin = SKIN_TONES[look.skin]
    with pen.clip(face_outline(look.face_shape)):
        pen.stroke(curve(line), skin_shadow(skin, 0.6), 22, 0.42, blur=6)


def angles(first: float, last: float, count: int) -> list[float]:
    """Return evenly spaced angles in radians from bounds in degrees."""
    return [math.radians(first + (last - first) * i / (count - 1)) for i in range(count)]
