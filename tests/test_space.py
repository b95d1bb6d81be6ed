"""A Hugging Face Space: what it receives starts with nothing but what it installs; ZeroGPU lends a GPU to redraws."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml
from fakehub import TOKEN, FakeHub
from gradio_client import Client, handle_file
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

import app
import sundae
from page.shelf import Shelf
from sundae.pipeline import Inpainter
from sundae.sampler import SamplerConfig

ROOT = Path(__file__).resolve().parent.parent
FAKE = ROOT / "tests" / "zerogpu"
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
FILES = ("requirements.txt", "requirements-dev.txt")


# -- what the Space is told ------------------------------------------------------------------------------------


def front_matter() -> dict:
    """The settings at the head of the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.startswith("---\n")
    return yaml.safe_load(text.split("---\n")[1])


def requirements(name: str = "requirements.txt") -> list[Requirement]:
    """Those of a file that concern this Python."""
    return requirements_of((ROOT / name).read_text())


def requirements_of(text: str) -> list[Requirement]:
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    found = [Requirement(line) for line in lines if line and not line.startswith("-r ")]
    return [each for each in found if each.marker is None or each.marker.evaluate()]


def test_the_readme_tells_the_space_what_to_run():
    told = front_matter()
    assert (told["sdk"], told["app_file"], told["license"]) == ("gradio", "app.py", "apache-2.0")
    assert {told["colorFrom"], told["colorTo"]} <= COLOURS
    assert told["title"] == "Sundae"
    assert 0 < len(told["short_description"]) <= 60
    assert not told["emoji"].isascii()
    assert (ROOT / told["app_file"]).is_file()
    assert told["suggested_hardware"] == "cpu-basic"


def test_versions_agree():
    """The Space installs gradio at ``sdk_version`` together with requirements.txt: another one there ends the build.
    Versions in quotes, or 3.10 becomes 3.1."""
    told = front_matter()
    (pinned,) = (each for each in requirements() if each.name == "gradio")
    assert str(pinned.specifier) == f"=={told['sdk_version']}"
    assert told["python_version"] in ("3.10", "3.12"), "what ZeroGPU has"
    assert all(len(list(each.specifier)) == 1 and "==" in str(each.specifier) for each in requirements())


def test_the_environment_says_where_to_listen(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["app.py"])
    monkeypatch.delenv("GRADIO_SERVER_NAME", raising=False)
    assert app.arguments().host == "127.0.0.1"
    monkeypatch.setenv("GRADIO_SERVER_NAME", "0.0.0.0")
    assert (app.arguments().host, app.arguments().port) == ("0.0.0.0", None)


def test_everything_that_runs_the_model_waits_in_one_bounded_queue():
    """And nothing of the page needs a model to be built: examples are pictures, there are no results to compute."""

    def unwanted(name, device):
        pytest.fail("a model was loaded to build the page")

    demo = app.build(Shelf(["any"], loader=unwanted))
    assert demo._queue.max_size == app.WAITING == 20
    queued = [each for each in demo.fns.values() if each.queue and each.fn is not None]
    queued = [each for each in queued if each.name != "leave"]  # of a closing tab: gradio never queues that
    assert [each.name for each in queued] == ["redraw", "seen", "filmed", "inpaint", "sample", "reconstruct"]
    assert {(each.concurrency_id, each.concurrency_limit) for each in queued} == {("model", 1)}


# -- what the Space receives -----------------------------------------------------------------------------------


