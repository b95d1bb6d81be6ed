"""LPIPS with VGG-16 (Zhang et al. 2018), version 0.1 with its "lin" heads: how unlike two pictures look.

The weights are two files of other people: VGG-16 trained on ImageNet, in torchvision's layout, and five small
heads, in the layout of the ``lpips`` package. Nothing here downloads: both are looked for where other programs
leave them. Without them a run falls back on discriminator features, and :func:`describe` says which it uses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import try_to_load_from_cache
from safetensors.torch import load_file
from torch import Tensor, nn

CHANNELS, CONVOLUTIONS = (64, 128, 256, 512, 512), (2, 2, 3, 3, 3)  # of the five slices
TAPS = (3, 8, 15, 22, 29)  # relu1_2, relu2_2, relu3_3, relu4_3, relu5_3 in torchvision's numbering
SMALLEST = 16  # px; four poolings leave one
EPSILON = 1e-10

HEADS, BACKBONE = "the five LPIPS heads", "the VGG-16 convolutions"
HUB_FILES = {  # Hugging Face Hub: repositories and files known to hold them
    HEADS: (
        ("chaofengc/IQA-PyTorch-Weights", "LPIPS_v0.1_vgg-a78928a0.pth"),
        ("dreMaz/vgg_lpip", "vgg.pth"),
    ),
    BACKBONE: (
        ("timm/vgg16.tv_in1k", "model.safetensors"),
        ("ByteDance/LatentSync-1.6", "auxiliary/vgg16-397923af.pth"),
    ),
}
TORCH_FILES = {HEADS: "vgg.pth", BACKBONE: "vgg16-397923af.pth"}  # torch's hub cache
# of the file released as version 0.1; that of 0.0 has the same keys but is for a network without shift and scale
RELEASED_HEADS = "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868"


def backbone_shapes() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of VGG-16's convolutions (Simonyan & Zisserman 2015), numbered as in torchvision."""
    shapes, number, inputs = {}, 0, 3
    for channels, count in zip(CHANNELS, CONVOLUTIONS):
        for _ in range(count):
            shapes[f"features.{number}.weight"] = (channels, inputs, 3, 3)
            shapes[f"features.{number}.bias"] = (channels,)
            number, inputs = number + 2, channels  # a rectifier follows each
        number += 1  # a pooling follows each slice
    return shapes


SHAPES = {
    HEADS: {f"lin{number}.model.1.weight": (1, channels, 1, 1) for number, channels in enumerate(CHANNELS)},
    BACKBONE: backbone_shapes(),
}


