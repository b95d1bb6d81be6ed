"""Redraws on a GPU that is lent, by the stand-in beside this file. Run by test_space.py in a process of its own:
workers are forked, as on the platform, and a fork of a process with a browser and dozens of threads can hang."""

from __future__ import annotations

import base64
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from page import gpu
from page.checks import PNG_URL
from page.desk import Desk
from page.session import Session
from page.shelf import Shelf
from sundae.image import load_picture
from sundae.pipeline import Inpainter
from sundae.sampler import SamplerConfig

FAKE = Path(__file__).resolve().parent
PICTURE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
HOLE = np.zeros((48, 64), bool)
HOLE[8:24, 10:40] = True


@pytest.fixture
def zero(monkeypatch, tmp_path):
    """ZeroGPU, as the fake package has it; what it was told."""
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setenv("FAKE_SPACES_LOG", str(tmp_path / "spaces.jsonl"))
    monkeypatch.setattr(gpu, "DEVICE", gpu.DEVICE)
    monkeypatch.syspath_prepend(str(FAKE))
    yield lambda: [json.loads(line) for line in (tmp_path / "spaces.jsonl").read_text().splitlines()]
    sys.modules.pop("spaces", None)


@pytest.fixture
def shelf(bundle):
    shelf = Shelf([str(bundle)])
    shelf.wait_for_all()
    return shelf


def posted(hole: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(hole).save(buffer, "PNG")
    return PNG_URL + base64.b64encode(buffer.getvalue()).decode()


def a_session() -> Session:
    session = Session()
    session.start_with(load_picture(PICTURE), "Noise")
    return session


def events(answers) -> list[dict]:
    """What the page is posted."""
    return [value for _, update, _ in answers for key, value in update.items() if key.startswith("slot")]


def test_elsewhere_nothing_stands_between(shelf, monkeypatch):
    for value in ("", "false", "0"):
        monkeypatch.setenv("SPACES_ZERO_GPU", value)
        assert gpu.runner(shelf) is gpu.run_here
    assert "spaces" not in sys.modules


@pytest.mark.parametrize("mode", ["RGB", "P", "L", "I;16"])
def test_a_lent_gpu_draws_the_same(mode, shelf, zero):
    run, picture = gpu.runner(shelf), load_picture(PICTURE)
    if mode != "RGB":
        image = (
            Image.fromarray(np.arange(48 * 64, dtype=np.uint16).reshape(48, 64)) if mode == "I;16" else None
        )
        picture = load_picture(image or picture.image.convert(mode))
    prepared = Inpainter(shelf[0]).prepare(picture, HOLE)
    config, seeds = SamplerConfig(steps=3), (5, 6)
    ours, theirs = (list(each(prepared, config, seeds, None)) for each in (gpu.run_here, run))
    assert len(ours) == len(theirs) == 4
    for one, other in zip(ours, theirs):
        for name in ("tokens", "changed", "converged"):
            assert torch.equal(getattr(one.step, name), getattr(other.step, name))
        assert (one.index, one.total, one.last) == (other.index, other.total, other.last)
        assert np.array_equal(one.patches, other.patches)
        assert other.prepared is prepared
    decorated, asked_for, worked = zero()
    assert (decorated["device"], decorated["task"]) == ("cuda", "LentGpu._work")
    assert asked_for["seconds"] == gpu.START + gpu.STEP * 3 * 2
    assert decorated["process"] == asked_for["process"] == os.getpid() != worked["process"]


def test_a_variation_begins_with_the_same_tokens_there(shelf, zero):
    prepared = Inpainter(shelf[0]).prepare(PICTURE, HOLE)
    first = list(prepared.run(SamplerConfig(steps=2), [1]))[-1].step.tokens
    config, answers = SamplerConfig(steps=2, strength=0.5), []
    for run in (gpu.run_here, gpu.runner(shelf)):
        answers.append(list(run(prepared, config, (3,), first)))
    assert all(torch.equal(a.step.tokens, b.step.tokens) for a, b in zip(*answers))
    assert len(answers[1]) == 3


def test_the_models_of_the_gpu_are_copies_that_stay(shelf, zero):
    lent, model = gpu.LentGpu(shelf), shelf[0]
    gpu.DEVICE = "meta"
    twin = lent._twin(0)
    assert lent._twin(0) is twin
    for ours, theirs in ((model.tokenizer, twin.tokenizer), (model.prior, twin.prior)):
        assert ours is not None and theirs is not None
        assert {each.device.type for each in ours.state_dict().values()} == {"cpu"}
        assert {each.device.type for each in theirs.state_dict().values()} == {"meta"}
    assert (twin.device.type, twin.name, twin.config) == ("meta", model.name, model.config)


def test_a_stopped_redraw_stops_on_the_gpu_and_the_next_one_runs(shelf, zero):
    desk, session = Desk(shelf, []), a_session()
    running = desk.redraw(session, posted(HOLE), 7, True, 64, 1, 0)
    kinds = [next(running) for _ in range(2)]
    assert [event["kind"] for event in events(kinds)] == ["start", "frame"]
    running.close()  # pyright: ignore[reportAttributeAccessIssue]
    told = events(list(desk.redraw(session, posted(HOLE), 7, True, 2, 1, 0)))  # after the other has stopped
    stopped, worked = (line["answers"] for line in zero() if line["what"] == "worked")
    assert stopped < 65
    assert worked == 3
    assert [event["kind"] for event in told] == ["start", "frame", "frame", "frame", "done"]
    assert session.result is not None
    alone = list(Inpainter(shelf[0]).prepare(PICTURE, HOLE).run(SamplerConfig(steps=2), [7]))[-1]
    assert np.array_equal(np.asarray(session.result.frame.image()), np.asarray(alone.image()))


def test_where_no_gpu_is_to_be_had_the_visitor_reads_why(shelf, zero, monkeypatch):
    monkeypatch.setenv("FAKE_SPACES_REFUSES", "You have no time left <b>today</b>")
    told = events(list(Desk(shelf, []).redraw(a_session(), posted(HOLE), 7, True, 2, 1, 0)))
    assert [event["kind"] for event in told] == ["start", "stopped"]
    assert told[-1]["note"] == "You have no time left <b>today</b>."
