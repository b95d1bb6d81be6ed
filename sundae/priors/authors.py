"""The authors' SUNDAE prior (McKinney & Willcocks 2022, vvvm23/sundae-vqgan), quirks included, for their checkpoints.

Weights trained with a quirk need the quirk. Three are kept that :mod:`sundae.hourglass` does without: rotary positions
are applied before the split into heads, so that only the first head sees them; "attention resampling" groups cells
that follow each other in raster order, although pooling is over squares; and on the way up every query of it has
one key, so that its queries do nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from sundae.hourglass import Table, pad_grid
from sundae.priors.chain import ChainPrior
from sundae.sampler import SamplerConfig

HEAD_DIM = 64
AXIS_DIM = HEAD_DIM // 2  # channels that turn with the row; as many turn with the column


@dataclass(frozen=True)
class AuthorsConfig:
    """Shape of the network.

    Raises:
        ValueError: if a size is not positive, or a cell has more than one code.
    """

    codebook_size: int  # K
    grid: tuple[int, int]  # training grid
    width: int  # channels
    heads: int  # of 64 channels each, whatever the width
    merge: int  # cells per side that become one in the valley
    layers: tuple[int, int, int]  # before, in and after the valley
    classes: int = 0  # of a class-conditional prior
    depth: int = 1  # q

    def __post_init__(self) -> None:
        sizes = (self.codebook_size, *self.grid, self.width, self.heads, self.merge)
        if min(*sizes, *self.layers) < 1 or self.classes < 0:
            raise ValueError(f"expected positive sizes, got {self}")
        if self.depth != 1:
            raise ValueError(f"expected one code per cell, got a depth of {self.depth}")


class Attention(nn.Module):
    """Multi-head attention of a sequence over itself or over a context."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, heads * HEAD_DIM, bias=False)
        self.key_value = nn.Linear(width, 2 * heads * HEAD_DIM, bias=False)
        self.out = nn.Linear(heads * HEAD_DIM, width)

    def forward(self, x: Tensor, context: Tensor, angles: Tensor | None = None) -> Tensor:
        """``x (B, n, width)`` and ``context (B, m, width)`` to ``(B, n, width)``; ``angles (n, 64)`` turn the first
        64 channels of queries and keys, which are the first head's."""
        query, (key, value) = self.query(x), self.key_value(context).chunk(2, dim=-1)
        if angles is not None:
            query, key = rotate(query, angles), rotate(key, angles)
        query, key, value = (
            rearrange(t, "b n (heads d) -> b heads n d", heads=self.heads) for t in (query, key, value)
        )
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.out(rearrange(mixed, "b heads n d -> b n (heads d)"))


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Turn the channel pairs ``(2i, 2i + 1)`` of the first ``angles.shape[-1]`` channels of ``x (B, n, c)``."""
    turned, rest = x.split([angles.shape[-1], x.shape[-1] - angles.shape[-1]], dim=-1)
    first, second = turned[..., ::2], turned[..., 1::2]
    quarter = torch.stack((-second, first), dim=-1).flatten(-2)
    return torch.cat((turned * angles.cos() + quarter * angles.sin(), rest), dim=-1)


class Layer(nn.Module):
    """Attention and a GELU MLP, each after a layer norm and added to its input."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp_in = nn.Linear(width, 4 * width)
        self.mlp_out = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, context: Tensor | None = None, angles: Tensor | None = None) -> Tensor:
        """``x (B, n, width)`` to the same; a context is taken as it is, without the norm."""
        normed = self.attention_norm(x)
        x = x + self.attention(normed, normed if context is None else context, angles)
        return x + self.mlp_out(F.gelu(self.mlp_in(self.mlp_norm(x))))


