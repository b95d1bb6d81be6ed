"""What turns pictures into features for the measures of sets: a random network, or one in a file.

The number is named after the network: R64-FD of the random one, "FD (name of the file)" of any other. Neither is
comparable with the other's, and only features of Inception give what is called FID.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from sundae.checkpoint import file_hash
from train.features import RandomFeatures, crop_around
from train.perceptual import BACKBONE, SHAPES, require, vgg_slices

PARTS = 4  # of a picture along each side, in the layout of the random network's features
VGG_SIDE = 224  # px, of the pictures that VGG-16 was trained on
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and deviation of its colours in [0, 1]


class Extractor(ABC):
    """Features of pictures.

    Attributes:
        title: what its Fréchet distance is called.
        hash: SHA-256 of its weights.
        dimensions: d.
        about: one clause on what it is and what it looks at.
        scale: its Fréchet distance is shown multiplied by this.
    """

    title: str
    hash: str
    dimensions: int
    about: str
    scale: ClassVar[int] = 1

    @abstractmethod
    def __call__(self, picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
        """Features float64 ``(d,)`` of a uint8 ``(H, W, 3)`` picture with a bool ``(H, W)`` hole; all True for a
        whole picture."""

    def layout(self, picture: np.ndarray) -> np.ndarray:
        """What copies of a picture are looked for by: float64 ``(n,)`` of a uint8 ``(H, W, 3)`` picture. Its features,
        unless the extractor knows where in the picture they are."""
        return self(picture, np.ones(picture.shape[:2], bool))

    def described(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "name": self.title,
            "sha256": self.hash,
            "dimensions": self.dimensions,
            "about": self.about,
            "scale": self.scale,
        }


class RandomExtractor(Extractor):
    """The fixed random network, which needs no file; it looks at the hole and what it touches alone."""

    title = "R64-FD"
    scale = 1000

    def __init__(self) -> None:
        self.net = RandomFeatures()
        self.hash, self.dimensions = self.net.hash, self.net.dimensions
        self.about = (
            f"random convolutional network, seed {self.net.seed}, receptive field {self.net.receptive_field} px, "
            "mean over the hole"
        )

    def __call__(self, picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
        crop = crop_around(hole).slices
        return self.net.embedding(self.net(picture[crop]), hole[crop])

    def layout(self, picture: np.ndarray) -> np.ndarray:
        """The 64 features in each of 4 x 4 parts of the picture: over all of it they tell colours from each other, but
        not faces."""
        return F.adaptive_avg_pool2d(self.net(picture)[-1], PARTS).flatten().double().numpy()


class NetworkExtractor(Extractor):
    """A network from a file, which looks at whole finished pictures.

    Args:
        path: ``*.safetensors`` with the convolutions of VGG-16 in torchvision's layout, of which the last
            activations are averaged (512 features); any other file must be TorchScript, uint8 ``(1, 3, H, W)`` RGB
            in, floats ``(1, d)`` out. **Running TorchScript is running the code in the file.**
        size: side in px of the pictures that will come.
        device: where it runs.

    Raises:
        ValueError: if the file is missing or is no such network, or if what it gives are no features.
    """

    def __init__(self, path: Path, size: int, device: torch.device):
        if not path.is_file():
            raise ValueError(f"expected a network in {path}, found no such file")
        self.device, self.hash, self.title = device, file_hash(path), f"FD ({path.stem})"
        if path.suffix == ".safetensors":
            self.net, self.extra = VGGFeatures(read_safetensors(path), str(path)).to(device), {}
            self.about = f"VGG-16, last convolution, mean over the picture at {VGG_SIDE} px"
        else:
            self.net, self.extra = load_script(path, device)
            self.about = f"TorchScript {path.name}, whole pictures"
        everywhere = np.ones((size, size), bool)
        self.dimensions = len(self(np.full((size, size, 3), 128, np.uint8), everywhere))

    @torch.inference_mode()
    def __call__(self, picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
        pixels = torch.tensor(picture).permute(2, 0, 1)[None].contiguous().to(self.device)
        try:
            found = self.net(pixels, **self.extra)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise ValueError(
                f"expected a network that takes uint8 {tuple(pixels.shape)}, it failed: {reason}"
            ) from None
        if (
            not (isinstance(found, Tensor) and found.is_floating_point() and found.ndim == 2)
            or len(found) != 1
        ):
            got = f"{found.dtype} {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(f"expected features as floats (1, d) of one picture, got {got}")
        return found[0].double().cpu().numpy()


class VGGFeatures(nn.Module):
    """uint8 ``(B, 3, H, W)`` to float32 ``(B, 512)``: VGG-16's last activations (Simonyan & Zisserman 2015), averaged
    over the picture."""

    def __init__(self, weights: dict[str, Tensor], source: str):
        super().__init__()
        self.features = vgg_slices()
        self.load_state_dict(require(weights, SHAPES[BACKBONE], source))
        self.requires_grad_(False).eval()

    def forward(self, pixels: Tensor) -> Tensor:
        small = F.interpolate(pixels.float() / 255, (VGG_SIDE, VGG_SIDE), mode="bilinear", antialias=True)
        mean, deviation = (torch.tensor(values, device=pixels.device).view(3, 1, 1) for values in IMAGENET)
        return self.features((small - mean) / deviation).mean((2, 3))


def read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"expected a safetensors file at {path}: {error}") from None


def load_script(path: Path, device: torch.device) -> tuple[torch.jit.ScriptModule, dict[str, bool]]:
    """The network of a TorchScript file, and the arguments that it needs: the Inception of the StyleGAN papers gives
    classes unless it is asked to ``return_features``.

    Raises:
        ValueError: if the file is no TorchScript.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # torch would have another format; people have this one
            net = torch.jit.load(str(path), map_location=device).eval()
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"expected a TorchScript or safetensors network in {path}: {reason}") from None
    asked = [argument.name for argument in net.forward.schema.arguments]
    return net, {"return_features": True} if "return_features" in asked else {}


def open_extractor(path: Path | None, size: int, device: torch.device) -> Extractor:
    """The network in a file, or the random one without. Raises ValueError as :class:`NetworkExtractor`."""
    return RandomExtractor() if path is None else NetworkExtractor(path, size, device)
