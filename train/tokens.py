"""Token shards on disk, read through memory maps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sundae.checkpoint import tensors_hash
from sundae.objective import corrupt
from sundae.tokenizer import PictureTokenizer
from train.data import epoch_order
from train.holes import HoleSettings, random_hole


def tokens_hash(tokenizer: PictureTokenizer) -> str:
    """Identity of the part of a tokenizer that decides tokens: its decoder may be finished without them."""
    deciding = tokenizer.token_modules()
    names = [name for name, module in tokenizer.named_children() if module in deciding]
    state = tokenizer.state_dict()
    return tensors_hash({k: v for k, v in state.items() if k.partition(".")[0] in names})


class TokenShards:
    """All grids in a folder written by ``train.encode_dataset``, and their classes if the pictures had some.

    Raises:
        ValueError: if there is no index or no shard.
    """

    def __init__(self, root: Path):
        self.root, index = root, root / "index.json"
        if not index.exists():
            raise ValueError(
                f"expected token shards with an index.json in {root}, found none: run train.encode_dataset first"
            )
        self.index = json.loads(index.read_text())
        files = sorted(root.glob("tokens-*.npy"))
        self.shards = [np.load(file, mmap_mode="r") for file in files]
        if not self.shards:
            raise ValueError(f"expected token shards in {root}, found none: run train.encode_dataset first")
        self.ends = np.cumsum([len(shard) for shard in self.shards])
        self.classes: int = self.index.get("classes", 0)
        labels = [file.with_name(file.name.replace("tokens-", "labels-", 1)) for file in files]
        self.labels = np.concatenate([np.load(file) for file in labels]) if self.classes else None

    @property
    def codes(self) -> int:
        """K, codes in a book."""
        return self.index["codebook_size"]

    @property
    def twins(self) -> int:
        """Versions of each picture: itself, its mirror image and other augmentations."""
        return self.shards[0].shape[1]

    def __len__(self) -> int:
        """Pictures (each with its mirror image)."""
        return int(self.ends[-1])

    def grid(self, picture: int, mirrored: int) -> np.ndarray:
        """int64 ``(h, w, q)``."""
        shard = int(np.searchsorted(self.ends, picture, side="right"))
        start = 0 if shard == 0 else int(self.ends[shard - 1])
        return self.shards[shard][picture - start, mirrored].astype(np.int64)

    def label(self, picture: int) -> int:
        """The picture's class; 0 for a set without classes."""
        return 0 if self.labels is None else int(self.labels[picture])

    def frequencies(self) -> Tensor:
        """Share of each code at each depth, float32 ``(q, K)``, over at most 32 shards."""
        codes, depth = self.index["codebook_size"], self.index["depth"]
        counts = np.zeros((depth, codes))
        for shard in self.shards[:32]:
            for j in range(depth):
                counts[j] += np.bincount(np.asarray(shard[..., j]).ravel(), minlength=codes)
        return torch.from_numpy(counts / counts.sum(1, keepdims=True)).float()


class HoledTokens(Dataset):
    """Item ``i`` is what one sample of the objective needs, and depends on the seed and ``i`` alone.

    Args:
        shards: the grids.
        holes: where holes lie.
        seed: of everything random.
        items: length of the set.
        full_noise: share of samples whose whole hole is noise; the others have r ~ U(0, 1).
        unroll_steps: T of the chain.
        drop_label: share of samples that see no class, so that the denoiser also learns to do without.
    """

    def __init__(
        self,
        shards: TokenShards,
        holes: HoleSettings,
        seed: int,
        items: int,
        full_noise: float,
        unroll_steps: int,
        drop_label: float = 0.0,
    ):
        self.shards, self.holes, self.seed, self.items = shards, holes, seed, items
        self.full_noise, self.unroll_steps, self.drop_label = full_noise, unroll_steps, drop_label

    def __len__(self) -> int:
        return self.items

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        """tokens int64 ``(h, w, q)``, the same corrupted, hole bool ``(h, w)``, the uniform numbers of the
        chain, float32 ``(T - 1, h, w, q)``, and the class int64 ``()``, one past the last for none."""
        epoch, place = divmod(index, len(self.shards))
        picture = int(epoch_order(self.seed, epoch, len(self.shards))[place])
        rng = np.random.default_rng((self.seed, 1, index))
        mirrored = int(rng.integers(self.shards.twins))
        tokens = torch.from_numpy(self.shards.grid(picture, mirrored))
        hole = torch.from_numpy(random_hole(*tokens.shape[:2], rng, self.holes))
        rate = 1.0 if rng.random() < self.full_noise else rng.random()
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        corrupted = corrupt(tokens[None], hole[None], torch.tensor([rate]), self.shards.codes, generator)[0]
        uniforms = torch.rand((self.unroll_steps - 1, *tokens.shape), generator=generator)
        dropped = rng.random() < self.drop_label
        label = self.shards.classes if dropped else self.shards.label(picture)
        return tokens, corrupted, hole, uniforms, torch.tensor(label)
