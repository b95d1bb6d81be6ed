"""What stands in the rows of a comparison: a prior at a number of steps, and the methods that it is measured against.

All fill holes in a picture; some make whole pictures too.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass

import cv2
import numpy as np

import sundae
from sundae.pipeline import Prepared, blank
from sundae.priors.absorbing import Absorbing
from sundae.priors.autoregressive import Autoregressive
from train.fills import opencv_fill, reconstruction, with_true_tokens


@dataclass(frozen=True)
class Drawn:
    """A finished picture, and what it took if a prior made it."""

    picture: np.ndarray  # uint8 (H, W, 3)
    seconds: float | None = None  # from a prepared picture to the finished one
    passes: int | None = None  # of the network
    step_seconds: float | None = None  # of one pass, tokens drawn but no pixels


class Contestant(ABC):
    """A row.

    Attributes:
        id: names it in records: exactly this method, these weights and these settings.
        title: what it is called in tables.
    """

    id: str
    title: str

    @abstractmethod
    def fill(self, truth: np.ndarray, hole: np.ndarray, seed: int) -> Drawn:
        """The picture uint8 ``(H, W, 3)`` with its hole bool ``(H, W)`` drawn anew."""

    def whole(self, truth: np.ndarray, seed: int) -> Drawn | None:
        """A whole picture; None from a method that only fills holes."""
        return None


class Original(Contestant):
    """The pictures as they are: what all others are compared with."""

    id = title = "original"

    def fill(self, truth: np.ndarray, hole: np.ndarray, seed: int) -> Drawn:
        return Drawn(truth)

    def whole(self, truth: np.ndarray, seed: int) -> Drawn:
        return Drawn(truth)


class OpenCV(Contestant):
    """cv2.inpaint."""

    def __init__(self, id: str, title: str, method: int):
        self.id, self.title, self.method = id, title, method

    def fill(self, truth: np.ndarray, hole: np.ndarray, seed: int) -> Drawn:
        return Drawn(opencv_fill(truth, hole, self.method))


class Reconstruction(Contestant):
    """The tokenizer alone: what a prior would give that knew the true tokens."""

    id, title = "reconstruction", "reconstruction alone (ceiling)"

    def __init__(self, model: sundae.Model):
        self.model = model

    def fill(self, truth: np.ndarray, hole: np.ndarray, seed: int) -> Drawn:
        return Drawn(with_true_tokens(sundae.Inpainter(self.model).prepare(truth, hole)))

    def whole(self, truth: np.ndarray, seed: int) -> Drawn:
        return Drawn(reconstruction(self.model, truth))


class Redraw(Contestant):
    """A prior at a number of steps, with the settings that suit it otherwise.

    Args:
        model: with a prior.
        name: what the model is called.
        steps: of the sampler; None for a prior that takes one for each cell.

    Raises:
        ValueError: for steps below 1, or more than a prior can take that writes each cell once.
    """

    def __init__(self, model: sundae.Model, name: str, steps: int | None):
        prior = model.prior
        assert prior is not None, "models without a prior are refused before"
        cells = (model.resolution // model.downsample_factor) ** 2
        config = prior.settings_for(cells)
        if isinstance(prior, Absorbing) and steps is not None and steps > cells:
            raise ValueError(f"expected steps of at most {cells}, the tokens of {name}, got {steps}")
        self.config = config if steps is None else dataclasses.replace(config, steps=steps)
        self.model, self.name, self.steps = model, name, cells if steps is None else steps
        settings = json.dumps(dataclasses.asdict(self.config), sort_keys=True)
        self.id = f"{model.hash}-{hashlib.sha256(settings.encode()).hexdigest()[:8]}"
        self.title = f"{name}, {self.steps:,} steps"

    def fill(self, truth: np.ndarray, hole: np.ndarray, seed: int) -> Drawn:
        return self.run(sundae.Inpainter(self.model).prepare(truth, hole), seed)

    def whole(self, truth: np.ndarray, seed: int) -> Drawn:
        return self.run(blank(self.model, truth.shape[1], truth.shape[0]), seed)

    def run(self, prepared: Prepared, seed: int) -> Drawn:
        began = time.perf_counter()
        _ = prepared.tokens  # encoded here, so that it does not count as sampling
        encoded = time.perf_counter()
        *_, frame = prepared.run(self.config, [seed], every=self.config.steps)
        sampled = time.perf_counter()
        picture = np.asarray(frame.image().convert("RGB"))
        finished = time.perf_counter()
        one_by_one = isinstance(self.model.prior, Autoregressive)
        passes = int(prepared.token_mask.sum()) if one_by_one else frame.index
        return Drawn(picture, finished - began, passes, (sampled - encoded) / passes)


def contestants(model: sundae.Model, name: str, steps: list[int]) -> list[Redraw]:
    """A model's rows: one for each number of steps, or a single one if its prior writes cell by cell."""
    if isinstance(model.prior, Autoregressive):
        return [Redraw(model, name, None)]
    return [Redraw(model, name, count) for count in steps]


def baselines(model: sundae.Model) -> list[Contestant]:
    """What needs no prior, with the tokenizer that all models share."""
    return [
        Reconstruction(model),
        OpenCV("telea", "OpenCV Telea", cv2.INPAINT_TELEA),
        OpenCV("navier_stokes", "OpenCV Navier–Stokes", cv2.INPAINT_NS),
    ]