def received() -> list[str]:
    """The files git knows, and those that it would take when everything is added."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return sorted(name for name in names if name and (ROOT / name).is_file())


def closure() -> set[str]:
    """What pip installs for requirements.txt: names of distributions that are installed here too."""
    wanted, found = requirements(), set()
    while wanted:
        name = canonicalize_name(wanted.pop().name)
        if name not in found:
            found.add(name)
            needs = [Requirement(line) for line in importlib.metadata.requires(name) or []]
            wanted += [each for each in needs if each.marker is None or each.marker.evaluate({"extra": ""})]
    return found


def homes(names: set[str]) -> dict[str, Path]:
    """Files and folders that lie in site-packages for these distributions."""
    found = {}
    for name in names:
        distribution = importlib.metadata.distribution(name)
        for file in distribution.files or []:
            if file.parts[0] not in ("..", "__pycache__"):
                found[file.parts[0]] = Path(str(distribution.locate_file(file.parts[0])))
    return found


def clean_python(folder: Path) -> Path:
    """A virtual environment that has what requirements.txt installs, and no development package."""
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    everything: set[str] = {
        canonicalize_name(each.metadata["Name"]) for each in importlib.metadata.distributions()
    }
    names = closure()
    needed = homes(names)
    shared = needed.keys() & homes(everything - names).keys()
    assert shared == set(), "a folder of both kinds of packages cannot be linked as a whole"
    for name, path in needed.items():
        (site / name).symlink_to(path)
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clean_python(tmp_path_factory.mktemp("clean") / "venv")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("space") / "app"
    for name in received():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    return folder


def environment(home: Path, **extra: str) -> dict[str, str]:
    """What a Space's container tells the program, and nothing of this machine's; the address is our own."""
    told = {"SYSTEM": "spaces", "SPACE_ID": "me/sundae", "GRADIO_NUM_PORTS": "1", "PYTHONUNBUFFERED": "1"}
    address = {"GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_PORT": str(free_port())}
    threads = {"OMP_NUM_THREADS": os.environ["OMP_NUM_THREADS"]}
    return told | address | threads | {"HOME": str(home), "PATH": "/usr/bin:/bin"} | extra


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serving(command: list[str], folder: Path, told: dict[str, str], log: Path) -> Iterator[tuple[str, float]]:
    """The address of the page once it is up, and the seconds of processor time that this took."""
    url = f"http://127.0.0.1:{told['GRADIO_SERVER_PORT']}/"
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=folder, env=told, stdout=out, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            try:
                urllib.request.urlopen(url, timeout=5).read(1)
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        assert process.poll() is None, log.read_text()[-3000:]
        words = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        yield url, (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    finally:
        process.terminate()
        process.wait(20)


def asked(
    url: str, folder: Path, picture: np.ndarray, hole: np.ndarray, **settings
) -> tuple[np.ndarray, dict]:
    """What the program at ``url`` makes of a picture (H, W, 3) and a hole (H, W), and the settings in its answer."""
    Image.fromarray(picture).save(folder / "image.png")
    Image.fromarray(hole).save(folder / "mask.png")
    client = Client(url, verbose=False, download_files=str(folder), analytics_enabled=False)
    files = {name: handle_file(str(folder / f"{name}.png")) for name in ("image", "mask")}
    path, _ = client.predict(**files, **settings, api_name="/inpaint")
    client.close()
    with Image.open(path) as png:
        return np.asarray(png.convert("RGB")), json.loads(png.info["sundae"])


def complaints(log: Path) -> list[str]:
    """Last lines of tracebacks, but for that of the platform's package, which gradio looks for on a Space."""
    text = log.read_text()
    found = re.findall(r"^Traceback .*(?:\n +.*)*\n(\w.*)", text, re.MULTILINE)
    assert len(found) == text.count("Traceback")
    return [line for line in found if "`spaces` package is required to run hot-reloading" not in line]


def test_it_can_be_pushed(tree):
    files = [path for path in tree.rglob("*") if path.is_file()]
    assert max(path.stat().st_size for path in files) < 10_000_000
    assert {"README.md", "requirements.txt", "app.py"} <= {path.name for path in tree.iterdir()}
    assert not [path for path in files if path.suffix == ".pyc"]


def test_it_starts_and_redraws_with_that_alone(tree, python, tmp_path):
    """As a Space starts it, in an environment without development packages, and within 20 s of one core."""
    told, log = environment(tmp_path), tmp_path / "log.txt"
    picture = np.asarray(Image.open(tree / "examples" / "portrait-1.webp").convert("RGB"))
    hole = np.zeros(picture.shape[:2], bool)
    hole[600:700, 400:600] = True
    with serving([str(python), "app.py"], tree, told, log) as (url, seconds):
        assert seconds < 20
        result, settings = asked(url, tmp_path, picture, hole, seed=3, steps=2)
    assert settings["model"] == "illustrated-1024"
    assert np.array_equal(result[~hole], picture[~hole])
    assert not np.array_equal(result[hole], picture[hole])
    assert complaints(log) == []
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".cache")] == []


