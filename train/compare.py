"""Compare priors over one tokenizer: whole samples and inpaintings, by what is measured on the set of them.

    python train/evaluate.py --compare illustrated-1024 runs/absorbing runs/autoregressive --out runs/comparison
    python train/evaluate.py --compare BUNDLE ... --data FOLDER --held-out 0.1 --features inception.pt --out DIR

Every prior is asked for a whole picture and to fill five kinds of holes (train/mask_kinds.py) in each held-out
picture, at each number of --steps; a prior that writes cell by cell at one for each cell. Every picture in a row is
one line of OUT/records.jsonl, written when it is finished: a stopped run goes on there, and a bundle that is added
later is measured alone. OUT gets comparison.json, comparison.md, a contact sheet for each row, the nearest training
pictures of each prior's samples, and steps.png, quality against steps.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sundae
from benchmarks.inpaint import fresh_process, machine
from sundae import image as images
from sundae.priors.absorbing import Absorbing
from sundae.priors.autoregressive import Autoregressive
from train import compare_report, features, metrics, portraits, settings
from train.contestants import Contestant, Original, Reconstruction, Redraw, baselines, contestants
from train.data import DamagedPicture, FolderSource, PictureSource, PortraitSource, Subset, split
from train.extractors import Extractor, open_extractor
from train.judge import mean
from train.judge_photographs import HELD_OUT, rounded, seed_of
from train.mask_kinds import KINDS, SIDES, hidden_side, kind_masks
from train.records import Record, complete

VERSION = "comparison 1"  # of what is measured; older records are measured again
STEPS = (10, 20, 50, 100)
COUNT, TRAINING = 64, 512  # pictures, unless told
EXACT = 100.0  # dB that a hole filled without any error counts as in a mean
SAMPLES = 16  # whose nearest training pictures are shown
UNLEARNED = "held-out pictures, reconstructed"  # beside the models' samples
MEASURES = ("frechet", "precision", "recall", "density", "coverage", "p_ids", "u_ids")


# -- what is measured ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pictures:
    """Held-out pictures to be judged on, and those that the priors may have learned by heart."""

    held_out: PictureSource
    training: PictureSource | None  # None where everything is held out


def open_pictures(given: argparse.Namespace, size: int) -> Pictures:
    """Portraits, or both sides of a folder; ValueError if there are none to judge."""
    if given.data is None:
        first = portraits.HELD_OUT.start if given.first is None else given.first
        training = PortraitSource(0, given.training, size) if given.training else None
        return Pictures(PortraitSource(first, given.count, size), training)
    held_out = HELD_OUT if given.held_out is None else given.held_out
    if not 0 < held_out <= 1:
        raise ValueError(f"expected --held-out above 0 and at most 1, got {held_out}")
    learned, judged = split(FolderSource(given.data, size, given.min_side or 0), held_out)
    first = given.first or 0
    if not judged.indices[first:]:
        raise ValueError(f"expected --first below the {len(judged)} held-out pictures, got {first}")
    known = Subset(learned.source, learned.indices[: given.training])
    return Pictures(
        Subset(judged.source, judged.indices[first:][: given.count]), known if len(known) else None
    )


class Comparison:
    """Rows and pictures, and the record of each row on each picture.

    Args:
        models: by the names they have in tables; all with a prior, over one tokenizer and grid.
        steps: of the rows.
        pictures: to be judged on.
        extractor: of the features.
        holes: kinds of holes that each picture has, chosen by its seed if not all.
        out: the folder.

    Raises:
        ValueError: as :func:`check_models` and :class:`train.contestants.Redraw`.
    """

    def __init__(
        self,
        models: Mapping[str, sundae.Model],
        steps: list[int],
        pictures: Pictures,
        extractor: Extractor,
        holes: int,
        out: Path,
    ):
        check_models(models)
        first = next(iter(models.values()))
        self.models, self.pictures, self.extractor, self.holes = models, pictures, extractor, holes
        self.rows = [row for name, model in models.items() for row in contestants(model, name, steps)]
        self.all_rows: list[Contestant] = [Original(), *self.rows, *baselines(first)]
        self.size, tokenizer = first.resolution, first.config["parts"]["tokenizer"]["hash"]
        content = [VERSION, tokenizer, self.size, KINDS, holes, extractor.hash]
        self.key = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
        self.strips = out / "pictures" / self.key
        self.names = [pictures.held_out.name(i) for i in range(len(pictures.held_out))]
        self.drawn: tuple[int, np.ndarray] | None = None  # the picture that is being judged

    @cached_property
    def work(self) -> dict[str, tuple[int, Contestant | str]]:
        """What each record is of: a picture and a row, or a picture and the model whose bits are counted. Picture by
        picture, so that a stopped run has all rows of the same pictures."""
        return {
            f"{self.names[i]}|{of if isinstance(of, str) else of.id}": (i, task)
            for i in range(len(self.names))
            for of, task in (
                *((row, row) for row in self.all_rows),
                *((f"bits-{model.hash}", name) for name, model in self.models.items()),
            )
        }

    def measure(self, item: str) -> Record | None:
        """A record; None for a damaged picture, after telling its name.

        Raises:
            AssertionError: if a pixel outside a hole changed.
        """
        index, task = self.work[item]
        try:
            truth = self.truth(index)
        except DamagedPicture as error:
            print(f"{error}; it is left out", file=sys.stderr, flush=True)
            return None
        head = {"item": item, "name": self.names[index], "seed": seed_of(self.names[index])}
        if isinstance(task, str):
            return head | {"bits": self.bits(self.models[task], truth, head["seed"])}
        return head | self.draw(task, truth, index, head["seed"])

    def truth(self, index: int) -> np.ndarray:
        """A held-out picture; kept until another one is asked for."""
        if self.drawn is None or self.drawn[0] != index:
            self.drawn = index, self.pictures.held_out[index]
        return self.drawn[1]

    def masks(self, index: int) -> dict[str, np.ndarray]:
        """The holes of a picture: all kinds, or some that its seed chooses."""
        seed = seed_of(self.names[index])
        every = kind_masks(self.size, seed)
        turn = {KINDS[(seed + j) % len(KINDS)] for j in range(self.holes)}
        return {name: hole for name, hole in every.items() if name in turn}

    def draw(self, row: Contestant, truth: np.ndarray, index: int, seed: int) -> Record:
        """A row's answers to one picture: features and cost of a whole picture and of each hole, error in the hole.
        What was drawn is kept as a strip of small pictures."""
        masks, shown = self.masks(index), {}
        whole = row.whole(truth, seed)
        record: Record = {"holes": {}}
        if whole is not None:
            layout = rounded(self.extractor.layout(whole.picture))
            record["whole"] = self.looked_at(whole, np.ones(truth.shape[:2], bool)) | {"layout": layout}
        for name, hole in masks.items():
            filled = row.fill(truth, hole, seed)
            check_outside(row.title, truth, filled.picture, hole)
            error = features.squared_error(truth, filled.picture, hole)
            record["holes"][name] = self.looked_at(filled, hole) | {"squared_error": error}
            shown[name] = filled.picture
        strip = compare_report.strip_of(truth, masks, shown, whole.picture if whole else None)
        compare_report.save(strip, compare_report.strip_path(self.strips, row.id, seed))
        return record

    def looked_at(self, drawn: Any, hole: np.ndarray) -> dict[str, Any]:
        """Features and, if a prior drew it, cost."""
        seen: dict[str, Any] = {"features": rounded(self.extractor(drawn.picture, hole))}
        if drawn.passes is not None:
            seen |= {name: getattr(drawn, name) for name in ("seconds", "passes", "step_seconds")}
        return seen

    @torch.inference_mode()
    def bits(self, model: sundae.Model, truth: np.ndarray, seed: int) -> float:
        """Bits per token of the whole picture's tokens."""
        prior = model.prior
        assert prior is not None, "check_models"
        tokens = model.tokenizer.encode(images.to_tensor(truth).to(model.device))
        return float(
            prior.bits(tokens, torch.ones(tokens.shape[:3], dtype=torch.bool, device=tokens.device), seed)
        )


