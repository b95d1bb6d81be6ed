"""The tokenizer of Esser et al. 2021 (*Taming Transformers*): a VQ-GAN with group norm and attention.

Modules bear the names of the published checkpoints (``encoder.down.0.block.0.conv1.weight`` and so on), so that
their weights load by name; only the codebook differs: theirs is ``quantize.embedding.weight (K, dim)``, ours
``quantizer.codebooks (1, K, dim)``. Group norm and attention look at the whole picture, so nothing less than
the whole grid can be decoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor, nn

from sundae.tokenizer import PictureTokenizer, ResidualQuantizer

GROUPS = 32  # of every group norm


class Shape(Protocol):
    """What encoder and decoder need to know; :class:`TamingConfig` and the configs of the network's relatives."""

    @property
    def channels(self) -> int: ...  # after the first convolution

    @property
    def latent_channels(self) -> int: ...

    @property
    def widths(
        self,
    ) -> tuple[int, ...]: ...  # channels of each level, from the full resolution to the token grid

    @property
    def attention(self) -> tuple[bool, ...]: ...  # which levels have attention after every block

    @property
    def middle_attention(
        self,
    ) -> bool: ...  # whether the blocks at the token grid have attention between them

    @property
    def blocks(self) -> int: ...  # residual blocks per encoder level

    @property
    def decoder_blocks(self) -> int: ...

    @property
    def groups(self) -> int: ...  # of every group norm

    @property
    def last_swish(self) -> bool: ...  # whether there is one between the last norm and the last convolution


@dataclass(frozen=True)
class TamingConfig:
    """Shape of the network; the defaults are f16, 1,024 codes at 256 px, as trained on FFHQ.

    Raises:
        ValueError: if a size is not positive, a level's channels do not fall into 32 groups, or the resolutions
            do not fit the levels.
    """

    codebook_size: int = 1024  # K
    depth: int = 1  # q: residual codes per cell; 1 in every published model
    embed_dim: int = 256  # channels of a code
    latent_channels: int = 256  # channels between the networks and the 1x1 convolutions around the quantiser
    channels: int = 128  # at full resolution, before the multipliers
    channel_multipliers: tuple[int, ...] = (
        1,
        1,
        2,
        2,
        4,
    )  # one per level; each further level halves the sides
    blocks: int = 2  # residual blocks per encoder level; the decoder has one more
    attention_resolutions: tuple[int, ...] = (16,)  # px: levels of this side have attention after every block
    resolution: int = (
        256  # px, side of the training pictures; decides where attention sits, not what is taken
    )

    def __post_init__(self) -> None:
        sizes = (self.codebook_size, self.depth, self.embed_dim, self.latent_channels, self.channels)
        if min(*sizes, *self.channel_multipliers, self.blocks, self.resolution) < 1:
            raise ValueError(f"expected positive sizes, got {self}")
        if not self.channel_multipliers:
            raise ValueError(f"expected at least one channel multiplier, got {self}")
        if self.channels % GROUPS:
            raise ValueError(f"expected channels to be a multiple of {GROUPS}, got {self.channels}")
        if self.resolution % self.downsample_factor:
            raise ValueError(
                f"expected a resolution that is a multiple of {self.downsample_factor}, got {self.resolution}"
            )
        if not set(self.attention_resolutions) <= set(self.level_resolutions):
            raise ValueError(
                f"expected attention_resolutions among {self.level_resolutions}, got {self.attention_resolutions}"
            )

    @property
    def downsample_factor(self) -> int:
        """f: px per cell side."""
        return 2 ** (len(self.channel_multipliers) - 1)

    @property
    def level_resolutions(self) -> tuple[int, ...]:
        """Side in px of each level of a training picture, from the full resolution to the token grid."""
        return tuple(self.resolution >> level for level in range(len(self.channel_multipliers)))

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, from the full resolution to the token grid."""
        return tuple(self.channels * multiplier for multiplier in self.channel_multipliers)

    @property
    def attention(self) -> tuple[bool, ...]:
        """Which levels have attention."""
        return tuple(side in self.attention_resolutions for side in self.level_resolutions)

    @property
    def middle_attention(self) -> bool:
        return True

    @property
    def decoder_blocks(self) -> int:
        return self.blocks + 1

    @property
    def groups(self) -> int:
        return GROUPS

    @property
    def last_swish(self) -> bool:
        return True


def group_norm(channels: int, groups: int = GROUPS) -> nn.GroupNorm:
    """Wu & He 2018, over the whole picture."""
    return nn.GroupNorm(groups, channels, eps=1e-6)


class ResnetBlock(nn.Module):
    """Twice norm, swish and 3x3 convolution, added to the input (by a 1x1 convolution where widths differ)."""

    def __init__(self, channels_in: int, channels_out: int, groups: int = GROUPS):
        super().__init__()
        self.norm1 = group_norm(channels_in, groups)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.norm2 = group_norm(channels_out, groups)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        same = channels_in == channels_out
        self.nin_shortcut = nn.Identity() if same else nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv1(F.silu(self.norm1(x)))
        return self.nin_shortcut(x) + self.conv2(F.silu(self.norm2(hidden)))


class AttentionBlock(nn.Module):
    """Single-head self-attention over all pixels of a level, without positions, added to the input."""

    def __init__(self, channels: int, groups: int = GROUPS):
        super().__init__()
        self.norm = group_norm(channels, groups)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, c, h, w)`` to the same; h w pixels attend to h w pixels, with logits over sqrt(c)."""
        h, w = x.shape[2:]
        hidden = self.norm(x)
        q, k, v = (
            layer(hidden).flatten(2).transpose(1, 2).unsqueeze(1) for layer in (self.q, self.k, self.v)
        )  # (B, 1, h w, c)
        mixed = F.scaled_dot_product_attention(q, k, v).squeeze(1).transpose(1, 2)
        return x + self.proj_out(mixed.unflatten(2, (h, w)))


