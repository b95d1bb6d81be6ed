"""What the server keeps for a visitor and does for one; no browser needed."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from marks import DRAWN, EDITED, mark_of
from PIL import Image
from tiny import flat_model, save_flat_bundle, save_tiny_bundle, tiny_model, tiny_tokenizer

import sundae
from page import session as sessions
from page import shelf as shelves
from page.checks import PNG_URL
from page.desk import Desk
from page.events import LAST_QUALITY
from page.programs import Programs
from page.session import Session
from page.shelf import Shelf, in_the_box, labels
from sundae.checkpoint import borrow_part, save_bundle
from sundae.image import jpeg_bytes, load_picture
from sundae.pipeline import Inpainter, extend
from sundae.sampler import SamplerConfig

ROOT = Path(__file__).resolve().parents[2]
BOX = (slice(8, 24), slice(10, 40))


def noise(seed: int = 0, size: tuple[int, int] = (64, 48)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8))


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def hole(size: tuple[int, int] = (64, 48)) -> Image.Image:
    mask = np.zeros(size[::-1], np.uint8)
    mask[BOX] = 255
    return Image.fromarray(mask)


def posted(mask: Image.Image) -> str:
    return PNG_URL + base64.b64encode(png(mask)).decode()


def redraw(session: Session, seed: int = 7, candidates: int = 1, steps: int = 2, model=None) -> list[dict]:
    order = session.order(posted(hole(session.picture.size)), seed, steps, candidates)
    return list(session.redraw(Inpainter(model or tiny_model()), order))


def pixels(image) -> np.ndarray:
    return np.asarray(image.convert("RGB"))


def downloaded(session: Session, folder) -> tuple[np.ndarray, dict]:
    with Image.open(session.download(folder)["path"]) as image:
        return pixels(image), json.loads(image.info["sundae"])


@pytest.fixture
def session():
    session = Session()
    session.start_with(load_picture(noise()), "Noise")
    return session


def shelf_of(*found) -> Shelf:
    """A shelf whose models are there at once; what is no model is raised when it should load."""

    def loader(name, device):
        thing = found[int(name)]
        if isinstance(thing, Exception):
            raise thing
        loader.calls.append(int(name))
        return thing

    loader.calls = []
    shelf = Shelf([str(index) for index in range(len(found))], loader=loader)
    shelf.calls = loader.calls
    return shelf


# -- "Use as input" and back ---------------------------------------------------------------------------------


def test_a_former_picture_comes_back_with_its_result_and_choice(session, tmp_path):
    picture = session.picture
    job = redraw(session, candidates=3)[-1]["job"]
    session.adopt(job, 2)
    before, settings = downloaded(session, tmp_path)
    used = session.use_as_input()
    assert (used["way"], used["edits"], used["former"]) == ("used", 1, 1)
    assert np.array_equal(session.picture.rgb, before)
    redraw(session, seed=50)
    assert downloaded(session, tmp_path)[1]["earlier"][0]["seed"] == settings["seed"] == 9
    back = session.go_back()
    assert (back["way"], back["edits"], back["former"]) == ("former", 0, 0)
    assert session.picture is picture
    again, settings_again = downloaded(session, tmp_path)
    assert np.array_equal(again, before)
    assert settings_again == settings
    session.adopt(job, 0)
    assert downloaded(session, tmp_path)[1]["seed"] == 7


def test_several_pictures_come_back_one_by_one_and_the_oldest_are_forgotten(session, monkeypatch):
    pictures = []
    for seed in range(sessions.FORMER + 2):
        pictures.append(session.picture)
        redraw(session, seed)
        event = session.use_as_input()
        assert event["edits"] == seed + 1
        assert event["former"] == min(seed + 1, sessions.FORMER)
    for expected in pictures[:1:-1]:
        session.go_back()
        assert session.picture is expected
    with pytest.raises(ValueError, match="no former picture"):
        session.go_back()
    monkeypatch.setattr(sessions, "FORMER_PIXELS", 64 * 48 * 2)
    for seed in range(3):
        redraw(session, seed)
        former = session.use_as_input()["former"]
    assert former == 2
    monkeypatch.setattr(sessions, "FORMER_PIXELS", 1)
    redraw(session)
    assert session.use_as_input()["former"] == 1, "one can always come back"


def test_whatever_takes_a_picture_s_place_it_can_come_back(session):
    job, nothing = redraw(session)[-1]["job"], dict.fromkeys(("left", "right", "top", "bottom"), 0)
    first = session.picture
    event = session.extend(nothing | {"left": 16})
    assert (event["way"], event["former"]) == ("extended", 1)
    extended = session.picture
    assert session.extend(nothing | {"top": 16})["former"] == 2  # of this there is no result
    assert session.recall(job)["former"] == 3
    assert session.picture is first
    session.go_back()
    assert session.picture.size == (extended.size[0], extended.size[1] + 16)
    session.go_back()
    assert session.picture is extended
    session.go_back()
    assert session.picture is first and session.result is not None
    with pytest.raises(ValueError, match="no former picture"):
        session.go_back()


def test_a_new_picture_takes_the_place_of_another_that_can_come_back(session, tmp_path):
    assert session._former == [], "there was none before the first"
    redraw(session)
    session.use_as_input()
    redraw(session, seed=50)
    picture, settings = session.picture, downloaded(session, tmp_path)[1]
    event = session.start_with(load_picture(noise(5)), "Another")
    assert (event["way"], event["edits"], event["former"]) == ("new", 0, 2)
    redraw(session)
    assert "earlier" not in downloaded(session, tmp_path)[1]
    back = session.go_back()
    assert (back["edits"], back["former"]) == (1, 1)
    assert session.picture is picture
    assert downloaded(session, tmp_path)[1] == settings


def test_going_back_can_be_undone(session):
    first = session.picture
    job = redraw(session)[-1]["job"]
    session.start_with(load_picture(noise(5)), "Second")
    second = session.picture
    redraw(session, seed=50)
    session.start_with(load_picture(noise(6)), "Third")
    third = session.picture
    back = [session.go_back() for _ in range(2)]
    assert [(event["former"], event["ahead"]) for event in back] == [(1, 1), (0, 2)]
    assert session.picture is first and session.result.job == job
    for picture, result, ahead in ((second, True, 1), (third, False, 0)):
        event = session.go_forward()
        assert (event["way"], event["former"], event["ahead"]) == ("later", 2 - ahead, ahead)
        assert session.picture is picture
        assert (session.result is not None) == result
    with pytest.raises(ValueError, match="no later picture"):
        session.go_forward()


def test_what_was_ahead_of_a_picture_is_not_lost_when_another_comes(session):
    first = session.picture
    session.start_with(load_picture(noise(5)), "Second")
    second = session.picture
    session.start_with(load_picture(noise(6)), "Third")
    third = session.picture
    for _ in range(2):
        session.go_back()
    event = session.start_with(load_picture(noise(7)), "Fourth")
    assert (event["former"], event["ahead"]) == (3, 0)
    for expected in (first, second, third):
        session.go_back()
        assert session.picture is expected


@pytest.mark.parametrize("backwards", [0, 2, 3])
def test_pictures_before_and_after_are_no_more_than_are_kept(session, monkeypatch, backwards):
    for number in range(sessions.FORMER + 2):
        session.start_with(load_picture(noise(number)), "Another")
    for _ in range(backwards):
        event = session.go_back()
        assert event["former"] + event["ahead"] == sessions.FORMER
    monkeypatch.setattr(sessions, "FORMER_PIXELS", 1)
    event = session.go_back()
    assert event["former"] + event["ahead"] == 1, "the farthest go, and one can always come back"
    assert event["ahead"] == 1


def test_what_came_before_the_oldest_former_picture_stays_in_the_settings(session, tmp_path):
    for seed in range(sessions.FORMER + 2):
        redraw(session, seed)
        session.use_as_input()
    while session._former:
        session.go_back()
    assert [edit["seed"] for edit in downloaded(session, tmp_path)[1]["earlier"]] == [0, 1]


# -- uploads -------------------------------------------------------------------------------------------------


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.setattr("page.desk.get_upload_folder", lambda: str(tmp_path / "uploads"))
    return Desk(shelf_of(flat_model(-0.6), flat_model(0.6)), [])


def upload(desk: Desk, session: Session, data: bytes, name: str) -> dict:
    """What the page is told of an upload; the file must be gone afterwards."""
    folder = desk.uploads / "abc"
    folder.mkdir()
    (folder / "1-random.png").write_bytes(data)
    answer = desk.uploaded(session, SimpleNamespace(path=str(folder / "1-random.png"), name=name))
    assert not folder.exists()
    return told(answer)


def told(answer) -> dict:
    (event,) = (value for key, value in answer[1].items() if key.startswith("slot"))
    return event


@pytest.mark.parametrize("data", [b"nonsense", b"", png(Image.new("RGB", (3, 3))), png(noise())[:2000]])
def test_a_broken_upload_is_named_and_leaves_the_running_job_alone(desk, session, data):
    picture = session.picture
    running = session.redraw(Inpainter(tiny_model()), session.order(posted(hole()), 1, 4, 1))
    next(running)
    event = upload(desk, session, data, "my holiday.png")
    assert event["kind"] == "refused"
    assert "'my holiday.png'" in event["note"]
    assert [event["kind"] for event in running][-1] == "done"
    assert session.picture is picture
    assert session.result is not None


def test_a_good_upload_stops_the_job_when_the_page_takes_it(desk, session):
    running = session.redraw(Inpainter(tiny_model()), session.order(posted(hole()), 1, 4, 1))
    next(running)
    assert upload(desk, session, png(noise(3, (80, 40))), "wide.png")["kind"] == "offer"
    assert next(running)["kind"] == "frame", "not yet"
    event = told(desk.take(session))
    assert (event["kind"], event["way"]) == ("picture", "new")
    assert event["status"] == "wide.png, 80 × 40"
    assert list(running) == []
    assert session.picture.size == (80, 40)
    assert told(desk.take(session))["note"] == "The picture did not arrive. Please send it again."
    assert session.picture.size == (80, 40)


def test_of_two_uploads_the_later_is_taken_and_the_page_comes_for_each(desk, session):
    for number, name in ((1, "dark.png"), (2, "bright.png")):
        session.offer(png(noise(number)), name, number)
    assert session.take(1) is None
    event = session.take(2)
    assert (event["upload"], event["status"]) == (2, "bright.png, 64 × 48")


def test_of_two_uploads_the_later_stays_though_it_is_read_first(desk, session):
    session.offer(png(noise(2)), "bright.png", 2)
    assert session.offer(png(noise(1)), "dark.png", 1) is None
    assert session.take(2)["status"] == "bright.png, 64 × 48"
    session.offer(png(noise(3)), "third.png", 3)
    assert session.take(3)["status"] == "third.png, 64 × 48"


def test_an_upload_without_a_number_of_the_page_is_refused(desk, session):
    event = told(desk.upload(session, "picture.png", "picture.png", "first"))
    assert (event["kind"], event["upload"]) == ("refused", "first")
    assert event["note"].startswith("The upload must be a whole number")


def test_a_choice_that_was_overtaken_is_ignored(session, tmp_path):
    job = redraw(session, candidates=3)[-1]["job"]
    session.adopt(job, 2, 2)
    session.adopt(job, 1, 1)
    assert downloaded(session, tmp_path)[1]["seed"] == 9
    session.adopt(job, 0, 3)
    assert downloaded(session, tmp_path)[1]["seed"] == 7


def test_a_closed_session_holds_nothing(session):
    redraw(session)
    session.use_as_input()
    session.fits(shelf_of(flat_model(0), flat_model(1)))
    session.offer(png(noise()), "another.png")
    session.close()
    kept = [
        session.picture,
        session.result,
        session._offered,
        session._fits,
        session._former,
        session._ahead,
        session._earlier,
    ]
    assert not any(kept)
    with pytest.raises(ValueError, match="no picture"):
        session.order(posted(hole()), 1, 1, 1)


# -- what is shown is what is kept ---------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "CMYK", "I;16", "RGB"])
def test_the_frames_have_the_colours_of_the_download(mode, tmp_path):
    image = noise().convert("P", palette=Image.Palette.ADAPTIVE, colors=6) if mode == "P" else None
    image = image or (
        Image.fromarray(pixels(noise())[..., 0].astype(np.uint16) * 257)
        if mode == "I;16"
        else noise().convert(mode)
    )
    session = Session()
    session.start_with(load_picture(image), "Picture")
    last = redraw(session)[-2]
    left, top, width, height = last["box"]
    shown = Image.open(io.BytesIO(base64.b64decode(last["crops"][0].split(",")[1])))
    patch = session.result.frame.patches[0]
    result = load_picture(session.result.frame.image()).rgb[top : top + height, left : left + width]
    assert np.array_equal(patch, result)
    with Image.open(io.BytesIO(jpeg_bytes(patch, LAST_QUALITY))) as expected:
        assert np.array_equal(pixels(shown), pixels(expected))
    if mode in ("L", "1", "LA", "I;16"):
        assert np.ptp(patch, axis=-1).max() == 0
        assert np.ptp(pixels(shown), axis=-1).max() == 0


def test_a_job_stopped_before_the_page_knows_its_end_leaves_the_result_before(session):
    redraw(session, seed=1)
    first = session.result
    running = session.redraw(Inpainter(tiny_model()), session.order(posted(hole()), 2, 3, 1))
    for event in running:
        if event["kind"] == "frame" and event["last"]:
            break
    session.cancel()
    assert list(running) == []
    assert session.result is first


def test_page_and_command_line_store_the_same_settings(session, tmp_path):
    bundle = save_tiny_bundle(tmp_path / "tiny")
    noise().save(tmp_path / "face.png")
    hole().save(tmp_path / "mask.png")
    line = ["inpaint", "face.png", "--mask=mask.png", "-oout.png", "--seed=7", "--steps=2", "--model=tiny"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "sundae", *line], cwd=tmp_path, env=environment, check=True)
    redraw(session, seed=7, model=sundae.load(bundle))
    by_page, settings = downloaded(session, tmp_path)
    with Image.open(tmp_path / "out.png") as image:
        assert json.loads(image.info["sundae"]) == settings
        assert np.array_equal(pixels(image), by_page)
    assert {"model", "hash", "version", "seed", "steps", "grow", "feather", "mask_rule"} <= set(settings)


def test_a_result_that_comes_back_has_the_edges_that_it_was_drawn_with(session, tmp_path):
    drawn = []
    for more in ({"feather": 0}, {"feather": 9, "mask_rule": "all"}):
        order = session.order(posted(hole()), 7, 2, 1, more)
        job, *_ = session.redraw(Inpainter(tiny_model()), order)
        drawn.append((job["job"], *downloaded(session, tmp_path)))
    assert not np.array_equal(drawn[0][1], drawn[1][1])
    for job, shown, settings in drawn:
        session.recall(job)
        again, about = downloaded(session, tmp_path)
        assert about == settings
        assert np.array_equal(again, shown)
    assert (about["feather"], about["mask_rule"]) == (9, "all")


def test_what_was_drawn_from_nothing_says_so_and_stays_so(tmp_path):
    size, session = (32, 32), Session()

    def mark():
        return mark_of(session.download(tmp_path)["path"])

    def drawn(mask, **more):
        list(session.redraw(Inpainter(tiny_model()), session.order(posted(mask), 7, 2, 1, more)))
        return mark()

    everything = Image.new("L", size, 255)
    session.start_with(load_picture(noise(size=size)), "Noise")
    assert drawn(hole(size)) == EDITED
    assert drawn(everything, strength=0.5) == EDITED
    assert drawn(everything) == DRAWN
    assert drawn(hole(size), of="result", strength=0.5) == EDITED  # around it is the upload again
    assert drawn(everything) == DRAWN
    assert drawn(everything, keep_going=True) == DRAWN
    session.use_as_input()
    assert mark() == DRAWN
    assert drawn(hole(size)) == DRAWN
    again = load_picture(Path(session.download(tmp_path)["path"]))
    session.start_with(again, "Again")
    assert drawn(hole(size)) == DRAWN
    odd = dataclasses.replace(again, image=again.image.convert("CMYK"))
    session.start_with(odd, "In colours that no PNG holds")
    assert drawn(hole(size)) == DRAWN
    session.start_with(load_picture(noise(size=size)), "Noise")
    assert drawn(hole(size)) == EDITED


def test_an_mp4_is_what_ffmpeg_makes_of_every_step(session, tmp_path, monkeypatch):
    program, kept = tmp_path / "ffmpeg", tmp_path / "pixels"
    program.write_text(f'#!/bin/sh\nfor last; do :; done\ncat > "{kept}"\nprintf film > "$last"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    events = redraw(session, steps=5)
    states = [event["index"] for event in events if event["kind"] == "frame"]
    *_, made = session.film("mp4", False, tmp_path, 1)
    assert (made["name"], Path(made["path"]).read_bytes()) == ("sundae-7.mp4", b"film")
    shown = np.frombuffer(kept.read_bytes(), np.uint8).reshape(-1, 48, 64, 3)
    assert len(shown) == len(states) + 13  # the noised start and every step; the last stays for 1.6 s
    assert np.array_equal(shown[-1], downloaded(session, tmp_path)[0])


# -- models --------------------------------------------------------------------------------------------------


def test_models_are_loaded_once_and_only_when_needed():
    night, day = flat_model(-0.6), flat_model(0.6)
    shelf = shelf_of(night, day)
    assert shelf[0] is night
    assert shelf.calls == [0]
    assert [index for index, _ in shelf.compare(load_picture(noise()))]
    assert shelf[1] is day
    assert shelf.calls == [0, 1]
    shelf.start_all()
    assert shelf.calls == [0, 1]


def grey(value: int) -> Image.Image:
    return Image.new("RGB", (64, 48), (value,) * 3)


def test_the_model_that_fits_is_told_and_used_unless_another_is_asked_for():
    night, day = flat_model(-0.6, usual=20), flat_model(0.6, usual=20)
    shelf, session = shelf_of(night, day), Session()
    for value, best in ((40, 0), (220, 1)):
        shown = session.start_with(load_picture(grey(value)), "Grey")
        event = session.fit(shelf)
        assert (event["picture"], event["model"], event["hint"]) == (shown["number"], best, "")
        assert session.model(shelf, None) is (night, day)[best]
        assert session.model(shelf, 1 - best) is (day, night)[best]
    for bad in (2, -1, "0", 0.5, True, []):
        with pytest.raises(ValueError, match="The model must be a whole number from 0 to 1"):
            session.model(shelf, bad)


def test_a_picture_that_no_model_knows_is_hinted_at():
    session, grey_picture = Session(), load_picture(grey(128))
    session.start_with(grey_picture, "Grey")
    hint = session.fit(shelf_of(flat_model(-0.6, usual=20), flat_model(0.6, usual=20)))["hint"]
    assert hint == "The models know aligned faces; this picture may be something else."
    alone = Session()
    alone.start_with(grey_picture, "Grey")
    assert alone.fit(shelf_of(flat_model(0.6, usual=20)))["hint"].startswith("The model knows")
    one_knows = Session()
    one_knows.start_with(grey_picture, "Grey")
    assert one_knows.fit(shelf_of(flat_model(-0.6, usual=20), flat_model(0.0, usual=20)))["hint"] == ""


def test_a_single_model_is_not_compared_before_it_redraws(session, monkeypatch):
    monkeypatch.setattr(shelves, "compare", lambda *_: pytest.fail("nothing to choose from"))
    model = flat_model(0)
    assert session.model(shelf_of(model), None) is model


def test_a_picture_is_compared_once_however_many_ask(session, monkeypatch):
    calls = []
    monkeypatch.setattr(shelves, "compare", lambda models, picture: calls.append(1) or real(models, picture))
    real, shelf = sundae.fit.compare, shelf_of(flat_model(-0.6), flat_model(0.6))
    threads = [threading.Thread(target=session.fit, args=(shelf,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    session.start_with(load_picture(noise(1)), "Another")
    session.model(shelf, None)
    assert len(calls) == 2


def test_a_model_that_cannot_be_loaded_is_passed_over_and_said_once(session, caplog):
    day = flat_model(0.6)
    shelf = shelf_of(ValueError("expected a whole bundle, got half of one"), day)
    assert session.fit(shelf)["model"] == 1
    assert session.model(shelf, None) is day
    with pytest.raises(ValueError, match="half of one"):
        session.model(shelf, 0)
    assert [record.message for record in caplog.records] == [
        "the model 0 cannot be loaded: expected a whole bundle, got half of one"
    ]


def test_of_the_model_of_a_saved_picture_is_told_what_is_known(tmp_path):
    names = [str(save_tiny_bundle(tmp_path / name)) for name in ("tiny", "other")]
    shelf = Shelf([*names, str(tmp_path / "missing")])
    about = {"model": "tiny", "hash": "0123"}
    assert shelf.maker(about) == {"name": "tiny", "place": 0, "same": None, "usual": {}}, (
        "it is not loaded yet"
    )
    model = shelf[0]
    told = shelf.maker({**about, "hash": model.hash})
    assert (told["place"], told["same"]) == (0, True)
    assert told["usual"]["top_k"] == 0
    assert not shelf.maker(about)["same"]
    with pytest.raises(ValueError, match="missing"):
        shelf[2]
    for name in ("missing", "nobody", None, ["tiny"]):
        assert shelf.maker({"model": name})["place"] is None, name


def test_programs_name_a_model_or_get_the_one_that_fits(tmp_path):
    names = [
        str(save_flat_bundle(tmp_path / name, value, 20)) for name, value in (("night", -0.6), ("day", 0.6))
    ]
    shelf = Shelf(names)
    assert shelf.choose(load_picture(grey(40)), "").name == "night"
    assert shelf.choose(load_picture(grey(220)), "").name == "day"
    assert shelf.choose(load_picture(grey(220)), "night").name == "night"
    with pytest.raises(ValueError, match=r"The model must be one of night, day$"):
        shelf.choose(load_picture(grey(220)), "photo")


def test_the_box_offers_what_can_redraw_the_default_first(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["sundae.bundles"], "weights_folder", lambda: tmp_path)
    monkeypatch.setattr(shelves, "weights_folder", lambda: tmp_path)
    assert in_the_box() == ["illustrated-1024"], "to be complained about by whoever loads it"
    for name in ("photo-1024", "illustrated-1024", "abstract-64"):
        save_tiny_bundle(tmp_path / name)
    save_bundle(tmp_path / "tokenizer-only", {"tokenizer": tiny_tokenizer()}, {})
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "config.json").write_text("{")
    assert in_the_box() == ["illustrated-1024", "abstract-64", "photo-1024"]
    save_tiny_bundle(tmp_path / "abstract-64-absorbing")
    borrow_part(tmp_path / "abstract-64-absorbing", "tokenizer", tmp_path / "abstract-64")
    assert in_the_box() == ["illustrated-1024", "abstract-64", "photo-1024", "abstract-64-absorbing"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["illustrated-1024", "photo-1024"], ["Illustrated", "Photo"]),
        (["photo-1024", "photo-256"], ["photo-1024", "photo-256"]),
        (["photo-1024", "photo-1024-absorbing"], ["Photo", "Photo absorbing"]),
        (["/home/me/runs/my_model", "someone/oil-paint-512"], ["My model", "Oil paint"]),
        (["<b>-1", "${x}`{{y}}"], ["B", "Xy"]),
        (["1024", "-7"], ["1024", "-7"]),
    ],
)
def test_models_have_short_names(names, expected):
    assert labels(names) == expected


def test_wide_margins_are_drawn_as_the_library_draws_them(session):
    """Through windows in which the model sees what it goes on from; also when the result is brought back."""
    model = tiny_model()
    session.start_with(load_picture(noise(3, (32, 32))), "Noise")
    event = session.extend({"left": 32, "right": 0, "top": 0, "bottom": 0})
    assert (event["inside"], event["inner"]) == ([32, 0, 32, 32], (32, 0, 64, 32))
    mask = Image.new("L", (64, 32), 255)
    mask.paste(0, (32, 0, 64, 32))
    order = session.order(posted(mask), 7, 3, 1)
    list(session.redraw(Inpainter(model), order))
    shown = session.result.frame
    *_, frame = extend(model, noise(3, (32, 32)), left=32).run(SamplerConfig(steps=3), [7])
    assert np.array_equal(pixels(shown.image()), pixels(frame.image()))
    window = shown.prepared.window
    assert (window.width, window.height) == (64, 32)
    session.use_as_input()
    session.recall(session._past[-1].job)
    assert session.result.frame.prepared.window == window


def test_what_is_drawn_where_nothing_is_seen_is_refused_and_a_margin_of_a_cut_out_said_to_be_opaque(session):
    cut_out = noise(3, (32, 32)).convert("RGBA")
    cut_out.paste((0, 0, 0, 0), (0, 0, 16, 32))
    assert "stay transparent" in session.start_with(load_picture(cut_out), "Cut-out")["note"]
    mask = Image.new("L", (32, 32))
    mask.paste(255, (2, 2, 16, 30))
    with pytest.raises(ValueError, match="All that is painted is transparent"):
        list(session.redraw(Inpainter(tiny_model()), session.order(posted(mask), 7, 1, 1)))
    mask.paste(255, (16, 2, 17, 3))  # one pixel that is seen
    assert (
        list(session.redraw(Inpainter(tiny_model()), session.order(posted(mask), 7, 1, 1)))[-1]["kind"]
        == "done"
    )
    margins = {"left": 8, "right": 0, "top": 0, "bottom": 0}
    assert "What is added is opaque" in session.extend(margins)["note"]
    session.start_with(load_picture(noise(3, (32, 32))), "Noise")
    assert session.extend(margins)["note"] == ""


def test_a_visitor_may_leave_while_the_mask_is_read(session, monkeypatch):
    """The job then finds no picture, which is no fault of the program's."""
    read = sessions.mask_from_url

    def leaves(*given):
        session.close()
        return read(*given)

    monkeypatch.setattr(sessions, "mask_from_url", leaves)
    order = session.order(posted(hole()), 1, 2, 1)
    with pytest.raises(ValueError, match="There is no picture"):
        list(session.redraw(Inpainter(tiny_model()), order))


