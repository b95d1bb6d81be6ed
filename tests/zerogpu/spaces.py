"""A ``spaces`` package as ZeroGPU has it, where the GPU that is lent is the CPU.

As the real one (0.51): a decorated generator runs in a process forked when it is first needed and kept after that;
whatever goes in or out is pickled; closing the generator stops the work at its next yield; errors of the process
become gr.Error, and their words are lost. What happens is told, one JSON object per line, to the file named in
FAKE_SPACES_LOG; FAKE_SPACES_REFUSES makes every request for a GPU fail with these words.
"""

from __future__ import annotations

import inspect
import json
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

if not hasattr(sys.modules.get("gradio"), "Blocks"):  # gradio tries to import it for itself
    raise ImportError("to be imported by the application")

import gradio as gr

FORK: Any = multiprocessing.get_context("fork")


def tell(**what: Any) -> None:
    with open(os.environ["FAKE_SPACES_LOG"], "a") as file:
        file.write(json.dumps({**what, "process": os.getpid()}) + "\n")


def GPU(task: Callable[..., Iterator], duration: Callable[..., float]) -> Callable[..., Iterator]:
    import page.gpu as user

    assert inspect.isgeneratorfunction(task)
    tell(what="decorated", task=getattr(task, "__qualname__", ""), device=user.DEVICE)
    user.DEVICE = "cpu"
    workers: list[Worker] = []

    def lent(*arguments: Any) -> Iterator:
        if os.environ.get("FAKE_SPACES_REFUSES"):
            raise gr.Error(os.environ["FAKE_SPACES_REFUSES"], print_exception=False)
        tell(what="asked", seconds=duration(*arguments))
        worker = workers.pop() if workers else Worker(task)
        yield from worker.work(arguments)
        workers.append(worker)  # not one whose work was stopped: simpler than the real one

    return lent


def leave_after(parent: int) -> None:
    """End this process when its parent has: a terminated server ends nothing by itself."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


class Worker:
    """The forked process."""

    def __init__(self, task: Callable[..., Iterator]) -> None:
        self.asked, self.answers, self.stopped = FORK.SimpleQueue(), FORK.SimpleQueue(), FORK.Event()
        FORK.Process(target=self.serve, args=(task,), daemon=True).start()

    def work(self, arguments: tuple) -> Iterator:
        self.asked.put(arguments)
        try:
            while (answer := self.answers.get()) is not None:
                if "error" in answer:
                    raise gr.Error(answer["error"], print_exception=False)
                yield answer["value"]
        except GeneratorExit:
            self.stopped.set()
            while self.answers.get() is not None:
                pass
            raise

    def serve(self, task: Callable[..., Iterator]) -> None:
        threading.Thread(target=leave_after, args=(os.getppid(),), daemon=True).start()
        while True:
            arguments = self.asked.get()
            with ThreadPoolExecutor(1) as pool:
                pool.submit(self.run, task, arguments).result()
            self.answers.put(None)

    def run(self, task: Callable[..., Iterator], arguments: tuple) -> None:
        answers, count = task(*arguments), 0
        try:
            for value in answers:
                count += 1
                if self.stopped.is_set():
                    break
                self.answers.put({"value": value})
        except Exception as error:
            self.answers.put({"error": type(error).__name__})
        tell(what="worked", answers=count)
