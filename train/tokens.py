"""Token shards on disk, read through memory maps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sundae.checkpoint import tensors_hash
from sundae.objective import corrupt as corrupt_uniformly
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
    """All grids in a folder written by ``train.encode_dataset``, and their classes and label maps if the pictures
    had some.

    Raises:
        ValueError: if there is no index or no grid, or the files are damaged or do not belong together.
    """

    def __init__(self, root: Path):
        self.root, self.index = root, read_index(root)
        files = sorted(root.glob("tokens-*.npy"))
        self.shards = [load_array(file) for file in files]
        if not sum(map(len, self.shards)):
            raise ValueError(f"expected token shards in {root}, found none: run train.encode_dataset first")
        self.ends = np.cumsum([len(shard) for shard in self.shards])
        self.classes: int = self.index.get("classes", 0)
        self.labels = self.load_labels(files) if self.classes else None
        self.map_classes: int = self.index.get("map_classes", 0)
        self.maps = self.load_maps(files) if self.map_classes else None

    def load_labels(self, files: list[Path]) -> np.ndarray:
        """The class of every picture, int64 ``(N,)``, from the files beside these shards."""
        parts = []
        for file, shard in zip(files, self.shards, strict=True):
            beside = file.with_name(file.name.replace("tokens-", "labels-", 1))
            labels = load_array(beside)
            wrong = labels[(labels < 0) | (labels >= self.classes)]
            if len(labels) != len(shard) or len(wrong):
                among = f", among them {wrong[0]}" if len(wrong) else ""
                raise ValueError(
                    f"expected {len(shard)} class labels from 0 to {self.classes - 1} in {beside}, "
                    f"got {len(labels)}{among}: delete {file.name} and encode again"
                )
            parts.append(labels)
        return np.concatenate(parts)

    def load_maps(self, files: list[Path]) -> list[np.ndarray]:
        """The label maps beside these shards, each uint16 ``(n, versions, h, w)``."""
        maps = []
        for file, shard in zip(files, self.shards, strict=True):
            beside = file.with_name(file.name.replace("tokens-", "maps-", 1))
            maps.append(load_array(beside))
            if maps[-1].shape != shard.shape[:4]:
                raise ValueError(
                    f"expected label maps {shard.shape[:4]} in {beside}, got {maps[-1].shape}: "
                    f"delete {file.name} and encode again"
                )
        return maps

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

    def grid(self, picture: int, version: int) -> np.ndarray:
        """int64 ``(h, w, q)``; ValueError if a token is none of the codebook's."""
        return self.one(self.shards, picture, version, self.codes, "tokens")

    def label_map(self, picture: int, version: int) -> np.ndarray:
        """The class of each cell of :meth:`grid`, int64 ``(h, w)`` in [0, map_classes).

        Raises:
            ValueError: if the pictures were encoded without label maps, or a value is no class.
        """
        if self.maps is None:
            raise ValueError(f"expected tokens with label maps in {self.root}: encode with --label_maps")
        return self.one(self.maps, picture, version, self.map_classes, "label map values")

    def one(self, shards: list[np.ndarray], picture: int, version: int, limit: int, what: str) -> np.ndarray:
        """One version of one picture in int64, checked to lie below ``limit``."""
        shard = int(np.searchsorted(self.ends, picture, side="right"))
        start = 0 if shard == 0 else int(self.ends[shard - 1])
        values = shards[shard][picture - start, version].astype(np.int64)
        if values.max() >= limit:
            raise ValueError(
                f"expected {what} below {limit} in {self.root}, got {values.max()}: encode again"
            )
        return values

    def label(self, picture: int) -> int:
        """The picture's class; 0 for a set without classes."""
        return 0 if self.labels is None else int(self.labels[picture])

    def condition(self, picture: int, version: int, label_maps: bool) -> Tensor:
        """What a prior may be told of a picture: its label map as a token grid, int64 ``(h, w, 1)``, or its class,
        int64 ``()``."""
        if label_maps:
            return torch.from_numpy(self.label_map(picture, version))[..., None]
        return torch.tensor(self.label(picture))

    def counts(self) -> np.ndarray:
        """How often each code comes at each depth, int64 ``(q, K)``, over at most 32 shards; ValueError if a
        token is none of the codebook's."""
        counts = np.zeros((self.index["depth"], self.codes), np.int64)
        for shard in [shard for shard in self.shards if len(shard)][:32]:
            if int(shard.max()) >= self.codes:
                raise ValueError(
                    f"expected tokens below {self.codes} in {self.root}, got {shard.max()}: encode again"
                )
            for j, count in enumerate(counts):
                count += np.bincount(np.asarray(shard[..., j]).ravel(), minlength=self.codes)
        return counts

    def frequencies(self) -> Tensor:
        """Share of each code at each depth, float32 ``(q, K)``, over at most 32 shards."""
        counts = self.counts()
        return torch.from_numpy(counts / counts.sum(1, keepdims=True)).float()


