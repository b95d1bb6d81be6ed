"""The seven promises of the program, each tried on some hundred uploads that nobody chose."""

import dataclasses
import io
import itertools
from contextlib import closing

import numpy as np
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny import Counted, Keep, Oracle, Settles, Uniform, tiny_model

from sundae import Inpainter, SamplerConfig, generate, sample
from sundae.masks import token_mask
from sundae.pipeline import Prepared

MODEL = tiny_model()  # f = 8, native size 32 px: every upload here is cut, reduced or enlarged for it
F = MODEL.downsample_factor
CHANNELS = {"1": 0, "L": 0, "P": 0, "I;16": 0, "LA": 2, "PA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}
QUICK = SamplerConfig(steps=2)


def cases(count: int):
    return settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck))


sides = st.one_of(st.integers(16, 90), st.integers(16, 300), st.sampled_from([32, 64, 33, 31]))
seeds = st.integers(0, 2**63 - 1)
kinds = st.sampled_from(["rectangle", "dots", "disc", "corner", "bar", "everything", "pixel"])
configs = st.builds(
    SamplerConfig,
    steps=st.integers(1, 3),
    temperature_start=st.floats(0.05, 3),
    temperature_end=st.floats(0.05, 3),
    proportion_start=st.floats(0.05, 1),
    proportion_end=st.floats(0.05, 1),
    early_stop=st.booleans(),
)
choices = st.fixed_dictionaries(
    {
        "grow": st.integers(-3, 6),
        "feather": st.integers(0, 12),
        "mask_rule": st.sampled_from(["any", "any", "all"]),
    }
)


def draw_mask(kind: str, w: int, h: int, rng: np.random.Generator) -> np.ndarray:
    """bool ``(h, w)`` with at least one pixel painted."""
    mask, (y, x) = np.zeros((h, w), bool), np.mgrid[0:h, 0:w]
    top, left = rng.integers(h), rng.integers(w)
    if kind == "everything":
        mask[:] = True
    elif kind == "dots":
        mask = rng.random((h, w)) < rng.choice([0.001, 0.02, 0.3])
    elif kind == "disc":
        mask = (y - top) ** 2 + (x - left) ** 2 <= (rng.uniform(0.05, 0.6) * min(h, w)) ** 2
    elif kind == "corner":
        mask[: top + 1, : left + 1] = True
        mask = np.rot90(mask, rng.integers(2) * 2)
    elif kind == "bar":
        mask[top : top + rng.integers(1, 4)] = True
    elif kind == "rectangle":
        mask[top : top + rng.integers(1, h + 1), left : left + rng.integers(1, w + 1)] = True
    mask = mask.copy()
    mask[top, left] = True
    if rng.random() < 0.5:  # a speck far off, so that the box around the hole holds known pixels
        mask[rng.integers(h), rng.integers(w)] = True
    return mask


