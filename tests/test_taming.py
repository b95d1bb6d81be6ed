"""sundae.taming: names and sizes are those of the published checkpoints, the sums are the paper's, any grid works."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tiny import TAMING, randomise, tiny_taming, tiny_tokenizer

import sundae
from sundae.checkpoint import from_json, load_tokenizer, save_bundle, to_json
from sundae.taming import TamingConfig, TamingTokenizer

F16 = TamingConfig()
F32 = TamingConfig(
    codebook_size=8192,
    channel_multipliers=(1, 1, 2, 2, 4, 4),
    blocks=1,
    attention_resolutions=(64,),
    resolution=1024,
)


MODEL = tiny_taming()
RESIDUAL = tiny_taming(TamingConfig(16, 2, 6, 10, 32, (1, 1), 1, (), 16))


def random_tokens(tokenizer: TamingTokenizer, h: int, w: int, batch: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (batch, h, w, tokenizer.config.depth)
    return torch.randint(tokenizer.config.codebook_size, shape, generator=generator)


def random_image(h: int, w: int, batch: int = 1) -> torch.Tensor:
    return torch.rand(batch, 3, h, w, generator=torch.Generator().manual_seed(0)) * 2 - 1


def shapes(config: TamingConfig) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in TamingTokenizer(config).state_dict().items()}


# -- names and sizes -----------------------------------------------------------------------------------------


class Published:
    """Names and shapes of a published checkpoint, written down from its naming rules, one tensor at a time."""

    def __init__(self, channels, multipliers, blocks, attention_levels, latent, embed, codes):
        self.found: dict[str, tuple[int, ...]] = {"quantizer.codebooks": (1, codes, embed)}
        widths, last = [channels * m for m in multipliers], len(multipliers) - 1
        self.conv("encoder.conv_in", 3, channels, 3)
        width = channels
        for i in range(len(widths)):
            for j in range(blocks):
                self.block(f"encoder.down.{i}.block.{j}", width, widths[i])
                width = widths[i]
                if i in attention_levels:
                    self.attention(f"encoder.down.{i}.attn.{j}", width)
            if i < last:
                self.conv(f"encoder.down.{i}.downsample.conv", width, width, 3)
        self.middle("encoder.mid", width)
        self.norm("encoder.norm_out", width)
        self.conv("encoder.conv_out", width, latent, 3)
        self.conv("quant_conv", latent, embed, 1)
        self.conv("post_quant_conv", embed, latent, 1)
        self.conv("decoder.conv_in", latent, width, 3)
        self.middle("decoder.mid", width)
        for i in reversed(range(len(widths))):
            for j in range(blocks + 1):
                self.block(f"decoder.up.{i}.block.{j}", width, widths[i])
                width = widths[i]
                if i in attention_levels:
                    self.attention(f"decoder.up.{i}.attn.{j}", width)
            if i > 0:
                self.conv(f"decoder.up.{i}.upsample.conv", width, width, 3)
        self.norm("decoder.norm_out", width)
        self.conv("decoder.conv_out", width, 3, 3)

    def conv(self, name, entering, leaving, kernel):
        self.found |= {f"{name}.weight": (leaving, entering, kernel, kernel), f"{name}.bias": (leaving,)}

    def norm(self, name, width):
        self.found |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}

    def block(self, name, entering, leaving):
        self.norm(f"{name}.norm1", entering)
        self.conv(f"{name}.conv1", entering, leaving, 3)
        self.norm(f"{name}.norm2", leaving)
        self.conv(f"{name}.conv2", leaving, leaving, 3)
        if entering != leaving:
            self.conv(f"{name}.nin_shortcut", entering, leaving, 1)

    def attention(self, name, width):
        self.norm(f"{name}.norm", width)
        for layer in ("q", "k", "v", "proj_out"):
            self.conv(f"{name}.{layer}", width, width, 1)

    def middle(self, name, width):
        self.block(f"{name}.block_1", width, width)
        self.attention(f"{name}.attn_1", width)
        self.block(f"{name}.block_2", width, width)


@pytest.mark.parametrize(
    ("config", "published"),
    [
        (F16, Published(128, (1, 1, 2, 2, 4), 2, {4}, 256, 256, 1024)),
        (F32, Published(128, (1, 1, 2, 2, 4, 4), 1, {4}, 256, 256, 8192)),
        (TAMING, Published(64, (1, 2, 1), 1, {1}, 10, 6, 16)),
    ],
    ids=["f16", "f32", "tiny"],
)
def test_names_and_shapes_are_the_published_ones(config, published):
    assert shapes(config) == published.found


def test_some_names_by_hand():
    """Against a slip in the rules above: read off the layout of the FFHQ checkpoint."""
    found = shapes(F16)
    assert found["encoder.down.2.block.0.nin_shortcut.weight"] == (256, 128, 1, 1)
    assert found["encoder.down.4.attn.1.proj_out.bias"] == (512,)
    assert found["decoder.up.4.attn.2.q.weight"] == (512, 512, 1, 1)
    assert found["decoder.up.1.block.0.nin_shortcut.weight"] == (128, 256, 1, 1)
    assert found["decoder.up.1.upsample.conv.weight"] == (128, 128, 3, 3)
    assert found["decoder.conv_out.weight"] == (3, 128, 3, 3)
    absent = (
        "encoder.down.4.downsample",
        "decoder.up.0.upsample",
        "encoder.down.3.attn",
        "encoder.down.0.block.2",
    )
    assert not [name for name in found if name.startswith(absent)]


@pytest.mark.parametrize(("config", "count"), [(F16, 71_879_555), (F32, 73_310_083)], ids=["f16", "f32"])
def test_parameter_counts(config, count):
    """Those of the authors' own networks, counted with their package; the codebook comes on top."""
    assert sum(math.prod(shape) for name, shape in shapes(config).items() if "codebooks" not in name) == count


