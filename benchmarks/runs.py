"""What the benchmarks of training share: starting trainers, data without meaning, and comparing traces."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from train.encode_dataset import EncodeSettings, load_tokenizer, make_index, prepare_index, save_array
from train.run import FOREVER

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "train" / "configs"
SHIPPED = ROOT / "weights" / "illustrated-1024"

Line = dict[str, float]  # of log.jsonl


def processors() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def environment(**extra: str) -> dict[str, str]:
    """This process's environment with the repository importable."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))} | extra


def several(processes: int) -> list[str]:
    """What starts that many processes of a module: torch's launcher, because ``accelerate launch --cpu`` starts a
    single one unless it is given a host file for MPI."""
    if processes == 1:
        return ["-m"]
    return ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), "-m"]


def watched(
    stage: str, words: Sequence[object], file: Path, seconds: float = 0, processes: int = 1, cpu: bool = False
) -> dict[str, Any]:
    """Run ``train.STAGE`` under :mod:`benchmarks.watch` and return what it wrote to ``file``.

    Args:
        stage: ``train_tokenizer``, ``encode_dataset`` or ``train_prior``.
        words: its command line.
        file: where the marks go.
        seconds: to measure; 0 to let the run come to its own end.
        processes: how many share the run.
        cpu: stay off GPUs.

    Raises:
        ValueError: with the trainer's last words, if it fails.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, *several(processes), "benchmarks.watch", file, seconds, stage, *words]
    extra = {"ACCELERATE_USE_CPU": "true"} if cpu else {}
    done = subprocess.run(
        [str(word) for word in command], cwd=ROOT, env=environment(**extra), capture_output=True, text=True
    )
    if done.returncode:
        raise ValueError(f"{stage} ended with status {done.returncode}:\n{done.stderr.strip()[-2000:]}")
    return json.loads(file.read_text())


def quiet(out: Path) -> list[object]:
    """Settings of a run that writes to ``out``, and neither saves, validates nor reports before its end."""
    return ["--out", out, "--tracker", "", "--save_minutes", FOREVER, "--evaluate_minutes", FOREVER]


def ramps(rng: np.random.Generator, shape: tuple[int, ...], codes: int, noise: float = 0.1) -> np.ndarray:
    """Grids ``(n, versions, h, w, q)`` that can be learned: codes rise along a slope of each grid's own, modulo
    ``codes``, and a share of them is random."""
    n, versions, h, w, q = shape
    slopes = rng.integers(-2, 3, (2, n, versions, 1, 1, q))
    starts = rng.integers(codes, size=(n, versions, 1, 1, q))
    y, x = np.mgrid[:h, :w][..., None]
    values = (starts + slopes[0] * y + slopes[1] * x) % codes
    return np.where(rng.random(shape) < noise, rng.integers(codes, size=shape), values).astype(np.uint16)


def write_tokens(
    folder: Path, pictures: int, tokenizer: Path | None = None, size: int = 1024, levels: int = 256
) -> Path:
    """A folder of token shards without pictures, as ``train.encode_dataset`` would index it; returns it.

    Args:
        folder: where.
        pictures: how many, each with a second version in the place of its mirror image.
        tokenizer: a bundle whose tokens they pretend to be; None for raw grey values.
        size: px of the pictures that they pretend to come from.
        levels: grey values, without a tokenizer.
    """
    options = EncodeSettings(tokenizer=str(tokenizer or ""), size=size, levels=levels, out=str(folder))
    index = make_index(options, load_tokenizer(tokenizer) if tokenizer else None, [])
    prepare_index(folder, index)
    shape = (pictures, index["versions"], *index["grid"], index["depth"])
    tokens = ramps(np.random.default_rng(0), shape, index["codebook_size"])
    save_array(folder / "tokens-ramps.npy", tokens)
    return folder


def tiny_prior(tokens: Path) -> list[object]:
    """Settings of a denoiser that takes milliseconds a step, on the tokens of :func:`tiny_tokens`."""
    levels = '[{width = 32, depth = 1, attention = "axial", mlp_ratio = 2}, {width = 32, depth = 2}]'
    return [
        *("--tokens", tokens, "--validation", tokens, "--tokenizer", "", "--batch_size", 8, "--warmup", 20),
        *("--model.codebook_size", 32, "--model.depth", 1, "--model.grid", "[8, 8]", "--model.head_dim", 16),
        *("--model.levels", levels, "--validation_pictures", 1),
    ]


def tiny_tokens(folder: Path) -> Path:
    """Tokens for :func:`tiny_prior`."""
    return write_tokens(folder, 64, size=8, levels=32)


def read_trace(folder: Path) -> list[Line]:
    """The lines of a run's ``log.jsonl``, one for each update."""
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def largest_difference(one: Sequence[Line], two: Sequence[Line], name: str = "") -> dict[str, Any]:
    """Where two traces differ most: ``difference``, ``name`` of the number, ``step``.

    Args:
        one: a trace.
        two: another one.
        name: look at this number alone; by default at all of them.

    Raises:
        ValueError: if they are not of the same steps and numbers.
    """
    shapes = [[(line["step"], sorted(line)) for line in trace] for trace in (one, two)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"expected traces of the same steps and numbers, got {len(one)} and {len(two)} lines"
        )
    pairs = (
        (abs(a[key] - b[key]), key, a["step"])
        for a, b in zip(one, two)
        for key in a
        if key != "step" and name in ("", key)
    )
    difference, key, step = max(pairs, key=lambda pair: np.inf if np.isnan(pair[0]) else pair[0])
    return {"difference": difference, "name": key, "step": step}
