"""Whether the page stays well under long random use; prints JSON.

    python benchmarks/endurance.py [--tabs 4] [--actions 2000] [--minutes 60] [--seed 0] [--patience 120] [--model NAME ...]

Several tabs, each of a browser profile of its own, paint, redraw, cancel, undo, upload, switch models, close and come
back, by turns and while the others' jobs run. Who acts, and how, is drawn from the seed; the actions are spread evenly
over the minutes where the machine keeps up; how far the jobs are by then is up to it. Told are errors in the pages'
consoles and in the server's log, actions that could not be done, tabs that cannot redraw at the end, files that stay
once all tabs are closed (goal of each: none), and the server's memory before, between and after (goal: within 5 %),
freed memory given back. Between are the two halves of the actions, with all tabs closed: torch keeps some 0.15 MB for
every size of hole that a decoder has not seen before, so the first half grows more than the second.

Profiles of their own, because a browser opens six connections to a server at most, for all tabs of a profile together:
every tab of the page holds one, and one more while its job runs or waits. Of four tabs of one profile with three jobs,
a reload of the fourth waited 11 s, until the first job was done; of four profiles it took 0.6 s.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: look for packages in the repository, not in this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Error, Response, TimeoutError

from benchmarks.inpaint import machine, rounded
from benchmarks.pages import VIEW, Served, chromium, served

from painter_page import PainterPage  # isort: skip  # pyright: ignore  # on the path since benchmarks.pages

GOALS = {"growth": 0.05, "growth_of_second_half": 0.05}
PATIENCE = 120  # s for a redraw; those of other tabs may come before it
LEAVE = 50  # s after which what a closed tab had is gone, and what came late for it
ENDED = ("AbortError: signal is aborted", "Connection errored out")
TOLD = 20  # of each kind of fault; the rest is counted
FORMS = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}
# Buttons, switches, choices and numbers that can be seen and used. Left out is what opens the system's own windows.
USABLE = """() => [...document.querySelectorAll('button, select, summary, input:not([type=file]):not([type=text])')].filter((each) =>
  each.checkVisibility({ visibilityProperty: true }) && !each.disabled && !each.closest('[inert]')
  && (!document.querySelector('dialog[open]') || each.closest('dialog[open]'))
  && !each.matches('[data-act=open], [data-act=openmask], .examples button'))"""
POKE = f"""([share, value]) => {{
  const all = ({USABLE})();
  const one = all[Math.floor(share * all.length)];
  if (!one) return '';
  if (one.matches('select')) {{
    one.selectedIndex = Math.floor(value * one.options.length);
    one.dispatchEvent(new Event('change', {{ bubbles: true }}));
  }} else if (one.matches('input[type=number], input[type=range]')) {{
    const [low, high] = [Number(one.min) || 0, Number(one.max) || 100];
    one.value = String(Math.round(low + value * (Math.min(high, low + 64) - low)));
    for (const kind of ['input', 'change', 'blur']) one.dispatchEvent(new Event(kind, {{ bubbles: true }}));
  }} else one.click();
  return one.ariaLabel || one.textContent.trim() || one.id || one.dataset.setting || one.type;
}}"""


class Visitor:
    """One tab, used at random. Actions return nothing, or what they did if that needs telling."""

    def __init__(
        self, context: BrowserContext, url: str, dice: random.Random, patience: float = PATIENCE
    ) -> None:
        self.context, self.url, self.dice, self.patience = context, url, dice, patience
        self.faults: list[str] = []
        self.history: list[str] = []
        self.visits = 0
        self.actions: dict[str, tuple[int, Callable[[], Any]]] = {
            "paint": (14, lambda: self.drag("b")),
            "erase": (4, lambda: self.drag("e")),
            "rectangle": (6, lambda: self.drag("r")),
            "lasso": (3, lambda: self.drag("l")),
            "redraw": (14, lambda: self.key("Enter")),
            "wait": (8, self.wait),
            "cancel": (5, lambda: self.key("Escape")),
            "undo": (3, lambda: self.key("Control+z")),
            "redo": (2, lambda: self.key("Control+Shift+z")),
            "invert": (1, lambda: self.key("i")),
            "clear": (1, lambda: self.key("Delete")),
            "last mask": (1, lambda: self.key("m")),
            "cells": (1, lambda: self.key("g")),
            "candidate": (3, lambda: self.key(str(self.dice.randint(1, 8)))),
            "upload": (4, self.upload),
            "no picture": (1, lambda: self.drop("notes.png", b"not a picture")),
            "example": (3, lambda: self.click(".examples [data-index]")),
            "model": (3, lambda: self.click("#model label")),
            "steps": (3, lambda: self.fill("#steps input[type=number]", self.dice.choice((1, 2, 3, 6, 64)))),
            "seed": (1, lambda: self.fill("#seed input", self.dice.randint(0, 2**32 - 1))),
            "candidates": (2, lambda: self.click("#candidates label")),
            "keep going": (3, lambda: self.click("#keep-going")),
            "use as input": (4, lambda: self.click("#use")),
            "former picture": (2, lambda: self.click("#go-back")),
            "later picture": (1, lambda: self.click("#go-forward")),
            "download": (2, lambda: self.click("#download")),
            "extend": (2, self.extend),
            "earlier result": (3, lambda: self.click(".past .thumbs button")),
            "clear results": (1, lambda: self.click(".past .forget")),
            "grow": (1, lambda: self.click("[data-act=grow]", shown=False)),
            "shrink": (1, lambda: self.click("[data-act=shrink]", shown=False)),
            "look back": (2, lambda: self.fill("[data-replay]", self.dice.randint(1, 8))),
            "anything": (14, self.poke),
            "reload": (1, self.reload),
            "close": (2, self.close),
        }
        self.open()

    # -- tabs -------------------------------------------------------------------------------------------

    def open(self) -> None:
        """A page that does not open in time is a fault, and the visitor tries again at the next action."""
        self.visits += 1
        self.tab = PainterPage(self.context, self.url)
        self.page = self.tab.page
        self.page.on("response", self.answered)

    def answered(self, response: Response) -> None:
        """The console tells that something was refused, and not what."""
        if response.status >= 400:
            self.faults.append(f"status {response.status} of {response.request.method} {response.url[:200]}")

    def close(self) -> None:
        """Whatever is running; and come back."""
        self.leave()
        self.open()

    def leave(self) -> None:
        after = ", after " + " · ".join(self.history[-6:])
        self.faults += [f"console: {error[:300]}{after}" for error in self.tab.errors]
        self.faults += [f"a request that left the machine: {url}" for url in self.tab.strangers]
        self.page.close()

    def reload(self) -> None:
        """Gradio tells of the connections that end with the page that is left; those are no faults."""
        before = len(self.tab.errors)
        self.page.reload()
        self.page.wait_for_selector(".sundae[data-ready='1']")
        fresh = self.tab.errors[before:]
        self.tab.errors[before:] = [each for each in fresh if not any(word in each for word in ENDED)]

    # -- actions ----------------------------------------------------------------------------------------

    def act(self) -> str:
        """One action at random; returns its name."""
        name = self.dice.choices(list(self.actions), [weight for weight, _ in self.actions.values()])[0]
        try:
            if self.page.is_closed():
                self.open()
            if name != "wait":
                self.close_dialog()
            told = self.actions[name][1]()
        except Error as error:
            kind = "could not be done in time" if isinstance(error, TimeoutError) else "failed"
            self.faults.append(f"{name} {kind}: {error.message[:300]}, after {' · '.join(self.history[-6:])}")
            told = None
        self.history.append(f"{name} {told}" if told else name)
        return name

    def close_dialog(self) -> None:
        self.page.evaluate("document.querySelector('dialog[open]')?.close()")

    def key(self, key: str) -> None:
        self.page.locator(".stage").focus()
        self.page.keyboard.press(key)

    def drag(self, tool: str) -> None:
        """With a tool of the brush's, from somewhere on the stage to elsewhere."""
        self.key(tool)
        box = self.page.locator(".stage").bounding_box()
        if box is None:
            return
        corners = [
            (box["x"] + box["width"] * self.dice.random(), box["y"] + box["height"] * self.dice.random())
            for _ in range(3)
        ]
        mouse = self.page.mouse
        mouse.move(*corners[0])
        mouse.down()
        for corner in corners[1:]:
            mouse.move(*corner, steps=4)
        mouse.up()

    def click(self, selector: str, shown: bool = True) -> None:
        """One of what the selector finds, if there is any that can be used."""
        found = [each for each in self.page.locator(selector).all() if not shown or each.is_visible()]
        if found:
            self.dice.choice(found).evaluate("each => (each.querySelector('button') ?? each).click()")

    def fill(self, selector: str, value: int) -> None:
        field = self.page.locator(selector)
        if field.is_visible():
            field.evaluate(
                """(field, value) => { field.value = String(value);
                for (const kind of ['input', 'change', 'blur']) field.dispatchEvent(new Event(kind, { bubbles: true })); }""",
                value,
            )

    def poke(self) -> str:
        return self.page.evaluate(POKE, [self.dice.random(), self.dice.random()])

    def upload(self) -> str:
        """A picture of some size, mode and format."""
        width, height = (self.dice.choice((40, 300, 512, 900, 1400)) for _ in range(2))
        form = self.dice.choice(list(FORMS))
        mode = self.dice.choice(("RGB", "L") if form == "JPEG" else ("RGB", "RGBA"))
        noise = np.random.default_rng(self.dice.randrange(2**32)).integers(0, 256, (8, 8, 3), np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).convert(mode).save(
            buffer, form
        )
        self.drop(f"picture.{FORMS[form]}", buffer.getvalue())
        return f"{width}×{height} {mode} {form}"

    def drop(self, name: str, data: bytes) -> None:
        self.tab.drop(name, data)

    def extend(self) -> None:
        margins = {side: self.dice.choice((0, 0, 64, 200)) for side in ("left", "right", "top", "bottom")}
        script = """(margins) => { for (const [side, px] of Object.entries(margins))
          document.querySelector(`[data-margin=${side}]`).value = px; document.querySelector('[data-whole=extend]').click(); }"""
        self.page.evaluate(script, margins)

    def wait(self) -> None:
        """Until nothing runs."""
        self.page.wait_for_selector(".sundae[data-busy='0']", timeout=1000 * self.patience)

    def says(self) -> str:
        """The page's own words."""
        return " · ".join(self.page.locator("#status, .message p").all_inner_texts())

    def redraws(self) -> None:
        """Whether the tab still does what it is for, with the usual settings: some others ask for a result first.

        Raises:
            TimeoutError: of playwright, if it does not.
        """
        self.close_dialog()
        self.key("Escape")
        self.wait()
        before = self.tab.count("pictures")
        self.page.locator(".examples [data-index]").first.click()
        self.page.wait_for_function(
            "before => Number(document.querySelector('.sundae').dataset.pictures) > before", arg=before
        )
        self.click(".more .reset", shown=False)
        self.fill("#steps input[type=number]", 1)
        self.key("0")
        self.drag("r")
        self.key("Enter")
        self.page.wait_for_function(
            "() => document.querySelector('.sundae').dataset.busy === '0' && document.querySelector('.sundae').dataset.sent > 0",
            timeout=1000 * self.patience,
        )