def draw_values(mode: str, w: int, h: int, rng: np.random.Generator) -> np.ndarray:
    """Stored values of an upright picture: noise on a coarse pattern."""
    shape = (h, w) if not CHANNELS[mode] else (h, w, CHANNELS[mode])
    if mode == "1":
        return rng.random(shape) < 0.5
    if mode == "I;16":
        return rng.integers(0, 2**16, shape, dtype=np.uint16)
    if mode in ("P", "PA"):
        return rng.integers(0, 16, shape, dtype=np.uint8)
    coarse = rng.integers(0, 200, (h // 16 + 1, w // 16 + 1, *shape[2:]), dtype=np.uint8)
    return coarse.repeat(16, 0).repeat(16, 1)[:h, :w] + rng.integers(0, 50, shape, dtype=np.uint8)


def as_image(values: np.ndarray, mode: str) -> Image.Image:
    if mode == "1":
        return Image.fromarray(values)
    image = Image.frombytes(mode, values.shape[1::-1], np.ascontiguousarray(values).tobytes())
    if mode in ("P", "PA"):
        image.putpalette((np.arange(48) * 37 % 251).astype(np.uint8).tobytes())
    return image


TURNED = {  # how a camera stores an upright picture under each EXIF orientation
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


def upload(values: np.ndarray, mode: str, orientation: int) -> bytes | Image.Image:
    """A file where PNG holds the mode, else a picture object; stored turned, with the tag that says so."""
    image = as_image(TURNED[orientation](values), mode)
    exif = image.getexif()
    exif[0x0112] = orientation
    if mode in ("PA", "CMYK"):
        return image
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=exif)
    return buffer.getvalue()


def prepared(source, mask: np.ndarray, **options) -> Prepared:
    """Skips cases where the options leave no token to rewrite, or only what is transparent, which is refused as it
    should be."""
    try:
        return Inpainter(MODEL).prepare(source, mask, **options)
    except ValueError as error:
        assume("at least one" not in str(error) and "visible" not in str(error))
        raise


# -- 1. outside the mask nothing changes ---------------------------------------------------------------------


@cases(130)
@given(
    sides,
    sides,
    st.sampled_from([*sorted(CHANNELS), "CMYK", "I;16"]),
    st.integers(1, 8),
    kinds,
    seeds,
    choices,
    st.integers(1, 3),
)
def test_pixels_outside_the_mask_keep_their_bytes(w, h, mode, orientation, kind, seed, options, batch):
    rng = np.random.default_rng(seed)
    values, mask = draw_values(mode, w, h, rng), draw_mask(kind, w, h, rng)
    job = prepared(upload(values, mode, orientation), mask, **options)
    if options["grow"] <= 0:
        assert not bool((job.mask & ~mask).any())
    for frame in job.run(QUICK, range(batch)):
        assert frame.patches.shape == (batch, frame.box.height, frame.box.width, 3)
        outside = ~job.mask[frame.box.slices]
        for b in range(batch):
            result = frame.image(b)
            assert result.size == (w, h)
            assert result.mode == mode
            assert result.getpalette() == as_image(values, mode).getpalette()
            assert np.array_equal(np.asarray(result)[~job.mask], values[~job.mask])
            assert np.array_equal(frame.patches[b][outside], job.picture.rgb[frame.box.slices][outside])


# -- 2. what lies under the mask is not looked at ------------------------------------------------------------


@cases(90)
@given(sides, sides, st.sampled_from(["L", "RGB", "CMYK", "I;16", "P"]), kinds, seeds, choices, configs)
def test_what_the_hole_hides_makes_no_difference(w, h, mode, kind, seed, options, config):
    rng = np.random.default_rng(seed)
    values, mask = draw_values(mode, w, h, rng), draw_mask(kind, w, h, rng)
    first = prepared(as_image(values, mode), mask, **options)
    other = values.copy()
    other[first.mask] = draw_values(mode, w, h, rng)[first.mask]
    second = prepared(as_image(other, mode), mask, **options)
    assert torch.equal(first.known, second.known)
    assert torch.equal(first.tokens, second.tokens)
    for one, two in zip(first.run(config, [seed]), second.run(config, [seed]), strict=True):
        assert torch.equal(one.step.tokens, two.step.tokens)
        assert np.array_equal(one.patches, two.patches)
        assert one.image().tobytes() == two.image().tobytes()


# -- 3. a token is rewritten when any of its pixels is painted -----------------------------------------------


def brute_force(mask: np.ndarray, f: int, rule: str) -> np.ndarray:
    h, w = mask.shape[0] // f, mask.shape[1] // f
    tokens = np.zeros((h, w), bool)
    for y, x in np.ndindex(h, w):
        pixels = [bool(mask[y * f + i, x * f + j]) for i in range(f) for j in range(f)]
        tokens[y, x] = any(pixels) if rule == "any" else all(pixels)
    return tokens


@cases(60)
@given(
    st.integers(1, 12),
    st.integers(1, 33),
    st.sampled_from([1, 2, 3, 8]),
    kinds,
    seeds,
    st.sampled_from(["any", "all"]),
)
def test_token_mask_is_the_rule_by_hand(h, w, f, kind, seed, rule):
    mask = draw_mask(kind, w * f, h * f, np.random.default_rng(seed))
    tokens = token_mask(torch.from_numpy(mask)[None, None], f, rule)[0]
    assert np.array_equal(tokens.numpy(), brute_force(mask, f, rule))


@cases(60)
@given(sides, sides, kinds, seeds, choices)
def test_every_painted_pixel_lies_in_a_token_of_its_kind(w, h, kind, seed, options):
    """Through window and resizing: a model pixel is hidden when any upload pixel that it covers is."""
    rng = np.random.default_rng(seed)
    mask = draw_mask(kind, w, h, rng)
    job = prepared(rng.integers(0, 256, (h, w, 3), dtype=np.uint8), mask, **options)
    pixels = job.pixel_mask[0, 0].numpy()
    assert np.array_equal(job.token_mask[0].numpy(), brute_force(pixels, F, options["mask_rule"]))
    box, inside = job.window.box, job.mask[job.window.box.slices]
    assert inside.sum() == job.mask.sum()
    assert pixels.shape == (job.window.height, job.window.width)
    for y, x in np.argwhere(inside)[:: max(1, inside.sum() // 40)]:
        rows = slice(y * pixels.shape[0] // box.height, -(-(y + 1) * pixels.shape[0] // box.height))
        columns = slice(x * pixels.shape[1] // box.width, -(-(x + 1) * pixels.shape[1] // box.width))
        assert pixels[rows, columns].all()
    # What is decoded covers the hole, also where tokens of a partly painted rim are kept.
    top, left, bottom, right = (F * cell for cell in job.cells)
    down, across = pixels.shape[0] / box.height, pixels.shape[1] / box.width
    assert top <= (job.box.top - box.top) * down
    assert (job.box.bottom - box.top) * down <= bottom
    assert left <= (job.box.left - box.left) * across
    assert (job.box.right - box.left) * across <= right


# -- 4. known tokens never change ----------------------------------------------------------------------------


@cases(80)
@given(
    st.sampled_from([(8, 32), (32, 8), (4, 4), (1, 1), (5, 7), (1, 9)]),
    st.sampled_from(["prior", "uniform", "keep", "oracle", "settles"]),
    st.integers(1, 4),
    seeds,
    configs,
    st.booleans(),
)
def test_known_tokens_never_change(grid, name, batch, seed, config, shared):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(16, (1 if shared else batch, *grid, 2), generator=generator)
    mask = torch.rand(1 if shared else batch, *grid, generator=generator) < 0.4
    mask[:, -1, -1] = True
    denoisers = {"prior": MODEL.prior, "uniform": Uniform(), "keep": Keep(), "settles": Settles()}
    denoiser = Oracle(1 - tokens[0] % 2) if name == "oracle" else denoisers[name]
    before, known = tokens.expand(batch, -1, -1, -1), ~mask.expand(batch, -1, -1)
    for step in sample(denoiser, tokens, mask, config, range(batch), batch_size=2):
        assert step.tokens.shape == (batch, *grid, 2)
        assert step.tokens.dtype == torch.int64
        assert torch.equal(step.tokens[known], before[known])
        assert not bool((step.changed & known).any())


# -- 5. same seed, same picture ------------------------------------------------------------------------------


@cases(60)
@given(sides, sides, kinds, seeds, configs, st.integers(1, 3), st.integers(0, 3), st.integers(1, 5))
def test_a_seed_is_a_picture(w, h, kind, seed, config, others, place, every):
    """Alone, among others, streamed, in jumps, and prepared anew."""
    rng = np.random.default_rng(seed)
    picture, mask = rng.integers(0, 256, (h, w, 3), dtype=np.uint8), draw_mask(kind, w, h, rng)
    alone = list(Inpainter(MODEL).prepare(picture, mask).run(config, [seed]))
    company = [(seed + 1 + i) % 2**63 for i in range(others)]
    place = min(place, others)
    company.insert(place, seed)
    job = Inpainter(MODEL).prepare(picture, mask)
    together = {frame.index: frame for frame in job.run(config, company)}
    for frame in alone:
        assert np.array_equal(frame.patches[0], together[frame.index].patches[place])
        assert torch.equal(frame.step.tokens[0], together[frame.index].step.tokens[place])
    assert np.array_equal(alone[-1].patches[0], together[max(together)].patches[place])
    jumps = list(job.run(config, [seed], every))
    assert [frame.index for frame in jumps] == [
        frame.index for frame in alone if frame.last or frame.index % every == 0
    ]
    for frame in jumps:
        assert np.array_equal(frame.patches, alone[frame.index].patches)


# -- 6. any grid ---------------------------------------------------------------------------------------------


@cases(60)
@given(
    st.one_of(st.tuples(st.integers(1, 12), st.integers(1, 33)), st.sampled_from([(8, 32), (32, 8)])),
    seeds,
    configs,
)
def test_any_grid_is_encoded_sampled_and_decoded(grid, seed, config):
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(1, 3, grid[0] * F, grid[1] * F, generator=generator) * 2 - 1
    tokens = MODEL.tokenizer.encode(image)
    assert tokens.shape == (1, *grid, 2)
    mask = torch.rand(1, *grid, generator=generator) < 0.5
    mask[:, 0, 0] = True
    last = list(sample(MODEL.prior, tokens, mask, config, [seed]))[-1]
    assert last.tokens.shape == tokens.shape
    assert bool(last.changed.shape == mask.shape)
    assert MODEL.tokenizer.decode(last.tokens).shape == image.shape


@cases(20)
@given(st.integers(16, 60), st.integers(150, 300), st.booleans(), seeds)
def test_long_uploads_get_long_grids(short, long, upright, seed):
    """A hole along the longer side needs a window that is no square."""
    w, h = (short, long) if upright else (long, short)
    rng = np.random.default_rng(seed)
    mask = np.zeros((h, w), bool)
    mask[h // 2 - 4 : h // 2 + 4] = not upright
    mask[:, w // 2 - 4 : w // 2 + 4] |= upright
    job = Inpainter(MODEL).prepare(rng.integers(0, 256, (h, w, 3), dtype=np.uint8), mask)
    _, rows, columns = job.token_mask.shape
    assert rows > columns if upright else columns > rows
    frame = list(job.run(QUICK))[-1]
    assert frame.image().size == (w, h)


def test_whole_pictures_of_any_size():
    for width, height in ((0, 0), (64, 32), (20, 90)):
        frame = list(generate(MODEL, [1], QUICK, width, height))[-1]
        assert frame.image().size == (width or 32, height or 32)


# -- 7. a stopped job stops ----------------------------------------------------------------------------------


@cases(40)
@given(sides, sides, kinds, seeds, st.integers(1, 3), st.integers(0, 5), st.integers(1, 3), st.booleans())
def test_a_stopped_job_stops_and_the_next_one_runs(w, h, kind, seed, batch, consumed, every, fails):
    """Nothing runs after the frame in which the reader left, whether it closed the job or broke down."""
    rng = np.random.default_rng(seed)
    counted = Counted(MODEL.prior)
    picture, mask = rng.integers(0, 256, (h, w, 3), dtype=np.uint8), draw_mask(kind, w, h, rng)
    job = Inpainter(dataclasses.replace(MODEL, prior=counted)).prepare(picture, mask)
    config = SamplerConfig(steps=20, early_stop=False, proportion_end=1.0)
    try:
        with closing(job.run(config, range(batch), every)) as frames:
            for last in itertools.islice(frames, consumed):
                assert last.index <= every * consumed
            if fails:
                raise RuntimeError("the reader is gone")
    except RuntimeError:
        assert fails
    assert counted.calls <= batch * max(0, (consumed - 1) * every)
    calls = counted.calls
    assert list(frames) == []
    assert counted.calls == calls
    fresh = list(job.run(QUICK, [seed]))
    assert np.array_equal(
        fresh[-1].patches, list(Inpainter(job.model).prepare(picture, mask).run(QUICK, [seed]))[-1].patches
    )
