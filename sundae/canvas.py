"""Canvases: grids larger than a denoiser's own, which it sees through overlapping windows.

Bond-Taylor et al. 2021, Unleashing Transformers (arXiv 2111.12701): the denoiser runs on windows of the grid that it
was trained on, and what they say of a cell is averaged, as distributions: the mean of their softmaxes. Here a window
weighs the less the nearer a cell is to its border. In a plain mean it ends at once, and where it does the picture
breaks: of faces, which windows place in their middle, there were only halves.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sundae.objective import Denoiser
from sundae.sampler import SamplerConfig, check_batch_size


class Place(NamedTuple):
    """Where a window lies on a canvas, in cells."""

    rows: slice
    columns: slice
    slot: int  # no two windows that share a cell have the same


def starts(size: int, window: int, stride: int) -> list[int]:
    """First cells of the windows along a side of ``size`` cells, ascending and from border to border: evenly spaced,
    ``stride`` apart at most, so that every cell is in one at least."""
    last = size - window
    gaps = max(1, math.ceil(last / stride))
    return sorted({round(i * last / gaps) for i in range(gaps + 1)})


def shifted_starts(size: int, window: int, stride: int, offset: int) -> list[int]:
    """The same, but ``stride`` apart from ``offset`` in [0, stride) on, and clipped at the borders."""
    last = size - window
    return sorted({min(max(0, first), last) for first in range(offset - stride, last + stride, stride)})


def overlap(firsts: Sequence[int], window: int) -> int:
    """How many windows that start at ``firsts`` share a cell at most."""
    return max(sum(first <= other < first + window for other in firsts) for first in firsts)


class Canvas:
    """A denoiser over grids no smaller than its own; where they are its own, it is the denoiser itself.

    The codes of a cell are drawn one after the other, so the average is taken of each code given those before it.
    What has to be kept of a canvas until then are the features of its cells, once for each window over a cell; these
    are fewer numbers than the probabilities would be. All else is bounded by ``batch_size`` windows.

    Args:
        denoiser: the network.
        window: height and width in cells of the grid that it was trained on.
        stride: from one window to the next at most, as a share of the window's side.
        falloff: power of the weight of a window, which falls linearly from its middle to its borders in both
            directions; 0 for the plain mean.
        random: begin somewhere else every time, so that borders fall on other cells in every step. The
            place depends on the tokens alone: a sample stays the same by itself and beside others.
        batch_size: windows that pass through the network together.

    Raises:
        ValueError: for a batch size below 1.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        window: tuple[int, int],
        stride: float = 0.75,
        falloff: float = 2.0,
        random: bool = False,
        batch_size: int = 1,
    ):
        check_batch_size(batch_size)
        self.denoiser, self.window, self.random, self.batch_size = denoiser, window, random, batch_size
        self.strides = [max(1, round(stride * side)) for side in window]
        down, across = (1 - ((2 * torch.arange(side) + 1) / side - 1).abs() for side in window)
        self.weights = (down[:, None] * across) ** falloff  # (height, width), above 0

    @property
    def codebook_size(self) -> int:
        """K."""
        return self.denoiser.codebook_size

    @property
    def depth(self) -> int:
        """q."""
        return self.denoiser.depth

    def hidden(self, tokens: Tensor, known: Tensor, labels: Tensor | None = None) -> Tensor:
        """Features of every cell from every window over it; windows in which all is known are not looked at.

        Args:
            tokens: int64 ``(B, h, w, q)``.
            known: bool ``(B, h, w)``, True where the token is certain.
            labels: int64 ``(B,)``, as the denoiser takes them.

        Returns:
            ``(B, h, w, slots, width + 1)``; the last number is the weight of the window, 0 where none has been.
            On the denoiser's own grid ``(B, h, w, width)``.

        Raises:
            ValueError: if the canvas is smaller than the window, nothing is hidden, or as the denoiser.
        """
        grid = tuple(tokens.shape[1:3])
        if grid == self.window:
            return self.denoiser.hidden(tokens, known, *(() if labels is None else (labels,)))
        if tokens.ndim != 4 or any(side < least for side, least in zip(grid, self.window, strict=True)):
            raise ValueError(
                f"expected a canvas of at least {self.window[0]}x{self.window[1]} cells, the window of the prior, "
                f"got tokens {tuple(tokens.shape)}"
            )
        windows = [
            (b, place)
            for b in range(len(tokens))
            for place in self.places(tokens[b])
            if not bool(known[b, place.rows, place.columns].all())
        ]
        if not windows:
            raise ValueError("expected a canvas with at least one hidden token, got none")
        slots = 1 + max(place.slot for _, place in windows)
        kept = torch.empty(0)
        for first in range(0, len(windows), self.batch_size):
            some = windows[first : first + self.batch_size]
            features = self.look(some, tokens, known, labels)
            if not first:
                kept = features.new_zeros(*tokens.shape[:3], slots, features.shape[-1] + 1)
            for (b, place), part in zip(some, features, strict=True):
                slot = kept[b, place.rows, place.columns, place.slot]
                slot[..., :-1] = part
                slot[..., -1] = self.weights.to(slot)
        return kept

    def look(
        self, windows: list[tuple[int, Place]], tokens: Tensor, known: Tensor, labels: Tensor | None
    ) -> Tensor:
        """Features ``(n, height, width, channels)`` of n windows, each of the sample whose number is before it."""
        inside = torch.stack([tokens[b, place.rows, place.columns] for b, place in windows])
        certain = torch.stack([known[b, place.rows, place.columns] for b, place in windows])
        conditions = () if labels is None else (labels[[b for b, _ in windows]],)
        return self.denoiser.hidden(inside, certain, *conditions)

    def places(self, tokens: Tensor) -> list[Place]:
        """The windows over a canvas ``tokens (h, w, q)``, in raster order."""
        sides = list(zip(tokens.shape[:2], self.window, self.strides, strict=True))
        down, across = (starts(*side) for side in sides)
        if self.random:
            generator = torch.Generator().manual_seed(zlib.crc32(tokens.cpu().numpy().tobytes()))
            offsets = [int(torch.randint(stride, (), generator=generator)) for stride in self.strides]
            down, across = (
                shifted_starts(*side, offset) for side, offset in zip(sides, offsets, strict=True)
            )
        height, width = self.window
        rows, columns = overlap(down, height), overlap(across, width)
        return [
            Place(
                slice(top, top + height), slice(left, left + width), (i % rows) * columns + j % columns
            )  # windows that share a cell follow each other
            for i, top in enumerate(down)
            for j, left in enumerate(across)
        ]

    def logits(self, hidden: Tensor, current: Tensor, prefix: Tensor) -> Tensor:
        """Logits of the next code of N chosen cells: the logarithm of the weighted mean of the windows' softmaxes.

        Args:
            hidden: ``(N, slots, width + 1)`` or ``(N, width)``, cells of what :meth:`hidden` gives.
            current: int64 ``(N, q)`` codes now in these cells.
            prefix: int64 ``(N, j)`` codes already drawn for them.

        Returns:
            ``(N, K)``; on the denoiser's own grid its logits as they are.
        """
        if hidden.ndim == 2:
            return self.denoiser.logits(hidden, current, prefix)
        total = hidden.new_full((len(hidden), self.codebook_size), -torch.inf, dtype=torch.float32)
        for view in hidden.unbind(1):
            seen = view[:, -1] > 0
            features = view[seen][:, :-1].contiguous()
            logits = self.denoiser.logits(features, current[seen], prefix[seen])
            weighted = logits.float().log_softmax(-1) + view[seen][:, -1:].float().log()
            total[seen] = torch.logaddexp(total[seen], weighted)
        return total - hidden[..., -1].float().sum(1, keepdim=True).log()


def over_grid(
    denoiser: Denoiser, own: tuple[int, int], tokens: Tensor, config: SamplerConfig, batch_size: int
) -> Denoiser:
    """What samples ``tokens (B, h, w, q)``: a :class:`Canvas` where their grid is larger than the denoiser's ``own``
    in one direction and no smaller in the other. On any other grid it is the denoiser, which takes it whole."""
    grid = tuple(tokens.shape[1:3])
    larger = len(grid) == 2 and all(side >= least for side, least in zip(grid, own, strict=True))
    if not larger or grid == tuple(own):
        return denoiser
    return Canvas(
        denoiser, (own[0], own[1]), config.stride, config.falloff, config.random_windows, batch_size
    )
