"""A real server in its own process and a real Chromium, for all browser tests.

    python -m pytest -q -n 2 --dist loadfile tests/browser    # all of them, on two cores

CHROMIUM may name the browser; SUNDAE_TEST_ARGS adds arguments to app.py (``--model some/folder``).
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from launching import FLAGS, find_chromium, free_port, wait_until_up
from painter_page import PainterPage
from playwright.sync_api import Browser, BrowserContext, sync_playwright
from tiny import save_flat_bundle, save_tiny_bundle

ROOT = Path(__file__).resolve().parents[2]
DEVICES = {
    "desktop": {"viewport": {"width": 1280, "height": 860}},
    "phone": {
        "viewport": {"width": 390, "height": 844},
        "has_touch": True,
        "is_mobile": True,
        "device_scale_factor": 2,
    },
}


class Server:
    """The running page: where it is, what it printed, where it keeps files."""

    def __init__(self, url: str, log: Path, files: Path, examples: list[Path]) -> None:
        self.url, self.log, self.files, self.examples = url, log, files, examples


def example_folder(extra: list[str]) -> Path:
    return Path(extra[extra.index("--examples") + 1]) if "--examples" in extra else ROOT / "examples"


@contextmanager
def running(folder: Path, extra: list[str]) -> Iterator[Server]:
    files, log, port = folder / "files", folder / "log.txt", free_port()
    environment = {**os.environ, "GRADIO_TEMP_DIR": str(files), "PYTHONUNBUFFERED": "1"}
    environment.setdefault("OMP_NUM_THREADS", "1")
    command = [sys.executable, str(ROOT / "app.py"), "--port", str(port), *extra]
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}/"
    wait_until_up(url, process, log)
    examples = sorted(
        path for path in example_folder(extra).iterdir() if path.suffix in (".webp", ".png", ".jpg")
    )
    yield Server(url, log, files, examples)
    process.terminate()
    process.wait(15)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With the models in the box."""
    extra = shlex.split(os.environ.get("SUNDAE_TEST_ARGS", ""))
    with running(tmp_path_factory.mktemp("server"), extra) as started:
        yield started


@pytest.fixture(scope="session")
def quick_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With two tiny models: "Night" gives dark pictures back best, "Day" bright ones. Modules for which it does
    not matter what is drawn make it their ``server``."""
    folder = tmp_path_factory.mktemp("quick-server")
    models = [
        save_flat_bundle(folder / name, value, 20) for name, value in (("night-32", -0.6), ("day-32", 0.6))
    ]
    with running(folder, ["--mcp", "--model", *map(str, models)]) as started:
        yield started


@pytest.fixture(scope="session")
def lively_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With a tiny model whose candidates and steps look unlike each other, which those of ``quick_server`` do not."""
    folder = tmp_path_factory.mktemp("lively-server")
    with running(folder, ["--model", str(save_tiny_bundle(folder / "tiny"))]) as started:
        yield started


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=find_chromium(playwright), headless=True, args=FLAGS
        )
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def contexts(browser: Browser) -> dict[str, BrowserContext]:
    """One profile per kind of device: its cache makes every page after the first open quickly."""
    return {
        name: browser.new_context(**settings, accept_downloads=True) for name, settings in DEVICES.items()
    }


class Visits:
    """Opens tabs, and holds what must be true of all of them when they have been closed: no error in the page,
    none in the server's log, no request that left the machine."""

    def __init__(self, server: Server, contexts: dict[str, BrowserContext]) -> None:
        self.server, self.contexts = server, contexts
        self.tabs: list[PainterPage] = []
        self.printed = len(server.log.read_text())

    def __call__(self, device: str = "desktop") -> PainterPage:
        self.tabs.append(PainterPage(self.contexts[device], self.server.url))
        self.tabs[-1].files = self.server.files
        return self.tabs[-1]

    def check(self) -> None:
        for tab in self.tabs:
            tab.page.close()
        assert [error for tab in self.tabs for error in tab.errors] == []
        assert [url for tab in self.tabs for url in tab.strangers] == []
        assert "Traceback" not in self.server.log.read_text()[self.printed :]


@pytest.fixture
def visit(contexts: dict[str, BrowserContext], server: Server) -> Iterator[Visits]:
    visits = Visits(server, contexts)
    yield visits
    visits.check()


@pytest.fixture(scope="module")
def visits_of_module(contexts: dict[str, BrowserContext], server: Server) -> Iterator[Visits]:
    visits = Visits(server, contexts)
    yield visits
    visits.check()


@pytest.fixture
def tab(visits_of_module: Visits) -> PainterPage:
    """A desktop tab that a module's tests share, as good as new: nothing painted, everything at its default."""
    tab = visits_of_module.tabs[0] if visits_of_module.tabs else visits_of_module()
    tab.renew()
    return tab
