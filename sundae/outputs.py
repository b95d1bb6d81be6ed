"""Results on the disk: what may be written is known before the work, and what is written is whole or absent."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sundae import image as images
from sundae.checkpoint import file_hash
from sundae.films import film_format
from sundae.image import MIN_SIDE, Picture
from sundae.pipeline import Frame
from sundae.sampler import MAX_SEED

FRAME_NAME = re.compile(r"(seed-\d+-)?step-\d{4,}\.png")

Report = dict[str, Any]  # what --json prints


def numbered(output: Path, seed: int, count: int) -> dict[int, Path]:
    """A file for each seed from ``seed`` on: OUT itself for one, else OUT with the seed in its name.

    Raises:
        ValueError: if the last seed is too large.
    """
    if seed + count - 1 > MAX_SEED:
        raise ValueError(
            f"expected seeds of at most {MAX_SEED}, got {seed + count - 1} for the last of {count}"
        )
    if count == 1:
        return {seed: output}
    return {s: output.with_name(f"{output.stem}-{s}{output.suffix}") for s in range(seed, seed + count)}


def check_targets(targets: list[Path], overwrite: bool) -> None:
    """Raises ValueError if one exists (unless ``overwrite``) or is no name for a file in a folder."""
    for target in targets:
        there = is_taken(target)
        if target.is_dir():
            raise ValueError(f"expected a name for the output, got the folder {str(target)!r}")
        if there and not overwrite:
            raise ValueError(f"expected a new output, got {str(target)!r}, which exists: add --overwrite")
        if there and not target.is_file():
            raise ValueError(f"expected a name for the output, got {str(target)!r}, which is no regular file")
        check_folder(target.parent)


def is_taken(path: Path) -> bool:
    """Whether anything is there, a broken link included; ValueError if nothing can be."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:  # too long, or with a null
        reason = getattr(error, "strerror", error)
        raise ValueError(f"expected a name for the output, got {str(path)!r}: {reason}") from None
    return True


def check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise ValueError(f"expected an existing folder for the output, got {str(folder)!r}")


def check_frames(folder: Path | None, outputs: list[Path], inputs: list[Path], overwrite: bool) -> None:
    """Raises ValueError unless the folder is new, empty, or may be written over, and no frame would take the
    place of an output, of the picture or of the mask."""
    if folder is None:
        return
    if os.path.realpath(folder) in [os.path.realpath(path) for path in outputs]:
        raise ValueError(f"expected a folder for the frames, got the output's name {str(folder)!r}")
    for path in (*outputs, *inputs):
        homes = (path, Path(os.path.realpath(path)))  # of a link both count
        if any(FRAME_NAME.fullmatch(p.name) and p.parent.resolve() == folder.resolve() for p in homes):
            raise ValueError(
                f"expected another folder for the frames than that of {str(path)!r}, which has the name of a frame"
            )
    if not is_taken(folder):
        check_folder(folder.parent)
        return
    if not folder.is_dir():
        raise ValueError(f"expected a folder for the frames, got {str(folder)!r}, which is none")
    names = list(folder.iterdir())
    if names and not overwrite:
        raise ValueError(
            f"expected a new or empty folder for the frames, got {str(folder)!r}: add --overwrite"
        )
    if folders := [path for path in names if FRAME_NAME.fullmatch(path.name) and path.is_dir()]:
        raise ValueError(f"expected room for the frames, got the folder {str(folders[0])!r} in their place")


def rehearse(picture: Picture, target: Path) -> None:
    """Save a corner of the picture beside where the result will be: a format that does not hold it, a folder that
    may not be written to and a full disk are known before the work.

    Raises:
        ValueError: if that does not work, or the target's extension is unknown.
    """
    corner = picture.image.crop((0, 0, MIN_SIDE, MIN_SIDE))
    place = Path(os.path.realpath(target)).parent
    try:
        with passing_folder(place if place.is_dir() else place.parent) as folder:
            images.save_picture(corner, folder / target.name, picture)
    except OSError as error:
        raise ValueError(
            f"expected a folder that may be written to, got {str(place)!r}: {error.strerror}"
        ) from None
    except ValueError as error:
        raise ValueError(f"{target.name}: {error}") from None


