"""Being stopped from outside: Ctrl-C, SIGTERM, or a terminal that closes. Needs nothing but Python itself."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stopped(KeyboardInterrupt):
    """One of ``STOPS`` has come; ``code`` is the exit code that tells so, as a shell counts it."""

    def __init__(self, number: int):
        super().__init__()
        self.code = 128 + number


def answer(handler: Callable[[int, Any], object]) -> None:
    """Let ``handler`` take what would stop the program, but for what it is told to ignore (as by nohup)."""
    for number in STOPS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def leave_at_once(number: int, frame: Any) -> None:
    """End without a word, for as long as there is nothing to put in order. An exception would not do: torch
    swallows it when it comes in the middle of its import."""
    os._exit(128 + number)


def interrupt(number: int, frame: Any) -> None:
    """Raise :class:`Stopped`, once: pressed twice, what the first one put to tidying up goes on."""
    answer(pay_no_heed)
    raise Stopped(number)


def pay_no_heed(number: int, frame: Any) -> None:
    """Do nothing. Python writes an error when SIG_IGN comes in while a signal waits for its handler."""


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM and a closing terminal end what is inside as Ctrl-C does, so that it can put things in order."""
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's affair
        yield
        return
    before = {number: handler for number in STOPS if (handler := signal.getsignal(number)) is not None}
    try:
        answer(interrupt)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
