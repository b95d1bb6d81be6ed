"""How the page feels, in a real Chromium; prints JSON.

    python benchmarks/page.py [--model illustrated-1024] [--repeats 5]

``redraw``: from the click on Redraw to the first changed pixel on the screen, and the share of the whole run, click to
last pixel, in which the model was not at work: transport, JPEG, drawing (goal: under 10 %). ``first_visit``: from an
empty profile to a finished redraw, and in how many actions (goal: at most 3). ``stroke``: what a frame costs while one
paints on a 4096×4096 upload (goal: under 16 ms), from the browser's own trace (CDP ``Tracing``): ``main_ms`` is all
that the page's thread does for it, of which ``script_ms`` is ours and ``render_ms`` the browser's; ``raster_ms`` is
what compositor, raster and display threads do beside it, where there is no GPU in software. These are milliseconds of
processor time, so that other work on the machine is not in them; ``interval_ms`` is by the clock.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: look for packages in the repository, not in this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, BrowserContext

from benchmarks.inpaint import machine, rounded
from benchmarks.pages import VIEW, Served, Stretch, chromium, served

from painter_page import PainterPage  # isort: skip  # pyright: ignore  # on the path since benchmarks.pages

MOUTH = [(420, 640), (512, 660), (604, 640), (600, 690), (512, 705), (424, 690)]  # px of the portrait
SIDE, MOVES = 4096, 90  # of the upload, px; of the pointer in a stroke
GOALS = {"outside_share": 0.1, "actions": 3, "frame_ms": 16}

# When Redraw was clicked, when a frame was on the screen, and whether the first of them changed what was there.
LISTEN = """() => {
  const now = () => (performance.timeOrigin + performance.now()) / 1000;
  const draw = CanvasRenderingContext2D.prototype.drawImage;
  const [base, result] = ['base', 'result'].map((name) => document.querySelector(`canvas.${name}`));
  window.heard = { shown: [] };
  document.addEventListener('click', (event) => {
    if (event.target.closest('#redraw')) window.heard = { clicked: now(), shown: [], differs: null };
  }, true);
  CanvasRenderingContext2D.prototype.drawImage = function (...given) {
    draw.apply(this, given);
    const { heard } = window;
    if (this.canvas !== result || !heard.clicked) return;
    requestAnimationFrame(() => setTimeout(() => heard.shown.push(now())));
    heard.differs ??= differs(...given.slice(1), given[0].width, given[0].height);
  };
  function differs(x, y, width, height) {
    const [below, above] = [base, result].map((canvas) => canvas.getContext('2d').getImageData(x, y, width, height).data);
    for (let i = 0; i < above.length; i += 4) {
      if (above[i + 3] && Math.abs(above[i] - below[i]) > 16) return true;
    }
    return false;
  }
}"""
FRAMES = """(on) => {
  if (on) {
    window.ticks = [];
    const tick = (time) => { window.ticks.push(time); if (window.ticking) requestAnimationFrame(tick); };
    window.ticking = true;
    requestAnimationFrame(tick);
  } else window.ticking = false;
  return window.ticks;
}"""


# -- redraws -------------------------------------------------------------------------------------------------


def time_redraws(server: Served, page: PainterPage, repeats: int) -> dict[str, Any]:
    """Medians of several redraws of the same mouth; the first one is not counted."""
    page.stroke(*MOUTH)
    page.set_seed(3)
    page.page.get_by_label("Lock").check()
    page.page.evaluate(LISTEN)
    runs = []
    for _ in range(repeats + 1):
        page.redraw(120)
        page.page.wait_for_timeout(300)  # until the last frame has told that it was shown
        heard = page.page.evaluate("window.heard")
        if not heard["differs"]:
            raise ValueError("expected the first frame to change the picture, got the same pixels")
        runs.append(timing(heard["clicked"], heard["shown"], server.stretches()))
    return {key: statistics.median(run[key] for run in runs[1:]) for key in runs[0]}


def timing(clicked: float, shown: Sequence[float], stretches: Iterable[Stretch]) -> dict[str, float]:
    """What a run's time was spent on.

    Args:
        clicked: when Redraw was, in seconds since 1970, as all times here.
        shown: when each frame was on the screen.
        stretches: what the server did meanwhile, and before and after.
    """
    ended = shown[-1]
    inside = [(what, a, b) for what, a, b in stretches if clicked <= a and b <= ended]
    model = [(a, b) for what, a, b in inside if what == "model"]
    busy = sum(b - a for a, b in model)
    return {
        "first_pixel_ms": 1000 * (shown[0] - clicked),
        "run_s": ended - clicked,
        "frames": len(shown),
        "model_s": busy,
        "outside_share": 1 - busy / (ended - clicked),
        "before_model_ms": 1000 * (model[0][0] - clicked),
        "between_steps_ms": 1000 * (model[-1][1] - model[0][0] - busy),
        "of_which_jpeg_ms": 1000
        * sum(b - a for what, a, b in inside if what == "encode" and b <= model[-1][1]),
        "after_model_ms": 1000 * (ended - model[-1][1]),
    }


# -- a first visit -------------------------------------------------------------------------------------------


def first_visit(browser: Browser, url: str) -> dict[str, Any]:
    """Somebody who has never been here opens the page, paints over a mouth and presses Redraw."""
    context = browser.new_context(viewport=VIEW)
    began = time.perf_counter()
    page = PainterPage(context, url)
    ready = time.perf_counter() - began
    actions = [lambda: page.stroke(*MOUTH), lambda: page.click("Redraw")]
    for action in actions:
        action()
    acted = time.perf_counter() - began
    page.wait_for_text("#status", "Done 1 ", 120)
    done = time.perf_counter() - began
    assert page.errors == []
    context.close()
    return {"actions": len(actions), "ready_s": ready, "acted_s": acted, "done_s": done}


# -- strokes -------------------------------------------------------------------------------------------------


def large_upload() -> bytes:
    """A JPEG of 4096×4096 px that is no single colour."""
    small = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def time_strokes(context: BrowserContext, page: PainterPage) -> dict[str, Any]:
    """A stroke across a large upload, as the page opens and with the model's cells shown."""
    page.page.locator("[data-file]").set_input_files(
        {"name": "large.jpg", "mimeType": "image/jpeg", "buffer": large_upload()}
    )
    page.wait_for_text("#status", "large.jpg", 120)
    page.page.wait_for_timeout(3000)  # the models look at it
    plain = time_stroke(context, page, 0)
    page.press("g")
    return {"plain": plain, "cells_shown": time_stroke(context, page, 400)}