@pytest.mark.parametrize(
    ("config", "factor"), [(F16, 16), (F32, 32), (TAMING, 4)], ids=["f16", "f32", "tiny"]
)
def test_factor_follows_the_levels(config, factor):
    assert config.downsample_factor == factor


# -- the sums ------------------------------------------------------------------------------------------------


def reference_norm(state, name, x):
    grouped = x.reshape(len(x), 32, -1)
    centred = grouped - grouped.mean(2, keepdim=True)
    scaled = (centred / (centred.square().mean(2, keepdim=True) + 1e-6).sqrt()).reshape(x.shape)
    return scaled * state[f"{name}.weight"][:, None, None] + state[f"{name}.bias"][:, None, None]


def reference_conv(state, name, x, padding=0, stride=1):
    return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=padding, stride=stride)


def reference_block(state, name, x):
    hidden = x
    for i in (1, 2):
        hidden = reference_norm(state, f"{name}.norm{i}", hidden)
        hidden = reference_conv(state, f"{name}.conv{i}", hidden * hidden.sigmoid(), padding=1)
    shortcut = f"{name}.nin_shortcut"
    return hidden + (reference_conv(state, shortcut, x) if f"{shortcut}.weight" in state else x)


def reference_attention(state, name, x):
    hidden = reference_norm(state, f"{name}.norm", x)
    q, k, v = (reference_conv(state, f"{name}.{layer}", hidden).flatten(2) for layer in "qkv")
    weights = torch.softmax(torch.einsum("bci,bcj->bij", q, k) / q.shape[1] ** 0.5, dim=2)
    mixed = torch.einsum("bij,bcj->bci", weights, v).reshape(x.shape)
    return x + reference_conv(state, f"{name}.proj_out", mixed)


def reference_end(state, part, x):
    hidden = reference_norm(state, f"{part}.norm_out", x)
    return reference_conv(state, f"{part}.conv_out", hidden * hidden.sigmoid(), padding=1)


def reference_middle(state, part, x):
    x = reference_attention(state, f"{part}.mid.attn_1", reference_block(state, f"{part}.mid.block_1", x))
    return reference_block(state, f"{part}.mid.block_2", x)


def test_every_norm_has_the_papers_epsilon():
    """Too small to show in the outputs of a random network, not in flat regions of a trained one."""
    norms = [module for module in MODEL.modules() if isinstance(module, torch.nn.GroupNorm)]
    assert len(norms) == 33
    assert {(norm.num_groups, norm.eps) for norm in norms} == {(32, 1e-6)}


def test_encoder_computes_what_the_paper_does():
    state, image = MODEL.state_dict(), random_image(32, 24, batch=2)
    x = reference_conv(state, "encoder.conv_in", image, padding=1)
    for i in range(3):
        x = reference_block(state, f"encoder.down.{i}.block.0", x)
        if i == 1:
            x = reference_attention(state, "encoder.down.1.attn.0", x)
        if i < 2:
            padded = torch.zeros(*x.shape[:2], x.shape[2] + 1, x.shape[3] + 1)
            padded[:, :, :-1, :-1] = x
            x = reference_conv(state, f"encoder.down.{i}.downsample.conv", padded, stride=2)
    expected = reference_conv(
        state, "quant_conv", reference_end(state, "encoder", reference_middle(state, "encoder", x))
    )
    assert float(expected.std()) > 0.1
    assert torch.allclose(MODEL.latent(image), expected, atol=2e-4)


