"""Token shards on disk, read through memory maps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from train.holes import random_hole


class TokenShards:
    """All grids below a folder written by ``train.encode_dataset``.

    Raises:
        ValueError: if there is no index or no shard.
    """

    def __init__(self, root: Path):
        index = root / "index.json"
        if not index.exists():
            raise ValueError(
                f"expected token shards with an index.json in {root}, found none: run train.encode_dataset first"
            )
        self.index = json.loads(index.read_text())
        self.shards = [np.load(file, mmap_mode="r") for file in sorted(root.glob("tokens-*.npy"))]
        if not self.shards:
            raise ValueError(f"expected token shards in {root}, found none: run train.encode_dataset first")
        self.ends = np.cumsum([len(shard) for shard in self.shards])

    def __len__(self) -> int:
        """Pictures (each with its mirror image)."""
        return int(self.ends[-1])

    def grid(self, picture: int, mirrored: int) -> np.ndarray:
        """int64 ``(h, w, q)``."""
        shard = int(np.searchsorted(self.ends, picture, side="right"))
        start = 0 if shard == 0 else int(self.ends[shard - 1])
        return self.shards[shard][picture - start, mirrored].astype(np.int64)

    def frequencies(self) -> Tensor:
        """Share of each code at each depth, float32 ``(q, K)``, over at most 32 shards."""
        codes, depth = self.index["codebook_size"], self.index["depth"]
        counts = np.zeros((depth, codes))
        for shard in self.shards[:32]:
            for j in range(depth):
                counts[j] += np.bincount(np.asarray(shard[..., j]).ravel(), minlength=codes)
        return torch.from_numpy(counts / counts.sum(1, keepdims=True)).float()


class HoledTokens(Dataset):
    """Item ``i`` is a grid, a hole and a corruption rate, and depends on the seed and ``i`` alone."""

    def __init__(self, shards: TokenShards, seed: int, items: int, full_noise: float):
        self.shards, self.seed, self.items, self.full_noise = shards, seed, items, full_noise

    def __len__(self) -> int:
        return self.items

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """tokens int64 ``(h, w, q)``, hole bool ``(h, w)``, rate float32 ``()``."""
        epoch, place = divmod(index, len(self.shards))
        picture = int(np.random.default_rng((self.seed, epoch)).permutation(len(self.shards))[place])
        rng = np.random.default_rng((self.seed, 1, index))
        tokens = self.shards.grid(picture, int(rng.integers(2)))
        hole = random_hole(*tokens.shape[:2], rng)
        rate = 1.0 if rng.random() < self.full_noise else rng.random()
        return torch.from_numpy(tokens), torch.from_numpy(hole), torch.tensor(rate, dtype=torch.float32)
