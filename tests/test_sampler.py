"""sundae.sampler: denoisers whose answers are known, when samples freeze, what settings are refused."""

import itertools

import numpy as np
import pytest
import torch
from tiny import Counted, Damaged, Keep, Oracle, Settles, Uniform, tiny_prior

from sundae.objective import invert_cdf
from sundae.sampler import MAX_SEED, SamplerConfig, SampleStep, check_seeds, sample

FULL = {"proportion_start": 1.0, "proportion_end": 1.0}
HALF = {"proportion_start": 0.5, "proportion_end": 0.5}


def zeros(h: int = 4, w: int = 5, batch: int = 1) -> torch.Tensor:
    return torch.zeros(batch, h, w, 2, dtype=torch.int64)


def hole(h: int = 4, w: int = 5, cells: int = 6) -> torch.Tensor:
    mask = torch.zeros(1, h * w, dtype=torch.bool)
    mask[0, -cells:] = True
    return mask.view(1, h, w)


def run(denoiser, tokens=None, mask=None, seeds=(0,), batch_size=1, **options) -> list[SampleStep]:
    tokens = zeros() if tokens is None else tokens
    mask = hole() if mask is None else mask
    config = SamplerConfig(**{"renoise": 0.0, **options})  # plain SUNDAE, unless a test asks for re-noising
    return list(sample(denoiser, tokens, mask, config, seeds, batch_size))


# -- what is drawn -------------------------------------------------------------------------------------------


def test_oracle_is_followed_inside_the_hole_alone():
    truth = torch.randint(16, (4, 5, 2))
    steps = run(Oracle(truth), steps=2, **FULL)
    mask = hole()[0]
    assert torch.equal(steps[-1].tokens[0][mask], truth[mask])
    assert not steps[-1].tokens[0][~mask].any()


def test_uniform_draws_every_code_alike_and_codes_of_a_cell_independently():
    steps = run(Uniform(), zeros(50, 80), hole(50, 80, 4000), steps=1, **FULL)
    codes = steps[-1].tokens.view(-1, 2)
    pairs = torch.bincount(codes[:, 0] * 16 + codes[:, 1], minlength=256).double()
    assert float(((pairs - 15.625) ** 2 / 15.625).sum()) < 345  # chi-square, 255 degrees: 1 in 10,000


def test_inverted_cdf_is_the_exact_distribution():
    logits = torch.tensor([0.0, 1.5, -2.0, 3.0, 0.5, -1.0, 2.0, 0.1])
    probabilities = logits.double().softmax(0)
    count = 4000
    evenly = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    drawn = torch.bincount(invert_cdf(logits.expand(count, -1), evenly), minlength=8)
    assert float((drawn - count * probabilities).abs().max()) <= 1
    uniform = torch.rand(count, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    drawn = torch.bincount(invert_cdf(logits.expand(count, -1), uniform), minlength=8).double()
    assert (
        float(((drawn - count * probabilities) ** 2 / (count * probabilities)).sum()) < 30
    )  # 7 degrees: 1 in 10,000


def test_impossible_codes_are_never_drawn():
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]])
    for uniform in (0.0, 0.25, 0.5, 0.75, 1 - 2**-53):
        assert int(invert_cdf(logits, torch.tensor([uniform], dtype=torch.float64))) in (1, 3)


def test_temperature_sharpens_and_flattens():
    class Fixed(Uniform):
        def logits(self, hidden, current, prefix):
            return torch.arange(16.0).expand(len(hidden), 16) / 4

    def share_of_best(temperature: float) -> float:
        options = {"temperature_start": temperature, "temperature_end": temperature}
        tokens = run(Fixed(), zeros(40, 50), hole(40, 50, 2000), steps=1, **FULL, **options)[-1].tokens
        return float((tokens == 15).float().mean())

    for temperature in (0.2, 1.0, 5.0):
        exact = float((torch.arange(16.0) / 4 / temperature).softmax(0)[-1])
        assert share_of_best(temperature) == pytest.approx(exact, abs=0.035)


