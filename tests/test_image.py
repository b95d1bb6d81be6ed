"""sundae.image: every mode comes in upright, goes out whole, and keeps what was not painted."""

import contextlib
import io
import json
import os
import struct
import sys
import warnings
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from marks import DRAWN, EDITED, VOCABULARY, mark_of
from PIL import Image, PngImagePlugin

from sundae.image import (
    MAX_SIDE,
    MIN_SIDE,
    Picture,
    in_own_colours,
    jpeg_bytes,
    load_picture,
    opacity,
    png_bytes,
    read_settings,
    replace_pixels,
    resize_rgb,
    save_picture,
    to_rgb,
    to_tensor,
)
from sundae.window import Box, Window, hole_box, working_window

MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16")
NOT_IN_PNG = (("PA", "PNG"), ("CMYK", "PNG"))
ICC = b"\0\0\0\x90" + b"profile " * 20


def sample(mode: str, width: int = 24, height: int = 20, seed: int = 0) -> Image.Image:
    """A noisy image of the given mode; alpha takes all values, palettes have 40 distinct colours."""
    rng = np.random.default_rng(seed)
    bands = {"LA": 2, "PA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}.get(mode, 1)
    values = rng.integers(0, 256, (height, width, bands), np.uint8)
    if mode == "1":
        return Image.fromarray(values[..., 0] > 127)
    if mode == "I;16":
        return Image.fromarray(rng.integers(0, 65536, (height, width), np.uint16))
    if mode in ("P", "PA"):
        values[..., 0] %= 40
        image = Image.frombytes(mode, (width, height), values.tobytes())
        image.putpalette(rng.permutation(256)[: 40 * 3].astype(np.uint8).tobytes())
        return image
    return Image.frombytes(mode, (width, height), values.tobytes())


def encoded(image: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def stored(image: Image.Image) -> np.ndarray:
    """The image's own values, unpacked: images of a mode and palette are the same exactly when these are."""
    return np.asarray(image)


def colours(image: Image.Image) -> np.ndarray:
    return stored(image.convert("RGBA"))


# -- loading -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "way"),
    [(mode, way) for mode in MODES for way in ("PIL", "TIFF", "PNG") if (mode, way) not in NOT_IN_PNG],
)
def test_every_mode_is_loaded_without_loss(mode, way):
    image = sample(mode)
    picture = load_picture(image if way == "PIL" else encoded(image, way))
    assert picture.image.mode == mode
    assert picture.size == (24, 20)
    assert np.array_equal(stored(picture.image), stored(image))
    assert picture.rgb.shape == (20, 24, 3)
    assert picture.rgb.dtype == np.uint8
    if mode == "I;16":
        assert np.abs(picture.rgb[..., 0] * 257.0 - stored(image)).max() <= 128.5
    else:
        flat = image.convert("RGBA").convert("RGB") if "A" in mode or mode == "P" else image.convert("RGB")
        seen = alpha_of(image) > 0
        assert np.array_equal(picture.rgb[seen], stored(flat)[seen])


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF"])
def test_every_format_from_path_bytes_and_stream(form, tmp_path):
    data = encoded(sample("RGB"), form)
    path = tmp_path / f"picture.{form.lower()}"
    path.write_bytes(data)
    link = tmp_path / "link"
    link.symlink_to(path)
    first = load_picture(data)
    assert first.format == form
    for source in (path, str(path), link, io.BytesIO(data), bytearray(data), memoryview(data)):
        assert np.array_equal(load_picture(source).rgb, first.rgb)


@pytest.mark.parametrize("shape", [(20, 24), (20, 24, 3), (20, 24, 4)])
def test_arrays_are_copied(shape):
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    picture = load_picture(array[::1])
    before = picture.rgb.copy()
    assert np.array_equal(stored(picture.image), array)
    array[:] = 0
    assert np.array_equal(picture.rgb, before)
    with pytest.raises(ValueError, match="read-only"):
        picture.rgb[0, 0] = 0
    assert stored(picture.image).any()


def test_a_pil_image_is_neither_changed_nor_kept():
    image = sample("RGB")
    exif = image.getexif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    before = image.tobytes()
    picture = load_picture(image)
    assert picture.size == (20, 24)
    assert image.tobytes() == before
    assert image.getexif()[0x0112] == 6
    image.paste((0, 0, 0), (0, 0, 24, 20))
    assert stored(picture.image).any()


# What a viewer shows for a stored picture, in terms of rows and columns of the stored one.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a[::-1].transpose(1, 0, 2),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: a[:, ::-1].transpose(1, 0, 2),
}


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_orientations_are_applied_once(form, orientation):
    image = sample("RGB", 24, 16)
    options = {"WEBP": {"lossless": True}}.get(form, {})
    exif = Image.Exif()
    exif[0x0112], exif[0x013B] = orientation, "painter"
    plain = load_picture(encoded(image, form, **options)).rgb
    picture = load_picture(encoded(image, form, exif=exif, **options))
    assert np.array_equal(picture.rgb, UPRIGHT[orientation](plain))
    kept = Image.Exif()
    kept.load(picture.exif)
    assert 0x0112 not in kept
    assert kept[0x013B] == "painter"
    again = load_picture(png_bytes_with_exif(picture))
    assert np.array_equal(again.rgb, picture.rgb)


