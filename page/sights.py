"""Three ways to see a whole picture as a model does: each gives a picture and a sentence about it."""

from __future__ import annotations

import math

import numpy as np
from PIL.Image import Image

import sundae
from sundae.bundles import Model
from sundae.image import Picture
from sundae.panels import side_by_side
from sundae.pipeline import prior_of

PANELS, PANEL_SIDE = 6, 256  # of the strip; px


def seen(model: Model, picture: Picture) -> tuple[Image, str]:
    """What the tokenizer keeps of it."""
    _, image = sundae.reconstruct(model, picture)
    return image, f"{decibels(picture, image):.1f} dB PSNR from the picture."


def decibels(picture: Picture, image: Image) -> float:
    """PSNR of an image of the picture's size, dB; 138 where they are the same."""
    error = np.square(picture.rgb.astype(np.float64) - np.asarray(image.convert("RGB"))).mean()
    return 10 * math.log10(255**2 / max(error, 1e-9))


def surprising(model: Model, picture: Picture) -> tuple[Image, str]:
    """Where the prior is surprised, and how likely the picture is to it: the numbers of :func:`sundae.bits`, because the
    mean of an absorbing prior's map is a looser bound."""
    shown, found = sundae.surprise_map(model, picture), sundae.bits(model, picture)
    numbers = (
        f"{found.per_token:.4f} bits a token, {found.per_dimension:.6f} per pixel-dimension."
        if prior_of(model).exact
        else f"At most {found.per_token:.4f} bits a token, {found.per_dimension:.6f} per pixel-dimension."
    )
    most = math.log2(model.tokenizer.config.codebook_size)
    scale = (
        f"Dark is {shown.low:.1f} bits a token, light {shown.high:.1f}; knowing nothing would be {most:.0f}."
    )
    return shown.image, f"{numbers} {scale}"


def strip(model: Model, picture: Picture) -> tuple[Image, str]:
    """From the picture to another."""
    panels = list(sundae.strip(model, picture, panels=PANELS))
    kept = ", ".join(f"{panel.kept / panel.cells:.0%}" for panel in panels)
    return side_by_side([panel.image for panel in panels], PANEL_SIDE), f"Kept of it: {kept}."


SIGHTS = {"seen": seen, "surprise": surprising, "strip": strip}
