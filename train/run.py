"""What every trainer shares: settings of a run, its loop, and what it leaves on disk.

A run is a function of its settings alone. Item ``i`` of the data depends on the seed and ``i``, the random
numbers of a step on the seed and the step; so neither a stop nor the number of processes changes what is
learned, beyond rounding.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, broadcast
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from train.checkpoints import Checkpoints

FOREVER = 1_000_000_000
SETTINGS = "settings.json"  # beside the states: what the run was last started with


@dataclass(frozen=True)
class RunSettings:
    """Settings that every trainer has."""

    out: str = "runs/run"  # states, log.jsonl and pictures go here; a run that is there already goes on
    start_from: str = ""  # state or folder of another run, or a bundle, whose weights begin this one
    steps: int = FOREVER
    max_minutes: float = 1e9  # wall clock; the run then ends cleanly, with everything saved
    batch_size: int = 16  # items of one update, over all processes and all parts
    accumulate: int = 1  # parts that a process cuts its share of a batch into, one after the other
    learning_rate: float = 1e-3
    warmup: int = 100  # steps
    clip: float = 1.0  # norm of the gradient
    ema_decay: float = 0.998
    seed: int = 0
    mixed_precision: str = "no"  # "no", "bf16" or "fp16"; bf16 on CPUs only where they have it
    compile: bool = False  # torch.compile
    workers: int = 1  # loader processes
    threads: int = 0  # torch's threads; 0 leaves its default
    save_minutes: float = 4.0
    evaluate_minutes: float = 15.0  # validation and pictures; also at the end
    keep: int = 2  # states kept beside the best one
    log_steps: int = 25  # printed; log.jsonl has every step
    tracker: str = "tensorboard"  # any tracker of Accelerate; "" for none

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate", "warmup", "keep", "log_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} of at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "clip"):
            if not 0 < getattr(self, name) < math.inf:  # NaN fails this too
                raise ValueError(f"expected {name} above 0, got {getattr(self, name)}")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"expected ema_decay from 0 to below 1, got {self.ema_decay}")


class Trainer(Protocol):
    """What the loop needs of a trainer. ``step`` counts the updates made so far."""

    step: int

    def train_step(self, batch: Any) -> dict[str, Tensor]: ...

    def validate(self) -> dict[str, Any]: ...

    def pictures(self) -> dict[str, Image.Image]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def shares_cpus() -> bool:
    """Whether several processes were started on a machine without a GPU; Accelerate has to be told, or each of
    them believes that it is alone."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and not torch.cuda.is_available()


def make_accelerator(options: RunSettings) -> Accelerator:
    """The accelerator of a run; ValueError for a precision or tracker that it does not know."""
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.mixed_precision not in ("no", "bf16", "fp16"):
        raise ValueError(f"expected mixed_precision no, bf16 or fp16, got {options.mixed_precision!r}")
    buffers = DistributedDataParallelKwargs(broadcast_buffers=False)  # they are equal everywhere by design
    try:
        return Accelerator(
            cpu=shares_cpus(),
            mixed_precision=options.mixed_precision,
            log_with=options.tracker or None,
            project_dir=options.out,
            kwargs_handlers=[buffers],
        )
    except ValueError as error:
        raise ValueError(f"expected a tracker that is installed, got {options.tracker!r}: {error}") from None


class SharedBatches:
    """Indices of each update's items for one process, in order: update ``s`` is the items
    ``[s * batch, (s + 1) * batch)``, of which every process takes one contiguous part."""

    def __init__(self, first: int, last: int, batch_size: int, process: int = 0, processes: int = 1):
        if batch_size % processes:
            raise ValueError(
                f"expected a batch_size that is a multiple of the {processes} processes, got {batch_size}"
            )
        self.first, self.last, self.batch_size = first, last, batch_size
        self.share, self.process = batch_size // processes, process

    def __len__(self) -> int:
        return max(0, self.last - self.first)

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.first, self.last):
            start = step * self.batch_size + self.process * self.share
            yield list(range(start, start + self.share))


def seed_step(seed: int, step: int) -> None:
    """Seed torch for one update: what is drawn depends on the seed and the step, not on the past."""
    torch.manual_seed(int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0] >> 1))


def learning_rate_scale(step: int, warmup: int, decay_from: int, steps: int) -> float:
    """Linear warm-up, constant, and from ``decay_from`` a linear fall to 5 % at the last step."""
    scale = min(1.0, (step + 1) / warmup)
    if step > decay_from:
        scale *= max(0.05, 1 - 0.95 * (step - decay_from) / max(1, steps - decay_from))
    return scale


class Clock:
    """Wall-clock budget of a run, and when something is due again."""

    def __init__(self, max_minutes: float):
        self.began, self.max_minutes = time.monotonic(), max_minutes
        self.marks: dict[str, float] = {}

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    @property
    def over(self) -> bool:
        return self.seconds > 60 * self.max_minutes

    def due(self, name: str, minutes: float) -> bool:
        """Whether ``minutes`` have passed since this was last due (or since the start)."""
        if self.seconds - self.marks.get(name, 0.0) < 60 * minutes:
            return False
        self.marks[name] = self.seconds
        return True