def test_a_development_package_would_be_missed(tree, python, tmp_path):
    """Else the test above would prove nothing: the same tree, but app.py imports a package of the other file."""
    app_file = tmp_path / "app.py"
    app_file.write_text((tree / "app.py").read_text().replace("import argparse\n", "import scipy\n", 1))
    told = environment(tmp_path, PYTHONPATH=str(tree))
    done = subprocess.run([str(python), str(app_file)], cwd=tree, env=told, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.endswith("ModuleNotFoundError: No module named 'scipy'\n")


def test_the_clean_environment_has_all_and_only_what_is_required(python, tmp_path):
    names = {name: [canonicalize_name(each.name) for each in requirements(name)] for name in FILES}
    code = "import importlib.metadata as m, json; print(json.dumps([d.metadata['Name'] for d in m.distributions()]))"
    told = environment(tmp_path)
    done = subprocess.run([str(python), "-c", code], env=told, capture_output=True, text=True, check=True)
    present = {canonicalize_name(name) for name in json.loads(done.stdout)}
    run, development = (set(names[name]) for name in FILES)
    assert run <= present
    assert not development & present
    assert {"pytest", "scipy", "skia-python"} <= development


def test_the_app_names_what_it_imports():
    """Every package that the app and the library import is in requirements.txt by name, not only by way of another."""
    files = [ROOT / "app.py", *(ROOT / "page").glob("*.py"), *(ROOT / "sundae").rglob("*.py")]
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in files]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    modules = {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"app", "page", "sundae"}
    owners = importlib.metadata.packages_distributions()
    found = {canonicalize_name(owner) for module in modules for owner in owners.get(module, [module])}
    allowed = {canonicalize_name(each.name) for each in requirements()}
    assert found - allowed <= {"spaces", "tomli", "tomllib"}, "the platform's own, and what may be absent"


# -- one command pushes it -------------------------------------------------------------------------------------


@pytest.fixture
def hub():
    hub = FakeHub()
    yield hub
    hub.stop()


def test_one_command_pushes_what_is_committed(hub, tmp_path):
    """And takes away what is there and here no more. Uploads go the way of git LFS here, as in test_hub.py."""
    hub.add("me/sundae", {"README.md": b"as it was", "gone.py": b"", ".gitattributes": b""})
    prefix = Path(sys.prefix)
    command = ["make", "-o", str(prefix / "run.done"), "space", f"VENV={prefix}", "SPACE=me/sundae"]
    command += [f"TREE={tmp_path / 'tree'}", "TORCH=2.11.0"]
    told = os.environ | {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "home")}
    told |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(command, cwd=ROOT, env=told, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    stored = hub.repos["me/sundae"].files()
    listed = ["git", "ls-tree", "-r", "-z", "--name-only", "HEAD"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    assert set(stored) - {".gitattributes"} == set(filter(None, names))
    weights = {name for name in stored if name.endswith(".safetensors")}
    assert weights
    assert all(stored[name] == (ROOT / name).read_bytes() for name in weights)
    pinned = requirements_of(stored["requirements.txt"].decode())
    assert [str(each) for each in pinned if each.name == "torch"] == ["torch==2.11.0"]
    assert len(pinned) == len(requirements())


def test_a_push_to_nowhere_is_refused():
    prefix = Path(sys.prefix)
    command = ["make", "-o", str(prefix / "run.done"), "space", f"VENV={prefix}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "expected the name of a Space, as in: make space SPACE=me/sundae" in done.stderr


# -- ZeroGPU ---------------------------------------------------------------------------------------------------


PICTURE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
HOLE = np.zeros((48, 64), bool)
HOLE[8:24, 10:40] = True


def test_redraws_on_a_lent_gpu():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(FAKE / "lent.py")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "9 passed" in done.stdout


def test_the_app_serves_with_a_lent_gpu(bundle, tmp_path):
    spaces_log, log = tmp_path / "spaces.jsonl", tmp_path / "log.txt"
    zero = {"SPACES_ZERO_GPU": "true", "FAKE_SPACES_LOG": str(spaces_log), "PYTHONPATH": str(FAKE)}
    told = environment(tmp_path, **zero)
    command = [sys.executable, str(ROOT / "app.py"), "--model", str(bundle)]
    with serving(command, tmp_path, told, log) as (url, _):
        before = [json.loads(line)["what"] for line in spaces_log.read_text().splitlines()]
        result, settings = asked(url, tmp_path, PICTURE, HOLE, seed=7, steps=2)
    assert before == ["decorated"], "the platform looks for it when the page is launched"
    assert json.loads(spaces_log.read_text().splitlines()[-1])["what"] == "worked"
    assert settings["seed"] == 7
    alone = list(Inpainter(sundae.load(bundle)).prepare(PICTURE, HOLE).run(SamplerConfig(steps=2), [7]))[-1]
    assert np.array_equal(result, np.asarray(alone.image()))
    assert complaints(log) == []
