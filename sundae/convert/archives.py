"""Files of weights: PyTorch's zip archives, its older plain files, and safetensors. Only indexes are read."""

from __future__ import annotations

import io
import json
import math
import os
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

import torch

from sundae.convert.pickled import MAX_PICKLE, Named, read_pickle
from sundae.convert.tensors import Refused, Storage, Stored, contiguous

MAGIC = 0x1950A86A20F9469CFC6C  # first pickle of a plain file
PROTOCOL = 1001  # second pickle
SAFETENSORS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
MAX_HEADER = 25_000_000  # bytes; those of large models are below one million


def read_archive(path: Path) -> Any:
    """What a file of weights holds, its tensors as :class:`Stored`.

    Raises:
        Refused: if it is none, is damaged, or asks for something that is no tensor and no plain container.
    """
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            start = file.read(512)
            if start[:4] == b"PK\x03\x04":
                return read_zip(path, size)
            if start[257:262] == b"ustar":
                raise Refused(
                    f"expected a file of weights, got the tar archive {path}: unpack it, or save it with PyTorch 1.6 or newer"
                )
            if len(start) > 9 and start[8:9] == b"{":
                return read_safetensors(path, size)
            if start[:1] == b"\x80":
                file.seek(0)
                return read_plain(path, file, size)
    except OSError as error:
        raise Refused(f"expected a readable file of weights, got {path}: {error.strerror}") from None
    raise Refused(f"expected a PyTorch checkpoint or safetensors, got {path}, which is neither")


# -- PyTorch 1.6 and newer -------------------------------------------------------------------------------------


def read_zip(path: Path, size: int) -> Any:
    """A zip archive: ``NAME/data.pkl`` and one entry ``NAME/data/KEY`` per storage, none compressed."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {info.filename: info for info in archive.infolist()}
            pickles = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
            if len(pickles) != 1:
                found = ", ".join(sorted(entries)[:3]) or "nothing"
                raise Refused(
                    f"expected a PyTorch checkpoint, got the zip archive {path} of {found}: unpack it"
                )
            folder = pickles[0].removesuffix("data.pkl")
            content = read_entry(archive, entries[pickles[0]])
            order = entries.get(f"{folder}byteorder")
            if order is not None and read_entry(archive, order) != b"little":
                raise Refused(f"expected little-endian numbers in {path}, got others")
            if f"{folder}constants.pkl" in entries:
                raise Refused(f"expected a checkpoint, got a TorchScript program in {path}")
            find = storage_finder(path, folder, entries, size)
            return read_pickle(io.BytesIO(content), find)
    except Refused:
        raise
    except (
        zipfile.BadZipFile,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
        struct.error,
    ) as error:
        reason = next(iter(str(error).splitlines()), "it ends too early")  # EOFError says nothing
        raise Refused(f"expected an undamaged checkpoint, got {path}: {reason}") from None


def read_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > MAX_PICKLE:
        raise Refused(
            f"expected {info.filename} uncompressed and below {MAX_PICKLE >> 20} MiB, got another: this is no PyTorch checkpoint"
        )
    return archive.read(info)


def storage_finder(
    path: Path, folder: str, entries: dict[str, zipfile.ZipInfo], size: int
) -> Callable[[Any], Storage]:
    """From a persistent id ``("storage", class, key, device, count)`` to the entry that it names."""

    def find(identity: Any) -> Storage:
        dtype, key, count = storage_identity(identity)
        info = entries.get(f"{folder}data/{key}")
        if info is None:
            raise Refused(f"expected the storage {key} in {path}, found none")
        offset = entry_offset(path, info)
        nbytes = count * dtype.itemsize
        if info.compress_type != zipfile.ZIP_STORED or info.file_size < nbytes or offset + nbytes > size:
            raise Refused(
                f"expected {nbytes} bytes in the storage {key} of {path}, got {min(info.file_size, max(0, size - offset))}"
            )
        return Storage(path, offset, count, dtype, info.CRC if info.file_size == nbytes else None)

    return find


def entry_offset(path: Path, info: zipfile.ZipInfo) -> int:
    """Where an entry's bytes begin: behind its local header, whose length only the header itself tells."""
    with open(path, "rb") as file:
        file.seek(info.header_offset)
        header = file.read(30)
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise Refused(
            f"expected an undamaged checkpoint, got {path}: no entry where {info.filename} should be"
        )
    name, extra = struct.unpack("<HH", header[26:30])
    return info.header_offset + 30 + name + extra


def storage_identity(identity: Any) -> tuple[torch.dtype, str, int]:
    """dtype, key and count of a persistent id; raises Refused if it is none of a storage."""
    if not isinstance(identity, tuple) or len(identity) < 5 or identity[0] != "storage":
        raise Refused("expected references to storages, got something else")
    kind, key, count = identity[1], identity[2], identity[4]
    if not isinstance(kind, Named) or kind.dtype is None or not isinstance(key, str):
        raise Refused("expected references to storages, got something else")
    if type(count) is not int or count < 0:
        raise Refused(f"expected the size of the storage {key}, got {count!r}")
    return kind.dtype, key, count


