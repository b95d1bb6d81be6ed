"""Draw how a tokenizer and a prior learned, from what their runs left on disk:

    python train/curves.py --tokenizer runs/tokenizer-photo --prior runs/prior-photo --out curves.png

Several runs of a stage, each started from the one before, are drawn as one. Losses are those of every update
(log.jsonl), averaged over pieces; the rest is of held-out pictures (validation.jsonl). The file's ending gives its
format (png or svg).
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a file: look for packages in the repository, not in this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from train import settings
from train.run import SETTINGS

Line = dict[str, Any]  # of a log; "pictures" says how many had been seen by then

PIECES = 150  # a loss is averaged over so many equal parts of the run
MARKS = {"tokenizer": "l1", "prior": "accuracy"}  # what only the log of that stage has
FORMATS = (".png", ".svg")
PANEL = (4.6, 3.2)  # inches


@dataclass(frozen=True)
class Trace:
    """The log and the validations of one or more runs of a stage, in order."""

    log: list[Line]
    validation: list[Line]


# -- reading -------------------------------------------------------------------------------------------------


def read_trace(folders: Sequence[Path], stage: str, batch_size: int | None) -> Trace:
    """Runs that continue each other as one trace.

    Args:
        folders: of the runs, in order.
        stage: "tokenizer" or "prior".
        batch_size: pictures of an update, for runs whose settings are not on disk.

    Raises:
        ValueError: if a folder holds no run of that stage, or its batch size is not known.
    """
    trace, seen = Trace([], []), 0
    for folder in folders:
        log = read_lines(folder / "log.jsonl")
        if not log or MARKS[stage] not in log[0]:
            raise ValueError(
                f"expected the log of a {stage} run in {folder}, found {'another' if log else 'none'}"
            )
        batch, last = batch_size_of(folder, batch_size), log[-1]["step"]
        validation = read_lines(folder / "validation.jsonl")
        # A run that went on from an older state has validated some steps twice, or has not come there again.
        by_step = {line["step"]: line for line in validation if line["step"] <= last}
        for target, lines in ((trace.log, log), (trace.validation, sorted(by_step.values(), key=step))):
            target += [line | {"pictures": seen + line["step"] * batch} for line in lines]
        seen += last * batch
    return trace


def step(line: Line) -> int:
    return line["step"]


def read_lines(path: Path) -> list[Line]:
    """The lines of a log; none if it is missing, and one cut off by a crash is passed over."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return lines


def batch_size_of(folder: Path, given: int | None) -> int:
    """Pictures of one update of a run: by its settings, or as given."""
    if (path := folder / SETTINGS).exists():
        return json.loads(path.read_text(encoding="utf-8"))["batch_size"]
    if given is None:
        raise ValueError(
            f"expected {SETTINGS} in {folder}, found none: tell its batch size with --batch-size"
        )
    return given


def series(lines: Sequence[Line], name: str, *keys: Any) -> tuple[np.ndarray, np.ndarray]:
    """Thousands of pictures seen and a number of the lines that have it; ``keys`` lead into lists and tables."""
    chosen = [line for line in lines if name in line]
    values = [line[name] for line in chosen]
    for key in keys:
        values = [value[key] for value in values]
    return np.array([line["pictures"] / 1000 for line in chosen], float), np.array(values, float)


def averaged(x: np.ndarray, y: np.ndarray, pieces: int = PIECES) -> tuple[np.ndarray, np.ndarray]:
    """A curve as the means of at most so many pieces of it."""
    count = min(pieces, len(x))
    return tuple(np.array([part.mean() for part in np.array_split(values, count)]) for values in (x, y))  # type: ignore[return-value]


# -- drawing -------------------------------------------------------------------------------------------------


def training_loss(axes: Axes, trace: Trace) -> None:
    """The loss of every update; for a tokenizer its L1 term, for a prior the cross-entropy of each code."""
    axes.set_title("training loss")
    for name in ("loss", *(key for key in trace.log[-1] if key == "l1" or key.startswith("code"))):
        axes.plot(
            *averaged(*series(trace.log, name)), label=name.replace("code", "code ").replace("l1", "L1")
        )


