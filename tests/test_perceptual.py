"""train.perceptual: distances by hand and by NumPy, true gradients, and files found, refused or absent.

Files are written in the layouts of the published ones, with random weights: nothing is downloaded.
"""

import hashlib
import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from train import perceptual
from train.perceptual import LPIPS, describe, find_lpips

# torchvision's numbers of the convolutions of VGG-16, with channels in and out; a 0 stands for a pooling
PLAN = [(0, 3, 64), (2, 64, 64), 0, (5, 64, 128), (7, 128, 128), 0, (10, 128, 256), (12, 256, 256), (14, 256, 256)]  # fmt: skip
PLAN += [0, (17, 256, 512), (19, 512, 512), (21, 512, 512), 0, (24, 512, 512), (26, 512, 512), (28, 512, 512)]
LAST_OF_SLICE = [2, 7, 14, 21, 28]
WIDTHS = [64, 128, 256, 512, 512]
SHIFT, SCALE = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])


def convolutions() -> list[tuple[int, int, int]]:
    return [step for step in PLAN if step]


@cache
def random_backbone() -> dict[str, torch.Tensor]:
    draws, weights = torch.Generator().manual_seed(1), {}
    for number, inputs, outputs in convolutions():
        spread = (2 / (9 * inputs)) ** 0.5
        weights[f"features.{number}.weight"] = spread * torch.randn(outputs, inputs, 3, 3, generator=draws)
        weights[f"features.{number}.bias"] = 0.1 * torch.randn(outputs, generator=draws)
    return weights