def test_a_visitor_without_a_picture_is_told_to_be_lost(desk):
    """The page then sends the picture again; an answer about results would be none."""
    assert told(desk.use_as_input(None))["kind"] == "lost"


# -- what takes long can be stopped ---------------------------------------------------------------------------


class Counted(Shelf):
    """A shelf that counts how often it was asked for a model."""

    asked = 0

    def __getitem__(self, index):
        self.asked += 1
        return super().__getitem__(index)


def events(updates) -> list[dict]:
    """What a handler posts to the page."""
    return [event for _, update in updates for name, event in update.items() if name.startswith("slot")]


@pytest.fixture
def counting():
    """A desk whose shelf counts."""
    return Desk(Counted(["tiny"], loader=lambda _name, device: tiny_model()), [])


def looked_at(image_url: str) -> np.ndarray:
    data = base64.b64decode(image_url.partition(",")[2])
    return pixels(Image.open(io.BytesIO(data)))


def as_jpeg(image) -> np.ndarray:
    with Image.open(io.BytesIO(jpeg_bytes(pixels(image), quality=92))) as shown:
        return pixels(shown)


@pytest.mark.parametrize("what", ["seen", "surprise"])
def test_what_a_sight_shows_is_what_the_library_gives(counting, session, what):
    (event,) = events(counting.see(session, what, 0, 1))
    expected = {
        "seen": lambda: sundae.reconstruct(tiny_model(), session.picture)[1],
        "surprise": lambda: sundae.surprise_map(tiny_model(), session.picture).image,
    }[what]()
    assert np.array_equal(looked_at(event["url"]), as_jpeg(expected))
    assert (event["done"], event["asked"]) == (True, 1)


