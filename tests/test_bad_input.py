"""What the caller got wrong ends with exit code 2 and one line, and nothing on the disk has changed."""

import io
import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny import save_tiny_bundle

import sundae
from sundae.bundles import devices
from sundae.checkpoint import file_hash, save_bundle, tensors_hash
from sundae.cli import main
from sundae.hourglass import Hourglass, HourglassConfig, LevelConfig
from sundae.image import load_picture, save_picture
from sundae.masks import load_mask

ROOT = Path(__file__).parent.parent
FORMATS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "tif": "TIFF", "bmp": "BMP", "gif": "GIF"}


# -- a folder full of trouble --------------------------------------------------------------------------------


def noise(height: int, width: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of_size(width: int, height: int) -> bytes:
    """A PNG whose header promises a size that its few bytes do not hold."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def gif_of_size(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0\0\0\0\xff\xff\xff;"


def fill_with_pictures(folder: Path) -> None:
    picture, mask = noise(32, 32), np.zeros((32, 32), np.uint8)
    mask[5:20, 7:22] = 255
    picture.save(folder / "face.png")
    Image.fromarray(mask).save(folder / "mask.png")
    for extension, form in FORMATS.items():
        buffer = io.BytesIO()
        picture.save(buffer, form)
        data = buffer.getvalue()
        (folder / f"half.{extension}").write_bytes(data[: len(data) // 2])
        (folder / f"head.{extension}").write_bytes(data[:20])
        (folder / f"junk.{extension}").write_bytes(data[:4] + bytes(range(256)) * 8)
    (folder / "text.png").write_text("This is no picture.\n")
    (folder / "zero.png").write_bytes(b"")
    (folder / "bomb.png").write_bytes(png_of_size(20_000, 20_000))
    (folder / "bomb.gif").write_bytes(gif_of_size(20_000, 20_000))
    (folder / "wide.png").write_bytes(png_of_size(2**31 - 1, 1))
    (folder / "hollow.png").write_bytes(png_of_size(32, 32))
    noise(8, 8).save(folder / "small.png")
    noise(15, 400).save(folder / "flat.png")
    Image.fromarray(np.zeros((32, 32), np.float32)).save(folder / "float.tif")
    Image.fromarray(np.full((32, 32), -5, np.int32)).save(folder / "negative.tif")
    Image.new("L", (32, 32)).save(folder / "black.png")
    Image.new("L", (32, 32), 127).save(folder / "grey.png")
    Image.new("RGBA", (32, 32), (255, 255, 255, 0)).save(folder / "clear.png")
    Image.new("L", (32, 33), 255).save(folder / "taller.png")
    Image.new("L", (16, 16), 255).save(folder / "quarter.png")
    Image.fromarray(np.eye(32, dtype=np.uint8) * 255).save(folder / "thin.png")
    Image.new("RGBA", (32, 32), "red").save(folder / "alpha.png")
    Image.new("CMYK", (32, 32)).save(folder / "cmyk.tif")
    (folder / "existing.png").write_bytes(b"mine")
    (folder / "folder.png").mkdir()
    (folder / "full").mkdir()
    (folder / "full" / "mine.txt").write_text("mine")
    (folder / "nothing.png").symlink_to("does-not-exist.png")
    (folder / "loop.png").symlink_to("loop.png")
    os.mkfifo(folder / "pipe.png")


def edit_config(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def damage(bundle: Path) -> None:
        path = bundle / "config.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return damage


def edit_part(change: Callable[[dict], object]) -> Callable[[Path], None]:
    return edit_config(lambda content: change(content["parts"]["prior"]))


def edit_bytes(change: Callable[[bytes], bytes], name: str = "prior.safetensors") -> Callable[[Path], None]:
    def damage(bundle: Path) -> None:
        (bundle / name).write_bytes(change((bundle / name).read_bytes()))

    return damage


def edit_weights(change: Callable[[dict], object]) -> Callable[[Path], None]:
    """Change the tensors and make all hashes right again."""

    def damage(bundle: Path) -> None:
        path = bundle / "prior.safetensors"
        state = load_file(path)
        change(state)
        save_file(state, path)
        edit_part(lambda part: part.update(files={path.name: file_hash(path)}, hash=tensors_hash(state)))(
            bundle
        )

    return damage


def rename_file(name: str) -> Callable[[Path], None]:
    return edit_part(lambda part: part.update(files={name: next(iter(part["files"].values()))}))


def not_safetensors(bundle: Path) -> None:
    (bundle / "prior.safetensors").write_bytes(b"\xff" * 100)
    digest = file_hash(bundle / "prior.safetensors")
    edit_part(lambda part: part.update(files={"prior.safetensors": digest}))(bundle)


def other_codes(bundle: Path) -> None:
    """A whole prior, but over a codebook that is not the tokenizer's."""
    level = LevelConfig(16, 1, "global", mlp_ratio=1)
    prior = Hourglass(HourglassConfig(codebook_size=64, depth=2, grid=(4, 4), levels=(level,), head_dim=8))
    save_bundle(bundle / "prior", {"prior": prior}, {})
    shutil.move(bundle / "prior" / "prior.safetensors", bundle / "prior.safetensors")
    part = json.loads((bundle / "prior" / "config.json").read_text())["parts"]["prior"]
    edit_config(lambda content: content["parts"].update(prior=part))(bundle)


def set_nan(state: dict[str, torch.Tensor]) -> None:
    state["position"].view(-1)[3] = torch.nan


def set_inf(state: dict[str, torch.Tensor]) -> None:
    state["position"].view(-1)[3] = torch.inf


BUNDLES: dict[str, Callable[[Path], object]] = {
    "flipped bit": edit_bytes(lambda data: data[:-1] + bytes([data[-1] ^ 1])),
    "flipped bit in the tokenizer": edit_bytes(
        lambda data: data[:-9] + b"#" + data[-8:], "tokenizer.safetensors"
    ),
    "cut weights": edit_bytes(lambda data: data[: len(data) // 2]),
    "empty weights": edit_bytes(lambda data: b""),
    "no weights": lambda bundle: (bundle / "prior.safetensors").unlink(),
    "no tokenizer weights": lambda bundle: (bundle / "tokenizer.safetensors").unlink(),
    "weights are a folder": lambda bundle: (
        (bundle / "prior.safetensors").unlink(),
        (bundle / "prior.safetensors").mkdir(),
    ),
    "not safetensors": not_safetensors,
    "changed file hash": edit_part(lambda part: part.update(files={"prior.safetensors": "0" * 64})),
    "file hash is a number": edit_part(lambda part: part.update(files={"prior.safetensors": 5})),
    "changed hash": edit_part(lambda part: part.update(hash="0" * 64)),
    "hash is a number": edit_part(lambda part: part.update(hash=5)),
    "NaN weights": edit_weights(set_nan),
    "infinite weights": edit_weights(set_inf),
    "weights of another shape": edit_weights(lambda state: state.update(position=torch.zeros(1, 16, 3, 3))),
    "missing tensor": edit_weights(lambda state: state.pop("position")),
    "extra tensor": edit_weights(lambda state: state.update(extra=torch.zeros(2))),
    "no config": lambda bundle: (bundle / "config.json").unlink(),
    "config is a folder": lambda bundle: (
        (bundle / "config.json").unlink(),
        (bundle / "config.json").mkdir(),
    ),
    "empty config": lambda bundle: (bundle / "config.json").write_text(""),
    "config is no JSON": lambda bundle: (bundle / "config.json").write_text("{'a': 1}"),
    "config is binary": lambda bundle: (bundle / "config.json").write_bytes(b"\xff\xfe\x00"),
    "config is a list": lambda bundle: (bundle / "config.json").write_text("[1]"),
    "config is deep": lambda bundle: (bundle / "config.json").write_text("[" * 100_000),
    "config with a number of 5,000 digits": lambda bundle: (bundle / "config.json").write_text("9" * 5000),
    "format of the future": edit_config(lambda content: content.update(format_version=2)),
    "format in words": edit_config(lambda content: content.update(format_version="1")),
    "unknown key": edit_config(lambda content: content.update(surprise=1)),
    "missing key": edit_config(lambda content: content.pop("provenance")),
    "unknown part": edit_config(lambda content: content["parts"].update(surprise=content["parts"]["prior"])),
    "provenance in words": edit_config(lambda content: content.update(provenance="mine")),
    "provenance is a list": edit_config(lambda content: content.update(provenance=[1])),
    "parts are a list": edit_config(lambda content: content.update(parts=[])),
    "no tokenizer": edit_config(lambda content: content["parts"].pop("tokenizer")),
    "prior is a number": edit_config(lambda content: content["parts"].update(prior=3)),
    "unknown key of a part": edit_part(lambda part: part.update(surprise=1)),
    "missing key of a part": edit_part(lambda part: part.pop("hash")),
    "unknown kind": edit_part(lambda part: part.update(kind="oracle")),
    "kind is a list": edit_part(lambda part: part.update(kind=["hourglass"])),
    "files are a list": edit_part(lambda part: part.update(files=["prior.safetensors"])),
    "no files": edit_part(lambda part: part.update(files={})),
    "unknown setting": edit_part(lambda part: part["config"].update(surprise=1)),
    "missing setting": edit_part(lambda part: part["config"].pop("grid")),
    "setting in words": edit_part(lambda part: part["config"].update(depth="2")),
    "setting is a fraction": edit_part(lambda part: part["config"].update(depth=2.5)),
    "setting is zero": edit_part(lambda part: part["config"].update(head_dim=0)),
    "setting is negative": edit_part(lambda part: part["config"].update(codebook_size=-1)),
    "setting is huge": edit_part(lambda part: part["config"].update(codebook_size=10**30)),
    "setting is impossible": edit_part(lambda part: part["config"].update(grid=[2**40, 2**40])),
    "blocks without end": edit_part(lambda part: part["config"]["levels"][0].update(depth=10**9)),
    "tokenizer's blocks without end": edit_config(
        lambda content: content["parts"]["tokenizer"]["config"].update(encoder_blocks=10**9)
    ),
    "levels without end": edit_part(
        lambda part: part["config"].update(levels=part["config"]["levels"] * 500)
    ),
    "head too wide": edit_part(lambda part: part["config"].update(head_dim=12)),
    "grid of one side": edit_part(lambda part: part["config"].update(grid=[4])),
    "grid of three sides": edit_part(lambda part: part["config"].update(grid=[4, 4, 4])),
    "no levels": edit_part(lambda part: part["config"].update(levels=[])),
    "path out of the folder": rename_file("../good/prior.safetensors"),
    "absolute path": rename_file("/etc/passwd"),
    "path with a null": rename_file("prior\0.safetensors"),
    "file of another kind": rename_file("prior.pickle"),
    "pattern for a file": rename_file("*.safetensors"),
    "hidden file": rename_file(".safetensors"),
    "prior over other codes": other_codes,
}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """Pictures and masks of which nearly all are bad. No test may change them, and each proves it."""
    folder = tmp_path_factory.mktemp("zoo") / "pictures"
    folder.mkdir()
    fill_with_pictures(folder)
    return folder


@pytest.fixture(scope="module")
def bundles(zoo):
    """Beside the zoo, a good bundle and many bad ones; they are the same after all tests."""
    folder = zoo.parent / "bundles"
    save_tiny_bundle(folder / "good")
    for name, damage in BUNDLES.items():
        shutil.copytree(folder / "good", folder / name)
        damage(folder / name)
    before = contents(folder)
    yield folder
    assert contents(folder) == before


def contents(folder: Path) -> dict[str, object]:
    """Every name with what it holds."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = os.readlink(path)
        else:
            found[name] = path.read_bytes() if path.is_file() else "folder or pipe"
    return found


@pytest.fixture
def unchanged(zoo, bundles, monkeypatch):
    """Work in the zoo, and check afterwards that all of it is as it was."""
    monkeypatch.chdir(zoo)
    before = contents(zoo)
    yield zoo
    assert contents(zoo) == before


@pytest.fixture
def refused(unchanged, capfd):
    """Run a command that must fail; returns its complaint."""

    def run(argv: list[str]) -> str:
        assert main(argv) == 2
        printed = capfd.readouterr()
        assert printed.out == ""
        assert_one_line(printed.err)
        return printed.err

    return run


def assert_one_line(text: str) -> None:
    assert text.startswith("sundae: error: ")
    assert text.endswith("\n")
    assert len(text.splitlines()) == 1
    assert "Traceback" not in text
    assert 20 < len(text) < 500


def inpaint(*extra: str, image="face.png", mask="mask.png", out="out.png", model="good") -> list[str]:
    return [
        "inpaint",
        image,
        "--mask",
        mask,
        "-o",
        out,
        "--model",
        f"../bundles/{model}",
        "--steps",
        "1",
        *extra,
    ]


def test_the_good_files_are_good(unchanged, tmp_path, capsys):
    assert main(inpaint(out=str(tmp_path / "out.png"))) == 0
    assert (tmp_path / "out.png").is_file()


# -- the command line ----------------------------------------------------------------------------------------

BAD_PICTURES = [
    *(f"{kind}.{extension}" for kind in ("half", "head", "junk") for extension in FORMATS),
    *("text.png", "zero.png", "bomb.png", "bomb.gif", "wide.png", "hollow.png", "small.png", "flat.png"),
    *("float.tif", "negative.tif", "folder.png", "nothing.png", "loop.png", "pipe.png", "absent.png"),
    *("", ".", "face.png/face.png", "null\0.png", "x" * 300 + ".png", "line\nbreak.png"),
]


@pytest.mark.parametrize("name", BAD_PICTURES)
def test_bad_picture(refused, name):
    refused(inpaint(image=name))


@pytest.mark.parametrize("name", ["half.png", "half.jpg", "text.png", "bomb.png", "folder.png", "loop.png"])
def test_bad_picture_to_reconstruct(refused, name):
    refused(["reconstruct", name, "-o", "out.png", "--model", "../bundles/good"])


BAD_MASKS = [
    *(f"half.{extension}" for extension in FORMATS),
    *("black.png", "grey.png", "clear.png", "taller.png", "quarter.png", "text.png", "zero.png", "bomb.png"),
    *(
        "bomb.gif",
        "hollow.png",
        "float.tif",
        "folder.png",
        "nothing.png",
        "loop.png",
        "pipe.png",
        "absent.png",
    ),
    *("", "null\0.png", "x" * 300 + ".png"),
]


@pytest.mark.parametrize("name", BAD_MASKS)
def test_bad_mask(refused, name):
    refused(inpaint(mask=name))


BAD_OPTIONS = [
    *(("--steps", value) for value in ("0", "-1", "10000", "2.5", "nan", "inf", "", "many", "9" * 5000)),
    *(("--seed", value) for value in ("-1", "1.5", "nan", str(2**63), "x")),
    *(("--candidates", value) for value in ("0", "-3", "17", "nan", "1e1")),
    *(("--strength", value) for value in ("0", "-0.5", "1.1", "nan", "inf", "1e999", "half")),
    *(("--temperature-start", value) for value in ("0", "-1", "nan", "inf", "11", "", "1e-300")),
    *(("--temperature-end", value) for value in ("0", "-1e-9", "NaN", "Infinity", "1e9")),
    *(("--grow", value) for value in ("513", "-513", "nan", "0.5", "-50")),
    *(("--feather", value) for value in ("-1", "513", "inf", "1.0")),
    *(("--mask-rule", value) for value in ("some", "", "ANY")),
    *(
        ("--device", value)
        for value in ("", "toaster", "cuda:99", "meta", "cpu:x", "hpu", "mkldnn", "xla", "privateuseone")
    ),
    *(
        ("--model", value)
        for value in ("unknown", "", "../nowhere", "face.png", "loop.png", "null\0", "x" * 300)
    ),
    *(
        ("--frames", value)
        for value in ("full", "existing.png", "no/frames", "out.png", "loop.png", "nothing.png")
    ),
    ("--surprise", "1"),
    ("--seeds", "1"),
    ("--json=yes",),
    ("another.png",),
]


@pytest.mark.filterwarnings("error")  # torch warns of some devices, once
@pytest.mark.parametrize("option", BAD_OPTIONS, ids=lambda option: "=".join(option)[:40].replace("\0", "0"))
def test_bad_option(refused, option):
    refused(inpaint(*option))


@pytest.mark.parametrize("name", ["toaster", "meta", "hpu", "mkldnn", "privateuseone", "cuda:99"])
def test_a_device_that_is_not_there_is_told_without_torchs_words(refused, name):
    expected = f"sundae: error: expected a device of this machine ({', '.join(devices())}), got {name!r}"
    assert refused(inpaint("--device", name)).removesuffix(": torch has no CUDA here\n").strip() == expected


def test_a_mask_that_is_shrunk_away_is_told_as_such(refused):
    assert "shrunk by 40 px" in refused(inpaint("--grow", "-40"))


@pytest.mark.parametrize("argv", [["--candidates", "2"], ["--frames", "x" * 256]], ids=" ".join)
def test_a_name_too_long_for_the_disk_is_known_before_the_work(refused, monkeypatch, argv):
    monkeypatch.setattr("sundae.cli.load", lambda *_: pytest.fail("the model was loaded"))
    assert "too long" in refused(inpaint(*argv, out="x" * (250 if argv[0] == "--candidates" else 3) + ".png"))


@pytest.mark.parametrize(
    "argv",
    [
        ["push"],
        ["push", "../bundles/good"],
        ["push", "../bundles/good", "model"],
        ["push", "../bundles/good", "a/b/c"],
        ["push", "../bundles/good", "me/model", "--message", " "],
        ["push", "../bundles/flipped bit", "me/model"],
        ["push", "../bundles/none", "me/model"],
        ["info", "../bundles/none"],
        ["info", "a--b/c"],
        ["info", "me/model@../x"],
    ],
    ids=" ".join,
)
def test_bad_orders_for_the_hub(refused, argv):
    refused(argv)


def test_the_last_seed_of_several_is_too_large(refused):
    refused(inpaint("--seed", str(2**63 - 2), "--candidates", "3"))


def test_a_mask_without_a_whole_token_under_the_rule_all(refused):
    assert "'all'" in refused(inpaint("--mask-rule", "all", mask="thin.png"))


BAD_OUTPUTS = [
    *(
        "existing.png",
        "face.png",
        "mask.png",
        "folder.png",
        "no/out.png",
        "out",
        "out.txt",
        "out.png.exe",
        "",
    ),
    *(
        ".",
        "..",
        ".png",
        "nothing.png",
        "loop.png",
        "face.png/out.png",
        "pipe.png",
        "null\0.png",
        "x" * 300 + ".png",
    ),
    "/proc/out.png",
]


@pytest.mark.parametrize("name", BAD_OUTPUTS)
def test_bad_output(refused, name):
    refused(inpaint(out=name))


@pytest.mark.parametrize(
    "name", ["folder.png", "loop.png", "nothing.png", "pipe.png", "no/out.png", "out.txt"]
)
def test_bad_output_even_when_it_may_be_replaced(refused, name):
    refused(inpaint("--overwrite", out=name))


@pytest.mark.parametrize(
    ("image", "out"), [("alpha.png", "out.jpg"), ("alpha.png", "out.bmp"), ("cmyk.tif", "out.png")]
)
def test_a_format_that_does_not_hold_the_picture(refused, image, out):
    refused(inpaint(image=image, out=out))


def test_frames_are_png_and_do_not_hold_every_picture(refused):
    assert "step-0000.png" in refused(inpaint("--frames", "frames", image="cmyk.tif", out="out.tif"))


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["paint"],
        ["inpaint"],
        ["inpaint", "face.png"],
        ["inpaint", "face.png", "--mask", "mask.png"],
        ["inpaint", "face.png", "-o", "out.png"],
        ["sample", "--model", "../bundles/good"],
        ["sample", "-o", "out.png", "--model", "../bundles/good", "--count", "0"],
        ["sample", "-o", "out.png", "--model", "../bundles/good", "--count", "-1"],
        ["sample", "-o", "out.png", "--model", "../bundles/good", "--count", "1001"],
        ["sample", "-o", "out.png", "--model", "../bundles/good", "--count", "nan"],
        ["sample", "-o", "out.png", "--model", "../bundles/good", "--width", "15"],
        ["sample", "-o", "out.png", "--model", "../bundles/good", "--height", "20000"],
        ["sample", "-o", "existing.png", "--model", "../bundles/good"],
        ["sample", "-o", "out.txt", "--model", "../bundles/good"],
        ["reconstruct", "face.png"],
        ["reconstruct", "face.png", "-o", "existing.png", "--model", "../bundles/good"],
        ["models", "extra"],
        ["info"],
        ["info", "unknown"],
        ["info", "face.png"],
    ],
    ids=" ".join,
)
def test_bad_command(refused, argv):
    refused(argv)


@pytest.mark.parametrize("name", BUNDLES)
def test_bad_bundle(refused, name):
    refused(["info", f"../bundles/{name}"])


@pytest.mark.parametrize("name", ["flipped bit", "hash is a number", "prior over other codes", "NaN weights"])
def test_bad_bundle_to_paint_with(refused, name):
    refused(inpaint(model=name))


def test_a_bundle_without_a_prior_cannot_paint(refused, bundles, tmp_path):
    shutil.copytree(bundles / "good", tmp_path / "tokenizer")
    edit_config(lambda content: content["parts"].pop("prior"))(tmp_path / "tokenizer")
    refused(inpaint("--model", str(tmp_path / "tokenizer")))
    refused(["sample", "-o", "out.png", "--model", str(tmp_path / "tokenizer")])


def test_names_cannot_break_the_line_or_steer_the_terminal(refused, tmp_path):
    folder = tmp_path / "two\nlines \x1b[31m"
    folder.mkdir()
    assert "\x1b" not in refused(["info", str(folder)])


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")]
)
def test_a_disk_that_refuses(refused, monkeypatch, error):
    original = Path.open

    def no_access(self, *args, **kwargs):
        if self.name == "face.png":
            raise error
        return original(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", no_access)
        assert error.strerror in refused(inpaint())


@pytest.mark.parametrize(
    "argv",
    [inpaint(image="half.jpg"), inpaint("--steps", "10000"), inpaint(model="path out of the folder")],
    ids=["picture", "option", "bundle"],
)
def test_the_same_from_outside(unchanged, argv):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "sundae", *argv], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert_one_line(done.stderr)


# -- the library ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(bundles):
    return sundae.load(bundles / "good")


def closed_file() -> io.BytesIO:
    file = io.BytesIO(b"x")
    file.close()
    return file


def complain(call: Callable[[], object]) -> str:
    with pytest.raises(ValueError, match="expected") as raised:
        call()
    message = str(raised.value)
    assert len(message.splitlines()) == 1
    return message


def grey(height: int = 32, width: int = 32) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def hole(height: int = 32, width: int = 32) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    mask[4:20, 5:15] = True
    return mask


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 0},
        {"steps": 10_000},
        {"steps": 2.0},
        {"steps": True},
        {"steps": "3"},
        {"steps": float("nan")},
        *({name: value} for name in ("temperature_start", "strength", "proportion_end")
          for value in (0, -1, float("nan"), float("inf"), 1e9, "1", None)),
    ],
    ids=str,
)  # fmt: skip
def test_bad_sampler_settings(settings):
    complain(lambda: sundae.SamplerConfig(**settings))


@pytest.mark.parametrize(
    "seeds",
    [[], [-1], [2**63], [1.0], ["7"], [None], [True], [1, -1], -1, 2**63, 1.0, None, True, "7", {}, [[1]],
     np.array([1.5]), np.array(1.5), np.array([[1, 2]]), np.uint64(2**63), torch.tensor(1.5), [np.True_]],
    ids=str,
)  # fmt: skip
def test_bad_seeds(model, seeds):
    prepared = sundae.Inpainter(model).prepare(grey(), hole())
    complain(lambda: prepared.run(seeds=seeds))


@pytest.mark.parametrize(
    "image",
    [
        None,
        5,
        b"",
        b"text",
        io.BytesIO(),
        io.StringIO("text"),
        [[0, 0], [0, 0]],
        grey().astype(np.float32),
        grey()[..., :2],
        grey(8, 8),
        np.zeros((0, 0, 3), np.uint8),
        np.zeros((16, 8193), np.uint8),
        Image.new("F", (32, 32)),
        "absent.png",
    ],
    ids=lambda image: type(image).__name__,
)
def test_bad_picture_for_the_library(model, image):
    complain(lambda: load_picture(image))
    complain(lambda: sundae.Inpainter(model).prepare(image, hole()))
    complain(lambda: sundae.reconstruct(model, image))


@pytest.mark.parametrize(
    "mask",
    [
        None,
        b"",
        closed_file(),
        io.StringIO("text"),
        io.TextIOWrapper(io.BytesIO(b"\xff")),
        "absent.png",
        np.zeros((32, 32), bool),
        np.ones((32, 31), bool),
        np.ones((16, 16), bool),
        np.ones((32, 32), np.float32),
        np.ones((32, 32), np.uint8),
        np.ones((1, 32, 32), bool),
        np.full((32, 32), np.nan),
    ],
    ids=lambda mask: str(
        getattr(mask, "dtype", type(mask).__name__)
    ),  # no addresses: two processes must agree
)
def test_bad_mask_for_the_library(model, mask):
    complain(lambda: load_mask(mask, (32, 32)))
    complain(lambda: sundae.Inpainter(model).prepare(grey(), mask))


@pytest.mark.parametrize(
    "options",
    [{"grow": "3"}, {"grow": None}, {"grow": True}, {"feather": None}, {"feather": "3"},
     {"grow": 513}, {"grow": -513}, {"grow": 1.5}, {"grow": -50}, {"grow": float("nan")}, {"feather": -1},
     {"feather": 0.5}, {"feather": float("inf")}, {"mask_rule": "some"}, {"mask_rule": None}],
    ids=str,
)  # fmt: skip
def test_bad_preparation(model, options):
    complain(lambda: sundae.Inpainter(model).prepare(grey(), hole(), **options))


def test_one_seed_needs_no_list_and_numpys_numbers_are_numbers(model):
    prepared = sundae.Inpainter(model).prepare(grey(), hole(), grow=np.int64(1), feather=np.uint8(2))
    expected = [frame.step.tokens for frame in prepared.run(sundae.SamplerConfig(steps=2), [3])]
    for seeds in (
        3,
        np.int64(3),
        np.array(3),
        np.array([3]),
        torch.tensor(3),
        (3,),
        range(3, 4),
        {3},
        iter([3]),
    ):
        config = sundae.SamplerConfig(
            steps=np.int32(2), strength=np.float32(1), temperature_start=np.float64(0.8)
        )
        frames = list(prepared.run(config, seeds, every=np.int64(1)))
        assert all(
            torch.equal(frame.step.tokens, tokens) for frame, tokens in zip(frames, expected, strict=True)
        )
        assert json.loads(json.dumps(prepared.settings(config, 3))) == prepared.settings(config, 3)
    assert next(iter(sundae.generate(model, 3, width=np.int64(40), height=24))).image().size == (40, 24)


@pytest.mark.parametrize("i", [2, 5, -1, -3, "0", 0.0, None, True])
def test_a_sample_that_is_not_there(model, i):
    frame = next(iter(sundae.Inpainter(model).prepare(grey(), hole()).run(seeds=[1, 2])))
    assert complain(lambda: frame.image(i)) == f"expected a sample from 0 to 1, got {i!r}"
    assert frame.image(np.int64(1)).size == (32, 32)


@pytest.mark.parametrize("config", [{}, {"steps": 2}, 2, "fast", sundae.SamplerConfig], ids=str)
def test_what_is_no_config(model, config):
    complain(lambda: sundae.Inpainter(model).prepare(grey(), hole()).run(config))


@pytest.mark.parametrize(
    "start", [[1], "tokens", np.zeros((1, 4, 4, 2), np.int64), torch.zeros(1, 4, 4, 2)], ids=type
)
def test_what_is_no_start(model, start):
    complain(lambda: sundae.Inpainter(model).prepare(grey(), hole()).run(start=start))


@pytest.mark.parametrize("thing", [None, "good", 5, sundae.Model], ids=str)
def test_what_is_no_model(thing, tmp_path):
    complain(lambda: sundae.Inpainter(thing))
    complain(lambda: sundae.generate(thing))
    complain(lambda: sundae.reconstruct(thing, grey()))
    complain(lambda: sundae.save_pretrained(thing, tmp_path / "new"))


@pytest.mark.parametrize(
    "name", [None, 5, b"good", "", " ", "null\0", "x" * 5000, "ILLUSTRATED-1024", [], "a/b/c"]
)
def test_what_is_no_name_of_a_model(name):
    assert len(complain(lambda: sundae.load(name))) < 400


@pytest.mark.parametrize("name", [None, 0, -1, 1.5, "", "CPU", "cuda:99"], ids=str)
def test_what_is_no_device(bundles, name):
    assert complain(lambda: sundae.load(bundles / "good", device=name)).startswith(
        "expected a device of this machine ("
    )


@pytest.mark.parametrize("side", [8.0, 64.0, "64", None, -5, True], ids=str)
def test_what_is_no_size(model, side):
    complain(lambda: sundae.generate(model, width=side))
    complain(lambda: sundae.generate(model, height=side))


@pytest.mark.parametrize("every", [0, -1, 1.5, "1", None, True])
def test_bad_interval_of_frames(model, every):
    prepared = sundae.Inpainter(model).prepare(grey(), hole())
    complain(lambda: prepared.run(every=every))


@pytest.mark.parametrize("size", [(8, 32), (32, 20_000)], ids=str)
def test_bad_size_of_a_sample(model, size):
    complain(lambda: next(iter(sundae.generate(model, width=size[0], height=size[1]))))


@pytest.mark.parametrize("name", BUNDLES)
def test_bad_bundle_for_the_library(bundles, name):
    complain(lambda: sundae.load(bundles / name))


@pytest.mark.parametrize(
    "name", ["existing.png", "folder.png", "no/out.png", "out.txt", "nothing.png", "loop.png"]
)
def test_bad_target_of_a_picture(unchanged, name):
    picture = load_picture("face.png")
    complain(lambda: save_picture(picture.image, name, picture))
