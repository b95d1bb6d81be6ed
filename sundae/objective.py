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

    def hidden(self, tokens: Tensor, known: Tensor) -> Tensor: ...

    def logits(self, hidden: Tensor, current: Tensor, prefix: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class UnrolledLoss:
    """Result of :func:`unrolled_loss`; scalars, in nats per code."""

    loss: Tensor  # mean over cells, codes and unrolls: what is minimised
    by_unroll: tuple[Tensor, ...]  # the same, one per unroll
    by_code: Tensor  # (q,) mean of the first unroll for each code of a cell
    accuracy: Tensor  # share of first-unroll codes whose most likely value is right


def corrupt(tokens: Tensor, token_mask: Tensor, rate: Tensor, codebook_size: int) -> Tensor:
    """Replace each hidden cell with uniform random codes with probability ``rate`` (SUNDAE, eq. 2).

    A cell is replaced as a whole: residual codes mean nothing alone.

    Args:
        tokens: int64 ``(B, h, w, q)`` clean tokens.
        token_mask: bool ``(B, h, w)``, True = may be replaced.
        rate: float ``(B,)`` in [0, 1].
        codebook_size: K.

    Returns:
        int64 ``(B, h, w, q)``.
    """
    replaced = (torch.rand(tokens.shape[:3], device=tokens.device) < rate[:, None, None]) & token_mask
    noise = torch.randint(codebook_size, tokens.shape, device=tokens.device)
    return torch.where(replaced[..., None], noise, tokens)


def draw_codes(logits: Tensor) -> Tensor:
    """One sample of ``Categorical(logits)`` per row ``(N, K)``, by the Gumbel trick: int64 ``(N,)``."""
    return (logits - torch.empty_like(logits).exponential_().log()).argmax(-1)


def unrolled_loss(
    denoiser: Denoiser, tokens: Tensor, token_mask: Tensor, rate: Tensor, unroll_steps: int
) -> UnrolledLoss:
    """Mean cross-entropy of the clean tokens over ``unroll_steps`` steps of the chain (SUNDAE, eq. 4-6).

    The first step sees corrupted tokens, each further one a sample of the step before (temperature 1,
    detached). The mean is over hidden cells: the others are given, and a mask that hides everything is the
    paper's loss. Codes of a cell are predicted given the true codes before them.

    Args:
        denoiser: the network.
        tokens: int64 ``(B, h, w, q)`` clean tokens.
        token_mask: bool ``(B, h, w)``, True = hidden.
        rate: float ``(B,)`` corruption rate of each sample.
        unroll_steps: T >= 1.
    """
    known = ~token_mask
    truth = tokens[token_mask]
    state = corrupt(tokens, token_mask, rate, denoiser.codebook_size)
    losses, first = [], (tokens.new_zeros(()), tokens.new_zeros(()))
    for step in range(unroll_steps):
        hidden = denoiser.hidden(state, known)[token_mask]
        current = state[token_mask]
        by_code, predicted, drawn = [], [], []
        for j in range(denoiser.depth):
            logits = denoiser.logits(hidden, current, truth[:, :j])
            by_code.append(F.cross_entropy(logits.float(), truth[:, j]))
            if step == 0:
                predicted.append(logits.detach().argmax(-1) == truth[:, j])
        losses.append(torch.stack(by_code).mean())
        if step == 0:
            first = torch.stack(by_code).detach(), torch.stack(predicted).float().mean()
        if step + 1 < unroll_steps:
            with torch.no_grad():
                drawn = torch.empty_like(current)
                for j in range(denoiser.depth):
                    drawn[:, j] = draw_codes(denoiser.logits(hidden, current, drawn[:, :j]).float())
            state = state.clone()
            state[token_mask] = drawn
    loss = torch.stack(losses).mean()
    return UnrolledLoss(loss, tuple(value.detach() for value in losses), first[0], first[1])
