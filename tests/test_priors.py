"""sundae.priors: what holds for every prior: likelihoods that are bounds, samplers that keep the promises, training
and bundles that take one for another."""

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_absorbing, tiny_autoregressive, tiny_model, tiny_prior, tiny_priors, tiny_tokenizer

import sundae
from benchmarks import priors as benchmark
from benchmarks import runs
from sundae.checkpoint import PRIORS, load_prior, make_prior, save_bundle
from sundae.cli import main
from sundae.hourglass import Hourglass, HourglassConfig, LevelConfig
from sundae.objective import keep_likely
from sundae.priors.absorbing import Absorbing, AbsorbingConfig
from sundae.priors.autoregressive import Autoregressive, AutoregressiveConfig
from sundae.priors.contract import Prior
from sundae.priors.filling import Filling, ranks
from sundae.priors.likelihood import bits_per_token, mix
from sundae.sampler import SamplerConfig
from train import export, train_prior
from train.checkpoints import load_state

NAMES = ("sundae", "absorbing", "autoregressive")
WRITERS = ("absorbing", "autoregressive")  # those that write each hidden cell once
MODELS = {name: prior.eval().requires_grad_(False) for name, prior in tiny_priors().items()}
GRIDS = [(4, 4), (1, 1), (5, 7), (1, 9), (9, 2), (3, 6)]
SHAPE = {"codebook_size": 4, "depth": 1, "grid": (1, 3), "head_dim": 8}  # of the toys
TOYS = {
    "sundae": HourglassConfig(**SHAPE, levels=(LevelConfig(16, 2),)),
    "absorbing": AbsorbingConfig(**SHAPE, levels=(LevelConfig(16, 2),)),
    "autoregressive": AutoregressiveConfig(**SHAPE, width=16, blocks=2),
}


