"""What the redrawn part of a portrait shows of what the kept part tells: iris colour, glasses, skin tone.

Portraits are drawn from attributes, so "is it still blue?" needs no detector: the same portrait is drawn again with
every other iris, or without its glasses, and the redrawn part is compared with these renderings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from skimage.color import deltaE_ciede2000, rgb2lab

from train import portraits
from train.features import wilson_interval
from train.fills import METHODS

JUDGED = {**METHODS, "reconstruction": "tokenizer alone", "original": "original"}
GOALS = {"iris": 0.85, "skin": 0.90, "glasses": 0.90}
SKIN_GOAL = 5.0  # CIEDE2000
DESIGN_SIZE = 1024
DIFFERENT = 24  # of 255: two renderings differ at a pixel if any channel does by more
MIN_PIXELS = 100  # design px; with less to look at, nothing is said
RING_CENTRE, RING_RADII = (616.0, 477.0), (17.0, 24.0)  # the flat part of the right iris: x, y and radii
SKIN_AREAS = {
    "forehead": (240, 400),
    "cheek": (500, 720),
}  # rows of the design between which skin is compared
SKIN_INSET = 6  # px of skin next to something else that do not count


# -- questions -----------------------------------------------------------------------------------------------


def context(
    portrait: portraits.Portrait, pictures: dict[str, np.ndarray], name: str, hole: np.ndarray
) -> dict[str, dict[str, Any]]:
    """What the redrawn part shows of what the kept part tells, by question and method; see :data:`GOALS`."""
    look, size = portrait.attributes, len(hole)
    answers: dict[str, dict[str, Any]] = {}
    if name == "one_eye" and not look.sunglasses:
        renderings = with_each_iris(look, size)
        where = iris_pixels(renderings, hole)
        if enough(where):
            answers["iris"] = {
                m: iris_by_rendering(p, renderings, where) == look.iris for m, p in pictures.items()
            }
            answers["iris_ring"] = {m: iris_by_ring(p, renderings) == look.iris for m, p in pictures.items()}
    if name == "one_eye" and look.glasses != "none":
        without = without_glasses(look, size)
        where = glasses_pixels(portrait, without, hole)
        if enough(where):
            answers["glasses"] = {
                m: kept_share(p, portrait.image, without, where) for m, p in pictures.items()
            }
    if name == "half_face":
        assert portrait.labels is not None
        areas = skin_areas(portrait.labels, hole)
        if areas:
            answers["skin"] = {m: skin_difference(p, portrait.image, areas) for m, p in pictures.items()}
    return answers


# -- answers -------------------------------------------------------------------------------------------------


def differing(first: np.ndarray, second: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """bool (H, W): pixels of the hole at which two uint8 (H, W, 3) renderings clearly differ."""
    return hole & (np.abs(first.astype(np.int16) - second).max(-1) > DIFFERENT)


def enough(where: np.ndarray) -> bool:
    """Whether a mask holds enough pixels to judge by, at any size of picture."""
    return where.sum() >= MIN_PIXELS * (len(where) / DESIGN_SIZE) ** 2


def with_each_iris(look: portraits.Attributes, size: int) -> dict[str, np.ndarray]:
    """The portrait with each of the iris colours: name -> uint8 (size, size, 3)."""
    return {
        name: portraits.draw_attributes(replace(look, iris=name), size).image
        for name in portraits.IRIS_COLOURS
    }


def iris_pixels(renderings: Mapping[str, np.ndarray], hole: np.ndarray) -> np.ndarray:
    """bool (H, W): pixels of the hole whose colour depends on the iris; none where hair or lenses hide it."""
    stack = np.stack(list(renderings.values()))
    return hole & ((stack.max(0).astype(np.int16) - stack.min(0)).max(-1) > DIFFERENT)


def iris_by_rendering(image: np.ndarray, renderings: Mapping[str, np.ndarray], where: np.ndarray) -> str:
    """The iris whose rendering is nearest to ``image`` over ``where``: mean CIELAB distance of the pixels."""
    seen = _lab(image[where])
    distance = {name: np.linalg.norm(seen - _lab(r[where]), axis=1).mean() for name, r in renderings.items()}
    return min(distance, key=distance.__getitem__)


def iris_by_ring(image: np.ndarray, renderings: Mapping[str, np.ndarray]) -> str:
    """The iris whose rendering has the nearest median colour on the ring around the right pupil (CIELAB)."""
    ring = iris_ring(len(image))
    seen = _lab(np.median(image[ring], 0))
    distance = {name: np.linalg.norm(seen - _lab(np.median(r[ring], 0))) for name, r in renderings.items()}
    return min(distance, key=distance.__getitem__)


def iris_ring(size: int) -> np.ndarray:
    """bool (size, size): the flat ring of the right iris, where neither pupil nor rim reach."""
    y, x = (np.mgrid[:size, :size] + 0.5) * (DESIGN_SIZE / size)
    radius = np.hypot(x - RING_CENTRE[0], y - RING_CENTRE[1])
    return (radius >= RING_RADII[0]) & (radius <= RING_RADII[1])


def kept_share(image: np.ndarray, truth: np.ndarray, without: np.ndarray, where: np.ndarray) -> float:
    """Share of the pixels in ``where`` showing ``truth``: nearer to it (CIELAB) than half of what separates it
    from ``without``.

    So they are also nearer to it than to ``without``; asking for that alone would let any noise pass at half
    the pixels.
    """
    expected = _lab(truth[where])
    separation = np.linalg.norm(expected - _lab(without[where]), axis=1)
    return float((np.linalg.norm(expected - _lab(image[where]), axis=1) < separation / 2).mean())


def glasses_pixels(portrait: portraits.Portrait, without: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """bool (H, W): the frame (and dark lens) inside the hole, where ``without`` differs."""
    assert portrait.labels is not None
    on = portrait.labels == portraits.LABELS.index("glasses")
    return on & differing(portrait.image, without, hole)


def without_glasses(look: portraits.Attributes, size: int) -> np.ndarray:
    """The portrait with its glasses taken off: uint8 (size, size, 3)."""
    return portraits.draw_attributes(replace(look, glasses="none", sunglasses=False), size).image


def skin_areas(labels: np.ndarray, hole: np.ndarray) -> dict[str, np.ndarray]:
    """Skin inside the hole whose mirror image is skin outside it, by area: name -> bool (H, W).

    Areas with too few pixels are left out.
    """
    skin = labels == portraits.LABELS.index("skin")
    paired = _inset(skin & hole & (skin & ~hole)[:, ::-1])
    y = np.arange(len(labels))[:, None] * (DESIGN_SIZE / len(labels))
    areas = {name: paired & (y >= top) & (y < bottom) for name, (top, bottom) in SKIN_AREAS.items()}
    return {name: area for name, area in areas.items() if enough(area)}


def skin_difference(
    image: np.ndarray, truth: np.ndarray, areas: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """How far the redrawn skin is from the kept half's: ``ciede2000`` and ``cie76``, means over the areas.

    The two halves are lit differently, so the kept half's median colour is first shifted (in CIELAB) by the
    difference that the true picture has between the same mirrored pixels.
    """
    totals = {"ciede2000": 0.0, "cie76": 0.0}
    for area in areas.values():
        mirrored = area[:, ::-1]
        shading = _median_lab(truth, area) - _median_lab(truth, mirrored)
        expected, seen = _median_lab(image, mirrored) + shading, _median_lab(image, area)
        totals["ciede2000"] += float(deltaE_ciede2000(expected, seen)) / len(areas)
        totals["cie76"] += float(np.linalg.norm(expected - seen)) / len(areas)
    return totals


def _inset(mask: np.ndarray) -> np.ndarray:
    """Pixels of a mask that are at least SKIN_INSET px from its edge along both axes."""
    for axis in (0, 1):
        for step in (-1, 1):
            for _ in range(SKIN_INSET):
                mask = mask & np.roll(mask, step, axis)
    return mask


def _lab(rgb: np.ndarray) -> np.ndarray:
    """0..255 RGB (..., 3) to CIELAB (D65)."""
    return rgb2lab(np.asarray(rgb, np.float64) / 255)


def _median_lab(rgb: np.ndarray, where: np.ndarray) -> np.ndarray:
    return _lab(np.median(rgb[where], 0))


# -- summary -------------------------------------------------------------------------------------------------


def summarise_context(records: Sequence[dict[str, Any]], mask_names: Sequence[str]) -> dict[str, Any]:
    """For each question and method: how many portraits pass, of how many it was asked on."""
    passes: dict[str, Callable[[Any], bool]] = {
        "iris": bool,
        "iris_ring": bool,
        "glasses": lambda share: share > 0.5,
        "skin": lambda difference: difference["ciede2000"] < SKIN_GOAL,
        "skin_cie76": lambda difference: difference["cie76"] < SKIN_GOAL,
    }
    summary: dict[str, Any] = {}
    for question, passed in passes.items():
        asked = question.removesuffix("_cie76")
        answers = [
            r["holes"][m]["context"][asked]
            for r in records
            for m in mask_names
            if asked in r["holes"][m]["context"]
        ]
        if answers:
            summary[question] = {
                method: rate([passed(answer[method]) for answer in answers]) for method in JUDGED
            }
        if answers and asked == "skin":
            name = "cie76" if question == "skin_cie76" else "ciede2000"
            for method in JUDGED:
                summary[question][method]["median"] = float(
                    np.median([answer[method][name] for answer in answers])
                )
    return summary


def rate(passed: Sequence[bool]) -> dict[str, Any]:
    """Share of passes with its 95 % interval (Wilson)."""
    right, count = sum(passed), len(passed)
    return {
        "passed": right,
        "of": count,
        "rate": right / count,
        "interval": wilson_interval(right, count),
    }


def context_table(context: dict[str, Any]) -> list[str]:
    """Rows of questions, columns of methods, cells "rate"; the interval stands beside the model's own."""
    names = {"iris": "iris colour kept", "glasses": "glasses kept", "skin": "skin tone kept"}
    shown = ("sundae", "reconstruction", "prefill", "telea")
    lines = ["| one eye or half the face hidden | goal | " + " | ".join(JUDGED[m] for m in shown) + " |"]
    lines.append("|---|---|" + "---|" * len(shown))
    for question in (q for q in names if q in context):
        answer = context[question]
        low, high = answer["sundae"]["interval"]
        cells = [f"{100 * answer[m]['rate']:.0f} %" for m in shown]
        cells[0] = f"**{cells[0]}** ({100 * low:.0f}–{100 * high:.0f}, n = {answer['sundae']['of']})"
        lines.append(f"| {names[question]} | {100 * GOALS[question]:.0f} % | " + " | ".join(cells) + " |")
    return lines
