"""ZeroGPU, where a Space has it: a GPU is lent for one redraw at a time, and not held between them.

Whatever the ``spaces`` package is given to run there runs in a process forked from the server's, and everything
that goes in or comes out is pickled. So only the sampling and decoding are: the picture is prepared, its errors are
told and the result is kept in the server's own process, whose models stay on the CPU. Elsewhere none of this is used,
and the package is not imported.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import os
import pickle
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor

from page.shelf import Shelf
from sundae.bundles import Model
from sundae.pipeline import Frame, Prepared
from sundae.sampler import SamplerConfig, SampleStep

DEVICE = "cuda"  # what is lent
START = 10.0  # s, for a new process to find the GPU and to copy the model to it
STEP = 0.1  # s per step and candidate, decoding included; both are generous: what runs longer is ended


class Runner(Protocol):
    """Runs a prepared redraw, as :meth:`Prepared.run` does."""

    def __call__(
        self,
        prepared: Prepared,
        config: SamplerConfig,
        seeds: Sequence[int],
        start: Tensor | None = None,
        uncertainty: bool = False,
    ) -> Iterator[Frame]: ...


def on_zero_gpu() -> bool:
    """Whether this is a Space with ZeroGPU: the platform says so in SPACES_ZERO_GPU."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


if on_zero_gpu():
    import spaces  # noqa: F401  # pyright: ignore  # it changes torch: not while a model is being loaded


def runner(shelf: Shelf) -> Runner:
    """What runs a prepared redraw: here, or on ZeroGPU on a GPU that is lent."""
    return LentGpu(shelf).run if on_zero_gpu() else run_here


def run_here(
    prepared: Prepared,
    config: SamplerConfig,
    seeds: Sequence[int],
    start: Tensor | None = None,
    uncertainty: bool = False,
) -> Iterator[Frame]:
    """As :meth:`Prepared.run`."""
    return prepared.run(config, seeds, start=start, uncertainty=uncertainty)


class LentGpu:
    """Runs redraws on ZeroGPU. Made before the page is launched, when the platform looks for what needs a GPU; the
    models must have been loaded by then, because the forked process has only those."""

    def __init__(self, shelf: Shelf) -> None:
        import spaces  # pyright: ignore[reportMissingImports]  # every Space has it; nothing else needs it

        self._shelf = shelf
        self._lent = spaces.GPU(self._work, duration=seconds)
        self._twin = cache(self._copied)  # filled in the forked process, as long as that is kept

    def run(
        self,
        prepared: Prepared,
        config: SamplerConfig,
        seeds: Sequence[int],
        start: Tensor | None = None,
        uncertainty: bool = False,
    ) -> Iterator[Frame]:
        """As :meth:`Prepared.run`, with every frame decoded already."""
        place = self._shelf.place(prepared.model)
        parts = {each.name: getattr(prepared, each.name) for each in dataclasses.fields(prepared)}
        del parts["model"]
        with contextlib.closing(
            self._lent(place, pickle.dumps((parts, start, uncertainty)), config, tuple(seeds))
        ) as answers:
            for answer in answers:
                step, patches = pickle.loads(answer)
                frame = Frame(step, prepared)
                vars(frame)["patches"] = patches  # where the cached property keeps them
                yield frame

    def _work(
        self, place: int, parts: bytes, config: SamplerConfig, seeds: tuple[int, ...]
    ) -> Iterator[bytes]:
        """In the forked process, with a GPU. Bytes in and out: multiprocessing's own pickling would pass tensors as
        handles of shared memory, of which a container has little."""
        torch.set_num_threads(1)  # OpenMP's threads did not come along, and it would wait for them
        fields, start, uncertainty = pickle.loads(parts)
        model = self._twin(place)
        prepared = Prepared(model=model, **fields)
        start = None if start is None else start.to(model.device)
        for frame in prepared.run(config, seeds, start=start, uncertainty=uncertainty):
            yield pickle.dumps((on_cpu(frame.step), frame.patches))

    def _copied(self, place: int) -> Model:
        """The model in this place, copied to the GPU."""
        model, device = self._shelf[place], torch.device(DEVICE)
        assert model.prior is not None, "Inpainter refuses a tokenizer alone"
        tokenizer, prior = (copy.deepcopy(part).to(device) for part in (model.tokenizer, model.prior))
        return dataclasses.replace(model, tokenizer=tokenizer, prior=prior, device=device)


def seconds(_place: int, _parts: bytes, config: SamplerConfig, seeds: Sequence[int]) -> float:
    """For how long a redraw asks for the GPU; its arguments are those of the work."""
    return START + STEP * config.steps * len(seeds)


def on_cpu(step: SampleStep) -> SampleStep:
    """The step with its tensors on the CPU."""
    tensors: dict[str, Any] = {name: getattr(step, name).cpu() for name in ("tokens", "changed", "converged")}
    unsure = None if step.uncertainty is None else step.uncertainty.cpu()
    return dataclasses.replace(step, **tensors, uncertainty=unsure)
