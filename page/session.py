"""What the server keeps for one visitor: the picture and those before it, the last result, the running job."""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
import shutil
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from page.ahead import Ahead
from page.checks import (
    MAX_CANDIDATES,
    MAX_SEED,
    MAX_STEPS,
    Order,
    mask_from_url,
    more_settings,
    whole_number,
)
from page.events import (
    Event,
    Numbers,
    crops,
    full_mask,
    jpeg_url,
    on_view,
    picture_url,
    sentence,
    veil_url,
    view_size,
)
from page.gpu import Runner, run_here
from page.heat import Heat
from page.shelf import Shelf
from page.sights import SIGHTS, Overtaken, watched
from page.trail import Trail
from sundae.bundles import Model
from sundae.changes import difference
from sundae.films import encode
from sundae.fit import Fit
from sundae.image import (
    Picture,
    extend_picture,
    load_picture,
    read_settings,
    resize_rgb,
    save_picture,
)
from sundae.pipeline import Frame, Inpainter, Prepared, ThinMask, UnseenMask, blank, prior_of
from sundae.sampler import SamplerConfig, SampleStep
from sundae.window import Box

SETTLED = 1e-3  # share of the cells that become noise before more steps: practically none
ONCE = "This model draws every cell once, so there are no more steps to take: vary the last result instead, under More."
THIN = "The mask covers no cell: paint more, or redraw the cells that it touches, under More settings."
UNSEEN = "All that is painted is transparent here and stays so: nothing of what is drawn would be seen."
OPAQUE = "What is added is opaque; what was transparent stays so."
SIDES = {"left": "on the left", "right": "on the right", "top": "at the top", "bottom": "at the bottom"}
MAX_RIM = 4096  # px on one side
PAST, PAST_PIXELS = 12, 60_000_000  # results that can be brought back, and pixels of their pictures
PAST_TRAILS = 32_000_000  # bytes of their steps
FORMER = 4  # pictures, before and ahead of the one that is here, that can come back
FORMER_PIXELS = 40_000_000  # of all of them together, unless a single one has more
NOTHING_TO_VARY = (
    "There is no result yet that could be varied: choose a variation of the picture, or a strength of 100 %."
)
UNUSUAL = "The models know aligned faces; this picture may be something else."
UNUSUAL_TO_ONE = "The model knows aligned faces of its own kind; this picture may be something else."


@dataclasses.dataclass
class Result:
    """A finished redraw: its last frame, and which candidate the visitor has chosen."""

    job: int
    frame: Frame
    order: Order
    config: SamplerConfig
    trail: Trail
    began: dict[str, Any] | None = None  # settings of the result whose tokens it began with
    choice: int = 0

    @property
    def picture(self) -> Picture:
        """What was redrawn."""
        return self.frame.prepared.picture

    @property
    def settings(self) -> dict[str, Any]:
        """What makes the chosen candidate again, given the same picture and mask."""
        settings = self.frame.prepared.settings(self.config, self.order.seeds[self.choice])
        if self.began is None:
            return settings
        if self.began.get("from_nothing") and self.frame.prepared.everything:
            settings["from_nothing"] = True
        return {**settings, "began_with": self.began}


@dataclasses.dataclass
class Past:
    """What brings a result back: everything but what can be made again from it."""

    job: int
    model: Model
    picture: Picture
    order: Order
    config: SamplerConfig
    began: dict[str, Any] | None
    step: SampleStep  # the last
    trail: Trail
    earlier: list[dict[str, Any]]  # settings of the edits that are part of the picture
    choice: int
    kept: bool = False  # one of its candidates, apart from the choice

    @property
    def pixels(self) -> int:
        return self.picture.rgb.size // 3

    def result(self) -> Result:
        prepared = prepare(Inpainter(self.model), self.picture, self.order)
        frame = Frame(self.step, prepared)
        return Result(self.job, frame, self.order, self.config, self.trail, self.began, self.choice)


