"""Checks of what a page posts: it may come from anywhere, so nothing in it is trusted."""

from __future__ import annotations

import base64
import binascii
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sundae.masks import load_posted_mask

MAX_SEED = 2**32 - 1
MAX_STEPS = 64
MAX_CANDIDATES = 4
MAX_POSTED = 12_000_000  # characters of a mask's data URL
PNG_URL = "data:image/png;base64,"


@dataclass(frozen=True)
class Order:
    """A redraw as asked for, checked: everything is in range."""

    mask: np.ndarray  # bool (H, W) at the size the page paints in; True is repainted
    seed: int
    steps: int
    candidates: int

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
