"""sundae.hourglass: every weight learns, any grid passes, codes depend on the codes before them."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import PRIOR, tiny_prior

from sundae.hourglass import CodeHead, Hourglass, HourglassConfig, LevelConfig, pad_grid
from sundae.objective import corrupt, unrolled_loss

THREE = HourglassConfig(
    codebook_size=16,
    depth=3,
    grid=(6, 8),
    levels=(
        LevelConfig(8, 2, "axial", 1, merge=3),
        LevelConfig(16, 1, "axial", 1, merge=2),
        LevelConfig(16, 2, mlp_ratio=1),
    ),
    head_dim=8,
)
ONE = HourglassConfig(codebook_size=16, depth=1, grid=(4, 4), levels=(LevelConfig(8, 1),), head_dim=4)
MIRRORED = replace(PRIOR, levels=tuple(replace(level, mirror=True) for level in PRIOR.levels))
CONFIGS = {"two levels": PRIOR, "three levels": THREE, "one level": ONE, "mirrored": MIRRORED}
MODELS = {name: tiny_prior(config).requires_grad_(False) for name, config in CONFIGS.items()}


def grids(model: Hourglass, batch: int, h: int, w: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(model.codebook_size, (batch, h, w, model.depth), generator=generator)
    return tokens, torch.rand(batch, h, w, generator=generator) < 0.5


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("grid", [(6, 8), (5, 7)], ids=["even", "odd"])
def test_every_parameter_learns(config, grid):
    torch.manual_seed(0)
    model = tiny_prior(config)
    tokens, hole = grids(model, 4, *grid)
    corrupted = corrupt(tokens, hole, torch.full((4,), 0.5), model.codebook_size)
    unrolled_loss(model, tokens, corrupted, hole, torch.rand(4, 1, *tokens.shape[1:])).loss.backward()
    idle = [
        name for name, p in model.named_parameters() if p.grad is None or not float(p.grad.abs().max()) > 0
    ]
    assert not idle
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters())


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(MODELS)), st.integers(1, 3), st.integers(1, 13), st.integers(1, 33))
def test_any_grid(name, batch, h, w):
    model = MODELS[name]
    tokens, known = grids(model, batch, h, w)
    hidden = model.hidden(tokens, known)
    assert hidden.shape == (batch, h, w, model.config.levels[0].width)
    assert bool(hidden.isfinite().all())


def test_samples_of_a_batch_are_alone():
    model = MODELS["two levels"]
    tokens, known = grids(model, 3, 5, 7)
    together = model.hidden(tokens, known)
    apart = torch.cat([model.hidden(tokens[i : i + 1], known[i : i + 1]) for i in range(3)])
    assert torch.allclose(together, apart, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_every_cell_reaches_every_cell(name):
    model = MODELS[name]
    tokens, known = grids(model, 1, 6, 8)
    changed = tokens.clone()
    changed[0, 0, 0] = (changed[0, 0, 0] + 1) % 16
    assert bool((model.hidden(tokens, known) != model.hidden(changed, known)).any(-1).all())


def test_rows_and_columns_are_told_apart():
    """A grid read as one long sequence would not notice being transposed; this one must."""
    model = MODELS["two levels"]
    tokens, known = grids(model, 1, 6, 6)
    straight = model.hidden(tokens, known)
    turned = model.hidden(tokens.transpose(1, 2), known.transpose(1, 2)).transpose(1, 2)
    assert float((straight - turned).abs().mean()) > 0.01


def test_known_cells_are_told_apart_and_all_hidden_is_the_plain_model():
    model = MODELS["two levels"]
    tokens, known = grids(model, 1, 6, 6)
    assert not torch.allclose(
        model.hidden(tokens, known), model.hidden(tokens, torch.zeros_like(known)), atol=1e-3
    )


def test_logits_of_some_cells_are_those_of_all():
    model = MODELS["three levels"]
    tokens, known = grids(model, 2, 6, 8)
    hidden = model.hidden(tokens, known)
    for j in range(model.depth):
        everywhere = model.logits(hidden.flatten(0, 2), tokens.flatten(0, 2), tokens.flatten(0, 2)[:, :j])
        some = model.logits(hidden[known], tokens[known], tokens[known][:, :j])
        assert some.shape == (int(known.sum()), 16)
        assert torch.allclose(some, everywhere[known.flatten()], atol=1e-5)


def test_later_codes_depend_on_the_codes_before_them():
    model = MODELS["three levels"]
    hidden, current = torch.randn(10, 8), torch.randint(16, (10, 3))
    for j in (1, 2):
        prefix = torch.randint(16, (10, j))
        for i in range(j):
            other = prefix.clone()
            other[:, i] = (other[:, i] + 1) % 16
            difference = (model.logits(hidden, current, prefix) - model.logits(hidden, current, other)).abs()
            assert bool((difference.mean(1) > 0.01).all())


def test_a_cell_may_keep_its_code_only_after_its_own_prefix():
    """The bonus (2 at the start) goes to the present code, and to no residual of another first code."""
    head = CodeHead(8, 16, 2)
    hidden, current = torch.randn(3, 8), torch.tensor([[3, 5], [4, 6], [0, 15]])
    with torch.no_grad():
        bare = head.classifiers[0](head.norms[0](hidden))
        bonus = head(hidden, current, current[:, :0]) - bare
        assert torch.allclose(bonus, 2.0 * torch.nn.functional.one_hot(current[:, 0], 16), atol=1e-5)
        prefix = torch.tensor([[3], [9], [0]])
        context = hidden + head.prefix[0](prefix[:, 0])
        bare = head.classifiers[1](head.norms[1](context + head.prefix_mlp[0](context)))
        bonus = head(hidden, current, prefix) - bare
        expected = 2.0 * torch.nn.functional.one_hot(current[:, 1], 16) * torch.tensor([[1], [0], [1]])
        assert torch.allclose(bonus, expected, atol=1e-5)


def test_positions_are_the_table_at_home_and_resized_elsewhere():
    model = MODELS["two levels"]
    assert torch.equal(model.positions(4, 4), model.position.permute(0, 2, 3, 1))
    wide = model.positions(4, 8)
    assert wide.shape == (1, 4, 8, 16)
    assert torch.allclose(wide.mean((1, 2)), model.position.mean((2, 3)), atol=1e-5)


def test_padding_repeats_the_edge():
    x = torch.arange(6.0).view(1, 2, 3, 1)
    padded, pad = pad_grid(x, 4)
    assert pad
    assert padded.shape == (1, 4, 4, 1)
    assert torch.equal(
        padded[0, :, :, 0], torch.tensor([[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [3, 4, 5, 5.0]])
    )
    assert pad_grid(x[:, :, :2], 2)[1] is False


def test_codes_that_look_alike_begin_alike():
    torch.manual_seed(0)
    model = Hourglass(PRIOR)
    codebooks, share = torch.randn(2, 16, 4), torch.rand(2, 16).softmax(1)
    codebooks[:, 1] = codebooks[:, 0]
    model.start_from_codebooks(codebooks, share)
    for table in (*model.embed, *model.head.prefix, *model.head.classifiers):
        assert torch.allclose(table.weight[0], table.weight[1], atol=1e-6)
        assert not torch.allclose(table.weight[0], table.weight[2], atol=1e-3)
    for classifier, frequencies in zip(model.head.classifiers, share, strict=True):
        assert torch.allclose(classifier.bias.softmax(0), frequencies, atol=1e-3)


def test_bad_input_is_refused():
    model = MODELS["two levels"]
    tokens, known = grids(model, 2, 4, 4)
    for bad in ((tokens[..., :1], known), (tokens[0], known), (tokens, known[:1]), (tokens, known[:, :3])):
        with pytest.raises(ValueError, match=r"^expected tokens \(B, h, w, 2\) and known .*, got .*$"):
            model.hidden(*bad)


@pytest.mark.parametrize(
    "values", [{"levels": ()}, {"codebook_size": 0}, {"depth": 0}, {"grid": (0, 4)}, {"head_dim": 0}]
)
def test_bad_configs_are_refused(values):
    with pytest.raises(ValueError, match=r"^expected .*, got .*$"):
        HourglassConfig(**values)


@pytest.mark.parametrize(
    "values", [{"width": 0}, {"depth": 0}, {"merge": 0}, {"mlp_ratio": 0}, {"attention": "diagonal"}]
)
def test_bad_levels_are_refused(values):
    with pytest.raises(ValueError, match=r"^expected .*, got .*$"):
        LevelConfig(**{"width": 8, "depth": 1} | values)


CONDITIONAL = replace(PRIOR, classes=3)


def test_a_class_changes_every_cell_and_no_class_is_the_last_row():
    model = tiny_prior(CONDITIONAL)
    tokens, hole = grids(model, 2, 4, 5)
    none, last = model.hidden(tokens, ~hole), model.hidden(tokens, ~hole, torch.tensor([3, 3]))
    assert torch.equal(none, last)
    mixed = model.hidden(tokens, ~hole, torch.tensor([3, 1]))
    assert torch.equal(mixed[0], none[0])
    assert bool((mixed[1] != none[1]).any(-1).all())


@pytest.mark.parametrize("labels", [[0], [0, 4], [-1, 0]])
def test_labels_that_are_no_classes_are_refused(labels):
    model = tiny_prior(CONDITIONAL)
    tokens, hole = grids(model, 2, 4, 5)
    with pytest.raises(ValueError, match="expected 2 labels from 0 to 3"):
        model.hidden(tokens, ~hole, torch.tensor(labels))
    with pytest.raises(ValueError, match="trained without classes"):
        tiny_prior().hidden(tokens, ~hole, torch.tensor([0, 0]))


def test_heads_need_not_fill_the_width():
    level = LevelConfig(20, 1, "global", mlp_ratio=1, heads=3)
    model = tiny_prior(HourglassConfig(16, 2, (4, 4), (level,), head_dim=8))
    assert model.down[0][0].attention.qkv.weight.shape == (3 * 24, 20)
    tokens, hole = grids(model, 2, 4, 5)
    assert model.hidden(tokens, ~hole).shape == (2, 4, 5, 20)


def test_a_mirror_link_shows_the_other_side_and_begins_without_effect():
    """A fresh trunk passes every cell on alone, so what reaches another cell came through the link."""
    level = LevelConfig(16, 1, mirror=True)
    model = Hourglass(HourglassConfig(16, 2, (3, 6), (level,), head_dim=8))
    tokens, hole = grids(model, 1, 3, 6)
    changed = tokens.clone()
    changed[0, 1, 1] = (tokens[0, 1, 1] + 1) % 16

    def reached() -> list[list[int]]:
        return (model.hidden(tokens, ~hole) != model.hidden(changed, ~hole)).any(-1)[0].nonzero().tolist()

    assert reached() == [[1, 1]]
    torch.nn.init.normal_(model.mirror_down[0].weight)
    assert reached() == [[1, 1], [1, 4]]
