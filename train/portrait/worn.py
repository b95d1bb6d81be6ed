"""Glasses, hats, headphones and jewellery."""

from __future__ import annotations

import skia

from train.portrait import palette
from train.portrait.attributes import Attributes
from train.portrait.canvas import Pen, Point, argb, linear
from train.portrait.geometry import (
    CENTRE_X,
    EAR_X,
    EAR_Y,
    EYE_OFFSET,
    EYE_Y,
    LEFT,
    RIGHT,
    around,
    blob,
    box,
    curve,
    mirrored,
    oval,
    place,
    sheet,
)
from train.portrait.palette import darker, lighter

FRAME_WIDTH = 12.0
CAT_EYE: tuple[Point, ...] = ((-80, -30), (0, -56), (98, -76), (92, 20), (10, 60), (-70, 40))


def _lens(kind: str, centre: Point, side: int) -> skia.Path:
    if kind == "round":
        return oval(*centre, 82, 80)
    if kind == "cat":
        return blob(around(centre, CAT_EYE, side))
    return box(centre[0] - 86, centre[1] - 62, centre[0] + 86, centre[1] + 62, 30)


def draw_glasses(pen: Pen, look: Attributes) -> None:
    """Draw the frame, the lenses and their reflection."""
    if look.glasses == "none":
        return
    frame = palette.FRAME_COLOURS[look.frame_colour]
    y = EYE_Y + 4
    for side in (LEFT, RIGHT):
        lens = _lens(look.glasses, (CENTRE_X + side * EYE_OFFSET, y), side)
        if look.sunglasses:
            dark = linear((0, y - 70), (0, y + 70), [argb((30, 28, 40)), argb((92, 70, 84))])
            pen.fill(lens, shader=dark, label="glasses")
        else:
            pen.fill(lens, (226, 240, 255), 0.1)
        with pen.clip(lens):
            x = CENTRE_X + side * EYE_OFFSET
            pen.stroke(curve([(x - 74, y + 24), (x - 14, y - 80)]), palette.WHITE, 20, 0.16)
        temple = place([(EYE_OFFSET + 84, y - 14), (EAR_X + 6, y - 16)], side)
        pen.stroke(curve(temple), frame, FRAME_WIDTH, label="glasses")
        _rim(pen, look, lens, frame, y)
    bridge = place([(-25, y - 6), (0, y - 16), (25, y - 6)])
    pen.stroke(curve(bridge), frame, FRAME_WIDTH, label="glasses")


def _rim(pen: Pen, look: Attributes, lens: skia.Path, frame: palette.Colour, y: float) -> None:
    if look.glasses == "half_rim":
        with pen.clip(box(0, 0, 1024, y)):
            pen.stroke(lens, frame, FRAME_WIDTH + 2, label="glasses")
        return
    pen.stroke(lens, frame, FRAME_WIDTH, label="glasses")
    pen.stroke(lens, lighter(frame, 0.35), 4, 0.35)


def draw_hat(pen: Pen, look: Attributes) -> None:
    """Draw beanie, cap or headband over the hair."""
    colour = palette.CLOTH_COLOURS[look.hat_colour]
    shade = linear(
        (300, 130), (740, 380), [argb(lighter(colour, 0.2)), argb(colour), argb(darker(colour, 0.36))]
    )
    if look.hat == "beanie":
        _beanie(pen, colour, shade)
    elif look.hat == "cap":
        _cap(pen, colour, shade)
    elif look.hat == "band":
        upper = place([(-230, 366), (-190, 262), (0, 206), (190, 262), (230, 366)])
        lower = place([(-224, 412), (-184, 318), (0, 258), (184, 318), (224, 412)])
        pen.fill(sheet(upper, lower), shader=shade, label="hat")
        pen.stroke(curve([(x, y + 12) for x, y in upper[1:4]]), lighter(colour, 0.5), 7, 0.5)


def _beanie(pen: Pen, colour: palette.Colour, shade: skia.Shader) -> None:
    dome = blob(mirrored([(0, 92), (120, 118), (212, 212), (240, 330), (120, 330), (0, 330)]))
    pen.fill(dome, shader=shade, label="hat")
    for x in (-0.8, -0.4, 0.0, 0.4, 0.8):
        pen.stroke(curve(place([(x * 70, 106), (x * 190, 190), (x * 236, 300)])), darker(colour, 0.4), 7, 0.4)
    cuff = sheet(place([(-246, 296), (0, 254), (246, 296)]), place([(-242, 386), (0, 344), (242, 386)]))
    cuff_shade = linear(
        (270, 0),
        (754, 0),
        [argb(lighter(colour, 0.3)), argb(lighter(colour, 0.08)), argb(darker(colour, 0.3))],
    )
    pen.fill(cuff, shader=cuff_shade, label="hat")
    for x in (-200, -150, -100, -50, 0, 50, 100, 150, 200):
        bend = 42 * (x / 246) ** 2
        pen.stroke(curve(place([(x, 268 + bend), (x, 332 + bend)])), darker(colour, 0.4), 7, 0.4)


