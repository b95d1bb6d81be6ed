"""Which of several models fits a picture: the one whose tokenizer gives back its middle best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sundae import image as images
from sundae.bundles import Model
from sundae.image import Picture

# dB below the usual: five times the squared error. (The middle of an illustrated face, by itself: 2.5 times.)
UNUSUAL = 7.0


@dataclass(frozen=True)
class Fit:
    """How well a model's tokenizer gives a picture back."""

    model: Model
    psnr: float  # dB, over the middle of the picture at the model's size

    @property
    def unusual(self) -> bool:
        """Whether the picture is unlike what the model knows; never so of a model that does not say how well it
        gives back pictures of its own kind."""
        usual = usual_psnr(self.model)
        return usual is not None and self.psnr < usual - UNUSUAL


def best_model(models: Sequence[Model], image: Any) -> Model:
    """The model whose tokenizer gives the picture back with the least error; the first of equals.

    Args:
        models: at least one. Those of another resolution see the picture at another size.
        image: whatever :func:`sundae.image.load_picture` takes, or a :class:`Picture`.

    Raises:
        ValueError: if there is no model, or as :func:`sundae.image.load_picture`.
    """
    return compare(models, image)[0].model


def compare(models: Sequence[Model], image: Any) -> list[Fit]:
    """How well each model fits, the best first; arguments and errors are those of :func:`best_model`."""
    if not models:
        raise ValueError("expected at least one model to choose from, got none")
    picture = image if isinstance(image, Picture) else images.load_picture(image)
    fits, seen, known = [], {}, {}
    for model in models:
        size = model_size(model, picture.size)
        if size not in seen:  # most models are of one size, and reducing a huge picture is slow
            seen[size] = images.to_tensor(images.resize_rgb(picture.rgb, size))
        tokenizer = model.config["parts"]["tokenizer"]["hash"], size
        if tokenizer not in known:  # several priors may share one
            known[tokenizer] = psnr(model, middle(seen[size], model.downsample_factor))
        fits.append(Fit(model, known[tokenizer]))
    return sorted(fits, key=lambda fit: -fit.psnr)


def model_size(model: Model, size: tuple[int, int]) -> tuple[int, int]:
    """Width and height at which a model sees a picture of ``size``: the longer side is the model's, both are
    whole cells."""
    f, longer = model.downsample_factor, max(size)
    width, height = (max(f, round(side * model.resolution / longer / f) * f) for side in size)
    return width, height


def middle(pixels: Tensor, f: int) -> Tensor:
    """The middle half of each side of ``pixels (1, 3, H, W)``, in whole cells of f px: the face, and a quarter of
    the work. Measured on 127 faces, it always names the right one of two models, where tiles from all over the
    picture fail for three: backgrounds tell little."""
    spans = []
    for side in pixels.shape[2:]:
        cells = max(1, side // f // 2)
        start = (side // f - cells) // 2
        spans.append(slice(start * f, (start + cells) * f))
    return pixels[(..., *spans)]


def psnr(model: Model, pixels: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of what the tokenizer gives back.

    Args:
        pixels: float32 ``(1, 3, H, W)`` in [-1, 1], sides multiples of f.
    """
    given = pixels.to(model.device)
    error = model.tokenizer.decode(model.tokenizer.encode(given)) - given
    return -10 * math.log10(max(float(error.square().mean()), 1e-12) / 4)  # values reach from -1 to 1


def usual_psnr(model: Model) -> float | None:
    """Fidelity in dB of the model's tokenizer on whole held-out pictures of its own kind, if its bundle says:
    ``provenance.metrics.tokenizer.psnr``."""
    value = model.config.get("provenance")
    for key in ("metrics", "tokenizer", "psnr"):
        value = value.get(key) if isinstance(value, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
