"""The autoregressive prior: cells in raster order, each predicted from those before it.

Esser et al. 2021, Taming Transformers (arXiv 2012.09841), with the codes of a cell one after the other as in Lee et
al. 2022 (RQ-Transformer), so that a sequence is as long as the grid has cells. What comes after a cell, to its right
and below, is not seen when it is drawn: in a hole the known cells there are kept but do not steer it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sundae.hourglass import (
    CodeHead,
    Table,
    class_labels,
    resize_positions,
    start_normal,
    start_tables,
)
from sundae.layers import CausalBlock, KeyValueCache, place_rotary
from sundae.objective import PriorLoss, draw_cells, unrolled_loss
from sundae.priors.contract import PASSES, Prior
from sundae.priors.filling import Filling, batches, fit_steps
from sundae.priors.likelihood import cell_bits, prepare
from sundae.sampler import SamplerConfig, SampleStep, check_batch_size, check_labels


@dataclass(frozen=True)
class LabelMapConfig:
    """The token grids that a prior is conditioned on: label maps, encoded by a tokenizer of their own.

    Raises:
        ValueError: if a size is not positive.
    """

    codebook_size: int = 0  # codes of the maps' tokenizer; 0 for a prior without label maps
    depth: int = 1  # codes per cell of a map
    grid: tuple[int, int] = (32, 32)  # cells of a map beside tokens on the training grid

    def __post_init__(self) -> None:
        if self.codebook_size < 0 or min(self.depth, *self.grid) < 1:
            raise ValueError(f"expected positive sizes of a label map, got {self}")


@dataclass(frozen=True)
class AutoregressiveConfig:
    """Shape of the transformer.

    Raises:
        ValueError: if a size is not positive, or classes and label maps are both asked for.
    """

    codebook_size: int = 1024  # K
    depth: int = 2  # q: codes per cell
    grid: tuple[int, int] = (32, 32)  # training grid, and how far a cell sees on larger ones
    width: int = 256  # channels
    blocks: int = 6
    mlp_ratio: int = 4
    heads: int = 0  # attention heads; 0 for as many as fill the width
    head_dim: int = 32
    classes: int = 0  # classes that a picture may be asked to have; 0 for none
    label_map: LabelMapConfig = LabelMapConfig()

    def __post_init__(self) -> None:
        sizes = (self.codebook_size, self.depth, self.width, self.blocks, self.mlp_ratio, self.head_dim)
        if min(*sizes, *self.grid) < 1 or min(self.classes, self.heads) < 0:
            raise ValueError(f"expected positive sizes, got {self}")
        if self.classes and self.label_map.codebook_size:
            raise ValueError(
                f"expected classes or label maps, got {self.classes} classes and {self.label_map}"
            )


class View(NamedTuple):
    """The rectangle of a grid, in cells, that is looked at when one of its cells is predicted."""

    top: int
    left: int
    height: int
    width: int

    @property
    def area(self) -> tuple[slice, slice, slice]:
        """Indices of the view in ``(B, h, w, ...)``."""
        rows, columns = slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)
        return slice(None), rows, columns

    def place(self, row: int, column: int) -> int:
        """Index of a cell of the grid in the view's raster order."""
        return (row - self.top) * self.width + column - self.left


