"""What a comparison leaves to look at: tables, contact sheets, nearest training pictures, quality against steps."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from train.contact_sheet import GAP, GUTTER, HEADER, MARGIN, PAPER, encode, place
from train.contact_sheet import write as label
from train.judge_photographs import number
from train.mask_kinds import KINDS, SIDES
from train.samples import veil

CELL = 148  # px, side of a picture in a sheet
STEP = CELL + GAP
SHOWN = 6  # pictures in a contact sheet
NEAREST = 3  # training pictures beside a sample
ACROSS = 4  # samples in a row of the nearest
PANEL = (4.6, 3.4)  # inches


# -- strips: what a row drew for one picture -------------------------------------------------------------------


def strip_path(strips: Path, row: str, seed: int) -> Path:
    """Where the strip of a row's answers to a picture lies."""
    return strips / row / f"{seed}.jpg"


def strip_of(
    truth: np.ndarray,
    masks: Mapping[str, np.ndarray],
    filled: Mapping[str, np.ndarray],
    whole: np.ndarray | None,
) -> Image.Image:
    """One line of a contact sheet: the original; of each kind of hole the hole and what was drawn there, empty for a
    kind that this picture does not have; a whole picture, if the row makes any. All pictures uint8 ``(H, W, 3)``."""
    canvas = Image.new("RGB", ((2 + 2 * len(KINDS)) * STEP - GAP, CELL), PAPER)
    place(canvas, truth, 0, 0, CELL)
    for i, kind in enumerate(KINDS):
        if kind in masks:
            place(canvas, veil(truth, masks[kind]), (1 + 2 * i) * STEP, 0, CELL)
            place(canvas, filled[kind], (2 + 2 * i) * STEP, 0, CELL)
    if whole is not None:
        place(canvas, whole, (1 + 2 * len(KINDS)) * STEP, 0, CELL)
    return canvas


def save(strip: Image.Image, path: Path) -> None:
    """Write through a temporary file, so that a stopped run leaves no half picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    strip.save(partial, "JPEG", quality=92)
    partial.replace(path)


def contact_sheet(strips: Sequence[Path]) -> Image.Image:
    """Strips below each other, under headings."""
    pictures = [read(path) for path in strips]
    canvas = Image.new(
        "RGB", (2 * MARGIN + pictures[0].width, 2 * MARGIN + HEADER + len(strips) * STEP - GAP), PAPER
    )
    headings = [
        "original",
        *(word for kind in KINDS for word in (kind.replace("_", " "), "")),
        "whole sample",
    ]
    for i, heading in enumerate(headings):
        label(canvas, heading, MARGIN + i * STEP + CELL // 2, MARGIN + HEADER // 2 - 4)
    for i, picture in enumerate(pictures):
        canvas.paste(picture, (MARGIN, MARGIN + HEADER + i * STEP))
    return canvas


def read(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert("RGB")


def sample_of(path: Path) -> np.ndarray:
    """The whole picture at the end of a strip: uint8 ``(CELL, CELL, 3)``."""
    return np.asarray(read(path))[:, -CELL:]


# -- nearest training pictures -------------------------------------------------------------------------------


def neighbours_sheet(
    found: Sequence[Mapping[str, Any]], strips: Path, training: Callable[[str], np.ndarray]
) -> Image.Image:
    """Samples, each with its nearest training pictures to its right and their distances below.

    Args:
        found: of each sample its ``row``, ``seed``, and names and distances of the ``nearest``.
        strips: folder of the strips.
        training: a training picture by its name, uint8 ``(H, W, 3)``.
    """
    across, block = min(ACROSS, len(found)), (1 + NEAREST) * STEP - GAP
    down, line = -(-len(found) // across), CELL + HEADER
    size = (2 * MARGIN + across * (block + GUTTER) - GUTTER, 2 * MARGIN + down * line)
    canvas = Image.new("RGB", size, PAPER)
    for i, each in enumerate(found):
        left, top = MARGIN + i % across * (block + GUTTER), MARGIN + i // across * line
        place(canvas, sample_of(strip_path(strips, each["row"], each["seed"])), left, top, CELL)
        label(canvas, "sample", left + CELL // 2, top + CELL + HEADER // 2 - 2)
        for j, (name, distance) in enumerate(zip(each["nearest"], each["distances"], strict=True), start=1):
            place(canvas, training(name), left + j * STEP, top, CELL)
            label(canvas, f"{distance:.3g}", left + j * STEP + CELL // 2, top + CELL + HEADER // 2 - 2)
    return canvas


def write_neighbours(
    out: Path, summary: Mapping[str, Any], strips: Path, training: Callable[[str], np.ndarray]
) -> None:
    """One picture for each model, and one for the held-out pictures."""
    for title, found in summary["training"]["nearest"].items():
        sheet = neighbours_sheet(found, strips, training)
        (out / f"nearest-{slug(title)}.jpg").write_bytes(encode(sheet, ".jpg"))


# -- quality against steps -----------------------------------------------------------------------------------


def quality_against_steps(summary: Mapping[str, Any]) -> Figure:
    """Fréchet distance of whole samples and of inpaintings, and distance of inpaintings to the originals, over the
    number of steps: a line for each model with several, a point for one that has its own, and the tokenizer alone."""
    name, scale = distance_name(summary), summary["features"]["scale"]
    panels = (
        ("samples", "frechet", scale, f"whole samples: {name}"),
        ("inpaintings", "frechet", scale, f"inpaintings: {name}"),
        ("inpaintings", "feature_distance", 1000, "inpaintings: feature distance ×1000"),
    )
    figure = Figure(figsize=(len(panels) * PANEL[0], PANEL[1]), layout="constrained")
    steps = sorted({row["steps"] for row in summary["rows"] if "steps" in row})
    for axes, (kind, measure, factor, title) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        for model, points in by_model(summary["rows"], kind, measure).items():
            line = [(count, factor * value) for count, value in points]
            axes.plot(*zip(*line), marker="o", linestyle="-" if len(line) > 1 else "none", label=model)
        ceiling = next(row for row in summary["rows"] if row["id"] == "reconstruction")[kind][measure]
        if ceiling is not None:
            axes.axhline(factor * ceiling, color="grey", linestyle=":", label="reconstruction alone")
        axes.set_title(f"{title}, {len(summary['pictures'])} pictures", fontsize=10)
        axes.set_xscale("log")
        axes.set_xticks(steps, [f"{count:,}" for count in steps])
        axes.minorticks_off()
        axes.set_xlabel("steps")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(fontsize=8)
    return figure


def by_model(
    rows: Sequence[Mapping[str, Any]], kind: str, measure: str
) -> dict[str, list[tuple[int, float]]]:
    """Steps and a measure of each model's rows, where there were pictures enough to have one."""
    points: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        if "steps" in row and row[kind][measure] is not None:
            points.setdefault(row["model"], []).append((row["steps"], row[kind][measure]))
    return points


