"""Encode pictures to token shards: ``python train/encode_dataset.py --tokenizer DIR --data SOURCE --out DIR``.

A shard holds the grids of some pictures with all their versions (mirror image, augmentations), as uint16
``(n, versions, h, w, q)``; versions stay together and pictures are split by a hash of their names, so no
version of a training picture is ever held out. ``index.json`` names the tokenizer by the hash of what decides
tokens. Without a tokenizer (``--tokenizer ""``) grey values become the tokens, as the authors did on MNIST.
Several processes share the work; finished shards are kept when a run is repeated. Damaged pictures are told by
name and left out.

Beside a shard lie the classes of its pictures (``labels-...npy``, int64 ``(n,)``) with ``--labels true``, which takes
the first folder of a picture's name for its class, and their label maps (``maps-...npy``, uint16 ``(n, versions, h,
w)``) with ``--label_maps FOLDER --map_classes COUNT``: a PNG of classes for every picture, at the same path but for
its ending. Maps are moved and mirrored with their pictures; a cell has the class of most of its pixels
(:mod:`train.label_maps`).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

if not __package__:  # run as a file: look for packages in the repository, not in this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import json
import os
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import numpy as np
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from sundae.checkpoint import load_tokenizer
from sundae.tokenizer import PictureTokenizer
from train import settings
from train.data import (
    DamagedPicture,
    PictureSource,
    Variation,
    folder_class,
    folder_classes,
    is_here,
    open_source,
    split,
    to_tensor,
)
from train.label_maps import LabelMaps, majority
from train.report import dry_run
from train.run import leave_together, shares_cpus
from train.tokens import TokenShards, read_index, tokens_hash

PARTS = ("all", "training", "held_out")
UNTRAINED = 0.02  # share of the codes that could be in use, up to which a tokenizer looks untrained


@dataclass(frozen=True)
class EncodeSettings:
    """Settings of an encoding run."""

    tokenizer: str = "runs/tokenizer/export"  # a bundle; "" for raw grey values
    levels: int = 256  # grey values that raw pixels are cut into
    data: str = "portraits:0:4096"  # a folder of pictures, or portraits:FIRST:COUNT
    size: int = 1024  # px
    out: str = "runs/tokens"
    part: str = "all"  # "training" or "held_out": one side of the split
    held_out: float = 0.02  # share of the pictures, by name, on the held-out side
    mirror: bool = True  # also the mirror image of every version
    augmentations: int = 0  # shifted, scaled and tinted versions beside the picture itself
    labels: bool = False  # the folder just below data names the class
    label_maps: str = ""  # folder with a PNG of classes for each picture, at the same path but for its ending
    map_classes: int = 0  # classes of the label maps; their values are below it
    shard_size: int = 128  # pictures in a file
    batch_size: int = 2  # versions that the tokenizer sees at once
    seed: int = 0  # of the augmentations
    workers: int = 1  # loader processes
    threads: int = 0  # torch threads; 0 leaves the default

    def __post_init__(self) -> None:
        if self.part not in PARTS:
            raise ValueError(f"expected part to be one of {', '.join(PARTS)}, got {self.part!r}")
        if not 2 <= self.levels <= 256:
            raise ValueError(f"expected levels from 2 to 256, got {self.levels}")
        if bool(self.label_maps) != bool(self.map_classes) or not 0 <= self.map_classes <= 65536:
            raise ValueError(
                "expected label_maps, a folder, together with map_classes, from 1 to 65536, "
                f"got {self.label_maps!r} and {self.map_classes}"
            )

    @property
    def versions(self) -> int:
        return (1 + self.augmentations) * (2 if self.mirror else 1)


class Versions(Dataset):
    """All versions of each picture, uint8 ``(versions, H, W, 3)``, with those of its label map, uint16 ``(versions, h,
    w)``, or None if there are no maps. They depend on seed and name alone. A damaged picture gives None instead."""

    def __init__(
        self,
        source: PictureSource,
        indices: Sequence[int],
        options: EncodeSettings,
        maps: LabelMaps | None,
        cell: int,
    ):
        self.source, self.indices, self.options = source, indices, options
        self.maps, self.cell = maps, cell

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, item: int) -> tuple[np.ndarray, np.ndarray | None] | None:
        index = self.indices[item]
        try:
            picture = self.source[index]
        except DamagedPicture as error:
            print(f"{error}; it is left out", file=sys.stderr, flush=True)
            return None
        name = np.frombuffer(self.source.name(index).encode(), np.uint8)
        rng = np.random.default_rng((self.options.seed, *map(int, name)))
        variations = [Variation.draw(rng) for _ in range(self.options.augmentations)]
        pictures = self.both_sides([picture, *(v.of_picture(picture) for v in variations)])
        if self.maps is None:
            return pictures, None
        labels = self.maps[index]
        maps = self.both_sides([labels, *(v.of_map(labels) for v in variations)])
        return pictures, np.stack([majority(each, self.cell) for each in maps])

    def both_sides(self, versions: list[np.ndarray]) -> np.ndarray:
        """Each version ``(H, W, ...)``, followed by its mirror image if the settings ask for it."""
        if self.options.mirror:
            versions = [side for version in versions for side in (version, version[:, ::-1])]
        return np.stack(versions)


def encoder(
    options: EncodeSettings, tokenizer: PictureTokenizer | None, device: torch.device
) -> Callable[[np.ndarray], np.ndarray]:
    """A function from pictures uint8 ``(n, H, W, 3)`` to tokens uint16 ``(n, h, w, q)``."""

    def grey(pictures: np.ndarray) -> np.ndarray:
        luma = pictures.astype(np.float32) @ np.array((0.299, 0.587, 0.114), np.float32)
        return (luma.round() * options.levels / 256).astype(np.uint16)[..., None]

    def encode(pictures: np.ndarray) -> np.ndarray:
        pieces = to_tensor(pictures).split(options.batch_size)
        return np.concatenate(
            [tokenizer.encode(p.to(device)).cpu().numpy().astype(np.uint16) for p in pieces]
        )

    return grey if tokenizer is None else encode


def make_index(
    options: EncodeSettings, tokenizer: PictureTokenizer | None, classes: list[str]
) -> dict[str, Any]:
    """What ``index.json`` says; two encodings belong together if it is the same. ValueError for a size that is no
    multiple of a token's."""
    cell = cell_side(tokenizer)
    if options.size % cell:
        raise ValueError(f"expected size to be a multiple of {cell} for this tokenizer, got {options.size}")
    grid = options.size // cell
    return {
        "tokenizer": tokens_hash(tokenizer) if tokenizer else "",
        "grid": [grid, grid],
        "depth": tokenizer.config.depth if tokenizer else 1,
        "codebook_size": tokenizer.config.codebook_size if tokenizer else options.levels,
        "versions": options.versions,
        "classes": len(classes),
        "class_names": classes,
        "map_classes": options.map_classes,
    }


