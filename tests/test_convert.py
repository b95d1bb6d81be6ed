"""sundae.convert: foreign checkpoints give the tokens and pictures of their own projects, and nothing else gets in."""

from __future__ import annotations

import argparse
import base64
import collections
import dataclasses
import io
import json
import os
import pickle
import re
import struct
import subprocess
import sys
import tarfile
import types
import zipfile
from functools import cache
from pathlib import Path

import foreign
import foreign_nets as nets
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file
from tiny import PRIOR, tiny_prior

import sundae
from page.checks import PNG_URL
from page.session import Session
from page.shelf import Shelf
from sundae.checkpoint import load_tokenizer, save_bundle
from sundae.cli import main
from sundae.convert import archives, pickled
from sundae.convert.archives import read_archive
from sundae.convert.detect import FORMATS
from sundae.convert.reading import read_foreign
from sundae.convert.writing import convert
from sundae.hourglass import HourglassConfig, LevelConfig
from sundae.image import load_picture
from sundae.taming import TamingTokenizer

GOLDEN = np.load(Path(__file__).parent / "golden" / "foreign.npz")
ROOT = Path(__file__).resolve().parent.parent
SMALL = {"widths": (32, 32), "channels": 32, "attention": (), "codes": 24}


def random_image(h: int = 16, w: int = 24, batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, 3, h, w, generator=torch.Generator().manual_seed(1)) * 2 - 1


def small_state(**options) -> dict[str, torch.Tensor]:
    return foreign.weights(foreign.taming(**(SMALL | options)))


def yaml_of(**changes) -> str:
    """The settings that belong to ``small_state()``."""
    network = {"double_z": False, "z_channels": 6, "resolution": 64, "in_channels": 3, "out_ch": 3, "ch": 32}
    network |= {"ch_mult": [1, 1], "num_res_blocks": 1, "attn_resolutions": [], "dropout": 0.0}
    values = {"embed_dim": 5, "n_embed": 24, "ddconfig": network}
    for key, value in changes.items():
        (network if key in network or key not in values else values)[key] = value
    return json.dumps({"model": {"target": "taming.models.vqgan.VQModel", "params": values}})


def refused(path: Path, words: str, **options) -> str:
    with pytest.raises(ValueError, match=words) as caught:
        read_foreign(path, **options)
    message = str(caught.value)
    assert message.startswith("expected ")
    assert "\n" not in message
    return message


# -- every format computes what its own project computes -------------------------------------------------------


def wrap(key: str | None):
    """A writer of checkpoints that keep their weights under ``key``."""
    return lambda path, state: foreign.save(path, {key: state, "step": 3} if key else state)


def diffusers_writer(**config):
    def write(path, state):
        return foreign.save_folder(path.with_suffix(""), state, foreign.diffusers_config(**config))

    return write


CASES = {
    "taming": (foreign.taming(), wrap("state_dict"), nets.taming_tokens, nets.taming_picture),
    "latent-diffusion f4": (
        foreign.taming(attention=(), latent=3, embed=3),
        wrap("state_dict"),
        nets.taming_tokens,
        nets.taming_picture,
    ),
    "no attention at all": (
        foreign.taming(attention=(), middle=False),
        wrap("state_dict"),
        nets.taming_tokens,
        nets.taming_picture,
    ),
    "taming-gumbel": (
        foreign.taming(gumbel=True, attention=(1,)),
        wrap("state_dict"),
        nets.gumbel_tokens,
        nets.gumbel_picture,
    ),
    "unleashing": (foreign.unleashing(), wrap(None), nets.unleashing_tokens, nets.unleashing_picture),
    "unleashing gumbel": (
        foreign.unleashing(gumbel=True),
        wrap(None),
        nets.unleashing_gumbel_tokens,
        nets.unleashing_gumbel_picture,
    ),
    "llamagen": (foreign.llamagen(), wrap("model"), nets.llamagen_tokens, nets.llamagen_picture),
    "maskgit": (foreign.maskgit(), wrap(None), nets.maskgit_tokens, nets.maskgit_picture),
    "diffusers": (foreign.diffusers(), diffusers_writer(), nets.diffusers_tokens, nets.diffusers_picture),
    "diffusers, names before 2023": (
        foreign.diffusers(layers=nets.OLD[1:]),
        diffusers_writer(),
        nets.diffusers_tokens,
        nets.diffusers_picture,
    ),
    "amused": (
        foreign.diffusers(middle=False, attention=()),
        diffusers_writer(attention=(), mid_block_add_attention=False, lookup_from_codebook=True),
        lambda s, x: nets.diffusers_tokens(s, (x + 1) / 2),
        lambda s, t: nets.diffusers_picture(s, t) * 2 - 1,
    ),
}


@pytest.fixture(scope="module", params=CASES, ids=lambda name: name.replace(" ", "-"))
def case(request, tmp_path_factory):
    """The path of a checkpoint, its state, and what its own project makes of pictures and of tokens."""
    shapes, write, tokens, picture = CASES[request.param]
    state = foreign.weights(shapes)
    path = write(tmp_path_factory.mktemp("case") / "weights.ckpt", state)
    return path, state, tokens, picture


def test_tokens_and_pictures_are_those_of_the_format(case):
    path, state, tokens, picture = case
    tokenizer, image = sundae.load(path).tokenizer, random_image()
    expected = tokens(state, image)
    assert len(expected.unique()) > 4, "too few codes to tell anything"
    assert torch.equal(tokenizer.encode(image)[..., 0], expected)
    codes = torch.randint(24, (2, 3, 5), generator=torch.Generator().manual_seed(2))
    wanted = picture(state, codes)
    assert float(wanted.std()) > 0.1
    assert torch.allclose(tokenizer.render(tokenizer.quantizer.embed(codes[..., None])), wanted, atol=1e-4)
    assert torch.equal(
        tokenizer.decode(codes[..., None]),
        tokenizer.render(tokenizer.quantizer.embed(codes[..., None])).clamp(-1, 1),
    )


def test_a_bundle_is_the_same_bit_for_bit(case, tmp_path):
    path, _, _, _ = case
    convert(path, tmp_path / "made")
    before, after = sundae.load(path), sundae.load(tmp_path / "made")
    assert type(after.tokenizer) is type(before.tokenizer)
    assert after.tokenizer.config == before.tokenizer.config
    assert after.hash == before.hash
    state = after.tokenizer.state_dict()
    for name, value in before.tokenizer.state_dict().items():
        assert state[name].dtype == torch.float32
        assert torch.equal(state[name], value), name
    assert all(file.stat().st_size < 10_000_000 for file in (tmp_path / "made").iterdir())


# -- against what the published code computed ------------------------------------------------------------------

RECORDED = {  # golden name: layout, writer, range of the golden picture is ours
    "taming": (foreign.taming(), wrap("state_dict")),
    "taming-gumbel": (foreign.taming(gumbel=True), wrap("state_dict")),
    "unleashing": (foreign.unleashing(), wrap(None)),
    "maskgit": (foreign.maskgit(), wrap(None)),
    "llamagen": (foreign.llamagen(), wrap("ema")),
    "diffusers": (foreign.diffusers(), diffusers_writer()),
    "diffusers, names before 2023": (foreign.diffusers(layers=nets.OLD[1:]), diffusers_writer()),
    "diffusers-two": (
        foreign.diffusers(widths=(16, 32), blocks=2, attention=(), middle=False),
        diffusers_writer(widths=(16, 32), blocks=2, attention=(), mid_block_add_attention=False),
    ),
    "diffusers-four": (
        foreign.diffusers(widths=(8, 16, 16, 24), attention=(2, 3)),
        diffusers_writer(widths=(8, 16, 16, 24), attention=(2, 3)),
    ),
    "diffusers-four, names before 2023": (
        foreign.diffusers(widths=(8, 16, 16, 24), attention=(2, 3), layers=nets.OLD[1:]),
        diffusers_writer(widths=(8, 16, 16, 24), attention=(2, 3)),
    ),
}


