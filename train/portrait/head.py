"""Neck, ears, the face itself, what is on the skin, and the beard."""

from __future__ import annotations

from train.portrait import palette
from train.portrait.attributes import Attributes
from train.portrait.canvas import Pen, Point, argb, linear, radial
from train.portrait.geometry import (
    CENTRE_X,
    EAR_X,
    EAR_Y,
    FACE_SHAPES,
    LEFT,
    MOUTH_Y,
    NOSE_TIP_Y,
    RIGHT,
    around,
    between,
    blob,
    circles,
    curve,
    face_outline,
    mirrored,
    oval,
    place,
    sheet,
)
from train.portrait.palette import darker, lighter, mix, skin_shadow

NECK_WIDTH = {"slim": 80.0, "strong": 106.0}
FRECKLES: tuple[Point, ...] = (
    (44, 556), (66, 540), (90, 552), (112, 540), (132, 556),
    (76, 570), (104, 574), (128, 582), (54, 584), (152, 572),
)  # fmt: skip


def draw_neck(pen: Pen, look: Attributes) -> None:
    """Draw the neck and chest with the shadow of the head on them."""
    skin, half = palette.SKIN_TONES[look.skin], NECK_WIDTH[look.neck]
    shape = blob(
        mirrored(
            [
                (half, 640),
                (half - 3, 740),
                (half + 4, 830),
                (half + 90, 890),
                (half + 170, 960),
                (half, 1060),
                (0, 1070),
            ]
        )
    )
    shade = linear(
        (0, 730),
        (0, 930),
        [argb(skin_shadow(skin, 0.5)), argb(skin_shadow(skin, 0.2)), argb(mix(skin, (255, 255, 255), 0.04))],
        [0, 0.5, 1],
    )
    pen.fill(shape, shader=shade, label="neck")
    with pen.clip(shape):
        chin = [(x, y + 34) for x, y in FACE_SHAPES[look.face_shape]]
        pen.fill(blob(mirrored([(0, 600), *chin])), skin_shadow(skin, 0.62), 0.6, blur=7)
        for side in (LEFT, RIGHT):
            bone = place([(18, 936), (64, 916), (150, 912)], side)
            pen.stroke(curve(bone), skin_shadow(skin, 0.45), 7, 0.5)


def draw_ears(pen: Pen, look: Attributes) -> None:
    """Draw both ears (hair may cover them later)."""
    skin = palette.SKIN_TONES[look.skin]
    for side in (LEFT, RIGHT):
        centre = (CENTRE_X + side * EAR_X, EAR_Y)
        outline = around(
            centre, ((-14, -58), (18, -62), (34, -36), (26, 8), (12, 46), (-12, 56), (-22, 0)), side
        )
        warm = skin_shadow(skin, 0.14 if side == LEFT else 0.28)
        pen.fill(blob(outline), warm, label="ear")
        fold = around(centre, ((-4, -38), (16, -42), (20, -18), (10, 10), (0, 24)), side)
        pen.stroke(curve(fold), skin_shadow(skin, 0.55), 7, 0.7)
        pen.fill(oval(centre[0] + side * 2, centre[1] + 2, 8, 20), skin_shadow(skin, 0.5), 0.55)


def draw_face(pen: Pen, look: Attributes) -> None:
    """Draw the face with soft light from the upper left, blush and marks."""
    skin = palette.SKIN_TONES[look.skin]
    outline = face_outline(look.face_shape, bald=look.hair_style == "bald")
    light = radial(
        (CENTRE_X - 84, 420),
        430,
        [argb(lighter(skin, 0.2)), argb(skin), argb(skin_shadow(skin, 0.24)), argb(skin_shadow(skin, 0.5))],
        [0, 0.48, 0.82, 1],
    )
    pen.fill(outline, shader=light, label="skin")
    with pen.clip(outline):
        _cheeks(pen, look, skin)
        pen.glow((CENTRE_X - 4, 738), (48, 22), lighter(skin, 0.4), 0.5)
        pen.glow((CENTRE_X - 50, 330), (130, 70), lighter(skin, 0.5), 0.4)
        _lines(pen, look, skin)
        _marks(pen, look, skin)


