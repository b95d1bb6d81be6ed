"""Judge a model on photographs of aligned faces that training held out: tokenizer, prior, and redraws beside other
methods, by what is measured on each picture and on all of them as a set.

Set measures compare features of a random network (64 numbers a picture), so the Fréchet distance is called R64-FD.
Reals and fakes are the same pictures, before and after.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from train import features, metrics
from train.data import DamagedPicture, FolderSource, split
from train.face_masks import face_masks
from train.fills import METHODS, fill, reconstruction, whole_picture
from train.judge import Setup, mean
from train.prior_quality import SIZES, guesses
from train.records import Record

VERSION = "photographs 1"  # of what is measured; older records are measured again
HELD_OUT = 0.1  # share of the folder, unless told
DIGITS = 8  # of the features in a record; float32 holds no more
OPENCV = ("telea", "navier_stokes")
SET_MEASURES = ("r64_fd", "precision", "recall", "density", "coverage", "p_ids", "u_ids")
COLUMNS = (
    "R64-FD ↓",
    "feature distance ↓",
    "PSNR ↑",
    "seam (1)",
    "precision / recall ↑",
    "density / coverage ↑",
    "P-IDS / U-IDS ↑",
)


class Photographs:
    """Held-out pictures of a folder of aligned faces.

    Args:
        setup: the model and how it is asked.
        folder: the root that training used: pictures are split by their names below it.
        held_out: share of the pictures that training held out; 1 takes all, for a folder it never saw.
        min_side: px; pictures whose shorter side is below are left out.
        first, count: which of the held-out pictures, in the order of their names; all from the first by default.

    Raises:
        ValueError: if there are none.
    """

    field = "name"

    def __init__(
        self,
        setup: Setup,
        folder: Path,
        held_out: float,
        min_side: int = 0,
        first: int = 0,
        count: int | None = None,
    ):
        self.setup, self.key = setup, setup.key(VERSION)
        self.data = {"held_out": held_out, "min_side": min_side}
        self.pictures = held_out_pictures(folder, setup.model.resolution, held_out, min_side)
        names = [self.pictures.name(i) for i in range(len(self.pictures))]
        self.index = {name: i for i, name in enumerate(names)}
        self.items = names[first:] if count is None else names[first : first + count]
        if not self.items:
            raise ValueError(f"expected first below the {len(names)} held-out pictures, got {first}")

    def measure(self, name: str) -> Record | None:
        """Everything measured on one picture, as plain JSON; the sampler's seed comes from the name. None for a
        damaged picture, after telling its name.

        Raises:
            AssertionError: if a pixel outside a hole changed.
        """
        try:
            truth = self.pictures[self.index[name]]
        except DamagedPicture as error:
            print(f"{error}; it is left out", file=sys.stderr, flush=True)
            return None
        model, net, seed = self.setup.model, self.setup.net, seed_of(name)
        whole, everywhere = reconstruction(model, truth), np.ones(truth.shape[:2], bool)
        record: Record = {
            "name": name,
            "tokenizer": whole_picture(truth, whole),
            "features": {
                "original": rounded(net.embedding(net(truth), everywhere)),
                "reconstruction": rounded(net.embedding(net(whole), everywhere)),
            },
            "prior": guesses(model, truth, seed),
            "holes": {},
        }
        holes = face_masks(model.resolution)
        for mask in self.setup.masks:
            pictures, run = fill(model, truth, holes[mask], self.setup.sampler, seed)
            record["holes"][mask] = measure_hole(truth, pictures, holes[mask], net) | run
        return record

    def summarise(self, records: Sequence[Record]) -> dict[str, Any]:
        """Means over pictures and measures of the whole set, by mask and method."""
        masks = self.setup.masks
        holes = {mask: summarise_holes([record["holes"][mask] for record in records]) for mask in masks}
        holes["all"] = summarise_holes([record["holes"][mask] for record in records for mask in masks])
        embeddings = {
            name: [record["features"][name] for record in records] for name in ("original", "reconstruction")
        }
        return {
            "photographs": len(records),
            "names": [record["name"] for record in (records[0], records[-1])],
            "data": self.data,
            "tokenizer": {
                **{name: mean(record["tokenizer"][name] for record in records) for name in ("psnr", "ssim")},
                **compare(embeddings["original"], embeddings["reconstruction"]),
            },
            "prior": summarise_guesses([record["prior"] for record in records], self.setup),
            "outside_psnr": "infinite: every known pixel of every result is identical",
            "better_than_opencv": [mask for mask in masks if better_than_opencv(holes[mask])],
            "holes": holes,
        }

    def tables(self, summary: dict[str, Any]) -> str:
        """The summary as Markdown: tokenizer, prior, and a table for each mask and for all."""
        return "\n".join(tables(summary)) + "\n"


def held_out_pictures(folder: Path, size: int, held_out: float, min_side: int = 0):
    """The held-out side of :func:`train.data.split`, at ``size`` px; ValueError if there is no such picture."""
    if not 0 < held_out <= 1:
        raise ValueError(f"expected held_out above 0 and at most 1, got {held_out}")
    _, pictures = split(FolderSource(folder, size, min_side), held_out)
    if not len(pictures):
        raise ValueError(f"expected held-out pictures in {folder}, found none: a larger held_out takes more")
    return pictures


def seed_of(name: str) -> int:
    """The seed of a picture: a hash of its name (other bytes than decide the split), whatever else is judged."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[4:8], "big")


