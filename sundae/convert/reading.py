"""A foreign file as one of our modules, with a note of where it came from."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from sundae.checkpoint import FORMAT_VERSION, describe_part, file_hash
from sundae.convert.archives import read_archive
from sundae.convert.detect import FORMATS, detect, weights
from sundae.convert.settings import Settings, lookup, read_settings
from sundae.convert.taming import params
from sundae.tokenizer import PictureTokenizer
from sundae.version import __version__

WEIGHTS = (  # in a folder, beside config.json
    *("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"),
    *("model.safetensors", "pytorch_model.safetensors", "pytorch_model.bin"),
)
ABOUT_OTHERS = {
    "data": "Not known here: see where the source came from.",
    "limits": "Its authors' weights, number for number; nothing about them was measured when they were converted.",
}
ABOUT_TOKENIZERS = {
    "intended_use": "To turn pictures into tokens and back, and as the first stage of a prior over its tokens.",
}


@dataclass(frozen=True)
class Source:
    """What was read from a foreign file."""

    module: nn.Module  # a tokenizer or a prior
    provenance: dict[str, Any]

    @property
    def part(self) -> str:
        """What it is of a bundle: "tokenizer" or "prior"."""
        return "tokenizer" if isinstance(self.module, PictureTokenizer) else "prior"


def is_foreign(path: Path) -> bool:
    """Whether a path could be a foreign model: a file, or a folder of diffusers or open-muse."""
    return path.is_file() or (path.is_dir() and folder_weights(path) is not None)


def folder_weights(folder: Path) -> Path | None:
    """The weights in a folder whose config.json names a class, as diffusers and open-muse write; else None."""
    try:
        named = "_class_name" in json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    return next((folder / name for name in WEIGHTS if named and (folder / name).is_file()), None)


def read_foreign(path: Path, config: Path | None = None, form: str | None = None) -> Source:
    """Read a foreign tokenizer or prior.

    Args:
        path: a file of weights, or a folder of diffusers or open-muse.
        config: its settings; by default the file's name as .yaml or .yml beside it, or a config.json that names a class.
        form: one of :data:`sundae.convert.detect.FORMATS`; by default found out from the tensors' names.

    Raises:
        ValueError: in one line, if anything about the file is not as its format says.
    """
    if form is not None and form not in FORMATS:
        raise ValueError(f"expected a format of {', '.join(FORMATS)}, got {form!r}")
    file = path
    if path.is_dir():
        found = folder_weights(path)
        if found is None:
            raise ValueError(
                f"expected a file of weights, or a folder with config.json and {WEIGHTS[0]}, got {path}"
            )
        file = found
    config = config or settings_beside(file)
    settings = read_settings(config) if config else {}
    tensors, inner = weights(read_archive(file))
    form = form or detect(tensors)
    module = FORMATS[form].read(tensors, settings)
    source = {
        "file": file.name,
        "sha256": file_hash(file),
        "bytes": file.stat().st_size,
        "format": form,
        "about": FORMATS[form].about,
        "first_stage_of_another_model": inner,
        "config": about_settings(config, settings),
    }
    about = ABOUT_OTHERS | (ABOUT_TOKENIZERS if isinstance(module, PictureTokenizer) else {})
    return Source(module, {"source": source, "converter": f"sundae {__version__}", **about})


def settings_beside(file: Path) -> Path | None:
    """The settings that belong to a file: its own name as YAML, or the config.json of diffusers."""
    for beside in (file.with_suffix(".yaml"), file.with_suffix(".yml")):
        if beside.is_file():
            return beside
    return file.parent / "config.json" if folder_weights(file.parent) == file else None


def about_settings(path: Path | None, settings: Settings) -> dict[str, Any] | None:
    """What the provenance keeps of the settings: plain values about the network, and no paths of a training."""
    if path is None:
        return None
    tables = [settings] if path.suffix == ".json" else [lookup(settings, "net"), params(settings)]
    tables += [lookup(params(settings), "ddconfig")]
    kept = {}
    for table in tables:
        if isinstance(table, dict):
            kept |= {key: value for key, value in table.items() if isinstance(key, str) and is_plain(value)}
    return {"file": path.name, "sha256": file_hash(path), "network": kept}


def is_plain(value: Any) -> bool:
    """Whether a setting is a number, a switch, or a short list of such or of words; paths are single words."""
    if isinstance(value, list):
        return len(value) <= 32 and all(isinstance(item, (int, float, str)) for item in value)
    return isinstance(value, (int, float)) and math.isfinite(value)


def load_foreign(path: Path) -> tuple[PictureTokenizer, dict[str, Any]]:
    """A foreign tokenizer, and what the config.json of its bundle would hold but for the files.

    Raises:
        ValueError: as :func:`read_foreign`, or if the file holds a prior.
    """
    source = read_foreign(path)
    if not isinstance(source.module, PictureTokenizer):
        raise ValueError(
            f"expected a tokenizer in {path}, got a prior: give it one with 'sundae convert {path} DST --tokenizer BUNDLE'"
        )
    parts = {"tokenizer": describe_part(source.module, {})}
    return source.module, {"format_version": FORMAT_VERSION, "parts": parts, "provenance": source.provenance}
