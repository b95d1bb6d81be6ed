"""Absorbing diffusion: hidden cells turn into a mask code in random order, and the network learns the way back.

Bond-Taylor et al. 2021, Unleashing Transformers (arXiv 2111.12701); absorbing states: Austin et al. 2021 (D3PM).
Corruption acts on whole cells, because a residual code means nothing without those before it. Time t is the number
of cells that are masked, out of the T that are hidden. The paper masks each of them with chance t/T; exactly t give
the same expected number with less variance, and the bound of a model that writes the cells one at a time in random
order (Hoogeboom et al. 2022, Autoregressive Diffusion Models).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sundae.canvas import over_grid
from sundae.hourglass import Hourglass, HourglassConfig
from sundae.objective import Denoiser, PriorLoss, code_losses
from sundae.priors.contract import PASSES
from sundae.priors.filling import Filling, batches, fit_steps, ranks
from sundae.priors.likelihood import bits_per_token, cell_bits, prepare
from sundae.sampler import SamplerConfig, SampleStep, check_batch_size, check_labels, draw_in_parts

WEIGHTINGS = ("reweighted", "elbo")


@dataclass(frozen=True)
class AbsorbingConfig(HourglassConfig):
    """Shape of the denoiser, which is SUNDAE's hourglass with a mask code, and the loss that it is trained with.

    Raises:
        ValueError: as :class:`HourglassConfig`, or for an unknown weighting.
    """

    weighting: str = (
        "reweighted"  # "reweighted": (T - t + 1) / T at time t; "elbo": 1 / t, the likelihood's bound
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weighting not in WEIGHTINGS:
            raise ValueError(
                f"expected weighting to be one of {', '.join(WEIGHTINGS)}, got {self.weighting!r}"
            )


def first_cells(order: Tensor, token_mask: Tensor, rate: Tensor) -> Tensor:
    """The hidden cells that come first by ``order (B, h, w)``, a share ``rate (B,)`` of them, rounded up: bool
    ``(B, h, w)``."""
    place = ranks(order, token_mask)
    count = (rate * token_mask.sum((1, 2))).ceil()
    return (place >= 0) & (place < count[:, None, None])


def absorb(
    tokens: Tensor,
    token_mask: Tensor,
    rate: Tensor,
    codebook_size: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Mask a share ``rate`` of the hidden cells, rounded up: int64 ``(B, h, w, q)`` with the code K in these.

    A rate from U(0, 1) makes every time from 1 to T as likely as any other. The arguments are those of
    :func:`sundae.objective.corrupt`.
    """
    order = torch.rand(tokens.shape[:3], device=tokens.device, generator=generator)
    return tokens.masked_fill(first_cells(order, token_mask, rate)[..., None], codebook_size)


