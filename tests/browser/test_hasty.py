"""A visitor in a hurry: what is asked for while an answer is on its way counts as well, and the last counts most."""

from __future__ import annotations

import io

import pytest
from painter_page import within
from PIL import Image

HOLE = ((300, 300), (600, 600))
FULL = '{"detail": "Queue is full. Max size is 20 and size is 20."}'
# Answers come late; what is pressed meanwhile is pressed a moment apart, for gradio takes all of one moment.
LATE = """() => { const fetch = window.fetch; window.fetch = async (address, options) => {
  const answer = await fetch(address, options);
  if (options?.method === 'POST') await new Promise((done) => setTimeout(done, window.delay ?? 700));
  return answer;
}; }"""
PRESS = """async (selectors) => {
  for (const each of selectors) {
    document.querySelector(each).click();
    await new Promise((done) => setTimeout(done, 150));
  }
}"""


@pytest.fixture(scope="session")
def server(quick_server):
    return quick_server


@pytest.fixture
def tab(visit):
    """One whose answers will come late."""
    tab = visit()
    tab.wait_for_text("#model .why", "Picked")
    tab.page.evaluate(LATE)
    return tab


def press(tab, *selectors: str) -> None:
    tab.page.evaluate(PRESS, selectors)


def have_a_result(tab, candidates: int = 1) -> None:
    tab.set_steps(2)
    tab.page.locator("#candidates label").nth(candidates - 1).click()
    tab.page.locator(".stage").focus()
    tab.press("r")
    tab.stroke(*HOLE)
    tab.redraw()


def grey(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (128, 96), (value,) * 3).save(buffer, "PNG")
    return buffer.getvalue()


def open_whole(tab) -> None:
    tab.page.locator(".whole").evaluate("details => { details.open = true; }")


def test_the_candidate_pressed_last_is_the_one_that_is_saved(tab):
    have_a_result(tab, 3)
    press(tab, ".candidate:nth-child(2)", ".candidate:nth-child(3)")
    assert tab.download()[1]["seed"] == tab.seed() + 2
    press(tab, ".candidate:nth-child(3)", ".candidate:nth-child(1)", ".candidate:nth-child(2)")
    assert tab.download()[1]["seed"] == tab.seed() + 1


def test_the_example_pressed_last_is_the_picture(tab):
    press(tab, '[data-index="1"]', '[data-index="2"]')
    tab.wait_for_text("#status", "Example 3", 5)


def test_the_model_that_fits_the_last_picture_is_told(tab):
    tab.click("Load example 2")
    tab.wait_for_count("pictures", 2)
    tab.page.evaluate("window.delay = 3000")  # for what fits the second picture
    tab.page.wait_for_timeout(300)
    tab.page.evaluate("window.delay = 0")
    tab.click("Load example 3")
    tab.wait_for_count("pictures", 3)
    tab.wait_for_text("#model .why", "Picked", 8)
    assert tab.text("#status").startswith("Example 3")


def test_the_sight_asked_for_last_is_shown(tab):
    open_whole(tab)
    press(tab, "[data-whole=strip]", ".sight button", "[data-whole=seen]")
    assert within(15, lambda: "dB PSNR" in tab.text(".sight p"))
    assert tab.text(".sight h2") == "What the model sees"
    tab.press("Escape")


@pytest.mark.parametrize("late", [False, True], ids=["in order", "first arrives last"])
def test_the_file_dropped_last_is_the_picture_and_none_stays_on_the_disk(tab, server, late):
    waiting = []

    def hold_the_first(route) -> None:
        if waiting or not late or route.request.method != "POST":
            route.continue_()
        else:
            waiting.append(route)

    tab.page.route("**/upload*", hold_the_first)
    tab.page.evaluate(
        """pictures => pictures.forEach(([name, bytes]) => {
          const files = new DataTransfer();
          files.items.add(new File([new Uint8Array(bytes)], name));
          document.querySelector('.stage').dispatchEvent(new DragEvent('drop', { dataTransfer: files, bubbles: true }));
        })""",
        [["dark.png", list(grey(40))], ["bright.png", list(grey(220))]],
    )
    tab.wait_for_text("#status", "bright.png")
    assert len(waiting) == late
    for route in waiting:
        with tab.page.expect_response(lambda each: "dark.png" in (each.request.post_data or "")):
            route.continue_()
        tab.page.wait_for_timeout(1000)
    assert within(5, lambda: not [*server.files.glob("*/*.png")])
    assert tab.text("#status").startswith("bright.png")
    assert tab.shown().mean() > 200
    assert tab.page.locator(".message").is_hidden()


