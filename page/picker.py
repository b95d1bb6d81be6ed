"""The choice of a model, where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import gradio as gr

ABOUT = '<p class="about" role="status"></p>'


def picker(labels: Sequence[str], **settings: Any) -> gr.HTML:
    """The component; a single model leaves no choice, and is told of all the same. ``picker.js``, in the painter's scope, makes it work."""
    choices = [
        f'<label><input type="radio" name="sundae-model" value="{index}"><span translate="no">{escape(label)}</span></label>'
        for index, label in enumerate(labels)
    ]
    field = (
        '<fieldset class="models"><legend>Model</legend>'
        f'<div class="choices">{"".join(choices)}</div><p class="why" role="status"></p>'
        f"{ABOUT}</fieldset>"
    )
    return gr.HTML(
        html_template=field if len(choices) > 1 else ABOUT,
        js_on_load=None,
        apply_default_css=False,
        **settings,
    )
