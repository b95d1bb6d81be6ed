"""Optimisers and averages: Muon for the matrices of a transformer, and averages of the weights.

torch ships Muon, but it always orthogonalises in bfloat16, which is hundreds of times slower on CPUs without
native support. Method: Jordan et al. 2024; scale of the update: Liu et al. 2025, section 2.2.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Muon(torch.optim.Optimizer):
    """Momentum whose update is replaced by the nearest orthogonal matrix, times 0.2 sqrt(longer side).

    That makes the update's root mean square about 0.2, like AdamW's, so both take the same learning rate.
    Parameters are 2-D; a stack of ``n`` square matrices (query, key, value) counts as n matrices. They are
    orthogonalised in ``dtype``: bfloat16 will do, as in the method's own code, where products in it are quick.
    """

    def __init__(
        self,
        parameters,
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One update; ``closure`` is torch's form and not used."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(parameter.shape, []).append(parameter)
            for parameters in by_shape.values():
                self.update(parameters, group)

    def update(self, parameters: list[Tensor], group: dict) -> None:
        """One step of all parameters of one shape, stacked so that the products are batched."""
        directions = []
        for parameter in parameters:
            buffer = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
            buffer.lerp_(parameter.grad, 1 - group["momentum"])
            directions.append(parameter.grad.lerp(buffer, group["momentum"]))  # Nesterov
        stacked = torch.stack(directions)
        n, rows, columns = stacked.shape
        stack = rows // columns if rows == 3 * columns else 1
        orthogonal = orthogonalize(stacked.view(n * stack, rows // stack, columns), dtype=self.dtype)
        scale = 0.2 * max(rows // stack, columns) ** 0.5
        for parameter, change in zip(parameters, orthogonal.view(n, rows, columns), strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(change, alpha=-group["lr"] * scale)


def orthogonalize(matrices: Tensor, iterations: int = 5, dtype: torch.dtype = torch.float32) -> Tensor:
    """Singular values of ``(n, rows, columns)`` pushed to about 1 by Newton-Schulz of the fifth order, with products
    in ``dtype``; returns that of the matrices."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = (x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)).to(dtype)
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(matrices.dtype)


def split_parameters(model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Matrices inside the trunk (for Muon), and the rest: tables, classifiers, gains, biases (for AdamW)."""
    matrices, rest = [], []
    for name, parameter in model.named_parameters():
        hidden = parameter.ndim == 2 and any(
            part in name for part in (".attention.", ".mlp_", "merge.", "split.", "mirror_")
        )
        (matrices if hidden else rest).append(parameter)
    return matrices, rest


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
