"""sundae.tokenizer: windows decode exactly, the halo is as small as it can be, codes are the nearest."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TOKENIZER, tiny_taming, tiny_tokenizer

from sundae.tokenizer import LinearCodec, PictureTokenizer, ResidualQuantizer, Tokenizer, TokenizerConfig

HALOED = tiny_tokenizer()
DEEPER = tiny_tokenizer(
    TokenizerConfig(
        downsample_factor=16, codebook_size=16, depth=1, embed_dim=4, widths=(4, 4, 8, 8), bottleneck_blocks=2
    )
)


def random_tokens(tokenizer: PictureTokenizer, h: int, w: int, batch: int = 1, seed: int = 0) -> torch.Tensor:
    config = tokenizer.config
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(config.codebook_size, (batch, h, w, config.depth), generator=generator)


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(), h=st.integers(1, 12), w=st.integers(1, 12), seed=st.integers(0, 9), deeper=st.booleans()
)
def test_window_is_the_crop_of_the_whole(data, h, w, seed, deeper):
    tokenizer = DEEPER if deeper else HALOED
    top, left = data.draw(st.integers(0, h - 1)), data.draw(st.integers(0, w - 1))
    bottom, right = data.draw(st.integers(top + 1, h)), data.draw(st.integers(left + 1, w))
    tokens, f = random_tokens(tokenizer, h, w, seed=seed), tokenizer.config.downsample_factor
    whole = tokenizer.decode(tokens)[:, :, top * f : bottom * f, left * f : right * f]
    window = tokenizer.decode_window(tokens, top, left, bottom, right)
    assert window.shape == whole.shape
    assert float((window - whole).abs().max()) < 1e-5


@pytest.mark.parametrize("tokenizer", [HALOED, DEEPER], ids=["f8", "f16"])
@pytest.mark.parametrize("axis", [1, 2], ids=["rows", "columns"])
@pytest.mark.parametrize("side", [-1, 1])
def test_halo_is_tight(tokenizer, axis, side):
    """A cell at the halo's rim reaches the window; the next one does not."""
    size = 2 * tokenizer.halo + 5
    centre, f = size // 2, tokenizer.config.downsample_factor
    tokens = random_tokens(tokenizer, size, size)

    def reaches(distance: int) -> bool:
        changed = tokens.clone()
        line = changed.select(axis, centre + side * distance)
        line.copy_((line + 1) % tokenizer.config.codebook_size)
        difference = (tokenizer.decode(changed) - tokenizer.decode(tokens)).abs()
        return (
            float(difference[:, :, centre * f : (centre + 1) * f, centre * f : (centre + 1) * f].max()) > 1e-6
        )

    assert reaches(tokenizer.halo)
    assert not reaches(tokenizer.halo + 1)


@pytest.mark.parametrize(("h", "w"), [(8, 32), (32, 8), (1, 1), (3, 5)])
def test_shapes_on_any_grid(h, w):
    image = torch.rand(2, 3, 8 * h, 8 * w) * 2 - 1
    tokens = HALOED.encode(image)
    assert tokens.shape == (2, h, w, 2)
    assert tokens.dtype == torch.int64
    assert int(tokens.min()) >= 0
    assert int(tokens.max()) < 16
    decoded = HALOED.decode(tokens)
    assert decoded.shape == image.shape
    assert decoded.dtype == torch.float32
    assert float(decoded.abs().max()) <= 1


def test_encoding_is_local():
    """A changed patch changes its own cell and at most those that the encoder's convolutions reach."""
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    changed = image.clone()
    changed[:, :, 32:40, 24:32] *= -1
    moved = (HALOED.encode(image) != HALOED.encode(changed)).any(-1)[0].nonzero()
    assert len(moved)
    assert bool(((moved - torch.tensor([4, 3])).abs() <= 2).all())