@cache
def random_heads() -> dict[str, torch.Tensor]:
    draws = torch.Generator().manual_seed(2)
    return {
        f"lin{k}.model.1.weight": torch.rand(1, width, 1, 1, generator=draws)
        for k, width in enumerate(WIDTHS)
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """The published files' layouts: torchvision's with its classifier, timm's, and the heads."""
    folder, backbone = tmp_path_factory.mktemp("weights"), random_backbone()
    torch.save(backbone | {"classifier.0.weight": torch.zeros(4, 4)}, folder / "vgg16-397923af.pth")
    save_file(backbone | {"head.fc.weight": torch.zeros(4, 4)}, folder / "model.safetensors")
    torch.save(random_heads(), folder / "vgg.pth", _use_new_zipfile_serialization=False)  # as published
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def network(files) -> LPIPS:
    return find_lpips(str(files["vgg.pth"].parent))


@pytest.fixture(autouse=True)
def caches(monkeypatch, tmp_path) -> Path:
    """Empty caches, wherever the machine has its own."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def put_in_torch_cache(caches: Path, file: Path, name: str) -> Path:
    target = caches / "torch/hub/checkpoints" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    os.symlink(file, target)
    return target


def put_in_hub_cache(caches: Path, file: Path, repository: str, name: str) -> Path:
    folder = caches / "hub" / f"models--{repository.replace('/', '--')}"
    target = folder / "snapshots/abc" / name
    target.parent.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text("abc")
    os.symlink(file, target)
    return target


def pair(height: int, width: int, dtype=torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(3)
    a, b = (torch.rand(2, 3, height, width, generator=draws, dtype=dtype) * 2 - 1 for _ in range(2))
    return a, b


# -- distances -----------------------------------------------------------------------------------------------


def passing_weights() -> dict[str, torch.Tensor]:
    """Every convolution hands three channels on; heads weigh them 1, 10 and 1000 times the number of the tap."""
    weights = {}
    for number, inputs, outputs in convolutions():
        weights[f"features.{number}.weight"] = torch.zeros(outputs, inputs, 3, 3)
        weights[f"features.{number}.weight"][range(3), range(3), 1, 1] = 1
        weights[f"features.{number}.bias"] = torch.zeros(outputs)
    for k, width in enumerate(WIDTHS):
        weights[f"lin{k}.model.1.weight"] = torch.zeros(1, width, 1, 1)
        weights[f"lin{k}.model.1.weight"][0, :3, 0, 0] = (k + 1) * torch.tensor([1.0, 10.0, 1000.0])
    return weights


def test_distance_by_hand():
    """Plain pictures that become (.6, .8, 0) and (.4, .3, 0), so unit vectors .2 apart in two channels."""
    shift, scale = torch.tensor(SHIFT, dtype=torch.float32), torch.tensor(SCALE, dtype=torch.float32)
    a, b = (
        (shift + scale * torch.tensor(features)).view(1, 3, 1, 1).expand(1, 3, 16, 32)
        for features in ([0.6, 0.8, 0.0], [0.4, 0.3, 0.0])
    )
    distance = LPIPS(passing_weights(), "")(a, b)
    assert float(distance) == pytest.approx(0.04 * (1 + 10) * (1 + 2 + 3 + 4 + 5), rel=1e-4)


def numpy_features(image: np.ndarray, weights: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Rectified features ``(C, h, w)`` at the end of each slice."""
    x, taps = (image - SHIFT[:, None, None]) / SCALE[:, None, None], []
    for step in PLAN:
        if not step:
            height, width = (side // 2 for side in x.shape[1:])
            x = x[:, : 2 * height, : 2 * width].reshape(len(x), height, 2, width, 2).max((2, 4))
            continue
        number = step[0]
        windows = np.lib.stride_tricks.sliding_window_view(
            np.pad(x, ((0, 0), (1, 1), (1, 1))), (3, 3), (1, 2)
        )
        x = np.tensordot(weights[f"features.{number}.weight"], windows, ((1, 2, 3), (0, 3, 4)))
        x = np.maximum(x + weights[f"features.{number}.bias"][:, None, None], 0)
        if number in LAST_OF_SLICE:
            taps.append(x)
    return taps


@pytest.mark.parametrize(("height", "width"), [(16, 16), (21, 18)])
def test_distance_is_that_of_numpy(network, height, width):
    weights = {name: value.double().numpy() for name, value in (random_backbone() | random_heads()).items()}
    a, b = pair(height, width)
    for index, distance in enumerate(network(a, b)):
        expected = 0.0
        taps = [numpy_features(images[index].double().numpy(), weights) for images in (a, b)]
        for k, (first, second) in enumerate(zip(*taps)):
            first, second = (x / np.sqrt((x**2).sum(0, keepdims=True)) for x in (first, second))
            head = weights[f"lin{k}.model.1.weight"].reshape(-1, 1, 1)
            expected += (head * (first - second) ** 2).sum(0).mean()
        assert float(distance) == pytest.approx(expected, rel=1e-4)


def test_distance_is_zero_symmetric_and_of_each_pair(network):
    a, b = pair(32, 24)
    together = network(a, b)
    assert together.shape == (2,)
    assert (together > 0.1).all()
    assert torch.equal(network(a, a), torch.zeros(2))
    assert torch.allclose(together, network(b, a), rtol=1e-5)
    assert torch.allclose(together[1:], network(a[1:], b[1:]), rtol=1e-5)


def test_pictures_are_left_alone(network):
    a, b = pair(16, 16)
    before = a.clone(), b.clone()
    network(a, b)
    assert torch.equal(a, before[0]) and torch.equal(b, before[1])


def test_gradients_are_those_of_finite_differences(files):
    """Along two random directions for each picture: 768 values would take minutes."""
    network = find_lpips(str(files["vgg.pth"].parent)).double()
    a, b = (images[:1] for images in pair(16, 16, torch.float64))
    directions = torch.randn(2, 2, 3, 16, 16, generator=torch.Generator().manual_seed(4), dtype=torch.float64)

    def distance(first, second):
        along = (
            torch.einsum("i,ichw->chw", *terms) for terms in ((first, directions[0]), (second, directions[1]))
        )
        return network(*(images + change for images, change in zip((a, b), along)))

    start = (torch.zeros(2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(distance, tuple(start))


def test_gradients_are_finite_where_all_features_are_zero_or_tiny():
    weights = passing_weights()
    a = torch.full((1, 3, 16, 16), -0.5)  # darker than the shift: rectified to nothing
    a[..., :8] = torch.tensor(SHIFT, dtype=torch.float32).view(3, 1, 1) + 1e-7
    a.requires_grad_()
    distance = LPIPS(weights, "")(a, torch.ones(1, 3, 16, 16)).sum()
    distance.backward()
    assert torch.isfinite(distance) and torch.isfinite(a.grad).all()


def test_network_is_frozen_and_takes_no_random_numbers(network):
    assert not network.training
    assert len(list(network.parameters())) == 26 + 5
    assert not any(p.requires_grad for p in network.parameters())
    assert all(p.dtype == torch.float32 and p.device.type == "cpu" for p in network.parameters())
    state = torch.get_rng_state()
    LPIPS(random_backbone() | random_heads(), "")
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((1, 3, 16, 16), (1, 3, 16, 17)),
        ((3, 16, 16), (3, 16, 16)),
        ((1, 1, 16, 16),) * 2,
        ((1, 3, 15, 16),) * 2,
    ],
)
def test_other_shapes_are_refused(network, first, second):
    with pytest.raises(ValueError, match="expected two batches"):
        network(torch.zeros(first), torch.zeros(second))


# -- files ---------------------------------------------------------------------------------------------------


def same(first: LPIPS, second: LPIPS) -> bool:
    states = first.state_dict(), second.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(states[0][k], states[1][k]) for k in states[0]
    )


def test_nothing_cached_is_none():
    assert find_lpips() is None


def test_one_part_in_the_caches_is_none(caches, files):
    put_in_torch_cache(caches, files["vgg.pth"], "vgg.pth")
    assert find_lpips() is None


def test_torch_cache_is_found(caches, files, network):
    paths = [put_in_torch_cache(caches, files[name], name) for name in ("vgg.pth", "vgg16-397923af.pth")]
    found = find_lpips()
    assert same(found, network)
    assert all(str(path) in describe(found) for path in paths)


@pytest.mark.parametrize(
    ("repository", "name", "heads_repository", "heads_name"),
    [
        (
            "timm/vgg16.tv_in1k",
            "model.safetensors",
            "chaofengc/IQA-PyTorch-Weights",
            "LPIPS_v0.1_vgg-a78928a0.pth",
        ),
        ("ByteDance/LatentSync-1.6", "auxiliary/vgg16-397923af.pth", "dreMaz/vgg_lpip", "vgg.pth"),
    ],
)
def test_hub_cache_is_found(caches, files, network, repository, name, heads_repository, heads_name):
    backbone = put_in_hub_cache(caches, files[Path(name).name], repository, name)
    heads = put_in_hub_cache(caches, files["vgg.pth"], heads_repository, heads_name)
    found = find_lpips()
    assert same(found, network)
    assert f"LPIPS-VGG from {heads} and {backbone}" in describe(found)


def test_given_heads_take_the_backbone_from_a_cache(caches, files, network):
    with pytest.raises(ValueError, match=r"expected the VGG-16 convolutions in .*vgg\.pth or in a cache"):
        find_lpips(str(files["vgg.pth"]))
    put_in_torch_cache(caches, files["vgg16-397923af.pth"], "vgg16-397923af.pth")
    assert same(find_lpips(str(files["vgg.pth"])), network)


def test_a_given_file_comes_before_the_cache_and_may_hold_both_parts(caches, files, network, tmp_path):
    other = {name: value + 1 for name, value in random_heads().items()}
    torch.save(other, tmp_path / "other.pth")
    put_in_torch_cache(caches, tmp_path / "other.pth", "vgg.pth")
    both = {name: value.half() for name, value in (random_backbone() | random_heads()).items()}
    torch.save(both, tmp_path / "both.pth")
    found = find_lpips(str(tmp_path / "both.pth"))
    for name, value in network.state_dict().items():
        assert found.state_dict()[name].dtype == torch.float32  # torch.equal looks at values alone
        assert torch.equal(found.state_dict()[name], value.half().float())
    assert describe(found).count("both.pth") == 1


def test_missing_paths_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"expected a file or folder of LPIPS weights at .*none\.pth, found none"
    ):
        find_lpips(str(tmp_path / "none.pth"))
    with pytest.raises(ValueError, match=r"expected one of vgg\.pth, .* in the folder"):
        find_lpips(str(tmp_path))


