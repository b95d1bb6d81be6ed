"""sundae.priors.autoregressive: what each cell may know, the cache, sliding windows, conditions, exact likelihoods."""

import dataclasses
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import AUTOREGRESSIVE, randomise, tiny_autoregressive

from sundae.layers import CausalAttention, KeyValueCache
from sundae.priors.autoregressive import (
    Autoregressive,
    AutoregressiveConfig,
    LabelMapConfig,
    Reader,
    view_of,
    views,
)
from sundae.priors.likelihood import bits_per_token
from sundae.sampler import SamplerConfig

MAPPED = dataclasses.replace(AUTOREGRESSIVE, label_map=LabelMapConfig(5, 2, (2, 4)))
CONFIGS = {
    "plain": AUTOREGRESSIVE,
    "classes": dataclasses.replace(AUTOREGRESSIVE, classes=3),
    "maps": MAPPED,
    "tall": dataclasses.replace(AUTOREGRESSIVE, grid=(6, 3), depth=3, heads=3),
}
MODELS = {name: tiny_autoregressive(config).eval().requires_grad_(False) for name, config in CONFIGS.items()}


def grids(prior: Autoregressive, h: int, w: int, batch: int = 1, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(16, (batch, h, w, prior.depth), generator=generator)


def whole(tokens: torch.Tensor) -> torch.Tensor:
    return torch.ones(tokens.shape[:3], dtype=torch.bool)


def labels_for(prior: Autoregressive, tokens: torch.Tensor) -> torch.Tensor | None:
    """Some that the prior takes: classes, label maps or none."""
    generator = torch.Generator().manual_seed(11)
    if prior.config.classes:
        return torch.randint(prior.config.classes + 1, (len(tokens),), generator=generator)
    if maps := prior.config.label_map.codebook_size:
        shape = (len(tokens), *prior.map_grid(*tokens.shape[1:3]), prior.config.label_map.depth)
        return torch.randint(maps, shape, generator=generator)
    return None


def features(prior: Autoregressive, tokens: torch.Tensor, labels=None) -> torch.Tensor:
    return prior.hidden(tokens, whole(tokens), labels)


# -- what a cell knows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("grid", [(4, 4), (3, 5), (7, 6)], ids=["context", "wider", "windows"])
def test_a_cell_depends_on_all_before_it_in_its_view_and_on_nothing_else(name, grid):
    prior = MODELS[name]
    tokens = grids(prior, *grid)
    labels = labels_for(prior, tokens)
    before = features(prior, tokens, labels)
    for row, column in itertools.product(range(grid[0]), range(grid[1])):
        other = tokens.clone()
        other[0, row, column] = (other[0, row, column] + 7) % 16
        moved = (features(prior, other, labels) - before).abs().amax(-1)[0] > 1e-6
        for y, x in itertools.product(range(grid[0]), range(grid[1])):
            view = view_of(y, x, grid, prior.config.grid)
            inside = view.top <= row < view.top + view.height and view.left <= column < view.left + view.width
            assert bool(moved[y, x]) == (inside and (row, column) < (y, x)), (row, column, y, x)


def test_later_codes_of_a_cell_depend_on_those_before_them():
    prior = MODELS["tall"]
    hidden, current = torch.randn(10, 16), torch.zeros(10, 3, dtype=torch.int64)
    for j in (1, 2):
        prefix = torch.randint(16, (10, j))
        for i in range(j):
            other = prefix.clone()
            other[:, i] = (other[:, i] + 1) % 16
            difference = prior.logits(hidden, current, prefix) - prior.logits(hidden, current, other)
            assert bool((difference.abs().mean(1) > 0.01).all())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("grid", [(4, 4), (7, 9)], ids=["context", "windows"])
def test_every_parameter_learns(name, grid):
    torch.manual_seed(0)
    prior = tiny_autoregressive(CONFIGS[name])
    tokens = grids(prior, *grid, batch=4)
    nothing = torch.empty(4, 0, *tokens.shape[1:])
    loss = prior.loss(tokens, tokens, whole(tokens), nothing, labels=labels_for(prior, tokens)).loss
    loss.backward()
    names = [n for n, p in prior.named_parameters() if p.grad is None or not float(p.grad.abs().max()) > 0]
    assert not names


def test_loss_is_the_mean_over_hidden_cells_by_their_weights():
    prior = MODELS["plain"]
    tokens, nothing = grids(prior, 4, 4, 2), torch.empty(2, 0, 4, 4, 2)
    mask = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(3)) < 0.5
    nats = prior.surprise(tokens, mask, [0, 0])[mask] * math.log(2)
    result = prior.loss(tokens, torch.full_like(tokens, 3), mask, nothing)
    assert float(result.loss) == pytest.approx(float(nats.mean()), rel=1e-5)
    weights = torch.rand(int(mask.sum()), generator=torch.Generator().manual_seed(4))
    weighted = prior.loss(tokens, tokens, mask, nothing, weights)
    assert float(weighted.loss) == pytest.approx(float(nats @ weights), rel=1e-5)
    assert float(weighted.by_code.mean()) == pytest.approx(float(weighted.loss), rel=1e-5)
    chained = prior.loss(tokens, tokens, mask, torch.rand(2, 1, 4, 4, 2))  # a chain that is not there
    assert torch.equal(chained.loss, result.loss)