def check_models(models: Mapping[str, sundae.Model]) -> None:
    """ValueError unless all have a prior, and share one tokenizer and one grid."""
    first, *others = models.items()
    for name, model in models.items():
        if model.prior is None:
            raise ValueError(f"expected models with a prior, got the tokenizer alone ({name})")
    for name, model in others:
        hashes = [each.config["parts"]["tokenizer"]["hash"][:12] for each in (first[1], model)]
        if hashes[0] != hashes[1]:
            raise ValueError(
                f"expected models over one tokenizer, got {hashes[0]} in {first[0]} and {hashes[1]} in {name}: "
                "their numbers would not compare"
            )
        if model.resolution != first[1].resolution:
            raise ValueError(
                f"expected models of one size, got {first[1].resolution} px of {first[0]} and "
                f"{model.resolution} px of {name}"
            )


def check_outside(title: str, truth: np.ndarray, picture: np.ndarray, hole: np.ndarray) -> None:
    """AssertionError unless the PSNR outside the hole is infinite, that is, every known pixel is identical."""
    known = ~hole
    outside = features.psnr(features.squared_error(truth, picture, known)) if known.any() else np.inf
    assert outside == np.inf, f"{title} changed known pixels: PSNR outside the hole is {outside:.1f} dB"


def likelihood_of(model: sundae.Model) -> str:
    """What a prior's bits per token are."""
    if isinstance(model.prior, Autoregressive):
        return "exact"
    return "ELBO" if isinstance(model.prior, Absorbing) else "bound"