def test_a_sight_is_of_the_chosen_result(counting, session):
    job = redraw(session, candidates=2)[-1]["job"]
    session.adopt(job, 1)
    (event,) = events(counting.see(session, "seen", 0, 1))
    _, expected = sundae.reconstruct(tiny_model(), session.result.frame.image(1))
    assert np.array_equal(looked_at(event["url"]), as_jpeg(expected))


def test_a_strip_tells_each_panel(counting, session):
    found = events(counting.see(session, "strip", 0, 4))
    assert [event["text"] for event in found[:5]] == [f"Panel {i} of 6" for i in range(1, 6)]
    assert [event["done"] for event in found] == [False] * 5 + [True]
    assert {event["asked"] for event in found} == {4}


STOPS = {
    "closed": lambda desk, session: desk.abandon(session, "sight", 1),
    "another is asked for": lambda desk, session: desk.abandon(session, "sight", 3),
    "another picture": lambda desk, session: session.start_with(load_picture(noise(3)), "Another"),
    "left": lambda desk, session: session.close(),
}


@pytest.mark.parametrize("how", STOPS)
def test_a_sight_stops_within_a_step(counting, session, monkeypatch, how):
    running, steps, sample = counting.see(session, "strip", 0, 1), [], type(tiny_model().prior).sample

    def slow(*given, **named):
        for step in sample(*given, **named):
            steps.append(step)
            if len(steps) == 4:
                STOPS[how](counting, session)
            yield step

    monkeypatch.setattr(type(tiny_model().prior), "sample", slow)
    told = [event["text"] for event in events(running)]
    assert told in ([], ["Panel 1 of 6"]), "the model may be stopped before the first panel is told"
    assert len(steps) == 4


