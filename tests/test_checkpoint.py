"""sundae.checkpoint and sundae.bundles: bundles come back exactly, and anything doubtful is refused in one line."""

import dataclasses
import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import PRIOR, TOKENIZER, save_tiny_bundle, tiny_prior, tiny_tokenizer

import sundae
from sundae.bundles import weights_folder
from sundae.checkpoint import (
    borrow_part,
    file_hash,
    from_json,
    gather,
    load_prior,
    load_tokenizer,
    save_bundle,
    shards,
    tensors_hash,
    to_json,
)
from sundae.hourglass import Hourglass, HourglassConfig, LevelConfig
from sundae.tokenizer import TokenizerConfig


def edit(folder, change) -> None:
    """Let ``change`` work on the parsed config.json."""
    path = folder / "config.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def rewrite(folder, change) -> None:
    """Change the tokenizer's tensors and make every hash fit them, so that only the content is wrong."""
    path = folder / "tokenizer.safetensors"
    state = load_file(path)
    change(state)
    save_file(state, path)

    def rehash(content):
        content["parts"]["tokenizer"]["files"][path.name] = file_hash(path)
        content["parts"]["tokenizer"]["hash"] = tensors_hash(state)

    edit(folder, rehash)


def refused(folder, pattern: str) -> None:
    with pytest.raises(ValueError, match=pattern) as caught:
        sundae.load(folder)
    assert "\n" not in str(caught.value)


# -- what goes in comes out ----------------------------------------------------------------------------------


def test_weights_come_back_exactly_at_half_precision(bundle):
    for loaded, saved in ((load_tokenizer(bundle), tiny_tokenizer()), (load_prior(bundle), tiny_prior())):
        assert loaded.config == saved.config
        assert not loaded.training
        state = loaded.state_dict()
        assert state.keys() == saved.state_dict().keys()
        for name, value in saved.state_dict().items():
            assert state[name].dtype == torch.float32
            assert state[name].device.type == "cpu"
            assert torch.equal(state[name], value.half().float()), name
        assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_a_second_save_is_the_same(bundle, tmp_path):
    parts = {"tokenizer": load_tokenizer(bundle), "prior": load_prior(bundle)}
    save_bundle(tmp_path / "again", parts, {"licence": "none"})
    assert sorted(path.name for path in bundle.iterdir()) == [
        "config.json",
        "prior.safetensors",
        "tokenizer.safetensors",
    ]
    for path in bundle.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_loaded_model_works_and_knows_its_name(bundle):
    model = sundae.load(str(bundle))
    assert (model.name, model.resolution, model.downsample_factor) == ("tiny", 32, 8)
    assert model.hash == tensors_hash(tiny_prior().state_dict())[:12]
    assert model.config["provenance"] == {"licence": "none"}
    frames = list(sundae.generate(model, [3], sundae.SamplerConfig(steps=2)))
    assert frames[-1].image().size == (32, 32)


def test_a_tokenizer_alone_is_a_model_but_paints_nothing(tmp_path):
    save_bundle(tmp_path / "alone", {"tokenizer": tiny_tokenizer()}, {})
    model = sundae.load(tmp_path / "alone")
    assert model.prior is None
    assert model.hash == tensors_hash(tiny_tokenizer().state_dict())[:12]
    with pytest.raises(ValueError, match=r"^expected a model with a prior, got the tokenizer alone"):
        sundae.Inpainter(model)


def test_configs_are_plain_json_and_come_back():
    for config in (
        TOKENIZER,
        PRIOR,
        HourglassConfig(levels=(LevelConfig(64, 1, "axial", merge=4), LevelConfig(96, 2))),
    ):
        assert from_json(type(config), json.loads(json.dumps(to_json(config))), "test") == config


def test_files_stay_below_ten_megabytes(tmp_path):
    """The shipped shapes, in full size."""
    torch.manual_seed(0)
    prior = Hourglass(HourglassConfig())
    save_bundle(tmp_path, {"prior": prior}, {})
    files = list(tmp_path.glob("*.safetensors"))
    assert len(files) > 1
    assert all(file.stat().st_size < 10_000_000 for file in files)
    loaded = load_prior(tmp_path).state_dict()
    assert all(torch.equal(loaded[name], value.half().float()) for name, value in prior.state_dict().items())


