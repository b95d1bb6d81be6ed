"""Held-out faces, their holes, and what the model draws there: one picture to look at.

    python train/contact_sheet.py --model illustrated-1024 --out sheet.webp [--count 12] [--seeds 3]
    python train/contact_sheet.py --model photo-1024 --data FOLDER --out sheet.webp [--count 12] [--seeds 2]

Drawn portraits: two a row, one kind of hole a row. Photographs of a folder (those that training held out): every
face with all six holes. The file's ending gives its format (jpg, webp or png).
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a file: look for packages in the repository, not in this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import io
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

import sundae
from train import portraits, settings
from train.data import PictureSource
from train.face_masks import face_masks
from train.judge import suited
from train.judge_photographs import HELD_OUT, held_out_pictures
from train.samples import veil

MASKS = ("mouth", "one_eye", "both_eyes", "half_face", "hair", "centre_square")
PER_ROW = 2  # portraits
BANDS = (("mouth", "one_eye", "both_eyes"), ("hair", "half_face", "centre_square"))
SMALL = 148  # px, side of a redrawn photograph
CELL, GAP, GUTTER, MARGIN = 200, 6, 30, 20  # px
HEADER, SIDE = 26, 30  # px kept for labels above and beside
PAPER, INK = (250, 249, 247), (120, 116, 112)
LIMIT = 900_000  # bytes
QUALITIES = (92, 86, 78, 68, 55)
FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".png": "PNG"}


def redraw(
    model: sundae.Model,
    picture: np.ndarray,
    hole: np.ndarray,
    config: sundae.SamplerConfig,
    seeds: int,
) -> Iterator[np.ndarray]:
    """The original, the hole in grey, and the hole redrawn with seeds 0, 1, ...: uint8 (H, W, 3) each."""
    yield picture
    yield veil(picture, hole)
    prepared = sundae.Inpainter(model).prepare(picture, hole)
    *_, frame = prepared.run(config, seeds=range(seeds), every=config.steps)
    for i in range(seeds):
        yield np.asarray(frame.image(i).convert("RGB"))


# -- portraits -----------------------------------------------------------------------------------------------


def portrait_rows(
    model: sundae.Model, config: sundae.SamplerConfig, first: int, count: int, seeds: int
) -> list[tuple[str, list[list[np.ndarray]]]]:
    """Portraits with one hole each, as :func:`sheet` takes them."""
    rows: list[tuple[str, list[list[np.ndarray]]]] = []
    for i in tqdm(range(count), unit="portrait", file=sys.stderr):
        name = MASKS[i // PER_ROW % len(MASKS)]
        if i % PER_ROW == 0:
            rows.append((name.replace("_", " "), []))
        portrait = portraits.draw(first + i, model.resolution, labels=True)
        hole = portraits.region_masks(portrait, model.resolution)[name]
        rows[-1][1].append(list(redraw(model, portrait.image, hole, config, seeds)))
    return rows


def sheet(rows: Sequence[tuple[str, Sequence[Sequence[np.ndarray]]]], seeds: int) -> Image.Image:
    """Lay out rows of (label, portraits), each portrait a list of ``2 + seeds`` pictures."""
    cells = 2 + seeds
    block = cells * (CELL + GAP) - GAP
    width = 2 * MARGIN + SIDE + PER_ROW * block + (PER_ROW - 1) * GUTTER
    canvas = Image.new("RGB", (width, 2 * MARGIN + HEADER + len(rows) * (CELL + GAP) - GAP), PAPER)
    headings = ("original", "hole", *(f"redrawn, seed {i}" for i in range(seeds)))
    for column in range(PER_ROW * cells):
        x = MARGIN + SIDE + (column // cells) * (block + GUTTER) + (column % cells) * (CELL + GAP)
        write(canvas, headings[column % cells], x + CELL // 2, MARGIN + HEADER // 2 - 4)
        for i, (_, blocks) in enumerate(rows):
            if column // cells < len(blocks):
                y = MARGIN + HEADER + i * (CELL + GAP)
                place(canvas, blocks[column // cells][column % cells], x, y, CELL)
    for i, (label, _) in enumerate(rows):
        write(
            canvas,
            label,
            MARGIN + SIDE // 2 - 6,
            MARGIN + HEADER + i * (CELL + GAP) + CELL // 2,
            upright=True,
        )
    return canvas


# -- photographs ---------------------------------------------------------------------------------------------


def photograph_rows(
    model: sundae.Model,
    config: sundae.SamplerConfig,
    pictures: PictureSource,
    chosen: Sequence[int],
    seeds: int,
) -> list[tuple[np.ndarray, list[list[np.ndarray]]]]:
    """Each chosen picture and, for every hole of :data:`BANDS` in turn, its hole and redrawings."""
    holes, rows = face_masks(model.resolution), []
    for i in tqdm(chosen, unit="photograph", file=sys.stderr):
        picture = pictures[i]
        blocks = [
            list(redraw(model, picture, holes[name], config, seeds))[1:] for band in BANDS for name in band
        ]
        rows.append((picture, blocks))
    return rows


def face_sheet(rows: Sequence[tuple[np.ndarray, Sequence[Sequence[np.ndarray]]]], seeds: int) -> Image.Image:
    """Lay out faces: each original twice as high as the rest, beside it two bands of three holes.

    Args:
        rows: the original and, for each hole, ``1 + seeds`` pictures: uint8 ``(H, W, 3)``.
        seeds: redrawings of each hole.
    """
    step, large = SMALL + GAP, 2 * SMALL + GAP
    block = (1 + seeds) * step - GAP
    lefts = [MARGIN + large + GUTTER + i * (block + GUTTER) for i in range(len(BANDS[0]))]
    height = 2 * MARGIN + 2 * HEADER + len(rows) * (large + GUTTER) - GUTTER
    canvas = Image.new("RGB", (lefts[-1] + block + MARGIN, height), PAPER)
    write(canvas, "original", MARGIN + large // 2, MARGIN + HEADER // 2)
    for left, above, below in zip(lefts, *BANDS, strict=True):
        title = f"{above}, below it {below}".replace("_", " ")
        numbers = ", ".join(map(str, range(seeds)))
        write(canvas, f"{title}: hole, seeds {numbers}", left + block // 2, MARGIN + HEADER // 2)
    for i, (original, blocks) in enumerate(rows):
        top = MARGIN + 2 * HEADER + i * (large + GUTTER)
        place(canvas, original, MARGIN, top, large)
        for j, pictures in enumerate(blocks):
            band, column = divmod(j, len(lefts))
            for k, picture in enumerate(pictures):
                place(canvas, picture, lefts[column] + k * step, top + band * step, SMALL)
    return canvas


# -- both ----------------------------------------------------------------------------------------------------


def place(canvas: Image.Image, picture: np.ndarray, left: int, top: int, size: int) -> None:
    """Put a picture, resized to ``size`` px, at ``(left, top)``."""
    small = Image.fromarray(picture).resize((size, size), Image.Resampling.LANCZOS)
    canvas.paste(small, (left, top))


def write(canvas: Image.Image, text: str, x: int, y: int, upright: bool = False) -> None:
    """Put a quiet label around ``(x, y)``; ``upright`` runs from bottom to top."""
    font = ImageFont.load_default(size=14)
    width = max(CELL, round(font.getlength(text)) + 2)
    label = Image.new("L", (width, HEADER), 0)
    ImageDraw.Draw(label).text((width / 2, HEADER / 2), text, fill=255, font=font, anchor="mm")
    if upright:
        label = label.transpose(Image.Transpose.ROTATE_90)
    canvas.paste(INK, (x - label.width // 2, y - label.height // 2), label)


def encode(picture: Image.Image, suffix: str) -> bytes:
    """The picture in the format of ``suffix``, at the best quality (PNG: number of colours) below the limit.

    Raises:
        ValueError: for another ending.
    """
    if suffix.lower() not in FORMATS:
        raise ValueError(f"expected a file name ending in {', '.join(FORMATS)}, got {suffix!r}")
    name, data = FORMATS[suffix.lower()], b""
    for quality in QUALITIES:
        file = io.BytesIO()
        if name == "PNG":
            colours = round(256 * quality / QUALITIES[0])
            picture.quantize(colours, dither=Image.Dither.NONE).save(file, name, optimize=True)
        else:
            picture.save(file, name, quality=quality)
        data = file.getvalue()
        if len(data) < LIMIT:
            break
    return data


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; raises ValueError for numbers out of range or options that do not go together."""
    parser = settings.Parser(prog="python train/contact_sheet.py", description="Show what a model draws.")
    parser.add_argument("--model", default="illustrated-1024", help="name or folder of a bundle")
    parser.add_argument("--out", type=Path, required=True, help="picture to write: .jpg, .webp or .png")
    parser.add_argument("--data", type=Path, help="folder of aligned faces; none: drawn portraits")
    parser.add_argument("--held-out", type=float, help="share of the folder that training held out (0.1)")
    parser.add_argument("--min-side", type=int, help="px; leave out smaller pictures of the folder")
    parser.add_argument("--first", type=int, help="first portrait's seed, or number of the first picture")
    parser.add_argument("--count", type=int, default=12, help="number of faces")
    parser.add_argument("--seeds", type=int, help="redraws of each: 3 of portraits, 2 of photographs")
    parser.add_argument("--steps", type=int, help="of the sampler (as suits the prior)")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args(arguments)
    if given.seeds is None:
        given.seeds = 3 if given.data is None else 2
    if given.count < 1 or given.seeds < 1 or given.out.suffix.lower() not in FORMATS:
        raise ValueError(f"expected --count and --seeds of at least 1 and --out in {', '.join(FORMATS)}")
    if given.data is None and (given.held_out is not None or given.min_side is not None):
        raise ValueError("expected --held-out and --min-side together with --data, a folder of photographs")
    return given


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; raises ValueError for a bad option, model or folder."""
    given = parse(arguments)
    model = sundae.load(given.model, given.device)
    config = suited(model, {"steps": given.steps})
    if given.data is None:
        first = portraits.HELD_OUT.start if given.first is None else given.first
        picture = sheet(portrait_rows(model, config, first, given.count, given.seeds), given.seeds)
    else:
        held_out = HELD_OUT if given.held_out is None else given.held_out
        pictures = held_out_pictures(given.data, model.resolution, held_out, given.min_side or 0)
        chosen = range(len(pictures))[given.first or 0 :][: given.count]
        if not chosen:
            raise ValueError(
                f"expected --first below the {len(pictures)} held-out pictures, got {given.first}"
            )
        picture = face_sheet(photograph_rows(model, config, pictures, chosen, given.seeds), given.seeds)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_bytes(encode(picture, given.out.suffix))


if __name__ == "__main__":
    settings.guard(main)