def distance_name(summary: Mapping[str, Any]) -> str:
    """What the Fréchet distance is called, with what it is multiplied by."""
    name, scale = summary["features"]["name"], summary["features"]["scale"]
    return name if scale == 1 else f"{name} ×{scale}"


# -- tables --------------------------------------------------------------------------------------------------

COLUMNS = (
    "samples: {fd} ↓",
    "precision / recall ↑",
    "density / coverage ↑",
    "U-IDS ↑",
    "inpaintings: {fd} ↓",
    "precision / recall ↑",
    "density / coverage ↑",
    "P-IDS / U-IDS ↑",
    "feature distance ×1000 ↓",
    "PSNR inside ↑",
    "outside",
    "bits per token ↓",
    "s a sample",
    "ms a step",
    "peak MB",
    "grids / passes in training",
)


def tables(summary: Mapping[str, Any]) -> str:
    """The summary as Markdown."""
    name, scale, count = distance_name(summary), summary["features"]["scale"], len(summary["pictures"])
    columns = [column.format(fd=name) for column in COLUMNS]
    lines = [
        f"{count} held-out pictures ({summary['pictures'][0]['name']} to {summary['pictures'][-1]['name']}), "
        f"{summary['holes_per_picture']} of {len(KINDS)} kinds of holes in each, one whole sample and one redraw of each "
        "hole with the picture's seed (comparison.json has them all). Tokenizer "
        f"`{summary['tokenizer_hash'][:12]}` in all rows.",
        "",
        "| | " + " | ".join(columns) + " |",
        "|---|" + "---|" * len(columns),
        *(f"| {row['title']} | " + " | ".join(cells(row, scale)) + " |" for row in summary["rows"]),
        "",
        f"By kind of hole, {name} / PSNR inside (dB):",
        "",
        "| | " + " | ".join(kind.replace("_", " ") for kind in KINDS) + " |",
        "|---|" + "---|" * len(KINDS),
        *(f"| {row['title']} | " + " | ".join(kind_cells(row, scale)) + " |" for row in summary["rows"]),
        "",
        *side_table(summary),
        *notes(summary),
    ]
    return "\n".join(lines) + "\n"


def cells(row: Mapping[str, Any], scale: int) -> list[str]:
    """A row of the first table."""
    samples, inpaintings = row["samples"] or {}, row["inpaintings"]
    bits = row.get("bits_per_token")
    return [
        *set_cells(samples, scale),
        number(samples.get("u_ids"), ".1f", 100),
        *set_cells(inpaintings, scale),
        f"{number(inpaintings['p_ids'], '.1f', 100)} / {number(inpaintings['u_ids'], '.1f', 100)}",
        number(inpaintings["feature_distance"], ".3g", 1000),
        number(inpaintings["psnr_inside"], ".1f"),
        "∞",
        "–" if bits is None else f"{bits:.3f} ({row['likelihood']})",
        number(samples.get("seconds"), ".2f"),
        number(samples.get("step_seconds"), ".1f", 1000),
        number(row.get("peak_memory_mb"), ".0f"),
        budget(row.get("training")),
    ]


