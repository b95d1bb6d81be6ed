"""What tokenizers share, and the native one: a local VQ-GAN with residual codes and exact window decoding.

Nothing in the native one looks at the whole picture: normalisation is per pixel over channels and there is no
attention, so the decoder's output at a pixel depends on a bounded window of cells (``halo`` on each side) and
a window can be decoded alone with the same result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class TokenizerConfig:
    """Shape of the tokenizer.

    Raises:
        ValueError: if a size is not positive or the widths do not fit the downsampling.
    """

    downsample_factor: int = 32  # f: pixels per cell side; 8 times a power of two, two levels below the stem
    codebook_size: int = 1024  # K: codes per book
    depth: int = 2  # q: residual codes per cell (1 = plain VQ)
    embed_dim: int = 24  # channels of the quantised latent
    widths: tuple[int, int, int, int] = (32, 64, 128, 256)  # channels at 1/4, 1/8, 1/16 and 1/32 for f = 32
    encoder_blocks: int = 1  # residual blocks per encoder level
    bottleneck_blocks: int = 3  # residual blocks at the token grid in the decoder

    def __post_init__(self) -> None:
        if self.downsample_factor not in (8, 16, 32, 64):
            raise ValueError(
                f"expected downsample_factor to be 8, 16, 32 or 64, got {self.downsample_factor}"
            )
        if min(self.codebook_size, self.depth, self.embed_dim, *self.widths) < 1 or len(self.widths) != 4:
            raise ValueError(f"expected positive sizes and four widths, got {self}")

    @property
    def stem_stride(self) -> int:
        """Pixels per side that the stem folds into channels (1/8 of the resolution for f = 32)."""
        return self.downsample_factor // 4


class ChannelNorm(nn.Module):
    """RMS normalisation of each pixel over its channels: local in space, unlike group norm."""

    def __init__(self, channels: int):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-6) * self.scale


class ResidualBlock(nn.Module):
    """Norm, 3x3 convolution, GELU, 1x1 convolution, added to the input; starts as the identity."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.project = nn.Conv2d(channels, channels, 1)
        for parameter in self.project.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.project(F.gelu(self.conv(self.norm(x))))


class LinearCodec(nn.Module):
    """A frozen linear map between f x f pixel patches and latents, fitted by PCA before training.

    It gives the network a picture to improve on: without it training stays at the mean colour for long, and
    moving it by gradient costs decibels, so it is a buffer and not a parameter.
    """

    analysis: Tensor  # (dim, 3 * patch * patch)
    synthesis: Tensor  # (3 * patch * patch, dim)
    mean: Tensor  # (3 * patch * patch,)

    def __init__(self, patch: int, dim: int):
        super().__init__()
        self.patch = patch
        self.register_buffer("analysis", torch.zeros(dim, 3 * patch * patch))
        self.register_buffer("synthesis", torch.zeros(3 * patch * patch, dim))
        self.register_buffer("mean", torch.zeros(3 * patch * patch))

    @torch.no_grad()
    def fit(self, image: Tensor, power: float = 0.25) -> None:
        """Fit to ``image (B, 3, H, W)`` in [-1, 1]; component i is scaled by its deviation to ``-power``,
        so that the first components weigh more in the quantiser, but not alone."""
        rows = patches(image, self.patch)
        rows = rows[torch.randperm(len(rows))[:16384]]
        self.mean.copy_(rows.mean(0))
        dim = self.analysis.shape[0]
        _, singular, basis = torch.svd_lowrank(rows - self.mean, q=min(dim, len(rows)), niter=4)
        deviation = singular / len(rows) ** 0.5
        gain = deviation.clamp(min=1e-4) ** -power
        gain = gain / ((deviation * gain).square().sum().sqrt())
        self.synthesis.copy_(basis / gain)
        self.analysis.copy_((basis * gain).t())

    def encode(self, image: Tensor) -> Tensor:
        """``(B, 3, H, W)`` to ``(B, dim, H/f, W/f)``."""
        folded = F.pixel_unshuffle(image, self.patch)
        return F.conv2d(folded - self.mean[:, None, None], self.analysis[:, :, None, None])

    def decode(self, latent: Tensor) -> Tensor:
        """``(B, dim, h, w)`` to ``(B, 3, h f, w f)``."""
        folded = F.conv2d(latent, self.synthesis[:, :, None, None], self.mean)
        return F.pixel_shuffle(folded, self.patch)