class Absorbing(Hourglass):
    """The absorbing prior: tokens in which some cells hold the mask code in, logits of these cells out."""

    defaults = SamplerConfig(steps=64, temperature_start=0.9, temperature_end=0.9)
    corrupt = staticmethod(absorb)
    revises = False

    def __init__(self, config: AbsorbingConfig):
        super().__init__(config, mask_code=True)
        self.weighting = config.weighting

    def settings_for(self, cells: int) -> SamplerConfig:
        """The defaults with no more steps than cells."""
        return fit_steps(self.defaults, cells)

    def loss(
        self,
        tokens: Tensor,
        corrupted: Tensor,
        token_mask: Tensor,
        uniforms: Tensor,
        weights: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> PriorLoss:
        """Cross-entropy of the masked cells, weighed by time (Bond-Taylor et al. 2021, section 3.1).

        ``by_code`` is the bound whatever the weighting is. Both weightings are scaled such that a network that
        knows nothing has a loss of log(K). ``uniforms`` are not used: the chain has one step.
        """
        masked = corrupted[..., 0] == self.codebook_size
        total, time = token_mask.sum((1, 2)).float(), masked.sum((1, 2)).float()
        if weights is None:
            weights = torch.full((int(total.sum()),), 1 / max(1.0, float(total.sum())), device=tokens.device)
        spread = torch.zeros(token_mask.shape, device=tokens.device, dtype=weights.dtype)
        spread[token_mask] = weights
        bound = (spread * (total / time.clamp(min=1))[:, None, None])[masked]
        conditions = () if labels is None else (labels,)
        hidden = self.hidden(corrupted, ~token_mask, *conditions)[masked]
        pairs = list(code_losses(self, hidden, corrupted[masked], tokens[masked]))
        by_code = torch.stack([loss @ bound for loss, _ in pairs])
        right = torch.stack([hits.to(bound.dtype) @ bound for _, hits in pairs]).mean()
        if self.weighting == "elbo":
            loss = by_code.mean()
        else:
            scale = 6 * total * (total - time + 1) / ((total + 1) * (total + 2))
            reweighted = (spread * scale[:, None, None])[masked]
            loss = torch.stack([loss @ reweighted for loss, _ in pairs]).mean()
        return PriorLoss(loss, (loss.detach(),), by_code.detach(), right)

    @torch.inference_mode()
    def sample(
        self,
        tokens: Tensor,
        token_mask: Tensor,
        config: SamplerConfig,
        seeds: int | Sequence[int],
        batch_size: int = 1,
        labels: Sequence[int] | Tensor | None = None,
        uncertainty: bool = False,
    ) -> Iterator[SampleStep]:
        """Unmask the hidden cells in random order; t begins at their number and falls in even steps.

        Any number of steps up to the number of tokens of the grid will do. Where fewer than that many cells are
        hidden, each gets a step and the sample has settled. Proportions, re-noising and early stopping are
        SUNDAE's: here a cell is written once. Grids larger than the prior's own are seen through windows, as by
        :meth:`sundae.hourglass.Hourglass.sample`. See :meth:`sundae.priors.contract.Prior.sample`.
        """
        filling = Filling(tokens, token_mask, config, seeds, self.codebook_size, False, uncertainty)
        conditions = check_labels(labels, len(filling.counts), tokens.device)
        check_batch_size(batch_size)
        denoiser = over_grid(self, self.config.grid, tokens, config, batch_size)

        def write(index: int) -> None:
            for some in batches(filling.active(index), batch_size):
                self.unmask(denoiser, filling, some, index, [condition[some] for condition in conditions])

        yield from filling.run(write)

    def unmask(
        self, denoiser: Denoiser, filling: Filling, some: list[int], index: int, labels: list[Tensor]
    ) -> None:
        """Step ``index`` of some samples: draw the codes of the cells whose turn it is."""
        waiting = torch.stack([filling.waiting(b, index - 1) for b in some])
        state = filling.tokens[some].masked_fill(waiting[..., None], self.codebook_size)
        hidden = denoiser.hidden(state, ~filling.hidden[some], *labels)
        for b, features in zip(some, hidden, strict=True):
            cells = filling.turn(b, index)
            bits = None if filling.unsure is None else filling.unsure[b, cells]
            filling.tokens[b, cells] = draw_in_parts(
                denoiser,
                features[cells],
                filling.tokens[b, cells],
                filling.uniforms[b, cells],
                filling.temperature(b, index),
                filling.config,
                bits,
            )
            if filling.unsure is not None and bits is not None:
                filling.unsure[b, cells] = bits

    @torch.no_grad()
    def surprise(
        self,
        tokens: Tensor,
        token_mask: Tensor,
        seeds: int | Sequence[int] = 0,
        passes: int = PASSES,
        labels: Sequence[int] | Tensor | None = None,
    ) -> Tensor:
        """The bound of a sampler of ``passes`` steps: hidden cells are revealed in random order in even shares,
        and each is asked for once, given those revealed before its share.

        With as many passes as hidden cells this is the ELBO itself, of one order per seed; with fewer it is
        larger, and as a map it is smooth. See :meth:`sundae.priors.contract.Prior.surprise`.
        """
        truth, mask, generators, conditions = prepare(tokens, token_mask, seeds, passes, labels)
        order = torch.stack([torch.rand(mask.shape[1:], generator=g) for g in generators])
        place, total = ranks(order.to(mask.device), mask), mask.sum((1, 2))[:, None, None]
        shares = total.clamp(max=passes)
        bits = torch.zeros(mask.shape, device=mask.device)
        for i in range(int(shares.max())):
            waiting = place >= total * i // shares
            cells = waiting & (place < total * (i + 1) // shares)
            state = truth.masked_fill(waiting[..., None], self.codebook_size)
            bits += cell_bits(self, state, ~mask, cells, truth, *conditions)
        return bits

    @torch.no_grad()
    def bits(
        self,
        tokens: Tensor,
        token_mask: Tensor,
        seeds: int | Sequence[int] = 0,
        passes: int = PASSES,
        labels: Sequence[int] | Tensor | None = None,
    ) -> Tensor:
        """The ELBO in bits per token from ``passes`` times t, spread evenly over 1 to T: the mean of the masked
        cells' bits (that is weight 1 / t), float32 ``(B,)``.

        An unbiased estimate of what :meth:`surprise` gives in as many passes as there are hidden cells.
        """
        truth, mask, generators, conditions = prepare(tokens, token_mask, seeds, passes, labels)
        shift = torch.stack([1 - torch.rand((), generator=g, dtype=torch.float64) for g in generators])
        bits = torch.zeros(len(truth), device=truth.device)
        for i in range(passes):
            order = torch.stack([torch.rand(mask.shape[1:], generator=g) for g in generators])
            masked = first_cells(order.to(mask.device), mask, ((i + shift) / passes).to(mask.device))
            state = truth.masked_fill(masked[..., None], self.codebook_size)
            found = cell_bits(self, state, ~mask, masked, truth, *conditions)
            bits += bits_per_token(found, masked) / passes
        return bits
