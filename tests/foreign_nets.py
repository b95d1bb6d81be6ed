"""What the other projects' networks compute, restated: one function per layer, over the names of their checkpoints.

Written from the papers and the layouts in another manner than the library: no modules, no configurations, sums spelled
out. Each network is a walk over names; that a name is there decides whether a layer is.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]


def norm(s: State, name: str, x: Tensor, groups: int = 32) -> Tensor:
    g = x.reshape(len(x), groups, -1).double()
    mean, variance = g.mean(2, keepdim=True), g.var(2, unbiased=False, keepdim=True)
    x = ((g - mean) / (variance + 1e-6).sqrt()).float().reshape(x.shape)
    return x * s[f"{name}.weight"].reshape(1, -1, 1, 1) + s[f"{name}.bias"].reshape(1, -1, 1, 1)


def swish(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def conv(s: State, name: str, x: Tensor, padding: int = 0, stride: int = 1) -> Tensor:
    return F.conv2d(x, s[f"{name}.weight"], s.get(f"{name}.bias"), padding=padding, stride=stride)


def residual(s: State, name: str, x: Tensor, shortcut: str, groups: int = 32) -> Tensor:
    h = conv(s, f"{name}.conv1", swish(norm(s, f"{name}.norm1", x, groups)), 1)
    h = conv(s, f"{name}.conv2", swish(norm(s, f"{name}.norm2", h, groups)), 1)
    return (x if x.shape == h.shape else conv(s, f"{name}.{shortcut}", x)) + h


def attention(
    s: State, name: str, x: Tensor, names=("norm", "q", "k", "v", "proj_out"), groups: int = 32
) -> Tensor:
    first, *maps, last = names
    h = norm(s, f"{name}.{first}", x, groups)
    pixels = h.reshape(*h.shape[:2], -1).transpose(1, 2)  # (B, n, c)

    def linear(layer: str, rows: Tensor) -> Tensor:
        matrix = s[f"{name}.{layer}.weight"].reshape(rows.shape[-1], -1)
        return rows @ matrix.T + s[f"{name}.{layer}.bias"]

    q, k, v = (linear(layer, pixels) for layer in maps)
    scores = torch.exp((q @ k.transpose(1, 2)) / math.sqrt(q.shape[-1]))
    mixed = (scores / scores.sum(2, keepdim=True)) @ v
    return x + linear(last, mixed).transpose(1, 2).reshape(x.shape)


def halved(s: State, name: str, x: Tensor) -> Tensor:
    larger = x.new_zeros(*x.shape[:2], x.shape[2] + 1, x.shape[3] + 1)
    larger[..., :-1, :-1] = x
    return conv(s, name, larger, stride=2)


def doubled(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def output(s: State, norm_name: str, conv_name: str, x: Tensor, groups: int = 32) -> Tensor:
    h = swish(norm(s, norm_name, x, groups))
    return conv(s, conv_name, h, s[f"{conv_name}.weight"].shape[-1] // 2)


def nearest(latent: Tensor, book: Tensor) -> Tensor:
    """Tokens ``(B, h, w)`` by the distances themselves."""
    rows = latent.permute(0, 2, 3, 1)[..., None, :].double()
    return (rows - book.double()).square().sum(-1).argmin(-1)


def codes(tokens: Tensor, book: Tensor) -> Tensor:
    return book[tokens].permute(0, 3, 1, 2)


# -- taming, latent diffusion ----------------------------------------------------------------------------------


def taming_latent(s: State, x: Tensor) -> Tensor:
    x, i = conv(s, "encoder.conv_in", x, 1), 0
    while f"encoder.down.{i}.block.0.conv1.weight" in s:
        x = taming_level(s, f"encoder.down.{i}", x)
        if f"encoder.down.{i}.downsample.conv.weight" in s:
            x = halved(s, f"encoder.down.{i}.downsample.conv", x)
        i += 1
    x = output(s, "encoder.norm_out", "encoder.conv_out", taming_middle(s, "encoder", x))
    return conv(s, "quant_conv", x)


def taming_decode(s: State, quantized: Tensor) -> Tensor:
    x = taming_middle(s, "decoder", conv(s, "decoder.conv_in", conv(s, "post_quant_conv", quantized), 1))
    for i in reversed(
        range(1 + max(int(name.split(".")[2]) for name in s if name.startswith("decoder.up.")))
    ):
        x = taming_level(s, f"decoder.up.{i}", x)
        if i:
            x = conv(s, f"decoder.up.{i}.upsample.conv", doubled(x), 1)
    return output(s, "decoder.norm_out", "decoder.conv_out", x)


def taming_level(s: State, name: str, x: Tensor) -> Tensor:
    j = 0
    while f"{name}.block.{j}.conv1.weight" in s:
        x = residual(s, f"{name}.block.{j}", x, "nin_shortcut")
        if f"{name}.attn.{j}.q.weight" in s:
            x = attention(s, f"{name}.attn.{j}", x)
        j += 1
    return x


def taming_middle(s: State, network: str, x: Tensor) -> Tensor:
    x = residual(s, f"{network}.mid.block_1", x, "nin_shortcut")
    if f"{network}.mid.attn_1.q.weight" in s:
        x = attention(s, f"{network}.mid.attn_1", x)
    return residual(s, f"{network}.mid.block_2", x, "nin_shortcut")


def taming_tokens(s: State, x: Tensor) -> Tensor:
    return nearest(taming_latent(s, x), s["quantize.embedding.weight"])


def taming_picture(s: State, tokens: Tensor) -> Tensor:
    return taming_decode(s, codes(tokens, s["quantize.embedding.weight"]))


def gumbel_tokens(s: State, x: Tensor) -> Tensor:
    return conv(s, "quantize.proj", taming_latent(s, x)).argmax(1)


def gumbel_picture(s: State, tokens: Tensor) -> Tensor:
    return taming_decode(s, codes(tokens, s["quantize.embed.weight"]))


# -- Unleashing Transformers: lists of blocks, pixels in [0, 1] ------------------------------------------------


def list_of_blocks(s: State, network: str, x: Tensor) -> Tensor:
    n = 0
    while any(name.startswith(f"{network}.blocks.{n}.") for name in s):
        name, following = f"{network}.blocks.{n}", f"{network}.blocks.{n + 1}.weight"
        if f"{name}.norm1.weight" in s:
            x = residual(s, name, x, "conv_out")
        elif f"{name}.q.weight" in s:
            x = attention(s, name, x)
        elif f"{name}.conv.weight" in s:
            x = (
                halved(s, f"{name}.conv", x)
                if "encoder" in network
                else conv(s, f"{name}.conv", doubled(x), 1)
            )
        elif s[f"{name}.weight"].ndim == 1:
            assert following in s, (
                "the norm is followed by the last convolution, without a swish between them"
            )
            x = norm(s, name, x)
        else:
            x = conv(s, name, x, 1)
        n += 1
    return x


def unleashing_tokens(s: State, x: Tensor) -> Tensor:
    return nearest(list_of_blocks(s, "ae.encoder", x / 2 + 0.5), s["ae.quantize.embedding.weight"])


def unleashing_picture(s: State, tokens: Tensor) -> Tensor:
    return 2 * list_of_blocks(s, "ae.generator", codes(tokens, s["ae.quantize.embedding.weight"])) - 1


def unleashing_gumbel_tokens(s: State, x: Tensor) -> Tensor:
    return conv(s, "ae.quantize.proj", list_of_blocks(s, "ae.encoder", x / 2 + 0.5)).argmax(1)


def unleashing_gumbel_picture(s: State, tokens: Tensor) -> Tensor:
    return 2 * list_of_blocks(s, "ae.generator", codes(tokens, s["ae.quantize.embed.weight"])) - 1


# -- diffusers -------------------------------------------------------------------------------------------------

NEW = ("group_norm", "to_q", "to_k", "to_v", "to_out.0")
OLD = ("group_norm", "query", "key", "value", "proj_attn")


def diffusers_blocks(s: State, name: str, x: Tensor, groups: int) -> Tensor:
    names, j = (OLD if any(".query." in key for key in s) else NEW), 0
    while f"{name}.resnets.{j}.conv1.weight" in s:
        x = residual(s, f"{name}.resnets.{j}", x, "conv_shortcut", groups)
        if f"{name}.attentions.{j}.group_norm.weight" in s:
            x = attention(s, f"{name}.attentions.{j}", x, names, groups)
        j += 1
    if f"{name}.downsamplers.0.conv.weight" in s:
        return halved(s, f"{name}.downsamplers.0.conv", x)
    if f"{name}.upsamplers.0.conv.weight" in s:
        return conv(s, f"{name}.upsamplers.0.conv", doubled(x), 1)
    return x


def diffusers_network(s: State, network: str, blocks: tuple[str, ...], x: Tensor, groups: int) -> Tensor:
    x = conv(s, f"{network}.conv_in", x, 1)
    for name in blocks:
        i = 0
        while any(
            key.startswith(f"{network}.{name}.{i}." if name != "mid_block" else f"{network}.{name}.")
            for key in s
        ):
            x = diffusers_blocks(
                s, f"{network}.{name}.{i}" if name != "mid_block" else f"{network}.{name}", x, groups
            )
            i += 1
            if name == "mid_block":
                break
    return output(s, f"{network}.conv_norm_out", f"{network}.conv_out", x, groups)


def diffusers_tokens(s: State, x: Tensor, groups: int = 8) -> Tensor:
    x = diffusers_network(s, "encoder", ("down_blocks", "mid_block"), x, groups)
    return nearest(conv(s, "quant_conv", x), s["quantize.embedding.weight"])


def diffusers_picture(s: State, tokens: Tensor, groups: int = 8) -> Tensor:
    x = conv(s, "post_quant_conv", codes(tokens, s["quantize.embedding.weight"]))
    return diffusers_network(s, "decoder", ("mid_block", "up_blocks"), x, groups)


# -- LlamaGen --------------------------------------------------------------------------------------------------


def llamagen_blocks(s: State, network: str, x: Tensor) -> Tensor:
    i = 0
    while f"{network}.conv_blocks.{i}.res.0.conv1.weight" in s:
        name, j = f"{network}.conv_blocks.{i}", 0
        while f"{name}.res.{j}.conv1.weight" in s:
            x = residual(s, f"{name}.res.{j}", x, "nin_shortcut")
            if f"{name}.attn.{j}.q.weight" in s:
                x = attention(s, f"{name}.attn.{j}", x)
            j += 1
        if f"{name}.downsample.conv.weight" in s:
            x = halved(s, f"{name}.downsample.conv", x)
        if f"{name}.upsample.conv.weight" in s:
            x = conv(s, f"{name}.upsample.conv", doubled(x), 1)
        i += 1
    return x


def llamagen_middle(s: State, network: str, x: Tensor) -> Tensor:
    x = attention(s, f"{network}.mid.1", residual(s, f"{network}.mid.0", x, "nin_shortcut"))
    return residual(s, f"{network}.mid.2", x, "nin_shortcut")


def unit(rows: Tensor) -> Tensor:
    return rows / rows.square().sum(-1, keepdim=True).sqrt()


def llamagen_tokens(s: State, x: Tensor) -> Tensor:
    x = llamagen_middle(s, "encoder", llamagen_blocks(s, "encoder", conv(s, "encoder.conv_in", x, 1)))
    latent = conv(s, "quant_conv", output(s, "encoder.norm_out", "encoder.conv_out", x))
    return nearest(unit(latent.movedim(1, -1)).movedim(-1, 1), unit(s["quantize.embedding.weight"]))


def llamagen_picture(s: State, tokens: Tensor) -> Tensor:
    x = conv(s, "post_quant_conv", codes(tokens, unit(s["quantize.embedding.weight"])))
    x = llamagen_blocks(s, "decoder", llamagen_middle(s, "decoder", conv(s, "decoder.conv_in", x, 1)))
    return output(s, "decoder.norm_out", "decoder.conv_out", x)


# -- MaskGIT: no biases, means of four, shortcuts from the block's own end -------------------------------------


def maskgit_block(s: State, name: str, x: Tensor) -> Tensor:
    h = conv(s, f"{name}.conv1", swish(norm(s, f"{name}.norm1", x)), 1)
    h = conv(s, f"{name}.conv2", swish(norm(s, f"{name}.norm2", h)), 1)
    return h + (conv(s, f"{name}.nin_shortcut", h) if f"{name}.nin_shortcut.weight" in s else x)


def maskgit_row(s: State, name: str, x: Tensor) -> Tensor:
    j = 0
    while f"{name}.{j}.conv1.weight" in s:
        x, j = maskgit_block(s, f"{name}.{j}", x), j + 1
    return x


def maskgit_tokens(s: State, x: Tensor) -> Tensor:
    x, i = conv(s, "encoder.conv_in", (x + 1) / 2, 1), 0
    while f"encoder.down.{i}.block.0.conv1.weight" in s:
        x = maskgit_row(s, f"encoder.down.{i}.block", x)
        i += 1
        if f"encoder.down.{i}.block.0.conv1.weight" in s:
            x = (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4
    x = output(s, "encoder.norm_out", "encoder.conv_out", maskgit_row(s, "encoder.mid", x))
    return nearest(x, s["quantize.embedding.weight"])


def maskgit_picture(s: State, tokens: Tensor) -> Tensor:
    x = conv(s, "decoder.conv_in", codes(tokens, s["quantize.embedding.weight"]), 1)
    x = maskgit_row(s, "decoder.mid", x)
    for i in reversed(
        range(1 + max(int(name.split(".")[2]) for name in s if name.startswith("decoder.up.")))
    ):
        x = maskgit_row(s, f"decoder.up.{i}.block", x)
        if f"decoder.up.{i}.upsample_conv.weight" in s:
            x = conv(s, f"decoder.up.{i}.upsample_conv", doubled(x), 1)
    return 2 * output(s, "decoder.norm_out", "decoder.conv_out", x) - 1


# -- the authors' prior: one sequence at a time, one head at a time ----------------------------------------------


def layer_norm(s: State, name: str, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return scaled * s[f"{name}.weight"] + s[f"{name}.bias"]


def affine(s: State, name: str, x: Tensor) -> Tensor:
    bias = s.get(f"{name}.bias")
    return x @ s[f"{name}.weight"].T + (0 if bias is None else bias)


def turned(s: State, trunk: str, x: Tensor) -> Tensor:
    """Complex numbers for channel pairs: of the first 64 channels, 16 pairs turn with the row, 16 with the column."""
    frequencies, side = s[f"{trunk}.rotary_pos_emb.freqs"], math.isqrt(len(x))
    steps = torch.linspace(-1, 1, side)
    angles = torch.zeros(len(x), 32)
    for n in range(len(x)):
        angles[n, :16], angles[n, 16:] = steps[n // side] * frequencies, steps[n % side] * frequencies
    pairs = torch.view_as_complex(x[:, :64].reshape(len(x), 32, 2).contiguous())
    pairs = pairs * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([torch.view_as_real(pairs).reshape(len(x), 64), x[:, 64:]], 1)


def authors_layer(s: State, name: str, x: Tensor, trunk: str = "", context: Tensor | None = None) -> Tensor:
    normed = layer_norm(s, f"{name}.0.norm", x)
    source = normed if context is None else context
    q = affine(s, f"{name}.0.fn.to_q", normed)
    both = affine(s, f"{name}.0.fn.to_kv", source)
    k, v = both[:, : both.shape[1] // 2], both[:, both.shape[1] // 2 :]
    if context is None:
        q, k = turned(s, trunk, q), turned(s, trunk, k)
    heads = []
    for start in range(0, q.shape[1], 64):
        part = slice(start, start + 64)
        heads.append(torch.softmax(q[:, part] @ k[:, part].T / 8, 1) @ v[:, part])
    x = x + affine(s, f"{name}.0.fn.to_out", torch.cat(heads, 1))
    h = affine(s, f"{name}.1.fn.0", layer_norm(s, f"{name}.1.norm", x))
    return x + affine(s, f"{name}.1.fn.3", h * 0.5 * (1 + torch.erf(h / math.sqrt(2))))


def authors_trunk(s: State, part: str, x: Tensor) -> Tensor:
    n = 0
    while f"transformer.{part}.layers.{n}.0.norm.weight" in s:
        x = authors_layer(s, f"transformer.{part}.layers.{n}", x, f"transformer.{part}")
        n += 1
    return x


def squares(side: int) -> list[list[int]]:
    """For each cell of the merged grid the four places in the sequence that it stands for, row by row."""
    return [
        [(2 * i + r) * side + 2 * j + c for r in (0, 1) for c in (0, 1)]
        for i in range(side // 2)
        for j in range(side // 2)
    ]


def authors_logits(s: State, tokens: Tensor, label: int | None = None) -> Tensor:
    """Logits ``(n, K)`` of one sequence of ``n`` tokens, a square grid row by row."""
    x = s["token_emb.weight"][tokens]
    if label is not None:
        x = x + s["class_emb.weight"][label]
    x = authors_trunk(s, "pre_transformer", x)
    cells = squares(math.isqrt(len(tokens)))
    down = torch.stack([affine(s, "transformer.downsample.proj", x[cell].T.reshape(-1)) for cell in cells])
    gather, spread = (f"transformer.attn_resampling_{when}_valley.layers.0" for when in ("pre", "post"))
    down = torch.cat(
        [authors_layer(s, gather, down[n : n + 1], context=x[4 * n : 4 * n + 4]) for n in range(len(cells))]
    )
    valley = authors_trunk(s, "valley_transformer", down)
    up = torch.zeros_like(x)
    for n, cell in enumerate(cells):
        up[cell] = affine(s, "transformer.upsample.proj", valley[n]).reshape(-1, 4).T
    x = up + x
    x = torch.cat(
        [authors_layer(s, spread, x[4 * n : 4 * n + 4], context=valley[n : n + 1]) for n in range(len(cells))]
    )
    x = layer_norm(s, "transformer.norm_out", authors_trunk(s, "post_transformer", x))
    return affine(s, "to_logits", x)
