"""Train the SUNDAE prior: ``python -m train.train_prior --config train/configs/prior-illustrated.toml``.

One process, or several through ``accelerate launch --num_processes N -m train.train_prior ...``.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from sundae.checkpoint import load_prior, load_tokenizer, tensors_hash, to_json
from sundae.hourglass import Hourglass, HourglassConfig
from sundae.objective import corrupt, unrolled_loss
from train import settings
from train.optim import Muon, split_parameters
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
from train.tokens import HoledTokens, TokenShards


@dataclass(frozen=True)
class PriorSettings:
    """Settings of a prior run."""

    model: HourglassConfig = field(default_factory=HourglassConfig)
    tokens: str = "runs/tokens"  # folder of token shards
    validation: str = "runs/tokens-validation"  # shards never trained on
    tokenizer: str = "runs/tokenizer/export"  # its codebooks begin the embeddings
    out: str = "runs/prior"  # state.pt (resume) and the log go here
    start_from: str = ""  # state.pt of another run, or a bundle's folder, whose weights begin this one
    batch_size: int = 16  # grids a step, over all processes
    steps: int = 1_000_000
    max_minutes: float = 1e9
    learning_rate: float = 2e-3
    warmup: int = 100  # steps
    decay_from: int = 1_000_000_000  # step from which the rate falls linearly to 5 % at the last step
    weight_decay: float = 0.02
    clip: float = 1.0  # gradient norm
    unroll_steps: int = 2  # T
    unroll_from: int = 1500  # step at which the chain is unrolled; one step before that
    unroll_every: int = 2  # unroll at every n-th step
    full_noise: float = 0.25  # share of samples whose whole hole is noise; the others have r ~ U(0, 1)
    ema_decay: float = 0.998
    seed: int = 0
    workers: int = 0
    threads: int = 0  # torch threads; 0 leaves the default
    save_minutes: float = 4.0
    log_steps: int = 25


class UnrolledObjective(nn.Module):
    """The denoiser and its loss as one module, which is the form that distributed training wraps."""

    def __init__(self, denoiser: Hourglass):
        super().__init__()
        self.denoiser = denoiser

    def forward(self, tokens: Tensor, hole: Tensor, rate: Tensor, unroll_steps: int):
        result = unrolled_loss(self.denoiser, tokens, hole, rate, unroll_steps)
        return result.loss, result.by_code, result.accuracy


class PriorTrainer:
    """State and one step of a prior run."""

    def __init__(self, options: PriorSettings, accelerator: Accelerator):
        self.options, self.accelerator, self.step = options, accelerator, 0
        torch.manual_seed(options.seed)
        self.denoiser = Hourglass(options.model)

    def start(self, shards: TokenShards) -> None:
        """Embeddings from the tokenizer's codebooks (which must be those of the tokens), then the optimisers."""
        tokenizer = load_tokenizer(Path(self.options.tokenizer))
        digest = tensors_hash(tokenizer.state_dict())
        if digest != shards.index["tokenizer"]:
            raise ValueError(
                f"expected tokens of tokenizer {digest[:12]}, got tokens of {shards.index['tokenizer'][:12]}: encode them again"
            )
        self.denoiser.start_from_codebooks(tokenizer.quantizer.codebooks, shards.frequencies())

    def prepare(self) -> None:
        o = self.options
        self.denoiser.to(self.accelerator.device)
        self.average = WeightAverage(self.denoiser, o.ema_decay)
        self.objective = self.accelerator.prepare(UnrolledObjective(self.denoiser))
        matrices, rest = split_parameters(self.denoiser)
        self.optimizers = [
            Muon(matrices, o.learning_rate, weight_decay=o.weight_decay),
            torch.optim.AdamW(rest, o.learning_rate, betas=(0.9, 0.95), weight_decay=0.0),
        ]
        torch.manual_seed(o.seed + 1000 * self.accelerator.process_index)

    def train_step(self, tokens: Tensor, hole: Tensor, rate: Tensor) -> dict[str, float]:
        """One update; returns loss, cross-entropy by code (nats) and accuracy."""
        o = self.options
        scale = self.learning_rate_scale()
        unroll = o.unroll_steps if self.step >= o.unroll_from and self.step % o.unroll_every == 0 else 1
        loss, by_code, accuracy = self.objective(tokens, hole, rate, unroll)
        self.accelerator.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.denoiser.parameters(), o.clip)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = o.learning_rate * scale
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.average.update(self.denoiser)
        return {
            "loss": float(loss.detach()),
            "accuracy": float(accuracy),
            **{f"code{j + 1}": float(v) for j, v in enumerate(by_code)},
        }

    def learning_rate_scale(self) -> float:
        o = self.options
        scale = min(1.0, (self.step + 1) / o.warmup)
        if self.step > o.decay_from:
            scale *= max(0.05, 1 - 0.95 * (self.step - o.decay_from) / max(1, o.steps - o.decay_from))
        return scale

    def state_dict(self) -> dict:
        return {
            "denoiser": self.denoiser.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "random": random_state(),
            "model": to_json(self.options.model),
        }

    def load_state_dict(self, state: dict) -> None:
        self.denoiser.load_state_dict(state["denoiser"])
        self.average.load_state_dict(state["average"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step = state["step"]
        restore_random_state(state["random"])

    @torch.no_grad()
    def validate(self, shards: TokenShards, pictures: int = 48) -> dict[str, list[float]]:
        """Cross-entropy (nats) of the averaged weights on held-out grids: in a centre hole of pure noise, by
        code; and the accuracy of the first code there by corruption rate 0.1, 0.5 and 0.9."""
        model = Hourglass(self.options.model)
        model.load_state_dict(self.average.state)
        model.to(self.accelerator.device).eval()
        tokens = torch.stack(
            [torch.from_numpy(shards.grid(i, 0)) for i in range(min(pictures, len(shards)))]
        ).to(self.accelerator.device)
        _, h, w, _ = tokens.shape
        hole = torch.zeros(tokens.shape[:3], dtype=torch.bool, device=tokens.device)
        hole[:, h // 2 - h // 5 : h // 2 + h // 5, w // 2 - w // 5 : w // 2 + w // 5] = True
        with torch.random.fork_rng():
            torch.manual_seed(1)
            full = unrolled_loss(model, tokens, hole, torch.ones(len(tokens), device=tokens.device), 1)
            accuracies = [first_code_accuracy(model, tokens, hole, rate) for rate in (0.1, 0.5, 0.9)]
        return {"hole": [round(float(v), 3) for v in full.by_code], "accuracy": accuracies}


def first_code_accuracy(model: Hourglass, tokens: Tensor, hole: Tensor, rate: float) -> float:
    state = corrupt(tokens, hole, torch.full((len(tokens),), rate, device=tokens.device), model.codebook_size)
    logits = model.logits(model.hidden(state, ~hole)[hole], state[hole], state[hole][:, :0])
    return round(float((logits.argmax(-1) == tokens[hole][:, 0]).float().mean()), 3)


def main(argv: list[str] | None = None) -> None:
    options, flags = settings.parse(PriorSettings, __doc__, argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    accelerator = Accelerator()
    trainer = PriorTrainer(options, accelerator)
    accelerator.print(
        f"{options}\nprior {parameter_count(trainer.denoiser) / 1e6:.2f} M parameters", flush=True
    )
    if flags.dry_run:
        return
    shards, validation = TokenShards(Path(options.tokens)), TokenShards(Path(options.validation))
    trainer.start(shards)
    checkpoint = Path(options.out) / "state.pt"
    saved = load_checkpoint(checkpoint)
    if saved is None and options.start_from:
        trainer.denoiser.load_state_dict(first_weights(Path(options.start_from)))
    trainer.prepare()
    if saved is not None:
        trainer.load_state_dict(saved)
    run(trainer, shards, validation, checkpoint)


def first_weights(path: Path) -> dict[str, Tensor]:
    """Averaged weights of a state.pt, or those of a bundle; ValueError if there is neither."""
    if path.is_dir():
        return load_prior(path).state_dict()
    return require_checkpoint(path)["average"]["state"]


def run(trainer: PriorTrainer, shards: TokenShards, validation: TokenShards, checkpoint: Path) -> None:
    """Steps until the number of steps or the minutes are used up; saves at intervals and at the end."""
    o, accelerator = trainer.options, trainer.accelerator
    clock, saved_at, first = Clock(o.max_minutes), 0.0, trainer.step
    items = HoledTokens(shards, o.seed, o.steps * o.batch_size, o.full_noise)
    remaining = Subset(items, range(trainer.step * o.batch_size, len(items)))
    per_process = o.batch_size // accelerator.num_processes
    loader = DataLoader(
        remaining, per_process, num_workers=o.workers, drop_last=True, generator=torch.Generator()
    )
    loader = accelerator.prepare(loader)  # its own generator: making an iterator must not move the global one
    accelerator.print(f"{len(shards)} pictures, from step {first}", flush=True)
    bar = tqdm(
        total=o.steps,
        initial=first,
        unit="step",
        disable=not (sys.stderr.isatty() and accelerator.is_main_process),
    )
    smooth: dict[str, float] = {}
    for tokens, hole, rate in loader:
        terms = trainer.train_step(tokens, hole, rate)
        smooth = {name: 0.97 * smooth.get(name, value) + 0.03 * value for name, value in terms.items()}
        bar.update()
        if trainer.step % o.log_steps == 0:
            speed = (trainer.step - first) * o.batch_size / clock.seconds
            text = " ".join(f"{name} {value:.3f}" for name, value in smooth.items())
            accelerator.print(
                f"step {trainer.step} {clock.seconds:.0f} s {speed:.2f} grids/s {text}", flush=True
            )
        if accelerator.is_main_process and clock.seconds - saved_at > 60 * o.save_minutes:
            saved_at = clock.seconds
            save_atomically(trainer.state_dict(), checkpoint)
            print(f"step {trainer.step} validation {trainer.validate(validation)}", flush=True)
        if clock.over:
            break
    if accelerator.is_main_process:
        save_atomically(trainer.state_dict(), checkpoint)
        print(f"done: step {trainer.step} validation {trainer.validate(validation)}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"error: {error}")
