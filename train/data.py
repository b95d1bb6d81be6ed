"""Pictures for training: where they come from, and the crops and flips made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}


class PictureSource(Protocol):
    """An indexed set of pictures, uint8 ``(H, W, 3)``."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> np.ndarray: ...

    def name(self, index: int) -> str: ...


class PortraitSource:
    """Drawn portraits of the seeds ``first .. first + count - 1``: endless, and free of any licence."""

    def __init__(self, first: int, count: int, size: int):
        self.first, self.count, self.size = first, count, size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> np.ndarray:
        from train import portraits  # skia is a training dependency: a folder of pictures works without it

        return portraits.draw(self.first + index, size=self.size).image

    def name(self, index: int) -> str:
        return f"portrait-{self.first + index}"


class FolderSource:
    """Pictures below a folder, in the order of their names, at ``size`` px (shorter side, centre crop).

    Raises:
        ValueError: if the folder is missing or holds no picture.
    """

    def __init__(self, root: Path, size: int):
        if not root.is_dir():
            raise ValueError(f"expected a folder of pictures at {root}, found none")
        self.files = sorted(p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES)
        if not self.files:
            raise ValueError(f"expected pictures ({', '.join(sorted(SUFFIXES))}) below {root}, found none")
        self.root, self.size = root, size

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> np.ndarray:
        with Image.open(self.files[index]) as picture:
            picture.draft("RGB", (self.size, self.size))
            return centre_square(picture.convert("RGB"), self.size)

    def name(self, index: int) -> str:
        return str(self.files[index].relative_to(self.root))


class Subset:
    """Some pictures of a source."""

    def __init__(self, source: PictureSource, indices: Sequence[int]):
        self.source, self.indices = source, list(indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.source[self.indices[index]]

    def name(self, index: int) -> str:
        return self.source.name(self.indices[index])


def open_source(data: str, size: int) -> PictureSource:
    """``portraits:FIRST:COUNT`` or a folder.

    Raises:
        ValueError: if it is neither.
    """
    if not data.startswith("portraits:"):
        return FolderSource(Path(data), size)
    try:
        first, count = (int(part) for part in data.split(":")[1:])
    except ValueError:
        raise ValueError(f"expected data 'portraits:FIRST:COUNT' or a folder, got {data!r}") from None
    return PortraitSource(first, count, size)


def split(source: PictureSource, held_out: float) -> tuple[Subset, Subset]:
    """Training and held-out pictures, by a hash of each picture's name: the same for ever, whatever else is
    in the folder, and every crop and flip of a picture stays on its side."""
    digests = [hashlib.sha256(source.name(i).encode()).digest() for i in range(len(source))]
    out = [i for i, digest in enumerate(digests) if int.from_bytes(digest[:4], "big") < held_out * 2**32]
    chosen = set(out)
    return Subset(source, [i for i in range(len(source)) if i not in chosen]), Subset(source, out)


def centre_square(picture: Image.Image, size: int) -> np.ndarray:
    """The largest centred square of ``picture``, resized to ``size``: uint8 ``(size, size, 3)``."""
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    box = (left, top, left + side, top + side)
    return np.asarray(picture.resize((size, size), Image.Resampling.LANCZOS, box=box))


class RandomCrops(Dataset):
    """Endless crops for the tokenizer: item ``i`` is ``per_picture`` crops of one picture, and depends on
    the seed and ``i`` alone, so that a resumed run sees what an unbroken one would have seen.

    Crops gather around the eyes and the face: these are small and matter most, and a code is spent on what is
    often seen (without this, irises changed their colour).
    """

    eyes = (
        (0.469, 0.398),
        (0.469, 0.602),
    )  # row and column of the eyes of an aligned face, in heights and widths

    def __init__(
        self, source: PictureSource, crop: int, per_picture: int, seed: int, items: int, eye_share: float
    ):
        self.source, self.crop, self.per_picture = source, crop, per_picture
        self.seed, self.items, self.eye_share = seed, items, eye_share

    def __len__(self) -> int:
        return self.items

    def __getitem__(self, index: int) -> Tensor:
        """float32 ``(per_picture, 3, crop, crop)`` in [-1, 1]."""
        epoch, place = divmod(index, len(self.source))
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.source))
        picture = self.source[int(order[place])]
        rng = np.random.default_rng((self.seed, 1, index))
        return to_tensor(np.stack([self.one(picture, rng) for _ in range(self.per_picture)]))

    def one(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        h, w, _ = picture.shape
        centre = self.centre(rng)
        top = int(np.clip(centre[0] * h - self.crop / 2, 0, h - self.crop))
        left = int(np.clip(centre[1] * w - self.crop / 2, 0, w - self.crop))
        patch = picture[top : top + self.crop, left : left + self.crop]
        return patch[:, ::-1] if rng.random() < 0.5 else patch

    def centre(self, rng: np.random.Generator) -> np.ndarray:
        """Row and column of a crop's centre, as shares of height and width."""
        if rng.random() < self.eye_share:
            return rng.normal(self.eyes[rng.integers(2)], 0.04)
        return rng.normal((0.45, 0.5), (0.17, 0.15)) if rng.random() < 0.75 else rng.random(2)


def to_tensor(pictures: np.ndarray) -> Tensor:
    """uint8 ``(B, H, W, 3)`` to float32 ``(B, 3, H, W)`` in [-1, 1]."""
    return torch.tensor(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
