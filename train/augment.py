"""Differentiable augmentation of everything a discriminator sees (DiffAugment, Zhao et al. 2020).

A discriminator that sees few pictures learns them by heart. Seeing real and decoded pictures through random
changes of colour, place and visibility delays that, and because every change is differentiable the generator
is told the truth through them. Augment each batch by a call of its own: draws are independent, as in the paper.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

BRIGHTNESS = 0.5  # the paper's strengths, which a setting of 1 stands for: added to every value, at most
SATURATION, CONTRAST = 1.0, 0.5  # a factor is at most this far from 1
TRANSLATION, CUTOUT = 1 / 8, 1 / 2  # of the side


@dataclass(frozen=True)
class AugmentSettings:
    """Strengths in [0, 1]: 0 leaves pictures as they are, 1 is the strength of the paper.

    Raises:
        ValueError: for a strength outside [0, 1].
    """

    colour: float = 0.0  # brightness +-0.5, saturation x 0..2, contrast x 0.5..1.5
    translation: float = 0.0  # up to 1/8 of the side, both ways
    cutout: float = 0.0  # a box of 1/2 of both sides

    def __post_init__(self):
        for name, strength in dataclasses.asdict(self).items():
            if not 0 <= strength <= 1:
                raise ValueError(f"expected {name} in [0, 1], got {strength}")


def augment(images: Tensor, settings: AugmentSettings, generator: torch.Generator | None = None) -> Tensor:
    """Colour, then translation, then cutout, each drawn anew for every picture (Zhao et al. 2020).

    A strength of 0 draws nothing and returns the very same values. Colours are not clamped: a clamp would
    hide gradients from the generator.

    Args:
        images: float ``(B, 3, H, W)`` in [-1, 1]; any H and W.
        settings: how strong.
        generator: source of the draws, on any device; torch's own for the device of ``images`` if None.

    Returns:
        The same shape, type and device; differentiable with respect to ``images``.

    Raises:
        ValueError: for another shape, or for integers.
    """
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise ValueError(f"expected float images (B, 3, H, W), got {images.dtype} {tuple(images.shape)}")
    if settings.colour:
        images = change_colours(images, settings.colour, generator)
    if settings.translation:
        images = translate(images, settings.translation, generator)
    if settings.cutout:
        images = cut_out(images, settings.cutout, generator)
    return images


def change_colours(images: Tensor, strength: float, generator: torch.Generator | None) -> Tensor:
    """Brightness, saturation (distance from each pixel's grey) and contrast (distance from the mean), in turn."""
    device = images.device if generator is None else generator.device
    draws = torch.rand(3, len(images), 1, 1, 1, generator=generator, device=device)
    brightness, saturation, contrast = strength * (2 * draws - 1).to(images)
    images = images + BRIGHTNESS * brightness
    grey = images.mean(1, keepdim=True)
    images = grey + (1 + SATURATION * saturation) * (images - grey)
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + (1 + CONTRAST * contrast) * (images - mean)


def translate(images: Tensor, strength: float, generator: torch.Generator | None) -> Tensor:
    """Shift by whole pixels, down and right by draws of either sign; what comes in is 0, the middle grey."""
    for dim in (2, 3):
        side = images.shape[dim]
        most = int(strength * TRANSLATION * side)
        shift = draw_integers(-most, most, images, generator)
        source = torch.arange(side, device=images.device) - shift[:, None]
        along = [len(images), 1, 1, 1]
        along[dim] = side
        index = source.clamp(0, side - 1).view(along).expand_as(images)
        images = images.gather(dim, index).masked_fill((source != source.clamp(0, side - 1)).view(along), 0)
    return images


def cut_out(images: Tensor, strength: float, generator: torch.Generator | None) -> Tensor:
    """Set a box to 0, the middle grey. Its centre is anywhere in the picture, so borders may cut the box."""
    inside = []
    for side in images.shape[2:]:
        size = int(strength * CUTOUT * side)
        # with an even size the centre lies between two pixels, so there is one place more than pixels
        first = draw_integers(0, side - size % 2, images, generator) - size // 2
        place = torch.arange(side, device=images.device) - first[:, None]
        inside.append((place >= 0) & (place < size))
    rows, columns = inside
    return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)


def draw_integers(low: int, high: int, images: Tensor, generator: torch.Generator | None) -> Tensor:
    """int64 ``(B,)`` in [low, high], one for each of ``images`` and on their device."""
    device = images.device if generator is None else generator.device
    return torch.randint(low, high + 1, (len(images),), generator=generator, device=device).to(images.device)
