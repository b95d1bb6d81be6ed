"""Ways to look: the divider, two candidates side by side, heat maps; and what a visitor can save of a run."""

from __future__ import annotations

import base64
import dataclasses
import io

import numpy as np
import pytest
from painter_page import within
from PIL import Image
from tiny import save_tiny_bundle

import sundae
from page.settings import FILMS
from sundae.films import film_formats
from sundae.measure import heat_colours
from sundae.pipeline import Inpainter

HOLE = ((300, 300), (700, 600))


@pytest.fixture(scope="session")
def server(lively_server):
    return lively_server


def paint(tab, corners=HOLE):
    tab.page.locator(".stage").focus()  # a field that was filled would take the key
    tab.press("r")
    tab.stroke(*corners)


def redrawn(tab, candidates=1, steps=4):
    """A result of the hole on the example, as the page shows it."""
    tab.set_steps(steps)
    tab.page.locator("#candidates label").nth(candidates - 1).click()
    paint(tab)
    tab.press("b")
    tab.page.mouse.move(5, 5)
    tab.redraw()


def screen(tab, selector=".stage"):
    """int16 (H, W, 3): what is really on the screen there."""
    data = tab.page.locator(selector).screenshot(animations="disabled")
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(np.int16)


def hide_signs(tab):
    """Nothing over the picture but the picture."""
    tab.page.add_style_tag(content=".chip, .outline, .divider i { visibility: hidden !important; }")


def mode(tab):
    return tab.page.locator(".sundae").get_attribute("data-mode")


def test_the_dice_give_another_seed_and_the_lock_keeps_it(tab):
    seeds = {tab.seed()}
    for _ in range(3):
        tab.click("Another seed")
        assert within(5, lambda: tab.seed() not in seeds)
        seeds.add(tab.seed())
    assert all(0 <= seed < 2**32 for seed in seeds)
    diced = tab.seed()
    tab.page.get_by_label("Lock").check()
    tab.set_steps(1)
    paint(tab)
    assert f"seed {diced} " in tab.redraw()
    assert tab.seed() == diced


def test_left_of_the_line_is_the_original_and_right_of_it_the_result(tab):
    redrawn(tab)
    hide_signs(tab)
    tab.page.mouse.move(5, 5)
    result = screen(tab)
    tab.page.keyboard.down("c")
    original = screen(tab)
    tab.page.keyboard.up("c")
    tab.page.locator(".stage").focus()
    tab.press("s")
    mask = tab.mask()
    for x in (420, 580):
        tab.stroke((500, 100), (x, 450))
        tab.page.mouse.move(5, 5)
        shown, at = screen(tab), round(tab.place((x, 0))[0] - tab.page.locator(".stage").bounding_box()["x"])
        assert np.array_equal(shown[:, : at - 3], original[:, : at - 3])
        assert np.array_equal(shown[:, at + 3 :], result[:, at + 3 :])
        assert not np.array_equal(shown[:, : at - 3], result[:, : at - 3])
        assert not np.array_equal(shown[:, at + 3 :], original[:, at + 3 :])
    assert np.array_equal(tab.mask(), mask)  # nothing was painted


def test_the_line_goes_by_keys_and_stays_within_reach(tab):
    redrawn(tab)
    tab.click("Compare by a line")
    line = tab.page.get_by_role("slider", name="Line between")
    value = lambda: int(line.get_attribute("aria-valuenow"))  # noqa: E731
    assert value() == 50
    tab.press("ArrowRight")
    assert value() == 52
    tab.press("PageDown")
    assert value() < 45
    tab.press("Home")
    assert value() == 0
    tab.press("End")
    assert value() == 100
    for _ in range(4):
        tab.press("+")  # about the middle, so the right edge of the picture leaves the stage
    assert 50 < value() < 75
    before = tab.place((500, 0))
    tab.page.keyboard.down(" ")
    tab.stroke((512, 500), (560, 500))
    tab.page.keyboard.up(" ")
    assert tab.place((500, 0))[0] > before[0] + 10  # panned
    mask = tab.mask()
    for key in ("i", "Delete", "m", "Control+z"):
        tab.press(key)
    assert np.array_equal(tab.mask(), mask)
    assert tab.page.locator("[data-act=brush]").evaluate("button => button.matches('[inert] *')")
    tab.press("Escape")
    assert mode(tab) == "paint"
    tab.press("i")
    assert not np.array_equal(tab.mask(), mask)


