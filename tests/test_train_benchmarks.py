"""benchmarks/: what the measurements of training compute, told from planted numbers and tiny runs."""

import json
import math
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import overfit, processes, resume, runs, watch
from benchmarks import train as speed
from train import encode_dataset, run, train_prior
from train.data import split
from train.tokens import TokenShards

ROOT = Path(__file__).parents[1]
LAUNCH = sorted((ROOT / "train" / "launch").glob("*.yaml"))


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    return runs.tiny_tokens(tmp_path_factory.mktemp("tokens"))


@pytest.fixture
def unwatched(monkeypatch):
    """What a stopwatch puts itself in the place of comes back after the test."""
    monkeypatch.setattr(run, "Progress", run.Progress)
    monkeypatch.setattr(encode_dataset, "DataLoader", encode_dataset.DataLoader)


def prior(tokens: Path, out: Path, steps: int) -> list[str]:
    return [str(word) for word in (*runs.tiny_prior(tokens), *runs.quiet(out), "--steps", steps)]


# -- data and traces -----------------------------------------------------------------------------------------


def test_written_tokens_are_shards_that_can_be_learned(tokens):
    shards = TokenShards(tokens)
    assert (len(shards), shards.twins, shards.codes) == (64, 2, 32)
    grids = np.stack([shards.grid(i, 0)[..., 0] for i in range(64)])
    steps = np.diff(grids, axis=2) % 32
    usual = np.array([np.bincount(grid.ravel(), minlength=32).argmax() for grid in steps])
    assert 0.7 < (steps == usual[:, None, None]).mean() < 0.95  # 0.9 ** 2 of the neighbours follow the slope
    assert len(np.unique(usual)) == 5


def test_the_largest_difference_of_traces_is_found():
    one = [{"step": i, "loss": 1.0 / i, "accuracy": 0.5} for i in range(1, 30)]
    two = [dict(line) for line in one]
    assert runs.largest_difference(one, two)["difference"] == 0
    two[6]["loss"] += 2e-5
    two[11]["accuracy"] -= 3e-5
    found = runs.largest_difference(one, two)
    assert (found["name"], found["step"]) == ("accuracy", 12)
    assert found["difference"] == pytest.approx(3e-5)
    assert runs.largest_difference(one, two, "loss")["step"] == 7
    two[20]["loss"] = math.nan
    assert math.isnan(runs.largest_difference(one, two)["difference"])
    for other in (two[:-1], [{**line, "extra": 0.0} for line in two], [*two[:-1], {**two[-1], "step": 99}]):
        with pytest.raises(ValueError, match="expected traces of the same steps and numbers"):
            runs.largest_difference(one, other)


# -- speed ---------------------------------------------------------------------------------------------------


def test_speed_and_loading_are_those_after_the_warm_up():
    slow = [(step, 100.0 * step, 90.0 * step) for step in range(1, 5)]
    marks = [*slow, *((4 + i, 400.0 + 2 * i, 360.0 + 0.5 * i) for i in range(1, 11))]
    assert watch.summary(marks) == {"measured": 10, "seconds": 20, "per_s": 0.5, "loading_share": 0.25}
    with pytest.raises(ValueError, match="expected at least 5 steps to measure, got 4"):
        watch.summary(slow)


def test_a_watched_run_ends_when_enough_is_measured(tokens, tmp_path, unwatched):
    words = prior(tokens, tmp_path / "run", 10_000)
    watch.main([str(tmp_path / "w.json"), "0.05", "train_prior", *words])
    found = json.loads((tmp_path / "w.json").read_text())
    steps = [step for step, _, _ in found["marks"]]
    assert steps == list(range(1, len(steps) + 1)) and 5 <= len(steps) < 2000
    assert len(runs.read_trace(tmp_path / "run")) == len(steps)
    summary = watch.summary(found["marks"])
    assert summary["seconds"] >= 0.05 and 0 <= summary["loading_share"] < 1
    assert found["peak_memory_mb"] > 50 and found["device"] == "cpu" and found["peak_gpu_memory_mb"] is None


def test_waiting_for_slow_pictures_is_counted(tmp_path, unwatched, monkeypatch):
    class Slow(encode_dataset.Versions):
        def __getitem__(self, item):
            time.sleep(0.02)
            return np.zeros((2, 8, 8, 3), np.uint8), None

    monkeypatch.setattr(encode_dataset, "Versions", Slow)
    words = [
        "--tokenizer",
        "",
        "--data",
        "portraits:0:24",
        "--size",
        "8",
        "--shard-size",
        "8",
        "--workers",
        "0",
    ]
    watch.main([str(tmp_path / "w.json"), "0", "encode_dataset", *words, "--out", str(tmp_path / "tokens")])
    marks = json.loads((tmp_path / "w.json").read_text())["marks"]
    assert [done for done, _, _ in marks] == list(range(1, 25))
    summary = watch.summary(marks)
    assert summary["measured"] == 20 and 0.5 < summary["loading_share"] <= 1
    assert summary["per_s"] < 1 / 0.02
    assert len(TokenShards(tmp_path / "tokens")) == 24  # it still did its work


