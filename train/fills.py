"""Ways to fill a hole, and what each of them makes of a picture: the model, its ceiling, and methods without learning."""

from __future__ import annotations

import time
from typing import cast

import cv2
import numpy as np
import torch
from skimage.metrics import structural_similarity

import sundae
from sundae import image as images
from sundae import masks
from sundae.pipeline import Prepared
from train import features

MASKS = ("mouth", "one_eye", "both_eyes", "hair", "half_face", "centre_square")
METHODS = {
    "sundae": "Sundae",
    "true_tokens": "true tokens (ceiling)",
    "prefill": "smooth fill alone",
    "telea": "OpenCV Telea",
    "navier_stokes": "OpenCV Navier–Stokes",
}
INPAINT_RADIUS = 5  # px, of the OpenCV methods


def fill(
    model: sundae.Model, truth: np.ndarray, hole: np.ndarray, config: sundae.SamplerConfig, seed: int
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """The hole filled by every method: name -> uint8 (H, W, 3); the model's ``steps`` and ``seconds``.

    Raises:
        AssertionError: if a pixel outside the hole changed.
    """
    began = time.perf_counter()
    prepared = sundae.Inpainter(model).prepare(truth, hole)
    *_, frame = prepared.run(config, seeds=[seed], every=config.steps)
    redrawn = np.asarray(frame.image().convert("RGB"))
    seconds = time.perf_counter() - began
    pictures = {
        "sundae": redrawn,
        "true_tokens": with_true_tokens(prepared),
        "prefill": smooth_fill(truth, hole),
        "telea": opencv_fill(truth, hole, cv2.INPAINT_TELEA),
        "navier_stokes": opencv_fill(truth, hole, cv2.INPAINT_NS),
    }
    for method, picture in pictures.items():
        assert np.array_equal(picture[~hole], truth[~hole]), f"{method} changed known pixels"
    return pictures, {"steps": frame.index, "seconds": seconds}


def with_true_tokens(prepared: Prepared) -> np.ndarray:
    """What a prior that always guessed the hidden tokens right would give: the tokenizer's ceiling."""
    tokens = torch.where(prepared.token_mask[..., None], prepared.visible_tokens, prepared.tokens)
    picture = prepared.picture.rgb.copy()
    picture[prepared.box.slices] = prepared.composite(tokens)[0]
    return picture


def smooth_fill(truth: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """The fill that the model starts from, alone."""
    filled = images.to_rgb(masks.prefill(images.to_tensor(truth), torch.from_numpy(hole)[None, None]))[0]
    return np.where(hole[..., None], filled, truth)


def opencv_fill(truth: np.ndarray, hole: np.ndarray, method: int) -> np.ndarray:
    """cv2.inpaint at full resolution (Telea 2004 or Bertalmio et al. 2001)."""
    return cv2.inpaint(truth, hole.astype(np.uint8) * 255, INPAINT_RADIUS, method)


def reconstruction(model: sundae.Model, truth: np.ndarray) -> np.ndarray:
    """The whole picture through the tokenizer and back: uint8 (H, W, 3)."""
    _, decoded = sundae.reconstruct(model, truth)
    return np.asarray(decoded.convert("RGB"))


def whole_picture(truth: np.ndarray, picture: np.ndarray) -> dict[str, float]:
    """PSNR and SSIM (scikit-image's defaults, 7 px window) of uint8 (H, W, 3) pictures."""
    everywhere = np.ones(truth.shape[:2], bool)
    similarity = cast(float, structural_similarity(truth, picture, channel_axis=2, data_range=255))
    return {
        "psnr": features.psnr(features.squared_error(truth, picture, everywhere)),
        "ssim": float(similarity),
    }
