"""Train a prior on scikit-learn's digits, draw digits of every class and have them judged: ``python train/digits.py``.

1,797 pictures of 8 x 8 grey values from 0 to 16 come with scikit-learn, so nothing is downloaded and nothing is
encoded: the grey values are the tokens (SUNDAE on raw pixels; McKinney & Willcocks 2022 did so on MNIST). The
training is that of ``train.train_prior``; a repeated command goes on where the last one stopped. Settings:
``train/configs/prior-digits.toml``, each of which can be given on the command line. One process, no GPU needed.

Prints JSON and leaves it as ``result.json`` beside ``samples.png``, one row a class, in the folder ``out``.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

if not __package__:  # run as a file: look for packages in the repository, not in this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import hashlib
import json
import time
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

from benchmarks.inpaint import machine, rounded
from sundae.objective import Denoiser
from sundae.sampler import SamplerConfig, sample
from train import settings, train_prior
from train.checkpoints import Checkpoints, step_of
from train.encode_dataset import prepare_index, save_array
from train.report import parameter_count
from train.train_prior import PriorSettings, PriorTrainer, report_sizes

CONFIG = Path(__file__).resolve().parent / "configs" / "prior-digits.toml"
SIDE = 8  # px
LEVELS = 17  # grey values
CLASSES = 10
SHOWN = 10  # samples of a class in the picture
ENLARGED = 8  # px of the picture for one of a digit's
PAPER = 235  # grey between digits


@dataclass(frozen=True)
class DigitSampling(SamplerConfig):
    """Settings of the sampler that suit digits: more steps than a face's hole needs, and warmer to the end."""

    steps: int = 40
    temperature_start: float = 1.0
    temperature_end: float = 0.6
    early_stop: bool = False


@dataclass(frozen=True)
class DigitsSettings(PriorSettings):
    """Settings of a prior run on digits, and of what is done with it.

    Raises:
        ValueError: if hardly a digit, or most of them, would be held out, or none drawn.
    """

    held_out: float = 0.2  # share of the digits, by their grey values, that are never trained on
    per_class: int = 50  # digits drawn of each class
    sampling: DigitSampling = field(default_factory=DigitSampling)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.05 <= self.held_out <= 0.5:  # below, a class might have no digit to judge by
            raise ValueError(f"expected held_out from 0.05 to 0.5, got {self.held_out}")
        if self.per_class < 1:
            raise ValueError(f"expected per_class of at least 1, got {self.per_class}")


@dataclass(frozen=True)
class Digits:
    """Digits with their classes."""

    values: np.ndarray  # uint16 (N, 8, 8) in [0, 16]
    labels: np.ndarray  # int64 (N,) in [0, 9]

    def __len__(self) -> int:
        return len(self.values)

    def only(self, chosen: np.ndarray) -> Digits:
        """The digits where bool ``chosen (N,)`` holds."""
        return Digits(self.values[chosen], self.labels[chosen])


def real_digits(held_out: float) -> tuple[Digits, Digits]:
    """Training and held-out digits. A hash of the grey values decides, so that two digits that are equal pixel
    for pixel lie on one side, as :func:`train.data.split` does it with the names of files."""
    bunch = load_digits()
    digits = Digits(bunch.images.astype(np.uint16), bunch.target.astype(np.int64))
    digests = [hashlib.sha256(value.astype(np.uint8).tobytes()).digest() for value in digits.values]
    out = np.array([int.from_bytes(digest[:4], "big") < held_out * 2**32 for digest in digests])
    return digits.only(~out), digits.only(out)


def write_shards(folder: Path, digits: Digits, held_out: float) -> None:
    """Digits as token shards, which :class:`~train.tokens.TokenShards` reads: one version, no mirror image.

    Raises:
        ValueError: if the folder holds other tokens, or digits that were split at another share.
    """
    index = {
        "tokenizer": "",
        "grid": [SIDE, SIDE],
        "depth": 1,
        "codebook_size": LEVELS,
        "versions": 1,
        "classes": CLASSES,
        "class_names": [str(digit) for digit in range(CLASSES)],
        "held_out": held_out,
    }
    prepare_index(folder, index)
    save_array(folder / "labels-digits.npy", digits.labels)
    save_array(folder / "tokens-digits.npy", digits.values[:, None, :, :, None])


class Stopwatch:
    """Minutes since it was made, on the wall's clock and on the processor's: a busy machine parts the two."""

    def __init__(self) -> None:
        self.wall, self.processor = time.monotonic(), time.process_time()

    def minutes(self) -> dict[str, float]:
        return {
            "minutes": (time.monotonic() - self.wall) / 60,
            "cpu_minutes": (time.process_time() - self.processor) / 60,
        }


def train(options: DigitsSettings) -> tuple[PriorTrainer, dict[str, Any]]:
    """The trainer after its last step, and what this call's steps took; goes on with a run that is there."""
    newest = Checkpoints(Path(options.out)).newest()
    first, watch = step_of(newest) if newest else 0, Stopwatch()
    trainer = train_prior.train(options)
    sizes = {"parameters": parameter_count(trainer.denoiser), "steps": trainer.step}
    return trainer, {**sizes, "steps_now": trainer.step - first, **watch.minutes()}


