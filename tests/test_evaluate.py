"""The evaluation on portraits: measures worked out by hand, questions on pictures whose answer is known."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import sundae
from train import (
    contact_sheet,
    evaluate,
    features,
    fills,
    judge_portraits,
    portrait_context,
    portraits,
    records,
)
from train.judge import Setup

SIZE = 512
FIRST = portraits.HELD_OUT.start
FEATURES_HASH = "473da87bb7a288a3e9df20feb161d3fc838057157ad5c1ec65f69c0487de2f06"


@pytest.fixture(scope="module")
def drawn() -> list[portraits.Portrait]:
    return [portraits.draw(seed, SIZE, labels=True) for seed in range(FIRST, FIRST + 6)]


def eye_hole() -> np.ndarray:
    y, x = (np.mgrid[:SIZE, :SIZE] + 0.5) * (1024 / SIZE)
    return (np.abs(x - 616) < 110) & (np.abs(y - 458) < 85)


def half_hole() -> np.ndarray:
    hole = np.zeros((SIZE, SIZE), bool)
    hole[SIZE // 10 : SIZE * 3 // 4, SIZE // 2 : SIZE * 3 // 4] = True
    return hole


def blank(look: portraits.Attributes) -> portraits.Attributes:
    """The same person with nothing before the eyes."""
    return replace(look, glasses="none", sunglasses=False)


def test_error_by_hand() -> None:
    first, second = np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2, 3), np.uint8)
    second[0, 0] = 10
    everywhere, rest = np.ones((2, 2), bool), np.array([[False, True], [True, True]])
    assert features.squared_error(first, second, everywhere) == 25
    assert features.psnr(25) == pytest.approx(10 * math.log10(65025 / 25))
    assert features.psnr(features.squared_error(first, second, rest)) == math.inf


def test_wilson_interval_by_hand() -> None:
    low, high = features.wilson_interval(9, 10)
    assert (low, high) == (pytest.approx(0.596, abs=1e-3), pytest.approx(0.982, abs=1e-3))
    assert features.wilson_interval(0, 0) == (0, 1)


def test_identical_pictures_are_perfect(drawn: list[portraits.Portrait]) -> None:
    assert fills.whole_picture(drawn[0].image, drawn[0].image) == {
        "psnr": math.inf,
        "ssim": pytest.approx(1),
    }


def test_random_features_are_fixed() -> None:
    assert features.RandomFeatures().hash == features.RandomFeatures().hash == FEATURES_HASH
    assert features.RandomFeatures(1).hash != FEATURES_HASH
    assert features.RandomFeatures().receptive_field == 68


def test_receptive_field_is_what_the_last_scale_sees() -> None:
    net, picture = features.RandomFeatures(), np.full((192, 192, 3), 90, np.uint8)
    before, reached = net(picture)[-1], {}
    for row in (65, 66, 133, 134):  # activation 12 sees 68 rows around 12 * 8 + 4
        changed = picture.copy()
        changed[row, 96] = 255
        reached[row] = bool((net(changed)[-1] != before)[0, :, 12, 12].any())
    assert reached == {65: False, 66: True, 133: True, 134: False}
    assert net.receptive_field == 133 - 66 + 1


def test_feature_distance_grows_with_damage_and_looks_at_the_hole(drawn: list[portraits.Portrait]) -> None:
    net, truth, hole = features.RandomFeatures(), drawn[0].image, eye_hole()
    fill = {name: fills.opencv_fill(truth, hole, cv2.INPAINT_TELEA) for name in ("telea",)}
    fill["noise"] = np.where(
        hole[..., None], np.random.default_rng(0).integers(0, 256, truth.shape, np.uint8), truth
    )
    fill["same"] = truth
    measured = judge_portraits.inside_hole(truth, fill, hole, net)
    distance = {name: value["feature_distance"] for name, value in measured.items()}
    assert 0 == distance["same"] < distance["telea"] < distance["noise"]
    elsewhere = truth.copy()
    elsewhere[-20:] = 0
    assert judge_portraits.inside_hole(truth, {"x": elsewhere}, hole, net)["x"] == {
        "psnr": math.inf,
        "feature_distance": 0,
    }


@pytest.mark.parametrize("method", [cv2.INPAINT_TELEA, cv2.INPAINT_NS])
def test_opencv_changes_the_hole_alone_and_does_not_look_under_it(
    drawn: list[portraits.Portrait], method: int
) -> None:
    truth, hole = drawn[1].image, eye_hole()
    filled = fills.opencv_fill(truth, hole, method)
    assert np.array_equal(filled[~hole], truth[~hole])
    assert not np.array_equal(filled[hole], truth[hole])
    covered = np.where(hole[..., None], np.uint8(7), truth)
    assert np.array_equal(fills.opencv_fill(covered, hole, method), filled)


def test_smooth_fill_changes_the_hole_alone(drawn: list[portraits.Portrait]) -> None:
    truth, hole = drawn[1].image, eye_hole()
    filled = fills.smooth_fill(truth, hole)
    assert np.array_equal(filled[~hole], truth[~hole])
    assert not np.array_equal(filled[hole], truth[hole])


def test_originals_show_their_own_iris(drawn: list[portraits.Portrait]) -> None:
    hole, asked = eye_hole(), 0
    for portrait in drawn:
        look = portrait.attributes
        if not look.sunglasses:
            renderings = portrait_context.with_each_iris(look, SIZE)
            where = portrait_context.iris_pixels(renderings, hole)
            assert portrait_context.enough(where)
            assert portrait_context.iris_by_rendering(portrait.image, renderings, where) == look.iris
            assert portrait_context.iris_by_ring(portrait.image, renderings) == look.iris
            asked += 1
    assert asked >= 4


def test_iris_is_read_from_another_shape_of_eye(drawn: list[portraits.Portrait]) -> None:
    look = blank(drawn[0].attributes)
    renderings = portrait_context.with_each_iris(look, SIZE)
    where = portrait_context.iris_pixels(renderings, eye_hole())
    for name in portraits.IRIS_COLOURS:
        for shape in ("almond", "round", "upturned"):
            other = portraits.draw_attributes(replace(look, iris=name, eye_shape=shape), SIZE).image
            other = np.roll(other, (2, -2), (0, 1))  # 4 px of the design
            assert portrait_context.iris_by_rendering(other, renderings, where) == name


def test_dark_lenses_hide_the_iris(drawn: list[portraits.Portrait]) -> None:
    look = replace(drawn[0].attributes, glasses="square", sunglasses=True)
    hole = eye_hole()
    assert not portrait_context.enough(
        portrait_context.iris_pixels(portrait_context.with_each_iris(look, SIZE), hole)
    )
    portrait = portraits.draw_attributes(look, SIZE, labels=True)
    answers = portrait_context.context(portrait, {"original": portrait.image}, "one_eye", hole)
    assert set(answers) == {"glasses"}
    assert answers["glasses"]["original"] == 1


@pytest.mark.parametrize("kind", ["round", "square", "cat", "half_rim"])
def test_glasses_are_seen_and_missed(drawn: list[portraits.Portrait], kind: str) -> None:
    look = replace(drawn[2].attributes, glasses=kind, sunglasses=False)
    portrait, hole = portraits.draw_attributes(look, SIZE, labels=True), eye_hole()
    without = portrait_context.without_glasses(look, SIZE)
    where = portrait_context.glasses_pixels(portrait, without, hole)
    assert portrait_context.enough(where)
    assert not where[~hole].any()
    assert portrait_context.kept_share(portrait.image, portrait.image, without, where) == 1
    assert portrait_context.kept_share(without, portrait.image, without, where) == 0
    smooth = fills.smooth_fill(portrait.image, hole)
    assert portrait_context.kept_share(smooth, portrait.image, without, where) < 0.5
    noise = np.random.default_rng(0).integers(0, 256, portrait.image.shape, np.uint8)
    assert portrait_context.kept_share(noise, portrait.image, without, where) < 0.4
    shifted = np.roll(portrait.image, 1, 1)  # 2 px of the design
    assert portrait_context.kept_share(shifted, portrait.image, without, where) > 0.6


def test_skin_of_originals_fits_and_another_tone_does_not(drawn: list[portraits.Portrait]) -> None:
    hole = half_hole()
    for portrait in drawn[:3]:
        look, tones = portrait.attributes, list(portraits.SKIN_TONES)
        assert portrait.labels is not None
        areas = portrait_context.skin_areas(portrait.labels, hole)
        assert areas
        assert all(not area[~hole].any() for area in areas.values())
        own = portrait_context.skin_difference(portrait.image, portrait.image, areas)
        assert own == {"ciede2000": pytest.approx(0, abs=1e-6), "cie76": pytest.approx(0, abs=1e-6)}
        other = tones[(tones.index(look.skin) + 1) % len(tones)]
        mixed = np.where(
            hole[..., None], portraits.draw_attributes(replace(look, skin=other), SIZE).image, portrait.image
        )
        assert (
            portrait_context.skin_difference(mixed, portrait.image, areas)["ciede2000"]
            > portrait_context.SKIN_GOAL
        )


def fake_record(seed: int) -> dict:
    answers = dict.fromkeys(portrait_context.JUDGED, seed % 2 == 0)
    values = {m: {"psnr": 20.0 + seed, "feature_distance": 0.5} for m in fills.METHODS}
    hole = {"methods": values, "context": {"iris": answers}, "steps": 3, "seconds": 1.0}
    return {"seed": seed, "tokenizer": {"psnr": 30.0, "ssim": 0.9}, "holes": {"one_eye": hole}}


def test_a_stopped_run_goes_on(tmp_path: Path) -> None:
    path, measured = tmp_path / "records.jsonl", []

    def measure(seed: int) -> dict:
        measured.append(seed)
        return fake_record(seed)

    records.complete(path, "a", range(3), measure)
    with open(path, "a", encoding="utf-8") as file:
        file.write('{"key": "a", "se')  # a crash while writing
    finished = records.complete(path, "a", range(5), measure)
    assert measured == [0, 1, 2, 3, 4]
    assert [record["seed"] for record in finished] == measured
    assert list(records.read_records(path, "a", "seed")) == measured
    records.complete(path, "other model", range(2), measure)
    assert measured[5:] == [0, 1]
    assert len(records.read_records(path, "a", "seed")) == 5


def test_a_run_out_of_time_gives_a_prefix(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    records.complete(path, "a", range(2), fake_record)
    assert [r["seed"] for r in records.complete(path, "a", range(9), fake_record, max_minutes=0)] == [0, 1]


def test_a_picture_without_record_is_left_out(tmp_path: Path) -> None:
    def measure(seed: int) -> dict | None:
        return None if seed == 1 else fake_record(seed)

    finished = records.complete(tmp_path / "records.jsonl", "a", range(3), measure)
    assert [record["seed"] for record in finished] == [0, 2]


def test_summary_and_tables(model: sundae.Model) -> None:
    setup = Setup(model, sundae.SamplerConfig(), ["one_eye"], features.RandomFeatures())
    judge = judge_portraits.Portraits(setup)
    assert list(judge.items) == list(portraits.HELD_OUT)
    summary = judge.summarise([fake_record(seed) for seed in range(5)])
    assert summary["portraits"] == 5
    assert summary["seeds"] == [0, 4]
    assert summary["holes"]["one_eye"]["sundae"]["psnr"] == summary["holes"]["all"]["sundae"]["psnr"] == 22
    assert summary["context"]["iris"]["sundae"]["passed"] == 3
    assert summary["context"]["iris"]["sundae"]["of"] == 5
    summary |= {"model": "m", "prior_hash": "0" * 64, "sampler": {"steps": 24}}
    summary |= {"random_features": {"seed": 0, "receptive_field": 68, "sha256": FEATURES_HASH}}
    json.dumps(summary, allow_nan=False)
    text = judge.tables(summary)
    assert "| one eye | 22.0 / 500.0 |" in text
    assert "**60 %**" in text
    assert "n = 5" in text


def test_bad_arguments() -> None:
    bad = (["--count", "0"], ["--masks", "nose"], ["--first", "-1"], ["--count", "x"], ["--held-out", "0.1"])
    for words in bad:
        with pytest.raises(ValueError, match=r"^[^\n]+$"):
            evaluate.parse(words)
    assert evaluate.parse(["--masks", "hair", "mouth", "--temperature-end", "0.2"]).masks == ["mouth", "hair"]


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".png"])
def test_contact_sheet_is_modest(drawn: list[portraits.Portrait], suffix: str) -> None:
    shown = contact_sheet.veil(drawn[0].image, eye_hole())
    rows = [("one eye", [[drawn[i].image, shown, shown] for i in (2 * row, 2 * row + 1)]) for row in range(3)]
    picture = contact_sheet.sheet(rows, 1)
    data = contact_sheet.encode(picture, suffix)
    assert 10_000 < len(data) < contact_sheet.LIMIT
    with pytest.raises(ValueError, match="expected a file name"):
        contact_sheet.encode(picture, ".gif")
