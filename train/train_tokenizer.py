"""Train the tokenizer: ``python train/train_tokenizer.py --config train/configs/tokenizer-illustrated.toml``.

Reconstruction first, then the codebooks start by k-means, then (from ``adversarial_start``) a patch
discriminator joins. With ``freeze_tokens`` only the decoder moves, so the tokens of a prior stay valid.
On several GPUs ``accelerate launch train/train_tokenizer.py ...``; on several CPU processes ``torchrun``.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

if not __package__:  # run as a file: look for packages in the repository, not in this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import math
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from PIL import Image
from torch import Tensor, nn

from sundae.checkpoint import load_tokenizer, to_json
from sundae.taming import TamingConfig, TamingTokenizer
from sundae.tokenizer import PictureTokenizer, Tokenizer, TokenizerConfig
from train import losses, settings
from train.augment import AugmentSettings, augment
from train.checkpoints import check_shape, load_state
from train.codebook import CodebookTrainer, perplexity, straight_through
from train.data import RandomCrops, is_here, open_source, sound_picture, split, to_tensor
from train.optim import WeightAverage
from train.perceptual import LPIPS, describe, find_lpips
from train.report import dry_run, on_meta
from train.run import RunSettings, make_accelerator, parts, run, seed_step
from train.samples import tokenizer_pictures


@dataclass(frozen=True)
class TokenizerSettings(RunSettings):
    """Settings of a tokenizer run."""

    model: TokenizerConfig | TamingConfig = field(default_factory=TokenizerConfig)
    data: str = "portraits:0:20000"  # a folder of pictures, or portraits:FIRST:COUNT
    size: int = 1024  # px, side of the training pictures
    min_side: int = 0  # px; pictures of a folder whose shorter side is below are left out
    held_out: float = 0.02  # share of the pictures, by name, that are never trained on
    out: str = "runs/tokenizer"
    batch_size: int = 2  # pictures, each giving per_picture crops
    crop: int = 256  # px
    per_picture: int = 4  # crops cut from one loaded picture
    eye_share: float = (
        0.0  # share of the crops centred on an eye of an aligned face; codes go where crops are
    )
    eye_weight: float = 0.0  # how much more a pixel matters at the eyes of an aligned face, in losses
    steps: int = 3000
    learning_rate: float = 1e-3  # falls along a cosine to 3 % at the last step
    warmup: int = 60  # steps
    weight_decay: float = 1e-4
    codebook_start: int = 60  # step at which k-means starts the codebooks
    codebook_decay: float = 0.98
    l1: float = 1.0
    mse: float = 1.0
    edges: float = 0.25  # gradients over a pyramid
    commitment: float = 0.25  # beta, on the commitment term
    lpips: str = "none"  # "none"; "auto": LPIPS-VGG if its weights are in a cache; or a file with them
    perceptual: float = 1.0  # weight of LPIPS; where it is at hand it takes the place of edges and matching
    adversarial_start: int = 1_000_000_000  # step at which the discriminator joins
    adversarial: float = 0.5  # weight of the generator's hinge term, times the adaptive weight
    adversarial_ramp: int = 200  # steps over which the game's terms grow to their weights
    matching: float = 1.0  # weight of discriminator feature matching
    discriminator_width: int = 32
    discriminator_lr: float = 4e-4
    augment: AugmentSettings = field(default_factory=AugmentSettings)  # of all that the discriminator sees
    freeze_tokens: bool = False  # train the decoder only
    ema_decay: float = 0.995
    evaluate_minutes: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        f = self.model.downsample_factor
        if self.size % f or self.crop % f or self.crop > self.size:
            raise ValueError(
                f"expected size and crop to be multiples of {f} and crop at most size, got {self.size} and {self.crop}"
            )


def make_tokenizer(config: TokenizerConfig | TamingConfig) -> PictureTokenizer:
    """A fresh tokenizer of either architecture."""
    return TamingTokenizer(config) if isinstance(config, TamingConfig) else Tokenizer(config)


class Autoencoder(nn.Module):
    """Encoder, quantiser and decoder in one forward pass, the form that distributed training wraps."""

    def __init__(self, tokenizer: PictureTokenizer):
        super().__init__()
        self.tokenizer = tokenizer

    def forward(self, target: Tensor, quantise: bool) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        """Pictures to output, latent, tokens (None without quantiser) and commitment loss."""
        latent = self.tokenizer.latent(target)
        if not quantise:
            return self.tokenizer.render(latent), latent, None, latent.new_zeros(())
        quantized, tokens, commitment = straight_through(self.tokenizer.quantizer, latent)
        return self.tokenizer.render(quantized), latent, tokens, commitment


class TokenizerTrainer:
    """State, one step and the validation of a tokenizer run."""

    def __init__(self, options: TokenizerSettings, accelerator: Accelerator):
        self.options, self.accelerator, self.step = options, accelerator, 0
        torch.manual_seed(options.seed)
        self.tokenizer = make_tokenizer(options.model).to(memory_format=torch.channels_last)
        self.discriminator = losses.PatchDiscriminator(options.discriminator_width)
        self.codebook = CodebookTrainer(self.tokenizer.quantizer, options.codebook_decay)
        self.lpips = perceptual_loss(options.lpips)
        self.rows: list[Tensor] = []  # latents for the k-means start
        self.validation = torch.empty(0)

    def prepare(self) -> None:
        """Move to the device, freeze, wrap for several processes, make the optimisers."""
        o, accelerator = self.options, self.accelerator
        for module in (self.tokenizer, self.discriminator, self.codebook, self.lpips):
            if module is not None:
                module.to(accelerator.device)
        if o.freeze_tokens:
            for module in self.tokenizer.token_modules():
                module.requires_grad_(False)
        self.average = WeightAverage(self.tokenizer, o.ema_decay)
        trainable = [p for p in self.tokenizer.parameters() if p.requires_grad]
        self.optimizer, self.discriminator_optimizer = accelerator.prepare(
            torch.optim.AdamW(trainable, o.learning_rate, betas=(0.9, 0.98), weight_decay=o.weight_decay),
            torch.optim.AdamW(self.discriminator.parameters(), o.discriminator_lr, betas=(0.5, 0.9)),
        )
        self.autoencoder = accelerator.prepare(Autoencoder(self.tokenizer))
        self.judge = accelerator.prepare(self.discriminator)
        if o.compile:
            self.tokenizer.latent = torch.compile(self.tokenizer.latent)  # type: ignore[method-assign]
            self.tokenizer.render = torch.compile(self.tokenizer.render)  # type: ignore[method-assign]

    def begin(self, training) -> None:
        """Weights to begin with: another run's, a bundle's, or what the architecture fits to a few pictures."""
        if self.options.start_from:
            source = Path(self.options.start_from)
            if (source / "config.json").exists():
                self.load_bundle(source)
            else:
                self.load_weights(load_state(source))
            return
        pictures = [to_tensor(sound_picture(training, i)[None]) for i in range(min(24, len(training)))]
        self.tokenizer.start(torch.cat(pictures))

    def train_step(self, batch: list[Tensor]) -> dict[str, Tensor]:
        """One update on this process's crops ``(n, per_picture, 3, crop, crop)`` and their weights
        ``(n, per_picture, 1, crop, crop)``; returns the terms of the loss."""
        o, accelerator = self.options, self.accelerator
        seed_step(o.seed, self.step)
        self.set_learning_rate()
        adversarial, started = self.step >= o.adversarial_start, bool(self.codebook.started)
        pieces = parts([tensor.flatten(0, 1) for tensor in batch], o.accumulate, accelerator.device)
        count = sum(len(target) for target, _ in pieces)
        sums: dict[str, Tensor] = {}
        latents, codes, outputs = [], [], []
        for i, (target, weight) in enumerate(pieces):
            target = target.contiguous(memory_format=torch.channels_last)
            with nullcontext() if i == len(pieces) - 1 else accelerator.no_sync(self.autoencoder):
                output, latent, tokens, commitment = self.autoencoder(target, started)
                terms = self.terms(output, target, weight, adversarial) | {"commitment": commitment}
                total = terms.pop("total") + o.commitment * commitment
                accelerator.backward(total * (len(target) / count))
            for name, value in ({"loss": total} | terms).items():
                sums[name] = sums.get(name, 0.0) + value.detach() * (len(target) / count)
            latents.append(latent.detach())
            codes.append(tokens)
            outputs.append(output.detach())
        sums["norm"] = accelerator.clip_grad_norm_(self.autoencoder.parameters(), o.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if adversarial:
            sums["discriminator"] = self.discriminator_step(outputs, [target for target, _ in pieces])
        if not o.freeze_tokens:
            self.learn_codes(torch.cat(latents), torch.cat(codes) if started else None)
        self.step += 1
        self.average.update(self.tokenizer)
        if started:
            sums["perplexity"] = perplexity(torch.cat(codes)[..., 0], o.model.codebook_size)
        return sums

    def terms(self, output: Tensor, target: Tensor, weight: Tensor, adversarial: bool) -> dict[str, Tensor]:
        """The terms of the loss without commitment, and their weighted sum as ``total``."""
        o = self.options
        terms = losses.reconstruction_terms(output.float(), target, weight)
        total = o.l1 * terms["l1"] + o.mse * terms["mse"]
        if self.lpips is None:
            total = total + o.edges * terms["edges"]
        else:
            terms["lpips"] = self.lpips(output.float(), target).mean()
            total = total + o.perceptual * terms["lpips"]
        if adversarial:
            total = total + self.game(total, output, target, terms)
        return terms | {"total": total}

    def game(
        self, reconstruction: Tensor, output: Tensor, target: Tensor, terms: dict[str, Tensor]
    ) -> Tensor:
        """Generator's hinge term at its adaptive weight, plus feature matching where LPIPS is not at hand."""
        o = self.options
        self.discriminator.requires_grad_(False)  # unwrapped: this pass teaches the generator alone
        score, features = self.discriminator(augment(output, o.augment))
        hinge = -score.mean()
        weight = losses.adaptive_weight(reconstruction, hinge, self.tokenizer.last_layer)
        terms.update(hinge=hinge, adaptive=weight)
        total = o.adversarial * weight * hinge
        if self.lpips is None:
            with torch.no_grad():
                _, real = self.discriminator(target)
            if o.augment != AugmentSettings():  # features are compared picture by picture, so on equal views
                _, features = self.discriminator(output)
            terms["matching"] = losses.feature_matching(features, real)
            total = total + o.matching * terms["matching"]
        self.discriminator.requires_grad_(True)
        return min(1.0, (self.step - o.adversarial_start) / max(1, o.adversarial_ramp)) * total

    def discriminator_step(self, outputs: list[Tensor], targets: list[Tensor]) -> Tensor:
        """One update of the discriminator on augmented real and decoded pictures; returns its loss."""
        o, count, total = (
            self.options,
            sum(map(len, targets)),
            torch.zeros((), device=self.accelerator.device),
        )
        for i, (output, target) in enumerate(zip(outputs, targets, strict=True)):
            seen = torch.cat([augment(target, o.augment), augment(output.float(), o.augment)])
            with nullcontext() if i == len(targets) - 1 else self.accelerator.no_sync(self.judge):
                real, fake = self.judge(seen)[0].chunk(2)
                loss = losses.discriminator_hinge(real, fake) * (len(target) / count)
                self.accelerator.backward(loss)
            total += loss.detach()
        self.discriminator_optimizer.step()
        self.discriminator_optimizer.zero_grad(set_to_none=True)
        return total

    @torch.no_grad()
    def learn_codes(self, latent: Tensor, tokens: Tensor | None) -> None:
        """Move the codebooks towards the latents of all processes; before they start, collect for k-means."""
        quantizer, gather = self.tokenizer.quantizer, self.accelerator.gather
        rows = gather(latent.float().permute(0, 2, 3, 1).flatten(0, 2).contiguous())
        if tokens is not None:
            self.codebook.learn(quantizer, rows, gather(tokens.flatten(0, 2)))
        else:
            self.rows.append(rows)
            if self.step + 1 < self.options.codebook_start:
                return
            self.codebook.start(quantizer, torch.cat(self.rows)[-60_000:])
            self.rows.clear()
        if self.accelerator.num_processes > 1:  # sums on GPUs round differently each time
            for buffer in (quantizer.codebooks, self.codebook.count, self.codebook.total):
                broadcast(buffer)

    def set_learning_rate(self) -> None:
        """Linear warm-up, then a cosine down to 3 % of the rate."""
        o = self.options
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, self.step / o.steps)))
        scale = min(1.0, (self.step + 1) / o.warmup) * (0.03 + 0.97 * cosine)
        for group in self.optimizer.param_groups:
            group["lr"] = o.learning_rate * scale

    def state_dict(self) -> dict[str, Any]:
        modules = {name: getattr(self, name).state_dict() for name in self.stateful()}
        about = {"stage": "tokenizer", "kind": type(self.tokenizer).__name__.lower()}
        return modules | about | {"step": self.step, "rows": self.rows, "model": to_json(self.options.model)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        check_shape(state, self.options.model, self.options.out)
        for name in self.stateful():
            getattr(self, name).load_state_dict(state[name])
        self.step = state["step"]
        self.rows = [rows.to(self.accelerator.device) for rows in state["rows"]]

    def load_weights(self, state: dict[str, Any]) -> None:
        """Begin from another run's averaged weights, at step 0; codebooks of another shape start afresh."""
        if "discriminator" not in state:
            raise ValueError(
                f"expected the state of a tokenizer in {self.options.start_from}, got another stage's"
            )
        weights = state["average"]["state"]
        if weights["quantizer.codebooks"].shape == self.tokenizer.quantizer.codebooks.shape:
            self.codebook.load_state_dict(state["codebook"])
        else:
            weights = weights | {"quantizer.codebooks": self.tokenizer.quantizer.codebooks}
        self.tokenizer.load_state_dict(weights)
        if self.options.discriminator_width == state["discriminator"]["score.weight"].shape[1] // 4:
            self.discriminator.load_state_dict(state["discriminator"])

    def load_bundle(self, folder: Path) -> None:
        """Begin from a bundle's tokenizer, at step 0; what a bundle does not hold, the codebooks' averages and the
        discriminator, starts afresh. Raises ValueError unless it is of the settings' shape."""
        tokenizer = load_tokenizer(folder)
        if to_json(tokenizer.config) != to_json(self.options.model):
            raise ValueError(
                f"expected a tokenizer of the shape {self.options.model} in {folder}, got {tokenizer.config}"
            )
        self.tokenizer.load_state_dict(tokenizer.state_dict())
        self.codebook.adopt(self.tokenizer.quantizer)

    @staticmethod
    def stateful() -> tuple[str, ...]:
        return ("tokenizer", "discriminator", "codebook", "average", "optimizer", "discriminator_optimizer")

    def averaged(self) -> PictureTokenizer:
        """The tokenizer with its averaged weights, for validation."""
        model = make_tokenizer(self.options.model)
        model.load_state_dict(self.average.state)
        return model.to(self.accelerator.device).eval()

    @torch.no_grad()
    def validate(self) -> dict[str, Any]:
        """Of the averaged weights on held-out pictures.

        Returns:
            ``loss``: mean squared error of values in [-1, 1]; ``psnr`` in dB, mean over pictures; ``usage`` and
            ``perplexity`` of the codes in these pictures, by depth.
        """
        model, pictures, squared = self.averaged(), self.validation, []
        tokens = []
        for picture in pictures.split(1):
            if self.codebook.started:
                tokens.append(model.encode(picture))
                output = model.decode(tokens[-1])
            else:
                output = model.render(model.latent(picture)).clamp(-1, 1)
            squared.append(float((output - picture).square().mean()))
        numbers: dict[str, Any] = {
            "loss": round(float(np.mean(squared)), 6),
            "psnr": round(float(np.mean([-10 * math.log10(max(1e-12, error / 4)) for error in squared])), 3),
        }
        if tokens:
            books = torch.cat([part.flatten(0, 2) for part in tokens]).unbind(-1)
            codes = self.options.model.codebook_size
            numbers["usage"] = [round(len(book.unique()) / codes, 3) for book in books]
            numbers["perplexity"] = [round(float(perplexity(book, codes)), 1) for book in books]
        return numbers

    def pictures(self) -> dict[str, Image.Image]:
        """Originals above reconstructions."""
        return tokenizer_pictures(self.averaged(), self.validation) if self.codebook.started else {}


def perceptual_loss(choice: str) -> LPIPS | None:
    """LPIPS as the setting asks: "none", "auto", or a file (ValueError if that is not one)."""
    return None if choice == "none" else find_lpips("" if choice == "auto" else choice)


def report_sizes(options: TokenizerSettings) -> None:
    """What the run would train; nothing is read but the number of pictures."""
    model = on_meta(lambda: make_tokenizer(options.model))
    judge = on_meta(lambda: losses.PatchDiscriminator(options.discriminator_width))
    crop = torch.zeros(options.per_picture, 3, options.crop, options.crop, device="meta")
    here = is_here(options.data)
    count = len(open_source(options.data, options.size, options.min_side)) if here else None
    modules, note = {"tokenizer": model, "discriminator": judge}, describe(perceptual_loss(options.lpips))
    dry_run(options, modules, lambda: model.render(model.latent(crop)), count, note)  # type: ignore[operator]


def main(argv: list[str] | None = None) -> None:
    options, flags = settings.parse(TokenizerSettings, __doc__, argv)
    if flags.dry_run:
        return report_sizes(options)
    accelerator = make_accelerator(options)
    training, held_out = split(open_source(options.data, options.size, options.min_side), options.held_out)
    if not len(training) or not len(held_out):
        raise ValueError(
            f"expected pictures on both sides of the split, got {len(training)} to train on and {len(held_out)} "
            "held out: add pictures or change held_out"
        )
    trainer = TokenizerTrainer(options, accelerator)
    accelerator.print(f"{options}\n{describe(trainer.lpips)}", flush=True)
    chosen = [to_tensor(sound_picture(held_out, i)[None]) for i in range(min(6, len(held_out)))]
    trainer.validation = torch.cat(chosen).to(accelerator.device)
    trainer.begin(training)
    trainer.prepare()

    def items(count: int) -> RandomCrops:
        o = options
        return RandomCrops(training, o.crop, o.per_picture, o.seed, count, o.eye_share, o.eye_weight)

    run(trainer, items, options, accelerator)


if __name__ == "__main__":
    settings.guard(main)
