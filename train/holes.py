"""Random holes for training: what people paint, on a grid of tokens."""

from __future__ import annotations

import numpy as np


def random_hole(h: int, w: int, rng: np.random.Generator) -> np.ndarray:
    """A hole of a random kind: bool ``(h, w)``, True = hidden, never empty.

    One in seven hides everything (the paper's SUNDAE, whole pictures); the others are rectangles, ellipses,
    strokes, halves and mixtures of them.
    """
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
