"""The languages of the page: whatever a visitor can read is in every table, and nothing else is."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import gradio as gr
import pytest

import app
from page.events import sentence
from page.languages import languages
from page.shelf import Shelf

ROOT = Path(__file__).parents[1]
SPOKEN = {"title", "aria-label", "aria-valuetext", "placeholder", "alt"}  # as in strings.js
PLACE = re.compile(r"\{[^{}]*\}")
WORDS = re.compile(r"[^\W\d_]{2}")  # two letters: not the name of a key, not a size
NAME = "Sundae"  # of the page itself

# What reaches visitors from outside the page's own folder: messages on the picture that they load.
LIBRARY = {
    "sundae/image.py": {
        "_decoding", "_check_size", "_in_own_mode", "_exif_without_orientation", "_picture_from", "_lost_extras",
        "_mode_limits", "extend_picture",
    },
}  # fmt: skip
SILENT = {
    "programs.py",
    "shelf.py",
    "gpu.py",
    "look.py",
}  # no visitor reads them; programs are answered in English
BY_GRADIO = {
    "number input for {field}", "range slider for {field}", "Reset to default value",
    "Queue is full. Max size is {most} and size is {size}.",
    "Connection to the server was lost. Attempting reconnection...",
}  # fmt: skip


def plain(key: str) -> str:
    """A key with nothing in its places: sources name them otherwise than tables, and the page has numbers there."""
    return re.sub(r"\b\d+\b", "{}", PLACE.sub("{}", key))


# ---- templates -------------------------------------------------------------------------------------------


class Texts(HTMLParser):
    """What a visitor reads of a template."""

    def __init__(self, template: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.silent: list[str] = []  # open elements, from the first one that is not to be translated
        self.feed(template)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        silent = self.silent or ("translate", "no") in attrs
        if tag not in ("input", "img", "br", "path", "circle", "polygon") and silent:
            self.silent.append(tag)
        if not silent:
            self.found += [value or "" for name, value in attrs if name in SPOKEN]

    handle_startendtag = handle_starttag

    def handle_endtag(self, tag: str) -> None:
        if self.silent and self.silent[-1] == tag:
            self.silent.pop()

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.found.append(" ".join(data.split()))


def everything_in(block: gr.blocks.BlockContext) -> Iterator[gr.blocks.Block]:
    for child in block.children:
        yield child
        if isinstance(child, gr.blocks.BlockContext):
            yield from everything_in(child)


def on_the_page() -> set[str]:
    """Texts of the page as it is built: templates, labels and buttons."""
    found = set()
    page = app.build(Shelf(["one-32", "two-32"]))
    desk = next(
        block for block in everything_in(page) if block.elem_id == "desk"
    )  # beside it are the programs' jobs
    for block in everything_in(desk):
        if isinstance(block, gr.HTML):
            found |= set(Texts(block.html_template).found)
        else:
            found |= {getattr(block, name, None) for name in ("label", "info", "placeholder")}
            found |= {block.value} if isinstance(block, gr.Button) else set()
    return {text for text in found if isinstance(text, str) and WORDS.search(text) and text != NAME}


# ---- scripts ---------------------------------------------------------------------------------------------

LITERAL = re.compile(r"""'((?:[^'\\\n]|\\.)*)'|"((?:[^"\\\n]|\\.)*)"|`((?:[^`\\]|\\.)*)`""")
CALL = re.compile(r"\bt\(\s*'((?:[^'\\]|\\.)*)'")
TOLD = re.compile(
    r"(?:setMessage|setStatus|setHint|announce|stop|notLoaded)\(\s*[`'\"](?=\w)|(?:textContent|title|alt) = [`'\"](?=\w)"
)


def scripts() -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "page").glob("*.js")):
        yield path.name, re.sub(r"^\s*//.*$|\s// .*$", "", path.read_text("utf-8"), flags=re.M)


