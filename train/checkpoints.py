"""Training states on disk: written atomically, the last few and the best kept, the newest found again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from sundae.checkpoint import to_json

BEST = "best.pt"


def save_atomically(state: dict[str, Any], path: Path) -> None:
    """Write ``state`` beside ``path``, flush it to the disk, then rename: a reader or a crash sees the old
    file or the new one, never half of one.

    Raises:
        ValueError: if it cannot be written (a full disk, say); what was there before is untouched.
    """
    temporary = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch hides a failed write behind a RuntimeError
        temporary.unlink(missing_ok=True)
        cause = error.__context__ if isinstance(error.__context__, OSError) else error
        reason = getattr(cause, "strerror", None) or str(cause).splitlines()[0]
        raise ValueError(
            f"expected to write the training state {path}: {reason}; the checkpoints before it are kept"
        ) from None


def load_state(path: Path) -> dict[str, Any]:
    """The training state at ``path``: a file, or a run's folder, whose newest state it is then.

    Raises:
        ValueError: if there is none, or the file is not one.
    """
    if path.is_dir() and (newest := Checkpoints(path).newest()) is not None:
        path = newest
    if not path.is_file():
        raise ValueError(f"expected a training state at {path}, found none")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # pickle, zip and torch each have their own errors for a file that is not theirs
        raise ValueError(f"expected a training state in {path}, found another kind of file") from None


def check_shape(state: dict[str, Any], config: Any, folder: str) -> None:
    """Raise ValueError unless a state is of the model that is about to go on with it."""
    if state.get("model") != to_json(config):
        raise ValueError(
            f"expected a model of the shape in {folder} to go on with, got other model settings: choose another out"
        )


class Checkpoints:
    """The states of one run: ``state-STEP.pt`` of the last ``keep`` saves, and ``best.pt``.

    The loss trace and the pictures of the run lie beside them.
    """

    def __init__(self, folder: Path, keep: int = 2):
        self.folder, self.keep = folder, keep

    def newest(self) -> Path | None:
        """The state with the highest step, or None if there is none."""
        return max(self.folder.glob("state-*.pt"), default=None, key=step_of)

    def load(self) -> dict[str, Any] | None:
        """The newest state, or None at a fresh start."""
        newest = self.newest()
        return None if newest is None else load_state(newest)

    def save(self, state: dict[str, Any]) -> None:
        """Save a state under its step and remove the ones that are too old; raises as
        :func:`save_atomically`."""
        save_atomically(state, self.folder / f"state-{state['step']:08d}.pt")
        for old in sorted(self.folder.glob("state-*.pt"), key=step_of)[: -self.keep]:
            old.unlink()

    def clear_partial(self) -> None:
        """Remove what a process that was killed while it saved left behind."""
        for partial in self.folder.glob("*.partial"):
            partial.unlink()

    def keep_best(self) -> None:
        """Make the newest state the best one too, by a hard link where the disk knows them."""
        newest = self.newest()
        if newest is None:
            return
        temporary = self.folder / "best.partial"
        temporary.unlink(missing_ok=True)
        try:
            os.link(newest, temporary)
        except OSError:
            temporary.write_bytes(newest.read_bytes())
        os.replace(temporary, self.folder / BEST)


def step_of(path: Path) -> int:
    """The step in the name ``state-STEP.pt``."""
    return int(path.stem.rpartition("-")[2])
