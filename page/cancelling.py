"""Jobs that are cancelled in the moment in which they end."""

from __future__ import annotations

from typing import Any

import gradio as gr


class Running(dict[str, Any]):
    """Gradio's running jobs, by number.

    Its ``/cancel`` sees that a job is there, waits for a lock, and deletes it. A job that has ended by itself while it
    waited is not there any more: the request would fail with status 500, though all is as it was asked to be.
    """

    def __delitem__(self, number: str) -> None:
        self.pop(number, None)


def cancel_calmly(demo: gr.Blocks) -> None:
    """For a page that has been launched: cancelling a job that has just ended is no error."""
    demo.app.iterators = Running(demo.app.iterators)
