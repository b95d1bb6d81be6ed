"""The command line: what it writes, what it says, and that it leaves nothing half done."""

import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from marks import DRAWN, EDITED, mark_of
from PIL import Image
from tiny import save_tiny_bundle, tiny_priors, tiny_taming, tiny_tokenizer

import sundae
from sundae import cli, outputs, stopping
from sundae.checkpoint import save_bundle
from sundae.cli import main
from sundae.pipeline import Prepared

ROOT = Path(__file__).parent.parent
SECONDS = {"load", "prepare", "sample", "save", "total"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A bundle with f = 8 and a native size of 32 px."""
    return str(save_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny"))


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """An empty folder with a picture of 48 x 40 px and a mask of it; the working directory of the test."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (40, 48, 3), np.uint8)).save(tmp_path / "face.png")
    mask = np.zeros((40, 48), np.uint8)
    mask[9:23, 12:31] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def inpaint(desk, tiny, capsys):
    """Run inpaint with the desk's files; returns its JSON."""

    def run(*extra: str, out: str = "out.png", code: int = 0):
        argv = [
            "inpaint",
            "face.png",
            "--mask",
            "mask.png",
            "-o",
            out,
            "--model",
            tiny,
            "--steps",
            "3",
            "--json",
        ]
        assert main([*argv, *extra]) == code
        printed = capsys.readouterr()
        if code:
            return printed
        assert printed.err == ""
        return json.loads(printed.out)

    return run


def pixels(path: str | Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


# -- inpaint -------------------------------------------------------------------------------------------------


def test_only_painted_pixels_change(desk, inpaint):
    inpaint()
    before, after, mask = pixels("face.png"), pixels("out.png"), pixels("mask.png") > 0
    assert after.shape == before.shape
    assert (after == before)[~mask].all()
    assert (after != before)[mask].any(-1).mean() > 0.9


def test_the_report_is_one_json_object_that_is_true(desk, inpaint, tiny):
    report = inpaint("--seed", "5", "--grow", "1")
    (output,) = report["outputs"]
    assert output["sha256"] == hashlib.sha256(Path("out.png").read_bytes()).hexdigest()
    assert output["bytes"] == Path("out.png").stat().st_size
    assert (output["path"], output["seed"], output["steps"]) == ("out.png", 5, 3)
    assert (report["width"], report["height"], report["mode"]) == (48, 40, "RGB")
    assert report["model"] == {"name": "tiny", "hash": sundae.load(tiny).hash, "resolution": 32}
    assert report["seeds"] == [5]
    assert report["mask"]["box"] == {"left": 11, "top": 8, "right": 32, "bottom": 24}
    assert report["settings"]["steps"] == 3
    assert report["settings"]["grow"] == 1
    assert report["notes"] == []
    assert set(report["seconds"]) == SECONDS
    assert all(value >= 0 for value in report["seconds"].values())
    assert report["seconds"]["total"] >= sum(v for k, v in report["seconds"].items() if k != "total") - 0.01


def test_the_summary_is_short_and_names_the_files(desk, tiny, capsys):
    argv = ["inpaint", "face.png", "--mask", "mask.png", "-o", "out.jpg", "--model", tiny, "--steps", "2"]
    assert main(argv) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("out.jpg: 48 x 40 px, seed 0, 2 of 2 steps")
    assert any("JPEG is lossy" in line for line in lines)
    assert len(lines) <= 5


def test_a_png_carries_the_settings_that_made_it(desk, inpaint, tiny, capsys):
    inpaint("--seed", "9", "--temperature-end", "0.7", "--feather", "2", "--strength", "0.8")
    with Image.open("out.png") as image:
        about = json.loads(image.text["sundae"])
    expected = {"seed": 9, "steps": 3, "temperature_end": 0.7, "feather": 2, "strength": 0.8, "model": "tiny"}
    assert expected.items() <= about.items()
    again = [
        f"--{key.replace('_', '-')}={about[key]}"
        for key in (
            "seed",
            "temperature_start",
            "temperature_end",
            "strength",
            "grow",
            "feather",
            "mask_rule",
        )
    ]
    inpaint(*again, out="again.png")
    assert Path("again.png").read_bytes() == Path("out.png").read_bytes()


def test_the_command_line_and_the_library_agree(desk, inpaint, tiny):
    inpaint("--seed", "4", "--mask-rule", "all")
    prepared = sundae.Inpainter(sundae.load(tiny)).prepare("face.png", "mask.png", mask_rule="all")
    *_, last = prepared.run(sundae.SamplerConfig(steps=3), [4])
    assert (np.asarray(last.image()) == pixels("out.png")).all()


def test_candidates_are_named_by_their_seeds_and_equal_single_runs(desk, inpaint):
    report = inpaint("--candidates", "3", "--seed", "7")
    names = ["out-7.png", "out-8.png", "out-9.png"]
    assert [output["path"] for output in report["outputs"]] == names
    assert files(desk) == {"face.png", "mask.png", *names}
    assert len({output["sha256"] for output in report["outputs"]}) == 3
    inpaint("--seed", "8", out="alone.png")
    assert Path("alone.png").read_bytes() == Path("out-8.png").read_bytes()


def test_frames_show_every_step(desk, inpaint):
    report = inpaint("--frames", "frames")
    names = {f"frames/step-{i:04}.png" for i in range(4)}
    assert files(desk) == {"face.png", "mask.png", "out.png", "frames"} | names
    assert report["frames"] == {"folder": "frames", "count": 4}
    assert (pixels("frames/step-0003.png") == pixels("out.png")).all()
    assert (pixels("frames/step-0000.png") != pixels("frames/step-0001.png")).any()
    mask = pixels("mask.png") > 0
    assert all((pixels(name)[~mask] == pixels("face.png")[~mask]).all() for name in names)
    inpaint(out="plain.png")
    assert Path("plain.png").read_bytes() == Path("out.png").read_bytes()


def test_frames_of_candidates_lie_side_by_side(desk, inpaint):
    inpaint("--frames", "frames", "--candidates", "2", "--steps", "1")
    assert files(desk / "frames") == {f"seed-{seed}-step-000{i}.png" for seed in (0, 1) for i in (0, 1)}


def test_frames_go_into_an_empty_folder_and_over_old_ones_if_told(desk, inpaint):
    (desk / "frames").mkdir()
    inpaint("--frames", "frames")
    (desk / "frames" / "mine.txt").write_text("mine")
    old = Path("frames/step-0002.png").read_bytes()
    inpaint("--frames", "frames", "--overwrite", "--seed", "1")
    assert Path("frames/step-0002.png").read_bytes() != old
    assert (desk / "frames" / "mine.txt").read_text() == "mine"
    assert len(files(desk / "frames")) == 5
    (desk / "frames" / "step-by-step.png").write_text("mine")
    inpaint("--frames", "frames", "--overwrite", "--steps", "1")
    assert files(desk / "frames") == {"step-0000.png", "step-0001.png", "mine.txt", "step-by-step.png"}


def test_a_full_mask_is_generation(desk, inpaint):
    Image.new("L", (48, 40), 255).save("mask.png")
    report = inpaint()
    assert report["tokens"]["redrawn"] == report["tokens"]["all"]
    assert (pixels("out.png") != pixels("face.png")).any(-1).mean() > 0.9


def test_pictures_say_whether_a_model_made_them_or_a_part_of_them(desk, inpaint, tiny, capsys):
    inpaint()
    assert mark_of("out.png") == EDITED
    assert main(["reconstruct", "face.png", "-o", "back.png", "--model", tiny]) == 0
    assert mark_of("back.png") == EDITED
    argv = ["sample", "-o", "new.png", "--model", tiny, "--width", "48", "--height", "40", "--steps", "2"]
    assert main(argv) == 0
    assert mark_of("new.png") == DRAWN
    capsys.readouterr()
    Path("new.png").replace("face.png")
    inpaint("--overwrite")
    assert mark_of("out.png") == DRAWN  # the rest is not anybody's upload


def test_hiding_everything_is_drawing_from_nothing_unless_it_is_varied(desk, inpaint):
    Image.new("L", (48, 40), 255).save("mask.png")
    inpaint()
    assert mark_of("out.png") == DRAWN
    inpaint("--strength", "0.5", "--overwrite")
    assert mark_of("out.png") == EDITED


def test_a_mask_thinner_than_a_cell_redraws_its_cells_and_changes_its_pixels_alone(desk, inpaint):
    rng = np.random.default_rng(1)
    Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save("face.png")
    mask = np.zeros((32, 32), bool)
    mask[4:20, 11] = True
    Image.fromarray(mask).save("mask.png")
    report = inpaint("--feather", "0")
    assert report["tokens"] == {"redrawn": 3, "all": 16}  # cells of 8 px: rows 0 to 2 of column 1
    changed = (pixels("out.png") != pixels("face.png")).any(-1)
    assert not changed[~mask].any()
    assert changed[mask].all()


def test_overwrite_replaces_and_its_absence_does_not(desk, inpaint):
    inpaint()
    old = Path("out.png").read_bytes()
    inpaint("--seed", "1", code=2)
    assert Path("out.png").read_bytes() == old
    inpaint("--seed", "1", "--overwrite")
    assert Path("out.png").read_bytes() != old


def test_the_upload_may_be_replaced_by_its_result(desk, inpaint):
    before, mask = pixels("face.png"), pixels("mask.png") > 0
    inpaint("--overwrite", out="face.png")
    after = pixels("face.png")
    assert (after != before).any()
    assert (after == before)[~mask].all()


@pytest.mark.parametrize("taken", ["out.png", "out-1.png", "frames/x", "out.txt", "no/out.png"])
def test_what_cannot_be_written_is_known_before_the_model_is_loaded(desk, inpaint, monkeypatch, taken):
    if not taken.startswith(("no/", "out.txt")):
        Path(taken).parent.mkdir(exist_ok=True)
        Path(taken).write_text("mine")
    monkeypatch.setattr(cli, "load", lambda *_: pytest.fail("the model was loaded"))
    extra = ["--candidates", "2"] if taken == "out-1.png" else ["--frames", "frames"]
    before = files(desk)
    inpaint(*extra, out=taken if taken.startswith(("no/", "out.txt")) else "out.png", code=2)
    assert files(desk) == before


def test_frames_cannot_have_the_name_of_the_output(desk, inpaint, monkeypatch):
    monkeypatch.setattr(cli, "load", lambda *_: pytest.fail("the model was loaded"))
    inpaint("--frames", "./out.png", code=2)


@pytest.mark.parametrize("name", ["step-0001.png", "step-9999.png", "seed-3-step-0000.png"])
@pytest.mark.parametrize("role", ["output", "image", "mask", "link"])
def test_frames_do_not_take_the_place_of_what_is_asked_for(desk, inpaint, monkeypatch, tiny, role, name):
    """Frames of an earlier run are replaced, and one of them may be what is worked on."""
    monkeypatch.setattr(cli, "load", lambda *_: pytest.fail("the model was loaded"))
    Path("frames").mkdir()
    paths = {"output": "out.png", "image": "face.png", "mask": "mask.png"}
    if role == "link":
        Path("linked.png").write_bytes(b"mine")
        Path(f"frames/{name}").symlink_to("../linked.png")
        paths["output"] = f"frames/{name}"
    else:
        if role != "output":
            Path(paths[role]).rename(f"frames/{name}")
        paths[role] = f"frames/{name}"
    before = files(desk)
    argv = ["inpaint", paths["image"], "--mask", paths["mask"], "-o", paths["output"], "--model", tiny]
    assert main([*argv, "--frames", "./frames/../frames", "--overwrite"]) == 2
    assert files(desk) == before


def test_a_folder_in_the_place_of_a_frame_is_known_before_the_work(desk, inpaint, monkeypatch):
    monkeypatch.setattr(cli, "load", lambda *_: pytest.fail("the model was loaded"))
    (desk / "frames" / "step-0007.png").mkdir(parents=True)
    assert "step-0007.png" in inpaint("--frames", "frames", "--overwrite", code=2).err


@pytest.mark.parametrize("words", [["-o", "/proc/out.png"], ["-o", "out.png", "--frames", "/proc/frames"]])
def test_a_folder_that_takes_no_file_is_known_before_the_work(desk, tiny, capsys, monkeypatch, words):
    monkeypatch.setattr(cli, "load", lambda *_: pytest.fail("the model was loaded"))
    assert main(["inpaint", "face.png", "--mask", "mask.png", "--model", tiny, *words]) == 2
    assert "may be written to, got '/proc" in capsys.readouterr().err


def test_a_picture_with_alpha_keeps_it_and_is_refused_as_jpeg(desk, inpaint):
    rng = np.random.default_rng(2)
    Image.fromarray(rng.integers(0, 256, (40, 48, 4), np.uint8)).save("face.png")
    assert "JPEG" in inpaint(out="out.jpg", code=2).err
    assert inpaint()["mode"] == "RGBA"
    assert (pixels("out.png")[..., 3] == pixels("face.png")[..., 3]).all()


def test_notes_of_the_upload_are_passed_on(desk, inpaint):
    frames = [Image.new("RGB", (48, 40), colour) for colour in ("red", "blue")]
    frames[0].save("face.png", save_all=True, append_images=frames[1:])
    (note,) = inpaint()["notes"]
    assert "first frame" in note


# -- sample, reconstruct, models, info -----------------------------------------------------------------------


def test_sample_draws_pictures_by_seed(desk, tiny, capsys):
    argv = ["sample", "--model", tiny, "--steps", "2", "--json", "-o"]
    assert main([*argv, "s.png", "--count", "2", "--seed", "3"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [output["path"] for output in report["outputs"]] == ["s-3.png", "s-4.png"]
    assert report["seeds"] == [3, 4]
    assert pixels("s-3.png").shape == (32, 32, 3)
    with Image.open("s-3.png") as image:
        assert json.loads(image.info["sundae"])["from_nothing"] is True
    assert (pixels("s-3.png") != pixels("s-4.png")).any()
    assert main([*argv, "alone.png", "--seed", "4"]) == 0
    assert Path("alone.png").read_bytes() == Path("s-4.png").read_bytes()


def test_notes_of_a_sample_speak_of_no_mask(desk, tiny, capsys):
    for name in ("s.jpg", "s.webp", "s.bmp"):
        assert main(["sample", "--model", tiny, "--steps", "1", "-o", name, "--json"]) == 0
    for line in capsys.readouterr().out.splitlines():
        notes = json.loads(line)["notes"]
        assert notes
        assert not any("mask" in note for note in notes)


def test_sample_of_another_shape(desk, tiny, capsys):
    argv = ["sample", "--model", tiny, "--steps", "1", "-o", "s.png", "--width", "64", "--height", "24"]
    assert main(argv) == 0
    assert pixels("s.png").shape == (24, 64, 3)


def test_a_wide_sample_is_a_canvas(desk, tiny, capsys):
    argv = ["sample", "--model", tiny, "--steps", "2", "--json", "--width", "64", "--height", "32", "-o"]
    assert main([*argv, "s.png"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["settings"]["stride"], report["settings"]["falloff"]) == (0.75, 2.0)
    assert (
        main([*argv, "t.png", "--stride", "0.5", "--falloff", "0", "--random-windows", "--batch", "4"]) == 0
    )
    report = json.loads(capsys.readouterr().out)
    assert (report["settings"]["stride"], report["settings"]["random_windows"]) == (0.5, True)
    assert pixels("t.png").shape == (32, 64, 3)
    assert (pixels("t.png") != pixels("s.png")).any()
    *_, last = sundae.generate(sundae.load(tiny), [0], sundae.SamplerConfig(steps=2), width=64, height=32)
    assert (np.asarray(last.image()) == pixels("s.png")).all()


def test_extend_adds_margins_and_keeps_the_picture(desk, tiny, capsys):
    argv = ["extend", "face.png", "--model", tiny, "--steps", "2", "--json", "-o", "wide.png"]
    assert main([*argv, "--left", "16", "--bottom", "8", "--seed", "5", "--candidates", "2"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [output["path"] for output in report["outputs"]] == ["wide-5.png", "wide-6.png"]
    assert report["extended"] == {"left": 16, "right": 0, "top": 0, "bottom": 8}
    assert (report["width"], report["height"]) == (64, 48)
    assert 0 < report["tokens"]["drawn"] < report["tokens"]["all"]
    assert set(report["seconds"]) == SECONDS
    first, second = pixels("wide-5.png"), pixels("wide-6.png")
    assert first.shape == (48, 64, 3)
    assert (first[:40, 16:] == pixels("face.png")).all()
    assert (first != second).any()
    with Image.open("wide-5.png") as image:
        about = json.loads(image.text["sundae"])
    assert (about["seed"], about["extended"]) == (5, report["extended"])
    prepared = sundae.extend(sundae.load(tiny), "face.png", left=16, bottom=8)
    *_, last = prepared.run(dataclasses.replace(prepared.defaults, steps=2), [5])
    assert (np.asarray(last.image()) == first).all()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["extend", "face.png", "-o", "out.png"], "--left"),
        (["extend", "face.png", "-o", "out.png", "--left", "-4"], "--left"),
        (["extend", "face.png", "-o", "out.png", "--left", "8190"], "8192"),
        (["extend", "face.png", "-o", "out.png", "--left", "8", "--stride", "0"], "stride"),
        (["sample", "-o", "out.png", "--width", "64", "--batch", "0"], "--batch"),
        (["strip", "face.png", "-o", "out.png", "--panels", "1"], "--panels"),
        (["strip", "face.png", "-o", "out.png", "--panels", "64"], "panels"),
        (["strip", "nothing.png", "-o", "out.png"], "nothing.png"),
        (["bits", "nothing.png"], "nothing.png"),
        (["bits", "empty"], "empty"),
        (["bits", "folder", "--map", "out.png"], "--map"),
        (["bits", "face.png", "--map", "face.png"], "--overwrite"),
        (["bits", "face.png", "--passes", "0"], "--passes"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_bad_words_about_canvases_strips_and_bits(desk, tiny, capsys, words, says):
    for folder in ("empty", "folder"):
        Path(folder).mkdir()
    Path("folder/a.png").write_bytes(Path("face.png").read_bytes())
    before = files(desk)
    assert main([*words, "--model", tiny]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert says in printed.err
    assert files(desk) == before


def test_strip_is_one_picture_of_all_panels(desk, tiny, capsys):
    argv = ["strip", "face.png", "--model", tiny, "--steps", "2", "--panels", "3", "--side", "24", "--json"]
    assert main([*argv, "-o", "strip.png"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["kept"], report["tokens"]) == ([12, 6, 0], 12)
    assert pixels("strip.png").shape == (18, 3 * 24 + 2 * 4, 3)
    with Image.open("strip.png") as image:
        assert json.loads(image.text["sundae"])["strip"] == [12, 6, 0]
    assert main([*argv[:-1], "-o", "again.png"]) == 0
    assert "first 12, 6, 0 of 12 tokens kept" in capsys.readouterr().out
    assert Path("again.png").read_bytes() == Path("strip.png").read_bytes()


def test_bits_of_a_picture_and_its_map(desk, tiny, capsys):
    assert main(["bits", "face.png", "--model", tiny, "--map", "map.png", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    (picture,) = report["pictures"]
    expected = sundae.bits(sundae.load(tiny), "face.png")
    assert picture == {"path": "face.png"} | dataclasses.asdict(expected)
    assert report["per_token"] == expected.per_token
    assert report["exact"] is False
    found = sundae.surprise_map(sundae.load(tiny), "face.png")
    assert (report["map"]["low"], report["map"]["high"]) == (found.low, found.high)
    assert found.bits.mean() == pytest.approx(expected.per_token, abs=1e-5)
    assert (pixels("map.png") == np.asarray(found.image)).all()
    assert pixels("map.png").shape == (40, 48, 3)


@pytest.mark.parametrize("kind", tiny_priors())
def test_bits_of_every_kind_of_prior(desk, capsys, kind):
    save_bundle(desk / kind, {"tokenizer": tiny_tokenizer(), "prior": tiny_priors()[kind]}, {})
    argv = ["bits", "face.png", "--model", str(desk / kind)]
    assert main([*argv, "--json"]) == 0
    report, expected = json.loads(capsys.readouterr().out), sundae.bits(sundae.load(desk / kind), "face.png")
    assert report["exact"] is (kind == "autoregressive")
    assert (report["per_token"], report["per_dimension"]) == (expected.per_token, expected.per_dimension)
    assert main(argv) == 0
    kept = "" if report["exact"] else "at most "
    numbers = f"{expected.per_token:.4f} bits per token, {expected.per_dimension:.6f} per pixel-dimension"
    assert capsys.readouterr().out == f"face.png: {kept}{numbers}\n"


def test_bits_of_a_folder_are_listed_and_averaged(desk, tiny, capsys):
    Path("folder/deep").mkdir(parents=True)
    for name, colour in (("b.png", "red"), ("deep/a.jpg", "blue")):
        Image.new("RGB", (40, 40), colour).save(f"folder/{name}")
    Path("folder/notes.txt").write_text("no picture")
    assert main(["bits", "folder", "--model", tiny, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [picture["path"] for picture in report["pictures"]] == ["folder/b.png", "folder/deep/a.jpg"]
    for name in ("per_token", "per_dimension"):
        assert report[name] == pytest.approx(sum(picture[name] for picture in report["pictures"]) / 2)
    assert main(["bits", "folder", "--model", tiny]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[2].startswith("mean of 2 pictures: at most ")


def test_reconstruct_keeps_the_size(desk, tiny, capsys):
    assert main(["reconstruct", "face.png", "-o", "back.png", "--model", tiny, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["outputs"][0]["sha256"] == hashlib.sha256(Path("back.png").read_bytes()).hexdigest()
    expected = sundae.reconstruct(sundae.load(tiny), "face.png")[1]
    assert (pixels("back.png") == np.asarray(expected)).all()


def test_models_lists_the_box_and_its_damage(desk, tiny, capsys, monkeypatch):
    box = Path(tiny).parent
    (box / "broken").mkdir(exist_ok=True)
    (box / "broken" / "config.json").write_text("{")
    for module in (sys.modules["sundae.bundles"], cli):
        monkeypatch.setattr(module, "weights_folder", lambda: box)
    assert main(["models"]) == 0
    broken, whole = capsys.readouterr().out.splitlines()
    assert broken.startswith("broken: damaged: expected JSON")
    assert whole == "tiny: 32 x 32 px, 4 x 4 cells of 2 x 16 codes"
    assert main(["models", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["models"]) == {"broken", "tiny"}


def test_models_of_every_kind_are_listed(desk, capsys, monkeypatch):
    save_bundle(desk / "box" / "taming", {"tokenizer": tiny_taming()}, {})
    for name, prior in tiny_priors().items():
        save_bundle(desk / "box" / name, {"tokenizer": tiny_tokenizer(), "prior": prior}, {})
    for module in (sys.modules["sundae.bundles"], cli):
        monkeypatch.setattr(module, "weights_folder", lambda: desk / "box")
    assert main(["models", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["models"]
    assert listed.pop("taming") == "tokenizer alone, 1 x 16 codes a cell of 4 px"
    assert set(listed.values()) == {"32 x 32 px, 4 x 4 cells of 2 x 16 codes"}


def test_info_says_what_a_bundle_is_made_of(desk, tiny, capsys):
    assert main(["info", tiny, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    model = sundae.load(tiny)
    assert report["hash"] == model.hash
    assert report["provenance"] == {"licence": "none"}
    for name, module in (("tokenizer", model.tokenizer), ("prior", model.prior)):
        part = report["parts"][name]
        assert part["parameters"] == sum(value.numel() for value in module.state_dict().values())
        assert part["files"] == {f"{name}.safetensors": (Path(tiny) / f"{name}.safetensors").stat().st_size}
    assert main(["info", tiny]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in (model.hash, "codebook_size: 16", "licence"))


def test_help_says_what_white_means(capsys):
    assert main(["inpaint", "--help"]) == 0
    assert "white = repaint" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"sundae {sundae.__version__}\n"


# -- being stopped -------------------------------------------------------------------------------------------


def interrupt_at(monkeypatch, owner: object, name: str, call: int) -> None:
    """Let the ``call``-th call of a function be stopped by Ctrl-C."""
    original, calls = getattr(owner, name), []

    def stopped(*args, **kwargs):
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, stopped)


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        (cli, "load", 1),
        (Prepared, "composite", 3),
        (Prepared, "composite", 7),
        (outputs.images, "save_picture", 5),  # two rehearsals, then the frames
        (outputs, "file_hash", 2),  # the second result is on disk, but not yet reported
        (outputs.os, "replace", 15),  # two frames have moved to their place, six have not
    ],
)
def test_ctrl_c_leaves_nothing_of_an_inpainting(desk, inpaint, monkeypatch, owner, name, call):
    before = files(desk)
    interrupt_at(monkeypatch, owner, name, call)
    printed = inpaint("--candidates", "2", "--frames", "frames", code=130)
    assert printed.out == ""
    assert printed.err == "sundae: stopped\n"
    assert files(desk) == before


def test_ctrl_c_leaves_the_samples_that_are_done(desk, tiny, capsys, monkeypatch):
    before = files(desk)
    argv = ["sample", "--model", tiny, "--steps", "1", "--count", "3", "-o", "s.png"]
    interrupt_at(monkeypatch, Prepared, "composite", 2)  # one frame is looked at in each
    assert main(argv) == 130
    assert files(desk) == before | {"s-0.png"}
    assert pixels("s-0.png").shape == (32, 32, 3)


@pytest.mark.parametrize("old", [{}, {"out-0.png": b"old"}], ids=["new", "over an old one"])
def test_an_error_in_the_middle_leaves_nothing_new(desk, inpaint, monkeypatch, old):
    for name, data in old.items():
        Path(name).write_bytes(data)
    original, calls = outputs.images.save_picture, []

    def full(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        return original(*args, **kwargs)

    monkeypatch.setattr(outputs.images, "save_picture", full)
    before = files(desk)
    # One rehearsal, the first result, and no room for the second.
    printed = inpaint("--candidates", "2", "--overwrite", code=2)
    assert "No space left on device" in printed.err
    assert files(desk) == before


@pytest.mark.parametrize(
    ("signals", "code"),
    [
        ([signal.SIGINT], 130),
        ([signal.SIGTERM], 143),
        ([signal.SIGHUP], 129),
        ([signal.SIGINT, signal.SIGINT, signal.SIGTERM], 130),
    ],
    ids=["Ctrl-C", "SIGTERM", "closed terminal", "impatient"],
)
def test_being_stopped_from_outside(desk, tiny, signals, code):
    argv = ["inpaint", "face.png", "--mask", "mask.png", "-o", "out.png", "--model", tiny, "--steps", "1000"]
    before = files(desk)
    process = subprocess.Popen(
        [sys.executable, "-m", "sundae", *argv, "--frames", "frames"],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        # A test run in the background of a shell, or under nohup, ignores some of them, and so would its children.
        preexec_fn=lambda: [signal.signal(number, signal.SIG_DFL) for number in set(signals)],
    )
    try:
        deadline = time.monotonic() + 300
        while not any(".sundae-" in name and "step" in name for name in files(desk)):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        for number in signals:
            process.send_signal(number)
        _, error = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == code
    assert error == "sundae: stopped\n"
    assert files(desk) == before


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"]
)
@pytest.mark.parametrize(
    "how", [["-m", "sundae"], ["-c", "from sundae.__main__ import main; main()"]], ids=["module", "script"]
)
def test_being_stopped_before_torch_is_there(tmp_path, how, number, code):
    """A torch that takes a minute to import, and swallows what is raised meanwhile, as the real one may."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(
        "import time\nprint('importing', flush=True)\n"
        "try:\n    time.sleep(60)\nexcept BaseException:\n    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, *how, "models"],
        env=environment() | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        assert process.stdout
        assert process.stdout.readline() == "importing\n"
        process.send_signal(number)
        printed = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, *printed) == (code, "", "")


def test_what_is_to_be_ignored_stays_ignored():
    """As by nohup, and Ctrl-C in what a shell runs in the background."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping.interruptible():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) == stopping.interrupt
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_first_stop_counts_and_all_is_as_before_afterwards():
    before = [signal.getsignal(number) for number in stopping.STOPS]
    tidied = []

    def work():
        with stopping.interruptible():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            finally:
                os.kill(os.getpid(), signal.SIGINT)
                tidied.append(True)

    with pytest.raises(stopping.Stopped) as stopped:
        work()
    assert (stopped.value.code, tidied) == (143, [True])
    assert [signal.getsignal(number) for number in stopping.STOPS] == before


def test_commands_run_in_any_thread(capfd):
    codes = []
    thread = threading.Thread(target=lambda: codes.append(main(["models"])))
    thread.start()
    thread.join()
    assert codes == [0]


# -- too little of something ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee the documentation"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_too_little_memory_is_told_in_one_line(desk, inpaint, monkeypatch, error):
    before = files(desk)

    def fail(*_):
        raise error

    monkeypatch.setattr(Prepared, "composite", fail)
    printed = inpaint("--frames", "frames", code=2)
    assert (printed.out, len(printed.err.splitlines())) == ("", 1)
    assert "memory" in printed.err
    assert files(desk) == before


def test_a_fault_of_the_programs_own_is_no_error_of_the_callers(desk, inpaint, monkeypatch):
    def fail(*_):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(Prepared, "composite", fail)
    with pytest.raises(RuntimeError, match="mat1"):
        inpaint()


def test_nobody_has_to_listen(desk, inpaint, tiny, monkeypatch):
    """Both streams closed, as a service may have them."""
    argv = ["inpaint", "face.png", "--mask", "mask.png", "-o", "out.png", "--model", tiny, "--steps", "1"]
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", None)
        patch.setattr(sys, "stderr", None)
        assert main(argv) == 0
        assert main(argv) == 2  # it exists
    assert pixels("out.png").shape == (40, 48, 3)


def test_a_reader_that_leaves_is_no_error(desk, tiny, capfd, monkeypatch):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", pipe)
        assert main(["info", tiny]) == 141
    assert capfd.readouterr() == ("", "")
