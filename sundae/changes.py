"""What was changed in a picture: how much, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from sundae import image as images
from sundae.image import Picture


@dataclass(frozen=True)
class Difference:
    """Two pictures, one less the other.

    The image is RGB: black where nothing changed, and elsewhere the difference of each colour, made lighter.
    """

    image: Image.Image
    pixels: int  # that differ
    largest: int  # difference of a colour, from 0 to 255: what is 255 in the image


def difference(before: Any, after: Any) -> Difference:
    """Where two pictures of one size differ, as they look: both as RGB, without what is transparent in both.

    Args:
        before, after: whatever :func:`sundae.image.load_picture` takes, or a :class:`Picture`.

    Raises:
        ValueError: if one is unusable, or their sizes differ.
    """
    first, second = (
        each if isinstance(each, Picture) else images.load_picture(each) for each in (before, after)
    )
    if first.size != second.size:
        raise ValueError(f"expected two pictures of one size, got {first.size} and {second.size}")
    apart = np.where(first.rgb > second.rgb, first.rgb - second.rgb, second.rgb - first.rgb)
    alphas = [alpha for each in (first, second) if (alpha := images.opacity(each)) is not None]
    if len(alphas) == 2:
        apart[np.maximum(*alphas) == 0] = 0
    largest = int(apart.max())
    scale = np.rint(np.arange(256) * 255 / max(1, largest)).clip(0, 255).astype(np.uint8)
    scale[1:] = np.maximum(scale[1:], 1)  # however little it is, it is not black
    return Difference(Image.fromarray(scale[apart]), int(apart.any(-1).sum()), largest)
