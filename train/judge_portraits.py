"""Judge a model on drawn portraits: error inside the hole, known pixels, and use of the surroundings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from train import features, portraits
from train.fills import METHODS, fill, reconstruction, whole_picture
from train.judge import Setup, mean
from train.portrait_context import context, context_table, summarise_context
from train.records import Record

VERSION = 1  # of what is measured; older records are measured again


class Portraits:
    """The portraits of the seeds ``first .. first + count - 1``, none of which any training draws."""

    field = "seed"

    def __init__(
        self, setup: Setup, first: int = portraits.HELD_OUT.start, count: int = len(portraits.HELD_OUT)
    ):
        self.setup, self.items, self.key = setup, range(first, first + count), setup.key(VERSION)

    def measure(self, seed: int) -> Record:
        """Everything measured on one portrait, as plain JSON; the sampler's seed is the portrait's.

        Raises:
            AssertionError: if a pixel outside a hole changed.
        """
        model, net = self.setup.model, self.setup.net
        portrait = portraits.draw(seed, model.resolution, labels=True)
        holes = portraits.region_masks(portrait, model.resolution)
        whole = reconstruction(model, portrait.image)
        record: Record = {"seed": seed, "tokenizer": whole_picture(portrait.image, whole), "holes": {}}
        for name in self.setup.masks:
            hole = holes[name]
            pictures, run = fill(model, portrait.image, hole, self.setup.sampler, seed)
            measured = inside_hole(portrait.image, pictures, hole, net)
            seen = {**pictures, "reconstruction": whole, "original": portrait.image}
            shown = context(portrait, seen, name, hole)
            record["holes"][name] = {"methods": measured, "context": shown} | run
        return record

    def summarise(self, records: Sequence[Record]) -> dict[str, Any]:
        """Means over portraits, by mask and method; rates of the context questions with 95 % intervals."""
        masks = self.setup.masks
        holes = {name: mean_of_holes([record["holes"][name] for record in records]) for name in masks}
        holes["all"] = mean_of_holes([record["holes"][name] for record in records for name in masks])
        return {
            "portraits": len(records),
            "seeds": [record["seed"] for record in (records[0], records[-1])],
            "tokenizer": {
                name: mean(record["tokenizer"][name] for record in records) for name in ("psnr", "ssim")
            },
            "outside_psnr": "infinite: every known pixel of every result is identical",
            "holes": holes,
            "context": summarise_context(records, masks),
        }

    def tables(self, summary: dict[str, Any]) -> str:
        """The summary as Markdown for a README."""
        first, last = summary["seeds"]
        whole, net = summary["tokenizer"], summary["random_features"]
        lines = [
            f"Model `{summary['model']}` (prior `{summary['prior_hash'][:12]}`), {summary['portraits']} held-out "
            f"portraits (seeds {first:,} to {last:,}), redrawn once with the portrait's seed, at most "
            f"{summary['sampler']['steps']} steps. Outside the hole every pixel of every result is identical to "
            "the original (asserted).",
            "",
            f"Tokenizer, whole pictures: PSNR {whole['psnr']:.2f} dB, SSIM {whole['ssim']:.4f}.",
            "",
            *hole_table(summary),
            "",
            *context_table(summary["context"]),
            "",
            "First table: PSNR (dB, higher is better) / random-feature distance (×1000, lower is better) inside "
            "the hole, means over portraits. PSNR rewards a blur over a plausible face. The features are those of "
            f"a fixed random convolutional net (seed {net['seed']}, receptive field {net['receptive_field']} px, "
            f"sha256 `{net['sha256'][:12]}`).",
            "",
            "Second table, with 95 % intervals. Iris: the redrawn right eye is compared with the same portrait "
            "drawn in each of the six iris colours; the nearest must be its own. Glasses: most pixels of the "
            "hidden frame are nearer to the true colour than half of what separates it from the same portrait "
            "without glasses. Skin: CIEDE2000 between the redrawn and the kept half below 5, the difference of "
            "their lighting removed.",
        ]
        return "\n".join(lines) + "\n"


def inside_hole(
    truth: np.ndarray, pictures: dict[str, np.ndarray], hole: np.ndarray, net: features.RandomFeatures
) -> dict[str, dict[str, float]]:
    """PSNR inside the hole and random-feature distance on the crop around it, by method."""
    crop = features.crop_around(hole).slices
    expected = net(truth[crop])
    return {
        method: {
            "psnr": features.psnr(features.squared_error(truth, picture, hole)),
            "feature_distance": net.distance(expected, net(picture[crop]), hole[crop]),
        }
        for method, picture in pictures.items()
    }


def mean_of_holes(holes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean PSNR and feature distance by method, steps and seconds, over some holes."""
    methods = {
        method: {
            name: mean(hole["methods"][method][name] for hole in holes)
            for name in ("psnr", "feature_distance")
        }
        for method in METHODS
    }
    return {
        **methods,
        "steps": mean(h["steps"] for h in holes),
        "median_seconds": float(np.median([h["seconds"] for h in holes])),
    }


def hole_table(summary: dict[str, Any]) -> list[str]:
    """Rows of masks, columns of methods, cells "PSNR / distance"."""
    lines = ["| hole | " + " | ".join(METHODS.values()) + " |", "|---|" + "---|" * len(METHODS)]
    for name, values in summary["holes"].items():
        cells = [f"{values[m]['psnr']:.1f} / {1000 * values[m]['feature_distance']:.1f}" for m in METHODS]
        lines.append(f"| {name.replace('_', ' ')} | " + " | ".join(cells) + " |")
    return lines
