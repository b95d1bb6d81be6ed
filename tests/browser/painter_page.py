"""What a visitor does on the page, for the tests."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import BrowserContext, Error, Route

Point = tuple[float, float]
READY = ".sundae[data-ready='1']"
COVERED = """() => {
  const canvas = document.querySelector('canvas.mask');
  const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  let rows = [], bytes = new Uint8Array(canvas.width * canvas.height);
  for (let i = 0; i < bytes.length; i++) bytes[i] = pixels[4 * i + 3] >= 128 ? 1 : 0;
  for (let i = 0; i < bytes.length; i += 32768) rows.push(String.fromCharCode(...bytes.subarray(i, i + 32768)));
  return [canvas.width, canvas.height, btoa(rows.join(''))];
}"""


SHOWN = """() => {
  const canvas = document.createElement('canvas');
  for (const layer of document.querySelectorAll('canvas.base, canvas.result')) {
    if (layer.matches('.base')) Object.assign(canvas, { width: layer.width, height: layer.height });
    if (getComputedStyle(layer).visibility === 'visible') canvas.getContext('2d').drawImage(layer, 0, 0);
  }
  return canvas.toDataURL('image/png');
}"""

# A connection like that which says that the visitor is here is made, and ends.
BREAK = """async (url) => {
  const stop = new AbortController();
  const answer = await fetch(url, { signal: stop.signal });
  await answer.body.getReader().read();
  stop.abort();
}"""


class PainterPage:
    """One tab. Points are in pixels of the picture."""

    def __init__(self, context: BrowserContext, url: str, ready: str = READY) -> None:
        self.context, self.url = context, url
        self.errors: list[str] = []
        self.strangers: list[str] = []
        self.results = 0  # redraws that this visitor has had
        self.heartbeat = ""  # the connection that says that the visitor is here
        self.files: Path | None = None  # where the server keeps uploads
        self.page = context.new_page()
        self.page.set_default_timeout(30_000)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda line: self.errors.append(line.text) if line.type == "error" else None)
        self.page.on("request", lambda request: self._note_stranger(request.url))
        self.page.goto(url)
        self.page.wait_for_selector(ready)

    def _note_stranger(self, url: str) -> None:
        if "/heartbeat/" in url:
            self.heartbeat = url
        if not url.startswith((self.url, "data:", "blob:")):
            self.strangers.append(url)

    # -- looking ----------------------------------------------------------------------------------------

    def count(self, name: str) -> int:
        return int(self.page.locator(".sundae").get_attribute(f"data-{name}") or 0)

    def text(self, selector: str) -> str:
        return self.page.locator(selector).text_content().strip()

    def wait_for_text(self, selector: str, start: str, seconds: float = 30) -> str:
        script = (
            "([selector, start]) => document.querySelector(selector).textContent.trim().startsWith(start)"
        )
        self.page.wait_for_function(script, arg=[selector, start], timeout=seconds * 1000)
        return self.text(selector)

    def wait_for_count(self, name: str, least: int) -> None:
        script = "([name, least]) => Number(document.querySelector('.sundae').dataset[name]) >= least"
        self.page.wait_for_function(script, arg=[name, least])

    def shown(self) -> np.ndarray:
        """uint8 (H, W, 3): the picture as it is on the screen, the mask left out."""
        data = base64.b64decode(self.page.evaluate(SHOWN).split(",")[1])
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    def mask(self) -> np.ndarray:
        """bool (H, W): what is painted, as the page would post it."""
        width, height, text = self.page.evaluate(COVERED)
        return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width).astype(bool)

    def place(self, point: Point) -> Point:
        """Where on the screen a pixel of the picture is."""
        script = """() => { const c = document.querySelector('canvas.mask'), b = c.getBoundingClientRect();
          return [b.x, b.y, b.width / c.width, b.height / c.height]; }"""
        x, y, across, down = self.page.evaluate(script)
        return x + point[0] * across, y + point[1] * down

    # -- doing ------------------------------------------------------------------------------------------

    def renew(self) -> None:
        """Back to how the page opens, without loading it."""
        self.to_front()
        self.page.mouse.move(5, 5)
        self.page.locator(".stage").focus()
        before = self.count("pictures")
        self.page.get_by_role("button", name="Load example 1", exact=True).click()
        self.wait_for_count("pictures", before + 1)
        self.page.get_by_label("Brush", exact=True).click()
        self.page.get_by_label("Brush size").fill("60")
        self.page.get_by_label("Lock").uncheck()
        self.page.locator("#candidates label").nth(0).click()

    def to_front(self) -> None:
        """In front of other tabs: behind them it draws once in a second, and everything waits for that."""
        self.page.bring_to_front()

    def stroke(self, *points: Point) -> None:
        self.to_front()
        mouse = self.page.mouse
        mouse.move(*self.place(points[0]))
        mouse.down()
        for point in points[1:]:
            mouse.move(*self.place(point), steps=4)
        mouse.up()

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)

    def click(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def set_steps(self, steps: int) -> None:
        self.to_front()
        field = self.page.locator("#steps input[type=number]")
        field.fill(str(steps))
        field.press("Tab")

    def set_seed(self, seed: int) -> None:
        field = self.page.locator("#seed input")
        field.fill(str(seed))
        field.press("Tab")

    def steps(self) -> int:
        return int(self.page.locator("#steps input[type=number]").input_value())

    def seed(self) -> int:
        return int(self.page.locator("#seed input").input_value())

    def redraw(self, seconds: float = 60) -> str:
        """Press Redraw and wait for the result; returns the status line."""
        self.click("Redraw")
        self.results += 1
        return self.wait_for_text("#status", f"Done {self.results} ", seconds)

    def download(self) -> tuple[Image.Image, dict]:
        """The downloaded PNG and the settings in it."""
        with self.page.expect_download() as waiting:
            self.click("Download PNG")
        with open(waiting.value.path(), "rb") as file:
            image = Image.open(io.BytesIO(file.read()))
        image.load()
        return image, json.loads(image.info["sundae"])

    def lose_connection(self, script: str = BREAK) -> None:
        """The server takes the visitor for gone; by the script that is given also when that has happened before. It has
        done so when what was sent in the visit's name, and never read, is gone."""
        assert self.files is not None, "where the server keeps uploads"
        unread = self.files / "unread" / f"{self.page.locator('.sundae').get_attribute('data-visit')}-unread"
        unread.parent.mkdir(exist_ok=True)
        unread.touch()
        self.page.evaluate(script, self.heartbeat)
        assert within(20, lambda: not unread.exists())

    def altered_post(self, alter: Callable[[list], None]) -> Route:
        """Change the data of the next posts that carry a mask, as a stranger's program might."""

        def change(route: Route) -> None:
            body = json.loads(route.request.post_data)
            if len(body["data"]) == 8:  # session, mask, seed, lock, steps, candidates, model, more settings
                alter(body["data"])
            route.continue_(post_data=json.dumps(body))

        self.page.route("**/queue/join*", change)

    def plain_post(self) -> None:
        with suppress(Error):
            self.page.unroute("**/queue/join*")

    def drop(self, name: str, data: bytes, kind: str = "drop") -> None:
        """Drop or paste a file on the page."""
        script = """([name, text, kind]) => {
          const files = new DataTransfer();
          files.items.add(new File([Uint8Array.from(atob(text), (each) => each.charCodeAt(0))], name));
          const event = kind === 'drop' ? new DragEvent('drop', { dataTransfer: files, bubbles: true, cancelable: true })
            : new ClipboardEvent('paste', { clipboardData: files, bubbles: true, cancelable: true });
          document.querySelector('.stage').dispatchEvent(event);
        }"""
        self.page.evaluate(script, [name, base64.b64encode(data).decode(), kind])


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    """Whether something comes true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.05)
    return holds()
