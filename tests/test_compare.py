"""The comparison of priors: tiny bundles of all three kinds over one tokenizer, numbers worked out by other packages."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from prdc import compute_prdc
from safetensors.torch import save_file
from scipy.linalg import sqrtm
from sklearn.svm import LinearSVC
from tiny import TOKENIZER, tiny_priors, tiny_tokenizer
from torch import Tensor, nn

import sundae
from sundae import masks
from sundae.checkpoint import save_bundle
from train import compare, compare_report, contestants, evaluate, extractors, features, metrics, perceptual
from train.data import FolderSource, split
from train.extractors import NetworkExtractor, RandomExtractor, VGGFeatures
from train.fills import with_true_tokens
from train.mask_kinds import KINDS, SIDES, hidden_side, kind_masks

pytestmark = [
    pytest.mark.filterwarnings("ignore:expected at least [0-9]+ samples"),  # of train.metrics
    pytest.mark.filterwarnings(
        "ignore:Matrix is singular"
    ),  # of scipy's root, which is why ours takes another way
]

SIZE, COUNT, HELD_OUT = 32, 7, 0.7
TRAINED = {"batch_size": 6, "grids": 60, "grid_passes": 120, "start_from": "runs/first"}
PRIORS = ("sundae", "absorbing", "autoregressive")
ROWS = (
    "sundae, 2 steps",
    "sundae, 3 steps",
    "absorbing, 2 steps",
    "absorbing, 3 steps",
    "autoregressive, 16 steps",
)
BASELINES = ("reconstruction alone (ceiling)", "OpenCV Telea", "OpenCV Navier–Stokes")


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> Path:
    """Twelve pictures, of which nine are held out."""
    root = tmp_path_factory.mktemp("faces")
    for i in range(12):
        values = np.random.default_rng(i).integers(0, 256, (7, 7, 3), dtype=np.uint8)
        path = root / ("a", "b")[i % 2] / f"{i:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(values).resize((40, 48), Image.Resampling.BICUBIC).save(path)
    return root


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> dict[str, Path]:
    """One of each kind, over one tokenizer; and one over another."""
    root = tmp_path_factory.mktemp("bundles")
    for name, prior in tiny_priors().items():
        told = {"licence": "none"} | ({"prior_training": TRAINED} if name == "absorbing" else {})
        save_bundle(root / name, {"tokenizer": tiny_tokenizer(), "prior": prior}, told)
    other = {"tokenizer": tiny_tokenizer(TOKENIZER, seed=9), "prior": tiny_priors()["absorbing"]}
    save_bundle(root / "elsewhere", other, {"licence": "none"})
    save_bundle(root / "alone", {"tokenizer": tiny_tokenizer()}, {"licence": "none"})
    return {folder.name: folder for folder in root.iterdir()}


@pytest.fixture(autouse=True, scope="module")
def quick_memory():
    """Peak memory without a fresh process for each bundle; benchmarks/inpaint.py has its own tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare, "fresh_process", lambda source: (1.0, 100.0 + len(Path(source).name)))
        yield


def words(bundles: dict[str, Path], faces: Path, out: Path, *more: object, models=PRIORS) -> list[str]:
    fixed = ("--compare", *(bundles[name] for name in models), "--data", faces, "--held-out", HELD_OUT)
    sizes = ("--count", COUNT, "--holes", 2, "--steps", 2, 3, "--out", out)
    return [str(word) for word in (*fixed, *sizes, *more)]


@pytest.fixture(scope="module")
def compared(quick_memory: None, bundles: dict[str, Path], faces: Path, tmp_path_factory) -> Path:
    """The folder of a finished comparison."""
    out = tmp_path_factory.mktemp("compared")
    with pytest.warns(metrics.TooFewSamples, match="biased upwards"):
        evaluate.main(words(bundles, faces, out))
    return out


