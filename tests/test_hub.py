"""Models to and from a Hub: a small one on 127.0.0.1 that ``HF_ENDPOINT`` points at.

Uploads go the way of git LFS here; hf_xet, which the real Hub also speaks, is switched off.
"""

import dataclasses
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import foreign
import pytest
import torch
import yaml
from fakehub import TOKEN, FakeHub
from PIL import Image
from tiny import PRIOR, TOKENIZER, save_tiny_bundle, tiny_prior, tiny_tokenizer

import sundae
from sundae import publish
from sundae.card import LIMITS, front_matter, model_card
from sundae.checkpoint import borrow_part, file_hash, save_bundle
from sundae.hub import Repository, parse, without_secrets
from sundae.tokenizer import Tokenizer

ROOT = Path(__file__).parent.parent
WEIGHTS = ["prior.safetensors", "tokenizer.safetensors"]


@pytest.fixture(scope="module")
def server():
    hub = FakeHub()
    yield hub
    hub.stop()


@pytest.fixture
def hub(server):
    """The Hub, empty again."""
    server.repos, server.blobs, server.breaks, server.refused, server.afterwards = {}, {}, {}, {}, {}
    server.log.clear()
    return server


class Worker:
    """A Python of its own that knows the Hub; see hubworker.py."""

    def __init__(self, hub: FakeHub, home: Path, **extra: str):
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
        environment = kept | {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, str(ROOT / "tests" / "hubworker.py")]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, env=environment | extra, cwd=home, text=True, **pipes)

    def run(self, code: str, token: str) -> dict:
        assert self.process.stdin and self.process.stdout
        login = f"import os; os.environ['HF_TOKEN'] = {token!r}\n"  # read again at every request
        self.process.stdin.write(json.dumps({"code": login + code}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@dataclasses.dataclass
class User:
    """Somebody at a worker."""

    worker: Worker
    token: str = ""

    def run(self, code: str) -> dict:
        answer = self.worker.run(code, self.token)
        assert not self.token or self.token not in json.dumps(answer)
        return answer

    def load(self, name: str) -> dict:
        """What a model that is loaded is, as a dict; fails the test if it does not load."""
        code = f"import sundae; m = sundae.load({name!r}); result = dict(name=m.name, hash=m.hash)"
        answer = self.run(code)
        assert answer["error"] is None, answer
        return answer["result"]

    def refuse(self, code: str) -> str:
        """The one line of a ValueError that the code must end with."""
        answer = self.run(code)
        assert answer["kind"] == "ValueError", answer
        assert answer["error"].startswith("expected ")
        assert len(answer["error"].splitlines()) == 1
        assert len(answer["error"]) < 400
        return answer["error"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def worker(server, home):
    worker = Worker(server, home)
    yield worker
    worker.close()


@pytest.fixture
def visitor(worker):
    """Somebody who is not logged in."""
    return User(worker)


@pytest.fixture
def owner(worker):
    """Somebody who may write."""
    return User(worker, TOKEN)


def tiny_files(folder: Path, seed: int = 2) -> dict[str, bytes]:
    """The files of a bundle; another seed gives another prior."""
    parts = {"tokenizer": tiny_tokenizer(), "prior": tiny_prior(seed=seed)}
    save_bundle(folder, parts, {"licence": "MIT", "data": "noise"})
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def files(tmp_path):
    return tiny_files(tmp_path / "bundle")


@pytest.fixture
def bundle(tmp_path, files):
    return tmp_path / "bundle"


def load(name: str) -> str:
    return f"import sundae; sundae.load({name!r})"


def push(folder: object, repository: str, extra: str = "") -> str:
    call = f"sundae.push_to_hub({str(folder)!r}, {repository!r}{extra})"
    return f"import sundae; result = vars({call})"


# -- names ---------------------------------------------------------------------------------------------------


def test_names_of_repositories():
    assert parse("me/model") == Repository("me/model", "main")
    assert parse("me/model@v1.0") == Repository("me/model", "v1.0")
    assert parse("me/model@refs/pr/3") == Repository("me/model", "refs/pr/3")
    assert [str(parse(name)) for name in ("me/a", "me/a@main", "me/a@b")] == ["me/a", "me/a", "me/a@b"]
    for name in (
        "model",
        "a/b/c",
        "../x",
        "./x",
        "/x",
        "a/",
        "me/m@",
        "me/m@../x",
        "me/m@-x",
        "me/m@a b",
        "a--b/c",
    ):
        assert parse(name) is None, name


def test_a_folder_comes_before_a_repository(visitor, hub, files, home):
    save_tiny_bundle(home / "someone" / "model")
    hub.add("someone/model", {})
    assert visitor.load("someone/model")["name"] == "model"
    assert hub.log == []


# -- from the Hub --------------------------------------------------------------------------------------------


def test_a_model_comes_from_the_hub_and_then_from_the_cache(visitor, hub, files, bundle):
    hub.add(
        "a/first",
        files | {"README.md": b"read me", "big.safetensors": b"never asked for", "state.pt": b"nor this"},
    )
    model = sundae.load(bundle)
    assert visitor.load("a/first") == {"name": "a/first", "hash": model.hash}
    assert sorted(hub.asked("GET")) == ["config.json", *WEIGHTS]
    hub.log.clear()
    assert visitor.load("a/first")["hash"] == model.hash
    assert hub.asked("GET") == []
    assert hub.asked("HEAD") == ["config.json"]


def test_a_revision_is_a_branch_a_tag_or_a_commit(visitor, hub, files, tmp_path):
    others = tiny_files(tmp_path / "other", seed=5)
    first = hub.add("a/two", files)
    hub.add("a/two", others, "v2")
    one, two = visitor.load("a/two"), visitor.load("a/two@v2")
    assert two["name"] == "a/two@v2"
    assert one["hash"] != two["hash"] == sundae.load(tmp_path / "other").hash
    assert visitor.load(f"a/two@{first}")["hash"] == one["hash"]


def test_a_branch_that_moves_on_is_followed_and_what_stays_is_not_fetched_again(
    visitor, hub, files, tmp_path
):
    hub.add("a/moves", files)
    before = visitor.load("a/moves")
    hub.add("a/moves", tiny_files(tmp_path / "new", seed=5))
    hub.log.clear()
    assert visitor.load("a/moves")["hash"] != before["hash"]
    assert sorted(hub.asked("GET")) == ["config.json", "prior.safetensors"]


def test_a_branch_that_moves_on_meanwhile_mixes_nothing_up(visitor, hub, files, bundle, tmp_path):
    others = tiny_files(tmp_path / "other", seed=5)
    hub.add("a/meanwhile", files)
    hub.afterwards["config.json"] = lambda: hub.add("a/meanwhile", others)
    assert visitor.load("a/meanwhile")["hash"] == sundae.load(bundle).hash
    assert visitor.load("a/meanwhile")["hash"] == sundae.load(tmp_path / "other").hash


def test_a_broken_connection_goes_on_where_it_broke(visitor, hub, tmp_path):
    """huggingface_hub writes in blocks of 10 MiB, and goes on after the last whole one."""
    config = dataclasses.replace(TOKENIZER, codebook_size=2**18, embed_dim=16)
    save_bundle(tmp_path / "large", {"tokenizer": Tokenizer(config)}, {})
    files = {path.name: path.read_bytes() for path in (tmp_path / "large").iterdir()}
    name = max(files, key=lambda name: len(files[name]))
    assert len(files[name]) > 16_000_000
    hub.add("a/breaks", files)
    hub.breaks[name] = 12_000_000
    assert visitor.load("a/breaks")["hash"] == sundae.load(tmp_path / "large").hash
    ranges = [r.range for r in hub.log if r.method == "GET" and r.path.endswith(name)]
    assert ranges == ["", f"bytes={10 * 2**20}-"]


def test_a_connection_that_breaks_early_is_tried_again(visitor, hub, files):
    hub.add("a/breaks-early", files)
    hub.breaks["prior.safetensors"] = 1000
    visitor.load("a/breaks-early")
    assert hub.asked("GET").count("prior.safetensors") == 2


def test_what_is_complete_is_not_fetched_again_after_a_failure(visitor, hub, files):
    hub.add("a/fails", files)
    hub.refused["prior.safetensors"] = 403
    assert "403" in visitor.refuse(load("a/fails"))
    assert "tokenizer.safetensors" in hub.asked("GET")
    hub.refused.clear()
    hub.log.clear()
    visitor.load("a/fails")
    assert hub.asked("GET") == ["prior.safetensors"]


def test_weights_that_are_not_those_of_the_config_are_refused(visitor, hub, files):
    data = bytearray(files["prior.safetensors"])
    data[-1] ^= 1
    hub.add("a/changed", files | {"prior.safetensors": bytes(data)})
    message = visitor.refuse(load("a/changed"))
    assert "prior.safetensors with SHA-256" in message
    assert "damaged or was changed" in message


@pytest.mark.parametrize(
    "name", ["../../evil.safetensors", "/tmp/evil.safetensors", "evil.pt", "*.safetensors", "a/b.safetensors"]
)
def test_a_config_cannot_ask_for_files_outside_the_bundle(visitor, hub, files, name):
    content = json.loads(files["config.json"])
    content["parts"]["prior"]["files"] = {name: "0" * 64}
    hub.add("a/evil", {**files, "config.json": json.dumps(content).encode(), name: b"evil"})
    assert "plain .safetensors file name" in visitor.refuse(load("a/evil"))
    assert set(hub.asked("GET")) <= {"config.json"}


def test_a_config_cannot_borrow_from_the_cache(visitor, hub, files):
    content = json.loads(files["config.json"])
    content["parts"]["tokenizer"]["bundle"] = "other"
    hub.add("ann/borrower", {**files, "config.json": json.dumps(content).encode()})
    message = visitor.refuse(load("ann/borrower"))
    assert "expected the tokenizer's weights in ann/borrower, got those of 'other'" in message
    assert set(hub.asked("GET")) <= {"config.json"}


def test_what_is_not_there_is_told_in_one_line(visitor, hub, files):
    hub.add("a/whole", files)
    hub.add("a/empty", {"README.md": b"nothing"})
    hub.add("a/half", {name: data for name, data in files.items() if name != "prior.safetensors"})
    hub.add("a/other", {"config.json": b'{"model_type": "other"}'})
    hub.add("a/gated", files)
    hub.repos["a/gated"].gated = True
    assert "'a/nowhere'" in visitor.refuse(load("a/nowhere"))
    assert "'v9'" in visitor.refuse(load("a/whole@v9"))
    assert "no config.json" in visitor.refuse(load("a/empty"))
    assert "no prior.safetensors" in visitor.refuse(load("a/half"))
    assert "with the keys" in visitor.refuse(load("a/other"))
    assert "terms" in visitor.refuse(load("a/gated"))


def test_a_private_model_is_its_owners(visitor, owner, hub, files):
    hub.add("a/private", files)
    hub.repos["a/private"].private = True
    assert "not yours" in visitor.refuse(load("a/private"))
    assert owner.load("a/private")["name"] == "a/private"


def test_the_cache_serves_when_the_hub_is_out_of_reach(visitor, hub, files):
    hub.add("a/cached", files)
    before = visitor.load("a/cached")
    hub.stop()
    try:
        assert visitor.load("a/cached") == before
    finally:
        hub.start()


def test_the_cache_serves_offline_and_what_it_lacks_is_told(visitor, home, hub, files):
    hub.add("a/offline", files)
    before = visitor.load("a/offline")
    hub.log.clear()
    worker = Worker(hub, home, HF_HUB_OFFLINE="1")
    try:
        offline = User(worker)
        assert offline.load("a/offline") == before
        assert "within reach" in offline.refuse(load("a/never-seen"))
        assert "within reach" in offline.refuse(load("a/offline@other"))
    finally:
        worker.close()
    assert hub.log == []


def test_a_token_is_not_shown_even_when_it_cannot_be_sent(worker, hub, files, bundle):
    hub.add("a/model", files)
    broken = User(worker, "hf_secret\x0bword")
    for code in (load("a/model"), push(bundle, "a/model")):
        assert "secret" not in broken.refuse(code)


def test_secrets_are_taken_out_of_messages(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert without_secrets(f"Illegal header value b'Bearer {TOKEN}'\nand more") == (
        "Illegal header value b'Bearer …' and more"
    )
    assert len(without_secrets("x" * 1000)) == 200


# -- to the Hub ----------------------------------------------------------------------------------------------


def test_a_folder_goes_to_the_hub_and_comes_back(owner, hub, files, bundle):
    (bundle / ".env").write_text("SECRET=1")
    (bundle / "state.pt").write_bytes(b"training state")
    (bundle / "README.md").write_text("# Mine\n\n![seen](seen.png) ![gone](gone.png)\n")
    Image.new("RGB", (4, 4)).save(bundle / "seen.png")
    Image.new("RGB", (4, 4)).save(bundle / "not-shown.png")
    pushed = owner.run(push(bundle, "me/new"))
    assert pushed["error"] is None, pushed
    stored = hub.repos["me/new"].files()
    assert set(stored) == {".gitattributes", "README.md", "config.json", "seen.png", *WEIGHTS}
    assert all(stored[name] == data for name, data in files.items())
    assert stored["README.md"].decode().endswith("---\n\n# Mine\n\n![seen](seen.png) ![gone](gone.png)\n")
    assert pushed["result"]["repository"] == "me/new"
    assert pushed["result"]["commit"] == hub.repos["me/new"].branches["main"]
    assert sorted(pushed["result"]["files"]) == [
        "README.md",
        "config.json",
        *WEIGHTS[:1],
        "seen.png",
        *WEIGHTS[1:],
    ]
    assert not hub.repos["me/new"].private
    assert all(r.token == TOKEN for r in hub.log if r.method == "POST")
    assert owner.load("me/new")["hash"] == sundae.load(bundle).hash


def test_a_loaded_model_goes_with_a_card_of_its_own(owner, hub, bundle):
    code = f"import sundae; sundae.push_to_hub(sundae.load({str(bundle)!r}), 'me/object', private=True, message='Hello')"
    assert owner.run(code)["error"] is None
    stored = hub.repos["me/object"].files()
    card = stored["README.md"].decode()
    assert 'sundae.load("me/object")' in card
    assert yaml.safe_load(card.split("---")[1])["license"] == "mit"
    assert Image.open(io.BytesIO(stored["samples.webp"])).size == (4 * 32, 32)
    assert hub.repos["me/object"].private
    assert owner.load("me/object")["hash"] == sundae.load(bundle).hash


def test_a_checkpoint_of_another_project_goes_as_a_bundle(owner, hub, tmp_path):
    path = foreign.save(tmp_path / "last.ckpt", foreign.weights(foreign.maskgit()))
    assert owner.run(push(path, "me/foreign"))["error"] is None
    assert set(hub.repos["me/foreign"].files()) >= {"config.json", "README.md"}
    assert owner.load("me/foreign")["hash"] == sundae.load(path).hash


def test_a_saved_card_speaks_of_the_repository_once_it_is_there(owner, hub, bundle, tmp_path):
    sundae.save_pretrained(sundae.load(bundle), tmp_path / "saved")
    assert owner.run(push(tmp_path / "saved", "me/saved"))["error"] is None
    stored = hub.repos["me/saved"].files()
    assert 'sundae.load("me/saved")' in stored["README.md"].decode()
    assert stored["samples.webp"] == (tmp_path / "saved" / "samples.webp").read_bytes()


def test_a_borrowed_tokenizer_goes_up_too(owner, hub, files, bundle):
    tiny_files(bundle.parent / "borrower", seed=5)
    borrow_part(bundle.parent / "borrower", "tokenizer", bundle)
    (bundle.parent / "borrower" / "README.md").write_text('# Mine\n\nsundae.load("borrower")\n')
    assert owner.run(push(bundle.parent / "borrower", "me/whole"))["error"] is None
    stored = hub.repos["me/whole"].files()
    assert stored["tokenizer.safetensors"] == files["tokenizer.safetensors"]
    assert 'sundae.load("me/whole")' in stored["README.md"].decode()
    assert owner.load("me/whole")["hash"] == sundae.load(bundle.parent / "borrower").hash


def test_a_second_push_replaces_the_first(owner, hub, files, bundle, tmp_path):
    old = {f"prior-{i}-of-2.safetensors": b"old" for i in (1, 2)}
    hub.add("me/again", {"config.json": files["config.json"], "notes.txt": b"kept", **old})
    assert owner.run(push(bundle, "me/again"))["error"] is None
    assert not set(old) & set(hub.repos["me/again"].files())
    assert hub.repos["me/again"].files()["notes.txt"] == b"kept"
    commits = len(hub.repos["me/again"].commits)
    assert owner.run(push(bundle, "me/again"))["error"] is None  # nothing is new
    assert owner.load("me/again")["hash"] == sundae.load(bundle).hash
    assert len(hub.repos["me/again"].commits) <= commits + 1


def test_a_push_to_a_branch_leaves_the_others(owner, hub, files, bundle, tmp_path):
    hub.add("me/branch", files)
    tiny_files(tmp_path / "other", seed=5)
    assert owner.run(push(tmp_path / "other", "me/branch@next"))["error"] is None
    assert owner.load("me/branch")["hash"] == sundae.load(bundle).hash
    assert owner.load("me/branch@next")["hash"] == sundae.load(tmp_path / "other").hash


@pytest.mark.parametrize(
    "present", [{"model.bin": b"x"}, {"config.json": b'{"model_type": "bert"}', "README.md": b"mine"}]
)
def test_a_repository_of_something_else_is_left_alone(owner, hub, bundle, present):
    hub.add("me/other", present)
    for name in ("me/other", "me/other@mine"):
        assert "new repository" in owner.refuse(push(bundle, name))
    assert hub.repos["me/other"].files() == present
    assert list(hub.repos["me/other"].branches) == ["main"]


def test_a_damaged_bundle_does_not_go_up(owner, hub, bundle):
    data = bytearray((bundle / "prior.safetensors").read_bytes())
    data[-1] ^= 1
    (bundle / "prior.safetensors").write_bytes(data)
    assert "damaged" in owner.refuse(push(bundle, "me/damaged"))
    assert hub.log == []


def test_a_card_that_is_no_text_does_not_go_up(owner, hub, bundle):
    (bundle / "README.md").write_bytes(b"\xff\xfe\xff")
    assert "UTF-8" in owner.refuse(push(bundle, "me/card"))
    assert hub.log == []


def test_only_who_may_write_can_push(visitor, owner, worker, hub, bundle):
    assert "login" in visitor.refuse(push(bundle, "me/new"))
    assert hub.log == []
    assert "403" in owner.refuse(push(bundle, "someone-else/new"))
    assert "401" in User(worker, "hf_unknown").refuse(push(bundle, "me/new"))
    assert hub.repos == {}


@pytest.mark.parametrize(
    ("repository", "extra"), [("alone", ""), ("a/b/c", ""), ("", ""), ("me/x", ", message=' '"), ("../x", "")]
)
def test_bad_orders_do_not_reach_the_hub(owner, hub, bundle, repository, extra):
    owner.refuse(push(bundle, repository, extra))
    assert hub.log == []


# -- the command line ----------------------------------------------------------------------------------------


def command(*words: object) -> str:
    return f"from sundae.cli import main; result = main({[str(word) for word in words]!r})"


def test_the_command_line_takes_models_from_the_hub(visitor, hub, files, home):
    hub.add("a/line", files)
    answer = visitor.run(
        command("sample", "--model", "a/line", "--steps", "1", "-o", home / "s.png", "--json")
    )
    assert (answer["result"], answer["err"]) == (0, "")
    assert json.loads(answer["out"])["model"]["name"] == "a/line"
    with Image.open(home / "s.png") as image:
        assert json.loads(image.text["sundae"])["model"] == "a/line"  # type: ignore[attr-defined]
    answer = visitor.run(command("info", "a/line@main"))
    assert answer["out"].startswith("a/line (")
    answer = visitor.run(command("info", "a/nothing"))
    assert (answer["result"], answer["out"]) == (2, "")
    assert answer["err"].startswith("sundae: error: expected ")
    assert len(answer["err"].splitlines()) == 1


def test_the_command_line_pushes(visitor, owner, hub, bundle):
    answer = owner.run(
        command("push", bundle, "me/line", "--private", "--message", "From the command line", "--json")
    )
    assert (answer["result"], answer["err"]) == (0, ""), answer
    report = json.loads(answer["out"])
    assert report["repository"] == "me/line"
    assert report["url"] == f"{hub.url}/me/line/commit/{hub.repos['me/line'].branches['main']}"
    assert set(report["files"]) == set(hub.repos["me/line"].files()) - {".gitattributes"}
    assert hub.repos["me/line"].private
    assert owner.run(command("push", bundle, "me/line"))["out"].startswith("me/line: ")
    answer = visitor.run(command("push", bundle, "me/line"))
    assert (answer["result"], answer["out"]) == (2, "")
    assert "login" in answer["err"]


# -- saving, and the card ------------------------------------------------------------------------------------


def test_a_saved_model_is_the_same(bundle, tmp_path):
    model = sundae.load(bundle)
    folder = sundae.save_pretrained(model, tmp_path / "saved")
    again = sundae.load(folder)
    assert again.hash == model.hash
    assert again.config["provenance"] == {"licence": "MIT", "data": "noise"}
    for name in ("tokenizer", "prior"):
        before, after = getattr(model, name).state_dict(), getattr(again, name).state_dict()
        assert all(torch.equal(before[key], after[key]) for key in before)
    assert {path.name for path in folder.iterdir()} == {"config.json", "README.md", "samples.webp", *WEIGHTS}
    (tmp_path / "empty").mkdir()
    sundae.save_pretrained(model, tmp_path / "empty")
    assert file_hash(tmp_path / "empty" / "prior.safetensors") == file_hash(folder / "prior.safetensors")


def test_saving_keeps_the_precision(tmp_path):
    save_bundle(tmp_path / "full", {"tokenizer": tiny_tokenizer(), "prior": tiny_prior()}, {}, half=False)
    model = sundae.load(tmp_path / "full")
    again = sundae.load(sundae.save_pretrained(model, tmp_path / "again"))
    before, after = model.prior.state_dict(), again.prior.state_dict()
    assert not all(torch.equal(value.half().float(), value) for value in before.values())
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("name", ["taken", "taken/mine.txt", "no/folder"])
def test_a_model_is_saved_in_a_new_folder_alone(bundle, tmp_path, name):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=r"^expected .*, got "):
        sundae.save_pretrained(sundae.load(bundle), tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_what_is_not_saved_whole_is_not_saved(bundle, tmp_path, monkeypatch, error):
    def fail(model):
        raise error

    monkeypatch.setattr(publish, "draw_samples", fail)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises((KeyboardInterrupt, ValueError)):
        sundae.save_pretrained(sundae.load(bundle), tmp_path / "new")
    assert sorted(tmp_path.rglob("*")) == before


def card_of(bundle: Path, tmp_path: Path, **provenance: object) -> str:
    save_bundle(tmp_path / "card", {"tokenizer": tiny_tokenizer(), "prior": tiny_prior()}, provenance)
    return model_card(sundae.load(tmp_path / "card"), "me/model", pictures=True)


def test_the_card_tells_what_is_known(bundle, tmp_path):
    metrics = {"validation": {"loss": 2.16, "accuracy": {"0.5": 0.8}}, "hole": [1, 2]}
    card = card_of(
        bundle,
        tmp_path,
        data="portraits | drawn",
        licence="Apache-2.0",
        metrics=metrics,
        hardware="two cores",
        commit="abc",
        intended_use="Playing.",
        limits="Faces only.",
    )
    assert yaml.safe_load(card.split("---")[1]) == {
        "library_name": "sundae",
        "pipeline_tag": "image-to-image",
        "license": "apache-2.0",
        "tags": ["inpainting", "sundae", "vq-gan", "discrete-diffusion"],
    }
    for line in (
        "# model",
        "portraits \\| drawn",
        "| validation, loss | 2.16 |",
        "| validation, accuracy, 0.5 | 0.8 |",
        "| hole | 1, 2 |",
        "| hardware | two cores |",
        "| commit | abc |",
        "Playing.",
        "Faces only.",
        "Apache-2.0",
        'model = sundae.load("me/model")',
    ):
        assert line in card.splitlines(), line
    assert "32 × 32 px" in card
    assert f"to {TOKENIZER.depth} out of {PRIOR.codebook_size} codes" in card
    assert "(samples.webp)" in card
    headings = [line[3:] for line in card.splitlines() if line.startswith("## ")]
    assert headings == ["Use", "Data", "Training", "Numbers", "Intended use", "Limits", "Licence"]


def test_the_card_says_what_is_not_known(bundle, tmp_path):
    card = card_of(bundle, tmp_path)
    assert "does not say what it was trained on" in card
    assert card.count("Not recorded.") == 2
    assert LIMITS in card
    assert "Not stated" in card
    assert "license" not in yaml.safe_load(card.split("---")[1])


def test_a_licence_of_ones_own_is_named(tmp_path):
    save_bundle(tmp_path / "own", {"tokenizer": tiny_tokenizer()}, {"licence": 'My "own": no\nrobots'})
    model = sundae.load(tmp_path / "own")
    matter = yaml.safe_load(front_matter(model).split("---")[1])
    assert (matter["license"], matter["license_name"]) == ("other", 'My "own": no robots')


def test_a_tokenizer_alone_has_a_card_without_pictures(tmp_path):
    save_bundle(tmp_path / "alone", {"tokenizer": tiny_tokenizer()}, {})
    folder = sundae.save_pretrained(sundae.load(tmp_path / "alone"), tmp_path / "saved")
    assert {path.name for path in folder.iterdir()} == {"config.json", "README.md", "tokenizer.safetensors"}
    text = (folder / "README.md").read_text()
    assert "![" not in text
    assert "A tokenizer of pictures, 8 × 8 px to 2 out of 16 codes." in text
