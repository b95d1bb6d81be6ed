"""Classes of class-conditional priors, from the library and the command line down to the prior."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import (
    ABSORBING,
    AUTOREGRESSIVE,
    PRIOR,
    save_tiny_bundle,
    tiny_absorbing,
    tiny_autoregressive,
    tiny_model,
    tiny_prior,
    tiny_tokenizer,
)

import sundae
from sundae.bundles import Model
from sundae.checkpoint import save_bundle
from sundae.cli import main

QUICK = sundae.SamplerConfig(steps=3)
CLASSES = 3
MAKERS = {
    "sundae": lambda: tiny_prior(dataclasses.replace(PRIOR, classes=CLASSES)),
    "absorbing": lambda: tiny_absorbing(dataclasses.replace(ABSORBING, classes=CLASSES)),
    "autoregressive": lambda: tiny_autoregressive(dataclasses.replace(AUTOREGRESSIVE, classes=CLASSES)),
}


def with_classes(kind: str) -> Model:
    prior = MAKERS[kind]().eval().requires_grad_(False)
    return dataclasses.replace(tiny_model(), prior=prior)


def prepare(model: Model):
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    hole = np.zeros((32, 32), bool)
    hole[8:] = True
    return sundae.Inpainter(model).prepare(picture, hole)


def last_tokens(frames) -> torch.Tensor:
    *_, frame = frames
    return frame.step.tokens


@pytest.mark.parametrize("kind", MAKERS)
def test_what_a_run_draws_is_of_the_class(kind):
    prepared = prepare(with_classes(kind))
    several = last_tokens(prepared.run(QUICK, [4, 4, 4, 4], labels=[0, 2, 1, 2]))
    prior, given = prepared.model.prior, (prepared.tokens, prepared.token_mask, QUICK, [4, 4])
    *_, expected = prior.sample(*given, labels=[0, 2])
    assert torch.equal(several[:2], expected.tokens)
    assert torch.equal(several[1], several[3])
    assert len({several[i].numpy().tobytes() for i in range(3)}) == 3
    for one in (2, np.int64(2)):
        assert torch.equal(last_tokens(prepared.run(QUICK, [4, 4], labels=one)), several[[1, 3]])
    plain = last_tokens(prepared.run(QUICK, [4]))
    *_, nothing = prior.sample(*given[:3], [4], labels=[CLASSES])  # which asks for none
    assert torch.equal(plain, nothing.tokens)


@pytest.mark.parametrize("kind", MAKERS)
def test_whole_pictures_are_of_the_class(kind):
    model = with_classes(kind)
    for size in ({}, {"width": 64}):
        both = last_tokens(sundae.generate(model, [1, 1], QUICK, **size, labels=[0, 2]))
        assert not torch.equal(both[0], both[1])
        assert torch.equal(last_tokens(sundae.generate(model, 1, QUICK, **size, labels=2))[0], both[1])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (3, "expected each class to be a whole number from 0 to 2, got 3"),
        (-1, "expected each class to be a whole number from 0 to 2, got -1"),
        ([0, 1.5], "expected each class to be a whole number from 0 to 2"),
        ("ab", "expected each class to be a whole number from 0 to 2, got 'ab'"),
        ([0, None], "expected each class to be a whole number from 0 to 2"),
        ([0], "expected a single class or one per seed, got 1 for 2 seeds"),
        ([], "expected a single class or one per seed, got 0 for 2 seeds"),
        (1.5, "expected classes as whole numbers, got 1.5"),
    ],
)
def test_classes_that_are_none_are_refused_before_any_work(labels, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        prepare(with_classes("sundae")).run(QUICK, [1, 2], labels=labels)
    with pytest.raises(ValueError, match=f"^{message}"):
        sundae.generate(with_classes("sundae"), [1, 2], labels=labels)


def test_a_prior_without_classes_has_none():
    with pytest.raises(
        ValueError, match=r"^expected no class: this prior was trained without classes, got 0"
    ):
        prepare(tiny_model()).run(QUICK, labels=0)


# -- the command line ----------------------------------------------------------------------------------------


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Path:
    """A picture, a mask, a model with classes and one without."""
    monkeypatch.chdir(tmp_path)
    picture = np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(picture).save("face.png")
    Image.fromarray(np.uint8(255) * (np.arange(32) > 12).repeat(32).reshape(32, 32)).save("mask.png")
    save_bundle(tmp_path / "classes", {"tokenizer": tiny_tokenizer(), "prior": MAKERS["sundae"]()}, {})
    save_tiny_bundle(tmp_path / "plain")
    return tmp_path


WORDS = {
    "inpaint": ["inpaint", "face.png", "--mask", "mask.png", "--steps", "3", "-o", "out.png"],
    "sample": ["sample", "--steps", "3", "-o", "out.png"],
}


@pytest.mark.parametrize("command", WORDS)
def test_a_class_from_the_command_line(desk, capsys, command):
    words = [*WORDS[command], "--model", "classes"]
    assert main([*words, "--class", "2", "--json"]) == 0
    report, model = json.loads(capsys.readouterr().out), sundae.load("classes")
    assert report["settings"]["class"] == 2
    prepared = sundae.Inpainter(model).prepare("face.png", "mask.png")
    config = dataclasses.replace(prepared.defaults, steps=3)
    frames = (
        prepared.run(config, labels=2)
        if command == "inpaint"
        else sundae.generate(model, config=config, labels=2)
    )
    *_, frame = frames
    with Image.open("out.png") as drawn:
        assert np.array_equal(np.asarray(drawn), np.asarray(frame.image()))
        assert json.loads(drawn.info["sundae"])["class"] == 2
    assert main([*words, "--overwrite", "--json"]) == 0
    assert "class" not in json.loads(capsys.readouterr().out)["settings"]
    with Image.open("out.png") as drawn:
        assert not np.array_equal(np.asarray(drawn), np.asarray(frame.image()))
        assert "class" not in json.loads(drawn.info["sundae"])


@pytest.mark.parametrize("command", WORDS)
@pytest.mark.parametrize(
    ("model", "label", "says"),
    [
        ("plain", "0", "expected no class: this prior was trained without classes, got 0"),
        ("classes", "3", "expected each class to be a whole number from 0 to 2, got 3"),
        ("classes", "cat", "expected a whole number from 0 to"),
        ("classes", "-1", "expected a whole number from 0 to"),
    ],
)
def test_classes_that_a_model_lacks_are_one_line(desk, capsys, command, model, label, says):
    assert main([*WORDS[command], "--model", model, f"--class={label}"]) == 2
    printed = capsys.readouterr()
    assert says in printed.err and len(printed.err.splitlines()) == 1 and not printed.out
    assert not Path("out.png").exists()
