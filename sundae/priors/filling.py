"""What the samplers of absorbing diffusion and of the autoregressive prior share: every hidden cell is written once,
a share of them in each step, in an order that is known beforehand."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from sundae.sampler import (
    Noise,
    SamplerConfig,
    SampleStep,
    check_seeds,
    check_top_k,
    copy_of,
    expand_batch,
)


def fit_steps(config: SamplerConfig, cells: int) -> SamplerConfig:
    """The settings with no more steps than there are cells to be written."""
    return dataclasses.replace(config, steps=min(config.steps, cells))


def ranks(order: Tensor, mask: Tensor) -> Tensor:
    """Place of each cell of ``mask (B, h, w)`` among them by ascending ``order (B, h, w)``, which is not negative:
    int64 ``(B, h, w)`` from 0, and negative for the other cells."""
    ordered = order.masked_fill(~mask, -1.0).flatten(1).argsort(dim=1, stable=True)  # ties alike in any batch
    places = ordered.argsort(dim=1).view(mask.shape)
    return places - (~mask).sum((1, 2), keepdim=True)


class Filling:
    """Samples on their way: which cells are to be written, in which order, and what is written so far.

    A share ``config.strength`` of the hidden cells is written; until its turn such a cell holds noise, so that no
    state shows what was under the mask. All random numbers of a sample are drawn here, for the whole grid: what a
    cell gets does not depend on the mask, on other samples or on the number of steps.

    Args:
        tokens: int64 ``(1 or B, h, w, q)``.
        token_mask: bool ``(1 or B, h, w)``, True = hidden.
        config: settings of the run.
        seeds: one per sample, B of them.
        codebook_size: K.
        raster: write row by row; otherwise in random order.
        uncertainty: keep how unsure the prior was of each cell; see :meth:`sundae.priors.contract.Prior.sample`.

    Raises:
        ValueError: if shapes disagree, a mask is empty, a seed is bad, there are more steps than tokens, or
            ``top_k`` is more than K.
    """

    def __init__(
        self,
        tokens: Tensor,
        token_mask: Tensor,
        config: SamplerConfig,
        seeds: int | Sequence[int],
        codebook_size: int,
        raster: bool,
        uncertainty: bool = False,
    ):
        checked = check_seeds(seeds)
        self.given, self.hidden = expand_batch(tokens, token_mask, len(checked))
        check_top_k(config, codebook_size)
        cells = self.hidden[0].numel()
        if config.steps > cells:
            raise ValueError(f"expected steps of at most {cells}, the number of tokens, got {config.steps}")
        generators = [torch.Generator().manual_seed(seed) for seed in checked]
        noises = [Noise(tokens.shape[1:], codebook_size, generator) for generator in generators]
        uniforms = [torch.rand(tokens.shape[1:], generator=g, dtype=torch.float64) for g in generators]
        codes, order, self.uniforms = (
            torch.stack(values).to(tokens.device)
            for values in ([n.codes for n in noises], [n.order for n in noises], uniforms)
        )
        self.counts = [math.ceil(config.strength * int(mask.sum())) for mask in self.hidden]
        random = ranks(order, self.hidden)
        self.written = (random >= 0) & (
            random < torch.tensor(self.counts, device=tokens.device)[:, None, None]
        )
        line = torch.arange(cells, device=tokens.device, dtype=order.dtype).view(1, *order.shape[1:])
        self.ranks = ranks(line.expand(order.shape) if raster else order, self.written)
        self.tokens = torch.where(self.written[..., None], codes, self.given)
        self.configs = [fit_steps(config, n) for n in self.counts]
        self.config = config
        self.unsure = (
            torch.full(self.hidden.shape, math.nan, device=tokens.device) if uncertainty else None
        )  # float32 (B, h, w)

    def done(self, b: int, index: int) -> int:
        """Cells of sample ``b`` that are written after step ``index``: even shares, so that every step writes."""
        steps = self.configs[b].steps
        return self.counts[b] * min(index, steps) // steps

    def waiting(self, b: int, index: int) -> Tensor:
        """Cells of sample ``b`` that are not yet written after step ``index``: bool ``(h, w)``."""
        return self.ranks[b] >= self.done(b, index)

    def turn(self, b: int, index: int) -> Tensor:
        """Cells of sample ``b`` that step ``index`` writes: bool ``(h, w)``."""
        return self.waiting(b, index - 1) & ~self.waiting(b, index)

    def temperature(self, b: int, index: int) -> float:
        """Of step ``index`` of sample ``b``, whose steps may be fewer than were asked for."""
        return self.configs[b].schedule(index)[0]

    def active(self, index: int) -> list[int]:
        """Samples that step ``index`` writes to."""
        return [b for b, config in enumerate(self.configs) if index <= config.steps]

    def run(self, write: Callable[[int], None]) -> Iterator[SampleStep]:
        """Yield the noised start, and then the state after every ``write(index)`` until all is written."""
        longest = max(range(len(self.configs)), key=lambda b: self.configs[b].steps)
        before, share = self.given, 1.0
        for index in range(self.configs[longest].steps + 1):
            if index:
                before = self.tokens.clone()
                write(index)
                share = float(sum(self.turn(b, index).sum() for b in self.active(index)) / sum(self.counts))
            yield SampleStep(
                index,
                self.config.steps,
                self.tokens.clone(),
                (self.tokens != before).any(-1),
                torch.tensor([index >= config.steps for config in self.configs]),
                self.temperature(longest, max(1, index)),
                share,
                copy_of(self.unsure),
            )


def batches(items: list[int], size: int) -> list[list[int]]:
    """``items`` in parts of at most ``size``."""
    return [items[i : i + size] for i in range(0, len(items), size)]
