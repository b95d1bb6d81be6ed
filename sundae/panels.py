"""The first tokens of a picture kept, and the rest made up: what a prior knows after how much."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from sundae import image as images
from sundae.bundles import Model
from sundae.image import Picture
from sundae.pipeline import model_tokens, prior_of
from sundae.sampler import SamplerConfig, check_seeds, whole

PANELS = 9
MAX_PANELS = 64
SIDE = 256  # px
GAP = 4  # px between panels


@dataclass(frozen=True)
class Panel:
    """One picture of the strip."""

    kept: int  # cells, in raster order
    cells: int  # of the whole grid
    tokens: Tensor  # int64 (1, h, w, q)
    image: Image.Image  # RGB, at the model's size


def strip(
    model: Model,
    image: Any,
    panels: int = PANELS,
    seed: int = 0,
    config: SamplerConfig | None = None,
) -> Iterator[Panel]:
    """Keep the first k cells of a picture in raster order and draw the rest, for k from all of them down to none.

    The first panel is what the tokenizer gives back of the picture, the last one a picture from nothing; all are
    drawn with the same random numbers. Works with every prior.

    Args:
        model: what draws.
        image: whatever :func:`sundae.image.load_picture` takes, or a :class:`Picture`; seen at the model's size.
        panels: how many, evenly spaced in k: 2 to 64, and no more than there are values of k.
        seed: same seed, same strip.
        config: the sampler's settings; by default those that suit the prior.

    Raises:
        ValueError: for bad ``panels`` or a bad seed before any work, or as :meth:`sundae.priors.contract.Prior.sample`.
    """
    prior, (checked,) = prior_of(model), check_seeds(seed if whole(seed) is not None else [seed])
    count = whole(panels)
    if count is None or not 2 <= count <= MAX_PANELS:
        raise ValueError(f"expected panels to be a whole number from 2 to {MAX_PANELS}, got {panels!r}")
    picture = image if isinstance(image, Picture) else images.load_picture(image)
    tokens = model_tokens(model, picture)
    cells = tokens[0, ..., 0].numel()
    if count > cells + 1:
        raise ValueError(f"expected at most {cells + 1} panels of {cells} tokens, got {count}")

    settings = prior.settings_for(cells) if config is None else config

    def draw() -> Iterator[Panel]:
        for i in range(count):
            kept = round(cells * (count - 1 - i) / (count - 1))
            state = tokens
            if kept < cells:
                hidden = torch.arange(cells, device=tokens.device).view(tokens.shape[:3]) >= kept
                *_, last = prior.sample(tokens, hidden, settings, [checked])
                state = last.tokens
            decoded = images.to_rgb(model.tokenizer.decode(state))[0]
            yield Panel(kept, cells, state, Image.fromarray(decoded))

    return draw()


def side_by_side(pictures: Sequence[Image.Image], side: int = SIDE) -> Image.Image:
    """Pictures of one size in a row on white, the longer side of each resized to ``side`` px."""
    width, height = pictures[0].size
    scale = side / max(width, height)
    width, height = max(1, round(width * scale)), max(1, round(height * scale))
    row = Image.new("RGB", (len(pictures) * (width + GAP) - GAP, height), "white")
    for i, picture in enumerate(pictures):
        row.paste(picture.resize((width, height), Image.Resampling.LANCZOS), (i * (width + GAP), 0))
    return row
