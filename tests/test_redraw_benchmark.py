"""benchmarks/inpaint.py: what it tells of a tiny bundle."""

import dataclasses

import numpy as np
import pytest
from tiny import save_tiny_bundle, tiny_model, tiny_priors

import sundae
from benchmarks import inpaint as benchmark


def test_a_fresh_process_tells_its_time_and_memory(tmp_path):
    ready, peak = benchmark.fresh_process(str(save_tiny_bundle(tmp_path / "tiny")))
    assert 0 < ready < 300  # seconds
    assert 100 < peak < 4000  # MB: Python and torch, and next to nothing more
    with pytest.raises(ValueError, match=r"^expected a model name .* got 'no-such-bundle'") as caught:
        benchmark.fresh_process("no-such-bundle")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", tiny_priors())
def test_steps_are_those_of_the_prior_s_own_sampler(kind, monkeypatch):
    prior = tiny_priors()[kind].eval().requires_grad_(False)
    model, drawn, sample = dataclasses.replace(tiny_model(), prior=prior), [], prior.sample

    def watched(*arguments):
        steps = list(sample(*arguments))
        drawn.append([step.index for step in steps])
        return iter(steps)

    monkeypatch.setattr(prior, "sample", watched)
    monkeypatch.setattr(benchmark, "median_seconds", lambda work, repeats: (work(), 6.0)[1])
    hole = np.zeros((32, 32), bool)
    hole[:16] = True
    prepared = sundae.Inpainter(model).prepare(np.full((32, 32, 3), 90, np.uint8), hole)
    seconds = benchmark.time_steps(model, prepared, 1)
    last = {"sundae": 4, "absorbing": 4, "autoregressive": 8}[kind]  # 8 cells are hidden
    assert drawn == [list(range(last + 1))]
    assert seconds == 6 / last
