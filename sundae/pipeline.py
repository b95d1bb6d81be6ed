"""From a picture and a mask to frames: encode, mask, sample, decode, composite.

Read :meth:`Prepared.run` first; everything else on this page serves its five verbs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from sundae import image as images
from sundae import masks
from sundae.bundles import Model
from sundae.fit import model_size
from sundae.image import Picture
from sundae.priors.contract import Prior
from sundae.sampler import SamplerConfig, SampleStep, check_batch_size, check_seeds, whole
from sundae.version import __version__
from sundae.window import (
    Box,
    Window,
    canvas_window,
    hole_box,
    margin_scale,
    margin_window,
    working_window,
)

DEFAULT_FEATHER = 6  # px; the blend runs inside the hole
CORRECTION_SCALE = 4  # model px per px of the colour correction


class ThinMask(ValueError):
    """Under the rule "all" a mask leaves no token to rewrite."""


class UnseenMask(ValueError):
    """All that a mask covers is transparent, which it stays."""


@dataclass(frozen=True)
class Frame:
    """One state of a run; decoded and composited at the upload's resolution when somebody looks."""

    step: SampleStep
    prepared: Prepared

    @property
    def box(self) -> Box:
        """Tight box around the hole, in pixels of the upload."""
        return self.prepared.box

    @cached_property
    def patches(self) -> np.ndarray:
        """uint8 ``(B, box.height, box.width, 3)``: RGB inside the box as :meth:`image` shows it, grey in a grey
        picture; known pixels exact."""
        return self.prepared.composite(self.step.tokens)

    @property
    def index(self) -> int:
        return self.step.index

    @property
    def total(self) -> int:
        return self.step.total

    @property
    def last(self) -> bool:
        return self.step.last

    @property
    def converged(self) -> Tensor:
        return self.step.converged

    def image(self, i: int = 0) -> Image.Image:
        """Sample ``i`` as a whole picture, in the upload's own size and mode; known pixels keep their bytes.

        Raises:
            ValueError: unless ``i`` is from 0 to one below the number of seeds.
        """
        count, number = len(self.step.tokens), whole(i)
        if number is None or not 0 <= number < count:
            raise ValueError(f"expected a sample from 0 to {count - 1}, got {i!r}")
        hole = self.prepared.mask[self.box.slices]
        return images.replace_pixels(self.prepared.picture, self.box, self.patches[number], hole)