class Interruption(AbstractContextManager):
    """While entered, the first Ctrl-C or SIGTERM asks the run to end cleanly; a second one ends it at once."""

    def __enter__(self) -> Interruption:
        self.asked = False
        self.before = {number: signal.signal(number, self.ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def ask(self, number: int, _) -> None:
        if self.asked:
            signal.signal(number, self.before[number])
            signal.raise_signal(number)
        self.asked = True

    def __exit__(self, *_) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)


class TraceLog:
    """``log.jsonl``: one line for each update. Lines beyond the step at which a run goes on are dropped."""

    def __init__(self, path: Path, step: int):
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = []
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except (json.JSONDecodeError, KeyError):  # a line cut off by a crash
                continue
        temporary = path.with_suffix(".partial")
        temporary.write_text("".join(kept))
        os.replace(temporary, path)
        self.file = open(path, "a", encoding="utf-8")  # noqa: SIM115  open as long as the run

    def write(self, step: int, numbers: Mapping[str, Any]) -> None:
        self.file.write(json.dumps({"step": step, **numbers}) + "\n")
        self.file.flush()


class Progress:
    """Smoothed numbers, speed and time left: a bar on a terminal, lines elsewhere."""

    def __init__(self, options: RunSettings, first: int, clock: Clock, unit: str, shown: bool):
        self.options, self.first, self.clock, self.unit, self.shown = options, first, clock, unit, shown
        self.loading, self.smooth = 0.0, {}
        total = options.steps if options.steps < FOREVER else None
        self.bar = tqdm(
            total=total,
            initial=first,
            unit="step",
            disable=not (shown and sys.stderr.isatty()),
            smoothing=0.05,
        )

    def update(self, step: int, numbers: Mapping[str, float], loading: float) -> None:
        self.loading += loading
        for name, value in numbers.items():
            self.smooth[name] = 0.97 * self.smooth.get(name, value) + 0.03 * value
        self.bar.update()
        if step % self.options.log_steps or not self.shown:
            return
        text = " ".join(f"{name} {value:.4g}" for name, value in self.smooth.items())
        line = f"{self.speed(step):.2f} {self.unit}/s, loading {self.loading_share:.0%}, {text}"
        if self.bar.disable:
            print(f"step {step} {self.clock.seconds:.0f} s, {self.time_left(step)} {line}", flush=True)
        else:
            self.bar.set_postfix_str(line)

    def speed(self, step: int) -> float:
        """Items of all processes a second."""
        return (step - self.first) * self.options.batch_size / max(1e-9, self.clock.seconds)

    @property
    def loading_share(self) -> float:
        """Share of the time spent waiting for data."""
        return self.loading / max(1e-9, self.clock.seconds)

    def time_left(self, step: int) -> str:
        """Until the last step or the end of the minutes, whichever comes first."""
        by_steps = (self.options.steps - step) * self.clock.seconds / max(1, step - self.first)
        seconds = max(0.0, min(by_steps, 60 * self.options.max_minutes - self.clock.seconds))
        if seconds > 60 * 60 * 24 * 365:
            return "no end set,"
        return (f"{seconds / 3600:.1f} h" if seconds > 5400 else f"{seconds / 60:.0f} min") + " left,"


def run(
    trainer: Trainer,
    items: Callable[[int], Dataset],
    options: RunSettings,
    accelerator: Accelerator,
    unit: str = "pictures",
) -> None:
    """Resume or begin, then update until the steps or the minutes are used up or someone asks to stop.

    Args:
        trainer: what is trained; loads its newest state from ``options.out`` first, if there is one.
        items: gives, for a number of items, a map-style dataset of that length (or a longer one).
        options: settings of the run.
        accelerator: of :func:`make_accelerator`.
        unit: what an item is called in messages.

    Raises:
        ValueError: if a state cannot be read or written, or the batch cannot be shared.
    """
    checkpoints = Checkpoints(Path(options.out), options.keep)
    if (saved := checkpoints.load()) is not None:
        trainer.load_state_dict(saved)
    clock, first, main = Clock(options.max_minutes), trainer.step, accelerator.is_main_process
    check_together(first, options.out, accelerator)
    if main:
        checkpoints.clear_partial()
    loader = make_loader(items, first, options, accelerator)
    log = TraceLog(Path(options.out) / "log.jsonl", first) if main else None
    if main:
        (Path(options.out) / SETTINGS).write_text(json.dumps(asdict(options), indent=1) + "\n")
    if options.tracker:
        accelerator.init_trackers("sundae", config=flat(asdict(options)))
    progress = Progress(options, first, clock, unit, main)
    best = saved.get("best", math.inf) if saved else math.inf
    with Interruption() as interruption:
        waiting = time.monotonic()
        for batch in loader:
            loading = time.monotonic() - waiting
            terms = trainer.train_step(batch)
            numbers = mean_over_processes(terms, accelerator)
            if log is not None:
                log.write(trainer.step, numbers)
            progress.update(trainer.step, numbers, loading)
            if options.tracker and trainer.step % options.log_steps == 0:
                accelerator.log(dict(numbers), step=trainer.step)
            over, save, evaluate = decide(
                accelerator,
                interruption.asked or clock.over or trainer.step >= options.steps,
                clock.due("save", options.save_minutes),
                clock.due("evaluate", options.evaluate_minutes),
            )
            if main and (over or save or evaluate):
                checkpoints.save(trainer.state_dict() | {"best": best})
            if main and (over or evaluate):
                best = report(trainer, options, checkpoints, accelerator, best)
            if over:
                break
            waiting = time.monotonic()
    progress.bar.close()
    leave_together(accelerator)
    accelerator.print(f"done: step {trainer.step}", flush=True)


def leave_together(accelerator: Accelerator) -> None:
    """Close the trackers and the process group, once the slowest process is here: one that ends with its group
    alive can abort (SIGABRT) while Python takes itself apart, and the launcher then stops the others."""
    accelerator.wait_for_everyone()
    accelerator.end_training()


def check_together(step: int, out: str, accelerator: Accelerator) -> None:
    """Raise ValueError unless all processes go on from the same step: a node whose disk lacks the states would
    begin again, and the gradients of the two would be mixed."""
    if accelerator.num_processes == 1:
        return
    steps = accelerator.gather(torch.tensor([step], device=accelerator.device)).tolist()
    if len(set(steps)) > 1:
        raise ValueError(
            f"expected every process to find the same states in {out}, got the steps {steps}: share the folder"
        )


def make_loader(
    items: Callable[[int], Dataset], first: int, options: RunSettings, accelerator: Accelerator
) -> DataLoader:
    """Batches of this process from update ``first`` on."""
    batches = SharedBatches(
        first, options.steps, options.batch_size, accelerator.process_index, accelerator.num_processes
    )
    return DataLoader(
        items(options.steps * options.batch_size),
        batch_sampler=batches,
        num_workers=options.workers,
        persistent_workers=options.workers > 0,
        pin_memory=accelerator.device.type == "cuda",
        generator=torch.Generator(),  # making an iterator must not move torch's own
    )


def decide(accelerator: Accelerator, *wishes: bool) -> list[bool]:
    """The main process's answers, for all: clocks differ, and half a group that stops leaves the rest waiting."""
    if accelerator.num_processes == 1:
        return list(wishes)
    flags = torch.tensor([int(wish) for wish in wishes], device=accelerator.device)
    return [bool(flag) for flag in broadcast(flags)]


def mean_over_processes(terms: Mapping[str, Tensor], accelerator: Accelerator) -> dict[str, float]:
    """Numbers of one update; every process must hold the same names."""
    values = torch.stack([value.detach().float() for value in terms.values()])
    if accelerator.num_processes > 1:
        values = accelerator.reduce(values, "mean")
    return dict(zip(terms, values.tolist(), strict=True))


def report(
    trainer: Trainer, options: RunSettings, checkpoints: Checkpoints, accelerator: Accelerator, best: float
) -> float:
    """Validate, print, save the pictures, keep the best state; returns the best loss so far."""
    numbers = trainer.validate()
    print(f"step {trainer.step} validation {json.dumps(numbers)}", flush=True)
    with open(Path(options.out) / "validation.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps({"step": trainer.step, **numbers}) + "\n")
    pictures = trainer.pictures()
    for name, picture in pictures.items():
        path = Path(options.out) / "pictures" / f"{name}-{trainer.step:08d}.png"
        path.parent.mkdir(exist_ok=True)
        picture.save(path)
    if options.tracker:
        accelerator.log({f"validation/{k}": v for k, v in flat(numbers).items()}, step=trainer.step)
        for tracker in accelerator.trackers:
            if hasattr(tracker, "log_images"):
                extra = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
                tracker.log_images(
                    {k: np.asarray(v)[None] for k, v in pictures.items()}, trainer.step, **extra
                )
    if numbers["loss"] < best:
        checkpoints.keep_best()
    return min(best, numbers["loss"])


def flat(values: Mapping[str, Any] | Sequence[Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables and lists as one table of plain values, with names joined by dots."""
    pairs = values.items() if isinstance(values, Mapping) else enumerate(values)
    table: dict[str, Any] = {}
    for key, value in pairs:
        if isinstance(value, (Mapping, list, tuple)):
            table |= flat(value, f"{prefix}{key}.")
        else:
            table[f"{prefix}{key}"] = value
    return table


def parts(batch: Sequence[Tensor], count: int, device: torch.device) -> list[list[Tensor]]:
    """A batch cut into ``count`` parts of nearly equal size, on the device."""
    moved = [tensor.to(device, non_blocking=True) for tensor in batch]
    return [list(part) for part in zip(*(tensor.tensor_split(count) for tensor in moved)) if len(part[0])]