def literals(script: str) -> set[str]:
    return {"".join(found).replace("\\'", "'") for found in LITERAL.findall(script)}


def in_scripts() -> set[str]:
    """What scripts hand to t(), and their literals that begin as a sentence does."""
    found = set()
    for _, script in scripts():
        found |= {text.replace("\\'", "'") for text in CALL.findall(script)}
        found |= {text for text in literals(script) if re.match(r"[A-Z][^A-Z]*[a-z,;:}]+ [\w{]", text)}
    return found


# ---- the server ------------------------------------------------------------------------------------------


def text_of(node: ast.AST) -> str | None:
    """A string of a Python source, with {} for what is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return None


def strings(tree: ast.AST) -> set[str]:
    """All strings under a node but docstrings; the parts of an f-string are one with it."""
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in ast.walk(node)
        if part is not node
    }
    texts = (text_of(node) for node in ast.walk(tree) if id(node) not in docs | parts)
    return {text for text in texts if text}


def server_sources() -> Iterator[ast.AST]:
    for path in sorted((ROOT / "page").glob("*.py")):
        if path.name not in SILENT:
            yield ast.parse(path.read_text("utf-8"))


def from_the_server() -> set[str]:
    """Sentences in the server's sources, and what the library says of a visitor's picture."""
    found = set()
    for tree in server_sources():
        for text in strings(tree):
            if (
                re.match(r"([A-Z]|\{\} )[\w{},:;]* ", text)
                and "<" not in text
                and WORDS.search(PLACE.sub("", text))
            ):
                found.add(text)
    return found | {sentence(text) for text in from_the_library()}


def from_the_library() -> set[str]:
    found = set()
    for name, functions in LIBRARY.items():
        tree = ast.parse((ROOT / name).read_text("utf-8"))
        inside = [
            node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name in functions
        ]
        assert {node.name for node in inside} == functions
        for function in inside:
            found |= {text for text in strings(function) if text.count(" ") > 2}
    return found


# ---- the tables ------------------------------------------------------------------------------------------


def from_the_bundles() -> set[str]:
    """What the models in the box are for, as their configs say."""
    told = [json.loads(path.read_text("utf-8")) for path in (ROOT / "weights").glob("*/config.json")]
    return {config["provenance"]["intended_use"] for config in told}


@pytest.fixture(scope="module")
def readable() -> set[str]:
    found = on_the_page() | in_scripts() | from_the_server() | from_the_bundles() | BY_GRADIO
    return {plain(text) for text in found}


@pytest.mark.parametrize("code", languages())
def test_everything_a_visitor_can_read_is_translated(code, readable):
    table = {plain(key) for key in languages()[code]["texts"]}
    assert sorted(readable - table) == []


@pytest.mark.parametrize("code", languages())
def test_nothing_is_translated_that_is_not_on_the_page(code, readable):
    """A single word may stand in a source without being a sentence: any string of the page's sources will do."""
    sources = {plain(text) for _, script in scripts() for text in literals(script)}
    sources |= {plain(text) for tree in server_sources() for text in strings(tree)}
    library = set().union(*(strings(ast.parse((ROOT / name).read_text("utf-8"))) for name in LIBRARY))
    sources |= {plain(form) for text in library if text.strip() for form in (text, sentence(text))}
    table = languages()[code]["texts"]
    assert sorted(key for key in table if plain(key) not in readable | sources) == []


@pytest.mark.parametrize("code", languages())
def test_a_translation_has_the_places_of_its_key(code):
    for key, text in languages()[code]["texts"].items():
        assert set(PLACE.findall(text)) == set(PLACE.findall(key)), key
        assert text, key


def test_scripts_say_nothing_that_was_not_looked_up():
    """What is shown goes through t() where it is written, so that it is found here."""
    bare = [(name, found.group()) for name, script in scripts() for found in TOLD.finditer(script)]
    assert bare == []