class Inpainter:
    """Redraws regions of pictures with one model; holds no state between pictures."""

    def __init__(self, model: Model):
        prior_of(model)
        self.model = model

    def prepare(
        self,
        image: Any,
        mask: Any,
        *,
        grow: int = 0,
        feather: int = DEFAULT_FEATHER,
        mask_rule: str = "any",
    ) -> Prepared:
        """Do once what every run of a picture and mask shares.

        Args:
            image: whatever :func:`sundae.image.load_picture` takes, or a :class:`Picture`.
            mask: whatever :func:`sundae.masks.load_mask` takes; white or True = repaint.
            grow: px by which the mask is widened; negative shrinks it.
            feather: px over which the new pixels fade in, inside the hole.
            mask_rule: "any": a token is rewritten when any of its f x f pixels is painted; "all": all of them.

        Raises:
            ValueError: if picture or mask are unusable, sizes differ, no token is left to rewrite, or all that is
                painted is transparent and stays so.
        """
        grow = check_pixels("grow", grow, -masks.MAX_RADIUS)
        feather = check_pixels("feather", feather, 0)
        picture = image if isinstance(image, Picture) else images.load_picture(image)
        hole = masks.load_mask(mask, picture.size)
        if grow:
            hole = masks.grow(hole, grow) if grow > 0 else masks.shrink(hole, -grow)
            if not hole.any():
                raise ValueError(
                    f"expected a mask with at least one pixel left when it is shrunk by {-grow} px, got a thinner one"
                )
        box = hole_box(hole)
        alpha = images.opacity(picture, box)
        if alpha is not None and not alpha[hole[box.slices]].any():
            raise UnseenMask(
                "expected a mask that covers something visible, got one over what is transparent and stays so"
            )
        return self.prepare_window(picture, hole, self.window(picture, hole), grow, feather, mask_rule)

    def window(self, picture: Picture, hole: np.ndarray) -> Window:
        """Which region of a picture the model works on for a hole, bool ``(H, W)``."""
        resolution, f = self.model.resolution, self.model.downsample_factor
        if picture.inner is None:
            return working_window(picture.size, hole, resolution, f)
        return margin_window(picture.size, hole, Box(*picture.inner), resolution, self.model.size, f)

    def prepare_window(
        self,
        picture: Picture,
        hole: np.ndarray,
        window: Window,
        grow: int = 0,
        feather: int = DEFAULT_FEATHER,
        mask_rule: str = "any",
    ) -> Prepared:
        """The same for a window that is known, around a hole, bool ``(H, W)``, that is grown; arguments as checked
        by :meth:`prepare`.

        Raises:
            ValueError: if no token is left to rewrite.
        """
        box = hole_box(hole)
        inside = hole[window.box.slices]
        target = (window.height, window.width)
        pixel_mask = resize_mask(inside, target)
        token_mask = masks.token_mask(pixel_mask, self.model.downsample_factor, mask_rule)
        if not bool(token_mask.any()):
            raise ThinMask(
                "expected a mask that covers at least one whole token under the rule 'all', got a thinner one"
            )
        known = known_surroundings(picture.rgb[window.box.slices], inside, target)
        alpha = masks.feather(hole, feather) if feather else hole.astype(np.float32)
        return Prepared(
            self.model,
            picture,
            hole,
            box,
            window,
            pixel_mask,
            token_mask,
            known,
            alpha[box.slices],
            grow,
            feather,
            mask_rule,
        )


