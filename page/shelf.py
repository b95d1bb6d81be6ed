"""The models that the page offers: each is loaded once, by whoever needs it first, and stays in memory."""

from __future__ import annotations

import logging
import re
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from page.ahead import apart
from page.checks import MAX_STEPS
from sundae.bundles import DEFAULT_MODEL, Model, load, models, weights_folder
from sundae.checkpoint import read_config
from sundae.fit import Fit, compare
from sundae.image import Picture

log = logging.getLogger(__name__)

NO_FIELD = ("renoise", "early_stop", "top_k", "top_p", "stride", "falloff", "random_windows")  # on the page


def in_the_box() -> list[str]:
    """Names of the bundled models that can redraw: the default first, last those that are other priors of a
    bundle before them. The default alone if there is none."""
    able = [name for name in models() if redraws(name)]
    return sorted(able, key=lambda name: (name != DEFAULT_MODEL, borrows(name), name)) or [DEFAULT_MODEL]


def borrows(name: str) -> bool:
    """Whether a bundle shares its tokenizer's file with another."""
    return "bundle" in read_config(weights_folder() / name)["parts"].get("tokenizer", {})


def redraws(name: str) -> bool:
    """Whether a bundle has a prior; its weights are not read."""
    try:
        return "prior" in read_config(weights_folder() / name)["parts"]
    except (ValueError, OSError):
        log.warning("the model %s is damaged and not offered", name)
        return False


def labels(names: Sequence[str]) -> list[str]:
    """What visitors call the models: "photo-1024" is "Photo", "photo-1024-absorbing" is "Photo absorbing". Where that
    names two, both keep their whole name."""
    whole = [re.sub(r"[^\w.() -]", "", Path(name).name) or "model" for name in names]
    words = [re.sub(r"[-_ ]+", " ", re.sub(r"-\d+(?=-|$)", "", name)).strip().capitalize() for name in whole]
    often = Counter(words)
    return [name if often[word] > 1 or not word else word for name, word in zip(whole, words)]


def usual_steps(model: Model) -> int:
    """The number of steps that suits the prior of a model, as far as the page allows."""
    prior = model.prior
    assert prior is not None, "the tokenizer alone is not offered"
    rows, columns = prior.config.grid
    return min(MAX_STEPS, prior.settings_for(rows * columns).steps)


class Shelf:
    """Models by their place on it. The first is the default; one that cannot be loaded is logged and passed over
    in choosing the best.

    Args:
        names: at least one, as :func:`sundae.load` takes them.
        device: where they run.
        loader: what loads one by name.
    """

    def __init__(
        self, names: Sequence[str], device: str = "cpu", loader: Callable[..., Model] = load
    ) -> None:
        self.names, self.labels = tuple(names), labels(names)
        self._device, self._loader = device, loader
        self._pool = ThreadPoolExecutor(1, "models")  # one at a time, in the order they are asked for
        self._loading: dict[int, Future[Model]] = {}
        self._lock = threading.Lock()
        self._comparing = threading.Lock()  # a crowd of new pictures must not take every core from a redraw

    def __len__(self) -> int:
        return len(self.names)

    def start(self, index: int) -> Future[Model]:
        """Begin to load a model, unless that has begun."""
        with self._lock:
            if index not in self._loading:
                self._loading[index] = self._pool.submit(self._load, self.names[index])
            return self._loading[index]

    def _load(self, name: str) -> Model:
        try:
            return self._loader(name, device=self._device)
        except Exception as error:
            log.error("the model %s cannot be loaded: %s", name, error)
            raise

    def start_all(self) -> None:
        for index in range(len(self)):
            self.start(index)

    def wait_for_all(self) -> None:
        """Until each is loaded or has failed."""
        for index in range(len(self)):
            self.start(index).exception()

    def place(self, model: Model) -> int:
        """Where a model from this shelf stands on it."""
        loaded = [(index, each) for index, each in list(self._loading.items()) if each.done()]
        return next(index for index, each in loaded if not each.exception() and each.result() is model)

    def __getitem__(self, index: int) -> Model:
        """The model; waits until it is loaded.

        Raises:
            ValueError: if it cannot be loaded, as :func:`sundae.load`.
        """
        return self.start(index).result()

    def grids(self) -> list[dict[str, Any] | None]:
        """Of each model that is loaded by now: resolution and side of a cell, px, the kind of prior, the number of steps
        that suits it, and what it is for, if its bundle says so."""
        with self._lock:
            loading = [self._loading.get(index) for index in range(len(self))]
        ready = [each.result() if each and each.done() and not each.exception() else None for each in loading]
        return [model and self._about(model) for model in ready]

    @staticmethod
    def _about(model: Model) -> dict[str, Any]:
        kind = model.config["parts"].get("prior", {}).get("kind")
        what = model.config.get("provenance", {}).get("intended_use")
        about = {"resolution": model.resolution, "cell": model.downsample_factor, "prior": kind}
        about["what"] = what if isinstance(what, str) else ""
        return about if model.prior is None else {**about, "steps": usual_steps(model)}

    def choose(self, picture: Picture, name: str) -> Model:
        """The model of that name; without one, the model that fits the picture best.

        Raises:
            ValueError: if there is none of that name, or it cannot be loaded.
        """
        if name:
            return self.named(name)
        return self[self.compare(picture)[0][0] if len(self) > 1 else 0]

    @property
    def titles(self) -> list[str]:
        """The names without folders: paths of this machine are nobody's business."""
        return [Path(name).name for name in self.names]

    def maker(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Of the model that a saved picture's settings name: the ``name`` and its ``place`` here, None also if it cannot
        be loaded. Of one that is loaded also whether it is the ``same`` version, which else is None, and what is
        ``usual`` for it of the settings that have no field on the page."""
        name = settings.get("model")
        about = {"name": str(name)[:60], "place": None, "same": None, "usual": {}}
        if name not in self.titles:
            return about
        place = self.titles.index(name)
        loading = self._loading.get(place)
        if loading is None or not loading.done():
            return {**about, "place": place}
        if loading.exception():
            return about
        model = loading.result()
        usual = {field: getattr(model.prior.defaults, field) for field in NO_FIELD} if model.prior else {}
        return {**about, "place": place, "same": model.hash == settings.get("hash"), "usual": usual}

    def named(self, name: str) -> Model:
        """The model of that name, as ``titles`` has it.

        Raises:
            ValueError: if there is none, or it cannot be loaded.
        """
        if name not in self.titles:
            raise ValueError(f"The model must be one of {', '.join(self.titles)}")
        return self[self.titles.index(name)]

    def compare(self, picture: Picture) -> list[tuple[int, Fit]]:
        """How well each model fits the picture, with its place on the shelf, the best first.

        Raises:
            ValueError: if no model can be loaded.
        """
        loading = [self.start(index) for index in range(len(self))]
        places = {each.result(): index for index, each in enumerate(loading) if not each.exception()}
        with self._comparing:
            fits = apart(lambda: compare(list(places), picture))
        return [(places[fit.model], fit) for fit in fits]