@pytest.mark.parametrize("number", [1, 3])
def test_a_sight_that_nobody_waits_for_never_begins(counting, session, number):
    counting.abandon(session, "sight", number)
    assert list(counting.see(session, "surprise", 0, 1)) == []
    assert counting.shelf.asked == 0
    counting.abandon(session, "sight", 1)  # the posts overtook each other
    assert len(events(counting.see(session, "seen", 0, number + 1))) == 1
    session.close()
    assert list(counting.see(session, "seen", 0, 9)) == []


def test_a_film_is_counted_and_stops_within_a_picture(counting, session, tmp_path):
    redraw(session, steps=3)
    told = events(counting.film(session, "gif", True, 1))
    assert [(event["step"], event["total"]) for event in told[:-1]] == [(i, 4) for i in range(1, 5)]
    assert Path(told[-1]["path"]).stat().st_size > 100
    Path(told[-1]["path"]).unlink()
    running = counting.film(session, "gif", True, 2)
    next(running)
    counting.abandon(session, "film", 3)
    assert list(running) == []
    assert list(counting.film(session, "gif", True, 3)) == []  # which was waiting
    assert not list(counting.folder.rglob("*.gif"))
    assert len(events(counting.film(session, "gif", True, 4))) == 5


def test_faces_that_were_cancelled_take_no_place_among_what_can_come_back(session):
    model, first = tiny_model(), session.picture
    session.start_with(load_picture(noise(4)), "Noise")
    second = session.picture
    for _ in range(5):
        session.start_blank(model)
        event = session.go_back()
        assert (event["kept"], event["former"], event["ahead"]) == (False, 1, 0)
        assert session.picture is second
    assert session.go_back()["kept"] and session.picture is first
    session.go_forward()
    session.start_blank(model)
    redraw(session, model=model)
    assert session.go_back()["ahead"] == 1, "a face that was drawn stays"


