"""Eyes and brows. The eye centres never move; shapes come from a few variants."""

from __future__ import annotations

from train.portrait import palette
from train.portrait.attributes import Attributes
from train.portrait.canvas import Pen, Point, argb, linear, radial
from train.portrait.geometry import (
    BROW_Y,
    CENTRE_X,
    EYE_OFFSET,
    EYE_Y,
    IRIS_RADIUS,
    LEFT,
    RIGHT,
    around,
    between,
    curve,
    oval,
    sheet,
)
from train.portrait.palette import darker, lighter, mix, skin_shadow

# Lid lines from the inner to the outer corner, relative to the eye centre.
UPPER_LIDS: dict[str, tuple[Point, ...]] = {
    "almond": ((-63, 12), (-38, -15), (0, -28), (40, -22), (67, 0)),
    "round": ((-60, 10), (-38, -20), (0, -33), (38, -25), (62, 4)),
    "upturned": ((-63, 16), (-38, -12), (0, -27), (42, -27), (70, -10)),
}
LOWER_LIDS: dict[str, tuple[Point, ...]] = {
    "almond": ((-63, 12), (-34, 24), (0, 30), (38, 23), (67, 0)),
    "round": ((-60, 10), (-34, 27), (0, 34), (36, 27), (62, 4)),
    "upturned": ((-63, 16), (-34, 26), (0, 30), (40, 19), (70, -10)),
}
# Brows from the inner to the outer end, relative to (eye centre x, BROW_Y).
BROWS: dict[str, tuple[Point, ...]] = {
    "straight": ((-60, -5), (-20, -8), (30, -9), (80, 8)),
    "soft": ((-58, -3), (-20, -12), (30, -15), (80, 10)),
    "arched": ((-56, -4), (-16, -15), (34, -20), (80, 12)),
}
BROW_THICKNESS = {"thin": 12.0, "medium": 17.0, "thick": 23.0}


def draw_eyes(pen: Pen, look: Attributes) -> None:
    """Draw both eyes with lids and lashes."""
    for side, name in ((LEFT, "left"), (RIGHT, "right")):
        centre = (CENTRE_X + side * EYE_OFFSET, EYE_Y)
        upper = around(centre, UPPER_LIDS[look.eye_shape], side)
        lower = around(centre, LOWER_LIDS[look.eye_shape], side)
        _lid_skin(pen, look, centre, upper, side)
        _eyeball(pen, look, centre, upper, lower, name)
        _lashes(pen, look, upper, lower, side)


def _lid_skin(pen: Pen, look: Attributes, centre: Point, upper: list[Point], side: int) -> None:
    skin = palette.SKIN_TONES[look.skin]
    pen.glow((centre[0], centre[1] - 14), (104, 74), skin_shadow(skin, 0.5), 0.34)
    raise_by = 15 if look.lids == "crease" else 9
    crease = [(x, y - raise_by - (4 if 0 < i < 4 else -3)) for i, (x, y) in enumerate(upper)]
    if look.eye_shadow != "none":
        tint = palette.SHADOW_COLOURS[look.eye_shadow]
        high = [(x + side * i, y - 30 + abs(i - 2.4) * 7) for i, (x, y) in enumerate(upper)]
        pen.fill(sheet(high, upper), tint, 0.5, blur=4)
    if look.lids == "hooded":
        pen.fill(sheet(crease, upper), skin_shadow(skin, 0.42), 0.5)
    pen.stroke(curve(crease), skin_shadow(skin, 0.62), 5, 0.6)
    if look.eye_bags:
        bag = around(centre, ((-44, 42), (-10, 54), (40, 46)), side)
        pen.stroke(curve(bag), skin_shadow(skin, 0.5), 6, 0.3)


def _eyeball(
    pen: Pen, look: Attributes, centre: Point, upper: list[Point], lower: list[Point], name: str
) -> None:
    opening = sheet(upper, lower)
    shade = linear((0, EYE_Y - 36), (0, EYE_Y + 10), [argb((198, 188, 192)), argb(palette.EYE_WHITE)])
    pen.fill(opening, shader=shade, label=f"eye_{name}")
    with pen.clip(opening):
        x, y = centre[0], centre[1] - 3
        inner = upper[0]
        pen.fill(oval(inner[0], inner[1], 13, 10), (226, 150, 140))
        iris, radius = palette.IRIS_COLOURS[look.iris], IRIS_RADIUS
        rim, glow = darker(iris, 0.62), lighter(iris, 0.3)
        rings = radial(
            (x, y), radius,
            [argb(glow), argb(iris), argb(iris), argb(rim), argb(rim)], [0.42, 0.56, 0.78, 0.92, 1],
        )  # fmt: skip
        pen.fill(oval(x, y, radius, radius), shader=rings, label=f"iris_{name}")
        pen.fill(oval(x, y, 13, 13), (16, 10, 14))
        lid_shadow = [(px, py + 9) for px, py in upper]
        pen.fill(sheet(upper, lid_shadow), (40, 18, 30), 0.4)
        pen.fill(oval(x - 11, y - 11, 9, 9), palette.WHITE)
        pen.fill(oval(x + 11, y + 12, 5, 5), palette.WHITE, 0.7)


def _lashes(pen: Pen, look: Attributes, upper: list[Point], lower: list[Point], side: int) -> None:
    skin = palette.SKIN_TONES[look.skin]
    ink = mix(darker(palette.HAIR_COLOURS[look.hair_colour], 0.75), palette.INK, 0.6)
    pen.stroke(curve(lower[1:]), skin_shadow(skin, 0.7), 4, 0.7)
    weight = {"short": 5, "long": 9, "winged": 9}[look.lashes]
    thickness = (0.25, 0.7, 1.0, 1.15, 0.5)
    line = [(x, y - weight * t) for (x, y), t in zip(upper, thickness)]
    base = [(x, y + 3) for x, y in upper]
    if look.lashes == "winged":
        tip = (upper[-1][0] + side * 17, upper[-1][1] - 15)
        line, base = [*line, tip], [*base, tip]
    pen.fill(sheet(line, base), ink)
    if look.lashes != "long":
        return
    roots = ((upper[3], (15, -21)), (between(upper, upper[1:] + upper[-1:], 0.5)[3], (19, -17)))
    for (x, y), (dx, dy) in roots:
        tip = (x + side * dx, y + dy)
        lash = [(x - side * 7, y - 4), (x + side * dx * 0.5, y + dy * 0.4), tip]
        pen.fill(sheet(lash, [(x + side * 6, y), (x + side * (dx * 0.5 + 5), y + dy * 0.34), tip]), ink)


def draw_brows(pen: Pen, look: Attributes) -> None:
    """Draw both brows in a shade of the hair colour."""
    hair = palette.HAIR_COLOURS[look.hair_colour]
    colour = mix(hair, (52, 32, 28), 0.45 if sum(hair) > 330 else 0.2)
    thickness = BROW_THICKNESS[look.brow_thickness]
    lift = -5 if look.mouth == "open" else 0
    for side in (LEFT, RIGHT):
        centre = (CENTRE_X + side * EYE_OFFSET, BROW_Y + lift)
        top = around(centre, BROWS[look.brow_shape], side)
        widths = (0.7, 1.0, 0.85, 0.1)
        bottom = [(x, y + thickness * w) for (x, y), w in zip(top, widths)]
        brow = sheet(top, bottom)
        pen.fill(brow, colour, label="brow")
        pen.stroke(brow, colour, 5, label="brow")  # rounds the ends
