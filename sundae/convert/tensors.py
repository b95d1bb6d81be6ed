"""Tensors that still lie in a file: their shapes are known, their numbers are read one tensor at a time.

A checkpoint holds optimisers, discriminators and other models beside what is wanted; nothing of those is ever read,
and no weight is in memory twice.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

MAX_DIMENSIONS = 8
MAX_MESSAGE = 1000


class Refused(ValueError):
    """A file holds something that is neither tensor nor plain value, or does not hold what it says. The message
    is one line, whatever the names in the file are."""

    def __init__(self, message: str):
        super().__init__("".join(c if c.isprintable() else "?" for c in message)[:MAX_MESSAGE])


@dataclass(frozen=True)
class Storage:
    """A run of numbers in a file."""

    path: Path
    offset: int  # bytes from the start of the file
    count: int  # numbers
    dtype: torch.dtype
    crc: int | None = None  # CRC-32 of the whole run, where the file gives one

    @property
    def nbytes(self) -> int:
        return self.count * self.dtype.itemsize

    def read(self, first: int, count: int) -> Tensor:
        """``count`` numbers from number ``first`` on.

        Raises:
            Refused: if the file is shorter, or a whole run has not the CRC that the file gives.
        """
        buffer = torch.empty(count * self.dtype.itemsize, dtype=torch.uint8)
        view = memoryview(buffer.numpy())  # pyright: ignore[reportArgumentType]
        with open(self.path, "rb") as file:
            file.seek(self.offset + first * self.dtype.itemsize)
            if file.readinto(view) != len(view):
                raise Refused(f"expected {self.path} to hold all its tensors, got a file that is cut short")
        if self.crc is not None and count == self.count and zlib.crc32(view) != self.crc:
            raise Refused(f"expected undamaged tensors in {self.path}, got a wrong checksum")
        return buffer.view(self.dtype)


@dataclass(frozen=True)
class Stored:
    """A tensor in a file.

    Raises:
        Refused: if it does not lie inside its storage, or is larger than that.
    """

    storage: Storage
    shape: tuple[int, ...]
    stride: tuple[int, ...]  # numbers
    first: int = 0  # number of the storage that the tensor begins with
    rows: tuple[int, ...] | None = None  # of a table, those wanted; the shape counts them

    def __post_init__(self) -> None:
        numbers = (*self.shape, *self.stride, self.first)
        if len(self.shape) != len(self.stride) or len(self.shape) > MAX_DIMENSIONS or min(numbers) < 0:
            raise Refused(f"expected the shape and strides of a tensor, got {self.shape} and {self.stride}")
        if self.first + self.span > self.storage.count or (
            self.rows is None and math.prod(self.shape) > self.span
        ):
            raise Refused(
                f"expected a tensor {self.shape} inside its storage of {self.storage.count} numbers, got one outside"
            )

    @property
    def span(self) -> int:
        """Numbers of the storage from the tensor's first to its last."""
        if 0 in self.shape:
            return 0
        sizes = self.shape if self.rows is None else (max(self.rows) + 1, *self.shape[1:])
        return 1 + sum((size - 1) * step for size, step in zip(sizes, self.stride, strict=True))

    def select(self, rows: tuple[int, ...]) -> Stored:
        """The table with these rows alone, in this order."""
        return replace(self, shape=(len(rows), *self.shape[1:]), rows=rows)

    def read(self) -> Tensor:
        """The values, contiguous and in their own dtype; raises Refused as :meth:`Storage.read`."""
        values = self.storage.read(self.first, self.span)
        if self.rows is None:
            return values.as_strided(self.shape, self.stride).contiguous()
        table = values.as_strided((max(self.rows) + 1, *self.shape[1:]), self.stride)
        return table[list(self.rows)]


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of a tensor whose last dimension runs fastest."""
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
