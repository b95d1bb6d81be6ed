"""The relatives of taming's VQ-GAN: the same blocks, put together and quantised as other projects do.

Latent diffusion, diffusers, Unleashing Transformers, LlamaGen and taming's own Gumbel variant differ from
:mod:`sundae.taming` in what a configuration can say: groups of the norms, where attention sits, how many blocks the
decoder has, the range of the pixels, and how a latent finds its code. They are here to be used, not trained.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from sundae.taming import GROUPS, Decoder, Encoder
from sundae.tokenizer import PictureTokenizer, ResidualQuantizer

PIXEL_RANGES = ("signed", "unit")  # what the networks take and give: [-1, 1] or [0, 1]


@dataclass(frozen=True)
class VQGANConfig:
    """Shape of the network.

    Raises:
        ValueError: if a size is not positive, channels do not fall into the groups, the levels do not fit each
            other or the resolution, or a word is none of those allowed.
    """

    codebook_size: int  # K
    embed_dim: int  # channels of a code
    latent_channels: int  # channels between the networks and the 1x1 convolutions around the quantiser
    channels: int  # after the first convolution
    widths: tuple[int, ...]  # channels of each level, from the full resolution to the token grid
    blocks: int  # residual blocks per encoder level
    decoder_blocks: int
    attention: tuple[bool, ...]  # which levels have attention after every block
    middle_attention: bool = True
    groups: int = GROUPS  # of every group norm
    last_swish: bool = True  # whether there is one between the last norm and the last convolution
    projections: bool = True  # whether there are 1x1 convolutions around the quantiser
    lookup: str = "nearest"  # or "cosine": nearest in angle; or "argmax": of a learned linear map
    pixel_range: str = "signed"  # [-1, 1], or "unit": [0, 1]
    resolution: int = 256  # px, side of the training pictures; any other is taken too
    depth: int = 1  # q

    def __post_init__(self) -> None:
        sizes = (self.codebook_size, self.embed_dim, self.latent_channels, self.channels, self.groups)
        if (
            not self.widths
            or min(*sizes, *self.widths, self.blocks, self.decoder_blocks, self.resolution) < 1
        ):
            raise ValueError(f"expected at least one level and positive sizes, got {self}")
        if any(width % self.groups for width in (self.channels, *self.widths)):
            raise ValueError(
                f"expected channels and widths to be multiples of the {self.groups} groups, got {self}"
            )
        if len(self.attention) != len(self.widths):
            raise ValueError(f"expected attention for {len(self.widths)} levels, got {self.attention}")
        if self.lookup not in QUANTIZERS:
            raise ValueError(f"expected lookup to be one of {', '.join(QUANTIZERS)}, got {self.lookup!r}")
        if self.pixel_range not in PIXEL_RANGES:
            raise ValueError(
                f"expected pixel_range to be one of {', '.join(PIXEL_RANGES)}, got {self.pixel_range!r}"
            )
        if not self.projections and self.latent_channels != self.embed_dim:
            raise ValueError(
                f"expected latent_channels and embed_dim to be equal without projections, got {self}"
            )
        if self.resolution % self.downsample_factor:
            raise ValueError(
                f"expected a resolution that is a multiple of {self.downsample_factor}, got {self.resolution}"
            )
        if self.depth != 1:
            raise ValueError(f"expected one code per cell, got a depth of {self.depth}")

    @property
    def downsample_factor(self) -> int:
        """f: px per cell side."""
        return 2 ** (len(self.widths) - 1)


class NearestQuantizer(ResidualQuantizer):
    """The nearest code by Euclidean distance (van den Oord et al. 2017, eq. 1); one code per cell."""

    def __init__(self, codebook_size: int, dim: int):
        super().__init__(1, codebook_size, dim)


class CosineQuantizer(NearestQuantizer):
    """The code nearest in angle, as a unit vector (Yu et al. 2022, ViT-VQGAN, section 3.2; LlamaGen)."""

    def nearest(self, residual: Tensor, level: int) -> Tensor:
        book = F.normalize(self.codebooks[level], dim=1)
        return (F.normalize(residual, dim=1) @ book.t()).argmax(-1)

    def embed(self, tokens: Tensor) -> Tensor:
        book = F.normalize(self.codebooks[0], dim=1)
        return F.embedding(tokens[..., 0], book).permute(0, 3, 1, 2)


class ArgmaxQuantizer(NearestQuantizer):
    """The code with the largest logit of a learned linear map (Jang et al. 2017, Gumbel-softmax, without its noise).

    The published Gumbel VQ-GANs add noise even when they are evaluated; then a picture has no fixed tokens.
    """

    def __init__(self, codebook_size: int, dim: int):
        super().__init__(codebook_size, dim)
        self.proj = nn.Conv2d(dim, codebook_size, 1)

    def quantize(self, latent: Tensor) -> Tensor:
        return self.proj(latent).argmax(1)[..., None]


QUANTIZERS = {"nearest": NearestQuantizer, "cosine": CosineQuantizer, "argmax": ArgmaxQuantizer}


class VQGANTokenizer(PictureTokenizer):
    """One of taming's relatives behind the tokenizers' interface; takes any grid, whatever it was trained on."""

    def __init__(self, config: VQGANConfig):
        super().__init__()
        self.config: VQGANConfig = config
        self.encoder = Encoder(config)
        self.quantizer = QUANTIZERS[config.lookup](config.codebook_size, config.embed_dim)
        self.decoder = Decoder(config)
        latent, dim = config.latent_channels, config.embed_dim
        self.quant_conv = nn.Conv2d(latent, dim, 1) if config.projections else nn.Identity()
        self.post_quant_conv = nn.Conv2d(dim, latent, 1) if config.projections else nn.Identity()

    @property
    def halo(self) -> None:
        """None: by group norm every pixel depends on every cell."""
        return None

    @property
    def last_layer(self) -> nn.Parameter:
        return self.decoder.conv_out.get_parameter("weight")

    def token_modules(self) -> tuple[nn.Module, ...]:
        return self.encoder, self.quant_conv, self.quantizer

    def latent(self, image: Tensor) -> Tensor:
        self.check_image(image)
        return self.quant_conv(self.encoder(to_range(image, self.config.pixel_range)))

    def render(self, quantized: Tensor) -> Tensor:
        return from_range(self.decoder(self.post_quant_conv(quantized)), self.config.pixel_range)


def to_range(image: Tensor, pixel_range: str) -> Tensor:
    """``image`` in [-1, 1] to the range of the name."""
    return (image + 1) / 2 if pixel_range == "unit" else image


def from_range(image: Tensor, pixel_range: str) -> Tensor:
    """``image`` in the range of the name to [-1, 1]."""
    return image * 2 - 1 if pixel_range == "unit" else image