def test_a_job_that_nobody_hears_of_stops_within_a_step(counting, session):
    running = session.redraw(Inpainter(tiny_model()), session.order(posted(hole()), 1, 9, 1))
    assert [next(running)["kind"] for _ in range(3)] == ["start", "frame", "frame"]
    counting.abandon(session, "job", 1)
    assert len(list(running)) <= 1 and session.result is None


@pytest.mark.parametrize("number", [None, 0, "1", 1.5, [], 2**53])
def test_numbers_that_no_page_counts_to_are_refused(counting, session, number):
    redraw(session)
    for answers in (counting.see(session, "seen", 0, number), counting.film(session, "gif", True, number)):
        (event,) = events(answers)
        assert event["kind"] == "note"
        assert event["note"].startswith("The number must be a whole number")
    assert events([counting.abandon(session, "sight", number)])[0]["kind"] == "note"
    for what in (None, [], "redraw"):
        assert events([counting.abandon(session, what, 1)])[0]["note"].startswith(
            "Only a sight, a film, an upload or a job"
        )


# -- new faces -----------------------------------------------------------------------------------------------


def everything(size) -> str:
    return posted(Image.new("L", size, 255))


def draw_anew(session, seed: int = 7, candidates: int = 1) -> list[dict]:
    order = session.order(everything(session.picture.size), seed, 2, candidates)
    return list(session.redraw(Inpainter(tiny_model()), order))


