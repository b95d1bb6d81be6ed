"""Starting the page and a browser: for the tests, docs/record_page.py and the benchmarks of the page."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from playwright.sync_api import Playwright

FLAGS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
START_LIMIT = 120  # s, on a machine with much else to do


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def find_chromium(playwright: Playwright) -> str:
    """CHROMIUM, or one on the path, or playwright's own.

    Raises:
        ValueError: if there is none: a test that needs one fails, and is not skipped.
    """
    names = ("chromium", "chromium-browser", "google-chrome")
    own = playwright.chromium.executable_path
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    found = found or (own if Path(own).exists() else None)
    if not found:
        raise ValueError("no browser: install chromium or name one in the CHROMIUM environment variable")
    return found


def wait_until_up(url: str, process: subprocess.Popen, log: Path) -> None:
    """Raises ValueError with the server's last words if it does not come up."""
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=2).read(1)
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    process.terminate()
    raise ValueError(f"app.py did not come up:\n{log.read_text()[-3000:]}")
