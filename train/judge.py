"""What the judgements of a model share: what a record depends on, and the means over records."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

import sundae
from train.features import RandomFeatures
from train.records import Record


def suited(model: sundae.Model, asked: Mapping[str, Any]) -> sundae.SamplerConfig:
    """The settings that suit a model's prior on pictures of its own size, but for those that are asked for: all that
    are not None.

    Raises:
        ValueError: for a bad setting, or a model without a prior.
    """
    given = {name: value for name, value in asked.items() if value is not None}
    sundae.SamplerConfig(**given)  # a bad number is refused whatever the model
    if model.prior is None:
        raise ValueError(f"expected a model with a prior, got the tokenizer alone ({model.name})")
    rows, columns = model.prior.config.grid
    return dataclasses.replace(model.prior.settings_for(rows * columns), **given)


@dataclass(frozen=True)
class Setup:
    """The model, how it is asked, and what looks at its answers."""

    model: sundae.Model
    sampler: sundae.SamplerConfig
    masks: Sequence[str]  # of fills.MASKS
    net: RandomFeatures

    def key(self, version: int | str) -> str:
        """Names what a record depends on beside its picture: weights, sampler, masks and (by ``version``) measures."""
        parts = {name: part["hash"] for name, part in self.model.config["parts"].items()}
        sampler, masks = dataclasses.asdict(self.sampler), list(self.masks)
        content = [version, parts, sampler, masks, self.net.hash, self.model.resolution]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


class Judge(Protocol):
    """A set of pictures, what is measured on each, and what is said of all."""

    field: str  # what tells the records apart
    key: str  # of the records

    @property
    def items(self) -> Sequence[Any]:
        """Seeds or names."""
        ...

    def measure(self, item: Any, /) -> Record | None:
        """A record, or None to leave a picture out."""
        ...

    def summarise(self, records: Sequence[Record]) -> dict[str, Any]: ...

    def tables(self, summary: dict[str, Any]) -> str:
        """The whole summary (settings included) as Markdown."""
        ...


def mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