@dataclass(frozen=True, eq=False)
class Prepared:
    """A picture with a hole, ready to be redrawn any number of times."""

    model: Model
    picture: Picture
    mask: np.ndarray  # bool (H, W) of the upload, after growing
    box: Box  # tight box around the mask, px of the upload
    window: Window  # what the model works on
    pixel_mask: Tensor  # bool (1, 1, window.height, window.width)
    token_mask: Tensor  # bool (1, h, w)
    known: Tensor  # float32 (1, 3, window.height, window.width) in [-1, 1], the hole filled from around it
    alpha: np.ndarray  # float32 (box.height, box.width): weight of the new pixels
    grow: int  # this and the rest: as given to Inpainter.prepare
    feather: int
    mask_rule: str

    def settings(self, config: SamplerConfig, seed: int) -> dict[str, Any]:
        """What is needed to make a result again from the same picture and mask, as plain JSON: stored in the
        PNGs that are saved. ``from_nothing`` is there if nothing of the picture was kept or varied."""
        model = {"model": self.model.name, "hash": self.model.hash, "version": __version__}
        edges = {"grow": self.grow, "feather": self.feather, "mask_rule": self.mask_rule}
        drawn = {"from_nothing": True} if config.strength == 1 and self.everything else {}
        return {**model, "seed": seed, **asdict(config), **edges, **drawn}

    @property
    def everything(self) -> bool:
        """Whether the whole picture is hidden."""
        return bool(self.mask.all())

    @property
    def defaults(self) -> SamplerConfig:
        """Settings that suit the model's prior and this grid."""
        return prior_of(self.model).settings_for(self.token_mask[0].numel())

    def run(
        self,
        config: SamplerConfig | None = None,
        seeds: int | Sequence[int] = (0,),
        every: int = 1,
        start: Tensor | None = None,
        batch_size: int = 1,
        uncertainty: bool = False,
        labels: int | Sequence[int] | None = None,
    ) -> Iterator[Frame]:
        """Yield the noised start, then a frame for every ``every``-th step and always for the last.

        Stopping is just ceasing to iterate: nothing runs between two frames. Same seed, same frames, whatever
        the other seeds are.

        Args:
            config: the sampler's settings; by default those of :attr:`defaults`.
            seeds: one per candidate; a single number for a single one.
            every: steps between frames, at least 1.
            start: int64 ``(1 or B, h, w, q)`` tokens to vary when ``config.strength`` is below 1: those of an
                earlier step. Without them the variation is of what the picture shows under the mask.
            batch_size: candidates, or windows of a canvas, that pass through the prior together. More is faster on
                a GPU, where sums may round differently.
            uncertainty: have ``frame.step.uncertainty`` tell how unsure the prior was of each cell; see
                :meth:`sundae.priors.contract.Prior.sample`. The frames are the same.
            labels: classes from 0 on, for a prior with classes: one per seed, or a single one for all. By default
                none is asked for.

        Raises:
            ValueError: for bad seeds or labels, ``every`` or ``batch_size`` below 1 or a ``start`` of another grid,
                before any work.
        """
        config = self.defaults if config is None else config
        if not isinstance(config, SamplerConfig):
            raise ValueError(f"expected a SamplerConfig, got {config!r}")
        seeds = check_seeds(seeds)
        interval = whole(every)
        if interval is None or interval < 1:
            raise ValueError(f"expected every to be a whole number of at least 1, got {every!r}")
        check_batch_size(batch_size)
        if start is not None:
            self._check_start(start, len(seeds))
        classes = None if labels is None else check_classes(prior_of(self.model), labels, len(seeds))
        return self._frames(config, seeds, interval, start, batch_size, uncertainty, classes)

    def _check_start(self, start: Tensor, samples: int) -> None:
        if not isinstance(start, Tensor):
            raise ValueError(f"expected start as a tensor of tokens, got {type(start).__name__}")
        self.model.tokenizer.check_tokens(start)
        if start.shape[1:3] != self.token_mask.shape[1:] or len(start) not in (1, samples):
            grid = tuple(self.token_mask.shape[1:])
            raise ValueError(
                f"expected start on the grid {grid}, one or one per seed, got {tuple(start.shape)}"
            )

    def _frames(
        self,
        config: SamplerConfig,
        seeds: list[int],
        every: int,
        start: Tensor | None,
        batch_size: int,
        uncertainty: bool,
        labels: list[int] | None,
    ) -> Iterator[Frame]:
        tokens = self.tokens if start is None else torch.where(self.token_mask[..., None], start, self.tokens)
        if start is None and config.strength < 1:
            tokens = torch.where(self.token_mask[..., None], self.visible_tokens, tokens)
        given = (tokens, self.token_mask, config, seeds, batch_size, labels)
        for step in prior_of(self.model).sample(*given, uncertainty=uncertainty):
            if step.last or step.index % every == 0:
                yield Frame(step, self)

    @cached_property
    def tokens(self) -> Tensor:
        """int64 ``(1, h, w, q)``: the picture with its hole filled, encoded; nothing under the mask is seen."""
        return self.model.tokenizer.encode(self.known.to(self.model.device))

    @cached_property
    def visible_tokens(self) -> Tensor:
        """int64 ``(1, h, w, q)``: the picture as it is, hole included; only variations look at it."""
        visible = images.resize_rgb(
            self.picture.rgb[self.window.box.slices], (self.window.width, self.window.height)
        )
        return self.model.tokenizer.encode(images.to_tensor(visible).to(self.model.device))

    @cached_property
    def cells(self) -> tuple[int, int, int, int]:
        """Rows and columns ``(top, left, bottom, right)`` of the token grid around the hole, one cell more on
        each side so that colours can be compared with what is known there. Under the rule "all" this is more
        than the rewritten tokens: every painted pixel is drawn anew."""
        touched = masks.token_mask(self.pixel_mask, self.model.downsample_factor)[0]
        rows, columns = touched.any(1).nonzero()[:, 0], touched.any(0).nonzero()[:, 0]
        h, w = touched.shape
        top, left = max(0, int(rows[0]) - 1), max(0, int(columns[0]) - 1)
        return top, left, min(h, int(rows[-1]) + 2), min(w, int(columns[-1]) + 2)

    def composite(self, tokens: Tensor) -> np.ndarray:
        """Decode the window around the hole and blend it in: uint8 ``(B, box.height, box.width, 3)``.

        One sample at a time, so that its pixels do not depend on its neighbours in the batch.
        """
        return np.stack([self._composite_one(tokens[b : b + 1]) for b in range(len(tokens))])

    def _composite_one(self, tokens: Tensor) -> np.ndarray:
        f = self.model.downsample_factor
        top, left, bottom, right = self.cells
        area = (slice(None), slice(None), slice(top * f, bottom * f), slice(left * f, right * f))
        decoded = self.model.tokenizer.decode_window(tokens, top, left, bottom, right).cpu()
        most = self.model.tokenizer.most_correction
        decoded = decoded + colour_correction(self.known[area], decoded, self.pixel_mask[area], most)
        new = self._to_upload(images.to_rgb(decoded)[0], top * f, left * f)
        if self.feather:
            # Faded in from the hole as it was filled, the edge would show: where dark hair reaches into the hole the fill
            # is a pale blur, and a ring of it would stay around what was drawn. It begins with what was drawn, made to
            # meet the known pixels one by one.
            alpha = self.alpha[..., None]
            rest = carried_in(self.known[area] - decoded, self.pixel_mask[area], 1)
            edge = self._to_upload(images.to_rgb(decoded + rest)[0], top * f, left * f)
            new = np.rint(alpha * new + (1 - alpha) * edge).astype(np.uint8)
        return images.in_own_colours(self.picture, self.box, new, self.mask[self.box.slices])

    def _to_upload(self, rgb: np.ndarray, top: int, left: int) -> np.ndarray:
        """The part of model pixels ``rgb`` (whose corner is at ``top, left`` of the window) that shows the hole's
        box, at the upload's resolution."""
        across = self.window.width / self.window.box.width
        down = self.window.height / self.window.box.height
        corners = (
            (self.box.left - self.window.box.left) * across - left,
            (self.box.top - self.window.box.top) * down - top,
            (self.box.right - self.window.box.left) * across - left,
            (self.box.bottom - self.window.box.top) * down - top,
        )
        if across == down == 1:
            x0, y0, x1, y1 = (int(c) for c in corners)
            return rgb[y0:y1, x0:x1]
        corners = np.clip(corners, 0, (rgb.shape[1], rgb.shape[0]) * 2)
        size = (self.box.width, self.box.height)
        return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC, box=tuple(corners)))


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> Tensor:
    """bool ``(H, W)`` to bool ``(1, 1, height, width)``; a pixel is hidden if any that it covers is."""
    pixels = torch.from_numpy(mask.astype(np.float32))[None, None]
    return (pixels if mask.shape == size else F.adaptive_max_pool2d(pixels, size)) > 0


