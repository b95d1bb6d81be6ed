"""A tiny house for training runs: pictures, settings, and a tokenizer trained for six steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from train import encode_dataset, export, train_prior, train_tokenizer
from train.checkpoints import load_state

TOKENIZER = """
[model]
downsample_factor = 8
codebook_size = 16
depth = 2
embed_dim = 4
widths = [4, 8, 8, 8]
bottleneck_blocks = 1
"""
PRIOR = """
[model]
codebook_size = 16
depth = 2
grid = [4, 4]
head_dim = 8
[[model.levels]]
width = 16
depth = 1
attention = "axial"
mlp_ratio = 1
[[model.levels]]
width = 16
depth = 1
"""


def build(root: Path) -> Path:
    """Twelve pictures, a tokenizer of which the last two of six steps are a game, tokens, settings files."""
    (root / "pictures").mkdir()
    for i in range(12):
        values = np.random.default_rng(i).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(values).resize((40, 48), Image.Resampling.BICUBIC).save(
            root / "pictures" / f"{i}.png"
        )
    (root / "tokenizer.toml").write_text(
        f'data = "{root}/pictures"\nsize = 32\nheld_out = 0.3\nbatch_size = 2\nper_picture = 2\ncrop = 32\n'
        "workers = 0\nsteps = 6\nwarmup = 2\ncodebook_start = 2\nadversarial_start = 4\nlog_steps = 2\n"
        'tracker = ""\n[augment]\ncolour = 1.0\ntranslation = 1.0\n' + TOKENIZER
    )
    train_tokenizer.main(["--config", str(root / "tokenizer.toml"), "--out", str(root / "tokenizer")])
    export_to(root, "export")
    encode(root, "tokens")
    (root / "prior.toml").write_text(
        f'tokens = "{root}/tokens"\nvalidation = "{root}/tokens"\ntokenizer = "{root}/export"\nbatch_size = 4\n'
        'warmup = 3\nunroll_from = 1\nlog_steps = 1\nworkers = 0\ntracker = ""\n' + PRIOR
    )
    return root


def export_to(root: Path, name: str, *words: str) -> None:
    export.main(["--tokenizer", str(root / "tokenizer"), "--out", str(root / name), *words])


def encode(root: Path, name: str, *words: str) -> None:
    fixed = [
        *("--tokenizer", root / "export", "--data", root / "pictures", "--size", 32, "--out", root / name),
        *("--shard-size", 4, "--workers", 0),
    ]
    encode_dataset.main([*map(str, fixed), *words])


def prior_words(root: Path, name: str, steps: int, *words: str) -> list[str]:
    return ["--config", str(root / "prior.toml"), "--out", str(root / name), "--steps", str(steps), *words]


def prior_run(root: Path, name: str, steps: int, *words: str) -> dict:
    train_prior.main(prior_words(root, name, steps, *words))
    return load_state(root / name)
