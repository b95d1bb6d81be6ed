"""The house: imports point one way, the library needs no page and no trainer, and functions stay short."""

import ast
import sys
from pathlib import Path

import pytest

LIBRARY = Path(__file__).resolve().parent.parent / "sundae"
FILES = sorted(LIBRARY.rglob("*.py"))
LONGEST = 70
ALLOWED = {  # siblings that a module may know
    "window": set(),
    "image": {"window"},
    "masks": set(),
    "layers": set(),
    "tokenizer": set(),
    "taming": {"tokenizer"},
    "objective": set(),
    "hourglass": {"layers"},
    "sampler": {"objective"},
    "checkpoint": {"tokenizer", "taming", "hourglass"},
    "bundles": {"checkpoint", "tokenizer", "hourglass"},
    "pipeline": {"window", "image", "masks", "bundles", "sampler"},
}


def imported(path: Path) -> set[str]:
    """Full names of what a file imports, wherever in the file."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = "sundae." * bool(node.level) + (node.module or "")
            names |= {start, *(f"{start}.{alias.name}" for alias in node.names)}
    return {name.strip(".") for name in names}


def siblings(path: Path) -> set[str]:
    names = {name.split(".")[1] for name in imported(path) if name.startswith("sundae.")}
    return names & {file.stem for file in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_library_needs_no_page_and_no_trainer(path):
    top = {name.split(".")[0] for name in imported(path)}
    assert not top & {"gradio", "accelerate", "wandb", "app", "page", "train", "benchmarks", "tests"}
    known = {"sundae", "torch", "numpy", "PIL", "einops", "safetensors", "huggingface_hub", "tqdm", "cv2"}
    assert top <= known | set(sys.stdlib_module_names)


@pytest.mark.parametrize("name", ALLOWED)
def test_imports_point_one_way(name):
    assert siblings(LIBRARY / f"{name}.py") <= ALLOWED[name]


def test_no_module_is_reached_from_itself():
    reached = {file.stem: siblings(file) for file in FILES if file.stem not in ("__init__", "__main__")}
    for _ in reached:
        for name in reached:
            reached[name] = reached[name].union(*(reached.get(other, set()) for other in reached[name]))
    assert not [name for name in reached if name in reached[name]]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_functions_are_short(path):
    functions = [
        n
        for n in ast.walk(ast.parse(path.read_text()))
        if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    long = {f.name: f.end_lineno - f.lineno + 1 for f in functions if f.end_lineno - f.lineno + 1 > LONGEST}
    assert not long


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nothing_is_unpickled(path):
    assert not imported(path) & {"pickle", "torch.load", "dill", "joblib"}
    assert "torch.load(" not in path.read_text()
