"""The languages of the page: its source is English, and a file in ``page/languages`` has the same texts in another.

A file is named by its language's code: ``{"name": "Deutsch", "texts": {"Redraw": "Neu zeichnen", ...}}``. A key is the
English text, whole; where that has numbers or names in it, the key has ``{words}`` in their place.
"""

from __future__ import annotations

import json
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "languages"
SOURCE = ("en", "English")


@cache
def languages() -> dict[str, dict[str, Any]]:
    """Code -> its ``name`` and ``texts``."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))}


def languages_script() -> str:
    """The languages as ``strings.js`` finds them."""
    return f"const LANGUAGES = {json.dumps(languages(), ensure_ascii=False)};"


def language_options() -> str:
    """The options of the choice in the header, each named in its own language."""
    named = [SOURCE, *((code, language["name"]) for code, language in languages().items())]
    return "".join(
        f'<option value="{code}" lang="{code}" translate="no">{escape(name)}</option>' for code, name in named
    )
