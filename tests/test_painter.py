"""The painter's component, without a browser."""

from __future__ import annotations

import re

from page.painter import EVENTS, SCRIPTS, page_file, painter, script


def test_what_the_scripts_trigger_is_what_the_server_can_listen_to():
    triggered = {
        name
        for each in SCRIPTS
        for name in re.findall(r"\b(?:trigger|askFor|request)\('(\w+)'", page_file(each))
    }
    assert triggered == set(EVENTS)


def test_gradio_has_little_to_look_through_at_every_update():
    """It searches ``js_on_load`` for every attribute that the component lacks."""
    component = painter()
    assert len(component.js_on_load) < 500
    assert script() in component.head
    assert "</script" not in script()
