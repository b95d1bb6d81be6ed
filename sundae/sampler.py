"""The sampler: hidden tokens are rewritten from noise, all at once, step by step, each step yielded.

Annealed temperature, partial updates and per-sample stopping as in McKinney & Willcocks 2022, section 3.
Everything random comes from one generator per sample, so a sample is the same alone and in a batch.
"""

from __future__ import annotations

import contextlib
import math
import numbers
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sundae.objective import Denoiser, draw_cells

MAX_STEPS = 1000
MIN_TEMPERATURE = 1e-6  # below, logits leave the range of float32 and the likeliest code is all there is
MIN_STRIDE = 0.125  # of a window: below, the features kept of a cell are more than 64 times those of a window
MAX_CELLS = 4096  # cells whose codes are drawn together: bounds the memory for their probabilities
STOP_RISK = 0.02  # chance of an unvisited cell that a frozen sample may leave
MAX_SEED = 2**63 - 1


@dataclass(frozen=True)
class SamplerConfig:
    """Settings of one run. Proportions, ``renoise`` and ``early_stop`` are SUNDAE's; priors that write each hidden
    cell once have no use for them. ``stride``, ``falloff`` and ``random_windows`` concern grids larger than the prior's own (see
    :class:`sundae.canvas.Canvas`), but for the autoregressive one, which has a sliding window.

    Raises:
        ValueError: naming the setting, what was expected and what came.
    """

    steps: int = 24  # 1 to 1000
    temperature_start: float = 0.8  # [1e-6, 10]; logits are divided by it, linear in the step
    temperature_end: float = 0.2
    proportion_start: float = 1.0  # (0, 1]; share of hidden cells rewritten in a step, linear in the step
    proportion_end: float = 1.0
    strength: float = 1.0  # (0, 1]; share of hidden cells that start as noise; below 1 gives variations
    renoise: float = (
        0.8  # [0, 1]; share of the steps in which cells go back to their noise; 0 is plain SUNDAE
    )
    early_stop: bool = True  # freeze a sample that has settled
    top_k: int = 0  # draw from the so many most likely codes; 0 for all of them
    top_p: float = 1.0  # (0, 1]; draw from the fewest likely codes that together reach this
    stride: float = 0.75  # [0.125, 1]; on canvases: from window to window, as a share of the window's side
    falloff: float = 2.0  # [0, 8]; on canvases: how a window's weight falls to its borders; 0 for not at all
    random_windows: bool = False  # on canvases: windows that lie somewhere else in every step

    def __post_init__(self) -> None:
        steps = whole(self.steps)
        if steps is None or not 1 <= steps <= MAX_STEPS:
            raise ValueError(f"expected steps to be a whole number from 1 to {MAX_STEPS}, got {self.steps!r}")
        object.__setattr__(self, "steps", steps)
        for name in ("temperature_start", "temperature_end"):
            self._check(name, MIN_TEMPERATURE, 10, low_too=True)
        for name in ("proportion_start", "proportion_end", "strength"):
            self._check(name, 0, 1)
        self._check("renoise", 0, 1, low_too=True)
        for name in ("early_stop", "random_windows"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"expected {name} to be True or False, got {getattr(self, name)!r}")
        top_k = whole(self.top_k)
        if top_k is None or top_k < 0:
            raise ValueError(f"expected top_k to be a whole number of at least 0, got {self.top_k!r}")
        object.__setattr__(self, "top_k", top_k)
        self._check("top_p", 0, 1)
        self._check("stride", MIN_STRIDE, 1, low_too=True)
        self._check("falloff", 0, 8, low_too=True)

    def _check(self, name: str, low: float, high: float, low_too: bool = False) -> None:
        """Make the setting a plain float, which JSON knows and numpy's kinds are not."""
        value, number = getattr(self, name), math.nan
        if isinstance(value, numbers.Real) and not isinstance(value, bool):
            with contextlib.suppress(OverflowError):
                number = float(value)
        if not (low < number <= high or (low_too and number == low)):  # NaN fails this too
            wanted = f"from {low} to {high}" if low_too else f"above {low} and at most {high}"
            raise ValueError(f"expected {name} {wanted}, got {value!r}")
        object.__setattr__(self, name, number)

    def schedule(self, index: int) -> tuple[float, float]:
        """Temperature and proportion of step ``index`` in ``1..steps``."""
        t = (index - 1) / max(1, self.steps - 1)
        temperature = self.temperature_start + t * (self.temperature_end - self.temperature_start)
        proportion = self.proportion_start + t * (self.proportion_end - self.proportion_start)
        return temperature, proportion

    def noise_rate(self, index: int) -> float:
        """Share of the hidden cells that are noise after step ``index``, falling linearly to 0.

        Re-noising with the same initial noise (Rampas et al. 2022, Paella): the denoiser then sees what it was
        trained on, its own guesses among uniform noise, and not only guesses that agree by habit.
        """
        if index == 0 or not self.renoise:
            return self.strength if index == 0 else 0.0
        return self.strength * max(0.0, 1 - index / (self.renoise * self.steps))