def time_stroke(context: BrowserContext, page: PainterPage, down: float) -> dict[str, Any]:
    """One stroke, traced; it begins ``down`` px lower than usual."""
    mouse = page.page.mouse
    (x0, y0), (x1, y1) = page.place((300, 200 + down)), page.place((1700, 1200 + down))
    mouse.move(x0, y0)
    with Trace(context, page) as trace:
        page.page.evaluate(FRAMES, True)
        mouse.down()
        for move in range(1, MOVES + 1):
            mouse.move(x0 + (x1 - x0) * move / MOVES, y0 + (y1 - y0) * move / MOVES)
        ticks = page.page.evaluate(FRAMES, False)
    mouse.up()
    gaps = np.diff(ticks)
    return frame_costs(trace.events) | {
        "interval_ms": spread(gaps),
        "longer_than_50_ms": int((gaps > 50).sum()),
    }


class Trace:
    """The browser's own record of what its threads do, while entered."""

    CATEGORIES = ("toplevel", "devtools.timeline", "cc", "viz")

    def __init__(self, context: BrowserContext, page: PainterPage) -> None:
        self.page, self.session = page.page, context.new_cdp_session(page.page)
        self.events: list[dict[str, Any]] = []
        self._complete = False
        self.session.on("Tracing.dataCollected", lambda data: self.events.extend(data["value"]))
        self.session.on("Tracing.tracingComplete", lambda data: setattr(self, "_complete", True))

    def __enter__(self) -> Trace:
        config = {"includedCategories": [*self.CATEGORIES, "__metadata"]}
        self.session.send("Tracing.start", {"transferMode": "ReportEvents", "traceConfig": config})
        return self

    def __exit__(self, *error: object) -> None:
        self.session.send("Tracing.end")
        while not self._complete:
            self.page.wait_for_timeout(20)
        self.session.detach()