def foreign_heads() -> dict[str, torch.Tensor]:
    """As of AlexNet: the same keys, other widths."""
    return {f"lin{k}.model.1.weight": torch.zeros(1, c, 1, 1) for k, c in enumerate((64, 192, 384, 256, 256))}


def deeper_backbone() -> dict[str, torch.Tensor]:
    """As of VGG-19, whose first seven convolutions have the same keys and shapes."""
    first = {name: value for name, value in random_backbone().items() if int(name.split(".")[1]) < 16}
    return first | {"features.16.weight": torch.zeros(256, 256, 3, 3)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "could not read it"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:a78928a0\n", "could not read it"),
        (Path("/"), "could not read it"),  # an object that only code could build
        ([1, 2], "expected named tensors in .*, got list"),
        ({}, "found no tensors"),
        ({"encoder.weight": torch.zeros(2)}, "found encoder.weight"),
        (
            foreign_heads,
            r"expected lin1.model.1.weight of shape \(1, 128, 1, 1\) in .*found \(1, 192, 1, 1\)",
        ),
        (deeper_backbone, r"expected features.17.weight of shape \(512, 256, 3, 3\) in .*found none"),
    ],
    ids=["empty", "pointer", "code", "list", "nothing", "other", "alexnet", "vgg19"],
)
@pytest.mark.parametrize("cached", [False, True])
def test_foreign_files_are_refused(caches, files, tmp_path, content, message, cached):
    bad, content = tmp_path / "bad.pth", content() if callable(content) else content
    bad.write_bytes(content) if isinstance(content, bytes) else torch.save(content, bad)
    vgg19 = isinstance(content, dict) and "features.0.weight" in content
    names = ("vgg16-397923af.pth", "vgg.pth") if vgg19 else ("vgg.pth", "vgg16-397923af.pth")
    put_in_torch_cache(caches, files[names[1]], names[1])
    if cached:
        put_in_torch_cache(caches, bad, names[0])
    with pytest.raises(ValueError, match=message) as error:
        find_lpips("" if cached else str(bad))
    assert names[0] in str(error.value) if cached else "bad.pth" in str(error.value)


