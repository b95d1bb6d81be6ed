"""Tiny models with random weights, and denoisers whose answers are known beforehand."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sundae.bundles import Model
from sundae.checkpoint import save_bundle, tensors_hash
from sundae.hourglass import Hourglass, HourglassConfig, LevelConfig
from sundae.priors.absorbing import Absorbing, AbsorbingConfig
from sundae.priors.autoregressive import Autoregressive, AutoregressiveConfig
from sundae.priors.contract import Prior
from sundae.sampler import sample
from sundae.taming import TamingConfig, TamingTokenizer
from sundae.tokenizer import Tokenizer, TokenizerConfig

TOKENIZER = TokenizerConfig(
    downsample_factor=8, codebook_size=16, depth=2, embed_dim=4, widths=(4, 8, 8, 8), bottleneck_blocks=1
)
TAMING = TamingConfig(
    codebook_size=16,
    embed_dim=6,
    latent_channels=10,
    channels=64,  # two channels per group: with one, a norm takes away any bias before it
    channel_multipliers=(1, 2, 1),
    blocks=1,
    attention_resolutions=(16,),
    resolution=32,
)
PRIOR = HourglassConfig(
    codebook_size=16,
    depth=2,
    grid=(4, 4),
    levels=(LevelConfig(16, 2, "axial", mlp_ratio=1), LevelConfig(24, 1, "global", mlp_ratio=1)),
    head_dim=8,
)
ABSORBING = AbsorbingConfig(**vars(PRIOR))
AUTOREGRESSIVE = AutoregressiveConfig(
    codebook_size=16, depth=2, grid=(4, 4), width=16, blocks=2, mlp_ratio=1, head_dim=8
)


@torch.no_grad()
def randomise(module: nn.Module, seed: int) -> nn.Module:
    """Random weights and buffers of an even scale: a fresh module is mostly the identity, which hides bugs."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in module.state_dict().items():
        noise = torch.randn(value.shape, generator=generator)
        if value.ndim == 1 or name.endswith("scale"):
            value.copy_(1 + 0.1 * noise if "norm" in name or name.endswith("scale") else 0.1 * noise)
        elif name.endswith("codebooks") or "embed" in name or "prefix." in name:
            value.copy_(noise)
        else:
            value.copy_(noise / value[0].numel() ** 0.5)
    return module


def tiny_tokenizer(config: TokenizerConfig = TOKENIZER, seed: int = 1) -> Tokenizer:
    return randomise(Tokenizer(config), seed).eval().requires_grad_(False)


def flat_tokenizer(value: float) -> Tokenizer:
    """One that gives every picture back as a single colour: ``value`` in [-1, 1] in all three channels."""
    tokenizer = Tokenizer(TOKENIZER).eval().requires_grad_(False)
    tokenizer.codec.mean.fill_(value)
    return tokenizer


def tiny_taming(config: TamingConfig = TAMING, seed: int = 3) -> TamingTokenizer:
    return randomise(TamingTokenizer(config), seed).eval().requires_grad_(False)


def tiny_prior(config: HourglassConfig = PRIOR, seed: int = 2) -> Hourglass:
    return randomise(Hourglass(config), seed)


def tiny_absorbing(config: AbsorbingConfig = ABSORBING, seed: int = 3) -> Absorbing:
    return randomise(Absorbing(config), seed)


def tiny_autoregressive(config: AutoregressiveConfig = AUTOREGRESSIVE, seed: int = 4) -> Autoregressive:
    return randomise(Autoregressive(config), seed)


def tiny_priors() -> dict[str, Prior]:
    """One of each kind, over the same tokens."""
    return {"sundae": tiny_prior(), "absorbing": tiny_absorbing(), "autoregressive": tiny_autoregressive()}


@cache
def tiny_model() -> Model:
    """f = 8, a native size of 32 px; for tests that do not change it."""
    tokenizer, prior = tiny_tokenizer(), tiny_prior().eval().requires_grad_(False)
    parts = {"tokenizer": tokenizer, "prior": prior}
    config = {"parts": {name: {"hash": tensors_hash(part.state_dict())} for name, part in parts.items()}}
    return Model("tiny", tokenizer, prior, config, torch.device("cpu"))


