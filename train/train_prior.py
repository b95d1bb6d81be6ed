"""Train a prior: ``python train/train_prior.py --config train/configs/prior-illustrated.toml``.

The kind of the ``[model]`` table says which: "hourglass" (SUNDAE, the default), "absorbing" or "autoregressive".

On several GPUs ``accelerate launch train/train_prior.py ...``; on several CPU processes ``torchrun``.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

if not __package__:  # run as a file: look for packages in the repository, not in this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

# Read when torch is imported; see without_onednn.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor, nn

from sundae.checkpoint import load_prior, load_tokenizer, make_prior, to_json
from sundae.hourglass import HourglassConfig
from sundae.objective import PriorLoss, hole_weights
from sundae.priors.absorbing import Absorbing, AbsorbingConfig
from sundae.priors.autoregressive import AutoregressiveConfig
from sundae.priors.contract import Prior
from train import settings
from train.checkpoints import check_shape, load_state
from train.holes import HoleSettings
from train.optim import Muon, WeightAverage, split_parameters
from train.report import dry_run, meta_tokens, on_meta
from train.run import RunSettings, learning_rate_scale, make_accelerator, parts, run
from train.samples import Decoder, prior_pictures
from train.tokens import HoledTokens, TokenShards, tokens_hash

CURVE = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)  # corruption rates at which accuracy is told
BOUND_PASSES = 2  # of the network, for the bound on the likelihood

PriorConfig = HourglassConfig | AbsorbingConfig | AutoregressiveConfig


@dataclass(frozen=True)
class PriorSettings(RunSettings):
    """Settings of a prior run."""

    model: PriorConfig = field(default_factory=HourglassConfig)
    tokens: str = "runs/tokens"  # folder of token shards
    validation: str = "runs/tokens-validation"  # shards never trained on
    tokenizer: str = "runs/tokenizer/export"  # its codebooks begin the embeddings; "" for raw pixels
    out: str = "runs/prior"
    learning_rate: float = 2e-3
    optimizer: str = "muon"  # "muon" (matrices; the rest AdamW) or "adamw" (everything, as the paper's Adam)
    decay_from: int = 1_000_000_000  # step from which the rate falls linearly to 5 % at the last step
    weight_decay: float = 0.02
    unroll_steps: int = 2  # T; this and the next two are SUNDAE's
    unroll_from: int = 0  # step at which the chain is unrolled; one step before that
    unroll_every: int = 1  # unroll at every n-th step
    full_noise: float = (
        0.0  # share of samples whose whole hole is noise or masked; the others have r ~ U(0, 1)
    )
    balance: float = 0.0  # 0: every hidden cell weighs the same (the paper); 1: every picture
    holes: HoleSettings = field(default_factory=HoleSettings)
    drop_label: float = 0.1  # share of samples that see no class
    validation_pictures: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.optimizer not in ("muon", "adamw"):
            raise ValueError(f"expected optimizer muon or adamw, got {self.optimizer!r}")


@contextmanager
def without_onednn() -> Iterator[None]:
    """Torch's own CPU kernels while entered. oneDNN caches a primitive for every number of rows that passes through a
    GELU backwards, each as large as the activations; the number of hidden cells is new at every step, and a run
    grew by 12 MB a step. Torch's kernels are as fast in float32; in bfloat16 only oneDNN's are (7 times as fast on a
    CPU that has it natively), so they stay, and what they cache is bounded."""
    before, torch.backends.mkldnn.enabled = torch.backends.mkldnn.enabled, False
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled = before


class PriorObjective(nn.Module):
    """The prior and its loss as one module, which is the form that distributed training wraps."""

    def __init__(self, denoiser: Prior):
        super().__init__()
        self.denoiser = denoiser

    def forward(self, tokens, corrupted, hole, uniforms, weights, labels):
        result = self.denoiser.loss(tokens, corrupted, hole, uniforms, weights, labels)
        return result.loss, result.by_code, result.accuracy


class PriorTrainer:
    """State, one step and the validation of a prior run."""

    def __init__(self, options: PriorSettings, accelerator: Accelerator):
        self.options, self.accelerator, self.step = options, accelerator, 0
        torch.manual_seed(options.seed)
        self.denoiser = make_prior(options.model)
        self.label_maps = map_classes(options.model) > 0
        self.labelled = self.label_maps or options.model.classes > 0

    def start(self, shards: TokenShards, validation: TokenShards) -> None:
        """Weights to begin with: embeddings from the tokenizer's codebooks, or those of ``start_from``.

        Raises:
            ValueError: if the tokens, the tokenizer and the model do not belong together.
        """
        o = self.options
        self.shards, self.validation = shards, validation
        expected = {
            "depth": o.model.depth,
            "codebook_size": o.model.codebook_size,
            "classes": o.model.classes,
        }
        if self.label_maps:
            expected["map_classes"] = map_classes(o.model)
        self.tokenizer = load_tokenizer(Path(o.tokenizer)) if o.tokenizer else None
        digest = tokens_hash(self.tokenizer) if self.tokenizer else ""
        for part in (shards, validation):
            found = {name: part.index.get(name, 0) for name in expected}
            if found != expected:
                raise ValueError(f"expected tokens in {part.root} for a model with {expected}, got {found}")
            if digest != part.index["tokenizer"]:
                raise ValueError(
                    f"expected tokens of tokenizer {digest[:12] or 'none (raw pixels)'} in {part.root}, got tokens "
                    f"of {part.index['tokenizer'][:12] or 'raw pixels'}: encode them again"
                )
        if self.tokenizer is not None:
            codebooks = self.tokenizer.quantizer.codebooks
            if not bool((codebooks[0].std(0) > 0).all()):
                raise ValueError(
                    f"expected a trained tokenizer in {o.tokenizer}, got one whose codes are all alike: train it "
                    "beyond its codebook_start, export and encode again"
                )
            self.denoiser.start_from_codebooks(codebooks, shards.frequencies())
        if o.start_from:
            load_first_weights(self.denoiser, first_weights(Path(o.start_from)), o.start_from)

    def prepare(self) -> None:
        """Move to the device, wrap for several processes, make the optimisers."""
        o = self.options
        self.denoiser.to(self.accelerator.device)
        self.average = WeightAverage(self.denoiser, o.ema_decay)
        matrices, rest = split_parameters(self.denoiser)
        if o.optimizer == "adamw":
            matrices, rest = [], matrices + rest
        decay = o.weight_decay if o.optimizer == "adamw" else 0.0
        optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(rest, o.learning_rate, betas=(0.9, 0.95), weight_decay=decay)
        ]
        if matrices:
            dtype = torch.bfloat16 if o.mixed_precision == "bf16" else torch.float32
            optimizers.insert(0, Muon(matrices, o.learning_rate, weight_decay=o.weight_decay, dtype=dtype))
        self.optimizers = [self.accelerator.prepare(optimizer) for optimizer in optimizers]
        self.objective = self.accelerator.prepare(PriorObjective(self.denoiser))
        if o.compile:
            self.denoiser.hidden = torch.compile(self.denoiser.hidden)  # type: ignore[method-assign]

    def train_step(self, batch: list[Tensor]) -> dict[str, Tensor]:
        """One update on this process's items of :class:`~train.tokens.HoledTokens`; returns loss,
        cross-entropy by code (nats) and accuracy, such that their mean over processes is the batch's."""
        with nullcontext() if self.options.mixed_precision == "bf16" else without_onednn():
            return self.learn(batch)

    def learn(self, batch: list[Tensor]) -> dict[str, Tensor]:
        o = self.options
        unrolled = self.step >= o.unroll_from and self.step % o.unroll_every == 0
        pieces, device = parts(batch, o.accumulate, self.accelerator.device), self.accelerator.device
        weights = [hole_weights(hole, o.balance) for _, _, hole, _, _ in pieces]
        total = self.accelerator.reduce(torch.stack([w.sum() for w in weights]).sum(), "mean")
        sums: dict[str, Tensor] = {}
        for i, (tokens, corrupted, hole, uniforms, labels) in enumerate(pieces):
            last = i == len(pieces) - 1
            with nullcontext() if last else self.accelerator.no_sync(self.objective):
                loss, by_code, accuracy = self.objective(
                    tokens,
                    corrupted,
                    hole,
                    uniforms if unrolled else uniforms[:, :0],
                    weights[i] / total,
                    labels if self.labelled else None,
                )
                self.accelerator.backward(loss)
            terms = {"loss": loss.detach(), "accuracy": accuracy}
            terms |= {f"code{j + 1}": value for j, value in enumerate(by_code)}
            sums = {name: sums.get(name, torch.zeros((), device=device)) + v for name, v in terms.items()}
        self.update()
        return sums

    def update(self) -> None:
        o = self.options
        self.accelerator.clip_grad_norm_(self.objective.parameters(), o.clip)
        scale = learning_rate_scale(self.step, o.warmup, o.decay_from, o.steps)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = o.learning_rate * scale
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.average.update(self.denoiser)

    def state_dict(self) -> dict[str, Any]:
        return {
            "stage": "prior",
            "kind": type(self.denoiser).__name__.lower(),
            "denoiser": self.denoiser.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "model": to_json(self.options.model),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        check_shape(state, self.options.model, self.options.out)
        self.denoiser.load_state_dict(state["denoiser"])
        self.average.load_state_dict(state["average"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step = state["step"]

    def averaged(self) -> Prior:
        """The prior with its averaged weights, for validation."""
        model = make_prior(self.options.model)
        model.load_state_dict(self.average.state)
        return model.to(self.accelerator.device).eval()

    @torch.no_grad()
    def validate(self) -> dict[str, Any]:
        """Numbers of the averaged weights on held-out grids.

        Returns:
            ``loss``: mean cross-entropy (nats) of the cells in a centre hole of which nothing is left; ``hole``:
            the same by code; ``nll_bound``: bound on the negative log-likelihood of whole pictures in nats a token,
            exact for an autoregressive prior; ``bits``: the same in bits; ``accuracy``: share of right codes in the
            hole by corruption rate.
        """
        model, count = self.averaged(), min(self.options.validation_pictures, len(self.validation))
        device = self.accelerator.device
        tokens = torch.stack([torch.from_numpy(self.validation.grid(i, 0)) for i in range(count)]).to(device)
        labels = None
        if self.labelled:
            conditions = [self.validation.condition(i, 0, self.label_maps) for i in range(count)]
            labels = torch.stack(conditions).to(device)
        hole = centre_hole(tokens)
        full = self.noisy_loss(model, tokens, hole, 1.0, labels)
        bits = float(model.bits(tokens, torch.ones_like(hole), 0, BOUND_PASSES, labels).mean())
        rates = CURVE if model.corrupts else CURVE[-1:]
        curve = {rate: self.noisy_loss(model, tokens, hole, rate, labels).accuracy for rate in rates}
        return {
            "loss": round(float(full.by_code.mean()), 4),
            "hole": [round(float(v), 3) for v in full.by_code],
            "nll_bound": round(bits * math.log(2), 4),
            "bits": round(bits, 4),
            "accuracy": {str(rate): round(float(value), 4) for rate, value in curve.items()},
        }

    def noisy_loss(self, model: Prior, tokens: Tensor, hole: Tensor, rate: float, labels) -> PriorLoss:
        """The first step's loss at one corruption rate, with numbers that are the same at every validation."""
        generator = torch.Generator(tokens.device).manual_seed(1)
        rates = torch.full((len(tokens),), rate, device=tokens.device)
        corrupted = model.corrupt(tokens, hole, rates, model.codebook_size, generator)
        nothing = torch.empty(len(tokens), 0, *tokens.shape[1:], device=tokens.device)
        return model.loss(tokens, corrupted, hole, nothing, labels=labels)

    def pictures(self) -> dict[str, Image.Image]:
        """Inpaintings of held-out grids and samples from nothing."""
        decoder = Decoder(self.tokenizer, self.options.model.codebook_size)
        return prior_pictures(self.averaged(), decoder, self.validation, self.label_maps)


def map_classes(config: PriorConfig) -> int:
    """Classes in the label maps that a prior is conditioned on; 0 for none."""
    return config.label_map.codebook_size if isinstance(config, AutoregressiveConfig) else 0


def load_first_weights(denoiser: Prior, weights: dict[str, Tensor], source: str) -> None:
    """Begin with another prior's weights; mirror links that it lacks begin as if they were not there. An absorbing
    prior may begin with a SUNDAE prior's: its mask code stays as it is, and what keeps codes is left out.

    Raises:
        ValueError: if the two differ in anything else.
    """
    own = denoiser.state_dict()
    if isinstance(denoiser, Absorbing):
        weights = {
            name: with_mask_code(value, own[name]) if name.startswith("embed.") and name in own else value
            for name, value in weights.items()
            if not name.startswith("head.keep.")
        }
    missing = {name for name in own if name not in weights and not name.startswith("mirror_")}
    other = {name for name in weights if name not in own or own[name].shape != weights[name].shape}
    if missing or other:
        raise ValueError(
            f"expected a prior of the same shape in {source}; it differs at {min(missing | other)} and "
            f"{len(missing | other) - 1} more"
        )
    denoiser.load_state_dict(weights, strict=False)


def with_mask_code(table: Tensor, own: Tensor) -> Tensor:
    """A table of embeddings ``(K, width)`` with the last row of ``own (K + 1, width)``; any other as it is."""
    return torch.cat([table, own[-1:]]) if len(table) + 1 == len(own) else table


def centre_hole(tokens: Tensor) -> Tensor:
    """A square over the middle two fifths of each side: bool ``(B, h, w)``."""
    _, h, w, _ = tokens.shape
    hole = torch.zeros(tokens.shape[:3], dtype=torch.bool, device=tokens.device)
    hole[:, h // 2 - h // 5 : h // 2 + max(1, h // 5), w // 2 - w // 5 : w // 2 + max(1, w // 5)] = True
    return hole


def first_weights(path: Path) -> dict[str, Tensor]:
    """Averaged weights of a prior's state or run, or those of a bundle; ValueError if there is neither."""
    if (path / "config.json").exists():
        return load_prior(path).state_dict()
    state = load_state(path)
    if "denoiser" not in state:
        raise ValueError(f"expected the state of a prior in {path}, got that of another stage")
    return state["average"]["state"]


def report_sizes(options: PriorSettings) -> None:
    """What the run would train; nothing is read but the number of pictures."""
    config = options.model
    model = on_meta(lambda: make_prior(config))
    tokens = meta_tokens((1, *config.grid, config.depth))
    maps = meta_tokens((1, *config.label_map.grid, config.label_map.depth)) if map_classes(config) else None

    def forward() -> None:
        hidden = model.hidden(tokens, tokens[..., 0] > 0, maps).flatten(0, 2)  # type: ignore[operator]
        for j in range(config.depth):
            model.logits(hidden, tokens.flatten(0, 2), tokens.flatten(0, 2)[:, :j])  # type: ignore[operator]

    tokens_folder = Path(options.tokens)
    count = len(TokenShards(tokens_folder)) if tokens_folder.exists() else None
    dry_run(options, {"prior": model}, forward, count)


def train(options: PriorSettings) -> PriorTrainer:
    """The whole run that the settings describe; returns its trainer, whose ``averaged()`` is the result."""
    accelerator = make_accelerator(options)
    trainer = PriorTrainer(options, accelerator)
    accelerator.print(options, flush=True)
    trainer.start(TokenShards(Path(options.tokens)), TokenShards(Path(options.validation)))
    trainer.prepare()

    def items(count: int) -> HoledTokens:
        o = options
        labels = (o.drop_label, trainer.denoiser.corrupt, trainer.label_maps)
        return HoledTokens(trainer.shards, o.holes, o.seed, count, o.full_noise, o.unroll_steps, *labels)

    accelerator.print(f"{len(trainer.shards)} pictures", flush=True)
    run(trainer, items, options, accelerator, unit="grids")
    return trainer


def main(argv: list[str] | None = None) -> None:
    options, flags = settings.parse(PriorSettings, __doc__, argv)
    if flags.dry_run:
        return report_sizes(options)
    train(options)


if __name__ == "__main__":
    settings.guard(main)
