"""Corruption and the unrolled loss of SUNDAE (Savinov et al. 2022; McKinney & Willcocks 2022), and what it shares
with the losses of the other priors: cross-entropies of cells, and draws from what is predicted of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
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
class PriorLoss:
    """The training loss of a prior; scalars, in nats per code."""

    loss: Tensor  # what is minimised
    by_unroll: tuple[Tensor, ...]  # the same, one per step of the chain: a single one for priors without
    by_code: Tensor  # (q,) cross-entropy of each code of a cell, at the first step of the chain
    accuracy: Tensor  # share of first-step codes whose most likely value is right, by the weights


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


def code_losses(
    denoiser: Denoiser, hidden: Tensor, current: Tensor, truth: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """For each depth in turn: cross-entropy of the cells' codes given the true codes before them, float32 ``(N,)``
    in nats, and whether the most likely one is right, bool ``(N,)``.

    Args:
        denoiser: the network.
        hidden: ``(N, width)`` features of the cells.
        current: int64 ``(N, q)`` codes now in them.
        truth: int64 ``(N, q)`` codes that should be.
    """
    for j in range(denoiser.depth):
        logits = denoiser.logits(hidden, current, truth[:, :j])
        loss = F.cross_entropy(logits.float(), truth[:, j], reduction="none")
        yield loss, logits.detach().argmax(-1) == truth[:, j]


def unrolled_loss(
    denoiser: Denoiser,
    tokens: Tensor,
    corrupted: Tensor,
    token_mask: Tensor,
    uniforms: Tensor,
    weights: Tensor | None = None,
    labels: Tensor | None = None,
) -> PriorLoss:
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
        pairs = list(code_losses(denoiser, hidden, current, truth))
        by_code = torch.stack([loss @ weights for loss, _ in pairs])
        losses.append(by_code.mean())
        if step == 0:
            first = by_code.detach()
            right = torch.stack([hits.to(weights.dtype) @ weights for _, hits in pairs]).mean()
        if step + 1 < unroll_steps:
            state = state.clone()
            state[token_mask] = draw_cells(denoiser, hidden, current, uniforms[:, step][token_mask])
    loss = torch.stack(losses).mean()
    return PriorLoss(loss, tuple(value.detach() for value in losses), first, right)


@torch.no_grad()
def draw_cells(
    denoiser: Denoiser,
    hidden: Tensor,
    current: Tensor,
    uniforms: Tensor,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    unsure: Tensor | None = None,
) -> Tensor:
    """A sample of N cells' codes, one depth after the other: int64 ``(N, q)``.

    Args:
        denoiser: the network.
        hidden: ``(N, width)`` features of the cells.
        current: int64 ``(N, q)`` codes now in them.
        uniforms: ``(N, q)`` in [0, 1).
        temperature: what the logits are divided by.
        top_k, top_p: as :func:`keep_likely`.
        unsure: float32 ``(N,)``, written to: how unsure the network is of each cell, in bits per token. The mean
            entropy of its own distributions of the codes (temperature 1, nothing ruled out), each given the codes
            drawn before it; from 0 to log2(K).

    Raises:
        ValueError: as :func:`invert_cdf`.
    """
    drawn = torch.empty_like(current)
    for j in range(denoiser.depth):
        logits = denoiser.logits(hidden, current, drawn[:, :j]).float()
        drawn[:, j] = invert_cdf(keep_likely(logits / temperature, top_k, top_p), uniforms[:, j])
        if unsure is not None:
            bits = torch.special.entr(logits.softmax(-1)).sum(-1) / math.log(2)
            unsure.copy_(bits / denoiser.depth if j == 0 else unsure + bits / denoiser.depth)
    return drawn


def keep_likely(logits: Tensor, top_k: int, top_p: float) -> Tensor:
    """Rule out unlikely codes, at each depth of a cell: ``(N, K)`` logits, -infinity for what is ruled out.

    Args:
        logits: ``(N, K)``.
        top_k: keep that many (Fan et al. 2018); 0 for all.
        top_p: of those keep the fewest whose probabilities reach this (nucleus; Holtzman et al. 2020); 1 for all.
    """
    if not top_k and top_p == 1:
        return logits
    ordered, codes = logits.sort(descending=True, stable=True)
    if top_k:
        ordered[:, top_k:] = -torch.inf
    chances = ordered.double().softmax(-1)
    ordered[chances.cumsum(-1) - chances >= top_p] = -torch.inf
    return torch.empty_like(logits).scatter(1, codes, ordered)
