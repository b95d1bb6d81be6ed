"""Losses that only training needs: reconstruction, the patch discriminator and its games."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def reconstruction_terms(
    output: Tensor, target: Tensor, weight: Tensor, levels: int = 3
) -> dict[str, Tensor]:
    """L1 over a pyramid, squared error, and L1 of gradients over the pyramid, weighted by pixel.

    The gradient term sharpens edges; from the start at weight 1 it drowned the colours, hence its own weight.

    Args:
        output: pictures ``(B, 3, H, W)``.
        target: the same.
        weight: ``(B, 1, H, W)``, how much each pixel matters; ones for plain means.
        levels: heights of the pyramid, each half of the one before.
    """
    error = output - target
    l1, edges = output.new_zeros(()), output.new_zeros(())
    mse = (error.square() * weight).mean()
    for level in range(levels):
        if level:
            error, weight = F.avg_pool2d(error, 2), F.avg_pool2d(weight, 2)
        l1 = l1 + (error.abs() * weight).mean() / levels
        edges = edges + gradient_size(error, weight) / levels
    return {"l1": l1, "mse": mse, "edges": edges}


def gradient_size(error: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of the absolute horizontal and vertical finite differences of an error."""
    across = (error[..., 1:] - error[..., :-1]).abs() * weight[..., 1:]
    down = (error[..., 1:, :] - error[..., :-1, :]).abs() * weight[..., 1:, :]
    return across.mean() + down.mean()


class PatchDiscriminator(nn.Module):
    """Scores overlapping patches as real or decoded (Isola et al. 2017), with its features for matching."""

    def __init__(self, width: int = 32):
        super().__init__()
        sizes = [(3 * 4, width), (width, 2 * width), (2 * width, 4 * width)]
        self.stages = nn.ModuleList(
            nn.utils.parametrizations.spectral_norm(nn.Conv2d(a, b, 4, 2, 1)) for a, b in sizes
        )
        self.score = nn.Conv2d(4 * width, 1, 3, padding=1)

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """``(B, 3, H, W)`` to scores ``(B, 1, H/16, W/16)`` and the features of every stage."""
        x, features = F.pixel_unshuffle(image, 2), []
        for stage in self.stages:
            x = F.leaky_relu(stage(x), 0.2)
            features.append(x)
        return self.score(x), features


def discriminator_hinge(real: Tensor, fake: Tensor) -> Tensor:
    """Hinge loss of the discriminator (Lim & Ye 2017): mean relu(1 - real) + mean relu(1 + fake)."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def feature_matching(fake: list[Tensor], real: list[Tensor]) -> Tensor:
    """Mean L1 between discriminator features of the output and of the target (Salimans et al. 2016)."""
    return sum((a - b.detach()).abs().mean() for a, b in zip(fake, real, strict=True)) / len(fake)


def adaptive_weight(
    reconstruction: Tensor, adversarial: Tensor, last_layer: Tensor, limit: float = 1.0
) -> Tensor:
    """Weight that gives both losses gradients of equal norm at the decoder's last layer.

    ``||d rec|| / (||d adv|| + 1e-4)`` (Esser et al. 2021, eq. 7), clamped to ``limit``: Bond-Taylor et al.
    2022 found 1 to be stabler than 1e4.
    """
    rec = torch.autograd.grad(reconstruction, last_layer, retain_graph=True)[0]
    adv = torch.autograd.grad(adversarial, last_layer, retain_graph=True)[0]
    return (rec.norm() / (adv.norm() + 1e-4)).clamp(0, limit).detach()
