"""Write a bundle from training states: ``python -m train.export --tokenizer STATE [--prior STATE] --out DIR``.

Takes the averaged weights; the settings of each run are read from what the run stored beside its state.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from sundae.checkpoint import from_json, save_bundle
from sundae.hourglass import Hourglass, HourglassConfig
from sundae.tokenizer import Tokenizer, TokenizerConfig
from train import settings
from train.run import require_checkpoint


@dataclass(frozen=True)
class ExportSettings:
    """What to export, and what to say of it."""

    out: str  # the bundle's folder
    tokenizer: str = "runs/tokenizer/state.pt"
    prior: str = ""  # state.pt of a prior; none exports the tokenizer alone
    provenance: str = ""  # JSON file: data, metrics, licence


def averaged(path: str, module_class: type[nn.Module], config_class: type) -> tuple[nn.Module, int]:
    """The module of a training state with its averaged weights, and its step; ValueError if there is none."""
    state = require_checkpoint(Path(path))
    module = module_class(from_json(config_class, state["model"], path))
    module.load_state_dict(state["average"]["state"])
    return module, state["step"]


def main(argv: list[str] | None = None) -> None:
    options, flags = settings.parse(ExportSettings, __doc__, argv)
    provenance = json.loads(Path(options.provenance).read_text()) if options.provenance else {}
    tokenizer, step = averaged(options.tokenizer, Tokenizer, TokenizerConfig)
    parts, provenance = {"tokenizer": tokenizer}, provenance | {"tokenizer_steps": step}
    if options.prior:
        parts["prior"], provenance["prior_steps"] = averaged(options.prior, Hourglass, HourglassConfig)
    if not flags.dry_run:
        save_bundle(Path(options.out), parts, provenance)


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"error: {error}")
