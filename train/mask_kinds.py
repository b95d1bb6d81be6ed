"""Five kinds of holes for any picture, fixed by a seed: what the priors are compared on.

They do not follow what a picture shows, unlike those of :mod:`train.face_masks`: thin strokes and blobs leave much of
the surroundings, half a picture and three quarters in random blocks leave little.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

STROKES, STROKE_WIDTH = 6, 0.012  # how many, and their width in sides
BLOBS, BLOB_RADII = 4, (0.06, 0.13)  # how many, and their mean radii in sides
WAVES = (2, 3, 4)  # of a blob's outline around it
BLOCKS, HIDDEN_BLOCKS = 16, 0.75  # along a side, and the share of them that is hidden
SIDES = ("left", "upper", "right", "lower")  # of a hidden half, each a quarter turn on


def kind_masks(size: int, seed: int) -> dict[str, np.ndarray]:
    """One hole of each kind: name -> bool ``(size, size)``, True = repaint, never empty.

    Args:
        size: px, at least 16.
        seed: of strokes, blobs, blocks and the side that is hidden; the centre square is always the same.

    Raises:
        ValueError: if the size is below 16.
    """
    if size < BLOCKS:
        raise ValueError(f"expected masks of at least {BLOCKS} px, got {size}")
    return {name: draw(size, numbers_of(name, seed)) for name, draw in DRAWN.items()}


def numbers_of(kind: str, seed: int) -> np.random.Generator:
    """The random numbers of one kind's hole."""
    return np.random.default_rng((KINDS.index(kind), seed))


def hidden_side(seed: int) -> str:
    """Which half the kind "half" hides: one of ``SIDES``, as :func:`kind_masks` draws it."""
    return SIDES[turns(numbers_of("half", seed))]


def thin_strokes(size: int, rng: np.random.Generator) -> np.ndarray:
    """Wandering lines of one width."""
    canvas = np.zeros((size, size), np.uint8)
    for _ in range(STROKES):
        place, heading, points = rng.uniform(0.1, 0.9, 2), rng.uniform(0, 2 * np.pi), []
        for _ in range(9):
            points.append(place * size)
            heading += rng.normal(0, 0.6)
            place = np.clip(place + 0.06 * np.array((np.cos(heading), np.sin(heading))), 0.02, 0.98)
        line = np.rint(np.array(points)).astype(np.int32)
        cv2.polylines(canvas, [line], False, 1, max(1, round(STROKE_WIDTH * size)))
    return canvas > 0


def blobs(size: int, rng: np.random.Generator) -> np.ndarray:
    """Round shapes with an uneven outline."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    hole = np.zeros((size, size), bool)
    for _ in range(BLOBS):
        (cy, cx), radius = rng.uniform(0.15, 0.85, 2), rng.uniform(*BLOB_RADII)
        angle, far = np.arctan2(y - cy, x - cx), np.hypot(y - cy, x - cx)
        outline = np.ones_like(angle)
        for wave in WAVES:
            outline += rng.uniform(0, 0.2) * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
        hole |= far <= np.maximum(radius * outline, 1 / size)
    return hole


def centre_square(size: int, rng: np.random.Generator) -> np.ndarray:
    """The middle half of each side."""
    hole = np.zeros((size, size), bool)
    hole[size // 4 : size - size // 4, size // 4 : size - size // 4] = True
    return hole


def half(size: int, rng: np.random.Generator) -> np.ndarray:
    """The left, upper, right or lower half."""
    hole = np.zeros((size, size), bool)
    hole[:, : size // 2] = True
    return np.rot90(hole, -turns(rng)).copy()


def turns(rng: np.random.Generator) -> int:
    """Quarter turns from the left half on, clockwise."""
    return int(rng.integers(len(SIDES)))


def random_blocks(size: int, rng: np.random.Generator) -> np.ndarray:
    """Exactly three quarters of 16 x 16 blocks."""
    count = BLOCKS * BLOCKS
    hidden = (rng.permutation(count) < HIDDEN_BLOCKS * count).reshape(BLOCKS, BLOCKS)
    place = np.arange(size) * BLOCKS // size
    return hidden[np.ix_(place, place)]


DRAWN: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    "thin_strokes": thin_strokes,
    "blobs": blobs,
    "centre_square": centre_square,
    "half": half,
    "random_blocks": random_blocks,
}
KINDS = tuple(DRAWN)
