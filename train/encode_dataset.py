"""Encode pictures to token shards: ``python -m train.encode_dataset --tokenizer FILE --data SOURCE --out DIR``.

A shard holds the grids of some pictures, each with its mirror image, as uint16 ``(n, 2, h, w, q)``; twins stay
together, so they can never fall on both sides of a split. ``index.json`` names the tokenizer by its hash.
Several processes share the work (``accelerate launch``); finished shards are kept when a run is repeated.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from sundae.checkpoint import load_tokenizer, tensors_hash
from train import settings
from train.data import PictureSource, open_source, to_tensor


@dataclass(frozen=True)
class EncodeSettings:
    """Settings of an encoding run."""

    tokenizer: str = "runs/tokenizer/export"  # folder with config.json and tokenizer.safetensors
    data: str = "portraits:0:4096"  # a folder of pictures, or portraits:FIRST:COUNT
    size: int = 1024  # px
    out: str = "runs/tokens"
    shard_size: int = 128  # pictures in a file
    workers: int = 1  # loader processes
    threads: int = 0  # torch threads; 0 leaves the default


class Pictures(Dataset):
    """Pictures of a source, as uint8 arrays ``(H, W, 3)``."""

    def __init__(self, source: PictureSource, indices: list[int]):
        self.source, self.indices = source, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> np.ndarray:
        return np.array(self.source[self.indices[index]])


def encode_shard(tokenizer, pictures, device: torch.device) -> np.ndarray:
    """Tokens of each picture and its mirror image, uint16 ``(n, 2, h, w, q)``."""
    rows = []
    for picture in pictures:
        image = to_tensor(np.asarray(picture)[None]).to(device)
        rows.append(tokenizer.encode(torch.cat([image, image.flip(3)])).cpu().numpy().astype(np.uint16))
    return np.stack(rows)


def main(argv: list[str] | None = None) -> None:
    options, flags = settings.parse(EncodeSettings, __doc__, argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    accelerator = Accelerator()
    tokenizer = load_tokenizer(Path(options.tokenizer)).to(accelerator.device).eval()
    source, out = open_source(options.data, options.size), Path(options.out)
    shards = [
        list(range(i, min(len(source), i + options.shard_size)))
        for i in range(0, len(source), options.shard_size)
    ]
    print(f"{options}\n{len(source)} pictures in {len(shards)} shards", flush=True)
    if flags.dry_run:
        return
    prepare_index(out, options, tensors_hash(tokenizer.state_dict()), tokenizer.config)
    mine = range(accelerator.process_index, len(shards), accelerator.num_processes)
    for number in tqdm(mine, unit="shard", disable=not sys.stderr.isatty()):
        file = out / f"tokens-{options.data.replace('/', '_').replace(':', '-')}-{number:05d}.npy"
        if file.exists():
            continue
        loader = DataLoader(Pictures(source, shards[number]), batch_size=None, num_workers=options.workers)
        save_array(file, encode_shard(tokenizer, loader, accelerator.device))
        print(f"{file.name} written", flush=True)


def prepare_index(out: Path, options: EncodeSettings, digest: str, config) -> None:
    """Write ``index.json``, or check that the folder's is of the same tokenizer (ValueError if not)."""
    out.mkdir(parents=True, exist_ok=True)
    index = out / "index.json"
    if index.exists() and (found := json.loads(index.read_text())["tokenizer"]) != digest:
        raise ValueError(
            f"expected tokens of tokenizer {digest[:12]} in {out}, found those of {found[:12]}: choose another --out"
        )
    grid = options.size // config.downsample_factor
    content = {
        "tokenizer": digest,
        "grid": [grid, grid],
        "depth": config.depth,
        "codebook_size": config.codebook_size,
    }
    index.write_text(json.dumps(content, indent=1))


def save_array(path: Path, array: np.ndarray) -> None:
    """Write an array atomically."""
    temporary = path.with_suffix(f".partial{os.getpid()}")
    with open(temporary, "wb") as file:
        np.save(file, array)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"error: {error}")