def patches(image: Tensor, patch: int) -> Tensor:
    """Rows of ``(B, 3, H, W)`` pixels: ``(B * H/patch * W/patch, 3 * patch * patch)``."""
    return F.pixel_unshuffle(image, patch).permute(0, 2, 3, 1).flatten(0, 2)


class ResidualQuantizer(nn.Module):
    """Nearest-code quantiser, applied ``depth`` times to what is left (Lee et al. 2022, RQ-VAE, eq. 2-4).

    With ``depth = 1`` it is the VQ of van den Oord et al. 2017. Codebooks are buffers: training moves them by
    exponential averages (see ``train.codebook``), never by gradient.
    """

    codebooks: Tensor  # (depth, codebook_size, dim)

    def __init__(self, depth: int, codebook_size: int, dim: int):
        super().__init__()
        self.register_buffer("codebooks", torch.zeros(depth, codebook_size, dim))

    @property
    def depth(self) -> int:
        return self.codebooks.shape[0]

    def nearest(self, residual: Tensor, level: int) -> Tensor:
        """Index of the nearest code for each row of ``residual (N, dim)``: int64 ``(N,)``."""
        book = self.codebooks[level]
        return (residual @ book.t() - book.square().sum(1) / 2).argmax(-1)

    def quantize(self, latent: Tensor) -> Tensor:
        """``latent (B, dim, h, w)`` to tokens int64 ``(B, h, w, q)``."""
        residual = latent.permute(0, 2, 3, 1).flatten(0, 2)
        codes = []
        for level in range(self.depth):
            codes.append(self.nearest(residual, level))
            residual = residual - self.codebooks[level][codes[-1]]
        b, _, h, w = latent.shape
        return torch.stack(codes, -1).view(b, h, w, self.depth)

    def embed(self, tokens: Tensor) -> Tensor:
        """Tokens int64 ``(B, h, w, q)`` to the sum of their codes, ``(B, dim, h, w)``."""
        codes = [F.embedding(tokens[..., level], self.codebooks[level]) for level in range(self.depth)]
        return sum(codes[1:], codes[0]).permute(0, 3, 1, 2)