def budget(training: Any) -> str:
    """Token grids that a prior was trained on and their passes through it, if its bundle tells them."""
    if not isinstance(training, Mapping):
        return "–"
    counts = [training.get(name) for name in ("grids", "grid_passes")]
    grids, passes = (f"{count:,}" if isinstance(count, int) else "–" for count in counts)
    start = training.get("start_from")
    return f"{grids} / {passes}" + (f" after {start}" if start else "")


def set_cells(measured: Mapping[str, Any], scale: int) -> list[str]:
    """Fréchet distance, precision and recall, density and coverage."""
    one, two = (
        f"{number(measured.get(a), '.2f')} / {number(measured.get(b), '.2f')}"
        for a, b in (("precision", "recall"), ("density", "coverage"))
    )
    return [number(measured.get("frechet"), ".3g", scale), one, two]


def kind_cells(row: Mapping[str, Any], scale: int) -> list[str]:
    """A row of the second table."""
    return [
        f"{number(row['by_kind'][kind]['frechet'], '.3g', scale)} / {row['by_kind'][kind]['psnr_inside']:.1f}"
        if kind in row["by_kind"]
        else "–"
        for kind in KINDS
    ]


def side_table(summary: Mapping[str, Any]) -> list[str]:
    """The third table: hidden halves by side; nothing where no picture has one."""
    counts = {side: half["count"] for side, half in summary["rows"][0]["half_by_side"].items()}
    if not counts:
        return []
    shown = [side for side in SIDES if side in counts]
    return [
        "Hidden halves by side, feature distance ×1000 / PSNR inside (dB); a prior that writes in raster order cannot use "
        "what lies below a hole, nor right of it in the same row:",
        "",
        "| | " + " | ".join(f"{side} hidden ({counts[side]})" for side in shown) + " |",
        "|---|" + "---|" * len(shown),
        *(f"| {row['title']} | " + " | ".join(side_cells(row, shown)) + " |" for row in summary["rows"]),
        "",
    ]


def side_cells(row: Mapping[str, Any], shown: Sequence[str]) -> list[str]:
    """A row of the third table."""
    halves = [row["half_by_side"][side] for side in shown]
    return [
        f"{number(half['feature_distance'], '.3g', 1000)} / {number(half['psnr_inside'], '.1f')}"
        for half in halves
    ]


def notes(summary: Mapping[str, Any]) -> list[str]:
    """What the numbers are."""
    seen, count = summary["features"], len(summary["pictures"])
    biased = (
        f" With {count} pictures for {seen['dimensions']} dimensions that of whole samples and of a single kind is biased upwards."
        if summary["frechet_biased"]
        else ""
    )
    lines = [
        f"{distance_name(summary)}: Fréchet distance of {seen['dimensions']} features ({seen['about']}; sha256 "
        f"`{seen['sha256'][:12]}`) to those of the held-out pictures, for inpaintings all kinds of holes as one set. It is "
        f"no FID unless the network is Inception, and only numbers of one table compare.{biased} Precision to coverage "
        f"with {summary['neighbours']} neighbours, P-IDS and U-IDS (%) by a linear SVM, on the same features. Feature "
        "distance: of a filled hole's features to the original's, mean of all holes. Outside the "
        "holes every pixel of every result is identical to the original (asserted), so PSNR there is infinite.",
        "",
        "Bits per token of the held-out pictures: exact for an autoregressive prior, else an upper bound (ELBO of absorbing "
        "diffusion, the chain's bound of SUNDAE); bounds may be loose, so a difference between kinds is not all the "
        "prior's. Seconds are medians on the machine in comparison.json; peak memory is of a fresh process on the CPU that "
        "draws one whole picture. Passes in training are of one token grid through the network, with the unrolled steps of "
        "SUNDAE's chain; what the weights had learned before that they began with is not in them.",
    ]
    if (training := summary.get("training")) is not None:
        medians = ", ".join(f"{name} {value:.4g}" for name, value in training["median_distance"].items())
        lines += [
            "",
            f"Copies: median distance to the nearest of {training['training_pictures']} training pictures, by features and "
            f"where they are: "
            f"{medians}. Samples much nearer than the last would be learned by heart.",
        ]
    return lines


# -- files ---------------------------------------------------------------------------------------------------


def slug(title: str) -> str:
    """A title as part of a file's name."""
    return re.sub(r"[^\w.]+", "-", title).strip("-")


def write_files(out: Path, summary: Mapping[str, Any], strips: Path) -> None:
    """comparison.json, comparison.md, steps.png and a contact sheet for each row."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "comparison.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    (out / "comparison.md").write_text(tables(summary), encoding="utf-8")
    quality_against_steps(summary).savefig(out / "steps.png", dpi=110)
    for row in summary["rows"]:
        paths = [strip_path(strips, row["id"], each["seed"]) for each in summary["pictures"][:SHOWN]]
        (out / f"sheet-{slug(row['title'])}.jpg").write_bytes(encode(contact_sheet(paths), ".jpg"))
