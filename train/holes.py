"""Random holes for training: what people paint, on a grid of tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class HoleSettings:
    """Where holes lie beyond chance. People paint over eyes and mouths; on aligned faces these have a place."""

    everything: bool = False  # hide whole pictures only, as the paper does
    focus: tuple[tuple[float, float], ...] = ()  # rows and columns, as shares of height and width
    focus_share: float = 0.0  # share of the holes that cover one or two of these points and little else


def random_hole(
    h: int, w: int, rng: np.random.Generator, settings: HoleSettings = HoleSettings()
) -> np.ndarray:
    """A hole of a random kind: bool ``(h, w)``, True = hidden, never empty.

    Apart from the focused ones, one in seven hides everything (the paper's SUNDAE, whole pictures); the others
    are rectangles, ellipses, strokes, halves and mixtures of them.
    """
    if settings.everything:
        return np.ones((h, w), bool)
    if settings.focus and rng.random() < settings.focus_share:
        return focused(h, w, rng, settings.focus)
    kind = rng.choice(5, p=(0.15, 0.35, 0.2, 0.15, 0.15))
    if kind == 0:
        return np.ones((h, w), bool)
    hole = np.zeros((h, w), bool)
    if kind == 3:
        return half(h, w, rng)
    shape = (None, rectangle, ellipse, None, stroke)[kind]
    for _ in range(int(rng.choice((1, 2, 3), p=(0.7, 0.2, 0.1)))):
        hole |= shape(h, w, rng)
    return hole


def rectangle(h: int, w: int, rng: np.random.Generator) -> np.ndarray:
    """An upright rectangle with sides from 1 cell to most of the grid, small ones as likely as large ones."""
    shares = (np.exp(rng.uniform(np.log(min(1.5 / side, 0.9)), np.log(0.9))) for side in (h, w))
    height, width = (int(np.ceil(side * share)) for side, share in zip((h, w), shares))
    top, left = rng.integers(h - height + 1), rng.integers(w - width + 1)
    hole = np.zeros((h, w), bool)
    hole[top : top + height, left : left + width] = True
    return hole


def ellipse(h: int, w: int, rng: np.random.Generator) -> np.ndarray:
    """An ellipse around a point that gathers near the middle."""
    y, x = np.mgrid[0:h, 0:w]
    cy, cx = np.clip(rng.normal((0.5 * h, 0.5 * w), (0.2 * h, 0.2 * w)), 0, (h - 1, w - 1))
    ry, rx = (max(0.7, side * rng.uniform(0.03, 0.45)) for side in (h, w))
    hole = ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1
    hole[int(cy), int(cx)] = True
    return hole


def focused(h: int, w: int, rng: np.random.Generator, focus: tuple[tuple[float, float], ...]) -> np.ndarray:
    """Ellipses of 2 to 10 cells of 32 around one or two of the points, which lie inside them."""
    y, x = np.mgrid[0:h, 0:w]
    hole = np.zeros((h, w), bool)
    for point in rng.choice(len(focus), 1 if rng.random() < 0.75 else min(2, len(focus)), replace=False):
        row, column = focus[point][0] * h, focus[point][1] * w
        ry, rx = rng.uniform(0.03, 0.12) * h, rng.uniform(0.04, 0.16) * w
        angle, far = rng.uniform(0, 2 * np.pi), 0.6 * rng.random()
        cy, cx = row + far * ry * np.sin(angle), column + far * rx * np.cos(angle)
        hole |= ((y + 0.5 - cy) / ry) ** 2 + ((x + 0.5 - cx) / rx) ** 2 <= 1
        hole[min(int(row), h - 1), min(int(column), w - 1)] = True
    return hole


def half(h: int, w: int, rng: np.random.Generator) -> np.ndarray:
    """Everything on one side of a line across the grid."""
    y, x = np.mgrid[0:h, 0:w]
    angle = rng.choice((0, 0.5, 1, 1.5)) * np.pi + (rng.normal(0, 0.3) if rng.random() < 0.3 else 0)
    across = (y - h / 2) / h * np.sin(angle) + (x - w / 2) / w * np.cos(angle)
    hole = across > np.clip(rng.normal(0, 0.15), -0.4, 0.4)
    return hole if hole.any() else np.ones((h, w), bool)


def stroke(h: int, w: int, rng: np.random.Generator) -> np.ndarray:
    """A wandering brush stroke, one to five cells thick."""
    hole = np.zeros((h, w), bool)
    y, x = np.mgrid[0:h, 0:w]
    place, heading, radius = rng.uniform(0, 1, 2) * (h, w), rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 2.5)
    for _ in range(int(rng.integers(2, 14))):
        hole |= (y - place[0]) ** 2 + (x - place[1]) ** 2 <= radius**2
        heading += rng.normal(0, 0.5)
        place = np.clip(place + radius * np.array((np.sin(heading), np.cos(heading))), 0, (h - 1, w - 1))
    hole[int(place[0]), int(place[1])] = True
    return hole
