"""sundae.masks: what is read as a hole, how it grows and softens, which tokens it covers, what fills it."""

import contextlib
import io
import math
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from tiny import tiny_model

from sundae import Inpainter, masks
from sundae.image import to_tensor
from sundae.masks import (
    MAX_POSTED_BYTES,
    feather,
    grow,
    load_mask,
    load_posted_mask,
    mask_png,
    prefill,
    shrink,
    token_mask,
)

SIZE = (30, 20)


def blob() -> np.ndarray:
    mask = np.zeros(SIZE[::-1], bool)
    mask[4:11, 7:19] = True
    return mask


def encoded(image: Image.Image, form: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


# -- loading -------------------------------------------------------------------------------------------------


def grey(mask: np.ndarray) -> Image.Image:
    return Image.fromarray(mask.astype(np.uint8) * 255)


def on_clear(mask: np.ndarray, paint: tuple[int, int, int], alpha: int = 255) -> Image.Image:
    rgba = np.zeros((*mask.shape, 4), np.uint8)
    rgba[mask] = (*paint, alpha)
    return Image.fromarray(rgba)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_white_is_repainted_in_every_mode(mode):
    image = grey(blob()).convert("RGB").convert(mode)
    assert image.mode == mode
    assert np.array_equal(load_mask(image, SIZE), blob())
    assert np.array_equal(load_mask(encoded(image, "TIFF"), SIZE), blob())


def test_sixteen_bits_and_the_threshold():
    assert np.array_equal(load_mask(Image.fromarray(blob().astype(np.uint16) * 32768), SIZE), blob())
    values = np.full(SIZE[::-1], 127, np.uint8)
    values[blob()] = 128
    assert np.array_equal(load_mask(values, SIZE), blob())
    assert np.array_equal(load_mask(np.dstack([values] * 3), SIZE), blob())


@pytest.mark.parametrize("paint", [(0, 0, 0), (255, 0, 0), (255, 255, 255), (12, 200, 90)])
@pytest.mark.parametrize("alpha", [1, 127, 255])
def test_a_painted_layer_is_its_strokes_whatever_their_colour(paint, alpha):
    assert np.array_equal(load_mask(on_clear(blob(), paint, alpha), SIZE), blob())


def test_faint_edges_of_a_stroke_may_lose_their_colour():
    image = on_clear(blob(), (255, 0, 0))
    image.putpixel((6, 5), (0, 255, 0, 3))
    expected = blob()
    expected[5, 6] = True
    assert np.array_equal(load_mask(image, SIZE), expected)


def test_a_black_and_white_drawing_with_transparency_goes_by_its_white():
    image = on_clear(np.ones(SIZE[::-1], bool), (0, 0, 0))
    image.paste((255, 255, 255, 255), (7, 4, 19, 11))
    image.putpixel((0, 0), (255, 255, 255, 0))
    assert np.array_equal(load_mask(image, SIZE), blob())


def test_opaque_black_rgba_is_empty():
    with pytest.raises(ValueError, match="empty"):
        load_mask(Image.new("RGBA", SIZE, (0, 0, 0, 255)), SIZE)


def test_every_kind_of_source(tmp_path):
    data = mask_png(blob())
    path = tmp_path / "mask.png"
    path.write_bytes(data)
    for source in (path, str(path), data, bytearray(data), io.BytesIO(data), Image.open(path), blob()):
        mask = load_mask(source, SIZE)
        assert mask.dtype == np.bool_
        assert np.array_equal(mask, blob())
    assert np.array_equal(load_posted_mask(data, SIZE), blob())
    given_mask = blob()
    assert load_mask(given_mask, SIZE) is not given_mask


def test_a_full_mask_is_allowed():
    assert load_mask(np.ones(SIZE[::-1], bool), SIZE).all()


def test_a_turned_mask_file_is_turned_back():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = grey(np.rot90(blob()).copy())
    assert np.array_equal(load_mask(encoded(image, exif=exif), SIZE), blob())


def huge_png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (np.ones((20, 31), bool), "30x20.*31x20"),
        (encoded(Image.new("L", (20, 30), 255)), "30x20.*20x30"),
        (np.zeros((20, 30), bool), "empty"),
        (encoded(Image.new("L", SIZE, 127)), "empty"),
        (np.ones((20, 30), np.uint8), "multiply by 255"),
        (np.ones((20, 30), np.float32), "float32"),
        (np.ones((20, 30, 2), np.uint8), "uint8"),
        (Image.new("F", SIZE, 1.0), "mode F"),
        (b"", "expected"),
        (b"hello", "expected"),
        (encoded(Image.new("L", SIZE, 255))[:-30], "expected"),
        (huge_png(60000, 60000), "expected"),
        (huge_png(5000, 5000), "30x20.*5000x5000"),
        ("/no/such/mask.png", "does not exist"),
        ("/", "no file"),
        ("a\0b", "expected"),
        ("x" * 5000, "too long"),
        (None, "NoneType"),
        (io.StringIO("hello"), "str"),
    ],
)
def test_bad_masks_are_refused_in_one_line(source, words):
    with pytest.raises(ValueError, match=words) as refusal:
        load_mask(source, SIZE)
    assert "\n" not in str(refusal.value)
    assert "expected" in str(refusal.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        encoded(grey(blob()), "TIFF"),
        encoded(grey(blob()), "BMP"),
        huge_png(5000, 5000),
        mask_png(blob())[:-20],
        mask_png(np.zeros((20, 30), bool)),
        mask_png(blob()) + bytes(MAX_POSTED_BYTES),
        "text",
        None,
    ],
)
def test_posted_masks_are_checked(data):
    with pytest.raises(ValueError, match="expected"):
        load_posted_mask(data, SIZE)