def test_decoder_computes_what_the_paper_does():
    state, quantized = MODEL.state_dict(), MODEL.quantizer.embed(random_tokens(MODEL, 6, 5, batch=2))
    x = reference_conv(
        state, "decoder.conv_in", reference_conv(state, "post_quant_conv", quantized), padding=1
    )
    x = reference_middle(state, "decoder", x)
    for i in (2, 1, 0):
        for j in range(2):
            x = reference_block(state, f"decoder.up.{i}.block.{j}", x)
            if i == 1:
                x = reference_attention(state, f"decoder.up.1.attn.{j}", x)
        if i > 0:
            doubled = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
            x = reference_conv(state, f"decoder.up.{i}.upsample.conv", doubled, padding=1)
    expected = reference_end(state, "decoder", x)
    assert float(expected.std()) > 0.1
    assert torch.allclose(MODEL.render(quantized), expected, atol=2e-4)


# -- the interface -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokenizer", [MODEL, RESIDUAL], ids=["q1", "q2"])
@pytest.mark.parametrize(("h", "w"), [(2, 7), (7, 2), (1, 1), (8, 8)])
def test_shapes_on_any_grid(tokenizer, h, w):
    f, q = tokenizer.config.downsample_factor, tokenizer.config.depth
    image = random_image(f * h, f * w, batch=2)
    tokens = tokenizer.encode(image)
    assert tokens.shape == (2, h, w, q)
    assert tokens.dtype == torch.int64
    decoded = tokenizer.decode(tokens)
    assert decoded.shape == image.shape
    assert decoded.dtype == torch.float32
    assert 0 < float(decoded.abs().max()) <= 1


def test_pictures_have_different_tokens():
    """Else every test here could pass with an encoder that does not look."""
    first, second = MODEL.encode(random_image(32, 32)), MODEL.encode(-random_image(32, 32))
    assert not torch.equal(first, second)
    assert len(first.unique()) > 1


@pytest.mark.parametrize("window", [(0, 0, 5, 7), (1, 2, 2, 3), (0, 5, 3, 7), (4, 0, 5, 4)])
def test_window_is_exactly_the_crop_of_the_whole(window):
    tokens, f = random_tokens(MODEL, 5, 7, batch=2), MODEL.config.downsample_factor
    top, left, bottom, right = window
    whole = MODEL.decode(tokens)[:, :, top * f : bottom * f, left * f : right * f]
    assert torch.equal(MODEL.decode_window(tokens, *window), whole)


def test_every_pixel_depends_on_every_cell():
    """Why there is no halo, and a window needs the whole grid."""
    assert MODEL.halo is None
    tokens = random_tokens(MODEL, 1, 40)
    changed = tokens.clone()
    changed[0, 0, 39] = (changed[0, 0, 39] + 1) % 16
    far = MODEL.decode_window(tokens, 0, 0, 1, 1) - MODEL.decode_window(changed, 0, 0, 1, 1)
    assert float(far.abs().max()) > 1e-5


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"codebook_size": 0}, "positive sizes"),
        ({"depth": 0}, "positive sizes"),
        ({"embed_dim": 0}, "positive sizes"),
        ({"latent_channels": -1}, "positive sizes"),
        ({"channels": 0}, "positive sizes"),
        ({"channel_multipliers": (1, 0)}, "positive sizes"),
        ({"blocks": 0}, "positive sizes"),
        ({"resolution": 0}, "positive sizes"),
        ({"channel_multipliers": ()}, "at least one channel multiplier"),
        ({"channels": 48}, "a multiple of 32, got 48"),
        ({"resolution": 200}, "a multiple of 16, got 200"),
        ({"attention_resolutions": (16, 17)}, r"got \(16, 17\)"),
        ({"attention_resolutions": (8,)}, r"among \(256, 128, 64, 32, 16\), got \(8,\)"),
    ],
)
def test_bad_configs_are_refused(values, words):
    with pytest.raises(ValueError, match=rf"^expected .*{words}") as caught:
        TamingConfig(**values)
    assert ", got " in str(caught.value)


# -- training ------------------------------------------------------------------------------------------------


