"""Whether a run that is killed again and again learns what an unbroken one learns; prints JSON.

    python benchmarks/resume.py [--seconds 180] [--kills 30] [--seed 0]

A small prior is trained for some minutes. The same run is then killed by SIGKILL at random moments, mostly
between and within steps, some while it starts, and started again each time; it saves at every step or twice a
second. Goal: no number of its trace differs from the unbroken run's by more than 1e-5.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: look for packages in the repository, not in this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.inpaint import machine, rounded
from benchmarks.runs import (
    FOREVER,
    ROOT,
    environment,
    largest_difference,
    quiet,
    read_trace,
    tiny_prior,
    tiny_tokens,
    watched,
)
from train import settings
from train.checkpoints import Checkpoints

GOAL = 1e-5
IN_START = 0.2  # share of the kills that fall into a start
SAVE_MINUTES = (0.0, 0.5 / 60)  # at every step, or twice a second
POLL = 0.01  # seconds between two looks at the trace


@dataclass(frozen=True)
class Moment:
    """When to kill: once the run has gone on and its trace has reached ``step``, and ``seconds`` later.

    At step 0 only the seconds count, from the launch.
    """

    step: int
    seconds: float
    save_minutes: float


def draw_moments(kills: int, steps: int, starting: float, step_seconds: float, seed: int) -> list[Moment]:
    """Random moments in the order in which they come.

    Args:
        kills: how many.
        steps: of the whole run.
        starting: seconds that a start takes.
        step_seconds: what a step takes; a kill falls anywhere into the two that follow its own.
        seed: of the moments.
    """
    chance = random.Random(seed)
    reached = sorted(chance.randrange(1, steps) for _ in range(kills))
    return [
        Moment(0, chance.uniform(0, starting), chance.choice(SAVE_MINUTES))
        if chance.random() < IN_START
        else Moment(step, chance.uniform(0, 2 * step_seconds), chance.choice(SAVE_MINUTES))
        for step in reached
    ]


def last_step(log: Path) -> int:
    """Step of the last whole line of a trace; 0 if there is none."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, file.seek(0, 2) - 4096))
            lines = file.read().split(b"\n")[:-1]  # what follows the last line break is unfinished
        return json.loads(lines[-1])["step"] if lines else 0
    except (FileNotFoundError, json.JSONDecodeError):  # a single line longer than what was read
        return 0


def identity(log: Path) -> int:
    """What changes when a run that goes on begins its trace anew."""
    return log.stat().st_ino if log.exists() else 0


def half_written(out: Path) -> set[tuple[str, int]]:
    """States that a kill cut off: names and times of what is left of them."""
    return {(path.name, path.stat().st_mtime_ns) for path in out.glob("state-*.partial")}


def kill_at(moment: Moment, words: Sequence[object], out: Path) -> dict[str, bool]:
    """Start the run and kill it; returns whether it was ``killed`` (else it had ended before), whether it had
    begun to make ``steps``, and whether the kill cut off a ``save``."""
    log, before, cut = out / "log.jsonl", identity(out / "log.jsonl"), half_written(out)
    command = [
        sys.executable,
        ROOT / "train" / "train_prior.py",
        *words,
        "--save_minutes",
        moment.save_minutes,
    ]
    with tempfile.TemporaryFile() as errors:  # a pipe would stay open as long as the orphaned loader lives
        process = subprocess.Popen(
            [str(word) for word in command], env=environment(), stdout=subprocess.DEVNULL, stderr=errors
        )
        while moment.step and process.poll() is None:
            if identity(log) != before and last_step(log) >= moment.step:
                break
            time.sleep(POLL)
        time.sleep(moment.seconds)
        process.send_signal(signal.SIGKILL)
        if process.wait() not in (0, -signal.SIGKILL):
            errors.seek(0)
            raise ValueError(f"the run failed by itself:\n{errors.read().decode()[-2000:]}")
    return {
        "killed": process.returncode == -signal.SIGKILL,
        "steps": identity(log) != before,
        "save": half_written(out) != cut,
    }


def unbroken(words: Sequence[object], out: Path, seconds: float) -> tuple[int, float, float]:
    """Train for ``seconds``; returns the steps made, what a start took, and what a step takes, in seconds."""
    began = time.time()
    found = watched(
        "train_prior", [*words, *quiet(out), "--max_minutes", seconds / 60], out / "watch.json", cpu=True
    )
    step, ended, _ = found["marks"][-1]
    saved = Checkpoints(out).newest()  # right after the last step; validation follows
    assert saved is not None
    return step, max(0.5, saved.stat().st_mtime - began - ended), ended / step


def interrupted(words: Sequence[object], out: Path, steps: int, moments: Sequence[Moment]) -> dict[str, Any]:
    """The same run, killed at each moment and at last left to end; returns counts of what happened."""
    words = [*words, *quiet(out), "--steps", steps]
    found = [kill_at(moment, words, out) for moment in moments]
    watched("train_prior", words, out / "watch.json", cpu=True)
    kills = [kill for kill in found if kill["killed"]]
    return {
        "kills": len(kills),
        "kills_in_a_start": sum(not kill["steps"] for kill in kills),
        "kills_in_a_save": sum(kill["save"] for kill in kills),
        "resumes": len(found),
    }


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the command line; returns what is printed."""
    parser = argparse.ArgumentParser(prog="python benchmarks/resume.py", description="Kill and resume.")
    parser.add_argument("--seconds", type=float, default=180, help="of the unbroken run")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    given = parser.parse_args(arguments)
    if given.seconds <= 0 or given.kills < 0:
        parser.error(f"expected --seconds above 0 and --kills of at least 0, got {given}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = [*tiny_prior(tiny_tokens(folder / "tokens")), "--threads", 1, "--log_steps", FOREVER]
        steps, starting, step_seconds = unbroken(words, folder / "unbroken", given.seconds)
        moments = draw_moments(given.kills, steps, starting, step_seconds, given.seed)
        counts = interrupted(words, folder / "killed", steps, moments)
        worst = largest_difference(read_trace(folder / "unbroken"), read_trace(folder / "killed"))
    result = {
        "machine": machine(),
        "seed": given.seed,
        "steps": steps,
        **counts,
        "largest_difference": worst,
        "goal": GOAL,
        "goal_met": worst["difference"] <= GOAL,
    }
    print(json.dumps(result | {"machine": rounded(result["machine"])}, indent=1))
    return result


if __name__ == "__main__":
    settings.guard(main)
