"""Transformer parts shared by every prior: axial rotary positions, attention and the residual block.

Grids stay grids: every module takes and returns ``(B, h, w, d)`` and flattens only inside attention.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

ATTENTION_KINDS = ("global", "row", "column")


def axial_rotary(h: int, w: int, head_dim: int, device: torch.device, base: float = 100.0) -> Tensor:
    """Angles of the axial rotary embedding: half of each head turns with the row, half with the column.

    Rotary embedding: Su et al. 2021 (RoFormer), eq. 15, applied per axis. Computed on the fly so that any
    grid works and nothing is stored in a checkpoint.

    Args:
        h, w: grid size in cells.
        head_dim: channels of one head, a multiple of 4.

    Returns:
        float32 ``(h, w, head_dim / 2)`` angles in radians.
    """
    quarter = head_dim // 4
    frequencies = base ** (-torch.arange(quarter, device=device, dtype=torch.float32) / quarter)
    rows = torch.arange(h, device=device, dtype=torch.float32)[:, None] * frequencies
    columns = torch.arange(w, device=device, dtype=torch.float32)[:, None] * frequencies
    return torch.cat([rows[:, None].expand(h, w, quarter), columns[None].expand(h, w, quarter)], dim=-1)


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Turn channel pairs ``(i, i + d/2)`` of ``x (..., d)`` by ``angles (..., d/2)``."""
    cosine, sine = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)


class GridAttention(nn.Module):
    """Multi-head self-attention over a grid, along rows, along columns or over all cells.

    Every head sees positions: the rotation is applied after the split into heads (the authors' code rotates
    before it, which leaves all heads but the first without a position).

    Args:
        width: channels of the grid.
        head_dim: channels of one head, a multiple of 4.
        kind: "global", "row" or "column".
        heads: number of heads; 0 for as many as fill the width.

    Raises:
        ValueError: if the width is not a multiple of the head size (with ``heads`` = 0), or the kind is unknown.
    """

    def __init__(self, width: int, head_dim: int, kind: str, heads: int = 0):
        super().__init__()
        if head_dim % 4 or (not heads and width % head_dim):
            raise ValueError(
                f"expected a width that is a multiple of head_dim (itself a multiple of 4), got {width} and {head_dim}"
            )
        if kind not in ATTENTION_KINDS:
            raise ValueError(f"expected attention to be one of {', '.join(ATTENTION_KINDS)}, got {kind!r}")
        self.head_dim, self.kind = head_dim, kind
        inner = heads * head_dim or width
        self.qkv = nn.Linear(width, 3 * inner, bias=False)
        self.out = nn.Linear(inner, width, bias=False)
        self.query_norm, self.key_norm = nn.RMSNorm(head_dim), nn.RMSNorm(head_dim)

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        """``x (B, h, w, d)`` and ``angles (h, w, head_dim/2)`` to ``(B, h, w, d)``."""
        batch, h, w, _ = x.shape
        q, k, v = rearrange(self.qkv(x), "b h w (three n e) -> three b n h w e", three=3, e=self.head_dim)
        q, k = rotate(self.query_norm(q), angles), rotate(self.key_norm(k), angles)
        pattern = {
            "global": "b n h w e -> b n (h w) e",
            "row": "b n h w e -> (b h) n w e",
            "column": "b n h w e -> (b w) n h e",
        }[self.kind]
        q, k, v = (rearrange(t, pattern) for t in (q, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v)
        target = pattern.split(" -> ")[1]
        mixed = rearrange(mixed, f"{target} -> b h w (n e)", b=batch, h=h, w=w)
        return self.out(mixed)


class Block(nn.Module):
    """Pre-norm residual block: grid attention, then a GELU MLP. Starts as the identity (zeroed outputs)."""

    def __init__(self, width: int, head_dim: int, kind: str, mlp_ratio: int, heads: int = 0):
        super().__init__()
        self.attention_norm = nn.RMSNorm(width)
        self.attention = GridAttention(width, head_dim, kind, heads)
        self.mlp_norm = nn.RMSNorm(width)
        self.mlp_in = nn.Linear(width, mlp_ratio * width)
        self.mlp_out = nn.Linear(mlp_ratio * width, width)
        for parameter in (self.attention.out.weight, self.mlp_out.weight, self.mlp_out.bias):
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        """``x (B, h, w, d)`` to ``(B, h, w, d)``; ``angles`` from :func:`axial_rotary`."""
        x = x + self.attention(self.attention_norm(x), angles)
        return x + self.mlp_out(F.gelu(self.mlp_in(self.mlp_norm(x))))
