"""Gradio's number, slider and radio without their own checks.

Theirs raise before our code runs, and the answer is a pop-up and a traceback in the log. The session checks the
values itself (checks.py) and answers in the page.
"""

from __future__ import annotations

from typing import Any

import gradio as gr


class OpenNumber(gr.Number):
    is_template = True

    def preprocess(self, payload: Any) -> Any:
        return payload


class OpenSlider(gr.Slider):
    is_template = True

    def preprocess(self, payload: Any) -> Any:
        return payload


class OpenRadio(gr.Radio):
    is_template = True

    def preprocess(self, payload: Any) -> Any:
        return payload
