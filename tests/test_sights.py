"""page/sights.py: what is said of a whole picture is what the library says."""

import dataclasses

import numpy as np
import pytest
from PIL import Image
from tiny import tiny_model, tiny_priors

import sundae
from page.sights import surprising
from sundae.image import load_picture


@pytest.mark.parametrize("kind", tiny_priors())
def test_surprise_is_told_in_the_bits_of_the_library(kind):
    prior = tiny_priors()[kind].eval().requires_grad_(False)
    model = dataclasses.replace(tiny_model(), prior=prior)
    noise = np.random.default_rng(5).integers(0, 256, (40, 48, 3), np.uint8)
    picture = load_picture(Image.fromarray(noise))
    image, text = surprising(model, picture)
    shown, found = sundae.surprise_map(model, picture), sundae.bits(model, picture)
    assert np.array_equal(np.asarray(image), np.asarray(shown.image))
    kept = "" if kind == "autoregressive" else "At most "
    numbers = f"{found.per_token:.4f} bits a token, {found.per_dimension:.6f} per pixel-dimension."
    scale = f"Dark is {shown.low:.1f} bits a token, light {shown.high:.1f}; knowing nothing would be 4."
    assert text == f"{kept}{numbers} {scale}"
    if kind == "absorbing":  # whose map is a looser bound
        assert f"{float(shown.bits.mean()):.4f}" not in text
