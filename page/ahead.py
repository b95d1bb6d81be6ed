"""The model works on while the page is told what it has drawn so far, in threads that end with the work.

Gradio asks a job for its next update only when it is done with the last: by turns the model would wait for the page,
and the page for the model. And of its many threads, which stay, it takes now this one and now that: torch keeps working
memory for each that it has computed in, 15 MB after a picture of 1024 px, until the thread ends.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")

ROOM = 2  # items that may wait to be fetched
_END: Any = object()
_one_at_a_time = threading.Lock()  # what was left may still be in its last step when the next begins


def apart(work: Callable[[], Item]) -> Item:
    """What ``work()`` returns or raises, done in a thread of its own."""
    with ThreadPoolExecutor(1, "apart") as pool:
        return pool.submit(contextvars.copy_context().run, work).result()


class Ahead(Generic[Item]):
    """Iterates over what ``work()`` yields, made in a thread of its own while this is entered.

    Leaving stops the work at its next item, without waiting for that; other work that begins meanwhile waits.

    Args:
        work: makes the items. What it raises is raised where they are fetched, after the items before.
    """

    def __init__(self, work: Callable[[], Generator[Item, None, None]]) -> None:
        self._work = work
        self._room, self._left = threading.Semaphore(ROOM), threading.Event()
        self._ready: SimpleQueue[Item] = SimpleQueue()
        self._failed: BaseException | None = None

    def __enter__(self) -> Ahead[Item]:
        # As a daemon it does not keep a server from ending. The context tells on whose behalf it works: ZeroGPU asks.
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(self._run,), daemon=True, name="ahead").start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._room.release()

    def __iter__(self) -> Iterator[Item]:
        while (item := self._ready.get()) is not _END:
            yield item
            self._room.release()
        if self._failed is not None:
            raise self._failed

    def _run(self) -> None:
        try:
            with _one_at_a_time, contextlib.closing(self._work()) as items:
                while not self._left.is_set() and (item := next(items, _END)) is not _END:
                    self._ready.put(item)
                    self._room.acquire()
        except BaseException as error:
            self._failed = error
        self._ready.put(_END)