def test_a_new_face_is_drawn_at_the_models_size_as_the_library_draws_it(counting, session, tmp_path):
    (event,) = events([counting.blank(session, None, True)])
    assert (event["kind"], event["way"], event["model"]) == ("picture", "blank", 0)
    assert session.picture.size == tiny_model().size == (32, 32)
    draw_anew(session, candidates=2)
    image, settings = downloaded(session, tmp_path)
    *_, last = sundae.generate(tiny_model(), [7], SamplerConfig(steps=2))
    assert np.array_equal(image, pixels(last.image()))
    assert settings == last.prepared.settings(SamplerConfig(steps=2), 7)
    assert settings["from_nothing"] is True


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_a_picture_of_the_models_size_makes_room_for_a_new_face_and_comes_back(counting, tmp_path, mode):
    session = Session()
    session.start_with(load_picture(noise(size=(32, 32)).convert(mode)), "Noise")
    picture = session.picture
    assert events([counting.blank(session, 0, True)])[0]["kind"] == "picture"
    for _ in range(2):
        draw_anew(session)
        *_, last = sundae.generate(tiny_model(), [7], SamplerConfig(steps=2))
        assert np.array_equal(downloaded(session, tmp_path)[0], pixels(last.image()))
        assert events([counting.blank(session, 0, True)])[0]["kind"] == "anew", "it is empty already"
    session.go_back()
    assert session.picture is picture


