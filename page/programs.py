"""The page's jobs for programs: over plain HTTP, from gradio_client, and as tools over MCP. docs/api.md shows how.

Gradio tells callers what a function takes by its signature and docstring, so both are written for them. A picture
arrives as an uploaded file or as a data URL. What is answered is always a pair: a PNG file, and what is to be said.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import dataclasses
import functools
import inspect
import logging
import shutil
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import gradio as gr
import numpy as np
from PIL.Image import Image

import sundae
from page.ahead import Ahead, apart
from page.checks import MAX_CANDIDATES, MAX_SEED, MAX_STEPS, Order, more_settings, uploaded_file, whole_number
from page.desk import SORRY, Desk, remove_upload
from page.events import jpeg_url, on_view, sentence, view_size
from page.session import save_png
from page.shelf import usual_steps
from page.sights import decibels
from sundae.bundles import Model
from sundae.image import Picture, load_picture, resize_rgb
from sundae.masks import load_mask
from sundae.pipeline import DEFAULT_FEATHER, Frame, Inpainter, Prepared, blank
from sundae.sampler import SamplerConfig

log = logging.getLogger(__name__)

KEEP_ANSWER = 600  # seconds that a file answered to a program stays on the server
PREVIEW_SIDE = 512  # px of the pictures that are shown while the work goes on
MAX_DATA = 90_000_000  # characters of a picture's data URL: those of the largest file that may be uploaded
FILE_ROUTE = "/gradio_api/file="  # behind it an address has the path of an uploaded file

Posted = str | gr.FileData  # an uploaded file, its address or path, or a data URL
Answer = tuple[dict[str, Any] | None, dict[str, Any]]  # a file, and what is to be said
ANSWERED = tuple[gr.FileData | None, dict]  # the same, as gradio is told of it


def job(work: Callable[..., Iterator[Answer]]) -> Callable[..., Iterator[Answer]]:
    """A job whose errors are one line: a ValueError's own words, else an apology.

    The signature that gradio reads has what is answered at each step: it takes no iterator for what it is.
    """

    @functools.wraps(work)
    def told(self: Programs, *asked: Any) -> Iterator[Answer]:
        try:
            yield from work(self, *asked)
        except gr.Error:  # of ZeroGPU
            raise
        except ValueError as error:
            raise gr.Error(sentence(error), print_exception=False) from None
        except Exception:
            log.exception("%s failed", work.__name__)
            raise gr.Error(SORRY, print_exception=False) from None

    signature = inspect.signature(work).replace(return_annotation=ANSWERED)
    vars(told)["__signature__"] = signature
    return told


class Programs:
    """What programs may ask for, with the desk's models and folders. Nothing of any caller's is here."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.shelf = desk, desk.shelf

    @job
    def inpaint(
        self,
        image: Posted,
        mask: Posted,
        seed: int = 0,
        steps: int | None = None,
        model: str = "",
        candidates: int = 1,
        strength: float | None = None,
        temperature_start: float | None = None,
        temperature_end: float | None = None,
        proportion: float | None = None,
        previews: bool = False,
        feather: int = DEFAULT_FEATHER,
        grow: int = 0,
        mask_rule: str = "any",
    ) -> Iterator[Answer]:
        """Redraw the part of a picture that is white in a mask; every other pixel stays as it is.

        Args:
            image: the picture, an uploaded file or a data URL.
            mask: a black and white picture of the same size, an uploaded file or a data URL; white is redrawn.
            seed: from 0 to 4294967295; the same seed gives the same picture.
            steps: of the denoising, 1 to 64. Left out, as suits the model.
            model: a name that models gives; empty for the model that fits the picture best.
            candidates: how many are drawn, 1 to 8, with seeds that follow each other.
            strength: 0.05 to 1; below 1 a variation of what is under the mask. Left out, as suits the model.
            temperature_start: of the first step, 0.05 to 2.
            temperature_end: of the last step, 0.05 to 2.
            proportion: share of the hidden cells that may change in a step, 0.05 to 1.
            previews: whether every step brings small pictures, as JPEG data URLs.
            feather: px of the picture over which the new pixels fade in, inside the mask, 0 to 512; 0 is a hard edge.
            grow: px of the picture by which the mask is widened, up to 512; a negative number shrinks it.
            mask_rule: "any" redraws the cells of the model's grid of which any pixel is white, "all" only those of
                which all are; what is white beyond them is filled in softly.

        Returns:
            The first candidate, a PNG of the picture's size with its settings inside; nothing while it is drawn.
            The step, of how many; at the end the settings of each candidate, and the files of the others.
        """
        data = self._received(image, mask)
        picture = load_picture(data[0], "The picture")
        more = {"strength": strength, "temperature_start": temperature_start}
        more |= {"temperature_end": temperature_end, "proportion": proportion}
        mask, chosen = load_mask(data[1], picture.size), self.shelf.choose(picture, model)
        order = Order(
            mask=mask,
            seed=whole_number(seed, "The seed", 0, MAX_SEED),
            steps=steps_of(steps, chosen),
            candidates=whole_number(candidates, "Candidates", 1, MAX_CANDIDATES),
            **more_settings({name: value for name, value in more.items() if value is not None}),
        )
        edges = {"feather": feather, "grow": grow, "mask_rule": mask_rule}
        prepared = Inpainter(chosen).prepare(picture, order.mask, **edges)
        config = dataclasses.replace(prepared.defaults, steps=order.steps, **order.sampler)
        yield from self._drawn(prepared, config, order.seeds, previews)

    @job
    def sample(
        self, n: int = 1, seed: int = 0, steps: int | None = None, model: str = "", previews: bool = False
    ) -> Iterator[Answer]:
        """Draw new pictures from nothing, at the model's own size.

        Args:
            n: how many, 1 to 8, with seeds that follow each other.
            seed: of the first, from 0 to 4294967295; the same seed gives the same picture.
            steps: of the denoising, 1 to 64. Left out, as suits the model.
            model: a name that models gives; empty for the first of them.
            previews: whether every step brings small pictures, as JPEG data URLs.

        Returns:
            The first picture, a PNG with its settings inside; nothing while it is drawn.
            The step, of how many; at the end the settings of each picture, and the files of the others.
        """
        chosen = self.shelf.named(model) if model else self.shelf[0]
        order = Order(
            mask=np.ones((1, 1), bool),
            seed=whole_number(seed, "The seed", 0, MAX_SEED),
            steps=steps_of(steps, chosen),
            candidates=whole_number(n, "The number of pictures", 1, MAX_CANDIDATES),
        )
        prepared = blank(chosen)
        config = dataclasses.replace(prepared.defaults, steps=order.steps)
        yield from self._drawn(prepared, config, order.seeds, previews)

    @job
    def reconstruct(self, image: Posted, model: str = "") -> Iterator[Answer]:
        """What a model's tokenizer keeps of a picture: encoded to tokens and decoded again, nothing drawn anew.

        Args:
            image: the picture, an uploaded file or a data URL.
            model: a name that models gives; empty for the model that fits the picture best.

        Returns:
            A PNG of the picture's size.
            The model, its hash, and the PSNR from the picture in dB.
        """
        picture = load_picture(self._received(image)[0], "The picture")
        chosen = self.shelf.choose(picture, model)
        _, seen = apart(lambda: sundae.reconstruct(chosen, picture))
        about = {"model": chosen.name, "hash": chosen.hash, "reconstruction": True}
        (file,) = self._files([seen], picture, [about], ["reconstruction"])
        yield file, about | {"psnr": round(decibels(picture, seen), 2)}

    def models(self) -> list[dict[str, Any]]:
        """The models that the other functions take by name, the first of them first.

        Returns:
            Of each its name, its size in px, the side of a cell in px, its hash, the kind of its prior, its licence
            and what it was trained on, as far as its card says so.
        """
        ready = [(name, self.shelf.start(place)) for place, name in enumerate(self.shelf.titles)]
        return [about_model(name, each.result()) for name, each in ready if not each.exception()]

    # -- what comes in ----------------------------------------------------------------------------------

    def _received(self, *posted: Any) -> list[bytes]:
        """The pictures' bytes. Uploaded files are removed, also when one of them cannot be read."""
        found = [each if is_data(each) else self._uploaded(each) for each in posted]
        try:
            return [decoded(each) if isinstance(each, str) else read(each) for each in found]
        finally:
            for path in found:
                if isinstance(path, Path):
                    remove_upload(path)

    def _uploaded(self, posted: Any) -> Path | None:
        """The uploaded file that was meant; None if it is not there."""
        path = posted.get("path") if isinstance(posted, dict) else posted
        if isinstance(path, str) and FILE_ROUTE in path:
            path = unquote(path.partition(FILE_ROUTE)[2])
        with contextlib.suppress(ValueError):
            return uploaded_file(path, self.desk.uploads)
        return None

    # -- what goes out ----------------------------------------------------------------------------------

    def _drawn(
        self, prepared: Prepared, config: SamplerConfig, seeds: Sequence[int], previews: bool
    ) -> Iterator[Answer]:
        """How far the work is after every step, then its files."""
        small = Small(prepared.picture) if previews else None
        with Ahead(lambda: self._frames(prepared, config, seeds, previews)) as frames:
            for frame in frames:
                about: dict[str, Any] = {"step": frame.index, "of": frame.total}
                if not frame.last:
                    yield None, about | ({"previews": small.urls(frame)} if small else {})
                    continue
                settings = [prepared.settings(config, seed) for seed in seeds]
                images = [frame.image(i) for i in range(len(seeds))]
                first, *others = self._files(images, prepared.picture, settings, seeds)
                yield first, about | {"settings": settings, "others": others}

    def _frames(
        self, prepared: Prepared, config: SamplerConfig, seeds: Sequence[int], previews: bool
    ) -> Generator[Frame, None, None]:
        """Of a run; those that are looked at are decoded already."""
        running: Any = self.desk.run(prepared, config, seeds, None)
        with contextlib.closing(running) as frames:
            for frame in frames:
                if previews or frame.last:
                    _ = frame.patches
                yield frame

    def _files(
        self, images: Sequence[Image], picture: Picture, settings: Sequence[dict], names: Sequence[Any]
    ) -> list[dict[str, Any]]:
        """Write PNGs with their settings inside; they stay for a while."""
        folder = Path(tempfile.mkdtemp(dir=self.desk.folder))
        timer = threading.Timer(KEEP_ANSWER, shutil.rmtree, (folder, True))
        timer.daemon = True
        timer.start()
        paths = [folder / f"sundae-{name}.png" for name in names]
        for image, path, about in zip(images, paths, settings):
            save_png(image, path, picture, [about])
        return [gr.FileData(path=str(path), orig_name=path.name).model_dump() for path in paths]


