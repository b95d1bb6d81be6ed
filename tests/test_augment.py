"""train.augment: nothing at strength 0, the paper's ranges at 1, true gradients, one draw per picture."""

import pytest
import torch

from train.augment import AugmentSettings, augment

KINDS = ["colour", "translation", "cutout"]
MANY = 3000  # pictures: enough for both ends of a range to be reached


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int, height: int = 8, width: int = 8, dtype=torch.float32) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=generator(7), dtype=dtype) * 2 - 1


def colour_draws(strength: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What was added, and both factors, read off one picture augmented many times.

    Saturation keeps the grey of a pixel and contrast the mean of a picture, so each shows by itself: brightness
    in the mean, contrast in the spread of the grey, saturation in what is left of the distance from the grey.
    """
    before = pictures(1, 4, 4, torch.float64).expand(MANY, -1, -1, -1)
    after = augment(before, AugmentSettings(colour=strength), generator())
    added = (after.mean((1, 2, 3)) - before.mean((1, 2, 3))).squeeze()
    grey = [images.mean(1, keepdim=True) for images in (before, after)]
    spread = [(g - g.mean((1, 2, 3), keepdim=True))[:, 0, 0, 0] for g in grey]
    contrast = spread[1] / spread[0]
    distance = [(images - g)[:, 0, 0, 0] for images, g in zip((before, after), grey)]
    return added, distance[1] / distance[0] / contrast, contrast


def test_strength_zero_changes_nothing_and_draws_nothing():
    images, draws = pictures(4), generator()
    state = draws.get_state()
    assert torch.equal(augment(images, AugmentSettings(), draws), images)
    assert torch.equal(draws.get_state(), state)


@pytest.mark.parametrize("strength", [0.4, 1.0])
def test_colours_reach_the_ends_of_their_ranges(strength):
    added, saturation, contrast = colour_draws(strength)
    for draws, middle, reach in ((added, 0, 0.5), (saturation, 1, 1.0), (contrast, 1, 0.5)):
        low, high = middle - reach * strength, middle + reach * strength
        assert low - 1e-6 <= float(draws.min()) < low + 0.02 * reach
        assert high - 0.02 * reach < float(draws.max()) <= high + 1e-6
        assert float(draws.mean()) == pytest.approx(middle, abs=0.05 * reach)


def test_colours_are_drawn_apart():
    drawn = torch.stack(colour_draws(1.0))
    assert float((torch.corrcoef(drawn) - torch.eye(3)).abs().max()) < 0.08


@pytest.mark.parametrize(("height", "width", "strength"), [(16, 40, 1.0), (16, 40, 0.5), (7, 9, 1.0)])
def test_translation_moves_whole_pixels_up_to_an_eighth(height, width, strength):
    """One bright pixel in the middle shows the shift."""
    images = torch.zeros(MANY, 3, height, width)
    row, column = height // 2, width // 2
    images[:, :, row, column] = 1
    moved = augment(images, AugmentSettings(translation=strength), generator())
    assert torch.equal(moved.flatten(1).sum(1), torch.full((MANY,), 3.0))
    _, rows, columns = moved[:, 0].nonzero().unbind(1)
    for shift, side in ((rows - row, height), (columns - column, width)):
        most = int(strength * side / 8)
        assert sorted(set(shift.tolist())) == list(range(-most, most + 1))


def test_translation_brings_in_grey_and_keeps_the_rest():
    images = pictures(64) + 3  # nowhere 0
    moved = augment(images, AugmentSettings(translation=1.0), generator())
    shifts = set()
    for before, after in zip(images, moved):
        down, right = next(
            (dy, dx)
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
            if torch.equal(torch.roll(before, (dy, dx), (1, 2))[:, 1:-1, 1:-1], after[:, 1:-1, 1:-1])
        )
        expected = torch.roll(before, (down, right), (1, 2))
        if down:
            expected[:, 0 if down > 0 else -1] = 0
        if right:
            expected[:, :, 0 if right > 0 else -1] = 0
        assert torch.equal(after, expected)
        shifts.add((down, right))
    assert len(shifts) == 9


@pytest.mark.parametrize(
    ("height", "width", "strength"), [(8, 12, 1.0), (8, 12, 0.5), (7, 10, 1.0), (6, 10, 1.0)]
)
def test_cutout_is_a_grey_box_of_half_the_sides_anywhere(height, width, strength):
    images = pictures(MANY, height, width) + 3
    cut = augment(images, AugmentSettings(cutout=strength), generator())
    gone = (cut == 0).all(1)
    assert torch.equal(cut, images * ~gone[:, None])
    rows, columns = gone.any(2), gone.any(1)
    assert torch.equal(gone, rows[:, :, None] & columns[:, None, :])
    for lines, side in ((rows, height), (columns, width)):
        size = int(strength * side / 2)
        assert int(lines.sum(1).max()) == size
        starts = lines.float().argmax(1)
        runs = [(int(start), int(count)) for start, count in zip(starts, lines.sum(1))]
        assert all(bool(line[start : start + count].all()) for line, (start, count) in zip(lines, runs))
        centres = range(side + 1 - size % 2)
        places = {(max(0, c - size // 2), min(side, c - size // 2 + size)) for c in centres}
        assert {(start, start + count) for start, count in runs} == places


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_are_drawn_apart_and_batches_too(kind):
    images = pictures(1, 16, 16).expand(64, -1, -1, -1)
    settings, draws = AugmentSettings(**{kind: 1.0}), generator()
    first, second = augment(images, settings, draws), augment(images, settings, draws)
    assert len({tuple(image.flatten().tolist()) for image in first}) > 20
    assert not torch.equal(first, second)
    assert torch.equal(first, augment(images, settings, generator()))


def test_without_a_generator_torchs_own_is_used():
    images, settings = pictures(8), AugmentSettings(1.0, 1.0, 1.0)
    torch.manual_seed(3)
    first, second = augment(images, settings), augment(images, settings)
    torch.manual_seed(3)
    assert torch.equal(first, augment(images, settings))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("kind", [*KINDS, "all"])
def test_gradients_are_those_of_finite_differences(kind):
    settings = AugmentSettings(**{name: 1.0 for name in KINDS if kind in (name, "all")})
    images = pictures(2, 8, 4, torch.float64).requires_grad_()  # 8 rows: shifts of one
    assert torch.autograd.gradcheck(lambda x: augment(x, settings, generator()), images)
    augment(images, settings, generator()).square().sum().backward()
    assert (images.grad.flatten(1).abs().sum(1) > 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_type_and_shape_stay_and_the_input_is_not_changed(dtype):
    images = pictures(3, 1, 5).to(dtype)
    before = images.clone()
    output = augment(images, AugmentSettings(1.0, 1.0, 1.0), generator())
    assert output.dtype == dtype and output.shape == images.shape
    assert torch.equal(images, before)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_strengths_outside_the_range_are_refused(kind, strength):
    with pytest.raises(ValueError, match=rf"expected {kind} in \[0, 1\]"):
        AugmentSettings(**{kind: strength})


@pytest.mark.parametrize(
    "images", [torch.zeros(3, 8, 8), torch.zeros(2, 1, 8, 8), torch.zeros(2, 3, 8, 8, dtype=torch.uint8)]
)
def test_other_pictures_are_refused(images):
    with pytest.raises(ValueError, match=r"expected float images \(B, 3, H, W\)"):
        augment(images, AugmentSettings(colour=1.0))
