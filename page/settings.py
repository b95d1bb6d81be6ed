"""What few visitors need, folded away below the rest: more settings, more to save, and what concerns the whole picture."""

from __future__ import annotations

from typing import Any

import gradio as gr

from page.painter import page_file
from sundae.films import film_formats

FILMS = {"webp": "WebP", "gif": "GIF", "mp4": "MP4"}


def more_settings(**settings: Any) -> gr.HTML:
    """The component. ``settings.js``, in the painter's scope, reads it when a redraw is asked for."""
    return gr.HTML(
        html_template=page_file("settings.html"), js_on_load=None, apply_default_css=False, **settings
    )


def more_to_save(**settings: Any) -> gr.HTML:
    """The component, with the films that this server can make; ``saving.js``, in the painter's scope, makes its
    buttons work."""
    formats = [f'<option value="{form}">{FILMS[form]}</option>' for form in film_formats()]
    template = page_file("saving.html").replace("FORMATS", "".join(formats))
    return gr.HTML(html_template=template, js_on_load=None, apply_default_css=False, **settings)


def whole_picture(**settings: Any) -> gr.HTML:
    """The component. ``whole.js``, in the painter's scope, makes its buttons work."""
    return gr.HTML(
        html_template=page_file("whole.html"), js_on_load=None, apply_default_css=False, **settings
    )