def rounded(embedding: np.ndarray) -> list[float]:
    return [round(float(value), DIGITS) for value in embedding]


def measure_hole(
    truth: np.ndarray, pictures: Mapping[str, np.ndarray], hole: np.ndarray, net: features.RandomFeatures
) -> dict[str, Any]:
    """``methods``: PSNR inside the hole, random-feature distance to the truth on the crop around it and the gradient
    across the edge, by method; ``edge``: that gradient in the truth; ``features``: the hole's, by method."""
    crop = features.crop_around(hole).slices
    seen = {name: net(picture[crop]) for name, picture in {"original": truth, **pictures}.items()}
    methods = {
        method: {
            "psnr": features.psnr(features.squared_error(truth, picture, hole)),
            "feature_distance": net.distance(seen["original"], seen[method], hole[crop]),
            "edge": features.across_edge(picture, hole),
        }
        for method, picture in pictures.items()
    }
    return {
        "methods": methods,
        "edge": features.across_edge(truth, hole),
        "features": {name: rounded(net.embedding(value, hole[crop])) for name, value in seen.items()},
    }


# -- summary -------------------------------------------------------------------------------------------------


def compare(real: Sequence[Sequence[float]], fake: Sequence[Sequence[float]]) -> dict[str, float | None]:
    """All measures of two sets; None each where there are too few pictures for neighbours."""
    if len(real) <= metrics.NEIGHBOURS:
        return dict.fromkeys(SET_MEASURES)
    return {
        "r64_fd": metrics.frechet_distance(real, fake),
        **metrics.prdc(real, fake),
        **metrics.discriminative_scores(real, fake),
    }


