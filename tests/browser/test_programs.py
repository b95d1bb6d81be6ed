"""What programs may ask for: the documentation's own examples, and what must hold for every caller."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import http.client
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from gradio_client import Client, handle_file
from marks import DRAWN, EDITED, mark_of
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from painter_page import within
from PIL import Image
from tiny import flat_model

import app
import sundae
from page import programs
from page.desk import Desk
from page.shelf import Shelf
from sundae.pipeline import blank

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "api.md"
ADDRESS = "http://127.0.0.1:7860/"
HOLE = np.zeros((256, 320), bool)
HOLE[96:160, 64:200] = True


def gradient(width: int = 320, height: int = 256) -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 90, width), np.linspace(0, 90, height))
    return Image.fromarray(np.stack([x, y, 90 - x], -1).astype(np.uint8))


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def data_url(image: Image.Image) -> str:
    return "data:image/png;base64," + base64.b64encode(png(image)).decode()


IMAGE, MASK = data_url(gradient()), data_url(Image.fromarray(HOLE))


def examples(language: str, url: str) -> list[str]:
    """The documentation's blocks of code in a language, for the server at ``url``."""
    text = DOCUMENT.read_text(encoding="utf-8").replace(ADDRESS.rstrip("/"), url.rstrip("/"))
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def pictures(folder: Path, image: Image.Image, hole: np.ndarray) -> None:
    """The files that the examples begin with."""
    image.save(folder / "face.png")
    Image.fromarray(hole).save(folder / "mask.png")


def changed(path: Path | str, image: Image.Image) -> np.ndarray:
    """bool (H, W): where the picture in a file differs from another of its size."""
    with Image.open(path) as found:
        assert (found.format, found.size) == ("PNG", image.size)
        return (np.asarray(found.convert("RGB")) != np.asarray(image)).any(-1)


def left_behind(folder: Path) -> list[str]:
    """Files that programs sent, and that are still there; answers lie in the server's own folder."""
    return [str(path) for path in folder.rglob("*") if path.is_file() and "sundae-" not in str(path.parent)]


# -- the documentation ---------------------------------------------------------------------------------------


def test_the_python_examples_run_on_the_real_model(server, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "got"))
    with Image.open(server.examples[0]) as example:
        face = example.convert("RGB")
    hole = np.zeros((face.height, face.width), bool)
    hole[600:700, 400:600] = True
    pictures(tmp_path, face, hole)
    names: dict = {}
    told = []
    for code in examples("python", server.url):
        exec(code, names)
        told.append((capsys.readouterr().out, names.get("picture"), names.get("about")))
    listed, single, several, _, whole = told
    assert "illustrated-1024 1024 1024 hourglass Apache-2.0" in listed[0]
    redrawn = changed(single[1], face)
    assert redrawn[hole].mean() > 0.5
    assert not redrawn[~hole].any()
    assert re.findall(r"step (\d+) of 4", several[0])[:5] == ["0", "1", "2", "3", "4"]
    assert single[2]["settings"] == several[2]["settings"][:1], (
        "the first candidate has the seed that was given"
    )
    assert Path(several[1]).read_bytes() == Path(single[1]).read_bytes()
    assert not np.array_equal(changed(several[2]["others"][0], face), redrawn)
    sizes = [Image.open(f"preview-{number}.jpg").size for number in (1, 2)]
    assert sizes == [(512, 512)] * 2
    assert Image.open(whole[1]).size == (1024, 1024)
    assert 25 < whole[2]["psnr"] < 45
    assert changed(names["seen"], face).mean() > 0.5
    assert left_behind(server.files) == []