@contextlib.contextmanager
def passing_folder(place: Path) -> Iterator[Path]:
    """A new hidden folder in ``place``, gone with all it holds at the end. Its name is known before it is made:
    whenever Ctrl-C comes, it goes."""
    folder = place / f".sundae-{uuid.uuid4().hex}"
    try:
        folder.mkdir(mode=0o700)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def hidden_folder(folder: Path | None) -> Iterator[Path | None]:
    """Where frames wait until all is done: inside or beside ``folder``, so on the same disk."""
    if folder is None:
        yield None
        return
    with passing_folder(folder if folder.is_dir() else folder.parent) as hidden:
        yield hidden


def frame_saver(folder: Path | None, about: Report, several: bool) -> Callable[[Frame], None] | None:
    """A function that saves frames as ``step-0000.png`` ..., with the seed before it if there are several."""
    if folder is None:
        return None
    stem = f"seed-{about['seed']}-step" if several else "step"

    def keep(frame: Frame) -> None:
        path = folder / f"{stem}-{frame.index:04}.png"
        images.save_picture(frame.image(), path, frame.prepared.picture, about | {"step": frame.index})

    return keep


@contextlib.contextmanager
def all_or_nothing() -> Iterator[contextlib.ExitStack]:
    """A stack to put the undoing of each step on: done if a later one fails, Ctrl-C included."""
    with contextlib.ExitStack() as undo:
        yield undo
        undo.pop_all()


def publish(hidden: Path, folder: Path, undo: contextlib.ExitStack) -> int:
    """Move the finished frames to where they were asked for; how many they are.

    Frames of an earlier run that lie there (only with ``--overwrite``) go, so that the folder is one film.
    """
    if not folder.is_dir():
        undo.callback(lambda: folder.is_dir() and folder.rmdir())
        folder.mkdir()
    names = [file.name for file in hidden.iterdir()]
    for name in names:
        if not (folder / name).exists():
            undo.callback((folder / name).unlink, missing_ok=True)
        os.replace(hidden / name, folder / name)
    for old in folder.iterdir():
        if FRAME_NAME.fullmatch(old.name) and old.name not in names:
            old.unlink()
    return len(names)


def save(frame: Frame, target: Path, about: Report, overwrite: bool, undo: contextlib.ExitStack) -> Report:
    """Save the last frame of a run."""
    saved = save_image(frame.image(), frame.prepared.picture, target, about, overwrite, undo)
    return saved | {"seed": about["seed"], "steps": frame.index, "converged": bool(frame.converged.all())}


def check_films(reels: list[Path], outputs: list[Path], overwrite: bool) -> None:
    """Raises ValueError if a film cannot be made here or would take an output's place, or as
    :func:`check_targets`."""
    for reel in reels:
        film_format(reel)
        if os.path.realpath(reel) in [os.path.realpath(output) for output in outputs]:
            raise ValueError(f"expected another name for the film than the output's, got {str(reel)!r}")
    check_targets(reels, overwrite)


def save_film(data: bytes, target: Path, undo: contextlib.ExitStack) -> Report:
    """Save a film; ``undo`` takes it away again, unless it replaced another."""
    if not os.path.lexists(target):
        undo.callback(target.unlink, missing_ok=True)
    place = Path(os.path.realpath(target))
    with passing_folder(place.parent) as folder:
        (folder / place.name).write_bytes(data)
        os.replace(folder / place.name, place)
    return {"path": str(target), "sha256": file_hash(target), "bytes": len(data)}


def save_image(
    image: Any, picture: Picture, target: Path, about: Report, overwrite: bool, undo: contextlib.ExitStack
) -> Report:
    """Save one picture; ``undo`` takes it away again, unless it replaced another."""
    if not os.path.lexists(target):
        undo.callback(target.unlink, missing_ok=True)
    notes = images.save_picture(image, target, picture, about, overwrite)
    size = target.stat().st_size
    return {"path": str(target), "sha256": file_hash(target), "bytes": size, "notes": notes}