def recorded_image(f: int) -> np.ndarray:
    """The picture (1, 3, H, W) whose tokens were recorded for networks of this factor."""
    return np.random.RandomState(7).uniform(-1, 1, (1, 3, 4 * f, 6 * f)).astype(np.float32)


@pytest.mark.parametrize("name", RECORDED)
def test_published_code_computes_the_same(name, tmp_path):
    """Recorded by running it on these very weights: diffusers 0.42.1 and taming-transformers 0.0.1 as packages, the
    others from the networks' published sources. See docs/formats.md."""
    shapes, write = RECORDED[name]
    tokenizer = sundae.load(write(tmp_path / "weights.ckpt", foreign.weights(shapes))).tokenizer
    f = tokenizer.config.downsample_factor
    assert np.array_equal(
        tokenizer.encode(torch.from_numpy(recorded_image(f)))[..., 0].numpy(), GOLDEN[f"{name}.tokens"]
    )
    codes = torch.from_numpy(GOLDEN["codes"])[..., None]
    picture = tokenizer.render(tokenizer.quantizer.embed(codes)).numpy()
    assert np.abs(picture - GOLDEN[f"{name}.picture"]).max() < 1e-4


@pytest.mark.parametrize("classes", [0, 3])
def test_the_authors_prior_computes_the_same(classes, tmp_path):
    state = foreign.weights(foreign.authors(classes=classes))
    prior = read_foreign(foreign.save(tmp_path / "prior.pt", {"net": state})).module
    tokens = torch.from_numpy(GOLDEN[f"sundae-vqgan-{classes}.tokens"]).view(1, 16, 16, 1)
    labels = torch.tensor([1]) if classes else None
    hidden = prior.hidden(tokens, torch.zeros(1, 16, 16, dtype=torch.bool), labels).view(256, -1)
    logits = prior.logits(hidden, tokens.view(256, 1), tokens.view(256, 1)[:, :0])
    assert np.abs(logits.numpy() - GOLDEN[f"sundae-vqgan-{classes}.logits"]).max() < 1e-4
    restated = nets.authors_logits(state, tokens.flatten(), 1 if classes else None)
    assert torch.allclose(logits, restated, atol=1e-4)
    assert float(restated.std()) > 0.1


# -- containers, prefixes, settings ----------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("plain", [False, True], ids=["zip", "plain"])
def test_both_containers_of_pytorch_and_all_pickle_protocols(plain, protocol, tmp_path):
    state = small_state()
    torch.save(
        {"state_dict": state},
        tmp_path / "a.ckpt",
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=not plain,
    )
    loaded = read_foreign(tmp_path / "a.ckpt").module.state_dict()
    assert torch.equal(loaded["decoder.conv_out.weight"], state["decoder.conv_out.weight"])
    assert torch.equal(loaded["quantizer.codebooks"][0], state["quantize.embedding.weight"])


def test_safetensors_bfloat16_and_views_of_one_storage(tmp_path):
    state = small_state()
    save_file(state, tmp_path / "a.safetensors")
    whole = read_foreign(tmp_path / "a.safetensors").module.state_dict()
    assert torch.equal(whole["encoder.conv_in.bias"], state["encoder.conv_in.bias"])
    save_file({name: value.bfloat16() for name, value in state.items()}, tmp_path / "b.safetensors")
    half = read_foreign(tmp_path / "b.safetensors").module.state_dict()
    assert torch.equal(half["encoder.conv_in.bias"], state["encoder.conv_in.bias"].bfloat16().float())
    big = torch.randn(32, 128)
    views = state | {"quant_conv.weight": big.t()[:5, 7:13].reshape(5, 6, 1, 1)}
    views["post_quant_conv.weight"] = big[10:16, 3:8, None, None]
    views["encoder.conv_in.bias"] = big.t()[3]
    foreign.save(tmp_path / "c.ckpt", views)
    found = read_foreign(tmp_path / "c.ckpt").module.state_dict()
    for name in ("quant_conv.weight", "post_quant_conv.weight", "encoder.conv_in.bias"):
        assert torch.equal(found[name], views[name]), name


def lightning(state: dict) -> dict:
    """What Lightning keeps beside the weights."""
    model = torch.nn.Linear(4, 3)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 4])
    ordered = collections.OrderedDict(state)
    ordered._metadata = {"": {"version": 1}}  # pyright: ignore[reportAttributeAccessIssue]
    return {
        "epoch": 3,
        "global_step": np.int64(7),
        "pytorch-lightning_version": "1.0.8",
        "state_dict": ordered,
        "callbacks": {Callback: {"best_model_score": torch.tensor(1.5), "best": np.float64(3)}},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [scheduler.state_dict()],
        "hyper_parameters": Dictionary(),
        "args": argparse.Namespace(rate=1e-3, out=Path("somewhere")),
        "rest": [
            {1, 2},
            b"bytes",
            np.arange(5),
            torch.float16,
            torch.device("cpu"),
            torch.Size([1, 2]),
            1 + 2j,
        ],
    }


def stand_in(module: str, name: str) -> type:
    """A class that pickles under the name of one that is not installed here."""
    made = type(name, (), {"__module__": module})
    for i in range(1, module.count(".") + 2):
        part = ".".join(module.split(".")[:i])
        sys.modules.setdefault(part, types.ModuleType(part))
    setattr(sys.modules[module], name, made)
    return made


Callback = stand_in("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint")
Dictionary = stand_in("omegaconf.dictconfig", "DictConfig")


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("plain", [False, True], ids=["zip", "plain"])
def test_what_lightning_adds_is_passed_over(plain, protocol, tmp_path):
    state = small_state() | {
        "loss.discriminator.main.2.num_batches_tracked": torch.tensor(5),
        "loss.perceptual_loss.lin0.model.1.weight": torch.full((1, 8, 1, 1), float("nan")),
        "colorize": torch.zeros(3, 4, 1, 1),
        "quantize.embedding.cluster_size": torch.ones(24),
        "quantize.embedding.embed_avg": torch.ones(24, 5),
        "model_ema.decay": torch.tensor(0.9),
    }
    torch.save(
        lightning(state),
        tmp_path / "a.ckpt",
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=not plain,
    )
    source = read_foreign(tmp_path / "a.ckpt")
    assert isinstance(source.module, TamingTokenizer)
    assert source.provenance["source"]["format"] == "taming"


def test_first_stage_of_a_transformer(tmp_path):
    """Beside a condition's VQ-GAN of another shape, under names that only contain the prefix."""
    state, other = small_state(), small_state(codes=7, embed=4)
    whole = {f"first_stage_model.{name}": value for name, value in state.items()}
    whole |= {
        "first_stage_model.loss.logvar": torch.zeros(1),
        "transformer.tok_emb.weight": torch.zeros(3, 2),
    }
    whole |= {f"cond_stage_model.first_stage_model.{name}": value for name, value in other.items()}
    whole |= {
        "betas": torch.zeros(9),
        "model.diffusion_model.out.0.weight": torch.zeros(3),
        "logvar": torch.zeros(9),
    }
    source = read_foreign(foreign.save(tmp_path / "net2net.ckpt", {"state_dict": whole}))
    assert source.provenance["source"]["first_stage_of_another_model"] is True
    assert source.module.config.codebook_size == 24
    image = random_image()
    assert torch.equal(source.module.encode(image)[..., 0], nets.taming_tokens(state, image))
    foreign.save(tmp_path / "odd.ckpt", {"state_dict": whole | {"surprise.weight": torch.zeros(1)}})
    refused(tmp_path / "odd.ckpt", "first stage and the models that use it .*, got surprise.weight$")


