"""What a run tells of its cells: how unsure the prior was, and when each last changed."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from tiny import Fake, Oracle, Uniform, tiny_model, tiny_priors

import sundae
from sundae.sampler import SamplerConfig, sample

MASK = torch.zeros(1, 4, 4, dtype=torch.bool)
MASK[:, 1:4, :3] = True
TOKENS = torch.randint(16, (1, 4, 4, 2), generator=torch.Generator().manual_seed(0))
CONFIG = SamplerConfig(steps=5)


class Skewed(Fake):
    """Code 0 with a chance of 3/4, code 1 with one of 1/4, whatever the depth."""

    def logits(self, hidden, current, prefix):
        logits = torch.full((len(hidden), self.codebook_size), -torch.inf)
        logits[:, 0], logits[:, 1] = math.log(3), 0.0
        return logits


@pytest.mark.parametrize("name", tiny_priors())
@pytest.mark.parametrize("config", [CONFIG, dataclasses.replace(CONFIG, strength=0.5)])
def test_asking_changes_nothing(name, config):
    prior = tiny_priors()[name].eval()
    plain = list(prior.sample(TOKENS, MASK, config, [1, 2]))
    asked = list(prior.sample(TOKENS, MASK, config, [1, 2], uncertainty=True))
    assert len(plain) == len(asked)
    for one, other in zip(plain, asked, strict=True):
        assert one.uncertainty is None
        for field in ("tokens", "changed", "converged"):
            assert torch.equal(getattr(one, field), getattr(other, field))


@pytest.mark.parametrize("name", tiny_priors())
def test_every_prior_tells_of_what_it_has_drawn_and_of_nothing_else(name):
    steps = list(tiny_priors()[name].eval().sample(TOKENS, MASK, CONFIG, [1, 2], uncertainty=True))
    assert steps[0].uncertainty.isnan().all()
    for step in steps:
        assert step.uncertainty.shape == (2, 4, 4)
        assert step.uncertainty[:, ~MASK[0]].isnan().all()
        known = step.uncertainty[~step.uncertainty.isnan()]
        assert bool(((known >= 0) & (known <= 4.0001)).all())
    last = steps[-1].uncertainty[:, MASK[0]]
    assert not last.isnan().any()
    assert not torch.equal(last[0], last[1])
    assert any(
        step.uncertainty[:, MASK[0]].isnan().any() for step in steps[1:-1]
    )  # some come later than others
    alone = list(tiny_priors()[name].eval().sample(TOKENS, MASK, CONFIG, [2], uncertainty=True))[-1]
    assert torch.equal(alone.uncertainty[0].nan_to_num(), steps[-1].uncertainty[1].nan_to_num())


@pytest.mark.parametrize("temperature", [1.0, 0.3])
@pytest.mark.parametrize(
    ("denoiser", "bits"),
    [(Uniform(), 4), (Oracle(TOKENS[0]), 0), (Skewed(), 2 - 0.75 * math.log2(3))],
)
def test_bits_are_those_of_the_distribution_itself(denoiser, bits, temperature):
    """Whatever it is made of: temperature, top-k and top-p do not count."""
    config = SamplerConfig(
        steps=2, temperature_start=temperature, temperature_end=temperature, top_k=1, top_p=0.5
    )
    last = list(sample(denoiser, TOKENS, MASK, config, [0], uncertainty=True))[-1]
    torch.testing.assert_close(last.uncertainty[MASK], torch.full((9,), float(bits)))


def test_frozen_samples_and_kept_steps_do_not_change_afterwards():
    steps = list(sample(Uniform(), TOKENS, MASK, CONFIG, [0], uncertainty=True))
    first = steps[0].uncertainty
    assert first.isnan().all()  # a tensor of its own


def test_uncertainty_on_a_canvas():
    tokens, mask = TOKENS.repeat(1, 2, 2, 1), torch.zeros(1, 8, 8, dtype=torch.bool)
    mask[:, 2:7, 3:8] = True
    prior = tiny_priors()["sundae"].eval()
    steps = list(prior.sample(tokens, mask, CONFIG, [3], uncertainty=True))
    assert not steps[-1].uncertainty[mask].isnan().any()
    assert steps[-1].uncertainty[~mask].isnan().all()


def test_last_change_is_the_last_step_in_which_a_cell_differed():
    steps = list(tiny_priors()["sundae"].eval().sample(TOKENS, MASK, CONFIG, [1, 2]))
    when = None
    for index, step in enumerate(steps):
        when = sundae.last_change(step, when)
        for b in range(2):
            for row, column in ((1, 1), (3, 0), (0, 0)):
                states = [s.tokens[b, row, column] for s in steps[: index + 1]]
                differs = [i for i in range(1, index + 1) if not torch.equal(states[i], states[i - 1])]
                assert int(when[b, row, column]) == (differs[-1] if differs else 0)
    assert when is not None
    assert int(when[:, MASK[0]].max()) > 1


def test_frames_carry_it_when_asked():
    prepared = sundae.Inpainter(tiny_model()).prepare(
        torch.zeros(32, 32, 3, dtype=torch.uint8).numpy(),
        (torch.arange(32 * 32).reshape(32, 32) < 400).numpy(),
    )
    assert list(prepared.run(CONFIG))[-1].step.uncertainty is None
    asked = list(prepared.run(CONFIG, uncertainty=True))[-1].step.uncertainty
    assert asked is not None
    assert not asked[prepared.token_mask].isnan().any()
