"""page.leaving: nothing of a visitor stays on the server once the tab is closed, whatever comes late."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from page import leaving, memory
from page.leaving import LATE, forgetter, sweep, unloader
from page.session import Session
from sundae.image import load_picture


@pytest.fixture
def demo():
    with gr.Blocks() as blocks:
        pass
    blocks._queue.pending_messages_per_session["visitor"] = "frames that nobody fetches"
    return blocks


def arrive(demo, name="visitor", session=None, seconds=0.0):
    """State of a visitor, used last so many seconds ago."""
    state = demo.state_holder[name]
    if session is not None:
        state.state_data[1] = session
    ago = datetime.timedelta(seconds=seconds)
    demo.state_holder.time_last_used[name] = datetime.datetime.now() - ago
    return name


def session_with_a_picture():
    session = Session()
    session.start_with(load_picture(np.zeros((32, 32, 3), np.uint8)), "Black")
    return session


def left(demo):
    holder, queue = demo.state_holder, demo._queue
    return set(holder.session_data), set(holder.time_last_used), set(queue.pending_messages_per_session)


@pytest.mark.parametrize("session", [None, Session()], ids=["no session", "an empty session"])
def test_what_came_late_for_a_visitor_goes(demo, session):
    arrive(demo, session=session, seconds=LATE + 1)
    sweep(demo, "visitor")
    assert left(demo) == (set(), set(), set())


def test_a_session_that_was_closed_has_nothing_to_lose(demo):
    session = session_with_a_picture()
    arrive(demo, session=session, seconds=LATE + 1)
    session.close()
    sweep(demo, "visitor")
    assert left(demo) == (set(), set(), set())


@pytest.mark.parametrize(
    ("session", "seconds"), [(session_with_a_picture(), 3000), (None, 1), (Session(), LATE - 5)]
)
def test_who_is_here_keeps_everything(demo, session, seconds):
    """A visitor whose connection came back; one whose page is just opening."""
    arrive(demo, session=session, seconds=seconds)
    arrive(demo, "another", session_with_a_picture(), 3000)
    sweep(demo, "visitor")
    sweep(demo, "nobody")
    assert left(demo) == ({"visitor", "another"}, {"visitor", "another"}, {"visitor"})


def test_leaving_sweeps_a_while_later(demo, tmp_path, monkeypatch):
    timers = []

    class Timer:
        def __init__(self, seconds, work, given):
            timers.append((seconds, work, given))

        def start(self):
            pass

    monkeypatch.setattr(leaving.threading, "Timer", Timer)
    session = session_with_a_picture()
    with demo:
        state = gr.State(delete_callback=forgetter(demo, tmp_path))
    demo.state_holder.set_blocks(demo)
    demo.state_holder["visitor"][state._id] = session
    unread, other = tmp_path / "a" / f"{session.visit}-1.png", tmp_path / "b" / "another-1.png"
    for path in (unread, other):
        path.parent.mkdir()
        path.touch()
    unloader(demo)(SimpleNamespace(session_hash="visitor"))
    assert session.closed
    assert not unread.parent.exists() and other.exists()
    assert "visitor" not in demo.state_holder.session_data
    ((seconds, work, given),) = timers
    assert seconds == LATE
    arrive(demo, seconds=LATE + 1)  # what was under way
    work(*given)
    assert left(demo) == (set(), set(), set())


def test_memory_is_shared_and_given_back_where_it_can(monkeypatch):
    asked = []
    library = SimpleNamespace(
        malloc_trim=lambda pad: asked.append(pad), mallopt=lambda *pair: asked.append(pair)
    )
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: library)
    memory.one_arena()
    memory.give_back()
    assert asked == [(-8, 1), 0]
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: SimpleNamespace())
    memory.one_arena()  # another allocator: nothing to do
    memory.give_back()


def test_numpy_asks_for_no_huge_pages_once_the_page_has_said_so():
    """It reads that as it is imported, so the page is to say it before anything imports it."""
    asks = "import app, numpy; print(numpy._core.multiarray._set_madvise_hugepage(False))"
    environ = {name: value for name, value in os.environ.items() if name != "NUMPY_MADVISE_HUGEPAGE"}
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-c", asks], cwd=root, env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False"]
