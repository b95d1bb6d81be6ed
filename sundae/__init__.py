"""Sundae: redraw a region of a picture with a discrete denoising model, step by step.

import sundae

model = sundae.load()
prepared = sundae.Inpainter(model).prepare("face.png", "mask.png")
for frame in prepared.run(seeds=[7]):
    frame.image().save(f"step-{frame.index:02}.png")
"""

from sundae.bundles import Model, load, models
from sundae.pipeline import Frame, Inpainter, Prepared, generate, reconstruct
from sundae.sampler import SamplerConfig, SampleStep, sample
from sundae.version import __version__

__all__ = [
    "Frame",
    "Inpainter",
    "Model",
    "Prepared",
    "SampleStep",
    "SamplerConfig",
    "__version__",
    "generate",
    "load",
    "models",
    "reconstruct",
    "sample",
]
