"""What sampling from each prior costs on this machine; prints JSON.

    python benchmarks/priors.py [--configs FILE ...] [--steps 32] [--every 16] [--repeats 1]

Whole grids of the settings in the box, with random weights, which cost the same as trained ones. Times are medians
in seconds. For the autoregressive prior also the cells' features alone, with the key-value cache and without: there
every cell runs the transformer over all cells before it, which is measured at every N-th cell and multiplied by N.
Goal: the cache makes them 5 times faster at least, and whole sampling too, of which head and draws take as long either
way.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: look for packages in the repository, not in this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch
from torch import Tensor

from benchmarks.inpaint import machine, median_seconds, rounded
from benchmarks.runs import CONFIGS
from sundae.checkpoint import make_prior
from sundae.priors.autoregressive import Autoregressive, Reader, view_of
from sundae.priors.contract import Prior
from sundae.sampler import SamplerConfig
from train import settings
from train.report import parameter_count
from train.train_prior import PriorSettings

GOAL = 5.0  # times faster with the cache
IN_THE_BOX = [CONFIGS / f"prior-illustrated{name}.toml" for name in ("", "-absorbing", "-autoregressive")]


def read(file: Path) -> PriorSettings:
    """The settings of a prior's run."""
    return settings.parse(PriorSettings, "", ["--config", str(file)])[0]


def time_sampling(prior: Prior, tokens: Tensor, steps: int, repeats: int) -> dict[str, Any]:
    """A whole grid from nothing in ``steps`` steps."""
    config, hole = (
        SamplerConfig(steps=steps, early_stop=False),
        torch.ones(tokens.shape[:3], dtype=torch.bool),
    )

    def work() -> None:
        for _ in prior.sample(tokens, hole, config, [0]):
            pass

    seconds = median_seconds(work, repeats)
    return {"steps": steps, "sample_s": seconds, "ms_per_step": 1000 * seconds / steps}


@torch.inference_mode()
def time_cells(prior: Autoregressive, tokens: Tensor, every: int) -> dict[str, Any]:
    """Features of all cells, one after the other, with the cache and without."""
    grid = (tokens.shape[1], tokens.shape[2])
    view, count = view_of(0, 0, grid, grid), grid[0] * grid[1]
    conditions = prior.conditions(tokens, None)
    reader, began = Reader(prior, view, grid, conditions), time.perf_counter()
    for cell in range(count):
        reader.read(tokens, cell + 1)
    cached, began = time.perf_counter() - began, time.perf_counter()
    for cell in range(every // 2, count, every):
        Reader(prior, view, grid, conditions, remembers=False).read(tokens, cell + 1)
    uncached = (time.perf_counter() - began) * every
    return {
        "cached_s": cached,
        "uncached_s": uncached,
        "speedup": uncached / cached,
        "speedup_goal_met": uncached >= GOAL * cached,
    }


def measure(file: Path, steps: int, every: int, repeats: int) -> dict[str, Any]:
    """Everything about the prior of one settings file."""
    torch.manual_seed(0)
    prior = make_prior(read(file).model).eval().requires_grad_(False)
    config = prior.config
    tokens = torch.randint(config.codebook_size, (1, *config.grid, config.depth))
    numbers = {
        "parameters": parameter_count(prior),
        "tokens": config.grid[0] * config.grid[1],
        "codes_per_token": config.depth,
        **time_sampling(prior, tokens, steps, repeats),
    }
    if isinstance(prior, Autoregressive):
        cells = time_cells(prior, tokens, every)
        numbers |= cells | sampling_speedup(numbers["sample_s"], cells["cached_s"], cells["uncached_s"])
    return numbers


def sampling_speedup(sample_s: float, cached_s: float, uncached_s: float) -> dict[str, Any]:
    """How much faster the cache makes a whole sample, features, head and draws: told from seconds of a sample with it
    and of the features with it and without."""
    ratio = (sample_s - cached_s + uncached_s) / sample_s
    return {"sampling_speedup": ratio, "sampling_speedup_goal_met": ratio >= GOAL}


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the command line; returns what is printed."""
    parser = argparse.ArgumentParser(prog="python benchmarks/priors.py", description="Time the priors.")
    parser.add_argument("--configs", nargs="+", type=Path, default=IN_THE_BOX, metavar="FILE")
    parser.add_argument("--steps", type=int, default=32, help="of the samplers")
    parser.add_argument("--every", type=int, default=16, help="cells measured without the cache: every N-th")
    parser.add_argument("--repeats", type=int, default=1, help="runs of which the median is taken")
    given = parser.parse_args(arguments)
    for name in ("steps", "every", "repeats"):
        if getattr(given, name) < 1:
            parser.error(f"expected --{name} of at least 1, got {getattr(given, name)}")
    priors = {file.stem: measure(file, given.steps, given.every, given.repeats) for file in given.configs}
    result = {"machine": machine(), "priors": priors}
    print(json.dumps(rounded(result), indent=1))
    return result


if __name__ == "__main__":
    settings.guard(main)
