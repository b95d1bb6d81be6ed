"""Tiny checkpoints in the layouts of other projects: names and shapes written down from their naming rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]


def weights(shapes: Shapes, seed: int = 0) -> dict[str, Tensor]:
    """Random values of an even scale; the generator's stream is the same for ever (NumPy's RandomState)."""
    random = np.random.RandomState(seed)
    state = {}
    for name in sorted(shapes):
        shape = shapes[name]
        noise = random.standard_normal(shape)
        table = ("embed" in name and "embed_avg" not in name) or name.endswith("emb.weight")
        if name.endswith("freqs"):
            noise = np.linspace(1, 4, *shape) * np.pi  # of a valley that is 8 cells wide
        elif len(shape) == 1 and name.endswith("weight"):
            noise = 1 + 0.1 * noise
        elif len(shape) < 2:
            noise = 0.1 * noise
        else:
            noise = noise * (0.3 if table else np.prod(shape[1:]) ** -0.5)
        state[name] = torch.from_numpy(noise.astype(np.float32)).reshape(shape)
    return state


class Layout:
    """Collects names and shapes."""

    def __init__(self) -> None:
        self.shapes: Shapes = {}

    def conv(self, name: str, entering: int, leaving: int, kernel: int, bias: bool = True) -> None:
        self.shapes[f"{name}.weight"] = (leaving, entering, kernel, kernel)
        if bias:
            self.shapes[f"{name}.bias"] = (leaving,)

    def linear(self, name: str, entering: int, leaving: int, bias: bool = True) -> None:
        self.shapes[f"{name}.weight"] = (leaving, entering)
        if bias:
            self.shapes[f"{name}.bias"] = (leaving,)

    def norm(self, name: str, width: int) -> None:
        self.shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}

    def block(self, name: str, entering: int, leaving: int, shortcut: str, bias: bool = True) -> None:
        self.norm(f"{name}.norm1", entering)
        self.conv(f"{name}.conv1", entering, leaving, 3, bias)
        self.norm(f"{name}.norm2", leaving)
        self.conv(f"{name}.conv2", leaving, leaving, 3, bias)
        if entering != leaving:
            self.conv(f"{name}.{shortcut}", entering if bias else leaving, leaving, 1, bias)

    def attention(self, name: str, width: int) -> None:
        self.norm(f"{name}.norm", width)
        for layer in ("q", "k", "v", "proj_out"):
            self.conv(f"{name}.{layer}", width, width, 1)

    def linear_attention(self, name: str, width: int, layers: tuple[str, ...]) -> None:
        self.norm(f"{name}.group_norm", width)
        for layer in layers:
            self.linear(f"{name}.{layer}", width, width)


def taming(
    widths: tuple[int, ...] = (64, 64, 128),
    channels: int = 64,
    blocks: int = 1,
    attention: tuple[int, ...] = (2,),
    middle: bool = True,
    latent: int = 6,
    embed: int = 5,
    codes: int = 24,
    gumbel: bool = False,
) -> Shapes:
    """``VQModel`` of taming-transformers and latent-diffusion; ``GumbelVQ`` with ``gumbel``."""
    made = Layout()
    width, last = channels, len(widths) - 1
    made.conv("encoder.conv_in", 3, channels, 3)
    for i in range(len(widths)):
        for j in range(blocks):
            made.block(f"encoder.down.{i}.block.{j}", width, widths[i], "nin_shortcut")
            width = widths[i]
            if i in attention:
                made.attention(f"encoder.down.{i}.attn.{j}", width)
        if i < last:
            made.conv(f"encoder.down.{i}.downsample.conv", width, width, 3)
    middle_of(made, "encoder", width, middle)
    made.norm("encoder.norm_out", width)
    made.conv("encoder.conv_out", width, latent, 3)
    made.conv("decoder.conv_in", latent, width, 3)
    middle_of(made, "decoder", width, middle)
    for i in reversed(range(len(widths))):
        for j in range(blocks + 1):
            made.block(f"decoder.up.{i}.block.{j}", width, widths[i], "nin_shortcut")
            width = widths[i]
            if i in attention:
                made.attention(f"decoder.up.{i}.attn.{j}", width)
        if i > 0:
            made.conv(f"decoder.up.{i}.upsample.conv", width, width, 3)
    made.norm("decoder.norm_out", width)
    made.conv("decoder.conv_out", width, 3, 3)
    made.conv("quant_conv", latent, embed, 1)
    made.conv("post_quant_conv", embed, latent, 1)
    if gumbel:
        made.conv("quantize.proj", embed, codes, 1)
        made.shapes["quantize.embed.weight"] = (codes, embed)
    else:
        made.shapes["quantize.embedding.weight"] = (codes, embed)
    return made.shapes


def middle_of(made: Layout, network: str, width: int, attention: bool) -> None:
    made.block(f"{network}.mid.block_1", width, width, "nin_shortcut")
    if attention:
        made.attention(f"{network}.mid.attn_1", width)
    made.block(f"{network}.mid.block_2", width, width, "nin_shortcut")


def unleashing(
    gumbel: bool = False, widths: tuple[int, ...] = (64, 64, 128), embed: int = 5, codes: int = 24
) -> Shapes:
    """``VQGAN.state_dict()`` of Unleashing Transformers: two residual blocks per level, attention at the coarsest,
    a 1x1 convolution in every residual block; discriminator and LPIPS reduced to a few of their tensors."""
    made = Layout()
    names = (f"ae.encoder.blocks.{n}" for n in range(1000))

    def block(name: str, entering: int, leaving: int) -> None:
        made.block(name, entering, leaving, "unused")
        made.shapes.pop(f"{name}.unused.weight", None)
        made.shapes.pop(f"{name}.unused.bias", None)
        made.conv(f"{name}.conv_out", entering, leaving, 1)

    def middle(width: int) -> None:
        block(next(names), width, width)
        made.attention(next(names), width)
        block(next(names), width, width)

    width, last = widths[0], len(widths) - 1
    made.conv(next(names), 3, width, 3)
    for i, leaving in enumerate(widths):
        for _ in range(2):
            block(next(names), width, leaving)
            width = leaving
            if i == last:
                made.attention(next(names), width)
        if i < last:
            made.conv(f"{next(names)}.conv", width, width, 3)
    middle(width)
    made.norm(next(names), width)
    made.conv(next(names), width, embed, 3)
    names = (f"ae.generator.blocks.{n}" for n in range(1000))
    made.conv(next(names), embed, width, 3)
    middle(width)
    for i in reversed(range(len(widths))):
        for _ in range(2):
            block(next(names), width, widths[i])
            width = widths[i]
            if i == last:
                made.attention(next(names), width)
        if i > 0:
            made.conv(f"{next(names)}.conv", width, width, 3)
    made.norm(next(names), width)
    made.conv(next(names), width, 3, 3)
    if gumbel:
        made.conv("ae.quantize.proj", embed, codes, 1)
        made.shapes["ae.quantize.embed.weight"] = (codes, embed)
    else:
        made.shapes["ae.quantize.embedding.weight"] = (codes, embed)
    made.conv("disc.main.0", 3, 8, 4)
    made.shapes["perceptual.lin0.model.1.weight"] = (1, 64, 1, 1)
    return made.shapes


def diffusers(
    widths: tuple[int, ...] = (16, 16, 32),
    blocks: int = 1,
    attention: tuple[int, ...] = (1,),
    middle: bool = True,
    latent: int = 6,
    embed: int = 5,
    codes: int = 24,
    layers: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0"),
) -> Shapes:
    """``VQModel`` of diffusers; ``layers`` are the names in attention."""
    made = Layout()
    width, last = widths[0], len(widths) - 1
    made.conv("encoder.conv_in", 3, width, 3)
    for i in range(len(widths)):
        for j in range(blocks):
            made.block(f"encoder.down_blocks.{i}.resnets.{j}", width, widths[i], "conv_shortcut")
            width = widths[i]
            if i in attention:
                made.linear_attention(f"encoder.down_blocks.{i}.attentions.{j}", width, layers)
        if i < last:
            made.conv(f"encoder.down_blocks.{i}.downsamplers.0.conv", width, width, 3)
    for network in ("encoder", "decoder"):
        for j in range(2):
            made.block(f"{network}.mid_block.resnets.{j}", width, width, "conv_shortcut")
        if middle:
            made.linear_attention(f"{network}.mid_block.attentions.0", width, layers)
    made.norm("encoder.conv_norm_out", width)
    made.conv("encoder.conv_out", width, latent, 3)
    made.conv("decoder.conv_in", latent, width, 3)
    for n, i in enumerate(reversed(range(len(widths)))):
        for j in range(blocks + 1):
            made.block(f"decoder.up_blocks.{n}.resnets.{j}", width, widths[i], "conv_shortcut")
            width = widths[i]
            if i in attention:
                made.linear_attention(f"decoder.up_blocks.{n}.attentions.{j}", width, layers)
        if i > 0:
            made.conv(f"decoder.up_blocks.{n}.upsamplers.0.conv", width, width, 3)
    made.norm("decoder.conv_norm_out", width)
    made.conv("decoder.conv_out", width, 3, 3)
    made.conv("quant_conv", latent, embed, 1)
    made.conv("post_quant_conv", embed, latent, 1)
    made.shapes["quantize.embedding.weight"] = (codes, embed)
    return made.shapes


def diffusers_config(
    widths: tuple[int, ...] = (16, 16, 32), blocks: int = 1, attention: tuple[int, ...] = (1,), **others: Any
) -> dict[str, Any]:
    """The config.json that belongs to :func:`diffusers`."""
    levels = range(len(widths))
    down = ["AttnDownEncoderBlock2D" if i in attention else "DownEncoderBlock2D" for i in levels]
    up = ["AttnUpDecoderBlock2D" if i in attention else "UpDecoderBlock2D" for i in reversed(levels)]
    return {
        "_class_name": "VQModel",
        "_diffusers_version": "0.42.1",
        "act_fn": "silu",
        "block_out_channels": list(widths),
        "down_block_types": down,
        "force_upcast": False,
        "in_channels": 3,
        "latent_channels": 6,
        "layers_per_block": blocks,
        "lookup_from_codebook": False,
        "mid_block_add_attention": True,
        "norm_num_groups": 8,
        "norm_type": "group",
        "num_vq_embeddings": 24,
        "out_channels": 3,
        "sample_size": 32,
        "scaling_factor": 0.18215,
        "up_block_types": up,
        "vq_embed_dim": 5,
    } | others


def llamagen(
    widths: tuple[int, ...] = (64, 64, 128), latent: int = 6, embed: int = 5, codes: int = 24
) -> Shapes:
    """``VQModel`` of LlamaGen: two residual blocks per level, attention at the coarsest."""
    made = Layout()
    width, last = widths[0], len(widths) - 1
    made.conv("encoder.conv_in", 3, width, 3)
    for i, leaving in enumerate(widths):
        for j in range(2):
            made.block(f"encoder.conv_blocks.{i}.res.{j}", width, leaving, "nin_shortcut")
            width = leaving
            if i == last:
                made.attention(f"encoder.conv_blocks.{i}.attn.{j}", width)
        if i < last:
            made.conv(f"encoder.conv_blocks.{i}.downsample.conv", width, width, 3)
    for network in ("encoder", "decoder"):
        made.block(f"{network}.mid.0", width, width, "nin_shortcut")
        made.attention(f"{network}.mid.1", width)
        made.block(f"{network}.mid.2", width, width, "nin_shortcut")
    made.norm("encoder.norm_out", width)
    made.conv("encoder.conv_out", width, latent, 3)
    made.conv("decoder.conv_in", latent, width, 3)
    for n, i in enumerate(reversed(range(len(widths)))):
        for j in range(3):
            made.block(f"decoder.conv_blocks.{n}.res.{j}", width, widths[i], "nin_shortcut")
            width = widths[i]
            if i == last:
                made.attention(f"decoder.conv_blocks.{n}.attn.{j}", width)
        if i > 0:
            made.conv(f"decoder.conv_blocks.{n}.upsample.conv", width, width, 3)
    made.norm("decoder.norm_out", width)
    made.conv("decoder.conv_out", width, 3, 3)
    made.conv("quant_conv", latent, embed, 1)
    made.conv("post_quant_conv", embed, latent, 1)
    made.shapes["quantize.embedding.weight"] = (codes, embed)
    made.shapes["quantize.codebook_used"] = (64,)
    return made.shapes


def maskgit(widths: tuple[int, ...] = (64, 64, 128), embed: int = 5, codes: int = 24) -> Shapes:
    """``MaskGitVQGAN`` of open-muse, and of TiTok: two residual blocks per level and in the middle."""
    made = Layout()
    width = widths[0]
    made.conv("encoder.conv_in", 3, width, 3, bias=False)
    for i, leaving in enumerate(widths):
        for j in range(2):
            made.block(f"encoder.down.{i}.block.{j}", width, leaving, "nin_shortcut", bias=False)
            width = leaving
    for network in ("encoder", "decoder"):
        for j in range(2):
            made.block(f"{network}.mid.{j}", width, width, "nin_shortcut", bias=False)
    made.norm("encoder.norm_out", width)
    made.conv("encoder.conv_out", width, embed, 1)
    made.conv("decoder.conv_in", embed, width, 3)
    for i in reversed(range(len(widths))):
        for j in range(2):
            made.block(f"decoder.up.{i}.block.{j}", width, widths[i], "nin_shortcut", bias=False)
            width = widths[i]
        if i > 0:
            made.conv(f"decoder.up.{i}.upsample_conv", width, width, 3)
    made.norm("decoder.norm_out", width)
    made.conv("decoder.conv_out", width, 3, 3)
    made.shapes["quantize.embedding.weight"] = (codes, embed)
    return made.shapes


def authors(
    dim: int = 24, heads: int = 2, depth: tuple[int, int, int] = (1, 2, 1), codes: int = 24, classes: int = 0
) -> Shapes:
    """``HourglassTransformerLM`` of sundae-vqgan, as its configs make it; four cells become one."""
    made = Layout()

    def layer(name: str) -> None:
        made.norm(f"{name}.0.norm", dim)
        made.linear(f"{name}.0.fn.to_q", dim, heads * 64, bias=False)
        made.linear(f"{name}.0.fn.to_kv", dim, heads * 128, bias=False)
        made.linear(f"{name}.0.fn.to_out", heads * 64, dim)
        made.norm(f"{name}.1.norm", dim)
        made.linear(f"{name}.1.fn.0", dim, 4 * dim)
        made.linear(f"{name}.1.fn.3", 4 * dim, dim)

    counts = dict(zip(("pre_transformer", "valley_transformer", "post_transformer"), depth, strict=True))
    counts |= {"attn_resampling_pre_valley": 1, "attn_resampling_post_valley": 1}
    for part, count in counts.items():
        for n in range(count):
            layer(f"transformer.{part}.layers.{n}")
        made.shapes[f"transformer.{part}.rotary_pos_emb.freqs"] = (16,)
    made.linear("transformer.downsample.proj", 4 * dim, dim)
    made.linear("transformer.upsample.proj", dim, 4 * dim)
    made.norm("transformer.norm_out", dim)
    made.shapes["token_emb.weight"] = (codes, dim)
    if classes:
        made.shapes["class_emb.weight"] = (classes, dim)
    made.linear("to_logits", dim, codes)
    return made.shapes


def save(path: Path, content: Any, plain: bool = False) -> Path:
    """Write as PyTorch does, or as it did before 1.6."""
    torch.save(content, path, _use_new_zipfile_serialization=not plain)
    return path


def save_folder(folder: Path, state: dict[str, Tensor], config: dict[str, Any]) -> Path:
    """Write as diffusers does."""
    from safetensors.torch import save_file

    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_file(state, folder / "diffusion_pytorch_model.safetensors")
    return folder