# -- nearest training pictures -------------------------------------------------------------------------------


class TrainingPictures:
    """Where training pictures have which features, measured once."""

    def __init__(self, pictures: PictureSource, size: int, extractor: Extractor, out: Path):
        self.pictures, self.extractor, self.path = pictures, extractor, out / "training.jsonl"
        self.index = {pictures.name(i): i for i in range(len(pictures))}
        content = [VERSION, size, extractor.hash]
        self.key = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    def measure(self, name: str) -> Record | None:
        """The layout of a picture's features; None for a damaged one, after telling its name."""
        try:
            picture = self.pictures[self.index[name]]
        except DamagedPicture as error:
            print(f"{error}; it is left out", file=sys.stderr, flush=True)
            return None
        return {"name": name, "layout": rounded(self.extractor.layout(picture))}

    def records(self, max_minutes: float | None) -> list[Record]:
        return complete(self.path, self.key, self.index, self.measure, max_minutes, "name")

    def picture(self, name: str) -> np.ndarray:
        return self.pictures[self.index[name]]


def nearest(
    some: Sequence[Sequence[float]], others: Sequence[Sequence[float]]
) -> tuple[np.ndarray, np.ndarray]:
    """Indices ``(n, m)`` of ``others (m, d)`` by their distance to each of ``some (n, d)``, nearest first, and these
    distances."""
    apart = metrics.distances(np.array(some, np.float64), np.array(others, np.float64))
    order = apart.argsort(axis=1, kind="stable")
    return order, np.take_along_axis(apart, order, 1)


# -- summary -------------------------------------------------------------------------------------------------


def set_measures(
    real: Sequence[Sequence[float]], fake: Sequence[Sequence[float]], paired: bool
) -> dict[str, float | None]:
    """All measures of two sets of features; None for those that need more pictures. P-IDS is for fakes that belong to
    their real ones."""
    found: dict[str, float | None] = dict.fromkeys(MEASURES)
    if min(len(real), len(fake)) >= 2:
        found |= {
            "frechet": metrics.frechet_distance(real, fake),
            **metrics.discriminative_scores(real, fake),
        }
    if min(len(real), len(fake)) > metrics.NEIGHBOURS:
        found |= metrics.prdc(real, fake)
    return found if paired else found | {"p_ids": None}


