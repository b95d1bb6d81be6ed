"""How well a prior guesses hidden tokens of a picture it never saw: cross-entropy by size of hole, accuracy by
corruption."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

import sundae
from sundae import image as images
from sundae.objective import PriorLoss
from sundae.priors.contract import Prior

SIZES = tuple(Fraction(1, n) for n in (8, 4, 2, 1))  # sides of square holes, as shares of the grid's
PLACES = 4  # where a square of each size is cut, in every picture
RATES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # r, the share of a hole's cells that are noise


@torch.inference_mode()
def guesses(model: sundae.Model, truth: np.ndarray, seed: int) -> dict[str, Any]:
    """What the prior knows of one picture, uint8 (H, W, 3): all known tokens are those of the whole picture, as in
    training. Depends on the seed and the picture alone.

    Returns:
        ``cross_entropy``: side of the hole as a share -> nats of each of a cell's codes, the hole all noise and the
        codes before it given; ``accuracy``: corruption rate r -> share of right most likely codes in a hole over the
        middle half of each side (the cells that were not corrupted included); r = 1 alone for a prior without noise.
    """
    prior = model.prior
    assert prior is not None
    tokens = model.tokenizer.encode(images.to_tensor(truth).to(model.device))
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    losses = {str(size): noisy(prior, tokens, squares(tokens, size, rng), 1.0, generator) for size in SIZES}
    middle = middle_hole(tokens)
    rates = RATES if prior.corrupts else RATES[-1:]
    return {
        "cross_entropy": {size: loss.by_code.tolist() for size, loss in losses.items()},
        "accuracy": {
            str(rate): float(noisy(prior, tokens, middle, rate, generator).accuracy) for rate in rates
        },
    }


def noisy(prior: Prior, tokens: Tensor, holes: Tensor, rate: float, generator: torch.Generator) -> PriorLoss:
    """One step of the prior on ``tokens (1, h, w, q)`` with each of ``holes (B, h, w)`` corrupted at ``rate``. The
    numbers are drawn on the CPU, so that they are the same on every device."""
    grids = tokens.expand(len(holes), -1, -1, -1)
    rates = torch.full((len(holes),), rate)
    corrupted = prior.corrupt(grids.cpu(), holes, rates, prior.codebook_size, generator).to(tokens.device)
    uniforms = torch.zeros((len(holes), 0, *tokens.shape[1:]), device=tokens.device)
    return prior.loss(grids, corrupted, holes.to(tokens.device), uniforms)


def squares(tokens: Tensor, size: Fraction, rng: np.random.Generator) -> Tensor:
    """Square holes at random places: bool ``(PLACES, h, w)``; a single one if it hides everything."""
    _, h, w, _ = tokens.shape
    height, width = max(1, int(h * size)), max(1, int(w * size))
    holes = torch.zeros((PLACES if size < 1 else 1, h, w), dtype=torch.bool)
    for hole in holes:
        top, left = int(rng.integers(h - height + 1)), int(rng.integers(w - width + 1))
        hole[top : top + height, left : left + width] = True
    return holes


def middle_hole(tokens: Tensor) -> Tensor:
    """The middle half of each side: bool ``(1, h, w)``."""
    _, h, w, _ = tokens.shape
    hole = torch.zeros((1, h, w), dtype=torch.bool)
    hole[:, h // 4 : h - h // 4, w // 4 : w - w // 4] = True
    return hole
