"""Pictures for training: where they come from, and the crops and flips made of them."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}

Box = tuple[float, float, float, float]  # left, top, right and bottom in px


class DamagedPicture(ValueError):
    """A file that cannot be read as a picture; the message names it."""


class PictureSource(Protocol):
    """An indexed set of square pictures, uint8 ``(size, size, 3)``; reading one may raise DamagedPicture."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> np.ndarray: ...

    def name(self, index: int) -> str: ...

    def extent(self, index: int) -> tuple[int, int]:
        """Width and height in px of the upright picture that the square is cut from."""
        ...


def sound_picture(source: PictureSource, index: int) -> np.ndarray:
    """A picture; if it is damaged its name is told and the next one of the same source is taken, so that one bad
    file does not end a long run and a held-out picture never takes its place.

    Raises:
        ValueError: if all are damaged.
    """
    for i in range(len(source)):
        try:
            return source[(index + i) % len(source)]
        except DamagedPicture as error:
            print(f"{error}; the next one is taken", file=sys.stderr, flush=True)
    raise ValueError("expected pictures to train on, found only damaged ones")


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

    def extent(self, index: int) -> tuple[int, int]:
        return self.size, self.size


class FolderSource:
    """Pictures below a folder, in the order of their names, at ``size`` px (shorter side, centre crop), turned
    upright as their EXIF says and brought to 8-bit colours.

    Files that are no pictures are told by name and left out, and so are pictures whose shorter side is below
    ``min_side`` px: enlarged, they would teach what blur looks like. A picture may still turn out to be damaged
    when it is read (:class:`DamagedPicture`).

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
            least = f" of at least {min_side} px" if min_side else ""
            raise ValueError(
                f"expected pictures ({', '.join(sorted(SUFFIXES))}){least} below {root}, "
                f"found {f'{small} smaller ones' if small else 'none'}"
            )
        self.root, self.size = root, size

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> np.ndarray:
        file = self.files[index]
        try:
            with Image.open(file) as picture:
                picture.draft("RGB", (self.size, self.size))
                return centre_square(eight_bit(ImageOps.exif_transpose(picture)), self.size)
        except Exception as error:  # decoders raise nearly every exception there is on damaged data
            raise DamagedPicture(f"damaged picture {file}: {error}") from None

    def name(self, index: int) -> str:
        return str(self.files[index].relative_to(self.root))

    def extent(self, index: int) -> tuple[int, int]:
        with Image.open(self.files[index]) as picture:
            width, height = picture.size
            lies = picture.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
        return (height, width) if lies else (width, height)


def shorter_side(file: Path) -> int | None:
    """Shorter side of a picture in px, by its header; None for a file that is no picture, after telling its name."""
    try:
        with Image.open(file) as picture:
            if picture.mode in ("I", "F"):
                raise ValueError(f"expected 8 or 16 bits per channel, got mode {picture.mode}")
            return min(picture.size)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        print(f"left out {file}: {error}", file=sys.stderr, flush=True)
        return None


def eight_bit(picture: Image.Image) -> Image.Image:
    """The picture in RGB: grey in every channel, alpha ignored. Pillow would clip 16-bit greys to white."""
    if picture.mode.startswith("I;16"):
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    return picture.convert("RGB")


def folder_class(source: PictureSource, index: int) -> str:
    """The class of a picture: the first folder of its name. ValueError if it lies in none."""
    first, *rest = Path(source.name(index)).parts
    if not rest:
        raise ValueError(f"expected every picture in a folder named for its class, got {first}")
    return first


def folder_classes(source: PictureSource) -> list[str]:
    """The classes of all pictures, sorted; as :func:`folder_class`."""
    return sorted({folder_class(source, i) for i in range(len(source))})


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

    def extent(self, index: int) -> tuple[int, int]:
        return self.source.extent(self.indices[index])


def is_here(data: str) -> bool:
    """Whether the pictures that :func:`open_source` is asked for are on this machine; drawn ones always are."""
    return data.startswith("portraits:") or Path(data).exists()


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
    box = square_box(*picture.size)
    return np.asarray(picture.resize((size, size), Image.Resampling.LANCZOS, box=box))


def square_box(width: int, height: int) -> Box:
    """The largest centred square of a picture."""
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


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
        picture = sound_picture(self.source, int(epoch_order(self.seed, epoch, len(self.source))[place]))
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


@dataclass(frozen=True)
class Variation:
    """A change that a picture's tokens cannot tell from a new picture: it is moved by up to half a cell of 32 px,
    up to 4 % larger or smaller, a little brighter or darker and tinted."""

    scale: float
    shift: tuple[float, float]  # px to the right and down
    gains: np.ndarray  # (3,) factor of each colour
    offset: float  # added to every colour

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Variation:
        scale = rng.uniform(0.96, 1.04)
        left, top = rng.uniform(-0.5, 0.5, 2) * 32 / scale
        gains, offset = rng.normal(1, 0.02, 3) * rng.normal(1, 0.04), rng.normal(0, 3)
        return cls(scale, (left, top), gains, offset)

    def frame(self, pixels: np.ndarray) -> tuple[np.ndarray, Box]:
        """``pixels (H, W, ...)`` with a reflected margin, and the part of them that the changed ones show."""
        height, width = pixels.shape[:2]
        box_width, box_height = width / self.scale, height / self.scale
        left, top = self.shift[0] + (width - box_width) / 2, self.shift[1] + (height - box_height) / 2
        pad = 32 + max(height, width) // 24  # px of reflection that a moved picture may show
        margins = ((pad, pad), (pad, pad), *((0, 0) for _ in pixels.shape[2:]))
        box = (left + pad, top + pad, left + pad + box_width, top + pad + box_height)
        return np.pad(pixels, margins, mode="reflect"), box

    def of_picture(self, picture: np.ndarray) -> np.ndarray:
        """uint8 ``(H, W, 3)`` to the same."""
        padded, box = self.frame(picture)
        height, width, _ = picture.shape
        moved = Image.fromarray(padded).resize((width, height), Image.Resampling.BICUBIC, box=box)
        values = np.asarray(moved, np.float32) * self.gains + self.offset
        return np.clip(values, 0, 255).round().astype(np.uint8)

    def of_map(self, labels: np.ndarray) -> np.ndarray:
        """A map of classes ``(H, W)`` moved as its picture is."""
        padded, box = self.frame(labels)
        return nearest(padded, box, *labels.shape)


def nearest(labels: np.ndarray, box: Box, height: int, width: int) -> np.ndarray:
    """The part of a map ``(H, W)`` in a box, resized to ``(height, width)``: each pixel the class at its centre."""
    left, top, right, bottom = box
    rows = top + (np.arange(height) + 0.5) * (bottom - top) / height
    columns = left + (np.arange(width) + 0.5) * (right - left) / width
    return labels[np.ix_(rows.astype(np.int64), columns.astype(np.int64))]
