"""The page with a model of each kind: how each draws, in how many steps, and what only some can do."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import running
from tiny import save_tiny_priors

SQUARE = ((300, 300), (600, 600))
ONCE = "This model draws every cell once"
ABOUT = {
    "Sundae": "For noise. Rewrites the whole region",
    "Absorbing": "Draws a few cells in each step",
    "Autoregressive": "Draws cell by cell from the top left; does not see what lies to the right and below.",
}
STEPS = {"Sundae": 24, "Absorbing": 16, "Autoregressive": 16}  # the tiny ones have 16 cells


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds-server")
    models = save_tiny_priors(folder).values()
    with running(folder, ["--model", *map(str, models)]) as started:
        yield started


@pytest.fixture
def own(visit):
    """A tab in which nothing has been set."""
    return visit()


def choose(tab, name: str) -> None:
    tab.page.locator("#model label").filter(has_text=name).click()
    tab.wait_for_text("#model label:has(:checked)", name)


def steps(tab) -> int:
    return int(tab.page.locator("#steps input[type=number]").input_value())


def square(tab) -> None:
    tab.page.locator(".stage").focus()
    tab.press("r")
    tab.stroke(*SQUARE)


def test_each_says_how_it_draws_and_draws_only_in_the_hole(own):
    square(own)
    own.page.wait_for_function("window.sundae.model() !== null")
    for name, words in ABOUT.items():
        choose(own, name)
        assert own.text("#model .about").startswith(words)
        status = own.redraw()
        assert status.endswith(f" · {name}")
        before, after = np.asarray(own.download()[0]), own.shown()
        assert before.shape == after.shape
    original = own.shown()
    own.page.locator(".stage").focus()
    own.page.keyboard.down("c")
    hidden = own.shown()
    own.page.keyboard.up("c")
    changed = (original != hidden).any(-1)
    assert changed[own.mask()].any()
    assert not changed[~own.mask()].any()


def test_the_steps_are_those_that_suit_the_model_until_the_visitor_says_otherwise(own):
    own.page.wait_for_function("window.sundae.model() !== null")
    for name, usual in STEPS.items():
        choose(own, name)
        assert steps(own) == usual
    own.set_steps(9)
    for name in STEPS:
        choose(own, name)
        assert steps(own) == 9


def test_what_is_drawn_once_has_no_more_steps(own):
    own.page.wait_for_function("window.sundae.model() !== null")
    square(own)
    for name in ("Absorbing", "Autoregressive"):
        choose(own, name)
        own.redraw()
        first = own.shown()
        own.click("Keep going")
        own.wait_for_text(".message p", ONCE)
        assert np.array_equal(own.shown(), first), "the result stays"
    choose(own, "Sundae")
    own.redraw()
    own.click("Keep going")
    own.results += 1
    own.wait_for_text("#status", f"Done {own.results} ")