def test_masks_of_another_size_are_refused_before_decoding(monkeypatch):
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    for data in (huge_png(5000, 5000), mask_png(np.ones((21, 30), bool))):
        with pytest.raises(ValueError, match="expected"):
            load_posted_mask(data, SIZE)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=6))
def test_damaged_posted_masks_give_a_mask_or_a_value_error(changes):
    data = bytearray(mask_png(blob()))
    for position, value in changes:
        data[position % len(data)] = value
    with contextlib.suppress(ValueError):
        assert load_posted_mask(bytes(data), SIZE).shape == SIZE[::-1]


# -- growing, shrinking, softening ---------------------------------------------------------------------------


@st.composite
def pixel_masks(draw, largest=24):
    height, width = draw(st.integers(1, largest)), draw(st.integers(1, largest))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.random((height, width)) < draw(st.sampled_from([0, 0.02, 0.1, 0.5, 0.95, 1]))


def distance_to(mask: np.ndarray) -> np.ndarray:
    """Distance to the nearest True pixel, the slow way; infinite without any."""
    y, x = np.indices(mask.shape)
    points = np.argwhere(mask)
    if not len(points):
        return np.full(mask.shape, np.inf)
    return np.sqrt(((y[..., None] - points[:, 0]) ** 2 + (x[..., None] - points[:, 1]) ** 2).min(-1))


@settings(max_examples=150, deadline=None)
@given(pixel_masks(), st.integers(0, 30))
def test_grow_and_shrink_are_exact_discs(mask, px):
    before = mask.copy()
    assert np.array_equal(grow(mask, px), distance_to(mask) <= px)
    assert np.array_equal(shrink(mask, px), distance_to(~mask) > px)
    assert np.array_equal(mask, before)


def test_a_large_radius_is_exact_too():
    mask = np.zeros((3, 900), bool)
    mask[0, 0] = True
    for px in (180, 181, 182, 300, 512):
        assert np.array_equal(grow(mask, px), distance_to(mask) <= px)


@settings(max_examples=150, deadline=None)
@given(pixel_masks(), st.integers(0, 30))
def test_feather_is_a_ramp_inside_the_mask(mask, px):
    alpha = feather(mask, px)
    assert alpha.dtype == np.float32
    assert alpha.shape == mask.shape
    assert np.array_equal(alpha > 0, mask)
    assert np.allclose(alpha, np.minimum(distance_to(~mask) / (px + 1), 1), atol=1e-6)
    if px == 0:
        assert np.array_equal(alpha, mask)


@pytest.mark.parametrize("px", [-1, 513, 1.5, "3", None, True])
def test_bad_radii_are_refused(px):
    for function in (grow, shrink, feather):
        with pytest.raises(ValueError, match="expected a whole number"):
            function(blob(), px)


def test_bad_masks_are_refused_everywhere():
    for function in (lambda m: grow(m, 1), lambda m: shrink(m, 1), lambda m: feather(m, 1), mask_png):
        for wrong in (blob().astype(np.uint8), blob()[None]):
            with pytest.raises(ValueError, match="bool mask"):
                function(wrong)