@pytest.mark.parametrize("tool", ["curl", "curl.py"])
def test_the_plain_requests_run(quick_server, tmp_path, tool):
    """As they stand where there is curl, and everywhere with a stand-in that sends the same requests."""
    if tool == "curl.py" or not shutil.which("curl"):
        stand_in = tmp_path / "bin" / "curl"
        stand_in.parent.mkdir()
        stand_in.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ROOT}/tests/browser/curl.py" "$@"\n')
        stand_in.chmod(0o755)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    pictures(tmp_path, gradient(), HOLE)
    told = []
    for code in examples("sh", quick_server.url):
        command = ["bash", "-euo", "pipefail", "-c", code]
        done = subprocess.run(
            command, cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        told.append(done.stdout)
    assert told[0].startswith('event: generating\ndata: [null, {"step": 0, "of": 4}]\n\n')
    assert "event: complete\ndata: [{" in told[0]
    assert changed(tmp_path / "redrawn.png", gradient())[HOLE].any()
    assert not changed(tmp_path / "redrawn.png", gradient())[~HOLE].any()
    (models,) = json.loads(told[2].partition("data: ")[2])
    assert [model["name"] for model in models] == ["night-32", "day-32"]
    assert left_behind(quick_server.files) == []


# -- every caller --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client(quick_server, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("got"))
    with contextlib.closing(Client(quick_server.url, verbose=False, download_files=folder)) as client:
        yield client


def test_a_program_gets_what_the_library_draws(client, tmp_path, quick_server):
    """With every setting, streamed, from files and from data URLs."""
    pictures(tmp_path, gradient(), HOLE)
    given = {"seed": 5, "steps": 6, "model": "night-32", "candidates": 3, "strength": 0.5, "proportion": 0.7}
    given |= {"temperature_start": 1.1, "temperature_end": 0.3}
    edges = {"feather": 11, "grow": 40, "mask_rule": "all"}
    given |= edges
    model = sundae.load(quick_server.log.parent / "night-32")
    prepared = sundae.Inpainter(model).prepare(gradient(), HOLE, **edges)
    asked = {"steps": 6, "strength": 0.5, "temperature_start": 1.1, "temperature_end": 0.3}
    config = sundae.SamplerConfig(
        **{**vars(prepared.defaults), **asked, "proportion_start": 0.7, "proportion_end": 0.7}
    )
    frame = list(prepared.run(config, [5, 6, 7]))[-1]
    ways = [
        {"image": IMAGE, "mask": MASK},
        {n: handle_file(tmp_path / f) for n, f in (("image", "face.png"), ("mask", "mask.png"))},
    ]
    for way, previews in zip(ways, (True, False)):
        answers = list(client.submit(**way, **given, previews=previews, api_name="/inpaint"))
        seen = [about.get("previews") for picture, about in answers if picture is None]
        assert [len(each or []) for each in seen] == [3 * previews] * len(seen)
        first, about = answers[-1]
        assert about["settings"] == [prepared.settings(config, seed) for seed in (5, 6, 7)]
        for place, path in enumerate([first, *about["others"]]):
            assert np.array_equal(np.asarray(Image.open(path)), np.asarray(frame.image(place)))


def test_answers_say_whether_a_model_made_all_of_them(client):
    given = {"steps": 1, "model": "night-32"}
    assert mark_of(client.predict(**given, api_name="/sample")[0]) == DRAWN
    assert mark_of(client.predict(image=IMAGE, mask=MASK, **given, api_name="/inpaint")[0]) == EDITED
    assert mark_of(client.predict(image=IMAGE, model="night-32", api_name="/reconstruct")[0]) == EDITED


def whole_pictures(server, seeds, steps):
    """What the library draws from nothing, with the settings of each."""
    prepared = blank(sundae.load(server.log.parent / "night-32"))
    config = dataclasses.replace(prepared.defaults, steps=steps)
    *_, frame = prepared.run(config, seeds)
    return [(np.asarray(frame.image(i)), prepared.settings(config, seed)) for i, seed in enumerate(seeds)]


@pytest.mark.parametrize("way", ["client", "call/v2", "call"])
def test_several_pictures_are_drawn_from_nothing(client, quick_server, way):
    """The same by each way to ask; the plain one without names takes them in the order of the documentation."""
    asked = {"n": 3, "seed": 5, "steps": 2, "model": "night-32"}
    expected = whole_pictures(quick_server, [5, 6, 7], 2)
    if way == "client":
        first, about = client.predict(**asked, api_name="/sample")
        others = about["others"]
        files = [Path(path).read_bytes() for path in (first, *others)]
    else:
        body = asked if way == "call/v2" else {"data": [*asked.values(), False]}
        with listening(quick_server.url, "sample", body, way) as lines:
            *_, told = (line for line in lines if line.startswith(b"data: [{"))
        first, about = json.loads(told.removeprefix(b"data: "))
        files = [urllib.request.urlopen(each["url"]).read() for each in (first, *about["others"])]
    assert about["settings"] == [settings for _, settings in expected]
    for data, (image, settings) in zip(files, expected, strict=True):
        found = Image.open(io.BytesIO(data))
        assert json.loads(found.info["sundae"]) == settings
        assert np.array_equal(np.asarray(found), image)


def test_too_many_pictures_are_refused(client):
    with pytest.raises(Exception, match="The number of pictures must be a whole number from 1 to 8"):
        client.predict(n=9, api_name="/sample")


def test_a_preview_shows_the_step_in_its_place(client):
    """Of a picture that is larger than the preview; around the hole nothing but JPEG noise differs."""
    image, hole = gradient(1600, 1200), np.zeros((1200, 1600), bool)
    hole[600:900, 200:600] = True
    image.paste((255, 255, 255), (200, 600, 600, 900))  # what is hidden is not seen, so it goes
    job = client.submit(
        data_url(image),
        data_url(Image.fromarray(hole)),
        steps=2,
        model="day-32",
        previews=True,
        api_name="/inpaint",
    )
    _, about = next(iter(job))
    job.result()
    shown = Image.open(io.BytesIO(base64.b64decode(about["previews"][0].partition(",")[2])))
    assert (shown.format, shown.size) == ("JPEG", (512, 384))
    difference = np.abs(np.asarray(shown, int) - np.asarray(image.resize(shown.size), int)).max(-1)
    inside = np.zeros(difference.shape, bool)
    inside[192:288, 64:192] = True
    assert difference[inside].mean() > 50
    assert difference[~inside].mean() < 4


BAD = {
    "steps": ({"steps": 0}, "Steps must be a whole number from 1 to 64."),
    "seed": ({"seed": -1}, "The seed must be a whole number from 0 to 4294967295."),
    "candidates": ({"candidates": 9}, "Candidates must be a whole number from 1 to 8."),
    "strength": ({"strength": 0}, "The strength must be a number from 5% to 100%."),
    "temperature": ({"temperature_start": 3}, "The first temperature must be a number from 0.05 to 2.0."),
    "proportion": ({"proportion": "all"}, "The proportion must be a number from 5% to 100%."),
    "feather": ({"feather": 513}, "Expected feather in whole px from 0 to 512, got 513."),
    "half a pixel": ({"feather": 1.5}, "Expected feather in whole px from 0 to 512, got 1.5."),
    "grow": ({"grow": -600}, "Expected grow in whole px from -512 to 512, got -600."),
    "rule": ({"mask_rule": "some"}, "Expected a mask rule of 'any' or 'all', got 'some'."),
    "model": ({"model": "nobody"}, "The model must be one of night-32, day-32."),
    "mask of another size": ({"mask": data_url(gradient(64, 64))}, "64"),
    "no picture": ({"image": "data:image/png;base64,aGVsbG8="}, "The picture"),
    "no base64": (
        {"image": "data:image/png;base64,%%%"},
        "A picture that is no uploaded file must be a data URL in base64.",
    ),
    "a file of the server": ({"image": "/etc/hostname"}, "The picture did not arrive. Please send it again."),
    "no address of ours": (
        {"mask": "http://example.invalid/mask.png"},
        "The picture did not arrive. Please send it again.",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_told_in_one_line(client, quick_server, name):
    """And files that came with it do not stay."""
    asked, expected = BAD[name]
    printed = len(quick_server.log.read_text())
    given = {"image": IMAGE, "mask": MASK, **asked}
    with pytest.raises(Exception, match=re.escape(expected)) as told:
        client.predict(**given, api_name="/inpaint")
    assert "\n" not in str(told.value)
    assert quick_server.log.read_text()[printed:] == ""


def test_uploads_go_even_when_one_of_them_is_missing(client, quick_server, tmp_path):
    pictures(tmp_path, gradient(), HOLE)
    for given in ({"image": "nowhere.png"}, {"mask": "nowhere.png"}):
        files = {
            "image": handle_file(tmp_path / "face.png"),
            "mask": handle_file(tmp_path / "mask.png"),
            **given,
        }
        with pytest.raises(Exception, match="did not arrive"):
            client.predict(**files, api_name="/inpaint")
    assert left_behind(quick_server.files) == []


def test_pictures_from_nothing_say_so():
    desk = Desk(Shelf(["night"], loader=lambda name, device: flat_model(-0.6)), [])
    answers = [
        list(programs.Programs(desk).sample(2, 0, 1)),
        list(programs.Programs(desk).inpaint(IMAGE, MASK, 0, 1)),
    ]
    told = [["from_nothing" in each for each in about["settings"]] for *_, (_, about) in answers]
    assert told == [[True, True], [False]]


def test_answers_are_removed_after_a_while(monkeypatch):
    monkeypatch.setattr(programs, "KEEP_ANSWER", 0.5)
    desk = Desk(Shelf(["night"], loader=lambda name, device: flat_model(-0.6)), [])
    answer, _ = list(programs.Programs(desk).inpaint(IMAGE, MASK, 0, 2))[-1]
    assert answer is not None
    path = Path(answer["path"])
    assert path.is_file()
    assert within(5, lambda: not path.parent.exists())


def test_a_fault_of_our_own_is_an_apology(monkeypatch, caplog):
    desk = Desk(Shelf(["night"], loader=lambda name, device: flat_model(-0.6)), [])
    monkeypatch.setattr(desk, "run", lambda *asked: 1 / 0)
    with pytest.raises(app.gr.Error, match="Something went wrong on the server"):
        list(programs.Programs(desk).sample())
    assert "sample failed" in caplog.text


def test_a_caller_that_goes_away_frees_the_model(quick_server):
    """Previews of eight candidates for 64 steps: half a minute's work, unless it stops."""
    image, hole = gradient(1024, 1024), np.ones((1024, 1024), bool)
    asked = {"image": data_url(image), "mask": data_url(Image.fromarray(hole)), "model": "night-32"}
    asked |= {"steps": 64, "candidates": 8, "previews": True}
    with listening(quick_server.url, "inpaint", asked) as lines:
        assert next(lines) == b"event: generating\n"
    began = time.monotonic()
    with listening(quick_server.url, "reconstruct", {"image": IMAGE, "model": "night-32"}) as lines:
        assert b"event: complete\n" in list(lines)
    assert time.monotonic() - began < 15


@contextlib.contextmanager
def listening(url: str, name: str, asked: dict, way: str = "call/v2"):
    """Ask for a job and yield the lines of its events; then hang up."""
    host = urlsplit(url).netloc
    with contextlib.closing(http.client.HTTPConnection(host, timeout=120)) as line:
        head = {"Content-Type": "application/json"}
        line.request("POST", f"/gradio_api/{way}/{name}", json.dumps(asked), head)
        event = json.loads(line.getresponse().read())["event_id"]
    with contextlib.closing(http.client.HTTPConnection(host, timeout=120)) as line:
        line.request("GET", f"/gradio_api/call/{name}/{event}")
        yield iter(line.getresponse())


# -- MCP -----------------------------------------------------------------------------------------------------


def test_the_functions_are_tools(quick_server):
    """Gradio makes one text of two answers, unless its client asks to hear of the progress."""
    address = f"{quick_server.url}gradio_api/mcp/"
    with ThreadPoolExecutor(1) as aside:  # playwright has a running event loop in the main thread
        tools, models, drawn, told, wrong = aside.submit(asyncio.run, tool_calls(address)).result()
    assert {tool.name for tool in tools} == {"inpaint", "sample", "reconstruct", "models"}
    described = next(tool for tool in tools if tool.name == "inpaint")
    assert described.description.startswith("Redraw the part of a picture that is white in a mask;")
    assert described.inputSchema["required"] == ["image", "mask"]
    assert "data URL" in described.inputSchema["properties"]["image"]["description"]
    assert "night-32" in models.content[0].text
    image, address, about = drawn.content
    redrawn = Image.open(io.BytesIO(base64.b64decode(image.data)))
    difference = (np.asarray(redrawn) != np.asarray(gradient())).any(-1)
    assert difference[HOLE].any()
    assert not difference[~HOLE].any()
    assert address.text.startswith(f"Image URL: {quick_server.url}")
    assert "'seed': 9" in about.text
    (url,) = re.findall(r"'url': '([^']*)'", told.content[0].text)
    with urllib.request.urlopen(url) as file:
        assert np.array_equal(np.asarray(Image.open(file)), np.asarray(redrawn))
    assert wrong.isError
    assert wrong.content[0].text == "Steps must be a whole number from 1 to 64."
    assert left_behind(quick_server.files) == []


async def tool_calls(url: str):
    """The list of tools, then the models, a picture, it again, and an error, as a client of the protocol gets them."""

    async def heard(progress: float, total: float | None, message: str | None) -> None:
        pass

    async with streamable_http_client(url) as (read, write, _), ClientSession(read, write) as session:
        await session.initialize()
        given = {"image": IMAGE, "mask": MASK, "seed": 9, "steps": 2}
        return [
            (await session.list_tools()).tools,
            await session.call_tool("models", {}),
            await session.call_tool("inpaint", given, progress_callback=heard),
            await session.call_tool("inpaint", given),
            await session.call_tool("inpaint", given | {"steps": 99}),
        ]


def test_without_its_package_the_flag_says_what_to_install(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["app.py", "--mcp"])
    monkeypatch.setattr(app, "find_spec", lambda name: None)
    monkeypatch.setattr(app, "Shelf", None)  # nothing is begun
    with pytest.raises(
        SystemExit, match=r"^app.py: --mcp needs the package mcp: pip install 'mcp>=1.21,<2'$"
    ):
        app.main()
