"""train.run: what a run leaves behind when it is stopped, killed, resumed, shared, or out of disk."""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import ExifTags, Image
from tinyrun import build, encode, export_to, prior_run, prior_words

import sundae
from train import checkpoints, encode_dataset, export, run, settings, train_prior, train_tokenizer
from train.checkpoints import Checkpoints, load_state
from train.data import FolderSource, RandomCrops, Subset, folder_class, folder_classes, sound_picture
from train.tokens import HoledTokens, TokenShards

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "train" / "configs").glob("*.toml"))
LAUNCHES = sorted((ROOT / "train" / "launch").glob("*.yaml"))


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    return build(tmp_path_factory.mktemp("house"))


def trace(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def command(*words: object) -> list[str]:
    return [sys.executable, *map(str, words)]


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}


# -- sharing a batch -----------------------------------------------------------------------------------------


def test_processes_see_every_item_once_and_in_the_same_updates():
    alone = list(run.SharedBatches(3, 8, 6))
    shared = [list(run.SharedBatches(3, 8, 6, process, 3)) for process in range(3)]
    assert [list(chain(*parts)) for parts in zip(*shared)] == alone
    assert list(chain(*alone)) == list(range(18, 48))
    assert len(run.SharedBatches(3, 8, 6)) == 5
    with pytest.raises(ValueError, match="multiple of the 4 processes, got 6"):
        run.SharedBatches(0, 1, 6, 0, 4)


def test_an_epoch_shows_each_picture_once(house):
    shards = TokenShards(house / "tokens")
    items = HoledTokens(shards, train_prior.HoleSettings(), 3, 100, 0.0, 1)
    for epoch in range(3):
        seen = [items[i][0] for i in range(epoch * 12, epoch * 12 + 12)]
        pictures = {
            next(k for k in range(12) for m in (0, 1) if torch.equal(t, torch.from_numpy(shards.grid(k, m))))
            for t in seen
        }
        assert pictures == set(range(12))


