"""The tokenizer of MaskGIT (Chang et al. 2022) as ported by open-muse and TiTok: a VQ-GAN without attention.

Modules bear the names of the published checkpoints. It differs from :mod:`sundae.taming` in more than a
configuration: most convolutions have no bias, levels are halved by averaging, a block that changes the width adds a map
of its own output and not of its input, and pixels are in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from sundae.taming import GROUPS, group_norm
from sundae.tokenizer import PictureTokenizer
from sundae.vqgan import NearestQuantizer, from_range, to_range


@dataclass(frozen=True)
class MaskGITConfig:
    """Shape of the network; the defaults are those of the published one (ImageNet, 256 px, f16).

    Raises:
        ValueError: if a size is not positive or does not fit the 32 groups of the norms or the levels.
    """

    codebook_size: int = 1024  # K
    embed_dim: int = 256  # channels of a code, and of the networks' latent
    channels: int = 128  # at full resolution, before the multipliers
    channel_multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)  # one per level
    blocks: int = 2  # residual blocks per level of both networks, and at the token grid
    resolution: int = 256  # px, side of the training pictures; any other is taken too
    depth: int = 1  # q

    def __post_init__(self) -> None:
        sizes = (self.codebook_size, self.embed_dim, self.channels, self.blocks, self.resolution)
        if not self.channel_multipliers or min(*sizes, *self.channel_multipliers) < 1:
            raise ValueError(f"expected at least one level and positive sizes, got {self}")
        if self.channels % GROUPS or self.resolution % self.downsample_factor:
            raise ValueError(
                f"expected channels that are a multiple of {GROUPS} and a resolution that is one of "
                f"{self.downsample_factor}, got {self.channels} and {self.resolution}"
            )
        if self.depth != 1:
            raise ValueError(f"expected one code per cell, got a depth of {self.depth}")

    @property
    def downsample_factor(self) -> int:
        """f: px per cell side."""
        return 2 ** (len(self.channel_multipliers) - 1)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, from the full resolution to the token grid."""
        return tuple(self.channels * multiplier for multiplier in self.channel_multipliers)


class Block(nn.Module):
    """Twice norm, swish and 3x3 convolution, added to the input, or to a map of itself where widths differ."""

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__()
        self.norm1 = group_norm(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.norm2 = group_norm(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        same = channels_in == channels_out
        self.nin_shortcut = None if same else nn.Conv2d(channels_out, channels_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv1(F.silu(self.norm1(x)))
        hidden = self.conv2(F.silu(self.norm2(hidden)))
        return hidden + (x if self.nin_shortcut is None else self.nin_shortcut(hidden))


class Level(nn.Module):
    """Residual blocks at one resolution; in the decoder all but the last level double the sides."""

    def __init__(self, channels_in: int, channels_out: int, blocks: int, upsample: bool = False):
        super().__init__()
        self.block = blocks_from(channels_in, channels_out, blocks)
        self.upsample_conv = nn.Conv2d(channels_out, channels_out, 3, padding=1) if upsample else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.block(x)
        if self.upsample_conv is None:
            return x
        return self.upsample_conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def blocks_from(channels_in: int, channels_out: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(Block(channels_out if i else channels_in, channels_out) for i in range(count)))


class Encoder(nn.Module):
    """``(B, 3, H, W)`` to ``(B, embed_dim, h, w)``."""

    def __init__(self, config: MaskGITConfig):
        super().__init__()
        widths = config.widths
        self.conv_in = nn.Conv2d(3, config.channels, 3, padding=1, bias=False)
        entering = (config.channels, *widths[:-1])
        self.down = nn.ModuleList(Level(entering[i], widths[i], config.blocks) for i in range(len(widths)))
        self.mid = blocks_from(widths[-1], widths[-1], config.blocks)
        self.norm_out = group_norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], config.embed_dim, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.conv_in(image)
        for i, level in enumerate(self.down):
            x = level(F.avg_pool2d(x, 2) if i else x)
        return self.conv_out(F.silu(self.norm_out(self.mid(x))))


class Decoder(nn.Module):
    """``(B, embed_dim, h, w)`` to ``(B, 3, H, W)``; ``up[0]`` is at full resolution and runs last."""

    def __init__(self, config: MaskGITConfig):
        super().__init__()
        widths = config.widths
        self.conv_in = nn.Conv2d(config.embed_dim, widths[-1], 3, padding=1)
        self.mid = blocks_from(widths[-1], widths[-1], config.blocks)
        entering = (*widths[1:], widths[-1])
        self.up = nn.ModuleList(
            Level(entering[i], widths[i], config.blocks, upsample=i > 0) for i in range(len(widths))
        )
        self.norm_out = group_norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, latent: Tensor) -> Tensor:
        x = self.mid(self.conv_in(latent))
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class MaskGITTokenizer(PictureTokenizer):
    """MaskGIT's VQ-GAN behind the tokenizers' interface; takes any grid, whatever it was trained on."""

    def __init__(self, config: MaskGITConfig):
        super().__init__()
        self.config: MaskGITConfig = config
        self.encoder = Encoder(config)
        self.quantizer = NearestQuantizer(config.codebook_size, config.embed_dim)
        self.decoder = Decoder(config)

    @property
    def halo(self) -> None:
        """None: by group norm every pixel depends on every cell."""
        return None

    @property
    def last_layer(self) -> nn.Parameter:
        return self.decoder.conv_out.get_parameter("weight")

    def token_modules(self) -> tuple[nn.Module, ...]:
        return self.encoder, self.quantizer

    def latent(self, image: Tensor) -> Tensor:
        self.check_image(image)
        return self.encoder(to_range(image, "unit"))

    def render(self, quantized: Tensor) -> Tensor:
        return from_range(self.decoder(quantized), "unit")
