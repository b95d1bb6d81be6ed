"""make priors: its commands are understood, and the three priors learn from as many passes of their networks."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from train import compare, encode_dataset, settings, train_prior
from train.export import extra_passes

ROOT = Path(__file__).parents[1]
RUNS = ("sundae", "absorbing", "autoregressive")


def commands(*words: str) -> list[list[str]]:
    """What would be run: script and arguments of each line."""
    done = subprocess.run(
        ["make", "-n", "priors", *words], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = [shlex.split(line) for line in done.stdout.splitlines() if "train/" in line]
    return [line[next(i for i, word in enumerate(line) if word.startswith("train/")) :] for line in lines]


@pytest.mark.parametrize("steps", [1500, 90])
def test_the_three_priors_have_the_same_budget(steps):
    runs = [
        arguments for script, *arguments in commands(f"STEPS={steps}") if script == "train/train_prior.py"
    ]
    asked = [settings.parse(train_prior.PriorSettings, "", arguments)[0] for arguments in runs]
    assert [Path(each.out).name for each in asked] == [f"run-{kind}" for kind in RUNS]
    sundae, *others = asked
    used = {name: getattr(sundae, name) for name in ("unroll_steps", "unroll_from", "unroll_every")}
    passes = [sundae.steps + extra_passes(used, sundae.steps), *(each.steps for each in others)]
    assert passes == [steps] * 3
    assert len({each.batch_size for each in asked}) == 1
    assert [round(each.decay_from / each.steps, 1) for each in asked] == [0.6] * 3
    assert {each.tokens for each in asked} == {"runs/priors/tokens"}


def test_every_command_is_understood(tmp_path):
    made = commands(f"PRIORS={tmp_path}", "PORTRAITS=9", "TRAIN_ARGS=--mixed_precision bf16")
    encoded = [arguments for script, *arguments in made if script == "train/encode_dataset.py"]
    assert [settings.parse(encode_dataset.EncodeSettings, "", each)[0].data for each in encoded] == [
        "portraits:0:9",
        "portraits:10001000:64",
    ]
    learned = [arguments for script, *arguments in made if script == "train/train_prior.py"]
    assert {settings.parse(train_prior.PriorSettings, "", each)[0].mixed_precision for each in learned} == {
        "bf16"
    }
    (judged,) = [arguments for script, *arguments in made if script == "train/evaluate.py"]
    given = compare.parse(judged)
    assert given.compare == [str(tmp_path / kind) for kind in RUNS]
    assert (given.steps, given.count, given.holes, given.training) == ([10, 20, 50, 100], 64, 1, 9)
