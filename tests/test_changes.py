"""What was changed in a picture."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import sundae

GREY = np.full((20, 30, 3), 100, np.uint8)


def test_a_difference_is_black_where_nothing_changed_and_full_where_most_did():
    after = GREY.copy()
    after[2:5, 3:9] = (100, 110, 95)
    after[10, 10] = (50, 100, 101)
    found = sundae.difference(GREY, after)
    assert (found.pixels, found.largest) == (19, 50)
    image = np.asarray(found.image)
    changed = (after != GREY).any(-1)
    assert not image[~changed].any()
    assert image[changed].any(-1).all()
    assert image[10, 10].tolist() == [255, 0, 5]
    assert image[3, 3].tolist() == [0, 51, 26]  # ten and five of fifty


def test_the_faintest_change_shows():
    after = GREY.copy()
    after[0, 0, 0] += 1
    assert sundae.difference(GREY, after).image.getpixel((0, 0)) == (255, 0, 0)
    after[1, 1] = 255
    after[2, 2, 2] -= 1
    found = sundae.difference(Image.fromarray(GREY), Image.fromarray(after))
    assert found.image.getpixel((2, 2)) == (0, 0, 2)


def test_equal_pictures_have_no_difference():
    found = sundae.difference(GREY, GREY)
    assert (found.pixels, found.largest, found.image.getextrema()) == (0, 0, ((0, 0),) * 3)


def test_what_is_transparent_in_both_has_not_changed():
    before = np.dstack([GREY, np.full((20, 30), 255, np.uint8)])
    before[:5, :, 3] = 0
    after = before.copy()
    after[2:8, 3:9, :3] = 180
    assert sundae.difference(before, after).pixels == 18
    after[4, 20, 3] = 255
    found = sundae.difference(before, after)
    assert found.pixels <= 19, "what is seen in one of them may have"


def test_sizes_must_agree():
    with pytest.raises(ValueError, match=r"expected two pictures of one size, got \(30, 20\) and \(30, 19\)"):
        sundae.difference(GREY, GREY[:19])
