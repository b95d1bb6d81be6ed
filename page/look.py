"""How the page looks to gradio: its theme, and what launch needs to serve it."""

from __future__ import annotations

from typing import Any

import gradio as gr

from page.painter import FOLDER, MAX_UPLOAD

FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")

# light, dark; page.css holds the same colours for what gradio does not draw
COLOURS = {
    "body_background_fill": ("#f7f5f2", "#171615"),
    "body_text_color": ("#211e1c", "#ebe7e2"),
    "body_text_color_subdued": ("#6d6661", "#a09891"),
    "background_fill_primary": ("#ffffff", "#1f1e1c"),
    "background_fill_secondary": ("#f7f5f2", "#171615"),
    "block_background_fill": ("transparent", "transparent"),
    "block_label_text_color": ("#6d6661", "#a09891"),
    "block_title_text_color": ("#6d6661", "#a09891"),
    "border_color_primary": ("#e2ddd7", "#35322f"),
    "border_color_accent": ("#a82a55", "#f2789f"),
    "color_accent_soft": ("#f8e9ee", "#3a222b"),
    "input_background_fill": ("#ffffff", "#1f1e1c"),
    "input_background_fill_focus": ("#ffffff", "#1f1e1c"),
    "input_border_color": ("#d8d2cb", "#3d3936"),
    "input_border_color_focus": ("#a82a55", "#f2789f"),
    "button_primary_background_fill": ("#a82a55", "#f2789f"),
    "button_primary_background_fill_hover": ("#8f2047", "#f791b1"),
    "button_primary_text_color": ("#ffffff", "#26090f"),
    "button_primary_border_color": ("#a82a55", "#f2789f"),
    "button_secondary_background_fill": ("#ffffff", "#262422"),
    "button_secondary_background_fill_hover": ("#f1ede8", "#2f2c2a"),
    "button_secondary_text_color": ("#211e1c", "#ebe7e2"),
    "button_secondary_border_color": ("#d8d2cb", "#3d3936"),
    "slider_color": ("#a82a55", "#f2789f"),
    "checkbox_background_color_selected": ("#a82a55", "#f2789f"),
    "checkbox_border_color": ("#c4bcb4", "#57524d"),
    "checkbox_border_color_selected": ("#a82a55", "#f2789f"),
    "checkbox_label_background_fill": ("#ffffff", "#262422"),
    "checkbox_label_background_fill_hover": ("#f1ede8", "#2f2c2a"),
    "checkbox_label_background_fill_selected": ("#f8e9ee", "#3a222b"),
    "checkbox_label_text_color_selected": ("#211e1c", "#ebe7e2"),
}
PLAIN = {
    "block_border_width": "0px",
    "block_padding": "0px",
    "block_shadow": "none",
    "block_label_text_size": "*text_sm",
    "block_title_text_weight": "500",
    "button_border_width": "1px",
    "button_large_radius": "8px",
    "button_large_text_weight": "550",
    "button_primary_shadow": "none",
    "button_secondary_shadow": "none",
    "button_transition": "background-color 0.12s",
    "input_border_width": "1px",
    "input_radius": "8px",
    "input_shadow": "none",
    "input_shadow_focus": "none",
    "layout_gap": "16px",
}


def theme() -> gr.themes.Base:
    """Quiet, light and dark, with the fonts of the visitor's own system: nothing is fetched from elsewhere."""
    colours = {name: light for name, (light, _) in COLOURS.items()}
    colours |= {f"{name}_dark": dark for name, (_, dark) in COLOURS.items()}
    return gr.themes.Base(
        primary_hue="rose", secondary_hue="stone", neutral_hue="stone", font=FONT, font_mono=MONO
    ).set(**colours, **PLAIN)


def launch_settings() -> dict[str, Any]:
    """Arguments of ``launch`` that belong to the page and not to where it runs."""
    return {
        "theme": theme(),
        "css_paths": [FOLDER / "page.css"],
        "max_file_size": MAX_UPLOAD,
        "footer_links": [],
        "run_history": False,
        "ssr_mode": False,
        "show_error": False,
        "enable_monitoring": False,
    }
