"""Corruption and the unrolled loss of SUNDAE (Savinov et al. 2022; McKinney & Willcocks 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Denoiser(Protocol):
    """What the objective and the sampler need of a network; see :class:`sundae.hourglass.Hourglass`."""

    @property
    def codebook_size(self) -> int: ...

    @property
    def depth(self) -> int: ...

    def hidden(self, tokens: Tensor, known: Tensor, labels: Tensor | None = None) -> Tensor: ...

    def logits(self, hidden: Tensor, current: Tensor, prefix: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class UnrolledLoss:
    """Result of :func:`unrolled_loss`; scalars, in nats per code."""

    loss: Tensor  # mean over cells, codes and unrolls: what is minimised
    by_unroll: tuple[Tensor, ...]  # the same, one per unroll
    by_code: Tensor  # (q,) mean of the first unroll for each code of a cell
    accuracy: Tensor  # share of first-unroll codes whose most likely value is right, by the weights


def corrupt(
    tokens: Tensor,
    token_mask: Tensor,
    rate: Tensor,
    codebook_size: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Replace each hidden cell with uniform random codes with probability ``rate`` (SUNDAE, eq. 2).

    A cell is replaced as a whole: residual codes mean nothing alone.

    Args:
        tokens: int64 ``(B, h, w, q)`` clean tokens.
        token_mask: bool ``(B, h, w)``, True = may be replaced.
        rate: float ``(B,)`` in [0, 1].
        codebook_size: K.
        generator: source of the random numbers; torch's own by default.

    Returns:
        int64 ``(B, h, w, q)``.
    """
    chance = torch.rand(tokens.shape[:3], device=tokens.device, generator=generator)
    noise = torch.randint(codebook_size, tokens.shape, device=tokens.device, generator=generator)
    replaced = (chance < rate[:, None, None]) & token_mask
    return torch.where(replaced[..., None], noise, tokens)


def invert_cdf(logits: Tensor, uniform: Tensor) -> Tensor:
    """Draw from ``softmax(logits (N, K))`` with one uniform number ``(N,)`` a row: int64 ``(N,)``.

    Raises:
        ValueError: if a row is no distribution: a logit is NaN or +infinity, or all are -infinity.
    """
    cumulative = logits.double().softmax(-1).cumsum(-1)
    if bool(cumulative[:, -1].isnan().any()):
        raise ValueError("expected finite logits, got NaN or infinity: the prior's weights are damaged")
    drawn = torch.searchsorted(cumulative, (uniform * cumulative[:, -1])[:, None], right=True)[:, 0]
    return drawn.clamp(max=logits.shape[1] - 1)


def hole_weights(token_mask: Tensor, balance: float) -> Tensor:
    """Weight of each hidden cell in the loss, before it is normalised: a hole of n cells weighs
    ``n ** (1 - balance)`` in all.

    Args:
        token_mask: bool ``(B, h, w)``, True = hidden.
        balance: 0 gives every cell the same weight (the paper), 1 every picture.

    Returns:
        float32 ``(N,)`` over the hidden cells in row-major order.
    """
    size = token_mask.sum((1, 2), keepdim=True).clamp(min=1).float()
    return size.pow(-balance).expand(token_mask.shape)[token_mask]


def unrolled_loss(
    denoiser: Denoiser,
    tokens: Tensor,
    corrupted: Tensor,
    token_mask: Tensor,
    uniforms: Tensor,
    weights: Tensor | None = None,
    labels: Tensor | None = None,
) -> UnrolledLoss:
    """Mean cross-entropy of the clean tokens over the steps of the chain (SUNDAE, eq. 4-6).

    The first step sees corrupted tokens, each further one a sample of the step before (temperature 1,
    detached). The mean is over hidden cells: the others are given, and a mask that hides everything is the
    paper's loss. Codes of a cell are predicted given the true codes before them. All chance comes in through
    the arguments, so the loss of a picture does not depend on which process or which attempt computes it.

    Args:
        denoiser: the network.
        tokens: int64 ``(B, h, w, q)`` clean tokens.
        corrupted: int64 ``(B, h, w, q)`` from :func:`corrupt`.
        token_mask: bool ``(B, h, w)``, True = hidden.
        uniforms: float ``(B, T - 1, h, w, q)`` in [0, 1): what the samples of the chain are drawn with; T
            steps are unrolled.
        weights: ``(N,)`` of the N hidden cells in row-major order; by default 1 / N, the mean.
        labels: int64 ``(B,)`` for a denoiser with classes.
    """
    known, truth = ~token_mask, tokens[token_mask]
    if weights is None:
        weights = torch.full((len(truth),), 1 / max(1, len(truth)), device=tokens.device)
    conditions = () if labels is None else (labels,)
    unroll_steps, state = uniforms.shape[1] + 1, corrupted
    losses, first, right = [], tokens.new_zeros(()), tokens.new_zeros(())
    for step in range(unroll_steps):
        hidden = denoiser.hidden(state, known, *conditions)[token_mask]
        current = state[token_mask]
        by_code, predicted = [], []
        for j in range(denoiser.depth):
            logits = denoiser.logits(hidden, current, truth[:, :j])
            by_code.append(F.cross_entropy(logits.float(), truth[:, j], reduction="none") @ weights)
            if step == 0:
                predicted.append((logits.detach().argmax(-1) == truth[:, j]).to(weights.dtype) @ weights)
        losses.append(torch.stack(by_code).mean())
        if step == 0:
            first, right = torch.stack(by_code).detach(), torch.stack(predicted).mean()
        if step + 1 < unroll_steps:
            state = state.clone()
            state[token_mask] = draw_cells(denoiser, hidden, current, uniforms[:, step][token_mask])
    loss = torch.stack(losses).mean()
    return UnrolledLoss(loss, tuple(value.detach() for value in losses), first, right)


@torch.no_grad()
def draw_cells(denoiser: Denoiser, hidden: Tensor, current: Tensor, uniforms: Tensor) -> Tensor:
    """A sample of N cells' codes at temperature 1, one depth after the other: int64 ``(N, q)``.

    Args:
        denoiser: the network.
        hidden: ``(N, width)`` features of the cells.
        current: int64 ``(N, q)`` codes now in them.
        uniforms: ``(N, q)`` in [0, 1).
    """
    drawn = torch.empty_like(current)
    for j in range(denoiser.depth):
        logits = denoiser.logits(hidden, current, drawn[:, :j]).float()
        drawn[:, j] = invert_cdf(logits, uniforms[:, j])
    return drawn