def grids(h: int, w: int, seed: int = 0, batch: int = 1, depth: int = 2, codes: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(codes, (batch, h, w, depth), generator=generator)


def everything(tokens: torch.Tensor) -> torch.Tensor:
    return torch.ones(tokens.shape[:3], dtype=torch.bool)


def run(prior: Prior, tokens, mask, seeds=(0,), batch_size=1, **options):
    return list(prior.sample(tokens, mask, SamplerConfig(**options), seeds, batch_size))


# -- likelihood ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_uniform_prior_takes_log2_of_the_codebook(name):
    """To every token, whatever is hidden; all weights zero make all logits zero."""
    prior = make_prior(MODELS[name].config).requires_grad_(False)
    for parameter in prior.parameters():
        parameter.zero_()
    tokens, mask = grids(5, 7, batch=3), torch.rand(3, 5, 7) < 0.5
    mask[:, 0, 0] = True
    for hidden in (mask, everything(tokens)):
        for passes in (1, 3, 50):
            surprise = prior.surprise(tokens, hidden, [1, 2, 3], passes)
            assert torch.allclose(surprise, torch.where(hidden, 4.0, 0.0), atol=1e-5)
            assert torch.allclose(prior.bits(tokens, hidden, [1, 2, 3], passes), torch.full((3,), 4.0))


def chain() -> tuple[torch.Tensor, torch.Tensor, float]:
    """All sequences of three codes below 4, their chances under a Markov chain that stays with chance 0.85, and its
    entropy in bits per token."""
    sequences = torch.tensor(list(itertools.product(range(4), repeat=3)))
    same = sequences[:, 1:] == sequences[:, :-1]
    chances = 0.25 * torch.where(same, 0.85, 0.05).prod(1).double()
    step = -(0.85 * math.log2(0.85) + 3 * 0.05 * math.log2(0.05))
    return sequences.view(-1, 1, 3, 1), chances, (2 + 2 * step) / 3


@pytest.mark.parametrize("name", NAMES)
def test_bits_of_a_learned_toy_are_above_its_entropy_and_near_it(name):
    """A chain whose likelihood is known in closed form, and every sequence weighed by its chance."""
    torch.manual_seed(0)
    prior, (sequences, chances, entropy) = make_prior(TOYS[name]), chain()
    optimizer = torch.optim.Adam(prior.parameters(), 5e-3)
    for _ in range(250):
        tokens = sequences[torch.multinomial(chances, 64, replacement=True)]
        hole, noise = everything(tokens), torch.rand(64, 1, *tokens.shape[1:])
        corrupted = prior.corrupt(tokens, hole, torch.rand(64).mul(1.3).clamp(max=1), 4)
        prior.loss(tokens, corrupted, hole, noise).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    many = sequences.repeat_interleave(32, 0)
    chance = list(range(32)) * len(
        sequences
    )  # the same for every sequence: each draw is a distribution over them

    def mean(bits: torch.Tensor) -> float:
        return float(bits.view(-1, 32).mean(1).double() @ chances)

    found = mean(bits_per_token(prior.surprise(many, everything(many), chance, 8), everything(many)))
    alone = 2.0  # log2(4): what the codes take that know nothing of each other
    assert found > entropy
    assert found < {"sundae": alone, "absorbing": entropy + 0.06, "autoregressive": entropy + 0.03}[name]
    assert mean(prior.bits(many, everything(many), chance, 8)) == pytest.approx(found, abs=0.04)
    assert entropy < 1.25


def test_a_mean_of_likelihoods_by_hand():
    """Two chains; of the first grid, with two hidden cells of two codes, they say 2^-4 and 2^-8."""
    mask = torch.tensor([[[True, True, False]], [[True, False, False]]])
    maps = torch.zeros(2, 2, 1, 3)
    maps[0, 0, 0, :2], maps[1, 0, 0, :2] = torch.tensor([0.5, 1.5]), torch.tensor([3.0, 1.0])
    maps[:, 1, 0, 0] = torch.tensor([7.0, 2.5])
    mixed = mix(maps, mask, 2)
    both = [-math.log2((2**-4 + 2**-8) / 2), -math.log2((2**-14 + 2**-5) / 2)]
    assert (2 * mixed.sum((1, 2))).tolist() == pytest.approx(both, rel=1e-6)
    assert float(mixed[0, 0, 1] - mixed[0, 0, 0]) == pytest.approx(1.0)  # the shape of the better one
    assert not mixed[~mask].any()
    assert torch.allclose(mix(maps[:1], mask, 2), maps[0])


@pytest.mark.parametrize("name", NAMES)
def test_chances_of_all_grids_add_up_to_one_at_most(name):
    """Of 81 grids of two cells of two codes below 3: exactly one where the likelihood is exact, less for a bound."""
    changes = {"codebook_size": 3, "grid": (1, 2)}
    torch.manual_seed(3)
    prior = make_prior(dataclasses.replace(MODELS[name].config, **changes)).requires_grad_(False)
    for parameter in prior.parameters():
        parameter.add_(0.3 * torch.randn(parameter.shape))
    tokens = torch.tensor(list(itertools.product(range(3), repeat=4))).view(-1, 1, 2, 2)
    many = tokens.repeat_interleave(64, 0)
    bits = prior.bits(many, everything(many), list(range(len(many))), 2).view(-1, 64).mean(1)
    total = float((-4 * bits.double()).exp2().sum())
    assert total == pytest.approx(1, abs=1e-5) if name == "autoregressive" else 0.3 < total < 0.999


@pytest.mark.parametrize("name", NAMES)
def test_bits_are_the_mean_surprise_of_what_is_hidden(name):
    prior, tokens = MODELS[name], grids(4, 5, batch=2)
    mask = torch.zeros(2, 4, 5, dtype=torch.bool)
    mask[0, 1:3, 2:] = mask[1, 3] = True
    surprise = prior.surprise(tokens, mask, [1, 2], 40)
    assert surprise.shape == mask.shape
    assert not surprise[~mask].any()
    assert bool((surprise[mask] > 0).all())
    by_hand = torch.stack([surprise[b][mask[b]].mean() for b in range(2)])
    assert torch.allclose(bits_per_token(surprise, mask), by_hand)
    if name != "absorbing":  # whose bits come from other draws than its map
        assert torch.equal(prior.bits(tokens, mask, [1, 2], 40), bits_per_token(surprise, mask))


@pytest.mark.parametrize("name", NAMES)
def test_known_tokens_inform_and_a_seed_is_a_number(name):
    prior, tokens = MODELS[name], grids(4, 4, batch=2)
    mask = torch.zeros(2, 4, 4, dtype=torch.bool)
    mask[:, 2:] = True
    bits = prior.bits(tokens, mask, [5, 6], 4)
    assert torch.equal(prior.bits(tokens, mask, [5, 6], 4), bits)
    assert torch.equal(prior.bits(tokens, mask, 5, 4), bits)  # the first of two
    assert torch.allclose(prior.bits(tokens[1:], mask[1:], 6, 4), bits[1:], atol=1e-5)
    other = tokens.clone()
    other[:, 0] = (other[:, 0] + 3) % 16
    assert not torch.allclose(prior.bits(other, mask, [5, 6], 4), bits, atol=1e-4)


# -- sampling ------------------------------------------------------------------------------------------------

configs = st.builds(
    dict,
    steps=st.integers(1, 9),
    temperature_start=st.floats(0.05, 3),
    temperature_end=st.floats(0.05, 3),
    strength=st.one_of(st.just(1.0), st.floats(0.05, 1)),
    top_k=st.integers(0, 16),
    top_p=st.floats(0.05, 1),
)
cases = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 2**62)


