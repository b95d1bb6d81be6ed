"""Giving a model away: as a folder with a model card, and to the Hub."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from sundae import hub
from sundae.bundles import Model, load, locate
from sundae.card import PICTURES, draw_samples, front_matter, model_card
from sundae.checkpoint import gather, read_parts, save_bundle
from sundae.convert.reading import is_foreign
from sundae.pipeline import check_model

PICTURE_LINK = re.compile(r"!\[[^\]]*\]\(([\w-][\w.-]*\.(?:webp|png|jpg|jpeg|gif))\)")


@dataclass(frozen=True)
class Pushed:
    """What went to the Hub."""

    repository: str  # owner/name or owner/name@branch: what sundae.load takes
    commit: str
    url: str  # of the commit
    files: tuple[str, ...]


def save_pretrained(model: Model, folder: str | Path) -> Path:
    """Save a model as a bundle: config, weights, and a model card with pictures that it drew.

    Args:
        model: as :func:`sundae.load` gives it; what its provenance says of data, licence, metrics, intended use
            and limits goes into the card.
        folder: a new one, or an empty one; it appears whole or not at all.

    Returns:
        The folder.

    Raises:
        ValueError: if the folder holds something or cannot be made.
    """
    check_model(model)
    target = Path(folder)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise ValueError(f"expected a new or an empty folder, got {str(target)!r}")
    if not target.parent.is_dir():
        raise ValueError(f"expected an existing folder to save in, got {str(target.parent)!r}")
    making = target.parent / f".sundae-{uuid.uuid4().hex}"
    try:
        save_parts(model, making)
        for name, content in new_card(model, target.name).items():
            (making / name).write_bytes(content)
        os.replace(making, target)
    except OSError as error:
        raise ValueError(
            f"expected a folder that can be written, got {str(target)!r}: {error.strerror}"
        ) from None
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return target


def push_to_hub(
    model: Model | str | Path, repository: str, private: bool = False, message: str = "Upload a bundle"
) -> Pushed:
    """Upload a model to the Hugging Face Hub in one commit; ``sundae.load(repository)`` loads it from there.

    The login of ``hf auth login`` or ``HF_TOKEN`` is used. A folder's own README.md is its model card; a bundle
    without one gets one written, with pictures that the model draws. Of a folder, only the bundle's own files go:
    config, weights, card, and the pictures that the card shows. Weights that an earlier bundle of the repository
    had and this one has not are taken away there.

    Args:
        model: a loaded model, the name of one, or a bundle's folder, which is checked first.
        repository: ``"owner/name"`` or ``"owner/name@branch"``; both are made if they are not there.
        private: whether a repository that is made is to be private.
        message: of the commit.

    Raises:
        ValueError: if the bundle is damaged, nobody is logged in, the Hub refuses or is out of reach, or the
            repository holds something that is no bundle.
    """
    target = hub.parse(str(repository))
    if target is None:
        raise ValueError(f"expected a repository as owner/name or owner/name@branch, got {repository!r}")
    if not message.strip():
        raise ValueError("expected a message for the commit, got an empty one")
    hub.check_login(target)  # before the work: a card may take a minute to draw
    with bundle_folder(model) as (loaded, folder):
        files = {"config.json": folder / "config.json"}
        files |= {file: folder / file for part in read_parts(folder).values() for file in part["files"]}
        files |= own_card(loaded, folder, str(target)) or new_card(loaded, str(target))
        url, commit = hub.upload(target, files, private, message)
    return Pushed(str(target), commit, url, tuple(sorted(files)))


@contextlib.contextmanager
def bundle_folder(model: Model | str | Path) -> Iterator[tuple[Model, Path]]:
    """A checked model, and a folder with its bundle: its own, or a passing one if it has none."""
    loaded = model
    if not isinstance(loaded, Model):
        _, folder = locate(loaded)
        loaded = load(folder)
        if not is_foreign(folder):
            with whole_folder(folder) as whole:
                yield loaded, whole
            return
    with tempfile.TemporaryDirectory(prefix="sundae-") as passing:
        save_parts(loaded, Path(passing))
        yield loaded, Path(passing)


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A bundle's folder, or a passing one of the same name with what it borrows from others."""
    if not any("bundle" in part for part in read_parts(folder).values()):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="sundae-") as passing:
        gather(folder, Path(passing, folder.resolve().name))
        yield Path(passing, folder.resolve().name)


def save_parts(model: Model, folder: Path) -> None:
    """Config and weights, with the precision that they have."""
    parts = {"tokenizer": model.tokenizer, "prior": model.prior}
    modules = {name: module for name, module in parts.items() if module is not None}
    values = [value for module in modules.values() for value in module.state_dict().values()]
    half = all(torch.equal(value.half().to(value.dtype), value) for value in values)
    save_bundle(folder, modules, model.config["provenance"], half)


def new_card(model: Model, address: str) -> dict[str, bytes]:
    """A model card and its pictures, by file name."""
    pictures = {PICTURES: draw_samples(model)} if model.prior else {}
    return {"README.md": model_card(model, address, bool(pictures)).encode(), **pictures}


def own_card(model: Model, folder: Path, address: str) -> dict[str, bytes]:
    """The card that lies in a bundle's folder, made fit for the Hub, and the pictures in the folder that it shows;
    nothing if there is none.

    Raises:
        ValueError: if the card is no text.
    """
    path = folder / "README.md"
    if not path.is_file():
        return {}
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"expected a model card in UTF-8, got {path}, which is not") from None
    text = text.replace(f'sundae.load("{folder.name}")', f'sundae.load("{address}")')
    text = text if text.startswith("---\n") else front_matter(model) + text
    shown = [folder / name for name in PICTURE_LINK.findall(text)]
    return {"README.md": text.encode()} | {path.name: path.read_bytes() for path in shown if path.is_file()}
