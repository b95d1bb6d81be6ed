"""Whether two processes learn what one does at the same batch, and how fast; prints JSON.

    python benchmarks/processes.py [--steps 50] [--stages prior tokenizer] [--tiny]

Both stages run on CPU, with the shipped model's settings or (``--tiny``) with small ones. The tokenizer's codebooks
start after two fifths of the steps and its discriminator joins after three fifths: its difference is told for
each of the three phases. Goal: no loss differs by more than 1e-3, until the discriminator joins.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: look for packages in the repository, not in this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.inpaint import machine, rounded
from benchmarks.runs import (
    CONFIGS,
    SHIPPED,
    Line,
    largest_difference,
    processors,
    quiet,
    read_trace,
    tiny_prior,
    tiny_tokens,
    watched,
    write_tokens,
)
from benchmarks.watch import WARM_UP, summary
from train import settings

GOAL = 1e-3
PROCESSES = (1, 2)
LEARN = (0.4, 0.6)  # shares of the steps after which codebooks and discriminator begin
TINY_TOKENIZER = (
    *("--data", "portraits:0:200", "--held_out", 0.05, "--size", 128, "--crop", 64, "--batch_size", 2),
    *("--model.downsample_factor", 8, "--model.codebook_size", 32, "--model.depth", 2),
    *("--model.embed_dim", 8, "--model.widths", "[8, 8, 16, 16]", "--model.bottleneck_blocks", 1),
    *("--discriminator_width", 8, "--workers", 0),
)

Phases = dict[str, range]  # steps of the trace


def prior_words(folder: Path, tiny: bool) -> list[object]:
    """Settings of the prior, and the tokens that it needs."""
    if tiny:
        return tiny_prior(tiny_tokens(folder / "tokens"))
    tokens = write_tokens(folder / "tokens", 64, SHIPPED)
    config = CONFIGS / "prior-illustrated.toml"
    words = ["--config", config, "--tokens", tokens, "--validation", tokens, "--tokenizer", SHIPPED]
    return [*words, "--validation_pictures", 1]


def tokenizer_words(phases: Phases, tiny: bool) -> list[object]:
    """Settings of the tokenizer, with all of its phases."""
    shape = TINY_TOKENIZER if tiny else ("--config", CONFIGS / "tokenizer-illustrated.toml")
    codebooks = phases["codebooks"].start - 1  # the step that starts them does not use them yet
    return [
        *shape,
        *("--codebook_start", codebooks, "--adversarial_start", phases["discriminator"].start - 1),
    ]


def phases_of(stage: str, steps: int) -> Phases:
    """Which steps of the trace, counted from 1, belong to which phase of a stage."""
    if stage == "prior":
        return {"all": range(1, steps + 1)}
    first, second = (1 + max(1, round(share * steps)) for share in LEARN)
    return {
        "before_codebooks": range(1, first),
        "codebooks": range(first, second),
        "discriminator": range(second, steps + 1),
    }


def differences(one: Sequence[Line], two: Sequence[Line], phases: Phases) -> dict[str, Any]:
    """Largest difference of the loss, and of any number, in each phase that has steps."""
    table = {}
    for name, steps in phases.items():
        if not steps:
            continue
        parts = [[line for line in trace if line["step"] in steps] for trace in (one, two)]
        table[name] = {"loss": largest_difference(*parts, "loss"), "any": largest_difference(*parts)}
    return table


def compare(stage: str, folder: Path, steps: int, tiny: bool) -> dict[str, Any]:
    """Train one stage alone and shared; returns the differences and both speeds."""
    phases = phases_of(stage, steps)
    words = prior_words(folder, tiny) if stage == "prior" else tokenizer_words(phases, tiny)
    traces, speeds = [], {}
    for processes in PROCESSES:
        out, threads = folder / f"{stage}-{processes}", max(1, processors() // processes)
        found = watched(
            f"train_{stage}",
            [*words, *quiet(out), "--steps", steps, "--threads", threads],
            folder / f"{stage}-{processes}.json",
            processes=processes,
            cpu=True,
        )
        traces.append(read_trace(out))
        speed = summary(found["marks"])["per_s"]
        speeds[str(processes)] = {"steps_per_s": speed, "threads_each": threads}
    table = differences(*traces, phases)
    judged = [part["loss"]["difference"] for name, part in table.items() if name != "discriminator"]
    return {"differences": table, "goal_met": max(judged) <= GOAL, "processes": speeds}


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the command line; returns what is printed."""
    parser = argparse.ArgumentParser(prog="python benchmarks/processes.py", description="Compare processes.")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--stages", nargs="+", choices=("prior", "tokenizer"), default=["prior", "tokenizer"])
    parser.add_argument("--tiny", action="store_true", help="small models instead of the shipped ones")
    given = parser.parse_args(arguments)
    if given.steps < WARM_UP + 2:
        parser.error(f"expected --steps of at least {WARM_UP + 2}, got {given.steps}")
    with tempfile.TemporaryDirectory() as folder:
        stages = {stage: compare(stage, Path(folder), given.steps, given.tiny) for stage in given.stages}
    result = {
        "machine": rounded(machine()),
        "cores_used": processors(),
        "steps": given.steps,
        "models": "tiny" if given.tiny else "illustrated-1024",
        "goal": GOAL,
        "stages": stages,
    }
    print(json.dumps(result, indent=1))
    return result


if __name__ == "__main__":
    settings.guard(main)