class Downsample(nn.Module):
    """Half the sides by a 3x3 convolution of stride 2, padded at the right and the bottom only."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Twice the sides: every pixel repeated, then a 3x3 convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """Residual blocks at one resolution, each followed by attention if the level has it."""

    def __init__(self, channels_in: int, channels_out: int, blocks: int, attention: bool, groups: int):
        super().__init__()
        self.block = nn.ModuleList(
            ResnetBlock(channels_out if i else channels_in, channels_out, groups) for i in range(blocks)
        )
        self.attn = nn.ModuleList(AttentionBlock(channels_out, groups) for _ in range(blocks * attention))

    def forward(self, x: Tensor) -> Tensor:
        for i, block in enumerate(self.block):
            x = block(x)
            if self.attn:
                x = self.attn[i](x)
        return x


class DownLevel(Level):
    """A level of the encoder; all but the last halve the sides."""

    def __init__(
        self, channels_in: int, channels_out: int, blocks: int, attention: bool, groups: int, last: bool
    ):
        super().__init__(channels_in, channels_out, blocks, attention, groups)
        self.downsample = nn.Identity() if last else Downsample(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.downsample(super().forward(x))


class UpLevel(Level):
    """A level of the decoder; all but the last, at full resolution, double the sides."""

    def __init__(
        self, channels_in: int, channels_out: int, blocks: int, attention: bool, groups: int, last: bool
    ):
        super().__init__(channels_in, channels_out, blocks, attention, groups)
        self.upsample = nn.Identity() if last else Upsample(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.upsample(super().forward(x))


class Middle(nn.Module):
    """Block, attention (in most relatives), block at the token grid."""

    def __init__(self, channels: int, groups: int, attention: bool):
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels, groups)
        self.attn_1 = AttentionBlock(channels, groups) if attention else nn.Identity()
        self.block_2 = ResnetBlock(channels, channels, groups)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Encoder(nn.Module):
    """``(B, 3, H, W)`` to ``(B, latent_channels, h, w)``; ``down[0]`` is at full resolution."""

    def __init__(self, config: Shape):
        super().__init__()
        widths, attention = config.widths, config.attention
        deepest = len(widths) - 1
        self.conv_in = nn.Conv2d(3, config.channels, 3, padding=1)
        entering = (config.channels, *widths[:-1])
        self.down = nn.ModuleList(
            DownLevel(entering[i], widths[i], config.blocks, attention[i], config.groups, last=i == deepest)
            for i in range(len(widths))
        )
        self.mid = Middle(widths[-1], config.groups, config.middle_attention)
        self.norm_out = group_norm(widths[-1], config.groups)
        self.swish_out = nn.SiLU() if config.last_swish else nn.Identity()
        self.conv_out = nn.Conv2d(widths[-1], config.latent_channels, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.conv_in(image)
        for level in self.down:
            x = level(x)
        return self.conv_out(self.swish_out(self.norm_out(self.mid(x))))


class Decoder(nn.Module):
    """``(B, latent_channels, h, w)`` to ``(B, 3, H, W)``; ``up[0]`` is at full resolution and runs last."""

    def __init__(self, config: Shape):
        super().__init__()
        widths, attention = config.widths, config.attention
        self.conv_in = nn.Conv2d(config.latent_channels, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1], config.groups, config.middle_attention)
        entering = (*widths[1:], widths[-1])
        self.up = nn.ModuleList(
            UpLevel(entering[i], widths[i], config.decoder_blocks, attention[i], config.groups, last=i == 0)
            for i in range(len(widths))
        )
        self.norm_out = group_norm(widths[0], config.groups)
        self.swish_out = nn.SiLU() if config.last_swish else nn.Identity()
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, latent: Tensor) -> Tensor:
        x = self.mid(self.conv_in(latent))
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(self.swish_out(self.norm_out(x)))


class TamingTokenizer(PictureTokenizer):
    """The taming VQ-GAN behind the tokenizers' interface; takes any grid, whatever it was trained on.

    Its loss, its discriminator and how its codes learn are the trainer's.
    """

    def __init__(self, config: TamingConfig):
        super().__init__()
        self.config: TamingConfig = config
        self.encoder = Encoder(config)
        self.quant_conv = nn.Conv2d(config.latent_channels, config.embed_dim, 1)
        self.quantizer = ResidualQuantizer(config.depth, config.codebook_size, config.embed_dim)
        self.post_quant_conv = nn.Conv2d(config.embed_dim, config.latent_channels, 1)
        self.decoder = Decoder(config)

    @property
    def halo(self) -> None:
        """None: by group norm and attention every pixel depends on every cell."""
        return None

    @property
    def last_layer(self) -> nn.Parameter:
        return self.decoder.conv_out.get_parameter("weight")

    def token_modules(self) -> tuple[nn.Module, ...]:
        return self.encoder, self.quant_conv, self.quantizer

    def latent(self, image: Tensor) -> Tensor:
        self.check_image(image)
        return self.quant_conv(self.encoder(image))

    def render(self, quantized: Tensor) -> Tensor:
        return self.decoder(self.post_quant_conv(quantized))
