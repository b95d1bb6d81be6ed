"""What is measured on pictures: error inside a hole, random-feature distance, and what a redrawn part shows.

Portraits are drawn from attributes, so "is it still blue?" needs no detector: the same portrait is drawn
again with every other iris, or without its glasses, and the redrawn part is compared with these renderings.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from skimage.color import deltaE_ciede2000, rgb2lab
from torch import Tensor

from sundae.window import Box, hole_box
from train import portraits

DESIGN_SIZE = 1024
CROP_MARGIN = 64  # px of known surroundings that the random features see
DIFFERENT = 24  # of 255: two renderings differ at a pixel if any channel does by more
MIN_PIXELS = 100  # design px; with less to look at, nothing is said
RING_CENTRE, RING_RADII = (616.0, 477.0), (17.0, 24.0)  # the flat part of the right iris: x, y and radii
SKIN_AREAS = {
    "forehead": (240, 400),
    "cheek": (500, 720),
}  # rows of the design between which skin is compared
SKIN_INSET = 6  # px of skin next to something else that do not count


# -- error ---------------------------------------------------------------------------------------------------


def psnr(error: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared error of 0..255 values; infinite for none."""
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def squared_error(first: np.ndarray, second: np.ndarray, where: np.ndarray) -> float:
    """Mean squared difference of two uint8 (H, W, 3) pictures over the True pixels of ``where (H, W)``."""
    difference = first[where].astype(np.float64) - second[where]
    return float(np.mean(difference**2))