def held_out_psnr(axes: Axes, trace: Trace) -> None:
    axes.set_title("held-out pictures: PSNR (dB)")
    axes.plot(*series(trace.validation, "psnr"), marker=".")


def codes_in_use(axes: Axes, trace: Trace) -> None:
    axes.set_title("held-out pictures: codes in use (perplexity)")
    for j in range(len(next((line["perplexity"] for line in trace.validation if "perplexity" in line), ()))):
        axes.plot(*series(trace.validation, "perplexity", j), marker=".", label=f"code {j + 1}")


def held_out_entropy(axes: Axes, trace: Trace) -> None:
    axes.set_title("held-out pictures: nats a code")
    axes.plot(*series(trace.validation, "loss"), marker=".", label="centre hole, cross-entropy")
    axes.plot(*series(trace.validation, "nll_bound"), marker=".", label="whole picture, bound")


def accuracy_by_rate(axes: Axes, trace: Trace) -> None:
    axes.set_title("held-out pictures: right codes by corruption r")
    colours = matplotlib.colormaps["viridis"]
    rates = list(trace.validation[-1]["accuracy"]) if trace.validation else []
    for rate in rates:
        curve = series(trace.validation, "accuracy", rate)
        axes.plot(*curve, marker=".", color=colours(0.9 * float(rate)), label=f"r = {rate}")


PANELS: dict[str, tuple[Callable[[Axes, Trace], None], ...]] = {
    "tokenizer": (training_loss, held_out_psnr, codes_in_use),
    "prior": (training_loss, held_out_entropy, accuracy_by_rate),
}


def draw(traces: dict[str, Trace]) -> Figure:
    """One row of panels for each stage."""
    matplotlib.rcParams["svg.hashsalt"] = "sundae"  # the same runs give the same file
    columns = max(len(PANELS[stage]) for stage in traces)
    figure = Figure(figsize=(PANEL[0] * columns, PANEL[1] * len(traces)), layout="constrained")
    grid = figure.subplots(len(traces), columns, squeeze=False)
    for (stage, trace), row in zip(traces.items(), grid, strict=True):
        for axes, panel in zip(row, PANELS[stage], strict=True):
            panel(axes, trace)
            finish(axes, stage)
            axes.set_xlim(0, 1.02 * trace.log[-1]["pictures"] / 1000)
    return figure


def finish(axes: Axes, stage: str) -> None:
    """What every panel has; one without numbers says so."""
    axes.set_title(f"{stage}, {axes.get_title()}", fontsize=10)
    axes.set_xlabel("pictures seen (thousands)")
    axes.grid(alpha=0.3)
    if not any(len(line.get_xdata()) for line in axes.get_lines()):  # type: ignore[arg-type]
        axes.text(0.5, 0.5, "not measured yet", transform=axes.transAxes, ha="center", color="grey")
    elif axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=8)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; raises ValueError without a run or for another format."""
    parser = settings.Parser(prog="python train/curves.py", description="Draw how runs learned.")
    for stage in MARKS:
        parser.add_argument(
            f"--{stage}", nargs="+", type=Path, default=[], metavar="RUN", help=f"{stage} runs, in order"
        )
    parser.add_argument("--out", type=Path, required=True, help="picture to write: .png or .svg")
    parser.add_argument("--batch-size", type=int, help=f"pictures of an update, for runs without {SETTINGS}")
    given = parser.parse_args(arguments)
    if given.out.suffix.lower() not in FORMATS or not (given.tokenizer or given.prior):
        raise ValueError(f"expected runs (--tokenizer, --prior) and --out in {', '.join(FORMATS)}")
    return given


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; raises ValueError as :func:`parse` and :func:`read_trace`."""
    given = parse(arguments)
    stages = {stage: getattr(given, stage) for stage in MARKS if getattr(given, stage)}
    traces = {stage: read_trace(runs, stage, given.batch_size) for stage, runs in stages.items()}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"Date": None} if given.out.suffix.lower() == ".svg" else {}
    draw(traces).savefig(given.out, dpi=110, metadata=metadata)


if __name__ == "__main__":
    settings.guard(main)
