"""What the benchmarks of the page share: the page's server, watched, and Chromium."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, ViewportSize, sync_playwright

from benchmarks.runs import ROOT, environment
from benchmarks.watch_page import TIDY

sys.path.insert(1, str(ROOT / "tests" / "browser"))
from launching import FLAGS, find_chromium, free_port, wait_until_up  # pyright: ignore[reportMissingImports]

VIEW: ViewportSize = {"width": 1280, "height": 860}  # of the window, px
TIDYING = 2.0  # s that a server is given to give back what it has freed

Stretch = tuple[str, float, float]  # what was done, and when it began and ended, in seconds since 1970


@dataclass
class Served:
    """A running page. Its uploads and answers lie in ``files``, whatever else it writes in ``temp``."""

    url: str
    process: subprocess.Popen
    log: Path
    files: Path
    temp: Path
    marks: Path

    def stretches(self) -> list[Stretch]:
        """What the model has done so far."""
        lines = self.marks.read_text(encoding="utf-8").splitlines()
        return [(what, began, ended) for what, began, ended in map(json.loads, lines)]

    def settled_mb(self) -> float:
        """Memory that the server has once it has given back what it has freed, which the allocator keeps for later:
        that looks like a leak."""
        self.process.send_signal(TIDY)
        time.sleep(TIDYING)
        return self.resident_mb()

    def resident_mb(self) -> float:
        """Memory that the server has now, where there is /proc; else 0."""
        try:
            lines = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8").splitlines()
        except OSError:
            return 0.0
        return int(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) / 1024


@contextmanager
def served(folder: Path, words: Sequence[str]) -> Iterator[Served]:
    """The page with these arguments of app.py, under :mod:`benchmarks.watch_page`."""
    places = {name: folder / name for name in ("files", "temp")}
    for place in places.values():
        place.mkdir(parents=True)
    log, marks, port = folder / "log.txt", folder / "marks.jsonl", free_port()
    extra = {"GRADIO_TEMP_DIR": str(places["files"]), "TMPDIR": str(places["temp"]), "PYTHONUNBUFFERED": "1"}
    extra |= {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    command = [sys.executable, "-m", "benchmarks.watch_page", str(marks), "--port", str(port), *words]
    with log.open("w") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment(**extra), stdout=out, stderr=subprocess.STDOUT
        )
    url = f"http://127.0.0.1:{port}/"
    try:
        wait_until_up(url, process, log)
        yield Served(url, process, log, places["files"], places["temp"], marks)
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(playwright), args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()
