"""Background and clothes."""

from __future__ import annotations

from train.portrait import palette
from train.portrait.attributes import Attributes
from train.portrait.canvas import Pen, argb, linear
from train.portrait.geometry import CENTRE_X, LEFT, RIGHT, blob, box, curve, oval, place, sheet
from train.portrait.palette import Colour, darker, lighter, mix

SHOULDERS = {"narrow": 330.0, "broad": 420.0}


def draw_background(pen: Pen, look: Attributes) -> None:
    """Fill the picture with a quiet backdrop."""
    colour = palette.BACKGROUND_COLOURS[look.background_colour]
    deep = mix(colour, (84, 84, 120), 0.22)
    sky = linear((0, 0), (0, 1024), [argb(lighter(colour, 0.35)), argb(deep)])
    pen.fill(box(0, 0, 1024, 1024), shader=sky, label="background")
    if look.background == "halo":
        pen.fill(oval(CENTRE_X, 470, 400, 400), lighter(colour, 0.65), 0.75)
    elif look.background == "arch":
        arch = linear((0, 90), (0, 1024), [argb(mix(colour, (84, 84, 120), 0.3)), argb(colour)])
        pen.fill(box(132, 70, 892, 1500, 380), shader=arch)


def draw_clothes(pen: Pen, look: Attributes) -> None:
    """Draw the garment over neck and chest."""
    colour = palette.CLOTH_COLOURS[look.cloth_colour]
    depth = {"crew": 916, "vneck": 1000, "collar": 950, "turtleneck": 880, "hoodie": 930, "blazer": 1010}
    half = 96.0 if look.neck == "slim" else 118.0
    wide = SHOULDERS[look.shoulders]
    lip = [(0, depth[look.clothes]), (half * 0.7, (depth[look.clothes] + 846) / 2 + 16), (half + 6, 846)]
    if look.clothes in ("vneck", "blazer"):
        lip = [(0, depth[look.clothes]), (half * 0.55, 925), (half + 6, 846)]
    body = [*lip, (half + 70, 868), (wide * 0.82, 908), (wide, 970), (wide + 26, 1060), (0, 1100)]
    left = [(-x, y) for x, y in reversed(body) if x]
    shade = linear(
        (240, 860), (800, 1060), [argb(lighter(colour, 0.16)), argb(colour), argb(darker(colour, 0.32))]
    )
    pen.fill(blob(place([*body, *left])), shader=shade, label="cloth")
    for side in (LEFT, RIGHT):
        fold = place([(wide * 0.7, 1030), (wide * 0.68, 985), (wide * 0.74, 950)], side)
        pen.stroke(curve(fold), darker(colour, 0.5), 8, 0.5)
    _GARMENTS[look.clothes](pen, colour, half, place([*[(-x, y) for x, y in reversed(lip) if x], *lip]))


def _crew(pen: Pen, colour: Colour, half: float, lip: list) -> None:
    pen.stroke(curve(lip), darker(colour, 0.24), 24, label="cloth")
    pen.stroke(curve([(x, y - 7) for x, y in lip]), lighter(colour, 0.2), 6, 0.6)


def _vneck(pen: Pen, colour: Colour, half: float, lip: list) -> None:
    pen.stroke(curve(lip), darker(colour, 0.28), 20, label="cloth")


def _collar(pen: Pen, colour: Colour, half: float, lip: list) -> None:
    pen.fill(box(CENTRE_X - 18, 950, CENTRE_X + 18, 1030), darker(colour, 0.12), label="cloth")
    for side in (LEFT, RIGHT):
        wing = blob(place([(half + 4, 832), (half + 34, 872), (96, 978), (6, 950), (half * 0.6, 900)], side))
        pen.fill(wing, lighter(colour, 0.22), label="cloth")
        pen.stroke(curve(place([(half + 34, 872), (96, 978), (6, 950)], side)), darker(colour, 0.4), 6, 0.7)
    pen.fill(oval(CENTRE_X, 994, 9, 9), lighter(colour, 0.7), label="cloth")


def _turtleneck(pen: Pen, colour: Colour, half: float, lip: list) -> None:
    roll = sheet(
        place([(-half, 776), (0, 806), (half, 776)]), place([(-half - 22, 880), (0, 918), (half + 22, 880)])
    )
    shade = linear(
        (400, 0),
        (640, 0),
        [argb(darker(colour, 0.1)), argb(lighter(colour, 0.16)), argb(darker(colour, 0.36))],
        [0, 0.35, 1],
    )
    pen.fill(roll, shader=shade, label="cloth")
    for x in (-0.72, -0.36, 0.0, 0.36, 0.72):
        rib = place([(half * x, 808 - abs(x) * 22), (half * x * 1.16, 896 - abs(x) * 16)])
        pen.stroke(curve(rib), darker(colour, 0.45), 6, 0.45)


def _hoodie(pen: Pen, colour: Colour, half: float, lip: list) -> None:
    for side in (LEFT, RIGHT):
        hood = sheet(
            place([(half - 4, 800), (half + 66, 830), (half + 60, 900), (0, 1000)], side),
            place([(half - 4, 800), (half - 6, 858), (half * 0.6, 906), (0, 946)], side),
        )
        pen.fill(hood, darker(colour, 0.16 if side == LEFT else 0.26), label="cloth")
        cord = place([(44, 968), (48, 1000), (44, 1030)], side)
        pen.stroke(curve(cord), lighter(colour, 0.7), 10, label="cloth")


def _blazer(pen: Pen, colour: Colour, half: float, lip: list) -> None:
    shirt = sheet(
        place([(-half - 8, 840), (-half * 0.5, 920), (0, 1060)]),
        place([(half + 8, 840), (half * 0.5, 920), (0, 1060)]),
    )
    pen.fill(shirt, (246, 243, 238), label="cloth")
    throat = sheet(
        place([(-half + 12, 836), (-half * 0.4, 884), (0, 930)]),
        place([(half - 12, 836), (half * 0.4, 884), (0, 930)]),
    )
    pen.fill(throat, darker((232, 222, 216), 0.12), label="cloth")
    for side in (LEFT, RIGHT):
        flap = blob(place([(half - 6, 836), (half + 22, 862), (70, 966), (2, 926), (half * 0.6, 884)], side))
        pen.fill(flap, (255, 253, 248), label="cloth")
        pen.stroke(curve(place([(70, 966), (2, 926), (half * 0.6, 884)], side)), (170, 164, 170), 5, 0.8)
        lapel = sheet(
            place([(half + 22, 848), (half + 92, 905), (half + 30, 960), (40, 1060)], side),
            place([(half + 22, 848), (half * 0.9, 920), (half * 0.6, 980), (0, 1060)], side),
        )
        pen.fill(lapel, darker(colour, 0.2) if side == LEFT else darker(colour, 0.34), label="cloth")


_GARMENTS = {
    "crew": _crew, "vneck": _vneck, "collar": _collar,
    "turtleneck": _turtleneck, "hoodie": _hoodie, "blazer": _blazer,
}  # fmt: skip
