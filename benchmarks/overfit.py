"""Whether the trainers can learn eight portraits by heart; prints JSON.

    python benchmarks/overfit.py [--tokenizer-steps 300] [--prior-steps 250]

Goals: pictures through the tokenizer above 32 dB PSNR; of their tokens, with whole pictures hidden and half of
the cells replaced by noise, the prior finds more than 99 %. The pictures lie on both sides of the tokenizer's split
under different names, so that the trainers' own validation, which tells *when*, sees what they train on. Most of the
decibels are there at step 0: the linear codec is fitted to these pictures, and training adds the codes.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: look for packages in the repository, not in this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.inpaint import machine, rounded
from benchmarks.runs import quiet, watched
from sundae.checkpoint import PRIORS, TOKENIZERS
from sundae.objective import corrupt, draw_cells, unrolled_loss
from train import export, portraits, settings
from train.data import split, to_tensor
from train.tokens import TokenShards

COUNT, SIZE, HELD_OUT = 8, 128, 0.5
PSNR, ACCURACY = 32.0, 0.99  # goals
RATE = 0.5  # r, share of the cells replaced by noise
FACTOR = 8  # px of a cell's side
CODES = ("--model.depth", 4, "--model.codebook_size", 1024)
TOKENIZER = (
    *("--size", SIZE, "--held_out", HELD_OUT, "--crop", SIZE, "--batch_size", 4, "--per_picture", 1),
    *("--warmup", 20, "--codebook_start", 30, "--learning_rate", 2e-3, "--ema_decay", 0.95, "--workers", 0),
    *("--model.downsample_factor", FACTOR, "--model.widths", "[16, 32, 64, 96]", *CODES),
    *("--model.embed_dim", 48, "--model.bottleneck_blocks", 2),
)
LEVELS = '[{width = 96, depth = 1, attention = "axial", mlp_ratio = 2}, {width = 160, depth = 3}]'
PRIOR = (
    *("--batch_size", COUNT, "--warmup", 20, "--learning_rate", 4e-3, "--ema_decay", 0.95, "--workers", 0),
    *("--holes.everything", "true", "--unroll_every", 2, "--validation_pictures", COUNT),
    *("--model.grid", [SIZE // FACTOR] * 2, "--model.levels", LEVELS, *CODES),
)


class Names:
    """Names of pictures that need not exist, for :func:`train.data.split`."""

    def __init__(self, names: Sequence[str]):
        self.names = names

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        return self.names[index]


def two_names(number: int) -> tuple[str, str]:
    """A name for a picture on the training side of the split, and one on the held-out side."""
    names = Names([f"portrait-{number}-{letter}.png" for letter in "abcdefghijklmnopqrstuvwxyz"])
    training, held_out = split(names, HELD_OUT)
    return names.name(training.indices[0]), names.name(held_out.indices[0])


def draw_pictures(folder: Path) -> np.ndarray:
    """Draw the portraits, save each under both of its names; returns uint8 ``(n, H, W, 3)``."""
    folder.mkdir(parents=True)
    pictures = [portraits.draw(seed, SIZE).image for seed in range(COUNT)]
    for number, picture in enumerate(pictures):
        for name in two_names(number):
            Image.fromarray(picture).save(folder / name)
    return np.stack(pictures)


def first_reached(
    run: Path, marks: Sequence[Sequence[float]], good: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """Step and seconds of the first validation that is good; None for both if there is none.

    The seconds are those until its step was made, with the validations before it.
    """
    seconds = {step: ended for step, ended, _ in marks}
    for line in (run / "validation.jsonl").read_text().splitlines():
        numbers = json.loads(line)
        if good(numbers):
            return {"step": numbers["step"], "seconds": seconds[numbers["step"]]}
    return {"step": None, "seconds": None}


def good_picture(numbers: dict[str, Any]) -> bool:
    """Whether a validation reaches the goal with tokens: before the codebooks start there are none."""
    return "usage" in numbers and numbers["psnr"] > PSNR


@torch.no_grad()
def psnr(tokenizer: Any, pictures: np.ndarray) -> list[float]:
    """PSNR in dB of each picture through tokens and back."""
    values = []
    for picture in pictures:
        target = to_tensor(picture[None])
        output = tokenizer.decode(tokenizer.encode(target)).clamp(-1, 1)
        values.append(-10 * math.log10(float((output - target).square().mean()) / 4))
    return values


@torch.no_grad()
def accuracy(denoiser: Any, tokens: Tensor, rate: float = RATE, seed: int = 0) -> dict[str, float]:
    """Share of right codes where whole pictures are hidden and corrupted.

    ``most_likely``: the likeliest value of each code given the cell's true codes before it, which is what the
    trainers report; ``drawn``: a sample of the chain's next state, each code given the drawn ones.

    Args:
        denoiser: of :class:`sundae.hourglass.Hourglass`'s form.
        tokens: int64 ``(B, h, w, q)``.
        rate: share of the cells that become noise.
        seed: of the noise.
    """
    chance = torch.Generator().manual_seed(seed)
    hole = torch.ones(tokens.shape[:3], dtype=torch.bool)
    corrupted = corrupt(tokens, hole, torch.full((len(tokens),), rate), denoiser.codebook_size, chance)
    result = unrolled_loss(denoiser, tokens, corrupted, hole, torch.empty(len(tokens), 0, *tokens.shape[1:]))
    uniforms = torch.rand(tokens.shape, generator=chance)
    hidden = denoiser.hidden(corrupted, ~hole)[hole]
    drawn = draw_cells(denoiser, hidden, corrupted[hole], uniforms[hole])
    return {
        "most_likely": float(result.accuracy),
        "drawn": float((drawn == tokens[hole]).float().mean()),
    }


def learn_pictures(folder: Path, steps: int, minutes: float) -> dict[str, Any]:
    """Train the tokenizer on the portraits; returns what it reached."""
    pictures, out = draw_pictures(folder / "pictures"), folder / "tokenizer"
    words = ["--data", folder / "pictures", *TOKENIZER, *quiet(out), "--steps", steps]
    words += ["--evaluate_minutes", minutes]
    found = watched("train_tokenizer", words, folder / "tokenizer.json", cpu=True)
    tokenizer, _ = export.averaged(str(out), TOKENIZERS, "tokenizer")
    values = psnr(tokenizer.eval(), pictures)
    return {
        "psnr": float(np.mean(values)),
        "worst_psnr": min(values),
        "goal": PSNR,
        "goal_met": float(np.mean(values)) > PSNR,
        "reached": first_reached(out, found["marks"], good_picture),
        "steps": steps,
        "seconds": found["marks"][-1][1],
    }


def learn_tokens(folder: Path, steps: int, minutes: float) -> dict[str, Any]:
    """Encode the portraits and train the prior on their tokens; returns what it reached."""
    bundle, tokens, out = folder / "export", folder / "tokens", folder / "prior"
    export.main(["--tokenizer", str(folder / "tokenizer"), "--out", str(bundle)])
    words = ["--data", folder / "pictures", "--size", SIZE, "--part", "training", "--held_out", HELD_OUT]
    words += ["--tokenizer", bundle, "--out", tokens, "--mirror", "false", "--workers", 0]
    watched("encode_dataset", words, folder / "encode.json", cpu=True)
    words = ["--tokens", tokens, "--validation", tokens, "--tokenizer", bundle, *quiet(out), *PRIOR]
    words += ["--steps", steps, "--evaluate_minutes", minutes]
    found = watched("train_prior", words, folder / "prior.json", cpu=True)
    denoiser, _ = export.averaged(str(out), PRIORS, "hourglass")
    shards = TokenShards(tokens)
    grids = torch.stack([torch.from_numpy(shards.grid(i, 0)) for i in range(len(shards))])
    values = accuracy(denoiser.eval(), grids)
    return {
        "pictures": len(shards),
        "accuracy": values,
        "rate": RATE,
        "goal": ACCURACY,
        "goal_met": values["most_likely"] > ACCURACY,
        "reached_in_the_middle": first_reached(
            out, found["marks"], lambda numbers: numbers["accuracy"][str(RATE)] > ACCURACY
        ),
        "steps": steps,
        "seconds": found["marks"][-1][1],
    }


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the command line; returns what is printed."""
    parser = argparse.ArgumentParser(prog="python benchmarks/overfit.py", description="Learn by heart.")
    parser.add_argument("--tokenizer-steps", type=int, default=300)
    parser.add_argument("--prior-steps", type=int, default=250)
    parser.add_argument("--minutes", type=float, default=0.25, help="between two validations")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer = learn_pictures(folder, given.tokenizer_steps, given.minutes)
        prior = learn_tokens(folder, given.prior_steps, given.minutes)
    result = {"machine": machine(), "portraits": COUNT, "size": SIZE, "tokenizer": tokenizer, "prior": prior}
    print(json.dumps(rounded(result), indent=1))
    return result


if __name__ == "__main__":
    settings.guard(main)
