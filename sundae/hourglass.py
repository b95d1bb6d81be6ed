"""The denoiser, a 2D-aware hourglass transformer over a grid of tokens, and with it SUNDAE, the default prior.

Hourglass transformers: Nawrot et al. 2021; on VQ-GAN grids with 2-D resampling: McKinney & Willcocks 2022.
Shortened levels merge ``r x r`` blocks of cells (true 2-D neighbours), and every level keeps a shortcut.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from sundae.layers import Block, axial_rotary
from sundae.priors.chain import ChainPrior
from sundae.sampler import SamplerConfig


@dataclass(frozen=True)
class LevelConfig:
    """One resolution of the hourglass.

    Raises:
        ValueError: if a size is not positive or the attention is unknown.
    """

    width: int  # channels
    depth: int  # blocks on the way down; as many again on the way up, except at the innermost level
    attention: str = "global"  # "global", or "axial": rows and columns in turn
    mlp_ratio: int = 4
    merge: int = 2  # this level's cells per side that become one cell of the next level
    heads: int = 0  # attention heads; 0 for as many as fill the width
    mirror: bool = False  # each cell also sees the one across the vertical middle line: faces are symmetric

    def __post_init__(self) -> None:
        if min(self.width, self.depth, self.mlp_ratio, self.merge) < 1 or self.heads < 0:
            raise ValueError(f"expected positive sizes in a level, got {self}")
        if self.attention not in ("global", "axial"):
            raise ValueError(f"expected attention 'global' or 'axial', got {self.attention!r}")


@dataclass(frozen=True)
class HourglassConfig:
    """Shape of the denoiser; ``levels`` go from the token grid inwards.

    Raises:
        ValueError: if there is no level or a size is not positive.
    """

    codebook_size: int = 1024  # K
    depth: int = 2  # q: codes per cell
    grid: tuple[int, int] = (32, 32)  # training grid; the learned positions are resized to any other
    levels: tuple[LevelConfig, ...] = (
        LevelConfig(128, 2, "axial", mlp_ratio=2),
        LevelConfig(256, 6, "global"),
    )
    head_dim: int = 32
    classes: int = 0  # classes that a picture may be asked to have; 0 for an unconditional prior

    def __post_init__(self) -> None:
        if (
            not self.levels
            or min(self.codebook_size, self.depth, self.head_dim, *self.grid) < 1
            or self.classes < 0
        ):
            raise ValueError(f"expected at least one level and positive sizes, got {self}")


class Stage(nn.ModuleList):
    """A run of blocks at one resolution."""

    def __init__(self, level: LevelConfig, head_dim: int, first: int = 0):
        kinds = ("row", "column") if level.attention == "axial" else ("global",)
        super().__init__(
            Block(level.width, head_dim, kinds[(first + i) % len(kinds)], level.mlp_ratio, level.heads)
            for i in range(level.depth)
        )

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        for block in self:
            x = block(x, angles)
        return x


class MirrorLink(nn.Linear):
    """Adds to each cell a linear map of the cell across the vertical middle line; begins as if it were not there.

    Attention finds what lies at the same distance everywhere. The other eye does not: how far it is depends on
    where one stands, and a small network is slow to learn that.
    """

    def __init__(self, width: int):
        super().__init__(width, width, bias=False)
        nn.init.zeros_(self.weight)

    def forward(self, input: Tensor) -> Tensor:
        """``(B, h, w, width)`` to the same."""
        return input + super().forward(input.flip(2))


def mirror_links(levels: Sequence[LevelConfig]) -> nn.ModuleList:
    """One link per level that asks for it; the others pass their grid on."""
    return nn.ModuleList(MirrorLink(level.width) if level.mirror else nn.Identity() for level in levels)


def start_normal(parameter: Tensor, std: float) -> None:
    """Draw a parameter from N(0, std^2), unless it is on the meta device: weights are assigned later there, and
    drawing would make torch import its compiler, which takes longer than loading the model."""
    if not parameter.is_meta:
        nn.init.normal_(parameter, std=std)


class Table(nn.Embedding):
    """An embedding that starts normal with a given deviation."""

    def __init__(self, rows: int, width: int, std: float):
        super().__init__(rows, width)
        start_normal(self.weight, std)

    def reset_parameters(self) -> None:
        """Nothing: the deviation is known only after the parent is built."""


class CodeHead(nn.Module):
    """Logits of a cell's codes, one depth after the other.

    Residual codes depend on each other: the second describes what the first left over. Predicted at once
    they would be independent given the grid, and the second could hardly be learned (its cross-entropy stayed
    at the unigram's in the prototype). So code ``j`` is predicted given the cell's codes before it, as in the
    depth transformer of Lee et al. 2022 (RQ-Transformer), with a small MLP in its place.

    Args:
        width: channels of a cell.
        codebook_size: K.
        depth: q.
        keeps: whether the cells asked for hold codes that they may keep.
    """

    def __init__(self, width: int, codebook_size: int, depth: int, keeps: bool = True):
        super().__init__()
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(depth))
        self.classifiers = nn.ModuleList(nn.Linear(width, codebook_size) for _ in range(depth))
        self.prefix = nn.ModuleList(Table(codebook_size, width, std=0.5) for _ in range(depth - 1))
        self.prefix_mlp = nn.ModuleList(
            nn.Sequential(
                nn.RMSNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
            )
            for _ in range(depth - 1)
        )
        self.keep = nn.ModuleList(nn.Linear(width, 1) for _ in range(depth if keeps else 0))
        for layer in self.keep:
            nn.init.zeros_(layer.get_parameter("weight"))
            nn.init.constant_(layer.get_parameter("bias"), 2.0)

    def forward(self, hidden: Tensor, current: Tensor, prefix: Tensor) -> Tensor:
        """Logits of code ``j = prefix.shape[1]``.

        Args:
            hidden: ``(N, width)`` features of N cells.
            current: int64 ``(N, q)`` codes now in these cells; the logit of the present code gets a learned
                bonus, so that keeping it need not pass through the whole network. Not looked at if the head
                was made without ``keeps``.
            prefix: int64 ``(N, j)`` codes already drawn for the cell.

        Returns:
            ``(N, K)`` logits.
        """
        j = prefix.shape[1]
        for i in range(j):
            context = hidden + self.prefix[i](prefix[:, i])
            hidden = context + self.prefix_mlp[i](context)
        hidden = self.norms[j](hidden)
        logits = self.classifiers[j](hidden)
        if not self.keep:
            return logits
        keep = self.keep[j](hidden)
        same = (prefix == current[:, :j]).all(
            1, keepdim=True
        )  # a residual code has meaning after its prefix only
        return logits.scatter_add(1, current[:, j : j + 1], (keep * same).to(logits.dtype))


class Hourglass(ChainPrior):
    """Tokens and known cells in, logits out, for any grid ``h x w``.

    ``hidden`` runs the trunk once; ``logits`` is then asked only for the cells that matter. As a prior it is SUNDAE.

    Args:
        config: its shape.
        mask_code: let the code K stand for a cell that is not there yet; logits are then asked of such cells only.
    """

    config: HourglassConfig
    defaults = SamplerConfig()

    def __init__(self, config: HourglassConfig, mask_code: bool = False):
        super().__init__()
        self.config = config
        outer, h, w = config.levels[0].width, *config.grid
        codes = config.codebook_size + mask_code
        self.embed = nn.ModuleList(Table(codes, outer, std=0.4) for _ in range(config.depth))
        self.known = Table(2, outer, std=0.2)  # row 1: the cell is known; all rows 0 is the paper's SUNDAE
        if config.classes:  # the last row: no class asked for
            self.label = Table(config.classes + 1, outer, std=0.2)
        self.position = nn.Parameter(torch.empty(1, outer, h, w))
        start_normal(self.position, 0.02)
        self.down = nn.ModuleList(Stage(level, config.head_dim) for level in config.levels)
        self.up = nn.ModuleList(Stage(level, config.head_dim, level.depth) for level in config.levels[:-1])
        self.mirror_down, self.mirror_up = mirror_links(config.levels), mirror_links(config.levels[:-1])
        pairs = list(zip(config.levels[:-1], config.levels[1:], strict=True))
        self.merge = nn.ModuleList(nn.Linear(a.width * a.merge**2, b.width) for a, b in pairs)
        self.split = nn.ModuleList(nn.Linear(b.width, a.width * a.merge**2) for a, b in pairs)
        self.split_norm = nn.ModuleList(nn.RMSNorm(b.width) for _, b in pairs)
        self.head = CodeHead(outer, config.codebook_size, config.depth, keeps=not mask_code)

    def start_from_codebooks(self, codebooks: Tensor, frequencies: Tensor) -> None:
        """Begin with what the tokenizer knows; see :func:`start_tables`."""
        start_tables(self.embed, self.head, codebooks, frequencies)

    def hidden(self, tokens: Tensor, known: Tensor, labels: Tensor | None = None) -> Tensor:
        """Features of every cell.

        Args:
            tokens: int64 ``(B, h, w, q)``.
            known: bool ``(B, h, w)``, True where the token is certain. All False for whole pictures.
            labels: int64 ``(B,)`` classes in [0, classes], where ``classes`` (and None) asks for no class.

        Returns:
            ``(B, h, w, width)``.

        Raises:
            ValueError: if the depth or the two shapes disagree, or a label is out of range.
        """
        if tokens.ndim != 4 or tokens.shape[-1] != self.depth or known.shape != tokens.shape[:3]:
            raise ValueError(
                f"expected tokens (B, h, w, {self.depth}) and known (B, h, w), got {tuple(tokens.shape)} and {tuple(known.shape)}"
            )
        _, h, w, _ = tokens.shape
        x = sum(table(tokens[..., j]) for j, table in enumerate(self.embed)) + self.known(known.long())
        if self.config.classes or labels is not None:
            chosen = class_labels(labels, self.config.classes, x)
            x = x + self.label(chosen)[:, None, None]
        x, pad = pad_grid(
            x + self.positions(h, w), math.prod(level.merge for level in self.config.levels[:-1])
        )
        skips = []
        for i, stage in enumerate(self.down):
            x = stage(self.mirror_down[i](x), self.angles(x))
            if i < len(self.merge):
                skips.append(x)
                r = self.config.levels[i].merge
                x = self.merge[i](rearrange(x, "b (h r) (w s) d -> b h w (r s d)", r=r, s=r))
        for i in reversed(range(len(self.up))):
            r = self.config.levels[i].merge
            x = self.split[i](self.split_norm[i](x))
            x = skips[i] + rearrange(x, "b h w (r s d) -> b (h r) (w s) d", r=r, s=r)
            x = self.up[i](self.mirror_up[i](x), self.angles(x))
        return x[:, :h, :w] if pad else x

    def logits(self, hidden: Tensor, current: Tensor, prefix: Tensor) -> Tensor:
        """Logits ``(N, K)`` of the next code of N chosen cells; see :meth:`CodeHead.forward`."""
        return self.head(hidden, current, prefix)

    def positions(self, h: int, w: int) -> Tensor:
        """The learned absolute positions on this grid, ``(1, h, w, width)``."""
        return resize_positions(self.position, h, w)

    def angles(self, x: Tensor) -> Tensor:
        return axial_rotary(x.shape[1], x.shape[2], self.config.head_dim, x.device)


@torch.no_grad()
def start_tables(embed: nn.ModuleList, head: CodeHead, codebooks: Tensor, frequencies: Tensor) -> None:
    """Begin with what the tokenizer knows: codes that look alike get embeddings and classifiers that are alike (a
    random projection of the code vectors), and biases at the unigram log-frequencies.

    Args:
        embed: a table of at least K rows for each code of a cell.
        head: what predicts the codes.
        codebooks: ``(q, K, e)`` code vectors.
        frequencies: ``(q, K)`` share of each code in the training tokens.
    """
    depth, codes, size = codebooks.shape
    scale = codebooks[0].std(0)
    project = torch.randn(size, embed[0].get_parameter("weight").shape[1])
    for j in range(depth):
        vectors = ((codebooks[j] - codebooks[j].mean(0)) / scale) @ project
        spread = vectors.std().clamp(min=1e-6)
        embed[j].get_parameter("weight")[:codes].copy_(vectors * (0.5 if j == 0 else 0.3) / spread)
        head.classifiers[j].get_parameter("weight").copy_(vectors * 0.05 / spread)
        head.classifiers[j].get_parameter("bias").copy_((frequencies[j] + 1e-5).log())
        if j + 1 < depth:
            head.prefix[j].get_parameter("weight").copy_(vectors * 0.5 / spread)


def class_labels(labels: Tensor | None, classes: int, x: Tensor) -> Tensor:
    """Labels int64 ``(B,)`` for the samples of ``x`` and on its device, where ``classes`` asks for none.

    Labels that lie on a GPU are taken as they are while gradients are computed: to read them back would make every
    training step wait. They are to be checked before they get there, as a data set can.

    Raises:
        ValueError: if they are no classes.
    """
    if labels is None:
        return torch.full(x.shape[:1], classes, device=x.device)
    if not classes:
        raise ValueError("expected no class labels: this prior was trained without classes")
    if labels.shape != x.shape[:1]:
        raise ValueError(f"expected {len(x)} labels from 0 to {classes}, got {tuple(labels.shape)} of them")
    at_hand = labels.device.type == "cpu" or not torch.is_grad_enabled()
    if at_hand and (int(labels.min()) < 0 or int(labels.max()) > classes):
        raise ValueError(
            f"expected {len(x)} labels from 0 to {classes} ({classes} = none), got {labels.tolist()}"
        )
    return labels.to(x.device)


def resize_positions(table: Tensor, h: int, w: int) -> Tensor:
    """A learned table of absolute positions ``(1, width, H, W)`` on another grid: ``(1, h, w, width)``. Faces are
    aligned, so the place of a cell says much about it; the rotary angles give what is relative."""
    if table.shape[2:] != (h, w):
        table = F.interpolate(table, size=(h, w), mode="bilinear", align_corners=False)
    return table.permute(0, 2, 3, 1)


def pad_grid(x: Tensor, multiple: int) -> tuple[Tensor, bool]:
    """Repeat the last row and column of ``x (B, h, w, d)`` until both sides are multiples of ``multiple``."""
    h, w = x.shape[1:3]
    rows, columns = -h % multiple, -w % multiple
    if not rows and not columns:
        return x, False
    padded = F.pad(x.permute(0, 3, 1, 2), (0, columns, 0, rows), mode="replicate")
    return padded.permute(0, 2, 3, 1), True
