"""Colours of the portraits: small calm palettes (name -> RGB uint8) and two ways to vary one."""

from __future__ import annotations

Colour = tuple[int, int, int]

SKIN_TONES: dict[str, Colour] = {
    "porcelain": (250, 219, 198),
    "peach": (240, 195, 160),
    "honey": (220, 165, 120),
    "caramel": (182, 121, 80),
    "chestnut": (136, 84, 56),
    "espresso": (96, 59, 42),
}
DEEP_SKINS = ("caramel", "chestnut", "espresso")

HAIR_COLOURS: dict[str, Colour] = {
    "black": (36, 32, 38),
    "dark_brown": (70, 45, 35),
    "brown": (115, 72, 46),
    "auburn": (146, 62, 38),
    "ginger": (200, 104, 50),
    "blonde": (222, 178, 106),
    "platinum": (238, 222, 190),
    "grey": (158, 160, 168),
}

IRIS_COLOURS: dict[str, Colour] = {
    "dark_brown": (54, 30, 20),
    "brown": (128, 72, 32),
    "hazel": (166, 128, 52),
    "green": (66, 142, 84),
    "blue": (48, 122, 208),
    "grey": (140, 156, 170),
}

LIP_COLOURS: dict[str, Colour] = {
    "natural": (196, 96, 92),  # blended with the skin
    "rose": (206, 92, 108),
    "red": (190, 40, 52),
    "berry": (134, 42, 78),
}

CLOTH_COLOURS: dict[str, Colour] = {
    "navy": (50, 68, 98),
    "sage": (120, 146, 122),
    "rust": (184, 92, 66),
    "cream": (236, 226, 208),
    "charcoal": (58, 60, 68),
    "mustard": (216, 166, 72),
}

BACKGROUND_COLOURS: dict[str, Colour] = {
    "mist": (206, 220, 228),
    "sand": (236, 222, 202),
    "mint": (202, 224, 210),
    "lilac": (218, 210, 230),
    "blush": (240, 212, 204),
}

FRAME_COLOURS: dict[str, Colour] = {"black": (34, 34, 42), "tortoise": (160, 90, 42)}
METAL_COLOURS: dict[str, Colour] = {"gold": (232, 184, 84), "silver": (206, 212, 222)}
SHADOW_COLOURS: dict[str, Colour] = {"bronze": (150, 92, 60), "plum": (128, 76, 132)}

WHITE: Colour = (255, 255, 255)
EYE_WHITE: Colour = (250, 247, 244)
INK: Colour = (34, 22, 28)
TEETH: Colour = (252, 250, 246)


def mix(first: Colour, second: Colour, amount: float) -> Colour:
    """Return the colour `amount` (0..1) of the way from `first` to `second`."""
    return tuple(round(a + (b - a) * amount) for a, b in zip(first, second))  # type: ignore[return-value]


def darker(colour: Colour, amount: float) -> Colour:
    """Shade towards a warm near-black, which keeps skin and hair from turning grey."""
    return mix(colour, (44, 14, 26), amount)


def lighter(colour: Colour, amount: float) -> Colour:
    """Tint towards a warm white."""
    return mix(colour, (255, 246, 232), amount)


def skin_shadow(skin: Colour, amount: float) -> Colour:
    """Shade skin towards a saturated red-brown, as light through skin does."""
    return mix(skin, (112, 30, 26) if sum(skin) > 420 else (40, 10, 14), amount)
