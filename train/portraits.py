"""Procedural portraits: illustrated head-and-shoulders pictures to train and judge the model on.

`draw(seed)` gives the same pixels for the same seed on every machine: attributes come from
`random.Random(seed)`, drawing is skia's CPU raster, and no font or global state takes part.
Every head stands upright at the same place and scale; the parts vary through a small number of
discrete variants and calm palettes, so that what is hidden can be inferred from what is left.

Command line, from the repository root:

    python -m train.portraits --out DIR --first 0 --count 100 --workers 2
    python -m train.portraits --sheet sheet.png --count 24
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from train.portrait import clothes, eyes, hair, head, mouth, worn
from train.portrait.attributes import Attributes, sample_attributes
from train.portrait.canvas import DESIGN_SIZE, LABELS, Pen
from train.portrait.geometry import BROW_Y, CENTRE_X, EYE_OFFSET, EYE_Y, MOUTH_Y
from train.portrait.palette import HAIR_COLOURS, IRIS_COLOURS, SKIN_TONES

__all__ = [
    "HAIR_COLOURS", "HELD_OUT", "IRIS_COLOURS", "LABELS", "SKIN_TONES", "VALIDATION", "Attributes",
    "Portrait", "draw", "draw_attributes", "region_masks", "sample_attributes",
]  # fmt: skip

HELD_OUT = range(10_000_000, 10_000_200)  # seeds for the final evaluation; never trained on
VALIDATION = range(10_001_000, 10_001_064)  # seeds watched during training; never trained on
MIN_SIZE, MAX_SIZE = 64, 4096
FORMATS = {"webp": {"lossless": True, "method": 0}, "png": {"compress_level": 1}, "jpg": {"quality": 95}}
_HEAD_LABELS = (
    "skin", "ear", "hair", "brow", "eye_left", "eye_right", "iris_left", "iris_right", "nose", "lips",
    "mouth", "glasses", "hat", "beard", "accessory",
)  # fmt: skip


@dataclass(frozen=True)
class Portrait:
    """One drawn portrait.

    image: uint8 (H, W, 3) RGB.
    attributes: what was drawn.
    labels: uint8 (H, W) indices into LABELS, or None when not asked for.
    """

    image: np.ndarray
    attributes: Attributes
    labels: np.ndarray | None


def draw(seed: int, size: int = DESIGN_SIZE, labels: bool = False) -> Portrait:
    """Draw portrait `seed` at `size` px.

    Raises:
        ValueError: bad seed or size.
    """
    return draw_attributes(sample_attributes(seed), size, labels)


def draw_attributes(attributes: Attributes, size: int = DESIGN_SIZE, labels: bool = False) -> Portrait:
    """Draw the portrait that `attributes` describe at `size` px.

    Raises:
        ValueError: `size` is not an integer in 64..4096.
    """
    _check_size(size)
    pen = Pen(size, labels)
    for part in (
        clothes.draw_background, hair.draw_hair_behind, head.draw_neck, worn.draw_necklace,
        clothes.draw_clothes, head.draw_ears, head.draw_face, mouth.draw_nose,
        head.draw_beard, mouth.draw_mouth, eyes.draw_eyes,
        eyes.draw_brows, worn.draw_earrings, hair.draw_hair, worn.draw_glasses, worn.draw_hat,
        worn.draw_headphones, worn.draw_hair_clip,
    ):  # fmt: skip
        part(pen, attributes)
    return Portrait(pen.image(), attributes, pen.labels())


def _check_size(size: int) -> None:
    if isinstance(size, bool) or not isinstance(size, int) or not MIN_SIZE <= size <= MAX_SIZE:
        raise ValueError(f"size: expected an integer in {MIN_SIZE}..{MAX_SIZE}, got {size!r}")


def region_masks(portrait: Portrait | Attributes, size: int = DESIGN_SIZE) -> dict[str, np.ndarray]:
    """Return the six holes the evaluation cuts, as bool (size, size) masks; True = repaint.

    Keys: mouth, one_eye (the right one in the picture), both_eyes, hair (what lies above the
    brows), half_face (the right half of the head) and centre_square.

    Raises:
        ValueError: bad size.
    """
    _check_size(size)
    labels = _labels_of(portrait, size)
    scale = DESIGN_SIZE / size
    y, x = (np.mgrid[:size, :size] + 0.5) * scale
    mouth_hole = ((x - CENTRE_X) / 120) ** 2 + ((y - MOUTH_Y) / 65) ** 2 <= 1
    right_eye = _rounded(x, y, CENTRE_X + EYE_OFFSET, EYE_Y - 22)
    left_eye = _rounded(x, y, CENTRE_X - EYE_OFFSET, EYE_Y - 22)
    centre = (np.abs(x - CENTRE_X) <= 192) & (np.abs(y - 530) <= 192)
    head_pixels = np.isin(labels, [LABELS.index(name) for name in _HEAD_LABELS])
    half = _dilate(head_pixels & (y < 790), size) & (x >= CENTRE_X) & (y < 800)
    return {
        "mouth": mouth_hole,
        "one_eye": right_eye,
        "both_eyes": left_eye | right_eye,
        "hair": _hair_hole(labels, y, size),
        "half_face": half,
        "centre_square": centre,
    }


def _labels_of(portrait: Portrait | Attributes, size: int) -> np.ndarray:
    if isinstance(portrait, Portrait):
        if portrait.labels is not None and portrait.labels.shape == (size, size):
            return portrait.labels
        portrait = portrait.attributes
    drawn = draw_attributes(portrait, size, labels=True).labels
    assert drawn is not None
    return drawn


def _rounded(x: np.ndarray, y: np.ndarray, cx: float, cy: float) -> np.ndarray:
    """Return a superellipse of about 220 x 170 design px."""
    return (np.abs(x - cx) / 110) ** 4 + (np.abs(y - cy) / 85) ** 4 <= 1


def _hair_hole(labels: np.ndarray, y: np.ndarray, size: int) -> np.ndarray:
    """Return the dilated hair (and hat) above the brows; the top of the head if there is hardly any."""
    above = y < BROW_Y - 10
    hair_pixels = np.isin(labels, [LABELS.index("hair"), LABELS.index("hat")]) & above
    if hair_pixels.mean() < 0.02:
        hair_pixels = (labels == LABELS.index("skin")) & (y < BROW_Y - 80)
    return _dilate(hair_pixels, size) & above


def _dilate(mask: np.ndarray, size: int) -> np.ndarray:
    """Grow a mask by about 16 design px."""
    reach = 2 * max(1, round(8 * size / DESIGN_SIZE)) + 1
    picture = Image.fromarray(mask.astype(np.uint8) * 255)
    for _ in range(2):
        picture = picture.filter(ImageFilter.MaxFilter(reach))
    return np.asarray(picture) > 127


def _write(seed: int, folder: Path, size: int, extension: str, labels: bool) -> dict:
    """Draw one portrait into `folder` unless it is there; return its line of attributes.jsonl."""
    attributes = sample_attributes(seed)
    picture, label_file = folder / f"{seed:06d}.{extension}", folder / f"{seed:06d}.labels.png"
    if not picture.exists() or (labels and not label_file.exists()):
        portrait = draw_attributes(attributes, size, labels)
        if portrait.labels is not None:
            _save(Image.fromarray(portrait.labels), label_file, {})
        _save(Image.fromarray(portrait.image), picture, FORMATS[extension])
    return {"seed": seed, "file": picture.name, **attributes.to_dict()}


def _save(picture: Image.Image, path: Path, options: dict) -> None:
    """Write through a temporary file, so that a stopped run leaves no half picture."""
    partial_file = path.with_name(f".{path.name}.part")
    picture.save(partial_file, format={".jpg": "JPEG"}.get(path.suffix, path.suffix[1:].upper()), **options)
    partial_file.replace(path)


def write_folder(
    folder: Path, seeds: Sequence[int], size: int, workers: int, extension: str, labels: bool
) -> None:
    """Write portraits and attributes.jsonl; pictures already there are kept."""
    from tqdm import tqdm

    folder.mkdir(parents=True, exist_ok=True)
    work = partial(_write, folder=folder, size=size, extension=extension, labels=labels)
    table = folder / "attributes.jsonl"
    records = {record["seed"]: record for record in _read_records(table)}
    with ProcessPoolExecutor(workers) as pool:
        done: Iterator[dict] = pool.map(work, seeds, chunksize=8)
        for record in tqdm(done, total=len(seeds), unit="portrait"):
            records[record["seed"]] = record
    lines = [json.dumps(records[seed]) for seed in sorted(records)]
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _read_records(table: Path) -> list[dict]:
    """Return what an earlier run listed, so that a folder may be filled in several runs."""
    if not table.exists():
        return []
    return [json.loads(line) for line in table.read_text(encoding="utf-8").splitlines()]


def contact_sheet(seeds: Sequence[int], columns: int = 6, tile: int = 320) -> Image.Image:
    """Return the portraits side by side."""
    rows = -(-len(seeds) // columns)
    canvas = Image.new("RGB", (columns * tile, rows * tile), "white")
    for i, seed in enumerate(seeds):
        picture = Image.fromarray(draw(seed).image).resize((tile, tile), Image.Resampling.LANCZOS)
        canvas.paste(picture, (i % columns * tile, i // columns * tile))
    return canvas


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m train.portraits", description="Draw portraits.")
    parser.add_argument("--out", type=Path, help="folder to write NNNNNN.webp and attributes.jsonl to")
    parser.add_argument("--sheet", type=Path, help="contact sheet to write instead")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--count", type=int, default=24, help="number of portraits")
    parser.add_argument("--size", type=int, default=DESIGN_SIZE, help="side in px")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--format", choices=sorted(FORMATS), default="webp")
    parser.add_argument("--labels", action="store_true", help="write NNNNNN.labels.png too")
    given = parser.parse_args(arguments)
    if (given.out is None) == (given.sheet is None):
        parser.error("expected exactly one of --out and --sheet")
    if given.count < 1 or given.first < 0 or given.workers < 1 or not MIN_SIZE <= given.size <= MAX_SIZE:
        parser.error(f"expected count, workers >= 1, first >= 0 and size in {MIN_SIZE}..{MAX_SIZE}")
    seeds = range(given.first, given.first + given.count)
    if given.sheet is not None:
        contact_sheet(seeds).save(given.sheet)
        return
    write_folder(given.out, seeds, given.size, given.workers, given.format, given.labels)


if __name__ == "__main__":
    main()