@pytest.fixture(autouse=True)
def plain_plots(compared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plot of the finished comparison is real; those of the others would only take time."""
    monkeypatch.setattr(compare_report, "quality_against_steps", lambda summary: Figure((1, 1)))


def summary_of(folder: Path) -> dict:
    def refuse(value: str) -> None:
        raise AssertionError(f"{value} is no JSON")

    return json.loads((folder / "comparison.json").read_text(), parse_constant=refuse)


def records_of(folder: Path) -> dict[str, dict]:
    lines = (folder / "records.jsonl").read_text().splitlines()
    return {record["item"]: record for record in map(json.loads, lines)}


# -- masks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [16, 32, 100, 512])
def test_masks_of_every_kind(size: int) -> None:
    holes, again, other = kind_masks(size, 5), kind_masks(size, 5), kind_masks(size, 6)
    assert tuple(holes) == KINDS == ("thin_strokes", "blobs", "centre_square", "half", "random_blocks")
    for name, hole in holes.items():
        assert hole.shape == (size, size)
        assert hole.dtype == bool
        assert hole.any() and not hole.all()
        assert np.array_equal(hole, again[name])
    assert np.array_equal(holes["centre_square"], other["centre_square"])
    for name in ("thin_strokes", "blobs", "random_blocks"):
        assert not np.array_equal(holes[name], other[name])


def test_masks_hide_what_their_names_say() -> None:
    size, every = 256, [kind_masks(256, seed) for seed in range(12)]
    shares = {kind: [float(holes[kind].mean()) for holes in every] for kind in KINDS}
    assert all(0.01 < share < 0.06 for share in shares["thin_strokes"])
    assert all(0.05 < share < 0.3 for share in shares["blobs"])
    assert shares["centre_square"] == [0.25] * 12
    assert shares["half"] == [0.5] * 12
    assert shares["random_blocks"] == [0.75] * 12
    lit = {"left": (2, 0), "upper": (0, 2), "right": (2, 3), "lower": (3, 2)}  # a quarter's rows and columns
    sides = [hidden_side(seed) for seed in range(12)]
    assert set(sides) == set(SIDES) == set(lit)
    for side, holes in zip(sides, every, strict=True):
        row, column = (place * size // 4 + size // 8 for place in lit[side])
        assert holes["half"][row, column] and not holes["half"][size - 1 - row, size - 1 - column]
    blocks = every[0]["random_blocks"].reshape(16, size // 16, 16, size // 16)
    assert (blocks.all((1, 3)) | ~blocks.any((1, 3))).all()
    widest = masks.shrink(every[0]["thin_strokes"], 3)
    assert widest.mean() < 0.002  # lines, but for where they cross
    with pytest.raises(ValueError, match="at least 16 px, got 15"):
        kind_masks(15, 0)


def test_a_token_is_redrawn_where_any_of_its_pixels_is_hidden(model: sundae.Model) -> None:
    truth = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    for hole in kind_masks(SIZE, 3).values():
        prepared = sundae.Inpainter(model).prepare(truth, hole)
        painted = hole.reshape(4, 8, 4, 8).any((1, 3))
        assert np.array_equal(prepared.token_mask[0].numpy(), painted)


# -- a finished comparison -----------------------------------------------------------------------------------


def test_one_table_has_all_priors_and_baselines(compared: Path) -> None:
    summary, text = summary_of(compared), (compared / "comparison.md").read_text()
    assert [row["title"] for row in summary["rows"]] == [*ROWS, *BASELINES]
    assert [each["name"] for each in summary["pictures"]] == sorted(
        each["name"] for each in summary["pictures"]
    )
    assert len({each["seed"] for each in summary["pictures"]}) == COUNT
    assert summary["frechet_biased"] and "biased upwards" in text
    assert summary["features"]["name"] == "R64-FD" and "FID" not in summary["features"]["name"]
    for row in summary["rows"]:
        prior = row["title"] in ROWS
        assert len({each["id"] for each in summary["rows"]}) == len(summary["rows"])
        assert row["inpaintings"]["count"] == 2 * COUNT
        assert row["inpaintings"]["psnr_outside"] == "infinite"
        assert sum(kind["count"] for kind in row["by_kind"].values()) == 2 * COUNT
        assert (row["samples"] is None) == ("OpenCV" in row["title"])
        assert prior == ("bits_per_token" in row) == ("seconds" in row["inpaintings"])
        assert f"| {row['title']} | " in text
        if prior:
            assert row["samples"]["count"] == COUNT
            assert row["samples"]["p_ids"] is None  # a sample belongs to no picture
            assert 0 < row["samples"]["step_seconds"] < row["samples"]["seconds"]
            assert row["peak_memory_mb"] == 100 + len(row["model"])
            assert row["training"] == (TRAINED if row["model"] == "absorbing" else None)
            assert row["sampler"]["steps"] == (16 if row["model"] == "autoregressive" else row["steps"])
    assert text.count(" | 60 / 120 after runs/first |\n") == 2  # rows of the bundle that tells
    kinds = {row["model"]: row["likelihood"] for row in summary["rows"][:5]}
    assert kinds == {"sundae": "bound", "absorbing": "ELBO", "autoregressive": "exact"}
    assert [row["steps"] for row in summary["rows"][:5]] == [2, 3, 2, 3, 16]


def frechet_by_matrix_root(real: np.ndarray, fake: np.ndarray) -> float:
    first, second = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    root = np.real(np.asarray(sqrtm(first @ second)))
    return float(np.square(real.mean(0) - fake.mean(0)).sum() + np.trace(first + second - 2 * root))


def by_other_packages(real: np.ndarray, fake: np.ndarray) -> dict[str, float]:
    """PRDC, P-IDS and U-IDS as other people compute them."""
    rows, targets = np.concatenate([real, fake]), np.repeat((1.0, -1.0), len(real))
    machine = LinearSVC(dual=False, tol=1e-12, max_iter=100_000).fit(rows, targets)  # type: ignore[arg-type]
    scores = machine.decision_function(rows)
    return {
        **{name: float(value) for name, value in compute_prdc(real, fake, 5).items()},
        "p_ids": float((scores[len(real) :] > scores[: len(real)]).mean()),
        "u_ids": float(1 - machine.score(rows, targets)),
    }


@pytest.mark.parametrize("title", [*ROWS, *BASELINES])
def test_numbers_of_a_row_are_those_of_its_features(compared: Path, title: str) -> None:
    summary, records = summary_of(compared), records_of(compared)
    row = next(row for row in summary["rows"] if row["title"] == title)
    names = [each["name"] for each in summary["pictures"]]
    pairs = [(records[f"{name}|original"], records[f"{name}|{row['id']}"]) for name in names]
    holes = [
        (original["holes"][kind], mine["holes"][kind])
        for kind in KINDS
        for original, mine in pairs
        if kind in mine["holes"]
    ]
    real, fake = (np.array([pair[side]["features"] for pair in holes]) for side in (0, 1))
    found = row["inpaintings"]
    for name, value in by_other_packages(real, fake).items():
        assert found[name] == pytest.approx(value, rel=1e-6), name
    # The root of so singular a product keeps few digits; tests/test_metrics.py has the rest.
    assert found["frechet"] == pytest.approx(frechet_by_matrix_root(real, fake), rel=1e-2)
    assert found["frechet"] == metrics.frechet_distance(real, fake)
    assert found["feature_distance"] == pytest.approx(np.mean(np.sqrt(((real - fake) ** 2).sum(1))))
    assert found["psnr_inside"] == pytest.approx(
        np.mean([10 * math.log10(255**2 / mine["squared_error"]) for _, mine in holes])
    )
    if row["samples"] is not None:
        real, fake = (np.array([pair[side]["whole"]["features"] for pair in pairs]) for side in (0, 1))
        expected = by_other_packages(real, fake) | {"p_ids": None}
        for name, value in expected.items():
            assert row["samples"][name] == (value if value is None else pytest.approx(value, rel=1e-6)), name
        assert row["samples"]["frechet"] == metrics.frechet_distance(real, fake)
    if "bits_per_token" in row:
        bits = [records[f"{name}|bits-{row['prior_hash']}"]["bits"] for name in names]
        assert row["bits_per_token"] == pytest.approx(np.mean(bits))


def test_hidden_halves_are_told_apart_by_side(compared: Path) -> None:
    summary, records, text = (
        summary_of(compared),
        records_of(compared),
        (compared / "comparison.md").read_text(),
    )
    halves = [each for each in summary["pictures"] if "half" in records[f"{each['name']}|original"]["holes"]]
    sides = {side: [each for each in halves if hidden_side(each["seed"]) == side] for side in SIDES}
    assert halves
    for row in summary["rows"]:
        found = row["half_by_side"]
        assert {side: half["count"] for side, half in found.items()} == {
            side: len(some) for side, some in sides.items() if some
        }
        for side, half in found.items():
            errors = [
                records[f"{each['name']}|{row['id']}"]["holes"]["half"]["squared_error"]
                for each in sides[side]
            ]
            expected = np.mean([10 * math.log10(255**2 / error) for error in errors])
            assert half["psnr_inside"] == pytest.approx(expected)
    for side, some in sides.items():
        assert (f"| {side} hidden ({len(some)}) |" in text) == bool(some)


def test_measures_equal_other_packages_on_features_of_the_random_network() -> None:
    net, rng = RandomExtractor(), np.random.default_rng(0)

    def seen(blur: int) -> np.ndarray:
        pictures = rng.integers(0, 256, (80, 6, 6, 3), dtype=np.uint8)
        sizes = [Image.fromarray(p).resize((32, 32), Image.Resampling(blur)) for p in pictures]
        return np.array([net(np.asarray(p), np.ones((32, 32), bool)) for p in sizes])

    real, fake = seen(Image.Resampling.BICUBIC), seen(Image.Resampling.BILINEAR)
    assert np.linalg.matrix_rank(np.cov(real, rowvar=False)) < 64  # some channels never fire
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # 80 samples are enough
        found = compare.set_measures(real.tolist(), fake.tolist(), True)
    assert found["frechet"] == pytest.approx(frechet_by_matrix_root(real, fake), rel=1e-6)
    for name, value in by_other_packages(real, fake).items():
        assert found[name] == pytest.approx(value, rel=1e-6), name


def test_features_and_errors_in_a_record_are_those_of_what_was_drawn(
    compared: Path, bundles: dict[str, Path], faces: Path
) -> None:
    _, held_out = split(FolderSource(faces, SIZE), HELD_OUT)
    truth, name = held_out[0], held_out.name(0)
    seed, records = compare.seed_of(name), records_of(compared)
    holes, net = kind_masks(SIZE, seed), RandomExtractor()
    everywhere = np.ones((SIZE, SIZE), bool)
    for bundle in PRIORS:
        model = sundae.load(bundles[bundle])
        row = contestants.Redraw(model, bundle, None if bundle == "autoregressive" else 2)
        record = records[f"{name}|{row.id}"]
        assert len(record["holes"]) == 2
        (*_, frame) = sundae.generate(model, [seed], row.config)
        seen = net(np.asarray(frame.image()), everywhere)
        assert record["whole"]["features"] == pytest.approx(seen, abs=1e-7)
        assert record["whole"]["passes"] == (16 if bundle == "autoregressive" else 2)
        for kind, found in record["holes"].items():
            prepared = sundae.Inpainter(model).prepare(truth, holes[kind])
            (*_, frame) = prepared.run(row.config, [seed])
            picture = np.asarray(frame.image())
            assert found["squared_error"] == features.squared_error(truth, picture, holes[kind])
            assert found["features"] == pytest.approx(net(picture, holes[kind]), abs=1e-7)
            if bundle == "autoregressive":
                assert found["passes"] == int(prepared.token_mask.sum())
            ceiling = records[f"{name}|reconstruction"]["holes"][kind]["squared_error"]
            assert ceiling == features.squared_error(truth, with_true_tokens(prepared), holes[kind])
        tokens = model.tokenizer.encode(sundae.image.to_tensor(truth))
        assert model.prior is not None
        bits = model.prior.bits(tokens, torch.ones(tokens.shape[:3], dtype=torch.bool), seed)
        assert records[f"{name}|bits-{model.hash}"]["bits"] == pytest.approx(float(bits))


def test_a_prior_that_writes_cell_by_cell_takes_a_pass_for_each(bundles: dict[str, Path]) -> None:
    row = contestants.Redraw(sundae.load(bundles["autoregressive"]), "x", None)
    row.config = replace(row.config, steps=4)  # states that are shown, as on larger grids
    truth, hole = np.full((SIZE, SIZE, 3), 90, np.uint8), np.zeros((SIZE, SIZE), bool)
    hole[:8] = True
    assert row.whole(truth, 0).passes == 16
    assert row.fill(truth, hole, 0).passes == 4
    assert row.title == "x, 16 steps"


def test_pictures_to_look_at(compared: Path) -> None:
    summary = summary_of(compared)
    for row in summary["rows"]:
        with Image.open(compared / f"sheet-{compare_report.slug(row['title'])}.jpg") as sheet:
            assert sheet.height > compare_report.SHOWN * compare_report.CELL
            assert np.asarray(sheet.convert("L"))[40:-20, 20:-20].std() > 20
    for name in (*PRIORS, compare.UNLEARNED):
        with Image.open(compared / f"nearest-{compare_report.slug(name)}.jpg") as sheet:
            assert sheet.width > compare_report.ACROSS * (1 + compare_report.NEAREST) * compare_report.CELL
    with Image.open(compared / "steps.png") as plot:
        assert plot.width > 800
    points = compare_report.by_model(summary["rows"], "samples", "frechet")
    assert {name: [steps for steps, _ in line] for name, line in points.items()} == {
        "sundae": [2, 3],
        "absorbing": [2, 3],
        "autoregressive": [16],
    }


def test_nearest_pictures_come_from_the_training_side(compared: Path, faces: Path) -> None:
    known, held_out = split(FolderSource(faces, SIZE), HELD_OUT)
    training = summary_of(compared)["training"]
    names = {known.name(i) for i in range(len(known))}
    assert training["training_pictures"] == len(names) == 3
    assert names.isdisjoint(held_out.name(i) for i in range(len(held_out)))
    for found in training["nearest"].values():
        assert len(found) == COUNT
        assert all(
            set(each["nearest"]) == names and each["distances"] == sorted(each["distances"]) for each in found
        )
    records = records_of(compared)
    learned = [json.loads(line) for line in (compared / "training.jsonl").read_text().splitlines()]
    for title, found in training["nearest"].items():
        wholes = [
            records[f"{each['name']}|{found[0]['row']}"]["whole"]["layout"]
            for each in summary_of(compared)["pictures"]
        ]
        far = [[math.dist(whole, each["layout"]) for each in learned] for whole in wholes]
        assert training["median_distance"][title] == pytest.approx(np.median(np.min(far, 1)))
        assert [each["distances"] for each in found] == [pytest.approx(sorted(row)) for row in far]
    order, apart = compare.nearest([[0.0, 0], [10, 0]], [[9.0, 0], [0, 4], [0, -3]])
    assert order.tolist() == [[2, 1, 0], [0, 2, 1]]
    assert apart[0].tolist() == [3, 4, 9]


def test_copies_are_looked_for_by_where_features_are() -> None:
    net, everywhere = RandomExtractor(), np.ones((128, 128), bool)
    picture = np.full((128, 128, 3), 250, np.uint8)
    picture[20:44, 20:44] = (200, 30, 30)
    elsewhere = np.roll(picture, (64, 64), (0, 1))
    layout, moved = net.layout(picture), net.layout(elsewhere)
    assert layout.shape == (16 * 64,)
    assert np.array_equal(layout, net.layout(picture.copy()))
    parts = np.linalg.norm(layout - moved) / 4  # as of a mean of 16 parts
    assert parts > 10 * np.linalg.norm(net(picture, everywhere) - net(elsewhere, everywhere))
    assert layout.reshape(64, 16).mean(1) == pytest.approx(net(picture, everywhere), rel=1e-4, abs=1e-7)


# -- going on ------------------------------------------------------------------------------------------------


def test_a_repeated_comparison_measures_what_is_missing(
    compared: Path, bundles: dict[str, Path], faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, out = summary_of(compared), tmp_path / "again"
    lines = (compared / "records.jsonl").read_text().splitlines()
    assert len(lines) == len(records_of(compared)) == COUNT * (len(ROWS) + len(BASELINES) + 1 + len(PRIORS))
    out.mkdir()
    for name in ("pictures", "training.jsonl"):
        (out / name).symlink_to(compared / name)
    (out / "records.jsonl").write_text("\n".join(lines[:-1]) + "\n" + lines[-1][:-9])  # stopped while writing
    measured, measure = [], compare.Comparison.measure

    def watched(self: compare.Comparison, item: str):
        measured.append(item)
        return measure(self, item)

    monkeypatch.setattr(compare.Comparison, "measure", watched)
    after = evaluate.main(words(bundles, faces, out))
    assert measured == [json.loads(lines[-1])["item"]]
    volatile = ("machine",)
    assert {k: v for k, v in after.items() if k not in volatile} == {
        k: v for k, v in before.items() if k not in volatile
    }
    measured.clear()
    fewer = evaluate.main(words(bundles, faces, out, "--training", 0, models=("sundae", "autoregressive")))
    assert measured == []  # another choice of bundles asks for nothing new
    assert [row for row in fewer["rows"] if row["title"] in ROWS] == [
        row for row in before["rows"] if row.get("model") in ("sundae", "autoregressive")
    ]


def test_rows_of_a_stopped_run_are_of_the_same_pictures(
    compared: Path, bundles: dict[str, Path], faces: Path, tmp_path: Path
) -> None:
    lines = (compared / "records.jsonl").read_text().splitlines()
    (tmp_path / "pictures").symlink_to(compared / "pictures")
    (tmp_path / "training.jsonl").symlink_to(compared / "training.jsonl")
    per_picture = len(lines) // COUNT
    (tmp_path / "records.jsonl").write_text("\n".join(lines[: 3 * per_picture - 2]) + "\n")
    summary = evaluate.main(words(bundles, faces, tmp_path, "--max-minutes", 0, "--training", 0))
    assert len(summary["pictures"]) == 2  # the third lacks rows
    row = summary["rows"][0]["samples"]
    assert row["frechet"] is not None and row["precision"] is None  # two pictures have no five neighbours
    assert "– / –" in (tmp_path / "comparison.md").read_text()
    (tmp_path / "records.jsonl").unlink()
    with pytest.raises(ValueError, match="got none: allow more minutes"):
        evaluate.main(words(bundles, faces, tmp_path, "--max-minutes", 0))


def test_a_damaged_picture_is_left_out_of_every_row(
    bundles: dict[str, Path], faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "faces"
    folder.mkdir()
    whole = sorted(faces.rglob("*.png"))[0].read_bytes()
    for name, data in (("0.png", whole), ("1.png", whole[: len(whole) // 2]), ("2.png", whole)):
        (folder / name).write_bytes(data)
    fixed = words(
        bundles, folder, tmp_path / "out", "--held-out", 1, "--holes", 1, "--steps", 1, models=["sundae"]
    )
    summary = evaluate.main(fixed)
    assert [each["name"] for each in summary["pictures"]] == ["0.png", "2.png"]
    told, net = capsys.readouterr().err, features.RandomFeatures()
    assert "damaged picture" in told
    assert f"random convolutional network, seed {net.seed}, " in told and f", sha256 {net.hash}\n" in told
    assert "training" not in summary  # everything is held out
    assert summary["rows"][0]["steps"] == 1


def test_a_changed_known_pixel_is_an_error(
    bundles: dict[str, Path], faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth, hole = np.full((8, 8, 3), 100, np.uint8), np.zeros((8, 8), bool)
    hole[2:4] = True
    inside, outside = truth.copy(), truth.copy()
    inside[2], outside[7, 7, 0] = 0, 101
    compare.check_outside("x", truth, inside, hole)
    compare.check_outside("x", truth, inside, np.ones_like(hole))
    with pytest.raises(AssertionError, match=r"x changed known pixels: PSNR outside the hole is 69.\d dB"):
        compare.check_outside("x", truth, outside, hole)

    def careless(truth: np.ndarray, hole: np.ndarray, method: int) -> np.ndarray:
        return np.where(hole[..., None], truth, truth ^ 1)

    monkeypatch.setattr(contestants, "opencv_fill", careless)
    with pytest.raises(AssertionError, match="OpenCV Telea changed known pixels"):
        evaluate.main(words(bundles, faces, tmp_path, "--count", 1, models=["sundae"]))


# -- features ------------------------------------------------------------------------------------------------


class Colours(nn.Module):
    """Mean and deviation of every colour, and with a question as Inception's file has it."""

    def forward(self, pixels: Tensor, return_features: bool = False) -> Tensor:
        values = pixels.float().flatten(2)
        found = torch.cat([values.mean(2), values.std(2)], 1)
        return found if return_features else found.argmax(1)


class Odd(nn.Module):
    """Gives no features: one number."""

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels.float().mean()


class Particular(nn.Module):
    """Takes pictures of 7 px alone."""

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels.float().view(1, 147)


def script(net: nn.Module, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(net).save(str(path))
    return path


def test_a_torchscript_network_gives_the_features(
    bundles: dict[str, Path], faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = script(Colours(), tmp_path / "colours.pt")
    more = ("--features", path, "--steps", 1, "--holes", 1, "--training", 0)
    summary = evaluate.main(words(bundles, faces, tmp_path / "out", *more, models=["sundae"]))
    assert summary["features"]["name"] == "FD (colours)"
    assert summary["features"]["dimensions"] == 6
    assert not summary["frechet_biased"]  # seven pictures, six dimensions
    assert f"running the code in {path}" in capsys.readouterr().err
    _, held_out = split(FolderSource(faces, SIZE), HELD_OUT)
    values = held_out[0].reshape(-1, 3).astype(np.float64)
    expected = [*values.mean(0), *values.std(0, ddof=1)]
    record = records_of(tmp_path / "out")[f"{held_out.name(0)}|original"]
    assert record["whole"]["features"] == pytest.approx(expected, rel=1e-4)
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert "samples: FD (colours)" in text and "R64" not in text


def test_vgg_from_safetensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extractors, "VGG_SIDE", SIZE)  # 224 px take their time
    torch.manual_seed(0)
    slices = perceptual.vgg_slices().eval()
    state = {f"features.{name}": value for name, value in slices.state_dict().items()}
    path = tmp_path / "vgg16.safetensors"
    save_file({**state, "classifier.0.bias": torch.zeros(3)}, path)
    extractor = NetworkExtractor(path, SIZE, torch.device("cpu"))
    assert (extractor.title, extractor.dimensions) == ("FD (vgg16)", 512)
    picture = np.full((SIZE, SIZE, 3), (10, 128, 250), np.uint8)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    normal = (np.array([10, 128, 250]) / 255 - mean) / deviation
    flat = torch.tensor(normal).float().view(1, 3, 1, 1).expand(1, 3, SIZE, SIZE)
    with torch.inference_mode():
        expected = slices(flat).mean((2, 3))[0].numpy()
    assert extractor(picture, np.ones((SIZE, SIZE), bool)) == pytest.approx(expected, rel=1e-3, abs=1e-6)
    with pytest.raises(
        ValueError, match=r"expected features.0.weight of shape \(64, 3, 3, 3\) .* found none"
    ):
        VGGFeatures({}, "x")


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (Odd(), r"features as floats \(1, d\) of one picture, got torch.float32 \(\)"),
        (Particular(), r"a network that takes uint8 \(1, 3, 32, 32\), it failed"),
    ],
)
def test_networks_that_give_no_features_are_refused(net: nn.Module, message: str, tmp_path: Path) -> None:
    path = script(net, tmp_path / "net.pt")
    with pytest.raises(ValueError, match=message):
        NetworkExtractor(path, SIZE, torch.device("cpu"))