@pytest.mark.parametrize("name", ["vgg.pth", "vgg16-397923af.pth", "model.safetensors"])
def test_truncated_files_are_refused(caches, files, tmp_path, name):
    whole = files[name].read_bytes()
    put_in_torch_cache(caches, files["vgg.pth"], "vgg.pth")
    put_in_torch_cache(caches, files["vgg16-397923af.pth"], "vgg16-397923af.pth")
    broken = tmp_path / f"broken{files[name].suffix}"
    broken.write_bytes(whole[: len(whole) * 9 // 10])
    with pytest.raises(
        ValueError, match=rf"expected a file of tensors at .*{broken.name}, could not read it"
    ):
        find_lpips(str(broken))


def test_a_missing_tensor_is_refused():
    weights = random_backbone() | random_heads()
    del weights["features.28.bias"]
    with pytest.raises(ValueError, match=r"expected features.28.bias of shape \(512,\) in here, found none"):
        LPIPS(weights, "here")


def test_a_run_says_which_loss_it_uses(caches, files, monkeypatch):
    assert "discriminator feature matching plus multi-scale gradients" in describe(None)
    folder = str(files["vgg.pth"].parent)
    line = describe(find_lpips(folder))
    assert line.endswith("vgg16-397923af.pth (not the heads file released as version 0.1)")
    digest = hashlib.sha256(files["vgg.pth"].read_bytes()).hexdigest()
    monkeypatch.setattr(perceptual, "RELEASED_HEADS", digest)
    line = describe(find_lpips(folder))
    assert line == f"perceptual loss: LPIPS-VGG from {folder}/vgg.pth and {folder}/vgg16-397923af.pth"
    assert "\n" not in line + describe(None)
