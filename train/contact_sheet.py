"""Portraits, their holes, and what the model draws there: one picture to look at.

    python -m train.contact_sheet --model illustrated-1024 --out sheet.webp [--count 12] [--seeds 3]

Two portraits a row, one kind of hole a row; the file's ending gives its format (jpg, webp or png).
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

import sundae
from train import portraits

MASKS = ("mouth", "one_eye", "both_eyes", "half_face", "hair", "centre_square")
PER_ROW = 2  # portraits
CELL, GAP, GUTTER, MARGIN = 200, 6, 30, 20  # px
HEADER, SIDE = 26, 30  # px kept for labels above and beside
PAPER, INK, HOLE = (250, 249, 247), (120, 116, 112), (214, 210, 206)
LIMIT = 900_000  # bytes
QUALITIES = (92, 86, 78, 68, 55)
FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".png": "PNG"}


def redraw(
    model: sundae.Model,
    portrait: portraits.Portrait,
    hole: np.ndarray,
    config: sundae.SamplerConfig,
    seeds: int,
) -> Iterator[np.ndarray]:
    """The original, the hole in grey, and the hole redrawn with seeds 0, 1, ...: uint8 (H, W, 3) each."""
    yield portrait.image
    yield veil(portrait.image, hole)
    prepared = sundae.Inpainter(model).prepare(portrait.image, hole)
    *_, frame = prepared.run(config, seeds=range(seeds), every=config.steps)
    for i in range(seeds):
        yield np.asarray(frame.image(i).convert("RGB"))


def veil(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """The picture with its hole covered in flat grey, as the model is given no look under it."""
    return np.where(hole[..., None], np.array(HOLE, np.uint8), image)


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
                picture = Image.fromarray(blocks[column // cells][column % cells])
                y = MARGIN + HEADER + i * (CELL + GAP)
                canvas.paste(picture.resize((CELL, CELL), Image.Resampling.LANCZOS), (x, y))
    for i, (label, _) in enumerate(rows):
        write(
            canvas,
            label,
            MARGIN + SIDE // 2 - 6,
            MARGIN + HEADER + i * (CELL + GAP) + CELL // 2,
            upright=True,
        )
    return canvas


def write(canvas: Image.Image, text: str, x: int, y: int, upright: bool = False) -> None:
    """Put a quiet label around ``(x, y)``; ``upright`` runs from bottom to top."""
    label = Image.new("L", (CELL, HEADER), 0)
    font = ImageFont.load_default(size=14)
    ImageDraw.Draw(label).text((CELL / 2, HEADER / 2), text, fill=255, font=font, anchor="mm")
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m train.contact_sheet", description="Show what a model draws."
    )
    parser.add_argument("--model", default="illustrated-1024", help="name or folder of a bundle")
    parser.add_argument("--out", type=Path, required=True, help="picture to write: .jpg, .webp or .png")
    parser.add_argument("--first", type=int, default=portraits.HELD_OUT.start, help="first portrait's seed")
    parser.add_argument("--count", type=int, default=12, help="number of portraits")
    parser.add_argument("--seeds", type=int, default=3, help="redraws of each")
    parser.add_argument("--steps", type=int, default=sundae.SamplerConfig.steps, help="of the sampler")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args(arguments)
    if given.count < 1 or given.seeds < 1 or given.out.suffix.lower() not in FORMATS:
        parser.error(f"expected --count and --seeds of at least 1 and --out in {', '.join(FORMATS)}")
    from tqdm import tqdm

    config, model = sundae.SamplerConfig(steps=given.steps), sundae.load(given.model, given.device)
    rows: list[tuple[str, list[list[np.ndarray]]]] = []
    for i in tqdm(range(given.count), unit="portrait", file=sys.stderr):
        name = MASKS[i // PER_ROW % len(MASKS)]
        if i % PER_ROW == 0:
            rows.append((name.replace("_", " "), []))
        portrait = portraits.draw(given.first + i, model.resolution, labels=True)
        hole = portraits.region_masks(portrait, model.resolution)[name]
        rows[-1][1].append(list(redraw(model, portrait, hole, config, given.seeds)))
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_bytes(encode(sheet(rows, given.seeds), given.out.suffix))


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        raise SystemExit(f"error: {error}") from None
