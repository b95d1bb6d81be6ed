"""Everything that distinguishes one portrait from another, and how it is drawn by lot."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from typing import Any

from train.portrait import palette

LONG_STYLES = ("bob", "long", "wavy")
PARTED_STYLES = (*LONG_STYLES, "bun", "pony", "braids")
TALL_STYLES = ("afro", "curly", "bun", "quiff", "bald")  # do not fit beneath a hat
FEMININE_STYLES = {
    "long": 20, "wavy": 17, "bob": 15, "bun": 11, "pony": 10, "pixie": 8, "curly": 8, "afro": 6, "braids": 5,
}  # fmt: skip
MASCULINE_STYLES = {
    "short": 24, "side": 19, "quiff": 17, "buzz": 10, "curly": 9, "bald": 7, "afro": 6, "wavy": 4, "bob": 4,
}  # fmt: skip


@dataclass(frozen=True)
class Attributes:
    """One portrait in words. Left and right are sides of the picture."""

    presentation: str  # feminine | masculine; steers which values the rest may take
    age: str  # young | adult | senior
    skin: str  # key of SKIN_TONES
    blush: str  # none | soft | rosy
    face_shape: str  # key of FACE_SHAPES
    cheekbones: str  # soft | high: a highlight on the cheeks
    chin: str  # plain | cleft
    neck: str  # slim | strong
    shoulders: str  # narrow | broad
    hair_style: str  # key of FEMININE_STYLES or MASCULINE_STYLES
    hair_colour: str  # key of HAIR_COLOURS
    parting: str  # left | middle | right
    fringe: str  # none | bangs
    hair_clip: str  # none | left | right
    eye_shape: str  # almond | round | upturned
    iris: str  # key of IRIS_COLOURS, the same on both sides
    lids: str  # crease | hooded
    lashes: str  # short | long | winged
    eye_shadow: str  # none or key of SHADOW_COLOURS
    eye_bags: bool  # a soft fold beneath the eyes
    brow_shape: str  # straight | soft | arched
    brow_thickness: str  # thin | medium | thick
    nose: str  # button | straight | broad
    nose_bridge: str  # soft | high: how strong the bridge is lit
    mouth: str  # neutral | smile | grin | open
    lip_colour: str  # key of LIP_COLOURS
    lip_fullness: str  # slim | full
    dimples: bool  # only with a smile
    smile_lines: bool  # folds from nose to mouth
    forehead_lines: bool  # only seniors
    freckles: bool
    mole: str  # none | left | right
    beard: str  # none | stubble | full | goatee | moustache
    glasses: str  # none | round | square | cat | half_rim
    frame_colour: str  # key of FRAME_COLOURS
    sunglasses: bool  # dark lenses; only with glasses
    hat: str  # none | beanie | cap | band
    hat_colour: str  # key of CLOTH_COLOURS
    headphones: bool
    earrings: str  # none | stud | hoop | drop; only where ears show
    metal: str  # key of METAL_COLOURS: earrings and necklace
    necklace: str  # none | chain | pendant
    clothes: str  # crew | vneck | collar | turtleneck | hoodie | blazer
    cloth_colour: str  # key of CLOTH_COLOURS
    background: str  # plain | halo | arch
    background_colour: str  # key of BACKGROUND_COLOURS

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


def _pick(rng: random.Random, weights: dict[str, float]) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]


def _happens(rng: random.Random, probability: float) -> bool:
    return rng.random() < probability


def _face(rng: random.Random, feminine: bool) -> dict[str, Any]:
    shapes = {"oval": 4, "round": 3, "heart": 3} if feminine else {"oval": 4, "square": 4, "round": 2}
    return {
        "age": _pick(rng, {"young": 45, "adult": 43, "senior": 12}),
        "skin": rng.choice(list(palette.SKIN_TONES)),
        "blush": _pick(rng, {"none": 2, "soft": 5, "rosy": 3} if feminine else {"none": 7, "soft": 3}),
        "face_shape": _pick(rng, shapes),
        "cheekbones": _pick(rng, {"soft": 1, "high": 1}),
        "chin": "plain" if feminine else _pick(rng, {"plain": 9, "cleft": 1}),
        "neck": "slim" if feminine else "strong",
        "shoulders": "narrow" if feminine else "broad",
        "freckles": _happens(rng, 0.06),
        "mole": _pick(rng, {"none": 94, "left": 3, "right": 3}),
    }


def _hair(rng: random.Random, feminine: bool, skin: str, age: str) -> dict[str, Any]:
    style = _pick(rng, FEMININE_STYLES if feminine else MASCULINE_STYLES)
    dark = {"black": 6, "dark_brown": 5, "brown": 2}
    fair = {"black": 3, "dark_brown": 4, "brown": 4, "auburn": 2, "ginger": 2, "blonde": 4, "platinum": 1}
    weights = dark if skin in palette.DEEP_SKINS and _happens(rng, 0.9) else fair
    if age == "senior":
        weights = {"grey": 7, "platinum": 1, "dark_brown": 2}
    bangs = feminine and style in LONG_STYLES and _happens(rng, 0.3)
    return {
        "hair_style": style,
        "hair_colour": _pick(rng, weights),
        "parting": _pick(rng, {"left": 1, "middle": 1, "right": 1}) if style in PARTED_STYLES else "left",
        "fringe": "bangs" if bangs else "none",
        "hair_clip": _pick(rng, {"none": 90, "left": 5, "right": 5}) if feminine and not bangs else "none",
    }


def _eyes(rng: random.Random, feminine: bool, skin: str, age: str) -> dict[str, Any]:
    fair = {"dark_brown": 1, "brown": 1, "hazel": 1, "green": 1, "blue": 1.2, "grey": 0.8}
    deep = {"dark_brown": 4, "brown": 4, "hazel": 2, "green": 1, "blue": 0.5, "grey": 0.5}
    return {
        "eye_shape": _pick(rng, {"almond": 4, "round": 3, "upturned": 3}),
        "iris": _pick(rng, deep if skin in palette.DEEP_SKINS else fair),
        "lids": _pick(rng, {"crease": 7, "hooded": 3}),
        "lashes": _pick(rng, {"long": 5, "winged": 5}) if feminine else "short",
        "eye_shadow": _pick(rng, {"none": 6, "bronze": 2, "plum": 2}) if feminine else "none",
        "eye_bags": age == "senior" or (age == "adult" and _happens(rng, 0.15)),
        "brow_shape": _pick(rng, {"soft": 4, "arched": 4} if feminine else {"straight": 5, "soft": 5}),
        "brow_thickness": _pick(rng, {"thin": 4, "medium": 6} if feminine else {"medium": 5, "thick": 5}),
    }


def _nose_and_mouth(rng: random.Random, feminine: bool, age: str) -> dict[str, Any]:
    mouth = _pick(rng, {"smile": 38, "grin": 26, "neutral": 26, "open": 10})
    lips = {"natural": 3, "rose": 3, "red": 2, "berry": 2} if feminine else {"natural": 1}
    beards = {"none": 65, "stubble": 12, "full": 12, "goatee": 6, "moustache": 5}
    return {
        "nose": _pick(
            rng, {"button": 5, "straight": 4, "broad": 1} if feminine else {"straight": 6, "broad": 4}
        ),
        "nose_bridge": _pick(rng, {"soft": 1, "high": 1}),
        "mouth": mouth,
        "lip_colour": _pick(rng, lips),
        "lip_fullness": _pick(rng, {"full": 7, "slim": 3} if feminine else {"slim": 8, "full": 2}),
        "dimples": mouth in ("smile", "grin") and _happens(rng, 0.25),
        "smile_lines": age == "senior" or (age == "adult" and _happens(rng, 0.0 if feminine else 0.3)),
        "forehead_lines": age == "senior",
        "beard": "none" if feminine or (age == "young" and _happens(rng, 0.2)) else _pick(rng, beards),
    }


def _worn(rng: random.Random, feminine: bool, style: str, bangs: bool) -> dict[str, Any]:
    sunglasses = _happens(rng, 0.03)
    frames = {"round": 4, "square": 4, "half_rim": 2, "cat": 3 if feminine else 0}
    hatless = style in TALL_STYLES or bangs or not _happens(rng, 0.16)
    hats = {"beanie": 4, "cap": 3, "band": 3 if feminine else 0.5}
    headphones = hatless and style not in ("afro", "bun", "quiff") and _happens(rng, 0.045)
    ears_free = style not in (*LONG_STYLES, "afro") and not headphones
    earrings = {"none": 3, "stud": 3, "hoop": 2, "drop": 2} if feminine else {"none": 92, "stud": 8}
    return {
        "glasses": _pick(rng, frames) if sunglasses or _happens(rng, 0.28) else "none",
        "frame_colour": rng.choice(list(palette.FRAME_COLOURS)),
        "sunglasses": sunglasses,
        "hat": "none" if hatless else _pick(rng, hats),
        "hat_colour": rng.choice(list(palette.CLOTH_COLOURS)),
        "headphones": headphones,
        "earrings": _pick(rng, earrings) if ears_free else "none",
        "metal": rng.choice(list(palette.METAL_COLOURS)),
    }


def _clothes(rng: random.Random, feminine: bool) -> dict[str, Any]:
    kinds = ("crew", "vneck", "collar", "turtleneck", "hoodie", "blazer")
    clothes = rng.choice(kinds)
    bare = feminine and clothes in ("vneck", "crew")
    return {
        "necklace": _pick(rng, {"none": 6, "chain": 2, "pendant": 2}) if bare else "none",
        "clothes": clothes,
        "cloth_colour": rng.choice(list(palette.CLOTH_COLOURS)),
        "background": _pick(rng, {"plain": 4, "halo": 4, "arch": 2}),
        "background_colour": rng.choice(list(palette.BACKGROUND_COLOURS)),
    }


def sample_attributes(seed: int) -> Attributes:
    """Draw the attributes of portrait `seed` (any int >= 0) by lot.

    Raises:
        ValueError: `seed` is negative or not an integer.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed: expected an integer >= 0, got {seed!r}")
    rng = random.Random(seed)
    feminine = _happens(rng, 0.5)
    values: dict[str, Any] = {"presentation": "feminine" if feminine else "masculine"}
    values |= _face(rng, feminine)
    values |= _hair(rng, feminine, values["skin"], values["age"])
    values |= _eyes(rng, feminine, values["skin"], values["age"])
    values |= _nose_and_mouth(rng, feminine, values["age"])
    values |= _worn(rng, feminine, values["hair_style"], values["fringe"] == "bangs")
    values |= _clothes(rng, feminine)
    if values["hat"] != "none":
        values["hair_clip"] = "none"
    return Attributes(**values)
