"""Models by name: those in the box, and bundles in a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sundae.checkpoint import load_prior, load_tokenizer, read_config
from sundae.hourglass import Hourglass
from sundae.tokenizer import PictureTokenizer

DEFAULT_MODEL = "illustrated-1024"


@dataclass(frozen=True, eq=False)
class Model:
    """A tokenizer and, unless the bundle has none, a prior over its tokens."""

    name: str
    tokenizer: PictureTokenizer
    prior: Hourglass | None
    config: dict[str, Any]  # the bundle's config.json
    device: torch.device

    @property
    def downsample_factor(self) -> int:
        """f: px per token side."""
        return self.tokenizer.config.downsample_factor

    @property
    def resolution(self) -> int:
        """Side in px of the pictures that the prior was trained on (1024 for a tokenizer alone)."""
        return self.prior.config.grid[0] * self.downsample_factor if self.prior else 1024

    @property
    def hash(self) -> str:
        """The first 12 digits of the prior's (or tokenizer's) weights hash: names exactly these weights."""
        parts = self.config["parts"]
        return parts["prior" if "prior" in parts else "tokenizer"]["hash"][:12]


def weights_folder() -> Path:
    """Where the bundles in the box lie: beside the package in a checkout, inside it once installed."""
    beside = Path(__file__).resolve().parent.parent / "weights"
    return beside if beside.is_dir() else Path(__file__).resolve().parent / "weights"


def models() -> list[str]:
    """Names of the bundles in the box, sorted."""
    return sorted(path.parent.name for path in weights_folder().glob("*/config.json"))


def find(name: str | Path) -> Path:
    """The folder of a bundle: a name in the box, or a folder.

    Raises:
        ValueError: if there is neither.
    """
    inside = weights_folder() / str(name)
    if str(name) in models():
        return inside
    folder = Path(name)
    if folder.is_dir():
        return folder
    raise ValueError(
        f"expected a model name ({', '.join(models()) or 'none in the box'}) or a bundle's folder, got {str(name)!r}"
    )


def load(name: str | Path = DEFAULT_MODEL, device: str = "cpu") -> Model:
    """Load a model by name or folder, checked by hash, as float32.

    Args:
        name: a bundle in the box (see :func:`models`) or a folder.
        device: a torch device, "cpu" or "cuda".

    Raises:
        ValueError: if the model is unknown, damaged, or the device is not there.
    """
    folder = find(name)
    content = read_config(folder)
    try:
        target = torch.empty(0, device=device).device
        torch.empty(0, device=target).cpu()  # the meta device holds no values
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"expected a device of this machine such as 'cpu', got {device!r}: {str(error).splitlines()[0]}"
        ) from None
    tokenizer = load_tokenizer(folder).to(target)
    prior = load_prior(folder).to(target) if "prior" in content["parts"] else None
    books = [(part.config.codebook_size, part.config.depth) for part in (tokenizer, prior) if part]
    if len(set(books)) > 1:
        raise ValueError(
            f"expected a prior over the tokenizer's codes {books[0]} (size, depth), got {books[1]}"
        )
    return Model(folder.resolve().name, tokenizer, prior, content, target)