def test_gradient_reaches_every_parameter():
    torch.manual_seed(0)
    tokenizer = TamingTokenizer(TAMING)
    latent = tokenizer.latent(random_image(32, 32, batch=2))
    tokenizer.render(latent).square().mean().backward()
    largest = {
        name: float(p.grad.abs().max()) for name, p in tokenizer.named_parameters() if p.grad is not None
    }
    assert largest.keys() == dict(tokenizer.named_parameters()).keys()
    # a bias on all keys shifts every logit of a query alike, which softmax does not see
    without = {name for name in largest if name.endswith(".k.bias")}
    assert len(without) == 5
    assert all(largest[name] < 1e-3 * largest[name.replace(".k.", ".v.")] for name in without)
    assert min(value for name, value in largest.items() if name not in without) > 1e-7


@pytest.mark.parametrize(
    ("tokenizer", "modules", "last"),
    [
        (MODEL, ("encoder", "quant_conv", "quantizer"), "decoder.conv_out.weight"),
        (tiny_tokenizer(), ("encoder", "codec", "quantizer"), "decode_4.2.weight"),
    ],
    ids=["taming", "native"],
)
def test_what_the_trainer_asks_for(tokenizer, modules, last):
    assert tokenizer.token_modules() == tuple(getattr(tokenizer, name) for name in modules)
    assert tokenizer.last_layer is tokenizer.get_parameter(last)


@pytest.mark.parametrize("fresh", [tiny_taming, tiny_tokenizer], ids=["taming", "native"])
def test_token_modules_decide_the_tokens_and_nothing_else_does(fresh):
    image, before = random_image(16, 16), fresh().encode(random_image(16, 16))
    free, frozen = fresh(), fresh()
    kept = {id(module) for module in free.token_modules()}
    for module in free.children():
        if id(module) not in kept:
            randomise(module, 99)
    assert torch.equal(free.encode(image), before)
    for module in frozen.token_modules():
        randomise(module, 99)
    assert not torch.equal(frozen.encode(image), before)


def test_only_the_native_tokenizer_is_fitted_before_training():
    pictures = random_image(32, 32, batch=4)
    for tokenizer, moved in (
        (tiny_taming(), set()),
        (tiny_tokenizer(), {"codec.analysis", "codec.synthesis", "codec.mean"}),
    ):
        before = {name: value.clone() for name, value in tokenizer.state_dict().items()}
        tokenizer.start(pictures)
        after = tokenizer.state_dict()
        assert {name for name in before if not torch.equal(before[name], after[name])} == moved


# -- bundles -------------------------------------------------------------------------------------------------


def test_bundle_comes_back_exactly_at_half_precision(tmp_path):
    save_bundle(tmp_path / "tiny", {"tokenizer": MODEL}, {"licence": "none"})
    loaded = load_tokenizer(tmp_path / "tiny")
    assert isinstance(loaded, TamingTokenizer)
    assert loaded.config == TAMING
    state = loaded.state_dict()
    assert state.keys() == MODEL.state_dict().keys()
    for name, value in MODEL.state_dict().items():
        assert state[name].dtype == torch.float32
        assert torch.equal(state[name], value.half().float()), name
    model = sundae.load(tmp_path / "tiny")
    assert (model.downsample_factor, model.prior) == (4, None)
    assert model.tokenizer.encode(random_image(16, 8)).shape == (1, 4, 2, 1)


@pytest.mark.parametrize("config", [F16, F32, TAMING])
def test_config_is_plain_json_and_comes_back(config):
    assert from_json(TamingConfig, json.loads(json.dumps(to_json(config))), "test") == config


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config.update(resolution=31),
        lambda config: config.update(channel_multipliers=[]),
        lambda config: config.update(channel_multipliers=3),
        lambda config: config.update(attention_resolutions=[16.0]),
        lambda config: config.update(blocks=2),
        lambda config: config.pop("depth"),
        lambda config: config.update(downsample_factor=4),
    ],
)
def test_a_doubtful_config_is_refused(tmp_path, change):
    save_bundle(tmp_path, {"tokenizer": MODEL}, {})
    content = json.loads((tmp_path / "config.json").read_text())
    change(content["parts"]["tokenizer"]["config"])
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"^expected ") as caught:
        load_tokenizer(tmp_path)
    assert "\n" not in str(caught.value)


def test_loading_does_not_import_the_compiler(tmp_path):
    """Drawing normal weights on the meta device would, and that takes longer than loading."""
    save_bundle(tmp_path, {"tokenizer": MODEL}, {})
    code = (
        "import sys; from pathlib import Path; from sundae.checkpoint import load_tokenizer; "
        "load_tokenizer(Path(sys.argv[1])); print('torch._dynamo' in sys.modules)"
    )
    root = Path(__file__).resolve().parent.parent
    command = [sys.executable, "-c", code, str(tmp_path)]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"