def test_a_stage_is_measured_through_its_trainer(tokens, tmp_path):
    numbers = speed.measure("prior-2", tmp_path, 0.05, runs.tiny_prior(tokens))
    trace = runs.read_trace(tmp_path / "prior-2")
    assert numbers["batch_size"] == 8 and numbers["workers"] == 1 and numbers["threads"] >= 1
    assert numbers["tokens_per_s"] == pytest.approx(64 * numbers["grids_per_s"])
    assert numbers["grids_per_s"] == pytest.approx(8 * numbers["measured_steps"] / numbers["measured_s"])
    assert len(trace) == numbers["measured_steps"] + watch.WARM_UP + 1
    assert numbers["loading_goal_met"] == (numbers["loading_share"] < 0.05)


def test_items_of_the_shipped_stages():
    counts = {stage: speed.contents(stage, speed.stage_words(stage, Path("x"))) for stage in speed.STAGES}
    assert counts["tokenizer"] == (2, {"pictures": 1, "crops": 4, "tokens": 4 * 8 * 8 * 4})
    assert counts["encode"] == (1, {"pictures": 1, "tokens": 2 * 32 * 32 * 4})
    assert counts["prior-1"] == counts["prior-2"] == (12, {"grids": 1, "tokens": 32 * 32 * 4})


def test_the_stages_differ_in_what_their_names_say():
    def options(stage):
        return speed.settings.parse(speed.SETTINGS[speed.STAGES[stage][0]], "", words(stage))[0]

    def words(stage):
        return speed.stage_words(stage, Path("x"))

    assert (
        options("tokenizer").adversarial_start > 1e6
        and options("tokenizer-discriminator").adversarial_start == 0
    )
    assert options("prior-1").unroll_from > 1e6 and options("prior-2").unroll_from == 0
    assert options("prior-1").unroll_every == options("prior-2").unroll_every == 1


def test_a_failing_trainer_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"^none ended with status 1:(.|\n)*No module named 'train.none'"):
        runs.watched("none", [], tmp_path / "w.json")


# -- kills ---------------------------------------------------------------------------------------------------


def test_moments_are_random_and_in_order():
    moments = resume.draw_moments(200, 1000, 3.0, 0.1, seed=1)
    assert moments == resume.draw_moments(200, 1000, 3.0, 0.1, seed=1)
    assert moments != resume.draw_moments(200, 1000, 3.0, 0.1, seed=2)
    starts = [moment for moment in moments if not moment.step]
    reached = [moment.step for moment in moments if moment.step]
    assert 20 < len(starts) < 60 and max(moment.seconds for moment in starts) > 2
    assert reached == sorted(reached) and min(reached) < 50 and max(reached) > 950
    assert all(moment.seconds <= 0.2 for moment in moments if moment.step)
    assert {moment.save_minutes for moment in moments} == set(resume.SAVE_MINUTES)


def test_the_last_whole_line_of_a_trace_counts(tmp_path):
    log = tmp_path / "log.jsonl"
    assert resume.last_step(log) == 0
    log.write_text("")
    assert resume.last_step(log) == 0
    lines = [json.dumps({"step": step, "loss": 1.0}) for step in range(1, 500)]
    log.write_text("\n".join(lines) + '\n{"step": 500, "lo')
    assert resume.last_step(log) == 499


def test_a_run_is_killed_at_its_moment_and_goes_on(tokens, tmp_path, unwatched):
    out = tmp_path / "run"
    words = prior(tokens, out, 100_000)
    found = resume.kill_at(resume.Moment(20, 0.0, 0.0), words, out)
    assert found["killed"] and found["steps"]
    reached = resume.last_step(out / "log.jsonl")
    assert reached >= 20 and any(out.glob("state-*.pt"))
    assert found["save"] == any(out.glob("state-*.partial"))
    train_prior.main([*words, "--steps", str(reached + 5)])
    train_prior.main(prior(tokens, tmp_path / "unbroken", reached + 5))
    worst = runs.largest_difference(*(runs.read_trace(path) for path in (out, tmp_path / "unbroken")))
    assert worst["difference"] <= resume.GOAL