def summarise_holes(real: Sequence[Mapping[str, Any]], fake: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Measures of some filled holes beside the same holes of the originals."""
    seen, drawn = (np.array([hole["features"] for hole in some]) for some in (real, fake))
    errors = [min(EXACT, features.psnr(hole["squared_error"])) for hole in fake]
    return {
        "count": len(fake),
        **set_measures([hole["features"] for hole in real], [hole["features"] for hole in fake], True),
        "feature_distance": mean(np.linalg.norm(seen - drawn, axis=1)),
        "psnr_inside": mean(errors),
        "psnr_outside": "infinite",
        **cost(fake),
    }


def cost(drawn: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Median seconds of a picture and of a pass, mean number of passes; nothing for what no prior drew."""
    if "seconds" not in drawn[0]:
        return {}
    return {
        "seconds": float(np.median([each["seconds"] for each in drawn])),
        "step_seconds": float(np.median([each["step_seconds"] for each in drawn])),
        "passes": mean(each["passes"] for each in drawn),
    }


def summarise_row(original: Sequence[Record], records: Sequence[Record]) -> dict[str, Any]:
    """All measures of a row: whole samples, inpaintings of all kinds as one set and by kind, and halves by their side.

    Args:
        original, records: of the same pictures in the same order.
    """
    holes = {
        kind: [
            (of["holes"][kind], row["holes"][kind])
            for of, row in zip(original, records)
            if kind in row["holes"]
        ]
        for kind in KINDS
    }
    summary: dict[str, Any] = {"samples": None}
    if "whole" in records[0]:
        real, fake = ([record["whole"] for record in some] for some in (original, records))
        measured = set_measures(
            [each["features"] for each in real], [each["features"] for each in fake], False
        )
        summary["samples"] = {"count": len(fake), **measured, **cost(fake)}
    every = [pair for pairs in holes.values() for pair in pairs]
    summary["inpaintings"] = summarise_holes(*zip(*every))
    summary["by_kind"] = {kind: summarise_holes(*zip(*pairs)) for kind, pairs in holes.items() if pairs}
    summary["half_by_side"] = halves_by_side(original, records)
    return summary


def halves_by_side(original: Sequence[Record], records: Sequence[Record]) -> dict[str, Any]:
    """Measures of the hidden halves by which one was hidden: a prior that writes in raster order uses what lies above
    and left of a cell, and nothing of a picture whose upper half is hidden."""
    sides: dict[str, list[tuple[Any, Any]]] = {side: [] for side in SIDES}
    for of, row in zip(original, records):
        if "half" in row["holes"]:
            sides[hidden_side(row["seed"])].append((of["holes"]["half"], row["holes"]["half"]))
    return {side: summarise_holes(*zip(*pairs)) for side, pairs in sides.items() if pairs}


def summarise(
    comparison: Comparison, records: Sequence[Record], memory: Mapping[str, float]
) -> dict[str, Any]:
    """Everything but the nearest training pictures, as plain JSON, of the pictures that all rows have finished.

    Raises:
        ValueError: if there is none.
    """
    found = {record["item"]: record for record in records}
    wanted = {
        name: [item for item, (i, _) in comparison.work.items() if i == index]
        for index, name in enumerate(comparison.names)
    }
    names = [name for name, items in wanted.items() if all(item in found for item in items)]
    if not names:
        raise ValueError(
            "expected at least one picture that all rows have finished, got none: allow more minutes"
        )
    of_row = {row.id: [found[f"{name}|{row.id}"] for name in names] for row in comparison.all_rows}
    original, extractor = of_row["original"], comparison.extractor
    rows = []
    for row in comparison.all_rows[1:]:
        told: dict[str, Any] = {"title": row.title, "id": row.id, **summarise_row(original, of_row[row.id])}
        if isinstance(row, Redraw):
            bits = [found[f"{name}|bits-{row.model.hash}"]["bits"] for name in names]
            told |= {
                "model": row.name,
                "prior_hash": row.model.hash,
                "steps": row.steps,
                "sampler": dataclasses.asdict(row.config),
                "bits_per_token": mean(bits),
                "likelihood": likelihood_of(row.model),
                "peak_memory_mb": memory[row.name],
                "training": row.model.config["provenance"].get(
                    "prior_training"
                ),  # as train/export.py writes it
            }
        rows.append(told)
    return {
        "pictures": [{"name": record["name"], "seed": record["seed"]} for record in original],
        "holes_per_picture": comparison.holes,
        "features": extractor.described(),
        "frechet_biased": len(names) < extractor.dimensions,
        "neighbours": metrics.NEIGHBOURS,
        "tokenizer_hash": next(iter(comparison.models.values())).config["parts"]["tokenizer"]["hash"],
        "key": comparison.key,
        "machine": machine(),
        "rows": rows,
    }


def compare_with_training(
    comparison: Comparison, records: Sequence[Record], names: Sequence[str], known: Sequence[Record]
) -> dict[str, Any]:
    """The nearest training pictures of each model's samples (of its last row), and of the held-out pictures as the
    tokenizer gives them back, which no prior can have learned.

    Returns:
        ``median_distance`` to the nearest one, by model; ``nearest``: for 16 samples of each, names and distances.
    """
    found, learned = {record["item"]: record for record in records}, [record["layout"] for record in known]
    wanted = {row.name: row.id for row in comparison.rows} | {UNLEARNED: Reconstruction.id}
    shown: dict[str, Any] = {}
    medians: dict[str, float] = {}
    for title, row in wanted.items():
        wholes = [found[f"{name}|{row}"]["whole"]["layout"] for name in names]
        order, apart = nearest(wholes, learned)
        medians[title] = float(np.median(apart[:, 0]))
        shown[title] = [
            {
                "seed": seed_of(name),
                "row": row,
                "nearest": [known[j]["name"] for j in order[i, : compare_report.NEAREST]],
                "distances": apart[i, : compare_report.NEAREST].tolist(),
            }
            for i, name in enumerate(names[:SAMPLES])
        ]
    return {"training_pictures": len(known), "median_distance": medians, "nearest": shown}


# -- command line --------------------------------------------------------------------------------------------


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; raises ValueError for numbers out of range or options that do not go together."""
    parser = settings.Parser(
        prog="python train/evaluate.py", description="Compare priors over one tokenizer."
    )
    parser.add_argument(
        "--compare", nargs="+", required=True, metavar="BUNDLE", help="names or folders of bundles"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/comparison"), help="folder of records and results"
    )
    parser.add_argument(
        "--steps", type=int, nargs="+", default=list(STEPS), help="of the samplers, a row for each"
    )
    parser.add_argument("--data", type=Path, help="folder of pictures; none: drawn portraits")
    parser.add_argument(
        "--held-out",
        type=float,
        help=f"share of the folder that training held out ({HELD_OUT}); 1: everything",
    )
    parser.add_argument("--min-side", type=int, help="px; leave out smaller pictures of the folder")
    parser.add_argument("--first", type=int, help="first portrait's seed, or number of the first picture")
    parser.add_argument("--count", type=int, default=COUNT, help=f"number of pictures ({COUNT})")
    parser.add_argument(
        "--holes",
        type=int,
        default=len(KINDS),
        help="kinds of holes that a picture has, chosen by its seed if not all",
    )
    parser.add_argument(
        "--training",
        type=int,
        default=TRAINING,
        help=f"training pictures to look for copies in ({TRAINING}); 0: none",
    )
    parser.add_argument(
        "--features",
        type=Path,
        help="network that gives the features: VGG-16 (.safetensors) or TorchScript, WHOSE CODE IS RUN",
    )
    parser.add_argument("--max-minutes", type=float, help="summarise what is finished by then")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args(arguments)
    for name, least in (("count", 1), ("first", 0), ("min_side", 0), ("training", 0), ("holes", 1)):
        if (value := getattr(given, name)) is not None and value < least:
            raise ValueError(f"expected --{name.replace('_', '-')} of at least {least}, got {value}")
    if given.holes > len(KINDS):
        raise ValueError(f"expected --holes of at most {len(KINDS)}, got {given.holes}")
    for steps in given.steps:
        sundae.SamplerConfig(steps=steps)  # refuses bad numbers
    if given.data is None and (given.held_out is not None or given.min_side is not None):
        raise ValueError("expected --held-out and --min-side together with --data, a folder of pictures")
    given.steps = sorted(set(given.steps))
    return given


def load_models(names: Sequence[str], device: str) -> dict[str, sundae.Model]:
    """Models by the names they have in tables: their own, with a hash where two are alike; ValueError for the same
    weights twice."""
    models = [sundae.load(name, device) for name in names]
    hashes, own = [model.hash for model in models], [model.name for model in models]
    if len(set(hashes)) < len(hashes):
        twice = next(name for i, name in enumerate(names) if hashes[i] in hashes[:i])
        raise ValueError(f"expected different models, got the weights of {twice} twice")
    return {
        model.name if own.count(model.name) == 1 else f"{model.name} ({model.hash[:6]})": model
        for model in models
    }


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the command line; returns the summary.

    Raises:
        ValueError: for a bad option, model, network or folder, or if no picture was finished.
    """
    given = parse(arguments)
    models = load_models(given.compare, given.device)
    check_models(models)
    first = next(iter(models.values()))
    pictures = open_pictures(given, first.resolution)
    if given.features is not None and given.features.suffix != ".safetensors":
        print(f"features: running the code in {given.features}", file=sys.stderr)
    extractor = open_extractor(given.features, first.resolution, first.device)
    print(f"features: {extractor.about}, sha256 {extractor.hash}", file=sys.stderr)
    comparison = Comparison(models, given.steps, pictures, extractor, given.holes, given.out)
    records = complete(
        given.out / "records.jsonl",
        comparison.key,
        comparison.work,
        comparison.measure,
        given.max_minutes,
        "item",
    )
    memory = {name: fresh_process(source)[1] for name, source in zip(models, given.compare)}
    summary = summarise(comparison, records, memory)
    names = [each["name"] for each in summary["pictures"]]
    if pictures.training is not None:
        training = TrainingPictures(pictures.training, comparison.size, extractor, given.out)
        if known := training.records(given.max_minutes):
            summary["training"] = compare_with_training(comparison, records, names, known)
            compare_report.write_neighbours(given.out, summary, comparison.strips, training.picture)
    compare_report.write_files(given.out, summary, comparison.strips)
    print(json.dumps(summary))
    return summary