def test_without_a_result_there_is_nothing_to_compare(tab):
    tab.press("s")
    assert mode(tab) == "paint"
    assert "no result yet" in tab.text(".message")


def test_two_candidates_side_by_side(tab):
    redrawn(tab, candidates=3)
    pictures = []
    for key in ("1", "2", "3"):
        tab.press(key)
        pictures.append(tab.shown())
    assert not any(np.array_equal(pictures[i], pictures[i - 1]) for i in range(3))
    tab.press("1")
    tab.click("Side by side")
    panes = tab.page.locator(".pane")
    assert [panes.nth(i).text_content() for i in (0, 1)] == ["Candidate 1 · in use", "Candidate 2"]
    assert np.array_equal(pane_pixels(tab, 0), pictures[0])
    assert np.array_equal(pane_pixels(tab, 1), pictures[1])
    tab.press("3")
    assert np.array_equal(pane_pixels(tab, 1), pictures[2])
    panes.nth(1).hover(position={"x": 100, "y": 100})
    tab.page.mouse.wheel(0, -400)
    box = panes.nth(0).bounding_box()
    tab.page.mouse.move(box["x"] + 150, box["y"] + 150)
    tab.page.mouse.down()
    tab.page.mouse.move(box["x"] + 120, box["y"] + 160, steps=4)
    tab.page.mouse.up()
    assert mode(tab) == "pair"  # a drag is no click
    styles = [panes.nth(i).locator(".sheet").get_attribute("style") for i in (0, 1)]
    assert styles[0] == styles[1]
    assert "scale(0.3)" not in styles[0]
    tab.press("Escape")
    assert mode(tab) == "paint"
    assert np.array_equal(tab.shown(), pictures[0])  # nothing was taken
    tab.press("p")
    panes.nth(1).click()
    assert mode(tab) == "paint"
    assert np.array_equal(tab.shown(), pictures[2])
    assert tab.page.locator(".candidate[aria-pressed=true]").get_attribute("aria-label") == "Use candidate 3"


def pane_pixels(tab, index):
    url = tab.page.locator(".pane canvas").nth(index).evaluate("canvas => canvas.toDataURL()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGB"))


COLOURS_AT = """(canvas, points) => {
  const pen = canvas.getContext('2d');
  return points.map(([x, y]) => [...pen.getImageData(x, y, 1, 1).data]);
}"""


def look_back(tab, step):
    tab.page.get_by_label("Look back through the steps").fill(str(step))


def same_run(tab, server, folder):
    """What the server has just drawn, drawn here: the prepared hole, and every step."""
    bundle = save_tiny_bundle(folder / "again")
    prepared = Inpainter(sundae.load(bundle)).prepare(server.examples[0], tab.mask())
    steps = int(tab.page.locator("#steps input[type=number]").input_value())
    config = dataclasses.replace(prepared.defaults, steps=steps)
    return prepared, [frame.step for frame in prepared.run(config, [tab.seed()], uncertainty=True)]


def test_heat_maps_lie_over_the_cells_that_were_redrawn(tab, server, tmp_path):
    choice, canvas = tab.page.get_by_label("Shown over the redrawn cells"), tab.page.locator("canvas.heat")
    assert not choice.is_visible()
    redrawn(tab, steps=6)
    prepared, steps = same_run(tab, server, tmp_path)
    hidden, box = prepared.token_mask[0].numpy(), prepared.window.box
    rows, columns = hidden.shape
    middles = [
        (box.left + (column + 0.5) * box.width / columns, box.top + (row + 0.5) * box.height / rows)
        for row in range(rows)
        for column in range(columns)
    ]

    def shown():
        colours = np.array(canvas.evaluate(COLOURS_AT, middles)).reshape(rows, columns, 4)
        assert not colours[~hidden].any()  # nothing over what was not redrawn
        return colours[hidden]

    def colours(shares):
        """Of shares of the scale; transparent where there is none."""
        known = ~np.isnan(shares)
        place = np.floor(255 * np.nan_to_num(shares) + 0.5).astype(int)
        return np.column_stack([heat_colours()[place], np.full(len(place), 255)]) * known[:, None]

    assert not shown().any()
    assert not tab.page.locator(".legend").is_visible()
    when, maps = None, []
    for step in steps:
        when = sundae.last_change(step, when)
        maps.append((when[0].numpy()[hidden] / 6, step.uncertainty[0].numpy()[hidden] / 4))
    choice.select_option("Last change")
    assert "step 6" in tab.text(".legend")
    for index in (0, 3, len(steps) - 1):
        look_back(tab, index + 1)
        assert np.array_equal(shown(), colours(maps[index][0]))
    choice.select_option("Uncertainty")
    assert "any code: 4 bits" in tab.text(".legend")
    for index in (1, 3, len(steps) - 1):
        look_back(tab, index + 1)
        quantised = np.sqrt(np.rint(254 * maps[index][1]) / 254)  # it comes in a byte
        assert np.array_equal(shown(), colours(quantised))
    look_back(tab, 1)
    assert not shown().any()  # at the start all is noise, of which nothing is known
    choice.select_option("Nothing")
    look_back(tab, len(steps))
    assert not shown().any()