def test_shards_keep_the_order_and_lose_nothing():
    state = {str(i): torch.zeros(1_000_000 * (1 + i % 3), dtype=torch.float16) for i in range(9)}
    groups = shards(state)
    assert [key for group in groups for key in group] == list(state)
    assert all(sum(value.nbytes for value in group.values()) <= 9_000_000 for group in groups)


def test_old_shards_go_when_a_bundle_is_written_again(bundle):
    (bundle / "prior-1-of-2.safetensors").write_bytes(b"old")
    save_tiny_bundle(bundle)
    assert not (bundle / "prior-1-of-2.safetensors").exists()
    sundae.load(bundle)


def test_hash_depends_on_values_names_and_shapes():
    state = {"a": torch.ones(2, 3), "b": torch.zeros(4)}
    others = [
        {"a": torch.ones(3, 2), "b": torch.zeros(4)},
        {"c": torch.ones(2, 3), "b": torch.zeros(4)},
        {"a": torch.ones(2, 3), "b": torch.tensor([0, 0, 0, 0.001])},
    ]
    assert tensors_hash(state) == tensors_hash(dict(reversed(state.items())))
    assert len({tensors_hash(s) for s in (state, *others)}) == 4


# -- what is refused -----------------------------------------------------------------------------------------


def test_a_changed_byte_is_noticed(bundle):
    path = bundle / "tokenizer.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    refused(bundle, "SHA-256 .* damaged or was changed$")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_damaged_numbers_are_refused(bundle, value):
    rewrite(bundle, lambda state: state["codec.mean"].fill_(value))
    refused(bundle, "^expected finite weights .* in codec.mean$")


def test_a_missing_tensor_is_refused(bundle):
    rewrite(bundle, lambda state: state.pop("codec.mean"))
    refused(bundle, "differ at codec.mean")


def test_an_unknown_tensor_is_refused(bundle):
    rewrite(bundle, lambda state: state.update(extra=torch.zeros(1)))
    refused(bundle, "differ at extra")


def test_a_wrong_shape_is_refused(bundle):
    rewrite(bundle, lambda state: state.update({"codec.mean": torch.zeros(5)}))
    refused(bundle, "differ at codec.mean")


def test_hash_of_the_weights_must_be_theirs(bundle):
    edit(bundle, lambda content: content["parts"]["prior"].update(hash="0" * 64))
    refused(bundle, "^expected the prior's weights .* hash")


def test_what_is_no_safetensors_is_refused(bundle):
    path = bundle / "tokenizer.safetensors"
    path.write_bytes(b"not what it says")
    edit(bundle, lambda content: content["parts"]["tokenizer"]["files"].update({path.name: file_hash(path)}))
    refused(bundle, "^expected safetensors in ")


@pytest.mark.parametrize(
    "name",
    ["../tokenizer.safetensors", "/etc/tokenizer.safetensors", "a/b.safetensors", "weights.pt", "..", ""],
)
def test_a_file_outside_the_bundle_is_refused(bundle, name):
    (bundle.parent / "tokenizer.safetensors").write_bytes((bundle / "tokenizer.safetensors").read_bytes())
    digest = file_hash(bundle / "tokenizer.safetensors")
    edit(bundle, lambda content: content["parts"]["tokenizer"].update(files={name: digest}))
    refused(bundle, "^expected a plain .safetensors file name .*, got ")