def known_surroundings(rgb: np.ndarray, hole: np.ndarray, size: tuple[int, int]) -> Tensor:
    """The picture with its hole filled from around it, at the model's resolution: float32 ``(1, 3, height, width)``.

    Filled before it is resized, because a resampling filter would carry hidden pixels across the hole's edge.
    A picture far larger than needed is first reduced by whole factors, known pixels alone being averaged.
    """
    factor = max(1, min(rgb.shape[0] // size[0], rgb.shape[1] // size[1]))
    if factor > 1:
        rgb, hole = masks.reduce_known(rgb, hole, factor)
    filled = masks.prefill(images.to_tensor(rgb), torch.from_numpy(hole)[None, None])
    if filled.shape[2:] == size:
        return filled
    resized = images.resize_rgb(images.to_rgb(filled)[0], (size[1], size[0]))
    return images.to_tensor(resized)


def colour_correction(known: Tensor, decoded: Tensor, hole: Tensor, most: float = math.inf) -> Tensor:
    """What to add to the decoded pixels so that they meet the known ones at the hole's edge.

    The tokenizer's error at known pixels is carried into the hole, at a quarter of the resolution, because only slow
    differences of colour are wanted: edges must stay the model's. Flat colours with hard edges need a limit: where dark
    hair was drawn beside light skin it is no error of the tokenizer, and would be carried in as a light smudge. In
    photographs, whose light changes slowly, a limit costs more than it brings (the hair of 57 faces: a distance to the
    truth of 190 and not 178 with one of 0.2).

    Args:
        known, decoded: float32 ``(1, 3, H, W)``.
        hole: bool ``(1, 1, H, W)``.
        most: larger errors count as this; of -1 to 1.

    Returns:
        float32 ``(1, 3, H, W)``; zero where nothing is known.
    """
    return carried_in(known - decoded, hole, CORRECTION_SCALE, most)


def carried_in(error: Tensor, hole: Tensor, scale: int, most: float = math.inf) -> Tensor:
    """An error float32 ``(1, 3, H, W)`` at known pixels, carried into the hole as a membrane would (Pérez et al. 2003)
    at 1/scale of the resolution, where it is ``most`` at most in any channel; zero where nothing is known."""
    s = math.gcd(scale, *error.shape[2:])  # cells may be 2 px wide and odd in number
    keep = (~hole).float()
    count = F.avg_pool2d(keep, s)
    mean = F.avg_pool2d(error * keep, s) / count.clamp(min=1e-6)
    mean = mean * (most / mean.abs().amax(1, keepdim=True).clamp(min=1e-6)).clamp(max=1)
    membrane = masks.prefill(mean, count == 0)
    return F.interpolate(membrane, scale_factor=s, mode="bilinear", align_corners=False)


def generate(
    model: Model,
    seeds: int | Sequence[int] = (0,),
    config: SamplerConfig | None = None,
    width: int = 0,
    height: int = 0,
    every: int = 1,
    batch_size: int = 1,
    labels: int | Sequence[int] | None = None,
) -> Iterator[Frame]:
    """Whole pictures from nothing, of ``width x height`` px (0: the model's own), as :func:`blank` says.

    Raises:
        ValueError: as :func:`blank` and :meth:`Prepared.run`.
    """
    return blank(model, width, height).run(config, seeds, every, batch_size=batch_size, labels=labels)


def blank(model: Model, width: int = 0, height: int = 0) -> Prepared:
    """A grey picture of ``width x height`` px (0: the model's own) that is hidden everywhere.

    Larger than the model's own it is a canvas, drawn at full resolution through windows; with a side shorter than the
    model's, as if that side were the model's, and resized. Nearly square and at most 1.5 times the model's, or
    narrower than 0.75 times, it is drawn at about the model's size and resized.

    Raises:
        ValueError: for sides out of range, or as :meth:`Inpainter.prepare`.
    """
    inpainter = Inpainter(model)
    sides = [model.resolution if side == 0 else whole(side) for side in (height, width)]
    size = [side for side in sides if side is not None and images.MIN_SIDE <= side <= images.MAX_SIDE]
    if len(size) < 2:
        raise ValueError(
            f"expected width and height in whole px from {images.MIN_SIDE} to {images.MAX_SIDE}, or 0 for the model's, "
            f"got {width!r} and {height!r}"
        )
    grey, hole = np.full((*size, 3), 128, np.uint8), np.ones(size, bool)
    shorter, longer, own = *sorted(size), model.resolution
    if shorter < 0.75 * own or (longer <= 1.1 * shorter and longer <= 1.5 * own):
        return inpainter.prepare(grey, hole, feather=0)
    picture = images.load_picture(grey)
    scale = max(1.0, *(least / side for least, side in zip(model.size, picture.size, strict=True)))
    window = canvas_window(picture.size, hole, model.size, model.downsample_factor, scale)
    return inpainter.prepare_window(picture, hole, window, feather=0)


def extend(
    model: Model,
    image: Any,
    *,
    left: int = 0,
    right: int = 0,
    top: int = 0,
    bottom: int = 0,
    feather: int = DEFAULT_FEATHER,
) -> Prepared:
    """A picture with so many px more on each side, which are to be drawn: outpainting, window by window.

    A picture whose shorter side is about the model's (up to 10 % more or less) is gone on with at its own scale,
    pixel for pixel. The margins of a larger or smaller one are drawn as if that side were the model's, and
    resized: soft beside a large upload, and for faces of the right size. The upload's pixels keep their bytes.

    Args:
        model: what draws.
        image: whatever :func:`sundae.image.load_picture` takes, or a :class:`Picture`.
        left, right, top, bottom: px from 0; at least one is more.
        feather: px over which the new pixels fade in from the upload's edge.

    Returns:
        Ready to run; its picture is the upload with its margins, its hole the margins.

    Raises:
        ValueError: if nothing is added, a number is wrong, a side grows beyond 8192 px, or the picture is unusable.
    """
    inpainter, feather = Inpainter(model), check_pixels("feather", feather, 0)
    margins = {"left": left, "right": right, "top": top, "bottom": bottom}
    sizes = [check_pixels(name, value, 0, images.MAX_SIDE) for name, value in margins.items()]
    if not any(sizes):
        raise ValueError("expected at least one px more on one side, got none")
    before = image if isinstance(image, Picture) else images.load_picture(image)
    picture = images.extend_picture(before, *sizes)
    hole = np.ones(picture.size[::-1], bool)
    hole[sizes[2] : sizes[2] + before.size[1], sizes[0] : sizes[0] + before.size[0]] = False
    scale = margin_scale(before.size, model.resolution)
    window = canvas_window(picture.size, hole, model.size, model.downsample_factor, scale)
    return inpainter.prepare_window(picture, hole, window, feather=feather)


def reconstruct(model: Model, image: Any) -> tuple[Picture, Image.Image]:
    """A picture through the tokenizer and back: what the model can see of it, at the upload's size and mode.

    Returns:
        The loaded picture and its reconstruction.

    Raises:
        ValueError: as :func:`sundae.image.load_picture`.
    """
    check_model(model)
    picture = image if isinstance(image, Picture) else images.load_picture(image)
    width, height = picture.size
    decoded = images.to_rgb(model.tokenizer.decode(model_tokens(model, picture)))[0]
    everywhere, everything = Box(0, 0, width, height), np.ones((height, width), bool)
    result = images.resize_rgb(decoded, picture.size)
    return picture, images.replace_pixels(picture, everywhere, result, everything)


def model_tokens(model: Model, picture: Picture) -> Tensor:
    """A whole picture as the model sees it, its longer side the model's: int64 ``(1, h, w, q)``."""
    seen = images.resize_rgb(picture.rgb, model_size(model, picture.size))
    return model.tokenizer.encode(images.to_tensor(seen).to(model.device))


def check_pixels(name: str, value: Any, low: int, high: int = masks.MAX_RADIUS) -> int:
    """A setting in px as an int; ValueError unless it is a whole number from ``low`` to ``high``."""
    number = whole(value)
    if number is None or not low <= number <= high:
        raise ValueError(f"expected {name} in whole px from {low} to {high}, got {value!r}")
    return number


def check_classes(prior: Prior, labels: Any, samples: int) -> list[int]:
    """Classes for so many samples from one for each, or a single one for all.

    Raises:
        ValueError: if the prior has no classes, or they are too many, too few or none of its own.
    """
    count = prior.config.classes
    if not count:
        raise ValueError(f"expected no class: this prior was trained without classes, got {labels!r}")
    several = labels if whole(labels) is None else [labels] * samples
    try:
        numbers = [whole(label) for label in several]
    except TypeError:
        raise ValueError(f"expected classes as whole numbers, got {labels!r}") from None
    if len(numbers) != samples:
        raise ValueError(f"expected a single class or one per seed, got {len(numbers)} for {samples} seeds")
    checked = [number for number in numbers if number is not None and 0 <= number < count]
    if len(checked) < samples:
        raise ValueError(f"expected each class to be a whole number from 0 to {count - 1}, got {labels!r}")
    return checked


def check_model(model: Any) -> None:
    """Raise ValueError unless it is a loaded model."""
    if not isinstance(model, Model):
        raise ValueError(f"expected a model that sundae.load has loaded, got {model!r}")


def prior_of(model: Any) -> Prior:
    """The prior of a loaded model; ValueError if it is none, or a tokenizer alone."""
    check_model(model)
    if model.prior is None:
        raise ValueError(f"expected a model with a prior, got the tokenizer alone ({model.name})")
    return model.prior
