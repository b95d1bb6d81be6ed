"""page/sights.py: what is said and shown of a whole picture is what the library says, and it can be stopped."""

import dataclasses

import numpy as np
import pytest
from PIL import Image
from tiny import tiny_model, tiny_priors

import sundae
from page.sights import PANELS, SIGHTS, Overtaken, watched
from sundae.image import load_picture
from sundae.measure import bits_and_map
from sundae.panels import GAP

NOISE = Image.fromarray(np.random.default_rng(5).integers(0, 256, (40, 48, 3), np.uint8))
PICTURE = load_picture(NOISE)
EACH_PRIOR = pytest.mark.parametrize("kind", tiny_priors())


def model_with(kind):
    return dataclasses.replace(tiny_model(), prior=tiny_priors()[kind].eval().requires_grad_(False))


def looks(model, sight, most=10**9):
    """The sights that come, and how often the prior looked whether they are wanted, which they are so often."""
    found, count = [], 0

    def wanted():
        nonlocal count
        count += 1
        return count <= most

    try:
        for each in SIGHTS[sight](watched(model, wanted), PICTURE):
            found.append(each)
    except Overtaken:
        pass
    return found, count


@EACH_PRIOR
def test_surprise_is_told_in_the_bits_of_the_library(kind):
    model = model_with(kind)
    ((image, text, done),) = SIGHTS["surprise"](model, PICTURE)
    shown, found = sundae.surprise_map(model, PICTURE), sundae.bits(model, PICTURE)
    assert done
    assert np.array_equal(np.asarray(image), np.asarray(shown.image))
    kept = "" if kind == "autoregressive" else "At most "
    numbers = f"{found.per_token:.4f} bits a token, {found.per_dimension:.6f} per pixel-dimension."
    scale = f"Dark is {shown.low:.1f} bits a token, light {shown.high:.1f}; knowing nothing would be 4."
    assert text == f"{kept}{numbers} {scale}"
    if kind == "absorbing":  # whose map is a looser bound
        assert f"{float(shown.bits.mean()):.4f}" not in text


@EACH_PRIOR
def test_bits_and_map_are_those_of_two_questions_and_cost_one_where_the_one_is_the_mean_of_the_other(kind):
    model = model_with(kind)
    found, shown = bits_and_map(model, PICTURE, 3, 4)
    expected = sundae.surprise_map(model, PICTURE, 3, 4)
    assert found == sundae.bits(model, PICTURE, 3, 4)
    assert np.array_equal(shown.bits, expected.bits)
    assert (shown.low, shown.high) == (expected.low, expected.high)
    passes = {"sundae": 8, "absorbing": 16, "autoregressive": 1}
    assert looks(model, "surprise")[1] == passes[kind]


def test_what_the_model_sees_is_what_the_library_gives_back():
    ((image, text, done),) = SIGHTS["seen"](tiny_model(), PICTURE)
    _, expected = sundae.reconstruct(tiny_model(), PICTURE)
    assert done
    assert np.array_equal(np.asarray(image), np.asarray(expected))
    error = np.square(np.asarray(NOISE, np.float64) - np.asarray(expected)).mean()
    assert text == f"{10 * np.log10(255**2 / error):.1f} dB PSNR from the picture."


@EACH_PRIOR
def test_a_strip_comes_panel_by_panel(kind):
    model = model_with(kind)
    found, _ = looks(model, "strip")
    expected = list(sundae.strip(model, PICTURE, panels=PANELS))
    assert [each.text for each in found[:-1]] == [f"Panel {i} of {PANELS}" for i in range(1, PANELS)]
    assert found[-1].text == "Kept of it: 100%, 83%, 58%, 42%, 17%, 0%."  # of 12 cells
    assert [each.done for each in found] == [False] * (PANELS - 1) + [True]
    for count, each in enumerate(found, 1):
        width = (each.image.width + GAP) // PANELS
        for place, panel in enumerate(expected):
            box = (place * width, 0, (place + 1) * width - GAP, each.image.height)
            drawn = panel.image.resize((box[2] - box[0], box[3]), Image.Resampling.LANCZOS)
            there = np.asarray(each.image.crop(box))
            assert np.array_equal(there, np.asarray(drawn)) if place < count else (there == 128).all()


@EACH_PRIOR
@pytest.mark.parametrize("sight", ["surprise", "strip"])
def test_what_nobody_waits_for_stops_within_one_step_and_leaves_the_model_as_it_was(kind, sight):
    model = model_with(kind)
    whole, steps = looks(model, sight)
    assert whole[-1].done
    for most in {0, steps // 2, steps - 1}:
        some, looked = looks(model, sight, most)
        assert looked == most + 1
        assert [each.text for each in some] == [each.text for each in whole[: len(some)]]
        assert len(some) < len(whole)
    assert not {"hidden", "sample"} & set(vars(model.prior))
    again = [each.text for each in SIGHTS[sight](model, PICTURE)]
    assert again == [each.text for each in whole]