def task(grid, seed: int, batch: int, options: dict):
    """Tokens, a mask for each sample or one for all, and settings with no more steps than cells."""
    generator = torch.Generator().manual_seed(seed)
    rows = 1 if seed % 2 else batch
    tokens = torch.randint(16, (rows, *grid, 2), generator=generator)
    mask = torch.rand(rows, *grid, generator=generator) < 0.5
    mask[:, -1, -1] = True
    return tokens, mask, SamplerConfig(**options | {"steps": min(options["steps"], grid[0] * grid[1])})


@cases
@given(st.sampled_from(WRITERS), st.sampled_from(GRIDS), seeds, st.integers(1, 3), configs)
def test_known_tokens_never_change_and_hidden_ones_are_written_once(name, grid, seed, batch, options):
    tokens, mask, config = task(grid, seed, batch, options)
    before, known = tokens.expand(batch, -1, -1, -1), ~mask.expand(batch, -1, -1)
    steps = list(MODELS[name].sample(tokens, mask, config, [seed + b for b in range(batch)], batch_size=2))
    state, touched = before, torch.zeros(known.shape, dtype=torch.int64)
    for i, step in enumerate(steps):
        assert (step.index, step.total, step.last) == (i, config.steps, i == len(steps) - 1)
        assert step.tokens.shape == before.shape
        assert step.tokens.dtype == torch.int64
        assert bool((step.tokens >= 0).all() & (step.tokens < 16).all())  # what can be decoded
        assert torch.equal(step.tokens[known], before[known])
        assert torch.equal(step.changed, (step.tokens != state).any(-1))
        touched += step.changed * bool(i)
        state = step.tokens
    assert int(touched.max()) <= 1
    assert len(steps) - 1 <= config.steps
    assert bool(steps[-1].converged.all())
    if config.strength == 1:
        hidden = int((~known).flatten(1).sum(1).max())
        assert len(steps) - 1 == min(config.steps, hidden)


@cases
@given(st.sampled_from(WRITERS), st.sampled_from(GRIDS), seeds, st.integers(2, 3), configs)
def test_a_seed_is_a_sample_alone_and_in_a_batch(name, grid, seed, batch, options):
    tokens, mask, config = task(grid, seed, batch, options)
    company = [seed + b for b in range(batch)]
    together = list(MODELS[name].sample(tokens, mask, config, company))
    for b in range(batch):
        own = slice(b, b + 1) if len(tokens) > 1 else slice(None)
        alone = list(MODELS[name].sample(tokens[own], mask[own], config, [company[b]]))
        for step in alone:
            assert torch.equal(step.tokens[0], together[step.index].tokens[b])
            assert bool(step.converged[0]) == bool(together[step.index].converged[b])
        for step in together[len(alone) :]:
            assert torch.equal(step.tokens[b], alone[-1].tokens[0])


@cases
@given(st.sampled_from(NAMES), st.sampled_from(GRIDS), seeds, st.integers(1, 2), configs)
def test_what_is_hidden_is_not_looked_at(name, grid, seed, batch, options):
    tokens, mask, config = task(grid, seed, batch, options | {"strength": 1.0})
    other = torch.where(mask[..., None], (tokens + 5) % 16, tokens)
    companions = list(range(batch))
    for one, two in zip(
        MODELS[name].sample(tokens, mask, config, companions),
        MODELS[name].sample(other, mask, config, companions),
        strict=True,
    ):
        assert torch.equal(one.tokens, two.tokens)


