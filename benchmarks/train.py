"""How fast the shipped model trains on this machine, stage by stage; prints JSON.

    python benchmarks/train.py [--seconds 30] [--stages tokenizer prior-2] [--workers 1]

Each stage is the real trainer with the shipped model's settings, in a process of its own. Pictures are drawn
portraits; the prior's tokens have no meaning, which costs the same. ``loading_share`` is the share of the time
spent waiting for data (goal: below 0.05); memory is that of the process that trains, without its loaders.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: look for packages in the repository, not in this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.inpaint import machine, rounded
from benchmarks.runs import CONFIGS, FOREVER, SHIPPED, quiet, watched, write_tokens
from benchmarks.watch import summary
from train import settings
from train.encode_dataset import EncodeSettings
from train.train_prior import PriorSettings
from train.train_tokenizer import TokenizerSettings

GOAL = 0.05  # loading share
PICTURES = 256  # grids of the prior's data
SETTINGS = {
    "train_tokenizer": TokenizerSettings,
    "encode_dataset": EncodeSettings,
    "train_prior": PriorSettings,
}
TOKENIZER = ("--config", CONFIGS / "tokenizer-illustrated.toml", "--codebook_start", 1)
PRIOR = ("--config", CONFIGS / "prior-illustrated.toml", "--unroll_every", 1)
STAGES: dict[str, tuple[str, tuple[object, ...]]] = {  # trainer, and what its stage sets
    "tokenizer": ("train_tokenizer", TOKENIZER),
    "tokenizer-discriminator": ("train_tokenizer", (*TOKENIZER, "--adversarial_start", 0)),
    "encode": ("encode_dataset", ("--tokenizer", SHIPPED, "--data", "portraits:0:6144")),
    "prior-1": ("train_prior", (*PRIOR, "--unroll_from", FOREVER)),
    "prior-2": ("train_prior", (*PRIOR, "--unroll_from", 0)),
}


def stage_words(stage: str, folder: Path, extra: Sequence[object] = ()) -> list[str]:
    """The command line of a stage, whose data and results lie in ``folder``."""
    trainer, fixed = STAGES[stage]
    words = [*fixed, *(["--out", folder / stage] if trainer == "encode_dataset" else quiet(folder / stage))]
    if trainer == "train_prior":
        words += ["--tokens", folder / "tokens", "--validation", folder / "tokens", "--tokenizer", SHIPPED]
    return [str(word) for word in (*words, *extra)]


def contents(stage: str, words: Sequence[str]) -> tuple[int, dict[str, int]]:
    """What a stage does at each mark: items, and what one item amounts to."""
    trainer, _ = STAGES[stage]
    options, _ = settings.parse(SETTINGS[trainer], "", list(words))
    if isinstance(options, EncodeSettings):
        config = settings.read_toml(CONFIGS / "tokenizer-illustrated.toml")["model"]
        cells = (options.size // TokenizerSettings().model.downsample_factor) ** 2
        return 1, {"pictures": 1, "tokens": options.versions * cells * config["depth"]}
    if isinstance(options, TokenizerSettings):
        cells = (options.crop // options.model.downsample_factor) ** 2
        crops = options.per_picture
        return options.batch_size, {
            "pictures": 1,
            "crops": crops,
            "tokens": crops * cells * options.model.depth,
        }
    height, width = options.model.grid
    return options.batch_size, {"grids": 1, "tokens": height * width * options.model.depth}


def measure(stage: str, folder: Path, seconds: float, extra: Sequence[object] = ()) -> dict[str, Any]:
    """Run a stage for ``seconds`` after its warm-up; returns its numbers."""
    words = stage_words(stage, folder, extra)
    found = watched(STAGES[stage][0], words, folder / f"{stage}.json", seconds)
    numbers = summary(found.pop("marks"))
    items, kinds = contents(stage, words)
    speed = numbers.pop("per_s") * items
    options, _ = settings.parse(SETTINGS[STAGES[stage][0]], "", words)
    return {
        **{f"{kind}_per_s": speed * count for kind, count in kinds.items()},
        "loading_share": numbers["loading_share"],
        "loading_goal_met": numbers["loading_share"] < GOAL,
        "measured_s": numbers["seconds"],
        "measured_steps": numbers["measured"],
        "batch_size": options.batch_size,
        "workers": options.workers,
        **found,
    }


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the command line; returns what is printed."""
    parser = argparse.ArgumentParser(prog="python benchmarks/train.py", description="Time training.")
    parser.add_argument("--seconds", type=float, default=30, help="of each stage, after its warm-up")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES), metavar="STAGE")
    parser.add_argument("--workers", type=int, help="loader processes; by default those of the settings")
    parser.add_argument("--threads", type=int, help="torch's threads; by default those of the settings")
    given = parser.parse_args(arguments)
    if given.seconds <= 0:
        parser.error(f"expected --seconds above 0, got {given.seconds}")
    chosen = {"--workers": given.workers, "--threads": given.threads}
    extra = [word for pair in chosen.items() if pair[1] is not None for word in pair]
    with tempfile.TemporaryDirectory() as folder:
        if any(stage.startswith("prior") for stage in given.stages):
            write_tokens(Path(folder) / "tokens", PICTURES, SHIPPED)
        stages = {stage: measure(stage, Path(folder), given.seconds, extra) for stage in given.stages}
    result = {"machine": machine(), "seconds": given.seconds, "stages": stages}
    print(json.dumps(rounded(result), indent=1))
    return result


if __name__ == "__main__":
    settings.guard(main)