def _cap(pen: Pen, colour: palette.Colour, shade: skia.Shader) -> None:
    dome = blob(mirrored([(0, 112), (130, 136), (218, 226), (240, 346), (120, 322), (0, 316)]))
    pen.fill(dome, shader=shade, label="hat")
    for side in (LEFT, RIGHT):
        pen.stroke(curve(place([(10, 120), (96, 190), (120, 300)], side)), darker(colour, 0.4), 6, 0.5)
    pen.fill(oval(CENTRE_X, 112, 16, 10), darker(colour, 0.25), label="hat")
    brim = sheet(
        place([(-242, 344), (-130, 292), (0, 278), (130, 292), (242, 344)]),
        place([(-242, 344), (-140, 374), (0, 366), (140, 374), (242, 344)]),
    )
    brim_shade = linear((0, 280), (0, 376), [argb(lighter(colour, 0.14)), argb(darker(colour, 0.45))])
    pen.fill(brim, shader=brim_shade, label="hat")


def draw_headphones(pen: Pen, look: Attributes) -> None:
    """Draw a band over the hair and a cup on each ear."""
    if not look.headphones:
        return
    colour = palette.CLOTH_COLOURS[look.hat_colour]
    band = curve(place([(-252, 490), (-248, 340), (-160, 184), (0, 146), (160, 184), (248, 340), (252, 490)]))
    pen.stroke(band, (62, 62, 72), 32, label="accessory")
    pen.stroke(curve(place([(-140, 171), (0, 138), (140, 171)])), (150, 152, 164), 8, 0.7)
    for side in (LEFT, RIGHT):
        x = CENTRE_X + side * 252
        cup = box(x - 42, 430, x + 42, 590, 36)
        shade = linear(
            (x - 42, 430), (x + 42, 590), [argb(lighter(colour, 0.25)), argb(darker(colour, 0.25))]
        )
        pen.fill(cup, shader=shade, label="accessory")
        pen.stroke(curve([(x - 14, 462), (x - 18, 510), (x - 14, 556)]), palette.WHITE, 9, 0.35)


def draw_earrings(pen: Pen, look: Attributes) -> None:
    """Draw the same earring on both ears."""
    if look.earrings == "none":
        return
    metal = palette.METAL_COLOURS[look.metal]
    for side in (LEFT, RIGHT):
        x, y = CENTRE_X + side * (EAR_X + 4), EAR_Y + 50
        if look.earrings == "hoop":
            pen.stroke(oval(x, y + 34, 30, 34), metal, 10, label="accessory")
            pen.stroke(curve([(x - 27, y + 22), (x - 28, y + 42)]), palette.WHITE, 5, 0.7)
            continue
        pen.fill(oval(x, y, 12, 12), metal, label="accessory")
        if look.earrings == "drop":
            drop = blob([(x, y + 18), (x + 16, y + 56), (x, y + 72), (x - 16, y + 56)])
            pen.fill(drop, metal, label="accessory")
            pen.fill(oval(x - 5, y + 50, 5, 8), palette.WHITE, 0.8)
        pen.fill(oval(x - 4, y - 4, 4, 4), palette.WHITE, 0.9)


def draw_necklace(pen: Pen, look: Attributes) -> None:
    """Draw chain and pendant on the chest; clothes are drawn over their ends."""
    if look.necklace == "none":
        return
    metal = palette.METAL_COLOURS[look.metal]
    line = curve(place([(-96, 800), (-70, 846), (0, 880), (70, 846), (96, 800)]))
    pen.stroke(line, darker(metal, 0.25), 8, label="accessory")
    pen.stroke(line, lighter(metal, 0.3), 4, 0.8)
    if look.necklace == "pendant":
        pen.fill(oval(CENTRE_X, 894, 15, 17), metal, label="accessory")
        pen.fill(oval(CENTRE_X - 5, 889, 5, 5), palette.WHITE, 0.8)


def draw_hair_clip(pen: Pen, look: Attributes) -> None:
    """Draw a small clip above one temple."""
    if look.hair_clip == "none":
        return
    side = LEFT if look.hair_clip == "left" else RIGHT
    clip = curve(place([(150, 300), (196, 352)], side))
    pen.stroke(clip, palette.METAL_COLOURS[look.metal], 18, label="accessory")
    pen.stroke(curve(place([(154, 298), (176, 322)], side)), palette.WHITE, 5, 0.7)
