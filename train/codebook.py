"""How codebooks learn: k-means start, exponential averages, revival of unused codes.

van den Oord et al. 2017, appendix A.1 (averages); Dhariwal et al. 2020, section 3 (revival).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sundae.tokenizer import ResidualQuantizer


class CodebookTrainer(nn.Module):
    """Moves a quantiser's codebooks; its buffers belong to the training state, not to the shipped weights."""

    started: Tensor  # bool (): whether there are codes to move
    count: Tensor  # (q, K) averages of how often each code was chosen
    total: Tensor  # (q, K, e) averages of the sum of what chose it

    def __init__(self, quantizer: ResidualQuantizer, decay: float = 0.98):
        super().__init__()
        depth, codes, dim = quantizer.codebooks.shape
        self.decay = decay
        self.register_buffer("started", torch.tensor(False))
        self.register_buffer("count", torch.ones(depth, codes))
        self.register_buffer("total", torch.zeros(depth, codes, dim))

    @torch.no_grad()
    def start(self, quantizer: ResidualQuantizer, rows: Tensor, iterations: int = 10) -> None:
        """k-means on ``rows (N, dim)``, level after level on what is left."""
        for level in range(quantizer.depth):
            quantizer.codebooks[level] = kmeans(rows, quantizer.codebooks.shape[1], iterations)
            rows = rows - quantizer.codebooks[level][quantizer.nearest(rows, level)]
        self.adopt(quantizer)

    def adopt(self, quantizer: ResidualQuantizer) -> None:
        """Go on from the codes that a quantiser has, as if each had been chosen once."""
        self.count.fill_(1.0)
        self.total.copy_(quantizer.codebooks)
        self.started.fill_(True)

    @torch.no_grad()
    def learn(self, quantizer: ResidualQuantizer, rows: Tensor, tokens: Tensor) -> None:
        """Exponential averages of the rows that chose each code; codes hardly chosen move to random rows."""
        codes = quantizer.codebooks.shape[1]
        fair_share = len(rows) / codes
        for level in range(quantizer.depth):
            chosen = tokens[:, level]
            before = quantizer.codebooks[level].clone()
            self.count[level].lerp_(torch.bincount(chosen, minlength=codes).float(), 1 - self.decay)
            self.total[level].mul_(self.decay).index_add_(0, chosen, rows, alpha=1 - self.decay)
            quantizer.codebooks[level] = self.total[level] / self.count[level].clamp(min=1e-4)[:, None]
            dead = (self.count[level] < 0.03 * fair_share).nonzero()[:, 0]
            if len(dead):
                revived = rows[torch.randint(len(rows), (len(dead),))]
                quantizer.codebooks[level, dead] = revived
                self.count[level, dead] = 0.3 * fair_share
                self.total[level, dead] = revived * 0.3 * fair_share
            rows = rows - before[chosen]


def straight_through(quantizer: ResidualQuantizer, latent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Quantise ``latent (B, dim, h, w)`` such that the gradient passes it by.

    Returns:
        The quantised latent (its gradient goes to ``latent``), tokens int64 ``(B, h, w, q)``, and the
        commitment loss ``mean ||latent - sg(quantised)||^2`` (van den Oord et al. 2017, eq. 3, third term).
    """
    tokens = quantizer.quantize(latent.detach())
    quantized = quantizer.embed(tokens)
    commitment = (latent - quantized).square().sum(1).mean()
    return latent + (quantized - latent).detach(), tokens, commitment


def perplexity(tokens: Tensor, codes: int) -> Tensor:
    """exp of the entropy of the codes in a batch: how many of the K are in use."""
    share = torch.bincount(tokens.flatten(), minlength=codes).float() / tokens.numel()
    return torch.exp(-(share * (share + 1e-9).log()).sum())


def kmeans(rows: Tensor, codes: int, iterations: int) -> Tensor:
    """Lloyd's algorithm; empty clusters restart at random rows. ``rows (N, dim)`` to ``(codes, dim)``."""
    centres = rows[torch.randint(len(rows), (codes,))].clone()
    for _ in range(iterations):
        nearest = (rows @ centres.t() - centres.square().sum(1) / 2).argmax(1)
        count = torch.bincount(nearest, minlength=codes)
        total = torch.zeros_like(centres).index_add_(0, nearest, rows)
        centres = total / count.clamp(min=1)[:, None]
        empty = (count == 0).nonzero()[:, 0]
        centres[empty] = rows[torch.randint(len(rows), (len(empty),))]
    return centres