@pytest.mark.parametrize("name", NAMES)
def test_batched_passes_agree_with_single_ones(name):
    tokens, mask = grids(4, 5), torch.ones(1, 4, 5, dtype=torch.bool)
    single = run(MODELS[name], tokens, mask, (1, 2, 3), steps=6)
    for size in (2, 3, 5):
        many = run(MODELS[name], tokens, mask, (1, 2, 3), size, steps=6)
        assert torch.equal(many[-1].tokens, single[-1].tokens)


@pytest.mark.parametrize("name", WRITERS)
def test_steps_are_even_shares_and_do_not_change_the_draws_at_hand(name):
    """A cell's random numbers are its own: one step more changes what it sees, not what it is drawn with."""
    tokens, mask = grids(4, 5), torch.zeros(1, 4, 5, dtype=torch.bool)
    mask[0, 1:] = True  # 15 cells
    filling = Filling(tokens, mask, SamplerConfig(steps=4), [7], 16, raster=name == "autoregressive")
    assert [int(filling.turn(0, index).sum()) for index in range(1, 5)] == [3, 4, 4, 4]
    other = Filling(tokens, mask, SamplerConfig(steps=11), [7], 16, raster=name == "autoregressive")
    assert torch.equal(filling.uniforms, other.uniforms)
    assert torch.equal(filling.ranks, other.ranks)


@pytest.mark.parametrize("name", WRITERS)
def test_strength_is_the_share_that_is_written(name):
    tokens, mask = grids(4, 4), torch.ones(1, 4, 4, dtype=torch.bool)
    for strength, cells in ((0.01, 1), (0.5, 8), (0.51, 9), (1.0, 16)):
        filling = Filling(tokens, mask, SamplerConfig(strength=strength, steps=3), [1], 16, raster=True)
        assert int(filling.written.sum()) == cells
    steps = run(MODELS[name], tokens, mask, steps=3, strength=0.5)
    untouched = (steps[-1].tokens == tokens).all(-1)
    assert 8 <= int(untouched.sum()) <= 11


@pytest.mark.parametrize("name", WRITERS)
def test_temperature_is_the_schedules_even_where_steps_are_fewer(name):
    tokens, mask = grids(4, 4), torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[0, 0, :3] = True
    steps = run(MODELS[name], tokens, mask, steps=9, temperature_start=2.0, temperature_end=1.0)
    assert [step.temperature for step in steps] == [2.0, 2.0, 1.5, 1.0]
    assert [step.proportion for step in steps] == pytest.approx([1, 1 / 3, 1 / 3, 1 / 3])


@pytest.mark.parametrize("name", WRITERS)
def test_leaving_a_run_leaves_nothing_to_do(name):
    prior = make_prior(MODELS[name].config)
    calls = []
    prior.head.register_forward_hook(lambda *_: calls.append(1))
    steps = prior.sample(grids(4, 4), torch.ones(1, 4, 4, dtype=torch.bool), SamplerConfig(steps=8), [0])
    next(steps)
    assert not calls
    next(steps)
    one_step = len(calls)
    assert 0 < one_step <= 4  # two cells of two codes at most
    steps.close()
    assert list(steps) == []
    assert len(calls) == one_step


def test_ranks_by_hand():
    order = torch.tensor([[[0.9, 0.1], [0.5, 0.3]]])
    mask = torch.tensor([[[True, True], [False, True]]])
    found = ranks(order, mask)
    assert found[mask].tolist() == [2, 0, 1]
    assert int(found[~mask].max()) < 0


# -- top-k and top-p -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("top_k", "top_p", "kept"),
    [
        (0, 1.0, [0, 1, 2, 3]),
        (2, 1.0, [1, 3]),
        (1, 1.0, [3]),
        (0, 0.49, [3]),
        (0, 0.51, [1, 3]),
        (0, 0.74, [1, 3]),
        (0, 0.76, [1, 2, 3]),
        (3, 0.99, [1, 2, 3]),
        (2, 0.6, [3]),  # of what top_k leaves, 3 has two thirds
        (4, 1e-9, [3]),
    ],
)
def test_likely_codes_are_kept(top_k, top_p, kept):
    """Chances 1/16, 1/4, 3/16 and 1/2."""
    logits = torch.tensor([[1 / 16, 1 / 4, 3 / 16, 1 / 2]]).log().repeat(2, 1)
    before = logits.clone()
    left = keep_likely(logits, top_k, top_p)
    assert torch.equal(logits, before)
    for row in left:
        assert row.isfinite().nonzero().flatten().tolist() == kept
        assert torch.equal(row[kept], logits[0, kept])


