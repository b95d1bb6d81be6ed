"""The desk: takes what the page's events bring, works on the visitor's session, answers with updates."""

from __future__ import annotations

import contextlib
import functools
import logging
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from page.checks import MAX_SEED, uploaded_file, whole_number
from page.events import Event, sentence
from page.gpu import runner
from page.painter import post
from page.session import SIDES, Session
from page.shelf import Shelf
from sundae.image import load_picture
from sundae.pipeline import Inpainter

log = logging.getLogger(__name__)

MAX_TURN = 2**53 - 1  # the largest number that a page counts to
SORRY = "Something went wrong on the server and the job was stopped. The log there says more."


def in_words(name: str, error: Exception) -> str:
    """What a visitor is told of an error: a ValueError's own words, else an apology, and the log has the rest."""
    if isinstance(error, ValueError):
        return sentence(error)
    log.error("%s failed", name, exc_info=error)
    return SORRY


def answered(handler: Callable) -> Callable:
    """The session and the page's update. Errors become messages.

    A visitor whose connection was lost for a while comes back without a session: it counts as an empty one.
    """

    @functools.wraps(handler)
    def safe(self: Desk, session: Session | None, *args: Any) -> Any:
        session = session or Session()
        try:
            event = handler(self, session, *args)
        except Exception as error:
            event = session.event("note", note=in_words(handler.__name__, error))
        return session, gr.skip() if event is None else post(event)

    return safe


def streamed(handler: Callable) -> Callable:
    """The same for a handler that yields its events one after the other."""

    @functools.wraps(handler)
    def safe(self: Desk, session: Session | None, *args: Any) -> Iterator[tuple[Any, Any]]:
        session = session or Session()
        kept: Any = session  # with the first update, as of a redraw
        for event in told(self, session, *args):
            yield kept, post(event)
            kept = gr.skip()

    def told(desk: Desk, session: Session, *args: Any) -> Iterator[Event]:
        try:
            yield from handler(desk, session, *args)
        except Exception as error:
            yield session.event("note", note=in_words(handler.__name__, error))

    return safe


def unless_lost(session: Session, act: Callable[[], Event]) -> Event:
    """What is done with the picture; the page is told if a lost connection has taken that along."""
    return session.event("lost") if session.picture is None else act()


