"""What every trainer shares: time budget, averages of the weights, atomic checkpoints, progress lines."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of a module's floating-point state, with a warm-up of the decay."""

    def __init__(self, module: nn.Module, decay: float):
        self.decay, self.updates = decay, 0
        self.state = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 20))
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                self.state[name].lerp_(value, 1 - decay)
            else:
                self.state[name].copy_(value)

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates, "state": self.state}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.updates = saved["updates"]
        for name, value in self.state.items():
            value.copy_(saved["state"][name])  # in place: the average stays on its device


class Clock:
    """Wall-clock budget and speed of a run."""

    def __init__(self, max_minutes: float | None):
        self.began, self.max_minutes = time.monotonic(), max_minutes

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    @property
    def over(self) -> bool:
        return self.max_minutes is not None and self.seconds > 60 * self.max_minutes


def save_atomically(state: dict[str, Any], path: Path) -> None:
    """Write ``state`` beside ``path``, flush it to the disk, then rename: a reader or a crash sees the old
    file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".partial")
    with open(temporary, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The state saved at ``path``, or None if there is none."""
    return torch.load(path, map_location="cpu", weights_only=True) if path.exists() else None


def require_checkpoint(path: Path) -> dict[str, Any]:
    """The state saved at ``path``; ValueError if there is none."""
    if (state := load_checkpoint(path)) is None:
        raise ValueError(f"expected a training state at {path}, found none")
    return state


def random_state() -> dict[str, Tensor]:
    """State of torch's generators, for an exact resume."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: dict[str, Tensor]) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def parameter_count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