@pytest.mark.parametrize("name", NAMES)
def test_samplers_draw_from_likely_codes(name):
    """With a single code to choose from, the seed makes no difference to what is written."""
    prior, tokens, mask = MODELS[name], grids(3, 3), torch.ones(1, 3, 3, dtype=torch.bool)
    free = run(prior, tokens, mask, (1,), steps=1, temperature_start=3.0)[-1].tokens
    for options in ({"top_k": 1}, {"top_p": 1e-6}):
        greedy = run(prior, tokens, mask, (1,), steps=1, temperature_start=3.0, **options)[-1].tokens
        assert not torch.equal(free, greedy)
        if name == "autoregressive":  # the others begin with noise, or at random places
            again = run(prior, tokens, mask, (2,), steps=1, temperature_start=3.0, **options)[-1].tokens
            assert torch.equal(greedy, again)


# -- what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_damaged_weights_are_told(name, value):
    prior = make_prior(MODELS[name].config).requires_grad_(False)
    prior.head.classifiers[1].bias[3] = value
    tokens, mask = grids(4, 4), torch.ones(1, 4, 4, dtype=torch.bool)
    for options in ({}, {"top_k": 5}, {"top_p": 0.9}):
        with pytest.raises(ValueError, match=r"^expected finite logits, got NaN or infinity"):
            run(prior, tokens, mask, steps=2, **options)
    with pytest.raises(ValueError, match=r"^expected finite logits, got NaN or infinity"):
        prior.bits(tokens, mask)


@pytest.mark.parametrize("name", NAMES)
def test_bad_arguments_are_refused(name):
    prior, tokens, mask = MODELS[name], grids(4, 5), torch.ones(1, 4, 5, dtype=torch.bool)
    for wrong, message in {
        (("seeds", (-1,)),): r"^expected each seed .*, got -1$",
        (("seeds", ()),): r"^expected at least one seed, got none$",
        (("mask", mask[:, :3]),): r"^expected tokens .* and a bool token_mask .*, got .*$",
        (("mask", mask.long()),): r"^expected tokens .* and a bool token_mask .*, got .*$",
        (("mask", ~mask),): r"^expected a mask with at least one hidden token, got an empty one$",
        (("tokens", tokens.expand(3, -1, -1, -1)),): r"^expected tokens with a batch of 1 or 1 .*, got 3$",
        (("batch_size", 0),): r"^expected batch_size to be a whole number of at least 1, got 0$",
        (("top_k", 17),): r"^expected top_k of at most 16, the size of the codebook, got 17$",
    }.items():
        given = {"tokens": tokens, "mask": mask, "seeds": (0,), "steps": 2} | dict(wrong)
        with pytest.raises(ValueError, match=message):
            run(prior, given.pop("tokens"), given.pop("mask"), **given)
    with pytest.raises(ValueError, match=r"^expected no class labels"):
        list(prior.sample(tokens, mask, SamplerConfig(steps=2), [0], labels=[1]))
    with pytest.raises(ValueError, match=r"^expected one label per seed, got 2 for 1$"):
        list(prior.sample(tokens, mask, SamplerConfig(steps=2), [0], labels=[1, 1]))
    for passes in (0, -1, 1.5, True, None):
        for measure in (prior.bits, prior.surprise):
            with pytest.raises(ValueError, match=r"^expected passes to be a whole number of at least 1, got"):
                measure(tokens, mask, 0, passes)
    for use in (
        lambda t: prior.hidden(t, ~mask),
        lambda t: prior.bits(t, mask),
        lambda t: run(prior, t, mask, steps=2),
    ):
        with pytest.raises(ValueError, match=r"^expected tokens \(B, h, w, 2\)"):
            use(tokens[..., :1])


