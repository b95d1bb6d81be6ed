"""What the server makes of values no honest page would post; no browser needed."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from page.checks import MAX_POSTED, PNG_URL, mask_from_url, uploaded_file, whole_number
from page.events import full_mask, view_size

WHITE = Image.new("L", (64, 64), 255)


def url(image: Image.Image, form: str = "PNG") -> str:
    buffer = io.BytesIO()
    image.save(buffer, form)
    return PNG_URL + base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize(
    "value", [None, "7", True, -1, 65, 1.5, float("nan"), float("inf"), 10**400, [3], {}]
)
def test_what_is_no_whole_number_in_range_is_refused(value):
    with pytest.raises(ValueError, match="Steps must be a whole number from 1 to 64"):
        whole_number(value, "Steps", 1, 64)


@pytest.mark.parametrize("value", [1, 64, 24.0])
def test_whole_numbers_are_taken(value):
    assert whole_number(value, "Steps", 1, 64) == int(value)


BAD_MASKS = {
    "missing": None,
    "empty": "",
    "a number": 5,
    "text": "hello",
    "not base64": PNG_URL + "%%%%",
    "not a PNG": PNG_URL + base64.b64encode(b"hello").decode(),
    "a JPEG": url(WHITE, "JPEG"),
    "another size": url(WHITE.resize((32, 64))),
    "all black": url(Image.new("L", (64, 64), 0)),
    "too large": PNG_URL + "A" * MAX_POSTED,
}


@pytest.mark.parametrize("name", BAD_MASKS)
def test_bad_masks_are_refused(name):
    with pytest.raises(ValueError, match=r"\w"):
        mask_from_url(BAD_MASKS[name], (64, 64))


def test_a_posted_mask_is_read():
    half = Image.new("L", (64, 64), 0)
    half.paste(255, (0, 0, 32, 64))
    mask = mask_from_url(url(half), (64, 64))
    assert mask[:, :32].all()
    assert not mask[:, 32:].any()


def test_only_files_in_the_upload_folder_are_read(tmp_path):
    folder, outside = tmp_path / "uploads", tmp_path / "secret.png"
    folder.mkdir()
    outside.write_bytes(b"secret")
    (folder / "link.png").symlink_to(outside)
    for path in (
        str(outside),
        str(folder / ".." / "secret.png"),
        str(folder / "link.png"),
        str(folder),
        "",
        None,
        "\0",
    ):
        with pytest.raises(ValueError, match="did not arrive"):
            uploaded_file(path, folder)


def test_a_mask_at_the_view_size_covers_the_picture():
    size = (5000, 2000)
    width, height = view_size(size)
    mask = np.zeros((height, width), bool)
    mask[: height // 2] = True
    full = full_mask(mask, size)
    assert full.shape == (2000, 5000)
    assert full[:990].all()
    assert not full[1010:].any()
