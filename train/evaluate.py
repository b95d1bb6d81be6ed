"""Judge a model on portraits it never saw: error inside the hole, known pixels, and use of the surroundings.

    python -m train.evaluate --model illustrated-1024 --out runs/evaluation [--count 200] [--steps 24]

Every portrait is one line of OUT/records.jsonl, written when it is finished: a stopped run goes on there.
The summary is printed as JSON and written to OUT/summary.json and, as tables, to OUT/summary.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a file: look for packages in the repository, not in this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from skimage.metrics import structural_similarity

import sundae
from benchmarks.inpaint import machine
from sundae import image as images
from sundae import masks
from sundae.pipeline import Prepared
from train import features, portraits

VERSION = 1  # of what is measured; older records are measured again
MASKS = ("mouth", "one_eye", "both_eyes", "hair", "half_face", "centre_square")
METHODS = {
    "sundae": "Sundae",
    "true_tokens": "true tokens (ceiling)",
    "prefill": "smooth fill alone",
    "telea": "OpenCV Telea",
    "navier_stokes": "OpenCV Navier–Stokes",
}
JUDGED = {**METHODS, "reconstruction": "tokenizer alone", "original": "original"}
INPAINT_RADIUS = 5  # px, of the OpenCV methods
GOALS = {"iris": 0.85, "skin": 0.90, "glasses": 0.90}
SKIN_GOAL = 5.0  # CIEDE2000
SAMPLER_FIELDS = [
    field for field in dataclasses.fields(sundae.SamplerConfig) if field.type in ("int", "float")
]


# -- one portrait --------------------------------------------------------------------------------------------


def evaluate_portrait(
    model: sundae.Model,
    seed: int,
    config: sundae.SamplerConfig,
    mask_names: Sequence[str],
    net: features.RandomFeatures,
) -> dict[str, Any]:
    """Everything measured on one portrait, as plain JSON; the sampler's seed is the portrait's.

    Raises:
        AssertionError: if a pixel outside a hole changed.
    """
    portrait = portraits.draw(seed, model.resolution, labels=True)
    holes = portraits.region_masks(portrait, model.resolution)
    _, decoded = sundae.reconstruct(model, portrait.image)
    reconstruction = np.asarray(decoded.convert("RGB"))
    record: dict[str, Any] = {
        "seed": seed,
        "tokenizer": whole_picture(portrait.image, reconstruction),
        "holes": {},
    }
    for name in mask_names:
        hole = holes[name]
        pictures, steps, seconds = fill(model, portrait.image, hole, config, seed)
        for method, picture in pictures.items():
            assert np.array_equal(picture[~hole], portrait.image[~hole]), (
                f"{method} changed known pixels ({name})"
            )
        measured = inside_hole(portrait.image, pictures, hole, net)
        shown = context(
            portrait, {**pictures, "reconstruction": reconstruction, "original": portrait.image}, name, hole
        )
        record["holes"][name] = {"methods": measured, "context": shown, "steps": steps, "seconds": seconds}
    return record


def whole_picture(truth: np.ndarray, picture: np.ndarray) -> dict[str, float]:
    """PSNR and SSIM (scikit-image's defaults, 7 px window) of uint8 (H, W, 3) pictures."""
    everywhere = np.ones(truth.shape[:2], bool)
    similarity = structural_similarity(truth, picture, channel_axis=2, data_range=255)
    return {
        "psnr": features.psnr(features.squared_error(truth, picture, everywhere)),
        "ssim": float(similarity),
    }


def fill(
    model: sundae.Model, truth: np.ndarray, hole: np.ndarray, config: sundae.SamplerConfig, seed: int
) -> tuple[dict[str, np.ndarray], int, float]:
    """The hole filled by every method: name -> uint8 (H, W, 3); the model's steps and seconds."""
    began = time.perf_counter()
    prepared = sundae.Inpainter(model).prepare(truth, hole)
    *_, frame = prepared.run(config, seeds=[seed], every=config.steps)
    redrawn = np.asarray(frame.image().convert("RGB"))
    seconds = time.perf_counter() - began
    pictures = {
        "sundae": redrawn,
        "true_tokens": with_true_tokens(prepared),
        "prefill": smooth_fill(truth, hole),
        "telea": opencv_fill(truth, hole, cv2.INPAINT_TELEA),
        "navier_stokes": opencv_fill(truth, hole, cv2.INPAINT_NS),
    }
    return pictures, frame.index, seconds


def with_true_tokens(prepared: Prepared) -> np.ndarray:
    """What a prior that always guessed the hidden tokens right would give: the tokenizer's ceiling."""
    tokens = torch.where(prepared.token_mask[..., None], prepared.visible_tokens, prepared.tokens)
    picture = prepared.picture.rgb.copy()
    picture[prepared.box.slices] = prepared.composite(tokens)[0]
    return picture


def smooth_fill(truth: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """The fill that the model starts from, alone."""
    filled = images.to_rgb(masks.prefill(images.to_tensor(truth), torch.from_numpy(hole)[None, None]))[0]
    return np.where(hole[..., None], filled, truth)


def opencv_fill(truth: np.ndarray, hole: np.ndarray, method: int) -> np.ndarray:
    """cv2.inpaint at full resolution (Telea 2004 or Bertalmio et al. 2001)."""
    return cv2.inpaint(truth, hole.astype(np.uint8) * 255, INPAINT_RADIUS, method)


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


def context(
    portrait: portraits.Portrait, pictures: dict[str, np.ndarray], name: str, hole: np.ndarray
) -> dict[str, dict[str, Any]]:
    """What the redrawn part shows of what the kept part tells, by question and method; see :data:`GOALS`."""
    look, size = portrait.attributes, len(hole)
    answers: dict[str, dict[str, Any]] = {}
    if name == "one_eye" and not look.sunglasses:
        renderings = features.with_each_iris(look, size)
        where = features.iris_pixels(renderings, hole)
        if features.enough(where):
            answers["iris"] = {
                m: features.iris_by_rendering(p, renderings, where) == look.iris for m, p in pictures.items()
            }
            answers["iris_ring"] = {
                m: features.iris_by_ring(p, renderings) == look.iris for m, p in pictures.items()
            }
    if name == "one_eye" and look.glasses != "none":
        without = features.without_glasses(look, size)
        where = features.glasses_pixels(portrait, without, hole)
        if features.enough(where):
            answers["glasses"] = {
                m: features.kept_share(p, portrait.image, without, where) for m, p in pictures.items()
            }
    if name == "half_face":
        areas = features.skin_areas(portrait.labels, hole)
        if areas:
            answers["skin"] = {
                m: features.skin_difference(p, portrait.image, areas) for m, p in pictures.items()
            }
    return answers


# -- records -------------------------------------------------------------------------------------------------


def record_key(
    model: sundae.Model, config: sundae.SamplerConfig, mask_names: Sequence[str], net: features.RandomFeatures
) -> str:
    """Names what a record depends on beside its seed: weights, sampler, masks and measures."""
    parts = {name: part["hash"] for name, part in model.config["parts"].items()}
    content = [VERSION, parts, dataclasses.asdict(config), list(mask_names), net.hash, model.resolution]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def read_records(path: Path, key: str) -> dict[int, dict[str, Any]]:
    """Finished portraits with this key, by seed; a line cut off by a crash is passed over."""
    records = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if record["key"] == key:
            records[record["seed"]] = record
    return records


def append_record(path: Path, record: dict[str, Any]) -> None:
    """Add one line, on a line of its own even if the last one was cut off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cut_off = path.exists() and not path.read_bytes().endswith(b"\n") and path.stat().st_size > 0
    with open(path, "a", encoding="utf-8") as file:
        file.write(("\n" if cut_off else "") + json.dumps(record) + "\n")


def complete(
    path: Path,
    key: str,
    seeds: Iterable[int],
    measure: Callable[[int], dict[str, Any]],
    max_minutes: float | None = None,
) -> list[dict[str, Any]]:
    """Records of all seeds in order: those on file as they are, the others measured and written at once.

    Stops early, with a prefix of the seeds, after ``max_minutes`` or on Ctrl-C.
    """
    from tqdm import tqdm

    done, began, records = read_records(path, key), time.monotonic(), []
    try:
        for seed in tqdm(list(seeds), unit="portrait", file=sys.stderr):
            if seed not in done:
                if max_minutes is not None and time.monotonic() - began > 60 * max_minutes:
                    break
                done[seed] = {"key": key, **measure(seed)}
                append_record(path, done[seed])
            records.append(done[seed])
    except KeyboardInterrupt:
        print("stopped; the summary is of the portraits finished so far", file=sys.stderr)
    return records


# -- summary -------------------------------------------------------------------------------------------------


def summarise(records: Sequence[dict[str, Any]], mask_names: Sequence[str]) -> dict[str, Any]:
    """Means over portraits, by mask and method; rates of the context questions with 95 % intervals."""
    holes = {name: mean_of_holes([record["holes"][name] for record in records]) for name in mask_names}
    holes["all"] = mean_of_holes([record["holes"][name] for record in records for name in mask_names])
    return {
        "portraits": len(records),
        "seeds": [record["seed"] for record in (records[0], records[-1])],
        "tokenizer": {
            name: mean(record["tokenizer"][name] for record in records) for name in ("psnr", "ssim")
        },
        "outside_psnr": "infinite: every known pixel of every result is identical",
        "holes": holes,
        "context": summarise_context(records, mask_names),
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


def summarise_context(records: Sequence[dict[str, Any]], mask_names: Sequence[str]) -> dict[str, Any]:
    """For each question and method: how many portraits pass, of how many it was asked on."""
    passes: dict[str, Callable[[Any], bool]] = {
        "iris": bool,
        "iris_ring": bool,
        "glasses": lambda share: share > 0.5,
        "skin": lambda difference: difference["ciede2000"] < SKIN_GOAL,
        "skin_cie76": lambda difference: difference["cie76"] < SKIN_GOAL,
    }
    summary: dict[str, Any] = {}
    for question, passed in passes.items():
        asked = question.removesuffix("_cie76")
        answers = [
            r["holes"][m]["context"][asked]
            for r in records
            for m in mask_names
            if asked in r["holes"][m]["context"]
        ]
        if answers:
            summary[question] = {
                method: rate([passed(answer[method]) for answer in answers]) for method in JUDGED
            }
        if answers and asked == "skin":
            name = "cie76" if question == "skin_cie76" else "ciede2000"
            for method in JUDGED:
                summary[question][method]["median"] = float(
                    np.median([answer[method][name] for answer in answers])
                )
    return summary


def rate(passed: Sequence[bool]) -> dict[str, Any]:
    """Share of passes with its 95 % interval (Wilson)."""
    right, count = sum(passed), len(passed)
    return {
        "passed": right,
        "of": count,
        "rate": right / count,
        "interval": features.wilson_interval(right, count),
    }


def mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def tables(summary: dict[str, Any]) -> str:
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


def hole_table(summary: dict[str, Any]) -> list[str]:
    """Rows of masks, columns of methods, cells "PSNR / distance"."""
    lines = ["| hole | " + " | ".join(METHODS.values()) + " |", "|---|" + "---|" * len(METHODS)]
    for name, values in summary["holes"].items():
        cells = [f"{values[m]['psnr']:.1f} / {1000 * values[m]['feature_distance']:.1f}" for m in METHODS]
        lines.append(f"| {name.replace('_', ' ')} | " + " | ".join(cells) + " |")
    return lines


def context_table(context: dict[str, Any]) -> list[str]:
    """Rows of questions, columns of methods, cells "rate"; the interval stands beside the model's own."""
    names = {"iris": "iris colour kept", "glasses": "glasses kept", "skin": "skin tone kept"}
    shown = ("sundae", "reconstruction", "prefill", "telea")
    lines = ["| one eye or half the face hidden | goal | " + " | ".join(JUDGED[m] for m in shown) + " |"]
    lines.append("|---|---|" + "---|" * len(shown))
    for question in (q for q in names if q in context):
        answer = context[question]
        low, high = answer["sundae"]["interval"]
        cells = [f"{100 * answer[m]['rate']:.0f} %" for m in shown]
        cells[0] = f"**{cells[0]}** ({100 * low:.0f}–{100 * high:.0f}, n = {answer['sundae']['of']})"
        lines.append(f"| {names[question]} | {100 * GOALS[question]:.0f} % | " + " | ".join(cells) + " |")
    return lines


# -- command line --------------------------------------------------------------------------------------------


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m train.evaluate", description="Judge a model on held-out portraits."
    )
    parser.add_argument("--model", default="illustrated-1024", help="name or folder of a bundle")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/evaluation"), help="folder of records and summary"
    )
    parser.add_argument("--first", type=int, default=portraits.HELD_OUT.start, help="first portrait's seed")
    parser.add_argument("--count", type=int, default=len(portraits.HELD_OUT), help="number of portraits")
    parser.add_argument("--masks", nargs="+", choices=MASKS, default=list(MASKS), help="which holes")
    parser.add_argument("--max-minutes", type=float, help="summarise the prefix finished by then")
    parser.add_argument("--device", default="cpu")
    for field in SAMPLER_FIELDS:
        kind = int if field.type == "int" else float
        parser.add_argument(
            f"--{field.name.replace('_', '-')}", type=kind, default=field.default, help="of the sampler"
        )
    given = parser.parse_args(arguments)
    if given.count < 1 or given.first < 0:
        parser.error(
            f"expected --count of at least 1 and --first of at least 0, got {given.count} and {given.first}"
        )
    given.masks = [name for name in MASKS if name in given.masks]
    return given


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the command line; returns the summary."""
    given = parse(arguments)
    config = sundae.SamplerConfig(**{field.name: getattr(given, field.name) for field in SAMPLER_FIELDS})
    model, net = sundae.load(given.model, given.device), features.RandomFeatures()
    parts = model.config["parts"]
    key = record_key(model, config, given.masks, net)

    def measure(seed: int) -> dict[str, Any]:
        return evaluate_portrait(model, seed, config, given.masks, net)

    seeds = range(given.first, given.first + given.count)
    records = complete(given.out / "records.jsonl", key, seeds, measure, given.max_minutes)
    if not records:
        raise SystemExit("no portrait was finished: nothing to summarise")
    summary = {
        "model": model.name,
        **{f"{name}_hash": part["hash"] for name, part in parts.items()},
        "key": key,
        "sampler": dataclasses.asdict(config),
        "random_features": {"seed": net.seed, "sha256": net.hash, "receptive_field": net.receptive_field},
        "opencv_radius": INPAINT_RADIUS,
        "machine": machine(),
        **summarise(records, given.masks),
    }
    (given.out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    (given.out / "summary.md").write_text(tables(summary), encoding="utf-8")
    print(json.dumps(summary))
    return summary


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        raise SystemExit(f"error: {error}") from None