def test_a_missing_file_is_refused(bundle):
    (bundle / "prior.safetensors").unlink()
    refused(bundle, "^expected the weights .* found no such file$")


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(format_version=2),
        lambda c: c.update(extra=1),
        lambda c: c.pop("provenance"),
        lambda c: c.update(parts=[]),
        lambda c: c.update(parts={}),
        lambda c: c["parts"].update(tokenizer=3),
        lambda c: c["parts"]["tokenizer"].pop("hash"),
        lambda c: c["parts"]["tokenizer"].update(extra=1),
        lambda c: c["parts"]["tokenizer"].update(kind="pickle"),
        lambda c: c["parts"]["tokenizer"].update(kind=["tokenizer"]),
        lambda c: c["parts"]["tokenizer"].update(files=["tokenizer.safetensors"]),
        lambda c: c["parts"]["tokenizer"].update(files={"tokenizer.safetensors": 1}),
        lambda c: c["parts"]["tokenizer"].update(files={}),
        lambda c: c["parts"]["tokenizer"].update(config=None),
        lambda c: c["parts"]["tokenizer"]["config"].update(extra=1),
        lambda c: c["parts"]["tokenizer"]["config"].pop("depth"),
        lambda c: c["parts"]["tokenizer"]["config"].update(depth="2"),
        lambda c: c["parts"]["tokenizer"]["config"].update(depth=2.0),
        lambda c: c["parts"]["tokenizer"]["config"].update(depth=True),
        lambda c: c["parts"]["tokenizer"]["config"].update(depth=0),
        lambda c: c["parts"]["tokenizer"]["config"].update(depth=1),
        lambda c: c["parts"]["tokenizer"]["config"].update(widths=8),
        lambda c: c["parts"]["tokenizer"]["config"].update(widths=[8, 8]),
        lambda c: c["parts"]["tokenizer"]["config"].update(widths=[8, 8, 8, None]),
        lambda c: c["parts"]["prior"].update(kind="tokenizer"),
        lambda c: c["parts"]["prior"]["config"].update(grid=[4]),
        lambda c: c["parts"]["prior"]["config"].update(levels=[]),
        lambda c: c["parts"]["prior"]["config"]["levels"][0].update(attention="diagonal"),
        lambda c: c["parts"]["prior"]["config"]["levels"][0].pop("merge"),
        lambda c: c["parts"]["prior"]["config"].update(head_dim=6),
    ],
)
def test_a_doubtful_config_is_refused(bundle, change):
    edit(bundle, change)
    refused(bundle, "^expected ")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\udcff"])
def test_what_is_no_config_is_refused(bundle, text):
    (bundle / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    refused(bundle, "^expected ")


def test_a_folder_in_place_of_the_config_is_refused(tmp_path):
    (tmp_path / "config.json").mkdir()
    refused(tmp_path, "^expected ")


def test_config_keys_are_named():
    with pytest.raises(
        ValueError, match=r"^expected here with the keys \[.*'codebook_size', .*, got \['codebok_size'\]$"
    ):
        from_json(TokenizerConfig, {"codebok_size": 3}, "here")


def test_unknown_names_and_devices_are_refused(bundle, tmp_path):
    refused("no-such-model", "^expected a model name .*, got 'no-such-model'$")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "^expected a model bundle with a config.json at ")
    with pytest.raises(ValueError, match=r"^expected a device of this machine \(cpu.*\), got 'toaster'$"):
        sundae.load(bundle, device="toaster")
    assert isinstance(sundae.models(), list)


# -- bundles that share a part, and priors with settings of their own ------------------------------------------


@pytest.fixture
def borrower(bundle):
    """A bundle beside ``bundle`` that uses its tokenizer's file."""
    folder = bundle.parent / "borrower"
    save_bundle(folder, {"tokenizer": tiny_tokenizer(), "prior": tiny_prior(seed=7)}, {})
    borrow_part(folder, "tokenizer", bundle)
    return folder


def test_a_tokenizer_can_be_that_of_the_bundle_beside(bundle, borrower):
    assert sorted(path.name for path in borrower.iterdir()) == ["config.json", "prior.safetensors"]
    model, other = sundae.load(borrower), sundae.load(bundle)
    for name, value in other.tokenizer.state_dict().items():
        assert torch.equal(model.tokenizer.state_dict()[name], value), name
    assert model.hash != other.hash
    borrow_part(borrower, "tokenizer", bundle)  # once more changes nothing
    assert sundae.load(borrower).hash == model.hash


def test_what_is_borrowed_is_checked_too(bundle, borrower):
    path = bundle / "tokenizer.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    refused(borrower, "damaged or was changed")
    path.unlink()
    refused(borrower, "no such file")