def test_settings_are_found_used_and_kept(tmp_path):
    path = foreign.save(tmp_path / "a.ckpt", {"state_dict": small_state()})
    assert read_foreign(path).module.config.resolution == 256
    (tmp_path / "a.yaml").write_text(yaml_of())
    source = read_foreign(path)
    assert source.module.config.resolution == 64
    assert sundae.load(path).resolution == 64
    kept = source.provenance["source"]["config"]
    assert (kept["file"], len(kept["sha256"])) == ("a.yaml", 64)
    assert kept["network"]["ch_mult"] == [1, 1]
    assert kept["network"]["n_embed"] == 24
    assert "target" not in kept["network"], "words may be paths"
    inner = json.loads(yaml_of())
    inner["model"]["params"] = {"first_stage_config": {"params": inner["model"]["params"]}}
    (tmp_path / "other.yml").write_text(json.dumps(inner))
    assert read_foreign(path, config=tmp_path / "other.yml").module.config.resolution == 64


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n_embed": 25}, "n_embed 25 as the settings say, got weights with 24$"),
        ({"embed_dim": 6}, "embed_dim 6 "),
        ({"z_channels": 7}, "z_channels 7 "),
        ({"ch": 64}, "ch 64 "),
        ({"ch_mult": [1, 2]}, "ch_mult "),
        ({"num_res_blocks": 2}, "num_res_blocks 2 "),
        ({"attn_resolutions": [32]}, "attention at "),
        ({"double_z": True}, "without double_z"),
        ({"tanh_out": True}, "without tanh_out"),
        ({"resolution": 0}, "positive whole number for ddconfig.resolution"),
        ({"resolution": "64"}, "positive whole number"),
        ({"resolution": 63}, "multiple of 2, got 63"),
    ],
)
def test_settings_of_another_model_are_refused(change, words, tmp_path):
    path = foreign.save(tmp_path / "a.ckpt", {"state_dict": small_state()})
    (tmp_path / "a.yaml").write_text(yaml_of(**change))
    refused(path, words)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (
            "a.yaml",
            "!!python/object/apply:os.system ['touch CANARY']",
            "YAML in .*could not determine a constructor",
        ),
        ("a.yaml", "!!python/object/new:os.system ['touch CANARY']", "YAML in "),
        ("a.yaml", "a: [1, 2", "YAML in "),
        ("a.yaml", "- 1\n- 2", "a table of settings in .*, got list"),
        ("a.yaml", "", "a table of settings in .*, got NoneType"),
        ("a.yaml", "[" * 20_000, "YAML in "),
        ("a.toml", "a = ", "TOML in "),
        ("a.json", "{", "JSON in "),
        ("a.txt", "{}", "settings as .yaml, .toml or .json"),
        ("missing.yaml", None, "readable settings at "),
        ("a.yaml", "x" * 2_000_000, "settings of at most "),
    ],
)
def test_bad_settings_are_refused(name, text, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = foreign.save(tmp_path / "weights.ckpt", {"state_dict": small_state()})
    if text is not None:
        (tmp_path / name).write_text(text)
    refused(path, words, config=tmp_path / name)
    assert not (tmp_path / "CANARY").exists()


def test_a_yaml_of_aliases_does_not_grow(tmp_path):
    """Nine levels of nine aliases are 387 million words when they are written out."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    (tmp_path / "a.yaml").write_text(
        "\n".join([*lines, "model: {params: {ddconfig: {resolution: 64, x: *a8}}}"])
    )
    source = read_foreign(foreign.save(tmp_path / "a.ckpt", {"state_dict": small_state()}))
    assert source.provenance["source"]["config"]["network"] == {"resolution": 64}


# -- codes in use ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gumbel", [False, True])
def test_remapped_codes(gumbel, tmp_path):
    """Token j is code used[j]; the encoder chooses among those in use."""
    state, used = small_state(gumbel=gumbel), torch.tensor([17, 3, 21, 0, 11])
    path = foreign.save(tmp_path / "a.ckpt", {"state_dict": state | {"quantize.used": used}})
    model, image = sundae.load(path), random_image()
    table = "quantize.embed.weight" if gumbel else "quantize.embedding.weight"
    assert model.tokenizer.config.codebook_size == 5
    kept = state | {table: state[table][used]}
    if gumbel:
        kept |= {f"quantize.proj.{end}": state[f"quantize.proj.{end}"][used] for end in ("weight", "bias")}
    tokens = (nets.gumbel_tokens if gumbel else nets.taming_tokens)(kept, image)
    assert len(tokens.unique()) > 2
    assert torch.equal(model.tokenizer.encode(image)[..., 0], tokens)
    codes = torch.arange(5).view(1, 1, 5, 1)
    embedded = model.tokenizer.quantizer.embed(codes)[0, :, 0].t()
    assert torch.equal(embedded, state[table][used])


@pytest.mark.parametrize("used", [[1, 1], [24], [-1], [[1, 2]], [0.5], []])
def test_bad_remaps_are_refused(used, tmp_path):
    state = small_state() | {"quantize.used": torch.tensor(used)}
    refused(foreign.save(tmp_path / "a.ckpt", state), "different codes below 24 in quantize.used")


# -- diffusers' own questions ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"norm_type": "spatial"}, "norm_type 'group', got 'spatial'"),
        ({"act_fn": "relu"}, "act_fn 'relu' as the settings say, got weights with 'silu'"),
        ({"out_channels": 1}, "out_channels 1 "),
        ({"num_vq_embeddings": 25}, "num_vq_embeddings 25 "),
        ({"vq_embed_dim": 4}, "vq_embed_dim 4 "),
        ({"layers_per_block": 2}, "layers_per_block 2 "),
        ({"mid_block_add_attention": False}, "mid_block_add_attention False "),
        ({"block_out_channels": [16, 32, 16]}, "block_out_channels "),
        ({"norm_num_groups": 5}, "multiples of the 5 groups"),
        ({"norm_num_groups": 0}, "positive whole number for norm_num_groups"),
        ({"_class_name": "AutoencoderKL"}, "VQModel beside its weights, got 'AutoencoderKL'"),
        ({"new_trick": True}, "settings of a VQModel that are known here, got 'new_trick'"),
    ],
)
def test_other_diffusers_models_are_refused(config, words, tmp_path):
    state = foreign.weights(foreign.diffusers())
    refused(foreign.save_folder(tmp_path / "vqvae", state, foreign.diffusers_config(**config)), words)


def test_diffusers_files(tmp_path):
    state, image = foreign.weights(foreign.diffusers()), random_image()
    folder = foreign.save_folder(tmp_path / "vqvae", state, foreign.diffusers_config())
    expected = sundae.load(folder).tokenizer.encode(image)
    weights = folder / "diffusion_pytorch_model.safetensors"
    assert torch.equal(sundae.load(weights).tokenizer.encode(image), expected)
    weights.unlink()
    foreign.save(folder / "diffusion_pytorch_model.bin", state)
    assert torch.equal(sundae.load(folder).tokenizer.encode(image), expected)
    alone = foreign.save(tmp_path / "alone.bin", state)
    refused(alone, "config.json of a diffusers VQModel beside its weights, got None")
    made = read_foreign(alone, config=folder / "config.json").module
    assert torch.equal(made.encode(image), expected)


def test_pixels_of_amused_by_its_settings_or_by_name(tmp_path):
    state = foreign.weights(foreign.diffusers())
    signed = foreign.save_folder(tmp_path / "signed", state, foreign.diffusers_config())
    unit = foreign.save_folder(tmp_path / "unit", state, foreign.diffusers_config(lookup_from_codebook=True))
    assert read_foreign(signed).module.config.pixel_range == "signed"
    assert read_foreign(unit).module.config.pixel_range == "unit"
    assert read_foreign(signed, form="amused").module.config.pixel_range == "unit"


# -- which format it is ----------------------------------------------------------------------------------------


def test_formats_are_told_apart_by_their_tensors(tmp_path):
    layouts = {
        "taming": foreign.taming(**SMALL),
        "taming-gumbel": foreign.taming(**SMALL, gumbel=True),
        "unleashing": foreign.unleashing(widths=(32, 32)),
        "llamagen": foreign.llamagen(widths=(32, 32)),
        "maskgit": foreign.maskgit(widths=(32, 32)),
        "sundae-vqgan": foreign.authors(),
    }
    for name, shapes in layouts.items():
        path = foreign.save(tmp_path / "weights", foreign.weights(shapes))
        assert read_foreign(path).provenance["source"]["format"] == name
        assert read_foreign(path, form=name).provenance["source"]["format"] == name
        for other in FORMATS:
            same = {"taming": ("taming", "latent-diffusion")}.get(name, (name,))
            if other not in same:
                refused(path, "^expected ", form=other)


def test_unleashing_without_its_prefix(tmp_path):
    state = foreign.weights(foreign.unleashing(widths=(32, 32)))
    bare = {name.removeprefix("ae."): value for name, value in state.items() if name.startswith("ae.")}
    bare["generator.logsigma.0.weight"] = torch.zeros(1)
    tokenizer = read_foreign(foreign.save(tmp_path / "ae.th", bare)).module
    image = random_image()
    assert torch.equal(tokenizer.encode(image)[..., 0], nets.unleashing_tokens(state, image))


def test_llamagen_prefers_averaged_weights(tmp_path):
    first, second = (foreign.weights(foreign.llamagen(widths=(32, 32)), seed) for seed in (0, 1))
    content = {"model": second, "ema": first, "discriminator": {"x": torch.zeros(1)}, "steps": 3}
    content["args"] = argparse.Namespace(vq_model="VQ-16")
    loaded = read_foreign(foreign.save(tmp_path / "a.pt", content)).module.state_dict()
    assert torch.equal(loaded["quant_conv.weight"], first["quant_conv.weight"])


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"a.weight": torch.zeros(2)}, r"weights of one of .*, got a file of 1 other tensors \(a.weight"),
        ({"encoder.conv_in.weight": torch.zeros(2)}, "a tokenizer with a codebook"),
        ({}, "a dict of tensors in the file, got dict"),
        ([torch.zeros(2)], "a dict of tensors in the file, got list"),
        ({"a": 3}, "tensors by name in the file, got something else under 'a'"),
        ({3: torch.zeros(2)}, "tensors by name in the file, got something else under '3'"),
        ({"a\nb": torch.zeros(2)}, r"got something else under 'a\\nb'"),
        ({"state_dict": {"a": [torch.zeros(2)]}}, "tensors by name"),
    ],
)
def test_files_of_something_else_are_refused(state, words, tmp_path):
    refused(foreign.save(tmp_path / "a.pt", state), words)


def test_unknown_format_and_missing_file(tmp_path):
    refused(tmp_path / "no.ckpt", "readable file of weights, got .*: No such file or directory$")
    refused(tmp_path / "no.ckpt", "a format of sundae-vqgan, unleashing, .*, got 'tamming'$", form="tamming")
    refused(tmp_path, r"a file of weights, or a folder with config\.json and ")


# -- every tensor is accounted for -----------------------------------------------------------------------------

LAYOUTS = {
    "taming": foreign.taming(**SMALL),
    "taming-gumbel": foreign.taming(**SMALL, gumbel=True),
    "unleashing": foreign.unleashing(widths=(32, 32)),
    "llamagen": foreign.llamagen(widths=(32, 32)),
    "maskgit": foreign.maskgit(widths=(32, 32)),
    "sundae-vqgan": foreign.authors(),
}
NEEDLESS = {
    "llamagen": r"quantize\.codebook_used",
    "unleashing": r"disc\.|perceptual\.|ae\.(encoder|generator)\.blocks\.\d+\.conv_out",
    "sundae-vqgan": r"transformer\.attn_resampling_\w+\.rotary",
}


@pytest.mark.parametrize("form", LAYOUTS)
def test_every_missing_extra_misshaped_or_damaged_tensor_is_refused(form, tmp_path):
    """Each tensor of a layout in turn is taken away, given another shape, or a NaN: never does it go unnoticed."""
    state, path = foreign.weights(LAYOUTS[form]), tmp_path / "weights"
    wanted = [name for name in sorted(state) if not re.match(NEEDLESS.get(form, "$"), name)]
    for name in wanted[:: 1 + len(wanted) // 15]:
        others = {key: value for key, value in state.items() if key != name}
        refused(foreign.save(path, others), "^expected ", form=form)
        larger = torch.cat([state[name], state[name][:1]])
        refused(foreign.save(path, others | {name: larger}), "^expected ", form=form)
        damaged = state[name].clone()
        damaged.view(-1)[-1] = float("nan")
        refused(foreign.save(path, others | {name: damaged}), "finite weights|frequencies", form=form)
    foreign.save(path, state | {"encoder.extra.weight": torch.zeros(1)})
    refused(path, r"tensor.* got (ae\.)?encoder\.extra\.weight|tensor", form=form)
    read_foreign(foreign.save(path, {name: state[name] for name in wanted}), form=form)


def test_the_tensor_is_named(tmp_path):
    state = small_state()
    del state["encoder.mid.block_2.norm1.bias"]
    refused(
        foreign.save(tmp_path / "a", state),
        r"^expected the tensor encoder\.mid\.block_2\.norm1\.bias in the file",
    )
    state = small_state() | {"decoder.up.0.block.7.conv1.weight": torch.zeros(1)}
    refused(foreign.save(tmp_path / "a", state), r"got decoder\.up\.0\.block\.7\.conv1\.weight$")
    state = small_state() | {"decoder.conv_out.bias": torch.zeros(4)}
    refused(
        foreign.save(tmp_path / "a", state), r"^expected decoder\.conv_out\.bias to be \(3,\) .*, got \(4,\)$"
    )
    state = small_state() | {"quant_conv.bias": torch.zeros(5, dtype=torch.int64)}
    refused(foreign.save(tmp_path / "a", state), r"^expected floats in quant_conv\.bias, got torch\.int64$")
    state = small_state() | {"encoder.conv_in.weight": torch.zeros(32, 182, 3, 3)}
    refused(
        foreign.save(tmp_path / "a", state),
        r"pictures with 3 channels, got encoder\.conv_in\.weight for 182$",
    )


# -- files that mean harm, or are damaged ----------------------------------------------------------------------


class Touch:
    """Pickles as a call that makes a file named CANARY where the process stands."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def zip_of(path: Path, content: bytes, entries: dict[str, bytes] | None = None, compression: int = 0) -> Path:
    """A zip archive with this pickle, as PyTorch lays it out."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", b"3\n")
        for name, data in (entries or {}).items():
            archive.writestr(f"archive/{name}", data)
    return path


def plain_of(path: Path, content: bytes) -> Path:
    """A file as PyTorch before 1.6 wrote them, with this pickle as its object."""
    first = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True, "protocol_version": 1001})
    path.write_bytes(b"".join(pickle.dumps(part, 2) for part in first) + content + pickle.dumps([], 2))
    return path


EVIL = {
    "os.system": (Touch(os.system, "touch CANARY"), r"asks for (posix|nt)\.system; nothing of it was run$"),
    "eval": (Touch(eval, "open('CANARY', 'w')"), r"asks for (builtins|__builtin__)\.eval;"),
    "exec": (Touch(exec, "open('CANARY', 'w')"), r"asks for (builtins|__builtin__)\.exec;"),
    "open": (Touch(open, "CANARY", "w"), r"asks for (io|_io)\.open;"),
    "popen": (Touch(subprocess.Popen, ["touch", "CANARY"]), r"asks for (subprocess|commands)\.Popen;"),
    "torch.load": (Touch(torch.load, "x"), r"asks for torch\.serialization\.load;"),
    "nested archive": (
        Touch(torch.storage._load_from_bytes, b"x"),
        r"asks for torch\.storage\._load_from_bytes;",
    ),
    "import": (Touch(__import__, "os"), r"asks for (builtins|__builtin__)\.__import__;"),
    "a module of the project": (
        Touch(read_archive, "x"),
        r"asks for sundae\.convert\.archives\.read_archive;",
    ),
}


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("write", [zip_of, plain_of], ids=["zip", "plain"])
@pytest.mark.parametrize("name", EVIL)
def test_nothing_runs(name, write, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    evil, words = EVIL[name]
    content = {"epoch": 1, "state_dict": [evil]}
    refused(write(tmp_path / "a.ckpt", pickle.dumps(content, protocol)), words)
    refused(write(tmp_path / "b.ckpt", pickle.dumps(evil, protocol)), words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ckpt", "b.ckpt"]


def test_the_canary_sings_where_pickles_are_run(tmp_path, monkeypatch):
    """Else the tests above would prove nothing."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Touch(os.system, "touch CANARY")))
    assert (tmp_path / "CANARY").exists()


def opcodes(*parts: bytes) -> bytes:
    return b"\x80\x02" + b"".join(parts) + b"."


def text(word: str) -> bytes:
    return b"X" + struct.pack("<I", len(word)) + word.encode()


ODD_PICKLES = {
    "an instance (INST)": opcodes(b"(", text("touch CANARY"), b"iposix\nsystem\n"),
    "an object (OBJ)": opcodes(b"(cposix\nsystem\n", text("touch CANARY"), b"o"),
    "a name from the stack": opcodes(text("posix"), text("system"), b"\x93", text("touch CANARY"), b"\x85R"),
    "a name of no text": opcodes(b"K\x01", text("system"), b"\x93"),
    "an extension": opcodes(b"\x82\x01"),
    "a name of two lines": opcodes(text("os\n"), text("system\x1b[2J"), b"\x93"),
    "a dotted name": opcodes(b"ctorch\n_utils.os.system\n", text("touch CANARY"), b"\x85R"),
    "a method of an inert module": opcodes(b"comegaconf\nos.system\n", text("touch CANARY"), b"\x85R0N"),
    "a state that sets attributes": opcodes(b"ccollections\nOrderedDict\n}", text("x"), b"K\x01sb"),
    "a call of a dtype": opcodes(b"ctorch\nfloat32\n)R"),
    "a call of a list": opcodes(b"])R"),
    "no end": b"\x80\x02K\x01",
    "nothing on the stack": opcodes(b""),
    "two values": opcodes(b"K\x01K\x02"),
    "an empty stack": opcodes(b"\x85"),
    "a short stack": opcodes(b"K\x01\x87"),
    "no mark": opcodes(b"t"),
    "an unknown memo": opcodes(b"h\x07"),
    "a protocol of the future": b"\x80\xff.",
    "a list as a key": opcodes(b"}]K\x01s"),
    "a nest as a key": opcodes(b"}N", b"\x85" * 200_000, b"K\x01s"),
    "an item of a number": opcodes(b"K\x01K\x02K\x03s"),
    "bytes of eight exabytes": opcodes(b"\x8e" + struct.pack("<Q", 1 << 62)),
    "text of four gigabytes": opcodes(b"X" + b"\xff\xff\xff\xff" + b"abc"),
    "a number of many digits": opcodes(b"I" + b"9" * 100_000 + b"\n"),
    "pairs without end": opcodes(
        *(b"]q\x00(", b"]K\x01aK\x02a" * 4000, b"e0"),
        *(b"ccollections\nOrderedDict\nh\x00\x85R0" * 6000, b"N"),
    ),
    "text that is no text": opcodes(b"X\x02\x00\x00\x00\xff\xfe"),
}
HARMLESS = {"a method of an inert module", "a state that sets attributes"}


@pytest.mark.parametrize("write", [zip_of, plain_of], ids=["zip", "plain"])
@pytest.mark.parametrize("name", ODD_PICKLES)
def test_odd_pickles_are_refused(name, write, tmp_path, monkeypatch):
    """Those in HARMLESS hold nothing: they are refused for having no tensors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pickled, "MAX_INSTRUCTIONS", 300_000)
    words = "dict of tensors" if name in HARMLESS else "^expected "
    refused(write(tmp_path / "a.ckpt", ODD_PICKLES[name]), words)
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]


def tensor(
    count: int, shape: tuple, stride: tuple, first: int = 0, key: str = "0", kind: str = "FloatStorage"
) -> bytes:
    """A pickle of one tensor, with whatever it says of itself."""

    def number(n: int) -> bytes:
        return b"\x8a\x09" + n.to_bytes(9, "little", signed=True)

    def row(numbers: tuple) -> bytes:
        return b"(" + b"".join(number(n) for n in numbers) + b"t"

    identity = (
        b"("
        + text("storage")
        + f"ctorch\n{kind}\n".encode()
        + text(key)
        + text("cpu")
        + number(count)
        + b"tQ"
    )
    arguments = (
        identity + number(first) + row(shape) + row(stride) + b"\x89" + b"ccollections\nOrderedDict\n)R"
    )
    return opcodes(b"}" + text("w") + b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tRs")


ODD_TENSORS = {
    "as it should be": (tensor(6, (2, 3), (3, 1)), "other tensors"),
    "a larger storage than there is": (tensor(1 << 60, (2, 3), (3, 1)), "bytes in the storage 0"),
    "a storage of less than nothing": (tensor(-6, (2, 3), (3, 1)), "the size of the storage 0"),
    "a larger shape than its storage": (tensor(6, (200, 300), (3, 1)), "inside its storage"),
    "no strides": (tensor(6, (1 << 40, 1 << 40), (0, 0)), "inside its storage"),
    "an offset outside": (tensor(6, (2, 3), (3, 1), 5), "inside its storage"),
    "an offset before": (tensor(6, (2, 3), (3, 1), -1), "shape and strides"),
    "a negative shape": (tensor(6, (-2, 3), (3, 1)), "shape and strides"),
    "strides of another length": (tensor(6, (2, 3), (1,)), "shape and strides"),
    "many dimensions": (tensor(6, (1,) * 30, (1,) * 30), "shape and strides"),
    "another key": (tensor(6, (2, 3), (3, 1), key="7"), "the storage 7 in .*, found none"),
    "a key of two lines": (tensor(6, (2, 3), (3, 1), key="7\n8"), r"the storage 7\?8 in .*, found none"),
    "a key that climbs": (tensor(6, (2, 3), (3, 1), key="../../../../etc/passwd"), "found none"),
    "a storage of no kind": (tensor(6, (2, 3), (3, 1), kind="Size"), "references to storages"),
    "a storage of a strange kind": (tensor(6, (2, 3), (3, 1), kind="Evil"), r"asks for torch\.Evil;"),
}


@pytest.mark.parametrize("name", ODD_TENSORS)
def test_odd_tensors_are_refused(name, tmp_path):
    content, words = ODD_TENSORS[name]
    refused(zip_of(tmp_path / "a.ckpt", content, {"data/0": bytes(24)}), words)


def test_an_entry_larger_than_its_file_is_refused_before_memory_is_asked_for(tmp_path):
    """The archive's directory says four gigabytes, and so does the pickle."""
    path = zip_of(tmp_path / "a.ckpt", tensor(0x3FFFFFFC, (0x3FFFFFFC,), (1,)), {"data/0": bytes(24)})
    data = bytearray(path.read_bytes())
    place = data.rindex(b"archive/data/0") - 46  # of the entry in the directory
    assert data[place : place + 4] == b"PK\x01\x02"
    data[place + 20 : place + 28] = struct.pack("<II", 0xFFFFFFF0, 0xFFFFFFF0)  # compressed and plain size
    refused(written(path, data), r"expected 4294967280 bytes in the storage 0 of .*, got \d{2,4}$")


def tar_of(path: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            data = pickle.dumps(Touch(os.system, "touch CANARY"))
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def nested(path: Path) -> Path:
    inner = zip_of(path.with_suffix(".inner"), pickle.dumps({}))
    data = inner.read_bytes()
    inner.unlink()
    return zip_of(path, data)


def header(about: object, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file."""
    encoded = about if isinstance(about, bytes) else json.dumps(about).encode()
    return struct.pack("<Q", len(encoded) if length is None else length) + encoded + data


def entry(dtype: object = "F32", shape: object = (2,), ends: object = (0, 8)) -> dict:
    return {"w": {"dtype": dtype, "shape": shape, "data_offsets": ends}}


ODD_FILES = {
    "nothing": (lambda p: written(p, b""), "which is neither"),
    "text": (lambda p: written(p, b"hello, I am no checkpoint"), "which is neither"),
    "zeros": (lambda p: written(p, bytes(1000)), "which is neither"),
    "a picture": (lambda p: written(p, b"\x89PNG\r\n\x1a\n" + bytes(64)), "which is neither"),
    "a pickle alone": (lambda p: written(p, pickle.dumps({"a": 1})), "a pickle of something else"),
    "an evil pickle alone": (
        lambda p: written(p, pickle.dumps(Touch(os.system, "touch CANARY"), 2)),
        r"asks for posix\.system;",
    ),
    "a tar archive": (tar_of, "got the tar archive "),
    "another zip archive": (
        lambda p: written(p, zip_bytes({"model.ckpt": b"x"})),
        "got the zip archive .* of model.ckpt",
    ),
    "a zip archive in its place": (nested, "pickle of tensors and plain containers"),
    "a compressed pickle": (
        lambda p: zip_of(p, pickle.dumps({}) + bytes(1 << 20), compression=zipfile.ZIP_DEFLATED),
        "uncompressed",
    ),
    "two pickles": (
        lambda p: written(p, zip_bytes({"a/data.pkl": b"", "b/data.pkl": b""})),
        "got the zip archive",
    ),
    "a TorchScript program": (lambda p: zip_of(p, b"N.", {"constants.pkl": b""}), "TorchScript"),
    "big-endian numbers": (lambda p: zip_of(p, b"N.", {"byteorder": b"big"}), "little-endian"),
    "big-endian plain": (
        lambda p: written(
            p, b"".join(pickle.dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, {}, {}, []))
        ),
        "little-endian",
    ),
    "half a zip archive": (lambda p: cut(zip_of(p, b"N.")), "undamaged checkpoint"),
    "no directory in a zip archive": (
        lambda p: written(p, b"PK\x03\x04" + bytes(100)),
        "undamaged checkpoint",
    ),
    "a header longer than the file": (
        lambda p: written(p, header({}, length=1 << 40)),
        "safetensors header inside",
    ),
    "a header that is no JSON": (lambda p: written(p, header(b"{'a'}" + b" " * 9)), "no JSON"),
    "a header of nests": (lambda p: written(p, header(b'{"a":' + b"[" * 100_000)), "no JSON"),
    "an entry that is none": (lambda p: written(p, header({"w": 3})), "a dtype of "),
    "an unknown dtype": (lambda p: written(p, header(entry("F4"), bytes(8))), "a dtype of "),
    "a dtype that is a list": (lambda p: written(p, header(entry(["F32"]), bytes(8))), "a dtype of "),
    "a negative shape": (lambda p: written(p, header(entry(shape=[-2]), bytes(8))), "shape and data_offsets"),
    "a shape of words": (
        lambda p: written(p, header(entry(shape=["2"]), bytes(8))),
        "shape and data_offsets",
    ),
    "ends before the start": (lambda p: written(p, header(entry(ends=[8, 0]), bytes(8))), "2 numbers of F32"),
    "ends outside the file": (
        lambda p: written(p, header(entry(ends=[8, 16]), bytes(8))),
        "2 numbers of F32",
    ),
    "three ends": (lambda p: written(p, header(entry(ends=[0, 8, 8]), bytes(8))), "shape and data_offsets"),
    "a huge shape": (
        lambda p: written(p, header(entry(shape=[1 << 40, 1 << 40]), bytes(8))),
        "numbers of F32",
    ),
}


def zip_bytes(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def cut(path: Path) -> Path:
    return written(path, path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("name", ODD_FILES)
def test_odd_files_are_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write, words = ODD_FILES[name]
    refused(write(tmp_path / "a.ckpt"), words)
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]


def test_a_folder_and_a_file_without_permission(tmp_path):
    (tmp_path / "sub").mkdir()
    refused(tmp_path / "sub", "a file of weights, or a folder")
    with pytest.raises(ValueError, match=r"^expected a model bundle with a config\.json at "):
        sundae.load(tmp_path / "sub")


@pytest.mark.parametrize("plain", [False, True], ids=["zip", "plain"])
def test_every_cut_is_noticed(plain, tmp_path):
    whole = foreign.save(tmp_path / "a.ckpt", {"state_dict": small_state()}, plain).read_bytes()
    for size in [*range(0, 200, 7), *(len(whole) * k // 40 for k in range(1, 40)), len(whole) - 1]:
        refused(written(tmp_path / "cut.ckpt", whole[:size]), "^expected ")


def test_damaged_weights_of_a_zip_archive_are_noticed(tmp_path):
    path = foreign.save(tmp_path / "a.ckpt", {"state_dict": small_state()})
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda info: info.file_size)
    place = largest.header_offset + 200 + largest.file_size // 2
    data[place] ^= 1
    refused(written(path, data), "a wrong checksum")


def refusal_of(act) -> str:
    """What a ValueError says, or what would be said if there is none; any other exception is a failure."""
    try:
        act()
    except ValueError as error:
        return str(error)
    return "expected nothing"


TINY_FILE = {
    "state_dict": {"encoder.conv_in.weight": torch.ones(2, 3, 1, 1), "b": torch.zeros(4)},
    "n": [1, "x"],
}


@cache
def tiny_file(plain: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(TINY_FILE, buffer, _use_new_zipfile_serialization=not plain)
    return buffer.getvalue()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), plain=st.booleans())
def test_any_damage_is_a_refusal_in_one_line(data, plain, tmp_path):
    """Whatever is done to the bytes: a ValueError of one line or a tree of plain values, and nothing else."""
    content = bytearray(tiny_file(plain))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = written(tmp_path / "b.pt", bytes(content))
    message = refusal_of(lambda: read_archive(path))
    assert message.startswith("expected ")
    assert "\n" not in message


def test_an_error_without_words_is_told_too(tmp_path, monkeypatch):
    path = written(tmp_path / "b.pt", tiny_file(False))

    def ends(*_):
        raise EOFError

    monkeypatch.setattr(archives, "read_entry", ends)
    assert refusal_of(lambda: read_archive(path)).endswith("it ends too early")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_no_pickle_that_does_harm(content):
    find = lambda identity: pytest.fail("no storage was named")  # noqa: E731
    assert refusal_of(lambda: pickled.read_pickle(io.BytesIO(content), find)).startswith("expected ")


# -- memory ----------------------------------------------------------------------------------------------------

MEASURE = """
import re, sys
from pathlib import Path
from sundae.convert.reading import read_foreign

def memory(line):
    return int(re.search(line + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

before = memory("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the imports
model = read_foreign(Path(sys.argv[1])).module
print(memory("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells the peak")
def test_weights_are_in_memory_once_and_the_rest_never(tmp_path):
    """Two optimiser states and a discriminator lie beside the weights, as Lightning keeps them."""
    state = small_state() | {"quantize.embedding.weight": torch.rand(2_000_000, 5)}
    size = sum(value.nbytes for value in state.values())
    others = {"optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(size // 2)}}}]}
    discriminator = {"loss.discriminator.main.0.weight": torch.zeros(size // 4)}
    foreign.save(tmp_path / "a.ckpt", {"state_dict": state | discriminator} | others)
    assert (tmp_path / "a.ckpt").stat().st_size > 3.9 * size
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "a.ckpt")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert int(done.stdout) < 1.3 * size + 4e6, f"{int(done.stdout) / size:.2f} times the weights"


# -- bundles and the command line ------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(tmp_path):
    path = foreign.save(tmp_path / "vqgan.ckpt", {"state_dict": small_state()})
    (tmp_path / "vqgan.yaml").write_text(yaml_of())
    return path


def test_convert_writes_a_bundle_that_knows_its_source(checkpoint, tmp_path, capsys):
    folder = tmp_path / "bundle"
    assert main(["convert", str(checkpoint), str(folder), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["part"], report["folder"]) == ("tokenizer", str(folder))
    source = json.loads((folder / "config.json").read_text())["provenance"]["source"]
    assert source == report["provenance"]["source"]
    assert (source["file"], source["format"], source["bytes"]) == (
        "vqgan.ckpt",
        "taming",
        checkpoint.stat().st_size,
    )
    assert source["sha256"] == sundae.checkpoint.file_hash(checkpoint)
    assert source["config"]["file"] == "vqgan.yaml"
    card = (folder / "README.md").read_text()
    assert source["sha256"] in card
    assert "vqgan.ckpt" in card
    assert str(tmp_path) not in card + (folder / "config.json").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "vqgan.ckpt", "vqgan.yaml"]
    assert main(["convert", str(checkpoint), str(tmp_path / "again")]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'again'}: a tokenizer, from vqgan.ckpt (taming")


def test_reconstruct_works_and_inpaint_says_what_is_missing(checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.random.RandomState(0).randint(0, 256, (50, 40, 3), np.uint8)).save("face.png")
    Image.new("L", (40, 50), 255).save("mask.png")
    assert main(["convert", "vqgan.ckpt", "bundle"]) == 0
    for model in ("vqgan.ckpt", "bundle"):
        assert main(["reconstruct", "face.png", "-o", f"{model}.png", "--model", model]) == 0
        assert Image.open(f"{model}.png").size == (40, 50)
        assert main(["info", model]) == 0
        assert "codebook_size: 24" in capsys.readouterr().out
        assert main(["inpaint", "face.png", "--mask", "mask.png", "-o", "x.png", "--model", model]) == 2
        error = capsys.readouterr().err
        assert error.startswith("sundae: error: expected a model with a prior, got the tokenizer alone")
        assert error.count("\n") == 1
    same = [np.asarray(Image.open(f"{name}.png")) for name in ("vqgan.ckpt", "bundle")]
    assert np.array_equal(*same)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["no.ckpt", "new"], "expected a readable file of weights, got no.ckpt: No such file"),
        (["vqgan.ckpt", "full"], "expected a new or empty folder for the bundle, got 'full'"),
        (["vqgan.ckpt", "vqgan.yaml"], "expected a new or empty folder for the bundle"),
        (["vqgan.ckpt", "no/new"], "expected an existing folder for the bundle, got 'no'"),
        (["vqgan.ckpt", "new", "--format", "gif"], "expected a format of "),
        (["vqgan.ckpt", "new", "--config", "no.yaml"], "expected readable settings at no.yaml"),
        (["vqgan.ckpt", "new", "--tokenizer", "x"], "expected a tokenizer only for a prior"),
        (["prior.pt", "new"], "expected the bundle of a tokenizer for this prior (--tokenizer), got none"),
        (
            ["prior.pt", "new", "--tokenizer", "other.ckpt"],
            "expected a tokenizer with the prior's codes (24, 1)",
        ),
    ],
)
def test_bad_conversions_leave_nothing(words, complaint, checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    foreign.save(tmp_path / "prior.pt", {"net": foreign.weights(foreign.authors())})
    foreign.save(tmp_path / "other.ckpt", small_state(codes=25))
    before = sorted(tmp_path.rglob("*"))
    assert main(["convert", *words]) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_ctrl_c_leaves_nothing(checkpoint, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("sundae.convert.writing.card", interrupted)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(KeyboardInterrupt):
        convert(checkpoint, tmp_path / "new")
    assert sorted(tmp_path.rglob("*")) == before


# -- the authors' prior ----------------------------------------------------------------------------------------

TOML = """
unroll_steps = 2
[data]
root = "data/latents"
vocab_size = 24
sequence_length = 256
[vqgan]
latent_shape = [16, 16]
[net]
type = "hourglass"
dim = 24
nb_heads = 2
shorten_factor = 4
depth = [1, 2, 1]
use_rotary = true
conditional = false
"""


@pytest.fixture
def prior_file(tmp_path):
    return foreign.save(tmp_path / "prior.pt", {"net": foreign.weights(foreign.authors()), "nb_updates": 3})


def test_the_prior_knows_its_grid(prior_file, tmp_path):
    config = read_foreign(prior_file).module.config
    assert (config.grid, config.heads, config.merge, config.layers) == ((16, 16), 2, 2, (1, 2, 1))
    (tmp_path / "prior.toml").write_text(TOML)
    source = read_foreign(prior_file, config=tmp_path / "prior.toml")
    assert source.module.config == config
    assert source.provenance["source"]["config"]["network"]["depth"] == [1, 2, 1]
    assert "latents" not in json.dumps(source.provenance)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("vocab_size = 24", "vocab_size = 25"),
        ("sequence_length = 256", "sequence_length = 1024"),
        ("[16, 16]", "[32, 32]"),
        ("dim = 24", "dim = 32"),
        ("nb_heads = 2", "nb_heads = 8"),
        ("shorten_factor = 4", "shorten_factor = 2"),
        ("depth = [1, 2, 1]", "depth = [2, 2, 2]"),
        ("conditional = false", "conditional = true"),
        ('"hourglass"', '"transformer"'),
    ],
)
def test_settings_of_another_prior_are_refused(old, new, prior_file, tmp_path):
    (tmp_path / "prior.toml").write_text(TOML.replace(old, new))
    refused(prior_file, ", got ", config=tmp_path / "prior.toml")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pos_emb.weight": torch.zeros(256, 24)}, "got pos_emb.weight$"),
        ({"transformer.downsample.proj.weight": torch.zeros(24, 48)}, "a square of cells merged"),
        (
            {"transformer.valley_transformer.rotary_pos_emb.freqs": torch.ones(16)},
            "half a grid's side times pi",
        ),
        ({"transformer.valley_transformer.rotary_pos_emb.freqs": torch.ones(8)}, "16 frequencies"),
    ],
)
def test_priors_that_the_authors_tried_besides_are_refused(change, words, tmp_path):
    refused(foreign.save(tmp_path / "a.pt", {"net": foreign.weights(foreign.authors()) | change}), words)


def test_a_prior_alone_is_no_model(prior_file):
    with pytest.raises(
        ValueError, match=r"^expected a tokenizer in .*, got a prior: .* --tokenizer BUNDLE'$"
    ):
        sundae.load(prior_file)


def test_tokenizer_and_prior_of_others_redraw_a_region(prior_file, checkpoint, tmp_path):
    """The invariants hold with foreign networks: outside the hole nothing changes, and the hole is not looked at."""
    convert(prior_file, tmp_path / "both", tokenizer=checkpoint)
    model = sundae.load(tmp_path / "both")
    assert (model.resolution, model.downsample_factor) == (32, 2)
    assert model.config["provenance"]["tokenizer"]["source"]["file"] == "vqgan.ckpt"
    picture = np.random.RandomState(0).randint(0, 256, (32, 32, 3), np.uint8)
    mask = np.zeros((32, 32), bool)
    mask[8:20, 10:25] = True
    other = picture.copy()
    other[mask] = 255 - other[mask]
    config = sundae.SamplerConfig(steps=4)
    results = []
    for shown in (picture, other):
        prepared = sundae.Inpainter(model).prepare(shown, mask)
        frames = list(prepared.run(config, seeds=[5, 6]))
        known = ~prepared.token_mask[0]
        assert all(
            torch.equal(frame.step.tokens[:, known], prepared.tokens.expand(2, -1, -1, -1)[:, known])
            for frame in frames
        )
        results.append(np.asarray(frames[-1].image(0)))
        assert np.array_equal(results[-1][~mask], shown[~mask])
    assert np.array_equal(results[0][mask], results[1][mask])
    alone = list(sundae.Inpainter(model).prepare(picture, mask).run(config, seeds=[5]))[-1]
    assert np.array_equal(np.asarray(alone.image(0)), results[0])
    assert not np.array_equal(results[0][mask], picture[mask])


def test_networks_of_others_in_the_page_and_the_command_line(prior_file, checkpoint, tmp_path, monkeypatch):
    """A group-norm VQ-GAN and the authors' prior: command line, page and library draw the same; what is known keeps
    its bytes; a stopped job stops and the next one runs. The picture is neither square nor of the model's size."""
    monkeypatch.chdir(tmp_path)
    convert(prior_file, tmp_path / "both", tokenizer=checkpoint)
    picture = np.random.RandomState(0).randint(0, 256, (36, 50, 3), np.uint8)
    hole = np.zeros((36, 50), bool)
    hole[9:23, 11:40] = True
    Image.fromarray(picture).save("face.png")
    Image.fromarray(hole).save("mask.png")
    words = ["inpaint", "face.png", "--mask", "mask.png", "-o", "out.png", "--model", "both"]
    assert main([*words, "--seed", "5", "--steps", "3"]) == 0
    by_command = np.asarray(Image.open("out.png"))
    shelf = Shelf(["both"])
    session = Session()
    session.start_with(load_picture(picture), "Face")
    mask = PNG_URL + base64.b64encode(Path("mask.png").read_bytes()).decode()
    stopped = session.redraw(sundae.Inpainter(shelf[0]), session.order(mask, 5, 3, 2))
    assert [next(stopped)["kind"] for _ in range(2)] == ["start", "frame"]
    session.cancel()
    assert list(stopped) == []
    assert session.result is None
    kinds = [e["kind"] for e in session.redraw(sundae.Inpainter(shelf[0]), session.order(mask, 5, 3, 2))]
    assert kinds == ["start", *["frame"] * 4, "done"]
    by_page = np.asarray(session.result.frame.image(0))
    prepared = sundae.Inpainter(sundae.load("both")).prepare(picture, hole)
    run = prepared.run(dataclasses.replace(prepared.defaults, steps=3), 5)
    by_library = np.asarray(list(run)[-1].image())
    assert np.array_equal(by_command, by_library)
    assert np.array_equal(by_page, by_library)
    assert np.array_equal(by_library[~hole], picture[~hole])
    assert not np.array_equal(by_library[hole], picture[hole])


@pytest.mark.parametrize("grid", [(4, 8), (5, 3), (1, 7)])
def test_the_prior_takes_any_grid(grid, prior_file):
    prior = read_foreign(prior_file).module
    tokens = torch.randint(24, (2, *grid, 1), generator=torch.Generator().manual_seed(0))
    mask = torch.ones(2, *grid, dtype=torch.bool)
    steps = list(prior.sample(tokens, mask, sundae.SamplerConfig(steps=3), [1, 2]))
    assert steps[-1].tokens.shape == tokens.shape
    assert prior.surprise(tokens, mask, [1, 2], passes=2).shape == (2, *grid)


def test_labels_of_a_class_conditional_prior(tmp_path):
    state = foreign.weights(foreign.authors(classes=3))
    prior = read_foreign(foreign.save(tmp_path / "prior.pt", {"net": state})).module
    tokens, known = torch.zeros(2, 4, 4, 1, dtype=torch.int64), torch.zeros(2, 4, 4, dtype=torch.bool)
    one, two = (prior.hidden(tokens, known, torch.tensor([i, i])) for i in (0, 2))
    assert not torch.allclose(one, two)
    for labels in (None, torch.tensor([0, 3]), torch.tensor([-1, 0]), torch.tensor([0])):
        with pytest.raises(ValueError, match=r"^expected 2 class labels from 0 to 2, got "):
            prior.hidden(tokens, known, labels)
    plain = read_foreign(foreign.save(tmp_path / "b.pt", {"net": foreign.weights(foreign.authors())})).module
    with pytest.raises(ValueError, match=r"^expected no class labels"):
        plain.hidden(tokens, known, torch.tensor([0, 0]))
    with pytest.raises(ValueError, match=r"^expected tokens"):
        plain.hidden(tokens[..., 0], known)


def test_only_the_first_head_knows_where_it_is(prior_file):
    """The authors' quirk: turning the first 64 channels of queries and keys turns one head alone."""
    prior = read_foreign(prior_file).module
    attention = prior.before.layers[0].attention
    x = torch.randn(1, 16, 24, generator=torch.Generator().manual_seed(0))
    angles = prior.before.angles(4, 4)
    heads = []
    attention.out.register_forward_pre_hook(lambda _, arguments: heads.append(arguments[0]))
    attention(x, x, angles)
    attention(x, x, None)
    assert not torch.allclose(heads[0][..., :64], heads[1][..., :64])
    assert torch.equal(heads[0][..., 64:], heads[1][..., 64:])


# -- converted tokenizers in use -------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["taming-gumbel", "unleashing", "llamagen", "maskgit"])
def test_a_prior_over_a_converted_tokenizer_redraws_a_region(form, tmp_path):
    """Trained here, say: any tokenizer of one code per cell goes with a prior of as many codes."""
    state = foreign.weights(LAYOUTS[form])
    path = foreign.save(tmp_path / "weights", state)
    convert(path, tmp_path / "alone")
    levels = (LevelConfig(16, 1, "axial", mlp_ratio=1),)
    prior = tiny_prior(HourglassConfig(24, 1, (8, 8), levels, head_dim=PRIOR.head_dim))
    parts = {"tokenizer": load_tokenizer(tmp_path / "alone"), "prior": prior}
    save_bundle(tmp_path / "both", parts, {})
    model = sundae.load(tmp_path / "both")
    picture = np.random.RandomState(0).randint(0, 256, (16, 16, 3), np.uint8)
    mask = np.zeros((16, 16), bool)
    mask[4:9, 5:12] = True
    *_, last = sundae.Inpainter(model).prepare(picture, mask).run(sundae.SamplerConfig(steps=3), 1)
    result = np.asarray(last.image())
    assert np.array_equal(result[~mask], picture[~mask])
    assert not np.array_equal(result[mask], picture[mask])


def test_the_page_on_formats_names_them_all():
    page = (ROOT / "docs" / "formats.md").read_text()
    assert [name for name in FORMATS if f"| `{name}` |" not in page] == []