def tell(visitors: Sequence[Visitor], told: list[str]) -> list[str]:
    """Print the faults that have not been told yet; returns all of them."""
    faults = [fault for visitor in visitors for fault in (*visitor.faults, *visitor.tab.errors)]
    for fault in (Counter(faults) - Counter(told)).elements():
        print(fault, file=sys.stderr)
    return faults


def use(
    browser: Browser, server: Served, given: argparse.Namespace, dice: random.Random, actions: int
) -> dict[str, Any]:
    """The visitors by turns, until there have been enough actions or half of the minutes; then all of them leave."""
    contexts = [browser.new_context(viewport=VIEW) for _ in range(given.tabs)]
    visitors = [Visitor(context, server.url, dice, given.patience) for context in contexts]
    began, done, told = time.monotonic(), Counter(), []
    limit = 30 * given.minutes  # s of this half
    while done.total() < actions and (spent := time.monotonic() - began) < limit:
        time.sleep(max(0.0, limit * done.total() / actions - spent))
        done[dice.choice(visitors).act()] += 1
        if done.total() % 100 == 0:
            told = tell(visitors, told)
            minutes, memory = (time.monotonic() - began) / 60, server.resident_mb()
            print(
                f"{done.total()} actions, {minutes:.1f} min, {len(told)} faults, {memory:.0f} MB",
                file=sys.stderr,
            )
    seconds = time.monotonic() - began
    for visitor in visitors:
        try:
            visitor.redraws()
        except Error as error:
            visitor.faults.append(
                f"no redraw at the end: {error.message[:200]}; the page says {visitor.says()!r}, "
                f"after {' · '.join(visitor.history[-12:])}"
            )
        visitor.leave()
    for context in contexts:
        context.close()
    time.sleep(LEAVE)
    return {
        "seconds": seconds,
        "done": done,
        "visits": sum(visitor.visits for visitor in visitors),
        "faults": [fault for visitor in visitors for fault in visitor.faults],
        "memory_mb": server.settled_mb(),
    }


