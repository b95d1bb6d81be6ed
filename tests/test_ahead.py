"""page.ahead: work that goes on while its last items are used, and that stops when it is left."""

from __future__ import annotations

import contextvars
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from page.ahead import ROOM, Ahead, apart


def until(reached, seconds: float = 5) -> bool:
    """Whether it is reached in time."""
    end = time.monotonic() + seconds
    while not reached() and time.monotonic() < end:
        time.sleep(0.005)
    return bool(reached())


class Work:
    """Counts, and remembers how far it got and how it ended."""

    def __init__(self, count: int, error: Exception | None = None) -> None:
        self.count, self.error = count, error
        self.made, self.closed = 0, False
        self.threads: set[int] = set()

    def __call__(self) -> Generator[int, None, None]:
        try:
            for number in range(self.count):
                self.threads.add(threading.get_ident())
                self.made += 1
                yield number
            if self.error is not None:
                raise self.error
        finally:
            self.closed = True


def test_everything_comes_in_order_from_one_other_thread():
    work = Work(50)
    with Ahead(work) as items:
        assert list(items) == list(range(50))
    assert work.closed
    assert len(work.threads) == 1
    assert threading.get_ident() not in work.threads


def test_the_work_begins_at_once_and_runs_ahead_so_far_and_no_further():
    work = Work(50)
    with Ahead(work) as items:
        assert until(lambda: work.made == ROOM + 1)
        time.sleep(0.05)
        assert work.made == ROOM + 1, "nobody has fetched anything"
        iterator = iter(items)
        assert [next(iterator) for _ in range(3)] == [0, 1, 2]
        assert until(lambda: work.made == ROOM + 3)  # the third is still in use


def test_work_that_is_left_stops_at_its_next_item():
    work = Work(10**9)
    with Ahead(work) as items:
        for item in items:
            if item == 4:
                break
    assert until(lambda: work.closed)
    assert work.made <= 5 + ROOM + 1


def test_work_that_nobody_asked_for_anything_stops_too():
    work = Work(10**9)
    with Ahead(work):
        assert until(lambda: work.made == ROOM + 1)
    assert until(lambda: work.closed)
    assert work.made <= ROOM + 2


def test_an_error_comes_after_the_items_before_it():
    found = []
    with Ahead(Work(2, ValueError("no more"))) as items, pytest.raises(ValueError, match="no more"):
        found.extend(items)
    assert found == [0, 1]


def test_an_error_in_use_stops_the_work():
    work = Work(10**9)

    def use() -> None:
        with Ahead(work) as items:
            raise KeyError(next(iter(items)))

    with pytest.raises(KeyError):
        use()
    assert until(lambda: work.closed)


def test_the_next_work_begins_when_the_last_step_of_what_was_left_is_over():
    step, busy = threading.Event(), []

    def slow() -> Generator[int, None, None]:
        yield 0
        busy.append("slow")
        step.wait(5)
        busy.append("slow is over")
        yield 1

    def quick() -> Generator[int, None, None]:
        busy.append("quick")
        yield 2

    with Ahead(slow) as items:
        assert next(iter(items)) == 0
        assert until(lambda: busy == ["slow"])
    with Ahead(quick) as items:
        time.sleep(0.05)
        assert busy == ["slow"]
        step.set()
        assert list(items) == [2]
    assert busy == ["slow", "slow is over", "quick"]


def test_the_thread_knows_on_whose_behalf_it_works():
    asked = contextvars.ContextVar("asked", default="nobody")
    token = asked.set("a visitor")

    def work() -> Generator[str, None, None]:
        yield asked.get()

    with Ahead(work) as items:
        assert list(items) == ["a visitor"]
    asked.reset(token)


# -- one answer ----------------------------------------------------------------------------------------------


def test_what_is_done_apart_is_answered_from_a_thread_that_ends():
    thread = apart(threading.current_thread)
    assert thread is not threading.current_thread()
    assert not thread.is_alive()
    with pytest.raises(ValueError, match="no picture"):
        apart(lambda: int("no picture"))


def test_apart_too_the_thread_knows_on_whose_behalf_it_works():
    asked = contextvars.ContextVar("asked", default="nobody")
    token = asked.set("a visitor")
    assert apart(asked.get) == "a visitor"
    asked.reset(token)