# -- before PyTorch 1.6 ----------------------------------------------------------------------------------------


class Bounded:
    """A file whose pickles may not ask for more than is left of it."""

    def __init__(self, file: BinaryIO, size: int):
        self.file, self.size = file, min(size, file.tell() + MAX_PICKLE)

    def read(self, size: int) -> bytes:
        return self.file.read(max(0, min(size, self.size - self.file.tell())))

    def readline(self) -> bytes:
        return self.file.readline(max(0, self.size - self.file.tell()))

    def tell(self) -> int:
        return self.file.tell()


def read_plain(path: Path, file: BinaryIO, size: int) -> Any:
    """A plain file: magic number, protocol, byte order, the object and the keys of its storages, each a pickle;
    then for each key the count of its numbers and the numbers. The object is read twice, because only what follows
    it tells where its numbers are."""
    storages: dict[str, Storage] = {}

    def find(identity: Any) -> Storage:
        dtype, key, count = storage_identity(identity)
        if len(identity) > 5 and identity[5] is not None:
            raise Refused(f"expected whole storages in {path}, got views of one another")
        return storages.setdefault(key, Storage(path, 0, count, dtype))

    def pickle() -> Any:
        bounded = Bounded(file, size)  # all that a pickle is read with
        return read_pickle(bounded, find)  # pyright: ignore[reportArgumentType]

    if pickle() != MAGIC or pickle() != PROTOCOL:
        raise Refused(f"expected a PyTorch checkpoint, got {path}, a pickle of something else")
    system = pickle()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise Refused(f"expected little-endian numbers in {path}, got others")
    start = file.tell()
    pickle()
    storages = locate(path, file, size, pickle(), storages)
    file.seek(start)
    return pickle()


def locate(
    path: Path, file: BinaryIO, size: int, keys: Any, storages: dict[str, Storage]
) -> dict[str, Storage]:
    """The storages with their places, from the file's position on, in the order of ``keys``.

    Raises:
        Refused: if keys and storages are not the same, or one is longer than what is left of the file.
    """
    if not isinstance(keys, list) or set(map(str, keys)) != set(storages) or len(keys) != len(storages):
        raise Refused(f"expected the keys of all storages in {path}, got others")
    located = {}
    for key in keys:
        storage, length = storages[key], file.read(8)
        if len(length) < 8 or int.from_bytes(length, "little") != storage.count:
            raise Refused(
                f"expected {storage.count} numbers in the storage {key} of {path}, got another count"
            )
        located[key] = replace(storage, offset=file.tell())
        if file.tell() + storage.nbytes > size:
            raise Refused(f"expected {path} to hold all its tensors, got a file that is cut short")
        file.seek(storage.nbytes, os.SEEK_CUR)
    return located


# -- safetensors -----------------------------------------------------------------------------------------------


def read_safetensors(path: Path, size: int) -> dict[str, Stored]:
    """The tensors of a safetensors file; raises Refused if its header is none or does not fit the file."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(MAX_HEADER, size - 8):
            raise Refused(f"expected a safetensors header inside {path}, got a length of {length} bytes")
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError):
            raise Refused(f"expected a safetensors header in {path}, got no JSON") from None
    if not isinstance(header, dict):
        raise Refused(f"expected a safetensors header in {path}, got something else")
    header.pop("__metadata__", None)
    return {name: safetensor(path, name, about, 8 + length, size) for name, about in header.items()}


def safetensor(path: Path, name: str, about: Any, start: int, size: int) -> Stored:
    """One entry of a header whose data begin at byte ``start``."""
    about = about if isinstance(about, dict) else {}
    dtype, shape, ends = (about.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or dtype not in SAFETENSORS:
        raise Refused(f"expected a dtype of {', '.join(SAFETENSORS)} for {name} in {path}, got {dtype!r}")
    if not whole_numbers(shape) or not whole_numbers(ends) or len(ends) != 2:
        raise Refused(
            f"expected shape and data_offsets of {name} in {path}, got {shape!r} and {ends!r}"[:200]
        )
    count = math.prod(shape)
    if ends[1] - ends[0] != count * SAFETENSORS[dtype].itemsize or start + ends[1] > size:
        raise Refused(
            f"expected {count} numbers of {dtype} for {name} in {path}, got bytes {ends[0]} to {ends[1]} of {size - start}"
        )
    storage = Storage(path, start + ends[0], count, SAFETENSORS[dtype])
    return Stored(storage, tuple(shape), contiguous(tuple(shape)))


def whole_numbers(values: Any) -> TypeGuard[list[int]]:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)
