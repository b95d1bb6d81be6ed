"""Encode pictures to token shards: ``python train/encode_dataset.py --tokenizer DIR --data SOURCE --out DIR``.

A shard holds the grids of some pictures with all their versions (mirror image, augmentations), as uint16
``(n, versions, h, w, q)``; versions stay together and pictures are split by a hash of their names, so no
version of a training picture is ever held out. ``index.json`` names the tokenizer by the hash of what decides
tokens. Without a tokenizer (``--tokenizer ""``) grey values become the tokens, as the authors did on MNIST.
Several processes share the work; finished shards are kept when a run is repeated.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

if not __package__:  # run as a file: look for packages in the repository, not in this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import json
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from sundae.checkpoint import load_tokenizer
from sundae.tokenizer import PictureTokenizer
from train import settings
from train.data import PictureSource, folder_classes, open_source, split, to_tensor, vary
from train.report import dry_run
from train.run import leave_together, shares_cpus
from train.tokens import tokens_hash

PARTS = ("all", "training", "held_out")


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

    @property
    def versions(self) -> int:
        return (1 + self.augmentations) * (2 if self.mirror else 1)


class Versions(Dataset):
    """All versions of each picture, uint8 ``(versions, H, W, 3)``; they depend on seed and name alone."""

    def __init__(self, source: PictureSource, indices: list[int], options: EncodeSettings):
        self.source, self.indices, self.options = source, indices, options

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, item: int) -> np.ndarray:
        index = self.indices[item]
        picture = np.asarray(self.source[index])
        name = np.frombuffer(self.source.name(index).encode(), np.uint8)
        rng = np.random.default_rng((self.options.seed, *map(int, name)))
        versions = [picture, *(vary(picture, rng) for _ in range(self.options.augmentations))]
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
    """What ``index.json`` says; two encodings belong together if it is the same."""
    grid = options.size // (tokenizer.config.downsample_factor if tokenizer else 1)
    return {
        "tokenizer": tokens_hash(tokenizer) if tokenizer else "",
        "grid": [grid, grid],
        "depth": tokenizer.config.depth if tokenizer else 1,
        "codebook_size": tokenizer.config.codebook_size if tokenizer else options.levels,
        "versions": options.versions,
        "classes": len(classes),
        "class_names": classes,
    }


def prepare_index(out: Path, index: dict[str, Any]) -> None:
    """Write ``index.json``, or check that the folder's is the same (ValueError if not)."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "index.json"
    if path.exists():
        found = json.loads(path.read_text())
        for name, value in index.items():
            if found.get(name) != value:
                raise ValueError(
                    f"expected tokens with {name} {short(value)} in {out}, found {short(found.get(name))}: choose another folder"
                )
    path.write_text(json.dumps(index, indent=1))


def short(value: Any) -> str:
    """A value for a message; hashes by their first digits."""
    return value[:12] if isinstance(value, str) else str(value)


def save_array(path: Path, array: np.ndarray) -> None:
    """Write an array atomically."""
    temporary = path.with_suffix(f".partial{os.getpid()}")
    with open(temporary, "wb") as file:
        np.save(file, array)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def choose(options: EncodeSettings) -> PictureSource:
    """The pictures that are asked for; ValueError if there are none."""
    source = open_source(options.data, options.size)
    if options.part != "all":
        source = split(source, options.held_out)[PARTS.index(options.part) - 1]
    if not len(source):
        raise ValueError(f"expected pictures in the {options.part} part of {options.data}, found none")
    return source


def report_sizes(options: EncodeSettings) -> None:
    tokenizer = load_tokenizer(Path(options.tokenizer)) if Path(options.tokenizer).exists() else None
    here = options.data.startswith("portraits:") or Path(options.data).exists()
    modules, forward = {}, (lambda: None)
    if tokenizer is not None:
        picture = torch.zeros(1, 3, options.size, options.size, device="meta")
        modules, forward = {"tokenizer": tokenizer}, (lambda: tokenizer.to("meta").latent(picture))
    dry_run(options, modules, forward, len(choose(options)) if here else None)


def main(argv: list[str] | None = None) -> None:
    options, flags = settings.parse(EncodeSettings, __doc__, argv)
    if flags.dry_run:
        return report_sizes(options)
    if options.threads:
        torch.set_num_threads(options.threads)
    accelerator = Accelerator(cpu=shares_cpus())
    tokenizer = load_tokenizer(Path(options.tokenizer)).to(accelerator.device) if options.tokenizer else None
    source, out = choose(options), Path(options.out)
    classes, label = folder_classes(source) if options.labels else ([], None)
    size = options.shard_size
    shards = [list(range(i, min(len(source), i + size))) for i in range(0, len(source), size)]
    accelerator.print(f"{options}\n{len(source)} pictures in {len(shards)} shards", flush=True)
    if accelerator.is_main_process:
        prepare_index(out, make_index(options, tokenizer, classes))
    accelerator.wait_for_everyone()
    encode = encoder(options, tokenizer, accelerator.device)
    mine = range(accelerator.process_index, len(shards), accelerator.num_processes)
    stem = options.data.replace("/", "_").replace(":", "-")
    for number in tqdm(mine, unit="shard", disable=not sys.stderr.isatty()):
        file = out / f"tokens-{stem}-{number:05d}.npy"
        if file.exists():
            continue
        if label is not None:
            classes_here = np.array([label(i) for i in shards[number]], np.int64)
            save_array(out / file.name.replace("tokens-", "labels-", 1), classes_here)
        pictures = DataLoader(
            Versions(source, shards[number], options), batch_size=None, num_workers=options.workers
        )
        save_array(file, np.stack([encode(np.asarray(versions)) for versions in pictures]))
        print(f"{file.name} written", flush=True)
    leave_together(accelerator)


if __name__ == "__main__":
    settings.guard(main)
