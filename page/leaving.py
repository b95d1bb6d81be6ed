"""A visitor leaves: everything of theirs goes at once, not an hour later as gradio would have it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gradio as gr

from page.desk import remove_upload
from page.session import Session

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
        demo.state_holder.delete_state(request.session_hash or "")

    return leave