def test_second_code_is_drawn_given_the_first():
    class Copies(Uniform):
        def logits(self, hidden, current, prefix):
            return self.certain(prefix[:, 0]) if prefix.shape[1] else super().logits(hidden, current, prefix)

    codes = run(Copies(), steps=1, **FULL)[-1].tokens[hole()]
    assert torch.equal(codes[:, 0], codes[:, 1])
    assert len(codes[:, 0].unique()) > 1


@pytest.mark.parametrize("proportion", [0.1, 0.5, 0.9])
def test_proportion_is_the_share_rewritten(proportion):
    options = {"proportion_start": proportion, "proportion_end": proportion}
    step = run(Uniform(), zeros(50, 80), hole(50, 80, 4000), steps=1, **options)[-1]
    assert float(step.changed.float().mean()) == pytest.approx(proportion * 255 / 256, abs=0.035)


def test_strength_is_the_share_that_starts_as_noise():
    for strength in (0.1, 0.5, 1.0):
        start = run(Keep(), zeros(50, 80), hole(50, 80, 4000), steps=1, strength=strength)[0]
        assert start.index == 0
        assert float(start.changed.float().mean()) == pytest.approx(strength * 255 / 256, abs=0.035)


def test_schedule_is_linear_and_ends_where_it_says():
    config = SamplerConfig(
        steps=5, temperature_start=2, temperature_end=1, proportion_start=0.2, proportion_end=1
    )
    schedule = [config.schedule(index) for index in range(1, 6)]
    assert [t for t, _ in schedule] == pytest.approx([2, 1.75, 1.5, 1.25, 1])
    assert [p for _, p in schedule] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1])
    assert SamplerConfig(steps=1).schedule(1) == (0.8, 1.0)


def test_steps_tell_what_they_are():
    steps = run(Uniform(), steps=3, early_stop=False, seeds=(1, 2))
    assert [step.index for step in steps] == [0, 1, 2, 3]
    assert {step.total for step in steps} == {3}
    assert [step.last for step in steps] == [False, False, False, True]
    for before, after in itertools.pairwise(steps):
        assert torch.equal(after.changed, (after.tokens != before.tokens).any(-1))


def test_yielded_states_are_the_callers_own():
    untouched = run(Uniform(), steps=3, **HALF)
    again = sample(Uniform(), zeros(), hole(), SamplerConfig(steps=3, renoise=0.0, **HALF), [0])
    for kept, step in zip(untouched, again, strict=True):
        assert torch.equal(step.tokens, kept.tokens)
        with torch.inference_mode():  # elsewhere torch itself refuses to write to them
            step.tokens.fill_(7)
            step.changed.fill_(True)
            step.converged.fill_(True)


def test_input_is_not_written_to():
    tokens, mask = zeros(), hole()
    run(Uniform(), tokens, mask, seeds=(1, 2), steps=2)
    assert not tokens.any()
    assert torch.equal(mask, hole())


# -- when a sample freezes -----------------------------------------------------------------------------------


def test_a_whole_step_without_a_change_freezes():
    steps = run(Keep(), steps=20, **FULL)
    assert len(steps) == 2
    assert bool(steps[-1].converged.all())
    assert steps[-1].last


def test_without_early_stop_all_steps_come():
    steps = run(Keep(), steps=20, early_stop=False, **FULL)
    assert len(steps) == 21
    assert not bool(steps[-1].converged.any())


@pytest.mark.parametrize("cells", [1, 2, 20])
def test_a_small_hole_does_not_stop_by_luck(cells):
    """At proportion 0.5 a step leaves a cell alone half the time: one quiet step says nothing."""
    steps = run(Keep(), mask=hole(cells=cells), steps=40, **HALF)
    quiet = len(steps) - 1
    assert cells * 0.5**quiet < 0.02 <= cells * 0.5 ** (quiet - 1)