@dataclass(frozen=True)
class SampleStep:
    """One state of the chain; fresh tensors, safe to keep."""

    index: int  # 0 = the noised start, then 1..total
    total: int  # steps asked for; fewer come when every sample settles
    tokens: Tensor  # int64 (B, h, w, q)
    changed: Tensor  # bool (B, h, w): cells that differ from the state before
    converged: Tensor  # bool (B,): samples that have settled and will not change any more
    temperature: float
    proportion: float
    uncertainty: Tensor | None = (
        None  # float32 (B, h, w) bits per token, if asked for; see priors/contract.py
    )

    @property
    def last(self) -> bool:
        return self.index == self.total or bool(self.converged.all())


def whole(value: Any) -> int | None:
    """A whole number of any kind, numpy's included, as an int; None for anything else, True and False too."""
    if isinstance(value, bool):
        return None
    with contextlib.suppress(TypeError):
        return operator.index(value)
    return None


def check_seeds(seeds: int | Iterable[int]) -> list[int]:
    """The seeds as a list of ints; a single one may come without a list around it.

    Raises:
        ValueError: unless there is at least one and each is a whole number from 0 to 2^63 - 1.
    """
    several: Any = seeds if whole(seeds) is None else [seeds]
    try:
        several = list(several)
    except TypeError:
        raise ValueError(f"expected seeds as whole numbers, got {seeds!r}") from None
    checked = []
    for seed in several:
        number = whole(seed)
        if number is None or not 0 <= number <= MAX_SEED:
            raise ValueError(f"expected each seed to be a whole number from 0 to 2^63 - 1, got {seed!r}")
        checked.append(number)
    if not checked:
        raise ValueError("expected at least one seed, got none")
    return checked


def check_labels(
    labels: Sequence[int] | Tensor | None, samples: int, device: torch.device
) -> tuple[Tensor, ...]:
    """The labels as what a denoiser takes beside tokens: nothing, or an int64 tensor with one for each sample;
    ValueError unless there are so many."""
    if labels is None:
        return ()
    if len(labels) != samples:
        raise ValueError(f"expected one label per seed, got {len(labels)} for {samples}")
    return (torch.as_tensor(labels, device=device),)


def check_top_k(config: SamplerConfig, codebook_size: int) -> None:
    """Raise ValueError if ``top_k`` asks for more codes than there are."""
    if config.top_k > codebook_size:
        raise ValueError(
            f"expected top_k of at most {codebook_size}, the size of the codebook, got {config.top_k}"
        )


def check_batch_size(batch_size: int) -> None:
    """Raise ValueError unless it is a whole number of at least 1."""
    if (whole(batch_size) or 0) < 1:
        raise ValueError(f"expected batch_size to be a whole number of at least 1, got {batch_size!r}")