class LPIPS(nn.Module):
    """Distance of deep features: 0 for equal pictures, the more the less alike they look. Frozen.

    Its state has the keys of both files, ``features.0.weight`` ... and ``lin0.model.1.weight`` ...

    Args:
        weights: tensors of these keys and shapes, others may be among them; taken as float32.
        source: where they come from, for :func:`describe`.

    Raises:
        ValueError: for a tensor that is missing or of another shape.
    """

    def __init__(self, weights: Mapping[str, Tensor], source: str):
        super().__init__()
        with torch.device("meta"):  # no time or random numbers spent on weights that are replaced
            self.features = vgg_slices()
            for number, channels in enumerate(CHANNELS):
                # the dropout of training the heads, which numbers their keys, does nothing here
                head = nn.Sequential(nn.Identity(), nn.Conv2d(channels, 1, 1, bias=False))
                self.add_module(f"lin{number}", nn.ModuleDict({"model": head}))
        shapes = SHAPES[HEADS] | SHAPES[BACKBONE]
        self.load_state_dict(require(weights, shapes, source), assign=True)
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(3, 1, 1), persistent=False)
        self.source = source
        self.requires_grad_(False).eval()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Distances of pairs: mean over pixels of weighted squared differences, summed over taps.

        Eq. 1 of the paper, with heads that hold the squares of its weights.

        Args:
            a: float32 ``(B, 3, H, W)`` in [-1, 1], sides of 16 or more; gradients flow to both.
            b: the same shape.

        Returns:
            ``(B,)``, at least 0 with the released heads.

        Raises:
            ValueError: for other shapes.
        """
        if a.shape != b.shape or a.ndim != 4 or a.shape[1] != 3 or min(a.shape[2:]) < SMALLEST:
            raise ValueError(
                f"expected two batches (B, 3, H, W) of one shape, sides of at least {SMALLEST}, got {tuple(a.shape)} and {tuple(b.shape)}"
            )
        a, b = (a - self.shift) / self.scale, (b - self.shift) / self.scale
        distance, heads = a.new_zeros(len(a)), iter(self.heads())
        for number, layer in enumerate(self.features):
            a, b = layer(a), layer(b)
            if number in TAPS:
                difference = (unit(a) - unit(b)).square()
                distance = distance + next(heads)(difference).mean((1, 2, 3))
        return distance

    def heads(self) -> list[nn.Module]:
        return [self.get_submodule(f"lin{number}.model") for number in range(len(CHANNELS))]


def vgg_slices() -> nn.Sequential:
    """The layers of VGG-16 up to relu5_3, numbered as in :func:`backbone_shapes`."""
    layers, inputs = [], 3
    for channels, count in zip(CHANNELS, CONVOLUTIONS):
        if layers:
            layers.append(nn.MaxPool2d(2))
        for _ in range(count):
            layers += [nn.Conv2d(inputs, channels, 3, padding=1), nn.ReLU(inplace=True)]
            inputs = channels
    return nn.Sequential(*layers)


def unit(features: Tensor) -> Tensor:
    """Features ``(B, C, H, W)`` divided by their length at each pixel.

    The released code adds its 1e-10 to the length, where the slope of the root is infinite at 0; under the
    root it changes no visible digit of a distance and keeps gradients finite.
    """
    return features * (features.square().sum(1, keepdim=True) + EPSILON).rsqrt()


# -- finding the weights -------------------------------------------------------------------------------------


def find_lpips(path: str = "") -> LPIPS | None:
    """LPIPS from weights on this machine; never downloads.

    Args:
        path: a file with the heads, the VGG-16 or both, or a folder with files of the usual names; what is
            not there comes from the caches. Empty: from the caches of torch.hub and of the Hugging Face Hub.

    Returns:
        The loss on the CPU, or None if ``path`` is empty and a part is in no cache.

    Raises:
        ValueError: for a path that is missing or holds nothing of use, for a part that neither it nor a cache
            holds, and for a file that is damaged or holds other weights: a run is not to change its loss
            silently because a file is broken.
    """
    parts: dict[str, Part] = {}
    for file in given_files(path):
        parts = load_parts(file, SHAPES) | parts
    for kind in [kind for kind in SHAPES if kind not in parts]:  # heads first: they are read in no time
        if (file := next(cached_files(kind), None)) is not None:
            parts |= load_parts(file, [kind])
        elif path:
            raise ValueError(f"expected {kind} in {path} or in a cache, found none")
        else:
            return None
    heads, backbone = parts[HEADS], parts[BACKBONE]
    source = str(heads.file) if heads.file == backbone.file else f"{heads.file} and {backbone.file}"
    if hashlib.sha256(heads.file.read_bytes()).hexdigest() != RELEASED_HEADS:
        source += " (not the heads file released as version 0.1)"
    return LPIPS(heads.weights | backbone.weights, source)


@dataclass(frozen=True)
class Part:
    """The heads or the convolutions: tensors in the keys of :data:`SHAPES`, and the file they were in."""

    weights: dict[str, Tensor]
    file: Path


def given_files(path: str) -> list[Path]:
    """The file a user names, or the first file of a usual name for each part in the folder; ValueError if none."""
    if not path:
        return []
    place = Path(path).expanduser()
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise ValueError(f"expected a file or folder of LPIPS weights at {path}, found none")
    names = {kind: (TORCH_FILES[kind], *(Path(name).name for _, name in HUB_FILES[kind])) for kind in SHAPES}
    found = [next((place / n for n in names[kind] if (place / n).is_file()), None) for kind in SHAPES]
    if not any(found):
        usual = ", ".join(dict.fromkeys(n for kind in SHAPES for n in names[kind]))
        raise ValueError(f"expected one of {usual} in the folder {path}, found none")
    return [file for file in found if file is not None]


def cached_files(kind: str) -> Iterator[Path]:
    """Files in the caches of this machine that should hold a part, the likeliest first."""
    file = Path(torch.hub.get_dir()) / "checkpoints" / TORCH_FILES[kind]
    if file.is_file():
        yield file
    for repository, name in HUB_FILES[kind]:
        found = try_to_load_from_cache(repository, name)
        if isinstance(found, str):  # another object says "known not to exist"
            yield Path(found)


def load_parts(file: Path, kinds: Iterable[str]) -> dict[str, Part]:
    """Those of ``kinds`` that a file holds.

    Raises:
        ValueError: if it holds none of them, or only some tensors of one, as a VGG of another depth does.
    """
    state = read(file)
    held = [kind for kind in kinds if SHAPES[kind].keys() & state.keys()]
    if not held:
        few = (", ".join(list(state)[:3]) or "no tensors") + ", ..." * (len(state) > 3)
        raise ValueError(f"expected {' or '.join(kinds)} in {file}, found {few}")
    return {kind: Part(require(state, SHAPES[kind], str(file)), file) for kind in held}


def read(file: Path) -> dict[str, Tensor]:
    """The named tensors of a safetensors file or of a torch file without code; ValueError if it is neither."""
    try:
        if file.suffix == ".safetensors":  # which only newer torch.load reads
            return load_file(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise about ten different kinds
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"expected a file of tensors at {file}, could not read it: {reason}") from error
    if not isinstance(state, dict):
        raise ValueError(f"expected named tensors in {file}, got {type(state).__name__}")
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def require(
    state: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], where: str
) -> dict[str, Tensor]:
    """Tensors of the given names and shapes as float32; ValueError naming the first that is not there."""
    for name, shape in shapes.items():
        found = tuple(state[name].shape) if name in state else "none"
        if found != shape:
            raise ValueError(f"expected {name} of shape {shape} in {where}, found {found}")
    return {name: state[name].float() for name in shapes}


def describe(lpips: LPIPS | None) -> str:
    """One line that says which perceptual loss a run uses, and from which files."""
    if lpips is None:
        return "perceptual loss: discriminator feature matching plus multi-scale gradients; no LPIPS weights"
    return f"perceptual loss: LPIPS-VGG from {lpips.source}"