def saved(tab, name):
    """The file that a button in "More to save" gives, and its name."""
    with tab.page.expect_download() as waiting:
        tab.page.locator(".saving").get_by_role("button", name=name, exact=True).click()
    with open(waiting.value.path(), "rb") as file:
        return file.read(), waiting.value.suggested_filename


def test_films_differences_and_masks_are_saved(tab, server):
    tab.page.locator(".saving summary").click()
    tab.page.locator(".saving").get_by_role("button", name="Film", exact=True).click()
    assert "no result yet" in tab.text(".message")
    redrawn(tab, candidates=2, steps=5)
    tab.press("2")
    forms, slider = (
        tab.page.get_by_label("Format of the film"),
        tab.page.get_by_label("Look back through the steps"),
    )
    assert forms.locator("option").all_text_contents() == [FILMS[form] for form in film_formats()]
    result, about = tab.download()
    wanted = np.asarray(result.resize((720, 720), Image.Resampling.LANCZOS)).astype(int)
    for form in ("gif", "webp"):
        forms.select_option(form)
        data, name = saved(tab, "Film")
        assert name == f"sundae-{about['seed']}.{form}"
        film = Image.open(io.BytesIO(data))
        assert (film.format.lower(), film.size) == (form, (720, 720))
        assert length(film) == 120 * int(slider.get_attribute("max")) + 1600  # ms: every step
        first = np.asarray(film.convert("RGB")).astype(int)
        film.seek(film.n_frames - 1)
        last = np.asarray(film.convert("RGB")).astype(int)
        hole = np.s_[230:400, 230:470]  # of the film
        assert np.abs(last - wanted)[hole].mean() < 0.5 * np.abs(first - wanted)[hole].mean()
        assert tab.wait_for_text("#status", "Done")
    tab.page.get_by_label("What the film shows").select_option("region")
    assert Image.open(io.BytesIO(saved(tab, "Film")[0])).size == region_size(tab.mask())
    image, name = saved(tab, "What changed")
    assert name == f"sundae-{about['seed']}-changes.png"
    before = Image.open(server.examples[0]).convert("RGB")
    assert np.array_equal(
        np.asarray(Image.open(io.BytesIO(image))), np.asarray(sundae.difference(before, result).image)
    )
    assert not np.asarray(Image.open(io.BytesIO(image)))[~tab.mask()].any()
    assert "pixels changed" in tab.text(".message")
    assert np.array_equal(
        np.asarray(Image.open(io.BytesIO(saved(tab, "Mask")[0])).convert("L")) > 127, tab.mask()
    )


def length(film):
    """ms of all pictures; of a state like the one before it there is no picture of its own, but its time."""
    total = 0
    for index in range(film.n_frames):
        film.seek(index)
        film.load()
        total += film.info["duration"]
    film.seek(0)
    return total


