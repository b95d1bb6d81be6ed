"""The house: imports point one way, the library needs no page and no trainer, and functions stay short."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sundae

LIBRARY = Path(__file__).resolve().parent.parent / "sundae"
FILES = sorted(LIBRARY.rglob("*.py"))
LONGEST = 70
CONVERTERS = {
    f"convert.{name}" for name in ("authors", "diffusers", "llamagen", "maskgit", "taming", "unleashing")
}
ALLOWED = {  # siblings that a module may know
    "window": set(),
    "image": {"window", "masks"},
    "masks": set(),
    "layers": set(),
    "tokenizer": set(),
    "taming": {"tokenizer"},
    "objective": set(),
    "canvas": {"objective", "sampler"},
    "hourglass": {"layers", "sampler", "priors.chain"},
    "sampler": {"objective"},
    "priors.likelihood": {"objective", "sampler"},
    "vqgan": {"taming", "tokenizer"},
    "maskgit": {"taming", "tokenizer", "vqgan"},
    "priors.authors": {"hourglass", "sampler", "priors.chain"},
    "priors.chain": {"canvas", "objective", "sampler", "priors.contract", "priors.likelihood"},
    "priors.contract": {"objective", "sampler", "priors.likelihood"},
    "priors.filling": {"sampler"},
    "priors.absorbing": {
        "canvas",
        "hourglass",
        "objective",
        "sampler",
        "priors.contract",
        "priors.filling",
        "priors.likelihood",
    },
    "priors.autoregressive": {
        "hourglass",
        "layers",
        "objective",
        "sampler",
        "priors.contract",
        "priors.filling",
        "priors.likelihood",
    },
    "checkpoint": {
        "hourglass",
        "maskgit",
        "priors.absorbing",
        "priors.authors",
        "priors.autoregressive",
        "priors.contract",
        "taming",
        "tokenizer",
        "vqgan",
    },
    "stopping": set(),
    "hub": {"checkpoint", "version"},
    "convert.tensors": set(),
    "convert.pickled": {"convert.tensors"},
    "convert.archives": {"convert.pickled", "convert.tensors"},
    "convert.settings": set(),
    "convert.names": {"convert.tensors"},
    "convert.detect": CONVERTERS | {"convert.names", "convert.settings", "convert.tensors"},
    "convert.reading": {"checkpoint", "tokenizer", "version"}
    | {f"convert.{name}" for name in ("archives", "detect", "settings", "taming")},
    "convert.writing": {"bundles", "card", "checkpoint", "tokenizer", "convert.reading", "priors.contract"},
    "bundles": {"checkpoint", "convert.reading", "hub", "priors.contract", "tokenizer"},
    "pipeline": {"window", "image", "masks", "bundles", "fit", "priors.contract", "sampler", "version"},
    "changes": {"image"},
    "films": {"window", "image", "pipeline", "sampler"},
    "panels": {"image", "bundles", "pipeline", "sampler"},
    "measure": {"image", "bundles", "pipeline", "priors.contract", "priors.likelihood"},
    "fit": {"image", "bundles"},
    "outputs": {"films", "image", "checkpoint", "pipeline", "sampler"},
    "card": {"bundles", "pipeline"},
    "publish": {"bundles", "card", "checkpoint", "convert.reading", "hub", "pipeline"},
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


def module(path: Path) -> str:
    """Name below ``sundae.``; a package is named as its folder."""
    return ".".join(path.relative_to(LIBRARY).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module(path) for path in FILES}


def siblings(path: Path) -> set[str]:
    own = {name.removeprefix("sundae.") for name in imported(path) if name.startswith("sundae.")}
    return {known for known in MODULES for name in own if name == known or name.startswith(f"{known}.")} - {
        *(
            known for known in MODULES if (LIBRARY / known.replace(".", "/")).is_dir()
        ),  # packages import nothing
        module(path),
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_library_needs_no_page_and_no_trainer(path):
    top = {name.split(".")[0] for name in imported(path)}
    assert not top & {"gradio", "accelerate", "wandb", "app", "page", "train", "benchmarks", "tests"}
    known = {
        "sundae",
        "torch",
        "numpy",
        "PIL",
        "einops",
        "safetensors",
        "huggingface_hub",
        "tqdm",
        "cv2",
        "yaml",
    }
    assert top <= known | set(sys.stdlib_module_names)


@pytest.mark.parametrize("name", ALLOWED)
def test_imports_point_one_way(name):
    assert siblings(LIBRARY / f"{name.replace('.', '/')}.py") <= ALLOWED[name]


def test_no_module_is_reached_from_itself():
    reached = {module(file): siblings(file) for file in FILES if file.stem not in ("__init__", "__main__")}
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


def test_what_the_package_offers_comes_when_it_is_asked_for():
    """The program must answer Ctrl-C before torch is there, so the package alone brings in nothing."""
    code = """
import sys, sundae
assert not {"torch", "numpy", "huggingface_hub"} & set(sys.modules)
assert set(sundae.__all__) <= set(dir(sundae))
assert all(getattr(sundae, name) is not None for name in sundae.__all__)
assert "huggingface_hub" in sys.modules and "gradio" not in sys.modules
assert not hasattr(sundae, "no_such_thing")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=LIBRARY.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {name for names in sundae._HOMES.values() for name in names} == {*sundae.__all__} - {"__version__"}
