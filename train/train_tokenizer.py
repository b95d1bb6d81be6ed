"""Train the tokenizer: ``python -m train.train_tokenizer --config train/configs/tokenizer-illustrated.toml``.

Reconstruction first, then the codebooks start by k-means, then (from ``adversarial_start``) a patch
discriminator joins. With ``freeze_tokens`` only the decoder moves, so the tokens of a prior stay valid.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from sundae.checkpoint import to_json
from sundae.tokenizer import Tokenizer, TokenizerConfig
from train import losses, settings
from train.codebook import CodebookTrainer
from train.data import RandomCrops, open_source, split, to_tensor
from train.run import (
    Clock,
    WeightAverage,
    load_checkpoint,
    parameter_count,
    random_state,
    require_checkpoint,
    restore_random_state,
    save_atomically,
)


@dataclass(frozen=True)
class TokenizerSettings:
    """Settings of a tokenizer run."""

    model: TokenizerConfig = field(default_factory=TokenizerConfig)
    data: str = "portraits:0:20000"  # a folder of pictures, or portraits:FIRST:COUNT
    size: int = 1024  # px, side of the training pictures
    held_out: float = 0.02  # share of the pictures, by name, that are never trained on
    out: str = "runs/tokenizer"  # state.pt (resume) and log.jsonl go here
    start_from: str = ""  # state.pt of another run whose weights begin this one
    crop: int = 256  # px
    per_picture: int = 4  # crops cut from one loaded picture
    eye_share: float = (
        0.4  # share of the crops centred on an eye of an aligned face; codes go where crops are
    )
    batch_size: int = 8  # crops
    steps: int = 3000
    max_minutes: float = 1e9
    learning_rate: float = 1e-3
    warmup: int = 60  # steps
    weight_decay: float = 1e-4
    clip: float = 1.0  # gradient norm
    codebook_start: int = 60  # step at which k-means starts the codebooks
    codebook_decay: float = 0.98
    l1: float = 1.0
    mse: float = 1.0
    edges: float = 0.25
    commitment: float = 0.25  # beta, on the commitment term
    adversarial_start: int = 1_000_000_000  # step at which the discriminator joins
    adversarial: float = 0.5  # weight of the generator's hinge term, times the adaptive weight
    matching: float = 1.0  # weight of discriminator feature matching
    discriminator_lr: float = 4e-4
    freeze_tokens: bool = False  # train the decoder only
    ema_decay: float = 0.995
    seed: int = 0
    workers: int = 1  # loader processes
    threads: int = 0  # torch threads; 0 leaves the default
    save_minutes: float = 3.0
    log_steps: int = 50


class TokenizerTrainer:
    """State and one step of a tokenizer run."""

    def __init__(self, options: TokenizerSettings, accelerator: Accelerator):
        self.options, self.accelerator, self.step = options, accelerator, 0
        torch.manual_seed(options.seed)
        self.tokenizer = Tokenizer(options.model).to(memory_format=torch.channels_last)
        self.discriminator = losses.PatchDiscriminator().to(memory_format=torch.channels_last)
        self.codebook = CodebookTrainer(self.tokenizer.quantizer, options.codebook_decay)
        self.rows: list[Tensor] = []
        if options.freeze_tokens:
            for module in (self.tokenizer.encoder, self.tokenizer.codec, self.tokenizer.quantizer):
                module.requires_grad_(False)
        trainable = [p for p in self.tokenizer.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            trainable, options.learning_rate, betas=(0.9, 0.98), weight_decay=options.weight_decay
        )
        self.discriminator_optimizer = torch.optim.AdamW(
            self.discriminator.parameters(), options.discriminator_lr, betas=(0.5, 0.9)
        )

    def start(self, pictures: Tensor) -> None:
        """Fit the linear codec to ``pictures (B, 3, H, W)``."""
        self.tokenizer.codec.fit(pictures)
        self.average = WeightAverage(self.tokenizer, self.options.ema_decay)

    def prepare(self) -> None:
        device = self.accelerator.device
        for module in (self.tokenizer, self.discriminator, self.codebook):
            module.to(device)
        self.average = WeightAverage(self.tokenizer, self.options.ema_decay)

    def train_step(self, target: Tensor) -> dict[str, float]:
        """One update on crops ``(B, 3, crop, crop)``; returns the terms of the loss."""
        o = self.options
        self.set_learning_rate()
        latent = self.tokenizer.latent(target)
        quantized, tokens, commitment = self.quantize(latent)
        output = self.tokenizer.render(quantized)
        terms = losses.reconstruction_terms(output, target)
        loss = o.l1 * terms["l1"] + o.mse * terms["mse"] + o.edges * terms["edges"]
        terms["commitment"] = commitment
        adversarial = self.step >= o.adversarial_start
        if adversarial:
            loss = loss + self.adversarial_loss(loss, output, target, terms)
        self.optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss + o.commitment * commitment)
        terms["norm"] = torch.nn.utils.clip_grad_norm_(self.tokenizer.parameters(), o.clip)
        self.optimizer.step()
        if adversarial:
            terms["discriminator"] = self.discriminator_step(output.detach(), target)
        self.step += 1
        self.average.update(self.tokenizer)
        if tokens is not None:
            terms["perplexity"] = perplexity(tokens[..., 0], o.model.codebook_size)
        return {name: float(value.detach()) for name, value in terms.items()}

    def quantize(self, latent: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """Quantise once the codebooks have started; before that collect rows for k-means and pass through."""
        quantizer = self.tokenizer.quantizer
        if not self.codebook.started:
            self.rows.append(latent.detach().permute(0, 2, 3, 1).flatten(0, 2))
            if self.step < self.options.codebook_start:
                return latent, None, latent.new_zeros(())
            self.codebook.start(quantizer, torch.cat(self.rows)[-60_000:])
            self.rows.clear()
        return self.codebook(quantizer, latent, learn=not self.options.freeze_tokens)

    def adversarial_loss(
        self, reconstruction: Tensor, output: Tensor, target: Tensor, terms: dict[str, Tensor]
    ) -> Tensor:
        """Generator's hinge term at its adaptive weight, plus feature matching, ramped in over 200 steps."""
        o = self.options
        self.discriminator.requires_grad_(False)
        score, features = self.discriminator(output)
        with torch.no_grad():
            _, real_features = self.discriminator(target)
        hinge = -score.mean()
        weight = losses.adaptive_weight(reconstruction, hinge, self.tokenizer.decode_4[-2].weight)
        matching = losses.feature_matching(features, real_features)
        self.discriminator.requires_grad_(True)
        terms.update(hinge=hinge, adaptive=weight, matching=matching)
        ramp = min(1.0, (self.step - o.adversarial_start) / 200)
        return ramp * (o.adversarial * weight * hinge + o.matching * matching)

    def discriminator_step(self, output: Tensor, target: Tensor) -> Tensor:
        real, _ = self.discriminator(target)
        fake, _ = self.discriminator(output)
        loss = losses.discriminator_hinge(real, fake)
        self.discriminator_optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        self.discriminator_optimizer.step()
        return loss

    def set_learning_rate(self) -> None:
        """Linear warm-up, then a cosine down to 3 % of the rate."""
        o = self.options
        progress = min(1.0, self.step / o.steps)
        scale = min(1.0, (self.step + 1) / o.warmup) * (
            0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * progress))
        )
        for group in self.optimizer.param_groups:
            group["lr"] = o.learning_rate * scale

    def state_dict(self) -> dict:
        modules = {name: getattr(self, name).state_dict() for name in self.stateful()}
        model = to_json(self.options.model)
        return modules | {"step": self.step, "random": random_state(), "rows": self.rows, "model": model}

    def load_state_dict(self, state: dict) -> None:
        for name in self.stateful():
            getattr(self, name).load_state_dict(state[name])
        self.step, self.rows = state["step"], state["rows"]
        restore_random_state(state["random"])

    def load_weights(self, state: dict) -> None:
        """Begin from another run's averaged weights, at step 0; codebooks of another shape start afresh."""
        weights = state["average"]["state"]
        if weights["quantizer.codebooks"].shape == self.tokenizer.quantizer.codebooks.shape:
            self.codebook.load_state_dict(state["codebook"])
        else:
            weights = weights | {"quantizer.codebooks": self.tokenizer.quantizer.codebooks}
        self.tokenizer.load_state_dict(weights)
        self.discriminator.load_state_dict(state["discriminator"])
        self.average = WeightAverage(self.tokenizer, self.options.ema_decay)

    @staticmethod
    def stateful() -> tuple[str, ...]:
        return ("tokenizer", "discriminator", "codebook", "average", "optimizer", "discriminator_optimizer")

    @torch.no_grad()
    def validate(self, pictures: Tensor) -> float:
        """PSNR in dB of the averaged weights on held-out ``pictures (B, 3, H, W)``."""
        model = Tokenizer(self.options.model).to(pictures.device)
        model.load_state_dict(self.average.state)
        output = (
            model.decode(model.encode(pictures))
            if self.codebook.started
            else model.render(model.latent(pictures))
        )
        error = (output.clamp(-1, 1) - pictures).square().mean((1, 2, 3)) / 4
        return float(-10 * error.log10().mean())


