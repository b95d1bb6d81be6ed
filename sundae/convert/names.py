"""From the tensors of a foreign file to one of our modules: every name accounted for, in both directions."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sundae.convert.tensors import Stored

Tensors = Mapping[str, Stored]


def fill(
    module_class: type,
    config: Any,
    tensors: Tensors,
    name_of: Callable[[str], str],
    dropped: Iterable[str] = (),
) -> nn.Module:
    """One of our modules with a file's weights, in float32 and read one tensor at a time.

    Args:
        module_class: built from ``config`` without memory.
        config: fits the file's tensors.
        tensors: by the file's names.
        name_of: from our name of a tensor to the file's.
        dropped: patterns (from the start of a name) of the file's tensors that are not wanted.

    Raises:
        ValueError: naming the first tensor that is missing, unexpected, of another shape or not finite.
    """
    try:
        with torch.device("meta"):
            module = module_class(config)
    except (RuntimeError, TypeError):  # sizes beyond 64 bits
        raise ValueError(f"expected weights of a possible size, got {config}") from None
    wanted = {name: name_of(name) for name in module.state_dict()}
    check_names(set(wanted.values()), tensors, dropped)
    shapes = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    for name, source in wanted.items():
        if not fits(tensors[source].shape, shapes[name]):
            raise ValueError(
                f"expected {source} to be {shapes[name]} as the other weights say, got {tensors[source].shape}"
            )
    state = {name: read(tensors[source], source).view(shapes[name]) for name, source in wanted.items()}
    module.load_state_dict(state, strict=True, assign=True)
    return module.eval().requires_grad_(False)


def check_names(wanted: set[str], tensors: Tensors, dropped: Iterable[str]) -> None:
    """Raise ValueError, naming the first, if a wanted tensor is missing or one is neither wanted nor dropped."""
    missing = sorted(wanted - set(tensors))
    if missing:
        raise ValueError(f"expected the tensor {missing[0]} in the file, found none{more(missing)}")
    patterns = re.compile("|".join(f"(?:{pattern})" for pattern in dropped) or r"(?!)")
    unexpected = sorted(name for name in tensors if name not in wanted and not patterns.match(name))
    if unexpected:
        raise ValueError(
            f"expected only tensors of this format in the file, got {unexpected[0]}{more(unexpected)}"
        )


def more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def fits(found: tuple[int, ...], ours: tuple[int, ...]) -> bool:
    """Whether a shape is ours, or ours without the book of a codebook ``(1, K, dim)`` or the kernel of a 1x1
    convolution ``(out, in, 1, 1)``, which other projects store as tables and linear layers."""
    return found == ours or (1, *found) == ours or (*found, 1, 1) == ours


def read(tensor: Stored, name: str) -> Tensor:
    """The values in float32; raises ValueError if they are no finite floats."""
    values = tensor.read()
    if not values.is_floating_point():
        raise ValueError(f"expected floats in {name}, got {values.dtype}")
    values = values.float()
    ends = torch.stack(values.aminmax())  # NaN if there is one; unlike isfinite it takes no memory
    if not bool(ends.isfinite().all()):
        raise ValueError(f"expected finite weights, found NaN or infinity in {name}")
    return values


# -- what shapes tell ------------------------------------------------------------------------------------------


def shape_of(tensors: Tensors, name: str, dimensions: int) -> tuple[int, ...]:
    """The shape of a tensor that everything else follows from.

    Raises:
        ValueError: if there is no such tensor, or it has another number of dimensions.
    """
    if name not in tensors:
        raise ValueError(f"expected the tensor {name} in the file, found none")
    shape = tensors[name].shape
    if len(shape) != dimensions or not math.prod(shape):
        raise ValueError(f"expected {dimensions} dimensions in {name}, got {shape}")
    return shape


def count(names: Iterable[str], pattern: str) -> int:
    """How many numbers from 0 on, without a gap, stand in the group of ``pattern`` at the start of a name."""
    expression = re.compile(pattern)
    found = {int(match[1]) for match in map(expression.match, names) if match and len(match[1]) < 6}
    return next(i for i in range(len(found) + 1) if i not in found)


def check_pictures(shape: tuple[int, ...], name: str) -> None:
    """Raise ValueError unless the first convolution ``(out, in, 3, 3)`` takes RGB pictures."""
    if shape[1] != 3:
        raise ValueError(f"expected a tokenizer of pictures with 3 channels, got {name} for {shape[1]}")


def strip(tensors: Tensors, prefix: str) -> dict[str, Stored]:
    """The tensors under a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