def _cheeks(pen: Pen, look: Attributes, skin: palette.Colour) -> None:
    warm = mix(skin, (232, 64, 72), 0.75)
    strength = {"none": 0.0, "soft": 0.24, "rosy": 0.4}[look.blush]
    if look.skin in palette.DEEP_SKINS:
        strength *= 0.6
    for side in (LEFT, RIGHT):
        if strength:
            pen.glow((CENTRE_X + side * 134, 584), (74, 54), warm, strength)
        if look.cheekbones == "high":
            pen.glow((CENTRE_X + side * 142, 546), (50, 22), lighter(skin, 0.6), 0.5)
            pen.glow((CENTRE_X + side * 176, 630), (44, 60), skin_shadow(skin, 0.5), 0.22)


def _lines(pen: Pen, look: Attributes, skin: palette.Colour) -> None:
    shade = skin_shadow(skin, 0.5)
    if look.smile_lines:
        for side in (LEFT, RIGHT):
            fold = place([(54, NOSE_TIP_Y + 2), (84, NOSE_TIP_Y + 34), (100, MOUTH_Y + 6)], side)
            pen.stroke(curve(fold), shade, 8, 0.28)
    if look.forehead_lines:
        for y in (322, 350):
            pen.stroke(curve(place([(-84, y + 6), (0, y), (84, y + 6)])), shade, 5, 0.4)
    if look.chin == "cleft":
        pen.stroke(curve(place([(0, 728), (0, 748)])), shade, 7, 0.6)


def _marks(pen: Pen, look: Attributes, skin: palette.Colour) -> None:
    if look.freckles:
        for side in (LEFT, RIGHT):
            pen.fill(circles(place(FRECKLES, side), 4.5), skin_shadow(skin, 0.6), 0.6)
    if look.mole != "none":
        side = LEFT if look.mole == "left" else RIGHT
        pen.fill(oval(CENTRE_X + side * 96, 640, 7, 7), darker(skin, 0.75), 0.9)


def draw_beard(pen: Pen, look: Attributes) -> None:
    """Draw the beard; the mouth is drawn over it afterwards."""
    if look.beard == "none":
        return
    hair = palette.HAIR_COLOURS[look.hair_colour]
    colour = mix(hair, (40, 26, 24), 0.28)
    if look.beard in ("stubble", "full"):
        _full_beard(pen, look, colour)
    if look.beard == "goatee":
        _goatee(pen, colour)
    if look.beard in ("full", "goatee", "moustache"):
        _moustache(pen, colour)


def _full_beard(pen: Pen, look: Attributes, colour: palette.Colour) -> None:
    full = look.beard == "full"
    drop = 10 if full else -2
    jaw = [(208, 474), *[(x + drop * 0.5, y + drop) for x, y in FACE_SHAPES[look.face_shape]]]
    inner = [(188, 474), (170, 572), (112, 628), (40, 618), (0, 616)]
    shape = sheet(_across(jaw), _across(inner))
    if not full:
        pen.fill(shape, colour, 0.24, label="beard", blur=6)
        return
    shader = linear(
        (380, 560), (640, 780), [argb(lighter(colour, 0.14)), argb(colour), argb(darker(colour, 0.35))]
    )
    pen.fill(shape, shader=shader, label="beard")
    for amount in (0.3, 0.6):
        tone = lighter(colour, 0.2) if amount < 0.5 else darker(colour, 0.35)
        strand = between(_across(jaw[1:]), _across(inner[1:]), amount)
        pen.stroke(curve(strand), tone, 7, 0.35)


def _across(right: list[Point]) -> list[Point]:
    """Mirror points that end on the centre line into one line from left to right."""
    return place([(-x, y) for x, y in right[:-1]] + right[::-1])


def _goatee(pen: Pen, colour: palette.Colour) -> None:
    shape = mirrored([(0, 706), (40, 700), (66, 664), (76, 690), (66, 740), (40, 774), (0, 782)])
    pen.fill(blob(shape), colour, label="beard")
    for x in (-22, 22):
        pen.stroke(curve(place([(x, 722), (x * 0.9, 760)])), lighter(colour, 0.2), 7, 0.45)


def _moustache(pen: Pen, colour: palette.Colour) -> None:
    for side in (LEFT, RIGHT):
        top = place([(0, 622), (34, 616), (70, 634), (92, 668)], side)
        bottom = place([(0, 642), (32, 644), (66, 654), (92, 668)], side)
        pen.fill(sheet(top, bottom), colour, label="beard")
        pen.stroke(curve(place([(14, 630), (46, 634), (74, 652)], side)), lighter(colour, 0.2), 6, 0.4)
