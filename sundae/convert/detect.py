"""Which format a file is, by the names of its tensors, and what of it are the weights."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from sundae.convert import authors, diffusers, llamagen, maskgit, taming, unleashing
from sundae.convert.names import Tensors, strip
from sundae.convert.settings import Settings
from sundae.convert.tensors import Stored

STATES = ("state_dict", "net", "ema", "model")  # where checkpoints keep their weights; the first one found
FIRST_STAGE = "first_stage_model."
BESIDE_FIRST_STAGE = (
    re.compile(  # the other models of a transformer or diffusion checkpoint, and its schedule
        r"(transformer|cond_stage_model|permuter|model|model_ema)\.|"
        r"(betas|logvar|scale_factor|lvlb_weights|alphas_\w+|sqrt_\w+|log_one_\w+|posterior_\w+)$"
    )
)


@dataclass(frozen=True)
class Format:
    """How one project's files are told from others, and read."""

    about: str
    read: Callable[[Tensors, Settings], nn.Module]
    matches: Callable[[Tensors], bool] = lambda tensors: False  # else only by name


FORMATS = {  # the first that matches is it
    "sundae-vqgan": Format("the authors' SUNDAE prior", authors.read, authors.matches),
    "unleashing": Format("Unleashing Transformers, VQGAN", unleashing.read, unleashing.matches),
    "diffusers": Format("diffusers, VQModel", diffusers.read, diffusers.matches),
    "amused": Format("diffusers, VQModel of pixels in [0, 1]", diffusers.read_amused),
    "llamagen": Format("LlamaGen, VQModel", llamagen.read, llamagen.matches),
    "maskgit": Format("MaskGIT-VQGAN of open-muse and TiTok", maskgit.read, maskgit.matches),
    "taming-gumbel": Format("taming-transformers, GumbelVQ", taming.read_gumbel, taming.matches_gumbel),
    "taming": Format("taming-transformers, VQModel", taming.read, taming.matches),
    "latent-diffusion": Format("latent-diffusion, VQModel", taming.read),  # the same network as taming's
}


def weights(content: Any) -> tuple[dict[str, Stored], bool]:
    """The tensors of a checkpoint, by name, and whether they are the first stage of another model.

    Raises:
        ValueError: if there is no dict of tensors.
    """
    state = content
    if isinstance(content, dict):
        state = next((content[key] for key in STATES if isinstance(content.get(key), dict)), content)
    if not isinstance(state, dict) or not state:
        raise ValueError(f"expected a dict of tensors in the file, got {type(state).__name__}")
    for name, value in state.items():
        if not isinstance(name, str) or not name.isprintable() or not isinstance(value, Stored):
            raise ValueError(
                f"expected tensors by name in the file, got something else under {str(name)[:80]!r}"
            )
    if not any(name.startswith(FIRST_STAGE) for name in state):
        return state, False
    rest = sorted(n for n in state if not n.startswith(FIRST_STAGE) and not BESIDE_FIRST_STAGE.match(n))
    if rest:
        raise ValueError(f"expected a first stage and the models that use it in the file, got {rest[0]}")
    return strip(state, FIRST_STAGE), True


def detect(tensors: Tensors) -> str:
    """The name of the format in :data:`FORMATS`.

    Raises:
        ValueError: if it is none of them.
    """
    for name, kind in FORMATS.items():
        if kind.matches(tensors):
            return name
    if "encoder.conv_in.weight" in tensors and not any(name.startswith("quantize.") for name in tensors):
        raise ValueError("expected a tokenizer with a codebook, got an autoencoder without one (KL)")
    names = ", ".join(sorted(tensors)[:3])
    raise ValueError(
        f"expected the weights of one of {', '.join(FORMATS)}, got a file of {len(tensors)} other tensors ({names} ...)"[
            :300
        ]
    )
