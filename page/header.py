"""The head of the page: what to do, in a line, and the choice of a language."""

from __future__ import annotations

from typing import Any

import gradio as gr

from page.languages import language_options
from page.painter import page_file


def header(**settings: Any) -> gr.HTML:
    """The component. ``strings.js``, in the painter's scope, makes the choice work."""
    template = page_file("header.html").replace("<!-- options -->", language_options())
    return gr.HTML(html_template=template, js_on_load=None, apply_default_css=False, **settings)
