"""Events: the small dictionaries that the server posts to the painter (exchange.js, ``received``)."""

from __future__ import annotations

import base64
import itertools
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from page.checks import PNG_URL
from sundae.image import Picture, jpeg_bytes, opacity, png_bytes, resize_rgb
from sundae.window import Box

VIEW_SIDE = 2048  # px; the page paints on a canvas of at most this side, whatever the upload's
FRAME_QUALITY = 88  # of the crops that stream; the last one is better, the download is lossless
LAST_QUALITY = 95

Event = dict[str, Any]


class Numbers:
    """Numbers for one visitor's events: consecutive, and larger than those of any session before it."""

    def __init__(self) -> None:
        self._numbers = itertools.count(time.time_ns() // 1000)

    def event(self, kind: str, **fields: Any) -> Event:
        return {"kind": kind, "number": next(self._numbers), **fields}


def view_size(size: tuple[int, int], side: int = VIEW_SIDE) -> tuple[int, int]:
    """Size (width, height) the page paints in for a picture of ``size``: its own unless a side is above ``side``."""
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def full_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The mask (bool, at the view's size) at the picture's ``size`` (width, height), nearest pixel."""
    height, width = mask.shape
    if (width, height) == size:
        return mask
    rows = np.arange(size[1]) * height // size[1]
    columns = np.arange(size[0]) * width // size[0]
    return mask[rows[:, None], columns[None, :]]


def jpeg_url(rgb: np.ndarray, quality: int = FRAME_QUALITY) -> str:
    """A data URL of uint8 (H, W, 3)."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg_bytes(rgb, quality=quality)).decode("ascii")


def picture_url(picture: Picture) -> str:
    """The whole picture as the page shows it."""
    size = view_size(picture.size)
    rgb = picture.rgb if size == picture.size else resize_rgb(picture.rgb, size)
    return jpeg_url(rgb, quality=92)


def veil_url(picture: Picture) -> str:
    """What of :func:`picture_url` is not seen: a data URL of an image as opaque as the picture is transparent there;
    empty if all of it is seen."""
    alpha = opacity(picture)
    if alpha is None:
        return ""
    hidden = Image.fromarray(255 - alpha).resize(view_size(picture.size), Image.Resampling.BOX)
    veil = Image.new("LA", hidden.size)
    veil.putalpha(hidden)
    return PNG_URL + base64.b64encode(png_bytes(veil)).decode("ascii")


def on_view(box: Box, size: tuple[int, int], side: int = VIEW_SIDE) -> list[int]:
    """Left, top, width and height of a box of a picture of ``size`` in its view of at most ``side`` px."""
    width, height = view_size(size, side)
    left, right = (edge * width // size[0] for edge in (box.left, box.right))
    top, bottom = (edge * height // size[1] for edge in (box.top, box.bottom))
    return [left, top, max(1, right - left), max(1, bottom - top)]


def crops(patches: Sequence[np.ndarray], box: Box, size: tuple[int, int], last: bool) -> Event:
    """The page's box and one data URL per candidate, for patches (h, w, 3) of a picture of ``size``."""
    left, top, *shown = on_view(box, size)
    if shown != [box.width, box.height]:
        patches = [resize_rgb(patch, shown) for patch in patches]
    quality = LAST_QUALITY if last else FRAME_QUALITY
    return {"box": [left, top, *shown], "crops": [jpeg_url(patch, quality) for patch in patches]}


def sentence(error: Exception | str) -> str:
    """An error's words with a capital and a full stop."""
    text = str(error).strip() or "That did not work."
    return text[0].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
