"""benchmarks/page.py and endurance.py: what they compute, told from planted numbers, and that their visitor can do all
that it may be asked to."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import endurance, page, watch_page


@pytest.fixture(scope="session")
def server(quick_server):
    return quick_server


def test_time_beside_the_model_is_what_its_stretches_leave():
    earlier, later = ("model", 1.0, 9.0), ("model", 30.0, 40.0)
    run = [("model", 10.5, 11.5), ("encode", 11.5, 11.6), ("model", 12.0, 15.0), ("encode", 15.0, 15.2)]
    told = page.timing(10.0, [12.5, 16.0, 20.0], [earlier, *run, later])
    assert told["first_pixel_ms"] == 2500
    assert (told["run_s"], told["frames"], told["model_s"]) == (10, 3, 4)
    assert told["outside_share"] == pytest.approx(0.6)
    parts = [told[f"{name}_ms"] for name in ("before_model", "between_steps", "of_which_jpeg", "after_model")]
    assert parts == pytest.approx([500, 500, 100, 5000])


def test_a_frames_cost_is_processor_time_of_its_thread():
    def event(thread: int, name: str, at: float, cpu: float) -> dict:
        return {"ph": "X", "pid": 1, "tid": thread, "name": name, "ts": at, "dur": 9 * cpu, "tdur": cpu}

    names = {1: "CrRendererMain", 2: "Compositor", 3: "Chrome_ChildIOThread"}
    events = [
        {"ph": "M", "pid": 1, "tid": thread, "name": "thread_name", "ts": 0, "args": {"name": name}}
        for thread, name in names.items()
    ]
    for frame in range(5):
        start, script = 100_000 * frame, 6000 if frame == 3 else 2000
        events += [
            event(1, "ProxyMain::BeginMainFrame::commit", start, 10),
            event(1, "ThreadControllerImpl::RunTask", start + 10, 8000 + script),
            event(1, "EventDispatch", start + 20, script),
            event(2, "ThreadControllerImpl::RunTask", start + 30, 3000),
            event(3, "ThreadControllerImpl::RunTask", start + 30, 50_000),
        ]
    costs = page.frame_costs(events)
    assert costs["frames"] == 4
    assert (costs["main_ms"]["median"], costs["main_ms"]["most"]) == (10, 14)
    assert (costs["script_ms"]["median"], costs["render_ms"]["median"], costs["raster_ms"]) == (2, 8, 3)
    with pytest.raises(ValueError, match="expected a trace with frames"):
        page.frame_costs(events[:3])


def test_the_stopwatch_marks_every_frame_and_its_encoding(tmp_path, monkeypatch):
    from page import gpu, session
    from sundae.pipeline import Inpainter

    monkeypatch.setattr(gpu, "run_here", lambda *given: iter([SimpleFrame(), SimpleFrame()]))
    monkeypatch.setattr(session, "crops", lambda: "crops")
    monkeypatch.setattr(Inpainter, "prepare", lambda self: "prepared")
    watch_page.watch(watch_page.Marks(tmp_path / "marks.jsonl"))
    assert Inpainter.prepare(object()) == "prepared"  # pyright: ignore
    for _ in gpu.run_here(None, None, None):  # pyright: ignore
        assert session.crops() == "crops"  # pyright: ignore
    lines = (tmp_path / "marks.jsonl").read_text().splitlines()
    assert [line.split('"')[1] for line in lines] == ["model", "model", "encode", "model", "encode"]


class SimpleFrame:
    patches = None


def test_complaints_are_told_once_and_files_by_their_place(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("all is well\nTraceback (most recent call last):\nValueError: a\nValueError: a\n")
    assert endurance.complaints(log) == ["Traceback (most recent call last):", "ValueError: a"]


def test_a_visitor_can_do_everything_and_then_redraw(contexts, server):
    """Each action once, in an order of the seed's; none fails, none is told as a fault, no file is left."""
    printed = len(server.log.read_text())
    visitor = endurance.Visitor(contexts["desktop"], server.url, random.Random(5))
    names = list(visitor.actions)
    visitor.dice.shuffle(names)
    for name in ["rectangle", "redraw", "wait", *names]:
        visitor.close_dialog()
        visitor.actions[name][1]()
    visitor.redraws()
    visitor.leave()
    assert visitor.faults == []
    assert visitor.visits == 2
    assert "Traceback" not in server.log.read_text()[printed:]
