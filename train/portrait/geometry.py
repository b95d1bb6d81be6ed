"""Fixed places of the head and the curves every part is built from (1024 px coordinates)."""

from __future__ import annotations

from collections.abc import Sequence

import skia

from train.portrait.canvas import Point

CENTRE_X = 512.0
EYE_Y = 480.0
EYE_OFFSET = 104.0  # half the distance between the eye centres
IRIS_RADIUS = 31.0
BROW_Y = 408.0
NOSE_TIP_Y = 588.0
MOUTH_Y = 662.0
EAR_X = 214.0  # half the distance between the ears
EAR_Y = 512.0
LEFT, RIGHT = -1, 1  # sides of the picture, not of the person

# Right half of the face outline below the cheek, by shape: points are (x from the centre, y).
FACE_SHAPES: dict[str, tuple[Point, ...]] = {
    "oval": ((197, 572), (157, 668), (84, 740), (0, 762)),
    "round": ((202, 578), (172, 664), (102, 732), (0, 754)),
    "heart": ((192, 566), (143, 658), (68, 734), (0, 764)),
    "square": ((202, 582), (176, 676), (106, 745), (0, 764)),
}
SKULL: tuple[Point, ...] = ((0, 226), (112, 244), (182, 312), (206, 404), (209, 492))

BARE_SKULL: tuple[Point, ...] = ((0, 190), (112, 214), (190, 296), (211, 404), (210, 492))


def place(points: Sequence[Point], side: int = RIGHT) -> list[Point]:
    """Turn (offset from the centre line, y) points into picture points on one side."""
    return [(CENTRE_X + side * x, y) for x, y in points]


def around(centre: Point, points: Sequence[Point], side: int = RIGHT) -> list[Point]:
    """Turn points relative to `centre` into picture points, mirrored for the left side."""
    return [(centre[0] + side * x, centre[1] + y) for x, y in points]


def mirrored(right: Sequence[Point]) -> list[Point]:
    """Close a right half, top to bottom, into a symmetric outline."""
    left = [(-x, y) for x, y in reversed(right) if x != 0]
    return place([*right, *left])


def _spline(path: skia.Path, points: Sequence[Point]) -> None:
    """Append a Catmull-Rom curve through `points`; the pen must already be at the first."""
    for i in range(len(points) - 1):
        before, start = points[max(i - 1, 0)], points[i]
        end, after = points[i + 1], points[min(i + 2, len(points) - 1)]
        path.cubicTo(
            start[0] + (end[0] - before[0]) / 6, start[1] + (end[1] - before[1]) / 6,
            end[0] - (after[0] - start[0]) / 6, end[1] - (after[1] - start[1]) / 6,
            end[0], end[1],
        )  # fmt: skip


def curve(points: Sequence[Point]) -> skia.Path:
    """Return an open smooth curve through `points`."""
    path = skia.Path()
    path.moveTo(*points[0])
    _spline(path, points)
    return path


def blob(points: Sequence[Point]) -> skia.Path:
    """Return a closed curve, smooth everywhere, through `points`."""
    path = skia.Path()
    path.moveTo(*points[0])
    wrapped = [points[-1], *points, points[0], points[1]]
    for i in range(1, len(points) + 1):
        before, start, end, after = wrapped[i - 1 : i + 3]
        path.cubicTo(
            start[0] + (end[0] - before[0]) / 6, start[1] + (end[1] - before[1]) / 6,
            end[0] - (after[0] - start[0]) / 6, end[1] - (after[1] - start[1]) / 6,
            end[0], end[1],
        )  # fmt: skip
    path.close()
    return path


def sheet(first: Sequence[Point], second: Sequence[Point]) -> skia.Path:
    """Return the area between two smooth curves that run the same way, with sharp ends."""
    path = curve(first)
    back = list(reversed(second))
    path.lineTo(*back[0])
    _spline(path, back)
    path.close()
    return path


def between(first: Sequence[Point], second: Sequence[Point], amount: float) -> list[Point]:
    """Return the curve `amount` (0..1) of the way from one curve to another of equal length."""
    return [(a[0] + (b[0] - a[0]) * amount, a[1] + (b[1] - a[1]) * amount) for a, b in zip(first, second)]


def oval(cx: float, cy: float, rx: float, ry: float) -> skia.Path:
    """Return an axis-aligned ellipse."""
    path = skia.Path()
    path.addOval(skia.Rect.MakeLTRB(cx - rx, cy - ry, cx + rx, cy + ry))
    return path


def box(left: float, top: float, right: float, bottom: float, radius: float = 0.0) -> skia.Path:
    """Return a rectangle with rounded corners."""
    path = skia.Path()
    path.addRoundRect(skia.Rect.MakeLTRB(left, top, right, bottom), radius, radius)
    return path


def circles(centres: Sequence[Point], radius: float) -> skia.Path:
    """Return the union of equal discs (winding fill)."""
    path = skia.Path()
    path.setFillType(skia.PathFillType.kWinding)
    for x, y in centres:
        path.addCircle(x, y, radius)
    return path


def face_outline(shape: str, bald: bool = False) -> skia.Path:
    """Return the closed outline of the face, hairline (or bare crown) to chin."""
    skull = BARE_SKULL if bald else SKULL
    return blob(mirrored([*skull, *FACE_SHAPES[shape]]))