def test_a_change_starts_the_count_again():
    """The oracle changes each cell once: the last change must be followed by enough visits."""
    steps = run(Oracle(torch.randint(1, 16, (4, 5, 2))), steps=60, **HALF)
    last_change = max(step.index for step in steps if bool(step.changed.any()))
    quiet = steps[-1].index - last_change
    assert 6 * 0.5**quiet < 0.02 <= 6 * 0.5 ** (quiet - 1)


def test_a_tiny_hole_is_rewritten_whatever_the_seed():
    """One hidden cell at proportion 0.5: stopping by luck would leave the noise of the start."""
    truth = torch.full((4, 5, 2), 9)
    steps = run(Oracle(truth), mask=hole(cells=1), seeds=range(200), steps=40, **HALF)
    wrong = (steps[-1].tokens[:, -1, -1] != 9).any(-1).float().mean()
    assert float(wrong) <= 0.03


def test_settled_samples_rest_and_hold_nobody_up():
    tokens = zeros(batch=3)
    tokens[0] = tokens[2] = 5
    denoiser = Settles()
    steps = run(denoiser, tokens, hole().expand(3, -1, -1), seeds=(1, 2, 3), steps=6, **FULL)
    assert [step.converged.tolist() for step in steps[:3]] == [
        [False] * 3,
        [True, False, True],
        [True, False, True],
    ]
    assert len(steps) == 7
    assert all(bool(step.changed[1].any()) for step in steps)
    for step in steps[2:]:
        assert not bool(step.changed[[0, 2]].any())
        assert torch.equal(step.tokens[[0, 2]], steps[1].tokens[[0, 2]])
    assert denoiser.calls == 3 + 5  # the settled are not computed any more


def test_a_mask_of_its_own_for_every_sample():
    masks = torch.cat([hole(cells=1), hole(cells=12)])
    steps = run(Uniform(), mask=masks, seeds=(1, 2), steps=2)
    for step in steps:
        assert not bool((step.changed & ~masks).any())
        assert not step.tokens[~masks].any()


def test_batched_passes_agree_with_single_ones():
    prior = tiny_prior().eval()
    single = run(prior, seeds=(1, 2, 3), steps=3, batch_size=1)
    for size in (2, 3, 5):
        for one, many in zip(single, run(prior, seeds=(1, 2, 3), steps=3, batch_size=size), strict=True):
            assert torch.equal(one.tokens, many.tokens)


def test_global_randomness_is_neither_used_nor_disturbed():
    torch.manual_seed(1)
    first, drawn = run(Uniform(), steps=2)[-1].tokens, torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(3), drawn)
    assert torch.equal(run(Uniform(), steps=2)[-1].tokens, first)


# -- what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("steps", value) for value in (0, -1, 1001, 2.0, True, "3", None)),
        *(
            ("temperature_start", value)
            for value in (0, -1.0, float("nan"), float("inf"), 11, "1", None, True, 10**400, 1e-300, [1.0])
        ),
        *(("temperature_end", value) for value in (0.0, float("nan"))),
        *(("proportion_start", value) for value in (0, 1.01, -0.1, float("nan"))),
        *(("proportion_end", value) for value in (0, 2)),
        *(("strength", value) for value in (0, 1.5, float("nan"), None)),
        *(("early_stop", value) for value in ("no", None, 1)),
    ],
    ids=lambda value: str(value)[:20],
)
def test_bad_settings_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"^expected {name} .*, got .*$"):
        SamplerConfig(**{name: value})


def test_settings_become_plain_numbers():
    config = SamplerConfig(
        steps=np.int64(3), temperature_start=np.float32(0.5), strength=1, renoise=np.float64(0)
    )
    assert [type(v) for v in (config.steps, config.temperature_start, config.strength)] == [int, float, float]
    assert config == SamplerConfig(steps=3, temperature_start=0.5, strength=1.0, renoise=0.0)


