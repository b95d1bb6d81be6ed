"""A visitor leaves: everything of theirs goes at once, not an hour later as gradio would have it."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable
from pathlib import Path

import gradio as gr

from page.desk import remove_upload
from page.memory import give_back
from page.session import Session

LATE = 20  # s after which nothing comes any more for a visitor who has left
IDLE = 3600  # s without a sign of life after which a visitor has left, should the end of the connection be missed


def forgetter(demo: gr.Blocks, uploads: Path) -> Callable[[Session | None], None]:
    """For gr.State's ``delete_callback``: closes the session and drops what gradio keeps beside it.

    Gradio holds each visitor's copies of the components, the last pictures sent to the page among them; and among the
    ``uploads`` there may be a file that was sent as the tab was closed, so that nobody came to have it read.
    """

    def forget(session: Session | None) -> None:
        if session is None:
            return
        session.close()
        for path in uploads.glob(f"*/{session.visit}-*"):
            remove_upload(path)
        kept = demo.state_holder.session_data
        for key, visitor in list(kept.items()):
            if any(value is session for value in visitor.state_data.values()):
                kept.pop(key, None)

    return forget


def unloader(demo: gr.Blocks) -> Callable[[gr.Request], None]:
    """For ``demo.unload``: the tab was closed or loaded anew, or its connection ended."""

    def leave(request: gr.Request) -> None:
        visitor = request.session_hash or ""
        demo.state_holder.delete_state(visitor)
        timer = threading.Timer(LATE, sweep, (demo, visitor))
        timer.daemon = True
        timer.start()

    return leave


def sweep(demo: gr.Blocks, visitor: str) -> None:
    """What came late for visitors who had left goes too, and the memory that they had goes back to the system.

    An event that was under way when its tab was closed leaves a state behind, with the last pictures that it sent. A
    state without a picture that nobody has used for a while has nothing to lose, should its visitor still be there.
    """
    holder, messages = demo.state_holder, demo._queue.pending_messages_per_session
    before = datetime.datetime.now() - datetime.timedelta(seconds=LATE)
    for key, state in list(holder.session_data.items()):
        sessions = [value for value in list(state.state_data.values()) if isinstance(value, Session)]
        used = holder.time_last_used.get(key)
        if all(session.picture is None for session in sessions) and used is not None and used < before:
            holder.session_data.pop(key, None)
    if visitor not in holder.session_data:
        holder.time_last_used.pop(visitor, None)
        messages.pop(visitor, None)  # those that were not fetched any more
    give_back()