def frame_costs(events: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the frames cost of which a trace tells: processor time of the page's thread, between one frame that
    brought something new and the next, and of all other threads on the mean.

    Raises:
        ValueError: if the trace tells of no frames.
    """
    threads = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    whole = [e for e in events if e.get("ph") == "X" and "tdur" in e]
    commits: dict[Any, list[float]] = defaultdict(list)
    for event in whole:
        if event["name"] == "ProxyMain::BeginMainFrame::commit":
            commits[event["pid"], event["tid"]].append(event["ts"])
    if not commits:
        raise ValueError("expected a trace with frames, got none")
    main = max(commits, key=lambda thread: len(commits[thread]))
    ends = sorted(commits[main])
    frames = len(ends) - 1
    costs = {"task": np.zeros(frames), "script": np.zeros(frames)}
    for event in whole:
        kind = {
            "ThreadControllerImpl::RunTask": "task",
            "EventDispatch": "script",
            "FireAnimationFrame": "script",
        }
        place = int(np.searchsorted(ends, event["ts"])) - 1
        if (event["pid"], event["tid"]) == main and event["name"] in kind and 0 <= place < frames:
            costs[kind[event["name"]]][place] += event["tdur"] / 1000
    others = sum(
        event["tdur"] / 1000
        for event in whole
        if ends[0] <= event["ts"] <= ends[-1]
        and (event["pid"], event["tid"]) != main
        and event["name"] in ("ThreadControllerImpl::RunTask", "ThreadPool_RunTask")
        and is_drawing(threads.get((event["pid"], event["tid"]), ""))
    )
    return {
        "frames": frames,
        "main_ms": spread(costs["task"]),
        "script_ms": spread(costs["script"]),
        "render_ms": spread(costs["task"] - costs["script"]),
        "raster_ms": others / frames,
    }


def is_drawing(thread: str) -> bool:
    """Whether a thread's work is putting frames together."""
    return thread.startswith(("Compositor", "VizCompositor", "ThreadPoolForegroundWorker", "CrGpuMain"))


def spread(values: Sequence[float] | np.ndarray) -> dict[str, float]:
    """Median, 95th percentile and largest."""
    low, high, most = np.percentile(values, [50, 95, 100])
    return {"median": float(low), "p95": float(high), "most": float(most)}


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the command line; returns what is printed."""
    parser = argparse.ArgumentParser(
        prog="python benchmarks/page.py", description="Time the page in Chromium."
    )
    parser.add_argument(
        "--model", nargs="+", default=["illustrated-1024"], help="names or folders of bundles"
    )
    parser.add_argument("--repeats", type=int, default=5, help="redraws of which the median is taken")
    given = parser.parse_args(arguments)
    if given.repeats < 1:
        parser.error(f"expected --repeats of at least 1, got {given.repeats}")
    with (
        tempfile.TemporaryDirectory() as folder,
        served(Path(folder), ["--model", *given.model]) as server,
        chromium() as browser,
    ):
        visit = first_visit(browser, server.url)
        context = browser.new_context(viewport=VIEW)
        page = PainterPage(context, server.url)
        result = {
            "machine": machine(),
            "browser": browser.version,
            "model": given.model,
            "goals": GOALS,
            "first_visit": visit,
            "redraw": time_redraws(server, page, given.repeats),
            "stroke": time_strokes(context, page),
        }
    print(json.dumps(rounded(result), indent=1))
    return result


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        raise SystemExit(f"error: {error}") from None
