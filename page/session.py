"""What the server keeps for one visitor: the picture, the last result and the job that is running."""

from __future__ import annotations

import dataclasses
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sundae
from page.checks import MAX_CANDIDATES, MAX_SEED, MAX_STEPS, Order, mask_from_url, whole_number
from page.events import Event, Numbers, crops, full_mask, picture_url, view_size
from sundae.image import Picture, load_picture, save_picture
from sundae.pipeline import Frame, Inpainter, settings
from sundae.sampler import SamplerConfig


@dataclasses.dataclass
class Result:
    """A finished redraw: its last frame, and which candidate the visitor has chosen."""

    job: int
    frame: Frame
    order: Order
    config: SamplerConfig
    choice: int = 0


class Session:
    """One visitor. Lives in gr.State and nowhere else; ``close`` forgets everything.

    Methods return or yield events for the page. A job is known by its number: whatever makes it stale (cancel,
    a new picture, the visitor leaving) moves the number on, and the job stops within one step.
    """

    def __init__(self) -> None:
        self._numbers = Numbers()
        self._lock = threading.Lock()
        self._folder: Path | None = None
        self._job = 0
        self._choice = 0
        self._finished = 0
        self._earlier: list[dict[str, Any]] = []
        self.picture: Picture | None = None
        self.result: Result | None = None
        self.closed = False

    # -- pictures ---------------------------------------------------------------------------------------

    def load(self, source: Any, name: str, example: int | None = None) -> Event:
        """Take a new picture. Raises ValueError if it is not one; the old picture then stays."""
        picture = load_picture(source)
        self._earlier = []
        return {**self._take(picture, f"{name}, {picture.size[0]} × {picture.size[1]}"), "example": example}

    def use_as_input(self, model: Any) -> Event:
        """The chosen result becomes the picture, so that painting can go on from there."""
        if self.picture is None or self.result is None:
            raise ValueError("There is no result yet: paint, then press Redraw.")
        fresh = load_picture(self.result.frame.image(self.result.choice))
        picture = dataclasses.replace(self.picture, image=fresh.image, rgb=fresh.rgb)
        self._earlier.append(result_settings(model, self.result))
        return self._take(picture, "The result is the picture now")

    def _take(self, picture: Picture, status: str) -> Event:
        with self._lock:
            self._job += 1
            self.picture, self.result = picture, None
        width, height = view_size(picture.size)
        note = " ".join(picture.notes)
        return self.event(
            "picture", view=picture_url(picture), width=width, height=height, status=status, note=note
        )

    # -- redrawing --------------------------------------------------------------------------------------

    def order(self, mask_url: Any, seed: Any, steps: Any, candidates: Any) -> Order:
        """Everything the page posted, checked. Raises ValueError with the first thing wrong."""
        if self.picture is None:
            raise ValueError("There is no picture. Please load one.")
        return Order(
            mask=full_mask(mask_from_url(mask_url, view_size(self.picture.size)), self.picture.size),
            seed=whole_number(seed, "The seed", 0, MAX_SEED),
            steps=whole_number(steps, "Steps", 1, MAX_STEPS),
            candidates=whole_number(candidates, "Candidates", 1, MAX_CANDIDATES),
        )

    def redraw(self, inpainter: Inpainter, order: Order) -> Iterator[Event]:
        """Redraw the hole: a start, a frame for every step, then done. Closing the generator stops the work."""
        job, picture = self._begin()
        started = time.perf_counter()
        config = SamplerConfig(steps=order.steps)
        yield self.event("start", job=job, candidates=order.candidates, total=order.steps)
        frames, count = inpainter.prepare(picture, order.mask).run(config, seeds=order.seeds), 0
        for frame in frames:
            if job != self._job:
                frames.close()
                return
            count += 1
            if frame.last:
                self._finish(job, frame, order, config)
            shown = crops(frame.patches, frame.box, picture.size, frame.last)
            yield self.event("frame", job=job, index=frame.index, total=frame.total, last=frame.last, **shown)
        yield self._done(job, order, count, time.perf_counter() - started)

    def _begin(self) -> tuple[int, Picture]:
        with self._lock:
            if self.picture is None:
                raise ValueError("There is no picture. Please load one.")
            self._job += 1
            self._choice = 0
            return self._job, self.picture

    def _finish(self, job: int, frame: Frame, order: Order, config: SamplerConfig) -> None:
        with self._lock:
            if job == self._job:
                self.result = Result(job, frame, order, config, self._choice)

    def _done(self, job: int, order: Order, frames: int, seconds: float) -> Event:
        self._finished += 1
        return self.event(
            "done",
            job=job,
            count=self._finished,
            seconds=seconds,
            steps=order.steps,
            seeds=order.seeds,
            frames=frames,
        )

    def cancel(self) -> Event:
        """Make the running job stale; the last result stays."""
        with self._lock:
            self._job += 1
        return self.event("stopped", status="Cancelled", note="")

    def adopt(self, job: Any, index: Any) -> None:
        """Choose a candidate, while the job runs or after it. What does not fit is ignored."""
        index = whole_number(index, "The candidate", 0, MAX_CANDIDATES - 1)
        with self._lock:
            if job == self._job:
                self._choice = index
            if self.result is not None and job == self.result.job and index < self.result.order.candidates:
                self.result.choice = index

    # -- leaving with something -------------------------------------------------------------------------

    def download(self, folder: Path, model: Any) -> Event:
        """Write the chosen result as a PNG at the upload's size, settings inside, and tell the page where."""
        if self.picture is None:
            raise ValueError("There is no picture yet.")
        edits = [*self._earlier, *([result_settings(model, self.result)] if self.result else [])]
        if not edits:
            raise ValueError("There is no result yet: paint, then press Redraw.")
        image = self.result.frame.image(self.result.choice) if self.result else self.picture.image
        self._folder = self._folder or folder / secrets.token_hex(16)
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"sundae-{edits[-1]['seed']}.png"
        notes = save_png(image, path, self.picture, edits)
        return self.event("file", path=str(path), name=path.name, note=" ".join(notes))

    def close(self) -> None:
        """Forget everything, files included; a running job stops."""
        with self._lock:
            self._job += 1
            self.closed = True
            self.picture = self.result = None
            self._earlier = []
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def event(self, kind: str, **fields: Any) -> Event:
        return self._numbers.event(kind, **fields)


def result_settings(model: Any, result: Result) -> dict[str, Any]:
    """What makes the chosen candidate again, given the same picture and mask."""
    return settings(model, result.config, result.order.seeds[result.choice])


def save_png(image: Any, path: Path, picture: Picture, edits: list[dict[str, Any]]) -> list[str]:
    """Write the picture as a PNG with the settings of its last edit, and of those before it, inside.

    Returns what the visitor should know: a colour mode that PNG lacks becomes RGB.
    """
    inside = {**edits[-1], "version": getattr(sundae, "__version__", "unknown")}
    if len(edits) > 1:
        inside["earlier"] = edits[:-1]
    try:
        return save_picture(image, path, picture, inside, overwrite=True)
    except ValueError:
        plain = load_picture(load_picture(image).rgb)
        save_picture(plain.image, path, plain, inside, overwrite=True)
        return [f"PNG cannot hold {image.mode} colours, so the file is RGB."]