def test_quantiser_takes_the_nearest_code_of_what_is_left():
    generator = torch.Generator().manual_seed(4)
    quantizer = ResidualQuantizer(3, 11, 5)
    quantizer.codebooks.copy_(torch.randn(3, 11, 5, generator=generator))
    latent = torch.randn(2, 5, 3, 4, generator=generator)
    tokens = quantizer.quantize(latent)
    books, embedded = quantizer.codebooks.double().numpy(), quantizer.embed(tokens).numpy()
    for b, y, x in np.ndindex(2, 3, 4):
        left = latent[b, :, y, x].double().numpy()
        for level in range(3):
            nearest = ((books[level] - left) ** 2).sum(1).argmin()
            assert tokens[b, y, x, level] == nearest
            left = left - books[level][nearest]
        assert np.allclose(latent[b, :, y, x].numpy() - embedded[b, :, y, x], left, atol=1e-5)


def test_quantiser_is_idempotent_at_depth_one():
    tokens = random_tokens(DEEPER, 4, 4)
    assert torch.equal(DEEPER.quantizer.quantize(DEEPER.quantizer.embed(tokens)), tokens)


def test_codec_gives_back_pictures_of_few_components():
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(48, 3)).Q
    rows = torch.randn(400, 3) * torch.tensor([3.0, 1.0, 0.3]) @ basis.t() + torch.randn(48)
    image = torch.nn.functional.pixel_shuffle(rows.view(1, 20, 20, 48).permute(0, 3, 1, 2), 4)
    codec = LinearCodec(4, 3)
    codec.fit(image)
    latent = codec.encode(image)
    assert latent.shape == (1, 3, 20, 20)
    assert float((codec.decode(latent) - image).abs().max()) < 1e-3
    assert float(latent.var((0, 2, 3)).sum()) == pytest.approx(1, rel=0.02)


def test_fresh_tokenizer_is_the_codec_alone():
    tokenizer = Tokenizer(TOKENIZER)
    codec = tiny_tokenizer().codec
    tokenizer.codec.load_state_dict(codec.state_dict())
    image = torch.rand(1, 3, 16, 24)
    assert torch.allclose(tokenizer.latent(image), codec.encode(image))
    assert torch.allclose(tokenizer.render(codec.encode(image)), codec.decode(codec.encode(image)), atol=1e-5)


@pytest.mark.parametrize(
    "values",
    [
        {"downsample_factor": 12},
        {"codebook_size": 0},
        {"depth": 0},
        {"widths": (8, 8, 8)},
        {"widths": (8, 8, 0, 8)},
    ],
)
def test_bad_configs_are_refused(values):
    with pytest.raises(ValueError, match=r"^expected .*, got .*$"):
        TokenizerConfig(**values)


# -- what every tokenizer refuses ----------------------------------------------------------------------------

EVERY = pytest.mark.parametrize("tokenizer", [HALOED, tiny_taming()], ids=["native", "taming"])


@EVERY
@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 1, 16, 16), (1, 3, 16, 15), (1, 3, 18, 16)])
def test_bad_pictures_are_refused(tokenizer, shape):
    factor = tokenizer.config.downsample_factor
    with pytest.raises(ValueError, match=rf"^expected an image .* multiples of {factor}, got .*$"):
        tokenizer.encode(torch.zeros(shape))


@EVERY
@pytest.mark.parametrize("wrong", ["depth", "rank", "dtype", "above", "below"])
def test_bad_tokens_are_refused(tokenizer, wrong):
    tokens = random_tokens(tokenizer, 2, 2)
    changed = {
        "depth": tokens.repeat(1, 1, 1, 3),
        "rank": tokens[0],
        "dtype": tokens.int(),
        "above": tokens.index_fill(1, torch.tensor([1]), tokenizer.config.codebook_size),
        "below": tokens.index_fill(1, torch.tensor([1]), -1),
    }
    with pytest.raises(ValueError, match=r"^expected tokens .*, got .*$"):
        tokenizer.decode(changed[wrong])


@EVERY
@pytest.mark.parametrize("window", [(0, 0, 0, 1), (-1, 0, 1, 1), (0, 0, 4, 1), (0, 2, 1, 2), (0, 0, 1, 4)])
def test_bad_windows_are_refused(tokenizer, window):
    with pytest.raises(ValueError, match=r"^expected a window inside the 3x3 grid, got .*$"):
        tokenizer.decode_window(random_tokens(tokenizer, 3, 3), *window)