@dataclasses.dataclass
class Former:
    """What was here before another picture took its place."""

    picture: Picture
    result: Result | None
    earlier: list[dict[str, Any]]  # as in Past


class Session:
    """One visitor. Lives in gr.State and nowhere else; ``close`` forgets everything.

    Methods return or yield events for the page. A job is known by its number: whatever makes it stale (cancel,
    a new picture, the visitor leaving) moves the number on, and the job stops within one step.
    """

    def __init__(self) -> None:
        self.visit = secrets.token_hex(8)  # what the names of the visitor's uploads begin with
        self._numbers = Numbers()
        self._lock = threading.RLock()
        self._comparing = threading.Lock()
        self._folder: Path | None = None
        self._job = 0
        self._choice = 0
        self._finished = 0
        self._shown = 0  # number of the event that showed the picture
        self._way = ""  # in which it came
        self._turn = -1  # of the choice of a candidate that was made last
        self._offered: tuple[Picture, str, dict[str, Any] | None, Any] | None = None
        self._newest = 0  # number of the latest upload that was a picture
        self._abandoned = {"sight": 0, "film": 0}  # of each kind the last that nobody waits for
        self._fits: tuple[Picture, list[tuple[int, Fit]]] | None = None
        self._earlier: list[dict[str, Any]] = []  # settings of the edits that are part of the picture by now
        self._former: list[Former] = []  # what can come back by going back, the nearest last
        self._ahead: list[Former] = []  # and by going forward after that, the nearest last
        self._past: list[Past] = []  # results that can be brought back, the newest last
        self.picture: Picture | None = None
        self.result: Result | None = None
        self.closed = False

    # -- pictures ---------------------------------------------------------------------------------------

    def offer(self, source: Any, name: str, upload: int | None = None) -> Event | None:
        """Read a new picture; the old one and its job go on until the page comes to ``take`` it. ``upload`` is the
        page's number for it. Nothing comes of it if a later one was read first: that is the one wanted.

        Raises:
            ValueError: if it is no picture.
        """
        settings = read_settings(source) if isinstance(source, bytes) else None
        picture = load_picture(source, name)
        with self._lock:
            if upload is not None and upload < self._newest:
                return None
            self._newest = self._newest if upload is None else upload
            self._offered = picture, name, settings, upload
        return self.event("offer", upload=upload)

    def take(self, upload: Any = None) -> Event | None:
        """Go on with the picture that was offered; not if that is a later one, for which the page will come too."""
        with self._lock:
            if self._offered is None:
                raise ValueError("The picture did not arrive. Please send it again.")
            picture, name, settings, offered = self._offered
            if offered != upload:
                return None
            self._offered = None
            return {**self.start_with(picture, name), "asked": settings, "upload": upload}

    def start_with(self, picture: Picture, name: str, example: int | None = None) -> Event:
        """Take a new picture; what was here can come back. Edits that are part of that are not part of this."""
        with self._lock:
            self._keep()
            self._earlier = []
            event = self._show(picture, "new", f"{name}, {picture.size[0]} × {picture.size[1]}")
        return {**event, "example": example}

    def use_as_input(self) -> Event:
        """The chosen result becomes the picture, so that painting can go on from there."""
        with self._lock:
            if self.picture is None or self.result is None:
                raise ValueError("There is no result yet: paint, then press Redraw.")
            picture = self._as_it_stands(self.picture)
            self._commit()
            return self._show(picture, "used", "The result is the picture now")

    def _as_it_stands(self, picture: Picture) -> Picture:
        """The picture, with the chosen result in it where there is one."""
        if self.result is None:
            return picture
        fresh = load_picture(self.result.frame.image(self.result.choice))
        return dataclasses.replace(picture, image=fresh.image, rgb=fresh.rgb)

    def _commit(self) -> None:
        """The result, if there is one, is part of the picture from now on; what was here can come back."""
        self._keep()
        if self.result is not None:
            self._earlier.append(self.result.settings)

    def _keep(self) -> None:
        """What is here, if anything is, can come back once another picture has taken its place, and so can what was
        ahead of it."""
        if self.picture is None:
            return
        self._former += [*self._ahead, self._here(self.picture)]
        self._ahead.clear()
        self._trim()

    def _here(self, picture: Picture) -> Former:
        return Former(picture, self.result, list(self._earlier))

    def _trim(self) -> None:
        """Of what can come back, the farthest goes when it is too much."""
        while (count := len(self._former) + len(self._ahead)) > FORMER or (
            count > 1 and self._pixels > FORMER_PIXELS
        ):
            (self._former or self._ahead).pop(0)

    def start_blank(self, model: Model) -> Event:
        """An empty picture of the model's own size, for a new face, unless it is here; what was here can come back."""
        empty = blank(model).picture
        with self._lock:
            before = self.picture
            if before is not None and before.image.mode == "RGB" and np.array_equal(before.rgb, empty.rgb):
                return self.event("anew")
            self._keep()
            self._earlier = []
            width, height = model.size
            return self._show(empty, "blank", f"An empty picture, {width} × {height}")

    def extend(self, margins: dict[str, Any]) -> Event:
        """An empty rim around the picture, or what is chosen of its result; the page paints it over."""
        sides = {
            side: whole_number(margins.get(side), f"What is added {words}", 0, MAX_RIM)
            for side, words in SIDES.items()
        }
        if not any(sides.values()):
            raise ValueError("Say first by how many px the picture is to grow, on any side.")
        with self._lock:
            if self.picture is None:
                raise ValueError("There is no picture. Please load one.")
            picture = extend_picture(self._as_it_stands(self.picture), **sides)
            self._commit()
            event = self._show(picture, "extended", f"Extended to {picture.size[0]} × {picture.size[1]}")
        assert picture.inner is not None, "extend_picture"
        note = OPAQUE if event["veil"] else ""
        return {**event, "inside": on_view(Box(*picture.inner), picture.size), "note": note}

    def see(self, what: Any, model: Model, asked: int) -> Iterator[Event]:
        """The picture as the model sees it: given back, as a heat map of surprise, or as a strip to another. ``asked``
        is the page's number for the question; the work stops within one step once nobody waits for the answer."""
        if what not in SIGHTS:
            raise ValueError(f"The sight must be one of {', '.join(SIGHTS)}.")
        with self._lock:
            if self.picture is None:
                raise ValueError("There is no picture. Please load one.")
            picture, shown = self._as_it_stands(self.picture), self._shown

        def wanted() -> bool:
            return self._shown == shown and self.waits_for("sight", asked)

        with (
            contextlib.suppress(Overtaken),
            Ahead(lambda: SIGHTS[what](watched(model, wanted), picture)) as sights,
        ):
            for image, text, done in sights:
                if not wanted():
                    return
                view = resize_rgb(np.asarray(image.convert("RGB")), view_size(image.size))
                yield self.event("sight", what=what, url=jpeg_url(view, quality=92), text=text, done=done)

    def abandon(self, what: Any, number: int) -> None:
        """Nobody waits any more for what the page has asked for of a kind, "sight" or "film", up to that number: what
        runs stops, and what is still in the queue never begins. Or nobody comes for the "upload" of that number, or
        hears of the "job" that runs."""
        if what not in ("sight", "film", "upload", "job"):
            raise ValueError("Only a sight, a film, an upload or a job can be abandoned.")
        with self._lock:
            if what in self._abandoned:
                self._abandoned[what] = max(number, self._abandoned[what])
            elif what == "job":
                self._job += 1
            elif self._offered is not None and self._offered[-1] == number:
                self._offered = None

    def waits_for(self, what: str, number: int) -> bool:
        """Whether somebody still waits for the sight or film of that number."""
        return not self.closed and number > self._abandoned[what]

    @property
    def _pixels(self) -> int:
        return sum(former.picture.rgb.size // 3 for former in [*self._former, *self._ahead])

    def go_back(self) -> Event:
        """The picture that another has taken the place of comes back, and its result with all candidates."""
        with self._lock:
            if not self._former:
                raise ValueError("There is no former picture to go back to.")
            return self._go(self._former, self._ahead, "former", "The former picture is back")

    def go_forward(self) -> Event:
        """What was here before :meth:`go_back` comes back as well."""
        with self._lock:
            if not self._ahead:
                raise ValueError("There is no later picture to go forward to.")
            return self._go(self._ahead, self._former, "later", "The later picture is back")

    def _go(self, to: list[Former], behind: list[Former], way: str, status: str) -> Event:
        assert self.picture is not None, "what can come back came before it, or after"
        # Of a face that was cancelled there is nothing to keep.
        kept = self.result is not None or self._way != "blank"
        if kept:
            behind.append(self._here(self.picture))
        there = to.pop()
        self._trim()
        self._earlier = list(there.earlier)
        event = self._show(there.picture, way, status)
        self.result = there.result
        return {**event, "kept": kept}

    def _show(self, picture: Picture, way: str, status: str) -> Event:
        """Make it the picture, without a result; the page is told which ``way`` it came: new, used,
        former, later, recalled, extended or blank."""
        self._job += 1
        self.picture, self.result, self._way = picture, None, way
        width, height = view_size(picture.size)
        view = {"view": picture_url(picture), "veil": veil_url(picture), "width": width, "height": height}
        view |= {"size": picture.size, "inner": picture.inner}
        event = self.event("picture", **view, status=status)
        self._shown = event["number"]
        history = {
            "way": way,
            "edits": len(self._earlier),
            "former": len(self._former),
            "ahead": len(self._ahead),
        }
        told = picture.notes if way == "new" else ()  # once for each picture
        return {**event, **history, "note": " ".join(map(sentence, told))}

    # -- models -----------------------------------------------------------------------------------------

    def fit(self, shelf: Shelf) -> Event:
        """Tell the page which model fits the picture best, and whether any does."""
        shown, fits = self._shown, self.fits(shelf)
        unusual = all(fit.unusual for _, fit in fits)
        hint = (UNUSUAL if len(shelf) > 1 else UNUSUAL_TO_ONE) if unusual else ""
        return self.event("fit", picture=shown, model=fits[0][0], hint=hint, grids=shelf.grids())

    def fits(self, shelf: Shelf) -> list[tuple[int, Fit]]:
        """How well each model fits the picture, with its place on the shelf, the best first."""
        with self._comparing:  # the second to ask waits for what the first finds out
            picture, known = self.picture, self._fits
            if picture is None:
                raise ValueError("There is no picture. Please load one.")
            if known is None or known[0] is not picture:
                known = picture, shelf.compare(picture)
                self._fits = None if self.closed else known
            return known[1]

    def model(self, shelf: Shelf, index: Any) -> Model:
        """The model in the :meth:`place` of the shelf.

        Raises:
            ValueError: if there is none in that place, or it cannot be loaded.
        """
        return shelf[self.place(shelf, index)]

    def place(self, shelf: Shelf, index: Any) -> int:
        """This place of the shelf; for None, which the page posts while it knows of no choice, that of the model
        which fits best.

        Raises:
            ValueError: if there is none.
        """
        if index is None:
            index = self.fits(shelf)[0][0] if len(shelf) > 1 else 0
        return whole_number(index, "The model", 0, len(shelf) - 1)

    # -- redrawing --------------------------------------------------------------------------------------

    def order(self, mask_url: Any, seed: Any, steps: Any, candidates: Any, more: Any = None) -> Order:
        """Everything the page posted, checked. Raises ValueError with the first thing wrong."""
        picture = self.picture  # the visitor may leave meanwhile, and it goes
        if picture is None:
            raise ValueError("There is no picture. Please load one.")
        return Order(
            mask=full_mask(mask_from_url(mask_url, view_size(picture.size)), picture.size),
            seed=whole_number(seed, "The seed", 0, MAX_SEED),
            steps=whole_number(steps, "Steps", 1, MAX_STEPS),
            candidates=whole_number(candidates, "Candidates", 1, MAX_CANDIDATES),
            **more_settings(more),
        )

    def redraw(self, inpainter: Inpainter, order: Order, run: Runner = run_here) -> Iterator[Event]:
        """Redraw the hole: a start, a frame for every step, then done. Closing the generator stops the work."""
        job, picture = self._begin()
        started, count = time.perf_counter(), 0
        with Ahead(lambda: self._draw(inpainter, picture, order, run)) as drawn:
            yield self.event("start", job=job, candidates=order.candidates, total=order.steps)
            heat = trail = None
            for config, began, frame in drawn:
                if job != self._job:
                    return
                heat, trail = heat or Heat(frame.prepared), trail or Trail(frame.prepared)
                trail.add(frame.step)
                shown = crops(frame.patches, frame.box, picture.size, frame.last)
                shown |= {"last": frame.last, "heat": heat.step(frame)}
                count += 1
                yield self.event("frame", job=job, index=frame.index, total=frame.total, **shown)
                if frame.last and self._finish(Result(job, frame, order, config, trail, began)):
                    yield self._done(job, order, count, time.perf_counter() - started)

    def _draw(
        self, inpainter: Inpainter, picture: Picture, order: Order, run: Runner
    ) -> Generator[tuple[SamplerConfig, dict[str, Any] | None, Frame], None, None]:
        """What the model does for a job: decoded frames, each with the sampler's settings and, for a variation,
        those of the result that it began with."""
        prepared = prepare(inpainter, picture, order)
        config, start = self._how(prepared, order)
        began = self.result.settings if start is not None and self.result else None
        with contextlib.closing(run(prepared, config, order.seeds, start, True)) as frames:
            for frame in frames:
                _ = frame.patches  # decoded here, and kept in the frame
                yield config, began, frame

    def _how(self, prepared: Prepared, order: Order) -> tuple[SamplerConfig, Tensor | None]:
        """Settings of the sampler, and the tokens that a variation or more steps begin with."""
        config = dataclasses.replace(prepared.defaults, steps=order.steps, **order.sampler)
        if order.keep_going:
            if not prior_of(prepared.model).revises:
                raise ValueError(ONCE)
            calm = {"temperature_start": config.temperature_end, "strength": SETTLED, "renoise": 0.0}
            return dataclasses.replace(config, **calm), self._last_tokens(prepared)
        if order.of_result and config.strength < 1:
            if self.result is None:
                raise ValueError(
                    NOTHING_TO_VARY
                )  # "paint, then press Redraw", as elsewhere, would lead here again
            return config, self._last_tokens(prepared)
        return config, None

    def _last_tokens(self, prepared: Prepared) -> Tensor:
        """int64 (1, h, w, q) of the candidate that was chosen last, on the grid that is to be redrawn.

        Raises:
            ValueError: if there is no result, or it was drawn by another model or for another part of the picture.
        """
        result = self.result
        if result is None:
            raise ValueError("There is no result yet: paint, then press Redraw.")
        last = result.frame.prepared
        if last.model is not prepared.model or last.window != prepared.window:
            raise ValueError("The last result was drawn by another model or for another part of the picture.")
        return result.frame.step.tokens[result.choice : result.choice + 1]

    def _begin(self) -> tuple[int, Picture]:
        with self._lock:
            if self.picture is None:
                raise ValueError("There is no picture. Please load one.")
            self._job += 1
            self._choice = 0
            return self._job, self.picture

    def _finish(self, result: Result) -> bool:
        """Keep the result, once the page has its last frame; not if the job was stopped meanwhile."""
        with self._lock:
            if result.job != self._job:
                return False
            result.choice = self._choice
            self.result = result
            self._remember(result)
            return True

    def _remember(self, result: Result) -> None:
        prepared = result.frame.prepared
        about = (result.order, result.config, result.began, result.frame.step, result.trail)
        earlier = list(self._earlier)
        self._past.append(Past(result.job, prepared.model, prepared.picture, *about, earlier, result.choice))
        while len(self._past) > PAST or (len(self._past) > 1 and self._past_is_large):
            self._past.pop(self._least)

    @property
    def _least(self) -> int:
        """Place of the oldest result before the last of which no candidate is kept; if there is none, of the oldest."""
        return next((place for place, past in enumerate(self._past[:-1]) if not past.kept), 0)

    @property
    def _past_is_large(self) -> bool:
        pictures = {id(past.picture): past.pixels for past in self._past}
        trails = sum(past.trail.bytes for past in self._past)
        return sum(pictures.values()) > PAST_PIXELS or trails > PAST_TRAILS

    def keep(self, job: Any) -> None:
        """A candidate of this result is kept: of those that can be brought back it is not the first to go."""
        with self._lock:
            for past in self._past:
                past.kept = past.kept or past.job == job

    def recall(self, job: Any, index: Any = None, turn: int | None = None) -> Event:
        """An earlier result comes back with its picture, its mask and all its candidates. The one of this ``index``
        is chosen, else the one that was; what was chosen before, by its ``turn``, but arrives later, is ignored."""
        with self._lock:
            past = next((each for each in self._past if each.job == job), None)
            if past is None:
                raise ValueError("This result is not kept any more.")
            if index is not None:
                past.choice = whole_number(index, "The candidate", 0, past.order.candidates - 1)
            self._turn = max(self._turn, self._turn + 1 if turn is None else turn)
            result = past.result()
            self._keep()
            self._earlier = list(past.earlier)
            event = self._show(past.picture, "recalled", "An earlier result is back")
            self.result = result
            return {**event, "job": past.job, "index": past.choice}

    def forget(self) -> Event:
        """Results before the one that is here are kept no longer."""
        with self._lock:
            self._past = [past for past in self._past if self.result and past.job == self.result.job]
            for past in self._past:
                past.kept = False
            return self.event("kept", jobs=[past.job for past in self._past])

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
            kept=[past.job for past in self._past],
        )

    def cancel(self) -> Event:
        """Make the running job stale; the last result stays."""
        with self._lock:
            self._job += 1
        return self.event("stopped", status="Cancelled", note="")

    def adopt(self, job: Any, index: Any, turn: int | None = None) -> None:
        """Choose a candidate, while the job runs or after it. What does not fit is ignored, and so is what was chosen
        before the last choice: ``turn`` counts them, because requests may overtake each other."""
        index = whole_number(index, "The candidate", 0, MAX_CANDIDATES - 1)
        with self._lock:
            turn = self._turn + 1 if turn is None else turn
            if turn <= self._turn:
                return
            self._turn = turn
            if job == self._job:
                self._choice = index
            for past in self._past:
                if past.job == job and index < past.order.candidates:
                    past.choice = index
            if self.result is not None and job == self.result.job and index < self.result.order.candidates:
                self.result.choice = index

    # -- leaving with something -------------------------------------------------------------------------

    def download(self, folder: Path) -> Event:
        """Write the chosen result as a PNG at the upload's size, settings inside, and tell the page where."""
        if self.picture is None:
            raise ValueError("There is no picture yet.")
        edits = self._edits
        if not edits:
            raise ValueError("There is no result yet: paint, then press Redraw.")
        image = self.result.frame.image(self.result.choice) if self.result else self.picture.image
        path = self._file(folder, f"sundae-{edits[-1]['seed']}.png")
        notes = save_png(image, path, self.picture, edits)
        return self.event("file", path=str(path), name=path.name, note=" ".join(map(sentence, notes)))

    @property
    def _edits(self) -> list[dict[str, Any]]:
        """Settings of what was drawn in the picture as it stands; of what a new face has replaced nothing is left."""
        edits = [*self._earlier, *([self.result.settings] if self.result else [])]
        return edits[max([place for place, each in enumerate(edits) if "from_nothing" in each], default=0) :]

    def difference(self, folder: Path) -> Event:
        """Write the chosen result less the picture that it was drawn in."""
        result = self._chosen()
        found = difference(result.picture, result.frame.image(result.choice))
        path = self._file(folder, f"sundae-{result.settings['seed']}-changes.png")
        found.image.save(path)
        note = f"{found.pixels} pixels changed, by up to {found.largest} of 255: that much is white."
        return self.event("file", path=str(path), name=path.name, note=note)

    def film(self, form: Any, region: bool, folder: Path, asked: int) -> Iterator[Event]:
        """Write the steps of the chosen result as a film, of the redrawn region or of the whole picture; it is told how far
        that is. ``asked`` is the page's number for it, by which it can be abandoned."""
        result, shown = self._chosen(), []
        total, pictures = result.trail.film(result.frame, result.choice, str(form), region)
        with Ahead(lambda: pictures) as decoded:
            for picture in decoded:
                if not self.waits_for("film", asked):
                    return
                shown.append(picture)
                yield self.event("filming", step=len(shown), total=total)
        data = encode(shown, str(form))
        if not self.waits_for("film", asked):
            return
        path = self._file(folder, f"sundae-{result.settings['seed']}.{form}")
        path.write_bytes(data)
        yield self.event("file", path=str(path), name=path.name, note="")

    def _chosen(self) -> Result:
        """The result, its choice as it is now."""
        with self._lock:
            if self.result is None:
                raise ValueError("There is no result yet: paint, then press Redraw.")
            return dataclasses.replace(self.result)

    def _file(self, folder: Path, name: str) -> Path:
        """Where a file for the visitor goes, which is removed with the session."""
        with self._lock:
            if self.closed:  # meanwhile, and nobody would remove the file
                raise ValueError("This visit is over.")
            self._folder = self._folder or folder / secrets.token_hex(16)
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder / name

    def close(self) -> None:
        """Forget everything, files included; a running job stops."""
        with self._lock:
            self._job += 1
            self.closed = True
            self.picture = self.result = self._offered = self._fits = None
            self._earlier, self._former, self._ahead, self._past = [], [], [], []
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def event(self, kind: str, **fields: Any) -> Event:
        return self._numbers.event(kind, visit=self.visit, **fields)


def prepare(inpainter: Inpainter, picture: Picture, order: Order) -> Prepared:
    """A picture of the model's own size that is painted over everywhere is drawn as any picture from nothing."""
    if picture.size == inpainter.model.size and order.mask.all():
        return dataclasses.replace(blank(inpainter.model), picture=picture)
    try:
        return inpainter.prepare(picture, order.mask, **order.edges)
    except ThinMask:
        raise ValueError(THIN) from None
    except UnseenMask:
        raise ValueError(UNSEEN) from None


def save_png(image: Any, path: Path, picture: Picture, edits: list[dict[str, Any]]) -> list[str]:
    """Write the picture as a PNG with the settings of its last edit, and of those before it, inside.

    Returns what the visitor should know: a colour mode that PNG lacks becomes RGB.
    """
    inside = {**edits[-1], "earlier": edits[:-1]} if len(edits) > 1 else edits[-1]
    try:
        return save_picture(image, path, picture, inside, overwrite=True)
    except ValueError:
        plain = dataclasses.replace(load_picture(load_picture(image).rgb), generated=picture.generated)
        save_picture(plain.image, path, plain, inside, overwrite=True)
        return [f"PNG cannot hold {image.mode} colours, so the file is RGB."]
