"""Judge a model on pictures it never saw.

    python train/evaluate.py --model illustrated-1024 --out runs/evaluation [--count 200] [--steps 24]
    python train/evaluate.py --model photo-1024 --data FOLDER --held-out 0.1 --out runs/evaluation-photo
    python train/evaluate.py --compare BUNDLE BUNDLE ... --out runs/comparison

Without ``--data`` on drawn portraits, whose attributes say what a redrawn part should show; with it on photographs
of aligned faces, those that training on the same folder held out. Every picture is one line of OUT/records.jsonl,
written when it is finished: a stopped run goes on there. The summary is printed as JSON and written to
OUT/summary.json and, as tables, to OUT/summary.md. With ``--compare`` several priors over one tokenizer stand in one
table (train/compare.py, which has options of its own: --help --compare).
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a file: look for packages in the repository, not in this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import sundae
from benchmarks.inpaint import machine
from train import compare, features, portraits, settings
from train.fills import INPAINT_RADIUS, MASKS
from train.judge import Judge, Setup, suited
from train.judge_photographs import HELD_OUT, Photographs
from train.judge_portraits import Portraits
from train.records import complete

SAMPLER_FIELDS = [
    field for field in dataclasses.fields(sundae.SamplerConfig) if field.type in ("int", "float")
]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; raises ValueError for numbers out of range or options that do not go together."""
    parser = settings.Parser(
        prog="python train/evaluate.py", description="Judge a model on held-out pictures."
    )
    parser.add_argument("--model", default="illustrated-1024", help="name or folder of a bundle")
    parser.add_argument(
        "--compare",
        action="store_true",
        help="compare bundles instead, with options of its own (--help --compare)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/evaluation"), help="folder of records and summary"
    )
    parser.add_argument("--data", type=Path, help="folder of aligned faces; none: drawn portraits")
    parser.add_argument(
        "--held-out",
        type=float,
        help=f"share of the folder that training held out ({HELD_OUT}); 1: everything",
    )
    parser.add_argument("--min-side", type=int, help="px; leave out smaller pictures of the folder")
    parser.add_argument("--first", type=int, help="first portrait's seed, or number of the first picture")
    parser.add_argument("--count", type=int, help="number of pictures")
    parser.add_argument("--masks", nargs="+", choices=MASKS, default=list(MASKS), help="which holes")
    parser.add_argument("--max-minutes", type=float, help="summarise the prefix finished by then")
    parser.add_argument("--device", default="cpu")
    for field in SAMPLER_FIELDS:
        kind = int if field.type == "int" else float
        parser.add_argument(
            f"--{field.name.replace('_', '-')}", type=kind, help="of the sampler (as suits the prior)"
        )
    given = parser.parse_args(arguments)
    for name, least in (("count", 1), ("first", 0), ("min_side", 0)):
        if (value := getattr(given, name)) is not None and value < least:
            raise ValueError(f"expected --{name.replace('_', '-')} of at least {least}, got {value}")
    if given.data is None and (given.held_out is not None or given.min_side is not None):
        raise ValueError("expected --held-out and --min-side together with --data, a folder of photographs")
    given.masks = [name for name in MASKS if name in given.masks]
    return given


def choose(given: argparse.Namespace, setup: Setup) -> Judge:
    """Portraits, or photographs where a folder is given."""
    if given.data is None:
        first = portraits.HELD_OUT.start if given.first is None else given.first
        return Portraits(setup, first, len(portraits.HELD_OUT) if given.count is None else given.count)
    held_out = HELD_OUT if given.held_out is None else given.held_out
    return Photographs(setup, given.data, held_out, given.min_side or 0, given.first or 0, given.count)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the command line; returns the summary.

    Raises:
        ValueError: for a bad option, model or folder, or if no picture was finished.
    """
    words = sys.argv[1:] if arguments is None else arguments
    if any(word.partition("=")[0] == "--compare" for word in words):
        return compare.main(words)
    given = parse(words)
    model, net = sundae.load(given.model, given.device), features.RandomFeatures()
    config = suited(model, {field.name: getattr(given, field.name) for field in SAMPLER_FIELDS})
    judge = choose(given, Setup(model, config, given.masks, net))
    print(f"features: random network, seed {net.seed}, sha256 {net.hash}", file=sys.stderr)
    path = given.out / "records.jsonl"
    records = complete(path, judge.key, judge.items, judge.measure, given.max_minutes, judge.field)
    if not records:
        raise ValueError("expected at least one finished picture to summarise, got none: allow more minutes")
    summary = {
        "model": model.name,
        **{f"{name}_hash": part["hash"] for name, part in model.config["parts"].items()},
        "key": judge.key,
        "sampler": dataclasses.asdict(config),
        "random_features": {
            "seed": net.seed,
            "sha256": net.hash,
            "receptive_field": net.receptive_field,
            "dimensions": net.dimensions,
        },
        "opencv_radius": INPAINT_RADIUS,
        "machine": machine(),
        **judge.summarise(records),
    }
    (given.out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    (given.out / "summary.md").write_text(judge.tables(summary), encoding="utf-8")
    print(json.dumps(summary))
    return summary


if __name__ == "__main__":
    settings.guard(main)
