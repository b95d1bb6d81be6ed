"""The pictures to begin with, in a row below the picture: the visitor's own, and example portraits."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import gradio as gr

from page.events import jpeg_url
from sundae.image import load_picture, resize_rgb

THUMB = 176  # px
ENDINGS = (".webp", ".png", ".jpg")
OWN = (
    '<button type="button" class="own" title="Open a picture (or drop or paste one)">'
    '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M12 16V4.500M7.5 9 12 4.5 16.5 9M4.5 15v4.500h15V15"/></svg>'
    "<span>Your picture</span></button>"
)


def example_files(folder: Path) -> list[Path]:
    """The example pictures in ``folder``, by name; none if there is no such folder."""
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in ENDINGS)


@cache
def thumbnail(path: Path) -> str:
    """A data URL of a square thumbnail."""
    rgb = load_picture(path).rgb
    side = min(rgb.shape[:2])
    top, left = ((length - side) // 2 for length in rgb.shape[:2])
    return jpeg_url(resize_rgb(rgb[top : top + side, left : left + side], (THUMB, THUMB)))


def examples(paths: list[Path]) -> gr.HTML:
    """The component. The painter listens to its buttons (exchange.js): a script of this component's own may still be
    on its way when the page is ready, and a click would be lost."""
    buttons = [
        f'<button type="button" data-index="{index}" aria-label="Load example {index + 1}" title="Begin with this portrait">'
        f'<img src="{thumbnail(path)}" alt="" width="{THUMB}" height="{THUMB}" draggable="false"></button>'
        for index, path in enumerate(paths)
    ]
    row = f'<div class="examples" role="group" aria-label="Pictures to begin with">{OWN}{"".join(buttons)}</div>'
    return gr.HTML(html_template=row, js_on_load=None, apply_default_css=False, elem_id="examples")
