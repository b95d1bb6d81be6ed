"""Run a trainer with a stopwatch.

    python -m benchmarks.watch FILE SECONDS train_prior --config ...

The trainer is the real one; only its bookkeeping is listened to. After SECONDS of steps (0: never) it is left
where it is, without a last state and validation. FILE then holds what happened, as JSON: ``marks``, one triple
``[items or steps done, seconds, of which spent waiting for data]`` after each, peak memory, device, threads.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: look for packages in the repository, not in this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

WARM_UP = 3  # marks that do not count: workers start, caches fill, a first batch was loaded beforehand

Mark = tuple[int, float, float]


class Enough(Exception):
    """As many seconds as were asked for have been measured."""


class Stopwatch:
    """Marks of a run, and when to end it."""

    def __init__(self, seconds: float):
        self.seconds, self.marks = seconds, []

    def mark(self, done: int, seconds: float, loading: float) -> None:
        """Note where the run is; raises Enough once the time after the warm-up is used up."""
        self.marks.append((done, seconds, loading))
        warm = self.marks[WARM_UP:]
        if self.seconds and len(warm) > 1 and warm[-1][1] - warm[0][1] >= self.seconds:
            raise Enough


def watch_steps(watch: Stopwatch) -> None:
    """Mark every update of a trainer, by what :class:`train.run.Progress` counts."""
    from train import run

    class Watched(run.Progress):
        def update(self, step: int, numbers: dict[str, float], loading: float) -> None:
            super().update(step, numbers, loading)
            watch.mark(step, self.clock.seconds, self.loading)

    run.Progress = Watched


def watch_pictures(watch: Stopwatch) -> None:
    """Mark every picture that ``train.encode_dataset`` has encoded; waiting is what its loader takes."""
    from train import encode_dataset

    began, waited = time.monotonic(), 0.0

    class Watched(encode_dataset.DataLoader):
        def __iter__(self) -> Iterator[Any]:
            nonlocal waited
            asked = time.monotonic()
            for item in super().__iter__():
                waited += time.monotonic() - asked
                yield item  # comes back when the item is encoded
                asked = time.monotonic()
                watch.mark(len(watch.marks) + 1, asked - began, waited)

    encode_dataset.DataLoader = Watched


def summary(marks: Sequence[Mark]) -> dict[str, float]:
    """Speed and loading share between the end of the warm-up and the last mark.

    Raises:
        ValueError: if the run was too short.
    """
    if len(marks) < WARM_UP + 2:
        raise ValueError(f"expected at least {WARM_UP + 2} steps to measure, got {len(marks)}")
    (first, began, before), (last, ended, after) = marks[WARM_UP], marks[-1]
    seconds = ended - began
    return {
        "measured": last - first,
        "seconds": seconds,
        "per_s": (last - first) / seconds,
        "loading_share": (after - before) / seconds,
    }


def footprint() -> dict[str, Any]:
    """Peak memory, device and threads of this process."""
    import resource

    import torch
    from accelerate import PartialState

    device = PartialState().device
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    on_gpu = torch.cuda.max_memory_allocated(device) / 1024**2 if device.type == "cuda" else None
    return {
        "device": str(device),
        "threads": torch.get_num_threads(),
        "peak_memory_mb": resident / (1024**2 if sys.platform == "darwin" else 1024),
        "peak_gpu_memory_mb": on_gpu,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    file, seconds, stage, *words = sys.argv[1:] if arguments is None else arguments
    watch, trainer = Stopwatch(float(seconds)), importlib.import_module(f"train.{stage}")
    (watch_pictures if stage == "encode_dataset" else watch_steps)(watch)
    with contextlib.suppress(Enough):
        trainer.main(words)
    if os.environ.get("RANK", "0") == "0":
        Path(file).write_text(json.dumps({"marks": watch.marks, **footprint()}))


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        raise SystemExit(f"error: {error}") from None
