"""A run as a film, in the library and from the command line."""

from __future__ import annotations

import io
import json
import os
import stat
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image
from tiny import save_tiny_bundle, tiny_model

import sundae
from sundae import films
from sundae.cli import main
from sundae.window import Box

HOLE = np.zeros((40, 60), bool)
HOLE[10:20, 25:45] = True
ROWS, COLUMNS = np.mgrid[:40, :60]
PICTURE = np.stack([60 + 3 * ROWS, 40 + 3 * COLUMNS, 200 - 2 * ROWS], -1).astype(np.uint8)  # smooth
FFMPEG = """#!/bin/sh
for last; do :; done
echo "$@" > "$(dirname "$0")/arguments"
cat > "$(dirname "$0")/pixels"
{end}
"""


@pytest.fixture(scope="module")
def frames():
    prepared = sundae.Inpainter(tiny_model()).prepare(PICTURE, HOLE)
    return list(prepared.run(sundae.SamplerConfig(steps=6, early_stop=False), [1, 2]))


@pytest.fixture
def ffmpeg(tmp_path, monkeypatch):
    """A program of that name that keeps what it is given; the function makes it end as it is told."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")

    def install(end: str) -> Path:
        program = tmp_path / "ffmpeg"
        program.write_text(FFMPEG.format(end=end))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return tmp_path

    return install


def shown(data):
    """uint8 (n, H, W, 3): what a film shows in each of its 120 ms, and for how many ms more the last of it stays."""
    film, pictures, rest = Image.open(io.BytesIO(data)), [], 0
    for index in range(film.n_frames):
        film.seek(index)
        picture = np.asarray(film.convert("RGB"))
        rest += film.info["duration"]
        ticks = (rest - 1600 * (index + 1 == film.n_frames)) // 120  # equal states are one picture
        pictures += [picture] * ticks
        rest -= 120 * ticks
    return np.stack(pictures), rest


@pytest.mark.parametrize(("form", "near"), [("webp", 12), ("gif", 12)])
def test_a_film_shows_every_state_and_rests_at_the_end(frames, form, near):
    pictures, rest = shown(sundae.film(frames, form, sample=1))
    assert pictures.shape == (7, 40, 60, 3)
    assert rest == 1600
    for frame, picture in zip(frames, pictures, strict=True):
        assert np.abs(np.asarray(frame.image(1)).astype(int) - picture).mean() < near
        others = [np.abs(np.asarray(frame.image(0)).astype(int) - picture).mean() for frame in frames]
        assert np.abs(np.asarray(frame.image(1)).astype(int) - picture).mean() < min(others)
    assert Image.open(io.BytesIO(sundae.film(frames, form))).info["loop"] == 0


def test_what_does_not_change_does_not_flicker_in_a_gif(frames):
    pictures, _ = shown(sundae.film(frames, "gif"))
    assert (pictures == pictures[0]).all(-1)[:, ~HOLE].all()
    assert not (pictures == pictures[0]).all(-1)[:, HOLE].all()


def test_the_region_alone_has_a_rim(frames):
    pictures, _ = shown(sundae.film(frames, "webp", region=True))
    assert pictures.shape[1:3] == (20, 30)  # 5 px around 10 x 20
    whole, _ = shown(sundae.film(frames, "webp"))
    assert np.abs(whole[:, 5:25, 20:50].astype(int) - pictures).mean() < 12


@pytest.mark.parametrize("region", [False, True])
def test_white_shows_through_what_is_transparent(region):
    alpha = np.full((40, 60), 255, np.uint8)
    alpha[:16, :30], alpha[:16, 30:] = 1, 51  # across the hole
    prepared = sundae.Inpainter(tiny_model()).prepare(np.dstack([PICTURE, alpha]), HOLE)
    frames = list(prepared.run(sundae.SamplerConfig(steps=2, early_stop=False), [1]))
    area = films.around(prepared) if region else Box(0, 0, 60, 40)
    states = [frame.step.tokens[0] for frame in frames]
    opaque = sundae.Inpainter(tiny_model()).prepare(PICTURE, HOLE)
    for seen, plain in zip(
        films.pictures(prepared, states, region), films.pictures(opaque, states, region), strict=True
    ):
        share = alpha[area.slices][..., None] / 255
        assert np.abs(np.asarray(seen) - (np.asarray(plain) * share + 255 * (1 - share))).max() <= 0.51


def test_large_and_long_films_are_made_smaller(frames):
    prepared = frames[0].prepared
    sizes = {picture.size for picture in films.pictures(prepared, [frames[0].step.tokens[0]], side=31)}
    assert sizes == {(32, 20)}  # even, about 2/3 of it as high
    states = [torch.tensor([i]) for i in range(1000)]
    kept = [int(state) for state in films.thinned(states, films.MAX_FRAMES)]
    assert len(kept) == films.MAX_FRAMES
    assert (kept[0], kept[-1]) == (0, 999)
    assert max(np.diff(kept)) <= 9
    assert films.thinned(states[:5], 120) == states[:5]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"form": "avi"}, "expected a film as webp, gif, mp4, got 'avi'"),
        ({"sample": 2}, "expected a sample from 0 to 1, got 2"),
        ({"side": 8}, "expected side in whole px from 16 to 2048, got 8"),
    ],
)
def test_wrong_wishes(frames, options, words):
    with pytest.raises(ValueError, match=words):
        sundae.film(frames, **options)
    with pytest.raises(ValueError, match="expected at least one frame, got none"):
        sundae.film([])


def test_mp4_goes_through_ffmpeg(frames, ffmpeg):
    folder = ffmpeg('printf film > "$last"')
    assert films.film_formats() == ("webp", "gif", "mp4")
    assert sundae.film(frames, "mp4") == b"film"
    arguments = (folder / "arguments").read_text()
    assert "-s 60x40 -r 8.3333 -i -" in arguments
    pixels = np.frombuffer((folder / "pixels").read_bytes(), np.uint8).reshape(-1, 40, 60, 3)
    assert len(pixels) == 7 + 13  # the last one stays for 1.6 s
    assert np.array_equal(pixels[3], np.asarray(frames[3].image(0)))
    assert (pixels[6:] == pixels[-1]).all()


def test_the_real_ffmpeg_makes_a_film_that_players_read(frames, tmp_path, monkeypatch):
    (tmp_path / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / "run.mp4"
    path.write_bytes(sundae.film(frames, "mp4"))
    film, pictures = cv2.VideoCapture(str(path)), []
    assert film.get(cv2.CAP_PROP_FPS) == pytest.approx(1 / 0.12, abs=0.01)
    code = int(film.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little")
    assert code in (b"avc1", b"h264")
    while (read := film.read())[0]:
        pictures.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB).astype(np.float32))
    assert len(pictures) == 7 + 13
    for place in (0, 3, 6, 19):
        truth = np.asarray(frames[min(place, 6)].image(0), np.float32)
        distances = [float(np.abs(picture - truth).mean()) for picture in pictures]
        assert distances[place] < 8
        assert distances[place] <= min(distances) + 0.5  # of all states it is this one


def test_a_failing_ffmpeg_is_told(frames, ffmpeg):
    ffmpeg("echo 'no such codec' >&2; exit 1")
    with pytest.raises(ValueError, match="expected ffmpeg to make an MP4, got: no such codec"):
        sundae.film(frames, "mp4")


def test_without_ffmpeg_there_is_no_mp4(frames, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert films.film_formats() == ("webp", "gif")
    with pytest.raises(
        ValueError, match="expected ffmpeg on the PATH to make an MP4, got none: use webp or gif"
    ):
        sundae.film(frames, "mp4")


@pytest.fixture
def command(tmp_path):
    Image.fromarray(PICTURE).save(tmp_path / "face.png")
    Image.fromarray(HOLE).save(tmp_path / "mask.png")
    bundle = save_tiny_bundle(tmp_path / "tiny")
    words = f"inpaint {tmp_path}/face.png --mask {tmp_path}/mask.png --model {bundle} --steps 3 --json"

    def run(*more):
        return main([*words.split(), *map(str, more)])

    return run


def test_the_command_line_writes_films(command, tmp_path, capsys):
    out = ["-o", tmp_path / "out.png"]
    assert command(*out, "--film", tmp_path / "run.gif", "--candidates", 2, "--film-of", "region") == 0
    report = json.loads(capsys.readouterr().out)
    assert [Path(film["path"]).name for film in report["films"]] == ["run-0.gif", "run-1.gif"]
    for film in report["films"]:
        assert Path(film["path"]).stat().st_size == film["bytes"]
        assert Image.open(film["path"]).size == (30, 20)
    one, other = (shown(Path(film["path"]).read_bytes())[0][-1] for film in report["films"])
    assert not np.array_equal(one, other)


def test_bad_names_for_films_are_known_before_the_work(command, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", "")
    for name, words in (
        ("run.avi", "expected a film as webp"),
        ("run.mp4", "expected ffmpeg"),
        ("face.png", "expected a film as webp"),
        ("taken.gif", "which exists"),
    ):
        (tmp_path / "taken.gif").touch()
        assert command("-o", tmp_path / "out.png", "--film", tmp_path / name) == 2
        assert words in capsys.readouterr().err
        assert not (tmp_path / "out.png").exists()
    assert command("-o", tmp_path / "out.webp", "--film", tmp_path / "out.webp") == 2
    assert "another name for the film" in capsys.readouterr().err
