"""MaskGIT's VQ-GAN as open-muse and TiTok ship it: a flat dict of tensors named as in :mod:`sundae.maskgit`."""

from __future__ import annotations

from torch import nn

from sundae.convert.names import Tensors, check_pictures, count, fill, shape_of
from sundae.convert.settings import Settings, whole
from sundae.maskgit import MaskGITConfig, MaskGITTokenizer

RESOLUTION = 256  # px; of the published model


def matches(tensors: Tensors) -> bool:
    named = "encoder.down.0.block.0.conv1.weight" in tensors
    return named and "encoder.down.0.block.0.conv1.bias" not in tensors


def read(tensors: Tensors, settings: Settings) -> nn.Module:
    """The tokenizer.

    Raises:
        ValueError: as :func:`sundae.convert.names.fill`, or if the widths are no multiples of the first.
    """
    codes, dim = shape_of(tensors, "quantize.embedding.weight", 2)
    first = shape_of(tensors, "encoder.conv_in.weight", 4)
    check_pictures(first, "encoder.conv_in.weight")
    levels = count(tensors, r"encoder\.down\.(\d+)\.block\.0\.conv2\.weight$")
    widths = [shape_of(tensors, f"encoder.down.{i}.block.0.conv2.weight", 4)[0] for i in range(levels)]
    if any(width % first[0] for width in widths):
        raise ValueError(f"expected widths that are multiples of {first[0]}, got {widths}")
    config = MaskGITConfig(
        codebook_size=codes,
        embed_dim=dim,
        channels=first[0],
        channel_multipliers=tuple(width // first[0] for width in widths),
        blocks=count(tensors, r"encoder\.down\.0\.block\.(\d+)\.conv2\.weight$"),
        resolution=whole(settings, "resolution") or RESOLUTION,
    )
    codebook = {"quantizer.codebooks": "quantize.embedding.weight"}
    return fill(MaskGITTokenizer, config, tensors, lambda name: codebook.get(name, name))
