"""The authors' SUNDAE prior (vvvm23/sundae-vqgan): ``net``, optimiser and counters in one dict, settings in TOML.

The settings are not needed: the weights tell everything, the grid included, by the frequencies of the valley.
"""

from __future__ import annotations

import math
import re

from torch import nn

from sundae.convert.names import Tensors, count, fill, shape_of
from sundae.convert.settings import Settings, agree, lookup, whole
from sundae.priors.authors import AXIS_DIM, HEAD_DIM, AuthorsConfig, AuthorsHourglass

DROPPED = (r"transformer\.attn_resampling_\w+\.rotary_pos_emb\.freqs$",)  # not used where there is a context
TRUNKS = {"before": "pre_transformer", "valley": "valley_transformer", "after": "post_transformer"}
LAYERS = {"gather": "attn_resampling_pre_valley", "spread": "attn_resampling_post_valley"}
INSIDE = {
    "attention_norm": "0.norm",
    "attention.query": "0.fn.to_q",
    "attention.key_value": "0.fn.to_kv",
    "attention.out": "0.fn.to_out",
    "mlp_norm": "1.norm",
    "mlp_in": "1.fn.0",
    "mlp_out": "1.fn.3",
}
ENDS = {
    "embed": "token_emb",
    "label": "class_emb",
    "merge": "transformer.downsample.proj",
    "split": "transformer.upsample.proj",
    "norm": "transformer.norm_out",
    "head": "to_logits",
}


def matches(tensors: Tensors) -> bool:
    return (
        "token_emb.weight" in tensors and "transformer.valley_transformer.layers.0.0.norm.weight" in tensors
    )


def read(tensors: Tensors, settings: Settings) -> nn.Module:
    """The prior.

    Raises:
        ValueError: as :func:`sundae.convert.names.fill`; if the settings say otherwise than the weights; if the network
            is one of those that the authors tried besides (learned positions, no attention resampling, one dimension).
    """
    codes, width = shape_of(tensors, "token_emb.weight", 2)
    inner = shape_of(tensors, "transformer.pre_transformer.layers.0.0.fn.to_q.weight", 2)[0]
    merged = shape_of(tensors, "transformer.downsample.proj.weight", 2)[1]
    merge = math.isqrt(merged // width)
    if merge < 2 or merge**2 * width != merged or inner % HEAD_DIM:
        raise ValueError(
            f"expected a square of cells merged and heads of {HEAD_DIM} channels, got {merged} and {inner} for {width}"
        )
    side = grid_side(tensors, merge)
    config = AuthorsConfig(
        codebook_size=codes,
        grid=(side, side),
        width=width,
        heads=inner // HEAD_DIM,
        merge=merge,
        layers=(layers(tensors, "before"), layers(tensors, "valley"), layers(tensors, "after")),
        classes=shape_of(tensors, "class_emb.weight", 2)[0] if "class_emb.weight" in tensors else 0,
    )
    check_settings(config, settings)
    return fill(AuthorsHourglass, config, tensors, foreign_name, DROPPED)


def layers(tensors: Tensors, trunk: str) -> int:
    return count(tensors, rf"transformer\.{TRUNKS[trunk]}\.layers\.(\d+)\.")


def grid_side(tensors: Tensors, merge: int) -> int:
    """Cells per side of the training grid: the valley's highest frequency is half its grid's side times pi."""
    name = "transformer.valley_transformer.rotary_pos_emb.freqs"
    shape = shape_of(tensors, name, 1)
    if shape != (AXIS_DIM // 2,):
        raise ValueError(f"expected {AXIS_DIM // 2} frequencies in {name}, got {shape}")
    highest = float(tensors[name].read().float()[-1])
    side = 2 * highest / math.pi
    if not math.isfinite(side) or not 1 <= round(side) <= 1024 or abs(side - round(side)) > 1e-3:
        raise ValueError(f"expected frequencies that reach half a grid's side times pi, got {highest}")
    return round(side) * merge


def check_settings(config: AuthorsConfig, settings: Settings) -> None:
    """Raise ValueError where the TOML says otherwise than the weights."""
    kind = lookup(settings, "net", "type")
    if kind not in (None, "hourglass"):
        raise ValueError(f"expected a net of the type 'hourglass', got {kind!r}")
    agree("vocab_size", whole(settings, "data", "vocab_size"), config.codebook_size)
    agree("sequence_length", whole(settings, "data", "sequence_length"), math.prod(config.grid))
    agree("latent_shape", lookup(settings, "vqgan", "latent_shape"), list(config.grid))
    agree("dim", whole(settings, "net", "dim"), config.width)
    agree("nb_heads", whole(settings, "net", "nb_heads"), config.heads)
    agree("shorten_factor", whole(settings, "net", "shorten_factor"), config.merge**2)
    agree("depth", lookup(settings, "net", "depth"), list(config.layers))
    agree("conditional", lookup(settings, "net", "conditional"), config.classes > 0)


def foreign_name(name: str) -> str:
    """Their name of a tensor."""
    block, _, end = name.rpartition(".")
    if block in ENDS:
        return f"{ENDS[block]}.{end}"
    if end == "frequencies":
        return f"transformer.{TRUNKS[block]}.rotary_pos_emb.freqs"
    if match := re.fullmatch(r"(before|valley|after)\.layers\.(\d+)\.(.+)", block):
        trunk, number, inside = match.groups()
        return f"transformer.{TRUNKS[trunk]}.layers.{number}.{INSIDE[inside]}.{end}"
    layer, _, inside = block.partition(".")
    return f"transformer.{LAYERS[layer]}.layers.0.{INSIDE[inside]}.{end}"