def draw(denoiser: Denoiser, config: SamplerConfig, per_class: int, seed: int) -> Digits:
    """``per_class`` digits of each class in turn, all from nothing.

    Args:
        denoiser: a network with ten classes over grey values, on the CPU.
        config: settings of the sampler.
        per_class: digits of each class.
        seed: of the first digit; the others follow, and no two values of ``seed`` share one.
    """
    labels = np.arange(CLASSES).repeat(per_class)
    empty = torch.zeros(1, SIDE, SIDE, 1, dtype=torch.int64)
    hole = torch.ones(1, SIDE, SIDE, dtype=torch.bool)
    seeds = list(range(seed * len(labels), (seed + 1) * len(labels)))
    *_, last = sample(denoiser, empty, hole, config, seeds, batch_size=per_class, labels=labels.tolist())
    return Digits(last.tokens[..., 0].numpy().astype(np.uint16), labels)


def rows(digits: Digits) -> np.ndarray:
    """Digits as a classifier takes them: float64 ``(N, 64)`` in [0, 1]."""
    return digits.values.reshape(len(digits), -1) / (LEVELS - 1)


def fit_judge(digits: Digits) -> GridSearchCV:
    """A support vector machine with a radial kernel, tuned by cross-validation on these digits alone."""
    grid = {"gamma": [0.06, 0.12, 0.25, 0.5], "C": [3, 10]}
    return GridSearchCV(SVC(), grid, cv=4).fit(rows(digits), digits.labels)


def accuracy(judge: GridSearchCV, digits: Digits) -> float:
    """Share of the digits that the judge takes for their own class."""
    return float((judge.predict(rows(digits)) == digits.labels).mean())


def count_copies(samples: Digits, originals: Digits) -> int:
    """Samples that equal an original pixel for pixel."""
    known = {value.tobytes() for value in originals.values}
    return sum(value.tobytes() in known for value in samples.values)


def nearest(samples: Digits, originals: Digits) -> np.ndarray:
    """Euclidean distance in grey values from each sample to the original next to it: float64 ``(N,)``."""
    flat = originals.values.reshape(len(originals), -1).astype(np.float64)
    each = samples.values.reshape(len(samples), -1).astype(np.float64)
    return np.array([np.sqrt(((flat - one) ** 2).sum(1).min()) for one in each])


def spread(digits: Digits) -> float:
    """Mean distance in grey values between two digits of one class: small if a class always looks the same."""
    means = []
    for label in range(CLASSES):
        flat = digits.only(digits.labels == label).values.reshape(-1, SIDE * SIDE).astype(np.float64)
        distances = np.sqrt(((flat[:, None] - flat[None]) ** 2).sum(-1))
        means.append(distances.sum() / max(1, len(flat) * (len(flat) - 1)))
    return float(np.mean(means))


def describe(digits: Digits, training: Digits, judge: GridSearchCV) -> dict[str, Any]:
    """What can be told of digits that were not trained on, drawn or real."""
    distances = nearest(digits, training)
    return {
        "count": len(digits),
        "accuracy": accuracy(judge, digits),
        "accuracy_by_class": [
            round(accuracy(judge, digits.only(digits.labels == label)), 3) for label in range(CLASSES)
        ],
        "copies_of_training_digits": count_copies(digits, training),
        "nearest_training_digit": {
            "min": float(distances.min()),
            "median": float(np.median(distances)),
            "max": float(distances.max()),
        },
        "spread_in_a_class": spread(digits),
    }


def sheet(digits: Digits) -> Image.Image:
    """The first digits of each class, dark on white, one row a class."""
    rows_of_classes = []
    for label in range(CLASSES):
        values = digits.only(digits.labels == label).values[:SHOWN].astype(np.float64)
        grey = (255 - values * 255 / (LEVELS - 1)).round().astype(np.uint8)
        framed = np.pad(grey, ((0, 0), (1, 1), (1, 1)), constant_values=PAPER)
        rows_of_classes.append(np.concatenate(list(framed), 1))
    pixels = np.concatenate(rows_of_classes)
    return Image.fromarray(pixels.repeat(ENLARGED, 0).repeat(ENLARGED, 1))


def main(argv: list[str] | None = None) -> dict[str, Any] | None:
    """Run the command line; returns what is printed, or None for a dry run."""
    words = sys.argv[1:] if argv is None else argv
    options, flags = settings.parse(DigitsSettings, __doc__, ["--config", str(CONFIG), *words])
    if flags.dry_run:
        return report_sizes(options)
    training, held_out = real_digits(options.held_out)
    write_shards(Path(options.tokens), training, options.held_out)
    write_shards(Path(options.validation), held_out, options.held_out)
    trainer, effort = train(options)
    watch = Stopwatch()
    samples = draw(trainer.averaged().cpu(), options.sampling, options.per_class, options.seed)
    sampling = watch.minutes()
    judge, out = fit_judge(training), Path(options.out)
    sheet(samples).save(out / "samples.png")
    result = {
        "machine": machine(),
        "seed": options.seed,
        "training": {"digits": len(training), **effort},
        "sampling": sampling,
        "judge": {key: float(value) for key, value in judge.best_params_.items()},
        "held_out": describe(held_out, training, judge),
        "samples": describe(samples, training, judge),
        "picture": str(out / "samples.png"),
    }
    text = json.dumps(rounded(result), indent=1)
    (out / "result.json").write_text(text)
    print(text)
    return result


if __name__ == "__main__":
    settings.guard(main)
