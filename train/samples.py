"""Pictures that show how far a run has come: reconstructions, inpaintings and samples, as grids."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from sundae import image as images
from sundae.priors.contract import Prior
from train.tokens import TokenShards

GAP = 4  # px between pictures
SIDE = 256  # px, longest side of one picture in a grid
COUNT = 4  # pictures of each kind
STEPS = 16  # of the sampler
HOLE = (214, 210, 206)  # the colour of what is hidden


class Decoder:
    """Tokens to pictures: a tokenizer's, or grey values for raw pixels."""

    def __init__(self, tokenizer: nn.Module | None, codes: int):
        self.tokenizer, self.codes = tokenizer, codes

    def __call__(self, tokens: Tensor) -> list[np.ndarray]:
        """Tokens int64 ``(B, h, w, q)`` to uint8 ``(H, W, 3)`` pictures."""
        if self.tokenizer is None:
            grey = (tokens[..., 0].float() * 255 / (self.codes - 1)).round().byte().cpu().numpy()
            return [np.repeat(picture[..., None], 3, -1) for picture in grey]
        return list(images.to_rgb(self.tokenizer.decode(tokens.cpu())))


def prior_pictures(
    prior: Prior, decoder: Decoder, shards: TokenShards, label_maps: bool = False
) -> dict[str, Image.Image]:
    """``inpainting``: rows of original, hole and redrawn; ``samples``: from nothing, one class each if the prior
    has classes, or with the label maps of the originals if it takes ``label_maps``."""
    count, device = min(COUNT, len(shards)), next(prior.parameters()).device
    tokens = torch.stack([torch.from_numpy(shards.grid(i, 0)) for i in range(count)]).to(device)
    _, h, w, _ = tokens.shape
    hole = torch.zeros(tokens.shape[:3], dtype=torch.bool, device=device)
    hole[:, h // 3 : h // 3 + max(1, h // 2), w // 4 : w // 4 + max(1, w // 2)] = True
    seeds, classes = list(range(count)), shards.classes
    known = asked = None
    if classes or label_maps:
        known = torch.stack([shards.condition(i, 0, label_maps) for i in range(count)]).to(device)
        asked = known if label_maps else torch.arange(count, device=device) % classes
    config = prior.settings_for(h * w)
    config = dataclasses.replace(config, steps=min(config.steps, STEPS))
    *_, painted = prior.sample(tokens, hole, config, seeds, batch_size=count, labels=known)
    *_, drawn = prior.sample(tokens, torch.ones_like(hole), config, seeds, batch_size=count, labels=asked)
    originals = decoder(tokens)
    veiled = [veil(picture, mask) for picture, mask in zip(originals, hole.cpu().numpy(), strict=True)]
    return {
        "inpainting": grid([originals, veiled, decoder(painted.tokens)]),
        "samples": grid([decoder(drawn.tokens)]),
    }


def tokenizer_pictures(tokenizer, pictures: Tensor) -> dict[str, Image.Image]:
    """``reconstruction``: a row of originals ``(B, 3, H, W)`` and a row of what the tokenizer makes of them."""
    shown = pictures[:COUNT]
    decoded = tokenizer.decode(tokenizer.encode(shown))
    return {"reconstruction": grid([list(images.to_rgb(part.cpu())) for part in (shown, decoded)])}


def veil(picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """The picture with its hole covered in flat grey, as the model is given no look under it.

    Args:
        picture: uint8 ``(H, W, 3)``.
        hole: bool ``(h, w)``, in pixels or in cells of any size.
    """
    factor = len(picture) // len(hole)
    pixels = np.repeat(np.repeat(hole, factor, 0), factor, 1)
    return np.where(pixels[..., None], np.array(HOLE, np.uint8), picture)


def grid(rows: Sequence[Sequence[np.ndarray]]) -> Image.Image:
    """Pictures in rows and columns, each at most SIDE px and small ones enlarged without smoothing."""
    height, width = rows[0][0].shape[:2]
    scale = SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = Image.Resampling.NEAREST if scale > 2 else Image.Resampling.LANCZOS
    sheet = Image.new(
        "RGB", (len(rows[0]) * (size[0] + GAP) - GAP, len(rows) * (size[1] + GAP) - GAP), "white"
    )
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            place = (x * (size[0] + GAP), y * (size[1] + GAP))
            sheet.paste(Image.fromarray(picture).resize(size, method), place)
    return sheet
