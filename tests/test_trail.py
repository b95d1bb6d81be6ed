"""What the page's server keeps of a run, and what it tells the page of its cells."""

from __future__ import annotations

import base64
import dataclasses

import numpy as np
import pytest
import torch
from tiny import tiny_model

import sundae
from page import trail
from page.heat import Heat
from sundae import films
from sundae.pipeline import Frame

HOLE = np.zeros((40, 60), bool)
HOLE[10:20, 25:45] = True
PICTURE = np.full((40, 60, 3), 90, np.uint8)


@pytest.fixture(scope="module")
def frames():
    prepared = sundae.Inpainter(tiny_model()).prepare(PICTURE, HOLE)
    return list(prepared.run(sundae.SamplerConfig(steps=4, early_stop=False), [1, 2], uncertainty=True))


def kept(frames):
    found = trail.Trail(frames[0].prepared)
    for frame in frames:
        found.add(frame.step)
    return found


def test_a_trail_gives_back_every_state(frames):
    found, last = kept(frames), frames[-1].step.tokens
    for sample in range(2):
        states = list(found.states(last[sample], sample))
        assert len(states) == 5
        for frame, state in zip(frames, states, strict=True):
            assert torch.equal(frame.step.tokens[sample], state)
    hidden = int(frames[0].prepared.token_mask.sum())
    assert found.bytes == 5 * 2 * hidden * 2  # a byte for each code
    count, shown = found.film(frames[-1], 1, "gif", True)
    assert count == 5
    assert films.encode(list(shown), "gif") == sundae.film(frames, "gif", 1, True)


def test_what_is_too_large_is_not_kept(frames, monkeypatch):
    monkeypatch.setattr(trail, "MOST", kept(frames).bytes - 1)
    with pytest.raises(ValueError, match="too large for a film"):
        kept(frames).film(frames[-1], 0, "gif", True)


def test_formats_that_cannot_be_made_are_refused(frames):
    for form in ("avi", "../x", "None"):
        with pytest.raises(ValueError, match="expected a film as"):
            kept(frames).film(frames[-1], 0, form, True)


def values(text):
    return np.frombuffer(base64.b64decode(text), np.uint8)


def test_heat_is_a_byte_for_each_hidden_cell(frames):
    heat = Heat(frames[0].prepared)
    told = [heat.step(frame) for frame in frames]
    hidden = frames[0].prepared.token_mask[0]
    assert np.array_equal(values(told[0]["grid"]["hidden"]), hidden.flatten().numpy())
    assert "grid" not in told[1]
    assert set(values(told[0]["unsure"][0])) == {255}
    for frame, event in zip(frames[1:], told[1:], strict=True):
        for sample in range(2):
            bits = frame.step.uncertainty[sample, hidden].numpy()
            sent = values(event["unsure"][sample])
            assert np.array_equal(sent == 255, np.isnan(bits))
            assert np.abs(sent.astype(float) * 4 / 254 - bits)[sent < 255].max(initial=0) <= 2 / 254 + 1e-6
    when = None
    for frame in frames:
        when = sundae.last_change(frame.step, when)
    assert np.array_equal(values(told[-1]["changed"][1]), when[1, hidden].numpy())


def test_a_prior_that_does_not_tell(frames):
    step = dataclasses.replace(frames[0].step, uncertainty=None)
    assert Heat(frames[0].prepared).step(Frame(step, frames[0].prepared))["unsure"] is None
