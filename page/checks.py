"""Checks of what a page posts: it may come from anywhere, so nothing in it is trusted."""

from __future__ import annotations

import base64
import binascii
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sundae.masks import load_posted_mask

MAX_SEED = 2**32 - 1
MAX_STEPS = 64
MAX_CANDIDATES = 8
SMALLEST = 0.05  # of strength, temperature and proportion
MAX_POSTED = 12_000_000  # characters of a mask's data URL
MAX_FEATHER = 64  # px; the library's own limit is for other uses than a brush's stroke
RULES = ("any", "all")
PNG_URL = "data:image/png;base64,"


@dataclass(frozen=True)
class Order:
    """A redraw as asked for, checked: everything is in range."""

    mask: np.ndarray  # bool (H, W) at the size the page paints in; True is repainted
    seed: int
    steps: int
    candidates: int
    sampler: dict[str, float] = field(
        default_factory=dict
    )  # settings in the place of those that suit the prior
    edges: dict[str, Any] = field(
        default_factory=dict
    )  # arguments of Inpainter.prepare in the place of its usual ones
    of_result: bool = (
        False  # a variation, below a strength of 1, is of the last result and not of the picture
    )
    keep_going: bool = False  # more steps from where the last result stands

    @property
    def seeds(self) -> tuple[int, ...]:
        """One seed per candidate; a candidate's own seed alone gives the same picture."""
        return tuple((self.seed + i) % (MAX_SEED + 1) for i in range(self.candidates))


def whole_number(value: Any, name: str, low: int, high: int) -> int:
    """``value`` as an int in ``[low, high]``.

    Raises:
        ValueError: if it is anything else, NaN, a fraction and a number in words included.
    """
    if not is_whole(value) or not low <= value <= high:
        raise ValueError(f"{name} must be a whole number from {low} to {high}.")
    return int(value)


SAMPLER = {  # posted name -> words for it, the sampler's settings that it sets
    "strength": ("The strength", ("strength",)),
    "temperature_start": ("The first temperature", ("temperature_start",)),
    "temperature_end": ("The last temperature", ("temperature_end",)),
    "proportion": ("The proportion", ("proportion_start", "proportion_end")),
}
LARGEST = {"strength": 1.0, "temperature_start": 2.0, "temperature_end": 2.0, "proportion": 1.0}


def more_settings(posted: Any) -> dict[str, Any]:
    """The settings that were posted beside the usual ones, as fields of an order. None of them need be there.

    Raises:
        ValueError: if a number is out of range, or what came is no dictionary.
    """
    if posted is None or posted == "":
        return {}
    if not isinstance(posted, dict):
        raise ValueError("The settings did not arrive. Please reload the page.")
    sampler = {}
    for name, (words, fields) in SAMPLER.items():
        if name in posted:
            number = share(posted[name], words, LARGEST[name])
            sampler |= dict.fromkeys(fields, number)
    of_result, keep_going = posted.get("of") == "result", posted.get("keep_going") is True
    asked = {"sampler": sampler, "edges": edges(posted)}
    return {**asked, "of_result": of_result, "keep_going": keep_going}


def edges(posted: dict[str, Any]) -> dict[str, Any]:
    """What was posted of the mask's edges: how soft they are, and which cells are redrawn."""
    found: dict[str, Any] = {}
    if "feather" in posted:
        found["feather"] = whole_number(posted["feather"], "The soft edge", 0, MAX_FEATHER)
    if "mask_rule" in posted:
        if posted["mask_rule"] not in RULES:
            raise ValueError(f"The redrawn cells must be one of {', '.join(RULES)}.")
        found["mask_rule"] = posted["mask_rule"]
    return found


def share(value: Any, name: str, largest: float) -> float:
    """``value`` as a float from 0.05 to ``largest``; ValueError if it is anything else."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not good or not SMALLEST <= value <= largest:
        low, high = (f"{bound:.0%}" if largest == 1 else str(bound) for bound in (SMALLEST, largest))
        raise ValueError(f"{name} must be a number from {low} to {high}.")
    return float(value)


def is_whole(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value) and value.is_integer()
    return isinstance(value, int) and not isinstance(value, bool)


def mask_from_url(url: Any, size: tuple[int, int]) -> np.ndarray:
    """Bool mask (H, W) from a PNG data URL of exactly ``size`` (width, height).

    Raises:
        ValueError: if nothing is painted, or what came is not such a PNG.
    """
    if url in (None, ""):
        raise ValueError("Paint over what should change first.")
    if not isinstance(url, str) or not url.startswith(PNG_URL):
        raise ValueError("The mask must be a PNG.")
    if len(url) > MAX_POSTED:
        raise ValueError("The mask is too large.")
    try:
        data = base64.b64decode(url[len(PNG_URL) :], validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("The mask must be a PNG.") from None
    return load_posted_mask(data, size)


def uploaded_file(path: Any, folder: Path) -> Path:
    """The uploaded file a page names, if it lies in the upload folder.

    Raises:
        ValueError: if it does not, or does not exist.
    """
    if isinstance(path, str) and path and "\0" not in path:
        found = Path(path).resolve()
        if found.is_file() and found.is_relative_to(folder.resolve()):
            return found
    raise ValueError("The picture did not arrive. Please send it again.")
