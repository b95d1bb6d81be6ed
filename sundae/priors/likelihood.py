"""How surprising tokens are to a prior, in bits per token; a token is one code, so a uniform prior gives log2(K)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sundae.objective import Denoiser, code_losses, draw_cells
from sundae.sampler import check_labels, check_seeds, expand_batch, whole


def code_bits(denoiser: Denoiser, hidden: Tensor, current: Tensor, truth: Tensor) -> Tensor:
    """Bits that the true codes of N cells take, mean over the codes of a cell: float32 ``(N,)``. The arguments are
    those of :func:`sundae.objective.code_losses`.

    Raises:
        ValueError: if logits are NaN.
    """
    losses = [loss for loss, _ in code_losses(denoiser, hidden, current, truth)]
    bits = torch.stack(losses).mean(0) / math.log(2)
    if bool(bits.isnan().any()):
        raise ValueError("expected finite logits, got NaN or infinity: the prior's weights are damaged")
    return bits


def cell_bits(
    denoiser: Denoiser, state: Tensor, known: Tensor, cells: Tensor, tokens: Tensor, *labels: Tensor
) -> Tensor:
    """Bits that the true codes of some cells take, mean over the codes of a cell.

    Args:
        denoiser: the network.
        state: int64 ``(B, h, w, q)`` what it sees.
        known: bool ``(B, h, w)`` what it is told to be certain.
        cells: bool ``(B, h, w)`` which cells are asked for.
        tokens: int64 ``(B, h, w, q)`` true codes.
        labels: at most one; as the denoiser takes it.

    Returns:
        float32 ``(B, h, w)``, 0 elsewhere.

    Raises:
        ValueError: as :func:`code_bits`.
    """
    hidden = denoiser.hidden(state, known, *labels)[cells]
    bits = torch.zeros(cells.shape, device=tokens.device)
    bits[cells] = code_bits(denoiser, hidden, state[cells], tokens[cells])
    return bits


def bits_per_token(surprise: Tensor, token_mask: Tensor) -> Tensor:
    """Mean of ``surprise (B, h, w)`` over the hidden cells of each grid: float32 ``(B,)``."""
    return surprise.sum((1, 2)) / token_mask.sum((1, 2))


def prepare(
    tokens: Tensor,
    token_mask: Tensor,
    seeds: int | Sequence[int],
    passes: int,
    labels: Sequence[int] | Tensor | None,
) -> tuple[Tensor, Tensor, list[torch.Generator], tuple[Tensor, ...]]:
    """The checked arguments of :meth:`sundae.priors.contract.Prior.surprise`: tokens and mask for every seed, a
    generator for each, and none or one tensor of labels."""
    first = whole(seeds)
    samples = max(len(tokens), len(token_mask))
    checked = check_seeds(seeds if first is None else range(first, first + samples))
    if (whole(passes) or 0) < 1:
        raise ValueError(f"expected passes to be a whole number of at least 1, got {passes!r}")
    conditions = check_labels(labels, len(checked), tokens.device)
    state, mask = expand_batch(tokens, token_mask, len(checked))
    return state, mask, [torch.Generator().manual_seed(seed) for seed in checked], conditions


@torch.no_grad()
def chain_surprise(
    denoiser: Denoiser,
    tokens: Tensor,
    token_mask: Tensor,
    seeds: int | Sequence[int],
    passes: int,
    labels: Sequence[int] | Tensor | None = None,
) -> Tensor:
    """The bound of SUNDAE: a chain from pure noise, at temperature 1, must end in the tokens.

    The model is a chain whose number of steps is drawn from 1 to ``passes``: where one step from noise says more of
    the tokens than the last of several, which has settled on a picture of its own, it counts. With s_n the state
    after n steps and f the network's step, -log p(x) <= E[-log mean_n f(x | s_n)] by Jensen's inequality (Savinov et
    al. 2022, section 2.1, for a fixed number of steps). One chain is drawn for each seed; the map is that of its
    best n. Arguments, result and errors are those of :meth:`sundae.priors.contract.Prior.surprise`.
    """
    truth, mask, generators, conditions = prepare(tokens, token_mask, seeds, passes, labels)
    shape, device, known = truth.shape[1:], truth.device, ~mask
    noise = torch.stack([torch.randint(denoiser.codebook_size, shape, generator=g) for g in generators])
    state = torch.where(mask[..., None], noise.to(device), truth)
    maps = []
    for _ in range(passes):
        hidden, current = denoiser.hidden(state, known, *conditions)[mask], state[mask]
        bits = torch.zeros(mask.shape, device=device)
        bits[mask] = code_bits(denoiser, hidden, current, truth[mask])
        maps.append(bits)
        uniforms = torch.stack([torch.rand(shape, generator=g, dtype=torch.float64) for g in generators])
        state[mask] = draw_cells(denoiser, hidden, current, uniforms.to(device)[mask])
    return mix(torch.stack(maps), mask, shape[-1])


def mix(maps: Tensor, mask: Tensor, depth: int) -> Tensor:
    """Bits of the mean of the likelihoods that ``maps (n, B, h, w)`` stand for, as a map ``(B, h, w)``: the smallest
    one, and what the others take off its sum or add to it, shared out evenly.

    Args:
        maps: bits per code, 0 outside ``mask``.
        mask: bool ``(B, h, w)``.
        depth: codes of a cell.
    """
    codes = depth * mask.sum((1, 2))
    nats = math.log(2) * depth * maps.double().sum((2, 3))
    mean = math.log(len(maps)) - (-nats).logsumexp(0)
    best = nats.argmin(0)
    places = torch.arange(len(best), device=best.device)
    rest = (mean - nats[best, places]) / math.log(2) / codes
    return maps[best, places] + (rest[:, None, None] * mask).float()
