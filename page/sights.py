"""Three ways to see a whole picture as a model does: each gives a picture and a sentence about it, some bit by bit.

They can take long, and the model does nothing else meanwhile: :func:`watched` lets them be stopped in the middle.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from PIL.Image import Image as Shown

import sundae
from sundae.bundles import Model
from sundae.image import Picture
from sundae.measure import bits_and_map
from sundae.panels import side_by_side
from sundae.pipeline import prior_of

PANELS, PANEL_SIDE = 6, 256  # of the strip; px
GREY = (128, 128, 128)  # of a panel that is still to be drawn


class Sight(NamedTuple):
    """What there is to be seen by now."""

    image: Shown
    text: str
    done: bool = True


class Overtaken(Exception):
    """Nobody waits for this any more."""


def watched(model: Model, wanted: Callable[[], bool]) -> Model:
    """The same model, whose prior looks before every pass and every step whether its work is still wanted, and raises
    :class:`Overtaken` if not."""
    if model.prior is None:
        return model
    prior = copy.copy(model.prior)  # with the same weights; what is changed here the others do not see

    def look() -> None:
        if not wanted():
            raise Overtaken

    def hidden(*given: Any, **named: Any) -> Any:
        look()
        return type(prior).hidden(prior, *given, **named)

    def sample(*given: Any, **named: Any) -> Iterator[Any]:
        for step in type(prior).sample(prior, *given, **named):
            look()
            yield step

    vars(prior).update(hidden=hidden, sample=sample)
    return dataclasses.replace(model, prior=prior)


def seen(model: Model, picture: Picture) -> Generator[Sight, None, None]:
    """What the tokenizer keeps of it."""
    _, image = sundae.reconstruct(model, picture)
    yield Sight(image, f"{decibels(picture, image):.1f} dB PSNR from the picture.")


def decibels(picture: Picture, image: Shown) -> float:
    """PSNR of an image of the picture's size, dB; 138 where they are the same."""
    error = np.square(picture.rgb.astype(np.float64) - np.asarray(image.convert("RGB"))).mean()
    return 10 * math.log10(255**2 / max(error, 1e-9))


def surprising(model: Model, picture: Picture) -> Generator[Sight, None, None]:
    """Where the prior is surprised, and how likely the picture is to it: the numbers of :func:`sundae.bits`, because the
    mean of an absorbing prior's map is a looser bound."""
    found, shown = bits_and_map(model, picture)
    numbers = (
        f"{found.per_token:.4f} bits a token, {found.per_dimension:.6f} per pixel-dimension."
        if prior_of(model).exact
        else f"At most {found.per_token:.4f} bits a token, {found.per_dimension:.6f} per pixel-dimension."
    )
    most = math.log2(model.tokenizer.config.codebook_size)
    scale = (
        f"Dark is {shown.low:.1f} bits a token, light {shown.high:.1f}; knowing nothing would be {most:.0f}."
    )
    yield Sight(shown.image, f"{numbers} {scale}")


def strip(model: Model, picture: Picture) -> Generator[Sight, None, None]:
    """From the picture to another, panel by panel; those that are still to be drawn are grey."""
    images, kept = [], []
    for panel in sundae.strip(model, picture, panels=PANELS):
        images.append(panel.image)
        kept.append(f"{panel.kept / panel.cells:.0%}")
        row = images + [Image.new("RGB", panel.image.size, GREY)] * (PANELS - len(images))
        text = f"Panel {len(images)} of {PANELS}"
        if len(images) == PANELS:
            text = f"Kept of it: {', '.join(kept)}."
        yield Sight(side_by_side(row, PANEL_SIDE), text, len(images) == PANELS)


SIGHTS = {"seen": seen, "surprise": surprising, "strip": strip}
