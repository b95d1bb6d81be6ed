"""Models by name: those in the box, bundles in a folder or on the Hub, and files of other projects."""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sundae.checkpoint import load_prior, load_tokenizer, read_config, read_parts
from sundae.convert.reading import is_foreign, load_foreign
from sundae.priors.contract import Prior
from sundae.tokenizer import PictureTokenizer

DEFAULT_MODEL = "illustrated-1024"


@dataclass(frozen=True, eq=False)
class Model:
    """A tokenizer and, unless the bundle has none, a prior over its tokens."""

    name: str
    tokenizer: PictureTokenizer
    prior: Prior | None
    config: dict[str, Any]  # the bundle's config.json
    device: torch.device

    @property
    def downsample_factor(self) -> int:
        """f: px per token side."""
        return self.tokenizer.config.downsample_factor

    @property
    def resolution(self) -> int:
        """Side in px of the pictures that the prior was trained on; for a tokenizer alone its own, or 1024."""
        if self.prior:
            return self.prior.config.grid[0] * self.downsample_factor
        return getattr(self.tokenizer.config, "resolution", 1024)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in px of the pictures that the prior was trained on, as :attr:`resolution`."""
        if not self.prior:
            return self.resolution, self.resolution
        rows, columns = self.prior.config.grid
        return columns * self.downsample_factor, rows * self.downsample_factor

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


def locate(name: str | Path) -> tuple[str, Path]:
    """What a bundle is called, and its folder: in the box, on the disk, or the local copy of one on the Hub, which
    is fetched if need be (see :func:`sundae.hub.fetch`). A file is taken for a foreign checkpoint.

    Raises:
        ValueError: if there is none of that name.
    """
    if str(name) in models():
        return str(name), weights_folder() / str(name)
    with contextlib.suppress(OSError, ValueError, TypeError):  # a name that no file can have
        if str(name) and Path(name).is_dir():
            return Path(name).resolve().name, Path(name)
        if Path(name).is_file():
            return Path(name).stem, Path(name)
    from sundae import hub  # here: it is slow to import, and most models lie on the disk

    if repository := hub.parse(str(name)):
        return str(repository), hub.fetch(repository)
    raise ValueError(
        f"expected a model name ({', '.join(models()) or 'none in the box'}), a bundle's folder "
        f"or a repository on the Hub (owner/name or owner/name@revision), got {str(name)[:100]!r}"
    )


def load(name: str | Path = DEFAULT_MODEL, device: str | torch.device = "cpu") -> Model:
    """Load a model, checked by hash, as float32.

    Args:
        name: a bundle in the box (see :func:`models`), a folder, ``"owner/name"`` or ``"owner/name@revision"`` on
            the Hugging Face Hub, or a tokenizer's checkpoint of another project (see ``docs/formats.md``).
        device: a torch device, "cpu" or "cuda".

    Raises:
        ValueError: if the model is unknown, damaged or out of reach, or the device is not there.
    """
    target = find_device(device)
    title, folder = locate(name)
    if is_foreign(folder):
        foreign, content = load_foreign(folder)
        return Model(title, foreign.to(target), None, content, target)
    parts = read_parts(folder)
    tokenizer = load_tokenizer(folder).to(target)
    prior = load_prior(folder).to(target) if "prior" in parts else None
    books = [(part.config.codebook_size, part.config.depth) for part in (tokenizer, prior) if part]
    if len(set(books)) > 1:
        raise ValueError(
            f"expected a prior over the tokenizer's codes {books[0]} (size, depth), got {books[1]}"
        )
    return Model(title, tokenizer, prior, read_config(folder), target)


def find_device(name: str | torch.device) -> torch.device:
    """The torch device of that name.

    Raises:
        ValueError: if this machine has none that can hold a tensor.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's words about devices that it had once
            device = torch.device(name)
            torch.empty(1, device=device).cpu()  # the meta device, say, holds no values
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, AssertionError, ImportError, TypeError, ValueError):
        built = (
            "" if "cuda" not in str(name) or torch.backends.cuda.is_built() else ": torch has no CUDA here"
        )
        raise ValueError(
            f"expected a device of this machine ({', '.join(devices())}), got {str(name)!r}{built}"
        ) from None
    return device


def devices() -> list[str]:
    """Names of this machine's torch devices."""
    others = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return ["cpu", *others, *(["mps"] if torch.backends.mps.is_available() else [])]