def test_seeds_of_every_kind_become_a_list_of_ints():
    for seeds in (
        7,
        np.int64(7),
        np.array(7),
        np.array([7]),
        torch.tensor(7),
        torch.tensor([7]),
        (7,),
        {7},
        iter([7]),
    ):
        checked = check_seeds(seeds)
        assert checked == [7]
        assert type(checked[0]) is int


@pytest.mark.parametrize("size", [0, -1, 1.0, "1", None, True])
def test_bad_batch_sizes_are_refused(size):
    with pytest.raises(ValueError, match=r"^expected batch_size .*, got .*$"):
        run(Uniform(), batch_size=size)


@pytest.mark.parametrize(
    "seeds", [[], [-1], [MAX_SEED + 1], [1.0], ["1"], [True], [0, -1], -1, 1.0, None, True, "1"]
)
def test_bad_seeds_are_refused(seeds):
    with pytest.raises(ValueError, match=r"^expected .*, got .*$"):
        check_seeds(seeds)
    with pytest.raises(ValueError, match=r"^expected .*, got .*$"):
        run(Uniform(), seeds=seeds)


def test_extreme_settings_run():
    run(Uniform(), seeds=(0, MAX_SEED), steps=1, temperature_start=1e-6, temperature_end=1e-6, strength=1e-9)


@pytest.mark.parametrize(
    ("tokens", "mask"),
    [
        (zeros()[0], hole()),
        (zeros(), hole(5, 4)),
        (zeros(), hole().long()),
        (zeros(), hole()[0]),
        (zeros(batch=3), hole()),
        (zeros(), hole().expand(3, -1, -1)),
        (zeros(), torch.zeros(1, 4, 5, dtype=torch.bool)),
        (zeros(), torch.cat([hole(), torch.zeros(1, 4, 5, dtype=torch.bool)])),
    ],
    ids=["rank", "grid", "dtype", "mask rank", "batch", "mask batch", "empty", "one empty"],
)
def test_bad_input_is_refused(tokens, mask):
    with pytest.raises(ValueError, match=r"^expected .*, got .*$"):
        run(Uniform(), tokens, mask, seeds=(1, 2))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_damaged_weights_are_told(value):
    with pytest.raises(ValueError, match=r"^expected finite logits, got .*$"):
        run(Damaged(value), steps=2)


def test_closing_leaves_nothing_running():
    denoiser = Counted(Uniform())
    steps = sample(denoiser, zeros(), hole(), SamplerConfig(steps=9, renoise=0.0), [0])
    next(steps)
    assert denoiser.calls == 0
    next(steps)
    steps.close()
    assert denoiser.calls == 1
    assert list(steps) == []


# -- re-noising ----------------------------------------------------------------------------------------------


def test_renoised_cells_hold_their_first_noise_and_come_free_one_by_one():
    steps = run(Uniform(), steps=10, renoise=0.5, early_stop=False)
    start, noisy_before = steps[0].tokens, hole().sum()
    for step in steps[1:]:
        held = (step.tokens == start).all(-1) & hole()
        expected = max(0.0, 1 - step.index / 5)
        assert held.sum() <= noisy_before
        if expected == 0:
            assert held.sum() <= 2  # only a draw that happens to repeat the noise
        noisy_before = held.sum()


def test_noise_rate_falls_to_nothing_at_the_share_of_steps():
    config = SamplerConfig(steps=10, renoise=0.5, strength=0.6)
    rates = [config.noise_rate(index) for index in range(11)]
    assert rates[0] == pytest.approx(0.6)
    assert rates[1:6] == pytest.approx([0.48, 0.36, 0.24, 0.12, 0.0])
    assert rates[6:] == [0.0] * 5
    assert SamplerConfig(renoise=0.0).noise_rate(1) == 0.0


def test_nothing_freezes_while_cells_go_back_to_noise():
    steps = run(Oracle(torch.randint(1, 16, (4, 5, 2))), steps=10, renoise=0.8, seeds=(1, 2))
    first = next(step.index for step in steps if step.converged.any())
    assert first >= 8
