"""Write a bundle from training states: ``python train/export.py --tokenizer RUN [--prior RUN] --out DIR``.

Takes the averaged weights; the settings of each run are read from what the run stored beside its state. The tokenizer
may be a bundle's too, for another prior over the same tokens.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

if not __package__:  # run as a file: look for packages in the repository, not in this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import json
from typing import Any

from safetensors import SafetensorError
from torch import nn

from sundae.checkpoint import (
    PRIORS,
    TOKENIZERS,
    borrow_part,
    from_json,
    load_tokenizer,
    read_config,
    save_bundle,
    suit_sampler,
)
from sundae.priors.absorbing import Absorbing
from sundae.priors.chain import ChainPrior
from sundae.priors.contract import Prior
from train import settings
from train.checkpoints import load_state
from train.run import SETTINGS
from train.train_prior import PriorSettings

STEPS = "tokenizer_steps"  # in the provenance
STAGES = {"tokenizer": "tokenizer", "hourglass": "prior"}  # default kind of a part: the stage that trains it


@dataclass(frozen=True)
class ExportSettings:
    """What to export, and what to say of it."""

    out: str  # the bundle's folder
    tokenizer: str = "runs/tokenizer"  # a run's folder (its newest state), one of its states, or a bundle
    prior: str = ""  # the same of a prior; none exports the tokenizer alone
    provenance: str = ""  # JSON file: data, metrics, licence
    share: str = ""  # a bundle beside it whose tokenizer's files it is to use, and not a copy of its own
    sampler: str = ""  # JSON file: settings of the sampler that suit this prior
    overwrite: bool = False  # replace a bundle that is there


def averaged(path: str, kinds: dict[str, tuple[type, type]], default: str) -> tuple[nn.Module, int]:
    """The module of a training state or run with its averaged weights, and its step.

    Raises:
        ValueError: if there is none, or it is of another stage.
    """
    state = load_state(Path(path))
    kind = state.get("kind", default)
    if kind not in kinds or state.get("stage", default) not in (default, STAGES[default]):
        raise ValueError(f"expected the state of a {STAGES[default]} in {path}, got that of another stage")
    module_class, config_class = kinds[kind]
    module = module_class(from_json(config_class, state["model"], path))
    module.load_state_dict(state["average"]["state"])
    return module, state["step"]


def finished_tokenizer(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The tokenizer of a bundle, a run or a state, and what is known of its training; ValueError if there is none."""
    if (path / "config.json").exists():
        provenance = read_config(path).get("provenance", {})
        return load_tokenizer(path), {key: provenance[key] for key in (STEPS,) if key in provenance}
    tokenizer, step = averaged(str(path), TOKENIZERS, "tokenizer")
    return tokenizer, {STEPS: step}


def prior_training(path: Path, prior: nn.Module, step: int) -> dict[str, Any]:
    """What a prior's training took, by the settings beside its state, as if the whole run had had them.

    Args:
        path: the run's folder, or one of its states.
        prior: what was trained.
        step: of the state.

    Returns:
        ``batch_size``; ``grids``: token grids learned from, each as often as it was seen; ``grid_passes``: passes of a
        grid through the network, the unrolled steps of SUNDAE's chain included; ``start_from``: whose weights the run
        began with, if any. Nothing where no settings are known.

    Raises:
        ValueError: if the file is damaged.
    """
    file = (path if path.is_dir() else path.parent) / SETTINGS
    if not file.exists():
        return {}
    try:
        used = json.loads(file.read_text())
        batch_size, start = used["batch_size"], Path(used.get("start_from", ""))
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"expected the settings of a run in {file}, got something else") from None
    unrolls = isinstance(prior, ChainPrior) and not isinstance(prior, Absorbing)
    passes = step + (extra_passes(used, step) if unrolls else 0)
    told = {"batch_size": batch_size, "grids": step * batch_size, "grid_passes": passes * batch_size}
    return told | ({"start_from": "/".join(start.parts[-2:])} if start.parts else {})


def extra_passes(used: dict[str, Any], step: int) -> int:
    """Passes of the unrolled chain beyond the first of each step, in ``step`` steps."""
    names = ("unroll_steps", "unroll_from", "unroll_every")
    length, first, every = (used.get(name, getattr(PriorSettings, name)) for name in names)
    return (length - 1) * len(range(-(-first // every) * every, step, every))


def main(argv: list[str] | None = None) -> None:
    options, flags = settings.parse(ExportSettings, __doc__, argv)
    if (Path(options.out) / "config.json").exists() and not options.overwrite:
        raise ValueError(f"expected no bundle at {options.out} yet, found one: --overwrite true replaces it")
    provenance = json.loads(Path(options.provenance).read_text()) if options.provenance else {}
    tokenizer, known = finished_tokenizer(Path(options.tokenizer))
    parts: dict[str, nn.Module] = {"tokenizer": tokenizer}
    provenance = provenance | known
    if options.prior:
        prior, step = averaged(options.prior, PRIORS, "hourglass")
        provenance["prior_steps"] = step
        if told := prior_training(Path(options.prior), prior, step):
            provenance["prior_training"] = told
        parts["prior"] = prior
        if options.sampler and isinstance(prior, Prior):
            suit_sampler(prior, json.loads(Path(options.sampler).read_text()), options.sampler)
    if not flags.dry_run:
        try:
            save_bundle(Path(options.out), parts, provenance)
            if options.share:
                borrow_part(Path(options.out), "tokenizer", Path(options.share))
        except SafetensorError as error:  # a full disk, say
            raise ValueError(f"expected to write {options.out}: {error}; the runs are untouched") from None
        print(f"{options.out}: {', '.join(parts)}")


if __name__ == "__main__":
    settings.guard(main)
