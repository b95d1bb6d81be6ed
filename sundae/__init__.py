"""Sundae: redraw a region of a picture with a discrete denoising model, step by step.

import sundae

model = sundae.load()
prepared = sundae.Inpainter(model).prepare("face.png", "mask.png")
for frame in prepared.run(seeds=[7]):
    frame.image().save(f"step-{frame.index:02}.png")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sundae.version import __version__

if TYPE_CHECKING:
    from sundae.bundles import Model, load, models
    from sundae.changes import difference
    from sundae.films import film
    from sundae.fit import best_model
    from sundae.measure import bits, surprise_map
    from sundae.panels import strip
    from sundae.pipeline import Frame, Inpainter, Prepared, extend, generate, reconstruct
    from sundae.publish import push_to_hub, save_pretrained
    from sundae.sampler import SamplerConfig, SampleStep, last_change, sample

__all__ = [
    "Frame",
    "Inpainter",
    "Model",
    "Prepared",
    "SampleStep",
    "SamplerConfig",
    "__version__",
    "best_model",
    "bits",
    "difference",
    "extend",
    "film",
    "generate",
    "last_change",
    "load",
    "models",
    "push_to_hub",
    "reconstruct",
    "sample",
    "save_pretrained",
    "strip",
    "surprise_map",
]

_HOMES = {
    "bundles": ("Model", "load", "models"),
    "changes": ("difference",),
    "films": ("film",),
    "fit": ("best_model",),
    "measure": ("bits", "surprise_map"),
    "panels": ("strip",),
    "pipeline": ("Frame", "Inpainter", "Prepared", "extend", "generate", "reconstruct"),
    "publish": ("push_to_hub", "save_pretrained"),
    "sampler": ("SamplerConfig", "SampleStep", "last_change", "sample"),
}


def __getattr__(name: str) -> Any:
    """What is asked for by name is imported then: the program must be able to answer Ctrl-C before torch, which
    takes a second, is there."""
    for home, names in _HOMES.items():
        if name in names:
            globals()[name] = value = getattr(import_module(f"sundae.{home}"), name)
            return value
    raise AttributeError(f"module 'sundae' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
