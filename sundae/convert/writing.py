"""A foreign file as a bundle."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import cast

import torch
from torch import nn

from sundae.bundles import Model, load
from sundae.card import model_card
from sundae.checkpoint import read_config, save_bundle
from sundae.convert.reading import Source, read_foreign
from sundae.priors.contract import Prior
from sundae.tokenizer import PictureTokenizer


def convert(
    path: Path,
    folder: Path,
    config: Path | None = None,
    form: str | None = None,
    tokenizer: str | Path | None = None,
) -> Source:
    """Write a bundle of a foreign file, in full precision, or nothing at all.

    Args:
        path, config, form: as :func:`sundae.convert.reading.read_foreign`.
        folder: new, or empty.
        tokenizer: for a prior: the model whose tokens it draws, as :func:`sundae.load` takes it.

    Raises:
        ValueError: as :func:`sundae.convert.reading.read_foreign`; if the folder is in use or cannot be made; if a
            prior has no tokenizer or another's.
    """
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"expected a new or empty folder for the bundle, got {str(folder)!r}")
    if not folder.parent.is_dir():
        raise ValueError(f"expected an existing folder for the bundle, got {str(folder.parent)!r}")
    source = read_foreign(path, config, form)
    parts, provenance = {source.part: source.module}, source.provenance
    if given := tokenizer_for(source, tokenizer):
        parts = {"tokenizer": given.tokenizer} | parts
        provenance = provenance | {"tokenizer": given.config["provenance"]}
    with tempfile.TemporaryDirectory(prefix=".sundae-", dir=folder.parent) as hidden:
        made = Path(hidden) / "bundle"
        save_bundle(made, parts, provenance, half=False)
        (made / "README.md").write_text(card(folder.name, made, parts), encoding="utf-8")
        os.replace(made, folder)
    return source


def tokenizer_for(source: Source, name: str | Path | None) -> Model | None:
    """The model whose tokenizer a prior is given; None for a tokenizer.

    Raises:
        ValueError: if a prior has none, or one of other codes; or a tokenizer is given one.
    """
    if source.part == "tokenizer":
        if name is not None:
            raise ValueError(
                "expected a tokenizer only for a prior, got a file that holds a tokenizer itself"
            )
        return None
    if name is None:
        raise ValueError("expected the bundle of a tokenizer for this prior (--tokenizer), got none")
    model, prior = load(name), cast(Prior, source.module)
    books = [(part.config.codebook_size, part.config.depth) for part in (model.tokenizer, prior)]
    if books[0] != books[1]:
        raise ValueError(
            f"expected a tokenizer with the prior's codes {books[1]} (size, depth), got {books[0]}"
        )
    return model


def card(name: str, folder: Path, parts: dict[str, nn.Module]) -> str:
    """The bundle's README, written from its config."""
    tokenizer, prior = cast(PictureTokenizer, parts["tokenizer"]), cast("Prior | None", parts.get("prior"))
    model = Model(name, tokenizer, prior, read_config(folder), torch.device("cpu"))
    return model_card(model, name, pictures=False)