class PictureTokenizer(nn.Module):
    """Picture <-> tokens, whatever the network. ``image`` is float32 ``(B, 3, H, W)`` in [-1, 1]; tokens int64
    ``(B, h, w, q)``. A subclass gives ``config``, ``quantizer``, :attr:`halo`, :meth:`latent` and
    :meth:`render`, and what its training needs."""

    config: Any  # a frozen dataclass with downsample_factor, codebook_size, depth and embed_dim
    quantizer: ResidualQuantizer
    most_correction = math.inf  # of -1 to 1: see pipeline.colour_correction; a bundle may set another

    @property
    def halo(self) -> int | None:
        """Cells on each side that a decoded pixel depends on; None if it depends on the whole grid."""
        raise NotImplementedError

    @property
    def last_layer(self) -> nn.Parameter:
        """Weight of the decoder's last convolution, where the adaptive weight of the GAN loss compares
        gradients (Esser et al. 2021, eq. 7)."""
        raise NotImplementedError

    def token_modules(self) -> tuple[nn.Module, ...]:
        """The modules that decide a picture's tokens: while they stay, a prior's tokens stay valid."""
        raise NotImplementedError

    def start(self, pictures: Tensor) -> None:
        """Fit what is fitted before training to ``pictures (B, 3, H, W)`` in [-1, 1]: nothing, unless a subclass
        says otherwise."""

    def latent(self, image: Tensor) -> Tensor:
        """``image (B, 3, H, W)`` to the latent before quantisation, ``(B, embed_dim, h, w)``.

        Raises:
            ValueError: if the picture is not ``(B, 3, H, W)`` with sides that are multiples of f.
        """
        raise NotImplementedError

    def render(self, quantized: Tensor) -> Tensor:
        """Quantised latent ``(B, embed_dim, h, w)`` to a picture, not clamped, ``(B, 3, h f, w f)``."""
        raise NotImplementedError

    @torch.inference_mode()
    def encode(self, image: Tensor) -> Tensor:
        """``image (B, 3, H, W)`` in [-1, 1] to tokens int64 ``(B, h, w, q)``; raises as :meth:`latent`."""
        return self.quantizer.quantize(self.latent(image))

    @torch.inference_mode()
    def decode(self, tokens: Tensor) -> Tensor:
        """Tokens int64 ``(B, h, w, q)`` to float32 ``(B, 3, H, W)`` in [-1, 1].

        Raises:
            ValueError: if the tokens' depth or range is not the tokenizer's.
        """
        self.check_tokens(tokens)
        return self.render(self.quantizer.embed(tokens)).clamp(-1, 1)

    @torch.inference_mode()
    def decode_window(self, tokens: Tensor, top: int, left: int, bottom: int, right: int) -> Tensor:
        """Pixels of the cells ``[top, bottom) x [left, right)``, equal to the same crop of :meth:`decode`.

        Only the window and its halo are computed, so a streamed frame costs the hole and not the picture;
        without a bounded halo it costs the picture. The convolutions' zero padding acts at the same place as
        in full decoding, because the halo is cut off only where the grid goes on.

        Raises:
            ValueError: if the window is empty or leaves the grid, or as :meth:`decode`.
        """
        _, h, w, _ = tokens.shape
        if not (0 <= top < bottom <= h and 0 <= left < right <= w):
            raise ValueError(
                f"expected a window inside the {h}x{w} grid, got rows {top}:{bottom}, columns {left}:{right}"
            )
        halo = max(h, w) if self.halo is None else self.halo
        y0, x0 = max(0, top - halo), max(0, left - halo)
        y1, x1 = min(h, bottom + halo), min(w, right + halo)
        pixels = self.decode(tokens[:, y0:y1, x0:x1])
        f = self.config.downsample_factor
        return pixels[:, :, (top - y0) * f : (bottom - y0) * f, (left - x0) * f : (right - x0) * f]

    def check_tokens(self, tokens: Tensor) -> None:
        """Raise ValueError unless ``tokens`` are int64 ``(B, h, w, q)`` in [0, K)."""
        config = self.config
        if tokens.ndim != 4 or tokens.shape[-1] != config.depth or tokens.dtype != torch.int64:
            raise ValueError(
                f"expected tokens int64 (B, h, w, {config.depth}), got {tokens.dtype} {tuple(tokens.shape)}"
            )
        if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < config.codebook_size:
            raise ValueError(
                f"expected tokens in [0, {config.codebook_size}), got {int(tokens.min())} to {int(tokens.max())}"
            )

    def check_image(self, image: Tensor) -> None:
        """Raise ValueError unless ``image`` is ``(B, 3, H, W)`` with sides that are multiples of f."""
        f = self.config.downsample_factor
        if image.ndim != 4 or image.shape[1] != 3 or image.shape[2] % f or image.shape[3] % f:
            raise ValueError(
                f"expected an image (B, 3, H, W) with sides that are multiples of {f}, got {tuple(image.shape)}"
            )