def wilson_interval(right: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a rate seen as ``right`` of ``count`` (Wilson 1927)."""
    if not count:
        return 0.0, 1.0
    rate, spread = right / count, z * z / count
    middle = (rate + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(rate * (1 - rate) / count + spread / (4 * count))
    return max(0.0, middle - half), min(1.0, middle + half)


# -- random features -----------------------------------------------------------------------------------------


class RandomFeatures:
    """A fixed convolutional net with random weights: four scales of two 3x3 convolutions.

    Random features suit pictures unlike ImageNet (Naeem et al. 2020) and need no download. The numbers come
    from NumPy's RandomState, whose stream is frozen, so that ``hash`` is the same everywhere. Biases are
    random too: without them a normalised ReLU net cannot tell a colour from a darker shade of it.
    """

    WIDTHS = (8, 16, 32, 64)
    SEED = 0

    def __init__(self, seed: int = SEED):
        self.seed = seed
        stream = np.random.RandomState(seed)
        self.layers: list[tuple[Tensor, Tensor]] = []
        digest, inputs = hashlib.sha256(), 3
        for width in (w for w in self.WIDTHS for _ in range(2)):
            weight = stream.standard_normal((width, inputs, 3, 3)) * math.sqrt(2 / (9 * inputs))
            bias = stream.standard_normal(width) * 0.2
            for values in (weight, bias):
                digest.update(values.astype("<f4").tobytes())
            self.layers.append((torch.tensor(weight).float(), torch.tensor(bias).float()))
            inputs = width
        self.hash = digest.hexdigest()

    @property
    def receptive_field(self) -> int:
        """Side in px of what one activation of the last scale sees."""
        side, stride = 1, 1
        for scale in range(len(self.WIDTHS)):
            side += 2 * 2 * stride + (stride if scale < len(self.WIDTHS) - 1 else 0)
            stride *= 2
        return side

    @torch.inference_mode()
    def __call__(self, rgb: np.ndarray) -> list[Tensor]:
        """uint8 (H, W, 3) to one float32 (1, C, H / 2^i, W / 2^i) a scale, of length 1 over C."""
        x = torch.tensor(rgb).permute(2, 0, 1)[None].float() / 127.5 - 1
        activations = []
        for i, (weight, bias) in enumerate(self.layers):
            x = F.relu(F.conv2d(x, weight, bias, padding=1))
            if i % 2:
                activations.append(F.normalize(x, dim=1))
                x = F.avg_pool2d(x, 2)
        return activations

    def distance(self, first: Sequence[Tensor], second: Sequence[Tensor], hole: np.ndarray) -> float:
        """Mean over the scales of the mean squared distance of activations, weighted by how much of each lies
        in ``hole``, bool (H, W)."""
        weight, total = torch.tensor(hole)[None, None].float(), 0.0
        for a, b in zip(first, second, strict=True):
            apart = (a - b).square().sum(1, keepdim=True)
            total += float((apart * weight).sum() / weight.sum())
            weight = F.avg_pool2d(weight, 2)
        return total / len(first)


def crop_around(hole: np.ndarray, margin: int = CROP_MARGIN) -> Box:
    """The hole's box, ``margin`` px wider where the picture allows."""
    box, (height, width) = hole_box(hole), hole.shape
    return Box(
        max(0, box.left - margin),
        max(0, box.top - margin),
        min(width, box.right + margin),
        min(height, box.bottom + margin),
    )


# -- what a redrawn part shows -------------------------------------------------------------------------------


def differing(first: np.ndarray, second: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """bool (H, W): pixels of the hole at which two uint8 (H, W, 3) renderings clearly differ."""
    return hole & (np.abs(first.astype(np.int16) - second).max(-1) > DIFFERENT)


def enough(where: np.ndarray) -> bool:
    """Whether a mask holds enough pixels to judge by, at any size of picture."""
    return where.sum() >= MIN_PIXELS * (len(where) / DESIGN_SIZE) ** 2


def with_each_iris(look: portraits.Attributes, size: int) -> dict[str, np.ndarray]:
    """The portrait with each of the iris colours: name -> uint8 (size, size, 3)."""
    return {
        name: portraits.draw_attributes(replace(look, iris=name), size).image
        for name in portraits.IRIS_COLOURS
    }


def iris_pixels(renderings: Mapping[str, np.ndarray], hole: np.ndarray) -> np.ndarray:
    """bool (H, W): pixels of the hole whose colour depends on the iris; none where hair or lenses hide it."""
    stack = np.stack(list(renderings.values()))
    return hole & ((stack.max(0).astype(np.int16) - stack.min(0)).max(-1) > DIFFERENT)


def iris_by_rendering(image: np.ndarray, renderings: Mapping[str, np.ndarray], where: np.ndarray) -> str:
    """The iris whose rendering is nearest to ``image`` over ``where``: mean CIELAB distance of the pixels."""
    seen = _lab(image[where])
    distance = {name: np.linalg.norm(seen - _lab(r[where]), axis=1).mean() for name, r in renderings.items()}
    return min(distance, key=distance.__getitem__)


def iris_by_ring(image: np.ndarray, renderings: Mapping[str, np.ndarray]) -> str:
    """The iris whose rendering has the nearest median colour on the ring around the right pupil (CIELAB)."""
    ring = iris_ring(len(image))
    seen = _lab(np.median(image[ring], 0))
    distance = {name: np.linalg.norm(seen - _lab(np.median(r[ring], 0))) for name, r in renderings.items()}
    return min(distance, key=distance.__getitem__)


def iris_ring(size: int) -> np.ndarray:
    """bool (size, size): the flat ring of the right iris, where neither pupil nor rim reach."""
    y, x = (np.mgrid[:size, :size] + 0.5) * (DESIGN_SIZE / size)
    radius = np.hypot(x - RING_CENTRE[0], y - RING_CENTRE[1])
    return (radius >= RING_RADII[0]) & (radius <= RING_RADII[1])


def kept_share(image: np.ndarray, truth: np.ndarray, without: np.ndarray, where: np.ndarray) -> float:
    """Share of the pixels in ``where`` showing ``truth``: nearer to it (CIELAB) than half of what separates it
    from ``without``.

    So they are also nearer to it than to ``without``; asking for that alone would let any noise pass at half
    the pixels.
    """
    expected = _lab(truth[where])
    separation = np.linalg.norm(expected - _lab(without[where]), axis=1)
    return float((np.linalg.norm(expected - _lab(image[where]), axis=1) < separation / 2).mean())


def glasses_pixels(portrait: portraits.Portrait, without: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """bool (H, W): the frame (and dark lens) inside the hole, where ``without`` differs."""
    assert portrait.labels is not None
    on = portrait.labels == portraits.LABELS.index("glasses")
    return on & differing(portrait.image, without, hole)


def without_glasses(look: portraits.Attributes, size: int) -> np.ndarray:
    """The portrait with its glasses taken off: uint8 (size, size, 3)."""
    return portraits.draw_attributes(replace(look, glasses="none", sunglasses=False), size).image


def skin_areas(labels: np.ndarray, hole: np.ndarray) -> dict[str, np.ndarray]:
    """Skin inside the hole whose mirror image is skin outside it, by area: name -> bool (H, W).

    Areas with too few pixels are left out.
    """
    skin = labels == portraits.LABELS.index("skin")
    paired = _inset(skin & hole & (skin & ~hole)[:, ::-1])
    y = np.arange(len(labels))[:, None] * (DESIGN_SIZE / len(labels))
    areas = {name: paired & (y >= top) & (y < bottom) for name, (top, bottom) in SKIN_AREAS.items()}
    return {name: area for name, area in areas.items() if enough(area)}


def skin_difference(
    image: np.ndarray, truth: np.ndarray, areas: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """How far the redrawn skin is from the kept half's: ``ciede2000`` and ``cie76``, means over the areas.

    The two halves are lit differently, so the kept half's median colour is first shifted (in CIELAB) by the
    difference that the true picture has between the same mirrored pixels.
    """
    totals = {"ciede2000": 0.0, "cie76": 0.0}
    for area in areas.values():
        mirrored = area[:, ::-1]
        shading = _median_lab(truth, area) - _median_lab(truth, mirrored)
        expected, seen = _median_lab(image, mirrored) + shading, _median_lab(image, area)
        totals["ciede2000"] += float(deltaE_ciede2000(expected, seen)) / len(areas)
        totals["cie76"] += float(np.linalg.norm(expected - seen)) / len(areas)
    return totals


def _inset(mask: np.ndarray) -> np.ndarray:
    """Pixels of a mask that are at least SKIN_INSET px from its edge along both axes."""
    for axis in (0, 1):
        for step in (-1, 1):
            for _ in range(SKIN_INSET):
                mask = mask & np.roll(mask, step, axis)
    return mask


def _lab(rgb: np.ndarray) -> np.ndarray:
    """0..255 RGB (..., 3) to CIELAB (D65)."""
    return rgb2lab(np.asarray(rgb, np.float64) / 255)


def _median_lab(rgb: np.ndarray, where: np.ndarray) -> np.ndarray:
    return _lab(np.median(rgb[where], 0))