def test_two_processes_follow_one(house):
    """The same updates from the same numbers, whoever computes which half."""
    steps = 12
    prior_run(house, "alone", steps)
    words = prior_words(house, "together", steps, "--threads", "1")
    script = house / "together.py"
    script.write_text(
        "import torch.distributed\nfrom train import train_prior\ntrain_prior.main()\n"
        "print('group left' if not torch.distributed.is_initialized() else 'group alive')\n"
    )
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2, script)
    plain = {k: v for k, v in environment().items() if k != "ACCELERATE_USE_CPU"}  # nobody needs to know it
    plain["PYTHONPATH"] = str(ROOT)
    result = subprocess.run(
        command(*launch, *words), cwd=ROOT, env=plain, capture_output=True, text=True, timeout=240
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("group left") == 2  # a process that ends in a living group can abort
    one, two = trace(house / "alone"), trace(house / "together")
    assert len(one) == len(two) == steps
    assert max(abs(a[name] - b[name]) for a, b in zip(one, two) for name in a) < 1e-3


def test_parts_of_a_batch_add_up_to_the_batch(house):
    whole, cut = prior_run(house, "whole", 5), prior_run(house, "cut", 5, "--accumulate", "3")
    for a, b in zip(trace(house / "whole"), trace(house / "cut"), strict=True):
        assert a == pytest.approx(b, abs=1e-4)
    for name, value in whole["denoiser"].items():
        assert torch.allclose(value, cut["denoiser"][name], atol=2e-3), name


# -- launching -----------------------------------------------------------------------------------------------

FEWER = {
    "one-gpu": (),
    "eight-gpus": ("--num_processes", 2),
    "two-nodes": ("--num_machines", 1, "--num_processes", 1),
}


@pytest.mark.parametrize("path", LAUNCHES, ids=lambda path: path.stem)
def test_launch_files_start_a_dry_run(path):
    """With fewer processes than they name; of several one tells."""
    launch = ("-m", "accelerate.commands.launch", "--config_file", path, *FEWER[path.stem])
    words = ("train/train_prior.py", "--config", "train/configs/prior-illustrated.toml", "--dry_run")
    result = subprocess.run(
        command(*launch, *words), cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=240
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("an epoch:") == result.stdout.count("M parameters") == 1


@pytest.mark.parametrize(
    "stage", [train_tokenizer, encode_dataset, train_prior], ids=lambda s: s.__name__[6:]
)
@pytest.mark.parametrize(
    ("variable", "name"), [("FSDP", "FSDP"), ("DEEPSPEED", "DeepSpeed"), ("MEGATRON_LM", "Megatron-LM")]
)
def test_models_in_pieces_are_refused(monkeypatch, stage, variable, name):
    """Their states would be written as if they were whole; the launcher's variables ask for them."""
    monkeypatch.setenv(f"ACCELERATE_USE_{variable}", "true")
    for words in (["--unknown", "1"], ["--dry-run"]):
        with pytest.raises(
            ValueError, match=rf"^expected a launch with the whole model .* got {name}: use .*torchrun"
        ):
            stage.main(words)


def test_no_launch_file_asks_for_pieces():
    assert len(LAUNCHES) == 3
    for path in LAUNCHES:
        lines = [line.partition(":") for line in path.read_text().splitlines() if not line.startswith("#")]
        kind = next(value.strip(' "') for key, _, value in lines if key == "distributed_type")
        assert kind in ("NO", "MULTI_GPU")


@pytest.fixture
def another_precision():
    """Accelerate holds a process to the precision that it began with."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.usefixtures("another_precision")
@pytest.mark.parametrize(("precision", "used"), [("no", False), ("bf16", True)])
def test_a_step_keeps_away_from_the_cache_that_grows(house, monkeypatch, precision, used):
    """oneDNN's GELU, going backwards, keeps memory for every new number of hidden cells. In bfloat16 nothing else is
    quick, and the cache is bounded."""
    seen, forward = [], train_prior.PriorObjective.forward

    def watched(self, *batch):
        seen.append(torch.backends.mkldnn.enabled)
        return forward(self, *batch)

    monkeypatch.setattr(train_prior.PriorObjective, "forward", watched)
    prior_run(house, f"cache-{precision}", 3, "--mixed_precision", precision)
    assert seen == [used] * 3 and torch.backends.mkldnn.enabled
    assert int(os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"]) <= 128


# -- stopping ------------------------------------------------------------------------------------------------


def test_killed_at_any_moment_it_goes_on_as_if_never_killed(house):
    """Killed during start, during steps and while saving (it saves at every step)."""
    steps, out = 60, house / "killed"
    prior_run(house, "unbroken", steps)
    words = prior_words(house, "killed", steps, "--save-minutes", "0", "--threads", "1")
    kills = 0
    for moment in (0.5, 1.0, 1.7):
        process = subprocess.Popen(
            command("train/train_prior.py", *words), cwd=ROOT, env=environment(), stdout=subprocess.PIPE
        )
        wait_for(lambda: out.exists() and any(out.glob("state-*.pt")), process)
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    prior_run(house, "killed", steps, "--save-minutes", "0")
    assert kills >= 1
    assert not list(out.glob("*.partial"))
    assert [line["step"] for line in trace(out)] == list(range(1, steps + 1))
    for a, b in zip(trace(out), trace(house / "unbroken"), strict=True):
        assert a == pytest.approx(b, abs=1e-5)


def wait_for(happened, process, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not happened() and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_asked_to_stop_it_saves_and_ends_cleanly(house):
    out = house / "asked"
    words = prior_words(house, "asked", 100_000, "--threads", "1")
    process = subprocess.Popen(
        command("train/train_prior.py", *words),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: (out / "log.jsonl").exists() and len(trace_lines(out)) > 3, process)
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert f"done: step {load_state(out)['step']}" in output
    assert len(trace(out)) == load_state(out)["step"]
    assert list((out / "pictures").glob("inpainting-*.png"))
    validation = json.loads((out / "validation.jsonl").read_text().splitlines()[-1])
    assert set(validation["accuracy"]) == {str(rate) for rate in train_prior.CURVE}
    assert 0 < validation["nll_bound"] < 20


def trace_lines(out: Path) -> list[str]:
    return (out / "log.jsonl").read_text().splitlines()


def test_the_minutes_end_a_run(house):
    state = prior_run(house, "minutes", 100_000, "--max-minutes", "0.02")
    assert 0 < state["step"] < 100_000


# -- states --------------------------------------------------------------------------------------------------


def test_the_last_few_and_the_best_state_are_kept(tmp_path):
    kept = Checkpoints(tmp_path, keep=2)
    assert kept.load() is None
    for step in (1, 2, 3, 10):
        kept.save({"step": step})
        if step == 2:
            kept.keep_best()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best.pt",
        "state-00000003.pt",
        "state-00000010.pt",
    ]
    assert load_state(tmp_path / "best.pt")["step"] == 2
    assert load_state(tmp_path)["step"] == 10


def test_a_full_disk_leaves_the_state_before(tmp_path, monkeypatch):
    kept = Checkpoints(tmp_path)
    kept.save({"step": 1})

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints.os, "fsync", full)
    with pytest.raises(ValueError, match=r"^expected to write .*state-00000002.pt: No space left on device"):
        kept.save({"step": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["state-00000001.pt"]
    assert kept.load() == {"step": 1}


def test_a_full_disk_while_encoding_leaves_the_shards_before(house, monkeypatch):
    """The second shard meets a full disk; what is there stays, and a repeated run goes on from it."""
    written, sync = [], os.fsync

    def full(number: int) -> None:
        written.append(number)
        if len(written) > 2:  # the index and the first shard
            raise OSError(28, "No space left on device")
        sync(number)

    with monkeypatch.context() as patch:
        patch.setattr(encode_dataset.os, "fsync", full)
        with pytest.raises(
            ValueError, match=r"^expected to write .*-00001.npy: No space left on device; finished"
        ):
            encode(house, "no-room")
    assert sorted(path.name[-9:] for path in (house / "no-room").iterdir()) == ["00000.npy", "ndex.json"]
    encode(house, "no-room")
    again, whole = TokenShards(house / "no-room"), TokenShards(house / "tokens")
    assert all(np.array_equal(again.grid(i, 1), whole.grid(i, 1)) for i in range(12))


def test_files_that_are_no_states_are_told(tmp_path, house):
    (tmp_path / "notes.pt").write_text("hello")
    for path in (tmp_path / "notes.pt", tmp_path / "none.pt", tmp_path):
        with pytest.raises(ValueError, match=r"^expected a training state"):
            load_state(path)
    words = prior_words(house, "x", 1, "--start-from", str(house / "tokenizer"))
    with pytest.raises(ValueError, match=r"expected the state of a prior in .*, got that of another stage"):
        train_prior.main(words)
    prior_run(house, "for-a-tokenizer", 1)
    words = ["--config", str(house / "tokenizer.toml"), "--out", str(house / "y")]
    with pytest.raises(ValueError, match=r"expected the state of a tokenizer in .*, got another stage's"):
        train_tokenizer.main([*words, "--start-from", str(house / "for-a-tokenizer")])
    assert not (house / "x").exists() and not (house / "y").exists()


def test_a_run_goes_on_with_its_own_model_only(house):
    prior_run(house, "own", 1)
    with pytest.raises(ValueError, match=r"expected a model of the shape in .*own to go on with"):
        prior_run(house, "own", 2, "--model.head_dim", "4")
    assert load_state(house / "own")["step"] == 1


def test_a_prior_is_exported_over_the_tokenizer_of_a_bundle(house):
    """As for another prior over the tokens of a model that is there already."""
    prior_run(house, "another", 1)
    words = ["--prior", str(house / "another"), "--share", str(house / "export")]
    export.main(["--tokenizer", str(house / "export"), "--out", str(house / "export-another"), *words])
    first, second = (
        json.loads((house / name / "config.json").read_text()) for name in ("export", "export-another")
    )
    for key in ("hash", "files"):
        assert second["parts"]["tokenizer"][key] == first["parts"]["tokenizer"][key]
    training = {"batch_size": 4, "grids": 4, "grid_passes": 4}
    assert second["provenance"] == {**first["provenance"], "prior_steps": 1, "prior_training": training}
    assert {path.suffix for path in (house / "export-another").iterdir()} == {".json", ".safetensors"}
    assert sundae.load(house / "export-another").prior is not None


def test_an_export_is_not_overwritten_unasked(house):
    before = (house / "export" / "config.json").read_bytes()
    with pytest.raises(ValueError, match=r"expected no bundle at .*export yet, found one"):
        export_to(house, "export")
    export_to(house, "export", "--overwrite", "true")
    assert (house / "export" / "config.json").read_bytes() == before


def test_lines_of_the_trace_beyond_the_state_are_dropped(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1, "loss": 3}\n{"step": 2, "loss": 2}\n{"step": 3, "lo')
    log = run.TraceLog(path, 1)
    log.write(2, {"loss": 2.5})
    log.file.close()
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"step": 1, "loss": 3},
        {"step": 2, "loss": 2.5},
    ]


# -- settings and data ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_settings_file_builds(path, capsys):
    stage = {"prior": train_prior, "tokenizer": train_tokenizer}[path.name.partition("-")[0]]
    stage.main(["--config", str(path), "--dry-run"])
    output = capsys.readouterr().out
    assert "M parameters" in output and "GFLOP forward" in output and "an epoch:" in output


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        (train_prior.PriorSettings, "tokenizer-illustrated"),
        (train_tokenizer.TokenizerSettings, "prior-illustrated"),
    ],
    ids=["prior", "tokenizer"],
)
def test_settings_of_another_stage_are_refused(cls, name):
    config = ROOT / "train" / "configs" / f"{name}.toml"
    message = rf"^unknown setting '\w+' and \d+ more in .*{name}.toml and the command line; .* another stage or model\?$"
    with pytest.raises(ValueError, match=message):
        settings.parse(cls, "", ["--config", str(config)])


@pytest.mark.parametrize(
    "words",
    [("--size", "100"), ("--crop", "2048"), ("--learning_rate", "nan"), ("--ema_decay", "1.0")],
    ids=str,
)
def test_impossible_settings_are_refused_before_anything_is_built(words):
    name = words[0].removeprefix("--")
    with pytest.raises(ValueError, match=rf"^expected .*{name}"):
        train_tokenizer.main([*words, "--dry-run"])


def test_damaged_pictures_are_told_and_passed_over(tmp_path, capsys):
    for i in range(4):
        Image.new("RGB", (64, 64), (60 * i, 0, 0)).save(tmp_path / f"{i}.png")
    (tmp_path / "1.png").write_text("no picture at all")
    data = (tmp_path / "2.png").read_bytes()
    (tmp_path / "2.png").write_bytes(data[: len(data) // 2])
    source = FolderSource(tmp_path, 32)
    assert [file.name for file in source.files] == ["0.png", "2.png", "3.png"]
    assert sound_picture(source, 1)[0, 0].tolist() == [180, 0, 0]
    output = capsys.readouterr()
    assert "1 of 4 files are no pictures" in output.out
    assert "1.png" in output.err and "damaged picture" in output.err and "2.png" in output.err
    (tmp_path / "0.png").unlink()
    (tmp_path / "3.png").unlink()
    with pytest.raises(ValueError, match="found only damaged ones"):
        sound_picture(FolderSource(tmp_path, 32), 0)


def test_a_held_out_picture_never_takes_a_damaged_ones_place(tmp_path):
    for i in range(6):
        Image.new("RGB", (32, 32), (40 * i, 0, 0)).save(tmp_path / f"{i}.png")
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:60])
    training = Subset(FolderSource(tmp_path, 32), [1, 2, 5])  # 3 is held out
    assert [int(sound_picture(training, i)[0, 0, 0]) for i in range(3)] == [40, 200, 200]
    crops = RandomCrops(training, 32, 1, 0, 6, 0.0)
    seen = {round(float(crops[i][0][0, 0, 0, 0]) * 127.5 + 127.5) for i in range(6)}
    assert seen == {40, 200}


def test_pictures_are_read_upright_and_in_eight_bits(tmp_path, capsys):
    """Pillow alone would clip 16-bit greys to white, and show what a camera stored on its side."""
    ramp = np.arange(0, 64, dtype=np.uint8)[None].repeat(64, 0)  # darker to the left
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(np.rot90(ramp)).save(tmp_path / "a-turned.png", exif=exif)
    Image.fromarray(ramp.astype(np.uint16) * 257).save(tmp_path / "b-deep.png")
    Image.fromarray(ramp).convert("LA").save(tmp_path / "c-alpha.png")
    Image.fromarray(ramp).convert("P").save(tmp_path / "d-palette.png")
    Image.fromarray(ramp.astype(np.float32)).save(tmp_path / "e-float.tif")
    source = FolderSource(tmp_path, 64)
    assert len(source) == 4
    for i in range(4):
        assert np.array_equal(source[i], ramp[..., None].repeat(3, -1)), source.name(i)
    output = capsys.readouterr()
    assert "e-float.tif: expected 8 or 16 bits per channel, got mode F" in output.err
    assert "1 of 5 files are no pictures" in output.out


def test_pictures_below_the_asked_size_are_left_out(tmp_path, capsys):
    for side in (31, 32, 64):
        Image.new("RGB", (64, side)).save(tmp_path / f"{side}.png")
    assert [file.name for file in FolderSource(tmp_path, 32, min_side=32).files] == ["32.png", "64.png"]
    assert "1 of 3 pictures are smaller than 32 px and left out" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"of at least 100 px below .*, found 3 smaller ones"):
        FolderSource(tmp_path, 32, min_side=100)


def test_one_picture_is_too_few(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "only.png")
    words = ["--data", str(tmp_path), "--size", "32", "--crop", "32", "--out", str(tmp_path / "run")]
    with pytest.raises(ValueError, match="expected pictures on both sides of the split"):
        train_tokenizer.main(words)
    assert not (tmp_path / "run").exists()


def test_classes_are_the_folders(tmp_path):
    for name in ("cat/1.png", "cat/2.png", "ant/deep/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32)).save(tmp_path / name)
    source = FolderSource(tmp_path, 32)
    assert folder_classes(source) == ["ant", "cat"]
    assert [folder_class(source, i) for i in range(3)] == ["ant", "cat", "cat"]
    Image.new("RGB", (32, 32)).save(tmp_path / "stray.png")
    with pytest.raises(ValueError, match=r"in a folder named for its class, got stray.png"):
        folder_classes(FolderSource(tmp_path, 32))


def test_a_class_has_one_number_in_every_part(house):
    """Also where a part has no picture of some classes."""
    for i in range(12):
        path = house / "classes" / f"class-{i:02}" / f"{i}.png"
        path.parent.mkdir(parents=True)
        path.write_bytes((house / "pictures" / f"{i}.png").read_bytes())
    sides = {}
    for part in ("training", "held_out"):
        words = ("--data", str(house / "classes"), "--labels", "true", "--part", part, "--held-out", "0.4")
        encode(house, f"classes-{part}", *words)
        sides[part] = TokenShards(house / f"classes-{part}")
    assert [side.classes for side in sides.values()] == [12, 12]
    found = [side.label(i) for side in sides.values() for i in range(len(side))]
    assert sorted(found) == list(range(12)) and found != list(range(12))


def test_versions_of_a_picture_stay_on_one_side(house):
    encode(house, "training", "--part", "training", "--held-out", "0.4", "--augmentations", "2")
    encode(house, "held", "--part", "held_out", "--held-out", "0.4", "--augmentations", "2")
    plain, sides = TokenShards(house / "tokens"), [TokenShards(house / name) for name in ("training", "held")]
    assert [side.twins for side in sides] == [6, 6]
    assert sum(map(len, sides)) == 12 and all(map(len, sides))
    originals = [plain.grid(i, 0).tobytes() for i in range(12)]
    found = [[originals.index(side.grid(i, 0).tobytes()) for i in range(len(side))] for side in sides]
    assert sorted(found[0] + found[1]) == list(range(12))
    for side, places in zip(sides, found):
        for i, place in enumerate(places):
            assert (side.grid(i, 1) == plain.grid(place, 1)).all()  # the mirror image came along
    with pytest.raises(ValueError, match=r"expected tokens with versions 2 in .*, found 6"):
        encode(house, "held", "--part", "held_out", "--held-out", "0.4")


def test_raw_pixels_are_their_own_tokens(house):
    encode(house, "pixels", "--levels", "16", "--mirror", "false", "--tokenizer", "")
    shards, source = TokenShards(house / "pixels"), FolderSource(house / "pictures", 32)
    assert (len(shards), shards.twins, shards.codes, shards.index["tokenizer"]) == (12, 1, 16, "")
    for i in (0, 7):
        grey = np.asarray(Image.fromarray(source[i]).convert("L"), np.int64)
        assert np.abs(shards.grid(i, 0)[..., 0] - grey // 16).max() <= 1  # two ways to round a luma
        assert (shards.grid(i, 0)[..., 0] == grey // 16).mean() > 0.9
    words = ["--tokens", str(house / "pixels"), "--validation", str(house / "pixels"), "--tokenizer", ""]
    state = prior_run(house, "of-pixels", 2, *words, "--model.depth", "1")
    assert state["step"] == 2
    assert Image.open(next((house / "of-pixels" / "pictures").glob("samples-*.png"))).width > 1000
    with pytest.raises(
        ValueError, match=r"expected tokens of tokenizer none .raw pixels. in .*: encode them again"
    ):
        prior_run(house, "of-nothing", 1, "--tokenizer", "")


def test_links_may_be_added_to_trained_weights_and_nothing_else(house):
    before = prior_run(house, "plain", 2)["average"]["state"]
    from_plain = ("--start-from", str(house / "plain"))
    mirrored = (house / "prior.toml").read_text().replace("width = 16", "width = 16\nmirror = true")
    (house / "mirrored.toml").write_text(mirrored)
    words = ["--config", str(house / "mirrored.toml"), "--out", str(house / "linked"), "--steps", "1"]
    train_prior.main([*words, *from_plain, "--learning-rate", "1e-9", "--weight-decay", "0"])
    after = load_state(house / "linked")["average"]["state"]
    assert set(after) - set(before) == {"mirror_down.0.weight", "mirror_down.1.weight", "mirror_up.0.weight"}
    assert all(torch.allclose(after[name], value, atol=1e-6) for name, value in before.items())
    with pytest.raises(ValueError, match=r"expected a prior of the same shape in .*; it differs at"):
        prior_run(house, "another", 1, *from_plain, "--model.head_dim", "4")


def test_an_untrained_tokenizer_is_told_before_it_spoils_a_prior(house, capsys):
    """Stopped before its codebooks started, it calls everything by one code."""
    words = ["--config", str(house / "tokenizer.toml"), "--out", str(house / "raw"), "--steps", "1"]
    train_tokenizer.main(words)
    export_to(house, "raw-export", "--tokenizer", str(house / "raw"))
    encode(house, "few")
    assert "warning" not in capsys.readouterr().err
    encode(house, "raw-tokens", "--tokenizer", str(house / "raw-export"))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: the tokens in") and "use 1 of the 16 codes of book 1" in line
    tokens = ("--tokens", str(house / "raw-tokens"), "--validation", str(house / "raw-tokens"))
    with pytest.raises(
        ValueError, match=r"^expected a trained tokenizer in .*raw-export, got one whose codes are all"
    ):
        prior_run(house, "of-raw", 1, *tokens, "--tokenizer", str(house / "raw-export"))


def test_tokens_for_another_model_are_told(house):
    with pytest.raises(ValueError, match=r"for a model with .*'classes': 3.*, got .*'classes': 0"):
        prior_run(house, "labels", 1, "--model.classes", "3")
    index = json.loads((house / "tokens" / "index.json").read_text())
    (house / "fewer").mkdir()
    (house / "fewer" / "index.json").write_text(json.dumps(index | {"classes": 2}))
    np.save(house / "fewer" / "tokens-0.npy", np.zeros((1, 2, 4, 4, 2), np.uint16))
    np.save(house / "fewer" / "labels-0.npy", np.zeros(1, np.int64))
    with pytest.raises(ValueError, match=r"expected tokens in .*fewer for a model with"):
        prior_run(house, "labels", 1, "--validation", str(house / "fewer"))
    assert not (house / "labels").exists()
