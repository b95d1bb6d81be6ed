"""Which model fits a picture: the error of its tokenizer in the middle of the picture."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny import flat_model, tiny_model

import sundae
from sundae import fit
from sundae.fit import UNUSUAL, Fit, compare, middle, model_size, usual_psnr
from sundae.image import load_picture

NIGHT, DAY = flat_model(-0.6), flat_model(0.6)


def grey(value: float, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A picture of one colour, ``value`` in [-1, 1]."""
    return Image.new("RGB", size, (round((value + 1) * 127.5),) * 3)


def test_the_tokenizer_with_the_least_error_is_the_best():
    for models in ([NIGHT, DAY], [DAY, NIGHT]):
        assert sundae.best_model(models, grey(-0.9)) is NIGHT
        assert sundae.best_model(models, grey(-0.2)) is NIGHT
        assert sundae.best_model(models, grey(0.3)) is DAY
    assert sundae.best_model([DAY], grey(-1)) is DAY


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "CMYK"])
@pytest.mark.parametrize("size", [(16, 16), (500, 17), (33, 900), (2000, 1500)])
def test_pictures_of_every_kind_are_compared(mode, size):
    assert sundae.best_model([NIGHT, DAY], grey(-1, size).convert(mode)) is NIGHT
    assert sundae.best_model([NIGHT, DAY], grey(1, size).convert(mode)) is DAY


def test_of_equals_the_first_is_best():
    twin = flat_model(0.6)
    assert sundae.best_model([DAY, twin], grey(0)) is DAY
    assert sundae.best_model([twin, DAY], grey(0)) is twin


def test_a_tokenizer_that_models_share_is_asked_once(monkeypatch):
    twin, asked = dataclasses.replace(DAY), []
    monkeypatch.setattr(fit, "psnr", lambda model, pixels: asked.append(model) or 1.0)
    assert [each.model for each in fit.compare([NIGHT, DAY, twin], grey(0))] == [NIGHT, DAY, twin]
    assert asked == [NIGHT, DAY]


@pytest.mark.parametrize("value", [-1.0, -0.2, 0.4])
def test_the_error_is_that_of_the_pixels_in_decibels(value):
    seen = round((value + 1) * 127.5) / 127.5 - 1
    expected = 10 * math.log10(4 / (0.6 - seen) ** 2)
    assert compare([DAY], grey(value))[0].psnr == pytest.approx(expected, abs=1e-3)


def test_the_error_is_that_of_the_reconstructed_middle():
    """Of a random tokenizer, whose decoder sees a little beyond: near the error of a whole reconstruction there."""
    model, rng = tiny_model(), np.random.default_rng(3)
    picture = load_picture(rng.integers(0, 256, (32, 32, 3), np.uint8))
    back = np.asarray(sundae.reconstruct(model, picture)[1], np.float64)
    there = np.square(back - picture.rgb)[8:24, 8:24].mean()
    assert compare([model], picture)[0].psnr == pytest.approx(10 * math.log10(255**2 / there), abs=1.5)


def test_what_surrounds_the_middle_does_not_count():
    picture = np.full((64, 64, 3), 25, np.uint8)
    picture[16:48, 16:48] = 230
    assert sundae.best_model([NIGHT, DAY], picture) is DAY
    assert sundae.best_model([NIGHT, DAY], 255 - picture) is NIGHT


@pytest.mark.parametrize("f", [8, 16])
@given(st.integers(1, 40), st.integers(1, 40))
def test_the_middle_is_half_of_each_side_in_whole_cells(f, rows, columns):
    y, x = torch.meshgrid(torch.arange(rows * f), torch.arange(columns * f), indexing="ij")
    part = middle(torch.stack([y, x, x])[None].float(), f)
    for axis, cells in ((0, rows), (1, columns)):
        places = part[0, axis].amin(1 - axis)
        assert len(places) == max(1, cells // 2) * f
        assert places[0] % f == 0
        before, behind = int(places[0]), cells * f - 1 - int(places[-1])
        assert 0 <= behind - before <= f


@pytest.mark.parametrize("size", [(16, 16), (8192, 16), (100, 99), (33, 1000)])
def test_a_model_sees_whole_cells_with_its_own_longer_side(size):
    seen = model_size(tiny_model(), size)
    assert max(seen) == 32
    assert min(seen) >= 8
    assert seen[0] % 8 == seen[1] % 8 == 0


def test_fits_are_told_best_first():
    fits = compare([NIGHT, DAY, flat_model(0.0)], grey(0.5))
    assert [fit.model.name for fit in fits] == ["flat 0.6", "flat 0.0", "flat -0.6"]
    assert fits[0].psnr > fits[1].psnr > fits[2].psnr


def test_a_picture_is_unusual_far_below_what_the_card_says():
    model = flat_model(0.6, usual=30)
    assert Fit(model, 30 - UNUSUAL - 0.01).unusual
    assert not Fit(model, 30 - UNUSUAL + 0.01).unusual
    assert not Fit(flat_model(0.6), 1).unusual, "a card without the number says nothing"
    assert compare([model], grey(-1))[0].unusual
    assert not compare([model], grey(0.6))[0].unusual


@pytest.mark.parametrize(
    "provenance",
    [None, {}, [], {"metrics": 5}, {"metrics": {"tokenizer": {"psnr": "30 dB"}}}, {"metrics": {"tokenizer": {"psnr": None}}}]
    + [{"metrics": {"tokenizer": {"psnr": value}}} for value in (float("nan"), True, [30])],
)  # fmt: skip
def test_a_card_may_hold_anything(provenance):
    model = flat_model(0.6)
    model.config["provenance"] = provenance
    assert usual_psnr(model) is None


@pytest.mark.parametrize("name", sundae.models())
def test_every_model_in_the_box_says_what_is_usual(name):
    usual = usual_psnr(sundae.load(name))
    assert usual is not None, "its config.json needs provenance.metrics.tokenizer.psnr"
    assert 20 < usual < 50


def test_no_model_and_no_picture_are_refused():
    with pytest.raises(ValueError, match="expected at least one model"):
        sundae.best_model([], grey(0))
    with pytest.raises(ValueError, match="expected"):
        sundae.best_model([DAY], b"no picture")