@pytest.mark.parametrize("picture", [False, True], ids=["a note", "another picture"])
def test_an_answer_that_a_later_one_overtakes_is_shown_unless_another_picture_came(tab, picture):
    waiting = []
    tab.page.route("**/run/**", lambda route: waiting.append(route), times=1)
    tab.click("Download PNG")
    assert within(5, lambda: tab.page.wait_for_timeout(20) or waiting)
    asked = waiting[0].fetch()  # answered, but the answer is still on its way
    if picture:
        pictures = tab.count("pictures")
        tab.page.get_by_role("button", name="Load example 2", exact=True).click()
        tab.wait_for_count("pictures", pictures + 1)
    else:
        tab.page.evaluate("document.querySelector('[data-whole=extend]').click()")
        tab.wait_for_text(".message p", "Say first by how many px")
    waiting[0].fulfill(response=asked)
    if picture:
        tab.page.wait_for_timeout(500)
        assert tab.page.locator(".message").is_hidden()
    else:
        tab.wait_for_text(".message p", "There is no result yet")


def test_a_file_that_was_sent_as_the_tab_was_left_goes_too(visit, server):
    """What would have had it read was never sent."""
    tab = visit()
    tab.page.route("**/run/**", lambda route: None)
    with tab.page.expect_response(lambda each: "/upload" in each.url):
        tab.drop("late.png", grey(40))
    assert within(5, lambda: [*server.files.glob("*/*.png")])
    before = len(tab.errors)
    tab.page.goto("about:blank")
    del tab.errors[before:]
    assert within(15, lambda: not [*server.files.glob("*/*.png")])


def test_the_earlier_result_pressed_last_is_the_one_that_is_here(tab):
    for _ in range(3):
        have_a_result(tab)
    oldest = ".past .thumbs button:last-child"
    press(tab, ".past .thumbs button:nth-child(2)", oldest)
    assert within(5, lambda: tab.page.locator(oldest).get_attribute("aria-current") == "true")


def test_an_example_pressed_after_a_new_face_is_the_picture(tab):
    open_whole(tab)
    tab.set_steps(64)
    pictures = tab.count("pictures")
    tab.page.evaluate(
        """selectors => selectors.forEach((each) => document.querySelector(each).click())""",
        ["[data-whole=new]", '[data-index="1"]'],
    )
    tab.wait_for_count("pictures", pictures + 2)
    tab.page.wait_for_timeout(1000)
    assert tab.text("#status").startswith("Example 2")
    assert tab.page.locator(".sundae").get_attribute("data-busy") == "0"
    assert tab.page.locator(".message").is_hidden()
    assert not tab.mask().any()


BRINGS = {
    '[data-index="2"]': "Example 3",
    "[data-whole=new]": "Done",
    ".past .thumbs button:last-child": "An earlier result is back",
    "#go-back": "The former picture is back",
    "#use": "The result is the picture now",
    "[data-whole=extend]": "Extended to",
}
EXAMPLE, NEW, EARLIER, BACK, USE, EXTEND = BRINGS


def hold_next(tab, pattern: str = "**/run/**") -> list:
    """Where the next request of the pattern is held back."""
    held = []
    tab.page.route(pattern, lambda route: held.append(route), times=1)
    return held


