"""Pictures for training: where they come from, and the crops and flips made of them."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
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

    Files that are no pictures are told by name and left out, and so are pictures whose shorter side is below
    ``min_side`` px: enlarged, they would teach what blur looks like. A picture that turns out to be damaged when it is
    read is told too, and the one after it takes its place, so that one bad file does not end a long run.

    Raises:
        ValueError: if the folder is missing or holds no such picture.
    """

    def __init__(self, root: Path, size: int, min_side: int = 0):
        if not root.is_dir():
            raise ValueError(f"expected a folder of pictures at {root}, found none")
        found = sorted(p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        sides = [(file, shorter_side(file)) for file in found]
        damaged = sum(side is None for _, side in sides)
        self.files = [file for file, side in sides if side is not None and side >= min_side]
        small = len(found) - damaged - len(self.files)
        if damaged:
            print(f"{damaged} of {len(found)} files are no pictures and left out", flush=True)
        if small:
            print(f"{small} of {len(found)} pictures are smaller than {min_side} px and left out", flush=True)
        if not self.files:
            raise ValueError(
                f"expected pictures ({', '.join(sorted(SUFFIXES))}) of at least {min_side} px below {root}, "
                f"found {f'{small} smaller ones' if small else 'none'}"
            )
        self.root, self.size = root, size

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> np.ndarray:
        for i in range(len(self.files)):
            file = self.files[(index + i) % len(self.files)]
            try:
                with Image.open(file) as picture:
                    picture.draft("RGB", (self.size, self.size))
                    return centre_square(picture.convert("RGB"), self.size)
            except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
                print(f"damaged picture {file}: {error}; the next one is taken", file=sys.stderr, flush=True)
        raise ValueError(f"expected pictures below {self.root}, found only damaged ones")

    def name(self, index: int) -> str:
        return str(self.files[index].relative_to(self.root))


def shorter_side(file: Path) -> int | None:
    """Shorter side of a picture in px, by its header; None for a file that is no picture, after telling its name."""
    try:
        with Image.open(file) as picture:
            return min(picture.size)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        print(f"left out {file}: {error}", file=sys.stderr, flush=True)
        return None


def folder_classes(source: PictureSource) -> tuple[list[str], Callable[[int], int]]:
    """Class names, sorted, and the class of a picture: the first folder of its name.

    Raises:
        ValueError: if a picture lies in no folder.
    """
    folders = [Path(source.name(i)).parts[:-1] for i in range(len(source))]
    if not all(folders):
        raise ValueError(
            f"expected every picture in a folder named for its class, got {source.name(folders.index(()))}"
        )
    names = sorted({folder[0] for folder in folders})
    return names, lambda index: names.index(folders[index][0])


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


def open_source(data: str, size: int, min_side: int = 0) -> PictureSource:
    """``portraits:FIRST:COUNT`` or a folder, of which pictures below ``min_side`` px are left out.

    Raises:
        ValueError: if it is neither.
    """
    if not data.startswith("portraits:"):
        return FolderSource(Path(data), size, min_side)
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


@lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, pictures: int) -> np.ndarray:
    """Every picture once, in an order of its own for each epoch: int64 ``(pictures,)``."""
    return np.random.default_rng((seed, epoch)).permutation(pictures)


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
        self,
        source: PictureSource,
        crop: int,
        per_picture: int,
        seed: int,
        items: int,
        eye_share: float,
        eye_weight: float = 0.0,
    ):
        self.source, self.crop, self.per_picture = source, crop, per_picture
        self.seed, self.items = seed, items
        self.eye_share, self.eye_weight = eye_share, eye_weight

    def __len__(self) -> int:
        return self.items

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Crops float32 ``(per_picture, 3, crop, crop)`` in [-1, 1], and how much each pixel matters,
        ``(per_picture, 1, crop, crop)``: 1, and up to ``eye_weight`` more near the eyes."""
        epoch, place = divmod(index, len(self.source))
        picture = self.source[int(epoch_order(self.seed, epoch, len(self.source))[place])]
        rng = np.random.default_rng((self.seed, 1, index))
        crops, weights = zip(*(self.one(picture, rng) for _ in range(self.per_picture)))
        return to_tensor(np.stack(crops)), torch.from_numpy(np.stack(weights)[:, None])

    def one(self, picture: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """One crop, uint8 ``(crop, crop, 3)``, with its weights, float32 ``(crop, crop)``."""
        h, w, _ = picture.shape
        centre = self.centre(rng)
        top = int(np.clip(centre[0] * h - self.crop / 2, 0, h - self.crop))
        left = int(np.clip(centre[1] * w - self.crop / 2, 0, w - self.crop))
        patch = picture[top : top + self.crop, left : left + self.crop]
        weight = self.weights(top, left, h, w)
        mirrored = slice(None, None, -1 if rng.random() < 0.5 else 1)
        return patch[:, mirrored], np.ascontiguousarray(weight[:, mirrored])

    def weights(self, top: int, left: int, h: int, w: int) -> np.ndarray:
        """Weights of the crop at ``(top, left)``: a bell around each eye that reaches the frame of glasses."""
        y = (np.arange(top, top + self.crop)[:, None] + 0.5) / h
        x = (np.arange(left, left + self.crop)[None] + 0.5) / w
        bells = [np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * 0.05**2)) for row, column in self.eyes]
        return (1 + self.eye_weight * np.maximum(*bells)).astype(np.float32)

    def centre(self, rng: np.random.Generator) -> np.ndarray:
        """Row and column of a crop's centre, as shares of height and width."""
        if rng.random() < self.eye_share:
            return rng.normal(self.eyes[rng.integers(2)], 0.04)
        return rng.normal((0.45, 0.5), (0.17, 0.15)) if rng.random() < 0.75 else rng.random(2)


def to_tensor(pictures: np.ndarray) -> Tensor:
    """uint8 ``(B, H, W, 3)`` to float32 ``(B, 3, H, W)`` in [-1, 1]."""
    return torch.tensor(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def vary(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A version of a picture that its tokens cannot tell from a new one: moved by up to half a cell of 32 px,
    up to 4 % larger or smaller, a little brighter or darker and tinted. uint8 ``(H, W, 3)`` to the same."""
    height, width, _ = picture.shape
    scale = rng.uniform(0.96, 1.04)
    left, top = rng.uniform(-0.5, 0.5, 2) * 32 / scale
    box_width, box_height = width / scale, height / scale
    left, top = left + (width - box_width) / 2, top + (height - box_height) / 2
    pad = 32 + max(height, width) // 24  # px of reflection that a moved picture may show
    padded = np.pad(picture, ((pad, pad), (pad, pad), (0, 0)), mode="reflect")
    box = (left + pad, top + pad, left + pad + box_width, top + pad + box_height)
    moved = Image.fromarray(padded).resize((width, height), Image.Resampling.BICUBIC, box=box)
    gains, offset = rng.normal(1, 0.02, 3) * rng.normal(1, 0.04), rng.normal(0, 3)
    return np.clip(np.asarray(moved, np.float32) * gains + offset, 0, 255).round().astype(np.uint8)