@pytest.mark.parametrize("name", WRITERS)
def test_more_steps_than_tokens_are_refused(name):
    tokens, mask = grids(4, 5), torch.ones(1, 4, 5, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"^expected steps of at most 20, the number of tokens, got 21$"):
        run(MODELS[name], tokens, mask, steps=21)
    assert len(run(MODELS[name], tokens, mask, steps=20)) == 21
    assert MODELS[name].settings_for(20).steps == 20
    assert MODELS[name].settings_for(10_000) == MODELS[name].defaults
    assert (
        len(run(MODELS["sundae"], tokens, mask, steps=21, early_stop=False)) == 22
    )  # SUNDAE goes on refining


@pytest.mark.parametrize(
    ("name", "value"),
    [*(("top_k", value) for value in (-1, 1.5, True, "3", None))]
    + [*(("top_p", value) for value in (0, -0.1, 1.01, float("nan"), None, "1"))],
)
def test_bad_settings_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"^expected {name} .*, got .*$"):
        SamplerConfig(**{name: value})


# -- bundles and the inpainter -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_bundle_brings_its_prior_back(name, tmp_path):
    prior = MODELS[name]
    save_bundle(tmp_path, {"tokenizer": tiny_tokenizer(), "prior": prior}, {"licence": "none"})
    kind = json.loads((tmp_path / "config.json").read_text())["parts"]["prior"]["kind"]
    assert PRIORS[kind][0] is type(prior)
    loaded = load_prior(tmp_path)
    assert type(loaded) is type(prior)
    assert loaded.config == prior.config
    for key, value in prior.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value.half().float())
    model = sundae.load(tmp_path)
    picture, mask = np.full((40, 48, 3), 90, np.uint8), np.zeros((40, 48), bool)
    mask[10:30, 5:25] = True
    prepared = sundae.Inpainter(model).prepare(picture, mask)
    frames = list(prepared.run(seeds=[3, 4]))  # the prior's own settings
    assert frames[-1].last
    assert np.array_equal(np.asarray(frames[-1].image(1))[~mask], picture[~mask])
    assert prepared.defaults.temperature_start == prior.defaults.temperature_start
    again = list(sundae.Inpainter(model).prepare(picture, mask).run(seeds=4))
    assert torch.equal(again[-1].step.tokens[0], frames[-1].step.tokens[1])


@pytest.mark.parametrize("name", NAMES)
def test_the_command_line_takes_the_priors_own_settings_and_what_is_given(name, tmp_path, capsys):
    save_bundle(tmp_path / "model", {"tokenizer": tiny_tokenizer(), "prior": MODELS[name]}, {})
    fixed = ["sample", "--model", str(tmp_path / "model"), "--json", "-o"]  # 16 tokens
    assert main([*fixed, str(tmp_path / "a.png")]) == 0
    used = json.loads(capsys.readouterr().out)["settings"]
    assert used == dataclasses.asdict(MODELS[name].settings_for(16))
    assert main([*fixed, str(tmp_path / "b.png"), "--steps", "5", "--top-k", "3", "--top-p", "0.5"]) == 0
    asked = {"steps": 5, "top_k": 3, "top_p": 0.5}
    assert json.loads(capsys.readouterr().out)["settings"] == used | asked
    for words, complaint in {
        ("--top-k", "17"): "expected top_k of at most 16, the size of the codebook, got 17",
        ("--top-p", "0"): "expected top_p above 0 and at most 1, got 0.0",
        ("--steps", "17"): "expected steps of at most 16, the number of tokens, got 17",
    }.items():
        if name == "sundae" and words[0] == "--steps":
            continue  # which goes on refining
        assert main([*fixed, str(tmp_path / "c.png"), *words]) == 2
        assert complaint in capsys.readouterr().err
        assert not (tmp_path / "c.png").exists()


def test_parts_are_not_mixed_up(tmp_path):
    """The weights of one kind under the config of another are refused."""
    save_bundle(tmp_path, {"tokenizer": tiny_tokenizer(), "prior": MODELS["absorbing"]}, {})
    path = tmp_path / "config.json"
    for kind in ("hourglass", "autoregressive", "diffusion"):
        content = json.loads(path.read_text())
        content["parts"]["prior"]["kind"] = kind
        path.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=r"^expected") as caught:
            sundae.load(tmp_path)
        assert "\n" not in str(caught.value)