def test_the_picture_asked_for_last_is_here_whatever_the_first_waits_for(visit):
    tab, posts = visit(), []
    tab.page.on("request", lambda each: posts.append(each.url) if "/run/" in each.url else None)
    open_whole(tab)
    tab.set_steps(2)
    pairs = [
        (BACK, EXAMPLE),
        (EXAMPLE, BACK),
        (EXTEND, EXAMPLE),
        (USE, EXAMPLE),
        (EARLIER, NEW),
        (EXAMPLE, EARLIER),
    ]
    for first, last in [*pairs, (NEW, BACK), (EXAMPLE, USE)]:
        pictures = tab.count("pictures")
        tab.click("Load example 1")
        tab.wait_for_count("pictures", pictures + 1)
        tab.page.locator(".stage").focus()
        tab.press("r")
        tab.stroke(*HOLE)
        tab.click("Redraw")
        tab.wait_for_text("#status", "Done")
        tab.page.locator("[data-margin=left]").fill("64")
        pictures = tab.count("pictures")
        held = hold_next(tab)
        posts.clear()
        press(tab, first, last)
        assert (len(held), len(posts)) == (1, 1), "of what brings a picture one is on its way"
        held[0].continue_()
        if (first, last) == (EXAMPLE, USE):
            tab.wait_for_text(".message p", "There is no result yet")
        else:
            tab.wait_for_count("pictures", pictures + 2)
            tab.wait_for_text("#status", BRINGS[last])
            assert tab.page.locator(".message").is_hidden()
        tab.page.wait_for_selector(".sundae[data-busy='0']")


def test_a_redraw_of_the_picture_before_ends_when_a_late_one_comes(visit):
    tab = visit()
    tab.set_steps(64)
    tab.press("i")
    held = hold_next(tab)
    press(tab, EXAMPLE)
    tab.click("Redraw")
    tab.wait_for_count("drawn", 2)
    held[0].continue_()
    tab.wait_for_text("#status", "Example 3")
    tab.page.wait_for_selector(".sundae[data-busy='0']")
    tab.set_steps(1)
    tab.press("i")
    tab.redraw()


def test_a_file_does_not_take_the_place_of_what_was_asked_for_since(visit, server):
    tab = visit()
    held = hold_next(tab, "**/upload*")
    tab.drop("late.png", grey(40))
    assert within(5, lambda: tab.page.wait_for_timeout(20) or held)
    press(tab, EXAMPLE)
    tab.wait_for_text("#status", "Example 3")
    held[0].continue_()
    tab.wait_for_text(".message p", "late.png was not loaded")
    assert tab.text("#status").startswith("Example 3")
    tab.drop("next.png", grey(40))
    tab.wait_for_text("#status", "next.png")
    assert within(5, lambda: not [*server.files.glob("*/*.png")])


def test_what_the_server_does_not_take_is_not_waited_for(tab):
    have_a_result(tab)
    open_whole(tab)
    tab.page.route("**/queue/join*", lambda route: route.fulfill(status=503, body=FULL))
    press(tab, "[data-whole=seen]")
    tab.wait_for_text(".sight p", "The server did not take the job")
    tab.press("Escape")
    press(tab, "[data-save=film]")
    tab.wait_for_text(".message p", "The server did not take the job")
    tab.wait_for_text("#status", "Done")
    tab.errors.clear()  # the browser logs the 503
    tab.plain_post()


def test_every_film_that_is_asked_for_is_made(tab):
    have_a_result(tab)
    files = []
    tab.page.on("download", lambda file: files.append(file.suggested_filename))
    forms = tab.page.locator("[data-film=form]")
    for form in ("gif", "webp"):
        forms.evaluate("(field, form) => { field.value = form; }", form)
        press(tab, "[data-save=film]")
    tab.wait_for_text("#status", "Done")
    tab.page.wait_for_timeout(300)
    assert sorted(name.rpartition(".")[2] for name in files) == ["gif", "webp"]


@pytest.mark.parametrize("runs", [False, True], ids=["it waits", "it runs"])
def test_a_stopped_job_whose_end_is_told_late_does_not_end_the_next(visit, runs):
    """Gradio calls a job failed once for each thing that stopped it, when the server has answered that: the next job
    may run by then."""
    tab, joins = visit(), []
    if not runs:
        tab.page.route("**/queue/join*", lambda route: joins.append(route))
    tab.page.locator(".stage").focus()
    tab.press("i")
    tab.set_steps(64)
    tab.click("Redraw")
    if runs:
        tab.wait_for_count("drawn", 2)
    else:
        assert within(20, lambda: tab.page.wait_for_timeout(20) or joins)
    tab.page.evaluate("window.sundae.ended(false)")
    tab.page.wait_for_timeout(700)
    assert tab.page.locator(".message").is_hidden()
    for route in joins:
        assert tab.page.locator(".sundae").get_attribute("data-busy") == "1"
        route.continue_()
    tab.wait_for_text("#status", "Done 1 ")