def told_together(halves: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What both halves came to."""
    done = sum((half["done"] for half in halves), Counter())
    faults = [fault for half in halves for fault in half["faults"]]
    return {
        "seconds": sum(half["seconds"] for half in halves),
        "actions": done.total(),
        "of_each": dict(done.most_common()),
        "visits": sum(half["visits"] for half in halves),
        "faults": {"count": len(faults), "first": faults[:TOLD]},
    }


def warm_up(context: BrowserContext, server: Served) -> None:
    """What a server does once and keeps: every model has redrawn, every kind of request has been served."""
    visitor = Visitor(context, server.url, random.Random(-1))
    for place in range(max(1, visitor.page.locator("#model label").count())):
        if visitor.page.locator("#model label").count():
            visitor.page.locator("#model label").nth(place).click()
        for _ in range(2):
            visitor.redraws()
    visitor.upload()
    visitor.wait()
    for selector in ("#download", "#use", "[data-whole=seen]", "[data-whole=surprise]"):
        visitor.close_dialog()
        visitor.click(selector, shown=False)
        visitor.page.wait_for_timeout(2000)
    visitor.leave()


def left_over(server: Served) -> list[str]:
    """Files that are still there, without the folders that they lie in."""
    places = {"files": server.files, "temp": server.temp}
    return [
        f"{name}/{path.relative_to(place)}"
        for name, place in places.items()
        for path in sorted(place.rglob("*"))
        if path.is_file()
    ]


def complaints(log: Path) -> list[str]:
    """Lines of the server's log that tell of something wrong, each once."""
    words = ("Traceback", "Error", "Exception", "failed", "cannot", "Warning")
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return list(dict.fromkeys(line.strip() for line in lines if any(word in line for word in words)))


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the command line; returns what is printed."""
    parser = argparse.ArgumentParser(
        prog="python benchmarks/endurance.py", description="Use the page for long."
    )
    parser.add_argument("--tabs", type=int, default=4, help="at once")
    parser.add_argument("--actions", type=int, default=2000, help="of all tabs together")
    parser.add_argument(
        "--minutes",
        type=float,
        default=60,
        help="over which the actions are spread and after which it ends in any case; half of them for each half",
    )
    parser.add_argument("--seed", type=int, default=0, help="of what is done")
    parser.add_argument("--patience", type=float, default=PATIENCE, help="seconds that a redraw may take")
    parser.add_argument(
        "--model", nargs="+", default=[], help="names or folders of bundles (default: all in the box)"
    )
    given = parser.parse_args(arguments)
    if min(given.tabs, given.actions, given.minutes) <= 0:
        parser.error("expected at least one tab, one action and some time")
    words = ["--model", *given.model] if given.model else []
    with tempfile.TemporaryDirectory() as folder, served(Path(folder), words) as server:
        with chromium() as browser:
            with browser.new_context(viewport=VIEW) as context:
                warm_up(context, server)
            time.sleep(LEAVE)
            before, dice = server.settled_mb(), random.Random(given.seed)
            parts = (given.actions - given.actions // 2, given.actions // 2)
            halves = [use(browser, server, given, dice, actions) for actions in parts]
        log = complaints(server.log)
        between, after = (half["memory_mb"] for half in halves)
        result = {
            "machine": machine(),
            "browser": browser.version,
            "goals": GOALS,
            **{name: getattr(given, name) for name in ("tabs", "seed", "model")},
            **told_together(halves),
            "model_runs": sum(what == "model" for what, *_ in server.stretches()),
            "log": {"count": len(log), "first": log[:TOLD]},
            "memory_mb": {
                "before": before,
                "between": between,
                "after": after,
                "growth": after / before - 1 if before else None,
                "growth_of_second_half": after / between - 1 if between else None,
            },
            "files_left": left_over(server),
        }
    print(json.dumps(rounded(result), indent=1, ensure_ascii=False))
    return result


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        raise SystemExit(f"error: {error}") from None