def summarise_holes(holes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over some holes, the seam as a ratio of means, and the set measures, by method; steps and seconds."""
    edge = mean(hole["edge"] for hole in holes)
    real = [hole["features"]["original"] for hole in holes]
    methods = {
        method: {
            **compare(real, [hole["features"][method] for hole in holes]),
            "feature_distance": mean(hole["methods"][method]["feature_distance"] for hole in holes),
            "psnr": mean(hole["methods"][method]["psnr"] for hole in holes),
            "seam": mean(hole["methods"][method]["edge"] for hole in holes) / edge,
        }
        for method in METHODS
    }
    return {
        **methods,
        "samples": len(holes),
        "steps": mean(hole["steps"] for hole in holes),
        "median_seconds": float(np.median([hole["seconds"] for hole in holes])),
    }


def summarise_guesses(guessed: Sequence[Mapping[str, Any]], setup: Setup) -> dict[str, Any]:
    """Cross-entropy by size of hole and accuracy by corruption rate, means over pictures; ``cells``: what the sizes
    are on the grid; ``chance``: cross-entropy of a prior that knows nothing."""
    prior = setup.model.prior
    assert prior is not None
    grid = [setup.model.resolution // setup.model.downsample_factor] * 2
    by_code = {
        str(size): np.mean([each["cross_entropy"][str(size)] for each in guessed], axis=0) for size in SIZES
    }
    return {
        "chance": math.log(prior.codebook_size),
        "cells": {str(size): [max(1, int(side * size)) for side in grid] for size in SIZES},
        "cross_entropy": {
            size: {"mean": float(values.mean()), "by_code": values.tolist()}
            for size, values in by_code.items()
        },
        "accuracy": {
            rate: mean(each["accuracy"][rate] for each in guessed) for rate in guessed[0]["accuracy"]
        },
    }


def better_than_opencv(hole: Mapping[str, Any]) -> bool:
    """Whether the model beats both OpenCV methods on R64-FD and on the distance to the truth."""
    own = hole["sundae"]
    return own["r64_fd"] is not None and all(
        own[name] < hole[other][name] for other in OPENCV for name in ("r64_fd", "feature_distance")
    )


# -- tables --------------------------------------------------------------------------------------------------


def tables(summary: Mapping[str, Any]) -> list[str]:
    whole, net, count = summary["tokenizer"], summary["random_features"], summary["photographs"]
    masks = [mask for mask in summary["holes"] if mask != "all"]
    lines = [
        f"Model `{summary['model']}` (prior `{summary['prior_hash'][:12]}`), {count} held-out photographs, redrawn "
        f"once each with a seed of its name, at most {summary['sampler']['steps']} steps. Outside the hole every "
        "pixel of every result is identical to the original (asserted), so PSNR there is infinite.",
        "",
        f"Tokenizer, whole pictures: PSNR {whole['psnr']:.2f} dB, SSIM {whole['ssim']:.4f}, "
        f"R64-FD {number(whole['r64_fd'], '.3g', 1000)}.",
        "",
        *guess_table(summary["prior"]),
        "",
    ]
    for mask in (*masks, "all"):
        title = f"All {len(masks)} masks" if mask == "all" else mask.replace("_", " ").capitalize()
        lines += [f"### {title}", "", *method_table(summary["holes"][mask]), ""]
    beaten = ", ".join(mask.replace("_", " ") for mask in summary["better_than_opencv"]) or "no mask"
    few = f"With {count} pictures for {net['dimensions']} dimensions R64-FD is biased upwards. "
    few *= count < net["dimensions"]
    return [
        *lines,
        f"Better than both OpenCV methods on R64-FD and feature distance: {beaten}.",
        "",
        f"R64-FD (×1000): Fréchet distance of the hole's {net['dimensions']} features in a fixed random convolutional "
        f"net (seed {net['seed']}, receptive field {net['receptive_field']} px, sha256 `{net['sha256'][:12]}`) to those "
        f"of the original holes. It is no FID, and only numbers of this page compare. {few}"
        "Feature distance (×1000): to the truth, inside the hole. PSNR in dB inside the hole: it rewards a blur over "
        "a plausible face. Seam: gradient across the hole's edge relative to the original's; 1 is none, below is "
        f"blur. Precision to coverage with {metrics.NEIGHBOURS} neighbours, P-IDS and U-IDS (%) by a linear SVM, on the "
        "same features. All masks: the holes of all masks as one set.",
    ]


def guess_table(guessed: Mapping[str, Any]) -> list[str]:
    """Cross-entropy by size of hole, accuracy by corruption rate."""
    sizes = {size: f"{height}×{width}" for size, (height, width) in guessed["cells"].items()}
    entropies = guessed["cross_entropy"]
    codes = range(len(next(iter(entropies.values()))["by_code"]))
    lines = [
        f"| cross-entropy (nats; chance {guessed['chance']:.2f}) in holes of … cells | "
        + " | ".join(sizes.values())
        + " |",
        "|---|" + "---|" * len(sizes),
        "| mean | " + " | ".join(f"{entropies[size]['mean']:.3f}" for size in sizes) + " |",
        *(
            f"| code {j + 1} | " + " | ".join(f"{entropies[size]['by_code'][j]:.3f}" for size in sizes) + " |"
            for j in codes
        ),
    ]
    rates = guessed["accuracy"]
    return [
        *lines,
        "",
        "| corruption r of a hole of half the side | " + " | ".join(rates) + " |",
        "|---|" + "---|" * len(rates),
        "| right codes in it | " + " | ".join(f"{100 * share:.0f} %" for share in rates.values()) + " |",
    ]


def method_table(hole: Mapping[str, Any]) -> list[str]:
    """Rows of methods, columns of measures."""
    lines = ["| method | " + " | ".join(COLUMNS) + " |", "|---|" + "---|" * len(COLUMNS)]
    for method, title in METHODS.items():
        values = hole[method]
        cells = (
            number(values["r64_fd"], ".3g", 1000),
            number(values["feature_distance"], ".1f", 1000),
            number(values["psnr"], ".1f"),
            number(values["seam"], ".2f"),
            f"{number(values['precision'], '.2f')} / {number(values['recall'], '.2f')}",
            f"{number(values['density'], '.2f')} / {number(values['coverage'], '.2f')}",
            f"{number(values['p_ids'], '.1f', 100)} / {number(values['u_ids'], '.1f', 100)}",
        )
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return lines


def number(value: float | None, form: str, scale: float = 1) -> str:
    """A cell; "–" for what too few pictures left open."""
    return "–" if value is None else format(scale * value, form)
