"""Record the README's moving picture: ``python docs/record_page.py`` (Chromium and the default model needed).

Opens the real page, paints over a mouth, presses Redraw, and keeps a screenshot about eight times a second.
"""

from __future__ import annotations

import io
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "browser"), str(ROOT / "tests"), str(ROOT)]

from launching import FLAGS, find_chromium, free_port, wait_until_up  # noqa: E402
from painter_page import PainterPage  # noqa: E402

VIEW = {"width": 1180, "height": 860}
FRAME_MS = 130
SIZE = (885, 645)


def shot(page: PainterPage) -> Image.Image:
    data = page.page.screenshot(type="jpeg", quality=92)
    return Image.open(io.BytesIO(data)).convert("RGB").resize(SIZE, Image.Resampling.LANCZOS)


def act(page: PainterPage, example: int, strokes: list[list[tuple[float, float]]]) -> list[Image.Image]:
    """Paint the strokes over an example and redraw, with a screenshot after every move."""
    page.renew()
    page.click(f"Load example {example}")
    time.sleep(1)
    page.set_seed(3)
    page.page.get_by_label("Lock").check()
    frames = [shot(page)] * 4
    mouse = page.page.mouse
    for stroke in strokes:
        mouse.move(*page.place(stroke[0]))
        mouse.down()
        for point in stroke[1:]:
            mouse.move(*page.place(point), steps=4)
            frames.append(shot(page))
        mouse.up()
    frames += [frames[-1]] * 3
    page.click("Redraw")
    began = time.monotonic()
    while not page.text("#status").startswith("Done") and time.monotonic() - began < 60:
        frames.append(shot(page))
        time.sleep(FRAME_MS / 2000)
    return frames + [shot(page)] * 10


def main() -> None:
    port = free_port()
    log = Path(subprocess.check_output(["mktemp"], text=True).strip())
    server = subprocess.Popen(
        [sys.executable, str(ROOT / "app.py"), "--port", str(port)],
        stdout=log.open("w"),
        stderr=subprocess.STDOUT,
    )
    try:
        wait_until_up(f"http://127.0.0.1:{port}/", server, log)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=find_chromium(playwright), args=FLAGS)
            context = browser.new_context(viewport=VIEW, device_scale_factor=1)
            page = PainterPage(context, f"http://127.0.0.1:{port}/")
            mouth = [[(430, 650), (512, 665), (600, 650)], [(600, 690), (512, 705), (440, 690)]]
            frames = act(page, 2, mouth)
            browser.close()
    finally:
        server.terminate()
        server.wait(15)
    target = ROOT / "docs" / "page.webp"
    frames[0].save(
        target, save_all=True, append_images=frames[1:], duration=FRAME_MS, loop=0, quality=70, method=4
    )
    print(f"{target.relative_to(ROOT)}: {len(frames)} frames, {target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