class Desk:
    """Shared by all visitors: the models, the examples and an empty folder. Nothing of any visitor's is here."""

    def __init__(self, shelf: Shelf, examples: list[Path]) -> None:
        self.shelf = shelf
        self.run = runner(shelf)
        self.examples = examples
        self.uploads = Path(get_upload_folder())
        self.uploads.mkdir(parents=True, exist_ok=True)
        self._folder = tempfile.TemporaryDirectory(prefix="sundae-", dir=self.uploads)

    @property
    def folder(self) -> Path:
        return Path(self._folder.name)

    # -- the page opens, loads pictures -----------------------------------------------------------------

    def open(self) -> tuple[Session, Any]:
        """A new visitor's session and the first example."""
        return self.pick(Session(), 0) if self.examples else self.empty(Session())

    @answered
    def empty(self, session: Session) -> Any:
        return session.event("stopped", status="Open a picture to begin", note="")

    def picked(self, session: Session | None, event: gr.EventData) -> tuple[Session, Any]:
        return self.pick(session, getattr(event, "index", None))

    @answered
    def pick(self, session: Session, index: Any) -> Any:
        index = whole_number(index, "The example", 0, len(self.examples) - 1)
        return session.start_with(load_picture(self.examples[index]), f"Example {index + 1}", example=index)

    def uploaded(self, session: Session | None, event: gr.EventData) -> tuple[Session, Any]:
        path, name, number = (getattr(event, field, None) for field in ("path", "name", "upload"))
        return self.upload(session, path, name, number)

    @answered
    def upload(self, session: Session, path: Any, name: Any, number: Any = None) -> Any:
        """Read an uploaded picture and remove the file at once: from here on it lives in the session only.

        A running job goes on. The page stops it, and gradio's event of it, when it comes for a picture that could
        be read.
        """
        try:
            if number is not None:
                number = whole_number(number, "The upload", 0, MAX_TURN)
            found = uploaded_file(path, self.uploads)
            try:
                return session.offer(found.read_bytes(), str(name or "Picture")[:60], number)
            finally:
                remove_upload(found)
        except ValueError as error:
            return session.event("refused", note=sentence(error), upload=number)

    def taken(self, session: Session | None, event: gr.EventData) -> tuple[Session, Any]:
        return self.take(session, getattr(event, "upload", None))

    @answered
    def take(self, session: Session, upload: Any = None) -> Any:
        event = session.take(upload)
        asked = event and event["asked"]
        return {**event, "maker": self.shelf.maker(asked)} if event and asked else event

    @answered
    def fit(self, session: Session) -> Any:
        return session.fit(self.shelf)

    # -- redrawing --------------------------------------------------------------------------------------

    def redraw(
        self,
        session: Session | None,
        mask: Any,
        seed: Any,
        locked: Any,
        steps: Any,
        candidates: Any,
        model: Any,
        more: Any = None,
    ) -> Iterator[tuple[Any, Any, Any]]:
        """The session, then updates of the painter and of the seed field, step by step."""
        session = session or Session()
        kept: Any = session  # with the first update, so that whatever stops the job can find it
        for event, shown_seed in self._redraw(session, mask, seed, locked, steps, candidates, model, more):
            yield kept, post(event), gr.skip() if shown_seed is None else shown_seed
            kept = gr.skip()

    def _redraw(
        self,
        session: Session,
        mask: Any,
        seed: Any,
        locked: Any,
        steps: Any,
        candidates: Any,
        model: Any,
        more: Any,
    ) -> Iterator[tuple[Event, int | None]]:
        if session.picture is None:
            yield session.event("lost"), None
            return
        try:
            chosen = seed if locked else random.randint(0, MAX_SEED)
            order = session.order(mask, chosen, steps, candidates, more)
            for event in session.redraw(Inpainter(session.model(self.shelf, model)), order, self.run):
                yield event, order.seed if event["kind"] == "start" else None
        except gr.Error as error:  # of ZeroGPU: no GPU is free, or the visitor's time on it is used up
            yield session.event("stopped", status="", note=sentence(error.message)), None
        except Exception as error:
            yield session.event("stopped", status="", note=in_words("redraw", error)), None

    @answered
    def cancel(self, session: Session) -> Any:
        return session.cancel()

    def adopted(self, session: Session | None, event: gr.EventData) -> tuple[Session, Any]:
        job, index, turn = (getattr(event, field, None) for field in ("job", "index", "turn"))
        return self.adopt(session, job, index, turn)

    @answered
    def adopt(self, session: Session, job: Any, index: Any, turn: Any) -> Any:
        return session.adopt(job, index, whole_number(turn, "The turn", 0, MAX_TURN))

    @answered
    def use_as_input(self, session: Session) -> Any:
        return unless_lost(session, session.use_as_input)

    @answered
    def go_back(self, session: Session) -> Any:
        return unless_lost(session, session.go_back)

    @answered
    def go_forward(self, session: Session) -> Any:
        return unless_lost(session, session.go_forward)

    def extended(self, session: Session | None, event: gr.EventData) -> tuple[Session, Any]:
        return self.extend(session, {side: getattr(event, side, None) for side in SIDES})

    @answered
    def extend(self, session: Session, margins: dict[str, Any]) -> Any:
        return session.extend(margins)

    def blanked(self, session: Session | None, event: gr.EventData) -> tuple[Session, Any]:
        return self.blank(session, getattr(event, "model", None), getattr(event, "again", None))

    @answered
    def blank(self, session: Session, model: Any, again: Any) -> Any:
        """Room for a new face, and the model that draws it: without a picture the first, if none is asked for.
        ``again``: the page can send its picture once more, should it be lost."""
        if session.picture is None and again is True:
            return session.event("lost")
        alone = model is None and session.picture is None
        place = 0 if alone else session.place(self.shelf, model)
        event = session.start_blank(self.shelf[place])
        return {**event, "model": place, "grids": self.shelf.grids()}

    def seen(self, session: Session | None, event: gr.EventData) -> Iterator[tuple[Any, Any]]:
        what, model, asked = (getattr(event, field, None) for field in ("what", "model", "asked"))
        yield from self.see(session, what, model, asked)

    @streamed
    def see(self, session: Session, what: Any, model: Any, asked: Any) -> Iterator[Event]:
        """The picture as a model sees it; what goes wrong is told where the picture would be. ``asked`` is the page's
        number for the question."""
        asked = whole_number(asked, "The number", 1, MAX_TURN)
        if not session.waits_for("sight", asked):
            return  # closed or overtaken while it was in the queue
        wrong = {"what": what, "url": "", "done": True, "asked": asked}
        try:
            for event in session.see(what, session.model(self.shelf, model), asked):
                yield {**event, "asked": asked}
        except Exception as error:
            yield session.event("sight", text=in_words("see", error), **wrong)

    def abandoned(self, session: Session | None, event: gr.EventData) -> tuple[Session, Any]:
        return self.abandon(session, getattr(event, "what", None), getattr(event, "number", None))

    @answered
    def abandon(self, session: Session, what: Any, number: Any) -> Any:
        session.abandon(what, whole_number(number, "The number", 1, MAX_TURN))

    def recalled(self, session: Session | None, event: gr.EventData) -> tuple[Session, Any]:
        return self.recall(session, *(getattr(event, field, None) for field in ("job", "index", "turn")))

    @answered
    def recall(self, session: Session, job: Any, index: Any, turn: Any) -> Any:
        if session.picture is None:
            return session.event("lost")
        return session.recall(job, index, whole_number(turn, "The turn", 0, MAX_TURN))

    def kept(self, session: Session | None, event: gr.EventData) -> tuple[Session, Any]:
        return self.keep(session, getattr(event, "job", None))

    @answered
    def keep(self, session: Session, job: Any) -> Any:
        return session.keep(job)

    @answered
    def forget(self, session: Session) -> Any:
        return session.forget()

    @answered
    def download(self, session: Session) -> Any:
        return unless_lost(session, lambda: session.download(self.folder))

    @answered
    def difference(self, session: Session) -> Any:
        return session.difference(self.folder)

    def filmed(self, session: Session | None, event: gr.EventData) -> Iterator[tuple[Any, Any]]:
        form, region, asked = (getattr(event, field, None) for field in ("form", "region", "asked"))
        yield from self.film(session, form, region, asked)

    @streamed
    def film(self, session: Session, form: Any, region: Any, asked: Any) -> Iterator[Event]:
        asked = whole_number(asked, "The number", 1, MAX_TURN)
        if session.waits_for("film", asked):
            yield from session.film(form, region is True, self.folder, asked)


def remove_upload(path: Path) -> None:
    """Delete an uploaded file and the folder gradio made for it."""
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # another upload of the same content is still in it
        path.parent.rmdir()