@torch.inference_mode()
def sample(
    denoiser: Denoiser,
    tokens: Tensor,
    token_mask: Tensor,
    config: SamplerConfig,
    seeds: int | Sequence[int],
    batch_size: int = 1,
    labels: Sequence[int] | Tensor | None = None,
    uncertainty: bool = False,
) -> Iterator[SampleStep]:
    """Rewrite the hidden tokens; yields the noised start and then every update.

    Args:
        denoiser: any network of the :class:`~sundae.objective.Denoiser` form.
        tokens: int64 ``(1, h, w, q)`` shared by all samples, or ``(B, h, w, q)``.
        token_mask: bool, ``(1, h, w)`` or ``(B, h, w)``, True = rewrite. Other tokens never change.
        config: settings of the run.
        seeds: one per sample, B of them.
        batch_size: samples that pass through the network together. At 1 a sample is the same bit for bit
            alone and beside others; more is faster on a GPU, where sums may round differently.
        labels: one class per sample, for a denoiser with classes; by default none is asked for.
        uncertainty: tell of each step how unsure the denoiser was; see :meth:`sundae.priors.contract.Prior.sample`.

    Raises:
        ValueError: if shapes disagree, a mask is empty, a seed, label or batch size is bad, or ``top_k`` is more
            than there are codes.
    """
    seeds = check_seeds(seeds)
    check_top_k(config, denoiser.codebook_size)
    check_batch_size(batch_size)
    conditions = check_labels(labels, len(seeds), tokens.device)
    state, mask = expand_batch(tokens, token_mask, len(seeds))
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    known = ~mask
    noises = [Noise(tokens.shape[1:], denoiser.codebook_size, generator) for generator in generators]
    start = torch.stack(
        [n.apply(s, m, config.noise_rate(0)) for n, s, m in zip(noises, state, mask, strict=True)]
    )
    converged = torch.zeros(len(seeds), dtype=torch.bool)
    unsure = torch.full(mask.shape, math.nan, device=tokens.device) if uncertainty else None
    missed = mask.flatten(1).sum(1).double().cpu()  # expected cells not visited since the sample last changed
    noised = (start.clone(), (start != state).any(-1), converged.clone())
    yield SampleStep(0, config.steps, *noised, config.temperature_start, 1.0, copy_of(unsure))
    state = start
    for index in range(1, config.steps + 1):
        (temperature, proportion), noise_rate = config.schedule(index), config.noise_rate(index)
        following = state.clone()
        active = [b for b in range(len(seeds)) if not converged[b]]
        for some in (active[i : i + batch_size] for i in range(0, len(active), batch_size)):
            hidden = denoiser.hidden(state[some], known[some], *(c[some] for c in conditions))
            for b, features in zip(some, hidden, strict=True):
                stays = mask[b] & ~noises[b].chosen(mask[b], noise_rate)
                bits = None if unsure is None else unsure[b]
                rewritten = update(denoiser, features, state[b], stays, config, index, generators[b], bits)
                following[b] = noises[b].apply(rewritten, mask[b], noise_rate)
        changed = (following != state).any(-1)
        moved = changed.flatten(1).any(1).cpu() | (noise_rate > 0)
        visits = torch.tensor(1.0 - proportion, dtype=torch.float64)
        missed = torch.where(moved, mask.flatten(1).sum(1).double().cpu(), missed * visits)
        if config.early_stop:
            converged = converged | (missed < STOP_RISK)
        state = following
        reached = (state.clone(), changed, converged.clone())
        yield SampleStep(index, config.steps, *reached, temperature, proportion, copy_of(unsure))
        if bool(converged.all()):
            return