def cell_side(tokenizer: PictureTokenizer | None) -> int:
    """Pixels of a token, per side."""
    return tokenizer.config.downsample_factor if tokenizer else 1


def prepare_index(out: Path, index: dict[str, Any]) -> None:
    """Write ``index.json``, or check that the folder's is the same (ValueError if not)."""
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "index.json").exists():
        return save(out / "index.json", lambda file: file.write(json.dumps(index, indent=1).encode()))
    found = read_index(out)
    for name, value in index.items():
        if found.get(name, 0) != value:  # an older index has no entry for what was not counted then
            raise ValueError(
                f"expected tokens with {name} {short(value)} in {out}, found {short(found.get(name, 0))}: "
                "choose another folder"
            )


def short(value: Any) -> str:
    """A value for a message; hashes by their first digits."""
    return value[:12] if isinstance(value, str) else str(value)


def save(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file atomically; ValueError if it cannot be written (a full disk, say)."""
    temporary = path.with_suffix(f".partial{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ValueError(
            f"expected to write {path}: {error.strerror or f'no room for all of it ({error})'}; finished shards are "
            "kept, so make room and start again"
        ) from None


def save_array(path: Path, array: np.ndarray) -> None:
    """Write an array; as :func:`save`."""
    save(path, lambda file: np.save(file, array))


def choose(options: EncodeSettings) -> tuple[PictureSource, list[str]]:
    """The pictures that are asked for, and the names of the classes, if labels are. A class has the same number in
    every part, so those of the other part count too.

    Raises:
        ValueError: if there are no such pictures, or one lies in no folder that could name its class.
    """
    source = open_source(options.data, options.size)
    classes = folder_classes(source) if options.labels else []
    if options.part != "all":
        source = split(source, options.held_out)[PARTS.index(options.part) - 1]
    if not len(source):
        raise ValueError(f"expected pictures in the {options.part} part of {options.data}, found none")
    return source, classes


def choose_maps(options: EncodeSettings, source: PictureSource) -> LabelMaps | None:
    """The label maps of the pictures, if any are asked for; ValueError if one is missing."""
    if not options.label_maps:
        return None
    return LabelMaps(Path(options.label_maps), source, options.map_classes, options.size)


def report_sizes(options: EncodeSettings) -> None:
    bundle = Path(options.tokenizer)
    tokenizer = load_tokenizer(bundle) if options.tokenizer and bundle.exists() else None
    source = choose(options)[0] if is_here(options.data) else None
    if source is not None:
        choose_maps(options, source)
    modules, forward = {}, (lambda: None)
    if tokenizer is not None:
        picture = torch.zeros(1, 3, options.size, options.size, device="meta")
        modules, forward = {"tokenizer": tokenizer}, (lambda: tokenizer.to("meta").latent(picture))
    dry_run(options, modules, forward, None if source is None else len(source))


def encode_shard(
    items: DataLoader,
    labels: Sequence[int],
    encode: Callable[[np.ndarray], np.ndarray],
    index: dict[str, Any],
) -> dict[str, np.ndarray]:
    """The arrays of a shard, by what their files' names begin with. Tokens are the last: a shard whose tokens are
    on the disk counts as finished.

    Args:
        items: of :class:`Versions`; damaged pictures are passed over.
        labels: the pictures' classes, if the index has classes.
        encode: of :func:`encoder`.
        index: of :func:`make_index`.
    """
    tokens, maps, kept = [], [], []
    for place, item in enumerate(items):
        if item is not None:
            pictures, reduced = item
            tokens.append(encode(np.asarray(pictures)))
            if reduced is not None:
                maps.append(np.asarray(reduced))
            kept.append(place)
    shape = (-1, index["versions"], *index["grid"])
    arrays = {}
    if index["classes"]:
        arrays["labels"] = np.array([labels[place] for place in kept], np.int64)
    if index["map_classes"]:
        arrays["maps"] = np.array(maps, np.uint16).reshape(shape)
    return arrays | {"tokens": np.array(tokens, np.uint16).reshape(*shape, index["depth"])}


def warn_of_few_codes(out: Path) -> None:
    """Tell of a codebook that is hardly used: a prior learns nothing from the tokens of an untrained tokenizer."""
    for book, counts in enumerate(TokenShards(out).counts()):
        used, possible = int((counts > 0).sum()), min(len(counts), int(counts.sum()))
        if used < possible and used <= max(1, UNTRAINED * possible):
            print(
                f"warning: the tokens in {out} use {used} of the {len(counts)} codes of book {book + 1}, as those of "
                "an untrained tokenizer do: a prior would learn nothing from them",
                file=sys.stderr,
                flush=True,
            )
            return


def main(argv: list[str] | None = None) -> None:
    options, flags = settings.parse(EncodeSettings, __doc__, argv)
    if flags.dry_run:
        return report_sizes(options)
    if options.threads:
        torch.set_num_threads(options.threads)
    accelerator = Accelerator(cpu=shares_cpus())
    tokenizer = load_tokenizer(Path(options.tokenizer)).to(accelerator.device) if options.tokenizer else None
    (source, classes), out = choose(options), Path(options.out)
    maps = choose_maps(options, source)
    index, size = make_index(options, tokenizer, classes), options.shard_size
    shards = [range(i, min(len(source), i + size)) for i in range(0, len(source), size)]
    accelerator.print(f"{options}\n{len(source)} pictures in {len(shards)} shards", flush=True)
    if accelerator.is_main_process:
        prepare_index(out, index)
    accelerator.wait_for_everyone()
    encode, damaged = encoder(options, tokenizer, accelerator.device), 0
    mine = range(accelerator.process_index, len(shards), accelerator.num_processes)
    stem = options.data.replace("/", "_").replace(":", "-")
    for number in tqdm(mine, unit="shard", disable=not sys.stderr.isatty()):
        name, pictures = f"{stem}-{number:05d}.npy", shards[number]
        if (out / f"tokens-{name}").exists():
            continue
        versions = Versions(source, pictures, options, maps, cell_side(tokenizer))
        items = DataLoader(versions, batch_size=None, num_workers=options.workers)
        labels = [classes.index(folder_class(source, i)) for i in pictures] if classes else []
        arrays = encode_shard(items, labels, encode, index)
        for kind, array in arrays.items():
            save_array(out / f"{kind}-{name}", array)
        damaged += len(pictures) - len(arrays["tokens"])
        print(f"tokens-{name} written", flush=True)
    everywhere: Any = accelerator.reduce(torch.tensor(damaged, device=accelerator.device))
    if accelerator.is_main_process and everywhere:
        print(f"{everywhere} of {len(source)} pictures were damaged and left out", flush=True)
    if accelerator.is_main_process and tokenizer is not None:
        warn_of_few_codes(out)
    leave_together(accelerator)


if __name__ == "__main__":
    settings.guard(main)
