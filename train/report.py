"""What a configuration amounts to, without training it: parameters, operations and the length of an epoch."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def parameter_count(module: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in module.parameters())


def forward_flops(call: Callable[[], object]) -> int:
    """Floating-point operations of one call (a multiplication and an addition are two), on the meta device too."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return counter.get_total_flops()


def dry_run(
    settings: object,
    modules: Mapping[str, nn.Module],
    forward: Callable[[], object],
    items: int | None,
    note: str = "",
) -> None:
    """Print settings, sizes and operations of a run that is not started; of several processes one does.

    Args:
        settings: the run's dataclass.
        modules: what it trains, by name; on the meta device.
        forward: one forward pass of one item.
        items: pictures in the data, or None where it is not on this machine.
        note: what else there is to say.
    """
    if os.environ.get("RANK", "0") != "0":
        return
    print(json.dumps(dataclasses.asdict(settings), indent=1))  # type: ignore[call-overload]
    for name, module in modules.items():
        print(f"{name}: {parameter_count(module) / 1e6:.2f} M parameters")
    operations = forward_flops(forward)
    print(
        f"one item: {operations / 1e9:.2f} GFLOP forward, about {3 * operations / 1e9:.2f} with its gradient"
    )
    batch = settings.batch_size  # type: ignore[attr-defined]
    if items is None:
        print(f"an epoch: the data is not here; a step takes {batch} items")
    else:
        print(f"an epoch: {items} items, {-(-items // batch)} steps of {batch}")
    if note:
        print(note)


def on_meta(make: Callable[[], nn.Module]) -> nn.Module:
    """A module without memory, whatever its size."""
    with torch.device("meta"):
        return make()


def meta_tokens(shape: tuple[int, ...]) -> Tensor:
    return torch.zeros(shape, dtype=torch.int64, device="meta")