@settings(max_examples=50, deadline=None)
@given(pixel_masks())
def test_a_mask_survives_its_png(mask):
    if mask.any():
        assert np.array_equal(load_mask(mask_png(mask), mask.shape[::-1]), mask)


# -- tokens --------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_token_follows_the_rule(data):
    batch, h, w = (data.draw(st.integers(1, 4)) for _ in range(3))
    f = data.draw(st.sampled_from([1, 2, 8]))
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    mask = rng.random((batch, 1, h * f, w * f)) < data.draw(st.sampled_from([0, 0.03, 0.9, 1]))
    cells = mask.reshape(batch, h, f, w, f)
    tensor = torch.from_numpy(mask)
    any_rule, all_rule = token_mask(tensor, f), token_mask(tensor, f, rule="all")
    assert any_rule.dtype == torch.bool
    assert any_rule.shape == (batch, h, w)
    assert np.array_equal(any_rule.numpy(), cells.any(axis=(2, 4)))
    assert np.array_equal(all_rule.numpy(), cells.all(axis=(2, 4)))


def test_token_mask_arguments_are_checked():
    good = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    for mask, f, rule in (
        (good.float(), 8, "any"),
        (good[0], 8, "any"),
        (good.expand(1, 3, 16, 16), 8, "any"),
        (good, 5, "any"),
        (good, 0, "any"),
        (good, 8, "most"),
    ):
        with pytest.raises(ValueError, match="expected"):
            token_mask(mask, f, rule)


HOLE = np.s_[8:24, 8:24]


def drawn_as(
    rgb: np.ndarray, monkeypatch, error: np.ndarray | float = 0.0, feather: int = 5, most: float = math.inf
) -> np.ndarray:
    """What becomes of a hole with a soft edge in 32 px, for a decoder that gives them back, but for an error of its own."""
    model, hole, whole = tiny_model(), np.zeros((32, 32), bool), to_tensor(rgb) + torch.as_tensor(error)
    hole[HOLE] = True
    prepared = Inpainter(model).prepare(rgb, hole, feather=feather)

    def decode_window(_, tokens, top, left, bottom, right):
        return whole[..., top * 8 : bottom * 8, left * 8 : right * 8]

    monkeypatch.setattr(type(model.tokenizer), "decode_window", decode_window)
    monkeypatch.setattr(model.tokenizer, "most_correction", most)
    return prepared.composite(torch.zeros(1, 4, 4, 2, dtype=torch.int64))[0]


def hair_beside_skin() -> np.ndarray:
    """Dark beside light, uint8 (32, 32, 3): the border goes through the hole."""
    rgb = np.full((32, 32, 3), 200, np.uint8)
    rgb[16:] = 20
    return rgb


def test_a_soft_edge_shows_what_was_drawn_and_no_ring_of_the_filled_hole(monkeypatch):
    rgb = hair_beside_skin()
    assert np.abs(drawn_as(rgb, monkeypatch).astype(int) - rgb[HOLE]).max() <= 1


def test_a_soft_edge_meets_the_known_pixels_better_than_a_hard_one(monkeypatch):
    """Where the decoder's error changes along the edge, the correction of colours averages it away."""
    grey, waves = np.full((32, 32, 3), 120, np.uint8), np.repeat(np.float32([0.2, -0.2]), 8)
    hard, soft = (drawn_as(grey, monkeypatch, np.tile(waves, 2), px).astype(int)[[0, -1]] for px in (0, 5))
    assert np.abs(soft - 120).mean() < 0.9 * np.abs(hard - 120).mean()


@pytest.mark.parametrize("most", [0.2, math.inf])
def test_hair_drawn_beside_skin_is_no_error_to_be_carried_into_the_hole(monkeypatch, most):
    """Dark cells at the left edge of light skin, outside the hole by half: what was drawn in the hole stays as it was, if
    the model's tokenizer has a limit."""
    skin, hair = np.full((32, 32, 3), 200, np.uint8), np.zeros((32, 32), np.float32)
    hair[:, :12] = -1.4
    right = drawn_as(skin, monkeypatch, hair, most=most)[:, 10:]
    assert (np.abs(right.astype(int) - 200).max() < 0.2 * 127.5) == (most == 0.2)


# -- prefill -------------------------------------------------------------------------------------------------