class Trunk(nn.Module):
    """Layers over all cells of one resolution, with rotary positions that span [-1, 1] whatever the grid."""

    frequencies: Tensor  # (16,)

    def __init__(self, width: int, heads: int, layers: int):
        super().__init__()
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(layers))
        self.register_buffer("frequencies", torch.zeros(AXIS_DIM // 2))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, h, w, width)`` to the same."""
        _, h, w, _ = x.shape
        angles, x = self.angles(h, w), x.flatten(1, 2)
        for layer in self.layers:
            x = layer(x, angles=angles)
        return x.unflatten(1, (h, w))

    def angles(self, h: int, w: int) -> Tensor:
        """``(h w, 64)`` radians: the first half turns with the row, the second with the column."""
        rows, columns = (
            torch.outer(torch.linspace(-1, 1, n, device=self.frequencies.device), self.frequencies)
            .repeat_interleave(2, dim=1)
            .float()
            for n in (h, w)
        )
        both = (rows[:, None].expand(h, w, AXIS_DIM), columns[None].expand(h, w, AXIS_DIM))
        return torch.cat(both, dim=-1).flatten(0, 1)


class AuthorsHourglass(ChainPrior):
    """The authors' denoiser; it is not told which cells are known.

    Their code takes square grids that need no padding. Others are padded as :func:`sundae.hourglass.pad_grid` does.
    """

    config: AuthorsConfig
    defaults = SamplerConfig(  # of config/ffhq1024 there
        steps=100,
        temperature_start=1.0,
        temperature_end=0.7,
        proportion_start=0.5,
        proportion_end=0.5,
        renoise=0.0,
    )

    def __init__(self, config: AuthorsConfig):
        super().__init__()
        self.config = config
        width, heads, cells = config.width, config.heads, config.merge**2
        before, valley, after = config.layers
        self.embed = Table(config.codebook_size, width, std=1.0)
        self.label = Table(config.classes, width, std=1.0) if config.classes else None
        self.before = Trunk(width, heads, before)
        self.merge = nn.Linear(cells * width, width)
        self.gather = Layer(width, heads)
        self.valley = Trunk(width, heads, valley)
        self.split = nn.Linear(width, cells * width)
        self.spread = Layer(width, heads)
        self.after = Trunk(width, heads, after)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, config.codebook_size)

    def start_from_codebooks(self, codebooks: Tensor, frequencies: Tensor) -> None:
        """Nothing: the authors' network starts at random."""

    def hidden(self, tokens: Tensor, known: Tensor, labels: Tensor | None = None) -> Tensor:
        """Features of every cell.

        Args:
            tokens: int64 ``(B, h, w, 1)``.
            known: bool ``(B, h, w)``; not looked at.
            labels: int64 ``(B,)`` classes in [0, classes) for a class-conditional prior.

        Returns:
            ``(B, h, w, width)``.

        Raises:
            ValueError: if shapes disagree, or labels are missing, out of range or not wanted.
        """
        if tokens.ndim != 4 or tokens.shape[-1] != 1 or known.shape != tokens.shape[:3]:
            raise ValueError(
                f"expected tokens (B, h, w, 1) and known (B, h, w), got {tuple(tokens.shape)} and {tuple(known.shape)}"
            )
        _, h, w, _ = tokens.shape
        x = self.embed(tokens[..., 0]) + self.labelled(labels, len(tokens))
        x, _ = pad_grid(x, self.config.merge)
        x = self.before(x)
        down = self.gathered(self.merged(x), x)
        valley = self.valley(down)
        x = self.spread_out(self.split_up(valley) + x, valley)
        return self.norm(self.after(x[:, :h, :w]))

    def logits(self, hidden: Tensor, current: Tensor, prefix: Tensor) -> Tensor:
        """Logits ``(N, K)`` of N chosen cells; neither their present codes nor ``prefix (N, 0)`` are looked at."""
        return self.head(hidden)

    def labelled(self, labels: Tensor | None, samples: int) -> Tensor:
        """What is added to every cell for its sample's class: ``(B, 1, 1, width)``, or zero without classes."""
        classes = self.config.classes
        if self.label is None:
            if labels is not None:
                raise ValueError("expected no class labels: this prior was trained without classes")
            return torch.zeros(1, device=self.head.weight.device)
        if (
            labels is None
            or len(labels) != samples
            or not 0 <= int(labels.min()) <= int(labels.max()) < classes
        ):
            got = "none" if labels is None else labels.tolist()
            raise ValueError(f"expected {samples} class labels from 0 to {classes - 1}, got {got}")
        return self.label(labels)[:, None, None]

    def merged(self, x: Tensor) -> Tensor:
        r = self.config.merge
        return self.merge(rearrange(x, "b (h r) (w s) d -> b h w (d r s)", r=r, s=r))

    def split_up(self, x: Tensor) -> Tensor:
        r = self.config.merge
        return rearrange(self.split(x), "b h w (d r s) -> b (h r) (w s) d", r=r, s=r)

    def gathered(self, merged: Tensor, x: Tensor) -> Tensor:
        """Each merged cell attends to as many cells of ``x`` as it stands for, but those next in raster order."""
        _, h, w, _ = merged.shape
        runs = rearrange(x, "b h w d -> b (h w) d").unflatten(1, (h * w, -1)).flatten(0, 1)
        out = self.gather(merged.flatten(0, 2)[:, None], context=runs)
        return rearrange(out, "(b h w) one d -> b h w (one d)", h=h, w=w)

    def spread_out(self, x: Tensor, merged: Tensor) -> Tensor:
        """The way back: runs of cells in raster order attend to the merged cell of the same number."""
        _, h, w, _ = x.shape
        cells = math.prod(merged.shape[1:3])
        runs = x.flatten(1, 2).unflatten(1, (cells, -1)).flatten(0, 1)
        out = self.spread(runs, context=merged.flatten(0, 2)[:, None])
        return out.unflatten(0, (-1, cells)).flatten(1, 2).unflatten(1, (h, w))