# -- a network that fails ------------------------------------------------------------------------------------


def paint_to_keep(tab) -> None:
    """A mask, and a mark in the page, that :func:`lost` looks for."""
    tab.page.evaluate("window.here = 1")
    tab.page.locator(".stage").focus()
    tab.press("r")
    tab.stroke(*HOLE)


def lost(tab) -> None:
    """The visitor is told, and nothing else has happened."""
    tab.wait_for_text(".message p", "The connection was lost for a moment")
    tab.page.wait_for_selector(".sundae[data-busy='0']")
    assert tab.mask().any()
    assert tab.page.evaluate("window.here") == 1, "the page has been loaded anew"
    assert [each for each in tab.errors if "ERR_" not in each and "lost for a moment" not in each] == []
    tab.errors.clear()


def test_a_network_that_fails_for_a_moment_takes_nothing_away(visit):
    tab = visit()
    paint_to_keep(tab)
    tab.page.route("**/run/**", lambda route: route.abort(), times=1)
    tab.click("Load example 2")
    lost(tab)
    tab.page.route("**/queue/join*", lambda route: route.abort(), times=1)
    tab.click("Redraw")
    lost(tab)
    tab.set_steps(64)
    tab.click("Redraw")
    tab.wait_for_count("drawn", 2)
    tab.page.evaluate("window.stop()")
    lost(tab)
    tab.set_steps(1)
    tab.click("Redraw")
    tab.wait_for_text("#status", "Done")
    press(tab, '[data-index="1"]')
    tab.wait_for_text("#status", "Example 2")


def test_a_job_whose_answers_never_came_is_not_done_unseen_before_the_next(visit):
    tab = visit()
    paint_to_keep(tab)
    tab.set_steps(64)
    tab.page.locator("#candidates label").nth(7).click()
    tab.page.route("**/queue/data*", lambda route: route.abort(), times=1)
    tab.click("Redraw")
    lost(tab)
    tab.set_steps(1)
    tab.click("Redraw")
    tab.wait_for_text("#status", "Done 1 ")


# The next stream of answers, as if a proxy ended it in the middle of a message: in an error or in good order.
CUT = """window.cut = ''; const direct = window.fetch;
window.fetch = async (address, options) => {
  const response = await direct(address, options);
  if (!window.cut || !String(address?.url ?? address).includes('/queue/data')) return response;
  const parts = [new TextEncoder().encode('data: {"msg": "process_gener')];
  const end = window.cut === 'error' ? (stream) => stream.error(new TypeError('network error')) : (stream) => stream.close();
  window.cut = '';
  const pull = (stream) => (parts.length ? stream.enqueue(parts.pop()) : end(stream));
  return new Response(new ReadableStream({ pull }), { headers: response.headers });
};"""


def test_a_stream_of_answers_that_is_cut_off_in_a_message_is_lost_and_no_more(visit):
    tab = visit()
    tab.page.add_init_script(CUT)
    tab.page.reload()
    tab.page.wait_for_selector(".sundae[data-ready='1']")
    tab.errors.clear()  # connections that ended with the page
    paint_to_keep(tab)
    for way in ("error", "close"):
        tab.page.evaluate("way => { window.cut = way; }", way)
        tab.click("Redraw")
        lost(tab)
    tab.set_steps(1)
    tab.click("Redraw")
    tab.wait_for_text("#status", "Done ")


def test_what_could_not_be_asked_for_does_not_hold_up_the_rest(visit):
    tab = visit()
    tab.page.route("**/run/**", lambda route: route.abort(), times=1)
    press(tab, EXAMPLE, '[data-index="1"]')
    tab.wait_for_text("#status", "Example 2", 4)
    tab.errors.clear()  # the browser logs the failure