def view_of(row: int, column: int, grid: tuple[int, int], reach: tuple[int, int]) -> View:
    """The sliding attention window of a cell: ``reach`` cells high and wide, centred on it and clipped at the
    borders (Esser et al. 2021, section 3.3); the whole grid if that is no larger."""
    sides = [min(side, most) for side, most in zip(grid, reach, strict=True)]
    top, left = (
        min(max(0, place - side // 2), whole - side)
        for place, side, whole in zip((row, column), sides, grid, strict=True)
    )
    return View(top, left, *sides)


def views(grid: tuple[int, int], reach: tuple[int, int]) -> Iterator[tuple[View, slice, slice]]:
    """Every view of a grid, with the rows and columns of the cells that are predicted from it."""
    for _, rows in groupby(range(grid[0]), lambda row: view_of(row, 0, grid, reach).top):
        down = list(rows)
        for _, columns in groupby(range(grid[1]), lambda column: view_of(0, column, grid, reach).left):
            across = list(columns)
            view = view_of(down[0], across[0], grid, reach)
            yield view, slice(down[0], down[-1] + 1), slice(across[0], across[-1] + 1)


class Conditions(NamedTuple):
    """What samples are asked to be."""

    start: Tensor  # (B, width): in the place of a cell before the first one; knows the class
    maps: Tensor | None  # int64 (B, h', w', q'): label maps


def unchanged(
    tokens: Tensor,
    token_mask: Tensor,
    rate: Tensor,
    codebook_size: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The tokens themselves: this prior is trained without noise."""
    return tokens


class Autoregressive(Prior):
    """A causal transformer over the cells of a grid, ``h x w`` of them however many codes a cell has."""

    config: AutoregressiveConfig
    defaults = SamplerConfig(steps=32, temperature_start=1.0, temperature_end=1.0, top_p=0.92)
    corrupt = staticmethod(unchanged)
    corrupts = False
    exact = True
    revises = False

    def __init__(self, config: AutoregressiveConfig):
        super().__init__()
        self.config = config
        width = config.width
        self.embed = nn.ModuleList(Table(config.codebook_size, width, std=0.4) for _ in range(config.depth))
        self.label = Table(config.classes + 1, width, std=0.2)  # the last row: no class asked for
        self.position = nn.Parameter(torch.empty(1, width, *config.grid))
        start_normal(self.position, 0.02)
        maps = config.label_map
        if maps.codebook_size:
            self.map_embed = nn.ModuleList(Table(maps.codebook_size, width, 0.4) for _ in range(maps.depth))
            self.map_position = nn.Parameter(torch.empty(1, width, *maps.grid))
            start_normal(self.map_position, 0.02)
        self.blocks = nn.ModuleList(
            CausalBlock(width, config.head_dim, config.mlp_ratio, config.heads) for _ in range(config.blocks)
        )
        self.head = CodeHead(width, config.codebook_size, config.depth, keeps=False)

    def start_from_codebooks(self, codebooks: Tensor, frequencies: Tensor) -> None:
        """Begin with what the tokenizer knows; see :func:`sundae.hourglass.start_tables`."""
        start_tables(self.embed, self.head, codebooks, frequencies)

    def hidden(self, tokens: Tensor, known: Tensor, labels: Tensor | None = None) -> Tensor:
        """Features of every cell, of which each depends on the cells before it alone.

        Args:
            tokens: int64 ``(B, h, w, q)``.
            known: bool ``(B, h, w)``; not looked at.
            labels: int64 ``(B,)`` classes in [0, classes], where ``classes`` (and None) asks for no class; or
                int64 ``(B, h', w', q')`` label maps, for a prior that is conditioned on them.

        Returns:
            ``(B, h, w, width)``.

        Raises:
            ValueError: if the depth is wrong, or a label or a label map is not what the prior was trained with.
        """
        conditions = self.conditions(tokens, labels)
        batch, h, w, _ = tokens.shape
        pieces = []
        for view, rows, columns in views((h, w), self.config.grid):
            reader = Reader(self, view, (h, w), conditions, remembers=False)
            inside = reader.read(tokens, view.height * view.width).unflatten(1, (view.height, view.width))
            top, left = rows.start - view.top, columns.start - view.left
            part = inside[:, top : top + rows.stop - rows.start, left : left + columns.stop - columns.start]
            pieces.append((part, rows, columns))
        if len(pieces) == 1:
            return pieces[0][0]
        features = pieces[0][0].new_empty(batch, h, w, self.config.width)
        for part, rows, columns in pieces:
            features[:, rows, columns] = part
        return features

    def logits(self, hidden: Tensor, current: Tensor, prefix: Tensor) -> Tensor:
        """Logits ``(N, K)`` of the next code of N chosen cells; see :meth:`sundae.hourglass.CodeHead.forward`."""
        return self.head(hidden, current, prefix)

    def conditions(self, tokens: Tensor, labels: Tensor | None) -> Conditions:
        """Checked classes or label maps of the samples of ``tokens``; raises ValueError as :meth:`hidden`."""
        if tokens.ndim != 4 or tokens.shape[-1] != self.depth:
            raise ValueError(f"expected tokens (B, h, w, {self.depth}), got {tuple(tokens.shape)}")
        maps = self.config.label_map
        if not maps.codebook_size:
            return Conditions(self.label(class_labels(labels, self.config.classes, tokens)), None)
        wanted = (len(tokens), *self.map_grid(tokens.shape[1], tokens.shape[2]), maps.depth)
        if labels is None or labels.shape != wanted:
            got = "none" if labels is None else tuple(labels.shape)
            raise ValueError(f"expected label maps as tokens {wanted}, got {got}")
        if not labels.is_meta and (int(labels.min()) < 0 or int(labels.max()) >= maps.codebook_size):
            raise ValueError(
                f"expected label maps with codes from 0 to {maps.codebook_size - 1}, "
                f"got {int(labels.min())} to {int(labels.max())}"
            )
        return Conditions(self.label(class_labels(None, 0, tokens)), labels)

    def map_grid(self, h: int, w: int) -> tuple[int, int]:
        """Cells of the label map beside tokens on a grid ``h x w``: in proportion to the training grids."""
        own, maps = self.config.grid, self.config.label_map.grid
        return max(1, round(h * maps[0] / own[0])), max(1, round(w * maps[1] / own[1]))

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
        """Cross-entropy of the hidden cells, each given all before it. ``corrupted`` and ``uniforms`` are not used:
        nothing is noise here, and nothing is unrolled."""
        return unrolled_loss(self, tokens, tokens, token_mask, uniforms[:, :0], weights, labels)

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
        """Draw the hidden cells in raster order; ``config.steps`` says in how many parts of equal size they come.

        The states in between do not change what is drawn, except through a temperature that changes with them.
        Samples pass through the network together where they have the same hidden cells. Proportions, re-noising
        and early stopping are SUNDAE's: here a cell is written once. See
        :meth:`sundae.priors.contract.Prior.sample`.
        """
        filling = Filling(tokens, token_mask, config, seeds, self.codebook_size, True, uncertainty)
        check_batch_size(batch_size)
        checked = check_labels(labels, len(filling.counts), tokens.device)
        conditions = self.conditions(filling.tokens, *(checked or (None,)))
        writers = [Writer(self, filling, some, conditions) for some in alike(filling, batch_size)]

        def write(index: int) -> None:
            for writer in writers:
                writer.write(index)

        yield from filling.run(write)

    @torch.no_grad()
    def surprise(
        self,
        tokens: Tensor,
        token_mask: Tensor,
        seeds: int | Sequence[int] = 0,
        passes: int = PASSES,
        labels: Sequence[int] | Tensor | None = None,
    ) -> Tensor:
        """The exact negative log-likelihood: of the tokens if all are hidden, else of what :meth:`sample` writes
        into the hole. Neither the seeds nor ``passes`` matter. See
        :meth:`sundae.priors.contract.Prior.surprise`."""
        truth, mask, _, conditions = prepare(tokens, token_mask, seeds, passes, labels)
        return cell_bits(self, truth, ~mask, mask, truth, *conditions)


class Reader:
    """Runs the transformer over the cells of one view, further and further, in raster order.

    The item in the place of a cell tells of the cell before it and asks for this one: its query turns with the
    place of the one, its key with that of the other. Items of the label map come first.

    Args:
        prior: the network.
        view: where its cells lie.
        grid: height and width of the whole grid.
        conditions: of the samples to be read.
        remembers: keep keys and values, so that a cell is read once however many calls there are; without, all
            cells are read in a single call, through which gradients flow.
    """

    def __init__(
        self,
        prior: Autoregressive,
        view: View,
        grid: tuple[int, int],
        conditions: Conditions,
        remembers: bool = True,
    ):
        self.prior, self.view, self.conditions = prior, view, conditions
        self.cells = 0  # read so far
        device, count = conditions.start.device, view.height * view.width
        self.positions = resize_positions(prior.position, view.height, view.width).flatten(1, 2)
        cells = torch.arange(count, device=device)
        self.asked, self.told = self.turn(cells, view.width), self.turn(cells - 1, view.width)
        self.preface, self.preface_angles = self.read_map(grid)
        length = count + self.preface.shape[1]
        self.caches = [KeyValueCache(length) if remembers else None for _ in prior.blocks]

    def turn(self, cells: Tensor, width: int) -> Tensor:
        """Angles of cells by their raster index: ``(n, head_dim / 2)``."""
        rows, columns = torch.div(cells, width, rounding_mode="floor"), cells % width
        size = self.prior.config.head_dim
        return torch.cat([place_rotary(rows.float(), size), place_rotary(columns.float(), size)], -1)

    def read_map(self, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Items ``(B, n, width)`` and angles ``(n, head_dim / 2)`` of the part of the label map beside the view; n
        is 0 without one. A cell of the map has the position of what it covers, in cells of the view."""
        start, maps = self.conditions
        if maps is None:
            return start[:, None][:, :0], self.asked[:0]
        (top, left), (rows, columns) = (
            [round(place * most / whole) for place, most, whole in zip(places, maps.shape[1:3], grid)]
            for places in ((self.view.top, self.view.left), (self.view.height, self.view.width))
        )
        rows, columns = max(1, rows), max(1, columns)
        part = maps[:, top : top + rows, left : left + columns]
        items = sum(table(part[..., j]) for j, table in enumerate(self.prior.map_embed))
        items = items + resize_positions(self.prior.map_position, *part.shape[1:3])
        size, device = self.prior.config.head_dim, start.device
        down, across = (
            (torch.arange(count, device=device) + 0.5) * side / count - 0.5
            for count, side in zip(part.shape[1:3], (self.view.height, self.view.width))
        )
        down, across = down.repeat_interleave(len(across)), across.repeat(len(down))
        return items.flatten(1, 2), torch.cat([place_rotary(down, size), place_rotary(across, size)], -1)

    def read(self, tokens: Tensor, last: int) -> Tensor:
        """Features ``(B, n, width)`` of the view's cells that are not read yet and come before ``last`` in its raster
        order. Of ``tokens (B, h, w, q)``, the whole grid, the cells from there on are not looked at."""
        first, self.cells = self.cells, last
        before = tokens[self.view.area].flatten(1, 2)[:, max(0, first - 1) : last - 1]
        items = torch.stack([table(before[..., j]) for j, table in enumerate(self.prior.embed)]).sum(0)
        if not first:
            items = torch.cat([self.conditions.start[:, None], items], 1)
        items = items + self.positions[:, first:last]
        asked, told, preface = self.asked[first:last], self.told[first:last], 0
        if not first:
            preface = self.preface.shape[1]
            items = torch.cat([self.preface, items], 1)
            asked, told = (torch.cat([self.preface_angles, angles]) for angles in (asked, told))
        for block, cache in zip(self.prior.blocks, self.caches, strict=True):
            items = block(items, asked, told, cache)
        return items[:, preface:]


class Writer:
    """Draws the cells of some samples that have the same ones to be written."""

    def __init__(self, prior: Autoregressive, filling: Filling, some: list[int], conditions: Conditions):
        self.prior, self.filling, self.some = prior, filling, some
        start, maps = conditions
        self.conditions = Conditions(start[some], None if maps is None else maps[some])
        self.order = filling.written[some[0]].nonzero().tolist()  # rows and columns in raster order
        self.reader: Reader | None = None

    def write(self, index: int) -> None:
        """Step ``index``: the next of the cells."""
        first = self.some[0]
        turn = slice(self.filling.done(first, index - 1), self.filling.done(first, index))
        for row, column in self.order[turn]:
            self.write_cell(row, column, self.filling.temperature(first, index))

    def write_cell(self, row: int, column: int, temperature: float) -> None:
        filling, some, config = self.filling, self.some, self.filling.config
        state = filling.tokens[some]
        grid = (state.shape[1], state.shape[2])
        view = view_of(row, column, grid, self.prior.config.grid)
        if self.reader is None or self.reader.view != view:  # what is remembered belongs to places in a view
            self.reader = Reader(self.prior, view, grid, self.conditions)
        features = self.reader.read(state, view.place(row, column) + 1)[:, -1]
        bits = None if filling.unsure is None else filling.unsure[some, row, column]
        filling.tokens[some, row, column] = draw_cells(
            self.prior,
            features,
            state[:, row, column],
            filling.uniforms[some, row, column],
            temperature,
            config.top_k,
            config.top_p,
            bits,
        )
        if filling.unsure is not None and bits is not None:
            filling.unsure[some, row, column] = bits


def alike(filling: Filling, batch_size: int) -> list[list[int]]:
    """Samples in groups of at most ``batch_size`` that have the same cells to be written."""
    groups: list[list[int]] = []
    for b in range(len(filling.counts)):
        for group in groups:
            if torch.equal(filling.written[group[0]], filling.written[b]):
                group.append(b)
                break
        else:
            groups.append([b])
    return [some for group in groups for some in batches(group, batch_size)]
