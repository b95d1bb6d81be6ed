"""Grids larger than a prior's own, margins around a picture, strips, and bits."""

import dataclasses
import io
import json
import math
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny import (
    AUTOREGRESSIVE,
    Damaged,
    Fake,
    Oracle,
    tiny_absorbing,
    tiny_autoregressive,
    tiny_model,
    tiny_prior,
    tiny_priors,
    tiny_tokenizer,
)

import sundae
from benchmarks import canvas as benchmark
from sundae.bundles import Model
from sundae.canvas import Canvas, over_grid, overlap, shifted_starts, starts
from sundae.image import extend_picture, load_picture
from sundae.measure import bits, heat_colours, surprise_map
from sundae.panels import side_by_side, strip
from sundae.pipeline import blank, extend
from sundae.priors import absorbing, chain
from sundae.priors.autoregressive import LabelMapConfig
from sundae.sampler import MAX_CELLS, SamplerConfig, sample
from sundae.window import Box, Window, canvas_window, margin_window, working_window

MODEL = tiny_model()  # f = 8, a grid of 4 x 4, so 32 px
QUICK = SamplerConfig(steps=3)
CANVASES = {"sundae": tiny_prior, "absorbing": tiny_absorbing}


def grids(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(16, (*shape, 2), generator=torch.Generator().manual_seed(seed))


def holes(*shape: int, seed: int = 1) -> torch.Tensor:
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    mask[:, 0, 0] = True
    return mask


def tokens_of(steps) -> list[torch.Tensor]:
    return [step.tokens for step in steps]


def noise_picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(width * height)
    picture = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
    return picture.quantize(16) if mode == "P" else picture.convert(mode)


def with_prior(prior) -> Model:
    return dataclasses.replace(MODEL, prior=prior.eval().requires_grad_(False))


class Watched(Fake):
    """Logits that depend on where in its window a cell lies; remembers the shapes it was asked for."""

    def __init__(self):
        super().__init__()
        self.windows, self.asked = [], []

    def hidden(self, tokens, known):
        self.windows.append(tuple(tokens.shape))
        rows, columns = torch.meshgrid(*(torch.arange(n) for n in tokens.shape[1:3]), indexing="ij")
        place = (4 * rows + columns).expand(tokens.shape[:3]).float()
        return torch.stack([place, tokens[..., 0].float()], -1)

    def logits(self, hidden, current, prefix):
        self.asked.append(len(hidden))
        codes = torch.arange(self.codebook_size)
        return torch.sin(hidden[:, :1] * (codes + 1) + hidden[:, 1:] + prefix.sum(1, keepdim=True))


# -- windows over a canvas -----------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_every_cell_is_covered_and_windows_that_share_one_have_slots_of_their_own(data):
    window = data.draw(st.integers(1, 9))
    size, stride = data.draw(st.integers(window, 40)), data.draw(st.integers(1, window))
    firsts = starts(size, window, stride)
    if data.draw(st.booleans()):
        firsts = shifted_starts(size, window, stride, data.draw(st.integers(0, stride - 1)))
    assert firsts[0] == 0
    assert firsts[-1] == size - window
    shared = overlap(firsts, window)
    for cell in range(size):
        over = [i % shared for i, first in enumerate(firsts) if first <= cell < first + window]
        assert over
        assert len(set(over)) == len(over)


@pytest.mark.parametrize("falloff", [0, 1, 2])
@pytest.mark.parametrize("random", [False, True])
@pytest.mark.parametrize("grid", [(4, 5), (5, 4), (7, 9), (4, 16), (11, 4)])
def test_averages_are_the_mean_of_softmaxes(grid, random, falloff):
    """Compared with a loop over windows, for both codes of a cell; with a falloff of 0 the plain mean."""
    denoiser = Watched()
    canvas = Canvas(denoiser, (4, 4), stride=0.5, falloff=falloff, random=random)
    tent = torch.tensor([0.25, 0.75, 0.75, 0.25])
    weights = (tent[:, None] * tent)[..., None] ** falloff
    assert falloff or bool((weights == 1).all())
    tokens, known = grids(1, *grid), torch.zeros(1, *grid, dtype=torch.bool)
    hidden, prefix = canvas.hidden(tokens, known)[0], grids(*grid, seed=5)
    for j in (0, 1):
        expected = torch.zeros(*grid, 16)
        seen = torch.zeros(*grid, 1)
        for place in canvas.places(tokens[0]):
            area = (place.rows, place.columns)
            features = denoiser.hidden(tokens[0][area][None], known[0][area][None]).flatten(0, 2)
            logits = denoiser.logits(features, features, prefix[area].flatten(0, 1)[:, :j])
            expected[area] += weights * logits.softmax(-1).view(4, 4, 16)
            seen[area] += weights
        found = canvas.logits(hidden.flatten(0, 1), grids(grid[0] * grid[1]), prefix.flatten(0, 1)[:, :j])
        assert torch.allclose(found.softmax(-1), (expected / seen).flatten(0, 1), atol=1e-6)
        assert torch.allclose(found.exp().sum(-1), torch.ones(len(found)), atol=1e-5)


@pytest.mark.parametrize("kind", CANVASES)
def test_one_window_is_the_plain_sampler_bit_for_bit(kind, monkeypatch):
    prior, tokens, mask = CANVASES[kind](), grids(2, 4, 4), holes(2, 4, 4)
    assert over_grid(prior, (4, 4), tokens, QUICK, 1) is prior
    plain = tokens_of(prior.sample(tokens, mask, QUICK, [1, 2]))
    made = []

    def always(denoiser, own, *_):
        made.append(Canvas(denoiser, own))
        return made[-1]

    for module in (absorbing, chain):
        monkeypatch.setattr(module, "over_grid", always)
    through = tokens_of(prior.sample(tokens, mask, QUICK, [1, 2]))
    assert len(made) == 1 and len(plain) == len(through) == 4
    assert all(map(torch.equal, plain, through))
    assert not torch.equal(plain[0], plain[-1])
    assert torch.equal(made[0].hidden(tokens, ~mask), prior.hidden(tokens, ~mask))


def test_a_single_window_through_the_averaging_draws_the_same():
    """The long way round: one window, of which a mean of one softmax is taken."""
    prior = tiny_prior()
    tokens, mask = grids(1, 4, 4), holes(1, 4, 4)
    hidden = prior.hidden(tokens, ~mask)
    averaged = torch.cat([hidden, torch.ones_like(hidden[..., :1])], -1)[..., None, :]
    canvas = Canvas(prior, (4, 4))
    for j in (0, 1):
        inputs = tokens[mask], tokens[mask][:, :j]
        plain = prior.logits(hidden[mask], *inputs).log_softmax(-1)
        assert torch.allclose(canvas.logits(averaged[mask], *inputs), plain, atol=1e-6)


def test_side_by_side_windows_are_samples_of_their_own():
    """With nothing shared, the distributions of a canvas are those of its windows."""
    prior = tiny_prior()
    tokens, known = grids(1, 4, 8), torch.zeros(1, 4, 8, dtype=torch.bool)
    hidden = Canvas(prior, (4, 4), stride=1.0).hidden(tokens, known)
    assert hidden.shape[3] == 1
    for half in (slice(0, 4), slice(4, 8)):
        assert torch.equal(
            hidden[:, :, half, 0, :-1], prior.hidden(tokens[:, :, half].contiguous(), known[:, :, half])
        )


@pytest.mark.parametrize("random", [False, True])
@pytest.mark.parametrize("kind", CANVASES)
def test_known_tokens_never_change_and_hidden_ones_are_drawn(kind, random):
    prior, tokens, mask = CANVASES[kind](), grids(1, 9, 6), holes(1, 9, 6)
    steps = list(prior.sample(tokens, mask, dataclasses.replace(QUICK, random_windows=random), [1, 2]))
    for step in steps:
        assert torch.equal(step.tokens[:, ~mask[0]], tokens.expand(2, -1, -1, -1)[:, ~mask[0]])
    assert (steps[-1].tokens != tokens).any(-1)[:, mask[0]].float().mean() > 0.8


@pytest.mark.parametrize("random", [False, True])
@pytest.mark.parametrize("kind", CANVASES)
def test_same_seed_same_canvas_alone_or_in_a_batch(kind, random):
    prior, mask = CANVASES[kind](), holes(3, 7, 10)
    tokens = grids(3, 7, 10)
    config = dataclasses.replace(QUICK, random_windows=random)
    together = tokens_of(prior.sample(tokens, mask, config, [5, 6, 7]))
    alone = tokens_of(prior.sample(tokens[1:2], mask[1:2], config, [6]))
    assert all(torch.equal(a[1], b[0]) for a, b in zip(together, alone))
    assert not torch.equal(together[-1][0], together[-1][1])


@pytest.mark.parametrize("kind", CANVASES)
def test_windows_that_pass_together_change_nothing_but_rounding(kind):
    prior, tokens, mask = CANVASES[kind](), grids(1, 9, 9), holes(1, 9, 9)
    known = ~mask
    one, many = (Canvas(prior, (4, 4), batch_size=n).hidden(tokens, known) for n in (1, 5))
    assert torch.allclose(one, many, atol=1e-5)


def test_random_windows_lie_somewhere_else_for_other_tokens_and_stay_for_the_same():
    canvas = Canvas(Watched(), (4, 4), stride=1.0, random=True)
    places = [canvas.places(grids(12, 12, seed=seed)) for seed in range(20)]
    assert len({tuple(place.columns.start for place in some) for some in places}) > 2
    assert canvas.places(grids(12, 12)) == canvas.places(grids(12, 12))


def test_memory_is_that_of_the_windows_that_pass_together():
    """Four times the canvas: as many windows at a time, and as many cells' codes."""
    largest = {}
    for side in (64, 128):
        denoiser = Watched()
        canvas = Canvas(denoiser, (32, 32), stride=0.5, batch_size=3)
        mask = torch.ones(1, side, side, dtype=torch.bool)
        list(sample(canvas, grids(1, side, side), mask, SamplerConfig(steps=1), [0]))
        assert {shape[1:] for shape in denoiser.windows} == {(32, 32, 2)}
        largest[side] = max(shape[0] for shape in denoiser.windows), max(denoiser.asked)
        assert len(denoiser.windows) == math.ceil((2 * side // 32 - 1) ** 2 / 3)
    assert largest[64] == largest[128] == (3, MAX_CELLS)


def test_windows_without_a_hole_are_not_looked_at():
    denoiser, mask = Watched(), torch.zeros(1, 4, 40, dtype=torch.bool)
    mask[:, :, :2] = True
    list(sample(Canvas(denoiser, (4, 4)), grids(1, 4, 40), mask, SamplerConfig(steps=1), [0]))
    assert len(denoiser.windows) == 1


def test_the_answer_that_all_windows_know_is_found():
    truth = grids(4, 4, seed=9)

    class Everywhere(Oracle):
        def hidden(self, tokens, known):
            return self.truth.float().expand(len(tokens), -1, -1, -1)

    canvas = Canvas(Everywhere(truth), (4, 4), stride=1.0)
    mask = torch.ones(1, 8, 12, dtype=torch.bool)
    *_, last = sample(canvas, grids(1, 8, 12), mask, QUICK, [0])
    assert torch.equal(last.tokens[0], truth.repeat(2, 3, 1))


# -- bad input -----------------------------------------------------------------------------------------------


def complains(work, match: str) -> None:
    with pytest.raises(ValueError, match=match) as error:
        work()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("grid", [(3, 8), (8, 3), (1, 1)])
def test_a_canvas_smaller_than_the_window(grid):
    canvas = Canvas(Watched(), (4, 4))
    mask = torch.ones(1, *grid, dtype=torch.bool)
    complains(
        lambda: list(sample(canvas, grids(1, *grid), mask, QUICK, [0])),
        "expected a canvas of at least 4x4 cells",
    )


def test_a_canvas_without_a_hole():
    canvas = Canvas(Watched(), (4, 4))
    complains(
        lambda: canvas.hidden(grids(1, 8, 8), torch.ones(1, 8, 8, dtype=torch.bool)), "one hidden token"
    )


@pytest.mark.parametrize("size", [0, -1, 1.5, None, True])
def test_windows_together_are_a_whole_number(size):
    complains(lambda: Canvas(Watched(), (4, 4), batch_size=size), "batch_size")
    complains(lambda: blank(MODEL).run(QUICK, batch_size=size), "batch_size")


@pytest.mark.parametrize(
    "wrong",
    [
        {"stride": 0.1},
        {"stride": 1.1},
        {"stride": "half"},
        {"falloff": -0.1},
        {"falloff": math.nan},
        {"random_windows": 1},
        {"steps": 0},
        {"steps": -3},
        {"top_k": -1},
    ],
    ids=str,
)
def test_settings_out_of_range(wrong):
    complains(lambda: SamplerConfig(**wrong), f"expected {next(iter(wrong))}")


@pytest.mark.parametrize("kind", ["absorbing", "autoregressive"])
def test_more_steps_than_tokens_where_each_is_written_once(kind):
    prior, tokens = tiny_priors()[kind], grids(1, 4, 8)
    mask = torch.ones(1, 4, 8, dtype=torch.bool)
    complains(lambda: list(prior.sample(tokens, mask, SamplerConfig(steps=33), [0])), "at most 32")
    assert list(prior.sample(tokens, mask, SamplerConfig(steps=32), [0]))


@pytest.mark.parametrize("kind", ["sundae", "absorbing", "autoregressive"])
def test_more_likely_codes_than_there_are(kind):
    prior, mask = tiny_priors()[kind], torch.ones(1, 4, 8, dtype=torch.bool)
    complains(
        lambda: list(prior.sample(grids(1, 4, 8), mask, SamplerConfig(steps=2, top_k=17), [0])), "top_k"
    )


def test_a_condition_of_the_wrong_grid():
    label_map = LabelMapConfig(codebook_size=5, grid=(4, 4))
    prior = tiny_autoregressive(dataclasses.replace(AUTOREGRESSIVE, label_map=label_map))
    maps = torch.zeros(1, 4, 4, 1, dtype=torch.int64)  # a canvas twice as wide has a map twice as wide
    mask = torch.ones(1, 4, 8, dtype=torch.bool)
    complains(
        lambda: list(prior.sample(grids(1, 4, 8), mask, QUICK, [0], labels=maps)), "expected label maps"
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_logits_that_are_no_numbers(value):
    mask = torch.ones(1, 4, 8, dtype=torch.bool)
    canvas = Canvas(Damaged(value), (4, 4))
    complains(lambda: list(sample(canvas, grids(1, 4, 8), mask, QUICK, [0])), "expected finite logits")


# -- pictures larger than the model's ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "cells"),
    [
        ((64, 32), (4, 8)),  # at full resolution
        ((100, 70), (9, 12)),
        ((64, 64), (8, 8)),
        ((64, 26), (4, 10)),  # nearly the window's height: as if it were that, and as much wider
        ((48, 48), (4, 4)),  # nearly square and not much larger: one picture, enlarged
        ((32, 32), (4, 4)),
        ((20, 90), (8, 4)),  # narrow: as before, at about the model's size
    ],
)
def test_a_sample_is_drawn_at_full_resolution_where_it_is_a_canvas(size, cells):
    prepared = blank(MODEL, *size)
    assert tuple(prepared.token_mask.shape[1:]) == cells or size == (20, 90)
    *_, last = prepared.run(QUICK)
    assert last.image().size == size
    if size in [(64, 32), (64, 64)]:
        assert (prepared.window.width, prepared.window.height) == size


@pytest.mark.parametrize("shorter", [24, 25, 26, 28, 31, 32, 33, 40])
@pytest.mark.parametrize("times", [1.2, 2.0, 2.56, 4.0])
def test_a_canvas_is_as_wide_for_its_height_as_the_picture(shorter, times):
    longer = round(times * shorter)
    for size in ((longer, shorter), (shorter, longer)):
        window = blank(MODEL, *size).window
        wide, narrow = max(window.width, window.height), min(window.width, window.height)
        assert (narrow == 32) if shorter <= 32 else (abs(narrow - shorter) <= 4)  # half a cell
        assert abs(wide - longer * max(1, 32 / shorter)) <= 4
        assert (window.width > window.height) == (size[0] > size[1])


@pytest.mark.parametrize("kind", ["sundae", "absorbing", "autoregressive"])
def test_every_prior_draws_a_wide_picture(kind):
    model = with_prior(tiny_priors()[kind])
    *_, last = sundae.generate(model, [3], width=64, height=32)
    assert last.image().size == (64, 32)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16"])
def test_an_extended_picture_keeps_its_pixels(mode):
    if mode == "I;16":
        values = np.random.default_rng(0).integers(0, 65536, (30, 34)).astype("<u2")
        picture = Image.fromarray(values)
    else:
        picture = noise_picture(34, 30, "P" if mode == "PA" else mode)
        picture = picture.convert("PA") if mode == "PA" else picture
    prepared = extend(MODEL, picture, left=9, top=5, right=3)
    *_, last = prepared.run(QUICK, [2])
    result = last.image()
    assert (result.mode, result.size) == (mode, (46, 35))
    inside = result.crop((9, 5, 43, 35))
    assert inside.tobytes() == picture.tobytes()
    again = list(extend(MODEL, picture, left=9, top=5, right=3).run(QUICK, [2]))[-1].image()
    assert again.tobytes() == result.tobytes()
    if mode in ("LA", "RGBA", "PA"):
        margin = np.asarray(result)[:, :9, -1]
        assert (margin == 255).all()


@pytest.mark.parametrize(("mode", "key"), [("L", 128), ("RGB", (128, 128, 128)), ("1", 255), ("P", 0)])
def test_margins_are_seen_whatever_colour_is_invisible(mode, key):
    picture = noise_picture(32, 32, mode)
    picture.info["transparency"] = key
    file = io.BytesIO()
    picture.save(file, "PNG")
    before = load_picture(file.getvalue())
    wide = extend_picture(before, 8, 0, 0, 0)
    assert wide.image.info["transparency"] == key
    assert (np.asarray(wide.image.convert("RGBA"))[:, :8, 3] == 255).all()


def test_the_margins_are_drawn_and_depend_on_the_seed():
    picture = noise_picture(32, 32)
    first, second = (np.asarray(f.image()) for f in last_frames(extend(MODEL, picture, right=20), [1, 2]))
    assert (first[:, :32] == second[:, :32]).all()
    assert (first[:, 32:] != second[:, 32:]).any(-1).mean() > 0.5


def last_frames(prepared, seeds):
    return [list(prepared.run(QUICK, [seed]))[-1] for seed in seeds]


@pytest.mark.parametrize(
    ("size", "margins", "box", "window"),
    [
        # its own scale: whole tokens, from which context that fills none is left out
        ((32, 32), {"left": 16}, (0, 0, 48, 32), (48, 32)),
        ((32, 32), {"left": 13}, (0, 0, 40, 32), (40, 32)),
        ((200, 32), {"left": 16}, (0, 0, 48, 32), (48, 32)),
        ((200, 32), {"right": 16}, (168, 0, 216, 32), (48, 32)),
        ((32, 32), {"left": 16, "right": 16, "top": 8}, (0, 0, 64, 40), (64, 40)),
        # large and small: as if the shorter side were the model's
        ((128, 64), {"left": 64}, (0, 0, 128, 64), (64, 32)),
        ((16, 16), {"top": 8, "left": 8}, (0, 0, 24, 24), (48, 48)),
    ],
)
def test_windows_of_extended_pictures(size, margins, box, window):
    prepared = extend(MODEL, noise_picture(*size), **margins)
    found = prepared.window
    assert (found.box.left, found.box.top, found.box.right, found.box.bottom) == box
    assert (found.width, found.height) == window
    assert prepared.mask.sum() == prepared.mask[found.box.slices].sum()


def margins_of(picture) -> np.ndarray:
    """Where a picture with margins has them."""
    hole = np.ones(picture.size[::-1], bool)
    left, top, right, bottom = picture.inner
    hole[top:bottom, left:right] = False
    return hole


def test_margins_painted_by_hand_are_those_of_extend():
    """As the page has them: the picture is widened first, and then redrawn where it has nothing."""
    before = load_picture(noise_picture(32, 32))
    wide = extend_picture(before, 32, 0, 0, 0)
    prepared = sundae.Inpainter(MODEL).prepare(wide, margins_of(wide))
    ours, theirs = (last_frames(each, [5])[0] for each in (prepared, extend(MODEL, before, left=32)))
    assert ours.prepared.window == theirs.prepared.window
    assert ours.image().tobytes() == theirs.image().tobytes()


def test_margins_as_wide_as_the_picture_depend_on_it():
    drawn = []
    for seed in (0, 1):
        values = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8)
        wide = extend_picture(load_picture(Image.fromarray(values)), 32, 0, 0, 0)
        (frame,) = last_frames(sundae.Inpainter(MODEL).prepare(wide, margins_of(wide)), [5])
        drawn.append(np.asarray(frame.image())[:, :32])
    assert not np.array_equal(*drawn)


@pytest.mark.parametrize(
    ("inner", "hole", "box", "window"),
    [
        # (left, top, right, bottom) of what was there and of the hole, in a picture of 64 x 32 px; a model of 32 px
        ((32, 0, 64, 32), (0, 0, 32, 32), (0, 0, 64, 32), (64, 32)),  # the whole margin: a canvas
        ((32, 0, 64, 32), (0, 0, 8, 8), (0, 0, 40, 32), (40, 32)),  # part of it, with context
        ((32, 0, 64, 32), (40, 8, 60, 20), (34, 0, 66, 32), (32, 32)),  # none of it: as in any picture
        ((0, 0, 64, 32), (0, 0, 8, 8), (0, 0, 16, 16), (32, 32)),  # no margins to speak of
    ],
)
def test_which_window_a_picture_with_margins_has(inner, hole, box, window):
    mask = np.zeros((32, 64), bool)
    mask[hole[1] : hole[3], hole[0] : hole[2]] = True
    found = margin_window((64, 32), mask, Box(*inner), 32, (32, 32), 8)
    plain = working_window((64, 32), mask, 32, 8)
    if Box(*inner).contains(Box(*hole)):
        assert found == plain
    else:
        assert (found.box, found.width, found.height) == (Box(*box), *window)


def test_small_margins_are_drawn_in_one_look_and_huge_ones_too():
    small, mask = Box(4, 0, 36, 32), np.ones((34, 36), bool)
    mask[0:32, 4:36] = False
    assert margin_window((36, 34), mask, small, 32, (32, 32), 8) == Window(Box(0, 0, 36, 34), 32, 32)
    tiny, mask = Box(300, 0, 316, 16), np.ones((16, 316), bool)
    mask[:, 300:] = False
    found = margin_window((316, 16), mask, tiny, 32, (32, 32), 8)
    assert found == working_window((316, 16), mask, 32, 8)
    assert canvas_window((316, 16), mask, (32, 32), 8, 2.0).width > 8 * 32


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_canvas_window_holds_the_hole_in_whole_tokens(data):
    f = data.draw(st.sampled_from([8, 16]))
    own = data.draw(st.integers(2, 5)) * f, data.draw(st.integers(2, 5)) * f
    width, height = data.draw(st.integers(16, 300)), data.draw(st.integers(16, 300))
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    mask = np.zeros((height, width), bool)
    mask[top : top + data.draw(st.integers(1, 300)), left : left + data.draw(st.integers(1, 300))] = True
    scale = data.draw(st.sampled_from([1.0, 0.4, 2.3]))
    window = canvas_window((width, height), mask, own, f, scale)
    assert mask[window.box.slices].sum() == mask.sum()
    for cells, least, box in (
        (window.width, own[0], window.box.width),
        (window.height, own[1], window.box.height),
    ):
        assert cells % f == 0
        assert cells >= least
        assert cells == least or abs(cells - box * scale) <= f / 2 + 1e-6


@pytest.mark.parametrize(
    "wrong",
    [{}, {"left": 0}, {"left": -1}, {"top": 1.5}, {"right": "8"}, {"bottom": 8192}, {"left": True}],
    ids=str,
)
def test_margins_that_are_none(wrong):
    complains(lambda: extend(MODEL, noise_picture(32, 32), **wrong), "expected")
    complains(lambda: extend(dataclasses.replace(MODEL, prior=None), noise_picture(32, 32), left=8), "prior")


# -- the first tokens kept -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sundae", "absorbing", "autoregressive"])
def test_a_strip_keeps_fewer_and_fewer_tokens(kind):
    model, picture = with_prior(tiny_priors()[kind]), noise_picture(40, 20)
    panels = list(strip(model, picture, panels=5, seed=3))
    truth = panels[0].tokens
    assert [panel.kept for panel in panels] == [8, 6, 4, 2, 0]
    assert truth.shape == (1, 2, 4, 2)
    reconstruction = sundae.reconstruct(model, picture)[1]
    assert panels[0].image.resize((40, 20), Image.Resampling.BICUBIC).size == reconstruction.size
    for panel in panels:
        kept = panel.tokens.flatten(1, 2)[:, : panel.kept]
        assert torch.equal(kept, truth.flatten(1, 2)[:, : panel.kept])
        assert panel.image.size == (32, 16)
    assert not torch.equal(panels[-1].tokens, truth)
    again = list(strip(model, picture, panels=2, seed=3))
    assert torch.equal(again[-1].tokens, panels[-1].tokens)
    row = side_by_side([panel.image for panel in panels], 16)
    assert row.size == (5 * 16 + 4 * 4, 8)


@pytest.mark.parametrize("panels", [0, 1, 65, 2.5, "9", None, True])
def test_panels_are_a_whole_number(panels):
    complains(lambda: strip(MODEL, noise_picture(32, 32), panels), "panels")


def test_a_strip_of_more_panels_than_tokens():
    complains(lambda: strip(MODEL, noise_picture(32, 32), 18), "at most 17 panels of 16 tokens")


# -- bits ----------------------------------------------------------------------------------------------------


def level(prior):
    """A prior that knows nothing: its logits are all the same."""
    prior.head.requires_grad_(False)
    for layer in [*prior.head.classifiers, *prior.head.keep]:
        layer.weight.zero_()
        layer.bias.zero_()
    return prior


@pytest.mark.parametrize("kind", ["sundae", "absorbing", "autoregressive"])
def test_bits_are_defined_as_the_documents_say(kind):
    model = with_prior(level(tiny_priors()[kind]))
    found = bits(model, noise_picture(64, 32))
    assert found.tokens == 2 * 4 * 2
    assert found.per_token == pytest.approx(4.0, abs=1e-5)  # log2 of 16 codes
    assert found.per_dimension == pytest.approx(4.0 * found.tokens / (3 * 32 * 16), abs=1e-7)
    assert model.prior is not None and model.prior.exact == (kind == "autoregressive")


def test_bits_are_the_prior_s():
    model, picture = with_prior(tiny_autoregressive()), noise_picture(32, 32)
    *_, tokens = (panel.tokens for panel in list(strip(model, picture, 2))[:1])
    hidden = torch.ones(1, 4, 4, dtype=torch.bool)
    assert bits(model, picture).per_token == pytest.approx(float(model.prior.bits(tokens, hidden)))


def test_the_map_shows_where_the_surprise_is():
    class Half(type(tiny_prior())):
        def surprise(self, tokens, token_mask, seeds=0, passes=8, labels=None):
            return torch.arange(4.0).expand(1, 4, 4) + 1

    prior = Half(tiny_prior().config)
    found = surprise_map(with_prior(prior), Image.new("RGB", (64, 64), (90, 90, 90)))
    assert (found.low, found.high) == (1, 4)
    shown = np.asarray(found.image).astype(int)
    assert shown.shape == (64, 64, 3)
    assert (shown[:, :16] == shown[0, 0]).all()
    assert (np.diff(shown.sum(-1)[0, ::16]) > 40).all()  # lighter and lighter to the right


def test_an_even_surprise_has_a_colour_too():
    found = surprise_map(with_prior(level(tiny_autoregressive())), noise_picture(32, 32))
    assert found.high - found.low < 1e-5


def test_the_heat_climbs_evenly_in_lightness():
    table = heat_colours()
    assert table.shape == (256, 3) and table.dtype == np.uint8
    linear = (table / 255.0) ** 2.2 @ np.array([0.2126, 0.7152, 0.0722])
    lightness = 116 * np.cbrt(linear) - 16
    rises = np.diff(lightness[::15])
    assert (rises > 0).all()
    assert rises.max() < 3 * rises.min()
    assert len(np.unique(table, axis=0)) > 240


@pytest.mark.parametrize("work", [bits, surprise_map, strip])
def test_what_needs_a_prior_says_so(work):
    bare = Model("bare", tiny_tokenizer(), None, MODEL.config, torch.device("cpu"))
    complains(lambda: work(bare, noise_picture(32, 32)), "expected a model with a prior")
    complains(lambda: work("model", noise_picture(32, 32)), "sundae.load")


# -- what it costs -------------------------------------------------------------------------------------------


def test_the_benchmark_measures_steps_across_borders():
    picture = np.zeros((8, 64, 3), np.uint8)
    picture[:, 32:] = 50
    assert benchmark.steps_across(picture, 8).tolist() == [0, 0, 0, 50, 0, 0, 0]
    prepared = blank(MODEL, 64, 32)
    assert benchmark.window_borders(MODEL, prepared) == [2, 4, 6]
    assert benchmark.window_borders(MODEL, prepared, stride=1.0) == [4]
    found = benchmark.seams(MODEL, 2, steps=2)
    assert found["borders"] == [2, 4, 6]
    assert found["to_beside"] == pytest.approx(found["across_borders"] / found["beside_borders"])
    assert found["to_elsewhere"] == pytest.approx(found["across_borders"] / found["elsewhere"])
    assert json.dumps(found)


@pytest.mark.parametrize(
    ("steps", "one_sided", "two_sided"),
    [
        ((10.4, 10.0, 10.0), True, True),
        ((9.6, 10.0, 10.0), True, True),
        ((10.6, 10.0, 10.0), False, False),
        ((9.4, 10.0, 10.0), True, False),  # less than elsewhere shows too
        ((10.6, 11.0, 10.0), True, False),
        ((10.0, 9.0, 10.0), False, True),
    ],
)
def test_goals_of_seams(steps, one_sided, two_sided):
    found = benchmark.compared(*steps)
    assert found["seam_goal_met"] is one_sided
    assert found["two_sided_goal_to_elsewhere_met"] is two_sided


if __name__ == "__main__":
    sys.exit(pytest.main([__file__, "-q"]))