class Tokenizer(PictureTokenizer):
    """The native tokenizer: local, so that a window of cells can be decoded alone.

    Most work happens at 1/8 of the resolution or below: a pixel-unshuffle stem, a pixel-shuffle head. The
    decoder refines the linear codec's picture, which it also sees at 1/8 and 1/4 so that the grid of patches
    does not show (measured: without this feedback the block edges stay).
    """

    def __init__(self, config: TokenizerConfig):
        super().__init__()
        self.config: TokenizerConfig = config
        c4, c8, c16, c32 = config.widths
        f, stem, dim = config.downsample_factor, config.stem_stride, config.embed_dim
        self.codec = LinearCodec(f, dim)
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(stem),
            nn.Conv2d(3 * stem * stem, c8, 1),
            *(ResidualBlock(c8) for _ in range(config.encoder_blocks)),
            nn.Conv2d(c8, c16, 2, stride=2),
            *(ResidualBlock(c16) for _ in range(config.encoder_blocks)),
            nn.Conv2d(c16, c32, 2, stride=2),
            *(ResidualBlock(c32) for _ in range(config.encoder_blocks)),
            nn.Conv2d(c32, dim, 1),
        )
        self.quantizer = ResidualQuantizer(config.depth, config.codebook_size, dim)
        self.decode_cells = nn.Sequential(
            nn.Conv2d(dim, c32, 1),
            *(ResidualBlock(c32) for _ in range(config.bottleneck_blocks)),
            *upsample(c32, c16),
            ResidualBlock(c16),
            ResidualBlock(c16),
            *upsample(c16, c8),
        )
        self.feedback_8 = nn.Sequential(nn.PixelUnshuffle(stem), nn.Conv2d(3 * stem * stem, c8, 1))
        self.decode_8 = nn.Sequential(ResidualBlock(c8), ResidualBlock(c8), *upsample(c8, c4, kernel=3))
        self.feedback_4 = nn.Sequential(nn.PixelUnshuffle(stem // 2), nn.Conv2d(3 * (stem // 2) ** 2, c4, 1))
        self.decode_4 = nn.Sequential(
            ResidualBlock(c4),
            ChannelNorm(c4),
            nn.Conv2d(c4, 3 * (stem // 2) ** 2, 3, padding=1),
            nn.PixelShuffle(stem // 2),
        )
        for layer in (self.encoder[-1], self.decode_4[-2]):  # start as the linear codec alone
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    @property
    def halo(self) -> int:
        """Cells on each side that a decoded pixel depends on: one per 3x3 convolution at the token grid, and
        two for all the finer ones together (two at 1/16, three at 1/8, two at 1/4)."""
        return self.config.bottleneck_blocks + 2

    @property
    def last_layer(self) -> nn.Parameter:
        return self.decode_4[-2].get_parameter("weight")

    def token_modules(self) -> tuple[nn.Module, ...]:
        return self.encoder, self.codec, self.quantizer

    def start(self, pictures: Tensor) -> None:
        """Fit the linear codec to ``pictures (B, 3, H, W)`` in [-1, 1]."""
        self.codec.fit(pictures)

    def latent(self, image: Tensor) -> Tensor:
        self.check_image(image)
        image = image.contiguous(memory_format=torch.channels_last)
        return self.encoder(image) + self.codec.encode(image)

    def render(self, quantized: Tensor) -> Tensor:
        quantized = quantized.contiguous(memory_format=torch.channels_last)
        base = self.codec.decode(quantized)
        features = self.decode_8(self.decode_cells(quantized) + self.feedback_8(base))
        return self.decode_4(features + self.feedback_4(base)) + base


def upsample(channels_in: int, channels_out: int, kernel: int = 1) -> tuple[nn.Module, ...]:
    """Double the resolution: norm, convolution to four times the channels, pixel shuffle."""
    convolution = nn.Conv2d(channels_in, 4 * channels_out, kernel, padding=kernel // 2)
    return ChannelNorm(channels_in), convolution, nn.PixelShuffle(2)