def read_index(root: Path) -> dict[str, Any]:
    """What ``index.json`` in a folder of shards says; ValueError if it is missing or damaged."""
    try:
        index = json.loads((root / "index.json").read_text())
    except FileNotFoundError:
        raise ValueError(
            f"expected token shards with an index.json in {root}, found none: run train.encode_dataset first"
        ) from None
    except ValueError as error:
        raise ValueError(f"expected JSON in {root / 'index.json'}: {error}: encode again") from None
    for name in ("tokenizer", "depth", "codebook_size"):
        if name not in index:
            raise ValueError(f"expected {name} in {root / 'index.json'}, found none: encode again")
    return index


def load_array(file: Path) -> np.ndarray:
    """An array on the disk, memory-mapped; ValueError if the file is missing or damaged."""
    try:
        return np.load(file, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        shard = f"tokens-{file.name.partition('-')[2]}"
        raise ValueError(
            f"expected an array in {file}: {reason}: delete {shard} there and encode again"
        ) from None


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
        corrupt: the prior's noise, :meth:`sundae.priors.contract.Prior.corrupt`; by default SUNDAE's.
        label_maps: give the label map in place of the class; none is dropped.
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
        corrupt: Callable[..., Tensor] = corrupt_uniformly,
        label_maps: bool = False,
    ):
        self.shards, self.holes, self.seed, self.items = shards, holes, seed, items
        self.full_noise, self.unroll_steps, self.drop_label = full_noise, unroll_steps, drop_label
        self.corrupt, self.label_maps = corrupt, label_maps

    def __len__(self) -> int:
        return self.items

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        """tokens int64 ``(h, w, q)``, the same corrupted, hole bool ``(h, w)``, the uniform numbers of the
        chain, float32 ``(T - 1, h, w, q)``, and the class int64 ``()``, one past the last for none, or the label
        map int64 ``(h, w, 1)``."""
        epoch, place = divmod(index, len(self.shards))
        picture = int(epoch_order(self.seed, epoch, len(self.shards))[place])
        rng = np.random.default_rng((self.seed, 1, index))
        mirrored = int(rng.integers(self.shards.twins))
        tokens = torch.from_numpy(self.shards.grid(picture, mirrored))
        hole = torch.from_numpy(random_hole(*tokens.shape[:2], rng, self.holes))
        rate = 1.0 if rng.random() < self.full_noise else rng.random()
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        rates = torch.tensor([rate])
        corrupted = self.corrupt(tokens[None], hole[None], rates, self.shards.codes, generator)[0]
        uniforms = torch.rand((self.unroll_steps - 1, *tokens.shape), generator=generator)
        dropped = rng.random() < self.drop_label
        label = self.shards.condition(picture, mirrored, self.label_maps)
        if dropped and not self.label_maps:
            label = torch.tensor(self.shards.classes)
        return tokens, corrupted, hole, uniforms, label