def region_size(mask):
    """Of a film of the hole with a quarter of its longer side around it."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    sides = columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1
    rim = round(0.25 * max(sides))
    scale = min(1, 720 / (max(sides) + 2 * rim))
    return tuple(2 * round((side + 2 * rim) * scale / 2) for side in sides)


def test_a_film_tells_how_far_it_is_and_can_be_stopped(tab):
    """One that still waits for its turn too."""
    tab.set_steps(32)
    tab.page.locator(".stage").focus()
    tab.press("i")
    tab.redraw()
    files, button = [], tab.page.locator("[data-save=film]")
    tab.page.on("download", lambda file: files.append(file.suggested_filename))
    tab.page.locator(".saving").evaluate("details => { details.open = true; }")
    for stop in (lambda: tab.press("Escape"), lambda: tab.click("Cancel")):
        button.click()
        button.click()
        tab.wait_for_text("#status", "Making the film: 2 of ")
        stop()
        tab.wait_for_text("#status", "Cancelled", 2)
        assert within(20, lambda: tab.page.locator("#cancel").get_attribute("aria-disabled") == "true")
        assert tab.text("#status") == "Cancelled"
    assert files == []
    button.click()
    tab.wait_for_text("#status", "Done", 60)
    assert within(5, lambda: len(files) == 1)


def test_the_line_follows_a_thumb(visit):
    phone = visit("phone")
    phone.page.locator("#steps input[type=number]").fill("2")
    phone.page.locator(".stage").focus()
    phone.press("i")
    phone.redraw()
    phone.page.get_by_label("Compare by a line").tap()
    x, y = phone.place((300, 500))
    touch = phone.context.new_cdp_session(phone.page)
    for kind, at in (("touchStart", x), ("touchMove", x + 30), ("touchMove", x + 60), ("touchEnd", None)):
        points = [] if at is None else [{"x": at, "y": y}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    wanted = round((300 + 60 / (phone.place((1, 0))[0] - phone.place((0, 0))[0])) / 10.24)
    line = phone.page.get_by_role("slider", name="Line between")
    assert abs(int(line.get_attribute("aria-valuenow")) - wanted) <= 1


SLOW_IMAGES = """() => {
  const source = Object.getOwnPropertyDescriptor(HTMLImageElement.prototype, 'src');
  Object.defineProperty(HTMLImageElement.prototype, 'src', { ...source, set(url) { setTimeout(() => source.set.call(this, url), 1500); } });
}"""


def test_side_by_side_before_the_first_step_shows_the_picture(visit):
    tab = visit()
    tab.set_steps(2)
    tab.page.locator("#candidates label").nth(1).click()
    paint(tab)
    tab.page.evaluate(SLOW_IMAGES)
    tab.click("Redraw")
    tab.wait_for_text("#status", "Redrawing")
    tab.page.locator(".stage").focus()
    tab.press("p")
    assert mode(tab) == "pair"
    assert np.array_equal(pane_pixels(tab, 0), pane_pixels(tab, 1))
    tab.wait_for_text("#status", "Done 1 ")
    assert not np.array_equal(pane_pixels(tab, 0), pane_pixels(tab, 1))


def test_the_thumbnail_of_a_result_shows_the_candidate_in_use(tab):
    redrawn(tab, candidates=2)
    tab.redraw()
    thumb = "() => document.querySelector('.past [aria-current=true] canvas').toDataURL()"
    first, title = tab.page.evaluate(thumb), "document.querySelector('.past [aria-current=true]').title"
    assert f"seed {tab.seed()} " in tab.page.evaluate(title)
    tab.press("2")
    assert tab.page.evaluate(thumb) != first
    assert f"seed {tab.seed() + 1} " in tab.page.evaluate(title)
    tab.press("1")
    assert tab.page.evaluate(thumb) == first


def test_every_candidate_of_the_strip_changes_while_the_job_runs(tab):
    tab.set_steps(64)
    tab.page.locator("#candidates label").nth(2).click()
    tab.press("i")
    tab.click("Redraw")
    tab.wait_for_text("#status", "Redrawing")
    tab.page.wait_for_selector(".candidate:nth-child(3)")
    tab.wait_for_count("drawn", 1)
    script = "() => [...document.querySelectorAll('.candidate canvas')].map((canvas) => canvas.toDataURL())"
    seen = [set(), set(), set()]

    def all_change():
        for each, picture in zip(seen, tab.page.evaluate(script)):
            each.add(picture)
        return all(len(each) > 2 for each in seen)

    assert within(10, all_change)
    assert tab.page.locator(".sundae").get_attribute("data-busy") == "1"
    assert not seen[0] & seen[1]
    tab.page.locator(".stage").focus()
    tab.press("Escape")
    tab.wait_for_text("#status", "Cancelled")


def test_the_button_compares_as_long_as_it_is_held(tab):
    redrawn(tab)
    result, button = tab.shown(), tab.page.get_by_label("Hold to compare with the original")
    button.hover()
    tab.page.mouse.down()
    assert not np.array_equal(tab.shown(), result)
    assert button.get_attribute("aria-pressed") == "true"
    tab.page.mouse.move(5, 5)  # it is held all the same
    assert not np.array_equal(tab.shown(), result)
    tab.page.mouse.up()
    assert np.array_equal(tab.shown(), result)
    assert button.get_attribute("aria-pressed") == "false"
