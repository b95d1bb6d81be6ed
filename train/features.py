"""What is measured on pictures: error inside a hole, the seam at its edge, and features of a random network."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sundae.pipeline import DEFAULT_FEATHER
from sundae.window import Box, hole_box

CROP_MARGIN = 64  # px of known surroundings that the random features see
SEAM_REACH = (
    DEFAULT_FEATHER + 2
)  # px; new pixels fade in over the feather, which hides a seam from neighbours


# -- error ---------------------------------------------------------------------------------------------------


def psnr(error: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared error of 0..255 values; infinite for none."""
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def squared_error(first: np.ndarray, second: np.ndarray, where: np.ndarray) -> float:
    """Mean squared difference of two uint8 (H, W, 3) pictures over the True pixels of ``where (H, W)``."""
    difference = first[where].astype(np.float64) - second[where]
    return float(np.mean(difference**2))


def across_edge(picture: np.ndarray, hole: np.ndarray, reach: int = SEAM_REACH) -> float:
    """Mean absolute difference, 0..255, of pixels ``reach`` px apart with the hole's edge between them: one of them
    known, the other hidden. Divided by that of the original it tells a seam: 1 is none, less is a blur.

    Args:
        picture: uint8 ``(H, W, 3)``.
        hole: bool ``(H, W)``.
        reach: px along rows and along columns.
    """
    values, total, count = picture.astype(np.int16), 0, 0
    for axis in (0, 1):
        first, second = np.arange(reach, hole.shape[axis]), np.arange(hole.shape[axis] - reach)
        crossing = hole.take(first, axis) != hole.take(second, axis)
        apart = np.abs(values.take(first, axis)[crossing] - values.take(second, axis)[crossing])
        total, count = total + int(apart.sum()), count + apart.size
    return total / count


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
    def dimensions(self) -> int:
        """Of an embedding."""
        return self.WIDTHS[-1]

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

    def embedding(self, activations: Sequence[Tensor], hole: np.ndarray) -> np.ndarray:
        """Mean of the last scale's 64 channels over ``hole``, bool (H, W): float64 (64,), what R64-FD compares."""
        weight = torch.tensor(hole)[None, None].float()
        for _ in range(len(activations) - 1):
            weight = F.avg_pool2d(weight, 2)
        return ((activations[-1] * weight).sum((2, 3)) / weight.sum())[0].double().numpy()

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
