"""Which region of a picture the model works on: around the hole, with context, at the model's size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

NEARLY = 1.1  # a picture whose shorter side is the model's times or through so much is drawn at its own scale
ONE_LOOK = 0.75  # model px per px, from which a whole picture with margins is looked at as one
MAX_CANVAS = 8  # of the model's own areas, in one canvas around a picture


@dataclass(frozen=True)
class Box:
    """A region of a picture in pixels, half open: left <= x < right, top <= y < bottom."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns, to index an (H, W, ...) array."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def contains(self, other: Box) -> bool:
        """Whether the other region lies inside this one."""
        across = self.left <= other.left and other.right <= self.right
        return across and self.top <= other.top and other.bottom <= self.bottom


@dataclass(frozen=True)
class Window:
    """The region of the picture the model works on, and the size (model pixels) it is resized to."""

    box: Box
    width: int
    height: int


def working_window(size: tuple[int, int], mask: np.ndarray, resolution: int, f: int) -> Window:
    """Choose which region of the picture the model works on, and at which size.

    size: (width, height) of the picture; mask: bool (H, W), True = repaint; resolution: the model's side in
    pixels; f: pixels per token side. The window contains every masked pixel. A nearly square picture of about
    the model's size is taken whole (or as its largest square); otherwise a square around the hole, twice its
    longer side where the picture allows; a hole longer than the shorter side gets a rectangle, on a grid of
    the same proportions.
    Raises ValueError on a mask of another size, an empty mask, or a resolution that is no multiple of f.
    """
    width, height = size
    if mask.dtype != np.bool_ or mask.shape != (height, width):
        raise ValueError(f"expected a bool mask {(height, width)}, got {mask.dtype} {mask.shape}")
    if f < 1 or resolution < f or resolution % f:
        raise ValueError(f"expected a resolution that is a multiple of {f}, got {resolution}")
    hole = hole_box(mask)
    shorter, longer = sorted(size)
    needed = max(hole.width, hole.height)
    if longer <= 1.1 * shorter and 0.75 * resolution <= longer <= 1.5 * resolution:
        if needed > shorter:
            return Window(Box(0, 0, width, height), resolution, resolution)
        side = shorter
    elif needed <= shorter:
        side = min(shorter, max(2 * needed, min(resolution // 2, shorter)))
    else:
        return _rectangle_window(size, hole, resolution, f)
    return Window(_box_around(hole, side, side, size), resolution, resolution)


def canvas_window(
    size: tuple[int, int], mask: np.ndarray, own: tuple[int, int], f: int, scale: float = 1.0
) -> Window:
    """A window for a hole larger than the model's size: the hole and one such size of context on each side, at
    ``scale`` model pixels per pixel.

    size: (width, height) of the picture; mask: bool (H, W), True = repaint; own: (width, height) of the model in
    pixels; f: pixels per token side. Both sides are whole tokens and no less than the model's. At a scale of 1
    context that fills no token is left out, so that nothing is resampled; where there is none to leave out, or at
    another scale, a side is resampled by half a token at most.
    """
    hole = hole_box(mask)
    spans = (hole.left, hole.right, size[0], own[0]), (hole.top, hole.bottom, size[1], own[1])
    (left, right, width), (top, bottom, height) = (_canvas_side(*span, f, scale) for span in spans)
    return Window(Box(left, top, right, bottom), width, height)


def margin_window(
    size: tuple[int, int], mask: np.ndarray, inner: Box, resolution: int, own: tuple[int, int], f: int
) -> Window:
    """A window for a hole in a picture that has got margins.

    size: (width, height) of the picture; mask: bool (H, W), True = repaint; inner: what was there before the margins;
    resolution, own, f: as above. A hole that reaches into no margin is like any other. Of one that does, the model
    must see what it goes on from: in one look, where that holds all that was there and hardly reduces it; else on a
    canvas at the scale of :func:`margin_scale`. A canvas of more than eight times the model's area would take
    minutes and gigabytes: then it is one look after all.
    """
    plain = working_window(size, mask, resolution, f)
    if inner.contains(hole_box(mask)):
        return plain
    if plain.box.contains(inner) and plain.width >= ONE_LOOK * plain.box.width:
        return plain
    scale = margin_scale((inner.width, inner.height), resolution)
    canvas = canvas_window(size, mask, own, f, scale)
    return canvas if canvas.width * canvas.height <= MAX_CANVAS * own[0] * own[1] else plain


def margin_scale(before: tuple[int, int], resolution: int) -> float:
    """Model pixels per pixel at which the margins of a picture of size ``before`` are drawn: as if its shorter side
    were the model's, or pixel for pixel where it nearly is."""
    scale = resolution / min(before)
    return 1.0 if 1 / NEARLY <= scale <= NEARLY else scale


def _canvas_side(first: int, end: int, whole: int, own: int, f: int, scale: float) -> tuple[int, int, int]:
    """One side of a canvas's window around the hole's pixels [first, end) of ``whole``: start and end in pixels of
    the picture, and model pixels."""
    context = math.ceil(own / scale)
    start, stop = max(0, first - context), min(whole, end + context)
    spare, before, after = (stop - start) % f, first - start, stop - end
    if scale == 1 and spare <= max(before, after) and stop - start - spare >= own:
        start, stop = (start + spare, stop) if before > after else (start, stop - spare)
    return start, stop, max(own, round((stop - start) * scale / f) * f)


def hole_box(mask: np.ndarray) -> Box:
    """The tight box around the True pixels of a bool mask (H, W); raises ValueError when there are none."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        raise ValueError("expected a mask with at least one pixel to repaint, got an empty one")
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def _box_around(hole: Box, width: int, height: int, size: tuple[int, int]) -> Box:
    """A width x height box centred on the hole, moved inside the picture."""
    left = min(max(0, (hole.left + hole.right - width) // 2), size[0] - width)
    top = min(max(0, (hole.top + hole.bottom - height) // 2), size[1] - height)
    return Box(left, top, left + width, top + height)


def _rectangle_window(size: tuple[int, int], hole: Box, resolution: int, f: int) -> Window:
    """A window for a hole longer than the shorter side: all of that side, and context along the other."""
    shorter, longer = sorted(size)
    needed = max(hole.width, hole.height)
    # Up to 4:1 the grid keeps both proportions and area; context beyond that would squeeze the hole.
    length = min(longer, max(needed, min(2 * needed, 4 * shorter)))
    ratio = length / shorter
    long_side = _on_grid(min(resolution * math.sqrt(ratio), 2 * resolution), resolution, f)
    short_side = _on_grid(long_side / ratio, resolution, f)
    if size[0] >= size[1]:
        return Window(_box_around(hole, length, shorter, size), long_side, short_side)
    return Window(_box_around(hole, shorter, length, size), short_side, long_side)


def _on_grid(side: float, resolution: int, f: int) -> int:
    """The nearest multiple of f, at least four cells (or the model's own side) and at most twice its side."""
    return min(max(round(side / f) * f, min(4 * f, resolution)), 2 * resolution)