def test_whoever_goes_back_or_forward_after_the_picture_was_lost_is_told(counting):
    for way in (counting.go_back, counting.go_forward):
        assert events([way(Session())])[0]["kind"] == "lost"


def test_without_a_picture_the_first_model_draws_and_a_lost_one_is_told(tmp_path):
    shelf = shelf_of(tiny_model(), flat_model(0.6))
    desk, session = Desk(shelf, []), Session()
    assert events([desk.blank(session, None, True)])[0]["kind"] == "lost"
    (event,) = events([desk.blank(session, None, False)])
    assert (event["model"], event["former"], event["size"]) == (0, 0, (32, 32))
    assert shelf.calls == [0]
    assert events([desk.blank(session, 5, False)])[0]["note"].startswith("The model must be")
    draw_anew(session)
    assert "earlier" not in downloaded(session, tmp_path)[1]
    with pytest.raises(ValueError, match="no former picture"):
        session.go_back()


def test_what_was_here_comes_back_after_a_new_face(counting, session, tmp_path):
    picture = session.picture
    for result in (False, True):
        if result:
            redraw(session, seed=1)
            session.use_as_input()
            redraw(session, seed=2)
            picture, before = session.picture, downloaded(session, tmp_path)
        (event,) = events([counting.blank(session, 0, True)])
        assert (event["edits"], event["former"]) == (0, 3 if result else 1)  # the first face was ahead
        draw_anew(session)
        assert "earlier" not in downloaded(session, tmp_path)[1]
        job = session.result.job
        back = session.go_back()
        assert (back["way"], back["edits"], back["former"]) == ("former", int(result), 2 * result)
        assert session.picture is picture
        if not result:
            assert session.result is None
        else:
            again = downloaded(session, tmp_path)
            assert np.array_equal(again[0], before[0])
            assert again[1] == before[1]
            assert again[1]["earlier"][0]["seed"] == 1
    session.recall(job)
    assert downloaded(session, tmp_path)[1]["from_nothing"]


