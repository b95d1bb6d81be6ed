"""Write a bundle from training states: ``python -m train.export --tokenizer STATE [--prior STATE] --out DIR``.

Takes the averaged weights; the settings of each run are read from what the run stored beside its state.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

from sundae.checkpoint import save_bundle
from sundae.hourglass import Hourglass, HourglassConfig
from sundae.tokenizer import Tokenizer, TokenizerConfig
from train import settings
from train.run import load_checkpoint


@dataclass(frozen=True)
class ExportSettings:
    """What to export, and what to say of it."""

    out: str
    tokenizer: str = "runs/tokenizer/state.pt"
    prior: str = ""  # state.pt of a prior; none exports the tokenizer alone
    tokenizer_model: TokenizerConfig = field(default_factory=TokenizerConfig)
    prior_model: HourglassConfig = field(default_factory=HourglassConfig)
    provenance: str = ""  # JSON file: data, metrics, licence


def averaged(path: str) -> tuple[dict, int]:
    """Averaged weights and step of a training state; ValueError if there is none."""
    state = load_checkpoint(Path(path))
    if state is None:
        raise ValueError(f"expected a training state at {path}, found none")
    return state["average"]["state"], state["step"]


def main(argv: list[str] | None = None) -> None:
    options, flags = settings.parse(ExportSettings, __doc__, argv)
    provenance = json.loads(Path(options.provenance).read_text()) if options.provenance else {}
    tokenizer = Tokenizer(options.tokenizer_model)
    weights, step = averaged(options.tokenizer)
    tokenizer.load_state_dict(weights)
    parts, provenance = {"tokenizer": tokenizer}, provenance | {"tokenizer_steps": step}
    if options.prior:
        prior = Hourglass(options.prior_model)
        weights, step = averaged(options.prior)
        prior.load_state_dict(weights)
        parts["prior"], provenance["prior_steps"] = prior, step
    if not flags.dry_run:
        save_bundle(Path(options.out), parts, provenance)


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"error: {error}")
