"""The procedural portraits: determinism, fixed places, labels, masks and errors."""

import hashlib
import json
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from train import portraits
from train.portrait.geometry import CENTRE_X, EYE_OFFSET, EYE_Y, MOUTH_Y

ROOT = Path(__file__).resolve().parents[1]


def _digest(seed: int) -> str:
    return hashlib.sha256(portraits.draw(seed, 256).image.tobytes()).hexdigest()


@pytest.fixture(scope="module")
def many() -> list[portraits.Portrait]:
    return [portraits.draw(seed, 256, labels=True) for seed in range(60)]


def test_same_seed_same_pixels_in_another_process() -> None:
    code = (
        "import hashlib; from train.portraits import draw;"
        "print(hashlib.sha256(draw(7, 256).image.tobytes()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert _digest(7) == _digest(7) == other.stdout.strip()
    assert _digest(7) != _digest(8)


def test_labels_do_not_change_the_picture(many: list[portraits.Portrait]) -> None:
    assert np.array_equal(many[3].image, portraits.draw(3, 256).image)


def test_attributes_are_many_and_json() -> None:
    assert len(fields(portraits.Attributes)) >= 40
    values = portraits.sample_attributes(0).to_dict()
    assert json.loads(json.dumps(values)) == values


def test_shapes_and_every_label_occurs(many: list[portraits.Portrait]) -> None:
    seen: set[int] = set()
    for portrait in many:
        assert portrait.image.shape == (256, 256, 3) and portrait.image.dtype == np.uint8
        assert portrait.labels is not None
        assert portrait.labels.shape == (256, 256) and portrait.labels.dtype == np.uint8
        seen |= set(np.unique(portrait.labels).tolist())
    assert {portraits.LABELS[i] for i in seen} == set(portraits.LABELS)


def _centre(labels: np.ndarray, *names: str) -> tuple[float, float]:
    y, x = np.nonzero(np.isin(labels, [portraits.LABELS.index(name) for name in names]))
    return (x.min() + x.max() + 1) * 2.0, (y.min() + y.max() + 1) * 2.0


def test_eyes_and_mouth_never_move(many: list[portraits.Portrait]) -> None:
    for portrait in many:
        look, labels = portrait.attributes, portrait.labels
        assert labels is not None
        x, y = _centre(labels, "lips", "mouth")
        assert abs(x - CENTRE_X) <= 6 and abs(y - MOUTH_Y) <= 16
        if look.glasses == "none" and look.hair_style != "afro":
            for side, name in ((-1, "iris_left"), (1, "iris_right")):
                x, y = _centre(labels, name)
                assert abs(x - (CENTRE_X + side * EYE_OFFSET)) <= 6 and abs(y - EYE_Y) <= 8


@pytest.mark.parametrize("name", list(portraits.IRIS_COLOURS))
def test_iris_ring_has_the_palette_colour(name: str) -> None:
    look = replace(portraits.sample_attributes(0), iris=name, glasses="none", sunglasses=False)
    image = portraits.draw_attributes(look).image.astype(int)
    for side in (-1, 1):
        x, y = int(CENTRE_X + side * EYE_OFFSET), int(EYE_Y - 3)
        for pixel in (image[y, x - 21], image[y, x + 21], image[y + 21, x]):
            assert np.abs(pixel - portraits.IRIS_COLOURS[name]).max() <= 3


def test_region_masks(many: list[portraits.Portrait]) -> None:
    names = {"mouth", "one_eye", "both_eyes", "hair", "half_face", "centre_square"}
    for portrait in many[:12]:
        masks = portraits.region_masks(portrait, 256)
        assert set(masks) == names
        for mask in masks.values():
            assert mask.shape == (256, 256) and mask.dtype == np.bool_
            assert 0.005 < mask.mean() < 0.5
        assert not masks["one_eye"][:, :126].any() and not masks["half_face"][:, :128].any()
        assert masks["both_eyes"][masks["one_eye"]].all()
    by_attributes = portraits.region_masks(many[0].attributes, 256)
    assert np.array_equal(by_attributes["hair"], portraits.region_masks(many[0], 256)["hair"])


def test_bald_heads_have_a_hair_region() -> None:
    look = replace(portraits.sample_attributes(0), hair_style="bald", hat="none")
    assert portraits.region_masks(look, 128)["hair"].mean() > 0.02


@pytest.mark.parametrize("size", [0, 63, 5000, 256.0, True, "256"])
def test_bad_sizes(size: object) -> None:
    with pytest.raises(ValueError, match="size: expected"):
        portraits.draw(0, size)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [-1, 1.5, "0"])
def test_bad_seeds(seed: object) -> None:
    with pytest.raises(ValueError, match="seed: expected"):
        portraits.sample_attributes(seed)  # type: ignore[arg-type]


def test_rare_things_are_rare() -> None:
    looks = [portraits.sample_attributes(seed) for seed in range(3000)]
    men = [look for look in looks if look.presentation == "masculine"]
    assert 0.25 < np.mean([look.beard != "none" for look in men]) < 0.4
    assert all(look.beard == "none" for look in looks if look.presentation == "feminine")
    assert 0.25 < np.mean([look.glasses != "none" for look in looks]) < 0.35
    assert 0.06 < np.mean([look.hat != "none" for look in looks]) < 0.14
    assert np.mean([look.sunglasses for look in looks]) < 0.05
    assert not any(look.headphones and look.hat != "none" for look in looks)


def test_command_line_writes_and_skips(tmp_path: Path) -> None:
    arguments = ["--out", str(tmp_path), "--first", "5", "--count", "2", "--size", "64", "--labels"]
    portraits.main(arguments)
    first = (tmp_path / "000005.webp").stat().st_mtime_ns
    portraits.main(arguments)
    assert (tmp_path / "000005.webp").stat().st_mtime_ns == first
    lines = (tmp_path / "attributes.jsonl").read_text().splitlines()
    assert [json.loads(line)["seed"] for line in lines] == [5, 6]
    assert (tmp_path / "000006.labels.png").exists() and not list(tmp_path.glob("*.part"))
    portraits.main(["--sheet", str(tmp_path / "sheet.png"), "--count", "1"])
    assert (tmp_path / "sheet.png").exists()


def test_seed_ranges_do_not_meet() -> None:
    assert not set(portraits.HELD_OUT) & set(portraits.VALIDATION)