def test_shipped_priors_are_small_enough_for_git(tmp_path):
    """Files below 10 MB; the two for comparison have no advantage in parameters."""
    sizes = {}
    for name in ("", "-absorbing", "-autoregressive"):
        options = benchmark.read(runs.CONFIGS / f"prior-illustrated{name}.toml")
        prior = make_prior(options.model)
        sizes[name] = sum(p.numel() for p in prior.parameters())
        save_bundle(tmp_path / f"x{name}", {"prior": prior}, {})
        files = list((tmp_path / f"x{name}").glob("*.safetensors"))
        assert all(file.stat().st_size < 10_000_000 for file in files)
        assert type(load_prior(tmp_path / f"x{name}")) is type(prior)
    assert max(sizes.values()) < 1.1 * sizes[""]


def test_every_prior_keeps_the_contract():
    own = {"hourglass": Hourglass, "absorbing": Absorbing, "autoregressive": Autoregressive}
    assert {kind: PRIORS[kind][0] for kind in own} == own
    for kind, (module, _) in PRIORS.items():
        assert issubclass(module, Prior)
        assert module.__name__.lower() == kind  # which is what bundles and states are marked with
    assert isinstance(tiny_model().prior, Prior)


# -- training ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    return runs.tiny_tokens(tmp_path_factory.mktemp("tokens"))


def words(kind: str, tokens, out, steps: int) -> list[str]:
    shape = {
        "absorbing": runs.tiny_prior(tokens),
        "autoregressive": [
            *("--tokens", tokens, "--validation", tokens, "--tokenizer", "", "--batch_size", 8),
            *("--warmup", 5, "--validation_pictures", 2, "--holes.everything", "true", "--model.depth", 1),
            *("--model.codebook_size", 32, "--model.grid", "[8, 8]", "--model.head_dim", 8),
            *("--model.width", 32, "--model.blocks", 2),
        ],
    }[kind]
    extra = ("--model.kind", kind, "--steps", steps, "--workers", 0, "--threads", 1, "--ema_decay", 0.9)
    return [str(word) for word in (*shape, *runs.quiet(out), *extra)]


@pytest.mark.parametrize("kind", WRITERS)
def test_the_trainer_takes_each_kind_resumes_and_exports(kind, tokens, tmp_path):
    out = tmp_path / "run"
    train_prior.main(words(kind, tokens, out, 30))
    train_prior.main(words(kind, tokens, out, 60))
    train_prior.main(words(kind, tokens, tmp_path / "straight", 60))
    trace, straight = runs.read_trace(out), runs.read_trace(tmp_path / "straight")
    assert runs.largest_difference(trace, straight)["difference"] < 1e-4
    losses = [line["loss"] for line in trace]
    assert np.mean(losses[-10:]) < 0.93 * np.mean(losses[:10])
    validation = json.loads((out / "validation.jsonl").read_text().splitlines()[-1])
    assert 0 < validation["bits"] < 5.2  # log2(32) is 5
    assert validation["nll_bound"] == pytest.approx(validation["bits"] * math.log(2), abs=1e-3)
    assert list(validation["accuracy"]) == (
        ["1.0"] if kind == "autoregressive" else [*map(str, train_prior.CURVE)]
    )
    assert {path.name for path in (out / "pictures").iterdir()} >= {"samples-00000060.png"}
    prior, step = export.averaged(str(out), PRIORS, "hourglass")
    assert (type(prior), step) == (PRIORS[kind][0], 60)
    assert load_state(out)["kind"] == kind


def test_an_absorbing_prior_may_begin_with_what_sundae_has_learned():
    known, fresh = tiny_prior(seed=1), tiny_absorbing(seed=2)
    before = {name: value.clone() for name, value in fresh.state_dict().items()}
    train_prior.load_first_weights(fresh, known.state_dict(), "a run")
    theirs, ours = known.state_dict(), fresh.state_dict()
    for name, value in ours.items():
        if name.startswith("embed."):
            assert torch.equal(value[:-1], theirs[name])
            assert torch.equal(value[-1], before[name][-1]), "the mask code is its own"
        else:
            assert torch.equal(value, theirs[name])
    assert set(theirs) - set(ours) == {name for name in theirs if name.startswith("head.keep.")} != set()
    with pytest.raises(ValueError, match="expected a prior of the same shape in a run; it differs at embed"):
        train_prior.load_first_weights(known, fresh.state_dict(), "a run")
    with pytest.raises(ValueError, match="expected a prior of the same shape"):
        train_prior.load_first_weights(tiny_absorbing(), tiny_autoregressive().state_dict(), "a run")


