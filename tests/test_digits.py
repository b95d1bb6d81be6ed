"""train.digits: the split, the shards, one tiny run, and a judge that knows digits from noise."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.datasets import load_digits

from sundae.sampler import SamplerConfig
from train import digits, settings, train_prior
from train.checkpoints import load_state
from train.digits import Digits
from train.tokens import TokenShards

TINY = [
    "--steps=2",
    "--batch-size=4",
    "--per-class=2",
    "--sampling.steps=2",
    "--validation-pictures=3",
    "--model.head-dim=8",
    "--model.levels=[{width = 16, depth = 1, mlp_ratio = 1}, {width = 16, depth = 1, mlp_ratio = 1}]",
]


@pytest.fixture(scope="module")
def sides() -> tuple[Digits, Digits]:
    return digits.real_digits(0.2)


@pytest.fixture(scope="module")
def judge(sides):
    return digits.fit_judge(sides[0])


def places(root) -> list[str]:
    return [f"--out={root}/run", f"--tokens={root}/tokens", f"--validation={root}/held-out"]


def pictures(values) -> list[bytes]:
    return [np.asarray(value, np.uint16).tobytes() for value in values]


# -- digits on disk ------------------------------------------------------------------------------------------


def test_shards_hold_every_digit_once_with_its_label(sides, tmp_path):
    found = []
    for name, side in zip(("training", "held-out"), sides, strict=True):
        digits.write_shards(tmp_path / name, side, 0.2)
        shards = TokenShards(tmp_path / name)
        assert (shards.codes, shards.classes, shards.twins, len(shards)) == (17, 10, 1, len(side))
        grids = [shards.grid(i, 0) for i in range(len(shards))]
        assert grids[0].shape == (8, 8, 1)
        found.append({(g.astype(np.uint16).tobytes(), shards.label(i)) for i, g in enumerate(grids)})
    bunch = load_digits()
    assert found[0] | found[1] == set(zip(pictures(bunch.images), bunch.target.tolist(), strict=True))
    assert not {picture for picture, _ in found[0]} & {picture for picture, _ in found[1]}
    assert len(sides[0]) + len(sides[1]) == 1797
    assert 0.15 < len(sides[1]) / 1797 < 0.25
    assert np.bincount(sides[1].labels, minlength=10).min() > 10


def test_equal_digits_lie_on_one_side(monkeypatch):
    bunch = load_digits()
    twice = SimpleNamespace(images=np.tile(bunch.images, (2, 1, 1)), target=np.tile(bunch.target, 2))
    monkeypatch.setattr(digits, "load_digits", lambda: twice)
    training, held_out = digits.real_digits(0.5)
    assert not set(pictures(training.values)) & set(pictures(held_out.values))
    assert len(training) + len(held_out) == 2 * 1797


def test_another_split_is_refused_where_one_lies(sides, tmp_path):
    digits.write_shards(tmp_path, sides[1], 0.2)
    digits.write_shards(tmp_path, sides[1], 0.2)
    with pytest.raises(ValueError, match=r"^expected tokens with held_out 0.3 in .*, found 0.2"):
        digits.write_shards(tmp_path, sides[1], 0.3)


# -- the command ---------------------------------------------------------------------------------------------


def test_a_tiny_run_ends_with_a_result_and_goes_on(judge, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(digits, "fit_judge", lambda training: judge)
    first = digits.main([*TINY, *places(tmp_path)])
    assert load_state(tmp_path / "run")["step"] == 2
    assert first["training"]["steps"] == first["training"]["steps_now"] == 2
    assert first["training"]["digits"] + first["held_out"]["count"] == 1797
    assert first["samples"]["count"] == 20
    assert first["samples"]["accuracy"] < 0.6  # two steps teach nothing
    assert first["samples"]["nearest_training_digit"]["min"] > 0
    assert first["held_out"]["accuracy"] > 0.95
    printed = capsys.readouterr().out
    assert json.loads(printed[printed.index("\n{\n") :]) == json.loads(
        (tmp_path / "run" / "result.json").read_text()
    )
    assert Image.open(tmp_path / "run" / "samples.png").size == (160, 800)  # two of each class
    again = digits.main([*TINY, *places(tmp_path), "--steps=3"])
    assert again["training"]["steps"] == load_state(tmp_path / "run")["step"] == 3
    assert again["training"]["steps_now"] == 1


def test_the_settings_file_is_one_of_a_prior():
    options = settings.build(train_prior.PriorSettings, settings.read_toml(digits.CONFIG), "the file")
    model = options.model
    assert (model.codebook_size, model.depth, model.grid, model.classes) == (17, 1, (8, 8), 10)
    assert options.tokenizer == ""


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--held-out=0.9", "expected held_out from 0.05 to 0.5, got 0.9"),
        ("--per-class=0", "expected per_class of at least 1, got 0"),
        ("--sampling.steps=0", "expected steps to be a whole number from 1 to 1000, got 0"),
        ("--per-clas=3", "did you mean 'per_class'"),
        ("--model.classes=9", "for a model with .*'classes': 9"),
    ],
)
def test_what_a_user_does_wrong_ends_in_one_line(word, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        digits.main([*TINY, *places(tmp_path), word])


def test_a_dry_run_writes_nothing(tmp_path, capsys):
    assert digits.main([*TINY, *places(tmp_path), "--dry-run"]) is None
    assert "M parameters" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


# -- samples -------------------------------------------------------------------------------------------------


class Writes:
    """A denoiser that fills the picture with the class as a grey value, or with 11 where none is asked for."""

    codebook_size, depth = 17, 1

    def hidden(self, tokens, known, labels=None):
        values = torch.full(tokens.shape[:1], 11) if labels is None else labels
        return 100.0 * F.one_hot(values, 17)[:, None, None].expand(*tokens.shape[:3], 17)

    def logits(self, hidden, current, prefix):
        return hidden


class Anything(Writes):
    """Every grey value alike."""

    def logits(self, hidden, current, prefix):
        return torch.zeros_like(hidden)


def test_each_class_is_asked_for():
    drawn = digits.draw(Writes(), SamplerConfig(steps=2), 3, seed=0)
    assert drawn.labels.tolist() == [label for label in range(10) for _ in range(3)]
    assert np.array_equal(drawn.values, np.broadcast_to(drawn.labels[:, None, None], (30, 8, 8)))


def test_samples_have_their_range_and_their_seed():
    config = SamplerConfig(steps=2)
    first, again, other = (digits.draw(Anything(), config, 2, seed).values for seed in (0, 0, 1))
    assert first.shape == (20, 8, 8)
    assert first.dtype == np.uint16
    assert first.min() == 0 and first.max() == 16
    assert np.array_equal(first, again)
    assert len({*pictures(first), *pictures(other)}) == 40


# -- the judgement -------------------------------------------------------------------------------------------


def test_the_judge_knows_digits_from_noise(judge, sides):
    real = sides[1]
    assert digits.accuracy(judge, real) >= 0.95
    noise = np.random.default_rng(0).integers(0, 17, (500, 8, 8), dtype=np.uint16)
    assert digits.accuracy(judge, Digits(noise, np.arange(500) % 10)) < 0.25
    assert digits.accuracy(judge, Digits(real.values, (real.labels + 1) % 10)) < 0.05


def test_copies_are_counted(sides):
    training, held_out = sides
    values = held_out.values[:9].copy()
    samples = Digits(values, held_out.labels[:9])
    assert digits.count_copies(samples, training) == 0
    values[2] = training.values[17]
    values[5] = training.values[17]
    values[7] = training.values[40]
    values[7, 3, 3] = (int(values[7, 3, 3]) + 1) % 17  # nearly one
    assert digits.count_copies(samples, training) == 2


def test_distances_by_hand():
    originals = Digits(np.zeros((2, 8, 8), np.uint16), np.array([0, 1]))
    originals.values[1] = 16
    samples = Digits(np.zeros((3, 8, 8), np.uint16), np.array([0, 0, 0]))
    samples.values[1, 0, :2] = 3, 4
    samples.values[2] = 15
    assert digits.nearest(samples, originals).tolist() == [0, 5, 8]
    assert digits.spread(originals) == 0  # alone in their classes
    pairs = Digits(np.zeros((20, 8, 8), np.uint16), np.arange(20) % 10)
    pairs.values[10:, 0, 0] = 6
    assert digits.spread(pairs) == pytest.approx(6)


def test_the_sheet_shows_one_class_a_row(sides):
    training = sides[0]
    sheet = np.asarray(digits.sheet(training))
    assert sheet.shape == (800, 800)
    for label in (0, 7):
        third = training.values[training.labels == label][2].astype(float)
        shown = sheet[label * 80 : label * 80 + 80, 160:240][4::8, 4::8]
        assert np.array_equal(shown[1:-1, 1:-1], np.round(255 - third * 255 / 16))
        assert (shown[0] == digits.PAPER).all()