def test_a_save_that_was_cut_off_is_seen(tmp_path):
    before = resume.half_written(tmp_path)
    (tmp_path / "log.partial").touch()
    (tmp_path / "state-00000007.pt").touch()
    assert resume.half_written(tmp_path) == before
    (tmp_path / "state-00000008.partial").touch()
    first = resume.half_written(tmp_path)
    assert len(first) == 1
    os.utime(tmp_path / "state-00000008.partial", (1, 1))  # cut off again at the same step
    assert resume.half_written(tmp_path) != first


# -- processes -----------------------------------------------------------------------------------------------


def test_differences_are_told_by_phase():
    phases = processes.phases_of("tokenizer", 50)
    assert [steps.start for steps in phases.values()] == [1, 21, 31]
    assert sum(map(len, phases.values())) == 50
    one = [{"step": i, "loss": 1.0} | ({"hinge": 0.0} if i > 30 else {}) for i in range(1, 51)]
    two = [dict(line) for line in one]
    two[24]["loss"], two[40]["hinge"] = 1.01, 0.5
    found = processes.differences(one, two, phases)
    assert found["before_codebooks"]["any"]["difference"] == 0
    assert found["codebooks"]["loss"]["difference"] == pytest.approx(0.01)
    assert found["discriminator"]["loss"]["difference"] == 0
    assert found["discriminator"]["any"] == {"difference": 0.5, "name": "hinge", "step": 41}


def test_phases_are_those_of_the_trainer():
    words = processes.tokenizer_words(processes.phases_of("tokenizer", 50), tiny=True)
    options = dict(zip(words[::2], words[1::2]))
    assert (options["--codebook_start"], options["--adversarial_start"]) == (20, 30)


# -- learning by heart ---------------------------------------------------------------------------------------


def test_every_portrait_has_a_name_on_each_side():
    names = [overfit.two_names(i) for i in range(overfit.COUNT)]
    training, held_out = split(overfit.Names([name for pair in names for name in pair]), overfit.HELD_OUT)
    assert training.indices == list(range(0, 16, 2)) and held_out.indices == list(range(1, 16, 2))


class Shifted:
    """A tokenizer whose pictures come back a little brighter."""

    def encode(self, picture):
        return picture

    def decode(self, tokens):
        return tokens + 0.02


def test_psnr_is_that_of_pixel_values():
    values = overfit.psnr(Shifted(), np.full((2, 8, 8, 3), 100, np.uint8))
    assert values == pytest.approx([10 * math.log10(255**2 / (0.02 * 127.5) ** 2)] * 2, abs=1e-3)


class Knowing:
    """A denoiser that knows every code of its grids but one in eight, whatever it sees."""

    codebook_size, depth = 16, 2

    def __init__(self, tokens):
        self.tokens = tokens.clone()
        self.tokens[:, :, ::4, 1] = (tokens[:, :, ::4, 1] + 1) % 16
        self.seen = []

    def hidden(self, state, known):
        self.seen.append((state, known))
        return self.tokens.float()

    def logits(self, hidden, current, prefix):
        return 50 * torch.nn.functional.one_hot(hidden[:, prefix.shape[1]].long(), 16).float()


def test_accuracy_is_over_all_codes_of_hidden_pictures():
    grids = torch.randint(16, (4, 8, 8, 2), generator=torch.Generator().manual_seed(0))
    denoiser = Knowing(grids)
    assert overfit.accuracy(denoiser, grids) == pytest.approx({"most_likely": 7 / 8, "drawn": 7 / 8})
    for state, known in denoiser.seen:
        assert not known.any()
        assert 0.35 < (state == grids).all(-1).float().mean() < 0.65


def test_the_first_good_validation_is_told(tmp_path):
    lines = [{"step": step, "psnr": psnr} for step, psnr in ((10, 30.0), (20, 33.0), (30, 34.0))]
    (tmp_path / "validation.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    marks = [[step, step / 2, 0.0] for step in range(1, 31)]
    found = [
        overfit.first_reached(tmp_path, marks, lambda n, goal=goal: n["psnr"] > goal) for goal in (32, 40)
    ]
    assert found == [{"step": 20, "seconds": 10.0}, {"step": None, "seconds": None}]
    assert not overfit.good_picture({"psnr": 50.0})  # before the codebooks start
    assert overfit.good_picture({"psnr": 32.1, "usage": []})
    assert not overfit.good_picture({"psnr": 31.9, "usage": []})


# -- launching -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", LAUNCH, ids=lambda path: path.stem)
def test_accelerate_takes_the_launch_files(path):
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(path))  # refuses unknown keys
    expected = {"one-gpu": (1, 1), "eight-gpus": (8, 1), "two-nodes": (16, 2)}[path.stem]
    assert (config.num_processes, config.num_machines) == expected