def test_sizes_of_each_kind_are_told_without_training(capsys, tokens, tmp_path):
    for kind in WRITERS:
        train_prior.main([*words(kind, tokens, tmp_path / kind, 1), "--dry-run"])
        assert "M parameters" in capsys.readouterr().out
    extra = ["--model.label_map.codebook_size", "5", "--model.label_map.grid", "[8, 8]", "--dry-run"]
    train_prior.main([*words("autoregressive", tokens, tmp_path / "maps", 1), *extra])
    assert "M parameters" in capsys.readouterr().out


def test_an_unknown_kind_is_refused(tokens, tmp_path):
    bad = [word if word != "absorbing" else "diffusion" for word in words("absorbing", tokens, tmp_path, 1)]
    with pytest.raises(
        ValueError, match=r"kind to be one of hourglass, absorbing, autoregressive, got 'diffusion'"
    ):
        train_prior.main(bad)


def test_a_label_map_that_tells_all_is_learned_from(tokens, tmp_path):
    """The maps are the tokens themselves: conditioned on them, an autoregressive prior soon knows every code."""
    folder = runs.write_tokens(tmp_path / "tokens", 64, size=4, levels=8)
    index = json.loads((folder / "index.json").read_text()) | {"map_classes": 8}
    (folder / "index.json").write_text(json.dumps(index))
    np.save(folder / "maps-ramps.npy", np.load(folder / "tokens-ramps.npy")[..., 0])
    small = ["--model.codebook_size", "8", "--model.grid", "[4, 4]", "--learning_rate", "5e-3"]
    maps = ["--model.label_map.codebook_size", "8", "--model.label_map.grid", "[4, 4]"]
    train_prior.main([*words("autoregressive", folder, tmp_path / "with", 120), *small, *maps])
    train_prior.main([*words("autoregressive", folder, tmp_path / "without", 120), *small])
    last = {name: runs.read_trace(tmp_path / name)[-1]["loss"] for name in ("with", "without")}
    assert last["with"] < 0.5 * last["without"]
    with pytest.raises(ValueError, match=r"^expected tokens in .* for a model with .*map_classes"):
        train_prior.main([*words("autoregressive", tokens, tmp_path / "none", 1), *maps])


# -- the benchmark -------------------------------------------------------------------------------------------


def test_the_benchmark_prints_what_it_measured(tmp_path, capsys):
    for name in NAMES:
        config = dataclasses.asdict(MODELS[name].config)
        table = {"kind": type(MODELS[name]).__name__.lower(), "codebook_size": 16, "depth": 2, "grid": [4, 4]}
        lines = ["[model]", *(f"{key} = {json.dumps(value)}" for key, value in table.items()), "head_dim = 8"]
        if "levels" in config:
            lines += ["[[model.levels]]", "width = 16", "depth = 1"]
        else:
            lines += ["width = 16", "blocks = 1"]
        (tmp_path / f"{name}.toml").write_text("\n".join(lines))
    files = [str(tmp_path / f"{name}.toml") for name in NAMES]
    printed = benchmark.main(["--configs", *files, "--steps", "4", "--every", "2", "--repeats", "1"])
    assert json.loads(capsys.readouterr().out).keys() == printed.keys()
    assert set(printed["priors"]) == set(NAMES)
    for numbers in printed["priors"].values():
        assert numbers["tokens"] == 16
        assert numbers["sample_s"] > 0
    cached = printed["priors"]["autoregressive"]
    assert cached["speedup"] == pytest.approx(cached["uncached_s"] / cached["cached_s"], rel=0.02)
    whole = cached["sample_s"] - cached["cached_s"] + cached["uncached_s"]
    assert cached["sampling_speedup"] == pytest.approx(whole / cached["sample_s"], rel=0.02)
    assert cached["sampling_speedup_goal_met"] is (cached["sampling_speedup"] >= 5)


def test_the_cache_speeds_up_features_and_not_what_else_a_sample_takes():
    assert benchmark.sampling_speedup(10, 8, 56) == {
        "sampling_speedup": 5.8,
        "sampling_speedup_goal_met": True,
    }
    assert benchmark.sampling_speedup(10, 2, 20)["sampling_speedup_goal_met"] is False  # features: 10 times