# -- the cache -----------------------------------------------------------------------------------------------


def test_attention_in_pieces_is_attention_in_one():
    layer = randomise(CausalAttention(32, 8), 3).requires_grad_(False)
    x, asked, told = torch.randn(2, 11, 32), torch.randn(11, 4), torch.randn(11, 4)
    together, cache, pieces = layer(x, asked, told), KeyValueCache(11), []
    for first, last in itertools.pairwise((0, 4, 5, 6, 9, 11)):
        part = slice(first, last)
        pieces.append(layer(x[:, part], asked[part], told[part], cache))
    assert torch.allclose(torch.cat(pieces, 1), together, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("grid", [(4, 4), (3, 2), (9, 7), (4, 11)], ids=["context", "small", "large", "wide"])
def test_cached_logits_are_the_uncached_ones(name, grid):
    """Cell by cell, as when sampling, with known cells in between read several at a time."""
    prior = MODELS[name]
    tokens = grids(prior, *grid, batch=2)
    labels = labels_for(prior, tokens)
    hidden, conditions, reader = features(prior, tokens, labels), prior.conditions(tokens, labels), None
    skipped = torch.rand(grid, generator=torch.Generator().manual_seed(5)) < 0.4
    for row, column in itertools.product(range(grid[0]), range(grid[1])):
        if skipped[row, column]:
            continue
        view = view_of(row, column, grid, prior.config.grid)
        if reader is None or reader.view != view:
            reader = Reader(prior, view, grid, conditions)
        cached = reader.read(tokens, view.place(row, column) + 1)[:, -1]
        current = tokens[:, row, column]
        for j in range(prior.depth):
            one = prior.logits(cached, current, current[:, :j])
            other = prior.logits(hidden[:, row, column], current, current[:, :j])
            assert torch.allclose(one, other, atol=1e-5)


# -- sliding windows -----------------------------------------------------------------------------------------


def test_views_are_centred_and_clipped_at_the_borders():
    """A window of 4 x 6 on a grid of 10 x 9, and one that is as large as the grid."""
    for place, corner in {
        (0, 0): (0, 0),
        (2, 3): (0, 0),
        (3, 4): (1, 1),
        (5, 5): (3, 2),
        (8, 6): (6, 3),
        (9, 8): (6, 3),
        (9, 0): (6, 0),
    }.items():
        assert view_of(*place, (10, 9), (4, 6)) == (*corner, 4, 6)
    assert view_of(2, 5, (4, 6), (4, 6)) == (0, 0, 4, 6)
    assert view_of(2, 5, (3, 6), (4, 4)) == (0, 2, 3, 4)
    assert view_of(3, 4, (10, 9), (4, 6)).place(3, 4) == 2 * 6 + 3


@settings(max_examples=60, deadline=None)
@given(*[st.integers(1, 12) for _ in range(4)])
def test_every_cell_has_one_view_that_holds_it(h, w, high, wide):
    seen = torch.zeros(h, w, dtype=torch.int64)
    for view, rows, columns in views((h, w), (high, wide)):
        assert (view.height, view.width) == (min(h, high), min(w, wide))
        assert 0 <= view.top <= h - view.height
        assert 0 <= view.left <= w - view.width
        seen[rows, columns] += 1
        for row, column in itertools.product(range(h)[rows], range(w)[columns]):
            assert view_of(row, column, (h, w), (high, wide)) == view
            assert 0 <= view.place(row, column) < view.height * view.width
    assert bool((seen == 1).all())


@pytest.mark.parametrize("name", MODELS)
def test_a_large_grid_is_seen_through_windows_of_the_training_size(name):
    """Cut out, each view is a grid of its own, whose cell has the features that it has in the large one."""
    prior, grid = MODELS[name], (12, 8)  # a multiple of the label map's cells
    tokens = grids(prior, *grid)
    labels = labels_for(prior, tokens)
    hidden = features(prior, tokens, labels)
    for row, column in ((0, 0), (4, 4), (6, 7), (11, 3), (8, 2)):
        view = view_of(row, column, grid, prior.config.grid)
        cut, part = tokens[view.area], labels
        if name == "maps":
            if view.top % 2:
                continue  # maps of half the height are cut between rows
            part = labels[:, view.top // 2 : (view.top + 4) // 2, view.left : view.left + 4]
        alone = features(prior, cut, part)
        place = (row - view.top, column - view.left)
        assert torch.allclose(alone[0, place[0], place[1]], hidden[0, row, column], atol=1e-5)


# -- likelihood ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [[[True, True, True]], [[False, True, True]], [[True, False, True]]])
def test_the_likelihood_of_what_is_filled_in_is_exact(mask):
    """The chances of all fillings of a hole add up to one, whatever is known around it."""
    config = dataclasses.replace(AUTOREGRESSIVE, codebook_size=3, depth=2, grid=(1, 2))
    prior, hole = tiny_autoregressive(config).requires_grad_(False), torch.tensor([mask])
    cells = int(hole.sum())
    codes = torch.tensor(list(itertools.product(range(3), repeat=2 * cells))).view(-1, cells, 2)
    tokens = torch.ones(len(codes), 1, 3, 2, dtype=torch.int64)
    tokens[:, hole[0]] = codes
    hole = hole.expand(len(codes), -1, -1)
    bits = bits_per_token(prior.surprise(tokens, hole, [0] * len(codes)), hole)
    assert float((-2 * cells * bits.double()).exp2().sum()) == pytest.approx(1, abs=1e-5)


def test_seeds_and_passes_do_not_matter_to_an_exact_likelihood():
    prior = MODELS["plain"]
    tokens = grids(prior, 5, 3)
    assert torch.equal(prior.bits(tokens, whole(tokens), 1, 1), prior.bits(tokens, whole(tokens), 2, 9))


# -- sampling ------------------------------------------------------------------------------------------------

JOINT = torch.tensor([[0.30, 0.05, 0.02], [0.03, 0.25, 0.05], [0.10, 0.05, 0.15]]).double()  # of two cells


class Oracle(Autoregressive):
    """Draws two cells: the first by its own chances, the second given the first."""

    def __init__(self):
        super().__init__(dataclasses.replace(AUTOREGRESSIVE, codebook_size=3, depth=1, grid=(1, 2)))
        with torch.no_grad():
            self.embed[0].weight.copy_(torch.eye(3, 16))
            self.label.weight.copy_(torch.eye(16)[3:4])
            self.position.zero_()

    def logits(self, hidden, current, prefix):
        """Blocks begin as the identity: the features are which code came before, or that none did."""
        chances = torch.cat([JOINT, JOINT.sum(1)[None]])
        return (hidden[:, :4].double() @ chances).log()


def test_an_oracles_joint_distribution_is_drawn_from():
    tokens, mask = torch.zeros(1, 1, 2, 1, dtype=torch.int64), torch.ones(1, 1, 2, dtype=torch.bool)
    config = SamplerConfig(steps=2, temperature_start=1, temperature_end=1)
    *_, last = Oracle().sample(tokens, mask, config, list(range(3000)), batch_size=3000)
    drawn = last.tokens[:, 0, :, 0]
    counts = torch.bincount(drawn[:, 0] * 3 + drawn[:, 1], minlength=9).double()
    expected = 3000 * JOINT.flatten()
    assert float(((counts - expected) ** 2 / expected).sum()) < 32  # chi-square, 8 degrees: 1 in 10,000


def test_the_bits_of_an_oracle_are_the_entropy():
    pairs = torch.tensor(list(itertools.product(range(3), repeat=2)))
    tokens = pairs.view(-1, 1, 2, 1)
    exact = -JOINT[pairs[:, 0], pairs[:, 1]].log2() / 2
    assert torch.allclose(Oracle().bits(tokens, whole(tokens), [0] * 9).double(), exact, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("grid", [(4, 4), (6, 7)], ids=["context", "windows"])
def test_the_likeliest_codes_are_those_of_a_walk_by_hand(name, grid):
    """With one code to choose from: the whole network again for every cell of a hole, in raster order."""
    prior = MODELS[name]
    tokens, mask = grids(prior, *grid), torch.zeros(1, *grid, dtype=torch.bool)
    mask[0, 1:3, 1:] = True
    labels = labels_for(prior, tokens)
    walked = torch.where(mask[..., None], 0, tokens)
    for row, column in mask[0].nonzero().tolist():
        hidden = features(prior, walked, labels)[:, row, column]
        for j in range(prior.depth):
            cell = walked[:, row, column]
            walked[0, row, column, j] = prior.logits(hidden, cell, cell[:, :j]).argmax()
    *_, last = prior.sample(tokens, mask, SamplerConfig(steps=3, top_k=1), [8], labels=labels)
    assert torch.equal(last.tokens, walked)


def test_as_many_steps_as_rows_write_row_by_row():
    prior = MODELS["plain"]
    tokens = grids(prior, 5, 3)
    steps = list(prior.sample(tokens, whole(tokens), SamplerConfig(steps=5), [1]))
    for step in steps[1:]:
        rows = step.changed[0].any(1).nonzero().flatten().tolist()
        assert rows in ([step.index - 1], [])
    assert sum(int(step.changed.sum()) for step in steps[1:]) >= 12  # a draw may repeat the noise


def test_steps_only_say_how_often_one_looks():
    """At one temperature: the same draws in 1, 4 or 16 parts."""
    prior = MODELS["plain"]
    tokens = grids(prior, 4, 4)
    finals = [
        list(prior.sample(tokens, whole(tokens), dataclasses.replace(prior.defaults, steps=steps), [2]))[-1]
        for steps in (1, 4, 16)
    ]
    for final in finals[1:]:
        assert torch.equal(final.tokens, finals[0].tokens)


def test_known_cells_before_a_hole_steer_it_and_those_after_it_do_not():
    prior = MODELS["plain"]
    tokens, mask = grids(prior, 4, 4), torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[0, 1, 1:3] = mask[0, 2, 1:3] = True

    def drawn(changed: torch.Tensor) -> torch.Tensor:
        return list(prior.sample(changed, mask, prior.settings_for(16), [3]))[-1].tokens[mask]

    before, after = tokens.clone(), tokens.clone()
    before[0, 0] = (before[0, 0] + 5) % 16
    after[0, 2, 3], after[0, 3] = (after[0, 2, 3] + 5) % 16, (after[0, 3] + 5) % 16
    assert not torch.equal(drawn(before), drawn(tokens))
    assert torch.equal(drawn(after), drawn(tokens))


def test_samples_with_holes_of_their_own_pass_in_groups():
    prior = MODELS["plain"]
    tokens, mask = grids(prior, 4, 5, 4), torch.zeros(4, 4, 5, dtype=torch.bool)
    mask[[0, 2], 1:3] = mask[1, 0, 2] = mask[3, 2:, 1:] = True
    config = SamplerConfig(steps=3)
    together = list(prior.sample(tokens, mask, config, [1, 2, 3, 4], batch_size=4))
    for b in range(4):
        alone = list(prior.sample(tokens[b : b + 1], mask[b : b + 1], config, [b + 1]))
        for step in alone:
            assert torch.equal(step.tokens[0], together[step.index].tokens[b])


# -- conditions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["classes", "maps"])
def test_conditions_reach_every_cell_of_their_own_sample_alone(name):
    prior = MODELS[name]
    tokens = grids(prior, 4, 4, 2)
    labels = labels_for(prior, tokens)
    before = features(prior, tokens, labels)
    for place in itertools.product(*map(range, labels.shape[1:])):
        other = labels.clone()
        other[(1, *place)] = (other[(1, *place)] + 1) % (4 if name == "classes" else 5)
        moved = (features(prior, tokens, other) - before).abs().amax(-1) > 1e-6
        assert bool(moved[1].all())
        assert not moved[0].any()


def test_no_class_is_the_last_one():
    prior = MODELS["classes"]
    tokens = grids(prior, 4, 4)
    none = features(prior, tokens)
    assert torch.equal(features(prior, tokens, torch.tensor([3])), none)
    assert not torch.allclose(features(prior, tokens, torch.tensor([0])), none, atol=1e-3)
    drawn = [
        list(prior.sample(tokens, whole(tokens), prior.settings_for(16), [1], labels=labels))[-1].tokens
        for labels in (None, [3], [0])
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_maps_are_given_to_samplers_and_likelihoods():
    prior = MODELS["maps"]
    tokens = grids(prior, 4, 4, 2)
    labels = labels_for(prior, tokens)
    *_, last = prior.sample(tokens, whole(tokens), prior.settings_for(16), [1, 2], labels=labels)
    *_, alone = prior.sample(tokens[1:], whole(tokens[1:]), prior.settings_for(16), [2], labels=labels[1:])
    assert torch.equal(last.tokens[1], alone.tokens[0])
    bits = prior.bits(tokens, whole(tokens), [0, 0], labels=labels)
    assert not torch.allclose(
        bits, prior.bits(tokens, whole(tokens), [0, 0], labels=labels.flip(0)), atol=1e-4
    )


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, r"^expected label maps as tokens \(1, 2, 4, 2\), got none$"),
        (torch.zeros(1, 4, 4, 2).long(), r"^expected label maps as tokens .*, got \(1, 4, 4, 2\)$"),
        (torch.zeros(1, 2, 4, 1).long(), r"^expected label maps as tokens .*, got \(1, 2, 4, 1\)$"),
        (torch.zeros(1).long(), r"^expected label maps as tokens .*, got \(1,\)$"),
        (torch.full((1, 2, 4, 2), 5), r"^expected label maps with codes from 0 to 4, got 5 to 5$"),
        (torch.full((1, 2, 4, 2), -1), r"^expected label maps with codes from 0 to 4, got -1 to -1$"),
    ],
    ids=["none", "grid", "depth", "classes", "large", "negative"],
)
def test_conditions_that_do_not_fit_are_refused(labels, message):
    prior = MODELS["maps"]
    tokens = grids(prior, 4, 4)
    with pytest.raises(ValueError, match=message):
        list(prior.sample(tokens, whole(tokens), SamplerConfig(steps=2), [0], labels=labels))
    with pytest.raises(ValueError, match=message):
        prior.bits(tokens, whole(tokens), labels=labels)


def test_label_maps_for_a_prior_without_are_refused():
    tokens = grids(MODELS["plain"], 4, 4)
    with pytest.raises(ValueError, match=r"^expected no class labels"):
        MODELS["plain"].bits(tokens, whole(tokens), labels=torch.zeros(1, 2, 4, 2).long())


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 0},
        {"blocks": 0},
        {"classes": -1},
        {"grid": (0, 4)},
        {"heads": -1},
        {"classes": 2, "label_map": LabelMapConfig(4)},
    ],
    ids=str,
)
def test_impossible_shapes_are_refused(changes):
    with pytest.raises(ValueError, match=r"^expected .*, got"):
        AutoregressiveConfig(**changes)
    for wrong in ({"codebook_size": -1}, {"depth": 0}, {"grid": (1, 0)}):
        with pytest.raises(ValueError, match=r"^expected positive sizes of a label map, got"):
            LabelMapConfig(**wrong)


def test_codebooks_begin_the_tables():
    prior = tiny_autoregressive()
    prior.start_from_codebooks(torch.randn(2, 16, 4), torch.full((2, 16), 1 / 16))
    assert float(prior.embed[0].weight.detach().std()) == pytest.approx(0.5, rel=0.1)
    assert torch.allclose(prior.head.classifiers[1].bias, torch.tensor(1 / 16 + 1e-5).log(), atol=1e-4)
