"""Transformer parts shared by every prior: axial rotary positions, attention and the residual block.

Grids stay grids: a module takes and returns ``(B, h, w, d)`` and flattens only inside attention. The causal
ones alone take sequences ``(B, n, d)``, because a grid that is filled in cell by cell has an order.
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
    rows = place_rotary(torch.arange(h, device=device, dtype=torch.float32), head_dim, base)
    columns = place_rotary(torch.arange(w, device=device, dtype=torch.float32), head_dim, base)
    quarter = head_dim // 4
    return torch.cat([rows[:, None].expand(h, w, quarter), columns[None].expand(h, w, quarter)], dim=-1)


def place_rotary(places: Tensor, head_dim: int, base: float = 100.0) -> Tensor:
    """Angles of one axis: float32 ``(n, head_dim / 4)`` for the rows (or columns) ``places (n,)``."""
    quarter = head_dim // 4
    frequencies = base ** (-torch.arange(quarter, device=places.device, dtype=torch.float32) / quarter)
    return places[:, None] * frequencies


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Turn channel pairs ``(i, i + d/2)`` of ``x (..., d)`` by ``angles (..., d/2)``."""
    cosine, sine = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)


class Attention(nn.Module):
    """The weights of multi-head self-attention.

    Every head sees positions: whoever uses these weights rotates after the split into heads (the authors' code
    rotates before it, which leaves all heads but the first without a position).

    Args:
        width: channels of a cell.
        head_dim: channels of one head, a multiple of 4.
        heads: number of heads; 0 for as many as fill the width.

    Raises:
        ValueError: if the width is not a multiple of the head size (with ``heads`` = 0).
    """

    def __init__(self, width: int, head_dim: int, heads: int = 0):
        super().__init__()
        if head_dim % 4 or (not heads and width % head_dim):
            raise ValueError(
                f"expected a width that is a multiple of head_dim (itself a multiple of 4), got {width} and {head_dim}"
            )
        self.head_dim = head_dim
        inner = heads * head_dim or width
        self.qkv = nn.Linear(width, 3 * inner, bias=False)
        self.out = nn.Linear(inner, width, bias=False)
        self.query_norm, self.key_norm = nn.RMSNorm(head_dim), nn.RMSNorm(head_dim)


class GridAttention(Attention):
    """Self-attention over a grid, along rows, along columns or over all cells.

    Args:
        width: channels of the grid.
        head_dim: channels of one head, a multiple of 4.
        kind: "global", "row" or "column".
        heads: number of heads; 0 for as many as fill the width.

    Raises:
        ValueError: as :class:`Attention`, or if the kind is unknown.
    """

    def __init__(self, width: int, head_dim: int, kind: str, heads: int = 0):
        super().__init__(width, head_dim, heads)
        if kind not in ATTENTION_KINDS:
            raise ValueError(f"expected attention to be one of {', '.join(ATTENTION_KINDS)}, got {kind!r}")
        self.kind = kind

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


class KeyValueCache:
    """Keys and values of the items that one attention layer has seen, in buffers for ``length`` of them."""

    def __init__(self, length: int):
        self.length, self.filled = length, 0

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add those of new items, ``(B, heads, n, e)``; returns those of all items so far."""
        if not self.filled:
            self.keys, self.values = (
                x.new_empty((*x.shape[:2], self.length, x.shape[3])) for x in (keys, values)
            )
        start, self.filled = self.filled, self.filled + keys.shape[2]
        self.keys[:, :, start : self.filled] = keys
        self.values[:, :, start : self.filled] = values
        return self.keys[:, :, : self.filled], self.values[:, :, : self.filled]


class CausalAttention(Attention):
    """Self-attention along a sequence: an item sees itself and those before it.

    Queries and keys are rotated by angles of their own: an item asks for one cell and tells of another.
    """

    def forward(
        self, x: Tensor, query_angles: Tensor, key_angles: Tensor, cache: KeyValueCache | None = None
    ) -> Tensor:
        """``x (B, n, d)`` and angles ``(n, head_dim/2)`` to ``(B, n, d)``; the items in ``cache`` come before
        these, which are added to it."""
        q, k, v = rearrange(self.qkv(x), "b n (three m e) -> three b m n e", three=3, e=self.head_dim)
        q, k = rotate(self.query_norm(q), query_angles), rotate(self.key_norm(k), key_angles)
        if cache is not None:
            k, v = cache.extend(k, v)
        items, past = q.shape[2], k.shape[2] - q.shape[2]
        mask = None
        if past and items > 1:
            mask = torch.ones(items, past + items, dtype=torch.bool, device=x.device).tril(past)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=not past)
        return self.out(rearrange(mixed, "b m n e -> b n (m e)"))


class ResidualBlock(nn.Module):
    """Pre-norm residual block: attention, then a GELU MLP. Starts as the identity (zeroed outputs)."""

    def __init__(self, width: int, attention: Attention, mlp_ratio: int):
        super().__init__()
        self.attention_norm = nn.RMSNorm(width)
        self.attention = attention
        self.mlp_norm = nn.RMSNorm(width)
        self.mlp_in = nn.Linear(width, mlp_ratio * width)
        self.mlp_out = nn.Linear(mlp_ratio * width, width)
        for parameter in (self.attention.out.weight, self.mlp_out.weight, self.mlp_out.bias):
            nn.init.zeros_(parameter)

    def add_mlp(self, x: Tensor) -> Tensor:
        return x + self.mlp_out(F.gelu(self.mlp_in(self.mlp_norm(x))))


class Block(ResidualBlock):
    """Residual block with grid attention."""

    def __init__(self, width: int, head_dim: int, kind: str, mlp_ratio: int, heads: int = 0):
        super().__init__(width, GridAttention(width, head_dim, kind, heads), mlp_ratio)

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        """``x (B, h, w, d)`` to ``(B, h, w, d)``; ``angles`` from :func:`axial_rotary`."""
        return self.add_mlp(x + self.attention(self.attention_norm(x), angles))


class CausalBlock(ResidualBlock):
    """Residual block with causal attention."""

    def __init__(self, width: int, head_dim: int, mlp_ratio: int, heads: int = 0):
        super().__init__(width, CausalAttention(width, head_dim, heads), mlp_ratio)

    def forward(
        self, x: Tensor, query_angles: Tensor, key_angles: Tensor, cache: KeyValueCache | None = None
    ) -> Tensor:
        """``x (B, n, d)`` to ``(B, n, d)``; the other arguments as :meth:`CausalAttention.forward`."""
        return self.add_mlp(x + self.attention(self.attention_norm(x), query_angles, key_angles, cache))