@pytest.mark.parametrize("name", ["../bundle", "..", "", "a/b", "/tmp", 3, None])
def test_a_lender_is_the_plain_name_of_a_bundle(borrower, name):
    edit(borrower, lambda content: content["parts"]["tokenizer"].update(bundle=name))
    refused(borrower, "expected the plain name of a bundle")


def test_only_the_same_weights_can_be_borrowed(bundle, borrower, tmp_path):
    save_bundle(tmp_path / "other", {"tokenizer": tiny_tokenizer(seed=9)}, {})
    for lender in (tmp_path / "other", borrower):
        with pytest.raises(ValueError, match="expected"):
            borrow_part(bundle, "tokenizer", lender)
    with pytest.raises(ValueError, match=r"expected .* with the same prior"):
        borrow_part(borrower, "prior", bundle)
    assert (bundle / "tokenizer.safetensors").is_file()
    sundae.load(bundle)


def test_a_gathered_bundle_needs_no_other(bundle, borrower, tmp_path):
    gather(borrower, tmp_path / "alone" / "borrower")
    before = sundae.load(borrower)
    (bundle / "tokenizer.safetensors").unlink()
    after = sundae.load(tmp_path / "alone" / "borrower")
    assert after.hash == before.hash
    assert "bundle" not in after.config["parts"]["tokenizer"]


def test_a_tokenizer_can_have_a_limit_of_its_correction(bundle, tmp_path):
    assert load_tokenizer(bundle).most_correction == math.inf
    tokenizer = tiny_tokenizer()
    tokenizer.most_correction = 0.25
    for folder in (tmp_path / "first", tmp_path / "again"):
        save_bundle(folder, {"tokenizer": tokenizer, "prior": tiny_prior()}, {})
        tokenizer = load_tokenizer(folder)
        assert tokenizer.most_correction == 0.25
    for most in (0, -1, True, "0.2", None, float("nan"), float("inf")):
        content = json.loads((tmp_path / "again" / "config.json").read_text())
        content["parts"]["tokenizer"]["most_correction"] = most
        (tmp_path / "again" / "config.json").write_text(json.dumps(content))
        with pytest.raises(ValueError, match="expected most_correction above 0"):
            load_tokenizer(tmp_path / "again")


def test_the_models_in_the_box_have_the_limit_that_suits_their_pictures():
    bundles = [folder for folder in weights_folder().iterdir() if (folder / "config.json").exists()]
    limits = {folder.name: load_tokenizer(folder).most_correction for folder in bundles}
    assert limits.pop("photo-1024") == math.inf
    assert set(limits.values()) == {0.2}


def test_a_prior_can_have_settings_of_its_own(bundle, tmp_path):
    prior = tiny_prior()
    assert "sampler" not in json.loads((bundle / "config.json").read_text())["parts"]["prior"]
    prior.defaults = dataclasses.replace(prior.defaults, temperature_start=0.5, steps=12)
    save_bundle(tmp_path / "own", {"tokenizer": tiny_tokenizer(), "prior": prior}, {})
    part = json.loads((tmp_path / "own" / "config.json").read_text())["parts"]["prior"]
    assert part["sampler"] == {"temperature_start": 0.5, "steps": 12}
    loaded = sundae.load(tmp_path / "own").prior
    assert loaded.settings_for(16) == prior.defaults
    assert sundae.load(bundle).prior.settings_for(16) == Hourglass.defaults


@pytest.mark.parametrize(
    "settings", [{"heat": 1}, {"steps": 0}, {"steps": "many"}, [], 3, None, {"top_p": 2}]
)
def test_settings_that_the_sampler_does_not_know_are_refused(bundle, settings):
    edit(bundle, lambda content: content["parts"]["prior"].update(sampler=settings))
    refused(bundle, "expected settings of the sampler")


def test_a_tokenizer_has_no_sampler(bundle):
    edit(bundle, lambda content: content["parts"]["tokenizer"].update(sampler={}))
    refused(bundle, "none that is complete")
