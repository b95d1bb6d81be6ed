"""The evaluation on photographs, its contact sheet and curves, and going on from a bundle: on a tiny model."""

from __future__ import annotations

import json
import math
import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import save_tiny_bundle, tiny_model, tiny_prior
from tinyrun import build, export_to, prior_run

import sundae
from sundae import image as images
from sundae.bundles import Model
from sundae.checkpoint import load_prior, load_tokenizer, read_config
from sundae.masks import feather
from sundae.pipeline import DEFAULT_FEATHER
from train import (
    contact_sheet,
    curves,
    encode_dataset,
    evaluate,
    export,
    face_masks,
    features,
    fills,
    judge_photographs,
    metrics,
    prior_quality,
    settings,
    train_prior,
    train_tokenizer,
)
from train.data import FolderSource, split
from train.judge import Setup
from train.tokens import tokens_hash

pytestmark = pytest.mark.filterwarnings("ignore:expected at least 64 samples")  # of train.metrics

ROOT = Path(__file__).parents[1]
SCRIPTS = {
    "train/train_tokenizer.py": train_tokenizer,
    "train/train_prior.py": train_prior,
    "train/encode_dataset.py": encode_dataset,
    "train/export.py": export,
}


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> Path:
    """Twelve pictures of 40 x 48 px in two folders."""
    root = tmp_path_factory.mktemp("faces")
    for i in range(12):
        values = np.random.default_rng(i).integers(0, 256, (7, 7, 3), dtype=np.uint8)
        path = root / ("a", "b")[i % 2] / f"{i:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(values).resize((40, 48), Image.Resampling.BICUBIC).save(path)
    return root


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return save_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


def words(tiny: Path, faces: Path, out: Path, *more: object) -> list[str]:
    fixed = ("--model", tiny, "--data", faces, "--held-out", 1, "--out", out, "--steps", 3)
    return [str(word) for word in (*fixed, *more)]


@pytest.fixture(scope="module")
def judged(tiny: Path, faces: Path, tmp_path_factory) -> Path:
    """The folder of a finished evaluation."""
    out = tmp_path_factory.mktemp("judged")
    with pytest.warns(metrics.TooFewSamples):
        evaluate.main(words(tiny, faces, out))
    return out


def records_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


