"""A drawing pen that paints the picture and, when asked, the label map with the same shapes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import skia

from train.portrait.palette import Colour

DESIGN_SIZE = 1024  # every coordinate in this package is in pixels of a 1024 px picture

LABELS = (
    "background", "skin", "neck", "ear", "hair", "brow", "eye_left", "eye_right", "iris_left", "iris_right",
    "nose", "lips", "mouth", "glasses", "hat", "beard", "cloth", "accessory",
)  # fmt: skip

Point = tuple[float, float]


def argb(colour: Colour, alpha: float = 1.0) -> int:
    """Return skia's packed colour for an RGB triple and an opacity in 0..1."""
    return skia.ColorSetARGB(round(255 * alpha), *colour)


def linear(
    start: Point, end: Point, colours: Sequence[int], stops: Sequence[float] | None = None
) -> skia.Shader:
    """Return a linear gradient between two points; `colours` as packed by `argb`."""
    points = [skia.Point(*start), skia.Point(*end)]
    return skia.GradientShader.MakeLinear(points, list(colours), list(stops) if stops else None)


def radial(
    centre: Point, radius: float, colours: Sequence[int], stops: Sequence[float] | None = None
) -> skia.Shader:
    """Return a radial gradient; `colours` as packed by `argb`."""
    return skia.GradientShader.MakeRadial(
        skia.Point(*centre), radius, list(colours), list(stops) if stops else None
    )


class Pen:
    """Draws vector shapes on a square picture of `size` px, in 1024 px coordinates.

    With `labels` a second surface receives every shape that carries a label name, without
    antialiasing, so that a label pixel is always exactly one class.
    """

    def __init__(self, size: int, labels: bool) -> None:
        self._colour = skia.Surface(size, size)
        self._label = skia.Surface(size, size) if labels else None
        self._canvases = [s.getCanvas() for s in (self._colour, self._label) if s is not None]
        for canvas in self._canvases:
            canvas.scale(size / DESIGN_SIZE, size / DESIGN_SIZE)
        if self._label is not None:
            self._canvases[1].clear(argb((0, 0, 0)))

    def _draw(self, path: skia.Path, paint: skia.Paint, label: str | None) -> None:
        self._canvases[0].drawPath(path, paint)
        if label is not None and self._label is not None:
            index = LABELS.index(label)
            flat = skia.Paint(AntiAlias=False, Color=argb((index, index, index)))
            flat.setStyle(paint.getStyle())
            flat.setStrokeWidth(paint.getStrokeWidth())
            flat.setStrokeCap(paint.getStrokeCap())
            flat.setStrokeJoin(paint.getStrokeJoin())
            self._canvases[1].drawPath(path, flat)

    def fill(
        self,
        path: skia.Path,
        colour: Colour = (0, 0, 0),
        alpha: float = 1.0,
        *,
        shader: skia.Shader | None = None,
        label: str | None = None,
        blur: float = 0.0,
    ) -> None:
        """Fill `path` with a colour or a gradient; `blur` is a Gaussian sigma in px."""
        self._draw(path, _paint(colour, alpha, shader, blur), label)

    def stroke(
        self,
        path: skia.Path,
        colour: Colour,
        width: float,
        alpha: float = 1.0,
        *,
        label: str | None = None,
        blur: float = 0.0,
        shader: skia.Shader | None = None,
    ) -> None:
        """Stroke `path` with round caps and joins, `width` px wide."""
        paint = _paint(colour, alpha, shader, blur)
        paint.setStyle(skia.Paint.kStroke_Style)
        paint.setStrokeWidth(width)
        paint.setStrokeCap(skia.Paint.kRound_Cap)
        paint.setStrokeJoin(skia.Paint.kRound_Join)
        self._draw(path, paint, label)

    def glow(self, centre: Point, radii: Point, colour: Colour, alpha: float) -> None:
        """Paint a soft ellipse that fades to nothing at its edge (much cheaper than a blur)."""
        canvas = self._canvases[0]
        canvas.save()
        canvas.translate(*centre)
        canvas.scale(*radii)
        stops = [argb(colour, alpha), argb(colour, alpha * 0.62), argb(colour, alpha * 0.2), argb(colour, 0)]
        paint = _paint(colour, 1.0, radial((0, 0), 1, stops, [0, 0.35, 0.7, 1]), 0)
        canvas.drawCircle(0, 0, 1, paint)
        canvas.restore()

    @contextmanager
    def clip(self, path: skia.Path) -> Iterator[None]:
        """Limit what is drawn inside the block to `path`."""
        for index, canvas in enumerate(self._canvases):
            canvas.save()
            canvas.clipPath(path, doAntiAlias=index == 0)
        try:
            yield
        finally:
            for canvas in self._canvases:
                canvas.restore()

    def image(self) -> np.ndarray:
        """Return the picture, uint8 (size, size, 3) RGB."""
        return np.ascontiguousarray(_pixels(self._colour)[:, :, :3])

    def labels(self) -> np.ndarray | None:
        """Return the label map, uint8 (size, size) of indices into LABELS, or None."""
        return None if self._label is None else np.ascontiguousarray(_pixels(self._label)[:, :, 0])


def _paint(colour: Colour, alpha: float, shader: skia.Shader | None, blur: float) -> skia.Paint:
    paint = skia.Paint(AntiAlias=True, Color=argb(colour, alpha))
    if shader is not None:
        paint.setShader(shader)
    if blur:
        paint.setMaskFilter(skia.MaskFilter.MakeBlur(skia.kNormal_BlurStyle, blur))
    return paint


def _pixels(surface: skia.Surface) -> np.ndarray:
    return surface.makeImageSnapshot().toarray(colorType=skia.ColorType.kRGBA_8888_ColorType)
