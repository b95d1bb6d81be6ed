"""diffusers' ``VQModel``: ``config.json`` beside ``diffusion_pytorch_model.safetensors`` or ``.bin``.

taming's network under other names: the decoder counts its levels from the coarsest on, and the maps of attention are
linear layers, in files before 2023 under the names of another class.
"""

from __future__ import annotations

import re

from torch import nn

from sundae.convert.names import Tensors, check_pictures, count, fill, shape_of
from sundae.convert.settings import Settings, agree, lookup, whole
from sundae.vqgan import VQGANConfig, VQGANTokenizer

CLASS = "VQModel"
RESOLUTION = 256  # px; of most published models
NEW = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
OLD = {"norm": "group_norm", "q": "query", "k": "key", "v": "value", "proj_out": "proj_attn"}
KNOWN = {
    *("in_channels", "out_channels", "down_block_types", "up_block_types", "block_out_channels"),
    *("layers_per_block", "act_fn", "latent_channels", "sample_size", "num_vq_embeddings", "norm_num_groups"),
    *("vq_embed_dim", "scaling_factor", "norm_type", "mid_block_add_attention", "lookup_from_codebook"),
    "force_upcast",
}


def matches(tensors: Tensors) -> bool:
    return "encoder.down_blocks.0.resnets.0.conv1.weight" in tensors


def read(tensors: Tensors, settings: Settings) -> nn.Module:
    """A ``VQModel``. The settings name the range of the pixels nowhere; aMUSEd's tokenizer, whose family alone
    decodes from tokens, has [0, 1], all others [-1, 1]. Raises ValueError as :func:`build`."""
    amused = lookup(settings, "lookup_from_codebook") is True
    return build(tensors, settings, "unit" if amused else "signed")


def read_amused(tensors: Tensors, settings: Settings) -> nn.Module:
    """A ``VQModel`` of pixels in [0, 1]; raises ValueError as :func:`build`."""
    return build(tensors, settings, "unit")


def build(tensors: Tensors, settings: Settings, pixel_range: str) -> nn.Module:
    """The tokenizer.

    Raises:
        ValueError: as :func:`sundae.convert.names.fill`; if there is no config.json, or it asks for what is not here.
    """
    check_settings(settings)
    codes, dim = shape_of(tensors, "quantize.embedding.weight", 2)
    first = shape_of(tensors, "encoder.conv_in.weight", 4)
    check_pictures(first, "encoder.conv_in.weight")
    levels = count(tensors, r"encoder\.down_blocks\.(\d+)\.resnets\.0\.conv2\.weight$")
    blocks = count(tensors, r"encoder\.down_blocks\.0\.resnets\.(\d+)\.conv2\.weight$")
    names = OLD if any(re.search(r"attentions\.0\.query\.weight$", name) for name in tensors) else NEW
    attention = [
        f"encoder.down_blocks.{i}.attentions.0.{names['q']}.weight" in tensors for i in range(levels)
    ]
    side = whole(settings, "sample_size") or 0  # often left at its default of 32
    config = VQGANConfig(
        codebook_size=codes,
        embed_dim=dim,
        latent_channels=shape_of(tensors, "encoder.conv_out.weight", 4)[0],
        channels=first[0],
        widths=tuple(
            shape_of(tensors, f"encoder.down_blocks.{i}.resnets.0.conv2.weight", 4)[0] for i in range(levels)
        ),
        blocks=blocks,
        decoder_blocks=blocks + 1,
        attention=tuple(attention),
        middle_attention=f"encoder.mid_block.attentions.0.{names['q']}.weight" in tensors,
        groups=whole(settings, "norm_num_groups") or 32,
        pixel_range=pixel_range,
        resolution=side if side > RESOLUTION and side % 2 ** (levels - 1) == 0 else RESOLUTION,
    )
    agree("num_vq_embeddings", whole(settings, "num_vq_embeddings"), codes)
    agree("vq_embed_dim", whole(settings, "vq_embed_dim"), dim)
    agree("layers_per_block", whole(settings, "layers_per_block"), blocks)
    agree("block_out_channels", lookup(settings, "block_out_channels"), list(config.widths))
    agree("mid_block_add_attention", lookup(settings, "mid_block_add_attention"), config.middle_attention)
    return fill(VQGANTokenizer, config, tensors, lambda name: foreign_name(name, levels, names))


def check_settings(settings: Settings) -> None:
    """Raise ValueError unless this is a config.json of a VQModel that is made as ours are."""
    if lookup(settings, "_class_name") != CLASS:
        raise ValueError(
            f"expected the config.json of a diffusers {CLASS} beside its weights, got {lookup(settings, '_class_name')!r}"
        )
    if lookup(settings, "norm_type") == "spatial":
        raise ValueError(
            "expected norm_type 'group', got 'spatial': its decoder also looks at the codes (MoVQ)"
        )
    for key, ours in (("norm_type", "group"), ("act_fn", "silu"), ("out_channels", 3)):
        agree(key, lookup(settings, key), ours)
    unknown = sorted(key for key in settings if key not in KNOWN and not key.startswith("_"))
    if unknown:
        raise ValueError(f"expected only settings of a {CLASS} that are known here, got {unknown[0]!r}")


def foreign_name(name: str, levels: int, attention: dict[str, str]) -> str:
    """Their name of a tensor."""
    if name == "quantizer.codebooks":
        return "quantize.embedding.weight"
    if match := re.fullmatch(r"(encoder|decoder)\.mid\.(block|attn)_([12])\.(.+)", name):
        network, kind, number, inside = match.groups()
        kind = "resnets" if kind == "block" else "attentions"
        return f"{network}.mid_block.{kind}.{int(number) - 1}.{inner_name(inside, attention)}"
    if match := re.fullmatch(r"(encoder\.down|decoder\.up)\.(\d+)\.(block|attn)\.(\d+)\.(.+)", name):
        network, level, kind, number, inside = match.groups()
        kind = "resnets" if kind == "block" else "attentions"
        return f"{blocks_name(network, int(level), levels)}.{kind}.{number}.{inner_name(inside, attention)}"
    if match := re.fullmatch(r"(encoder\.down|decoder\.up)\.(\d+)\.(down|up)sample\.(.+)", name):
        network, level, which, inside = match.groups()
        return f"{blocks_name(network, int(level), levels)}.{which}samplers.0.{inside}"
    return name.replace("norm_out", "conv_norm_out")


def blocks_name(network: str, level: int, levels: int) -> str:
    return f"{network}_blocks.{level if network == 'encoder.down' else levels - 1 - level}"


def inner_name(name: str, attention: dict[str, str]) -> str:
    """The name inside a residual or attention block."""
    layer, _, end = name.rpartition(".")
    return f"{attention.get(layer, layer).replace('nin_shortcut', 'conv_shortcut')}.{end}"
