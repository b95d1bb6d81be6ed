"""Unleashing Transformers (Bond-Taylor et al. 2022, samb-t): a bare dict of tensors, ``vqgan_ema_STEP.th``.

The networks are lists of blocks, so what stands at a number has to be found out from what its tensors are called.
There are no convolutions around the quantiser, the decoder has as many blocks per level as the encoder, no swish comes
before the last convolutions, and pixels are in [0, 1].
"""

from __future__ import annotations

import re

from torch import nn

from sundae.convert.names import Tensors, check_pictures, count, fill, shape_of, strip
from sundae.convert.settings import Settings
from sundae.convert.tensors import Stored
from sundae.vqgan import VQGANConfig, VQGANTokenizer

RESOLUTION = 256  # px; of the published models
OTHER_MODELS = re.compile(r"(disc|perceptual)\.")
DROPPED = (
    r"generator\.logsigma\.",  # of the likelihood that a second training stage fits
    r"(encoder|generator)\.blocks\.\d+\.conv_out\.",  # every block has one, and needs it only to change the width
)
MIDDLE = ("mid.block_1", "mid.attn_1", "mid.block_2")


def matches(tensors: Tensors) -> bool:
    return "encoder.blocks.0.weight" in bare(tensors)


def bare(tensors: Tensors) -> dict[str, Stored]:
    """The autoencoder's tensors: in a whole VQGAN they are under ``ae.``, beside the discriminator and LPIPS."""
    own = {name: tensor for name, tensor in tensors.items() if not OTHER_MODELS.match(name)}
    return strip(own, "ae.") if own and all(name.startswith("ae.") for name in own) else own


def read(tensors: Tensors, settings: Settings) -> nn.Module:
    """The autoencoder; its settings are command lines, and the weights tell all but the resolution.

    Raises:
        ValueError: as :func:`sundae.convert.names.fill`.
    """
    tensors = bare(tensors)
    gumbel = "quantize.proj.weight" in tensors
    codebook = "quantize.embed.weight" if gumbel else "quantize.embedding.weight"
    codes, dim = shape_of(tensors, codebook, 2)
    first = shape_of(tensors, "encoder.blocks.0.weight", 4)
    check_pictures(first, "encoder.blocks.0.weight")
    places = encoder_places(tensors) | decoder_places(tensors)
    levels = count(places, r"encoder\.down\.(\d+)\.block\.0$")
    config = VQGANConfig(
        codebook_size=codes,
        embed_dim=dim,
        latent_channels=dim,
        channels=first[0],
        widths=tuple(
            shape_of(tensors, f"{places[f'encoder.down.{i}.block.0']}.conv2.weight", 4)[0]
            for i in range(levels)
        ),
        blocks=count(places, r"encoder\.down\.0\.block\.(\d+)$"),
        decoder_blocks=count(places, r"decoder\.up\.0\.block\.(\d+)$"),
        attention=tuple(f"encoder.down.{i}.attn.0" in places for i in range(levels)),
        last_swish=False,
        projections=False,
        lookup="argmax" if gumbel else "nearest",
        pixel_range="unit",
        resolution=RESOLUTION,
    )
    places |= {"quantizer.codebooks": codebook, "quantizer.proj": "quantize.proj"}
    return fill(VQGANTokenizer, config, tensors, lambda name: foreign_name(name, places), DROPPED)


def foreign_name(name: str, places: dict[str, str]) -> str:
    """Their name of a tensor: the block is looked up, what is inside it is called the same but for the shortcut."""
    for cut in range(name.count(".") + 1):
        block, *inside = name.rsplit(".", cut)
        if block in places:
            return ".".join((places[block], *inside)).replace("nin_shortcut", "conv_out")
    return name


def encoder_places(tensors: Tensors) -> dict[str, str]:
    """Our name of every block of the encoder, and theirs: convolution, levels, middle, norm, convolution."""
    kinds = block_kinds(tensors, "encoder")
    ours = ["encoder.conv_in", *level_names(kinds[1:-5], "encoder.down", "downsample", range(len(kinds)))]
    ours += [f"encoder.{name}" for name in (*MIDDLE, "norm_out", "conv_out")]
    return numbered(ours, kinds, "encoder")


def decoder_places(tensors: Tensors) -> dict[str, str]:
    """Our name of every block of the decoder, and theirs: convolution, middle, levels from the coarsest on, norm,
    convolution."""
    kinds = block_kinds(tensors, "generator")
    levels = kinds[4:-2].count("conv")
    ours = ["decoder.conv_in", *(f"decoder.{name}" for name in MIDDLE)]
    ours += level_names(kinds[4:-2], "decoder.up", "upsample", range(levels, -1, -1))
    return numbered([*ours, "decoder.norm_out", "decoder.conv_out"], kinds, "generator")


def block_kinds(tensors: Tensors, network: str) -> list[str]:
    """What each block of a network is: "norm1" (residual), "q" (attention), "conv" (resampling) or "weight" (a
    single layer), by the first of these names that it has."""
    kinds = []
    for n in range(count(tensors, rf"{network}\.blocks\.(\d+)\.")):
        names = strip(tensors, f"{network}.blocks.{n}.")
        kinds.append(next((kind for kind in ("norm1", "q", "conv") if f"{kind}.weight" in names), "weight"))
    return kinds


def level_names(kinds: list[str], network: str, resampling: str, levels: range) -> list[str]:
    """Our names of the blocks of all levels; each resampling block ends one."""
    names, numbers, blocks, attentions = [], iter(levels), 0, 0
    level = next(numbers)
    for kind in kinds:
        if kind == "norm1":
            names.append(f"{network}.{level}.block.{blocks}")
            blocks += 1
        elif kind == "q":
            names.append(f"{network}.{level}.attn.{attentions}")
            attentions += 1
        else:
            names.append(f"{network}.{level}.{resampling}")
            level, blocks, attentions = next(numbers, -1), 0, 0
    return names


def numbered(ours: list[str], kinds: list[str], network: str) -> dict[str, str]:
    """Our names with theirs; raises ValueError if there are too few blocks for a network."""
    if len(ours) != len(kinds):
        raise ValueError(f"expected at least {len(ours)} blocks in {network}.blocks, got {len(kinds)}")
    return {name: f"{network}.blocks.{n}" for n, name in enumerate(ours)}
