"""Run the page with a stopwatch on its model.

    python -m benchmarks.watch_page FILE --port 7860 ...

The page is the real one, with the arguments of app.py; only what it calls is listened to. FILE gets a line of JSON
for every stretch of work, ``[what, began, ended]`` in seconds since 1970: ``model`` (preparing, sampling, decoding and
compositing) or ``encode`` (JPEG and base64 of a frame). On SIGUSR1 it gives back what memory it has freed.
"""

from __future__ import annotations

import functools
import gc
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: look for packages in the repository, not in this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])


TIDY = signal.SIGUSR1


class Marks:
    """Stretches of work, written as they end."""

    def __init__(self, file: Path) -> None:
        self._file, self._lock = file.open("w", buffering=1, encoding="utf-8"), threading.Lock()

    def add(self, what: str, began: float) -> None:
        """One that ends now."""
        with self._lock:
            print(json.dumps([what, began, time.time()]), file=self._file)

    def around(self, what: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same function; a mark for every call."""

        @functools.wraps(work)
        def marked(*given: Any, **named: Any) -> Any:
            began = time.time()
            try:
                return work(*given, **named)
            finally:
                self.add(what, began)

        return marked


def watch(marks: Marks) -> None:
    """Mark what the page has the model do, and how long it encodes the frames."""
    from page import gpu, session
    from sundae.pipeline import Inpainter

    run = gpu.run_here

    def run_here(*given: Any) -> Iterator[Any]:
        frames = run(*given)
        while True:
            began = time.time()
            frame = next(frames, None)
            if frame is None:
                return
            _ = frame.patches  # decoded and composited here, and kept in the frame
            marks.add("model", began)
            yield frame

    gpu.run_here = run_here
    session.crops = marks.around("encode", session.crops)
    Inpainter.prepare = marks.around("model", Inpainter.prepare)


def tidy(*_: Any) -> None:
    """Collect what is garbage; then give all that is free to the system."""
    from page.memory import give_back

    gc.collect()
    give_back()


def main() -> None:
    """Run the command line."""
    file, *words = sys.argv[1:]
    import app  # first of all: what it tells numpy and torch of memory they read as they are imported

    watch(Marks(Path(file)))
    signal.signal(TIDY, tidy)
    sys.argv[1:] = words
    app.main()


if __name__ == "__main__":
    main()