def summary_of(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


# -- masks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [32, 256, 1024])
def test_masks_cover_what_their_names_say(size: int) -> None:
    holes = face_masks.face_masks(size)
    assert tuple(holes) == fills.MASKS
    assert all(hole.shape == (size, size) and hole.dtype == bool and hole.any() for hole in holes.values())
    eyes, mouth, nose, chin = ((383, 480), (641, 480)), (512, 760), (512, 600), (512, 930)
    crown, temples = (512, 70), ((180, 330), (844, 330))
    covered = {
        "mouth": (mouth, (420, 760), (604, 760)),
        "one_eye": (eyes[1], (560, 480), (720, 480)),
        "both_eyes": eyes,
        "hair": (crown, *temples),
        "half_face": (eyes[1], (560, 760), (700, 600)),
        "centre_square": (nose, *eyes),
    }
    spared = {
        "mouth": (nose, chin, *eyes),
        "one_eye": (eyes[0], nose, mouth),
        "both_eyes": (nose, mouth, crown),
        "hair": (nose, mouth, *eyes, (512, 250)),
        "half_face": (eyes[0], (470, 760), (950, 600)),
        "centre_square": (mouth, crown, chin),
    }
    for name, hole in holes.items():
        at = {
            where: [bool(hole[int(y * size / 1024), int(x * size / 1024)]) for x, y in places[name]]
            for where, places in (("in", covered), ("out", spared))
        }
        assert all(at["in"]) and not any(at["out"]), (name, at)
    assert np.array_equal(holes["both_eyes"], holes["one_eye"] | holes["one_eye"][:, ::-1]) or size < 1024
    assert not (holes["half_face"] & (np.arange(size) < size // 2)).any()


# -- what is measured on one picture -------------------------------------------------------------------------


def test_seam_by_hand() -> None:
    hole = np.zeros((64, 64), bool)
    hole[20:40, 24:44] = True
    flat = np.full((64, 64, 3), 90, np.uint8)
    assert features.across_edge(flat, hole) == 0
    stepped = np.where(hole[..., None], np.uint8(120), flat)
    assert features.across_edge(stepped, hole) == 30
    ramp = np.repeat(np.arange(64, dtype=np.uint8)[None, :, None] * 3, 64, 0).repeat(3, 2)
    # Along rows pixels 8 px apart differ by 24, along columns not at all; 20 rows and 20 columns cross the edge.
    assert features.across_edge(ramp, hole) == 12
    assert features.across_edge(ramp, hole, reach=2) == 3


def test_a_feathered_step_is_a_seam_and_a_blur_is_less_than_none() -> None:
    rng, hole = np.random.default_rng(0), np.zeros((96, 96), bool)
    hole[30:70, 30:70] = True
    truth = rng.integers(100, 140, (96, 96, 3), dtype=np.uint8)
    alpha = feather(hole, DEFAULT_FEATHER)[..., None]
    lifted = np.where(hole[..., None], truth + 60 * alpha, truth).astype(np.uint8)
    own = features.across_edge(truth, hole)
    assert features.across_edge(lifted, hole) / own > 2
    assert features.across_edge(fills.smooth_fill(truth, hole), hole) / own < 0.9


def test_embedding_is_the_mean_over_the_hole() -> None:
    net, rng = features.RandomFeatures(), np.random.default_rng(0)
    picture, hole = rng.integers(0, 256, (96, 96, 3), dtype=np.uint8), np.zeros((96, 96), bool)
    hole[40:56, 40:56] = True  # two cells of 8 px each way
    activations = net(picture)
    expected = activations[-1][0, :, 5:7, 5:7].double().mean((1, 2)).numpy()
    assert net.embedding(activations, hole) == pytest.approx(expected, rel=1e-6)
    assert len(expected) == net.dimensions == 64
    half = np.zeros((96, 96), bool)
    half[40:56, 44:56] = True  # half of the first column of cells
    weighted = activations[-1][0, :, 5:7, 5:7].double().numpy() @ np.array([0.5, 1.0]) / 1.5
    assert net.embedding(activations, half) == pytest.approx(weighted.mean(1), rel=1e-6)


def blind(model: Model) -> Model:
    """The model with a prior that knows nothing: every code is as likely as any other."""
    prior = tiny_prior()
    with torch.no_grad():
        for part in (*prior.head.classifiers, *prior.head.keep):
            for parameter in part.parameters():
                parameter.zero_()
    return Model("blind", model.tokenizer, prior.eval().requires_grad_(False), model.config, model.device)


def test_a_prior_that_knows_nothing_has_the_entropy_of_chance() -> None:
    model = blind(tiny_model())
    picture = np.random.default_rng(3).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    found = prior_quality.guesses(model, picture, 7)
    assert list(found["cross_entropy"]) == ["1/8", "1/4", "1/2", "1"]
    for by_code in found["cross_entropy"].values():
        assert by_code == pytest.approx([math.log(16)] * 2, rel=1e-6)
    assert list(found["accuracy"]) == [str(r / 10) for r in range(1, 11)]
    tokens = model.tokenizer.encode(images.to_tensor(picture))
    first = float(
        (tokens[:, 1:3, 1:3] == 0).float().mean()
    )  # of equal logits the first counts as most likely
    assert list(found["accuracy"].values()) == pytest.approx([first] * 10)


def test_guesses_are_those_of_the_training_loss() -> None:
    model = tiny_model()
    assert model.prior is not None
    picture = np.random.default_rng(3).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    found = prior_quality.guesses(model, picture, 7)
    assert found == prior_quality.guesses(model, picture, 7)
    assert found["cross_entropy"]["1"] != prior_quality.guesses(model, picture, 8)["cross_entropy"]["1"]
    tokens = model.tokenizer.encode(images.to_tensor(picture))
    hole, generator = prior_quality.middle_hole(tokens), torch.Generator().manual_seed(5)
    known = prior_quality.noisy(model.prior, tokens, hole, 0.0, generator)
    direct = model.prior.loss(tokens, tokens, hole, torch.zeros(1, 0, 4, 4, 2))
    assert torch.equal(known.by_code, direct.by_code)
    assert hole.sum() == 4


def test_holes_have_the_size_that_is_said() -> None:
    tokens, rng = torch.zeros((1, 8, 16, 1), dtype=torch.int64), np.random.default_rng(0)
    for size, cells in zip(prior_quality.SIZES, (2, 8, 32, 128), strict=True):
        holes = prior_quality.squares(tokens, size, rng)
        assert len(holes) == (1 if size == 1 else prior_quality.PLACES)
        assert (holes.flatten(1).sum(1) == cells).all()
    places = torch.stack([prior_quality.squares(tokens, prior_quality.SIZES[0], rng)[0] for _ in range(60)])
    assert len(places.unique(dim=0)) > 20


# -- the command ---------------------------------------------------------------------------------------------


def test_every_picture_is_measured_once(judged: Path, tiny: Path, faces: Path, tmp_path: Path) -> None:
    names = [record["name"] for record in records_of(judged)]
    assert names == sorted(str(path.relative_to(faces)) for path in faces.rglob("*.png"))
    before = (judged / "records.jsonl").read_text()
    evaluate.main(words(tiny, faces, judged, "--count", 8))
    assert (judged / "records.jsonl").read_text() == before
    assert summary_of(judged)["photographs"] == 8
    evaluate.main(words(tiny, faces, judged))
    evaluate.main(words(tiny, faces, tmp_path, "--first", 5, "--count", 2))
    alone = records_of(tmp_path)
    for record, again in zip(records_of(judged)[5:7], alone, strict=True):
        for hole in (*record["holes"].values(), *again["holes"].values()):
            del hole["seconds"]
        assert record == again  # a picture's numbers do not depend on the others


def test_a_redraw_has_the_seed_of_its_name(judged: Path, tiny: Path, faces: Path) -> None:
    model, hole = sundae.load(tiny), face_masks.face_masks(32)["half_face"]
    records = records_of(judged)
    seeds = [judge_photographs.seed_of(record["name"]) for record in records]
    assert len(set(seeds)) == len(seeds)
    psnrs = []
    for i in (0, 7):
        truth = FolderSource(faces, 32)[i]
        pictures, _ = fills.fill(model, truth, hole, sundae.SamplerConfig(steps=3), seeds[i])
        psnrs.append(features.psnr(features.squared_error(truth, pictures["sundae"], hole)))
    found = [records[i]["holes"]["half_face"]["methods"]["sundae"]["psnr"] for i in (0, 7)]
    assert found == pytest.approx(psnrs)


def test_held_out_pictures_are_those_of_training(tiny: Path, faces: Path, tmp_path: Path) -> None:
    evaluate.main([*words(tiny, faces, tmp_path), "--held-out", "0.4", "--masks", "mouth"])
    _, held_out = split(FolderSource(faces, 32), 0.4)
    assert 1 < len(held_out) < 11
    assert [record["name"] for record in records_of(tmp_path)] == [
        held_out.name(i) for i in range(len(held_out))
    ]


def test_the_summary_says_what_the_pictures_say(judged: Path, tiny: Path, faces: Path) -> None:
    summary, model, net = summary_of(judged), sundae.load(tiny), features.RandomFeatures()
    truths = [np.asarray(FolderSource(faces, 32)[i]) for i in range(12)]
    decoded = [fills.reconstruction(model, truth) for truth in truths]
    errors = [np.square(a.astype(float) - b).mean() for a, b in zip(truths, decoded, strict=True)]
    psnr = np.mean([10 * math.log10(255**2 / error) for error in errors])
    assert summary["tokenizer"]["psnr"] == pytest.approx(psnr)
    everywhere = np.ones((32, 32), bool)
    real, fake = ([net.embedding(net(p), everywhere) for p in part] for part in (truths, decoded))
    with pytest.warns(metrics.TooFewSamples):
        distance = metrics.frechet_distance(real, fake)
    assert summary["tokenizer"]["r64_fd"] == pytest.approx(distance, rel=1e-4)
    hole = face_masks.face_masks(32)["hair"]
    filled = [fills.smooth_fill(truth, hole) for truth in truths]
    crop = features.crop_around(hole).slices
    real, fake = ([net.embedding(net(p[crop]), hole[crop]) for p in part] for part in (truths, filled))
    found = summary["holes"]["hair"]["prefill"]
    assert found["p_ids"] == metrics.discriminative_scores(real, fake)["p_ids"]
    assert {name: found[name] for name in ("precision", "recall", "density", "coverage")} == pytest.approx(
        metrics.prdc(real, fake)
    )
    edges = [np.mean([features.across_edge(p, hole) for p in part]) for part in (filled, truths)]
    assert found["seam"] == pytest.approx(edges[0] / edges[1])
    assert summary["random_features"]["sha256"] == net.hash
    assert summary["holes"]["all"]["samples"] == 6 * 12
    psnrs = [summary["holes"][mask]["telea"]["psnr"] for mask in fills.MASKS]
    assert summary["holes"]["all"]["telea"]["psnr"] == pytest.approx(np.mean(psnrs))


def test_the_ceiling_is_above_the_model(judged: Path) -> None:
    """Weights are random, so little else is known of the numbers."""
    summary = summary_of(judged)
    for values in summary["holes"].values():
        assert values["true_tokens"]["psnr"] != values["sundae"]["psnr"]
        assert 1 <= values["steps"] <= 3
        for method in fills.METHODS:
            assert values[method]["r64_fd"] > 0
            assert 0 <= values[method]["u_ids"] <= 1
    assert summary["prior"]["cells"] == {"1/8": [1, 1], "1/4": [1, 1], "1/2": [2, 2], "1": [4, 4]}
    assert summary["prior"]["chance"] == pytest.approx(math.log(16))


def test_tables_are_one_for_each_mask_and_one_for_all(judged: Path) -> None:
    text, summary = (judged / "summary.md").read_text(), summary_of(judged)
    titles = [line[4:] for line in text.splitlines() if line.startswith("### ")]
    assert titles == ["Mouth", "One eye", "Both eyes", "Hair", "Half face", "Centre square", "All 6 masks"]
    for title in fills.METHODS.values():
        assert text.count(f"| {title} | ") == 7
    rows = [line for line in text.splitlines() if line.startswith("| OpenCV Telea")]
    for row, values in zip(rows, summary["holes"].values(), strict=True):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[3] == f"{values['telea']['psnr']:.1f}"
        assert cells[4] == f"{values['telea']['seam']:.2f}"
        assert float(cells[1]) == pytest.approx(1000 * values["telea"]["r64_fd"], rel=5e-3)
    assert "With 12 pictures for 64 dimensions R64-FD is biased upwards" in text
    assert "473da87bb7a2" in text and "It is no FID" in text
    assert "infinite" in text


def test_what_too_few_pictures_cannot_tell_stays_open(tiny: Path, faces: Path, tmp_path: Path) -> None:
    evaluate.main(words(tiny, faces, tmp_path, "--count", 2, "--masks", "mouth"))
    values = summary_of(tmp_path)["holes"]["mouth"]["sundae"]
    assert [values[name] for name in judge_photographs.SET_MEASURES] == [None] * 7
    assert "| Sundae | – | " in (tmp_path / "summary.md").read_text()
    assert summary_of(tmp_path)["better_than_opencv"] == []


def test_better_than_opencv_needs_both_measures_and_both_methods() -> None:
    worse, better = {"r64_fd": 2.0, "feature_distance": 2.0}, {"r64_fd": 1.0, "feature_distance": 1.0}
    assert judge_photographs.better_than_opencv({"sundae": better, "telea": worse, "navier_stokes": worse})
    for name in better:
        for other in judge_photographs.OPENCV:
            hole = {"sundae": better, "telea": worse, "navier_stokes": worse}
            hole[other] = worse | {name: 0.5}
            assert not judge_photographs.better_than_opencv(hole)


def test_a_damaged_picture_is_told_and_left_out(tiny: Path, faces: Path, tmp_path: Path, capsys) -> None:
    for name in ("a/00.png", "a/02.png"):
        (tmp_path / "faces" / "a").mkdir(parents=True, exist_ok=True)
        (tmp_path / "faces" / name).write_bytes((faces / name).read_bytes())
    whole = (faces / "b" / "01.png").read_bytes()
    (tmp_path / "faces" / "broken.png").write_bytes(whole[: len(whole) // 2])
    evaluate.main(words(tiny, tmp_path / "faces", tmp_path / "out", "--masks", "mouth"))
    assert [record["name"] for record in records_of(tmp_path / "out")] == ["a/00.png", "a/02.png"]
    assert "broken.png" in capsys.readouterr().err


def test_a_fill_that_touches_known_pixels_is_caught(tiny: Path, monkeypatch) -> None:
    model, truth = sundae.load(tiny), np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    monkeypatch.setattr(fills, "smooth_fill", lambda truth, hole: 255 - truth)
    with pytest.raises(AssertionError, match="prefill changed known pixels"):
        fills.fill(model, truth, face_masks.face_masks(32)["mouth"], sundae.SamplerConfig(steps=1), 0)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (("--data", "nowhere"), "expected a folder of pictures at nowhere"),
        (("--held-out", "0"), "expected held_out above 0"),
        (("--held-out", "0.00001"), "found none: a larger held_out takes more"),
        (("--min-side", "500"), "of at least 500 px"),
        (("--first", "99"), "expected first below the 12 held-out pictures, got 99"),
        (("--count", "0"), "expected --count of at least 1, got 0"),
        (("--count", "many"), "invalid int value"),
        (("--model", "nowhere"), "expected a model name"),
        (("--max-minutes", "0"), "expected at least one finished picture"),
    ],
)
def test_what_the_user_did_wrong_is_said_in_one_line(
    more, expected, tiny: Path, faces: Path, tmp_path
) -> None:
    with pytest.raises(ValueError, match=expected) as error:
        evaluate.main(words(tiny, faces, tmp_path, *more))
    assert "\n" not in str(error.value)


def test_scripts_end_with_status_two_and_one_line(tmp_path: Path) -> None:
    for script in ("evaluate", "contact_sheet", "curves"):
        command = [sys.executable, f"train/{script}.py", "--out", str(tmp_path / "x.gif"), "--count", "0"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


# -- contact sheet -------------------------------------------------------------------------------------------


def test_contact_sheet_of_photographs(tiny: Path, faces: Path, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    contact_sheet.main(words(tiny, faces, out, "--count", 2))
    sheet, small = Image.open(out).convert("RGB"), contact_sheet.SMALL
    step, large = small + contact_sheet.GAP, 2 * small + contact_sheet.GAP
    margin, gutter = contact_sheet.MARGIN, contact_sheet.GUTTER
    assert sheet.width == 2 * margin + large + 3 * (gutter + 3 * step - contact_sheet.GAP)
    assert sheet.height == 2 * margin + 2 * contact_sheet.HEADER + 2 * large + gutter
    first = FolderSource(faces, 32)[0]
    holes = face_masks.face_masks(32)
    left, top = margin + large + gutter, margin + 2 * contact_sheet.HEADER
    for band, names in enumerate(contact_sheet.BANDS):
        for column, name in enumerate(names):
            x, y = left + column * (3 * step - contact_sheet.GAP + gutter), top + band * step
            veiled = np.asarray(sheet.crop((x, y, x + small, y + small)).resize((32, 32)), float)
            expected = contact_sheet.veil(first, holes[name])
            assert np.abs(veiled - expected).mean() < 12
            assert np.abs(veiled - first).mean() > np.abs(veiled - expected).mean()
            seeds = [
                np.asarray(sheet.crop((x + k * step, y, x + k * step + small, y + small))) for k in (1, 2)
            ]
            assert not np.array_equal(seeds[0], seeds[1])


def test_contact_sheet_of_twelve_faces_is_modest() -> None:
    rng, rows = np.random.default_rng(0), []
    for _ in range(12):
        face = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        large = np.asarray(Image.fromarray(face).resize((512, 512), Image.Resampling.BICUBIC))
        rows.append((large, [[large] * 3] * 6))
    sheet = contact_sheet.face_sheet(rows, 2)
    assert max(sheet.size) < 4300
    assert 100_000 < len(contact_sheet.encode(sheet, ".webp")) < contact_sheet.LIMIT


# -- curves --------------------------------------------------------------------------------------------------


def write_run(folder: Path, log: list[dict], validation: list[dict], batch_size: int | None) -> Path:
    folder.mkdir(parents=True)
    for name, lines in (("log", log), ("validation", validation)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if batch_size:
        (folder / "settings.json").write_text(json.dumps({"batch_size": batch_size}))
    return folder


def prior_lines(steps: int) -> list[dict]:
    return [{"step": i, "loss": 5 / i, "accuracy": 0.5, "code1": 4 / i} for i in range(1, steps + 1)]


def validation_line(step: int, loss: float) -> dict:
    return {"step": step, "loss": loss, "nll_bound": loss / 2, "accuracy": {"0.1": 0.9, "1.0": 0.4}}


def test_runs_that_continue_each_other_are_one_curve(tmp_path: Path) -> None:
    lines = [validation_line(3, 3.0), validation_line(5, 9.0), validation_line(4, 2.5)]
    first = write_run(tmp_path / "1", prior_lines(4), lines, 10)
    second = write_run(tmp_path / "2", prior_lines(2), [validation_line(2, 2.0)], 6)
    with open(first / "log.jsonl", "a") as file:
        file.write('{"step": 5, "lo')  # a crash while writing
    trace = curves.read_trace([first, second], "prior", None)
    x, y = curves.series(trace.log, "loss")
    assert x.tolist() == [0.01, 0.02, 0.03, 0.04, 0.046, 0.052]
    assert y.tolist() == pytest.approx([5, 2.5, 5 / 3, 1.25, 5, 2.5])
    x, y = curves.series(trace.validation, "accuracy", "1.0")
    assert x.tolist() == [0.03, 0.04, 0.052]
    # Step 5 lies beyond the log: the run went on from step 4 and has not come there again.
    assert curves.series(trace.validation, "loss")[1].tolist() == [3, 2.5, 2]


def test_averaging_keeps_the_mean_and_short_runs() -> None:
    x, y = curves.averaged(np.arange(1000.0), np.arange(1000.0) ** 2, 10)
    assert len(x) == 10 and x.mean() == pytest.approx(499.5)
    assert y[0] == pytest.approx(np.mean(np.arange(100.0) ** 2))
    assert curves.averaged(np.arange(3.0), np.arange(3.0), 10)[0].tolist() == [0, 1, 2]


def test_curves_of_both_stages_are_drawn(tmp_path: Path) -> None:
    log = [{"step": i, "loss": 1 / i, "l1": 0.5 / i} for i in range(1, 400)]
    validation = [{"step": 9, "loss": 1, "psnr": 20.0}] + [
        {"step": i, "loss": 1, "psnr": 25.0 + i, "perplexity": [9.0, 8.0]} for i in (100, 399)
    ]
    tokenizer = write_run(tmp_path / "t", log, validation, 2)
    prior = write_run(tmp_path / "p", prior_lines(50), [], 4)
    for suffix in (".png", ".svg"):
        out = tmp_path / "docs" / f"curves{suffix}"
        curves.main(["--tokenizer", str(tokenizer), "--prior", str(prior), "--out", str(out)])
        content = out.read_bytes()
        curves.main(["--tokenizer", str(tokenizer), "--prior", str(prior), "--out", str(out)])
        assert out.read_bytes() == content
    assert Image.open(tmp_path / "docs" / "curves.png").width > 1200
    figure = curves.draw({"tokenizer": curves.read_trace([tokenizer], "tokenizer", None)})
    loss, psnr, perplexity = figure.axes
    assert np.shape(loss.lines[0].get_xdata()) == (curves.PIECES,)
    assert np.array_equal(psnr.lines[0].get_ydata(), [20, 125, 424])
    assert [list(np.asarray(line.get_ydata())) for line in perplexity.lines] == [[9, 9], [8, 8]]
    empty = curves.draw({"prior": curves.read_trace([prior], "prior", None)}).axes[1]
    assert [text.get_text() for text in empty.texts] == ["not measured yet"]


def test_runs_that_cannot_be_drawn_are_refused(tmp_path: Path) -> None:
    prior = write_run(tmp_path / "p", prior_lines(2), [], None)
    with pytest.raises(ValueError, match=r"expected settings\.json in .*--batch-size"):
        curves.read_trace([prior], "prior", None)
    assert curves.read_trace([prior], "prior", 7).log[-1]["pictures"] == 14
    with pytest.raises(ValueError, match=r"expected the log of a tokenizer run in .*, found another"):
        curves.read_trace([prior], "tokenizer", 7)
    with pytest.raises(ValueError, match="found none"):
        curves.read_trace([tmp_path], "prior", 7)
    with pytest.raises(ValueError, match="expected runs"):
        curves.parse(["--out", "x.png"])


# -- going on from a bundle ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def house(tmp_path_factory) -> Path:
    """A tiny house with a bundle of tokenizer and prior, ``shipped``."""
    root = build(tmp_path_factory.mktemp("house"))
    prior_run(root, "prior", 3)
    export_to(root, "shipped", "--prior", str(root / "prior"))
    return root


def test_a_tokenizer_begins_with_a_bundles(house: Path) -> None:
    options, _ = settings.parse(
        train_tokenizer.TokenizerSettings,
        "",
        ["--config", str(house / "tokenizer.toml"), "--start_from", str(house / "shipped")],
    )
    trainer = train_tokenizer.TokenizerTrainer(options, train_tokenizer.make_accelerator(options))
    trainer.begin([])
    shipped = load_tokenizer(house / "shipped").state_dict()
    assert all(torch.equal(value, shipped[name]) for name, value in trainer.tokenizer.state_dict().items())
    assert bool(trainer.codebook.started)
    assert torch.equal(
        trainer.codebook.total / trainer.codebook.count[..., None], shipped["quantizer.codebooks"]
    )


def test_a_tokenizer_of_another_shape_is_refused(house: Path) -> None:
    more = [
        "--start_from",
        str(house / "shipped"),
        "--out",
        str(house / "other"),
        "--model.codebook_size",
        "8",
    ]
    with pytest.raises(ValueError, match=r"expected a tokenizer of the shape .*codebook_size=8"):
        train_tokenizer.main(["--config", str(house / "tokenizer.toml"), *more])


def photo_commands(house: Path, out: Path) -> list[list[str]]:
    """What ``make photo`` runs, with tiny settings in place of its own."""
    values = {
        "DATA": house / "pictures",
        "FROM": house / "shipped",
        "RUN": out,
        "MINUTES": 1,
        "TOKENIZER_ARGS": f"--config {house}/tokenizer.toml --freeze_tokens true --steps 4",
        "ENCODE_ARGS": "--size 32 --workers 0",
        "PRIOR_ARGS": f"--config {house}/prior.toml --steps 3 --learning_rate 1e-9",  # to see where it began
    }
    command = ["make", "-n", "photo", *(f"{name}={value}" for name, value in values.items())]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    lines = [shlex.split(line) for line in done.stdout.splitlines() if "train/" in line]
    assert all(line[0].endswith("python") for line in lines)
    return [line[1:] for line in lines]


def test_make_photo_goes_on_from_what_was_shipped(house: Path, tmp_path: Path) -> None:
    commands = photo_commands(house, tmp_path / "run")
    assert [command[0] for command in commands] == [
        "train/train_tokenizer.py",
        "train/encode_dataset.py",
        "train/encode_dataset.py",
        "train/train_prior.py",
        "train/export.py",
    ]
    for _ in range(2):  # repeated, it goes on
        for script, *arguments in commands:
            SCRIPTS[script].main(arguments)
    made, shipped = tmp_path / "run" / "photo-1024", house / "shipped"
    provenance = read_config(made)["provenance"]
    assert (provenance["tokenizer_steps"], provenance["prior_steps"]) == (4, 3)
    assert provenance["prior_training"]["grids"] == 12
    assert provenance["prior_training"]["start_from"] == "/".join(shipped.parts[-2:])
    old, new = load_tokenizer(shipped), load_tokenizer(made)
    assert tokens_hash(old) == tokens_hash(new)
    changed = {
        name for name, value in new.state_dict().items() if not torch.equal(value, old.state_dict()[name])
    }
    assert changed and not any(name.startswith("quantizer") for name in changed)
    first = [json.loads(line) for line in (tmp_path / "run" / "prior" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in first] == [1, 2, 3]
    before, after = load_prior(shipped).state_dict(), load_prior(made).state_dict()
    assert all(torch.allclose(before[name], after[name], atol=1e-3) for name in after)
    names = {path.name for path in (tmp_path / "run" / "tokens").glob("tokens-*.npy")}
    assert names and (tmp_path / "run" / "tokens-validation" / "index.json").exists()
    assert json.loads((tmp_path / "run" / "prior" / "settings.json").read_text())["batch_size"] == 4


def test_settings_of_the_photographic_runs_fit_together() -> None:
    parse = settings.parse
    folder = ROOT / "train" / "configs"
    finish, _ = parse(
        train_tokenizer.TokenizerSettings, "", ["--config", str(folder / "tokenizer-photo-finish.toml")]
    )
    first, _ = parse(
        train_tokenizer.TokenizerSettings, "", ["--config", str(folder / "tokenizer-photo.toml")]
    )
    prior, _ = parse(train_prior.PriorSettings, "", ["--config", str(folder / "prior-photo.toml")])
    assert finish.model == first.model and finish.held_out == first.held_out == 0.1
    assert finish.freeze_tokens
    assert (prior.model.codebook_size, prior.model.depth) == (first.model.codebook_size, first.model.depth)
    assert prior.model.grid[0] * first.model.downsample_factor == first.size


def test_make_photo_needs_a_folder() -> None:
    lines = subprocess.run(
        ["make", "-n", "photo"], cwd=ROOT, capture_output=True, text=True
    ).stdout.splitlines()
    check = next(line for line in lines if line.startswith("test -d"))
    done = subprocess.run(["sh", "-c", check], capture_output=True, text=True, env=os.environ)
    assert (done.returncode, done.stdout) == (2, "")
    assert "make photo DATA=" in done.stderr


def test_keys_tell_what_records_depend_on(tiny: Path) -> None:
    model, net = sundae.load(tiny), features.RandomFeatures()
    sampler, masks = sundae.SamplerConfig(), ["mouth"]
    keys = [
        Setup(model, sampler, masks, net).key(1),
        Setup(model, sampler, masks, net).key(2),
        Setup(model, sundae.SamplerConfig(steps=3), masks, net).key(1),
        Setup(model, sampler, ["mouth", "hair"], net).key(1),
        Setup(model, sampler, masks, features.RandomFeatures(1)).key(1),
        Setup(replace(model, config={"parts": {"prior": {"hash": "other"}}}), sampler, masks, net).key(1),
    ]
    assert len(set(keys)) == len(keys)
    assert Setup(sundae.load(tiny), sampler, masks, features.RandomFeatures()).key(1) == keys[0]