def copy_of(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.clone()


def last_change(step: SampleStep, before: Tensor | None = None) -> Tensor:
    """In which step each cell last changed, up to this one: int64 ``(B, h, w)``, 0 for none since the noised start.

    For maps of a run, which gives one after the other::

        when = None
        for frame in prepared.run():
            when = sundae.last_change(frame.step, when)

    Args:
        step: of a run whose every step is seen.
        before: the answer for the step before; None for the first.
    """
    if before is None:
        before = torch.zeros(step.changed.shape, dtype=torch.int64, device=step.changed.device)
    return torch.where(step.changed, step.index, before)


def expand_batch(tokens: Tensor, token_mask: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """Tokens and mask with a batch of ``samples``; raises ValueError as :func:`sample` says."""
    if tokens.ndim != 4 or token_mask.shape[1:] != tokens.shape[1:3] or token_mask.dtype != torch.bool:
        raise ValueError(
            "expected tokens (B, h, w, q) and a bool token_mask (B, h, w), "
            f"got {tuple(tokens.shape)} and {token_mask.dtype} {tuple(token_mask.shape)}"
        )
    for name, tensor in (("tokens", tokens), ("token_mask", token_mask)):
        if tensor.shape[0] not in (1, samples):
            raise ValueError(
                f"expected {name} with a batch of 1 or {samples} (one per seed), got {tensor.shape[0]}"
            )
    if not bool(token_mask.flatten(1).any(1).all()):
        raise ValueError("expected a mask with at least one hidden token, got an empty one")
    return tokens.expand(samples, -1, -1, -1).clone(), token_mask.expand(samples, -1, -1)


class Noise:
    """Uniform codes for every cell of one grid, and the order in which cells take them; drawn once a sample."""

    def __init__(self, shape: torch.Size, codebook_size: int, generator: torch.Generator):
        self.codes = torch.randint(codebook_size, shape, generator=generator)  # (h, w, q)
        self.order = torch.rand(shape[:2], generator=generator)  # (h, w), in [0, 1)

    def chosen(self, mask: Tensor, rate: float) -> Tensor:
        """The share ``rate`` of the hidden cells that are noise: bool ``(h, w)``."""
        return mask & (self.order < rate).to(mask.device)

    def apply(self, tokens: Tensor, mask: Tensor, rate: float) -> Tensor:
        """Put a share ``rate`` of the hidden cells of ``tokens (h, w, q)`` (back) to their noise."""
        return torch.where(self.chosen(mask, rate)[..., None], self.codes.to(tokens.device), tokens)


def update(
    denoiser: Denoiser,
    hidden: Tensor,
    tokens: Tensor,
    mask: Tensor,
    config: SamplerConfig,
    index: int,
    generator: torch.Generator,
    unsure: Tensor | None = None,
) -> Tensor:
    """Step ``index`` of one grid: draw every code of the chosen cells of ``mask (h, w)`` from ``softmax(logits / T)``.

    The mask need not hold cells that go back to their noise. The numbers are drawn for the whole grid, so what
    one cell gets does not depend on the mask's shape. How unsure the denoiser is of the chosen cells is written to
    ``unsure``, float32 ``(h, w)``.
    """
    temperature, proportion = config.schedule(index)
    chance = torch.rand(mask.shape, generator=generator).to(mask.device)
    uniforms = torch.rand(tokens.shape, generator=generator, dtype=torch.float64).to(tokens.device)
    chosen = mask & (chance < proportion)
    if not bool(chosen.any()):
        return tokens
    following = tokens.clone()
    bits = None if unsure is None else unsure[chosen]
    following[chosen] = draw_in_parts(
        denoiser, hidden[chosen], tokens[chosen], uniforms[chosen], temperature, config, bits
    )
    if unsure is not None and bits is not None:
        unsure[chosen] = bits
    return following


def draw_in_parts(
    denoiser: Denoiser,
    hidden: Tensor,
    current: Tensor,
    uniforms: Tensor,
    temperature: float,
    config: SamplerConfig,
    unsure: Tensor | None = None,
) -> Tensor:
    """A sample of N cells' codes, int64 ``(N, q)``, of so many cells at a time that memory stays bounded; see
    :func:`sundae.objective.draw_cells`."""
    pieces = [tensor.split(MAX_CELLS) for tensor in (hidden, current, uniforms)]
    bits = [None] * len(pieces[0]) if unsure is None else unsure.split(MAX_CELLS)
    return torch.cat(
        [
            draw_cells(denoiser, h, c, u, temperature, config.top_k, config.top_p, some)
            for h, c, u, some in zip(*pieces, bits, strict=True)
        ]
    )