def save_tiny_bundle(folder: Path) -> Path:
    save_bundle(folder, {"tokenizer": tiny_tokenizer(), "prior": tiny_prior()}, {"licence": "none"})
    return folder


def flat_model(value: float, usual: float | None = None) -> Model:
    """With :func:`flat_tokenizer`; ``usual`` is the PSNR that its card gives."""
    provenance = {} if usual is None else {"metrics": {"tokenizer": {"psnr": usual}}}
    tokenizer = flat_tokenizer(value)
    config = {
        "parts": {"tokenizer": {"hash": tensors_hash(tokenizer.state_dict())}},
        "provenance": provenance,
    }
    return Model(f"flat {value}", tokenizer, tiny_prior().eval(), config, torch.device("cpu"))


def save_flat_bundle(folder: Path, value: float, usual: float) -> Path:
    parts = {"tokenizer": flat_tokenizer(value), "prior": tiny_prior()}
    save_bundle(folder, parts, {"licence": "none", "metrics": {"tokenizer": {"psnr": usual}}})
    return folder


def save_tiny_priors(folder: Path) -> dict[str, Path]:
    """A bundle for each kind of prior, over one tokenizer: the first tells what it is for."""
    tokenizer, saved = tiny_tokenizer(), {}
    for kind, prior in tiny_priors().items():
        told = {"licence": "none", "intended_use": "For noise."} if kind == "sundae" else {"licence": "none"}
        saved[kind] = folder / f"{kind}-32"
        save_bundle(saved[kind], {"tokenizer": tokenizer, "prior": prior}, told)
    return saved


class Fake:
    """A denoiser that needs no weights; ``calls`` counts the samples that went through it."""

    def __init__(self, codebook_size: int = 16, depth: int = 2):
        self.codebook_size, self.depth, self.calls = codebook_size, depth, 0

    def hidden(self, tokens: Tensor, known: Tensor) -> Tensor:
        self.calls += len(tokens)
        return tokens.float()

    def logits(self, hidden: Tensor, current: Tensor, prefix: Tensor) -> Tensor:
        raise NotImplementedError

    def certain(self, codes: Tensor) -> Tensor:
        """Logits ``(N, K)`` that leave no doubt about ``codes (N,)``."""
        return 1e4 * F.one_hot(codes, self.codebook_size).float()


class Uniform(Fake):
    """Every code is as likely as any other."""

    def logits(self, hidden, current, prefix):
        return torch.zeros(len(hidden), self.codebook_size)


class Keep(Fake):
    """Every code stays as it is."""

    def logits(self, hidden, current, prefix):
        return self.certain(current[:, prefix.shape[1]])


class Oracle(Fake):
    """Knows the answer ``truth (h, w, q)``."""

    def __init__(self, truth: Tensor, codebook_size: int = 16):
        super().__init__(codebook_size, truth.shape[-1])
        self.truth = truth

    def hidden(self, tokens, known):
        super().hidden(tokens, known)
        return self.truth.float().expand(len(tokens), -1, -1, -1)

    def logits(self, hidden, current, prefix):
        return self.certain(hidden[:, prefix.shape[1]].long())


class Settles(Fake):
    """Uniform for samples whose known corner is code 0, and settled for all others."""

    def hidden(self, tokens, known):
        super().hidden(tokens, known)
        return tokens[:, :1, :1, :1].float().expand(-1, *tokens.shape[1:3], -1)

    def logits(self, hidden, current, prefix):
        return self.certain(current[:, prefix.shape[1]]) * (hidden != 0)


class Damaged(Fake):
    """Answers with ``value`` everywhere."""

    def __init__(self, value: float = float("nan")):
        super().__init__()
        self.value = value

    def logits(self, hidden, current, prefix):
        return torch.full((len(hidden), self.codebook_size), self.value)


class Counted:
    """A denoiser that counts the samples that go through another's trunk."""

    def __init__(self, denoiser):
        self.denoiser, self.calls = denoiser, 0

    def __getattr__(self, name: str):
        return getattr(self.denoiser, name)

    def hidden(self, tokens, known):
        self.calls += len(tokens)
        return self.denoiser.hidden(tokens, known)

    def sample(self, *arguments, **options):
        return sample(self, *arguments, **options)
