"""LlamaGen's ``VQModel`` (Sun et al. 2024): taming's network under other names, and codes looked up by angle.

A training checkpoint holds the averaged weights under ``ema``, and others under ``model``.
"""

from __future__ import annotations

from torch import nn

from sundae.convert.names import Tensors, check_pictures, count, fill, shape_of
from sundae.convert.settings import Settings
from sundae.vqgan import VQGANConfig, VQGANTokenizer

RESOLUTION = 256  # px; of the published models
DROPPED = (r"quantize\.codebook_used$",)  # the last codes that training saw
MIDDLE = {"mid.block_1": "mid.0", "mid.attn_1": "mid.1", "mid.block_2": "mid.2"}


def matches(tensors: Tensors) -> bool:
    return "encoder.conv_blocks.0.res.0.conv1.weight" in tensors


def read(tensors: Tensors, settings: Settings) -> nn.Module:
    """The tokenizer; its settings are command lines, and the weights tell all but the resolution.

    Raises:
        ValueError: as :func:`sundae.convert.names.fill`.
    """
    codes, dim = shape_of(tensors, "quantize.embedding.weight", 2)
    first = shape_of(tensors, "encoder.conv_in.weight", 4)
    check_pictures(first, "encoder.conv_in.weight")
    levels = count(tensors, r"encoder\.conv_blocks\.(\d+)\.res\.0\.conv2\.weight$")
    blocks = count(tensors, r"encoder\.conv_blocks\.0\.res\.(\d+)\.conv2\.weight$")
    config = VQGANConfig(
        codebook_size=codes,
        embed_dim=dim,
        latent_channels=shape_of(tensors, "encoder.conv_out.weight", 4)[0],
        channels=first[0],
        widths=tuple(
            shape_of(tensors, f"encoder.conv_blocks.{i}.res.0.conv2.weight", 4)[0] for i in range(levels)
        ),
        blocks=blocks,
        decoder_blocks=blocks + 1,
        attention=tuple(f"encoder.conv_blocks.{i}.attn.0.q.weight" in tensors for i in range(levels)),
        lookup="cosine",
        resolution=RESOLUTION,
    )
    return fill(VQGANTokenizer, config, tensors, lambda name: foreign_name(name, levels), DROPPED)


def foreign_name(name: str, levels: int) -> str:
    """Their name of a tensor; the decoder counts its levels from the coarsest on."""
    if name == "quantizer.codebooks":
        return "quantize.embedding.weight"
    network, _, rest = name.partition(".")
    for ours, theirs in MIDDLE.items():
        if rest.startswith(f"{ours}."):
            return f"{network}.{rest.replace(ours, theirs, 1)}"
    part, _, inside = rest.partition(".")
    if part not in ("down", "up"):
        return name
    level, _, inside = inside.partition(".")
    number = int(level) if part == "down" else levels - 1 - int(level)
    return f"{network}.conv_blocks.{number}.{inside.replace('block.', 'res.', 1)}"