@st.composite
def holes(draw):
    """A batch of images in [-1, 1] and holes of several kinds, on any size."""
    batch, height, width = draw(st.integers(1, 3)), draw(st.integers(1, 40)), draw(st.integers(1, 40))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    image = torch.rand(batch, 3, height, width, generator=generator) * 2 - 1
    share = draw(st.sampled_from([0, 0.1, 0.7, 1]))
    mask = torch.rand(batch, 1, height, width, generator=generator) < share
    mask[..., height // 4 : draw(st.integers(0, height)), width // 3 :] = True
    return image, mask


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.view(torch.int32)


@settings(max_examples=100, deadline=None)
@given(holes(), st.sampled_from([float("nan"), float("inf"), -1.0, 1e30]))
def test_what_lies_under_the_mask_is_not_looked_at(hole, hidden):
    image, mask = hole
    filled = prefill(image, mask)
    assert torch.equal(bits(prefill(torch.where(mask, hidden, image), mask)), bits(filled))
    assert torch.isfinite(filled).all()
    assert filled.dtype == torch.float32


@settings(max_examples=100, deadline=None)
@given(holes())
def test_known_pixels_keep_their_bits(hole):
    image, mask = hole
    image[..., 0, 0] = -0.0
    before = image.clone()
    filled = prefill(image, mask)
    known = ~mask.expand_as(image)
    assert torch.equal(bits(filled)[known], bits(image)[known])
    assert torch.equal(bits(image), bits(before))
    filled += 1  # the result is the caller's own, even without a hole
    assert torch.equal(bits(image), bits(before))


@settings(max_examples=60, deadline=None)
@given(holes())
def test_each_item_of_a_batch_is_filled_as_if_alone(hole):
    image, mask = hole
    together = prefill(image, mask)
    for i in range(len(image)):
        assert torch.equal(bits(prefill(image[i : i + 1], mask[i : i + 1])), bits(together[i : i + 1]))


def test_threads_and_memory_layout_do_not_matter():
    image = torch.rand(1, 3, 250, 257, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mask = torch.zeros(1, 1, 250, 257, dtype=torch.bool)
    mask[..., 30:200, 40:240] = True
    threads = torch.get_num_threads()
    filled = prefill(image, mask)
    try:
        torch.set_num_threads(2 if threads == 1 else 1)
        assert torch.equal(bits(prefill(image, mask)), bits(filled))
        assert torch.equal(bits(prefill(image.to(memory_format=torch.channels_last), mask)), bits(filled))
    finally:
        torch.set_num_threads(threads)


@settings(max_examples=60, deadline=None)
@given(holes())
def test_the_fill_stays_between_the_known_colours(hole):
    image, mask = hole
    filled = prefill(image, mask)
    for i in range(len(image)):
        known = ~mask[i, 0]
        if not known.any():
            assert (filled[i] == 0).all()  # nothing known: mid grey
            continue
        low, high = image[i][:, known].amin(1), image[i][:, known].amax(1)
        assert (filled[i] >= low[:, None, None] - 1e-5).all()
        assert (filled[i] <= high[:, None, None] + 1e-5).all()


def test_a_gradient_is_continued_smoothly():
    ramp = torch.linspace(-1, 1, 128).expand(1, 3, 128, 128).contiguous()
    mask = torch.zeros(1, 1, 128, 128, dtype=torch.bool)
    mask[..., 40:88, 40:88] = True
    filled = prefill(ramp, mask)
    assert (filled - ramp)[mask.expand_as(ramp)].abs().mean() < 0.01  # the hole spans 0.75
    assert filled.diff(dim=3).abs().max() < 0.02  # the ramp itself rises by 0.016 per pixel: no visible edge
    assert filled.diff(dim=2).abs().max() < 0.003


def test_nothing_to_fill_and_bad_arguments():
    image = torch.rand(2, 3, 8, 8)
    assert torch.equal(prefill(image, torch.zeros(2, 1, 8, 8, dtype=torch.bool)), image)
    mask = torch.ones(2, 1, 8, 8, dtype=torch.bool)
    for arguments in (
        (image.to(torch.uint8), mask),
        (image[0], mask),
        (image, mask.float()),
        (image, mask[:1]),
        (image, mask[..., :4]),
    ):
        with pytest.raises(ValueError, match="expected"):
            prefill(*arguments)


def test_a_stroke_becomes_the_same_hole_through_every_door():
    image = Image.new("L", SIZE, 0)
    ImageDraw.Draw(image).line((3, 3, 25, 15), fill=255, width=4)
    mask = load_mask(image, SIZE)
    assert np.array_equal(load_posted_mask(masks.mask_png(mask), SIZE), mask)
    assert np.array_equal(load_mask(np.asarray(image), SIZE), mask)