@pytest.mark.parametrize("name", ["none.pt", "text.pt", "text.safetensors", "pickle.pt"])
def test_files_that_are_no_networks_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("no network")
    (tmp_path / "text.safetensors").write_text("no network")
    torch.save({"a": torch.ones(2)}, tmp_path / "pickle.pt")
    with pytest.raises(ValueError, match=r"^expected [^\n]*$"):
        NetworkExtractor(tmp_path / name, SIZE, torch.device("cpu"))


# -- bad input -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("models", "more", "message"),
    [
        (
            ["sundae", "elsewhere"],
            (),
            "expected models over one tokenizer, got .* in sundae and .* in elsewhere",
        ),
        (["sundae", "alone"], (), r"expected models with a prior, got the tokenizer alone \(alone\)"),
        (
            ["sundae", "absorbing", "sundae"],
            (),
            "expected different models, got the weights of .*sundae twice",
        ),
        (["sundae"], ("--compare", "no-such-bundle"), "expected a model name .* got 'no-such-bundle'"),
        (["sundae"], ("--steps", 0), "expected steps to be a whole number from 1 to 1000, got 0"),
        (["sundae"], ("--steps", 5, -3), "expected steps to be a whole number from 1 to 1000, got -3"),
        (["absorbing"], ("--steps", 17), "expected steps of at most 16, the tokens of absorbing, got 17"),
        (["sundae"], ("--steps", "many"), "invalid int value: 'many'"),
        (["sundae"], ("--count", 0), "expected --count of at least 1, got 0"),
        (["sundae"], ("--holes", 6), "expected --holes of at most 5, got 6"),
        (["sundae"], ("--holes", 0), "expected --holes of at least 1, got 0"),
        (["sundae"], ("--training", -1), "expected --training of at least 0, got -1"),
        (["sundae"], ("--first", 9), "expected --first below the 9 held-out pictures, got 9"),
        (["sundae"], ("--held-out", 1.5), "expected --held-out above 0 and at most 1, got 1.5"),
        (
            ["sundae"],
            ("--features", "no-such-file.pt"),
            "expected a network in no-such-file.pt, found no such file",
        ),
        (["sundae"], ("--masks", "mouth"), "unrecognized arguments"),
    ],
)
def test_bad_input(models, more, message: str, bundles: dict[str, Path], faces: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        evaluate.main(words(bundles, faces, tmp_path / "out", *more, models=models))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()  # said before anything is measured


def test_options_of_a_folder_without_one(bundles: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="together with --data"):
        evaluate.main(["--compare", str(bundles["sundae"]), "--min-side", "64"])


@pytest.mark.parametrize(
    ("training", "cell"),
    [
        (None, "–"),
        ("long", "–"),
        ({}, "– / –"),
        ({"grids": "many", "grid_passes": 1200}, "– / 1,200"),
        ({"grids": 600, "grid_passes": 1200}, "600 / 1,200"),
        (TRAINED, "60 / 120 after runs/first"),
    ],
)
def test_a_bundle_may_tell_anything_of_its_training(training, cell: str) -> None:
    assert compare_report.budget(training) == cell


def test_names_that_are_alike_are_told_apart(bundles: dict[str, Path], tmp_path: Path) -> None:
    parts = {"tokenizer": tiny_tokenizer(), "prior": tiny_priors()["absorbing"]}
    save_bundle(tmp_path / "sundae", parts, {"licence": "none"})
    names = list(compare.load_models([str(bundles["sundae"]), str(tmp_path / "sundae")], "cpu"))
    assert len(set(names)) == 2
    assert all(name.startswith("sundae (") for name in names)