def perplexity(tokens: Tensor, codes: int) -> Tensor:
    """exp of the entropy of the codes in a batch: how many of the K are in use."""
    share = torch.bincount(tokens.flatten(), minlength=codes).float() / tokens.numel()
    return torch.exp(-(share * (share + 1e-9).log()).sum())


def main(argv: list[str] | None = None) -> None:
    options, flags = settings.parse(TokenizerSettings, __doc__, argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    accelerator = Accelerator()
    trainer = TokenizerTrainer(options, accelerator)
    print(f"{options}\ntokenizer {parameter_count(trainer.tokenizer) / 1e6:.2f} M parameters", flush=True)
    if flags.dry_run:
        return
    training, held_out = split(open_source(options.data, options.size), options.held_out)
    if not len(training) or not len(held_out):
        raise ValueError(
            f"expected pictures on both sides of the split, got {len(training)} and {len(held_out)}: change held_out"
        )
    validation = torch.cat([to_tensor(held_out[i][None]) for i in range(min(6, len(held_out)))])
    checkpoint = Path(options.out) / "state.pt"
    trainer.prepare()
    if (saved := load_checkpoint(checkpoint)) is not None:
        trainer.load_state_dict(saved)
    elif options.start_from:
        trainer.load_weights(require_checkpoint(Path(options.start_from)))
    else:
        pictures = [to_tensor(training[i][None]) for i in range(min(24, len(training)))]
        trainer.start(torch.cat(pictures).to(accelerator.device))
    run(trainer, training, validation.to(accelerator.device), checkpoint)


def run(trainer: TokenizerTrainer, training, validation: Tensor, checkpoint: Path) -> None:
    """Steps until the number of steps or the minutes are used up; saves at intervals and at the end."""
    o, clock, saved_at = trainer.options, Clock(trainer.options.max_minutes), 0.0
    pictures_per_step = max(1, o.batch_size // o.per_picture)
    crops = RandomCrops(training, o.crop, o.per_picture, o.seed, o.steps * pictures_per_step, o.eye_share)
    remaining = torch.utils.data.Subset(crops, range(trainer.step * pictures_per_step, len(crops)))
    loader = DataLoader(
        remaining,
        batch_size=pictures_per_step,
        num_workers=o.workers,
        persistent_workers=o.workers > 0,
        generator=torch.Generator(),  # making an iterator must not move the global generator: resuming is exact
    )
    bar = tqdm(total=o.steps, initial=trainer.step, unit="step", disable=not sys.stderr.isatty())
    first = trainer.step
    for batch in loader:
        target = batch.flatten(0, 1).to(trainer.accelerator.device)
        terms = trainer.train_step(target.contiguous(memory_format=torch.channels_last))
        bar.update()
        if trainer.step % o.log_steps == 0:
            speed = (trainer.step - first) * o.batch_size / clock.seconds
            text = " ".join(f"{name} {value:.4g}" for name, value in terms.items())
            print(f"step {trainer.step} {clock.seconds:.0f} s {speed:.1f} crops/s {text}", flush=True)
        if clock.seconds - saved_at > 60 * o.save_minutes:
            saved_at = clock.seconds
            save_atomically(trainer.state_dict(), checkpoint)
            print(f"step {trainer.step} held-out PSNR {trainer.validate(validation):.2f} dB", flush=True)
        if clock.over:
            break
    save_atomically(trainer.state_dict(), checkpoint)
    print(f"done: step {trainer.step}, held-out PSNR {trainer.validate(validation):.2f} dB", flush=True)


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"error: {error}")
