"""The painter: a gr.HTML whose canvas paints the mask and shows the hole being redrawn in place."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr

from page.heat import heat_script
from page.languages import languages_script

FOLDER = Path(__file__).parent
SCRIPTS = (  # one scope, in this order
    "strings.js",
    "numbers.js",
    "bits.js",
    "mask.js",
    "shape.js",
    "view.js",
    "player.js",
    "picker.js",
    "cells.js",
    "divider.js",
    "rim.js",
    "pair.js",
    "grid.js",
    "heat.js",
    "keybrush.js",
    "painter.js",
    "maskmenu.js",
    "settings.js",
    "explain.js",
    "past.js",
    "whole.js",
    "saving.js",
    "turns.js",
    "exchange.js",
)
EVENTS = (  # that the scripts trigger
    "picture",
    "pick",
    "take",
    "fit",
    "adopt",
    "keep",
    "recall",
    "forget",
    "extend",
    "blank",
    "sight",
    "film",
    "abandon",
    "difference",
)
# Gradio looks through ``js_on_load`` for the names of events, and again for every attribute that it asks the component
# for in vain, at every update: all scripts there cost 4 ms an update. So there is only the call.
START = f"sundaePainter(element, trigger, props, upload, watch); // triggers {', '.join(map(repr, EVENTS))}"
SLOTS = 16  # as in exchange.js
MAX_UPLOAD = "64mb"  # as in exchange.js


@cache
def page_file(name: str) -> str:
    """Text of a template file beside this module."""
    return (FOLDER / name).read_text(encoding="utf-8")


def painter(**settings: Any) -> gr.HTML:
    """The component. The server writes to it with ``post``; it triggers ``EVENTS``.

    A plain gr.HTML and not a subclass: gradio writes a stub file beside the source of every subclass.
    """
    slots = {f"slot{number}": None for number in range(SLOTS)}
    return gr.HTML(
        html_template=page_file("painter.html"),
        head=f"<script>{page_file('network.js')}</script><script>{script()}</script>",
        js_on_load=START,
        apply_default_css=False,
        **slots,
        **settings,
    )


@cache
def script() -> str:
    """All scripts, as a function of what gradio gives to ``js_on_load``."""
    parts = ["'use strict';", languages_script(), heat_script(), *map(page_file, SCRIPTS)]
    return "\n".join(["function sundaePainter(element, trigger, props, upload, watch) {", *parts, "}"])


def post(event: dict[str, Any]) -> dict[str, Any]:
    """The update that carries one event to the page.

    The browser may merge updates that arrive together, so consecutive events go to different properties:
    up to ``SLOTS`` of them survive a merge.
    """
    return gr.update(**{f"slot{event['number'] % SLOTS}": event})