def test_of_what_a_new_face_has_replaced_nothing_is_told(tmp_path):
    session = Session()
    session.start_with(load_picture(noise(size=(32, 32))), "Noise")
    for seed, anew in ((1, False), (2, True), (3, False)):
        draw_anew(session, seed) if anew else redraw(session, seed)
        session.use_as_input()
    _, settings = downloaded(session, tmp_path)
    assert (settings["seed"], [each["seed"] for each in settings["earlier"]]) == (3, [2])
    assert "from_nothing" not in settings


# -- earlier results -----------------------------------------------------------------------------------------


def test_an_earlier_result_comes_back_with_the_candidate_that_was_asked_for(session, tmp_path):
    job = redraw(session, candidates=3)[-1]["job"]
    session.adopt(job, 2, 1)
    redraw(session, seed=50)
    event = session.recall(job, 1, 3)
    assert (event["way"], event["job"], event["index"]) == ("recalled", job, 1)
    assert downloaded(session, tmp_path)[1]["seed"] == 8
    session.adopt(job, 0, 2)  # chosen before, but told later
    assert downloaded(session, tmp_path)[1]["seed"] == 8
    session.adopt(job, 0, 4)
    assert session.recall(job, None, 5)["index"] == 0, "the one that is chosen"
    for index in (3, -1, "all"):
        with pytest.raises(ValueError, match="The candidate must be"):
            session.recall(job, index)


def test_results_of_which_a_candidate_is_kept_are_the_last_to_go(session, monkeypatch):
    monkeypatch.setattr(sessions, "PAST", 3)
    jobs = [redraw(session, seed, candidates=2)[-1]["job"] for seed in (1, 2)]
    session.keep(jobs[0])
    jobs += [redraw(session, seed)[-1]["job"] for seed in (3, 4)]
    assert [past.job for past in session._past] == [jobs[0], *jobs[2:]]
    for job in jobs:
        session.keep(job)
    newest = redraw(session, 5)[-1]
    assert newest["kept"] == [*jobs[2:], newest["job"]], "the oldest where all are kept, and never the newest"
    assert session.forget()["jobs"] == [newest["job"]]


def test_a_visitor_whose_results_are_lost_is_told_so(desk):
    """And not that there is no picture yet: the page has one, and sends it again."""
    assert told(desk.recall(None, 1, 0, 1))["kind"] == "lost"
    assert told(desk.download(None))["kind"] == "lost"


# -- threads -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["redraw", "fit", "see", "film", "reconstruct"])
def test_models_work_in_threads_that_end(session, monkeypatch, tmp_path, what):
    """In gradio's own, which stay, torch would keep working memory."""
    model, threads = tiny_model(), set()
    shelf = shelf_of(model, model)
    redraw(session)
    tokenizer = type(model.tokenizer)
    for name in ("encode", "decode"):
        work = getattr(tokenizer, name)

        def watched(*given, work=work):
            threads.add(threading.current_thread())
            return work(*given)

        monkeypatch.setattr(tokenizer, name, watched)
    if what == "redraw":
        redraw(session)
    elif what == "fit":
        session.fit(shelf)
    elif what == "see":
        list(session.see("seen", model, 1))
    elif what == "film":
        list(session.film("webp", False, tmp_path, 1))
    else:
        list(Programs(Desk(shelf, [])).reconstruct(PNG_URL + base64.b64encode(png(noise())).decode()))
    assert threads
    assert threading.current_thread() not in threads
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()
