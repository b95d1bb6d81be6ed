"""How likely a picture is to a model's prior: in bits, and as a map of what surprises it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sundae import image as images
from sundae.bundles import Model
from sundae.image import Picture
from sundae.pipeline import model_tokens, prior_of
from sundae.priors.contract import PASSES, Prior
from sundae.priors.likelihood import bits_per_token

HEAT = 0.65  # share of the heat in a map, beside the picture's grey


@dataclass(frozen=True)
class Bits:
    """The negative log-likelihood of a picture's tokens: exact, or an upper bound on it."""

    per_token: float  # mean over the codes of the grid, q to a cell; log2(K) for a prior that knows nothing
    per_dimension: float  # all bits over 3 H W, the numbers of the picture at the size the model sees it at
    tokens: int  # codes


@dataclass(frozen=True)
class SurpriseMap:
    """Where a prior is surprised."""

    image: Image.Image  # RGB, of the picture's size: its grey, and over it the heat of each cell
    bits: Tensor  # float32 (h, w) per token; the mean over a cell's codes
    low: float  # bits per token of the darkest colour: the least in the picture
    high: float  # and of the lightest: the most


def bits(model: Model, image: Any, seed: int = 0, passes: int = PASSES) -> Bits:
    """How many bits the tokens of a picture take, which is seen at the model's size.

    Exact for the autoregressive prior; for absorbing diffusion its ELBO; for SUNDAE the bound of a chain of up to
    ``passes`` steps. They are of the tokens: what the tokenizer has lost of the picture is not in them, so they
    compare priors over one tokenizer, and not tokenizers. See :meth:`sundae.priors.contract.Prior.surprise`.

    Args:
        model: its prior is asked.
        image: whatever :func:`sundae.image.load_picture` takes, or a :class:`Picture`.
        seed: of the noise in a bound.
        passes: how often the network is asked for a bound.

    Raises:
        ValueError: for a tokenizer alone, an unusable picture, a bad seed or ``passes`` below 1.
    """
    prior, tokens = prior_of(model), see(model, image)
    return counted(model, tokens, float(prior.bits(tokens, everywhere(tokens), [seed], passes)))


def counted(model: Model, tokens: Tensor, per_token: float) -> Bits:
    """So many bits for each of the tokens."""
    pixels = everywhere(tokens).numel() * model.downsample_factor**2
    return Bits(per_token, per_token * tokens.numel() / (3 * pixels), tokens.numel())


def everywhere(tokens: Tensor) -> Tensor:
    """bool ``(1, h, w)``: every cell of a grid hidden."""
    return torch.ones(tokens.shape[:3], dtype=torch.bool, device=tokens.device)


def surprise_map(model: Model, image: Any, seed: int = 0, passes: int = PASSES) -> SurpriseMap:
    """How unexpected each cell of a picture is, as a heat map over it; arguments and errors are those of
    :func:`bits`.

    Its mean is :func:`bits` per token, but for absorbing diffusion: there the map is the bound of a sampler of so
    many steps, which is smoother and larger.
    """
    prior, picture = prior_of(model), image if isinstance(image, Picture) else images.load_picture(image)
    tokens = see(model, picture)
    return drawn(picture, prior.surprise(tokens, everywhere(tokens), [seed], passes)[0].cpu())


def bits_and_map(model: Model, image: Any, seed: int = 0, passes: int = PASSES) -> tuple[Bits, SurpriseMap]:
    """What :func:`bits` and :func:`surprise_map` give, asked for once where the one is the mean of the other: of a prior
    that counts its bits in its own way (absorbing diffusion) both are asked for."""
    prior, picture = prior_of(model), image if isinstance(image, Picture) else images.load_picture(image)
    if type(prior).bits is not Prior.bits:
        return bits(model, picture, seed, passes), surprise_map(model, picture, seed, passes)
    tokens = see(model, picture)
    surprise = prior.surprise(tokens, everywhere(tokens), [seed], passes)
    per_token = float(bits_per_token(surprise, everywhere(tokens)))
    return counted(model, tokens, per_token), drawn(picture, surprise[0].cpu())


def drawn(picture: Picture, surprise: Tensor) -> SurpriseMap:
    """The map of bits per token ``(h, w)`` over a picture."""
    low, high = float(surprise.min()), float(surprise.max())
    heat = heat_colours()[((surprise - low) / max(high - low, 1e-9) * 255).round().long().numpy()]
    cells = np.asarray(Image.fromarray(heat).resize(picture.size, Image.Resampling.NEAREST), np.float32)
    grey = np.asarray(Image.fromarray(picture.rgb).convert("L"), np.float32)[..., None]
    mixed = np.rint(HEAT * cells + (1 - HEAT) * grey).astype(np.uint8)
    return SurpriseMap(Image.fromarray(mixed), surprise, low, high)


def see(model: Model, image: Any) -> Tensor:
    """Tokens int64 ``(1, h, w, q)`` of a picture at the model's size."""
    return model_tokens(model, image if isinstance(image, Picture) else images.load_picture(image))


def heat_colours() -> np.ndarray:
    """256 colours from dark blue by red to pale yellow, uint8 ``(256, 3)``: an even climb in lightness, so that the
    order shows without colour too.

    A path in Oklab (Ottosson 2020): lightness 0.15 to 0.95, the hue turning from 265 to 465 degrees.
    """
    t = np.linspace(0, 1, 256)
    lightness, hue, chroma = (
        0.15 + 0.8 * t,
        np.radians(265 + 200 * t),
        0.17 * np.sin(np.pi * (0.12 + 0.76 * t)),
    )
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], -1)
    to_cones = np.array(
        [
            [1, 0.3963377774, 0.2158037573],
            [1, -0.1055613458, -0.0638541728],
            [1, -0.0894841775, -1.2914855480],
        ]
    )
    to_linear = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = ((lab @ to_cones.T) ** 3 @ to_linear.T).clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * encoded).astype(np.uint8)
