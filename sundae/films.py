"""A run as a film: an animated WebP or GIF, or an MP4 where there is ffmpeg."""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from sundae import image as images
from sundae.pipeline import Frame, Prepared
from sundae.sampler import whole
from sundae.window import Box

FORMATS = ("webp", "gif", "mp4")
SIDE, MAX_SIDE = 720, 2048  # px of the longer side, at most
MAX_FRAMES = 120  # of a longer run so many are shown, evenly spread
STEP, PAUSE = 0.12, 1.6  # s that a state is shown, and the last one more
MARGIN = 0.25  # of the hole's longer side, around it in a film of the region
COLOURS = 256  # of a GIF


def film_formats() -> tuple[str, ...]:
    """The formats that can be made here: "mp4" needs ffmpeg on the PATH."""
    return FORMATS if shutil.which("ffmpeg") else FORMATS[:-1]


def film_format(path: Path) -> str:
    """The format of a film by the ending of its name; ValueError as :func:`check_format`."""
    form = path.suffix.lower().removeprefix(".")
    check_format(form)
    return form


def check_format(form: str) -> None:
    """Raise ValueError unless it is one of :func:`film_formats`."""
    if form not in FORMATS:
        raise ValueError(f"expected a film as {', '.join(FORMATS)}, got {form!r}")
    if form not in film_formats():
        raise ValueError(
            f"expected ffmpeg on the PATH to make an MP4, got none: use {' or '.join(FORMATS[:-1])}"
        )


def film(
    frames: Iterable[Frame], form: str = "webp", sample: int = 0, region: bool = False, side: int = SIDE
) -> bytes:
    """The states of a run one after the other, 0.12 s each, and the last for 1.6 s more; WebP and GIF repeat.

    Args:
        frames: of one run, as :meth:`Prepared.run` yields them; only their tokens are kept, and at most 120 of them
            are decoded. A run of more steps is shown in even strides, its start and its end always.
        form: "webp", "gif" or "mp4".
        sample: which of the run's.
        region: the hole with a rim around it, and not the whole picture.
        side: px of the longer side, at most; from 16 to 2048. Nothing is enlarged.

    Returns:
        The file.

    Raises:
        ValueError: for no frame, a sample that the run has not, a bad side or an unknown format; for "mp4" without
            ffmpeg on the PATH, or one that fails.
    """
    check_format(form)
    number = whole(side)
    if number is None or not images.MIN_SIDE <= number <= MAX_SIDE:
        raise ValueError(f"expected side in whole px from {images.MIN_SIDE} to {MAX_SIDE}, got {side!r}")
    states, prepared, place = [], None, whole(sample)
    for frame in frames:
        prepared, count = frame.prepared, len(frame.step.tokens)
        if place is None or not 0 <= place < count:
            raise ValueError(f"expected a sample from 0 to {count - 1}, got {sample!r}")
        states.append(frame.step.tokens[place])
    if prepared is None:
        raise ValueError("expected at least one frame, got none")
    return encode(list(pictures(prepared, thinned(states, MAX_FRAMES), region, number)), form)


def thinned(states: Sequence[Tensor], most: int) -> list[Tensor]:
    """At most ``most`` of them, evenly spread, the first and the last among them."""
    places = np.linspace(0, len(states) - 1, min(len(states), most)).round().astype(int)
    return [states[place] for place in places]


def pictures(
    prepared: Prepared, states: Iterable[Tensor], region: bool = False, side: int = SIDE
) -> Generator[Image.Image, None, None]:
    """What states int64 ``(h, w, q)`` of a run look like: RGB, of equal size and even sides, as MP4 wants them; white
    shows through where the picture is transparent."""
    area = around(prepared) if region else Box(0, 0, *prepared.picture.size)
    box = prepared.box
    inside = Box(box.left - area.left, box.top - area.top, box.right - area.left, box.bottom - area.top)
    scale = min(1.0, side / max(area.width, area.height))
    size = [max(2, 2 * round(length * scale / 2)) for length in (area.width, area.height)]
    rgb, alpha = prepared.picture.rgb[area.slices].copy(), images.opacity(prepared.picture, area)
    for tokens in states:
        rgb[inside.slices] = prepared.composite(tokens[None])[0]
        seen = rgb if alpha is None else over_white(rgb, alpha)
        yield Image.fromarray(images.resize_rgb(seen, (size[0], size[1])))


def over_white(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) with as much of uint8 (H, W, 3) in it as uint8 (H, W) says."""
    share = alpha[..., None].astype(np.float32) / 255
    return np.rint(rgb * share + 255 * (1 - share)).astype(np.uint8)


def around(prepared: Prepared) -> Box:
    """The hole with a rim around it, as far as the picture goes."""
    box, (width, height) = prepared.box, prepared.picture.size
    rim = round(MARGIN * max(box.width, box.height))
    return Box(
        max(0, box.left - rim),
        max(0, box.top - rim),
        min(width, box.right + rim),
        min(height, box.bottom + rim),
    )


def encode(shown: Sequence[Image.Image], form: str) -> bytes:
    """The film of RGB pictures of equal size, in a format that :func:`check_format` has let through."""
    if form == "mp4":
        return with_ffmpeg(shown)
    options = {"quality": 86, "method": 2}
    if form == "gif":  # one palette and no dithering: what does not change must not flicker
        shown, options = in_one_palette(shown), {"optimize": False}
    durations = [round(1000 * STEP)] * (len(shown) - 1) + [round(1000 * (STEP + PAUSE))]
    buffer = io.BytesIO()
    shown[0].save(
        buffer, form.upper(), save_all=True, append_images=shown[1:], duration=durations, loop=0, **options
    )
    return buffer.getvalue()


def in_one_palette(shown: Sequence[Image.Image]) -> list[Image.Image]:
    """The pictures in 256 colours that suit the first, the middle and the last of them."""
    width, height = shown[0].size
    montage = Image.new("RGB", (width, 3 * height))
    for place, picture in enumerate((shown[0], shown[len(shown) // 2], shown[-1])):
        montage.paste(picture, (0, place * height))
    palette = montage.quantize(COLOURS)
    return [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in shown]


def with_ffmpeg(shown: Sequence[Image.Image]) -> bytes:
    """An MP4 that browsers and phones play: H.264, its pictures as often as they are shown."""
    width, height = shown[0].size
    pause = round(PAUSE / STEP)
    raw = b"".join(picture.tobytes() for picture in [*shown, *[shown[-1]] * pause])
    raw_video = f"-f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {1 / STEP:.4f} -i -"
    h264 = "-c:v libx264 -crf 18 -pix_fmt yuv420p -movflags +faststart"
    with tempfile.TemporaryDirectory(prefix="sundae-film-") as folder:
        target = Path(folder) / "film.mp4"  # a file, because its index is put before what it indexes
        command = ["ffmpeg", "-loglevel", "error", "-y", *raw_video.split(), *h264.split(), str(target)]
        done = subprocess.run(command, input=raw, capture_output=True, check=False)
        if done.returncode or not target.is_file():
            words = done.stderr.decode(errors="replace").strip().splitlines() or [f"code {done.returncode}"]
            raise ValueError(f"expected ffmpeg to make an MP4, got: {words[-1]}")
        return target.read_bytes()