class Small:
    """Small versions of a picture while a part of it is redrawn. The rest is made small once."""

    def __init__(self, picture: Picture) -> None:
        self.size = picture.size
        self.rgb = resize_rgb(picture.rgb, view_size(picture.size, PREVIEW_SIDE))

    def urls(self, frame: Frame) -> list[str]:
        """A JPEG data URL of each candidate."""
        left, top, width, height = on_view(frame.box, self.size, PREVIEW_SIDE)
        shown = []
        for patch in frame.patches:
            rgb = self.rgb.copy()
            rgb[top : top + height, left : left + width] = resize_rgb(patch, (width, height))
            shown.append(jpeg_url(rgb))
        return shown


def steps_of(asked: int | None, model: Model) -> int:
    """The number of steps that was asked for, or that suits the model."""
    return usual_steps(model) if asked is None else whole_number(asked, "Steps", 1, MAX_STEPS)


def about_model(name: str, model: Model) -> dict[str, Any]:
    """What a caller may want to know of a model before asking for it by ``name``."""
    provenance = model.config.get("provenance", {})
    return {
        "name": name,
        "width": model.size[0],
        "height": model.size[1],
        "cell": model.downsample_factor,
        "hash": model.hash,
        "prior": model.config["parts"].get("prior", {}).get("kind"),
        "licence": provenance.get("licence"),
        "data": provenance.get("data"),
    }


def is_data(posted: Any) -> bool:
    return isinstance(posted, str) and posted.startswith("data:")


def decoded(url: str) -> bytes:
    """The bytes in a data URL."""
    head, _, text = url.partition(",")
    if len(url) > MAX_DATA:
        raise ValueError("The picture is too large.")
    try:
        if head.endswith(";base64"):
            return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise ValueError("A picture that is no uploaded file must be a data URL in base64.")


def read(path: Path | None) -> bytes:
    if path is None:
        raise ValueError("The picture did not arrive. Please send it again.")
    return path.read_bytes()