def png_bytes_with_exif(picture: Picture) -> bytes:
    stream = io.BytesIO()
    save_picture(picture.image, stream, picture)
    return stream.getvalue()


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_orientations_that_do_not_exist_are_ignored(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert load_picture(encoded(sample("RGB"), "PNG", exif=exif)).size == (24, 20)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("orientation", [6, 7])
def test_every_mode_turns(mode, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = load_picture(encoded(sample(mode), "TIFF", exif=exif))
    assert picture.image.mode == mode
    assert picture.size == (20, 24)
    assert np.array_equal(picture.rgb, UPRIGHT[orientation](load_picture(sample(mode)).rgb))


def test_exif_keeps_what_it_can_and_loses_the_thumbnail():
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "maker", 1
    exif.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
    exif.get_ifd(0x8825)[1] = "N"
    block = exif.tobytes()
    picture = load_picture(encoded(sample("RGB"), "JPEG", exif=block))
    kept = Image.Exif()
    kept.load(picture.exif)
    assert kept[0x010F] == "maker"
    assert kept.get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"
    assert kept.get_ifd(0x8825)[1] == "N"
    image = sample("RGB")
    image.getexif().get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"  # only in a nested table
    kept.load(load_picture(encoded(image, "PNG", exif=image.getexif().tobytes())).exif)
    assert kept.get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"


def exif_with_thumbnail() -> bytes:
    """A hand-made EXIF block: one Make entry, then a second directory that points to a JPEG thumbnail."""
    thumbnail = encoded(sample("RGB", 16, 16), "JPEG")
    first = struct.pack("<HHHI4sI", 1, 0x010F, 2, 4, b"abc\0", 8 + 2 + 12 + 4)
    offset = 8 + 2 + 12 + 4 + 2 + 24 + 4
    second = struct.pack("<HHHIIHHIII", 2, 0x0201, 4, 1, offset, 0x0202, 4, 1, len(thumbnail), 0)
    return b"Exif\0\0II*\0\x08\0\0\0" + first + second + thumbnail


def test_the_thumbnail_of_the_unedited_picture_is_dropped():
    block = exif_with_thumbnail()
    assert b"\xff\xd8" in block
    picture = load_picture(encoded(sample("RGB"), "JPEG", exif=block))
    assert picture.exif is not None
    assert b"abc" in picture.exif
    assert b"\xff\xd8" not in picture.exif


def test_broken_exif_does_not_refuse_the_picture():
    for block in (b"Exif\0\0garbage", exif_with_thumbnail()[:20], b"Exif\0\0II*\0\xff\xff\xff\x7f"):
        assert load_picture(encoded(sample("RGB"), "JPEG", exif=block)).size == (24, 20)


def test_the_colour_profile_is_kept():
    for form in ("PNG", "JPEG", "WEBP", "TIFF"):
        assert load_picture(encoded(sample("RGB"), form, icc_profile=ICC)).icc_profile == ICC


def test_a_tiff_keeps_only_what_describes_the_picture():
    exif = Image.Exif()
    exif[0x013B] = "painter"
    kept = Image.Exif()
    kept.load(load_picture(encoded(sample("RGB"), "TIFF", exif=exif)).exif)
    assert dict(kept) == {0x013B: "painter"}
    assert load_picture(encoded(sample("RGB"), "TIFF")).exif is None


@pytest.mark.parametrize("mode", ["RGBX", "RGBa", "La", "YCbCr", "HSV", "LAB", "I"])
def test_other_modes_are_converted_sensibly(mode):
    grey = np.full((20, 24), 100, np.uint8)
    rgb = Image.fromarray(np.dstack([grey, grey, grey]))
    if mode == "LAB":
        image = Image.merge("LAB", [Image.new("L", (24, 20), v) for v in (108, 128, 128)])
    elif mode == "I":
        image = Image.fromarray(grey.astype(np.int32) * 257)
    elif mode in ("RGBa", "La"):
        image = rgb.convert({"RGBa": "RGBA", "La": "LA"}[mode]).convert(mode)
    else:
        image = rgb.convert(mode)
    assert image.mode == mode
    picture = load_picture(image)
    assert picture.image.mode in MODES
    assert np.abs(picture.rgb.astype(int) - 100).max() <= 3


def test_floats_and_wide_integers_are_refused():
    for values in (np.zeros((20, 24), np.float32), np.full((20, 24), 70000, np.int32)):
        with pytest.raises(ValueError, match="8 or 16 bits"):
            load_picture(encoded(Image.fromarray(values), "TIFF"))


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_png(width: int, height: int, bits: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + extra
        + png_chunk(b"IDAT", zlib.compress(rows))
        + png_chunk(b"IEND", b"")
    )


def test_sixteen_bit_colour_is_read_with_a_note():
    picture = load_picture(raw_png(16, 16, 16, 2, (b"\0" + b"\x80\x00" * 48) * 16))
    assert picture.image.mode == "RGB"
    assert any("16 bits" in note for note in picture.notes)
    assert not load_picture(encoded(sample("I;16"), "PNG")).notes


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_the_transparent_grey_of_any_bit_depth_is_found(bits):
    rows = (b"\0" + b"\xff" * (2 * bits)) * 16  # every pixel has the highest value
    picture = load_picture(raw_png(16, 16, bits, 0, rows, png_chunk(b"tRNS", struct.pack(">H", 2**bits - 1))))
    patch = np.zeros((16, 16, 3), np.uint8)
    result = replace_pixels(picture, Box(0, 0, 16, 16), patch, np.ones((16, 16), bool))
    assert result.tobytes() == picture.image.tobytes()  # all invisible, all kept


def test_what_a_file_loses_is_noted():
    frames = [sample("RGB", seed=i) for i in range(3)]
    for form, word in (("GIF", "frame"), ("PNG", "frame"), ("TIFF", "page"), ("WEBP", "frame")):
        picture = load_picture(encoded(frames[0], form, save_all=True, append_images=frames[1:]))
        assert any(f"first {word}" in note for note in picture.notes), form
    assert load_picture(encoded(frames[0], "PNG")).notes == ()
    multi = load_picture(encoded(frames[0], "MPO", save_all=True, append_images=frames[1:]))
    assert multi.format == "JPEG"
    assert any("first frame" in note for note in multi.notes)
    assert any("nearest of its 40" in note for note in load_picture(sample("P")).notes)


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P", "L", "RGB"])
@pytest.mark.parametrize("unseen", [True, False])
def test_of_a_picture_with_transparent_parts_it_is_noted_that_they_stay_so(mode, unseen):
    image, options = sample(mode), {}
    if mode in ("LA", "RGBA"):
        alpha = np.full((20, 24), 1, np.uint8)
        alpha[3, 5] = 0 if unseen else 1
        image.putalpha(Image.fromarray(alpha))
    elif unseen:
        options["transparency"] = image.getpixel((5, 3))
    picture = load_picture(encoded(image, "PNG", **options))
    assert any("transparent parts" in note for note in picture.notes) == unseen
    alpha = opacity(picture)
    if mode in ("LA", "RGBA") or unseen:
        assert np.array_equal(alpha, alpha_of(picture.image))
        assert (alpha[3, 5] == 0) == unseen
    else:
        assert alpha is None


@pytest.mark.parametrize("mode", MODES)
def test_opacity_is_what_the_file_says(mode):
    picture = load_picture(sample(mode))
    expected = alpha_of(picture.image)
    alpha = opacity(picture)
    assert (alpha is None) == (expected == 255).all()
    assert alpha is None or (alpha.dtype, np.array_equal(alpha, expected)) == (np.uint8, True)


@pytest.mark.parametrize("size", [(60, 44), (1300, 1100)], ids=["small", "large"])
def test_what_is_transparent_takes_the_colours_around_it_whatever_it_had(size):
    width, height = size
    rows, columns = np.mgrid[:height, :width]
    rgba = np.zeros((height, width, 4), np.uint8)
    rgba[..., :3] = np.stack([90 + 60 * rows // height, 120 + 60 * columns // width, 140 + 0 * rows], -1)
    rgba[..., 3] = 255
    hidden = (rows - height / 2) ** 2 + (columns - width / 2) ** 2 > (height / 3) ** 2
    rgba[hidden, 3] = 0
    plain = rgba[..., :3].copy()
    seen = []
    for colour in ((0, 0, 0), (255, 0, 0)):
        rgba[hidden, :3] = colour
        picture = load_picture(rgba)
        assert np.array_equal(picture.rgb[~hidden], plain[~hidden])
        assert np.array_equal(np.asarray(picture.image), rgba), "the file keeps what it had"
        seen.append(picture.rgb)
    assert np.array_equal(*seen)
    low, high = plain[~hidden].min(0).astype(int), plain[~hidden].max(0).astype(int)
    assert ((seen[0][hidden] >= low - 1) & (seen[0][hidden] <= high + 1)).all()
    rim = hidden & ((rows - height / 2) ** 2 + (columns - width / 2) ** 2 < (height / 3 + 2) ** 2)
    assert np.abs(seen[0][rim].astype(int) - plain[rim]).max() < 12


def test_a_picture_of_which_nothing_is_seen_is_loaded():
    assert np.ptp(load_picture(np.zeros((20, 24, 4), np.uint8)).rgb) == 0


def bad_sources(folder) -> dict[str, object]:
    whole = encoded(sample("RGB", 64, 64), "PNG")
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("hello")
    os.mkfifo(folder / "pipe.png")
    bomb = raw_png(60000, 60000, 8, 2, b"")
    return {
        "missing": folder / "missing.png",
        "folder": folder,
        "empty file": folder / "empty.png",
        "text": folder / "text.png",
        "pipe": folder / "pipe.png",
        "null byte": "a\0b.png",
        "long name": "x" * 5000,
        "no bytes": b"",
        "cut header": whole[:20],
        "bad checksum": whole[:60] + bytes([whole[60] ^ 255]) + whole[61:],
        "other format": encoded(sample("RGB"), "PPM"),
        "other format 2": encoded(sample("RGB"), "ICO"),
        "bomb": bomb,
        "large header": raw_png(MAX_SIDE + 1, 20, 8, 2, b""),
        "large jpeg": encoded(Image.new("L", (20, MAX_SIDE + 1)), "JPEG"),
        "small": encoded(Image.new("L", (MIN_SIDE - 1, 20)), "PNG"),
        "small array": np.zeros((20, 15, 3), np.uint8),
        "large array": np.zeros((MAX_SIDE + 1, 16), np.uint8),
        "float array": np.zeros((20, 20, 3), np.float32),
        "flat array": np.zeros(400, np.uint8),
        "two channels": np.zeros((20, 20, 2), np.uint8),
        "text stream": io.StringIO("hello"),
        "closed stream": closed_stream(),
        "number": 3,
        "nothing": None,
    }


def test_huge_headers_make_no_noise():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(ValueError, match="expected sides"):
            load_picture(raw_png(12000, 9000, 8, 2, b""))  # large enough for Pillow to warn
    assert not caught


def closed_stream() -> io.BytesIO:
    stream = io.BytesIO(b"x")
    stream.close()
    return stream


def test_bad_sources_are_refused_in_one_line(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, source in bad_sources(tmp_path).items():
            with pytest.raises(ValueError, match="expected") as refusal:
                load_picture(source)
            message = str(refusal.value)
            assert "got" in message, name
            assert "\n" not in message, name


@pytest.mark.parametrize(
    "data", [b"", b"hello", encoded(Image.new("RGB", (4, 4)), "PNG"), encoded(sample("RGB"), "PNG")[:300]]
)
def test_messages_name_what_has_no_name_itself(data):
    """Of bytes and streams: an empty file, none, one too small, half of one."""
    for source in (data, io.BytesIO(data)):
        with pytest.raises(ValueError, match=r"got 'my face\.png'"):
            load_picture(source, "my face.png")
        with pytest.raises(ValueError, match=r"^((?!my face).)*$"):
            load_picture(io.BytesIO(data))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF"])
def test_truncated_files_are_refused(form):
    data = encoded(sample("RGB", 64, 64), form)
    for share in (0.1, 0.3, 0.6, 0.9):
        with pytest.raises(ValueError, match="expected"):
            load_picture(data[: int(len(data) * share)])


def test_large_pictures_are_refused_before_decoding(monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    for width, height in ((MAX_SIDE + 1, 16), (60000, 60000), (15, 15)):
        with pytest.raises(ValueError, match="expected sides"):
            load_picture(raw_png(width, height, 8, 2, b""))


WHOLE = {
    form: encoded(sample("RGB", 32, 32), form, **({"lossless": True} if form == "WEBP" else {}))
    for form in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")
}


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.sampled_from(sorted(WHOLE)), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6)
)
def test_damaged_files_give_a_picture_or_a_value_error(form, changes):
    data = bytearray(WHOLE[form])
    for position, value in changes:
        data[position % len(data)] = value
    with contextlib.suppress(ValueError):
        picture = load_picture(bytes(data))
        assert picture.rgb.shape == (*picture.size[::-1], 3)


# -- editing -------------------------------------------------------------------------------------------------


@st.composite
def edits(draw):
    """A picture of any mode, with or without transparency, a box in it, a patch and a hole."""
    mode = draw(st.sampled_from(MODES))
    image = sample(mode, draw(st.integers(16, 40)), draw(st.integers(16, 40)), draw(st.integers(0, 99)))
    if draw(st.booleans()) and mode in ("1", "L", "P", "RGB", "I;16"):
        corner = image.getpixel((0, 0))
        image.info["transparency"] = tuple(corner) if mode == "RGB" else int(corner)
        if mode == "P" and draw(st.booleans()):
            image.info["transparency"] = bytes([0, 255, 90] * 13)
    width, height = image.size
    left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    box = Box(left, top, draw(st.integers(left + 1, width)), draw(st.integers(top + 1, height)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    patch = rng.integers(0, 256, (box.height, box.width, 3), np.uint8)
    hole = rng.random((box.height, box.width)) < draw(st.sampled_from([0, 0.2, 1]))
    if draw(st.booleans()):
        patch[:] = image.convert("RGBA").getpixel((0, 0))[:3] if mode != "I;16" else patch
    return load_picture(image), box, patch, hole


@settings(max_examples=120, deadline=None)
@given(edits())
def test_outside_the_hole_every_byte_stays(edit):
    picture, box, patch, hole = edit
    before = picture.image.tobytes()
    result = replace_pixels(picture, box, patch, hole)
    assert picture.image.tobytes() == before  # the picture itself is not touched
    assert result.mode == picture.image.mode
    assert result.size == picture.size
    assert result.getpalette() == picture.image.getpalette()
    assert result.info.get("transparency") == picture.image.info.get("transparency")
    outside = np.ones(picture.size[::-1], bool)
    outside[box.slices] = ~hole
    assert np.array_equal(stored(result)[outside], stored(picture.image)[outside])


@settings(max_examples=120, deadline=None)
@given(edits())
def test_transparency_never_changes(edit):
    picture, box, patch, hole = edit
    result = replace_pixels(picture, box, patch, hole)
    if picture.image.mode == "1" and "transparency" in picture.image.info:
        return  # one of only two colours is invisible: nothing to choose from
    before, after = alpha_of(picture.image), alpha_of(result)
    if picture.image.mode == "P":  # half-transparent entries may become solid, never the reverse
        assert np.array_equal(before == 0, after == 0)
        assert (after >= before).all()
    else:
        assert np.array_equal(before, after)


def alpha_of(image: Image.Image) -> np.ndarray:
    if image.mode == "I;16":
        return np.where(stored(image) == image.info.get("transparency", -1), 0, 255)
    return colours(image)[..., 3]


@settings(max_examples=100, deadline=None)
@given(edits())
def test_inside_the_hole_the_patch_shows(edit):
    picture, box, patch, hole = edit
    visible = hole & (alpha_of(picture.image)[box.slices] > 0) | hole & ("A" in picture.image.mode)
    shown = load_picture(replace_pixels(picture, box, patch, hole)).rgb[box.slices].astype(int)
    mode, near = picture.image.mode, 1 if "transparency" in picture.image.info else 0
    if mode in ("RGB", "RGBA", "CMYK"):
        assert np.abs(shown - patch)[visible].max(initial=0) <= near
    elif mode in ("L", "LA", "I;16"):
        luma = np.asarray(Image.fromarray(patch).convert("L")).astype(int)
        assert np.abs(shown - luma[..., None])[visible].max(initial=0) <= near


@settings(max_examples=120, deadline=None)
@given(edits())
def test_own_colours_are_those_of_the_finished_picture(edit):
    picture, box, patch, hole = edit
    finished = replace_pixels(picture, box, patch, hole)
    shown = in_own_colours(picture, box, patch, hole)
    seen = hole & (alpha_of(finished)[box.slices] > 0)
    assert np.array_equal(shown[seen], load_picture(finished).rgb[box.slices][seen])
    assert np.array_equal(shown[~hole], picture.rgb[box.slices][~hole])
    again = replace_pixels(picture, box, shown, hole)
    assert np.array_equal(stored(again), stored(finished)) or picture.image.mode in ("P", "PA")
    assert np.array_equal(load_picture(again).rgb, load_picture(finished).rgb)


def test_a_palette_picture_takes_the_nearest_colour():
    picture = load_picture(sample("P"))
    patch = np.random.default_rng(1).integers(0, 256, (20, 24, 3), np.uint8)
    shown = load_picture(replace_pixels(picture, Box(0, 0, 24, 20), patch, np.ones((20, 24), bool))).rgb
    table = np.array(picture.image.getpalette()).reshape(-1, 3)
    distance = ((patch[:, :, None].astype(int) - table) ** 2).sum(-1)
    assert np.array_equal(((shown.astype(int) - patch) ** 2).sum(-1), distance.min(-1))


@pytest.mark.parametrize("value", [0, 7, 255])
@pytest.mark.parametrize("mode", ["L", "I;16", "RGB"])
def test_new_pixels_avoid_the_transparent_colour(mode, value):
    image = sample(mode)
    key = {"L": value, "I;16": value * 257, "RGB": (value, value, value)}[mode]
    image.info["transparency"] = key
    picture = load_picture(image)
    patch = np.full((20, 24, 3), value, np.uint8)
    result = replace_pixels(picture, Box(0, 0, 24, 20), patch, np.ones((20, 24), bool))
    values = stored(result).reshape(20 * 24, -1)
    assert not (values == key).all(axis=1)[~(stored(image).reshape(20 * 24, -1) == key).all(axis=1)].any()
    assert np.abs(load_picture(result).rgb.astype(int) - patch).max() <= 1


@pytest.mark.parametrize("mode", ["1", "I;16"])
def test_grey_values_map_exactly(mode):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    picture = load_picture(sample(mode, 16, 16))
    patch = np.dstack([levels] * 3)
    result = stored(replace_pixels(picture, Box(0, 0, 16, 16), patch, np.ones((16, 16), bool)))
    assert np.array_equal(result, levels >= 128 if mode == "1" else levels.astype(np.uint16) * 257)


def test_painting_what_is_there_changes_nothing():
    for mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
        picture = load_picture(sample(mode))
        result = replace_pixels(picture, Box(0, 0, 24, 20), picture.rgb, np.ones((20, 24), bool))
        assert np.array_equal(load_picture(result).rgb, picture.rgb), mode


def test_patches_that_do_not_fit_are_refused():
    picture = load_picture(sample("RGB"))
    patch, hole = np.zeros((4, 4, 3), np.uint8), np.ones((4, 4), bool)
    for box in (Box(-1, 0, 3, 4), Box(22, 0, 26, 4), Box(0, 18, 4, 22), Box(4, 4, 4, 8), Box(0, 0, 5, 4)):
        with pytest.raises(ValueError, match="expected"):
            replace_pixels(picture, box, patch, hole)
        with pytest.raises(ValueError, match="expected"):
            in_own_colours(picture, box, patch, hole)
    for wrong in ((patch.astype(float), hole), (patch, hole.astype(np.uint8)), (patch[:, :, :2], hole)):
        with pytest.raises(ValueError, match="expected"):
            replace_pixels(picture, Box(0, 0, 4, 4), *wrong)


# -- saving --------------------------------------------------------------------------------------------------

EXTENSIONS = (".png", ".jpg", ".webp", ".tif", ".bmp", ".gif")


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize(
    ("mode", "transparent"),
    [(mode, False) for mode in MODES] + [(mode, True) for mode in ("L", "P", "RGB", "I;16")],
)
def test_a_saved_picture_comes_back_or_is_refused_with_another_format(extension, mode, transparent, tmp_path):
    image = sample(mode)
    if transparent:
        corner = image.getpixel((0, 0))
        image.info["transparency"] = tuple(corner) if mode == "RGB" else int(corner)
    picture = load_picture(image)
    path = tmp_path / f"saved{extension}"
    try:
        notes = save_picture(picture.image, path, picture)
    except ValueError as error:
        suggested = str(error).split("use ")[1]
        save_picture(picture.image, tmp_path / f"saved{suggested}", picture)
        assert os.listdir(tmp_path) == [f"saved{suggested}"]
        return
    again = load_picture(path)
    if extension == ".jpg":
        assert any("lossy" in note for note in notes)
        assert again.image.mode == mode
    else:
        assert notes == []
        assert np.array_equal(again.rgb, picture.rgb)
        assert np.array_equal(alpha_of(again.image), alpha_of(picture.image))
    if extension in (".png", ".tif", ".webp"):
        assert again.image.mode == mode
        assert stored(again.image).tobytes() == stored(picture.image).tobytes()


@pytest.mark.parametrize("extension", [".png", ".jpg", ".webp", ".tif"])
def test_profile_exif_and_resolution_are_saved(extension, tmp_path):
    exif = Image.Exif()
    exif[0x013B] = "painter"
    picture = load_picture(encoded(sample("RGB"), "JPEG", icc_profile=ICC, exif=exif, dpi=(300, 300)))
    save_picture(picture.image, tmp_path / f"a{extension}", picture)
    again = load_picture(tmp_path / f"a{extension}")
    kept = Image.Exif()
    kept.load(again.exif)
    assert again.icc_profile == ICC
    assert dict(kept) == {0x013B: "painter"}
    if extension != ".webp":
        assert [round(value) for value in again.image.info["dpi"]] == [300, 300]


def test_losses_of_profile_exif_and_settings_are_noted(tmp_path):
    picture = load_picture(encoded(sample("RGB"), "PNG", icc_profile=ICC))
    notes = save_picture(picture.image, tmp_path / "a.bmp", picture, {"seed": 1})
    assert len(notes) == 2
    assert "profile" in notes[0]
    assert "settings" in notes[1]


def test_an_exif_block_too_long_for_jpeg_is_left_out_with_a_note(tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "x" * 70000
    picture = load_picture(encoded(sample("RGB"), "PNG", exif=exif))
    notes = save_picture(picture.image, tmp_path / "a.jpg", picture)
    assert any("EXIF" in note for note in notes)
    assert load_picture(tmp_path / "a.jpg").exif is None


def test_settings_travel_in_the_png(tmp_path):
    picture = load_picture(sample("RGB"))
    options = {"seed": 7, "model": "größer", "path": tmp_path}
    save_picture(picture.image, tmp_path / "a.png", picture, options)
    for source in (tmp_path / "a.png", io.BytesIO(png_bytes(picture.image, options))):
        with Image.open(source) as image:
            assert json.loads(image.text["sundae"]) == {**options, "path": str(tmp_path)}
        assert mark_of(source) == EDITED
    assert read_settings((tmp_path / "a.png").read_bytes()) == {**options, "path": str(tmp_path)}


@pytest.mark.parametrize(
    ("settings", "term"),
    [
        ({"seed": 1}, EDITED),
        ({"seed": 1, "from_nothing": True}, DRAWN),
        ({"seed": 1, "earlier": [{"from_nothing": True}, {"seed": 2}]}, DRAWN),
        ({"seed": 1, "earlier": [{"seed": 2}]}, EDITED),
        ({"reconstruction": True}, EDITED),
        ({"strip": [4, 0]}, EDITED),
        ({"bits": {"low": 0, "high": 1}}, "dataDrivenMedia"),
    ],
)
def test_the_mark_says_what_a_model_made(settings, term, tmp_path):
    """And an edit of what was drawn altogether, saved and opened again, is no less drawn."""
    picture = load_picture(sample("RGB"))
    save_picture(picture.image, tmp_path / "a.png", picture, settings)
    assert mark_of(tmp_path / "a.png") == term
    again = load_picture(tmp_path / "a.png")
    assert again.generated == (term == DRAWN)
    assert not again.notes  # the mark is made anew, so nothing is lost
    save_picture(again.image, tmp_path / "b.png", again, {"seed": 3})
    assert mark_of(tmp_path / "b.png") == (DRAWN if term == DRAWN else EDITED)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_the_mark_of_other_programs_counts_where_it_is_of_the_whole_picture(form):
    def marked(*terms):
        text = "".join(f"<a b='{VOCABULARY}{term}'/>" for term in terms).encode()
        stream, chunk = io.BytesIO(), PngImagePlugin.PngInfo()
        chunk.add_itxt("XML:com.adobe.xmp", text.decode())
        options = {"pnginfo": chunk} if form == "PNG" else {"xmp": text}
        sample("RGB").save(stream, form, **options)
        picture = load_picture(stream.getvalue())
        assert any("XMP metadata is not kept" in note for note in picture.notes) == bool(text)
        return picture.generated

    assert marked(DRAWN)
    assert not marked()
    assert not marked(EDITED)
    assert not marked("digitalCapture", DRAWN)  # of one of its parts


def test_settings_are_read_from_pngs_alone():
    image = sample("RGB")
    chunk = PngImagePlugin.PngInfo()
    chunk.add_text("sundae", "[1, 2")
    broken = encoded(image, "PNG", pnginfo=chunk)
    for source in (b"", b"no picture", encoded(image, "JPEG"), encoded(image, "PNG"), broken):
        assert read_settings(source) is None


def test_saving_refuses_what_it_should(tmp_path):
    picture = load_picture(sample("RGB"))
    existing = tmp_path / "a.png"
    existing.write_bytes(b"mine")
    dangling = tmp_path / "link.png"
    dangling.symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "folder.png").mkdir()
    for path in ("a.png", "link.png", "folder.png", "no/such/folder/a.png", "a.xyz", "a", ".png"):
        with pytest.raises(ValueError, match="expected"):
            save_picture(picture.image, tmp_path / path, picture)
    with pytest.raises(ValueError, match="folder"):
        save_picture(picture.image, tmp_path / "folder.png", picture, overwrite=True)
    assert existing.read_bytes() == b"mine"
    save_picture(picture.image, existing, picture, overwrite=True)
    assert np.array_equal(load_picture(existing).rgb, picture.rgb)
    assert sorted(os.listdir(tmp_path)) == ["a.png", "folder.png", "link.png"]


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    picture = load_picture(sample("RGB"))
    (tmp_path / "a.png").write_bytes(b"mine")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(ValueError, match="No space"):
        save_picture(picture.image, tmp_path / "a.png", picture, overwrite=True)
    assert os.listdir(tmp_path) == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == b"mine"


def test_overwriting_writes_through_a_link(tmp_path):
    picture = load_picture(sample("RGB"))
    (tmp_path / "real.png").write_bytes(b"old")
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    save_picture(picture.image, tmp_path / "link.png", picture, overwrite=True)
    assert (tmp_path / "link.png").is_symlink()
    assert np.array_equal(load_picture(tmp_path / "real.png").rgb, picture.rgb)


def test_streams_get_a_png(tmp_path):
    picture = load_picture(sample("RGBA"))
    stream = io.BytesIO()
    save_picture(picture.image, stream, picture)
    assert load_picture(stream.getvalue()).format == "PNG"
    with (tmp_path / "a.tif").open("wb") as file:
        save_picture(picture.image, file, picture)
    assert load_picture(tmp_path / "a.tif").format == "TIFF"


# -- arrays and tensors --------------------------------------------------------------------------------------


def test_tensors_round_trip_exactly():
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    rgb = np.dstack([values, values.T, values[::-1]])
    tensor = to_tensor(rgb)
    assert tensor.shape == (1, 3, 16, 16)
    assert tensor.dtype == torch.float32
    assert tensor.is_contiguous()
    assert tensor.min() == -1
    assert tensor.max() == 1
    assert np.array_equal(to_rgb(tensor)[0], rgb)
    assert to_rgb(torch.full((2, 3, 4, 5), 9.0)).min() == 255
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        to_tensor(load_picture(rgb).rgb)  # read-only input


def test_resizing_is_antialiased():
    fine = np.zeros((64, 64, 3), np.uint8)
    fine[::2] = 255
    assert np.abs(resize_rgb(fine, (16, 8)).astype(int) - 127).max() <= 12
    assert resize_rgb(fine, (30, 20)).shape == (20, 30, 3)
    same = resize_rgb(fine, (64, 64))
    assert np.array_equal(same, fine)
    assert same is not fine


def test_previews_are_jpegs():
    data = jpeg_bytes(np.zeros((20, 30, 3), np.uint8))
    assert data[:2] == b"\xff\xd8"
    assert Image.open(io.BytesIO(data)).size == (30, 20)


# -- the working window --------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_the_window_contains_the_hole_and_fits_picture_and_grid(data):
    width, height = data.draw(st.integers(16, 700)), data.draw(st.integers(16, 700))
    f = data.draw(st.sampled_from([8, 16, 32]))
    resolution = f * data.draw(st.integers(4, 16))
    mask = np.zeros((height, width), bool)
    for _ in range(data.draw(st.integers(1, 3))):
        x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
        mask[y : y + data.draw(st.integers(1, height)), x : x + data.draw(st.integers(1, width))] = True
    window = working_window((width, height), mask, resolution, f)
    box, hole = window.box, hole_box(mask)
    assert mask[box.slices].sum() == mask.sum()
    assert 0 <= box.left < box.right <= width
    assert 0 <= box.top < box.bottom <= height
    assert window.width % f == 0
    assert window.height % f == 0
    assert 4 * f <= min(window.width, window.height)
    assert max(window.width, window.height) <= 2 * resolution
    shorter, needed = min(width, height), max(hole.width, hole.height)
    if needed <= shorter:
        assert box.width == box.height
        assert window.width == window.height == resolution
        assert box.width >= min(2 * needed, shorter)
    elif max(box.width, box.height) <= 4 * shorter and min(window.width, window.height) > 4 * f:
        stretch = (window.width / box.width) / (window.height / box.height)
        cells = min(window.width, window.height) / f
        assert window.width == window.height or abs(np.log(stretch)) <= np.log(1 + 1.1 / cells)


@pytest.mark.parametrize(
    ("size", "hole", "window"),
    [
        # about the model's size: whole, however small the hole
        ((1024, 1024), (10, 10, 20, 20), Window(Box(0, 0, 1024, 1024), 1024, 1024)),
        ((800, 800), (10, 10, 20, 20), Window(Box(0, 0, 800, 800), 1024, 1024)),
        ((1000, 1080), (0, 1070, 9, 1080), Window(Box(0, 80, 1000, 1080), 1024, 1024)),
        ((1000, 1080), (0, 0, 9, 1080), Window(Box(0, 0, 1000, 1080), 1024, 1024)),
        # large: a square twice the hole around it, moved inside
        ((4000, 3000), (2000, 1500, 2400, 1700), Window(Box(1800, 1200, 2600, 2000), 1024, 1024)),
        ((4000, 3000), (3900, 2900, 4000, 3000), Window(Box(3488, 2488, 4000, 3000), 1024, 1024)),
        ((4000, 3000), (0, 0, 400, 400), Window(Box(0, 0, 800, 800), 1024, 1024)),
        ((4000, 3000), (100, 100, 110, 110), Window(Box(0, 0, 512, 512), 1024, 1024)),
        # small: enlarged
        ((100, 60), (90, 50, 100, 60), Window(Box(40, 0, 100, 60), 1024, 1024)),
        # a hole along a panorama: as much of it as the grid can hold in proportion
        ((4000, 500), (1000, 200, 2000, 300), Window(Box(500, 0, 2500, 500), 2048, 512)),
        ((500, 4000), (200, 1000, 300, 2000), Window(Box(0, 500, 500, 2500), 512, 2048)),
        ((4000, 500), (0, 0, 4000, 500), Window(Box(0, 0, 4000, 500), 2048, 256)),
        ((8192, 16), (0, 0, 8192, 16), Window(Box(0, 0, 8192, 16), 2048, 128)),
    ],
)
def test_windows_by_example(size, hole, window):
    mask = np.zeros(size[::-1], bool)
    mask[Box(*hole).slices] = True
    assert working_window(size, mask, 1024, 32) == window


def test_window_arguments_are_checked():
    mask = np.ones((20, 30), bool)
    for arguments in (
        ((20, 30), mask, 64, 16),
        ((30, 20), mask.astype(np.uint8), 64, 16),
        ((30, 20), ~mask, 64, 16),
        ((30, 20), mask, 65, 16),
        ((30, 20), mask, 0, 16),
    ):
        with pytest.raises(ValueError, match="expected"):
            working_window(*arguments)


if __name__ == "__main__":
    sys.exit(pytest.main([__file__, "-q"]))
